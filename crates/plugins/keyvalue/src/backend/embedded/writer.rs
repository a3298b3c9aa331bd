//! The thread that writes a store's file.
//!
//! Takes operations; gives each its result after the commit that contains it. Operations that wait while a commit is in
//! progress share the next one, so that concurrent writers share a sync. Sweeps expired entries, and syncs when
//! [`SyncMode`] says so. A failed commit fails its operations, and the file is opened anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::{Database, Durability};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::super::{Change, Error};
use super::file::{Shared, database};
use super::read::Snapshot;
use super::tables::{Done, Failure, MAX_OP_BYTES, MAX_OPS, Op, Tables, now};
use super::{SyncMode, disk};

/// How much is written before it is synced although [`SyncMode`] does not ask for it. It bounds what redb holds in
/// memory.
const MAX_UNSYNCED: usize = 64 * 1024 * 1024;
/// The longest time between two looks at what has expired, and between two attempts to open a file after a failure.
const IDLE: Duration = Duration::from_secs(1);

/// An operation that waits.
pub(super) struct Job {
    pub(super) op: Op,
    pub(super) reply: oneshot::Sender<Result<Done, Error>>,
    /// Its part of the queue.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What the writer receives.
pub(super) enum Message {
    /// A write.
    Job(Job),
    /// The last opener has gone.
    Stop,
}

/// The writer of a file.
pub(super) struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Message>,
    database: Option<Database>,
    /// When the oldest write that is not synced was made.
    unsynced: Option<Instant>,
    unsynced_bytes: usize,
    /// When the next entry expires, in Unix milliseconds.
    next_expiry: Option<u64>,
}

type Results = Vec<Result<Done, Error>>;

impl Writer {
    /// Opens the file.
    pub(super) fn open(shared: Arc<Shared>, jobs: Receiver<Message>) -> Result<Self, Error> {
        let mut writer = Self { shared, jobs, database: None, unsynced: None, unsynced_bytes: 0, next_expiry: None };
        writer.reopen()?;
        Ok(writer)
    }

    /// Opens the file, anew if it was open.
    fn reopen(&mut self) -> Result<(), Error> {
        self.shared.snapshot.store(None);
        let path = &self.shared.path;
        let old = self.database.take();
        // What redb says about a file that has failed is known; what matters is the new attempt.
        drop(disk::guard(path, || drop(old)));
        let database = database(&self.shared)?;
        let (next, snapshot) = disk::guard(path, || {
            let transaction = database.begin_write()?;
            let mut tables = Tables::open(&transaction, u64::MAX, false)?;
            tables.skip_versions();
            let next = sweep(&mut tables)?;
            tables.finish()?;
            transaction.commit()?;
            Ok((next, Snapshot::take(&database)?))
        })?
        .map_err(|error: redb::Error| disk::any_error(path, error))?;
        self.shared.snapshot.store(Some(Arc::new(snapshot)));
        (self.database, self.next_expiry) = (Some(database), next);
        (self.unsynced, self.unsynced_bytes) = (None, 0);
        Ok(())
    }

