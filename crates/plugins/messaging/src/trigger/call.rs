//! The call of a handler, in either version of its interface.

use std::sync::Arc;

use wasmtime::component::Accessor;
use wharf::run::admission::AdmissionError;
use wharf::run::call::functions;
use wharf::run::concurrent::ConcurrentCall;
use wharf::run::policy::Policy;
use wharf::run::pool::Bindings;
use wharf::{Entry, InvokeError, StoreData, Termination};

use crate::backend::Message;
use crate::bindings::v3::exports::wasmcloud::messaging::handler::HandleMessageError;
use crate::bindings::{v2, v3};
use crate::consumer::{message_v2, message_v3};
use crate::redelivery::Outcome;

/// The version of the handler that a component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V2,
    V3,
}

/// How a call ended.
pub(super) enum Handled {
    /// The component handled the message, or failed to.
    Outcome(Outcome),
    /// The component was not called: it has as many calls as it takes, or its service does not run.
    Busy,
    /// The component was not called, or not to the end: its workload stops.
    Stopped,
}

impl Version {
    /// The version that an entry exports; the newer one of both.
    pub(super) fn of(entry: &Entry) -> Self {
        let newer = functions(entry).iter().any(|name| name.starts_with("wasmcloud:messaging/handler@0.3"));
        if newer { Self::V3 } else { Self::V2 }
    }

    pub(super) async fn call(self, entry: &Arc<Entry>, message: Message) -> Handled {
        let called = match self {
            Self::V2 => entry.invoke_concurrent(CallV2(message)).await,
            Self::V3 => match entry.invoke_concurrent(CallV3::<true>(message.clone())).await {
                // Which of its calls ended the instance is not known. This one shows it in an instance of its own.
                Err(InvokeError::Terminated(Termination::InstanceEnded)) if entry.policy() != Policy::Service => {
                    entry.invoke_concurrent(CallV3::<false>(message)).await
                }
                called => called,
            },
        };
        let error = match called {
            Ok(outcome) => return Handled::Outcome(outcome),
            Err(error) => error,
        };
        if error.is_busy() {
            tracing::debug!(component = %entry.name(), %error, "a message waits");
            return Handled::Busy;
        }
        entry.tracker().log_failure(&error.to_string());
        match error {
            InvokeError::Admission(AdmissionError::Stopped) | InvokeError::Terminated(Termination::Stopped) => {
                Handled::Stopped
            }
            InvokeError::Terminated(Termination::Time(_) | Termination::AfterResponse(_) | Termination::Cpu(_)) => {
                Handled::Outcome(Outcome::TimedOut)
            }
            _ => Handled::Outcome(Outcome::Trapped),
        }
    }
}

struct CallV2(Message);

impl ConcurrentCall for CallV2 {
    type Output = Outcome;
    const SHARES: bool = false;

    async fn call(self, accessor: &Accessor<StoreData>, exports: Bindings) -> wasmtime::Result<Outcome> {
        let service =
            accessor.with(|mut access| exports.get_or_load(|instance| v2::Service::new(&mut access, instance)))?;
        let handler = service.wasmcloud_messaging_handler();
        match handler.call_handle_message(accessor, message_v2(self.0)).await? {
            Ok(()) => Ok(Outcome::Done),
            Err(reason) => {
                tracing::debug!(reason, "a handler failed");
                Ok(Outcome::Retry)
            }
        }
    }
}

struct CallV3<const SHARES: bool>(Message);

impl<const SHARES: bool> ConcurrentCall for CallV3<SHARES> {
    type Output = Outcome;
    const SHARES: bool = SHARES;

    async fn call(self, accessor: &Accessor<StoreData>, exports: Bindings) -> wasmtime::Result<Outcome> {
        let (service, message) = accessor.with(|mut access| {
            let service = exports.get_or_load(|instance| v3::Service::new(&mut access, instance))?;
            Ok::<_, wasmtime::Error>((service, message_v3(&mut access, self.0)?))
        })?;
        Ok(match service.wasmcloud_messaging_handler().call_handle_message(accessor, message).await? {
            Ok(()) => Outcome::Done,
            Err(HandleMessageError::Retry) => Outcome::Retry,
            Err(HandleMessageError::Reject) => Outcome::Reject,
            Err(HandleMessageError::Other(reason)) => {
                tracing::debug!(reason, "a handler rejected a message");
                Outcome::Reject
            }
        })
    }
}
