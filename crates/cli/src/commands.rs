//! The commands, one file for each.

mod bindings;
mod build;
mod cache;
mod call;
mod compose;
mod control;
mod dev;
mod inspect;
mod new;
mod plan;
mod plan_picture;
mod remote;
mod run;
mod serve;
mod test;
mod up;

use std::process::ExitCode;

use crate::args::{Cli, Command, command};
use crate::error::{CliError, Report};
use crate::{host, logging, output};

/// Runs the command, prints its error if it fails, and returns the exit code of the program.
pub(crate) fn run(cli: &Cli) -> ExitCode {
    let code = dispatch(cli).unwrap_or_else(|error| error.print());
    logging::flush();
    code
}

fn dispatch(cli: &Cli) -> Result<ExitCode, CliError> {
    logging::start(&cli.engine)?;
    match &cli.command {
        Command::Up(args) => block_on(up::up(&cli.engine, args)),
        Command::Serve(args) => block_on(serve::serve(&cli.engine, args)),
        Command::Run(args) => block_on(run::run(&cli.engine, args)),
        Command::Ps(args) => block_on(remote::ps(args)),
        Command::Status(args) => block_on(remote::status(args)),
        Command::Start(args) => block_on(remote::start(&cli.engine, args)),
        Command::Update(args) => block_on(remote::update(&cli.engine, args)),
        Command::Stop(args) => block_on(remote::stop(args)),
        Command::Logs(args) => block_on(remote::logs(args)),
        Command::Call(args) => block_on(call::call(&cli.engine, args)),
        Command::New(args) => new::new(args),
        Command::Dev(args) => block_on(dev::dev(&cli.engine, args)),
        Command::Build(args) => block_on(build::build(&cli.engine, args)),
        Command::Bindings(args) => bindings::bindings(args),
        Command::Test(args) => block_on(test::test(&cli.engine, args)),
        Command::Plan(args) => block_on(plan::plan(&cli.engine, args)),
        Command::Inspect(args) => block_on(inspect::inspect(&cli.engine, args)),
        Command::Compose(args) => block_on(compose::compose(&cli.engine, args)),
        Command::Schema => {
            output::json(&wharf::workload::manifest::schema_with(&host::extensions()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Cache { command } => cache::cache(&cli.engine, command),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut command(), "wharf", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn block_on(command: impl Future<Output = Result<ExitCode, CliError>>) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Host(Report::error(error)))?;
    let code = runtime.block_on(command);
    // The exit does not wait for a component that still computes.
    runtime.shutdown_background();
    code
}
