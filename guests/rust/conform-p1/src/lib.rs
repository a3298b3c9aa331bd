//! The tests of WASI 0.1: a core module, whose tests call every function of `wasi_snapshot_preview1`.
//!
//! `list` prints each test, what it calls, and what sets it apart; else the arguments name the tests to run, and none
//! means all that nothing sets apart.
#![no_std]
// Every function of WASI 0.1 takes pointers: the tests would say `unsafe` on each line.
#![allow(unsafe_op_in_unsafe_fn)]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;

use wasip1::Errno;

/// What fails a test unless the values are the same.
macro_rules! same {
    ($got:expr, $want:expr) => {
        match (&$got, &$want) {
            (got, want) if *got != *want => return Err(crate::differs(stringify!($got), &got, &want)),
            _ => {}
        }
    };
}

/// What fails a test unless the call is refused with one of these.
macro_rules! refused {
    ($call:expr, $($errno:expr),+) => {
        crate::expect_refusal(stringify!($call), $call.map(|_| ()), &[$($errno),+])?
    };
}

mod fds;
mod files;
mod heap;
mod paths;
mod process;

/// Why a test fails.
struct Why(String);

impl From<Errno> for Why {
    // Once, rather than at each of a thousand calls.
    #[inline(never)]
    fn from(errno: Errno) -> Self {
        Self(errno.name().into())
    }
}

#[inline(never)]
fn differs(what: &str, got: &dyn Debug, want: &dyn Debug) -> Why {
    Why(format!("{what} is {got:?} and not {want:?}"))
}

#[inline(never)]
fn expect_refusal(what: &str, got: Result<(), Errno>, wanted: &[Errno]) -> Check {
    match got {
        Err(errno) if wanted.contains(&errno) => Ok(()),
        Err(errno) => Err(Why(format!("{what} is refused with {} and not {}", errno.name(), wanted[0].name()))),
        Ok(()) => Err(Why(format!("{what} is done and not refused with {}", wanted[0].name()))),
    }
}

type Check = Result<(), Why>;

struct Test {
    name: &'static str,
    calls: &'static str,
    /// What sets it apart, so that it runs by name only: that it ends the program (`exit=N`), or that it does not pass
    /// where the usual adapter stands between it and WASI 0.2 (`adapter:trap`, `adapter:fail`, `adapter:exit=N`).
    apart: &'static str,
    run: unsafe fn() -> Check,
}

const fn test(name: &'static str, calls: &'static str, run: unsafe fn() -> Check) -> Test {
    apart(name, calls, "", run)
}

const fn apart(name: &'static str, calls: &'static str, apart: &'static str, run: unsafe fn() -> Check) -> Test {
    Test { name, calls, apart, run }
}

fn all() -> impl Iterator<Item = &'static Test> {
    process::TESTS.iter().chain(fds::TESTS).chain(paths::TESTS)
}

#[unsafe(no_mangle)]
extern "C" fn _start() {
    let args = unsafe { process::args() }.unwrap_or_default();
    let chosen: Vec<_> = args.iter().skip(1).map(String::as_str).collect();
    if chosen == ["list"] {
        return all().for_each(list);
    }
    let mut failed = false;
    for name in chosen.iter().filter(|name| all().all(|test| test.name != **name)) {
        print(&format!("FAIL {name}: no such test\n"));
        failed = true;
    }
    let chosen = |test: &&Test| if chosen.is_empty() { test.apart.is_empty() } else { chosen.contains(&test.name) };
    for test in all().filter(chosen) {
        match unsafe { (test.run)() } {
            Ok(()) => print(&format!("ok {}\n", test.name)),
            Err(Why(why)) => {
                print(&format!("FAIL {}: {why}\n", test.name));
                failed = true;
            }
        }
    }
    if failed {
        unsafe { wasip1::proc_exit(1) }
    }
}

fn list(test: &Test) {
    let calls: Vec<_> = test.calls.split(' ').map(|name| format!("wasi_snapshot_preview1#{name}")).collect();
    let apart = if test.apart.is_empty() { String::new() } else { format!("\t{}", test.apart) };
    print(&format!("{}\t{}{apart}\n", test.name, calls.join(" ")));
}

fn print(text: &str) {
    let mut left = text.as_bytes();
    while let Ok(written @ 1..) = unsafe { files::write(1, left) } {
        left = &left[written..];
    }
}
