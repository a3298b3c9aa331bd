//! A store on a Redis server, version 6 or later, or one that speaks its protocol, such as Valkey.
//!
//! Takes a URL and a prefix; gives a [`Store`] whose keys and values are plain Redis strings, so that other clients can
//! read and write them. Connects when it is first used and again when it must; all operations share one connection, on
//! which they are pipelined. Never connects to a cluster, and never waits longer than the time-out.
//!
//! # Versions, and writers that are not this backend
//!
//! Redis has no versions. The first [`entry`](Store::entry) of a key writes a random version and a digest of the value
//! into a companion key (the prefix, the byte `FF`, the key: not text, so it is no key of any store), which expires an
//! hour after its last use. Every write by this backend removes the companion, in the same step or right after it. A
//! version therefore
//!
//! - changes with every write by this backend, on any host, and with every write by another client that changes the
//!   value;
//! - does not change if another client writes the same value again, or writes another value and the old one back before
//!   anything looks;
//! - may also change without a write, when the companion has expired: a swap is then stale once and succeeds when tried
//!   again.
//!
//! [`swap`](Store::swap) is a script, atomic towards all clients. A condition on the value needs no version.

mod errors;
mod link;
mod scripts;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use zeroize::Zeroizing;

use self::link::{Link, Names};
use super::limits::{self, PAGE_BYTES, check_entries, check_key, check_keys, check_value, clamp_ttl};
use super::{Change, Condition, Entry, Error, PAGE, Page, SetOptions, Store, Swapped};

/// How long an operation may take when the configuration does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many keys one command has at most, so that the server is not busy with it for long.
const MAX_KEYS: usize = 500;
/// How many bytes of values one command has at most, unless one value has more.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How many steps of a listing one page takes at most. A page may be empty although the listing goes on.
const MAX_SCANS: usize = 64;

/// The settings of a [`Redis`].
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://user:password@host:port/database`, or `rediss://` for TLS. A secret.
    pub url: Zeroizing<String>,
    /// What the server's keys start with. The store has no other keys. Empty unless set.
    pub prefix: String,
    /// How long an operation may take. 5 seconds unless set.
    pub timeout: Duration,
}

impl RedisConfig {
    /// The default settings for a server.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: Zeroizing::new(url.into()), prefix: String::new(), timeout: DEFAULT_TIMEOUT }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A store on a Redis server.
pub struct Redis {
    link: Arc<Link>,
    names: Arc<Names>,
}

impl Redis {
    /// A store, not connected yet. [`Error::InvalidArgument`] if the URL makes no sense.
    pub fn new(config: &RedisConfig) -> Result<Self, Error> {
        let link = Link::new(&config.url, config.timeout)?;
        Ok(Self { link: Arc::new(link), names: Arc::new(Names::new(&config.prefix)) })
    }

    async fn scan(&self, pattern: &[u8], cursor: u64, count: usize) -> Result<(u64, Vec<Vec<u8>>), Error> {
        let mut scan = ::redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(count).arg("TYPE").arg("string");
        self.link.read(&scan).await
    }

    /// One step of a listing, with fewer keys if there would be too many for a page.
    async fn step(&self, pattern: &[u8], cursor: u64) -> Result<(u64, Vec<Vec<u8>>), Error> {
        let mut count = PAGE / 2;
        loop {
            let (next, found) = self.scan(pattern, cursor, count).await?;
            let bytes: usize = found.iter().map(Vec::len).sum();
            if (found.len() <= PAGE && bytes <= PAGE_BYTES) || count == 1 {
                return Ok((next, found));
            }
            count = (count / 8).max(1);
        }
    }
}

#[async_trait]
impl Store for Redis {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        check_key(key)?;
        self.link.read(::redis::cmd("GET").arg(self.names.key(key))).await
    }

    async fn set(&self, key: &str, value: Bytes, options: SetOptions) -> Result<(), Error> {
        check_key(key)?;
        check_value(&value)?;
        let ttl = options.ttl.map(|ttl| u64::try_from(clamp_ttl(ttl).as_millis()).unwrap_or(u64::MAX));
        if options.if_absent {
            let mut call = scripts::SET_ABSENT.prepare_invoke();
            call.key(self.names.key(key)).key(self.names.companion(key)).arg(&value[..]).arg(ttl.unwrap_or(0));
            let written: bool = self.link.call(&call).await?;
            return if written { Ok(()) } else { Err(Error::PreconditionFailed) };
        }
        let mut commands = ::redis::pipe();
        commands.cmd("SET").arg(self.names.key(key)).arg(&value[..]);
        if let Some(ttl) = ttl {
            commands.arg("PX").arg(ttl);
        }
        commands.ignore().cmd("DEL").arg(self.names.companion(key)).ignore();
        self.link.pipeline(&commands).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        check_key(key)?;
        self.link.write(::redis::cmd("DEL").arg(self.names.key(key)).arg(self.names.companion(key))).await
    }

