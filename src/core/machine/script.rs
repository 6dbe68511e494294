//! Runs the scripts in `tests/scripts/machine/`. Each starts with members 1, 2 and 3, and an empty
//! store.
//!
//! ```text
//! NODE: put KEY=VALUE [lease=ID] [prev] [keep-value] [keep-lease]
//!                                            one entry, proposed by NODE
//! NODE: txn 'TXN'                            see script/language.rs; checked as its proposer does
//! NODE: delete KEY [END] [prev]              END "\0": everything from KEY on
//! NODE: compact R
//! NODE: announce MEMBER INCARNATION
//! NODE: grant ID TTL                         0: an id is chosen; the TTL in milliseconds
//! NODE: revoke ID
//! NODE: renew ID..
//! NODE: tick MS                              so much time has passed
//!   seq=N        the next one of the node and boot if not given
//!   ack=N        the watermark; the one before, at first 1, if not given
//!   boot=N       likewise; a new boot starts at sequence 1
//!   inc=N        the node's incarnation; NODE * 11 if not given
//!   index=N term=N    where the entry stands; the next place, in the term before
//! empty                                      a new leader's first entry
//! conf ID.. [learners=ID,..] [outgoing=ID,..]
//! raw HEX                                    an entry with these bytes
//! state                                      everything but the records and leases
//! leases                                     the lease clock and every lease by when it is due
//! records                                    every record by position
//! outcome NODE boot=N seq=N                  what became of it?
//! pin                                        keeps an image of this moment
//! sections                                   what the image consists of
//! install                                    puts a machine restored from the image in place
//! ```

mod language;

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt::Write as _;

use bytes::Bytes;
use goldenscript::{ArgumentConsumer, Context};

use super::tests::{genesis, member_ids};
use super::txn::{Delete, OpOutcome, Put, TxnOutcome};
use super::*;
use crate::core::mvcc::script::number;
use crate::core::mvcc::{KeyValue, Reader};
use crate::ids::{Incarnation, Index, LeaseId, Revision};
use crate::keys::KeyRange;

/// Operations that a transaction may have, as by default.
const MAX_TXN_OPS: usize = 128;

type Text<T = String> = std::result::Result<T, Box<dyn StdError>>;

/// What a node's proposals carry when a script does not say.
#[derive(Clone, Copy)]
struct Habit {
    boot: u64,
    sequence: u64,
    watermark: u64,
}

struct Runner {
    machine: Machine,
    /// Made at the start: it must see what every later state publishes.
    reader: Reader,
    habits: BTreeMap<u64, Habit>,
    image: Option<Image>,
}

impl Runner {
    fn new() -> Self {
        let machine = Machine::new(genesis());
        let reader = machine.reader();
        Self { machine, reader, habits: BTreeMap::new(), image: None }
    }

    fn propose(&mut self, command: &goldenscript::Command, prefix: Option<&str>) -> Text {
        let node = prefix.ok_or("who proposes it?")?.parse()?;
        let mut args = command.consume_args();
        let origin = self.origin(node, &mut args)?;
        let place = self.place(EntryKind::Normal, &mut args)?;
        let command = parse_command(&command.name, &mut args)?;
        args.reject_next()?;
        let mut data = command.encode();
        stamp(&mut data, &origin);
        let entry = Entry { data: data.freeze(), ..place };
        let Origin { boot, sequence, watermark, .. } = origin;
        let name = format!("#{sequence} of boot {boot}");
        let text = self.apply(&entry)?;
        self.habits.insert(node, Habit { boot, sequence, watermark });
        Ok(format!("{name} {text}"))
    }

    fn origin(&self, node: u64, args: &mut ArgumentConsumer<'_>) -> Text<Origin> {
        let fresh = |boot| Habit { boot, sequence: 0, watermark: 1 };
        let habit = self.habits.get(&node).copied().unwrap_or_else(|| fresh(1));
        let boot = number(args, "boot")?.unwrap_or(habit.boot);
        let habit = if boot > habit.boot { fresh(boot) } else { habit };
        Ok(Origin {
            node: NodeId::new(node),
            incarnation: Incarnation::new(number(args, "inc")?.unwrap_or(node * 11)),
            boot,
            sequence: number(args, "seq")?.unwrap_or(habit.sequence + 1),
            watermark: number(args, "ack")?.unwrap_or(habit.watermark),
        })
    }

