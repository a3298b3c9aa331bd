//! wasi:filesystem: what is done with an open file or folder.

use wasip2::clocks::wall_clock::{self, Datetime};
use wasip2::filesystem::types::{
    Advice, DescriptorFlags, DescriptorType, ErrorCode, MetadataHashValue, NewTimestamp, OpenFlags,
};

use crate::Test;
use crate::bytes::{pattern, read_all, read_exact, write_all};
use crate::conform::Check;
use crate::volumes::{BOTH, FOLLOW, NONE, READ, contents, file, scratch, write};

pub const TESTS: &[Test] = &[
    Test::new(
        "files-read-write",
        read_write,
        &["wasi:filesystem/types#[method]descriptor.read", "wasi:filesystem/types#[method]descriptor.write"],
    ),
    Test::new(
        "files-streams",
        streams,
        &[
            "wasi:filesystem/types#[method]descriptor.read-via-stream",
            "wasi:filesystem/types#[method]descriptor.write-via-stream",
            "wasi:filesystem/types#[method]descriptor.append-via-stream",
        ],
    ),
    Test::new("files-set-size", set_size, &["wasi:filesystem/types#[method]descriptor.set-size"]),
    Test::new("files-advise", advise, &["wasi:filesystem/types#[method]descriptor.advise"]),
    Test::new(
        "files-sync",
        sync,
        &["wasi:filesystem/types#[method]descriptor.sync", "wasi:filesystem/types#[method]descriptor.sync-data"],
    ),
    Test::new(
        "files-flags-and-type",
        flags_and_type,
        &["wasi:filesystem/types#[method]descriptor.get-flags", "wasi:filesystem/types#[method]descriptor.get-type"],
    ),
    Test::new(
        "files-stat",
        stat,
        &["wasi:filesystem/types#[method]descriptor.stat", "wasi:filesystem/types#[method]descriptor.stat-at"],
    ),
    Test::new(
        "files-set-times",
        set_times,
        &[
            "wasi:filesystem/types#[method]descriptor.set-times",
            "wasi:filesystem/types#[method]descriptor.set-times-at",
        ],
    ),
    Test::new("files-same-object", same_object, &["wasi:filesystem/types#[method]descriptor.is-same-object"]),
    Test::new(
        "files-metadata-hash",
        metadata_hash,
        &[
            "wasi:filesystem/types#[method]descriptor.metadata-hash",
            "wasi:filesystem/types#[method]descriptor.metadata-hash-at",
        ],
    ),
];

fn read_write() -> Check {
    let folder = scratch()?;
    let both = file(&folder, "file", b"hello world")?;
    let (bytes, _) = ok!(both.read(5, 0));
    equal!(bytes, b"hello");
    let (bytes, _) = ok!(both.read(100, 6));
    equal!(bytes, b"world");
    let (bytes, end) = ok!(both.read(100, 11));
    ensure!(bytes.is_empty() && end);
    let (bytes, end) = ok!(both.read(100, 1000));
    ensure!(bytes.is_empty() && end);
    equal!(contents(&both)?, b"hello world");
    // Over what is there, then past the end: the gap is zeroes.
    write(&both, b"W", 6)?;
    write(&both, b"!", 13)?;
    equal!(contents(&both)?, b"hello World\0\0!");
    let large = pattern(300_000);
    write(&both, &large, 0)?;
    ensure!(contents(&both)? == large);
    let only_read = ok!(folder.open_at(NONE, "file", OpenFlags::empty(), READ));
    ensure!(only_read.write(b"x", 0).is_err());
    let only_write = ok!(folder.open_at(NONE, "file", OpenFlags::empty(), DescriptorFlags::WRITE));
    ensure!(only_write.read(1, 0).is_err());
    ensure!(folder.read(1, 0).is_err());
    ensure!(folder.write(b"x", 0).is_err());
    ensure!(contents(&both)? == large);
    Ok(())
}

fn streams() -> Check {
    let folder = scratch()?;
    let both = file(&folder, "file", b"0123456789")?;
    write_all(&ok!(both.write_via_stream(4)), b"four")?;
    equal!(contents(&both)?, b"0123four89");
    write_all(&ok!(both.append_via_stream()), b"+end")?;
    equal!(contents(&both)?, b"0123four89+end");
    // Past the end, as `write` does it.
    write_all(&ok!(both.write_via_stream(16)), b"!")?;
    equal!(contents(&both)?, b"0123four89+end\0\0!");
    // Streams on one file have places of their own, and what one appended the next append follows.
    let (first, second) = (ok!(both.read_via_stream(0)), ok!(both.read_via_stream(8)));
    equal!(read_exact(&first, 2)?, b"01");
    equal!(read_exact(&second, 2)?, b"89");
    equal!(read_exact(&first, 2)?, b"23");
    equal!(read_all(&second)?, b"+end\0\0!");
    let (one, other) = (ok!(both.append_via_stream()), ok!(both.append_via_stream()));
    write_all(&one, b"a")?;
    write_all(&other, b"b")?;
    write_all(&one, b"c")?;
    equal!(read_all(&first)?, b"four89+end\0\0!abc");
    equal!(read_all(&ok!(both.read_via_stream(1000)))?, b"");
    ensure!(folder.read_via_stream(0).is_err());
    ensure!(folder.write_via_stream(0).is_err());
    ensure!(folder.append_via_stream().is_err());
    Ok(())
}

