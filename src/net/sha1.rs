//! SHA-1 (FIPS 180-4) and HMAC-SHA1 (RFC 2104): what a WebSocket's opening is answered with, and what
//! the packets of live view are signed with. Nothing new may rely on it. Written out, because it is
//! smaller than a crate, and without moves between rounds, because live view does it for each packet.
// blocks of fixed length: an index is a constant, or a byte into 256 words
#![allow(clippy::indexing_slicing)]

type State = [u32; 5];

const START: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
/// Bytes of a block.
const BLOCK: usize = 64;
/// Bytes of a hash.
pub const HASH: usize = 20;

/// Five rounds, after which every variable is in its place again: nothing is moved about.
macro_rules! five {
    ($w:expr, $k:expr, $f:ident, $a:ident $b:ident $c:ident $d:ident $e:ident) => {
        let [v, w, x, y, z] = *$w;
        $e = $e.wrapping_add($a.rotate_left(5)).wrapping_add($f($b, $c, $d)).wrapping_add(v).wrapping_add($k);
        $b = $b.rotate_left(30);
        $d = $d.wrapping_add($e.rotate_left(5)).wrapping_add($f($a, $b, $c)).wrapping_add(w).wrapping_add($k);
        $a = $a.rotate_left(30);
        $c = $c.wrapping_add($d.rotate_left(5)).wrapping_add($f($e, $a, $b)).wrapping_add(x).wrapping_add($k);
        $e = $e.rotate_left(30);
        $b = $b.wrapping_add($c.rotate_left(5)).wrapping_add($f($d, $e, $a)).wrapping_add(y).wrapping_add($k);
        $d = $d.rotate_left(30);
        $a = $a.wrapping_add($b.rotate_left(5)).wrapping_add($f($c, $d, $e)).wrapping_add(z).wrapping_add($k);
        $c = $c.rotate_left(30);
    };
}

#[inline(always)]
fn choose(b: u32, c: u32, d: u32) -> u32 {
    d ^ (b & (c ^ d))
}

#[inline(always)]
fn parity(b: u32, c: u32, d: u32) -> u32 {
    b ^ c ^ d
}

#[inline(always)]
fn majority(b: u32, c: u32, d: u32) -> u32 {
    (b & c) | (d & (b | c))
}

fn compress(state: &mut State, block: &[u8; BLOCK]) {
    let mut w = [0u32; 80];
    for (word, bytes) in w.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for i in 16..80 {
        w[i] = (w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    let fives = w.as_chunks::<5>().0;
    for w in &fives[..4] {
        five!(w, 0x5a82_7999, choose, a b c d e);
    }
    for w in &fives[4..8] {
        five!(w, 0x6ed9_eba1, parity, a b c d e);
    }
    for w in &fives[8..12] {
        five!(w, 0x8f1b_bcdc, majority, a b c d e);
    }
    for w in &fives[12..] {
        five!(w, 0xca62_c1d6, parity, a b c d e);
    }
    for (s, v) in state.iter_mut().zip([a, b, c, d, e]) {
        *s = s.wrapping_add(v);
    }
}

/// Hashes the rest of a message, of which `before` bytes are in `state` already. `end` follows
/// `message` and has at most eight bytes.
fn finish(mut state: State, before: usize, message: &[u8], end: &[u8]) -> [u8; HASH] {
    let (blocks, rest) = message.as_chunks::<BLOCK>();
    for block in blocks {
        compress(&mut state, block);
    }
    let mut tail = [0u8; 2 * BLOCK];
    for (to, from) in tail.iter_mut().zip(rest.iter().chain(end).chain(&[0x80])) {
        *to = *from;
    }
    let bits = 8 * (before + message.len() + end.len()) as u64;
    let len = if rest.len() + end.len() + 9 <= BLOCK { BLOCK } else { 2 * BLOCK };
    tail[len - 8..len].copy_from_slice(&bits.to_be_bytes());
    for block in tail[..len].as_chunks::<BLOCK>().0 {
        compress(&mut state, block);
    }
    let mut hash = [0; HASH];
    hash.iter_mut().zip(state.into_iter().flat_map(u32::to_be_bytes)).for_each(|(h, b)| *h = b);
    hash
}

/// The hash of a message.
pub fn sha1(message: &[u8]) -> [u8; HASH] {
    finish(START, 0, message, &[])
}

/// A key of HMAC-SHA1, ready for use: the two blocks that depend on it alone are hashed once.
#[cfg(feature = "homekit")]
#[derive(Clone)]
pub struct Hmac {
    inner: State,
    outer: State,
}

#[cfg(feature = "homekit")]
impl Hmac {
    /// Of that key.
    pub fn new(key: &[u8; HASH]) -> Hmac {
        let state = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
            let mut state = START;
            compress(&mut state, &block);
            state
        };
        Hmac { inner: state(0x36), outer: state(0x5c) }
    }

    /// Of a message and a few bytes behind it, at most eight.
    pub fn sign(&self, message: &[u8], end: &[u8]) -> [u8; HASH] {
        let inner = finish(self.inner, BLOCK, message, end);
        finish(self.outer, BLOCK, &inner, &[])
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
            assert_eq!(hex(&sha1(text)), want);
        }
        let million = vec![b'a'; 1_000_000];
        assert_eq!(hex(&sha1(&million)), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
        for (n, want) in LENGTHS {
            assert_eq!(hex(&sha1(&million[..n])), want, "{n}");
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

    #[test]
    #[cfg(feature = "homekit")]
    fn the_standards_codes() {
        // RFC 2202, test 1, and one over two parts.
        let hmac = Hmac::new(&[0x0b; 20]);
        assert_eq!(hex(&hmac.sign(b"Hi There", &[])), "b617318655057264e28bc0b6fb378c8ef146be00");
        assert_eq!(hmac.sign(b"Hi T", b"here"), hmac.sign(b"Hi There", &[]));
    }

    #[test]
    #[cfg(feature = "homekit")]
    fn it_does_not_matter_where_a_message_is_cut() {
        let hmac = Hmac::new(&[3; 20]);
        let message: Vec<u8> = (0..300u16).map(|n| n as u8).collect();
        for len in 8..300 {
            let whole = hmac.sign(&message[..len], &[]);
            for end in 0..=8 {
                assert_eq!(hmac.sign(&message[..len - end], &message[len - end..len]), whole, "{len} {end}");
            }
        }
    }
}
