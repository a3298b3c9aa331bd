//! The folder of a store, and every access to it.
//!
//! Takes the path that the operator chose; gives file descriptors of what lies in it. Opens every name relative to an
//! open folder, as one component and without following a symbolic link, so that nothing leads out of the folder.
//!
//! The folder holds `objects`, a file for each object; `writing`, a file for each write in progress, locked by its
//! writer; and, while a container is being deleted, `removed-…`.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::shared::Shared;
use crate::backend::{Error, now_ns};

const OBJECTS: &str = "objects";
const WRITING: &str = "writing";
const REMOVED: &str = "removed-";
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How often the removal of a folder is tried while writers still add files to it.
const REMOVALS: usize = 100;

/// The open folder of a store.
pub(super) struct Root {
    folder: OwnedFd,
    writing: OwnedFd,
    pub(super) shared: Arc<Shared>,
    pub(super) sync: bool,
    pub(super) max_bytes: Option<u64>,
}

/// The failure of an operation on a file as the caller sees it.
pub(super) fn failed(doing: &str, errno: Errno) -> Error {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Error::QuotaExceeded(format!("the disk is full: cannot {doing}")),
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => Error::Unavailable(format!("cannot {doing}: {errno}")),
        _ => Error::Other(format!("cannot {doing}: {errno}")),
    }
}

/// A name that no other process and no other open store uses.
fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}{}-{}-{}", process::id(), now_ns(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn make_folder(parent: &OwnedFd, name: &str) -> Result<bool, Error> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(failed("create a folder", errno)),
    }
}

fn open_folder(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, FOLDER, Mode::empty())
}

