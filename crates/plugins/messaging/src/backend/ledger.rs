//! The messages of one subscription that the host itself keeps: those that wait, those that are handed out, and those
//! that are due again later.
//!
//! Takes messages, requests for one by members, and settlements, each with the time; gives messages to members in turn,
//! and when to look again. It reads no clock, waits for nothing and knows no broker: the embedded broker keeps a ledger
//! for each queue, and core NATS one for each subscription, because its server keeps none.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Message, Settlement, Subscription};

/// Stands for a time that does not come: an instant cannot be as late as the longest duration.
const FAR: Duration = Duration::from_hours(24 * 365 * 30);

/// The instant that is this long after another.
pub(crate) fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(FAR)).unwrap_or(now)
}

/// A message that a member got.
#[derive(Debug)]
pub(crate) struct Handed {
    /// The message's number in its ledger.
    pub(crate) item: u64,
    /// How often it was handed out, this time included.
    pub(crate) attempt: u32,
    pub(crate) message: Message,
}

/// What a member that asks gets.
#[derive(Debug)]
pub(crate) enum Next {
    Handed(Handed),
    /// Nothing yet: ask again when woken, or at this time.
    Wait(Option<Instant>),
}

#[derive(Debug)]
enum State {
    Waiting,
    Due(Instant),
    Out { member: u64, deadline: Instant },
}

#[derive(Debug)]
struct Item {
    message: Message,
    attempt: u32,
    state: State,
}

#[derive(Debug)]
struct Member {
    in_flight: usize,
    settle_within: Duration,
    out: usize,
    /// The message that was chosen for it and that it has not taken.
    handed: Option<(u64, u32)>,
    wake: Arc<Notify>,
}

/// The messages of a subscription's queue and its members.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    items: HashMap<u64, Item>,
    waiting: VecDeque<u64>,
    timers: BTreeSet<(Instant, u64)>,
    members: HashMap<u64, Member>,
    /// The members that ask for a message, in the order in which they asked.
    ready: VecDeque<u64>,
    last: u64,
    bytes: usize,
}

/// What a message counts against a limit on bytes.
pub(crate) fn size(message: &Message) -> usize {
    const OVERHEAD: usize = 256;
    message.body.len() + message.subject.len() + message.reply_to.as_ref().map_or(0, String::len) + OVERHEAD
}

