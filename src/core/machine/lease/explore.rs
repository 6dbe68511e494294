//! Every way in which two holders of one lock, a leader and time can meet, within small bounds.
//!
//! The leases are the real ones; what is around them is the protocol in a few lines: a holder's
//! deadline counts from when it asked, a leader puts a tick in front of a renewal, a new leader
//! counts from when it applied the last tick, and whoever is first in the line is told so when it
//! looks. Messages are lost, late, or both; a holder that does nothing for long is a stopped one.
//! In no state that can be reached do two rely on the lock. With one mistake in it, they do.

use std::collections::BTreeSet;

use super::*;

const TTL: u64 = 3;

/// Nothing happens later.
const END: u64 = 4;

/// What somebody could do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// A deadline counts from when the answer came.
    CountsFromAnswer,
    /// A new leader counts from before the last tick.
    CountsAgain,
    /// What is over is renewed by an answer that is late.
    Revives,
}

#[derive(Clone, Debug, Default)]
struct Holder {
    deadline: u64,
    /// It has seen that its time is over.
    over: bool,
    /// It was told that it holds the lock.
    told: bool,
    renewal: Renewal,
}

#[derive(Clone, Copy, Debug, Default)]
enum Renewal {
    #[default]
    None,
    Asked(u64),
    /// Whether there was such a lease.
    Answered(u64, bool),
}

#[derive(Clone, Debug)]
struct State {
    now: u64,
    term: u64,
    leases: Leases,
    /// When the leader counted last.
    counted: u64,
    /// When the other member has applied that, if it has.
    applied: Option<u64>,
    holders: [Holder; 2],
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass,
    Tick,
    /// The other member applies the last tick.
    Apply,
    Lead,
    Ask(usize),
    Lose(usize),
    Take(usize),
    Answer(usize),
    Look(usize),
}

const STEPS: [Step; 14] = [
    Step::Pass,
    Step::Tick,
    Step::Apply,
    Step::Lead,
    Step::Ask(0),
    Step::Ask(1),
    Step::Lose(0),
    Step::Lose(1),
    Step::Take(0),
    Step::Take(1),
    Step::Answer(0),
    Step::Answer(1),
    Step::Look(0),
    Step::Look(1),
];

fn lease(holder: usize) -> LeaseId {
    LeaseId::new(holder as u64 + 1)
}

impl State {
    /// Both have a lease and stand in the line, the first one before the second.
    fn new() -> Self {
        let mut leases = Leases::default();
        leases.tick(Term::new(1), 0);
        for holder in 0..2 {
            let index = Index::new(holder as u64 + 1);
            leases.grant((lease(holder), index), TTL, Term::new(1)).unwrap();
        }
        let holder = Holder { deadline: TTL, ..Holder::default() };
        let holders = [holder.clone(), holder];
        Self { now: 0, term: 1, leases, counted: 0, applied: Some(0), holders }
    }

    /// The leader says how much time has passed, and what is due goes.
    fn tick(&mut self) {
        let passed = self.now - self.counted;
        for ended in self.leases.tick(Term::new(self.term), passed) {
            self.leases.remove(ended);
        }
        (self.counted, self.applied) = (self.now, None);
    }

    /// What follows, if that can happen here.
    fn after(&self, step: Step, mistake: Mistake) -> Option<Self> {
        let mut next = self.clone();
        let now = self.now;
        match step {
            Step::Pass => next.now += 1,
            Step::Tick if self.counted < now => next.tick(),
            Step::Apply if self.applied.is_none() => next.applied = Some(now),
            Step::Lead if self.term < 2 => {
                // It has all that was committed, and comes to its term.
                let counted = self.applied.unwrap_or(now);
                let again = if mistake == Mistake::CountsAgain { 2 } else { 0 };
                next.counted = counted.saturating_sub(again);
                (next.applied, next.term) = (Some(counted), self.term + 1);
            }
            Step::Tick | Step::Apply | Step::Lead => return None,
            Step::Ask(holder)
            | Step::Lose(holder)
            | Step::Take(holder)
            | Step::Answer(holder)
            | Step::Look(holder) => {
                let state = std::mem::take(&mut next.holders[holder]);
                next.holders[holder] = next.hold(step, holder, state, mistake)?;
            }
        }
        (next.now <= END).then_some(next)
    }

    fn hold(
        &mut self,
        step: Step,
        number: usize,
        mut holder: Holder,
        mistake: Mistake,
    ) -> Option<Holder> {
        let now = self.now;
        match (step, holder.renewal) {
            (Step::Ask(_), Renewal::None) if !holder.over => holder.renewal = Renewal::Asked(now),
            (Step::Lose(_), Renewal::Asked(_)) => holder.renewal = Renewal::None,
            (Step::Take(_), Renewal::Asked(asked)) => {
                self.tick();
                let renewed = self.leases.renew(lease(number), Term::new(self.term)).is_some();
                holder.renewal = Renewal::Answered(asked, renewed);
            }
            (Step::Answer(_), Renewal::Answered(asked, renewed)) => {
                let asked = if mistake == Mistake::CountsFromAnswer { now } else { asked };
                holder.over |= now >= holder.deadline && mistake != Mistake::Revives;
                holder.over |= !renewed && mistake != Mistake::Revives;
                if !holder.over {
                    holder.deadline = holder.deadline.max(asked + TTL);
                }
                holder.renewal = Renewal::None;
            }
            (Step::Look(_), _) if !holder.told => {
                holder.over |= now >= holder.deadline;
                let first = (0..2).find(|other| self.leases.get(lease(*other)).is_some());
                holder.told = first == Some(number) && !holder.over;
                holder.told.then_some(())?;
            }
            _ => return None,
        }
        Some(holder)
    }

    fn relying(&self) -> usize {
        let relies = |it: &&Holder| it.told && !it.over && self.now < it.deadline;
        self.holders.iter().filter(relies).count()
    }
}

/// How many states there are; or one in which two rely on the lock, and what led there at last.
fn explore(mistake: Mistake) -> Result<usize, (Step, Box<State>)> {
    let mut seen = BTreeSet::new();
    let mut left = vec![State::new()];
    while let Some(state) = left.pop() {
        for step in STEPS {
            let Some(next) = state.after(step, mistake) else { continue };
            if next.relying() > 1 {
                return Err((step, Box::new(next)));
            }
            if seen.insert(format!("{next:?}")) {
                left.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn lse_11_no_two_rely_on_one_lock_whatever_happens() {
    let states = explore(Mistake::None).unwrap();
    assert!(states > 1_000, "{states} states");
}

#[test]
fn lse_11_with_one_mistake_they_do() {
    for mistake in [Mistake::CountsFromAnswer, Mistake::CountsAgain, Mistake::Revives] {
        assert!(explore(mistake).is_err(), "{mistake:?}");
    }
}
