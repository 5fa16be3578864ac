//! RTCP (RFC 3550 §6, RFC 4585 feedback): reports about what was sent and received. A compound packet
//! is walked without a copy; what is unknown or malformed is stepped over and counted by the caller,
//! never a reason to close anything. Statistics of a received track are kept here in integers.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::media::Time;
use crate::net::clock;
use crate::net::rtp::{Header, seq_diff};
use std::fmt;

/// Packet types.
mod kind {
    pub const SR: u8 = 200;
    pub const RR: u8 = 201;
    pub const SDES: u8 = 202;
    pub const BYE: u8 = 203;
    pub const RTPFB: u8 = 205;
    pub const PSFB: u8 = 206;
}

const VERSION: u8 = 2;
const CNAME: u8 = 1;
const REPORT_LEN: usize = 24;
const SENDER_LEN: usize = 20;

/// Wall-clock time as seconds since 1900 with a 32-bit fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ntp(pub u64);

/// Seconds from 1900 to 1970.
const UNIX_EPOCH: u64 = 2_208_988_800;

impl Ntp {
    /// From time since 1970.
    pub const fn from_unix(seconds: u64, nanos: u32) -> Ntp {
        Ntp((seconds.wrapping_add(UNIX_EPOCH) << 32) | (((nanos as u64) << 32) / 1_000_000_000))
    }

    /// Now, for a sender's report. Without the time of day, time since the start of the machine is as
    /// good for lips.
    pub fn of(now: Time, wall: Option<u64>) -> Ntp {
        let start = || {
            let part = now.nanos() % 1_000_000_000;
            (now.ticks(1) << 32) | ((part << 32) / 1_000_000_000)
        };
        Ntp(wall.map_or_else(start, clock::ntp))
    }

    /// Nanoseconds since 1970; zero for times before.
    pub const fn unix_nanos(self) -> u64 {
        let nanos = ((self.0 & 0xFFFF_FFFF) * 1_000_000_000) >> 32;
        (self.0 >> 32).saturating_sub(UNIX_EPOCH).saturating_mul(1_000_000_000).saturating_add(nanos)
    }

    /// The middle 32 bits, by which a receiver names a report.
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// A sender's report of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// When.
    pub ntp: Ntp,
    /// The same instant on the track's RTP clock.
    pub rtp_time: u32,
    /// Packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

/// What a receiver says about one sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whom it is about.
    pub ssrc: u32,
    /// Share lost since the last report, in 256ths.
    pub fraction: u8,
    /// Packets lost in all; 24 bits on the wire, may be negative with duplicates.
    pub lost: i32,
    /// Highest sequence number with its wraps.
    pub highest: u32,
    /// Jitter in ticks.
    pub jitter: u32,
    /// [`Ntp::middle`] of the last sender report.
    pub last_sr: u32,
    /// Time since that report, in 65536ths of a second.
    pub delay: u32,
}

impl Report {
    fn parse(bytes: &[u8; REPORT_LEN]) -> Report {
        let word = |i: usize| {
            bytes
                .get(4 * i..4 * i + 4)
                .and_then(|b| <[u8; 4]>::try_from(b).ok())
                .map_or(0, u32::from_be_bytes)
        };
        Report {
            ssrc: word(0),
            fraction: (word(1) >> 24) as u8,
            lost: (word(1) << 8) as i32 >> 8,
            highest: word(2),
            jitter: word(3),
            last_sr: word(4),
            delay: word(5),
        }
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let lost = self.lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF;
        for word in [
            self.ssrc,
            u32::from(self.fraction) << 24 | lost,
            self.highest,
            self.jitter,
            self.last_sr,
            self.delay,
        ] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// Report blocks as they lie in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reports<'a>(&'a [u8]);

impl Iterator for Reports<'_> {
    type Item = Report;

    fn next(&mut self) -> Option<Report> {
        let (block, rest) = self.0.split_first_chunk::<REPORT_LEN>()?;
        self.0 = rest;
        Some(Report::parse(block))
    }
}

/// Packets asked for again: a number, and the sixteen after it as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nacks<'a>(&'a [u8]);

impl Iterator for Nacks<'_> {
    type Item = (u16, u16);

