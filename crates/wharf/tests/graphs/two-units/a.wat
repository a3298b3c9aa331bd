(component
  (import "t:t/log" (instance (export "f" (func))))
)
