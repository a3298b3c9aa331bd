(component
  (import "t:t/log@1.4.0" (instance (export "f" (func))))
)
