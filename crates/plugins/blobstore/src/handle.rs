//! What guests hold: containers, whose handle carries the store, and listings.
//!
//! Takes the stores that a component was granted; gives handles to those and to no other.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wharf::limits::LimitTracker;
use wharf::{Scope, View};
use wharf_stores::InFlight;

use crate::backend::{Container, Error};

/// The stores of one component, by the name that the guest opens.
pub(crate) struct Granted(pub(crate) BTreeMap<String, Arc<dyn Container>>);

/// An open container.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Open {
    pub(crate) name: String,
    pub(crate) store: Arc<dyn Container>,
}

/// The names of a container's objects, as far as they were not read.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Names {
    stream: BoxStream<'static, Result<String, Error>>,
}

impl Names {
    pub(crate) fn new(stream: BoxStream<'static, Result<String, Error>>) -> Self {
        Self { stream }
    }

    /// At most `count` further names, and whether there are no more. `take` decides what happens to each.
    pub(crate) async fn read(&mut self, count: u64, mut take: impl FnMut(String)) -> Result<(u64, bool), Error> {
        for read in 0..count {
            match self.stream.next().await {
                Some(name) => take(name?),
                None => return Ok((read, true)),
            }
        }
        Ok((count, false))
    }
}

/// The data of the bindings: the calling component's stores and handles.
pub(crate) struct Blobs<'a> {
    pub(crate) granted: &'a Granted,
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) tracker: &'a LimitTracker,
    pub(crate) in_flight: &'a InFlight,
}

/// Names the data of the bindings, [`Blobs`].
pub(crate) struct HasBlobs;

impl HasData for HasBlobs {
    type Data<'a> = Blobs<'a>;
}

impl View for HasBlobs {
    type Of = Self;
    fn view(scope: Scope<'_>) -> Blobs<'_> {
        Blobs {
            granted: scope.binding(),
            table: scope.table,
            tracker: scope.tracker,
            in_flight: InFlight::of(scope.state),
        }
    }
}

impl Blobs<'_> {
    /// The store of a name; `None` unless the component was granted it.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<dyn Container>> {
        self.granted.0.get(name).cloned()
    }

    /// A handle to a container.
    pub(crate) fn push(&mut self, name: String, store: Arc<dyn Container>) -> wasmtime::Result<Resource<Open>> {
        Ok(self.table.push(Open { name, store })?)
    }

    /// The name and the store behind a handle.
    pub(crate) fn open(&self, container: &Resource<Open>) -> wasmtime::Result<(String, Arc<dyn Container>)> {
        let Open { name, store } = self.table.get(container)?;
        Ok((name.clone(), store.clone()))
    }

    /// What the instance's writes in progress hold, and the most that they may.
    pub(crate) fn in_flight(&self) -> (InFlight, u64) {
        (self.in_flight.clone(), self.most())
    }

    /// The most bytes that a guest can take, which its memory has to hold.
    pub(crate) fn most(&self) -> u64 {
        self.tracker.limits().memory
    }
}

/// The bytes from `start` to `end`, both inclusive; all of them if that is the whole range of numbers.
pub(crate) fn range(start: u64, end: u64) -> Option<Range<u64>> {
    (start > 0 || end < u64::MAX).then(|| start..end.saturating_add(1).max(start))
}

/// Copies an object within a container or to another one.
pub(crate) async fn copy(from: &(Arc<dyn Container>, String), to: &(Arc<dyn Container>, String)) -> Result<(), Error> {
    if Arc::ptr_eq(&from.0, &to.0) {
        return from.0.copy(&from.1, &to.1).await;
    }
    let (_, body) = from.0.get(&from.1, None).await?;
    to.0.put(&to.1, body).await
}

/// Moves an object within a container or to another one.
pub(crate) async fn rename(
    from: &(Arc<dyn Container>, String),
    to: &(Arc<dyn Container>, String),
) -> Result<(), Error> {
    copy(from, to).await?;
    if Arc::ptr_eq(&from.0, &to.0) && from.1 == to.1 {
        return Ok(());
    }
    from.0.delete(std::slice::from_ref(&from.1)).await
}

/// Whether an object exists.
pub(crate) async fn exists(store: &dyn Container, name: &str) -> Result<bool, Error> {
    match store.object_info(name).await {
        Ok(_) => Ok(true),
        Err(Error::NoSuchObject) => Ok(false),
        Err(error) => Err(error),
    }
}
