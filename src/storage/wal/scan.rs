//! Reading one segment to its end, and judging that end.
//!
//! ```text
//!                       vouched               end          of the newest marker
//!   ├ records … ────────────┼─────────────────┼──────────────── … ┤
//!     must be there           the last batch     never covered:
//!                             acknowledged       whatever is whole counts,
//!                             or not             the rest is cut
//! ```
//!
//! Where the records stop being whole, the *sectors* say why. Blank, stale, or fresh but of
//! different writes: a write did not reach the disk in full, so the batch was never acknowledged
//! and is cut there (`DUR-11`), unless the marker vouches for that place. Rotten: what was written
//! has changed, and nothing is cut (`DUR-12`).

use std::path::Path;

use bytes::Bytes;

use super::super::sector::{self, CONTENT_BYTES, Condition, SECTOR_BYTES};
use super::super::{Torn, at, damaged};
use super::record::{HEADER_BYTES, Header, Record};
use super::segment::{HEAD_BYTES, Head, Marker, Tail};
use crate::error::Result;
use crate::ids::Index;
use crate::planted::{Bug, planted};
use crate::vfs::VfsFile;

const WINDOW_BYTES: usize = 256 << 10;

/// Why there are no more whole records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Zeros follow in a whole sector: the log ends, or an older version of the sector is there.
    Zeros,
    /// A record in fresh sectors that does not continue the chain: they are of different writes.
    Chain,
    /// A sector that is not fresh.
    Sector(Condition),
    /// The file ends.
    FileEnd,
}

impl Stop {
    fn text(self) -> &'static str {
        match self {
            Self::Zeros => "the records end",
            Self::Chain => "a record does not follow the one before it",
            Self::Sector(Condition::Rotten) => "a sector's checksum is wrong",
            Self::Sector(Condition::Stale) => "a sector holds what it held before",
            Self::Sector(_) => "a sector was never written",
            Self::FileEnd => "the file ends",
        }
    }
}

/// Takes the records off a segment in order.
pub(super) struct Scan<'a> {
    file: &'a dyn VfsFile,
    path: &'a Path,
    head: &'a Head,
    window: Vec<u8>,
    /// Offset of the next sector to read.
    next: u64,
    /// Content read and not yet consumed, from `position` on.
    stream: Vec<u8>,
    consumed: usize,
    /// Content bytes since the first record.
    position: u64,
    chain: u32,
    /// The chain before the last record.
    before: u32,
    /// Why reading stopped, and at which sector.
    stop: Option<(Stop, u64)>,
    highest: Index,
    sealed: bool,
    /// See [`Tail::unvouched`].
    unvouched: Vec<u8>,
}

