//! What an entry asks for, and its bytes.
//!
//! ```text
//!   0         1       4      12            20     28         36          44
//!   | version | 0 0 0 | node | incarnation | boot | sequence | watermark | command (protobuf) |
//!   '------------------------- frame, little-endian ---------------------'
//! ```
//!
//! The frame stands in front, at fixed places, so that a command is encoded once on the caller's
//! thread and stamped with its origin when its turn comes. The version covers the command too:
//! protobuf would skip a field that it does not know, and a member that skips what another one
//! obeys has left the cluster without noticing. So nothing is skipped here: a command whose bytes
//! are not exactly what this version writes is refused, and a new field is a new version.

mod wire;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;

use self::wire::{WireDelete, WirePut, WireTxn};
use super::lease::MAX_TTL_MS;
use super::outcome::Outcome;
use super::txn::{Delete, MAX_DEPTH, Put, Txn};
use crate::codec::{Malformed, Reader};
use crate::ids::{Incarnation, Index, LeaseId, NodeId, Revision};

/// The version this code writes. Every released one stays readable: what 2 and 3 added are fields
/// and kinds that a command of the version before does not have.
const VERSION: u8 = 3;

/// The length of what stands in front of the encoded command.
pub(crate) const FRAME_BYTES: usize = 44;

/// A change of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Put(Put),
    Delete(Delete),
    Txn(Txn),
    /// Forgets what was overwritten or deleted at or before a revision (`CMP-1`).
    Compact {
        revision: Revision,
    },
    /// Binds a member to the data directory that speaks for it, once and for all.
    Announce {
        /// Never 0.
        node: NodeId,
        incarnation: Incarnation,
    },
    /// Makes a lease (`LSE-2`).
    Grant {
        /// 0: one is chosen.
        lease: LeaseId,
        /// In milliseconds, from 1 to [`MAX_TTL_MS`].
        ttl: u64,
    },
    /// Ends a lease, and its keys with it (`LSE-6`).
    Revoke {
        lease: LeaseId,
        /// Only the one that was granted at this index, since its id may have been granted again;
        /// 0: whichever it is.
        grant: Index,
    },
    /// Gives leases their whole time again (`LSE-12`): at most [`MAX_RENEWALS`].
    Renew {
        leases: Vec<LeaseId>,
    },
    /// So many milliseconds have passed on the lease clock (design 4.5). Only a leader proposes
    /// one, straight to its own log.
    Tick {
        advance: u64,
    },
}

/// Leases that one command renews at most.
pub(crate) const MAX_RENEWALS: usize = 8192;

/// Who proposed an entry, and which of that node's proposals it is.
///
/// `(node, incarnation, boot, sequence)` names one proposal for ever: however often it is sent,
/// it is applied once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) node: NodeId,
    /// The data directory that `boot` counts in.
    pub(crate) incarnation: Incarnation,
    /// How often that directory was opened. Sequences restart with it.
    pub(crate) boot: u64,
    pub(crate) sequence: u64,
    /// The origin waits for nothing below it any more. Never above `sequence`.
    pub(crate) watermark: u64,
}

impl Command {
    /// What is told of it, where a session has kept this of its outcome. Nothing if it did more
    /// than is kept: it was to give back records, or what it read, or how many keys it deleted in a
    /// transaction.
    pub(crate) fn told(&self, kept: Outcome) -> Option<Outcome> {
        match (self, kept) {
            (_, kept @ (Outcome::Refused(_) | Outcome::Superseded)) => Some(kept),
            (Self::Txn(txn), Outcome::Txn(kept)) => txn.told(&kept).map(Outcome::Txn),
            (Self::Put(put), _) if put.prev => None,
            (Self::Delete(delete), _) if delete.prev => None,
            (Self::Txn(_) | Self::Renew { .. }, _) => None,
            (_, kept) => Some(kept),
        }
    }

