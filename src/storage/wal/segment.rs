//! One file of the log: its head, its two tail markers, and how it comes to be.
//!
//! ```text
//!      0  header    magic, version, owner, sequence, where the log stood, chain seed
//!    512  slot 0    ┐ the tail markers: each sync writes the one it did not write last,
//!   1024  slot 1    ┘ so one is always whole
//!   1536  zeros
//!   4096  sectors of records: the mark and the hard state repeated, then what is appended
//! ```

use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};

use super::super::sector::{self, Condition, SECTOR_BYTES, Sector, SectorWriter};
use super::super::{FORMAT_VERSION, Identity, at, damaged, foreign, newer};
use super::record::{self, Base};
use crate::codec::{Malformed, Reader, checksum};
use crate::entry::HardState;
use crate::error::Result;
use crate::ids::{ClusterId, Incarnation, Index, NodeId, Term};
use crate::vfs::{OpenMode, Vfs, VfsFile};

/// Where the records begin; a page, so that a batch never shares one with the markers.
pub(super) const HEAD_BYTES: u64 = 4096;
const SLOT_OFFSETS: [u64; 2] = [512, 1024];
const MAGIC: &[u8; 8] = b"QUORWAL\n";

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whose log it is, and in which boot the segment was begun.
    pub(super) owner: Identity,
    /// Rises by one from segment to segment (`DUR-1`).
    pub(super) sequence: u64,
    /// The last entry before the segment: position and term. Its first entry is the next one,
    /// unless it replaces a tail.
    pub(super) before: (Index, Term),
    /// The chain at the end of the segment before (0 for the first): they belong together.
    pub(super) previous: u32,
}

impl Header {
    /// Sealed with its seed: where the checksum chain begins and the tag of the sectors. No other
    /// header gives the same, least of all one of the same file's earlier lives: those differ in
    /// sequence or boot.
    fn encode(&self) -> (Sector, u32) {
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        out.put_u32_le(FORMAT_VERSION);
        out.put_u32_le(self.previous);
        out.put_u64_le(self.owner.cluster.get());
        out.put_u64_le(self.owner.node.get());
        out.put_u64_le(self.owner.incarnation.get());
        out.put_u64_le(self.owner.boot);
        out.put_u64_le(self.sequence);
        out.put_u64_le(self.before.0.get());
        out.put_u64_le(self.before.1.get());
        let seed = checksum(0, &out);
        out.put_u32_le(seed);
        (sector::seal(&out, 0), seed)
    }

    /// The format version; header and seed if this version of the library knows it.
    fn decode(bytes: &Sector) -> Result<(u32, Option<(Self, u32)>), Malformed> {
        let mut reader = Reader::new(Bytes::copy_from_slice(sector::content(bytes)));
        if reader.take(MAGIC.len(), "magic")? != MAGIC.as_slice() {
            return Err(Malformed { what: "magic" });
        }
        let version = reader.u32("format version")?;
        if version > FORMAT_VERSION {
            return Ok((version, None));
        }
        if version == 0 {
            return Err(Malformed { what: "format version" });
        }
        let previous = reader.u32("previous chain")?;
        let owner = Identity {
            cluster: ClusterId::new(reader.u64("cluster")?),
            node: NodeId::new(reader.u64("node")?),
            incarnation: Incarnation::new(reader.u64("incarnation")?),
            boot: reader.u64("boot")?,
        };
        let sequence = reader.u64("sequence")?;
        let before = (Index::new(reader.u64("index")?), Term::new(reader.u64("term")?));
        let seed = reader.u32("chain seed")?;
        Ok((version, Some((Self { owner, sequence, before, previous }, seed))))
    }
}

/// How far a segment reaches, as of one sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// Counts the syncs of the segment from 0, its creation.
    pub(super) number: u64,
    /// Everything before this offset was synced *before* this marker was written: its loss is
    /// damage, whatever it looks like.
    pub(super) vouched: u64,
    /// What this sync covers ends here. It was acknowledged or not: if it is not there, the
    /// state of its sectors tells a torn write from damage.
    pub(super) end: u64,
    /// The file was at least this long before this marker was written, durably.
    pub(super) length: u64,
    /// The last entry of the log.
    pub(super) last: (Index, Term),
    /// The checksum of the last record.
    pub(super) chain: u32,
}