    async fn exists(&self, key: &str) -> Result<bool, Error> {
        check_key(key)?;
        self.link.read(::redis::cmd("EXISTS").arg(self.names.key(key))).await
    }

    async fn keys(&self, prefix: &str, cursor: Option<&str>) -> Result<Page, Error> {
        check_key(prefix)?;
        let mut cursor: u64 = cursor.map_or(Ok(0), |cursor| cursor.parse().map_err(|_| limits::invalid_cursor()))?;
        let pattern = self.names.pattern(prefix);
        let (mut keys, mut bytes) = (Vec::new(), 0);
        for scans in 0..MAX_SCANS {
            let (next, found) = self.step(&pattern, cursor).await?;
            let size: usize = found.iter().map(Vec::len).sum();
            if scans > 0 && (keys.len() + found.len() > PAGE || bytes + size > PAGE_BYTES) {
                // The next page starts with the same step.
                break;
            }
            bytes += size;
            keys.extend(found.into_iter().filter_map(|name| self.names.parse(name)));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        Ok(Page { keys, cursor: (cursor != 0).then(|| cursor.to_string()) })
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        check_key(key)?;
        let mut call = scripts::INCREMENT.prepare_invoke();
        call.key(self.names.key(key)).key(self.names.companion(key)).arg(delta);
        let sum: Bytes = self.link.call(&call).await?;
        limits::parse_number(&sum)
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, Error> {
        check_keys(keys)?;
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(MAX_KEYS) {
            let mut get = ::redis::cmd("MGET");
            for key in keys {
                get.arg(self.names.key(key));
            }
            let found: Vec<Option<Bytes>> = self.link.read(&get).await?;
            if found.len() != keys.len() {
                return Err(Error::Other("the server returned another number of values than asked for".to_owned()));
            }
            values.extend(found);
        }
        Ok(values)
    }

    async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Result<(), Error> {
        check_entries(&entries)?;
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let mut bytes = 0_usize;
            let fits = |(_, value): &&(String, Bytes)| {
                bytes = bytes.saturating_add(value.len());
                bytes <= MAX_BYTES
            };
            let count = rest.iter().take(MAX_KEYS).take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            let mut call = scripts::SET_MANY.prepare_invoke();
            for (key, value) in now {
                call.key(self.names.key(key)).arg(&value[..]);
            }
            for (key, _) in now {
                call.key(self.names.companion(key));
            }
            let () = self.link.call(&call).await?;
            rest = later;
        }
        Ok(())
    }

    async fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        check_keys(keys)?;
        for keys in keys.chunks(MAX_KEYS) {
            let mut delete = ::redis::cmd("DEL");
            for key in keys {
                delete.arg(self.names.key(key)).arg(self.names.companion(key));
            }
            let () = self.link.write(&delete).await?;
        }
        Ok(())
    }

    async fn entry(&self, key: &str) -> Result<Option<Entry>, Error> {
        check_key(key)?;
        let mut call = scripts::ENTRY.prepare_invoke();
        call.key(self.names.key(key))
            .key(self.names.companion(key))
            .arg(self.names.version())
            .arg(scripts::COMPANION_TTL);
        let found: Option<(Bytes, String)> = self.link.call(&call).await?;
        Ok(found.map(|(value, version)| Entry { value, version }))
    }

    async fn swap(&self, key: &str, value: Bytes, condition: Condition) -> Result<Swapped, Error> {
        check_key(key)?;
        check_value(&value)?;
        let mut call = scripts::SWAP.prepare_invoke();
        call.key(self.names.key(key))
            .key(self.names.companion(key))
            .arg(self.names.version())
            .arg(scripts::COMPANION_TTL);
        call.arg(&value[..]).arg(u8::from(condition.absent));
        call.arg(u8::from(condition.value.is_some())).arg(condition.value.as_deref().unwrap_or_default());
        call.arg(u8::from(condition.version.is_some())).arg(condition.version.as_deref().unwrap_or_default());
        let (swapped, current): (bool, Option<(Bytes, String)>) = self.link.call(&call).await?;
        let stale = || Swapped::Stale(current.map(|(value, version)| Entry { value, version }));
        Ok(if swapped { Swapped::Yes } else { stale() })
    }

    async fn watch(&self) -> Result<BoxStream<'static, Change>, Error> {
        watch::watch(&self.link, self.names.clone()).await
    }

    async fn health(&self) -> Result<(), String> {
        let ping = ::redis::cmd("PING");
        match tokio::time::timeout(super::HEALTH_TIMEOUT, self.link.read::<String>(&ping)).await {
            Ok(answer) => answer.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err(Error::Timeout.to_string()),
        }
    }

    async fn close(&self) {
        self.link.close();
    }
}

#[cfg(test)]
mod tests;
