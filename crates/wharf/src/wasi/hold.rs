//! Ties a value to the lifetime of a host stream: the guard that counts an open stream is dropped when the stream is done.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{FutureConsumer, FutureReader, Lift, Lower, Source};

use crate::store::StoreData;

/// Holds `guard` until `done` is ready, which is when its stream has ended or was dropped. Returns a future with the same value,
/// for the guest.
pub(super) fn hold_until_done<T, K>(
    store: &mut StoreContextMut<'_, StoreData>,
    done: FutureReader<T>,
    guard: K,
) -> wasmtime::Result<FutureReader<T>>
where
    T: Lift + Lower + Send + Sync + 'static,
    K: Send + Unpin + 'static,
{
    let (sender, receiver) = oneshot::channel();
    done.pipe(&mut *store, Done { sender: Some(sender), _guard: guard })?;
    FutureReader::new(store, async move { receiver.await.map_err(wasmtime::Error::from) })
}

/// Forwards the value of the host's future to the guest's.
struct Done<T, K> {
    sender: Option<oneshot::Sender<T>>,
    _guard: K,
}

impl<T, K> FutureConsumer<StoreData> for Done<T, K>
where
    T: Lift + Send + 'static,
    K: Send + Unpin + 'static,
{
    type Item = T;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<StoreData>,
        mut source: Source<'_, T>,
        _: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let mut value = None;
        source.read(store, &mut value)?;
        if let (Some(value), Some(sender)) = (value, self.sender.take()) {
            // The send fails when the component has dropped its future.
            sender.send(value).ok();
        }
        Poll::Ready(Ok(()))
    }
}
