//! Messages from guests to guests, through both generations of the interfaces and the broker in the host's process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use support::{check_in, host, host_with, run_in, wait_for, workload};
use wharf::host::Running;
use wharf::{Host, Trigger, TriggerError};
use wharf_stores::Policy;

/// A sender, and a handler of each version that subscribes to a subject of its own.
const MANIFEST: &str = "
    [components.sender]
    source = 'HANDLER3'
    messaging = ['bus']
    keyvalue = ['log']
    [components.old]
    source = 'HANDLER2'
    messaging = ['bus']
    keyvalue = ['log']
    [components.new]
    source = 'HANDLER3'
    messaging = { default = 'bus' }
    keyvalue = ['log']
    [components.dead]
    source = 'HANDLER3'
    messaging = ['bus']
    keyvalue = ['log']
    [keyvalue.log]
    backend = 'memory'
    [messaging.bus]
    [[triggers.message]]
    component = 'old'
    messaging = 'bus'
    subject = 'old.*'
    redeliver = 2
    [[triggers.message]]
    component = 'new'
    messaging = 'bus'
    subject = 'new.>'
    in-flight = 4
    redeliver = 2
    [[triggers.message]]
    component = 'dead'
    messaging = 'bus'
    subject = 'dead-letters.>'
    redeliver = 1
";

async fn started() -> Host {
    let host = host(Policy::default());
    // Components that triggers call are the entries; a script needs one, too.
    let manifest =
        format!("{MANIFEST}\n[[triggers.message]]\ncomponent = 'sender'\nmessaging = 'bus'\nsubject = 'unused'");
    host.workload_start(workload(&host, &manifest)).await.unwrap();
    host
}

#[tokio::test]
async fn both_versions_publish_request_and_handle() {
    let host = started().await;
    check_in(
        &host,
        "sender",
        "
        publish2 old.a one => ok
        publish3 new.a.b two => ok
        request2 old.a ping => re: ping
        request3 new.x pong => re: pong
        request3 old.b mixed => re: mixed
        request2 new.y mixed => re: mixed
        request3 new.big ~1000000 => re: 1000000 bytes
        ",
    )
    .await;
    wait_for(&host, "sender", "handled old.a one", "1").await;
    wait_for(&host, "sender", "handled new.a.b two", "1").await;
    check_in(&host, "sender", "handled old.a ping => 1\n handled new.x pong => 1").await;
}

#[tokio::test]
async fn a_message_that_fails_is_delivered_again_and_then_dead() {
    let host = started().await;
    for subject in ["old.m", "new.m"] {
        for body in ["once", "retry", "reject", "trap"] {
            check_in(&host, "sender", &format!("publish3 {subject} {body} => ok")).await;
        }
        // The queue goes on.
        check_in(&host, "sender", &format!("publish3 {subject} fine => ok")).await;
        wait_for(&host, "sender", &format!("handled {subject} fine"), "1").await;
        wait_for(&host, "sender", &format!("handled {subject} once"), "2").await;
        wait_for(&host, "sender", &format!("handled dead-letters.{subject} retry"), "1").await;
        wait_for(&host, "sender", &format!("handled {subject} retry"), "2").await;
        wait_for(&host, "sender", &format!("handled {subject} trap"), "2").await;
        // A dead letter that kills its handler as well is dropped in the end.
        wait_for(&host, "sender", &format!("handled dead-letters.{subject} trap"), "1").await;
    }
    // Version 0.2 cannot reject, so that it tries again.
    wait_for(&host, "sender", "handled dead-letters.new.m reject", "1").await;
    check_in(&host, "sender", "handled new.m reject => 1").await;
    wait_for(&host, "sender", "handled old.m reject", "2").await;
}

#[tokio::test]
async fn a_handler_that_never_ends_is_ended_by_its_limit() {
    let host = host(Policy::default());
    let manifest = MANIFEST.replace("[components.new]", "[components.new]\nlimits = { time = '300ms' }");
    host.workload_start(workload(&host, &manifest)).await.unwrap();
    check_in(&host, "old", "publish2 new.z spin => ok\n publish2 new.z fine => ok").await;
    wait_for(&host, "old", "handled new.z fine", "1").await;
    wait_for(&host, "old", "handled new.z spin", "2").await;
}

