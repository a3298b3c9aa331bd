//! The values of `spin:postgres`, case by case, and their conversions.
//!
//! Takes parameters and results; gives what the codec sends and what a component receives. Dates and times are in UTC.

use tokio_postgres::types::{Kind, Type};

use super::codec::encode::{Parameter, Scalar, base};
use super::codec::reader::{Reader, malformed, text, whole};
use super::codec::{Reason, array, datetime, decode, numeric};
use super::value::{Date, Time, Timestamp};

/// A duration of months, days and microseconds. Mirrors `spin:postgres/postgres.interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Microseconds.
    pub micros: i64,
    /// Days.
    pub days: i32,
    /// Months.
    pub months: i32,
}

/// Whether a bound belongs to its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeBoundKind {
    /// It does.
    Inclusive,
    /// It does not.
    Exclusive,
}

/// The lower and the upper bound of a range, where it has one.
///
/// The package has no case for an empty range: it has both bounds, exclusively, at zero.
pub type Range<T> = (Option<(T, RangeBoundKind)>, Option<(T, RangeBoundKind)>);

macro_rules! spin_values {
    ($($(#[$doc:meta])* $name:ident($inner:ty),)*) => {
        /// A value that a statement takes. Mirrors `spin:postgres/postgres.parameter-value`.
        #[derive(Clone, Debug, PartialEq)]
        pub enum ParameterValue {
            $($(#[$doc])* $name($inner),)*
            /// NULL, for a parameter of any type.
            DbNull,
        }

        /// A value that a statement returns. Mirrors `spin:postgres/postgres.db-value`.
        #[derive(Clone, Debug, PartialEq)]
        pub enum DbValue {
            $($(#[$doc])* $name($inner),)*
            /// NULL.
            DbNull,
            /// The binary form of a value of any other type, and of an infinite date.
            Unsupported(Vec<u8>),
        }
    };
}

spin_values! {
    /// `boolean`.
    Boolean(bool),
    /// `"char"`, or another type of integers.
    Int8(i8),
    /// `smallint`.
    Int16(i16),
    /// `integer`.
    Int32(i32),
    /// `bigint`.
    Int64(i64),
    /// `real`.
    Floating32(f32),
    /// `double precision`.
    Floating64(f64),
    /// `text`. As a parameter it fits each type: the server reads it as it would read a literal.
    Str(String),
    /// `bytea`.
    Binary(Vec<u8>),
    /// `date`: year, month, day.
    Date((i32, u8, u8)),
    /// `time`: hour, minute, second, nanosecond. PostgreSQL keeps microseconds.
    Time((u8, u8, u8, u32)),
    /// `timestamp`: year, month, day, hour, minute, second, nanosecond.
    Datetime((i32, u8, u8, u8, u8, u8, u32)),
    /// `timestamp`: seconds since 1970. Results come as `Datetime`.
    Timestamp(i64),
    /// `uuid`.
    Uuid(String),
    /// `jsonb`, as JSON in UTF-8.
    Jsonb(Vec<u8>),
    /// `numeric`.
    Decimal(String),
    /// `int4range`.
    RangeInt32(Range<i32>),
    /// `int8range`.
    RangeInt64(Range<i64>),
    /// `numrange`.
    RangeDecimal(Range<String>),
    /// `integer[]`.
    ArrayInt32(Vec<Option<i32>>),
    /// `bigint[]`.
    ArrayInt64(Vec<Option<i64>>),
    /// `numeric[]`.
    ArrayDecimal(Vec<Option<String>>),
    /// `text[]`.
    ArrayStr(Vec<Option<String>>),
    /// `interval`.
    Interval(Interval),
}

/// The type of a column. Mirrors `spin:postgres/postgres.db-data-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each case is that of `DbValue` with the same name")]
pub enum DbDataType {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Floating32,
    Floating64,
    Str,
    Binary,
    Date,
    Time,
    Datetime,
    Timestamp,
    Uuid,
    Jsonb,
    Decimal,
    RangeInt32,
    RangeInt64,
    RangeDecimal,
    ArrayInt32,
    ArrayInt64,
    ArrayDecimal,
    ArrayStr,
    Interval,
    Other(String),
}

/// A column of a result. Mirrors `spin:postgres/postgres.column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name.
    pub name: String,
    /// The type.
    pub data_type: DbDataType,
}

/// The type of a column.
pub(super) fn data_type(ty: &Type) -> DbDataType {
    match *base(ty) {
        Type::BOOL => DbDataType::Boolean,
        Type::INT2 => DbDataType::Int16,
        Type::INT4 => DbDataType::Int32,
        Type::INT8 => DbDataType::Int64,
        Type::FLOAT4 => DbDataType::Floating32,
        Type::FLOAT8 => DbDataType::Floating64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => DbDataType::Str,
        Type::BYTEA => DbDataType::Binary,
        Type::DATE => DbDataType::Date,
        Type::TIME => DbDataType::Time,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => DbDataType::Datetime,
        Type::UUID => DbDataType::Uuid,
        Type::JSONB => DbDataType::Jsonb,
        Type::NUMERIC => DbDataType::Decimal,
        Type::INT4_RANGE => DbDataType::RangeInt32,
        Type::INT8_RANGE => DbDataType::RangeInt64,
        Type::NUM_RANGE => DbDataType::RangeDecimal,
        Type::INT4_ARRAY => DbDataType::ArrayInt32,
        Type::INT8_ARRAY => DbDataType::ArrayInt64,
        Type::NUMERIC_ARRAY => DbDataType::ArrayDecimal,
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => DbDataType::ArrayStr,
        Type::INTERVAL => DbDataType::Interval,
        _ => DbDataType::Other(ty.name().to_owned()),
    }
}

/// What a parameter stands for.
pub(super) fn parameter(value: &ParameterValue) -> Result<Parameter<'_>, Reason> {
    use ParameterValue as V;
    let one = match value {
        V::DbNull => return Ok(Parameter::Null),
        V::Boolean(value) => Scalar::Bool(*value),
        V::Int8(value) => Scalar::Int((*value).into()),
        V::Int16(value) => Scalar::Int((*value).into()),
        V::Int32(value) => Scalar::Int((*value).into()),
        V::Int64(value) => Scalar::Int(*value),
        V::Floating32(value) => Scalar::F32(*value),
        V::Floating64(value) => Scalar::F64(*value),
        V::Str(value) => Scalar::Text(value),
        V::Binary(value) => Scalar::Bytes(value),
        V::Date((year, month, day)) => {
            let date = Date::Ymd((*year, (*month).into(), (*day).into()));
            Scalar::Binary(Type::DATE, datetime::encode_date(date)?.to_be_bytes().to_vec())
        }
        V::Time((hour, min, sec, nanos)) => {
            let time = datetime::encode_time(time(*hour, *min, *sec, *nanos))?;
            Scalar::Binary(Type::TIME, time.to_be_bytes().to_vec())
        }
        V::Datetime((year, month, day, hour, min, sec, nanos)) => {
            let date = Date::Ymd((*year, (*month).into(), (*day).into()));
            let time = time(*hour, *min, *sec, *nanos);
            Scalar::Instant(datetime::encode_timestamp(Timestamp { date, time })?)
        }
        V::Timestamp(seconds) => Scalar::Instant(instant(*seconds)?),
        V::Uuid(value) => Scalar::Literal(&[Type::UUID], value.clone()),
        V::Jsonb(value) => Scalar::Literal(&[Type::JSONB, Type::JSON], text(value)?.to_owned()),
        V::Decimal(value) => Scalar::Decimal(value),
        V::RangeInt32(range) => Scalar::Range(range_text(range)?),
        V::RangeInt64(range) => Scalar::Range(range_text(range)?),
        V::RangeDecimal(range) => Scalar::Range(range_text(range)?),
        V::ArrayInt32(items) => return Ok(many(items, |item| Scalar::Int((*item).into()))),
        V::ArrayInt64(items) => return Ok(many(items, |item| Scalar::Int(*item))),
        V::ArrayDecimal(items) => return Ok(many(items, |item| Scalar::Decimal(item))),
        V::ArrayStr(items) => return Ok(many(items, |item| Scalar::Text(item))),
        V::Interval(Interval { micros, days, months }) => {
            let bytes = [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat();
            Scalar::Binary(Type::INTERVAL, bytes)
        }
    };
    Ok(Parameter::One(one))
}

fn many<'a, T>(items: &'a [Option<T>], convert: impl Fn(&'a T) -> Scalar<'a>) -> Parameter<'a> {
    Parameter::Many(items.iter().map(|item| item.as_ref().map(&convert)).collect())
}

fn time(hour: u8, min: u8, sec: u8, nanos: u32) -> Time {
    Time { hour: hour.into(), min: min.into(), sec: sec.into(), micro: nanos / 1000 }
}

/// Seconds since 1970 as microseconds since 2000.
fn instant(seconds: i64) -> Result<i64, Reason> {
    let micros = seconds.checked_sub(946_684_800).and_then(|seconds| seconds.checked_mul(1_000_000));
    micros.ok_or_else(|| format!("{seconds} seconds are out of range for a timestamp"))
}

fn range_text<T: std::fmt::Display>((lower, upper): &Range<T>) -> Result<String, Reason> {
    let number = |bound: &Option<(T, RangeBoundKind)>| match bound {
        None => Ok(String::new()),
        Some((value, _)) => {
            let value = value.to_string();
            if numeric::is_valid(&value) { Ok(value) } else { Err("a bound is no decimal number".to_owned()) }
        }
    };
    let inclusive = |bound: &Option<(T, RangeBoundKind)>| matches!(bound, Some((_, RangeBoundKind::Inclusive)));
    let open = if inclusive(lower) { '[' } else { '(' };
    let close = if inclusive(upper) { ']' } else { ')' };
    Ok(format!("{open}{},{}{close}", number(lower)?, number(upper)?))
}

/// Decodes a value that is not NULL.
pub(super) fn decode(ty: &Type, raw: &[u8]) -> Result<DbValue, Reason> {
    let ty = base(ty);
    Ok(match *ty {
        Type::BOOL => DbValue::Boolean(whole(raw, Reader::u8)? != 0),
        Type::INT2 => DbValue::Int16(whole(raw, Reader::i16)?),
        Type::INT4 => DbValue::Int32(whole(raw, Reader::i32)?),
        Type::INT8 => DbValue::Int64(whole(raw, Reader::i64)?),
        Type::FLOAT4 => DbValue::Floating32(whole(raw, Reader::f32)?),
        Type::FLOAT8 => DbValue::Floating64(whole(raw, Reader::f64)?),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => DbValue::Str(text(raw)?.to_owned()),
        Type::BYTEA => DbValue::Binary(raw.to_vec()),
        Type::DATE => match datetime::decode_date(whole(raw, Reader::i32)?)? {
            Date::Ymd(date) => DbValue::Date(ymd(date)?),
            _ => DbValue::Unsupported(raw.to_vec()),
        },
        Type::TIME => DbValue::Time(hms(datetime::decode_time(whole(raw, Reader::i64)?)?)?),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => moment(raw)?,
        Type::UUID => DbValue::Uuid(decode::uuid(raw)?),
        Type::JSONB => DbValue::Jsonb(decode::jsonb(raw)?.as_bytes().to_vec()),
        Type::NUMERIC => DbValue::Decimal(numeric::decode(raw)?),
        Type::INT4_RANGE => DbValue::RangeInt32(range(raw, 0, |raw| whole(raw, Reader::i32))?),
        Type::INT8_RANGE => DbValue::RangeInt64(range(raw, 0, |raw| whole(raw, Reader::i64))?),
        Type::NUM_RANGE => DbValue::RangeDecimal(range(raw, "0".to_owned(), numeric::decode)?),
        Type::INTERVAL => DbValue::Interval(whole(raw, |reader| {
            Ok(Interval { micros: reader.i64()?, days: reader.i32()?, months: reader.i32()? })
        })?),
        _ => items(ty, raw)?.unwrap_or_else(|| DbValue::Unsupported(raw.to_vec())),
    })
}

fn items(ty: &Type, raw: &[u8]) -> Result<Option<DbValue>, Reason> {
    fn all<T>(raw: &[u8], decode: impl Fn(&[u8]) -> Result<T, Reason>) -> Result<Option<Vec<Option<T>>>, Reason> {
        let array = array::decode(raw)?;
        if array.dimensions.len() > 1 {
            return Ok(None);
        }
        array.items.into_iter().map(|item| item.map(&decode).transpose()).collect::<Result<_, _>>().map(Some)
    }
    let Kind::Array(element) = ty.kind() else { return Ok(None) };
    Ok(match *base(element) {
        Type::INT4 => all(raw, |raw| whole(raw, Reader::i32))?.map(DbValue::ArrayInt32),
        Type::INT8 => all(raw, |raw| whole(raw, Reader::i64))?.map(DbValue::ArrayInt64),
        Type::NUMERIC => all(raw, numeric::decode)?.map(DbValue::ArrayDecimal),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => {
            all(raw, |raw| text(raw).map(str::to_owned))?.map(DbValue::ArrayStr)
        }
        _ => None,
    })
}

fn ymd((year, month, day): (i32, u32, u32)) -> Result<(i32, u8, u8), Reason> {
    let byte = |number: u32| u8::try_from(number).map_err(|_| malformed());
    Ok((year, byte(month)?, byte(day)?))
}

fn hms(time: Time) -> Result<(u8, u8, u8, u32), Reason> {
    let byte = |number: u32| u8::try_from(number).map_err(|_| malformed());
    Ok((byte(time.hour)?, byte(time.min)?, byte(time.sec)?, time.micro * 1000))
}

fn moment(raw: &[u8]) -> Result<DbValue, Reason> {
    let Timestamp { date, time } = datetime::decode_timestamp(whole(raw, Reader::i64)?)?;
    let Date::Ymd(date) = date else { return Ok(DbValue::Unsupported(raw.to_vec())) };
    let ((year, month, day), (hour, min, sec, nanos)) = (ymd(date)?, hms(time)?);
    Ok(DbValue::Datetime((year, month, day, hour, min, sec, nanos)))
}

fn range<T: Clone>(raw: &[u8], zero: T, decode: impl Fn(&[u8]) -> Result<T, Reason>) -> Result<Range<T>, Reason> {
    let range = datetime::range(raw)?;
    if range.is_empty {
        let bound = Some((zero, RangeBoundKind::Exclusive));
        return Ok((bound.clone(), bound));
    }
    let bound = |raw: Option<&[u8]>, inclusive: bool| {
        let kind = if inclusive { RangeBoundKind::Inclusive } else { RangeBoundKind::Exclusive };
        raw.map(|raw| decode(raw).map(|value| (value, kind))).transpose()
    };
    Ok((bound(range.lower, range.lower_inclusive)?, bound(range.upper, range.upper_inclusive)?))
}
