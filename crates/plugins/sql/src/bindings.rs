//! The bindings of each interface. Their WIT has no documentation of its own: the packages' owners publish it.
//!
//! The types of `wasmcloud:postgres` are this crate's own, with the names of the package.

/// What the generated linking of a world names in the module of an interface. Types alone need no linking, and nothing here is called.
#[allow(dead_code, clippy::unnecessary_wraps, reason = "the generated function that names them is not called")]
mod linking {
    use wasmtime::component::{HasData, Linker};

    pub trait Host {}
    impl<T> Host for T {}

    pub trait HostWithStore<T>: HasData {}
    impl<T, D: HasData> HostWithStore<T> for D {}

    pub fn add_to_linker<T: 'static, D: HasData>(
        _: &mut Linker<T>,
        _: for<'a> fn(&'a mut T) -> D::Data<'a>,
    ) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// The types of `wasmcloud:postgres@0.1.1-draft`.
pub mod types_v1 {
    pub use super::linking::{Host, HostWithStore, add_to_linker};
    pub use crate::postgres::{ExecError as PreparedStatementExecError, PgValue, QueryError};
    use wasmtime::component::{ComponentType, Lift, Lower};

    /// Why a statement cannot be prepared.
    #[derive(Clone, Debug, ComponentType, Lift, Lower)]
    #[component(variant)]
    pub enum StatementPrepareError {
        /// Any reason.
        #[component(name = "unexpected")]
        Unexpected(String),
    }

    /// A value of a row, with the name of its column.
    #[derive(Clone, Debug, ComponentType, Lift, Lower)]
    #[component(record)]
    pub struct ResultRowEntry {
        /// The column.
        #[component(name = "column-name")]
        pub column_name: String,
        /// The value.
        pub value: PgValue,
    }

    /// A row.
    pub type ResultRow = Vec<ResultRowEntry>;
}

/// The types of `wasmcloud:postgres@0.2.0`.
pub mod types_v2 {
    pub use super::linking::{Host, HostWithStore, add_to_linker};
    pub use crate::postgres::{PgValue, WasmcloudError as Error};

    /// A row: a value for each column.
    pub type Row = Vec<PgValue>;
    /// The name of a column.
    pub type ColumnName = String;
}

pub(crate) mod v1 {
    //! `wasmcloud:postgres@0.1.1-draft`.
    wasmtime::component::bindgen!({
        path: "interfaces/v1",
        imports: { default: async | trappable },
        with: { "wasmcloud:postgres/types": crate::bindings::types_v1 },
    });
}

pub(crate) mod v2 {
    //! `wasmcloud:postgres@0.2.0`.
    wasmtime::component::bindgen!({
        path: "interfaces/v2",
        imports: { default: async | store | trappable },
        with: { "wasmcloud:postgres/types": crate::bindings::types_v2 },
    });
}

pub(crate) mod sqlite {
    //! `spin:sqlite@3.0.0`.
    wasmtime::component::bindgen!({
        inline: "
            package spin:sqlite@3.0.0;
            interface sqlite {
                resource connection {
                    open: static func(database: string) -> result<connection, error>;
                    execute: func(statement: string, parameters: list<value>) -> result<query-result, error>;
                    last-insert-rowid: func() -> s64;
                    changes: func() -> u64;
                }
                variant error { no-such-database, access-denied, invalid-connection, database-full, io(string) }
                record query-result { columns: list<string>, rows: list<row-result> }
                record row-result { values: list<value> }
                variant value { integer(s64), real(f64), text(string), blob(list<u8>), null }
            }
            world imports { import sqlite; }
        ",
        imports: { default: async | trappable },
        with: { "spin:sqlite/sqlite.connection": crate::spin_sqlite::OpenConnection },
    });
}

pub(crate) mod postgres {
    //! `spin:postgres@4.0.0`.
    wasmtime::component::bindgen!({
        inline: "
            package spin:postgres@4.0.0;
            interface postgres {
                variant error {
                    connection-failed(string), bad-parameter(string), query-failed(query-error),
                    value-conversion-failed(string), other(string)
                }
                variant query-error { text(string), db-error(db-error) }
                record db-error {
                    as-text: string, severity: string, code: string, message: string, detail: option<string>,
                    extras: list<tuple<string, string>>,
                }
                variant db-data-type {
                    boolean, int8, int16, int32, int64, floating32, floating64, str, binary, date, time, datetime, timestamp,
                    uuid, jsonb, decimal, range-int32, range-int64, range-decimal, array-int32, array-int64, array-decimal,
                    array-str, interval, other(string),
                }
                variant db-value {
                    boolean(bool), int8(s8), int16(s16), int32(s32), int64(s64), floating32(f32), floating64(f64), str(string),
                    binary(list<u8>), date(tuple<s32, u8, u8>), time(tuple<u8, u8, u8, u32>),
                    datetime(tuple<s32, u8, u8, u8, u8, u8, u32>), timestamp(s64), uuid(string), jsonb(list<u8>),
                    decimal(string),
                    range-int32(tuple<option<tuple<s32, range-bound-kind>>, option<tuple<s32, range-bound-kind>>>),
                    range-int64(tuple<option<tuple<s64, range-bound-kind>>, option<tuple<s64, range-bound-kind>>>),
                    range-decimal(tuple<option<tuple<string, range-bound-kind>>, option<tuple<string, range-bound-kind>>>),
                    array-int32(list<option<s32>>), array-int64(list<option<s64>>), array-decimal(list<option<string>>),
                    array-str(list<option<string>>), interval(interval), db-null, unsupported(list<u8>),
                }
                variant parameter-value {
                    boolean(bool), int8(s8), int16(s16), int32(s32), int64(s64), floating32(f32), floating64(f64), str(string),
                    binary(list<u8>), date(tuple<s32, u8, u8>), time(tuple<u8, u8, u8, u32>),
                    datetime(tuple<s32, u8, u8, u8, u8, u8, u32>), timestamp(s64), uuid(string), jsonb(list<u8>),
                    decimal(string),
                    range-int32(tuple<option<tuple<s32, range-bound-kind>>, option<tuple<s32, range-bound-kind>>>),
                    range-int64(tuple<option<tuple<s64, range-bound-kind>>, option<tuple<s64, range-bound-kind>>>),
                    range-decimal(tuple<option<tuple<string, range-bound-kind>>, option<tuple<string, range-bound-kind>>>),
                    array-int32(list<option<s32>>), array-int64(list<option<s64>>), array-decimal(list<option<string>>),
                    array-str(list<option<string>>), interval(interval), db-null,
                }
                record interval { micros: s64, days: s32, months: s32 }
                record column { name: string, data-type: db-data-type }
                type row = list<db-value>;
                record row-set { columns: list<column>, rows: list<row> }
                enum range-bound-kind { inclusive, exclusive }
                resource connection {
                    open: static func(address: string) -> result<connection, error>;
                    query: func(statement: string, params: list<parameter-value>) -> result<row-set, error>;
                    execute: func(statement: string, params: list<parameter-value>) -> result<u64, error>;
                }
            }
            world imports { import postgres; }
        ",
        imports: { default: async | trappable },
        with: { "spin:postgres/postgres.connection": crate::spin_postgres::OpenConnection },
    });
}
