//! SQL for Wharf: `wasmcloud:postgres`, `spin:postgres` and `spin:sqlite` on SQLite and PostgreSQL.
//!
//! A workload declares databases, `[sql.main]`, and grants them to components by name, `sql = ["main"]`. Without a server it is SQLite;
//! `wasmcloud:postgres` runs on both.
//!
//! ```
//! use wharf::{Engine, Host};
//! use wharf_sql::SqlPlugin;
//! use wharf_stores::Policy;
//!
//! let engine = Engine::builder().pooling(false).build().unwrap();
//! let policy = Policy::default().with_state("/var/lib/app");
//! let host = Host::builder(engine).plugin(SqlPlugin::new(policy)).build().unwrap();
//! assert!(host.interfaces().iter().any(|i| i.name.to_string() == "wasmcloud:postgres/query@0.2.0"));
//! ```

#[allow(unreachable_pub, missing_docs, reason = "generated bindings re-export what they are given")]
mod bindings;
mod declaration;
mod embedded;
mod handle;
pub mod postgres;
mod spin_postgres;
mod spin_sqlite;
pub mod sqlite;
mod store;
mod wasmcloud;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use wharf::plugin::{PlannedImport, Planning};
use wharf::workload::Name;
use wharf::workload::manifest::SettingsKey;
use wharf::{Binding, Link, Opening, Plugin, PluginError, Provided, StoreData};
use wharf_stores::{Granted as GrantedNames, Kind, Policy, PolicyError, Registry, Stores, component_stores};

pub use declaration::Database;

use handle::{Granted, HasDatabases};
use store::{Access, Engine};

const INTERFACES: [&str; 8] = [
    "wasmcloud:postgres/types@0.1.1-draft",
    "wasmcloud:postgres/query@0.1.1-draft",
    "wasmcloud:postgres/prepared@0.1.1-draft",
    "wasmcloud:postgres/types@0.2.0",
    "wasmcloud:postgres/query@0.2.0",
    "wasmcloud:postgres/prepared@0.2.0",
    "spin:sqlite/sqlite@3.0.0",
    "spin:postgres/postgres@4.0.0",
];

/// Provides SQL databases.
#[derive(Default)]
pub struct SqlPlugin {
    policy: Policy,
    registry: Registry<Engine>,
}

impl SqlPlugin {
    /// A plugin for a host with this policy.
    pub fn new(policy: Policy) -> Self {
        Self { policy, registry: Registry::default() }
    }

    /// Checks the databases that the policy puts in the place of others.
    ///
    /// # Errors
    /// [`PolicyError`] with its place in the host's configuration.
    pub fn check_policy(policy: &Policy) -> Result<(), PolicyError> {
        policy.check::<Database>()
    }
}

/// The database of interfaces without names: the one that a component is granted, or of several the one that is its `default`.
fn sole<T: Clone>(granted: &BTreeMap<String, T>) -> Option<T> {
    match granted.len() {
        1 => granted.values().next().cloned(),
        _ => granted.get("default").cloned(),
    }
}

#[async_trait]
impl Plugin for SqlPlugin {
    fn name(&self) -> &'static str {
        Kind::Sql.key()
    }

    fn interfaces(&self) -> Vec<Provided> {
        INTERFACES.map(Provided::grant).to_vec()
    }

    fn settings(&self) -> Vec<SettingsKey> {
        let key = SettingsKey::new(Kind::Sql.key()).with_path("*.roots");
        vec![key.in_workload::<BTreeMap<Name, Database>>().in_component::<GrantedNames>()]
    }

    fn has_targets(&self) -> bool {
        true
    }

    fn plan(&self, planning: &mut Planning<'_>) {
        let opens = |planned: &PlannedImport| planned.import.interface.interface != "types";
        wharf_stores::plan::<Database>(planning, &self.policy, opens);
        for (name, _) in planning.components() {
            let granted: GrantedNames = planning.component_settings(name, Kind::Sql.key()).unwrap_or_default();
            let granted: BTreeMap<_, _> = granted.iter().map(|(guest, ..)| (guest.to_owned(), ())).collect();
            let without_name = |planned: &PlannedImport| {
                planned.target.is_none() && planned.import.interface.namespace == "wasmcloud" && opens(planned)
            };
            if planning.imports(name).iter().any(without_name) && granted.len() > 1 && sole(&granted).is_none() {
                let message = format!("`{name}` is granted several databases, and none of them is its `default`");
                let error = PluginError::new(message).at(format!("components.{name}.{}", Kind::Sql));
                planning
                    .problem(error.hint("write `sql = { default = \"<name>\" }`, or link a label to each database"));
            }
        }
    }

    async fn open(&self, opening: &mut Opening<'_>) -> Result<(), PluginError> {
        let stores = Stores::open(&self.policy, &self.registry, opening.workload(), store::open).await?;
        opening.insert(stores);
        Ok(())
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let engines = match binding.opened::<Stores<Engine>>() {
            Some(stores) => component_stores(Kind::Sql, binding, stores)?,
            None => BTreeMap::new(),
        };
        let by_name: BTreeMap<_, _> =
            engines.into_iter().map(|(name, engine)| (name, Arc::new(Access::new(engine)))).collect();
        let sole = match binding.target() {
            Some(target) => by_name.get(target).cloned(),
            None => sole(&by_name),
        };
        binding.insert(Granted { by_name, sole });
        Ok(())
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<HasDatabases>();
        let name = link.interface().clone();
        let draft = name.version.as_ref().is_some_and(|version| !version.pre.is_empty());
        let instance = &mut link.instance()?;
        /// Links one interface by its generated module.
        macro_rules! add {
            ($($path:ident)::+) => { $($path)::+::add_to_linker_instance::<StoreData, HasDatabases>(instance, get) };
        }
        match (name.package.as_str(), name.interface.as_str(), draft) {
            // They have types alone.
            ("postgres", "types", _) => Ok(()),
            ("postgres", "query", true) => add!(bindings::v1::wasmcloud::postgres::query),
            ("postgres", "prepared", true) => add!(bindings::v1::wasmcloud::postgres::prepared),
            ("postgres", "query", false) => add!(bindings::v2::wasmcloud::postgres::query),
            ("postgres", "prepared", false) => add!(bindings::v2::wasmcloud::postgres::prepared),
            ("sqlite", ..) => add!(bindings::sqlite::spin::sqlite::sqlite),
            ("postgres", "postgres", _) => add!(bindings::postgres::spin::postgres::postgres),
            _ => Err(wasmtime::format_err!("the plugin does not provide `{name}`")),
        }
    }
}
