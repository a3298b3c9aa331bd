//! The host that the program runs: its engine, cache, plugins and HTTP server, by the command line's settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wharf::engine::EngineBuilder;
use wharf::engine::cache::Cache;
use wharf::host::CommandTrigger;
use wharf::stdio::{self, Stdio};
use wharf::workload::manifest::Extensions;
use wharf::workload::{HostConfig, Workload};
use wharf::{Engine, Host, HostBuilder, Plugin, Profiling, Trigger};
use wharf_blobstore::BlobStorePlugin;
use wharf_config::ConfigPlugin;
use wharf_cron::CronTrigger;
use wharf_http::{HttpPlugin, HttpServer, Settings, Tls};
use wharf_keyvalue::KeyValuePlugin;
use wharf_logging::LoggingPlugin;
use wharf_messaging::MessagingPlugin;
use wharf_secrets::SecretsPlugin;
use wharf_sql::SqlPlugin;
use wharf_stores::{Policy, PolicyError, ProcessEnvironment};
use wharf_tls::TlsPlugin;

use crate::args::{EngineArgs, Listen, Profile};
use crate::error::{self, CliError, Declared, Report};
use crate::manifest;

/// The settings of the command line for an engine.
pub(crate) fn engine(args: &EngineArgs) -> Result<EngineBuilder, CliError> {
    let pool = args.pool.unwrap_or(1000);
    let mut builder = Engine::builder().pooling(pool > 0).instances(pool).inlining(args.inlining);
    for setting in &args.wasm {
        let (name, on) = match setting.split_once('=') {
            None | Some((_, "on")) => (setting.split('=').next().unwrap_or_default(), true),
            Some((name, "off")) => (name, false),
            Some(_) => {
                let hint = "write it as FEATURE, FEATURE=on or FEATURE=off";
                return Err(CliError::Usage(Report::with_hint(format!("invalid `--wasm {setting}`"), hint)));
            }
        };
        let invalid = |error| CliError::Usage(Report::with_context(error, format!("invalid `--wasm {setting}`")));
        let feature = name.parse().map_err(invalid)?;
        builder = builder.feature(feature, on);
    }
    builder = builder.source_lines(args.source_lines).debug_info(args.debug_info).profiling(match args.profile {
        None => Profiling::Off,
        Some(Profile::Perfmap) => Profiling::PerfMap,
        Some(Profile::Jitdump) => Profiling::JitDump,
    });
    if let Some(folder) = &args.core_dumps {
        builder = builder.core_dumps(folder);
    }
    if let Some(folder) = cache_folder(args) {
        builder = builder.cache(folder, args.cache_size);
    }
    Ok(builder)
}

/// The folder of the compilation cache. `None` with `--no-cache`, or if the user has no home folder.
pub(crate) fn cache_folder(args: &EngineArgs) -> Option<PathBuf> {
    if args.no_cache {
        return None;
    }
    let user = || {
        let base = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        base.or_else(|| Some(std::env::home_dir()?.join(".cache"))).map(|base| base.join("wharf/compiled"))
    };
    args.cache.clone().or_else(user)
}

/// The folder of what is known of builds. `None` with `--no-cache`, or if the user has no home folder.
pub(crate) fn builds_folder(args: &EngineArgs) -> Option<PathBuf> {
    let folder = cache_folder(&EngineArgs { cache: None, ..args.clone() })?;
    Some(folder.with_file_name("builds"))
}

/// Opens the compilation cache.
pub(crate) fn cache(args: &EngineArgs) -> Result<Cache, CliError> {
    let hint = "name a folder with --cache, and leave out --no-cache";
    let folder = cache_folder(args).ok_or_else(|| CliError::Host(Report::with_hint("no cache is configured", hint)))?;
    let unusable = || {
        let hint = "the log has the reason; --cache selects another folder";
        CliError::Host(Report::with_hint(format!("cannot open the cache `{}`", folder.display()), hint))
    };
    Cache::open(&folder, args.cache_size).ok_or_else(unusable)
}

/// The plugins and triggers of this program, on a host with this policy for stores.
struct Parts {
    plugins: Vec<Arc<dyn Plugin>>,
    triggers: Vec<Arc<dyn Trigger>>,
}

impl Parts {
    fn new(policy: &Policy) -> Self {
        let messaging = Arc::new(MessagingPlugin::new(policy.clone()));
        let keyvalue = Arc::new(KeyValuePlugin::new(policy.clone()));
        Self {
            plugins: vec![
                Arc::new(HttpPlugin),
                Arc::new(ConfigPlugin::new(policy)),
                Arc::new(LoggingPlugin),
                Arc::new(SecretsPlugin::new(policy)),
                Arc::new(TlsPlugin::new(policy)),
                keyvalue.clone(),
                Arc::new(BlobStorePlugin::new(policy.clone())),
                messaging.clone(),
                Arc::new(SqlPlugin::new(policy.clone())),
            ],
            triggers: vec![Arc::new(CommandTrigger), keyvalue, messaging, Arc::new(CronTrigger::default())],
        }
    }
}