#[tokio::test]
async fn bad_input_is_a_typed_error() {
    let host = started().await;
    check_in(
        &host,
        "sender",
        "
        publish3 ~0 x => error SubjectInvalid
        publish3 a..b x => error SubjectInvalid
        publish3 a.* x => error SubjectInvalid
        publish3 big ~1048577 => error MessageTooLarge
        request3 without.subscriber x 200 => error Other(\"no subscriber\")
        publish3 without.subscriber x => ok
        ",
    )
    .await;
    let found = run_in(&host, "sender", "publish2 a.* x\nrequest2 without.subscriber x 200").await;
    assert!(found.iter().all(|line| line.starts_with("error \"")), "{found:?}");
}

#[tokio::test]
async fn an_update_loses_no_message() {
    let host = started().await;
    let manifest =
        format!("{MANIFEST}\n[[triggers.message]]\ncomponent = 'sender'\nmessaging = 'bus'\nsubject = 'unused'");
    let sending = tokio::spawn({
        let host = host.clone();
        async move {
            for i in 0..300 {
                check_in(&host, "sender", &format!("publish3 new.u m => ok\n publish2 old.u m{i} => ok")).await;
            }
        }
    });
    for version in 0..10 {
        let manifest = manifest.replace("[components.new]", &format!("[components.new]\nenv = {{ V = '{version}' }}"));
        host.workload_update(workload(&host, &manifest)).await.unwrap();
    }
    sending.await.unwrap();
    wait_for(&host, "sender", "handled new.u m", "300").await;
    wait_for(&host, "sender", "handled old.u m299", "1").await;
}

#[tokio::test]
async fn a_component_that_takes_one_call_at_a_time_handles_every_message_once() {
    let host = host(Policy::default());
    let manifest = MANIFEST.replace("[components.new]", "[components.new]\nlimits = { concurrency = 1 }");
    let manifest = manifest.replace("in-flight = 4", "in-flight = 32");
    host.workload_start(workload(&host, &manifest)).await.unwrap();
    let script = "publish2 new.c m => ok\n".repeat(60);
    check_in(&host, "old", &script).await;
    wait_for(&host, "old", "handled new.c m", "60").await;
    check_in(&host, "old", "publish2 new.c last => ok").await;
    wait_for(&host, "old", "handled new.c last", "1").await;
    check_in(&host, "old", "handled new.c m => 60\n handled dead-letters.new.c m => 0").await;
}

/// Refuses versions with more than four triggers.
struct Refusing;

#[async_trait::async_trait]
impl Trigger for Refusing {
    fn name(&self) -> &'static str {
        "refusing"
    }

    async fn attach(&self, running: &Arc<Running>) -> Result<(), TriggerError> {
        let many = running.workload().triggers.entries().count() > 4;
        if many { Err(TriggerError::new("too many triggers")) } else { Ok(()) }
    }

    async fn detach(&self, _: &Arc<Running>) {}
}

#[tokio::test]
async fn a_version_that_another_trigger_refuses_leaves_the_subscriptions_as_they_were() {
    let host = host_with(Policy::default(), Refusing);
    let manifest =
        format!("{MANIFEST}\n[[triggers.message]]\ncomponent = 'sender'\nmessaging = 'bus'\nsubject = 'unused'");
    host.workload_start(workload(&host, &manifest)).await.unwrap();
    let more = format!("{manifest}\n[[triggers.message]]\ncomponent = 'new'\nmessaging = 'bus'\nsubject = 'more'");
    host.workload_update(workload(&host, &more)).await.expect_err("the other trigger refuses it");
    check_in(&host, "sender", "publish3 new.r one => ok\n request3 old.r ping => re: ping").await;
    wait_for(&host, "sender", "handled new.r one", "1").await;
}

#[tokio::test]
async fn a_shutdown_waits_for_the_messages_that_are_handled() {
    let host = started().await;
    check_in(&host, "sender", "request3 new.s ping => re: ping").await;
    host.shutdown().await;
    assert!(host.workload_status("default/w").await.is_err());
}

#[tokio::test]
async fn mistakes_are_found_when_planned() {
    let host = host(Policy::default());
    let manifest = "
        [components.it]
        source = 'HANDLER3'
        messaging = ['one', 'two']
        keyvalue = ['log']
        [keyvalue.log]
        backend = 'memory'
        [messaging.one]
        [messaging.two]
        stream = 'S'
        [[triggers.message]]
        component = 'it'
        messaging = 'three'
        subject = 'a'
    ";
    let plan = host.plan(&workload(&host, manifest)).await;
    let mut found: Vec<_> = plan.problems.iter().map(|problem| format!("{}: {problem}", problem.place())).collect();
    found.sort();
    assert_eq!(
        found,
        [
            "components.it.messaging: `it` is granted several brokers, and none of them is its `default`",
            "messaging.two.stream: `stream` has no meaning for backend `embedded`",
            "triggers.message.0.messaging: unknown messaging store `three`",
        ]
    );
    let parsed = wharf::workload::manifest::parse_with(
        "name = 'w'\n[components.it]\nsource = 'x'\n[[triggers.message]]\ncomponent = 'it'\nmessaging = 'bus'\nsubject = 'a..b'\nredeliver = 0",
        wharf::workload::manifest::Format::Toml,
        host.extensions(),
    );
    let found: Vec<_> = parsed.problems.iter().map(ToString::to_string).collect();
    assert!(found[0].starts_with("7:1:") && found[1].starts_with("8:1:"), "{found:?}");
}
