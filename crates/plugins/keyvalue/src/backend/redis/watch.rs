//! Changes of a store on a Redis server, as a stream.
//!
//! Takes the server's invalidation messages (`CLIENT TRACKING` in broadcast mode, which the server offers without any
//! setting, unlike keyspace notifications); gives a [`Change`] for each, with the value at the time of looking. Several
//! writes of a key in quick succession may be one change, and a write that changes nothing is one too. After a broken
//! connection it connects again and reports [`Change::Lost`].

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{PushInfo, PushKind, Value};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, unfold};
use tokio::sync::{mpsc, watch};

use super::super::{Change, Error};
use super::link::{Link, Names};

/// How many changed keys wait for the watcher, and how many bytes of them.
const MAX_KEYS: usize = 4096;
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How long to wait between attempts to connect again, at first and at last.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LAST_DELAY: Duration = Duration::from_secs(2);

/// What the server says.
enum Event {
    /// A key changed.
    Changed(Vec<u8>),
    /// The database was emptied.
    Flushed,
    /// The connection broke.
    Disconnected,
}

/// What goes from the connection to the stream.
struct Channel {
    events: mpsc::Sender<Event>,
    bytes: Arc<AtomicUsize>,
    lost: Arc<AtomicBool>,
}

impl Channel {
    /// Passes on a message of the server. Never waits: what does not fit is lost.
    fn push(&self, push: PushInfo) {
        match (push.kind, push.data.into_iter().next()) {
            (PushKind::Disconnection, _) => self.send(Event::Disconnected),
            (PushKind::Invalidate, Some(Value::Array(keys))) => {
                for key in keys {
                    if let Value::BulkString(key) = key {
                        self.send(Event::Changed(key));
                    }
                }
            }
            (PushKind::Invalidate, _) => self.send(Event::Flushed),
            _ => {}
        }
    }

    fn send(&self, event: Event) {
        let size = size(&event);
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        if before + size > MAX_BYTES || self.events.try_send(event).is_err() {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            self.lost.store(true, Ordering::Release);
        }
    }
}

fn size(event: &Event) -> usize {
    match event {
        Event::Changed(key) => key.len(),
        Event::Flushed | Event::Disconnected => 0,
    }
}

/// A connection that receives the changes.
struct Tracking {
    connection: MultiplexedConnection,
    events: mpsc::Receiver<Event>,
    bytes: Arc<AtomicUsize>,
    lost: Arc<AtomicBool>,
}

impl Tracking {
    async fn start(link: &Link, names: &Names) -> Result<Self, Error> {
        let (sender, events) = mpsc::channel(MAX_KEYS);
        let (bytes, lost) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let channel = Channel { events: sender, bytes: bytes.clone(), lost: lost.clone() };
        let mut connection = link.connect(move |push| channel.push(push)).await?;
        let mut track = ::redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("BCAST");
        if !names.prefix().is_empty() {
            track.arg("PREFIX").arg(names.prefix());
        }
        let tracked = tokio::time::timeout(link.timeout(), track.query_async::<()>(&mut connection)).await;
        tracked.map_err(|_| Error::Timeout)?.map_err(|error| match link.error(&error) {
            Error::Other(reason) => {
                let hint = "watching needs `CLIENT TRACKING` (Redis 6 or later); permit it with `+client|tracking`";
                Error::Unavailable(format!("{reason}; {hint}"))
            }
            error => error,
        })?;
        Ok(Self { connection, events, bytes, lost })
    }
}

struct Watcher {
    link: Weak<Link>,
    names: Arc<Names>,
    closed: watch::Receiver<bool>,
    tracking: Tracking,
}

/// The changes from now on.
pub(super) async fn watch(link: &Arc<Link>, names: Arc<Names>) -> Result<BoxStream<'static, Change>, Error> {
    let closed = link.closed();
    let start = tokio::time::timeout(link.timeout(), Tracking::start(link, &names));
    let tracking = start.await.map_err(|_| Error::Timeout)??;
    let watcher = Watcher { link: Arc::downgrade(link), names, closed, tracking };
    let changes = unfold(watcher, async |mut watcher| {
        let mut closed = watcher.closed.clone();
        tokio::select! {
            // Also when the store has been dropped, and the sender with it.
            _ = closed.wait_for(|closed| *closed) => None,
            change = watcher.next() => change.map(|change| (change, watcher)),
        }
    });
    Ok(changes.boxed())
}

impl Watcher {
    async fn next(&mut self) -> Option<Change> {
        loop {
            if self.tracking.lost.swap(false, Ordering::AcqRel) {
                return Some(Change::Lost);
            }
            let event = self.tracking.events.recv().await;
            self.tracking.bytes.fetch_sub(event.as_ref().map_or(0, size), Ordering::Relaxed);
            match event {
                Some(Event::Changed(name)) => {
                    // A companion is no key.
                    let Some(key) = self.names.parse(name) else { continue };
                    return Some(self.look(key).await);
                }
                Some(Event::Flushed) => return Some(Change::Lost),
                Some(Event::Disconnected) | None => {
                    self.reconnect().await?;
                    // Only now, so that a watcher that reads everything again misses nothing after.
                    return Some(Change::Lost);
                }
            }
        }
    }

    /// The change of a key: what it has now.
    async fn look(&mut self, key: String) -> Change {
        let Some(timeout) = self.link.upgrade().map(|link| link.timeout()) else { return Change::Lost };
        let mut get = ::redis::cmd("GET");
        get.arg(self.names.key(&key));
        let value =
            tokio::time::timeout(timeout, get.query_async::<Option<Bytes>>(&mut self.tracking.connection)).await;
        match value {
            Ok(Ok(Some(value))) => Change::Set { key, value },
            Ok(Ok(None)) => Change::Deleted { key },
            Ok(Err(_)) | Err(_) => Change::Lost,
        }
    }

    /// Connects until it succeeds. `None` if the store has gone.
    async fn reconnect(&mut self) -> Option<()> {
        let mut delay = FIRST_DELAY;
        loop {
            tokio::time::sleep(delay).await;
            let link = self.link.upgrade()?;
            let start = tokio::time::timeout(link.timeout(), Tracking::start(&link, &self.names));
            if let Ok(Ok(tracking)) = start.await {
                self.tracking = tracking;
                return Some(());
            }
            delay = (delay * 2).min(LAST_DELAY);
        }
    }
}
