//! What goes wrong, and when.

use std::time::Duration;

use super::disk::Plan;
use super::faults::{Fault, Faults};
use super::node::{Life, Node};
use super::trace::Event;
use super::world::{Next, World};
use crate::time::nanos;

/// How a fault ends.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    /// Links, cut before everything was healed so many times.
    Mend(Fault, Vec<(usize, usize)>, u64),
    Hasten(usize, usize),
    Faster(usize),
    Room(usize),
    Rate(usize),
}

/// Operations of a disk within which one fails.
const FAILS_WITHIN: u64 = 40;

/// What is left on a disk that is called full.
const LEFT_BYTES: u64 = 64 << 10;

impl World {
    /// From now on faults come, and each plans its next.
    pub(super) fn unleash(&mut self, faults: Faults) {
        self.network.behave(&faults);
        self.unruly = true;
        self.wave += 1;
        let kinds: Vec<Fault> = faults.kinds().collect();
        self.faults = faults;
        for fault in kinds {
            self.plan_next(fault);
        }
        for place in 0..self.nodes.len() {
            self.set_rate(place);
        }
    }

    /// From now on nothing new goes wrong, and what is wrong ends; pauses and stalls last as long
    /// as they were meant to. Members that are down are started.
    pub(super) fn calm(&mut self) {
        self.unruly = false;
        self.faults = Faults::none();
        self.network.behave(&self.faults);
        self.heal();
        for place in 0..self.nodes.len() {
            let Some(node) = self.nodes.get_mut(place) else { continue };
            node.slow = Duration::ZERO;
            node.disk.mend();
            node.excused = false;
            if matches!(node.state, Life::Down) {
                self.open_after(place, Duration::ZERO);
            }
            self.set_rate(place);
        }
    }

    /// Everything gets through again.
    pub(super) fn heal(&mut self) {
        self.healed += 1;
        self.network.heal();
    }

    /// When the last pause and stall ends.
    pub(super) fn quiet_at(&self) -> u64 {
        let ends = self.nodes.iter().map(Node::held_until);
        ends.max().unwrap_or_default().max(self.now)
    }

    fn plan_next(&mut self, fault: Fault) {
        if let Some(after) = self.faults.next(fault, &mut self.dice) {
            self.plan(after, Next::Begin(fault, self.wave));
        }
    }

    pub(super) fn begin(&mut self, fault: Fault, wave: u64) {
        if !self.unruly || wave != self.wave {
            return;
        }
        self.plan_next(fault);
        let lasts = self.faults.lasts(fault, &mut self.dice);
        let place = self.dice.place(self.nodes.len());
        self.strike(fault, place, lasts);
    }

