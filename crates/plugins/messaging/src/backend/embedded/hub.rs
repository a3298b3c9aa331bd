//! Which queues there are, what may be put into them, and who waits for a reply.
//!
//! Takes operations with the time; gives their result at once. Waits for nothing.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{EmbeddedConfig, closed};
use crate::backend::host_delivery::Holder;
use crate::backend::ledger::{Ledger, later, size};
use crate::backend::{Error, Message, Subscription, subject};

/// The subscribers that share messages: those of one queue and subject, or a single one.
struct Group {
    subject: String,
    queue: Option<String>,
    ledger: Ledger,
    /// When the messages of a queue without members are given up.
    expires: Option<Instant>,
}

/// All groups of a broker.
pub(super) struct Hub {
    config: EmbeddedConfig,
    groups: BTreeMap<u64, Group>,
    inboxes: HashMap<String, oneshot::Sender<Message>>,
    /// Makes the names of inboxes hard to guess, so that only those who see a request can reply.
    secret: RandomState,
    last: u64,
    is_closed: bool,
}

impl Hub {
    pub(super) fn new(config: EmbeddedConfig) -> Self {
        let (groups, inboxes) = (BTreeMap::new(), HashMap::new());
        Self { config, groups, inboxes, secret: RandomState::new(), last: 0, is_closed: false }
    }

    /// Gives a message to every group that it matches, or to none. Returns how many took it.
    pub(super) fn publish(&mut self, message: &Message, now: Instant) -> Result<usize, Error> {
        if self.is_closed {
            return Err(closed());
        }
        let (length, limit) = (message.body.len(), self.config.max_message);
        if length > limit {
            return Err(Error::TooLarge { size: length, limit });
        }
        if let Some(sender) = self.inboxes.remove(&message.subject) {
            // The caller may wait no longer; then the reply is dropped, as any message without a subscriber.
            let _ = sender.send(message.clone());
            return Ok(1);
        }
        self.purge(now);
        let matching = |group: &Group| subject::matches(&group.subject, &message.subject);
        let matched: Vec<u64> = self.groups.iter().filter(|(_, it)| matching(it)).map(|(id, _)| *id).collect();
        self.check_room(message, &matched)?;
        if matched.is_empty() {
            return Ok(0);
        }
        // A copy, so that a small slice does not keep a large buffer alive that no limit counts.
        let message = Message { body: Bytes::copy_from_slice(&message.body), ..message.clone() };
        for id in &matched {
            if let Some(group) = self.groups.get_mut(id) {
                group.ledger.push(message.clone(), now);
            }
        }
        Ok(matched.len())
    }

    fn check_room(&self, message: &Message, matched: &[u64]) -> Result<(), Error> {
        let limit = self.config.max_waiting;
        let full = matched.iter().filter_map(|id| self.groups.get(id)).find(|it| it.ledger.len() >= limit);
        if let Some(group) = full {
            return Err(Error::QuotaExceeded(format!("limit reached: {limit} messages wait for `{}`", group.subject)));
        }
        let used: usize = self.groups.values().map(|it| it.ledger.bytes()).sum();
        let limit = self.config.max_bytes;
        if used.saturating_add(size(message).saturating_mul(matched.len())) > limit {
            return Err(Error::QuotaExceeded(format!("limit reached: messages of {limit} bytes wait")));
        }
        Ok(())
    }

    /// Adds a subscriber. Returns its group, its number there, and what wakes it.
    pub(super) fn subscribe(&mut self, it: &Subscription, now: Instant) -> Result<(u64, u64, Arc<Notify>), Error> {
        if self.is_closed {
            return Err(closed());
        }
        self.purge(now);
        let limit = self.config.max_subscriptions;
        if self.groups.values().map(|it| it.ledger.members()).sum::<usize>() >= limit {
            return Err(Error::QuotaExceeded(format!("limit reached: {limit} subscriptions")));
        }
        let shared = |group: &Group| group.queue.is_some() && group.queue == it.queue && group.subject == it.subject;
        let known = self.groups.iter().find(|(_, group)| shared(group)).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| self.number());
        let group = self.groups.entry(id).or_insert_with(|| Group {
            subject: it.subject.clone(),
            queue: it.queue.clone(),
            ledger: Ledger::default(),
            expires: None,
        });
        group.expires = None;
        let (member, wake) = group.ledger.join(it);
        Ok((id, member, wake))
    }

    pub(super) fn leave(&mut self, id: u64, member: u64, now: Instant) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.ledger.leave(member, now);
        if group.ledger.members() > 0 {
            return;
        }
        if group.queue.is_some() {
            group.expires = Some(later(now, self.config.queue_grace));
        } else {
            self.groups.remove(&id);
        }
        self.purge(now);
    }

    pub(super) fn ledger(&mut self, id: u64) -> Option<&mut Ledger> {
        self.groups.get_mut(&id).map(|it| &mut it.ledger)
    }

    pub(super) fn open_inbox(&mut self, sender: oneshot::Sender<Message>) -> Result<String, Error> {
        let limit = self.config.max_waiting;
        if self.inboxes.len() >= limit {
            return Err(Error::QuotaExceeded(format!("limit reached: {limit} requests wait for a reply")));
        }
        let number = self.number();
        let name = format!("_INBOX.{number:x}.{:016x}", self.secret.hash_one(number));
        self.inboxes.insert(name.clone(), sender);
        Ok(name)
    }

    pub(super) fn close_inbox(&mut self, name: &str) {
        self.inboxes.remove(name);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Ends every subscription and every request.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.inboxes.clear();
        self.groups.values().for_each(|it| it.ledger.wake_all());
        self.groups.clear();
    }

    /// Gives up the queues whose last member left too long ago.
    fn purge(&mut self, now: Instant) {
        self.groups.retain(|_, group| {
            let is_kept = group.expires.is_none_or(|at| at > now);
            if !is_kept && group.ledger.len() > 0 {
                let (subject, messages) = (&group.subject, group.ledger.len());
                tracing::warn!(%subject, messages, "a queue without subscribers was given up with its messages");
            }
            is_kept
        });
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// A hub behind its lock, which is held for no longer than an operation takes.
pub(super) struct Shared(Mutex<Hub>);

impl Shared {
    pub(super) fn new(hub: Hub) -> Self {
        Self(Mutex::new(hub))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder for Shared {
    fn with(&self, key: u64, act: &mut dyn FnMut(&mut Ledger)) {
        if let Some(ledger) = self.lock().ledger(key) {
            act(ledger);
        }
    }
}
