//! `wasmcloud:blobstore@0.1.0`: asynchronous functions, and objects as streams of the component model.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use wasmtime::Result;
use wasmtime::component::{Accessor, Resource, StreamReader};
use wharf_stores::streams::{Items, Pieces, Taken};

use crate::backend::{self, Container};
use crate::bindings::wasmcloud::wasmcloud::blobstore::{blobstore, container, types};
use crate::handle::{Blobs, HasBlobs, Open, copy, exists, range, rename};
use types::Error;

type Outcome<T> = Result<std::result::Result<T, Error>>;

impl From<backend::Error> for Error {
    fn from(error: backend::Error) -> Self {
        match error {
            backend::Error::NoSuchContainer => Self::NoSuchContainer,
            backend::Error::ContainerExists => Self::ContainerAlreadyExists,
            backend::Error::NoSuchObject => Self::NoSuchObject,
            backend::Error::Timeout => Self::Timeout,
            backend::Error::Unavailable(_) => Self::StoreUnavailable,
            backend::Error::QuotaExceeded(_) => Self::QuotaExceeded,
            backend::Error::InvalidArgument(text) | backend::Error::Other(text) => Self::Other(text),
        }
    }
}

/// The name and the store behind a handle.
fn open<T>(accessor: &Accessor<T, HasBlobs>, container: &Resource<Open>) -> Result<(String, Arc<dyn Container>)> {
    accessor.with(|mut access| access.get().open(container))
}

/// The store of a name that the component was granted.
fn find<T>(accessor: &Accessor<T, HasBlobs>, name: &str) -> std::result::Result<Arc<dyn Container>, Error> {
    accessor.with(|mut access| access.get().find(name)).ok_or(Error::AccessDenied)
}

fn push<T>(accessor: &Accessor<T, HasBlobs>, name: String, store: Arc<dyn Container>) -> Result<Resource<Open>> {
    accessor.with(|mut access| access.get().push(name, store))
}

/// A stream that ends early says why only in the log: the interface has no place for it.
fn log_cut(name: String) -> impl FnOnce(Option<backend::Error>) + Send + 'static {
    move |error| {
        if let Some(error) = error {
            tracing::warn!(object = name, %error, "a stream from a blob store ended early");
        }
    }
}

impl types::Host for Blobs<'_> {}
impl container::Host for Blobs<'_> {}
impl container::HostContainer for Blobs<'_> {}
impl blobstore::Host for Blobs<'_> {}

impl<T: Send> container::HostContainerWithStore<T> for HasBlobs {
    async fn name(accessor: &Accessor<T, Self>, container: Resource<Open>) -> Outcome<String> {
        Ok(Ok(open(accessor, &container)?.0))
    }

    async fn info(accessor: &Accessor<T, Self>, container: Resource<Open>) -> Outcome<types::ContainerMetadata> {
        let (name, store) = open(accessor, &container)?;
        let created = store.info().await;
        Ok(created.map(|created_at| types::ContainerMetadata { name, created_at }).map_err(Into::into))
    }

