//! One RTP packet: the twelve bytes at its front, and a checked view of a received one. Written once
//! per packet by the packetisers, read once per packet by whoever receives. It never copies payload.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

/// Where the fields of the fixed header lie.
mod field {
    use std::ops::Range;
    pub const SEQ: Range<usize> = 2..4;
    pub const TIMESTAMP: Range<usize> = 4..8;
    pub const SSRC: Range<usize> = 8..12;
}

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 12;
const VERSION: u8 = 2;
const PADDING: u8 = 0x20;
const EXTENSION: u8 = 0x10;

/// Why some bytes are no RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtpError {
    /// Fewer bytes than the header announces.
    Short {
        /// How many the header asks for.
        need: usize,
        /// How many there are.
        have: usize,
    },
    /// The version is not 2.
    Version(u8),
    /// The padding is longer than the payload, or zero.
    Padding(u8),
}

impl fmt::Display for RtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RtpError::Short { need, have } => {
                write!(f, "RTP packet of {have} bytes, its header asks for {need}")
            }
            RtpError::Version(v) => write!(f, "RTP version {v}, expected 2"),
            RtpError::Padding(n) => write!(f, "RTP padding of {n} bytes does not fit the packet"),
        }
    }
}

impl std::error::Error for RtpError {}

/// The fixed header of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Last packet of an access unit (video), first of a talk spurt (sound).
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub seq: u16,
    /// Capture time in ticks of the payload's clock.
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: u32,
}

impl Header {
    /// The header as it goes on the wire: no padding, extension or contributing sources.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let [s0, s1] = self.seq.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [c0, c1, c2, c3] = self.ssrc.to_be_bytes();
        let second = u8::from(self.marker) << 7 | (self.payload_type & 0x7F);
        [VERSION << 6, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]
    }
}

/// A received packet: header, extension and payload, as ranges of the bytes that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed header.
    pub header: Header,
    /// Profile and body of the header extension (RFC 3550 §5.3.1), if any.
    pub extension: Option<(u16, &'a [u8])>,
    /// The payload, without padding.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Looks at `bytes` as one packet. After this nothing about it can fail.
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, RtpError> {
        let short = |need| RtpError::Short { need, have: bytes.len() };
        let Some((fixed, _)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(short(HEADER_LEN));
        };
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if first >> 6 != VERSION {
            return Err(RtpError::Version(first >> 6));
        }
        let mut need = HEADER_LEN + 4 * usize::from(first & 0x0F);
        let mut rest = bytes.get(need..).ok_or(short(need))?;
        let mut extension = None;
        if first & EXTENSION != 0 {
            let Some(([p0, p1, n0, n1], body)) = rest.split_first_chunk::<4>() else {
                return Err(short(need + 4));
            };
            let len = 4 * usize::from(u16::from_be_bytes([*n0, *n1]));
            need += 4 + len;
            let (body, after) = body.split_at_checked(len).ok_or(short(need))?;
            extension = Some((u16::from_be_bytes([*p0, *p1]), body));
            rest = after;
        }
        if first & PADDING != 0 {
            let pad = rest.last().copied().unwrap_or(0);
            rest = match rest.len().checked_sub(usize::from(pad)) {
                Some(len) if pad > 0 => rest.get(..len).unwrap_or(rest),
                _ => return Err(RtpError::Padding(pad)),
            };
        }
        let header = Header {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7F,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        };
        Ok(Packet { header, extension, payload: rest })
    }
}

/// Rewrites the SSRC of an emitted packet in place; nothing if it is too short.
pub fn set_ssrc(packet: &mut [u8], ssrc: u32) {
    if let Some(at) = packet.get_mut(field::SSRC) {
        at.copy_from_slice(&ssrc.to_be_bytes());
    }
}

/// Sequence number of an emitted packet, if it is long enough to have one.
pub fn seq_of(packet: &[u8]) -> Option<u16> {
    packet.get(field::SEQ).and_then(|b| <[u8; 2]>::try_from(b).ok()).map(u16::from_be_bytes)
}

/// Timestamp of an emitted packet, if it is long enough to have one.
pub fn timestamp_of(packet: &[u8]) -> Option<u32> {
    packet.get(field::TIMESTAMP).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(u32::from_be_bytes)
}

/// How far `a` is after `b` on the circle of sequence numbers; negative if it is before.
pub const fn seq_diff(a: u16, b: u16) -> i16 {
    a.wrapping_sub(b) as i16
}

/// Whether a second byte says RTCP (RFC 5761: types 192 to 223 are never RTP payload types).
pub const fn is_rtcp(second: u8) -> bool {
    second >= 192 && second <= 223
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::rtp::pay::tests::Xorshift;

    #[test]
    fn a_header_survives_the_wire() {
        let header =
            Header { marker: true, payload_type: 96, seq: 0xFFFE, timestamp: 0x8000_0001, ssrc: 0xDEAD_BEEF };
        let mut bytes = header.emit().to_vec();
        assert_eq!(bytes, [0x80, 0xE0, 0xFF, 0xFE, 0x80, 0, 0, 1, 0xDE, 0xAD, 0xBE, 0xEF]);
        bytes.extend_from_slice(b"payload");
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.header, packet.payload, packet.extension), (header, &b"payload"[..], None));
        set_ssrc(&mut bytes, 7);
        assert_eq!(Packet::parse(&bytes).unwrap().header.ssrc, 7);
        assert_eq!((seq_of(&bytes), timestamp_of(&bytes)), (Some(0xFFFE), Some(0x8000_0001)));
    }

    /// One contributing source, an ONVIF replay extension, four bytes of padding.
    fn full() -> Vec<u8> {
        let mut bytes = vec![0xB1, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend_from_slice(&[9, 9, 9, 9]);
        bytes.extend_from_slice(&[0xAB, 0xAC, 0, 1, 1, 2, 3, 4]);
        bytes.extend_from_slice(b"data");
        bytes.extend_from_slice(&[0, 0, 0, 4]);
        bytes
    }

    #[test]
    fn sources_extension_and_padding_are_stepped_over() {
        let bytes = full();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload, b"data");
        assert_eq!(packet.extension, Some((0xABAC, &[1, 2, 3, 4][..])));
    }

    #[test]
    fn no_truncation_or_mutation_panics() {
        let bytes = full();
        for len in 0..24 {
            assert!(Packet::parse(&bytes[..len]).is_err(), "{len}");
        }
        let mut random = Xorshift(1);
        for _ in 0..200_000 {
            let mut bad = bytes.clone();
            for _ in 0..3 {
                let at = random.below(bad.len());
                bad[at] = random.next() as u8;
            }
            bad.truncate(random.below(bad.len() + 1));
            let _ = Packet::parse(&bad);
        }
        assert_eq!(Packet::parse(&[0x40; 12]), Err(RtpError::Version(1)));
        assert_eq!(Packet::parse(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(RtpError::Padding(0)));
    }

    #[test]
    fn numbers_are_compared_on_the_circle() {
        assert_eq!(seq_diff(1, 65535), 2);
        assert_eq!(seq_diff(65535, 1), -2);
    }
}
