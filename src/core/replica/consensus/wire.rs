//! The bytes of a message between members, and back.
//!
//! ```text
//!   kind u8 | term u64 | what the kind needs
//!
//!   append            index, log term, commit, count u32, then per entry: term, kind u8, data
//!   append answer     index, log term, commit, reject hint, rejected u8
//!   heartbeat         commit, context (32 bytes of a read round, or none)
//!   heartbeat answer  the same
//!   vote, pre-vote    index, log term, commit, commit term, forced u8
//!   their answers     commit, commit term, rejected u8
//!   snapshot          index, log term, the four lists of the configuration, auto leave u8
//!   timeout now       nothing
//! ```
//!
//! Integers are little-endian. Sender, receiver and format version stand in the envelope around
//! it, so a message cannot contradict them. An entry's index is not sent: it follows from its
//! place, so entries with gaps cannot be written down. Only these ten kinds exist on the wire:
//! proposals, read requests and transfers have envelopes of their own (raft-notes 1.6, 3.4).
//!
//! Every count is checked against the bytes that are left before anything is allocated, every
//! number against its bound, and the data of an entry is a slice of the received buffer.

use bytes::{BufMut, Bytes, BytesMut};
use raft::CAMPAIGN_TRANSFER;
use raft::eraftpb::{self, EntryType, MessageType};

use super::{conf, log};
use crate::codec::{Malformed, Reader, put_bytes};
use crate::entry::{ConfState, SnapshotMark};
use crate::ids::{Index, NodeId, Term};
use crate::transport::Lane;

/// Terms and indices stay below this, so that adding to them cannot wrap (R13).
pub(super) const MAX_POSITION: u64 = 1 << 62;

/// The longest context of a heartbeat: exactly that of a read round.
pub(super) const CONTEXT_BYTES: usize = 32;

/// The fewest bytes an entry takes: term, kind and the length of its data.
const ENTRY_BYTES: usize = 13;

/// A message of the consensus protocol. Opaque outside of this room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message(pub(super) eraftpb::Message);

/// The kinds that travel; the number is the byte on the wire.
const KINDS: [(u8, MessageType); 10] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgHeartbeat),
    (4, MessageType::MsgHeartbeatResponse),
    (5, MessageType::MsgRequestVote),
    (6, MessageType::MsgRequestVoteResponse),
    (7, MessageType::MsgRequestPreVote),
    (8, MessageType::MsgRequestPreVoteResponse),
    (9, MessageType::MsgSnapshot),
    (10, MessageType::MsgTimeoutNow),
];

/// Whether messages of this kind may leave and arrive at all.
pub(super) fn travels(kind: MessageType) -> bool {
    KINDS.iter().any(|(_, known)| *known == kind)
}

impl Message {
    /// One for tests that only pass it on.
    #[cfg(test)]
    pub(crate) fn blank() -> Self {
        Self(eraftpb::Message::default())
    }

    /// Which lane it takes: everything small whose delay costs an election or a read is urgent.
    pub(crate) fn lane(&self) -> Lane {
        match self.0.msg_type {
            MessageType::MsgAppend | MessageType::MsgAppendResponse | MessageType::MsgSnapshot => {
                Lane::Bulk
            }
            _ => Lane::Urgent,
        }
    }

    /// The snapshot it announces, if it is one that does: have its image complete, verified and
    /// staged before stepping the message (raft-notes 4.3).
    pub(crate) fn snapshot_mark(&self) -> Option<SnapshotMark> {
        (self.0.msg_type == MessageType::MsgSnapshot).then(|| log::mark_of(self.0.get_snapshot()))
    }

    /// Whether it brings entries.
    pub(crate) fn is_append(&self) -> bool {
        self.0.msg_type == MessageType::MsgAppend
    }

    /// Whether it installs a snapshot.
    pub(crate) fn is_snapshot(&self) -> bool {
        self.0.msg_type == MessageType::MsgSnapshot
    }

    /// Whether messages with this first byte are rare: not those that flow while all is well.
    #[cfg(feature = "sim")]
    pub(crate) fn is_rare(first: u8) -> bool {
        KINDS.iter().skip(4).any(|(code, _)| *code == first)
    }

    /// Whether it says no to somebody who would stand for election.
    #[cfg(feature = "sim")]
    pub(crate) fn is_refused_pre_vote(&self) -> bool {
        self.0.msg_type == MessageType::MsgRequestPreVoteResponse && self.0.reject
    }

    /// Whether it hands leadership over.
    #[cfg(feature = "sim")]
    pub(crate) fn is_handover(&self) -> bool {
        self.0.msg_type == MessageType::MsgTimeoutNow
    }

    /// About how many bytes it takes: spares a buffer most of its growing.
    pub(crate) fn size_hint(&self) -> usize {
        let entries = self.0.entries.iter().map(|entry| entry.data.len() + ENTRY_BYTES);
        64 + self.0.context.len() + entries.sum::<usize>()
    }

