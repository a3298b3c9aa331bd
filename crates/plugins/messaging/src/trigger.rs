//! `[[triggers.message]]`: subscribes to a subject, and calls a component's handler for each message.
//!
//! Takes the deliveries of a broker; settles each by the outcome of its call, as [`redelivery`](crate::redelivery) decides. A message
//! that cannot be handled goes to the dead letters, and the queue goes on.

mod call;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf::host::Running;
use wharf::workload::Name;
use wharf::workload::manifest::{AnyTriggerKind, SettingsError, TriggerKind};
use wharf::{Entry, Trigger, TriggerError};
use wharf_stores::Stores;

use crate::backend::{self, Broker, Deliveries, Delivery, Message, Settlement, Subscription, subject};
use crate::redelivery::{Decision, Outcome, RedeliveryPolicy};
use crate::{MessagingPlugin, open};
use call::{Handled, Version};

/// The most messages of a trigger that are handled at a time, unless it says otherwise.
const IN_FLIGHT: u32 = 32;
/// What the subject of a dead letter begins with, unless the trigger says otherwise.
const DEAD_LETTERS: &str = "dead-letters";
/// How long a handler has beyond its own time limit before its message is delivered again.
const MARGIN: Duration = Duration::from_secs(10);
/// The acknowledgement deadline of a handler without a time limit, which is extended while it runs.
const UNLIMITED: Duration = Duration::from_mins(1);
/// The waits between attempts to call a component that takes no call yet.
const BUSY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How many further deliveries a message has whose dead letter is refused.
const REFUSALS: u32 = 10;
/// The waits between attempts to subscribe.
const RESUBSCRIBE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A subscription: `[[triggers.message]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct MessageTrigger {
    /// The component that handles the messages.
    pub component: Name,
    /// The broker: the name of a `[messaging.<name>]`.
    pub messaging: Name,
    /// The subject; `*` stands for one token, a last `>` for the rest.
    pub subject: String,
    /// Subscriptions of one queue share its messages; by default one queue for this trigger of the workload, on whichever host it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The most messages that are handled at a time; 32 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// The most deliveries of a message before it goes to the dead letters; 5 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeliver: Option<u32>,
    /// What the subjects of dead letters begin with: a message of `orders.new` goes to `<dead-letters>.orders.new`. `dead-letters` by
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<String>,
}

impl TriggerKind for MessageTrigger {
    const KEY: &'static str = "message";
    const INTERFACES: &'static [&'static str] =
        &["wasmcloud:messaging/handler@0.2.0", "wasmcloud:messaging/handler@0.3.0"];

    fn component(&self) -> &Name {
        &self.component
    }

    fn label(&self) -> String {
        format!("message {} of {}", self.subject, self.messaging)
    }

    fn check(all: &[Self]) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        for (i, trigger) in all.iter().enumerate() {
            let mut check = |key: &str, valid: Result<(), backend::Error>| {
                if let Err(error) = valid {
                    errors.push(SettingsError::new(format!("{i}.{key}"), error.to_string()));
                }
            };
            check("subject", subject::validate_subscribe(&trigger.subject));
            if let Some(queue) = &trigger.queue {
                check("queue", subject::validate_queue(queue));
            }
            if let Some(prefix) = &trigger.dead_letters {
                check("dead-letters", subject::validate_publish(prefix));
            }
            for (key, value) in [("in-flight", trigger.in_flight), ("redeliver", trigger.redeliver)] {
                if value == Some(0) {
                    let message = format!("expected a value above 0 for `{key}`, found 0");
                    errors.push(SettingsError::new(format!("{i}.{key}"), message));
                }
            }
        }
        errors
    }
}

/// The subscriptions of the versions of workloads that are attached.
#[derive(Default)]
pub(crate) struct Subscriptions {
    /// By the address of the version, which lives as long as it is attached.
    attached: Mutex<HashMap<usize, Attached>>,
    /// What waits for the messages that detached versions still handle.
    ending: TaskTracker,
}

struct Attached {
    brokers: Stores<dyn Broker>,
    stop: CancellationToken,
    workers: Vec<JoinHandle<()>>,
    /// The messages that are being handled.
    handling: TaskTracker,
}

impl Attached {
    /// Takes no more messages.
    async fn unsubscribe(&mut self) {
        self.stop.cancel();
        for worker in self.workers.drain(..) {
            // A worker that panicked has no subscription any more.
            worker.await.ok();
        }
    }

    /// Waits for the messages that are being handled, which are settled through the brokers.
    async fn finish(self) {
        self.handling.close();
        self.handling.wait().await;
        self.brokers.close(|broker| async move { broker.close().await }).await;
    }
}

fn key(running: &Arc<Running>) -> usize {
    Arc::as_ptr(running) as usize
}

#[async_trait]
impl Trigger for MessagingPlugin {
    fn name(&self) -> &'static str {
        MessageTrigger::KEY
    }

    fn kind(&self) -> Option<AnyTriggerKind> {
        Some(AnyTriggerKind::of::<MessageTrigger>())
    }

    async fn attach(&self, running: &Arc<Running>) -> Result<(), TriggerError> {
        if triggers(running).is_empty() {
            return Ok(());
        }
        let brokers = Stores::open(&self.0.policy, &self.0.registry, running.workload(), open::open).await?;
        let attached =
            Attached { brokers, stop: CancellationToken::new(), workers: Vec::new(), handling: TaskTracker::new() };
        self.lock().insert(key(running), attached);
        Ok(())
    }

    async fn started(&self, running: &Arc<Running>) {
        let mut all = self.lock();
        let Some(attached) = all.get_mut(&key(running)) else { return };
        for (index, trigger) in triggers(running).into_iter().enumerate() {
            let Some(entry) = running.entry(trigger.component.as_str()) else { continue };
            let Some(broker) = attached.brokers.get(trigger.messaging.as_str()) else { continue };
            let handler = Handler::new(running, &trigger, entry.clone(), broker.clone(), attached.stop.clone());
            let worker = Worker {
                subscription: subscription(running, index, &trigger, handler.settle_within),
                handler: Arc::new(handler),
                handling: attached.handling.clone(),
            };
            attached.workers.push(tokio::spawn(worker.run()));
        }
    }

    async fn detach(&self, running: &Arc<Running>) {
        let Some(mut attached) = self.lock().remove(&key(running)) else { return };
        attached.unsubscribe().await;
        self.0.subscriptions.ending.spawn(attached.finish());
    }

    async fn shutdown(&self) {
        let attached: Vec<_> = std::mem::take(&mut *self.lock()).into_values().collect();
        join_all(attached.into_iter().map(|mut attached| async move {
            attached.unsubscribe().await;
            attached.finish().await;
        }))
        .await;
        self.0.subscriptions.ending.close();
        self.0.subscriptions.ending.wait().await;
    }
}

impl MessagingPlugin {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Attached>> {
        self.0.subscriptions.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn triggers(running: &Running) -> Vec<MessageTrigger> {
    running.workload().triggers.of::<MessageTrigger>().unwrap_or_default()
}

fn subscription(running: &Running, index: usize, trigger: &MessageTrigger, settle_within: Duration) -> Subscription {
    // One queue for each trigger: two triggers of one subject each receive every message.
    let queue = || format!("{}.{}.{index}", running.workload().id().replace('/', "."), trigger.component);
    Subscription {
        subject: trigger.subject.clone(),
        queue: Some(trigger.queue.clone().unwrap_or_else(queue)),
        in_flight: trigger.in_flight.unwrap_or(IN_FLIGHT) as usize,
        settle_within,
    }
}

/// What one trigger's messages have in common.
struct Worker {
    handler: Arc<Handler>,
    subscription: Subscription,
    handling: TaskTracker,
}

/// What handles one message.
struct Handler {
    workload: String,
    entry: Arc<Entry>,
    broker: Arc<dyn Broker>,
    version: Version,
    policy: RedeliveryPolicy,
    dead_letters: String,
    settle_within: Duration,
    stop: CancellationToken,
}

impl Worker {
    /// Hands messages out until it is stopped. A message that was taken and not handed out is delivered again.
    async fn run(self) {
        let stop = &self.handler.stop;
        loop {
            let Some(subscribed) = stop.run_until_cancelled(self.subscribe()).await else { return };
            let mut deliveries = subscribed;
            loop {
                match stop.run_until_cancelled(deliveries.next()).await {
                    None => return,
                    // The subscription is gone for good: subscribe anew.
                    Some(None) => break,
                    Some(Some(delivery)) => drop(self.handling.spawn(self.handler.clone().handle(delivery))),
                }
            }
        }
    }

    /// Subscribes, however long the broker is away.
    async fn subscribe(&self) -> Box<dyn Deliveries> {
        let mut wait = RESUBSCRIBE.0;
        loop {
            match self.handler.broker.subscribe(self.subscription.clone()).await {
                Ok(deliveries) => return deliveries,
                Err(error) => {
                    let (workload, subject) = (&self.handler.workload, &self.subscription.subject);
                    tracing::warn!(workload, subject, %error, "cannot subscribe; trying again in {wait:?}");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RESUBSCRIBE.1);
        }
    }
}

impl Handler {
    fn new(
        running: &Running,
        trigger: &MessageTrigger,
        entry: Arc<Entry>,
        broker: Arc<dyn Broker>,
        stop: CancellationToken,
    ) -> Self {
        let default = RedeliveryPolicy::default();
        Self {
            workload: running.workload().id(),
            version: Version::of(&entry),
            settle_within: entry.limits().time.unwrap_or(UNLIMITED).saturating_add(MARGIN),
            entry,
            broker,
            policy: RedeliveryPolicy { redeliver: trigger.redeliver.unwrap_or(default.redeliver), ..default },
            dead_letters: trigger.dead_letters.clone().unwrap_or_else(|| DEAD_LETTERS.to_owned()),
            stop,
        }
    }

    async fn handle(self: Arc<Self>, delivery: Delivery) {
        let Delivery { message, attempt, settle } = delivery;
        // A broker that hears nothing delivers the message to another subscriber.
        let progress = async {
            loop {
                tokio::time::sleep(self.settle_within / 3).await;
                settle.progress().await.ok();
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.call(&message) => outcome,
            outcome = progress => outcome,
        };
        // Dropped without being settled, the message is delivered again, to the version that takes this one's place.
        let Some(outcome) = outcome else { return };
        let settlement = match self.policy.decide(outcome, attempt, random()) {
            Decision::Settle(settlement) => settlement,
            Decision::DeadLetter { reason } => self.give_up(message, attempt, &reason.to_string()).await,
        };
        if let Err(error) = settle.settle(settlement).await {
            tracing::warn!(workload = self.workload, %error, "cannot settle a message, which may be delivered again");
        }
    }

    /// Calls the component, as soon as it takes the call. `None` when the workload stops before that.
    async fn call(&self, message: &Message) -> Option<Outcome> {
        let mut wait = BUSY.0;
        loop {
            match self.version.call(&self.entry, message.clone()).await {
                Handled::Outcome(outcome) => return Some(outcome),
                Handled::Stopped => return None,
                // The message keeps its place among those in flight, so that no more of them come.
                Handled::Busy => self.stop.run_until_cancelled(tokio::time::sleep(wait)).await?,
            }
            wait = (wait * 2).min(BUSY.1);
        }
    }

    /// Moves a message to the dead letters.
    async fn give_up(&self, message: Message, attempt: u32, reason: &str) -> Settlement {
        let Message { subject, body, reply_to } = message;
        let (workload, component) = (&self.workload, self.entry.name());
        let dead = format!("{}.{subject}", self.dead_letters);
        // The handler of the dead letters must not fill them with its own.
        if subject.starts_with(&format!("{}.", self.dead_letters)) {
            tracing::error!(workload, %component, subject, reason, "dropped a dead letter that was not handled");
            return Settlement::Done;
        }
        let bytes = body.len();
        match self.broker.publish(Message { subject: dead.clone(), body, reply_to }).await {
            Ok(()) => {
                tracing::warn!(workload, %component, subject, bytes, reason, "moved a message to `{dead}`");
                Settlement::Done
            }
            // What the broker refuses again and again it will refuse for good. One that is away is waited for.
            Err(error)
                if error.is_permanent()
                    || (attempt > self.policy.redeliver.saturating_add(REFUSALS) && !error.is_away()) =>
            {
                tracing::error!(workload, %component, subject, bytes, reason, %error, "dropped a message: `{dead}` takes none");
                Settlement::Done
            }
            Err(error) => {
                tracing::warn!(workload, %component, subject, %error, "cannot move a message to `{dead}`");
                Settlement::Retry(self.policy.backoff(attempt, random()))
            }
        }
    }
}

/// Any number.
#[allow(clippy::cast_possible_truncation, reason = "any 32 bits do")]
fn random() -> u32 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish() as u32
}
