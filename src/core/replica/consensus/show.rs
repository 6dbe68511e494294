//! Messages as a person reads them: for traces and scripts.

use std::fmt;

use raft::eraftpb::MessageType;

use super::wire::{CONTEXT_BYTES, Message};

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = &self.0;
        let round = round(&m.context).map_or_else(String::new, |n| format!(", read round {n}"));
        match m.msg_type {
            MessageType::MsgAppend => {
                write!(f, "append after {}/{}", m.index, m.log_term)?;
                if let (Some(first), Some(last)) = (m.entries.first(), m.entries.last()) {
                    write!(f, ": {}..={}", first.index, last.index)?;
                }
                write!(f, ", commit {}", m.commit)
            }
            MessageType::MsgAppendResponse if m.reject => {
                write!(f, "append refused at {}, try {}", m.index, m.reject_hint)
            }
            // What a member says to a leader of an earlier term.
            MessageType::MsgAppendResponse if m.index == 0 => f.write_str("your term is over"),
            MessageType::MsgAppendResponse => write!(f, "durable up to {}", m.index),
            MessageType::MsgRequestPreVote => {
                write!(f, "would you vote? log ends at {}/{}", m.index, m.log_term)
            }
            MessageType::MsgRequestVote => {
                write!(f, "vote! log ends at {}/{}", m.index, m.log_term)
            }
            MessageType::MsgRequestPreVoteResponse | MessageType::MsgRequestVoteResponse => {
                f.write_str(if m.reject { "no" } else { "yes" })
            }
            MessageType::MsgHeartbeat => write!(f, "heartbeat, commit {}{round}", m.commit),
            MessageType::MsgHeartbeatResponse => write!(f, "heard{round}"),
            MessageType::MsgTimeoutNow => f.write_str("campaign now"),
            other => write!(f, "{other:?}"),
        }?;
        write!(f, " (term {})", m.term)
    }
}

/// Which of its rounds a leader asks about: the last number in a context (`reads.rs`).
fn round(context: &[u8]) -> Option<u64> {
    let number = context.get(CONTEXT_BYTES - 8..CONTEXT_BYTES)?;
    Some(u64::from_le_bytes(number.try_into().ok()?))
}
