//! Pair-verify, the accessory's side: a controller that is in the book shows that it is itself, and
//! both get the secret of the session.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::book::{Book, Identity};
use super::{Done, Job, Refusal, item, refuse};
use crate::homekit::crypto::{Key, exchange, hkdf, open_message, seal_message};
use crate::homekit::tlv8::{Tlv, Writer};

/// One session's pair-verify; its first message may come again at any time.
#[derive(Default)]
pub struct Verify {
    offered: Option<Offered>,
    /// Who says to be whom, while that is being checked.
    claim: Option<Claim>,
}

/// Our side of an exchange of keys.
pub struct Offered {
    theirs: Key,
    ours: Key,
    shared: Key,
    seal: Key,
}

struct Claim {
    controller: Vec<u8>,
    key: Key,
    shared: Key,
}

/// What follows from a message.
pub enum Outcome {
    /// This answer.
    Answer(Vec<u8>),
    /// First this work, then [`Verify::done`].
    Work(Box<Job>),
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
        self.claim = None;
        let offered = self.offered.take();
        match message.byte(item::STATE) {
            Some(1) => {
                let theirs: Option<Key> = message.get(item::PUBLIC_KEY).and_then(|key| key.try_into().ok());
                let Some(theirs) = theirs else { return Outcome::Malformed };
                let identity = book.identity.clone();
                Outcome::Work(Box::new(Job::Offer { theirs, secret: *secret, identity }))
            }
            Some(3) => match offered {
                None => Outcome::Malformed,
                Some(offered) => match offered.claim(book, message) {
                    None => Outcome::Answer(refuse(4, Refusal::Authentication)),
                    Some((claim, job)) => {
                        self.claim = Some(claim);
                        Outcome::Work(job)
                    }
                },
            },
            _ => Outcome::Malformed,
        }
    }

    /// A job of ours is done.
    pub fn done(&mut self, book: &Book, done: Done) -> Outcome {
        match (done, self.claim.take()) {
            (Done::Offered(None), _) => Outcome::Answer(refuse(2, Refusal::Authentication)),
            (Done::Offered(Some(offered)), _) => {
                let (offered, answer) = *offered;
                self.offered = Some(offered);
                Outcome::Answer(answer)
            }
            // It may have been removed while its signature was read.
            (Done::Checked(true), Some(claim))
                if book.find(&claim.controller).is_some_and(|p| p.key == claim.key) =>
            {
                Outcome::Verified {
                    answer: Writer::new().u8(item::STATE, 4).finish(),
                    controller: claim.controller,
                    shared: claim.shared,
                }
            }
            _ => Outcome::Answer(refuse(4, Refusal::Authentication)),
        }
    }
}

/// Our side of the exchange, and M2.
pub(super) fn offer(theirs: &Key, secret: &Key, identity: &Identity) -> Option<(Offered, Vec<u8>)> {
    let (ours, shared) = exchange(secret, theirs)?;
    let seal = hkdf(&shared, b"Pair-Verify-Encrypt-Salt", b"Pair-Verify-Encrypt-Info");
    let id = identity.device_id.as_bytes();
    let signature = identity.sign(&[&ours[..], id, theirs].concat());
    let inner = Writer::new().put(item::IDENTIFIER, id).put(item::SIGNATURE, &signature).finish();
    let answer = Writer::new()
        .u8(item::STATE, 2)
        .put(item::PUBLIC_KEY, &ours)
        .put(item::ENCRYPTED, &seal_message(&seal, b"PV-Msg02", inner))
        .finish();
    Some((Offered { theirs: *theirs, ours, shared, seal }, answer))
}

impl Offered {
    fn claim(&self, book: &Book, message: &Tlv) -> Option<(Claim, Box<Job>)> {
        let inner = open_message(&self.seal, b"PV-Msg03", message.get(item::ENCRYPTED)?)?;
        let inner = Tlv::parse(&inner).ok()?;
        let id = inner.get(item::IDENTIFIER)?;
        let key = book.find(id)?.key;
        let signed = [&self.theirs[..], id, &self.ours].concat();
        let signature = inner.get(item::SIGNATURE)?.to_vec();
        let claim = Claim { controller: id.to_vec(), key, shared: self.shared };
        Some((claim, Box::new(Job::Check { key, signed, signature })))
    }
}

