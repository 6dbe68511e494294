//! A place in a line: what everything that is held one after the other stands on.
//!
//! A line is a directory of keys, a place in it one key that is attached to a session's lease
//! (`REC-5`, `REC-16`). Who has the lowest create revision is first. Who is not waits for the one
//! before it and for nobody else, so whoever leaves wakes one (`REC-8`).
//!
//! ```text
//!   jobs/1f-a-7   created at 8     first: it holds the lock, and its token is 8
//!   jobs/2c-b-9   created at 12      waits for jobs/1f-a-7 to go
//!   jobs/1f-a-11  created at 13      waits for jobs/2c-b-9 to go
//! ```
//!
//! ```text
//!   Line::enter ──► Held ── turn(rule) ──► it is the turn of this place: a guard is made of it
//!     enter.rs       │        wait.rs
//!                    ├── Lost ............ session over, key gone: whichever comes first (lost.rs)
//!                    ├── HeldTxn ......... commits only while the key is there   (held_txn.rs)
//!                    └── Leave, or Drop .. deletes the key                          (leave.rs)
//! ```
//!
//! What differs from one kind of line to another is the *rule* alone, which says what a place has
//! to see gone before its turn: a function from what this member sees to what is to be watched.
//!
//! Only to enter and to leave are writes. Whose turn it is each member sees by itself, in its own
//! state, however old: create revisions do not come back, so nobody gets in front of a place, and
//! who was first once stays first until its own key goes.
//!
//! # Invariants
//!
//! - A key is made once: lease, member and a number that its node gives once are in its name.
//!   So what deletes one, however late it comes, cannot hit another. It is etcd's layout but for
//!   the name behind the lease, and since only create revisions decide, etcd's clients stand in the
//!   same line.
//! - A place is told from what else is in its directory by its name and its lease: the name begins
//!   with the lease that the key is attached to, and goes on as ours do, or not at all as etcd's.
//!   Nothing else there is anybody's obstacle ([`is_place`]). Whoever has put such a key again
//!   without its lease has taken the place away, and its holder sees that too.
//! - A key that was asked for, and that nobody holds, is deleted (`REC-10`). What deletes it is
//!   tried until it is applied: a write that is refused or fails is left to the node
//!   (`core/replica/leftovers.rs`). Only with the node's end it is left to the lease.
//! - A key never comes to be behind its deletion. If it is known to be there, it cannot. If the
//!   write that makes it was given up at its deadline, a copy of it may be on its way: its deletion
//!   is not proposed before all writes have ended that the node took before, and so has a watermark
//!   above it. Whoever applies that applies no such copy any more. So no write here needs to last
//!   for longer than others do, and none holds up the window of proposals.
//! - What is over stays over: a session that is over, a key that was seen to be gone or that is
//!   being deleted. No place comes back, but for one that somebody else takes away and brings back,
//!   by two puts of its own key, before its holder gets to look: whoever writes keys of places by
//!   hand must not do that, since others may have had their turn in between.
//! - Nothing here is a thread or a timer: a wait that is dropped leaves nothing but a key that
//!   goes.
//!
//! Not here: what is done while one holds something (`lock/`, `election/`).

mod enter;
mod held_txn;
mod leave;
mod lost;
mod task;
mod wait;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

pub(super) use self::enter::{Entry, Line};
pub use self::held_txn::HeldTxn;
pub(super) use self::leave::{Leave, delete_in_background};
pub use self::lost::Lost;
pub(super) use self::task::{Manner, Task, impl_task, until_answered};
pub(super) use self::wait::{End, Sight, Stir, stands};
use super::lease::Holder;
use super::scope::Scope;
use crate::core::lease::Waiters;
use crate::core::mvcc::KeyValue;
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;
use crate::ids::{LeaseId, Revision};
use crate::store::Store;
use crate::sync::atomic::{AtomicBool, Ordering};

/// How many times more keys are read if there was no place among them. Where there is nothing but
/// places, one key is read.
const MORE: usize = 16;

/// A key in a line, and what is known of it.
pub(in crate::service) struct Place {
    pub(in crate::service) store: Store,
    pub(in crate::service) holder: Holder,
    /// As the handle shows it.
    pub(in crate::service) key: Bytes,
    /// With the handle's prefix.
    whole: Bytes,
    /// When the key was made: its create revision, which is the token.
    pub(in crate::service) since: Revision,
    /// The key was seen to be gone, or is being deleted. Never becomes false again.
    gone: AtomicBool,
    /// Who waits for that.
    losers: Waiters,
    /// Somebody sees to it that the key is deleted.
    left: AtomicBool,
}

/// Whoever has this stands in the line; dropped, it leaves it in the background.
pub(in crate::service) struct Held(Arc<Place>);

