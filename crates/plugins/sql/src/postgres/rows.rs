//! Rows as they are asked for.
//!
//! Takes a statement that runs; gives its rows, one by one, and how it ended. Rows that are not asked for stay at the
//! server, but for a few kilobytes. Dropping the rows cancels the statement, and so does leaving them unread too long.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_postgres::{Row, RowStream, Statement};

use super::codec::{Context, Raw};
use super::dialect::Value;
use super::error::{Error, Result};
use super::pool::Lease;
use super::run::Opened;

/// The memory that a value needs besides its bytes, as limits count it.
const VALUE_ROOM: usize = 32;

/// The rows of a statement. They end early when the statement fails; [`Completion`] has the reason.
pub struct Rows<V> {
    running: Arc<Mutex<Option<Running>>>,
    watch: AbortHandle,
    bytes: usize,
    values: std::marker::PhantomData<fn() -> V>,
}

/// How a statement ended. Resolves when its rows have ended. Rows that are dropped have ended well.
pub struct Completion(oneshot::Receiver<Result<()>>);

impl Future for Completion {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Result<()>> {
        let ended = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(ended.unwrap_or(Ok(())))
    }
}

struct Running {
    // The stream is dropped before its connection is given back.
    stream: Pin<Box<RowStream>>,
    lease: Lease,
    statement: Statement,
    context: Context,
    /// When the server must have sent the next row, once it is asked for.
    deadline: Option<Pin<Box<Sleep>>>,
    last_use: Instant,
    done: oneshot::Sender<Result<()>>,
    /// Where the connection goes in the end, if its user keeps it.
    home: Option<Arc<Mutex<Option<Lease>>>>,
}

fn lock(running: &Mutex<Option<Running>>) -> MutexGuard<'_, Option<Running>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Ends the statement. The connection of one that still runs is cancelled.
    fn end(mut self, result: Result<()>, still_runs: bool) {
        self.lease.busy = still_runs;
        drop(self.stream);
        match self.home {
            Some(home) if !still_runs => *home.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.lease),
            _ => drop(self.lease),
        }
        drop(self.done.send(result));
    }
}

impl<V: Value> Rows<V> {
    /// The columns and rows of a statement that has been started.
    pub(super) fn new(lease: Lease, opened: Opened) -> (Vec<V::Column>, Self, Completion) {
        let Opened { stream, statement, context } = opened;
        let columns = statement.columns().iter().map(|column| V::column(column.name(), column.type_())).collect();
        let (done, completion) = oneshot::channel();
        let (stall, timeout) = (lease.pool.config.stall_timeout, lease.pool.config.statement_timeout);
        let running = Running {
            stream: Box::pin(stream),
            lease,
            statement,
            context,
            deadline: None,
            last_use: Instant::now(),
            done,
            home: None,
        };
        let running = Arc::new(Mutex::new(Some(running)));
        let watched = Arc::downgrade(&running);
        let watch = tokio::spawn(async move {
            let mut until = Instant::now() + stall;
            loop {
                sleep_until(until).await;
                let Some(running) = watched.upgrade() else { return };
                let mut running = lock(&running);
                let Some(current) = running.as_ref() else { return };
                // A consumer that waits for the server is polled when the server's time is over.
                until = current.last_use + stall + if current.deadline.is_some() { timeout } else { Duration::ZERO };
                if until <= Instant::now()
                    && let Some(stalled) = running.take()
                {
                    return stalled.end(Err(Error::Timeout), true);
                }
            }
        });
        let rows = Self { running, watch: watch.abort_handle(), bytes: 0, values: std::marker::PhantomData };
        (columns, rows, Completion(completion))
    }

    /// Keeps the connection when the statement has ended. Returns where it will be.
    pub(super) fn keep_lease(&mut self) -> Arc<Mutex<Option<Lease>>> {
        let home = Arc::default();
        if let Some(running) = lock(&self.running).as_mut() {
            running.home = Some(Arc::clone(&home));
        }
        home
    }

    /// How many bytes the rows so far have needed.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Polls for the next row.
    pub fn poll_row(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Vec<V>>> {
        let mut slot = lock(&self.running);
        let Some(running) = slot.as_mut() else { return Poll::Ready(None) };
        running.last_use = Instant::now();
        let (result, still_runs) = match running.stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(row))) => {
                running.deadline = None;
                match decode(&row, &running.statement, running.context, &mut self.bytes) {
                    Ok(values) => return Poll::Ready(Some(values)),
                    Err(error) => (Err(error), true),
                }
            }
            Poll::Ready(Some(Err(error))) => {
                let error = running.lease.fail(&error);
                (Err(error), running.lease.busy)
            }
            Poll::Ready(None) => (Ok(()), false),
            Poll::Pending => {
                let limit = running.lease.pool.config.statement_timeout;
                let deadline = running.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
                ready!(deadline.as_mut().poll(cx));
                (Err(Error::Timeout), true)
            }
        };
        if let Some(running) = slot.take() {
            drop(slot);
            running.end(result, still_runs);
        }
        Poll::Ready(None)
    }
}

impl<V: Value> Stream for Rows<V> {
    type Item = Vec<V>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Vec<V>>> {
        self.get_mut().poll_row(cx)
    }
}

impl<V> Drop for Rows<V> {
    fn drop(&mut self) {
        self.watch.abort();
        if let Some(running) = lock(&self.running).take() {
            running.end(Ok(()), true);
        }
    }
}

fn decode<V: Value>(row: &Row, statement: &Statement, context: Context, bytes: &mut usize) -> Result<Vec<V>> {
    let mut values = Vec::with_capacity(row.len());
    *bytes += size_of::<Vec<V>>();
    for (index, column) in statement.columns().iter().enumerate() {
        let failed = |reason: String| Error::ValueConversion(format!("column `{}`: {reason}", column.name()));
        let raw: Option<Raw<'_>> = row.try_get(index).map_err(|_| failed("it is missing".to_owned()))?;
        *bytes += VALUE_ROOM + raw.as_ref().map_or(0, |raw| raw.0.len());
        values.push(V::decode(column.type_(), raw.map(|raw| raw.0), context).map_err(failed)?);
    }
    Ok(values)
}
