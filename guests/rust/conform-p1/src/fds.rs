//! Tests of open files and folders: the functions that begin with `fd_`.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use wasip1::*;

use crate::files::{NONE, READ, WRITE, data, folder, make, open, pread, pwrite, read, readonly, volumes, write};
use crate::{Check, Test, Why, apart, test};

pub const TESTS: &[Test] = &[
    test("volumes", "fd_prestat_get fd_prestat_dir_name path_create_directory path_open fd_close", volumes_have_names),
    test("read-and-write", "fd_read fd_write fd_tell fd_close path_open", read_and_write),
    apart("read-nothing", "fd_read fd_pread", "adapter:fail", read_nothing),
    test("many-buffers", "fd_read fd_write fd_pread fd_pwrite", many_buffers),
    test("seek", "fd_seek fd_tell fd_read fd_write", seek),
    test("read-at", "fd_pread fd_tell", read_at),
    test("write-at", "fd_pwrite fd_tell fd_pread", write_at),
    test("append", "fd_fdstat_get fd_fdstat_set_flags fd_write path_open", append),
    apart("append-from-now-on", "fd_fdstat_set_flags fd_write fd_pread", "adapter:fail", append_from_now_on),
    test("status", "fd_fdstat_get", status),
    test("rights", "fd_fdstat_set_rights", rights),
    test("attributes", "fd_filestat_get path_filestat_get", attributes),
    test("set-size", "fd_filestat_set_size fd_filestat_get fd_pread", set_size),
    test("set-times", "fd_filestat_set_times fd_filestat_get", set_times),
    test("advise", "fd_advise", advise),
    test("allocate", "fd_allocate fd_filestat_get", allocate),
    test("close", "fd_close", close),
    test("sync", "fd_sync fd_datasync", sync),
    test("list-folder", "fd_readdir path_create_directory path_symlink", list_folder),
    test("list-in-pieces", "fd_readdir", list_in_pieces),
    test("renumber", "fd_renumber fd_tell fd_close", renumber),
    test("no-descriptor", "fd_read fd_write fd_pread fd_pwrite fd_seek fd_tell fd_readdir", no_descriptor),
    test("read-only-file", "fd_read fd_write fd_pwrite fd_filestat_set_size fd_filestat_set_times", read_only_file),
    test("write-only-file", "fd_read fd_pread fd_write", write_only_file),
];

unsafe fn volumes_have_names() -> Check {
    let names = volumes()?;
    for name in ["/data", "/ro"] {
        same!(names.iter().filter(|(_, its)| its == name).count(), 1);
    }
    let (fd, name) = &names[0];
    same!(fd_prestat_get(*fd)?.tag, PREOPENTYPE_DIR.raw());
    same!(fd_prestat_get(*fd)?.u.dir.pr_name_len, name.len());
    let mut short = [0_u8; 1];
    refused!(fd_prestat_dir_name(*fd, short.as_mut_ptr(), 1), ERRNO_NAMETOOLONG);
    refused!(fd_prestat_get(0), ERRNO_BADF);
    refused!(fd_prestat_get(NONE), ERRNO_BADF);
    refused!(fd_prestat_dir_name(NONE, short.as_mut_ptr(), 1), ERRNO_BADF);
    // What the program opened itself is no volume.
    let opened = folder("volumes")?;
    refused!(fd_prestat_get(opened), ERRNO_BADF);
    Ok(fd_close(opened)?)
}

unsafe fn read_and_write() -> Check {
    let file = make(data()?, "read-and-write", b"")?;
    same!(write(file, b"one two")?, 7);
    same!(fd_tell(file)?, 7);
    same!(write(file, b"")?, 0);
    same!(read(file, 10)?, b"");
    fd_close(file)?;
    let file = open(data()?, "read-and-write", 0, READ)?;
    same!(read(file, 4)?, b"one ");
    same!(fd_tell(file)?, 4);
    same!(read(file, 10)?, b"two");
    same!(read(file, 10)?, b"");
    fd_close(file)?;
    let file = open(readonly()?, "hello.txt", 0, READ)?;
    same!(read(file, 100)?, b"hello");
    Ok(fd_close(file)?)
}

unsafe fn read_nothing() -> Check {
    let file = make(data()?, "read-nothing", b"12345")?;
    same!(pread(file, 0, 0)?, b"");
    same!(read(file, 0)?, b"");
    same!(read(file, 5)?, b"12345");
    Ok(fd_close(file)?)
}

