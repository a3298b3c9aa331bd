//! The limits of a workload, by the names that manifests use.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// A limit that a call or an instance can reach.
///
/// ```
/// use wharf_api::Limit;
///
/// assert_eq!(Limit::RequestBody.name(), "request-body");
/// assert!(Limit::ALL.contains(&Limit::Instances));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Limit {
    /// `limits.memory`: linear memories and tables of an instance, and what the host holds for it, in bytes.
    Memory,
    /// `limits.time`: wall-clock time of a call, to the last byte of its response.
    Time,
    /// `limits.after-response`: wall-clock time of an instance after its calls returned.
    AfterResponse,
    /// `limits.cpu`: CPU time of a call.
    Cpu,
    /// `limits.concurrency`: calls at once.
    Concurrency,
    /// `limits.request-body`: size of a request's body, in bytes.
    RequestBody,
    /// `limits.response-body`: size of a response's body, in bytes.
    ResponseBody,
    /// `limits.headers`: size of all headers of a message together, in bytes.
    Headers,
    /// `limits.connections`: open sockets, and outgoing HTTP requests, each.
    Connections,
    /// `limits.files`: open files and directories.
    Files,
    /// `limits.log-rate`: log lines a second.
    LogRate,
    /// No limit of a workload: the instances in the host's pool.
    Instances,
}

impl Limit {
    /// Every limit, in the order of declaration: `ALL[limit as usize] == limit`.
    pub const ALL: &'static [Self] = &[
        Self::Memory,
        Self::Time,
        Self::AfterResponse,
        Self::Cpu,
        Self::Concurrency,
        Self::RequestBody,
        Self::ResponseBody,
        Self::Headers,
        Self::Connections,
        Self::Files,
        Self::LogRate,
        Self::Instances,
    ];

    /// The name, as the manifest and the wire spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Time => "time",
            Self::AfterResponse => "after-response",
            Self::Cpu => "cpu",
            Self::Concurrency => "concurrency",
            Self::RequestBody => "request-body",
            Self::ResponseBody => "response-body",
            Self::Headers => "headers",
            Self::Connections => "connections",
            Self::Files => "files",
            Self::LogRate => "log-rate",
            Self::Instances => "instances",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads counts by limit, without the limits that only a newer host has: one of those is no reason to refuse the status.
pub(crate) fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Limit, u64>, D::Error> {
    let counts = BTreeMap::<String, u64>::deserialize(deserializer)?;
    let find = |name: &str| Limit::ALL.iter().copied().find(|limit| limit.name() == name);
    Ok(counts.into_iter().filter_map(|(name, count)| Some((find(&name)?, count))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_place_and_its_name_on_the_wire() {
        for (i, limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(*limit as usize, i);
            assert_eq!(serde_json::to_value(limit).unwrap(), limit.name());
        }
    }
}
