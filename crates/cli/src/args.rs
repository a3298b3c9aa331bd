//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use wharf::workload::manifest::{Instances, InstancesMode};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// A host for WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, styles = STYLES, max_term_width = 100, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER: &str = "\
Examples:
  wharf up examples/guestbook        serve the workload of a manifest
  wharf serve hello.wasm             serve one component
  wharf run tool.wasm -- --flag x    run one component to its end
  wharf plan .                       show who satisfies what, and run nothing

Exit codes: 0 it went well; 1 the component failed (or its own code, with `run`); 2 command line;
3 manifest; 4 the workload cannot be resolved or loaded; 5 the component trapped; 6 the host.";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Engine and log")]
#[allow(clippy::struct_excessive_bools, reason = "flags of the command line")]
pub(crate) struct EngineArgs {
    /// What is logged on standard error, such as `debug` or `wharf=debug,wharf::guest=off`.
    #[arg(long, global = true, env = "WHARF_LOG", default_value = "info", value_name = "FILTER")]
    pub(crate) log: String,
    /// Write the log as lines of JSON.
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
    /// A file that says what manifests may ask for at most, in its table `ceilings`; docs/limits.md says what it can have.
    #[arg(long, global = true, env = "WHARF_HOST_CONFIG", value_name = "FILE")]
    pub(crate) host_config: Option<PathBuf>,
    /// How many instances the pool has, 1,000 unless this says otherwise; 0 makes instances on demand, as `run` does.
    #[arg(long, global = true, value_name = "COUNT")]
    pub(crate) pool: Option<u32>,
    /// Let the compiler inline calls between components.
    #[arg(long, global = true)]
    pub(crate) inlining: bool,
    /// Let components use a newer part of WebAssembly, or not with `=off`: memory64, threads, tail-calls, gc, exceptions, simd,
    /// relaxed-simd, component-threading, error-context. docs/engine.md says what each costs.
    #[arg(long, global = true, value_name = "FEATURE[=on|off]")]
    pub(crate) wasm: Vec<String>,
    /// Tell Linux perf what compiled code is whose.
    #[arg(long, global = true, value_enum, value_name = "HOW")]
    pub(crate) profile: Option<Profile>,
    /// Compile components so that a native debugger can step through them.
    #[arg(long, global = true)]
    pub(crate) debug_info: bool,
    /// Write a core dump of a guest that traps into this folder, which is made if it is not there.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) core_dumps: Option<PathBuf>,
    /// The folder of compiled code; by default `wharf/compiled` in the user's cache folder.
    #[arg(long, global = true, env = "WHARF_CACHE", value_name = "FOLDER")]
    pub(crate) cache: Option<PathBuf>,
    /// Compile anew and keep nothing.
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
    /// The most that the cache keeps, in bytes or with a unit.
    #[arg(long, global = true, default_value = "2GiB", value_name = "SIZE", value_parser = size)]
    pub(crate) cache_size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// `/tmp/perf-PID.map`.
    Perfmap,
    /// `jit-PID.dump` in this folder, for `perf inject --jit`.
    Jitdump,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the workloads of manifests until it is interrupted.
    #[command(
        after_help = "Examples:\n  wharf up\n  wharf up examples/guestbook --listen 0.0.0.0:80\n  wharf up one/wharf.toml two/wharf.toml\n  wharf up /etc/wharf/workloads\n\nA manifest is `wharf.toml`, `.yaml`, `.yml` or `.json`; a folder without one gives every manifest in it and in its folders.\nThe first SIGINT or SIGTERM drains, a second one aborts. SIGHUP reads the manifests again and puts the new versions in the place of the old ones, without dropping a request."
    )]
    Up(Up),
    /// Serve one component over HTTP.
    #[command(
        after_help = "Examples:\n  wharf serve hello.wasm\n  wharf serve api.wasm --listen 127.0.0.1:0 --env KEY=value --dir ./data::/data --allow https://api.example.com"
    )]
    Serve(Serve),
    /// Run one component to its end, with this terminal as its own.
    #[command(
        after_help = "Examples:\n  wharf run tool.wasm -- --flag x\n  wharf run tool.wasm --dir .::/here::ro --inherit-env\n\nThe exit code is the component's own."
    )]
    Run(Run),
    /// Show who satisfies which import and what each component is granted; run nothing.
    #[command(after_help = "Examples:\n  wharf plan\n  wharf plan examples/guestbook --format svg > plan.svg")]
    Plan(Plan),
    /// Show what a component imports and exports, and what it was made of.
    #[command(after_help = "Example:\n  wharf inspect hello.wasm")]
    Inspect(Inspect),
    /// Write the fused component of a workload's unit.
    #[command(after_help = "Example:\n  wharf compose examples/guestbook -o guestbook.wasm")]
    Compose(Compose),
    /// Print the manifest's JSON Schema.
    Schema,
    /// Show or clear the cache of compiled code.
    Cache {
        #[command(subcommand)]
        what: Cache,
    },
    /// Print a script that completes `wharf` in a shell.
    #[command(after_help = "Example:\n  wharf completions bash > /etc/bash_completion.d/wharf")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// The address to serve on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// Serve with TLS: the certificate chain, in PEM.
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of the certificate, in PEM.
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Manifests, their folders, or folders of manifests.
    #[arg(default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) listen: Listen,
}

