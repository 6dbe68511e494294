//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::{Failure, Outcome};

pub(crate) const USAGE: &str = "\
usage: cargo run --release -p quorate-load -- WORKLOAD[,WORKLOAD] [OPTIONS]

workloads:
  put get-lin get-ser get-under-writes range count txn-cas delete load disk
  watch-same watch-distinct watch-same-paced watch-distinct-paced watch-idle
  lease lease-expiry idle-sessions mutex failover

options (defaults in parentheses):
  --members N           members, all in this process: 1, 3, 5 (1)
  --concurrency C[,C]   callers at once (put: 1,16,64,256,1024; get, delete: 1,16,64,256;
                        txn-cas: 1,16,64; watch-same, watch-distinct: 1,64; watch-idle: 1,64;
                        lease: 1,64; load: 16, one number only)
  --value-bytes V       bytes of a value (256)
  --keys K              keys there are before a measurement begins (100000)
  --seconds S           length of a measurement (10)
  --warm S              seconds before it that do not count (1)
  --repeat R            repeats of each measurement (1)
  --watchers N[,N]      watchers (watch-same, watch-distinct: 1,100,1000; watch-idle: 10000)
  --streams N[,N]       sets that the watchers of watch-same, watch-distinct are spread over, each
                        read by one task; 0: each watcher is read by its own (0)
  --writers KIND        threads: who puts beside watchers is a thread, whatever the callers are;
                        callers: is what they are (callers)
  --rate R              puts a second of the paced watch workloads (100)
  --load N              keys that `load` writes, and then puts over, compacts and counts
                        (1000000)
  --leases N            leases that end together (lease-expiry), or are kept (idle-sessions)
                        (10000)
  --failovers N         leaders that are cut off (10)
  --heartbeat-ms H      between two heartbeats of a leader (100)
  --election-ms E       the election timeout (1000)
  --dir D               where the members live: D/quorate-load, emptied before and after
                        (the system's folder for temporary files)
  --callers KIND        tasks: futures on two threads, each with a small executor of its own
                        tokio: futures on tokio's two worker threads
                        threads: one blocking thread each (tasks)
  --via WHICH           members that callers talk to: leader, follower, all (leader)
  --snapshot-count N    entries from one snapshot to the next (the library's default)
  --compact WHEN        before: compact the history before each repeat of `put`, not timed;
                        never (never)
";

/// What runs the callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tasks,
    Tokio,
    Threads,
}

/// Which members the callers talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Leader,
    Follower,
    All,
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) workloads: Vec<String>,
    pub(crate) members: usize,
    concurrency: Option<Vec<usize>>,
    watchers: Option<Vec<usize>>,
    pub(crate) streams: Vec<usize>,
    pub(crate) writer_threads: bool,
    pub(crate) rate: f64,
    pub(crate) value_bytes: usize,
    pub(crate) keys: u64,
    pub(crate) span: Duration,
    pub(crate) warm: Duration,
    pub(crate) repeat: usize,
    pub(crate) load: u64,
    pub(crate) leases: u64,
    pub(crate) failovers: u64,
    pub(crate) heartbeat: Duration,
    pub(crate) election: Duration,
    pub(crate) dir: PathBuf,
    pub(crate) callers: Kind,
    pub(crate) via: Via,
    pub(crate) snapshot_count: Option<u64>,
    pub(crate) compact: bool,
}

