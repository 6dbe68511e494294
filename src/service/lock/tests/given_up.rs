//! Acquisitions that are given up, and what they leave behind.

use super::*;
use crate::core::lease::{Leftover, MAX_LEFTOVERS};
use crate::core::machine::Command;
use crate::core::machine::txn::Delete;

#[test]
fn rec_10_who_gives_up_leaves_the_line() {
    let (node, store) = node();
    let sessions = [(); 2].map(|()| session(&store));
    let first = acquired(&store, &sessions[0]);
    let mut second = store.lock("l").acquire(&sessions[1]);
    assert!(poll(&mut second).is_pending());
    assert_eq!(keys(&store).len(), 2);
    drop(second);
    assert_eq!(keys(&store).len(), 1);
    // In time, and out of it.
    let mut third = store.lock("l").acquire_timeout(&sessions[1], secs(1));
    assert!(poll(&mut third).is_pending());
    node.pass(Duration::from_millis(999));
    assert!(poll(&mut third).is_pending());
    node.pass(Duration::from_millis(1));
    assert!(ready(&node, &mut third).unwrap_err().is_timeout());
    let late = store.lock("l").acquire(&sessions[1]).wait_timeout(Duration::ZERO);
    assert!(late.unwrap_err().is_timeout());
    assert_eq!(keys(&store).len(), 1);
    drop(first);
    assert!(keys(&store).is_empty());
}

/// A key whose making is under way is deleted when it is known to be there, and not before: a
/// deletion that came first would find nothing.
#[test]
fn rec_10_a_key_that_comes_to_be_for_nobody_is_deleted_behind_it() {
    let (node, store) = node();
    let session = session(&store);
    node.set_manner(Manner::Keep);
    let mut acquire = store.lock("l").acquire(&session);
    assert!(poll(&mut acquire).is_pending());
    node.take_log();
    drop(acquire);
    assert_eq!(node.take_log(), [] as [&str; 0], "not before it is known");
    node.answer();
    assert!(node.take_log()[0].starts_with("write"), "its deletion");
    node.answer();
    assert_eq!(node.revision(), Revision::new(3), "made, and deleted");
    assert!(node.take_kept().is_empty());
}

/// An answer that is lost, of a key that is there: and one that somebody else has made under that
/// name before stays.
#[test]
fn rec_10_what_may_have_come_to_be_is_deleted() {
    let (node, store) = node();
    let session = session(&store);
    node.set_manner(Manner::Keep);
    let mut acquire = store.lock("l").acquire(&session);
    assert!(poll(&mut acquire).is_pending());
    node.set_answer(Answer::Unknown);
    node.answer();
    let error = ready(&node, &mut acquire).unwrap_err();
    assert!(error.is_unknown(), "{error}");
    assert_eq!(keys(&store).len(), 1);
    assert!(node.take_kept().is_empty(), "the node knows when it may");
    let left = node.left_to_delete();
    assert!(left.len() == 1 && !left[0].made, "{left:?}");
    node.write(&left[0].deletion);
    assert!(keys(&store).is_empty());
}

/// The same for who has gone before the answer was lost.
#[test]
fn rec_10_what_may_have_come_to_be_for_nobody_is_deleted() {
    let (node, store) = node();
    let session = session(&store);
    node.set_manner(Manner::Keep);
    let mut acquire = store.lock("l").acquire(&session);
    assert!(poll(&mut acquire).is_pending());
    drop(acquire);
    assert!(node.left_to_delete().is_empty(), "not before it is known");
    node.set_answer(Answer::Unknown);
    node.answer();
    assert!(node.take_kept().is_empty(), "the node knows when it may");
    let left = node.left_to_delete();
    assert!(left.len() == 1 && !left[0].made, "{left:?}");
    node.write(&left[0].deletion);
    assert!(keys(&store).is_empty());
}

#[test]
fn rec_10_nobody_enters_while_too_much_is_left_behind() {
    let (node, store) = node();
    let session = session(&store);
    let leave = |key: usize| {
        let range = KeyRange::key(key.to_string());
        let deletion = Command::Delete(Delete { range, prev: false });
        let leftover = Leftover { deletion, made: true };
        node.kept_leases()[0].leave_behind(leftover);
    };
    (1..MAX_LEFTOVERS).for_each(leave);
    let guard = acquired(&store, &session);
    leave(0);
    let refused = store.lock("other").acquire(&session).wait().unwrap_err();
    assert!(refused.is_overloaded(), "{refused}");
    assert!(!guard.is_lost(), "and who is in stays in");
    assert_eq!(keys(&store).len(), 1);
}

/// A write that ends in time leaves room for others: it is made again, and not for ever.
#[test]
fn rec_10_entering_takes_as_long_as_it_must_by_writes_that_end() {
    let (node, store) = node();
    let session = session(&store);
    node.set_manner(Manner::Keep);
    node.take_log();
    let mut acquire = store.lock("l").acquire(&session);
    assert!(poll(&mut acquire).is_pending());
    assert_eq!(node.take_log(), ["write, 5s, Leave"]);
    node.set_answer(Answer::Fail(Kind::Timeout));
    node.answer();
    assert!(poll(&mut acquire).is_pending());
    let log = node.take_log();
    assert!(log.len() == 1 && log[0].starts_with("write, 5s"), "{log:?}");
    node.set_answer(Answer::Honest);
    node.answer();
    let guard = ready(&node, &mut acquire).unwrap();
    assert!(node.left_to_delete().is_empty(), "none was made but this one");
    // One that takes no place is not made again.
    node.set_manner(Manner::AnswerAtOnce);
    drop(guard);
    node.set_answer(Answer::Fail(Kind::Timeout));
    assert!(store.lock("l").try_acquire(&session).wait().unwrap_err().is_timeout());
}

/// A key of that name which an earlier life of this member has made is not its business.
#[test]
fn rec_10_what_was_there_before_stays() {
    let (node, store) = node();
    let session = session(&store);
    let number = node.revision().get() + 1;
    let name = format!("l/{:x}-7-{number:x}", session.lease().get());
    store.put(name.clone(), "").lease(session.lease()).wait().unwrap();
    node.set_answer(Answer::Unknown);
    assert!(store.lock("l").acquire(&session).wait().unwrap_err().is_unknown());
    node.set_answer(Answer::Honest);
    assert_eq!(keys(&store), [name], "and the one tried is that one");
    // Known to be taken, another name is found.
    let mut next = store.lock("l").acquire(&session);
    assert!(poll(&mut next).is_pending());
    assert_eq!(keys(&store).len(), 2);
}
