//! Sessions: results, prepared statements, and what does not pass from one to another.

use super::super::spin::{DbDataType, DbValue, ParameterValue};
use super::super::{Error, ExecError, Postgres, PostgresConfig, QueryError, Session, SpinError, WasmcloudError};
use super::{PgValue, Server, code, config, query, session, text, until, value};

#[tokio::test(flavor = "multi_thread")]
async fn runs_statements() {
    let server = Server::start();
    let session = session(&server);
    session.batch("CREATE TABLE t (id bigint PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a')").await.unwrap();
    let added = session.execute("INSERT INTO t VALUES ($1, $2)", vec![PgValue::Int4(2), text("b")]).await;
    assert_eq!(added, Ok(1));
    assert_eq!(session.execute("UPDATE t SET name = 'c'", Vec::new()).await, Ok(2));
    let result = session.query("SELECT id, name FROM t WHERE id = $1", vec![PgValue::BigInt(2)]).await.unwrap();
    assert_eq!(result.columns, ["id", "name"]);
    assert_eq!(result.rows, [[PgValue::Int8(2), text("c")]]);
    assert_eq!(query(&session, "SELECT 1 AS one WHERE false").await.unwrap().columns, ["one"]);
    assert!(query(&session, "").await.unwrap().rows.is_empty());
    assert_eq!(value(&session, "SELECT pg_sleep(0)").await, text(""));
    // Ten thousand rows, and several users at once on a few connections.
    let many = query(&session, "SELECT generate_series(1, 10000), repeat('x', 100)").await.unwrap();
    assert_eq!((many.rows.len(), &many.rows[9999][0]), (10_000, &PgValue::Int4(10_000)));
    let session = std::sync::Arc::new(session);
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let session = session.clone();
            tokio::spawn(async move {
                let found =
                    session.query("SELECT $1::int, pg_sleep(0.001)", vec![PgValue::Int4(number)]).await.unwrap();
                assert_eq!(found.rows[0][0], PgValue::Int4(number));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let connections: usize =
        server.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wharf'").parse().unwrap();
    assert!(connections <= 16, "{connections}");
}

#[tokio::test]
async fn reports_errors_with_their_fields() {
    let server = Server::start();
    let session = session(&server);
    session.batch("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    session.execute("INSERT INTO t VALUES (1)", Vec::new()).await.unwrap();
    let error = session.execute("INSERT INTO t VALUES (1)", Vec::new()).await.unwrap_err();
    let Error::QueryFailed(fields) = &error else { panic!("{error:?}") };
    assert_eq!((fields.code.as_str(), fields.severity.as_str()), ("23505", "ERROR"));
    assert!(fields.extras.contains(&("constraint".to_owned(), "t_pkey".to_owned())), "{fields:?}");
    assert!(matches!(error.clone().into_draft(), QueryError::Unexpected(_)));
    assert!(matches!(error.clone().into_wasmcloud(), WasmcloudError::QueryFailed(fields) if fields.code == "23505"));
    assert!(matches!(error.into_spin(), SpinError::QueryFailed(_, fields) if fields.code == "23505"));

    let syntax = query(&session, "SELEC 1").await.unwrap_err();
    assert_eq!(code(&syntax), "42601");
    assert!(matches!(syntax.into_draft(), QueryError::InvalidQuery(_)));
    let data = session.query("SELECT $1::int", vec![text("x")]).await.unwrap_err();
    assert_eq!(code(&data), "22P02");
    assert!(matches!(data.into_draft(), QueryError::InvalidParams(_)));
    for parameters in
        [vec![], vec![PgValue::Int4(1), PgValue::Int4(2)], vec![PgValue::Bool(true)], vec![PgValue::Int8(1 << 40)]]
    {
        let error = session.query("SELECT $1::int", parameters).await.unwrap_err();
        assert!(matches!(&error, Error::InvalidParams(_)), "{error:?}");
        assert!(matches!(error.into_draft_exec(), ExecError::QueryError(QueryError::InvalidParams(_))));
    }
    for copy in ["COPY t TO STDOUT", "COPY t FROM STDIN"] {
        assert!(matches!(query(&session, copy).await, Err(Error::InvalidQuery(_))), "{copy}");
        assert!(matches!(session.execute(copy, Vec::new()).await, Err(Error::InvalidQuery(_))), "{copy}");
        assert!(matches!(session.batch(copy).await, Err(Error::InvalidQuery(_))), "{copy}");
    }
    assert!(matches!(query(&session, "SELECT '\0'").await, Err(Error::InvalidQuery(_))));
    assert!(matches!(query(&session, &" ".repeat(5_000_000)).await, Err(Error::InvalidQuery(_))));
    assert_eq!(value(&session, "SELECT count(*) FROM t").await, PgValue::Int8(1));
}

#[tokio::test]
async fn prepares_statements_for_one_session() {
    let server = Server::start();
    let store = Postgres::new(PostgresConfig { max_prepared: 3, ..config(&server) }).unwrap();
    let (one, other): (Session, Session) = (store.session(), store.session());
    one.batch("CREATE TABLE t (id int)").await.unwrap();
    let token = one.prepare("INSERT INTO t SELECT $1").await.unwrap();
    for number in 0..5 {
        assert_eq!(one.exec(&token, vec![PgValue::Int4(number)]).await, Ok(1));
        // Every connection but the one that prepared the statement, too.
        store.session::<PgValue>().batch("SELECT 1").await.unwrap();
    }
    assert_eq!(other.exec(&token, vec![PgValue::Int4(1)]).await, Err(Error::UnknownPrepared));
    assert_eq!(one.exec("s0", Vec::new()).await, Err(Error::UnknownPrepared));
    assert_eq!(code(&one.prepare("SELECT nothing").await.unwrap_err()), "42703");
    one.prepare("SELECT 1").await.unwrap();
    one.prepare("SELECT 2").await.unwrap();
    assert_eq!(one.prepare("SELECT 3").await, Err(Error::TooManyPrepared { limit: 3 }));
    // A kept statement whose table has changed is prepared again.
    for change in ["ALTER TABLE t ADD name text", "ALTER TABLE t ALTER id TYPE bigint"] {
        query(&one, "SELECT * FROM t").await.unwrap();
        server.query(change);
        query(&one, "SELECT * FROM t").await.unwrap();
    }
}

#[tokio::test]
async fn keeps_sessions_apart() {
    let server = Server::start();
    let store = Postgres::new(PostgresConfig { max_connections: 1, ..config(&server) }).unwrap();
    let (one, other): (Session, Session) = (store.session(), store.session());
    one.batch("CREATE TABLE t (id int); CREATE TYPE mood AS ENUM ('sad', 'glad')").await.unwrap();
    server.query(
        "CREATE FUNCTION sly() RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
                  EXECUTE 'DEALLOCATE ALL'; EXECUTE 'PREPARE sly AS SELECT 666'; \
                  PERFORM set_config('search_path', 'nowhere', false); \
                  CREATE TEMP TABLE hidden (id int); PERFORM pg_advisory_lock(7); RETURN 1; END $$",
    );
    // A transaction that a batch leaves open is rolled back, even if it failed.
    for sql in ["BEGIN; INSERT INTO t VALUES (1)", "BEGIN; INSERT INTO t VALUES (1); SELECT 1 / 0"] {
        let _ = one.batch(sql).await;
        for session in [&other, &one] {
            assert_eq!(value(session, "SELECT count(*) FROM t").await, PgValue::Int8(0));
        }
    }
    assert_eq!(one.execute("BEGIN", Vec::new()).await, Ok(0));
    one.execute("INSERT INTO t VALUES (1)", Vec::new()).await.unwrap();
    assert_eq!(
        value(&other, "SELECT count(*) FROM t").await,
        PgValue::Int8(1),
        "each statement is its own transaction"
    );
    // What statements leave behind, openly or in a function, reaches no other session.
    let settings = [
        "SET statement_timeout = 1",
        "SET ROLE pg_monitor",
        "CREATE TEMP TABLE hidden (id int)",
        "PREPARE sly AS SELECT 666",
        "LISTEN news",
        "SELECT sly()",
    ];
    for setting in settings {
        one.execute(setting, Vec::new()).await.unwrap_or_else(|error| panic!("{setting}: {error:?}"));
        assert_eq!(value(&other, "SHOW statement_timeout").await, text("0"), "{setting}");
        assert_eq!(value(&other, "SELECT current_user::text").await, text("notes"), "{setting}");
        assert_eq!(value(&other, "SHOW search_path").await, text("\"$user\", public"), "{setting}");
        assert!(query(&other, "SELECT * FROM hidden").await.is_err(), "{setting}");
        assert!(query(&other, "EXECUTE sly").await.is_err(), "{setting}");
        assert_eq!(value(&other, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").await, PgValue::Int8(0));
    }
    // The client's own statements, which ask for types, work after each change of sessions.
    for _ in 0..3 {
        for session in [&one, &other] {
            assert_eq!(value(session, "SELECT 'glad'::mood").await, text("glad"));
        }
    }
    // A session keeps its connection.
    let pid = value(&one, "SELECT pg_backend_pid()").await;
    assert_eq!(value(&one, "SELECT pg_backend_pid()").await, pid);
}

#[tokio::test]
async fn dedicates_a_connection() {
    let server = Server::start();
    let store = Postgres::new(PostgresConfig { max_connections: 2, ..config(&server) }).unwrap();
    let session: Session<DbValue> = store.session();
    let connection = session.dedicated();
    connection.connect().await.unwrap();
    connection.batch("CREATE TABLE t (id int, name text)").await.unwrap();
    connection.execute("BEGIN", Vec::new()).await.unwrap();
    let insert = "INSERT INTO t VALUES ($1, $2)";
    let row = || vec![ParameterValue::Int64(1), ParameterValue::Str("a".to_owned())];
    assert_eq!(connection.execute(insert, row()).await, Ok(1));
    let found = connection.query("SELECT id, name FROM t", Vec::new()).await.unwrap();
    assert_eq!(found.rows, [[DbValue::Int32(1), DbValue::Str("a".to_owned())]]);
    assert_eq!(found.columns[0].data_type, DbDataType::Int32);
    assert_eq!(server.query("SELECT count(*) FROM t"), "0", "the transaction is open");
    // A statement that fails leaves the connection and its failed transaction.
    assert_eq!(code(&connection.query("SELECT 1 / 0", Vec::new()).await.unwrap_err()), "22012");
    assert_eq!(code(&connection.execute(insert, row()).await.unwrap_err()), "25P02");
    connection.execute("ROLLBACK", Vec::new()).await.unwrap();
    connection.execute("BEGIN", Vec::new()).await.unwrap();
    connection.execute(insert, row()).await.unwrap();
    connection.execute("COMMIT", Vec::new()).await.unwrap();
    assert_eq!(server.query("SELECT count(*) FROM t"), "1");
    // Dropping it rolls back, and gives the connection back clean.
    connection.execute("BEGIN", Vec::new()).await.unwrap();
    connection.execute(insert, row()).await.unwrap();
    drop(connection);
    until(&server, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'", "0").await;
    assert_eq!(server.query("SELECT count(*) FROM t"), "1");
}
