//! Leases against a naive twin, and what no script can show.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::core::machine::tests::genesis;
use crate::core::machine::txn::{Delete, Put};
use crate::core::machine::{Command, Machine, Origin, Outcome, stamp};
use crate::entry::{Entry, EntryKind};
use crate::ids::{Incarnation, Index, NodeId, Revision};
use crate::keys::KeyRange;

/// A machine that is given commands, each as a proposal of its own.
struct Fed {
    machine: Machine,
    term: u64,
}

impl Fed {
    fn new() -> Self {
        Self { machine: Machine::new(genesis()), term: 1 }
    }

    fn apply(&mut self, command: &Command) -> Outcome {
        let index = self.machine.applied().0.next();
        let (node, incarnation, sequence) = (NodeId::new(1), Incarnation::new(11), index.get());
        let origin = Origin { node, incarnation, boot: 1, sequence, watermark: sequence };
        let mut data = command.encode();
        stamp(&mut data, &origin);
        let term = Term::new(self.term);
        let entry = Entry { index, term, kind: EntryKind::Normal, data: data.freeze() };
        self.machine.apply(&entry).unwrap().outcome
    }

    fn restore(&mut self) {
        let image = self.machine.pin();
        let restored = Machine::restore(image.sections().map(Ok), image.mark()).unwrap();
        assert_eq!(restored.leases(), self.machine.leases(), "LSE-24: attachments are found again");
        self.machine = restored;
    }

    fn keys(&mut self) -> BTreeMap<Vec<u8>, u64> {
        self.machine.publish();
        let query = crate::core::mvcc::Query::new(KeyRange::all());
        let page = self.machine.reader().query(&query).unwrap();
        page.kvs.iter().map(|kv| (kv.key().to_vec(), kv.lease().get())).collect()
    }
}

/// Leases said naively: no order, no sets, and what is attached is found by looking at every key.
#[derive(Default)]
struct Twin {
    clock: u64,
    /// What has passed in this term is known.
    ticked: bool,
    /// Id, TTL, and until when.
    leases: Vec<(u64, u64, Option<u64>)>,
    keys: BTreeMap<Vec<u8>, u64>,
    revision: u64,
}

impl Twin {
    fn until(&self, ttl: u64) -> Option<u64> {
        self.ticked.then_some(self.clock + ttl)
    }

    fn place(&self, id: u64) -> Option<usize> {
        self.leases.iter().position(|lease| lease.0 == id)
    }

    fn alive(&self, id: u64) -> bool {
        let clock = self.clock;
        self.place(id).is_some_and(|at| self.leases[at].2.is_none_or(|until| until >= clock))
    }

    fn end(&mut self, id: u64) -> bool {
        let Some(at) = self.place(id) else { return false };
        self.leases.remove(at);
        let before = self.keys.len();
        self.keys.retain(|_, lease| *lease != id);
        self.revision += u64::from(self.keys.len() < before);
        true
    }

    fn step(&mut self, step: &Step) -> Option<Outcome> {
        let revision = |twin: &Self| Revision::new(twin.revision + 1);
        let not_found = |id: u64| Outcome::Refused(Refusal::LeaseNotFound(LeaseId::new(id)));
        Some(match step {
            Step::Grant(id, ttl) if self.place(*id).is_some() => {
                let _ = ttl;
                Outcome::Refused(Refusal::LeaseExists(LeaseId::new(*id)))
            }
            Step::Grant(id, ttl) => {
                self.leases.push((*id, *ttl, self.until(*ttl)));
                Outcome::Granted { lease: LeaseId::new(*id), ttl: *ttl }
            }
            Step::Revoke(id) if self.end(*id) => {
                Outcome::Revoked { lease: LeaseId::new(*id), revision: revision(self) }
            }
            Step::Revoke(id) => not_found(*id),
            Step::Renew(ids) => Outcome::Renewed(
                ids.iter()
                    .map(|id| {
                        let at = self.place(*id).filter(|_| self.alive(*id))?;
                        let ttl = self.leases[at].1;
                        self.leases[at].2 = self.until(ttl);
                        Some(ttl)
                    })
                    .collect(),
            ),
            Step::Tick(advance) => {
                self.clock += advance;
                self.ticked = true;
                let clock = self.clock;
                for lease in &mut self.leases {
                    lease.2 = lease.2.or(Some(clock + lease.1));
                }
                let mut due: Vec<_> =
                    self.leases.iter().filter_map(|lease| Some((lease.2?, lease.0))).collect();
                due.retain(|(until, _)| *until < clock);
                due.sort_unstable();
                due.iter().for_each(|(_, id)| assert!(self.end(*id)));
                Outcome::Ticked { expired: due.iter().map(|(_, id)| LeaseId::new(*id)).collect() }
            }
            Step::Put(_, id, false) if *id != 0 && !self.alive(*id) => not_found(*id),
            Step::Put(key, _, true) if !self.keys.contains_key(&[*key][..]) => {
                Outcome::Refused(Refusal::KeyNotFound)
            }
            Step::Put(key, id, keep) => {
                self.revision += 1;
                let lease = self.keys.entry(vec![*key]).or_default();
                *lease = if *keep { *lease } else { *id };
                Outcome::Put { revision: revision(self), prev: None }
            }
            Step::Delete(start, end) => {
                let before = self.keys.len();
                self.keys.retain(|key, _| !(start..end).contains(&&key[0]));
                let count = before - self.keys.len();
                self.revision += u64::from(count > 0);
                Outcome::Deleted { revision: revision(self), count: count as u64, prev: vec![] }
            }
            Step::Elect => {
                self.ticked = false;
                return None;
            }
            Step::Restore => return None,
        })
    }
}

