//! Three real replicas, and a network that does what the case says.
//!
//! ```text
//!   n1 ◄──► network ◄──► n2      a case is a row of steps: time passes, an envelope arrives,
//!             ▲  ▲               arrives twice, is lost, is changed on its way, is made up;
//!     n3 ◄────┘  └── forgers     a write or a read begins; a disk is done, or late
//! ```
//!
//! What is promised:
//! - No step makes a replica panic, lead to more than a bounded burst of envelopes, send one that
//!   is larger than a message may be, or answer a caller twice.
//! - As long as nobody has *lied* (has sent a message of the consensus protocol that no replica
//!   made), no replica stops, whatever else of envelopes it is given; and replicas that have
//!   applied as much have the same state (`INV-11`).
//! - Against lies from a member no log can be defended, only the process: whoever is lied to may
//!   stop with an error that says what contradicts what (R13, the fatal cases of raft-notes 7.3).
//!
//! `host.rs` does what a driver does, `forge.rs` makes envelopes up.

mod forge;
mod host;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

pub(super) use self::host::{
    CLUSTER, LEARNER, STRANGER, VOTERS, address, frame as framed, genesis, incarnation, replica,
};
use self::host::{ELECTION_TICKS, Host, Sent, TICK, frame, is_clean_stop, open, parts};
use super::input::Input;
use crate::core::replica::envelope::Address;
use crate::core::replica::io::Input as Told;
use crate::ids::{Incarnation, NodeId};
use crate::time::Instant;

/// Inputs that replicas are given in one case.
const PATIENCE: usize = 3_000;
/// Envelopes that may be on their way; the oldest is lost for the next.
const IN_FLIGHT: usize = 300;

/// How a case begins: bits of its first byte.
pub(super) const LED: u8 = 1;
pub(super) const SLOW: u8 = 2;

/// Steps, by the byte that asks for them.
pub(super) mod step {
    pub(in super::super) const TICK: u8 = 0;
    pub(in super::super) const TICK_ALL: u8 = 1;
    pub(in super::super) const DELIVER: u8 = 2;
    pub(in super::super) const REPEAT: u8 = 3;
    pub(in super::super) const LOSE: u8 = 4;
    pub(in super::super) const CHANGE: u8 = 5;
    pub(in super::super) const FORGE: u8 = 6;
    pub(in super::super) const PERSIST: u8 = 7;
    pub(in super::super) const WRITE: u8 = 8;
    pub(in super::super) const READ: u8 = 9;
    pub(in super::super) const TRANSFER: u8 = 10;
    pub(in super::super) const OVERDUE: u8 = 11;
    pub(in super::super) const UNREACHABLE: u8 = 12;
    pub(in super::super) const WORK: u8 = 13;
    pub(in super::super) const ELECT: u8 = 14;
    pub(in super::super) const SETTLE: u8 = 15;
    pub(in super::super) const CUT: u8 = 16;
    pub(super) const COUNT: u8 = 17;
}

/// Runs a case: a byte of switches, then steps.
pub fn deliver(data: &[u8]) {
    run(data).compare();
}

fn run(data: &[u8]) -> Cluster {
    let mut input = Input::new(data);
    let switches = input.byte();
    let mut cluster = Cluster::new(switches & SLOW != 0);
    cluster.settle();
    if switches & LED != 0 {
        cluster.elect(0);
    }
    while !input.is_empty() && cluster.patience > 0 {
        cluster.step(&mut input);
    }
    cluster.settle();
    cluster
}

struct Cluster {
    hosts: [Host; 3],
    now: Instant,
    network: VecDeque<Sent>,
    calls: u64,
    /// Work on snapshots is done when the case says so.
    slow: bool,
    /// Somebody has been told what no replica said.
    lied: bool,
    /// Who is cut off.
    cut: [bool; 3],
    /// Inputs that are left.
    patience: usize,
    #[cfg(test)]
    heard: Vec<(u8, Bytes)>,
}

impl Cluster {
    fn new(slow: bool) -> Self {
        Self {
            hosts: VOTERS.map(Host::new),
            now: Instant::default(),
            network: VecDeque::new(),
            calls: 0,
            slow,
            lied: false,
            cut: [false; 3],
            patience: PATIENCE,
            #[cfg(test)]
            heard: Vec::new(),
        }
    }

    fn give(&mut self, at: usize, told: Told) {
        self.patience = self.patience.saturating_sub(1);
        let outcome = self.hosts[at].give(self.now, told, &mut self.network);
        if let Err(error) = outcome {
            assert!(self.lied, "n{} stops, and nobody has lied: {error}", at + 1);
            assert!(is_clean_stop(&error), "n{} stops in disorder: {error:?}", at + 1);
        }
        while self.network.len() > IN_FLIGHT {
            self.network.pop_front();
        }
        if !self.slow {
            while self.work(at) {}
        }
    }

    fn work(&mut self, at: usize) -> bool {
        let (any, report) = self.hosts[at].work();
        if let Some(report) = report {
            self.give(at, report);
        }
        any && self.patience > 0
    }

    fn persisted(&mut self, at: usize, count: usize) -> bool {
        let told = self.hosts[at].persisted(count);
        told.map(|told| self.give(at, told)).is_some()
    }

    fn arrive(&mut self, (from, to, envelope): Sent) {
        let place = |id| VOTERS.iter().position(|other| *other == id);
        let Some(at) = place(to) else { return };
        if self.cut[at] || place(from).is_some_and(|from| self.cut[from]) {
            return;
        }
        #[cfg(test)]
        self.heard.push(parts(envelope.clone()));
        self.give(at, Told::Deliver(open(to, from, envelope)));
    }

