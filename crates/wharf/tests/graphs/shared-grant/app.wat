(component
  (import "acme:kv/store@1.0.0" (instance $store (export "bucket" (type (sub resource)))))
  (alias export $store "bucket" (type $bucket))
  (import "t:t/cache" (instance
    (export "bucket" (type $b (eq $bucket)))
    (export "open" (func (result (own $b))))))
)
