//! What is left behind by those who give up while an item is being asked for.

use bytes::Bytes;

use super::*;

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

#[test]
fn a_claim_that_stays_unknown_is_given_back() {
    let (node, store) = node();
    let queue = store.queue("q");
    enqueue(&queue, "a");
    let (session, other) = (open(&store), open(&store));
    node.set_answer(Answer::Unknown);
    assert!(block_on(queue.claim(&session)).unwrap_err().is_unknown());
    node.set_answer(Answer::Honest);
    assert_eq!(keys(&store).len(), 1);
    // One that is abandoned first.
    node.set_manner(Manner::Keep);
    let mut claim = queue.claim(&session);
    assert!(now(&mut claim).is_none());
    drop(claim);
    node.set_answer(Answer::Unknown);
    node.answer();
    node.set_answer(Answer::Honest);
    assert_eq!(keys(&store).len(), 2);
    node.answer();
    assert_eq!(keys(&store).len(), 1);
    // Another's claim is not given back, though it bears the same mark: as it is with two members.
    let last = store.gate().number(0);
    let mut claim = queue.claim(&session);
    assert!(now(&mut claim).is_none());
    let asked = node.take_kept();
    let mark = Bytes::from(format!("7-{:x}", last + 1));
    let item = keys(&store)[0].clone();
    let key = Bytes::from(item.replace("q/", "q/~"));
    node.write(&Command::Put(Put { lease: other.lease(), ..Put::new(key, mark) }));
    drop(asked);
    assert!(now(&mut claim).unwrap().unwrap_err().is_unknown());
    node.answer();
    node.set_manner(Manner::AnswerAtOnce);
    assert_eq!(keys(&store).len(), 2, "the other has it");
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

/// Nobody asks again for what nobody waits for: it is offered until it is done.
#[test]
fn what_is_given_back_is_given_back_for_certain() {
    let (node, store) = node();
    let (queue, session) = (store.queue("q"), open(&store));
    enqueue(&queue, "a");
    let forever = format!("write, {:?}, Leave", Duration::MAX);
    let claim = || block_on(queue.claim(&session)).unwrap();
    let claimed = claim();
    node.take_log();
    drop(claimed);
    assert_eq!(node.take_log(), [&*forever]);
    let claimed = claim();
    node.set_answer(Answer::Fail(Kind::Timeout));
    node.take_log();
    assert!(block_on(claimed.release()).unwrap_err().is_timeout());
    assert_eq!(node.take_log(), ["write, 5s, Leave", &forever]);
}
