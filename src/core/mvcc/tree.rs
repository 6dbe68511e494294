//! The tree above the leaves: which leaf a key is in, and how many keys live below each node.
//!
//! ```text
//!   root        ""         "k"                  fence, and beside it: live keys, changed at
//!             /              \
//!   inner   "" "c" "f" ..     "k" "m" ..        up to 32 children
//!           |   |
//!   leaves [..][c .. e]                         up to 64 keys (leaf.rs)
//! ```
//!
//! A count over a range adds up the numbers of the children that lie inside it, and goes down only
//! at its two ends: what it costs grows with the depth. It also goes down where a number tells of
//! a newer state than the one that is read ([`Count`]).

use std::ops::{ControlFlow, Range};

use parking_lot::RwLock;

use super::count::Count;
use super::fences::{Fences, separator, shared_bytes};
use super::leaf::{Change, LEAF_SLOTS, Leaf};
use super::query::Order;

/// Children of an inner node. The leaves are in the node: with more, a split moves too much.
const INNER_CHILDREN: usize = 32;

/// An inner node that a join leaves with this many children is joined to a neighbour.
const SPARSE_CHILDREN: usize = INNER_CHILDREN / 4;

/// So many leaves a full node grows by. Doubling would leave a third of the room unused.
const GROWTH_LEAVES: usize = INNER_CHILDREN / 8;

/// A leaf that a compaction leaves with this many keys is joined to a neighbour.
pub(super) const SPARSE_SLOTS: usize = LEAF_SLOTS * 3 / 8;

/// Keys of two leaves that are joined, at most: the next few do not cut it again.
const JOINED_SLOTS: usize = LEAF_SLOTS * 3 / 4;

/// Likewise for inner nodes.
const JOINED_CHILDREN: usize = INNER_CHILDREN * 3 / 4;

/// Leaves that a walk reads before it lets go of the tree: a split waits no longer than that.
const LEAVES_PER_HOLD: usize = 8;

/// Where the keys of a node begin: no key below it is smaller, every key before it is.
pub(super) type Fence = Box<[u8]>;

/// What a walk shows to.
pub(super) trait Visitor {
    /// A leaf, and which of its slots are in the span.
    fn leaf(&mut self, leaf: &Leaf, slots: Range<usize>) -> ControlFlow<()>;

    /// A node that is in the span as a whole. Says whether its number is all that was wanted; if
    /// not, its leaves follow.
    fn node(&mut self, _: &Count) -> bool {
        false
    }
}

impl<F: FnMut(&Leaf, Range<usize>) -> ControlFlow<()>> Visitor for F {
    fn leaf(&mut self, leaf: &Leaf, slots: Range<usize>) -> ControlFlow<()> {
        self(leaf, slots)
    }
}

/// What is left of a walk, as it is when the tree is let go.
pub(super) struct Walk<'a, V> {
    /// The first key.
    start: &'a [u8],
    /// The first key behind the last one.
    end: Option<&'a [u8]>,
    /// The last key comes first.
    backward: bool,
    /// Leaves that may still be read before the tree is let go.
    held: usize,
    visitor: &'a mut V,
}

impl<'a, V: Visitor> Walk<'a, V> {
    pub(super) fn new(
        start: &'a [u8],
        end: Option<&'a [u8]>,
        order: Order,
        visitor: &'a mut V,
    ) -> Self {
        let backward = order == Order::Descending;
        Self { start, end, backward, held: LEAVES_PER_HOLD, visitor }
    }
}

/// Why a walk stops.
pub(super) enum Stop {
    /// The visitor has enough.
    Enough,
    /// The tree is to be let go. Every key on this side of the fence was visited.
    Pause(Fence),
}

/// How many keys of the leaf are before `key`.
fn place(leaf: &Leaf, key: &[u8]) -> usize {
    leaf.find(key).unwrap_or_else(|place| place)
}

/// The inner nodes and the leaves. All leaves are equally deep.
pub(super) struct Tree {
    /// Which restored content this is: a walk that lets go of the tree and finds another epoch
    /// when it comes back has to start again.
    pub(super) epoch: u64,
    root: Inner,
}

/// A node above others.
#[derive(Default)]
struct Inner {
    /// One for each child. The first is the one that the node above has for this node, and empty
    /// at the left edge, so that every key has a leaf.
    fences: Fences,
    /// One for each child.
    counts: Vec<Count>,
    children: Children,
}

