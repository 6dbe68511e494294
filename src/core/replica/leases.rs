//! Leases, between the log, callers and the clock: what of it is not the machine's.
//!
//! `ticks.rs` moves the lease clock, `renewals.rs` gathers keep-alives, `kept.rs` has the timers of
//! leases that are kept for their holders, `leftovers.rs` what those leave behind. Here they meet
//! the replica.

use std::sync::Arc;

use bytes::Bytes;

use super::consensus::Role;
use super::io::{Answer, Output, Token};
use super::kept::{Due, MAX_KEPT};
use super::proposals::Whose;
use super::renewals::{Asker, Batch, Renewal};
use super::{Me, Replica};
use crate::core::lease::{Kept, Look, Offered, Opened, Opening, Which};
use crate::core::machine::{Command, MAX_RENEWALS, Origin, Outcome, Refusal, stamp};
use crate::error::{Error, Kind};
use crate::ids::{Index, LeaseId, Term};
use crate::planted::{Bug, planted};
use crate::time::Instant;
use std::time::Duration;

impl Replica {
    // ---- the lease clock

    /// This member leads: has it come to its term?
    pub(super) fn come_to_term(&mut self) {
        let leads = self.standing.role == Role::Leader;
        if leads && self.machine.applied().1 == self.standing.term {
            if planted(Bug::ForgetTime) && !self.ticks.leads() {
                self.ticks.replaced(self.now);
            }
            self.ticks.lead(self.standing.term, self.machine.leases());
        }
    }

    /// A tick to be put in front of a batch, and what it says: when one is due, or the batch begins
    /// the time of a lease.
    pub(super) fn tick_before(&self, begins: bool) -> Option<(Bytes, u64)> {
        if !begins && !self.ticks.is_due(self.now, self.machine.leases()) {
            return None;
        }
        let advance = self.ticks.advance(self.now)?;
        let Me { node, incarnation, boot } = self.me;
        let mut payload = Command::Tick { advance }.encode();
        // In no window: it is proposed once, and whether it is applied the log shows.
        stamp(&mut payload, &Origin { node, incarnation, boot, sequence: 0, watermark: 0 });
        Some((payload.freeze(), advance))
    }

    /// When a tick is due, or a kept lease, or a keep-alive has waited long enough.
    pub(super) fn next_of_leases(&self) -> Option<Instant> {
        let times = [
            self.ticks.next(self.machine.leases()),
            self.renewals.earliest(),
            self.kept.earliest(),
        ];
        times.into_iter().flatten().min()
    }

    /// An entry was applied: what does it mean for leases?
    pub(super) fn note_leases(&mut self, term: Term, outcome: &Outcome) {
        match outcome {
            Outcome::Ticked { expired } => {
                self.ticks.applied(self.now, term);
                expired.iter().for_each(|lease| self.lease_ended(*lease));
            }
            Outcome::Revoked { lease, .. } => self.lease_ended(*lease),
            _ => {}
        }
    }

    fn lease_ended(&mut self, lease: LeaseId) {
        // What a repeat is told was true before.
        if self.machine.leases().get(lease).is_none() && !planted(Bug::RenewGone) {
            self.out.extend(self.kept.ended(lease, self.now).into_iter().map(Output::Lost));
        }
    }

    /// The state was replaced by an installed one.
    pub(super) fn leases_replaced(&mut self) {
        self.ticks.replaced(self.now);
        let leases = self.machine.leases();
        // One of the same id may have been granted since: that is another.
        let granted = |lease| leases.get(lease).map(|it| it.grant);
        let gone = self.kept.replaced(self.now, |it| granted(it.lease) == Some(it.grant));
        self.out.extend(gone.into_iter().map(Output::Lost));
    }

    /// Leases that are kept here, or asked for.
    #[cfg(test)]
    pub(super) fn kept_leases(&self) -> usize {
        self.kept.len()
    }

    /// Keys that are to be deleted here: those that wait, and those whose deletion is proposed.
    #[cfg(test)]
    pub(super) fn leftovers(&self) -> (usize, usize) {
        let leftovers = &self.kept.leftovers;
        (leftovers.waiting(), leftovers.under_way())
    }

