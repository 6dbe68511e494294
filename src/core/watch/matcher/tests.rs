//! The matcher beside a list of ranges, each of which is asked.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A key of few, so that starts, ends and keys meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0), Just(1), Just(2), Just(0xff)], 0..3)
}

/// Single keys and all forms of intervals, with those that select nothing among them.
fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        2 => key().prop_map(KeyRange::key),
        4 => (key(), key()).prop_map(|(start, end)| KeyRange::from(start..end)),
        1 => key().prop_map(KeyRange::prefix),
        1 => key().prop_map(KeyRange::starting_at),
        1 => Just(KeyRange::all()),
    ]
}

#[derive(Debug, Clone)]
enum Op {
    Enter(KeyRange),
    Remove(KeyRange),
    /// One of those that are there.
    RemoveAt(usize),
    Match(Vec<u8>),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => range().prop_map(Op::Enter),
        1 => range().prop_map(Op::Remove),
        2 => any::<usize>().prop_map(Op::RemoveAt),
        4 => key().prop_map(Op::Match),
    ]
}

/// Beside each range is what was made for it.
#[derive(Default)]
struct Twin(Vec<(KeyRange, usize)>);

impl Twin {
    fn get(&self, range: &KeyRange) -> Option<&usize> {
        self.0.iter().find(|(other, _)| other == range).map(|(_, value)| value)
    }

    fn remove(&mut self, range: &KeyRange) -> Option<usize> {
        let at = self.0.iter().position(|(other, _)| other == range)?;
        Some(self.0.remove(at).1)
    }

    fn matching(&self, key: &[u8]) -> Vec<usize> {
        self.sorted(|range| range.contains(key))
    }

    /// In the order that the matcher has: single keys first, and no end is behind every end.
    fn sorted(&self, chosen: impl Fn(&KeyRange) -> bool) -> Vec<usize> {
        let mut chosen: Vec<_> = self.0.iter().filter(|(range, _)| chosen(range)).collect();
        let open = |range: &KeyRange| range.single().is_none() && range.end().is_none();
        chosen.sort_by(|(a, _), (b, _)| {
            let order = |range| (KeyRange::single(range).is_none(), range.start(), open(range));
            order(a).cmp(&order(b)).then(a.end().cmp(&b.end()))
        });
        chosen.into_iter().map(|(_, value)| *value).collect()
    }
}

fn matching<T: Clone>(matcher: &Matcher<T>, key: &[u8]) -> Vec<T> {
    let mut found = Vec::new();
    matcher.matching(key, &mut |value| found.push(value.clone()));
    found
}

proptest! {
    /// WAT-22, SEL-1, SEL-3: under every order of coming and going.
    #[test]
    fn wat_22_a_key_is_in_the_ranges_that_contain_it(ops in vec(op(), 1..160)) {
        let (mut matcher, mut twin) = (Matcher::default(), Twin::default());
        for (number, op) in ops.into_iter().enumerate() {
            match op {
                Op::Enter(range) => {
                    prop_assert_eq!(matcher.get(&range), twin.get(&range));
                    let there = twin.get(&range).copied();
                    let entry = *matcher.entry(&range, || {
                        assert!(there.is_none(), "made although it is there");
                        number
                    });
                    prop_assert_eq!(entry, there.unwrap_or(number));
                    if there.is_none() {
                        twin.0.push((range, number));
                    }
                }
                Op::Remove(range) => {
                    prop_assert_eq!(matcher.remove(&range), twin.remove(&range));
                    prop_assert_eq!(matcher.get(&range), None);
                }
                Op::RemoveAt(at) => {
                    let there = at.checked_rem(twin.0.len()).map(|at| twin.0[at].0.clone());
                    if let Some(range) = there {
                        prop_assert_eq!(matcher.remove(&range), twin.remove(&range));
                    }
                }
                Op::Match(key) => prop_assert_eq!(matching(&matcher, &key), twin.matching(&key)),
            }
            matcher.ranges.verify();
            prop_assert_eq!(matcher.len(), twin.0.len());
            prop_assert_eq!(matcher.is_empty(), twin.0.is_empty());
        }
        prop_assert_eq!(matcher.values().copied().collect::<Vec<_>>(), twin.sorted(|_| true));
        for (range, value) in &twin.0 {
            prop_assert_eq!(matcher.get(range), Some(value));
        }
    }
}

/// As text, numbers have their order.
fn text(number: usize) -> String {
    format!("/jobs/{number:05}")
}

/// The keys that begin with the number.
fn prefix(number: usize) -> KeyRange {
    KeyRange::prefix(text(number))
}

const MANY: usize = 10_000;

/// No AVL tree of `MANY` nodes has more levels.
const LEVELS: usize = 18;

