//! Every interface of SQL, from a guest, on SQLite.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{check, check_in, host, open, start, workload};
use wharf_stores::Policy;

/// What a guest sees of a database of SQLite.
const CONTRACT: &str = "
    v2 batch CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t (name) VALUES ('semi;colon') => ok
    v1 exec INSERT INTO t (name) VALUES ($1) | second => 1
    v2 exec INSERT INTO t (name, id) VALUES ($2, $1) | 7 | swapped => 1
    v1 query SELECT id, name FROM t WHERE id = $1 | 2 => id=Int8(2),name=Text(\"second\")
    v2 query SELECT name, id FROM t ORDER BY id => name=Text(\"semi;colon\"),id=Int8(1);name=Text(\"second\"),id=Int8(2);name=Text(\"swapped\"),id=Int8(7)
    v2 query SELECT $1 AS a, $2 AS b, $3 AS c | null | b:xy | true => a=Null,b=Bytea([120, 121]),c=Int8(1)
    v2 exec UPDATE t SET name = 'x' WHERE id > $1 | 1 => 2
    v2 exec SELECT * FROM t => 0
    v1 unknown x => error UnknownPreparedQuery
    v2 unknown x => error UnknownPreparedStatement
    sqlite main SELECT name FROM t WHERE id = ?1 | 7 => Text(\"x\")
    sqlite main INSERT INTO t (name) VALUES (?1) | fourth => 1 changes
    v1 query SELECT count(*) AS n FROM t => n=Int8(4)
    sqlite other SELECT 1 => error NoSuchDatabase
    postgres main query SELECT 1 => error ConnectionFailed(\"the database is not one of PostgreSQL\")
    v2 batch BEGIN; INSERT INTO t (name) VALUES ('lost') => ok
    v2 exec BEGIN => 0
    v1 query SELECT count(*) AS n FROM t => n=Int8(4)
    v2 count SELECT * FROM t => 4
    v2 first SELECT * FROM t => one
";

#[tokio::test]
async fn a_file_keeps_the_contract_and_the_data() {
    let state = tempfile::tempdir().unwrap();
    {
        let host = host(open(state.path()));
        start(&host, "[sql.main]", "['main']").await;
        check(&host, CONTRACT).await;
        host.shutdown().await;
    }
    let host = host(open(state.path()));
    start(&host, "[sql.main]", "['main']").await;
    check(&host, "v1 query SELECT count(*) AS n FROM t => n=Int8(4)").await;
}

#[tokio::test]
async fn a_database_in_memory_keeps_the_contract() {
    let host = host(Policy::default());
    start(&host, "[sql.main]\nbackend = 'memory'", "['main']").await;
    check(&host, CONTRACT).await;
}

#[tokio::test]
async fn a_component_reaches_its_own_databases() {
    let host = host(Policy::default());
    let manifest = "
        [components.one]
        source = 'GUEST'
        sql = ['a']
        [components.two]
        source = 'GUEST'
        sql = { default = 'b', a = 'c' }
        [sql.a]
        backend = 'memory'
        [sql.b]
        backend = 'memory'
        [sql.c]
        backend = 'memory'
    ";
    host.workload_start(workload(&host, manifest)).await.unwrap();
    check_in(
        &host,
        "one",
        "
        v2 batch CREATE TABLE secret (x); INSERT INTO secret VALUES (1) => ok
        sqlite b SELECT 1 => error NoSuchDatabase
        sqlite default SELECT 1 => error NoSuchDatabase
        ",
    )
    .await;
    let found = support::run_in(
        &host,
        "two",
        "v2 query SELECT * FROM secret\nsqlite a SELECT * FROM secret\nv2 exec ATTACH 'a' AS a\nv2 query SELECT 1 AS n",
    )
    .await;
    assert!(found[..3].iter().all(|line| line.starts_with("error ")), "{found:?}");
    assert_eq!(found[3], "n=Int8(1)");
}

#[tokio::test]
async fn a_statement_that_never_ends_is_ended() {
    let host = host(Policy::default());
    start(&host, "[sql.main]\nbackend = 'memory'\ntimeout = '200ms'\nmax-result = '1MiB'", "['main']").await;
    check(
        &host,
        "
        v2 count WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n => error Timeout
        v2 query SELECT 1 AS n => n=Int8(1)
        ",
    )
    .await;
    let found = support::run_in(&host, "it", "v2 query SELECT hex(zeroblob(9000000)) AS x\nv2 query SELEC 1").await;
    assert!(found[0].starts_with("error ") && found[1].starts_with("error InvalidQuery"), "{found:?}");
}

#[tokio::test]
async fn mistakes_are_found_when_planned() {
    let host = host(Policy::default());
    let manifest = "
        [components.it]
        source = 'GUEST'
        sql = ['a', 'b']
        [components.none]
        source = 'GUEST'
        [sql.a]
        backend = 'memory'
        [sql.b]
        backend = 'memory'
        url = 'postgres://x'
    ";
    let plan = host.plan(&workload(&host, manifest)).await;
    let mut found: Vec<_> = plan.problems.iter().map(|problem| format!("{}: {problem}", problem.place())).collect();
    found.sort();
    assert_eq!(
        found,
        [
            "components.it.sql: `it` is granted several databases, and none of them is its `default`",
            "components.none: `none` imports `wasmcloud:postgres/query@0.1.1-draft`, but is granted no sql store",
            "sql.b.url: `url` has no meaning for backend `memory`",
        ]
    );
}
