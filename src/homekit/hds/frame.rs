//! The data stream's frames: a one, three bytes of length, the payload, a tag; a key and a counter for
//! each direction, from the secret of the controller's session and both sides' salts. A payload is
//! sealed and opened where it lies. No socket here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::homekit::crypto::{Cipher, Key, TAG, hkdf};
use crate::net::limits::HDS_FRAME;
use std::fmt;

/// Bytes before a payload.
pub const HEAD: usize = 4;

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not a frame, or not one of this kind.
    Kind(u8),
    /// Longer than anything a hub says.
    Long(u32),
    /// Not sealed by the hub, or not next.
    Forged,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Kind(kind) => write!(f, "data stream: expected a frame, got {kind:#04x}"),
            Error::Long(n) => {
                write!(f, "data stream: expected a frame of at most {HDS_FRAME} bytes, got {n}")
            }
            Error::Forged => f.write_str("data stream: a frame is not the hub's, or not the next one"),
        }
    }
}

impl std::error::Error for Error {}

/// The length of the payload that the frame at the beginning announces; none while there is no head.
pub fn length(input: &[u8]) -> Result<Option<usize>, Error> {
    let Some(([kind, a, b, c], _)) = input.split_first_chunk::<HEAD>() else {
        return match input.first() {
            Some(&kind) if kind != 1 => Err(Error::Kind(kind)),
            _ => Ok(None),
        };
    };
    if *kind != 1 {
        return Err(Error::Kind(*kind));
    }
    let n = u32::from_be_bytes([0, *a, *b, *c]);
    if n as usize > HDS_FRAME { Err(Error::Long(n)) } else { Ok(Some(n as usize)) }
}

/// Both directions of one data stream.
pub struct Keys {
    outward: Cipher,
    sent: u64,
    inward: Cipher,
    received: u64,
}

impl Keys {
    /// The accessory's end.
    pub fn new(shared: &Key, theirs: &Key, ours: &Key) -> Keys {
        let salt = [theirs.as_slice(), ours].concat();
        Keys {
            outward: Cipher::new(&hkdf(shared, &salt, b"HDS-Read-Encryption-Key")),
            sent: 0,
            inward: Cipher::new(&hkdf(shared, &salt, b"HDS-Write-Encryption-Key")),
            received: 0,
        }
    }

    /// The hub's end.
    pub fn turned(self) -> Keys {
        Keys { outward: self.inward, sent: 0, inward: self.outward, received: 0 }
    }

    /// Makes a frame of what was written behind [`HEAD`] free bytes at `from`: fills these in, seals,
    /// appends the tag.
    pub fn seal(&mut self, out: &mut Vec<u8>, from: usize) {
        let Some((head, payload)) = out.get_mut(from..).and_then(|f| f.split_first_chunk_mut::<HEAD>())
        else {
            return;
        };
        *head = (payload.len() as u32 | 1 << 24).to_be_bytes();
        let tag = self.outward.seal(self.sent, head, payload).unwrap_or_default();
        self.sent += 1;
        out.extend_from_slice(&tag);
    }

    /// Whether the whole frame at the beginning is the next one of this hub. Nothing is changed.
    pub fn fits(&self, input: &[u8], len: usize) -> bool {
        let mut frame = input.get(..HEAD + len + TAG).unwrap_or_default().to_vec();
        let Some((head, rest)) = frame.split_first_chunk_mut::<HEAD>() else { return false };
        let Some((payload, tag)) = rest.split_last_chunk_mut::<TAG>() else { return false };
        self.inward.open(self.received, head, payload, tag)
    }

    /// Opens the whole frame at the beginning, where it lies: its payload, and how long it is in all.
    /// None while it is not whole. Bytes that do not open stay as they are.
    pub fn open<'b>(&mut self, input: &'b mut [u8]) -> Result<Option<(&'b mut [u8], usize)>, Error> {
        match length(input)? {
            Some(len) => self.open_any(input, len),
            None => Ok(None),
        }
    }

    /// The same for a frame of this length.
    fn open_any<'b>(
        &mut self,
        input: &'b mut [u8],
        len: usize,
    ) -> Result<Option<(&'b mut [u8], usize)>, Error> {
        let whole = HEAD + len + TAG;
        let Some((frame, _)) = input.split_at_mut_checked(whole) else { return Ok(None) };
        let Some((head, rest)) = frame.split_first_chunk_mut::<HEAD>() else { return Ok(None) };
        let Some((payload, tag)) = rest.split_last_chunk_mut::<TAG>() else { return Ok(None) };
        if !self.inward.open(self.received, head, payload, tag) {
            return Err(Error::Forged);
        }
        self.received += 1;
        Ok(Some((payload, whole)))
    }
}

