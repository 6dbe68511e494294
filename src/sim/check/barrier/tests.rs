//! One barrier of each kind, and each mistake once.

use super::*;
use crate::sim::check::samples::{kv, rev};

const NAME: Bytes = Bytes::from_static(b"d");

/// A change each: revision, key, and whether it is there then.
fn truth(changes: &[(u64, &'static str, bool)]) -> Truth {
    let mut truth = Truth::default();
    for (revision, key, is_there) in changes.iter().copied() {
        let kv = is_there.then(|| kv(key, "", [revision, revision, 1]));
        truth.add(Change { at: (rev(revision), 0), key: key.into(), kv });
    }
    truth
}

/// a and b are in from 4 on; a leaves at 6, c comes at 5 and stays.
fn party() -> Truth {
    truth(&[
        (2, "d/waiters/a", true),
        (3, "d/waiters/b", true),
        (4, "d/ready", true),
        (5, "d/waiters/c", true),
        (6, "d/waiters/a", false),
    ])
}

#[test]
fn rec_37_who_passes_was_there_when_it_was_not_held() {
    let truth = truth(&[(2, "b", true), (4, "b", false), (5, "b", true), (6, "x", true)]);
    let passes = |from, to| was_absent(&truth, b"b", rev(from)..=rev(to));
    assert!(passes(1, 1) && passes(1, 3) && passes(3, 4) && passes(2, 6));
    assert!(!passes(2, 3) && !passes(5, 6));
}

#[test]
fn rec_38_who_enters_is_one_of_as_many() {
    let truth = party();
    let entered = |count, since| Rounds::default().entered(&truth, (&NAME, count), rev(since));
    assert_eq!(entered(2, 2), Ok((NAME, rev(4))));
    assert_eq!(entered(2, 3), Ok((NAME, rev(4))));
    assert!(entered(2, 5).unwrap_err().contains("not opened"));
    assert!(entered(2, 4).unwrap_err().contains("nobody"));
    assert!(entered(3, 3).unwrap_err().contains("2 of 3"));
    let mut rounds = Rounds::default();
    assert!(rounds.entered(&truth, (&NAME, 1), rev(2)).is_ok());
    assert!(rounds.entered(&truth, (&NAME, 1), rev(3)).unwrap_err().contains("went through"));
}

#[test]
fn rec_38_who_has_left_is_the_last_of_them() {
    let mut truth = party();
    let round = (NAME, rev(4));
    assert_eq!(still_in(&truth, &round), Some(rev(3)));
    truth.add(Change { at: (rev(7), 0), key: "d/waiters/b".into(), kv: None });
    assert_eq!(still_in(&truth, &round), None, "c is in no round yet");
}
