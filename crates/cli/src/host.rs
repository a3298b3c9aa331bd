//! The host as the program sets it up: its engine, cache and plugins.

use std::path::PathBuf;

use wharf::compile::cache::Cache;
use wharf::host::CommandTrigger;
use wharf::{Engine, Host, HostBuilder, Profiling, Stdio};
use wharf_config::ConfigPlugin;
use wharf_http::{HttpPlugin, HttpServer, Settings, Tls};
use wharf_logging::LoggingPlugin;

use crate::args::{EngineArgs, Listen, Profile};
use crate::error::{Failure, HOST};
use crate::manifest;

/// An engine with the settings of the command line.
fn engine(args: &EngineArgs) -> Result<Engine, Failure> {
    let pool = args.pool.unwrap_or(1000);
    let mut builder = Engine::builder().pooling(pool > 0).instances(pool).inlining(args.inlining);
    for setting in &args.wasm {
        let (name, on) = match setting.split_once('=') {
            None | Some((_, "on")) => (setting.split('=').next().unwrap_or_default(), true),
            Some((name, "off")) => (name, false),
            Some(_) => {
                return Err(Failure::with_hint(
                    2,
                    format!("--wasm {setting}"),
                    "it is written FEATURE, FEATURE=on or FEATURE=off",
                ));
            }
        };
        let feature = name.parse().map_err(|error| Failure::new(2, format!("--wasm {setting}: {error}")))?;
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
    builder.build().map_err(|error| Failure::new(HOST, error))
}

/// Where compiled code is kept; nowhere if it is not wanted, or there is no home.
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

/// The cache, opened.
pub(crate) fn cache(args: &EngineArgs) -> Result<Cache, Failure> {
    let folder = cache_folder(args).ok_or_else(|| Failure::new(HOST, "there is no cache"))?;
    let refused = || Failure::new(HOST, format!("the cache in {} cannot be used", folder.display()));
    Cache::open(&folder, args.cache_size).ok_or_else(refused)
}

/// A host with every plugin of this program.
pub(crate) fn builder(args: &EngineArgs, stdio: Stdio) -> Result<HostBuilder, Failure> {
    let config = args.host_config.as_deref().map(manifest::host_config).transpose()?.unwrap_or_default();
    let host = Host::builder(engine(args)?).ceilings(config.ceilings).stdio(stdio).trigger(CommandTrigger);
    Ok(host.plugin(HttpPlugin).plugin(ConfigPlugin).plugin(LoggingPlugin))
}

pub(crate) fn build(builder: HostBuilder) -> Result<Host, Failure> {
    builder.build().map_err(|error| Failure::new(HOST, error))
}

/// A host that resolves and fuses, and never makes an instance.
pub(crate) fn planner(args: &EngineArgs) -> Result<Host, Failure> {
    let args = EngineArgs { pool: Some(0), no_cache: true, ..args.clone() };
    build(builder(&args, Stdio::Null)?)
}

/// The HTTP server, listening but not accepting yet.
pub(crate) async fn server(listen: &Listen) -> Result<HttpServer, Failure> {
    let mut settings = Settings::new(listen.listen);
    if let (Some(certificate), Some(key)) = (&listen.tls_cert, &listen.tls_key) {
        settings.tls = Some(Tls::from_pem_files(certificate, key).map_err(|error| Failure::new(HOST, error))?);
    }
    HttpServer::bind(settings).await.map_err(|error| {
        Failure::with_hint(HOST, error, "choose another address with --listen; port 0 takes any free one")
    })
}
