//! The log and the program's messages. Both go to standard error through one queue, so that they keep their order.

mod writer;

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};
use wharf::guest_log;

use crate::args::EngineArgs;
use crate::error::{CliError, Report};
use writer::{LogWriter, Origin};

static WRITER: OnceLock<LogWriter> = OnceLock::new();
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// How long the exit waits for a reader of standard error that stalls.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the log by the command line's settings.
pub(crate) fn start(args: &EngineArgs) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| {
        CliError::Usage(Report::with_hint(error, "write the log filter as `debug` or `wharf=debug,info`"))
    })?;
    let dropped = if args.log_json { dropped_json } else { dropped_text };
    let writer = LogWriter::start(anstream::stderr(), dropped).map_err(|error| CliError::Host(Report::error(error)))?;
    let writer = WRITER.get_or_init(|| writer).clone();
    let (filter, handle) = reload::Layer::new(filter);
    FILTER.get_or_init(|| handle);
    let log = tracing_subscriber::fmt::layer().with_writer(Writers(writer));
    let log = if args.log_json { log.json().with_ansi(false).boxed() } else { log.with_target(false).boxed() };
    // The only error is that a log exists already; the program starts one.
    tracing_subscriber::registry().with(filter).with(log).try_init().ok();
    Ok(())
}

/// Changes the filter of the log.
pub(crate) fn filter(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    FILTER.get().map_or(Ok(()), |handle| handle.reload(filter).map_err(|error| error.to_string()))
}

fn dropped_text(host: u64, guests: u64) -> String {
    format!(
        "… dropped {guests} log lines of components and {host} of the host: the reader of standard error is too slow\n"
    )
}

fn dropped_json(host: u64, guests: u64) -> String {
    let message = "dropped log lines: the reader of standard error is too slow";
    let fields = serde_json::json!({ "message": message, "host": host, "guests": guests });
    format!("{}\n", serde_json::json!({ "level": "WARN", "fields": fields, "target": "wharf" }))
}

/// Writes a message of the program to standard error, after the log lines that precede it.
pub(crate) fn print(text: &str) {
    match WRITER.get() {
        Some(writer) => writer.push(Origin::Host, text.as_bytes()),
        None => anstream::eprint!("{text}"),
    }
}

/// Waits until everything is written, at most for [`FLUSH_TIMEOUT`].
pub(crate) fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSH_TIMEOUT);
    }
}

struct Writers(LogWriter);

/// Writes one event.
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
    /// The subscriber passes each event in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(self.1, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
