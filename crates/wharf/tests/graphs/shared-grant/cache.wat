(component
  (import "acme:kv/store@1.0.0" (instance $store
    (export "bucket" (type $b (sub resource)))
    (export "open" (func (result (own $b))))))
  (alias export $store "bucket" (type $bucket))
  (alias export $store "open" (func $open))
  (instance $e (export "bucket" (type $bucket)) (export "open" (func $open)))
  (export "t:t/cache" (instance $e))
)
