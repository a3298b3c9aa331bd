//! Faults: no server, a wrong password, a server that goes and returns, no free connection, endless statements.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::super::{Error, Postgres, PostgresConfig, Session};
use super::{PATIENCE, PgValue, Server, config, query, text, until, value};

const ACTIVE: &str = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1e6)%' AND state = 'active' AND pid <> pg_backend_pid()";

fn connect(config: PostgresConfig) -> Session {
    Postgres::new(config).unwrap().session()
}

#[tokio::test]
async fn reports_an_absent_server() {
    // Nothing listens, and something that never answers does.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for port in [closed, silent.local_addr().unwrap().port()] {
        let url = format!("postgres://somebody:secret@127.0.0.1:{port}/d");
        let timeout = Duration::from_millis(200);
        let session = connect(PostgresConfig { connect_timeout: timeout, ..PostgresConfig::new(url) });
        let start = Instant::now();
        let error = query(&session, "SELECT 1").await.unwrap_err();
        assert!(start.elapsed() < PATIENCE);
        assert!(matches!(error, Error::ConnectionFailed(_)), "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains(&port.to_string()) && !shown.contains("secret") && !shown.contains("somebody"),
            "{shown}"
        );
    }
    assert!(matches!(Postgres::new(PostgresConfig::new("mysql://h")).err(), Some(Error::Config(_))));
}

#[tokio::test]
async fn recovers_when_the_server_returns() {
    let mut server = Server::start();
    let wrong = connect(PostgresConfig::new(server.url_with("another")));
    let error = query(&wrong, "SELECT 1").await.unwrap_err();
    assert!(matches!(&error, Error::ConnectionFailed(_)), "{error:?}");
    assert!(!error.to_string().contains("notes") && !error.to_string().contains("another"), "{error}");

    let session = std::sync::Arc::new(connect(config(&server)));
    assert_eq!(value(&session, "SELECT 1").await, PgValue::Int4(1));
    let token = session.prepare("SELECT 1").await.unwrap();
    // The server goes while a statement runs.
    let running = session.clone();
    let running = tokio::spawn(async move { query(&running, "SELECT pg_sleep(1e6)").await });
    until(&server, ACTIVE, "1").await;
    server.stop();
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::ConnectionFailed(_)), "{error:?}");
    let error = query(&session, "SELECT 1").await.unwrap_err();
    assert!(matches!(error, Error::ConnectionFailed(_)), "{error:?}");
    server.restart();
    assert_eq!(value(&session, "SELECT 1").await, PgValue::Int4(1));
    assert_eq!(session.exec(&token, Vec::new()).await, Ok(1), "a token outlives the connection");
    // The server closes the connections while they are idle.
    server.stop();
    assert!(query(&session, "SELECT 2").await.is_err());
    server.restart();
    assert_eq!(value(&session, "SELECT 1").await, PgValue::Int4(1));
}

#[tokio::test]
async fn a_dedicated_connection_fails_before_it_is_replaced() {
    let mut server = Server::start();
    let connection = connect(config(&server)).dedicated();
    connection.batch("CREATE TABLE t (id int)").await.unwrap();
    connection.execute("BEGIN", Vec::new()).await.unwrap();
    connection.execute("INSERT INTO t VALUES (1)", Vec::new()).await.unwrap();
    server.stop();
    server.restart();
    let error = connection.execute("COMMIT", Vec::new()).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionFailed(_)), "{error:?}");
    let start = Instant::now();
    while connection.execute("INSERT INTO t VALUES (2)", Vec::new()).await.is_err() {
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(server.query("SELECT id FROM t"), "2");
}

#[tokio::test]
async fn cancels_endless_statements_on_the_server() {
    let server = Server::start();
    let timeout = Duration::from_millis(300);
    let session = connect(PostgresConfig { statement_timeout: timeout, ..config(&server) });
    let endless = "SELECT pg_sleep(1e6)";
    assert_eq!(query(&session, endless).await, Err(Error::Timeout));
    assert_eq!(session.execute(endless, Vec::new()).await, Err(Error::Timeout));
    assert_eq!(session.batch(endless).await, Err(Error::Timeout));
    let dedicated = session.dedicated();
    assert_eq!(dedicated.query(endless, Vec::new()).await.err(), Some(Error::Timeout));
    assert_eq!(dedicated.execute(endless, Vec::new()).await, Err(Error::Timeout));
    assert_eq!(dedicated.execute("SELECT 1", Vec::new()).await, Ok(1));
    until(&server, ACTIVE, "0").await;
    // The server's own limit is a timeout too.
    let session = connect(PostgresConfig::new(format!("{}?options=-cstatement_timeout%3D100", server.url())));
    assert_eq!(query(&session, endless).await, Err(Error::Timeout));
    // A caller that goes takes its statement with it.
    let session = connect(config(&server));
    for kind in 0..3 {
        let abandoned = async {
            match kind {
                0 => drop(query(&session, endless).await),
                1 => drop(session.execute(endless, Vec::new()).await),
                _ => drop(session.batch(endless).await),
            }
        };
        tokio::select! { biased; () = abandoned => panic!("it is endless"), () = until(&server, ACTIVE, "1") => {} }
        until(&server, ACTIVE, "0").await;
    }
    assert_eq!(value(&session, "SELECT 1").await, PgValue::Int4(1));
}

#[tokio::test]
async fn bounds_the_wait_for_a_connection() {
    let server = Server::start();
    let timeout = Duration::from_millis(500);
    let store =
        Postgres::new(PostgresConfig { max_connections: 2, connect_timeout: timeout, ..config(&server) }).unwrap();
    let session: Session = store.session();
    let held = [session.dedicated(), session.dedicated()];
    for connection in &held {
        connection.execute("SELECT 1", Vec::new()).await.unwrap();
    }
    let start = Instant::now();
    assert_eq!(query(&session, "SELECT 1").await, Err(Error::PoolExhausted { limit: 2 }));
    assert!(start.elapsed() < PATIENCE);
    drop(held);
    assert_eq!(value(&session, "SELECT 1").await, PgValue::Int4(1));
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wharf'";
    assert!(server.query(connections).parse::<u32>().unwrap() <= 2);
}

#[tokio::test]
async fn bounds_results() {
    let server = Server::start();
    let session = connect(PostgresConfig { max_rows_bytes: 100_000, ..config(&server) });
    let too_large = Err(Error::ResultTooLarge { limit: 100_000 });
    assert_eq!(query(&session, "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)").await, too_large);
    assert_eq!(query(&session, "SELECT repeat('x', 100000000)").await, too_large, "one row that is too long");
    assert_eq!(
        session.execute("SELECT repeat('x', 100000000)", Vec::new()).await,
        Err(Error::ResultTooLarge { limit: 100_000 })
    );
    assert_eq!(value(&session, "SELECT repeat('x', 90000)").await, text(&"x".repeat(90_000)));
}
