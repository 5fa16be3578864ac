//! SHA-1 (FIPS 180-4): what a WebSocket's opening is answered with. It proves that both ends speak the
//! same protocol and keeps no secret; nothing else here may rely on it. Written out, because it is
//! smaller than a crate.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

const BLOCK: usize = 64;

/// The hash of the parts one after another.
pub fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut block = [0; BLOCK];
    let (mut have, mut total) = (0, 0u64);
    let mut push = |byte: u8| {
        if let Some(place) = block.get_mut(have) {
            *place = byte;
        }
        have += 1;
        if have == BLOCK {
            have = 0;
            compress(&mut state, &block);
        }
        have
    };
    let mut at = 0;
    for part in parts {
        total = total.wrapping_add(part.len() as u64);
        for &byte in *part {
            at = push(byte);
        }
    }
    // one bit, zeros up to the last eight bytes of a block, and the length in bits
    let mut pad = 0x80;
    while at != BLOCK - 8 || pad != 0 {
        at = push(pad);
        pad = 0;
    }
    for byte in total.wrapping_mul(8).to_be_bytes() {
        push(byte);
    }
    let mut out = [0; 20];
    for (to, word) in out.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    out
}

fn compress(state: &mut [u32; 5], block: &[u8; BLOCK]) {
    // the schedule's last sixteen words, oldest first
    let mut words = [0u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for round in 0..80u32 {
        let [word, _, third, ..] = words;
        let [.., ninth, _, _, _, _, fourteenth, _, _] = words;
        let (f, k) = match round / 20 {
            0 => (b & c | !b & d, 0x5a82_7999),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6u32),
        };
        let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        words.rotate_left(1);
        if let Some(last) = words.last_mut() {
            *last = (word ^ third ^ ninth ^ fourteenth).rotate_left(1);
        }
    }
    for (sum, new) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::digest::hex;

    /// FIPS 180-4's examples, and lengths around the padding, worked out with sha1sum.
    #[test]
    fn vectors() {
        let long = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        for (text, want) in [
            (&b""[..], "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (long, "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
        ] {
            assert_eq!(hex(&sha1(&[text])), want);
        }
        assert_eq!(hex(&sha1(&[&long[..7], b"", &long[7..]])), hex(&sha1(&[long])));
        let million = vec![b'a'; 1_000_000];
        assert_eq!(hex(&sha1(&[&million])), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
        for (n, want) in LENGTHS {
            assert_eq!(hex(&sha1(&[&million[..n]])), want, "{n}");
        }
    }

    const LENGTHS: [(usize, &str); 6] = [
        (55, "c1c8bbdc22796e28c0e15163d20899b65621d65a"),
        (56, "c2db330f6083854c99d4b5bfb6e8f29f201be699"),
        (63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5"),
        (64, "0098ba824b5c16427bd7a1122a5a442a25ec644d"),
        (65, "11655326c708d70319be2610e8a57d9a5b959d3b"),
        (119, "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56"),
    ];
}
