//! The items of an image, byte by byte. `docs/on-disk.md` has the tables.

use bytes::{BufMut, BytesMut};

use super::super::lease::{Lease, MAX_CLOCK_MS, MAX_TTL_MS};
use super::super::member::Member;
use super::super::outcome::Refusal;
use super::super::session::{MAX_WINDOW, Session, Stored};
use crate::codec::{self, Malformed, Reader};
use crate::entry::{ConfState, SnapshotMark};
use crate::ids::{ClusterId, Incarnation, Index, LeaseId, NodeId, Revision, Term};

/// What stands first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) cluster: ClusterId,
    pub(super) mark: SnapshotMark,
    pub(super) revision: Revision,
    pub(super) compacted: Option<Revision>,
    pub(super) members: u32,
    pub(super) sessions: u32,
}

impl Head {
    /// `records`: how many there are.
    pub(super) fn write(&self, out: &mut BytesMut, records: u64) {
        out.put_u64_le(self.cluster.get());
        out.put_u64_le(self.mark.index.get());
        out.put_u64_le(self.mark.term.get());
        write_conf(out, &self.mark.conf);
        out.put_u64_le(self.revision.get());
        write_option(out, self.compacted.map(Revision::get));
        out.put_u32_le(self.members);
        out.put_u32_le(self.sessions);
        out.put_u64_le(records);
    }

    pub(super) fn read(mut item: Reader) -> Result<(Self, u64), Malformed> {
        let cluster = ClusterId::new(item.u64("head: cluster")?);
        let index = Index::new(item.u64("head: index")?);
        let term = Term::new(item.u64("head: term")?);
        let conf = read_conf(&mut item)?;
        let head = Self {
            cluster,
            mark: SnapshotMark { index, term, conf },
            revision: Revision::new(item.u64("head: revision")?),
            compacted: read_option(&mut item, "head: compacted")?.map(Revision::new),
            members: item.u32("head: members")?,
            sessions: item.u32("head: sessions")?,
        };
        let records = item.u64("head: records")?;
        item.end("head")?;
        Ok((head, records))
    }
}

fn write_conf(out: &mut BytesMut, conf: &ConfState) {
    for list in [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next] {
        out.put_u32_le(u32::try_from(list.len()).unwrap_or(u32::MAX));
        list.iter().for_each(|id| out.put_u64_le(id.get()));
    }
    out.put_u8(u8::from(conf.auto_leave));
}

fn read_conf(item: &mut Reader) -> Result<ConfState, Malformed> {
    Ok(ConfState {
        voters: read_ids(item)?,
        learners: read_ids(item)?,
        voters_outgoing: read_ids(item)?,
        learners_next: read_ids(item)?,
        auto_leave: read_flag(item, "configuration: auto leave")?,
    })
}

fn read_ids(item: &mut Reader) -> Result<Vec<NodeId>, Malformed> {
    let count = item.count(8, "configuration")?;
    (0..count).map(|_| item.u64("configuration").map(NodeId::new)).collect()
}

pub(super) fn write_member(out: &mut BytesMut, member: &Member) {
    out.put_u64_le(member.id.get());
    out.put_u8(u8::from(member.learner));
    write_option(out, member.incarnation.map(Incarnation::get));
    codec::put_bytes(out, member.name.as_bytes());
    codec::put_bytes(out, member.address.as_bytes());
}

pub(super) fn read_member(mut item: Reader) -> Result<Member, Malformed> {
    let member = Member {
        id: NodeId::new(item.u64("member: id")?),
        learner: read_flag(&mut item, "member: learner")?,
        incarnation: read_option(&mut item, "member: incarnation")?.map(Incarnation::new),
        name: read_text(&mut item, "member: name")?,
        address: read_text(&mut item, "member: address")?,
    };
    item.end("member")?;
    Ok(member)
}

pub(super) fn write_session(out: &mut BytesMut, node: NodeId, session: &Session) {
    out.put_u64_le(node.get());
    out.put_u64_le(session.incarnation.get());
    out.put_u64_le(session.boot);
    out.put_u64_le(session.base);
    out.put_u32_le(u32::try_from(session.window.len()).unwrap_or(u32::MAX));
    session.window.iter().for_each(|slot| write_slot(out, *slot));
}

pub(super) fn read_session(mut item: Reader) -> Result<(NodeId, Session), Malformed> {
    let node = NodeId::new(item.u64("session: node")?);
    let incarnation = Incarnation::new(item.u64("session: incarnation")?);
    let boot = item.u64("session: boot")?;
    let base = item.u64("session: base")?;
    let count = item.count(1, "session: window")?;
    let window = (0..count).map(|_| read_slot(&mut item)).collect::<Result<_, _>>()?;
    let session = Session { incarnation, boot, base, window };
    item.end("session")?;
    if count > MAX_WINDOW || session.window.back() == Some(&None) {
        return Err(Malformed { what: "session: window" });
    }
    Ok((node, session))
}

/// Where the lease clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseClock {
    pub(super) clock: u64,
    pub(super) ticked: Term,
}

impl LeaseClock {
    pub(super) fn write(self, out: &mut BytesMut) {
        out.put_u64_le(self.clock);
        out.put_u64_le(self.ticked.get());
    }

    pub(super) fn read(mut item: Reader) -> Result<Self, Malformed> {
        let clock = item.u64("leases: clock")?;
        let ticked = Term::new(item.u64("leases: term")?);
        item.end("leases: clock")?;
        if clock > MAX_CLOCK_MS {
            return Err(Malformed { what: "leases: clock" });
        }
        Ok(Self { clock, ticked })
    }
}

/// A lease, without its keys: they name it (`LSE-19`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseItem {
    pub(super) id: LeaseId,
    pub(super) ttl: u64,
    pub(super) grant: Index,
    pub(super) until: Option<u64>,
}

