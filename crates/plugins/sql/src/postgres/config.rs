//! The settings of a PostgreSQL store.
//!
//! Takes a URL as libpq knows it; gives the settings of a connection. The URL is a secret: it is shown nowhere, and its
//! memory is zeroed when it is dropped.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use zeroize::Zeroizing;

use super::error::{Error, Result};

/// The settings of a store.
#[derive(Clone)]
pub struct PostgresConfig {
    /// The server, user, password and database: `postgres://user:password@host:port/database?sslmode=verify-full`.
    pub url: Zeroizing<String>,
    /// Certificates in PEM that sign the server's. Without them, the public ones do.
    pub roots: Option<Vec<u8>>,
    /// The most connections to the server.
    pub max_connections: usize,
    /// The most time that a statement may take. For a stream of rows, the most time until its next row.
    pub statement_timeout: Duration,
    /// The most time to connect, to wait for a free connection, and to clean one.
    pub connect_timeout: Duration,
    /// The most time that a stream of rows waits for its consumer.
    pub stall_timeout: Duration,
    /// The most bytes of a result that is not streamed, and of each row that is.
    pub max_rows_bytes: usize,
    /// The most prepared statements of a session.
    pub max_prepared: usize,
}

impl PostgresConfig {
    /// The default settings for a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Zeroizing::new(url.into()),
            roots: None,
            max_connections: 16,
            statement_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_mins(5),
            max_rows_bytes: 16 * 1024 * 1024,
            max_prepared: 1000,
        }
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("roots", &self.roots.is_some())
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// How a connection is protected, as libpq's `sslmode` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// `disable`: not at all.
    Disable,
    /// `prefer`, which is the default: with TLS if the server has it. It does not protect against a man in the middle.
    Prefer,
    /// `require`: with TLS. The certificate is checked only if there is a file of roots.
    Require,
    /// `verify-ca`: with a certificate that a root signed, for any name.
    VerifyCa,
    /// `verify-full`: with a certificate that a root signed for the server's name.
    VerifyFull,
}

/// The settings of a connection, made for one attempt.
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) tls: Tls,
    /// The hosts to try, in order.
    pub(super) hosts: Vec<(Host, u16)>,
}

/// The most hosts that a URL may name.
const MAX_HOSTS: usize = 8;

/// Reads a URL.
pub(super) fn parse(url: &str) -> Result<Target> {
    let wrong = |what: &str| Error::Config(format!("invalid PostgreSQL URL: {what}"));
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(wrong("expected `postgres://user:password@host:port/database`"));
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    // The client knows three modes of TLS only, so the mode is taken out of the URL.
    let mut plain = Zeroizing::new(base.to_owned());
    let mut tls = Tls::Prefer;
    let mut separator = '?';
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if let Some(mode) = pair.strip_prefix("sslmode=") {
            tls = match mode {
                "disable" => Tls::Disable,
                "prefer" => Tls::Prefer,
                "require" => Tls::Require,
                "verify-ca" => Tls::VerifyCa,
                "verify-full" => Tls::VerifyFull,
                _ => {
                    return Err(wrong(
                        "expected `disable`, `prefer`, `require`, `verify-ca` or `verify-full` for \
                                      `sslmode`",
                    ));
                }
            };
            continue;
        }
        plain.push(separator);
        plain.push_str(pair);
        separator = '&';
    }
    // The reason could quote a part of the URL.
    let mut config: Config =
        plain.parse().map_err(|_| wrong("it cannot be read; percent-encode special characters"))?;
    config.ssl_mode(match tls {
        Tls::Disable => SslMode::Disable,
        Tls::Prefer => SslMode::Prefer,
        Tls::Require | Tls::VerifyCa | Tls::VerifyFull => SslMode::Require,
    });
    if config.get_application_name().is_none() {
        config.application_name("wharf");
    }
    let hosts = hosts(&config);
    match hosts.len() {
        0 => Err(wrong("missing a host")),
        1..=MAX_HOSTS => Ok(Target { config, tls, hosts }),
        _ => Err(wrong("too many hosts")),
    }
}

fn hosts(config: &Config) -> Vec<(Host, u16)> {
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
    config.get_hosts().iter().enumerate().map(|(index, host)| (host.clone(), port(index))).collect()
}

/// The host and port as errors name them.
pub(super) fn name((host, port): &(Host, u16)) -> String {
    match host {
        Host::Tcp(host) => format!("{host}:{port}"),
        #[cfg(unix)]
        Host::Unix(_) => format!("a Unix socket:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{PostgresConfig, Tls, name, parse};

    #[test]
    fn reads_urls() {
        let target = parse("postgres://u:p%40ss@db.example:6432/d?sslmode=verify-full&connect_timeout=3").unwrap();
        assert_eq!((target.tls, name(&target.hosts[0])), (Tls::VerifyFull, "db.example:6432".to_owned()));
        assert_eq!(target.config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!(parse("postgresql://u@h/d").unwrap().tls, Tls::Prefer);
        assert_eq!(parse("postgres://u@a:1,b:2/d").unwrap().hosts.len(), 2);
    }

    #[test]
    fn never_shows_a_url() {
        for url in
            ["mysql://u:secret@h", "postgres://u:secret@h:port/d", "postgres://u:secret@h/d?sslmode=secret", "secret"]
        {
            let error = parse(url).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
        assert!(!format!("{:?}", PostgresConfig::new("postgres://u:secret@h")).contains("secret"));
    }
}
