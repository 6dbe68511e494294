//! One election, and what may and may not be seen of it.

use super::*;
use crate::sim::check::samples::{kv, rev};
use crate::sim::check::watch::truth::Change;

/// 2: a = x. 3: b = y. 4: a = z. 5: a gone. 6: b gone. 7: c = w.
fn truth() -> Truth {
    let mut truth = Truth::default();
    let mut add = |revision, key: &'static str, shown: Option<(&'static str, u64)>| {
        let kv = shown.map(|(value, made)| kv(key, value, [made, revision, 1]));
        truth.add(Change { at: (rev(revision), 0), key: key.into(), kv });
    };
    add(2, "e/a", Some(("x", 2)));
    add(3, "e/b", Some(("y", 3)));
    add(4, "e/a", Some(("z", 2)));
    add(5, "e/a", None);
    add(6, "e/b", None);
    add(7, "e/c", Some(("w", 7)));
    truth
}

fn sees(sights: &[&'static str]) -> bool {
    let sight = |it: &&'static str| match *it {
        "skip" => None,
        "-" => Some(None),
        other => {
            let (token, value) = other.split_once(' ').unwrap();
            Some(Some((rev(token.parse().unwrap()), Bytes::from(value))))
        }
    };
    follows(&truth(), b"e/", &sights.iter().map(sight).collect()).is_ok()
}

#[test]
fn rec_23_a_stretch_of_what_was_so() {
    assert!(sees(&["-", "2 x", "2 z", "3 y", "-", "7 w"]));
    assert!(sees(&["2 z", "3 y"]) && sees(&[]) && sees(&["-"]));
    assert!(sees(&["2 x", "skip", "-", "7 w"]));
}

#[test]
fn rec_23_nothing_is_missing_or_made_up() {
    assert!(!sees(&["3 y", "7 w"]), "nobody led in between");
    assert!(!sees(&["2 x", "3 y"]), "it proclaimed something");
    assert!(!sees(&["2 x", "-"]) && !sees(&["2 x", "2 x"]) && !sees(&["2 y"]));
    assert!(!sees(&["7 w", "3 y"]) && !sees(&["2 x", "skip", "7 w", "-"]));
}
