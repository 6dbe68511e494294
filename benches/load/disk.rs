//! The machine's own wall: one thread that writes 300 bytes, a put's size in the log, and syncs.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::time::Instant;

use crate::Outcome;
use crate::args::Options;
use crate::hist::Hist;
use crate::machine;
use crate::report::Record;

const RECORD: usize = 300;
/// Length of the file that is overwritten.
const PREPARED_BYTES: usize = 64 << 20;

/// Appends to a growing file, and overwrites one that was written before (as a recycled segment).
pub(crate) fn measure(options: &Options) -> Outcome<()> {
    fs::create_dir_all(&options.dir)?;
    let path = options.dir.join("quorate-load-disk");
    for (workload, prepared) in [("disk-append-300", false), ("disk-overwrite-300", true)] {
        for _ in 0..options.repeat {
            let mut file = File::create(&path)?;
            if prepared {
                file.write_all(&vec![1; PREPARED_BYTES])?;
                file.sync_all()?;
                file.seek(SeekFrom::Start(0))?;
            }
            one(options, workload, &mut file)?;
        }
    }
    Ok(fs::remove_file(&path)?)
}

fn one(options: &Options, workload: &str, file: &mut File) -> Outcome<()> {
    let (load1, bytes) = (machine::load1(), [7; RECORD]);
    let start = Instant::now() + options.warm;
    let mut hist = Hist::new();
    let mut written = 0;
    loop {
        let begun = Instant::now();
        if begun > start + options.span {
            break;
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        if begun >= start {
            hist.add(begun.elapsed());
        }
        written += RECORD;
        if written + RECORD > PREPARED_BYTES {
            file.seek(SeekFrom::Start(0))?;
            written = 0;
        }
    }
    let mut record = Record::new();
    record.set("peer", "disk");
    record.set("workload", workload);
    record.set("concurrency", 1);
    record.set("ops", hist.total());
    record.set("ops_per_s", hist.total() as f64 / options.span.as_secs_f64());
    record.set("p50_us", hist.quantile_us(0.5));
    record.set("p99_us", hist.quantile_us(0.99));
    record.set("p999_us", hist.quantile_us(0.999));
    record.set("max_us", hist.max_us());
    record.set("load1", load1);
    record.set("disk", machine::file_system(&options.dir));
    record.print();
    Ok(())
}
