//! The volumes of the tests: `/data`, empty at first, and `/ro` with `hello.txt`.

use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

use crate::conform::{Good, stream_of};

pub const READ: DescriptorFlags = DescriptorFlags::READ;
pub const WRITE: DescriptorFlags = DescriptorFlags::WRITE;
pub const BOTH: DescriptorFlags = READ.union(WRITE);
pub const CHANGE: DescriptorFlags = READ.union(DescriptorFlags::MUTATE_DIRECTORY);
pub const AS_IS: PathFlags = PathFlags::empty();
pub const FOLLOW: PathFlags = PathFlags::SYMLINK_FOLLOW;
pub const OLD: OpenFlags = OpenFlags::empty();

pub fn volume(path: &str) -> Result<Descriptor, String> {
    let found = get_directories().into_iter().find(|(_, at)| at == path);
    found.map(|(volume, _)| volume).ok_or_else(|| format!("there is no volume at {path}"))
}

/// A fresh directory in `/data`: tests do not see each other's files, nor those of an earlier run.
pub async fn scratch() -> Result<Descriptor, String> {
    let data = volume("/data")?;
    let name = format!("{:016x}", wasip3::random::random::get_random_u64());
    data.create_directory_at(name.clone()).await.good()?;
    data.open_at(AS_IS, name, OpenFlags::DIRECTORY, CHANGE).await.good()
}

pub async fn open(
    directory: &Descriptor,
    path: &str,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, ErrorCode> {
    directory.open_at(AS_IS, path.to_owned(), how, flags).await
}

/// Makes a file with this text and opens it for reading and writing.
pub async fn file(directory: &Descriptor, path: &str, text: &str) -> Result<Descriptor, String> {
    let file = open(directory, path, OpenFlags::CREATE | OpenFlags::TRUNCATE, BOTH).await.good()?;
    put(&file, text, 0).await.good()?;
    Ok(file)
}

pub async fn put(file: &Descriptor, text: &str, offset: u64) -> Result<(), ErrorCode> {
    file.write_via_stream(stream_of(text.as_bytes().to_vec()), offset).await
}

/// What a file has from an offset to its end.
pub async fn text(file: &Descriptor, offset: u64) -> Result<String, ErrorCode> {
    let (contents, done) = file.read_via_stream(offset);
    let bytes = contents.collect().await;
    done.await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
