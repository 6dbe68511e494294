//! The judge of durability: nothing counts that a crash could take back (`DUR-9`).
//!
//! - What a member counts as committed is, at that moment, synced on a quorum of the voters'
//!   disks. What it has applied, and so what it has acknowledged to anybody, is synced on its own.
//! - Whoever leads a term has the votes of a quorum, and those are synced: the members that
//!   granted them will not vote for another in that term, whatever happens to them.
//! - What was synced is there again when the member opens: entries, term, vote, and the installed
//!   snapshot (`DUR-8`). A snapshot may have taken the place of a prefix; writes that were on
//!   their way may be there, or a part of them, and then what they replaced is not.
//! - No disk gives up a committed entry, save for a snapshot that holds it.
//!
//! Only terms are remembered: that one index and one term are one entry is for [`super::log`].
//!
//! # Damage
//!
//! A disk may be damaged on purpose ([`Judge::damaged`]). What does that excuse?
//!
//! *Not the quorum.* The member cannot know. It syncs, says so, and the leader counts it; with one
//! member behind and one damaged, a cluster of three commits on two disks of which one is bad. That
//! is right as long as the damaged disks are no more than voters can be spared: of a quorum that
//! holds an entry at least one disk is sound, and whoever wants to be elected by the sound ones
//! needs its vote. So the count is made as if nothing had happened.
//!
//! *Not what it finds when it opens.* A damaged log is refused, and never a shorter one
//! (`DUR-12`); a damaged snapshot is passed over only where the log reaches back to an older one
//! (`DUR-18`). A member that does not open is not shown, and nothing is asked of it. One that
//! opens must have everything.

use std::collections::{BTreeMap, VecDeque};

use super::ballot::Ballot;
use super::row::Line;
use crate::core::replica::Replica;
use crate::core::replica::consensus::Role;
use crate::core::replica::io::Persist;
use crate::core::replica::look::Look;
use crate::entry::ConfState;
use crate::ids::{Incarnation, Index, NodeId, Term};
use crate::sim::seen::{Judge, Seen};

#[cfg(test)]
mod tests;

type Verdict = Result<(), String>;

/// See the top of the file.
#[derive(Debug, Default)]
pub(crate) struct DurableJudge {
    disks: BTreeMap<NodeId, Disk>,
    /// What is known to be committed, all of it on a quorum.
    committed: Line,
    /// As of whoever committed last.
    conf: ConfState,
    begun: bool,
}

/// What a member's disk holds, and what the member made of it.
#[derive(Debug)]
struct Disk {
    incarnation: Incarnation,
    log: Line,
    kept: Ballot,
    /// The newest snapshot that was received: nothing before it can be had from the log.
    installed: Index,
    /// The log in memory.
    memory: Line,
    /// Of each write on its way that replaces entries, written or on their way, the first entry.
    replacing: VecDeque<(Index, Term)>,
    damaged: bool,
    /// Its directories were removed on purpose.
    removed: bool,
    applied: Index,
    /// The configuration, as the member last had it.
    conf: ConfState,
    /// The last term that it led.
    led: Term,
}

impl DurableJudge {
    fn opened(&mut self, node: NodeId, look: &Look<'_>) -> Verdict {
        let before = self.disks.get(&node).filter(|disk| !disk.removed);
        let damaged = before.is_some_and(|disk| disk.damaged);
        let (base, mut installed) = (look.log.base, look.log.base.0);
        if let Some(disk) = before {
            self.recalls(disk, look).map_err(|what| {
                let why = if damaged { ", whose disk was damaged on purpose," } else { "" };
                format!("member {node}{why} opens without what was synced: {what}")
            })?;
            let received = disk.log.term(base.0) != Some(base.1) && base.0 > disk.log.base().0;
            installed = if received { base.0 } else { disk.installed };
        }
        if !self.begun && base.0 > self.committed.last().0 {
            self.committed = Line::new(base);
            self.conf.clone_from(look.conf);
        }
        let disk = Disk {
            incarnation: look.incarnation,
            log: Line::of(look),
            kept: Ballot::written(&look.log.written),
            installed,
            memory: Line::of(look),
            replacing: VecDeque::new(),
            damaged,
            removed: false,
            applied: look.applied.0,
            conf: look.conf.clone(),
            led: Term::default(),
        };
        self.disks.insert(node, disk);
        Ok(())
    }

