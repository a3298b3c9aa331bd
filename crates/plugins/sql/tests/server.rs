//! Every interface of SQL, from a guest, on a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../cli/tests/support/postgres.rs"]
mod postgres;
mod support;

use support::{check, check_in, host, open, run_in, start, workload};

/// What a guest sees of a database of PostgreSQL.
const CONTRACT: &str = "
    v2 batch CREATE TABLE t (id BIGSERIAL PRIMARY KEY, name TEXT); INSERT INTO t (name) VALUES ('semi;colon') => ok
    v1 exec INSERT INTO t (name) VALUES ($1) | second => 1
    v2 exec INSERT INTO t (name, id) VALUES ($2, $1) | 7 | swapped => 1
    v1 query SELECT id, name FROM t WHERE id = $1 | 2 => id=Int8(2),name=Text(\"second\")
    v2 query SELECT name, id FROM t ORDER BY id => name=Text(\"semi;colon\"),id=Int8(1);name=Text(\"second\"),id=Int8(2);name=Text(\"swapped\"),id=Int8(7)
    v2 query SELECT $1::text AS a, $2::bytea AS b, $3::bool AS c | null | b:xy | true => a=Null,b=Bytea([120, 121]),c=Bool(true)
    v1 unknown x => error UnknownPreparedQuery
    v2 unknown x => error UnknownPreparedStatement
    postgres main query SELECT name, id FROM t WHERE id = $1 | 7 => Str(\"swapped\"),Int64(7)
    postgres main execute DELETE FROM t WHERE id = $1 | 7 => 1
    sqlite main SELECT 1 => error Io(\"the database is not one of SQLite\")
    v2 batch BEGIN; INSERT INTO t (name) VALUES ('lost') => ok
    v1 query SELECT count(*) AS n FROM t => n=Int8(2)
    v2 count SELECT generate_series(1, 10000) => 10000
    v2 first SELECT generate_series(1, 1000000) => one
    v2 batch DROP TABLE t => ok
";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_keeps_the_contract_and_comes_back() {
    let state = tempfile::tempdir().unwrap();
    let mut server = postgres::Postgres::start();
    let host = host(open(state.path()));
    let database = format!("[sql.main]\nbackend = 'postgres'\nurl = '{}'\ntimeout = '2s'", server.url());
    start(&host, &database, "['main']").await;
    check(&host, CONTRACT).await;
    check(&host, "v2 query SELECT pg_sleep(1000) => error Timeout").await;
    server.stop();
    let found =
        run_in(&host, "it", "v2 query SELECT 1 AS n\nv1 query SELECT 1 AS n\npostgres main query SELECT 1").await;
    assert!(found.iter().all(|line| line.starts_with("error ")), "{found:?}");
    let status = host.workload_status("default/w").await.unwrap();
    assert_eq!(format!("{:?}", status.state), "Running");
    server.restart();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    while run_in(&host, "it", "v2 query SELECT 1::bigint AS n").await != ["n=Int8(1)"] {
        assert!(tokio::time::Instant::now() < deadline, "the server is back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_an_error_without_it() {
    let state = tempfile::tempdir().unwrap();
    let server = postgres::Postgres::start();
    let host = host(open(state.path()));
    let url = server.url_with("hunter2");
    start(&host, &format!("[sql.main]\nbackend = 'postgres'\nurl = '{url}'"), "['main']").await;
    let found = run_in(&host, "it", "v2 query SELECT 1\npostgres main query SELECT 1").await;
    assert!(found.iter().all(|line| line.starts_with("error ConnectionFailed")), "{found:?}");
    assert!(!format!("{found:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn components_of_one_database_keep_their_sessions_apart() {
    let state = tempfile::tempdir().unwrap();
    let server = postgres::Postgres::start();
    let host = host(open(state.path()));
    let manifest = format!(
        "
        [components.one]
        source = 'GUEST'
        sql = ['main']
        [components.two]
        source = 'GUEST'
        sql = ['main']
        [sql.main]
        backend = 'postgres'
        url = '{}'
        connections = 1
        ",
        server.url()
    );
    host.workload_start(workload(&host, &manifest)).await.unwrap();
    check_in(
        &host,
        "one",
        "
        v2 exec CREATE TEMP TABLE mine (x int) => 0
        v2 exec SET search_path TO nowhere => 0
        ",
    )
    .await;
    let found = run_in(&host, "two", "v2 query SELECT * FROM mine\nv1 query SHOW search_path").await;
    assert!(found[0].starts_with("error QueryFailed") && !found[1].contains("nowhere"), "{found:?}");
    // An address of a server is no name of a database.
    let found = run_in(&host, "two", &format!("postgres {} query SELECT 1", server.url())).await;
    assert!(found[0].starts_with("error ConnectionFailed(\"access denied"), "{found:?}");
}
