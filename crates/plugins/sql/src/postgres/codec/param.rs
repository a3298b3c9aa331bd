//! Parameters of `wasmcloud:postgres`.
//!
//! Takes a [`PgValue`]; gives what it stands for, or the reason why it stands for nothing.

use tokio_postgres::types::Type;

use super::super::float::{encode_f32, encode_f64};
use super::super::value::{Bits, HashableF64, PgValue, Point, VarBits};
use super::encode::{Parameter, Scalar};
use super::reader::text;
use super::{Reason, datetime, search};

const ADDRESSES: &[Type] = &[Type::INET, Type::CIDR];
const JSON: &[Type] = &[Type::JSON, Type::JSONB];
const SNAPSHOTS: &[Type] = &[Type::PG_SNAPSHOT, Type::TXID_SNAPSHOT];

type Converted<'a> = Result<Scalar<'a>, Reason>;

/// The items of an array.
fn many<'a, T>(items: &'a [T], convert: impl Fn(&'a T) -> Converted<'a>) -> Result<Parameter<'a>, Reason> {
    items.iter().map(|item| convert(item).map(Some)).collect::<Result<_, _>>().map(Parameter::Many)
}

/// What a value stands for.
pub(in super::super) fn parameter(value: &PgValue) -> Result<Parameter<'_>, Reason> {
    Ok(match value {
        PgValue::Null => return Ok(Parameter::Null),
        PgValue::Int8Array(items) => return many(items, |item| Ok(Scalar::Int(*item))),
        PgValue::Int4Array(items) => return many(items, |item| Ok(Scalar::Int((*item).into()))),
        PgValue::Int2Array(items) => return many(items, |item| Ok(Scalar::Int((*item).into()))),
        PgValue::Int2VectorArray(items) => return many(items, |item| vector(item)),
        PgValue::BoolArray(items) => return many(items, |item| Ok(Scalar::Bool(*item))),
        PgValue::Float8Array(items) => return many(items, |item| double(*item)),
        PgValue::Float4Array(items) => return many(items, |item| single(*item)),
        PgValue::NumericArray(items) | PgValue::MoneyArray(items) => {
            return many(items, |item| Ok(Scalar::Decimal(item)));
        }
        PgValue::BitArray(items) => return many(items, fixed_bits),
        PgValue::VarbitArray(items) => return many(items, varying_bits),
        PgValue::ByteaArray(items) => return many(items, |item| Ok(Scalar::Bytes(item))),
        PgValue::CharArray(items) => return many(items, |(length, bytes)| characters(Some(*length), bytes)),
        PgValue::VarcharArray(items) => return many(items, |(length, bytes)| characters(*length, bytes)),
        PgValue::CidrArray(items) | PgValue::InetArray(items) => return many(items, |item| literal(ADDRESSES, item)),
        PgValue::MacaddrArray(items) => return many(items, |item| binary(Type::MACADDR, &<[u8; 6]>::from(*item))),
        PgValue::Macaddr8Array(items) => return many(items, |item| binary(Type::MACADDR8, &<[u8; 8]>::from(*item))),
        PgValue::BoxArray(_)
        | PgValue::CircleArray(_)
        | PgValue::LineArray(_)
        | PgValue::LsegArray(_)
        | PgValue::PathArray(_)
        | PgValue::PointArray(_)
        | PgValue::PolygonArray(_) => return shapes(value),
        PgValue::DateArray(_)
        | PgValue::IntervalArray(_)
        | PgValue::TimeArray(_)
        | PgValue::TimeTzArray(_)
        | PgValue::TimestampArray(_)
        | PgValue::TimestampTzArray(_) => return times(value),
        PgValue::JsonArray(items) | PgValue::JsonbArray(items) => return many(items, |item| literal(JSON, item)),
        PgValue::PgLsnArray(items) => return many(items, |item| binary(Type::PG_LSN, &item.to_be_bytes())),
        PgValue::NameArray(items) | PgValue::TextArray(items) => return many(items, |item| Ok(Scalar::Text(item))),
        PgValue::XmlArray(items) => return many(items, |item| literal(&[Type::XML], item)),
        PgValue::UuidArray(items) => return many(items, |item| literal(&[Type::UUID], item)),
        one => Parameter::One(scalar(one)?),
    })
}

