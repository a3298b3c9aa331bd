(component
  (import "t:t/left" (instance (export "f" (func))))
  (import "t:t/right" (instance (export "f" (func))))
)
