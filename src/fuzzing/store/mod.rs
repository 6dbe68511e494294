//! Whole machines beside the model of the store: calls, transactions, compactions, removals, long
//! reads, images, repeats.
//!
//! The model is the one that judges simulations (`sim/check/model.rs`): it has no index and no
//! removal, and forgets nothing. Three machines are given the same entries, as members are, and
//! differ in all that must make no difference:
//!
//! ```text
//!   FIRST   removes in slices, when the case says so; is replaced by images; has long reads
//!   EAGER   removes everything at once
//!   LAZY    removes nothing; leaves other members' reads out of its answers
//! ```
//!
//! What is promised, after every step:
//! - Every answer is the model's, at every revision, with every option (`KV-*`, `TXN-*`, `CMP-1`
//!   to `CMP-3`), and every machine has the same outcome.
//! - A repeat is told what the first was told, without records, or that it is too late, and
//!   changes nothing.
//! - The records of an image are those that the rules keep (`DM-2`, `CMP-4` to `CMP-6`, `HSH-3`).
//! - The state hashes to the same on all three and on a machine restored from it (`INV-11`); and
//!   so do the data up to each revision, to what their records do (`HSH-1` to `HSH-4`).
//! - A long read sees all of its revision or fails, and fails only if it is too far behind or its
//!   records were never here (`KV-18`, `KV-19`).
//!
//! `core/mvcc/twin.rs` has many keys and knows the index; here are few, and everything around it.

mod step;
mod told;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;

#[cfg(test)]
pub(super) use self::step::kind;
use self::step::{Horizon, Step};
use self::told::{of_outcome, of_page, of_txn, remembered};
use super::deliver::{VOTERS, genesis};
use super::input::Input;
use crate::codec::checksum;
use crate::core::machine::{Command, Machine, Origin, Outcome, stamp};
use crate::core::mvcc::{KeyValue, Pace, Pin, Query, Reader, Record};
use crate::entry::{Entry, EntryKind};
use crate::error::{Error, Result};
use crate::ids::{Incarnation, Revision};
use crate::keys::KeyRange;
use crate::sim::check::model::{Kept, Model};
use crate::sim::history::{Answer, Kv, Op};

/// Everything is compared after each.
const STEPS: usize = 48;

/// A long read that is further behind than this is not waited for: few, so that some are.
const MAX_PINNED: u64 = 6;

/// A proposal is repeated so long at most: then its origin does not wait for it any more.
const WINDOW: u64 = 6;

/// Proposals that may come again, and some that come too late.
const REMEMBERED: usize = 12;

/// Each long read is compared in full.
const LONG_READS: usize = 4;

const FIRST: usize = 0;
const EAGER: usize = 1;
const LAZY: usize = 2;

/// Runs a case: steps in a row.
pub fn store_model(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut reference, mut stores) = (Reference::default(), Stores::new());
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let step = Step::draw(&mut input, reference.horizon());
        reference.apply(&step);
        stores.apply(&step, &reference);
        stores.check(&reference.model);
    }
    stores.finish(&reference.model);
}

/// What the store is meant to be, and what it is meant to say to the last step.
#[derive(Clone, Debug, Default)]
struct Reference {
    model: Model,
    told: Option<Answer>,
}

impl Reference {
    fn horizon(&self) -> Horizon {
        Horizon { compacted: self.model.compacted(), newest: self.model.revision() }
    }

    fn apply(&mut self, step: &Step) {
        self.told = step.op().map(|op| self.model.apply(&op));
    }
}

/// A proposal that has reached the log.
struct Sent {
    payload: Bytes,
    origin: Origin,
    outcome: Outcome,
}

/// The machines, and what goes on around them.
struct Stores {
    machines: [Machine; 3],
    /// Of the first one, from before everything: a replacement does not touch it (`DUR-20`).
    reader: Reader,
    pins: VecDeque<Pin>,
    boot: u64,
    /// Of the next proposal.
    sequence: u64,
    /// The last is the newest.
    sent: VecDeque<Sent>,
}

impl Stores {
    fn new() -> Self {
        let mut machines = [(); 3].map(|()| Machine::new(genesis()));
        machines[LAZY].answer_to(VOTERS[1], 1);
        let reader = machines[FIRST].reader();
        let (pins, sent) = (VecDeque::new(), VecDeque::new());
        Self { machines, reader, pins, boot: 1, sequence: 1, sent }
    }

