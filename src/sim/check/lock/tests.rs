//! One line, and each mistake once.

use super::*;
use crate::sim::check::samples::{kv, rev};

fn name() -> Name {
    Name(Bytes::from_static(b"l"))
}

fn alone(name: &Name) -> (&Name, Share) {
    (name, Share::Alone)
}

/// 2: the place a. 3: the place b. 4: fenced = a1. 5: a gone. 6: fenced = b1. 7: the place c.
fn truth(fenced: [&'static str; 2]) -> Truth {
    let mut truth = Truth::default();
    let mut add = |revision, key: &'static str, value: Option<&'static str>| {
        let kv = value.map(|value| kv(key, value, [revision, revision, 1]));
        truth.add(Change { at: (rev(revision), 0), key: key.into(), kv });
    };
    add(2, "l/a", Some(""));
    add(3, "l/b", Some(""));
    add(4, "k/fenced/l", Some(fenced[0]));
    add(5, "l/a", None);
    add(6, "k/fenced/l", Some(fenced[1]));
    add(7, "l/c", Some(""));
    truth
}

fn right() -> Truth {
    truth(["a1", "b1"])
}

fn lines() -> Lines {
    let mut lines = Lines::default();
    lines.writes(alone(&name()), rev(2), "a1".into());
    lines.writes(alone(&name()), rev(3), "b1".into());
    lines
}

#[test]
fn rec_7_who_is_told_was_first() {
    let truth = right();
    let told = |key: &'static str, token| {
        Lines::default().acquired(
            &truth,
            (&name(), Share::Alone, key.as_bytes()),
            rev(token),
            false,
        )
    };
    assert_eq!((told("l/a", 2), told("l/b", 3)), (Ok(()), Ok(())));
    assert!(told("l/c", 7).unwrap_err().contains("3 is there"));
    assert!(told("l/c", 6).unwrap_err().contains("REC-5"));
    assert!(told("l/a", 3).unwrap_err().contains("REC-5"));
    let mut truth = truth.clone();
    truth.add(Change { at: (rev(8), 0), key: "l/c".into(), kv: None });
    truth.add(Change { at: (rev(9), 0), key: "l/b".into(), kv: None });
    let told = Lines::default().acquired(&truth, (&name(), Share::Alone, b"l/c"), rev(7), false);
    assert!(told.unwrap_err().contains("gone before"));
}

#[test]
fn rec_14_tokens_grow() {
    let truth = right();
    let mut lines = Lines::default();
    let mut told = |key: &'static str, token, excused| {
        lines.acquired(&truth, (&name(), Share::Alone, key.as_bytes()), rev(token), excused)
    };
    assert_eq!(told("l/b", 3, false), Ok(()));
    assert!(told("l/b", 3, true).is_err(), "the same twice");
    assert!(told("l/a", 2, false).is_err());
    assert_eq!(told("l/a", 2, true), Ok(()));
}

#[test]
fn rec_14_what_is_written_is_held() {
    assert_eq!(lines().judge(&right()), Ok(()));
    assert!(lines().judge(&truth(["b1", "a1"])).unwrap_err().contains("after 3"));
    assert!(lines().judge(&truth(["a1", "a1"])).unwrap_err().contains("twice"));
    assert!(lines().judge(&truth(["x", "a1"])).unwrap_err().contains("holds nothing"));
}

#[test]
fn rec_14_what_is_said_is_so() {
    for (value, written, fine) in [("a1", true, true), ("a1", false, false), ("c1", true, false)] {
        let mut lines = lines();
        lines.writes(alone(&name()), rev(7), "c1".into());
        lines.wrote(&value.into(), written);
        assert_eq!(lines.judge(&right()).is_ok(), fine, "{value} {written}");
    }
}

/// 2: a reads. 3: b reads. 4: c writes. 5: d reads. 6: a gone. 7: c gone.
fn stock() -> Truth {
    let mut truth = Truth::default();
    let mut add = |revision, key: &'static str, is_there: bool| {
        let kv = is_there.then(|| kv(key, "", [revision, revision, 1]));
        truth.add(Change { at: (rev(revision), 0), key: key.into(), kv });
    };
    add(2, "l/read/a", true);
    add(3, "l/read/b", true);
    add(4, "l/write/c", true);
    add(5, "l/read/d", true);
    add(6, "l/read/a", false);
    add(7, "l/write/c", false);
    truth
}

#[test]
fn rec_36_readers_give_way_to_writers_and_writers_to_all() {
    let truth = stock();
    let told = |key: &'static str, share, token| {
        let mut lines = Lines::default();
        lines.acquired(&truth, (&name(), share, key.as_bytes()), rev(token), false)
    };
    assert_eq!(told("l/read/b", Share::Reading, 3), Ok(()));
    assert_eq!(told("l/read/d", Share::Reading, 5), Ok(()), "the writer is gone");
    assert!(told("l/write/c", Share::Alone, 4).unwrap_err().contains("gone before 3"));
    // As a semaphore: one of two may be there before.
    assert_eq!(told("l/write/c", Share::Permit(2), 4), Ok(()));
    assert!(told("l/read/d", Share::Permit(1), 5).unwrap_err().contains("3 is there"));
    assert_eq!(told("l/read/d", Share::Permit(2), 5), Ok(()));
}

#[test]
fn rec_36_tokens_grow_where_it_is_not_shared() {
    let mut truth = stock();
    truth.add(Change { at: (rev(8), 0), key: "l/read/b".into(), kv: None });
    truth.add(Change { at: (rev(9), 0), key: "l/read/d".into(), kv: None });
    let made = kv("l/write/e", "", [10, 10, 1]);
    truth.add(Change { at: (rev(10), 0), key: "l/write/e".into(), kv: Some(made) });
    let mut lines = Lines::default();
    let mut told = |key: &'static str, share, token| {
        lines.acquired(&truth, (&name(), share, key.as_bytes()), rev(token), false)
    };
    assert_eq!(told("l/read/b", Share::Reading, 3), Ok(()));
    assert_eq!(told("l/read/a", Share::Reading, 2), Ok(()), "readers share it");
    assert_eq!(told("l/write/e", Share::Alone, 10), Ok(()));
    assert!(told("l/read/d", Share::Reading, 5).unwrap_err().contains("after 10"));
}

#[test]
fn rec_24_what_is_resumed_leads_still() {
    let truth = right();
    let resumed = |key: &'static str, token, since| {
        Lines::resumed(&truth, (&name(), key.as_bytes()), rev(token), rev(since))
    };
    assert_eq!((resumed("l/a", 2, 4), resumed("l/b", 3, 7)), (Ok(()), Ok(())));
    assert!(resumed("l/a", 2, 5).unwrap_err().contains("gone before it was resumed"));
    assert!(resumed("l/c", 7, 7).unwrap_err().contains("REC-7"));
}

#[test]
fn rec_36_who_may_hold_together() {
    use Share::{Alone, Permit, Reading};
    for (shares, may) in [
        (vec![], true),
        (vec![Alone], true),
        (vec![Alone, Alone], false),
        (vec![Reading, Reading, Reading], true),
        (vec![Reading, Alone], false),
        (vec![Alone, Reading], false),
        (vec![Permit(2), Permit(2)], true),
        (vec![Permit(2), Permit(2), Permit(2)], false),
        (vec![Permit(3), Permit(2)], false),
    ] {
        assert_eq!(Share::may_all_hold(&shares), may, "{shares:?}");
    }
}