fn from(pieces: [&[u8]; 3]) -> [Ciovec; 3] {
    pieces.map(|piece| Ciovec { buf: piece.as_ptr(), buf_len: piece.len() })
}

/// A call may stop after the first buffer that has room or bytes, so only what it says it did is looked at.
unsafe fn many_buffers() -> Check {
    let file = make(data()?, "many-buffers", b"")?;
    let written = fd_write(file, &from([b"", b"abc", b"defgh"]))?;
    same!((1..=8).contains(&written), true);
    same!(pread(file, 100, 0)?, b"abcdefgh"[..written]);
    let written = fd_pwrite(file, &from([b"", b"ABC", b"DEFGH"]), 0)?;
    same!((1..=8).contains(&written), true);
    same!(pread(file, written, 0)?, b"ABCDEFGH"[..written]);
    same!(pwrite(file, b"ABCDEFGH", 0)?, 8);
    fd_seek(file, 0, WHENCE_SET)?;
    let (mut one, mut two) = ([0_u8; 3], [0_u8; 10]);
    let into = [
        Iovec { buf: one.as_mut_ptr(), buf_len: 0 },
        Iovec { buf: one.as_mut_ptr(), buf_len: 3 },
        Iovec { buf: two.as_mut_ptr(), buf_len: 10 },
    ];
    for at in [None, Some(0)] {
        (one, two) = ([0; 3], [0; 10]);
        let length = at.map_or_else(|| fd_read(file, &into), |at| fd_pread(file, &into, at))?;
        same!((1..=8).contains(&length), true);
        let all: Vec<u8> = one.iter().chain(&two).copied().collect();
        same!(all[..length], b"ABCDEFGH"[..length]);
        same!(all[length..].iter().all(|byte| *byte == 0), true);
    }
    same!(fd_read(file, &[])?, 0);
    same!(fd_write(file, &[])?, 0);
    Ok(fd_close(file)?)
}

unsafe fn seek() -> Check {
    let file = make(data()?, "seek", b"0123456789")?;
    same!(fd_seek(file, 4, WHENCE_SET)?, 4);
    same!(read(file, 1)?, b"4");
    same!(fd_seek(file, -2, WHENCE_CUR)?, 3);
    same!(read(file, 1)?, b"3");
    same!(fd_seek(file, -1, WHENCE_END)?, 9);
    same!(read(file, 5)?, b"9");
    same!(fd_seek(file, 0, WHENCE_END)?, 10);
    refused!(fd_seek(file, -1, WHENCE_SET), ERRNO_INVAL);
    refused!(fd_seek(file, -11, WHENCE_END), ERRNO_INVAL);
    refused!(fd_seek(file, -11, WHENCE_CUR), ERRNO_INVAL);
    // A refused seek leaves the place as it was.
    same!(fd_tell(file)?, 10);
    same!(fd_seek(file, 2, WHENCE_END)?, 12);
    same!(read(file, 5)?, b"");
    same!(write(file, b"x")?, 1);
    same!(pread(file, 5, 9)?, b"9\0\0x");
    let here = data()?;
    refused!(fd_seek(here, 0, WHENCE_SET), ERRNO_BADF, ERRNO_ISDIR);
    refused!(fd_tell(here), ERRNO_BADF, ERRNO_ISDIR);
    Ok(fd_close(file)?)
}

unsafe fn read_at() -> Check {
    let file = make(data()?, "read-at", b"0123456789")?;
    same!(pread(file, 3, 5)?, b"567");
    same!(pread(file, 30, 8)?, b"89");
    same!(pread(file, 3, 10)?, b"");
    same!(pread(file, 3, 1 << 40)?, b"");
    same!(fd_tell(file)?, 0);
    refused!(pread(data()?, 1, 0), ERRNO_BADF, ERRNO_ISDIR);
    refused!(pread(0, 1, 0), ERRNO_SPIPE, ERRNO_BADF, ERRNO_INVAL);
    Ok(fd_close(file)?)
}

unsafe fn write_at() -> Check {
    let file = make(data()?, "write-at", b"0123456789")?;
    same!(pwrite(file, b"ab", 4)?, 2);
    same!(pwrite(file, b"z", 12)?, 1);
    same!(fd_tell(file)?, 0);
    same!(pread(file, 20, 0)?, b"0123ab6789\0\0z");
    refused!(pwrite(data()?, b"x", 0), ERRNO_BADF, ERRNO_ISDIR);
    refused!(pwrite(1, b"x", 0), ERRNO_SPIPE, ERRNO_BADF);
    Ok(fd_close(file)?)
}

