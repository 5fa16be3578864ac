//! The ciphers of HomeKit under short names, all over owned or borrowed bytes: HKDF-SHA512,
//! ChaCha20-Poly1305, Ed25519, X25519 and SRP. Randomness comes in as bytes.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod bignum;
mod curve;
pub mod srp;

pub use curve::{public_key, sign, sign_as, verify};

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use sha2::{Digest, Sha512};

/// A key of 32 bytes: of a cipher, a signature or an exchange.
pub type Key = [u8; 32];

/// Bytes of a cipher's tag.
pub const TAG: usize = 16;

/// SHA-512 of the parts, one after another.
pub fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 64] {
    let short;
    let key = if key.len() > 128 {
        short = sha512(&[key]);
        &short[..]
    } else {
        key
    };
    let pad = |with: u8| {
        let mut block = [with; 128];
        for (b, k) in block.iter_mut().zip(key) {
            *b ^= k;
        }
        block
    };
    let mut hash = Sha512::new_with_prefix(pad(0x36));
    for part in parts {
        hash.update(part);
    }
    let inner: [u8; 64] = hash.finalize().into();
    sha512(&[&pad(0x5c), &inner])
}

/// HKDF-SHA512 (RFC 5869) for the one length that HomeKit asks for.
pub fn hkdf(secret: &[u8], salt: &[u8], info: &[u8]) -> Key {
    let strong = hmac(&hmac(salt, &[secret]), &[info, &[1]]);
    strong.first_chunk().copied().unwrap_or_default()
}

/// The nonce of a frame or, as `u64::from_le_bytes(*b"PS-Msg05")`, of a pairing message.
fn nonce(count: u64) -> Nonce {
    let mut nonce = [0; 12];
    if let Some(place) = nonce.last_chunk_mut() {
        *place = count.to_le_bytes();
    }
    nonce.into()
}

/// A cipher with its key set up once.
pub struct Cipher(ChaCha20Poly1305);

impl Cipher {
    /// Of that key.
    pub fn new(key: &Key) -> Cipher {
        Cipher(ChaCha20Poly1305::new(&(*key).into()))
    }

    /// Encrypts where the bytes lie; the tag comes back. Nothing if they are too many for the cipher.
    pub fn seal(&self, count: u64, aad: &[u8], bytes: &mut [u8]) -> Option<[u8; TAG]> {
        let tag = self.0.encrypt_inout_detached(&nonce(count), aad, bytes.into()).ok()?;
        Some(tag.into())
    }

    /// Decrypts where the bytes lie; says whether the tag is theirs. If not they are worthless.
    #[must_use]
    pub fn open(&self, count: u64, aad: &[u8], bytes: &mut [u8], tag: &[u8; TAG]) -> bool {
        self.0.decrypt_inout_detached(&nonce(count), aad, bytes.into(), &Tag::from(*tag)).is_ok()
    }
}

/// A pairing message under its eight-letter label, tag at the end.
pub fn seal_message(key: &Key, label: &[u8; 8], mut plain: Vec<u8>) -> Vec<u8> {
    match Cipher::new(key).seal(u64::from_le_bytes(*label), &[], &mut plain) {
        Some(tag) => plain.extend(tag),
        None => plain.clear(),
    }
    plain
}

