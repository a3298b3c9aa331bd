(component
  (core module $mwasi-cli-environment-0-2-3 (func (export "f")))
  (core instance $iwasi-cli-environment-0-2-3 (instantiate $mwasi-cli-environment-0-2-3))
  (func $fwasi-cli-environment-0-2-3 (canon lift (core func $iwasi-cli-environment-0-2-3 "f")))
  (instance $ewasi-cli-environment-0-2-3 (export "f" (func $fwasi-cli-environment-0-2-3)))
  (export "wasi:cli/environment@0.2.3" (instance $ewasi-cli-environment-0-2-3))
)
