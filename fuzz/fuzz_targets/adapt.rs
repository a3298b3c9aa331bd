//! Adapts arbitrary bytes: they become a component, are rejected with a reason, or are not a module of WASI 0.1. A valid module
//! must become a valid component. (Invalid code may pass, because the engine validates code when it compiles it.)
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmparser::{Validator, WasmFeatures};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(adapted)) = wharf::prepare::adapt::adapt(bytes) {
        let features = WasmFeatures::default() | WasmFeatures::CM_ASYNC;
        let validate = |bytes: &[u8]| Validator::new_with_features(features).validate_all(bytes).map(|_| ());
        if validate(bytes).is_ok() {
            validate(&adapted.component).expect("a valid module becomes a valid component");
        }
    }
});
