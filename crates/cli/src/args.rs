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
#[command(name = "wharf", version, styles = STYLES, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  wharf new my-app --lang rust       start a project
  wharf dev                          build, serve, and swap what changes
  wharf up examples/guestbook        serve the workload of a manifest
  wharf serve hello.wasm             serve one component
  wharf run tool.wasm -- --flag x    run one command component
  wharf plan .                       show imports, providers and grants; run nothing
  wharf call adder.wasm 'add(2, 3)'  call a function
  wharf ps --host /tmp/wharf.sock    list the workloads of a running host

Exit codes:
  0  success
  1  the component failed; with `run`, the component's own code
  2  the command line is wrong
  3  a manifest or the host configuration does not parse
  4  the workload does not resolve or load
  5  the component trapped
  6  the host failed
  7  the component reached a limit
  8  a component does not build";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Engine and log")]
#[allow(clippy::struct_excessive_bools, reason = "each field is a flag of the command line")]
pub(crate) struct EngineArgs {
    /// Filter of the log on standard error, such as `debug` or `wharf=debug,wharf::guest=off`.
    #[arg(long, global = true, env = "WHARF_LOG", default_value = "info", value_name = "FILTER")]
    pub(crate) log: String,
    /// Write the log as JSON, one object for each line.
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
    /// Host configuration: `ceilings` bounds the limits that a manifest may set (see docs/limits.md), `stores` decides where stores
    /// are (see docs/stores.md).
    #[arg(long, global = true, env = "WHARF_HOST_CONFIG", value_name = "FILE")]
    pub(crate) host_config: Option<PathBuf>,
    /// Folder of embedded stores [default: `wharf` in the user's state folder].
    #[arg(long, global = true, env = "WHARF_STATE", value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
    /// Size of the instance pool: 1,000 by default; 0 allocates instances on demand, as `run` does.
    #[arg(long, global = true, value_name = "COUNT")]
    pub(crate) pool: Option<u32>,
    /// Let the compiler inline calls between components.
    #[arg(long, global = true)]
    pub(crate) inlining: bool,
    /// Enable or disable a WebAssembly feature: memory64, threads, tail-calls, gc, exceptions, simd, relaxed-simd,
    /// component-threading, error-context (see docs/engine.md for the cost of each).
    #[arg(long, global = true, value_name = "FEATURE[=on|off]")]
    pub(crate) wasm: Vec<String>,
    /// Write symbols of compiled code for Linux perf.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) profile: Option<Profile>,
    /// Compile components with debug information for a native debugger.
    #[arg(long, global = true)]
    pub(crate) debug_info: bool,
    /// Write a core dump of each guest that traps to this folder, which is created if it does not exist.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) core_dumps: Option<PathBuf>,
    /// Name files and lines of the source in backtraces of traps, for components with DWARF; on for `dev`, `test` and `run`.
    #[arg(long, global = true)]
    pub(crate) source_lines: bool,
    /// Folder of the compilation cache [default: `wharf/compiled` in the user's cache folder].
    #[arg(long, global = true, env = "WHARF_CACHE", value_name = "FOLDER")]
    pub(crate) cache: Option<PathBuf>,
    /// Disable the compilation cache.
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
    /// Maximum size of the compilation cache, in bytes or with a unit.
    #[arg(long, global = true, default_value = "2GiB", value_name = "SIZE", value_parser = size)]
    pub(crate) cache_size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// `/tmp/perf-PID.map`.
    Perfmap,
    /// `jit-PID.dump` in the current folder, for `perf inject --jit`.
    Jitdump,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the workloads of manifests until interrupted.
    #[command(
        after_help = "Examples:\n  wharf up\n  wharf up examples/guestbook --listen 0.0.0.0:80\n  wharf up one/wharf.toml two/wharf.toml\n  wharf up /etc/wharf/workloads\n\nA manifest is `wharf.toml`, `.yaml`, `.yml` or `.json`; a folder without one serves every manifest in it and in its folders.\nThe first SIGINT or SIGTERM drains, the second aborts. SIGHUP reloads the manifests and replaces the running workloads without dropping a request."
    )]
    Up(Up),
    /// Serve one component over HTTP.
    #[command(
        after_help = "Examples:\n  wharf serve hello.wasm\n  wharf serve api.wasm --listen 127.0.0.1:0 --env KEY=value --dir ./data::/data --allow https://api.example.com"
    )]
    Serve(Serve),
    /// Run one command component, connected to this terminal.
    #[command(
        after_help = "Examples:\n  wharf run tool.wasm -- --flag x\n  wharf run tool.wasm --dir .::/here::ro --inherit-env\n  wharf run . -- --flag x\n\nThe exit code is the component's own."
    )]
    Run(Run),
    /// List the workloads of a running host.
    #[command(
        after_help = "Examples:\n  wharf up --control /tmp/wharf.sock\n  wharf ps --host /tmp/wharf.sock\n\n--host, or WHARF_HOST, is where the host listens, as its --control has it: the path of a Unix socket, or `tcp:HOST:PORT`."
    )]
    Ps(Ps),
    /// Show the status of a workload on a running host.
    Status(Status),
    /// Build the workloads of manifests, and start them on a running host.
    #[command(
        after_help = "Example:\n  wharf start examples/guestbook --host /tmp/wharf.sock\n\nThe components are uploaded. Host paths of volumes are those of the host's machine."
    )]
    Start(Start),
    /// Build the workloads of manifests, and replace those on a running host without dropping a request.
    Update(Start),
    /// Stop a workload on a running host: the calls in progress are waited for.
    Stop(Stop),
    /// Show what a workload on a running host logged last.
    #[command(after_help = "Example:\n  wharf logs default/guestbook --follow")]
    Logs(Logs),
    /// Call an exported function of a component, of a manifest's component, or of a workload on a running host.
    #[command(
        after_help = "Examples:\n  wharf call adder.wasm 'add(2, 3)'\n  wharf call . 'acme:shop/cart#add({\"sku\": \"a\", \"count\": 2})' -o json\n  echo '[2, 3]' | wharf call adder.wasm add -\n  wharf call default/shop 'total()' --host /tmp/wharf.sock\n  wharf call hello.wasm --http 'GET /'\n\nArguments are WAVE, or JSON; docs/calls.md has the form of each type."
    )]
    Call(Call),
    /// Start a project: a folder with a manifest, sources, a test and a README.
    #[command(
        after_help = "Examples:\n  wharf new --list\n  wharf new my-app --lang rust\n  wharf new my-job --lang go --template cron\n  wharf new my-app --from https://git.example/template.git\n\nWithout --lang and --template, a terminal asks for them. A template of one's own is a folder or a git repository; in its files\n`{{name}}` and `{{snake}}` become the project's name, as `my-app` and `my_app`."
    )]
    New(New),
    /// Build, serve, and replace what changes, while its sources are edited.
    #[command(
        after_help = "Examples:\n  wharf dev\n  wharf dev examples/shop --listen 127.0.0.1:8080\n\nA build that fails leaves the version that runs. On a terminal: r rebuilds, p shows the plan, l changes the log level, q quits."
    )]
    Dev(Dev),
    /// Build the components of a workload from their sources, as `build` in the manifest says, and check them.
    #[command(
        after_help = "Examples:\n  wharf build\n  wharf build examples/shop --component web --force\n\nBuilds run when the files that they depend on have changed. `up`, `run`, `dev`, `test` and `compose` build first, too."
    )]
    Build(BuildArgs),
    /// Generate bindings of a world, for languages without a generator of their own.
    #[command(after_help = "Example:\n  wharf bindings c --wit wit --out gen")]
    Bindings(Bindings),
    /// Run the tests that components bring: their exports whose names begin with `test-`, and those of interfaces `wharf:test/…`.
    #[command(
        after_help = "Examples:\n  wharf test\n  wharf test greets\n  wharf test examples/shop greets --json\n\nEach test is a call in a fresh instance. It fails if it traps, reaches a limit or returns an error. `[test]` in the manifest has\ncomponents that take the places of others. The exit code is 1 if a test fails."
    )]
    Test(Test),
    /// Show what satisfies each import and what each component is granted; run nothing.
    #[command(after_help = "Examples:\n  wharf plan\n  wharf plan examples/guestbook --format svg > plan.svg")]
    Plan(Plan),
    /// Show the imports, exports, producers and WIT of a component.
    #[command(after_help = "Example:\n  wharf inspect hello.wasm")]
    Inspect(Inspect),
    /// Write the fused component of a workload's unit, which `serve` and `run` take.
    #[command(
        after_help = "Examples:\n  wharf compose examples/guestbook -o guestbook.wasm\n  wharf serve guestbook.wasm --dir ./data::/data\n  wharf compose --flat -o for-any-host.wasm"
    )]
    Compose(Compose),
    /// Print the manifest's JSON Schema.
    Schema,
    /// Show or clear the compilation cache.
    Cache {
        #[command(subcommand)]
        command: Cache,
    },
    /// Print a shell completion script.
    #[command(after_help = "Example:\n  wharf completions bash > /etc/bash_completion.d/wharf")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// Address to listen on; port 0 selects a free port.
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// Certificate chain in PEM; enables TLS.
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM.
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Manifests, folders of one manifest, or folders of several [default: `.`, or none with --control].
    pub(crate) paths: Vec<PathBuf>,
    /// Watch manifests, components and sources, build and replace what changes.
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) listen: Listen,
    #[command(flatten)]
    pub(crate) control: Control,
}

