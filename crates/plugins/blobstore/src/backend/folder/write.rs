//! Writes of objects to files.
//!
//! Takes a body; gives an object that is durable. Holds at most two batches of a body: one that arrives while the other
//! is written. Occupies a thread only while there is something to write.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_util::TryStreamExt as _;
use futures_util::future::{Either, select};

use super::blocking;
use super::file_name::FileName;
use super::root::{Root, failed};
use super::shared::Space;
use crate::backend::{Body, Error};

/// How many bytes are written at a time. Each batch changes threads, and two are in memory.
const BATCH: usize = 512 * 1024;
/// The most pieces of a batch: the limit of one system call, so that tiny pieces cannot make a batch large.
const PIECES: usize = 1024;

/// A file that is being written. Dropping it deletes the file, unless it became an object.
pub(super) struct Writer {
    root: Arc<Root>,
    objects: OwnedFd,
    file: OwnedFd,
    /// The file's name in `writing`; `None` once the file is an object.
    written: Option<String>,
    name: FileName,
    space: Space,
}

impl Writer {
    pub(super) fn begin(root: Arc<Root>, name: &str) -> Result<Self, Error> {
        let objects = root.objects()?;
        let (file, written) = root.new_file()?;
        let (name, space) = (FileName::of(name), Space::new(root.clone()));
        let mut writer = Self { root, objects, file, written: Some(written), name, space };
        writer.space.grow(super::OBJECT_COST)?;
        let header = Bytes::from(writer.name.header.clone());
        writer.write(vec![header])?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, mut batch: Vec<Bytes>) -> Result<(), Error> {
        self.space.grow(batch.iter().map(|bytes| bytes.len() as u64).sum())?;
        let mut first = 0;
        loop {
            first += batch[first..].iter().take_while(|bytes| bytes.is_empty()).count();
            let rest = &mut batch[first..];
            if rest.is_empty() {
                return Ok(());
            }
            let slices: Vec<_> = rest.iter().take(PIECES).map(|bytes| IoSlice::new(bytes)).collect();
            let mut written = rustix::io::retry_on_intr(|| rustix::io::writev(&self.file, &slices))
                .map_err(|errno| failed("write a file", errno))?;
            if written == 0 {
                return Err(Error::QuotaExceeded("the disk is full: cannot write a file".to_owned()));
            }
            for bytes in rest {
                let part = written.min(bytes.len());
                bytes.advance(part);
                written -= part;
            }
        }
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Where the object's bytes begin in the file.
    pub(super) fn body(&self) -> u64 {
        self.name.header.len() as u64
    }

    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        self.space.grow(bytes)
    }

    /// Makes the file the object, durably.
    pub(super) fn commit(mut self) -> Result<(), Error> {
        if self.root.sync {
            rustix::fs::fsync(&self.file).map_err(|errno| failed("sync a file", errno))?;
        }
        let Some(written) = self.written.take() else { return Ok(()) };
        let publish = || self.root.publish(&written, &self.objects, &self.name.file);
        let published = Space::change(&self.root, &self.objects, &self.name.file, publish);
        if published.is_err() {
            self.written = Some(written);
        }
        published?;
        if self.root.is_removed(&self.objects)? {
            return Err(Error::NoSuchContainer);
        }
        self.root.shared.sync_renames(&self.root, &self.objects)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(written) = &self.written {
            self.root.delete_file(written);
        }
    }
}

/// The next batch of a body, and whether the body has ended.
async fn gather(body: &mut Body) -> Result<(Vec<Bytes>, bool), Error> {
    let (mut batch, mut size) = (Vec::new(), 0);
    while size < BATCH && batch.len() < PIECES {
        match body.try_next().await? {
            Some(bytes) => {
                size += bytes.len();
                batch.push(bytes);
            }
            None => return Ok((batch, true)),
        }
    }
    Ok((batch, false))
}

/// Writes an object. A small one takes one visit to the thread pool.
pub(super) async fn put(root: Arc<Root>, name: &str, mut body: Body) -> Result<(), Error> {
    let name: Arc<str> = name.into();
    let (mut batch, mut ended) = gather(&mut body).await?;
    let mut writer: Option<Writer> = None;
    loop {
        let (root, name) = (root.clone(), name.clone());
        // When this future is dropped, the task ends by itself and drops the writer.
        let task = blocking(move || {
            let mut writer = match writer {
                Some(writer) => writer,
                None => Writer::begin(root, &name)?,
            };
            writer.write(batch)?;
            if ended { writer.commit().map(|()| None) } else { Ok(Some(writer)) }
        });
        if ended {
            return task.await.map(drop);
        }
        let (written, next) = match select(Box::pin(task), Box::pin(gather(&mut body))).await {
            // A failed write ends at once, however long the body would take.
            Either::Left((written, next)) => (written?, next.await),
            Either::Right((next, task)) => (task.await?, next),
        };
        let Some(written) = written else { return Ok(()) };
        match next {
            Ok(next) => (batch, ended) = next,
            Err(error) => {
                // The file is gone before the caller sees the error.
                blocking(move || {
                    drop(written);
                    Ok(())
                })
                .await?;
                return Err(error);
            }
        }
        writer = Some(written);
    }
}