/// What the plugins and triggers of this program add to the manifest.
pub(crate) fn extensions() -> Extensions {
    let Parts { plugins, triggers } = Parts::new(&Policy::default());
    let keys = plugins.into_iter().flat_map(|plugin| plugin.settings());
    let extensions = keys.fold(Extensions::builtin(), Extensions::with_settings);
    triggers.into_iter().filter_map(|trigger| trigger.kind()).fold(extensions, Extensions::with_trigger_kind)
}

/// The host's policy for stores: that of a user who runs manifests of their own, restricted by the host's configuration.
fn policy(args: &EngineArgs, file: Option<&Path>, config: &HostConfig) -> Result<Policy, CliError> {
    let configured = || {
        let policy = Policy::open(ProcessEnvironment);
        let policy = match state_folder(args) {
            Some(folder) => policy.with_state(folder),
            None => policy,
        };
        let policy = policy.configure(config.stores.as_ref(), config.secrets.as_ref())?;
        KeyValuePlugin::check_policy(&policy)?;
        BlobStorePlugin::check_policy(&policy)?;
        MessagingPlugin::check_policy(&policy)?;
        SqlPlugin::check_policy(&policy)?;
        Ok::<_, PolicyError>(policy)
    };
    configured().map_err(|error| {
        let declared = Declared { file: file.map(Path::to_path_buf), spans: config.spans.clone() };
        error::host_config(&declared, &error.place, error.message, error.hint.as_deref())
    })
}

/// The folder of the host's state. `None` if the user has no home folder.
fn state_folder(args: &EngineArgs) -> Option<PathBuf> {
    let user = || {
        let base = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        base.or_else(|| Some(std::env::home_dir()?.join(".local/state"))).map(|base| base.join("wharf"))
    };
    args.state.clone().or_else(user)
}

/// The components of the host's configuration that workloads may use, and their places in it.
pub(crate) struct Provided(Option<(Workload, Declared)>);

impl Provided {
    /// Provides the components to the workloads of a host.
    pub(crate) async fn to(self, host: &Host) -> Result<(), CliError> {
        let Some((workload, declared)) = self.0 else { return Ok(()) };
        host.provide(workload).await.map_err(|error| error::start(&declared, error))
    }
}

/// A host with every plugin of this program, and the components that it provides.
pub(crate) fn builder(args: &EngineArgs, stdio: impl Stdio) -> Result<(HostBuilder, Provided), CliError> {
    builder_on(args, engine(args)?, stdio)
}

/// The same, on an engine of these settings.
pub(crate) fn builder_on(
    args: &EngineArgs,
    engine: EngineBuilder,
    stdio: impl Stdio,
) -> Result<(HostBuilder, Provided), CliError> {
    let file = args.host_config.as_deref();
    let config = file.map(manifest::host_config).transpose()?.unwrap_or_default();
    let policy = policy(args, file, &config)?;
    let engine = engine.build().map_err(|error| CliError::Host(Report::error(error)))?;
    let host = Host::builder(engine).ceilings(config.ceilings).stdio(stdio);
    let Parts { plugins, triggers } = Parts::new(&policy);
    let host = plugins.into_iter().fold(host, HostBuilder::shared_plugin);
    let declared = Declared { file: file.map(Path::to_path_buf), spans: config.spans };
    let provided = Provided(config.provided.map(|provided| (provided, declared)));
    Ok((triggers.into_iter().fold(host, HostBuilder::shared_trigger), provided))
}

pub(crate) fn build(builder: HostBuilder) -> Result<Host, CliError> {
    builder.build().map_err(|error| CliError::Host(Report::error(error)))
}

/// A host that resolves and fuses but never instantiates, so it has neither a pool nor a cache.
pub(crate) fn planner(args: &EngineArgs) -> Result<(Host, Provided), CliError> {
    let args = EngineArgs { pool: Some(0), no_cache: true, ..args.clone() };
    let (builder, provided) = builder(&args, stdio::Null)?;
    Ok((build(builder)?, provided))
}

/// The certificate and key of the command line, if there are any.
pub(crate) fn tls(listen: &Listen) -> Result<Option<Tls>, CliError> {
    let (Some(certificate), Some(key)) = (&listen.tls_cert, &listen.tls_key) else { return Ok(None) };
    let tls = Tls::from_pem_files(certificate, key).map_err(|error| CliError::Host(Report::error(error)))?;
    Ok(Some(tls))
}

/// The HTTP server. It listens, and accepts connections only when the caller starts it.
pub(crate) async fn server(listen: &Listen) -> Result<HttpServer, CliError> {
    let mut settings = Settings::new(listen.listen);
    settings.tls = tls(listen)?;
    HttpServer::bind(settings).await.map_err(|error| {
        let hint = "choose another address with --listen; port 0 selects a free port";
        CliError::Host(Report::with_hint(error, hint))
    })
}
