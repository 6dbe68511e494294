//! What happened: the last of it to read, all of it as one number.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use super::dice::FNV_BASIS;
use super::faults::Fault;
use crate::core::replica::envelope::{Address, Envelope};
use crate::ids::NodeId;

/// So many events are kept to be read.
const KEPT: usize = 256;

/// One event. Members by their place.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Sent {
        from: usize,
        to: usize,
        envelope: Bytes,
        arrives: Option<u64>,
    },
    /// It waits until it is delivered by hand.
    Held {
        from: usize,
        to: usize,
        envelope: Bytes,
    },
    Arrived {
        from: usize,
        to: usize,
        envelope: Bytes,
    },
    Turned {
        node: usize,
        term: u64,
        applied: u64,
    },
    Synced {
        node: usize,
        last: u64,
    },
    Snapshot {
        node: usize,
        index: u64,
    },
    Opened {
        node: usize,
        applied: u64,
        last: u64,
    },
    Refused {
        node: usize,
        why: String,
    },
    Halted {
        node: usize,
        why: String,
    },
    Crashed {
        node: usize,
        power: bool,
    },
    Began {
        fault: Fault,
        what: String,
    },
    Ended {
        fault: Fault,
        what: String,
    },
    Said {
        text: String,
    },
}

/// The events of a simulation.
#[derive(Debug)]
pub(super) struct Trace {
    names: Vec<(String, Address)>,
    last: VecDeque<(u64, Event)>,
    /// Everything so far: equal for equal runs.
    hash: u64,
    count: u64,
    /// Each event as a line, if somebody wants to read them all.
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(super) fn new(names: Vec<(String, Address)>) -> Self {
        let last = VecDeque::with_capacity(KEPT);
        Self { names, last, hash: FNV_BASIS, count: 0, lines: None }
    }

    /// From now on every event is kept as text too.
    pub(super) fn read_all(&mut self) {
        self.lines.get_or_insert_with(Vec::new);
    }

