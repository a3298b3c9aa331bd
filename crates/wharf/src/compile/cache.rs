//! Compiled code on disk: a folder that is its owner's alone, files that are written whole or not at all, and nothing
//! that is trusted before its digest was checked.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Code, Key};

/// What a cached file starts with: the format and its version, then the digest of all that follows it.
const MAGIC: &[u8; 8] = b"WHARFC01";
const HEADER: usize = MAGIC.len() + blake3::OUT_LEN;
const EXTENSION: &str = "cwasm";
/// What the name of a file begins with that is not whole yet, and when its writer must be dead.
const BEGUN: &str = ".new-";
const ABANDONED: Duration = Duration::from_hours(1);

/// A folder of compiled code, no larger than it may be. A cache that does not work costs time, never correctness: every
/// failure is logged and the component compiled.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    max_bytes: u64,
}

impl Cache {
    /// Opens the cache in `folder`, which is made if it is not there. `None`, with a warning in the log, when the folder
    /// cannot be made, or others can write to it or put another in its place: what they wrote would be run.
    pub fn open(folder: impl Into<PathBuf>, max_bytes: u64) -> Option<Self> {
        let folder = folder.into();
        match check(&folder) {
            Ok(folder) => Some(Self { folder, max_bytes }),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "the cache of compiled code is not used");
                None
            }
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many bytes the cache's files have together.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.entries()?.iter().map(|entry| entry.bytes).sum())
    }

    /// Deletes everything in the cache; gives how many bytes that were.
    ///
    /// # Errors
    /// When the folder cannot be read or a file cannot be deleted.
    pub fn clear(&self) -> io::Result<u64> {
        let mut bytes = 0;
        self.sweep(Duration::ZERO)?;
        for entry in self.entries()? {
            remove(&entry.path)?;
            bytes += entry.bytes;
        }
        Ok(bytes)
    }

    pub(super) fn load<C: Code>(&self, engine: &wasmtime::Engine, key: Key) -> Option<C> {
        let path = self.path(key);
        let code = match read_checked(&path) {
            Ok(code) => code?,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a damaged entry of the cache is compiled again");
                return None;
            }
        };
        // SAFETY: deserialising runs what the file says, so the file must be what this program wrote. Its folder belongs
        // to this user, and but for root no other user can write there or to any folder above it (checked when the cache
        // was opened, on the path without symbolic links that is used since); its digest was just checked
        // over the very bytes that are handed on, so it is whole; and its name is a digest of the component, of the
        // engine's settings and of the versions, so it was made for this engine.
        #[allow(unsafe_code)]
        let compiled = unsafe { C::deserialize(engine, &code[HEADER..]) };
        match compiled {
            Ok(compiled) => Some(compiled),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(file = %path.display(), error, "an entry of the cache does not load; compiling again");
                None
            }
        }
    }

    pub(super) fn store(&self, key: Key, code: &[u8]) {
        let path = self.path(key);
        if let Err(error) = self.write(&path, code).and_then(|()| self.trim(&path)) {
            tracing::warn!(file = %path.display(), %error, "compiled code could not be cached");
        }
    }

    fn path(&self, key: Key) -> PathBuf {
        self.folder.join(format!("{}.{EXTENSION}", key.to_hex()))
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(BEGUN).tempfile_in(&self.folder)?;
        file.write_all(MAGIC)?;
        file.write_all(blake3::hash(code).as_bytes())?;
        file.write_all(code)?;
        file.persist(path)?;
        Ok(())
    }

    /// Deletes the entries that were not used for longest until the rest is within bounds; never the one just written.
    fn trim(&self, newest: &Path) -> io::Result<()> {
        let mut entries = self.entries()?;
        entries.sort_by_key(|entry| entry.used);
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        for entry in entries.iter().filter(|entry| entry.path != newest) {
            if total <= self.max_bytes {
                break;
            }
            remove(&entry.path)?;
            total -= entry.bytes;
        }
        self.sweep(ABANDONED)
    }

    /// Deletes files that were begun and never named, because their writer was killed.
    fn sweep(&self, older_than: Duration) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let begun = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(BEGUN));
            let age = fs::metadata(&path).and_then(|data| data.modified()).map(|at| at.elapsed().unwrap_or_default());
            if begun && age.is_ok_and(|age| age >= older_than) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != EXTENSION) {
                continue;
            }
            // Another process may have deleted it by now.
            if let Ok(data) = fs::metadata(&path) {
                entries.push(Entry { used: data.modified()?, bytes: data.len(), path });
            }
        }
        Ok(entries)
    }
}

/// Deletes a file; that another process did so first is as good.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

struct Entry {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// Makes the folder for its owner alone, and refuses one that others can write to or put another in the place of. Gives its
/// path without symbolic links: those could lead elsewhere later.
fn check(folder: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let folder = fs::canonicalize(folder)?;
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    let user = rustix::process::geteuid().as_raw();
    for part in folder.ancestors() {
        let data = fs::metadata(part)?;
        let is_own = part == folder;
        let shown = part.display();
        if data.uid() != user && (is_own || data.uid() != 0) {
            return refuse(format!("{shown} belongs to another user"));
        }
        // In a sticky folder, as /tmp is, only the owner of an entry can move it.
        let is_sticky = data.mode() & 0o1000 != 0 && !is_own;
        if data.mode() & 0o022 != 0 && !is_sticky {
            return refuse(format!("others can write to {shown}; take that from them with `chmod go-w {shown}`"));
        }
    }
    Ok(folder)
}

/// The bytes of an entry, header included; `None` when there is no such file, an error when it is not whole.
fn read_checked(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let opened = File::options().read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    // Its folder may have been open to others before it was closed to them.
    let data = file.metadata()?;
    if !data.is_file() || data.uid() != rustix::process::geteuid().as_raw() || data.mode() & 0o022 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user wrote it, or can"));
    }
    let mut code = Vec::new();
    file.read_to_end(&mut code)?;
    let whole = code.starts_with(MAGIC)
        && code.get(MAGIC.len()..HEADER).is_some_and(|digest| digest == blake3::hash(&code[HEADER..]).as_bytes());
    if !whole {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its digest is wrong"));
    }
    // What is used stays: the oldest go first.
    file.set_modified(SystemTime::now()).ok();
    Ok(Some(code))
}
