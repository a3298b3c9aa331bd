//! What a trigger does with a message after its handler ended.
//!
//! Takes the outcome, how often the message was delivered, and a random number; gives what to tell the broker. Pure: it
//! reads no clock, sends nothing, and is the same for every broker.

use std::fmt;
use std::time::Duration;

use crate::backend::Settlement;

/// How the handler of a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It handled the message.
    Done,
    /// It asks for the message again, later.
    Retry,
    /// It says that the message can never be handled.
    Reject,
    /// It trapped.
    Trapped,
    /// It took too long.
    TimedOut,
}

/// Why a message is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The handler rejected it.
    Rejected,
    /// It was delivered as often as it may be, and the last time ended like this.
    Exhausted {
        /// How the last handling ended.
        last: Outcome,
        /// How often it was delivered.
        deliveries: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected => f.write_str("the handler rejected it"),
            Self::Exhausted { last, deliveries } => {
                let last = match last {
                    Outcome::Trapped => "the handler trapped",
                    Outcome::TimedOut => "the handler timed out",
                    Outcome::Done | Outcome::Retry | Outcome::Reject => "the handler asked for a retry",
                };
                write!(f, "limit reached: {deliveries} deliveries; the last time, {last}")
            }
        }
    }
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Settle it so.
    Settle(Settlement),
    /// Move it to where the manifest says that failed messages go, and then settle it as done.
    DeadLetter {
        /// Why.
        reason: Reason,
    },
}

/// How often a message is tried, and how long it waits in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedeliveryPolicy {
    /// The most deliveries of a message, the first one included. 0 counts as 1.
    pub redeliver: u32,
    /// The longest wait after the first delivery. It doubles with each further one.
    pub first: Duration,
    /// The longest wait of all.
    pub most: Duration,
}

impl Default for RedeliveryPolicy {
    fn default() -> Self {
        Self { redeliver: 5, first: Duration::from_secs(1), most: Duration::from_mins(1) }
    }
}

impl RedeliveryPolicy {
    /// Decides. `attempt` is the delivery's own count, from 1; `random` is any number, evenly distributed.
    pub fn decide(&self, outcome: Outcome, attempt: u32, random: u32) -> Decision {
        match outcome {
            Outcome::Done => Decision::Settle(Settlement::Done),
            Outcome::Reject => Decision::DeadLetter { reason: Reason::Rejected },
            last if attempt >= self.redeliver.max(1) => {
                Decision::DeadLetter { reason: Reason::Exhausted { last, deliveries: attempt } }
            }
            _ => Decision::Settle(Settlement::Retry(self.backoff(attempt, random))),
        }
    }

    /// The wait after a delivery: between half and all of its longest, so that messages that failed together do not
    /// return together.
    pub fn backoff(&self, attempt: u32, random: u32) -> Duration {
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let longest = self.first.saturating_mul(doubled).min(self.most);
        let half = longest / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RedeliveryPolicy =
        RedeliveryPolicy { redeliver: 5, first: Duration::from_secs(1), most: Duration::from_mins(1) };

    #[test]
    fn settles_or_gives_up() {
        assert_eq!(POLICY, RedeliveryPolicy::default());
        for attempt in [0, 1, 5, 99, u32::MAX] {
            assert_eq!(POLICY.decide(Outcome::Done, attempt, 0), Decision::Settle(Settlement::Done));
            let rejected = Decision::DeadLetter { reason: Reason::Rejected };
            assert_eq!(POLICY.decide(Outcome::Reject, attempt, 0), rejected);
        }
        for last in [Outcome::Retry, Outcome::Trapped, Outcome::TimedOut] {
            for attempt in 0..5 {
                let again = Decision::Settle(Settlement::Retry(POLICY.backoff(attempt, 7)));
                assert_eq!(POLICY.decide(last, attempt, 7), again);
            }
            for deliveries in [5, 6, u32::MAX] {
                let given_up = Decision::DeadLetter { reason: Reason::Exhausted { last, deliveries } };
                assert_eq!(POLICY.decide(last, deliveries, 7), given_up);
            }
        }
        let once = RedeliveryPolicy { redeliver: 0, ..POLICY };
        assert!(matches!(once.decide(Outcome::Trapped, 1, 0), Decision::DeadLetter { .. }));
    }

    #[test]
    fn backs_off_exponentially_with_jitter() {
        for (attempt, longest) in [(0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)] {
            let longest = Duration::from_secs(longest);
            assert_eq!(POLICY.backoff(attempt, 0), longest / 2);
            assert_eq!(POLICY.backoff(attempt, u32::MAX), longest);
            let middle = POLICY.backoff(attempt, u32::MAX / 2);
            assert!(middle > longest / 2 && middle < longest, "{middle:?}");
        }
        let huge = RedeliveryPolicy { first: Duration::MAX, most: Duration::MAX, ..POLICY };
        assert!(huge.backoff(9, u32::MAX / 3) < Duration::MAX);
    }

    #[test]
    fn a_reason_reads_as_a_sentence() {
        let reason = Reason::Exhausted { last: Outcome::Trapped, deliveries: 5 };
        assert_eq!(reason.to_string(), "limit reached: 5 deliveries; the last time, the handler trapped");
    }
}
