//! Tests of `wasi:cli`.

use wasip3::cli::{environment, exit, stderr, stdin, stdout};
use wasip3::cli::{terminal_stderr, terminal_stdin, terminal_stdout};
use wasip3::wit_stream;
use wit_bindgen::StreamResult;

use crate::conform::{Good, Outcome, Test};

pub const TESTS: &[Test] = &[
    test!("cli-environment", environment_, ["wasi:cli/environment#get-environment"]),
    test!("cli-arguments", arguments, ["wasi:cli/environment#get-arguments"]),
    test!("cli-initial-cwd", initial_cwd, ["wasi:cli/environment#get-initial-cwd"]),
    test!("cli-stdin", stdin_, ["wasi:cli/stdin#read-via-stream"]),
    test!("cli-stdout", stdout_, ["wasi:cli/stdout#write-via-stream"]),
    test!("cli-stderr", stderr_, ["wasi:cli/stderr#write-via-stream"]),
    test!("cli-terminal-stdin", no_terminal_in, ["wasi:cli/terminal-stdin#get-terminal-stdin"]),
    test!("cli-terminal-stdout", no_terminal_out, ["wasi:cli/terminal-stdout#get-terminal-stdout"]),
    test!("cli-terminal-stderr", no_terminal_err, ["wasi:cli/terminal-stderr#get-terminal-stderr"]),
    test!("cli-exit", exit_failed, ["wasi:cli/exit#exit"], exit = 1),
    test!("cli-exit-ok", exit_ok, ["wasi:cli/exit#exit"], exit = 0),
    test!("cli-exit-with-code", exit_with_code, ["wasi:cli/exit#exit-with-code"], exit = 7),
];

async fn environment_() -> Outcome {
    let all = environment::get_environment();
    ensure!(all.iter().any(|(name, value)| name == "CONFORM" && value == "yes"));
    same!(environment::get_environment(), all);
    Ok(())
}

async fn arguments() -> Outcome {
    let all = environment::get_arguments();
    ensure!(!all.is_empty());
    ensure!(all[1..].is_empty() || all[1..].iter().any(|arg| arg == "cli-arguments"));
    same!(environment::get_arguments(), all);
    Ok(())
}

async fn initial_cwd() -> Outcome {
    let cwd = environment::get_initial_cwd();
    ensure!(cwd.as_deref() != Some(""));
    same!(environment::get_initial_cwd(), cwd);
    Ok(())
}

async fn stdin_() -> Outcome {
    let (contents, done) = stdin::read_via_stream();
    let text = contents.collect().await;
    same!(String::from_utf8_lossy(&text), "input\n");
    done.await.good()?;
    // A reader that goes at once is no error.
    let (contents, done) = stdin::read_via_stream();
    drop(contents);
    done.await.good()?;
    let (mut contents, done) = stdin::read_via_stream();
    let (result, _) = contents.read(Vec::with_capacity(8)).await;
    same!(result, StreamResult::Dropped);
    done.await.good()
}

async fn stdout_() -> Outcome {
    let (mut to, contents) = wit_stream::new();
    let done = stdout::write_via_stream(contents);
    let rest = to.write_all(b"# written to stdout in two\n".to_vec()).await;
    ensure!(rest.is_empty());
    let rest = to.write_all(b"# pieces\n".to_vec()).await;
    ensure!(rest.is_empty());
    drop(to);
    done.await.good()?;
    let (to, contents) = wit_stream::new();
    let done = stdout::write_via_stream(contents);
    drop(to);
    done.await.good()
}

async fn stderr_() -> Outcome {
    let (mut to, contents) = wit_stream::new();
    let done = stderr::write_via_stream(contents);
    let rest = to.write_all(b"# written to stderr\n".to_vec()).await;
    ensure!(rest.is_empty());
    drop(to);
    done.await.good()?;
    let (to, contents) = wit_stream::new();
    drop(to);
    stderr::write_via_stream(contents).await.good()
}

async fn no_terminal_in() -> Outcome {
    ensure!(terminal_stdin::get_terminal_stdin().is_none());
    Ok(())
}

async fn no_terminal_out() -> Outcome {
    ensure!(terminal_stdout::get_terminal_stdout().is_none());
    Ok(())
}

async fn no_terminal_err() -> Outcome {
    ensure!(terminal_stderr::get_terminal_stderr().is_none());
    Ok(())
}

async fn exit_failed() -> Outcome {
    exit::exit(Err(()));
    Err("the program goes on".into())
}

async fn exit_ok() -> Outcome {
    exit::exit(Ok(()));
    Err("the program goes on".into())
}

async fn exit_with_code() -> Outcome {
    exit::exit_with_code(7);
    Err("the program goes on".into())
}
