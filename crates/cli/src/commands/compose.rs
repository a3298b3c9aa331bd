//! `wharf compose`: the fused component of a unit, written out.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use wharf::fuse::fuse;
use wharf::workload::{ComponentType, Name, Unit};

use crate::args::{Compose, EngineArgs};
use crate::error::{self, Failure, HOST, UNRESOLVED};
use crate::{host, logging, manifest};

pub(crate) fn compose(engine: &EngineArgs, args: &Compose) -> Result<ExitCode, Failure> {
    let (workload, declared) = manifest::read(&args.path)?;
    let plan = host::planner(engine)?.plan(&workload);
    let found = error::problems(&declared, &plan.unloaded, &plan.problems);
    if !plan.runs() {
        return Err(Failure { code: UNRESOLVED, text: found });
    }
    logging::print(&found);
    let unit = choose(&plan.resolution.units, args.unit.as_deref())?;
    let fused = fuse(unit, &plan.resolution, &plan.loaded.bytes).map_err(|error| Failure::new(UNRESOLVED, error))?;
    // Nobody compiles it here, so nobody else would notice.
    ComponentType::parse(&fused.bytes).map_err(|error| Failure::new(UNRESOLVED, error))?;
    write(&args.output, &fused.bytes)?;
    Ok(ExitCode::SUCCESS)
}

fn choose<'u>(units: &'u [Unit], wanted: Option<&str>) -> Result<&'u Unit, Failure> {
    let names = || units.iter().map(|unit| unit.entry.to_string()).collect::<Vec<_>>().join(", ");
    match (wanted, units) {
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(Failure::with_hint(2, format!("this workload has several units: {}", names()), "choose with --unit"))
        }
        (Some(wanted), units) => units
            .iter()
            .find(|unit| Name::as_str(&unit.entry) == wanted)
            .ok_or_else(|| Failure::new(2, format!("there is no unit `{wanted}`; there are: {}", names()))),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = if path == Path::new("-") { std::io::stdout().write_all(bytes) } else { std::fs::write(path, bytes) };
    written.map_err(|error| Failure::new(HOST, format!("{} cannot be written: {error}", path.display())))
}
