//! [`wasmcloud:secrets`] for Wharf: a component looks up the secrets that it was granted, and reveals them when it needs them.
//!
//! A workload declares where a secret is, `[secrets.api-key]` with `file` or `env`, and grants it to components by name,
//! `secrets = ["api-key"]`. The values are read when the workload starts, are wiped from the host's memory when it stops, and show in
//! no log, plan, dump or error.
//!
//! ```
//! use wharf::{Engine, Host};
//! use wharf_secrets::SecretsPlugin;
//! use wharf_stores::{InputPolicy, Policy, ProcessEnvironment};
//!
//! let mut policy = Policy::default();
//! policy.inputs = InputPolicy::default().with_environment(ProcessEnvironment);
//! let engine = Engine::builder().pooling(false).build().unwrap();
//! let host = Host::builder(engine).plugin(SecretsPlugin::new(&policy)).build().unwrap();
//! assert!(host.interfaces().iter().any(|i| i.name.to_string() == "wasmcloud:secrets/store@2.1.0"));
//! ```
//!
//! [`wasmcloud:secrets`]: https://github.com/wasmCloud/wasmCloud

mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package wasmcloud:secrets@2.1.0;
            interface store {
                variant secrets-error { upstream(string), io(string), not-found }
                variant secret-value { %string(string), bytes(list<u8>) }
                resource secret;
                get: async func(key: string) -> result<secret, secrets-error>;
            }
            interface reveal {
                use store.{secret, secret-value};
                reveal: async func(s: borrow<secret>) -> secret-value;
            }
            world imports { import store; import reveal; }
        ",
        imports: { default: async | store | trappable },
        with: { "wasmcloud:secrets/store.secret": crate::Secret },
    });
}

use std::any::Any;
use std::collections::BTreeMap;

use async_trait::async_trait;
use bindings::wasmcloud::secrets::{reveal, store};
use wasmtime::component::{Accessor, HasData, Resource, ResourceTable};
use wharf::limits::Limits;
use wharf::plugin::{PlannedImport, Planning};
use wharf::workload::Name;
use wharf::workload::manifest::SettingsKey;
use wharf::{Binding, Link, Opening, Plugin, PluginError, Provided, Scope, StoreData, View};
use wharf_stores::{Granted, Policy, SecretSource, SecretValue};

const KEY: &str = "secrets";

/// Provides `wasmcloud:secrets`.
#[derive(Clone, Debug, Default)]
pub struct SecretsPlugin {
    policy: Policy,
}

impl SecretsPlugin {
    /// A plugin for a host with this policy.
    pub fn new(policy: &Policy) -> Self {
        Self { policy: policy.clone() }
    }
}

/// The secrets of a workload, read.
struct Read(BTreeMap<Name, SecretValue>);

/// The secrets of a component, by the name that the guest asks for.
struct Secrets(BTreeMap<String, SecretValue>);

/// A secret that a guest holds a handle to.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Secret(SecretValue);

#[async_trait]
impl Plugin for SecretsPlugin {
    fn name(&self) -> &'static str {
        KEY
    }

    fn interfaces(&self) -> Vec<Provided> {
        ["store", "reveal", "secret"].map(|name| Provided::grant(format!("wasmcloud:secrets/{name}@2.1.0"))).to_vec()
    }

    fn settings(&self) -> Vec<SettingsKey> {
        let key = SettingsKey::new(KEY).with_path("*.file");
        vec![key.in_workload::<BTreeMap<Name, SecretSource>>().in_component::<Granted>()]
    }

    fn plan(&self, planning: &mut Planning<'_>) {
        let declared: BTreeMap<Name, SecretSource> = planning.settings(KEY).unwrap_or_default();
        for (name, source) in &declared {
            if let Err(error) = self.policy.inputs_of(planning.workload()).check_secret(source) {
                planning.problem(error.below(&format!("{KEY}.{name}")));
            }
        }
        for (component, _) in planning.components() {
            let granted: Granted = planning.component_settings(component, KEY).unwrap_or_default();
            for (guest, name, place) in granted.iter() {
                let place = format!("components.{component}.{KEY}.{place}");
                match declared.get(name) {
                    Some(source) => planning.grant(component, guest, describe(source)),
                    None => planning.problem(unknown(name).at(place)),
                }
            }
            for planned in planning.imports(component) {
                let is_granted = |label: &str| granted.iter().any(|(guest, ..)| guest == label);
                if let Some(problem) = without_grant(component, planned, granted.is_empty(), is_granted) {
                    planning.problem(problem.at(format!("components.{component}")));
                }
            }
        }
    }

    async fn open(&self, opening: &mut Opening<'_>) -> Result<(), PluginError> {
        let declared: BTreeMap<Name, SecretSource> = opening.settings(KEY)?.unwrap_or_default();
        let (mut read, mut errors) = (BTreeMap::new(), Vec::new());
        for (name, source) in declared {
            match self.policy.inputs_of(opening.workload()).read_secret(&source).await {
                Ok(value) => drop(read.insert(name, value)),
                Err(error) => errors.push(error.below(&format!("{KEY}.{name}"))),
            }
        }
        opening.insert(Read(read));
        PluginError::all(errors).map_or(Ok(()), Err)
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let granted: Granted = binding.settings(KEY)?.unwrap_or_default();
        let mut secrets = BTreeMap::new();
        for (guest, name, place) in granted.iter() {
            let value = binding.opened::<Read>().and_then(|read| read.0.get(name));
            let value = value.ok_or_else(|| unknown(name).at(format!("{KEY}.{place}")))?;
            secrets.insert(guest.to_owned(), value.clone());
        }
        binding.insert(Secrets(secrets));
        Ok(())
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Held<'static>>();
        let label = link.label().unwrap_or_default().to_owned();
        match link.interface().interface.as_str() {
            "store" => store::add_to_linker_instance::<StoreData, Held<'static>>(&mut link.instance()?, get),
            "reveal" => reveal::add_to_linker_instance::<StoreData, Held<'static>>(&mut link.instance()?, get),
            // The label is the name of the secret, and was checked when the workload was planned.
            _ => link.instance()?.func_wrap_concurrent("get", move |accessor, ()| {
                let label = label.clone();
                Box::pin(async move {
                    accessor.with(|mut access| {
                        let mut held = get(access.data_mut());
                        let secret = held.find(&label)?;
                        Ok((secret.ok_or_else(|| wasmtime::format_err!("no secret `{label}`"))?,))
                    })
                })
            }),
        }
    }

    fn resource_size(&self, resource: &(dyn Any + Send), _: &Limits) -> usize {
        resource.downcast_ref::<Secret>().map_or(0, |secret| secret.0.reveal().len())
    }
}

