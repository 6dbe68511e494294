//! Runs many simulated clusters, or one of them again.
//!
//! ```sh
//! cargo run --release --features sim --example simulate -- --seeds 0..1000
//! cargo run --release --features sim --example simulate -- --replay 7 --profile disk --trace
//! cargo run --release --features sim --example simulate -- --help
//! ```
//!
//! Each run is one seed: members, faults and clients are drawn from it, and the run is the same
//! each time. A promise that is broken ends the band with the last events and the command that
//! shows it again. Otherwise the summary says what was simulated, which faults came how often,
//! and on which rare paths nobody has been: those are not tested by these seeds.
//!
//! Everything that is printed but for the speed depends on the arguments alone, not on the number
//! of threads. `docs/testing.md` says how to read a failure.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::cast_precision_loss,
    clippy::exit,
    clippy::print_stderr,
    reason = "a program, not the library: it has threads, a clock and a terminal"
)]
#![cfg_attr(test, allow(clippy::panic, clippy::unwrap_used, reason = "a test may fail by panic"))]

mod args;
mod band;
mod summary;

use std::io::{self, Write};
use std::process::ExitCode;
use std::{env, fs};

use args::{Band, Replay, Wish};
use band::{Ended, Job};
use quorate::sim::{Profile, Report};
use summary::Summary;

/// A promise was broken, or a rare path was asked for and not reached.
const BROKEN: u8 = 1;

/// The arguments make no sense.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    match args::parse(env::args().skip(1)) {
        Ok(Wish::Help) => {
            say(&args::help());
            ExitCode::SUCCESS
        }
        Ok(Wish::Band(band)) => run(&band),
        Ok(Wish::Replay(replay)) => run_again(&replay),
        Err(error) => {
            eprintln!("error: {error}\nTry --help.");
            ExitCode::from(MISUSED)
        }
    }
}

/// Many seeds.
fn run(wanted: &Band) -> ExitCode {
    let mut summary = Summary::new(wanted);
    band::run(wanted, |job, ended| {
        match &ended {
            Ended::Held(report) => summary.held(job, report),
            Ended::Broke { what, story, .. } => {
                let story = format!("{story}\n\n");
                // Whoever wants JSON wants nothing else there.
                if wanted.json {
                    eprint!("{story}");
                } else {
                    say(&story);
                }
                summary.broke(job, what);
            }
        }
        matches!(ended, Ended::Held(_)) || wanted.keep_going
    });
    say(&if wanted.json { summary.json() } else { summary.text() });
    let missed = summary.shows_what_is_missed() && summary.missed() > 0;
    let missed = wanted.strict && (missed || summary.undecided() > 0);
    if summary.failed() || missed { ExitCode::from(BROKEN) } else { ExitCode::SUCCESS }
}

/// One seed, with everything that happens in it.
fn run_again(replay: &Replay) -> ExitCode {
    let job = Job { seed: replay.seed, profile: replay.profile };
    let mut run = band::made(job, replay.size);
    if replay.trace {
        run = run.trace();
    }
    if replay.history.is_some() {
        run = run.history();
    }
    let ended = band::run_one(&run, replay.trace);
    let history = match &ended {
        Ended::Held(report) => &report.history,
        Ended::Broke { history, .. } => history,
    };
    if let Some(file) = &replay.history
        && let Err(error) = fs::write(file, history)
    {
        eprintln!("error: {file}: {error}");
        return ExitCode::from(MISUSED);
    }
    match ended {
        Ended::Held(report) => {
            for line in &report.trace {
                say(&format!("{line}\n"));
            }
            say(&told(&report, replay.profile));
            ExitCode::SUCCESS
        }
        Ended::Broke { story, .. } => {
            say(&format!("{story}\n"));
            ExitCode::from(BROKEN)
        }
    }
}

/// What one run was like.
fn told(report: &Report, profile: Profile) -> String {
    let Report { seed, members, calls, answered, unknown, events, live_after, .. } = report;
    let span = report.span.as_secs_f64();
    let hash = report.trace_hash;
    let mut text = format!(
        "seed {seed}, {profile}: every promise was kept\n\
         {members} members, {calls} calls: {answered} answered, {unknown} unknown\n\
         {span:.3} s of its own time, {events} events, live again after {live_after} ticks\n\
         trace {hash:016x}\n"
    );
    if report.leases > 0 {
        text += &format!("{} leases were held, and {} locks\n", report.leases, report.locks);
    }
    if report.undecided {
        text += "whether the history is linearizable could not be told in time\n";
    }
    for (fault, count) in &report.faults {
        text += &format!("{count:>8} × {fault}\n");
    }
    for (mark, count) in &report.paths {
        text += &format!("{count:>8} × {mark}\n");
    }
    text
}

/// Prints. Whoever has stopped reading (`| head`) has seen enough.
fn say(text: &str) {
    if io::stdout().lock().write_all(text.as_bytes()).is_err() {
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Size;

    /// The command that is printed is one that is understood, and means that run.
    #[test]
    fn a_failure_names_the_command_that_shows_it_again() {
        let size = Size { holders: true, calls: Some(50), ticks: None };
        let job = Job { seed: 7, profile: Profile::Disk };
        let command = band::made(job, size).command();
        let (_, arguments) = command.split_once(" -- ").unwrap();
        let wish = args::parse(arguments.split_whitespace().map(str::to_owned)).unwrap();
        let replay = Replay { seed: 7, profile: Profile::Disk, size, trace: true, history: None };
        assert_eq!(wish, Wish::Replay(replay));
    }
}
