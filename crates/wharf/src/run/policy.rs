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
/// let policy = Policy::Reuse { calls: 1000, concurrent: 16, idle: Some(Duration::from_secs(1)), most: None };
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
        /// The time after which an idle instance is dropped; `None` keeps it as long as the workload runs.
        idle: Option<Duration>,
        /// The maximum number of instances; further calls wait. Unlimited if `None`.
        most: Option<u32>,
    },
    /// One instance, in which a service of WASI 0.3 runs, and which serves all calls concurrently.
    Service,
}

impl Policy {
    /// The policy's name, as in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Warm { .. } => "warm",
            Self::Reuse { .. } => "reuse",
            Self::Service => "service",
        }
    }

    /// Returns the policy that a manifest declares. Values out of range are clamped.
    pub fn from_manifest(declared: &Instances) -> Self {
        match declared.mode {
            InstancesMode::Fresh => Self::Fresh,
            InstancesMode::Warm => Self::Warm { size: declared.size.unwrap_or(1).clamp(1, MAX_WARM) },
            InstancesMode::Reuse => {
                // Instances whose number is declared are kept.
                let (calls, idle) = if declared.most.is_some() { (u32::MAX, None) } else { (CALLS, Some(IDLE)) };
                Self::Reuse {
                    calls: declared.calls.unwrap_or(calls).max(1),
                    concurrent: declared.concurrent.unwrap_or(CONCURRENT).max(1),
                    idle: declared.idle.map(Millis::duration).or(idle),
                    most: declared.most.map(|most| most.max(1)),
                }
            }
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
        match self {
            Self::Reuse { calls, concurrent, .. } => served < calls && in_progress < concurrent,
            Self::Service => true,
            _ => false,
        }
    }

    /// Returns the maximum number of instances, if there is one.
    pub fn most(self) -> Option<u32> {
        match self {
            Self::Reuse { most, .. } => most,
            _ => None,
        }
    }

    /// Returns the number of calls that may be in progress, if the number of instances bounds it.
    pub fn max_concurrent(self) -> Option<u32> {
        match self {
            Self::Reuse { concurrent, most, .. } => most.map(|most| most.saturating_mul(concurrent)),
            _ => None,
        }
    }

    /// Returns the time after which an idle instance is dropped, if any.
    pub fn idle_timeout(self) -> Option<Duration> {
        match self {
            Self::Reuse { idle, .. } => idle,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Instances, InstancesMode, Millis, Policy};
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
        let reuse = Policy::Reuse { calls: 3, concurrent: 2, idle: Some(Duration::from_secs(1)), most: Some(4) };
        assert!(reuse.keeps_after(2) && !reuse.keeps_after(3));
        assert!(reuse.accepts(1, 1) && !reuse.accepts(1, 2) && !reuse.accepts(3, 0));
        assert_eq!(reuse.to_create(0), 0);
        assert_eq!((reuse.most(), reuse.max_concurrent()), (Some(4), Some(8)));
    }

    #[test]
    fn instances_whose_number_is_declared_are_kept() {
        let declared = Instances { mode: InstancesMode::Reuse, most: Some(1), ..Instances::default() };
        let policy = Policy::from_manifest(&declared);
        assert!(policy.keeps_after(1_000_000) && policy.idle_timeout().is_none());
        let short = Instances { calls: Some(2), idle: Some(Millis(5)), ..declared };
        let policy = Policy::from_manifest(&short);
        assert!(!policy.keeps_after(2) && policy.idle_timeout() == Some(Duration::from_millis(5)));
    }
}
