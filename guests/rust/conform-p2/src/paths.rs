//! wasi:filesystem: what is done with the entries of a folder.

use wasip2::filesystem::types::{Descriptor, DescriptorFlags, DescriptorType, ErrorCode, OpenFlags};

use crate::Test;
use crate::conform::Check;
use crate::volumes::{BOTH, FOLDER, FOLLOW, NONE, READ, contents, file, scratch};

pub const TESTS: &[Test] = &[
    Test::new(
        "paths-directories",
        directories,
        &[
            "wasi:filesystem/types#[method]descriptor.create-directory-at",
            "wasi:filesystem/types#[method]descriptor.remove-directory-at",
        ],
    ),
    Test::new(
        "paths-read-directory",
        read_directory,
        &[
            "wasi:filesystem/types#[method]descriptor.read-directory",
            "wasi:filesystem/types#[method]directory-entry-stream.read-directory-entry",
        ],
    ),
    Test::new("paths-open", open, &["wasi:filesystem/types#[method]descriptor.open-at"]),
    Test::new("paths-outside", outside, &["wasi:filesystem/types#[method]descriptor.open-at"]),
    Test::new("paths-link", link, &["wasi:filesystem/types#[method]descriptor.link-at"]),
    Test::new("paths-rename", rename, &["wasi:filesystem/types#[method]descriptor.rename-at"]),
    Test::new(
        "paths-symlink",
        symlink,
        &[
            "wasi:filesystem/types#[method]descriptor.symlink-at",
            "wasi:filesystem/types#[method]descriptor.readlink-at",
        ],
    ),
    Test::new("paths-unlink", unlink, &["wasi:filesystem/types#[method]descriptor.unlink-file-at"]),
];

fn directories() -> Check {
    let folder = scratch()?;
    ok!(folder.create_directory_at("a"));
    ok!(folder.create_directory_at("a/b"));
    equal!(ok!(folder.stat_at(NONE, "a/b")).type_, DescriptorType::Directory);
    file(&folder, "file", b"")?;
    fails!(folder.create_directory_at("a"), ErrorCode::Exist);
    fails!(folder.create_directory_at("file"), ErrorCode::Exist);
    fails!(folder.create_directory_at("none/b"), ErrorCode::NoEntry);
    fails!(folder.create_directory_at("file/b"), ErrorCode::NotDirectory);
    fails!(folder.create_directory_at("../b"), ErrorCode::NotPermitted);
    fails!(folder.create_directory_at("/b"), ErrorCode::NotPermitted);
    fails!(folder.remove_directory_at("a"), ErrorCode::NotEmpty);
    fails!(folder.remove_directory_at("file"), ErrorCode::NotDirectory);
    fails!(folder.remove_directory_at("none"), ErrorCode::NoEntry);
    fails!(folder.remove_directory_at("../none"), ErrorCode::NotPermitted);
    ok!(folder.remove_directory_at("a/b"));
    ok!(folder.remove_directory_at("a"));
    fails!(folder.stat_at(NONE, "a"), ErrorCode::NoEntry);
    Ok(())
}

fn entries(folder: &Descriptor) -> Result<Vec<(String, DescriptorType)>, String> {
    let stream = ok!(folder.read_directory());
    let mut entries = Vec::new();
    while let Some(entry) = ok!(stream.read_directory_entry()) {
        entries.push((entry.name, entry.type_));
    }
    ensure!(ok!(stream.read_directory_entry()).is_none());
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(entries)
}

fn read_directory() -> Check {
    let folder = scratch()?;
    ensure!(entries(&folder)?.is_empty());
    let plain = file(&folder, "file", b"")?;
    ok!(folder.create_directory_at("folder"));
    ok!(folder.symlink_at("file", "link"));
    file(&folder, "ünïcode ☃", b"")?;
    // Without `.` and `..`.
    let wanted = [
        ("file", DescriptorType::RegularFile),
        ("folder", DescriptorType::Directory),
        ("link", DescriptorType::SymbolicLink),
        ("ünïcode ☃", DescriptorType::RegularFile),
    ]
    .map(|(name, kind)| (name.to_owned(), kind));
    equal!(entries(&folder)?, wanted);
    // A second stream starts at the beginning again and leaves the first alone.
    let first = ok!(folder.read_directory());
    ensure!(ok!(first.read_directory_entry()).is_some());
    equal!(entries(&folder)?, wanted);
    let mut rest = 0;
    while ok!(first.read_directory_entry()).is_some() {
        rest += 1;
    }
    equal!(rest, 3);
    let many = scratch()?;
    for number in 0..300 {
        file(&many, &format!("{number:03}"), b"")?;
    }
    let names: Vec<String> = entries(&many)?.into_iter().map(|(name, _)| name).collect();
    ensure!(names == (0..300).map(|number| format!("{number:03}")).collect::<Vec<_>>());
    fails!(plain.read_directory(), ErrorCode::NotDirectory);
    Ok(())
}

