//! The life of a workload as a model: what start, update, stop, calls and shutdown leave behind, in any order, at the same time, and
//! with futures that are dropped at any of their awaits.
//!
//! The invariants, checked in [`Record`] as they could break, and by [`Hosted::check_end`]:
//! - an id has one owner: a trigger is attached to at most one version of it, and it is the one that the host runs;
//! - a call that was admitted is answered by a version that ran, or ended;
//! - what is opened and bound is closed and unbound, once, and nothing outlives `shutdown`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use wharf::api::State;
use wharf::host::Running;
use wharf::plugin::{BoundComponent, OpenWorkload};
use wharf::workload::Workload;
use wharf::workload::manifest::{Component, Restart, Service};
use wharf::{
    Binding, Engine, Host, Link, Opening, Plugin, PluginError, Provided, StartError, Trigger, TriggerError, wasmtime,
};

/// How long anything may take before the test fails.
const TIMEOUT: Duration = Duration::from_secs(30);
const IDS: [&str; 2] = ["a", "b"];
/// The version that the trigger refuses.
const REFUSED: u32 = 4;

/// A component whose `version` returns a number, with an import of the recording plugin.
fn versioned(version: u32) -> Component {
    let text = format!(
        r#"(component (import "acme:life/recorded@1.0.0" (instance))
        (core module $m (func (export "version") (result i32) (i32.const {version})))
        (core instance $i (instantiate $m))
        (func (export "version") (result u32) (canon lift (core func $i "version"))))"#
    );
    Component::from_bytes(wat::parse_str(text).unwrap())
}

/// A command that ends at once. As a service that is always restarted it is nearly always about to start.
const COMMAND: &str = r#"(component
    (core module $m (func (export "run") (result i32) (i32.const 0)))
    (core instance $i (instantiate $m))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $cli (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $cli)))"#;

fn workload(id: &str, version: u32) -> Workload {
    let mut service = Component::from_bytes(wat::parse_str(COMMAND).unwrap());
    service.service = Some(Service { restart: Restart::Always, max_restarts: None });
    let mut it = versioned(version);
    it.env.insert("VERSION".to_owned(), version.to_string());
    let named = Workload::new(id.parse().unwrap()).with_component("it".parse().unwrap(), it);
    named.with_component("job".parse().unwrap(), service)
}

/// What the plugin and the trigger saw, and what broke.
#[derive(Default)]
struct Record {
    /// The opened and bound values that are not closed.
    open: BTreeMap<String, i32>,
    /// The version that the trigger serves, by id.
    attached: BTreeMap<String, Weak<Running>>,
    /// Every version that a trigger attached to.
    seen: Vec<Weak<Running>>,
    broken: Vec<String>,
    turns: u32,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Record>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap()
    }

    fn count(&self, key: &str, by: i32) {
        let mut record = self.lock();
        let count = record.open.entry(key.to_owned()).or_default();
        *count += by;
        // The old and the new version of an update, and one whose start failed, may be open at the same time.
        if *count < 0 {
            record.broken.push(format!("{key} was closed twice"));
        }
    }
}

impl Shared {
    /// Lets other tasks run for a shorter or a longer while, so that interleavings differ.
    async fn yield_randomly(&self) {
        let turn = {
            let mut record = self.lock();
            record.turns += 1;
            record.turns
        };
        // The multiplier spreads what successive turns do.
        match turn.wrapping_mul(0x9e37_79b9) >> 16 & 3 {
            0 => {}
            1 => tokio::time::sleep(Duration::from_millis(1)).await,
            yields => {
                for _ in 0..yields * 2 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

struct Recorder(Shared);

#[async_trait]
impl Plugin for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant("acme:life/recorded@1.0.0")]
    }

    async fn open(&self, opening: &mut Opening<'_>) -> Result<(), PluginError> {
        self.0.yield_randomly().await;
        self.0.count(&format!("open {}", opening.workload().id()), 1);
        Ok(())
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        // A start that is stopped drops this future, and what is not bound is not unbound.
        self.0.yield_randomly().await;
        self.0.count(&format!("bind {}", binding.workload().id()), 1);
        Ok(())
    }

    async fn unbind(&self, component: &BoundComponent<'_>) {
        self.0.count(&format!("bind {}", component.workload()), -1);
    }

    async fn close(&self, workload: &OpenWorkload<'_>) {
        self.0.yield_randomly().await;
        self.0.count(&format!("open {}", workload.id()), -1);
    }

    fn link(&self, _: &mut Link<'_>) -> wasmtime::Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Trigger for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    async fn attach(&self, workload: &Arc<Running>) -> Result<(), TriggerError> {
        self.0.yield_randomly().await;
        check(workload)?;
        let (mut record, id) = (self.0.lock(), workload.workload().id());
        record.seen.push(Arc::downgrade(workload));
        if record.attached.insert(id.clone(), Arc::downgrade(workload)).is_some() {
            record.broken.push(format!("{id} has two owners"));
        }
        Ok(())
    }

    async fn replace(&self, old: &Arc<Running>, new: &Arc<Running>) -> Result<(), TriggerError> {
        self.0.yield_randomly().await;
        check(new)?;
        let (mut record, id) = (self.0.lock(), new.workload().id());
        record.seen.push(Arc::downgrade(new));
        let before = record.attached.insert(id.clone(), Arc::downgrade(new));
        if !before.is_some_and(|before| before.ptr_eq(&Arc::downgrade(old))) {
            record.broken.push(format!("{id}: another version was replaced than the one that is served"));
        }
        Ok(())
    }

    async fn detach(&self, workload: &Arc<Running>) {
        self.0.yield_randomly().await;
        let (mut record, id) = (self.0.lock(), workload.workload().id());
        let before = record.attached.remove(&id);
        if !before.is_some_and(|before| before.ptr_eq(&Arc::downgrade(workload))) {
            record.broken.push(format!("{id}: another version was detached than the one that is served"));
        }
    }
}

/// Refuses one version.
fn check(running: &Running) -> Result<(), TriggerError> {
    if running.workload().components["it"].env["VERSION"] == REFUSED.to_string() {
        return Err(TriggerError::new("not this one"));
    }
    Ok(())
}

/// A host with the recorder, and its runtime.
struct Hosted {
    host: Host,
    record: Shared,
}

impl Hosted {
    fn new() -> Self {
        let record = Shared::default();
        let builder = Host::builder(Engine::builder().pooling(false).build().unwrap());
        let host = builder.plugin(Recorder(record.clone())).trigger(Recorder(record.clone())).build();
        Self { host: host.unwrap(), record }
    }

