//! AES-128 (FIPS 197) in counter mode, as SRTP uses it: blocks are only ever encrypted, and a packet's
//! key stream counts its blocks in the last two bytes.
//!
//! Written for cores without AES instructions: one table of 1 KB, made by the compiler, holds the
//! S-box already mixed, so a round is sixteen loads. What does not change from block to block in the
//! first two rounds is computed once for 256 blocks. A table can be watched through the cache by
//! whoever runs code on the same core; on a camera that one can read the pictures themselves, and the
//! keys die with their viewer.
// blocks of fixed length: an index is a constant, or a byte into 256 words
#![allow(clippy::indexing_slicing)]

/// Column (2s, s, s, 3s) of the mixed S-box; the other three are rotations of it.
static TABLE: [u32; 256] = table();

/// Doubles in AES's field.
const fn double(x: u8) -> u8 {
    (x << 1) ^ (if x & 0x80 != 0 { 0x1b } else { 0 })
}

/// Walks the field by its generator 3 and its inverse at once: `q` is one over `p`.
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let (mut p, mut q) = (1u8, 1u8);
    loop {
        p ^= double(p);
        q ^= q << 1;
        q ^= q << 2;
        q ^= q << 4;
        if q & 0x80 != 0 {
            q ^= 0x09;
        }
        let s = q ^ q.rotate_left(1) ^ q.rotate_left(2) ^ q.rotate_left(3) ^ q.rotate_left(4) ^ 0x63;
        table[p as usize] = column(s);
        if p == 1 {
            break;
        }
    }
    table[0] = column(0x63);
    table
}

const fn column(s: u8) -> u32 {
    let two = double(s);
    u32::from_be_bytes([two, s, s, two ^ s])
}

/// The mixed column of the byte that lies `shift` bits up in a word.
#[inline(always)]
fn mixed(word: u32, shift: u32) -> u32 {
    TABLE[(word >> shift & 0xff) as usize]
}

/// One column of a round: a byte of each of the four words.
#[inline(always)]
fn round(a: u32, b: u32, c: u32, d: u32, key: u32) -> u32 {
    mixed(a, 24)
        ^ mixed(b, 16).rotate_right(8)
        ^ mixed(c, 8).rotate_right(16)
        ^ mixed(d, 0).rotate_right(24)
        ^ key
}

/// The S-box alone.
#[inline(always)]
fn plain(word: u32, shift: u32) -> u32 {
    mixed(word, shift) >> 8 & 0xff
}

/// One column of the last round, which does not mix.
#[inline(always)]
fn last(a: u32, b: u32, c: u32, d: u32, key: u32) -> u32 {
    (plain(a, 24) << 24 | plain(b, 16) << 16 | plain(c, 8) << 8 | plain(d, 0)) ^ key
}

/// A key, ready for use.
#[derive(Clone)]
pub struct Aes {
    keys: [[u32; 4]; 11],
}

impl Aes {
    /// Of that key.
    pub fn new(key: &[u8; 16]) -> Aes {
        let mut keys = [words(key); 11];
        let mut constant = 1u8;
        for i in 1..11 {
            let [a, b, c, d] = keys[i - 1];
            let turned = d.rotate_left(8);
            let a = a ^ last(turned, turned, turned, turned, u32::from(constant) << 24);
            let b = b ^ a;
            let c = c ^ b;
            keys[i] = [a, b, c, d ^ c];
            constant = double(constant);
        }
        Aes { keys }
    }

    /// Rounds from number `from` to the end.
    #[inline(always)]
    fn finish(&self, from: usize, mut s: [u32; 4]) -> [u32; 4] {
        for key in &self.keys[from..10] {
            let [a, b, c, d] = s;
            s = [
                round(a, b, c, d, key[0]),
                round(b, c, d, a, key[1]),
                round(c, d, a, b, key[2]),
                round(d, a, b, c, key[3]),
            ];
        }
        let ([a, b, c, d], key) = (s, &self.keys[10]);
        [
            last(a, b, c, d, key[0]),
            last(b, c, d, a, key[1]),
            last(c, d, a, b, key[2]),
            last(d, a, b, c, key[3]),
        ]
    }

