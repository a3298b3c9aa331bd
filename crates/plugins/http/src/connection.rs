//! One client's connection, from its first byte to its last.
//!
//! hyper implements HTTP/1.1 and HTTP/2. This module closes connections that hyper would keep open: those of clients
//! that only answer pings, never read a stream, or reset the requests that they send.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// How many requests a client may reset before their responses begin, in addition to as many as it has received
/// responses for.
const MAX_RESETS: u32 = 100;

/// The state that the tasks of one connection share.
#[derive(Default)]
pub(crate) struct ConnectionState {
    /// Requests that have started, and those that have finished: hyper has taken the last byte of the response, or the
    /// client has disconnected.
    started: AtomicU64,
    finished: AtomicU64,
    responded: AtomicU32,
    resets: AtomicU32,
    /// How many writes to the client contained part of a response.
    writes: AtomicU64,
    closing: AtomicBool,
    draining: AtomicBool,
    close: Notify,
}

/// One request and its response, counted until this is dropped.
pub(crate) struct Exchange {
    connection: Arc<ConnectionState>,
    stream: Option<Arc<StreamState>>,
}

impl ConnectionState {
    /// Counts a request, and claims the HTTP/2 stream that is being polled.
    pub(crate) fn begin_exchange(self: &Arc<Self>) -> Exchange {
        self.started.fetch_add(1, Ordering::Relaxed);
        Exchange { connection: self.clone(), stream: CURRENT.take() }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.started.load(Ordering::Relaxed) == self.finished.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Closes the connection in favour of another client's.
    pub(crate) fn displace(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.close.notify_one();
    }

    /// Records that part of a response was written to the client.
    pub(crate) fn record_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Rejects all further requests.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits until the connection has had no request, and has written no part of a response, for `timeout`. Returns up
    /// to half of `timeout` later than that.
    pub(crate) async fn wait_until_idle(&self, timeout: Duration) {
        let (mut seen, mut quiet) = (None, 0);
        // Polling the counters saves each request the cost of arming a timer.
        while quiet < 2 {
            tokio::time::sleep(timeout / 2).await;
            let now = (self.started.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed));
            quiet = if self.is_idle() && (seen == Some(now) || now == (0, 0)) { quiet + 1 } else { 0 };
            seen = Some(now);
        }
    }

    /// Waits until the connection must close: another client's displaces it, or its client has reset too many requests.
    /// Returns whether the client is abusive.
    pub(crate) async fn wait_for_close(&self) -> bool {
        self.close.notified().await;
        self.is_abusive()
    }

    fn is_abusive(&self) -> bool {
        let responded = self.responded.load(Ordering::Relaxed);
        self.resets.load(Ordering::Relaxed) > MAX_RESETS.saturating_add(responded)
    }

    fn count_reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
        if self.is_abusive() {
            self.closing.store(true, Ordering::Relaxed);
            self.close.notify_one();
        }
    }
}

impl Exchange {
    /// Records that the response has begun.
    pub(crate) fn record_response(&self) {
        self.connection.responded.fetch_add(1, Ordering::Relaxed);
        if let Some(stream) = &self.stream {
            stream.responded.store(true, Ordering::Relaxed);
            stream.wait_for_client();
        }
    }

