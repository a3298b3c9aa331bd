//! A pipe from a guest's output stream to a store, for a value that the guest writes piece by piece.
//!
//! Once a store reads it, it holds a few pieces; before, it keeps what the guest writes, up to a limit. It ends well only when the
//! guest says that the value is complete, so that a guest that dies never leaves half an object.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use futures_util::StreamExt as _;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::backend::{Body, Error, PIECE};

/// The bytes that wait for a store that reads.
const WINDOW: usize = 4 * PIECE;

#[derive(Default)]
struct State {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// The most bytes that wait for a store that does not read yet.
    limit: usize,
    read: bool,
    /// Whether the guest dropped its stream.
    written: bool,
    /// Whether the value is complete (`true`), or was given up (`false`).
    ended: Option<bool>,
    /// Whether the store takes no more.
    gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A value that a guest writes.
#[derive(Clone)]
pub(crate) struct Pipe(Arc<Mutex<State>>);

impl Pipe {
    /// A pipe that keeps at most `limit` bytes for a store that does not read yet.
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(State { limit, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Whether the guest wrote all and dropped its stream.
    pub(crate) fn is_written(&self) -> bool {
        self.state().written
    }

    /// The value is complete, or is given up. The first call decides.
    pub(crate) fn end(&self, complete: bool) {
        let mut state = self.state();
        state.ended.get_or_insert(complete);
        wake(&mut state.reader);
    }

    /// The guest's end.
    pub(crate) fn writer(&self) -> Writer {
        Writer(self.clone())
    }

    /// The store's end; `None` if a store reads it already.
    pub(crate) fn body(&self) -> Option<Body> {
        let mut state = self.state();
        if std::mem::replace(&mut state.read, true) {
            return None;
        }
        let reader = Reader(self.clone());
        Some(futures_util::stream::poll_fn(move |cx| reader.poll(cx.waker())).boxed())
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

struct Reader(Pipe);

impl Reader {
    fn poll(&self, waker: &Waker) -> Poll<Option<Result<Bytes, Error>>> {
        let mut state = self.0.state();
        if state.ended == Some(false) {
            return Poll::Ready(Some(Err(Error::Other("the value was not finished".to_owned()))));
        }
        if let Some(piece) = state.waiting.pop_front() {
            state.bytes -= piece.len();
            wake(&mut state.writer);
            return Poll::Ready(Some(Ok(piece)));
        }
        if state.ended == Some(true) {
            return Poll::Ready(None);
        }
        state.reader = Some(waker.clone());
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.gone = true;
        state.waiting.clear();
        state.bytes = 0;
        wake(&mut state.writer);
    }
}

/// The guest's end of a pipe.
pub(crate) struct Writer(Pipe);

impl Writer {
    fn room(state: &State) -> StreamResult<usize> {
        if state.gone {
            return Err(StreamError::Closed);
        }
        let most = if state.read { WINDOW } else { state.limit };
        let room = most.saturating_sub(state.bytes);
        if room == 0 && !state.read {
            let message = "the value exceeds the memory that is kept for it: call `write-data` before writing it";
            return Err(StreamError::LastOperationFailed(wasmtime::format_err!("{message}")));
        }
        Ok(room)
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.state();
            if Self::room(&state).is_ok_and(|room| room == 0) {
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn check_write(&mut self) -> StreamResult<usize> {
        Self::room(&self.0.state())
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut state = self.0.state();
        if bytes.len() > Self::room(&state)? {
            return Err(StreamError::trap("write exceeds what `check-write` permits"));
        }
        if !bytes.is_empty() {
            state.bytes += bytes.len();
            state.waiting.push_back(bytes);
            wake(&mut state.reader);
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.0.state().gone { Err(StreamError::Closed) } else { Ok(()) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.state().written = true;
    }
}

#[cfg(test)]
mod tests {
    use super::{OutputStream as _, Pipe, WINDOW};
    use bytes::Bytes;
    use futures_util::{FutureExt as _, StreamExt as _};

    #[test]
    fn a_value_ends_well_only_when_it_is_complete() {
        for (complete, pieces) in [(true, 1), (false, 0)] {
            let pipe = Pipe::new(10);
            let mut body = pipe.body().unwrap();
            assert!(pipe.body().is_none(), "one store reads it");
            pipe.writer().write(Bytes::from_static(b"abc")).unwrap();
            assert!(pipe.is_written());
            pipe.end(complete);
            pipe.end(!complete);
            let mut read = 0;
            while let Some(Ok(_)) = body.next().now_or_never().unwrap() {
                read += 1;
            }
            assert_eq!(read, pieces);
        }
    }

    #[test]
    fn a_pipe_is_bounded() {
        let pipe = Pipe::new(10);
        let mut writer = pipe.writer();
        assert_eq!(writer.check_write().unwrap(), 10);
        writer.write(Bytes::from_static(b"0123456789")).unwrap();
        assert!(writer.check_write().is_err(), "no store reads it");
        let body = pipe.body().unwrap();
        assert_eq!(writer.check_write().unwrap(), WINDOW - 10);
        drop(body);
        assert!(writer.check_write().is_err(), "the store is gone");
    }
}