fn scalar(value: &PgValue) -> Converted<'_> {
    match value {
        PgValue::BigInt(n)
        | PgValue::Int8(n)
        | PgValue::BigSerial(n)
        | PgValue::Serial8(n)
        | PgValue::TxidSnapshot(n) => Ok(Scalar::Int(*n)),
        PgValue::Integer(n) | PgValue::Int(n) | PgValue::Int4(n) => Ok(Scalar::Int((*n).into())),
        PgValue::Serial(n) | PgValue::Serial4(n) => Ok(Scalar::Int((*n).into())),
        PgValue::SmallInt(n) | PgValue::Int2(n) | PgValue::SmallSerial(n) | PgValue::Serial2(n) => {
            Ok(Scalar::Int((*n).into()))
        }
        PgValue::Int2Vector(items) => vector(items),
        PgValue::Bool(value) | PgValue::Boolean(value) => Ok(Scalar::Bool(*value)),
        PgValue::Double(value) | PgValue::Float8(value) => double(*value),
        PgValue::Real(value) | PgValue::Float4(value) => single(*value),
        PgValue::Numeric(text) | PgValue::Decimal(text) | PgValue::Money(text) => Ok(Scalar::Decimal(text)),
        PgValue::Bit(bits) => fixed_bits(bits),
        PgValue::BitVarying(bits) | PgValue::Varbit(bits) => varying_bits(bits),
        PgValue::Bytea(bytes) => Ok(Scalar::Bytes(bytes)),
        PgValue::Char((length, bytes)) => characters(Some(*length), bytes),
        PgValue::Varchar((length, bytes)) => characters(*length, bytes),
        PgValue::Cidr(text) | PgValue::Inet(text) => literal(ADDRESSES, text),
        PgValue::Macaddr(address) => binary(Type::MACADDR, &<[u8; 6]>::from(*address)),
        PgValue::Macaddr8(address) => binary(Type::MACADDR8, &<[u8; 8]>::from(*address)),
        PgValue::Json(text) | PgValue::Jsonb(text) => literal(JSON, text),
        PgValue::PgLsn(n) => binary(Type::PG_LSN, &n.to_be_bytes()),
        PgValue::PgSnapshot((xmin, xmax, running)) => {
            let running: Vec<_> = running.iter().map(ToString::to_string).collect();
            Ok(Scalar::Literal(SNAPSHOTS, format!("{xmin}:{xmax}:{}", running.join(","))))
        }
        PgValue::Name(text) | PgValue::Text(text) => Ok(Scalar::Text(text)),
        PgValue::Xml(text) => literal(&[Type::XML], text),
        PgValue::TsQuery(text) => literal(&[Type::TSQUERY], text),
        PgValue::TsVector(lexemes) => Ok(Scalar::Literal(&[Type::TS_VECTOR], search::encode_vector(lexemes)?)),
        PgValue::Uuid(text) => literal(&[Type::UUID], text),
        PgValue::Hstore(pairs) => hstore(pairs),
        PgValue::Date(_)
        | PgValue::Interval(_)
        | PgValue::Time(_)
        | PgValue::TimeTz(_)
        | PgValue::Timestamp(_)
        | PgValue::TimestampTz(_) => time(value),
        shape => self::shape(shape),
    }
}

fn shape(value: &PgValue) -> Converted<'_> {
    match value {
        PgValue::Point(point) => shape_of(Type::POINT, &[], [point]),
        PgValue::Box((low, high)) => shape_of(Type::BOX, &[], [high, low]),
        PgValue::Lseg((start, end)) => shape_of(Type::LSEG, &[], [start, end]),
        PgValue::Path(points) => shape_of(Type::PATH, &[&[0], &count(points)?[..]].concat(), points),
        PgValue::Polygon(points) => shape_of(Type::POLYGON, &count(points)?, points),
        PgValue::Circle(circle) => self::circle(circle),
        PgValue::Line(points) => line(points),
        _ => Err("it is not known".to_owned()),
    }
}

