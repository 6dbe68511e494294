//! Who belongs to the cluster, and which data directory speaks for each.

use std::collections::BTreeMap;

use super::outcome::Refusal;
use crate::entry::ConfState;
use crate::ids::{Incarnation, NodeId};

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Never 0.
    pub(crate) id: NodeId,
    /// Empty for a member that was added and has not been heard of.
    pub(crate) name: String,
    /// Only the host's transport knows what it means.
    pub(crate) address: String,
    /// The data directory bound to this id. Once set it never changes: a member that comes back
    /// with another one lost its disk, and with it its votes (design 4.2).
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) learner: bool,
}

/// The members, by id. The same on every member that has applied the same entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    by_id: BTreeMap<NodeId, Member>,
}

impl Members {
    pub(crate) fn new(members: impl IntoIterator<Item = Member>) -> Self {
        Self { by_id: members.into_iter().map(|member| (member.id, member)).collect() }
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Member> {
        self.by_id.get(&id)
    }

    /// In ascending order of ids (`MEM-5`).
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.by_id.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Binds a data directory to a member. Doing it again changes nothing; another directory is
    /// refused for ever.
    pub(super) fn bind(&mut self, id: NodeId, incarnation: Incarnation) -> Result<(), Refusal> {
        let member = self.by_id.get_mut(&id).ok_or(Refusal::NotMember(id))?;
        match member.incarnation {
            Some(bound) if bound != incarnation => {
                Err(Refusal::OtherIncarnation { node: id, bound })
            }
            _ => {
                member.incarnation = Some(incarnation);
                Ok(())
            }
        }
    }

    /// Follows a new configuration: whoever left it is forgotten, whoever joined it is known by
    /// id alone, and each is what the configuration says.
    ///
    /// While a joint configuration is in force the outgoing voters still belong.
    pub(super) fn follow(&mut self, conf: &ConfState) {
        self.by_id.retain(|id, _| belongs(conf, *id));
        for &id in conf.voters.iter().chain(&conf.learners).chain(&conf.voters_outgoing) {
            let member = self.by_id.entry(id).or_insert_with(|| Member {
                id,
                name: String::new(),
                address: String::new(),
                incarnation: None,
                learner: false,
            });
            member.learner = conf.learners.contains(&id);
        }
    }

    /// Is every member in the configuration, and everyone in the configuration a member?
    pub(super) fn fit(&self, conf: &ConfState) -> bool {
        let mut listed = conf.voters.iter().chain(&conf.learners).chain(&conf.voters_outgoing);
        listed.all(|id| self.by_id.contains_key(id))
            && self.iter().all(|member| {
                belongs(conf, member.id) && member.learner == conf.learners.contains(&member.id)
            })
    }
}

fn belongs(conf: &ConfState, id: NodeId) -> bool {
    conf.voters.contains(&id) || conf.learners.contains(&id) || conf.voters_outgoing.contains(&id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> Member {
        let (name, address) = (format!("n{id}"), format!("host:{id}"));
        Member { id: NodeId::new(id), name, address, incarnation: None, learner: false }
    }

    fn conf(voters: &[u64], learners: &[u64], outgoing: &[u64]) -> ConfState {
        let ids = |list: &[u64]| list.iter().copied().map(NodeId::new).collect();
        let (voters, learners) = (ids(voters), ids(learners));
        ConfState { voters, learners, voters_outgoing: ids(outgoing), ..ConfState::default() }
    }

    #[test]
    fn an_incarnation_is_bound_once() {
        let mut members = Members::new([member(1), member(2)]);
        let (one, first, other) = (NodeId::new(1), Incarnation::new(10), Incarnation::new(11));
        assert_eq!(members.bind(one, first), Ok(()));
        assert_eq!(members.bind(one, first), Ok(()), "saying it again changes nothing");
        let refused = Refusal::OtherIncarnation { node: one, bound: first };
        assert_eq!(members.bind(one, other), Err(refused));
        assert_eq!(members.get(one).unwrap().incarnation, Some(first));
        let three = NodeId::new(3);
        assert_eq!(members.bind(three, first), Err(Refusal::NotMember(three)));
    }

    /// MEM-1, MEM-5.
    #[test]
    fn members_follow_the_configuration() {
        let mut members = Members::new([member(2), member(1)]);
        members.bind(NodeId::new(1), Incarnation::new(10)).unwrap();
        assert!(members.fit(&conf(&[1, 2], &[], &[])));
        assert!(!members.fit(&conf(&[1, 2], &[3], &[])), "3 is not known");
        assert!(!members.fit(&conf(&[1], &[], &[])), "2 does not belong");
        assert!(!members.fit(&conf(&[1], &[2], &[])), "2 is no learner");

        let joint = conf(&[1], &[3], &[1, 2]);
        members.follow(&joint);
        assert!(members.fit(&joint));
        assert_eq!(members.len(), 3, "an outgoing voter still belongs");

        members.follow(&conf(&[1], &[3], &[]));
        let left: Vec<_> = members.iter().map(|member| (member.id.get(), member.learner)).collect();
        assert_eq!(left, [(1, false), (3, true)]);
        assert!(members.get(NodeId::new(1)).unwrap().incarnation.is_some(), "a binding stays");
    }
}
