//! The fences of an inner node, one behind the other in one piece of memory: a search passes over
//! few lines of it, and no small allocation outlives what lay around it.

use std::cmp::Ordering::{Equal, Greater, Less};

use super::leaf::head;

/// Byte strings in ascending order, at least one, found by eight of their bytes. Those stand
/// behind what all but the first begin with: it is the outermost node that has most searches, and
/// its first fence is empty.
#[derive(Default)]
pub(super) struct Fences {
    bytes: Vec<u8>,
    /// Where each ends in `bytes`.
    ends: Vec<u32>,
    /// How many bytes all but the first have in common.
    shared: usize,
    /// `heads[i]` is the head of fence `i + 1`; never falls from one to the next.
    heads: Vec<u64>,
}

/// How many bytes the two have in common at the front.
pub(super) fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The shortest byte string that is greater than `left` and not greater than `right`.
pub(super) fn separator<'a>(left: &[u8], right: &'a [u8]) -> &'a [u8] {
    let len = shared_bytes(left, right).saturating_add(1);
    right.get(..len).unwrap_or(right)
}

impl Fences {
    pub(super) fn new<'a>(fences: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut made = Self::default();
        made.extend(fences);
        made.index();
        made
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        let end = usize::try_from(*self.ends.get(at)?).ok()?;
        self.bytes.get(self.begin(at)..end)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    fn begin(&self, at: usize) -> usize {
        let before = at.checked_sub(1).and_then(|before| self.ends.get(before));
        before.and_then(|end| usize::try_from(*end).ok()).unwrap_or(0)
    }

    /// The last fence that is not greater than `key`, or the first.
    pub(super) fn find(&self, key: &[u8]) -> usize {
        let prefix = self.get(1).and_then(|fence| fence.get(..self.shared)).unwrap_or_default();
        match key.get(..self.shared).unwrap_or(key).cmp(prefix) {
            Less => return 0,
            Greater => return self.heads.len(),
            Equal => {}
        }
        let head = head(key, self.shared);
        let mut at = self.heads.partition_point(|&other| other < head);
        // Mostly none or one: fences are cut off where they differ.
        while self.heads.get(at).is_some_and(|&other| other == head)
            && self.get(at.saturating_add(1)).is_some_and(|fence| fence <= key)
        {
            at = at.saturating_add(1);
        }
        at
    }

    pub(super) fn insert(&mut self, at: usize, fence: &[u8]) {
        let behind = self.split_off(at);
        self.extend([fence]);
        self.append(&behind);
    }

    pub(super) fn remove(&mut self, at: usize) {
        let mut behind = self.split_off(at);
        let behind = behind.split_off(1);
        self.append(&behind);
    }

    /// Takes away what is from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let behind = Self::new(self.iter().skip(at));
        self.bytes.truncate(self.begin(at));
        self.ends.truncate(at);
        self.index();
        behind
    }

    /// Adds those of the next node to the right.
    pub(super) fn append(&mut self, right: &Self) {
        self.extend(right.iter());
        self.index();
    }

    fn extend<'a>(&mut self, fences: impl IntoIterator<Item = &'a [u8]>) {
        for fence in fences {
            self.bytes.extend_from_slice(fence);
            // A few thousand keys, of which each is far below 4 GiB (`SEL-10`).
            self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        }
    }

    /// Computes anew what is derived from the fences.
    fn index(&mut self) {
        let last = self.len().saturating_sub(1);
        let ends = self.get(1).zip(self.get(last));
        self.shared = ends.map_or(0, |(first, last)| shared_bytes(first, last));
        let mut heads = std::mem::take(&mut self.heads);
        heads.clear();
        heads.extend(self.iter().skip(1).map(|fence| head(fence, self.shared)));
        self.heads = heads;
    }
}

#[cfg(any(test, fuzzing))]
impl Fences {
    /// Asserts what the fields promise.
    pub(super) fn verify(&self) {
        assert!(self.iter().is_sorted_by(|a, b| a < b), "fences ascend");
        assert_eq!(self.begin(self.len()), self.bytes.len());
        let prefix = self.get(1).and_then(|fence| fence.get(..self.shared)).unwrap_or_default();
        assert!(self.iter().skip(1).all(|fence| fence.starts_with(prefix)));
        let heads: Vec<_> = self.iter().skip(1).map(|fence| head(fence, self.shared)).collect();
        assert_eq!(self.heads, heads);
        assert!(heads.is_sorted(), "heads order as fences do");
    }
}
