(component
  (import "t:t/greeter" (instance (export "greet" (func (param "name" string)))))
)
