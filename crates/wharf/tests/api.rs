//! The host API in process: a program that knows `dyn HostApi` alone starts, calls and stops workloads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use wharf::api::{CallRequest, ErrorCode, HostApi, State};
use wharf::prepare::source::{LocalSources, SourceError, SourceLoader};
use wharf::workload::Workload;
use wharf::workload::manifest::{Component, Digest, Source};
use wharf::{Engine, Host};

const SEVEN: &str = r#"(component
    (core module $m (func (export "seven") (result i32) (i32.const 7)) (func (export "trap") unreachable))
    (core instance $i (instantiate $m))
    (func (export "seven") (result u32) (canon lift (core func $i "seven")))
    (func (export "trap") (canon lift (core func $i "trap"))))"#;

/// A store of blobs by digest, as a host behind a wire has.
struct Blobs(Vec<Arc<[u8]>>);

#[async_trait::async_trait]
impl SourceLoader for Blobs {
    async fn load(&self, source: &Source) -> Result<Arc<[u8]>, SourceError> {
        let Source::Digest(digest) = source else { return LocalSources.load(source).await };
        let found = self.0.iter().find(|blob| Digest::of(blob) == *digest);
        found.cloned().ok_or_else(|| SourceError::Other {
            message: format!("no blob {digest} on this host"),
            hint: Some("upload it first".into()),
            source: None,
        })
    }
}

fn host() -> Arc<dyn HostApi> {
    let blobs = Blobs(vec![wat::parse_str(SEVEN).unwrap().into()]);
    let engine = Engine::builder().pooling(false).build().unwrap();
    Arc::new(Host::builder(engine).sources(blobs).build().unwrap())
}

fn workload() -> Workload {
    let component = Component::from_bytes(wat::parse_str(SEVEN).unwrap());
    Workload::new("w".parse().unwrap()).with_component("seven".parse().unwrap(), component)
}

#[tokio::test]
async fn a_workload_that_was_serialised_runs() {
    let host = host();
    let wire = serde_json::to_string(&workload()).unwrap();
    let received: Workload = serde_json::from_str(&wire).unwrap();
    assert!(matches!(received.components["seven"].source, Source::Digest(_)), "bytes travel by digest: {wire}");
    assert_eq!(host.workload_start(received.clone()).await.unwrap().state, State::Running);
    assert_eq!(host.call("default/w", CallRequest::new("seven", "seven()")).await.unwrap().results, ["7"]);
    assert_eq!(host.workload_update(received).await.unwrap().state, State::Running);
    let heartbeat = host.heartbeat().await.unwrap();
    assert_eq!((heartbeat.workloads[0].id.as_str(), heartbeat.workloads[0].state), ("default/w", State::Running));
    assert_eq!(host.workload_stop("default/w").await.unwrap().state, State::Stopped);
}

#[tokio::test]
async fn errors_have_codes_and_diagnostics() {
    let host = host();
    let code = |result: Result<_, wharf::api::ApiError>| result.err().map(|error| error.code);
    host.workload_start(workload()).await.unwrap();
    assert_eq!(code(host.workload_start(workload()).await), Some(ErrorCode::AlreadyRunning));
    let mut other = workload();
    other.name = "other".parse().unwrap();
    assert_eq!(code(host.workload_update(other.clone()).await), Some(ErrorCode::NotRunning));
    assert_eq!(code(host.workload_stop("default/other").await), Some(ErrorCode::NotFound));
    assert_eq!(
        host.call("default/w", CallRequest::new("seven", "eight()")).await.unwrap_err().code,
        ErrorCode::NotFound
    );
    assert_eq!(
        host.call("default/w", CallRequest::new("seven", "trap()")).await.unwrap_err().code,
        ErrorCode::CallFailed
    );

    let seven = other.components.get_mut("seven").unwrap();
    seven.source = Source::Digest(Digest::of(b"missing"));
    seven.volumes.push(wharf::workload::manifest::Mount {
        volume: "data".parse().unwrap(),
        guest: "../relative".into(),
        access: wharf::workload::manifest::Access::Read,
    });
    let error = host.workload_start(other).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Invalid);
    let places: Vec<_> = error.diagnostics.iter().filter_map(|found| found.place.as_deref()).collect();
    let expected = ["components.seven.source", "components.seven.volumes.0.guest", "components.seven.volumes.0.volume"];
    assert!(expected.iter().all(|place| places.contains(place)), "{places:?}");
    let missing = error.diagnostics.iter().find(|found| found.message.contains("no blob sha256:")).unwrap();
    assert_eq!(missing.hint.as_deref(), Some("upload it first"));
    // The error survives the wire.
    let read: wharf::api::ApiError = serde_json::from_value(serde_json::to_value(&error).unwrap()).unwrap();
    assert_eq!(read, error);
}
