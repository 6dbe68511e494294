//! Bodies as a person reads them: for traces and scripts.

use std::fmt;

use super::Body;

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raft(message) => write!(f, "{message}"),
            Self::Forward(writes) => write!(f, "please propose {} write(s)", writes.len()),
            Self::Read { request } => write!(f, "may I read? ({})", Question(*request)),
            Self::ReadAnswer { request, index } => {
                write!(f, "read from {index} ({})", Question(*request))
            }
            Self::Offer { file, .. } => {
                write!(f, "snapshot at {}/{} for you", file.mark.index, file.mark.term)
            }
            Self::Chunk { offset, bytes, .. } => write!(f, "chunk {offset}+{}", bytes.len()),
            Self::ChunkAck { have, stage, .. } => write!(f, "have {have}, {stage:?}"),
        }
    }
}

/// The boot that asked, and its number there.
struct Question(u64);

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "question {}.{}", self.0 >> 40, self.0 & ((1 << 40) - 1))
    }
}
