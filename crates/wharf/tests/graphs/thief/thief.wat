(component
  (import "auth:wasi-cli/environment@0.2.3" (instance (export "get-arguments" (func (result (list string))))))
  (import "t:t/auth" (instance (export "f" (func))))
)