/// What a pairing message says, if it was sealed with this key and label.
pub fn open_message(key: &Key, label: &[u8; 8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (bytes, tag) = sealed.split_last_chunk::<TAG>()?;
    let mut plain = bytes.to_vec();
    Cipher::new(key).open(u64::from_le_bytes(*label), &[], &mut plain, tag).then_some(plain)
}

/// Whether two secrets are the same, without saying by time where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}

/// One side's ephemeral exchange: its public key, and with the peer's the shared secret; nothing if
/// the peer's key is one of those that make the secret known to everybody.
pub fn exchange(secret: &Key, peer: &[u8]) -> Option<(Key, Key)> {
    let peer = <&Key>::try_from(peer).ok()?;
    let mut base = [0; 32];
    let [first, ..] = &mut base;
    *first = 9;
    let shared = curve::x25519(secret, peer);
    (!same(&shared, &[0; 32])).then(|| (curve::x25519(secret, &base), shared))
}

#[cfg(test)]
pub mod testing {
    //! Helpers of this room's tests.

    /// Bytes from hexadecimal.
    pub fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    /// Bytes that are the same in every run.
    pub fn bytes(seed: u32) -> impl FnMut(&mut [u8]) {
        let mut seed = seed | 1;
        move |out| {
            for b in out {
                seed ^= seed << 13;
                seed ^= seed >> 17;
                seed ^= seed << 5;
                *b = (seed >> 11) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::hex;
    use super::*;

    #[test]
    fn keys_of_a_session() {
        let shared = [0x33; 32];
        let read = hkdf(&shared, b"Control-Salt", b"Control-Read-Encryption-Key");
        let write = hkdf(&shared, b"Control-Salt", b"Control-Write-Encryption-Key");
        assert_eq!(read[..], hex("cf3c77b9991137395a4f2ad0583fdb69aadd595bf247d5c1fd0c3ae4fb04a08b"));
        assert_eq!(write[..], hex("b491b6cc87e775c7e66ceb4c3a09c4b3c12043caefdbb0709f31dc059a65234b"));
        let mut hello = *b"hello";
        let tag = Cipher::new(&write).seal(0, &[5, 0], &mut hello).unwrap();
        assert_eq!(
            [&hello[..], &tag].concat(),
            hex("6f02a7ae8687eb1878bec6fd4f3f63da7603b6e365")[..].to_vec()
        );
        assert!(Cipher::new(&write).open(0, &[5, 0], &mut hello, &tag));
        assert_eq!(&hello, b"hello");
        assert!(!Cipher::new(&write).open(1, &[5, 0], &mut hello, &tag));
        let salts = [[0x44; 32], [0x55; 32]].concat();
        let hds = hkdf(&shared, &salts, b"HDS-Write-Encryption-Key");
        assert_eq!(hds[..], hex("c76ca2df6f8590173d73f8582cbc9f98f5ecc02f120f1bfe068173daf9c52e8f"));
    }

    #[test]
    fn signatures_and_exchange_of_the_standards() {
        // RFC 8032, 7.1, test 2.
        let seed: Key =
            hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").try_into().unwrap();
        let public = public_key(&seed);
        assert_eq!(public[..], hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"));
        let signature = sign(&seed, &[0x72]);
        assert_eq!(signature[..8], hex("92a009a9f0d4cab8"));
        assert!(verify(&public, &[0x72], &signature));
        assert!(!verify(&public, &[0x73], &signature));
        assert!(!verify(&public, &[0x72], &signature[..63]));
        assert!(!verify(&[0; 32], &[0x72], &[0; 64]));
        // As OpenSSL computes it.
        let (a, b): (Key, Key) = ([0x11; 32], [0x22; 32]);
        let (pa, _) = exchange(&a, &[9; 32]).unwrap();
        assert_eq!(pa[..], hex("7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"));
        let (pb, shared) = exchange(&b, &pa).unwrap();
        assert_eq!(pb[..], hex("0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20"));
        assert_eq!(shared[..], hex("9e004098efc091d4ec2663b4e9f5cfd4d7064571690b4bea97ab146ab9f35056"));
        assert_eq!(exchange(&a, &pb).unwrap().1, shared);
        // Small-order keys of an attacker.
        for key in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            assert_eq!(exchange(&a, &hex(key)), None, "{key}");
        }
        assert_eq!(exchange(&a, &[1; 31]), None);
    }

    #[test]
    fn pairing_messages_open_only_as_they_were_sealed() {
        let sealed = seal_message(&[1; 32], b"PS-Msg05", b"hi".to_vec());
        assert_eq!(open_message(&[1; 32], b"PS-Msg05", &sealed).unwrap(), b"hi");
        assert_eq!(open_message(&[1; 32], b"PS-Msg06", &sealed), None);
        for end in 0..sealed.len() {
            assert_eq!(open_message(&[1; 32], b"PS-Msg05", &sealed[..end]), None);
        }
    }
}