    /// Whether what was synced is there again.
    fn recalls(&self, disk: &Disk, look: &Look<'_>) -> Verdict {
        if disk.incarnation != look.incarnation {
            let (was, is) = (disk.incarnation, look.incarnation);
            return Err(format!("its directory is another: incarnation {was} was, {is} is"));
        }
        let kept = Ballot::written(&look.log.written);
        if let Some(broken) = kept.breaks(disk.kept) {
            return Err(format!("{broken}, though its disk held {}", disk.kept));
        }
        let (base, begin) = (look.log.base, disk.log.base());
        // A snapshot that was opened or received is durable; only damage excuses an older one, and
        // that only as far as the log reaches back (DUR-18).
        if base.0 < disk.installed || (base.0 < begin.0 && !disk.damaged) {
            let (now, was) = (base.0, disk.installed.max(begin.0));
            return Err(format!("it begins at a snapshot at {now}, and there was one at {was}"));
        }
        if base.0 > begin.0 && disk.log.term(base.0) != Some(base.1) {
            // It begins at a received snapshot that was on its way to the log: what the log held
            // from there on had gone astray.
            let known = self.committed.holds(base);
            let text = "it begins at a snapshot of what nobody has committed";
            return if known {
                Ok(())
            } else {
                Err(format!("{text}: {} of term {}", base.0, base.1))
            };
        }
        same_entries(disk, look, begin.0.max(base.0))
    }

    fn durable(&mut self, node: NodeId, batch: &[Persist]) -> Verdict {
        let Some(disk) = self.disks.get_mut(&node) else {
            return Err(format!("member {node} writes, and has never opened"));
        };
        for persist in batch {
            if let Some(mark) = &persist.install {
                disk.log.begin_behind((mark.index, mark.term));
                disk.installed = mark.index;
            }
            let replaces =
                persist.entries.first().is_some_and(|first| first.index <= disk.log.last().0);
            let held = if replaces {
                self.committed.agrees_with(&disk.log, Index::new(u64::MAX))
            } else {
                None
            };
            if let Some(first) = persist.entries.first() {
                disk.synced((first.index, first.term));
            }
            for entry in &persist.entries {
                if !disk.log.put((entry.index, entry.term)) {
                    return Err(format!("member {node} writes entry {} behind a gap", entry.index));
                }
            }
            if let Some(held) = held
                && let Some(term) = self.committed.term(held)
                && !disk.log.holds((held, term))
            {
                return Err(format!(
                    "the disk of member {node} gives up entry {held} of term {term}, which is \
                     committed: its log ends at {} of term {} now",
                    disk.log.last().0,
                    disk.log.last().1
                ));
            }
            if let Some(state) = &persist.hard_state {
                disk.kept = Ballot::written(state);
            }
        }
        Ok(())
    }

    fn turned(&mut self, node: NodeId, look: &Look<'_>) -> Verdict {
        self.begun = true;
        let Some(disk) = self.disks.get_mut(&node) else {
            return Err(format!("member {node} decides something, and has never opened"));
        };
        if look.applied.0 != disk.applied {
            disk.applied = look.applied.0;
            if !disk.log.holds(look.applied) {
                let (index, term) = look.applied;
                let (last, last_term) = disk.log.last();
                return Err(format!(
                    "member {node} has applied entry {index} of term {term}, and its own disk ends \
                     at {last} of term {last_term}"
                ));
            }
        }
        disk.follow(look);
        let elected = look.log.role == Role::Leader && disk.led != look.log.term;
        if elected {
            disk.led = look.log.term;
        }
        let commits = look.log.commit > self.committed.last().0;
        if commits {
            self.commits(node, look)?;
        }
        if elected {
            self.elected(node, look)?;
        }
        // Not before: what a change of the members follows was decided among the members before.
        if let Some(disk) = self.disks.get_mut(&node)
            && disk.conf != *look.conf
        {
            disk.conf.clone_from(look.conf);
        }
        Ok(())
    }

    /// Member `node` counts more as committed than anybody did.
    fn commits(&mut self, node: NodeId, look: &Look<'_>) -> Verdict {
        let commit = look.log.commit;
        let Some(term) = look.term(commit) else {
            return Err(format!("member {node} counts entry {commit}, and does not have it"));
        };
        let holds = |_: NodeId, disk: &Disk| disk.log.holds((commit, term));
        let conf = self.decided_by(node, look, &holds);
        let Some(conf) = conf else {
            let disks = self.describe(look.conf, |disk| {
                let (last, last_term) = disk.log.last();
                format!("{last} of term {last_term}")
            });
            return Err(format!(
                "member {node} counts entry {commit} of term {term} as committed, and no quorum of \
                 the voters has it on disk: {disks}"
            ));
        };
        let conf = conf.clone();
        self.conf = conf;
        let mut index = self.committed.last().0.next();
        if index <= look.log.base.0 {
            self.committed = Line::new(look.log.base);
            index = look.log.base.0.next();
        }
        while index <= commit {
            let known = look.term(index).is_some_and(|term| self.committed.put((index, term)));
            if !known {
                return Err(format!("the log of member {node} has a gap at {index}"));
            }
            index = index.next();
        }
        Ok(())
    }