#[derive(Clone, Debug)]
enum Step {
    Grant(u64, u64),
    Revoke(u64),
    Renew(Vec<u64>),
    Tick(u64),
    /// With a lease, or keeping that of the key.
    Put(u8, u64, bool),
    Delete(u8, u8),
    Elect,
    Restore,
}

impl Step {
    fn command(&self) -> Option<Command> {
        let key = |key: &u8| Bytes::copy_from_slice(&[*key]);
        Some(match self {
            Self::Grant(id, ttl) => Command::Grant { lease: LeaseId::new(*id), ttl: *ttl },
            Self::Revoke(id) => {
                Command::Revoke { lease: LeaseId::new(*id), grant: Index::default() }
            }
            Self::Renew(ids) => {
                Command::Renew { leases: ids.iter().copied().map(LeaseId::new).collect() }
            }
            Self::Tick(advance) => Command::Tick { advance: *advance },
            Self::Put(at, id, keep) => {
                let lease = LeaseId::new(if *keep { 0 } else { *id });
                let put = Put::new(key(at), Bytes::new());
                Command::Put(Put { lease, ignore_lease: *keep, ..put })
            }
            Self::Delete(start, end) => {
                Command::Delete(Delete { range: KeyRange::from(key(start)..key(end)), prev: false })
            }
            Self::Elect | Self::Restore => return None,
        })
    }
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 1_u64..6;
    let key = || b'a'..b'i';
    prop_oneof![
        3 => (id(), 1_u64..20).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
        1 => id().prop_map(Step::Revoke),
        2 => proptest::collection::vec(id(), 0..4).prop_map(Step::Renew),
        3 => (0_u64..9).prop_map(Step::Tick),
        8 => (key(), 0_u64..6, prop::bool::weighted(0.2))
            .prop_map(|(key, id, keep)| Step::Put(key, id, keep)),
        2 => (key(), 1_u8..3).prop_map(|(key, more)| Step::Delete(key, key + more)),
        1 => Just(Step::Elect),
        1 => Just(Step::Restore),
    ]
}

proptest! {
    /// LSE-2: two grants never choose the same, whatever their indexes.
    #[test]
    fn lse_2_ids_are_chosen_one_to_one(one in 0..CHOSEN, other in 0..CHOSEN, step in 1_u64..1000) {
        prop_assert_eq!(chosen(one) == chosen(other), one == other);
        prop_assert_ne!(chosen(one), chosen((one + step) % CHOSEN));
    }

    /// LSE-1, LSE-5, LSE-6, LSE-7, LSE-12 to LSE-14, LSE-22 to LSE-24.
    #[test]
    fn leases_are_those_of_the_naive_twin(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let (mut fed, mut twin) = (Fed::new(), Twin::default());
        for step in &steps {
            let expected = twin.step(step);
            match (step, step.command()) {
                (_, Some(command)) => prop_assert_eq!(Some(fed.apply(&command)), expected),
                (Step::Elect, None) => fed.term += 1,
                (_, None) => fed.restore(),
            }
            let leases: BTreeMap<_, _> =
                twin.leases.iter().map(|(id, ttl, until)| (*id, (*ttl, *until))).collect();
            let told = fed.machine.leases().iter();
            let told: BTreeMap<_, _> =
                told.map(|(id, lease)| (id.get(), (lease.ttl, lease.until))).collect();
            prop_assert_eq!(told, leases);
            prop_assert_eq!(fed.machine.leases().clock(), twin.clock);
            prop_assert_eq!(fed.machine.mvcc().revision().get(), twin.revision + 1);
            prop_assert_eq!(&fed.keys(), &twin.keys);
            for (id, lease) in fed.machine.leases().iter() {
                let attached = twin.keys.iter().filter(|(_, lease)| **lease == id.get());
                let attached: Vec<_> = attached.map(|(key, _)| &**key).collect();
                prop_assert_eq!(lease.keys().collect::<Vec<_>>(), attached);
            }
        }
    }
}

