//! One JSON line per measurement, with the field names of the peer's program.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::args::{Kind, Options, Via};
use crate::cluster::Cluster;
use crate::hist::Hist;
use crate::machine::{self, Cpu};

/// Fields of a line. Numbers keep three digits behind the point.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Map<String, Value>);

impl Record {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = match value.into() {
            Value::Number(number) if number.is_f64() => {
                ((number.as_f64().unwrap_or(0.0) * 1e3).round() / 1e3).into()
            }
            other => other,
        };
        self.0.insert(name.to_owned(), value);
    }

    pub(crate) fn seconds(&mut self, name: &str, span: Duration) {
        self.set(name, span.as_secs_f64());
    }

    pub(crate) fn print(self) {
        println!("{}", Value::Object(self.0));
    }
}

/// The counters as they stood when a measurement began.
pub(crate) struct Meter {
    begun: Instant,
    cpu: Cpu,
    load1: f64,
    syncs: u64,
}

/// What was measured.
pub(crate) struct Figures<'a> {
    pub(crate) workload: &'a str,
    pub(crate) concurrency: usize,
    pub(crate) ops: u64,
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Option<&'a Hist>,
}

impl Meter {
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let (load1, syncs) = (machine::load1(), cluster.syncs());
        Self { begun: Instant::now(), cpu: Cpu::read(), load1, syncs }
    }

    /// Prints the line, with `more` over it.
    pub(crate) fn emit(
        self,
        cluster: &Cluster,
        options: &Options,
        figures: &Figures<'_>,
        more: Record,
    ) {
        let all = self.begun.elapsed().as_secs_f64();
        let cpu = Cpu::read();
        let own = cpu.own - self.cpu.own;
        let elapsed = figures.elapsed.as_secs_f64();
        let (rss, anon) = machine::rss_mb();
        let mut record = Record::new();
        record.set("peer", "quorate");
        record.set("members", cluster.members());
        record.set("workload", figures.workload);
        record.set("concurrency", figures.concurrency);
        record.set("value_bytes", options.value_bytes);
        record.set("keys", options.keys);
        record.set("secs", elapsed);
        record.set("ops", figures.ops);
        record.set("ops_per_s", figures.ops as f64 / elapsed);
        record.set("rss_mb", rss);
        record.set("rss_anon_mb", anon);
        record.set("load1", self.load1);
        record.set("own_cpu", own / all);
        record.set("others_cpu", (cpu.busy - self.cpu.busy - own) / all);
        record.set("steal_cpu", (cpu.steal - self.cpu.steal) / all);
        record.set("disk", cluster.file_system());
        if figures.ops > 0 {
            record.set("cpu_us_per_op", own / all * elapsed / figures.ops as f64 * 1e6);
        }
        if let Some(latencies) = figures.latencies {
            record.set("p50_us", latencies.quantile_us(0.5));
            record.set("p99_us", latencies.quantile_us(0.99));
            record.set("p999_us", latencies.quantile_us(0.999));
            record.set("max_us", latencies.max_us());
        }
        let syncs = cluster.syncs().saturating_sub(self.syncs);
        if syncs > 0 {
            record.set("wal_fsyncs_per_s", syncs as f64 / all);
        }
        record.set(
            "callers",
            match options.callers {
                Kind::Tasks => "tasks",
                Kind::Tokio => "tokio",
                Kind::Threads => "threads",
            },
        );
        match options.via {
            Via::Leader => {}
            Via::Follower => record.set("via", "follower"),
            Via::All => record.set("via", "all"),
        }
        record.0.extend(more.0);
        record.print();
    }
}
