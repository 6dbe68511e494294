//! A program of a user's own, tested in a simulated cluster: a scheduler in three copies, one
//! beside each member. Every job must be run by exactly one of them, whatever happens to leaders.
//!
//! The pattern for tests like it:
//!
//! 1. Write the program over [`Store`] and a clock, never over threads or the system's time.
//! 2. Start its copies as tasks of a [`Cluster`], break things meanwhile, let time pass.
//! 3. Have a judge of your own, and call [`Cluster::fail`] when a promise is broken. What the
//!    library itself promises is judged anyway.
//! 4. Do it for many seeds. A failure prints the last events, the seed, and a command.
//!
//! `SEED=7 cargo test --test scheduler` runs one seed only.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a test may fail by panic, and asks its environment for a seed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate::sim::{Builder, Clock, Cluster, Failure, Faults, Seed};
use quorate::{KeyRange, Result, Store};

const JOBS: usize = 12;

/// Who ran which job. In a real scheduler this is the world outside.
type Ran = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

/// One copy of the scheduler.
struct Scheduler {
    name: String,
    store: Store,
    clock: Clock,
    ran: Ran,
    claim: Claim,
}

/// How copies agree on who runs a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Each writes a claim of its own; the one with the lowest create revision holds.
    InOrder,
    /// Whoever finds no claim writes one, and takes it for granted. This is wrong: two may look
    /// before either writes.
    LookThenWrite,
}

impl Scheduler {
    /// Runs jobs for as long as there are any. An error means: try again soon. A claim may be
    /// written again after an error, for that changes nothing but its version.
    async fn work(self) {
        loop {
            match self.round().await {
                Ok(0) => return,
                Ok(_) => self.clock.sleep(Duration::from_millis(20)).await,
                Err(_) => self.clock.sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Tries to claim every job; says how many were left.
    async fn round(&self) -> Result<usize> {
        let jobs = self.store.range(KeyRange::prefix("jobs/")).await?.kvs;
        for job in &jobs {
            let job = String::from_utf8_lossy(job.key()).into_owned();
            let held = match self.claim {
                Claim::InOrder => self.claim_in_order(&job).await?,
                Claim::LookThenWrite => self.look_then_write(&job).await?,
            };
            if held {
                self.ran.lock().unwrap().entry(job.clone()).or_default().insert(self.name.clone());
                self.store.delete(job).await?;
            }
        }
        Ok(jobs.len())
    }

    async fn claim_in_order(&self, job: &str) -> Result<bool> {
        let claims = format!("claims/{job}/");
        self.store.put(format!("{claims}{}", self.name), self.name.clone()).await?;
        let all = self.store.range(KeyRange::prefix(claims)).await?.kvs;
        let first = all.iter().min_by_key(|claim| claim.create_revision());
        Ok(first.is_some_and(|claim| claim.value() == self.name.as_bytes()))
    }

    async fn look_then_write(&self, job: &str) -> Result<bool> {
        let claim = format!("claims/{job}");
        let found = self.store.get(claim.clone()).await?.kv;
        if let Some(found) = found {
            return Ok(found.value() == self.name.as_bytes());
        }
        self.store.put(claim, self.name.clone()).await?;
        Ok(true)
    }
}

/// One seed: jobs, three schedulers, and a leader that is cut off again and again.
fn simulate(seed: u64, claim: Claim) -> std::result::Result<(), Failure> {
    let cluster = Builder::new(Seed::new(seed))
        .faults(Faults::none().delay(Duration::from_micros(50)..Duration::from_millis(5)))
        .replay(format!("SEED={seed} cargo test --test scheduler"))
        .build()
        .unwrap();
    let leader = cluster.wait_for_leader()?;
    let store = cluster.store(&leader).unwrap();
    cluster.block_on(async move {
        for job in 0..JOBS {
            store.put(format!("jobs/{job:02}"), "").await.unwrap();
        }
    })?;

    let ran = Ran::default();
    for name in cluster.names() {
        let (store, clock) = (cluster.store(&name).unwrap(), cluster.clock());
        let scheduler = Scheduler { name, store, clock, ran: Arc::clone(&ran), claim };
        cluster.spawn(scheduler.work());
    }
    for _ in 0..4 {
        cluster.run_for(Duration::from_millis(30))?;
        if let Some(leader) = cluster.leader() {
            cluster.isolate(&leader).unwrap();
        }
        cluster.run_for(Duration::from_secs(3))?;
        cluster.heal();
    }
    let done = |cluster: &Cluster| cluster.tasks() == 0;
    if !cluster.run_until(Duration::from_secs(120), done)? {
        cluster.fail("jobs are left, or a scheduler does not know that none are");
    }

    for job in (0..JOBS).map(|job| format!("jobs/{job:02}")) {
        match ran.lock().unwrap().get(&job) {
            None => cluster.fail(format!("nobody has run {job}")),
            Some(who) if who.len() > 1 => cluster.fail(format!("{job} was run by {who:?}")),
            Some(_) => {}
        }
    }
    cluster.settle()
}

#[test]
fn every_job_is_run_by_one_scheduler() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..20).collect(),
    };
    for seed in seeds {
        simulate(seed, Claim::InOrder).unwrap();
    }
}

/// A test that cannot fail proves nothing: the scheduler with the mistake is found out soon.
#[test]
fn a_scheduler_that_looks_before_it_writes_is_found_out() {
    let failure = (0..20).find_map(|seed| simulate(seed, Claim::LookThenWrite).err()).unwrap();
    assert!(failure.what.contains("was run by"), "{failure}");
    let printed = failure.to_string();
    let seed = failure.seed;
    assert!(printed.ends_with(&format!("replay: SEED={seed} cargo test --test scheduler")));
}