    /// Member `node` says that it leads.
    fn elected(&self, node: NodeId, look: &Look<'_>) -> Verdict {
        let term = look.log.term;
        let voted = Ballot { term, vote: node };
        // Who votes alone asks nobody, so nobody waits for its disk. Nothing of what it says as
        // leader leaves before the disk has it (R4).
        let alone = look.conf.voters == [node] && look.conf.voters_outgoing.is_empty();
        let granted = |id: NodeId, disk: &Disk| {
            disk.kept == voted || disk.kept.term > term || (alone && id == node)
        };
        if self.decided_by(node, look, &granted).is_some() {
            return Ok(());
        }
        let disks = self.describe(look.conf, |disk| disk.kept.to_string());
        Err(format!("member {node} leads term {term} without the votes of a quorum: {disks}"))
    }

    /// The configuration in force in which a quorum says yes, if there is one. Where the members
    /// changed within a turn it may have been the one before.
    fn decided_by<'a>(
        &'a self,
        node: NodeId,
        look: &'a Look<'_>,
        yes: &impl Fn(NodeId, &Disk) -> bool,
    ) -> Option<&'a ConfState> {
        let before = self.disks.get(&node).map(|disk| &disk.conf);
        let confs = std::iter::once(look.conf).chain(before);
        confs.into_iter().find(|conf| self.quorum(conf, yes))
    }

    fn quorum(&self, conf: &ConfState, yes: impl Fn(NodeId, &Disk) -> bool) -> bool {
        let most = |voters: &[NodeId]| {
            let says = |id: &&NodeId| self.disks.get(*id).is_some_and(|disk| yes(**id, disk));
            voters.iter().filter(says).count() > voters.len() / 2
        };
        most(&conf.voters) && (conf.voters_outgoing.is_empty() || most(&conf.voters_outgoing))
    }

    fn describe(&self, conf: &ConfState, say: impl Fn(&Disk) -> String) -> String {
        let voters = conf.voters.iter().chain(&conf.voters_outgoing);
        let each = voters.map(|id| {
            let what = self.disks.get(id).map_or_else(|| "nothing".into(), &say);
            format!("member {id} has {what}")
        });
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Whether what was synced from `index` on is there again.
fn same_entries(disk: &Disk, look: &Look<'_>, mut index: Index) -> Verdict {
    let end = disk.log.last().0;
    while index <= end {
        let Some(is) = look.term(index) else {
            let last = look.last().0;
            return Err(format!("its log ends at {last}, and was synced up to {end}"));
        };
        let was = disk.log.term(index).unwrap_or_default();
        if was != is {
            // What follows was replaced with it.
            let handed = disk.replacing.contains(&(index, is));
            let text = format!("entry {index} has term {is}, and was synced with term {was}");
            return if handed { Ok(()) } else { Err(text) };
        }
        index = index.next();
    }
    Ok(())
}

impl Disk {
    /// Notes the entries in memory that take the place of others: each is on its way to the disk,
    /// and if the power fails now, the disk may hold the one or the other.
    fn follow(&mut self, look: &Look<'_>) {
        let new = self.memory.first_new(look);
        if new <= self.memory.last().0
            && let Some(term) = look.term(new)
        {
            self.replacing.push_back((new, term));
        }
        if self.memory.base() != look.log.base {
            self.memory.begin_behind(look.log.base);
        }
        let mut index = new;
        while let Some(term) = look.term(index) {
            self.memory.put((index, term));
            index = index.next();
        }
    }

    /// A write is synced, and so are all before it.
    fn synced(&mut self, first: (Index, Term)) {
        if let Some(at) = self.replacing.iter().position(|new| *new == first) {
            self.replacing.drain(..=at);
        }
    }
}

impl Judge for DurableJudge {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Verdict {
        match seen {
            Seen::Opened { node, replica } => self.opened(*node, &replica.look()),
            Seen::Durable { node, batch } => self.durable(*node, batch),
            Seen::Turned { node, replica } => self.turned(*node, &replica.look()),
            Seen::Ended { .. } => Ok(()),
        }
    }

    /// See the top of the file.
    fn damaged(&mut self, node: NodeId) {
        if let Some(disk) = self.disks.get_mut(&node) {
            disk.damaged = true;
        }
    }

    /// It may open with new directories. What it said before still counts where it counted, as
    /// with damage.
    #[cfg(test)]
    fn replaced(&mut self, node: NodeId) {
        if let Some(disk) = self.disks.get_mut(&node) {
            disk.removed = true;
        }
    }

    /// What is synced was looked at when it counted.
    fn end(&mut self, _members: &[(NodeId, &Replica)]) -> Verdict {
        Ok(())
    }
}
