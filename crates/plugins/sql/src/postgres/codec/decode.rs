//! Results of `wasmcloud:postgres`.
//!
//! Takes the bytes of a result and their type; gives a [`PgValue`]. A type that has no case of its own comes as text.

use tokio_postgres::types::{Kind, Type};

use super::super::float::{decode_f32, decode_f64};
use super::super::value::{HashableF64, PgValue, Point};
use super::array::Items;
use super::encode::base;
use super::reader::{Reader, malformed, text, whole};
use super::{Context, Reason, array, datetime, literal, net, numeric, search};

/// Decodes a value that is not NULL.
pub(in super::super) fn decode(ty: &Type, raw: &[u8], context: Context) -> Result<PgValue, Reason> {
    let ty = base(ty);
    if *ty == Type::INT2_VECTOR {
        return vector(raw).map(PgValue::Int2Vector);
    }
    if let Kind::Array(element) = ty.kind() {
        let items = array::decode(raw)?;
        let value = match items.plain() {
            Some(items) => many(base(element), &items, context)?,
            None => None,
        };
        return match value {
            Some(value) => Ok(value),
            None => literal::array(&items, element, context, 0).map(PgValue::Text),
        };
    }
    match one(ty, raw, context)? {
        Some(value) => Ok(value),
        None => literal::literal(ty, raw, context, 0).map(PgValue::Text),
    }
}

fn one(ty: &Type, raw: &[u8], context: Context) -> Result<Option<PgValue>, Reason> {
    let owned = |raw| text(raw).map(str::to_owned);
    Ok(Some(match *ty {
        Type::BOOL => PgValue::Bool(whole(raw, Reader::u8)? != 0),
        Type::INT2 => PgValue::Int2(whole(raw, Reader::i16)?),
        Type::INT4 => PgValue::Int4(whole(raw, Reader::i32)?),
        Type::INT8 => PgValue::Int8(whole(raw, Reader::i64)?),
        Type::FLOAT4 => PgValue::Float4(decode_f32(whole(raw, Reader::f32)?)),
        Type::FLOAT8 => PgValue::Float8(double(raw)?),
        Type::NUMERIC => PgValue::Numeric(numeric::decode(raw)?),
        Type::MONEY => PgValue::Money(money(raw, context)?),
        Type::BIT => PgValue::Bit(bits(raw)?),
        Type::VARBIT => PgValue::Varbit(varying(raw)?),
        Type::BYTEA => PgValue::Bytea(raw.to_vec()),
        Type::BPCHAR | Type::CHAR => PgValue::Char(characters(raw)?),
        Type::VARCHAR => PgValue::Varchar((None, raw.to_vec())),
        Type::TEXT | Type::UNKNOWN => PgValue::Text(owned(raw)?),
        Type::NAME => PgValue::Name(owned(raw)?),
        Type::XML => PgValue::Xml(owned(raw)?),
        Type::JSON => PgValue::Json(owned(raw)?),
        Type::JSONB => PgValue::Jsonb(jsonb(raw)?.to_owned()),
        Type::CIDR => PgValue::Cidr(net::decode(raw, true)?),
        Type::INET => PgValue::Inet(net::decode(raw, false)?),
        Type::MACADDR => PgValue::Macaddr(whole(raw, Reader::array::<6>)?.into()),
        Type::MACADDR8 => PgValue::Macaddr8(whole(raw, Reader::array::<8>)?.into()),
        Type::UUID => PgValue::Uuid(uuid(raw)?),
        Type::DATE => PgValue::Date(datetime::decode_date(whole(raw, Reader::i32)?)?),
        Type::DATE_RANGE => PgValue::Interval(datetime::decode_interval(raw)?),
        Type::TIME => PgValue::Time(datetime::decode_time(whole(raw, Reader::i64)?)?),
        Type::TIMETZ => PgValue::TimeTz(whole(raw, datetime::decode_time_tz)?),
        Type::TIMESTAMP => PgValue::Timestamp(datetime::decode_timestamp(whole(raw, Reader::i64)?)?),
        Type::TIMESTAMPTZ => PgValue::TimestampTz(datetime::decode_timestamp_tz(whole(raw, Reader::i64)?)?),
        Type::PG_LSN => PgValue::PgLsn(whole(raw, Reader::u64)?),
        Type::PG_SNAPSHOT | Type::TXID_SNAPSHOT => PgValue::PgSnapshot(snapshot(raw)?),
        Type::TS_VECTOR => PgValue::TsVector(search::decode_vector(raw)?),
        Type::TSQUERY => PgValue::TsQuery(search::decode_query(raw)?),
        Type::OID | Type::XID | Type::CID => PgValue::Int8(whole(raw, Reader::u32)?.into()),
        _ if ty.name() == "hstore" => PgValue::Hstore(hstore(raw)?),
        _ => return shape(ty, raw),
    }))
}

