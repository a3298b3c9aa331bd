(component
  (import "t:t/b" (instance (export "f" (func))))
  (core module $mt-t-a (func (export "f")))
  (core instance $it-t-a (instantiate $mt-t-a))
  (func $ft-t-a (canon lift (core func $it-t-a "f")))
  (instance $et-t-a (export "f" (func $ft-t-a)))
  (export "t:t/a" (instance $et-t-a))
)
