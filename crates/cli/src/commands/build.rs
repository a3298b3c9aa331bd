//! `wharf build`: builds components from their sources, and checks that the workload resolves with them.

use std::process::ExitCode;

use crate::args::{BuildArgs, EngineArgs};
use crate::build::{self, Outcome};
use crate::error::{self, CliError, Report};
use crate::output::{DIM, GOOD};
use crate::{host, logging, manifest};

pub(crate) async fn build(engine: &EngineArgs, args: &BuildArgs) -> Result<ExitCode, CliError> {
    let (workload, declared) = manifest::read(&args.path)?;
    let mut jobs = build::jobs(&workload, &declared)?;
    if jobs.is_empty() {
        let hint = "add `build = true` to a component, or `build = { command = \"…\", workdir = \"…\" }`";
        return Err(CliError::Build(Report::with_hint("the manifest declares no build", hint)));
    }
    if !args.component.is_empty() {
        let is_wanted = |name: &str| args.component.iter().any(|wanted| wanted == name);
        for wanted in &args.component {
            if !jobs.iter().any(|job| job.components.iter().any(|name| name.as_str() == wanted)) {
                let known: Vec<_> = jobs.iter().flat_map(|job| &job.components).map(ToString::to_string).collect();
                let hint = format!("those with a build are {}", known.join(", "));
                let message = format!("no component `{wanted}` has a build");
                return Err(CliError::Usage(Report::with_hint(message, &hint)));
            }
        }
        jobs.retain(|job| job.components.iter().any(|name| is_wanted(name.as_str())));
    }
    let jobs: Vec<_> = jobs.into_iter().map(|job| (job, declared.clone())).collect();
    let outcomes = build::run(&jobs, args.force, host::builds_folder(engine).as_deref()).await?;
    let fresh = outcomes.iter().filter(|outcome| **outcome == Outcome::Fresh).count();
    if fresh > 0 {
        logging::print(&format!("{DIM}{fresh} of {} builds had nothing to do{DIM:#}\n", outcomes.len()));
    }
    // What came out must export what the triggers call, and import what something provides.
    let (host, provided) = host::planner(engine)?;
    provided.to(&host).await?;
    let plan = host.plan(&workload).await;
    let report = error::problems(&declared, &plan.unloaded, &plan.problems);
    if !plan.is_runnable() {
        return Err(CliError::Workload(report));
    }
    logging::print(&report.to_string());
    logging::print(&format!("{GOOD}{}{GOOD:#} {DIM}is ready{DIM:#}\n", workload.id()));
    Ok(ExitCode::SUCCESS)
}