    /// XORs the key stream that begins at `iv` into the bytes. The last two bytes of `iv` are zero.
    pub fn apply(&self, iv: &[u8; 16], bytes: &mut [u8]) {
        for (turn, bytes) in bytes.chunks_mut(256 * 16).enumerate() {
            let [a, b, c, mut d] = words(iv);
            d ^= (turn as u32 & 0xff) << 8;
            let key = &self.keys[0];
            let [a, b, c, d] = [a ^ key[0], b ^ key[1], c ^ key[2], d ^ key[3]];
            // The last byte of `d` counts. It reaches one column of the first round and then one byte
            // of each column of the second.
            let (one, two) = (&self.keys[1], &self.keys[2]);
            let first = mixed(a, 24) ^ mixed(b, 16).rotate_right(8) ^ mixed(c, 8).rotate_right(16) ^ one[0];
            let (f, g, h) = (round(b, c, d, a, one[1]), round(c, d, a, b, one[2]), round(d, a, b, c, one[3]));
            let zero = round(0, f, g, h, two[0]) ^ mixed(0, 24);
            let rest = [
                round(f, g, h, 0, two[1]) ^ mixed(0, 0).rotate_right(24),
                round(g, h, 0, f, two[2]) ^ mixed(0, 8).rotate_right(16),
                round(h, 0, f, g, two[3]) ^ mixed(0, 16).rotate_right(8),
            ];
            for (count, block) in bytes.chunks_mut(16).enumerate() {
                let e = first ^ mixed(d ^ count as u32, 0).rotate_right(24);
                let stream = self.finish(
                    3,
                    [
                        zero ^ mixed(e, 24),
                        rest[0] ^ mixed(e, 0).rotate_right(24),
                        rest[1] ^ mixed(e, 8).rotate_right(16),
                        rest[2] ^ mixed(e, 16).rotate_right(8),
                    ],
                );
                let (words, odd) = block.as_chunks_mut::<4>();
                let mut stream = stream.into_iter();
                for word in words {
                    *word = (u32::from_be_bytes(*word) ^ stream.next().unwrap_or(0)).to_be_bytes();
                }
                let tail = stream.next().unwrap_or(0).to_be_bytes();
                odd.iter_mut().zip(tail).for_each(|(b, k)| *b ^= k);
            }
        }
    }
}

fn words(bytes: &[u8; 16]) -> [u32; 4] {
    let all = u128::from_be_bytes(*bytes);
    [(all >> 96) as u32, (all >> 64) as u32, (all >> 32) as u32, all as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    impl Aes {
        fn block(&self, block: &[u8; 16]) -> [u8; 16] {
            let [a, b, c, d] = words(block);
            let key = self.keys[0];
            let s = self.finish(1, [a ^ key[0], b ^ key[1], c ^ key[2], d ^ key[3]]);
            let mut out = [0; 16];
            out.iter_mut().zip(s.into_iter().flat_map(u32::to_be_bytes)).for_each(|(o, b)| *o = b);
            out
        }
    }

    #[test]
    fn the_standards_blocks() {
        // FIPS 197, appendices C.1 and B.
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let plain: [u8; 16] = std::array::from_fn(|i| i as u8 * 0x11);
        assert_eq!(Aes::new(&key).block(&plain)[..], hex("69c4e0d86a7b0430d8cdb78070b4c55a"));
        let key = hex("2b7e151628aed2a6abf7158809cf4f3c").try_into().unwrap();
        let plain = hex("3243f6a8885a308d313198a2e0370734").try_into().unwrap();
        assert_eq!(Aes::new(&key).block(&plain)[..], hex("3925841d02dc09fbdc118597196a0b32"));
    }

    #[test]
    fn the_key_stream_of_srtp() {
        // RFC 3711, appendix B.2.
        let aes = Aes::new(&hex("2b7e151628aed2a6abf7158809cf4f3c").try_into().unwrap());
        let iv = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000").try_into().unwrap();
        let mut stream = vec![0; 0xff02 * 16];
        aes.apply(&iv, &mut stream);
        let at = |n: usize| &stream[16 * n..16 * n + 16];
        assert_eq!(at(0), hex("e03ead0935c95e80e166b16dd92b4eb4"));
        assert_eq!(at(1), hex("d23513162b02d0f72a43a2fe4a5f97ab"));
        assert_eq!(at(2), hex("41e95b3bb0a2e8dd477901e4fca894c0"));
        assert_eq!(at(0xfeff), hex("ec8cdf7398607cb0f2d21675ea9ea1e4"));
        assert_eq!(at(0xff00), hex("362b7c3c6773516318a077d7fc5073ae"));
        assert_eq!(at(0xff01), hex("6a2cc3787889374fbeb4c81b17ba6c44"));
    }

    #[test]
    fn the_short_way_through_two_rounds_gives_the_same_for_every_length() {
        let aes = Aes::new(&[7; 16]);
        let iv = [0x5a; 14];
        let mut long = [0; 14 + 2];
        long[..14].copy_from_slice(&iv);
        let expected: Vec<u8> = (0..300u16)
            .flat_map(|n| {
                let mut block = long;
                block[14..].copy_from_slice(&n.to_be_bytes());
                aes.block(&block)
            })
            .collect();
        for len in (0..70).chain([4095, 4096, 4097, 4800]) {
            let mut bytes = vec![0; len];
            aes.apply(&long, &mut bytes);
            assert_eq!(bytes, expected[..len], "{len}");
        }
    }
}
