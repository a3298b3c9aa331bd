//! Components from their sources.
//!
//! Takes a workload; gives a [`Job`] for each thing that has to be built, which knows whether its files have changed, and runs it. It
//! loads no component and checks none: that is the plan's.

pub(crate) mod bindings;
pub(crate) mod files;
mod interrupt;
mod language;
mod process;
mod stamp;

use std::path::{Path, PathBuf};
use std::time::Instant;

use futures_util::StreamExt as _;
use wharf::workload::manifest::{Build, Component, Source};
use wharf::workload::{Name, Workload};

use crate::error::{CliError, Declared, Diagnostic, Report};
use crate::logging;
use crate::output::{BAD, DIM, GOOD, NAME};
pub(crate) use interrupt::leave_signals;
use language::Recipe;
pub(crate) use language::{Language, module};
use process::Failed;

/// How many builds run at once. Compilers use all processors themselves.
const CONCURRENT: usize = 2;

/// One build: a command in a folder, for the components that it makes.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The components that it makes; several if one command makes them all.
    pub(crate) components: Vec<Name>,
    /// The files that it makes.
    pub(crate) outputs: Vec<PathBuf>,
    pub(crate) folder: PathBuf,
    recipe: Recipe,
    watch: Vec<String>,
    /// Where the manifest declares it.
    place: String,
}

/// What a build did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran.
    Built,
    /// Nothing has changed since it ran.
    Fresh,
}

/// The builds that a workload declares.
///
/// # Errors
/// Those that cannot work: a folder without a language that is known, a source that is no file.
pub(crate) fn jobs(workload: &Workload, declared: &Declared) -> Result<Vec<Job>, CliError> {
    let (mut jobs, mut problems): (Vec<Job>, Vec<Diagnostic>) = (Vec::new(), Vec::new());
    let own = workload.components.iter().map(|(name, component)| ("components", name, component));
    let doubles = workload.test.components.iter().map(|(name, component)| ("test.components", name, component));
    for (section, name, component) in own.chain(doubles) {
        let Some(build) = &component.build else { continue };
        let place = format!("{section}.{name}.build");
        match job(name, component, build, place.clone()) {
            Ok(job) => match jobs.iter_mut().find(|other| other.makes_the_same(&job)) {
                Some(other) => {
                    other.components.extend(job.components);
                    other.outputs.extend(job.outputs);
                }
                None => jobs.push(job),
            },
            Err((message, hint)) => {
                problems.push(Diagnostic::error(message).at(declared.place(&place)).with_hint(Some(&hint)));
            }
        }
    }
    if problems.is_empty() { Ok(jobs) } else { Err(CliError::Build(Report { diagnostics: problems, omitted: 0 })) }
}

fn job(name: &Name, component: &Component, build: &Build, place: String) -> Result<Job, (String, String)> {
    let Source::Path(output) = &component.source else {
        let hint = "let `source` name the file that the build writes";
        return Err((format!("`{name}` has a build, and its source is no file"), hint.to_owned()));
    };
    let folder = build.workdir.clone().unwrap_or_default();
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    if !folder.is_dir() {
        let hint = "let `workdir` name a folder; a relative path starts at the manifest's folder";
        return Err((format!("`{name}` is built in `{}`, which is no folder", folder.display()), hint.to_owned()));
    }
    let recipe = match &build.command {
        Some(command) => Recipe::Shell(command.clone()),
        None => Recipe::Default(Language::of(&folder).ok_or_else(|| {
            let known = Language::ALL.map(Language::file).join(", ");
            let hint = format!("set `build.command`, or `build.workdir` to a folder with one of {known}");
            (format!("cannot tell how to build `{name}` in `{}`", folder.display()), hint)
        })?),
    };
    Ok(Job {
        components: vec![name.clone()],
        outputs: vec![output.clone()],
        folder,
        recipe,
        watch: build.watch.clone(),
        place,
    })
}

impl Job {
    /// Whether one run of a command makes what both want.
    fn makes_the_same(&self, other: &Self) -> bool {
        let is_same = self.folder == other.folder && self.recipe == other.recipe && self.watch == other.watch;
        is_same && (self.recipe.makes_all() || self.outputs == other.outputs)
    }

