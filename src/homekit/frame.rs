//! The encrypted session's frames: two bytes of length, up to 1024 bytes, a tag; a counter for each
//! direction. Bytes come in cut anywhere and leave as plain bytes; the first frame that is not the
//! peer's ends the session. No socket here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::crypto::{Cipher, Key, TAG, hkdf};
use std::fmt;

/// Plain bytes of one frame at most.
pub const LARGEST: usize = 1024;

/// Why a session has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A frame of no bytes or too many.
    Length(u16),
    /// Not sealed by the peer, or not next.
    Forged,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Length(n) => {
                write!(f, "HomeKit session: expected a frame of 1 to {LARGEST} bytes, got {n}")
            }
            Error::Forged => {
                f.write_str("HomeKit session: a frame is not the controller's, or not the next one")
            }
        }
    }
}

impl std::error::Error for Error {}

/// Both directions of one session.
pub struct Session {
    outward: Cipher,
    sent: u64,
    inward: Cipher,
    received: u64,
}

impl Session {
    /// The accessory's end, from the secret of pair-verify.
    pub fn new(shared: &Key) -> Session {
        Session {
            outward: Cipher::new(&hkdf(shared, b"Control-Salt", b"Control-Read-Encryption-Key")),
            sent: 0,
            inward: Cipher::new(&hkdf(shared, b"Control-Salt", b"Control-Write-Encryption-Key")),
            received: 0,
        }
    }

    /// The controller's end, for whoever plays one.
    pub fn controller(shared: &Key) -> Session {
        let ours = Session::new(shared);
        Session { outward: ours.inward, sent: 0, inward: ours.outward, received: 0 }
    }

    /// Appends `plain` to `out` as frames.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        out.reserve(plain.len() + plain.len().div_ceil(LARGEST) * (2 + TAG));
        for part in plain.chunks(LARGEST) {
            let length = (part.len() as u16).to_le_bytes();
            out.extend_from_slice(&length);
            let from = out.len();
            out.extend_from_slice(part);
            let sealed = out.get_mut(from..).and_then(|bytes| self.outward.seal(self.sent, &length, bytes));
            out.extend_from_slice(&sealed.unwrap_or_default());
            self.sent += 1;
        }
    }

    /// Opens the whole frames at the beginning of `input` into `plain`; says how many bytes of input
    /// they took.
    pub fn open(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<usize, Error> {
        let mut rest = input;
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let n = u16::from_le_bytes(*length);
            if n == 0 || usize::from(n) > LARGEST {
                return Err(Error::Length(n));
            }
            let Some((bytes, tail)) = tail.split_at_checked(usize::from(n)) else { break };
            let Some((tag, tail)) = tail.split_first_chunk::<TAG>() else { break };
            let from = plain.len();
            plain.extend_from_slice(bytes);
            let opened =
                plain.get_mut(from..).is_some_and(|b| self.inward.open(self.received, length, b, tag));
            if !opened {
                plain.truncate(from);
                return Err(Error::Forged);
            }
            self.received += 1;
            rest = tail;
        }
        Ok(input.len() - rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::crypto::testing::{bytes, hex};
    use super::*;

    fn controller(shared: &Key) -> Session {
        Session::controller(shared)
    }

    const SHARED: Key = [0x33; 32];

    #[test]
    fn the_known_frame() {
        let mut out = Vec::new();
        controller(&SHARED).seal(b"hello", &mut out);
        assert_eq!(out, hex("05006f02a7ae8687eb1878bec6fd4f3f63da7603b6e365"));
        let mut plain = Vec::new();
        assert_eq!(Session::new(&SHARED).open(&out, &mut plain), Ok(out.len()));
        assert_eq!(plain, b"hello");
    }

    #[test]
    fn long_answers_arrive_however_they_are_cut() {
        let message: Vec<u8> = (0..5000u32).map(|i| (i * 7) as u8).collect();
        let (mut ours, mut theirs) = (Session::new(&SHARED), controller(&SHARED));
        let mut wire = Vec::new();
        ours.seal(&message, &mut wire);
        assert_eq!(wire.len(), 5000 + 5 * 18);
        let (mut held, mut plain) = (Vec::new(), Vec::new());
        for part in wire.chunks(7) {
            held.extend_from_slice(part);
            let used = theirs.open(&held, &mut plain).unwrap();
            held.drain(..used);
        }
        assert_eq!(plain, message);
        assert!(held.is_empty());
    }

    #[test]
    fn forged_replayed_and_overlong_frames_end_the_session() {
        let mut wire = Vec::new();
        controller(&SHARED).seal(b"GET /accessories", &mut wire);
        let mut plain = Vec::new();
        let mut ours = Session::new(&SHARED);
        ours.open(&wire, &mut plain).unwrap();
        assert_eq!(ours.open(&wire, &mut plain), Err(Error::Forged));
        assert_eq!(plain, b"GET /accessories");
        assert_eq!(ours.open(&[0, 0], &mut plain), Err(Error::Length(0)));
        assert_eq!(ours.open(&[1, 4], &mut plain), Err(Error::Length(1025)));
        for end in 0..wire.len() {
            assert_eq!(Session::new(&SHARED).open(&wire[..end], &mut Vec::new()), Ok(0));
        }
        let mut random = bytes(3);
        for _ in 0..2000 {
            let (mut at, mut with) = ([0; 2], [0; 1]);
            random(&mut at);
            random(&mut with);
            let mut bad = wire.clone();
            let at = usize::from(u16::from_le_bytes(at)) % bad.len();
            bad[at] ^= with[0] | 1;
            assert_ne!(Session::new(&SHARED).open(&bad, &mut Vec::new()), Ok(wire.len()));
        }
    }
}
