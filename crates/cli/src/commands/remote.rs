//! The commands that talk to a running host: `ps`, `status`, `start`, `update`, `stop` and `logs`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use wharf::api::{ApiError, ErrorCode, HostApi, LogLine, State, WorkloadStatus};
use wharf::guest_log::escape;
use wharf_api::Client;
use wharf_api::client::MutualTls;

use super::up;
use crate::args::{EngineArgs, Logs, Ps, RemoteHost, Start, Status, Stop};
use crate::error::{self, CliError, Declared, Report};
use crate::output::{BAD, BOLD, DIM, GOOD, NAME};
use crate::{build, host, output};

/// How long a reader of a log waits at once.
const WAIT: Duration = Duration::from_secs(25);

/// A client of the host that the command line names.
pub(super) fn client(remote: &RemoteHost) -> Result<Client, CliError> {
    let Some(address) = remote.host.as_deref().filter(|address| !address.is_empty()) else {
        let hint = "set --host or WHARF_HOST to what the host has as --control, such as /tmp/wharf.sock";
        return Err(CliError::Usage(Report::with_hint("no host is named", hint)));
    };
    let Some(address) = address.strip_prefix("tcp:") else {
        return Ok(Client::unix(address.strip_prefix("unix:").unwrap_or(address)));
    };
    let (Some(chain), Some(key), Some(authority)) = (&remote.host_cert, &remote.host_key, &remote.host_ca) else {
        let hint = "set --host-cert, --host-key and --host-ca";
        return Err(CliError::Usage(Report::with_hint("a host on TCP needs certificates", hint)));
    };
    let tls = MutualTls::from_pem_files(chain, key, authority);
    let tls = tls.map_err(|error| CliError::Usage(Report::error(error)))?;
    Ok(Client::mutual_tls(address.trim_start_matches("//"), tls))
}

/// `name` is the workload `default/name`.
pub(super) fn id(text: &str) -> String {
    if text.contains('/') { text.to_owned() } else { format!("default/{text}") }
}