    /// Until nothing is on its way any more, or for a while.
    fn settle(&mut self) {
        for _ in 0..30 {
            let mut busy = false;
            for at in 0..self.hosts.len() {
                busy |= self.persisted(at, usize::MAX);
                while self.work(at) {}
            }
            for sent in std::mem::take(&mut self.network) {
                busy = true;
                self.arrive(sent);
            }
            if !busy || self.patience == 0 {
                return;
            }
        }
    }

    /// Time passes for one member only, so that it is the one to stand.
    fn elect(&mut self, at: usize) {
        for _ in 0..2 * ELECTION_TICKS + 2 {
            self.now = self.now.after(TICK);
            self.give(at, Told::Time);
            self.settle();
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let step = input.byte() % step::COUNT;
        match step {
            step::TICK_ALL => {
                self.now = self.now.after(TICK);
                (0..self.hosts.len()).for_each(|at| self.give(at, Told::Time));
            }
            step::DELIVER | step::REPEAT | step::LOSE | step::CHANGE => self.underway(step, input),
            step::SETTLE => self.settle(),
            _ => {
                let at = input.below(self.hosts.len());
                self.at(at, step, input);
            }
        }
    }

    /// Something happens to an envelope that is on its way.
    fn underway(&mut self, step: u8, input: &mut Input<'_>) {
        let at = input.below(self.network.len());
        let sent = match step {
            step::REPEAT => self.network.get(at).cloned(),
            step::CHANGE => {
                self.change(at, input);
                return;
            }
            _ => self.network.remove(at),
        };
        if let Some(sent) = sent.filter(|_| step != step::LOSE) {
            self.arrive(sent);
        }
    }

    /// Adds a little to a number in the body of an envelope.
    fn change(&mut self, at: usize, input: &mut Input<'_>) {
        let (offset, by) = (input.byte(), input.byte().cast_signed());
        let Some((from, to, envelope)) = self.network.get_mut(at) else { return };
        let (kind, body) = parts(envelope.clone());
        let mut body = BytesMut::from(&body[..]);
        let offset = usize::from(offset).checked_rem(body.len()).unwrap_or(0);
        let Some(rest) = body.get_mut(offset..).filter(|rest| !rest.is_empty()) else { return };
        if let Some(number) = rest.first_chunk_mut::<8>() {
            *number = u64::from_le_bytes(*number).wrapping_add_signed(by.into()).to_le_bytes();
        } else {
            rest[0] = rest[0].wrapping_add_signed(by);
        }
        let (from, to) = (host::address(*from), (*to, host::incarnation(*to)));
        *envelope = frame(kind, &from, to, &body);
        self.lied |= matches!(kind, forge::RAFT | forge::OFFER);
    }

    /// Something happens at a member.
    fn at(&mut self, at: usize, step: u8, input: &mut Input<'_>) {
        let deadline = self.now.after(TICK * 40);
        match step {
            step::TICK => {
                self.now = self.now.after(TICK);
                self.give(at, Told::Time);
            }
            step::FORGE => {
                let Some(replica) = &self.hosts[at].replica else { return };
                let Some(forged) = forge::envelope(input, self.hosts[at].id, replica) else {
                    return;
                };
                self.lied |= matches!(forged.kind, forge::RAFT | forge::OFFER);
                self.arrive((forged.from, self.hosts[at].id, forged.envelope));
            }
            step::PERSIST => drop(self.persisted(at, 1 + input.below(4))),
            step::WRITE => {
                let payload = forge::write(input).encode();
                let token = self.call(at);
                self.give(at, Told::Write { token, payload, deadline });
            }
            step::READ => {
                let token = self.call(at);
                self.give(at, Told::Read { token, deadline });
            }
            step::TRANSFER => {
                let (to, token) = (VOTERS[input.below(3)], self.call(at));
                self.give(at, Told::Transfer { token, to, deadline });
            }
            step::OVERDUE => self.give(at, Told::DiskOverdue(input.flag())),
            step::UNREACHABLE => self.give(at, Told::Unreachable(VOTERS[input.below(3)])),
            step::WORK => drop(self.work(at)),
            step::CUT => self.cut[at] = !self.cut[at],
            _ => self.elect(at),
        }
    }

    fn call(&mut self, at: usize) -> crate::core::replica::io::Token {
        self.calls += 1;
        self.hosts[at].call(self.calls)
    }

    /// INV-11: whoever has applied as much has the same state.
    fn compare(&self) {
        if self.lied {
            return;
        }
        let machines = self.hosts.iter().filter_map(|host| Some(host.replica.as_ref()?.machine()));
        let states: Vec<_> =
            machines.map(|machine| (machine.applied(), machine.pin().hash())).collect();
        for (applied, hash) in &states {
            let differs = states.iter().any(|(at, other)| at == applied && other != hash);
            assert!(!differs, "states at one index differ: {states:x?}");
        }
    }
}

/// What arrives in a case: kind and body of each envelope.
#[cfg(test)]
pub(super) fn heard(data: &[u8]) -> Vec<(u8, Bytes)> {
    run(data).heard
}

/// A stranger's address, whose incarnation nobody knows.
pub(super) fn unknown(node: NodeId) -> Address {
    Address { incarnation: Incarnation::new(5), ..host::address(node) }
}
