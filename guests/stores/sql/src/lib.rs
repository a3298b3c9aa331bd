//! Runs statements on databases: a line is `INTERFACE [NAME] OPERATION STATEMENT | PARAMETER | …`, where an interface is `v1`, `v2`, `sqlite`
//! or `postgres`, of which the last two take the name of a database. A parameter is text, an integer, `null`, `true`, or `b:` and bytes.

use std::fmt::Debug;

wit_bindgen::generate!({ path: "../wit/sql", world: "sql", generate_all });

use spin::postgres::postgres as spin_postgres;
use spin::sqlite::sqlite as spin_sqlite;
use wasmcloud::postgres0_1_1_draft as v1;
use wasmcloud::postgres0_2_0 as v2;

struct Sql;

export!(Sql);

impl exports::wharf::stores::script::Guest for Sql {
    async fn run(script: String) -> String {
        let mut lines = Vec::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (interface, rest) = line.split_once(' ').unwrap();
            lines.push(match interface {
                "v1" => in_v1(rest),
                "v2" => in_v2(rest).await,
                "sqlite" => in_sqlite(rest),
                _ => in_postgres(rest),
            });
        }
        lines.join("\n")
    }
}

fn error(error: impl Debug) -> String {
    let text = format!("{error:?}");
    let name = text.split("::").last().unwrap_or_default();
    format!("error {name}")
}

/// The statement and the parameters.
fn parts(text: &str) -> (String, Vec<String>) {
    let mut parts = text.split(" | ").map(str::to_owned);
    (parts.next().unwrap_or_default(), parts.collect())
}

macro_rules! pg {
    ($types:path, $parameter:expr) => {{
        use $types as types;
        match $parameter.as_str() {
            "null" => types::PgValue::Null,
            "true" => types::PgValue::Bool(true),
            text => match (text.strip_prefix("b:"), text.parse()) {
                (Some(bytes), _) => types::PgValue::Bytea(bytes.as_bytes().to_vec()),
                (None, Ok(number)) => types::PgValue::Int8(number),
                (None, Err(_)) => types::PgValue::Text(text.to_owned()),
            },
        }
    }};
}

fn show(value: impl Debug) -> String {
    let text = format!("{value:?}");
    text.split("::").last().unwrap_or_default().to_owned()
}

fn in_v1(rest: &str) -> String {
    let (operation, rest) = rest.split_once(' ').unwrap();
    let (statement, parameters) = parts(rest);
    let parameters: Vec<_> = parameters.iter().map(|parameter| pg!(v1::types, parameter)).collect();
    match operation {
        "query" => v1::query::query(&statement, &parameters).map_or_else(error, |rows| {
            let row = |row: Vec<v1::types::ResultRowEntry>| {
                row.into_iter().map(|entry| format!("{}={}", entry.column_name, show(entry.value))).collect::<Vec<_>>().join(",")
            };
            rows.into_iter().map(row).collect::<Vec<_>>().join(";")
        }),
        "batch" => v1::query::query_batch(&statement).map_or_else(error, |()| "ok".into()),
        "exec" => match v1::prepared::prepare(&statement) {
            Ok(token) => v1::prepared::exec(&token, &parameters).map_or_else(error, |count| count.to_string()),
            Err(failed) => error(failed),
        },
        _ => v1::prepared::exec("unknown", &parameters).map_or_else(error, |count| count.to_string()),
    }
}

async fn in_v2(rest: &str) -> String {
    let (operation, rest) = rest.split_once(' ').unwrap();
    let (statement, parameters) = parts(rest);
    let parameters: Vec<_> = parameters.iter().map(|parameter| pg!(v2::types, parameter)).collect();
    match operation {
        // Rows as text; `count` only counts them, `first` drops the stream after one.
        "query" | "count" | "first" => match v2::query::query(statement, parameters).await {
            Ok((columns, mut rows, completion)) => {
                let mut shown = Vec::new();
                let mut count = 0;
                while let Some(row) = rows.next().await {
                    count += 1;
                    if operation == "query" {
                        let values = columns.iter().zip(row).map(|(name, value)| format!("{name}={}", show(value)));
                        shown.push(values.collect::<Vec<_>>().join(","));
                    }
                    if operation == "first" {
                        return "one".to_owned();
                    }
                }
                match completion.await {
                    Ok(()) if operation == "query" => shown.join(";"),
                    Ok(()) => count.to_string(),
                    Err(failed) => format!("{count} then {}", error(failed)),
                }
            }
            Err(failed) => error(failed),
        },
        "batch" => v2::query::query_batch(statement).await.map_or_else(error, |()| "ok".into()),
        "exec" => match v2::prepared::prepare(statement).await {
            Ok(token) => v2::prepared::exec(token, parameters).await.map_or_else(error, |count| count.to_string()),
            Err(failed) => error(failed),
        },
        _ => v2::prepared::exec("unknown".into(), parameters).await.map_or_else(error, |count| count.to_string()),
    }
}

fn in_sqlite(rest: &str) -> String {
    use spin_sqlite::Value;
    let (name, rest) = rest.split_once(' ').unwrap();
    let connection = match spin_sqlite::Connection::open(name) {
        Ok(connection) => connection,
        Err(failed) => return error(failed),
    };
    let (statement, parameters) = parts(rest);
    let parameter = |text: &String| match text.as_str() {
        "null" => Value::Null,
        text => match (text.strip_prefix("b:"), text.parse()) {
            (Some(bytes), _) => Value::Blob(bytes.as_bytes().to_vec()),
            (None, Ok(number)) => Value::Integer(number),
            (None, Err(_)) => Value::Text(text.to_owned()),
        },
    };
    let parameters: Vec<_> = parameters.iter().map(parameter).collect();
    connection.execute(&statement, &parameters).map_or_else(error, |result| {
        let row = |row: spin_sqlite::RowResult| row.values.into_iter().map(show).collect::<Vec<_>>().join(",");
        let rows = result.rows.into_iter().map(row).collect::<Vec<_>>().join(";");
        if result.columns.is_empty() { format!("{} changes", connection.changes()) } else { rows }
    })
}

fn in_postgres(rest: &str) -> String {
    use spin_postgres::ParameterValue;
    let (name, rest) = rest.split_once(' ').unwrap();
    let connection = match spin_postgres::Connection::open(name) {
        Ok(connection) => connection,
        Err(failed) => return error(failed),
    };
    let (operation, rest) = rest.split_once(' ').unwrap();
    let (statement, parameters) = parts(rest);
    let parameter = |text: &String| match (text.as_str(), text.parse()) {
        ("null", _) => ParameterValue::DbNull,
        (_, Ok(number)) => ParameterValue::Int64(number),
        (text, Err(_)) => ParameterValue::Str(text.to_owned()),
    };
    let parameters: Vec<_> = parameters.iter().map(parameter).collect();
    if operation == "query" {
        return connection.query(&statement, &parameters).map_or_else(error, |found| {
            let row = |row: Vec<_>| row.into_iter().map(show).collect::<Vec<_>>().join(",");
            found.rows.into_iter().map(row).collect::<Vec<_>>().join(";")
        });
    }
    connection.execute(&statement, &parameters).map_or_else(error, |count| count.to_string())
}
