//! wasi:filesystem: the volumes that are there from the start, and what the other tests make in them.

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags};

use crate::Test;
use crate::conform::Check;

pub const TESTS: &[Test] = &[
    Test::new("files-volumes", volumes, &["wasi:filesystem/preopens#get-directories"]),
    Test::new(
        "files-read-only-volume",
        read_only_volume,
        &[
            "wasi:filesystem/types#[method]descriptor.open-at",
            "wasi:filesystem/types#[method]descriptor.create-directory-at",
            "wasi:filesystem/types#[method]descriptor.unlink-file-at",
            "wasi:filesystem/types#[method]descriptor.rename-at",
            "wasi:filesystem/types#[method]descriptor.set-size",
            "wasi:filesystem/types#[method]descriptor.set-times-at",
        ],
    ),
    Test::new(
        "files-read-only-code",
        read_only_code,
        &[
            "wasi:filesystem/types#[method]descriptor.open-at",
            "wasi:filesystem/types#[method]descriptor.create-directory-at",
        ],
    ),
    Test::new(
        "files-mutate-directory-flag",
        mutate_directory_flag,
        &["wasi:filesystem/types#[method]descriptor.get-flags"],
    ),
    Test::new(
        "files-mutate-directory",
        mutate_directory,
        &[
            "wasi:filesystem/types#[method]descriptor.open-at",
            "wasi:filesystem/types#[method]descriptor.create-directory-at",
        ],
    ),
];

pub const NONE: PathFlags = PathFlags::empty();
pub const FOLLOW: PathFlags = PathFlags::SYMLINK_FOLLOW;
pub const READ: DescriptorFlags = DescriptorFlags::READ;
pub const BOTH: DescriptorFlags = DescriptorFlags::READ.union(DescriptorFlags::WRITE);
pub const FOLDER: DescriptorFlags = DescriptorFlags::READ.union(DescriptorFlags::MUTATE_DIRECTORY);

pub fn volume(path: &str) -> Result<Descriptor, String> {
    let found = get_directories().into_iter().find(|(_, name)| name == path);
    Ok(some!(found).0)
}

/// A new folder in the volume, for one test.
pub fn scratch() -> Result<Descriptor, String> {
    let volume = volume("/data")?;
    let name = format!("{:016x}", wasip2::random::random::get_random_u64());
    ok!(volume.create_directory_at(&name));
    Ok(ok!(volume.open_at(NONE, &name, OpenFlags::DIRECTORY, FOLDER)))
}

/// A new file with these bytes, open for reading and writing.
pub fn file(folder: &Descriptor, name: &str, bytes: &[u8]) -> Result<Descriptor, String> {
    let file = ok!(folder.open_at(NONE, name, OpenFlags::CREATE | OpenFlags::EXCLUSIVE, BOTH));
    write(&file, bytes, 0)?;
    Ok(file)
}

pub fn write(file: &Descriptor, bytes: &[u8], offset: u64) -> Check {
    let mut written = 0;
    while written < bytes.len() {
        let now = ok!(file.write(&bytes[written..], offset + written as u64));
        ensure!(now > 0 && now <= (bytes.len() - written) as u64);
        written += now as usize;
    }
    Ok(())
}

/// All that a file holds, through `read`.
pub fn contents(file: &Descriptor) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    loop {
        let (bytes, end) = ok!(file.read(64 * 1024, all.len() as u64));
        ensure!(end || !bytes.is_empty());
        all.extend(bytes);
        if end {
            return Ok(all);
        }
    }
}

fn volumes() -> Check {
    let found = get_directories();
    for path in ["/data", "/ro"] {
        let mut named = found.iter().filter(|(_, name)| name == path);
        let (folder, _) = some!(named.next());
        ensure!(named.next().is_none());
        equal!(ok!(folder.get_type()), DescriptorType::Directory);
    }
    equal!(get_directories().len(), found.len());
    Ok(())
}

/// Whatever the code is, nothing may change.
fn read_only_volume() -> Check {
    let volume = volume("/ro")?;
    let hello = ok!(volume.open_at(NONE, "hello.txt", OpenFlags::empty(), READ));
    equal!(contents(&hello)?, b"hello");
    ensure!(volume.open_at(NONE, "hello.txt", OpenFlags::empty(), BOTH).is_err());
    ensure!(volume.open_at(NONE, "hello.txt", OpenFlags::TRUNCATE, READ).is_err());
    ensure!(volume.open_at(NONE, "new", OpenFlags::CREATE, READ).is_err());
    ensure!(volume.create_directory_at("new").is_err());
    ensure!(volume.symlink_at("hello.txt", "new").is_err());
    ensure!(volume.link_at(NONE, "hello.txt", &volume, "new").is_err());
    ensure!(volume.rename_at("hello.txt", &volume, "new").is_err());
    ensure!(volume.unlink_file_at("hello.txt").is_err());
    ensure!(hello.set_size(0).is_err());
    ensure!(hello.write(b"x", 0).is_err());
    use wasip2::filesystem::types::NewTimestamp::Now;
    ensure!(hello.set_times(Now, Now).is_err());
    ensure!(volume.set_times_at(NONE, "hello.txt", Now, Now).is_err());
    equal!(contents(&hello)?, b"hello");
    fails!(volume.stat_at(NONE, "new"), ErrorCode::NoEntry);
    Ok(())
}

/// The code that `open-at` and `mutate-directory` name.
fn read_only_code() -> Check {
    let volume = volume("/ro")?;
    ensure!(!ok!(volume.get_flags()).contains(DescriptorFlags::MUTATE_DIRECTORY));
    fails!(volume.open_at(NONE, "hello.txt", OpenFlags::empty(), BOTH), ErrorCode::ReadOnly);
    fails!(volume.open_at(NONE, "hello.txt", OpenFlags::TRUNCATE, READ), ErrorCode::ReadOnly);
    fails!(volume.open_at(NONE, "new", OpenFlags::CREATE, READ), ErrorCode::ReadOnly);
    fails!(volume.create_directory_at("new"), ErrorCode::ReadOnly);
    Ok(())
}

/// A folder says whether it was opened with the flag.
fn mutate_directory_flag() -> Check {
    let folder = scratch()?;
    ok!(folder.create_directory_at("fixed"));
    let fixed = ok!(folder.open_at(NONE, "fixed", OpenFlags::DIRECTORY, READ));
    ensure!(!ok!(fixed.get_flags()).contains(DescriptorFlags::MUTATE_DIRECTORY));
    ensure!(ok!(volume("/data")?.get_flags()).contains(DescriptorFlags::MUTATE_DIRECTORY));
    ensure!(ok!(folder.get_flags()).contains(DescriptorFlags::MUTATE_DIRECTORY));
    Ok(())
}

/// A folder that was opened without the flag, in a volume that may be changed.
fn mutate_directory() -> Check {
    let folder = scratch()?;
    ok!(folder.create_directory_at("fixed"));
    let fixed = ok!(folder.open_at(NONE, "fixed", OpenFlags::DIRECTORY, READ));
    fails!(fixed.open_at(NONE, "new", OpenFlags::CREATE, BOTH), ErrorCode::ReadOnly);
    fails!(fixed.create_directory_at("new"), ErrorCode::ReadOnly);
    Ok(())
}
