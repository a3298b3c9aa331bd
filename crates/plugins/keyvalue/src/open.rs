//! A declared store → an open backend.

use std::sync::Arc;

use wharf::PluginError;
use wharf_stores::Source;

use crate::backend::{self, Embedded, EmbeddedConfig, Memory, MemoryConfig, Store, SyncMode};
use crate::declaration::{KeyValueStore, SyncPolicy};

/// Opens the backend of a store. Servers are connected to when they are first used.
pub(crate) async fn open(source: &Source<'_, KeyValueStore>) -> Result<Arc<dyn Store>, PluginError> {
    match source.backend.name {
        "memory" => Ok(memory(source)),
        "embedded" => embedded(source).await,
        #[cfg(feature = "redis")]
        "redis" => redis(source).await,
        #[cfg(feature = "nats")]
        "nats" => nats(source).await,
        other => Err(PluginError::new(format!("no backend `{other}`"))),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the form of `map_err`")]
fn failed(error: backend::Error) -> PluginError {
    PluginError::new(error.to_string())
}

fn memory(source: &Source<'_, KeyValueStore>) -> Arc<dyn Store> {
    let mut config = MemoryConfig::default();
    if let Some(most) = source.declared.max_size {
        config.max_bytes = most.0;
    }
    Arc::new(Memory::new(config))
}

async fn embedded(source: &Source<'_, KeyValueStore>) -> Result<Arc<dyn Store>, PluginError> {
    let mut config = EmbeddedConfig::new(source.folder()?, "store");
    config.max_bytes = source.declared.max_size.map(|most| most.0);
    config.sync = match source.declared.sync_policy()? {
        SyncPolicy::Always => SyncMode::Always,
        SyncPolicy::Every(interval) => SyncMode::Every(interval.duration()),
        SyncPolicy::Never => SyncMode::Never,
    };
    Ok(Arc::new(Embedded::open(config).await.map_err(failed)?))
}

#[cfg(feature = "redis")]
async fn redis(source: &Source<'_, KeyValueStore>) -> Result<Arc<dyn Store>, PluginError> {
    use backend::{Redis, RedisConfig};

    let declared = &source.declared;
    let mut config = RedisConfig::new("");
    config.url = source.url().await?;
    // A server that serves several workloads keeps their keys apart.
    let partition = || source.partition().map(|partition| format!("{partition}:"));
    config.prefix = declared.prefix.clone().or_else(partition).unwrap_or_default();
    if let Some(timeout) = declared.timeout {
        config.timeout = timeout.duration();
    }
    Ok(Arc::new(Redis::new(&config).map_err(|error| failed(error).at("url"))?))
}

#[cfg(feature = "nats")]
async fn nats(source: &Source<'_, KeyValueStore>) -> Result<Arc<dyn Store>, PluginError> {
    use backend::{Nats, NatsConfig};

    let declared = &source.declared;
    // A name of a bucket has no dots.
    let partition = || source.partition().map(|partition| partition.replace('.', "_"));
    let bucket = declared.bucket.clone().or_else(partition).unwrap_or_else(|| source.name.to_string());
    let mut config = NatsConfig::new("", bucket);
    config.url = source.url().await?;
    config.create = declared.create.unwrap_or(true);
    if let Some(timeout) = declared.timeout {
        config.timeout = timeout.duration();
    }
    Ok(Arc::new(Nats::new(config).map_err(|error| failed(error).at("url"))?))
}
