//! What a holder sees of its session, held against its own clock and what it has seen before.

use std::time::Duration;

use crate::service::Session;
use crate::time::Instant;

/// What was seen of one session so far.
#[derive(Debug, Default)]
pub(super) struct Looks {
    was_lost: bool,
    deadline: Instant,
}

impl Looks {
    /// Was it lost when somebody last looked?
    pub(super) fn was_lost(&self) -> bool {
        self.was_lost
    }

    /// Looks at a session. Its member's clock says `now`; `is_there` if its lease and its member
    /// are, so that nothing but the time may have ended it. Says whether it is lost.
    pub(super) fn look(
        &mut self,
        session: &Session,
        now: Instant,
        is_there: bool,
    ) -> Result<bool, String> {
        let deadline = session.kept().deadline();
        let (lost, remaining) = (session.is_lost(), session.remaining());
        let left = if lost { Duration::ZERO } else { deadline.since(now) };
        let wrong = if self.was_lost && !lost {
            Some("REC-2: a session that was lost is held again")
        } else if deadline < self.deadline && !lost {
            Some("REC-2: the deadline of a session falls")
        } else if now >= deadline && !lost {
            Some("REC-2: a session is held beyond its deadline")
        } else if lost && now < self.deadline && is_there && !self.was_lost {
            Some("REC-2: a session is lost without a reason")
        } else if remaining != left {
            Some("REC-2: what is left of a session is not what its deadline says")
        } else {
            None
        };
        (self.was_lost, self.deadline) = (lost, deadline);
        wrong.map_or(Ok(lost), |wrong| Err(wrong.to_owned()))
    }
}
