//! Queues, judged against the one history of events.
//!
//! ```text
//!   queue k/jobs/0/   4 a made   5 b made   6 a claimed   7 b gone   9 a gone, "done a" written
//!                                           first: a      first free: b     by who had claimed it
//! ```
//!
//! | what must hold | rules |
//! |---|---|
//! | what was acknowledged is there, once, until somebody takes it | `REC-40` |
//! | who takes or claims an item is given the first that nobody has | `REC-40`, `REC-41` |
//! | an item is taken by one; nobody who has lost his claim acknowledges it | `REC-40` |
//! | what is gone was given to somebody, or asked for by one who was told nothing | `REC-40` |
//!
//! Who is first is judged among items that nobody has claimed before: one that was given back comes
//! again behind whoever had looked before that. Of the most urgent item a consumer that was foiled
//! so often may miss one that has just come, which is looked at where so much has happened.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::watch::truth::{Change, Truth};
use crate::ids::Revision;

/// Changes of a queue that may foil a consumer so often that he takes what he has seen.
const FOILED: usize = 8;

/// Where in the store a queue is.
pub(crate) type Queue = Bytes;

/// An item that somebody was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) queue: Queue,
    pub(crate) revision: Revision,
    pub(crate) priority: u16,
    pub(crate) value: Bytes,
}

/// What is known of how a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told<T> {
    /// Nothing.
    Unknown,
    Not,
    Done(T),
}

/// What producers and consumers were told.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// By the value, which is put once.
    puts: BTreeMap<Bytes, Put>,
    /// Items that somebody took, by queue and revision.
    taken: BTreeSet<(Queue, Revision)>,
    /// Acknowledgements, by what each was to write with it.
    acks: BTreeMap<Bytes, Ack>,
    /// Dequeues of each queue whose callers do not know whether they took something.
    doubts: BTreeMap<Queue, usize>,
}

#[derive(Debug)]
struct Put {
    queue: Queue,
    /// It may be gone with its lease.
    leased: bool,
    told: Told<Revision>,
}

#[derive(Debug)]
struct Ack {
    item: Item,
    token: Revision,
    told: Told<()>,
}

/// An item as it was: when it was made, and when it was gone.
struct Life<'a> {
    made: &'a Change,
    gone: Option<Revision>,
    priority: u16,
}

impl Life<'_> {
    fn rank(&self) -> (u16, Revision) {
        (self.priority, self.made.at.0)
    }

    /// It was there just before.
    fn is_before(&self, at: Revision) -> bool {
        self.made.at.0 < at && self.gone.is_none_or(|gone| gone >= at)
    }
}

impl Queues {
    pub(crate) fn enqueues(&mut self, queue: &Queue, value: Bytes, leased: bool) {
        let put = Put { queue: queue.clone(), leased, told: Told::Unknown };
        self.puts.insert(value, put);
    }

    pub(crate) fn enqueued(&mut self, value: &Bytes, told: Told<Revision>) {
        if let Some(put) = self.puts.get_mut(value) {
            put.told = told;
        }
    }

    /// Somebody may have taken an item, and will not say so.
    pub(crate) fn doubt(&mut self, queue: &Queue) {
        *self.doubts.entry(queue.clone()).or_default() += 1;
    }

    /// Somebody has dequeued an item; what it saw of the queue is no older than `since`.
    pub(crate) fn taken(
        &mut self,
        truth: &Truth,
        item: &Item,
        since: Revision,
    ) -> Result<(), String> {
        let life = of(truth, item)?;
        let Some(at) = life.gone else {
            return Err(format!("REC-40: {item:?} was taken, and is there"));
        };
        if !self.taken.insert((item.queue.clone(), item.revision)) {
            return Err(format!("REC-40: {item:?} was taken twice"));
        }
        if let Some(ack) = self.ack_at(truth, at) {
            return Err(format!("REC-40: {item:?} was taken, and by another: {ack:?}"));
        }
        was_first(truth, &life, (item, at), since)
    }

