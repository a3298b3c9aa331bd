//! `wharf serve`: serves one component over HTTP.

use std::process::ExitCode;

use wharf::workload::manifest::{HttpPath, HttpTrigger};

use crate::args::{EngineArgs, Serve};
use crate::error::{CliError, Declared, Report};
use crate::{grants, host};

pub(crate) async fn serve(engine: &EngineArgs, args: &Serve) -> Result<ExitCode, CliError> {
    let mut workload = grants::workload(&args.component, &args.grants, &[])?;
    let component = workload.name.clone();
    if let Some(component) = workload.components.get_mut(&component) {
        component.instances = args.instances();
    }
    let route = HttpTrigger { component, host: None, path: HttpPath::default() };
    workload.triggers.push(route).map_err(|error| CliError::Usage(Report::error(error)))?;
    let server = host::server(&args.listen).await?;
    super::up::serve(engine, vec![(workload, Declared::default())], server, &args.listen, None).await
}
