//! The keys of a queue.
//!
//! ```text
//!   queue "jobs"           jobs/00000000000000a7-7-1f
//!                               │                │ └─ a number that its member gave once
//!                               │                └─── the member that enqueued
//!                               └──────────────────── a revision before that of the item
//!   priority queue "jobs"  jobs/p00005-00000000000000a7-7-1f
//!   a claim on either      jobs/~00000000000000a7-7-1f        of the same rest
//! ```
//!
//! What is told apart by form cannot be mistaken: in `jobs/` may also be the keys of a queue that
//! is called `jobs/urgent`, and they are nobody's concern here.

use bytes::Bytes;

use crate::ids::{NodeId, Revision};
use crate::keys::KeyRange;

/// Between an item's directory and the name of its claim. Behind all letters and digits.
const CLAIM: &str = "~";

/// Where a queue is.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Ends with a slash (`REC-40`).
    directory: Bytes,
    has_priorities: bool,
}

/// What the name of an item says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) priority: u16,
    /// The item was created at a later revision than this.
    pub(super) behind: Revision,
}

impl Name {
    pub(super) const LONGEST: Self = Self { priority: u16::MAX, behind: Revision::new(u64::MAX) };
}

impl Layout {
    pub(super) fn new(name: &[u8], has_priorities: bool) -> Self {
        Self { directory: [name, b"/"].concat().into(), has_priorities }
    }

    /// The key of an item that is to be created behind some revision.
    pub(super) fn item(&self, name: Name, member: NodeId, number: u64) -> Bytes {
        let Name { priority, behind } = name;
        let rest = format!("{:016x}-{:x}-{number:x}", behind.get(), member.get());
        let rest = if self.has_priorities { format!("p{priority:05}-{rest}") } else { rest };
        self.under(rest.as_bytes())
    }

    /// What the name of an item says; nothing if it is none of this queue.
    pub(super) fn parse(&self, key: &[u8]) -> Option<Name> {
        let mut rest = key.strip_prefix(&*self.directory)?;
        let mut priority = 0;
        if self.has_priorities {
            let (digits, behind) = rest.strip_prefix(b"p")?.split_at_checked(5)?;
            priority = std::str::from_utf8(digits).ok()?.parse().ok()?;
            rest = behind.strip_prefix(b"-")?;
        }
        let (digits, rest) = rest.split_at_checked(16)?;
        let behind = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        let is_part = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_hexdigit);
        let mut parts = rest.strip_prefix(b"-")?.split(|byte| *byte == b'-');
        let rest_is = parts.next().is_some_and(is_part) && parts.next().is_some_and(is_part);
        let name = Name { priority, behind: Revision::new(behind) };
        (rest_is && parts.next().is_none()).then_some(name)
    }

    /// Where all items are, in the order of their names.
    pub(super) fn items(&self) -> KeyRange {
        let (first, behind) = if self.has_priorities { ("p", "q") } else { ("0", "g") };
        (self.under(first.as_bytes())..self.under(behind.as_bytes())).into()
    }

    /// Where items are that come before all of this priority; nothing if there can be none.
    pub(super) fn more_urgent(&self, priority: u16) -> Option<KeyRange> {
        if priority == 0 {
            return None;
        }
        let behind = self.under(format!("p{priority:05}").as_bytes());
        Some((self.under(b"p")..behind).into())
    }

    /// The key that says that an item is somebody's.
    pub(super) fn claim(&self, item: &[u8]) -> Bytes {
        let rest = item.get(self.directory.len()..).unwrap_or_default();
        self.under(&[CLAIM.as_bytes(), rest].concat())
    }

    pub(super) fn directory(&self) -> &Bytes {
        &self.directory
    }

    /// Items and claims.
    pub(super) fn all(&self) -> KeyRange {
        KeyRange::prefix(self.directory.clone())
    }

    fn under(&self, rest: &[u8]) -> Bytes {
        [&self.directory, rest].concat().into()
    }
}
