//! What several do together, when nothing is wrong: nobody is told too early, and everybody in the
//! end.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;

use super::recipes::Party;
use crate::error;
use crate::service::{Entered, Leadership};
use crate::sim::cluster::Cluster;
use crate::sim::failure::Failure;
use crate::sim::run::{LIVE_WITHIN, Setting};

/// What some were told, in order.
struct Told<T> {
    cluster: Cluster,
    all: Arc<Mutex<Vec<T>>>,
}

impl<T: Send + 'static> Told<T> {
    fn new(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone(), all: Arc::default() }
    }

    fn wait(&self, call: impl Future<Output = error::Result<T>> + Send + 'static) {
        let (cluster, all) = (self.cluster.clone(), Arc::clone(&self.all));
        self.cluster.spawn(async move {
            match call.await {
                Ok(told) => all.lock().push(told),
                Err(error) => cluster.fail(format!("REC-37: nothing is wrong, and: {error}")),
            }
        });
    }

    /// So many are told, and no more.
    fn are(&self, setting: &Setting, count: usize, what: &str) -> Result<(), Failure> {
        let told = || self.all.lock().len();
        self.cluster.run_until(setting.election * LIVE_WITHIN, |_| told() >= count)?;
        self.cluster.run_for(setting.election)?;
        if told() != count {
            let told = told();
            self.cluster.fail(format!("{what}: {told} are told so, and not {count}"));
        }
        self.cluster.failure().map_or(Ok(()), Err)
    }

    fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.all.lock())
    }
}

/// One holds a barrier, all wait for it, and pass when it is released (`REC-37`).
pub(super) fn pass(cluster: &Cluster, setting: &Setting, parties: &[Party]) -> Result<(), Failure> {
    const NAME: &str = "k/gates/peace";
    let Some((store, _)) = parties.first() else { return Ok(()) };
    if !cluster.block_on(store.barrier(NAME).hold())?.is_ok_and(|mine| mine) {
        cluster.fail("REC-37: nothing is wrong, and a barrier is not put up");
    }
    let passed = Told::new(cluster);
    for (store, _) in parties {
        passed.wait(store.barrier(NAME).pass());
    }
    passed.are(setting, 0, "REC-37: a barrier is held, and is passed")?;
    drop(cluster.block_on(store.barrier(NAME).release())?);
    passed.are(setting, parties.len(), "REC-37: a barrier is released, and is passed")
}

/// All wait for an item each, and are given one each when there are some (`REC-40`).
pub(super) fn give(cluster: &Cluster, setting: &Setting, parties: &[Party]) -> Result<(), Failure> {
    const NAME: &str = "k/jobs/peace";
    let given = Told::new(cluster);
    for (store, _) in parties {
        given.wait(store.queue(NAME).dequeue());
    }
    given.are(setting, 0, "REC-40: a queue is empty, and items of it are given")?;
    for (number, (store, _)) in parties.iter().enumerate() {
        drop(cluster.block_on(store.queue(NAME).enqueue(number.to_string()))?);
        given.are(setting, number + 1, "REC-40: so many items are there for who waits")?;
    }
    Ok(())
}

/// All enter a double barrier but one, and then that one too; and so they leave (`REC-38`).
pub(super) fn enter(
    cluster: &Cluster,
    setting: &Setting,
    parties: &[Party],
) -> Result<(), Failure> {
    const NAME: &str = "k/parties/peace";
    let Some(((last, session), others)) = parties.split_last() else { return Ok(()) };
    let count = parties.len();
    let entered = Told::new(cluster);
    for (store, session) in others {
        entered.wait(store.double_barrier(NAME, count).enter(session));
    }
    entered.are(setting, 0, "REC-38: one is not there, and all are said to have entered")?;
    entered.wait(last.double_barrier(NAME, count).enter(session));
    entered.are(setting, count, "REC-38: all are there, and have entered")?;
    let (left, mut all) = (Told::new(cluster), entered.take());
    let one = all.pop();
    for entered in all {
        left.wait(entered.leave());
    }
    left.are(setting, 0, "REC-38: one is in, and all are said to have left")?;
    one.map(Entered::leave).into_iter().for_each(|leave| left.wait(leave));
    left.are(setting, count, "REC-38: nobody is in, and all have left")
}

/// Of two who wait for one to resign, the preferred one comes first, who came last (`REC-17`).
pub(super) fn prefer(
    cluster: &Cluster,
    setting: &Setting,
    (one, other): (&Party, &Party),
) -> Result<(), Failure> {
    const NAME: &str = "k/seats/peace";
    let elected = Told::new(cluster);
    elected.wait(one.0.election(NAME).campaign(&one.1, "first"));
    elected.are(setting, 1, "REC-16: one stands, and is elected")?;
    elected.wait(other.0.election(NAME).campaign(&other.1, "usual"));
    elected.are(setting, 1, "REC-16: one leads, and another waits")?;
    elected.wait(one.0.election(NAME).priority(5).campaign(&one.1, "preferred"));
    elected.are(setting, 1, "REC-16: one leads, and others wait")?;
    for expected in ["first", "preferred", "usual"] {
        let Some(leads) = elected.take().pop() else { break };
        let leader = cluster.block_on(other.0.election(NAME).leader())?.ok().flatten();
        if leader.as_ref().is_none_or(|it| it.value != expected || it.token != leads.token()) {
            cluster.fail(format!("REC-22: {leader:?} is said to lead, and not {expected:?}"));
        }
        outranked(cluster, setting, &leads, expected == "first")?;
        resign(cluster, leads)?;
        let next = usize::from(expected != "usual");
        elected.are(setting, next, "REC-25: one resigns, and the next is elected")?;
    }
    cluster.failure().map_or(Ok(()), Err)
}

/// Whoever leads is told that it is outranked if it is, and not else.
fn outranked(
    cluster: &Cluster,
    setting: &Setting,
    leads: &Leadership,
    is_so: bool,
) -> Result<(), Failure> {
    let (told, outranked) = (Told::new(cluster), leads.outranked());
    told.wait(async move {
        outranked.await;
        Ok(())
    });
    told.are(setting, usize::from(is_so), "REC-16: a leader is outranked")
}

fn resign(cluster: &Cluster, leads: Leadership) -> Result<(), Failure> {
    match cluster.block_on(async move { leads.resign().await })? {
        Ok(true) => Ok(()),
        resigned => {
            cluster.fail(format!("REC-21: nothing is wrong, and: {resigned:?}"));
            Ok(())
        }
    }
}
