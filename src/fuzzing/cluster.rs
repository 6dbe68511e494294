//! A whole cluster, its clients, and what goes wrong.
//!
//! What is promised: all that the judges of the simulator know (`src/sim/check/`), which is what
//! a user was promised; that it works again soon after the last fault; and that the same case is
//! the same run.
//!
//! A seed alone would be no case to learn from: in another seed everything is another. So a case
//! says by itself how much goes wrong, and in steps what goes wrong when; a change of a few bytes
//! is a change of one thing. What it leaves open comes from the seed that it names.

use std::time::Duration;

use super::input::Input;
use crate::sim::{Cluster, Failure, Fault, Faults, Report, Run, Seed};

/// What a case may ask for at most, so that it takes no longer than others do.
const CALLS: usize = 150;
const MEMBERS: usize = 5;
const TICKS: u16 = 400;
const STEPS: usize = 40;
const BOUTS: usize = 4;

/// From the middle of a byte upwards: who leads, when the step comes.
pub(super) const LEADER: u8 = 128;

/// The switches of a case: bits of a byte.
pub(super) mod switch {
    /// Messages are lost, come twice, late, and overtake each other; a byte for each follows.
    pub(in super::super) const UNRULY: u8 = 1;
    /// Clocks run at different rates; a byte says how different.
    pub(in super::super) const CLOCKS: u8 = 2;
    /// It is run a second time, and must be the same.
    pub(in super::super) const TWICE: u8 = 4;
}

/// Steps, by the byte that asks for them; below these it is one of [`Fault::ALL`].
pub(super) mod step {
    use super::Fault;

    /// Another member shall lead.
    pub(in super::super) const TRANSFER: u8 = 15;
    /// All links are mended.
    pub(in super::super) const HEAL: u8 = 16;
    pub(super) const COUNT: u8 = 17;

    /// The byte that asks for a fault.
    pub(in super::super) fn of(fault: Fault) -> u8 {
        Fault::ALL.iter().zip(0..).find(|(one, _)| **one == fault).unwrap().1
    }
}

/// Runs a case: what the cluster is like, then a step after the other.
pub fn cluster(data: &[u8]) {
    let mut input = Input::new(data);
    let seed = Seed::new(input.number());
    let members = 1 + input.below(MEMBERS);
    let calls = 1 + input.below(CALLS);
    let ticks = 1 + input.short() % TICKS;
    let switches = input.byte();
    let run = Run::new(seed)
        .members(members)
        .calls(calls as u64)
        .ticks(ticks.into())
        .faults(faults(switches, &mut input));
    let report = live(&run, &input);
    if switches & switch::TWICE != 0 {
        let again = live(&run, &input);
        assert_eq!(report.trace_hash, again.trace_hash, "the same case, another run");
    }
}

fn live(run: &Run, steps: &Input<'_>) -> Report {
    let steps = steps.clone();
    run.run_through(|cluster, tick, span| play(steps, cluster, tick, span))
        .unwrap_or_else(|failure| panic!("{failure}"))
}

/// What goes wrong by itself, and how often.
fn faults(switches: u8, input: &mut Input<'_>) -> Faults {
    let millis = |number: u8| Duration::from_millis(number.into());
    let mut faults = Faults::none();
    if switches & switch::UNRULY != 0 {
        let mut part = |most: u32| u32::from(input.byte()) * most / 255;
        let (loss, twice, late) = (part(300_000), part(300_000), part(300_000));
        let (slowest, latest) = (millis(1 + input.byte() / 8), millis(input.byte()) * 8);
        faults = faults
            .delay(Duration::from_micros(50)..slowest)
            .loss(loss)
            .duplicates(twice)
            .stragglers(late, latest);
    }
    if switches & switch::CLOCKS != 0 {
        faults = faults.clock_rate(u32::from(input.byte()) * 2_000);
    }
    for _ in 0..input.below(BOUTS) {
        let fault = Fault::ALL[input.below(Fault::ALL.len())];
        let (every, longest) = (millis(1 + input.byte() / 2) * 40, millis(input.byte()) * 10);
        faults = faults.with(fault, every, Duration::ZERO..longest);
    }
    faults
}

/// One step after the other, each when so many ticks have passed; then what is left of the time.
fn play(
    mut input: Input<'_>,
    cluster: &Cluster,
    tick: Duration,
    span: Duration,
) -> Result<(), Failure> {
    for _ in 0..STEPS {
        let left = span.saturating_sub(cluster.clock().now());
        if input.is_empty() || left.is_zero() {
            break;
        }
        let (what, whom) = (input.byte() % step::COUNT, input.byte());
        let (wait, lasts) = (input.byte(), tick * input.byte().into());
        cluster.run_for((tick / 4 * wait.into()).min(left))?;
        let name = member(cluster, whom);
        match what {
            step::TRANSFER => hand_over(cluster, &name),
            step::HEAL => cluster.heal(),
            fault => cluster.strike(Fault::ALL[usize::from(fault)], &name, lasts).unwrap(),
        }
    }
    cluster.run_for(span.saturating_sub(cluster.clock().now()))
}

/// Who leads, if somebody does and the number is large, or one of them.
fn member(cluster: &Cluster, number: u8) -> String {
    let names = cluster.names();
    let leader = || cluster.leader().filter(|_| number >= LEADER);
    leader().unwrap_or_else(|| names[usize::from(number) % names.len()].clone())
}

/// Whether it works is nobody's concern here.
fn hand_over(cluster: &Cluster, to: &str) {
    let Some(leader) = cluster.leader() else { return };
    let transfer = cluster.transfer_leader(&leader, to).unwrap();
    cluster.spawn(async move { drop(transfer.await) });
}
