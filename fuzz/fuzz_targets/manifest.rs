//! Parses arbitrary bytes as a manifest: the parser must not panic, and every problem must have a message and a place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use workload::manifest::{Format, parse_bytes};

fuzz_target!(|bytes: &[u8]| {
    for format in [Format::Toml, Format::Yaml, Format::Json] {
        let parsed = parse_bytes(bytes, format);
        assert_eq!(parsed.workload.is_none(), !parsed.problems.is_empty());
        for problem in &parsed.problems {
            assert!(problem.at.line > 0 && problem.at.column > 0 && !problem.message.is_empty());
        }
    }
});
