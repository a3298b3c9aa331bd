//! Compiled code on disk: a directory that only its owner can write to, files that are replaced atomically, and a digest
//! that is checked before code is loaded.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::compile::{Code, Key};

/// The start of a cached file: the format and its version. The digest of the code follows, then the code.
const MAGIC: &[u8; 8] = b"WHARFC01";
const HEADER: usize = MAGIC.len() + blake3::OUT_LEN;
const EXTENSION: &str = "cwasm";
/// The prefix of the names of files that are being written.
const TEMPORARY_PREFIX: &str = ".new-";
/// The age at which a temporary file belongs to a writer that has died.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);

/// A directory of compiled code with a maximum size. A cache that fails costs time, never correctness: the failure is logged
/// and the component is compiled.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    max_bytes: u64,
}

impl Cache {
    /// Opens the cache in `folder`, which is created if it does not exist. `max_bytes` is the size above which the least
    /// recently used code is evicted.
    ///
    /// Returns `None`, and logs a warning, when the directory cannot be created, or when another user can write to it or
    /// replace it: the host would run the code that they put there.
    pub fn open(folder: impl Into<PathBuf>, max_bytes: u64) -> Option<Self> {
        let folder = folder.into();
        match prepare(&folder) {
            Ok(folder) => Some(Self { folder, max_bytes }),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "cannot use the cache; compiling every component");
                None
            }
        }
    }

    /// Returns the directory, without symbolic links in its path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the size of all cached code, in bytes.
    ///
    /// # Errors
    /// An IO error when the directory cannot be read.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.entries()?.iter().map(|entry| entry.bytes).sum())
    }

    /// Deletes all cached code. Returns its size in bytes.
    ///
    /// # Errors
    /// An IO error when the directory cannot be read or a file cannot be deleted.
    pub fn clear(&self) -> io::Result<u64> {
        let mut bytes = 0;
        self.delete_temporary(Duration::ZERO)?;
        for entry in self.entries()? {
            remove(&entry.path)?;
            bytes += entry.bytes;
        }
        Ok(bytes)
    }

    /// Loads the code for a key, unless the cache has none or its file is damaged.
    pub(super) fn load<C: Code>(&self, engine: &wasmtime::Engine, key: Key) -> Option<C> {
        let path = self.path(key);
        let code = match read_verified(&path) {
            Ok(code) => code?,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a cached file is not valid; compiling again");
                return None;
            }
        };
        // SAFETY: the engine runs what it deserializes, so the bytes must be the output of `serialize` for this engine.
        // This user wrote them: the directory belongs to this user, and no other user except root can write to it or to a
        // directory above it, which was checked when the cache was opened, on the same path without symbolic links. They
        // are complete: the digest was computed over these very bytes. They are for this engine: the file's name is a
        // digest of the component, the engine's settings and the versions.
        #[allow(unsafe_code)]
        let compiled = unsafe { C::deserialize(engine, &code[HEADER..]) };
        match compiled {
            Ok(compiled) => Some(compiled),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(file = %path.display(), error, "cannot load cached code; compiling again");
                None
            }
        }
    }

    /// Stores the code for a key, and evicts other code when the cache is too large. A failure is logged.
    pub(super) fn store(&self, key: Key, code: &[u8]) {
        let path = self.path(key);
        if let Err(error) = self.write(&path, code).and_then(|()| self.evict(&path)) {
            tracing::warn!(file = %path.display(), %error, "cannot cache compiled code");
        }
    }

    fn path(&self, key: Key) -> PathBuf {
        self.folder.join(format!("{}.{EXTENSION}", key.to_hex()))
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(&self.folder)?;
        file.write_all(MAGIC)?;
        file.write_all(blake3::hash(code).as_bytes())?;
        file.write_all(code)?;
        file.persist(path)?;
        Ok(())
    }

    /// Deletes the least recently used entries until the rest fits, except the one that was just written.
    fn evict(&self, newest: &Path) -> io::Result<()> {
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
        self.delete_temporary(ABANDONED_AFTER)
    }

    /// Deletes temporary files of this age, whose writers were killed.
    fn delete_temporary(&self, older_than: Duration) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let is_temporary =
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY_PREFIX));
            let age = fs::metadata(&path).and_then(|data| data.modified()).map(|at| at.elapsed().unwrap_or_default());
            if is_temporary && age.is_ok_and(|age| age >= older_than) {
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
            // Another process may have deleted the file since the directory was read.
            if let Ok(data) = fs::metadata(&path) {
                entries.push(Entry { used: data.modified()?, bytes: data.len(), path });
            }
        }
        Ok(entries)
    }
}

/// Deletes a file. It is not an error when another process has already deleted it.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A cached file.
struct Entry {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// Creates the directory with access for its owner alone, and rejects one that other users can write to or replace. Returns
/// its path without symbolic links, because a link can be changed after the check.
fn prepare(folder: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let folder = fs::canonicalize(folder)?;
    let reject = |reason: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    let user = rustix::process::geteuid().as_raw();
    for part in folder.ancestors() {
        let data = fs::metadata(part)?;
        let is_cache = part == folder;
        let shown = part.display();
        if data.uid() != user && (is_cache || data.uid() != 0) {
            return reject(format!("`{shown}` belongs to another user; choose a directory of your own"));
        }
        // In a sticky directory, such as the system's temporary one, only the owner of an entry can replace it.
        let is_sticky = data.mode() & 0o1000 != 0 && !is_cache;
        if data.mode() & 0o022 != 0 && !is_sticky {
            return reject(format!("other users can write to `{shown}`; run `chmod go-w {shown}`"));
        }
    }
    Ok(folder)
}

/// Reads an entry with its header. Returns `None` when there is no such file.
///
/// # Errors
/// An IO error when the file cannot be read, when another user may have written it, or when its digest does not match.
fn read_verified(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let opened = File::options().read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    // Other users may have written the file before they lost access to the directory.
    let data = file.metadata()?;
    if !data.is_file() || data.uid() != rustix::process::geteuid().as_raw() || data.mode() & 0o022 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user can write to the file"));
    }
    let mut code = Vec::new();
    file.read_to_end(&mut code)?;
    let valid = code.starts_with(MAGIC)
        && code.get(MAGIC.len()..HEADER).is_some_and(|digest| digest == blake3::hash(&code[HEADER..]).as_bytes());
    if !valid {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "digest mismatch"));
    }
    // Eviction goes by this time.
    file.set_modified(SystemTime::now()).ok();
    Ok(Some(code))
}
