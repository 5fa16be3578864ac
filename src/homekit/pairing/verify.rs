//! Pair-verify, the accessory's side: a controller that is in the book shows that it is itself, and
//! both get the secret of the session.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::book::Book;
use super::{Refusal, item, refuse};
use crate::homekit::crypto::{Key, exchange, hkdf, open_message, seal_message, sign, verify};
use crate::homekit::tlv8::{Tlv, Writer};

/// One session's pair-verify; its first message may come again at any time.
#[derive(Default)]
pub struct Verify {
    offered: Option<Offered>,
}

struct Offered {
    theirs: Key,
    ours: Key,
    shared: Key,
    seal: Key,
}

/// What follows from a message.
pub enum Outcome {
    /// This answer.
    Answer(Vec<u8>),
    /// This answer, in plain; then the session is this controller's and encrypted.
    Verified {
        /// M4.
        answer: Vec<u8>,
        /// The controller's name.
        controller: Vec<u8>,
        /// The session's secret.
        shared: Key,
    },
    /// It is none: HTTP's 400.
    Malformed,
}

impl Verify {
    /// A message; `secret` is fresh randomness.
    pub fn message(&mut self, book: &Book, message: &Tlv, secret: &Key) -> Outcome {
        match message.byte(item::STATE) {
            Some(1) => self.offer(book, message, secret),
            Some(3) => match self.offered.take() {
                None => Outcome::Malformed,
                Some(offered) => match offered.controller(book, message) {
                    None => Outcome::Answer(refuse(4, Refusal::Authentication)),
                    Some(controller) => Outcome::Verified {
                        answer: Writer::new().u8(item::STATE, 4).finish(),
                        controller,
                        shared: offered.shared,
                    },
                },
            },
            _ => Outcome::Malformed,
        }
    }

    fn offer(&mut self, book: &Book, message: &Tlv, secret: &Key) -> Outcome {
        self.offered = None;
        let theirs: Option<Key> = message.get(item::PUBLIC_KEY).and_then(|key| key.try_into().ok());
        let Some(theirs) = theirs else { return Outcome::Malformed };
        let Some((ours, shared)) = exchange(secret, &theirs) else {
            return Outcome::Answer(refuse(2, Refusal::Authentication));
        };
        let seal = hkdf(&shared, b"Pair-Verify-Encrypt-Salt", b"Pair-Verify-Encrypt-Info");
        let id = book.identity.device_id.as_bytes();
        let signature = sign(&book.identity.seed, &[&ours[..], id, &theirs].concat());
        let inner = Writer::new().put(item::IDENTIFIER, id).put(item::SIGNATURE, &signature).finish();
        let answer = Writer::new()
            .u8(item::STATE, 2)
            .put(item::PUBLIC_KEY, &ours)
            .put(item::ENCRYPTED, &seal_message(&seal, b"PV-Msg02", inner))
            .finish();
        self.offered = Some(Offered { theirs, ours, shared, seal });
        Outcome::Answer(answer)
    }
}

impl Offered {
    fn controller(&self, book: &Book, message: &Tlv) -> Option<Vec<u8>> {
        let inner = open_message(&self.seal, b"PV-Msg03", message.get(item::ENCRYPTED)?)?;
        let inner = Tlv::parse(&inner).ok()?;
        let id = inner.get(item::IDENTIFIER)?;
        let pairing = book.find(id)?;
        let signed = [&self.theirs[..], id, &self.ours].concat();
        verify(&pairing.key, &signed, inner.get(item::SIGNATURE)?).then(|| id.to_vec())
    }
}

#[cfg(test)]
pub mod testing {
    //! The controller's side.
    use super::*;

    /// M1 of a controller's ephemeral secret.
    pub fn m1(secret: &Key) -> Vec<u8> {
        let public = exchange(secret, &[9; 32]).unwrap().0;
        Writer::new().u8(item::STATE, 1).put(item::PUBLIC_KEY, &public).finish()
    }

    /// M3 as an answer to M2, and the secret.
    pub fn m3(secret: &Key, m2: &Tlv, id: &[u8], seed: &Key) -> (Vec<u8>, Key) {
        let theirs = m2.get(item::PUBLIC_KEY).unwrap();
        let (ours, shared) = exchange(secret, theirs).unwrap();
        let seal = hkdf(&shared, b"Pair-Verify-Encrypt-Salt", b"Pair-Verify-Encrypt-Info");
        let inner = open_message(&seal, b"PV-Msg02", m2.get(item::ENCRYPTED).unwrap()).unwrap();
        assert!(Tlv::parse(&inner).unwrap().get(item::SIGNATURE).is_some());
        let signature = sign(seed, &[&ours[..], id, theirs].concat());
        let inner = Writer::new().put(item::IDENTIFIER, id).put(item::SIGNATURE, &signature).finish();
        let m3 =
            Writer::new().u8(item::STATE, 3).put(item::ENCRYPTED, &seal_message(&seal, b"PV-Msg03", inner));
        (m3.finish(), shared)
    }
}

#[cfg(test)]
mod tests {
    use super::super::book::{Pairing, testing::book};
    use super::*;
    use crate::homekit::crypto::public_key;

    fn run(id: &[u8], seed: &Key, spoil: impl Fn(&mut Vec<u8>)) -> Outcome {
        let mut book = book();
        book.pairings.push(Pairing { id: b"known".to_vec(), key: public_key(&[3; 32]), admin: true });
        let mut ours = Verify::default();
        let m1 = Tlv::parse(&testing::m1(&[5; 32])).unwrap();
        // A controller may begin again before it goes on.
        ours.message(&book, &m1, &[7; 32]);
        let Outcome::Answer(m2) = ours.message(&book, &m1, &[8; 32]) else { panic!("no M2") };
        let (mut m3, shared) = testing::m3(&[5; 32], &Tlv::parse(&m2).unwrap(), id, seed);
        spoil(&mut m3);
        let outcome = ours.message(&book, &Tlv::parse(&m3).unwrap(), &[0; 32]);
        if let Outcome::Verified { shared: theirs, controller, .. } = &outcome {
            assert_eq!((theirs, &controller[..]), (&shared, id));
        }
        outcome
    }

    #[test]
    fn only_who_is_in_the_book_comes_in() {
        assert!(matches!(run(b"known", &[3; 32], |_| {}), Outcome::Verified { .. }));
        let refused = Outcome::Answer(refuse(4, Refusal::Authentication));
        for outcome in [
            run(b"known", &[4; 32], |_| {}),
            run(b"other", &[3; 32], |_| {}),
            run(b"known", &[3; 32], |m3| m3[10] ^= 1),
        ] {
            assert!(matches!((outcome, &refused), (Outcome::Answer(a), Outcome::Answer(b)) if a == *b));
        }
    }

    #[test]
    fn keys_that_give_the_secret_away_are_refused() {
        let m1 = Writer::new().u8(item::STATE, 1).put(item::PUBLIC_KEY, &[0; 32]).finish();
        let outcome = Verify::default().message(&book(), &Tlv::parse(&m1).unwrap(), &[7; 32]);
        assert!(matches!(outcome, Outcome::Answer(a) if a == refuse(2, Refusal::Authentication)));
        for m in [&[][..], &[6, 1, 1], &[6, 1, 3], &[6, 1, 1, 3, 2, 0, 0]] {
            let outcome = Verify::default().message(&book(), &Tlv::parse(m).unwrap(), &[7; 32]);
            assert!(matches!(outcome, Outcome::Malformed));
        }
    }
}
