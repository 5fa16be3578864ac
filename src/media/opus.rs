//! What an Opus packet says about itself (RFC 6716 section 3): mode, bandwidth, frames, duration,
//! and whether it is well formed; and the identification header of Ogg and MP4 (RFC 7845). The
//! sound itself is never decoded here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

/// The clock of all durations here, of RTP and of containers.
pub const RATE: u32 = 48_000;
/// The longest frame inside a packet, in bytes.
pub const MAX_FRAME: usize = 1275;
/// The longest packet, 120 ms, in samples.
pub const MAX_SAMPLES: u32 = 5760;

/// What is wrong with a packet, by the rule of RFC 6716 section 3.4, or with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// R1: no bytes at all.
    Empty,
    /// R2: a frame longer than 1275 bytes.
    FrameTooLong,
    /// R3: two equal frames in an odd number of bytes.
    Odd,
    /// R4, R6, R7: a length or the padding reaches beyond the packet, or frames do not divide it.
    Length,
    /// R5: no frame, or more than 120 ms.
    Count,
    /// Not an identification header, or one that is cut short or of another major version.
    Head,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Empty => "Opus packet without a byte",
            Error::FrameTooLong => "Opus frame longer than 1275 bytes",
            Error::Odd => "Opus packet of two equal frames with an odd length",
            Error::Length => "Opus frame lengths do not fit the packet",
            Error::Count => "Opus packet without frames or longer than 120 ms",
            Error::Head => "not a valid Opus identification header",
        })
    }
}

impl std::error::Error for Error {}

/// Which of the two coders is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Speech.
    Silk,
    /// Both.
    Hybrid,
    /// Music, low delay.
    Celt,
}

/// How high the sound reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bandwidth {
    /// 4 kHz.
    Narrow,
    /// 6 kHz.
    Medium,
    /// 8 kHz.
    Wide,
    /// 12 kHz.
    SuperWide,
    /// 20 kHz.
    Full,
}

/// The first byte of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toc(pub u8);

impl Toc {
    /// The coder.
    pub const fn mode(self) -> Mode {
        match self.0 >> 3 {
            0..12 => Mode::Silk,
            12..16 => Mode::Hybrid,
            _ => Mode::Celt,
        }
    }

    /// The bandwidth.
    pub const fn bandwidth(self) -> Bandwidth {
        match self.0 >> 3 {
            0..4 | 16..20 => Bandwidth::Narrow,
            4..8 => Bandwidth::Medium,
            8..12 | 20..24 => Bandwidth::Wide,
            12..14 | 24..28 => Bandwidth::SuperWide,
            _ => Bandwidth::Full,
        }
    }

    /// Samples at 48 kHz in each frame.
    pub const fn frame_samples(self) -> u32 {
        let config = self.0 >> 3;
        match config {
            0..12 => match config & 3 {
                0 => 480,
                1 => 960,
                2 => 1920,
                _ => 2880,
            },
            12..16 => 480 << (config & 1),
            _ => 120 << (config & 3),
        }
    }

    /// One or two.
    pub const fn channels(self) -> u8 {
        1 + (self.0 >> 2 & 1)
    }

    /// How frames are counted: 0 one, 1 two of equal length, 2 two, 3 any number.
    pub const fn code(self) -> u8 {
        self.0 & 3
    }
}

/// A well formed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its first byte.
    pub toc: Toc,
    /// How many frames it has, 1 to 48.
    pub frames: u8,
    /// Bytes of padding at its end.
    pub padding: usize,
}

impl Packet {
    /// Checks a packet by all rules of RFC 6716 section 3.4.
    pub fn parse(packet: &[u8]) -> Result<Packet, Error> {
        let (&first, rest) = packet.split_first().ok_or(Error::Empty)?;
        let toc = Toc(first);
        match toc.code() {
            0 => {
                fits(rest.len())?;
                Ok(Packet { toc, frames: 1, padding: 0 })
            }
            1 => {
                if rest.len() % 2 != 0 {
                    return Err(Error::Odd);
                }
                fits(rest.len() / 2)?;
                Ok(Packet { toc, frames: 2, padding: 0 })
            }
            2 => {
                let (len, rest) = frame_len(rest)?;
                fits(rest.len().checked_sub(len).ok_or(Error::Length)?)?;
                Ok(Packet { toc, frames: 2, padding: 0 })
            }
            _ => many(toc, rest),
        }
    }

    /// Its duration in samples at 48 kHz.
    pub const fn samples(&self) -> u32 {
        self.toc.frame_samples() * self.frames as u32
    }
}