    /// Somebody has claimed an item, at the revision `token`.
    pub(crate) fn claimed(
        truth: &Truth,
        item: &Item,
        token: Revision,
        since: Revision,
    ) -> Result<(), String> {
        let life = of(truth, item)?;
        let key = claim_key(&item.queue, &life.made.key);
        if truth.find(&key, token).is_none_or(|change| change.kv.is_none()) {
            return Err(format!("REC-40: {item:?} was claimed at {token}, and no claim was made"));
        }
        if !life.is_before(token) {
            return Err(format!("REC-40: {item:?} was claimed at {token}, and was not there"));
        }
        was_first(truth, &life, (item, token), since)
    }

    /// Has anybody claimed it before?
    pub(crate) fn is_claimed_again(truth: &Truth, item: &Item, token: Revision) -> bool {
        let Ok(life) = of(truth, item) else { return false };
        let mut claims = truth.lives(claim_key(&item.queue, &life.made.key));
        claims.any(|(made, _)| made.at.0 < token)
    }

    /// Who has claimed an item is about to acknowledge it, and to write this with it.
    pub(crate) fn acks(&mut self, item: Item, token: Revision, done: Bytes) {
        self.acks.insert(done, Ack { item, token, told: Told::Unknown });
    }

    pub(crate) fn acked(&mut self, done: &Bytes, told: Told<()>) {
        if let Some(ack) = self.acks.get_mut(done) {
            ack.told = told;
        }
    }

    /// The acknowledgement that was made at a revision.
    fn ack_at(&self, truth: &Truth, at: Revision) -> Option<&Ack> {
        let mut changes = truth.between(at..=at).iter();
        changes.find_map(|change| self.acks.get(&change.kv.as_ref()?.value))
    }

    /// What was put and taken, when all is over, and every queue has been emptied if there is
    /// somebody left who could.
    pub(crate) fn judge(&self, truth: &Truth, is_emptied: bool) -> Result<(), String> {
        let queues: BTreeSet<&Queue> = self.puts.values().map(|put| &put.queue).collect();
        let mut seen: BTreeMap<&Bytes, Revision> = BTreeMap::new();
        for queue in queues {
            let mut lost = Vec::new();
            for life in lives(truth, queue) {
                let Some(kv) = &life.made.kv else { continue };
                let made = life.made.at.0;
                let Some(put) = self.puts.get(&kv.value).filter(|put| put.queue == queue) else {
                    return Err(format!("REC-40: {:?} is in {queue:?}, and nobody's", kv.value));
                };
                if seen.insert(&kv.value, made).is_some() {
                    return Err(format!("INV-6: {:?} is enqueued twice", kv.value));
                }
                let Some(gone) = life.gone else {
                    if is_emptied {
                        return Err(format!("REC-40: {:?} of {queue:?} is given to nobody", kv));
                    }
                    continue;
                };
                let is_taken = self.taken.contains(&(queue.clone(), made));
                if !is_taken && !put.leased && self.ack_at(truth, gone).is_none() {
                    lost.push((made, gone));
                }
            }
            if lost.len() > self.doubts.get(queue).copied().unwrap_or_default() {
                return Err(format!("REC-40: nobody was given these of {queue:?}: {lost:?}"));
            }
        }
        for (value, put) in &self.puts {
            let is_so = match put.told {
                Told::Unknown => true,
                Told::Not => !seen.contains_key(value),
                Told::Done(revision) => seen.get(value) == Some(&revision),
            };
            if !is_so {
                return Err(format!("REC-40: {value:?} was told to be {put:?}, and it is not so"));
            }
        }
        let leased = |ack: &Ack| self.puts.get(&ack.item.value).is_some_and(|put| put.leased);
        self.acks.iter().try_for_each(|(done, ack)| ack.judge(truth, done, leased(ack)))
    }
}