impl Up {
    /// The manifests: those of the current folder if none is named, unless workloads come through the host API.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let by_default = if self.control.control.is_empty() { vec![PathBuf::from(".")] } else { Vec::new() };
        if self.paths.is_empty() { by_default } else { self.paths.clone() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Control {
    /// Serve the host API: on a Unix socket at a path, or on `tcp:ADDRESS:PORT` with mutual TLS. Repeat it for several. Without a manifest
    /// the host begins empty.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "watch")]
    pub(crate) control: Vec<String>,
    /// Serve `/metrics`, `/livez` and `/readyz` over HTTP on an address of their own. The control listener has them, too.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "watch")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Certificate chain of the host API in PEM.
    #[arg(long, value_name = "FILE", requires = "control")]
    pub(crate) control_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "control")]
    pub(crate) control_key: Option<PathBuf>,
    /// Authority that signs the certificates of clients, in PEM.
    #[arg(long, value_name = "FILE", requires = "control")]
    pub(crate) control_ca: Option<PathBuf>,
}

/// The host that a command talks to.
#[derive(Debug, Args)]
pub(crate) struct RemoteHost {
    /// Where the host listens: the path of a Unix socket, or `tcp:HOST:PORT`.
    #[arg(long, env = "WHARF_HOST", value_name = "ADDRESS")]
    pub(crate) host: Option<String>,
    /// This client's certificate chain in PEM, for `tcp:`.
    #[arg(long, env = "WHARF_HOST_CERT", value_name = "FILE")]
    pub(crate) host_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM.
    #[arg(long, env = "WHARF_HOST_KEY", value_name = "FILE")]
    pub(crate) host_key: Option<PathBuf>,
    /// Authority that signs the host's certificate, in PEM.
    #[arg(long, env = "WHARF_HOST_CA", value_name = "FILE")]
    pub(crate) host_ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteHost,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The workload: `namespace/name`, or a name of the namespace `default`.
    pub(crate) workload: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteHost,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Manifests, or folders of one.
    #[arg(default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: RemoteHost,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The workloads: `namespace/name`, or a name of the namespace `default`.
    #[arg(required = true)]
    pub(crate) workloads: Vec<String>,
    #[command(flatten)]
    pub(crate) remote: RemoteHost,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The workload: `namespace/name`, or a name of the namespace `default`.
    pub(crate) workload: String,
    /// Wait for more, until the workload stops.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print an object for each line.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: RemoteHost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CallOutput {
    /// WAVE, the component model's text format for values.
    Wave,
    /// JSON, which is read again as arguments.
    Json,
    /// A table: a row for each item of a list, a column for each field of a record.
    Table,
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// A component, a manifest or its folder; or with --host a workload on the host.
    pub(crate) target: String,
    /// The function with its arguments: `interface#function(arguments)`. Without arguments, those of ARGUMENTS.
    #[arg(required_unless_present = "http")]
    pub(crate) call: Option<String>,
    /// The arguments: a JSON array, one value in JSON, or WAVE; `-` reads them from standard input.
    pub(crate) arguments: Option<String>,
    /// Send an HTTP request instead, without a listening port: `GET /path`.
    #[arg(long, value_name = "METHOD PATH", conflicts_with_all = ["call", "host"])]
    pub(crate) http: Option<String>,
    /// A header of the request. Repeat it for several.
    #[arg(long, short = 'H', value_name = "NAME: VALUE", requires = "http")]
    pub(crate) header: Vec<String>,
    /// The body of the request; `-` reads it from standard input.
    #[arg(long, short, value_name = "BODY", requires = "http", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    /// Print the head of the response, too.
    #[arg(long, short = 'i', requires = "http")]
    pub(crate) include: bool,
    /// How results are printed.
    #[arg(long, short, value_enum, default_value = "wave")]
    pub(crate) output: CallOutput,
    /// The component to call; required if there are several.
    #[arg(long = "component", value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) grants: Grants,
    #[command(flatten)]
    pub(crate) remote: RemoteHost,
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The project's name, in kebab-case; also that of its folder.
    #[arg(required_unless_present = "list")]
    pub(crate) name: Option<String>,
    /// Language: rust, go, python, js, ts or c.
    #[arg(long, short, value_name = "LANGUAGE", conflicts_with = "from")]
    pub(crate) lang: Option<String>,
    /// Template: http, command, library, middleware, cron or workload; with --from a folder in it.
    #[arg(long, short, value_name = "TEMPLATE")]
    pub(crate) template: Option<String>,
    /// Take the template from a folder or a git repository.
    #[arg(long, value_name = "FOLDER|URL")]
    pub(crate) from: Option<String>,
    /// List the templates.
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The manifest, or its folder.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Run the tests whose names, such as `web/test-greets`, contain this text.
    pub(crate) filter: Option<String>,
    /// Print an object for each test, and one for the whole.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Manifests, or folders of one; or the folder of one component without a manifest.
    #[arg(default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) listen: Listen,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The manifest, or its folder.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Build this component only. Repeat it for several.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) component: Vec<String>,
    /// Build even if nothing has changed.
    #[arg(long, short)]
    pub(crate) force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BindingsLanguage {
    /// Header, source and an object file with the world.
    C,
    /// Packages of a Go module, which must have a `go.mod`.
    Go,
}

#[derive(Debug, Args)]
pub(crate) struct Bindings {
    /// The language.
    #[arg(value_enum)]
    pub(crate) language: BindingsLanguage,
    /// The WIT package: a folder or a file.
    #[arg(long, default_value = "wit", value_name = "PATH")]
    pub(crate) wit: PathBuf,
    /// The world; required if the package has several.
    #[arg(long, value_name = "NAME")]
    pub(crate) world: Option<String>,
    /// The folder to write to [default: `gen` for C, `bindings` for Go].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Grants {
    /// Grant an environment variable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// Grant all environment variables of this process.
    #[arg(long)]
    pub(crate) inherit_env: bool,
    /// Grant a folder; `::ro` at the end makes it read-only.
    #[arg(long, value_name = "HOST::GUEST[::ro]")]
    pub(crate) dir: Vec<String>,
    /// Grant connections to a host: `[scheme://]host[:port]`, a wildcard or a network.
    #[arg(long, value_name = "HOST")]
    pub(crate) allow: Vec<String>,
    /// Grant connections to every host, and listening.
    #[arg(long)]
    pub(crate) inherit_network: bool,
    /// Set a key of `wasi:config`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) config: Vec<String>,
    /// Set the time zone: `system`, or a zone of the IANA database such as `Europe/Berlin` [default: UTC].
    #[arg(long, value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// Set a limit of the component, as `limits` in a manifest does: `memory=64MiB`, `time=5s`, `concurrency=32`.
    #[arg(long, value_name = "LIMIT=VALUE")]
    pub(crate) limit: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The component; or a manifest or its folder, whose component is built first.
    pub(crate) component: PathBuf,
    /// The component of the manifest to serve; required if it has several.
    #[arg(long = "component", value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) listen: Listen,
    #[command(flatten)]
    pub(crate) grants: Grants,
    /// Keep SIZE instances ready, each for one request.
    #[arg(long, value_name = "SIZE", conflicts_with = "reuse", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) warm: Option<u32>,
    /// Reuse an instance for up to REQUESTS requests, which share its state: one at a time, or concurrently with WASI 0.3.
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) reuse: Option<u32>,
}

