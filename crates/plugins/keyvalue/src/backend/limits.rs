//! The rules that every backend applies to what it is given.
//!
//! Takes keys, values, numbers and cursors; gives them checked, or an [`Error`]. Does no IO.

use std::time::Duration;

use bytes::Bytes;

use super::{Condition, Entry, Error, MAX_KEY, MAX_VALUE};

/// The most bytes of keys in one page.
pub(super) const PAGE_BYTES: usize = 1024 * 1024;

/// The longest time to live. Every backend can add it to the current time.
const MAX_TTL: Duration = Duration::from_hours(100 * 366 * 24);

/// Rejects a key that is too long.
pub(super) fn check_key(key: &str) -> Result<(), Error> {
    if key.len() > MAX_KEY {
        return Err(Error::InvalidArgument(format!("a key of {} bytes: the longest has {MAX_KEY}", key.len())));
    }
    Ok(())
}

/// Rejects a value that is too long.
pub(super) fn check_value(value: &Bytes) -> Result<(), Error> {
    if value.len() > MAX_VALUE {
        return Err(Error::QuotaExceeded(format!("a value of {} bytes: the longest has {MAX_VALUE}", value.len())));
    }
    Ok(())
}

/// Rejects keys of which one is too long.
pub(super) fn check_keys(keys: &[String]) -> Result<(), Error> {
    keys.iter().try_for_each(|key| check_key(key))
}

/// Rejects entries of which one is too long.
pub(super) fn check_entries(entries: &[(String, Bytes)]) -> Result<(), Error> {
    entries.iter().try_for_each(|(key, value)| check_key(key).and_then(|()| check_value(value)))
}

/// A time to live that can be added to the current time. A time beyond a century is a century.
pub(super) fn clamp_ttl(ttl: Duration) -> Duration {
    ttl.clamp(Duration::from_millis(1), MAX_TTL)
}

/// A number as `increment` reads it: decimal, in the one form in which it is written.
pub(super) fn parse_number(value: &[u8]) -> Result<i64, Error> {
    let number =
        std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok().filter(|n| n.to_string() == text));
    number.ok_or_else(not_a_number)
}

/// A number after `increment`.
pub(super) fn add(value: Option<&[u8]>, delta: i64) -> Result<i64, Error> {
    let number = value.map_or(Ok(0), parse_number)?;
    number.checked_add(delta).ok_or_else(overflow)
}

/// The error of an increment of a value that is not a number.
pub(super) fn not_a_number() -> Error {
    Error::Other("the value is not an integer of 64 bits in decimal text".to_owned())
}

/// The error of an increment beyond the range of a number.
pub(super) fn overflow() -> Error {
    Error::Other("the sum does not fit into an integer of 64 bits".to_owned())
}

/// The error of a cursor that the store did not give.
pub(super) fn invalid_cursor() -> Error {
    Error::InvalidArgument("the cursor is not one of this store".to_owned())
}

/// Whether a condition holds for the current entry.
pub(super) fn holds(condition: &Condition, current: Option<&Entry>) -> bool {
    match current {
        None => condition.version.is_none() && condition.value.is_none(),
        Some(entry) => {
            !condition.absent
                && condition.version.as_ref().is_none_or(|version| *version == entry.version)
                && condition.value.as_ref().is_none_or(|value| *value == entry.value)
        }
    }
}

/// The cursor of a store whose keys are in order: the last key of the page.
pub(super) fn cursor_after(key: &str) -> String {
    format!("k{key}")
}

/// The key that a page of an ordered store starts after. One that does not start with the prefix is another listing's.
pub(super) fn parse_cursor<'a>(cursor: &'a str, prefix: &str) -> Result<&'a str, Error> {
    cursor.strip_prefix('k').filter(|key| key.starts_with(prefix)).ok_or_else(invalid_cursor)
}

#[cfg(test)]
mod tests {
    use super::{add, clamp_ttl, cursor_after, parse_cursor, parse_number};
    use std::time::Duration;

    #[test]
    fn numbers_have_one_form() {
        for (text, number) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
            assert_eq!(parse_number(text.as_bytes()).unwrap(), number);
        }
        for text in ["", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "\u{0661}"] {
            parse_number(text.as_bytes()).unwrap_err();
        }
        parse_number(b"\xff").unwrap_err();
        add(Some(b"9223372036854775807"), 1).unwrap_err();
        assert_eq!(add(None, -3).unwrap(), -3);
    }

    #[test]
    fn cursors_belong_to_their_prefix() {
        assert_eq!(parse_cursor(&cursor_after("ab"), "a").unwrap(), "ab");
        parse_cursor(&cursor_after("ab"), "b").unwrap_err();
        parse_cursor("", "").unwrap_err();
    }

    #[test]
    fn times_to_live_are_bounded() {
        assert_eq!(clamp_ttl(Duration::ZERO), Duration::from_millis(1));
        assert!(clamp_ttl(Duration::MAX) < Duration::MAX);
    }
}
