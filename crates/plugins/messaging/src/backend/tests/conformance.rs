//! The promises of the trait, as assertions that run over every backend.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::backend::{Broker, Deliveries, Delivery, Error, Message, Settlement, Subscription};

/// Longer than anything takes that is to happen.
const SOON: Duration = Duration::from_secs(20);
/// How long to look for what is not to happen.
const NEVER: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_mins(1);

pub(crate) fn message(subject: &str, body: &str) -> Message {
    Message { subject: subject.to_owned(), body: body.to_owned().into(), reply_to: None }
}

pub(crate) fn subscription(subject: &str, queue: Option<&str>, in_flight: usize) -> Subscription {
    let queue = queue.map(str::to_owned);
    Subscription { subject: subject.to_owned(), queue, in_flight, settle_within: LONG }
}

pub(crate) async fn next(deliveries: &mut Box<dyn Deliveries>) -> Delivery {
    timeout(SOON, deliveries.next()).await.expect("no delivery in time").expect("the broker is gone")
}

pub(crate) fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.body.to_vec()).unwrap()
}

/// Asserts that nothing is delivered for a while.
pub(crate) async fn none(deliveries: &mut Box<dyn Deliveries>) {
    if let Ok(Some(it)) = timeout(NEVER, deliveries.next()).await {
        panic!("delivered `{}`, attempt {}", text(&it), it.attempt);
    }
}

async fn done(delivery: Delivery) -> String {
    let text = text(&delivery);
    delivery.settle.settle(Settlement::Done).await.unwrap();
    text
}

/// Asserts every promise. Subjects begin with the prefix; requests go to `core.`.
pub(crate) async fn conforms<B: Broker>(broker: B, prefix: &str) {
    let broker = Arc::new(broker);
    rejects_invalid_subjects(&*broker, prefix).await;
    delivers_what_was_sent(&*broker, prefix).await;
    fans_out_and_shares(&*broker, prefix).await;
    limits_what_is_in_flight_and_keeps_the_order(&*broker, prefix).await;
    delivers_again_after_a_delay(&*broker, prefix).await;
    delivers_again_what_was_dropped_or_is_late(&*broker, prefix).await;
    progress_keeps_a_delivery(&*broker, prefix).await;
    a_dropped_next_loses_nothing(&*broker, prefix).await;
    requests_and_replies(&broker).await;
    rejects_what_is_too_large(&*broker, prefix).await;
    ends(&*broker, prefix).await;
}

async fn rejects_invalid_subjects(broker: &dyn Broker, prefix: &str) {
    for subject in ["", "a b", "a..b", "a.*", "a.>", "a\r\nPING"] {
        let sent = broker.publish(message(subject, "")).await;
        assert!(matches!(sent, Err(Error::InvalidSubject(_))), "{subject:?}: {sent:?}");
        let asked = broker.request(subject, "".into(), SOON).await;
        assert!(matches!(asked, Err(Error::InvalidSubject(_))), "{subject:?}: {asked:?}");
    }
    let reply_to = Some("a\r\nPING".to_owned());
    let sent = broker.publish(Message { reply_to, ..message(&format!("{prefix}.x"), "") }).await;
    assert!(matches!(sent, Err(Error::InvalidSubject(_))), "{sent:?}");
    for (subject, queue) in [("a.>.b", None), ("", None), ("a", Some("")), ("a", Some("q q"))] {
        let result = broker.subscribe(subscription(subject, queue, 1)).await.err();
        assert!(matches!(result, Some(Error::InvalidSubject(_))), "{subject:?} {queue:?}: {result:?}");
    }
}

async fn delivers_what_was_sent(broker: &dyn Broker, prefix: &str) {
    let subject = format!("{prefix}.sent.a.b");
    let mut exact = broker.subscribe(subscription(&subject, None, 4)).await.unwrap();
    let mut one = broker.subscribe(subscription(&format!("{prefix}.sent.*.b"), None, 4)).await.unwrap();
    let mut rest = broker.subscribe(subscription(&format!("{prefix}.sent.>"), None, 4)).await.unwrap();
    let mut other = broker.subscribe(subscription(&format!("{prefix}.sent.*"), None, 4)).await.unwrap();
    let sent = Message { reply_to: Some("core.answers".to_owned()), ..message(&subject, "hello") };
    broker.publish(sent.clone()).await.unwrap();
    for deliveries in [&mut exact, &mut one, &mut rest] {
        let got = next(deliveries).await;
        assert_eq!((&got.message, got.attempt), (&sent, 1));
        done(got).await;
    }
    none(&mut other).await;
    none(&mut exact).await;
    broker.publish(message(&subject, "")).await.unwrap();
    let got = next(&mut exact).await;
    assert_eq!(got.message, message(&subject, ""));
    done(got).await;
}

