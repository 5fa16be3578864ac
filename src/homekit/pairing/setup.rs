//! Pair-setup, the accessory's side: a controller that knows the code becomes the first admin. One
//! controller at a time; wrong codes are counted on flash before they are answered.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::book::{Book, Identity, LONGEST_ID, MOST_FAILURES, Pairing};
use super::{Done, Job, Refusal, Step, item, refuse};
use crate::homekit::crypto::{Key, hkdf, open_message, seal_message, srp, verify};
use crate::homekit::tlv8::{Tlv, Writer};
use std::time::{Duration, Instant};

/// A controller that says nothing for so long makes place for another.
const IDLE: Duration = Duration::from_secs(30);
/// Wrong codes in a row before the next has to wait.
const FREE_FAILURES: u32 = 10;
/// The longest wait.
const LONGEST_WAIT: u32 = 30;

enum Stage {
    /// SRP's first step is being computed.
    Starting,
    /// Waiting for the proof.
    Offered(Box<srp::Server>),
    /// SRP's second step is being computed.
    Proving,
    /// The code was right; waiting for the controller's key.
    Proven(Box<[u8; 64]>),
    /// The controller's key is being checked.
    Finishing,
}

impl Stage {
    /// It is our turn: the controller is not the one who is slow.
    fn is_ours(&self) -> bool {
        matches!(self, Stage::Starting | Stage::Proving | Stage::Finishing)
    }
}

/// The one pair-setup that may be going on at an accessory.
#[derive(Default)]
pub struct Setup {
    going: Option<Going>,
    in_a_row: u32,
    failed: Option<Instant>,
}

struct Going {
    session: u32,
    stage: Stage,
    touched: Instant,
}

impl Setup {
    /// A session that closes gives up its place.
    pub fn leave(&mut self, session: u32) {
        if self.is_of(session) {
            self.going = None;
        }
    }

    /// Whether that session is at it.
    pub fn is_of(&self, session: u32) -> bool {
        self.going.as_ref().is_some_and(|g| g.session == session)
    }

