//! `wharf up`: serve the workloads of manifests until it is interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use futures_util::StreamExt as _;
use wharf::workload::Workload;
use wharf::{Host, HostApi, Stdio};
use wharf_http::HttpServer;

use crate::args::{EngineArgs, Up};
use crate::error::{self, Declared, Failure, HOST};
use crate::output::{BOLD, DIM, NAME};
use crate::{host, logging, manifest, output};

/// How many workloads start at once.
const AT_ONCE: usize = 16;
/// How many routes are said one by one.
const FEW: usize = 20;

type Declaration = (Workload, Declared);

pub(crate) async fn up(engine: &EngineArgs, args: &Up) -> Result<ExitCode, Failure> {
    let declared = read(args)?;
    let server = host::server(&args.listen).await?;
    serve(engine, declared, server, Some(args)).await
}

/// Starts workloads, says what serves where, lets requests in, and stays until it is told to stop. Told to reload, it reads
/// the manifests again, if there are any.
pub(crate) async fn serve(
    engine: &EngineArgs,
    declared: Vec<Declaration>,
    server: HttpServer,
    manifests: Option<&Up>,
) -> Result<ExitCode, Failure> {
    let host = host::build(host::builder(engine, Stdio::Log)?.trigger(server.clone()))?;
    let mut signals = Signals::new()?;
    let starting = output::progress("starting", start(&host, &declared));
    tokio::select! {
        started = starting => started?,
        () = signals.stop() => return Ok(ExitCode::SUCCESS),
    }
    announce(&declared, &server);
    server.accept();
    loop {
        match (signals.next().await, manifests) {
            (Signal::Stop, _) => return drain(&host, &mut signals).await,
            (Signal::Reload, Some(args)) => {
                let reloaded = tokio::select! {
                    reloaded = reload(&host, args) => reloaded,
                    () = signals.stop() => return drain(&host, &mut signals).await,
                };
                // What runs goes on, whatever is wrong with what is to replace it.
                if let Err(failure) = reloaded {
                    failure.print();
                }
            }
            (Signal::Reload, None) => tracing::warn!("there is no manifest to read again"),
        }
    }
}

/// Every workload of every manifest, and everything that is wrong with any.
fn read(args: &Up) -> Result<Vec<Declaration>, Failure> {
    let mut declared: Vec<Declaration> = Vec::new();
    let mut failures = Vec::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for file in manifest::find_all(&args.paths)? {
        match manifest::read(&file) {
            Ok((workload, origin)) => {
                if let Some(other) = seen.insert(workload.id(), file.display().to_string()) {
                    let message = format!("{} and {other} both declare `{}`", file.display(), workload.id());
                    failures.push(Failure::with_hint(error::MANIFEST, message, "give one of them another name"));
                }
                declared.push((workload, origin));
            }
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(declared) } else { Err(Failure::all(failures)) }
}

/// Starts workloads, a few at a time; the failures of all of them are one.
async fn start(host: &Host, declared: &[Declaration]) -> Result<(), Failure> {
    let starting = declared.iter().map(|(workload, origin)| async move {
        let started = host.workload_start(workload.clone()).await;
        let status = started.map_err(|error| error::start(origin, &error))?;
        for warning in &status.warnings {
            tracing::warn!("{warning}");
        }
        Ok(())
    });
    let started: Vec<Result<(), Failure>> = futures_util::stream::iter(starting).buffered(AT_ONCE).collect().await;
    let failures: Vec<Failure> = started.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(Failure::all(failures)) }
}

/// Reads the manifests again: what is new is started, what runs is replaced, what is gone is stopped. No request is
/// dropped on the way.
async fn reload(host: &Host, args: &Up) -> Result<(), Failure> {
    let declared = read(args)?;
    let wanted: BTreeSet<String> = declared.iter().map(|(workload, _)| workload.id()).collect();
    let failed = renew(host, declared).await;
    let mut gone: Vec<Workload> = Vec::new();
    for id in host.heartbeat().await.workloads.into_iter().filter(|id| !wanted.contains(id)) {
        let Ok(running) = host.running(&id) else { continue };
        // One that is gone already needs no stopping.
        host.workload_stop(&id).await.ok();
        gone.push(running.workload().clone());
        logging::print(&format!("{DIM}Stopped{DIM:#} {NAME}{id}{NAME:#}\n"));
    }
    if failed.is_empty() {
        return Ok(());
    }
    // Its routes may have been those of one that is gone.
    let failed = renew(host, failed.into_iter().map(|(declaration, _)| declaration).collect()).await;
    if failed.is_empty() {
        return Ok(());
    }
    for workload in gone {
        // What the new ones do not take the old ones go on to serve.
        host.workload_start(workload).await.ok();
    }
    Err(Failure::all(failed.into_iter().map(|(_, failure)| failure).collect()))
}

/// Starts or replaces workloads, a few at a time. Gives those that could not be, and why.
async fn renew(host: &Host, declared: Vec<Declaration>) -> Vec<(Declaration, Failure)> {
    let renewing = declared.into_iter().map(|(workload, origin)| async move {
        let id = workload.id();
        let renewed = match host.running(&id) {
            Ok(_) => host.workload_update(workload.clone()).await,
            Err(_) => host.workload_start(workload.clone()).await,
        };
        match renewed {
            Ok(_) => {
                logging::print(&format!("{DIM}Reloaded{DIM:#} {NAME}{id}{NAME:#}\n"));
                None
            }
            Err(error) => {
                let failure = error::start(&origin, &error);
                Some(((workload, origin), failure))
            }
        }
    });
    let renewed: Vec<_> = futures_util::stream::iter(renewing).buffered(AT_ONCE).collect().await;
    renewed.into_iter().flatten().collect()
}

fn announce(declared: &[Declaration], server: &HttpServer) {
    let url = server.url();
    let routes: Vec<_> = declared.iter().flat_map(|(workload, _)| &workload.triggers.http).collect();
    if declared.len() > 1 {
        logging::print(&format!("{DIM}{} workloads, {} routes{DIM:#}\n", declared.len(), routes.len()));
    }
    logging::print(&format!("{BOLD}Serving HTTP on {url}{BOLD:#}\n"));
    for route in routes.iter().take(FEW) {
        let host = route.host.as_deref().unwrap_or("*");
        let (path, component) = (&route.path, &route.component);
        logging::print(&format!("  {DIM}{host}{DIM:#} {path} → {NAME}{component}{NAME:#}\n"));
    }
    if routes.len() > FEW {
        logging::print(&format!("  {DIM}and {} more{DIM:#}\n", routes.len() - FEW));
    }
}

/// Ends what is under way, or gives up on it at the second signal.
async fn drain(host: &Host, signals: &mut Signals) -> Result<ExitCode, Failure> {
    logging::print(&format!("{DIM}Draining; interrupt again to abort{DIM:#}\n"));
    tokio::select! {
        () = host.shutdown() => Ok(ExitCode::SUCCESS),
        () = signals.stop() => Err(Failure::new(HOST, "aborted before all calls were done")),
    }
}

enum Signal {
    Stop,
    Reload,
}

/// SIGINT and SIGTERM, which stop, and SIGHUP, which reloads.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let refuse = |error| Failure::new(HOST, format!("signals cannot be received: {error}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(refuse)?,
            terminate: signal(SignalKind::terminate()).map_err(refuse)?,
            hang_up: signal(SignalKind::hangup()).map_err(refuse)?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }

    async fn stop(&mut self) {
        while !matches!(self.next().await, Signal::Stop) {}
    }
}
