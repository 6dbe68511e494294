//! The snapshot file: writing one, and reading one with every check.
//!
//! ```text
//!   prologue  magic 8 │ version 4 │ head length 4 │ head crc 4 │ prologue crc 4
//!   head      cluster 8 │ mark (index, term, configuration) │ revision 8 │ compacted 8
//!   section   kind 1 │ zeros 3 │ length 4 │ crc 4 │ bytes …          any number of times
//!   trailer   255 │ zeros 3 │ 16 │ crc 4 │ sections 8 │ hash 8
//! ```
//!
//! A section's crc continues from the one before it (the first from the head's) over kind,
//! length and bytes, so sections cannot be lost, doubled or swapped. The hash is the first half of
//! SHA-1 over everything before the trailer: the same on every member for the same bytes.

use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};
use sha1::{Digest, Sha1};

use super::super::mark::{put_mark, read_mark};
use super::super::{FORMAT_VERSION, at, damaged, newer};
use crate::codec::{Malformed, Reader, checksum};
use crate::entry::{Section, SnapshotMark};
use crate::error::{Error, Result};
use crate::ids::{ClusterId, Revision};
use crate::vfs::VfsFile;

const MAGIC: &[u8; 8] = b"QUORSNP\n";
const PROLOGUE_BYTES: usize = 24;
const SECTION_HEAD_BYTES: usize = 12;
const TRAILER_BODY_BYTES: usize = 16;
const TRAILER_BYTES: usize = SECTION_HEAD_BYTES + TRAILER_BODY_BYTES;
const KIND_TRAILER: u8 = 255;
/// A snapshot is synced in pieces of this: a sync of the log, on the same disk, waits for one of
/// them at most, not for the whole file.
const SYNC_BYTES: u64 = 2 << 20;

/// Files are written and read in pieces of about this size.
const BUFFER_BYTES: usize = 256 << 10;
/// No section is longer, and no head: what a length may make a reader allocate.
pub(crate) const MAX_SECTION_BYTES: usize = 64 << 20;

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotHead {
    pub(crate) cluster: ClusterId,
    pub(crate) mark: SnapshotMark,
    pub(crate) revision: Revision,
    pub(crate) compacted: Option<Revision>,
}

/// A whole snapshot's size and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) file_bytes: u64,
    pub(super) hash: u64,
}

/// Writes a snapshot into an empty file and syncs it. Holds one buffer, whatever the size.
pub(super) fn write(
    file: &dyn VfsFile,
    path: &Path,
    head: &SnapshotHead,
    sections: impl Iterator<Item = Result<Section>>,
) -> Result<Sum> {
    let (buf, hash) = (BytesMut::new(), Sha1::new());
    let mut out = Output { file, path, buf, written: 0, synced: 0, hash };
    let mut crc = put_head(&mut out.buf, head);
    let mut count: u64 = 0;
    for section in sections {
        let section = section?;
        if section.bytes.len() > MAX_SECTION_BYTES || section.kind == KIND_TRAILER {
            let text = format!("section of kind {}: {} bytes", section.kind, section.bytes.len());
            return Err(Error::invalid(format!("{text}; at most {MAX_SECTION_BYTES} are stored")));
        }
        crc = put_section(&mut out.buf, crc, section.kind, &section.bytes);
        count = count.saturating_add(1);
        if out.buf.len() >= BUFFER_BYTES {
            out.flush()?;
        }
    }
    out.flush()?;
    let hash = half(&out.hash);
    let mut body = BytesMut::new();
    body.put_u64_le(count);
    body.put_u64_le(hash);
    put_section(&mut out.buf, crc, KIND_TRAILER, &body);
    out.flush()?;
    file.sync().map_err(at("sync", path))?;
    Ok(Sum { file_bytes: out.written, hash })
}

struct Output<'a> {
    file: &'a dyn VfsFile,
    path: &'a Path,
    buf: BytesMut,
    written: u64,
    /// Bytes of `written` that are durable.
    synced: u64,
    hash: Sha1,
}

impl Output<'_> {
    fn flush(&mut self) -> Result<()> {
        self.hash.update(&self.buf);
        self.file.write_at(self.written, &self.buf).map_err(at("write", self.path))?;
        self.written = self.written.saturating_add(self.buf.len() as u64);
        self.buf.clear();
        if self.written.saturating_sub(self.synced) >= SYNC_BYTES {
            self.file.sync().map_err(at("sync", self.path))?;
            self.synced = self.written;
        }
        Ok(())
    }
}

