//! What is left behind by those who give up while an item is being asked for.

use bytes::Bytes;

use super::*;
use crate::core::lease::{Leftover, MAX_LEFTOVERS};
use crate::core::machine::{Origin, decode, stamp};
use crate::gate::Request;
use crate::ids::Incarnation;

#[test]
fn a_claim_that_nobody_knows_of_is_given_back() {
    let (node, store) = node();
    let queue = store.queue("q");
    enqueue(&queue, "a");
    let session = open(&store);
    // It is applied, and the answer does not come.
    node.set_manner(Manner::Keep);
    let mut claim = queue.claim(&session);
    assert!(now(&mut claim).is_none());
    drop(claim);
    let kept = node.take_kept();
    assert_eq!(kept.len(), 1, "not before it is known");
    node.keep(kept);
    node.answer();
    assert_eq!(keys(&store).len(), 2);
    node.answer();
    assert_eq!(keys(&store).len(), 1);
    // The same when its session goes, though its lease stays, and when the handle does.
    let mut claim = queue.claim(&session);
    assert!(now(&mut claim).is_none());
    session.orphan();
    assert!(now(&mut claim).unwrap().unwrap_err().is_lost());
    drop((claim, queue));
    node.answer();
    assert_eq!(keys(&store).len(), 2);
    node.answer();
    assert_eq!(keys(&store).len(), 1);
}

/// What may come to be behind its deletion waits until it cannot: the node knows when that is.
#[test]
fn rec_40_a_claim_that_stays_unknown_is_given_back_behind_it() {
    let (node, store) = node();
    let queue = store.queue("q");
    enqueue(&queue, "a");
    let session = open(&store);
    // Applied, and said to be unknown: to who waits, and to nobody.
    for is_abandoned in [false, true] {
        node.set_manner(Manner::Keep);
        let mut claim = queue.claim(&session);
        assert!(now(&mut claim).is_none());
        node.set_answer(Answer::Unknown);
        let waits = (!is_abandoned).then_some(claim);
        node.take_log();
        node.answer();
        assert!(waits.is_none_or(|mut it| now(&mut it).unwrap().unwrap_err().is_unknown()));
        node.set_answer(Answer::Honest);
        node.set_manner(Manner::AnswerAtOnce);
        assert!(node.take_log().iter().all(|line| !line.starts_with("write")));
        assert_eq!(keys(&store).len(), 2);
        let left = node.left_to_delete();
        assert!(left.len() == 1 && !left[0].made, "{left:?}");
        node.write(&left[0].deletion);
        assert_eq!(keys(&store).len(), 1);
    }
}

/// An attempt whose fate nobody knows: what was asked for, and what was left behind.
fn lost(node: &Fake, queue: &Queue, session: &Session) -> (Command, Leftover) {
    node.set_manner(Manner::Keep);
    let mut claim = queue.claim(session);
    assert!(now(&mut claim).is_none());
    let mut kept = node.take_kept();
    let Some(Request::Write { mut payload, reply, .. }) = kept.pop() else { panic!("{kept:?}") };
    let (member, incarnation) = (NodeId::new(7), Incarnation::new(1));
    stamp(&mut payload, &Origin { node: member, incarnation, boot: 1, sequence: 1, watermark: 0 });
    drop(reply);
    assert!(now(&mut claim).unwrap().unwrap_err().is_unknown());
    node.set_manner(Manner::AnswerAtOnce);
    let mut left = node.left_to_delete();
    assert!(left.len() == 1 && !left[0].made, "{left:?}");
    (decode(payload.freeze()).unwrap().1, left.remove(0))
}