fn open() -> Check {
    let folder = scratch()?;
    let open = |path: &str, how, flags| folder.open_at(NONE, path, how, flags);
    fails!(open("file", OpenFlags::empty(), READ), ErrorCode::NoEntry);
    let made = ok!(open("file", OpenFlags::CREATE, BOTH));
    ok!(made.write(b"hello", 0));
    // One that is there is opened as it is, unless it must be new.
    equal!(contents(&ok!(open("file", OpenFlags::CREATE, BOTH)))?, b"hello");
    fails!(open("file", OpenFlags::CREATE | OpenFlags::EXCLUSIVE, BOTH), ErrorCode::Exist);
    fails!(open("file", OpenFlags::DIRECTORY, READ), ErrorCode::NotDirectory);
    equal!(contents(&ok!(open("file", OpenFlags::empty(), READ)))?, b"hello");
    ok!(open("file", OpenFlags::TRUNCATE, BOTH));
    equal!(contents(&made)?, b"");
    ok!(folder.create_directory_at("a"));
    let inner = ok!(open("a", OpenFlags::DIRECTORY, FOLDER));
    file(&inner, "inside", b"deep")?;
    equal!(contents(&ok!(open("a/inside", OpenFlags::empty(), READ)))?, b"deep");
    equal!(contents(&ok!(open("./a/../a/./inside", OpenFlags::empty(), READ)))?, b"deep");
    fails!(open("none/inside", OpenFlags::CREATE, BOTH), ErrorCode::NoEntry);
    fails!(open("file/inside", OpenFlags::empty(), READ), ErrorCode::NotDirectory);
    fails!(open("a", OpenFlags::empty(), DescriptorFlags::WRITE), ErrorCode::IsDirectory);
    fails!(open("", OpenFlags::empty(), READ), ErrorCode::NoEntry);
    fails!(open(&"x".repeat(300), OpenFlags::empty(), READ), ErrorCode::NameTooLong);
    fails!(made.open_at(NONE, "x", OpenFlags::empty(), READ), ErrorCode::NotDirectory);
    // A link is followed when that is asked for.
    ok!(folder.symlink_at("a/inside", "link"));
    equal!(contents(&ok!(folder.open_at(FOLLOW, "link", OpenFlags::empty(), READ)))?, b"deep");
    fails!(open("link", OpenFlags::empty(), READ), ErrorCode::Loop);
    ok!(folder.symlink_at("round", "round"));
    fails!(folder.open_at(FOLLOW, "round", OpenFlags::empty(), READ), ErrorCode::Loop);
    // One in the middle of a path always is.
    ok!(folder.symlink_at("a", "way"));
    equal!(contents(&ok!(open("way/inside", OpenFlags::empty(), READ)))?, b"deep");
    Ok(())
}

/// No way leads out of the folder.
fn outside() -> Check {
    let folder = scratch()?;
    ok!(folder.create_directory_at("a"));
    let inner = ok!(folder.open_at(NONE, "a", OpenFlags::DIRECTORY, FOLDER));
    ok!(inner.symlink_at("..", "up"));
    ok!(inner.symlink_at("../..", "far"));
    file(&folder, "outside", b"")?;
    for path in ["..", "../outside", "up/outside", "far", "./up/../outside", "/", "/data", "//", "../a/up/outside"] {
        for flags in [NONE, FOLLOW] {
            match inner.open_at(flags, path, OpenFlags::empty(), READ) {
                Err(ErrorCode::NotPermitted) => {}
                // The link itself, which is not followed.
                Err(ErrorCode::Loop) if flags == NONE && path == "far" => {}
                other => return Err(format!("{path} with {flags:?} gave {other:?}")),
            }
        }
    }
    // The way is open from further out.
    ok!(folder.open_at(NONE, "a/up/outside", OpenFlags::empty(), READ));
    Ok(())
}

