(component
  (import "t:t/base" (instance (export "f" (func))))
  (core module $mt-t-left (func (export "f")))
  (core instance $it-t-left (instantiate $mt-t-left))
  (func $ft-t-left (canon lift (core func $it-t-left "f")))
  (instance $et-t-left (export "f" (func $ft-t-left)))
  (export "t:t/left" (instance $et-t-left))
)
