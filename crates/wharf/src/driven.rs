//! What drives a call: slice by slice, aside from the others while it computes for long.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::aside::{Aside, Ticket};
use crate::meter::{Ended, Meter, is_aside};

type Work<T> = Pin<Box<dyn Future<Output = wasmtime::Result<T>> + Send>>;

/// A call that is driven: within its limits, and aside from the others while it computes for long. Dropped, it ends.
pub struct Driven<T>(State<T>);

enum State<T> {
    Here(Here<T>),
    /// In a task of its own.
    Task(JoinHandle<Result<T, Ended>>),
    Aside(JoinHandle<FromAside<T>>),
    Done,
}

struct Here<T> {
    work: Work<T>,
    meter: Arc<Meter>,
    aside: Arc<Aside>,
    ticket: Option<Arc<Ticket>>,
    /// Where it came from: what it opens aside is driven there, by threads of the usual priority.
    home: Option<Handle>,
    /// Made when the call first waits: most never do.
    over: Option<Pin<Box<dyn Future<Output = Ended> + Send>>>,
}

/// How a call comes back from aside.
enum FromAside<T> {
    Ended(Result<T, Ended>),
    /// It waited, and may go on among the others.
    Back(Here<T>),
}

/// A call that is aside. It gives itself back.
struct GoesAside<T>(Option<Here<T>>);

impl<T: Send + 'static> Driven<T> {
    pub(crate) fn new(
        aside: Arc<Aside>,
        meter: Arc<Meter>,
        work: impl Future<Output = wasmtime::Result<T>> + Send + 'static,
    ) -> Self {
        Self(State::Here(Here { work: Box::pin(work), meter, aside, ticket: None, home: None, over: None }))
    }

    /// Lets it go on, as polling it does, for a caller that polls it again at once if it is not done: no timer is set for
    /// the limits, which most calls are done before they need.
    pub fn poll_now(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Ended>> {
        self.poll_as(cx, false)
    }

    fn poll_as(&mut self, cx: &mut Context<'_>, waits: bool) -> Poll<Result<T, Ended>> {
        loop {
            match &mut self.0 {
                State::Here(here) => {
                    here.meter.woken();
                    let polled = here.poll_as(cx, waits);
                    // The threads aside begin when they are first needed.
                    if polled.is_ready() || !here.meter.is_exhausted() || here.aside.runtime().is_none() {
                        return polled;
                    }
                    self.spawn();
                }
                State::Task(task) => return Pin::new(task).poll(cx).map(joined).map(Result::flatten),
                State::Aside(task) => match ready!(Pin::new(task).poll(cx).map(joined)) {
                    Ok(FromAside::Back(here)) => self.0 = State::Here(here),
                    Ok(FromAside::Ended(ended)) => return Poll::Ready(ended),
                    Err(ended) => return Poll::Ready(Err(ended)),
                },
                State::Done => return Poll::Pending,
            }
        }
    }

    /// Goes on in a task of its own, whether or not the result is asked for. Dropping it still ends it.
    pub fn spawn(&mut self) {
        self.0 = match std::mem::replace(&mut self.0, State::Done) {
            State::Here(here) => here.spawn(),
            State::Aside(task) => State::Task(tokio::spawn(Driven(State::Aside(task)))),
            other => other,
        };
    }
}

/// What a task gave, or that it was ended with its runtime.
fn joined<T>(joined: Result<T, tokio::task::JoinError>) -> Result<T, Ended> {
    joined.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Ended::Stopped,
    })
}

impl<T: Send + 'static> Here<T> {
    fn spawn(mut self) -> State<T> {
        let aside = self.aside.clone();
        match aside.runtime() {
            Some(runtime) if self.meter.is_exhausted() => {
                self.home = Handle::try_current().ok();
                State::Aside(runtime.spawn(GoesAside(Some(self))))
            }
            // Not itself: it may yet have to go aside, which its wrapper sees to.
            _ => State::Task(tokio::spawn(Driven(State::Here(self)))),
        }
    }
}

impl<T> Future for GoesAside<T> {
    type Output = FromAside<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut here) = self.0.take() else { return Poll::Pending };
        here.meter.woken();
        if here.meter.may_come_back() {
            here.ticket = None;
            return Poll::Ready(FromAside::Back(here));
        }
        let home = here.home.clone();
        let _home = home.as_ref().map(Handle::enter);
        let polled = here.poll_as(cx, true);
        if polled.is_pending() {
            self.0 = Some(here);
        }
        polled.map(FromAside::Ended)
    }
}

impl<T> Here<T> {
    /// Whether it may run now; aside, it waits for its turn.
    fn has_turn(&mut self, cx: &mut Context<'_>) -> bool {
        if !is_aside() {
            return true;
        }
        let Self { ticket, aside, meter, .. } = self;
        let new = || Ticket::new(aside.clone(), meter.workload().clone());
        ticket.get_or_insert_with(new).poll(cx).is_ready()
    }

    fn poll_as(&mut self, cx: &mut Context<'_>, waits: bool) -> Poll<Result<T, Ended>> {
        let polled = if self.has_turn(cx) { self.slice(cx) } else { Poll::Pending };
        if let Poll::Ready(done) = polled {
            return Poll::Ready(done.map_err(|error| self.meter.why(error)));
        }
        if let Some(memory @ Ended::Memory(_)) = self.meter.ended() {
            return Poll::Ready(Err(memory));
        }
        if !waits && self.over.is_none() {
            return Poll::Pending;
        }
        let Self { over, meter, .. } = self;
        let over = over.get_or_insert_with(|| Box::pin(meter.clone().over()));
        over.as_mut().poll(cx).map(Err)
    }

    fn slice(&mut self, cx: &mut Context<'_>) -> Poll<wasmtime::Result<T>> {
        let polled = {
            let _running = self.aside.ticker().run();
            self.meter.begin();
            let polled = self.work.as_mut().poll(cx);
            self.meter.end();
            polled
        };
        if let Some(ticket) = &self.ticket {
            ticket.done();
        }
        polled
    }
}

impl<T: Send + 'static> Future for Driven<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_as(cx, true)
    }
}

impl<T> Drop for Driven<T> {
    fn drop(&mut self) {
        match &self.0 {
            State::Task(task) => task.abort(),
            State::Aside(task) => task.abort(),
            State::Here(_) | State::Done => {}
        }
    }
}
