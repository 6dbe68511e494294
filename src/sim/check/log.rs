//! The judge of logs: what raft promises of them (raft-notes 9.4, 1 to 6).
//!
//! - Two entries of one index and one term are one entry, and follow entries of one term, in
//!   whatever log or on whatever disk they are seen. So logs that share an entry share everything
//!   before it: each entry is compared once, when it appears, with the first that was seen.
//! - A term has one leader. A leader has every entry that was committed in earlier terms.
//! - What is committed stays what it is. What a member knows to be committed, and what it has
//!   applied, never goes back while it is up (`LIN-10`).
//! - A term never falls and a vote in a term never changes: in memory while a member is up, and on
//!   its disk for ever.
//!
//! An entry counts as committed from the moment a member says so: members are shown before
//! anything of what they decided leaves them, so whoever commits an entry is the first to say it.
//!
//! It remembers a few words for every entry that there ever was.

use std::collections::BTreeMap;
use std::fmt;

use super::ballot::Ballot;
use super::row::{Line, Row};
use crate::codec::checksum;
use crate::core::replica::Replica;
use crate::core::replica::consensus::Role;
use crate::core::replica::io::Persist;
use crate::core::replica::look::Look;
use crate::entry::{Entry, EntryKind};
use crate::ids::{Incarnation, Index, NodeId, Term};
use crate::sim::seen::{Judge, Seen};

#[cfg(test)]
mod tests;

type Verdict = Result<(), String>;

/// See the top of the file.
#[derive(Debug, Default)]
pub(crate) struct LogJudge {
    known: Known,
    committed: Committed,
    members: BTreeMap<NodeId, Member>,
    /// Who led each term.
    leaders: BTreeMap<Term, NodeId>,
    /// Something was decided. Before, members that open show what the simulation began with.
    begun: bool,
}

/// Every entry ever seen.
#[derive(Debug, Default)]
struct Known(Row<Spot>);

/// What was seen at an index. Rarely more than one: each is of another leader.
#[derive(Debug, Default)]
struct Spot {
    first: Option<Copied>,
    others: Vec<Copied>,
}

/// An entry, as far as it can be compared.
#[derive(Clone, Copy, Debug)]
struct Copied {
    term: Term,
    /// The term of the entry before it.
    before: Option<Term>,
    content: Content,
    /// Who had it first.
    owner: NodeId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    kind: EntryKind,
    bytes: usize,
    sum: u32,
}

impl Content {
    fn of(entry: &Entry) -> Self {
        Self { kind: entry.kind, bytes: entry.data.len(), sum: checksum(0, &entry.data) }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == EntryKind::Normal { "" } else { " of a conf change" };
        write!(f, "{} bytes{kind} with checksum {:08x}", self.bytes, self.sum)
    }
}

impl Known {
    /// An entry is seen, behind an entry of the term `before`.
    fn enter(&mut self, owner: NodeId, before: Option<Term>, entry: &Entry) -> Verdict {
        let content = Content::of(entry);
        let new = Copied { term: entry.term, before, content, owner };
        let Some(spot) = self.0.slot(entry.index) else { return Ok(()) };
        let mut all = spot.first.iter_mut().chain(&mut spot.others);
        let Some(old) = all.find(|old| old.term == entry.term) else {
            if spot.first.is_none() {
                spot.first = Some(new);
            } else {
                spot.others.push(new);
            }
            return Ok(());
        };
        let Entry { index, term, .. } = entry;
        if old.content != content {
            return Err(format!(
                "entry {index} of term {term} has two contents: {} on member {}, and {} on member \
                 {owner}",
                old.content, old.owner, content
            ));
        }
        if let (Some(one), Some(other)) = (old.before, before)
            && one != other
        {
            return Err(format!(
                "entry {index} of term {term} follows an entry of term {one} on member {}, and \
                 one of term {other} on member {owner}",
                old.owner
            ));
        }
        old.before = old.before.or(before);
        Ok(())
    }
}

/// Every entry that somebody has said to be committed.
#[derive(Debug, Default)]
struct Committed {
    line: Line,
    /// By the term of whoever said so first: the highest of its entries. The leader that
    /// committed it is in that term, or has just left it.
    highest: BTreeMap<Term, Index>,
}

