//! How a NATS server is reached.
//!
//! Takes a URL and secrets; gives addresses without secrets, and options for the client. The secrets appear in no
//! error, no log and no `Debug` text, and this copy of them is wiped from memory when it is dropped.

use std::fmt;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use zeroize::Zeroizing;

use crate::backend::Error;

/// How to reach a server of NATS.
#[derive(Clone)]
pub struct NatsConfig {
    /// `nats://host:4222`, or `tls://host:4222`; several servers of a cluster are separated by commas. It may hold a
    /// user with a password, or a token.
    pub url: Zeroizing<String>,
    /// The user. It goes before one in the URL.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Zeroizing<String>>,
    /// The text of a credentials file: a JWT and a seed. It goes before a user.
    pub credentials: Option<Zeroizing<String>>,
    /// How long an operation waits for the server.
    pub timeout: Duration,
    /// The most messages that the host holds for one subscription before it takes them. The server's largest message
    /// times this bounds the memory. Core NATS drops what comes beyond it, with a warning in the log.
    pub max_waiting: usize,
}

impl NatsConfig {
    /// No user and no credentials but those of the URL, 5 seconds, and 1,024 messages.
    pub fn new(url: &str) -> Self {
        Self {
            url: Zeroizing::new(url.to_owned()),
            user: None,
            password: None,
            credentials: None,
            timeout: Duration::from_secs(5),
            max_waiting: 1024,
        }
    }
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (timeout, max_waiting) = (&self.timeout, &self.max_waiting);
        f.debug_struct("NatsConfig").field("timeout", timeout).field("max_waiting", max_waiting).finish_non_exhaustive()
    }
}

/// What a config says, checked.
pub(crate) struct Target {
    pub(crate) addresses: Vec<ServerAddr>,
    /// Host and port of the first server, for errors.
    pub(crate) label: String,
    user: Option<Zeroizing<String>>,
    password: Option<Zeroizing<String>>,
    token: Option<Zeroizing<String>>,
    credentials: Option<Zeroizing<String>>,
}

impl Target {
    pub(crate) fn new(config: &NatsConfig) -> Result<Self, Error> {
        let mut target = Self {
            addresses: Vec::new(),
            label: String::new(),
            user: config.user.clone().map(Zeroizing::new),
            password: config.password.clone(),
            token: None,
            credentials: config.credentials.clone(),
        };
        for url in config.url.split(',') {
            target.add(url.trim())?;
        }
        target.options()?;
        Ok(target)
    }

    fn add(&mut self, url: &str) -> Result<(), Error> {
        let invalid = || Error::Other("invalid URL of a NATS server: expected `nats://HOST:PORT`".to_owned());
        let address: ServerAddr = url.parse().map_err(|_| invalid())?;
        if !matches!(address.scheme(), "nats" | "tls") || address.host().is_empty() {
            return Err(invalid());
        }
        let secret = |text: Option<&str>| text.map(|it| Zeroizing::new(decoded(it)));
        if self.user.is_none() && self.token.is_none() {
            let (user, password) = (secret(address.username()), secret(address.password()));
            // A name without a password is how NATS writes a token.
            (self.user, self.token) = if password.is_some() { (user, None) } else { (None, user) };
            self.password = self.password.take().or(password);
        }
        let host = match address.host() {
            host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
            host => host.to_owned(),
        };
        let label = format!("{host}:{}", address.port());
        // The client logs addresses: it gets one without secrets.
        let bare = format!("{}://{label}", address.scheme()).parse().map_err(|_| invalid())?;
        self.addresses.push(bare);
        if self.label.is_empty() {
            self.label = label;
        }
        Ok(())
    }

    /// The client's options for authentication.
    pub(crate) fn options(&self) -> Result<ConnectOptions, Error> {
        let options = ConnectOptions::new();
        if let Some(credentials) = &self.credentials {
            let invalid = |_| Error::Other("invalid credentials for NATS: expected a JWT and a seed".to_owned());
            return options.credentials(credentials).map_err(invalid);
        }
        if let Some(token) = &self.token {
            return Ok(options.token(token.to_string()));
        }
        Ok(match &self.user {
            Some(user) => {
                let password = self.password.as_ref().map(|it| it.to_string());
                options.user_and_password(user.to_string(), password.unwrap_or_default())
            }
            None => options,
        })
    }
}

/// Undoes the percent encoding of a URL's user and password.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        let byte = hex.filter(|_| *first == b'%').and_then(|it| u8::from_str_radix(it, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_secrets_out_of_addresses() {
        let target = Target::new(&NatsConfig::new("nats://ann:s%40crt@localhost:5000,tls://[::1]")).unwrap();
        assert_eq!(target.label, "localhost:5000");
        assert_eq!(target.user.as_ref().unwrap().as_str(), "ann");
        assert_eq!(target.password.as_ref().unwrap().as_str(), "s@crt");
        assert_eq!(target.addresses.len(), 2);
        assert!(!format!("{:?}", target.addresses).contains("crt"));
        let token = Target::new(&NatsConfig::new("nats://sesame@localhost")).unwrap();
        assert_eq!(token.token.as_ref().unwrap().as_str(), "sesame");
        assert_eq!(token.label, "localhost:4222");
    }

    #[test]
    fn an_invalid_url_is_an_error_that_does_not_repeat_it() {
        for url in ["", "http://s3cret@host", "nats://s3cret:p@", "nats://host:s3cret", "ws://host", ",", "s3cret@:9"] {
            let error = Target::new(&NatsConfig::new(url)).err().map(|it| it.to_string());
            assert!(error.is_some_and(|it| !it.contains("s3cret")), "{url}");
        }
        let config = NatsConfig { credentials: Some(Zeroizing::new("s3cret".to_owned())), ..NatsConfig::new("a") };
        assert!(!Target::new(&config).err().unwrap().to_string().contains("s3cret"));
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
