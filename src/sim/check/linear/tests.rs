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
    let env =
        |name: &str, or: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or);
    let (from, to) = (env("FROM", 0), env("TO", 100));
    let shape = Shape {
        calls: env("CALLS", 20000) as usize,
        clients: env("CLIENTS", 20) as u32,
        keys: env("KEYS", 20),
        unknown: env("UNKNOWN", 20) as u32,
        reads: env("READS", 500) as u32,
        old: env("OLD", 200) as u32,
    };
    let mut worst = std::time::Duration::ZERO;
    let mut total = std::time::Duration::ZERO;
    for seed in from..to {
        let history = Random::history(seed, shape);
        let begun = std::time::Instant::now();
        let r = judge(&history);
        let took = begun.elapsed();
        worst = worst.max(took);
        total += took;
        let gaps = r.as_ref().map(|w| {
            w.writes()
                .filter(|(_, id)| {
                    history.call(*id).unwrap().answer().is_none_or(|a| a.revision().is_none())
                })
                .count()
        });
        if to - from < 20 {
            println!(
                "seed {seed}: {took:?} gaps {gaps:?} of {}",
                r.as_ref().map_or(0, |w| w.writes().count())
            );
        }
        if let Err(v) = r {
            if v.is_undecided() {
                println!("seed {seed} UNDECIDED {took:?}")
            } else {
                panic!("seed {seed}: {v}")
            }
        }
    }
    println!("worst {worst:?} mean {:?}", total / (to - from) as u32);
}