    /// Writes until the last opener has gone, then closes the file.
    pub(super) fn run(mut self) {
        // The guard also runs if a bug makes the thread panic: openers then get an error and may open the file again.
        struct Finish(Arc<Shared>);
        impl Drop for Finish {
            fn drop(&mut self) {
                self.0.finished();
            }
        }
        let finish = Finish(self.shared.clone());
        let mut stopping = false;
        while !stopping {
            let mut batch = Vec::new();
            match self.jobs.recv_timeout(self.wait()) {
                Ok(Message::Job(job)) => stopping = self.gather(job, &mut batch),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => stopping = true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.commit(batch);
        }
        // Operations that were sent before the last opener went.
        let left: Vec<Job> = std::iter::from_fn(|| self.jobs.try_recv().ok()).filter_map(job).collect();
        for chunk in chunks(left) {
            self.commit(chunk);
        }
        self.close();
        drop(finish);
    }

    /// Collects the operations that wait. Returns whether the last opener has gone.
    fn gather(&self, first: Job, batch: &mut Vec<Job>) -> bool {
        let mut bytes = first.op.size();
        batch.push(first);
        while batch.len() < MAX_OPS && bytes < MAX_OP_BYTES {
            match self.jobs.try_recv() {
                Ok(Message::Job(job)) => {
                    bytes = bytes.saturating_add(job.op.size());
                    batch.push(job);
                }
                Ok(Message::Stop) => return true,
                Err(_) => break,
            }
        }
        false
    }

    /// How long to wait for an operation.
    fn wait(&self) -> Duration {
        let expiry = self.next_expiry.map_or(IDLE, |next| Duration::from_millis(next.saturating_sub(now())));
        let sync = match (self.unsynced, self.shared.sync()) {
            (Some(since), SyncMode::Every(interval)) => interval.saturating_sub(since.elapsed()),
            (Some(_), SyncMode::Always) => Duration::ZERO,
            _ => IDLE,
        };
        expiry.min(sync).min(IDLE)
    }

    fn must_sync(&self, bytes: usize) -> bool {
        let late = match self.shared.sync() {
            SyncMode::Always => true,
            SyncMode::Every(interval) => self.unsynced.is_some_and(|since| since.elapsed() >= interval),
            SyncMode::Never => false,
        };
        late || self.unsynced_bytes.saturating_add(bytes) > MAX_UNSYNCED
    }

    /// Commits operations and replies to each.
    fn commit(&mut self, mut batch: Vec<Job>) {
        if self.database.is_none()
            && let Err(error) = self.reopen()
        {
            return batch.into_iter().for_each(|job| drop(job.reply.send(Err(error.clone()))));
        }
        let grows: u64 = batch.iter().filter(|job| job.op.grows()).map(|job| job.op.size() as u64 + 4096).sum();
        if grows > 0
            && let Err(error) = disk::check_space(&self.shared.path, grows)
        {
            let (growing, rest) = batch.into_iter().partition(|job| job.op.grows());
            batch = rest;
            let growing: Vec<Job> = growing;
            growing.into_iter().for_each(|job| drop(job.reply.send(Err(error.clone()))));
        }
        let expired = self.next_expiry.is_some_and(|next| next <= now());
        let bytes = batch.iter().map(|job| job.op.size() + 64).sum();
        let sync = self.must_sync(bytes);
        if batch.is_empty() && !expired && !(sync && self.unsynced.is_some()) {
            return;
        }
        match disk::guard(&self.shared.path, || self.transact(&batch, sync)) {
            Ok(Ok((results, changes, next, snapshot))) => {
                self.next_expiry = next;
                (self.unsynced, self.unsynced_bytes) = match (sync, self.unsynced) {
                    (true, _) => (None, 0),
                    (false, since) => (since.or_else(|| Some(Instant::now())), self.unsynced_bytes + bytes),
                };
                self.shared.snapshot.store(Some(Arc::new(snapshot)));
                changes.iter().for_each(|change| self.shared.changes.publish(change));
                for (job, result) in batch.into_iter().zip(results) {
                    drop(job.reply.send(result));
                }
            }
            Ok(Err(error)) | Err(error) => self.fail(batch, &error),
        }
    }

    /// Fails operations whose commit failed.
    fn fail(&mut self, batch: Vec<Job>, error: &Error) {
        tracing::warn!(file = %self.shared.path.display(), %error, "a commit failed; opening the file anew");
        // Before the replies, so that a caller that has one can read again.
        if let Err(error) = self.reopen() {
            tracing::warn!(file = %self.shared.path.display(), %error, "the file cannot be opened");
        }
        batch.into_iter().for_each(|job| drop(job.reply.send(Err(error.clone()))));
    }

    /// One transaction: the operations, and what has expired.
    fn transact(&self, batch: &[Job], sync: bool) -> Result<(Results, Vec<Change>, Option<u64>, Snapshot), Error> {
        let path = &self.shared.path;
        let Some(database) = &self.database else { return Err(super::closed()) };
        let run = || {
            let mut transaction = database.begin_write()?;
            if !sync {
                transaction.set_durability(Durability::None)?;
            }
            let max_bytes = self.shared.max_bytes.load(Ordering::Relaxed);
            let mut tables = Tables::open(&transaction, max_bytes, self.shared.changes.watched())?;
            // First, so that what has expired makes room.
            let mut next = sweep(&mut tables)?;
            let mut results = Results::with_capacity(batch.len());
            for job in batch {
                results.push(match tables.apply(&job.op) {
                    Ok(done) => Ok(done),
                    Err(Failure::Rejected(error)) => Err(error),
                    Err(Failure::Storage(error)) => return Err(error.into()),
                });
            }
            if !batch.is_empty() {
                next = tables.next_expiry()?;
            }
            let changes = tables.finish()?;
            transaction.commit()?;
            Ok((results, changes, next, Snapshot::take(database)?))
        };
        run().map_err(|error: redb::Error| disk::any_error(path, error))
    }

    /// Syncs and closes the file.
    fn close(&mut self) {
        if self.unsynced.is_some()
            && let Ok(Err(error)) | Err(error) = disk::guard(&self.shared.path, || self.transact(&[], true))
        {
            tracing::warn!(file = %self.shared.path.display(), %error, "the last writes are lost");
        }
        self.shared.snapshot.store(None);
        let database = self.database.take();
        if let Ok(Some(Err(error))) = disk::guard(&self.shared.path, || database.map(Database::close)) {
            tracing::warn!(file = %self.shared.path.display(), %error, "the file is not closed cleanly");
        }
    }
}

fn sweep(tables: &mut Tables<'_>) -> Result<Option<u64>, redb::Error> {
    match tables.sweep() {
        Ok(next) => Ok(next),
        Err(Failure::Storage(error)) => Err(error.into()),
        Err(Failure::Rejected(_)) => Ok(None),
    }
}

fn job(message: Message) -> Option<Job> {
    match message {
        Message::Job(job) => Some(job),
        Message::Stop => None,
    }
}

fn chunks(jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let (mut chunks, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
    for job in jobs {
        bytes = bytes.saturating_add(job.op.size());
        chunk.push(job);
        if chunk.len() == MAX_OPS || bytes >= MAX_OP_BYTES {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
    }
    chunks.push(chunk);
    chunks
}
