mod strangers;

use futures_executor::block_on;
use std::time::Duration;

use super::double::Entered;
use crate::core::machine::Command;
use crate::service::fake::by_hand::{keys, node, open, told};
use crate::service::fake::{Answer, Manner, fake};

#[test]
fn rec_37_everybody_passes_when_it_is_released() {
    let (node, store) = node();
    let barrier = store.barrier("b");
    block_on(barrier.pass()).unwrap();
    assert!(block_on(barrier.hold()).unwrap());
    assert!(!block_on(barrier.hold()).unwrap(), "REC-43: it is held already");
    // Only the exact key counts.
    block_on(store.barrier("b2").hold()).unwrap();
    let mut waiting = [(); 3].map(|()| barrier.pass());
    assert!(waiting.iter_mut().all(|it| told(&node, it).is_none()));
    assert!(block_on(barrier.release()).unwrap());
    waiting.iter_mut().for_each(|it| told(&node, it).unwrap().unwrap());
    assert!(!block_on(barrier.release()).unwrap());
    let mut other = store.barrier("b2").pass().timeout(Duration::from_secs(1));
    assert!(told(&node, &mut other).is_none());
    node.pass(Duration::from_secs(1));
    assert!(told(&node, &mut other).unwrap().unwrap_err().is_timeout());
    assert!(block_on(store.barrier("").hold()).unwrap_err().is_invalid());
}

#[test]
fn rec_37_one_that_is_held_again_at_once_was_released() {
    let (node, store) = node();
    let barrier = store.scoped("s/").barrier("b");
    block_on(barrier.hold()).unwrap();
    let mut waiting = barrier.pass();
    assert!(told(&node, &mut waiting).is_none());
    block_on(barrier.release()).unwrap();
    block_on(barrier.hold()).unwrap();
    told(&node, &mut waiting).unwrap().unwrap();
    // Also where what has happened meanwhile is compacted.
    let mut waiting = barrier.pass();
    assert!(told(&node, &mut waiting).is_none());
    block_on(barrier.release()).unwrap();
    block_on(barrier.hold()).unwrap();
    block_on(store.compact(node.revision())).unwrap();
    node.tidy(0);
    told(&node, &mut waiting).unwrap().unwrap();
    assert_eq!(keys(&store), ["s/b"], "HLP-1");
}

#[test]
fn rec_37_one_that_is_held_under_a_session_goes_with_it() {
    let (node, store) = node();
    let session = open(&store);
    assert!(block_on(store.barrier("b").hold().session(&session)).unwrap());
    let mut waiting = store.barrier("b").pass();
    assert!(told(&node, &mut waiting).is_none());
    block_on(session.close()).unwrap();
    told(&node, &mut waiting).unwrap().unwrap();
}

#[test]
fn rec_37_what_it_is_held_under_is_looked_at() {
    let (node, store) = node();
    let (session, barrier) = (open(&store), store.barrier("b"));
    node.take_log();
    let held = barrier.hold().timeout(Duration::from_secs(1)).session(&session);
    assert!(block_on(held).unwrap());
    assert_eq!(node.take_log(), ["write, 1s, Leave"], "the deadline counts in any order");
    let (_other, elsewhere) = fake(Manner::AnswerAtOnce);
    let foreign = open(&elsewhere);
    assert!(block_on(barrier.hold().session(&foreign)).unwrap_err().is_invalid());
    let item = store.queue("q").enqueue("a").session(&foreign);
    assert!(block_on(item).unwrap_err().is_invalid());
    block_on(barrier.release()).unwrap();
    // Whether this member has found that it is over, or the cluster.
    let revoked = open(&store);
    node.write(&Command::Revoke { lease: revoked.lease(), grant: crate::ids::Index::default() });
    node.pass(Duration::from_secs(5));
    for session in [&revoked, &session] {
        let error = barrier.hold().session(session).wait().unwrap_err();
        assert!(error.is_lost(), "{error}");
        let error = block_on(store.queue("q").enqueue("a").session(session)).unwrap_err();
        assert!(error.is_lost(), "{error}");
        node.pass(Duration::from_secs(5));
    }
    assert!(keys(&store).is_empty());
    let late = open(&store);
    // What is unknown may be so, and is not known as one's own then.
    node.set_answer(Answer::Unknown);
    assert!(block_on(barrier.hold().session(&late)).unwrap_err().is_unknown());
    node.set_answer(Answer::Honest);
    assert!(!block_on(barrier.hold()).unwrap());
}

