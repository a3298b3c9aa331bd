//! The wire: the JSON of every type, pinned in `golden/`, and what a reader accepts. `BLESS=1` writes the files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Strategy, any};
use proptest::sample::select;
use proptest::{prop_assert_eq, proptest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wharf_api::workload::{Name, Severity};
use wharf_api::{
    API_VERSION, ApiError, CallRequest, CallResponse, Diagnostic, ErrorCode, Heartbeat, Limit, PluginHealth,
    ServiceState, ServiceStatus, State, WorkloadStatus, WorkloadSummary,
};

const STATES: [State; 5] = [State::Starting, State::Running, State::Stopping, State::Stopped, State::Unknown];

/// Compares a value with its golden file, and reads it back, without and with fields that this version does not know.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, expected, "the wire of `{name}` changed; BLESS=1 writes the new one");
    assert_eq!(&serde_json::from_str::<T>(&expected).unwrap(), value);
    let mut newer: Value = serde_json::from_str(&expected).unwrap();
    add_fields(&mut newer);
    assert_eq!(&serde_json::from_value::<T>(newer).unwrap(), value, "a newer host's `{name}`");
}

/// Adds a field to every object but the maps, whose keys are data.
fn add_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let fields_of = fields.iter_mut().filter(|(key, _)| !["labels", "refusals"].contains(&key.as_str()));
            fields_of.for_each(|(_, value)| add_fields(value));
            fields.insert("of_a_newer_version".to_owned(), json!({ "any": [1] }));
        }
        Value::Array(values) => values.iter_mut().for_each(add_fields),
        _ => {}
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn status() -> WorkloadStatus {
    WorkloadStatus {
        id: "default/guestbook".to_owned(),
        version: Some("1.2.0".to_owned()),
        state: State::Running,
        entries: vec![name("web")],
        components: 2,
        calls: 3,
        ready: 4,
        shared: 1,
        refusals: [(Limit::Cpu, 7), (Limit::RequestBody, 1)].into(),
        uptime_ms: 90_000,
        services: vec![ServiceStatus { component: name("worker"), restarts: 2, state: ServiceState::Restarting }],
        health: vec![
            PluginHealth { plugin: "keyvalue".to_owned(), healthy: true, detail: None },
            PluginHealth { plugin: "sql".to_owned(), healthy: false, detail: Some("connection refused".to_owned()) },
        ],
        warnings: vec!["nothing reaches `cache`".to_owned()],
    }
}

fn error() -> ApiError {
    let diagnostic = Diagnostic::error("nothing satisfies `acme:shop/prices`, which `web` imports")
        .with_code("missing-import")
        .at("components.web")
        .with_note("looked at: `cache`")
        .with_hint("add a component that exports it");
    let mut error = ApiError::new(ErrorCode::Invalid, "the workload `default/shop` is not valid")
        .with_diagnostics([diagnostic, Diagnostic::warning("nothing reaches `cache`")]);
    error.causes = vec!["resolution found 1 error".to_owned()];
    error
}

#[test]
fn every_type_has_the_json_of_its_golden_file() {
    golden(
        "heartbeat",
        &Heartbeat {
            id: "8f14e45f".to_owned(),
            friendly_name: "edge-1".to_owned(),
            labels: [("zone".to_owned(), "eu".to_owned())].into(),
            version: "0.1.0".to_owned(),
            api_version: API_VERSION,
            uptime_ms: 1500,
            workloads: vec![
                WorkloadSummary { id: "default/guestbook".to_owned(), state: State::Starting, unhealthy: Vec::new() },
                WorkloadSummary {
                    id: "default/shop".to_owned(),
                    state: State::Running,
                    unhealthy: vec![PluginHealth {
                        plugin: "keyvalue".to_owned(),
                        healthy: false,
                        detail: Some("store `sessions`: the server does not answer".to_owned()),
                    }],
                },
            ],
        },
    );
    golden("workload-status", &status());
    golden("states", &STATES.to_vec());
    golden("limits", &Limit::ALL.to_vec());
    golden("error", &error());
    golden("error-without-details", &ApiError::no_workload("default/shop"));
    golden("error-codes", &ErrorCode::ALL.to_vec());
    golden("call-request", &CallRequest::new("web", "greet(\"you\")"));
    golden("call-response", &CallResponse { results: vec!["\"hello, you\"".to_owned()] });
}

#[test]
fn the_openapi_document_is_that_of_the_docs() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = serde_json::to_string_pretty(&wharf_api::openapi::document()).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text, "BLESS=1 writes the new one");
}

