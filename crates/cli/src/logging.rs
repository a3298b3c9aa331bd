//! The log and the program's messages, on standard error.

mod writer;

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use wharf::guest_log;

use crate::args::EngineArgs;
use crate::error::{Failure, HOST};
use writer::{LogWriter, Origin};

static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// How long a program that ends waits for a reader who stalls.
const GOODBYE: Duration = Duration::from_secs(1);

pub(crate) fn start(args: &EngineArgs) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| Failure::with_hint(2, error, "a filter is such as `debug` or `wharf=debug,info`"))?;
    let dropped = if args.log_json { dropped_json } else { dropped_text };
    let writer = LogWriter::start(anstream::stderr(), dropped).map_err(|error| Failure::new(HOST, error))?;
    let writer = WRITER.get_or_init(|| writer).clone();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Writers(writer));
    // A second log cannot be: this runs once.
    if args.log_json { log.json().with_ansi(false).try_init() } else { log.with_target(false).try_init() }.ok();
    Ok(())
}

fn dropped_text(host: u64, guests: u64) -> String {
    format!("… {guests} log lines of components and {host} of the host dropped: standard error is read too slowly\n")
}

fn dropped_json(host: u64, guests: u64) -> String {
    let message = "log lines dropped: standard error is read too slowly";
    let fields = serde_json::json!({ "message": message, "host": host, "guests": guests });
    format!("{}\n", serde_json::json!({ "level": "WARN", "fields": fields, "target": "wharf" }))
}

/// Writes a message of the program to standard error, in its order among the lines of the log.
pub(crate) fn print(text: &str) {
    match WRITER.get() {
        Some(writer) => writer.push(Origin::Host, text.as_bytes()),
        None => anstream::eprint!("{text}"),
    }
}

/// Waits until everything is written, but not for ever.
pub(crate) fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(GOODBYE);
    }
}

struct Writers(LogWriter);

/// What writes one event.
struct EventWriter<'a>(&'a LogWriter, Origin);

impl<'a> MakeWriter<'a> for Writers {
    type Writer = EventWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        EventWriter(&self.0, Origin::Host)
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        let guest = event.target() == guest_log::TARGET;
        EventWriter(&self.0, if guest { Origin::Guest } else { Origin::Host })
    }
}

impl io::Write for EventWriter<'_> {
    /// The subscriber writes an event whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(self.1, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
