//! The log of what a component's `hosts` denied: each target once, so that an operator sees what to add, and a component cannot
//! flood the log.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::guest_log::bounded;

/// The most targets that are logged for a component.
const MAX_TARGETS: usize = 64;
/// The longest target in the log, in bytes. That of a host name (RFC 1035) with a scheme and a port is shorter.
const MAX_TARGET: usize = 280;

/// What was denied to a component of a workload.
#[derive(Debug, Default)]
pub(in crate::wasi) struct Denials {
    workload: String,
    component: String,
    logged: Mutex<HashSet<String>>,
}

impl Denials {
    pub(in crate::wasi) fn new(workload: String, component: String) -> Self {
        Self { workload, component, logged: Mutex::default() }
    }

    /// Logs that a target was denied, in the form of an entry of `hosts` that would allow it, and why.
    pub(super) fn log(&self, target: &str, why: &str) {
        // Names have no case, and a dot at their end changes nothing.
        let target = target.to_ascii_lowercase();
        let target = bounded(target.trim_end_matches('.'), MAX_TARGET);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() > MAX_TARGETS || logged.contains(&*target) {
            return;
        }
        logged.insert(target.clone().into_owned());
        let last = logged.len() > MAX_TARGETS;
        drop(logged);
        let Self { workload, component, .. } = self;
        if last {
            tracing::info!(workload, component, "further targets that `hosts` deny are not logged");
        } else {
            tracing::info!(workload, component, "denied `{target}`: {why}");
        }
    }
}
