//! Plan: the provider of each import of a workload, without running it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tracing::Instrument as _;
use workload::{Name, Problem, Resolution, Severity, Workload};

use super::Inner;
use crate::plugin::{Grant, Planning};
use crate::prepare::grant::planned_imports;
use crate::prepare::load::{LoadError, Loaded, fetch, load};

/// The provider of each import of a workload, and every problem that keeps it from running.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The components' code and types.
    pub loaded: Loaded,
    /// The provider of each import.
    pub resolution: Resolution,
    /// The components that could not be loaded.
    pub unloaded: Vec<LoadError>,
    /// All other problems, warnings among them.
    pub problems: Vec<Problem>,
    /// What plugins grant to each component, as they describe it. What the manifest itself has, such as `hosts`, is not repeated.
    pub grants: BTreeMap<Name, Vec<Grant>>,
}

impl Plan {
    /// Whether the workload can run.
    pub fn is_runnable(&self) -> bool {
        self.unloaded.is_empty() && workload::resolve::runs(&self.problems)
    }
}

/// Whose workload it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A user's.
    User,
    /// The host's, of the components that it provides.
    Host,
}

/// A workload of a user in the host's own namespace.
fn reserved() -> Problem {
    Problem::Invalid {
        place: "namespace".to_owned(),
        message: format!("the namespace `{}` is for the host's own components", Workload::HOST_NAMESPACE),
        hint: Some("choose another one, or leave it out".to_owned()),
    }
}

/// Validates, loads and resolves a workload, and continues with `then` on the same thread: all of it computes for long, which
/// would block an async thread, and each change of threads takes longer than the stages of a small workload.
pub(super) async fn plan<T: Send + 'static>(
    host: &Arc<Inner>,
    workload: Workload,
    owner: Owner,
    then: impl FnOnce(Workload, Plan) -> T + Send + 'static,
) -> T {
    let span = tracing::debug_span!("load", workload = workload.id());
    let fetched = fetch(&workload, &*host.sources).instrument(span.clone()).await;
    let host = host.clone();
    let planning = tokio::task::spawn_blocking(move || {
        let (loaded, unloaded) = span.in_scope(|| load(&workload, fetched));
        let plan = tracing::debug_span!("resolve", workload = workload.id()).in_scope(|| {
            let mut problems = workload::validate(&workload, &host.extensions);
            // The host's own components are resolved among themselves.
            let none = workload::resolve::Provided::default();
            let provided = host.provided.get().filter(|_| owner == Owner::User);
            let offered = provided.map_or(&none, |provided| &provided.offered);
            let (types, interfaces) = (&loaded.types, &host.interfaces);
            let (resolution, unresolved) =
                workload::resolve_with(&workload, types, interfaces, offered, &host.extensions);
            problems.extend(unresolved);
            if owner == Owner::User {
                problems.extend(host.ceilings.problems(&workload));
                problems.extend(workload.is_of_host().then(reserved));
            }
            let grants = ask_plugins(&host, &workload, &loaded, &resolution, &mut problems);
            let mut loaded = loaded;
            for (name, of) in &resolution.provided {
                if let Some(code) = provided.and_then(|provided| provided.code.get(&of.component)) {
                    loaded.code.insert(name.clone(), code.clone());
                }
            }
            Plan { loaded, resolution, unloaded, problems, grants }
        });
        then(workload, plan)
    });
    match planning.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and drops this task, too.
            Err(_) => std::future::pending().await,
        },
    }
}

/// What the plugins find wrong with the workload, and what they grant to its components.
fn ask_plugins(
    host: &Inner,
    workload: &Workload,
    loaded: &Loaded,
    resolution: &Resolution,
    problems: &mut Vec<Problem>,
) -> BTreeMap<Name, Vec<Grant>> {
    let mut grants: BTreeMap<Name, Vec<Grant>> = BTreeMap::new();
    // Validation reports what a plugin cannot decode, too.
    let errors = problems.iter().filter(|problem| problem.severity() == Severity::Error);
    let reported: HashSet<String> = errors.map(Problem::place).collect();
    for (index, plugin) in host.plugins.0.iter().enumerate() {
        let imports = planned_imports(workload, resolution, &loaded.types, &host.plugins, index);
        let (plugin_name, grants_of) = (plugin.name(), BTreeMap::new());
        let mut planning =
            Planning { plugin: plugin_name, workload, imports: &imports, problems: Vec::new(), grants: grants_of };
        plugin.plan(&mut planning);
        problems.extend(planning.problems.into_iter().filter(|problem| !reported.contains(&problem.place())));
        for (component, granted) in planning.grants {
            grants.entry(component).or_default().extend(granted);
        }
    }
    grants
}
