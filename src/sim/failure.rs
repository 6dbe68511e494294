//! A promise that was not kept.

use std::fmt;
use std::time::Duration;

use super::dice::Seed;
use crate::error::Error;

/// So many of the last events are printed.
const PRINTED: usize = 60;

/// A promise that was not kept: which, when, and what happened last. Run the same program with the
/// same seed to see it again.
#[derive(Clone)]
#[non_exhaustive]
pub struct Failure {
    /// What the simulation was made from.
    pub seed: Seed,
    /// When it was noticed.
    pub at: Duration,
    /// What was promised, and what was seen instead.
    pub what: String,
    /// The last events, oldest first, a line each.
    pub events: Vec<String>,
    /// The command that shows it again, if whoever made the simulation named one.
    pub replay: Option<String>,
    /// What clients called and were told, if it was to be kept: see [`Run::history`](super::Run).
    pub history: String,
}

impl Failure {
    /// Before anything happened.
    pub(super) fn before(seed: Seed, error: &Error) -> Self {
        Self { what: error.to_string(), ..Self::unknown(seed) }
    }

    pub(super) fn unknown(seed: Seed) -> Self {
        let what = "it ended, and nobody said why".to_owned();
        Self {
            seed,
            at: Duration::ZERO,
            what,
            events: Vec::new(),
            replay: None,
            history: String::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skip = self.events.len().saturating_sub(PRINTED);
        for event in self.events.iter().skip(skip) {
            writeln!(f, "{event}")?;
        }
        writeln!(f, "seed {} failed after {:?}: {}", self.seed, self.at, self.what)?;
        match &self.replay {
            Some(command) => write!(f, "replay: {command}"),
            None => write!(f, "the same program with Seed::new({}) fails again", self.seed),
        }
    }
}

/// As for reading: it is what a test prints that unwraps one.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}
