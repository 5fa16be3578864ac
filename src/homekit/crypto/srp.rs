//! SRP-6a as HomeKit has it: 3072 bits, SHA-512, generator 5, the accessory's side. Both steps are
//! heavy (a second or so on a slow camera), own all they touch, and are meant for the `slow` worker.
//! Numbers are padded to 384 bytes wherever they are hashed.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::bignum::{BYTES, Group, PRIME};
use super::{same, sha512};

const NAME: &[u8] = b"Pair-Setup";

/// The accessory's side of one exchange, between its two steps.
#[derive(Clone)]
pub struct Server {
    salt: [u8; 16],
    secret: [u8; 32],
    verifier: [u8; BYTES],
    /// B, for the controller.
    public: [u8; BYTES],
}

/// What both sides have in common after a right code.
pub struct Agreed {
    /// K: keys are derived from it.
    pub key: [u8; 64],
    /// M2: shows the controller that we knew the code too.
    pub proof: [u8; 64],
}

impl Server {
    /// The first step, for a setup code with its dashes. `secret` is fresh randomness, `salt` too.
    pub fn new(code: &str, salt: [u8; 16], secret: [u8; 32]) -> Server {
        let group = Group::new();
        let generator = group.small(5);
        let x = sha512(&[&salt, &sha512(&[NAME, b":", code.as_bytes()])]);
        let verifier = group.power(&generator, &x);
        let mut five = [0; BYTES];
        if let Some(last) = five.last_mut() {
            *last = 5;
        }
        let k = group.number(&padded(&sha512(&[PRIME, &five])));
        let public = group.add(&group.multiply(&k, &verifier), &group.power(&generator, &secret));
        Server { salt, secret, verifier: group.bytes(&verifier), public: group.bytes(&public) }
    }

    /// The salt, for the controller.
    pub fn salt(&self) -> &[u8; 16] {
        &self.salt
    }

    /// B, for the controller.
    pub fn public(&self) -> &[u8; BYTES] {
        &self.public
    }

    /// The second step: the controller's A and its proof. Nothing if the code was another, or if A is
    /// none that an honest controller sends.
    pub fn agree(&self, a: &[u8], proof: &[u8]) -> Option<Agreed> {
        if a.is_empty() || a.len() > BYTES {
            return None;
        }
        let a = padded(a);
        let group = Group::new();
        let theirs = group.number(&a);
        if theirs.is_zero() {
            return None;
        }
        let u = sha512(&[&a, &self.public]);
        let mixed = group.multiply(&theirs, &group.power(&group.number(&self.verifier), &u));
        let shared = group.bytes(&group.power(&mixed, &self.secret));
        let key = sha512(&[&shared]);
        let mut names = sha512(&[PRIME]);
        names.iter_mut().zip(sha512(&[&[5]])).for_each(|(n, g)| *n ^= g);
        let expected = sha512(&[&names, &sha512(&[NAME]), &self.salt, &a, &self.public, &key]);
        same(proof, &expected).then(|| Agreed { key, proof: sha512(&[&a, &expected, &key]) })
    }
}

/// The bytes with zeros before them; at most `BYTES` come in.
fn padded(bytes: &[u8]) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    out.iter_mut().rev().zip(bytes.iter().rev()).for_each(|(o, b)| *o = *b);
    out
}

#[cfg(test)]
pub mod testing {
    //! The controller's side, for tests.
    use super::*;

