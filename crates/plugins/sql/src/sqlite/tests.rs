//! Tests of SQLite stores: results, limits, the sandbox, interruption and broken files.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Connection, Error, QueryResult, Sqlite, SqliteConfig, Value};

/// A statement that never ends.
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn file_store(folder: &Path) -> SqliteConfig {
    SqliteConfig { path: Some(folder.join("a.db")), ..SqliteConfig::default() }
}

async fn memory() -> Connection {
    Sqlite::open(SqliteConfig::default()).unwrap().connect().await.unwrap()
}

async fn run(connection: &Connection, sql: &str) -> Result<QueryResult, Error> {
    connection.execute(sql, Vec::new()).await
}

async fn ok(connection: &Connection, sql: &str) -> QueryResult {
    run(connection, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

#[tokio::test]
async fn returns_every_kind_of_value() {
    let connection = memory().await;
    let values = vec![
        Value::Integer(i64::MIN),
        Value::Real(-0.5),
        text("a\0ß"),
        Value::Blob(vec![0, 255]),
        Value::Null,
        Value::Blob(Vec::new()),
    ];
    let result = connection.execute("SELECT ?1 a, ?, ?, ?, ?, ?", values.clone()).await.unwrap();
    assert_eq!(result.rows, [values]);
    assert_eq!(result.columns[0], "a");
    let wrong = connection.execute("SELECT ?", Vec::new()).await.unwrap_err();
    assert_eq!(wrong, Error::Sql("expected 1 parameters, found 0".to_owned()));
    for sql in ["", "-- nothing", "SELECT 1; SELECT 2", "SELECT nothing", "SELEC"] {
        assert!(matches!(run(&connection, sql).await, Err(Error::Sql(_))), "{sql}");
    }
    let many = "SELECT 1;".repeat(100_000);
    assert!(matches!(run(&connection, &many).await, Err(Error::Sql(_))));
    assert!(matches!(run(&connection, &" ".repeat(2_000_000)).await, Err(Error::Sql(_))));
    assert!(matches!(run(&connection, "SELECT CAST(x'ff' AS TEXT)").await, Err(Error::Sql(_))));
    ok(&connection, "SELECT 1; -- the end").await;
}

#[tokio::test]
async fn reports_changes_and_row_ids() {
    let connection = memory().await;
    assert_eq!((connection.last_insert_rowid(), connection.changes()), (0, 0));
    ok(&connection, "CREATE TABLE t (a)").await;
    ok(&connection, "INSERT INTO t VALUES (1), (2), (3)").await;
    assert_eq!((connection.last_insert_rowid(), connection.changes()), (3, 3));
    assert_eq!(ok(&connection, "DELETE FROM t WHERE a > 1").await, QueryResult::default());
    assert_eq!(connection.changes(), 2);
    let returned = ok(&connection, "INSERT INTO t VALUES (9) RETURNING a").await;
    assert_eq!(returned.rows, [[Value::Integer(9)]]);
}

#[tokio::test]
async fn connections_share_a_database_and_isolate_transactions() {
    let folder = tempfile::tempdir().unwrap();
    for config in [SqliteConfig::default(), file_store(folder.path())] {
        let store = Sqlite::open(config.clone()).unwrap();
        let (a, b) = (store.connect().await.unwrap(), store.connect().await.unwrap());
        ok(&a, "CREATE TABLE t (a)").await;
        ok(&a, "BEGIN").await;
        ok(&a, "INSERT INTO t VALUES (1)").await;
        if config.path.is_some() {
            assert_eq!(ok(&b, "SELECT count(*) FROM t").await.rows, [[Value::Integer(0)]]);
        }
        drop(a);
        // The transaction of a dropped connection is rolled back, and its lock is free.
        ok(&b, "INSERT INTO t VALUES (2)").await;
        assert_eq!(ok(&b, "SELECT a FROM t").await.rows, [[Value::Integer(2)]]);
    }
    let other = Sqlite::open(SqliteConfig::default()).unwrap().connect().await.unwrap();
    assert!(run(&other, "SELECT a FROM t").await.is_err(), "databases in memory are separate");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_stores_use_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/a?b.db");
    let config = SqliteConfig { path: Some(path.clone()), ..SqliteConfig::default() };
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let config = config.clone();
            tokio::spawn(async move {
                let connection = Sqlite::open(config).unwrap().connect().await.unwrap();
                ok(&connection, "CREATE TABLE IF NOT EXISTS t (a)").await;
                for _ in 0..20 {
                    ok(&connection, "INSERT INTO t VALUES (1)").await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(path.exists());
    let connection = Sqlite::open(config).unwrap().connect().await.unwrap();
    assert_eq!(ok(&connection, "SELECT count(*) FROM t").await.rows, [[Value::Integer(160)]]);
    assert_eq!(ok(&connection, "PRAGMA journal_mode").await.rows, [[text("wal")]]);
}

#[tokio::test]
async fn interrupts_a_statement_at_its_timeout() {
    let config = SqliteConfig { timeout: Duration::from_millis(200), ..SqliteConfig::default() };
    let connection = Sqlite::open(config).unwrap().connect().await.unwrap();
    for _ in 0..2 {
        assert_eq!(run(&connection, ENDLESS).await, Err(Error::Timeout(Duration::from_millis(200))));
        ok(&connection, "SELECT 1").await;
    }
}

#[tokio::test]
async fn interrupts_a_statement_whose_caller_goes() {
    let connection = memory().await;
    for _ in 0..3 {
        let abandoned = tokio::time::timeout(Duration::from_millis(50), run(&connection, ENDLESS)).await;
        assert!(abandoned.is_err());
        let start = Instant::now();
        ok(&connection, "SELECT 1").await;
        assert!(start.elapsed() < Duration::from_secs(10), "the endless statement has its timeout of 30 s");
    }
}

#[tokio::test]
async fn waits_for_a_lock_within_the_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let config = SqliteConfig { timeout: Duration::from_millis(300), ..file_store(folder.path()) };
    let store = Sqlite::open(config).unwrap();
    let (a, b) = (store.connect().await.unwrap(), store.connect().await.unwrap());
    ok(&a, "CREATE TABLE t (a)").await;
    ok(&a, "BEGIN IMMEDIATE").await;
    assert!(matches!(run(&b, "INSERT INTO t VALUES (1)").await, Err(Error::Timeout(_) | Error::Busy)));
    ok(&a, "COMMIT").await;
    ok(&b, "INSERT INTO t VALUES (1)").await;
}

#[tokio::test]
async fn bounds_the_number_of_connections() {
    let timeout = Duration::from_secs(1);
    let store = Sqlite::open(SqliteConfig { max_connections: 3, timeout, ..SqliteConfig::default() }).unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(store.connect().await.unwrap());
    }
    assert_eq!(store.connect().await.err(), Some(Error::TooManyConnections { limit: 3 }));
    let (waits, ()) = tokio::join!(store.connect(), async { drop(open.pop()) });
    waits.unwrap();
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_another_owner() {
    let store = Sqlite::open(SqliteConfig { max_connections: 1, ..SqliteConfig::default() }).unwrap();
    let first = store.lend(1).await.unwrap();
    first.execute_pooled("CREATE TEMP TABLE own (x)", Vec::new()).await.unwrap();
    store.give_back(1, first);
    let again = store.lend(1).await.unwrap();
    again.execute_pooled("SELECT x FROM own", Vec::new()).await.expect("it is the owner's own connection");
    store.give_back(1, again);
    let second = store.lend(2).await.unwrap();
    assert!(
        second.execute_pooled("SELECT x FROM own", Vec::new()).await.is_err(),
        "what the first owner has in its session"
    );
    let (waits, ()) = tokio::join!(store.lend(3), async { store.give_back(2, second) });
    waits.unwrap();
}

#[tokio::test]
async fn bounds_the_database() {
    let folder = tempfile::tempdir().unwrap();
    for config in [SqliteConfig::default(), file_store(folder.path())] {
        let store = Sqlite::open(SqliteConfig { max_bytes: Some(256 * 1024), ..config }).unwrap();
        let connection = store.connect().await.unwrap();
        ok(&connection, "CREATE TABLE t (a)").await;
        ok(&connection, "PRAGMA max_page_count = 1000000").await;
        let full = loop {
            if let Err(error) = run(&connection, "INSERT INTO t VALUES (zeroblob(10000))").await {
                break error;
            }
        };
        assert_eq!(full, Error::DatabaseFull);
        ok(&connection, "DELETE FROM t").await;
        ok(&connection, "VACUUM").await;
        ok(&connection, "INSERT INTO t VALUES (zeroblob(10000))").await;
    }
}

#[tokio::test]
async fn bounds_the_log_behind_a_long_reader() {
    let folder = tempfile::tempdir().unwrap();
    let config = SqliteConfig { max_bytes: Some(1024 * 1024), ..file_store(folder.path()) };
    let store = Sqlite::open(config).unwrap();
    let (reader, writer) = (store.connect().await.unwrap(), store.connect().await.unwrap());
    ok(&writer, "CREATE TABLE t (a)").await;
    ok(&writer, "INSERT INTO t VALUES (zeroblob(500000))").await;
    ok(&reader, "BEGIN").await;
    ok(&reader, "SELECT count(*) FROM t").await;
    let full = loop {
        if let Err(error) = run(&writer, "UPDATE t SET a = randomblob(500000)").await {
            break error;
        }
        let log = fs::metadata(folder.path().join("a.db-wal")).unwrap().len();
        assert!(log < 40 * 1024 * 1024, "{log}");
    };
    assert_eq!(full, Error::DatabaseFull);
    ok(&reader, "COMMIT").await;
    ok(&writer, "UPDATE t SET a = 1").await;
}

#[tokio::test]
async fn bounds_results_and_values() {
    let store = Sqlite::open(SqliteConfig { max_rows_bytes: 100_000, ..SqliteConfig::default() }).unwrap();
    let connection = store.connect().await.unwrap();
    let too_large = Err(Error::ResultTooLarge { limit: 100_000 });
    let rows = "WITH RECURSIVE n(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    assert_eq!(run(&connection, rows).await, too_large);
    assert_eq!(run(&connection, "SELECT zeroblob(60000), zeroblob(60000)").await, too_large);
    ok(&connection, "SELECT zeroblob(60000)").await;
    assert!(matches!(run(&connection, "SELECT length(randomblob(1000000))").await, Err(Error::Sql(_))));
    let pattern = format!("SELECT 'a' LIKE '{}'", "%a".repeat(2000));
    assert!(run(&connection, &pattern).await.is_err());
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(run(&connection, &deep).await.is_err());
    ok(&connection, "SELECT 1").await;
}

#[tokio::test]
async fn denies_what_reaches_outside_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(file_store(folder.path())).unwrap();
    let connection = store.connect().await.unwrap();
    ok(&connection, "CREATE TABLE t (a)").await;
    let other = folder.path().join("other.db");
    let denied = [
        format!("ATTACH '{}' AS other", other.display()),
        "ATTACH ':memory:' AS other".to_owned(),
        "ATTACH '' AS other".to_owned(),
        "DETACH main".to_owned(),
        format!("VACUUM INTO '{}'", other.display()),
        format!("VACUUM main INTO '{}'", other.display()),
        "SELECT load_extension('x')".to_owned(),
        "SELECT fts3_tokenizer('simple')".to_owned(),
        "PRAGMA writable_schema = ON".to_owned(),
        "PRAGMA temp_store_directory = '/tmp'".to_owned(),
        "PRAGMA data_store_directory = '/tmp'".to_owned(),
        "PRAGMA hard_heap_limit = 1".to_owned(),
        "PRAGMA database_list".to_owned(),
        "SELECT * FROM pragma_database_list".to_owned(),
        "UPDATE sqlite_master SET sql = ''".to_owned(),
        "INSERT INTO sqlite_dbpage VALUES (1, x'00')".to_owned(),
    ];
    for sql in denied {
        let error = run(&connection, &sql).await.expect_err(&sql);
        assert!(matches!(error, Error::Denied(_) | Error::Sql(_)), "{sql}: {error:?}");
        assert!(!error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    }
    assert!(!other.exists());
    // Settings that the store has chosen stay, without an error.
    for (pragma, value) in [("journal_mode", text("wal")), ("temp_store", Value::Integer(2))] {
        ok(&connection, &format!("PRAGMA {pragma} = 1")).await;
        assert_eq!(ok(&connection, &format!("PRAGMA {pragma}")).await.rows, [[value]]);
    }
    assert_eq!(ok(&connection, "PRAGMA table_info(t)").await.rows.len(), 1);
    ok(&connection, "PRAGMA foreign_keys = OFF").await;
    assert_eq!(ok(&connection, "PRAGMA foreign_keys").await.rows, [[Value::Integer(0)]]);
    ok(&connection, "VACUUM").await;
    assert!(run(&connection, "ATTACH '' AS other").await.is_err(), "VACUUM leaves no way open");
    ok(&connection, "CREATE VIRTUAL TABLE f USING fts5(a)").await;
    ok(&connection, "SELECT * FROM f WHERE f MATCH 'x'").await;
}

#[tokio::test]
async fn reports_broken_files_without_their_path() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.db"), "this is no database".repeat(100)).unwrap();
    let broken = Sqlite::open(file_store(folder.path())).unwrap().connect().await.err();
    assert_eq!(broken, Some(Error::Io("the file is not a database".to_owned())));
    let is_a_folder = SqliteConfig { path: Some(folder.path().to_owned()), ..SqliteConfig::default() };
    let error = Sqlite::open(is_a_folder).unwrap().connect().await.err();
    assert_eq!(error, Some(Error::Io("cannot open the database file".to_owned())));
    // The pages of a table are overwritten behind the store's back.
    let path = folder.path().join("b.db");
    let config = SqliteConfig { path: Some(path.clone()), ..SqliteConfig::default() };
    let store = Sqlite::open(config.clone()).unwrap();
    let connection = store.connect().await.unwrap();
    ok(&connection, "CREATE TABLE t (a)").await;
    ok(&connection, "INSERT INTO t VALUES (zeroblob(50000))").await;
    ok(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0xA5);
    drop((connection, store));
    fs::write(&path, bytes).unwrap();
    let connection = Sqlite::open(config).unwrap().connect().await.unwrap();
    assert_eq!(run(&connection, "SELECT a FROM t").await, Err(Error::Io("the database is corrupt".to_owned())));
}
