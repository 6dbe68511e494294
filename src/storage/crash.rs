//! Stops a random workload at every file operation, loses what was not synced, opens again, and
//! asks for what was promised: everything that was synced, and beyond that exactly a prefix of
//! what was handed over (`DUR-9`, `DUR-11`, `DUR-21`, `INV-1`).

use std::path::Path;

use super::tests::{boot, entry, genesis, head, mark, open_in, options, sections};
use super::*;
use crate::sim::dice::{Dice, Seed};
use crate::sim::disk::{MemoryDisk, Plan};

/// What a log says: the twin of the real one.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    floor: (Index, Term),
    entries: Vec<Entry>,
    hard_state: HardState,
}

impl Model {
    fn new() -> Self {
        let SnapshotMark { index, term, .. } = genesis();
        Self { floor: (index, term), entries: Vec::new(), hard_state: boot().hard_state }
    }

    fn last(&self) -> (Index, Term) {
        self.entries.last().map_or(self.floor, |entry| (entry.index, entry.term))
    }

    fn put(&mut self, entry: Entry) {
        self.entries.retain(|kept| kept.index < entry.index);
        self.entries.push(entry);
    }

    fn term(&self, index: Index) -> Option<Term> {
        if index == self.floor.0 {
            return Some(self.floor.1);
        }
        Some(self.entries.iter().find(|entry| entry.index == index)?.term)
    }

    /// Whether this is what was found, seen from the mark that it begins at.
    fn explains(&self, found: &Found) -> bool {
        let rest = self.entries.iter().filter(|entry| entry.index > found.mark.index);
        let commit = self.hard_state.commit.min(self.last().0).max(found.mark.index);
        self.term(found.mark.index) == Some(found.mark.term)
            && rest.eq(found.entries.iter())
            && found.hard_state == HardState { commit, ..self.recorded() }
    }

    /// Of a batch of entries and the term that they raise, the entries may be all that was kept.
    fn recorded(&self) -> HardState {
        let (_, term) = self.last();
        let raised = HardState { term, vote: NodeId::new(0), ..self.hard_state };
        if self.hard_state.term < term { raised } else { self.hard_state }
    }
}

#[derive(Debug)]
struct Found {
    mark: SnapshotMark,
    entries: Vec<Entry>,
    hard_state: HardState,
    snapshots: Vec<SnapshotInfo>,
}

impl Found {
    fn new(opened: &Opened) -> Self {
        Self {
            mark: opened.mark.clone(),
            entries: opened.entries.clone(),
            hard_state: opened.hard_state,
            snapshots: opened.snapshots.list(),
        }
    }

    fn last(&self) -> (Index, Term) {
        let last = self.entries.last();
        last.map_or((self.mark.index, self.mark.term), |entry| (entry.index, entry.term))
    }
}

/// A node and its twin. Everything it does follows from the dice.
struct Harness {
    memory: MemoryDisk,
    options: Options,
    dice: Dice,
    opened: Option<Opened>,
    /// What was handed over, record by record: the first is durable, the others may be.
    states: Vec<Model>,
    /// What is committed is never replaced, and a snapshot is of nothing else.
    commit: Index,
    /// The newest snapshot that is durable and that the log knows.
    snapshot: Index,
}

impl Harness {
    fn new(seed: u64) -> Self {
        let max_snapshots = if seed.is_multiple_of(2) { 2 } else { 1 };
        Self {
            memory: MemoryDisk::new(),
            options: Options { max_snapshots, ..options(Path::new("data")) },
            dice: Dice::new(Seed::new(seed)),
            opened: None,
            states: vec![Model::new()],
            commit: genesis().index,
            snapshot: genesis().index,
        }
    }

    fn newest(&self) -> Model {
        self.states.last().unwrap().clone()
    }

    fn synced(&mut self) {
        self.states = vec![self.newest()];
    }

    fn try_open(&self) -> Result<Opened> {
        open(Arc::new(self.memory.clone()), self.options.clone(), boot())
    }

    /// Opens, and takes up the state that explains what is found.
    fn open(&mut self) -> Result<()> {
        let opened = self.try_open()?;
        let found = Found::new(&opened);
        let state = self.states.iter().rev().find(|state| state.explains(&found));
        let Some(mut state) = state.cloned() else {
            panic!("found {found:#?}\nexpected one of {:#?}", self.states);
        };
        let (index, term) = found.last();
        assert!(found.hard_state.term >= term, "{:?} behind entry {index}", found.hard_state);
        state.hard_state = state.recorded();
        assert!(found.mark.index >= self.snapshot, "{:?} before {}", found.mark, self.snapshot);
        assert!(found.snapshots.len() <= 3, "{:?}", found.snapshots);
        for info in found.snapshots.iter().filter(|info| info.mark.index >= found.mark.index) {
            let (_, read) = opened.snapshots.open(info.mark.index).unwrap();
            assert!(
                read.map(Result::unwrap).eq(sections(info.mark.index.get()).map(Result::unwrap))
            );
        }
        self.snapshot = found.mark.index;
        self.commit = self.commit.max(found.mark.index);
        self.states = vec![state];
        self.opened = Some(opened);
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        match self.dice.below(12) {
            0..=3 => self.append(),
            4 => self.replace(),
            5 => self.vote(),
            6 | 7 => self.sync(),
            8 => self.write_snapshot(),
            9 => self.install(),
            10 => self.opened.as_mut().unwrap().wal.release(self.snapshot),
            _ => match self.dice.below(3) {
                0 => self.reopen(),
                _ => self.opened.as_mut().unwrap().wal.prepare(),
            },
        }
    }

