//! Reads that may be old, right and wrong.

use super::*;
use crate::sim::check::samples::{
    Made, compact, compacted, get, get_at, got, is_compacted, kv, nothing, old, put, rev, unknown,
    wrote,
};
use crate::sim::check::to_tell;

fn two_puts() -> Made {
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    made.call(1, put("a", "2"), wrote(3));
    made
}

#[test]
fn inv_3_an_old_read_shows_a_state_that_was_true() {
    let mut made = two_puts();
    made.call_at(2, old(get("a")), got(2, kv("a", "1", [2, 2, 1])));
    made.call_at(3, old(get("a")), nothing(1));
    check(&made.history).unwrap();
    made.call_at(2, old(get("a")), got(3, kv("a", "1", [2, 2, 1])));
    assert_eq!(check(&made.history).unwrap_err().rule, "INV-3");
}

#[test]
fn inv_4_a_read_at_a_revision_is_the_same_everywhere() {
    let mut made = two_puts();
    made.call_at(2, old(get_at("a", 2)), got(3, kv("a", "1", [2, 2, 1])));
    check(&made.history).unwrap();
    made.call_at(3, old(get_at("a", 2)), got(3, kv("a", "2", [2, 2, 1])));
    assert_eq!(check(&made.history).unwrap_err().rule, "INV-4");
}

#[test]
fn inv_3_nothing_is_read_before_it_was_asked_for() {
    let mut made = Made::new();
    made.call_at(2, old(get("a")), got(2, kv("a", "1", [2, 2, 1])));
    made.call(1, put("a", "1"), wrote(2));
    assert!(check(&made.history).is_err());
}

#[test]
fn lin_4_a_member_that_runs_never_goes_back() {
    let read = |restarted: bool| {
        let mut made = two_puts();
        let shown = made.call_at(2, old(get("a")), got(3, kv("a", "2", [2, 3, 2])));
        if restarted {
            made.history.restarted(NodeId::new(2));
        }
        let back = made.call_at(2, old(get("a")), got(2, kv("a", "1", [2, 2, 1])));
        (check(&made.history), [shown, back])
    };
    let (verdict, calls) = read(false);
    let violation = verdict.unwrap_err();
    assert_eq!((violation.rule, violation.shown_by()), ("LIN-4", calls.as_slice()));
    read(true).0.unwrap();
}

/// That needs no order of the calls: it is seen also where none is found in time.
#[test]
fn lin_4_is_judged_where_the_order_is_undecided() {
    let mut made = Made::new();
    made.call(1, put("a", "1"), unknown());
    made.call(1, put("a", "2"), unknown());
    made.call_at(2, old(get("b")), nothing(2));
    assert!(within(&made.history, 0).unwrap_err().is_undecided());
    check(&made.history).unwrap();
    made.call_at(2, old(get("b")), nothing(1));
    let violation = within(&made.history, 0).unwrap_err();
    assert_eq!((violation.rule, violation.is_undecided()), ("LIN-4", false));
    let linear = Some(Violation::undecided("the writes"));
    assert_eq!(to_tell(violation, linear).rule, "LIN-4");
}

#[test]
fn lin_4_a_member_does_not_forget_a_compaction() {
    let mut made = two_puts();
    made.call(1, compact(3), compacted(3));
    made.call_at(2, old(get_at("a", 2)), is_compacted(3));
    made.call_at(3, old(get_at("a", 2)), got(3, kv("a", "1", [2, 2, 1])));
    check(&made.history).unwrap();
    made.call_at(2, old(get_at("a", 2)), got(3, kv("a", "1", [2, 2, 1])));
    assert_eq!(check(&made.history).unwrap_err().rule, "LIN-4");
}

/// Nobody but the old read knows which of two writes it was.
#[test]
fn inv_3_an_old_read_decides_what_others_leave_open() {
    let mut made = Made::new();
    made.call(1, put("a", "1"), unknown());
    let other = made.call(1, put("a", "2"), unknown());
    made.call_at(2, old(get("a")), got(2, kv("a", "2", [2, 2, 1])));
    made.call(1, get("b"), nothing(2));
    let witness = check(&made.history).unwrap();
    assert_eq!(witness.writes().collect::<Vec<_>>(), [(rev(2), other)]);
}
