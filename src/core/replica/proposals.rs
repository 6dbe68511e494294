//! Writes in flight, each from the moment a caller hands it over until its fate is known.
//!
//! A write is stamped once with this node's origin and a sequence number, and then *offered*: to
//! this node's own log when it leads, to the leader through a forward envelope when it does not.
//! It may be offered any number of times, to any number of leaders: the machine applies the first
//! that commits and skips the rest (design 4.1). The answer comes from this node's own machine,
//! when it applies the entry that carries the stamp. So a leader never answers a forward, a lost
//! answer cannot exist, and a caller that has been answered finds its write on this member.
//!
//! ```text
//! caller ── put ──► [ 7: waiting ] ── offer ──► leader A ✗ dies
//!                   [ 7: offered in term 3 ]
//!        term 4     [ 7: waiting ] ── offer ──► leader B ──► log ──► applied here ──► answer
//! ```
//!
//! Invariants:
//! - the window below holds exactly the sequences from `base` on; `base` is the watermark that
//!   later stamps carry, so the machine can forget everything below it;
//! - every write ends at its deadline, and that is never further away than [`MAX_WAIT`]. So `base`
//!   moves on, whatever the network and the leader do.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::io::{Answer, Token};
#[cfg(feature = "sim")]
use super::sizes::Size;
#[cfg(feature = "sim")]
use super::tally::Again;
use crate::core::machine::{MAX_WINDOW, Origin, Outcome, decode, stamp};
use crate::error::{Error, Kind};
use crate::ids::{Incarnation, NodeId, Term};
use crate::planted::{Bug, planted};
use crate::time::Instant;

/// How long a write waits for its fate at most, however long its caller would. All that come behind
/// one wait with it: once [`MAX_WINDOW`] have, no more are taken, and what is to be deleted behind
/// a write that may come yet is not (`leftovers.rs`). Long enough for whoever repairs what is
/// broken; and it ends.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Whom this node's writes come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Me {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    /// How many times this data directory has been opened: sequences restart with it.
    pub(crate) boot: u64,
}

/// Whom the fate of a write concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The node itself, which does not wait for it.
    Nobody,
    /// The node itself, which tells the cluster its incarnation.
    Announcement,
    Caller(Token),
    /// A batch of keep-alives.
    Renewals(u64),
    /// The node, which deletes what was left behind.
    Leftover(u64),
    /// A caller that asked, at a moment, for a lease that is to be kept.
    Opener(Token, Instant),
}

/// A write whose fate is known, or waited for no longer.
type Told = (Whose, Answer);

/// To whom a write was last offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offer {
    leader: NodeId,
    term: Term,
    at: Instant,
}

#[derive(Debug)]
struct Pending {
    whose: Whose,
    payload: Bytes,
    deadline: Instant,
    /// Where it was offered last, unless that was refused at once.
    offer: Option<Offer>,
    /// How many offers left for a log: with none the write has certainly not been applied.
    sent: u32,
}

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Proposals {
    me: Me,
    /// The sequence of the front of `window`.
    base: u64,
    /// The front, if there is one, is always still waiting.
    window: VecDeque<Option<Pending>>,
    /// No waiting write's deadline is earlier. May be too early itself, which costs one look.
    earliest: Option<Instant>,
    /// Where the next look for unoffered writes begins: everything in front of it was offered to
    /// the present leader.
    cursor: usize,
    #[cfg(feature = "sim")]
    again: Again,
}