/// Each has its mark, and ends no other one's claim: not of this holder, nor of another one.
#[test]
fn rec_40_what_is_given_back_is_the_attempts_own() {
    let (node, store) = node();
    let queue = store.queue("q");
    enqueue(&queue, "a");
    let (session, other) = (open(&store), open(&store));
    // Two are lost, of one item. Each is deleted if it was made, and is not the other.
    let attempts = [(); 2].map(|()| lost(&node, &queue, &session));
    assert_ne!(attempts[0].1, attempts[1].1);
    for (asked, left) in &attempts {
        node.write(asked);
        assert_eq!(keys(&store).len(), 2, "a late copy of it");
        attempts.iter().filter(|it| it.1 != *left).for_each(|(_, left)| {
            node.write(&left.deletion);
        });
        assert_eq!(keys(&store).len(), 2);
        node.write(&left.deletion);
        assert_eq!(keys(&store).len(), 1);
    }
    // One that is answered, of the same holder and item, is not theirs.
    let claimed = block_on(queue.claim(&session)).unwrap();
    for (asked, left) in &attempts {
        node.write(asked);
        node.write(&left.deletion);
        assert!(!claimed.is_lost());
    }
    block_on(claimed.release()).unwrap();
    // Nor is one of another holder that bears the same mark: as it is with two members.
    let mark = Bytes::from(format!("7-{:x}", store.gate().number(0) + 1));
    let (_, left) = lost(&node, &queue, &session);
    let claim = Bytes::from(keys(&store)[0].replace("q/", "q/~"));
    node.write(&Command::Put(Put { lease: other.lease(), ..Put::new(claim, mark.clone()) }));
    assert!(format!("{left:?}").contains(&format!("{mark:?}")), "{mark:?}, {left:?}");
    node.write(&left.deletion);
    assert_eq!(keys(&store).len(), 2, "the other has it");
}

/// Which of the items it was, if any, is decided when it is applied.
#[test]
fn rec_40_an_attempt_gives_back_whichever_it_got() {
    let (node, store) = node();
    node.set_limits(1 << 20, 128);
    let (queue, scoped) = (store.queue("s/q"), store.scoped("s/").queue("q"));
    for value in ["a", "b"] {
        enqueue(&queue, value);
    }
    let session = open(&store);
    let (asked, left) = lost(&node, &scoped, &session);
    assert_eq!(try_value(&queue).as_deref(), Some("a"));
    node.write(&asked);
    assert_eq!(try_value(&queue), None, "the second is claimed");
    node.write(&left.deletion);
    assert_eq!(try_value(&queue).as_deref(), Some("b"));
}

/// `REC-10`: before there are so many that they take all the memory.
#[test]
fn rec_40_nothing_is_claimed_where_too_much_is_to_be_given_back() {
    let (node, store) = node();
    let (queue, session) = (store.queue("q"), open(&store));
    enqueue(&queue, "a");
    for number in 0..MAX_LEFTOVERS as u64 {
        let deletion = Command::Compact { revision: Revision::new(number) };
        node.kept_leases()[0].leave_behind(Leftover { deletion, made: true });
    }
    assert!(block_on(queue.claim(&session)).unwrap_err().is_overloaded());
    assert!(block_on(queue.try_claim(&session)).unwrap_err().is_overloaded());
    assert!(block_on(store.lock("l").acquire(&session)).unwrap_err().is_overloaded());
    assert_eq!(keys(&store).len(), 1);
    assert_eq!(try_value(&queue).as_deref(), Some("a"), "who takes one leaves nothing");
}

/// What was asked for when a timeout passed may have been done: also by one that blocks.
#[test]
fn a_timeout_that_meets_an_attempt_is_unknown() {
    let (node, store) = node();
    let (queue, session) = (store.queue("q"), open(&store));
    let second = Duration::from_secs(1);
    let none = queue.dequeue().wait_timeout(second).unwrap_err();
    assert!(none.is_timeout() && !none.is_unknown(), "there was nothing to be asked for");
    for value in ["a", "b"] {
        enqueue(&queue, value);
    }
    node.set_manner(Manner::Keep);
    let mut dequeue = queue.dequeue().timeout(second);
    assert!(now(&mut dequeue).is_none());
    node.pass(second);
    let late = now(&mut dequeue).unwrap().unwrap_err();
    assert!(late.is_timeout() && late.is_unknown(), "{late}");
    let late = queue.claim(&session).wait_timeout(second).unwrap_err();
    assert!(late.is_timeout() && late.is_unknown(), "{late}");
    node.answer();
    node.answer();
    node.set_manner(Manner::AnswerAtOnce);
    assert_eq!(keys(&store).len(), 1, "one is taken, and none is claimed");
    assert_eq!(try_value(&queue).as_deref(), Some("a"), "for the next one");
    assert_eq!(try_value(&queue).as_deref(), Some("b"));
}

