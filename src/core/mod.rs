//! (being written)

pub(crate) mod machine;
pub(crate) mod mvcc;
pub(crate) mod replica;
