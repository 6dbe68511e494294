//! Those who look at who leads.

use std::time::Duration;

use super::Holder;
use super::ask::draw_election;
use crate::service::{Observed, Observer};
use crate::sim::check::election::Sights;
use crate::sim::marks::Mark;
use crate::sim::workload::bell::within;

impl Holder {
    /// Observes one election after the other, at members drawn anew.
    pub(super) async fn observe(mut self) {
        while self.cluster.clock().now() < self.holders.until && !self.cluster.has_failed() {
            self.pause(Duration::from_millis(200)).await;
            let Some(place) = self.place() else { continue };
            let (name, scope, election) = draw_election(&mut self.dice, &place);
            let observe = election.observe().timeout(self.holders.timeout);
            let Ok(observer) = observe.await else { continue };
            let sights = self.look_on(observer).await;
            let directory = [scope.as_bytes(), name.as_bytes(), b"/"].concat();
            self.notes.observed(&self.cluster, &directory, &sights);
        }
    }

    /// Looks on for a while, or until the member ends.
    async fn look_on(&mut self, mut observer: Observer) -> Sights {
        let clock = self.cluster.clock();
        let until = clock.now() + self.dice.span(Duration::ZERO, self.holders.kept);
        let mut sights = Sights::new();
        loop {
            let left = until.saturating_sub(clock.now());
            match within(&clock, left, observer.next()).await {
                Some(Some(Ok(Observed::Vacant))) => sights.push(Some(None)),
                Some(Some(Ok(Observed::Elected(leader)))) => {
                    sights.push(Some(Some((leader.token, leader.value))));
                }
                Some(Some(Ok(Observed::Skipped))) => {
                    self.cluster.mark(Mark::ObserverSkips);
                    sights.push(None);
                }
                Some(Some(Err(_)) | None) | None => return sights,
            }
            if self.dice.chance(100_000) {
                self.pause(Duration::from_secs(1)).await;
            }
        }
    }
}
