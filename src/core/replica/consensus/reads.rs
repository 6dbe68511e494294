//! Read rounds: proofs that this leader still led after a read arrived.
//!
//! A round is a heartbeat with a context that nobody has ever used and never will again (R6):
//!
//! ```text
//!   id u64 | boot nonce u64 | term u64 | counter u64
//! ```
//!
//! The `raft` crate matches answers to rounds by that context alone, and completes every round
//! queued before the one that is answered. With a context used twice, an answer to its first use
//! confirms its second, and with it a round that began after a rival took over: a stale read
//! (raft-notes 3.3). So read requests never travel, each round draws the next counter, and an
//! answer whose context is not ours, of this boot and this term, is dropped.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};

use super::jitter::mix;
use super::wire::CONTEXT_BYTES;
use crate::codec::Reader;
use crate::planted::{Bug, planted};

/// The rounds of this boot.
pub(super) struct Rounds {
    id: u64,
    nonce: u64,
    /// The last round drawn. Rises for as long as the process lives, through every term.
    last: u64,
    /// Rounds without an answer. All of one term: they die with it.
    open: BTreeSet<u64>,
    /// The term of the open rounds.
    term: u64,
}

impl Rounds {
    /// `seed` must differ from boot to boot: it makes the nonce.
    pub(super) fn new(id: u64, seed: u64) -> Self {
        Self { id, nonce: mix(mix(seed) ^ id), last: 0, open: BTreeSet::new(), term: 0 }
    }

    /// Draws the context of the next round. It is not open before [`Rounds::opened`].
    pub(super) fn draw(&mut self, term: u64) -> (u64, Bytes) {
        self.last = self.last.saturating_add(1);
        if planted(Bug::ReuseReadContext) {
            self.last = 1;
        }
        (self.last, self.context(term, self.last))
    }

    /// The crate has taken the round.
    pub(super) fn opened(&mut self, round: u64, term: u64) {
        self.term = term;
        self.open.insert(round);
    }

    /// A quorum has answered. Matched by context, not by order: after a change of the members
    /// answers may come in any (raft-notes 3.2).
    pub(super) fn complete(&mut self, context: &[u8]) -> Option<u64> {
        let round = self.parse(context, self.term)?;
        self.open.remove(&round).then_some(round)
    }

    /// Whether this boot drew `context` in `term`.
    pub(super) fn issued(&self, context: &[u8], term: u64) -> bool {
        self.parse(context, term).is_some_and(|round| (1..=self.last).contains(&round))
    }

    /// The crate forgets open rounds when the term ends or the leader steps down, and says
    /// nothing (raft-notes 3.2). Returns whether that voided any.
    pub(super) fn settle(&mut self, leads: bool, term: u64) -> bool {
        if self.open.is_empty() || (leads && term == self.term) {
            return false;
        }
        self.open.clear();
        true
    }

    /// How many rounds wait for their answers.
    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    fn context(&self, term: u64, round: u64) -> Bytes {
        let mut out = BytesMut::with_capacity(CONTEXT_BYTES);
        for part in [self.id, self.nonce, term, round] {
            out.put_u64_le(part);
        }
        out.freeze()
    }

    fn parse(&self, context: &[u8], term: u64) -> Option<u64> {
        let mut reader = Reader::new(Bytes::copy_from_slice(context));
        for expected in [self.id, self.nonce, term] {
            if reader.u64("context").ok()? != expected {
                return None;
            }
        }
        let round = reader.u64("context").ok()?;
        reader.end("context").ok()?;
        Some(round)
    }
}