impl Committed {
    /// Member `node` in term `now` says that `entry` is committed.
    fn hear(&mut self, node: NodeId, now: Term, entry: (Index, Term)) -> Verdict {
        let (index, term) = entry;
        match self.line.term(index) {
            Some(known) if known == term => Ok(()),
            Some(known) => Err(format!(
                "entry {index} was committed with term {known}, and member {node} has committed \
                 one of term {term} there"
            )),
            None if index < self.line.base().0 => Ok(()),
            None if self.line.put(entry) => {
                self.highest.insert(now, index);
                Ok(())
            }
            None => Err(format!(
                "member {node} has a snapshot at {index}, and nobody has committed anything \
                 behind {}",
                self.line.last().0
            )),
        }
    }

    /// The last entry that was committed before `term`.
    fn before(&self, term: Term) -> Option<(Index, Term)> {
        let index = *self.highest.range(..term).map(|(_, index)| index).max()?;
        Some((index, self.line.term(index)?))
    }
}

/// A member as it was last seen.
#[derive(Debug)]
struct Member {
    incarnation: Incarnation,
    /// The term that its disk knew of when it opened.
    opened: Term,
    role: Role,
    ballot: Ballot,
    commit: Index,
    applied: Index,
    /// The log in memory.
    log: Line,
    /// The log on disk, and the newest ballot there.
    disk: Line,
    kept: Ballot,
}

impl LogJudge {
    fn opened(&mut self, node: NodeId, look: &Look<'_>) -> Verdict {
        let kept = Ballot::written(&look.log.written);
        let before = self.members.get(&node);
        // Another directory is another member: it keeps none of the first one's promises.
        let same = before.filter(|member| member.incarnation == look.incarnation);
        if let Some(broken) = same.and_then(|member| kept.breaks(member.kept)) {
            return Err(format!("member {node} was restarted, and {broken}"));
        }
        let mut term = look.log.base.1;
        for entry in look.log.entries.iter() {
            self.known.enter(node, Some(term), entry)?;
            term = entry.term;
        }
        let log = Line::of(look);
        let member = Member {
            incarnation: look.incarnation,
            opened: kept.term,
            role: Role::Follower,
            ballot: kept,
            commit: look.log.commit,
            applied: look.applied.0,
            disk: log.clone(),
            log,
            kept,
        };
        self.members.insert(node, member);
        if !self.begun && look.log.base.0 > self.committed.line.last().0 {
            // What everybody begins with.
            self.committed = Committed { line: Line::new(look.log.base), ..Committed::default() };
        }
        self.hear_commits(node, look, look.log.base.0)
    }

    fn turned(&mut self, node: NodeId, look: &Look<'_>) -> Verdict {
        self.begun = true;
        let Some(member) = self.members.get_mut(&node) else {
            return Err(format!("member {node} decides something, and has never opened"));
        };
        let ballot = Ballot::of(look);
        if let Some(broken) = ballot.breaks(member.ballot) {
            return Err(format!("member {node} goes back: {broken}"));
        }
        let (commit, applied) = (look.log.commit, look.applied.0);
        if commit < member.commit || applied < member.applied {
            return Err(format!(
                "member {node} goes back: from commit {} and applied {} to commit {commit} and \
                 applied {applied}",
                member.commit, member.applied
            ));
        }
        if applied > commit {
            return Err(format!(
                "member {node} has applied {applied}, and nothing behind {commit} is committed"
            ));
        }
        let new = new_entries(node, member, look)?;
        let since = std::mem::replace(&mut member.commit, commit);
        let role = std::mem::replace(&mut member.role, look.log.role);
        let elected = look.log.role == Role::Leader
            && (role != Role::Leader || ballot.term != member.ballot.term);
        let moved = std::mem::replace(&mut member.applied, applied) != applied;
        member.ballot = ballot;
        let opened = member.opened;
        self.enter(node, look, new)?;
        if commit > since {
            self.hear_commits(node, look, since.next())?;
        }
        if moved {
            // Everything at or below `commit` has been heard of by now.
            self.committed.hear(node, ballot.term, look.applied)?;
        }
        if elected { self.elected(node, opened, look) } else { Ok(()) }
    }

