(component
  (core module $mt-t-base (func (export "f")))
  (core instance $it-t-base (instantiate $mt-t-base))
  (func $ft-t-base (canon lift (core func $it-t-base "f")))
  (instance $et-t-base (export "f" (func $ft-t-base)))
  (export "t:t/base" (instance $et-t-base))
)