#[test]
fn rec_38_all_enter_together_and_leave_together() {
    let (node, store) = node();
    let (barrier, session) = (store.scoped("s/").double_barrier("d", 3), open(&store));
    for _ in 0..2 {
        let mut entering = [(); 3].map(|()| barrier.enter(&session));
        assert!(told(&node, &mut entering[0]).is_none());
        assert!(told(&node, &mut entering[1]).is_none());
        let third = told(&node, &mut entering[2]).unwrap().unwrap();
        // One more is refused, and leaves nothing behind.
        let full = block_on(barrier.enter(&session)).unwrap_err();
        assert!(full.is_conflict(), "REC-43: {full}");
        let first = told(&node, &mut entering[0]).unwrap().unwrap();
        let second = told(&node, &mut entering[1]).unwrap().unwrap();
        assert!(!first.is_lost());
        let mut leaving = [second, first].map(Entered::leave);
        assert!(leaving.iter_mut().all(|it| told(&node, it).is_none()));
        // Nobody enters while somebody is in it.
        assert!(block_on(barrier.enter(&session)).unwrap_err().is_conflict());
        assert_eq!(keys(&store).len(), 2);
        assert!(block_on(third.leave()).unwrap());
        leaving.iter_mut().for_each(|it| assert!(told(&node, it).unwrap().unwrap()));
        assert!(keys(&store).is_empty(), "HLP-1: {:?}", keys(&store));
    }
}

#[test]
fn rec_38_more_than_are_wanted_are_refused_before_all_are_there() {
    let (node, store) = node();
    let (barrier, session) = (store.double_barrier("d", 2), open(&store));
    let mut first = barrier.enter(&session);
    assert!(told(&node, &mut first).is_none());
    // The second is in, and has not yet said that they are enough.
    node.set_manner(Manner::Keep);
    let mut second = barrier.enter(&session);
    assert!(told(&node, &mut second).is_none());
    node.answer();
    let mut third = barrier.enter(&session);
    assert!(told(&node, &mut third).is_none());
    node.answer();
    node.set_manner(Manner::AnswerAtOnce);
    assert!(told(&node, &mut third).unwrap().unwrap_err().is_conflict());
    let second = told(&node, &mut second).unwrap().unwrap();
    let first = told(&node, &mut first).unwrap().unwrap();
    assert_eq!(keys(&store).len(), 3);
    let mut leaving = first.leave();
    assert!(told(&node, &mut leaving).is_none());
    drop(second);
    told(&node, &mut leaving).unwrap().unwrap();
}

/// A member that gets to look late sees that there is room. There was none when he entered.
#[test]
fn rec_38_who_was_one_too_many_stays_so() {
    let (node, store) = node();
    let (barrier, session) = (store.double_barrier("d", 2), open(&store));
    let mut first = barrier.enter(&session);
    assert!(told(&node, &mut first).is_none());
    node.set_manner(Manner::Keep);
    let (mut second, mut third) = (barrier.enter(&session), barrier.enter(&session));
    assert!(told(&node, &mut second).is_none() && told(&node, &mut third).is_none());
    node.answer();
    node.set_manner(Manner::AnswerAtOnce);
    let second = told(&node, &mut second).unwrap().unwrap();
    drop(told(&node, &mut first).unwrap().unwrap());
    let error = told(&node, &mut third).unwrap().unwrap_err();
    assert!(error.is_conflict(), "two have gone through: {error}");
    drop(second);
}

/// Between that somebody sees that they are enough and that he says so, one goes.
#[test]
fn rec_38_nobody_goes_alone() {
    let (node, store) = node();
    let (barrier, session) = (store.double_barrier("d", 2), open(&store));
    let mut first = barrier.enter(&session);
    assert!(told(&node, &mut first).is_none());
    node.set_manner(Manner::Keep);
    let mut second = barrier.enter(&session);
    assert!(told(&node, &mut second).is_none());
    node.answer();
    assert!(told(&node, &mut second).is_none());
    let opening = node.take_kept();
    assert_eq!(opening.len(), 1);
    node.set_manner(Manner::AnswerAtOnce);
    drop(first);
    node.keep(opening);
    node.answer();
    assert!(told(&node, &mut second).is_none(), "it would be alone");
    assert_eq!(keys(&store).len(), 1);
    let third = block_on(barrier.enter(&session)).unwrap();
    drop((third, told(&node, &mut second).unwrap().unwrap()));
}

/// What was watched for is compacted before somebody gets to look. He sees it then by looking.
#[test]
fn rec_38_a_compaction_hides_nothing_from_who_waits() {
    let (node, store) = node();
    let (barrier, session) = (store.double_barrier("d", 2), open(&store));
    let forget = || {
        block_on(store.put("k", "v")).unwrap();
        block_on(store.compact(node.revision())).unwrap();
        node.tidy(0);
    };
    let mut first = barrier.enter(&session);
    assert!(told(&node, &mut first).is_none());
    forget();
    // Nothing has happened, and it goes on waiting.
    assert!(told(&node, &mut first).is_none());
    let second = block_on(barrier.enter(&session)).unwrap();
    forget();
    let first = told(&node, &mut first).unwrap().unwrap();
    let mut leaving = first.leave();
    assert!(told(&node, &mut leaving).is_none());
    forget();
    assert!(told(&node, &mut leaving).is_none());
    drop(second);
    forget();
    assert!(told(&node, &mut leaving).unwrap().unwrap());
    assert_eq!(keys(&store), ["d/ready", "k"]);
}

