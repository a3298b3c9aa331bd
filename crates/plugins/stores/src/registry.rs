//! Open stores: one value for each store, shared by the versions of a workload that run side by side while it is replaced.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wharf::workload::Name;

/// A workload's store, as it is declared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) workload: String,
    pub(crate) store: Name,
    /// The declaration as text: a store that is declared in other words is another one.
    pub(crate) declared: String,
}

/// The stores of one kind that are open on a host.
pub struct Registry<S: ?Sized>(Mutex<HashMap<Key, Arc<Slot<S>>>>);

/// Locked while its store opens.
type Slot<S> = tokio::sync::Mutex<Option<Weak<S>>>;

impl<S: ?Sized> Default for Registry<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: ?Sized> Registry<S> {
    /// The store, opened by `open` unless it is open already.
    pub(crate) async fn get_or_open<E>(
        &self,
        key: Key,
        open: impl Future<Output = Result<Arc<S>, E>>,
    ) -> Result<Arc<S>, E> {
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // A slot that is locked is about to have a store.
            slots.retain(|_, slot| {
                slot.try_lock().map_or(true, |store| store.as_ref().is_some_and(|store| store.strong_count() > 0))
            });
            slots.entry(key).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(None))).clone()
        };
        let mut store = slot.lock().await;
        if let Some(open) = store.as_ref().and_then(Weak::upgrade) {
            return Ok(open);
        }
        let opened = open.await?;
        *store = Some(Arc::downgrade(&opened));
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Registry};
    use std::sync::Arc;

    fn key(declared: &str) -> Key {
        Key { workload: "a/b".into(), store: "s".parse().unwrap(), declared: declared.into() }
    }

    #[tokio::test]
    async fn a_store_is_opened_once_while_it_is_in_use() {
        let registry = Registry::<u32>::default();
        let open = |declared: &'static str, value: u32| {
            let registry = &registry;
            async move { registry.get_or_open(key(declared), async move { Ok::<_, ()>(Arc::new(value)) }).await.unwrap() }
        };
        let first = open("x", 1).await;
        assert_eq!(*open("x", 2).await, 1, "it is open");
        assert_eq!(*open("y", 3).await, 3, "another declaration");
        drop(first);
        assert_eq!(*open("x", 4).await, 4, "it was closed");
    }
}
