//! The tasks of the project: `cargo xtask tidy` and `cargo xtask guests`.

mod guests;
mod layers;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["tidy"] => tidy::check(&root()),
        ["guests"] => guests::build(&root(), None),
        ["guests", "--check"] => guests::check(&root()),
        ["guests", workspace] => guests::build(&root(), Some(workspace)),
        _ => Err(vec!["usage: cargo xtask tidy | guests [WORKSPACE] | guests --check".to_owned()]),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            ExitCode::FAILURE
        }
    }
}

/// The checkout that this program was built in.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}
