//! Messages as a person reads them: for traces and scripts.

use std::fmt;

use raft::eraftpb::MessageType;

use super::wire::Message;

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = &self.0;
        let round = if m.context.is_empty() { "" } else { ", read round" };
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
