//! What is printed.

use std::fmt::Write as _;

use super::Done;
use super::command::{Kind, Place};
use super::play::{Play, is_told};
use crate::core::mvcc::{Event as Change, EventKind, KeyValue, Record};
use crate::core::replica::consensus::Role;
use crate::core::replica::io::{Output, Persist};
use crate::entry::HardState;
use crate::ids::{NodeId, Revision};
use crate::keys::KeyRange;
use crate::service::{WatchBatch, WatchEnd};
use crate::sim::node::{Life, Node};
use crate::sim::trace::Event;
use crate::sim::world::World;

/// In milliseconds.
pub(super) fn time(nanos: u64) -> String {
    let (ms, rest) = (nanos / 1_000_000, nanos % 1_000_000);
    if rest == 0 { format!("{ms}ms") } else { format!("{ms}.{rest:06}ms") }
}

/// In milliseconds, without what is left of one.
pub(super) fn span_of(span: std::time::Duration) -> String {
    format!("{}ms", span.as_millis())
}

pub(super) fn event(world: &World, event: &Event, all: bool) -> Option<String> {
    let text = (all || is_told(event)).then(|| world.trace.text(event))?;
    Some(text.strip_suffix(" (held)").map_or(text.clone(), str::to_owned))
}

/// It is held, and a heartbeat that asks for nothing, or about votes while one is elected.
pub(super) fn is_noise(world: &World, event: &Event, electing: bool) -> bool {
    let Event::Held { from, to, envelope } = event else { return false };
    let text = world.trace.read(*from, *to, envelope);
    let heartbeat = text.starts_with("heartbeat") || text.starts_with("heard");
    (heartbeat && !text.contains("read round"))
        || (electing && Kind::votes().iter().any(|kind| kind.fits(&text)))
}

pub(super) fn range(key: &str, to: Option<&str>) -> KeyRange {
    match to {
        Some(to) => KeyRange::from(key.to_owned()..to.to_owned()),
        None => KeyRange::key(key.to_owned()),
    }
}

pub(super) fn span(key: &str, to: Option<&str>) -> String {
    to.map_or_else(|| key.to_owned(), |to| format!("{key}..{to}"))
}

pub(super) fn read(key: &str, to: Option<&str>, rev: Option<u64>) -> String {
    let at = rev.map_or_else(String::new, |rev| format!(" at {rev}"));
    format!("read {}{at}", span(key, to))
}

/// `key=value@created/modified/version`.
pub(super) fn kv(kv: &KeyValue) -> String {
    let (create, modified) = (kv.create_revision(), kv.mod_revision());
    format!("{}={}@{create}/{modified}/{}", short(kv.key()), short(kv.value()), kv.version())
}

/// What a watcher is given.
pub(super) fn told(told: &Result<WatchBatch, WatchEnd>) -> String {
    let batch = match told {
        Ok(batch) => batch,
        Err(end) => return format!("ends: {end}"),
    };
    if batch.is_progress() {
        return format!("is up to {}", batch.revision());
    }
    let events: Vec<String> = batch.events().iter().map(change).collect();
    let rest = if batch.is_fragment() { ", and more is to come" } else { "" };
    format!("is given {}, up to {}{rest}", events.join(", "), batch.revision())
}

fn change(event: &Change) -> String {
    let text = match event.kind() {
        EventKind::Put => kv(event.kv()),
        EventKind::Delete => format!("{} gone@{}", short(event.key()), event.revision()),
    };
    let new = if event.is_create() { " new" } else { "" };
    let was = event.prev().map_or_else(String::new, |prev| format!(" was {}", kv(prev)));
    format!("{text}{new}{was}")
}

