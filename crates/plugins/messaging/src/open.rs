//! A declared broker → an open backend.

use std::sync::Arc;

use wharf::PluginError;
use wharf_stores::Source;

use crate::backend::embedded::{Embedded, EmbeddedConfig};
use crate::backend::{self, Broker};
use crate::declaration::MessageBroker;

/// Opens the backend of a broker. Servers are connected to when they are first used.
pub(crate) async fn open(source: &Source<'_, MessageBroker>) -> Result<Arc<dyn Broker>, PluginError> {
    match source.backend.name {
        "embedded" => Ok(embedded(&source.declared)),
        #[cfg(feature = "nats")]
        "nats" => {
            let nats = nats(source).await?;
            Ok(Arc::new(backend::nats::Nats::new(&nats).map_err(|error| failed(error).at("url"))?))
        }
        #[cfg(feature = "nats")]
        "jetstream" => jetstream(source).await,
        other => Err(PluginError::new(format!("no backend `{other}`"))),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the form of `map_err`")]
fn failed(error: backend::Error) -> PluginError {
    PluginError::new(error.to_string())
}

fn embedded(declared: &MessageBroker) -> Arc<dyn Broker> {
    let mut config = EmbeddedConfig::default();
    let size = |size: wharf::workload::manifest::ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
    config.max_waiting = declared.max_waiting.map_or(config.max_waiting, |most| most as usize);
    config.max_bytes = declared.max_size.map_or(config.max_bytes, size);
    config.max_message = declared.max_message.map_or(config.max_message, size);
    Arc::new(Embedded::new(config))
}

#[cfg(feature = "nats")]
async fn nats(source: &Source<'_, MessageBroker>) -> Result<backend::nats::NatsConfig, PluginError> {
    let mut config = backend::nats::NatsConfig::new("");
    config.url = source.url().await?;
    if let Some(credentials) = &source.declared.credentials {
        config.credentials = Some(source.text(credentials).await.map_err(|error| error.at("credentials"))?);
    }
    if let Some(timeout) = source.declared.timeout {
        config.timeout = timeout.duration();
    }
    Ok(config)
}

#[cfg(feature = "nats")]
async fn jetstream(source: &Source<'_, MessageBroker>) -> Result<Arc<dyn Broker>, PluginError> {
    use backend::jetstream::{JetStream, JetStreamConfig};

    let MessageBroker { stream, subjects, max_size, max_age, replay, .. } = &source.declared;
    let mut config = JetStreamConfig::new(nats(source).await?, stream.as_deref().unwrap_or_default());
    config.create = subjects.is_some();
    config.subjects = subjects.clone().unwrap_or_default();
    config.max_bytes = max_size.map_or(config.max_bytes, |size| size.0);
    config.max_age = max_age.map_or(config.max_age, wharf::workload::manifest::Millis::duration);
    config.replay = replay.unwrap_or(false);
    Ok(Arc::new(JetStream::new(config).map_err(failed)?))
}