    /// A, M1 and K of a controller that types `code`.
    pub fn controller(
        code: &str,
        salt: &[u8],
        b: &[u8],
        secret: &[u8; 32],
    ) -> ([u8; BYTES], [u8; 64], [u8; 64]) {
        let group = Group::new();
        let generator = group.small(5);
        let a = group.bytes(&group.power(&generator, secret));
        let mut five = [0; BYTES];
        five[BYTES - 1] = 5;
        let k = group.number(&padded(&sha512(&[PRIME, &five])));
        let x = sha512(&[salt, &sha512(&[NAME, b":", code.as_bytes()])]);
        let u = sha512(&[&a, b]);
        // (B - k g^x) ^ (a + u x) = (B + (p - 1) k g^x) ^ a * ((...)^u)^x
        let mut minus = *PRIME;
        minus[BYTES - 1] -= 1;
        let kv = group.multiply(&k, &group.power(&generator, &x));
        let base = group.add(&group.number(&padded(b)), &group.multiply(&group.number(&minus), &kv));
        let ux = group.power(&group.power(&base, &u), &x);
        let shared = group.bytes(&group.multiply(&group.power(&base, secret), &ux));
        let key = sha512(&[&shared]);
        let mut names = sha512(&[PRIME]);
        names.iter_mut().zip(sha512(&[&[5]])).for_each(|(n, g)| *n ^= g);
        let proof = sha512(&[&names, &sha512(&[NAME]), salt, &a, b, &key]);
        (a, proof, key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bytes, hex};
    use super::testing::controller;
    use super::*;

    fn server() -> Server {
        let salt = std::array::from_fn(|i| i as u8);
        Server::new("031-45-154", salt, [0x22; 32])
    }

    #[test]
    fn the_known_exchange() {
        let server = server();
        assert_eq!(server.public()[..16], hex("575faab6f4004210501d0a166d56c15d"));
        assert_eq!(server.verifier[..16], hex("11dd765477959c79d9c2a7d1514665a3"));
        let (a, proof, key) = controller("031-45-154", server.salt(), server.public(), &[0x11; 32]);
        assert_eq!(a[..16], hex("c95341372ca4d0b469f87c0ae37bda63"));
        assert_eq!(
            proof[..],
            hex(
                "827e425ce9e23ec72cb89a60565bf75319cec5687123f3c826e2a034d52408376f6788ead7204a36e93afffcb114a358c7654e4bd49d7911ed58ded488270fca"
            )
        );
        let agreed = server.agree(&a, &proof).unwrap();
        assert_eq!(agreed.key, key);
        assert_eq!(
            key[..],
            hex(
                "59869b45a9beb5643932b9470b7d57e0960ea3091f4799422d2e3ff843cadcdde43e795fa9e23d20e2292b53b22765ffe65c1be14231fd4422447370b929d5c0"
            )
        );
        assert_eq!(
            agreed.proof[..],
            hex(
                "c2b52e43ae5e631f826d6090b248a7a6964f1a36e20ef4126a95937bf8bf6ceb5db74124d1a23ccd8497222b3c12e0093a9fed416bb2d79b3beb3e244df9996a"
            )
        );
        let encrypt = super::super::hkdf(&key, b"Pair-Setup-Encrypt-Salt", b"Pair-Setup-Encrypt-Info");
        assert_eq!(encrypt[..], hex("7c50f114dd55084bd35540e0f9a226e7ef9a399ac3ddd0f8cb774813ea3befca"));
    }

    #[test]
    fn a_wrong_code_or_a_forged_number_gets_nothing() {
        let server = server();
        let (a, proof, _) = controller("031-45-155", server.salt(), server.public(), &[0x11; 32]);
        assert!(server.agree(&a, &proof).is_none());
        assert!(server.agree(&a, &[]).is_none());
        // A of zero, N, beyond 384 bytes, and of no bytes: the secret would be known to anybody.
        for a in [&[][..], &[0], &[0; 384], &PRIME[..], &[1; 385], &[0; 4000]] {
            let key = sha512(&[&[0; BYTES]]);
            let mut names = sha512(&[PRIME]);
            names.iter_mut().zip(sha512(&[&[5]])).for_each(|(n, g)| *n ^= g);
            let long = if a.len() > BYTES { [0; BYTES] } else { padded(a) };
            let proof = sha512(&[&names, &sha512(&[NAME]), server.salt(), &long, server.public(), &key]);
            assert!(server.agree(a, &proof).is_none(), "{} bytes", a.len());
        }
    }

    #[test]
    fn numbers_that_begin_with_zeros_still_pair() {
        let mut random = bytes(7);
        let mut zeros = 0;
        for _ in 0..8 {
            let (mut salt, mut ours, mut theirs) = ([0; 16], [0; 32], [0; 32]);
            random(&mut salt);
            random(&mut ours);
            random(&mut theirs);
            let server = Server::new("518-08-582", salt, ours);
            let (a, proof, key) = controller("518-08-582", &salt, server.public(), &theirs);
            let stripped = a.iter().position(|&b| b != 0).unwrap();
            zeros += stripped;
            assert_eq!(server.agree(&a[stripped..], &proof).unwrap().key, key);
        }
        // Small exponents make small numbers: A = 5^2 has 383 zeros before it.
        let server = server();
        let mut two = [0; 32];
        two[31] = 2;
        let (a, proof, key) = controller("031-45-154", server.salt(), server.public(), &two);
        assert_eq!(a[BYTES - 2..], [0, 25]);
        assert_eq!(server.agree(&[25], &proof).unwrap().key, key);
        assert!(zeros < 16);
    }
}
