(component
  (import "t:t/auth" (instance (export "f" (func))))
  (import "acme:kv/store@1.0.0" (instance $store
    (export "bucket" (type $b (sub resource)))
    (export "open" (func (result (own $b))))))
  (alias export $store "bucket" (type $bucket))
  (import "acme:kv/atomics@1.0.0" (instance
    (export "bucket" (type $b (eq $bucket)))
    (export "increment" (func (param "b" (borrow $b)) (result u32)))))
)
