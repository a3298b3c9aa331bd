//! Opens SQLite connections.
//!
//! Takes a location and limits; gives a confined connection in WAL mode. It never names the location in an error.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::value::{Error, Result};
use super::{sandbox, worker};

/// The most bytes of a database in memory whose configuration sets none.
const DEFAULT_MEMORY_BYTES: u64 = 64 * 1024 * 1024;
/// The most heap that all SQLite databases of the process may use, which is also where sorts and temporary tables are.
const HEAP_LIMIT: i64 = 512 * 1024 * 1024;
/// The page cache of one connection in KiB.
const CACHE_KIB: u32 = 2048;
/// The size that a write-ahead log shrinks to after a checkpoint.
const LOG_BYTES: i64 = 16 * 1024 * 1024;

static NEXT_MEMORY: AtomicU64 = AtomicU64::new(0);

/// Where a database is.
#[derive(Clone)]
pub(super) enum Location {
    File(PathBuf),
    /// The name of a database in memory. It is unique in the process.
    Memory(String),
}

impl Location {
    pub(super) fn new(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            let number = NEXT_MEMORY.fetch_add(1, Ordering::Relaxed);
            // SQLite shares a database in memory between connections only if its name begins with a slash.
            return Ok(Self::Memory(format!("/wharf-{number}")));
        };
        // An absolute path is never taken for a URI or for one of SQLite's special names.
        let path = std::path::absolute(path).map_err(|error| Error::Io(format!("invalid path: {}", error.kind())))?;
        Ok(Self::File(path))
    }
}

/// What a connection is opened with.
pub(super) struct Setup {
    pub(super) location: Location,
    pub(super) max_bytes: Option<u64>,
    pub(super) max_rows_bytes: usize,
    pub(super) timeout: Duration,
}

impl Setup {
    /// The path of the write-ahead log, and the size above which no more is written to it.
    pub(super) fn log(&self) -> Option<(PathBuf, u64)> {
        let (Location::File(path), Some(max)) = (&self.location, self.max_bytes) else { return None };
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        Some((log.into(), max.max(LOG_BYTES.unsigned_abs()).saturating_mul(2)))
    }
}

/// Opens a connection without limits. Only a store may use it.
pub(super) fn raw(location: &Location) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match location {
        Location::Memory(name) => Connection::open_with_flags_and_vfs(name, flags, "memdb"),
        Location::File(path) => {
            if let Some(folder) = path.parent() {
                let made = std::fs::create_dir_all(folder);
                made.map_err(|error| Error::Io(format!("cannot make the database's folder: {}", error.kind())))?;
            }
            Connection::open_with_flags(path, flags)
        }
    };
    opened.map_err(worker::translate)
}

/// Opens a connection for a component. `wait` is called while another connection holds a lock.
pub(super) fn confined(
    setup: &Setup,
    vacuuming: Arc<AtomicBool>,
    wait: impl FnMut(i32) -> bool + Send + 'static,
) -> Result<Connection> {
    let mut connection = raw(&setup.location)?;
    configure(&mut connection, setup, wait).map_err(worker::translate)?;
    sandbox::confine(&mut connection, setup.max_rows_bytes, vacuuming).map_err(worker::translate)?;
    Ok(connection)
}

fn configure(
    connection: &mut Connection,
    setup: &Setup,
    wait: impl FnMut(i32) -> bool + Send + 'static,
) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait))?;
    // The limit can only be lowered, so that a host may set a stricter one.
    connection.pragma_update(None, "hard_heap_limit", HEAP_LIMIT)?;
    connection.pragma_update(None, "soft_heap_limit", HEAP_LIMIT / 4 * 3)?;
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    connection.pragma_update(None, "mmap_size", 0)?;
    // Temporary data in files would have no limit.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    if matches!(setup.location, Location::File(_)) {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        // With a write-ahead log, this survives a crash of the process, and a power cut costs recent commits at most.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
    }
    let max = setup.max_bytes.or(matches!(setup.location, Location::Memory(_)).then_some(DEFAULT_MEMORY_BYTES));
    if let Some(max) = max {
        let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?.unsigned_abs();
        let pages = u32::try_from(max / page.max(1)).unwrap_or(u32::MAX - 2).clamp(1, u32::MAX - 2);
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(())
}
