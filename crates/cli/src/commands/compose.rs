//! `wharf compose`: writes the fused component of a unit.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use wharf::prepare::compose::{compose as compose_unit, flat};
use wharf::workload::{ComponentType, Name, Unit};

use crate::args::{Compose, EngineArgs};
use crate::error::{self, CliError, Report};
use crate::{build, host, logging, manifest};

pub(crate) async fn compose(engine: &EngineArgs, args: &Compose) -> Result<ExitCode, CliError> {
    let mut read = vec![manifest::read(&args.path)?];
    build::all(&read, host::builds_folder(engine).as_deref()).await?;
    let (workload, declared) = read.remove(0);
    let plan = host::planner(engine)?.0.plan(&workload).await;
    let report = error::problems(&declared, &plan.unloaded, &plan.problems);
    if !plan.is_runnable() {
        return Err(CliError::Workload(report));
    }
    logging::print(&report.to_string());
    let unit = choose(&plan.resolution.units, args.unit.as_deref())?;
    let (resolution, code) = (&plan.resolution, &plan.loaded.code);
    let composed =
        if args.flat { flat(unit, resolution, code) } else { compose_unit(&workload, unit, resolution, code) };
    let composed = composed.map_err(|error| CliError::Workload(Report::error(error)))?;
    // Composing does not compile, so only this check finds an invalid component.
    ComponentType::parse(&composed).map_err(|error| CliError::Workload(Report::error(error)))?;
    write(&args.output, &composed)?;
    Ok(ExitCode::SUCCESS)
}

fn choose<'u>(units: &'u [Unit], wanted: Option<&str>) -> Result<&'u Unit, CliError> {
    let hint = || {
        let names: Vec<_> = units.iter().map(|unit| format!("`{}`", unit.entry)).collect();
        format!("pass --unit with one of {}", names.join(", "))
    };
    match (wanted, units) {
        (None, [only]) => Ok(only),
        (None, _) => {
            let message = format!("the workload has {} units", units.len());
            Err(CliError::Usage(Report::with_hint(message, &hint())))
        }
        (Some(wanted), units) => {
            let found = units.iter().find(|unit| Name::as_str(&unit.entry) == wanted);
            found.ok_or_else(|| {
                CliError::Usage(Report::with_hint(format!("no unit `{wanted}` in the workload"), &hint()))
            })
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let written = if path == Path::new("-") { std::io::stdout().write_all(bytes) } else { std::fs::write(path, bytes) };
    written.map_err(|error| CliError::Host(Report::with_context(error, format!("cannot write `{}`", path.display()))))
}
