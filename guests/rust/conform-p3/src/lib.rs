//! Tests of what a host gives through WASI 0.3: `list` names them and the functions that each calls; the arguments
//! say which to run, none all of them.

#[macro_use]
#[path = "../../../shared/conform-p3.rs"]
mod conform;
mod cli;
mod clocks;
mod fs_files;
mod fs_metadata;
mod fs_paths;
mod random;
mod tcp;
mod tcp_streams;
mod udp;
mod lookup;
mod net;
mod volume;

use conform::Test;

wasip3::cli::command::export!(Conform);

struct Conform;

const TESTS: &[&[Test]] = &[
    cli::TESTS,
    clocks::TESTS,
    random::TESTS,
    fs_files::TESTS,
    fs_metadata::TESTS,
    fs_paths::TESTS,
    tcp::TESTS,
    tcp_streams::TESTS,
    udp::TESTS,
    lookup::TESTS,
];

fn tests() -> impl Iterator<Item = &'static Test> {
    TESTS.iter().copied().flatten()
}

impl wasip3::exports::cli::run::Guest for Conform {
    async fn run() -> Result<(), ()> {
        let args = wasip3::cli::environment::get_arguments();
        let names = args.get(1..).unwrap_or_default();
        if names == ["list"] {
            return print(tests().map(Test::line).collect()).await;
        }
        let mut result = Ok(());
        for name in names.iter().filter(|name| !tests().any(|test| test.name == **name)) {
            print(format!("FAIL {name}: there is no such test\n")).await?;
            result = Err(());
        }
        // A test that ends the program runs only when it is asked for.
        for test in tests().filter(|t| names.iter().any(|n| n == t.name) || names.is_empty() && t.exit.is_none()) {
            match test.outcome(()).await {
                Ok(()) => print(format!("ok {}\n", test.name)).await?,
                Err(why) => {
                    print(format!("FAIL {}: {why}\n", test.name)).await?;
                    result = Err(());
                }
            }
        }
        result
    }
}

async fn print(text: String) -> Result<(), ()> {
    let (mut out, contents) = wasip3::wit_stream::new();
    let done = wasip3::cli::stdout::write_via_stream(contents);
    out.write_all(text.into_bytes()).await;
    drop(out);
    done.await.map_err(|_| ())
}
