//! Parameters.
//!
//! Takes a value of one of a few kinds, and the type that the server inferred; gives its bytes, or the reason why it does
//! not fit. A number fits each type of numbers that can hold it. Text fits each type, because the server reads it as it
//! reads a literal.

use tokio_postgres::types::{Kind, Type};

use super::super::float::narrow;
use super::{Context, Encoded, Reason, array, numeric};

/// The kinds of values.
pub(in super::super) enum Scalar<'a> {
    Int(i64),
    Bool(bool),
    F64(f64),
    F32(f32),
    /// A decimal number.
    Decimal(&'a str),
    /// A number of bits, and the bytes that hold them.
    Bits(u32, &'a [u8]),
    Bytes(&'a [u8]),
    /// A text that fits each type.
    Text(&'a str),
    /// The text form of these types. It fits text too.
    Literal(&'static [Type], String),
    /// The text form of a range.
    Range(String),
    /// Microseconds since 2000, for a timestamp with or without a time zone.
    Instant(i64),
    /// The binary form of one type.
    Binary(Type, Vec<u8>),
    /// The binary form of the type of an extension.
    Extension(&'static str, Vec<u8>),
}

/// A parameter.
pub(in super::super) enum Parameter<'a> {
    Null,
    One(Scalar<'a>),
    Many(Vec<Option<Scalar<'a>>>),
}

/// Encodes a parameter for a type.
pub(in super::super) fn encode(parameter: Parameter<'_>, ty: &Type, context: Context) -> Result<Encoded, Reason> {
    let ty = base(ty);
    match parameter {
        Parameter::Null => Ok(Encoded::Null),
        Parameter::One(scalar) => encode_scalar(&scalar, ty, context),
        Parameter::Many(items) => {
            let Kind::Array(element) = ty.kind() else {
                return Err(format!("an array does not fit the type `{ty}`"));
            };
            let encode = |item: Option<Scalar<'_>>| match item {
                None => Ok(Encoded::Null),
                Some(scalar) => encode_scalar(&scalar, base(element), context),
            };
            let items = items.into_iter().map(encode).collect::<Result<_, _>>()?;
            array::encode(items, element)
        }
    }
}

/// The type under a domain.
pub(in super::super) fn base(mut ty: &Type) -> &Type {
    while let Kind::Domain(inner) = ty.kind() {
        ty = inner;
    }
    ty
}

/// Whether a type is text to the server.
pub(in super::super) fn is_text(ty: &Type) -> bool {
    matches!(*ty, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN) || ty.name() == "citext"
}

fn encode_scalar(scalar: &Scalar<'_>, ty: &Type, context: Context) -> Result<Encoded, Reason> {
    let misfit = |kind: &str| Err(format!("{kind} does not fit the type `{ty}`; cast the parameter, as in `$1::text`"));
    match scalar {
        Scalar::Text(text) => Ok(Encoded::Text((*text).to_owned())),
        Scalar::Int(value) => integer(*value, ty).unwrap_or_else(|| misfit("an integer")),
        Scalar::Bool(value) if *ty == Type::BOOL => Ok(Encoded::Binary(vec![u8::from(*value)])),
        Scalar::Bool(_) => misfit("a boolean"),
        Scalar::F64(value) => float(*value, ty).unwrap_or_else(|| misfit("a floating-point number")),
        Scalar::F32(value) if *ty == Type::NUMERIC => Ok(Encoded::Text(decimal_text(value, value.is_infinite()))),
        Scalar::F32(value) if *ty == Type::FLOAT4 => Ok(Encoded::Binary(value.to_be_bytes().to_vec())),
        Scalar::F32(value) => float(f64::from(*value), ty).unwrap_or_else(|| misfit("a floating-point number")),
        Scalar::Decimal(text) => decimal(text, ty, context).unwrap_or_else(|| misfit("a decimal number")),
        Scalar::Bits(count, bytes) if matches!(*ty, Type::BIT | Type::VARBIT) => bits(*count, bytes),
        Scalar::Bits(..) => misfit("a bit string"),
        Scalar::Bytes(bytes) if *ty == Type::BYTEA => Ok(Encoded::Binary(bytes.to_vec())),
        Scalar::Bytes(_) => misfit("a byte string"),
        Scalar::Literal(types, text) if types.contains(ty) || is_text(ty) => Ok(Encoded::Text(text.clone())),
        Scalar::Literal(types, _) => misfit(&format!("a value of the type `{}`", types[0])),
        Scalar::Range(text) if matches!(ty.kind(), Kind::Range(_)) => Ok(Encoded::Text(text.clone())),
        Scalar::Range(_) => misfit("a range"),
        Scalar::Instant(micros) if matches!(*ty, Type::TIMESTAMP | Type::TIMESTAMPTZ) => {
            Ok(Encoded::Binary(micros.to_be_bytes().to_vec()))
        }
        Scalar::Instant(_) => misfit("a timestamp"),
        Scalar::Binary(own, bytes) if own == ty => Ok(Encoded::Binary(bytes.clone())),
        Scalar::Binary(own, _) => misfit(&format!("a value of the type `{own}`")),
        Scalar::Extension(name, bytes) if ty.name() == *name => Ok(Encoded::Binary(bytes.clone())),
        Scalar::Extension(name, _) => misfit(&format!("a value of the type `{name}`")),
    }
}

fn integer(value: i64, ty: &Type) -> Option<Result<Encoded, Reason>> {
    fn checked<const N: usize, T: TryFrom<i64>>(
        value: i64,
        ty: &Type,
        bytes: fn(T) -> [u8; N],
    ) -> Result<Encoded, Reason> {
        let value = T::try_from(value).map_err(|_| format!("{value} is out of range for the type `{ty}`"))?;
        Ok(Encoded::Binary(bytes(value).to_vec()))
    }
    Some(match *ty {
        Type::INT2 => checked(value, ty, i16::to_be_bytes),
        Type::INT4 => checked(value, ty, i32::to_be_bytes),
        Type::INT8 => checked(value, ty, i64::to_be_bytes),
        Type::CHAR => checked(value, ty, i8::to_be_bytes),
        Type::OID => checked(value, ty, u32::to_be_bytes),
        Type::XID8 => checked(value, ty, u64::to_be_bytes),
        Type::NUMERIC => Ok(Encoded::Text(value.to_string())),
        Type::FLOAT4 | Type::FLOAT8 => {
            // An integer of more bits than the mantissa would become another number.
            let bits = if *ty == Type::FLOAT4 { 24 } else { 53 };
            if value.unsigned_abs() > 1 << bits {
                return Some(Err(format!("{value} is not exact in the type `{ty}`")));
            }
            Ok(Encoded::Text(value.to_string()))
        }
        _ => return None,
    })
}

fn float(value: f64, ty: &Type) -> Option<Result<Encoded, Reason>> {
    Some(match *ty {
        Type::FLOAT8 => Ok(Encoded::Binary(value.to_be_bytes().to_vec())),
        Type::FLOAT4 => match narrow(value) {
            Some(value) => Ok(Encoded::Binary(value.to_be_bytes().to_vec())),
            None => Err(format!("{value} is out of range for the type `{ty}`")),
        },
        Type::NUMERIC => Ok(Encoded::Text(decimal_text(value, value.is_infinite()))),
        _ => return None,
    })
}

/// The shortest decimal text that is read as the same number.
fn decimal_text(value: impl std::fmt::Display, is_infinite: bool) -> String {
    let text = value.to_string();
    if is_infinite { text.replace("inf", "Infinity") } else { text }
}

fn decimal(text: &str, ty: &Type, context: Context) -> Option<Result<Encoded, Reason>> {
    match *ty {
        Type::MONEY => {
            let amount = numeric::encode_money(text, context.money_scale);
            Some(amount.map(|amount| Encoded::Binary(amount.to_be_bytes().to_vec())))
        }
        Type::NUMERIC | Type::FLOAT4 | Type::FLOAT8 | Type::INT2 | Type::INT4 | Type::INT8 => {
            let valid = numeric::is_valid(text);
            Some(if valid { Ok(Encoded::Text(text.to_owned())) } else { Err("it is no decimal number".to_owned()) })
        }
        _ => None,
    }
}

fn bits(count: u32, bytes: &[u8]) -> Result<Encoded, Reason> {
    if bytes.len() != count.div_ceil(8) as usize {
        return Err(format!("{count} bits do not fill {} bytes", bytes.len()));
    }
    let length = i32::try_from(count).map_err(|_| "it has too many bits".to_owned())?;
    let mut encoded = length.to_be_bytes().to_vec();
    encoded.extend(bytes);
    // The server rejects bits after the last one unless they are zero.
    if let (Some(last), 1..) = (encoded.last_mut(), count % 8) {
        *last &= 0xffu8 << (8 - count % 8);
    }
    Ok(Encoded::Binary(encoded))
}
