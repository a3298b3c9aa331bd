//! A result as a table: a row for each item of a list, a column for each field of a record.

use serde_json::{Map, Value};
use wharf::guest_log::escape;

use crate::output::{BOLD, DIM};

/// Prints a result that is written in JSON.
pub(super) fn print(json: &str) {
    match serde_json::from_str(json) {
        Ok(Value::Array(rows)) if !rows.is_empty() && rows.iter().all(Value::is_object) => {
            let rows: Vec<_> = rows.iter().filter_map(Value::as_object).collect();
            // The fields of a record are the same in each row; those of a variant are not.
            let mut columns: Vec<&String> = Vec::new();
            for name in rows.iter().flat_map(|row| row.keys()) {
                if !columns.contains(&name) {
                    columns.push(name);
                }
            }
            table(&columns, &rows);
        }
        Ok(Value::Array(items)) => items.iter().for_each(|item| anstream::println!("{}", cell(item))),
        Ok(Value::Object(fields)) => {
            let width = fields.keys().map(|name| name.chars().count()).max().unwrap_or_default();
            for (name, value) in &fields {
                let name = escape(name);
                anstream::println!("{DIM}{name:width$}{DIM:#}  {}", cell(value));
            }
        }
        Ok(value) => anstream::println!("{}", cell(&value)),
        Err(_) => anstream::println!("{}", escape(json)),
    }
}

fn table(columns: &[&String], rows: &[&Map<String, Value>]) {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|column| row.get(*column).map_or_else(String::new, cell)).collect())
        .collect();
    let width = |i: usize| {
        let all = cells.iter().map(|row| row[i].chars().count()).chain([columns[i].chars().count()]);
        all.max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells: Vec<_> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let head: Vec<_> = columns.iter().map(|name| escape(name).into_owned()).collect();
    anstream::println!("{BOLD}{}{BOLD:#}", line(&head));
    cells.iter().for_each(|row| anstream::println!("{}", line(row)));
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => escape(text).into_owned(),
        Value::Null => String::new(),
        other => escape(&other.to_string()).into_owned(),
    }
}
