//! Handing on what callers ask for: writes to the leader's log, reads to its rounds.

use bytes::Bytes;

use super::consensus::Role;
use super::envelope::{Body, Envelope};
use super::io::{Answer, Output, Token};
use super::proposals::{MAX_WAIT, Whose};
use super::reads::Want;
use super::{Me, Moving, Replica, Standing};
use crate::core::machine::{Command, decode};
use crate::error::{Error, Kind};
use crate::ids::NodeId;
use crate::planted::{Bug, planted};
use crate::time::Instant;

/// Bytes of writes that one proposal carries.
const PROPOSAL_BYTES: usize = 4 << 20;

impl Replica {
    /// Another member's writes. What it stamped is checked here, before it can reach any log.
    pub(super) fn take_forwarded(&mut self, envelope: &Envelope, writes: Vec<Bytes>) {
        if self.standing.role != Role::Leader {
            return;
        }
        for payload in writes {
            let genuine = decode(payload.clone()).ok().filter(|(origin, command)| {
                // Time passes by the leader's own word.
                origin.node == envelope.from
                    && origin.incarnation == envelope.from_incarnation
                    && !matches!(command, Command::Tick { .. })
            });
            let fits = payload.len() <= self.settings.max_entry_bytes();
            match genuine.filter(|_| fits) {
                Some((_, command)) => {
                    self.forwarded_begins |= command.begins_leases();
                    self.forwarded.push(payload);
                }
                None => self.dropped.malformed += 1,
            }
        }
    }

    /// Tells the cluster this node's incarnation, once it has a leader to hear it.
    pub(super) fn announce(&mut self) {
        let bound = self.bound(self.me.node);
        if self.announced || bound.is_some() || self.standing.leader.is_none() {
            return;
        }
        let Me { node, incarnation, .. } = self.me;
        let payload = Command::Announce { node, incarnation }.encode();
        // When it has ended, and was not applied, another one is made.
        let deadline = self.now.after(MAX_WAIT);
        let whose = Whose::Announcement;
        self.announced = self.proposals.push(whose, payload, deadline, self.now).is_ok();
    }

    /// Offers what waits to the leader: this node's own log, or another member.
    pub(super) fn offer_writes(&mut self) {
        let Standing { role, term, leader } = self.standing;
        let Some(leader) = leader else { return };
        if role != Role::Leader {
            self.forwarded.clear();
            self.forwarded_begins = false;
            let room = self.settings.forward_bytes();
            loop {
                let batch = self.proposals.offer(leader, term, self.now, room);
                if batch.is_empty() {
                    return;
                }
                self.say(leader, &Body::Forward(batch));
            }
        }
        loop {
            let own = self.proposals.offer(leader, term, self.now, PROPOSAL_BYTES);
            let count = own.len();
            let begins = std::mem::take(&mut self.forwarded_begins)
                || own.iter().any(|payload| Command::begins_leases_encoded(payload));
            let mut batch = std::mem::take(&mut self.forwarded);
            batch.extend(own);
            let tick = self.tick_before(begins);
            if batch.is_empty() && tick.is_none() {
                return;
            }
            let advance = tick.map(|(payload, advance)| {
                batch.insert(0, payload);
                advance
            });
            if self.consensus.propose(batch).is_err() {
                // A forwarded write is its sender's to offer again.
                self.proposals.refused(count);
                self.ticks.refused(self.now.after(self.settings.tick));
                return;
            }
            if let Some(advance) = advance {
                self.ticks.proposed(self.now, advance);
            }
        }
    }

    pub(super) fn begin_read(&mut self) {
        if self.reads.want() == Want::Nothing {
            return;
        }
        if self.standing.role == Role::Leader {
            if planted(Bug::ReadWithoutRound) {
                self.reads.begun(0, self.now);
                let (index, _) = self.machine.applied();
                for (peer, request) in self.reads.confirmed(0, index) {
                    self.say(peer, &Body::ReadAnswer { request, index });
                }
            } else if let Some(round) = self.consensus.start_read() {
                self.reads.begun(round, self.now);
            }
        } else if let Some(leader) = self.standing.leader {
            let request = self.reads.next_question();
            self.reads.begun(request, self.now);
            self.say(leader, &Body::Read { request });
        }
    }

    pub(super) fn move_leader(&mut self, token: Token, to: NodeId, deadline: Instant) {
        let answer = if self.standing.role != Role::Leader {
            let leader = self.standing.leader.map_or("nobody".to_owned(), |id| id.to_string());
            let text = format!("only the leader hands leadership over, and that is {leader}");
            Answer::Failed(Error::new(Kind::Unavailable, text))
        } else if !self.machine.conf().voters.contains(&to) {
            let text = format!("member {to} cannot lead: it is not a voter (MEM-25)");
            Answer::Failed(Error::invalid(text))
        } else if to == self.me.node {
            Answer::Done
        } else if self.transfer.is_some() {
            let text = "another transfer of leadership is under way";
            Answer::Failed(Error::new(Kind::Unavailable, text))
        } else {
            match self.consensus.transfer(to) {
                Ok(()) => {
                    self.transfer = Some(Moving { token, to, deadline });
                    return;
                }
                Err(error) => Answer::Failed(error),
            }
        };
        self.out.push_back(Output::Reply { token, answer });
    }
}
