//! A set of gaps, by number.

/// Small numbers, one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GapSet(Vec<u64>);

const BITS: usize = 64;

impl GapSet {
    pub(super) fn insert(&mut self, gap: usize) {
        let word = gap / BITS;
        if self.0.len() <= word {
            self.0.resize(word.saturating_add(1), 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (gap % BITS);
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (bits, more) in self.0.iter_mut().zip(&other.0) {
            *bits |= more;
        }
    }

    /// The largest below `bound`.
    pub(super) fn last_below(&self, bound: usize) -> Option<usize> {
        let words = self.0.iter().enumerate().rev();
        words
            .filter_map(|(word, bits)| {
                let first = word.saturating_mul(BITS);
                let keep = bound.saturating_sub(first);
                let bits =
                    if keep >= BITS { *bits } else { bits & ((1_u64 << keep).saturating_sub(1)) };
                let last = bits.checked_ilog2()?;
                Some(first.saturating_add(usize::try_from(last).ok()?))
            })
            .next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_below_a_bound_is_found() {
        let mut gaps = GapSet::default();
        assert_eq!(gaps.last_below(1000), None);
        for gap in [0, 5, 63, 64, 200] {
            gaps.insert(gap);
        }
        let mut more = GapSet::default();
        more.insert(300);
        gaps.add(&more);
        let below = |bound| gaps.last_below(bound);
        assert_eq!((below(0), below(1), below(5), below(6)), (None, Some(0), Some(0), Some(5)));
        assert_eq!((below(64), below(65), below(200)), (Some(63), Some(64), Some(64)));
        assert_eq!((below(201), below(1000)), (Some(200), Some(300)));
    }
}
