//! Tests of `wasi:filesystem`: streams of files and directories, and the volumes.

use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{Advice, Descriptor, DescriptorType, DirectoryEntry, ErrorCode, OpenFlags};
use wasip3::wit_stream;
use wit_bindgen::StreamResult;

use crate::conform::{Good, Outcome, Test, both, stream_of};
use crate::volume::{BOTH, OLD, READ, WRITE, file, open, put, scratch, text, volume};

pub const TESTS: &[Test] = &[
    test!("fs-directories", directories, ["wasi:filesystem/preopens#get-directories"]),
    test!("fs-read", read, ["wasi:filesystem/types#[method]descriptor.read-via-stream"]),
    test!("fs-read-early-end", read_early_end, ["wasi:filesystem/types#[method]descriptor.read-via-stream"]),
    test!("fs-read-refused", read_refused, ["wasi:filesystem/types#[method]descriptor.read-via-stream"]),
    test!("fs-read-two", read_two, ["wasi:filesystem/types#[method]descriptor.read-via-stream"]),
    test!("fs-write", write, ["wasi:filesystem/types#[method]descriptor.write-via-stream"]),
    test!("fs-write-pieces", write_pieces, ["wasi:filesystem/types#[method]descriptor.write-via-stream"]),
    test!("fs-write-nothing", write_nothing, ["wasi:filesystem/types#[method]descriptor.write-via-stream"]),
    test!("fs-write-refused", write_refused, ["wasi:filesystem/types#[method]descriptor.write-via-stream"]),
    test!(
        "fs-copy",
        copy,
        [
            "wasi:filesystem/types#[method]descriptor.read-via-stream",
            "wasi:filesystem/types#[method]descriptor.write-via-stream"
        ]
    ),
    test!("fs-append", append, ["wasi:filesystem/types#[method]descriptor.append-via-stream"]),
    test!("fs-append-refused", append_refused, ["wasi:filesystem/types#[method]descriptor.append-via-stream"]),
    test!("fs-read-directory", read_directory, ["wasi:filesystem/types#[method]descriptor.read-directory"]),
    test!(
        "fs-read-directory-early-end",
        entries_early_end,
        ["wasi:filesystem/types#[method]descriptor.read-directory"]
    ),
    test!("fs-read-directory-refused", entries_refused, ["wasi:filesystem/types#[method]descriptor.read-directory"]),
    test!("fs-advise", advise, ["wasi:filesystem/types#[method]descriptor.advise"]),
    test!("fs-sync-data", sync_data, ["wasi:filesystem/types#[method]descriptor.sync-data"]),
    test!("fs-sync", sync, ["wasi:filesystem/types#[method]descriptor.sync"]),
];

async fn directories() -> Outcome {
    let mut paths: Vec<_> = get_directories().into_iter().map(|(_, path)| path).collect();
    paths.sort();
    same!(paths, ["/data", "/ro"]);
    same!(get_directories().len(), 2);
    Ok(())
}

async fn read() -> Outcome {
    let hello = open(&volume("/ro")?, "hello.txt", OLD, READ).await.good()?;
    same!(text(&hello, 0).await.good()?, "hello");
    same!(text(&hello, 3).await.good()?, "lo");
    same!(text(&hello, 5).await.good()?, "");
    same!(text(&hello, 1000).await.good()?, "");
    let (mut contents, done) = hello.read_via_stream(1);
    let (result, some) = contents.read(Vec::with_capacity(2)).await;
    same!(result, StreamResult::Complete(2));
    same!(some, b"el");
    let (result, some) = contents.read(Vec::with_capacity(9)).await;
    same!(result, StreamResult::Complete(2));
    same!(some, b"lo");
    let (result, _) = contents.read(Vec::with_capacity(9)).await;
    same!(result, StreamResult::Dropped);
    done.await.good()
}

async fn read_early_end() -> Outcome {
    let long = "0123456789".repeat(100_000);
    let file = file(&scratch().await?, "long", &long).await?;
    let (mut contents, done) = file.read_via_stream(0);
    let (_, some) = contents.read(Vec::with_capacity(10)).await;
    ensure!(!some.is_empty() && long.as_bytes().starts_with(&some));
    drop(contents);
    done.await.good()?;
    let (contents, done) = file.read_via_stream(0);
    drop(contents);
    done.await.good()?;
    // The result need not be read.
    let (contents, done) = file.read_via_stream(0);
    drop(done);
    same!(contents.collect().await.len(), long.len());
    Ok(())
}

