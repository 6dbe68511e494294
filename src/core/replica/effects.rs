//! Obeying consensus: from its effects to outputs and to the machine.

use super::consensus::{Effect, Role};
use super::envelope::{Body, ChunkStage};
use super::io::{Answer, Output, Persist, SnapshotFile};
use super::snapshots::Step;
use super::{Replica, Standing};
use crate::entry::{ConfState, Entry, EntryKind, SnapshotMark};
use crate::error::{Error, Kind, Result};
use crate::ids::Index;
use crate::planted::{Bug, planted};
use crate::transport::Peer;

impl Replica {
    pub(super) fn obey_effects(&mut self) -> Result<()> {
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::Send { to, message } => self.say(to, &Body::Raft(message)),
                Effect::Persist { ticket, entries, hard_state, install } => {
                    if install.is_some() {
                        // The received snapshot was accepted: it ends with `Install`.
                        self.stepped_snapshot = false;
                    }
                    let persist = Persist { ticket, entries, hard_state, install };
                    self.out.push_back(Output::Persist(persist));
                }
                Effect::Committed { entries } => self.apply(entries)?,
                Effect::ReadReady { round, index } => {
                    for (peer, request) in self.reads.confirmed(round, index) {
                        self.say(peer, &Body::ReadAnswer { request, index });
                    }
                }
                Effect::ReadsLost => self.reads.void(),
                Effect::SendSnapshot { to, mark, message } => {
                    match self.saved.as_ref().filter(|saved| saved.mark == mark) {
                        Some(saved) => {
                            let file = saved.clone();
                            let step = self.snapshots.send(to, file, message, self.now);
                            self.steps.push(step);
                        }
                        None => self.consensus.report_snapshot(to, false),
                    }
                }
                Effect::WantSnapshot => self.wanted = true,
                Effect::Discard { entries } => {
                    self.out.push_back(Output::DiscardEntries(entries));
                }
                Effect::Install { mark } => self.install(&mark)?,
                Effect::Role { role, term, leader } => {
                    self.role_changed(Standing { role, term, leader });
                }
            }
        }
        Ok(())
    }

    pub(super) fn obey_steps(&mut self) {
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Say { to, body } => self.say(to, &body),
                Step::ReadChunk { to, transfer, index, offset, len } => {
                    self.out.push_back(Output::ReadChunk { to, transfer, index, offset, len });
                }
                Step::Stage(file) => self.out.push_back(Output::Stage(file)),
                Step::StageChunk { hash, offset, bytes } => {
                    self.out.push_back(Output::StageChunk { hash, offset, bytes });
                }
                Step::StageFinish { hash } => self.out.push_back(Output::StageFinish { hash }),
                Step::Report { to, sent } => self.consensus.report_snapshot(to, sent),
            }
        }
    }

    fn apply(&mut self, entries: Vec<(Entry, Option<ConfState>)>) -> Result<()> {
        for (entry, conf) in entries {
            self.log_bytes = self.log_bytes.saturating_add(entry.data.len() as u64 + 64);
            self.unpublished = true;
            match conf {
                Some(conf) => {
                    self.machine.apply_conf(&entry, conf)?;
                    self.tell_members();
                }
                None if entry.kind == EntryKind::ConfChange => {
                    let text = format!("entry {} changes nobody's part", entry.index);
                    return Err(Error::new(Kind::Halted, text));
                }
                None => {
                    #[cfg(feature = "sim")]
                    let before = self.machine.mvcc().revision();
                    let applied = self.machine.apply(&entry)?;
                    #[cfg(feature = "sim")]
                    self.tally.applied(before, &applied.outcome);
                    self.note_leases(entry.term, &applied.outcome);
                    let Some(origin) = applied.origin else { continue };
                    if let Some((whose, answer)) = self.proposals.applied(&origin, applied.outcome)
                    {
                        self.tell(whose, answer);
                    }
                }
            }
        }
        Ok(())
    }

    /// A snapshot is durable and consensus stands on it: so must the machine.
    fn install(&mut self, mark: &SnapshotMark) -> Result<()> {
        let Some((step, receiving)) = self.snapshots.end(ChunkStage::Done) else {
            return Err(Error::new(Kind::Halted, "a snapshot was installed that nobody received"));
        };
        let Some(machine) = receiving.machine.filter(|_| receiving.file.mark == *mark) else {
            return Err(Error::new(Kind::Halted, "the installed snapshot is not the received one"));
        };
        let old = Box::new(self.machine.replace(*machine));
        #[cfg(feature = "sim")]
        {
            self.tally.installs = self.tally.installs.saturating_add(1);
        }
        self.out.push_back(Output::Discard(old));
        self.steps.push(step);
        self.consensus.snapshot_saved(mark.clone());
        self.saved = Some(receiving.file);
        self.retention.replaced();
        self.log_bytes = 0;
        self.unpublished = true;
        let machine = &self.machine;
        let known = |me: &super::Me, sequence| machine.outcome_of(me.node, me.boot, sequence);
        for (whose, answer) in self.proposals.installed(known) {
            self.tell(whose, answer);
        }
        self.leases_replaced();
        self.tell_members();
        Ok(())
    }

    fn role_changed(&mut self, standing: Standing) {
        let before = std::mem::replace(&mut self.standing, standing);
        if (before.leader, before.term) != (standing.leader, standing.term) {
            self.proposals.leader_changed();
            self.reads.void();
            self.ticks.stop();
        }
        if standing.role != Role::Leader {
            self.reads.forget_peers();
            self.snapshots.stop_all();
        }
        let Some(leader) = standing.leader else { return };
        let Some(moving) = self.transfer.take_if(|moving| {
            leader == moving.to || (standing.role == Role::Leader && before.term != standing.term)
        }) else {
            return;
        };
        let answer = if leader == moving.to {
            Answer::Done
        } else {
            let text = format!("leadership went to member {leader}, not {}", moving.to);
            Answer::Failed(Error::new(Kind::Unavailable, text))
        };
        self.out.push_back(Output::Reply { token: moving.token, answer });
    }

    pub(super) fn tell_members(&mut self) {
        let me = self.me.node;
        let others = self.machine.members().iter().filter(|member| member.id != me);
        let peers: Vec<Peer> = others
            .map(|member| Peer {
                id: member.id,
                name: member.name.clone(),
                address: member.address.clone(),
            })
            .collect();
        self.out.push_back(Output::Members(peers));
    }

    /// Takes a snapshot when the log since the last one is long, or a follower needs it.
    ///
    /// Long is also: no shorter than the last snapshot. A snapshot holds all there is, so a count
    /// alone would write a large state again and again; this way snapshots at most double what is
    /// written, and what is read when the member opens.
    pub(super) fn maybe_snapshot(&mut self) {
        if self.taking.is_some() || self.snapshots.receiving().is_some() {
            return;
        }
        let (applied, _) = self.machine.applied();
        let since = applied.get().saturating_sub(self.snapshot_index().get());
        let worth = self.saved.as_ref().map_or(0, |saved| saved.file_bytes);
        let due = (since >= self.settings.snapshot_count && self.log_bytes >= worth)
            || self.log_bytes >= self.settings.snapshot_log_bytes
            || self.wanted;
        // One of the same state is worth writing only in place of one that is bad.
        if !due || (since == 0 && !self.wanted) {
            return;
        }
        self.taking = Some(std::mem::take(&mut self.log_bytes));
        self.out.push_back(Output::TakeSnapshot(self.machine.pin()));
    }

    pub(super) fn snapshot_taken(&mut self, file: SnapshotFile, oldest: Index) {
        let bytes = self.taking.take().unwrap_or_default();
        self.wanted = false;
        let index = file.mark.index;
        self.consensus.snapshot_saved(file.mark.clone());
        let behind = self.saved.as_ref().map_or(Index::new(1), |saved| saved.mark.index);
        let entries = index.get().saturating_sub(behind.get());
        self.saved = Some(file);
        let keep = self.settings.catchup(entries, bytes);
        let upto = Index::new(index.get().saturating_sub(keep));
        let upto = self.snapshots.lowest_sending().map_or(upto, |lowest| upto.min(lowest));
        if !planted(Bug::KeepEverything) {
            self.consensus.compact(upto);
        }
        self.out.push_back(Output::ReleaseLog(oldest));
    }

    /// Consensus made nothing of a received snapshot: it knows all of it already.
    pub(super) fn end_ignored_snapshot(&mut self) {
        if !std::mem::take(&mut self.stepped_snapshot) {
            return;
        }
        if let Some((step, receiving)) = self.snapshots.end(ChunkStage::Done) {
            self.out.push_back(Output::Unstage { hash: receiving.file.hash });
            self.steps.push(step);
        }
    }

    fn snapshot_index(&self) -> Index {
        self.saved.as_ref().map_or(Index::new(1), |saved| saved.mark.index)
    }
}