    fn apply(&mut self, step: &Step, reference: &Reference) {
        let told = reference.told.as_ref();
        match step {
            Step::Call(_) | Step::Many { .. } => {
                let is = step.op().map(|op| self.call(&op));
                assert_eq!(is.as_ref(), told, "{step:?}");
            }
            Step::Repeat(back) => self.repeat(*back),
            Step::Boot => (self.boot, self.sequence) = (self.boot + 1, 1),
            Step::Tidy(work) => drop(self.machines[FIRST].tidy(pace(work + 1))),
            Step::Pin(at) => self.pin(*at, told),
            Step::Unpin(place) => drop(self.pins.remove(*place)),
            Step::Restore(from) => self.restore(*from),
        }
        while self.machines[EAGER].tidy(pace(100)) {}
    }

    fn call(&mut self, op: &Op) -> Answer {
        let told = match op {
            Op::Put(put) => Ok(self.write(&Command::Put(put.clone()))),
            Op::Delete(delete) => Ok(self.write(&Command::Delete(delete.clone()))),
            Op::Compact { revision } => Ok(self.write(&Command::Compact { revision: *revision })),
            Op::Txn { txn, .. } if txn.is_read_only() => {
                txn.read(&self.reader).map(|outcome| of_txn(outcome, true))
            }
            Op::Txn { txn, .. } => Ok(self.write(&Command::Txn(txn.clone()))),
            Op::Get { key, at, .. } => {
                self.reader.get(key, at.filter(|at| at.get() > 0)).map(|(_, kv)| Answer::Got {
                    revision: self.reader.revision(),
                    kv: kv.as_ref().map(Kv::from),
                })
            }
            Op::Range { query, .. } => {
                let page = self.reader.query(query);
                page.map(|page| of_page(&page, self.reader.revision()))
            }
        };
        told.unwrap_or_else(|error| (&error).into())
    }

    fn write(&mut self, command: &Command) -> Answer {
        let (node, incarnation) = (VOTERS[0], Incarnation::new(7));
        let (boot, sequence) = (self.boot, self.sequence);
        let watermark = sequence.saturating_sub(WINDOW);
        self.sequence += 1;
        let origin = Origin { node, incarnation, boot, sequence, watermark };
        let mut payload = command.encode();
        stamp(&mut payload, &origin);
        let payload = payload.freeze();
        let [outcome, eager, lazy] = self.commit(&payload);
        assert_eq!(eager, outcome, "removal changes what {command:?} does");
        assert_eq!(remembered(&lazy), remembered(&outcome), "{command:?}");
        let told = of_outcome(outcome.clone());
        self.sent.push_back(Sent { payload, origin, outcome });
        if self.sent.len() > REMEMBERED {
            self.sent.pop_front();
        }
        told
    }

    /// The entry reaches every machine.
    fn commit(&mut self, payload: &Bytes) -> [Outcome; 3] {
        self.machines.each_mut().map(|machine| {
            let (index, term) = machine.applied();
            let (kind, data) = (EntryKind::Normal, payload.clone());
            let outcome = machine.apply(&Entry { index: index.next(), term, kind, data });
            machine.publish();
            outcome.unwrap().outcome
        })
    }

    fn repeat(&mut self, back: usize) {
        let Some(place) = self.sent.len().checked_sub(back + 1) else { return };
        let Sent { payload, origin, outcome } = &self.sent[place];
        let Origin { node, boot, sequence, .. } = *origin;
        // The origin's last words in its present boot say what it still waits for.
        let last = self.sent.back().map_or(*origin, |sent| sent.origin);
        let late = (boot, sequence) < (last.boot, last.watermark);
        let wanted = if late { Outcome::Superseded } else { remembered(outcome) };
        for machine in &self.machines {
            assert_eq!(machine.outcome_of(node, boot, sequence).as_ref(), Some(&wanted));
        }
        let payload = payload.clone();
        assert_eq!(self.commit(&payload), [(); 3].map(|()| wanted.clone()), "a repeat");
    }

    fn pin(&mut self, at: Option<Revision>, told: Option<&Answer>) {
        match self.reader.pin(at) {
            Ok(pin) => {
                assert!(matches!(told, Some(Answer::Got { .. })), "{told:?}, but it was pinned");
                self.pins.push_back(pin);
                if self.pins.len() > LONG_READS {
                    self.pins.pop_front();
                }
            }
            Err(error) => assert_eq!(told, Some(&Answer::from(&error)), "a pin"),
        }
    }

    fn restore(&mut self, from: usize) {
        let restored = restored(&self.machines[from]);
        drop(self.machines[FIRST].replace(restored));
        // What is below was kept for them in the old content.
        let compacted = self.machines[FIRST].mvcc().compacted().unwrap_or_default();
        self.pins.retain(|pin| {
            let stays = pin.revision() >= compacted;
            assert!(stays || scan(pin).is_err(), "DUR-20");
            stays
        });
    }

