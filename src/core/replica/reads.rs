//! Linearizable reads: when may this member's own state be read?
//!
//! A read waits for one *round*: the leader notes its commit index and hears from a quorum,
//! after the read arrived, that it still leads (`LIN-1`). One round serves every read that was
//! waiting when it began; reads that arrive meanwhile join the next, because the running round
//! proves nothing about what was acknowledged since it began. Then the read waits until its
//! member has applied that index.
//!
//! A follower asks the leader with an envelope of its own. Each arrival of such a request joins
//! a *new* round, so a repeated or late one cannot be answered by an old round (raft-notes 3.3,
//! the stale read that this prevents).
//!
//! A round that was waited for here says something that stays true: once its index is applied,
//! this member has everything that was acknowledged before it asked. So a read that may be a
//! little old is answered without a round for as long as that moment is recent enough. It is the
//! moment of the first asking: of a question that was asked twice, whichever answer came may be
//! to the first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::io::{Answer, Output, Token};
#[cfg(feature = "sim")]
use super::sizes::Size;
#[cfg(feature = "sim")]
use super::tally::Again;
use crate::error::{Error, Kind};
use crate::ids::{Index, NodeId};
use crate::planted::{Bug, planted};
use crate::time::Instant;

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    Local {
        token: Token,
        deadline: Instant,
    },
    /// Another member, on behalf of its callers.
    Peer {
        id: NodeId,
        request: u64,
    },
}

/// A round or a question to the leader that has no answer yet.
#[derive(Debug)]
struct Asked {
    id: u64,
    /// When it was first asked.
    since: Instant,
    /// When it was last asked.
    at: Instant,
    waiters: Vec<Waiter>,
}

/// What waits for an index to be applied.
#[derive(Debug, Default)]
struct Confirmed {
    /// All that was acknowledged before this moment is at or before the index.
    since: Instant,
    /// Callers of this member, at least one.
    waiters: Vec<Waiter>,
}

/// What the replica has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Nothing,
    /// Somebody waits and nothing is under way.
    Ask,
}

/// Questions that one boot has numbers for: a hundred million a second for three hours.
const QUESTION_BITS: u32 = 40;

/// See the top of the file.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Waiting for the next round.
    waiting: Vec<Waiter>,
    /// The one round (as leader) or question (as follower) under way.
    asked: Option<Asked>,
    /// Confirmed, and waiting for this member to apply the index.
    confirmed: BTreeMap<Index, Confirmed>,
    /// All that was acknowledged before this moment is applied here. Zero before it is known of
    /// any; never falls.
    current_as_of: Instant,
    /// As in `Proposals`: no waiter's deadline is earlier.
    earliest: Option<Instant>,
    /// Questions asked so far: each has its own number.
    questions: u64,
    #[cfg(feature = "sim")]
    again: Again,
}

impl Reads {
    /// `boot` counts the openings of this member's directory: no question of an earlier boot has
    /// a number of this one's, so an answer that was on its way meanwhile answers nothing.
    pub(crate) fn new(boot: u64) -> Self {
        Self { questions: boot << QUESTION_BITS, ..Self::default() }
    }

    pub(crate) fn push(&mut self, waiter: Waiter) {
        if let Waiter::Local { deadline, .. } = waiter {
            self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
        }
        // A member that asks again has given up on its earlier question.
        if let Waiter::Peer { id, .. } = waiter {
            self.waiting
                .retain(|other| !matches!(other, Waiter::Peer { id: old, .. } if *old == id));
        }
        match &mut self.asked {
            Some(asked) if planted(Bug::JoinLateRound) => asked.waiters.push(waiter),
            _ => self.waiting.push(waiter),
        }
    }

    pub(crate) fn want(&self) -> Want {
        if self.waiting.is_empty() || self.asked.is_some() { Want::Nothing } else { Want::Ask }
    }

    /// A number for the next question to the leader.
    pub(crate) fn next_question(&mut self) -> u64 {
        self.questions = self.questions.saturating_add(1);
        self.questions
    }

    /// Everybody who waits is part of the round or question `id` now.
    pub(crate) fn begun(&mut self, id: u64, now: Instant) {
        let waiters = std::mem::take(&mut self.waiting);
        self.asked = Some(Asked { id, since: now, at: now, waiters });
    }

    /// The round or question `id` was confirmed at `index`. Gives the members to tell.
    pub(crate) fn confirmed(&mut self, id: u64, index: Index) -> Vec<(NodeId, u64)> {
        let Some(asked) = self.asked.take_if(|asked| asked.id == id) else { return Vec::new() };
        let mut peers = Vec::new();
        for waiter in asked.waiters {
            match waiter {
                Waiter::Peer { id, request } => peers.push((id, request)),
                Waiter::Local { .. } => {
                    let confirmed = self.confirmed.entry(index).or_default();
                    confirmed.since = confirmed.since.max(asked.since);
                    confirmed.waiters.push(waiter);
                }
            }
        }
        peers
    }