    /// What is known here of a lease, now (`LSE-20`).
    pub(crate) fn look_at_lease(&self, id: LeaseId, keys: bool) -> Option<Look> {
        let leases = self.machine.leases();
        let lease = leases.get(id)?;
        let passed = if lease.until.is_some() { self.ticks.since_applied(self.now) } else { 0 };
        let left = leases.remaining(lease).saturating_sub(passed);
        let attached = lease.keys().filter(|_| keys).map(Bytes::copy_from_slice);
        Some(Look {
            granted: Duration::from_millis(lease.ttl),
            remaining: Duration::from_millis(left),
            keys: attached.collect(),
        })
    }

    // ---- keep-alives

    /// A caller wants a lease to have its whole time again.
    pub(super) fn keep_alive(&mut self, token: Token, lease: LeaseId, deadline: Instant) {
        let asker = Asker::Caller(token);
        self.renewals.push(Renewal { lease, asker, asked: self.now, deadline });
    }

    /// A caller wants a lease to be kept from now on.
    pub(super) fn open_lease(&mut self, token: Token, how: Opening, deadline: Instant) {
        let now = self.now;
        self.end_let_go();
        if !self.kept.ask() {
            let text = format!("this node keeps {MAX_KEPT} leases alive, and no more");
            return self.reply(token, Answer::Failed(Error::new(Kind::Overloaded, text)));
        }
        match how {
            Opening::Adopt(lease) => {
                let asker = Asker::Adopter(token);
                self.renewals.push(Renewal { lease, asker, asked: now, deadline });
            }
            Opening::Grant(payload) => {
                let whose = Whose::Opener(token, now);
                if let Err(error) = self.proposals.push(whose, payload, deadline, now) {
                    self.kept.asked();
                    self.reply(token, Answer::Failed(error));
                }
            }
        }
    }

    /// Keeps no more what holders have let go of.
    fn end_let_go(&mut self) {
        for Which { lease, grant, .. } in self.kept.let_go() {
            let deadline = self.now.after(self.settings.patience());
            let payload = Command::Revoke { lease, grant }.encode();
            // If there is no room for it, the lease expires.
            drop(self.proposals.push(Whose::Nobody, payload, deadline, self.now));
        }
    }

    /// Deletes what holders have left behind.
    fn delete_leftovers(&mut self) {
        self.kept.leftovers.gather(self.proposals.next());
        // Without a leader they would only wait elsewhere.
        if self.standing.leader.is_none() {
            return;
        }
        let deadline = self.now.after(self.settings.patience());
        while let Some((number, payload)) = self.kept.leftovers.take(self.proposals.oldest()) {
            let whose = Whose::Leftover(number);
            if self.proposals.push(whose, payload, deadline, self.now).is_err() {
                return self.kept.leftovers.ended(number, false);
            }
        }
    }

    /// Looks after what is kept, and makes writes of what is to be renewed.
    pub(super) fn renew_leases(&mut self) {
        self.end_let_go();
        self.delete_leftovers();
        while let Some(due) = self.kept.take_due(self.now) {
            match due {
                Due::Renew { number, lease, deadline } => {
                    let asker = Asker::Kept(number);
                    self.renewals.push(Renewal { lease, asker, asked: self.now, deadline });
                }
                Due::Lost(_) if planted(Bug::LoseInSilence) => {}
                Due::Lost(kept) => self.out.push_back(Output::Lost(kept)),
            }
        }
        // Without a leader they would only gather elsewhere, as more writes than one.
        if self.standing.leader.is_none() {
            return;
        }
        // Eight bytes each, and each as short as the shortest request may be.
        let most = (self.settings.max_request_bytes / 16).min(MAX_RENEWALS);
        while let Some(Batch { number, leases, deadline }) = self.renewals.take(most) {
            let payload = Command::Renew { leases }.encode();
            let whose = Whose::Renewals(number);
            if let Err(error) = self.proposals.push(whose, payload, deadline, self.now) {
                self.renewals_ended(number, Answer::Failed(error));
            }
        }
    }

    /// Answers keep-alives that have waited long enough.
    pub(super) fn expire_renewals(&mut self) {
        for (renewal, sent) in self.renewals.expired(self.now) {
            let error =
                Error::new(Kind::Timeout, "the deadline passed before the lease was renewed");
            let error = if sent { error.with_unknown_outcome() } else { error };
            self.renewal_ended(renewal, Answer::Failed(error));
        }
    }

    // ---- answers

