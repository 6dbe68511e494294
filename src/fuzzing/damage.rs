//! What can become of a file.

use super::input::Input;

/// Kinds of damage, by the byte that asks for them.
pub(super) const FLIP: u8 = 0;
pub(super) const FILL: u8 = 1;
pub(super) const CUT: u8 = 2;
pub(super) const EXTEND: u8 = 3;
pub(super) const MOVE: u8 = 4;
pub(super) const WRITE: u8 = 5;
pub(super) const ADD: u8 = 6;
const COUNT: u8 = 7;

/// Damages some bytes in one way.
pub(super) fn damage(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    let kind = input.byte() % COUNT;
    let at = usize::from(input.short()).checked_rem(bytes.len()).unwrap_or(0);
    match kind {
        FLIP => {
            let bit = 1 << input.below(8);
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
        }
        FILL => {
            let (len, with) = (usize::from(input.short()) % 2048, input.byte());
            bytes.iter_mut().skip(at).take(len).for_each(|byte| *byte = with);
        }
        CUT => bytes.truncate(at),
        EXTEND => bytes.extend_from_slice(input.bytes()),
        MOVE => {
            let from = usize::from(input.short()).checked_rem(bytes.len()).unwrap_or(0);
            let len = usize::from(input.byte()) * 8;
            let moved: Vec<u8> = bytes.iter().skip(from).take(len).copied().collect();
            bytes.iter_mut().skip(at).zip(moved).for_each(|(byte, moved)| *byte = moved);
        }
        WRITE => {
            let written = input.bytes();
            bytes.iter_mut().skip(at).zip(written).for_each(|(byte, written)| *byte = *written);
        }
        _ => add(input, bytes, at),
    }
}

/// Changes a number a little.
pub(super) fn add(input: &mut Input<'_>, bytes: &mut [u8], at: usize) {
    let by = i64::from(input.byte().cast_signed());
    let Some(rest) = bytes.get_mut(at..) else { return };
    if let Some(number) = rest.first_chunk_mut::<8>() {
        *number = u64::from_le_bytes(*number).wrapping_add_signed(by).to_le_bytes();
    }
}
