//! Schedules for Wharf: `[[triggers.cron]]` runs a command, a component that exports `wasi:cli/run`, by a cron expression.
//!
//! ```
//! use wharf::{Engine, Host};
//! use wharf_cron::CronTrigger;
//!
//! let engine = Engine::builder().pooling(false).build().unwrap();
//! let host = Host::builder(engine).trigger(CronTrigger::default()).build().unwrap();
//! assert!(host.extensions().trigger("cron").is_some());
//! ```

pub mod schedule;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use jiff::tz::TimeZone as Zone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wharf::host::Running;
use wharf::run::command::{Exit, run_command};
use wharf::workload::Name;
use wharf::workload::manifest::{AnyTriggerKind, SettingsError, TimeZone, TriggerKind};
use wharf::{Entry, Trigger, TriggerError};

use schedule::{Action, Event, Missed, Overlap, Runs, Schedule};

/// How long a task sleeps at most: a clock that is set is noticed within it.
const NAP: Duration = Duration::from_secs(30);

/// A scheduled run: `[[triggers.cron]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct CronEntry {
    /// The component, which exports `wasi:cli/run`.
    pub component: Name,
    /// The schedule: five fields (minute, hour, day of month, month, day of week) or six with the second first; `@hourly`, `@daily`,
    /// `@every 30s`.
    pub schedule: String,
    /// The time zone of the schedule: `UTC` (the default), `system`, or an identifier such as `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What happens to runs that were due while the host slept: `skip` (the default), or `once`, which runs once for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<OnMissed>,
    /// What happens to a run that is due while another goes on: `skip` (the default), `allow`, or `queue`, which lets one wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<OnOverlap>,
}

/// What happens to runs that were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnMissed {
    /// They are skipped.
    Skip,
    /// One run stands for all of them.
    Once,
}

/// What happens to a run that is due while another goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnOverlap {
    /// It is skipped.
    Skip,
    /// It starts all the same, up to 64 at a time.
    Allow,
    /// It starts after the other. One waits; further ones are skipped.
    Queue,
}

impl CronEntry {
    /// The schedule and its time zone.
    fn parse(&self) -> Result<(Schedule, Zone), SettingsError> {
        let schedule = Schedule::parse(&self.schedule);
        let schedule = schedule.map_err(|error| SettingsError::new("schedule", error.to_string()))?;
        let zone = self.timezone.as_deref().unwrap_or("UTC");
        let zone = match zone.parse::<TimeZone>() {
            Ok(TimeZone::System) => Zone::system(),
            Ok(TimeZone::Named(name)) => Zone::get(name.as_str())
                .map_err(|error| SettingsError::new("timezone", format!("cannot read the time zone: {error}")))?,
            // `UTC` is what remains.
            Ok(_) => Zone::UTC,
            Err(error) => return Err(SettingsError::new("timezone", format!("invalid `timezone`: {error}"))),
        };
        Ok((schedule, zone))
    }

    fn runs(&self, now: Timestamp) -> Result<Runs, SettingsError> {
        let (schedule, zone) = self.parse()?;
        let missed = match self.missed {
            None | Some(OnMissed::Skip) => Missed::Skip,
            Some(OnMissed::Once) => Missed::Once,
        };
        let overlap = match self.overlap {
            None | Some(OnOverlap::Skip) => Overlap::Skip,
            Some(OnOverlap::Allow) => Overlap::Allow,
            Some(OnOverlap::Queue) => Overlap::Queue,
        };
        Ok(Runs::new(schedule, zone, missed, overlap, now))
    }
}

impl TriggerKind for CronEntry {
    const KEY: &'static str = "cron";
    const INTERFACES: &'static [&'static str] = &["wasi:cli/run@0.2.0", "wasi:cli/run@0.3.0"];

    fn component(&self) -> &Name {
        &self.component
    }

    fn label(&self) -> String {
        let zone = self.timezone.as_ref().map_or_else(String::new, |zone| format!(" in {zone}"));
        format!("cron {}{zone}", self.schedule)
    }

    fn check(all: &[Self]) -> Vec<SettingsError> {
        let error = |(i, entry): (usize, &Self)| {
            let error = match entry.parse() {
                Err(error) => error,
                Ok((schedule, zone)) => match schedule.next_after(Timestamp::now(), &zone) {
                    Some(_) => return None,
                    None => SettingsError::new("schedule", format!("`{}` never comes", entry.schedule))
                        .with_hint("correct the day and the month"),
                },
            };
            Some(SettingsError { path: format!("{i}.{}", error.path), ..error })
        };
        all.iter().enumerate().filter_map(error).collect()
    }
}

