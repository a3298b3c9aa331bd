//! [`wasi:cli`](https://github.com/WebAssembly/wasi-cli): the environment and the standard streams of the calling component.

use wasmtime::component::HasData;
use wasmtime_wasi::cli::{WasiCli, WasiCliCtxView};
use wasmtime_wasi::p2::bindings::cli::environment as p2;
use wasmtime_wasi::p3::bindings::cli::environment as p3;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use super::grants::Grants;
use crate::store::{Scope, View};

/// The standard streams of the calling component.
pub(super) struct Cli;

impl View for Cli {
    type Of = WasiCli;
    fn view(scope: Scope<'_>) -> WasiCliCtxView<'_> {
        let (component, tracker) = (scope.component, scope.tracker);
        let wasi: &mut WasiCtx = scope.state.get_or_insert_with(|| {
            let mut builder = WasiCtxBuilder::new();
            Grants::of(component).stdio.open(component, tracker, &mut builder);
            builder.build()
        });
        WasiCliCtxView { ctx: wasi.cli(), table: scope.table }
    }
}

/// The environment of the calling component. Most guests read it when they start, so it comes directly from the grants:
/// wasmtime's own implementation would need a context for it in every instance.
pub(super) struct Environment;

pub(super) struct HasEnvironment;

pub(super) struct EnvironmentView<'a>(&'a Grants);

impl HasData for HasEnvironment {
    type Data<'a> = EnvironmentView<'a>;
}

impl View for Environment {
    type Of = HasEnvironment;
    fn view(scope: Scope<'_>) -> EnvironmentView<'_> {
        EnvironmentView(Grants::of(scope.component))
    }
}

impl p2::Host for EnvironmentView<'_> {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.0.env.clone())
    }
    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.0.args.clone())
    }
    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl p3::Host for EnvironmentView<'_> {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.0.env.clone())
    }
    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.0.args.clone())
    }
    fn get_initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}
