//! Open stores: one value for each store, shared by the versions of a workload that run side by side while it is replaced.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wharf::workload::Name;

/// A workload's store, as it is declared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) workload: String,
    pub(crate) store: Name,
    pub(crate) identity: Identity,
}

/// What makes one store of a name another store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// Its backend alone.
    Local(&'static str),
    /// A hash of its declaration with the values of its secrets.
    Server(u64),
}

/// The stores of one kind that are open on a host.
pub struct Registry<S: ?Sized> {
    slots: Mutex<HashMap<Key, Arc<Slot<S>>>>,
    hasher: RandomState,
}

/// A store, and its users. Locked while the store opens or closes.
type Slot<S> = tokio::sync::Mutex<Option<Held<S>>>;

struct Held<S: ?Sized> {
    store: Weak<S>,
    user: Weak<()>,
    declared: u64,
}

/// A use of an open store. The last one to end closes the store.
pub(crate) struct Lease<S: ?Sized> {
    pub(crate) store: Arc<S>,
    slot: Arc<Slot<S>>,
    user: Mutex<Option<Arc<()>>>,
    /// The hash of the declaration that the store was opened by.
    pub(crate) declared: u64,
}

impl<S: ?Sized> Default for Registry<S> {
    fn default() -> Self {
        Self { slots: Mutex::default(), hasher: RandomState::new() }
    }
}

impl<S: ?Sized> Registry<S> {
    /// The hash of a declaration with the values of its secrets.
    pub(crate) fn hash(&self, declared: &[&[u8]]) -> u64 {
        self.hasher.hash_one(declared)
    }

    /// The store, opened by `open` unless it is open already.
    pub(crate) async fn get_or_open<E>(
        &self,
        key: Key,
        declared: u64,
        open: impl Future<Output = Result<Arc<S>, E>>,
    ) -> Result<Lease<S>, E> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            // A slot that is held elsewhere has a store, or is about to have one.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
            slots.entry(key).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(None))).clone()
        };
        let mut held = slot.lock().await;
        let found = held.as_ref().and_then(|held| Some((held.store.upgrade()?, held.user.upgrade()?, held.declared)));
        let (store, user, declared) = if let Some(found) = found {
            found
        } else {
            let (store, user) = (open.await?, Arc::new(()));
            *held = Some(Held { store: Arc::downgrade(&store), user: Arc::downgrade(&user), declared });
            (store, user, declared)
        };
        drop(held);
        Ok(Lease { store, slot, user: Mutex::new(Some(user)), declared })
    }
}

impl<S: ?Sized> Lease<S> {
    /// Ends the use; closes the store if it was the last one.
    pub(crate) async fn end<F: Future<Output = ()>>(&self, close: impl FnOnce(Arc<S>) -> F) {
        let mut held = self.slot.lock().await;
        let user = self.user.lock().unwrap_or_else(PoisonError::into_inner).take();
        if user.is_none() {
            return;
        }
        drop(user);
        if held.as_ref().is_some_and(|held| held.user.strong_count() == 0) {
            *held = None;
            close(self.store.clone()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Identity, Key, Lease, Registry};
    use std::cell::Cell;
    use std::sync::Arc;

    async fn open(registry: &Registry<u32>, declared: u64, value: u32) -> Lease<u32> {
        let key = Key { workload: "a/b".into(), store: "s".parse().unwrap(), identity: Identity::Server(declared) };
        registry.get_or_open(key, declared, async move { Ok::<_, ()>(Arc::new(value)) }).await.unwrap()
    }

    #[tokio::test]
    async fn a_store_is_opened_once_and_closed_by_its_last_user() {
        let registry = Registry::default();
        let first = open(&registry, 1, 10).await;
        let second = open(&registry, 1, 11).await;
        assert_eq!(*second.store, 10, "it is open");
        assert_eq!(*open(&registry, 2, 12).await.store, 12, "another declaration");
        let closed = Cell::new(0);
        first.end(async |_| closed.set(closed.get() + 1)).await;
        first.end(async |_| closed.set(closed.get() + 1)).await;
        assert_eq!(closed.get(), 0, "the second user has it");
        second.end(async |_| closed.set(closed.get() + 1)).await;
        assert_eq!(closed.get(), 1);
        // The closed store is still held.
        assert_eq!(*open(&registry, 1, 13).await.store, 13, "it was closed");
        drop(first);
    }

    #[tokio::test]
    async fn a_user_that_is_gone_does_not_count() {
        let registry = Registry::default();
        drop(open(&registry, 1, 10).await);
        assert_eq!(*open(&registry, 1, 11).await.store, 11);
    }

    #[tokio::test]
    async fn a_local_store_is_one_whatever_its_settings_are() {
        let registry = Registry::default();
        let key = Key { workload: "a/b".into(), store: "s".parse().unwrap(), identity: Identity::Local("embedded") };
        let first = registry.get_or_open(key.clone(), 1, async { Ok::<_, ()>(Arc::new(1)) }).await.unwrap();
        let second = registry.get_or_open(key, 2, async { Err(()) }).await.unwrap();
        assert!(Arc::ptr_eq(&first.store, &second.store));
        assert_eq!(second.declared, 1);
    }
}
