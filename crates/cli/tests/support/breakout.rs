//! Runs the guests that attempt to exceed their grants.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;

use super::{guest, stderr, stdout};

pub const GENERATIONS: [&str; 2] = ["p2", "p3"];

pub fn breakout(generation: &str) -> PathBuf {
    guest(if generation == "p2" { "breakout-p2" } else { "breakout-p3" })
}

/// Runs attempts of a guest. Returns the lines that it prints: the attempt, a tab, the outcome.
pub fn attempts(mut command: Command, generation: &str, grants: &[&str], attempts: &[&str]) -> Vec<String> {
    command.arg("run").args(grants).arg(breakout(generation)).arg("--").args(attempts);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{generation} {grants:?}: {}", stderr(&output));
    stdout(&output).lines().map(str::to_owned).collect()
}

/// Asserts that the lines are the expected ones. The message has the pairs that differ.
pub fn assert_lines(found: &[String], expected: &[String], context: &str) {
    let different: Vec<_> = found.iter().zip(expected).filter(|(found, expected)| found != expected).collect();
    assert!(different.is_empty(), "{context}: pairs of found and expected lines that differ: {different:#?}");
    assert_eq!(found.len(), expected.len(), "{context}");
}
