//! Bytes in and out: little-endian integers, length-prefixed strings, checksums.
//!
//! Everything of ours that is stored or sent goes through here, but for commands (`prost`). A
//! reader never panics and never allocates more than it was given bytes for: what does not fit
//! is an error that says what was being read.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::entry::ConfState;
use crate::ids::NodeId;

/// What could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is cut short or out of bounds")]
pub(crate) struct Malformed {
    pub(crate) what: &'static str,
}

/// Takes values off the front of a buffer. Byte strings are slices of it, not copies.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.rest.try_get_u8().map_err(|_| Malformed { what })
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.rest.try_get_u32_le().map_err(|_| Malformed { what })
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.rest.try_get_u64_le().map_err(|_| Malformed { what })
    }

    /// Exactly `len` bytes.
    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<Bytes, Malformed> {
        if len > self.rest.len() {
            return Err(Malformed { what });
        }
        Ok(self.rest.split_to(len))
    }

    /// A byte string behind its 32-bit length.
    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<Bytes, Malformed> {
        let len = self.u32(what)?;
        self.take(usize::try_from(len).map_err(|_| Malformed { what })?, what)
    }

    /// A count of things that take at least `each` bytes: never more than could follow, so it is
    /// safe to allocate for.
    pub(crate) fn count(&mut self, each: usize, what: &'static str) -> Result<usize, Malformed> {
        let count = usize::try_from(self.u32(what)?).map_err(|_| Malformed { what })?;
        if count > self.rest.len() / each.max(1) {
            return Err(Malformed { what });
        }
        Ok(count)
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> Bytes {
        self.rest
    }

    /// Ends the reading: nothing may be left.
    pub(crate) fn end(self, what: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed { what }) }
    }
}

/// Writes a byte string behind its 32-bit length. Callers bound the length well below 4 GiB.
pub(crate) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

/// CRC-32 of `bytes`, continuing from `seed` (0 to begin): chaining records makes a stale record
/// behind a torn one fail its own check.
pub(crate) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Writes a configuration: four counted lists and a flag.
pub(crate) fn put_conf(out: &mut BytesMut, conf: &ConfState) {
    for list in [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next] {
        out.put_u32_le(u32::try_from(list.len()).unwrap_or(u32::MAX));
        for id in list {
            out.put_u64_le(id.get());
        }
    }
    out.put_u8(u8::from(conf.auto_leave));
}

/// Reads a configuration back. Whether it makes sense is for consensus to check.
pub(crate) fn read_conf(reader: &mut Reader) -> Result<ConfState, Malformed> {
    let mut list = || -> Result<Vec<NodeId>, Malformed> {
        let count = reader.count(8, "member list")?;
        (0..count).map(|_| Ok(NodeId::new(reader.u64("member id")?))).collect()
    };
    let (voters, learners, voters_outgoing, learners_next) = (list()?, list()?, list()?, list()?);
    let auto_leave = match reader.u8("auto leave")? {
        0 => false,
        1 => true,
        _ => return Err(Malformed { what: "auto leave" }),
    };
    Ok(ConfState { voters, learners, voters_outgoing, learners_next, auto_leave })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let mut out = BytesMut::new();
        out.put_u32_le(7);
        put_bytes(&mut out, b"key");
        out.put_u64_le(9);
        let mut reader = Reader::new(out.freeze());
        assert_eq!(reader.u32("n"), Ok(7));
        assert_eq!(reader.bytes("key").as_deref(), Ok(b"key".as_slice()));
        assert_eq!(reader.u64("m"), Ok(9));
        assert_eq!(reader.end("end"), Ok(()));
    }

    #[test]
    fn a_length_beyond_the_end_is_an_error_and_allocates_nothing() {
        let mut out = BytesMut::new();
        out.put_u32_le(u32::MAX);
        out.put_u8(1);
        let mut reader = Reader::new(out.clone().freeze());
        assert_eq!(reader.bytes("value"), Err(Malformed { what: "value" }));
        let mut reader = Reader::new(out.freeze());
        assert_eq!(reader.count(4, "entries"), Err(Malformed { what: "entries" }));
    }
}
