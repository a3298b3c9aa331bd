(component
  (import "acme:kv/store@1.0.0" (instance $store
    (export "bucket" (type $b (sub resource)))
    (export "open" (func (result (own $b))))))
  (alias export $store "bucket" (type $bucket))
  (import "acme:kv/atomics@1.0.0" (instance
    (export "bucket" (type $b (eq $bucket)))
    (export "increment" (func (param "b" (borrow $b)) (result u32)))))
  (core module $mt-t-auth (func (export "f")))
  (core instance $it-t-auth (instantiate $mt-t-auth))
  (func $ft-t-auth (canon lift (core func $it-t-auth "f")))
  (instance $et-t-auth (export "f" (func $ft-t-auth)))
  (export "t:t/auth" (instance $et-t-auth))
)
