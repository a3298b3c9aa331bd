(component
  (import "t:t/types" (instance (type $r (record (field "a" u32))) (export "r" (type (eq $r)))))
)