fn shape(ty: &Type, raw: &[u8]) -> Result<Option<PgValue>, Reason> {
    Ok(Some(match *ty {
        Type::POINT => PgValue::Point(whole(raw, point)?),
        Type::BOX => PgValue::Box(corners(raw)?),
        Type::LSEG => PgValue::Lseg(whole(raw, |reader| Ok((point(reader)?, point(reader)?)))?),
        Type::LINE => PgValue::Line(line(raw)?),
        Type::CIRCLE => PgValue::Circle(circle(raw)?),
        Type::PATH => PgValue::Path(path(raw)?),
        Type::POLYGON => PgValue::Polygon(whole(raw, points)?),
        _ => return Ok(None),
    }))
}

/// Decodes the items of an array, if there is a case for arrays of their type.
fn many(element: &Type, items: &[&[u8]], context: Context) -> Result<Option<PgValue>, Reason> {
    fn all<'a, T>(items: &[&'a [u8]], decode: impl Fn(&'a [u8]) -> Result<T, Reason>) -> Result<Vec<T>, Reason> {
        items.iter().map(|item| decode(item)).collect()
    }
    let owned = |raw| text(raw).map(str::to_owned);
    Ok(Some(match *element {
        Type::BOOL => PgValue::BoolArray(all(items, |raw| Ok(whole(raw, Reader::u8)? != 0))?),
        Type::INT2 => PgValue::Int2Array(all(items, |raw| whole(raw, Reader::i16))?),
        Type::INT4 => PgValue::Int4Array(all(items, |raw| whole(raw, Reader::i32))?),
        Type::INT8 => PgValue::Int8Array(all(items, |raw| whole(raw, Reader::i64))?),
        Type::INT2_VECTOR => PgValue::Int2VectorArray(all(items, vector)?),
        Type::FLOAT4 => PgValue::Float4Array(all(items, |raw| whole(raw, Reader::f32).map(decode_f32))?),
        Type::FLOAT8 => PgValue::Float8Array(all(items, double)?),
        Type::NUMERIC => PgValue::NumericArray(all(items, numeric::decode)?),
        Type::MONEY => PgValue::MoneyArray(all(items, |raw| money(raw, context))?),
        Type::BIT => PgValue::BitArray(all(items, bits)?),
        Type::VARBIT => PgValue::VarbitArray(all(items, varying)?),
        Type::BYTEA => PgValue::ByteaArray(all(items, |raw| Ok(raw.to_vec()))?),
        Type::BPCHAR | Type::CHAR => PgValue::CharArray(all(items, characters)?),
        Type::VARCHAR => PgValue::VarcharArray(all(items, |raw| Ok((None, raw.to_vec())))?),
        Type::TEXT => PgValue::TextArray(all(items, owned)?),
        Type::NAME => PgValue::NameArray(all(items, owned)?),
        Type::XML => PgValue::XmlArray(all(items, owned)?),
        Type::JSON => PgValue::JsonArray(all(items, owned)?),
        Type::JSONB => PgValue::JsonbArray(all(items, |raw| jsonb(raw).map(str::to_owned))?),
        Type::CIDR => PgValue::CidrArray(all(items, |raw| net::decode(raw, true))?),
        Type::INET => PgValue::InetArray(all(items, |raw| net::decode(raw, false))?),
        Type::MACADDR => PgValue::MacaddrArray(all(items, |raw| Ok(whole(raw, Reader::array::<6>)?.into()))?),
        Type::MACADDR8 => PgValue::Macaddr8Array(all(items, |raw| Ok(whole(raw, Reader::array::<8>)?.into()))?),
        Type::UUID => PgValue::UuidArray(all(items, uuid)?),
        Type::PG_LSN => PgValue::PgLsnArray(all(items, |raw| whole(raw, Reader::u64))?),
        Type::POINT => PgValue::PointArray(all(items, |raw| whole(raw, point))?),
        Type::BOX => PgValue::BoxArray(all(items, corners)?),
        Type::LSEG => PgValue::LsegArray(all(items, |raw| whole(raw, |r| Ok((point(r)?, point(r)?))))?),
        Type::LINE => PgValue::LineArray(all(items, line)?),
        Type::CIRCLE => PgValue::CircleArray(all(items, circle)?),
        Type::PATH => PgValue::PathArray(all(items, path)?),
        Type::POLYGON => PgValue::PolygonArray(all(items, |raw| whole(raw, points))?),
        _ => return times(element, items),
    }))
}

