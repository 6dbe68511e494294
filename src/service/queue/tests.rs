mod given_up;

use futures_executor::block_on;
use proptest::prelude::*;
use std::time::Duration;

use super::layout::{Layout, Name};
use super::{PriorityQueue, Queue, QueueItem};
use crate::core::machine::Command;
use crate::core::machine::txn::Put;
use crate::error::Kind;
use crate::ids::{NodeId, Revision};
use crate::service::fake::by_hand::{keys, node, now, open};
use crate::service::fake::{Answer, Fake, Manner};
use crate::{Op, Session};

fn enqueue(queue: &Queue, value: &'static str) -> Revision {
    block_on(queue.enqueue(value)).unwrap().revision
}

fn try_next(queue: &Queue) -> Option<QueueItem> {
    block_on(queue.try_dequeue()).unwrap()
}

fn try_value(queue: &Queue) -> Option<String> {
    try_next(queue).map(|item| String::from_utf8(item.value.to_vec()).unwrap())
}

/// An item as another member names it that has not heard of anything behind `behind`.
fn enqueue_late(node: &Fake, key: &'static str, value: &'static str) {
    node.write(&Command::Put(Put::new(key.into(), value.into())));
}

#[test]
fn rec_40_items_come_out_as_they_went_in() {
    let (_, store) = node();
    let queue = store.queue("q");
    let revisions = ["a", "b", "c"].map(|value| enqueue(&queue, value));
    assert!(revisions.is_sorted());
    for (revision, value) in revisions.into_iter().zip(["a", "b", "c"]) {
        let item = try_next(&queue).unwrap();
        assert_eq!(
            (item.revision, item.priority, &item.value[..]),
            (revision, 0, value.as_bytes())
        );
    }
    assert_eq!(try_next(&queue), None);
    assert!(keys(&store).is_empty());
}

/// `REC-40`: whoever has not heard of the newest revisions calls its items as if they were older.
#[test]
fn rec_40_the_order_is_that_of_revisions_and_not_of_names() {
    let (node, store) = node();
    let queue = store.queue("q");
    enqueue_late(&node, "q/0000000000000001-2-0", "first");
    enqueue_late(&node, "q/0000000000000002-1-0", "second");
    enqueue_late(&node, "q/0000000000000001-1-0", "third");
    enqueue_late(&node, "q/0000000000000003-1-0", "fourth");
    enqueue_late(&node, "q/0000000000000002-1-1", "fifth");
    let out: Vec<_> = std::iter::from_fn(|| try_value(&queue)).collect();
    assert_eq!(out, ["first", "second", "third", "fourth", "fifth"]);
}

/// Between that one sees an item and that it is taken, somebody else claims it.
#[test]
fn rec_40_who_is_late_takes_nothing_that_was_claimed_meanwhile() {
    let (node, store) = node();
    let (session, queue) = (open(&store), store.queue("q"));
    enqueue(&queue, "a");
    node.take_log();
    node.set_manner(Manner::Keep);
    let mut late = queue.try_dequeue();
    assert!(now(&mut late).is_none());
    for _ in 0..3 {
        if node.take_log().iter().any(|line| line.starts_with("write")) {
            break;
        }
        node.answer();
        assert!(now(&mut late).is_none());
    }
    let taking = node.take_kept();
    assert_eq!(taking.len(), 1, "its write is on its way");
    node.set_manner(Manner::AnswerAtOnce);
    let claimed = block_on(store.queue("q").claim(&session)).unwrap();
    node.keep(taking);
    node.answer();
    assert_eq!(now(&mut late).unwrap().unwrap(), None);
    assert!(!claimed.is_lost());
    block_on(claimed.ack()).unwrap();
}

/// `REC-40`: etcd's queue "q" sees the items of "q2".
#[test]
fn rec_40_names_that_begin_alike_are_different_queues() {
    let (_, store) = node();
    for name in ["q2", "q/r", "q/p00005"] {
        enqueue(&store.queue(name), "not mine");
    }
    block_on(store.priority_queue("q").enqueue(5, "not mine")).unwrap();
    assert_eq!(try_next(&store.queue("q")), None);
    assert_eq!(try_value(&store.queue("q/r")).as_deref(), Some("not mine"));
    assert!(block_on(store.priority_queue("q").try_dequeue()).unwrap().is_some());
}

