(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (instance $old (export "f" (func $f)))
  (instance $new (export "f" (func $f)) (export "g" (func $f)))
  (export "t:t/log@1.0.0" (instance $old))
  (export "t:t/log@1.2.0" (instance $new)))
