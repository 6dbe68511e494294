//! The store beside its twin: the same as the property test in `core/mvcc/tests.rs`, led by the
//! code that is reached and not by chance.
//!
//! What is promised: every answer is the twin's, at every revision, of every range, in pages of
//! every size, with every option; and so is the history that an image and a hash are made of, now
//! and as it was pinned, wherever a removal is (`DM-*`, `KV-*`, `CMP-*`, `HSH-3`).

use super::input::Input;
use crate::core::mvcc::twin::{KEYS, Look, Op, Pair};

/// The twin looks through everything it has for each answer.
const STEPS: usize = 48;

/// Operations, by the byte that asks for them.
pub(super) mod op {
    pub(in super::super) const PUT: u8 = 0;
    pub(in super::super) const PUT_MANY: u8 = 1;
    pub(in super::super) const DELETE: u8 = 2;
    pub(in super::super) const COMPACT: u8 = 3;
    pub(in super::super) const PIN: u8 = 4;
    pub(in super::super) const RESTORE: u8 = 5;
    pub(in super::super) const TIDY: u8 = 6;
    pub(in super::super) const READ: u8 = 7;
    pub(in super::super) const COUNT: u8 = 9;
}

/// Runs a case: operations, each with the read that follows it.
pub fn mvcc_model(data: &[u8]) {
    let mut input = Input::new(data);
    let mut pair = Pair::new();
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let op = input.byte();
        let (from, to) = (input.short(), input.short());
        // What is left of the two says the options of the read: there are 73 parts of each.
        let dials = u32::from(from / KEYS) * 73 + u32::from(to / KEYS);
        let (from, to) = (from % KEYS, to % KEYS);
        let number = input.byte();
        pair.apply(&match op % op::COUNT {
            op::PUT => Op::Put(from, number),
            op::PUT_MANY => Op::PutMany(from, u16::from(number)),
            op::DELETE => Op::Delete(from, to),
            op::COMPACT => Op::Compact(u64::from(number % 11)),
            op::PIN => Op::Pin,
            op::RESTORE => Op::Restore,
            op::TIDY => Op::Tidy(usize::from(number)),
            op::READ => Op::Read(u64::from(number % 11)),
            _ => Op::EndRead,
        });
        let (tenths, limit) = (u64::from(op / op::COUNT % 11), usize::from(number));
        pair.compare(&Look { from, to, tenths, limit, dials });
        pair.compare_history(limit);
    }
    pair.finish();
}