impl Proposals {
    pub(crate) fn new(me: Me) -> Self {
        Self {
            me,
            base: 1,
            window: VecDeque::new(),
            earliest: None,
            cursor: 0,
            #[cfg(feature = "sim")]
            again: Again::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.window.len()
    }

    /// The oldest sequence whose fate may be open: all below have ended.
    pub(crate) fn oldest(&self) -> u64 {
        self.base
    }

    /// The sequence of the next write.
    pub(crate) fn next(&self) -> u64 {
        self.base.saturating_add(self.window.len() as u64)
    }

    /// How much there is of what has a bound.
    #[cfg(feature = "sim")]
    pub(crate) fn sizes(&self, out: &mut Vec<Size>) {
        out.push(Size::new("writes under way", self.window.len(), MAX_WINDOW));
    }

    /// How often writes were offered again.
    #[cfg(feature = "sim")]
    pub(crate) fn again(&self) -> Again {
        self.again
    }

    /// Takes a write: stamps it and keeps it until its fate is known, for [`MAX_WAIT`] at most.
    /// Refuses it when the oldest write whose fate is open is so old that the machine would not
    /// remember both.
    pub(crate) fn push(
        &mut self,
        whose: Whose,
        mut payload: BytesMut,
        deadline: Instant,
        now: Instant,
    ) -> Result<(), Error> {
        let deadline = deadline.min(now.after(MAX_WAIT));
        if self.window.len() >= MAX_WINDOW {
            let text = format!(
                "{MAX_WINDOW} writes were taken since the oldest one that is still under way"
            );
            return Err(Error::new(Kind::Overloaded, text));
        }
        let sequence = self.next();
        let Me { node, incarnation, boot } = self.me;
        stamp(&mut payload, &Origin { node, incarnation, boot, sequence, watermark: self.base });
        let payload = payload.freeze();
        self.window.push_back(Some(Pending { whose, payload, deadline, offer: None, sent: 0 }));
        self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
        Ok(())
    }

    /// The leader or its term changed: everything has to be offered again.
    pub(crate) fn leader_changed(&mut self) {
        self.cursor = 0;
    }

    /// Writes to offer to `leader` now, up to `max_bytes` of them at a time (one at least).
    pub(crate) fn offer(
        &mut self,
        leader: NodeId,
        term: Term,
        now: Instant,
        max_bytes: usize,
    ) -> Vec<Bytes> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(slot) = self.window.get_mut(self.cursor) {
            if let Some(pending) = slot {
                let offered =
                    pending.offer.is_some_and(|offer| offer.leader == leader && offer.term == term);
                if !offered {
                    bytes += pending.payload.len();
                    if !batch.is_empty() && bytes > max_bytes {
                        break;
                    }
                    #[cfg(feature = "sim")]
                    match pending.offer {
                        _ if pending.sent == 0 => {}
                        Some(old) if old.term == Term::default() => self.again.silent += 1,
                        _ => self.again.changed += 1,
                    }
                    pending.offer = Some(Offer { leader, term, at: now });
                    pending.sent = pending.sent.saturating_add(1);
                    batch.push(pending.payload.clone());
                }
            }
            self.cursor += 1;
        }
        batch
    }

    /// The batch that [`offer`](Self::offer) gave last was refused whole and went nowhere.
    pub(crate) fn refused(&mut self, batch: usize) {
        let mut left = batch;
        while left > 0 && self.cursor > 0 {
            self.cursor -= 1;
            if let Some(Some(pending)) = self.window.get_mut(self.cursor) {
                pending.offer = None;
                pending.sent = pending.sent.saturating_sub(1);
                left -= 1;
            }
        }
    }

    /// Looks for offers that have been out for longer than `patience`: an envelope was lost.
    /// Only for a node that forwards; a leader's own log loses nothing.
    pub(crate) fn resend(&mut self, now: Instant, patience: Duration) {
        for (at, slot) in self.window.iter_mut().enumerate() {
            let Some(Pending { offer: Some(offer), sent, .. }) = slot else { continue };
            // Later and later: what is slow is not made faster by more of the same.
            let patience = patience * (1 << sent.saturating_sub(1).min(5));
            if now.since(offer.at) >= patience {
                *offer = Offer { term: Term::default(), ..*offer };
                self.cursor = self.cursor.min(at);
            }
        }
    }

    /// The machine applied an entry with this node's stamp.
    pub(crate) fn applied(&mut self, origin: &Origin, outcome: Outcome) -> Option<Told> {
        if origin.node != self.me.node
            || origin.incarnation != self.me.incarnation
            || origin.boot != self.me.boot
        {
            return None;
        }
        let pending = self.take(origin.sequence)?;
        Some((pending.whose, Answer::Applied(outcome)))
    }

