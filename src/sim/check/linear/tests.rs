//! Histories good and bad, and a second opinion on small ones.

mod opinion;

use std::collections::BTreeMap;

use super::super::judge;
use super::super::samples::random::{Random, Shape};
use super::super::samples::{
    Made, compact, compacted, delete, deleted, get, get_at, got, is_compacted, is_future, kv,
    not_applied, nothing, put, put_prev, range, ranged, unknown, wrote,
};
use super::{Scope, Verdict, Witness, check, solve};
use crate::sim::check::model::Model;
use crate::sim::check::serial;
use crate::sim::history::{Answer, Call, CallId, History};

const BUSY: Shape =
    Shape { calls: 400, clients: 6, keys: 5, unknown: 60, reads: 400, old: 200, txns: 200 };

/// So much may be tried with histories of 2,000 calls.
const STEPS: u64 = 100_000;

/// The rule that is said to be broken, and by which calls.
fn broken(made: &Made) -> (&'static str, Vec<CallId>) {
    let violation = check(&made.history).unwrap_err();
    assert!(!violation.is_undecided(), "{violation}");
    (violation.rule, violation.shown_by().to_vec())
}

fn is_unknown(call: &Call) -> bool {
    let told = call.answer().is_some_and(|answer| *answer != unknown());
    call.op.view().is_none() && !told
}

#[test]
fn inv_1_what_a_right_store_answers_is_explained() {
    for seed in 0..200 {
        let history = Random::history(seed, BUSY);
        let linear = check(&history);
        let linear = linear.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        shows(&history, &linear);
        let all = judge(&history).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        shows(&history, &all);
    }
}

/// Does the order explain the answers, and agree with real time? Asked without the search.
fn shows(history: &History, witness: &Witness) {
    let mut model = Model::default();
    // The first end among the calls that come later.
    let mut deadline = u64::MAX;
    for step in witness.steps().iter().rev() {
        let call = history.call(step.call).unwrap();
        assert!(call.invoked < deadline, "{} must come later", step.call);
        let open = is_unknown(call);
        let ends = call.end.as_ref().filter(|_| !open).map_or(u64::MAX, |end| end.returned);
        deadline = deadline.min(ends);
    }
    let mut placed = BTreeMap::new();
    for step in witness.steps() {
        let call = history.call(step.call).unwrap();
        assert_eq!(placed.insert(step.call, ()), None, "{} has two places", step.call);
        let told = model.apply(&call.op);
        assert_eq!(model.revision(), step.revision, "{} {call}", step.call);
        if !is_unknown(call) {
            assert_eq!(call.answer(), Some(&told), "{} {call}", step.call);
        }
    }
    let writes = witness.writes().map(|(revision, _)| revision.get());
    assert!(writes.eq(2..=model.revision().get()), "no revision is left out");
    let answered = history.calls().filter(|(_, call)| {
        let counts = call.op.view().is_none_or(|view| !view.serializable);
        counts && call.answer().and_then(Answer::revision).is_some()
    });
    for (id, call) in answered {
        assert!(placed.contains_key(&id), "{id} {call} has no place");
    }
}

/// Few hot keys, and many writes that nobody heard of: it is decided, within a bounded number of
/// steps and not of seconds.
#[test]
fn inv_6_unknown_outcomes_do_not_make_it_undecided() {
    let mut most = 0;
    for (seed, keys) in (0..12).zip([1, 2, 3, 8].into_iter().cycle()) {
        let txns = [0, 100, 300][usize::try_from(seed % 3).unwrap()];
        let shape =
            Shape { calls: 2_000, clients: 8, keys, unknown: 60, reads: 400, old: 200, txns };
        let history = Random::history(seed, shape);
        most = most.max(history.calls().filter(|(_, call)| is_unknown(call)).count());
        for scope in [Scope::Linear, Scope::All] {
            match solve(&history, scope, &|_| true, STEPS) {
                Verdict::Holds(witness) => shows(&history, &witness),
                Verdict::Undecided => panic!("seed {seed} {scope:?} is undecided"),
                Verdict::Broken(violation) => panic!("seed {seed} {scope:?}: {violation}"),
                Verdict::Impossible(failure) => panic!("seed {seed} {scope:?}: {failure:?}"),
            }
        }
    }
    assert!(most >= 60, "at most {most} writes were unknown");
}

/// The same with something wrong in it: that too is decided.
#[test]
fn inv_1_one_wrong_value_among_unknown_outcomes_is_found() {
    let shape =
        Shape { calls: 2_000, clients: 8, keys: 3, unknown: 60, reads: 400, old: 200, txns: 0 };
    for seed in 0..4 {
        let mut history = Random::history(seed, shape);
        let calls = history.calls_mut().iter_mut().skip(1_000);
        let mut answers = calls.filter_map(|call| Some(&mut call.end.as_mut()?.answer));
        let kv = answers.find_map(|answer| match answer {
            Answer::Got { kv: Some(kv), .. } => Some(kv),
            _ => None,
        });
        kv.unwrap().value = "never written".into();
        // Without putting it into words, which takes many searches.
        let verdict = solve(&history, Scope::All, &|_| true, STEPS);
        let found = matches!(verdict, Verdict::Broken(_) | Verdict::Impossible(_));
        assert!(found, "seed {seed}");
    }
}

#[test]
fn a_search_that_may_try_little_says_that_it_does_not_know() {
    let verdict = solve(&Random::history(1, BUSY), Scope::All, &|_| true, 10);
    assert!(matches!(verdict, Verdict::Undecided));
}

#[test]
fn inv_1_a_stale_read_is_found() {
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    made.call(1, put("a", "2"), wrote(3));
    let stale = made.call(2, get("a"), got(2, kv("a", "1", [2, 2, 1])));
    let (rule, calls) = broken(&made);
    assert_eq!((rule, calls.contains(&stale)), ("INV-1", true));
}

