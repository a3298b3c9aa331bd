//! When a scheduled trigger runs: what happens to runs that were missed, and to those that would overlap.
//!
//! Takes events, with the time as the caller sees it; gives actions. Pure: the trigger's task waits and runs.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Schedule, signed};

/// How late a run may start and still be on time.
const ON_TIME: Duration = Duration::from_secs(10);
/// How far the clock may be set back without the schedule starting anew.
const SET_BACK: Duration = Duration::from_hours(1);
/// The most runs at a time when they may overlap.
const MAX_RUNNING: usize = 64;

/// What happens when runs were missed because the host slept or was late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// They are skipped.
    #[default]
    Skip,
    /// One run stands for all of them.
    Once,
}

/// What happens when a run is due while another goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// It starts all the same, up to 64 at a time.
    Allow,
    /// It starts after the other. One waits; further ones are skipped.
    Queue,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is this time now.
    Tick(Timestamp),
    /// A run that was asked for began.
    Started,
    /// A run ended, or could not begin.
    Finished,
}

/// Why a run did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It was due too long ago.
    Missed,
    /// Another run goes on, or as many as may.
    Overlaps,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a run that was due then.
    Run {
        /// When it was due.
        due: Timestamp,
    },
    /// Report that a run did not start.
    Skip {
        /// When it was due: the first one, if several were missed.
        due: Timestamp,
        /// Why.
        reason: Skipped,
    },
    /// Send a tick at this time, or earlier.
    WakeAt(Timestamp),
    /// No run comes after this.
    Over,
}

/// The runs of one scheduled trigger.
#[derive(Clone, Debug)]
pub struct Runs {
    schedule: Schedule,
    zone: TimeZone,
    missed: Missed,
    overlap: Overlap,
    next: Option<Timestamp>,
    seen: Timestamp,
    /// Runs that were asked for and have not begun.
    starting: usize,
    running: usize,
    queued: Option<Timestamp>,
}

impl Runs {
    /// Begins now: no run was missed before.
    pub fn new(schedule: Schedule, zone: TimeZone, missed: Missed, overlap: Overlap, now: Timestamp) -> Self {
        let next = schedule.next_after(now, &zone);
        Self { schedule, zone, missed, overlap, next, seen: now, starting: 0, running: 0, queued: None }
    }

    /// When the next run is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// Handles an event. A tick ends with the time of the next one, or that there is none.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Started => {
                self.starting = self.starting.saturating_sub(1);
                self.running += 1;
            }
            Event::Finished => {
                if self.running > 0 {
                    self.running -= 1;
                } else {
                    self.starting = self.starting.saturating_sub(1);
                }
                if self.active() == 0
                    && let Some(due) = self.queued.take()
                {
                    self.run(due, &mut actions);
                }
            }
            Event::Tick(now) => {
                self.tick(now, &mut actions);
                actions.push(self.next.map_or(Action::Over, Action::WakeAt));
            }
        }
        actions
    }

    fn tick(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.seen.duration_since(now) > signed(SET_BACK) {
            // What is next may be hours away by the clock as it is now.
            self.next = self.schedule.next_after(now, &self.zone);
        }
        self.seen = now;
        let Some(due) = self.next.filter(|due| *due <= now) else { return };
        let (on_time, next) = self.schedule.catch_up(due, now, signed(ON_TIME), &self.zone);
        self.next = next;
        match (on_time, self.missed) {
            (Some(at), missed) => {
                // A run that starts now also stands for those before it.
                if at > due && missed == Missed::Skip {
                    actions.push(Action::Skip { due, reason: Skipped::Missed });
                }
                self.due(at, actions);
            }
            (None, Missed::Once) => self.due(due, actions),
            (None, Missed::Skip) => actions.push(Action::Skip { due, reason: Skipped::Missed }),
        }
    }

    /// A run is due: it starts, waits or is skipped.
    fn due(&mut self, due: Timestamp, actions: &mut Vec<Action>) {
        let active = self.active();
        match self.overlap {
            _ if active == 0 => self.run(due, actions),
            Overlap::Allow if active < MAX_RUNNING => self.run(due, actions),
            Overlap::Queue if self.queued.is_none() => self.queued = Some(due),
            _ => actions.push(Action::Skip { due, reason: Skipped::Overlaps }),
        }
    }

    fn run(&mut self, due: Timestamp, actions: &mut Vec<Action>) {
        self.starting += 1;
        actions.push(Action::Run { due });
    }

    fn active(&self) -> usize {
        self.starting + self.running
    }
}