#[test]
fn a_status_without_what_came_later_is_read() {
    let mut older = serde_json::to_value(status()).unwrap();
    let fields = older.as_object_mut().unwrap();
    for field in ["version", "refusals", "services", "health", "warnings"] {
        fields.remove(field).unwrap();
    }
    let read: WorkloadStatus = serde_json::from_value(older).unwrap();
    assert_eq!((read.version, read.health, read.state), (None, Vec::new(), State::Running));
}

#[test]
fn what_only_a_newer_host_knows_is_dropped_or_unknown() {
    let mut newer = serde_json::to_value(status()).unwrap();
    newer["state"] = json!("migrating");
    newer["refusals"]["gpu"] = json!(3);
    let read: WorkloadStatus = serde_json::from_value(newer).unwrap();
    assert_eq!(read, WorkloadStatus { state: State::Unknown, ..status() });
}

fn back<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

fn names() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9]{0,8}(-[a-z][a-z0-9]{0,8}){0,2}".prop_map(|text| Name::new(text).unwrap())
}

fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

fn healths() -> impl Strategy<Value = PluginHealth> {
    (text(), any::<bool>(), option::of(text())).prop_map(|(plugin, healthy, detail)| PluginHealth {
        plugin,
        healthy,
        detail,
    })
}

fn heartbeats() -> impl Strategy<Value = Heartbeat> {
    let summary = (text(), select(&STATES[..]), vec(healths(), 0..3))
        .prop_map(|(id, state, unhealthy)| WorkloadSummary { id, state, unhealthy });
    let labels = btree_map(text(), text(), 0..4);
    (text(), text(), labels, text(), any::<u32>(), any::<u64>(), vec(summary, 0..4)).prop_map(
        |(id, friendly_name, labels, version, api_version, uptime_ms, workloads)| Heartbeat {
            id,
            friendly_name,
            labels,
            version,
            api_version,
            uptime_ms,
            workloads,
        },
    )
}

fn statuses() -> impl Strategy<Value = WorkloadStatus> {
    let states = [ServiceState::Running, ServiceState::Restarting, ServiceState::Ended, ServiceState::Failed];
    let service = (names(), any::<u64>(), select(states.to_vec()))
        .prop_map(|(component, restarts, state)| ServiceStatus { component, restarts, state });
    let health = healths();
    let refusals = btree_map(select(Limit::ALL), any::<u64>(), 0..4);
    let lists = (vec(names(), 0..3), vec(service, 0..3), vec(health, 0..3), vec(text(), 0..3));
    (text(), option::of(text()), select(&STATES[..]), any::<[usize; 4]>(), refusals, any::<u64>(), lists).prop_map(
        |(id, version, state, counts, refusals, uptime_ms, (entries, services, health, warnings))| WorkloadStatus {
            id,
            version,
            state,
            entries,
            components: counts[0],
            calls: counts[1],
            ready: counts[2],
            shared: counts[3],
            refusals,
            uptime_ms,
            services,
            health,
            warnings,
        },
    )
}

fn errors() -> impl Strategy<Value = ApiError> {
    let severity = select(vec![Severity::Error, Severity::Warning]);
    let parts = (severity, option::of(text()), text(), option::of(text()), vec(text(), 0..3), option::of(text()));
    let diagnostic = parts.prop_map(|(severity, code, message, place, notes, hint)| {
        let mut diagnostic = Diagnostic::error(message);
        diagnostic.severity = severity;
        diagnostic.code = code;
        diagnostic.place = place;
        diagnostic.notes = notes;
        diagnostic.hint = hint;
        diagnostic
    });
    (select(ErrorCode::ALL), text(), vec(text(), 0..3), vec(diagnostic, 0..3)).prop_map(
        |(code, message, causes, diagnostics)| {
            let mut error = ApiError::new(code, message).with_diagnostics(diagnostics);
            error.causes = causes;
            error
        },
    )
}

proptest! {
    #[test]
    fn every_heartbeat_survives_the_wire(value in heartbeats()) {
        prop_assert_eq!(back(&value), value);
    }

    #[test]
    fn every_status_survives_the_wire(value in statuses()) {
        prop_assert_eq!(back(&value), value);
    }

    #[test]
    fn every_error_survives_the_wire(value in errors()) {
        prop_assert_eq!(back(&value), value);
    }

    #[test]
    fn every_call_survives_the_wire(component in text(), call in text(), results in vec(text(), 0..4)) {
        let request = CallRequest::new(component, call);
        prop_assert_eq!(back(&request), request);
        let response = CallResponse { results };
        prop_assert_eq!(back(&response), response);
    }
}
