//! The judge of bounds: nothing in a member grows with time or with what goes wrong.
//!
//! Whatever waits, is under way or is remembered has a bound, which the settings or a constant
//! state. Members say of each how much there is and how much there may be
//! ([`Replica::sizes`], [`Driver::sizes`]); this judge compares. What grows stays, so it is enough
//! to look now and then.
//!
//! One bound is not a number: how much of the log stays in memory.
//!
//! ```text
//!   base              saved            applied     last
//!    │   at most catchup │  less than due_bytes │    │
//!    └───────────────────┴──────────────────────┴────┘
//! ```
//!
//! - Behind a new snapshot only so many entries stay; more if another member was being sent an
//!   older one, and continues behind that.
//! - Entries in front of it make the next snapshot due by their bytes, unless one is being written
//!   or received. While that takes, the log grows: nothing slows the writers down.

use std::collections::BTreeMap;

use crate::core::replica::Replica;
use crate::core::replica::sizes::{Retained, Size};
use crate::driver::{Driver, Mailbox};
use crate::ids::{Index, NodeId};
use crate::sim::seen::{Judge, Seen};

#[cfg(test)]
mod tests;

type Verdict = Result<(), String>;

/// A member is looked at after each turn of this many, unless another rate is asked for.
const ONE_IN: u32 = 16;

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct BoundsJudge {
    one_in: u32,
    members: BTreeMap<NodeId, Member>,
    /// Used again and again.
    sizes: Vec<Size>,
}

#[derive(Debug, Default)]
struct Member {
    /// Turns until the next look.
    wait: u32,
    /// The newest snapshot at the last look.
    saved: Index,
    /// Another member was sent a snapshot since then.
    sent: bool,
    /// When the newest snapshot came, another was being sent: more may have stayed behind it.
    excused: bool,
}

impl Default for BoundsJudge {
    fn default() -> Self {
        Self::new(ONE_IN)
    }
}

impl BoundsJudge {
    /// Looks at a member after each turn of `one_in`.
    pub(crate) fn new(one_in: u32) -> Self {
        Self { one_in, members: BTreeMap::new(), sizes: Vec::new() }
    }

    fn turned(&mut self, node: NodeId, replica: &Replica) -> Verdict {
        let member = self.members.entry(node).or_default();
        let retained = replica.retained();
        member.sent |= retained.transfers > 0;
        if let Some(wait) = member.wait.checked_sub(1) {
            member.wait = wait;
            return Ok(());
        }
        member.wait = self.one_in.saturating_sub(1);
        member.retains(node, &retained)?;
        self.sizes.clear();
        replica.sizes(&mut self.sizes);
        within(node, &self.sizes)
    }
}

impl Member {
    fn retains(&mut self, node: NodeId, retained: &Retained) -> Verdict {
        let Retained { base, saved, transfers, busy, catchup, log_bytes, due_bytes } = *retained;
        let sent = std::mem::replace(&mut self.sent, transfers > 0);
        if std::mem::replace(&mut self.saved, saved) != saved {
            self.excused = sent;
        }
        let behind = saved.get().saturating_sub(base.get());
        if behind > catchup && !self.excused {
            return Err(format!(
                "member {node} keeps {behind} entries in memory behind its snapshot at {saved}, \
                 and may keep {catchup}"
            ));
        }
        if log_bytes >= due_bytes && !busy {
            return Err(format!(
                "member {node} takes no snapshot, with {log_bytes} bytes of entries since the last \
                 one, and {due_bytes} make one due"
            ));
        }
        Ok(())
    }
}

fn within(node: NodeId, sizes: &[Size]) -> Verdict {
    let over = sizes.iter().find(|size| size.is > size.most);
    over.map_or(Ok(()), |Size { what, is, most }| {
        Err(format!("member {node} has more than it may: {is} {what}, and {most} are allowed"))
    })
}

impl Judge for BoundsJudge {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Verdict {
        match seen {
            Seen::Opened { node, .. } => {
                self.members.remove(node);
                Ok(())
            }
            Seen::Turned { node, replica } => self.turned(*node, replica),
            Seen::Durable { .. } | Seen::Ended { .. } => Ok(()),
        }
    }

    fn host(&mut self, node: NodeId, driver: &Driver, mailbox: &Mailbox) -> Verdict {
        self.sizes.clear();
        driver.sizes(mailbox, &mut self.sizes);
        within(node, &self.sizes)
    }

    fn end(&mut self, members: &[(NodeId, &Replica)]) -> Verdict {
        for (node, replica) in members {
            self.members.entry(*node).or_default().wait = 0;
            self.turned(*node, replica)?;
        }
        Ok(())
    }
}