    /// A fault comes now, to this member if it is one that comes to a member.
    pub(super) fn strike(&mut self, fault: Fault, place: usize, lasts: Duration) {
        let what = match fault {
            Fault::Partition => self.split(lasts),
            Fault::OneWay => self.cut_one_way(place, lasts),
            Fault::SlowLink => self.slow_link(place, lasts),
            Fault::Crash | Fault::PowerLoss => {
                self.crash(place, fault == Fault::PowerLoss);
                self.open_after(place, lasts);
                Some(self.name(place))
            }
            Fault::Blackout => {
                for place in 0..self.nodes.len() {
                    self.crash(place, true);
                    self.open_after(place, lasts);
                }
                Some("all members".to_owned())
            }
            Fault::Pause => self.pause(place, lasts),
            Fault::ClockJump => self.jump(place, lasts),
            Fault::SlowDisk | Fault::StalledDisk => self.slow_disk(fault, place, lasts),
            Fault::FailedWrite | Fault::FailedRead | Fault::FullDisk => {
                self.fail_disk(fault, place, lasts)
            }
            Fault::Rot | Fault::RotAnywhere => self.rot(fault, place),
        };
        if let Some(what) = what {
            self.marks.fault(fault);
            self.add(Event::Began { fault, what: format!("{what}, for {lasts:?}") });
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        let (fault, what) = match undo {
            Undo::Mend(fault, links, healed) => {
                // What healed everything has mended these already, and others may be cut since.
                if healed == self.healed {
                    for (from, to) in links {
                        self.network.mend(from, to);
                    }
                }
                (fault, "mended".to_owned())
            }
            Undo::Hasten(from, to) => {
                self.network.slow(from, to, Duration::ZERO);
                (Fault::SlowLink, format!("{} → {}", self.name(from), self.name(to)))
            }
            Undo::Faster(place) => {
                if let Some(node) = self.nodes.get_mut(place) {
                    node.slow = Duration::ZERO;
                }
                (Fault::SlowDisk, self.name(place))
            }
            Undo::Room(place) => {
                if let Some(node) = self.nodes.get_mut(place) {
                    node.disk.set_capacity(None);
                }
                (Fault::FullDisk, self.name(place))
            }
            Undo::Rate(place) => {
                self.set_rate(place);
                (Fault::ClockJump, self.name(place))
            }
        };
        self.add(Event::Ended { fault, what });
    }

    // ---- links

    fn split(&mut self, lasts: Duration) -> Option<String> {
        let count = self.nodes.len();
        if count < 2 {
            return None;
        }
        // Neither nobody nor everybody.
        let chosen = 1 + self.dice.below((1 << count.min(16)) - 2);
        let side = |place: usize| chosen >> place & 1 == 1;
        let mut links = Vec::new();
        for from in 0..count {
            links.extend((0..count).filter(|to| side(from) != side(*to)).map(|to| (from, to)));
        }
        let names: Vec<String> =
            (0..count).filter(|place| side(*place)).map(|place| self.name(place)).collect();
        self.cut(Fault::Partition, links, lasts);
        Some(format!("{} and the others", names.join(" ")))
    }

    fn cut_one_way(&mut self, from: usize, lasts: Duration) -> Option<String> {
        let to = self.other(from)?;
        self.cut(Fault::OneWay, vec![(from, to)], lasts);
        Some(format!("{} → {}", self.name(from), self.name(to)))
    }

    fn cut(&mut self, fault: Fault, links: Vec<(usize, usize)>, lasts: Duration) {
        for (from, to) in &links {
            self.network.cut(*from, *to);
        }
        self.plan(lasts, Next::End(Undo::Mend(fault, links, self.healed)));
    }

    fn slow_link(&mut self, from: usize, lasts: Duration) -> Option<String> {
        let to = self.other(from)?;
        let by = self.dice.span(Duration::from_millis(5), Duration::from_millis(500));
        self.network.slow(from, to, by);
        self.plan(lasts, Next::End(Undo::Hasten(from, to)));
        Some(format!("{} → {} takes {by:?} more", self.name(from), self.name(to)))
    }

    fn other(&mut self, than: usize) -> Option<usize> {
        let count = self.nodes.len();
        let step = 1 + self.dice.place(count.checked_sub(1).filter(|others| *others > 0)?);
        Some((than + step) % count)
    }

    // ---- processes and clocks

    pub(super) fn pause(&mut self, place: usize, lasts: Duration) -> Option<String> {
        let until = self.now.saturating_add(nanos(lasts));
        let node = self.nodes.get_mut(place)?;
        node.paused_until = node.paused_until.max(until);
        Some(node.name.clone())
    }

    fn jump(&mut self, place: usize, lasts: Duration) -> Option<String> {
        let (now, stands) = (self.now, self.dice.chance(500_000));
        let node = self.nodes.get_mut(place)?;
        if stands {
            node.clock.set_rate(now, -999_000);
            self.plan(lasts, Next::End(Undo::Rate(place)));
        } else {
            node.clock.jump(now, lasts);
        }
        self.turn_soon(place);
        let how = if stands { "stands still" } else { "jumps ahead" };
        Some(format!("{} {how}", self.name(place)))
    }

    /// A clock runs at a rate drawn anew.
    fn set_rate(&mut self, place: usize) {
        let most = u64::from(self.faults.clock_rate);
        let drawn = i64::try_from(self.dice.below(2 * most + 1)).unwrap_or_default();
        let rate = drawn - i64::from(self.faults.clock_rate);
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(place) {
            node.clock.set_rate(now, rate);
        }
        self.turn_soon(place);
    }

    // ---- disks

    fn slow_disk(&mut self, fault: Fault, place: usize, lasts: Duration) -> Option<String> {
        let by = self.dice.span(Duration::from_millis(1), Duration::from_millis(100));
        if fault == Fault::StalledDisk {
            self.stall(place, lasts);
            return Some(self.name(place));
        }
        self.nodes.get_mut(place)?.slow = by;
        self.plan(lasts, Next::End(Undo::Faster(place)));
        Some(format!("{} takes {by:?} more", self.name(place)))
    }

    pub(super) fn stall(&mut self, place: usize, lasts: Duration) {
        let until = self.now.saturating_add(nanos(lasts));
        if let Some(node) = self.nodes.get_mut(place) {
            node.stalled_until = node.stalled_until.max(until);
        }
    }

    fn fail_disk(&mut self, fault: Fault, place: usize, lasts: Duration) -> Option<String> {
        let (at, sync) = (self.dice.below(FAILS_WITHIN), self.dice.chance(500_000));
        let node = self.nodes.get_mut(place)?;
        node.excused = true;
        match fault {
            Fault::FailedWrite if sync => node.disk.fail_sync(at / 4),
            Fault::FailedWrite => node.disk.plan(Plan::FailAt(at)),
            Fault::FailedRead => node.disk.fail_read(at),
            _ => {
                let left = at * LEFT_BYTES / FAILS_WITHIN;
                node.disk.set_capacity(Some(node.disk.used() + left));
                self.plan(lasts, Next::End(Undo::Room(place)));
            }
        }
        Some(self.name(place))
    }

    fn rot(&mut self, fault: Fault, place: usize) -> Option<String> {
        let members = self.nodes.len();
        let rotten = self.nodes.iter().filter(|node| node.rotten).count();
        let node = self.nodes.get(place)?;
        let rationed = fault == Fault::Rot && !node.rotten && rotten >= (members - 1) / 2;
        if rationed {
            return None;
        }
        let (path, offset) = node.disk.rot(&mut self.dice)?;
        self.tell_damaged(place);
        // It is noticed when it is read.
        self.crash(place, false);
        self.open_after(place, Duration::from_millis(10));
        Some(format!("{} at byte {offset} of {}", self.name(place), path.display()))
    }
}
