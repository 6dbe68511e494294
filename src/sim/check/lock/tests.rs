//! One line, and each mistake once.

use super::*;
use crate::sim::check::samples::{kv, rev};

fn name() -> Name {
    Name(Bytes::from_static(b"l"))
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
    lines.writes(&name(), rev(2), "a1".into());
    lines.writes(&name(), rev(3), "b1".into());
    lines
}

#[test]
fn rec_7_who_is_told_was_first() {
    let truth = right();
    let told = |key: &'static str, token| {
        Lines::default().acquired(&truth, (&name(), key.as_bytes()), rev(token), false)
    };
    assert_eq!((told("l/a", 2), told("l/b", 3)), (Ok(()), Ok(())));
    assert!(told("l/c", 7).unwrap_err().contains("3 is there"));
    assert!(told("l/c", 6).unwrap_err().contains("REC-5"));
    assert!(told("l/a", 3).unwrap_err().contains("REC-5"));
    let mut truth = truth.clone();
    truth.add(Change { at: (rev(8), 0), key: "l/c".into(), kv: None });
    truth.add(Change { at: (rev(9), 0), key: "l/b".into(), kv: None });
    let told = Lines::default().acquired(&truth, (&name(), b"l/c"), rev(7), false);
    assert!(told.unwrap_err().contains("gone before"));
}

#[test]
fn rec_14_tokens_grow() {
    let truth = right();
    let mut lines = Lines::default();
    let mut told = |key: &'static str, token, excused| {
        lines.acquired(&truth, (&name(), key.as_bytes()), rev(token), excused)
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
        lines.writes(&name(), rev(7), "c1".into());
        lines.wrote(&value.into(), written);
        assert_eq!(lines.judge(&right()).is_ok(), fine, "{value} {written}");
    }
}