    /// Role, term or leader changed: what was under way will not be answered.
    pub(crate) fn void(&mut self) {
        let Some(asked) = self.asked.take() else { return };
        #[cfg(feature = "sim")]
        {
            self.again.changed += u64::from(!asked.waiters.is_empty());
        }
        for waiter in asked.waiters {
            // Who has asked again since is waiting already.
            let again = matches!(waiter, Waiter::Peer { id, .. } if self.is_waiting(id));
            if !again {
                self.waiting.push(waiter);
            }
        }
    }

    fn is_waiting(&self, peer: NodeId) -> bool {
        self.waiting.iter().any(|waiter| matches!(waiter, Waiter::Peer { id, .. } if *id == peer))
    }

    /// This member does not lead any more: other members must ask the new leader themselves.
    pub(crate) fn forget_peers(&mut self) {
        self.waiting.retain(|waiter| matches!(waiter, Waiter::Local { .. }));
    }

    /// The question to ask again because no answer has come for `patience`. With its old number:
    /// whichever answer comes belongs to a round that began after all of its waiters came.
    pub(crate) fn ask_again(&mut self, now: Instant, patience: Duration) -> Option<u64> {
        let asked = self.asked.as_mut().filter(|asked| now.since(asked.at) >= patience)?;
        asked.at = now;
        #[cfg(feature = "sim")]
        {
            self.again.silent += 1;
        }
        Some(asked.id)
    }

    /// How often a round or a question was begun again.
    #[cfg(feature = "sim")]
    pub(crate) fn again(&self) -> Again {
        self.again
    }

    /// Answers the reads that `applied` makes safe.
    pub(crate) fn applied(&mut self, applied: Index, out: &mut VecDeque<Output>) {
        while let Some(first) = self.confirmed.first_entry() {
            if *first.key() > applied && !planted(Bug::ReadBeforeApplied) {
                return;
            }
            let Confirmed { since, waiters } = first.remove();
            self.current_as_of = self.current_as_of.max(since);
            for waiter in waiters {
                if let Waiter::Local { token, .. } = waiter {
                    out.push_back(Output::Reply { token, answer: Answer::Done });
                }
            }
        }
    }

