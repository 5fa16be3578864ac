//! TLV8, in which pairing messages and camera characteristics are written: type, length, value, with
//! values beyond 255 bytes cut into items of one type. A message is read whole, with every length
//! checked; what a value means is the caller's business.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

/// Bytes of a message; beyond it refused. The longest real one, a list of 16 pairings, is under 2 KB.
pub const LARGEST: usize = 16 * 1024;
/// Items of a message; beyond it refused.
pub const MOST_ITEMS: usize = 512;

/// Why bytes are no TLV8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// More bytes than any message has.
    Long,
    /// More items than any message has.
    Many,
    /// An item's length goes beyond the end.
    Overrun {
        /// The item's type.
        kind: u8,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Long => write!(f, "TLV8: expected at most {LARGEST} bytes"),
            Error::Many => write!(f, "TLV8: expected at most {MOST_ITEMS} items"),
            Error::Overrun { kind } => write!(f, "TLV8: item {kind} is longer than the message"),
        }
    }
}

impl std::error::Error for Error {}

/// A message that was read: its items in order, cut values joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlv {
    items: Vec<(u8, Vec<u8>)>,
}

impl Tlv {
    /// Reads a whole message.
    pub fn parse(bytes: &[u8]) -> Result<Tlv, Error> {
        if bytes.len() > LARGEST {
            return Err(Error::Long);
        }
        let mut items: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut rest = bytes;
        let mut goes_on = None;
        while let [kind, tail @ ..] = rest {
            let overrun = Error::Overrun { kind: *kind };
            let (&length, tail) = tail.split_first().ok_or(overrun)?;
            let (value, tail) = tail.split_at_checked(usize::from(length)).ok_or(overrun)?;
            let full = items.len() >= MOST_ITEMS;
            match items.last_mut() {
                Some((_, joined)) if goes_on == Some(*kind) => joined.extend_from_slice(value),
                _ if full => return Err(Error::Many),
                _ => items.push((*kind, value.to_vec())),
            }
            goes_on = (length == 255).then_some(*kind);
            rest = tail;
        }
        Ok(Tlv { items })
    }

    /// The first value of a type.
    pub fn get(&self, kind: u8) -> Option<&[u8]> {
        self.all(kind).next()
    }

    /// Every value of a type, in order.
    pub fn all(&self, kind: u8) -> impl Iterator<Item = &[u8]> {
        self.items.iter().filter(move |(k, _)| *k == kind).map(|(_, v)| v.as_slice())
    }

    /// Every item in order, separators too.
    pub fn items(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.items.iter().map(|(k, v)| (*k, v.as_slice()))
    }

    /// The first value of a type as a number, of whatever width up to eight bytes.
    pub fn uint(&self, kind: u8) -> Option<u64> {
        number(self.get(kind)?)
    }

    /// The first value of a type as a number of two bytes.
    pub fn short(&self, kind: u8) -> Option<u16> {
        self.uint(kind)?.try_into().ok()
    }

    /// The first value of a type as a number of one byte.
    pub fn byte(&self, kind: u8) -> Option<u8> {
        self.short(kind)?.try_into().ok()
    }

    /// The value that these types lead to, through messages within the message.
    pub fn at(&self, path: &[u8]) -> Option<Vec<u8>> {
        match path {
            [] => None,
            [kind] => self.get(*kind).map(<[u8]>::to_vec),
            [kind, rest @ ..] => self.nested(*kind)?.at(rest),
        }
    }

    /// The same as a number, of whatever width up to eight bytes.
    pub fn number_at(&self, path: &[u8]) -> Option<u64> {
        number(&self.at(path)?)
    }

    /// The same as a number of two bytes.
    pub fn short_at(&self, path: &[u8]) -> Option<u16> {
        self.number_at(path)?.try_into().ok()
    }

    /// The same as a number of one byte.
    pub fn byte_at(&self, path: &[u8]) -> Option<u8> {
        self.short_at(path)?.try_into().ok()
    }

    /// The first value of a type as a message of its own.
    pub fn nested(&self, kind: u8) -> Option<Tlv> {
        Tlv::parse(self.get(kind)?).ok()
    }
}