fn filled(numbers: impl Iterator<Item = usize>) -> Matcher<usize> {
    let mut matcher = Matcher::default();
    for number in numbers {
        matcher.entry(&prefix(number), || number);
    }
    matcher
}

#[test]
fn the_tree_stays_low_in_whatever_order_ranges_come_and_go() {
    let inwards = |nth: usize| if nth.is_multiple_of(2) { nth / 2 } else { MANY - 1 - nth / 2 };
    let scattered = |nth: usize| nth * 7919 % MANY;
    let orders: [&dyn Fn(usize) -> usize; 4] =
        [&|nth| nth, &|nth| MANY - 1 - nth, &inwards, &scattered];
    for order in orders {
        let mut matcher = filled((0..MANY).map(order));
        assert!(matcher.ranges.verify() <= LEVELS);
        assert!(matcher.values().copied().eq(0..MANY));
        // All but every 64th go, from one end on.
        for number in (0..MANY).filter(|number| number % 64 != 0) {
            assert_eq!(matcher.remove(&prefix(number)), Some(number));
            if number % 512 == 1 {
                matcher.ranges.verify();
            }
        }
        assert!(matcher.ranges.verify() <= 10);
        assert!(matcher.values().copied().eq((0..MANY).step_by(64)));
    }
}

/// WAT-22: what has nothing to do with a key is not looked at.
#[test]
fn wat_22_other_ranges_cost_nothing() {
    let mut matcher = filled(0..MANY);
    let looks = |matcher: &Matcher<usize>, number| {
        let key = format!("{}/state", text(number));
        let found = matching(matcher, key.as_bytes()).len();
        (matcher.ranges.looks(key.as_bytes()), found)
    };
    for number in [0, 1, MANY / 3, MANY / 2, MANY - 1] {
        let (looks, found) = looks(&matcher, number);
        assert_eq!(found, 1);
        assert!(looks <= 2 * LEVELS, "{looks} for {number}");
    }
    assert!(matcher.ranges.looks(b"/a") <= LEVELS, "none has begun");
    assert_eq!(matcher.ranges.looks(b"/k"), 0, "all have ended");
    // Some that go on over many others do not make it look at those.
    matcher.entry(&KeyRange::all(), || MANY);
    matcher.entry(&KeyRange::starting_at(text(10)), || MANY + 1);
    matcher.entry(&KeyRange::prefix("/jobs/"), || MANY + 2);
    for number in [5, MANY / 2, MANY - 1] {
        let (looks, found) = looks(&matcher, number);
        assert_eq!(found, if number < 10 { 3 } else { 4 });
        assert!(looks <= (found + 1) * LEVELS, "{looks} for {number}");
    }
}

#[test]
fn sel_3_a_range_that_selects_nothing_is_an_entry_that_no_key_finds() {
    let mut matcher = Matcher::default();
    let ranges = [KeyRange::from("b".."a"), KeyRange::from("b".."b"), KeyRange::from(.."\0")];
    for (number, range) in ranges.iter().enumerate() {
        assert_eq!(*matcher.entry(range, || number), number);
    }
    for key in ["", "\0", "\0\0", "a", "aa", "b", "b\0", "c"] {
        assert!(matching(&matcher, key.as_bytes()).is_empty(), "{key:?}");
    }
    for (number, range) in ranges.iter().enumerate() {
        assert_eq!(matcher.remove(range), Some(number));
    }
    assert!(matcher.is_empty());
}

#[test]
fn sel_1_a_key_and_an_interval_of_that_key_alone_are_two_entries() {
    let mut matcher = Matcher::default();
    let (single, interval) = (KeyRange::key("a"), KeyRange::from("a".."a\0"));
    matcher.entry(&interval, || "interval");
    matcher.entry(&single, || "single");
    assert_eq!(matching(&matcher, b"a"), ["single", "interval"]);
    assert_eq!(matcher.remove(&single), Some("single"));
    assert_eq!(matching(&matcher, b"a"), ["interval"]);
}

#[test]
fn entries_share_the_bytes_of_their_ranges() {
    let mut matcher = Matcher::default();
    let (single, interval) = (KeyRange::key("a".repeat(99)), KeyRange::prefix("b".repeat(99)));
    matcher.entry(&single, Arc::<()>::default);
    matcher.entry(&interval, Arc::<()>::default);
    let (key, _) = matcher.keys.first_key_value().unwrap();
    assert_eq!(key.as_ptr(), single.start().as_ptr());
    let bytes = |(start, end): (&[u8], Option<&[u8]>)| (start.as_ptr(), end.map(<[u8]>::as_ptr));
    let root = matcher.ranges.root().unwrap();
    assert_eq!(bytes(root), bytes((interval.start(), interval.end())));
    const { assert!(Intervals::<Arc<()>>::NODE_BYTES <= 128) };
}
