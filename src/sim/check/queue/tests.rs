//! One queue, and each mistake once.

use super::*;
use crate::sim::check::samples::{kv, rev};

const QUEUE: Queue = Bytes::from_static(b"q");

fn item(revision: u64, value: &'static str) -> Item {
    Item { queue: QUEUE, revision: rev(revision), priority: 0, value: value.into() }
}

/// A change each: revision, key, value.
fn truth(changes: &[(u64, &'static str, Option<&'static str>)]) -> Truth {
    let mut truth = Truth::default();
    for (revision, key, value) in changes.iter().copied() {
        let kv = value.map(|value| kv(key, value, [revision, revision, 1]));
        truth.add(Change { at: (rev(revision), 0), key: key.into(), kv });
    }
    truth
}

/// a is claimed and acknowledged, b is taken meanwhile, c is there.
fn right() -> Truth {
    truth(&[
        (2, "q/1", Some("a")),
        (3, "q/2", Some("b")),
        (4, "q/3", Some("c")),
        (5, "q/~1", Some("mark")),
        (6, "q/2", None),
        (7, "q/1", None),
        (7, "q/~1", None),
        (7, "k/done/q", Some("done a")),
    ])
}

fn told() -> Queues {
    let mut queues = Queues::default();
    for (revision, value) in [(2, "a"), (3, "b"), (4, "c")] {
        queues.enqueues(&QUEUE, value.into(), false);
        queues.enqueued(&value.into(), Told::Done(rev(revision)));
    }
    queues.acks(item(2, "a"), rev(5), "done a".into());
    queues
}

#[test]
fn rec_40_what_is_right_is_right() {
    let (truth, mut queues) = (right(), told());
    assert_eq!(Queues::claimed(&truth, &item(2, "a"), rev(5), rev(4)), Ok(()));
    assert_eq!(queues.taken(&truth, &item(3, "b"), rev(4)), Ok(()));
    assert_eq!(queues.judge(&truth, false), Ok(()));
    queues.acked(&"done a".into(), Told::Done(()));
    assert_eq!(queues.judge(&truth, false), Ok(()));
    assert!(queues.judge(&truth, true).unwrap_err().contains("given to nobody"));
}

#[test]
fn rec_40_who_is_given_an_item_is_given_one_that_is_there() {
    let (truth, mut queues) = (right(), told());
    let mut taken = |revision, value| queues.taken(&truth, &item(revision, value), rev(4));
    assert!(taken(4, "c").unwrap_err().contains("is there"));
    assert!(taken(3, "a").unwrap_err().contains("never enqueued"));
    assert!(taken(2, "a").unwrap_err().contains("by another"));
    assert_eq!(taken(3, "b"), Ok(()));
    assert!(taken(3, "b").unwrap_err().contains("twice"));
    let claimed = |revision, value, token| {
        Queues::claimed(&truth, &item(revision, value), rev(token), rev(4)).unwrap_err()
    };
    assert!(claimed(3, "b", 5).contains("no claim was made"));
    assert!(claimed(2, "a", 4).contains("no claim was made"));
}

#[test]
fn rec_40_items_are_given_in_order() {
    let mut changes = vec![(2, "q/1", Some("a")), (3, "q/2", Some("b")), (4, "q/2", None)];
    let taken = |truth: &Truth| told().taken(truth, &item(3, "b"), rev(3));
    assert!(taken(&truth(&changes)).unwrap_err().contains("2 was before it"));
    // One that somebody has had comes again when it comes.
    changes.splice(1..1, [(3, "q/~1", Some("mark"))]);
    assert_eq!(taken(&truth(&changes)), Ok(()));
}

#[test]
fn rec_41_the_most_urgent_item_is_given() {
    let mut changes =
        vec![(2, "q/p00005-1", Some("a")), (3, "q/p00001-2", Some("b")), (4, "q/p00005-1", None)];
    let late = Item { priority: 5, ..item(2, "a") };
    let taken = |truth: &Truth| Queues::default().taken(truth, &late, rev(3));
    assert!(taken(&truth(&changes)).unwrap_err().contains("REC-41"));
    // So much has happened since it began to look that it may have taken what it saw.
    changes.pop();
    for revision in 4..12 {
        changes.push((revision, "q/p00000-3", (revision % 2 == 0).then_some("c")));
    }
    changes.push((12, "q/p00005-1", None));
    assert_eq!(taken(&truth(&changes)), Ok(()));
}

#[test]
fn rec_40_what_is_gone_is_somebodys() {
    let (truth, mut queues) = (right(), told());
    assert!(queues.judge(&truth, false).unwrap_err().contains("nobody was given"));
    queues.doubt(&QUEUE);
    assert_eq!(queues.judge(&truth, false), Ok(()));
    // Or its lease is over.
    let mut queues = told();
    queues.enqueues(&QUEUE, "b".into(), true);
    assert_eq!(queues.judge(&truth, false), Ok(()));
}

#[test]
fn rec_40_what_is_said_is_so() {
    let truth = right();
    for (value, told_of, fine) in [
        ("a", Told::Done(rev(2)), true),
        ("a", Told::Done(rev(3)), false),
        ("a", Told::Not, false),
        ("d", Told::Not, true),
        ("d", Told::Done(rev(9)), false),
        ("d", Told::Unknown, true),
    ] {
        let mut queues = told();
        queues.doubt(&QUEUE);
        queues.enqueues(&QUEUE, value.into(), false);
        queues.enqueued(&value.into(), told_of);
        assert_eq!(queues.judge(&truth, false).is_ok(), fine, "{value} {told_of:?}");
    }
    for (token, told_of, fine) in [
        (5, Told::Done(()), true),
        (5, Told::Not, false),
        (4, Told::Done(()), false),
        (4, Told::Unknown, false),
    ] {
        let mut queues = told();
        queues.doubt(&QUEUE);
        queues.acks(item(2, "a"), rev(token), "done a".into());
        queues.acked(&"done a".into(), told_of);
        assert_eq!(queues.judge(&truth, false).is_ok(), fine, "{token} {told_of:?}");
    }
    let mut queues = told();
    queues.doubt(&QUEUE);
    queues.acks(item(4, "c"), rev(5), "done c".into());
    assert_eq!(queues.judge(&truth, false), Ok(()));
    queues.acked(&"done c".into(), Told::Done(()));
    assert!(queues.judge(&truth, false).unwrap_err().contains("acknowledged or not"));
}
