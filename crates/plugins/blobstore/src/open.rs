//! A declared store → an open backend.

use std::sync::Arc;

use wharf::PluginError;
#[cfg(any(feature = "nats", feature = "s3"))]
use wharf::workload::manifest::Millis;
use wharf_stores::Source;

use crate::backend::folder::{Folder, FolderConfig};
use crate::backend::memory::{Memory, MemoryConfig};
use crate::backend::{self, Container};
use crate::declaration::BlobStore;

/// Opens the backend of a store. Servers are connected to when they are first used.
pub(crate) async fn open(source: &Source<'_, BlobStore>) -> Result<Arc<dyn Container>, PluginError> {
    match source.backend.name {
        "memory" => Ok(memory(source)),
        "embedded" => folder(source).await,
        #[cfg(feature = "s3")]
        "s3" => s3(source).await,
        #[cfg(feature = "nats")]
        "nats" => nats(source).await,
        other => Err(PluginError::new(format!("no backend `{other}`"))),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the form of `map_err`")]
fn failed(error: backend::Error) -> PluginError {
    PluginError::new(error.to_string())
}

fn memory(source: &Source<'_, BlobStore>) -> Arc<dyn Container> {
    let mut config = MemoryConfig::default();
    if let Some(most) = source.declared.max_size {
        config.max_bytes = most.0;
    }
    Arc::new(Memory::new(config))
}

async fn folder(source: &Source<'_, BlobStore>) -> Result<Arc<dyn Container>, PluginError> {
    let mut config = FolderConfig::new(source.folder()?);
    config.max_bytes = source.declared.max_size.map(|most| most.0);
    config.sync = source.declared.sync.unwrap_or(true);
    Ok(Arc::new(Folder::open(config).await.map_err(failed)?))
}

#[cfg(feature = "s3")]
async fn s3(source: &Source<'_, BlobStore>) -> Result<Arc<dyn Container>, PluginError> {
    use backend::s3::{DEFAULT_TIMEOUT, S3, S3Config};

    let BlobStore { bucket, prefix, region, access_key, secret_key, timeout, .. } = &source.declared;
    let text = |text| source.required(text);
    let url = source.url().await?;
    // A bucket that serves several workloads keeps their objects apart.
    let partition = || source.partition().map(|partition| format!("{partition}/"));
    let config = S3Config {
        allow_http: url.starts_with("http://"),
        url: url.to_string(),
        bucket: bucket.clone().unwrap_or_default(),
        region: region.clone().unwrap_or_else(|| "us-east-1".to_owned()),
        access_key: text(access_key.as_ref()).await?.to_string(),
        secret_key: text(secret_key.as_ref()).await?,
        prefix: prefix.clone().or_else(partition).unwrap_or_default(),
        timeout: timeout.map_or(DEFAULT_TIMEOUT, Millis::duration),
    };
    Ok(Arc::new(S3::open(config).map_err(failed)?))
}

#[cfg(feature = "nats")]
async fn nats(source: &Source<'_, BlobStore>) -> Result<Arc<dyn Container>, PluginError> {
    use backend::nats::{DEFAULT_TIMEOUT, Nats, NatsConfig};

    let BlobStore { bucket, create, timeout, .. } = &source.declared;
    // A name of a bucket has no dots.
    let partition = || source.partition().map(|partition| partition.replace('.', "_"));
    let config = NatsConfig {
        url: source.url().await?,
        bucket: bucket.clone().or_else(partition).unwrap_or_else(|| source.name.to_string()),
        credentials: None,
        create: create.unwrap_or(true),
        timeout: timeout.map_or(DEFAULT_TIMEOUT, Millis::duration),
    };
    Ok(Arc::new(Nats::open(config).await.map_err(failed)?))
}