async fn read_refused() -> Outcome {
    let scratch = scratch().await?;
    file(&scratch, "file", "text").await?;
    let only_write = open(&scratch, "file", OLD, WRITE).await.good()?;
    let (contents, done) = only_write.read_via_stream(0);
    same!(contents.collect().await.len(), 0);
    fails!(done.await, ErrorCode::BadDescriptor | ErrorCode::NotPermitted | ErrorCode::Access);
    let (contents, done) = scratch.read_via_stream(0);
    same!(contents.collect().await.len(), 0);
    fails!(done.await, ErrorCode::IsDirectory | ErrorCode::BadDescriptor | ErrorCode::NotPermitted);
    Ok(())
}

async fn read_two() -> Outcome {
    let file = file(&scratch().await?, "file", "one two").await?;
    let ((first, second), ()) = both(both(text(&file, 0), text(&file, 4)), async {}).await;
    same!(first.good()?, "one two");
    same!(second.good()?, "two");
    Ok(())
}

async fn write() -> Outcome {
    let file = file(&scratch().await?, "file", "abcdef").await?;
    put(&file, "XY", 2).await.good()?;
    same!(text(&file, 0).await.good()?, "abXYef");
    // The gap is filled with zeros.
    put(&file, "end", 8).await.good()?;
    same!(text(&file, 0).await.good()?, "abXYef\0\0end");
    Ok(())
}

async fn write_pieces() -> Outcome {
    let file = file(&scratch().await?, "file", "").await?;
    let (mut to, contents) = wit_stream::new();
    let done = file.write_via_stream(contents, 0);
    let mut wanted = String::new();
    for i in 0..1000 {
        let piece = format!("{i} {}\n", "x".repeat(i));
        wanted.push_str(&piece);
        let rest = to.write_all(piece.into_bytes()).await;
        ensure!(rest.is_empty(), "{} bytes of piece {i} are left", rest.len());
    }
    drop(to);
    done.await.good()?;
    ensure!(text(&file, 0).await.good()? == wanted);
    Ok(())
}

async fn write_nothing() -> Outcome {
    let file = file(&scratch().await?, "file", "as it was").await?;
    let (to, contents) = wit_stream::new();
    let done = file.write_via_stream(contents, 0);
    drop(to);
    done.await.good()?;
    // A stream that has already ended.
    let (to, contents) = wit_stream::new();
    drop(to);
    file.write_via_stream(contents, 100).await.good()?;
    same!(text(&file, 0).await.good()?, "as it was");
    Ok(())
}

async fn write_refused() -> Outcome {
    let scratch = scratch().await?;
    file(&scratch, "file", "text").await?;
    let only_read = open(&scratch, "file", OLD, READ).await.good()?;
    for refusing in [&only_read, &scratch] {
        let (mut to, contents) = wit_stream::new();
        let done = refusing.write_via_stream(contents, 0);
        let rest = to.write_all(b"lost".to_vec()).await;
        same!(rest.len(), 4);
        fails!(
            done.await,
            ErrorCode::BadDescriptor | ErrorCode::NotPermitted | ErrorCode::Access | ErrorCode::IsDirectory
        );
    }
    same!(text(&only_read, 0).await.good()?, "text");
    Ok(())
}

/// The stream of one file is handed on to the other as it is.
async fn copy() -> Outcome {
    let scratch = scratch().await?;
    let long = "0123456789".repeat(100_000);
    let from = file(&scratch, "from", &long).await?;
    let to = file(&scratch, "to", "").await?;
    let (contents, read) = from.read_via_stream(0);
    to.write_via_stream(contents, 0).await.good()?;
    read.await.good()?;
    ensure!(text(&to, 0).await.good()? == long);
    Ok(())
}

async fn append() -> Outcome {
    let file = file(&scratch().await?, "file", "one").await?;
    file.append_via_stream(stream_of(b" two".to_vec())).await.good()?;
    let (mut to, contents) = wit_stream::new();
    let done = file.append_via_stream(contents);
    to.write_all(b" three".to_vec()).await;
    to.write_all(b" four".to_vec()).await;
    drop(to);
    done.await.good()?;
    let (to, contents) = wit_stream::new();
    let done = file.append_via_stream(contents);
    drop(to);
    done.await.good()?;
    same!(text(&file, 0).await.good()?, "one two three four");
    Ok(())
}

