//! Intervals of keys, and which of them have a key.
//!
//! ```text
//!               ["d", "f")  ..z                 an interval, and beside it the largest end
//!              /                  \             at or below its node
//!   ["a", "c")  ..z          ["k", "p")  ..p
//!              \
//!         ["b", "z")  ..z
//! ```
//!
//! The nodes are in the order of (start, end). A search for a key leaves out what starts behind the
//! key, by the order, and every subtree whose largest end is not behind the key. So it goes down
//! once to where intervals start that start with the key, and leaves this way only for subtrees in
//! which it finds something. What it costs grows with the depth and with what it finds.
//!
//! It is an AVL tree. A B-tree would be denser, but intervals are few beside single keys, and the
//! standard library's cannot carry the largest end. A treap is shorter, but whoever can guess its
//! priorities and choose the ranges can make a list of it.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::{iter, mem};

use bytes::Bytes;

use crate::keys::KeyRange;

/// Where an interval ends. The order of the variants is theirs: no end is behind every end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum End<B> {
    /// The first key behind it.
    Before(B),
    Open,
}

impl<B: AsRef<[u8]>> End<B> {
    fn as_deref(&self) -> End<&[u8]> {
        match self {
            Self::Before(end) => End::Before(end.as_ref()),
            Self::Open => End::Open,
        }
    }

    fn is_behind(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => end.as_ref() > key,
            Self::Open => true,
        }
    }
}

/// What orders the nodes: where an interval starts, then where it ends.
type Place<'a> = (&'a [u8], End<&'a [u8]>);

fn place(range: &KeyRange) -> Place<'_> {
    (range.start(), range.end().map_or(End::Open, End::Before))
}

/// Intervals with an end or without one. A range of a single key is none.
pub(super) struct Intervals<T> {
    root: Link<T>,
    /// How many there are.
    len: usize,
}

impl<T> Default for Intervals<T> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<T> Intervals<T> {
    /// The entry of exactly this range, made if it is not there.
    pub(super) fn entry(&mut self, range: &KeyRange, make: impl FnOnce() -> T) -> &T {
        let (new, node) = match self.root {
            Some(ref mut root) => (root.insert(range, make), root.nearest(&place(range))),
            None => (true, &**self.root.insert(Node::leaf(range, make))),
        };
        self.len = self.len.saturating_add(usize::from(new));
        &node.value
    }

    /// Takes out the entry of exactly this range.
    pub(super) fn remove(&mut self, range: &KeyRange) -> Option<T> {
        let value = remove(&mut self.root, &place(range))?;
        self.len = self.len.saturating_sub(1);
        Some(value)
    }

    /// The entry of exactly this range.
    #[cfg(test)]
    pub(super) fn get(&self, range: &KeyRange) -> Option<&T> {
        let place = place(range);
        let node = self.root.as_ref()?.nearest(&place);
        node.side_of(&place).is_none().then_some(&node.value)
    }

    /// Shows the entry of every interval that has the key, in the order of the nodes.
    pub(super) fn matching<'a>(&'a self, key: &[u8], found: &mut impl FnMut(&'a T)) {
        search(self.root.as_deref(), key, &mut |node| {
            if node.has(key) {
                found(&node.value);
            }
        });
    }

    /// Every entry, in the order of the nodes.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        let (mut next, mut above) = (self.root.as_deref(), Vec::new());
        iter::from_fn(move || {
            while let Some(node) = next {
                above.push(node);
                next = node.left.as_deref();
            }
            let node = above.pop()?;
            next = node.right.as_deref();
            Some(&node.value)
        })
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

type Link<T> = Option<Box<Node<T>>>;

/// What goes down the tree may call itself at each level. The two below a node differ by one in
/// height at most, so a tree of `n` nodes has less than `1.45 * log2(n + 2)` levels: a hundred are
/// more than memory has room for.
struct Node<T> {
    start: Bytes,
    end: End<Bytes>,
    value: T,
    /// All in here are before this node.
    left: Link<T>,
    /// All in here are behind this node.
    right: Link<T>,
    /// The largest end of this node and all below.
    largest: End<Bytes>,
    /// One more than the higher of the two below has.
    height: u8,
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

impl<T> Node<T> {
    /// A node with nothing below. It shares the range's bytes.
    fn leaf(range: &KeyRange, make: impl FnOnce() -> T) -> Box<Self> {
        let (start, end) = range.selector();
        let end = if range.end().is_some() { End::Before(end) } else { End::Open };
        let (largest, value) = (end.clone(), make());
        Box::new(Self { start, end, value, left: None, right: None, largest, height: 1 })
    }

    /// Puts a node of this range below, if there is none. Says whether it did.
    fn insert(self: &mut Box<Self>, range: &KeyRange, make: impl FnOnce() -> T) -> bool {
        let Some(side) = self.side_of(&place(range)) else { return false };
        let new = match self.child_mut(side) {
            Some(child) => child.insert(range, make),
            none => {
                *none = Some(Self::leaf(range, make));
                true
            }
        };
        if new {
            self.balance();
        }
        new
    }

    /// Makes true again what the fields promise, after one node has come or gone below.
    fn balance(self: &mut Box<Self>) {
        let (left, right) = (height(self.child(Side::Left)), height(self.child(Side::Right)));
        let high = match left.cmp(&right) {
            Greater => Side::Left,
            Less | Equal => Side::Right,
        };
        if left.abs_diff(right) < 2 {
            return self.update();
        }
        if let Some(child) = self.child_mut(high)
            && height(child.child(high.other())) > height(child.child(high))
        {
            // What is too high lies between the two, and would only change sides with the child.
            child.raise(high.other());
        }
        self.raise(high);
    }

