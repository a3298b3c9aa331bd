//! Writes or reads /data/big from its begin to its end, or asks what it is again and again, and prints the nanoseconds
//! that it took, a tab, and how many bytes or answers there were. WASI 0.2.

use wasip2::clocks::monotonic_clock::now;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasip2::io::streams::StreamError;

wasip2::cli::command::export!(Disk);

const FILE: &str = "big";
const PIECE: usize = 64 << 10;

struct Disk;

impl wasip2::exports::cli::run::Guest for Disk {
    fn run() -> Result<(), ()> {
        let args = wasip2::cli::environment::get_arguments();
        let number = || args.get(2).and_then(|text| text.parse().ok()).ok_or(());
        let (data, _) = get_directories().into_iter().find(|(_, path)| path == "/data").ok_or(())?;
        let (begun, count) = match args.get(1).map(String::as_str) {
            Some("write") => write(&data, number()?),
            Some("read") => read(&data),
            Some("stat") => stat(&data, number()?),
            _ => return Err(()),
        };
        let text = format!("{}\t{count}\n", now() - begun);
        wasip2::cli::stdout::get_stdout().blocking_write_and_flush(text.as_bytes()).map_err(|_| ())
    }
}

/// When it began, and how much was written.
fn write(data: &Descriptor, bytes: u64) -> (u64, u64) {
    let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = data.open_at(PathFlags::empty(), FILE, flags, DescriptorFlags::WRITE).unwrap();
    let piece = vec![b'x'; PIECE];
    let begun = now();
    let stream = file.write_via_stream(0).unwrap();
    let ready = stream.subscribe();
    let mut written = 0;
    while written < bytes {
        let room = match stream.check_write().unwrap() {
            0 => {
                ready.block();
                continue;
            }
            room => room.min(bytes - written).min(PIECE as u64),
        };
        stream.write(&piece[..room as usize]).unwrap();
        written += room;
    }
    stream.blocking_flush().unwrap();
    (begun, written)
}

fn read(data: &Descriptor) -> (u64, u64) {
    let file = data.open_at(PathFlags::empty(), FILE, OpenFlags::empty(), DescriptorFlags::READ).unwrap();
    let begun = now();
    let stream = file.read_via_stream(0).unwrap();
    let mut read = 0;
    loop {
        match stream.blocking_read(PIECE as u64) {
            Ok(bytes) => read += bytes.len() as u64,
            Err(StreamError::Closed) => return (begun, read),
            Err(error) => panic!("{error}"),
        }
    }
}

fn stat(data: &Descriptor, times: u64) -> (u64, u64) {
    let begun = now();
    for _ in 0..times {
        data.stat_at(PathFlags::empty(), FILE).unwrap();
    }
    (begun, times)
}
