//! The loop that takes what the crate has ready, and the syncs that come back.

use std::collections::VecDeque;

use raft::eraftpb::{self, EntryType, MessageType};
use raft::{Ready, StateRole};

use super::conf::{self, ConfChange};
use super::wire::{self, Message};
use super::{Consensus, Effect, Ticket, log};
use crate::entry::{ConfState, Entry, HardState, SnapshotMark};
use crate::error::{Error, Kind};
use crate::ids::{Index, NodeId, Term};
use crate::planted::{Bug, planted};

impl Consensus {
    /// Appends everything that is to be done now to `out`. To be called after every batch of
    /// inputs. An error means that this member must stop: its state contradicts itself.
    pub(crate) fn drain(&mut self, out: &mut VecDeque<Effect>) -> Result<(), Error> {
        // R1: `ready`, readable through the log view, `advance_append_async`, with no input in
        // between. Handing out may make more ready (conf changes), so until nothing is.
        while self.core.has_ready() {
            self.take_ready()?;
        }
        self.notice_changes();
        out.append(&mut self.effects);
        Ok(())
    }

    /// The log has synced everything up to `ticket`.
    pub(crate) fn persisted(&mut self, ticket: Ticket) {
        self.settle(ticket.0);
    }

    fn take_ready(&mut self) -> Result<(), Error> {
        let mut ready = self.core.ready();
        let number = ready.number();
        let hard_state = ready.hs().map_or(self.current, hard_state_of);
        let ballot = (hard_state.term, hard_state.vote);
        self.waiting.begin(number, ballot != (self.current.term, self.current.vote));
        self.current = hard_state;

        for state in ready.take_read_states() {
            if let Some(round) = self.rounds.complete(&state.request_ctx) {
                self.effects.push_back(Effect::ReadReady { round, index: Index::new(state.index) });
            }
        }
        let mut messages = ready.take_messages();
        messages.append(&mut ready.take_persisted_messages());
        for message in messages {
            self.send_or_park(number, message);
        }
        let committed = ready.take_committed_entries();
        self.write(ready)?;
        self.hand_out(committed)
    }

    /// Makes a `Ready` readable, passes on what it writes, and closes it.
    fn write(&mut self, mut ready: Ready) -> Result<(), Error> {
        let number = ready.number();
        // False iff only the commit index changed, or nothing. That is no promise (R11 repairs it
        // at boot), so it is not worth a write: it rides along with the next one.
        let must_write = ready.must_sync();
        let install = (!ready.snapshot().is_empty()).then(|| log::mark_of(ready.snapshot()));
        let entries: Vec<Entry> = ready.take_entries().into_iter().map(log::from_raft).collect();
        if let Some(mark) = &install {
            // Earlier writes are before this one in the log's queue, and earlier committed
            // entries before its `Install` among the effects (raft-notes 4.4).
            let entries = self.core.mut_store().install(mark);
            self.discard(entries);
            self.handed_out = mark.index.get();
        }
        self.core.mut_store().append(&entries)?;
        self.core.advance_append_async(ready);
        if must_write {
            let hard_state = (self.current != self.written).then_some(self.current);
            self.written = self.current;
            self.waiting.written(number, install.clone());
            let ticket = Ticket(number);
            self.effects.push_back(Effect::Persist { ticket, entries, hard_state, install });
        } else if self.waiting.is_idle() {
            // Nothing to write and nothing out: durable as it is.
            self.settle(number);
        }
        Ok(())
    }

    /// Everything up to `number` is durable.
    fn settle(&mut self, number: u64) {
        let Some(settled) = self.waiting.settle(number) else { return };
        // R3: the crate first, then what waited, and nothing is stepped in between.
        self.core.on_persist_ready(settled.upto);
        if let Some(mark) = settled.install {
            self.installed(mark);
        }
        for message in self.waiting.released() {
            self.send(message);
        }
    }

    /// An installed snapshot is durable. R9: it counts as applied from here on, and the machine
    /// is swapped before anything else is applied.
    fn installed(&mut self, mark: SnapshotMark) {
        if mark.index.get() > self.core.raft.raft_log.applied {
            self.core.advance_apply_to(mark.index.get());
        }
        // It was received as a file, so it can be offered like one made here.
        self.core.mut_store().saved(mark.clone());
        self.effects.push_back(Effect::Install { mark });
    }