impl Marker {
    fn encode(&self, seed: u32) -> Sector {
        let mut out = BytesMut::new();
        out.put_u64_le(self.number);
        out.put_u64_le(self.vouched);
        out.put_u64_le(self.end);
        out.put_u64_le(self.length);
        out.put_u64_le(self.last.0.get());
        out.put_u64_le(self.last.1.get());
        out.put_u32_le(self.chain);
        sector::seal(&out, seed)
    }

    fn decode(bytes: &Sector) -> Result<Self, Malformed> {
        let mut reader = Reader::new(Bytes::copy_from_slice(sector::content(bytes)));
        Ok(Self {
            number: reader.u64("marker number")?,
            vouched: reader.u64("vouched end")?,
            end: reader.u64("written end")?,
            length: reader.u64("length")?,
            last: (Index::new(reader.u64("last index")?), Term::new(reader.u64("last term")?)),
            chain: reader.u32("chain")?,
        })
    }
}

/// The slot that the marker of this number goes to.
pub(super) fn slot(number: u64) -> u64 {
    let [even, odd] = SLOT_OFFSETS;
    if number.is_multiple_of(2) { even } else { odd }
}

/// A segment's head as read.
pub(super) struct Head {
    pub(super) header: Header,
    pub(super) seed: u32,
    /// The newest marker that is whole.
    pub(super) newest: Marker,
    /// The one before it, if that is whole too.
    pub(super) older: Option<Marker>,
}

/// Reads and checks the head of the segment of this name and owner.
pub(super) fn read_head(
    file: &dyn VfsFile,
    path: &Path,
    sequence: u64,
    owner: &Identity,
) -> Result<Head> {
    let (header, seed) = read_header(file, path)?;
    let found = header.owner;
    let same = (found.cluster, found.node) == (owner.cluster, owner.node);
    if !same || found.incarnation != owner.incarnation {
        return Err(foreign(path, &found, owner));
    }
    if header.sequence != sequence {
        let cause = format!("it is segment {:x}, under the name of another", header.sequence);
        return Err(damaged(path, 0, cause));
    }
    let mut markers = Vec::new();
    for offset in SLOT_OFFSETS {
        let bytes = read_sector(file, path, offset)?;
        if sector::condition(&bytes, seed) == Condition::Fresh {
            let marker = Marker::decode(&bytes).map_err(|error| damaged(path, offset, error))?;
            markers.push(marker);
        }
    }
    markers.sort_by_key(|marker| marker.number);
    let Some(newest) = markers.pop() else {
        let [first, _] = SLOT_OFFSETS;
        return Err(damaged(path, first, "neither tail marker is whole"));
    };
    let size = file.size().map_err(at("measure", path))?;
    if size < newest.length {
        let cause = format!("it is cut short: it had {} bytes", newest.length);
        return Err(damaged(path, size, cause));
    }
    Ok(Head { header, seed, newest, older: markers.pop() })
}

fn read_header(file: &dyn VfsFile, path: &Path) -> Result<(Header, u32)> {
    let bytes = read_sector(file, path, 0)?;
    if sector::condition(&bytes, 0) != Condition::Fresh {
        return Err(damaged(path, 0, "the header's checksum is wrong"));
    }
    match Header::decode(&bytes).map_err(|error| damaged(path, 0, error))? {
        (_, Some(header)) => Ok(header),
        (version, None) => Err(newer(path, version)),
    }
}

fn read_sector(file: &dyn VfsFile, path: &Path, offset: u64) -> Result<Sector> {
    let mut bytes = [0; SECTOR_BYTES];
    let read = file.read_at(offset, &mut bytes).map_err(at("read", path))?;
    if read != SECTOR_BYTES {
        return Err(damaged(path, offset.saturating_add(read as u64), "it is cut short"));
    }
    Ok(bytes)
}

/// `0000000000000001.wal`.
pub(in crate::storage) fn file_name(sequence: u64) -> String {
    format!("{sequence:016x}.wal")
}

/// The sequence in a segment's name; `None` for any other name.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal").filter(|digits| digits.len() == 16)?;
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    (file_name(sequence) == name).then_some(sequence)
}