async fn fans_out_and_shares(broker: &dyn Broker, prefix: &str) {
    let subject = format!("{prefix}.shared");
    let mut alone = broker.subscribe(subscription(&subject, None, 100)).await.unwrap();
    let mut first = broker.subscribe(subscription(&subject, Some("workers"), 1)).await.unwrap();
    let mut second = broker.subscribe(subscription(&subject, Some("workers"), 1)).await.unwrap();
    let mut elsewhere = broker.subscribe(subscription(&subject, Some("audit"), 100)).await.unwrap();
    let all: BTreeSet<String> = (0..40).map(|it| it.to_string()).collect();
    for body in &all {
        broker.publish(message(&subject, body)).await.unwrap();
    }
    for deliveries in [&mut alone, &mut elsewhere] {
        let mut got = BTreeSet::new();
        while got.len() < all.len() {
            assert!(got.insert(done(next(deliveries).await).await), "delivered twice");
        }
        assert_eq!(got, all);
    }
    let (mut by_first, mut by_second) = (BTreeSet::new(), BTreeSet::new());
    let deadline = Instant::now() + SOON;
    while by_first.len() + by_second.len() < all.len() {
        assert!(Instant::now() < deadline, "got {} and {}", by_first.len(), by_second.len());
        let (by, it) = tokio::select! {
            it = first.next() => (&mut by_first, it),
            it = second.next() => (&mut by_second, it),
        };
        by.insert(done(it.unwrap()).await);
    }
    assert!(by_first.is_disjoint(&by_second), "each goes to one of them");
    assert!(!by_first.is_empty() && !by_second.is_empty(), "they share");
}

async fn limits_what_is_in_flight_and_keeps_the_order(broker: &dyn Broker, prefix: &str) {
    let subject = format!("{prefix}.order");
    let mut deliveries = broker.subscribe(subscription(&subject, Some("one"), 1)).await.unwrap();
    for body in 0..20 {
        broker.publish(message(&subject, &body.to_string())).await.unwrap();
    }
    let held = next(&mut deliveries).await;
    none(&mut deliveries).await;
    assert_eq!(done(held).await, "0");
    for body in 1..20 {
        assert_eq!(done(next(&mut deliveries).await).await, body.to_string());
    }
    let mut two = broker.subscribe(subscription(&subject, None, 2)).await.unwrap();
    for body in 0..3 {
        broker.publish(message(&subject, &body.to_string())).await.unwrap();
    }
    let (a, b) = (next(&mut two).await, next(&mut two).await);
    none(&mut two).await;
    done(b).await;
    done(next(&mut two).await).await;
    done(a).await;
}

async fn delivers_again_after_a_delay(broker: &dyn Broker, prefix: &str) {
    let subject = format!("{prefix}.retry");
    let mut deliveries = broker.subscribe(subscription(&subject, Some("q"), 2)).await.unwrap();
    broker.publish(message(&subject, "again")).await.unwrap();
    for attempt in 1..4 {
        let got = next(&mut deliveries).await;
        assert_eq!((text(&got).as_str(), got.attempt), ("again", attempt));
        let (delay, started) = (Duration::from_millis(300), Instant::now());
        got.settle.settle(Settlement::Retry(delay)).await.unwrap();
        if attempt == 1 {
            // The delay holds up no other message.
            broker.publish(message(&subject, "other")).await.unwrap();
            assert_eq!(done(next(&mut deliveries).await).await, "other");
        }
        if attempt == 3 {
            let last = next(&mut deliveries).await;
            assert!(started.elapsed() >= delay, "{:?}", started.elapsed());
            assert_eq!(last.attempt, 4);
            last.settle.settle(Settlement::Retry(Duration::ZERO)).await.unwrap();
        }
    }
    let last = next(&mut deliveries).await;
    assert_eq!(last.attempt, 5);
    done(last).await;
    none(&mut deliveries).await;
}

async fn delivers_again_what_was_dropped_or_is_late(broker: &dyn Broker, prefix: &str) {
    let subject = format!("{prefix}.late");
    let settle_within = Duration::from_secs(1);
    let asked = Subscription { settle_within, ..subscription(&subject, Some("q"), 1) };
    let mut deliveries = broker.subscribe(asked).await.unwrap();
    broker.publish(message(&subject, "x")).await.unwrap();
    let started = Instant::now();
    let held = next(&mut deliveries).await;
    let again = next(&mut deliveries).await;
    assert!(started.elapsed() >= settle_within, "{:?}", started.elapsed());
    assert_eq!((text(&again).as_str(), again.attempt), ("x", 2));
    drop(held);
    drop(again);
    let third = next(&mut deliveries).await;
    assert_eq!((text(&third).as_str(), third.attempt), ("x", 3));
    done(third).await;
    none(&mut deliveries).await;
}

