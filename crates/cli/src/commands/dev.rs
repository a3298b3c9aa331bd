//! `wharf dev` and `wharf up --watch`: build, serve, and replace what changes.
//!
//! A round reads the manifests, builds what has changed, and applies the workloads; what fails leaves the version that runs. A change
//! during a round starts another, which ends the build that runs.

mod functions;
mod keys;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use wharf::workload::manifest::{Build, Component, HttpPath, HttpTrigger, Source};
use wharf::workload::{Name, Workload};
use wharf::{Host, stdio};
use wharf_http::HttpServer;

use functions::Functions;
use keys::Keys;
use watch::Watch;

use super::plan;
use super::up::{self, Declaration, Signal, Signals};
use crate::args::{Dev, EngineArgs, Listen};
use crate::build::files::{self, Inputs};
use crate::build::{self, Job, Language};
use crate::error::{self, CliError, Declared, Report};
use crate::output::{BAD, DIM, GOOD};
use crate::{host, logging, manifest};

/// The log filters that the key `l` goes through.
const LEVELS: [(&str, &str); 4] =
    [("requests", "info,wharf::request=debug"), ("debug", "debug"), ("warnings", "warn"), ("info", "info")];

pub(crate) async fn dev(engine: &EngineArgs, args: &Dev) -> Result<ExitCode, CliError> {
    if engine.log == "info" {
        logging::filter(LEVELS[0].1).ok();
    }
    Session::start(engine, &args.paths, &args.listen, Keys::new()).await?.run().await
}

/// The same without keys and without a line for each request.
pub(crate) async fn watch(engine: &EngineArgs, paths: &[PathBuf], listen: &Listen) -> Result<ExitCode, CliError> {
    Session::start(engine, paths, listen, None).await?.run().await
}

/// What the files were when a round began.
#[derive(Clone, Default, PartialEq)]
struct Snapshot {
    /// The manifests, and the components that are not built.
    files: Inputs,
    /// The inputs of each build.
    builds: Vec<Inputs>,
}

impl Snapshot {
    fn folders(&self) -> impl Iterator<Item = &Path> {
        self.builds.iter().flat_map(|inputs| &inputs.folders).chain(&self.files.folders).map(PathBuf::as_path)
    }
}

/// The workloads, and what is known of their builds.
struct Project {
    paths: Vec<PathBuf>,
    /// The workloads that the manifests declared when they parsed last.
    declared: Vec<Declaration>,
    jobs: Vec<(Job, Declared)>,
    /// The manifests, and the components that are not built.
    files: Vec<PathBuf>,
    /// The inputs with which each build succeeded last, by its outputs.
    built: BTreeMap<Vec<PathBuf>, String>,
    /// Where it is known from other runs that a build is current.
    builds_folder: Option<PathBuf>,
}

impl Project {
    /// Reads the manifests. One that does not parse leaves what was declared before, and is watched.
    fn read(&mut self) -> Result<(), CliError> {
        self.files = manifest::find_all(&self.paths).unwrap_or_else(|_| {
            // The manifest is away, or the folder has none: either may come.
            let of = |path: &PathBuf| if Language::of(path).is_some() { path.join(MANIFEST) } else { path.clone() };
            self.paths.iter().map(of).collect()
        });
        let declared = read(&self.paths).and_then(|declared| {
            let mut jobs = Vec::new();
            for (workload, place) in &declared {
                jobs.extend(build::jobs(workload, place)?.into_iter().map(|job| (job, place.clone())));
            }
            Ok((declared, jobs))
        });
        let read = declared.map(|(declared, jobs)| (self.declared, self.jobs) = (declared, jobs));
        let sources = self.declared.iter().flat_map(|(workload, _)| workload.components.values());
        let unbuilt =
            sources.filter(|component| component.build.is_none()).filter_map(|component| match &component.source {
                Source::Path(path) => Some(path.clone()),
                _ => None,
            });
        self.files.extend(unbuilt);
        read
    }

    fn snapshot(&self) -> Snapshot {
        let builds = self.jobs.iter().map(|(job, _)| job.inputs()).collect();
        Snapshot { files: files::state(&self.files), builds }
    }

    /// Builds what differs from what was built last, or everything. Gives the inputs of the builds that succeeded.
    async fn build(&self, snapshot: &Snapshot, force: bool) -> (Vec<(Vec<PathBuf>, String)>, Option<CliError>) {
        let inputs =
            self.jobs.iter().zip(&snapshot.builds).map(|((job, declared), inputs)| (job, declared, inputs.digest()));
        let stale = inputs.filter(|(job, _, inputs)| {
            let is_current =
                self.built.get(&job.outputs) == Some(inputs) && job.outputs.iter().all(|output| output.is_file());
            force || !is_current
        });
        let running = stale.map(|(job, declared, _)| async move {
            let cache = self.builds_folder.as_deref();
            job.run(force, cache, declared).await.map(|(_, read)| (job.outputs.clone(), read))
        });
        let (mut built, mut errors) = (Vec::new(), Vec::new());
        for outcome in futures_util::stream::iter(running).buffered(2).collect::<Vec<_>>().await {
            match outcome {
                Ok(done) => built.push(done),
                Err(error) => errors.push(error),
            }
        }
        (built, CliError::several(errors))
    }
}