#[derive(Debug, Args)]
pub(crate) struct Grants {
    /// Give the component an environment variable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// Give the component all environment variables of this process.
    #[arg(long)]
    pub(crate) inherit_env: bool,
    /// Give the component a folder; `::ro` at the end lets it read only.
    #[arg(long, value_name = "HOST::GUEST[::ro]")]
    pub(crate) dir: Vec<String>,
    /// Let the component connect to a host: `[scheme://]host[:port]`, a wildcard or a network.
    #[arg(long, value_name = "HOST")]
    pub(crate) allow: Vec<String>,
    /// Let the component connect anywhere and listen.
    #[arg(long)]
    pub(crate) inherit_network: bool,
    /// Give the component a value of `wasi:config`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) config: Vec<String>,
    /// Tell the component of a time zone: `system`, or one of the IANA database such as `Europe/Berlin`. It is UTC otherwise.
    #[arg(long, value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// Limit what an instance may use, as the manifest's `limits` do: `memory=64MiB`, `time=5s`, `concurrency=32`.
    #[arg(long, value_name = "LIMIT=VALUE")]
    pub(crate) limit: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The component.
    pub(crate) component: PathBuf,
    #[command(flatten)]
    pub(crate) listen: Listen,
    #[command(flatten)]
    pub(crate) grants: Grants,
    /// Keep so many instances ready, each for one request.
    #[arg(long, value_name = "SIZE", conflicts_with = "reuse", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) warm: Option<u32>,
    /// Let an instance serve so many requests, one after the other or, with WASI 0.3, at once. State survives in it.
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) reuse: Option<u32>,
}

impl Serve {
    /// How instances are made and kept.
    pub(crate) fn instances(&self) -> Instances {
        let mode = match (self.warm, self.reuse) {
            (Some(_), _) => InstancesMode::Warm,
            (_, Some(_)) => InstancesMode::Reuse,
            _ => InstancesMode::Fresh,
        };
        Instances { mode, size: self.warm, calls: self.reuse, ..Instances::default() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) grants: Grants,
    /// The component.
    pub(crate) component: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// A tree for people.
    Text,
    /// Everything, for programs.
    Json,
    /// A Mermaid flowchart.
    Mermaid,
    /// Graphviz's dot.
    Dot,
    /// A picture.
    Svg,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The manifest, or its folder.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: PlanFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The component.
    pub(crate) component: PathBuf,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Compose {
    /// The manifest, or its folder.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Where the component goes; `-` is standard output.
    #[arg(long, short)]
    pub(crate) output: PathBuf,
    /// The unit's entry component; needed when the workload has several.
    #[arg(long)]
    pub(crate) unit: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Print the folder.
    Path,
    /// Print how many bytes it has.
    Size,
    /// Delete everything in it.
    Clear,
}

fn size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64())
}

pub(crate) fn parse() -> Cli {
    Cli::parse()
}

/// The command line's own description, for completions.
pub(crate) fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}
