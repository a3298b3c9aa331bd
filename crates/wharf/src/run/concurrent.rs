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

    /// Whether the call may run beside others. One of an export that WIT does not declare as `async` blocks the instance, and takes one of
    /// its own except in a service.
    const SHARES: bool = true;

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
            policy => C::SHARES && policy.max_concurrent().is_some_and(|most| most > 1),
        };
        if !shares {
            return self.invoke_alone(call).await;
        }
        let permit = Arc::new(self.admit().await?);
        let (output_tx, output_rx) = oneshot::channel();
        let (is_service, held) = (self.policy() == Policy::Service, permit.clone());
        let job: Job = Box::new(move |accessor, exports| {
            let exports = exports.clone();
            Box::pin(async move {
                if is_service {
                    // The engine ends an instance whose call is dropped before it starts, and with it the service. A call that is
                    // late ends with this job, whose caller learns it, and goes on by itself.
                    let (done_tx, done_rx) = oneshot::channel();
                    accessor.spawn(Detached { call, exports, done_tx, _permit: held })?;
                    if let Ok(output) = done_rx.await {
                        output_tx.send(output).ok();
                    }
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

impl Entry {
    /// Makes a call in an instance of its own. What the component started goes on after the result, within `after-response`.
    async fn invoke_alone<C: ConcurrentCall>(self: &Arc<Self>, call: C) -> Result<C::Output, InvokeError> {
        let permit = self.admit().await?;
        let meter = self.meter();
        let (output_tx, mut output_rx) = oneshot::channel();
        let mut execution = Box::pin(self.start(&meter, Alone { call, output_tx }));
        let ended = tokio::select! {
            biased;
            Ok(output) = &mut output_rx => {
                meter.answered();
                let entry = self.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Err(error) = execution.await {
                        entry.tracker().log_failure(&error.to_string());
                    }
                });
                return Ok(output);
            }
            ended = &mut execution => ended,
        };
        match (output_rx.try_recv(), ended) {
            (Ok(output), ended) => {
                if let Err(error) = ended {
                    self.tracker().log_failure(&error.to_string());
                }
                Ok(output)
            }
            (Err(_), ended) => Err(ended.err().unwrap_or(Termination::InstanceEnded).into()),
        }
    }
}

/// A call in an instance of its own.
struct Alone<C: ConcurrentCall> {
    call: C,
    output_tx: oneshot::Sender<C::Output>,
}

impl<C: ConcurrentCall> Call for Alone<C> {
    type Output = ();

    async fn call(self, instance: &mut Instantiated) -> wasmtime::Result<()> {
        let Self { call, output_tx } = self;
        let exports = Bindings::clone(&*instance.all_bindings()?);
        let run = instance.store.run_concurrent(async move |accessor| {
            output_tx.send(call.call(accessor, exports).await?).ok();
            poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            Ok(())
        });
        run.await.flatten()
    }
}

/// A call in the instance of a service, which goes on when its caller is gone.
struct Detached<C: ConcurrentCall> {
    call: C,
    exports: Bindings,
    done_tx: oneshot::Sender<C::Output>,
    _permit: Arc<CallPermit>,
}

impl<C: ConcurrentCall> AccessorTask<StoreData> for Detached<C> {
    async fn run(self, accessor: &Accessor<StoreData>) -> wasmtime::Result<()> {
        let output = self.call.call(accessor, self.exports).await?;
        self.done_tx.send(output).ok();
        Ok(())
    }
}
