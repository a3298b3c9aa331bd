//! Tests of names: the functions that begin with `path_`.

use alloc::string::String;
use alloc::vec;

use wasip1::*;

use crate::files::{NONE, READ, WRITE, data, folder, make, open, pread, read, readonly};
use crate::process::wait_to_read;
use crate::{Check, Test, test};

const FOLLOW: Lookupflags = LOOKUPFLAGS_SYMLINK_FOLLOW;

pub const TESTS: &[Test] = &[
    test("folders", "path_create_directory path_remove_directory path_filestat_get", folders),
    test("open", "path_open fd_close", open_files),
    test("open-with-flags", "path_open fd_fdstat_get fd_read poll_oneoff", open_with_flags),
    test("outside", "path_open path_filestat_get path_create_directory path_symlink path_rename path_link", outside),
    test("path-attributes", "path_filestat_get path_symlink", path_attributes),
    test("path-set-times", "path_filestat_set_times path_filestat_get path_symlink", path_set_times),
    test("hard-link", "path_link path_filestat_get path_unlink_file", hard_link),
    test("rename", "path_rename path_filestat_get path_create_directory", rename),
    test("symbolic-link", "path_symlink path_readlink path_open path_unlink_file", symbolic_link),
    test("unlink", "path_unlink_file path_create_directory path_open", unlink),
    test(
        "read-only-volume",
        "path_open path_create_directory path_remove_directory path_unlink_file path_rename path_link path_symlink \
         path_filestat_set_times path_filestat_get",
        read_only_volume,
    ),
    test("path-without-descriptor", "path_open path_filestat_get path_readlink path_unlink_file", without_descriptor),
];

unsafe fn folders() -> Check {
    let data = data()?;
    path_create_directory(data, "folders")?;
    same!(path_filestat_get(data, 0, "folders")?.filetype == FILETYPE_DIRECTORY, true);
    refused!(path_create_directory(data, "folders"), ERRNO_EXIST);
    refused!(path_create_directory(data, "folders/no/one"), ERRNO_NOENT);
    path_create_directory(data, "folders/inner")?;
    refused!(path_remove_directory(data, "folders"), ERRNO_NOTEMPTY);
    refused!(path_remove_directory(data, "folders/none"), ERRNO_NOENT);
    fd_close(make(data, "folders/file", b"")?)?;
    refused!(path_remove_directory(data, "folders/file"), ERRNO_NOTDIR);
    refused!(path_create_directory(data, "folders/file/inner"), ERRNO_NOTDIR);
    path_remove_directory(data, "folders/inner")?;
    path_unlink_file(data, "folders/file")?;
    path_remove_directory(data, "folders")?;
    refused!(path_filestat_get(data, 0, "folders"), ERRNO_NOENT);
    Ok(())
}

unsafe fn open_files() -> Check {
    let dir = folder("open")?;
    refused!(open(dir, "file", 0, READ), ERRNO_NOENT);
    fd_close(open(dir, "file", OFLAGS_CREAT | OFLAGS_EXCL, READ | WRITE)?)?;
    refused!(open(dir, "file", OFLAGS_CREAT | OFLAGS_EXCL, READ | WRITE), ERRNO_EXIST);
    let file = make(dir, "file", b"12345")?;
    fd_close(open(dir, "file", OFLAGS_CREAT, READ | WRITE)?)?;
    same!(pread(file, 9, 0)?, b"12345");
    fd_close(open(dir, "file", OFLAGS_TRUNC, READ | WRITE)?)?;
    same!(pread(file, 9, 0)?, b"");
    refused!(open(dir, "file", OFLAGS_DIRECTORY, READ), ERRNO_NOTDIR);
    refused!(open(dir, "file/inner", 0, READ), ERRNO_NOTDIR);
    refused!(open(dir, "none/inner", OFLAGS_CREAT, READ | WRITE), ERRNO_NOENT);
    refused!(open(file, "inner", 0, READ), ERRNO_NOTDIR, ERRNO_BADF);
    refused!(open(dir, "", 0, READ), ERRNO_NOENT, ERRNO_INVAL);
    refused!(open(dir, "nul\0nul", OFLAGS_CREAT, READ | WRITE), ERRNO_INVAL, ERRNO_ILSEQ);
    refused!(open(dir, &"n".repeat(300), 0, READ), ERRNO_NAMETOOLONG);
    fd_close(open(dir, ".", OFLAGS_DIRECTORY, READ)?)?;
    fd_close(open(dir, ".//file", 0, READ)?)?;
    fd_close(file)?;
    Ok(fd_close(dir)?)
}

