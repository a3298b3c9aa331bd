(component
  (import "t:t/auth" (instance (export "f" (func))))
  (import "wasi:cli/environment@0.2.0" (instance (export "get-arguments" (func (result (list string))))))
  (import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func (result u64)))))
)