impl Place {
    pub(in crate::service) fn new(
        store: &Store,
        holder: Holder,
        key: Bytes,
        since: Revision,
    ) -> Result<Self> {
        let whole = store.scope().key(key.clone())?;
        let (gone, left) = (AtomicBool::new(false), AtomicBool::new(false));
        let (store, losers) = (store.clone(), Waiters::default());
        Ok(Self { store, holder, key, whole, since, gone, losers, left })
    }

    fn gate(&self) -> &Arc<dyn Gate> {
        self.store.gate()
    }

    fn scope(&self) -> &Scope {
        self.store.scope()
    }

    /// May nothing be relied on any more that was held here? As far as this member knows, which
    /// is certain of the session, and of the key is as new as what it has applied.
    pub(in crate::service) fn is_lost(&self) -> bool {
        self.gone.load(Ordering::SeqCst) || self.holder.is_over() || !self.is_there()
    }

    /// Until when nobody else can hold it, unless somebody takes the key away: known without I/O.
    /// Never a moment to come once it is lost.
    pub(in crate::service) fn valid_until(&self) -> Instant {
        let gate = self.gate();
        let deadline = self.holder.kept.deadline();
        // Before the clock is read, so that what is over now was over then.
        let lost = self.is_lost();
        gate.system_time(if lost { deadline.min(gate.now()) } else { deadline })
    }

    /// The key is seen to be gone. Nothing may be locked: see [`Waiters::wake`].
    fn set_gone(&self) {
        if !self.gone.swap(true, Ordering::SeqCst) {
            self.losers.wake();
        }
    }

    /// Is the key there, in the state of this member? It must have applied the entry that made it.
    fn is_there(&self) -> bool {
        let Ok(reader) = self.gate().reader() else { return false };
        let there =
            reader.get(&self.whole, None).is_ok_and(|(_, kv)| kv.is_some_and(|kv| self.is_of(&kv)));
        if !there {
            self.set_gone();
        }
        there
    }

    /// Others pass over a key that has lost its lease, so its holder must not rely on it.
    fn is_of(&self, kv: &KeyValue) -> bool {
        is_same(kv, self.since, self.holder.kept.lease())
    }

    /// Its key was deleted by an entry that is known to be applied.
    fn set_replaced(&self) {
        self.set_gone();
        self.left.store(true, Ordering::SeqCst);
    }

    /// Why nothing can be done any more.
    pub(in crate::service) fn loss(&self) -> Error {
        let key = self.key.escape_ascii();
        loss(&self.holder, format!("\"{key}\" of revision {} is held no more", self.since))
    }
}

/// Is that the key of a place, as it was made? A deletion leaves none.
fn is_same(kv: &KeyValue, since: Revision, lease: LeaseId) -> bool {
    kv.create_revision() == since && kv.lease() == lease
}

/// That something is lost; or, if the node is gone, that.
pub(in crate::service) fn loss(holder: &Holder, text: String) -> Error {
    match holder.gate.reader() {
        Ok(_) => Error::new(Kind::Lost, text),
        Err(ending) => ending,
    }
}

impl Held {
    pub(in crate::service) fn new(place: Place) -> Self {
        Self(Arc::new(place))
    }

    pub(in crate::service) fn place(&self) -> &Arc<Place> {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.leave_in_background();
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("key", &format_args!("\"{}\"", self.key.escape_ascii()))
            .field("since", &self.since)
            .field("lease", &self.holder.kept.lease())
            // Looking would make it known, and wake tasks: not while somebody only prints it.
            .field("is_lost", &(self.gone.load(Ordering::SeqCst) || self.holder.is_over()))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Is this a place of the line in the directory, or something else that somebody keeps there?
///
/// A place is called as the lease that it hangs on (so etcd's clients call theirs), or as that, a
/// member and a number, and what a kind of line adds behind another "-".
pub(in crate::service) fn is_place(directory: &[u8], kv: &KeyValue) -> bool {
    let Some(name) = kv.key().strip_prefix(directory) else { return false };
    if kv.lease() == LeaseId::new(0) {
        return false;
    }
    let mut parts = name.split(|byte| *byte == b'-');
    if parts.next() != Some(format!("{:x}", kv.lease().get()).as_bytes()) {
        return false;
    }
    let is_hex = |part: &[u8]| {
        !part.is_empty() && part.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (None, ..) => true,
        (Some(member), Some(number), ending, None) => {
            let is_plain = |part: &[u8]| part.iter().all(u8::is_ascii_alphanumeric);
            is_hex(member) && is_hex(number) && ending.is_none_or(is_plain)
        }
        _ => false,
    }
}

/// The directory `name` + "/" (`REC-5`), which no other name is in (`REC-15`). A name that is
/// empty is refused.
pub(in crate::service) fn directory(name: &Bytes) -> Result<Bytes> {
    if name.is_empty() {
        return Err(Error::invalid("the name is empty: what is held has a name"));
    }
    let mut directory = BytesMut::with_capacity(name.len().saturating_add(1));
    directory.put_slice(name);
    directory.put_u8(b'/');
    Ok(directory.freeze())
}