unsafe fn open_with_flags() -> Check {
    let dir = folder("open-with-flags")?;
    fd_close(make(dir, "file", b"12345")?)?;
    let file = path_open(dir, 0, "file", 0, READ | WRITE, 0, FDFLAGS_NONBLOCK)?;
    same!(fd_fdstat_get(file)?.fs_flags & FDFLAGS_NONBLOCK, FDFLAGS_NONBLOCK);
    // Before there is something, it may say that it would block.
    let bytes = match read(file, 5) {
        Err(ERRNO_AGAIN) => {
            wait_to_read(file)?;
            read(file, 5)
        }
        other => other,
    };
    same!(bytes?, b"12345");
    fd_close(file)?;
    // A host may have no such files.
    for flags in [FDFLAGS_SYNC, FDFLAGS_DSYNC] {
        match path_open(dir, 0, "file", 0, READ | WRITE, 0, flags) {
            Ok(file) => fd_close(file)?,
            refusal => refused!(refusal, ERRNO_NOTSUP),
        }
    }
    Ok(fd_close(dir)?)
}

unsafe fn outside() -> Check {
    let dir = folder("outside")?;
    for path in ["..", "../data", "a/../../x", "/etc/passwd", "/"] {
        refused!(open(dir, path, 0, READ), ERRNO_PERM, ERRNO_NOTCAPABLE, ERRNO_NOENT);
        refused!(path_filestat_get(dir, FOLLOW, path), ERRNO_PERM, ERRNO_NOTCAPABLE, ERRNO_NOENT);
    }
    fd_close(make(dir, "file", b"")?)?;
    refused!(path_create_directory(dir, "../outside-new"), ERRNO_PERM, ERRNO_NOTCAPABLE);
    refused!(path_rename(dir, "file", dir, "../outside-new"), ERRNO_PERM, ERRNO_NOTCAPABLE);
    refused!(path_link(dir, 0, "file", dir, "../outside-new"), ERRNO_PERM, ERRNO_NOTCAPABLE);
    refused!(path_symlink("/etc/passwd", dir, "absolute"), ERRNO_PERM, ERRNO_NOTCAPABLE);
    if path_symlink("../outside", dir, "up").is_ok() {
        refused!(open(dir, "up", 0, READ), ERRNO_PERM, ERRNO_NOTCAPABLE);
    }
    refused!(path_filestat_get(data()?, 0, "outside-new"), ERRNO_NOENT);
    Ok(fd_close(dir)?)
}

unsafe fn path_attributes() -> Check {
    let dir = folder("path-attributes")?;
    fd_close(make(dir, "file", b"12345")?)?;
    path_symlink("file", dir, "link")?;
    let its = path_filestat_get(dir, 0, "file")?;
    same!((its.size, its.nlink), (5, 1));
    let followed = path_filestat_get(dir, FOLLOW, "link")?;
    same!((followed.size, followed.ino), (5, its.ino));
    same!(followed.filetype == FILETYPE_REGULAR_FILE, true);
    let link = path_filestat_get(dir, 0, "link")?;
    same!(link.filetype == FILETYPE_SYMBOLIC_LINK, true);
    same!(link.size, 4);
    refused!(path_filestat_get(dir, 0, "none"), ERRNO_NOENT);
    refused!(path_filestat_get(dir, 0, "file/inner"), ERRNO_NOTDIR);
    Ok(fd_close(dir)?)
}

unsafe fn path_set_times() -> Check {
    let dir = folder("path-set-times")?;
    fd_close(make(dir, "file", b"12345")?)?;
    path_symlink("file", dir, "link")?;
    let (accessed, modified) = (1_000_000_000_000_000_000, 1_100_000_000_000_000_000);
    path_filestat_set_times(dir, 0, "file", accessed, modified, FSTFLAGS_ATIM | FSTFLAGS_MTIM)?;
    let its = path_filestat_get(dir, 0, "file")?;
    same!((its.atim, its.mtim), (accessed, modified));
    path_filestat_set_times(dir, FOLLOW, "link", 0, 7, FSTFLAGS_MTIM)?;
    same!(path_filestat_get(dir, 0, "file")?.mtim, 7);
    path_filestat_set_times(dir, 0, "link", 0, 9, FSTFLAGS_MTIM)?;
    same!(path_filestat_get(dir, 0, "file")?.mtim, 7);
    same!(path_filestat_get(dir, 0, "link")?.mtim, 9);
    path_filestat_set_times(dir, 0, "file", 0, 0, FSTFLAGS_MTIM_NOW)?;
    same!(path_filestat_get(dir, 0, "file")?.mtim > modified, true);
    refused!(path_filestat_set_times(dir, 0, "none", 0, 0, FSTFLAGS_MTIM), ERRNO_NOENT);
    let both = FSTFLAGS_MTIM | FSTFLAGS_MTIM_NOW;
    refused!(path_filestat_set_times(dir, 0, "file", 0, 0, both), ERRNO_INVAL);
    Ok(fd_close(dir)?)
}

