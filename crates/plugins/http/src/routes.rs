//! Which component answers a request: a named host before any host, then the longest path.

use std::collections::HashMap;
use std::sync::Arc;

use wharf::workload::Name;
use wharf::workload::manifest::{HttpPath, HttpTrigger};

use crate::guest::Guest;
use crate::target;

/// The limit `headers` of a server that serves nothing yet.
const MIN_HEADERS: u64 = 64 * 1024;

/// The routes of all workloads. A request reads one whole table; a change makes a new one, which shares with the old one
/// what is the same.
#[derive(Clone, Default)]
pub(crate) struct Routes {
    by_host: HashMap<Arc<str>, Arc<Paths>>,
    any_host: Arc<Paths>,
    /// The largest limit `headers` of any workload that was ever served.
    headers: u64,
}

/// The routes of one host.
#[derive(Clone, Default)]
struct Paths {
    exact: HashMap<Arc<str>, Route>,
    below: HashMap<Arc<str>, Route>,
    /// The length of the longest path in `below`.
    longest: usize,
}

#[derive(Clone)]
struct Route {
    workload: Arc<str>,
    guest: Arc<Guest>,
}

impl Paths {
    /// The route of the longest path that matches; an exact one goes before all others.
    fn find(&self, path: &str) -> Option<&Route> {
        if let Some(route) = self.exact.get(path) {
            return Some(route);
        }
        if self.below.is_empty() {
            return None;
        }
        let mut above = path;
        loop {
            if above.len() <= self.longest
                && let Some(route) = self.below.get(above)
            {
                return Some(route);
            }
            above = &above[..above.rfind('/')?];
        }
    }

    fn of(&mut self, path: &HttpPath) -> (&mut HashMap<Arc<str>, Route>, Arc<str>) {
        match path {
            HttpPath::Exact(exact) => (&mut self.exact, target::key(exact).into()),
            HttpPath::Prefix(prefix) => {
                let key: Arc<str> = target::key(prefix).into();
                self.longest = self.longest.max(key.len());
                (&mut self.below, key)
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }
}

impl Routes {
    /// The most bytes of headers that any component takes.
    pub(crate) fn largest_headers(&self) -> u64 {
        self.headers.max(MIN_HEADERS)
    }

    /// The component that answers requests for a host and a path, as [`target`] reads them.
    pub(crate) fn find(&self, host: Option<&str>, path: &str) -> Option<&Arc<Guest>> {
        let named = host.filter(|_| !self.by_host.is_empty()).and_then(|host| {
            let lower = host.chars().any(|c| c.is_ascii_uppercase()).then(|| host.to_ascii_lowercase());
            self.by_host.get(lower.as_deref().unwrap_or(host))?.find(path)
        });
        named.or_else(|| self.any_host.find(path)).map(|route| &route.guest)
    }

    /// Adds one workload's routes.
    ///
    /// # Errors
    /// When another workload has one of the routes.
    pub(crate) fn add(
        &mut self,
        workload: &str,
        triggers: &[HttpTrigger],
        guest: impl Fn(&Name) -> Option<Arc<Guest>>,
    ) -> Result<(), String> {
        let workload: Arc<str> = workload.into();
        for trigger in triggers {
            let Some(guest) = guest(&trigger.component) else { continue };
            self.headers = self.headers.max(guest.guard().limits().headers);
            let paths = match trigger.host.as_deref() {
                Some(host) => self.by_host.entry(host.into()).or_default(),
                None => &mut self.any_host,
            };
            let (routes, path) = Arc::make_mut(paths).of(&trigger.path);
            if let Some(other) = routes.get(&path) {
                let host = trigger.host.as_deref().unwrap_or("any host");
                return Err(format!(
                    "`{}` on {host} is served for `{}` already; give one of them another path or host",
                    trigger.path, other.workload
                ));
            }
            routes.insert(path, Route { workload: workload.clone(), guest });
        }
        Ok(())
    }

    /// Takes away the routes that these triggers of a workload have.
    pub(crate) fn remove(&mut self, workload: &str, triggers: &[HttpTrigger]) {
        for trigger in triggers {
            let paths = match trigger.host.as_deref() {
                Some(host) => self.by_host.get_mut(host),
                None => Some(&mut self.any_host),
            };
            let Some(paths) = paths else { continue };
            let (routes, path) = Arc::make_mut(paths).of(&trigger.path);
            if routes.get(&path).is_some_and(|route| &*route.workload == workload) {
                routes.remove(&path);
            }
            if let Some(host) = trigger.host.as_deref()
                && self.by_host.get(host).is_some_and(|paths| paths.is_empty())
            {
                self.by_host.remove(host);
            }
        }
    }
}