impl Root {
    /// Opens the folder; creates it, and the container in it, if it does not exist. Deletes what dead processes left.
    pub(super) fn open(path: &Path, sync: bool, max_bytes: Option<u64>) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(|error| Error::Unavailable(format!("cannot create the folder: {error}")))?;
        let unavailable = |errno| Error::Unavailable(format!("cannot open the folder: {errno}"));
        // The operator chose this path: it may well lead through a symbolic link.
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        let folder = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(unavailable)?;
        make_folder(&folder, WRITING)?;
        let writing = open_folder(&folder, WRITING).map_err(unavailable)?;
        let shared = Shared::of(&rustix::fs::fstat(&folder).map_err(unavailable)?);
        let root = Self { folder, writing, shared, sync, max_bytes };
        make_folder(&root.folder, OBJECTS)?;
        root.sync_folder(&root.folder)?;
        root.objects()?;
        root.delete_leftovers()?;
        if max_bytes.is_some() {
            root.shared.scan(|| size_of_objects(&root))?;
        }
        Ok(root)
    }

    /// The folder of the objects, as it is now.
    pub(super) fn objects(&self) -> Result<OwnedFd, Error> {
        open_folder(&self.folder, OBJECTS).map_err(|errno| match errno {
            Errno::NOENT => Error::NoSuchContainer,
            errno => failed("open the folder of the objects", errno),
        })
    }

    /// Whether the container of `objects` has been removed.
    pub(super) fn is_removed(&self, objects: &OwnedFd) -> Result<bool, Error> {
        let opened = rustix::fs::fstat(objects).map_err(|errno| failed("look at the folder", errno))?;
        match rustix::fs::statat(&self.folder, OBJECTS, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) => Ok((now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino)),
            Err(Errno::NOENT) => Ok(true),
            Err(errno) => Err(failed("look at the folder", errno)),
        }
    }

    /// When the container was created, in nanoseconds since the Unix epoch.
    pub(super) fn created_ns(&self) -> Result<u64, Error> {
        let path = self.objects()?;
        let metadata =
            fs::File::from(path).metadata().map_err(|error| Error::Other(format!("cannot stat: {error}")))?;
        // Not every file system knows the time of creation.
        let time = metadata.created().or_else(|_| metadata.modified());
        Ok(time.map_or(0, crate::backend::epoch_ns))
    }

    pub(super) fn create(&self) -> Result<(), Error> {
        if !make_folder(&self.folder, OBJECTS)? {
            return Err(Error::ContainerExists);
        }
        self.sync_folder(&self.folder)
    }

    pub(super) fn remove(&self) -> Result<(), Error> {
        let removed = unique(REMOVED);
        match rustix::fs::renameat(&self.folder, OBJECTS, &self.folder, &removed) {
            Ok(()) => (),
            Err(Errno::NOENT) => return Err(Error::NoSuchContainer),
            Err(errno) => return Err(failed("remove the container", errno)),
        }
        self.sync_folder(&self.folder)?;
        self.delete_removed(&removed)?;
        if self.max_bytes.is_some() {
            self.shared.scan(|| size_of_objects(self))?;
        }
        Ok(())
    }

    /// Whether the folder is still there.
    pub(super) fn check(&self) -> Result<(), String> {
        match rustix::fs::fstat(&self.folder) {
            Ok(stat) if stat.st_nlink > 0 => Ok(()),
            Ok(_) => Err("the folder was deleted".to_owned()),
            Err(errno) => Err(format!("the folder cannot be read: {errno}")),
        }
    }

    /// A new file in `writing` that this process has locked, and its name.
    pub(super) fn new_file(&self) -> Result<(OwnedFd, String), Error> {
        loop {
            let name = unique("w-");
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match rustix::fs::openat(&self.writing, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(failed("create a file", errno)),
            };
            // Another process that opens the folder at this moment may take the file for a dead writer's.
            let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if locked && rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_nlink > 0) {
                return Ok((file, name));
            }
            self.delete_file(&name);
        }
    }

    pub(super) fn delete_file(&self, name: &str) {
        match rustix::fs::unlinkat(&self.writing, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => (),
            Err(errno) => tracing::warn!(%errno, "a temporary file of a blob store cannot be deleted"),
        }
    }

    /// Makes a file of `writing` the object of this file name.
    pub(super) fn publish(&self, written: &str, objects: &OwnedFd, file: &str) -> Result<(), Error> {
        match rustix::fs::renameat(&self.writing, written, objects, file) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) if self.is_removed(objects)? => Err(Error::NoSuchContainer),
            Err(errno) => Err(failed("rename a file", errno)),
        }
    }

    /// Makes the changes of names in a folder durable.
    pub(super) fn sync_folder(&self, folder: &OwnedFd) -> Result<(), Error> {
        if self.sync {
            rustix::fs::fsync(folder).map_err(|errno| failed("sync a folder", errno))?;
        }
        Ok(())
    }

    fn delete_leftovers(&self) -> Result<(), Error> {
        for_each(&self.writing, |name| {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let locked = rustix::fs::openat(&self.writing, name, flags, Mode::empty())
                .and_then(|file| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map(|()| file));
            // The lock goes with its process: who gets it finds a dead writer's file.
            if let Ok(file) = locked {
                self.delete_file(name);
                drop(file);
            }
            Ok(())
        })?;
        let mut removed = Vec::new();
        for_each(&self.folder, |name| {
            removed.extend(name.starts_with(REMOVED).then(|| name.to_owned()));
            Ok(())
        })?;
        removed.iter().try_for_each(|name| self.delete_removed(name))
    }

    fn delete_removed(&self, name: &str) -> Result<(), Error> {
        for _ in 0..REMOVALS {
            let Ok(folder) = open_folder(&self.folder, name) else { return Ok(()) };
            for_each(&folder, |file| {
                let _ = rustix::fs::unlinkat(&folder, file, AtFlags::empty());
                Ok(())
            })?;
            // A writer that began before the removal may still have added a file.
            if rustix::fs::unlinkat(&self.folder, name, AtFlags::REMOVEDIR) != Err(Errno::NOTEMPTY) {
                return Ok(());
            }
        }
        tracing::warn!("a removed blob store holds folders, which stay");
        Ok(())
    }
}

/// Calls `each` with every name in a folder.
pub(super) fn for_each(folder: &OwnedFd, mut each: impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
    let read = |errno| failed("read a folder", errno);
    for entry in Dir::read_from(folder).map_err(read)? {
        let entry = match entry {
            Ok(entry) => entry,
            // The folder was deleted meanwhile.
            Err(Errno::NOENT) => break,
            Err(errno) => return Err(read(errno)),
        };
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => (),
            Ok(name) => each(name)?,
        }
    }
    Ok(())
}

/// The size of an object's file that is there, or `None` for anything but a regular file.
pub(super) fn stat_object(objects: &OwnedFd, file: &str) -> Option<Stat> {
    let stat = rustix::fs::statat(objects, file, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    FileType::from_raw_mode(stat.st_mode).is_file().then_some(stat)
}

/// What all objects count for the limit.
pub(super) fn size_of_objects(root: &Root) -> Result<u64, Error> {
    let objects = match root.objects() {
        Err(Error::NoSuchContainer) => return Ok(0),
        objects => objects?,
    };
    let mut size = 0;
    for_each(&objects, |file| {
        size += stat_object(&objects, file).map_or(0, |stat| cost(&stat));
        Ok(())
    })?;
    Ok(size)
}

/// What a file counts for the limit.
pub(super) fn cost(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0) + super::OBJECT_COST
}
