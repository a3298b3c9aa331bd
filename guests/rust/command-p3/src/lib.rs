//! A command through WASI 0.3: prints its arguments; fails when there are none; `exit N` exits with N.

wasip3::cli::command::export!(Command);

struct Command;

impl wasip3::exports::cli::run::Guest for Command {
    async fn run() -> Result<(), ()> {
        let args = wasip3::cli::environment::get_arguments();
        if args.len() < 2 {
            return Err(());
        }
        if args[1] == "exit" {
            wasip3::cli::exit::exit_with_code(args[2].parse().unwrap());
        }
        let (mut out, contents) = wasip3::wit_stream::new();
        let done = wasip3::cli::stdout::write_via_stream(contents);
        out.write_all(format!("{}\n", args[1..].join(" ")).into_bytes()).await;
        drop(out);
        done.await.map_err(|_| ())
    }
}