/// A packet whose first byte says code 3.
fn many(toc: Toc, rest: &[u8]) -> Result<Packet, Error> {
    let (&count, mut rest) = rest.split_first().ok_or(Error::Count)?;
    let frames = count & 63;
    if frames == 0 || toc.frame_samples() * u32::from(frames) > MAX_SAMPLES {
        return Err(Error::Count);
    }
    let mut padding = 0usize;
    if count & 0x40 != 0 {
        loop {
            let (&more, tail) = rest.split_first().ok_or(Error::Length)?;
            rest = tail;
            // 255 says 254 bytes and that another length follows.
            padding += usize::from(more.min(254));
            if more != 255 {
                break;
            }
        }
    }
    let mut left = rest.len().checked_sub(padding).ok_or(Error::Length)?;
    if count & 0x80 == 0 {
        let frames = usize::from(frames);
        if !left.is_multiple_of(frames) {
            return Err(Error::Length);
        }
        fits(left / frames)?;
    } else {
        for _ in 1..frames {
            let (len, tail) = frame_len(rest)?;
            let coded = rest.len() - tail.len();
            left = left.checked_sub(coded + len).ok_or(Error::Length)?;
            rest = tail;
        }
        fits(left)?;
    }
    Ok(Packet { toc, frames, padding })
}

/// Calls `each` with every frame of a packet, in order. Only the well formed get that far.
pub fn frames<'a>(packet: &'a [u8], each: &mut dyn FnMut(&'a [u8])) -> Result<Packet, Error> {
    let parsed = Packet::parse(packet)?;
    let mut rest = packet.get(1..).unwrap_or_default();
    let mut frames = usize::from(parsed.frames);
    let mut equal = matches!(parsed.toc.code(), 0 | 1);
    if parsed.toc.code() == 3 {
        let (&count, tail) = rest.split_first().ok_or(Error::Count)?;
        rest = tail;
        let mut padded = count & 0x40 != 0;
        while padded {
            let (&more, tail) = rest.split_first().ok_or(Error::Length)?;
            (rest, padded) = (tail, more == 255);
        }
        rest = rest.get(..rest.len().saturating_sub(parsed.padding)).unwrap_or_default();
        equal = count & 0x80 == 0;
    }
    let mut lengths = [0u16; 48];
    if !equal {
        for length in lengths.iter_mut().take(frames - 1) {
            let (len, tail) = frame_len(rest)?;
            (*length, rest) = (len as u16, tail);
        }
    }
    let mut lengths = lengths.into_iter().map(usize::from);
    let each_len = rest.len() / frames.max(1);
    while frames > 0 {
        frames -= 1;
        let len = match lengths.next() {
            _ if frames == 0 => rest.len(),
            Some(len) if !equal => len,
            _ => each_len,
        };
        let (frame, tail) = rest.split_at_checked(len).ok_or(Error::Length)?;
        each(frame);
        rest = tail;
    }
    Ok(parsed)
}

fn fits(frame: usize) -> Result<(), Error> {
    if frame > MAX_FRAME { Err(Error::FrameTooLong) } else { Ok(()) }
}

/// A frame's length in one or two bytes (section 3.2.1), at most 1275 by its form.
fn frame_len(bytes: &[u8]) -> Result<(usize, &[u8]), Error> {
    match bytes {
        [n @ 0..=251, rest @ ..] => Ok((usize::from(*n), rest)),
        [n, m, rest @ ..] => Ok((usize::from(*m) * 4 + usize::from(*n), rest)),
        _ => Err(Error::Length),
    }
}

/// The identification header: `OpusHead` in Ogg, `dOps` in MP4. Only mapping family 0 (mono or
/// stereo) is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Channels of the sound, 1 to 8.
    pub channels: u8,
    /// Samples at 48 kHz to throw away at the start.
    pub pre_skip: u16,
    /// Rate of the original sound, for information; 0 if unknown.
    pub input_rate: u32,
    /// Gain to apply, in 1/256 dB.
    pub gain: i16,
    /// Channel mapping family: 0 mono and stereo, 1 surround.
    pub family: u8,
}

impl Head {
    /// Bytes of a header of family 0 in Ogg.
    pub const LEN: usize = 19;
    /// Bytes of a header of family 0 in MP4, without the box around it.
    pub const DOPS_LEN: usize = 11;

    /// Mono or stereo, without gain.
    pub const fn new(channels: u8, pre_skip: u16, input_rate: u32) -> Head {
        Head { channels, pre_skip, input_rate, gain: 0, family: 0 }
    }

    /// Reads the form of Ogg, Matroska and WebM.
    pub fn parse(bytes: &[u8]) -> Result<Head, Error> {
        let rest = bytes.strip_prefix(b"OpusHead").ok_or(Error::Head)?;
        let Some((&[version, channels, s0, s1, r0, r1, r2, r3, g0, g1, family], table)) =
            rest.split_first_chunk::<11>()
        else {
            return Err(Error::Head);
        };
        // A reader accepts every minor version of the major version 0 (RFC 7845 section 5.1).
        if version == 0 || version >> 4 != 0 {
            return Err(Error::Head);
        }
        let head = Head {
            channels,
            pre_skip: u16::from_le_bytes([s0, s1]),
            input_rate: u32::from_le_bytes([r0, r1, r2, r3]),
            gain: i16::from_le_bytes([g0, g1]),
            family,
        };
        head.check(table)
    }

