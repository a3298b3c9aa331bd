//! How instances are made and kept, as decisions alone: the [pool](crate::pool) carries them out.

use std::time::Duration;

use workload::manifest::{Instances, InstancesMode, Millis};

/// The most instances that are kept ready for one unit, whatever its manifest says.
const MAX_WARM: u32 = 1024;
/// What `reuse` is without more words.
const CALLS: u32 = 1000;
const CONCURRENT: u32 = 16;
const IDLE: Duration = Duration::from_secs(1);

/// How instances of a unit are made and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A new instance for each call.
    Fresh,
    /// A new instance for each call, made ahead of need.
    Warm {
        /// How many are kept ready.
        size: u32,
    },
    /// Instances that serve many calls.
    Reuse {
        /// How many calls an instance serves.
        calls: u32,
        /// How many at once.
        concurrent: u32,
        /// How long it is kept with nothing to do.
        idle: Duration,
    },
}

impl Policy {
    /// The policy that a manifest asks for.
    pub fn of(declared: &Instances) -> Self {
        match declared.mode {
            InstancesMode::Fresh => Self::Fresh,
            InstancesMode::Warm => Self::Warm { size: declared.size.unwrap_or(1).clamp(1, MAX_WARM) },
            InstancesMode::Reuse => Self::Reuse {
                calls: declared.calls.unwrap_or(CALLS).max(1),
                concurrent: declared.concurrent.unwrap_or(CONCURRENT).max(1),
                idle: declared.idle.map_or(IDLE, Millis::duration),
            },
        }
    }

    /// How many instances are to be made ahead of need when so many are ready.
    pub fn missing(self, ready: usize) -> usize {
        match self {
            Self::Warm { size } => (size as usize).saturating_sub(ready),
            _ => 0,
        }
    }

    /// Whether an instance that served so many calls, the last of them well, is kept for another.
    pub fn keeps(self, served: u32) -> bool {
        matches!(self, Self::Reuse { calls, .. } if served < calls)
    }

    /// Whether an instance takes one more call, when it took so many and so many are under way.
    pub fn takes(self, served: u32, under_way: u32) -> bool {
        matches!(self, Self::Reuse { calls, concurrent, .. } if served < calls && under_way < concurrent)
    }

    /// How long an instance may have had nothing to do; `None` when none is kept so.
    pub fn idle(self) -> Option<Duration> {
        match self {
            Self::Reuse { idle, .. } => Some(idle),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;
    use std::time::Duration;

    #[test]
    fn warm_fills_up_and_keeps_nothing() {
        let warm = Policy::Warm { size: 8 };
        assert_eq!([warm.missing(0), warm.missing(7), warm.missing(9)], [8, 1, 0]);
        assert!(!warm.keeps(0) && !warm.takes(0, 0));
        assert_eq!(warm.idle(), None);
    }

    #[test]
    fn reuse_ends_after_its_calls() {
        let reuse = Policy::Reuse { calls: 3, concurrent: 2, idle: Duration::from_secs(1) };
        assert!(reuse.keeps(2) && !reuse.keeps(3));
        assert!(reuse.takes(1, 1) && !reuse.takes(1, 2) && !reuse.takes(3, 0));
        assert_eq!(reuse.missing(0), 0);
    }
}
