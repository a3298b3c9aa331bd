//! What is the embedded broker's own: its limits, and the grace of a queue.

use std::time::Duration;

use tokio::time::{advance, timeout};

use super::{Embedded, EmbeddedConfig};
use crate::backend::tests::conformance::{conforms, message, next, none, subscription, text};
use crate::backend::{Broker as _, Error, Settlement};

#[tokio::test(flavor = "multi_thread")]
async fn conformance() {
    conforms(Embedded::new(EmbeddedConfig::default()), "t").await;
}

#[tokio::test]
async fn a_message_without_subscribers_is_dropped() {
    let broker = Embedded::new(EmbeddedConfig { max_waiting: 1, ..EmbeddedConfig::default() });
    for _ in 0..10 {
        broker.publish(message("a", "x")).await.unwrap();
    }
    let mut deliveries = broker.subscribe(subscription("a", None, 1)).await.unwrap();
    none(&mut deliveries).await;
    drop(deliveries);
    let asked = broker.request("a", "".into(), Duration::from_secs(9)).await;
    assert!(matches!(asked, Err(Error::NoResponders)), "dropping it unsubscribes: {asked:?}");
}

#[tokio::test]
async fn a_full_queue_refuses_and_loses_nothing() {
    let broker = Embedded::new(EmbeddedConfig { max_waiting: 3, ..EmbeddedConfig::default() });
    let mut slow = broker.subscribe(subscription("a.>", Some("q"), 1)).await.unwrap();
    let mut quick = broker.subscribe(subscription("a.b", None, 9)).await.unwrap();
    for body in ["0", "1", "2"] {
        broker.publish(message("a.b", body)).await.unwrap();
        next(&mut quick).await.settle.settle(Settlement::Done).await.unwrap();
    }
    let full = broker.publish(message("a.b", "3")).await;
    assert!(matches!(full, Err(Error::QuotaExceeded(_))), "{full:?}");
    none(&mut quick).await;
    let first = next(&mut slow).await;
    assert!(broker.publish(message("a.b", "3")).await.is_err(), "one that is handed out counts");
    first.settle.settle(Settlement::Done).await.unwrap();
    broker.publish(message("a.b", "3")).await.unwrap();
    for body in ["1", "2", "3"] {
        let got = next(&mut slow).await;
        assert_eq!(text(&got), body);
        got.settle.settle(Settlement::Done).await.unwrap();
    }
}

#[tokio::test]
async fn bounds_bytes_subscriptions_and_bodies() {
    let config =
        EmbeddedConfig { max_bytes: 2000, max_message: 600, max_subscriptions: 2, ..EmbeddedConfig::default() };
    let broker = Embedded::new(config);
    let body = "x".repeat(600);
    let large = broker.publish(message("a", &"x".repeat(601))).await;
    assert_eq!(large, Err(Error::TooLarge { size: 601, limit: 600 }));
    let _first = broker.subscribe(subscription("a", None, 1)).await.unwrap();
    let second = broker.subscribe(subscription("a", None, 1)).await.unwrap();
    assert!(matches!(broker.subscribe(subscription("b", None, 1)).await.err(), Some(Error::QuotaExceeded(_))));
    broker.publish(message("a", &body)).await.unwrap();
    let full = broker.publish(message("a", &body)).await;
    assert!(matches!(full, Err(Error::QuotaExceeded(_))), "it counts once for each subscriber: {full:?}");
    drop(second);
    broker.publish(message("a", &body)).await.unwrap();
    assert!(broker.subscribe(subscription("b", None, 1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_queue_outlives_its_last_member_for_a_while() {
    let broker = Embedded::new(EmbeddedConfig::default());
    let mut old = broker.subscribe(subscription("a", Some("q"), 2)).await.unwrap();
    for body in ["held", "dropped", "waits"] {
        broker.publish(message("a", body)).await.unwrap();
    }
    let (held, dropped) = (next(&mut old).await, next(&mut old).await);
    drop(old);
    drop(dropped);
    broker.publish(message("a", "between")).await.unwrap();
    advance(Duration::from_secs(29)).await;
    let mut new = broker.subscribe(subscription("a", Some("q"), 9)).await.unwrap();
    held.settle.settle(Settlement::Done).await.unwrap();
    for (body, attempt) in [("dropped", 2), ("waits", 1), ("between", 1)] {
        let got = next(&mut new).await;
        assert_eq!((text(&got).as_str(), got.attempt), (body, attempt));
        got.settle.settle(Settlement::Done).await.unwrap();
    }
    broker.publish(message("a", "lost")).await.unwrap();
    drop(new);
    advance(Duration::from_secs(31)).await;
    let mut late = broker.subscribe(subscription("a", Some("q"), 1)).await.unwrap();
    assert!(timeout(Duration::from_secs(100), late.next()).await.is_err());
}

#[tokio::test]
async fn members_of_a_queue_take_turns() {
    let broker = Embedded::new(EmbeddedConfig::default());
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(broker.subscribe(subscription("a", Some("q"), 100)).await.unwrap());
    }
    let mut waiting: Vec<_> = members.iter_mut().map(|it| it.next()).collect();
    for it in &mut waiting {
        assert!(timeout(Duration::ZERO, it).await.is_err());
    }
    for body in 0..3 {
        broker.publish(message("a", &body.to_string())).await.unwrap();
    }
    for (at, it) in waiting.into_iter().enumerate() {
        assert_eq!(text(&it.await.unwrap()), at.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_lose_and_repeat_nothing() {
    let broker = std::sync::Arc::new(Embedded::new(EmbeddedConfig::default()));
    let (sender, mut receiver) = tokio::sync::mpsc::channel(100);
    for _ in 0..4 {
        let (mut deliveries, sender) =
            (broker.subscribe(subscription("a.*", Some("q"), 3)).await.unwrap(), sender.clone());
        tokio::spawn(async move {
            while let Some(it) = deliveries.next().await {
                let (body, attempt) = (text(&it), it.attempt);
                let settlement = if attempt == 1 { Settlement::Retry(Duration::ZERO) } else { Settlement::Done };
                it.settle.settle(settlement).await.unwrap();
                if attempt > 1 && sender.send((body, attempt)).await.is_err() {
                    break;
                }
            }
        });
    }
    for publisher in 0..4 {
        let broker = broker.clone();
        tokio::spawn(async move {
            for it in 0..250 {
                broker.publish(message("a.b", &format!("{publisher}-{it}"))).await.unwrap();
            }
        });
    }
    let mut got = std::collections::BTreeSet::new();
    while got.len() < 1000 {
        let (body, attempt) = timeout(Duration::from_secs(20), receiver.recv()).await.unwrap().unwrap();
        assert_eq!(attempt, 2);
        assert!(got.insert(body));
    }
}