fn times(element: &Type, items: &[&[u8]]) -> Result<Option<PgValue>, Reason> {
    fn all<T>(items: &[&[u8]], decode: impl Fn(&[u8]) -> Result<T, Reason>) -> Result<Vec<T>, Reason> {
        items.iter().map(|item| decode(item)).collect()
    }
    let long = |raw: &[u8]| whole(raw, Reader::i64);
    Ok(Some(match *element {
        Type::DATE => PgValue::DateArray(all(items, |raw| datetime::decode_date(whole(raw, Reader::i32)?))?),
        Type::DATE_RANGE => PgValue::IntervalArray(all(items, datetime::decode_interval)?),
        Type::TIME => PgValue::TimeArray(all(items, |raw| datetime::decode_time(long(raw)?))?),
        Type::TIMETZ => PgValue::TimeTzArray(all(items, |raw| whole(raw, datetime::decode_time_tz))?),
        Type::TIMESTAMP => PgValue::TimestampArray(all(items, |raw| datetime::decode_timestamp(long(raw)?))?),
        Type::TIMESTAMPTZ => PgValue::TimestampTzArray(all(items, |raw| datetime::decode_timestamp_tz(long(raw)?))?),
        _ => return Ok(None),
    }))
}

fn double(raw: &[u8]) -> Result<HashableF64, Reason> {
    whole(raw, Reader::f64).map(decode_f64)
}

pub(in super::super) fn money(raw: &[u8], context: Context) -> Result<String, Reason> {
    Ok(numeric::decode_money(whole(raw, Reader::i64)?, context.money_scale))
}

fn bits(raw: &[u8]) -> Result<(u32, Vec<u8>), Reason> {
    let mut reader = Reader(raw);
    let count = u32::try_from(reader.i32()?).map_err(|_| malformed())?;
    Ok((count, reader.0.to_vec()))
}

fn varying(raw: &[u8]) -> Result<(Option<u32>, Vec<u8>), Reason> {
    bits(raw).map(|(count, bytes)| (Some(count), bytes))
}

fn characters(raw: &[u8]) -> Result<(u32, Vec<u8>), Reason> {
    Ok((u32::try_from(raw.len()).map_err(|_| malformed())?, raw.to_vec()))
}

/// The text of a `jsonb`, whose first byte is the version of its form.
pub(in super::super) fn jsonb(raw: &[u8]) -> Result<&str, Reason> {
    match raw.split_first() {
        Some((1, json)) => text(json),
        _ => Err(malformed()),
    }
}

pub(in super::super) fn uuid(raw: &[u8]) -> Result<String, Reason> {
    let number = u128::from_be_bytes(whole(raw, Reader::array)?);
    let hex = format!("{number:032x}");
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

fn vector(raw: &[u8]) -> Result<Vec<i16>, Reason> {
    let Items { items, .. } = array::decode(raw)?;
    items.into_iter().map(|item| whole(item.ok_or_else(malformed)?, Reader::i16)).collect()
}

fn snapshot(raw: &[u8]) -> Result<(i64, i64, Vec<i64>), Reason> {
    whole(raw, |reader| {
        let count = reader.count(8)?;
        let (xmin, xmax) = (reader.i64()?, reader.i64()?);
        Ok((xmin, xmax, (0..count).map(|_| reader.i64()).collect::<Result<_, _>>()?))
    })
}

fn hstore(raw: &[u8]) -> Result<Vec<(String, Option<String>)>, Reason> {
    whole(raw, |reader| {
        let count = reader.count(8)?;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            let key = text(reader.field()?.ok_or_else(malformed)?)?.to_owned();
            let value = reader.field()?.map(|value| text(value).map(str::to_owned)).transpose()?;
            pairs.push((key, value));
        }
        Ok(pairs)
    })
}

fn point(reader: &mut Reader<'_>) -> Result<Point, Reason> {
    Ok((decode_f64(reader.f64()?), decode_f64(reader.f64()?)))
}

fn points(reader: &mut Reader<'_>) -> Result<Vec<Point>, Reason> {
    let count = reader.count(16)?;
    (0..count).map(|_| point(reader)).collect()
}

fn path(raw: &[u8]) -> Result<Vec<Point>, Reason> {
    whole(raw, |reader| {
        reader.u8()?;
        points(reader)
    })
}

/// The lower left corner of a box and the upper right one, which the server sends first.
fn corners(raw: &[u8]) -> Result<(Point, Point), Reason> {
    whole(raw, |reader| {
        let high = point(reader)?;
        Ok((point(reader)?, high))
    })
}

fn circle(raw: &[u8]) -> Result<(Point, HashableF64), Reason> {
    whole(raw, |reader| Ok((point(reader)?, decode_f64(reader.f64()?))))
}

/// Two points of a line: those where x, or y if the line is vertical, is 0 and 1.
fn line(raw: &[u8]) -> Result<(Point, Point), Reason> {
    let (a, b, c) = whole(raw, |reader| Ok((reader.f64()?, reader.f64()?, reader.f64()?)))?;
    let point = |x: f64, y: f64| (decode_f64(x), decode_f64(y));
    if b == 0.0 {
        let x = 0.0 - c / a;
        return Ok((point(x, 0.0), point(x, 1.0)));
    }
    Ok((point(0.0, 0.0 - c / b), point(1.0, 0.0 - (a + c) / b)))
}
