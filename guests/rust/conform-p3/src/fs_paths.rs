//! Tests of `wasi:filesystem`: opening, making, linking, renaming and removing by path.

use wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags};

use crate::conform::{Good, Outcome, Test};
use crate::volume::{AS_IS, BOTH, CHANGE, FOLLOW, OLD, READ, WRITE, file, open, scratch, text, volume};

pub const TESTS: &[Test] = &[
    test!("fs-open-at", open_at, ["wasi:filesystem/types#[method]descriptor.open-at"]),
    test!("fs-open-at-links", open_at_links, ["wasi:filesystem/types#[method]descriptor.open-at"]),
    test!("fs-open-at-outside", open_at_outside, ["wasi:filesystem/types#[method]descriptor.open-at"]),
    test!("fs-open-at-read-only", open_at_read_only, ["wasi:filesystem/types#[method]descriptor.open-at"]),
    test!("fs-open-at-mutate", open_at_mutate, ["wasi:filesystem/types#[method]descriptor.open-at"]),
    test!("fs-open-at-unchanging", open_at_unchanging, ["wasi:filesystem/types#[method]descriptor.open-at"]),
    test!("fs-create-directory-at", create_directory, ["wasi:filesystem/types#[method]descriptor.create-directory-at"]),
    test!("fs-remove-directory-at", remove_directory, ["wasi:filesystem/types#[method]descriptor.remove-directory-at"]),
    test!(
        "fs-slash-after-directory",
        slash_after_directory,
        [
            "wasi:filesystem/types#[method]descriptor.create-directory-at",
            "wasi:filesystem/types#[method]descriptor.open-at",
            "wasi:filesystem/types#[method]descriptor.remove-directory-at",
            "wasi:filesystem/types#[method]descriptor.stat-at"
        ]
    ),
    test!(
        "fs-slash-after-file",
        slash_after_file,
        [
            "wasi:filesystem/types#[method]descriptor.open-at",
            "wasi:filesystem/types#[method]descriptor.stat-at",
            "wasi:filesystem/types#[method]descriptor.unlink-file-at"
        ]
    ),
    test!("fs-link-at", link, ["wasi:filesystem/types#[method]descriptor.link-at"]),
    test!(
        "fs-symlink-at",
        symlink,
        ["wasi:filesystem/types#[method]descriptor.symlink-at", "wasi:filesystem/types#[method]descriptor.readlink-at"]
    ),
    test!("fs-readlink-at", readlink, ["wasi:filesystem/types#[method]descriptor.readlink-at"]),
    test!("fs-rename-at", rename, ["wasi:filesystem/types#[method]descriptor.rename-at"]),
    test!("fs-unlink-file-at", unlink, ["wasi:filesystem/types#[method]descriptor.unlink-file-at"]),
    test!(
        "fs-read-only-code",
        read_only_code,
        [
            "wasi:filesystem/types#[method]descriptor.create-directory-at",
            "wasi:filesystem/types#[method]descriptor.open-at",
            "wasi:filesystem/types#[method]descriptor.rename-at",
            "wasi:filesystem/types#[method]descriptor.set-times-at",
            "wasi:filesystem/types#[method]descriptor.symlink-at",
            "wasi:filesystem/types#[method]descriptor.unlink-file-at"
        ]
    ),
];

async fn open_at() -> Outcome {
    let scratch = scratch().await?;
    fails!(open(&scratch, "file", OLD, READ).await, ErrorCode::NoEntry);
    let made = open(&scratch, "file", OpenFlags::CREATE | OpenFlags::EXCLUSIVE, BOTH).await.good()?;
    same!(text(&made, 0).await.good()?, "");
    fails!(open(&scratch, "file", OpenFlags::CREATE | OpenFlags::EXCLUSIVE, BOTH).await, ErrorCode::Exist);
    file(&scratch, "file", "text").await?;
    let again = open(&scratch, "file", OpenFlags::CREATE, BOTH).await.good()?;
    same!(text(&again, 0).await.good()?, "text");
    let emptied = open(&scratch, "file", OpenFlags::TRUNCATE, BOTH).await.good()?;
    same!(text(&emptied, 0).await.good()?, "");
    fails!(open(&scratch, "file", OpenFlags::DIRECTORY, READ).await, ErrorCode::NotDirectory);
    fails!(open(&scratch, "file/none", OLD, READ).await, ErrorCode::NotDirectory);
    scratch.create_directory_at("directory".into()).await.good()?;
    let directory = open(&scratch, "directory", OpenFlags::DIRECTORY, CHANGE).await.good()?;
    file(&directory, "inner", "deep").await?;
    let inner = open(&scratch, "directory/../directory/./inner", OLD, READ).await.good()?;
    same!(text(&inner, 0).await.good()?, "deep");
    fails!(open(&scratch, "directory", OLD, BOTH).await, ErrorCode::IsDirectory);
    fails!(open(&scratch, &"x".repeat(10_000), OLD, READ).await, ErrorCode::NameTooLong);
    fails!(open(&scratch, "", OLD, READ).await, ErrorCode::NoEntry | ErrorCode::Invalid);
    fails!(open(&inner, "none", OLD, READ).await, ErrorCode::NotDirectory | ErrorCode::BadDescriptor);
    Ok(())
}

