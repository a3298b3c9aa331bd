//! `wharf up`: serves the workloads of manifests until it is interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::StreamExt as _;
use wharf::host::Running;
use wharf::workload::Workload;
use wharf::workload::manifest::{HttpTrigger, TriggerKind as _};
use wharf::{Host, stdio};
use wharf_http::HttpServer;

use super::{control, dev};
use crate::args::{EngineArgs, Listen, Up};
use crate::error::{self, CliError, Declared, Report};
use crate::output::{BOLD, DIM, NAME};
use crate::{build, host, logging, manifest, output};

/// How many workloads start at once.
const CONCURRENT_STARTS: usize = 16;
/// How many routes the announcement lists.
const MAX_LISTED_ROUTES: usize = 20;

pub(super) type Declaration = (Workload, Declared);

pub(crate) async fn up(engine: &EngineArgs, args: &Up) -> Result<ExitCode, CliError> {
    if args.watch {
        return dev::watch(engine, &args.paths(), &args.listen).await;
    }
    let declared = read(&args.paths())?;
    build::all(&declared, host::builds_folder(engine).as_deref()).await?;
    let server = host::server(&args.listen).await?;
    serve(engine, declared, server, &args.listen, Some(args)).await
}

/// Starts workloads, prints their routes, accepts requests, and drains at SIGINT or SIGTERM. At SIGHUP it reloads the
/// certificate and the manifests, if there are any.
pub(crate) async fn serve(
    engine: &EngineArgs,
    declared: Vec<Declaration>,
    server: HttpServer,
    listen: &Listen,
    manifests: Option<&Up>,
) -> Result<ExitCode, CliError> {
    let (mut builder, provided) = host::builder(engine, stdio::Log)?;
    let control = match manifests {
        Some(args) => control::prepare(engine, &args.control).await?,
        None => None,
    };
    if let Some(control) = &control {
        builder = builder.sources(control.blobs.clone());
    }
    let host = host::build(builder.trigger(server.clone()))?;
    provided.to(&host).await?;
    let mut signals = Signals::new()?;
    let starting = output::progress("starting", start(&host, &declared));
    tokio::select! {
        started = starting => started?,
        () = signals.stop() => return drain(&host, &mut signals).await,
    }
    announce(&declared, &server);
    let control = match control {
        Some(control) => Some(control.serve(&host, &server).await),
        None => None,
    };
    server.accept();
    loop {
        if let Signal::Stop = signals.next().await {
            break;
        }
        // A certificate that cannot be read leaves the one in use.
        match host::tls(listen) {
            Ok(Some(tls)) => {
                server.set_tls(tls);
                logging::print(&format!("{DIM}Reloaded the certificate{DIM:#}\n"));
            }
            Ok(None) if manifests.is_none() => {
                tracing::warn!("SIGHUP ignored: `wharf serve` has no manifest and no certificate to reload");
            }
            Ok(None) => {}
            Err(error) => drop(error.print()),
        }
        let Some(args) = manifests else { continue };
        let reloaded = tokio::select! {
            reloaded = rebuild(&host, engine, args, control.as_ref()) => reloaded,
            () = signals.stop() => break,
        };
        // A workload whose replacement fails continues to run.
        if let Err(error) = reloaded {
            error.print();
        }
    }
    // The host API has the status of what drains.
    control.iter().for_each(control::Served::drains);
    let drained = drain(&host, &mut signals).await;
    if let Some(control) = control {
        control.stop().await;
    }
    drained
}

/// Reads the workloads of all manifests. The error reports the problems of every manifest, not only of the first.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Declaration>, CliError> {
    let mut declared: Vec<Declaration> = Vec::new();
    let mut errors = Vec::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for file in manifest::find_all(paths)? {
        match manifest::read(&file) {
            Ok((workload, origin)) => {
                if let Some(other) = seen.insert(workload.id(), file.display().to_string()) {
                    let message =
                        format!("workload `{}` is declared in both {} and {other}", workload.id(), file.display());
                    errors.push(CliError::Manifest(Report::with_hint(message, "rename one of the two workloads")));
                }
                declared.push((workload, origin));
            }
            Err(error) => errors.push(error),
        }
    }
    CliError::several(errors).map_or(Ok(declared), Err)
}

