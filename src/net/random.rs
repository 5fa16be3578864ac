//! Bytes that nobody can guess, from the system.

use super::clock;

/// So many of them. Where the system has none yet (the first seconds of an old kernel), the clock
/// makes them: told apart from each other, though not secret.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        let mut seed = clock::now().nanos() | 1;
        for byte in &mut bytes {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *byte = seed as u8;
        }
    }
    bytes
}