enum Children {
    Inners(Vec<Inner>),
    /// In one piece of memory: apart, each would keep the pages that it begins and ends on when
    /// everything around it has gone.
    Leaves(Vec<RwLock<Leaf>>),
}

impl Default for Children {
    fn default() -> Self {
        Self::Leaves(Vec::new())
    }
}

impl Default for Tree {
    fn default() -> Self {
        let children = Children::Leaves(vec![RwLock::new(Leaf::new())]);
        let (fences, counts) = (Fences::new([b"".as_slice()]), vec![Count::default()]);
        Self { epoch: 0, root: Inner { fences, counts, children } }
    }
}

impl Tree {
    /// The leaf that has `key` between its fences.
    pub(super) fn leaf_of(&self, key: &[u8]) -> Option<&RwLock<Leaf>> {
        let mut inner = &self.root;
        loop {
            let at = inner.fences.find(key);
            match &inner.children {
                Children::Inners(inners) => inner = inners.get(at)?,
                Children::Leaves(leaves) => return leaves.get(at),
            }
        }
    }

    /// Lets the writer change the leaf that has `key`, and counts what it says has changed.
    pub(super) fn change<T>(
        &self,
        key: &[u8],
        write: impl FnOnce(Option<&RwLock<Leaf>>) -> (T, Option<Change>),
    ) -> T {
        self.root.change(key, write).0
    }

    /// Shows the visitor what is left of its walk, or a part of that.
    pub(super) fn visit<V: Visitor>(&self, walk: &mut Walk<'_, V>) -> ControlFlow<Stop> {
        self.root.visit(None, walk)
    }

    /// Cuts the leaf that has `key` in two, so that there is room for it.
    pub(super) fn split(&mut self, key: &[u8]) {
        if let Some(right) = self.root.split(key, None) {
            let left = std::mem::take(&mut self.root);
            let fences = Fences::new([left.first_fence(), right.first_fence()]);
            let counts = vec![Count::sum(&left.counts), Count::sum(&right.counts)];
            let children = Children::Inners(vec![left, right]);
            self.root = Inner { fences, counts, children };
        }
    }

    /// Joins the leaf that has `key` to a neighbour, if they fit and leave room.
    pub(super) fn join(&mut self, key: &[u8]) {
        self.root.join(key, None);
        while let Children::Inners(inners) = &mut self.root.children
            && inners.len() == 1
            && let Some(only) = inners.pop()
        {
            self.root = only;
        }
    }
}

impl Inner {
    fn first_fence(&self) -> &[u8] {
        self.fences.get(0).unwrap_or_default()
    }

    /// The last child that may have keys before `end`.
    fn child_before(&self, end: &[u8]) -> usize {
        let at = self.fences.find(end);
        let none = self.fences.get(at).is_some_and(|fence| fence >= end);
        at.saturating_sub(usize::from(none))
    }

    fn change<T, W>(&self, key: &[u8], write: W) -> (T, Option<Change>)
    where
        W: FnOnce(Option<&RwLock<Leaf>>) -> (T, Option<Change>),
    {
        let at = self.fences.find(key);
        let (result, change) = match &self.children {
            Children::Inners(inners) => match inners.get(at) {
                Some(inner) => inner.change(key, write),
                None => write(None),
            },
            Children::Leaves(leaves) => write(leaves.get(at)),
        };
        if let Some((change, count)) = change.zip(self.counts.get(at)) {
            count.apply(change);
        }
        (result, change)
    }

