(component
  (import "t:t/next" (instance (export "f" (func))))
  (core module $mt-t-next (func (export "f")))
  (core instance $it-t-next (instantiate $mt-t-next))
  (func $ft-t-next (canon lift (core func $it-t-next "f")))
  (instance $et-t-next (export "f" (func $ft-t-next)))
  (export "t:t/next" (instance $et-t-next))
)
