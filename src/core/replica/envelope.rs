//! What travels between members: a frame that says who speaks to whom, and a body.
//!
//! ```text
//! 0        1       2          4          8          16       24     32
//! version  kind    reserved   checksum   cluster    from     to     incarnation of the sender
//!                                        40                              48
//!                                        incarnation of the receiver     body ...
//! ```
//!
//! The checksum covers everything behind it. A frame that does not fit this node is refused with
//! the reason before anything looks at the body (`MEM-4`, design 4.2); a body is decoded to a
//! valid value or refused.

#[cfg(any(test, feature = "sim"))]
mod show;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::consensus::Message;
use super::io::SnapshotFile;
use crate::codec::{self, Malformed, Reader, checksum, put_bytes};
use crate::entry::{ConfState, SnapshotMark};
use crate::error::{Error, Kind};
use crate::ids::{ClusterId, Incarnation, Index, NodeId, Term};
use crate::transport::Lane;

/// The version of the frame and of every body in it.
const VERSION: u8 = 1;
/// Bytes in front of a body.
pub(crate) const HEADER_BYTES: usize = 48;
/// Where the bytes begin that the checksum covers.
const COVERED: usize = 8;

const KIND_RAFT: u8 = 1;
const KIND_FORWARD: u8 = 2;
const KIND_READ: u8 = 3;
const KIND_READ_ANSWER: u8 = 4;
const KIND_OFFER: u8 = 5;
const KIND_CHUNK: u8 = 6;
const KIND_CHUNK_ACK: u8 = 7;

/// Whose envelopes this node takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
}

/// An envelope whose frame has been checked; the body has not been looked at.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) from: NodeId,
    pub(crate) from_incarnation: Incarnation,
    /// Whom the sender believes to speak to; `Incarnation(0)` when it does not know yet.
    pub(crate) to_incarnation: Incarnation,
    kind: u8,
    body: Bytes,
}

/// What members say to each other.
#[derive(Debug)]
pub(crate) enum Body {
    /// A message of the consensus protocol.
    Raft(Message),
    /// Stamped writes for the leader to propose.
    Forward(Vec<Bytes>),
    /// "From which index on may I read?" Asked of the leader.
    Read { request: u64 },
    /// The answer, after a confirmed round.
    ReadAnswer { request: u64, index: Index },
    /// "Here is a snapshot for you", with the message that installs it.
    Offer { transfer: u64, file: SnapshotFile, message: Message },
    /// A piece of an accepted snapshot.
    Chunk { transfer: u64, offset: u64, bytes: Bytes },
    /// How much of it the receiver holds, and what has become of it.
    ChunkAck { transfer: u64, have: u64, stage: ChunkStage },
}

/// How far a receiver is with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkStage {
    /// More is wanted.
    Receiving,
    /// It is complete and the installing message has been stepped.
    Done,
    /// It will not be installed.
    Refused,
}

impl Envelope {
    /// Checks a frame. `from` is whom the transport took it from.
    pub(crate) fn open(to: &Address, from: NodeId, mut bytes: Bytes) -> Result<Self, Error> {
        let Some((header, covered)) = bytes.split_at_checked(COVERED) else {
            return Err(refused(format!("it has {} bytes, fewer than a frame", bytes.len())));
        };
        let mut header = header;
        let version = header.get_u8();
        if version > VERSION {
            let text = format!("envelope of version {version}: this one reads up to {VERSION}");
            return Err(Error::new(Kind::NewerFormat, text));
        }
        let kind = header.get_u8();
        let reserved = header.get_u16_le();
        let sum = header.get_u32_le();
        if version != VERSION || reserved != 0 || sum != checksum(u32::from(kind), covered) {
            return Err(Error::corrupt(format!(
                "an envelope from member {from} does not have the bytes that were sent"
            )));
        }
        bytes.advance(COVERED);
        let mut reader = Reader::new(bytes);
        let cut = |_| refused("it is cut short".to_owned());
        let cluster = ClusterId::new(reader.u64("cluster").map_err(cut)?);
        let sender = NodeId::new(reader.u64("sender").map_err(cut)?);
        let receiver = NodeId::new(reader.u64("receiver").map_err(cut)?);
        let from_incarnation = Incarnation::new(reader.u64("incarnation").map_err(cut)?);
        let to_incarnation = Incarnation::new(reader.u64("incarnation").map_err(cut)?);
        if cluster != to.cluster {
            let text = format!("cluster {cluster} is not {}", to.cluster);
            return Err(Error::new(Kind::Foreign, format!("envelope refused: {text}")));
        }
        if receiver != to.node || sender != from || sender == to.node {
            return Err(refused(format!(
                "it is from {sender} to {receiver}, and came from {from} to {}",
                to.node
            )));
        }
        Ok(Self { from, from_incarnation, to_incarnation, kind, body: reader.rest() })
    }

    /// Decodes the body.
    pub(crate) fn body(&self) -> Result<Body, Malformed> {
        let mut reader = Reader::new(self.body.clone());
        let body = match self.kind {
            KIND_RAFT => return Ok(Body::Raft(Message::decode(reader.rest())?)),
            KIND_FORWARD => {
                let count = reader.count(4, "forwarded writes")?;
                let mut writes = Vec::with_capacity(count);
                for _ in 0..count {
                    writes.push(reader.bytes("forwarded write")?);
                }
                Body::Forward(writes)
            }
            KIND_READ => Body::Read { request: reader.u64("read request")? },
            KIND_READ_ANSWER => Body::ReadAnswer {
                request: reader.u64("read request")?,
                index: Index::new(reader.u64("read index")?),
            },
            KIND_OFFER => Body::Offer {
                transfer: reader.u64("transfer")?,
                file: decode_file(&mut reader)?,
                message: Message::decode(reader.bytes("snapshot message")?)?,
            },
            KIND_CHUNK => Body::Chunk {
                transfer: reader.u64("transfer")?,
                offset: reader.u64("chunk offset")?,
                bytes: reader.bytes("chunk")?,
            },
            KIND_CHUNK_ACK => Body::ChunkAck {
                transfer: reader.u64("transfer")?,
                have: reader.u64("bytes held")?,
                stage: match reader.u8("chunk stage")? {
                    0 => ChunkStage::Receiving,
                    1 => ChunkStage::Done,
                    2 => ChunkStage::Refused,
                    _ => return Err(Malformed { what: "chunk stage" }),
                },
            },
            _ => return Err(Malformed { what: "kind of envelope" }),
        };
        reader.end("envelope")?;
        Ok(body)
    }
}

