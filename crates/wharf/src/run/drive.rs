//! Drives a call slice by slice: on its caller's task, in a task of its own, or on the background threads while it computes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::meter::Meter;
use super::termination::Termination;
use crate::engine::background::{BackgroundPool, Turn, is_background_thread};

type Work<T> = Pin<Box<dyn Future<Output = wasmtime::Result<T>> + Send>>;

/// A call in progress, held to its limits. Dropped, it ends.
pub struct Execution<T>(State<T>);

enum State<T> {
    /// On the task that polls it.
    Inline(Inline<T>),
    /// In a task of its own.
    Task(JoinHandle<Result<T, Termination>>),
    Background(JoinHandle<Outcome<T>>),
    Done,
}

struct Inline<T> {
    work: Work<T>,
    meter: Arc<Meter>,
    background: Arc<BackgroundPool>,
    turn: Option<Arc<Turn>>,
    /// The runtime that the call started on: I/O that it opens in the background is driven there.
    origin: Option<Handle>,
    /// Made when the call first waits, which most calls never do.
    expired: Option<Pin<Box<dyn Future<Output = Termination> + Send>>>,
    span: tracing::Span,
}

/// How a call leaves the background.
enum Outcome<T> {
    Finished(Result<T, Termination>),
    /// It waited long enough to go on among the others.
    Returned(Inline<T>),
}

/// A call on the background threads, until it leaves them.
struct InBackground<T>(Option<Inline<T>>);

impl<T: Send + 'static> Execution<T> {
    pub(super) fn new(
        background: Arc<BackgroundPool>,
        meter: Arc<Meter>,
        span: tracing::Span,
        work: impl Future<Output = wasmtime::Result<T>> + Send + 'static,
    ) -> Self {
        let work = Box::pin(work);
        Self(State::Inline(Inline { work, meter, background, turn: None, origin: None, expired: None, span }))
    }

    /// Polls without a timer for the limits, which most calls finish without. The caller polls again at once, or spawns it.
    pub fn poll_untimed(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Termination>> {
        self.poll_with(cx, false)
    }

    fn poll_with(&mut self, cx: &mut Context<'_>, timed: bool) -> Poll<Result<T, Termination>> {
        loop {
            match &mut self.0 {
                State::Inline(inline) => {
                    inline.meter.woken();
                    let polled = inline.poll_with(cx, timed);
                    // The background threads start when the first call needs them.
                    if polled.is_ready() || !inline.meter.is_exhausted() || inline.background.runtime().is_none() {
                        return polled;
                    }
                    self.spawn();
                }
                State::Task(task) => return Pin::new(task).poll(cx).map(joined).map(Result::flatten),
                State::Background(task) => match ready!(Pin::new(task).poll(cx).map(joined)) {
                    Ok(Outcome::Returned(inline)) => self.0 = State::Inline(inline),
                    Ok(Outcome::Finished(result)) => return Poll::Ready(result),
                    Err(termination) => return Poll::Ready(Err(termination)),
                },
                State::Done => return Poll::Pending,
            }
        }
    }

    /// Moves the call to a task of its own, where it goes on without being polled. Dropping it still ends it.
    pub fn spawn(&mut self) {
        self.0 = match std::mem::replace(&mut self.0, State::Done) {
            State::Inline(inline) => inline.spawn(),
            State::Background(task) => State::Task(tokio::spawn(Execution(State::Background(task)))),
            other => other,
        };
    }
}

/// The result of a task, or that it ended with its runtime.
fn joined<T>(joined: Result<T, tokio::task::JoinError>) -> Result<T, Termination> {
    joined.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Termination::Stopped,
    })
}

impl<T: Send + 'static> Inline<T> {
    fn spawn(mut self) -> State<T> {
        let background = self.background.clone();
        match background.runtime() {
            Some(runtime) if self.meter.is_exhausted() => {
                self.origin = Handle::try_current().ok();
                State::Background(runtime.spawn(InBackground(Some(self))))
            }
            // Wrapped, because the call may still have to move to the background.
            _ => State::Task(tokio::spawn(Execution(State::Inline(self)))),
        }
    }
}

impl<T> Future for InBackground<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut inline) = self.0.take() else { return Poll::Pending };
        inline.meter.woken();
        if inline.meter.may_return() {
            inline.turn = None;
            return Poll::Ready(Outcome::Returned(inline));
        }
        let origin = inline.origin.clone();
        let _origin = origin.as_ref().map(Handle::enter);
        let polled = inline.poll_with(cx, true);
        if polled.is_pending() {
            self.0 = Some(inline);
        }
        polled.map(Outcome::Finished)
    }
}

impl<T> Inline<T> {
    /// Whether the call may run now; in the background it waits for its turn.
    fn has_turn(&mut self, cx: &mut Context<'_>) -> bool {
        if !is_background_thread() {
            return true;
        }
        let Self { turn, background, meter, .. } = self;
        let new = || Turn::new(background.clone(), meter.workload().clone());
        turn.get_or_insert_with(new).poll(cx).is_ready()
    }

    fn poll_with(&mut self, cx: &mut Context<'_>, timed: bool) -> Poll<Result<T, Termination>> {
        let polled = if self.has_turn(cx) { self.slice(cx) } else { Poll::Pending };
        if let Poll::Ready(result) = polled {
            return Poll::Ready(result.map_err(|error| self.meter.termination(error)));
        }
        if let Some(memory @ Termination::Memory(_)) = self.meter.interruption() {
            return Poll::Ready(Err(memory));
        }
        if !timed && self.expired.is_none() {
            return Poll::Pending;
        }
        let Self { expired, meter, .. } = self;
        let expired = expired.get_or_insert_with(|| Box::pin(meter.clone().expired()));
        expired.as_mut().poll(cx).map(Err)
    }

    fn slice(&mut self, cx: &mut Context<'_>) -> Poll<wasmtime::Result<T>> {
        let polled = {
            let _running = self.background.ticker().run();
            let _entered = (!self.span.is_disabled()).then(|| self.span.enter());
            self.meter.begin_poll();
            let polled = self.work.as_mut().poll(cx);
            self.meter.end_poll();
            polled
        };
        if let Some(turn) = &self.turn {
            turn.release();
        }
        polled
    }
}

impl<T: Send + 'static> Future for Execution<T> {
    type Output = Result<T, Termination>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_with(cx, true)
    }
}

impl<T> Drop for Execution<T> {
    fn drop(&mut self) {
        match &self.0 {
            State::Task(task) => task.abort(),
            State::Background(task) => task.abort(),
            State::Inline(_) | State::Done => {}
        }
    }
}
