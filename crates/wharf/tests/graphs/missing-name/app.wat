(component
  (import "t:t/loging@1.0.0" (instance (export "f" (func))))
  (import "wasi:cli/enviroment@0.2.0" (instance (export "get-arguments" (func (result (list string))))))
)