/// What a sealed envelope says, if that is something that is rarely said: for the marks of a
/// simulation, which sees every envelope.
#[cfg(feature = "sim")]
pub(crate) fn rarity(sealed: &Bytes) -> Option<Body> {
    let kind = *sealed.get(1)?;
    let rare = match kind {
        KIND_RAFT => Message::is_rare(*sealed.get(HEADER_BYTES)?),
        KIND_CHUNK_ACK => true,
        _ => false,
    };
    let (from, to_incarnation) = (NodeId::default(), Incarnation::default());
    let envelope = || Envelope {
        from,
        from_incarnation: to_incarnation,
        to_incarnation,
        kind,
        body: sealed.slice(HEADER_BYTES..),
    };
    if rare { envelope().body().ok() } else { None }
}

fn refused(why: impl Display) -> Error {
    Error::invalid(format!("envelope refused: {why}"))
}

impl Body {
    /// Which lane it takes.
    pub(crate) fn lane(&self) -> Lane {
        match self {
            Self::Raft(message) => message.lane(),
            Self::Read { .. } | Self::ReadAnswer { .. } => Lane::Urgent,
            Self::Forward(_) | Self::Offer { .. } | Self::Chunk { .. } | Self::ChunkAck { .. } => {
                Lane::Bulk
            }
        }
    }

    /// Frames it for `to`.
    pub(crate) fn seal(&self, from: &Address, to: NodeId, to_incarnation: Incarnation) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + self.size_hint());
        out.put_u8(VERSION);
        out.put_u8(self.kind());
        out.put_bytes(0, 6);
        out.put_u64_le(from.cluster.get());
        out.put_u64_le(from.node.get());
        out.put_u64_le(to.get());
        out.put_u64_le(from.incarnation.get());
        out.put_u64_le(to_incarnation.get());
        self.encode(&mut out);
        let sum = checksum(u32::from(self.kind()), out.get(COVERED..).unwrap_or_default());
        if let Some(place) = out.get_mut(COVERED - 4..COVERED) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        out.freeze()
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Raft(_) => KIND_RAFT,
            Self::Forward(_) => KIND_FORWARD,
            Self::Read { .. } => KIND_READ,
            Self::ReadAnswer { .. } => KIND_READ_ANSWER,
            Self::Offer { .. } => KIND_OFFER,
            Self::Chunk { .. } => KIND_CHUNK,
            Self::ChunkAck { .. } => KIND_CHUNK_ACK,
        }
    }

    /// About how many bytes it takes: spares the buffer most of its growing.
    fn size_hint(&self) -> usize {
        match self {
            Self::Raft(message) => message.size_hint(),
            Self::Forward(writes) => 4 + writes.iter().map(|write| write.len() + 4).sum::<usize>(),
            Self::Chunk { bytes, .. } => 20 + bytes.len(),
            _ => 128,
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Raft(message) => message.encode(out),
            Self::Forward(writes) => {
                out.put_u32_le(u32::try_from(writes.len()).unwrap_or(u32::MAX));
                for write in writes {
                    put_bytes(out, write);
                }
            }
            Self::Read { request } => out.put_u64_le(*request),
            Self::ReadAnswer { request, index } => {
                out.put_u64_le(*request);
                out.put_u64_le(index.get());
            }
            Self::Offer { transfer, file, message } => {
                out.put_u64_le(*transfer);
                encode_file(file, out);
                let mut bytes = BytesMut::with_capacity(message.size_hint());
                message.encode(&mut bytes);
                put_bytes(out, &bytes);
            }
            Self::Chunk { transfer, offset, bytes } => {
                out.put_u64_le(*transfer);
                out.put_u64_le(*offset);
                put_bytes(out, bytes);
            }
            Self::ChunkAck { transfer, have, stage } => {
                out.put_u64_le(*transfer);
                out.put_u64_le(*have);
                out.put_u8(match stage {
                    ChunkStage::Receiving => 0,
                    ChunkStage::Done => 1,
                    ChunkStage::Refused => 2,
                });
            }
        }
    }
}

fn encode_file(file: &SnapshotFile, out: &mut BytesMut) {
    out.put_u64_le(file.mark.index.get());
    out.put_u64_le(file.mark.term.get());
    codec::put_conf(out, &file.mark.conf);
    out.put_u64_le(file.file_bytes);
    out.put_u64_le(file.hash);
}

fn decode_file(reader: &mut Reader) -> Result<SnapshotFile, Malformed> {
    let index = Index::new(reader.u64("snapshot index")?);
    let term = Term::new(reader.u64("snapshot term")?);
    let conf: ConfState = codec::read_conf(reader)?;
    let mark = SnapshotMark { index, term, conf };
    let file_bytes = reader.u64("snapshot size")?;
    Ok(SnapshotFile { mark, file_bytes, hash: reader.u64("snapshot hash")? })
}
