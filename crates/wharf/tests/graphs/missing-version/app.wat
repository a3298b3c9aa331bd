(component
  (import "t:t/log@2.0.0" (instance (export "f" (func))))
  (import "wasi:cli/environment@0.9.0" (instance (export "get-arguments" (func (result (list string))))))
)