/// A segment that is being written.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) sequence: u64,
    file: Box<dyn VfsFile>,
    seed: u32,
    /// The last marker written: everything before its `end` is durable.
    marker: Marker,
    /// Records that were put and not yet synced.
    writer: SectorWriter,
    pub(super) chain: u32,
    /// The file is this long, and all of it has been written before: a sync within it has only
    /// data to write. Beyond it, the file system must note new blocks and a new length too.
    written: u64,
    /// How large the segment is meant to become: no zeros are written beyond.
    limit: u64,
    /// The highest entry in the segment, replaced or not.
    pub(super) highest: Index,
}

/// When the tail reaches new ground, zeros are written ahead of it up to a multiple of this.
///
/// Entries of 300 bytes, appended and synced one by one on ext4, take at the median 189 us where
/// each sync makes the file longer, 134 us with zeros 1 MiB ahead (4 MiB: 141 us), 129 us in a
/// recycled segment. Sixty-four at a time: 265, 158 (159) and 142 us.
const AHEAD_BYTES: u64 = 1 << 20;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What a segment begins with.
pub(super) struct Begin<'a> {
    pub(super) header: Header,
    pub(super) base: &'a Base,
    pub(super) hard_state: &'a HardState,
    pub(super) segment_bytes: u64,
}

/// A file that was given back, to be written again.
pub(super) struct Spare {
    pub(super) path: PathBuf,
    /// It was there when the log was opened: whoever had it may have made it longer, and not have
    /// come through with the sync. All that this life gave back, it had synced.
    pub(super) found: bool,
}

impl Segment {
    /// Makes the head of a segment durable in `spare` or a new file, and only then gives it its
    /// name, replacing what has it. So a segment that has its name can be read (`DUR-6`).
    pub(super) fn create(
        vfs: &dyn Vfs,
        dir: &Path,
        begin: &Begin<'_>,
        spare: Option<Spare>,
    ) -> Result<Self> {
        let path = dir.join(file_name(begin.header.sequence));
        let (aside, file) = match spare {
            Some(Spare { path: spare, found }) => {
                let file = vfs.open(&spare, OpenMode::Write).map_err(at("open", &spare))?;
                if found {
                    settle_length(&*file, &spare)?;
                }
                (spare, file)
            }
            None => {
                let aside = path.with_extension("tmp");
                let file = vfs.open(&aside, OpenMode::Create).map_err(at("open", &aside))?;
                (aside, file)
            }
        };
        let (header, seed) = begin.header.encode();
        let mut writer = SectorWriter::new(HEAD_BYTES, seed);
        let chain = record::put_base(&mut writer, seed, begin.base);
        let chain = record::put_hard_state(&mut writer, chain, begin.hard_state);
        let end = writer.position();
        let last = begin.header.before;
        let marker = Marker { number: 0, vouched: end, end, length: 0, last, chain };
        let mut head = header.to_vec();
        head.extend_from_slice(&marker.encode(seed));
        head.resize(usize::try_from(HEAD_BYTES).unwrap_or_default(), 0);
        head.extend_from_slice(writer.finish().1);
        writer.settle();
        file.write_at(0, &head).map_err(at("write", &aside))?;
        file.sync().map_err(at("sync", &aside))?;
        vfs.rename(&aside, &path).map_err(at("rename", &aside))?;
        vfs.sync_dir(dir).map_err(at("sync", dir))?;
        let written = file.size().map_err(at("measure", &path))?;
        Ok(Self {
            path,
            sequence: begin.header.sequence,
            file,
            seed,
            marker,
            writer,
            chain,
            written,
            limit: begin.segment_bytes,
            highest: Index::default(),
        })
    }

    /// Takes up the last segment of a recovered log, at the end of its records, to seal it.
    pub(super) fn resume(file: Box<dyn VfsFile>, path: PathBuf, tail: &Tail) -> Result<Self> {
        let size = file.size().map_err(at("measure", &path))?;
        let mut writer = SectorWriter::new(sector::start_of(tail.end), tail.seed);
        writer.put(tail.begun());
        Ok(Self {
            path,
            sequence: tail.sequence,
            file,
            seed: tail.seed,
            marker: Marker { end: tail.end, ..tail.marker },
            writer,
            chain: tail.chain,
            written: size,
            limit: 0,
            highest: tail.highest,
        })
    }

    /// Where the next record goes; records are put through `put`.
    pub(super) fn position(&self) -> u64 {
        self.writer.position()
    }

    pub(super) fn put(&mut self, put: impl FnOnce(&mut SectorWriter, u32) -> u32) {
        self.chain = put(&mut self.writer, self.chain);
    }

