//! A connection to a NATS server that opens when it is first used and opens again when it is lost.
//!
//! Takes messages and requests; gives their result within a bounded time, whether the server is there or not. Nothing
//! is buffered for a server that is away.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Event, HeaderMap, PublishErrorKind, Request, RequestErrorKind, ServerError, Subscriber};
use bytes::Bytes;
use tokio::sync::{Notify, OnceCell};
use tokio::time::{Instant, timeout_at};

use super::config::{NatsConfig, Target};
use crate::backend::Error;
use crate::backend::ledger::later;

/// How often the state of a connection is looked at while something waits for it.
const LOOK: Duration = Duration::from_millis(25);
/// The longest pause between two attempts to connect.
const RECONNECT: Duration = Duration::from_secs(1);
/// The pause when nothing needs the connection any longer: the client's task cannot be stopped while it connects.
const ABANDONED: Duration = Duration::from_mins(10);
/// How often a silent connection is checked. The second check without an answer closes it.
const PING: Duration = Duration::from_secs(10);
/// The longest that [`Connection::health`] and [`Connection::close`] take.
const HEALTH: Duration = Duration::from_millis(1500);

/// How the server's report of a subscription that it does not permit begins.
const REFUSED: &str = "Permissions Violation for Subscription to";
/// How many such reports are kept.
const MAX_REFUSED: usize = 64;

/// What the client reported.
#[derive(Default)]
struct Notes {
    trouble: Mutex<Option<String>>,
    /// The last subscriptions that the server did not permit, in its words.
    refused: Mutex<VecDeque<String>>,
    /// Notified when the server reports an error: an answer, if not a welcome one.
    answered: Notify,
    is_closed: AtomicBool,
}

/// A connection that maintains itself.
pub(crate) struct Connection {
    target: Target,
    timeout: Duration,
    max_waiting: usize,
    client: OnceCell<Client>,
    notes: Arc<Notes>,
    /// Which opening of the connection was prepared for use, by its number.
    prepared: AtomicU64,
}

impl Connection {
    /// Checks the config. Connects later, when it is first used.
    pub(crate) fn new(config: &NatsConfig) -> Result<Self, Error> {
        let (target, timeout) = (Target::new(config)?, config.timeout);
        let max_waiting = config.max_waiting.max(1);
        Ok(Self {
            target,
            timeout,
            max_waiting,
            client: OnceCell::new(),
            notes: Arc::default(),
            prepared: AtomicU64::new(0),
        })
    }

