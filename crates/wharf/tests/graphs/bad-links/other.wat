(component
  (core module $mt-t-other (func (export "f")))
  (core instance $it-t-other (instantiate $mt-t-other))
  (func $ft-t-other (canon lift (core func $it-t-other "f")))
  (instance $et-t-other (export "f" (func $ft-t-other)))
  (export "t:t/other" (instance $et-t-other))
)
