//! JetStream against a server, and against one that is killed, frozen or has another stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{JetStream, JetStreamConfig, Retention};
use crate::backend::nats::{Nats, NatsConfig};
use crate::backend::tests::conformance::{conforms, message, next, none, subscription, text};
use crate::backend::tests::server::NatsServer;
use crate::backend::{Broker, Error, Settlement, Subscription};

fn config(server: &NatsServer) -> JetStreamConfig {
    let nats = NatsConfig { timeout: Duration::from_secs(2), ..NatsConfig::new(&server.url()) };
    JetStreamConfig { create: true, subjects: vec!["t.>".to_owned()], ..JetStreamConfig::new(nats, "work") }
}

fn broker(server: &NatsServer) -> JetStream {
    JetStream::new(config(server)).unwrap()
}

async fn recovers(broker: &dyn Broker) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(problem) = broker.health().await {
        assert!(Instant::now() < deadline, "{problem}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance() {
    let server = NatsServer::start(&[]);
    conforms(broker(&server), "t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_of_a_stream_that_keeps_what_is_of_interest() {
    let server = NatsServer::start(&[]);
    conforms(JetStream::new(JetStreamConfig { retention: Retention::Interest, ..config(&server) }).unwrap(), "t").await;
}

#[tokio::test]
async fn an_absent_server_fails_operations_in_time_and_is_used_when_it_is_there() {
    let mut server = NatsServer::absent(&[]);
    let broker = broker(&server);
    let started = Instant::now();
    let sent = broker.publish(message("t.a", "x")).await;
    assert!(matches!(sent, Err(Error::Unavailable(_))), "{sent:?}");
    assert!(broker.subscribe(subscription("t.a", None, 1)).await.is_err());
    assert!(broker.health().await.is_err());
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    server.run();
    recovers(&broker).await;
    let mut deliveries = broker.subscribe(subscription("t.a", None, 1)).await.unwrap();
    broker.publish(message("t.a", "y")).await.unwrap();
    assert_eq!(text(&next(&mut deliveries).await), "y");
}

/// Kills the server twice while a thousand messages go through a queue of two subscribers, one of which fails at times.
#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_message_is_delivered_although_the_server_is_killed() {
    let mut server = NatsServer::start(&[]);
    let broker = Arc::new(broker(&server));
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for member in 0..2 {
        let asked = Subscription { settle_within: Duration::from_secs(3), ..subscription("t.jobs", Some("q"), 8) };
        let (mut deliveries, sender) = (broker.subscribe(asked).await.unwrap(), sender.clone());
        tokio::spawn(async move {
            while let Some(it) = deliveries.next().await {
                let fails = member == 0 && it.attempt == 1 && it.message.body.ends_with(b"7");
                let (body, delay) = (text(&it), Duration::from_millis(50));
                let _ = it.settle.settle(if fails { Settlement::Retry(delay) } else { Settlement::Done }).await;
                if !fails && sender.send(body).is_err() {
                    break;
                }
            }
        });
    }
    let publishing = broker.clone();
    let (progress, mut published) = tokio::sync::watch::channel(0);
    let publisher = tokio::spawn(async move {
        let mut accepted = BTreeSet::new();
        for number in 0..1000 {
            let body = number.to_string();
            // A message that was not acknowledged is sent again, and may then be there twice.
            while publishing.publish(message("t.jobs", &body)).await.is_err() {}
            accepted.insert(body);
            progress.send(number).unwrap();
        }
        accepted
    });
    for kill_at in [300, 700] {
        published.wait_for(|it| *it >= kill_at).await.unwrap();
        server.kill();
        server.run();
    }
    let accepted = timeout(Duration::from_mins(2), publisher).await.unwrap().unwrap();
    let mut got = BTreeMap::<String, u32>::new();
    while got.len() < accepted.len() {
        let body = timeout(Duration::from_secs(30), receiver.recv()).await;
        let missing = || accepted.iter().filter(|it| !got.contains_key(*it)).collect::<Vec<_>>();
        let body = body.unwrap_or_else(|_| panic!("not delivered: {:?}", missing())).unwrap();
        *got.entry(body).or_default() += 1;
    }
    assert_eq!(got.into_keys().collect::<BTreeSet<_>>(), accepted);
}

#[tokio::test]
async fn a_queue_remembers_what_it_handled_while_no_one_subscribes() {
    let mut server = NatsServer::start(&[]);
    let first = broker(&server);
    let mut deliveries = first.subscribe(subscription("t.a", Some("a.queue"), 1)).await.unwrap();
    for body in ["0", "1", "2"] {
        first.publish(message("t.a", body)).await.unwrap();
    }
    next(&mut deliveries).await.settle.settle(Settlement::Done).await.unwrap();
    drop(deliveries);
    first.close().await;
    server.kill();
    server.run();
    let second = broker(&server);
    let mut deliveries = second.subscribe(subscription("t.a", Some("a.queue"), 1)).await.unwrap();
    for body in ["1", "2"] {
        let got = next(&mut deliveries).await;
        assert_eq!(text(&got), body);
        got.settle.settle(Settlement::Done).await.unwrap();
    }
    none(&mut deliveries).await;
}

#[tokio::test]
async fn a_consumer_that_the_server_lost_is_created_again_where_it_was() {
    let server = NatsServer::start(&[]);
    let broker = broker(&server);
    let mut deliveries = broker.subscribe(subscription("t.a", None, 2)).await.unwrap();
    for body in ["0", "1", "2", "3"] {
        broker.publish(message("t.a", body)).await.unwrap();
    }
    let held = next(&mut deliveries).await;
    next(&mut deliveries).await.settle.settle(Settlement::Done).await.unwrap();
    let context = broker.connection.jetstream().await.unwrap();
    let stream = context.get_stream("work").await.unwrap();
    let names: Vec<String> = futures_util::TryStreamExt::try_collect(stream.consumer_names()).await.unwrap();
    for name in names {
        stream.delete_consumer(&name).await.unwrap();
    }
    drop(held);
    let mut got = BTreeSet::new();
    while got.len() < 3 {
        let it = next(&mut deliveries).await;
        got.insert(text(&it));
        it.settle.settle(Settlement::Done).await.unwrap();
        got.remove("1");
    }
    assert_eq!(got.into_iter().collect::<Vec<_>>(), ["0", "2", "3"]);
}

#[tokio::test]
async fn a_frozen_server_fails_operations_in_time() {
    let server = NatsServer::start(&[]);
    let broker = broker(&server);
    let mut deliveries = broker.subscribe(subscription("t.a", Some("q"), 1)).await.unwrap();
    broker.publish(message("t.a", "x")).await.unwrap();
    let held = next(&mut deliveries).await;
    server.freeze(true);
    let started = Instant::now();
    assert!(broker.health().await.is_err());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(matches!(broker.publish(message("t.a", "y")).await, Err(Error::Timeout)));
    assert!(matches!(held.settle.settle(Settlement::Done).await, Err(Error::Timeout)));
    assert!(broker.subscribe(subscription("t.a", None, 1)).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(14), "{:?}", started.elapsed());
    server.freeze(false);
    recovers(&broker).await;
    broker.publish(message("t.a", "z")).await.unwrap();
    let got = next(&mut deliveries).await;
    assert!(["y", "z"].contains(&text(&got).as_str()));
}

#[tokio::test]
async fn a_subject_or_a_stream_that_is_not_there_is_an_error() {
    let server = NatsServer::start(&[]);
    let sent = broker(&server).publish(message("other", "")).await;
    assert!(matches!(&sent, Err(Error::Other(it)) if it.contains("`other`")), "{sent:?}");
    let absent = JetStream::new(JetStreamConfig { create: false, stream: "no".to_owned(), ..config(&server) }).unwrap();
    let health = absent.health().await.unwrap_err();
    assert!(health.contains("no stream `no`"), "{health}");
    let refused = absent.subscribe(subscription("t.a", None, 1)).await.err();
    assert!(matches!(refused, Some(Error::Other(_))), "{refused:?}");
    for stream in ["", "a.b", "a b", "a*", &"x".repeat(200)] {
        let invalid = JetStream::new(JetStreamConfig { stream: stream.to_owned(), ..config(&server) }).err();
        assert!(matches!(invalid, Some(Error::Other(_))), "{stream}");
    }
    assert!(JetStream::new(JetStreamConfig { subjects: Vec::new(), ..config(&server) }).is_err());
}

#[tokio::test]
async fn a_full_work_queue_refuses_and_handled_messages_make_room() {
    let server = NatsServer::start(&[]);
    let config = JetStreamConfig { retention: Retention::WorkQueue, max_bytes: 4096, ..config(&server) };
    let broker = JetStream::new(config).unwrap();
    let body = "x".repeat(1000);
    let mut accepted = 0;
    let full = loop {
        match broker.publish(message("t.a", &body)).await {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::QuotaExceeded(_)), "{full:?}");
    assert!(accepted >= 2);
    // The queue comes later than its messages: a work queue begins with what is there.
    let mut deliveries = broker.subscribe(subscription("t.a", Some("q"), 1)).await.unwrap();
    next(&mut deliveries).await.settle.settle(Settlement::Done).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while broker.publish(message("t.a", &body)).await.is_err() {
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test]
async fn a_new_version_may_ask_for_other_times_and_a_queue_may_replay() {
    let server = NatsServer::start(&[]);
    let broker = broker(&server);
    broker.publish(message("t.a", "old")).await.unwrap();
    let replaying = JetStream::new(JetStreamConfig { replay: true, ..config(&server) }).unwrap();
    let mut replay = replaying.subscribe(subscription("t.a", Some("replay"), 1)).await.unwrap();
    assert_eq!(text(&next(&mut replay).await), "old");
    let mut first = broker.subscribe(subscription("t.a", Some("q"), 1)).await.unwrap();
    none(&mut first).await;
    let asked = Subscription { settle_within: Duration::from_secs(1), ..subscription("t.a", Some("q"), 4) };
    let mut second = replaying.subscribe(asked).await.unwrap();
    drop(first);
    broker.publish(message("t.a", "new")).await.unwrap();
    let _held = next(&mut second).await;
    assert_eq!(next(&mut second).await.attempt, 2, "the shorter time counts");
}

#[tokio::test]
async fn a_request_is_one_of_core_nats() {
    let server = NatsServer::start(&[]);
    let (broker, core) = (broker(&server), Nats::new(&NatsConfig::new(&server.url())).unwrap());
    let mut requests = core.subscribe(subscription("ask", Some("q"), 1)).await.unwrap();
    let respond = async {
        let got = next(&mut requests).await;
        core.publish(message(got.message.reply_to.as_deref().unwrap(), "answer")).await.unwrap();
        got.settle.settle(Settlement::Done).await.unwrap();
    };
    let (reply, ()) = tokio::join!(broker.request("ask", "x".into(), Duration::from_secs(10)), respond);
    assert_eq!(reply.unwrap().body, "answer");
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_created_again() {
    let server = NatsServer::start(&[]);
    let broker = broker(&server);
    let mut deliveries = broker.subscribe(subscription("t.a", Some("q"), 1)).await.unwrap();
    broker.connection.jetstream().await.unwrap().delete_stream("work").await.unwrap();
    assert!(broker.publish(message("t.a", "x")).await.is_err());
    let deadline = Instant::now() + Duration::from_secs(10);
    while broker.publish(message("t.a", "y")).await.is_err() {
        assert!(Instant::now() < deadline);
    }
    // The queue is created again once the host has noticed, and begins there.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        broker.publish(message("t.a", "z")).await.unwrap();
        if timeout(Duration::from_millis(200), deliveries.next()).await.is_ok() {
            break;
        }
        assert!(Instant::now() < deadline);
    }
}