    /// Whether there is anything to sync.
    pub(super) fn is_clean(&self) -> bool {
        self.writer.position() == self.marker.end
    }

    /// Makes durable what was put: the records in one write, the marker in another, one sync.
    pub(super) fn sync(&mut self, last: (Index, Term)) -> Result<()> {
        let end = self.writer.position();
        let marker = Marker {
            number: self.marker.number.saturating_add(1),
            vouched: self.marker.end,
            end,
            length: self.written,
            last,
            chain: self.chain,
        };
        let (offset, bytes) = self.writer.finish();
        let reached = offset.saturating_add(bytes.len() as u64);
        self.file.write_at(offset, bytes).map_err(at("write", &self.path))?;
        self.write_ahead(reached)?;
        let sector = marker.encode(self.seed);
        self.file.write_at(slot(marker.number), &sector).map_err(at("write", &self.path))?;
        self.file.sync().map_err(at("sync", &self.path))?;
        self.writer.settle();
        self.marker = marker;
        Ok(())
    }

    /// Bytes of the file up to its last durable record.
    pub(super) fn bytes(&self) -> u64 {
        self.marker.end
    }

    /// When the tail has reached new ground, writes zeros ahead of it, for the next syncs.
    fn write_ahead(&mut self, reached: u64) -> Result<()> {
        if reached <= self.written {
            return Ok(());
        }
        let mut from = reached;
        let until = reached.next_multiple_of(AHEAD_BYTES).min(self.limit).max(reached);
        while from < until {
            let len = usize::try_from(until - from).unwrap_or(usize::MAX).min(ZEROS.len());
            let zeros = ZEROS.get(..len).unwrap_or(&ZEROS);
            self.file.write_at(from, zeros).map_err(at("write", &self.path))?;
            from = from.saturating_add(zeros.len() as u64);
        }
        self.written = until;
        Ok(())
    }
}

/// Where the records of a segment were found to end.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) sequence: u64,
    pub(super) seed: u32,
    /// The newest marker found.
    pub(super) marker: Marker,
    pub(super) end: u64,
    pub(super) chain: u32,
    /// The sectors as they were read, from the one that the newest marker vouches up to to the
    /// one of the end: a batch. They may be in the system's cache only, and no sync of it left.
    pub(super) unvouched: Vec<u8>,
    pub(super) highest: Index,
}

impl Tail {
    /// Makes durable what was read, whoever wrote it, and whatever became of that.
    ///
    /// After a sync that failed the system shows what was written and calls it clean: a sync now
    /// would say that all is well, and the next power failure would take it. Only what is written
    /// again is covered. That is what the newest marker does not vouch for, the marker itself, and
    /// the file's end; the rest was synced before that marker was written. The records would be
    /// found without the marker too; with it, their damage is noticed.
    ///
    /// A crash half-way does no harm. The bytes are those that were found, so each sector is what
    /// it was, or what it was when it was last durable: a torn batch, as it may have been before.
    pub(super) fn settle(&self, file: &dyn VfsFile, path: &Path) -> Result<()> {
        settle_length(file, path)?;
        let from = sector::start_of(self.marker.vouched);
        file.write_at(from, &self.unvouched).map_err(at("write", path))?;
        let marker = self.marker.encode(self.seed);
        file.write_at(slot(self.marker.number), &marker).map_err(at("write", path))?;
        file.sync().map_err(at("sync", path))
    }

    /// What the sector at the end holds before it.
    fn begun(&self) -> &[u8] {
        let last = self.unvouched.rchunks(SECTOR_BYTES).next().unwrap_or_default();
        let len = self.end - sector::start_of(self.end);
        usize::try_from(len).ok().and_then(|len| last.get(..len)).unwrap_or_default()
    }
}

/// Writes a file's last sector again, so that the next sync covers the length.
fn settle_length(file: &dyn VfsFile, path: &Path) -> Result<()> {
    let size = file.size().map_err(at("measure", path))?;
    let last = sector::start_of(size.saturating_sub(1));
    let mut bytes = [0; SECTOR_BYTES];
    let read = file.read_at(last, &mut bytes).map_err(at("read", path))?;
    let bytes = bytes.get(..read).unwrap_or_default();
    file.write_at(last, bytes).map_err(at("write", path))
}

#[cfg(test)]
mod tests {
    use super::super::scan::Scan;
    use super::*;
    use proptest::prelude::*;