fn set_size() -> Check {
    let folder = scratch()?;
    let both = file(&folder, "file", b"hello")?;
    ok!(both.set_size(8));
    equal!(contents(&both)?, b"hello\0\0\0");
    ok!(both.set_size(2));
    equal!(contents(&both)?, b"he");
    equal!(ok!(both.stat()).size, 2);
    ok!(both.set_size(0));
    equal!(contents(&both)?, b"");
    let only_read = ok!(folder.open_at(NONE, "file", OpenFlags::empty(), READ));
    ensure!(only_read.set_size(1).is_err());
    ensure!(folder.set_size(1).is_err());
    equal!(ok!(both.stat()).size, 0);
    Ok(())
}

fn advise() -> Check {
    let folder = scratch()?;
    let both = file(&folder, "file", b"hello")?;
    use Advice::{DontNeed, NoReuse, Normal, Random, Sequential, WillNeed};
    for advice in [Normal, Sequential, Random, WillNeed, DontNeed, NoReuse] {
        ok!(both.advise(0, 5, advice));
        ok!(both.advise(100, 0, advice));
    }
    ensure!(folder.advise(0, 5, Normal).is_err());
    equal!(contents(&both)?, b"hello");
    Ok(())
}

fn sync() -> Check {
    let folder = scratch()?;
    let both = file(&folder, "file", b"hello")?;
    ok!(both.sync_data());
    ok!(both.sync());
    // Without effect, and without an error.
    let only_read = ok!(folder.open_at(NONE, "file", OpenFlags::empty(), READ));
    ok!(only_read.sync_data());
    ok!(only_read.sync());
    ok!(folder.sync_data());
    ok!(folder.sync());
    equal!(contents(&only_read)?, b"hello");
    Ok(())
}

fn flags_and_type() -> Check {
    let folder = scratch()?;
    let both = file(&folder, "file", b"hello")?;
    equal!(ok!(both.get_type()), DescriptorType::RegularFile);
    equal!(ok!(folder.get_type()), DescriptorType::Directory);
    ensure!(ok!(both.get_flags()).contains(BOTH));
    ensure!(!ok!(both.get_flags()).contains(DescriptorFlags::MUTATE_DIRECTORY));
    let open = |flags| folder.open_at(NONE, "file", OpenFlags::empty(), flags);
    equal!(ok!(ok!(open(READ)).get_flags()) & BOTH, READ);
    equal!(ok!(ok!(open(DescriptorFlags::WRITE)).get_flags()) & BOTH, DescriptorFlags::WRITE);
    ensure!(ok!(folder.get_flags()).contains(READ));
    Ok(())
}

fn stat() -> Check {
    let folder = scratch()?;
    let before = wall_clock::now().seconds;
    let both = file(&folder, "file", b"hello")?;
    ok!(folder.symlink_at("file", "link"));
    let stat = ok!(both.stat());
    equal!((stat.type_, stat.size, stat.link_count), (DescriptorType::RegularFile, 5, 1));
    for time in [stat.data_access_timestamp, stat.data_modification_timestamp, stat.status_change_timestamp] {
        // A file system may keep its own, coarser time.
        ensure!(time.is_none_or(|time| time.seconds.abs_diff(before) < 10 && time.nanoseconds < 1_000_000_000));
    }
    ok!(folder.link_at(NONE, "file", &folder, "second"));
    equal!(ok!(both.stat()).link_count, 2);
    equal!(ok!(folder.stat()).type_, DescriptorType::Directory);
    let at = ok!(folder.stat_at(NONE, "file"));
    equal!((at.type_, at.size, at.link_count), (DescriptorType::RegularFile, 5, 2));
    let link = ok!(folder.stat_at(NONE, "link"));
    equal!((link.type_, link.size), (DescriptorType::SymbolicLink, 4));
    let followed = ok!(folder.stat_at(FOLLOW, "link"));
    equal!((followed.type_, followed.size), (DescriptorType::RegularFile, 5));
    equal!(ok!(folder.stat_at(NONE, ".")).type_, DescriptorType::Directory);
    fails!(folder.stat_at(NONE, "none"), ErrorCode::NoEntry);
    fails!(folder.stat_at(NONE, "file/inside"), ErrorCode::NotDirectory);
    fails!(folder.stat_at(NONE, "../../.."), ErrorCode::NotPermitted);
    fails!(folder.stat_at(NONE, "/"), ErrorCode::NotPermitted);
    Ok(())
}

