//! The host that the program runs: its engine, cache, plugins and HTTP server, by the command line's settings.

use std::path::PathBuf;

use wharf::engine::cache::Cache;
use wharf::host::CommandTrigger;
use wharf::stdio::{self, Stdio};
use wharf::{Engine, Host, HostBuilder, Profiling};
use wharf_config::ConfigPlugin;
use wharf_http::{HttpPlugin, HttpServer, Settings, Tls};
use wharf_logging::LoggingPlugin;

use crate::args::{EngineArgs, Listen, Profile};
use crate::error::{CliError, Report};
use crate::manifest;

/// An engine with the settings of the command line.
fn engine(args: &EngineArgs) -> Result<Engine, CliError> {
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
    builder = builder.debug_info(args.debug_info).profiling(match args.profile {
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
    builder.build().map_err(|error| CliError::Host(Report::error(error)))
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

/// A host with every plugin of this program.
pub(crate) fn builder(args: &EngineArgs, stdio: impl Stdio) -> Result<HostBuilder, CliError> {
    let config = args.host_config.as_deref().map(manifest::host_config).transpose()?.unwrap_or_default();
    let host = Host::builder(engine(args)?).ceilings(config.ceilings).stdio(stdio).trigger(CommandTrigger);
    Ok(host.plugin(HttpPlugin).plugin(ConfigPlugin).plugin(LoggingPlugin))
}

pub(crate) fn build(builder: HostBuilder) -> Result<Host, CliError> {
    builder.build().map_err(|error| CliError::Host(Report::error(error)))
}

/// A host that resolves and fuses but never instantiates, so it has neither a pool nor a cache.
pub(crate) fn planner(args: &EngineArgs) -> Result<Host, CliError> {
    let args = EngineArgs { pool: Some(0), no_cache: true, ..args.clone() };
    build(builder(&args, stdio::Null)?)
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
