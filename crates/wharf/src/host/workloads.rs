//! The workloads of a host by id, from the start of each to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wharf_api::State;

use super::NoWorkload;
use super::running::Running;
use super::start::StartError;

/// The workloads by id. An id is taken from the start of a workload until it has stopped.
#[derive(Default)]
pub(super) struct Workloads(Mutex<BTreeMap<String, Slot>>);

#[derive(Clone)]
pub(super) enum Slot {
    Starting,
    Running(Arc<Running>),
    Stopping(Arc<Running>),
}

impl Slot {
    pub(super) fn state(&self) -> State {
        match self {
            Self::Starting => State::Starting,
            Self::Running(_) => State::Running,
            Self::Stopping(_) => State::Stopping,
        }
    }
}

impl Workloads {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All ids, with the state of each.
    pub(super) fn list(&self) -> Vec<(String, State)> {
        self.lock().iter().map(|(id, slot)| (id.clone(), slot.state())).collect()
    }

    pub(super) fn find(&self, id: &str) -> Result<Slot, NoWorkload> {
        self.lock().get(id).cloned().ok_or_else(|| NoWorkload { id: id.to_owned() })
    }

    /// A workload that takes calls.
    pub(super) fn running(&self, id: &str) -> Result<Arc<Running>, NoWorkload> {
        match self.find(id)? {
            Slot::Running(running) => Ok(running),
            Slot::Starting | Slot::Stopping(_) => Err(NoWorkload { id: id.to_owned() }),
        }
    }

    /// Takes an id for a workload that starts.
    pub(super) fn reserve(&self, id: &str) -> Result<Reservation<'_>, StartError> {
        let mut workloads = self.lock();
        if workloads.contains_key(id) {
            return Err(StartError::AlreadyRunning { id: id.to_owned() });
        }
        workloads.insert(id.to_owned(), Slot::Starting);
        Ok(Reservation { workloads: self, id: id.to_owned(), kept: false })
    }

    /// Replaces a running workload by another version; gives whether one was running.
    pub(super) fn replace(&self, id: &str, new: &Arc<Running>) -> bool {
        match self.lock().get_mut(id) {
            Some(slot @ Slot::Running(_)) => {
                *slot = Slot::Running(new.clone());
                true
            }
            _ => false,
        }
    }

    /// Marks a running workload as stopping. Its id is free when the reservation is dropped.
    pub(super) fn stop(&self, id: &str) -> Result<(Arc<Running>, Reservation<'_>), NoWorkload> {
        let mut workloads = self.lock();
        let slot = workloads.get_mut(id);
        let Some(slot @ Slot::Running(_)) = slot else { return Err(NoWorkload { id: id.to_owned() }) };
        let Slot::Running(running) = slot.clone() else { return Err(NoWorkload { id: id.to_owned() }) };
        *slot = Slot::Stopping(running.clone());
        Ok((running, Reservation { workloads: self, id: id.to_owned(), kept: false }))
    }
}

/// The id of a workload that starts or stops. Dropped without a running workload, it frees the id.
pub(super) struct Reservation<'a> {
    workloads: &'a Workloads,
    id: String,
    kept: bool,
}

impl Reservation<'_> {
    /// Keeps the id for a workload that runs from now on.
    pub(super) fn keep(mut self, running: Arc<Running>) {
        self.workloads.lock().insert(self.id.clone(), Slot::Running(running));
        self.kept = true;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.workloads.lock().remove(&self.id);
        }
    }
}