    /// The HTTP/2 stream's state. `None` for HTTP/1.1, where [`TimeoutStream`](crate::timeout::TimeoutStream) enforces
    /// the time-outs.
    pub(crate) fn stream(&self) -> Option<&StreamState> {
        self.stream.as_deref()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.finished.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether an HTTP/2 stream waits for its client or for the component, which hyper does not report.
#[derive(Default)]
pub(crate) struct StreamState {
    responded: AtomicBool,
    /// Counts the changes between the two. An odd number means that the stream waits for the client.
    turns: AtomicU64,
}

impl StreamState {
    /// Records that hyper has taken a frame, which the client must now read.
    pub(crate) fn wait_for_client(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        // A further frame starts a new turn, because the client has read the one before.
        self.turns.store(turns + 1 + turns % 2, Ordering::Relaxed);
    }

    /// Records that the component must write more.
    pub(crate) fn wait_for_component(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        self.turns.store(turns + turns % 2, Ordering::Relaxed);
    }
}

thread_local! {
    /// The stream that is being polled: hyper calls the service inside the stream's task, without a reference to the
    /// stream.
    static CURRENT: Cell<Option<Arc<StreamState>>> = const { Cell::new(None) };
}

/// Runs each stream of one HTTP/2 connection in a task of its own, and ends those that their client does not read.
#[derive(Clone)]
pub(crate) struct StreamExecutor {
    connection: Arc<ConnectionState>,
    write_timeout: Duration,
}

impl StreamExecutor {
    /// `write_timeout` is how long a client may take to make room for the next part of a response.
    pub(crate) fn new(connection: Arc<ConnectionState>, write_timeout: Duration) -> Self {
        Self { connection, write_timeout }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        let stream = Arc::new(StreamState::default());
        let task = StreamTask {
            future: Box::pin(future),
            streams: self.clone(),
            stream,
            claimed: false,
            timeout: None,
            turn: 0,
        };
        tokio::spawn(task);
    }
}

/// The task of one HTTP/2 stream.
struct StreamTask<F> {
    future: Pin<Box<F>>,
    streams: StreamExecutor,
    stream: Arc<StreamState>,
    /// Whether an [`Exchange`] has claimed the stream.
    claimed: bool,
    /// Runs while the stream waits for the client.
    timeout: Option<Pin<Box<Sleep>>>,
    /// The turn that `timeout` is armed for.
    turn: u64,
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.claimed {
            CURRENT.set(Some(this.stream.clone()));
        }
        let polled = this.future.as_mut().poll(cx);
        if !this.claimed {
            this.claimed = CURRENT.take().is_none();
        }
        if polled.is_ready() {
            return polled;
        }
        let turn = this.stream.turns.load(Ordering::Relaxed);
        if turn.is_multiple_of(2) {
            return Poll::Pending;
        }
        let deadline = Instant::now() + this.streams.write_timeout;
        let timeout = this.timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if turn != this.turn {
            this.turn = turn;
            timeout.as_mut().reset(deadline);
        }
        // Completing drops the response body, which resets the stream and ends the component that writes to it.
        timeout.as_mut().poll(cx)
    }
}

impl<F> Drop for StreamTask<F> {
    fn drop(&mut self) {
        if !self.stream.responded.load(Ordering::Relaxed) {
            self.streams.connection.count_reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionState, MAX_RESETS, StreamExecutor, StreamState};
    use hyper::rt::Executor as _;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_after_its_timeout_without_requests() {
        let connection = Arc::new(ConnectionState::default());
        let start = tokio::time::Instant::now();
        let exchange = connection.begin_exchange();
        let idle = tokio::spawn({
            let connection = connection.clone();
            async move { connection.wait_until_idle(Duration::from_secs(10)).await }
        });
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(!idle.is_finished(), "a request is in flight");
        drop(exchange);
        idle.await.unwrap();
        assert!((65..=75).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_client_that_resets_every_request_is_abusive() {
        let connection = Arc::new(ConnectionState::default());
        let streams = StreamExecutor::new(connection.clone(), Duration::from_secs(1));
        for _ in 0..MAX_RESETS {
            streams.execute(async {});
        }
        while connection.resets.load(Ordering::Relaxed) < MAX_RESETS {
            tokio::task::yield_now().await;
        }
        assert!(!connection.is_closing());
        streams.execute(async {});
        assert!(connection.wait_for_close().await, "abusive");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_its_client_stops_reading() {
        let connection = Arc::new(ConnectionState::default());
        let streams = StreamExecutor::new(connection.clone(), Duration::from_secs(30));
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        let inner = connection.clone();
        streams.execute(async move {
            let _ended = ended;
            let exchange = inner.begin_exchange();
            let stream: &StreamState = exchange.stream().unwrap();
            exchange.record_response();
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                stream.wait_for_client();
            }
            // The write time-out does not apply while the component computes.
            stream.wait_for_component();
            tokio::time::sleep(Duration::from_mins(5)).await;
            stream.wait_for_client();
            std::future::pending::<()>().await;
        });
        let start = tokio::time::Instant::now();
        end.await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), 3 * 20 + 300 + 30);
    }
}
