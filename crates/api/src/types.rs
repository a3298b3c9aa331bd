//! The status of hosts and workloads, and calls.
//!
//! Data alone: every type serialises to JSON, whose text `tests/golden/` pins, and reads it back without the fields that
//! this version does not know. A field that comes later has a default, so that the status of an older host is read, too.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use workload::Name;

use crate::limit::{self, Limit};

/// The status of a host.
///
/// ```
/// let text = r#"{
///     "id": "8f14e45f", "friendly_name": "edge-1", "labels": { "zone": "eu" }, "version": "0.1.0", "api_version": 1,
///     "uptime_ms": 1500, "workloads": [{ "id": "default/guestbook", "state": "running" }]
/// }"#;
/// let heartbeat: wharf_api::Heartbeat = serde_json::from_str(text)?;
/// assert_eq!(heartbeat.workloads[0].state, wharf_api::State::Running);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// A unique id, which is new at each start of the host.
    pub id: String,
    /// A display name.
    pub friendly_name: String,
    /// The labels that the host is configured with.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The release of Wharf.
    pub version: String,
    /// The newest version of the API that the host supports: [`API_VERSION`](crate::API_VERSION) of its release.
    pub api_version: u32,
    /// Time since the host started, in milliseconds.
    pub uptime_ms: u64,
    /// The workloads on the host, in the order of their ids.
    pub workloads: Vec<WorkloadSummary>,
}

/// A workload in a [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadSummary {
    /// `namespace/name`.
    pub id: String,
    /// Where it is between start and stop.
    pub state: State,
    /// The plugins that it uses and that cannot serve it, and why. Empty when all can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unhealthy: Vec<PluginHealth>,
}

/// The status of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadStatus {
    /// `namespace/name`.
    pub id: String,
    /// The version that the workload declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it is between start and stop.
    pub state: State,
    /// The entry components: those that triggers call.
    pub entries: Vec<Name>,
    /// The number of components.
    pub components: usize,
    /// The calls that run or wait for admission.
    pub calls: usize,
    /// The idle instances: warm ones, and used ones that another call can reuse.
    pub ready: usize,
    /// The instances that serve several calls at once, or that run on after their calls returned.
    pub shared: usize,
    /// The number of refusals by each limit that was reached. A reader drops limits that it does not know.
    #[serde(default, deserialize_with = "limit::known")]
    pub refusals: BTreeMap<Limit, u64>,
    /// Time since the workload started, in milliseconds.
    pub uptime_ms: u64,
    /// The services.
    #[serde(default)]
    pub services: Vec<ServiceStatus>,
    /// The health of the plugins that the workload uses.
    #[serde(default)]
    pub health: Vec<PluginHealth>,
    /// The warnings of its start.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The states of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum State {
    /// The host loads and links it; it takes no calls yet.
    Starting,
    /// It takes calls.
    Running,
    /// It takes no new calls, and the host waits for those that run.
    Stopping,
    /// It takes no calls, and none runs.
    Stopped,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The status of a service: a component that runs as long as its workload does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// The component.
    pub component: Name,
    /// The number of restarts since the workload started.
    pub restarts: u64,
    /// Its state.
    #[serde(default)]
    pub state: ServiceState,
}

/// The states of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ServiceState {
    /// It runs.
    Running,
    /// It has ended, and starts again after a delay.
    Restarting,
    /// It has ended with exit code 0, and its restart policy does not start it again.
    Ended,
    /// It has failed, and its restart policy does not start it again.
    Failed,
    /// A state that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The health of a plugin and its backend, such as a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginHealth {
    /// The plugin's name.
    pub plugin: String,
    /// Whether its backend works.
    pub healthy: bool,
    /// Why the backend does not work, or which backend it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Workloads of a host, in the order of their ids, as [`HostApi::workload_list`](crate::HostApi::workload_list) gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadPage {
    /// Their status, without the health of their plugins.
    pub workloads: Vec<WorkloadStatus>,
    /// The id after which the next page begins. `None` at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Lines that a workload logged, as [`HostApi::workload_logs`](crate::HostApi::workload_logs) gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPage {
    /// The lines, the oldest first.
    pub lines: Vec<LogLine>,
    /// What to ask for to get the lines after these.
    pub next: u64,
    /// The number of lines between those that were asked for and these: the host keeps the last ones only.
    #[serde(default)]
    pub dropped: u64,
}

/// A line of a workload's log: what a component wrote, or that a call of it failed. Control characters are escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Its number in the workload's log, from 0.
    pub number: u64,
    /// When it was written, in milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The component.
    pub component: String,
    /// `stdout`, `stderr`, or the context that the component gave to `wasi:logging`. `None` for what the host says about the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The line. A traceback is one, with line breaks in it.
    pub text: String,
}

/// How a call's results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CallFormat {
    /// WAVE, the component model's text format for values.
    #[default]
    Wave,
    /// JSON, which is read again as arguments.
    Json,
}

/// A call of an exported function, as [`HostApi::call`](crate::HostApi::call) makes it.
///
/// [WAVE](https://github.com/bytecodealliance/wasm-tools/tree/main/crates/wasm-wave) is the component model's text format
/// for values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallRequest {
    /// The entry component. It can be left out if the workload has one entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The function and its arguments in WAVE or JSON: `greet("you")`, `acme:shop/cart#add({"sku": "a", "count": 2})`, or
    /// `wasi:cli/run@0.2.0#run()`.
    pub call: String,
    /// How the results are written.
    #[serde(default)]
    pub format: CallFormat,
}

impl CallRequest {
    /// A call of an entry component's function, with results in WAVE.
    pub fn new(component: impl Into<String>, call: impl Into<String>) -> Self {
        Self { component: Some(component.into()), call: call.into(), format: CallFormat::Wave }
    }
}

/// The results of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallResponse {
    /// The results in the format that was asked for, in order. A function of today has one or none.
    pub results: Vec<String>,
}
