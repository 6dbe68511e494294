//! A history made by hand, watchers that were given it, and one mistake each.

use super::truth::{Change, Member, Truth};
use super::*;
use crate::sim::check::samples::{kv, rev};

const NODE: NodeId = NodeId::new(1);

/// Behind this a compaction waits for nobody.
const MAX_PINNED: u64 = 3;

/// 2: k=1. 3: k=2 and m=1. 4: k deleted. 5: m=2. 6: k=3.
fn truth() -> Truth {
    let mut truth = Truth::default();
    let mut add = |revision, sub, key: &'static str, shown: Option<(&'static str, [u64; 3])>| {
        let kv = shown.map(|(value, numbers)| kv(key, value, numbers));
        truth.add(Change { at: (rev(revision), sub), key: key.into(), kv });
    };
    add(2, 0, "k", Some(("1", [2, 2, 1])));
    add(3, 0, "k", Some(("2", [2, 3, 2])));
    add(3, 1, "m", Some(("1", [3, 3, 1])));
    add(4, 0, "k", None);
    add(5, 0, "m", Some(("2", [3, 5, 2])));
    add(6, 0, "k", Some(("3", [6, 6, 1])));
    stands_at(&mut truth, 6, 0);
    truth
}

fn stands_at(truth: &mut Truth, revision: u64, compacted: u64) {
    let (revision, compacted) = (rev(revision), rev(compacted));
    truth.set_member(NODE, Member { boot: 1, is_up: true, revision, compacted, installs: 0 });
}

fn from(revision: u64) -> Asked {
    Asked { from: Some(rev(revision)), ..Asked::all() }
}

fn begin(truth: &Truth, asked: Asked) -> Watched {
    let created = truth.member(NODE).revision;
    Watched::begin(truth, (NODE, created), asked, MAX_PINNED).unwrap()
}

/// What a watcher is given that does everything right.
fn right(truth: &Truth, asked: &Asked, first: u64, last: u64) -> Vec<Given> {
    let changes = truth.between(rev(first)..=rev(last)).iter();
    let given = changes.filter(|change| asked.wants(change)).map(|change| {
        let revision = change.at.0;
        let bare = Kv {
            key: change.key.clone(),
            value: Bytes::new(),
            create: rev(0),
            modified: revision,
            version: 0,
        };
        let is_create = change.kv.as_ref().is_some_and(|kv| kv.create == revision);
        let before = truth.last(&change.key, rev(revision.get() - 1));
        let prev = before.and_then(|before| before.kv.clone());
        Given {
            revision,
            is_put: change.kv.is_some(),
            is_create,
            kv: change.kv.clone().unwrap_or(bare),
            prev: prev.filter(|_| asked.prev && !is_create),
        }
    });
    given.collect()
}

/// Gives everything from 2 on, up to `upto`, spoilt.
fn spoilt(asked: &Asked, upto: u64, spoil: impl FnOnce(&mut Vec<Given>)) -> Verdict {
    let truth = truth();
    let mut given = right(&truth, asked, 2, upto);
    spoil(&mut given);
    begin(&truth, asked.clone()).batch(&truth, &given, (rev(upto), false))
}

#[track_caller]
fn complains(verdict: Verdict, word: &str) {
    let what = verdict.unwrap_err();
    assert!(what.starts_with(word), "wanted {word:?}: {what}");
}

#[test]
fn inv_7_what_is_right_is_right() {
    let truth = truth();
    let key = Asked { range: KeyRange::key("k"), no_deletes: true, ..from(2) };
    for asked in [from(2), Asked { prev: true, ..from(2) }, key] {
        let mut watched = begin(&truth, asked.clone());
        for (first, last) in [(2, 2), (3, 5), (6, 6)] {
            let given = right(&truth, &asked, first, last);
            watched.batch(&truth, &given, (rev(last), false)).unwrap();
        }
        assert_eq!((watched.next(), watched.lacks(&truth)), (rev(7), None));
    }
}

#[test]
fn wat_20_wat_22_filtered() {
    let all = right(&truth(), &from(2), 2, 6);
    for asked in [
        Asked { range: KeyRange::key("k"), ..from(2) },
        Asked { no_deletes: true, ..from(2) },
        Asked { no_puts: true, ..from(2) },
    ] {
        complains(spoilt(&asked, 6, |given| given.clone_from(&all)), "filtered");
    }
    complains(begin(&truth(), from(7)).batch(&truth(), &[], (rev(6), false)), "filtered");
}

