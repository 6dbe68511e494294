//! The one source of chance.

use std::fmt;
use std::time::Duration;

use crate::time::nanos;

/// Where a hash of the FNV family begins.
pub(super) const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// What each of its steps multiplies with.
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// What a simulation is made from: the same seed and the same program make the same run, byte for
/// byte.
///
/// ```
/// use quorate::sim::Seed;
///
/// assert_eq!(Seed::new(7).to_string(), "7");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seed(u64);

impl Seed {
    /// Any number will do.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Draws numbers, one after the other. Every part of a simulation that leaves something to chance
/// has dice of its own, so that one part's draws do not shift another's.
#[derive(Clone, Debug)]
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    pub(crate) fn new(seed: Seed) -> Self {
        Self(fastrand::Rng::with_seed(seed.0))
    }

    /// Those of one part of a simulation: two parts with the same seed draw different numbers.
    pub(crate) fn of_part(seed: Seed, part: &str) -> Self {
        let name = part
            .bytes()
            .fold(FNV_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
        Self(fastrand::Rng::with_seed(seed.0.wrapping_add(name)))
    }

    /// Others, that depend on these.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Below `bound`; 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }

    /// Below `bound`, as a place in a list; 0 if that is 0.
    pub(crate) fn place(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.0.usize(..bound) }
    }

    /// True so many times in a million.
    pub(crate) fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.0.u32(..1_000_000) < per_million
    }

    /// At least the first, and less than the second unless they are the same.
    pub(crate) fn span(&mut self, from: Duration, to: Duration) -> Duration {
        from.saturating_add(Duration::from_nanos(self.below(nanos(to.saturating_sub(from)))))
    }

    /// One of them; `None` if there are none.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.place(from.len()))
    }
}
