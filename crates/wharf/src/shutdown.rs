//! Graceful shutdown: tells workers to stop, and waits until all have finished.
//!
//! Each worker holds a [`Signal`]. [`Shutdown::drain`] requests the stop and waits until every signal is dropped.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// The side that requests the stop.
///
/// ```
/// use std::time::Duration;
///
/// use wharf::shutdown::Shutdown;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut shutdown = Shutdown::default();
/// if let Some(mut signal) = shutdown.subscribe() {
///     tokio::spawn(async move {
///         signal.stopped().await;
///         // The worker finishes here. Dropping the signal reports that it has.
///     });
/// }
/// assert!(shutdown.drain(Duration::from_secs(10)).await);
/// assert!(shutdown.subscribe().is_none(), "no worker starts after the drain has begun");
/// # }
/// ```
#[derive(Debug)]
pub struct Shutdown {
    stop: watch::Sender<bool>,
    /// Ends when the last signal is dropped; carries no messages.
    all_dropped: mpsc::Receiver<()>,
    /// The signal that workers get clones of, until the drain begins.
    signal: Option<Signal>,
}

/// The side of a worker. Dropping it reports that the worker has finished.
#[derive(Clone, Debug)]
pub struct Signal {
    stop: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

impl Default for Shutdown {
    fn default() -> Self {
        let (stop, stopped) = watch::channel(false);
        let (alive, all_dropped) = mpsc::channel(1);
        Self { stop, all_dropped, signal: Some(Signal { stop: stopped, _alive: alive }) }
    }
}

impl Shutdown {
    /// Returns a signal for a new worker, or `None` when the drain has begun.
    pub fn subscribe(&self) -> Option<Signal> {
        self.signal.clone()
    }

    /// Requests the stop, and waits until every signal is dropped, for at most `timeout`. Returns whether all workers have
    /// finished. A second call waits for the rest.
    pub async fn drain(&mut self, timeout: Duration) -> bool {
        self.signal = None;
        self.stop.send_replace(true);
        tokio::time::timeout(timeout, self.all_dropped.recv()).await.is_ok()
    }
}

impl Signal {
    /// Waits until the stop is requested, or until the [`Shutdown`] is dropped.
    pub async fn stopped(&mut self) {
        // An error means that the sender is dropped, which is a request to stop as well.
        self.stop.wait_for(|stop| *stop).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_every_signal() {
        let mut shutdown = Shutdown::default();
        let mut signal = shutdown.subscribe().unwrap();
        let other = signal.clone();
        let worker = tokio::spawn(async move {
            signal.stopped().await;
        });
        assert!(!shutdown.drain(Duration::from_secs(1)).await, "the other signal is alive");
        drop(other);
        assert!(shutdown.drain(Duration::from_secs(1)).await);
        worker.await.unwrap();
    }
}
