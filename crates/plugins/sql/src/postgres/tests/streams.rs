//! Streams of rows: memory, dropping, errors on the way, and consumers that stall.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::super::{Error, Postgres, PostgresConfig, Session};
use super::{PgValue, Server, code, config, session, until, value};

const ACTIVE: &str = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%generate_series%' AND state = 'active' \
                      AND pid <> pg_backend_pid()";

/// The memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_a_gibibyte_in_little_memory() {
    let server = Server::start();
    let session = session(&server);
    let sql = "SELECT i, repeat('x', 65536) FROM generate_series(1, 16384) i";
    let (columns, mut rows, completion) = session.query_stream(sql, Vec::new()).await.unwrap();
    assert_eq!(columns, ["i", "repeat"]);
    let (mut count, mut bytes, mut most, before) = (0, 0, 0, resident());
    while let Some(row) = rows.next().await {
        count += 1;
        let [PgValue::Int4(number), PgValue::Text(text)] = &row[..] else { panic!("{row:?}") };
        assert_eq!(*number, count);
        bytes += text.len();
        if count % 256 == 0 {
            most = most.max(resident().saturating_sub(before));
        }
    }
    assert_eq!(bytes, 1 << 30);
    completion.await.unwrap();
    // Other tests of the process use memory at the same time.
    assert!(most < 128 << 20, "{most} bytes");
}

#[tokio::test]
async fn dropping_rows_cancels_the_statement() {
    let server = Server::start();
    let store = Postgres::new(PostgresConfig { max_connections: 1, ..config(&server) }).unwrap();
    let session: Session = store.session();
    let endless = "SELECT generate_series(1, 1000000000), repeat('x', 1000)";
    for read in 0..3 {
        let (_, mut rows, completion) = session.query_stream(endless, Vec::new()).await.unwrap();
        for _ in 0..read {
            rows.next().await.unwrap();
        }
        drop(rows);
        completion.await.unwrap();
        assert_eq!(value(&session, "SELECT 1").await, PgValue::Int4(1), "the connection is free");
        until(&server, ACTIVE, "0").await;
    }
    // Rows that were read to the end leave the connection as it was.
    let pid = value(&session, "SELECT pg_backend_pid()").await;
    let (_, rows, completion) = session.query_stream("SELECT generate_series(1, 3)", Vec::new()).await.unwrap();
    assert_eq!(rows.count().await, 3);
    completion.await.unwrap();
    assert_eq!(value(&session, "SELECT pg_backend_pid()").await, pid);
}

#[tokio::test]
async fn reports_an_error_after_the_first_rows() {
    let server = Server::start();
    let session = session(&server);
    let sql = "SELECT 1 / (1000 - i) FROM generate_series(1, 2000) i";
    let (_, mut rows, completion) = session.query_stream(sql, Vec::new()).await.unwrap();
    let mut count = 0;
    while rows.next().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 999);
    assert_eq!(code(&completion.await.unwrap_err()), "22012");
    assert!(rows.next().await.is_none());
    // A value without a known form.
    server.query("CREATE TABLE t (id int DEFAULT 1)");
    let (_, rows, completion) = session.query_stream("SELECT adbin FROM pg_attrdef", Vec::new()).await.unwrap();
    assert_eq!(rows.count().await, 0);
    assert!(matches!(completion.await, Err(Error::ValueConversion(_))));
    assert_eq!(value(&session, "SELECT 1").await, PgValue::Int4(1));
}

#[tokio::test]
async fn ends_a_stream_that_stalls() {
    let server = Server::start();
    let config = PostgresConfig {
        stall_timeout: Duration::from_millis(200),
        statement_timeout: Duration::from_millis(300),
        ..config(&server)
    };
    let session: Session = Postgres::new(config).unwrap().session();
    // The consumer does not read.
    let sql = "SELECT generate_series(1, 1000000000), repeat('x', 1000)";
    let (_, mut rows, completion) = session.query_stream(sql, Vec::new()).await.unwrap();
    rows.next().await.unwrap();
    assert_eq!(completion.await, Err(Error::Timeout));
    assert!(rows.next().await.is_none());
    until(&server, ACTIVE, "0").await;
    // The server does not send.
    let sql = "SELECT repeat('x', 20000), pg_sleep(CASE i WHEN 3 THEN 1e6 ELSE 0 END) FROM generate_series(1, 10) i";
    let (_, rows, completion) = session.query_stream(sql, Vec::new()).await.unwrap();
    assert!(rows.count().await <= 2);
    assert_eq!(completion.await, Err(Error::Timeout));
    until(&server, ACTIVE, "0").await;
}
