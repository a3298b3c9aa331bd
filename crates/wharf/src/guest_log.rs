//! The log output of components, limited in length and rate.
//!
//! Takes text from a component; emits one [`tracing`] event for each line, with the target [`TARGET`]. Control characters
//! are escaped, so a component can neither forge a line of the host nor control the terminal that shows the log.

use std::borrow::Cow;

use crate::limits::LimitTracker;

/// The target of the events that carry output of components. The host's own events have other targets, so that a
/// subscriber can tell the two apart.
pub const TARGET: &str = "wharf::guest";

/// The maximum length of a line, in bytes. Longer lines are truncated.
pub const MAX_LINE: usize = 16 * 1024;
/// The maximum length of the context of a line, in bytes. Longer contexts are truncated.
pub const MAX_CONTEXT: usize = 256;
/// The number of bytes that count as one line for the limit `log-rate`.
const BYTES_PER_LINE: usize = 1024;

/// Escapes control characters and the characters that change the direction of text. Tabs stay as they are.
///
/// ```
/// use wharf::guest_log::escape;
///
/// assert_eq!(escape("done\r\x1b[31m"), "done\\r\\u{1b}[31m");
/// ```
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_control(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

fn is_control(c: char) -> bool {
    // Programs print tabs. Unicode does not classify line separators and bidirectional controls as control characters,
    // although terminals act on them.
    (c.is_control() && c != '\t') || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes text as [`escape`] does, after truncating it to `max_bytes`. A truncated text ends with the number of bytes that
/// are missing.
///
/// ```
/// use wharf::guest_log::bounded;
///
/// assert_eq!(bounded("connection refused", 10), "connection… (8 bytes more)");
/// ```
pub fn bounded(text: &str, max_bytes: usize) -> Cow<'_, str> {
    if text.len() <= max_bytes {
        return escape(text);
    }
    let end = text.floor_char_boundary(max_bytes);
    Cow::Owned(format!("{}… ({} bytes more)", escape(&text[..end]), text.len() - end))
}

/// The origin of a component's text. It becomes a field of the event.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Source<'a> {
    /// A standard stream: `stdout` or `stderr`.
    Stream(&'static str),
    /// A call of [`wasi:logging`](https://github.com/WebAssembly/wasi-logging).
    Logging {
        /// The context that the component passes.
        context: &'a str,
        /// The number of the call that logs: [`Scope::call`](crate::Scope::call).
        call: u64,
    },
}

/// Writes a component's text to the log, one event for each line. Lines above the limit `log-rate` are dropped, and
/// `tracker` counts the refusal.
///
/// ```
/// use wharf::guest_log::{self, Source};
/// use wharf::limits::LimitTracker;
///
/// /// What a plugin does when its component logs.
/// fn connected(tracker: &LimitTracker, component: &str, call: u64) {
///     let source = Source::Logging { context: "database", call };
///     guest_log::write(tracker, component, tracing::Level::INFO, source, "connected");
/// }
/// ```
pub fn write(tracker: &LimitTracker, component: &str, level: tracing::Level, source: Source<'_>, text: &str) {
    // An empty text is one empty line.
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    for line in lines {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if !may_log(tracker, line) {
            // The remaining lines would be dropped as well. Counting them would take time that the component controls.
            return;
        }
        emit(tracker, component, level, source, &bounded(line, MAX_LINE));
    }
}

/// Writes lines that belong together, such as a traceback, as one event. Each line after the first is indented, so that none can be
/// taken for another event.
pub(crate) fn write_entry(
    tracker: &LimitTracker,
    component: &str,
    level: tracing::Level,
    source: Source<'_>,
    text: &str,
) {
    if may_log(tracker, text) {
        let lines: Vec<_> = text.lines().map(|line| bounded(line, MAX_LINE)).collect();
        emit(tracker, component, level, source, &lines.join("\n    "));
    }
}

fn may_log(tracker: &LimitTracker, text: &str) -> bool {
    let cost = text.len().min(MAX_LINE).div_ceil(BYTES_PER_LINE).max(1);
    tracker.may_log(u32::try_from(cost).unwrap_or(u32::MAX))
}

fn emit(tracker: &LimitTracker, component: &str, level: tracing::Level, source: Source<'_>, text: &str) {
    let workload = &*tracker.workload;
    let from = match source {
        Source::Stream(stream) => stream,
        Source::Logging { context, .. } => &bounded(context, MAX_CONTEXT),
    };
    tracker.log.push(level, component, Some(from), text);
    macro_rules! event {
        ($level:ident) => {
            match source {
                Source::Stream(stream) => {
                    tracing::event!(target: TARGET, tracing::Level::$level, %workload, %component, stream, "{text}");
                }
                Source::Logging { context, call } => {
                    let context = &*bounded(context, MAX_CONTEXT);
                    tracing::event!(target: TARGET, tracing::Level::$level, %workload, %component, call, context, "{text}");
                }
            }
        };
    }
    match level {
        tracing::Level::TRACE => event!(TRACE),
        tracing::Level::DEBUG => event!(DEBUG),
        tracing::Level::INFO => event!(INFO),
        tracing::Level::WARN => event!(WARN),
        tracing::Level::ERROR => event!(ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::{bounded, escape};

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape("plain\ttext, Größe"), "plain\ttext, Größe");
        assert_eq!(escape("a\rb\nc"), "a\\rb\\nc");
        assert_eq!(escape("\x1b[31mred\x07\0\u{7f}\u{9b}"), "\\u{1b}[31mred\\u{7}\\u{0}\\u{7f}\\u{9b}");
        assert_eq!(escape("\u{202e}gnp.exe\u{2028}"), "\\u{202e}gnp.exe\\u{2028}");
    }

    #[test]
    fn truncation_respects_character_boundaries() {
        assert_eq!(bounded("short", 5), "short");
        assert_eq!(bounded("ééé", 3), "é… (4 bytes more)");
    }
}