/// The manifest of a folder that has none, once there is one.
const MANIFEST: &str = "wharf.toml";

/// Reads the manifests, or makes that of a folder of one component.
fn read(paths: &[PathBuf]) -> Result<Vec<Declaration>, CliError> {
    up::read(paths).or_else(|error| match paths {
        [folder] if manifest::find_all(paths).is_err() => Ok(vec![alone(folder).ok_or(error)?]),
        _ => Err(error),
    })
}

/// A workload of the component that a folder builds, which serves every request.
fn alone(folder: &Path) -> Option<Declaration> {
    let language = Language::of(folder)?;
    let absolute = std::path::absolute(folder).ok()?;
    let name = Name::nearest(&absolute.file_name()?.to_string_lossy());
    let mut component = Component::from_path(folder.join(language.output(folder)));
    component.build = Some(Build { workdir: Some(folder.to_owned()), ..Build::default() });
    let mut workload = Workload::new(name.clone()).with_component(name.clone(), component);
    let trigger = HttpTrigger { component: name, host: None, path: HttpPath::default() };
    workload.triggers.push(trigger).ok()?;
    Some((workload, Declared::default()))
}

/// How a round ended.
enum Ended {
    Done,
    /// Something changed meanwhile.
    Interrupted,
    /// A key or a signal asks for all builds.
    Again,
    Quit,
}

struct Session {
    project: Project,
    host: Host,
    server: HttpServer,
    watch: Watch,
    functions: Option<Arc<Functions>>,
    controls: Controls,
    announced: bool,
}

/// What a person does meanwhile.
struct Controls {
    signals: Signals,
    keys: Option<Keys>,
    /// What was asked for while only quitting was possible.
    later: Option<Asked>,
    level: usize,
}

enum Asked {
    Quit,
    Rebuild,
    Plan,
}

