//! Callers that wait for a moment, so that nobody needs a timer of a runtime for it.
//!
//! Most of them are gone long before their moment comes: what they waited for has happened. They
//! are looked for when there are many, and always before somebody is refused.

use std::collections::BTreeMap;

use crate::gate::Reply;
use crate::time::Instant;

/// Fewer are not gone through for those that have gone.
const FEW: usize = 64;

/// Who is to be woken when.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    /// By when they are due, and the order in which they came.
    waiting: BTreeMap<(Instant, u64), Reply<()>>,
    came: u64,
    /// With so many, those whose asker has gone are looked for: what is looked through is at most
    /// twice what came since.
    full: usize,
}

impl Sleepers {
    /// Takes one, unless there are `most` whose askers still wait.
    pub(super) fn add(
        &mut self,
        due: Instant,
        reply: Reply<()>,
        most: usize,
    ) -> Result<(), Reply<()>> {
        if self.waiting.len() >= self.full.max(FEW).min(most) {
            self.waiting.retain(|_, reply| !reply.is_closed());
            self.full = self.waiting.len().saturating_mul(2);
        }
        if self.waiting.len() >= most {
            return Err(reply);
        }
        self.came = self.came.saturating_add(1);
        self.waiting.insert((due, self.came), reply);
        Ok(())
    }

    /// Those that are due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Reply<()>> {
        let mut due = Vec::new();
        while let Some(first) = self.waiting.first_entry().filter(|it| it.key().0 <= now) {
            due.push(first.remove());
        }
        due
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Reply<()>> + use<> {
        std::mem::take(&mut self.waiting).into_values()
    }

    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::oneshot;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn they_are_woken_in_their_order_and_not_before() {
        let mut sleepers = Sleepers::default();
        let answers: Vec<_> = [30, 10, 20, 10]
            .map(|ms| {
                let (reply, answer) = oneshot::channel();
                assert!(sleepers.add(at(ms), reply, 100).is_ok());
                answer
            })
            .into();
        assert_eq!(sleepers.next(), Some(at(10)));
        assert!(sleepers.due(at(9)).is_empty());
        sleepers.due(at(20)).into_iter().for_each(|reply| reply.send(Ok(())).unwrap());
        let woken: Vec<bool> = answers.iter().map(oneshot::Receiver::has_message).collect();
        assert_eq!(woken, [false, true, true, true]);
        assert_eq!(sleepers.next(), Some(at(30)));
        assert_eq!(sleepers.take_all().count(), 1);
        assert_eq!(sleepers.next(), None);
    }

    #[test]
    fn nothing_stays_of_those_who_have_gone() {
        let mut sleepers = Sleepers::default();
        let mut kept = Vec::new();
        for ms in 0..10_000 {
            let (reply, answer) = oneshot::channel();
            assert!(sleepers.add(at(ms), reply, FEW).is_ok());
            if ms % 1000 == 0 {
                kept.push(answer);
            }
        }
        assert!(sleepers.waiting.len() <= FEW, "{}", sleepers.waiting.len());
        assert_eq!(sleepers.due(at(20_000)).iter().filter(|it| !it.is_closed()).count(), 10);
    }
    #[test]
    fn who_is_gone_is_in_nobodys_way_and_who_is_not_is() {
        let mut sleepers = Sleepers::default();
        let askers = [(); 3].map(|()| oneshot::channel());
        let mut waiting: Vec<_> = askers
            .into_iter()
            .map(|(reply, answer)| {
                assert!(sleepers.add(at(1), reply, 3).is_ok());
                answer
            })
            .collect();
        let (reply, _answer) = oneshot::channel();
        let refused = sleepers.add(at(1), reply, 3).unwrap_err();
        waiting.pop();
        assert!(sleepers.add(at(1), refused, 3).is_ok(), "one has gone");
    }
}
