//! wasi:cli.

use wasip2::cli::{environment, exit, stderr, stdin, stdout, terminal_stderr, terminal_stdin, terminal_stdout};

use crate::Test;
use crate::bytes::{read_all, write_all};
use crate::conform::Check;

pub const TESTS: &[Test] = &[
    Test::new("cli-run", run, &["wasi:cli/run#run"]),
    Test::new("cli-environment", environment, &["wasi:cli/environment#get-environment"]),
    Test::new("cli-arguments", arguments, &["wasi:cli/environment#get-arguments"]),
    Test::new("cli-initial-cwd", initial_cwd, &["wasi:cli/environment#initial-cwd"]),
    Test::new("cli-stdin", stdin, &["wasi:cli/stdin#get-stdin"]),
    Test::new("cli-stdout", stdout, &["wasi:cli/stdout#get-stdout"]),
    Test::new("cli-stderr", stderr, &["wasi:cli/stderr#get-stderr"]),
    Test::new(
        "cli-terminals",
        terminals,
        &[
            "wasi:cli/terminal-stdin#get-terminal-stdin",
            "wasi:cli/terminal-stdout#get-terminal-stdout",
            "wasi:cli/terminal-stderr#get-terminal-stderr",
        ],
    ),
    Test { name: "cli-exit", covers: &["wasi:cli/exit#exit"], run: exit_badly, exit: Some(1) },
    Test { name: "cli-exit-ok", covers: &["wasi:cli/exit#exit"], run: exit_well, exit: Some(0) },
    Test { name: "cli-exit-with-code", covers: &["wasi:cli/exit#exit-with-code"], run: exit_with_code, exit: Some(42) },
];

/// Nothing is left to check: the host has called it.
fn run() -> Check {
    Ok(())
}

fn environment() -> Check {
    let variables = environment::get_environment();
    ensure!(variables.contains(&("CONFORM".into(), "yes".into())));
    equal!(environment::get_environment(), variables);
    Ok(())
}

fn arguments() -> Check {
    let arguments = environment::get_arguments();
    ensure!(!arguments.is_empty());
    ensure!(arguments.len() == 1 || arguments[1..].iter().any(|argument| argument == "cli-arguments"));
    equal!(environment::get_arguments(), arguments);
    Ok(())
}

fn initial_cwd() -> Check {
    let folder = environment::initial_cwd();
    ensure!(folder.as_ref().is_none_or(|path| !path.is_empty()));
    equal!(environment::initial_cwd(), folder);
    Ok(())
}

fn stdin() -> Check {
    let from = stdin::get_stdin();
    from.subscribe().block();
    equal!(read_all(&from)?, b"input\n");
    Ok(())
}

fn stdout() -> Check {
    write_all(&stdout::get_stdout(), b"# written by cli-stdout\n")
}

fn stderr() -> Check {
    write_all(&stderr::get_stderr(), b"# written by cli-stderr\n")
}

fn terminals() -> Check {
    ensure!(terminal_stdin::get_terminal_stdin().is_none());
    ensure!(terminal_stdout::get_terminal_stdout().is_none());
    ensure!(terminal_stderr::get_terminal_stderr().is_none());
    Ok(())
}

fn exit_badly() -> Check {
    exit::exit(Err(()));
    // Its own code, since a test that fails would end with the code that is looked for.
    std::arch::wasm32::unreachable()
}

fn exit_well() -> Check {
    exit::exit(Ok(()));
    Err("exit came back".into())
}

fn exit_with_code() -> Check {
    exit::exit_with_code(42);
    Err("exit-with-code came back".into())
}
