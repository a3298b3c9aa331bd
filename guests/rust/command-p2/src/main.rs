//! A command-line program: does what its first argument says, through Rust's standard library.

use std::io::Read as _;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("args") => println!("{}", args[2..].join(" ")),
        Some("env") => println!("{}", std::env::var(&args[2]).unwrap_or_else(|_| "unset".into())),
        Some("cat") => match std::fs::read_to_string(&args[2]) {
            Ok(text) => print!("{text}"),
            Err(error) => println!("refused: {error}"),
        },
        Some("write") => match std::fs::write(&args[2], &args[3]) {
            Ok(()) => println!("written"),
            Err(error) => println!("refused: {error}"),
        },
        Some("upper") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).unwrap();
            print!("{}", text.to_uppercase());
        }
        Some("exit") => std::process::exit(args[2].parse().unwrap()),
        Some("abort") => std::process::abort(),
        _ => eprintln!("nothing to do"),
    }
}