async fn progress_keeps_a_delivery(broker: &dyn Broker, prefix: &str) {
    let subject = format!("{prefix}.progress");
    let settle_within = Duration::from_secs(2);
    let asked = Subscription { settle_within, ..subscription(&subject, Some("q"), 2) };
    let mut deliveries = broker.subscribe(asked).await.unwrap();
    broker.publish(message(&subject, "x")).await.unwrap();
    let held = next(&mut deliveries).await;
    for _ in 0..7 {
        none(&mut deliveries).await;
        held.settle.progress().await.unwrap();
    }
    done(held).await;
}

async fn a_dropped_next_loses_nothing(broker: &dyn Broker, prefix: &str) {
    let subject = format!("{prefix}.cancel");
    let mut deliveries = broker.subscribe(subscription(&subject, Some("q"), 3)).await.unwrap();
    for body in 0..30 {
        broker.publish(message(&subject, &body.to_string())).await.unwrap();
    }
    let mut got = Vec::new();
    let deadline = Instant::now() + SOON;
    while got.len() < 30 {
        assert!(Instant::now() < deadline, "got {got:?}");
        if let Ok(it) = timeout(Duration::from_micros(300), deliveries.next()).await {
            let it = it.unwrap();
            assert_eq!(it.attempt, 1);
            got.push(done(it).await);
        }
    }
    assert_eq!(got, (0..30).map(|it| it.to_string()).collect::<Vec<_>>());
}

async fn requests_and_replies<B: Broker>(broker: &Arc<B>) {
    let unheard = broker.request("core.unheard", "".into(), SOON).await;
    assert!(matches!(unheard, Err(Error::NoResponders)), "{unheard:?}");
    let Some(mut responder) = responder(&**broker).await else { return };
    let asked = broker.clone();
    let answer = tokio::spawn(async move {
        for _ in 0..2 {
            let got = next(&mut responder).await;
            let reply_to = got.message.reply_to.clone().unwrap();
            let body = format!("{}!", text(&got));
            asked.publish(message(&reply_to, &body)).await.unwrap();
            done(got).await;
        }
        responder
    });
    for body in ["one", "two"] {
        let reply = broker.request("core.service", body.into(), SOON).await.unwrap();
        assert_eq!(reply.body, format!("{body}!"));
    }
    let mut responder = answer.await.unwrap();
    let silent = broker.request("core.service", "".into(), NEVER).await;
    assert!(matches!(silent, Err(Error::Timeout)), "{silent:?}");
    done(next(&mut responder).await).await;
}

/// A subscriber to requests. JetStream stores no requests, so there is none.
async fn responder(broker: &dyn Broker) -> Option<Box<dyn Deliveries>> {
    broker.subscribe(subscription("core.service", Some("q"), 1)).await.ok()
}

async fn rejects_what_is_too_large(broker: &dyn Broker, prefix: &str) {
    let subject = format!("{prefix}.large");
    let mut deliveries = broker.subscribe(subscription(&subject, None, 1)).await.unwrap();
    let limit = 1024 * 1024;
    let body = "x".repeat(limit + 1);
    let expected = Error::TooLarge { size: limit + 1, limit };
    assert_eq!(broker.publish(message(&subject, &body)).await.unwrap_err(), expected);
    assert_eq!(broker.request("core.x", body.clone().into(), SOON).await.unwrap_err(), expected);
    broker.publish(message(&subject, &body[..limit])).await.unwrap();
    assert_eq!(done(next(&mut deliveries).await).await.len(), limit);
}

async fn ends(broker: &dyn Broker, prefix: &str) {
    let subject = format!("{prefix}.end");
    let mut deliveries = broker.subscribe(subscription(&subject, Some("q"), 1)).await.unwrap();
    assert_eq!(broker.health().await, Ok(()));
    timeout(SOON, broker.close()).await.expect("close takes too long");
    assert!(timeout(SOON, deliveries.next()).await.expect("next does not end").is_none());
    let sent = broker.publish(message(&subject, "")).await;
    assert!(matches!(sent, Err(Error::Unavailable(_))), "{sent:?}");
    let asked = broker.request(&subject, "".into(), SOON).await;
    assert!(matches!(asked, Err(Error::Unavailable(_))), "{asked:?}");
    assert!(matches!(broker.subscribe(subscription(&subject, None, 1)).await.err(), Some(Error::Unavailable(_))));
    assert!(broker.health().await.is_err());
}