impl LeaseItem {
    pub(super) fn of(id: LeaseId, lease: &Lease) -> Self {
        Self { id, ttl: lease.ttl, grant: lease.grant, until: lease.until }
    }

    pub(super) fn write(self, out: &mut BytesMut) {
        out.put_u64_le(self.id.get());
        out.put_u64_le(self.ttl);
        out.put_u64_le(self.grant.get());
        write_option(out, self.until);
    }

    /// One that is due may be left over from a tick; none has more than its whole time.
    pub(super) fn read(mut item: Reader, clock: u64) -> Result<Self, Malformed> {
        let lease = Self {
            id: LeaseId::new(item.u64("lease: id")?),
            ttl: item.u64("lease: TTL")?,
            grant: Index::new(item.u64("lease: grant")?),
            until: read_option(&mut item, "lease: until")?,
        };
        item.end("lease")?;
        let Self { id, ttl, until, .. } = lease;
        let last = clock.saturating_add(ttl);
        let fits = until.is_none_or(|until| until <= last);
        if id == LeaseId::new(0) || !(1..=MAX_TTL_MS).contains(&ttl) || !fits {
            return Err(Malformed { what: "lease" });
        }
        Ok(lease)
    }
}

/// A place of a window: what it holds, then up to two numbers.
fn write_slot(out: &mut BytesMut, slot: Option<Stored>) {
    let (tag, first, second) = match slot {
        None => (0, None, None),
        Some(Stored::Put { revision }) => (1, Some(revision.get()), None),
        Some(Stored::Deleted { revision, count }) => (2, Some(revision.get()), Some(count)),
        Some(Stored::Compacted { revision }) => (3, Some(revision.get()), None),
        Some(Stored::Announced) => (4, None, None),
        Some(Stored::Refused(refusal)) => match refusal {
            Refusal::LeaseNotFound(lease) => (5, Some(lease.get()), None),
            Refusal::Compacted { asked, compacted } => {
                (6, Some(asked.get()), Some(compacted.get()))
            }
            Refusal::FutureRevision { asked, current } => {
                (7, Some(asked.get()), Some(current.get()))
            }
            Refusal::NotMember(node) => (8, Some(node.get()), None),
            Refusal::OtherIncarnation { node, bound } => (9, Some(node.get()), Some(bound.get())),
            Refusal::WindowFull(node) => (10, Some(node.get()), None),
            Refusal::KeyNotFound => (11, None, None),
            Refusal::LeaseExists(lease) => (14, Some(lease.get()), None),
        },
        Some(Stored::Txn { revision, succeeded: true }) => (12, Some(revision.get()), None),
        Some(Stored::Txn { revision, succeeded: false }) => (13, Some(revision.get()), None),
        Some(Stored::Granted { lease, ttl }) => (15, Some(lease.get()), Some(ttl)),
        Some(Stored::Revoked { lease, revision }) => (16, Some(lease.get()), Some(revision.get())),
    };
    out.put_u8(tag);
    first.into_iter().chain(second).for_each(|number| out.put_u64_le(number));
}

fn read_slot(item: &mut Reader) -> Result<Option<Stored>, Malformed> {
    const WHAT: &str = "session: outcome";
    let tag = item.u8(WHAT)?;
    let mut number = || item.u64(WHAT);
    let stored = match tag {
        0 => return Ok(None),
        1 => Stored::Put { revision: Revision::new(number()?) },
        2 => Stored::Deleted { revision: Revision::new(number()?), count: number()? },
        3 => Stored::Compacted { revision: Revision::new(number()?) },
        4 => Stored::Announced,
        5 => Stored::Refused(Refusal::LeaseNotFound(LeaseId::new(number()?))),
        6 => Stored::Refused(Refusal::Compacted {
            asked: Revision::new(number()?),
            compacted: Revision::new(number()?),
        }),
        7 => Stored::Refused(Refusal::FutureRevision {
            asked: Revision::new(number()?),
            current: Revision::new(number()?),
        }),
        8 => Stored::Refused(Refusal::NotMember(NodeId::new(number()?))),
        9 => Stored::Refused(Refusal::OtherIncarnation {
            node: NodeId::new(number()?),
            bound: Incarnation::new(number()?),
        }),
        10 => Stored::Refused(Refusal::WindowFull(NodeId::new(number()?))),
        11 => Stored::Refused(Refusal::KeyNotFound),
        12 | 13 => Stored::Txn { revision: Revision::new(number()?), succeeded: tag == 12 },
        14 => Stored::Refused(Refusal::LeaseExists(LeaseId::new(number()?))),
        15 => Stored::Granted { lease: LeaseId::new(number()?), ttl: number()? },
        16 => {
            Stored::Revoked { lease: LeaseId::new(number()?), revision: Revision::new(number()?) }
        }
        _ => return Err(Malformed { what: WHAT }),
    };
    Ok(Some(stored))
}

fn write_option(out: &mut BytesMut, number: Option<u64>) {
    out.put_u8(u8::from(number.is_some()));
    out.put_u64_le(number.unwrap_or(0));
}

fn read_option(item: &mut Reader, what: &'static str) -> Result<Option<u64>, Malformed> {
    match (read_flag(item, what)?, item.u64(what)?) {
        (true, number) => Ok(Some(number)),
        (false, 0) => Ok(None),
        (false, _) => Err(Malformed { what }),
    }
}

fn read_flag(item: &mut Reader, what: &'static str) -> Result<bool, Malformed> {
    match item.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed { what }),
    }
}

fn read_text(item: &mut Reader, what: &'static str) -> Result<String, Malformed> {
    String::from_utf8(item.bytes(what)?.to_vec()).map_err(|_| Malformed { what })
}
