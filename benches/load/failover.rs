//! The leader is killed: how long is it until somebody else does its work?

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use quorate::{KeyRange, Leadership, Op, Session, Store};

use crate::Outcome;
use crate::bench::Bench;
use crate::hist::Hist;
use crate::random::Random;
use crate::report::{Figures, Meter, Record};

/// Between two probes of the same member.
const PROBE: Duration = Duration::from_millis(5);
/// After that nobody leads any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// What candidates stand for, and what the one that leads writes.
const OFFICE: &str = "office";
const WORK: &str = "work";
/// Between a failover and what follows it.
const CALM: Duration = Duration::from_millis(500);

/// Waits until it leads, with a session of the shortest TTL.
fn candidate(store: &Store) -> quorate::Result<(Session, Leadership)> {
    let session = store.session(Duration::ZERO).wait()?;
    let leadership = store.election(OFFICE).campaign(&session, "").wait()?;
    Ok((session, leadership))
}

/// Candidates for what somebody else has: says when the first of them has written as its
/// holder.
fn queue_up(stores: Vec<Store>) -> Outcome<Receiver<quorate::Result<Instant>>> {
    let (done, written) = channel();
    let waiting = stores.len();
    let look = stores.first().cloned().ok_or("nobody is left to stand for election")?;
    for store in stores {
        let done = done.clone();
        thread::spawn(move || {
            let written = candidate(&store).and_then(|(_session, leadership)| {
                leadership.txn().then(Op::put(WORK, "x")).wait()?;
                Ok(Instant::now())
            });
            // Of those behind the first nobody wants to know.
            done.send(written).ok();
        });
    }
    let line = || look.range(KeyRange::prefix(format!("{OFFICE}/"))).count_only().wait();
    let end = Instant::now() + PATIENCE;
    while usize::try_from(line()?.count)? != waiting + 1 {
        if Instant::now() > end {
            return Err(format!("not all stand for election within {PATIENCE:?}").into());
        }
        thread::sleep(PROBE);
    }
    Ok(written)
}
impl Bench {
    /// The time until a put to a survivor is acknowledged, with one put every few milliseconds to
    /// each of them. The leader is cut off at one moment, which is what the others see of a process
    /// that is killed or of a machine that is gone. Then the same for an election that the leader
    /// has won: until another candidate has won it and has written as its holder.
    pub(crate) fn failovers(&mut self) -> Outcome<()> {
        self.fail_over("failover-kill", |bench, leader| {
            let survivors = bench.cluster.stores_but(leader);
            let begun = bench.cluster.cut_off(leader)?;
            bench.first_put(&survivors).map(|at| at - begun)
        })?;
        self.fail_over("failover-election", |bench, leader| {
            let survivors = bench.cluster.stores_but(leader);
            let (_session, leadership) = candidate(&bench.cluster.store(leader)?)?;
            let written = queue_up(survivors)?;
            leadership.txn().then(Op::put(WORK, "x")).wait()?;
            let begun = bench.cluster.cut_off(leader)?;
            Ok(written.recv_timeout(PATIENCE)?? - begun)
        })
    }

    /// As often as asked for; says how long each took.
    pub(crate) fn fail_over(
        &mut self,
        name: &str,
        once: impl Fn(&Self, usize) -> Outcome<Duration>,
    ) -> Outcome<()> {
        if self.cluster.members() < 3 {
            return Err(format!("{name} wants --members 3 at least").into());
        }
        let mut random = Random::new(u64::from(std::process::id()));
        let (mut latencies, mut times) = (Hist::new(), Vec::new());
        let meter = Meter::start(&self.cluster);
        let begun = Instant::now();
        for _ in 0..self.options.failovers {
            let leader = self.cluster.leader()?;
            thread::sleep(CALM + Duration::from_millis(random.below(1000)));
            let took = once(self, leader)?;
            latencies.add(took);
            times.push((took.as_secs_f64() * 1e4).round() / 10.0);
            self.cluster.revive(leader)?;
            thread::sleep(CALM);
        }
        times.sort_by(f64::total_cmp);
        let mut more = Record::new();
        more.set("median_ms", times.get(times.len() / 2).copied());
        more.set("min_ms", times.first().copied());
        more.set("max_ms", times.last().copied());
        more.set("failover_ms", times);
        more.seconds("heartbeat_s", self.options.heartbeat);
        more.seconds("election_s", self.options.election);
        let figures = Figures {
            workload: name,
            concurrency: 1,
            ops: self.options.failovers,
            elapsed: begun.elapsed(),
            latencies: Some(&latencies),
        };
        meter.emit(&self.cluster, &self.options, &figures, more);
        Ok(())
    }

    /// When the first put is acknowledged.
    fn first_put(&self, survivors: &[Store]) -> Outcome<Instant> {
        let (done, answered) = channel();
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            for store in survivors {
                let (put, done) = (store.put("probe", "x").timeout(PATIENCE), Sender::clone(&done));
                self.callers.spawn(async move {
                    if put.await.is_ok() {
                        // Of those behind the first nobody wants to know.
                        done.send(Instant::now()).ok();
                    }
                });
            }
            if let Ok(at) = answered.recv_timeout(PROBE) {
                return Ok(at);
            }
        }
        Err(format!("nobody has acknowledged a put within {PATIENCE:?}").into())
    }
}
