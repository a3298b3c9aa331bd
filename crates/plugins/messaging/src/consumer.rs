//! `wasmcloud:messaging/consumer`: what components send.
//!
//! Takes messages; gives them to the one broker that the component was granted for the import. Bodies are bounded by the guest's
//! memory limit and by the broker's own.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wasmtime::Result;
use wasmtime::component::{Accessor, HasData, StreamReader};
use wharf::{Scope, View};
use wharf_stores::streams::{Pieces, Taken};
use wharf_stores::{Held, InFlight};

use crate::backend::{self, Broker, Message};
use crate::bindings::v2::wasmcloud::messaging as v2;
use crate::bindings::v3::wasmcloud::messaging as v3;
use v3::types::Error;

/// How long a request waits for a reply when it does not say.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that a request waits.
const MAX_TIMEOUT: Duration = Duration::from_hours(1);
/// The largest body that is collected from a stream, in bytes.
const MAX_BODY: u64 = 64 * 1024 * 1024;

/// The broker of a component's import; `None` if none was granted.
pub(crate) struct Granted(pub(crate) Option<Arc<dyn Broker>>);

/// The data of the bindings: the calling component's broker.
pub(crate) struct Sender<'a> {
    granted: &'a Granted,
    /// The most bytes of a body.
    most: u64,
    in_flight: &'a InFlight,
}

/// Names the data of the bindings, [`Sender`].
pub(crate) struct HasSender;

impl HasData for HasSender {
    type Data<'a> = Sender<'a>;
}

impl View for HasSender {
    type Of = Self;
    fn view(scope: Scope<'_>) -> Sender<'_> {
        Sender {
            granted: scope.binding(),
            most: scope.tracker.limits().memory.min(MAX_BODY),
            in_flight: InFlight::of(scope.state),
        }
    }
}

impl Sender<'_> {
    fn broker(&self) -> Option<Arc<dyn Broker>> {
        self.granted.0.clone()
    }
}

fn timeout(millis: u64) -> Duration {
    Duration::from_millis(millis).min(MAX_TIMEOUT)
}

const NOT_GRANTED: &str = "access denied: the component was granted no broker";

impl v2::types::Host for Sender<'_> {}

impl v2::consumer::Host for Sender<'_> {
    async fn request(
        &mut self,
        subject: String,
        body: Vec<u8>,
        timeout_ms: u32,
    ) -> Result<std::result::Result<v2::types::BrokerMessage, String>> {
        let Some(broker) = self.broker() else { return Ok(Err(NOT_GRANTED.to_owned())) };
        let reply = broker.request(&subject, body.into(), timeout(timeout_ms.into())).await;
        let most = self.most;
        Ok(reply.and_then(|reply| within(most, reply)).map(message_v2).map_err(|error| error.to_string()))
    }

    async fn publish(&mut self, message: v2::types::BrokerMessage) -> Result<std::result::Result<(), String>> {
        let Some(broker) = self.broker() else { return Ok(Err(NOT_GRANTED.to_owned())) };
        let v2::types::BrokerMessage { subject, body, reply_to } = message;
        let sent = broker.publish(Message { subject, body: body.into(), reply_to }).await;
        Ok(sent.map_err(|error| error.to_string()))
    }
}

/// A message whose body the guest's memory can hold.
fn within(most: u64, message: Message) -> std::result::Result<Message, backend::Error> {
    let size = message.body.len();
    if size as u64 > most {
        return Err(backend::Error::TooLarge { size, limit: usize::try_from(most).unwrap_or(usize::MAX) });
    }
    Ok(message)
}

/// A message as version 0.2 has it.
pub(crate) fn message_v2(message: Message) -> v2::types::BrokerMessage {
    let Message { subject, body, reply_to } = message;
    v2::types::BrokerMessage { subject, body: body.into(), reply_to }
}

/// A message as version 0.3 has it, with its body as a stream of the store.
pub(crate) fn message_v3(store: impl wasmtime::AsContextMut, message: Message) -> Result<v3::types::BrokerMessage> {
    let Message { subject, body, reply_to } = message;
    let pieces = futures_util::stream::iter([Ok::<Bytes, backend::Error>(body)]);
    let body = StreamReader::new(store, Pieces::new(Box::pin(pieces), drop))?;
    Ok(v3::types::BrokerMessage { subject, body, reply_to })
}

