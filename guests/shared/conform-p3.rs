//! What the conformance guests of WASI 0.3 have in common: the table of tests, what a test says, and help with time.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::task::Poll;

use wasip3::clocks::monotonic_clock;
use wasip3::wit_stream::{self, StreamPayload};
use wit_bindgen::StreamReader;

pub type Outcome = Result<(), String>;

/// One test; `covers` names the functions that it calls, as the component model names them.
/// What it gets besides is the guest's own choice.
pub struct Test<I = ()> {
    pub name: &'static str,
    pub covers: &'static [&'static str],
    pub run: fn(I) -> Pin<Box<dyn Future<Output = Outcome>>>,
    /// The code with which the test ends the program, when it does.
    pub exit: Option<u8>,
}

const SECOND: u64 = 1_000_000_000;

impl<I> Test<I> {
    /// The test as a line of the list.
    pub fn line(&self) -> String {
        let mut line = format!("{}\t{}", self.name, self.covers.join(" "));
        if let Some(code) = self.exit {
            line.push_str(&format!("\texit={code}"));
        }
        line + "\n"
    }

    /// Runs the test, but not for ever.
    pub async fn outcome(&self, input: I) -> Outcome {
        within(20 * SECOND, (self.run)(input)).await.unwrap_or_else(|| Err("still not done after 20 s".into()))
    }
}

macro_rules! test {
    ($name:literal, $run:expr, $covers:expr) => {
        $crate::conform::Test { name: $name, covers: &$covers, run: |_| Box::pin($run()), exit: None }
    };
    ($name:literal, $run:expr, $covers:expr, exit = $code:literal) => {
        $crate::conform::Test { name: $name, covers: &$covers, run: |_| Box::pin($run()), exit: Some($code) }
    };
}

/// Ends the test when something does not hold.
macro_rules! ensure {
    ($holds:expr) => {
        if !$holds {
            return Err(format!("line {}: not so: {}", line!(), stringify!($holds)));
        }
    };
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err(format!("line {}: {}", line!(), format!($($said)+)));
        }
    };
}

/// Ends the test when two things do not look the same (the types of the bindings cannot be compared).
macro_rules! same {
    ($got:expr, $want:expr) => {{
        let (got, want) = (format!("{:?}", $got), format!("{:?}", $want));
        ensure!(got == want, "{} is {got}, not {want}", stringify!($got));
    }};
}

/// Ends the test when a result is not an error of the given kind.
macro_rules! fails {
    ($got:expr, $error:pat) => {
        match $got {
            Err($error) => {}
            other => {
                let wanted = stringify!($error);
                return Err(format!("line {}: {} gave {other:?}, not {wanted}", line!(), stringify!($got)));
            }
        }
    };
}

/// A result as a test says it: with the line where it was not good.
pub trait Good<T> {
    fn good(self) -> Result<T, String>;
}

impl<T, E: Debug> Good<T> for Result<T, E> {
    #[track_caller]
    fn good(self) -> Result<T, String> {
        let line = Location::caller().line();
        self.map_err(|error| format!("line {line}: {error:?}"))
    }
}

impl<T> Good<T> for Option<T> {
    #[track_caller]
    fn good(self) -> Result<T, String> {
        let line = Location::caller().line();
        self.ok_or_else(|| format!("line {line}: there is none"))
    }
}

/// What comes of a future, or nothing when it takes longer.
pub async fn within<T>(nanoseconds: u64, future: impl Future<Output = T>) -> Option<T> {
    let mut late = pin!(monotonic_clock::wait_for(nanoseconds));
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        late.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Both at the same time.
pub async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut of_a, mut of_b) = (None, None);
    poll_fn(|cx| {
        if of_a.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(cx)
        {
            of_a = Some(value);
        }
        if of_b.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(cx)
        {
            of_b = Some(value);
        }
        if of_a.is_some() && of_b.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (of_a.unwrap(), of_b.unwrap())
}

/// A stream of these values, which a task writes and then ends.
pub fn stream_of<T: StreamPayload>(values: Vec<T>) -> StreamReader<T> {
    let (mut to, contents) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        to.write_all(values).await;
    });
    contents
}