    /// The text since the last call.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The identity of a member, once it has one: without it its envelopes cannot be read.
    pub(super) fn know(&mut self, node: usize, address: Address) {
        if let Some((_, known)) = self.names.get_mut(node) {
            *known = address;
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn add(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.fold(at);
        self.digest(&event);
        if let Some(lines) = &mut self.lines {
            lines.push(Line { names: Names(&self.names), at, event: &event }.to_string());
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back((at, event));
    }

    /// All events if they were kept, else the last, as lines.
    pub(super) fn story(&self) -> Vec<String> {
        self.lines.clone().unwrap_or_else(|| self.tail(usize::MAX))
    }

    /// The last events, as lines.
    pub(super) fn tail(&self, count: usize) -> Vec<String> {
        let skip = self.last.len().saturating_sub(count);
        let lines = self.last.iter().skip(skip);
        lines
            .map(|(at, event)| Line { names: Names(&self.names), at: *at, event }.to_string())
            .collect()
    }

    /// The events that came after the first `count`, as far as they are kept.
    #[cfg(test)]
    pub(super) fn after(&self, count: u64) -> impl Iterator<Item = &Event> {
        let new = usize::try_from(self.count - count).unwrap_or(usize::MAX);
        self.last.iter().skip(self.last.len().saturating_sub(new)).map(|(_, event)| event)
    }

    /// An event in words, without its time.
    #[cfg(test)]
    pub(super) fn text(&self, event: &Event) -> String {
        let line = Line { names: Names(&self.names), at: 0, event }.to_string();
        line.trim_start().split_once(' ').map(|(_, text)| text.to_owned()).unwrap_or_default()
    }

    /// What an envelope says.
    #[cfg(test)]
    pub(super) fn read(&self, from: usize, to: usize, envelope: &Bytes) -> String {
        Names(&self.names).envelope(from, to, envelope)
    }

    fn fold(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn digest(&mut self, event: &Event) {
        let bytes = |bytes: &[u8]| u64::from(crc32fast::hash(bytes));
        let values = match event {
            Event::Sent { from, to, envelope, arrives } => {
                [1, pair(*from, *to), bytes(envelope), arrives.unwrap_or(u64::MAX)]
            }
            Event::Arrived { from, to, envelope } => {
                [2, pair(*from, *to), envelope.len() as u64, 0]
            }
            Event::Held { from, to, envelope } => [13, pair(*from, *to), bytes(envelope), 0],
            Event::Turned { node, term, applied } => [3, pair(*node, 0), *term, *applied],
            Event::Synced { node, last } => [4, pair(*node, 0), *last, 0],
            Event::Snapshot { node, index } => [5, pair(*node, 0), *index, 0],
            Event::Opened { node, applied, last } => [6, pair(*node, 0), *applied, *last],
            Event::Refused { node, why } => [7, pair(*node, 0), bytes(why.as_bytes()), 0],
            Event::Halted { node, why } => [8, pair(*node, 0), bytes(why.as_bytes()), 0],
            Event::Crashed { node, power } => [9, pair(*node, 0), u64::from(*power), 0],
            Event::Began { fault, what } => [10, *fault as u64, bytes(what.as_bytes()), 0],
            Event::Ended { fault, what } => [11, *fault as u64, bytes(what.as_bytes()), 0],
            Event::Said { text } => [12, bytes(text.as_bytes()), 0, 0],
        };
        for value in values {
            self.fold(value);
        }
    }
}

fn pair(from: usize, to: usize) -> u64 {
    (from as u64) << 16 | to as u64
}

/// An event with what is needed to print it.
struct Line<'a> {
    names: Names<'a>,
    at: u64,
    event: &'a Event,
}

/// Who is who.
#[derive(Clone, Copy)]
struct Names<'a>(&'a [(String, Address)]);

impl Names<'_> {
    fn name(&self, node: usize) -> &str {
        self.0.get(node).map_or("?", |(name, _)| name)
    }

    fn envelope(&self, from: usize, to: usize, envelope: &Bytes) -> String {
        let id = self.0.get(from).map_or(NodeId::default(), |(_, address)| address.node);
        let opened = self.0.get(to).and_then(|(_, address)| {
            Envelope::open(address, id, envelope.clone()).ok()?.body().ok()
        });
        match opened {
            Some(body) => body.to_string(),
            None => format!("{} bytes that are not for it", envelope.len()),
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4}.{:06} ", self.at / 1_000_000_000, self.at / 1_000 % 1_000_000)?;
        match self.event {
            Event::Sent { from, to, envelope, arrives } => {
                let text = self.names.envelope(*from, *to, envelope);
                write!(f, "{} → {} {text}", self.names.name(*from), self.names.name(*to))?;
                if arrives.is_none() { f.write_str(" (lost)") } else { Ok(()) }
            }
            Event::Held { from, to, envelope } => {
                let text = self.names.envelope(*from, *to, envelope);
                write!(f, "{} → {} {text} (held)", self.names.name(*from), self.names.name(*to))
            }
            Event::Arrived { from, to, envelope } => {
                let text = self.names.envelope(*from, *to, envelope);
                write!(f, "{} ← {} {text}", self.names.name(*to), self.names.name(*from))
            }
            Event::Turned { node, term, applied } => {
                write!(f, "{} decides: term {term}, applied {applied}", self.names.name(*node))
            }
            Event::Synced { node, last } => {
                write!(f, "{} is durable up to {last}", self.names.name(*node))
            }
            Event::Snapshot { node, index } => {
                write!(f, "{} has a snapshot at {index}", self.names.name(*node))
            }
            Event::Opened { node, applied, last } => {
                write!(f, "{} opens: state of {applied}, log to {last}", self.names.name(*node))
            }
            Event::Refused { node, why } => {
                write!(f, "{} does not open: {why}", self.names.name(*node))
            }
            Event::Halted { node, why } => write!(f, "{} halts: {why}", self.names.name(*node)),
            Event::Crashed { node, power: false } => {
                write!(f, "{} is killed", self.names.name(*node))
            }
            Event::Crashed { node, power: true } => {
                write!(f, "{} loses power", self.names.name(*node))
            }
            Event::Began { fault, what } => write!(f, "{fault}: {what}"),
            Event::Ended { fault, what } => write!(f, "{fault} ends: {what}"),
            Event::Said { text } => f.write_str(text),
        }
    }
}
