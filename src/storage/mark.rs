//! A snapshot mark as bytes: in the log and at the head of a snapshot file.

use bytes::{BufMut, BytesMut};

use crate::codec::{Malformed, Reader};
use crate::entry::{ConfState, SnapshotMark};
use crate::ids::{Index, NodeId, Term};

/// Index, term, then the configuration.
pub(super) fn put_mark(out: &mut BytesMut, mark: &SnapshotMark) {
    out.put_u64_le(mark.index.get());
    out.put_u64_le(mark.term.get());
    let conf = &mark.conf;
    for list in [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next] {
        out.put_u32_le(u32::try_from(list.len()).unwrap_or(u32::MAX));
        for id in list {
            out.put_u64_le(id.get());
        }
    }
    out.put_u8(u8::from(conf.auto_leave));
}

pub(super) fn read_mark(reader: &mut Reader) -> Result<SnapshotMark, Malformed> {
    let index = Index::new(reader.u64("snapshot index")?);
    let term = Term::new(reader.u64("snapshot term")?);
    let voters = read_ids(reader, "voters")?;
    let learners = read_ids(reader, "learners")?;
    let voters_outgoing = read_ids(reader, "outgoing voters")?;
    let learners_next = read_ids(reader, "next learners")?;
    let auto_leave = match reader.u8("auto leave")? {
        0 => false,
        1 => true,
        _ => return Err(Malformed { what: "auto leave" }),
    };
    let conf = ConfState { voters, learners, voters_outgoing, learners_next, auto_leave };
    Ok(SnapshotMark { index, term, conf })
}

fn read_ids(reader: &mut Reader, what: &'static str) -> Result<Vec<NodeId>, Malformed> {
    let count = reader.count(8, what)?;
    (0..count).map(|_| Ok(NodeId::new(reader.u64(what)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_what_it_puts(lists: [Vec<u64>; 4], auto_leave: bool, index: u64, term: u64) {
            let [voters, learners, voters_outgoing, learners_next] =
                lists.map(|list| list.into_iter().map(NodeId::new).collect::<Vec<_>>());
            let conf = ConfState { voters, learners, voters_outgoing, learners_next, auto_leave };
            let mark = SnapshotMark { index: Index::new(index), term: Term::new(term), conf };
            let mut out = BytesMut::new();
            put_mark(&mut out, &mark);
            let mut reader = Reader::new(out.freeze());
            prop_assert_eq!(read_mark(&mut reader), Ok(mark));
            prop_assert_eq!(reader.remaining(), 0);
        }

        #[test]
        fn survives_any_bytes(bytes: Vec<u8>) {
            let _ = read_mark(&mut Reader::new(Bytes::from(bytes)));
        }
    }
}
