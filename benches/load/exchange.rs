//! Compare and set: a key is read, and written unless somebody else wrote it meanwhile.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quorate::{
    Compare, Get, GetResponse, KeyValue, Op, PutOp, PutResponse, Revision, Store, Transact,
    TransactResponse, Transaction, Txn, TxnResponse,
};

use crate::callers::{Call, Caller, Workload};
use crate::workloads::key;

/// The key that all callers want.
const HOT: &[u8] = b"hot";

/// Reads and writes until the write goes through. Begins with the write if the caller knows when
/// the key was last written.
pub(crate) struct Exchange {
    target: Target,
    step: Step,
    tries: u64,
}

struct Target {
    store: Store,
    key: Vec<u8>,
    value: Bytes,
}

enum Step {
    Read(Get),
    Write(Txn<PutOp>),
}

/// How an exchange went.
pub(crate) struct Exchanged {
    revision: Revision,
    tries: u64,
}

impl Target {
    fn read(&self) -> Step {
        Step::Read(self.store.get(self.key.clone()))
    }

    fn write(&self, seen: Revision) -> Step {
        let unchanged = Compare::mod_revision(self.key.clone()).equals(seen);
        let put = Op::put(self.key.clone(), self.value.clone());
        Step::Write(self.store.txn().when(unchanged).then(put))
    }

    fn after_read(&self, read: &GetResponse) -> Step {
        self.write(read.kv.as_ref().map(KeyValue::mod_revision).unwrap_or_default())
    }
}

impl Exchange {
    fn new(caller: &Caller, key: Vec<u8>, seen: Option<Revision>) -> Self {
        let target = Target { store: caller.store.clone(), key, value: caller.value.clone() };
        let step = seen.map_or_else(|| target.read(), |seen| target.write(seen));
        Self { target, step, tries: 0 }
    }
}

impl Exchanged {
    /// `None`: somebody else was faster.
    fn of(written: &TxnResponse<PutResponse, ()>, tries: u64) -> Option<Self> {
        written.succeeded().then_some(Self { revision: written.header.revision, tries })
    }
}

impl Future for Exchange {
    type Output = quorate::Result<Exchanged>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            self.step = match &mut self.step {
                Step::Read(get) => {
                    let read = ready!(Pin::new(get).poll(context))?;
                    self.target.after_read(&read)
                }
                Step::Write(txn) => {
                    let written = ready!(Pin::new(txn).poll(context))?;
                    self.tries += 1;
                    if let Some(done) = Exchanged::of(&written, self.tries) {
                        return Poll::Ready(Ok(done));
                    }
                    self.target.read()
                }
            };
        }
    }
}

impl Call for Exchange {
    type Response = Exchanged;

    fn block(self) -> quorate::Result<Exchanged> {
        let Self { target, mut step, mut tries } = self;
        loop {
            step = match step {
                Step::Read(get) => target.after_read(&get.wait()?),
                Step::Write(txn) => {
                    let written = txn.wait()?;
                    tries += 1;
                    if let Some(done) = Exchanged::of(&written, tries) {
                        return Ok(done);
                    }
                    target.read()
                }
            };
        }
    }
}

/// A key for each caller, so that nobody is in anybody's way.
pub(crate) struct OwnKeys;

impl Workload for OwnKeys {
    type Call = Exchange;

    fn begin(&self, caller: &mut Caller) -> Option<Exchange> {
        // Taken: after an error nothing is known, and the key is read again.
        let seen = caller.seen.take();
        Some(Exchange::new(caller, key(caller.place), seen))
    }

    fn is_right(&self, caller: &mut Caller, response: &Exchanged) -> bool {
        caller.seen = Some(response.revision);
        response.tries == 1
    }
}

/// One key that all callers want; counts what that costs.
#[derive(Default)]
pub(crate) struct HotKey {
    tries: AtomicU64,
    done: AtomicU64,
}

impl HotKey {
    fn note(&self, tries: u64) {
        self.tries.fetch_add(tries, Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn tries_per_success(&self) -> f64 {
        let done = self.done.load(Ordering::Relaxed).max(1);
        self.tries.load(Ordering::Relaxed) as f64 / done as f64
    }
}

impl Workload for HotKey {
    type Call = Exchange;

    fn begin(&self, caller: &mut Caller) -> Option<Exchange> {
        Some(Exchange::new(caller, HOT.to_vec(), None))
    }

    fn is_right(&self, _caller: &mut Caller, response: &Exchanged) -> bool {
        self.note(response.tries);
        response.tries > 0
    }
}

/// The same by the library's own loop, which reads without asking a leader.
#[derive(Default)]
pub(crate) struct HotTransact(pub(crate) HotKey);

type Body = Box<dyn FnMut(&mut Transaction<'_>) -> quorate::Result<()> + Send>;

impl Call for Transact<Body, ()> {
    type Response = TransactResponse<()>;

    fn block(self) -> quorate::Result<TransactResponse<()>> {
        self.wait()
    }
}

impl Workload for HotTransact {
    type Call = Transact<Body, ()>;

    fn begin(&self, caller: &mut Caller) -> Option<Transact<Body, ()>> {
        let value = caller.value.clone();
        let body: Body = Box::new(move |tx| {
            tx.get(HOT)?;
            tx.put(HOT, value.clone())
        });
        Some(caller.store.transact(body).max_attempts(u32::MAX))
    }

    fn is_right(&self, _caller: &mut Caller, response: &TransactResponse<()>) -> bool {
        self.0.note(response.attempts.into());
        response.attempts > 0
    }
}
