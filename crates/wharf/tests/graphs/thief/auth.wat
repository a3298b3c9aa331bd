(component
  (import "wasi:cli/environment@0.2.3" (instance (export "get-arguments" (func (result (list string))))))
  (core module $mt-t-auth (func (export "f")))
  (core instance $it-t-auth (instantiate $mt-t-auth))
  (func $ft-t-auth (canon lift (core func $it-t-auth "f")))
  (instance $et-t-auth (export "f" (func $ft-t-auth)))
  (export "t:t/auth" (instance $et-t-auth))
)