    /// Rotates: the child on this side takes the node's place, and has it below on the other side.
    fn raise(self: &mut Box<Self>, side: Side) {
        let Some(mut node) = self.child_mut(side).take() else { return };
        mem::swap(self, &mut node);
        *node.child_mut(side) = self.child_mut(side.other()).take();
        node.update();
        *self.child_mut(side.other()) = Some(node);
        self.update();
    }

    /// Works out what is kept of the nodes below, which is right in the two directly below.
    fn update(&mut self) {
        let (left, right) = (self.left.as_deref(), self.right.as_deref());
        self.height = height(left).max(height(right)).saturating_add(1);
        let below = [left, right].into_iter().flatten().map(|node| &node.largest);
        self.largest = below.fold(&self.end, Ord::max).clone();
    }

    fn child_mut(&mut self, side: Side) -> &mut Link<T> {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    fn child(&self, side: Side) -> Option<&Self> {
        match side {
            Side::Left => self.left.as_deref(),
            Side::Right => self.right.as_deref(),
        }
    }

    /// Where to look for the place. None: it is this node's own.
    fn side_of(&self, place: &Place<'_>) -> Option<Side> {
        match place.cmp(&(&self.start, self.end.as_deref())) {
            Less => Some(Side::Left),
            Equal => None,
            Greater => Some(Side::Right),
        }
    }

    /// The node of this place, or, where there is none, the one that it would be put below.
    fn nearest(&self, place: &Place<'_>) -> &Self {
        let mut node = self;
        while let Some(side) = node.side_of(place)
            && let Some(child) = node.child(side)
        {
            node = child;
        }
        node
    }

    fn has(&self, key: &[u8]) -> bool {
        self.start <= key && self.end.is_behind(key)
    }
}

fn height<T>(node: Option<&Node<T>>) -> u8 {
    node.map_or(0, |node| node.height)
}

/// Shows every node that has the key, and those between them that it cannot leave out.
fn search<'a, T>(mut next: Option<&'a Node<T>>, key: &[u8], see: &mut impl FnMut(&'a Node<T>)) {
    while let Some(node) = next
        && node.largest.is_behind(key)
    {
        search(node.left.as_deref(), key, see);
        see(node);
        if node.start > key {
            break;
        }
        next = node.right.as_deref();
    }
}

fn remove<T>(link: &mut Link<T>, place: &Place<'_>) -> Option<T> {
    let node = link.as_mut()?;
    let Some(side) = node.side_of(place) else {
        let mut node = link.take()?;
        *link = join(node.left.take(), node.right.take());
        return Some(node.value);
    };
    let value = remove(node.child_mut(side), place)?;
    node.balance();
    Some(value)
}

/// One tree of the two that were below a node.
fn join<T>(left: Link<T>, mut right: Link<T>) -> Link<T> {
    let Some(mut first) = take_first(&mut right) else { return left };
    (first.left, first.right) = (left, right);
    first.balance();
    Some(first)
}

fn take_first<T>(link: &mut Link<T>) -> Link<T> {
    let node = link.as_mut()?;
    if node.left.is_some() {
        let first = take_first(&mut node.left);
        node.balance();
        return first;
    }
    let mut first = link.take()?;
    *link = first.right.take();
    Some(first)
}

#[cfg(test)]
impl<T> Intervals<T> {
    /// What an interval costs, without the bytes that it shares.
    pub(super) const NODE_BYTES: usize = size_of::<Node<T>>();

    /// Asserts what the fields promise. Returns how many levels there are.
    pub(super) fn verify(&self) -> usize {
        let mut places = Vec::new();
        let levels = self.root.as_ref().map_or(0, |root| root.verify(&mut places));
        assert!(places.is_sorted_by(|a, b| a < b), "in order, and each once");
        assert_eq!(places.len(), self.len);
        levels
    }

    /// Where the interval at the root starts and ends.
    pub(super) fn root(&self) -> Option<(&[u8], Option<&[u8]>)> {
        let root = self.root.as_ref()?;
        let end = match root.end.as_deref() {
            End::Before(end) => Some(end),
            End::Open => None,
        };
        Some((&root.start, end))
    }

    /// How many nodes a search for the key passes over.
    pub(super) fn looks(&self, key: &[u8]) -> usize {
        let mut looks = 0;
        search(self.root.as_deref(), key, &mut |_| looks += 1);
        looks
    }
}

#[cfg(test)]
impl<T> Node<T> {
    fn verify<'a>(&'a self, places: &mut Vec<Place<'a>>) -> usize {
        let left = self.left.as_ref().map_or(0, |node| node.verify(places));
        places.push((&self.start, self.end.as_deref()));
        let right = self.right.as_ref().map_or(0, |node| node.verify(places));
        assert!(left.abs_diff(right) < 2, "{left} and {right} levels");
        let levels = left.max(right) + 1;
        assert_eq!(usize::from(self.height), levels);
        let below = [&self.left, &self.right].into_iter().flatten().map(|node| &node.largest);
        assert!(below.chain([&self.end]).max() == Some(&self.largest), "the largest end");
        levels
    }
}
