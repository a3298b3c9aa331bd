//! Which component answers a request: a named host before any host, then the longest path.

use std::collections::HashMap;
use std::sync::Arc;

use wharf::workload::Name;
use wharf::workload::manifest::{HttpPath, HttpTrigger};

use crate::guest::Guest;

/// The routes of all workloads. A request reads one whole table; a change makes a new one.
#[derive(Default)]
pub(crate) struct Routes {
    by_host: HashMap<String, Vec<Route>>,
    any_host: Vec<Route>,
}

#[derive(Clone)]
struct Route {
    path: HttpPath,
    workload: String,
    guest: Arc<Guest>,
}

impl Routes {
    /// The component that answers.
    pub(crate) fn find(&self, host: Option<&str>, path: &str) -> Option<&Arc<Guest>> {
        let first = |routes: &'_ [Route]| routes.iter().position(|route| route.path.matches(path));
        if !self.by_host.is_empty()
            && let Some(host) = host
        {
            let lower = host.chars().any(|c| c.is_ascii_uppercase()).then(|| host.to_ascii_lowercase());
            let routes = self.by_host.get(lower.as_deref().unwrap_or(host)).map_or(&[][..], Vec::as_slice);
            if let Some(i) = first(routes) {
                return Some(&routes[i].guest);
            }
        }
        first(&self.any_host).map(|i| &self.any_host[i].guest)
    }

    /// The table with one workload's routes added.
    ///
    /// # Errors
    /// When another workload has one of the routes.
    pub(crate) fn with(
        &self,
        workload: &str,
        triggers: &[HttpTrigger],
        guest: impl Fn(&Name) -> Option<Arc<Guest>>,
    ) -> Result<Self, String> {
        let mut routes = Self { by_host: self.by_host.clone(), any_host: self.any_host.clone() };
        for trigger in triggers {
            let Some(guest) = guest(&trigger.component) else { continue };
            let list = match &trigger.host {
                Some(host) => routes.by_host.entry(host.clone()).or_default(),
                None => &mut routes.any_host,
            };
            if let Some(other) = list.iter().find(|route| route.path == trigger.path) {
                let host = trigger.host.as_deref().unwrap_or("any host");
                return Err(format!(
                    "`{}` on {host} is served for `{}` already; give one of them another path or host",
                    trigger.path, other.workload
                ));
            }
            list.push(Route { path: trigger.path.clone(), workload: workload.to_owned(), guest });
            list.sort_by_key(|route| std::cmp::Reverse(route.path.weight()));
        }
        Ok(routes)
    }

    /// The table without one workload's routes.
    pub(crate) fn without(&self, workload: &str) -> Self {
        let keep = |routes: &Vec<Route>| -> Vec<Route> {
            routes.iter().filter(|route| route.workload != workload).cloned().collect()
        };
        let by_host = self.by_host.iter().map(|(host, routes)| (host.clone(), keep(routes)));
        Self { by_host: by_host.filter(|(_, routes)| !routes.is_empty()).collect(), any_host: keep(&self.any_host) }
    }
}
