//! SRTP and SRTCP (RFC 3711) with AES_CM_128_HMAC_SHA1_80: packets are locked and unlocked where they
//! lie, one context for each direction of a session. Nothing is allocated per packet. A received
//! packet that was not made with the key, or that came before, changes nothing here.
//!
//! The ciphers are ours, because the cores that matter have no AES instructions: what RustCrypto has
//! for them works on two blocks in slices of bits, needs about twice the instructions per packet and
//! more flash, and on the others would choose its way at run time, which costs flash once more.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod aes;

use super::sha1::Hmac;
use aes::Aes;
use std::fmt;

/// Bytes behind an RTP packet.
pub const TAG: usize = 10;
/// Bytes behind an RTCP packet: its number and the tag.
pub const RTCP_TAIL: usize = 4 + TAG;
/// The RTCP packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;
/// RTP's fixed header.
const RTP_HEAD: usize = 12;
/// The part of an RTCP packet that is never encrypted.
const RTCP_HEAD: usize = 8;
/// Senders that one receiver knows; a session has one, or two after a restart.
const SOURCES: usize = 4;
/// Numbers behind the highest that are still looked at.
const WINDOW: u64 = 64;

/// The key from which those of a session's direction are derived, with its salt.
#[derive(Clone, PartialEq, Eq)]
pub struct Master {
    /// The key.
    pub key: [u8; 16],
    /// The salt.
    pub salt: [u8; 14],
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Master(***)")
    }
}

/// Why a packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrtpError {
    /// Too short for its own header and the tag.
    Short,
    /// Not of version 2.
    Version,
    /// Its tag is not that of its bytes.
    Forged,
    /// It came before, or is too old to know.
    Replayed,
    /// More senders than a session has.
    Sources,
}

impl fmt::Display for SrtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SrtpError::Short => "SRTP packet shorter than its header and its tag",
            SrtpError::Version => "SRTP packet of another version than 2",
            SrtpError::Forged => "SRTP packet that was not made with this session's key",
            SrtpError::Replayed => "SRTP packet that came before",
            SrtpError::Sources => "SRTP packet of one sender too many",
        })
    }
}

impl std::error::Error for SrtpError {}

/// Keys of RTP or of RTCP.
struct Keys {
    aes: Aes,
    salt: [u8; 14],
    hmac: Hmac,
}

impl Keys {
    /// Derives them (section 4.3); `label` is 0 for RTP and 3 for RTCP.
    fn new(master: &Master, label: u8) -> Keys {
        let aes = Aes::new(&master.key);
        let derive = |label: u8, out: &mut [u8]| {
            let mut iv = with_zeros(&master.salt);
            if let Some(byte) = iv.get_mut(7) {
                *byte ^= label;
            }
            aes.apply(&iv, out);
        };
        let (mut key, mut hmac, mut salt) = ([0; 16], [0; 20], [0; 14]);
        derive(label, &mut key);
        derive(label + 1, &mut hmac);
        derive(label + 2, &mut salt);
        Keys { aes: Aes::new(&key), salt, hmac: Hmac::new(&hmac) }
    }

    /// Encrypts or decrypts the body of a packet with that number.
    fn turn(&self, ssrc: u32, index: u64, body: &mut [u8]) {
        let mut iv = with_zeros(&self.salt);
        let number = u128::from(ssrc) << 64 | u128::from(index) << 16;
        iv.iter_mut().zip(number.to_be_bytes()).for_each(|(b, n)| *b ^= n);
        self.aes.apply(&iv, body);
    }

    fn tag(&self, message: &[u8], end: &[u8]) -> [u8; TAG] {
        let hash = self.hmac.sign(message, end);
        let mut tag = [0; TAG];
        tag.iter_mut().zip(hash).for_each(|(t, h)| *t = h);
        tag
    }

    /// Whether that is the tag, without saying by time where it differs.
    fn fits(&self, message: &[u8], end: &[u8], tag: &[u8]) -> bool {
        let own = self.tag(message, end);
        let differing = own.iter().zip(tag).fold(0, |d, (x, y)| d | (x ^ y));
        tag.len() == TAG && std::hint::black_box(differing) == 0
    }
}

