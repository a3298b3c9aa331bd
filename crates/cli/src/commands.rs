//! One file for each verb.

mod cache;
mod compose;
mod inspect;
mod plan;
mod plan_picture;
mod run;
mod serve;
mod up;

use std::process::ExitCode;

use crate::args::{Cli, Command, command};
use crate::error::{Failure, HOST};
use crate::{logging, output};

pub(crate) fn run(cli: &Cli) -> ExitCode {
    let code = verb(cli).unwrap_or_else(|failure| failure.print());
    logging::flush();
    code
}

fn verb(cli: &Cli) -> Result<ExitCode, Failure> {
    logging::start(&cli.engine)?;
    match &cli.command {
        Command::Up(args) => block_on(up::up(&cli.engine, args)),
        Command::Serve(args) => block_on(serve::serve(&cli.engine, args)),
        Command::Run(args) => block_on(run::run(&cli.engine, args)),
        Command::Plan(args) => plan::plan(&cli.engine, args),
        Command::Inspect(args) => inspect::inspect(&cli.engine, args),
        Command::Compose(args) => compose::compose(&cli.engine, args),
        Command::Schema => {
            output::json(&wharf::workload::manifest::schema());
            Ok(ExitCode::SUCCESS)
        }
        Command::Cache { what } => cache::cache(&cli.engine, what),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut command(), "wharf", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn block_on(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(HOST, error))?;
    let done = runtime.block_on(work);
    // A component that still computes is not waited for.
    runtime.shutdown_background();
    done
}
