(component
  (import "t:t/base" (instance (export "f" (func))))
  (core module $mt-t-right (func (export "f")))
  (core instance $it-t-right (instantiate $mt-t-right))
  (func $ft-t-right (canon lift (core func $it-t-right "f")))
  (instance $et-t-right (export "f" (func $ft-t-right)))
  (export "t:t/right" (instance $et-t-right))
)
