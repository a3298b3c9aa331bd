//! Adapts arbitrary bytes: they become a component, are rejected with a reason, or are not a module of WASI 0.1. A valid module
//! must become a valid component. (Invalid code may pass, because the engine validates code when it compiles it.) Reads the parts
//! of a composed component from the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasm_encoder::{ComponentSection as _, CustomSection};
use wasmparser::{Validator, WasmFeatures};
use wharf::prepare::compose::Composed;

fuzz_target!(|bytes: &[u8]| {
    // The parts of a composed component come from anyone, too: in a file of any bytes, and in a component with any parts.
    let _ = Composed::read(bytes);
    let mut composed = b"\0asm\x0d\0\x01\0".to_vec();
    CustomSection { name: "wharf:parts".into(), data: bytes.into() }.append_to_component(&mut composed);
    let _ = Composed::read(&composed);
    if let Ok(Some(adapted)) = wharf::prepare::adapt::adapt(bytes) {
        let features = WasmFeatures::default() | WasmFeatures::CM_ASYNC;
        let validate = |bytes: &[u8]| Validator::new_with_features(features).validate_all(bytes).map(|_| ());
        if validate(bytes).is_ok() {
            validate(&adapted.component).expect("a valid module becomes a valid component");
        }
    }
});