    /// Reads the body of MP4's `dOps` box.
    pub fn parse_dops(bytes: &[u8]) -> Result<Head, Error> {
        let Some((&[version, channels, s0, s1, r0, r1, r2, r3, g0, g1, family], table)) =
            bytes.split_first_chunk::<11>()
        else {
            return Err(Error::Head);
        };
        if version != 0 {
            return Err(Error::Head);
        }
        let head = Head {
            channels,
            pre_skip: u16::from_be_bytes([s0, s1]),
            input_rate: u32::from_be_bytes([r0, r1, r2, r3]),
            gain: i16::from_be_bytes([g0, g1]),
            family,
        };
        head.check(table)
    }

    /// Streams, coupled streams and the mapping must make sense where they are present.
    fn check(self, table: &[u8]) -> Result<Head, Error> {
        match self.family {
            0 if matches!(self.channels, 1 | 2) => Ok(self),
            1 if matches!(self.channels, 1..=8) => {
                let [streams, coupled, map @ ..] = table else { return Err(Error::Head) };
                let map = map.get(..usize::from(self.channels)).ok_or(Error::Head)?;
                let total = u16::from(*streams) + u16::from(*coupled);
                let sound = map.iter().all(|&m| m == 255 || u16::from(m) < total);
                if *streams == 0 || coupled > streams || total > 255 || !sound {
                    return Err(Error::Head);
                }
                Ok(self)
            }
            _ => Err(Error::Head),
        }
    }

    /// Writes the form of Ogg, family 0.
    pub fn emit(&self) -> [u8; Head::LEN] {
        let mut out = *b"OpusHead\x01\0\0\0\0\0\0\0\0\0\0";
        let mut fields = out.iter_mut().skip(9);
        let bytes = [self.channels]
            .into_iter()
            .chain(self.pre_skip.to_le_bytes())
            .chain(self.input_rate.to_le_bytes())
            .chain(self.gain.to_le_bytes());
        fields.by_ref().zip(bytes).for_each(|(to, from)| *to = from);
        out
    }

