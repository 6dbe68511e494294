//! What concerns the members rather than the data.

use std::sync::Arc;

use super::pending::{Ask, Call, Counter, Started, impl_call};
use crate::error::Result;
use crate::gate::Gate;
use crate::ids::NodeId;

/// Hands leadership to another member (`MEM-25`): made by
/// [`Node::transfer_leader`](crate::Node::transfer_leader).
///
/// Only the leader can do it. If `to` leads already, nothing changes and that is a success.
///
/// # Errors
///
/// [`is_unavailable`](crate::Error::is_unavailable) if this member does not lead,
/// [`is_invalid`](crate::Error::is_invalid) if the other one is not a voter,
/// [`is_timeout`](crate::Error::is_timeout) if it did not take over in time; then this member
/// goes on.
///
/// ```no_run
/// # fn example(node: quorate::Node, id: quorate::NodeId) -> quorate::Result<()> {
/// node.transfer_leader(id).wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct TransferLeader {
    call: Call<TransferAsk>,
}

#[derive(Debug)]
struct TransferAsk {
    to: NodeId,
}

impl TransferLeader {
    pub(crate) fn new(gate: &Arc<dyn Gate>, to: NodeId) -> Self {
        Self { call: Call::new(gate, TransferAsk { to }) }
    }
}

impl Ask for TransferAsk {
    type Answer = ();
    type Response = ();

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        counter.transfer(self.to)
    }

    fn finish(&mut self, _gate: &dyn Gate, (): ()) -> Result<()> {
        Ok(())
    }
}

impl_call!(TransferLeader -> (), "node.transfer_leader(id)");