unsafe fn append() -> Check {
    let data = data()?;
    fd_close(make(data, "append", b"123")?)?;
    let file = path_open(data, 0, "append", 0, READ | WRITE, 0, FDFLAGS_APPEND)?;
    same!(fd_fdstat_get(file)?.fs_flags & FDFLAGS_APPEND, FDFLAGS_APPEND);
    fd_seek(file, 0, WHENCE_SET)?;
    same!(write(file, b"4")?, 1);
    same!(pread(file, 10, 0)?, b"1234");
    fd_fdstat_set_flags(file, 0)?;
    same!(fd_fdstat_get(file)?.fs_flags & FDFLAGS_APPEND, 0);
    fd_seek(file, 0, WHENCE_SET)?;
    same!(write(file, b"0")?, 1);
    same!(pread(file, 10, 0)?, b"0234");
    refused!(fd_fdstat_set_flags(NONE, 0), ERRNO_BADF);
    Ok(fd_close(file)?)
}

/// From when the flag is set on, not from the next seek on.
unsafe fn append_from_now_on() -> Check {
    let file = make(data()?, "append-from-now-on", b"1234")?;
    same!(write(file, b"0")?, 1);
    fd_fdstat_set_flags(file, FDFLAGS_APPEND)?;
    same!(write(file, b"5")?, 1);
    same!(pread(file, 10, 0)?, b"02345");
    Ok(fd_close(file)?)
}

unsafe fn status() -> Check {
    let file = make(data()?, "status", b"")?;
    let status = fd_fdstat_get(file)?;
    same!(status.fs_filetype == FILETYPE_REGULAR_FILE, true);
    same!(status.fs_flags, 0);
    let both = RIGHTS_FD_READ | RIGHTS_FD_WRITE;
    same!(status.fs_rights_base & both, both);
    fd_close(file)?;
    let status = fd_fdstat_get(data()?)?;
    same!(status.fs_filetype == FILETYPE_DIRECTORY, true);
    same!(status.fs_rights_base & RIGHTS_PATH_OPEN, RIGHTS_PATH_OPEN);
    same!(status.fs_rights_inheriting & both, both);
    let file = open(readonly()?, "hello.txt", 0, READ)?;
    same!(fd_fdstat_get(file)?.fs_rights_base & both, RIGHTS_FD_READ);
    refused!(fd_fdstat_get(NONE), ERRNO_BADF);
    Ok(fd_close(file)?)
}

/// Rights are no longer kept; a host may say so.
unsafe fn rights() -> Check {
    let file = make(data()?, "rights", b"123")?;
    if let Err(errno) = fd_fdstat_set_rights(file, READ, 0) {
        same!(errno.name(), "NOTSUP");
    }
    same!(read(file, 3)?, b"123");
    refused!(fd_fdstat_set_rights(NONE, 0, 0), ERRNO_BADF);
    Ok(fd_close(file)?)
}

unsafe fn attributes() -> Check {
    let data = data()?;
    let file = make(data, "attributes", b"12345")?;
    let its = fd_filestat_get(file)?;
    same!(its.size, 5);
    same!(its.nlink, 1);
    same!(its.filetype == FILETYPE_REGULAR_FILE, true);
    same!(its.mtim > 0 && its.atim > 0 && its.ctim > 0, true);
    let same_one = path_filestat_get(data, 0, "attributes")?;
    same!((same_one.dev, same_one.ino, same_one.size), (its.dev, its.ino, its.size));
    same!(fd_filestat_get(data)?.filetype == FILETYPE_DIRECTORY, true);
    let other = make(data, "attributes-other", b"12345")?;
    same!(fd_filestat_get(other)?.ino == its.ino, false);
    refused!(fd_filestat_get(NONE), ERRNO_BADF);
    fd_close(other)?;
    Ok(fd_close(file)?)
}

unsafe fn set_size() -> Check {
    let file = make(data()?, "set-size", b"12345")?;
    fd_filestat_set_size(file, 3)?;
    same!(fd_filestat_get(file)?.size, 3);
    fd_filestat_set_size(file, 6)?;
    same!(fd_filestat_get(file)?.size, 6);
    same!(pread(file, 10, 0)?, b"123\0\0\0");
    refused!(fd_filestat_set_size(NONE, 0), ERRNO_BADF);
    refused!(fd_filestat_set_size(data()?, 0), ERRNO_BADF, ERRNO_ISDIR, ERRNO_INVAL);
    Ok(fd_close(file)?)
}

