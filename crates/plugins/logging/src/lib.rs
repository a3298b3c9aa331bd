//! `wasi:logging` for Wharf: what a component logs goes to the host's log, under the component's name.
//!
//! Lines go to [`tracing`] with the target `wharf::guest`, the component's level, and the fields `workload`, `component`
//! and `context`. Provided is `wasi:logging/logging@0.1.0-draft`.
//!
//! ```
//! use wharf::{Engine, Host};
//! use wharf_logging::LoggingPlugin;
//!
//! let engine = Engine::builder().pooling(false).build().unwrap();
//! let host = Host::builder(engine).plugin(LoggingPlugin).build().unwrap();
//! assert!(host.interfaces().iter().any(|i| i.name.unversioned() == "wasi:logging/logging"));
//! ```

use wasmtime::component::HasData;
use wharf::limits::Guard;
use wharf::plugin::Provided;
use wharf::{Ctx, Link, Plugin, Scope, View};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package wasi:logging@0.1.0-draft;
            interface logging {
                enum level { trace, debug, info, warn, error, critical }
                log: func(level: level, context: string, message: string);
            }
            world imports { import logging; }
        ",
        imports: { default: trappable },
    });
}

use bindings::wasi::logging::logging::{self, Level};

/// Provides `wasi:logging/logging`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoggingPlugin;

impl Plugin for LoggingPlugin {
    fn name(&self) -> &'static str {
        "logging"
    }

    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant("wasi:logging/logging@0.1.0-draft"), Provided::grant("wasi:logging/logging")]
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Logger<'static>>();
        logging::add_to_linker_instance::<Ctx, Logger<'static>>(&mut link.instance()?, get)
    }
}

/// The log as one component writes it.
struct Logger<'a> {
    workload: &'a str,
    component: &'a str,
    guard: &'a Guard,
}

impl HasData for Logger<'static> {
    type Data<'a> = Logger<'a>;
}

impl View for Logger<'static> {
    type Of = Self;
    fn view(scope: Scope<'_>) -> Logger<'_> {
        let Scope { grants, guard, .. } = scope;
        Logger { workload: grants.workload(), component: grants.component().as_str(), guard }
    }
}

impl logging::Host for Logger<'_> {
    fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        let Self { workload, component, guard } = *self;
        // Line by line: a component must not be able to write what looks like another's line.
        for message in message.lines() {
            if !guard.may_log() {
                continue;
            }
            macro_rules! say {
                ($level:ident) => {
                    tracing::$level!(target: "wharf::guest", workload, component, context, "{message}")
                };
            }
            match level {
                Level::Trace => say!(trace),
                Level::Debug => say!(debug),
                Level::Info => say!(info),
                Level::Warn => say!(warn),
                Level::Error | Level::Critical => say!(error),
            }
        }
        Ok(())
    }
}