    /// A message of `session`.
    pub fn message(
        &mut self,
        book: &mut Book,
        session: u32,
        message: &Tlv,
        now: Instant,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Step {
        match message.byte(item::STATE) {
            Some(1) => self.begin(book, session, message, now, random),
            Some(3) => self.prove(session, message, now),
            Some(5) => self.finish(book, session, message, now),
            _ => Step::Malformed,
        }
    }

    /// How long the next try has to wait.
    fn wait(&self, now: Instant) -> Option<u32> {
        let over = self.in_a_row.checked_sub(FREE_FAILURES)?;
        let wait = 1u32.checked_shl(over.min(16)).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        let since = now.saturating_duration_since(self.failed?).as_secs();
        u32::try_from(u64::from(wait).saturating_sub(since)).ok().filter(|&left| left > 0)
    }

    #[inline(never)]
    fn begin(
        &mut self,
        book: &Book,
        session: u32,
        message: &Tlv,
        now: Instant,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Step {
        if !matches!(message.uint(item::METHOD), None | Some(0 | 1)) {
            return Step::Malformed;
        }
        if book.is_paired() {
            return Step::Answer(refuse(2, Refusal::Unavailable));
        }
        if book.failures >= MOST_FAILURES {
            return Step::Answer(refuse(2, Refusal::MaxTries));
        }
        let idle = |g: &Going| !g.stage.is_ours() && now.saturating_duration_since(g.touched) >= IDLE;
        let busy = self.going.as_ref().is_some_and(|g| g.session != session && !idle(g));
        if busy {
            return Step::Answer(refuse(2, Refusal::Busy));
        }
        if let Some(seconds) = self.wait(now) {
            let answer = Writer::new().u8(item::STATE, 2).u8(item::ERROR, Refusal::Backoff as u8);
            return Step::Answer(answer.u32(item::RETRY_DELAY, seconds).finish());
        }
        let (mut salt, mut secret) = ([0; 16], [0; 32]);
        random(&mut salt);
        random(&mut secret);
        self.going = Some(Going { session, stage: Stage::Starting, touched: now });
        Step::Work(Box::new(Job::Start { code: book.identity.code.to_string(), salt, secret }))
    }

    #[inline(never)]
    fn prove(&mut self, session: u32, message: &Tlv, now: Instant) -> Step {
        let Some(mut going) = self.going.take_if(|g| g.session == session) else {
            return Step::Malformed;
        };
        let (Stage::Offered(server), Some(public), Some(proof)) =
            (going.stage, message.get(item::PUBLIC_KEY), message.get(item::PROOF))
        else {
            return Step::Malformed;
        };
        going.stage = Stage::Proving;
        going.touched = now;
        self.going = Some(going);
        let (public, proof) = (public.to_vec(), proof.to_vec());
        Step::Work(Box::new(Job::Agree { server, public, proof }))
    }

    /// A job of `session` is done.
    #[inline(never)]
    pub fn done(&mut self, book: &mut Book, session: u32, done: Done, now: Instant) -> Step {
        let Some(going) = self.going.as_mut().filter(|g| g.session == session) else {
            // It took so long that another controller has its place.
            let state = match done {
                Done::Started(_) => 2,
                Done::Agreed(_) => 4,
                _ => 6,
            };
            return Step::Answer(refuse(state, Refusal::Busy));
        };
        going.touched = now;
        match (done, &going.stage) {
            (Done::Started(server), Stage::Starting) => {
                let answer = Writer::new()
                    .u8(item::STATE, 2)
                    .put(item::PUBLIC_KEY, server.public())
                    .put(item::SALT, server.salt())
                    .finish();
                going.stage = Stage::Offered(server);
                Step::Answer(answer)
            }
            (Done::Agreed(Some(agreed)), Stage::Proving) => {
                let answer = Writer::new().u8(item::STATE, 4).put(item::PROOF, &agreed.proof).finish();
                going.stage = Stage::Proven(Box::new(agreed.key));
                Step::Answer(answer)
            }
            (Done::Agreed(None), Stage::Proving) => {
                self.going = None;
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.failed = Some(now);
                book.failures = book.failures.saturating_add(1);
                let answer = refuse(4, Refusal::Authentication);
                Step::Save(answer.clone(), answer)
            }
            (Done::Finished(None), Stage::Finishing) => {
                self.going = None;
                Step::Answer(refuse(6, Refusal::Authentication))
            }
            (Done::Finished(Some(finished)), Stage::Finishing) => {
                self.going = None;
                // Another one cannot have come first, but the book is what counts.
                if book.is_paired() {
                    return Step::Answer(refuse(6, Refusal::Unavailable));
                }
                let (pairing, answer) = *finished;
                book.pairings.push(pairing);
                book.failures = 0;
                self.in_a_row = 0;
                Step::Save(answer, refuse(6, Refusal::Unknown))
            }
            _ => {
                self.going = None;
                Step::Malformed
            }
        }
    }

    #[inline(never)]
    fn finish(&mut self, book: &Book, session: u32, message: &Tlv, now: Instant) -> Step {
        let Some(mut going) = self.going.take_if(|g| g.session == session) else {
            return Step::Malformed;
        };
        let (Stage::Proven(secret), Some(sealed)) = (going.stage, message.get(item::ENCRYPTED)) else {
            return Step::Malformed;
        };
        going.stage = Stage::Finishing;
        going.touched = now;
        self.going = Some(going);
        let (sealed, identity) = (sealed.to_vec(), book.identity.clone());
        Step::Work(Box::new(Job::Finish { secret, sealed, identity }))
    }
}

/// The controller, if it is who it says, and our answer to it.
pub(super) fn finish(secret: &[u8], sealed: &[u8], ours: &Identity) -> Option<(Pairing, Vec<u8>)> {
    let key = hkdf(secret, b"Pair-Setup-Encrypt-Salt", b"Pair-Setup-Encrypt-Info");
    let pairing = controller(secret, &key, sealed)?;
    let signing = hkdf(secret, b"Pair-Setup-Accessory-Sign-Salt", b"Pair-Setup-Accessory-Sign-Info");
    let public = ours.public_key();
    let signed = [&signing, ours.device_id.as_bytes(), &public].concat();
    let inner = Writer::new()
        .put(item::IDENTIFIER, ours.device_id.as_bytes())
        .put(item::PUBLIC_KEY, &public)
        .put(item::SIGNATURE, &ours.sign(&signed))
        .finish();
    let answer = Writer::new()
        .u8(item::STATE, 6)
        .put(item::ENCRYPTED, &seal_message(&key, b"PS-Msg06", inner))
        .finish();
    Some((pairing, answer))
}

/// Who the controller says it is, if it can prove it.
fn controller(secret: &[u8], key: &Key, sealed: &[u8]) -> Option<Pairing> {
    let inner = open_message(key, b"PS-Msg05", sealed)?;
    let inner = Tlv::parse(&inner).ok()?;
    let id = inner.get(item::IDENTIFIER).filter(|id| (1..=LONGEST_ID).contains(&id.len()))?;
    let public = inner.get(item::PUBLIC_KEY)?;
    let signing = hkdf(secret, b"Pair-Setup-Controller-Sign-Salt", b"Pair-Setup-Controller-Sign-Info");
    let signed = [&signing[..], id, public].concat();
    if !verify(public, &signed, inner.get(item::SIGNATURE)?) {
        return None;
    }
    Some(Pairing { id: id.to_vec(), key: public.try_into().ok()?, admin: true })
}

#[cfg(test)]
pub mod testing {
    //! The controller's side, for tests.
    use super::super::item;
    use crate::homekit::crypto::{Key, hkdf, seal_message, sign};
    use crate::homekit::tlv8::Writer;

    /// M5 of a controller of that key.
    pub fn m5(key: &[u8; 64], sign_with: &Key, public: &Key) -> Writer {
        let signing = hkdf(key, b"Pair-Setup-Controller-Sign-Salt", b"Pair-Setup-Controller-Sign-Info");
        let signed = [&signing[..], b"controller", public].concat();
        let inner = Writer::new()
            .put(item::IDENTIFIER, b"controller")
            .put(item::PUBLIC_KEY, public)
            .put(item::SIGNATURE, &sign(sign_with, &signed));
        let seal = hkdf(key, b"Pair-Setup-Encrypt-Salt", b"Pair-Setup-Encrypt-Info");
        Writer::new()
            .u8(item::STATE, 5)
            .put(item::ENCRYPTED, &seal_message(&seal, b"PS-Msg05", inner.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::book::testing::book;
    use super::testing::m5;
    use super::*;
    use crate::homekit::crypto::testing::bytes;
    use crate::homekit::crypto::{public_key, srp::testing::controller};

    struct Home {
        setup: Setup,
        book: Book,
        now: Instant,
    }

    impl Home {
        fn new() -> Home {
            Home { setup: Setup::default(), book: book(), now: Instant::now() }
        }

        fn send(&mut self, session: u32, message: Writer) -> (Tlv, bool) {
            let message = Tlv::parse(&message.finish()).unwrap();
            let mut step = self.setup.message(&mut self.book, session, &message, self.now, &mut bytes(5));
            loop {
                step = match step {
                    Step::Work(job) => self.setup.done(&mut self.book, session, job.run(), self.now),
                    Step::Answer(answer) => return (Tlv::parse(&answer).unwrap(), false),
                    Step::Save(answer, _) => return (Tlv::parse(&answer).unwrap(), true),
                    Step::Malformed => return (Tlv::default(), false),
                }
            }
        }

        fn m1(&mut self, session: u32) -> Tlv {
            self.send(session, Writer::new().u8(item::STATE, 1).u8(item::METHOD, 0)).0
        }

        /// M3 with a code; M4 and K.
        fn m3(&mut self, session: u32, m2: &Tlv, code: &str) -> (Tlv, [u8; 64]) {
            let (salt, b) = (m2.get(item::SALT).unwrap(), m2.get(item::PUBLIC_KEY).unwrap());
            let (a, proof, key) = controller(code, salt, b, &[9; 32]);
            let m3 = Writer::new().u8(item::STATE, 3).put(item::PUBLIC_KEY, &a).put(item::PROOF, &proof);
            (self.send(session, m3).0, key)
        }
    }

    #[test]
    fn a_telephone_with_the_code_becomes_the_admin() {
        let mut home = Home::new();
        let m2 = home.m1(1);
        assert_eq!(m2.get(item::PUBLIC_KEY).unwrap().len(), 384);
        let (m4, key) = home.m3(1, &m2, "031-45-154");
        assert_eq!(m4.byte(item::STATE), Some(4));
        assert!(m4.get(item::PROOF).is_some());
        let seed = [3; 32];
        let (m6, saved) = home.send(1, m5(&key, &seed, &public_key(&seed)));
        assert!(saved, "it has to be on flash before the answer");
        let seal = hkdf(&key, b"Pair-Setup-Encrypt-Salt", b"Pair-Setup-Encrypt-Info");
        let inner = open_message(&seal, b"PS-Msg06", m6.get(item::ENCRYPTED).unwrap()).unwrap();
        let inner = Tlv::parse(&inner).unwrap();
        let signing = hkdf(&key, b"Pair-Setup-Accessory-Sign-Salt", b"Pair-Setup-Accessory-Sign-Info");
        let ours = inner.get(item::PUBLIC_KEY).unwrap();
        let signed = [&signing[..], b"1A:2B:3C:4D:5E:01", ours].concat();
        assert!(verify(ours, &signed, inner.get(item::SIGNATURE).unwrap()));
        assert_eq!(home.book.pairings.len(), 1);
        assert!(home.book.pairings[0].admin);
        assert_eq!(home.m1(2).byte(item::ERROR), Some(6), "paired already");
    }

    #[test]
    fn a_stranger_without_the_code_or_the_key_stays_out() {
        let mut home = Home::new();
        let m2 = home.m1(1);
        let (m4, _) = home.m3(1, &m2, "031-45-155");
        assert_eq!((m4.byte(item::STATE), m4.byte(item::ERROR)), (Some(4), Some(2)));
        assert_eq!(home.book.failures, 1);
        let m2 = home.m1(1);
        let (_, key) = home.m3(1, &m2, "031-45-154");
        let (m6, _) = home.send(1, m5(&key, &[4; 32], &public_key(&[3; 32])));
        assert_eq!((m6.byte(item::STATE), m6.byte(item::ERROR)), (Some(6), Some(2)));
        assert!(!home.book.is_paired());
        // Out of order.
        assert_eq!(home.send(1, m5(&key, &[3; 32], &public_key(&[3; 32]))).0, Tlv::default());
        assert_eq!(home.send(1, Writer::new().u8(item::STATE, 3)).0, Tlv::default());
        assert_eq!(home.send(1, Writer::new()).0, Tlv::default());
    }

    #[test]
    fn one_at_a_time_but_nobody_for_ever() {
        let mut home = Home::new();
        assert!(home.m1(1).get(item::SALT).is_some());
        assert_eq!(home.m1(2).byte(item::ERROR), Some(7));
        home.now += IDLE;
        // Time that our own arithmetic takes is not the controller's.
        home.setup.going.as_mut().unwrap().stage = Stage::Proving;
        assert_eq!(home.m1(2).byte(item::ERROR), Some(7));
        home.setup.going.as_mut().unwrap().stage = Stage::Proven(Box::new([0; 64]));
        assert!(home.m1(2).get(item::SALT).is_some());
        assert_eq!(home.m1(3).byte(item::ERROR), Some(7));
        home.setup.leave(2);
        assert!(home.m1(3).get(item::SALT).is_some());
    }

    #[test]
    fn guessing_is_slowed_and_then_ended() {
        let mut home = Home::new();
        for failure in 1..=10u8 {
            home.setup.going = Some(Going { session: 1, stage: Stage::Proving, touched: home.now });
            let step = home.setup.done(&mut home.book, 1, Done::Agreed(None), home.now);
            assert!(matches!(step, Step::Save(..)));
            assert_eq!(home.book.failures, failure);
        }
        let m2 = home.m1(1);
        assert_eq!((m2.byte(item::ERROR), m2.uint(item::RETRY_DELAY)), (Some(3), Some(1)));
        home.now += Duration::from_secs(1);
        assert!(home.m1(1).get(item::SALT).is_some());
        home.book.failures = MOST_FAILURES;
        assert_eq!(home.m1(1).byte(item::ERROR), Some(5));
    }
}