    /// Appends the bytes. A kind that does not travel writes nothing.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let m = &self.0;
        let Some((code, _)) = KINDS.iter().find(|(_, kind)| *kind == m.msg_type) else { return };
        out.put_u8(*code);
        out.put_u64_le(m.term);
        match m.msg_type {
            MessageType::MsgAppend => {
                put_positions(out, [m.index, m.log_term, m.commit]);
                put_entries(out, &m.entries);
            }
            MessageType::MsgAppendResponse => {
                put_positions(out, [m.index, m.log_term, m.commit, m.reject_hint]);
                out.put_u8(u8::from(m.reject));
            }
            MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => {
                out.put_u64_le(m.commit);
                put_bytes(out, &m.context);
            }
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                put_positions(out, [m.index, m.log_term, m.commit, m.commit_term]);
                out.put_u8(u8::from(m.context == CAMPAIGN_TRANSFER));
            }
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
                put_positions(out, [m.commit, m.commit_term]);
                out.put_u8(u8::from(m.reject));
            }
            MessageType::MsgSnapshot => put_mark(out, &log::mark_of(m.get_snapshot())),
            _ => {}
        }
    }

    /// Reads the bytes of [`Message::encode`]; sender and receiver are set when it is stepped.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let code = reader.u8("message kind")?;
        let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == code) else {
            return Err(Malformed { what: "message kind" });
        };
        let term = position(&mut reader, "term")?;
        let mut m = eraftpb::Message { msg_type: *kind, term, ..Default::default() };
        match kind {
            MessageType::MsgAppend => {
                (m.index, m.log_term) = log_position(&mut reader)?;
                m.commit = position(&mut reader, "commit")?;
                m.set_entries(entries(&mut reader, m.index)?.into());
            }
            MessageType::MsgAppendResponse => {
                (m.index, m.log_term) = log_position(&mut reader)?;
                m.commit = position(&mut reader, "commit")?;
                m.reject_hint = position(&mut reader, "reject hint")?;
                m.reject = flag(&mut reader, "rejected")?;
            }
            MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => {
                m.commit = position(&mut reader, "commit")?;
                m.context = reader.bytes("context")?;
                if !matches!(m.context.len(), 0 | CONTEXT_BYTES) {
                    return Err(Malformed { what: "context" });
                }
            }
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                (m.index, m.log_term) = log_position(&mut reader)?;
                (m.commit, m.commit_term) = log_position(&mut reader)?;
                if flag(&mut reader, "forced")? {
                    m.context = Bytes::from_static(CAMPAIGN_TRANSFER);
                }
            }
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
                (m.commit, m.commit_term) = log_position(&mut reader)?;
                m.reject = flag(&mut reader, "rejected")?;
            }
            MessageType::MsgSnapshot => m.set_snapshot(log::snapshot_of(&mark(&mut reader)?)),
            _ => {}
        }
        reader.end("message")?;
        Ok(Self(m))
    }
}

fn put_positions<const N: usize>(out: &mut BytesMut, positions: [u64; N]) {
    for position in positions {
        out.put_u64_le(position);
    }
}

fn put_entries(out: &mut BytesMut, entries: &[eraftpb::Entry]) {
    out.put_u32_le(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    for entry in entries {
        out.put_u64_le(entry.term);
        out.put_u8(u8::from(entry.entry_type != EntryType::EntryNormal));
        put_bytes(out, &entry.data);
    }
}

fn entries(reader: &mut Reader, before: u64) -> Result<Vec<eraftpb::Entry>, Malformed> {
    let count = reader.count(ENTRY_BYTES, "entries")?;
    let mut entries = Vec::with_capacity(count);
    for index in (before.saturating_add(1)..).take(count) {
        entries.push(eraftpb::Entry {
            index,
            term: position(reader, "entry term")?,
            entry_type: if flag(reader, "entry kind")? {
                EntryType::EntryConfChangeV2
            } else {
                EntryType::EntryNormal
            },
            data: reader.bytes("entry data")?,
            ..Default::default()
        });
    }
    Ok(entries)
}

fn put_mark(out: &mut BytesMut, mark: &SnapshotMark) {
    put_positions(out, [mark.index.get(), mark.term.get()]);
    let conf = &mark.conf;
    for ids in [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next] {
        out.put_u32_le(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        for id in ids {
            out.put_u64_le(id.get());
        }
    }
    out.put_u8(u8::from(conf.auto_leave));
}

fn mark(reader: &mut Reader) -> Result<SnapshotMark, Malformed> {
    let (index, term) = log_position(reader)?;
    let mut ids = |what| {
        let count = reader.count(8, what)?;
        if count > conf::MAX_MEMBERS {
            return Err(Malformed { what });
        }
        let ids: Result<Vec<_>, _> =
            (0..count).map(|_| reader.u64(what).map(NodeId::new)).collect();
        // In order and without repeats: there is one way to write a configuration.
        ids.and_then(|ids| {
            let sorted = ids.is_sorted_by(|a, b| a < b);
            if sorted { Ok(ids) } else { Err(Malformed { what }) }
        })
    };
    let conf = ConfState {
        voters: ids("voters")?,
        learners: ids("learners")?,
        voters_outgoing: ids("outgoing voters")?,
        learners_next: ids("next learners")?,
        auto_leave: flag(reader, "auto leave")?,
    };
    Ok(SnapshotMark { index: Index::new(index), term: Term::new(term), conf })
}

fn position(reader: &mut Reader, what: &'static str) -> Result<u64, Malformed> {
    match reader.u64(what)? {
        position if position < MAX_POSITION => Ok(position),
        _ => Err(Malformed { what }),
    }
}

/// An index and the term of the entry there.
fn log_position(reader: &mut Reader) -> Result<(u64, u64), Malformed> {
    Ok((position(reader, "index")?, position(reader, "log term")?))
}

fn flag(reader: &mut Reader, what: &'static str) -> Result<bool, Malformed> {
    match reader.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed { what }),
    }
}
