//! The 512-byte sector: the unit that a disk writes whole or not at all.
//!
//! ```text
//!   0                                                              504    508    512
//!   ├── 504 bytes of content, zeros where there is none ────────────┼─ tag ┼─ crc ┤
//! ```
//!
//! The checksum covers content and tag, and stands on its own: a sector can be judged without
//! knowing what came before it. The tag says which life of a file the sector was written in, as
//! files are recycled. So a reader that does not find what it expects knows *why*:
//!
//! | the sector is | because | which means |
//! |---|---|---|
//! | blank (zeros) or stale (whole, another tag) | the write never reached the disk | torn |
//! | rotten (its checksum is wrong) | what was on the disk has changed | damage |
//!
//! A checksum per record alone cannot tell the two apart, and a log that takes one for the other
//! either forgets what was acknowledged or refuses to start after a plain power failure.

use crate::codec::checksum;

pub(crate) const SECTOR_BYTES: usize = 512;
/// What a sector holds besides its stamp. A multiple of 8, so records stay aligned.
pub(crate) const CONTENT_BYTES: usize = SECTOR_BYTES - STAMP_BYTES;
const STAMP_BYTES: usize = 8;

pub(crate) type Sector = [u8; SECTOR_BYTES];

/// What a reader finds in place of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Whole, and of this life of the file.
    Fresh,
    /// Whole, and left over from an earlier life of the file.
    Stale,
    /// Never written.
    Blank,
    /// Not what anybody wrote.
    Rotten,
}

/// One sector around `content`, of which what does not fit is left out: callers stay below.
pub(crate) fn seal(content: &[u8], tag: u32) -> Sector {
    let mut writer = SectorWriter::new(0, tag);
    writer.put(content.get(..CONTENT_BYTES).unwrap_or(content));
    let (_, bytes) = writer.finish();
    bytes.first_chunk().copied().unwrap_or([0; SECTOR_BYTES])
}

/// What the sector is. A blank one is never fresh: the checksum of zeros is not zero.
pub(crate) fn condition(sector: &Sector, tag: u32) -> Condition {
    let Some((covered, stored)) = sector.split_last_chunk::<4>() else {
        return Condition::Rotten;
    };
    if checksum(0, covered) != u32::from_le_bytes(*stored) {
        let blank = sector.iter().all(|&byte| byte == 0);
        return if blank { Condition::Blank } else { Condition::Rotten };
    }
    let own = covered.last_chunk::<4>().is_some_and(|own| u32::from_le_bytes(*own) == tag);
    if own { Condition::Fresh } else { Condition::Stale }
}

/// Where the sector of this byte begins.
pub(crate) fn start_of(offset: u64) -> u64 {
    offset - offset % SECTOR_BYTES as u64
}

/// The content of a sector.
pub(crate) fn content(sector: &Sector) -> &[u8] {
    sector.get(..CONTENT_BYTES).unwrap_or_default()
}

/// Lays a stream of bytes out in sectors, with one copy and in one buffer that it keeps.
///
/// ```text
///   base                                  position
///    ├─ sector ─┼─ sector ─┼─ begun sector ──┤
/// ```
#[derive(Debug)]
pub(crate) struct SectorWriter {
    /// Where in the file the buffer belongs; at a sector's start.
    base: u64,
    tag: u32,
    /// Whole stamped sectors, then the content of the begun one: never exactly a full content,
    /// as it is stamped at once.
    buf: Vec<u8>,
    /// How much of `buf` was content before `finish` filled the begun sector up.
    filled: usize,
}

/// A buffer that one large batch grew beyond this is given back afterwards.
const KEEP_BYTES: usize = 4 << 20;

impl SectorWriter {
    pub(crate) fn new(base: u64, tag: u32) -> Self {
        Self { base, tag, buf: Vec::new(), filled: 0 }
    }

    /// The offset in the file of the next byte put.
    pub(crate) fn position(&self) -> u64 {
        self.base.saturating_add(self.buf.len() as u64)
    }

    pub(crate) fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = CONTENT_BYTES.saturating_sub(self.buf.len() % SECTOR_BYTES);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buf.extend_from_slice(now);
            bytes = later;
            if self.buf.len() % SECTOR_BYTES == CONTENT_BYTES {
                self.stamp();
            }
        }
    }

    /// Fills the begun sector up with zeros: what to write, and where. Call `settle` after.
    pub(crate) fn finish(&mut self) -> (u64, &[u8]) {
        self.filled = self.buf.len();
        let begun = self.buf.len() % SECTOR_BYTES;
        if begun > 0 {
            let full = self.buf.len().saturating_add(CONTENT_BYTES.saturating_sub(begun));
            self.buf.resize(full, 0);
            self.stamp();
        }
        (self.base, &self.buf)
    }

    /// Forgets the whole sectors, keeps the begun one: it is written again with the next bytes.
    pub(crate) fn settle(&mut self) {
        let whole = self.filled - self.filled % SECTOR_BYTES;
        self.buf.truncate(self.filled);
        self.buf.drain(..whole);
        self.base = self.base.saturating_add(whole as u64);
        if self.buf.capacity() > KEEP_BYTES {
            self.buf.shrink_to(KEEP_BYTES);
        }
    }

    fn stamp(&mut self) {
        let start = self.buf.len().saturating_sub(CONTENT_BYTES);
        self.buf.extend_from_slice(&self.tag.to_le_bytes());
        let crc = checksum(0, self.buf.get(start..).unwrap_or_default());
        self.buf.extend_from_slice(&crc.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tells_torn_from_damaged() {
        let sector = seal(b"content", 7);
        assert_eq!(condition(&sector, 7), Condition::Fresh);
        assert_eq!(condition(&sector, 8), Condition::Stale);
        assert_eq!(condition(&[0; SECTOR_BYTES], 0), Condition::Blank);
        for bit in 0..SECTOR_BYTES * 8 {
            let mut damaged = sector;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(condition(&damaged, 7), Condition::Rotten, "bit {bit}");
        }
    }

    proptest! {
        /// However the stream is cut into puts and batches, the file holds the same bytes.
        #[test]
        fn lays_out_the_stream(
            pieces in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..1500), any::<bool>()), 1..8,
            ),
        ) {
            let mut writer = SectorWriter::new(4096, 9);
            let (mut file, mut stream) = (vec![0; 4096], Vec::new());
            for (piece, sync) in &pieces {
                writer.put(piece);
                stream.extend_from_slice(piece);
                let logical = stream.len();
                let at = 4096 + logical / CONTENT_BYTES * SECTOR_BYTES + logical % CONTENT_BYTES;
                prop_assert_eq!(writer.position(), at as u64);
                if *sync {
                    let (offset, bytes) = writer.finish();
                    file.truncate(usize::try_from(offset).unwrap());
                    file.extend_from_slice(bytes);
                    writer.settle();
                }
            }
            let (offset, bytes) = writer.finish();
            file.truncate(usize::try_from(offset).unwrap());
            file.extend_from_slice(bytes);
            let mut read = Vec::new();
            for sector in file[4096..].chunks(SECTOR_BYTES) {
                let sector = sector.first_chunk().unwrap();
                prop_assert_eq!(condition(sector, 9), Condition::Fresh);
                read.extend_from_slice(content(sector));
            }
            read.truncate(stream.len());
            prop_assert_eq!(read, stream);
        }
    }
}
