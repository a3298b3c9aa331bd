(component
  (import "t:t/log@1.2.0" (instance (export "f" (func))))
)