async fn open_at_links() -> Outcome {
    let scratch = scratch().await?;
    file(&scratch, "file", "text").await?;
    scratch.symlink_at("file".into(), "link".into()).await.good()?;
    let followed = scratch.open_at(FOLLOW, "link".into(), OLD, READ).await.good()?;
    same!(text(&followed, 0).await.good()?, "text");
    fails!(scratch.open_at(AS_IS, "link".into(), OLD, READ).await, ErrorCode::Loop);
    scratch.symlink_at("loop".into(), "loop".into()).await.good()?;
    fails!(scratch.open_at(FOLLOW, "loop".into(), OLD, READ).await, ErrorCode::Loop);
    scratch.symlink_at("../..".into(), "outside".into()).await.good()?;
    fails!(scratch.open_at(FOLLOW, "outside".into(), OLD, READ).await, ErrorCode::NotPermitted);
    fails!(scratch.open_at(FOLLOW, "outside/file".into(), OLD, READ).await, ErrorCode::NotPermitted);
    Ok(())
}

async fn open_at_outside() -> Outcome {
    let scratch = scratch().await?;
    file(&scratch, "file", "text").await?;
    for path in ["..", "../", "../file", "../../x", "./../file", "none/../../x", "/", "/etc/passwd", "/file"] {
        let found = scratch.open_at(FOLLOW, path.to_owned(), OLD, READ).await;
        // A missing directory may be noticed before the way out.
        let missing = path.starts_with("none") && matches!(found, Err(ErrorCode::NoEntry));
        ensure!(missing || matches!(found, Err(ErrorCode::NotPermitted)), "{path}: {found:?}");
    }
    Ok(())
}

