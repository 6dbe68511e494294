//! What callers were told: rare answers, found when all of them are there.

use super::watch::Reign;
use super::{Counts, Mark};
use crate::core::machine::txn::{Compare, Operator, Target, Txn};
use crate::error::WriteOutcome;
use crate::ids::Revision;
use crate::sim::history::{Answer, Call, History, Op, Why};

/// A compaction: from where to where in the order of all events, and up to which revision.
struct Compaction {
    invoked: u64,
    returned: u64,
    revision: Revision,
}

pub(super) fn look(history: &History, reigns: &[Reign], counts: &mut Counts) {
    let compactions: Vec<Compaction> =
        history.calls().filter_map(|(_, call)| Compaction::of(call)).collect();
    for (_, call) in history.calls() {
        if let Op::Txn { txn, .. } = &call.op {
            transaction(txn, call, counts);
        }
        if call.op.view().is_none() && !matches!(call.op, Op::Compact { .. }) {
            write(call, counts);
        } else if call.op.view().is_some() {
            read(call, reigns, &compactions, counts);
        }
    }
}

fn transaction(txn: &Txn, call: &Call, counts: &mut Counts) {
    let guarded = |compare: &Compare| {
        matches!(compare.target, Target::ModRevision(_)) && compare.operator == Operator::Equal
    };
    match call.answer() {
        Some(Answer::Txn { succeeded, responses, .. }) => {
            if !succeeded && call.op.view().is_none() && txn.compares.iter().any(guarded) {
                counts.hit(Mark::SetOvertaken);
            }
            let is_else = |told: &Answer| matches!(told, Answer::Txn { succeeded: false, .. });
            if responses.iter().any(is_else) {
                counts.hit(Mark::NestedElse);
            }
        }
        Some(Answer::Failed {
            why: Why::KeyNotFound | Why::Compacted(_) | Why::FutureRevision(_),
            ..
        }) => counts.hit(Mark::TxnRefused),
        _ => {}
    }
}

fn write(call: &Call, counts: &mut Counts) {
    match call.answer() {
        None | Some(Answer::Failed { outcome: WriteOutcome::Unknown, .. }) => {
            counts.hit(Mark::WriteUnknown);
        }
        Some(Answer::Failed { outcome: WriteOutcome::NotApplied, .. }) => {
            counts.hit(Mark::WriteNotApplied);
        }
        Some(_) => {}
    }
}

fn read(call: &Call, reigns: &[Reign], compactions: &[Compaction], counts: &mut Counts) {
    let Some(view) = call.op.view() else { return };
    let returned = call.end.as_ref().map_or(u64::MAX, |end| end.returned);
    if let Some(at) = view.at
        && compactions
            .iter()
            .any(|it| it.revision > at && it.invoked < returned && it.returned > call.invoked)
    {
        counts.hit(Mark::ReadOvertaken);
    }
    let refused = match call.answer() {
        Some(Answer::Failed { why: Why::Compacted(_) | Why::FutureRevision(_), .. }) => false,
        Some(Answer::Failed { .. }) => true,
        _ => false,
    };
    let began = call.invoked_at.nanos();
    let deposed =
        |reign: &Reign| reign.member == call.member && (reign.from..reign.to).contains(&began);
    if refused && !view.serializable && reigns.iter().any(deposed) {
        counts.hit(Mark::DeposedRead);
    }
}

impl Compaction {
    fn of(call: &Call) -> Option<Self> {
        let Op::Compact { revision } = call.op else { return None };
        let end = call.end.as_ref()?;
        matches!(end.answer, Answer::Compacted { .. }).then_some(Self {
            invoked: call.invoked,
            returned: end.returned,
            revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::sim::history::View;
    use crate::time::Instant;

    const A: NodeId = NodeId::new(1);

    fn counts(calls: &[(u64, Op, Answer)], reigns: &[Reign]) -> Counts {
        let (mut history, mut counts) = (History::new(), Counts::default());
        let ids: Vec<_> = calls
            .iter()
            .map(|(at, op, _)| history.invoke(1, A, Instant::from_nanos(*at), op.clone()))
            .collect();
        for (id, (at, _, answer)) in ids.into_iter().zip(calls) {
            history.answer(id, Instant::from_nanos(at + 1), answer.clone());
        }
        look(&history, reigns, &mut counts);
        counts
    }

    fn get(at: Option<u64>) -> Op {
        let op = Op::Get { key: "k".into(), at: at.map(Revision::new), serializable: false };
        assert!(matches!(op.view(), Some(View { serializable: false, .. })));
        op
    }

    fn failed(outcome: WriteOutcome) -> Answer {
        Answer::Failed { outcome, why: Why::Timeout }
    }

    #[test]
    fn writes_that_fail_are_told_apart() {
        let put = || Op::put("k", "v");
        let unknown = counts(&[(1, put(), failed(WriteOutcome::Unknown))], &[]);
        assert_eq!(unknown.paths.into_iter().collect::<Vec<_>>(), [(Mark::WriteUnknown, 1)]);
        let known = counts(&[(1, put(), failed(WriteOutcome::NotApplied))], &[]);
        assert_eq!(known.paths.into_iter().collect::<Vec<_>>(), [(Mark::WriteNotApplied, 1)]);
    }

    #[test]
    fn a_read_meets_a_compaction_of_what_it_wants_and_of_nothing_else() {
        let compact = |revision| {
            let revision = Revision::new(revision);
            (1, Op::Compact { revision }, Answer::Compacted { revision })
        };
        let read = |at| (1, get(Some(at)), failed(WriteOutcome::NotApplied));
        assert_eq!(counts(&[compact(5), read(4)], &[]).paths.len(), 1);
        assert_eq!(counts(&[compact(5), read(5)], &[]).paths.len(), 0);
    }

    #[test]
    fn a_read_is_refused_by_a_leader_that_was_one_when_it_began() {
        let reign = Reign { member: A, from: 5, to: 9 };
        let read = |at| [(at, get(None), failed(WriteOutcome::NotApplied))];
        assert_eq!(counts(&read(5), &[reign]).paths.len(), 1);
        assert_eq!(counts(&read(9), &[reign]).paths.len(), 0);
        let kv = Answer::Got { revision: Revision::new(1), kv: None };
        assert_eq!(counts(&[(5, get(None), kv)], &[reign]).paths.len(), 0);
    }
}
