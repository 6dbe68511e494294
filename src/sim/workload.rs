//! Random clients: what they call, how often, on what.

mod bank;
mod bell;
mod draw;
mod hold;
mod perform;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

pub(super) use self::bank::{ACCOUNTS, TOTAL, balance};
pub(super) use self::hold::{Holders, is_ranked, queue_names};
pub(super) use self::perform::perform;
pub(super) use self::watch::Watchers;
#[cfg(test)]
pub(super) use self::watch::watch;
use super::cluster::Cluster;
use super::dice::Dice;
use super::history::{Answer, CallId, History, Op};
use crate::core::machine::txn::{self, Compare, Operator, Put, Target, Txn};
use crate::core::mvcc::Query;
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
    pub(super) keys: u64,
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
    /// Transactions: drawn trees of them, those that only read, compare-and-set, transfers.
    txns: u32,
    /// Reads and puts with rare options.
    options: u32,
    /// Before a call somebody wants another leader.
    handovers: u32,
}

/// Hot keys.
const HOT: u64 = 3;

/// Transactions are nested so deep at most.
const NESTED: u32 = 2;

/// How often one compare-and-set is tried.
const TRIES: u32 = 3;

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
            txns: part(50),
            options: part(30),
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
            if self.dice.chance(self.workload.mix.txns) {
                self.transact(name, &store).await;
                continue;
            }
            let op = self.draw();
            if let Op::Compact { revision } = op
                && !self.looks_back(name, &store, revision).await
            {
                continue;
            }
            self.call(name, &store, &op).await;
        }
    }

    /// One of the ways in which programs use transactions.
    async fn transact(&mut self, name: &str, store: &Store) {
        match self.dice.below(4) {
            0 => self.compare_and_set(name, store).await,
            1 => self.transfer(name, store).await,
            2 => {
                let op = self.draw_look();
                self.call(name, store, &op).await;
            }
            _ => {
                let (txn, serializable) = (self.draw_txn(NESTED), false);
                self.call(name, store, &Op::Txn { txn, serializable }).await;
            }
        }
    }

    /// Reads a key and writes it if nobody has meanwhile; a few times if somebody has (`INV-5`).
    async fn compare_and_set(&mut self, name: &str, store: &Store) {
        let key = self.key();
        // One that may be old fails more often, and must do no harm.
        let serializable = self.dice.chance(300_000);
        let mut read = Op::Get { key: key.clone(), at: None, serializable };
        for _ in 0..TRIES {
            let seen = match self.call(name, store, &read).await {
                Answer::Got { kv, .. } => kv.map(|kv| kv.modified),
                Answer::Txn { succeeded: false, mut responses, .. } => match responses.pop() {
                    Some(Answer::Ranged { kvs, .. }) => kvs.first().map(|kv| kv.modified),
                    _ => return,
                },
                _ => return,
            };
            let put =
                Put { prev: self.dice.chance(300_000), ..Put::new(key.clone(), self.value()) };
            read = Op::Txn {
                txn: Txn {
                    compares: vec![unchanged(key.clone(), seen)],
                    success: vec![txn::Op::Put(put)],
                    failure: vec![txn::Op::Range(Query::new(KeyRange::key(key.clone())))],
                },
                serializable: false,
            };
        }
    }

    /// Calls, and gives back what it was told.
    async fn call(&mut self, name: &str, store: &Store, op: &Op) -> Answer {
        let id = self.begin(name, op);
        let answer = perform(store, op, self.workload.timeout).await;
        self.newest = answer.revision().unwrap_or_default().max(self.newest);
        let now = self.cluster.instant();
        self.recorder.lock().answer(id, now, answer.clone());
        answer
    }

    /// Before history is thrown away, it looks at what nobody was told of: later nobody can, and
    /// the judge would have to guess. False if it could not see all of it.
    async fn looks_back(&mut self, name: &str, store: &Store, upto: Revision) -> bool {
        let asked = untold(&self.recorder.lock(), upto);
        for at in asked {
            if self.call(name, store, &everything(at)).await.revision().is_none() {
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
}

/// Revisions to look at, so that it is known who made those that no write was told of: each of
/// them and the one before, up to `upto`, as far as they are not forgotten and nobody has looked.
pub(super) fn untold(history: &History, upto: Revision) -> BTreeSet<Revision> {
    let (mut told, mut seen, mut oldest) = (BTreeSet::new(), BTreeSet::new(), Revision::new(1));
    for (_, call) in history.calls() {
        let Some(answer) = call.answer() else { continue };
        match (&call.op, answer) {
            (Op::Compact { revision }, Answer::Compacted { .. }) => oldest = oldest.max(*revision),
            (Op::Range { query: Query { at: Some(at), .. }, .. }, Answer::Ranged { .. })
                if call.op == everything(*at) =>
            {
                seen.insert(*at);
            }
            (op, answer) => told.extend(op.made(answer)),
        }
    }
    let gaps = (oldest.get() + 1..=upto.get()).map(Revision::new);
    let gaps = gaps.filter(|gap| !told.contains(gap));
    let wanted = gaps.flat_map(|gap| [Revision::new(gap.get() - 1), gap]);
    wanted.filter(|at| !seen.contains(at)).collect()
}

/// A condition that a key is still what it was when it was read.
fn unchanged(key: Bytes, seen: Option<Revision>) -> Compare {
    let target = Target::ModRevision(seen.unwrap_or_default());
    Compare { range: KeyRange::key(key), operator: Operator::Equal, target }
}

/// A look at the whole store as it was.
pub(super) fn everything(at: Revision) -> Op {
    let query = Query { at: Some(at), ..Query::new(KeyRange::all()) };
    Op::Range { query, serializable: true }
}