    /// Writes the body of MP4's `dOps` box, family 0.
    pub fn emit_dops(&self) -> [u8; Head::DOPS_LEN] {
        let [s0, s1] = self.pre_skip.to_be_bytes();
        let [r0, r1, r2, r3] = self.input_rate.to_be_bytes();
        let [g0, g1] = self.gain.to_be_bytes();
        [0, self.channels, s0, s1, r0, r1, r2, r3, g0, g1, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::Rng;

    #[test]
    fn the_first_byte_gives_what_the_table_of_the_standard_says() {
        // (configuration, mode, bandwidth, first of its durations in 0.1 ms, how many)
        let table = [
            (0, Mode::Silk, Bandwidth::Narrow, &[100, 200, 400, 600][..]),
            (4, Mode::Silk, Bandwidth::Medium, &[100, 200, 400, 600]),
            (8, Mode::Silk, Bandwidth::Wide, &[100, 200, 400, 600]),
            (12, Mode::Hybrid, Bandwidth::SuperWide, &[100, 200]),
            (14, Mode::Hybrid, Bandwidth::Full, &[100, 200]),
            (16, Mode::Celt, Bandwidth::Narrow, &[25, 50, 100, 200]),
            (20, Mode::Celt, Bandwidth::Wide, &[25, 50, 100, 200]),
            (24, Mode::Celt, Bandwidth::SuperWide, &[25, 50, 100, 200]),
            (28, Mode::Celt, Bandwidth::Full, &[25, 50, 100, 200]),
        ];
        for (first, mode, bandwidth, times) in table {
            for (i, tenths) in times.iter().enumerate() {
                let toc = Toc((first + i as u8) << 3 | 4);
                let got = (toc.mode(), toc.bandwidth(), toc.frame_samples(), toc.channels());
                assert_eq!(got, (mode, bandwidth, tenths * 48 / 10, 2));
            }
        }
    }

    fn packet(head: &[u8], body: usize) -> Vec<u8> {
        let mut p = head.to_vec();
        p.resize(head.len() + body, 0x55);
        p
    }

    #[test]
    fn well_formed_packets_give_their_duration() {
        let samples = |p: &[u8]| Packet::parse(p).map(|p| (p.frames, p.samples(), p.padding));
        const TOC: u8 = 9 << 3; // SILK wide, 20 ms
        assert_eq!(samples(&[TOC]), Ok((1, 960, 0)));
        assert_eq!(samples(&packet(&[TOC], 1275)), Ok((1, 960, 0)));
        assert_eq!(samples(&packet(&[TOC | 1], 20)), Ok((2, 1920, 0)));
        assert_eq!(samples(&packet(&[TOC | 2, 7], 9)), Ok((2, 1920, 0)));
        assert_eq!(samples(&packet(&[TOC | 2, 252, 1], 256)), Ok((2, 1920, 0)));
        assert_eq!(samples(&packet(&[TOC | 3, 3], 30)), Ok((3, 2880, 0)));
        assert_eq!(samples(&packet(&[TOC | 3, 0x83, 4, 5], 20)), Ok((3, 2880, 0)));
        assert_eq!(samples(&packet(&[TOC | 3, 0x42, 4], 20 + 4)), Ok((2, 1920, 4)));
        assert_eq!(samples(&packet(&[TOC | 3, 0xc2, 255, 1, 6], 6 + 3 + 255)), Ok((2, 1920, 255)));
        // 48 frames of 2.5 ms are 120 ms
        assert_eq!(samples(&packet(&[16 << 3 | 3, 48], 48)), Ok((48, 5760, 0)));
    }

    #[test]
    fn every_rule_of_the_standard_is_kept() {
        const TOC: u8 = 9 << 3;
        let bad = |head: &[u8], body| Packet::parse(&packet(head, body)).unwrap_err();
        assert_eq!(bad(&[], 0), Error::Empty);
        assert_eq!(bad(&[TOC], 1276), Error::FrameTooLong);
        assert_eq!(bad(&[TOC | 1], 2552), Error::FrameTooLong);
        assert_eq!(bad(&[TOC | 1], 3), Error::Odd);
        assert_eq!(bad(&[TOC | 2], 0), Error::Length);
        assert_eq!(bad(&[TOC | 2, 252], 0), Error::Length);
        assert_eq!(bad(&[TOC | 2, 10], 9), Error::Length);
        assert_eq!(bad(&[TOC | 2, 1], 1277), Error::FrameTooLong);
        assert_eq!(bad(&[TOC | 3], 0), Error::Count);
        assert_eq!(bad(&[TOC | 3, 0], 10), Error::Count);
        assert_eq!(bad(&[TOC | 3, 7], 70), Error::Count);
        assert_eq!(bad(&[16 << 3 | 3, 49], 49), Error::Count);
        assert_eq!(bad(&[TOC | 3, 3], 31), Error::Length);
        assert_eq!(bad(&[TOC | 3, 0x42, 30], 20), Error::Length);
        assert_eq!(bad(&[TOC | 3, 0x42, 255], 0), Error::Length);
        assert_eq!(bad(&[TOC | 3, 0x83, 4, 5], 8), Error::Length);
        assert_eq!(bad(&[TOC | 3, 0x82, 4], 1280), Error::FrameTooLong);
    }

    #[test]
    fn random_packets_never_panic_nor_exceed_120_ms() {
        let mut rng = Rng::new(2);
        let mut good = 0;
        for _ in 0..100_000 {
            let mut bytes = [0; 64];
            rng.fill(&mut bytes);
            let n = rng.below(65);
            if let Ok(p) = Packet::parse(&bytes[..n]) {
                assert!(p.samples() <= MAX_SAMPLES && p.samples() >= 120 && p.padding < n);
                good += 1;
            }
        }
        assert!(good > 10_000);
    }

    #[test]
    fn identification_headers_round_trip_in_both_forms() {
        let head = Head::new(2, 312, 48000);
        let known = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
        assert_eq!(&head.emit(), known);
        assert_eq!(Head::parse(known), Ok(head));
        assert_eq!(Head::parse_dops(&head.emit_dops()), Ok(head));
        for n in 0..known.len() {
            assert_eq!(Head::parse(&known[..n]), Err(Error::Head));
        }
        for n in 0..Head::DOPS_LEN {
            assert_eq!(Head::parse_dops(&head.emit_dops()[..n]), Err(Error::Head));
        }
    }

    #[test]
    fn surround_headers_need_a_sound_mapping() {
        let mut five = b"OpusHead\x01\x06\0\0\0\0\0\0\0\0\x01\x04\x02\0\x04\x01\x02\x03\x05".to_vec();
        assert_eq!(Head::parse(&five).unwrap().channels, 6);
        for n in 19..five.len() {
            assert!(Head::parse(&five[..n]).is_err());
        }
        five[21] = 6;
        assert!(Head::parse(&five).is_err());
        assert!(Head::parse(b"OpusHead\x01\x03\0\0\0\0\0\0\0\0\0").is_err());
        assert!(Head::parse(b"OpusHead\x10\x01\0\0\0\0\0\0\0\0\0").is_err());
    }
}