#[test]
fn rec_40_who_waits_is_given_what_comes() {
    let (node, store) = node();
    let queue = store.queue("q");
    let (mut first, mut second) = (queue.dequeue(), queue.clone().dequeue());
    assert!(now(&mut first).is_none() && now(&mut second).is_none());
    enqueue(&queue, "a");
    node.advance(crate::time::Instant::default());
    assert!(now(&mut second).is_none(), "the first is first");
    assert_eq!(&now(&mut first).unwrap().unwrap().value[..], b"a");
    assert!(now(&mut second).is_none());
    enqueue(&queue, "b");
    node.advance(crate::time::Instant::default());
    assert_eq!(&now(&mut second).unwrap().unwrap().value[..], b"b");
    assert!(now(&mut second).unwrap().unwrap_err().is_invalid());
}

/// Of those that share a handle one asks for an item; who is alone meets nobody.
#[test]
fn rec_40_an_item_is_asked_for_once() {
    let (node, store) = node();
    let queue = store.queue("q");
    let mut waiting: Vec<_> = (0..16).map(|_| queue.dequeue()).collect();
    assert!(waiting.iter_mut().all(|it| now(it).is_none()));
    enqueue(&queue, "a");
    node.advance(crate::time::Instant::default());
    node.take_log();
    let got = waiting.iter_mut().filter_map(now).count();
    let writes = node.take_log().iter().filter(|line| line.starts_with("write")).count();
    assert_eq!((got, writes), (1, 1));
}

/// What was looked at is gone by when it is asked for: another is taken, or it is looked again.
#[test]
fn rec_40_a_race_that_is_lost_is_run_again() {
    let (node, store) = node();
    let queue = store.queue("q");
    for value in ["a", "b", "c"] {
        enqueue(&queue, value);
    }
    node.set_manner(Manner::Keep);
    let mut slow = queue.dequeue();
    assert!(now(&mut slow).is_none());
    let asked = node.take_kept();
    node.set_manner(Manner::AnswerAtOnce);
    assert_eq!(try_value(&store.queue("q")).as_deref(), Some("a"));
    node.keep(asked);
    node.answer();
    assert_eq!(&now(&mut slow).unwrap().unwrap().value[..], b"b");
}

/// The same where requests may be larger: what was taken meanwhile is known when it is applied.
#[test]
fn rec_40_the_first_that_is_still_there_is_taken() {
    let (node, store) = node();
    node.set_limits(1 << 20, 128);
    let queue = store.queue("q");
    for value in ["a", "b", "c"] {
        enqueue(&queue, value);
    }
    node.set_manner(Manner::Keep);
    let (mut slow, mut slower) = (queue.dequeue(), queue.dequeue());
    assert!(now(&mut slow).is_none() && now(&mut slower).is_none());
    let asked = node.take_kept();
    assert_eq!(asked.len(), 2, "there is an item for each");
    node.set_manner(Manner::AnswerAtOnce);
    assert_eq!(try_value(&store.queue("q")).as_deref(), Some("a"));
    node.take_log();
    node.keep(asked);
    node.answer();
    assert_eq!(&now(&mut slow).unwrap().unwrap().value[..], b"b");
    assert_eq!(&now(&mut slower).unwrap().unwrap().value[..], b"c");
    assert!(node.take_log().iter().all(|line| line == "driven"));
}

#[test]
fn rec_40_who_waits_in_vain_goes_with_nothing() {
    let (node, store) = node();
    let queue = store.queue("q");
    let mut waiting = queue.dequeue().timeout(Duration::from_secs(1));
    assert!(now(&mut waiting).is_none());
    node.pass(Duration::from_secs(1));
    assert!(now(&mut waiting).unwrap().unwrap_err().is_timeout());
    enqueue(&queue, "a");
    assert_eq!(try_value(&queue).as_deref(), Some("a"));
}

/// Who was asked for and went away: the next one has it, and nothing is lost.
#[test]
fn a_consumer_that_goes_away_loses_nothing() {
    let (node, store) = node();
    let queue = store.queue("q");
    for value in ["a", "b"] {
        enqueue(&queue, value);
    }
    drop(queue.dequeue());
    node.set_manner(Manner::Keep);
    let mut gone = queue.dequeue();
    assert!(now(&mut gone).is_none());
    drop(gone);
    node.answer();
    node.set_manner(Manner::AnswerAtOnce);
    assert_eq!(keys(&store).len(), 1, "it was taken");
    assert_eq!(&block_on(queue.dequeue()).unwrap().value[..], b"a");
    assert_eq!(&block_on(queue.dequeue()).unwrap().value[..], b"b");
    // One who has not been polled since it was woken does not keep the others waiting.
    let (mut first, mut second) = (queue.dequeue(), queue.dequeue());
    assert!(now(&mut first).is_none() && now(&mut second).is_none());
    enqueue(&queue, "c");
    node.advance(crate::time::Instant::default());
    drop(first);
    assert_eq!(&now(&mut second).unwrap().unwrap().value[..], b"c");
}

