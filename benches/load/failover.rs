//! The leader is killed: how long is it until somebody else does its work?

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use quorate::Store;

use crate::Outcome;
use crate::bench::Bench;
use crate::hist::Hist;
use crate::random::Random;
use crate::report::{Figures, Meter, Record};

/// Between two probes of the same member.
const PROBE: Duration = Duration::from_millis(5);
/// After that nobody leads any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between a failover and what follows it.
const CALM: Duration = Duration::from_millis(500);

impl Bench {
    /// The time until a put to a survivor is acknowledged, with one put every few milliseconds to
    /// each of them. The leader is cut off at one moment, which is what the others see of a process
    /// that is killed or of a machine that is gone.
    pub(crate) fn failovers(&mut self) -> Outcome<()> {
        self.fail_over("failover-kill", |bench, leader| {
            let survivors = bench.cluster.stores_but(leader);
            let begun = bench.cluster.cut_off(leader)?;
            bench.first_put(&survivors).map(|at| at - begun)
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