    /// Encodes the command behind room for the frame: [`stamp`] fills it.
    pub(crate) fn encode(&self) -> BytesMut {
        let wire = Wire { command: Some(self.to_wire()) };
        let len = FRAME_BYTES.saturating_add(wire.encoded_len());
        let mut payload = BytesMut::with_capacity(len);
        payload.put_bytes(0, FRAME_BYTES);
        wire.encode_raw(&mut payload);
        payload
    }

    fn to_wire(&self) -> WireCommand {
        match self {
            Self::Put(put) => WireCommand::Put(put.into()),
            Self::Delete(delete) => WireCommand::Delete(delete.into()),
            Self::Txn(txn) => WireCommand::Txn(txn.into()),
            Self::Compact { revision } => {
                WireCommand::Compact(WireCompact { revision: revision.get() })
            }
            Self::Announce { node, incarnation } => WireCommand::Announce(WireAnnounce {
                node: node.get(),
                incarnation: incarnation.get(),
            }),
            Self::Grant { lease, ttl } => {
                WireCommand::Grant(WireGrant { lease: lease.get(), ttl: *ttl })
            }
            Self::Revoke { lease, grant } => {
                WireCommand::Revoke(WireRevoke { lease: lease.get(), grant: grant.get() })
            }
            Self::Renew { leases } => {
                let leases = leases.iter().map(|lease| lease.get()).collect();
                WireCommand::Renew(WireRenew { leases })
            }
            Self::Tick { advance } => WireCommand::Tick(WireTick { advance: *advance }),
        }
    }

    /// The checks that a sender makes too: bytes from outside are never trusted.
    fn from_wire(wire: WireCommand) -> Result<Self, Malformed> {
        match wire {
            WireCommand::Put(put) => put.read().map(Self::Put),
            WireCommand::Delete(delete) => delete.read().map(Self::Delete),
            WireCommand::Txn(txn) => txn.read(MAX_DEPTH).map(Self::Txn),
            WireCommand::Compact(compact) => {
                Ok(Self::Compact { revision: Revision::new(compact.revision) })
            }
            WireCommand::Announce(announce) => {
                if announce.node == 0 {
                    return Err(Malformed { what: "node of an announcement" });
                }
                let incarnation = Incarnation::new(announce.incarnation);
                Ok(Self::Announce { node: NodeId::new(announce.node), incarnation })
            }
            WireCommand::Grant(WireGrant { lease, ttl }) => {
                if !(1..=MAX_TTL_MS).contains(&ttl) {
                    return Err(Malformed { what: "TTL of a lease" });
                }
                Ok(Self::Grant { lease: LeaseId::new(lease), ttl })
            }
            WireCommand::Revoke(WireRevoke { lease, grant }) => {
                Ok(Self::Revoke { lease: LeaseId::new(lease), grant: Index::new(grant) })
            }
            WireCommand::Renew(renew) => {
                if renew.leases.len() > MAX_RENEWALS {
                    return Err(Malformed { what: "number of leases to renew" });
                }
                let leases = renew.leases.into_iter().map(LeaseId::new).collect();
                Ok(Self::Renew { leases })
            }
            WireCommand::Tick(tick) => Ok(Self::Tick { advance: tick.advance }),
        }
    }

    /// Does it begin the time of a lease? Then its leader puts a tick in front.
    pub(crate) fn begins_leases(&self) -> bool {
        matches!(self, Self::Grant { .. } | Self::Renew { .. })
    }

    /// As [`begins_leases`](Self::begins_leases), of what this member has [encoded](Self::encode)
    /// itself: without decoding it.
    pub(crate) fn begins_leases_encoded(payload: &[u8]) -> bool {
        let kind = payload.get(FRAME_BYTES..).unwrap_or_default();
        [GRANT_TAG, RENEW_TAG].iter().any(|tag| kind.first() == Some(&(tag << 3 | 2)))
    }
}