#[test]
fn a_failed_one_says_what_may_have_happened() {
    let (node, store) = node();
    let queue = store.queue("q");
    enqueue(&queue, "a");
    node.set_answer(Answer::Fail(Kind::Timeout));
    let error = block_on(queue.dequeue()).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    node.set_answer(Answer::Gone);
    assert!(block_on(queue.dequeue()).unwrap_err().is_unknown());
    assert!(block_on(queue.enqueue("b")).unwrap_err().is_unknown());
    node.set_answer(Answer::Honest);
    assert_eq!(try_value(&queue).as_deref(), Some("a"));
}

#[test]
fn an_empty_queue_is_asked_about_before_it_is_called_so() {
    let (node, store) = node();
    let queue = store.queue("q");
    assert_eq!(try_next(&queue), None);
    assert_eq!(node.take_log(), ["read, 5s, Leave"]);
    enqueue(&queue, "a");
    node.take_log();
    assert!(try_next(&queue).is_some());
    assert_eq!(node.take_log(), ["write, 5s, Leave"]);
}

#[test]
fn a_name_that_is_taken_is_not_used_again() {
    let (node, store) = node();
    let queue = store.queue("q");
    // As it is after a restart, if what was made before it is not applied yet.
    enqueue_late(&node, "q/0000000000000002-7-0", "old");
    assert_eq!(enqueue(&queue, "new"), Revision::new(3));
    assert_eq!(keys(&store).len(), 2);
    assert_eq!(try_value(&queue).as_deref(), Some("old"));
}

#[test]
fn rec_41_the_smallest_comes_first() {
    let (node, store) = node();
    let queue = store.priority_queue("q");
    for (priority, value) in [(7, "c"), (0, "a"), (u16::MAX, "e"), (7, "d"), (1, "b")] {
        block_on(queue.enqueue(priority, value)).unwrap();
    }
    for (priority, value) in [(0, "a"), (1, "b"), (7, "c"), (7, "d"), (u16::MAX, "e")] {
        let item = block_on(queue.dequeue()).unwrap();
        assert_eq!((item.priority, &item.value[..]), (priority, value.as_bytes()));
    }
    // etcd's gives a dequeuer that waited whichever arrives first.
    let mut waiting = queue.dequeue();
    assert!(now(&mut waiting).is_none());
    block_on(queue.enqueue(9, "late")).unwrap();
    block_on(queue.enqueue(3, "soon")).unwrap();
    node.advance(crate::time::Instant::default());
    assert_eq!(now(&mut waiting).unwrap().unwrap().priority, 3);
}

#[test]
fn rec_41_what_is_more_urgent_comes_in_between() {
    let (node, store) = node();
    let queue = store.priority_queue("q");
    block_on(queue.enqueue(5, "b")).unwrap();
    node.set_manner(Manner::Keep);
    let mut slow = queue.dequeue();
    assert!(now(&mut slow).is_none());
    let asked = node.take_kept();
    node.set_manner(Manner::AnswerAtOnce);
    block_on(queue.enqueue(4, "a")).unwrap();
    node.keep(asked);
    node.answer();
    assert_eq!(now(&mut slow).unwrap().unwrap().priority, 4);
}

#[test]
fn rec_42_leased_items_go_with_their_owner() {
    let (_, store) = node();
    let queue = store.queue("q");
    let session = open(&store);
    block_on(queue.enqueue("leased").session(&session)).unwrap();
    enqueue(&queue, "kept");
    block_on(session.close()).unwrap();
    assert_eq!(try_value(&queue).as_deref(), Some("kept"));
    let gone = block_on(queue.enqueue("x").lease(crate::LeaseId::new(99))).unwrap_err();
    assert!(gone.is_lease_not_found() && !gone.is_unknown(), "{gone}");
}

