//! Triggers: Rust types that call components, such as an HTTP server, a timer or a subscription.

use std::sync::Arc;

use async_trait::async_trait;
use workload::manifest::AnyTriggerKind;

use super::running::Running;
use crate::plugin::PluginError;

/// Why a trigger refuses a workload: the same as for a plugin, with a place below the workload.
pub type TriggerError = PluginError;

/// A Rust type that calls components.
///
/// A trigger may have a section of its own in the manifest, `[[triggers.<key>]]`: [`kind`](Self::kind) says which. The
/// components that its entries name are entries of the workload, and are checked to export what the trigger calls.
/// `examples/trigger` is a whole program with a trigger of its own.
///
/// ```
/// use std::sync::Arc;
///
/// use wharf::host::Running;
/// use wharf::{Trigger, TriggerError};
///
/// /// Logs the entries of each workload.
/// struct Announce;
///
/// #[async_trait::async_trait]
/// impl Trigger for Announce {
///     fn name(&self) -> &'static str {
///         "announce"
///     }
///
///     async fn attach(&self, workload: &Arc<Running>) -> Result<(), TriggerError> {
///         let entries: Vec<_> = workload.entries().map(|entry| entry.name().to_string()).collect();
///         println!("{} has {}", workload.workload().id(), entries.join(", "));
///         Ok(())
///     }
///
///     async fn detach(&self, _: &Arc<Running>) {}
/// }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Wharf trigger",
    note = "implement `wharf::Trigger` for it: `name`, `attach` and `detach`; `kind` if it has a section in the manifest"
)]
pub trait Trigger: Send + Sync + 'static {
    /// The trigger's name in messages, such as `http`.
    fn name(&self) -> &str;

    /// The trigger's section of the manifest; `None` if it has none, or one that every manifest may have.
    fn kind(&self) -> Option<AnyTriggerKind> {
        None
    }

    /// Attaches to a workload that has just started. The trigger reads its section from [`Running::workload`], and calls the
    /// components through [`Running::entry`]. Another trigger may still refuse the workload.
    ///
    /// # Errors
    /// When the trigger cannot serve the workload, which then does not start.
    async fn attach(&self, workload: &Arc<Running>) -> Result<(), TriggerError>;

    /// Every trigger has attached, and the workload runs. A trigger that initiates calls starts here, in tasks of its own: it is
    /// given 10 seconds, as [`replace`](Self::replace) and [`detach`](Self::detach) are.
    async fn started(&self, workload: &Arc<Running>) {
        let _ = workload;
    }

    /// Another trigger has refused the version that was to replace this one, which runs on. A trigger that stopped its calls when it
    /// was moved starts them again, as in [`started`](Self::started), which this does by default.
    async fn resumed(&self, workload: &Arc<Running>) {
        self.started(workload).await;
    }

    /// Replaces a workload's version by another, in one step where possible: every call finds one of them.
    ///
    /// # Errors
    /// When the trigger cannot serve the new version; the old one stays attached.
    async fn replace(&self, old: &Arc<Running>, new: &Arc<Running>) -> Result<(), TriggerError> {
        self.detach(old).await;
        let attached = self.attach(new).await;
        if attached.is_err() {
            self.attach(old).await?;
        }
        attached
    }

    /// Detaches from a workload that is stopping, and makes no new calls. Calls in progress go on.
    async fn detach(&self, workload: &Arc<Running>);

    /// The host is shutting down: the trigger makes no new calls, and returns when those in progress have ended.
    async fn shutdown(&self) {}
}
