//! Reads of objects from files.
//!
//! Takes the name of an object; gives its bytes as they were when the read began, because a write replaces the file and
//! never changes it. Holds at most two batches: one that the caller takes while the next is read. Occupies a thread
//! only while it reads.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tokio::task::JoinHandle;

use super::file_name::{FileName, header};
use super::root::{Root, failed};
use super::{blocking, joined};
use crate::backend::{Body, Error, ObjectInfo, clamp, cut};

/// How many bytes are read at a time. Each batch changes threads: batches of 64 KiB take about twice as long.
const BATCH: u64 = 1024 * 1024;
/// How many bytes are read at first. Most objects are smaller, and some readers want no more.
const FIRST_BATCH: u64 = 256 * 1024;

/// An object's open file.
pub(super) struct Opened {
    pub(super) file: OwnedFd,
    /// Where the object's bytes begin in the file.
    pub(super) body: u64,
    pub(super) info: ObjectInfo,
}

impl Opened {
    pub(super) fn open(objects: &OwnedFd, name: &str) -> Result<Self, Error> {
        let named = FileName::of(name);
        let (file, stat) = open_file(objects, &named.file)?.ok_or(Error::NoSuchObject)?;
        if !named.header.is_empty() {
            let begin = read(&file, 0, named.header.len() as u64)?;
            if begin != header(name) {
                return Err(Error::Other("the object's file is damaged".to_owned()));
            }
        }
        let body = named.header.len() as u64;
        let size = u64::try_from(stat.st_size).unwrap_or(0).saturating_sub(body);
        Ok(Self { file, body, info: ObjectInfo { created_ns: written_ns(&stat), size } })
    }
}

/// Opens a regular file. Anything else is not an object: a symbolic link leads nowhere, and a pipe does not block.
pub(super) fn open_file(objects: &OwnedFd, file: &str) -> Result<Option<(OwnedFd, Stat)>, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(objects, file, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(failed("open a file", errno)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| failed("open a file", errno))?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_file().then_some((file, stat)))
}

fn written_ns(stat: &Stat) -> u64 {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_fallible_conversions,
        reason = "it depends on the platform"
    )]
    let (seconds, nanoseconds) = (u64::try_from(stat.st_mtime), u64::try_from(stat.st_mtime_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or(0))
}

/// Reads up to `length` bytes: fewer only at the end of the file.
pub(super) fn read(file: &OwnedFd, mut offset: u64, length: u64) -> Result<Bytes, Error> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        // The capacity may be larger than asked for; the excess is cut off below.
        let got = rustix::io::retry_on_intr(|| rustix::io::pread(file, spare_capacity(&mut bytes), offset))
            .map_err(|errno| failed("read a file", errno))?;
        if got == 0 {
            break;
        }
        offset += got as u64;
    }
    bytes.truncate(length);
    Ok(bytes.into())
}

/// The state of a body: what is left to read, and the batch that is being read.
struct Reader {
    file: Arc<OwnedFd>,
    left: Range<u64>,
    ready: Option<Bytes>,
    next: Option<JoinHandle<Result<Bytes, Error>>>,
}

impl Reader {
    /// Starts to read the next batch.
    fn read_ahead(&mut self) {
        let (file, start) = (self.file.clone(), self.left.start);
        let length = BATCH.min(self.left.end - start);
        if length > 0 {
            self.left.start += length;
            self.next = Some(tokio::task::spawn_blocking(move || {
                let bytes = read(&file, start, length)?;
                let is_whole = bytes.len() as u64 == length;
                is_whole.then_some(bytes).ok_or_else(|| Error::Other("the object's file was cut short".to_owned()))
            }));
        }
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        let batch = match (self.ready.take(), self.next.take()) {
            (Some(batch), _) => batch,
            (None, Some(task)) => joined(task.await)?,
            (None, None) => return Ok(None),
        };
        self.read_ahead();
        Ok(Some((batch, self)))
    }
}

/// Reads an object. A small one takes one visit to the thread pool.
pub(super) async fn get(root: Arc<Root>, name: &str, range: Option<Range<u64>>) -> Result<(ObjectInfo, Body), Error> {
    let name = name.to_owned();
    let (opened, left, first) = blocking(move || {
        let opened = Opened::open(&root.objects()?, &name)?;
        let range = clamp(range, opened.info.size);
        let mut left = range.start + opened.body..range.end + opened.body;
        let first = read(&opened.file, left.start, FIRST_BATCH.min(left.end - left.start))?;
        left.start += first.len() as u64;
        Ok((opened, left, first))
    })
    .await?;
    let ready = (!first.is_empty()).then_some(first);
    let reader = Reader { file: Arc::new(opened.file), left, ready, next: None };
    Ok((opened.info, cut(stream::try_unfold(reader, Reader::next))))
}
