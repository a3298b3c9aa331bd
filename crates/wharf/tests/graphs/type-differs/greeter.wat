(component
  (core module $m (memory (export "memory") 1) (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable) (func (export "f") (param i32)))
  (core instance $i (instantiate $m))
  (func $f (param "name" u32) (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (instance $e (export "greet" (func $f)))
  (export "t:t/greeter" (instance $e))
)
