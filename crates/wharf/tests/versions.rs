//! A component built for any minor version of WASI 0.2 or 0.3 finds it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use wharf::workload::manifest::Component;
use wharf::workload::{Name, Workload};
use wharf::{Engine, Host};

/// A component that imports a version of `wasi:random/insecure` and calls it.
fn component(version: &str) -> Component {
    let text = format!(
        r#"(component
            (import "wasi:random/insecure@{version}" (instance $random
                (export "get-insecure-random-u64" (func (result u64)))))
            (core func $get (canon lower (func $random "get-insecure-random-u64")))
            (core module $m (import "random" "get" (func $get (result i64)))
                (func (export "run") (result i32) (drop (call $get)) (i32.const 7)))
            (core instance $i (instantiate $m (with "random" (instance (export "get" (func $get))))))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
    );
    Component::from_bytes(wat::parse_str(text).unwrap())
}

#[tokio::test]
async fn every_minor_version_is_there() {
    let host = Host::builder(Engine::builder().pooling(false).build().unwrap()).build().unwrap();
    let name = |text: &str| text.parse::<Name>().unwrap();
    let second = (0..=12).map(|patch| format!("0.2.{patch}"));
    for version in second.chain((0..=3).map(|patch| format!("0.3.{patch}"))) {
        let workload = Workload::new(name("w")).with_component(name("c"), component(&version));
        host.workload_start(workload).await.unwrap_or_else(|error| panic!("{version}: {error}"));
        assert_eq!(host.call_wave("default/w", "c", "run()").await.unwrap(), ["7"], "{version}");
        host.workload_stop("default/w").await.unwrap();
    }
    for version in ["0.1.0", "0.4.0", "1.0.0", "0.2.0-rc-2023-11-10"] {
        let workload = Workload::new(name("w")).with_component(name("c"), component(version));
        let refused = host.workload_start(workload).await.unwrap_err().to_string();
        assert!(refused.contains("wasi:random/insecure"), "{version}: {refused}");
    }
}
