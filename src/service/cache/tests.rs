//! A cache over a node without threads.