pub(crate) async fn ps(args: &Ps) -> Result<ExitCode, CliError> {
    let host = client(&args.remote)?;
    let mut workloads: Vec<WorkloadStatus> = Vec::new();
    let mut after = None;
    loop {
        let page = host.workload_list(after.as_deref(), Some(1000)).await.map_err(error::remote)?;
        workloads.extend(page.workloads);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if args.json {
        output::json(&workloads);
        return Ok(ExitCode::SUCCESS);
    }
    let width = workloads.iter().map(|workload| workload.id.len()).max().unwrap_or_default().max(8);
    anstream::println!("{BOLD}{:width$}  {:9}  {:8}  {:>5}  uptime{BOLD:#}", "workload", "state", "version", "calls");
    for workload in &workloads {
        let (state, style) = state(workload.state);
        anstream::println!(
            "{NAME}{:width$}{NAME:#}  {style}{state:9}{style:#}  {:8}  {:>5}  {}",
            escape(&workload.id),
            escape(workload.version.as_deref().unwrap_or("-")),
            workload.calls,
            uptime(workload.uptime_ms),
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn state(state: State) -> (&'static str, anstyle::Style) {
    match state {
        State::Starting => ("starting", DIM),
        State::Running => ("running", GOOD),
        State::Stopping => ("stopping", DIM),
        State::Stopped => ("stopped", BAD),
        _ => ("unknown", DIM),
    }
}

/// The time in whole seconds, such as `2h 3m 1s`.
fn uptime(ms: u64) -> String {
    humantime::format_duration(Duration::from_secs(ms / 1000)).to_string()
}

pub(crate) async fn status(args: &Status) -> Result<ExitCode, CliError> {
    let status = client(&args.remote)?.workload_status(&id(&args.workload)).await.map_err(error::remote)?;
    if args.json {
        output::json(&status);
    } else {
        print(&status);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(status: &WorkloadStatus) {
    let (name, style) = state(status.state);
    let version = status.version.as_deref().map_or_else(String::new, |version| format!(" {}", escape(version)));
    anstream::println!("{NAME}{}{NAME:#}{version} {style}{name}{style:#}", escape(&status.id));
    let line = |title: &str, text: String| anstream::println!("  {DIM}{title:11}{DIM:#} {text}");
    line("uptime", uptime(status.uptime_ms));
    let entries: Vec<_> = status.entries.iter().map(ToString::to_string).collect();
    line("components", format!("{} (entries: {})", status.components, entries.join(", ")));
    line("calls", format!("{}, {} instances ready, {} shared", status.calls, status.ready, status.shared));
    for service in &status.services {
        let text = format!("{} {:?}, {} restarts", service.component, service.state, service.restarts);
        line("service", text.to_lowercase());
    }
    for (limit, count) in &status.refusals {
        line("refused", format!("{count} by {}", limit.name()));
    }
    for health in &status.health {
        let detail = health.detail.as_deref().map_or_else(String::new, |detail| format!(": {}", escape(detail)));
        let state = if health.healthy { "healthy" } else { "not healthy" };
        line("plugin", format!("{} {state}{detail}", escape(&health.plugin)));
    }
    for warning in &status.warnings {
        line("warning", escape(warning).into_owned());
    }
}

pub(crate) async fn start(engine: &EngineArgs, args: &Start) -> Result<ExitCode, CliError> {
    apply(engine, args, async |host, workload| host.workload_start(workload).await).await
}

pub(crate) async fn update(engine: &EngineArgs, args: &Start) -> Result<ExitCode, CliError> {
    apply(engine, args, async |host, workload| host.workload_update(workload).await).await
}

async fn apply(
    engine: &EngineArgs,
    args: &Start,
    operation: impl AsyncFn(&Client, wharf::workload::Workload) -> Result<WorkloadStatus, ApiError>,
) -> Result<ExitCode, CliError> {
    let host = client(&args.remote)?;
    let declared = up::read(&paths(&args.paths))?;
    build::all(&declared, host::builds_folder(engine).as_deref()).await?;
    let mut errors = Vec::new();
    for (workload, declared) in declared {
        let done = output::progress("uploading and starting", operation(&host, workload)).await;
        match done {
            Ok(status) => print(&status),
            Err(error) => errors.push(error::remote_at(&declared, error)),
        }
    }
    CliError::several(errors).map_or(Ok(ExitCode::SUCCESS), Err)
}

fn paths(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.to_vec()
}

pub(crate) async fn stop(args: &Stop) -> Result<ExitCode, CliError> {
    let host = client(&args.remote)?;
    let mut errors = Vec::new();
    for workload in &args.workloads {
        match output::progress("stopping", host.workload_stop(&id(workload))).await {
            Ok(status) => anstream::println!("{DIM}Stopped{DIM:#} {NAME}{}{NAME:#}", escape(&status.id)),
            Err(error) => errors.push(error::remote_at(&Declared::default(), error)),
        }
    }
    CliError::several(errors).map_or(Ok(ExitCode::SUCCESS), Err)
}

pub(crate) async fn logs(args: &Logs) -> Result<ExitCode, CliError> {
    let (host, id) = (client(&args.remote)?, id(&args.workload));
    let wait = if args.follow { WAIT } else { Duration::ZERO };
    let mut from = 0;
    let mut seen = false;
    loop {
        let page = match host.workload_logs(&id, from, wait).await {
            Err(error) if seen && error.code == ErrorCode::NotFound => return Ok(ExitCode::SUCCESS),
            page => page.map_err(error::remote)?,
        };
        if page.dropped > 0 && seen {
            tracing::warn!("{} lines are lost: they came faster than they were read", page.dropped);
        }
        for line in &page.lines {
            print_line(line, args.json);
        }
        (from, seen) = (page.next, true);
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn print_line(line: &LogLine, json: bool) {
    if json {
        // The types of the API always have a form in JSON.
        anstream::println!("{}", serde_json::to_string(line).unwrap_or_default());
        return;
    }
    let time = i64::try_from(line.time_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let time = time.map_or_else(String::new, |time| format!("{time:.3}"));
    let style = if matches!(line.level.as_str(), "warn" | "error") { BAD } else { DIM };
    let source = line.source.as_deref().map_or_else(String::new, |source| format!(" {source}"));
    // Hosts escape what guests write. A traceback is one entry with several lines.
    let text = line.text.split('\n').map(|line| escape(line)).collect::<Vec<_>>().join("\n");
    anstream::println!(
        "{DIM}{time}{DIM:#} {style}{:5}{style:#} {NAME}{}{NAME:#}{DIM}{}:{DIM:#} {text}",
        line.level,
        escape(&line.component),
        escape(&source),
    );
}
