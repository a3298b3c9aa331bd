(component
  (core module $mt-t-logging-1-0-0 (func (export "f")))
  (core instance $it-t-logging-1-0-0 (instantiate $mt-t-logging-1-0-0))
  (func $ft-t-logging-1-0-0 (canon lift (core func $it-t-logging-1-0-0 "f")))
  (instance $et-t-logging-1-0-0 (export "f" (func $ft-t-logging-1-0-0)))
  (export "t:t/logging@1.0.0" (instance $et-t-logging-1-0-0))
)
