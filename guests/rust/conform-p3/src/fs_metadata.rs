//! Tests of `wasi:filesystem`: what descriptors and paths are, and how they are changed.

use wasip3::clocks::system_clock::{self, Instant};
use wasip3::filesystem::types::{DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, NewTimestamp};

use crate::conform::{Good, Outcome, Test};
use crate::volume::{AS_IS, BOTH, FOLLOW, OLD, READ, WRITE, file, open, put, scratch, text, volume};

pub const TESTS: &[Test] = &[
    test!("fs-get-flags", get_flags, ["wasi:filesystem/types#[method]descriptor.get-flags"]),
    test!("fs-get-type", get_type, ["wasi:filesystem/types#[method]descriptor.get-type"]),
    test!("fs-set-size", set_size, ["wasi:filesystem/types#[method]descriptor.set-size"]),
    test!("fs-set-times", set_times, ["wasi:filesystem/types#[method]descriptor.set-times"]),
    test!("fs-set-times-negative", set_times_negative, ["wasi:filesystem/types#[method]descriptor.set-times"]),
    test!("fs-set-times-at", set_times_at, ["wasi:filesystem/types#[method]descriptor.set-times-at"]),
    test!("fs-stat", stat, ["wasi:filesystem/types#[method]descriptor.stat"]),
    test!("fs-stat-at", stat_at, ["wasi:filesystem/types#[method]descriptor.stat-at"]),
    test!("fs-is-same-object", is_same_object, ["wasi:filesystem/types#[method]descriptor.is-same-object"]),
    test!(
        "fs-metadata-hash",
        metadata_hash,
        [
            "wasi:filesystem/types#[method]descriptor.metadata-hash",
            "wasi:filesystem/types#[method]descriptor.metadata-hash-at"
        ]
    ),
    test!(
        "fs-metadata-hash-changes",
        metadata_hash_changes,
        ["wasi:filesystem/types#[method]descriptor.metadata-hash"]
    ),
    test!("fs-metadata-hash-at", metadata_hash_at, ["wasi:filesystem/types#[method]descriptor.metadata-hash-at"]),
];

async fn get_flags() -> Outcome {
    let change = DescriptorFlags::MUTATE_DIRECTORY;
    let data = volume("/data")?.get_flags().await.good()?;
    ensure!(data.contains(READ | change), "/data has {data:?}");
    let ro = volume("/ro")?;
    let flags = ro.get_flags().await.good()?;
    ensure!(flags.contains(READ) && !flags.intersects(WRITE | change), "/ro has {flags:?}");
    let scratch = scratch().await?;
    let whole = file(&scratch, "file", "text").await?;
    ensure!(whole.get_flags().await.good()?.contains(BOTH));
    let flags = open(&scratch, "file", OLD, READ).await.good()?.get_flags().await.good()?;
    ensure!(flags.contains(READ) && !flags.contains(WRITE));
    let flags = open(&scratch, "file", OLD, WRITE).await.good()?.get_flags().await.good()?;
    ensure!(flags.contains(WRITE) && !flags.contains(READ));
    Ok(())
}

async fn get_type() -> Outcome {
    let ro = volume("/ro")?;
    ensure!(matches!(ro.get_type().await.good()?, DescriptorType::Directory));
    let hello = open(&ro, "hello.txt", OLD, READ).await.good()?;
    ensure!(matches!(hello.get_type().await.good()?, DescriptorType::RegularFile));
    Ok(())
}

async fn set_size() -> Outcome {
    let scratch = scratch().await?;
    let file = file(&scratch, "file", "abcdef").await?;
    file.set_size(3).await.good()?;
    same!(text(&file, 0).await.good()?, "abc");
    file.set_size(5).await.good()?;
    same!(text(&file, 0).await.good()?, "abc\0\0");
    let only_read = open(&scratch, "file", OLD, READ).await.good()?;
    fails!(
        only_read.set_size(0).await,
        ErrorCode::BadDescriptor | ErrorCode::Invalid | ErrorCode::NotPermitted | ErrorCode::Access
    );
    fails!(
        scratch.set_size(0).await,
        ErrorCode::IsDirectory | ErrorCode::BadDescriptor | ErrorCode::NotPermitted | ErrorCode::Invalid
    );
    same!(text(&file, 0).await.good()?, "abc\0\0");
    Ok(())
}

fn at(seconds: i64) -> NewTimestamp {
    NewTimestamp::Timestamp(Instant { seconds, nanoseconds: 500_000_000 })
}

