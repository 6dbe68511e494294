//! The whole state as a row of sections, and back: what a snapshot holds.
//!
//! ```text
//!   kind  section             items
//!    1    head                one: cluster, position, configuration, revisions, counts
//!    2    members             by id
//!    3    sessions            by node
//!    6    leases              the clock, then by id (LSE-19)
//!    4    records             every version kept, in order of revision (DM-16)
//!    5    end                 one: how many sections came before it, and their checksum
//! ```
//!
//! A section is a version byte and then items, each behind its 32-bit length. The items of one
//! kind are one stream, cut wherever a section is full: an item of any size fits, and no section
//! is over [`MAX_SECTION_BYTES`]. A kind without items has no section. `docs/on-disk.md` has
//! every byte.
//!
//! Taking an image costs a reference for each block of history and a copy of the sessions, which
//! are small; the packing is done by whoever reads the sections, while the machine applies on.
//! The same state always gives the same bytes, so their checksum is also the state's hash. Versions
//! that were compacted and are still to be removed are no part of the state: they are left out.
//!
//! What is read back is checked as a stranger's bytes are: order, counts, bounds, what the parts
//! say about each other, and the checksum over all. No more is allocated than was read.

mod items;

use std::iter::Peekable;

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::Machine;
use super::lease::{Lease, Leases};
use super::member::{Member, Members};
use super::session::{Session, Sessions};
use crate::codec::{self, Malformed, Reader};
use crate::core::mvcc::{Mvcc, Pinned, Record};
use crate::entry::{Section, SnapshotMark};
use crate::error::{Error, Kind, Result};
use crate::ids::{NodeId, Revision};
use crate::planted::{Bug, planted};
use items::{Head, LeaseClock, LeaseItem, read_member, read_session, write_member, write_session};

/// No section is longer.
pub(crate) const MAX_SECTION_BYTES: usize = 256 * 1024;

/// The first byte of every section. Every released one stays readable: what 2 and 3 added are
/// outcomes, and leases, that an image of the version before does not have.
const VERSION: u8 = 3;

/// The first version with leases.
const LEASES_VERSION: u8 = 3;

const HEAD: u8 = 1;
const MEMBERS: u8 = 2;
const SESSIONS: u8 = 3;
const RECORDS: u8 = 4;
const END: u8 = 5;
const LEASES: u8 = 6;

/// The state of a machine at one moment, cheap to take and independent of what follows.
pub(crate) struct Image {
    head: Head,
    members: Members,
    sessions: Sessions,
    clock: LeaseClock,
    leases: Vec<LeaseItem>,
    history: Pinned,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("mark", &self.head.mark).finish_non_exhaustive()
    }
}

impl Image {
    pub(super) fn new(machine: &Machine) -> Self {
        let (index, term) = machine.applied;
        let history = machine.mvcc.pin();
        let forget = planted(Bug::ForgetSessions);
        let sessions = if forget { Sessions::default() } else { machine.sessions.clone() };
        let head = Head {
            cluster: machine.cluster,
            mark: SnapshotMark { index, term, conf: machine.conf.clone() },
            revision: history.revision(),
            compacted: history.compacted(),
            members: u32::try_from(machine.members.len()).unwrap_or(u32::MAX),
            sessions: u32::try_from(sessions.iter().len()).unwrap_or(u32::MAX),
        };
        let all = &machine.leases;
        let clock = LeaseClock { clock: all.clock(), ticked: all.ticked() };
        let leases = all.iter().map(|(id, lease)| LeaseItem::of(id, lease)).collect();
        Self { head, members: machine.members.clone(), sessions, clock, leases, history }
    }

    /// Where in the log the image stands.
    pub(crate) fn mark(&self) -> &SnapshotMark {
        &self.head.mark
    }

    pub(crate) fn revision(&self) -> Revision {
        self.head.revision
    }

    pub(crate) fn compacted(&self) -> Option<Revision> {
        self.head.compacted
    }