    fn label(&self) -> String {
        self.components.iter().map(Name::as_str).collect::<Vec<_>>().join("+")
    }

    /// The state of the files that it depends on.
    pub(crate) fn inputs(&self) -> files::Inputs {
        files::inputs(&self.folder, &self.watch, &self.outputs)
    }

    /// Builds, unless nothing has changed since the last build. Gives the hash of the inputs that the outputs are made from.
    ///
    /// # Errors
    /// Why not; the build's own output is on standard error already.
    pub(crate) async fn run(
        &self,
        force: bool,
        cache: Option<&Path>,
        declared: &Declared,
    ) -> Result<(Outcome, String), CliError> {
        let inputs = self.inputs();
        let before = inputs.digest();
        let stamp = cache.map(|cache| stamp::Stamp::new(cache, &self.folder, &format!("{:?}", self.recipe)));
        if !force && stamp.as_ref().is_some_and(|stamp| stamp.is_current(&before, &self.outputs)) {
            return Ok((Outcome::Fresh, before));
        }
        let label = self.label();
        logging::print(&format!(
            "{DIM}Building{DIM:#} {NAME}{label}{NAME:#} {DIM}in {}{DIM:#}\n",
            self.folder.display()
        ));
        let begun = Instant::now();
        for output in self.outputs.iter().filter_map(|output| output.parent()) {
            // A folder that cannot be made fails the command that writes there, which says why.
            std::fs::create_dir_all(output).ok();
        }
        let built = self.recipe.run(&label, &self.folder, &self.outputs[0]).await;
        if let Err(failed) = built {
            logging::print(&format!("{BAD}Failed{BAD:#} {NAME}{label}{NAME:#}\n"));
            return Err(self.failed(&failed, declared));
        }
        for output in &self.outputs {
            if !output.is_file() {
                let message = format!("the build of `{label}` succeeded, but did not write `{}`", output.display());
                let hint = "let `source` name the file that the build writes";
                let diagnostic = Diagnostic::error(message).at(declared.place(&self.place)).with_hint(Some(hint));
                return Err(CliError::Build(diagnostic.into()));
            }
        }
        // What it added is its own. A file that changed meanwhile was not built.
        let after = self.inputs();
        let read = if after.only_added(&inputs) { after.digest() } else { before };
        if let Some(stamp) = stamp {
            stamp.write(&read, &self.outputs);
        }
        let took = begun.elapsed();
        logging::print(&format!(
            "{GOOD}Built{GOOD:#} {NAME}{label}{NAME:#} {DIM}in {:.1} s{DIM:#}\n",
            took.as_secs_f64()
        ));
        Ok((Outcome::Built, read))
    }

    fn failed(&self, failed: &Failed, declared: &Declared) -> CliError {
        let message = format!("`{}` does not build: {failed}", self.label());
        let hint = self.recipe.hint(failed);
        CliError::Build(Diagnostic::error(message).at(declared.place(&self.place)).with_hint(hint.as_deref()).into())
    }
}

/// Runs builds, [`CONCURRENT`] at a time. Gives what each did; the error reports every one that failed.
pub(crate) async fn run(jobs: &[(Job, Declared)], force: bool, cache: Option<&Path>) -> Result<Vec<Outcome>, CliError> {
    let running = jobs.iter().map(|(job, declared)| job.run(force, cache, declared));
    let outcomes: Vec<_> = futures_util::stream::iter(running).buffered(CONCURRENT).collect().await;
    let (mut built, mut errors) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok((outcome, _)) => built.push(outcome),
            Err(error) => errors.push(error),
        }
    }
    CliError::several(errors).map_or(Ok(built), Err)
}

/// Builds what the workloads declare and what has changed.
pub(crate) async fn all(declared: &[(Workload, Declared)], cache: Option<&Path>) -> Result<(), CliError> {
    let mut all = Vec::new();
    for (workload, declared) in declared {
        all.extend(jobs(workload, declared)?.into_iter().map(|job| (job, declared.clone())));
    }
    run(&all, false, cache).await.map(drop)
}
