//! The workloads of a host by id, from the start of each to its end.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use wharf_api::State;

use super::NoWorkload;
use super::running::Running;
use super::start::StartError;

/// The workloads by id. An id is taken from the start of a workload until it has stopped.
#[derive(Default)]
pub(super) struct Workloads {
    table: Mutex<Table>,
    /// Notified when a workload changes its state.
    changed: Notify,
}

#[derive(Default)]
struct Table {
    slots: BTreeMap<String, Slot>,
    /// When the calls in progress are terminated, if the host is shutting down.
    closed: Option<Instant>,
}

#[derive(Clone)]
pub(super) enum Slot {
    /// With the signal that cancels the start.
    Starting(Arc<Notify>),
    Running(Arc<Running>),
    Stopping(Arc<Running>),
}

impl Slot {
    fn state(&self) -> State {
        match self {
            Self::Starting(_) => State::Starting,
            Self::Running(_) => State::Running,
            Self::Stopping(_) => State::Stopping,
        }
    }

    fn is(&self, running: &Arc<Running>) -> bool {
        matches!(self, Self::Running(current) if Arc::ptr_eq(current, running))
    }
}

impl Workloads {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All ids, with the state of each.
    pub(super) fn list(&self) -> Vec<(String, State)> {
        self.lock().slots.iter().map(|(id, slot)| (id.clone(), slot.state())).collect()
    }

    /// Up to so many workloads, in the order of their ids, from the first after an id.
    pub(super) fn after(&self, after: Option<&str>, limit: usize) -> Vec<(String, Slot)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let table = self.lock();
        let slots = table.slots.range::<str, _>((from, Bound::Unbounded)).take(limit);
        slots.map(|(id, slot)| (id.clone(), slot.clone())).collect()
    }

    pub(super) fn find(&self, id: &str) -> Result<Slot, NoWorkload> {
        self.lock().slots.get(id).cloned().ok_or_else(|| NoWorkload { id: id.to_owned() })
    }

    /// A workload that takes calls.
    pub(super) fn running(&self, id: &str) -> Result<Arc<Running>, NoWorkload> {
        match self.find(id)? {
            Slot::Running(running) => Ok(running),
            Slot::Starting(_) | Slot::Stopping(_) => Err(NoWorkload { id: id.to_owned() }),
        }
    }

    /// Takes an id for a workload that starts.
    pub(super) fn reserve(&self, id: &str) -> Result<Reservation<'_>, StartError> {
        let mut table = self.lock();
        if table.closed.is_some() {
            return Err(StartError::ShuttingDown);
        }
        if table.slots.contains_key(id) {
            return Err(StartError::AlreadyRunning { id: id.to_owned() });
        }
        let cancel = Arc::new(Notify::new());
        table.slots.insert(id.to_owned(), Slot::Starting(cancel.clone()));
        Ok(Reservation { workloads: self, id: id.to_owned(), cancel, kept: false })
    }

    /// Replaces the running version by another. The caller holds the old version's lock, so that it is the one that runs; a host
    /// that is shutting down stops the new one instead.
    pub(super) fn replace(&self, id: &str, old: &Arc<Running>, new: &Arc<Running>) {
        if let Some(slot) = self.lock().slots.get_mut(id)
            && slot.is(old)
        {
            *slot = Slot::Running(new.clone());
        }
    }

    /// Marks a running version as stopping. Its id is free when the reservation is dropped. `None` if another one is running.
    pub(super) fn begin_stop(&self, id: &str, running: &Arc<Running>) -> Option<Reservation<'_>> {
        let mut table = self.lock();
        let slot = table.slots.get_mut(id).filter(|slot| slot.is(running))?;
        *slot = Slot::Stopping(running.clone());
        Some(Reservation { workloads: self, id: id.to_owned(), cancel: Arc::default(), kept: false })
    }

    /// Rejects workloads from now on. Calls in progress have until the deadline.
    pub(super) fn close(&self, deadline: Instant) {
        self.lock().closed.get_or_insert(deadline);
        self.changed.notify_waiters();
    }

    /// Waits until the host shuts down, and the calls in progress have had their time.
    pub(super) async fn past_deadline(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the table is read, so that a change in between is not missed.
            changed.as_mut().enable();
            let closed = self.lock().closed;
            match closed {
                Some(deadline) => return tokio::time::sleep_until(deadline).await,
                None => changed.await,
            }
        }
    }

    /// Waits until a workload is in another state than `state`.
    pub(super) async fn leaves(&self, id: &str, state: State) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the state is read, so that a change in between is not missed.
            changed.as_mut().enable();
            if self.find(id).map(|slot| slot.state()) != Ok(state) {
                return;
            }
            changed.await;
        }
    }
}

/// The id of a workload that starts or stops. Dropped without a running workload, it frees the id.
pub(super) struct Reservation<'a> {
    workloads: &'a Workloads,
    id: String,
    cancel: Arc<Notify>,
    kept: bool,
}

impl Reservation<'_> {
    /// Waits until the start is cancelled.
    pub(super) async fn cancelled(&self) {
        self.cancel.notified().await;
    }

    /// Keeps the id for a workload that runs from now on.
    pub(super) fn keep(mut self, running: Arc<Running>) {
        self.workloads.lock().slots.insert(self.id.clone(), Slot::Running(running));
        self.kept = true;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.workloads.lock().slots.remove(&self.id);
        }
        self.workloads.changed.notify_waiters();
    }
}