impl From<backend::Error> for Error {
    fn from(error: backend::Error) -> Self {
        match error {
            backend::Error::InvalidSubject(_) => Self::SubjectInvalid,
            backend::Error::Timeout => Self::Timeout,
            backend::Error::NoResponders => Self::Other("no subscriber".to_owned()),
            backend::Error::Unavailable(_) => Self::BrokerUnavailable,
            backend::Error::TooLarge { .. } => Self::MessageTooLarge,
            backend::Error::QuotaExceeded(_) => Self::QuotaExceeded,
            backend::Error::Other(text) => Self::Other(text),
        }
    }
}

/// A broker, and what bounds the body of a message.
struct Open {
    broker: Arc<dyn Broker>,
    most: u64,
    held: Held,
}

/// The component's broker. Without one, the body is closed, so that the guest does not wait for its reader.
fn open<T>(
    accessor: &Accessor<T, HasSender>,
    body: StreamReader<u8>,
) -> Result<std::result::Result<(Open, StreamReader<u8>), Error>> {
    let opened = accessor.with(|mut access| {
        let Sender { granted, most, in_flight } = access.get();
        let broker = granted.0.clone().ok_or(Error::AccessDenied)?;
        let held = in_flight.hold(0, most).ok_or(Error::QuotaExceeded)?;
        Ok(Open { broker, most, held })
    });
    match opened {
        Ok(open) => Ok(Ok((open, body))),
        Err(error) => {
            let mut body = body;
            accessor.with(|access| body.close(access))?;
            Ok(Err(error))
        }
    }
}

/// The bytes of a body, which ends when the guest drops its end. The future is dropped with the instance.
async fn collect<T>(
    accessor: &Accessor<T, HasSender>,
    body: StreamReader<u8>,
    Open { most, held, .. }: &mut Open,
) -> Result<std::result::Result<Bytes, Error>> {
    let most = *most;
    let (taken, mut pieces) = Taken::new();
    accessor.with(|access| body.pipe(access, taken))?;
    let mut bytes = BytesMut::new();
    while let Some(piece) = pieces.recv().await {
        if (bytes.len() + piece.len()) as u64 > most {
            return Ok(Err(Error::MessageTooLarge));
        }
        if !held.add(piece.len() as u64, most) {
            return Ok(Err(Error::QuotaExceeded));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Ok(bytes.freeze()))
}

impl v3::types::Host for Sender<'_> {}
impl v3::consumer::Host for Sender<'_> {}

impl<T: Send> v3::consumer::HostWithStore<T> for HasSender {
    async fn request(
        accessor: &Accessor<T, Self>,
        subject: String,
        body: StreamReader<u8>,
        timeout_ms: Option<u32>,
    ) -> Result<std::result::Result<v3::types::BrokerMessage, Error>> {
        let (mut open, body) = match open(accessor, body)? {
            Ok(open) => open,
            Err(error) => return Ok(Err(error)),
        };
        let body = match collect(accessor, body, &mut open).await? {
            Ok(body) => body,
            Err(error) => return Ok(Err(error)),
        };
        let broker = &open.broker;
        let longest = timeout_ms.map_or(REQUEST_TIMEOUT, |millis| timeout(millis.into()));
        match broker.request(&subject, body, longest).await {
            Ok(reply) => Ok(Ok(accessor.with(|access| message_v3(access, reply))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        message: v3::types::BrokerMessage,
    ) -> Result<std::result::Result<(), Error>> {
        let v3::types::BrokerMessage { subject, body, reply_to } = message;
        let (mut open, body) = match open(accessor, body)? {
            Ok(open) => open,
            Err(error) => return Ok(Err(error)),
        };
        match collect(accessor, body, &mut open).await? {
            Ok(body) => Ok(open.broker.publish(Message { subject, body, reply_to }).await.map_err(Into::into)),
            Err(error) => Ok(Err(error)),
        }
    }
}