    /// Takes over the entries from `new` on.
    fn enter(&mut self, node: NodeId, look: &Look<'_>, new: Index) -> Verdict {
        let Some(member) = self.members.get_mut(&node) else { return Ok(()) };
        if member.log.base() != look.log.base {
            member.log.begin_behind(look.log.base);
        }
        for entry in look.log.entries.from(new.get()) {
            let before = member.log.term(Index::new(entry.index.get().saturating_sub(1)));
            // A member that votes alone leads before its disk knows: what it makes up meanwhile is
            // told to nobody (R4), and may be made up differently after a crash.
            if entry.term <= member.kept.term {
                self.known.enter(node, before, entry)?;
            }
            if !member.log.put((entry.index, entry.term)) {
                return Err(format!("member {node} has entry {} behind a gap", entry.index));
            }
        }
        Ok(())
    }

    /// Everything from `since` up to what it knows to be committed, as far as it has it.
    fn hear_commits(&mut self, node: NodeId, look: &Look<'_>, since: Index) -> Verdict {
        let mut index = since.max(look.log.base.0);
        while index <= look.log.commit {
            let Some(term) = look.term(index) else {
                return Err(format!(
                    "member {node} counts entry {index} as committed, and does not have it"
                ));
            };
            self.committed.hear(node, look.log.term, (index, term))?;
            index = index.next();
        }
        Ok(())
    }

    fn elected(&mut self, node: NodeId, opened: Term, look: &Look<'_>) -> Verdict {
        let term = look.log.term;
        let first = *self.leaders.entry(term).or_insert(node);
        if first != node {
            return Err(format!("term {term} has two leaders: member {first} and member {node}"));
        }
        if opened >= term {
            return Err(format!(
                "member {node} leads term {term}, and its disk knew of term {opened} when it \
                 opened: it was restarted and did not stand for election since"
            ));
        }
        let Some((index, entry_term)) = self.committed.before(term) else { return Ok(()) };
        if index >= look.log.base.0 && look.term(index) != Some(entry_term) {
            return Err(format!(
                "member {node} leads term {term} without entry {index} of term {entry_term}, which \
                 was committed in an earlier term: its log ends at {} of term {}",
                look.last().0,
                look.last().1
            ));
        }
        Ok(())
    }

    fn durable(&mut self, node: NodeId, batch: &[Persist]) -> Verdict {
        let Some(member) = self.members.get_mut(&node) else {
            return Err(format!("member {node} writes, and has never opened"));
        };
        for persist in batch {
            if let Some(mark) = &persist.install {
                let base = (mark.index, mark.term);
                if !self.committed.line.holds(base) {
                    return Err(format!(
                        "member {node} has installed a snapshot at {} of term {}, and that was \
                         never committed",
                        mark.index, mark.term
                    ));
                }
                member.disk.begin_behind(base);
            }
            for entry in &persist.entries {
                let before = member.disk.term(Index::new(entry.index.get().saturating_sub(1)));
                self.known.enter(node, before, entry)?;
                if !member.disk.put((entry.index, entry.term)) {
                    return Err(format!("member {node} writes entry {} behind a gap", entry.index));
                }
            }
            if let Some(state) = &persist.hard_state {
                let kept = Ballot::written(state);
                if let Some(broken) = kept.breaks(member.kept) {
                    return Err(format!("the disk of member {node} goes back: {broken}"));
                }
                member.kept = kept;
            }
        }
        Ok(())
    }
}

/// Where the log has new entries, if it may.
fn new_entries(node: NodeId, member: &Member, look: &Look<'_>) -> Result<Index, String> {
    let (base, last) = (look.log.base.0, look.last().0);
    let new = member.log.first_new(look);
    let end = member.log.last().0;
    let replaced = new <= member.commit;
    // A snapshot may end before the log did, if the log had gone astray.
    let installed = base > member.log.base().0 && !member.log.holds(look.log.base);
    if replaced || (last < end && new > last && !installed) {
        return Err(format!(
            "the log of member {node} changes from {} on, and everything up to {} is committed: \
             it ended at {end}, and ends at {last}",
            new.min(last.next()),
            member.commit
        ));
    }
    Ok(new)
}

impl Judge for LogJudge {
    fn name(&self) -> &'static str {
        "logs"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Verdict {
        match seen {
            Seen::Opened { node, replica } => self.opened(*node, &replica.look()),
            Seen::Durable { node, batch } => self.durable(*node, batch),
            Seen::Turned { node, replica } => self.turned(*node, &replica.look()),
            Seen::Ended { .. } => Ok(()),
        }
    }

    /// That members are equal in the end is for [`super::state`] to say.
    fn end(&mut self, _members: &[(NodeId, &Replica)]) -> Verdict {
        Ok(())
    }
}
