//! Values on the wire.
//!
//! Takes parameters, with the types that the server inferred, and the bytes of results; gives the bytes of parameters,
//! and values. It knows PostgreSQL's formats and no connection. Each WIT package's values go through the same code.

pub(super) mod array;
pub(super) mod datetime;
pub(super) mod decode;
pub(super) mod encode;
pub(super) mod literal;
pub(super) mod net;
pub(super) mod numeric;
pub(super) mod param;
pub(super) mod reader;
pub(super) mod search;

use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type};

/// A parameter as it is sent. Text is read by the server as it reads a literal of the parameter's type.
pub(super) enum Encoded {
    Null,
    Binary(Vec<u8>),
    Text(String),
}

/// What a value cannot be and why, for the error's text.
pub(super) type Reason = String;

/// What the form of values depends on, besides their type.
#[derive(Clone, Copy)]
pub(super) struct Context {
    /// How many decimal places `money` has.
    pub(super) money_scale: u32,
}

/// Values are not shown: the client writes parameters to its log.
impl std::fmt::Debug for Encoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl ToSql for Encoded {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Binary(bytes) => out.extend_from_slice(bytes),
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        if matches!(self, Self::Text(_)) { Format::Text } else { Format::Binary }
    }

    fn to_sql_checked(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.to_sql(ty, out)
    }
}

/// The bytes of a value of a result.
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
