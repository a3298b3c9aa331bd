(component
  (import "log" (func (param "n" u32)))
)
