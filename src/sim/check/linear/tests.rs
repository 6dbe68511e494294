//! Histories good and bad, and a second opinion on small ones.

mod opinion;

use super::super::samples::random::{Random, Shape};
use super::super::{judge, serial};
use super::{check, in_scope};
use crate::sim::check::linear::Scope;

const BUSY: Shape = Shape { calls: 400, clients: 6, keys: 5, unknown: 60, reads: 400, old: 200 };

#[test]
fn inv_1_what_a_right_store_answers_is_explained() {
    for seed in 0..200 {
        let history = Random::history(seed, BUSY);
        judge(&history).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        check(&history).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

#[test]
#[ignore = "stress"]
fn stress() {
    let env = |name: &str, or: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or);
    let (from, to) = (env("FROM", 0), env("TO", 100));
    let shape = Shape {
        calls: env("CALLS", 2000) as usize,
        clients: env("CLIENTS", 8) as u32,
        keys: env("KEYS", 3),
        unknown: env("UNKNOWN", 60) as u32,
        reads: env("READS", 400) as u32,
        old: env("OLD", 200) as u32,
    };
    let mut buckets = std::collections::BTreeMap::new();
    for seed in from..to {
        let history = Random::history(seed, shape);
        let open = history.calls().filter(|(_, c)| c.op.view().is_none() && c.answer().is_none_or(|a| matches!(a, crate::sim::history::Answer::Failed{outcome: crate::error::WriteOutcome::Unknown, ..}))).count();
        for scope in [Scope::Linear, Scope::All] {
            let mut n = 0;
            for budget in [10_000, 30_000, 100_000, 300_000, 1_000_000, 10_000_000, 50_000_000] {
                n = budget;
                match super::solve(&history, scope, &|_| true, budget) {
                    super::Verdict::Holds(w) => {
                        let gaps = w.writes().filter(|(_, id)| history.call(*id).unwrap().answer().is_none_or(|a| a.revision().is_none())).count();
                        if n > 100_000 { println!("seed {seed} {scope:?} {n} open {open} gaps {gaps}"); }
                        break;
                    }
                    super::Verdict::Undecided => n = u64::MAX,
                    super::Verdict::Broken(v) => panic!("seed {seed} {v}"),
                    super::Verdict::Impossible(v) => panic!("seed {seed} {scope:?} {v:?}"),
                }
            }
            if n == u64::MAX { println!("UNDECIDED {seed} {scope:?} open {open}"); }
            *buckets.entry((scope == Scope::All, n)).or_insert(0) += 1;
        }
    }
    println!("{buckets:?}");
}
