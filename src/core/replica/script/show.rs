//! What the runner prints of what a node asks for.

use crate::core::lease::Opened;
use crate::core::machine::Outcome;
use crate::core::mvcc::KeyValue;
use crate::core::replica::envelope::{Address, Envelope};
use crate::core::replica::io::Persist;
use crate::entry::HardState;
use crate::ids::{ClusterId, Incarnation, NodeId};

pub(super) fn envelope(to: NodeId, from: NodeId, envelope: bytes::Bytes) -> String {
    let incarnation = Incarnation::new(100 + to.get());
    let address = Address { cluster: ClusterId::new(7), node: to, incarnation };
    match Envelope::open(&address, from, envelope).map(|opened| opened.body()) {
        Ok(Ok(body)) => body.to_string(),
        other => format!("{other:?}"),
    }
}

pub(super) fn persist(persist: &Persist) -> String {
    let mut parts = Vec::new();
    if let Some(mark) = &persist.install {
        parts.push(format!("snapshot {}", mark.index));
    }
    if let (Some(first), Some(last)) = (persist.entries.first(), persist.entries.last()) {
        parts.push(format!("entries {}..={} of term {}", first.index, last.index, last.term));
    }
    if let Some(HardState { term, vote, commit }) = persist.hard_state {
        parts.push(format!("term {term} vote n{vote} commit {commit}"));
    }
    parts.join(", ")
}

pub(super) fn kv(kv: &KeyValue) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (create, modified) = (kv.create_revision(), kv.mod_revision());
    format!("{}={}@{create}/{modified}/{}", text(kv.key()), text(kv.value()), kv.version())
}

pub(super) fn opened(opened: &Opened) -> String {
    match opened {
        Opened::Kept(offered) => {
            let Some(kept) = offered.kept() else { return "keeps nothing".to_owned() };
            let until = kept.deadline().nanos() / 1_000_000;
            format!("keeps lease {} of {:?} until {until} ms", kept.lease(), kept.ttl())
        }
        Opened::Not(reason) => format!("keeps nothing: {}", outcome(reason)),
    }
}

pub(super) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Put { revision, prev: None } => format!("put at revision {revision}"),
        Outcome::Put { revision, prev: Some(prev) } => {
            format!("put at revision {revision}, before it {}", kv(prev))
        }
        Outcome::Deleted { revision, count, .. } => {
            format!("deleted {count} at revision {revision}")
        }
        other => format!("{other:?}"),
    }
}