/// Starts workloads, [`CONCURRENT_STARTS`] at a time. The error reports every workload that does not start.
async fn start(host: &Host, declared: &[Declaration]) -> Result<(), CliError> {
    let starting = declared.iter().map(|(workload, origin)| async move {
        let started = host.workload_start(workload.clone()).await;
        let status = started.map_err(|error| error::start(origin, error))?;
        for warning in &status.warnings {
            tracing::warn!("{warning}");
        }
        Ok(())
    });
    let started: Vec<Result<(), CliError>> =
        futures_util::stream::iter(starting).buffered(CONCURRENT_STARTS).collect().await;
    CliError::several(started.into_iter().filter_map(Result::err).collect()).map_or(Ok(()), Err)
}

/// Reads the manifests again, builds what has changed, and applies them.
async fn rebuild(
    host: &Host,
    engine: &EngineArgs,
    args: &Up,
    control: Option<&control::Served>,
) -> Result<(), CliError> {
    let declared = read(&args.paths())?;
    build::all(&declared, host::builds_folder(engine).as_deref()).await?;
    // What came through the host API is not declared by manifests.
    let is_kept = |id: &str| control.is_some_and(|control| control.has(id));
    if reload(host, declared, is_kept).await? == 0 {
        logging::print(&format!("{DIM}Nothing has changed{DIM:#}\n"));
    }
    Ok(())
}

/// Starts new workloads, replaces running ones, and stops those that are neither declared any more nor kept. No request is dropped. Gives the number of
/// those that changed.
pub(super) async fn reload(
    host: &Host,
    declared: Vec<Declaration>,
    is_kept: impl Fn(&str) -> bool,
) -> Result<usize, CliError> {
    let wanted: BTreeSet<String> = declared.iter().map(|(workload, _)| workload.id()).collect();
    let before = versions(host);
    let failed = apply(host, declared).await;
    let mut removed: Vec<Workload> = Vec::new();
    for id in host.workload_ids().into_iter().filter(|id| !wanted.contains(id) && !is_kept(id)) {
        let Ok(running) = host.running(&id) else { continue };
        // The only error is that the workload has stopped already.
        host.workload_stop(&id).await.ok();
        removed.push(running.workload().clone());
        logging::print(&format!("{DIM}Stopped{DIM:#} {NAME}{id}{NAME:#}\n"));
    }
    if failed.is_empty() {
        let after = versions(host);
        let is_new = |running: &&Arc<Running>| !before.iter().any(|old| Arc::ptr_eq(old, running));
        return Ok(after.iter().filter(is_new).count() + removed.len());
    }
    // A removed workload may have held a route that a failed one needs.
    let failed = apply(host, failed.into_iter().map(|(declaration, _)| declaration).collect()).await;
    let Some(error) = CliError::several(failed.into_iter().map(|(_, error)| error).collect()) else {
        return Ok(removed.len());
    };
    for workload in removed {
        // A removed workload resumes unless a new one has taken its routes.
        host.workload_start(workload).await.ok();
    }
    Err(error)
}

/// The versions that run.
fn versions(host: &Host) -> Vec<Arc<Running>> {
    host.workload_ids().iter().filter_map(|id| host.running(id).ok()).collect()
}

/// Starts or replaces workloads, [`CONCURRENT_STARTS`] at a time. Returns those that failed, with their errors.
async fn apply(host: &Host, declared: Vec<Declaration>) -> Vec<(Declaration, CliError)> {
    let applying = declared.into_iter().map(|(workload, origin)| async move {
        let id = workload.id();
        let before = host.running(&id).ok();
        let applied = match before {
            Some(_) => host.workload_update(workload.clone()).await,
            None => host.workload_start(workload.clone()).await,
        };
        match applied {
            Ok(_) => {
                let after = host.running(&id).ok();
                let same = before.as_ref().zip(after.as_ref()).is_some_and(|(old, new)| Arc::ptr_eq(old, new));
                if !same {
                    logging::print(&format!("{DIM}Reloaded{DIM:#} {NAME}{id}{NAME:#}\n"));
                }
                None
            }
            Err(error) => {
                let error = error::start(&origin, error);
                Some(((workload, origin), error))
            }
        }
    });
    let applied: Vec<_> = futures_util::stream::iter(applying).buffered(CONCURRENT_STARTS).collect().await;
    applied.into_iter().flatten().collect()
}

