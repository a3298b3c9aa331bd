//! A body of 100 MiB in each direction: the throughput of the echo guest, and the server's memory.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::process::{Server, program};
use crate::{Result, goal, guest, median};

const BYTES: usize = 100 << 20;
const ROUNDS: usize = 3;

pub(crate) fn run() -> Result {
    let (wharf, wasmtime) = (program("wharf")?, program("wasmtime")?);
    println!("| body of 100 MiB each way | MiB/s | resident MiB after |\n|---|---|---|");
    for name in ["echo-p2", "echo-p3"] {
        let echo = guest(name).display().to_string();
        let servers = [
            Server::new("wharf", &[&wharf, "serve", &echo, "--listen", "{address}"]),
            Server::new("wasmtime serve", &[&wasmtime, "serve", "--addr", "{address}", &echo]),
        ];
        let mut rates = Vec::new();
        for server in &servers {
            let running = server.start()?;
            let times: Vec<f64> =
                (0..ROUNDS).map(|_| Ok(echoed(running.address)?.as_secs_f64())).collect::<Result<_>>()?;
            let rate = 100.0 / median(times);
            println!("| {name}: {} | {rate:.0} | {:.0} |", server.name, running.resident()?);
            rates.push(rate);
        }
        goal(&format!("{name}, throughput of wasmtime serve / wharf"), rates[1] / rates[0], 1.0);
    }
    Ok(())
}

/// The time until the whole body is echoed.
fn echoed(address: SocketAddr) -> Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {BYTES}\r\n\r\n")?;
    let mut writer = stream.try_clone()?;
    let writing = std::thread::spawn(move || -> std::io::Result<()> {
        let chunk = vec![b'x'; 256 << 10];
        (0..BYTES / chunk.len()).try_for_each(|_| writer.write_all(&chunk))
    });
    let (mut buffer, mut read) = (vec![0; 256 << 10], 0);
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            n => read += n,
        }
    }
    writing.join().map_err(|_| "the writer failed")??;
    if read < BYTES { Err(format!("only {read} bytes came back").into()) } else { Ok(begun.elapsed()) }
}
