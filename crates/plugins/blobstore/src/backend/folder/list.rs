//! Listings of a folder.
//!
//! Takes the folder as it is; gives the names of its objects, a batch at a time and on demand. Never names a file that
//! is not an object.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use super::blocking;
use super::file_name::{Listed, listed, read_header};
use super::read::{open_file, read};
use super::root::{Root, failed, stat_object};
use crate::backend::{Error, MAX_NAME};

/// How many names are read at a time.
const BATCH: usize = 256;

struct Listing {
    root: Arc<Root>,
    objects: OwnedFd,
    folder: Dir,
}

impl Listing {
    fn open(root: Arc<Root>) -> Result<Self, Error> {
        let objects = root.objects()?;
        let folder = Dir::read_from(&objects).map_err(|errno| failed("read a folder", errno))?;
        Ok(Self { root, objects, folder })
    }

    /// The next names; none at the end.
    fn batch(&mut self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        while names.len() < BATCH {
            match self.folder.read() {
                Some(Ok(entry)) => {
                    let file = entry.file_name().to_str().ok();
                    names.extend(file.and_then(|file| self.name(file, entry.file_type()).transpose()).transpose()?);
                }
                None | Some(Err(Errno::NOENT)) => {
                    if self.root.is_removed(&self.objects)? {
                        return Err(Error::NoSuchContainer);
                    }
                    break;
                }
                Some(Err(errno)) => return Err(failed("read a folder", errno)),
            }
        }
        Ok(names)
    }

    /// The name of the object in a file.
    fn name(&self, file: &str, kind: FileType) -> Result<Option<String>, Error> {
        let is_file = match kind {
            FileType::RegularFile => true,
            FileType::Unknown => stat_object(&self.objects, file).is_some(),
            _ => false,
        };
        match listed(file) {
            Listed::Name(name) if is_file => Ok(Some(name)),
            Listed::InHeader if is_file => {
                // It may have been deleted meanwhile.
                let Some((opened, _)) = open_file(&self.objects, file)? else { return Ok(None) };
                Ok(read_header(file, &read(&opened, 0, 2 + MAX_NAME as u64)?))
            }
            _ => Ok(None),
        }
    }
}

/// Lists the objects.
pub(super) async fn list(root: Arc<Root>) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
    let listing = blocking(move || Listing::open(root)).await?;
    let batches = stream::try_unfold(listing, |mut listing| async move {
        let (names, listing) = blocking(move || listing.batch().map(|names| (names, listing))).await?;
        Ok((!names.is_empty()).then_some((names, listing)))
    });
    Ok(batches.map_ok(|names| stream::iter(names).map(Ok)).try_flatten().boxed())
}