#[cfg(test)]
pub mod testing {
    //! The controller's side.
    use super::*;
    use crate::homekit::crypto::sign;

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

    /// A message, and the work that follows from it.
    fn send(ours: &mut Verify, book: &Book, message: &[u8], secret: &Key) -> Outcome {
        match ours.message(book, &Tlv::parse(message).unwrap(), secret) {
            Outcome::Work(job) => ours.done(book, job.run()),
            outcome => outcome,
        }
    }

    fn run(id: &[u8], seed: &Key, spoil: impl Fn(&mut Vec<u8>)) -> Outcome {
        let mut book = book();
        book.pairings.push(Pairing { id: b"known".to_vec(), key: public_key(&[3; 32]), admin: true });
        let mut ours = Verify::default();
        let m1 = testing::m1(&[5; 32]);
        // A controller may begin again before it goes on.
        send(&mut ours, &book, &m1, &[7; 32]);
        let Outcome::Answer(m2) = send(&mut ours, &book, &m1, &[8; 32]) else { panic!("no M2") };
        let (mut m3, shared) = testing::m3(&[5; 32], &Tlv::parse(&m2).unwrap(), id, seed);
        spoil(&mut m3);
        let outcome = send(&mut ours, &book, &m3, &[0; 32]);
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

    /// Resuming is Bluetooth's; who asks for it by a session that we do not know verifies as a whole.
    #[test]
    fn who_wants_to_resume_verifies_anew() {
        let mut ours = Verify::default();
        let public = exchange(&[5; 32], &[9; 32]).unwrap().0;
        let m1 = Writer::new()
            .u8(item::STATE, 1)
            .u8(item::METHOD, 6)
            .put(item::PUBLIC_KEY, &public)
            .put(14, &[7; 8])
            .put(item::ENCRYPTED, &[0; 16])
            .finish();
        let mut book = book();
        book.pairings.push(Pairing { id: b"known".to_vec(), key: public_key(&[3; 32]), admin: true });
        let Outcome::Answer(m2) = send(&mut ours, &book, &m1, &[8; 32]) else { panic!("no M2") };
        let (m3, _) = testing::m3(&[5; 32], &Tlv::parse(&m2).unwrap(), b"known", &[3; 32]);
        assert!(matches!(send(&mut ours, &book, &m3, &[0; 32]), Outcome::Verified { .. }));
    }

    #[test]
    fn who_is_removed_while_it_proves_itself_stays_out() {
        let mut book = book();
        book.pairings.push(Pairing { id: b"known".to_vec(), key: public_key(&[3; 32]), admin: true });
        let mut ours = Verify::default();
        let Outcome::Answer(m2) = send(&mut ours, &book, &testing::m1(&[5; 32]), &[8; 32]) else {
            panic!("no M2")
        };
        let (m3, _) = testing::m3(&[5; 32], &Tlv::parse(&m2).unwrap(), b"known", &[3; 32]);
        let outcome = ours.message(&book, &Tlv::parse(&m3).unwrap(), &[0; 32]);
        let Outcome::Work(job) = outcome else { panic!("no work") };
        book.pairings.clear();
        assert!(matches!(ours.done(&book, job.run()), Outcome::Answer(_)));
    }

    #[test]
    fn keys_that_give_the_secret_away_are_refused() {
        let m1 = Writer::new().u8(item::STATE, 1).put(item::PUBLIC_KEY, &[0; 32]).finish();
        let outcome = send(&mut Verify::default(), &book(), &m1, &[7; 32]);
        assert!(matches!(outcome, Outcome::Answer(a) if a == refuse(2, Refusal::Authentication)));
        for m in [&[][..], &[6, 1, 1], &[6, 1, 3], &[6, 1, 1, 3, 2, 0, 0]] {
            let outcome = Verify::default().message(&book(), &Tlv::parse(m).unwrap(), &[7; 32]);
            assert!(matches!(outcome, Outcome::Malformed));
        }
    }
}