fn with_zeros(salt: &[u8; 14]) -> [u8; 16] {
    let mut iv = [0; 16];
    iv.iter_mut().zip(salt).for_each(|(i, s)| *i = *s);
    iv
}

/// The 48-bit number of a packet of which 16 bits are known, near the highest one so far.
fn guess(highest: u64, seq: u16) -> Option<u64> {
    let (turns, last) = (highest >> 16, highest as u16);
    let turns = match i32::from(seq) - i32::from(last) {
        0x8001.. => turns.checked_sub(1)?,
        ..-0x8000 => turns + 1,
        _ => turns,
    };
    Some(turns << 16 | u64::from(seq))
}

/// Where an RTP packet's body begins, its sequence number and its sender.
fn rtp_head(packet: &[u8]) -> Result<(usize, u16, u32), SrtpError> {
    let Some((&[first, _, s0, s1, _, _, _, _, c0, c1, c2, c3], rest)) =
        packet.split_first_chunk::<RTP_HEAD>()
    else {
        return Err(SrtpError::Short);
    };
    if first >> 6 != 2 {
        return Err(SrtpError::Version);
    }
    let mut head = 4 * usize::from(first & 15);
    if first & 0x10 != 0 {
        let Some(&[_, _, l0, l1]) = rest.get(head..).and_then(|r| r.first_chunk::<4>()) else {
            return Err(SrtpError::Short);
        };
        head += 4 + 4 * usize::from(u16::from_be_bytes([l0, l1]));
    }
    if head > rest.len() {
        return Err(SrtpError::Short);
    }
    Ok((RTP_HEAD + head, u16::from_be_bytes([s0, s1]), u32::from_be_bytes([c0, c1, c2, c3])))
}

/// The sender of an RTCP packet.
fn rtcp_sender(packet: &[u8]) -> Result<u32, SrtpError> {
    let Some(&[first, _, _, _, c0, c1, c2, c3]) = packet.first_chunk::<RTCP_HEAD>() else {
        return Err(SrtpError::Short);
    };
    if first >> 6 != 2 {
        return Err(SrtpError::Version);
    }
    Ok(u32::from_be_bytes([c0, c1, c2, c3]))
}

/// Locks what one sender sends.
pub struct Sender {
    rtp: Keys,
    rtcp: Keys,
    /// The highest packet number so far.
    highest: Option<u64>,
    /// The next report's number.
    report: u32,
}

impl Sender {
    /// With these keys.
    pub fn new(master: &Master) -> Sender {
        Sender { rtp: Keys::new(master, 0), rtcp: Keys::new(master, 3), highest: None, report: 0 }
    }

    /// Locks an RTP packet in place; its last [`TAG`] bytes are room for the tag. A packet may be
    /// locked again from its plain bytes, which gives the same.
    pub fn rtp(&mut self, packet: &mut [u8]) -> Result<(), SrtpError> {
        let (packet, tag) = packet.split_last_chunk_mut::<TAG>().ok_or(SrtpError::Short)?;
        let (head, seq, ssrc) = rtp_head(packet)?;
        let index = match self.highest {
            None => u64::from(seq),
            Some(highest) => guess(highest, seq).ok_or(SrtpError::Replayed)?,
        };
        self.highest = Some(self.highest.map_or(index, |h| h.max(index)));
        self.rtp.turn(ssrc, index, packet.get_mut(head..).unwrap_or_default());
        *tag = self.rtp.tag(packet, &((index >> 16) as u32).to_be_bytes());
        Ok(())
    }

    /// Locks a compound RTCP packet in place and appends its number and tag.
    pub fn rtcp(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        let ssrc = rtcp_sender(packet)?;
        let index = self.report;
        self.report = (index + 1) & !ENCRYPTED;
        self.rtcp.turn(ssrc, u64::from(index), packet.get_mut(RTCP_HEAD..).unwrap_or_default());
        packet.extend_from_slice(&(index | ENCRYPTED).to_be_bytes());
        let tag = self.rtcp.tag(packet, &[]);
        packet.extend_from_slice(&tag);
        Ok(())
    }
}

/// What came from one sender: the highest number, and a bit for it and each of those before it.
#[derive(Clone, Copy)]
struct Seen {
    ssrc: u32,
    highest: u64,
    bits: u64,
}

