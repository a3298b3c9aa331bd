//! A blob store in a folder.
//!
//! Takes a folder that is the store's own; keeps each object as a file in it. Never opens anything outside the folder,
//! whatever an object's name is and whatever links lie in it; never shows a half-written object, after a crash either.
//! Several stores, of one process or of many, may share a folder.

mod file_name;
mod list;
mod read;
mod root;
mod shared;
mod write;

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use tokio::task::JoinError;

use self::file_name::FileName;
use self::read::Opened;
use self::root::{Root, failed, for_each};
use self::shared::Space;
use self::write::Writer;
use super::{Body, Container, Error, HEALTH_TIMEOUT, ObjectInfo, check_name, check_range};

/// What an object counts for the limit besides its bytes, so that empty objects are bounded too.
const OBJECT_COST: u64 = 128;
/// How many bytes a copy moves at a time.
const COPY_BATCH: u64 = 16 * 1024 * 1024;

/// The settings of a store in a folder.
#[derive(Clone, Debug)]
pub struct FolderConfig {
    /// The folder. It is created if it does not exist.
    pub path: PathBuf,
    /// Whether a write waits until the object would survive a power failure. Without it, an object survives the end of
    /// this process, not of the machine.
    pub sync: bool,
    /// The most that the objects may occupy, in bytes.
    pub max_bytes: Option<u64>,
}

impl FolderConfig {
    /// Durable and without a limit.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), sync: true, max_bytes: None }
    }
}

/// A container in a folder.
pub struct Folder {
    root: RwLock<Option<Arc<Root>>>,
}

/// Runs file operations on tokio's thread pool.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    joined(tokio::task::spawn_blocking(work).await)
}

fn joined<T>(result: Result<Result<T, Error>, JoinError>) -> Result<T, Error> {
    // The runtime shuts down, or the task panicked: the panic was reported where it happened.
    result.unwrap_or_else(|error| Err(Error::Other(format!("a file operation was cut off: {error}"))))
}

impl Folder {
    /// Opens a folder; creates it, and the container in it, if it does not exist.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the folder cannot be created or opened.
    pub async fn open(config: FolderConfig) -> Result<Self, Error> {
        let FolderConfig { path, sync, max_bytes } = config;
        let root = blocking(move || Root::open(&path, sync, max_bytes)).await?;
        Ok(Self { root: RwLock::new(Some(Arc::new(root))) })
    }

    fn root(&self) -> Result<Arc<Root>, Error> {
        let root = self.root.read().unwrap_or_else(PoisonError::into_inner);
        root.clone().ok_or_else(|| Error::Unavailable("the store is closed".to_owned()))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Root>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let root = self.root()?;
        blocking(move || work(root)).await
    }
}

fn delete(root: &Root, files: impl Iterator<Item = String>) -> Result<(), Error> {
    let objects = root.objects()?;
    for file in files {
        let unlink = || match rustix::fs::unlinkat(&objects, &file, AtFlags::empty()) {
            // A folder of this name, made outside of the host, is not an object.
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
            Err(errno) => Err(failed("delete a file", errno)),
        };
        Space::change(root, &objects, &file, unlink)?;
    }
    if root.is_removed(&objects)? {
        return Err(Error::NoSuchContainer);
    }
    root.shared.sync_renames(root, &objects)
}

fn clear(root: &Root) -> Result<(), Error> {
    let objects = root.objects()?;
    for_each(&objects, |file| {
        let unlink = || {
            let _ = rustix::fs::unlinkat(&objects, file, AtFlags::empty());
            Ok(())
        };
        Space::change(root, &objects, file, unlink)
    })?;
    delete(root, std::iter::empty())
}

/// One step of a copy inside the kernel, which shares the blocks where the file system can. Returns whether it is done,
/// or `None` if the kernel cannot copy here.
fn copy_step(from: &Opened, writer: &mut Writer, done: &mut u64) -> Result<Option<bool>, Error> {
    let length = COPY_BATCH.min(from.info.size - *done);
    if length == 0 {
        return Ok(Some(true));
    }
    let (mut read, mut write) = (from.body + *done, writer.body() + *done);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match rustix::fs::copy_file_range(&from.file, Some(&mut read), writer.file(), Some(&mut write), length) {
        Ok(0) => Err(Error::Other("the object's file was cut short".to_owned())),
        Ok(copied) => {
            writer.grow(copied as u64)?;
            *done += copied as u64;
            Ok(Some(false))
        }
        Err(Errno::INTR) => Ok(Some(false)),
        Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) if *done == 0 => Ok(None),
        Err(errno) => Err(failed("copy a file", errno)),
    }
}

#[async_trait]
impl Container for Folder {
    async fn info(&self) -> Result<u64, Error> {
        self.run(|root| root.created_ns()).await
    }

    async fn create(&self) -> Result<(), Error> {
        self.run(|root| root.create()).await
    }

    async fn remove(&self) -> Result<(), Error> {
        self.run(|root| root.remove()).await
    }

    async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<(ObjectInfo, Body), Error> {
        check_name(name)?;
        check_range(range.as_ref())?;
        read::get(self.root()?, name, range).await
    }

    async fn put(&self, name: &str, body: Body) -> Result<(), Error> {
        check_name(name)?;
        write::put(self.root()?, name, body).await
    }

    async fn list(&self) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
        list::list(self.root()?).await
    }

    async fn delete(&self, names: &[String]) -> Result<(), Error> {
        names.iter().try_for_each(|name| check_name(name))?;
        let names = names.to_vec();
        self.run(move |root| delete(&root, names.into_iter().map(|name| FileName::of(&name).file))).await
    }

    async fn object_info(&self, name: &str) -> Result<ObjectInfo, Error> {
        check_name(name)?;
        let name = name.to_owned();
        self.run(move |root| Ok(Opened::open(&root.objects()?, &name)?.info)).await
    }

    async fn clear(&self) -> Result<(), Error> {
        self.run(|root| clear(&root)).await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        check_name(from)?;
        check_name(to)?;
        let (source, target) = (from.to_owned(), to.to_owned());
        let begun = self.run(move |root| {
            let opened = Opened::open(&root.objects()?, &source)?;
            Ok((opened, Writer::begin(root, &target)?))
        });
        let mut copy = begun.await?;
        let mut done = 0;
        // A step at a time, so that a caller who goes away stops the copy.
        loop {
            let step = blocking(move || {
                let (from, mut writer) = copy;
                let step = copy_step(&from, &mut writer, &mut done)?;
                Ok((step, (from, writer), done))
            });
            let step = step.await?;
            (copy, done) = (step.1, step.2);
            match step.0 {
                Some(true) => return blocking(move || copy.1.commit()).await,
                Some(false) => (),
                None => break,
            }
        }
        blocking(move || {
            drop(copy);
            Ok(())
        })
        .await?;
        let (_, body) = self.get(from, None).await?;
        self.put(to, body).await
    }

    async fn health(&self) -> Result<(), String> {
        let text = |error: &dyn Display| error.to_string();
        let root = self.root().map_err(|error| text(&error))?;
        let check = tokio::task::spawn_blocking(move || root.check());
        match tokio::time::timeout(HEALTH_TIMEOUT, check).await {
            Ok(result) => result.unwrap_or_else(|error| Err(text(&error))),
            Err(_) => Err("the file system does not answer".to_owned()),
        }
    }

    async fn close(&self) {
        self.root.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[cfg(test)]
mod tests;
