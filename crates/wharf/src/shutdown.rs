//! One drain for all: saying stop, and knowing that everything has.
//!
//! Whoever works holds a [`Signal`]; [`Shutdown::drain`] says stop and waits until every one of them is dropped.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// Says stop.
#[derive(Debug)]
pub struct Shutdown {
    stop: watch::Sender<bool>,
    alive: mpsc::Receiver<()>,
    signal: Option<Signal>,
}

/// Held by whoever is at work; dropping it says that the work is done.
#[derive(Clone, Debug)]
pub struct Signal {
    stop: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

impl Default for Shutdown {
    fn default() -> Self {
        let (stop, stopped) = watch::channel(false);
        let (sender, alive) = mpsc::channel(1);
        Self { stop, alive, signal: Some(Signal { stop: stopped, _alive: sender }) }
    }
}

impl Shutdown {
    /// A signal for one more worker; `None` when the drain has begun.
    pub fn signal(&self) -> Option<Signal> {
        self.signal.clone()
    }

    /// Says stop, and waits until every signal was dropped or the time is up. Gives whether all is done.
    pub async fn drain(&mut self, at_most: Duration) -> bool {
        self.signal = None;
        self.stop.send_replace(true);
        tokio::time::timeout(at_most, self.alive.recv()).await.is_ok()
    }
}

impl Signal {
    /// Waits until it is time to stop.
    pub async fn stopped(&mut self) {
        // That the sender is gone means stop, too.
        self.stop.wait_for(|stop| *stop).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_every_signal() {
        let mut shutdown = Shutdown::default();
        let mut signal = shutdown.signal().unwrap();
        let other = signal.clone();
        let worker = tokio::spawn(async move {
            signal.stopped().await;
        });
        assert!(!shutdown.drain(Duration::from_secs(1)).await, "the other one is still there");
        drop(other);
        assert!(shutdown.drain(Duration::from_secs(1)).await);
        worker.await.unwrap();
    }
}
