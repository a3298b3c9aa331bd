//! Calls every function of WASI 0.2 that a command may import, and checks what each promises.
//!
//! `list` names the tests, one in a line: its name, the functions it covers and, if it ends the program, the exit code.
//! Other arguments are the tests to run; without any, all run that do not end the program.

#[macro_use]
#[path = "../../../shared/conform.rs"]
mod conform;
#[path = "../../../shared/streams-p2.rs"]
mod bytes;

mod cli;
mod clocks;
mod files;
mod lookup;
mod network;
mod paths;
mod poll;
mod random;
mod streams;
mod tcp;
mod tcp_options;
mod udp;
mod volumes;

use conform::{Check, line};

wasip2::cli::command::export!(Conform);

struct Conform;

/// A test, with the functions that it calls under their names in the component model.
pub struct Test {
    name: &'static str,
    covers: &'static [&'static str],
    run: fn() -> Check,
    /// The exit code, of a test that ends the program.
    exit: Option<u8>,
}

impl Test {
    const fn new(name: &'static str, run: fn() -> Check, covers: &'static [&'static str]) -> Self {
        Self { name, covers, run, exit: None }
    }
}

impl wasip2::exports::cli::run::Guest for Conform {
    fn run() -> Result<(), ()> {
        let tests = [
            cli::TESTS,
            clocks::TESTS,
            random::TESTS,
            volumes::TESTS,
            files::TESTS,
            paths::TESTS,
            streams::TESTS,
            poll::TESTS,
            lookup::TESTS,
            tcp::TESTS,
            tcp_options::TESTS,
            udp::TESTS,
        ];
        let tests = || tests.into_iter().flatten();
        let wanted = wasip2::cli::environment::get_arguments().split_off(1);
        if wanted == ["list"] {
            say(&tests().map(|test| line(test.name, test.covers, test.exit)).collect::<String>());
            return Ok(());
        }
        let mut all_well = true;
        for name in wanted.iter().filter(|name| tests().all(|test| test.name != **name)) {
            say(&format!("FAIL {name}: no such test\n"));
            all_well = false;
        }
        let is_wanted = |test: &&Test| {
            if wanted.is_empty() { test.exit.is_none() } else { wanted.iter().any(|name| name == test.name) }
        };
        for test in tests().filter(is_wanted) {
            match (test.run)() {
                Ok(()) => say(&format!("ok {}\n", test.name)),
                Err(why) => {
                    say(&format!("FAIL {}: {why}\n", test.name));
                    all_well = false;
                }
            }
        }
        if all_well { Ok(()) } else { Err(()) }
    }
}

fn say(text: &str) {
    let out = wasip2::cli::stdout::get_stdout();
    for piece in text.as_bytes().chunks(4096) {
        out.blocking_write_and_flush(piece).ok();
    }
}