fn shapes(value: &PgValue) -> Result<Parameter<'_>, Reason> {
    match value {
        PgValue::PointArray(items) => many(items, |point| shape_of(Type::POINT, &[], [point])),
        PgValue::BoxArray(items) => many(items, |(low, high)| shape_of(Type::BOX, &[], [high, low])),
        PgValue::LsegArray(items) => many(items, |(start, end)| shape_of(Type::LSEG, &[], [start, end])),
        PgValue::PathArray(items) => {
            many(items, |points| shape_of(Type::PATH, &[&[0], &count(points)?[..]].concat(), points))
        }
        PgValue::PolygonArray(items) => many(items, |points| shape_of(Type::POLYGON, &count(points)?, points)),
        PgValue::CircleArray(items) => many(items, circle),
        PgValue::LineArray(items) => many(items, line),
        _ => Err("it is not known".to_owned()),
    }
}

fn time(value: &PgValue) -> Converted<'_> {
    match value {
        PgValue::Date(date) => binary(Type::DATE, &datetime::encode_date(*date)?.to_be_bytes()),
        PgValue::Interval(range) => Ok(Scalar::Binary(Type::DATE_RANGE, datetime::encode_interval(*range)?)),
        PgValue::Time(time) => binary(Type::TIME, &datetime::encode_time(*time)?.to_be_bytes()),
        PgValue::TimeTz(time) => Ok(Scalar::Binary(Type::TIMETZ, datetime::encode_time_tz(time)?)),
        PgValue::Timestamp(value) => binary(Type::TIMESTAMP, &datetime::encode_timestamp(*value)?.to_be_bytes()),
        PgValue::TimestampTz(value) => binary(Type::TIMESTAMPTZ, &datetime::encode_timestamp_tz(*value)?.to_be_bytes()),
        _ => Err("it is not known".to_owned()),
    }
}

fn times(value: &PgValue) -> Result<Parameter<'_>, Reason> {
    match value {
        PgValue::DateArray(items) => {
            many(items, |date| binary(Type::DATE, &datetime::encode_date(*date)?.to_be_bytes()))
        }
        PgValue::IntervalArray(items) => {
            many(items, |range| Ok(Scalar::Binary(Type::DATE_RANGE, datetime::encode_interval(*range)?)))
        }
        PgValue::TimeArray(items) => {
            many(items, |time| binary(Type::TIME, &datetime::encode_time(*time)?.to_be_bytes()))
        }
        PgValue::TimeTzArray(items) => {
            many(items, |time| Ok(Scalar::Binary(Type::TIMETZ, datetime::encode_time_tz(time)?)))
        }
        PgValue::TimestampArray(items) => {
            many(items, |item| binary(Type::TIMESTAMP, &datetime::encode_timestamp(*item)?.to_be_bytes()))
        }
        PgValue::TimestampTzArray(items) => {
            many(items, |item| binary(Type::TIMESTAMPTZ, &datetime::encode_timestamp_tz(*item)?.to_be_bytes()))
        }
        _ => Err("it is not known".to_owned()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "so that it reads like the conversions that can fail")]
fn binary(ty: Type, bytes: &[u8]) -> Converted<'static> {
    Ok(Scalar::Binary(ty, bytes.to_vec()))
}

#[expect(clippy::unnecessary_wraps, reason = "so that it reads like the conversions that can fail")]
fn literal(types: &'static [Type], text: &str) -> Converted<'static> {
    Ok(Scalar::Literal(types, text.to_owned()))
}

fn double(value: HashableF64) -> Converted<'static> {
    encode_f64(value).map(Scalar::F64).ok_or_else(not_a_number)
}

