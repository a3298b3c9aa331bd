//! One client's connection, from its first byte to its last.
//!
//! hyper speaks HTTP/1.1 and HTTP/2; what is here ends connections that hyper would keep for ever: a client that only
//! answers pings, one that never reads a stream, one that resets what it asks for.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// How many requests a client may reset before their answers begin, beyond as many as it lets be answered.
const MAX_RESETS: u32 = 100;

/// What the tasks of one connection know of each other.
#[derive(Default)]
pub(crate) struct Connection {
    /// Requests that began, and those that ended: the last byte of the answer was handed over, or the client is gone.
    begun: AtomicU64,
    ended: AtomicU64,
    answered: AtomicU32,
    reset: AtomicU32,
    /// How often part of an answer was written to the client.
    sent: AtomicU64,
    ending: AtomicBool,
    draining: AtomicBool,
    end: Notify,
}

/// A request of a connection, counted until this is dropped.
pub(crate) struct Exchange {
    connection: Arc<Connection>,
    stream: Option<Arc<Stream>>,
}

impl Connection {
    /// Counts a request.
    pub(crate) fn begin(self: &Arc<Self>) -> Exchange {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Exchange { connection: self.clone(), stream: CURRENT.take() }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.begun.load(Ordering::Relaxed) == self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Ends the connection: another client's takes its place.
    pub(crate) fn displace(&self) {
        self.ending.store(true, Ordering::Relaxed);
        self.end.notify_one();
    }

    /// Part of an answer was written to the client.
    pub(crate) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// No further request is answered.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits until the connection has had no request, and has written nothing of an answer, for this long, or half as long
    /// again.
    pub(crate) async fn idle(&self, timeout: Duration) {
        let (mut seen, mut quiet) = (None, 0);
        // Looking now and then spares each request the cost of arming a timer.
        while quiet < 2 {
            tokio::time::sleep(timeout / 2).await;
            let now = (self.begun.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed));
            quiet = if self.is_idle() && (seen == Some(now) || now == (0, 0)) { quiet + 1 } else { 0 };
            seen = Some(now);
        }
    }

    /// Waits until the connection is to make room, or its client has reset too many requests. Gives whether it did.
    pub(crate) async fn ended(&self) -> bool {
        self.end.notified().await;
        self.is_abusive()
    }

    fn is_abusive(&self) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        self.reset.load(Ordering::Relaxed) > MAX_RESETS.saturating_add(answered)
    }

    fn count_reset(&self) {
        self.reset.fetch_add(1, Ordering::Relaxed);
        if self.is_abusive() {
            self.ending.store(true, Ordering::Relaxed);
            self.end.notify_one();
        }
    }
}

impl Exchange {
    /// The answer has begun.
    pub(crate) fn answered(&self) {
        self.connection.answered.fetch_add(1, Ordering::Relaxed);
        if let Some(stream) = &self.stream {
            stream.answered.store(true, Ordering::Relaxed);
            stream.wait_for_client();
        }
    }

    /// What a stream of HTTP/2 waits for, which hyper does not say. `None` for HTTP/1.1, where the connection is watched.
    pub(crate) fn stream(&self) -> Option<&Stream> {
        self.stream.as_deref()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream of HTTP/2: whose turn it is.
#[derive(Default)]
pub(crate) struct Stream {
    answered: AtomicBool,
    /// How many turns there were; the client's are odd.
    turns: AtomicU64,
}

impl Stream {
    /// A frame was handed over, and the client is to take it.
    pub(crate) fn wait_for_client(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        // Another frame is another turn: the client took the one before.
        self.turns.store(turns + 1 + turns % 2, Ordering::Relaxed);
    }

    /// The component is to write more.
    pub(crate) fn wait_for_component(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        self.turns.store(turns + turns % 2, Ordering::Relaxed);
    }
}

thread_local! {
    /// The stream that is being polled: hyper calls the service inside the stream's own task, and does not say which.
    static CURRENT: Cell<Option<Arc<Stream>>> = const { Cell::new(None) };
}

/// Runs the streams of one HTTP/2 connection, each in a task of its own, and ends those whose clients stall.
#[derive(Clone)]
pub(crate) struct Streams {
    connection: Arc<Connection>,
    stall: Duration,
}

impl Streams {
    /// `stall` is how long a client may take to make room for the next part of an answer.
    pub(crate) fn new(connection: Arc<Connection>, stall: Duration) -> Self {
        Self { connection, stall }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let stream = Arc::new(Stream::default());
        let watched =
            Watched { future: Box::pin(future), streams: self.clone(), stream, taken: false, stalled: None, turn: 0 };
        tokio::spawn(watched);
    }
}

struct Watched<F> {
    future: Pin<Box<F>>,
    streams: Streams,
    stream: Arc<Stream>,
    /// The service knows its stream.
    taken: bool,
    /// Runs while it is the client's turn, which is the one it was armed for.
    stalled: Option<Pin<Box<Sleep>>>,
    turn: u64,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.taken {
            CURRENT.set(Some(this.stream.clone()));
        }
        let polled = this.future.as_mut().poll(cx);
        if !this.taken {
            this.taken = CURRENT.take().is_none();
        }
        if polled.is_ready() {
            return polled;
        }
        let turn = this.stream.turns.load(Ordering::Relaxed);
        if turn.is_multiple_of(2) {
            return Poll::Pending;
        }
        let deadline = Instant::now() + this.streams.stall;
        let stalled = this.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if turn != this.turn {
            this.turn = turn;
            stalled.as_mut().reset(deadline);
        }
        // Dropped with its body, the stream is reset and the component that writes it ends.
        stalled.as_mut().poll(cx)
    }
}

impl<F> Drop for Watched<F> {
    fn drop(&mut self) {
        if !self.stream.answered.load(Ordering::Relaxed) {
            self.streams.connection.count_reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, MAX_RESETS, Stream, Streams};
    use hyper::rt::Executor as _;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_nothing_happened_for_its_time() {
        let connection = Arc::new(Connection::default());
        let begun = tokio::time::Instant::now();
        let exchange = connection.begin();
        let idle = tokio::spawn({
            let connection = connection.clone();
            async move { connection.idle(Duration::from_secs(10)).await }
        });
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(!idle.is_finished(), "a request is under way");
        drop(exchange);
        idle.await.unwrap();
        assert!((65..=75).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_client_that_resets_all_it_asks_for_is_abusive() {
        let connection = Arc::new(Connection::default());
        let streams = Streams::new(connection.clone(), Duration::from_secs(1));
        for _ in 0..MAX_RESETS {
            streams.execute(async {});
        }
        while connection.reset.load(Ordering::Relaxed) < MAX_RESETS {
            tokio::task::yield_now().await;
        }
        assert!(!connection.is_ending());
        streams.execute(async {});
        assert!(connection.ended().await, "abusive");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_its_client_takes_nothing() {
        let connection = Arc::new(Connection::default());
        let streams = Streams::new(connection.clone(), Duration::from_secs(30));
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        let inner = connection.clone();
        streams.execute(async move {
            let _ended = ended;
            let exchange = inner.begin();
            let stream: &Stream = exchange.stream().unwrap();
            exchange.answered();
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                stream.wait_for_client();
            }
            // A component may be silent for as long as it may run.
            stream.wait_for_component();
            tokio::time::sleep(Duration::from_mins(5)).await;
            stream.wait_for_client();
            std::future::pending::<()>().await;
        });
        let begun = tokio::time::Instant::now();
        end.await.unwrap_err();
        assert_eq!(begun.elapsed().as_secs(), 3 * 20 + 300 + 30);
    }
}