    fn next(&mut self) -> Option<(u16, u16)> {
        let ([p0, p1, b0, b1], rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some((u16::from_be_bytes([*p0, *p1]), u16::from_be_bytes([*b0, *b1])))
    }
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A sender's report.
    SenderReport {
        /// Who sends.
        ssrc: u32,
        /// What it sent.
        info: SenderInfo,
        /// What it received.
        reports: Reports<'a>,
    },
    /// A receiver's report.
    ReceiverReport {
        /// Who receives.
        ssrc: u32,
        /// What it received.
        reports: Reports<'a>,
    },
    /// The name of a source.
    Description {
        /// Whose.
        ssrc: u32,
        /// CNAME, as bytes: nobody promises UTF-8.
        cname: &'a [u8],
    },
    /// A source leaves.
    Bye {
        /// Which.
        ssrc: u32,
    },
    /// Lost packets are asked for again.
    Nack {
        /// Of which sender.
        media: u32,
        /// Which.
        packets: Nacks<'a>,
    },
    /// A key frame is asked for, by PLI or FIR.
    KeyFrameWanted {
        /// Of which sender.
        media: u32,
    },
    /// Something else, well-formed.
    Other {
        /// Its type.
        kind: u8,
    },
}

/// Why some bytes are no RTCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpError {
    /// It ends before its own length.
    Short,
    /// The version is not 2.
    Version(u8),
}

impl fmt::Display for RtcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RtcpError::Short => f.write_str("RTCP packet shorter than its header says"),
            RtcpError::Version(v) => write!(f, "RTCP version {v}, expected 2"),
        }
    }
}

impl std::error::Error for RtcpError {}

/// Walks the packets of a compound. Ends after the first error.
pub struct Compound<'a>(&'a [u8]);

impl<'a> Compound<'a> {
    /// Over the bytes of a datagram or an interleaved frame.
    pub fn new(bytes: &'a [u8]) -> Compound<'a> {
        Compound(bytes)
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Packet<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let result = one(self.0);
        self.0 = match &result {
            Ok((_, rest)) => rest,
            Err(_) => &[],
        };
        Some(result.map(|(packet, _)| packet))
    }
}

fn word(bytes: &[u8]) -> Result<(u32, &[u8]), RtcpError> {
    let (word, rest) = bytes.split_first_chunk::<4>().ok_or(RtcpError::Short)?;
    Ok((u32::from_be_bytes(*word), rest))
}

fn one(bytes: &[u8]) -> Result<(Packet<'_>, &[u8]), RtcpError> {
    let (&[first, kind, l0, l1], rest) = bytes.split_first_chunk::<4>().ok_or(RtcpError::Short)?;
    if first >> 6 != VERSION {
        return Err(RtcpError::Version(first >> 6));
    }
    let len = 4 * usize::from(u16::from_be_bytes([l0, l1]));
    let (mut body, rest) = rest.split_at_checked(len).ok_or(RtcpError::Short)?;
    if first & 0x20 != 0 {
        let pad = usize::from(body.last().copied().unwrap_or(0));
        body = body.get(..body.len().saturating_sub(pad)).unwrap_or(&[]);
    }
    let count = first & 0x1F;
    let blocks = |body| -> Result<Reports<'_>, RtcpError> {
        <[u8]>::get(body, ..usize::from(count) * REPORT_LEN).map(Reports).ok_or(RtcpError::Short)
    };
    let packet = match kind {
        kind::SR => {
            let (ssrc, body) = word(body)?;
            let (info, body) = body.split_first_chunk::<SENDER_LEN>().ok_or(RtcpError::Short)?;
            let info: &[u8] = info;
            let (high, info) = word(info)?;
            let (low, info) = word(info)?;
            let (rtp_time, info) = word(info)?;
            let (packets, info) = word(info)?;
            let (octets, _) = word(info)?;
            let ntp = Ntp(u64::from(high) << 32 | u64::from(low));
            let info = SenderInfo { ntp, rtp_time, packets, octets };
            Packet::SenderReport { ssrc, info, reports: blocks(body)? }
        }
        kind::RR => {
            let (ssrc, body) = word(body)?;
            Packet::ReceiverReport { ssrc, reports: blocks(body)? }
        }
        kind::SDES if count > 0 => {
            let (ssrc, mut items) = word(body)?;
            let mut cname: &[u8] = &[];
            while let Some((&[item, len], after)) = items.split_first_chunk::<2>() {
                if item == 0 {
                    break;
                }
                let (text, after) = after.split_at_checked(usize::from(len)).ok_or(RtcpError::Short)?;
                if item == CNAME {
                    cname = text;
                }
                items = after;
            }
            Packet::Description { ssrc, cname }
        }
        kind::BYE if count > 0 => Packet::Bye { ssrc: word(body)?.0 },
        kind::RTPFB if count == 1 => {
            let (media, packets) = word(word(body)?.1)?;
            Packet::Nack { media, packets: Nacks(packets) }
        }
        kind::PSFB if matches!(count, 1 | 4) => {
            let (mut media, fci) = word(word(body)?.1)?;
            // FIR names its sender in its own entry (RFC 5104 §4.3.1).
            if count == 4
                && let Ok((named, _)) = word(fci)
            {
                media = named;
            }
            Packet::KeyFrameWanted { media }
        }
        kind => Packet::Other { kind },
    };
    Ok((packet, rest))
}

