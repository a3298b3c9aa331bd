//! Output for people and programs: colours where a terminal shows them, JSON, and a progress spinner.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();

/// How long an operation takes before the spinner appears.
const SPINNER_DELAY: Duration = Duration::from_millis(500);

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) {
    // Serialisation fails only for maps whose keys are not strings, and the program prints none.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    anstream::println!("{text}");
}

/// Awaits an operation, and shows a spinner with the message after [`SPINNER_DELAY`].
pub(crate) async fn progress<T>(message: &'static str, operation: impl Future<Output = T>) -> T {
    let mut operation = std::pin::pin!(operation);
    if let Ok(output) = tokio::time::timeout(SPINNER_DELAY, operation.as_mut()).await {
        return output;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(message);
    bar.enable_steady_tick(Duration::from_millis(100));
    let output = operation.await;
    bar.finish_and_clear();
    output
}

/// A number of bytes with a unit, such as `1.5 KiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}
