//! The network between members: what becomes of each envelope.

use std::ops::Range;
use std::time::Duration;

use super::dice::Dice;
use super::faults::Faults;

/// One direction between two members.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// So many reasons why nothing gets through.
    cuts: u32,
    /// Added to every delay.
    slow: Duration,
    /// What is sent waits until it is delivered by hand.
    held: bool,
}

/// What becomes of an envelope: when its copies arrive, from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Once(Duration),
    Twice(Duration, Duration),
    /// Never, unless by hand.
    Held,
}

/// All links. Members by their place.
#[derive(Debug)]
pub(super) struct Network {
    members: usize,
    links: Vec<Link>,
    delay: Range<Duration>,
    loss: u32,
    duplicates: u32,
    stragglers: u32,
    straggle: Duration,
    dice: Dice,
}

impl Network {
    pub(super) fn new(members: usize, faults: &Faults, dice: Dice) -> Self {
        let mut network = Self {
            members,
            links: vec![Link::default(); members * members],
            delay: Duration::ZERO..Duration::ZERO,
            loss: 0,
            duplicates: 0,
            stragglers: 0,
            straggle: Duration::ZERO,
            dice,
        };
        network.behave(faults);
        network
    }

    /// From now on these are the faults of single envelopes.
    pub(super) fn behave(&mut self, faults: &Faults) {
        self.delay = faults.delay.clone();
        self.loss = faults.loss;
        self.duplicates = faults.duplicates;
        self.stragglers = faults.stragglers;
        self.straggle = faults.straggle;
    }

    pub(super) fn fate(&mut self, from: usize, to: usize) -> Fate {
        let link = self.links.get(from * self.members + to).copied().unwrap_or_default();
        if link.cuts > 0 || self.dice.chance(self.loss) {
            return Fate::Lost;
        }
        if link.held {
            return Fate::Held;
        }
        let first = self.draw(link);
        if self.dice.chance(self.duplicates) {
            return Fate::Twice(first, self.draw(link));
        }
        Fate::Once(first)
    }

    fn draw(&mut self, link: Link) -> Duration {
        let mut delay = self.dice.span(self.delay.start, self.delay.end) + link.slow;
        if self.dice.chance(self.stragglers) {
            delay += self.dice.span(Duration::ZERO, self.straggle);
        }
        delay
    }

    fn link(&mut self, from: usize, to: usize) -> Option<&mut Link> {
        self.links.get_mut(from * self.members + to)
    }

    /// Nothing gets through from one to the other any more, until as many [`mend`](Self::mend).
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        if let Some(link) = self.link(from, to) {
            link.cuts += 1;
        }
    }

    pub(super) fn mend(&mut self, from: usize, to: usize) {
        if let Some(link) = self.link(from, to) {
            link.cuts = link.cuts.saturating_sub(1);
        }
    }

    pub(super) fn slow(&mut self, from: usize, to: usize, by: Duration) {
        if let Some(link) = self.link(from, to) {
            link.slow = by;
        }
    }

    /// From now on what is sent from one to the other waits, or does so no more.
    #[cfg(test)]
    pub(super) fn hold(&mut self, from: usize, to: usize, held: bool) {
        if let Some(link) = self.link(from, to) {
            link.held = held;
        }
    }

    /// All links are as they were in the beginning; one that is held still is.
    pub(super) fn heal(&mut self) {
        for link in &mut self.links {
            *link = Link { held: link.held, ..Link::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::dice::Seed;

    #[test]
    fn a_cut_is_one_way_and_is_counted() {
        let mut network = Network::new(3, &Faults::none(), Dice::new(Seed::new(1)));
        network.cut(0, 1);
        network.cut(0, 1);
        assert_eq!(network.fate(0, 1), Fate::Lost);
        assert_ne!(network.fate(1, 0), Fate::Lost);
        network.mend(0, 1);
        assert_eq!(network.fate(0, 1), Fate::Lost, "there was another reason");
        network.mend(0, 1);
        assert_ne!(network.fate(0, 1), Fate::Lost);
        network.cut(2, 1);
        network.heal();
        assert_ne!(network.fate(2, 1), Fate::Lost);
    }

    #[test]
    fn rates_are_kept() {
        let faults = Faults::none().loss(500_000).duplicates(500_000);
        let mut network = Network::new(2, &faults, Dice::new(Seed::new(1)));
        let fates: Vec<Fate> = (0..1_000).map(|_| network.fate(0, 1)).collect();
        let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
        let twice = fates.iter().filter(|fate| matches!(fate, Fate::Twice(..))).count();
        assert!((400..600).contains(&lost), "{lost}");
        assert!((180..320).contains(&twice), "{twice}");
    }
}
