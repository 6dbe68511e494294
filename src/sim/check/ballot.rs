//! What a member must not forget about elections.

use std::fmt;

use crate::core::replica::look::Look;
use crate::entry::HardState;
use crate::ids::{NodeId, Term};

/// A term, and whom a member voted for in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ballot {
    pub(super) term: Term,
    /// `NodeId(0)` for nobody.
    pub(super) vote: NodeId,
}

impl Ballot {
    /// In memory.
    pub(super) fn of(look: &Look<'_>) -> Self {
        Self { term: look.log.term, vote: look.log.vote }
    }

    /// On disk, or on its way there.
    pub(super) fn written(state: &HardState) -> Self {
        Self { term: state.term, vote: state.vote }
    }

    /// Says how this breaks what was promised with an earlier one, if it does.
    pub(super) fn breaks(self, before: Self) -> Option<String> {
        let nobody = NodeId::default();
        if self.term < before.term {
            return Some(format!("its term fell from {} to {}", before.term, self.term));
        }
        let turned = self.term == before.term && self.vote != before.vote && before.vote != nobody;
        turned.then(|| {
            let vote = if self.vote == nobody { "nobody".into() } else { self.vote.to_string() };
            format!("in term {} it voted for {} and then for {vote}", self.term, before.vote)
        })
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vote.get() {
            0 => write!(f, "no vote in term {}", self.term),
            vote => write!(f, "a vote for {vote} in term {}", self.term),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_is_given_once_in_a_term() {
        let ballot = |term, vote| Ballot { term: Term::new(term), vote: NodeId::new(vote) };
        let before = ballot(4, 2);
        for fine in [ballot(4, 2), ballot(5, 0), ballot(5, 3), ballot(9, 2)] {
            assert_eq!(fine.breaks(before), None);
        }
        assert_eq!(ballot(4, 2).breaks(ballot(4, 0)), None, "it had voted for nobody");
        let words = |ballot: Ballot| ballot.breaks(before).unwrap();
        assert_eq!(words(ballot(3, 2)), "its term fell from 4 to 3");
        assert_eq!(words(ballot(4, 3)), "in term 4 it voted for 2 and then for 3");
        assert_eq!(words(ballot(4, 0)), "in term 4 it voted for 2 and then for nobody");
    }
}
