//! Locks, taken and given back: each caller its own, or all the same.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use quorate::{Lock, Session};

use crate::Outcome;
use crate::bench::Bench;
use crate::callers::{Call, Caller, Workload};
use crate::report::Record;

const TTL: Duration = Duration::from_secs(60);

/// A lock for each caller; the same one, by its name, or not.
struct Pairs {
    rivals: Vec<(Arc<Session>, Lock)>,
    /// Of all callers, if they want the same lock.
    newest: Option<AtomicU64>,
}

/// The lock is taken and given back.
pub(crate) struct Pair {
    session: Arc<Session>,
    lock: Lock,
    under_way: Option<Pin<Box<dyn Future<Output = quorate::Result<u64>> + Send>>>,
}

impl Future for Pair {
    type Output = quorate::Result<u64>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (session, lock) = (Arc::clone(&self.session), self.lock.clone());
        let under_way = self.under_way.get_or_insert_with(|| {
            Box::pin(async move {
                let guard = lock.acquire(&session).await?;
                let token = guard.token().get();
                guard.release().await?;
                Ok(token)
            })
        });
        under_way.as_mut().poll(context)
    }
}

impl Call for Pair {
    type Response = u64;

    fn block(self) -> quorate::Result<u64> {
        let guard = self.lock.acquire(&self.session).wait()?;
        let token = guard.token().get();
        guard.release().wait()?;
        Ok(token)
    }
}

impl Workload for Pairs {
    type Call = Pair;

    fn begin(&self, caller: &mut Caller) -> Option<Pair> {
        let (session, lock) = self.rivals.get(usize::try_from(caller.place).ok()?)?;
        Some(Pair { session: Arc::clone(session), lock: lock.clone(), under_way: None })
    }

    fn is_right(&self, caller: &mut Caller, token: &u64) -> bool {
        let before = caller.seen.replace(quorate::Revision::new(*token));
        if let Some(newest) = &self.newest {
            newest.fetch_max(*token, Ordering::Relaxed);
        }
        before.is_none_or(|before| before.get() < *token)
    }
}

impl Bench {
    pub(crate) fn mutexes(&self) -> Outcome<()> {
        for (name, concurrency, same) in
            [("mutex-uncontended", 1, false), ("mutex-uncontended", 16, false)]
                .into_iter()
                .chain([("mutex-contended", 16, true)])
        {
            let stores = self.cluster.stores()?;
            let mut rivals = Vec::new();
            for (at, store) in stores.iter().cycle().take(concurrency).enumerate() {
                let name = if same { "mutex/one".to_owned() } else { format!("mutex/{at}") };
                rivals.push((Arc::new(store.session(TTL).wait()?), store.lock(name)));
            }
            let newest = same.then(AtomicU64::default);
            let pairs = Arc::new(Pairs { rivals, newest });
            for _ in 0..self.options.repeat {
                self.measure(name, concurrency, &pairs, || {
                    let mut more = Record::new();
                    if let Some(newest) = &pairs.newest {
                        more.set("last_token", newest.load(Ordering::Relaxed));
                    }
                    Ok(more)
                })?;
            }
        }
        Ok(())
    }
}
