//! [`wasi:config`] for Wharf: each component reads its own configuration, and that of no other component.
//!
//! The values are those of `config` in the component's section of the manifest, and those of the sources that `config-from` lists:
//! files, `.env` files and variables of the host's environment. The plugin provides `wasi:config/store` in the versions 0.2.0-rc.1 and
//! 0.2.0-draft-2024-09-27, which guests are built against today, and 0.2.0. All have the same functions.
//!
//! ```
//! use wharf::{Engine, Host};
//! use wharf_config::ConfigPlugin;
//!
//! let engine = Engine::builder().pooling(false).build().unwrap();
//! let host = Host::builder(engine).plugin(ConfigPlugin::default()).build().unwrap();
//! assert!(host.interfaces().iter().any(|i| i.name.to_string() == "wasi:config/store@0.2.0"));
//! ```
//!
//! [`wasi:config`]: https://github.com/WebAssembly/wasi-config

use std::collections::BTreeMap;

use async_trait::async_trait;

use wasmtime::component::HasData;
use wharf::plugin::{Planning, Provided};
use wharf::workload::manifest::SettingsKey;
use wharf::{Binding, Link, Plugin, PluginError, Scope, StoreData, View};
use wharf_stores::Policy;

mod source;

mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package wasi:config@0.2.0-rc.1;
            interface store {
                variant error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }
            world imports { import store; }
        ",
        imports: { default: trappable },
    });
}

use bindings::wasi::config::store;
pub use source::ConfigSource;

/// The key of a component that lists sources.
const FROM: &str = "config-from";

/// Provides `wasi:config/store`, from the `config` of each component in the manifest, and the sources that it lists.
///
/// By default the host's policy allows no source: a manifest of others could name any file or variable that the host can read.
#[derive(Clone, Debug, Default)]
pub struct ConfigPlugin {
    policy: Policy,
}

impl ConfigPlugin {
    /// A plugin for a host with this policy.
    pub fn new(policy: &Policy) -> Self {
        Self { policy: policy.clone() }
    }
}

/// A component's configuration.
struct Config(BTreeMap<String, String>);

#[async_trait]
impl Plugin for ConfigPlugin {
    fn name(&self) -> &'static str {
        "config"
    }

    fn interfaces(&self) -> Vec<Provided> {
        ["0.2.0-rc.1", "0.2.0-draft-2024-09-27", "0.2.0"]
            .map(|version| Provided::grant(format!("wasi:config/store@{version}")))
            .to_vec()
    }

    fn settings(&self) -> Vec<SettingsKey> {
        let paths = ["*.file", "*.dotenv"];
        let key = SettingsKey::new(FROM).in_component::<Vec<ConfigSource>>();
        vec![paths.into_iter().fold(key, SettingsKey::with_component_path)]
    }

    fn plan(&self, planning: &mut Planning<'_>) {
        for (component, _) in planning.components() {
            let sources: Vec<ConfigSource> = planning.component_settings(component, FROM).unwrap_or_default();
            for (i, source) in sources.iter().enumerate() {
                match source.check(self.policy.inputs_of(planning.workload())) {
                    Err(error) => planning.problem(error.below(&format!("components.{component}.{FROM}.{i}"))),
                    Ok(()) => planning.grant(component, "from", describe(source)),
                }
            }
        }
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let sources: Vec<ConfigSource> = binding.settings(FROM)?.unwrap_or_default();
        let mut config = BTreeMap::new();
        for (i, source) in sources.iter().enumerate() {
            let values = source
                .read(self.policy.inputs_of(binding.workload()))
                .await
                .map_err(|error| error.below(&format!("{FROM}.{i}")))?;
            config.extend(values);
        }
        config.extend(binding.component().config.clone());
        binding.insert(Config(config));
        Ok(())
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Config>();
        store::add_to_linker_instance::<StoreData, Config>(&mut link.instance()?, get)
    }
}

fn describe(source: &ConfigSource) -> String {
    match (source.file.as_ref().or(source.dotenv.as_ref()), &source.env) {
        (Some(file), _) => file.display().to_string(),
        (None, variables) => format!("environment {}", variables.as_deref().unwrap_or_default().join(", ")),
    }
}

impl HasData for Config {
    type Data<'a> = &'a Config;
}

impl View for Config {
    type Of = Config;
    fn view(scope: Scope<'_>) -> &Config {
        scope.binding()
    }
}

impl store::Host for &Config {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, store::Error>> {
        Ok(Ok(self.0.get(&key).cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, store::Error>> {
        Ok(Ok(self.0.iter().map(|(key, value)| (key.clone(), value.clone())).collect()))
    }
}