/// Little-endian bytes as a number: one to eight of them, or more if the others are zero.
pub fn number(bytes: &[u8]) -> Option<u64> {
    let (low, high) = bytes.split_at(bytes.len().min(8));
    if low.is_empty() || high.iter().any(|&b| b != 0) {
        return None;
    }
    Some(low.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
}

/// Appends items to a message.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// An empty message.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// A value of any length, cut where it has to be.
    #[inline(always)]
    pub fn put(mut self, kind: u8, value: &[u8]) -> Writer {
        self.add(kind, value);
        self
    }

    /// The same in place: what all the others are made of.
    #[inline(never)]
    fn add(&mut self, kind: u8, value: &[u8]) {
        if value.is_empty() {
            self.out.extend_from_slice(&[kind, 0]);
        }
        for part in value.chunks(255) {
            self.out.extend_from_slice(&[kind, part.len() as u8]);
            self.out.extend_from_slice(part);
        }
    }

    /// A number of one byte.
    #[inline(always)]
    pub fn u8(self, kind: u8, value: u8) -> Writer {
        self.put(kind, &[value])
    }

    /// A number of two bytes.
    #[inline(always)]
    pub fn u16(self, kind: u8, value: u16) -> Writer {
        self.put(kind, &value.to_le_bytes())
    }

    /// A number of four bytes.
    #[inline(always)]
    pub fn u32(self, kind: u8, value: u32) -> Writer {
        self.put(kind, &value.to_le_bytes())
    }

    /// A number of eight bytes.
    #[inline(always)]
    pub fn u64(self, kind: u8, value: u64) -> Writer {
        self.put(kind, &value.to_le_bytes())
    }

    /// A message within the message.
    #[inline(always)]
    pub fn nest(self, kind: u8, inner: Writer) -> Writer {
        self.put(kind, &inner.out)
    }

    /// An entry of a list of equal types: parted from the one before it by an empty item of type
    /// `separator` (0 inside characteristics, 0xff in pairing messages).
    #[inline(always)]
    pub fn entry(mut self, separator: u8, first: bool, kind: u8, value: &[u8]) -> Writer {
        if !first {
            self.add(separator, &[]);
        }
        self.put(kind, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_and_joined_again() {
        for length in [0, 1, 254, 255, 256, 509, 510, 511, 1024] {
            let value: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let bytes = Writer::new().u8(6, 1).put(3, &value).u8(7, 2).finish();
            let tlv = Tlv::parse(&bytes).unwrap();
            assert_eq!(tlv.get(3).unwrap(), value, "{length}");
            assert_eq!((tlv.byte(6), tlv.byte(7)), (Some(1), Some(2)));
            assert_eq!(tlv.items().count(), 3);
            for end in 0..bytes.len() {
                if let Ok(cut) = Tlv::parse(&bytes[..end]) {
                    assert_ne!(cut, tlv, "{length} cut at {end}");
                }
            }
        }
    }

    #[test]
    fn lists_are_read_with_and_without_separators() {
        let list = Writer::new().entry(0, true, 1, &[1]).entry(0, false, 1, &[2]).finish();
        assert_eq!(list, [1, 1, 1, 0, 0, 1, 1, 2]);
        for bytes in [&list[..], &[1, 1, 1, 0xff, 0, 1, 1, 2], &[1, 1, 1, 1, 1, 2]] {
            let tlv = Tlv::parse(bytes).unwrap();
            assert!(tlv.all(1).eq([&[1u8][..], &[2]]));
        }
    }

    #[test]
    fn numbers_of_any_width() {
        assert_eq!(number(&[]), None);
        assert_eq!(number(&[5]), Some(5));
        assert_eq!(number(&[0x34, 0x12]), Some(0x1234));
        assert_eq!(number(&[255; 8]), Some(u64::MAX));
        assert_eq!(number(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), Some(1));
        assert_eq!(number(&[1, 0, 0, 0, 0, 0, 0, 0, 1]), None);
    }

    #[test]
    fn hostile_messages_are_refused() {
        assert_eq!(Tlv::parse(&[1, 5, 0]), Err(Error::Overrun { kind: 1 }));
        assert_eq!(Tlv::parse(&[1]), Err(Error::Overrun { kind: 1 }));
        assert_eq!(Tlv::parse(&vec![0; LARGEST + 1]), Err(Error::Long));
        assert_eq!(Tlv::parse(&vec![0; MOST_ITEMS * 2 + 2]), Err(Error::Many));
        let mut seed = 0x2545_f491u32;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..48)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 17;
                    seed ^= seed << 5;
                    (seed >> 8) as u8 & 0x8f
                })
                .collect();
            let _ = Tlv::parse(&bytes);
        }
    }
}
