//! Something that is kept as long as a stream of the host is open: what counts it.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{FutureConsumer, FutureReader, Lift, Lower, Source};

use crate::ctx::Ctx;

/// Keeps `kept` until a future of the host is ready, which it is when its stream has ended or was dropped. Gives a future
/// in its place.
pub(super) fn hold_until_done<T, K>(
    store: &mut StoreContextMut<'_, Ctx>,
    done: FutureReader<T>,
    kept: K,
) -> wasmtime::Result<FutureReader<T>>
where
    T: Lift + Lower + Send + Sync + 'static,
    K: Send + Unpin + 'static,
{
    let (sender, receiver) = oneshot::channel();
    done.pipe(&mut *store, Done { sender: Some(sender), _kept: kept })?;
    FutureReader::new(store, async move { receiver.await.map_err(wasmtime::Error::from) })
}

struct Done<T, K> {
    sender: Option<oneshot::Sender<T>>,
    _kept: K,
}

impl<T, K> FutureConsumer<Ctx> for Done<T, K>
where
    T: Lift + Send + 'static,
    K: Send + Unpin + 'static,
{
    type Item = T;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<Ctx>,
        mut source: Source<'_, T>,
        _: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let mut value = None;
        source.read(store, &mut value)?;
        if let (Some(value), Some(sender)) = (value, self.sender.take()) {
            // A component that dropped its future does not ask.
            sender.send(value).ok();
        }
        Poll::Ready(Ok(()))
    }
}