#[test]
fn a_claimed_item_is_nobody_elses_until_it_is_free() {
    let (_, store) = node();
    let queue = store.queue("q");
    for value in ["a", "b"] {
        enqueue(&queue, value);
    }
    let (mine, other) = (open(&store), open(&store));
    let claimed = block_on(queue.claim(&mine)).unwrap();
    assert_eq!((&claimed.value()[..], claimed.is_lost()), (&b"a"[..], false));
    assert_eq!(claimed.token(), Revision::new(4));
    assert_eq!(try_value(&queue).as_deref(), Some("b"));
    assert!(block_on(queue.try_claim(&other)).unwrap().is_none());
    block_on(claimed.release()).unwrap();
    // Given out again, as the first, with a greater token.
    let claimed = block_on(queue.try_claim(&other)).unwrap().unwrap();
    assert!(claimed.token() > Revision::new(4));
    drop(claimed);
    let claimed = block_on(queue.claim(&other)).unwrap();
    let done = block_on(claimed.ack().then(Op::put("done", "a"))).unwrap();
    assert_eq!(done.responses.header.revision, done.header.revision);
    assert_eq!(keys(&store), ["done"]);
}

#[test]
fn a_claim_ends_with_its_session_and_acknowledges_nothing_then() {
    let (_, store) = node();
    let queue = store.queue("q");
    enqueue(&queue, "a");
    let (mine, other) = (open(&store), open(&store));
    let claimed = block_on(queue.claim(&mine)).unwrap();
    block_on(mine.close()).unwrap();
    assert!(claimed.is_lost());
    let again = block_on(queue.try_claim(&other)).unwrap().unwrap();
    assert_eq!(again.item(), claimed.item());
    let late = block_on(claimed.ack().then(Op::put("done", "twice"))).unwrap_err();
    assert!(late.is_lost() && !late.is_unknown(), "{late}");
    block_on(again.ack()).unwrap();
    assert!(keys(&store).is_empty());
    // A session that is over claims nothing, and waits for nothing.
    let over = open(&store);
    let mut waiting = queue.claim(&over);
    assert!(now(&mut waiting).is_none());
    block_on(over.close()).unwrap();
    assert!(now(&mut waiting).unwrap().unwrap_err().is_lost());
}

#[test]
fn hlp_1_a_scoped_queue_is_another() {
    let (_, store) = node();
    let (scoped, session) = (store.scoped("s/"), open(&store));
    enqueue(&scoped.queue("q"), "mine");
    assert_eq!(try_next(&store.queue("q")), None);
    assert!(keys(&store)[0].starts_with("s/q/"));
    let claimed = block_on(scoped.queue("q").claim(&session)).unwrap();
    assert!(keys(&store).iter().any(|key| key.starts_with("s/q/~")));
    drop(claimed);
    assert_eq!(try_value(&store.queue("s/q")).as_deref(), Some("mine"));
}

#[test]
fn names_are_read_as_they_are_written() {
    for (has_priorities, priority) in [(false, 0), (true, 0), (true, u16::MAX)] {
        let layout = Layout::new(b"q", has_priorities);
        let name = Name { priority, behind: Revision::new(u64::MAX) };
        let key = layout.item(name, NodeId::new(u64::MAX), 0);
        assert_eq!(layout.parse(&key), Some(name));
        assert!(layout.items().contains(&key) && layout.all().contains(&layout.claim(&key)));
        assert!(!layout.items().contains(&layout.claim(&key)));
        for wrong in [&key[1..], &key[..key.len() - 2], &[&key[..], b"/x"].concat()] {
            assert_eq!(layout.parse(wrong), None, "{}", wrong.escape_ascii());
        }
    }
}

#[test]
fn queues_can_go_anywhere() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    fn movable<T: Send + 'static>(_: &T) {}
    let (_, store) = node();
    let (queue, session) = (store.queue("q"), open(&store));
    shared(&queue);
    movable(&queue.dequeue());
    movable(&queue.try_claim(&session));
    movable(&queue.enqueue("a"));
    enqueue(&queue, "a");
    let claimed = block_on(queue.claim(&session)).unwrap();
    shared(&claimed);
    movable(&claimed.ack());
    assert!(format!("{queue:?} {:?}", queue.dequeue()).contains("q/"));
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Enqueue {
        priority: u16,
        value: u8,
    },
    /// By a member that has heard of nothing for so long.
    EnqueueLate {
        priority: u16,
        value: u8,
        behind: u64,
    },
    Dequeue,
    Claim,
    Release(usize),
    Ack(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3_u16, any::<u8>())
            .prop_map(|(priority, value)| Step::Enqueue { priority, value }),
        3 => (0..3_u16, any::<u8>(), 0..8_u64).prop_map(|(priority, value, behind)| {
            Step::EnqueueLate { priority, value, behind }
        }),
        3 => Just(Step::Dequeue),
        2 => Just(Step::Claim),
        1 => (0..4_usize).prop_map(Step::Release),
        1 => (0..4_usize).prop_map(Step::Ack),
    ];
    prop::collection::vec(step, 0..60)
}