    async fn get_data(
        accessor: &Accessor<T, Self>,
        container: Resource<Open>,
        name: String,
        start: u64,
        end: u64,
    ) -> Outcome<StreamReader<u8>> {
        let (_, store) = open(accessor, &container)?;
        match store.get(&name, range(start, end)).await {
            Ok((_, body)) => {
                let pieces = Pieces::new(body, log_cut(name));
                Ok(Ok(accessor.with(|access| StreamReader::new(access, pieces))?))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn write_data(
        accessor: &Accessor<T, Self>,
        container: Resource<Open>,
        name: String,
        data: StreamReader<u8>,
    ) -> Outcome<()> {
        let (_, store) = open(accessor, &container)?;
        let (in_flight, most) = accessor.with(|mut access| access.get().in_flight());
        let (taken, mut pieces) = Taken::new();
        accessor.with(|access| data.pipe(access, taken))?;
        // The channel also ends when the instance is dropped; so is this future, and the object stays as it was.
        let body = futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx));
        let held = in_flight.hold(0, most).map(|held| Arc::new(Mutex::new(held)));
        let (holding, write_size) = (held.clone(), store.write_size());
        let body = body.map(move |piece| {
            // What the store may keep of it counts until the write ends.
            let mut held = holding.as_ref().map(|held| held.lock().unwrap_or_else(PoisonError::into_inner));
            let fits = held.as_mut().is_some_and(|held| {
                let more = write_size.saturating_sub(held.bytes()).min(piece.len() as u64);
                held.add(more, most)
            });
            let exceeded = || format!("the writes in progress exceed the memory limit of {most} bytes");
            if fits { Ok(piece) } else { Err(backend::Error::QuotaExceeded(exceeded())) }
        });
        let put = store.put(&name, body.boxed()).await;
        drop(held);
        Ok(put.map_err(Into::into))
    }

    async fn list_objects(accessor: &Accessor<T, Self>, container: Resource<Open>) -> Outcome<StreamReader<String>> {
        let (container, store) = open(accessor, &container)?;
        match store.list().await {
            Ok(names) => {
                let items = Items::new(names, log_cut(container));
                Ok(Ok(accessor.with(|access| StreamReader::new(access, items))?))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn delete_object(accessor: &Accessor<T, Self>, container: Resource<Open>, name: String) -> Outcome<()> {
        let (_, store) = open(accessor, &container)?;
        Ok(store.delete(&[name]).await.map_err(Into::into))
    }

    async fn delete_objects(
        accessor: &Accessor<T, Self>,
        container: Resource<Open>,
        names: Vec<String>,
    ) -> Outcome<()> {
        let (_, store) = open(accessor, &container)?;
        Ok(store.delete(&names).await.map_err(Into::into))
    }

    async fn has_object(accessor: &Accessor<T, Self>, container: Resource<Open>, name: String) -> Outcome<bool> {
        let (_, store) = open(accessor, &container)?;
        Ok(exists(&*store, &name).await.map_err(Into::into))
    }

    async fn object_info(
        accessor: &Accessor<T, Self>,
        container: Resource<Open>,
        name: String,
    ) -> Outcome<types::ObjectMetadata> {
        let (container, store) = open(accessor, &container)?;
        let info = store.object_info(&name).await;
        let metadata = |info: backend::ObjectInfo| types::ObjectMetadata {
            name,
            container,
            created_at: info.created_ns,
            size: info.size,
        };
        Ok(info.map(metadata).map_err(Into::into))
    }

    async fn clear(accessor: &Accessor<T, Self>, container: Resource<Open>) -> Outcome<()> {
        let (_, store) = open(accessor, &container)?;
        Ok(store.clear().await.map_err(Into::into))
    }

    async fn drop(accessor: &Accessor<T, Self>, container: Resource<Open>) -> Result<()> {
        accessor.with(|mut access| access.get().table.delete(container))?;
        Ok(())
    }
}

/// The stores and names of two objects.
fn objects<T>(
    accessor: &Accessor<T, HasBlobs>,
    from: types::ObjectId,
    to: types::ObjectId,
) -> std::result::Result<[(Arc<dyn Container>, String); 2], Error> {
    Ok([(find(accessor, &from.container)?, from.object), (find(accessor, &to.container)?, to.object)])
}

impl<T: Send> blobstore::HostWithStore<T> for HasBlobs {
    async fn create_container(accessor: &Accessor<T, Self>, name: String) -> Outcome<Resource<Open>> {
        let store = match find(accessor, &name) {
            Ok(store) => store,
            Err(error) => return Ok(Err(error)),
        };
        match store.create().await {
            Ok(()) => Ok(Ok(push(accessor, name, store)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn get_container(accessor: &Accessor<T, Self>, name: String) -> Outcome<Resource<Open>> {
        let store = match find(accessor, &name) {
            Ok(store) => store,
            Err(error) => return Ok(Err(error)),
        };
        match store.info().await {
            Ok(_) => Ok(Ok(push(accessor, name, store)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn delete_container(accessor: &Accessor<T, Self>, name: String) -> Outcome<()> {
        match find(accessor, &name) {
            Ok(store) => Ok(store.remove().await.map_err(Into::into)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn container_exists(accessor: &Accessor<T, Self>, name: String) -> Outcome<bool> {
        // Whether a container exists that the component was not granted is no affair of its own.
        let Ok(store) = find(accessor, &name) else { return Ok(Ok(false)) };
        Ok(match store.info().await {
            Ok(_) => Ok(true),
            Err(backend::Error::NoSuchContainer) => Ok(false),
            Err(error) => Err(error.into()),
        })
    }

    async fn copy_object(accessor: &Accessor<T, Self>, from: types::ObjectId, to: types::ObjectId) -> Outcome<()> {
        match objects(accessor, from, to) {
            Ok([from, to]) => Ok(copy(&from, &to).await.map_err(Into::into)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn move_object(accessor: &Accessor<T, Self>, from: types::ObjectId, to: types::ObjectId) -> Outcome<()> {
        match objects(accessor, from, to) {
            Ok([from, to]) => Ok(rename(&from, &to).await.map_err(Into::into)),
            Err(error) => Ok(Err(error)),
        }
    }
}