    fn hand_over(&mut self, entries: &[Entry], hard_state: Option<HardState>) -> Result<()> {
        let mut state = self.newest();
        for entry in entries {
            state.put(entry.clone());
            self.states.push(state.clone());
        }
        if let Some(hard_state) = hard_state {
            state.hard_state = hard_state;
            self.states.push(state);
        }
        self.opened.as_mut().unwrap().wal.append(entries, hard_state.as_ref())
    }

    fn some_entries(&mut self, from: u64, term: u64) -> Vec<Entry> {
        let lens = [0, 20, 300, 470, 504, 1100, 5000];
        let count = 1 + self.dice.below(4);
        (from..from + count)
            .map(|index| entry(index, term, lens[self.dice.place(lens.len())]))
            .collect()
    }

    fn append(&mut self) -> Result<()> {
        let (last, term) = self.newest().last();
        let entries = self.some_entries(last.get() + 1, term.get());
        let mut state = self.newest().hard_state;
        state.commit = self.commit;
        let state = (self.dice.below(2) == 0).then_some(state);
        self.hand_over(&entries, state)
    }

    /// A new leader replaces what is not committed.
    fn replace(&mut self) -> Result<()> {
        let (last, term) = self.newest().last();
        let open = last.get() - self.commit.get();
        let from = last.get() + 1 - self.dice.below(open + 1);
        let entries = self.some_entries(from, term.get() + 1);
        let state = HardState { term: Term::new(term.get() + 1), ..self.newest().hard_state };
        self.hand_over(&entries, Some(state))
    }

    fn vote(&mut self) -> Result<()> {
        let mut state = self.newest().hard_state;
        state.vote = NodeId::new(self.dice.below(5));
        self.hand_over(&[], Some(state))
    }

    fn sync(&mut self) -> Result<()> {
        self.opened.as_mut().unwrap().wal.sync()?;
        self.synced();
        let (last, commit) = (self.newest().last().0.get(), self.commit.get());
        self.commit = Index::new(commit + self.dice.below(last - commit + 1));
        Ok(())
    }

    fn write_snapshot(&mut self) -> Result<()> {
        let index = self.commit;
        let durable = &self.states[0];
        let Some(term) = durable.term(index).filter(|_| index > self.snapshot) else {
            return Ok(());
        };
        let snapshots = &self.opened.as_ref().unwrap().snapshots;
        snapshots.write(&head(index.get(), term.get()), sections(index.get()))?;
        self.snapshot = index;
        Ok(())
    }

    /// A snapshot arrives from a leader that is far ahead.
    fn install(&mut self) -> Result<()> {
        let (last, term) = self.newest().last();
        let at = mark(last.get() + 1 + self.dice.below(9), term.get() + 1);
        let other = MemoryDisk::new();
        let sender = open_in(&other)?.snapshots;
        let info = sender.write(&head(at.index.get(), at.term.get()), sections(at.index.get()))?;
        let opened = self.opened.as_mut().unwrap();
        let key = StageKey {
            index: at.index,
            term: at.term,
            file_bytes: info.file_bytes,
            hash: info.hash,
        };
        let mut stage = opened.snapshots.stage(key)?;
        while stage.have() < info.file_bytes {
            let have = stage.have();
            stage.write(have, &sender.read_at(at.index, have, 700)?)?;
        }
        stage.finish()?;
        opened.snapshots.adopt(stage)?;
        let hard_state = HardState { term: at.term, commit: at.index, ..HardState::default() };
        let mut state = self.states.last().unwrap().clone();
        state.floor = (at.index, at.term);
        state.entries.clear();
        self.states.push(state.clone());
        state.hard_state = hard_state;
        self.states.push(state);
        opened.wal.install(&at)?;
        opened.wal.append(&[], Some(&hard_state))?;
        opened.wal.sync()?;
        self.synced();
        (self.commit, self.snapshot) = (at.index, at.index);
        Ok(())
    }

    fn reopen(&mut self) -> Result<()> {
        self.opened = None;
        self.memory.kill();
        self.open()
    }

