//! Components' bytes by digest: uploaded by clients, loaded by the host.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use wharf::prepare::source::{LocalSources, SourceError, SourceLoader};
use wharf::workload::manifest::{Digest, Source};

/// How long bytes are kept that no workload uses: a client uploads them before it starts one.
const UNUSED: Duration = Duration::from_hours(1);
/// The prefix of the names of files that are being written.
const TEMPORARY_PREFIX: &str = ".new-";

/// A folder of components by their digests. Clones are the same folder.
///
/// As a [`SourceLoader`] it loads digests from the folder, and leaves files and bytes to [`LocalSources`].
#[derive(Clone, Debug)]
pub struct Blobs(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Removed with the last clone.
    _temporary: Option<TempDir>,
}

impl Blobs {
    /// Blobs in a folder, which is created with access for its owner alone if it does not exist.
    ///
    /// # Errors
    /// An IO error when the folder cannot be created.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let path = folder.into();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(Arc::new(Folder { path, _temporary: None })))
    }

    /// Blobs in a temporary folder.
    ///
    /// # Errors
    /// An IO error when the folder cannot be created.
    pub fn temporary() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("wharf-blobs-").tempdir()?;
        Ok(Self(Arc::new(Folder { path: folder.path().to_owned(), _temporary: Some(folder) })))
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.0.path.join(digest.to_string().replace(':', "-"))
    }

    /// Whether the bytes of a digest are there. They are then kept for an hour, so that a start finds them.
    pub(crate) fn has(&self, digest: Digest) -> bool {
        let file = fs::File::options().append(true).open(self.path(digest));
        file.is_ok_and(|file| file.set_modified(std::time::SystemTime::now()).is_ok())
    }

    /// Keeps bytes, which have this digest.
    pub(crate) fn put(&self, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(&self.0.path)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.path(digest))?;
        sync(&self.0.path)
    }

    fn read(&self, digest: Digest) -> Result<Arc<[u8]>, SourceError> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SourceError::Other {
                message: format!("the host does not have the bytes of `{digest}`"),
                hint: Some("upload them before the workload starts; `wharf start` does".to_owned()),
                source: None,
            },
            _ => SourceError::Read { path: path.clone(), error },
        })?;
        if Digest::of(&bytes) != digest {
            // A client that starts the workload again uploads them again.
            fs::remove_file(&path).ok();
            let (message, hint) =
                (format!("`{}` is damaged", path.display()), Some("start the workload again".to_owned()));
            return Err(SourceError::Other { message, hint, source: None });
        }
        Ok(bytes.into())
    }

    /// Deletes what no workload uses and nobody has asked for in the last hour.
    pub(crate) fn retain(&self, used: &HashSet<Digest>) {
        let used: HashSet<_> = used.iter().map(|digest| self.path(*digest)).collect();
        let Ok(entries) = fs::read_dir(&self.0.path) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !used.contains(path)) {
            let modified = fs::metadata(&path).and_then(|data| data.modified()).ok();
            if modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > UNUSED) {
                fs::remove_file(path).ok();
            }
        }
    }
}

#[async_trait]
impl SourceLoader for Blobs {
    async fn load(&self, source: &Source) -> Result<Arc<[u8]>, SourceError> {
        let Source::Digest(digest) = source else { return LocalSources.load(source).await };
        let (blobs, digest) = (self.clone(), *digest);
        let read = tokio::task::spawn_blocking(move || blobs.read(digest)).await;
        read.unwrap_or_else(|error| Err(SourceError::Other { message: error.to_string(), hint: None, source: None }))
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}
