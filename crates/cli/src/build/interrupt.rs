//! What a signal does while builds run: it ends them, and then the program.
//!
//! A build is a process group of its own, which a terminal does not interrupt. Commands that serve handle signals themselves, and drop the builds
//! that they wait for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

/// The groups of the builds that run.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
/// A command handles signals by itself.
static HANDLED: AtomicBool = AtomicBool::new(false);
static WATCHED: Once = Once::new();

/// A process group, which ends when this is dropped.
pub(super) struct Group(Option<Pid>);

impl Group {
    /// The group that a process leads.
    pub(super) fn of(id: Option<u32>) -> Self {
        let pid = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            GROUPS.lock().unwrap_or_else(PoisonError::into_inner).insert(pid.as_raw_nonzero().get());
        }
        WATCHED.call_once(watch);
        Self(pid)
    }

    /// Its process has ended, and what that left in the background may go on.
    pub(super) fn release(&mut self) {
        if let Some(pid) = self.0.take() {
            GROUPS.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid.as_raw_nonzero().get());
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may have ended.
            kill_process_group(pid, Signal::KILL).ok();
        }
        self.release();
    }
}

/// Leaves signals to the command from now on.
pub(crate) fn leave_signals() {
    HANDLED.store(true, Ordering::SeqCst);
}

fn watch() {
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let Ok(mut signals) = signal(kind) else { continue };
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if HANDLED.load(Ordering::SeqCst) {
                    continue;
                }
                for group in GROUPS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    if let Some(pid) = Pid::from_raw(*group) {
                        kill_process_group(pid, Signal::KILL).ok();
                    }
                }
                // As a shell reports a program that a signal has ended.
                std::process::exit(128 + kind.as_raw_value());
            }
        });
    }
}
