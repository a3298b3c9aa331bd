//! [`wasi:config`] for Wharf: each component reads its own configuration, and that of no other component.
//!
//! The values are those of `config` in the component's section of the manifest. The plugin provides
//! `wasi:config/store@0.2.0-rc.1`, which guests are built against today, and `wasi:config/store@0.2.0`, which has the
//! same functions.
//!
//! ```
//! use wharf::{Engine, Host};
//! use wharf_config::ConfigPlugin;
//!
//! let engine = Engine::builder().pooling(false).build().unwrap();
//! let host = Host::builder(engine).plugin(ConfigPlugin).build().unwrap();
//! assert!(host.interfaces().iter().any(|i| i.name.to_string() == "wasi:config/store@0.2.0"));
//! ```
//!
//! [`wasi:config`]: https://github.com/WebAssembly/wasi-config

use std::collections::BTreeMap;

use async_trait::async_trait;

use wasmtime::component::HasData;
use wharf::plugin::Provided;
use wharf::{Binding, Link, Plugin, PluginError, Scope, StoreData, View};

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
        imports: { default: trappable | tracing },
    });
}

use bindings::wasi::config::store;

/// Provides `wasi:config/store`, from the `config` of each component in the manifest.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigPlugin;

/// A component's configuration.
struct Config(BTreeMap<String, String>);

#[async_trait]
impl Plugin for ConfigPlugin {
    fn name(&self) -> &'static str {
        "config"
    }

    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant("wasi:config/store@0.2.0-rc.1"), Provided::grant("wasi:config/store@0.2.0")]
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let config = Config(binding.component().config.clone());
        binding.insert(config);
        Ok(())
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Config>();
        store::add_to_linker_instance::<StoreData, Config>(&mut link.instance()?, get)
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