fn link() -> Check {
    let folder = scratch()?;
    let other = scratch()?;
    let first = file(&folder, "file", b"hello")?;
    ok!(folder.link_at(NONE, "file", &other, "second"));
    ok!(first.write(b"J", 0));
    equal!(contents(&ok!(other.open_at(NONE, "second", OpenFlags::empty(), READ)))?, b"Jello");
    ok!(folder.create_directory_at("a"));
    fails!(folder.link_at(NONE, "none", &folder, "x"), ErrorCode::NoEntry);
    fails!(folder.link_at(NONE, "file", &other, "second"), ErrorCode::Exist);
    fails!(folder.link_at(NONE, "a", &folder, "x"), ErrorCode::NotPermitted);
    fails!(folder.link_at(NONE, "../none", &folder, "x"), ErrorCode::NotPermitted);
    fails!(folder.link_at(NONE, "file", &folder, "/x"), ErrorCode::NotPermitted);
    fails!(folder.stat_at(NONE, "x"), ErrorCode::NoEntry);
    Ok(())
}

fn rename() -> Check {
    let folder = scratch()?;
    let other = scratch()?;
    file(&folder, "file", b"hello")?;
    ok!(folder.rename_at("file", &folder, "moved"));
    fails!(folder.stat_at(NONE, "file"), ErrorCode::NoEntry);
    ok!(folder.rename_at("moved", &other, "far"));
    equal!(contents(&ok!(other.open_at(NONE, "far", OpenFlags::empty(), READ)))?, b"hello");
    // One that is there is replaced.
    file(&folder, "old", b"old")?;
    ok!(other.rename_at("far", &folder, "old"));
    equal!(contents(&ok!(folder.open_at(NONE, "old", OpenFlags::empty(), READ)))?, b"hello");
    ok!(folder.create_directory_at("a"));
    ok!(folder.create_directory_at("b"));
    ok!(folder.create_directory_at("b/c"));
    fails!(folder.rename_at("none", &folder, "x"), ErrorCode::NoEntry);
    fails!(folder.rename_at("a", &folder, "b"), ErrorCode::NotEmpty);
    fails!(folder.rename_at("a", &folder, "old"), ErrorCode::NotDirectory);
    fails!(folder.rename_at("old", &folder, "a"), ErrorCode::IsDirectory);
    fails!(folder.rename_at("b", &folder, "b/c/d"), ErrorCode::Invalid);
    fails!(folder.rename_at("old", &folder, "../x"), ErrorCode::NotPermitted);
    fails!(folder.rename_at("../x", &folder, "x"), ErrorCode::NotPermitted);
    ok!(folder.rename_at("b", &folder, "a"));
    equal!(ok!(folder.stat_at(NONE, "a/c")).type_, DescriptorType::Directory);
    Ok(())
}

fn symlink() -> Check {
    let folder = scratch()?;
    file(&folder, "file", b"hello")?;
    ok!(folder.symlink_at("file", "link"));
    equal!(ok!(folder.readlink_at("link")), "file");
    ok!(folder.symlink_at("nowhere/at all", "broken"));
    equal!(ok!(folder.readlink_at("broken")), "nowhere/at all");
    fails!(folder.stat_at(FOLLOW, "broken"), ErrorCode::NoEntry);
    equal!(ok!(folder.stat_at(NONE, "broken")).type_, DescriptorType::SymbolicLink);
    fails!(folder.symlink_at("/absolute", "x"), ErrorCode::NotPermitted);
    fails!(folder.symlink_at("file", "link"), ErrorCode::Exist);
    fails!(folder.symlink_at("file", "../x"), ErrorCode::NotPermitted);
    fails!(folder.symlink_at("file", "none/x"), ErrorCode::NoEntry);
    fails!(folder.readlink_at("file"), ErrorCode::Invalid);
    fails!(folder.readlink_at("none"), ErrorCode::NoEntry);
    fails!(folder.readlink_at("../x"), ErrorCode::NotPermitted);
    Ok(())
}

fn unlink() -> Check {
    let folder = scratch()?;
    let open = file(&folder, "file", b"hello")?;
    ok!(folder.symlink_at("file", "link"));
    ok!(folder.create_directory_at("a"));
    fails!(folder.unlink_file_at("a"), ErrorCode::IsDirectory);
    fails!(folder.unlink_file_at("none"), ErrorCode::NoEntry);
    fails!(folder.unlink_file_at("../none"), ErrorCode::NotPermitted);
    ok!(folder.unlink_file_at("link"));
    ok!(folder.stat_at(NONE, "file"));
    ok!(folder.unlink_file_at("file"));
    fails!(folder.stat_at(NONE, "file"), ErrorCode::NoEntry);
    // What is open stays.
    equal!(contents(&open)?, b"hello");
    Ok(())
}
