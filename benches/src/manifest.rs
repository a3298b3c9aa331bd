//! The parse time of costly manifests by their size: the time for each byte must not grow.

use std::time::Instant;

use wharf::workload::manifest::{Format, parse};

use crate::{Result, goal};

/// Creates a text of about this many bytes.
type Make = fn(usize) -> (Format, String);

const CASES: &[(&str, Make)] = &[
    ("TOML, one line", |size| (Format::Toml, format!("name = 'a'\nx = [{}]", "'y',".repeat(size / 4)))),
    ("TOML, one table on one line", |size| (Format::Toml, format!("x = {{ {} }}", keys(size, "=1", ", ")))),
    ("TOML, unknown keys", |size| (Format::Toml, keys(size, "=1", "\n"))),
    ("TOML, an unknown table of many keys", |size| {
        let name = "n".repeat(size / 2);
        (Format::Toml, format!("[components.{name}.env]\n{}", keys(size / 2, "='v'", "\n")))
    }),
    ("TOML, syntax errors", |size| (Format::Toml, "= =\n".repeat(size / 4))),
    ("TOML, dotted keys", |size| (Format::Toml, numbered(size, |n| format!("a.b{n}.c=1\n")))),
    ("TOML, tables", |size| (Format::Toml, numbered(size, |n| format!("[t{n}]\n")))),
    ("TOML, nested arrays", |size| (Format::Toml, format!("x=[{}]", "[[[[1]]]],".repeat(size / 10)))),
    ("TOML, quotes", |size| (Format::Toml, format!("x=\"\"\"{}", "\"\" ".repeat(size / 3)))),
    ("YAML, one line", |size| (Format::Yaml, format!("x: [{}]", "y,".repeat(size / 2)))),
    ("YAML, one table on one line", |size| (Format::Yaml, format!("x: {{{}}}", keys(size, ": 1", ", ")))),
    ("YAML, unknown keys", |size| (Format::Yaml, keys(size, ": 1", "\n"))),
    ("YAML, a key that never ends", |size| (Format::Yaml, "? a ".repeat(size / 4))),
    ("YAML, a long scalar", |size| (Format::Yaml, format!("x: |\n{}", " y\n".repeat(size / 3)))),
    ("YAML, brackets", |size| (Format::Yaml, "[".repeat(size))),
    ("YAML, anchors", |size| (Format::Yaml, format!("x: [{}]", numbered(size, |n| format!("&a{n} y, "))))),
    ("YAML, comments", |size| (Format::Yaml, "#\n".repeat(size / 2))),
    ("YAML, tabs and spaces", |size| (Format::Yaml, format!("x:{}y", " ".repeat(size)))),
    ("JSON, one line", |size| (Format::Json, format!("{{\"x\": [{}1]}}", "1,".repeat(size / 2)))),
    ("JSON, escapes", |size| (Format::Json, format!("{{\"x\": \"{}\"}}", "\\ud83d\\ude00".repeat(size / 12)))),
    ("JSON, one string", |size| (Format::Json, format!("{{\"x\": \"{}\"}}", "é".repeat(size / 2)))),
    ("routes", |size| {
        let routes = numbered(size, |n| format!("[[triggers.http]]\ncomponent='a'\npath='/p{n}'\n"));
        (Format::Toml, format!("name='a'\n[components.a]\nsource='a'\n{routes}"))
    }),
    ("mounts", |size| {
        let mounts = numbered(size, |n| format!("{{volume='v',guest='/g{n}'}},"));
        (Format::Toml, format!("name='a'\n[components.a]\nsource='a'\nvolumes=[{mounts}]\n[volumes.v]\nephemeral=true"))
    }),
    ("mounts of missing volumes", |size| {
        let mounts = numbered(size / 2, |n| format!("{{volume='w{n}',guest='/g{n}'}},"));
        let volumes = numbered(size / 2, |n| format!("[volumes.v{n}]\nephemeral=true\n"));
        (Format::Toml, format!("name='a'\n[components.a]\nsource='a'\nvolumes=[{mounts}]\n{volumes}"))
    }),
    ("components", |size| {
        (Format::Toml, format!("name='a'\n{}", numbered(size, |n| format!("[components.c{n}]\nsource='a'\n"))))
    }),
    ("wrong time zones", |size| {
        let components = numbered(size, |n| format!("[components.c{n}]\nsource='a'\ntimezone='Eurpe/Berln{n}'\n"));
        (Format::Toml, format!("name='a'\n{components}"))
    }),
    ("time zones", |size| {
        let components = numbered(size, |n| format!("[components.c{n}]\nsource='a'\ntimezone='Europe/Berlin'\n"));
        (Format::Toml, format!("name='a'\n{components}"))
    }),
    ("hosts", |size| {
        let hosts = numbered(size, |n| format!("'https://h{n}.example.com:443',"));
        (Format::Toml, format!("name='a'\n[components.a]\nsource='a'\nhosts=[{hosts}]"))
    }),
];

fn numbered(size: usize, item: impl Fn(usize) -> String) -> String {
    let mut text = String::with_capacity(size + 64);
    for n in 0.. {
        if text.len() >= size {
            break;
        }
        text.push_str(&item(n));
    }
    text
}

fn keys(size: usize, value: &str, between: &str) -> String {
    numbered(size, |n| format!("k{n}{value}{between}"))
}

const SMALL: usize = 64 << 10;
const LARGE: usize = 1000 << 10;

#[allow(clippy::unnecessary_wraps, reason = "has the signature of every benchmark")]
pub(crate) fn run() -> Result {
    println!("| manifest | ns/byte at 64 KiB | at 1,000 KiB | ms at 1,000 KiB |\n|---|---|---|---|");
    let (mut worst, mut slowest) = (0.0_f64, 0.0_f64);
    for (name, make) in CASES {
        let [small, large] = [SMALL, LARGE].map(|size| per_byte(*make, size));
        #[allow(clippy::cast_precision_loss, reason = "a size of a megabyte")]
        let whole = large * LARGE as f64 / 1e6;
        println!("| {name} | {small:.0} | {large:.0} | {whole:.0} |");
        // The ratio of very short times is noise.
        worst = worst.max(large / small.max(50.0));
        slowest = slowest.max(whole);
    }
    goal("time for each byte, ratio of a large manifest to a small one", worst, 2.0);
    goal("ms for the costliest manifest of 1,000 KiB", slowest, 1000.0);
    Ok(())
}

/// Nanoseconds for each byte, the minimum of three.
fn per_byte(make: Make, size: usize) -> f64 {
    let (format, text) = make(size);
    let time = || {
        let begun = Instant::now();
        std::hint::black_box(parse(&text, format));
        begun.elapsed().as_secs_f64()
    };
    #[allow(clippy::cast_precision_loss, reason = "a size of a megabyte")]
    let bytes = text.len() as f64;
    (0..3).map(|_| time()).fold(f64::INFINITY, f64::min) * 1e9 / bytes
}