const THEN: Datetime = Datetime { seconds: 1_000_000_000, nanoseconds: 123_456_000 };
const LATER: Datetime = Datetime { seconds: 1_100_000_000, nanoseconds: 0 };

fn same(time: Option<Datetime>, wanted: Datetime) -> bool {
    time.is_some_and(|time| (time.seconds, time.nanoseconds) == (wanted.seconds, wanted.nanoseconds))
}

fn recent(time: Option<Datetime>) -> bool {
    time.is_some_and(|time| time.seconds.abs_diff(wall_clock::now().seconds) < 10)
}

fn set_times() -> Check {
    use NewTimestamp::{NoChange, Now, Timestamp};
    let folder = scratch()?;
    let both = file(&folder, "file", b"hello")?;
    ok!(folder.symlink_at("file", "link"));
    ok!(both.set_times(Timestamp(THEN), Timestamp(LATER)));
    let stat = ok!(both.stat());
    ensure!(same(stat.data_access_timestamp, THEN) && same(stat.data_modification_timestamp, LATER));
    ok!(both.set_times(NoChange, Now));
    let stat = ok!(both.stat());
    ensure!(same(stat.data_access_timestamp, THEN) && recent(stat.data_modification_timestamp));
    ok!(both.set_times(Now, NoChange));
    ensure!(recent(ok!(both.stat()).data_access_timestamp));
    // The link itself, then what it leads to.
    ok!(folder.set_times_at(NONE, "link", Timestamp(LATER), Timestamp(LATER)));
    ensure!(same(ok!(folder.stat_at(NONE, "link")).data_modification_timestamp, LATER));
    ensure!(recent(ok!(both.stat()).data_modification_timestamp));
    ok!(folder.set_times_at(FOLLOW, "link", Timestamp(THEN), Timestamp(THEN)));
    ensure!(same(ok!(both.stat()).data_modification_timestamp, THEN));
    ok!(folder.set_times(Timestamp(THEN), Timestamp(LATER)));
    ensure!(same(ok!(folder.stat()).data_modification_timestamp, LATER));
    fails!(folder.set_times_at(NONE, "none", Now, Now), ErrorCode::NoEntry);
    fails!(folder.set_times_at(NONE, "../../..", Now, Now), ErrorCode::NotPermitted);
    Ok(())
}

fn same_object() -> Check {
    let folder = scratch()?;
    let both = file(&folder, "file", b"hello")?;
    let other = file(&folder, "other", b"hello")?;
    ok!(folder.link_at(NONE, "file", &folder, "second"));
    let again = ok!(folder.open_at(NONE, "file", OpenFlags::empty(), READ));
    let second = ok!(folder.open_at(NONE, "second", OpenFlags::empty(), READ));
    let here = ok!(folder.open_at(NONE, ".", OpenFlags::DIRECTORY, READ));
    ensure!(both.is_same_object(&both));
    ensure!(both.is_same_object(&again) && again.is_same_object(&both));
    ensure!(both.is_same_object(&second));
    ensure!(folder.is_same_object(&here));
    ensure!(!both.is_same_object(&other));
    ensure!(!both.is_same_object(&folder) && !folder.is_same_object(&both));
    Ok(())
}

fn metadata_hash() -> Check {
    let halves = |hash: MetadataHashValue| (hash.lower, hash.upper);
    let folder = scratch()?;
    let both = file(&folder, "file", b"hello")?;
    ok!(folder.symlink_at("file", "link"));
    let hash = halves(ok!(both.metadata_hash()));
    equal!(halves(ok!(both.metadata_hash())), hash);
    equal!(halves(ok!(folder.metadata_hash_at(NONE, "file"))), hash);
    equal!(halves(ok!(folder.metadata_hash_at(FOLLOW, "link"))), hash);
    ensure!(halves(ok!(folder.metadata_hash_at(NONE, "link"))) != hash);
    equal!(halves(ok!(folder.metadata_hash())), halves(ok!(folder.metadata_hash_at(NONE, "."))));
    // It should change with the file, but need not.
    ok!(both.set_size(100));
    ok!(both.metadata_hash());
    fails!(folder.metadata_hash_at(NONE, "none"), ErrorCode::NoEntry);
    fails!(folder.metadata_hash_at(NONE, "/"), ErrorCode::NotPermitted);
    Ok(())
}