fn accessed(stat: &DescriptorStat) -> Option<i64> {
    stat.data_access_timestamp.map(|instant| instant.seconds)
}

fn modified(stat: &DescriptorStat) -> Option<i64> {
    stat.data_modification_timestamp.map(|instant| instant.seconds)
}

async fn set_times() -> Outcome {
    let scratch = scratch().await?;
    let file = file(&scratch, "file", "text").await?;
    file.set_times(at(1_000_000_000), at(1_100_000_000)).await.good()?;
    let stat = file.stat().await.good()?;
    same!(accessed(&stat), Some(1_000_000_000));
    same!(modified(&stat), Some(1_100_000_000));
    file.set_times(NewTimestamp::NoChange, at(1_200_000_000)).await.good()?;
    let stat = file.stat().await.good()?;
    same!(accessed(&stat), Some(1_000_000_000));
    same!(modified(&stat), Some(1_200_000_000));
    let before = system_clock::now().seconds;
    file.set_times(NewTimestamp::Now, NewTimestamp::NoChange).await.good()?;
    let stat = file.stat().await.good()?;
    ensure!(accessed(&stat).is_some_and(|seconds| (before - 2..before + 60).contains(&seconds)));
    same!(modified(&stat), Some(1_200_000_000));
    scratch.set_times(at(1_300_000_000), at(1_300_000_000)).await.good()?;
    same!(modified(&scratch.stat().await.good()?), Some(1_300_000_000));
    let hello = open(&volume("/ro")?, "hello.txt", OLD, READ).await.good()?;
    fails!(hello.set_times(at(0), at(0)).await, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    Ok(())
}

/// Half a second before 1970's start is the second -1 and then half a second more.
async fn set_times_negative() -> Outcome {
    let file = file(&scratch().await?, "file", "text").await?;
    file.set_times(NewTimestamp::NoChange, at(-1)).await.good()?;
    let instant = file.stat().await.good()?.data_modification_timestamp.good()?;
    same!(instant.seconds, -1);
    same!(instant.nanoseconds, 500_000_000);
    Ok(())
}

async fn set_times_at() -> Outcome {
    let scratch = scratch().await?;
    let file = file(&scratch, "file", "text").await?;
    scratch.symlink_at("file".into(), "link".into()).await.good()?;
    scratch.set_times_at(AS_IS, "file".into(), at(1_000_000_000), at(1_100_000_000)).await.good()?;
    let stat = file.stat().await.good()?;
    same!(accessed(&stat), Some(1_000_000_000));
    same!(modified(&stat), Some(1_100_000_000));
    scratch.set_times_at(FOLLOW, "link".into(), NewTimestamp::NoChange, at(1_200_000_000)).await.good()?;
    same!(modified(&file.stat().await.good()?), Some(1_200_000_000));
    // The link itself, not its target.
    scratch.set_times_at(AS_IS, "link".into(), NewTimestamp::NoChange, at(1_300_000_000)).await.good()?;
    same!(modified(&file.stat().await.good()?), Some(1_200_000_000));
    same!(modified(&scratch.stat_at(AS_IS, "link".into()).await.good()?), Some(1_300_000_000));
    fails!(scratch.set_times_at(AS_IS, "none".into(), at(0), at(0)).await, ErrorCode::NoEntry);
    let ro = volume("/ro")?;
    let refused = ro.set_times_at(AS_IS, "hello.txt".into(), at(0), at(0)).await;
    fails!(refused, ErrorCode::ReadOnly | ErrorCode::NotPermitted);
    Ok(())
}

async fn stat() -> Outcome {
    let ro = volume("/ro")?;
    let stat = ro.stat().await.good()?;
    ensure!(matches!(stat.type_, DescriptorType::Directory));
    let stat = open(&ro, "hello.txt", OLD, READ).await.good()?.stat().await.good()?;
    ensure!(matches!(stat.type_, DescriptorType::RegularFile));
    same!(stat.size, 5);
    same!(stat.link_count, 1);
    let scratch = scratch().await?;
    let before = system_clock::now().seconds;
    let file = file(&scratch, "file", "abc").await?;
    scratch.link_at(AS_IS, "file".into(), &scratch, "other".into()).await.good()?;
    put(&file, "def", 3).await.good()?;
    let stat = file.stat().await.good()?;
    same!(stat.size, 6);
    same!(stat.link_count, 2);
    let times = [stat.data_access_timestamp, stat.data_modification_timestamp, stat.status_change_timestamp];
    for time in times.into_iter().flatten() {
        ensure!((before - 2..before + 60).contains(&time.seconds) && time.nanoseconds < 1_000_000_000);
    }
    Ok(())
}

async fn stat_at() -> Outcome {
    let stat = volume("/ro")?.stat_at(AS_IS, "hello.txt".into()).await.good()?;
    ensure!(matches!(stat.type_, DescriptorType::RegularFile));
    same!(stat.size, 5);
    let scratch = scratch().await?;
    file(&scratch, "file", "text and more").await?;
    scratch.symlink_at("file".into(), "link".into()).await.good()?;
    let stat = scratch.stat_at(AS_IS, "link".into()).await.good()?;
    ensure!(matches!(stat.type_, DescriptorType::SymbolicLink));
    same!(stat.size, 4);
    let stat = scratch.stat_at(FOLLOW, "link".into()).await.good()?;
    ensure!(matches!(stat.type_, DescriptorType::RegularFile));
    same!(stat.size, 13);
    let stat = scratch.stat_at(AS_IS, ".".into()).await.good()?;
    ensure!(matches!(stat.type_, DescriptorType::Directory));
    fails!(scratch.stat_at(AS_IS, "none".into()).await, ErrorCode::NoEntry);
    fails!(scratch.stat_at(AS_IS, "file/none".into()).await, ErrorCode::NotDirectory);
    fails!(scratch.stat_at(AS_IS, "../..".into()).await, ErrorCode::NotPermitted);
    fails!(scratch.stat_at(AS_IS, "/".into()).await, ErrorCode::NotPermitted);
    let file = open(&scratch, "file", OLD, READ).await.good()?;
    fails!(file.stat_at(AS_IS, "none".into()).await, ErrorCode::NotDirectory | ErrorCode::BadDescriptor);
    Ok(())
}

async fn is_same_object() -> Outcome {
    let scratch = scratch().await?;
    let one = file(&scratch, "one", "text").await?;
    let two = file(&scratch, "two", "text").await?;
    scratch.link_at(AS_IS, "one".into(), &scratch, "again".into()).await.good()?;
    let again = open(&scratch, "again", OLD, READ).await.good()?;
    ensure!(one.is_same_object(&one).await);
    ensure!(one.is_same_object(&again).await);
    ensure!(!one.is_same_object(&two).await);
    ensure!(!one.is_same_object(&scratch).await);
    ensure!(scratch.is_same_object(&scratch).await);
    ensure!(volume("/ro")?.is_same_object(&volume("/ro")?).await);
    ensure!(!volume("/ro")?.is_same_object(&volume("/data")?).await);
    Ok(())
}

async fn metadata_hash() -> Outcome {
    let scratch = scratch().await?;
    let one = file(&scratch, "one", "text").await?;
    let two = file(&scratch, "two", "text, longer").await?;
    let hash = one.metadata_hash().await.good()?;
    same!(one.metadata_hash().await.good()?, hash);
    same!(scratch.metadata_hash_at(AS_IS, "one".into()).await.good()?, hash);
    let other = two.metadata_hash().await.good()?;
    ensure!((other.lower, other.upper) != (hash.lower, hash.upper));
    scratch.metadata_hash().await.good()?;
    Ok(())
}

/// The hash is of the size and the time of the last change, too.
async fn metadata_hash_changes() -> Outcome {
    let file = file(&scratch().await?, "file", "text").await?;
    let before = file.metadata_hash().await.good()?;
    file.set_times(NewTimestamp::NoChange, at(1_000_000_000)).await.good()?;
    put(&file, "another text", 0).await.good()?;
    let after = file.metadata_hash().await.good()?;
    ensure!((before.lower, before.upper) != (after.lower, after.upper));
    Ok(())
}

async fn metadata_hash_at() -> Outcome {
    let scratch = scratch().await?;
    let file = file(&scratch, "file", "text").await?;
    scratch.symlink_at("file".into(), "link".into()).await.good()?;
    let hash = file.metadata_hash().await.good()?;
    same!(scratch.metadata_hash_at(FOLLOW, "link".into()).await.good()?, hash);
    let link = scratch.metadata_hash_at(AS_IS, "link".into()).await.good()?;
    ensure!((link.lower, link.upper) != (hash.lower, hash.upper));
    fails!(scratch.metadata_hash_at(AS_IS, "none".into()).await, ErrorCode::NoEntry);
    fails!(scratch.metadata_hash_at(AS_IS, "../..".into()).await, ErrorCode::NotPermitted);
    Ok(())
}
