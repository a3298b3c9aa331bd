//! Selects the component that handles a request: a route for the request's host takes precedence over one for any host,
//! then an exact path, then the longest prefix.

use std::sync::Arc;

use rpds::HashTrieMapSync;
use wharf::TriggerError;
use wharf::workload::Name;
use wharf::workload::manifest::{HttpPath, HttpTrigger};

use crate::handler::ProxyHandler;
use crate::target;

/// The smallest limit on headers that the server enforces, in bytes, also without routes.
const MIN_HEADERS: u64 = 64 * 1024;

/// The routes of all workloads. A request reads one snapshot; a change creates a new table, which shares the unchanged
/// parts, so that its cost does not grow with the number of workloads.
#[derive(Clone, Default)]
pub(crate) struct Routes {
    by_host: HashTrieMapSync<Arc<str>, Paths>,
    any_host: Paths,
    /// The largest limit `headers`, in bytes, of all workloads that have had routes.
    max_headers: u64,
}

/// The routes of one host.
#[derive(Clone, Default)]
struct Paths {
    exact: HashTrieMapSync<Arc<str>, Route>,
    prefixes: HashTrieMapSync<Arc<str>, Route>,
    /// The length of the longest path in `prefixes`, in bytes.
    longest_prefix: usize,
}

#[derive(Clone)]
struct Route {
    workload: Arc<str>,
    handler: Arc<ProxyHandler>,
}

impl Paths {
    /// The route for a path: an exact one, else that of the longest matching prefix.
    fn find(&self, path: &str) -> Option<&Route> {
        if let Some(route) = self.exact.get(path) {
            return Some(route);
        }
        if self.prefixes.is_empty() {
            return None;
        }
        let mut above = path;
        loop {
            if above.len() <= self.longest_prefix
                && let Some(route) = self.prefixes.get(above)
            {
                return Some(route);
            }
            above = &above[..above.rfind('/')?];
        }
    }

    /// The table that a path belongs to, and its key in it.
    fn slot(&mut self, path: &HttpPath) -> (&mut HashTrieMapSync<Arc<str>, Route>, Arc<str>) {
        match path {
            HttpPath::Exact(exact) => (&mut self.exact, target::key(exact).into()),
            HttpPath::Prefix(prefix) => {
                let key: Arc<str> = target::key(prefix).into();
                self.longest_prefix = self.longest_prefix.max(key.len());
                (&mut self.prefixes, key)
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }
}

impl Routes {
    /// The most bytes of headers that any component accepts.
    pub(crate) fn max_header_size(&self) -> u64 {
        self.max_headers.max(MIN_HEADERS)
    }

    /// The handler for a host and a path, as [`target`] reads them.
    pub(crate) fn find(&self, host: Option<&str>, path: &str) -> Option<&Arc<ProxyHandler>> {
        let named = host.filter(|_| !self.by_host.is_empty()).and_then(|host| {
            let lower = host.chars().any(|c| c.is_ascii_uppercase()).then(|| host.to_ascii_lowercase());
            self.by_host.get(lower.as_deref().unwrap_or(host))?.find(path)
        });
        named.or_else(|| self.any_host.find(path)).map(|route| &route.handler)
    }

    /// The handlers of all routes; one that has several routes is there for each.
    pub(crate) fn handlers(&self) -> impl Iterator<Item = &Arc<ProxyHandler>> {
        let paths = self.by_host.values().chain([&self.any_host]);
        let routes = paths.flat_map(|paths| paths.exact.values().chain(paths.prefixes.values()));
        routes.map(|route| &route.handler)
    }

    /// Adds one workload's routes.
    ///
    /// # Errors
    /// Every route that another workload has already.
    pub(crate) fn add(
        &mut self,
        workload: &str,
        triggers: &[HttpTrigger],
        handler: impl Fn(&Name) -> Option<Arc<ProxyHandler>>,
    ) -> Result<(), TriggerError> {
        let workload: Arc<str> = workload.into();
        let mut errors = Vec::new();
        for (i, trigger) in triggers.iter().enumerate() {
            let Some(handler) = handler(&trigger.component) else { continue };
            self.max_headers = self.max_headers.max(handler.tracker().limits().headers);
            let host = trigger.host.as_deref();
            let mut paths = self.paths(host).cloned().unwrap_or_default();
            let (routes, path) = paths.slot(&trigger.path);
            if let Some(other) = routes.get(&path) {
                let host = host.unwrap_or("any host");
                let message = format!(
                    "duplicate route `{}` on {host}: workload `{}` has it already",
                    trigger.path, other.workload
                );
                let place = format!("triggers.http.{i}.path");
                errors.push(TriggerError::new(message).at(place).hint("change the path or host of one of them"));
                continue;
            }
            routes.insert_mut(path, Route { workload: workload.clone(), handler });
            self.set_paths(host, paths);
        }
        TriggerError::all(errors).map_or(Ok(()), Err)
    }

    /// Removes the routes that these triggers of a workload have.
    pub(crate) fn remove(&mut self, workload: &str, triggers: &[HttpTrigger]) {
        for trigger in triggers {
            let host = trigger.host.as_deref();
            let Some(mut paths) = self.paths(host).cloned() else { continue };
            let (routes, path) = paths.slot(&trigger.path);
            if routes.get(&path).is_some_and(|route| &*route.workload == workload) {
                routes.remove_mut(&path);
                self.set_paths(host, paths);
            }
        }
    }

    fn paths(&self, host: Option<&str>) -> Option<&Paths> {
        match host {
            Some(host) => self.by_host.get(host),
            None => Some(&self.any_host),
        }
    }

    fn set_paths(&mut self, host: Option<&str>, paths: Paths) {
        match host {
            Some(host) if paths.is_empty() => {
                self.by_host.remove_mut(host);
            }
            Some(host) => self.by_host.insert_mut(host.into(), paths),
            None => self.any_host = paths,
        }
    }
}
