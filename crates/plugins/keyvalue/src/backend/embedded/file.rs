//! The files that this process has open.
//!
//! Takes the settings of each opener; gives all openers of one file the same [`Shared`]. Closes a file when its last
//! opener has gone. Never opens a file twice, since redb would refuse.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, oneshot, watch};

use super::super::Error;
use super::super::changes::Changes;
use super::read::Snapshot;
use super::tables::{Done, Op};
use super::writer::{Job, Message, Writer};
use super::{EmbeddedConfig, SyncMode, closed, disk};

/// How long an opener waits for the file's last user to close it.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// The size of the operations that wait for the writer, in units of [`UNIT`] bytes. A full queue makes writers wait.
const QUEUE_UNITS: u32 = 128 * 1024;
const UNIT: usize = 1024;

static FILES: LazyLock<Mutex<HashMap<PathBuf, Arc<Slot>>>> = LazyLock::new(Mutex::default);

/// A file, open or not.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    closed: Condvar,
}

#[derive(Default)]
struct State {
    shared: Option<Arc<Shared>>,
    users: usize,
    /// Whether a writer still holds the file.
    running: bool,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the openers of one file share.
pub(super) struct Shared {
    /// The file.
    pub(super) path: PathBuf,
    /// The memory for cached pages.
    pub(super) cache: usize,
    /// The state after the last commit; none while the file cannot be read.
    pub(super) snapshot: ArcSwapOption<Snapshot>,
    /// The watchers.
    pub(super) changes: Changes,
    /// The largest size of the entries, in bytes.
    pub(super) max_bytes: AtomicU64,
    sync: Mutex<SyncMode>,
    queue: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    slot: Arc<Slot>,
    done: watch::Sender<bool>,
}

impl Shared {
    /// When writes are synced.
    pub(super) fn sync(&self) -> SyncMode {
        *self.sync.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn configure(&self, config: &EmbeddedConfig) {
        *self.sync.lock().unwrap_or_else(PoisonError::into_inner) = config.sync;
        self.max_bytes.store(config.max_bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Gives an operation to the writer and waits for its commit.
    pub(super) async fn write(&self, op: Op) -> Result<Done, Error> {
        let units = u32::try_from(op.size() / UNIT).unwrap_or(u32::MAX).saturating_add(1).min(QUEUE_UNITS);
        let room = self.room.clone().acquire_many_owned(units).await.map_err(|_| closed())?;
        let (reply, done) = oneshot::channel();
        self.queue.send(Message::Job(Job { op, reply, _room: room })).map_err(|_| closed())?;
        done.await.map_err(|_| closed())?
    }

    /// Counts an opener less. The last one closes the file.
    pub(super) fn release(&self) {
        let mut state = self.slot.lock();
        if self.is_current(&state) {
            state.users = state.users.saturating_sub(1);
            if state.users == 0 {
                state.shared = None;
                drop(self.queue.send(Message::Stop));
            }
        }
    }

    fn is_current(&self, state: &State) -> bool {
        state.shared.as_ref().is_some_and(|shared| std::ptr::eq(&raw const **shared, self))
    }

    /// Waits for the writer to close the file, unless the file has other openers.
    pub(super) async fn closed(&self) {
        if self.is_current(&self.slot.lock()) {
            return;
        }
        let mut done = self.done.subscribe();
        drop(tokio::time::timeout(CLOSE_PATIENCE, done.wait_for(|done| *done)).await);
    }

    /// The writer has closed the file.
    pub(super) fn finished(&self) {
        self.snapshot.store(None);
        self.changes.close();
        {
            let mut state = self.slot.lock();
            state.running = false;
            if self.is_current(&state) {
                // The writer ended although there are openers. The next one starts another.
                state.shared = None;
                state.users = 0;
            }
        }
        self.slot.closed.notify_all();
        self.done.send_replace(true);
    }
}

/// Opens a file, or joins its openers. Blocks.
pub(super) fn open(config: &EmbeddedConfig) -> Result<Arc<Shared>, Error> {
    let path = path(config)?;
    let slot = {
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        // The table and the opener here hold a slot twice; a writer or a user once more.
        files.retain(|known, slot| *known == path || Arc::strong_count(slot) > 1);
        files.entry(path.clone()).or_default().clone()
    };
    let mut state = slot.lock();
    let deadline = Instant::now() + CLOSE_PATIENCE;
    loop {
        if let Some(shared) = state.shared.clone() {
            shared.configure(config);
            state.users += 1;
            return Ok(shared);
        }
        if !state.running {
            break;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Unavailable(format!("`{}` is still being closed", path.display())));
        }
        state = slot.closed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    let shared = start(config, path, slot.clone())?;
    state.running = true;
    state.users = 1;
    state.shared = Some(shared.clone());
    Ok(shared)
}

/// Opens the file and starts its writer.
fn start(config: &EmbeddedConfig, path: PathBuf, slot: Arc<Slot>) -> Result<Arc<Shared>, Error> {
    let (queue, jobs) = mpsc::channel();
    let shared = Arc::new(Shared {
        path,
        cache: config.cache_bytes,
        snapshot: ArcSwapOption::empty(),
        changes: Changes::default(),
        max_bytes: AtomicU64::new(u64::MAX),
        sync: Mutex::default(),
        queue,
        room: Arc::new(Semaphore::new(QUEUE_UNITS as usize)),
        slot,
        done: watch::Sender::new(false),
    });
    shared.configure(config);
    let writer = Writer::open(shared.clone(), jobs)?;
    let thread = std::thread::Builder::new().name("keyvalue".to_owned()).spawn(move || writer.run());
    thread.map_err(|error| Error::Unavailable(format!("cannot start the writer of a store: {error}")))?;
    Ok(shared)
}

/// The one path of a store's file. Creates the folder.
fn path(config: &EmbeddedConfig) -> Result<PathBuf, Error> {
    let name = &config.name;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(Error::InvalidArgument(format!(
            "`{}` cannot name a store: use letters, digits, `-`, `_` and `.`, not at the start",
            name.escape_debug()
        )));
    }
    let failed = |error| Error::Unavailable(format!("cannot use the folder `{}`: {error}", config.folder.display()));
    std::fs::create_dir_all(&config.folder).map_err(failed)?;
    let path = config.folder.canonicalize().map_err(failed)?.join(format!("{name}.redb"));
    // A link to a file is that file.
    Ok(Path::canonicalize(&path).unwrap_or(path))
}

/// Opens the database of a file that is not open yet.
pub(super) fn database(shared: &Shared) -> Result<redb::Database, Error> {
    disk::open(&shared.path, shared.cache)
}