#[cfg(test)]
pub mod testing {
    //! The hub's end.
    use super::*;

    impl Keys {
        /// A hub opens what is longer than anything that it says.
        pub fn hear<'b>(&mut self, input: &'b mut [u8]) -> Option<(&'b mut [u8], usize)> {
            let [1, a, b, c, ..] = input else { return None };
            let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            self.open_any(input, len).unwrap()
        }
    }

    /// Keys as the hub holds them.
    pub fn hub(shared: &Key, theirs: &Key, ours: &Key) -> Keys {
        Keys::new(shared, theirs, ours).turned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::crypto::testing::{bytes, hex};
    use super::testing::hub;
    use super::*;

    const HELLO: &str =
        "2ce34870726f746f636f6c47636f6e74726f6c47726571756573744568656c6c6f426964330100000000000000e0";
    const SEALED: &str = "0100002e6b241a43d1d05d86b2d6cfe138659c57beedc8bc3cc5cd9a7b711f822ba231dfe43a02162d914f7d24bc8253bcd8180e215830422275cd0c58bba0509866";

    #[test]
    fn a_hubs_first_frame() {
        let mut keys = Keys::new(&[0x33; 32], &[0x44; 32], &[0x55; 32]);
        let mut frame = hex(SEALED);
        let (payload, len) = keys.open(&mut frame).unwrap().unwrap();
        assert_eq!((&payload[..], len), (&hex(HELLO)[..], hex(SEALED).len()));
        let mut theirs = hub(&[0x33; 32], &[0x44; 32], &[0x55; 32]);
        let mut out = [&[0; HEAD][..], &hex(HELLO)].concat();
        theirs.seal(&mut out, 0);
        assert_eq!(out, hex(SEALED));
    }

    #[test]
    fn what_does_not_open_is_refused_and_left_as_it_was() {
        let sealed = hex(SEALED);
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            let before = bent.clone();
            let opened =
                Keys::new(&[0x33; 32], &[0x44; 32], &[0x55; 32]).open(&mut bent).map(|o| o.is_some());
            // a longer one is waited for
            assert!(matches!(opened, Err(_) | Ok(false)), "{at}");
            assert_eq!(bent, before);
        }
        for end in 0..sealed.len() {
            let mut keys = Keys::new(&[0x33; 32], &[0x44; 32], &[0x55; 32]);
            assert!(keys.open(&mut sealed[..end].to_vec()).unwrap().is_none());
        }
        let mut keys = Keys::new(&[0x33; 32], &[0x44; 32], &[0x55; 32]);
        assert!(keys.open(&mut sealed.clone()).unwrap().is_some());
        assert_eq!(keys.open(&mut sealed.clone()).map(|o| o.is_some()), Err(Error::Forged), "a replay");
        assert_eq!(length(&[2]), Err(Error::Kind(2)));
        assert_eq!(length(&[1, 0xff, 0xff, 0xff]), Err(Error::Long(0xff_ffff)));
        assert_eq!(length(&[1, 0, 0]), Ok(None));
    }

    #[test]
    fn frames_of_any_length_come_back_in_order() {
        let mut ours = Keys::new(&[1; 32], &[2; 32], &[3; 32]);
        let mut theirs = hub(&[1; 32], &[2; 32], &[3; 32]);
        let mut next = bytes(3);
        let mut out = Vec::new();
        let mut plain = Vec::new();
        for len in [0usize, 1, 15, 16, 1000, HDS_FRAME] {
            let mut payload = vec![0; len];
            next(&mut payload);
            let from = out.len();
            out.extend([0; HEAD]);
            out.extend_from_slice(&payload);
            ours.seal(&mut out, from);
            plain.push(payload);
        }
        let mut rest = &mut out[..];
        for payload in plain {
            let (opened, len) = theirs.open(rest).unwrap().unwrap();
            assert_eq!(opened, payload);
            rest = &mut rest[len..];
        }
        assert!(rest.is_empty());
    }
}