impl Ledger {
    /// How many messages are not settled.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// What the messages that are not settled count against a limit on bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn members(&self) -> usize {
        self.members.len()
    }

    /// Adds a member. The second value wakes it when it should ask again.
    pub(crate) fn join(&mut self, subscription: &Subscription) -> (u64, Arc<Notify>) {
        let (id, wake) = (self.number(), Arc::new(Notify::new()));
        let member = Member {
            in_flight: subscription.in_flight.max(1),
            settle_within: subscription.settle_within.max(Duration::from_millis(1)),
            out: 0,
            handed: None,
            wake: wake.clone(),
        };
        self.members.insert(id, member);
        (id, wake)
    }

    /// Removes a member. What it has and has not settled stays: its handling may be going on.
    pub(crate) fn leave(&mut self, member: u64, now: Instant) {
        self.unwant(member, now);
        self.members.remove(&member);
    }

    pub(crate) fn push(&mut self, message: Message, now: Instant) {
        let id = self.number();
        self.bytes = self.bytes.saturating_add(size(&message));
        self.items.insert(id, Item { message, attempt: 0, state: State::Waiting });
        self.waiting.push_back(id);
        self.tick(now);
    }

    /// A member asks for a message. It has asked until it gets one, or takes that back with [`Self::unwant`].
    pub(crate) fn want(&mut self, member: u64, now: Instant) -> Next {
        let asked = self.members.get(&member).is_some_and(|it| it.handed.is_some()) || self.ready.contains(&member);
        if !asked && self.members.contains_key(&member) {
            self.ready.push_back(member);
        }
        self.tick(now);
        loop {
            let Some((item, attempt)) = self.members.get_mut(&member).and_then(|it| it.handed.take()) else {
                return Next::Wait(self.timers.first().map(|(at, _)| *at));
            };
            // What it was chosen for may have been too long ago.
            if let Some(it) = self.items.get(&item).filter(|it| it.is_out(attempt)) {
                return Next::Handed(Handed { item, attempt, message: it.message.clone() });
            }
            self.ready.push_back(member);
            self.tick(now);
        }
    }

    /// A member asks no longer. What was chosen for it and not taken goes to another, as if it had never been chosen.
    pub(crate) fn unwant(&mut self, member: u64, now: Instant) {
        self.ready.retain(|id| *id != member);
        let handed = self.members.get_mut(&member).and_then(|it| it.handed.take());
        if let Some((id, attempt)) = handed
            && let Some(item) = self.items.get_mut(&id).filter(|it| it.is_out(attempt))
        {
            item.attempt -= 1;
            self.requeue(id);
        }
        self.tick(now);
    }

    pub(crate) fn settle(&mut self, id: u64, attempt: u32, settlement: Settlement, now: Instant) {
        let Some(item) = self.items.get_mut(&id) else { return };
        match settlement {
            // Handled late, but not yet given to another: it need not be.
            Settlement::Done if item.is_out(attempt) || !matches!(item.state, State::Out { .. }) => self.remove(id),
            Settlement::Retry(Duration::ZERO) if item.is_out(attempt) => self.requeue(id),
            Settlement::Retry(delay) if item.is_out(attempt) => {
                self.release(id);
                let due = later(now, delay);
                if let Some(item) = self.items.get_mut(&id) {
                    item.state = State::Due(due);
                }
                self.arm(due, id);
            }
            _ => {}
        }
        self.tick(now);
    }

    /// Gives the holder of a delivery its whole time again.
    pub(crate) fn progress(&mut self, id: u64, attempt: u32, now: Instant) {
        let Some(item) = self.items.get_mut(&id).filter(|it| it.is_out(attempt)) else { return };
        if let State::Out { member, deadline } = &mut item.state
            && let Some(member) = self.members.get(member)
        {
            let extended = later(now, member.settle_within);
            self.timers.remove(&(*deadline, id));
            *deadline = extended;
            self.arm(extended, id);
        }
    }

    /// Wakes every member, because the ledger goes away.
    pub(crate) fn wake_all(&self) {
        self.members.values().for_each(|it| it.wake.notify_one());
    }

    /// Makes due what is due, and gives what waits to the members that ask.
    fn tick(&mut self, now: Instant) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            self.requeue(id);
        }
        while let Some(id) = self.waiting.front().copied() {
            let has_room = |id: &u64| self.members.get(id).is_some_and(|it| it.out < it.in_flight);
            let Some(at) = self.ready.iter().position(has_room) else { break };
            self.waiting.pop_front();
            let Some(number) = self.ready.remove(at) else { break };
            let (Some(member), Some(item)) = (self.members.get_mut(&number), self.items.get_mut(&id)) else { continue };
            let deadline = later(now, member.settle_within);
            item.attempt += 1;
            item.state = State::Out { member: number, deadline };
            member.out += 1;
            member.handed = Some((id, item.attempt));
            member.wake.notify_one();
            self.arm(deadline, id);
        }
    }

    /// Lets a message wait again, ahead of those that were never handed out.
    fn requeue(&mut self, id: u64) {
        self.release(id);
        if let Some(item) = self.items.get_mut(&id) {
            item.state = State::Waiting;
            self.waiting.push_front(id);
        }
    }

    /// Undoes what a message's state holds: its timer, and its place among its member's.
    fn release(&mut self, id: u64) {
        match self.items.get(&id).map(|it| &it.state) {
            Some(State::Due(at)) => {
                self.timers.remove(&(*at, id));
            }
            Some(State::Out { member, deadline }) => {
                self.timers.remove(&(*deadline, id));
                if let Some(member) = self.members.get_mut(member) {
                    member.out = member.out.saturating_sub(1);
                }
            }
            Some(State::Waiting) => self.waiting.retain(|it| *it != id),
            None => {}
        }
    }

    fn remove(&mut self, id: u64) {
        self.release(id);
        if let Some(item) = self.items.remove(&id) {
            self.bytes = self.bytes.saturating_sub(size(&item.message));
        }
    }

    /// Sets a timer. When it is the earliest, the members that wait for a later one look again.
    fn arm(&mut self, at: Instant, id: u64) {
        self.timers.insert((at, id));
        if self.timers.first() == Some(&(at, id)) {
            self.ready.iter().filter_map(|id| self.members.get(id)).for_each(|it| it.wake.notify_one());
        }
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl Item {
    /// Whether this delivery is the one that counts.
    fn is_out(&self, attempt: u32) -> bool {
        matches!(self.state, State::Out { .. }) && self.attempt == attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> Message {
        Message { subject: "a".to_owned(), body: body.to_owned().into(), reply_to: None }
    }

    fn subscription(in_flight: usize) -> Subscription {
        let settle_within = Duration::from_secs(10);
        Subscription { subject: "a".to_owned(), queue: None, in_flight, settle_within }
    }

    fn got(next: Next) -> (u64, u32, String) {
        match next {
            Next::Handed(it) => (it.item, it.attempt, String::from_utf8(it.message.body.to_vec()).unwrap()),
            Next::Wait(until) => panic!("waits until {until:?}"),
        }
    }

    fn waits(next: Next) -> Option<Instant> {
        match next {
            Next::Wait(until) => until,
            Next::Handed(it) => panic!("got {it:?}"),
        }
    }

    #[test]
    fn keeps_the_order_and_the_limit_of_a_member() {
        let (now, mut ledger) = (Instant::now(), Ledger::default());
        let (member, _) = ledger.join(&subscription(1));
        ["1", "2"].into_iter().for_each(|body| ledger.push(message(body), now));
        let (first, attempt, body) = got(ledger.want(member, now));
        assert_eq!((attempt, body.as_str()), (1, "1"));
        waits(ledger.want(member, now));
        ledger.settle(first, 1, Settlement::Done, now);
        assert_eq!(got(ledger.want(member, now)).2, "2");
        assert_eq!(ledger.len(), 1);
    }

    #[test]
    fn gives_to_the_members_that_ask_in_turn() {
        let (now, mut ledger) = (Instant::now(), Ledger::default());
        let (a, b) = (ledger.join(&subscription(9)).0, ledger.join(&subscription(9)).0);
        for member in [a, b] {
            waits(ledger.want(member, now));
        }
        ["1", "2"].into_iter().for_each(|body| ledger.push(message(body), now));
        assert_eq!(got(ledger.want(b, now)).2, "2");
        assert_eq!(got(ledger.want(a, now)).2, "1");
    }

    #[test]
    fn what_is_not_taken_goes_to_another_as_if_it_had_not_been_given() {
        let (now, mut ledger) = (Instant::now(), Ledger::default());
        let (a, b) = (ledger.join(&subscription(1)).0, ledger.join(&subscription(1)).0);
        for member in [a, b] {
            waits(ledger.want(member, now));
        }
        ledger.push(message("1"), now);
        ledger.leave(a, now);
        assert_eq!(got(ledger.want(b, now)).1, 1);
    }

    #[test]
    fn delivers_again_after_a_delay_and_after_the_deadline() {
        let (start, mut ledger) = (Instant::now(), Ledger::default());
        let (member, _) = ledger.join(&subscription(1));
        ledger.push(message("1"), start);
        let (item, ..) = got(ledger.want(member, start));
        ledger.settle(item, 1, Settlement::Retry(Duration::from_secs(3)), start);
        assert_eq!(waits(ledger.want(member, start)), Some(start + Duration::from_secs(3)));
        let now = start + Duration::from_secs(3);
        assert_eq!(got(ledger.want(member, now)).1, 2);
        ledger.progress(item, 2, now + Duration::from_secs(9));
        waits(ledger.want(member, now + Duration::from_secs(18)));
        let now = now + Duration::from_secs(19);
        assert_eq!(got(ledger.want(member, now)).1, 3, "the deadline passed");
        // Only the last delivery counts while one is handed out.
        ledger.settle(item, 2, Settlement::Done, now);
        assert_eq!(ledger.len(), 1);
        ledger.settle(item, 3, Settlement::Done, now);
        assert_eq!((ledger.len(), ledger.bytes()), (0, 0));
        ledger.settle(item, 3, Settlement::Retry(Duration::MAX), now);
        assert_eq!(ledger.len(), 0);
    }

    #[test]
    fn a_late_settlement_spares_a_delivery_that_no_one_has() {
        let (start, mut ledger) = (Instant::now(), Ledger::default());
        let (member, _) = ledger.join(&subscription(1));
        ledger.push(message("1"), start);
        let (item, ..) = got(ledger.want(member, start));
        let now = start + Duration::from_secs(10);
        ledger.tick(now);
        ledger.settle(item, 1, Settlement::Done, now);
        waits(ledger.want(member, now));
        assert_eq!(ledger.len(), 0);
    }
}
