//! TLS: each mode, with certificates that fit and that do not.

use super::super::{Error, Postgres, PostgresConfig, Session};
use super::{PgValue, Server, text, value};

#[tokio::test]
async fn protects_connections_as_the_mode_says() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let roots = certified.cert.pem().into_bytes();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other_roots = other.cert.pem().into_bytes();
    let server = Server::start_with(|server| {
        let key = server.write("server.key", &certified.signing_key.serialize_pem());
        let cert = server.write("server.crt", &certified.cert.pem());
        vec![
            "ssl=on".to_owned(),
            format!("ssl_key_file={}", key.display()),
            format!("ssl_cert_file={}", cert.display()),
        ]
    });
    let protected = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let connect = |host: &str, mode: &str, roots: Option<&Vec<u8>>| {
        let url = server.url().replace("127.0.0.1", host);
        let config = PostgresConfig { roots: roots.cloned(), ..PostgresConfig::new(format!("{url}?sslmode={mode}")) };
        Postgres::new(config).unwrap().session::<PgValue>()
    };
    let works = [
        ("localhost", "prefer", None, true),
        ("127.0.0.1", "require", None, true),
        ("127.0.0.1", "disable", None, false),
        ("127.0.0.1", "verify-ca", Some(&roots), true),
        ("127.0.0.1", "require", Some(&roots), true),
        ("localhost", "verify-full", Some(&roots), true),
    ];
    for (host, mode, roots, encrypted) in works {
        let session = connect(host, mode, roots);
        assert_eq!(value(&session, protected).await, PgValue::Bool(encrypted), "{mode}");
        // A statement is cancelled over TLS too.
        let abandoned =
            tokio::time::timeout(std::time::Duration::from_millis(50), session.batch("SELECT pg_sleep(1e6)"));
        assert!(abandoned.await.is_err());
        super::until(&server, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1e6)'", "0").await;
    }
    let fails = [
        ("localhost", "verify-full", None),
        ("127.0.0.1", "verify-full", Some(&roots)),
        ("localhost", "verify-full", Some(&other_roots)),
        ("127.0.0.1", "verify-ca", Some(&other_roots)),
        ("127.0.0.1", "require", Some(&other_roots)),
    ];
    for (host, mode, roots) in fails {
        let error = super::query(&connect(host, mode, roots), "SELECT 1").await.unwrap_err();
        assert!(matches!(error, Error::ConnectionFailed(_)), "{mode}: {error:?}");
    }
    // The login is bound to the certificate.
    let url = format!("{}?sslmode=require&channel_binding=require", server.url());
    let session: Session = Postgres::new(PostgresConfig::new(url)).unwrap().session();
    assert_eq!(value(&session, "SELECT 'bound'").await, text("bound"));
}

#[tokio::test]
async fn requires_tls_of_a_server_without_it() {
    let server = Server::start();
    for (mode, works) in [("prefer", true), ("require", false)] {
        let config = PostgresConfig::new(format!("{}?sslmode={mode}", server.url()));
        let session: Session = Postgres::new(config).unwrap().session();
        assert_eq!(super::query(&session, "SELECT 1").await.is_ok(), works, "{mode}");
    }
}
