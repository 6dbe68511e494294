//! A case, read front to back.

/// Takes values off the bytes of a case. Where they end, it gives zeros.
///
/// Everything stands in its order and nothing behind it says how long it is, so a piece that is
/// cut out of one case and put into another is still what it was.
#[derive(Clone, Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Nothing but zeros will come.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// Below `bound`, from one byte; 0 if that is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()).checked_rem(bound).unwrap_or(0)
    }

    pub(super) fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Any number. Small ones take one byte, and those at which something may turn over take two.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..0xf8 => u64::from(small),
            0xf8 => u64::from(self.short()),
            0xf9 => 1_u64.rotate_left(u32::from(self.byte())),
            0xfa => 1_u64.rotate_left(u32::from(self.byte())).wrapping_sub(1),
            0xfb => u64::MAX - u64::from(self.byte()),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// So many bytes, or what is left.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes behind their length.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let len = self.short();
        self.take(usize::from(len))
    }

    /// Everything that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_zeros() {
        let mut input = Input::new(&[7, 3, 0, b'a', b'b']);
        assert_eq!((input.byte(), input.bytes()), (7, b"ab".as_slice()), "what is left of it");
        assert_eq!((input.byte(), input.number(), input.bytes()), (0, 0, b"".as_slice()));
        assert!(input.is_empty() && input.rest().is_empty());
    }

    #[test]
    fn numbers_are_near_where_things_turn_over() {
        let number = |bytes: &[u8]| Input::new(bytes).number();
        assert_eq!((number(&[0xf7]), number(&[0xf8, 1, 2])), (0xf7, 0x201));
        assert_eq!((number(&[0xf9, 62]), number(&[0xfa, 62])), (1 << 62, (1 << 62) - 1));
        assert_eq!((number(&[0xfb, 0]), number(&[0xff, 9])), (u64::MAX, 9));
        assert_eq!(Input::new(&[9]).below(4), 1);
        assert_eq!(Input::new(&[9]).below(0), 0);
    }
}
