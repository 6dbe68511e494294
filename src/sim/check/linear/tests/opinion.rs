//! The tester of `stateright`, asked about small histories. It tries every order, with the same
//! model.

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::error::WriteOutcome;
use crate::sim::check::Violation;
use crate::sim::check::linear::{BUDGET, Scope, in_scope};
use crate::sim::check::model::Model;
use crate::sim::check::samples::random::{Random, Shape};
use crate::sim::check::samples::spoil::spoil;
use crate::sim::dice::{Dice, Seed};
use crate::sim::history::{Answer, Call, History, Op, Why};

impl SequentialSpec for Model {
    type Op = Op;
    type Ret = Answer;

    fn invoke(&mut self, op: &Op) -> Answer {
        self.apply(op)
    }
}

/// What the tester is told of a call.
enum Told {
    /// Nothing: it changed and saw nothing.
    Nothing,
    /// That it began.
    Began,
    Ended(Answer),
}

fn told(call: &Call) -> Told {
    let reads = call.op.view().is_some();
    match call.answer() {
        None if reads => Told::Nothing,
        // The judge does not ask which keys there were, for nobody was told when; but whether
        // there is a put that asks for one.
        Some(Answer::Failed { why: Why::KeyNotFound, .. })
            if call.op.puts().iter().any(|put| put.ignore_value) =>
        {
            Told::Nothing
        }
        Some(answer @ Answer::Failed { why: Why::KeyNotFound, .. }) => Told::Ended(answer.clone()),
        None => Told::Began,
        Some(Answer::Failed { outcome: WriteOutcome::Unknown, .. }) if !reads => Told::Began,
        Some(Answer::Failed { why: Why::Compacted(_) | Why::FutureRevision(_), .. }) => {
            Told::Ended(call.answer().unwrap().clone())
        }
        Some(Answer::Failed { .. }) => Told::Nothing,
        Some(answer) => Told::Ended(answer.clone()),
    }
}

/// Every call is a thread of its own: only what ended before what began matters.
fn opinion(history: &History, scope: Scope) -> bool {
    let mut events = Vec::new();
    for (id, call) in history.calls() {
        let old = call.op.view().is_some_and(|view| view.serializable);
        if old && scope == Scope::Linear {
            continue;
        }
        let (began, ended) = match told(call) {
            Told::Nothing => continue,
            Told::Began => (true, None),
            Told::Ended(answer) => (true, Some(answer)),
        };
        // A read that may be old may have its place long before it began.
        events.extend(began.then_some((if old { 0 } else { call.invoked }, id, None)));
        if let (Some(end), Some(answer)) = (&call.end, ended) {
            events.push((end.returned, id, Some(answer)));
        }
    }
    events.sort_by_key(|(at, id, _)| (*at, *id));
    let mut tester = LinearizabilityTester::new(Model::default());
    for (_, id, answer) in events {
        match answer {
            None => tester.on_invoke(id, history.call(id).unwrap().op.clone()).unwrap(),
            Some(answer) => tester.on_return(id, answer).unwrap(),
        };
    }
    tester.is_consistent()
}

fn agree(seed: u64, shape: Shape, verdicts: &mut [u32; 2]) {
    let mut history = Random::history(seed, shape);
    let mut dice = Dice::new(Seed::new(seed));
    for _ in 0..dice.below(4) {
        spoil(&mut history, &mut dice);
    }
    for scope in [Scope::Linear, Scope::All] {
        let verdict = in_scope(&history, scope, BUDGET);
        let undecided = verdict.as_ref().is_err_and(Violation::is_undecided);
        assert!(!undecided, "seed {seed} is undecided");
        let expected = opinion(&history, scope);
        verdicts[usize::from(expected)] += 1;
        if verdict.is_ok() != expected {
            for (id, call) in history.calls() {
                println!("{id} {call}");
            }
            panic!("seed {seed} {scope:?}: expected {expected}, and it is {verdict:?}");
        }
    }
}

#[test]
fn inv_1_a_tester_that_tries_every_order_agrees() {
    let mut verdicts = [0; 2];
    for seed in 0..6_000 {
        let calls = 3 + usize::try_from(seed % 6).unwrap();
        let unknown = [0, 100, 400, 800][usize::try_from(seed % 4).unwrap()];
        let reads = [300, 500, 700][usize::try_from(seed % 3).unwrap()];
        let txns = [0, 400][usize::try_from(seed / 12 % 2).unwrap()];
        let shape = Shape { calls, clients: 3, keys: 1 + seed % 3, unknown, reads, old: 200, txns };
        agree(seed, shape, &mut verdicts);
    }
    // Neither kind is rare.
    assert!(verdicts.iter().all(|count| *count > 1_000), "{verdicts:?}");
}
