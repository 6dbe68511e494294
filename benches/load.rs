//! Load from within the process, to be compared with etcd embedded in a Go program.
//!
//! ```text
//! cargo run --release -p quorate-load -- put,get-lin --members 3 --concurrency 1,64 --seconds 5
//! ```
//!
//! One JSON line per measurement. The names of workloads and fields, the keys (32 bytes), the
//! values, the warm-up, the histogram and the checks are those of the Go program, so that lines of
//! both can stand in one table: `compare.sh` runs the two in turn, `compare.py` makes the table.
//!
//! What is measured: `concurrency` callers in a closed loop, in the same process as all the
//! members, the load generator's own cost included. A caller is a task on one of two threads
//! (`--callers tasks`, what a goroutine is), a task of tokio's (`tokio`), or a blocking thread
//! (`threads`). Latencies with 64 callers and more are mostly waiting in line.
//!
//! Every answer is checked: a key that must be there is, a range is complete, one key was deleted.
//! A wrong one counts as an error, and errors stand in the line.
//!
//! `watch-same` and `watch-distinct` put while watchers of one key, or of a key each, are given
//! what is put; `-paced` is one put after the other at a rate. Operations are events, and a latency
//! is from just before the put to the event; `ack_p50_us` and its like are from the put's answer,
//! of events that came after it. Each watcher has a task of its own, or a thread; with `--streams`
//! they are spread over sets that have one. `watch-idle` puts beside no watchers and beside many
//! that sleep, in turn, and says how the rates compare.
//!
//! Rows that the Go program does not have: `transact-contended` is `txn-cas-contended` by
//! `Store::transact`, and `put-during-compaction-N` follows a second round of puts over all keys,
//! so that there are as many old revisions to remove as keys.

// The lints keep the library from speaking, reading clocks and starting threads. This is a program.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a program at a terminal, not the library"
)]

#[path = "load/args.rs"]
mod args;
#[path = "load/bench.rs"]
mod bench;
#[path = "load/callers.rs"]
mod callers;
#[path = "load/cluster.rs"]
mod cluster;
#[path = "load/disk.rs"]
mod disk;
#[path = "load/exchange.rs"]
mod exchange;
#[path = "load/executor.rs"]
mod executor;
#[path = "load/failover.rs"]
mod failover;
#[path = "load/hist.rs"]
mod hist;
#[path = "load/leases.rs"]
mod leases;
#[path = "load/locks.rs"]
mod locks;
#[path = "load/log_time.rs"]
mod log_time;
#[path = "load/machine.rs"]
mod machine;
#[path = "load/pacer.rs"]
mod pacer;
#[path = "load/random.rs"]
mod random;
#[path = "load/report.rs"]
mod report;
#[path = "load/watching.rs"]
mod watching;
#[path = "load/workloads.rs"]
mod workloads;

use std::process::ExitCode;

use args::Options;
use bench::Bench;

/// Whatever ended the benchmark.
pub(crate) type Failure = Box<dyn std::error::Error>;
pub(crate) type Outcome<T> = Result<T, Failure>;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => match run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("load: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            eprint!("{}", args::USAGE);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}\n\n{}", args::USAGE);
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    let mut bench = None;
    for workload in &options.workloads {
        if workload == "disk" {
            disk::measure(options)?;
            continue;
        }
        if bench.is_none() {
            bench = Some(Bench::open(options)?);
        }
        if let Some(bench) = &mut bench {
            bench.run(workload)?;
        }
    }
    bench.map_or(Ok(()), Bench::close)
}