/// Closes a packet begun at `start`: pads it to words and writes its length.
fn close(out: &mut Vec<u8>, start: usize) {
    while !(out.len() - start).is_multiple_of(4) {
        out.push(0);
    }
    let words = ((out.len() - start) / 4).saturating_sub(1) as u16;
    if let Some(at) = out.get_mut(start + 2..start + 4) {
        at.copy_from_slice(&words.to_be_bytes());
    }
}

fn open(out: &mut Vec<u8>, count: u8, kind: u8, ssrc: u32) -> usize {
    let start = out.len();
    out.extend_from_slice(&[VERSION << 6 | count & 0x1F, kind, 0, 0]);
    out.extend_from_slice(&ssrc.to_be_bytes());
    start
}

/// Appends a sender report and the sender's name: the compound that goes out after PLAY and then
/// every five seconds.
pub fn emit_sender(out: &mut Vec<u8>, ssrc: u32, info: &SenderInfo, cname: &str) {
    let start = open(out, 0, kind::SR, ssrc);
    out.extend_from_slice(&info.ntp.0.to_be_bytes());
    for word in [info.rtp_time, info.packets, info.octets] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    close(out, start);
    emit_name(out, ssrc, cname);
}

/// Appends a receiver report and the receiver's name.
pub fn emit_receiver(out: &mut Vec<u8>, ssrc: u32, reports: &[Report], cname: &str) {
    let reports = reports.get(..reports.len().min(31)).unwrap_or(&[]);
    let start = open(out, reports.len() as u8, kind::RR, ssrc);
    for report in reports {
        report.emit(out);
    }
    close(out, start);
    emit_name(out, ssrc, cname);
}

fn emit_name(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let start = open(out, 1, kind::SDES, ssrc);
    let cname = cname.as_bytes().get(..cname.len().min(255)).unwrap_or(&[]);
    out.extend_from_slice(&[CNAME, cname.len() as u8]);
    out.extend_from_slice(cname);
    // At least one zero ends the items.
    out.push(0);
    close(out, start);
}

/// Appends a goodbye; put it behind a report.
pub fn emit_bye(out: &mut Vec<u8>, ssrc: u32) {
    let start = open(out, 1, kind::BYE, ssrc);
    close(out, start);
}

/// Appends a request for a key frame.
pub fn emit_pli(out: &mut Vec<u8>, ssrc: u32, media: u32) {
    let start = open(out, 1, kind::PSFB, ssrc);
    out.extend_from_slice(&media.to_be_bytes());
    close(out, start);
}

/// What a receiver knows about the track it receives (RFC 3550 appendix A.1, A.3, A.8).
#[derive(Clone, Debug, Default)]
pub struct Reception {
    ssrc: u32,
    base: Option<u32>,
    highest: u32,
    received: u32,
    expected_before: u32,
    received_before: u32,
    transit: Option<u32>,
    /// In sixteenths of a tick.
    jitter: u32,
    sender: Option<(Ntp, Time)>,
}

impl Reception {
    /// Counts a packet that came at `now`; `rate` is the track's clock.
    pub fn packet(&mut self, now: Time, header: &Header, rate: u32) {
        if self.base.is_none() || header.ssrc != self.ssrc {
            let seq = u32::from(header.seq);
            *self = Reception { ssrc: header.ssrc, base: Some(seq), highest: seq, ..Reception::default() };
        } else {
            let step = seq_diff(header.seq, self.highest as u16);
            if step > 0 {
                self.highest = self.highest.wrapping_add(step as u32);
            }
        }
        self.received = self.received.wrapping_add(1);
        let transit = (now.ticks(rate) as u32).wrapping_sub(header.timestamp);
        if let Some(before) = self.transit {
            let d = (transit.wrapping_sub(before) as i32).unsigned_abs().min(1 << 24);
            self.jitter = self.jitter.wrapping_add(d).wrapping_sub((self.jitter + 8) >> 4);
        }
        self.transit = Some(transit);
    }

    /// Notes a sender report that came at `now`.
    pub fn sender_report(&mut self, now: Time, info: &SenderInfo) {
        self.sender = Some((info.ntp, now));
    }