impl Options {
    /// Reads the arguments; `None` if there is nothing to do but show the usage.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Outcome<Option<Self>> {
        let mut options = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            // Cargo adds `--bench`.
            if argument == "--bench" {
                continue;
            }
            if matches!(argument.as_str(), "--help" | "-h") {
                return Ok(None);
            }
            match argument.strip_prefix("--") {
                Some(name) => {
                    let value = arguments.next().ok_or(format!("--{name} wants a value"))?;
                    options.set(name, &value)?;
                }
                None => options.workloads.extend(argument.split(',').map(str::to_owned)),
            }
        }
        if options.workloads.is_empty() {
            return Ok(None);
        }
        if options.members == 0 || options.keys == 0 {
            return Err("--members and --keys must not be 0".into());
        }
        if options.rate.is_nan() || options.rate <= 0.0 {
            return Err("--rate must be more than 0".into());
        }
        Ok(Some(options))
    }

    /// Callers at once, one measurement each: what was asked for, or `default`.
    pub(crate) fn concurrency(&self, default: &[usize]) -> Vec<usize> {
        self.concurrency.clone().unwrap_or_else(|| default.to_vec())
    }

    /// Watchers, one measurement each: what was asked for, or `default`.
    pub(crate) fn watchers(&self, default: &[usize]) -> Vec<usize> {
        self.watchers.clone().unwrap_or_else(|| default.to_vec())
    }

    fn set(&mut self, name: &str, value: &str) -> Outcome<()> {
        match name {
            "members" => self.members = number(name, value)?,
            "concurrency" => self.concurrency = Some(numbers(name, value)?),
            "watchers" => self.watchers = Some(numbers(name, value)?),
            "streams" => self.streams = numbers(name, value)?,
            "rate" => self.rate = number(name, value)?,
            "value-bytes" => self.value_bytes = number(name, value)?,
            "keys" => self.keys = number(name, value)?,
            "seconds" => self.span = Duration::try_from_secs_f64(number(name, value)?)?,
            "warm" => self.warm = Duration::try_from_secs_f64(number(name, value)?)?,
            "repeat" => self.repeat = number(name, value)?,
            "load" => self.load = number(name, value)?,
            "snapshot-count" => self.snapshot_count = Some(number(name, value)?),
            "leases" => self.leases = number(name, value)?,
            "failovers" => self.failovers = number(name, value)?,
            "heartbeat-ms" => self.heartbeat = Duration::from_millis(number(name, value)?),
            "election-ms" => self.election = Duration::from_millis(number(name, value)?),
            "dir" => self.dir = value.into(),
            "callers" => {
                self.callers = match value {
                    "tasks" => Kind::Tasks,
                    "tokio" => Kind::Tokio,
                    "threads" => Kind::Threads,
                    _ => return Err(unknown(name, value)),
                }
            }
            "via" => {
                self.via = match value {
                    "leader" => Via::Leader,
                    "follower" => Via::Follower,
                    "all" => Via::All,
                    _ => return Err(unknown(name, value)),
                }
            }
            "writers" => {
                self.writer_threads = match value {
                    "threads" => true,
                    "callers" => false,
                    _ => return Err(unknown(name, value)),
                }
            }
            "compact" => {
                self.compact = match value {
                    "before" => true,
                    "never" => false,
                    _ => return Err(unknown(name, value)),
                }
            }
            _ => return Err(format!("there is no option --{name}").into()),
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workloads: Vec::new(),
            members: 1,
            concurrency: None,
            watchers: None,
            streams: vec![0],
            writer_threads: false,
            rate: 100.0,
            value_bytes: 256,
            keys: 100_000,
            span: Duration::from_secs(10),
            warm: Duration::from_secs(1),
            repeat: 1,
            load: 1_000_000,
            leases: 10_000,
            failovers: 10,
            heartbeat: Duration::from_millis(100),
            election: Duration::from_secs(1),
            dir: std::env::temp_dir(),
            callers: Kind::Tasks,
            via: Via::Leader,
            snapshot_count: None,
            compact: false,
        }
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Outcome<T> {
    value.parse().map_err(|_| format!("--{name} {value}: not a number that it takes").into())
}

fn numbers(name: &str, value: &str) -> Outcome<Vec<usize>> {
    value.split(',').map(|count| number(name, count)).collect()
}

fn unknown(name: &str, value: &str) -> Failure {
    format!("--{name} does not know {value}").into()
}