/// The first half of what the hash is so far.
fn half(hash: &Sha1) -> u64 {
    let digest = hash.clone().finalize();
    digest.first_chunk().map_or(0, |half| u64::from_le_bytes(*half))
}

/// Returns the crc that the first section continues from.
fn put_head(out: &mut BytesMut, head: &SnapshotHead) -> u32 {
    let mut body = BytesMut::new();
    body.put_u64_le(head.cluster.get());
    put_mark(&mut body, &head.mark);
    body.put_u64_le(head.revision.get());
    body.put_u64_le(head.compacted.map_or(0, Revision::get));
    let crc = checksum(0, &body);
    let mut prologue = BytesMut::new();
    prologue.put_slice(MAGIC);
    prologue.put_u32_le(FORMAT_VERSION);
    prologue.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
    prologue.put_u32_le(crc);
    out.put_slice(&prologue);
    out.put_u32_le(checksum(0, &prologue));
    out.put_slice(&body);
    crc
}

fn put_section(out: &mut BytesMut, crc: u32, kind: u8, bytes: &[u8]) -> u32 {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let [a, b, c, d] = length.to_le_bytes();
    let head = [kind, 0, 0, 0, a, b, c, d];
    let crc = checksum(checksum(crc, &head), bytes);
    out.put_slice(&head);
    out.put_u32_le(crc);
    out.put_slice(bytes);
    crc
}

/// Reads a snapshot's sections, checking each before it is given out. The last `next` checks the
/// count, the hash over all, and that nothing follows.
pub(crate) struct Sections {
    file: Box<dyn VfsFile>,
    path: PathBuf,
    size: u64,
    /// Offset of the next byte to read, and what was read before it and not yet taken.
    next: u64,
    buf: BytesMut,
    crc: u32,
    count: u64,
    hash: Sha1,
    /// Set by the trailer.
    sum: Option<Sum>,
    /// After an error nothing more is given out.
    failed: bool,
}

/// Opens a snapshot and reads its head.
pub(super) fn open(file: Box<dyn VfsFile>, path: &Path) -> Result<(SnapshotHead, Sections)> {
    let size = file.size().map_err(at("measure", path))?;
    let mut sections = Sections {
        file,
        path: path.to_path_buf(),
        size,
        next: 0,
        buf: BytesMut::new(),
        crc: 0,
        count: 0,
        hash: Sha1::new(),
        sum: None,
        failed: false,
    };
    let prologue = sections.read(PROLOGUE_BYTES)?;
    let damage = |error| damaged(path, 0, error);
    let (version, length) = decode_prologue(prologue.clone()).map_err(damage)?;
    let Some((length, crc)) = length else { return Err(newer(path, version)) };
    let body = sections.read(length)?;
    if checksum(0, &body) != crc {
        return Err(damaged(path, PROLOGUE_BYTES as u64, "the head's checksum is wrong"));
    }
    sections.crc = crc;
    sections.hash.update(&prologue);
    sections.hash.update(&body);
    let head = decode_head(body).map_err(|error| damaged(path, PROLOGUE_BYTES as u64, error))?;
    Ok((head, sections))
}

/// The format version, and the head's length and crc if this version of the library knows it.
type Prologue = (u32, Option<(usize, u32)>);

fn decode_prologue(bytes: Bytes) -> Result<Prologue, Malformed> {
    let covered = bytes.get(..PROLOGUE_BYTES.saturating_sub(4)).map(|bytes| checksum(0, bytes));
    let mut reader = Reader::new(bytes);
    if reader.take(MAGIC.len(), "magic")? != MAGIC.as_slice() {
        return Err(Malformed { what: "magic" });
    }
    let version = reader.u32("format version")?;
    let length = reader.u32("head length")?;
    let crc = reader.u32("head checksum")?;
    if Some(reader.u32("prologue checksum")?) != covered || version == 0 {
        return Err(Malformed { what: "prologue" });
    }
    if version > FORMAT_VERSION {
        return Ok((version, None));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_SECTION_BYTES {
        return Err(Malformed { what: "head length" });
    }
    Ok((version, Some((length, crc))))
}

fn decode_head(body: Bytes) -> Result<SnapshotHead, Malformed> {
    let mut reader = Reader::new(body);
    let cluster = ClusterId::new(reader.u64("cluster")?);
    let mark = read_mark(&mut reader)?;
    let revision = Revision::new(reader.u64("revision")?);
    let compacted = match reader.u64("compacted revision")? {
        0 => None,
        revision => Some(Revision::new(revision)),
    };
    reader.end("snapshot head")?;
    Ok(SnapshotHead { cluster, mark, revision, compacted })
}

/// A section's kind and length.
fn decode_section_head(bytes: Bytes) -> Result<(u8, usize), Malformed> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8("section kind")?;
    let zeros = reader.take(3, "section head")?;
    let length = usize::try_from(reader.u32("section length")?).unwrap_or(usize::MAX);
    if zeros != [0; 3].as_slice() || length > MAX_SECTION_BYTES {
        return Err(Malformed { what: "section length" });
    }
    Ok((kind, length))
}