/// A key or a value; a long one is one byte so many times.
pub(super) fn short(bytes: &[u8]) -> String {
    match bytes.len() {
        count @ 41.. => format!("{}×{count}", bytes.first().map_or('-', |byte| char::from(*byte))),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn name(world: &World, id: NodeId) -> String {
    let found = world.nodes.iter().find(|node| node.id == id);
    found.map_or_else(|| "-".to_owned(), |node| node.name.clone())
}

/// What a disk is to write.
pub(super) fn batch(world: &World, batch: &[Persist]) -> String {
    let mut parts = Vec::new();
    for persist in batch {
        if let Some(mark) = &persist.install {
            parts.push(format!("the snapshot at {}", mark.index));
        }
        if let (Some(first), Some(last)) = (persist.entries.first(), persist.entries.last()) {
            parts.push(format!("{}..={} of term {}", first.index, last.index, last.term));
        }
        if let Some(HardState { term, vote, commit }) = persist.hard_state {
            let vote = name(world, vote);
            parts.push(format!("(term {term}, vote {vote}, commit {commit})"));
        }
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// A job that concerns a whole state.
pub(super) fn job(job: &Output) -> String {
    match job {
        Output::TakeSnapshot(image) => format!("write the snapshot at {}", image.mark().index),
        Output::ReadChunk { offset, len, .. } => format!("read {len} bytes at {offset}"),
        Output::Stage(file) => format!("make room for the snapshot at {}", file.mark.index),
        Output::StageChunk { offset, bytes, .. } => {
            format!("keep {} bytes at {offset}", bytes.len())
        }
        Output::StageFinish { .. } => "check what it has received".to_owned(),
        Output::Unstage { .. } => "throw away what it has received".to_owned(),
        Output::Discard(_) => "free the old state".to_owned(),
        _ => "do something".to_owned(),
    }
}

impl Play {
    pub(super) fn status(&mut self, names: &[Place]) -> Done {
        for place in self.places(names)? {
            let text = {
                let world = self.world()?.lock();
                world.nodes.get(place).map(|node| standing(&world, node)).unwrap_or_default()
            };
            self.say(text);
        }
        Ok(())
    }

    pub(super) fn logs(&mut self, names: &[Place]) -> Done {
        for place in self.places(names)? {
            let text = {
                let world = self.world()?.lock();
                world.nodes.get(place).map(log).unwrap_or_default()
            };
            self.say(text);
        }
        Ok(())
    }

    pub(super) fn removals(&mut self, names: &[Place]) -> Done {
        for place in self.places(names)? {
            let text = {
                let world = self.world()?.lock();
                world.nodes.get(place).map(removed).unwrap_or_default()
            };
            self.say(text);
        }
        Ok(())
    }

    pub(super) fn histories(&mut self, names: &[Place]) -> Done {
        for place in self.places(names)? {
            let text = {
                let world = self.world()?.lock();
                world.nodes.get(place).map(history).unwrap_or_default()
            };
            self.say(text);
        }
        Ok(())
    }

    pub(super) fn show_held(&mut self) -> Done {
        let lines: Vec<String> = {
            let world = self.world()?.lock();
            let line = |(from, to, envelope): &(usize, usize, bytes::Bytes)| {
                let text = world.trace.read(*from, *to, envelope);
                format!("{} → {} {text}", world.name(*from), world.name(*to))
            };
            world.held.iter().map(line).collect()
        };
        for line in lines {
            self.say(line);
        }
        Ok(())
    }
}

fn standing(world: &World, node: &Node) -> String {
    let own = &node.name;
    let Some(replica) = node.replica() else {
        return match node.state {
            Life::Refused => format!("{own} does not open"),
            _ => format!("{own} is down"),
        };
    };
    let status = replica.status();
    let leader = status.leader.map_or_else(|| "nobody".to_owned(), |id| name(world, id));
    let does = match status.role {
        Role::Leader => "leads".to_owned(),
        Role::Follower => format!("follows {leader}"),
        Role::PreCandidate => "asks who would vote".to_owned(),
        Role::Candidate => "stands".to_owned(),
    };
    let mut text = format!("{own} {does} in term {}: ", status.term);
    let (last, commit, applied) = (status.last_index, status.commit, status.applied);
    let _ = write!(text, "log to {last}, commit {commit}, applied {applied}");
    let _ = write!(text, ", revision {}", status.revision);
    if let Some(compacted) = status.compacted {
        let _ = write!(text, " from {compacted}");
    }
    text
}

/// Every version that is kept, tombstones too.
fn removed(node: &Node) -> String {
    let Some(replica) = node.replica() else { return format!("{} is down", node.name) };
    let mvcc = replica.machine().mvcc();
    let show = |at: Option<Revision>| at.map_or_else(|| "nowhere".to_owned(), |at| at.to_string());
    let (removed, compacted) = (show(mvcc.removed()), show(mvcc.compacted()));
    let versions = mvcc.stats().versions;
    format!("{} has removed up to {removed} of {compacted}, {versions} versions", node.name)
}

fn history(node: &Node) -> String {
    let Some(replica) = node.replica() else { return format!("{} is down", node.name) };
    let image = replica.machine().pin();
    let from = image.compacted().map_or_else(String::new, |at| format!(" from {at}"));
    let record = |record: &Record| {
        let (at, key) = (record.main(), String::from_utf8_lossy(record.key()));
        if record.is_tombstone() {
            return format!("{at}: {key} gone");
        }
        format!("{at}: {key}={}", short(record.value()))
    };
    let records: Vec<String> = image.records().map(record).collect();
    let records = if records.is_empty() { "nothing".to_owned() } else { records.join(", ") };
    format!("{}{from}, at revision {}: {records}", node.name, image.revision())
}

/// The log as the terms of its entries.
fn log(node: &Node) -> String {
    let Some(replica) = node.replica() else { return format!("{} is down", node.name) };
    let look = replica.look().log;
    let persisted = replica.persisted().get();
    let mut text = format!("{}:", node.name);
    let (base, term) = look.base;
    let founding = base.get() == 1;
    let _ = if founding { write!(text, " {term}") } else { write!(text, " ..{base}/{term}") };
    for entry in look.entries.iter() {
        let (index, term) = (entry.index.get(), entry.term);
        if index == look.commit.get() + 1 {
            text.push_str(" |");
        }
        let _ = if index > persisted { write!(text, " ({term})") } else { write!(text, " {term}") };
    }
    text
}
