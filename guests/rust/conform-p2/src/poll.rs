//! wasi:io/poll.

use wasip2::clocks::monotonic_clock::{now, subscribe_duration, subscribe_instant};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::InputStream;
use wasip2::sockets::network::IpAddressFamily;

use crate::Test;
use crate::conform::Check;
use crate::network::connected;
use crate::volumes::{file, scratch};

pub const TESTS: &[Test] = &[
    Test::new(
        "poll-pollable",
        pollable,
        &["wasi:io/poll#[method]pollable.ready", "wasi:io/poll#[method]pollable.block"],
    ),
    Test::new("poll-poll", several, &["wasi:io/poll#poll"]),
    Test::new("poll-many", many, &["wasi:io/poll#poll", "wasi:io/poll#[method]pollable.block"]),
    Test::new("poll-all-ready", all_ready, &["wasi:io/poll#poll"]),
    Test::new("poll-ready-stays", ready_stays, &["wasi:io/poll#[method]pollable.ready"]),
];

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;

fn pollable() -> Check {
    let start = now();
    let timer = subscribe_duration(30 * MILLISECOND);
    while !timer.ready() {
        ensure!(now() - start < 10 * SECOND);
    }
    ensure!(now() - start >= 30 * MILLISECOND);
    timer.block();
    ensure!(timer.ready());
    ensure!(!subscribe_duration(10 * SECOND).ready());
    Ok(())
}

fn several() -> Check {
    let (never, soon, at_once) =
        (subscribe_duration(60 * SECOND), subscribe_duration(MILLISECOND), subscribe_instant(0));
    equal!(poll(&[&never, &at_once]), [1]);
    soon.block();
    let mut ready = poll(&[&soon, &never, &at_once]);
    ready.sort_unstable();
    equal!(ready, [0, 2]);
    // One that is named twice is there twice.
    let mut ready = poll(&[&never, &soon, &never, &soon]);
    ready.sort_unstable();
    equal!(ready, [1, 3]);
    // It waits for the first.
    let start = now();
    equal!(poll(&[&never, &subscribe_duration(20 * MILLISECOND)]), [1]);
    ensure!((20 * MILLISECOND..10 * SECOND).contains(&(now() - start)));
    // What is ready stays so until it is used.
    let folder = scratch()?;
    let from = ok!(file(&folder, "file", b"x")?.read_via_stream(0));
    for _ in 0..3 {
        let ready = from.subscribe();
        equal!(poll(&[&never, &ready]), [1]);
    }
    Ok(())
}

enum Source<'a> {
    Timer { deadline: u64 },
    File { from: InputStream, byte: u8 },
    Connection { from: &'a InputStream, number: usize },
}

/// Two hundred at once: timers, files, and connections of which one after the other is written to.
fn many() -> Check {
    const TIMERS: u64 = 100;
    const FILES: u8 = 60;
    const CONNECTIONS: usize = 40;
    let folder = scratch()?;
    let mut pairs = Vec::new();
    for _ in 0..CONNECTIONS {
        pairs.push(connected(IpAddressFamily::Ipv4)?);
    }
    let mut sources = Vec::new();
    let start = now();
    for number in 0..TIMERS {
        // In an order of their own: 37 and 100 have no common factor.
        sources.push(Source::Timer { deadline: start + (number * 37 % TIMERS) * 3 * MILLISECOND });
    }
    for byte in 0..FILES {
        let file = file(&folder, &byte.to_string(), &[byte])?;
        sources.push(Source::File { from: ok!(file.read_via_stream(0)), byte });
    }
    for (number, pair) in pairs.iter().enumerate() {
        sources.push(Source::Connection { from: &pair.near_from, number });
    }
    let pollables: Vec<Pollable> = sources
        .iter()
        .map(|source| match source {
            Source::Timer { deadline } => subscribe_instant(*deadline),
            Source::File { from, .. } => from.subscribe(),
            Source::Connection { from, .. } => from.subscribe(),
        })
        .collect();
    equal!(pollables.len(), 200);
    let mut waiting: Vec<usize> = (0..pollables.len()).collect();
    // The last connection is the first to be written to; the next follows when it has been seen.
    let mut next = CONNECTIONS - 1;
    ok!(pairs[next].far_to.blocking_write_and_flush(&[next as u8]));
    let mut passed_over = [0; 200];
    while !waiting.is_empty() {
        let asked = now();
        ensure!(asked - start < 30 * SECOND);
        let mut ready = poll(&waiting.iter().map(|at| &pollables[*at]).collect::<Vec<_>>());
        let given = now();
        ensure!(!ready.is_empty());
        ready.sort_unstable();
        ensure!(ready.windows(2).all(|pair| pair[0] < pair[1]));
        ensure!((ready[ready.len() - 1] as usize) < waiting.len());
        let seen: Vec<usize> = ready.iter().map(|at| waiting[*at as usize]).collect();
        waiting.retain(|at| !seen.contains(at));
        for at in seen {
            pollables[at].block();
            match &sources[at] {
                Source::Timer { deadline } => ensure!(*deadline <= given),
                Source::File { from, byte } => equal!(ok!(from.read(10)), [*byte]),
                Source::Connection { from, number } => {
                    equal!(*number, next);
                    equal!(ok!(from.read(10)), [*number as u8]);
                    if next > 0 {
                        next -= 1;
                        ok!(pairs[next].far_to.blocking_write_and_flush(&[next as u8]));
                    }
                }
            }
        }
        // It need not name all that are ready, but no timer may be passed over again and again.
        for at in &waiting {
            if let Source::Timer { deadline } = &sources[*at]
                && *deadline < asked
            {
                passed_over[*at] += 1;
                ensure!(passed_over[*at] < 50);
            }
        }
    }
    equal!(next, 0);
    // The pollables are children of the streams.
    drop(pollables);
    drop(sources);
    Ok(())
}

/// Two hundred that are ready: each is named in time, and none is named that is not there.
fn all_ready() -> Check {
    let timers: Vec<Pollable> = (0..200).map(|_| subscribe_instant(0)).collect();
    timers.iter().for_each(Pollable::block);
    let mut waiting: Vec<&Pollable> = timers.iter().collect();
    for _ in 0..200 {
        let mut ready = poll(&waiting);
        ensure!(!ready.is_empty());
        ready.sort_unstable();
        ensure!(ready.windows(2).all(|pair| pair[0] < pair[1]));
        for at in ready.into_iter().rev() {
            ensure!((at as usize) < waiting.len());
            waiting.remove(at as usize);
        }
        if waiting.is_empty() {
            return Ok(());
        }
    }
    Err(format!("{} are still not named", waiting.len()))
}

/// However often it is asked, a timer that is over stays ready.
fn ready_stays() -> Check {
    let timer = subscribe_duration(MILLISECOND);
    timer.block();
    for round in 0..1000 {
        if !timer.ready() {
            return Err(format!("it is not ready when asked for the {round}th time"));
        }
    }
    Ok(())
}
