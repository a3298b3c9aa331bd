//! [`wasi:logging`] for Wharf: writes a component's log lines to the host's log, under the component's name.
//!
//! Each line is a [`tracing`] event with the target `wharf::guest`, the component's level, and the fields `workload`,
//! `component`, `call` and `context`. `call` is one number for all lines of a call. [`wharf::guest_log`] limits its size and rate. The plugin provides
//! `wasi:logging/logging@0.1.0-draft`.
//!
//! ```
//! use wharf::{Engine, Host};
//! use wharf_logging::LoggingPlugin;
//!
//! let engine = Engine::builder().pooling(false).build().unwrap();
//! let host = Host::builder(engine).plugin(LoggingPlugin).build().unwrap();
//! assert!(host.interfaces().iter().any(|i| i.name.unversioned() == "wasi:logging/logging"));
//! ```
//!
//! [`wasi:logging`]: https://github.com/WebAssembly/wasi-logging

use wasmtime::component::HasData;
use wharf::guest_log::{self, Source};
use wharf::limits::LimitTracker;
use wharf::plugin::Provided;
use wharf::{Link, Plugin, Scope, StoreData, View};

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
        imports: { default: trappable | tracing },
    });
}

use bindings::wasi::logging::logging::{self, Level};

/// Provides `wasi:logging/logging`, which writes to [`tracing`].
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
        logging::add_to_linker_instance::<StoreData, Logger<'static>>(&mut link.instance()?, get)
    }
}

/// Writes the log lines of one component.
struct Logger<'a> {
    component: &'a str,
    tracker: &'a LimitTracker,
    call: u64,
}

impl HasData for Logger<'static> {
    type Data<'a> = Logger<'a>;
}

impl View for Logger<'static> {
    type Of = Self;
    fn view(scope: Scope<'_>) -> Logger<'_> {
        let Scope { component, tracker, call, .. } = scope;
        Logger { component: component.component().as_str(), tracker, call }
    }
}

impl logging::Host for Logger<'_> {
    fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => tracing::Level::TRACE,
            Level::Debug => tracing::Level::DEBUG,
            Level::Info => tracing::Level::INFO,
            Level::Warn => tracing::Level::WARN,
            Level::Error | Level::Critical => tracing::Level::ERROR,
        };
        guest_log::write(
            self.tracker,
            self.component,
            level,
            Source::Logging { context: &context, call: self.call },
            &message,
        );
        Ok(())
    }
}