    /// Every version that it holds, in the order in which they were written.
    #[cfg(feature = "sim")]
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.history.records()
    }

    /// Packs the state, section by section as they are asked for.
    pub(crate) fn sections(&self) -> impl Iterator<Item = Section> {
        let members = self.members.iter().map(Item::Member);
        let sessions = self.sessions.iter().map(|(node, session)| Item::Session(node, session));
        let records = self.history.records().map(Item::Record);
        let count = u64::try_from(self.history.len()).unwrap_or(u64::MAX);
        let items = std::iter::once(Item::Head(&self.head, count));
        let clock = std::iter::once(Item::Clock(&self.clock));
        let leases = clock.chain(self.leases.iter().map(Item::Lease));
        Packer::new(items.chain(members).chain(sessions).chain(leases).chain(records))
    }

    /// A checksum over the whole state, position included: equal for members that applied the
    /// same entries (`INV-11`). Reads everything.
    pub(crate) fn hash(&self) -> u32 {
        self.sections().fold(0, |sum, section| chain(sum, &section))
    }
}

/// Covers a section and everything before it.
fn chain(sum: u32, section: &Section) -> u32 {
    codec::checksum(codec::checksum(sum, &[section.kind]), &section.bytes)
}

/// What the sections are made of.
enum Item<'a> {
    /// With the number of records, which nobody knows before the sections are asked for.
    Head(&'a Head, u64),
    Member(&'a Member),
    Session(NodeId, &'a Session),
    Clock(&'a LeaseClock),
    Lease(&'a LeaseItem),
    Record(&'a Record),
}

impl Item<'_> {
    fn kind(&self) -> u8 {
        match self {
            Self::Head(..) => HEAD,
            Self::Member(_) => MEMBERS,
            Self::Session(..) => SESSIONS,
            Self::Clock(_) | Self::Lease(_) => LEASES,
            Self::Record(_) => RECORDS,
        }
    }

    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Head(head, records) => head.write(out, *records),
            Self::Member(member) => write_member(out, member),
            Self::Session(node, session) => write_session(out, *node, session),
            Self::Clock(clock) => clock.write(out),
            Self::Lease(lease) => lease.write(out),
            Self::Record(record) => out.put_slice(record.as_bytes()),
        }
    }
}

/// Makes sections of items.
struct Packer<I: Iterator> {
    items: Peekable<I>,
    /// The kind of what is in `section`.
    kind: u8,
    /// The section being filled; the version byte alone while it is empty.
    section: BytesMut,
    /// Sections made so far, and the checksum over them.
    count: u64,
    sum: u32,
    ended: bool,
}

impl<'a, I: Iterator<Item = Item<'a>>> Packer<I> {
    fn new(items: I) -> Self {
        let section = BytesMut::from([VERSION].as_slice());
        Self { items: items.peekable(), kind: HEAD, section, count: 0, sum: 0, ended: false }
    }

    /// Takes the section out, but for what is too much for it.
    fn cut(&mut self) -> Section {
        let full = self.section.len().min(MAX_SECTION_BYTES);
        let rest = self.section.split_off(full);
        let mut next = BytesMut::with_capacity(MAX_SECTION_BYTES);
        next.put_u8(VERSION);
        next.put_slice(&rest);
        let bytes = std::mem::replace(&mut self.section, next).freeze();
        let section = Section { kind: self.kind, bytes };
        self.count = self.count.saturating_add(1);
        self.sum = chain(self.sum, &section);
        section
    }

    fn end(&mut self) -> Option<Section> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        let (count, sum) = (self.count, self.sum);
        write_item(&mut self.section, |out| {
            out.put_u64_le(count);
            out.put_u32_le(sum);
        });
        self.kind = END;
        Some(self.cut())
    }
}

impl<'a, I: Iterator<Item = Item<'a>>> Iterator for Packer<I> {
    type Item = Section;

    fn next(&mut self) -> Option<Section> {
        loop {
            if self.section.len() >= MAX_SECTION_BYTES {
                return Some(self.cut());
            }
            let kind = self.kind;
            if let Some(item) = self.items.next_if(|item| item.kind() == kind) {
                write_item(&mut self.section, |out| item.write(out));
            } else if self.section.len() > 1 {
                return Some(self.cut());
            } else if let Some(item) = self.items.peek() {
                self.kind = item.kind();
            } else {
                return self.end();
            }
        }
    }
}

/// Writes an item behind its length.
fn write_item(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_u32_le(0);
    let start = out.len();
    write(out);
    let len = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(at..start) {
        field.copy_from_slice(&len.to_le_bytes());
    }
}

/// Reads a machine back. See [`Machine::restore`].
pub(super) fn restore(
    sections: impl Iterator<Item = Result<Section>>,
    mark: &SnapshotMark,
) -> Result<Machine> {
    let mut stream = Stream::new(sections);
    let (head, records) = stream.one(HEAD, Head::read)?;
    if head.mark != *mark {
        return Err(Error::corrupt(format!(
            "the image stands at index {} term {}, not at index {} term {}, or with another \
             configuration",
            head.mark.index, head.mark.term, mark.index, mark.term
        )));
    }
    let members = stream.members(&head)?;
    let sessions = stream.sessions(&head, &members)?;
    let mut leases = stream.leases(&head)?;
    let records = Records { stream: &mut stream, left: records };
    let mvcc = Mvcc::restore(head.compacted, head.revision, records)?;
    attach(&mut leases, &mvcc)?;
    stream.end()?;
    Ok(Machine {
        cluster: head.cluster,
        applied: (head.mark.index, head.mark.term),
        conf: head.mark.conf,
        members,
        sessions,
        leases,
        mvcc,
        answers_to: None,
    })
}

/// Takes items off sections.
struct Stream<I> {
    sections: I,
    /// That of the first section, and so of all.
    version: Option<u8>,
    /// A section that was read and is of a later kind.
    ahead: Option<Section>,
    /// Bytes of the current kind that are not an item yet.
    pending: BytesMut,
    /// Sections read before the end, and the checksum over them.
    count: u64,
    sum: u32,
}

impl<I: Iterator<Item = Result<Section>>> Stream<I> {
    fn new(sections: I) -> Self {
        Self { sections, version: None, ahead: None, pending: BytesMut::new(), count: 0, sum: 0 }
    }

    /// The next item of this kind, if there is another.
    fn next(&mut self, kind: u8) -> Result<Option<Bytes>> {
        loop {
            if let Some(item) = split_item(&mut self.pending) {
                return Ok(Some(item.freeze()));
            }
            let Some(section) = self.next_section(kind)? else { break };
            self.pending.extend_from_slice(section.bytes.get(1..).unwrap_or_default());
        }
        if self.pending.is_empty() { Ok(None) } else { Err(broken("an item is cut short")) }
    }

    /// The only item of this kind.
    fn one<T>(&mut self, kind: u8, read: fn(Reader) -> Result<T, Malformed>) -> Result<T> {
        let item = self.next(kind)?.ok_or_else(|| broken("a section is missing"))?;
        let item = read(Reader::new(item)).map_err(malformed)?;
        if self.next(kind)?.is_some() {
            return Err(broken("a section has too many items"));
        }
        Ok(item)
    }

    fn next_section(&mut self, kind: u8) -> Result<Option<Section>> {
        let Some(section) = self.ahead.take().map(Ok).or_else(|| self.sections.next()) else {
            return Ok(None);
        };
        let section = section?;
        if section.kind != kind {
            self.ahead = Some(section);
            return Ok(None);
        }
        if section.bytes.len() < 2 || section.bytes.len() > MAX_SECTION_BYTES {
            return Err(broken("a section is empty or too long"));
        }
        let version = section.bytes.first().copied();
        if !version.is_some_and(|version| (1..=VERSION).contains(&version)) {
            let text = "the image has sections of a version that is not known here";
            return Err(Error::new(Kind::NewerFormat, text));
        }
        if self.version.is_some() && self.version != version {
            return Err(broken("the sections are of several versions"));
        }
        self.version = version;
        if kind != END {
            self.count = self.count.saturating_add(1);
            self.sum = chain(self.sum, &section);
        }
        Ok(Some(section))
    }

    fn members(&mut self, head: &Head) -> Result<Members> {
        let mut list: Vec<Member> = Vec::new();
        while let Some(item) = self.next(MEMBERS)? {
            let member = read_member(Reader::new(item)).map_err(malformed)?;
            if list.last().map_or(0, |last| last.id.get()) >= member.id.get() {
                return Err(broken("members are out of order"));
            }
            list.push(member);
        }
        let members = Members::new(list);
        if u32::try_from(members.len()) != Ok(head.members) || !members.fit(&head.mark.conf) {
            return Err(broken("members do not fit the head"));
        }
        Ok(members)
    }

    fn sessions(&mut self, head: &Head, members: &Members) -> Result<Sessions> {
        let mut list: Vec<(NodeId, Session)> = Vec::new();
        while let Some(item) = self.next(SESSIONS)? {
            let (node, session) = read_session(Reader::new(item)).map_err(malformed)?;
            if list.last().is_some_and(|(last, _)| *last >= node) {
                return Err(broken("sessions are out of order"));
            }
            let member = members.get(node);
            if member.and_then(|member| member.incarnation) != Some(session.incarnation) {
                return Err(broken("a session is of nobody's"));
            }
            list.push((node, session));
        }
        if u32::try_from(list.len()) != Ok(head.sessions) {
            return Err(broken("sessions are missing"));
        }
        Ok(Sessions::new(list))
    }

    /// The clock and the leases. An image from before there were any has none.
    fn leases(&mut self, head: &Head) -> Result<Leases> {
        if self.version.is_none_or(|version| version < LEASES_VERSION) {
            return Ok(Leases::default());
        }
        let clock = self.next(LEASES)?.ok_or_else(|| broken("the lease clock is missing"))?;
        let clock = LeaseClock::read(Reader::new(clock)).map_err(malformed)?;
        if clock.ticked > head.mark.term {
            return Err(broken("the lease clock was moved in a later term"));
        }
        let mut list: Vec<LeaseItem> = Vec::new();
        while let Some(item) = self.next(LEASES)? {
            let lease = LeaseItem::read(Reader::new(item), clock.clock).map_err(malformed)?;
            if list.last().is_some_and(|last| last.id >= lease.id) {
                return Err(broken("leases are out of order"));
            }
            if lease.grant > head.mark.index {
                return Err(broken("a lease was granted by a later entry"));
            }
            list.push(lease);
        }
        let leases = list.into_iter().map(|it| (it.id, Lease::new(it.ttl, it.grant, it.until)));
        Ok(Leases::restore(clock.clock, clock.ticked, leases))
    }

    /// The end section is there, agrees with what was read, and nothing follows.
    fn end(mut self) -> Result<()> {
        let (count, sum) = self.one(END, |mut item| {
            let end = (item.u64("image: sections")?, item.u32("image: checksum")?);
            item.end("image: end")?;
            Ok(end)
        })?;
        if (count, sum) != (self.count, self.sum) {
            return Err(broken("the checksum over all sections does not match"));
        }
        if self.ahead.is_some() || self.sections.next().is_some() {
            return Err(broken("something follows the end"));
        }
        Ok(())
    }
}

/// Finds out which keys are attached to which leases (`LSE-24`).
fn attach(leases: &mut Leases, mvcc: &Mvcc) -> Result<()> {
    for (key, lease) in mvcc.leased() {
        if !leases.attach(&key, lease) {
            return Err(broken("a key names a lease that is not there"));
        }
    }
    Ok(())
}

/// Takes a whole item off the front, if there is one.
fn split_item(pending: &mut BytesMut) -> Option<BytesMut> {
    let len = u32::from_le_bytes(*pending.first_chunk()?);
    let end = usize::try_from(len).ok()?.checked_add(4)?;
    if pending.len() < end {
        return None;
    }
    let mut item = pending.split_to(end);
    Some(item.split_off(4))
}

/// The records of an image: exactly as many as the head promised.
struct Records<'a, I> {
    stream: &'a mut Stream<I>,
    left: u64,
}

impl<I: Iterator<Item = Result<Section>>> Iterator for Records<'_, I> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        let item = match self.stream.next(RECORDS) {
            Ok(Some(item)) => item,
            Ok(None) if self.left == 0 => return None,
            Ok(None) => return Some(Err(broken("records are missing"))),
            Err(error) => return Some(Err(error)),
        };
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Some(Err(broken("there are more records than the head says"))),
        }
        Some(Record::from_bytes(&item).map_err(broken))
    }
}

fn broken(what: &str) -> Error {
    Error::corrupt(format!("the image is damaged: {what}"))
}

fn malformed(cause: Malformed) -> Error {
    broken("an item cannot be read").because(cause)
}
