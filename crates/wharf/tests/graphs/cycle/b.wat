(component
  (import "t:t/c" (instance (export "f" (func))))
  (core module $mt-t-b (func (export "f")))
  (core instance $it-t-b (instantiate $mt-t-b))
  (func $ft-t-b (canon lift (core func $it-t-b "f")))
  (instance $et-t-b (export "f" (func $ft-t-b)))
  (export "t:t/b" (instance $et-t-b))
)