    /// An empty entry at the place that the arguments say, by default the next one.
    fn place(&self, kind: EntryKind, args: &mut ArgumentConsumer<'_>) -> Text<Entry> {
        let (index, term) = self.machine.applied();
        let index = number(args, "index")?.map_or(index.next(), Index::new);
        let term = number(args, "term")?.map_or(term, Term::new);
        Ok(Entry { index, term, kind, data: Bytes::new() })
    }

    fn apply(&mut self, entry: &Entry) -> Text {
        let applied = self.machine.apply(entry)?;
        self.machine.publish();
        assert_eq!(self.reader.revision(), self.machine.mvcc().revision());
        Ok(format!("at {}: {}\n", entry.index, show_outcome(&applied.outcome)))
    }

    fn conf(&mut self, args: &mut ArgumentConsumer<'_>) -> Text {
        let mut conf = ConfState::default();
        for (key, list) in [
            ("learners", &mut conf.learners),
            ("outgoing", &mut conf.voters_outgoing),
            ("next", &mut conf.learners_next),
        ] {
            for id in args.take_key(key).into_iter().flat_map(|ids| ids.split(',')) {
                list.push(NodeId::new(id.parse()?));
            }
        }
        let entry = self.place(EntryKind::ConfChange, args)?;
        while let Some(id) = args.next_pos() {
            conf.voters.push(NodeId::new(id.parse()?));
        }
        args.reject_next()?;
        self.machine.apply_conf(&entry, conf)?;
        Ok(format!("at {}\n", entry.index))
    }

    fn state(&self) -> Text {
        let (index, term) = self.machine.applied();
        let conf = self.machine.conf();
        let mut out = format!("applied {index} term {term}, revision ");
        write!(out, "{}, ", self.machine.mvcc().revision())?;
        match self.machine.mvcc().compacted() {
            Some(compacted) => writeln!(out, "compacted {compacted}")?,
            None => writeln!(out, "never compacted")?,
        }
        write!(out, "voters {:?}", member_ids(&conf.voters))?;
        write!(out, " learners {:?}", member_ids(&conf.learners))?;
        writeln!(out, " outgoing {:?}", member_ids(&conf.voters_outgoing))?;
        for member in self.machine.members().iter() {
            write!(out, "member {} \"{}\" at \"{}\"", member.id, member.name, member.address)?;
            match member.incarnation {
                Some(incarnation) => write!(out, " bound to {incarnation}")?,
                None => write!(out, " unbound")?,
            }
            writeln!(out, "{}", if member.learner { " learner" } else { "" })?;
        }
        for (node, session) in self.machine.sessions.iter() {
            writeln!(out, "session {node} boot {}, watermark {}", session.boot, session.base)?;
            for (sequence, slot) in (session.base..).zip(&session.window) {
                if slot.is_some() {
                    let outcome = self.machine.outcome_of(node, session.boot, sequence);
                    let outcome = outcome.as_ref().map(show_outcome).unwrap_or_default();
                    writeln!(out, "  #{sequence} {outcome}")?;
                }
            }
        }
        Ok(out)
    }

    fn leases(&self) -> Text {
        let leases = self.machine.leases();
        let mut out = format!("clock {}, ticked in term {}\n", leases.clock(), leases.ticked());
        for id in leases.ids() {
            let lease = leases.get(id).ok_or("a lease is due that is not there")?;
            write!(out, "lease {id}: ttl {}, ", lease.ttl)?;
            match lease.until {
                Some(until) => write!(out, "until {until}")?,
                None => write!(out, "fresh")?,
            }
            for key in lease.keys() {
                write!(out, " {}", key.escape_ascii())?;
            }
            writeln!(out)?;
        }
        Ok(out)
    }

    fn records(&self) -> Text {
        let mut out = String::new();
        for record in self.machine.mvcc().pin().records() {
            writeln!(out, "{record:?}")?;
        }
        Ok(out)
    }