#[test]
fn wat_13_wat_14_wat_19_true() {
    let asked = Asked { prev: true, ..from(2) };
    let spoil = |spoil: fn(&mut Given), nth: usize| {
        complains(spoilt(&asked, 6, |given| spoil(&mut given[nth])), "true");
    };
    spoil(|event| event.kv.value = "9".into(), 0);
    spoil(|event| event.kv.version = 7, 1);
    spoil(|event| event.is_create = false, 0);
    spoil(|event| event.is_create = true, 1);
    spoil(|event| event.kv.value = "2".into(), 3);
    spoil(|event| event.prev = None, 1);
    spoil(|event| event.prev = Some(event.kv.clone()), 1);
    spoil(|event| event.prev = Some(event.kv.clone()), 0);
    spoil(|event| event.revision = rev(9), 5);
    // What it was before may be gone if that is compacted, and only then.
    for (compacted, may) in [(3, true), (2, false)] {
        let mut truth = truth();
        let mut given = right(&truth, &asked, 2, 6);
        stands_at(&mut truth, 6, compacted);
        given[1].prev = None;
        given.remove(0);
        let watched = Watched { next: rev(3), ..begin(&truth, asked.clone()) };
        let verdict = watched.clone().batch(&truth, &given, (rev(6), false));
        assert_eq!(verdict.is_ok(), may, "compacted at {compacted}: {verdict:?}");
    }
}

#[test]
fn wat_2_wat_35_resumable() {
    let truth = truth();
    let given = right(&truth, &from(2), 3, 6);
    complains(begin(&truth, from(4)).batch(&truth, &given, (rev(6), false)), "resumable");
    complains(begin(&truth, Asked::all()).batch(&truth, &given, (rev(6), false)), "resumable");
}

#[test]
fn wat_15_wat_31_unique_and_ordered() {
    complains(spoilt(&from(2), 6, |given| given.insert(1, given[0].clone())), "unique");
    complains(spoilt(&from(2), 6, |given| given.swap(1, 2)), "ordered");
    complains(spoilt(&from(2), 6, |given| given.swap(0, 5)), "ordered");
    let truth = truth();
    let mut watched = begin(&truth, from(2));
    watched.batch(&truth, &right(&truth, &from(2), 2, 4), (rev(4), false)).unwrap();
    let again = right(&truth, &from(2), 4, 6);
    complains(watched.batch(&truth, &again, (rev(6), false)), "unique");
}

#[test]
fn wat_16_wat_21_atomic() {
    complains(spoilt(&from(2), 3, |given| drop(given.pop())), "atomic");
    let truth = truth();
    let all = right(&truth, &from(2), 2, 3);
    complains(begin(&truth, from(2)).batch(&truth, &all, (rev(2), false)), "atomic");
    // In pieces, for who wants them.
    let pieces = Asked { fragment: Some(2), ..from(3) };
    let piece = |asked: &Asked, count: usize, is_fragment| {
        let (mut watched, given) = (begin(&truth, asked.clone()), right(&truth, asked, 3, 3));
        let verdict = watched.batch(&truth, &given[..count], (rev(2), is_fragment));
        verdict.map(|()| watched)
    };
    complains(piece(&from(3), 1, true).map(drop), "atomic");
    complains(piece(&pieces, 2, true).map(drop), "atomic");
    complains(piece(&pieces, 1, false).map(drop), "atomic");
    let mut watched = piece(&pieces, 1, true).unwrap();
    assert_eq!(watched.next(), rev(3), "the other piece is still to come");
    complains(watched.clone().batch(&truth, &[], (rev(3), false)), "filtered");
    let rest = right(&truth, &pieces, 3, 3);
    watched.batch(&truth, &rest[1..], (rev(3), false)).unwrap();
    assert_eq!(watched.next(), rev(4));
}

#[test]
fn wat_12_wat_15_reliable() {
    for missing in [0, 2, 3, 4] {
        complains(spoilt(&from(2), 6, |given| drop(given.remove(missing))), "reliable");
    }
}

#[test]
fn wat_23_to_wat_27_bookmarkable() {
    complains(spoilt(&from(2), 6, |given| drop(given.pop())), "bookmarkable");
    let (truth, asked) = (truth(), Asked { progress: true, ..from(2) });
    let said = |watched: &Watched, upto| watched.clone().batch(&truth, &[], (rev(upto), false));
    let mut watched = begin(&truth, asked.clone());
    complains(said(&watched, 6), "bookmarkable");
    watched.batch(&truth, &right(&truth, &asked, 2, 4), (rev(4), false)).unwrap();
    said(&watched, 4).unwrap();
    for upto in [3, 5, 7] {
        complains(said(&watched, upto), "bookmarkable");
    }
    let waits = begin(&truth, Asked { progress: true, ..from(8) });
    complains(said(&waits, 6), "bookmarkable (WAT-26)");
}

