(component (import "t:t/log@1.1.0" (instance (export "f" (func)) (export "g" (func)))))