    fn send_or_park(&mut self, number: u64, message: eraftpb::Message) {
        let raft = &self.core.raft;
        let leads = raft.state == StateRole::Leader && message.term == raft.term;
        let waits_for = match message.msg_type {
            // R4: at once, if the leader's (term, vote) is durable. A term whose messages were
            // seen must not be used again after a crash.
            MessageType::MsgAppend
            | MessageType::MsgHeartbeat
            | MessageType::MsgSnapshot
            | MessageType::MsgTimeoutNow
                if leads =>
            {
                self.waiting.ballot()
            }
            // Promises nothing about the log, only that the term is known. Reads on a busy
            // cluster wait for these, so they do not wait for the disk (raft-notes 1.4).
            MessageType::MsgHeartbeatResponse => self.waiting.ballot(),
            // R2: promises, by kind and not by what the crate takes our role for, so that a
            // change of role within one batch releases nothing early.
            _ => number,
        };
        if self.waiting.is_durable(waits_for) || planted(Bug::PromiseBeforeSync) {
            self.send(message);
        } else {
            self.waiting.park(waits_for, message);
        }
    }

    fn send(&mut self, message: eraftpb::Message) {
        let raft = &self.core.raft;
        let to = NodeId::new(message.to);
        if !wire::travels(message.msg_type) {
            // Only a follower makes these, to forward what it was never given (raft-notes 1.6).
            return;
        }
        if message.msg_type != MessageType::MsgSnapshot {
            self.effects.push_back(Effect::Send { to, message: Message(message) });
            return;
        }
        // R14: handed out only while somebody waits for the report. Who stepped down meanwhile
        // has forgotten all progress, and the follower would ignore the old term.
        if raft.state == StateRole::Leader && raft.term == message.term {
            let mark = log::mark_of(message.get_snapshot());
            self.effects.push_back(Effect::SendSnapshot { to, mark, message: Message(message) });
        }
    }

    /// Hands out what is committed, and durable here.
    fn hand_out(&mut self, entries: Vec<eraftpb::Entry>) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let last_before = self.core.raft.raft_log.last_index();
        let mut committed = Vec::with_capacity(entries.len());
        for entry in entries {
            // R10: a gap would go unnoticed otherwise.
            if entry.index != self.handed_out.saturating_add(1) {
                return Err(Error::new(
                    Kind::Halted,
                    format!(
                        "entry {} is committed next, and {} was the last: entries are missing",
                        entry.index, self.handed_out
                    ),
                ));
            }
            self.handed_out = entry.index;
            let conf = (entry.entry_type != EntryType::EntryNormal)
                .then(|| self.apply_conf(entry.data.clone()));
            committed.push((log::from_raft(entry), conf));
        }
        // R8: after the conf changes, or a joint configuration is never left. The crate need not
        // wait for the machine: all it uses this index for is done (raft-notes 1.7).
        self.core.advance_apply_to(self.handed_out);
        let raft = &mut self.core.raft;
        if raft.state == StateRole::Leader && raft.raft_log.last_index() > last_before {
            // The entry that leaves a joint configuration was appended, and sent to nobody.
            raft.bcast_append();
        }
        self.effects.push_back(Effect::Committed { entries: committed });
        Ok(())
    }

    /// Applies a conf change; returns the configuration from here on. A change that cannot be
    /// read or does not fit is one that every member finds so: it changes nothing.
    fn apply_conf(&mut self, data: bytes::Bytes) -> ConfState {
        let id = NodeId::new(self.id);
        let fitting = ConfChange::decode(data).ok().and_then(|change| {
            let next = conf::dry_run(self.core.raft.prs(), &change).ok()?;
            Some((change, next))
        });
        if let Some((change, next)) = fitting {
            let raft = &mut self.core.raft;
            let votes = next.voters.contains(&id) || next.voters_outgoing.contains(&id);
            if raft.state == StateRole::Leader && !votes {
                // R7: as leader it would panic at the next acknowledgement, or heartbeat for
                // ever while dropping every proposal.
                raft.become_follower(raft.term, raft::INVALID_ID);
            }
            if let Ok(conf) = self.core.apply_conf_change(&change.to_raft()) {
                return conf::from_raft(&conf);
            }
        }
        conf::from_raft(&self.core.raft.prs().conf().to_conf_state())
    }

    /// Reports what changed without the crate saying so.
    fn notice_changes(&mut self) {
        let raft = &self.core.raft;
        let leads = raft.state == StateRole::Leader;
        if self.rounds.settle(leads, raft.term) {
            self.effects.push_back(Effect::ReadsLost);
        }
        let role = self.role();
        if role != self.reported {
            self.reported = role;
            self.core.mut_store().forget_want();
            let (role, term, leader) = role;
            self.effects.push_back(Effect::Role { role, term, leader });
        }
        if self.core.mut_store().take_want() {
            self.effects.push_back(Effect::WantSnapshot);
        }
    }
}

fn hard_state_of(hs: &eraftpb::HardState) -> HardState {
    HardState {
        term: Term::new(hs.term),
        vote: NodeId::new(hs.vote),
        commit: Index::new(hs.commit),
    }
}