/// What became of a segment's end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) tail: Tail,
    pub(super) sealed: bool,
    /// The chain at the end, the seal left out: what the next segment names.
    pub(super) link: u32,
    /// What was cut off.
    pub(super) torn: Option<Torn>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(file: &'a dyn VfsFile, path: &'a Path, head: &'a Head) -> Self {
        Self {
            file,
            path,
            head,
            window: Vec::new(),
            next: HEAD_BYTES,
            stream: Vec::new(),
            consumed: 0,
            position: 0,
            chain: head.seed,
            before: head.seed,
            stop: None,
            highest: Index::default(),
            sealed: false,
            unvouched: Vec::new(),
        }
    }

    /// The next record and its offset; `None` where the whole records end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Record)>> {
        let offset = self.offset();
        if self.sealed || !self.fill(HEADER_BYTES)? {
            return Ok(None);
        }
        let sector = sector::start_of(offset);
        let damage = |error| damaged(self.path, offset, error);
        let bytes = Bytes::copy_from_slice(self.peek(0, HEADER_BYTES));
        let Some(header) = Header::decode(bytes, self.chain).map_err(damage)? else {
            self.stop = Some((Stop::Zeros, sector));
            return Ok(None);
        };
        if !self.fill(header.record_bytes())? {
            return Ok(None);
        }
        let length = header.record_bytes();
        let payload = usize::try_from(header.length).unwrap_or(usize::MAX);
        let payload = Bytes::copy_from_slice(self.peek(HEADER_BYTES, payload));
        let Some(chain) = header.chain(&payload) else {
            self.stop = Some((Stop::Chain, sector));
            return Ok(None);
        };
        let record = header.record(payload).map_err(|error| damaged(self.path, offset, error))?;
        self.consumed = self.consumed.saturating_add(length);
        self.position = self.position.saturating_add(length as u64);
        self.before = std::mem::replace(&mut self.chain, chain);
        match &record {
            Record::Entry(entry) => self.highest = self.highest.max(entry.index),
            // It may lie over a torn batch, whose marker stays behind and names another end.
            Record::Seal => self.sealed = true,
            Record::HardState(_) | Record::Mark(_) => {}
        }
        if !self.sealed {
            self.check_markers(offset)?;
        }
        Ok(Some((offset, record)))
    }

    /// Judges where the records ended, once `next` gave the last.
    pub(super) fn finish(mut self) -> Result<End> {
        let end = self.offset();
        let newest = self.head.newest;
        let torn = if self.sealed { None } else { self.judge(end, &newest)? };
        let unvouched = end.next_multiple_of(SECTOR_BYTES as u64);
        let unvouched = unvouched.saturating_sub(sector::start_of(newest.vouched));
        self.unvouched.truncate(usize::try_from(unvouched).unwrap_or(usize::MAX));
        let tail = Tail {
            sequence: self.head.header.sequence,
            seed: self.head.seed,
            marker: newest,
            end,
            chain: self.chain,
            unvouched: self.unvouched,
            highest: self.highest,
        };
        let link = if self.sealed { self.before } else { self.chain };
        Ok(End { tail, sealed: self.sealed, link, torn })
    }

    fn judge(&self, end: u64, newest: &Marker) -> Result<Option<Torn>> {
        let (stop, sector) = self.stop.unwrap_or((Stop::FileEnd, end));
        if end < newest.vouched && !planted(Bug::CutDamage) {
            let cause = format!(
                "{}, but everything up to byte {} was acknowledged",
                stop.text(),
                newest.vouched
            );
            return Err(damaged(self.path, sector.max(end), cause));
        }
        let rotten = stop == Stop::Sector(Condition::Rotten) && sector < newest.end;
        if rotten && !planted(Bug::CutDamage) {
            return Err(damaged(self.path, sector, stop.text()));
        }
        let unread = self.stream.get(self.consumed..).unwrap_or_default();
        let begun = unread.iter().any(|&byte| byte != 0);
        if end >= newest.end && (stop == Stop::Zeros || !begun) {
            return Ok(None);
        }
        Ok(Some(Torn { path: self.path.to_path_buf(), offset: end, cause: stop.text() }))
    }

    /// A marker that was passed must name this very place and chain.
    fn check_markers(&self, start: u64) -> Result<()> {
        let end = self.offset();
        for marker in [Some(self.head.newest), self.head.older].into_iter().flatten() {
            let inside = start < marker.end && marker.end <= end;
            if inside && (marker.end, marker.chain) != (end, self.chain) {
                let cause = format!("tail marker {} names another record", marker.number);
                return Err(damaged(self.path, start, cause));
            }
        }
        Ok(())
    }

    /// Offset in the file of the next record.
    fn offset(&self) -> u64 {
        let content = CONTENT_BYTES as u64;
        let sectors = (self.position / content).saturating_mul(SECTOR_BYTES as u64);
        HEAD_BYTES.saturating_add(sectors).saturating_add(self.position % content)
    }

    fn peek(&self, from: usize, len: usize) -> &[u8] {
        let from = self.consumed.saturating_add(from);
        self.stream.get(from..from.saturating_add(len)).unwrap_or_default()
    }

    /// Reads on until `want` bytes are there to consume; `false` if they are not.
    fn fill(&mut self, want: usize) -> Result<bool> {
        while self.stream.len().saturating_sub(self.consumed) < want {
            if self.stop.is_some() {
                return Ok(false);
            }
            self.stream.drain(..self.consumed.min(self.stream.len()));
            self.consumed = 0;
            self.read_window()?;
        }
        Ok(true)
    }

    fn read_window(&mut self) -> Result<()> {
        self.window.resize(WINDOW_BYTES, 0);
        let read = self.file.read_at(self.next, &mut self.window).map_err(at("read", self.path))?;
        let window = self.window.get(..read).unwrap_or_default();
        let (sectors, _) = window.as_chunks::<SECTOR_BYTES>();
        for bytes in sectors {
            let found = sector::condition(bytes, self.head.seed);
            if found != Condition::Fresh {
                self.stop = Some((Stop::Sector(found), self.next));
                return Ok(());
            }
            self.stream.extend_from_slice(sector::content(bytes));
            if self.next >= sector::start_of(self.head.newest.vouched) {
                self.unvouched.extend_from_slice(bytes);
            }
            self.next = self.next.saturating_add(SECTOR_BYTES as u64);
        }
        if read < WINDOW_BYTES {
            self.stop = Some((Stop::FileEnd, self.next));
        }
        Ok(())
    }
}
