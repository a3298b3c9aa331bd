(component
  (import "t:t/a" (instance (export "f" (func))))
  (core module $mt-t-c (func (export "f")))
  (core instance $it-t-c (instantiate $mt-t-c))
  (func $ft-t-c (canon lift (core func $it-t-c "f")))
  (instance $et-t-c (export "f" (func $ft-t-c)))
  (export "t:t/c" (instance $et-t-c))
)
