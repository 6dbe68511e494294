//! What this process and the machine have used, as Linux counts it under `/proc`. Elsewhere every
//! figure is 0.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Ticks of `/proc` per second: 100 wherever Linux runs.
const TICKS: f64 = 100.0;
const MIB: f64 = 1_048_576.0;

/// Seconds of CPU since the process and the machine were started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// This process.
    pub(crate) own: f64,
    /// Everything on every core, this process and the kernel's threads included.
    pub(crate) busy: f64,
    /// Taken by the hypervisor.
    pub(crate) steal: f64,
}

impl Cpu {
    pub(crate) fn read() -> Self {
        let own = read("/proc/self/stat");
        // The name of the process is in parentheses and may hold spaces.
        let fields: Vec<&str> =
            own.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let own = (number(&fields, 11) + number(&fields, 12)) / TICKS;

        let stat = read("/proc/stat");
        let fields: Vec<&str> =
            stat.lines().next().unwrap_or_default().split_whitespace().collect();
        // All but idle (4) and waiting for a disk (5).
        let busy: f64 = [1, 2, 3, 6, 7, 8].iter().map(|&at| number(&fields, at)).sum();
        Self { own, busy: busy / TICKS, steal: number(&fields, 8) / TICKS }
    }
}

/// The load average over a minute.
pub(crate) fn load1() -> f64 {
    number(&read("/proc/loadavg").split_whitespace().collect::<Vec<_>>(), 0)
}

/// Resident memory of this process in MiB: all of it, and what is not of a file.
pub(crate) fn rss_mb() -> (f64, f64) {
    let status = read("/proc/self/status");
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        number(&line.split_whitespace().collect::<Vec<_>>(), 1)
    };
    (kib("VmRSS:") / 1024.0, kib("RssAnon:") / 1024.0)
}

/// The kind of file system that `dir` is on.
pub(crate) fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = read("/proc/self/mounts");
    let mut found = (0, "unknown");
    for line in mounts.lines() {
        let mut fields = line.split_whitespace().skip(1);
        let (Some(at), Some(kind)) = (fields.next(), fields.next()) else { continue };
        // Of two on the same place the later one is on top.
        if dir.starts_with(at) && at.len() >= found.0 {
            found = (at.len(), kind);
        }
    }
    found.1.to_owned()
}

/// What the files under `dir` occupy on disk, in MiB, when `counts` says yes to their path.
pub(crate) fn disk_mb(dir: &Path, counts: &dyn Fn(&Path) -> bool) -> f64 {
    let mut blocks = 0;
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => todo.push(entry.path()),
                Ok(meta) if counts(&entry.path()) => blocks += meta.blocks(),
                _ => {}
            }
        }
    }
    blocks as f64 * 512.0 / MIB
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn number(fields: &[&str], at: usize) -> f64 {
    fields.get(at).and_then(|field| field.parse().ok()).unwrap_or(0.0)
}
