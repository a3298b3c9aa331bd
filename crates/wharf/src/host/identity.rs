//! `wasmcloud:host/identity`: who calls a component that the host provides.
//!
//! Answers by the binding of the calling component, so that it is exact whatever else is called at the same time. A component of a
//! workload is its own caller.

use async_trait::async_trait;
use wasmtime::component::HasData;

use crate::plugin::{Link, Plugin, Provided};
use crate::prepare::grant::Caller;
use crate::store::{Scope, StoreData, View};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package wasmcloud:host@0.1.3;
            interface types {
                type workload-id = string;
                type component-id = string;
            }
            interface identity {
                use types.{workload-id, component-id};
                get-workload-id: func() -> workload-id;
                get-component-id: func() -> component-id;
            }
            world imports { import identity; }
        ",
        imports: { default: trappable },
    });
}

use bindings::wasmcloud::host::{identity, types};

/// The plugin's name.
pub(super) const NAME: &str = "identity";

/// Answers who calls.
pub(super) struct Identity;

/// The workload that a lifecycle call concerns, in the state of the instance that is called.
#[derive(Default)]
pub(super) struct Concerns(pub(super) Option<String>);

#[async_trait]
impl Plugin for Identity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant("wasmcloud:host/identity@0.1.3"), Provided::shared("wasmcloud:host/types@0.1.3")]
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Who>();
        match link.interface().interface.as_str() {
            "types" => types::add_to_linker_instance::<StoreData, Who>(&mut link.instance()?, get),
            _ => identity::add_to_linker_instance::<StoreData, Who>(&mut link.instance()?, get),
        }
    }
}

/// The caller of the calling component.
struct Who {
    workload: String,
    component: String,
}

impl HasData for Who {
    type Data<'a> = Self;
}

impl View for Who {
    type Of = Self;
    fn view(scope: Scope<'_>) -> Self {
        let context = scope.component;
        let (workload, component) = match scope.find_binding::<Caller>() {
            Some(caller) => (&*caller.workload, &caller.component),
            None => (context.workload(), context.component()),
        };
        let concerns = scope.unit.get::<Concerns>().and_then(|concerns| concerns.0.clone());
        Self { workload: concerns.unwrap_or_else(|| workload.to_owned()), component: component.to_string() }
    }
}

impl types::Host for Who {}

impl identity::Host for Who {
    fn get_workload_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.workload.clone())
    }

    fn get_component_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.component.clone())
    }
}
