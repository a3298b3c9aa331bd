//! The text of values that have no other form.
//!
//! Takes the bytes of a result and their type, which may be an enum, a range, a row or an array of anything; gives the
//! text that the server would write, or the reason why it is not known.

use std::fmt::Write as _;

use tokio_postgres::types::{Kind, Type};

use super::super::value::{Date, Time, Timestamp};
use super::array::{Items, quote};
use super::encode::{base, is_text};
use super::reader::{Reader, malformed, text, whole};
use super::{Context, Reason, array as arrays, datetime, decode, net, numeric, search};

/// How deep types may be nested.
const MAX_DEPTH: usize = 16;

/// The text of a value.
pub(in super::super) fn literal(ty: &Type, raw: &[u8], context: Context, depth: usize) -> Result<String, Reason> {
    let ty = base(ty);
    if depth > MAX_DEPTH {
        return Err("its type is nested too deeply".to_owned());
    }
    if is_text(ty) || matches!(ty.kind(), Kind::Enum(_)) {
        return text(raw).map(str::to_owned);
    }
    match ty.kind() {
        Kind::Array(element) => array(&arrays::decode(raw)?, element, context, depth),
        Kind::Range(element) => range(element, raw, context, depth),
        Kind::Multirange(element) => whole(raw, |reader| {
            let count = reader.count(4)?;
            let ranges = (0..count).map(|_| range(element, reader.field()?.ok_or_else(malformed)?, context, depth));
            Ok(format!("{{{}}}", ranges.collect::<Result<Vec<_>, _>>()?.join(",")))
        }),
        Kind::Composite(_) => row(raw, context, depth),
        _ => simple(ty, raw, context),
    }
}

fn simple(ty: &Type, raw: &[u8], context: Context) -> Result<String, Reason> {
    Ok(match *ty {
        // A function without a result returns one without a value.
        Type::VOID => String::new(),
        Type::BOOL => if whole(raw, Reader::u8)? != 0 { "t" } else { "f" }.to_owned(),
        Type::INT2 => whole(raw, Reader::i16)?.to_string(),
        Type::INT4 => whole(raw, Reader::i32)?.to_string(),
        Type::INT8 => whole(raw, Reader::i64)?.to_string(),
        Type::OID | Type::XID | Type::CID => whole(raw, Reader::u32)?.to_string(),
        Type::XID8 => whole(raw, Reader::u64)?.to_string(),
        Type::TID => whole(raw, |reader| Ok(format!("({},{})", reader.u32()?, reader.u16()?)))?,
        Type::FLOAT4 => whole(raw, Reader::f32)?.to_string().replace("inf", "Infinity"),
        Type::FLOAT8 => whole(raw, Reader::f64)?.to_string().replace("inf", "Infinity"),
        Type::NUMERIC => numeric::decode(raw)?,
        Type::MONEY => decode::money(raw, context)?,
        Type::BYTEA => raw.iter().fold("\\x".to_owned(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }),
        Type::CHAR | Type::JSON | Type::XML | Type::REFCURSOR => text(raw)?.to_owned(),
        Type::JSONB | Type::JSONPATH => decode::jsonb(raw)?.to_owned(),
        Type::UUID => decode::uuid(raw)?,
        Type::CIDR => net::decode(raw, true)?,
        Type::INET => net::decode(raw, false)?,
        Type::TSQUERY => search::decode_query(raw)?,
        Type::DATE => date(datetime::decode_date(whole(raw, Reader::i32)?)?),
        Type::TIME => time(datetime::decode_time(whole(raw, Reader::i64)?)?),
        Type::TIMESTAMP => timestamp(datetime::decode_timestamp(whole(raw, Reader::i64)?)?, ""),
        Type::TIMESTAMPTZ => timestamp(datetime::decode_timestamp(whole(raw, Reader::i64)?)?, "+00"),
        Type::TIMETZ => {
            let value = whole(raw, datetime::decode_time_tz)?;
            time(value.time) + &value.timesonze
        }
        Type::INTERVAL => interval(raw)?,
        Type::POINT => whole(raw, |reader| Ok(format!("({},{})", reader.f64()?, reader.f64()?)))?,
        _ if matches!(ty.name(), "ltree" | "lquery" | "ltxtquery") => decode::jsonb(raw)?.to_owned(),
        _ if ty.name().starts_with("reg") => whole(raw, Reader::u32)?.to_string(),
        _ => return Err(format!("a value of the type `{ty}` has no known form; cast it, as in `column::text`")),
    })
}

