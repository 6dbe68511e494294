//! The keys of both programs that measure the data structure alone.

/// The same numbers each time, all over the place: a permutation of 64 bits.
pub(crate) fn scatter(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// 32 bytes: a tenth of the keys under each of ten prefixes.
pub(crate) fn key(number: u64) -> Vec<u8> {
    format!("dir{}/{:0>27}", number % 10, format!("{:016x}", scatter(number))).into_bytes()
}