    /// How long an operation waits for the server.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.notes.is_closed.load(Ordering::Acquire)
    }

    /// The client, connected or not.
    async fn client(&self) -> Result<&Client, Error> {
        self.client.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Client, Error> {
        let (notes, closed) = (self.notes.clone(), self.notes.clone());
        let pause = move |attempts: usize| {
            let is_closed = closed.is_closed.load(Ordering::Acquire);
            if is_closed { ABANDONED } else { RECONNECT.min(Duration::from_millis(1 << attempts.min(10))) }
        };
        let options = self.target.options()?;
        let options = options
            .name("wharf")
            .retry_on_initial_connect()
            .connection_timeout(self.timeout)
            .request_timeout(Some(self.timeout))
            .ping_interval(PING)
            .subscription_capacity(self.max_waiting)
            .reconnect_delay_callback(pause)
            .event_callback(move |event| {
                let notes = notes.clone();
                async move { notes.record(event) }
            });
        // This returns before the connection is open.
        options.connect(self.target.addresses.clone()).await.map_err(|it| self.unavailable(&it.kind().to_string()))
    }

    /// The client once it is connected.
    pub(crate) async fn ready(&self, deadline: Instant) -> Result<&Client, Error> {
        if self.is_closed() {
            return Err(Error::Unavailable("the broker is closed".to_owned()));
        }
        let client = self.client().await?;
        while client.connection_state() != State::Connected {
            if self.is_closed() || Instant::now() >= deadline {
                let trouble = self.notes.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
                return Err(self.unavailable(trouble.as_deref().unwrap_or("no connection in time")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(client)
    }

    /// Hands a message to a live connection.
    pub(crate) async fn publish(&self, subject: String, reply: Option<String>, body: Bytes) -> Result<(), Error> {
        let deadline = later(Instant::now(), self.timeout);
        let client = self.ready(deadline).await?;
        fits(client, body.len())?;
        let before = connects(client);
        let send = async {
            match reply {
                Some(reply) => client.publish_with_reply(subject, reply, body).await,
                None => client.publish(subject, body).await,
            }
            .map_err(|error| match error.kind() {
                PublishErrorKind::InvalidSubject => Error::InvalidSubject("the server's rules reject it".to_owned()),
                kind => self.unavailable(&kind.to_string()),
            })?;
            client.flush().await.map_err(|it| self.unavailable(&it.kind().to_string()))
        };
        let lost = || self.unavailable("the connection was lost; the message may have been sent or not");
        match timeout_at(deadline, send).await {
            Err(_) if client.connection_state() == State::Connected => Err(Error::Timeout),
            Err(_) => Err(lost()),
            Ok(result) => {
                result?;
                // What was written to a connection that broke may never have left.
                if client.connection_state() == State::Connected && connects(client) == before {
                    Ok(())
                } else {
                    Err(lost())
                }
            }
        }
    }

    /// Sends a request and waits for one reply.
    pub(crate) async fn request(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        body: Bytes,
        timeout: Duration,
    ) -> Result<async_nats::Message, Error> {
        let deadline = later(Instant::now(), timeout);
        let client = self.ready(deadline.min(later(Instant::now(), self.timeout))).await?;
        fits(client, body.len().saturating_add(headers.as_ref().map_or(0, length)))?;
        // An inbox of its own: the client never forgets a request of its shared inbox that gets no reply.
        let inbox = client.new_inbox();
        let request = Request { payload: Some(body), headers, timeout: Some(None), inbox: Some(inbox) };
        match timeout_at(deadline, client.send_request(subject, request)).await {
            Err(_) if client.connection_state() == State::Connected => Err(Error::Timeout),
            Err(_) => Err(self.unavailable("the connection was lost before a reply came")),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(match error.kind() {
                RequestErrorKind::NoResponders => Error::NoResponders,
                RequestErrorKind::TimedOut => Error::Timeout,
                RequestErrorKind::InvalidSubject => Error::InvalidSubject("the server's rules reject it".to_owned()),
                kind => self.unavailable(&kind.to_string()),
            }),
        }
    }

    /// Subscribes; the server knows of it when this returns.
    pub(crate) async fn subscribe(&self, subject: &str, queue: Option<&str>) -> Result<Subscriber, Error> {
        let deadline = later(Instant::now(), self.timeout);
        let client = self.ready(deadline).await?;
        let open = async {
            match queue {
                Some(queue) => client.queue_subscribe(subject.to_owned(), queue.to_owned()).await,
                None => client.subscribe(subject.to_owned()).await,
            }
        };
        let opened = timeout_at(deadline, open).await.map_err(|_| Error::Timeout)?;
        let subscriber = opened.map_err(|it| self.unavailable(&it.kind().to_string()))?;
        self.round_trip(deadline).await?;
        if self.notes.was_refused(subject) {
            return Err(Error::Other(format!("the server does not permit a subscription to `{subject}`")));
        }
        Ok(subscriber)
    }

    /// Waits until the server has handled all that was sent before.
    async fn round_trip(&self, deadline: Instant) -> Result<(), Error> {
        let client = self.ready(deadline).await?;
        let answered = self.notes.answered.notified();
        let wait = deadline.saturating_duration_since(Instant::now());
        // A new inbox has no subscriber, so the server itself answers at once. Where it may not be published to, the
        // server reports that instead.
        tokio::select! {
            result = self.request(client.new_inbox(), None, Bytes::new(), wait) => match result {
                Ok(_) | Err(Error::NoResponders) => Ok(()),
                Err(error) => Err(error),
            },
            () = answered => Ok(()),
        }
    }

    /// Whether the server answers.
    pub(crate) async fn health(&self) -> Result<(), String> {
        let deadline = later(Instant::now(), HEALTH);
        self.round_trip(deadline).await.map_err(|it| it.to_string())
    }

    /// The JetStream API, for the calls that the client makes itself.
    pub(crate) async fn jetstream(&self) -> Result<async_nats::jetstream::Context, Error> {
        let client = self.ready(later(Instant::now(), self.timeout)).await?;
        let mut context = async_nats::jetstream::new(client.clone());
        context.set_timeout(self.timeout);
        Ok(context)
    }

    /// A name that nothing else has.
    pub(crate) async fn unique(&self) -> Result<String, Error> {
        let inbox = self.client().await?.new_inbox();
        Ok(inbox.rsplit('.').next().unwrap_or_default().to_owned())
    }

    /// Whether there is a connection now.
    pub(crate) fn is_connected(&self) -> bool {
        self.client.get().is_some_and(|it| it.connection_state() == State::Connected)
    }

    /// How often the connection has been opened: a value that changes when it was lost in between.
    pub(crate) fn connects(&self) -> u64 {
        self.client.get().map_or(0, connects)
    }

    /// Whether the connection that is open was prepared, see [`Self::set_prepared`].
    pub(crate) fn is_prepared(&self) -> bool {
        let connects = self.connects();
        connects > 0 && self.prepared.load(Ordering::Acquire) == connects
    }

    /// Notes that what its user needs on the server is there.
    pub(crate) fn set_prepared(&self, connects: u64) {
        self.prepared.store(connects, Ordering::Release);
    }

    /// Sends what is buffered and ends every subscription.
    pub(crate) async fn close(&self) {
        self.notes.is_closed.store(true, Ordering::Release);
        let Some(client) = self.client.get() else { return };
        if client.connection_state() == State::Connected {
            let drain = async {
                let _ = client.flush().await;
                let _ = client.drain().await;
            };
            let _ = tokio::time::timeout(HEALTH, drain).await;
        }
    }

    /// The server's host and port with what is wrong.
    pub(crate) fn unavailable(&self, problem: &str) -> Error {
        Error::Unavailable(format!("{}: {problem}", self.target.label))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.notes.is_closed.store(true, Ordering::Release);
    }
}

impl Notes {
    /// Whether the server did not permit this subscription. Forgets that it did not, so that it can be tried again.
    fn was_refused(&self, subject: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, before) = (format!("{REFUSED} \"{subject}\""), refused.len());
        refused.retain(|it| !it.contains(&name));
        refused.len() < before
    }

    fn record(&self, event: Event) {
        let note = |text: Option<String>| *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = text;
        match event {
            Event::Connected => note(None),
            Event::ClientError(error) => {
                let text = error.to_string();
                note(Some(text.strip_prefix("nats: ").unwrap_or(&text).to_owned()));
            }
            Event::SlowConsumer(_) => tracing::warn!("a subscriber of NATS is too slow: messages were dropped"),
            Event::ServerError(error) => {
                if !matches!(error, ServerError::SlowConsumer(_)) {
                    tracing::warn!(%error, "the NATS server reported an error");
                }
                let text = error.to_string();
                if text.contains(REFUSED) {
                    let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                    refused.truncate(MAX_REFUSED - 1);
                    refused.push_front(text.clone());
                }
                note(Some(text));
                self.answered.notify_waiters();
            }
            _ => {}
        }
    }
}

/// Checks a message's size against the server's limit.
fn fits(client: &Client, size: usize) -> Result<(), Error> {
    let limit = client.max_payload();
    if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(()) }
}

/// How many bytes headers have in a message.
fn length(headers: &HeaderMap) -> usize {
    let line = |name: &str, value: &str| name.len() + value.len() + ": \r\n".len();
    let lines = headers.iter().flat_map(|(name, values)| values.iter().map(move |it| line(name.as_ref(), it.as_str())));
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}

fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}