/// Those who were there when one entered are those of them who still are, if that is forgotten.
#[test]
fn rec_38_who_was_there_is_who_still_is_if_that_is_compacted() {
    let (node, store) = node();
    let (barrier, session) = (store.double_barrier("d", 2), open(&store));
    let mut first = barrier.enter(&session);
    assert!(told(&node, &mut first).is_none());
    node.set_manner(Manner::Keep);
    let (mut second, mut third) = (barrier.enter(&session), barrier.enter(&session));
    assert!(told(&node, &mut second).is_none() && told(&node, &mut third).is_none());
    node.answer();
    node.set_manner(Manner::AnswerAtOnce);
    block_on(store.compact(node.revision())).unwrap();
    node.tidy(0);
    // By the places that are there: the third is one too many, and the first and second are not.
    assert!(told(&node, &mut third).unwrap().unwrap_err().is_conflict());
    let second = told(&node, &mut second).unwrap().unwrap();
    let first = told(&node, &mut first).unwrap().unwrap();
    assert!(!first.is_lost() && !second.is_lost());
}

/// Who is to be refused stands there for a moment, and is none of them.
#[test]
fn rec_38_who_is_about_to_leave_is_not_counted() {
    let (node, store) = node();
    let (barrier, session) = (store.double_barrier("d", 2), open(&store));
    let mut first = barrier.enter(&session);
    assert!(told(&node, &mut first).is_none());
    node.set_manner(Manner::Keep);
    let (mut second, mut third) = (barrier.enter(&session), barrier.enter(&session));
    assert!(told(&node, &mut second).is_none() && told(&node, &mut third).is_none());
    node.answer();
    node.set_manner(Manner::AnswerAtOnce);
    drop((first, second));
    let mut fourth = barrier.enter(&session);
    assert!(told(&node, &mut fourth).is_none(), "the third is not in it");
    assert!(told(&node, &mut third).unwrap().unwrap_err().is_conflict());
    let fifth = block_on(barrier.enter(&session)).unwrap();
    drop((fifth, told(&node, &mut fourth).unwrap().unwrap()));
    assert_eq!(keys(&store), ["d/ready"]);
}

#[test]
fn rec_38_who_counts_otherwise_is_refused() {
    let (node, store) = node();
    let session = open(&store);
    let mut first = store.double_barrier("d", 2).enter(&session);
    assert!(told(&node, &mut first).is_none());
    let large = block_on(store.double_barrier("d", 7).enter(&session)).unwrap_err();
    assert!(large.is_too_large(), "{large}");
    for count in [0, 1, 3] {
        let error = block_on(store.double_barrier("d", count).enter(&session)).unwrap_err();
        assert!(error.is_invalid(), "{error}");
    }
    drop(first);
    assert!(keys(&store).is_empty());
    drop(block_on(store.double_barrier("d", 1).enter(&session)).unwrap());
}

#[test]
fn rec_39_nobody_waits_for_who_has_died() {
    let (node, store) = node();
    let barrier = store.double_barrier("d", 2);
    let (mine, other) = (open(&store), open(&store));
    // Before all have entered: he counts no more.
    let mut dead = barrier.enter(&other);
    assert!(told(&node, &mut dead).is_none());
    block_on(other.close()).unwrap();
    assert!(told(&node, &mut dead).unwrap().unwrap_err().is_lost());
    let mut first = barrier.enter(&mine);
    assert!(told(&node, &mut first).is_none());
    // While they are in it: nobody waits for him to leave.
    let other = open(&store);
    let second = block_on(barrier.enter(&other)).unwrap();
    let mut leaving = told(&node, &mut first).unwrap().unwrap().leave();
    assert!(told(&node, &mut leaving).is_none());
    block_on(other.close()).unwrap();
    assert!(second.is_lost() && told(&node, &mut leaving).unwrap().unwrap());
    assert!(!block_on(second.leave()).unwrap());
    // All have died: what they left behind keeps nobody out.
    let (one, two) = (open(&store), open(&store));
    let mut first = barrier.enter(&one);
    assert!(told(&node, &mut first).is_none());
    let second = block_on(barrier.enter(&two)).unwrap();
    let first = told(&node, &mut first).unwrap().unwrap();
    block_on(one.close()).unwrap();
    block_on(two.close()).unwrap();
    drop((first, second));
    assert_eq!(keys(&store), ["d/ready"]);
    let mut again = barrier.enter(&mine);
    assert!(told(&node, &mut again).is_none());
    assert_eq!(keys(&store).len(), 1);
}