async fn append_refused() -> Outcome {
    let hello = open(&volume("/ro")?, "hello.txt", OLD, READ).await.good()?;
    let (mut to, contents) = wit_stream::new();
    let done = hello.append_via_stream(contents);
    same!(to.write_all(b"lost".to_vec()).await.len(), 4);
    fails!(done.await, ErrorCode::BadDescriptor | ErrorCode::NotPermitted | ErrorCode::Access | ErrorCode::ReadOnly);
    same!(text(&hello, 0).await.good()?, "hello");
    Ok(())
}

/// The entries of a directory, in the order of their names.
async fn entries(directory: &Descriptor) -> Result<Vec<DirectoryEntry>, ErrorCode> {
    let (entries, done) = directory.read_directory();
    let mut entries = entries.collect().await;
    done.await?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

async fn read_directory() -> Outcome {
    let scratch = scratch().await?;
    same!(entries(&scratch).await.good()?.len(), 0);
    for i in 0..200 {
        open(&scratch, &format!("file-{i:03}"), OpenFlags::CREATE, WRITE).await.good()?;
    }
    scratch.create_directory_at("a-directory".into()).await.good()?;
    scratch.symlink_at("file-000".into(), "z-link".into()).await.good()?;
    // Two streams at a time do not disturb each other.
    let (first, second) = both(entries(&scratch), entries(&scratch)).await;
    let (first, second) = (first.good()?, second.good()?);
    let names: Vec<_> = first.iter().map(|entry| entry.name.clone()).collect();
    let mut wanted = vec!["a-directory".to_owned()];
    wanted.extend((0..200).map(|i| format!("file-{i:03}")));
    wanted.push("z-link".into());
    same!(names, wanted);
    same!(second, first);
    ensure!(matches!(first[0].type_, DescriptorType::Directory));
    ensure!(matches!(first[1].type_, DescriptorType::RegularFile));
    ensure!(matches!(first[201].type_, DescriptorType::SymbolicLink));
    Ok(())
}

async fn entries_early_end() -> Outcome {
    let scratch = scratch().await?;
    for i in 0..100 {
        open(&scratch, &i.to_string(), OpenFlags::CREATE, WRITE).await.good()?;
    }
    let (mut some, done) = scratch.read_directory();
    ensure!(some.next().await.is_some());
    drop(some);
    done.await.good()?;
    let (none, done) = scratch.read_directory();
    drop(none);
    done.await.good()?;
    same!(entries(&scratch).await.good()?.len(), 100);
    Ok(())
}

async fn entries_refused() -> Outcome {
    let hello = open(&volume("/ro")?, "hello.txt", OLD, READ).await.good()?;
    let (none, done) = hello.read_directory();
    same!(none.collect().await.len(), 0);
    fails!(done.await, ErrorCode::NotDirectory | ErrorCode::BadDescriptor);
    Ok(())
}

async fn advise() -> Outcome {
    let file = file(&scratch().await?, "file", "text").await?;
    let all = [Advice::Normal, Advice::Sequential, Advice::Random, Advice::WillNeed, Advice::DontNeed, Advice::NoReuse];
    for advice in all {
        file.advise(0, 4, advice).await.good()?;
    }
    file.advise(1000, 0, Advice::Normal).await.good()?;
    same!(text(&file, 0).await.good()?, "text");
    Ok(())
}

async fn sync_data() -> Outcome {
    let scratch = scratch().await?;
    let file = file(&scratch, "file", "text").await?;
    file.sync_data().await.good()?;
    same!(text(&file, 0).await.good()?, "text");
    // Not opened for writing: a success without effect.
    open(&scratch, "file", OLD, READ).await.good()?.sync_data().await.good()?;
    open(&volume("/ro")?, "hello.txt", OLD, READ).await.good()?.sync_data().await.good()
}

async fn sync() -> Outcome {
    let scratch = scratch().await?;
    let file = open(&scratch, "file", OpenFlags::CREATE, BOTH).await.good()?;
    put(&file, "text", 0).await.good()?;
    file.sync().await.good()?;
    same!(text(&file, 0).await.good()?, "text");
    open(&scratch, "file", OLD, READ).await.good()?.sync().await.good()?;
    open(&volume("/ro")?, "hello.txt", OLD, READ).await.good()?.sync().await.good()
}