unsafe fn hard_link() -> Check {
    let dir = folder("hard-link")?;
    let file = make(dir, "file", b"12345")?;
    path_link(dir, 0, "file", dir, "other")?;
    let (its, other) = (path_filestat_get(dir, 0, "file")?, path_filestat_get(dir, 0, "other")?);
    same!((its.ino, its.nlink), (other.ino, 2));
    refused!(path_link(dir, 0, "file", dir, "other"), ERRNO_EXIST);
    refused!(path_link(dir, 0, "none", dir, "third"), ERRNO_NOENT);
    refused!(path_link(dir, 0, "file", dir, "none/third"), ERRNO_NOENT);
    path_create_directory(dir, "folder")?;
    refused!(path_link(dir, 0, "folder", dir, "third"), ERRNO_PERM, ERRNO_ACCES);
    path_unlink_file(dir, "file")?;
    same!(path_filestat_get(dir, 0, "other")?.nlink, 1);
    same!(read(file, 5)?, b"12345");
    fd_close(file)?;
    Ok(fd_close(dir)?)
}

unsafe fn rename() -> Check {
    let dir = folder("rename")?;
    fd_close(make(dir, "one", b"1")?)?;
    fd_close(make(dir, "two", b"22")?)?;
    path_create_directory(dir, "folder")?;
    path_rename(dir, "one", dir, "moved")?;
    refused!(path_filestat_get(dir, 0, "one"), ERRNO_NOENT);
    // What is there already is replaced.
    path_rename(dir, "moved", dir, "two")?;
    same!(path_filestat_get(dir, 0, "two")?.size, 1);
    let inner = open(dir, "folder", OFLAGS_DIRECTORY, READ)?;
    path_rename(dir, "two", inner, "three")?;
    same!(path_filestat_get(dir, 0, "folder/three")?.size, 1);
    refused!(path_rename(dir, "none", dir, "other"), ERRNO_NOENT);
    path_create_directory(dir, "empty")?;
    refused!(path_rename(dir, "folder/three", dir, "empty"), ERRNO_ISDIR);
    refused!(path_rename(dir, "empty", dir, "folder/three"), ERRNO_NOTDIR);
    refused!(path_rename(dir, "empty", dir, "folder"), ERRNO_NOTEMPTY, ERRNO_EXIST);
    refused!(path_rename(dir, "folder", dir, "folder/inner"), ERRNO_INVAL);
    path_rename(dir, "folder", dir, "empty")?;
    same!(path_filestat_get(dir, 0, "empty/three")?.size, 1);
    fd_close(inner)?;
    Ok(fd_close(dir)?)
}