fn grant(id: u64, ttl: u64) -> Command {
    Command::Grant { lease: LeaseId::new(id), ttl }
}

/// LSE-14: a key cannot be given to what is left over from a tick either.
#[test]
fn lse_9_a_tick_ends_so_many_leases_and_the_others_are_as_good_as_gone() {
    let mut fed = Fed::new();
    fed.apply(&Command::Tick { advance: 0 });
    let count = MAX_EXPIRED as u64 * 2 + 10;
    for id in 1..=count {
        fed.apply(&grant(id, 100));
    }
    fed.apply(&grant(count + 1, 200));
    let last = LeaseId::new(count);
    let put = Put { lease: last, ..Put::new("k".into(), Bytes::new()) };
    fed.apply(&Command::Put(put.clone()));
    let expired = |outcome| match outcome {
        Outcome::Ticked { expired } => expired.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(expired(fed.apply(&Command::Tick { advance: 101 })), MAX_EXPIRED);
    assert!(fed.machine.leases().next_due().unwrap() <= fed.machine.leases().clock());

    let renewed = fed.apply(&Command::Renew { leases: vec![last, LeaseId::new(count + 1)] });
    assert_eq!(renewed, Outcome::Renewed(vec![None, Some(200)]));
    let gone = Outcome::Refused(Refusal::LeaseNotFound(last));
    assert_eq!(fed.apply(&Command::Put(put)), gone);
    // Nor does one keep it that has it: it would go with a value that its writer was told is there.
    let keeps = Put { ignore_lease: true, ..Put::new("k".into(), Bytes::new()) };
    assert_eq!(fed.apply(&Command::Put(keeps)), gone);
    fed.restore();

    assert_eq!(expired(fed.apply(&Command::Tick { advance: 0 })), MAX_EXPIRED);
    assert_eq!(fed.keys().len(), 1);
    assert_eq!(expired(fed.apply(&Command::Tick { advance: 0 })), 10);
    assert_eq!(fed.keys().len(), 0);
    assert_eq!(fed.machine.leases().ids().collect::<Vec<_>>(), [LeaseId::new(count + 1)]);
}

#[test]
fn lse_20_what_is_left_is_told_by_the_clock() {
    let mut fed = Fed::new();
    fed.apply(&grant(1, 100));
    let left = |fed: &Fed| {
        let leases = fed.machine.leases();
        leases.remaining(leases.get(LeaseId::new(1)).unwrap())
    };
    assert_eq!(left(&fed), 100, "a fresh one has all of it");
    fed.apply(&Command::Tick { advance: 50 });
    assert_eq!(left(&fed), 100, "its time begins with the tick");
    fed.apply(&Command::Tick { advance: 30 });
    assert_eq!(left(&fed), 70);
}

#[test]
fn lse_21_leases_are_listed_by_when_they_are_due() {
    let mut fed = Fed::new();
    fed.apply(&Command::Tick { advance: 0 });
    for (id, ttl) in [(3, 300), (1, 200), (2, 300), (9, 100)] {
        fed.apply(&grant(id, ttl));
    }
    fed.term += 1;
    fed.apply(&grant(4, 1));
    let ids: Vec<_> = fed.machine.leases().ids().map(LeaseId::get).collect();
    assert_eq!(ids, [9, 1, 2, 3, 4], "the fresh one at the end");
}

/// LSE-17: all are due together, and are gone after so many ticks that each is short.
#[test]
fn lse_9_a_tick_deletes_so_many_keys_and_never_none() {
    let mut fed = Fed::new();
    fed.apply(&Command::Tick { advance: 0 });
    let keys = [10, MAX_EXPIRED_KEYS - 10, 1, MAX_EXPIRED_KEYS + 1, 1];
    for (place, count) in keys.into_iter().enumerate() {
        let lease = LeaseId::new(place as u64 + 1);
        fed.apply(&grant(lease.get(), 100));
        for key in 0..count {
            let put = Put::new(format!("{lease}/{key}").into(), Bytes::new());
            fed.apply(&Command::Put(Put { lease, ..put }));
        }
    }
    let tick = |fed: &mut Fed, advance| match fed.apply(&Command::Tick { advance }) {
        Outcome::Ticked { expired } => expired.into_iter().map(LeaseId::get).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(tick(&mut fed, 101), [1, 2]);
    assert_eq!(tick(&mut fed, 0), [3]);
    assert_eq!(tick(&mut fed, 0), [4], "one that has too many goes alone");
    assert_eq!(tick(&mut fed, 0), [5]);
    assert!(fed.keys().is_empty());
}

#[test]
fn lse_2_a_chosen_id_is_far_from_what_programs_give() {
    let mut fed = Fed::new();
    let choose = |fed: &mut Fed| match fed.apply(&grant(0, 100)) {
        Outcome::Granted { lease, .. } => lease,
        other => panic!("{other:?}"),
    };
    // Its index is 2: what an id that is its index would have met.
    fed.apply(&grant(3, 100));
    let first = choose(&mut fed);
    assert!(first.get() >= 1 << 62 && first.get() < 1 << 63, "{first}");
    // Somebody has given away the next one, and the one behind it.
    let next = fed.machine.applied().0.get() + 3;
    let taken = [next, next + 1].map(chosen);
    taken.iter().for_each(|id| drop(fed.apply(&grant(*id, 100))));
    assert_eq!(choose(&mut fed), LeaseId::new(chosen(next + 2)));
}

#[test]
fn a_grant_made_anew_is_another_lease() {
    let mut fed = Fed::new();
    let place = |fed: &Fed| fed.machine.leases().get(LeaseId::new(7)).map(|lease| lease.grant);
    fed.apply(&grant(7, 100));
    let first = place(&fed);
    fed.apply(&Command::Revoke { lease: LeaseId::new(7), grant: Index::default() });
    fed.apply(&grant(7, 100));
    assert!(place(&fed).is_some() && place(&fed) != first);
    fed.restore();
    assert_eq!(place(&fed), Some(fed.machine.applied().0));
    // Who means the first one does not end the second (`REC-3`).
    let lease = LeaseId::new(7);
    let late = fed.apply(&Command::Revoke { lease, grant: first.unwrap() });
    assert_eq!(late, Outcome::Refused(Refusal::LeaseNotFound(lease)));
    let grant = place(&fed).unwrap();
    assert!(matches!(fed.apply(&Command::Revoke { lease, grant }), Outcome::Revoked { .. }));
}

#[test]
fn the_clock_has_an_end_and_what_was_granted_then_ends_behind_it() {
    let mut fed = Fed::new();
    for _ in 0..3 {
        fed.apply(&Command::Tick { advance: u64::MAX });
    }
    fed.apply(&grant(1, MAX_TTL_MS));
    assert_eq!(fed.machine.leases().clock(), MAX_CLOCK_MS);
    assert_eq!(fed.machine.leases().next_due(), Some(MAX_CLOCK_MS + MAX_TTL_MS + 1));
    fed.restore();
}

#[test]
fn an_image_from_before_its_own_leases_is_damaged() {
    let mut fed = Fed::new();
    fed.apply(&Command::Tick { advance: 5 });
    let (index, term) = fed.machine.applied();
    let mut restored = |clock, ticked, grant| {
        let lease = Lease::new(100, grant, Some(clock));
        fed.machine.leases = Leases::restore(clock, ticked, [(LeaseId::new(7), lease)]);
        let image = fed.machine.pin();
        Machine::restore(image.sections().map(Ok), image.mark()).is_ok()
    };
    let later = Term::new(term.get() + 1);
    assert!(restored(MAX_CLOCK_MS, term, index));
    assert!(!restored(MAX_CLOCK_MS + 1, term, index));
    assert!(!restored(5, later, index));
    assert!(!restored(5, term, index.next()));
}
