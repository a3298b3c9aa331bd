//! What the tests have in common: volumes, files, whole buffers.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use wasip1::*;

use crate::Why;

pub const READ: Rights = RIGHTS_FD_READ | RIGHTS_FD_SEEK | RIGHTS_FD_TELL | RIGHTS_FD_FILESTAT_GET | RIGHTS_FD_READDIR;
pub const WRITE: Rights = RIGHTS_FD_WRITE
    | RIGHTS_FD_SEEK
    | RIGHTS_FD_TELL
    | RIGHTS_FD_FILESTAT_SET_SIZE
    | RIGHTS_FD_FILESTAT_SET_TIMES
    | RIGHTS_FD_FDSTAT_SET_FLAGS
    | RIGHTS_FD_ALLOCATE;
/// A descriptor that was never opened.
pub const NONE: Fd = 1000;

/// The names of the volumes and their descriptors.
pub unsafe fn volumes() -> Result<Vec<(Fd, String)>, Why> {
    let mut volumes = Vec::new();
    for fd in 3.. {
        let length = match fd_prestat_get(fd) {
            Ok(stat) => stat.u.dir.pr_name_len,
            Err(ERRNO_BADF) => return Ok(volumes),
            Err(errno) => return Err(errno.into()),
        };
        let mut name = vec![0; length];
        fd_prestat_dir_name(fd, name.as_mut_ptr(), length)?;
        volumes.push((fd, String::from_utf8_lossy(&name).into_owned()));
    }
    Ok(volumes)
}

#[inline(never)]
pub unsafe fn volume(name: &str) -> Result<Fd, Why> {
    let found = volumes()?.into_iter().find(|(_, its)| its == name);
    found.map(|(fd, _)| fd).ok_or_else(|| Why(alloc::format!("no volume {name}")))
}

/// The volume that tests write to.
pub unsafe fn data() -> Result<Fd, Why> {
    volume("/data")
}

/// The volume that may only be read.
pub unsafe fn readonly() -> Result<Fd, Why> {
    volume("/ro")
}

#[inline(never)]
pub unsafe fn open(dir: Fd, path: &str, how: Oflags, rights: Rights) -> Result<Fd, Errno> {
    path_open(dir, LOOKUPFLAGS_SYMLINK_FOLLOW, path, how, rights, rights, 0)
}

/// A new file with these contents, to read and write from its start.
#[inline(never)]
pub unsafe fn make(dir: Fd, path: &str, contents: &[u8]) -> Result<Fd, Why> {
    let file = open(dir, path, OFLAGS_CREAT | OFLAGS_TRUNC, READ | WRITE)?;
    same!(write(file, contents)?, contents.len());
    fd_seek(file, 0, WHENCE_SET)?;
    Ok(file)
}

/// A new and empty folder.
#[inline(never)]
pub unsafe fn folder(path: &str) -> Result<Fd, Why> {
    let data = data()?;
    path_create_directory(data, path)?;
    Ok(open(data, path, OFLAGS_DIRECTORY, READ)?)
}

#[inline(never)]
pub unsafe fn write(fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
    fd_write(fd, &[Ciovec { buf: bytes.as_ptr(), buf_len: bytes.len() }])
}

#[inline(never)]
pub unsafe fn read(fd: Fd, length: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; length];
    let length = fd_read(fd, &[Iovec { buf: bytes.as_mut_ptr(), buf_len: length }])?;
    bytes.truncate(length);
    Ok(bytes)
}

#[inline(never)]
pub unsafe fn pread(fd: Fd, length: usize, offset: Filesize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; length];
    let length = fd_pread(fd, &[Iovec { buf: bytes.as_mut_ptr(), buf_len: length }], offset)?;
    bytes.truncate(length);
    Ok(bytes)
}

#[inline(never)]
pub unsafe fn pwrite(fd: Fd, bytes: &[u8], offset: Filesize) -> Result<usize, Errno> {
    fd_pwrite(fd, &[Ciovec { buf: bytes.as_ptr(), buf_len: bytes.len() }], offset)
}