async fn open_at_read_only() -> Outcome {
    let ro = volume("/ro")?;
    let hello = open(&ro, "hello.txt", OLD, READ).await.good()?;
    fails!(open(&ro, "hello.txt", OLD, BOTH).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    fails!(open(&ro, "hello.txt", OpenFlags::TRUNCATE, WRITE).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    fails!(open(&ro, "new", OpenFlags::CREATE, READ).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    // Who gets the directory once more does not get more with it.
    if let Ok(again) = open(&ro, ".", OpenFlags::DIRECTORY, CHANGE).await {
        fails!(again.create_directory_at("new".into()).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
        fails!(open(&again, "hello.txt", OLD, BOTH).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
        fails!(again.unlink_file_at("hello.txt".into()).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    }
    same!(text(&hello, 0).await.good()?, "hello");
    Ok(())
}

/// A directory that may be changed cannot come from one that may not.
async fn open_at_mutate() -> Outcome {
    let ro = volume("/ro")?;
    fails!(open(&ro, ".", OpenFlags::DIRECTORY, CHANGE).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    Ok(())
}

/// A directory of a volume that may be changed, opened without the right to change it.
async fn unchanging() -> Result<Descriptor, String> {
    let scratch = scratch().await?;
    file(&scratch, "file", "text").await?;
    open(&scratch, ".", OpenFlags::DIRECTORY, READ).await.good()
}

async fn open_at_unchanging() -> Outcome {
    let directory = unchanging().await?;
    ensure!(!directory.get_flags().await.good()?.contains(DescriptorFlags::MUTATE_DIRECTORY));
    fails!(open(&directory, "file", OLD, WRITE).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    fails!(open(&directory, "new", OpenFlags::CREATE, READ).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    fails!(open(&directory, ".", OpenFlags::DIRECTORY, CHANGE).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    fails!(directory.unlink_file_at("file".into()).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    fails!(directory.create_directory_at("new".into()).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    let file = open(&directory, "file", OLD, READ).await.good()?;
    same!(text(&file, 0).await.good()?, "text");
    Ok(())
}

async fn create_directory() -> Outcome {
    let scratch = scratch().await?;
    scratch.create_directory_at("one".into()).await.good()?;
    scratch.create_directory_at("one/two".into()).await.good()?;
    open(&scratch, "one/two", OpenFlags::DIRECTORY, READ).await.good()?;
    fails!(scratch.create_directory_at("one".into()).await, ErrorCode::Exist);
    fails!(scratch.create_directory_at("none/two".into()).await, ErrorCode::NoEntry);
    fails!(scratch.create_directory_at("../../outside".into()).await, ErrorCode::NotPermitted);
    fails!(scratch.create_directory_at("/outside".into()).await, ErrorCode::NotPermitted);
    let ro = volume("/ro")?;
    fails!(ro.create_directory_at("new".into()).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    Ok(())
}

async fn remove_directory() -> Outcome {
    let scratch = scratch().await?;
    scratch.create_directory_at("one".into()).await.good()?;
    scratch.create_directory_at("one/two".into()).await.good()?;
    fails!(scratch.remove_directory_at("one".into()).await, ErrorCode::NotEmpty);
    scratch.remove_directory_at("one/two".into()).await.good()?;
    scratch.remove_directory_at("one".into()).await.good()?;
    fails!(scratch.remove_directory_at("one".into()).await, ErrorCode::NoEntry);
    file(&scratch, "file", "").await?;
    fails!(scratch.remove_directory_at("file".into()).await, ErrorCode::NotDirectory);
    fails!(scratch.remove_directory_at("../../outside".into()).await, ErrorCode::NotPermitted);
    Ok(())
}

/// A directory's name may end with a slash.
async fn slash_after_directory() -> Outcome {
    let scratch = scratch().await?;
    scratch.create_directory_at("directory/".into()).await.good()?;
    scratch.stat_at(AS_IS, "directory/".into()).await.good()?;
    open(&scratch, "directory/", OpenFlags::DIRECTORY, READ).await.good()?;
    scratch.remove_directory_at("directory/".into()).await.good()
}

/// A file's name may not.
async fn slash_after_file() -> Outcome {
    let scratch = scratch().await?;
    file(&scratch, "file", "text").await?;
    fails!(open(&scratch, "file/", OLD, READ).await, ErrorCode::NotDirectory);
    fails!(scratch.unlink_file_at("file/".into()).await, ErrorCode::NotDirectory);
    fails!(scratch.stat_at(AS_IS, "file/".into()).await, ErrorCode::NotDirectory);
    Ok(())
}

async fn link() -> Outcome {
    let scratch = scratch().await?;
    scratch.create_directory_at("directory".into()).await.good()?;
    let directory = open(&scratch, "directory", OpenFlags::DIRECTORY, CHANGE).await.good()?;
    file(&scratch, "file", "text").await?;
    scratch.link_at(AS_IS, "file".into(), &directory, "linked".into()).await.good()?;
    let linked = open(&scratch, "directory/linked", OLD, READ).await.good()?;
    same!(text(&linked, 0).await.good()?, "text");
    fails!(scratch.link_at(AS_IS, "none".into(), &scratch, "new".into()).await, ErrorCode::NoEntry);
    fails!(scratch.link_at(AS_IS, "file".into(), &directory, "linked".into()).await, ErrorCode::Exist);
    fails!(scratch.link_at(AS_IS, "directory".into(), &scratch, "new".into()).await, ErrorCode::NotPermitted);
    fails!(scratch.link_at(AS_IS, "file".into(), &directory, "../../../x".into()).await, ErrorCode::NotPermitted);
    let ro = volume("/ro")?;
    let refused = ro.link_at(AS_IS, "hello.txt".into(), &scratch, "new".into()).await;
    fails!(refused, ErrorCode::ReadOnly | ErrorCode::NotPermitted | ErrorCode::CrossDevice);
    Ok(())
}

async fn symlink() -> Outcome {
    let scratch = scratch().await?;
    scratch.symlink_at("not/there".into(), "link".into()).await.good()?;
    same!(scratch.readlink_at("link".into()).await.good()?, "not/there");
    fails!(scratch.symlink_at("other".into(), "link".into()).await, ErrorCode::Exist);
    fails!(scratch.symlink_at("/etc/passwd".into(), "absolute".into()).await, ErrorCode::NotPermitted);
    fails!(scratch.stat_at(AS_IS, "absolute".into()).await, ErrorCode::NoEntry);
    fails!(scratch.symlink_at("other".into(), "none/link".into()).await, ErrorCode::NoEntry);
    fails!(scratch.symlink_at("other".into(), "../../outside".into()).await, ErrorCode::NotPermitted);
    Ok(())
}

async fn readlink() -> Outcome {
    let scratch = scratch().await?;
    let target = "directory/".repeat(100);
    scratch.symlink_at(target.clone(), "link".into()).await.good()?;
    same!(scratch.readlink_at("link".into()).await.good()?, target);
    file(&scratch, "file", "").await?;
    fails!(scratch.readlink_at("file".into()).await, ErrorCode::Invalid);
    fails!(scratch.readlink_at("none".into()).await, ErrorCode::NoEntry);
    fails!(scratch.readlink_at("../../x".into()).await, ErrorCode::NotPermitted);
    Ok(())
}

async fn rename() -> Outcome {
    let scratch = scratch().await?;
    scratch.create_directory_at("directory".into()).await.good()?;
    let directory = open(&scratch, "directory", OpenFlags::DIRECTORY, CHANGE).await.good()?;
    file(&scratch, "one", "first").await?;
    file(&scratch, "two", "second").await?;
    scratch.rename_at("one".into(), &directory, "moved".into()).await.good()?;
    fails!(open(&scratch, "one", OLD, READ).await, ErrorCode::NoEntry);
    let moved = open(&directory, "moved", OLD, READ).await.good()?;
    same!(text(&moved, 0).await.good()?, "first");
    // What is at the new path is replaced.
    scratch.rename_at("two".into(), &directory, "moved".into()).await.good()?;
    let replaced = open(&directory, "moved", OLD, READ).await.good()?;
    same!(text(&replaced, 0).await.good()?, "second");
    scratch.rename_at("directory".into(), &scratch, "renamed".into()).await.good()?;
    open(&scratch, "renamed/moved", OLD, READ).await.good()?;
    fails!(scratch.rename_at("none".into(), &scratch, "new".into()).await, ErrorCode::NoEntry);
    file(&scratch, "file", "").await?;
    fails!(scratch.rename_at("file".into(), &scratch, "renamed".into()).await, ErrorCode::IsDirectory);
    fails!(scratch.rename_at("renamed".into(), &scratch, "file".into()).await, ErrorCode::NotDirectory);
    fails!(scratch.rename_at("file".into(), &scratch, "../../x".into()).await, ErrorCode::NotPermitted);
    Ok(())
}

async fn unlink() -> Outcome {
    let scratch = scratch().await?;
    let file = file(&scratch, "file", "text").await?;
    scratch.symlink_at("file".into(), "link".into()).await.good()?;
    scratch.unlink_file_at("link".into()).await.good()?;
    scratch.unlink_file_at("file".into()).await.good()?;
    fails!(open(&scratch, "file", OLD, READ).await, ErrorCode::NoEntry);
    // An open file lives on.
    same!(text(&file, 0).await.good()?, "text");
    fails!(scratch.unlink_file_at("file".into()).await, ErrorCode::NoEntry);
    scratch.create_directory_at("directory".into()).await.good()?;
    let refused = scratch.unlink_file_at("directory".into()).await;
    fails!(refused, ErrorCode::NotPermitted | ErrorCode::Access | ErrorCode::IsDirectory);
    fails!(scratch.unlink_file_at("../../x".into()).await, ErrorCode::NotPermitted);
    Ok(())
}

/// Where a directory may not be changed the error is `read-only`, not just any.
async fn read_only_code() -> Outcome {
    use wasip3::filesystem::types::NewTimestamp::NoChange;
    let ro = volume("/ro")?;
    let hello = || "hello.txt".to_owned();
    let tried = [
        ("open-at to write", open(&ro, "hello.txt", OLD, WRITE).await.map(drop)),
        ("open-at to create", open(&ro, "new", OpenFlags::CREATE, READ).await.map(drop)),
        ("create-directory-at", ro.create_directory_at("new".into()).await),
        ("symlink-at", ro.symlink_at(hello(), "new-link".into()).await),
        ("rename-at", ro.rename_at(hello(), &ro, hello()).await),
        ("set-times-at", ro.set_times_at(AS_IS, hello(), NoChange, NoChange).await),
        ("unlink-file-at", ro.unlink_file_at("new-link".into()).await),
    ];
    let other: Vec<_> = tried.iter().filter(|(_, result)| !matches!(result, Err(ErrorCode::ReadOnly))).collect();
    ensure!(other.is_empty(), "{other:?}");
    Ok(())
}
