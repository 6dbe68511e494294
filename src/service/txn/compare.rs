//! What a transaction asks before it does anything.

use bytes::Bytes;

use crate::core::machine::txn::{self, Operator, Target};
use crate::error::Result;
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;
use crate::service::scope::Scope;

/// A condition of a [`Txn`](crate::Txn): on one key, or on every key of a range.
///
/// On a range it holds if it holds for every key that is there. Where no key is, one that is
/// missing is judged (`TXN-4`): its version, revisions and lease are 0, and about its value nothing
/// holds, not even that it differs (`TXN-3`).
///
/// ```
/// use quorate::{Compare, KeyRange, Revision};
///
/// let seen = Revision::new(7);
/// let unchanged = Compare::mod_revision("color").equals(seen);
/// let green = Compare::value("color").equals("green");
/// let free = Compare::absent("lock");
/// let nothing_new = Compare::mod_revision(KeyRange::prefix("jobs/")).less_than(seen.next());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a condition is for a transaction"]
pub struct Compare {
    inner: txn::Compare,
}

/// A condition that is half said: what is compared, not yet with what.
///
/// ```
/// let condition = quorate::Compare::version("color").greater_than(3);
/// ```
#[derive(Clone, Debug)]
#[must_use = "it says what is compared, not yet with what"]
pub struct Operand<T> {
    range: KeyRange,
    target: fn(T) -> Target,
}

impl Compare {
    /// Compares how often the key was put in its current life; 0 if it is not there.
    ///
    /// ```
    /// let written_once = quorate::Compare::version("color").equals(1);
    /// ```
    pub fn version(keys: impl Into<KeyRange>) -> Operand<u64> {
        Operand { range: keys.into(), target: Target::Version }
    }

    /// Compares the revision of the put that began the key's current life; 0 if it is not there.
    ///
    /// ```
    /// # let mine = quorate::Revision::new(7);
    /// let still_mine = quorate::Compare::create_revision("lock/me").equals(mine);
    /// ```
    pub fn create_revision(keys: impl Into<KeyRange>) -> Operand<Revision> {
        Operand { range: keys.into(), target: Target::CreateRevision }
    }

    /// Compares the revision of the key's last put; 0 if it is not there.
    ///
    /// ```
    /// # let seen = quorate::Revision::new(7);
    /// let unchanged = quorate::Compare::mod_revision("color").equals(seen);
    /// ```
    pub fn mod_revision(keys: impl Into<KeyRange>) -> Operand<Revision> {
        Operand { range: keys.into(), target: Target::ModRevision }
    }

    /// Compares the value, bytewise. A key that is not there has none, and nothing holds of it.
    ///
    /// ```
    /// let green = quorate::Compare::value("color").equals("green");
    /// ```
    pub fn value(keys: impl Into<KeyRange>) -> Operand<Bytes> {
        Operand { range: keys.into(), target: Target::Value }
    }

    /// Compares the lease that the key ends with; 0 for none, and if it is not there.
    ///
    /// ```
    /// use quorate::{Compare, LeaseId};
    ///
    /// let permanent = Compare::lease("color").equals(LeaseId::new(0));
    /// ```
    pub fn lease(keys: impl Into<KeyRange>) -> Operand<LeaseId> {
        Operand { range: keys.into(), target: Target::Lease }
    }

    /// The key is not there; of a range, no key is.
    ///
    /// ```
    /// let free = quorate::Compare::absent("lock");
    /// ```
    pub fn absent(keys: impl Into<KeyRange>) -> Self {
        Self::version(keys).equals(0)
    }

    /// The key is there; of a range, at least one key is.
    ///
    /// ```
    /// let taken = quorate::Compare::exists("lock");
    /// ```
    pub fn exists(keys: impl Into<KeyRange>) -> Self {
        Self::version(keys).greater_than(0)
    }

    pub(super) fn build(&self, scope: &Scope) -> Result<txn::Compare> {
        let range = scope.range(self.inner.range.clone())?;
        Ok(txn::Compare { range, ..self.inner.clone() })
    }
}

impl<T> Operand<T> {
    fn compare(self, operator: Operator, operand: T) -> Compare {
        let target = (self.target)(operand);
        Compare { inner: txn::Compare { range: self.range, operator, target } }
    }
}

/// The four operators, for what can be an operand of this type. `$made` is it made of `$operand`.
macro_rules! impl_operators {
    ($type:ty, $given:ty, $operand:ident => $made:expr, $half:literal, $example:literal) => {
        impl Operand<$type> {
            /// What is stored is equal to `operand`.
            ///
            /// ```
            #[doc = concat!("let condition = ", $half, ".equals(", $example, ");")]
            /// ```
            pub fn equals(self, $operand: $given) -> Compare {
                self.compare(Operator::Equal, $made)
            }

            /// What is stored is not equal to `operand`.
            ///
            /// ```
            #[doc = concat!("let condition = ", $half, ".not_equals(", $example, ");")]
            /// ```
            pub fn not_equals(self, $operand: $given) -> Compare {
                self.compare(Operator::NotEqual, $made)
            }

            /// What is stored is greater than `operand`.
            ///
            /// ```
            #[doc = concat!("let condition = ", $half, ".greater_than(", $example, ");")]
            /// ```
            pub fn greater_than(self, $operand: $given) -> Compare {
                self.compare(Operator::Greater, $made)
            }

            /// What is stored is less than `operand`.
            ///
            /// ```
            #[doc = concat!("let condition = ", $half, ".less_than(", $example, ");")]
            /// ```
            pub fn less_than(self, $operand: $given) -> Compare {
                self.compare(Operator::Less, $made)
            }
        }
    };
}

impl_operators!(u64, u64, operand => operand, "quorate::Compare::version(\"color\")", "3");
impl_operators!(
    Revision, Revision, operand => operand,
    "quorate::Compare::mod_revision(\"color\")", "quorate::Revision::new(7)"
);
impl_operators!(
    LeaseId, LeaseId, operand => operand,
    "quorate::Compare::lease(\"color\")", "quorate::LeaseId::new(7)"
);
impl_operators!(
    Bytes, impl Into<Bytes>, operand => operand.into(),
    "quorate::Compare::value(\"color\")", "\"green\""
);