/// The senders of RTP or of RTCP. Only packets with a good tag get in.
#[derive(Default)]
struct Sources {
    known: [Option<Seen>; SOURCES],
}

impl Sources {
    fn find(&self, ssrc: u32) -> Option<Seen> {
        self.known.iter().flatten().copied().find(|s| s.ssrc == ssrc)
    }

    /// Whether there is room for this sender, and its packet has not come before.
    fn admits(&self, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        let Some(seen) = self.find(ssrc) else {
            return if self.known.iter().any(Option::is_none) { Ok(()) } else { Err(SrtpError::Sources) };
        };
        let back = seen.highest.saturating_sub(index);
        let known = index <= seen.highest && (back >= WINDOW || seen.bits >> back & 1 == 1);
        if known { Err(SrtpError::Replayed) } else { Ok(()) }
    }

    fn note(&mut self, ssrc: u32, index: u64) {
        let new = Seen { ssrc, highest: index, bits: 1 };
        let place = match self.known.iter().position(|s| s.is_some_and(|s| s.ssrc == ssrc)) {
            Some(at) => Some(at),
            None => self.known.iter().position(Option::is_none),
        };
        let Some(slot) = place.and_then(|at| self.known.get_mut(at)) else { return };
        *slot = Some(match *slot {
            None => new,
            Some(seen) if index > seen.highest => {
                let bits = u32::try_from(index - seen.highest).ok().and_then(|by| seen.bits.checked_shl(by));
                Seen { bits: bits.unwrap_or(0) | 1, ..new }
            }
            Some(seen) => {
                let bit = u32::try_from(seen.highest - index).ok().and_then(|by| 1u64.checked_shl(by));
                Seen { bits: seen.bits | bit.unwrap_or(0), ..seen }
            }
        });
    }
}

/// Unlocks what comes in, whoever of those with the key has sent it.
pub struct Receiver {
    rtp: Keys,
    rtcp: Keys,
    packets: Sources,
    reports: Sources,
}

impl Receiver {
    /// With these keys.
    pub fn new(master: &Master) -> Receiver {
        let (packets, reports) = (Sources::default(), Sources::default());
        Receiver { rtp: Keys::new(master, 0), rtcp: Keys::new(master, 3), packets, reports }
    }

    /// Unlocks an RTP packet in place and gives it without its tag.
    pub fn rtp<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], SrtpError> {
        let (packet, tag) = packet.split_last_chunk_mut::<TAG>().ok_or(SrtpError::Short)?;
        let (head, seq, ssrc) = rtp_head(packet)?;
        let index = match self.packets.find(ssrc) {
            None => u64::from(seq),
            Some(seen) => guess(seen.highest, seq).ok_or(SrtpError::Replayed)?,
        };
        self.packets.admits(ssrc, index)?;
        if !self.rtp.fits(packet, &((index >> 16) as u32).to_be_bytes(), tag) {
            return Err(SrtpError::Forged);
        }
        self.packets.note(ssrc, index);
        self.rtp.turn(ssrc, index, packet.get_mut(head..).unwrap_or_default());
        Ok(packet)
    }

    /// Unlocks an RTCP packet in place and gives the compound without number and tag.
    pub fn rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], SrtpError> {
        let (signed, tag) = packet.split_last_chunk_mut::<TAG>().ok_or(SrtpError::Short)?;
        let number = u32::from_be_bytes(*signed.last_chunk::<4>().ok_or(SrtpError::Short)?);
        let plain = signed.len() - 4;
        let ssrc = rtcp_sender(signed.get(..plain).unwrap_or_default())?;
        let index = u64::from(number & !ENCRYPTED);
        self.reports.admits(ssrc, index)?;
        if !self.rtcp.fits(signed, &[], tag) {
            return Err(SrtpError::Forged);
        }
        self.reports.note(ssrc, index);
        let compound = signed.get_mut(..plain).unwrap_or_default();
        if number & ENCRYPTED != 0 {
            self.rtcp.turn(ssrc, index, compound.get_mut(RTCP_HEAD..).unwrap_or_default());
        }
        Ok(compound)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
