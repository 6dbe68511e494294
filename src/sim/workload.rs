//! Random clients: what they call, how often, on what.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::cluster::Cluster;
use super::dice::Dice;
use super::history::{Answer, CallId, History, Op};
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::store::Store;

/// What the clients of one run are like: drawn from its seed.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) clients: u32,
    /// Calls of all clients together.
    pub(super) calls: u64,
    /// So many keys, the first few more often than the others.
    keys: u64,
    /// One call in so many is on one of the few hot keys; the others are on any.
    hot: u32,
    /// Bytes that a value has at most.
    value_bytes: usize,
    /// How long a client waits between two calls, at most.
    pause: Duration,
    /// So many calls in a row without a pause.
    burst: u64,
    /// Parts of a hundred: see [`Workload::draw`].
    mix: Mix,
    /// How long a call may take.
    timeout: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Mix {
    writes: u32,
    ranges: u32,
    serializable: u32,
    past: u32,
    deletes: u32,
    compactions: u32,
    /// Before a call somebody wants another leader.
    handovers: u32,
}

/// Hot keys.
const HOT: u64 = 3;

/// What clients called, shared by them.
pub(super) type Recorder = Arc<Mutex<History>>;

impl Workload {
    /// Clients for a run of about this length. How many calls is given, everything else is drawn.
    pub(super) fn drawn(dice: &mut Dice, calls: u64, span: Duration) -> Self {
        let clients = 1 + u32::try_from(dice.below(24)).unwrap_or_default();
        let keys = [2, 10, 50, 500].get(dice.place(4)).copied().unwrap_or(10);
        let value_bytes = [16, 16, 64, 1_024, 16_384].get(dice.place(5)).copied().unwrap_or(16);
        let burst = [1, 1, 5, 50].get(dice.place(4)).copied().unwrap_or(1);
        let each = calls / u64::from(clients);
        let pauses = u32::try_from((each / burst).max(1)).unwrap_or(u32::MAX);
        let mut part = |most: u64| u32::try_from(dice.below(most)).unwrap_or_default() * 10_000;
        let mix = Mix {
            writes: 200_000 + part(60),
            ranges: part(40),
            serializable: part(60),
            past: part(30),
            deletes: part(40),
            compactions: part(3),
            handovers: part(2),
        };
        Self {
            clients,
            calls,
            keys,
            hot: part(100),
            value_bytes,
            pause: (span / pauses).saturating_mul(2),
            burst,
            mix,
            timeout: dice.span(Duration::from_millis(300), Duration::from_secs(4)),
        }
    }

    /// Starts the clients as tasks.
    pub(super) fn start(&self, cluster: &Cluster, dice: &mut Dice, recorder: &Recorder) {
        for number in 0..self.clients {
            let client = Client {
                number,
                cluster: cluster.clone(),
                dice: dice.fork(),
                workload: self.clone(),
                recorder: Arc::clone(recorder),
                writes: 0,
                newest: Revision::new(1),
            };
            cluster.spawn(client.run());
        }
    }
}

/// One client: one call after the other, each through a member drawn anew.
struct Client {
    number: u32,
    cluster: Cluster,
    dice: Dice,
    workload: Workload,
    recorder: Recorder,
    /// Values are made of it: no two are the same.
    writes: u64,
    /// The highest revision that it was told.
    newest: Revision,
}

impl Client {
    async fn run(mut self) {
        let calls = self.workload.calls / u64::from(self.workload.clients);
        let names = self.cluster.names();
        let clock = self.cluster.clock();
        for call in 0..calls {
            if call % self.workload.burst == 0 {
                let pause = self.dice.span(Duration::ZERO, self.workload.pause);
                clock.sleep(pause).await;
            }
            if self.dice.chance(self.workload.mix.handovers) {
                self.hand_over(&names).await;
            }
            let Some(name) = self.dice.pick(&names) else { return };
            // A member that is down answers nobody.
            let Ok(store) = self.cluster.store(name) else { continue };
            let op = self.draw();
            if let Op::Compact { revision } = op
                && !self.looks_back(name, &store, revision).await
            {
                continue;
            }
            self.call(name, &store, &op).await;
        }
    }

    /// Calls, and says whether it was answered as asked.
    async fn call(&mut self, name: &str, store: &Store, op: &Op) -> bool {
        let id = self.begin(name, op);
        let answer = perform(store, op, self.workload.timeout).await;
        let revision = answer.revision();
        self.newest = revision.unwrap_or_default().max(self.newest);
        let now = self.cluster.instant();
        self.recorder.lock().answer(id, now, answer);
        revision.is_some()
    }

    /// Before history is thrown away, it looks at what nobody was told of: later nobody can, and
    /// the judge would have to guess. False if it could not see all of it.
    async fn looks_back(&mut self, name: &str, store: &Store, upto: Revision) -> bool {
        let asked = untold(&self.recorder.lock(), upto);
        for at in asked {
            if !self.call(name, store, &everything(at)).await {
                return false;
            }
        }
        true
    }

    /// Somebody else shall lead. Whether that works is not this client's concern.
    async fn hand_over(&mut self, names: &[String]) {
        let (leader, to) = (self.cluster.leader(), self.dice.pick(names));
        let (Some(leader), Some(to)) = (leader, to) else { return };
        if let Ok(transfer) = self.cluster.transfer_leader(&leader, to) {
            drop(transfer.timeout(self.workload.timeout).await);
        }
    }