    fn sections(&self) -> Text {
        let image = self.image.as_ref().ok_or("nothing is pinned")?;
        let mut out = String::new();
        for section in image.sections() {
            writeln!(out, "kind {}: {} bytes", section.kind, section.bytes.len())?;
        }
        Ok(out)
    }

    fn install(&mut self) -> Text {
        let image = self.image.as_ref().ok_or("nothing is pinned")?;
        let restored = Machine::restore(image.sections().map(Ok), image.mark())?;
        assert_eq!(restored.hash(), image.hash(), "invariant 6");
        drop(self.machine.replace(restored));
        assert_eq!(self.reader.revision(), self.machine.mvcc().revision());
        Ok(String::new())
    }

    fn outcome(&self, args: &mut ArgumentConsumer<'_>) -> Text {
        let node = NodeId::new(args.next_pos().ok_or("outcome needs a node")?.parse()?);
        let boot = number(args, "boot")?.ok_or("outcome needs boot=N")?;
        let sequence = number(args, "seq")?.ok_or("outcome needs seq=N")?;
        args.reject_next()?;
        let outcome = self.machine.outcome_of(node, boot, sequence);
        let text = outcome.as_ref().map_or("not yet".to_owned(), show_outcome);
        Ok(format!("{text}\n"))
    }
}

impl goldenscript::Runner for Runner {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &goldenscript::Command, context: &Context) -> Text {
        let mut args = command.consume_args();
        match command.name.as_str() {
            "empty" => {
                let entry = self.place(EntryKind::Normal, &mut args)?;
                args.reject_next()?;
                self.apply(&entry)
            }
            "raw" => {
                let hex = args.next_pos().ok_or("raw needs bytes")?;
                let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
                let bytes = digits.chunks(2).map(|pair| pair.iter().fold(0, |sum, d| sum * 16 + d));
                let data = bytes.map(u8::try_from).collect::<Result<Vec<_>, _>>()?.into();
                let place = self.place(EntryKind::Normal, &mut args)?;
                self.apply(&Entry { data, ..place })
            }
            "conf" => self.conf(&mut args),
            "state" => self.state(),
            "records" => self.records(),
            "leases" => self.leases(),
            "outcome" => self.outcome(&mut args),
            "pin" => {
                self.image = Some(self.machine.pin());
                Ok(String::new())
            }
            "sections" => self.sections(),
            "install" => self.install(),
            _ => self.propose(command, context.prefix.as_deref()),
        }
    }
}

fn parse_command(name: &str, args: &mut ArgumentConsumer<'_>) -> Text<Command> {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let lease = LeaseId::new(number(args, "lease")?.unwrap_or(0));
    match name {
        "put" => {
            let (key, value) = args.next_key().ok_or("put needs KEY=VALUE")?;
            let mut put = Put { lease, ..Put::new(bytes(key), bytes(value)) };
            while let Some(word) = args.next_pos() {
                match word {
                    "prev" => put.prev = true,
                    "keep-value" => put.ignore_value = true,
                    "keep-lease" => put.ignore_lease = true,
                    other => return Err(format!("put has no {other}").into()),
                }
            }
            Ok(Command::Put(put))
        }
        "txn" => {
            let text = args.next_pos().ok_or("txn needs a transaction in quotes")?;
            let txn = language::parse(text)?;
            txn.check(MAX_TXN_OPS, 0)?;
            Ok(Command::Txn(txn))
        }
        "delete" => {
            let key = args.next_pos().ok_or("delete needs a key")?;
            let (mut end, mut prev) = ("", false);
            while let Some(word) = args.next_pos() {
                if word == "prev" { prev = true } else { end = word }
            }
            Ok(Command::Delete(Delete {
                range: KeyRange::from_selector(bytes(key), bytes(end)),
                prev,
            }))
        }
        "compact" => {
            let revision = args.next_pos().ok_or("compact needs a revision")?.parse()?;
            Ok(Command::Compact { revision: Revision::new(revision) })
        }
        "announce" => {
            let node = NodeId::new(args.next_pos().ok_or("announce needs a member")?.parse()?);
            let incarnation = args.next_pos().ok_or("announce needs an incarnation")?.parse()?;
            Ok(Command::Announce { node, incarnation: Incarnation::new(incarnation) })
        }
        name => parse_lease_command(name, args),
    }
}