unsafe fn set_times() -> Check {
    let file = make(data()?, "set-times", b"")?;
    let (accessed, modified) = (1_000_000_000_000_000_000, 1_100_000_000_000_000_000);
    fd_filestat_set_times(file, accessed, modified, FSTFLAGS_ATIM | FSTFLAGS_MTIM)?;
    let its = fd_filestat_get(file)?;
    same!((its.atim, its.mtim), (accessed, modified));
    // What is not asked for stays.
    fd_filestat_set_times(file, 5, 6, FSTFLAGS_MTIM)?;
    let its = fd_filestat_get(file)?;
    same!((its.atim, its.mtim), (accessed, 6));
    fd_filestat_set_times(file, 0, 0, FSTFLAGS_ATIM_NOW)?;
    let its = fd_filestat_get(file)?;
    same!((its.atim > modified, its.mtim), (true, 6));
    refused!(fd_filestat_set_times(file, 0, 0, FSTFLAGS_ATIM | FSTFLAGS_ATIM_NOW), ERRNO_INVAL);
    refused!(fd_filestat_set_times(file, 0, 0, FSTFLAGS_MTIM | FSTFLAGS_MTIM_NOW), ERRNO_INVAL);
    refused!(fd_filestat_set_times(NONE, 0, 0, FSTFLAGS_ATIM), ERRNO_BADF);
    Ok(fd_close(file)?)
}

unsafe fn advise() -> Check {
    let file = make(data()?, "advise", b"12345")?;
    let normal = [ADVICE_NORMAL, ADVICE_SEQUENTIAL, ADVICE_RANDOM, ADVICE_WILLNEED, ADVICE_DONTNEED, ADVICE_NOREUSE];
    for advice in normal {
        fd_advise(file, 0, 5, advice)?;
    }
    same!(read(file, 5)?, b"12345");
    refused!(fd_advise(NONE, 0, 5, ADVICE_NORMAL), ERRNO_BADF);
    refused!(fd_advise(data()?, 0, 5, ADVICE_NORMAL), ERRNO_BADF);
    Ok(fd_close(file)?)
}

/// It is all or nothing.
unsafe fn allocate() -> Check {
    let file = make(data()?, "allocate", b"12345")?;
    match fd_allocate(file, 0, 100) {
        Ok(()) => same!(fd_filestat_get(file)?.size, 100),
        refusal => {
            refused!(refusal, ERRNO_NOTSUP);
            same!(fd_filestat_get(file)?.size, 5);
        }
    }
    refused!(fd_allocate(NONE, 0, 1), ERRNO_BADF);
    Ok(fd_close(file)?)
}

unsafe fn close() -> Check {
    let file = make(data()?, "close", b"12345")?;
    let other = open(data()?, "close", 0, READ)?;
    same!(file == other, false);
    fd_close(file)?;
    refused!(fd_close(file), ERRNO_BADF);
    refused!(read(file, 1), ERRNO_BADF);
    same!(read(other, 5)?, b"12345");
    fd_close(other)?;
    refused!(fd_close(NONE), ERRNO_BADF);
    Ok(())
}

unsafe fn sync() -> Check {
    let file = make(data()?, "sync", b"12345")?;
    fd_sync(file)?;
    fd_datasync(file)?;
    fd_close(file)?;
    refused!(fd_sync(file), ERRNO_BADF);
    refused!(fd_datasync(NONE), ERRNO_BADF);
    Ok(())
}

/// One call of `fd_readdir`: the whole entries that it gave, each with its name and the cookie of the next.
unsafe fn entries(dir: Fd, size: usize, from: Dircookie) -> Result<(Vec<(String, Dirent)>, usize), Why> {
    let mut bytes = vec![0_u8; size];
    let length = fd_readdir(dir, bytes.as_mut_ptr(), size, from)?;
    same!(length <= size, true);
    let (mut entries, mut at) = (Vec::new(), 0);
    let head = size_of::<Dirent>();
    while at + head <= length {
        let entry = bytes.as_ptr().add(at).cast::<Dirent>().read_unaligned();
        let end = at + head + entry.d_namlen as usize;
        if end > length {
            break;
        }
        entries.push((String::from_utf8_lossy(&bytes[at + head..end]).into_owned(), entry));
        at = end;
    }
    Ok((entries, length))
}

/// Entries of a folder for itself and the one above may be there or not.
fn is_own(name: &str) -> bool {
    !matches!(name, "." | "..")
}

