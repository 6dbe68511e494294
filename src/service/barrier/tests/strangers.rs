//! Keys of others where a double barrier keeps its own.

use super::*;
use crate::core::lease::Leftover;
use crate::error::Kind;

#[test]
fn rec_38_what_else_is_kept_there_is_no_participant() {
    let (node, store) = node();
    let session = open(&store);
    let barrier = store.double_barrier("d", 2);
    // Another barrier of a longer name, which its participants leave as it is.
    let other = store.double_barrier("d/waiters", 1);
    drop(block_on(other.enter(&session)).unwrap());
    for _ in 0..2 {
        let mut first = barrier.enter(&session);
        assert!(told(&node, &mut first).is_none(), "one is not two");
        // With and without a lease, before they go through and behind it.
        store.put("d/waiters/note", "").wait().unwrap();
        store.put("d/waiters/owned", "").lease(session.lease()).wait().unwrap();
        let second = block_on(barrier.enter(&session)).unwrap();
        let first = told(&node, &mut first).unwrap().unwrap();
        let mut leaving = [first, second].map(Entered::leave);
        assert!(told(&node, &mut leaving[0]).is_none());
        leaving.reverse();
        leaving.iter_mut().for_each(|it| assert!(told(&node, it).unwrap().unwrap()));
    }
    let left = ["d/waiters/note", "d/waiters/owned", "d/waiters/ready"];
    assert_eq!(keys(&store), left, "and it is left open for nobody");
}

/// Somebody enters while what says that they are enough is being removed by who was the last.
#[test]
fn rec_38_a_round_that_has_begun_is_not_removed_for_the_one_before() {
    let (node, store) = node();
    let (barrier, session) = (store.double_barrier("d", 1), open(&store));
    let first = block_on(barrier.enter(&session)).unwrap();
    let mut leaving = first.leave();
    node.set_manner(Manner::Keep);
    assert!(told(&node, &mut leaving).is_none());
    node.answer();
    // The last one is about to remove it.
    assert!(told(&node, &mut leaving).is_none());
    let late = node.take_kept();
    node.set_manner(Manner::AnswerAtOnce);
    let second = block_on(barrier.enter(&session)).unwrap();
    node.keep(late);
    node.answer();
    assert!(told(&node, &mut leaving).unwrap().unwrap());
    assert_eq!(keys(&store).len(), 2, "who is in, and that they are enough");
    drop(second);
}

/// What is known is said, also when the place could not be left in time.
#[test]
fn rec_43_who_is_refused_is_told_why() {
    let (node, store) = node();
    let (barrier, session) = (store.double_barrier("d", 2), open(&store));
    let mut first = barrier.enter(&session);
    assert!(told(&node, &mut first).is_none());
    node.set_manner(Manner::Keep);
    let (mut second, mut third) = (barrier.enter(&session), barrier.enter(&session));
    assert!(told(&node, &mut second).is_none() && told(&node, &mut third).is_none());
    node.answer();
    node.set_manner(Manner::Refuse(Kind::Overloaded));
    let error = told(&node, &mut third).unwrap().unwrap_err();
    assert!(error.is_conflict(), "{error}");
    let left: Vec<Leftover> = node.left_to_delete();
    assert_eq!(left.len(), 1, "its place is the node's to delete");
    node.set_manner(Manner::AnswerAtOnce);
    drop((first, second));
}
