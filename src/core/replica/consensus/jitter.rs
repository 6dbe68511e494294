//! Election timeouts without randomness: a pure function, set over the crate's own draw.
//!
//! The `raft` crate draws a timeout from the thread's generator whenever its role or term
//! changes. A draw cannot be replayed, so [`Attempts`] computes one from (seed, id, term,
//! attempt) and puts it in place before every tick, the only moment at which the crate looks.
//! Members differ by their id, so they rarely campaign together; and if they do, the next
//! attempt (a failed pre-vote keeps the term) or the next term draws anew.

/// Counts the campaigns of one term.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempts {
    term: u64,
    count: u64,
}

impl Attempts {
    /// The number of campaigns that began in `term` so far.
    pub(super) fn in_term(&mut self, term: u64) -> u64 {
        if self.term != term {
            *self = Self { term, count: 0 };
        }
        self.count
    }

    /// A campaign begins.
    pub(super) fn one_more(&mut self) {
        self.count = self.count.saturating_add(1);
    }
}

/// After how many ticks without a leader to campaign: at least `ticks`, less than twice that.
pub(super) fn election_timeout(seed: u64, id: u64, term: u64, attempt: u64, ticks: usize) -> usize {
    let drawn = [id, term, attempt].into_iter().fold(mix(seed), |state, part| mix(state ^ part));
    let ticks = u64::try_from(ticks).unwrap_or(u64::MAX).max(1);
    usize::try_from(ticks.saturating_add(drawn % ticks)).unwrap_or(usize::MAX)
}

/// The finisher of `splitmix64`: every bit of the input moves about half of the output's bits.
pub(super) fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_in_the_range_the_crate_asserts() {
        for term in 0..1_000 {
            let timeout = election_timeout(7, 3, term, term % 5, 10);
            assert!((10..20).contains(&timeout), "{timeout}");
        }
    }

    #[test]
    fn members_terms_and_attempts_differ() {
        let spread = |f: &dyn Fn(u64) -> usize| {
            (0..64).map(f).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert!(spread(&|id| election_timeout(1, id, 5, 0, 20)) > 15);
        assert!(spread(&|term| election_timeout(1, 1, term, 0, 20)) > 15);
        assert!(spread(&|attempt| election_timeout(1, 1, 5, attempt, 20)) > 15);
        assert!(spread(&|seed| election_timeout(seed, 1, 5, 0, 20)) > 15);
    }

    #[test]
    fn attempts_start_anew_with_each_term() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.in_term(3), 0);
        attempts.one_more();
        assert_eq!(attempts.in_term(3), 1);
        assert_eq!(attempts.in_term(4), 0);
    }
}
