//! (being written)
pub(crate) mod consensus;
