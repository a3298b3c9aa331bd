//! Any bytes are adapted to a component, refused for a reason, or no module of WASI 0.1 at all; and a valid module becomes a
//! valid component. (Code that is not valid passes: the engine validates what it compiles.)
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmparser::{Validator, WasmFeatures};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(adapted)) = wharf::adapt::adapt(bytes) {
        let features = WasmFeatures::default() | WasmFeatures::CM_ASYNC;
        let validate = |bytes: &[u8]| Validator::new_with_features(features).validate_all(bytes).map(|_| ());
        if validate(bytes).is_ok() {
            validate(&adapted.component).expect("a valid module becomes a valid component");
        }
    }
});
