(component
  (core module $mt-t-log (func (export "f")))
  (core instance $it-t-log (instantiate $mt-t-log))
  (func $ft-t-log (canon lift (core func $it-t-log "f")))
  (instance $et-t-log (export "f" (func $ft-t-log)))
  (export "t:t/log" (instance $et-t-log))
)