pub(super) fn announce(declared: &[Declaration], server: &HttpServer) {
    let url = server.url();
    let of = |(workload, _): &Declaration| workload.triggers.of::<HttpTrigger>().unwrap_or_default();
    let routes: Vec<_> = declared.iter().flat_map(of).collect();
    if declared.len() > 1 {
        logging::print(&format!("{DIM}{} workloads, {} routes{DIM:#}\n", declared.len(), routes.len()));
    }
    logging::print(&format!("{BOLD}Serving HTTP on {url}{BOLD:#}\n"));
    for route in routes.iter().take(MAX_LISTED_ROUTES) {
        let host = route.host.as_deref().unwrap_or("*");
        let (path, component) = (&route.path, &route.component);
        logging::print(&format!("  {DIM}{host}{DIM:#} {path} → {NAME}{component}{NAME:#}\n"));
    }
    if routes.len() > MAX_LISTED_ROUTES {
        logging::print(&format!("  {DIM}and {} more{DIM:#}\n", routes.len() - MAX_LISTED_ROUTES));
    }
    let others = declared.iter().flat_map(|(workload, _)| without_route(workload));
    let others: Vec<_> = others.collect();
    for other in others.iter().take(MAX_LISTED_ROUTES) {
        logging::print(&format!("  {other}\n"));
    }
    if others.len() > MAX_LISTED_ROUTES {
        logging::print(&format!("  {DIM}and {} more{DIM:#}\n", others.len() - MAX_LISTED_ROUTES));
    }
}

/// The services and other triggers of a workload; if it has none and no route either, that nothing calls it.
fn without_route(workload: &Workload) -> Vec<String> {
    let id = workload.id();
    let services = workload.components.iter().filter(|(_, component)| component.service.is_some());
    let services = services.map(|(name, _)| format!("{DIM}service{DIM:#} {NAME}{name}{NAME:#} {DIM}of {id}{DIM:#}"));
    let others = workload.triggers.entries().filter(|(kind, ..)| *kind != HttpTrigger::KEY);
    let others = others.map(|(kind, _, trigger)| {
        format!("{DIM}{kind}{DIM:#} {NAME}{}{NAME:#} {DIM}of {id}{DIM:#}", trigger.component)
    });
    let mut lines: Vec<_> = services.chain(others).collect();
    if lines.is_empty() && workload.triggers.is_empty() {
        lines.push(format!(
            "{DIM}nothing calls{DIM:#} {NAME}{id}{NAME:#}{DIM}: it has no trigger and no service; add `[[triggers.http]]`, or \
             `service = true`{DIM:#}"
        ));
    }
    lines
}

/// Waits for the calls in progress. A second signal aborts them.
pub(super) async fn drain(host: &Host, signals: &mut Signals) -> Result<ExitCode, CliError> {
    logging::print(&format!("{DIM}Draining; interrupt again to abort{DIM:#}\n"));
    tokio::select! {
        () = host.shutdown() => Ok(ExitCode::SUCCESS),
        () = signals.stop() => Err(CliError::Host(Report::error("interrupted again: calls in progress aborted"))),
    }
}

pub(super) enum Signal {
    Stop,
    Reload,
}

/// SIGINT and SIGTERM stop; SIGHUP reloads.
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    /// SIGHUP has come while only the others were waited for.
    reload: bool,
}

impl Signals {
    pub(super) fn new() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        build::leave_signals();
        let failed = |error: std::io::Error| {
            CliError::Host(Report::with_context(error, "cannot install the signal handlers".to_owned()))
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            hang_up: signal(SignalKind::hangup()).map_err(failed)?,
            reload: false,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        if std::mem::take(&mut self.reload) {
            return Signal::Reload;
        }
        self.receive().await
    }

    async fn receive(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }

    /// Waits for a signal that stops. One that reloads is kept for the next [`next`](Self::next).
    async fn stop(&mut self) {
        while matches!(self.receive().await, Signal::Reload) {
            self.reload = true;
        }
    }
}