    /// A snapshot was installed: `known` says what became of a sequence, if it is in there.
    pub(crate) fn installed(&mut self, known: impl Fn(&Me, u64) -> Option<Outcome>) -> Vec<Told> {
        let mut told = Vec::new();
        for at in 0..self.window.len() as u64 {
            let sequence = self.base.saturating_add(at);
            let Some(outcome) = known(&self.me, sequence) else { continue };
            let Some(slot) = self.slot(sequence) else { continue };
            let Some(Pending { whose, payload, .. }) = slot.take() else { continue };
            // The sessions remember what happened, not what was there before or was read.
            let outcome = decode(payload).ok().and_then(|(_, command)| command.told(outcome));
            let answer = match outcome {
                Some(outcome) => Answer::Applied(outcome),
                None => {
                    let text = "the write was applied while this member was given a snapshot: what \
                                it was to give back is not known here";
                    Answer::Failed(Error::new(Kind::Unavailable, text).with_unknown_outcome())
                }
            };
            told.push((whose, answer));
        }
        self.trim();
        told
    }

    /// Answers the writes whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant, leader: bool) -> Vec<Told> {
        let mut told = Vec::new();
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return told;
        }
        let mut earliest: Option<Instant> = None;
        for slot in &mut self.window {
            let Some(pending) = slot else { continue };
            if now < pending.deadline {
                let deadline = pending.deadline;
                earliest = Some(earliest.map_or(deadline, |earliest| earliest.min(deadline)));
                continue;
            }
            let error = timed_out(pending.sent > 0 && !planted(Bug::CallItNotApplied), leader);
            told.extend(slot.take().map(|pending| (pending.whose, Answer::Failed(error))));
        }
        self.earliest = earliest;
        self.trim();
        told
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    fn slot(&mut self, sequence: u64) -> Option<&mut Option<Pending>> {
        let at = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        self.window.get_mut(at)
    }

    fn take(&mut self, sequence: u64) -> Option<Pending> {
        let pending = self.slot(sequence)?.take();
        self.trim();
        pending
    }

    fn trim(&mut self) {
        while let Some(None) = self.window.front() {
            self.window.pop_front();
            self.base = self.base.saturating_add(1);
            self.cursor = self.cursor.saturating_sub(1);
        }
        if self.window.is_empty() {
            self.earliest = None;
        }
    }
}

