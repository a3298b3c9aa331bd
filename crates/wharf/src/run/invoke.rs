//! Invoke: the single path of every call, from admission to the return of its instance.
//!
//! Takes an entry and a [`Call`]; admits it, meters it, and drives it: an instance, the call, a core dump if it trapped, the
//! instance's return. HTTP requests, commands, services, calls by value and an embedder's own bindings all take this path.

use std::sync::Arc;

use super::admission::AdmissionError;
use super::core_dump;
use super::drive::Execution;
use super::entry::Entry;
use super::meter::Meter;
use super::pool::Instantiated;
use super::termination::Termination;

/// What a caller does with an instance.
///
/// ```
/// use wharf::{Call, Instantiated};
///
/// /// Calls the export `add: func(a: u32, b: u32) -> u32`.
/// struct Add(u32, u32);
///
/// impl Call for Add {
///     type Output = u32;
///
///     async fn call(self, instance: &mut Instantiated) -> wharf::wasmtime::Result<u32> {
///         let component = instance.component()?;
///         let add = component.get_typed_func::<(u32, u32), (u32,)>(&mut instance.store, "add")?;
///         Ok(add.call_async(&mut instance.store, (self.0, self.1)).await?.0)
///     }
/// }
/// ```
pub trait Call: Send + 'static {
    /// The result of the call.
    type Output: Send + 'static;

    /// Whether the call needs an instance that no other call used, whatever the unit's policy is.
    const FRESH: bool = false;

    /// Calls into the instance.
    fn call(self, instance: &mut Instantiated) -> impl Future<Output = wasmtime::Result<Self::Output>> + Send;

    /// Whether the instance can serve another call after this one.
    fn is_reusable(output: &Self::Output) -> bool {
        let _ = output;
        true
    }
}

/// Why a call failed before or while it ran.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// The call was not admitted.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The call ended early.
    #[error(transparent)]
    Terminated(#[from] Termination),
}

impl InvokeError {
    /// Whether the call did not begin because the component takes no more calls now, so that a later one may succeed.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Admission(error) => matches!(error, AdmissionError::TooMany | AdmissionError::ServiceStarting),
            Self::Terminated(error) => matches!(error, Termination::NoInstance),
        }
    }
}

impl Entry {
    /// Makes a call in an instance by the unit's policy, within the unit's limits. Dropped, the call ends.
    ///
    /// # Errors
    /// [`InvokeError`] when the call was not admitted, or ended early.
    pub async fn invoke<C: Call>(self: &Arc<Self>, call: C) -> Result<C::Output, InvokeError> {
        let _permit = self.admit().await?;
        Ok(self.start(&self.meter(), call).await?)
    }

    /// Starts a call that was admitted. An entry with the policy [`Service`](super::policy::Policy::Service) takes none this way:
    /// [`submit`](Self::submit) calls to it. The execution makes progress when it is polled; dropped, the call ends.
    pub fn start<C: Call>(self: &Arc<Self>, meter: &Arc<Meter>, call: C) -> Execution<C::Output> {
        self.start_with(meter, call, ())
    }

    /// Starts a call, and drops `guard` after its instance was returned or dropped.
    pub(super) fn start_with<C: Call, G: Send + 'static>(
        self: &Arc<Self>,
        meter: &Arc<Meter>,
        call: C,
        guard: G,
    ) -> Execution<C::Output> {
        let (entry, metered) = (self.clone(), meter.clone());
        self.execute(meter, async move {
            let _guard = guard;
            let instance = if C::FRESH { entry.fresh(&metered).await } else { entry.instance(&metered).await };
            let mut instance = instance.map_err(instantiation_error)?;
            match call.call(&mut instance).await {
                Ok(output) => {
                    if C::is_reusable(&output) {
                        entry.give_back(instance);
                    }
                    Ok(output)
                }
                Err(error) => {
                    if let Some(dumps) = &entry.core_dumps {
                        core_dump::write(dumps, &mut instance.store, &error);
                    }
                    Err(error)
                }
            }
        })
    }

    /// Drives work on this unit's instances within the limits of a meter.
    pub(super) fn execute<T: Send + 'static>(
        &self,
        meter: &Arc<Meter>,
        work: impl Future<Output = wasmtime::Result<T>> + Send + 'static,
    ) -> Execution<T> {
        let tracker = self.tracker();
        let span = tracing::debug_span!("call", workload = &*tracker.workload, component = %tracker.entry);
        Execution::new(self.background.clone(), meter.clone(), span, work)
    }
}

/// Marks an error that kept an instance from being made, unless the error already identifies the cause: a trap in the start
/// function, or an empty pool.
fn instantiation_error(error: wasmtime::Error) -> wasmtime::Error {
    use super::tracker::InstanceQuotaExceeded;
    let is_clear = error.is::<wasmtime::Trap>()
        || error.is::<wasmtime::PoolConcurrencyLimitError>()
        || error.is::<InstanceQuotaExceeded>();
    if is_clear { error } else { error.context(InstantiationFailed) }
}

/// The component could not be instantiated.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("cannot instantiate the component")]
pub(crate) struct InstantiationFailed;
