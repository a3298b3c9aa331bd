//! `wasi:blobstore@0.2.0-draft`, whose values pass through streams of `wasi:io`.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use crate::backend::Error;
use crate::bindings::draft::wasi::blobstore::{blobstore, container, types};
use crate::handle::{Blobs, Names, Open, copy, exists, range, rename};
use crate::value::{Incoming, Outgoing};

/// The interface's errors are text.
type Outcome<T> = Result<std::result::Result<T, String>>;

fn text<T>(result: std::result::Result<T, Error>) -> std::result::Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn not_granted(name: &str) -> String {
    format!("access denied: the component was granted no container `{name}`")
}

impl types::Host for Blobs<'_> {}
impl container::Host for Blobs<'_> {}

impl types::HostOutgoingValue for Blobs<'_> {
    async fn new_outgoing_value(&mut self) -> Result<Resource<Outgoing>> {
        Ok(self.table.push(Outgoing::new(self.most()))?)
    }

    async fn outgoing_value_write_body(
        &mut self,
        value: Resource<Outgoing>,
    ) -> Result<std::result::Result<Resource<DynOutputStream>, ()>> {
        let outgoing = self.table.get_mut(&value)?;
        if std::mem::replace(&mut outgoing.taken, true) {
            return Ok(Err(()));
        }
        let stream: DynOutputStream = Box::new(outgoing.pipe.writer());
        Ok(Ok(self.table.push_child(stream, &value)?))
    }

    async fn finish(&mut self, value: Resource<Outgoing>) -> Outcome<()> {
        let value = self.table.delete(value)?;
        Ok(text(value.finish().await))
    }

    async fn drop(&mut self, value: Resource<Outgoing>) -> Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}

impl types::HostIncomingValue for Blobs<'_> {
    async fn incoming_value_consume_sync(&mut self, value: Resource<Incoming>) -> Outcome<Vec<u8>> {
        let value = self.table.delete(value)?;
        Ok(text(value.collect(self.most()).await))
    }

    async fn incoming_value_consume_async(&mut self, value: Resource<Incoming>) -> Outcome<Resource<DynInputStream>> {
        let value = self.table.delete(value)?;
        let stream: DynInputStream = Box::new(value.stream());
        Ok(Ok(self.table.push(stream)?))
    }

    async fn size(&mut self, value: Resource<Incoming>) -> Result<u64> {
        Ok(self.table.get(&value)?.size)
    }

    async fn drop(&mut self, value: Resource<Incoming>) -> Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}