    /// The process is killed, or the power fails.
    fn end(&mut self, dice: &mut Dice) {
        self.opened = None;
        match dice.below(3) {
            0 => self.memory.kill(),
            1 => self.memory.lose(),
            _ => self.memory.crash(dice),
        }
    }

    /// Runs to the end or to the first failure.
    fn run(&mut self, steps: usize) -> Result<()> {
        if self.opened.is_none() {
            self.open()?;
        }
        (0..steps).try_for_each(|_| self.step())
    }
}

/// How long the whole workload of a seed is, in file operations.
fn operations(seed: u64, steps: usize) -> u64 {
    let mut whole = Harness::new(seed);
    whole.run(steps).unwrap();
    whole.memory.operations()
}

/// How many workloads a test runs; `QUORATE_SEEDS` asks for more.
#[expect(clippy::disallowed_methods, reason = "a test is told by whoever runs it")]
fn seeds(few: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("QUORATE_SEEDS").ok().and_then(|count| count.parse().ok());
    0..asked.unwrap_or(few)
}

#[test]
fn power_failures_lose_nothing_that_was_synced() {
    for seed in seeds(40) {
        let steps = 30;
        for stop in 0..=operations(seed, steps) {
            let mut node = Harness::new(seed);
            node.memory.plan(Plan::StopAt(stop));
            let _ = node.run(steps);
            node.opened = None;
            let mut dice = Dice::new(Seed::new(seed << 32 | stop));
            node.memory.crash(&mut dice);
            // Opening is stopped too, by a power failure or by a kill, before it succeeds.
            for _ in 0..2 {
                node.memory.plan(Plan::StopAt(dice.below(40)));
                let opened = node.try_open();
                if let Err(error) = opened {
                    assert!(error.is_io(), "seed {seed} stop {stop}: {error}");
                }
                if dice.below(2) == 0 {
                    node.memory.kill();
                } else {
                    node.memory.crash(&mut dice);
                }
            }
            node.memory.plan(Plan::Nothing);
            let opened = node.open();
            opened.unwrap_or_else(|error| panic!("seed {seed} stop {stop}: {error}"));
            // And it goes on from there.
            node.run(5).unwrap();
            node.sync().unwrap();
            node.reopen().unwrap();
        }
    }
}

#[test]
fn a_failed_operation_stops_the_log_and_loses_nothing_that_was_synced() {
    for seed in seeds(20) {
        let steps = 30;
        for fail in 0..operations(seed, steps) {
            let mut node = Harness::new(seed);
            node.memory.plan(Plan::FailAt(fail));
            let error = match node.run(steps) {
                Ok(()) => panic!("seed {seed}: operation {fail} did not fail"),
                Err(error) => error,
            };
            assert!(error.is_io(), "seed {seed} fail {fail}: {error}");
            if let Some(mut opened) = node.opened.take()
                && error.to_string().contains("data/wal")
            {
                let last = node.newest().last();
                let entry = entry(last.0.get() + 1, last.1.get(), 10);
                assert!(opened.wal.append(&[entry], None).unwrap_err().is_halted());
                assert!(opened.wal.sync().unwrap_err().is_halted());
                assert!(opened.wal.release(last.0).unwrap_err().is_halted());
            }
            let mut dice = Dice::new(Seed::new(seed << 32 | fail));
            match dice.below(2) {
                0 => node.memory.kill(),
                _ => node.memory.crash(&mut dice),
            }
            node.memory.plan(Plan::Nothing);
            let opened = node.open();
            opened.unwrap_or_else(|error| panic!("seed {seed} fail {fail}: {error}"));
            node.run(5).unwrap();
        }
    }
}

/// A sync that fails leaves what it was about readable, and no later sync covers it: only what is
/// written again. So an open that only reads and syncs would vouch for what the next power failure
/// takes away. What an open has found is told to others: it must be there ever after.
#[test]
fn what_is_found_after_a_failure_stays_found() {
    for seed in seeds(20) {
        let steps = 30;
        for fail in 0..operations(seed, steps) {
            let mut node = Harness::new(seed);
            let mut dice = Dice::new(Seed::new(seed << 32 | fail));
            node.memory.plan(Plan::FailAt(fail));
            assert!(node.run(steps).is_err(), "seed {seed}: operation {fail} did not fail");
            node.opened = None;
            node.memory.kill();
            node.memory.plan(Plan::Nothing);
            for steps in [0, 5, 5] {
                let went = node.run(steps);
                went.unwrap_or_else(|error| panic!("seed {seed} fail {fail}: {error}"));
                node.opened = None;
                match dice.below(2) {
                    0 => node.memory.lose(),
                    _ => node.memory.crash(&mut dice),
                }
            }
        }
    }
}

