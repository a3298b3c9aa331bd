//! `wharf up`: serve the workload of a manifest until it is interrupted.

use std::process::ExitCode;

use wharf::workload::Workload;
use wharf::{Host, HostApi, Stdio};
use wharf_http::HttpServer;

use crate::args::{EngineArgs, Up};
use crate::error::{self, Declared, Failure, HOST};
use crate::output::{BOLD, DIM, NAME};
use crate::{host, manifest, output};

pub(crate) async fn up(engine: &EngineArgs, args: &Up) -> Result<ExitCode, Failure> {
    let (workload, declared) = manifest::read(&args.path)?;
    let server = host::server(&args.listen).await?;
    serve(engine, workload, &declared, server).await
}

/// Starts a workload, says what serves where, lets requests in, and stays until it is told to stop.
pub(crate) async fn serve(
    engine: &EngineArgs,
    workload: Workload,
    declared: &Declared,
    server: HttpServer,
) -> Result<ExitCode, Failure> {
    let host = host::build(host::builder(engine, Stdio::Log)?.trigger(server.clone()))?;
    let mut signals = Signals::new()?;
    let starting = output::progress("starting", host.workload_start(workload.clone()));
    let status = tokio::select! {
        started = starting => started.map_err(|error| error::start(declared, &error))?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    for warning in &status.warnings {
        tracing::warn!("{warning}");
    }
    announce(&workload, &server);
    server.accept();
    signals.next().await;
    drain(&host, &mut signals).await
}

fn announce(workload: &Workload, server: &HttpServer) {
    let url = server.url();
    anstream::eprintln!("{BOLD}Serving HTTP on {url}{BOLD:#}");
    for route in &workload.triggers.http {
        let host = route.host.as_deref().unwrap_or("*");
        let (path, component) = (&route.path, &route.component);
        anstream::eprintln!("  {DIM}{host}{DIM:#} {path} → {NAME}{component}{NAME:#}");
    }
}

/// Ends what is under way, or gives up on it at the second signal.
async fn drain(host: &Host, signals: &mut Signals) -> Result<ExitCode, Failure> {
    anstream::eprintln!("{DIM}Draining; interrupt again to abort{DIM:#}");
    tokio::select! {
        () = host.shutdown() => Ok(ExitCode::SUCCESS),
        () = signals.next() => Err(Failure::new(HOST, "aborted before all calls were done")),
    }
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let refuse = |error| Failure::new(HOST, format!("signals cannot be received: {error}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(refuse)?,
            terminate: signal(SignalKind::terminate()).map_err(refuse)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
