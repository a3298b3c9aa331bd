(component
  (core module $mt-t-log-1-4-0 (func (export "f")))
  (core instance $it-t-log-1-4-0 (instantiate $mt-t-log-1-4-0))
  (func $ft-t-log-1-4-0 (canon lift (core func $it-t-log-1-4-0 "f")))
  (instance $et-t-log-1-4-0 (export "f" (func $ft-t-log-1-4-0)))
  (export "t:t/log@1.4.0" (instance $et-t-log-1-4-0))
)
