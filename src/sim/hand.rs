//! What a script does to a world by hand: each thing once, when it says so.

use std::time::Duration;

use bytes::Bytes;

use super::world::{Next, World};

/// Longer than any script.
const FOR_EVER: u64 = u64::MAX;

impl World {
    /// From now on what is sent from one to the other waits. What waits already stays.
    pub(super) fn hold(&mut self, from: usize, to: usize, held: bool) {
        self.network.hold(from, to, held);
    }

    /// An envelope arrives. Nobody is there to take it: false.
    pub(super) fn hand_over(&mut self, (from, to, envelope): (usize, usize, Bytes)) -> bool {
        let there = self.nodes.get(to).is_some_and(|node| node.running().is_some());
        self.arrive(from, to, envelope);
        there
    }

    /// The disk does nothing more, but for [`write`](Self::write) and [`work`](Self::work).
    pub(super) fn stall_for_ever(&mut self, place: usize) {
        if let Some(node) = self.nodes.get_mut(place) {
            node.stalled_until = FOR_EVER;
        }
    }

    /// A member's process stands still until it is [resumed](Self::resume).
    pub(super) fn pause_for_ever(&mut self, place: usize) {
        if let Some(node) = self.nodes.get_mut(place) {
            node.paused_until = FOR_EVER;
        }
    }

    /// The process goes on, and the disk does what was asked of it.
    pub(super) fn resume(&mut self, place: usize) {
        let Some(node) = self.nodes.get_mut(place) else { return };
        node.paused_until = 0;
        node.stalled_until = 0;
        let life = node.life;
        let Some(running) = node.running() else { return };
        let (writing, working) = (running.writing.is_some(), running.working);
        if writing {
            self.plan(Duration::ZERO, Next::Written { node: place, life });
        }
        if working {
            self.plan(Duration::ZERO, Next::Worked { node: place, life });
        }
        self.turn_soon(place);
    }

    /// Time passes for one member only: its clock jumps.
    pub(super) fn pass(&mut self, place: usize, span: Duration) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(place) {
            node.clock.jump(now, span);
        }
        self.turn_soon(place);
    }
}
