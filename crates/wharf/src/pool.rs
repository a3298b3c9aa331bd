//! Entry → instances: how an instance is made for a call, and how calls under way are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre};
use workload::Name;

use crate::compile::Compiled;
use crate::ctx::{ComponentGrants, Ctx};

/// A unit that is ready to run: what calls are made through.
pub struct Entry {
    pub(crate) name: Name,
    pub(crate) pre: InstancePre<Ctx>,
    pub(crate) grants: Arc<[Arc<ComponentGrants>]>,
    pub(crate) calls: Arc<Calls>,
    /// Keeps the code from being compiled again for the next workload that has it.
    pub(crate) compiled: Compiled,
}

/// An instance of a unit, with the store that it lives in.
pub struct Instantiated {
    /// The store.
    pub store: Store<Ctx>,
    /// The instance.
    pub instance: Instance,
}

impl Entry {
    /// The entry component's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The pre-instantiated unit, for bindings that start from one.
    pub fn pre(&self) -> &InstancePre<Ctx> {
        &self.pre
    }

    /// The unit's compiled code.
    pub fn component(&self) -> Option<&Component> {
        self.compiled.get()
    }

    /// What the entry component was granted.
    pub fn grants(&self) -> &ComponentGrants {
        // A unit has its entry, and the entry is its last component.
        &self.grants[self.grants.len() - 1]
    }

    /// A store for one instance of this unit.
    pub fn store(&self) -> Store<Ctx> {
        Store::new(self.pre.engine(), Ctx::new(self.grants.clone()))
    }

    /// Makes an instance.
    ///
    /// # Errors
    /// When the pool is empty or the component's start-up traps.
    pub async fn instantiate(&self) -> wasmtime::Result<Instantiated> {
        let mut store = self.store();
        let instance = self.pre.instantiate_async(&mut store).await?;
        Ok(Instantiated { store, instance })
    }

    /// Counts a call as under way until what this returns is dropped: a workload that stops waits for it.
    pub fn call_guard(&self) -> CallGuard {
        self.calls.count.fetch_add(1, Ordering::Relaxed);
        CallGuard(self.calls.clone())
    }
}

/// The calls of a workload that are under way.
#[derive(Default)]
pub(crate) struct Calls {
    count: AtomicUsize,
    none: Notify,
}

impl Calls {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until there are none.
    pub(crate) async fn drained(&self) {
        loop {
            let none = self.none.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// A call that is under way.
pub struct CallGuard(Arc<Calls>);

impl Drop for CallGuard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Release) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
