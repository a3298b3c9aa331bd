(component
  (import "wasi:tls/stdin@0.2.0" (instance (export "f" (func))))
)