    fn begin(&self, name: &str, op: &Op) -> CallId {
        let member = self.cluster.id(name).unwrap_or_default();
        let now = self.cluster.instant();
        self.recorder.lock().invoke(self.number, member, now, op.clone())
    }

    fn draw(&mut self) -> Op {
        let mix = self.workload.mix;
        if self.dice.chance(mix.compactions) {
            let back = self.dice.below(100);
            let revision = Revision::new(self.newest.get().saturating_sub(back).max(1));
            return Op::Compact { revision };
        }
        let shown = self.dice.chance(500_000);
        if self.dice.chance(mix.writes) {
            if !self.dice.chance(mix.deletes) {
                let (key, value) = (self.key(), self.value());
                return Op::Put { key, value, prev_value: shown };
            }
            let range =
                if self.dice.chance(800_000) { KeyRange::key(self.key()) } else { self.range() };
            return Op::Delete { range, prev_values: shown };
        }
        let serializable = self.dice.chance(mix.serializable);
        let at = self.dice.chance(mix.past).then(|| {
            let back = self.dice.below(50);
            Revision::new((self.newest.get() + 3).saturating_sub(back).max(1))
        });
        if self.dice.chance(mix.ranges) {
            let limit = if shown { self.dice.place(20) } else { 0 };
            let count_only = self.dice.chance(100_000);
            return Op::Range { range: self.range(), limit, count_only, at, serializable };
        }
        Op::Get { key: self.key(), at, serializable }
    }

    fn key(&mut self) -> Bytes {
        let hot = self.dice.chance(self.workload.hot);
        let number = self.dice.below(if hot { HOT } else { self.workload.keys });
        Bytes::from(format!("k{number:04}"))
    }

    fn range(&mut self) -> KeyRange {
        match self.dice.below(4) {
            0 => KeyRange::all(),
            1 => KeyRange::starting_at(self.key()),
            2 => KeyRange::prefix(self.key().slice(..4)),
            _ => {
                let (one, other) = (self.key(), self.key());
                KeyRange::from(one.clone().min(other.clone())..one.max(other))
            }
        }
    }

    /// Says who wrote it, and as which of its writes.
    fn value(&mut self) -> Bytes {
        self.writes += 1;
        let mut value = format!("{}.{}", self.number, self.writes).into_bytes();
        let longest = if self.dice.chance(100_000) { self.workload.value_bytes } else { 16 };
        let len = self.dice.place(longest);
        value.resize(value.len().max(len), b' ');
        Bytes::from(value)
    }
}

/// Revisions to look at, so that it is known who made those that no write was told of: each of
/// them and the one before, up to `upto`, as far as they are not forgotten and nobody has looked.
pub(super) fn untold(history: &History, upto: Revision) -> BTreeSet<Revision> {
    let (mut told, mut seen, mut oldest) = (BTreeSet::new(), BTreeSet::new(), Revision::new(1));
    for (_, call) in history.calls() {
        match (&call.op, call.answer()) {
            (Op::Compact { revision }, Some(Answer::Compacted { .. })) => {
                oldest = oldest.max(*revision);
            }
            (Op::Range { at: Some(at), limit: 0, .. }, Some(Answer::Ranged { kvs, count, .. }))
                if call.op == everything(*at) && kvs.len() as u64 == *count =>
            {
                seen.insert(*at);
            }
            (_, answer) => told.extend(answer.and_then(made)),
        }
    }
    let gaps = (oldest.get() + 1..=upto.get()).map(Revision::new);
    let gaps = gaps.filter(|gap| !told.contains(gap));
    let wanted = gaps.flat_map(|gap| [Revision::new(gap.get() - 1), gap]);
    wanted.filter(|at| !seen.contains(at)).collect()
}

/// A look at the whole store as it was.
pub(super) fn everything(at: Revision) -> Op {
    let (range, limit, count_only) = (KeyRange::all(), 0, false);
    Op::Range { range, limit, count_only, at: Some(at), serializable: true }
}

/// The revision that a write made, if it was told.
fn made(answer: &Answer) -> Option<Revision> {
    match answer {
        Answer::Put { revision, .. } | Answer::Deleted { revision, deleted: 1.., .. } => {
            Some(*revision)
        }
        _ => None,
    }
}

/// Calls the store as a user does.
pub(super) async fn perform(store: &Store, op: &Op, timeout: Duration) -> Answer {
    match op.clone() {
        Op::Put { key, value, prev_value } => {
            let put = store.put(key, value).timeout(timeout);
            let put = if prev_value { put.prev_value() } else { put };
            Answer::from(&put.await)
        }
        Op::Delete { range, prev_values } => {
            let delete = store.delete(range).timeout(timeout);
            let delete = if prev_values { delete.prev_values() } else { delete };
            Answer::from(&delete.await)
        }
        Op::Get { key, at, serializable } => {
            let mut get = store.get(key).timeout(timeout);
            if let Some(at) = at {
                get = get.at(at);
            }
            let get = if serializable { get.serializable() } else { get };
            Answer::from(&get.await)
        }
        Op::Range { range, limit, count_only, at, serializable } => {
            let mut read = store.range(range).timeout(timeout).limit(limit);
            if let Some(at) = at {
                read = read.at(at);
            }
            let read = if serializable { read.serializable() } else { read };
            let read = if count_only { read.count_only() } else { read };
            Answer::from(&read.await)
        }
        Op::Compact { revision } => Answer::from(&store.compact(revision).timeout(timeout).await),
    }
}
