//! Decimal numbers.
//!
//! Takes `numeric` and `money` in binary, and decimal text; gives exact text, and amounts of `money`. No number goes
//! through a floating-point one.

use std::fmt::Write as _;

use super::Reason;
use super::reader::{malformed, whole};

/// The most digits that PostgreSQL's `numeric` may have.
const MAX_DIGITS: usize = 131_072 + 16_383 + 8;

/// The text of a `numeric`.
pub(in super::super) fn decode(raw: &[u8]) -> Result<String, Reason> {
    whole(raw, |reader| {
        let groups = usize::from(reader.u16()?);
        let (weight, sign, scale) = (i32::from(reader.i16()?), reader.u16()?, usize::from(reader.u16()?));
        let mut digits = Vec::with_capacity(groups.min(reader.0.len() / 2));
        for _ in 0..groups {
            let group = reader.u16()?;
            if group >= 10_000 {
                return Err(malformed());
            }
            digits.push(group);
        }
        match sign {
            0x0000 | 0x4000 => Ok(write(&digits, weight, sign == 0x4000, scale)),
            0xC000 => Ok("NaN".to_owned()),
            0xD000 => Ok("Infinity".to_owned()),
            0xF000 => Ok("-Infinity".to_owned()),
            _ => Err(malformed()),
        }
    })
}

/// Writes groups of four decimal digits. The first group counts 10000^weight.
fn write(digits: &[u16], weight: i32, negative: bool, scale: usize) -> String {
    let group = |position: i32| {
        let index = usize::try_from(weight - position).ok();
        index.and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    if negative {
        text.push('-');
    }
    if weight < 0 {
        text.push('0');
    }
    for position in (0..=weight).rev() {
        // Writing to a string cannot fail.
        let _ = if position == weight {
            write!(text, "{}", group(position))
        } else {
            write!(text, "{:04}", group(position))
        };
    }
    if scale > 0 {
        text.push('.');
        let whole = text.len();
        let mut position = -1;
        while text.len() - whole < scale {
            let _ = write!(text, "{:04}", group(position));
            position -= 1;
        }
        text.truncate(whole + scale);
    }
    text
}

/// Whether a text is a decimal number as PostgreSQL reads it.
pub(in super::super) fn is_valid(text: &str) -> bool {
    let unsigned = text.trim().trim_start_matches(['+', '-']);
    if text.len() > MAX_DIGITS || text.trim().len() > unsigned.len() + 1 {
        return false;
    }
    if ["nan", "inf", "infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
        return true;
    }
    let (number, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && digits(exponent)
        && !exponent.is_empty()
}

/// The text of an amount of `money`, which counts its smallest unit.
pub(in super::super) fn decode_money(amount: i64, scale: u32) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    let unit = 10u64.saturating_pow(scale);
    let amount = amount.unsigned_abs();
    match usize::try_from(scale) {
        Ok(places) if places > 0 => format!("{sign}{}.{:0places$}", amount / unit, amount % unit),
        _ => format!("{sign}{amount}"),
    }
}

/// The amount of `money` that a decimal text stands for, unless it has more decimal places than `money`.
pub(in super::super) fn encode_money(text: &str, scale: u32) -> Result<i64, Reason> {
    let wrong = || format!("`{text}` is no amount of money with {scale} decimal places");
    let places = usize::try_from(scale).unwrap_or(usize::MAX);
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let fraction = fraction.trim_end_matches('0');
    let is_number = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !is_number || unsigned.is_empty() || unsigned == "." || fraction.len() > places || text.len() > 100 {
        return Err(wrong());
    }
    let sign = if text.starts_with('-') { "-" } else { "" };
    format!("{sign}{whole}{fraction:0<places$}").parse().or_else(|_| {
        let is_zero = whole.is_empty() && fraction.is_empty() && places == 0;
        if is_zero { Ok(0) } else { Err(wrong()) }
    })
}

#[cfg(test)]
mod tests {
    use super::{decode_money, encode_money, is_valid};

    #[test]
    fn converts_money() {
        for (text, scale, amount) in
            [("12.34", 2, 1234), ("-0.05", 2, -5), ("7", 2, 700), ("7", 0, 7), ("-92233720368547758.08", 2, i64::MIN)]
        {
            assert_eq!(encode_money(text, scale), Ok(amount), "{text}");
            assert_eq!(encode_money(&decode_money(amount, scale), scale), Ok(amount));
        }
        assert_eq!(encode_money("+.5000", 2), Ok(50));
        for text in ["", ".", "-", "1.234", "1,5", "1e3", "92233720368547758.08", "NaN", "--1"] {
            assert!(encode_money(text, 2).is_err(), "{text}");
        }
    }

    #[test]
    fn knows_decimal_numbers() {
        for text in ["1", "-1.5", "+.5", "5.", "1e-10", "NaN", "-Infinity", " 1 "] {
            assert!(is_valid(text), "{text}");
        }
        for text in ["", ".", "-", "1e", "e1", "0x1", "1 2", "--1", "1.2.3", "'; --"] {
            assert!(!is_valid(text), "{text}");
        }
    }
}