    fn check(&self, model: &Model) {
        let kept = model.kept();
        let hash = self.machines[FIRST].hash();
        let restored = restored(&self.machines[FIRST]);
        assert_eq!(restored.hash(), hash, "INV-11: restored");
        for machine in &self.machines {
            let mvcc = machine.mvcc();
            assert_eq!((mvcc.revision(), mvcc.compacted()), (model.revision(), model.compacted()));
            assert_eq!(machine.hash(), hash, "INV-11");
        }
        let records: Vec<Kept> =
            self.machines[FIRST].mvcc().pin().records().map(of_record).collect();
        assert_eq!(records, kept, "CMP-4, CMP-5");
        self.check_hashes(model, &restored);
        self.check_reads(model);
    }

    /// The data up to the oldest revision that can be read, the newest, and one between them.
    fn check_hashes(&self, model: &Model, restored: &Machine) {
        let (compacted, newest) = (model.compacted(), model.revision());
        let oldest = compacted.unwrap_or_default().get().max(1);
        for revision in [oldest, oldest.midpoint(newest.get()), newest.get()].map(Revision::new) {
            let pinned = restored.mvcc().pin();
            let upto = pinned.records().filter(|record| record.main() <= revision);
            // Deletions exactly there are kept for watchers, and hashed by nobody (HSH-3).
            let counts =
                |record: &&Record| !record.is_tombstone() || Some(record.main()) != compacted;
            let value = upto.filter(counts).fold(0, |sum, record| checksum(sum, record.as_bytes()));
            for machine in self.machines.iter().chain([restored]) {
                let hash = machine.mvcc().pin().hash(Some(revision)).unwrap();
                assert_eq!((hash.revision, hash.compacted), (revision, compacted), "HSH-4");
                assert_eq!(hash.value, value, "HSH-1");
            }
        }
    }

    /// Everything, at the oldest revision and the newest; and what long reads see.
    fn check_reads(&self, model: &Model) {
        let oldest = model.compacted().unwrap_or_default().max(Revision::new(1));
        for at in [oldest, model.revision()] {
            let query = Query { at: Some(at), ..Query::new(KeyRange::all()) };
            for reader in self.machines.iter().map(Machine::reader).chain([self.reader.clone()]) {
                let page = reader.query(&query).unwrap();
                matches(model, at, &page.kvs);
            }
        }
        for pin in &self.pins {
            let behind = model.revision().get() - pin.revision().get();
            match scan(pin) {
                Ok(kvs) => matches(model, pin.revision(), &kvs),
                Err(error) => {
                    assert!(behind > MAX_PINNED, "a pin at {} was not waited for", pin.revision());
                    assert_eq!(error.compacted_revision(), model.compacted());
                }
            }
        }
    }

    /// Removes what there is to remove and finds it gone.
    fn finish(&mut self, model: &Model) {
        self.pins.clear();
        let hash = self.machines[FIRST].hash();
        for machine in &mut self.machines {
            while machine.tidy(pace(7)) {}
            let mvcc = machine.mvcc();
            assert_eq!(mvcc.removed(), model.compacted(), "CMP-8");
            assert_eq!(mvcc.stats().versions, model.kept().len(), "CMP-8");
        }
        self.check(model);
        assert_eq!(self.machines[FIRST].hash(), hash, "HSH-3");
    }
}

fn matches(model: &Model, at: Revision, kvs: &[KeyValue]) {
    let (kvs, revision) = (kvs.iter().map(Kv::from).collect::<Vec<_>>(), model.revision());
    let count = kvs.len() as u64;
    let answer = Answer::Ranged { revision, kvs, more: false, count };
    let op = Op::Range { query: Query::new(KeyRange::all()), serializable: true };
    assert_eq!(model.differs(&op, at, &answer), None, "at {at}: {answer:?}");
}

fn pace(work: usize) -> Pace {
    Pace { work, max_pinned: MAX_PINNED, watched: None }
}

fn restored(machine: &Machine) -> Machine {
    let image = machine.pin();
    Machine::restore(image.sections().map(Ok), image.mark()).unwrap()
}

fn of_record(record: &Record) -> Kept {
    let key = Bytes::copy_from_slice(record.key());
    let live = (!record.is_tombstone()).then(|| Kv::from(&KeyValue::new(record.clone())));
    (record.position(), key, live)
}

/// A long read from beginning to end, in pieces.
fn scan(pin: &Pin) -> Result<Vec<KeyValue>, Error> {
    const PIECE: usize = 5;
    let mut all: Vec<KeyValue> = Vec::new();
    loop {
        let after = all.last().map(|kv| kv.key().to_vec());
        let piece = pin.chunk(&KeyRange::all(), after.as_deref(), PIECE)?;
        let done = piece.len() < PIECE;
        all.extend(piece);
        if done {
            return Ok(all);
        }
    }
}
