//! What a component writes to the host's log: bounded in length and rate, and never more than text.
//!
//! Takes text that a component chose; gives events with the target [`TARGET`], a line each. A line cannot end early,
//! move a terminal's cursor or pass for a line of the host: control characters are escaped.

use std::borrow::Cow;

use crate::limits::Guard;

/// The target of everything that components write, which tells it from what the host itself has to say.
pub const TARGET: &str = "wharf::guest";

/// The longest line, in bytes; the rest of a longer one is dropped.
pub const MAX_LINE: usize = 16 * 1024;
/// The longest context of a line, in bytes.
pub const MAX_CONTEXT: usize = 256;
/// How many bytes count as one line for the limit `log-rate`.
const LINE: usize = 1024;

/// Text with its control characters escaped, and those that change the direction of what follows.
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
    // A tab is part of what programs print. Unicode's line separators and bidirectional controls are no control
    // characters by their category, and do what those do.
    (c.is_control() && c != '\t') || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text of at most so many bytes, escaped; what was cut off is said.
pub fn bounded(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return escape(text);
    }
    let end = text.floor_char_boundary(most);
    Cow::Owned(format!("{}… ({} bytes more)", escape(&text[..end]), text.len() - end))
}

/// Where a line comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A standard stream: `stdout` or `stderr`.
    Stream(&'static str),
    /// `wasi:logging`, with the context that the component gave.
    Context(&'a str),
}

/// Writes a component's text to the log, each of its lines by itself, as far as the limit `log-rate` allows.
pub fn write(guard: &Guard, component: &str, level: tracing::Level, source: Source<'_>, text: &str) {
    let workload = &*guard.workload;
    // An empty text is a line, too.
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    for line in lines {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let cost = line.len().min(MAX_LINE).div_ceil(LINE).max(1);
        if !guard.may_log(u32::try_from(cost).unwrap_or(u32::MAX)) {
            // The rest would be dropped, too; counting it would take as long as a component likes.
            return;
        }
        let line = bounded(line, MAX_LINE);
        macro_rules! event {
            ($level:ident) => {
                match source {
                    Source::Stream(stream) => {
                        tracing::event!(target: TARGET, tracing::Level::$level, %workload, %component, stream, "{line}");
                    }
                    Source::Context(context) => {
                        let context = &*bounded(context, MAX_CONTEXT);
                        tracing::event!(target: TARGET, tracing::Level::$level, %workload, %component, context, "{line}");
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
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(bounded("short", 5), "short");
        assert_eq!(bounded("ééé", 3), "é… (4 bytes more)");
    }
}
