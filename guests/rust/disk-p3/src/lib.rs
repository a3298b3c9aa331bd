//! Writes or reads /data/big from its begin to its end, or asks what it is again and again, and prints the nanoseconds
//! that it took, a tab, and how many bytes or answers there were. WASI 0.3.

use wasip3::clocks::monotonic_clock::now;
use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasip3::wit_bindgen::StreamResult;

wasip3::cli::command::export!(Disk);

const FILE: &str = "big";
const PIECE: usize = 64 << 10;

struct Disk;

impl wasip3::exports::cli::run::Guest for Disk {
    async fn run() -> Result<(), ()> {
        let args = wasip3::cli::environment::get_arguments();
        let number = || args.get(2).and_then(|text| text.parse().ok()).ok_or(());
        let (data, _) = get_directories().into_iter().find(|(_, path)| path == "/data").ok_or(())?;
        let (begun, count) = match args.get(1).map(String::as_str) {
            Some("write") => write(&data, number()?).await,
            Some("read") => read(&data).await,
            Some("stat") => stat(&data, number()?).await,
            _ => return Err(()),
        };
        let text = format!("{}\t{count}\n", now() - begun);
        let (mut out, contents) = wasip3::wit_stream::new();
        let done = wasip3::cli::stdout::write_via_stream(contents);
        out.write_all(text.into_bytes()).await;
        drop(out);
        done.await.map_err(|_| ())
    }
}

/// When it began, and how much was written.
async fn write(data: &Descriptor, bytes: u64) -> (u64, u64) {
    let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = data.open_at(PathFlags::empty(), FILE.into(), flags, DescriptorFlags::WRITE).await.unwrap();
    let mut piece = vec![b'x'; PIECE];
    let begun = now();
    let (mut stream, contents) = wasip3::wit_stream::new();
    let done = file.write_via_stream(contents, 0);
    let mut written = 0;
    while written < bytes {
        piece.resize(PIECE.min((bytes - written) as usize), b'x');
        written += piece.len() as u64;
        piece = stream.write_all(piece).await;
        assert!(piece.is_empty(), "the file takes no more");
    }
    drop(stream);
    done.await.unwrap();
    (begun, written)
}

async fn read(data: &Descriptor) -> (u64, u64) {
    let file = data.open_at(PathFlags::empty(), FILE.into(), OpenFlags::empty(), DescriptorFlags::READ).await.unwrap();
    let begun = now();
    let (mut stream, done) = file.read_via_stream(0);
    let mut piece = Vec::with_capacity(PIECE);
    let mut read = 0;
    loop {
        let (result, bytes) = stream.read(piece).await;
        read += bytes.len() as u64;
        if matches!(result, StreamResult::Dropped) {
            break;
        }
        piece = bytes;
        piece.clear();
    }
    done.await.unwrap();
    (begun, read)
}

async fn stat(data: &Descriptor, times: u64) -> (u64, u64) {
    let begun = now();
    for _ in 0..times {
        data.stat_at(PathFlags::empty(), FILE.into()).await.unwrap();
    }
    (begun, times)
}
