(component
  (import "t:t/nowhere@1.0.0" (instance (export "f" (func))))
  (import "plain" (func))
)