    /// A write of this node has come to its end.
    pub(super) fn tell(&mut self, whose: Whose, answer: Answer) {
        match whose {
            Whose::Nobody => {}
            // What was applied says the same each time.
            Whose::Announcement => self.announced = matches!(answer, Answer::Applied(_)),
            Whose::Caller(token) => self.reply(token, answer),
            Whose::Renewals(number) => self.renewals_ended(number, answer),
            Whose::Leftover(number) => {
                let applied = matches!(answer, Answer::Applied(_));
                #[cfg(feature = "sim")]
                {
                    self.tally.deletions = self.tally.deletions.saturating_add(1);
                }
                self.kept.leftovers.ended(number, applied);
            }
            Whose::Opener(token, asked) => {
                self.kept.asked();
                let answer = match answer {
                    Answer::Applied(Outcome::Granted { lease, ttl }) => {
                        let kept = self.keep(lease, ttl, asked);
                        Answer::Opened(Opened::Kept(Offered::granted(kept)))
                    }
                    Answer::Applied(outcome) => Answer::Opened(Opened::Not(outcome)),
                    other => other,
                };
                self.reply(token, answer);
            }
        }
    }

    fn keep(&mut self, lease: LeaseId, ttl: u64, asked: Instant) -> Arc<Kept> {
        // It was applied just now; or is part of a state that was installed, and if it is gone
        // again there, that ends it.
        let found = self.machine.leases().get(lease);
        let which = (lease, found.map_or(Index::default(), |lease| lease.grant));
        let asked = if planted(Bug::DeadlineAfterAnswer) { self.now } else { asked };
        self.kept.add(which, Duration::from_millis(ttl), asked)
    }

    fn reply(&mut self, token: Token, answer: Answer) {
        self.out.push_back(Output::Reply { token, answer });
    }

    fn renewals_ended(&mut self, number: u64, answer: Answer) {
        let renewals = self.renewals.ended(number);
        let told: Vec<Answer> = match answer {
            Answer::Applied(Outcome::Renewed(ttls)) => {
                let leases = renewals.iter().map(|it| it.map_or(LeaseId::default(), |it| it.lease));
                let told = leases.zip(ttls).map(|(lease, ttl)| match ttl {
                    Some(ttl) => Outcome::Renewed(vec![Some(ttl)]),
                    None => Outcome::Refused(Refusal::LeaseNotFound(lease)),
                });
                told.map(Answer::Applied).collect()
            }
            Answer::Applied(outcome) => {
                renewals.iter().map(|_| Answer::Applied(outcome.clone())).collect()
            }
            Answer::Failed(error) => {
                renewals.iter().map(|_| Answer::Failed(error.again())).collect()
            }
            _ => Vec::new(),
        };
        for (renewal, answer) in renewals.into_iter().zip(told) {
            if let Some(renewal) = renewal {
                self.renewal_ended(renewal, answer);
            }
        }
    }

    fn renewal_ended(&mut self, renewal: Renewal, answer: Answer) {
        let Renewal { lease, asker, asked, .. } = renewal;
        match asker {
            Asker::Caller(token) => self.reply(token, answer),
            Asker::Adopter(token) => {
                self.kept.asked();
                let answer = match answer {
                    Answer::Applied(Outcome::Renewed(ttls)) => match ttls.first() {
                        Some(Some(ttl)) => {
                            let kept = self.keep(lease, *ttl, asked);
                            Answer::Opened(Opened::Kept(Offered::adopted(kept)))
                        }
                        _ => Answer::Opened(Opened::Not(Outcome::Renewed(ttls))),
                    },
                    Answer::Applied(outcome) => Answer::Opened(Opened::Not(outcome)),
                    other => other,
                };
                self.reply(token, answer);
            }
            Asker::Kept(number) => {
                let asked = if planted(Bug::DeadlineAfterAnswer) { self.now } else { asked };
                let lost = match answer {
                    Answer::Applied(Outcome::Refused(_)) if planted(Bug::RenewGone) => {
                        self.kept.renewed(number, asked, self.now)
                    }
                    Answer::Applied(Outcome::Renewed(_)) => {
                        self.kept.renewed(number, asked, self.now)
                    }
                    Answer::Applied(Outcome::Refused(Refusal::LeaseNotFound(_))) => {
                        self.kept.gone(number, self.now)
                    }
                    _ => {
                        let again = self.now.after(self.settings.retry());
                        self.kept.not_renewed(number, again);
                        None
                    }
                };
                self.out.extend(lost.map(Output::Lost));
            }
        }
    }
}