    /// Packets received.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// The report to send, if anything was received; the share lost is since the last one.
    pub fn report(&mut self, now: Time) -> Option<Report> {
        let expected = self.highest.wrapping_sub(self.base?).wrapping_add(1);
        let interval = expected.wrapping_sub(self.expected_before);
        let came = self.received.wrapping_sub(self.received_before);
        (self.expected_before, self.received_before) = (expected, self.received);
        let missing = interval.wrapping_sub(came) as i32;
        let fraction = if interval == 0 || missing <= 0 {
            0
        } else {
            (u64::from(missing as u32) << 8) / u64::from(interval)
        };
        let (last_sr, delay) = self.sender.map_or((0, 0), |(ntp, at)| {
            (ntp.middle(), now.since(at).as_millis().saturating_mul(65_536).wrapping_div(1000) as u32)
        });
        Some(Report {
            ssrc: self.ssrc,
            fraction: fraction.min(255) as u8,
            lost: (expected.wrapping_sub(self.received) as i32).clamp(-0x80_0000, 0x7F_FFFF),
            highest: self.highest,
            jitter: self.jitter >> 4,
            last_sr,
            delay,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::rtp::pay::tests::Xorshift;

    fn info() -> SenderInfo {
        SenderInfo { ntp: Ntp::from_unix(1_700_000_000, 500_000_000), rtp_time: 7, packets: 8, octets: 9 }
    }

    fn compound() -> Vec<u8> {
        let mut out = Vec::new();
        emit_sender(&mut out, 1, &info(), "streamd");
        let report = Report { ssrc: 2, fraction: 3, lost: -4, highest: 5, jitter: 6, last_sr: 7, delay: 8 };
        emit_receiver(&mut out, 1, &[report], "ab");
        emit_pli(&mut out, 1, 2);
        emit_bye(&mut out, 1);
        out.extend_from_slice(&[0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0x80, 1]);
        out
    }

    #[test]
    fn reports_survive_the_wire() {
        let bytes = compound();
        let packets: Vec<_> = Compound::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(packets.len(), 7);
        assert!(matches!(packets[0], Packet::SenderReport { ssrc: 1, info: i, .. } if i == info()));
        assert_eq!(packets[1], Packet::Description { ssrc: 1, cname: b"streamd" });
        let Packet::ReceiverReport { ssrc: 1, mut reports } = packets[2] else { panic!() };
        assert_eq!(reports.next().map(|r| (r.lost, r.fraction, r.delay)), Some((-4, 3, 8)));
        assert_eq!(packets[4], Packet::KeyFrameWanted { media: 2 });
        assert_eq!(packets[5], Packet::Bye { ssrc: 1 });
        let Packet::Nack { media: 2, mut packets } = packets[6] else { panic!() };
        assert_eq!((packets.next(), packets.next()), (Some((10, 0x8001)), None));
    }

    #[test]
    fn no_truncation_or_mutation_panics_or_loops() {
        let bytes = compound();
        for len in 0..bytes.len() {
            assert!(Compound::new(&bytes[..len]).count() <= 7);
        }
        let mut random = Xorshift(4);
        for _ in 0..100_000 {
            let mut bad = bytes.clone();
            for _ in 0..4 {
                let at = random.below(bad.len());
                bad[at] = random.next() as u8;
            }
            for packet in Compound::new(&bad) {
                match packet {
                    Ok(Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. }) => {
                        assert!(reports.count() < 32);
                    }
                    Ok(Packet::Nack { packets, .. }) => assert!(packets.count() < bad.len()),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn wall_clock_and_ntp_agree() {
        let ntp = Ntp::from_unix(1_700_000_000, 500_000_000);
        assert_eq!(ntp.0 & 0xFFFF_FFFF, 0x8000_0000);
        assert_eq!(ntp.unix_nanos(), 1_700_000_000_500_000_000);
        assert_eq!(ntp.middle() & 0xFFFF, 0x8000);
    }

    #[test]
    fn a_quarter_lost_is_reported_as_a_quarter_and_a_steady_stream_has_no_jitter() {
        let mut reception = Reception::default();
        for i in 0..400_u32 {
            if i % 4 == 3 {
                continue;
            }
            let now = Time::from_ticks(u64::from(i) * 3600, 90_000);
            let header =
                Header { seq: (65_500 + i) as u16, timestamp: i * 3600, ssrc: 9, ..Header::default() };
            reception.packet(now, &header, 90_000);
        }
        reception.sender_report(Time::from_nanos(0), &info());
        let report = reception.report(Time::from_nanos(1_500_000_000)).unwrap();
        assert_eq!((report.ssrc, report.lost, report.jitter), (9, 99, 0));
        assert_eq!(report.fraction, 63);
        assert_eq!(report.highest, 65_500 + 398);
        assert_eq!((report.last_sr, report.delay), (info().ntp.middle(), 98_304));
        assert_eq!(reception.report(Time::ZERO).unwrap().fraction, 0);
    }
}
