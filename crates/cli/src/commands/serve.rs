//! `wharf serve`: serves one component over HTTP.

use std::process::ExitCode;

use wharf::workload::manifest::{HttpPath, HttpTrigger};

use crate::args::{EngineArgs, Serve};
use crate::error::{CliError, Report};
use crate::grants::{self, Target};
use crate::host;

pub(crate) async fn serve(engine: &EngineArgs, args: &Serve) -> Result<ExitCode, CliError> {
    let target = grants::target(engine, &args.component, args.name.as_deref(), &args.grants, &[]).await?;
    let (mut called, declared) = target;
    if let (Some(instances), Some(component)) = (args.instances(), called.component()) {
        component.instances = Some(instances);
    }
    let Target { mut workload, entry } = called;
    let route = HttpTrigger { component: entry, host: None, path: HttpPath::default() };
    workload.triggers.push(route).map_err(|error| CliError::Usage(Report::error(error)))?;
    let server = host::server(&args.listen).await?;
    super::up::serve(engine, vec![(workload, declared)], server, &args.listen, None).await
}