impl Ack {
    /// It was made while its claim was there, with what was to be written; or not at all. An item
    /// that is `leased` may be gone by then, and is dealt with all the same.
    fn judge(&self, truth: &Truth, done: &Bytes, leased: bool) -> Result<(), String> {
        let (Self { item, token, told }, key) = (self, done_key(&self.item.queue));
        let mut written = truth.lives_of(&key).filter(|kv| kv.value == done).map(|kv| kv.modified);
        let (at, again) = (written.next(), written.next());
        if again.is_some() {
            return Err(format!("INV-6: {item:?} is acknowledged twice at once"));
        }
        if matches!((told, at), (Told::Not, Some(_)) | (Told::Done(()), None)) {
            return Err(format!("REC-40: {item:?} is told to be acknowledged or not: {self:?}"));
        }
        let Some(at) = at else { return Ok(()) };
        let life = of(truth, item)?;
        let claim = claim_key(&item.queue, &life.made.key);
        let claimed = truth.lives(claim).find(|(made, _)| made.at.0 == *token);
        let is_held = claimed.is_some_and(|(_, gone)| gone == Some(at));
        let is_removed = life.gone.is_some_and(|gone| gone == at || (leased && gone < at));
        if !is_held || !is_removed {
            return Err(format!("REC-40: {item:?} was acknowledged at {at}, and not claimed"));
        }
        Ok(())
    }
}

/// What acknowledging writes.
pub(crate) fn done_key(queue: &Queue) -> Bytes {
    [b"k/done/", &queue[..]].concat().into()
}

fn directory(queue: &Queue) -> Bytes {
    [&queue[..], b"/"].concat().into()
}

fn claim_key(queue: &Queue, item: &[u8]) -> Bytes {
    let directory = directory(queue);
    let rest = item.get(directory.len()..).unwrap_or_default();
    [&directory[..], b"~", rest].concat().into()
}

/// All items that ever were.
fn lives<'a>(truth: &'a Truth, queue: &Queue) -> impl Iterator<Item = Life<'a>> {
    let directory = directory(queue);
    let all = truth.lives(directory.clone());
    all.filter_map(move |(made, gone)| {
        let rest = made.key.get(directory.len()..)?;
        if rest.first() == Some(&b'~') {
            return None;
        }
        let digits = rest.strip_prefix(b"p").and_then(|rest| rest.get(..5));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        Some(Life { made, gone, priority: digits.unwrap_or_default() })
    })
}

/// An item as it was enqueued.
fn of<'a>(truth: &'a Truth, item: &Item) -> Result<Life<'a>, String> {
    let mut all = lives(truth, &item.queue).filter(|life| life.made.at.0 == item.revision);
    let is_same = |life: &Life<'_>| {
        let kv = life.made.kv.as_ref();
        life.priority == item.priority && kv.is_some_and(|kv| kv.value == item.value)
    };
    let found = all.find(is_same);
    found.ok_or_else(|| format!("REC-40: {item:?} was given, and never enqueued"))
}

/// Was it the first when it was taken or claimed, of those that nobody had had?
fn was_first(
    truth: &Truth,
    life: &Life<'_>,
    (item, at): (&Item, Revision),
    since: Revision,
) -> Result<(), String> {
    let is_free = |other: &Life<'_>| {
        let mut claims = truth.lives(claim_key(&item.queue, &other.made.key));
        claims.all(|(made, _)| made.at.0 >= at)
    };
    let first = lives(truth, &item.queue)
        .filter(|other| other.rank() < life.rank() && other.is_before(at))
        .filter(is_free)
        .min_by_key(Life::rank);
    let Some(first) = first else { return Ok(()) };
    if first.priority < life.priority {
        let directory = directory(&item.queue);
        let between = truth.between(since..=at).iter();
        if between.filter(|change| change.key.starts_with(&directory)).count() > FOILED {
            return Ok(());
        }
        let rank = first.rank();
        return Err(format!("REC-41: at {at} {item:?} was given, and {rank:?} is more urgent"));
    }
    let made = first.made.at.0;
    Err(format!("REC-40: at {at} {item:?} was given, and {made} was before it"))
}