/// The same where one failure follows the other, while opening too, and lives end in any way.
#[test]
fn failures_upon_failures_lose_nothing_that_was_found() {
    for seed in seeds(20) {
        let steps = 30;
        for fail in 0..operations(seed, steps) {
            let mut node = Harness::new(seed);
            let mut dice = Dice::new(Seed::new(seed << 32 | fail));
            let mut plans = vec![(Plan::FailAt(fail), steps)];
            for _ in 0..1 + dice.below(3) {
                let at = dice.below(50);
                let plan = if dice.below(4) == 0 { Plan::StopAt(at) } else { Plan::FailAt(at) };
                plans.push((plan, dice.place(10)));
            }
            for (plan, steps) in plans {
                node.memory.plan(plan);
                let refused = node.run(steps).err().filter(|error| !error.is_io());
                assert!(refused.is_none(), "seed {seed} fail {fail}: {refused:?}");
                node.end(&mut dice);
            }
            node.memory.plan(Plan::Nothing);
            for _ in 0..2 {
                let went = node.run(5);
                went.unwrap_or_else(|error| panic!("seed {seed} fail {fail}: {error}"));
                node.end(&mut dice);
            }
        }
    }
}

/// A node with everything synced, for damaging.
fn at_rest(seed: u64) -> Harness {
    let mut node = Harness::new(seed);
    node.run(40).unwrap();
    node.sync().unwrap();
    node.opened = None;
    node.memory.kill();
    node
}

/// Opens a damaged copy: it must be refused by naming the file and an offset, or be whole.
fn open_damaged(node: &Harness, memory: &MemoryDisk, path: &Path, what: &str) {
    match open_in(memory) {
        Ok(opened) => {
            let found = Found::new(&opened);
            assert!(node.states[0].explains(&found), "{what}: {found:#?}");
        }
        Err(error) => {
            let text = error.to_string();
            assert!(error.is_corrupt(), "{what}: {text}");
            let named = text.contains(&*path.display().to_string()) && text.contains("at byte ");
            let snapshot = path.extension().is_some_and(|kind| kind == "snap");
            assert!(named || snapshot && text.contains("no whole snapshot"), "{what}: {text}");
        }
    }
}

#[test]
fn a_changed_bit_is_never_a_shorter_log() {
    for seed in seeds(12) {
        let node = at_rest(seed);
        let mut dice = Dice::new(Seed::new(seed));
        for path in node.memory.paths() {
            let len = node.memory.look(&path, <[u8]>::len).unwrap();
            let head = if len > 0 { 5200.min(len) } else { continue };
            for round in 0..150 {
                let memory = node.memory.fork();
                // Most of a fresh segment is zeros: aim at the head every other time.
                let at = dice.place(if round % 2 == 0 { head } else { len });
                let bit = dice.below(8);
                memory.edit(&path, |bytes| bytes[at] ^= 1 << bit).unwrap();
                let what = format!("seed {seed}: bit {bit} of byte {at} of {}", path.display());
                open_damaged(&node, &memory, &path, &what);
            }
        }
    }
}

#[test]
fn a_sector_or_a_piece_gone_bad_is_never_a_shorter_log() {
    for seed in seeds(12) {
        let node = at_rest(seed);
        let mut dice = Dice::new(Seed::new(seed));
        for path in node.memory.paths() {
            let len = node.memory.look(&path, <[u8]>::len).unwrap();
            for _ in 0..100.min(len) {
                let memory = node.memory.fork();
                let at = dice.place(len);
                let until = len.min(at + 1 + dice.place(3000));
                let edited = memory.edit(&path, |bytes| {
                    bytes[at..until].iter_mut().for_each(|byte| *byte = dice.below(256) as u8);
                });
                edited.unwrap();
                let what = format!("seed {seed}: {at}..{until} of {}", path.display());
                open_damaged(&node, &memory, &path, &what);
            }
        }
    }
}

#[test]
fn a_removed_file_is_noticed() {
    for seed in seeds(12) {
        let node = at_rest(seed);
        for path in node.memory.paths() {
            let memory = node.memory.fork();
            memory.delete(&path);
            match open_in(&memory) {
                Ok(opened) => {
                    let found = Found::new(&opened);
                    let whole = node.states[0].explains(&found);
                    assert!(whole, "seed {seed}, without {}: {found:#?}", path.display());
                }
                Err(error) => {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    let text = error.to_string();
                    let snapshot = name.ends_with(".snap") && text.contains("no whole snapshot");
                    let oldest = name.ends_with(".wal") && text.contains("no whole snapshot");
                    assert!(error.is_corrupt(), "{text}");
                    let only = name.ends_with(".wal") && text.contains("holds no log segment");
                    let named = text.contains(name) || snapshot || oldest || only;
                    assert!(named, "without {name}: {text}");
                }
            }
        }
    }
}