fn timed_out(offered: bool, leader: bool) -> Error {
    if offered {
        let text = "the deadline passed before the write was known to be applied: it may have \
                    been, once, or may yet be";
        return Error::new(Kind::Timeout, text).with_unknown_outcome();
    }
    let why = if leader { "while the leader took no writes" } else { "while there was no leader" };
    Error::new(Kind::Timeout, format!("the deadline passed {why}: the write was not applied"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::machine::Command;
    use crate::ids::Revision;

    const A: NodeId = NodeId::new(1);
    const B: NodeId = NodeId::new(2);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn proposals(writes: u64) -> Proposals {
        let me = Me { node: A, incarnation: Incarnation::new(9), boot: 3 };
        let mut proposals = Proposals::new(me);
        for token in 0..writes {
            let payload = Command::Announce { node: A, incarnation: me.incarnation }.encode();
            proposals.push(Whose::Caller(Token(token)), payload, at(100 + token), at(0)).unwrap();
        }
        proposals
    }

    fn sequences(batch: Vec<Bytes>) -> Vec<u64> {
        batch.into_iter().map(|payload| decode(payload).unwrap().0.sequence).collect()
    }

    fn origin(sequence: u64) -> Origin {
        Origin { node: A, incarnation: Incarnation::new(9), boot: 3, sequence, watermark: 0 }
    }

    #[test]
    fn offers_each_write_once_to_one_leader_and_again_to_the_next() {
        let mut proposals = proposals(3);
        assert_eq!(sequences(proposals.offer(B, Term::new(4), at(0), usize::MAX)), [1, 2, 3]);
        assert!(proposals.offer(B, Term::new(4), at(0), usize::MAX).is_empty());
        assert!(proposals.applied(&origin(2), Outcome::Announced).is_some());
        proposals.leader_changed();
        assert_eq!(sequences(proposals.offer(A, Term::new(5), at(0), usize::MAX)), [1, 3]);
    }

    #[test]
    fn a_refused_batch_is_offered_again_and_counts_as_never_sent() {
        let mut proposals = proposals(3);
        assert_eq!(proposals.offer(A, Term::new(4), at(0), 1).len(), 1);
        let batch = proposals.offer(A, Term::new(4), at(0), usize::MAX);
        proposals.refused(batch.len());
        let told = proposals.expire(at(1000), true);
        let unknown: Vec<bool> = told
            .iter()
            .map(|told| match told {
                (Whose::Caller(_), Answer::Failed(error)) => error.is_unknown(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(unknown, [true, false, false], "INV-6: only the first one left for a log");
    }

    #[test]
    fn a_lost_forward_is_sent_again_after_a_while() {
        let mut proposals = proposals(2);
        proposals.offer(B, Term::new(4), at(0), usize::MAX);
        proposals.resend(at(5), Duration::from_millis(10));
        assert!(proposals.offer(B, Term::new(4), at(5), usize::MAX).is_empty());
        proposals.resend(at(10), Duration::from_millis(10));
        assert_eq!(sequences(proposals.offer(B, Term::new(4), at(10), usize::MAX)), [1, 2]);
    }

    #[test]
    fn one_stuck_write_bounds_how_many_may_follow_it() {
        let mut proposals = proposals(MAX_WINDOW as u64);
        for sequence in 2..=MAX_WINDOW as u64 {
            proposals.applied(&origin(sequence), Outcome::Announced);
        }
        let write = || Command::Compact { revision: Revision::new(1) }.encode();
        let push = |proposals: &mut Proposals| {
            proposals.push(Whose::Nobody, write(), at(0), at(0)).map_err(|it| it.is_overloaded())
        };
        assert_eq!(push(&mut proposals), Err(true));
        proposals.applied(&origin(1), Outcome::Announced);
        assert_eq!(push(&mut proposals), Ok(()));
    }

    /// One whose forwards do not get through is not in the way of all others for ever.
    #[test]
    fn every_write_ends_however_long_its_caller_would_wait() {
        let mut proposals = proposals(0);
        let write = || Command::Compact { revision: Revision::new(1) }.encode();
        let forever = at(5).after(Duration::MAX);
        proposals.push(Whose::Caller(Token(1)), write(), forever, at(5)).unwrap();
        proposals.push(Whose::Nobody, write(), at(9), at(5)).unwrap();
        proposals.offer(B, Term::new(4), at(5), usize::MAX);
        assert_eq!(proposals.expire(at(9), false).len(), 1);
        assert_eq!((proposals.oldest(), proposals.next()), (1, 3), "the first waits");
        let end = at(5).after(MAX_WAIT);
        assert_eq!(proposals.earliest(), Some(end));
        let told = proposals.expire(end, false);
        let [(Whose::Caller(Token(1)), Answer::Failed(error))] = &told[..] else {
            panic!("{told:?}")
        };
        assert!(error.is_timeout() && error.is_unknown(), "{error}");
        assert_eq!((proposals.oldest(), proposals.next()), (3, 3));
    }

    #[test]
    fn another_boot_of_this_node_is_somebody_else() {
        let mut proposals = proposals(1);
        let stranger = Origin { boot: 2, ..origin(1) };
        assert!(proposals.applied(&stranger, Outcome::Announced).is_none());
        assert_eq!(proposals.len(), 1);
        assert!(proposals.applied(&origin(1), Outcome::Announced).is_some());
        assert_eq!((proposals.len(), proposals.earliest()), (0, None));
    }
}
