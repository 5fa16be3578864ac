//! Levels: logarithms of bytes, in 256 steps to the octave, so that a ratio is a difference. Integers only,
//! and nothing wider than 32 bits where each picture passes.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

/// Steps of a level to the octave.
pub const OCTAVE: i32 = 256;

/// log2 in 256 steps to the octave; of 0 it is 0.
pub const fn log2(n: u32) -> i32 {
    let n = if n == 0 { 1 } else { n };
    let zeros = n.leading_zeros();
    let part = ((n << zeros) >> 23) as i32 - OCTAVE;
    // the logarithm bulges over the straight line by 0.086 at most
    (31 - zeros as i32) * OCTAVE + part + ((part * (OCTAVE - part) * 88) >> 16)
}

/// The number of which a level is the logarithm.
pub fn bytes(level: i32) -> u32 {
    let (whole, part) = (level.clamp(0, 31 * OCTAVE) / OCTAVE, level.max(0) % OCTAVE);
    let part = part - ((part * (OCTAVE - part) * 88) >> 16);
    ((u64::from((OCTAVE + part) as u32) << whole) >> 8) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_near_enough_and_come_back() {
        assert_eq!((log2(0), log2(1), log2(2), log2(1024)), (0, 0, 256, 2560));
        for n in [3u32, 10, 100, 777, 5000, 123_456, 9_999_999] {
            let back = bytes(log2(n));
            assert!(back.abs_diff(n) <= n / 64 + 1, "{n} became {back}");
        }
        assert!((1..100_000).all(|n| log2(n) <= log2(n + 1)));
        assert!((8191..8193).contains(&log2(u32::MAX)) && bytes(i32::MIN) == 1 && bytes(i32::MAX) > 1 << 31);
    }
}