#[test]
fn wat_25_wat_26_bookmarkable_in_a_set() {
    let truth = truth();
    let says = |watched: &Watched, upto| watched.clone().progress(&truth, rev(upto));
    let mut watched = begin(&truth, from(2));
    complains(says(&watched, 6), "bookmarkable");
    watched.batch(&truth, &right(&truth, &from(2), 2, 6), (rev(6), false)).unwrap();
    says(&watched, 6).unwrap();
    for upto in [5, 7] {
        complains(says(&watched, upto), "bookmarkable");
    }
    assert!(!watched.waits(&truth) && begin(&truth, from(8)).waits(&truth));
    complains(says(&begin(&truth, from(8)), 6), "bookmarkable (WAT-26)");
    // The set was asked, and not this one of it.
    watched.progress(&truth, rev(6)).unwrap();
    complains(watched.batch(&truth, &[], (rev(6), false)), "filtered");
}

#[test]
fn hlp_1_watched_through_a_scope() {
    let truth = truth();
    let scoped = |range: KeyRange| Asked { scope: "k".into(), range, ..from(2) };
    let names = |asked: &Asked| ["k", "ka", "kb", "m"].map(|key| asked.covers(key.as_bytes()));
    assert_eq!(names(&scoped(KeyRange::key("a"))), [false, true, false, false]);
    assert_eq!(names(&scoped(KeyRange::all())), [false, true, true, false]);
    assert_eq!(names(&Asked { scope: Bytes::new(), ..from(2) }), [true; 4]);
    // "k" itself has no name in there.
    let given = right(&truth, &from(2), 2, 6);
    let mut watched = begin(&truth, scoped(KeyRange::all()));
    complains(watched.clone().batch(&truth, &given, (rev(6), false)), "filtered");
    watched.progress(&truth, rev(6)).unwrap();
}

#[test]
fn wat_11_wat_30_justified() {
    let ends = |asked: Asked, compacted, ended| {
        let mut truth = truth();
        let mut watched = begin(&truth, asked);
        stands_at(&mut truth, 6, compacted);
        watched.end(&truth, ended)
    };
    let compacted = |at| Ended::Compacted(rev(at));
    ends(from(2), 4, compacted(4)).unwrap();
    complains(ends(from(2), 3, compacted(4)), "justified"); // there was none
    complains(ends(from(4), 4, compacted(4)), "justified"); // that one leaves it
    complains(ends(from(4), 5, compacted(5)), "justified"); // not so far behind
    ends(from(3), 5, compacted(5)).unwrap();
    complains(ends(from(2), 0, Ended::Cancelled), "justified");
    complains(ends(from(2), 0, Ended::NoLeader), "justified");
    complains(ends(from(2), 0, Ended::Node), "justified");
    ends(Asked { leader: true, ..from(2) }, 0, Ended::NoLeader).unwrap();
    let truth = truth();
    let mut watched = begin(&truth, from(2));
    watched.cancel();
    watched.end(&truth, Ended::Cancelled).unwrap();
    let given = right(&truth, &from(2), 2, 6);
    complains(watched.batch(&truth, &given, (rev(6), false)), "justified (WAT-8)");
}

#[test]
fn inv_8_wat_34_complete() {
    let mut truth = truth();
    let mut watched = begin(&truth, from(2));
    watched.batch(&truth, &right(&truth, &from(2), 2, 4), (rev(4), false)).unwrap();
    complains(Err(watched.lacks(&truth).unwrap()), "complete");
    assert!(watched.is_behind(&truth));
    // What its member has not heard of, it need not have heard of.
    stands_at(&mut truth, 4, 0);
    assert_eq!((watched.lacks(&truth), watched.is_behind(&truth)), (None, false));
    truth.set_member(NODE, Member { is_up: false, ..truth.member(NODE) });
    complains(Err(watched.lacks(&truth).unwrap()), "complete");
    watched.end(&truth, Ended::Node).unwrap();
    assert_eq!(watched.lacks(&truth), None);
}

#[test]
fn wat_1_it_begins_where_its_member_is() {
    let truth = truth();
    let begun = Watched::begin(&truth, (NODE, rev(5)), Asked::all(), MAX_PINNED);
    assert!(begun.unwrap_err().starts_with("WAT-1"));
}