    /// What holds whenever no operation is in progress.
    fn check_settled(&self) {
        let record = self.record.lock();
        assert!(record.broken.is_empty(), "{:?}", record.broken);
        let running: Vec<_> = self.host.workload_ids();
        assert_eq!(running, record.attached.keys().cloned().collect::<Vec<_>>(), "what runs is what is served");
        for (id, attached) in &record.attached {
            let running = self.host.running(id).unwrap();
            assert!(attached.ptr_eq(&Arc::downgrade(&running)), "{id}: the version that runs is served");
        }
        for (key, count) in &record.open {
            let id = key.split(' ').nth(1).unwrap();
            assert_eq!(*count, i32::from(record.attached.contains_key(id)), "{key}");
        }
    }

    /// What holds after `shutdown`.
    async fn check_end(&self) {
        self.check_settled();
        assert!(self.host.heartbeat().await.workloads.is_empty());
        let late = self.host.workload_start(workload("late", 1)).await;
        assert!(matches!(late, Err(StartError::ShuttingDown)), "{late:?}");
        // A task that still held a version would keep it for ever; one that is about to end does not.
        let all_gone = async {
            while self.record.lock().seen.iter().any(|version| version.strong_count() > 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, all_gone).await.expect("nothing outlives the host");
    }

    /// Waits until nothing starts or stops.
    async fn settle(&self) {
        let settled = async {
            while self.host.heartbeat().await.workloads.iter().any(|workload| workload.state != State::Running) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIMEOUT, settled).await.expect("no start or stop hangs");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Polls a future `times` times, then drops it. Returns its output if it was ready by then.
async fn polled<T>(times: Option<usize>, future: impl Future<Output = T>) -> Option<T> {
    let Some(times) = times else {
        return Some(tokio::time::timeout(TIMEOUT, future).await.expect("every operation ends"));
    };
    let mut future = pin!(future);
    for _ in 0..times {
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Start(usize, u32),
    Update(usize, u32),
    Stop(usize),
    Call(usize),
}

fn operations() -> impl Strategy<Value = Operation> {
    let (id, version) = (0..IDS.len(), 1_u32..5);
    prop_oneof![
        3 => (id.clone(), version.clone()).prop_map(|(id, version)| Operation::Start(id, version)),
        3 => (id.clone(), version).prop_map(|(id, version)| Operation::Update(id, version)),
        2 => id.clone().prop_map(Operation::Stop),
        4 => id.prop_map(Operation::Call),
    ]
}

/// How often a future is polled before it is dropped; `None` if it is awaited.
fn polls_before_drop() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![2 => Just(None), 1 => (1_usize..6).prop_map(Some)]
}

// Operations at the same time: the invariants hold in every interleaving.

/// Runs an operation; a call must be answered by a version that ran, or be refused or ended.
async fn perform(host: &Host, operation: Operation, patience: Option<usize>) {
    match operation {
        Operation::Start(id, version) => drop(polled(patience, host.workload_start(workload(IDS[id], version))).await),
        Operation::Update(id, version) => {
            drop(polled(patience, host.workload_update(workload(IDS[id], version))).await);
        }
        Operation::Stop(id) => drop(polled(patience, host.workload_stop(&format!("default/{}", IDS[id]))).await),
        Operation::Call(id) => {
            let id = format!("default/{}", IDS[id]);
            if let Some(Ok(answer)) = polled(patience, host.call_wave(&id, "it", "version()")).await {
                // A version that is refused takes no calls.
                assert!(["1", "2", "3"].contains(&answer[0].as_str()), "{answer:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_breaks_an_invariant(
        tasks in prop::collection::vec(prop::collection::vec((operations(), polls_before_drop()), 1..6), 2..6),
        runs_before in any::<bool>(),
        shuts_down_early in any::<bool>(),
    ) {
        runtime().block_on(async {
            let hosted = Hosted::new();
            for id in IDS.iter().filter(|_| runs_before) {
                hosted.host.workload_start(workload(id, 1)).await.unwrap();
            }
            let working = tasks.into_iter().map(|operations| {
                let host = hosted.host.clone();
                tokio::spawn(async move {
                    for (operation, patience) in operations {
                        perform(&host, operation, patience).await;
                    }
                })
            });
            let working: Vec<_> = working.collect();
            if shuts_down_early {
                hosted.host.shutdown().await;
            }
            for task in working {
                task.await.unwrap();
            }
            if !shuts_down_early {
                hosted.settle().await;
                // An operation whose future was dropped may just have begun.
                hosted.host.shutdown().await;
            }
            hosted.check_end().await;
        });
    }
}

// Operations one after the other: each has the result that the model predicts, also when its future was dropped.

/// The version that runs, by id.
#[derive(Clone, Debug, Default)]
struct Model(BTreeMap<usize, u32>);

type Step = (Operation, Option<usize>);

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        (operations(), polls_before_drop()).boxed()
    }

    fn apply(mut state: Self, (operation, _): &Step) -> Self {
        match *operation {
            Operation::Start(_, REFUSED) | Operation::Update(_, REFUSED) | Operation::Call(_) => {}
            Operation::Start(id, version) => drop(state.0.entry(id).or_insert(version)),
            Operation::Update(id, version) => drop(state.0.entry(id).and_modify(|running| *running = version)),
            Operation::Stop(id) => drop(state.0.remove(&id)),
        }
        state
    }
}

struct OneAfterTheOther {
    runtime: tokio::runtime::Runtime,
    hosted: Hosted,
    /// The model before the step.
    before: Model,
}

impl StateMachineTest for OneAfterTheOther {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        Self { runtime: runtime(), hosted: Hosted::new(), before: Model::default() }
    }

    fn apply(mut state: Self, after: &Model, (operation, patience): Step) -> Self {
        let Self { runtime, hosted, before } = &state;
        // What changes nothing leaves no trace, so that only its result says that it is over.
        let patience = if before.0 == after.0 { None } else { patience };
        runtime.block_on(async {
            let (host, id) = (&hosted.host, |id: usize| format!("default/{}", IDS[id]));
            match operation {
                Operation::Start(i, version) => {
                    let started = polled(patience, host.workload_start(workload(IDS[i], version))).await;
                    let expected = !before.0.contains_key(&i) && version != REFUSED;
                    assert!(started.is_none_or(|started| started.is_ok() == expected));
                }
                Operation::Update(i, version) => {
                    let updated = polled(patience, host.workload_update(workload(IDS[i], version))).await;
                    let expected = before.0.contains_key(&i) && version != REFUSED;
                    assert!(updated.is_none_or(|updated| updated.is_ok() == expected));
                }
                Operation::Stop(i) => {
                    let stopped = polled(patience, host.workload_stop(&id(i))).await;
                    assert!(stopped.is_none_or(|stopped| stopped.is_ok() == before.0.contains_key(&i)));
                }
                Operation::Call(i) => {
                    let called = polled(patience, host.call_wave(&id(i), "it", "version()")).await;
                    let expected = before.0.get(&i).map(|version| vec![version.to_string()]);
                    assert!(called.is_none_or(|called| called.ok() == expected));
                }
            }
            // What a dropped future began goes on: wait for what the model says.
            let reached = async {
                while !matches(hosted, after).await {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(TIMEOUT, reached).await.expect("the host reaches what the model says");
        });
        state.before = after.clone();
        state
    }

    fn teardown(state: Self, _: Model) {
        let Self { runtime, hosted, .. } = state;
        runtime.block_on(async {
            hosted.host.shutdown().await;
            hosted.check_end().await;
        });
    }
}

/// Whether the host runs what the model says, and nothing else.
async fn matches(hosted: &Hosted, model: &Model) -> bool {
    let settled = hosted.host.heartbeat().await.workloads;
    if settled.len() != model.0.len() || settled.iter().any(|workload| workload.state != State::Running) {
        return false;
    }
    for (id, version) in &model.0 {
        let called = hosted.host.call_wave(&format!("default/{}", IDS[*id]), "it", "version()").await;
        if !called.is_ok_and(|answer| answer == [version.to_string()]) {
            return false;
        }
    }
    // The old version of an update may not be closed yet.
    let record = hosted.record.lock();
    record.open.values().sum::<i32>() == 2 * i32::try_from(model.0.len()).unwrap()
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_operation_does_what_the_model_says(sequential 1..20 => OneAfterTheOther);
}
