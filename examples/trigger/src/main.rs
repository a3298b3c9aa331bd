//! A host with a trigger of its own: a timer that calls components, declared as `[[triggers.timer]]`.
//!
//! The section's type brings its own schema and checks, so that a mistake in a manifest is reported with its line and column.
//! `cargo run -p trigger` lets a component count to three.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wharf::host::Running;
use wharf::workload::Name;
use wharf::workload::manifest::{AnyTriggerKind, Format, SettingsError, Source, TriggerKind, parse_with};
use wharf::{Call, Engine, Host, Instantiated, Trigger, TriggerError};

/// One `[[triggers.timer]]`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct TimerEntry {
    component: Name,
    /// The interval in milliseconds.
    every_ms: u64,
}

impl TriggerKind for TimerEntry {
    const KEY: &'static str = "timer";
    const INTERFACES: &'static [&'static str] = &["acme:timer/tick@1.0.0"];

    fn component(&self) -> &Name {
        &self.component
    }

    fn label(&self) -> String {
        format!("every {} ms", self.every_ms)
    }

    fn check(all: &[Self]) -> Vec<SettingsError> {
        let zero = all.iter().enumerate().filter(|(_, timer)| timer.every_ms == 0);
        zero.map(|(i, _)| SettingsError::new(format!("{i}.every-ms"), "the interval must not be 0")).collect()
    }
}

/// Calls the components of every workload, and sends what they return.
struct Timer {
    ticks: mpsc::Sender<u32>,
    tasks: Mutex<HashMap<String, Vec<JoinHandle<()>>>>,
}

/// Calls the component's export `tick: func() -> u32`.
struct Tick;

impl Call for Tick {
    type Output = u32;

    async fn call(self, instance: &mut Instantiated) -> wasmtime::Result<u32> {
        let component = instance.component()?;
        let interface = component.get_export_index(&mut instance.store, None, "acme:timer/tick@1.0.0");
        let tick =
            interface.and_then(|interface| component.get_export_index(&mut instance.store, Some(&interface), "tick"));
        let Some(tick) = tick else { wasmtime::bail!("no export `tick`") };
        let tick = component.get_typed_func::<(), (u32,)>(&mut instance.store, &tick)?;
        Ok(tick.call_async(&mut instance.store, ()).await?.0)
    }
}

#[async_trait]
impl Trigger for Timer {
    fn name(&self) -> &'static str {
        "timer"
    }

    fn kind(&self) -> Option<AnyTriggerKind> {
        Some(AnyTriggerKind::of::<TimerEntry>())
    }

    async fn attach(&self, _: &Arc<Running>) -> Result<(), TriggerError> {
        Ok(())
    }

    async fn started(&self, workload: &Arc<Running>) {
        let timers = workload.workload().triggers.of::<TimerEntry>().unwrap_or_default();
        let tasks = timers.into_iter().filter_map(|timer| {
            let (entry, ticks) = (workload.entry(timer.component.as_str())?.clone(), self.ticks.clone());
            Some(tokio::spawn(async move {
                let mut interval = tokio::time::interval(Duration::from_millis(timer.every_ms));
                // The workload may stop at any time, and the receiver may be gone.
                while let Ok(tick) = entry.invoke(Tick).await {
                    if ticks.send(tick).await.is_err() {
                        return;
                    }
                    interval.tick().await;
                }
            }))
        });
        let tasks = tasks.collect();
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).insert(workload.workload().id(), tasks);
    }

    async fn detach(&self, workload: &Arc<Running>) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(&workload.workload().id());
        tasks.into_iter().flatten().for_each(|task| task.abort());
    }
}

const MANIFEST: &str = "
    name = 'clock'
    [components.counter]
    source = 'counter.wasm'
    instances = { mode = 'reuse' }
    [[triggers.timer]]
    component = 'counter'
    every-ms = 100
";

const COUNTER: &str = r#"(component
    (core module $m (global $n (mut i32) (i32.const 0))
        (func (export "tick") (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))
    (core instance $i (instantiate $m))
    (func $tick (result u32) (canon lift (core func $i "tick")))
    (instance $timer (export "tick" (func $tick))) (export "acme:timer/tick@1.0.0" (instance $timer)))"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (ticks, mut ticked) = mpsc::channel(1);
    let timer = Timer { ticks, tasks: Mutex::default() };
    let host = Host::builder(Engine::builder().build()?).trigger(timer).build()?;
    let parsed = parse_with(MANIFEST, Format::Toml, host.extensions());
    parsed.problems.iter().for_each(|problem| eprintln!("{problem}"));
    let mut workload = parsed.workload.ok_or("the manifest is invalid")?;
    for component in workload.components.values_mut() {
        component.source = Source::Bytes(wat::parse_str(COUNTER)?.into());
    }
    host.workload_start(workload).await?;
    for _ in 0..3 {
        println!("tick {}", ticked.recv().await.ok_or("the timer ended")?);
    }
    host.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use wharf::workload::manifest::{Extensions, Format, parse_with};

    #[test]
    fn the_example_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }

    #[test]
    fn a_mistake_is_reported_with_its_place() {
        let extensions = Extensions::builtin().with_trigger::<super::TimerEntry>();
        let parsed = parse_with(&super::MANIFEST.replace("every-ms = 100", "every-ms = 0"), Format::Toml, &extensions);
        assert_eq!(parsed.problems[0].to_string(), "8:5: the interval must not be 0");
    }
}