fn parse_lease_command(name: &str, args: &mut ArgumentConsumer<'_>) -> Text<Command> {
    let mut numbers = Vec::new();
    while let Some(word) = args.next_pos() {
        numbers.push(word.parse::<u64>()?);
    }
    match (name, &*numbers) {
        ("grant", [id, ttl]) => Ok(Command::Grant { lease: LeaseId::new(*id), ttl: *ttl }),
        ("revoke", [id]) => {
            Ok(Command::Revoke { lease: LeaseId::new(*id), grant: Index::default() })
        }
        ("renew", ids) => {
            Ok(Command::Renew { leases: ids.iter().copied().map(LeaseId::new).collect() })
        }
        ("tick", [advance]) => Ok(Command::Tick { advance: *advance }),
        _ => Err(format!("unknown command {name}").into()),
    }
}

fn show_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Nothing => "nothing".to_owned(),
        Outcome::Put { revision, prev } => show_put(*revision, prev.as_ref()),
        Outcome::Deleted { revision, count, prev } => show_deleted(*revision, *count, prev),
        Outcome::Txn(outcome) => show_txn(outcome),
        Outcome::Compacted { revision } => format!("compacted, revision {revision}"),
        Outcome::Announced => "announced".to_owned(),
        Outcome::Granted { lease, ttl } => format!("granted {lease} for {ttl}"),
        Outcome::Revoked { lease, revision } => format!("revoked {lease}, revision {revision}"),
        Outcome::Renewed(ttls) => {
            let ttls = ttls.iter().map(|ttl| ttl.map_or("gone".to_owned(), |ttl| ttl.to_string()));
            format!("renewed: {}", ttls.collect::<Vec<_>>().join(", "))
        }
        Outcome::Ticked { expired } => {
            let expired: Vec<_> = expired.iter().map(ToString::to_string).collect();
            format!("ticked, expired: {}", expired.join(", "))
        }
        Outcome::Refused(refusal) => format!("refused: {}", Error::from(*refusal)),
        Outcome::Superseded => "superseded".to_owned(),
    }
}

fn show_put(revision: Revision, prev: Option<&KeyValue>) -> String {
    let before = prev.map(|prev| format!(", before: {prev:?}")).unwrap_or_default();
    format!("put at revision {revision}{before}")
}

fn show_deleted(revision: Revision, count: u64, prev: &[KeyValue]) -> String {
    let mut text = format!("deleted {count}, revision {revision}");
    for prev in prev {
        let _ = write!(text, "\n  {prev:?}");
    }
    text
}

fn show_txn(outcome: &TxnOutcome) -> String {
    let branch = if outcome.succeeded { "succeeded" } else { "failed" };
    let mut text = format!("{branch}, revision {}", outcome.revision);
    for response in &outcome.responses {
        let response = match response {
            OpOutcome::Put { revision, prev } => show_put(*revision, prev.as_ref()),
            OpOutcome::Deleted { revision, count, prev } => show_deleted(*revision, *count, prev),
            OpOutcome::Txn(outcome) => show_txn(outcome),
            OpOutcome::Range { revision, page } => {
                let mut text = format!("count {}, revision {revision}", page.count);
                if page.more {
                    text.push_str(", more");
                }
                for kv in &page.kvs {
                    let _ = write!(text, "\n  {kv:?}");
                }
                text
            }
        };
        let _ = write!(text, "\n  {}", response.replace('\n', "\n  "));
    }
    text
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the scripts are files of the system")]
fn scripts() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/machine");
    let mut count = 0;
    for file in std::fs::read_dir(directory).unwrap() {
        goldenscript::run(&mut Runner::new(), file.unwrap().path()).unwrap();
        count += 1;
    }
    assert!(count >= 6, "only {count} scripts in {directory}");
}