/// Runs commands by their schedules.
#[derive(Default)]
pub struct CronTrigger {
    /// By the address of the version, which lives as long as it is attached.
    attached: Mutex<HashMap<usize, Attached>>,
}

#[derive(Default)]
struct Attached {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

fn key(running: &Arc<Running>) -> usize {
    Arc::as_ptr(running) as usize
}

#[async_trait]
impl Trigger for CronTrigger {
    fn name(&self) -> &'static str {
        CronEntry::KEY
    }

    fn kind(&self) -> Option<AnyTriggerKind> {
        Some(AnyTriggerKind::of::<CronEntry>())
    }

    async fn attach(&self, running: &Arc<Running>) -> Result<(), TriggerError> {
        self.lock().insert(key(running), Attached::default());
        Ok(())
    }

    async fn started(&self, running: &Arc<Running>) {
        let mut all = self.lock();
        let Some(attached) = all.get_mut(&key(running)) else { return };
        for declared in running.workload().triggers.of::<CronEntry>().unwrap_or_default() {
            let Some(entry) = running.entry(declared.component.as_str()) else { continue };
            // Validation has checked the schedule.
            let Ok(runs) = declared.runs(Timestamp::now()) else { continue };
            let job = Job { running: running.clone(), entry: entry.clone(), schedule: declared.schedule };
            attached.tasks.push(tokio::spawn(job.run(runs, attached.stop.clone())));
        }
    }

    async fn detach(&self, running: &Arc<Running>) {
        let attached = self.lock().remove(&key(running));
        if let Some(attached) = attached {
            attached.end().await;
        }
    }

    async fn shutdown(&self) {
        let attached: Vec<_> = std::mem::take(&mut *self.lock()).into_values().collect();
        join_all(attached.into_iter().map(Attached::end)).await;
    }
}

impl CronTrigger {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Attached>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attached {
    /// Starts no more runs. The workload waits for those in progress.
    async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.ok();
        }
    }
}

/// One scheduled command.
#[derive(Clone)]
struct Job {
    running: Arc<Running>,
    entry: Arc<Entry>,
    schedule: String,
}

impl Job {
    /// Starts the runs until it is stopped. Runs in progress go on.
    async fn run(self, mut runs: Runs, stop: CancellationToken) {
        let (finished_tx, mut finished) = mpsc::unbounded_channel();
        let mut event = Event::Tick(Timestamp::now());
        loop {
            let mut wake = None;
            let actions = runs.on(event);
            for action in actions {
                match action {
                    Action::Run { .. } => self.start(&mut runs, finished_tx.clone()),
                    Action::Skip { due, reason } => {
                        let (workload, component) = (self.running.workload().id(), self.entry.name());
                        let schedule = &self.schedule;
                        tracing::warn!(workload, %component, schedule, %due, ?reason, "skipped a scheduled run");
                    }
                    Action::WakeAt(at) => wake = Some(at),
                    Action::Over => wake = None,
                }
            }
            // An event other than a tick leaves the next run as it was.
            let wake = wake.or_else(|| runs.next());
            let nap = wake.map_or(NAP, |at| nap(at, Timestamp::now()));
            event = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(()) = finished.recv() => Event::Finished,
                () = tokio::time::sleep(nap) => Event::Tick(Timestamp::now()),
            };
        }
    }

    fn start(&self, runs: &mut Runs, finished: mpsc::UnboundedSender<()>) {
        // A run that was just asked for begins at once, and nothing follows from that.
        runs.on(Event::Started);
        let job = self.clone();
        let finished = Finished(finished);
        tokio::spawn(async move {
            let _finished = finished;
            let (workload, component) = (job.running.workload().id(), job.entry.name());
            let limits = &job.running.workload().components[component].limits;
            match run_command(&job.entry, limits).await {
                Ok(Exit(0)) => tracing::info!(workload, %component, "scheduled run succeeded"),
                Ok(Exit(code)) => tracing::warn!(workload, %component, code, "scheduled run failed"),
                Err(error) => tracing::error!(workload, %component, %error, "scheduled run failed"),
            }
        });
    }
}

/// Reports the end of a run when it is dropped.
struct Finished(mpsc::UnboundedSender<()>);

impl Drop for Finished {
    fn drop(&mut self) {
        // The trigger may have been detached.
        self.0.send(()).ok();
    }
}

/// How long to sleep until a time, at most a [`NAP`].
fn nap(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default().min(NAP)
}
