(component
  (core module $mwasi-cli-run-0-2-3 (func (export "f") (result i32) (i32.const 0)))
  (core instance $iwasi-cli-run-0-2-3 (instantiate $mwasi-cli-run-0-2-3))
  (func $fwasi-cli-run-0-2-3 (result (result)) (canon lift (core func $iwasi-cli-run-0-2-3 "f")))
  (instance $ewasi-cli-run-0-2-3 (export "run" (func $fwasi-cli-run-0-2-3)))
  (export "wasi:cli/run@0.2.3" (instance $ewasi-cli-run-0-2-3))
)