impl container::HostContainer for Blobs<'_> {
    async fn name(&mut self, container: Resource<Open>) -> Outcome<String> {
        Ok(Ok(self.open(&container)?.0))
    }

    async fn info(&mut self, container: Resource<Open>) -> Outcome<types::ContainerMetadata> {
        let (name, store) = self.open(&container)?;
        Ok(text(store.info().await.map(|created_at| types::ContainerMetadata { name, created_at })))
    }

    async fn get_data(
        &mut self,
        container: Resource<Open>,
        name: String,
        start: u64,
        end: u64,
    ) -> Outcome<Resource<Incoming>> {
        let (_, store) = self.open(&container)?;
        match store.get(&name, range(start, end)).await {
            Ok((info, body)) => {
                let last = end.saturating_add(1).min(info.size);
                let value = Incoming { body, size: last.saturating_sub(start) };
                Ok(Ok(self.table.push(value)?))
            }
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    async fn write_data(&mut self, container: Resource<Open>, name: String, data: Resource<Outgoing>) -> Outcome<()> {
        let (_, store) = self.open(&container)?;
        match self.table.get_mut(&data)?.write_to(store, name) {
            Ok(Some(writing)) => Ok(text(writing.await)),
            Ok(None) => Ok(Ok(())),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    async fn list_objects(&mut self, container: Resource<Open>) -> Outcome<Resource<Names>> {
        let (_, store) = self.open(&container)?;
        match store.list().await {
            Ok(names) => Ok(Ok(self.table.push(Names::new(names))?)),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    async fn delete_object(&mut self, container: Resource<Open>, name: String) -> Outcome<()> {
        let (_, store) = self.open(&container)?;
        Ok(text(store.delete(&[name]).await))
    }

    async fn delete_objects(&mut self, container: Resource<Open>, names: Vec<String>) -> Outcome<()> {
        let (_, store) = self.open(&container)?;
        Ok(text(store.delete(&names).await))
    }

    async fn has_object(&mut self, container: Resource<Open>, name: String) -> Outcome<bool> {
        let (_, store) = self.open(&container)?;
        Ok(text(exists(&*store, &name).await))
    }

    async fn object_info(&mut self, container: Resource<Open>, name: String) -> Outcome<types::ObjectMetadata> {
        let (container, store) = self.open(&container)?;
        let info = store.object_info(&name).await;
        Ok(text(info.map(|info| types::ObjectMetadata {
            name,
            container,
            created_at: info.created_ns,
            size: info.size,
        })))
    }

    async fn clear(&mut self, container: Resource<Open>) -> Outcome<()> {
        let (_, store) = self.open(&container)?;
        Ok(text(store.clear().await))
    }

    async fn drop(&mut self, container: Resource<Open>) -> Result<()> {
        self.table.delete(container)?;
        Ok(())
    }
}

/// The most names that are read at once.
const MAX_NAMES: u64 = 10_000;

impl container::HostStreamObjectNames for Blobs<'_> {
    async fn read_stream_object_names(&mut self, names: Resource<Names>, count: u64) -> Outcome<(Vec<String>, bool)> {
        let mut read = Vec::new();
        let names = self.table.get_mut(&names)?;
        let outcome = names.read(count.min(MAX_NAMES), |name| read.push(name)).await;
        Ok(text(outcome.map(|(_, ended)| (read, ended))))
    }

    async fn skip_stream_object_names(&mut self, names: Resource<Names>, count: u64) -> Outcome<(u64, bool)> {
        Ok(text(self.table.get_mut(&names)?.read(count, drop).await))
    }

    async fn drop(&mut self, names: Resource<Names>) -> Result<()> {
        self.table.delete(names)?;
        Ok(())
    }
}

impl Blobs<'_> {
    /// The stores and names of two objects.
    #[allow(clippy::type_complexity, reason = "two of one kind")]
    fn objects(
        &self,
        from: types::ObjectId,
        to: types::ObjectId,
    ) -> std::result::Result<[(std::sync::Arc<dyn crate::backend::Container>, String); 2], String> {
        let find = |id: types::ObjectId| {
            let store = self.find(&id.container).ok_or_else(|| not_granted(&id.container))?;
            Ok::<_, String>((store, id.object))
        };
        Ok([find(from)?, find(to)?])
    }
}

impl blobstore::Host for Blobs<'_> {
    /// A container exists from the start, so that creating one opens it.
    async fn create_container(&mut self, name: String) -> Outcome<Resource<Open>> {
        let Some(store) = self.find(&name) else { return Ok(Err(not_granted(&name))) };
        match store.create().await {
            Ok(()) | Err(Error::ContainerExists) => Ok(Ok(self.push(name, store)?)),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    async fn get_container(&mut self, name: String) -> Outcome<Resource<Open>> {
        let Some(store) = self.find(&name) else { return Ok(Err(not_granted(&name))) };
        match store.info().await {
            Ok(_) => Ok(Ok(self.push(name, store)?)),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    async fn delete_container(&mut self, name: String) -> Outcome<()> {
        let Some(store) = self.find(&name) else { return Ok(Err(not_granted(&name))) };
        Ok(text(store.remove().await))
    }

    async fn container_exists(&mut self, name: String) -> Outcome<bool> {
        let Some(store) = self.find(&name) else { return Ok(Ok(false)) };
        Ok(match store.info().await {
            Ok(_) => Ok(true),
            Err(Error::NoSuchContainer) => Ok(false),
            Err(error) => Err(error.to_string()),
        })
    }

    async fn copy_object(&mut self, from: types::ObjectId, to: types::ObjectId) -> Outcome<()> {
        Ok(match self.objects(from, to) {
            Ok([from, to]) => text(copy(&from, &to).await),
            Err(error) => Err(error),
        })
    }

    async fn move_object(&mut self, from: types::ObjectId, to: types::ObjectId) -> Outcome<()> {
        Ok(match self.objects(from, to) {
            Ok([from, to]) => text(rename(&from, &to).await),
            Err(error) => Err(error),
        })
    }
}