impl Sections {
    /// Reads on to the end, for the checks alone.
    pub(super) fn verify(mut self) -> Result<Sum> {
        for section in self.by_ref() {
            section?;
        }
        self.sum.ok_or_else(|| damaged(&self.path, self.next, "it has no trailer"))
    }

    fn read_section(&mut self) -> Result<Option<Section>> {
        let offset = self.offset();
        let head = self.read(SECTION_HEAD_BYTES)?;
        let (covered, stored) = head.split_at(SECTION_HEAD_BYTES.saturating_sub(4));
        let (kind, length) = decode_section_head(head.clone())
            .map_err(|error| damaged(&self.path, offset, error))?;
        let bytes = self.read(length)?;
        let crc = checksum(checksum(self.crc, covered), &bytes);
        if stored != crc.to_le_bytes() {
            return Err(damaged(&self.path, offset, "a section's checksum is wrong"));
        }
        self.crc = crc;
        if kind == KIND_TRAILER {
            self.read_trailer(offset, bytes)?;
            return Ok(None);
        }
        self.count = self.count.saturating_add(1);
        self.hash.update(&head);
        self.hash.update(&bytes);
        Ok(Some(Section { kind, bytes }))
    }

    fn read_trailer(&mut self, offset: u64, body: Bytes) -> Result<()> {
        let mut reader = Reader::new(body);
        let malformed = |error: Malformed| damaged(&self.path, offset, error);
        let count = reader.u64("section count").map_err(malformed)?;
        let hash = reader.u64("hash").map_err(malformed)?;
        reader.end("trailer").map_err(malformed)?;
        if count != self.count || hash != half(&self.hash) {
            return Err(damaged(&self.path, offset, "the hash over all is wrong"));
        }
        if self.offset() != self.size {
            return Err(damaged(&self.path, self.offset(), "something follows the trailer"));
        }
        self.sum = Some(Sum { file_bytes: self.size, hash });
        Ok(())
    }

    /// Offset of the next byte to be taken.
    fn offset(&self) -> u64 {
        self.next.saturating_sub(self.buf.len() as u64)
    }

    fn read(&mut self, len: usize) -> Result<Bytes> {
        let left = self.size.saturating_sub(self.offset());
        if len as u64 > left {
            return Err(damaged(&self.path, self.size, "it is cut short"));
        }
        if self.buf.len() < len {
            let have = self.buf.len();
            let more = (len - have).max(BUFFER_BYTES) as u64;
            let more = more.min(self.size.saturating_sub(self.next));
            let want = have.saturating_add(usize::try_from(more).unwrap_or(usize::MAX));
            self.buf.resize(want, 0);
            let space = self.buf.get_mut(have..).unwrap_or_default();
            let read = self.file.read_at(self.next, space).map_err(at("read", &self.path))?;
            self.next = self.next.saturating_add(read as u64);
            self.buf.truncate(have.saturating_add(read));
            if self.buf.len() < len {
                return Err(damaged(&self.path, self.next, "it is cut short"));
            }
        }
        Ok(self.buf.split_to(len).freeze())
    }
}

impl Iterator for Sections {
    type Item = Result<Section>;

    fn next(&mut self) -> Option<Result<Section>> {
        if self.failed || self.sum.is_some() {
            return None;
        }
        let section = self.read_section();
        self.failed = section.is_err();
        section.transpose()
    }
}

/// The hash that a snapshot's trailer claims, unchecked: for listing what will be checked when it
/// is opened.
pub(super) fn claimed(file: &dyn VfsFile, path: &Path) -> Result<Sum> {
    let size = file.size().map_err(at("measure", path))?;
    let offset = size.saturating_sub(TRAILER_BYTES as u64);
    let mut bytes = [0; TRAILER_BYTES];
    let read = file.read_at(offset, &mut bytes).map_err(at("read", path))?;
    match bytes.last_chunk() {
        Some(hash) if read == bytes.len() => {
            Ok(Sum { file_bytes: size, hash: u64::from_le_bytes(*hash) })
        }
        _ => Err(damaged(path, offset, "it is cut short")),
    }
}
