//! Counts the orders by state, and keeps the result. A schedule runs it.

wit_bindgen::generate!({ path: "../wit", world: "report", generate_all });

use wasmcloud::keyvalue::store;
use wasmcloud::postgres::query;
use wasmcloud::postgres::types::PgValue;

wasip3::cli::command::export!(Report);

struct Report;

impl wasip3::exports::cli::run::Guest for Report {
    async fn run() -> Result<(), ()> {
        // Before the first order there is no table.
        let select = "SELECT state, count(*) FROM orders GROUP BY state ORDER BY state".to_owned();
        let Ok((_, rows, done)) = query::query(select, Vec::new()).await else { return Ok(()) };
        let mut report = String::new();
        for row in rows.collect().await {
            if let [PgValue::Text(state), PgValue::Int8(count)] = row.as_slice() {
                report.push_str(&format!("{state} {count}\n"));
            }
        }
        done.await.map_err(drop)?;
        let counters = store::open("counters".to_owned()).await.map_err(drop)?;
        counters.set("report".to_owned(), report.into_bytes(), None).await.map_err(drop)
    }
}
