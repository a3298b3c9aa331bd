//! `spin:postgres@4`: connections to PostgreSQL databases, each with a connection of the pool for itself.
//!
//! The address that a guest opens is the name of a database that it was granted; an address of a server is refused.

use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::postgres::spin::postgres::postgres::{
    self as wit, Column, DbDataType, DbError, DbValue, Error, Interval, ParameterValue, QueryError, RangeBoundKind,
    RowSet,
};
use crate::handle::Databases;
use crate::postgres::spin as own;
use crate::postgres::{Dedicated, SpinError};
use crate::store::Engine;

/// A connection that a guest opened.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct OpenConnection(Dedicated<own::DbValue>);

impl From<crate::postgres::Error> for Error {
    fn from(error: crate::postgres::Error) -> Self {
        match error.into_spin() {
            SpinError::ConnectionFailed(text) => Self::ConnectionFailed(text),
            SpinError::BadParameter(text) => Self::BadParameter(text),
            SpinError::QueryFailedText(text) => Self::QueryFailed(QueryError::Text(text)),
            SpinError::QueryFailed(as_text, error) => {
                let crate::postgres::DbError { code, severity, message, detail, extras } = error;
                let error = DbError { as_text, severity, code, message, detail, extras };
                Self::QueryFailed(QueryError::DbError(error))
            }
            SpinError::ValueConversionFailed(text) => Self::ValueConversionFailed(text),
            SpinError::Other(text) => Self::Other(text),
        }
    }
}

impl wit::Host for Databases<'_> {}

impl wit::HostConnection for Databases<'_> {
    async fn open(&mut self, address: String) -> Result<std::result::Result<Resource<OpenConnection>, Error>> {
        let Some(access) = self.granted.by_name.get(&address) else {
            let names: Vec<_> = self.granted.by_name.keys().map(|name| format!("`{name}`")).collect();
            let message =
                format!("access denied: open a database by the name that it was granted by: {}", names.join(", "));
            return Ok(Err(Error::ConnectionFailed(message)));
        };
        let Engine::Postgres(postgres) = &*access.engine else {
            return Ok(Err(Error::ConnectionFailed("the database is not one of PostgreSQL".to_owned())));
        };
        let connection = postgres.session::<own::DbValue>().dedicated();
        match connection.connect().await {
            Ok(()) => Ok(Ok(self.table.push(OpenConnection(connection))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn query(
        &mut self,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<std::result::Result<RowSet, Error>> {
        let OpenConnection(connection) = self.table.get(&connection)?;
        let parameters = parameters.into_iter().map(Into::into).collect();
        let found = connection.query(&statement, parameters).await;
        Ok(found.map(row_set).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<std::result::Result<u64, Error>> {
        let OpenConnection(connection) = self.table.get(&connection)?;
        let parameters = parameters.into_iter().map(Into::into).collect();
        Ok(connection.execute(&statement, parameters).await.map_err(Into::into))
    }

    async fn drop(&mut self, connection: Resource<OpenConnection>) -> Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

fn row_set(found: crate::postgres::RowSet<own::DbValue>) -> RowSet {
    let columns =
        found.columns.into_iter().map(|own::Column { name, data_type }| Column { name, data_type: data_type.into() });
    let rows = found.rows.into_iter().map(|row| row.into_iter().map(Into::into).collect());
    RowSet { columns: columns.collect(), rows: rows.collect() }
}

/// Maps the cases of both kinds of values, which have the same names.
macro_rules! values {
    ($($plain:ident)*; $($range:ident)*) => {
        impl From<ParameterValue> for own::ParameterValue {
            fn from(value: ParameterValue) -> Self {
                match value {
                    $(ParameterValue::$plain(value) => Self::$plain(value),)*
                    $(ParameterValue::$range(value) => Self::$range(range(value)),)*
                    ParameterValue::Interval(Interval { micros, days, months }) => {
                        Self::Interval(own::Interval { micros, days, months })
                    }
                    ParameterValue::DbNull => Self::DbNull,
                }
            }
        }

        impl From<own::DbValue> for DbValue {
            fn from(value: own::DbValue) -> Self {
                match value {
                    $(own::DbValue::$plain(value) => Self::$plain(value),)*
                    $(own::DbValue::$range(value) => Self::$range(range(value)),)*
                    own::DbValue::Interval(own::Interval { micros, days, months }) => {
                        Self::Interval(Interval { micros, days, months })
                    }
                    own::DbValue::DbNull => Self::DbNull,
                    own::DbValue::Unsupported(bytes) => Self::Unsupported(bytes),
                }
            }
        }
    };
}

values! {
    Boolean Int8 Int16 Int32 Int64 Floating32 Floating64 Str Binary Date Time Datetime Timestamp Uuid Jsonb Decimal
    ArrayInt32 ArrayInt64 ArrayDecimal ArrayStr;
    RangeInt32 RangeInt64 RangeDecimal
}

/// Maps the cases of the types of columns.
macro_rules! types {
    ($($name:ident)*) => {
        impl From<own::DbDataType> for DbDataType {
            fn from(ty: own::DbDataType) -> Self {
                match ty {
                    $(own::DbDataType::$name => Self::$name,)*
                    own::DbDataType::Other(name) => Self::Other(name),
                }
            }
        }
    };
}

types! {
    Boolean Int8 Int16 Int32 Int64 Floating32 Floating64 Str Binary Date Time Datetime Timestamp Uuid Jsonb Decimal
    RangeInt32 RangeInt64 RangeDecimal ArrayInt32 ArrayInt64 ArrayDecimal ArrayStr Interval
}

type Bounds<T, K> = (Option<(T, K)>, Option<(T, K)>);

fn range<T, A, B: From<A>>((from, to): Bounds<T, A>) -> Bounds<T, B> {
    let bound = |bound: Option<(T, A)>| bound.map(|(value, kind)| (value, kind.into()));
    (bound(from), bound(to))
}

impl From<RangeBoundKind> for own::RangeBoundKind {
    fn from(kind: RangeBoundKind) -> Self {
        match kind {
            RangeBoundKind::Inclusive => Self::Inclusive,
            RangeBoundKind::Exclusive => Self::Exclusive,
        }
    }
}

impl From<own::RangeBoundKind> for RangeBoundKind {
    fn from(kind: own::RangeBoundKind) -> Self {
        match kind {
            own::RangeBoundKind::Inclusive => Self::Inclusive,
            own::RangeBoundKind::Exclusive => Self::Exclusive,
        }
    }
}