fn describe(source: &SecretSource) -> String {
    match (&source.file, &source.env) {
        (Some(file), _) => format!("file {}", file.display()),
        (None, variable) => format!("environment {}", variable.as_deref().unwrap_or_default()),
    }
}

fn unknown(name: &Name) -> PluginError {
    let hint = format!("add `[{KEY}.{name}]` with `file` or `env`");
    PluginError::new(format!("unknown secret `{name}`")).hint(hint)
}

/// What is wrong with an import that no grant serves.
fn without_grant(
    component: &Name,
    planned: &PlannedImport,
    nothing: bool,
    is_granted: impl Fn(&str) -> bool,
) -> Option<PluginError> {
    let interface = &planned.import.interface;
    match (interface.interface.as_str(), planned.import.label.as_deref()) {
        ("secret", Some(label)) if is_granted(label) => None,
        ("secret", Some(label)) => Some(
            PluginError::new(format!("`{component}` imports the secret `{label}`, but is not granted it"))
                .hint(format!("grant it: `{KEY} = [\"{label}\"]`, or `{KEY} = {{ {label} = \"<name>\" }}`")),
        ),
        ("secret", None) => Some(
            PluginError::new(format!("`{component}` imports `{interface}` without a label, which names the secret"))
                .hint("import it under a label, or import `wasmcloud:secrets/store`"),
        ),
        ("store", _) if nothing => Some(
            PluginError::new(format!("`{component}` imports `{interface}`, but is granted no secret"))
                .hint(format!("declare one as `[{KEY}.<name>]`, and grant it: `{KEY} = [\"<name>\"]`")),
        ),
        _ => None,
    }
}

/// The data of the bindings: the calling component's secrets and handles.
struct Held<'a> {
    secrets: &'a Secrets,
    table: &'a mut ResourceTable,
}

impl HasData for Held<'static> {
    type Data<'a> = Held<'a>;
}

impl View for Held<'static> {
    type Of = Self;
    fn view(scope: Scope<'_>) -> Held<'_> {
        Held { secrets: scope.binding(), table: scope.table }
    }
}

impl Held<'_> {
    /// A handle to a secret; `None` unless the component was granted it.
    fn find(&mut self, name: &str) -> wasmtime::Result<Option<Resource<Secret>>> {
        let Some(value) = self.secrets.0.get(name) else { return Ok(None) };
        Ok(Some(self.table.push(Secret(value.clone()))?))
    }
}

impl store::Host for Held<'_> {}
impl store::HostSecret for Held<'_> {}
impl reveal::Host for Held<'_> {}

impl<T: Send> store::HostWithStore<T> for Held<'static> {
    async fn get(
        accessor: &Accessor<T, Self>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<Secret>, store::SecretsError>> {
        let found = accessor.with(|mut access| access.get().find(&key))?;
        Ok(found.ok_or(store::SecretsError::NotFound))
    }
}

impl<T: Send> store::HostSecretWithStore<T> for Held<'static> {
    async fn drop(accessor: &Accessor<T, Self>, secret: Resource<Secret>) -> wasmtime::Result<()> {
        accessor.with(|mut access| access.get().table.delete(secret))?;
        Ok(())
    }
}

impl<T: Send> reveal::HostWithStore<T> for Held<'static> {
    async fn reveal(accessor: &Accessor<T, Self>, secret: Resource<Secret>) -> wasmtime::Result<store::SecretValue> {
        accessor.with(|mut access| {
            let bytes = access.get().table.get(&secret)?.0.reveal().to_vec();
            Ok(match String::from_utf8(bytes) {
                Ok(text) => store::SecretValue::String(text),
                Err(error) => store::SecretValue::Bytes(error.into_bytes()),
            })
        })
    }
}