/// Who goes on with what somebody has left is not told of failures that are not his.
#[test]
fn what_had_failed_before_is_tried_anew() {
    let (node, store) = node();
    let queue = store.queue("q");
    enqueue(&queue, "a");
    for now_or_wait in [false, true] {
        node.set_manner(Manner::Keep);
        let mut gone = queue.dequeue();
        assert!(now(&mut gone).is_none());
        drop(gone);
        node.set_answer(Answer::Fail(Kind::Timeout));
        node.answer();
        node.set_answer(Answer::Honest);
        node.set_manner(Manner::AnswerAtOnce);
        let next = if now_or_wait { try_next(&queue) } else { block_on(queue.dequeue()).ok() };
        assert_eq!(&next.unwrap().value[..], b"a");
        enqueue(&queue, "a");
    }
}

/// Somebody has taken the claim away: then nobody is promised anything.
#[test]
fn what_is_claimed_no_more_is_not_valid() {
    let (node, store) = node();
    let (queue, session) = (store.queue("q"), open(&store));
    enqueue(&queue, "a");
    let claimed = block_on(queue.claim(&session)).unwrap();
    let now = node.system_zero;
    assert!(claimed.valid_until() > now && !claimed.is_lost());
    block_on(store.delete(keys(&store)[1].clone())).unwrap();
    assert!(claimed.valid_until() <= now && claimed.is_lost());
}

/// Nobody asks again for what nobody waits for: what the node has no room for, when it is handed
/// in or later, it does as soon as it can.
#[test]
fn rec_40_what_is_given_back_is_given_back_for_certain() {
    let (node, store) = node();
    let (queue, session) = (store.queue("q"), open(&store));
    enqueue(&queue, "a");
    let claim = || block_on(queue.claim(&session)).unwrap();
    let free = || {
        assert_eq!(keys(&store).len(), 2);
        let left = node.left_to_delete();
        assert!(left.len() == 1 && left[0].made, "{left:?}");
        node.write(&left[0].deletion);
        assert_eq!(keys(&store).len(), 1);
    };
    // The mailbox is full.
    let claimed = claim();
    node.set_manner(Manner::Refuse(Kind::Overloaded));
    drop(claimed);
    node.set_manner(Manner::AnswerAtOnce);
    free();
    // The window of writes is, or the time is over.
    for kind in [Kind::Overloaded, Kind::Timeout] {
        let claimed = claim();
        node.set_answer(Answer::Fail(kind));
        node.take_log();
        drop(claimed);
        assert_eq!(node.take_log(), ["write, 5s, Leave"], "as long as others take");
        node.set_answer(Answer::Honest);
        free();
    }
    // Who waits for it is told, and it goes on.
    let claimed = claim();
    node.set_answer(Answer::Fail(Kind::Timeout));
    assert!(block_on(claimed.release()).unwrap_err().is_timeout());
    node.set_answer(Answer::Honest);
    free();
    // So is one that is claimed for nobody.
    node.set_manner(Manner::Keep);
    let mut abandoned = queue.claim(&session);
    assert!(now(&mut abandoned).is_none());
    drop(abandoned);
    node.set_manner(Manner::Refuse(Kind::Overloaded));
    node.answer();
    node.set_manner(Manner::AnswerAtOnce);
    free();
    // What was given back in time is not left behind.
    drop(claim());
    assert!(keys(&store).len() == 1 && node.left_to_delete().is_empty());
}

/// Who claims cannot have what was taken, and is in nobody's way who can.
#[test]
fn rec_40_what_a_dequeue_has_left_is_for_the_next_one_whoever_is_before_it() {
    let (node, store) = node();
    let (queue, session) = (store.queue("q"), open(&store));
    enqueue(&queue, "a");
    node.set_manner(Manner::Keep);
    let mut first = queue.dequeue();
    assert!(now(&mut first).is_none());
    let mut claims = queue.claim(&session);
    let mut second = queue.dequeue();
    assert!(now(&mut claims).is_none() && now(&mut second).is_none());
    drop(first);
    node.answer();
    assert!(now(&mut claims).is_none());
    assert_eq!(now(&mut second).unwrap().unwrap().value, "a");
}