unsafe fn read_link(dir: Fd, path: &str, size: usize) -> Result<String, Errno> {
    let mut bytes = vec![0_u8; size];
    let length = path_readlink(dir, path, bytes.as_mut_ptr(), size)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

unsafe fn symbolic_link() -> Check {
    let dir = folder("symbolic-link")?;
    fd_close(make(dir, "file", b"12345")?)?;
    path_symlink("file", dir, "link")?;
    same!(read_link(dir, "link", 100)?, "file");
    same!(read_link(dir, "link", 4)?, "file");
    same!(path_readlink(dir, "link", core::ptr::null_mut(), 0).unwrap_or(0), 0);
    // Too small a buffer gets what fits.
    match read_link(dir, "link", 2) {
        Ok(start) => same!(start, "fi"),
        refusal => refused!(refusal, ERRNO_RANGE),
    }
    let file = open(dir, "link", 0, READ)?;
    same!(read(file, 5)?, b"12345");
    fd_close(file)?;
    refused!(path_open(dir, 0, "link", 0, READ, 0, 0), ERRNO_LOOP);
    refused!(path_symlink("file", dir, "link"), ERRNO_EXIST);
    refused!(path_symlink("file", dir, "none/link"), ERRNO_NOENT);
    refused!(read_link(dir, "file", 100), ERRNO_INVAL);
    refused!(read_link(dir, "none", 100), ERRNO_NOENT);
    path_symlink("loop", dir, "loop")?;
    refused!(open(dir, "loop", 0, READ), ERRNO_LOOP);
    path_symlink("nobody", dir, "dangling")?;
    refused!(open(dir, "dangling", 0, READ), ERRNO_NOENT);
    path_unlink_file(dir, "link")?;
    same!(path_filestat_get(dir, 0, "file")?.size, 5);
    Ok(fd_close(dir)?)
}

unsafe fn unlink() -> Check {
    let dir = folder("unlink")?;
    let file = make(dir, "file", b"12345")?;
    path_unlink_file(dir, "file")?;
    refused!(open(dir, "file", 0, READ), ERRNO_NOENT);
    refused!(path_unlink_file(dir, "file"), ERRNO_NOENT);
    // Open, it lives on.
    same!(read(file, 5)?, b"12345");
    fd_close(file)?;
    path_create_directory(dir, "folder")?;
    refused!(path_unlink_file(dir, "folder"), ERRNO_ISDIR, ERRNO_PERM);
    fd_close(make(dir, "file", b"")?)?;
    refused!(path_unlink_file(dir, "file/"), ERRNO_NOTDIR);
    refused!(path_unlink_file(dir, "file/inner"), ERRNO_NOTDIR);
    Ok(fd_close(dir)?)
}

unsafe fn read_only_volume() -> Check {
    let (ro, data) = (readonly()?, data()?);
    fd_close(make(data, "read-only-volume", b"")?)?;
    let its = path_filestat_get(ro, 0, "hello.txt")?;
    refused!(open(ro, "hello.txt", 0, READ | WRITE), ERRNO_PERM, ERRNO_ROFS);
    refused!(open(ro, "hello.txt", OFLAGS_TRUNC, READ), ERRNO_PERM, ERRNO_ROFS);
    refused!(open(ro, "new", OFLAGS_CREAT, READ | WRITE), ERRNO_PERM, ERRNO_ROFS);
    refused!(path_create_directory(ro, "new"), ERRNO_PERM, ERRNO_ROFS);
    refused!(path_remove_directory(ro, "new"), ERRNO_PERM, ERRNO_ROFS);
    refused!(path_unlink_file(ro, "hello.txt"), ERRNO_PERM, ERRNO_ROFS);
    refused!(path_rename(ro, "hello.txt", ro, "new"), ERRNO_PERM, ERRNO_ROFS);
    refused!(path_rename(ro, "hello.txt", data, "new"), ERRNO_PERM, ERRNO_ROFS, ERRNO_XDEV);
    refused!(path_rename(data, "read-only-volume", ro, "new"), ERRNO_PERM, ERRNO_ROFS, ERRNO_XDEV);
    refused!(path_link(ro, 0, "hello.txt", data, "new"), ERRNO_PERM, ERRNO_ROFS, ERRNO_XDEV);
    refused!(path_link(data, 0, "read-only-volume", ro, "new"), ERRNO_PERM, ERRNO_ROFS, ERRNO_XDEV);
    refused!(path_symlink("hello.txt", ro, "new"), ERRNO_PERM, ERRNO_ROFS);
    refused!(path_filestat_set_times(ro, 0, "hello.txt", 0, 0, FSTFLAGS_MTIM), ERRNO_PERM, ERRNO_ROFS);
    refused!(path_filestat_get(ro, 0, "new"), ERRNO_NOENT);
    let now = path_filestat_get(ro, 0, "hello.txt")?;
    same!((now.size, now.mtim), (5, its.mtim));
    same!(path_filestat_get(data, 0, "read-only-volume")?.size, 0);
    Ok(())
}

unsafe fn without_descriptor() -> Check {
    let mut bytes = [0_u8; 4];
    refused!(open(NONE, "x", 0, READ), ERRNO_BADF);
    refused!(open(1, "x", 0, READ), ERRNO_BADF, ERRNO_NOTDIR);
    refused!(path_filestat_get(NONE, 0, "x"), ERRNO_BADF);
    refused!(path_readlink(NONE, "x", bytes.as_mut_ptr(), 4), ERRNO_BADF);
    refused!(path_unlink_file(NONE, "x"), ERRNO_BADF);
    refused!(path_create_directory(NONE, "x"), ERRNO_BADF);
    refused!(path_remove_directory(NONE, "x"), ERRNO_BADF);
    refused!(path_rename(NONE, "x", NONE, "y"), ERRNO_BADF);
    refused!(path_link(NONE, 0, "x", NONE, "y"), ERRNO_BADF);
    refused!(path_symlink("x", NONE, "y"), ERRNO_BADF);
    refused!(path_filestat_set_times(NONE, 0, "x", 0, 0, FSTFLAGS_MTIM), ERRNO_BADF);
    Ok(())
}