unsafe fn list_folder() -> Check {
    let dir = folder("list-folder")?;
    fd_close(make(dir, "file", b"12345")?)?;
    path_create_directory(dir, "folder")?;
    path_symlink("file", dir, "link")?;
    let (found, length) = entries(dir, 4096, 0)?;
    same!(length < 4096, true);
    same!(found.iter().filter(|(name, _)| is_own(name)).count(), 3);
    let wanted = [FILETYPE_REGULAR_FILE, FILETYPE_DIRECTORY, FILETYPE_SYMBOLIC_LINK];
    for (name, type_) in ["file", "folder", "link"].into_iter().zip(wanted) {
        let Some((_, entry)) = found.iter().find(|(its, _)| its == name) else {
            return Err(Why(alloc::format!("{name} is not listed")));
        };
        same!(entry.d_type.raw(), type_.raw());
        same!(entry.d_ino, path_filestat_get(dir, 0, name)?.ino);
    }
    let file = open(dir, "file", 0, READ)?;
    let mut bytes = [0_u8; 64];
    refused!(fd_readdir(file, bytes.as_mut_ptr(), 64, 0), ERRNO_NOTDIR, ERRNO_BADF);
    fd_close(file)?;
    Ok(fd_close(dir)?)
}

/// A buffer that is too small is filled; the cookie of the last whole entry leads on from there.
unsafe fn list_in_pieces() -> Check {
    let dir = folder("list-in-pieces")?;
    let wanted = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff", "ggggggg"];
    for name in wanted {
        fd_close(make(dir, name, b"")?)?;
    }
    let (mut found, mut from) = (Vec::new(), 0);
    for _ in 0..100 {
        let (some, length) = entries(dir, 70, from)?;
        let Some((_, last)) = some.last() else {
            same!(length, 0);
            break;
        };
        from = last.d_next;
        found.extend(some.into_iter().map(|(name, _)| name).filter(|name| is_own(name)));
    }
    same!(found.len(), wanted.len());
    same!(wanted.iter().all(|wanted| found.iter().any(|name| name == wanted)), true);
    let (none, length) = entries(dir, 10, 0)?;
    same!((none.len(), length), (0, 10));
    Ok(fd_close(dir)?)
}

unsafe fn renumber() -> Check {
    let from = make(data()?, "renumber-from", b"from")?;
    let to = make(data()?, "renumber-to", b"to")?;
    fd_seek(from, 1, WHENCE_SET)?;
    fd_renumber(from, to)?;
    same!(fd_tell(to)?, 1);
    same!(read(to, 10)?, b"rom");
    refused!(fd_tell(from), ERRNO_BADF);
    refused!(fd_renumber(NONE, to), ERRNO_BADF);
    refused!(fd_renumber(to, NONE), ERRNO_BADF);
    same!(fd_tell(to)?, 4);
    Ok(fd_close(to)?)
}

unsafe fn no_descriptor() -> Check {
    let mut bytes = [0_u8; 64];
    refused!(read(NONE, 1), ERRNO_BADF);
    refused!(write(NONE, b"x"), ERRNO_BADF);
    refused!(pread(NONE, 1, 0), ERRNO_BADF);
    refused!(pwrite(NONE, b"x", 0), ERRNO_BADF);
    refused!(fd_seek(NONE, 0, WHENCE_SET), ERRNO_BADF);
    refused!(fd_tell(NONE), ERRNO_BADF);
    refused!(fd_readdir(NONE, bytes.as_mut_ptr(), 64, 0), ERRNO_BADF);
    Ok(())
}

unsafe fn read_only_file() -> Check {
    let file = open(readonly()?, "hello.txt", 0, READ)?;
    refused!(write(file, b"x"), ERRNO_BADF, ERRNO_PERM);
    refused!(pwrite(file, b"x", 0), ERRNO_BADF, ERRNO_PERM);
    refused!(fd_filestat_set_size(file, 0), ERRNO_BADF, ERRNO_PERM, ERRNO_INVAL);
    refused!(fd_filestat_set_times(file, 0, 0, FSTFLAGS_MTIM), ERRNO_BADF, ERRNO_PERM);
    same!(read(file, 10)?, b"hello");
    Ok(fd_close(file)?)
}

unsafe fn write_only_file() -> Check {
    fd_close(make(data()?, "write-only", b"12345")?)?;
    let file = open(data()?, "write-only", 0, WRITE)?;
    refused!(read(file, 1), ERRNO_BADF, ERRNO_PERM);
    refused!(pread(file, 1, 0), ERRNO_BADF, ERRNO_PERM);
    same!(write(file, b"x")?, 1);
    Ok(fd_close(file)?)
}