    /// Visits the children that may have keys of the walk. `next` is the fence behind this node.
    fn visit<V: Visitor>(&self, next: Option<&[u8]>, walk: &mut Walk<'_, V>) -> ControlFlow<Stop> {
        let first = self.fences.find(walk.start);
        let last =
            walk.end.map_or(self.fences.len().saturating_sub(1), |end| self.child_before(end));
        let children = last.saturating_add(1).saturating_sub(first);
        for nth in 0..children {
            let nth =
                if walk.backward { children.saturating_sub(nth).saturating_sub(1) } else { nth };
            let at = first.saturating_add(nth);
            let behind = self.fences.get(at.saturating_add(1)).or(next);
            let Some(fence) = self.fences.get(at) else { break };
            // Only the first and the last can lie across an end of the walk.
            let begins = at > first || walk.start <= fence;
            let ends = match (walk.end, behind) {
                _ if at < last => true,
                (Some(end), Some(behind)) => behind <= end,
                (Some(_), None) => false,
                (None, _) => true,
            };
            let whole = begins && ends;
            if whole && self.counts.get(at).is_some_and(|count| walk.visitor.node(count)) {
                continue;
            }
            match &self.children {
                Children::Inners(inners) => {
                    let Some(inner) = inners.get(at) else { break };
                    inner.visit(behind, walk)?;
                }
                Children::Leaves(leaves) => {
                    let Some(leaf) = leaves.get(at) else { break };
                    walk.leaf(&leaf.read(), begins, ends)?;
                    walk.pause(fence, behind)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Cuts the leaf that has `key` in two. If this node becomes too large it is cut too, and its
    /// second part returned. `next` is the fence behind this node.
    fn split(&mut self, key: &[u8], next: Option<&[u8]>) -> Option<Self> {
        let at = self.fences.find(key);
        let behind = at.saturating_add(1);
        let next = self.fences.get(behind).or(next);
        let (fence, left, right) = match &mut self.children {
            Children::Inners(inners) => {
                let inner = inners.get_mut(at)?;
                let right = inner.split(key, next)?;
                let counts = (Count::sum(&inner.counts), Count::sum(&right.counts));
                let fence = Fence::from(right.first_fence());
                inners.insert(behind, right);
                (fence, counts.0, counts.1)
            }
            Children::Leaves(leaves) => {
                let left = leaves.get_mut(at)?.get_mut();
                let mut right = left.split(place(left, key));
                let last = left.last_key().unwrap_or_default();
                let fence = Fence::from(separator(last, right.first_key().unwrap_or(key)));
                left.set_shared(shared_bytes(self.fences.get(at)?, &fence));
                right.set_shared(next.map_or(0, |next| shared_bytes(&fence, next)));
                // Neither part has changed later than the whole.
                let (_, changed) = self.counts.get(at)?.load();
                let count =
                    |leaf: &Leaf| Count::new(leaf.live_slots(), changed.min(leaf.newest().get()));
                let counts = (count(left), count(&right));
                if leaves.len() == leaves.capacity() {
                    leaves.reserve_exact(GROWTH_LEAVES);
                }
                leaves.insert(behind, RwLock::new(right));
                (fence, counts.0, counts.1)
            }
        };
        self.fences.insert(behind, &fence);
        *self.counts.get_mut(at)? = left;
        self.counts.insert(behind, right);
        let len = self.fences.len();
        if len <= INNER_CHILDREN {
            return None;
        }
        // Keys that arrive in order leave full nodes behind.
        Some(self.split_off(if behind.saturating_add(1) == len { behind } else { len / 2 }))
    }

    fn split_off(&mut self, middle: usize) -> Self {
        let children = match &mut self.children {
            Children::Inners(inners) => Children::Inners(inners.split_off(middle)),
            Children::Leaves(leaves) => Children::Leaves(leaves.split_off(middle)),
        };
        self.fit();
        let (fences, counts) = (self.fences.split_off(middle), self.counts.split_off(middle));
        Self { fences, counts, children }
    }

    /// Gives back the room for more leaves. A node that has lost one will mostly lose more.
    fn fit(&mut self) {
        if let Children::Leaves(leaves) = &mut self.children {
            leaves.shrink_to_fit();
        }
    }

    /// Joins the leaf that has `key` to one beside it in the same node, and nodes that become
    /// sparse by that likewise. `next` is the fence behind this node.
    fn join(&mut self, key: &[u8], next: Option<&[u8]>) {
        let at = self.fences.find(key);
        if let Children::Inners(inners) = &mut self.children
            && let Some(inner) = inners.get_mut(at)
        {
            inner.join(key, self.fences.get(at.saturating_add(1)).or(next));
        }
        for left in at.saturating_sub(1)..=at {
            if self.fits(left) {
                self.merge(left, next);
                return;
            }
        }
    }

    /// Is there a child behind `left` that should be one with it?
    fn fits(&self, left: usize) -> bool {
        let right = left.saturating_add(1);
        let (left, right, sparse, joined) = match &self.children {
            Children::Inners(inners) => {
                let len = |at| inners.get(at).map(|inner: &Self| inner.fences.len());
                (len(left), len(right), SPARSE_CHILDREN, JOINED_CHILDREN)
            }
            Children::Leaves(leaves) => {
                let len = |at| leaves.get(at).map(|leaf: &RwLock<Leaf>| leaf.read().len());
                (len(left), len(right), SPARSE_SLOTS, JOINED_SLOTS)
            }
        };
        let Some((left, right)) = left.zip(right) else { return false };
        let less = left.min(right);
        less == 0 || (less <= sparse && left.saturating_add(right) <= joined)
    }

    /// Joins the child behind `left` to it.
    fn merge(&mut self, left: usize, next: Option<&[u8]>) -> Option<()> {
        let right = left.saturating_add(1);
        let next = self.fences.get(right.saturating_add(1)).or(next);
        match &mut self.children {
            Children::Inners(inners) => {
                let right = inners.remove(right);
                inners.get_mut(left)?.extend(right);
            }
            Children::Leaves(leaves) => {
                let mut right = leaves.remove(right).into_inner();
                let fence = self.fences.get(left)?;
                let left = leaves.get_mut(left)?.get_mut();
                // What the fences share shrinks, so the keys of both are within the new fences.
                left.set_shared(next.map_or(0, |next| shared_bytes(fence, next)));
                left.merge(&mut right);
            }
        }
        self.fences.remove(right);
        let count = self.counts.remove(right);
        let left = self.counts.get_mut(left)?;
        *left = Count::sum([&*left, &count]);
        self.fit();
        Some(())
    }

    /// Takes the children of the next node to the right.
    fn extend(&mut self, right: Self) {
        match (&mut self.children, right.children) {
            (Children::Inners(ours), Children::Inners(theirs)) => ours.extend(theirs),
            (Children::Leaves(ours), Children::Leaves(theirs)) => ours.extend(theirs),
            // All leaves are equally deep.
            _ => return,
        }
        self.fences.append(&right.fences);
        self.counts.extend(right.counts);
    }
}

impl<V: Visitor> Walk<'_, V> {
    /// Shows a leaf. An end that lies in it is searched for; one outside takes in the whole leaf.
    fn leaf(&mut self, leaf: &Leaf, begins: bool, ends: bool) -> ControlFlow<Stop> {
        let first = if begins { 0 } else { place(leaf, self.start) };
        let last = self.end.filter(|_| !ends).map_or(leaf.len(), |end| place(leaf, end));
        match self.visitor.leaf(leaf, first..last) {
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
            ControlFlow::Break(()) => ControlFlow::Break(Stop::Enough),
        }
    }

    /// Stops behind the leaf between these fences, if the tree was held for long enough.
    fn pause(&mut self, fence: &[u8], next: Option<&[u8]>) -> ControlFlow<Stop> {
        self.held = self.held.saturating_sub(1);
        let rest = if self.backward { Some(fence) } else { next };
        match rest {
            Some(rest) if self.held == 0 => ControlFlow::Break(Stop::Pause(Box::from(rest))),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Tree {
    /// Asserts what the fields promise. Returns how many leaves there are.
    pub(super) fn verify(&self) -> usize {
        assert!(self.root.first_fence().is_empty(), "every key has a leaf");
        let depth = self.root.depth();
        let single = matches!(&self.root.children, Children::Inners(inners) if inners.len() < 2);
        assert!(!single, "the root has something to choose from");
        self.root.verify(None, depth)
    }
}

#[cfg(any(test, fuzzing))]
#[expect(clippy::indexing_slicing, reason = "the lengths are asserted first")]
impl Inner {
    fn depth(&self) -> usize {
        match &self.children {
            Children::Inners(inners) => inners[0].depth() + 1,
            Children::Leaves(_) => 0,
        }
    }

    fn verify(&self, next: Option<&[u8]>, depth: usize) -> usize {
        let fences = &self.fences;
        fences.verify();
        assert!((1..=INNER_CHILDREN).contains(&fences.len()));
        assert_eq!(self.counts.len(), fences.len());
        let (mut leaves, mut children) = (0, 0);
        for (at, fence) in fences.iter().enumerate() {
            let next = fences.get(at + 1).or(next);
            let (live, changed) = self.counts[at].load();
            match &self.children {
                Children::Inners(inners) => {
                    children = inners.len();
                    assert_eq!(inners[at].first_fence(), fence);
                    let below = Count::sum(&inners[at].counts).load();
                    assert_eq!((live, changed), below, "of what is below");
                    leaves += inners[at].verify(next, depth - 1);
                }
                Children::Leaves(all) => {
                    children = all.len();
                    assert_eq!(depth, 0, "all leaves are equally deep");
                    let leaf = all[at].read();
                    leaf.verify(fence, next);
                    assert_eq!(live, leaf.live_slots());
                    assert!(changed >= leaf.changed(), "changes are not newer than they say");
                    leaves += 1;
                }
            }
        }
        assert_eq!(children, fences.len());
        leaves
    }
}

#[cfg(test)]
mod tests;