    /// Answers the reads whose deadline has passed (`LIN-3`).
    pub(crate) fn expire(&mut self, now: Instant, leader: bool, out: &mut VecDeque<Output>) {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return;
        }
        let mut earliest: Option<Instant> = None;
        let mut keep = |waiter: &Waiter| {
            let Waiter::Local { token, deadline } = *waiter else { return true };
            if now < deadline {
                earliest =
                    Some(earliest.map_or(deadline, |earliest: Instant| earliest.min(deadline)));
                return true;
            }
            let why = if leader {
                "before a quorum confirmed the leader"
            } else {
                "while there was no leader"
            };
            let text = format!("the read's deadline passed {why}");
            let answer = Answer::Failed(Error::new(Kind::Timeout, text));
            out.push_back(Output::Reply { token, answer });
            false
        };
        self.waiting.retain(&mut keep);
        if let Some(asked) = &mut self.asked {
            asked.waiters.retain(&mut keep);
        }
        self.confirmed.retain(|_, confirmed| {
            confirmed.waiters.retain(&mut keep);
            !confirmed.waiters.is_empty()
        });
        self.earliest = earliest;
    }

    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    /// The moment before which nothing was acknowledged that is not applied here; zero if that is
    /// known of none.
    pub(crate) fn current_as_of(&self) -> Instant {
        self.current_as_of
    }

    /// How much there is of what has a bound. Callers' reads have theirs in the mailbox.
    #[cfg(feature = "sim")]
    pub(crate) fn sizes(&self, members: usize, out: &mut Vec<Size>) {
        let peers = |waiters: &[Waiter]| {
            waiters.iter().filter(|waiter| matches!(waiter, Waiter::Peer { .. })).count()
        };
        out.push(Size::new("members that wait for a read round", peers(&self.waiting), members));
        let asked = self.asked.as_ref().map_or(0, |asked| peers(&asked.waiters));
        out.push(Size::new("members that a read round is for", asked, members));
        let idle = self.confirmed.values().filter(|confirmed| confirmed.waiters.is_empty()).count();
        out.push(Size::new("confirmed indexes that nobody waits for", idle, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(token: u64) -> Waiter {
        Waiter::Local { token: Token(token), deadline: Instant::from_nanos(1_000) }
    }

    fn tokens(out: &VecDeque<Output>) -> Vec<u64> {
        out.iter()
            .map(|output| match output {
                Output::Reply { token, .. } => token.0,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// LIN-1: a read that arrives during a round is not served by it.
    #[test]
    fn a_late_read_waits_for_the_next_round() {
        let (mut reads, mut out) = (Reads::default(), VecDeque::new());
        reads.push(local(1));
        reads.begun(7, Instant::default());
        reads.push(local(2));
        assert_eq!(reads.want(), Want::Nothing, "one round at a time");
        reads.confirmed(7, Index::new(5));
        reads.applied(Index::new(4), &mut out);
        assert_eq!(tokens(&out), [0; 0], "not applied yet");
        reads.applied(Index::new(5), &mut out);
        assert_eq!(tokens(&out), [1]);
        assert_eq!(reads.want(), Want::Ask);
    }

    /// LIN-3: an answer to a question that was given up changes nothing.
    #[test]
    fn a_stale_answer_is_ignored() {
        let (mut reads, mut out) = (Reads::default(), VecDeque::new());
        reads.push(local(1));
        reads.begun(7, Instant::default());
        reads.void();
        reads.begun(8, Instant::default());
        reads.confirmed(7, Index::new(5));
        reads.applied(Index::new(9), &mut out);
        assert!(out.is_empty());
        reads.confirmed(8, Index::new(6));
        reads.applied(Index::new(9), &mut out);
        assert_eq!(tokens(&out), [1]);
    }

    #[test]
    fn a_deadline_reaches_a_read_wherever_it_waits() {
        let (mut reads, mut out) = (Reads::default(), VecDeque::new());
        reads.push(local(1));
        reads.begun(7, Instant::default());
        reads.confirmed(7, Index::new(5));
        reads.push(local(2));
        reads.begun(8, Instant::default());
        reads.push(local(3));
        reads.expire(Instant::from_nanos(999), true, &mut out);
        assert!(out.is_empty());
        reads.expire(Instant::from_nanos(1_000), true, &mut out);
        assert_eq!(tokens(&out), [3, 2, 1]);
        assert_eq!(reads.earliest(), None);
    }

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    /// What is said of a state counts from before the question, and only once it is applied.
    #[test]
    fn a_state_is_as_recent_as_the_question_that_it_answers() {
        let (mut reads, mut out) = (Reads::default(), VecDeque::new());
        reads.push(local(1));
        reads.begun(7, at(100));
        assert_eq!(reads.ask_again(at(500), Duration::from_nanos(10)), Some(7));
        reads.confirmed(7, Index::new(5));
        reads.applied(Index::new(4), &mut out);
        assert_eq!(reads.current_as_of(), Instant::default(), "not applied yet");
        reads.applied(Index::new(5), &mut out);
        assert_eq!(reads.current_as_of(), at(100), "the answer may be to the first asking");
    }

    #[test]
    fn a_question_without_an_answer_says_nothing_of_the_state() {
        let (mut reads, mut out) = (Reads::default(), VecDeque::new());
        reads.push(local(1));
        reads.begun(7, at(100));
        reads.void();
        reads.begun(8, at(200));
        reads.confirmed(7, Index::new(5));
        reads.applied(Index::new(5), &mut out);
        assert_eq!(reads.current_as_of(), Instant::default(), "nobody answered the second");
        reads.confirmed(8, Index::new(5));
        reads.applied(Index::new(5), &mut out);
        assert_eq!(reads.current_as_of(), at(200));
    }

    /// Two rounds at one index: the later one says more.
    #[test]
    fn a_state_gets_no_older_by_being_asked_about() {
        let (mut reads, mut out) = (Reads::default(), VecDeque::new());
        for (round, begun) in [(1, 100), (2, 200)] {
            reads.push(local(round));
            reads.begun(round, at(begun));
            reads.confirmed(round, Index::new(5));
        }
        reads.applied(Index::new(9), &mut out);
        assert_eq!(reads.current_as_of(), at(200));
    }

    /// A member whose disk stands still confirms reads that it cannot answer, round after round.
    #[test]
    fn nothing_is_kept_of_reads_that_have_expired() {
        let (mut reads, mut out) = (Reads::default(), VecDeque::new());
        for round in 1..100 {
            reads.push(local(round));
            reads.begun(round, Instant::default());
            reads.confirmed(round, Index::new(round));
        }
        reads.expire(Instant::from_nanos(1_000), true, &mut out);
        assert_eq!(out.len(), 99);
        assert!(reads.confirmed.is_empty(), "{} indexes", reads.confirmed.len());
    }

    /// A round that is void gives its members back: one that has asked again since is not to be
    /// kept twice.
    #[test]
    fn a_member_waits_once_whatever_becomes_of_its_round() {
        let mut reads = Reads::default();
        let peer = |request| Waiter::Peer { id: NodeId::new(2), request };
        for request in 1..10 {
            reads.push(peer(request));
            reads.void();
            reads.begun(request, Instant::default());
        }
        assert_eq!(reads.confirmed(9, Index::new(5)), [(NodeId::new(2), 9)]);
        reads.begun(10, Instant::default());
        assert!(reads.confirmed(10, Index::new(5)).is_empty());
    }

    #[test]
    fn a_member_that_asks_again_is_told_once() {
        let mut reads = Reads::default();
        let peer = |request| Waiter::Peer { id: NodeId::new(2), request };
        reads.push(peer(1));
        reads.push(peer(2));
        reads.begun(7, Instant::default());
        assert_eq!(reads.confirmed(7, Index::new(5)), [(NodeId::new(2), 2)]);
    }
}
