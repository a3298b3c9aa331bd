//! `wasi:cli`: the environment from the component's grants, and the streams that it was given.

use wasmtime::component::HasData;
use wasmtime_wasi::cli::{WasiCli, WasiCliCtxView};
use wasmtime_wasi::p2::bindings::cli::environment as p2;
use wasmtime_wasi::p3::bindings::cli::environment as p3;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use super::grants::Grants;
use crate::ctx::{Scope, View};

/// The streams of the component that calls.
pub(super) struct Cli;

impl View for Cli {
    type Of = WasiCli;
    fn view(scope: Scope<'_>) -> WasiCliCtxView<'_> {
        let (grants, guard) = (scope.grants, scope.guard);
        let wasi: &mut WasiCtx = scope.state.get_or_insert_with(|| {
            let mut builder = WasiCtxBuilder::new();
            grants.wasi().stdio.open(&mut builder, grants, guard);
            builder.build()
        });
        WasiCliCtxView { ctx: wasi.cli(), table: scope.table }
    }
}

/// The environment of the component that calls. Guests read it in their first instructions, so it is read from the
/// grants themselves: the engine's own context would be made for it in every instance.
pub(super) struct Environment;

pub(super) struct HasEnvironment;

pub(super) struct EnvironmentOf<'a>(&'a Grants);

impl HasData for HasEnvironment {
    type Data<'a> = EnvironmentOf<'a>;
}

impl View for Environment {
    type Of = HasEnvironment;
    fn view(scope: Scope<'_>) -> EnvironmentOf<'_> {
        EnvironmentOf(scope.grants.wasi())
    }
}

impl p2::Host for EnvironmentOf<'_> {
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

impl p3::Host for EnvironmentOf<'_> {
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