fn single(value: HashableF64) -> Converted<'static> {
    encode_f32(value).map(Scalar::F32).ok_or_else(not_a_number)
}

fn not_a_number() -> Reason {
    "its mantissa, exponent and sign make no number of this type".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "so that it reads like the conversions that can fail")]
fn fixed_bits((count, bytes): &Bits) -> Converted<'_> {
    Ok(Scalar::Bits(*count, bytes))
}

/// The number of varying bits is their number or, if it exceeds the bytes, a limit that they keep to.
fn varying_bits((count, bytes): &VarBits) -> Converted<'_> {
    let all = u32::try_from(bytes.len().saturating_mul(8)).map_err(|_| "it has too many bits".to_owned())?;
    Ok(Scalar::Bits(count.map_or(all, |count| count.min(all)), bytes))
}

/// Characters, and the most bytes that they may have.
fn characters(limit: Option<u32>, bytes: &[u8]) -> Converted<'_> {
    if limit.is_some_and(|limit| bytes.len() > limit as usize) {
        return Err(format!("{} bytes exceed the value's own length", bytes.len()));
    }
    text(bytes).map(Scalar::Text)
}

/// The server reads an empty vector from text only.
#[expect(clippy::unnecessary_wraps, reason = "so that it reads like the conversions that can fail")]
fn vector(items: &[i16]) -> Converted<'static> {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    Ok(Scalar::Literal(&[Type::INT2_VECTOR], items.join(" ")))
}

fn count<T>(points: &[T]) -> Result<[u8; 4], Reason> {
    i32::try_from(points.len()).map(i32::to_be_bytes).map_err(|_| "it has too many points".to_owned())
}

fn shape_of<'a>(ty: Type, head: &[u8], points: impl IntoIterator<Item = &'a Point>) -> Converted<'static> {
    let mut bytes = head.to_vec();
    for (x, y) in points {
        for coordinate in [x, y] {
            bytes.extend(encode_f64(*coordinate).ok_or_else(not_a_number)?.to_be_bytes());
        }
    }
    Ok(Scalar::Binary(ty, bytes))
}

fn circle((centre, radius): &(Point, HashableF64)) -> Converted<'_> {
    let mut bytes = Vec::with_capacity(24);
    for number in [centre.0, centre.1, *radius] {
        bytes.extend(encode_f64(number).ok_or_else(not_a_number)?.to_be_bytes());
    }
    Ok(Scalar::Binary(Type::CIRCLE, bytes))
}

/// The equation of the line through two points: a x + b y + c = 0.
fn line((start, end): &(Point, Point)) -> Converted<'_> {
    let number = |number: HashableF64| encode_f64(number).ok_or_else(not_a_number);
    let (x1, y1, x2, y2) = (number(start.0)?, number(start.1)?, number(end.0)?, number(end.1)?);
    #[expect(clippy::float_cmp, reason = "equal points make no line, and close ones do")]
    let (same_x, same_y) = (x1 == x2, y1 == y2);
    if same_x && same_y {
        return Err("a line needs two points".to_owned());
    }
    let equation = if same_x {
        [-1.0, 0.0, x1]
    } else {
        let slope = (y2 - y1) / (x2 - x1);
        [slope, -1.0, y1 - slope * x1]
    };
    Ok(Scalar::Binary(Type::LINE, equation.map(|number| (number + 0.0).to_be_bytes()).concat()))
}

fn hstore(pairs: &[(String, Option<String>)]) -> Converted<'static> {
    let mut bytes = count(pairs)?.to_vec();
    for (key, value) in pairs {
        for text in [Some(key), value.as_ref()] {
            let Some(text) = text else {
                bytes.extend((-1i32).to_be_bytes());
                continue;
            };
            let length = i32::try_from(text.len()).map_err(|_| "it is too long".to_owned())?;
            bytes.extend(length.to_be_bytes());
            bytes.extend(text.as_bytes());
        }
    }
    Ok(Scalar::Extension("hstore", bytes))
}
