//! The judge of state: members that have applied the same entries are the same (`INV-11`).
//!
//! At every index where a member stops between two turns it compares what costs nothing: the term
//! of the entry there, the store's revision, and how far it is compacted. At some of them it
//! compares everything: keys with their history, sessions, members, configuration. Hashing all of
//! it reads all of it, so which these are is drawn by a function of the index alone, and members
//! that stop at the same index are hashed at the same index. A member that was restarted passes
//! through indexes of before once more, and must look as it did.
//!
//! In the end, when all members have applied the same, all are hashed.

use std::collections::BTreeMap;

use super::row::Row;
use crate::core::machine::Machine;
use crate::core::replica::Replica;
use crate::ids::{Index, NodeId, Revision, Term};
use crate::sim::seen::{Judge, Seen};

#[cfg(test)]
mod tests;

type Verdict = Result<(), String>;

/// Everything is compared at one index in this many, unless another rate is asked for.
const ONE_IN: u64 = 32;

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct StateJudge {
    one_in: u64,
    /// The first that stopped at each index.
    stops: Row<Option<Stop>>,
    /// Where each member stopped last.
    last: BTreeMap<NodeId, Index>,
}

/// A member between two turns.
#[derive(Clone, Copy, Debug)]
struct Stop {
    node: NodeId,
    at: Cheap,
    hash: Option<u32>,
}

/// What can be compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cheap {
    applied: (Index, Term),
    revision: Revision,
    compacted: Option<Revision>,
}

impl Cheap {
    fn of(machine: &Machine) -> Self {
        let mvcc = machine.mvcc();
        let (revision, compacted) = (mvcc.revision(), mvcc.compacted());
        Self { applied: machine.applied(), revision, compacted }
    }
}

impl Default for StateJudge {
    fn default() -> Self {
        Self::new(ONE_IN)
    }
}

impl StateJudge {
    /// Compares everything at one index in `one_in`; at each with 1, and never with 0.
    pub(crate) fn new(one_in: u64) -> Self {
        Self { one_in, stops: Row::default(), last: BTreeMap::new() }
    }

    fn is_drawn(&self, index: Index) -> bool {
        // Neighbours fall apart, so that members that stop at every second index are not unlucky.
        let mixed = index.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        mixed.checked_rem(self.one_in) == Some(0)
    }

    /// A member stands at `at`; `hash` is asked for what it all comes to, if need be.
    fn stop(&mut self, node: NodeId, at: Cheap, hash: impl FnOnce() -> u32) -> Verdict {
        let index = at.applied.0;
        if self.last.insert(node, index) == Some(index) {
            return Ok(());
        }
        let hash = self.is_drawn(index).then(hash);
        let Some(slot) = self.stops.slot(index) else { return Ok(()) };
        let first = slot.get_or_insert(Stop { node, at, hash });
        if first.at != at || first.hash != hash {
            let (one, other) = (show(first.at, first.hash), show(at, hash));
            return Err(format!(
                "members differ that have applied {index} entries: member {} had {one}, and member \
                 {node} has {other}",
                first.node
            ));
        }
        Ok(())
    }

    fn at_rest(members: &[(NodeId, Stop)]) -> Verdict {
        let Some(((one, first), others)) = members.split_first() else { return Ok(()) };
        for (other, stop) in others {
            if (first.at, first.hash) != (stop.at, stop.hash) {
                return Err(format!(
                    "everything has come to rest, and members differ: member {one} has applied {} \
                     and has {}, member {other} has applied {} and has {}",
                    first.at.applied.0,
                    show(first.at, first.hash),
                    stop.at.applied.0,
                    show(stop.at, stop.hash)
                ));
            }
        }
        Ok(())
    }
}

fn show(at: Cheap, hash: Option<u32>) -> String {
    let compacted = at.compacted.map_or_else(String::new, |at| format!(" compacted at {at}"));
    let hash = hash.map_or_else(String::new, |hash| format!(" with hash {hash:08x}"));
    format!("term {}, revision {}{compacted}{hash}", at.applied.1, at.revision)
}

impl Judge for StateJudge {
    fn name(&self) -> &'static str {
        "state"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Verdict {
        let (node, replica) = match seen {
            Seen::Opened { node, replica } => {
                // It may open where it was, from what its disk held: that is another look.
                self.last.remove(node);
                (*node, replica)
            }
            Seen::Turned { node, replica } => (*node, replica),
            Seen::Durable { .. } | Seen::Ended { .. } => return Ok(()),
        };
        let machine = replica.machine();
        self.stop(node, Cheap::of(machine), || machine.hash())
    }

    fn end(&mut self, members: &[(NodeId, &Replica)]) -> Verdict {
        let stops: Vec<(NodeId, Stop)> = members
            .iter()
            .map(|(node, replica)| {
                let machine = replica.machine();
                let at = Cheap::of(machine);
                (*node, Stop { node: *node, at, hash: Some(machine.hash()) })
            })
            .collect();
        Self::at_rest(&stops)
    }
}