    use crate::entry::{ConfState, SnapshotMark};
    use crate::sim::MemoryDisk;

    const OWNER: Identity = Identity {
        cluster: ClusterId::new(1),
        node: NodeId::new(2),
        incarnation: Incarnation::new(3),
        boot: 4,
    };
    const BEFORE: (Index, Term) = (Index::new(1), Term::new(1));

    fn create(disk: &MemoryDisk, spare: Option<Spare>) -> Segment {
        let mark = SnapshotMark { index: BEFORE.0, term: BEFORE.1, conf: ConfState::default() };
        let header = Header { owner: OWNER, sequence: 1, before: BEFORE, previous: 0 };
        let (base, hard_state) = (Base { mark, genesis: true }, HardState::default());
        let begin = Begin { header, base: &base, hard_state: &hard_state, segment_bytes: 16 << 10 };
        Segment::create(disk, Path::new(""), &begin, spare).unwrap()
    }

    fn sync(segment: &mut Segment) -> Result<()> {
        segment.put(|out, chain| record::put_hard_state(out, chain, &HardState::default()));
        segment.sync(BEFORE)
    }

    fn newest(disk: &MemoryDisk, path: &Path) -> Result<Marker> {
        let file = disk.open(path, OpenMode::Read).unwrap();
        Ok(read_head(&*file, path, 1, &OWNER)?.newest)
    }

    #[test]
    fn what_was_settled_is_vouched_for_ever_after() {
        let disk = MemoryDisk::new();
        let mut segment = create(&disk, None);
        sync(&mut segment).unwrap();
        disk.fail_sync(0);
        assert!(sync(&mut segment).is_err());
        let file = disk.open(&segment.path, OpenMode::Write).unwrap();
        let head = read_head(&*file, &segment.path, 1, &OWNER).unwrap();
        let mut scan = Scan::new(&*file, &segment.path, &head);
        while scan.next().unwrap().is_some() {}
        let tail = scan.finish().unwrap().tail;
        assert_eq!((tail.marker.number, tail.marker.end), (2, tail.end));
        tail.settle(&*file, &segment.path).unwrap();
        disk.lose();
        assert_eq!(newest(&disk, &segment.path).unwrap(), tail.marker);
    }

    #[test]
    fn a_spare_is_as_long_as_the_first_marker_says() {
        let (disk, path) = (MemoryDisk::new(), PathBuf::from("0000000000000001.spare"));
        let file = disk.open(&path, OpenMode::Create).unwrap();
        file.write_at(0, &[0; 9000]).unwrap();
        disk.fail_sync(0);
        assert!(file.sync().is_err());
        let mut segment = create(&disk, Some(Spare { path, found: true }));
        sync(&mut segment).unwrap();
        disk.lose();
        assert_eq!(newest(&disk, &segment.path).unwrap().length, 9000);
    }

    #[test]
    fn names_are_sixteen_digits() {
        assert_eq!(parse_name(&file_name(0x1f)), Some(0x1f));
        for name in ["1.wal", "000000000000001F.wal", "+000000000000001.wal", "0000000000000001"] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn heads_read_back(numbers: [u64; 7], previous: u32) {
            let [cluster, node, incarnation, boot, sequence, index, term] = numbers;
            let owner = Identity {
                cluster: ClusterId::new(cluster),
                node: NodeId::new(node),
                incarnation: Incarnation::new(incarnation),
                boot,
            };
            let before = (Index::new(index), Term::new(term));
            let header = Header { owner, sequence, before, previous };
            let (bytes, seed) = header.encode();
            prop_assert_eq!(Header::decode(&bytes), Ok((FORMAT_VERSION, Some((header, seed)))));
            let (vouched, end, length) = (index, term, sequence);
            let marker = Marker { number: boot, vouched, end, length, last: before, chain: seed };
            prop_assert_eq!(Marker::decode(&marker.encode(seed)), Ok(marker));
        }

        #[test]
        fn survives_any_bytes(
            bytes in prop::collection::vec(any::<u8>(), SECTOR_BYTES), ours: bool,
        ) {
            let mut sector: Sector = *bytes.first_chunk().unwrap();
            if ours {
                sector[..8].copy_from_slice(MAGIC);
                sector[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
            }
            let _ = (Header::decode(&sector), Marker::decode(&sector));
        }
    }
}