#[test]
fn inv_6_a_write_may_take_effect_after_its_error() {
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    made.call(2, put("a", "2"), unknown());
    made.call(1, get("a"), got(2, kv("a", "1", [2, 2, 1])));
    made.call(1, get("a"), got(3, kv("a", "2", [2, 3, 2])));
    let witness = check(&made.history).unwrap();
    let order: Vec<usize> = witness.steps().iter().map(|step| step.call.get()).collect();
    assert_eq!(order, [0, 2, 1, 3]);
    // And it does not happen again.
    made.call(1, get("a"), got(4, kv("a", "2", [2, 4, 3])));
    assert_eq!(broken(&made).0, "INV-2");
}

#[test]
fn inv_6_a_write_that_had_not_begun_has_not_been_seen() {
    let mut made = Made::new();
    made.call(1, get("a"), got(2, kv("a", "1", [2, 2, 1])));
    made.call(2, put("a", "1"), unknown());
    let violation = check(&made.history).unwrap_err();
    assert_eq!(violation.rule, "INV-6", "{violation}");
    assert!(violation.to_string().contains("began after somebody had seen it"), "{violation}");
}

#[test]
fn sel_12_a_write_that_was_not_applied_has_not_been_seen() {
    let mut made = Made::new();
    made.call(1, put("b", "1"), unknown());
    made.call(2, put("a", "1"), not_applied());
    made.call(1, get("a"), got(2, kv("a", "1", [2, 2, 1])));
    let violation = check(&made.history).unwrap_err();
    assert!(violation.to_string().contains("was told that it was not applied"), "{violation}");
}

#[test]
fn inv_2_a_revision_is_made_once_and_by_somebody() {
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    made.call(1, put("b", "1"), wrote(2));
    assert_eq!(broken(&made).0, "INV-2");
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(3));
    assert_eq!(broken(&made).0, "INV-2");
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(3));
    made.call(1, put("b", "1"), wrote(2));
    assert_eq!(broken(&made).0, "INV-1", "they are the wrong way round in real time");
}

#[test]
fn inv_1_a_key_whose_return_nobody_was_told_of_can_be_deleted() {
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    let went = made.call(2, delete("a"), unknown());
    let came = made.call(3, put("a", "2"), unknown());
    made.call(1, get("a"), got(4, kv("a", "2", [4, 4, 1])));
    made.call(1, delete("a"), deleted(5, 1));
    let writes: Vec<CallId> = check(&made.history).unwrap().writes().map(|(_, id)| id).collect();
    assert_eq!(writes[1..3], [went, came]);
}

#[test]
fn inv_1_what_a_write_was_told_of_the_state_before_counts() {
    let mut made = Made::new();
    let first = made.call(1, put("a", "1"), wrote(2));
    let wrong = made.call(1, put_prev("a", "2"), wrote(3));
    assert_eq!(broken(&made), ("INV-1", vec![wrong, first]));
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    made.call(1, delete("a".."c"), deleted(3, 2));
    assert_eq!(broken(&made).0, "INV-1", "there was one key to delete");
}

#[test]
fn inv_1_a_range_shows_one_state() {
    let a = kv("a", "1", [2, 2, 1]);
    let b = kv("b", "1", [3, 3, 1]);
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    made.call(1, put("b", "1"), wrote(3));
    made.call(1, range(..), ranged(3, &[a, b.clone()]));
    check(&made.history).unwrap();
    made.call(1, range(..), ranged(3, &[b]));
    assert_eq!(broken(&made).0, "INV-1");
}

#[test]
fn inv_4_a_compaction_stays_and_hides_nothing_else() {
    let first = kv("a", "1", [2, 2, 1]);
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    made.call(1, put("a", "2"), wrote(3));
    made.call(1, get_at("a", 2), got(3, first.clone()));
    made.call(1, compact(3), compacted(3));
    made.call(1, get_at("a", 2), is_compacted(3));
    check(&made.history).unwrap();
    made.call(1, get_at("a", 2), got(3, first));
    assert_eq!(broken(&made).0, "INV-1", "it was read after it was gone");
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    made.call(1, get_at("a", 1), is_compacted(2));
    assert_eq!(broken(&made).0, "INV-4", "nobody has compacted");
}

#[test]
fn inv_1_what_has_not_happened_yet_is_not_refused_later() {
    let mut made = Made::new();
    made.call(1, get_at("a", 2), is_future(1));
    made.call(1, put("a", "1"), wrote(2));
    check(&made.history).unwrap();
    made.call(1, get_at("a", 2), is_future(1));
    assert_eq!(broken(&made).0, "INV-1");
}

#[test]
fn an_answer_that_is_wrong_by_itself_is_found() {
    for (op, answer) in [(get("a"), wrote(2)), (put("a", "1"), nothing(1)), (get("a"), nothing(0))]
    {
        let mut made = Made::new();
        let id = made.call(1, op, answer);
        assert_eq!(broken(&made), ("INV-1", vec![id]));
    }
}

/// Where what is wrong is spread over several answers, the others are not named.
#[test]
fn a_complaint_names_few_calls() {
    let mut made = Made::new();
    for revision in 2..20 {
        made.call(1, put("z", "1"), wrote(revision));
    }
    made.call(2, put("a", "1"), unknown());
    made.call(2, put("a", "2"), unknown());
    made.call(1, get("a"), got(21, kv("a", "1", [20, 21, 2])));
    made.call(1, get_at("a", 20), got(21, kv("a", "1", [20, 20, 1])));
    let violation = check(&made.history).unwrap_err();
    assert!(violation.shown_by().len() <= 4, "{violation}");
    assert!(serial::check(&made.history).is_err());
}