/// Fills the room that [`Command::encode`] left in front.
pub(crate) fn stamp(payload: &mut BytesMut, origin: &Origin) {
    let Some(mut frame) = payload.get_mut(..FRAME_BYTES) else { return };
    frame.put_u8(VERSION);
    frame.put_bytes(0, 3);
    frame.put_u64_le(origin.node.get());
    frame.put_u64_le(origin.incarnation.get());
    frame.put_u64_le(origin.boot);
    frame.put_u64_le(origin.sequence);
    frame.put_u64_le(origin.watermark);
}

/// Reads a stamped payload. Keys and values are slices of it, not copies.
pub(crate) fn decode(payload: Bytes) -> Result<(Origin, Command), Malformed> {
    let mut reader = Reader::new(payload);
    let origin = read_frame(&mut reader)?;
    let body = reader.rest();
    let len = body.len();
    wire::check_items(&body)?;
    let wire = Wire::decode(body).map_err(|_| Malformed { what: "encoding of a command" })?;
    // Whatever protobuf skipped or merged is missing from the length (see the module's comment).
    if wire.encoded_len() != len {
        return Err(Malformed { what: "field of a command" });
    }
    let command = wire.command.ok_or(Malformed { what: "kind of a command" })?;
    Ok((origin, Command::from_wire(command)?))
}

fn read_frame(reader: &mut Reader) -> Result<Origin, Malformed> {
    if !(1..=VERSION).contains(&reader.u8("version of a command")?) {
        return Err(Malformed { what: "version of a command" });
    }
    if reader.take(3, "frame of a command")?.iter().any(|&byte| byte != 0) {
        return Err(Malformed { what: "reserved bytes of a command" });
    }
    let origin = Origin {
        node: NodeId::new(reader.u64("origin: node")?),
        incarnation: Incarnation::new(reader.u64("origin: incarnation")?),
        boot: reader.u64("origin: boot")?,
        sequence: reader.u64("origin: sequence")?,
        watermark: reader.u64("origin: watermark")?,
    };
    if origin.node.get() == 0 || origin.watermark > origin.sequence {
        return Err(Malformed { what: "origin of a command" });
    }
    Ok(origin)
}

/// The protobuf message. Field numbers are for ever.
#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(oneof = "WireCommand", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    command: Option<WireCommand>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireCommand {
    #[prost(message, tag = "1")]
    Put(WirePut),
    #[prost(message, tag = "2")]
    Delete(WireDelete),
    #[prost(message, tag = "3")]
    Compact(WireCompact),
    #[prost(message, tag = "4")]
    Announce(WireAnnounce),
    #[prost(message, tag = "5")]
    Txn(WireTxn),
    #[prost(message, tag = "6")]
    Grant(WireGrant),
    #[prost(message, tag = "7")]
    Revoke(WireRevoke),
    #[prost(message, tag = "8")]
    Renew(WireRenew),
    #[prost(message, tag = "9")]
    Tick(WireTick),
}

const GRANT_TAG: u8 = 6;
const RENEW_TAG: u8 = 8;

/// Fixed width: ids may use all their bits.
#[derive(Clone, PartialEq, prost::Message)]
struct WireGrant {
    #[prost(fixed64, tag = "1")]
    lease: u64,
    #[prost(uint64, tag = "2")]
    ttl: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireRevoke {
    #[prost(fixed64, tag = "1")]
    lease: u64,
    #[prost(uint64, tag = "2")]
    grant: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireRenew {
    #[prost(fixed64, repeated, tag = "1")]
    leases: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireTick {
    #[prost(uint64, tag = "1")]
    advance: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireCompact {
    #[prost(uint64, tag = "1")]
    revision: u64,
}

/// Fixed width: ids and incarnations use all their bits.
#[derive(Clone, PartialEq, prost::Message)]
struct WireAnnounce {
    #[prost(fixed64, tag = "1")]
    node: u64,
    #[prost(fixed64, tag = "2")]
    incarnation: u64,
}

#[cfg(test)]
pub(super) mod tests;
