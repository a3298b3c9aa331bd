//! The instance policy of a unit: when instances are created and how long they are kept. Decides without side effects; the
//! [pool](super::pool) acts on the decisions.

use std::time::Duration;

use workload::manifest::{Instances, InstancesMode, Millis};

/// The most instances of a unit that are kept warm, whatever its manifest declares.
const MAX_WARM: u32 = 1024;
/// The defaults of `reuse`.
const CALLS: u32 = 1000;
const CONCURRENT: u32 = 16;
const IDLE: Duration = Duration::from_secs(1);

/// When instances of a unit are created, and how long they are kept.
///
/// ```
/// use std::time::Duration;
///
/// use wharf::run::policy::Policy;
///
/// let policy = Policy::Reuse { calls: 1000, concurrent: 16, idle: Duration::from_secs(1) };
/// assert!(policy.accepts(10, 15) && !policy.accepts(10, 16));
/// assert!(policy.keeps_after(999) && !policy.keeps_after(1000));
/// assert_eq!(Policy::Warm { size: 8 }.to_create(5), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// A new instance for each call.
    Fresh,
    /// A new instance for each call, created ahead of the call.
    Warm {
        /// The number of instances that are kept ready.
        size: u32,
    },
    /// Instances that serve several calls.
    Reuse {
        /// The number of calls that an instance serves before it is retired.
        calls: u32,
        /// The number of calls that an instance serves concurrently. Only components of WASI 0.3 serve more than one.
        concurrent: u32,
        /// The time after which an idle instance is dropped.
        idle: Duration,
    },
}

impl Policy {
    /// Returns the policy that a manifest declares. Values out of range are clamped.
    pub fn from_manifest(declared: &Instances) -> Self {
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

    /// Returns the number of instances to create when `ready` of them are ready.
    pub fn to_create(self, ready: usize) -> usize {
        match self {
            Self::Warm { size } => (size as usize).saturating_sub(ready),
            _ => 0,
        }
    }

    /// Returns whether an instance is kept after it has served this many calls. An instance whose call failed is never kept;
    /// that is for the caller to check.
    pub fn keeps_after(self, served: u32) -> bool {
        matches!(self, Self::Reuse { calls, .. } if served < calls)
    }

    /// Returns whether an instance takes another call, after it has taken `served` calls of which `in_progress` have not
    /// finished.
    pub fn accepts(self, served: u32, in_progress: u32) -> bool {
        matches!(self, Self::Reuse { calls, concurrent, .. } if served < calls && in_progress < concurrent)
    }

    /// Returns the time after which an idle instance is dropped, or `None` when instances are not reused.
    pub fn idle_timeout(self) -> Option<Duration> {
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
    fn warm_creates_missing_instances_and_keeps_none() {
        let warm = Policy::Warm { size: 8 };
        assert_eq!([warm.to_create(0), warm.to_create(7), warm.to_create(9)], [8, 1, 0]);
        assert!(!warm.keeps_after(0) && !warm.accepts(0, 0));
        assert_eq!(warm.idle_timeout(), None);
    }

    #[test]
    fn reuse_retires_an_instance_after_its_calls() {
        let reuse = Policy::Reuse { calls: 3, concurrent: 2, idle: Duration::from_secs(1) };
        assert!(reuse.keeps_after(2) && !reuse.keeps_after(3));
        assert!(reuse.accepts(1, 1) && !reuse.accepts(1, 2) && !reuse.accepts(3, 0));
        assert_eq!(reuse.to_create(0), 0);
    }
}