pub(in super::super) fn array(
    array: &Items<'_>,
    element: &Type,
    context: Context,
    depth: usize,
) -> Result<String, Reason> {
    let mut written = String::new();
    if array.items.is_empty() {
        return Ok("{}".to_owned());
    }
    for (index, item) in array.items.iter().enumerate() {
        // A brace opens or closes where the index is a multiple of the size of the inner dimensions.
        let mut size = 1;
        let mut braces = 0;
        for length in array.dimensions.iter().rev() {
            size *= length;
            braces += usize::from(index % size.max(1) == 0);
        }
        if index > 0 {
            written.push_str(&"}".repeat(braces));
            written.push(',');
        }
        written.push_str(&"{".repeat(braces));
        match item {
            None => written.push_str("NULL"),
            Some(raw) => quote_if_needed(&literal(element, raw, context, depth + 1)?, &mut written),
        }
    }
    written.push_str(&"}".repeat(array.dimensions.len()));
    Ok(written)
}

/// Writes an item of an array, a row or a range, in quotes if it could be read as something else.
fn quote_if_needed(item: &str, written: &mut String) {
    let special = |char: char| char.is_whitespace() || "{}()[],\"\\".contains(char);
    if item.is_empty() || item.contains(special) || item.eq_ignore_ascii_case("null") {
        quote(item, written);
    } else {
        written.push_str(item);
    }
}

fn range(element: &Type, raw: &[u8], context: Context, depth: usize) -> Result<String, Reason> {
    let range = datetime::range(raw)?;
    if range.is_empty {
        return Ok("empty".to_owned());
    }
    let mut written = if range.lower_inclusive { "[" } else { "(" }.to_owned();
    if let Some(raw) = range.lower {
        quote_if_needed(&literal(element, raw, context, depth + 1)?, &mut written);
    }
    written.push(',');
    if let Some(raw) = range.upper {
        quote_if_needed(&literal(element, raw, context, depth + 1)?, &mut written);
    }
    written.push(if range.upper_inclusive { ']' } else { ')' });
    Ok(written)
}

/// The text of a row. The types of its fields come with it, and only those that are built in are known.
fn row(raw: &[u8], context: Context, depth: usize) -> Result<String, Reason> {
    whole(raw, |reader| {
        let count = reader.count(8)?;
        let mut written = "(".to_owned();
        for index in 0..count {
            if index > 0 {
                written.push(',');
            }
            let oid = reader.u32()?;
            let Some(raw) = reader.field()? else { continue };
            let ty = Type::from_oid(oid);
            let ty =
                ty.ok_or_else(|| "a row with fields of other types has no known form; cast it to text".to_owned())?;
            quote_if_needed(&literal(&ty, raw, context, depth + 1)?, &mut written);
        }
        written.push(')');
        Ok(written)
    })
}

fn date(date: Date) -> String {
    match date {
        Date::PositiveInfinity => "infinity".to_owned(),
        Date::NegativeInfinity => "-infinity".to_owned(),
        Date::Ymd((year, month, day)) if year < 1 => format!("{:04}-{month:02}-{day:02} BC", 1 - i64::from(year)),
        Date::Ymd((year, month, day)) => format!("{year:04}-{month:02}-{day:02}"),
    }
}

fn time(time: Time) -> String {
    let Time { hour, min, sec, micro } = time;
    let mut text = format!("{hour:02}:{min:02}:{sec:02}");
    if micro > 0 {
        let fraction = format!(".{micro:06}");
        text.push_str(fraction.trim_end_matches('0'));
    }
    text
}

fn timestamp(value: Timestamp, zone: &str) -> String {
    match value.date {
        Date::Ymd((year, month, day)) if year < 1 => {
            let day = format!("{:04}-{month:02}-{day:02}", 1 - i64::from(year));
            format!("{day} {}{zone} BC", time(value.time))
        }
        Date::Ymd(_) => format!("{} {}{zone}", date(value.date), time(value.time)),
        infinite => date(infinite),
    }
}

/// The text of an interval in PostgreSQL's own style.
fn interval(raw: &[u8]) -> Result<String, Reason> {
    let (micros, days, months) = whole(raw, |reader| Ok((reader.i64()?, reader.i32()?, reader.i32()?)))?;
    let mut parts = Vec::new();
    let mut add = |count: i32, name: &str| {
        if count != 0 {
            parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    };
    add(months / 12, "year");
    add(months % 12, "mon");
    add(days, "day");
    if micros != 0 || parts.is_empty() {
        let sign = if micros < 0 { "-" } else { "" };
        let micros = micros.unsigned_abs();
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let mut text = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        if fraction > 0 {
            text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
        }
        parts.push(text);
    }
    Ok(parts.join(" "))
}
