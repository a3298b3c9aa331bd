//! `wasmcloud:postgres` on SQLite: what a component needs of SQL while it has no server.
//!
//! Takes statements with `$1` and values of PostgreSQL; runs them on SQLite and gives values of PostgreSQL. Values without a form in
//! SQLite are refused; SQLite's own dialect remains.

use crate::postgres::float::{decode_f64, encode_f32, encode_f64};
use crate::postgres::{Error, PgValue};
use crate::sqlite::{self, QueryResult, Sqlite, Value};
use crate::store::Access;

impl From<sqlite::Error> for Error {
    fn from(error: sqlite::Error) -> Self {
        match error {
            sqlite::Error::Timeout(_) | sqlite::Error::Busy => Self::Timeout,
            sqlite::Error::ResultTooLarge { limit } => Self::ResultTooLarge { limit },
            sqlite::Error::Sql(text) | sqlite::Error::Denied(text) => Self::InvalidQuery(text),
            other => Self::ConnectionFailed(other.to_string()),
        }
    }
}

/// Runs a statement; gives its rows and how many rows it changed.
pub(crate) async fn run(
    access: &Access,
    sqlite: &Sqlite,
    statement: &str,
    parameters: Vec<PgValue>,
) -> Result<(QueryResult, u64), Error> {
    let parameters = parameters.into_iter().enumerate().map(|(i, value)| {
        to_sqlite(value).ok_or_else(|| Error::InvalidParams(format!("parameter ${} has no form in SQLite", i + 1)))
    });
    let parameters = parameters.collect::<Result<Vec<_>, _>>()?;
    let connection = access.connection(sqlite).await?;
    let result = connection.execute_pooled(&numbered(statement), parameters).await;
    if is_sound(result.as_ref().err()) {
        access.give_back(sqlite, connection);
    }
    Ok(result?)
}

/// Runs several statements without parameters.
pub(crate) async fn batch(access: &Access, sqlite: &Sqlite, statements: &str) -> Result<(), Error> {
    let connection = access.connection(sqlite).await?;
    let result = connection.batch(statements).await;
    if is_sound(result.as_ref().err()) {
        access.give_back(sqlite, connection);
    }
    Ok(result?)
}

/// Whether a connection works on after a statement ended so. One that is late may still be busy.
fn is_sound(error: Option<&sqlite::Error>) -> bool {
    !matches!(error, Some(sqlite::Error::Timeout(_) | sqlite::Error::InvalidConnection))
}

/// A value as SQLite has it.
fn to_sqlite(value: PgValue) -> Option<Value> {
    use PgValue as V;
    Some(match value {
        V::Null => Value::Null,
        V::BigInt(n) | V::Int8(n) | V::BigSerial(n) | V::Serial8(n) => Value::Integer(n),
        V::Integer(n) | V::Int(n) | V::Int4(n) => Value::Integer(n.into()),
        V::SmallInt(n) | V::Int2(n) | V::SmallSerial(n) | V::Serial2(n) => Value::Integer(n.into()),
        V::Serial(n) | V::Serial4(n) => Value::Integer(n.into()),
        V::Bool(it) | V::Boolean(it) => Value::Integer(it.into()),
        V::Double(it) | V::Float8(it) => Value::Real(encode_f64(it)?),
        V::Real(it) | V::Float4(it) => Value::Real(encode_f32(it)?.into()),
        V::Bytea(bytes) => Value::Blob(bytes),
        V::Char((_, bytes)) | V::Varchar((_, bytes)) => Value::Text(String::from_utf8(bytes).ok()?),
        V::Text(text)
        | V::Name(text)
        | V::Numeric(text)
        | V::Decimal(text)
        | V::Json(text)
        | V::Jsonb(text)
        | V::Uuid(text)
        | V::Xml(text)
        | V::Inet(text)
        | V::Cidr(text) => Value::Text(text),
        _ => return None,
    })
}

/// A value of SQLite as PostgreSQL has it.
pub(crate) fn from_sqlite(value: Value) -> PgValue {
    match value {
        Value::Null => PgValue::Null,
        Value::Integer(n) => PgValue::Int8(n),
        Value::Real(it) => PgValue::Float8(decode_f64(it)),
        Value::Text(text) => PgValue::Text(text),
        Value::Blob(bytes) => PgValue::Bytea(bytes),
    }
}

/// A statement with `?1` in the place of `$1`, which SQLite would number by its first use. Literals and comments stay as they are.
fn numbered(statement: &str) -> String {
    let mut numbered = String::with_capacity(statement.len());
    let mut rest = statement;
    while !rest.is_empty() {
        let until = |end: &str, from: usize| {
            rest.get(from..).and_then(|it| it.find(end)).map_or(rest.len(), |found| from + found + end.len())
        };
        let digits = rest.get(1..).map_or(0, |it| it.bytes().take_while(u8::is_ascii_digit).count());
        let length = match rest.as_bytes() {
            [b'$', ..] if digits > 0 => {
                numbered.push('?');
                numbered.push_str(&rest[1..=digits]);
                rest = &rest[1 + digits..];
                continue;
            }
            [b'\'', ..] => until("'", 1),
            [b'"', ..] => until("\"", 1),
            [b'-', b'-', ..] => until("\n", 2),
            [b'/', b'*', ..] => until("*/", 2),
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        numbered.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn parameters_are_numbered_outside_of_literals() {
        let statement = "SELECT $2, '$1', \"$1\", $12 /* $1 */ FROM t WHERE a = $1 -- $3\n AND b = $$";
        let expected = "SELECT ?2, '$1', \"$1\", ?12 /* $1 */ FROM t WHERE a = ?1 -- $3\n AND b = $$";
        assert_eq!(numbered(statement), expected);
        for odd in ["", "'", "\"", "/*", "--", "$", "é'é", "a;b", "it''s $1"] {
            numbered(odd);
        }
    }
}