/// Both kinds, so that a history is run on either.
enum Either {
    Plain(Queue),
    Priority(PriorityQueue),
}

impl Either {
    fn enqueue(&self, priority: u16, value: u8) -> Revision {
        let enqueue = match self {
            Self::Plain(queue) => queue.enqueue(vec![value]),
            Self::Priority(queue) => queue.enqueue(priority, vec![value]),
        };
        block_on(enqueue).unwrap().revision
    }

    fn dequeue(&self) -> Option<QueueItem> {
        let dequeue = match self {
            Self::Plain(queue) => queue.try_dequeue(),
            Self::Priority(queue) => queue.try_dequeue(),
        };
        block_on(dequeue).unwrap()
    }

    fn claim(&self, session: &Session) -> Option<super::ClaimedItem> {
        let claim = match self {
            Self::Plain(queue) => queue.try_claim(session),
            Self::Priority(queue) => queue.try_claim(session),
        };
        block_on(claim).unwrap()
    }
}

/// The queue as everybody would write it: a sorted list.
fn run(has_priorities: bool, steps: Vec<Step>) {
    let (node, store) = node();
    node.set_limits(1 << 20, 128);
    let session = open(&store);
    let queue = if has_priorities {
        Either::Priority(store.priority_queue("q"))
    } else {
        Either::Plain(store.queue("q"))
    };
    let layout = Layout::new(b"q", has_priorities);
    let mut twin: Vec<(u16, Revision, u8)> = Vec::new();
    let mut claimed: Vec<super::ClaimedItem> = Vec::new();
    let shown = |item: &QueueItem| (item.priority, item.revision, item.value[0]);
    for (number, step) in steps.into_iter().enumerate() {
        twin.sort_unstable();
        match step {
            Step::Enqueue { priority, value } => {
                let priority = if has_priorities { priority } else { 0 };
                twin.push((priority, queue.enqueue(priority, value), value));
            }
            Step::EnqueueLate { priority, value, behind } => {
                let priority = if has_priorities { priority } else { 0 };
                let behind = Revision::new(node.revision().get().saturating_sub(behind));
                let key = layout.item(Name { priority, behind }, NodeId::new(8), number as u64);
                node.write(&Command::Put(Put::new(key, vec![value].into())));
                twin.push((priority, node.revision(), value));
            }
            Step::Dequeue => {
                let wanted = (!twin.is_empty()).then(|| twin.remove(0));
                assert_eq!(queue.dequeue().as_ref().map(shown), wanted);
            }
            Step::Claim => {
                let wanted = (!twin.is_empty()).then(|| twin.remove(0));
                let got = queue.claim(&session);
                assert_eq!(got.as_ref().map(|it| shown(it.item())), wanted);
                claimed.extend(got);
            }
            Step::Release(at) if at < claimed.len() => {
                let claimed = claimed.remove(at);
                twin.push(shown(claimed.item()));
                block_on(claimed.release()).unwrap();
            }
            Step::Ack(at) if at < claimed.len() => {
                block_on(claimed.remove(at).ack()).unwrap();
            }
            Step::Release(_) | Step::Ack(_) => {}
        }
    }
    twin.sort_unstable();
    twin.extend(claimed.iter().map(|it| shown(it.item())));
    drop(claimed);
    twin.sort_unstable();
    let rest: Vec<_> = std::iter::from_fn(|| queue.dequeue().as_ref().map(shown)).collect();
    assert_eq!(rest, twin);
    assert!(keys(&store).is_empty());
}

proptest! {
    #[test]
    fn rec_40_a_queue_is_as_its_naive_twin(steps in steps()) {
        run(false, steps);
    }

    #[test]
    fn rec_41_a_priority_queue_is_as_its_naive_twin(steps in steps()) {
        run(true, steps);
    }
}
