//! Who founds the cluster, and the ids that follow from it.

use std::collections::BTreeMap;

use sha1::{Digest, Sha1};

use super::Config;
use super::rules::{MAX_WORD_BYTES, above, word};
use crate::error::{Error, Result};
use crate::ids::{ClusterId, NodeId};
use crate::transport::Peer;

/// More voters than this make every write slower and nothing safer.
const MAX_MEMBERS: usize = 32;
const MAX_ADDRESS_BYTES: usize = 1_024;

/// What every founding member works out alike from the same list and token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Founding {
    pub(crate) cluster: ClusterId,
    /// This member.
    pub(crate) node: NodeId,
    /// All of them, by id (`MEM-5`).
    pub(crate) members: Vec<Peer>,
}

impl Config {
    /// Checks the list (`BST-2`) and makes the ids of it (`MEM-2`, `MEM-3`).
    pub(crate) fn founding(&self) -> Result<Founding> {
        self.check_members()?;
        let mut members = BTreeMap::new();
        for (name, address) in &self.initial_cluster {
            let id = node_id(address, &self.cluster_token);
            let peer = Peer { id, name: name.clone(), address: address.clone() };
            let taken = members.insert(id, peer);
            // One in 2^64, and it would be two members with one vote.
            if id.get() == 0 || taken.is_some() {
                return Err(Error::config(format!(
                    "initial_cluster gives {name:?} the id {id}, which is taken or 0: \
                     another address must be used"
                )));
            }
        }
        let cluster = cluster_id(members.keys().copied());
        let me = members.values().find(|member| member.name == self.name).map(|member| member.id);
        let Some(node) = me else {
            return Err(Error::config(format!(
                "initial_cluster names {}: it must name {:?}, which is the name of this member",
                self.initial_cluster
                    .iter()
                    .map(|(name, _)| format!("{name:?}"))
                    .collect::<Vec<_>>()
                    .join(", "),
                self.name
            )));
        };
        Ok(Founding { cluster, node, members: members.into_values().collect() })
    }

    fn check_members(&self) -> Result<()> {
        let members = &self.initial_cluster;
        word("cluster_token", &self.cluster_token, MAX_WORD_BYTES)?;
        if members.is_empty() {
            let text = "initial_cluster has 0 members: it must have at least 1, this one";
            return Err(Error::config(text));
        }
        if members.len() > MAX_MEMBERS {
            return Err(above(
                "initial_cluster's count of members",
                members.len(),
                MAX_MEMBERS,
                "",
            ));
        }
        for (at, (name, address)) in members.iter().enumerate() {
            word("a name in initial_cluster", name, MAX_WORD_BYTES)?;
            word(
                &format!("the address of {name:?} in initial_cluster"),
                address,
                MAX_ADDRESS_BYTES,
            )?;
            let mut earlier = members.iter().take(at);
            let twice = |what: &str, value: &str| {
                Err(Error::config(format!(
                    "initial_cluster has the {what} {value:?} twice: it must be there once"
                )))
            };
            if earlier.clone().any(|(other, _)| other == name) {
                return twice("name", name);
            }
            if earlier.any(|(_, other)| other == address) {
                return twice("address", address);
            }
        }
        Ok(())
    }
}

/// `MEM-2`: the address plays the part of the peer URLs.
fn node_id(address: &str, token: &str) -> NodeId {
    NodeId::new(head(Sha1::new().chain_update(address).chain_update(token)))
}

/// `MEM-3`: over the ids in their order.
fn cluster_id(members: impl Iterator<Item = NodeId>) -> ClusterId {
    let digest =
        members.fold(Sha1::new(), |digest, id| digest.chain_update(id.get().to_be_bytes()));
    ClusterId::new(head(digest))
}

/// The first eight bytes, the most significant first.
fn head(digest: Sha1) -> u64 {
    digest.finalize().iter().take(8).fold(0, |head, byte| (head << 8) | u64::from(*byte))
}