impl Controls {
    async fn next(&mut self) -> Asked {
        match self.later.take() {
            Some(asked) => asked,
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Asked {
        loop {
            let key = async {
                match &mut self.keys {
                    Some(keys) => keys.next().await,
                    None => std::future::pending().await,
                }
            };
            let key = tokio::select! {
                signal = self.signals.next() => return if let Signal::Stop = signal { Asked::Quit } else { Asked::Rebuild },
                key = key => key,
            };
            match key {
                b'q' => return Asked::Quit,
                b'r' => return Asked::Rebuild,
                b'p' => return Asked::Plan,
                b'l' => {
                    self.level = (self.level + 1) % LEVELS.len();
                    let (name, filter) = LEVELS[self.level];
                    // The filters are valid.
                    logging::filter(filter).ok();
                    logging::print(&format!("{DIM}Log: {name}{DIM:#}\n"));
                }
                _ => {}
            }
        }
    }
}

impl Session {
    async fn start(
        engine: &EngineArgs,
        paths: &[PathBuf],
        listen: &Listen,
        keys: Option<Keys>,
    ) -> Result<Self, CliError> {
        for path in paths {
            if !path.exists() {
                let message = format!("no such manifest or folder: `{}`", path.display());
                return Err(CliError::Manifest(Report::with_hint(message, "start a project with `wharf new`")));
            }
        }
        let server = host::server(listen).await?;
        let engine = &EngineArgs { source_lines: true, ..engine.clone() };
        let functions =
            host::cache_folder(engine).and_then(|folder| Functions::open(&folder.with_file_name("functions")));
        let functions = functions.map(Arc::new);
        let mut settings = host::engine(engine)?.separate_modules(true);
        if let Some(functions) = &functions {
            settings = settings.incremental(functions.clone());
        }
        let (builder, provided) = host::builder_on(engine, settings, stdio::Log)?;
        let host = host::build(builder.trigger(server.clone()))?;
        provided.to(&host).await?;
        let project = Project {
            paths: paths.to_vec(),
            declared: Vec::new(),
            jobs: Vec::new(),
            files: Vec::new(),
            built: BTreeMap::new(),
            builds_folder: host::builds_folder(engine),
        };
        let controls = Controls { signals: Signals::new()?, keys, level: 0, later: None };
        Ok(Self { functions, project, host, server, watch: Watch::new()?, controls, announced: false })
    }

    async fn run(mut self) -> Result<ExitCode, CliError> {
        if self.controls.keys.is_some() {
            logging::print(&format!("{DIM}Keys: r rebuild, p plan, l log level, q quit{DIM:#}\n"));
        }
        let mut force = false;
        // The rounds in a row that something changed in.
        let mut restless = 0;
        loop {
            let begun = Instant::now();
            let read = self.project.read();
            let mut snapshot = self.project.snapshot();
            self.watch.set(snapshot.folders());
            let ended = match read {
                Err(error) => {
                    error.print();
                    Ended::Done
                }
                Ok(()) => self.round(&snapshot, force, restless < RESTLESS, begun).await,
            };
            force = matches!(ended, Ended::Again);
            match ended {
                Ended::Quit => return up::drain(&self.host, &mut self.controls.signals).await,
                Ended::Again => continue,
                Ended::Interrupted => {
                    restless += 1;
                    continue;
                }
                Ended::Done => {}
            }
            // A client that comes before the first version waits for it.
            self.server.accept();
            let now = self.project.snapshot();
            if now == snapshot {
                restless = 0;
            } else if restless < 2 * RESTLESS {
                // A build may change what it reads, such as a lock file.
                restless += 1;
                continue;
            } else {
                tracing::warn!(
                    "a build changes the files that it depends on: name those that it reads in `build.watch`"
                );
                (snapshot, restless) = (now, 0);
            }
            self.watch.set(snapshot.folders());
            match self.wait(&snapshot).await {
                Ended::Quit => return up::drain(&self.host, &mut self.controls.signals).await,
                Ended::Again => force = true,
                Ended::Done | Ended::Interrupted => {}
            }
        }
    }

    /// Builds and applies.
    async fn round(&mut self, snapshot: &Snapshot, force: bool, can_interrupt: bool, begun: Instant) -> Ended {
        let built = {
            let mut building = pin!(self.project.build(snapshot, force));
            loop {
                tokio::select! {
                    built = &mut building => break built,
                    () = self.watch.changed() => {
                        let now = self.project.snapshot();
                        self.watch.set(now.folders());
                        if can_interrupt && now != *snapshot {
                            return Ended::Interrupted;
                        }
                    }
                    asked = self.controls.next() => match asked {
                        Asked::Quit => return Ended::Quit,
                        Asked::Rebuild => return Ended::Again,
                        Asked::Plan => plan_all(&self.host, &self.project.declared).await,
                    },
                }
            }
        };
        let (built, failed) = built;
        self.project.built.extend(built);
        if let Some(error) = failed {
            error.print();
            self.still_serving();
            return Ended::Done;
        }
        let declared = self.project.declared.clone();
        let reloaded = tokio::select! {
            reloaded = up::reload(&self.host, declared, |_| false) => reloaded,
            () = stop(&mut self.controls) => return Ended::Quit,
        };
        match reloaded {
            Ok(count) if !self.announced => {
                self.announced = count > 0;
                up::announce(&self.project.declared, &self.server);
            }
            Ok(0) => {}
            Ok(_) => {
                logging::print(&format!("{GOOD}Ready{GOOD:#} {DIM}after {} ms{DIM:#}\n", begun.elapsed().as_millis()));
            }
            Err(error) => {
                error.print();
                self.still_serving();
            }
        }
        if let Some(functions) = &self.functions {
            let functions = functions.clone();
            tokio::task::spawn_blocking(move || functions.keep());
        }
        Ended::Done
    }

    /// Waits for the next round.
    async fn wait(&mut self, snapshot: &Snapshot) -> Ended {
        loop {
            tokio::select! {
                () = self.watch.changed() => {
                    let now = self.project.snapshot();
                    self.watch.set(now.folders());
                    if now != *snapshot {
                        return Ended::Interrupted;
                    }
                }
                asked = self.controls.next() => match asked {
                    Asked::Quit => return Ended::Quit,
                    Asked::Rebuild => return Ended::Again,
                    Asked::Plan => plan_all(&self.host, &self.project.declared).await,
                },
            }
        }
    }

    fn still_serving(&self) {
        let running = self.host.workload_ids();
        if running.is_empty() {
            logging::print(&format!("{BAD}Nothing is served yet{BAD:#} {DIM}waiting for a change{DIM:#}\n"));
        } else {
            let running = running.join(", ");
            logging::print(&format!(
                "{DIM}The last version of{DIM:#} {running} {DIM}goes on; waiting for a change{DIM:#}\n"
            ));
        }
    }
}

/// The rounds in a row that a change may end.
const RESTLESS: u32 = 3;

/// Waits until the user quits. What else is asked for meanwhile comes after.
async fn stop(controls: &mut Controls) {
    loop {
        match controls.receive().await {
            Asked::Quit => return,
            asked => controls.later = Some(asked),
        }
    }
}

async fn plan_all(host: &Host, declared: &[Declaration]) {
    for (workload, place) in declared {
        let planned = host.plan(workload).await;
        plan::print(workload, &planned);
        logging::print(&error::problems(place, &planned.unloaded, &planned.problems).to_string());
    }
}
