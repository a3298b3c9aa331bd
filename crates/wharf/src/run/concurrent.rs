//! Calls of exports that may run beside others in one instance, whatever the unit's policy is.
//!
//! Takes an entry and a [`ConcurrentCall`]; makes it in an instance of its own, in one that serves several calls, or in that of a
//! service. Triggers that call asynchronous exports through generated bindings use it.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime::component::{Accessor, AccessorTask};

use super::admission::CallPermit;
use super::entry::Entry;
use super::invoke::{Call, InvokeError};
use super::policy::Policy;
use super::pool::{Bindings, Instantiated};
use super::shared::{Job, JobOutcome};
use super::termination::Termination;
use crate::store::StoreData;

/// What a caller does with an instance that may serve other calls at the same time.
///
/// ```
/// use wharf::run::concurrent::ConcurrentCall;
/// use wharf::run::pool::Bindings;
/// use wharf::StoreData;
/// use wharf::wasmtime::component::Accessor;
///
/// /// Calls the export `wait: async func(seconds: u32) -> u32`.
/// struct Wait(u32);
///
/// impl ConcurrentCall for Wait {
///     type Output = u32;
///
///     async fn call(self, accessor: &Accessor<StoreData>, exports: Bindings) -> wharf::wasmtime::Result<u32> {
///         let wait = accessor.with(|mut access| {
///             exports.instance().get_typed_func::<(u32,), (u32,)>(&mut access, "wait")
///         })?;
///         Ok(wait.call_concurrent(accessor, (self.0,)).await?.0)
///     }
/// }
/// ```
pub trait ConcurrentCall: Send + 'static {
    /// The result of the call.
    type Output: Send + 'static;

    /// Calls into the instance. Bindings that it loads are kept with the instance.
    fn call(
        self,
        accessor: &Accessor<StoreData>,
        exports: Bindings,
    ) -> impl Future<Output = wasmtime::Result<Self::Output>> + Send;
}

impl Entry {
    /// Makes a call by the unit's policy, within the unit's limits. Dropped, a call in an instance of its own ends; in the instance of
    /// a service it goes on.
    ///
    /// # Errors
    /// [`InvokeError`] when the call was not admitted, or ended early.
    pub async fn invoke_concurrent<C: ConcurrentCall>(self: &Arc<Self>, call: C) -> Result<C::Output, InvokeError> {
        let shares = match self.policy() {
            Policy::Service => true,
            policy => policy.max_concurrent().is_some_and(|most| most > 1),
        };
        if !shares {
            return self.invoke(Alone(call)).await;
        }
        let permit = Arc::new(self.admit().await?);
        let (output_tx, output_rx) = oneshot::channel();
        let (is_service, held) = (self.policy() == Policy::Service, permit.clone());
        let job: Job = Box::new(move |accessor, exports| {
            let exports = exports.clone();
            Box::pin(async move {
                if is_service {
                    // The engine ends an instance whose call is dropped before it starts, and with it the service.
                    let (done_tx, done_rx) = oneshot::channel();
                    accessor.spawn(Detached { call, exports, output_tx, _done_tx: done_tx, _permit: held })?;
                    done_rx.await.ok();
                } else {
                    output_tx.send(call.call(accessor, exports).await?).ok();
                }
                Ok(JobOutcome::Completed)
            })
        });
        let (execution, shared) = self.submit(job, permit).await?;
        // An instance that this call made goes on in a task of its own.
        drop(execution);
        match output_rx.await {
            Ok(output) => Ok(output),
            // The reason is in the log.
            Err(_) => Err(shared.interruption().unwrap_or(Termination::InstanceEnded).into()),
        }
    }
}

/// A call in an instance of its own.
struct Alone<C>(C);

impl<C: ConcurrentCall> Call for Alone<C> {
    type Output = C::Output;

    async fn call(self, instance: &mut Instantiated) -> wasmtime::Result<C::Output> {
        let exports = Bindings::clone(&*instance.all_bindings()?);
        let run = instance.store.run_concurrent(async move |accessor| {
            let output = self.0.call(accessor, exports).await?;
            // What the component started goes on after its result.
            poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            Ok(output)
        });
        run.await.flatten()
    }
}

/// A call in the instance of a service, which goes on when its caller is gone.
struct Detached<C: ConcurrentCall> {
    call: C,
    exports: Bindings,
    output_tx: oneshot::Sender<C::Output>,
    /// Dropped at the end of the call.
    _done_tx: oneshot::Sender<()>,
    _permit: Arc<CallPermit>,
}

impl<C: ConcurrentCall> AccessorTask<StoreData> for Detached<C> {
    async fn run(self, accessor: &Accessor<StoreData>) -> wasmtime::Result<()> {
        let output = self.call.call(accessor, self.exports).await?;
        self.output_tx.send(output).ok();
        Ok(())
    }
}