impl Serve {
    /// The instance policy that `--warm` and `--reuse` select.
    pub(crate) fn instances(&self) -> Option<Instances> {
        let mode = match (self.warm, self.reuse) {
            (Some(_), _) => InstancesMode::Warm,
            (_, Some(_)) => InstancesMode::Reuse,
            _ => return None,
        };
        Some(Instances { mode, size: self.warm, calls: self.reuse, ..Instances::default() })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) grants: Grants,
    /// The component of the manifest to run; required if it has several.
    #[arg(long = "component", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The component; or a manifest or its folder, whose component is built first.
    pub(crate) component: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// A tree, for people.
    Text,
    /// The whole plan, for programs.
    Json,
    /// A Mermaid flowchart.
    Mermaid,
    /// A graph in the dot language of Graphviz.
    Dot,
    /// An SVG picture.
    Svg,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The manifest, or its folder.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Output format.
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
    /// Output format.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Compose {
    /// The manifest, or its folder.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Output file; `-` is standard output.
    #[arg(long, short)]
    pub(crate) output: PathBuf,
    /// Entry component of the unit; required if the workload has several units.
    #[arg(long)]
    pub(crate) unit: Option<String>,
    /// Write a component for other hosts: its parts share all grants.
    #[arg(long)]
    pub(crate) flat: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Print the folder of the cache.
    Path,
    /// Print the size of the cache in bytes.
    Size,
    /// Delete all entries.
    Clear,
}

fn size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64())
}

pub(crate) fn parse() -> Cli {
    Cli::parse()
}

/// The description of the command line, for completions.
pub(crate) fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}
