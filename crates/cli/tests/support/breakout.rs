//! Runs the guests that try to get at what they were not given.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;

use super::{guest, stderr, stdout};

pub const GENERATIONS: [&str; 2] = ["p2", "p3"];

pub fn breakout(generation: &str) -> PathBuf {
    guest(if generation == "p2" { "breakout-p2" } else { "breakout-p3" })
}

/// Has a guest try things, and gives the lines that it says of them: the attempt, a tab, what came of it.
pub fn attempts(mut command: Command, generation: &str, grants: &[&str], attempts: &[&str]) -> Vec<String> {
    command.arg("run").args(grants).arg(breakout(generation)).arg("--").args(attempts);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{generation} {grants:?}: {}", stderr(&output));
    stdout(&output).lines().map(str::to_owned).collect()
}

/// Asserts that lines are those that were expected, and says which are not.
pub fn assert_lines(found: &[String], expected: &[String], what: &str) {
    let other: Vec<_> = found.iter().zip(expected).filter(|(found, expected)| found != expected).collect();
    assert!(other.is_empty(), "{what}: came, and should have come: {other:#?}");
    assert_eq!(found.len(), expected.len(), "{what}");
}
