//! AAC's two descriptions of itself: the AudioSpecificConfig that SDP, MP4 and RTMP carry once, and
//! the ADTS header in front of every frame of a byte stream. Parsed and emitted here; the sound
//! itself is never looked into.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

/// The sampling rates of the standard's table, by index.
pub const RATES: [u32; 13] =
    [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

/// Object type of AAC-LC.
pub const LC: u8 = 2;
/// Object type of spectral band replication (HE-AAC).
pub const SBR: u8 = 5;
/// Object type of AAC-LD.
pub const LD: u8 = 23;
/// Object type of parametric stereo (HE-AAC version 2).
pub const PS: u8 = 29;
/// Object type of AAC-ELD.
pub const ELD: u8 = 39;

/// What is wrong with a description of AAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It ends too early.
    Truncated,
    /// An object type that is no general audio coder.
    ObjectType(u8),
    /// A reserved rate index, or a rate that the form cannot carry.
    Rate(u32),
    /// A reserved channel configuration, or one that the form cannot carry.
    Channels(u8),
    /// No ADTS sync word.
    Sync,
    /// The length in the ADTS header is shorter than the header, or the frame too long for it.
    Length(usize),
    /// No room to write.
    Room,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Truncated => f.write_str("AAC configuration ends too early"),
            Error::ObjectType(t) => write!(f, "AAC object type {t} is not supported here"),
            Error::Rate(r) => write!(f, "AAC sampling rate or index {r} is not valid here"),
            Error::Channels(c) => write!(f, "AAC channel configuration {c} is not valid here"),
            Error::Sync => f.write_str("no ADTS header where one was expected"),
            Error::Length(n) => write!(f, "an ADTS frame cannot have {n} bytes"),
            Error::Room => f.write_str("no room for the AAC configuration"),
        }
    }
}

impl std::error::Error for Error {}

/// An AudioSpecificConfig. What a stream signals implicitly (SBR found only in its frames) is not
/// in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioConfig {
    /// Object type of the core coder: 2 for AAC-LC.
    pub object_type: u8,
    /// Sampling rate of the core coder.
    pub rate: u32,
    /// The standard's channel configuration; 0 if a program config element describes the channels.
    pub layout: u8,
    /// How many channels that makes.
    pub channels: u8,
    /// Samples per channel in one frame of the core coder.
    pub frame_len: u16,
    /// Sampling rate after spectral band replication, if that is signalled.
    pub sbr: Option<u32>,
    /// Whether parametric stereo is signalled.
    pub ps: bool,
}

const SYNC_SBR: u32 = 0x2b7;
const SYNC_PS: u32 = 0x548;

impl AudioConfig {
    /// The longest form that [`AudioConfig::emit`] writes.
    pub const MAX: usize = 16;

    /// AAC-LC, 1024 samples per frame, one to six or eight channels.
    pub const fn lc(rate: u32, channels: u8) -> AudioConfig {
        let layout = if channels == 8 { 7 } else { channels };
        AudioConfig { object_type: LC, rate, layout, channels, frame_len: 1024, sbr: None, ps: false }
    }

    /// The rate at which sound leaves the decoder.
    pub fn output_rate(&self) -> u32 {
        self.sbr.unwrap_or(self.rate)
    }

    /// Samples per channel in one frame at the output rate.
    pub fn frame_samples(&self) -> u32 {
        let len = u64::from(self.frame_len);
        match self.sbr {
            Some(out) if self.rate > 0 => (len * u64::from(out) / u64::from(self.rate)) as u32,
            _ => u32::from(self.frame_len),
        }
    }

    /// Reads a configuration. Bytes after what it needs are looked at only for the backward
    /// compatible signalling of SBR and PS.
    pub fn parse(bytes: &[u8]) -> Result<AudioConfig, Error> {
        let r = &mut Bits { bytes, at: 0, error: None };
        let mut object_type = object_type(r);
        let rate = rate(r);
        let layout = r.get(4) as u8;
        let (mut sbr, mut ps) = (None, false);
        if object_type == SBR || object_type == PS {
            ps = object_type == PS;
            sbr = Some(self::rate(r));
            object_type = self::object_type(r);
            if object_type == 22 {
                r.get(4);
            }
        }
        let mut channels = channels_of(layout);
        let mut frame_len = if r.flag() { 960 } else { 1024 };
        match object_type {
            1..=4 | 6 | 7 | 17 | 19..=22 | LD => channels = general(r, object_type, layout, channels),
            // What follows in the ELD form (resilience, low delay SBR) changes neither rate nor length.
            ELD => r.skip(4),
            other => r.fail(Error::ObjectType(other)),
        }
        if matches!(object_type, LD | ELD) {
            frame_len /= 2;
        }
        if channels.is_none() {
            r.fail(Error::Channels(layout));
        }
        if matches!(object_type, 17 | 19..=27) {
            r.get(2);
        }
        r.error.map_or(Ok(()), Err)?;
        if sbr.is_none() && object_type != ELD && r.left() >= 16 && r.get(11) == SYNC_SBR && r.get(5) == 5 {
            // Encoders cut this tail short; then it says nothing.
            let set = r.flag();
            let out = self::rate(r);
            if set && r.error.is_none() {
                sbr = Some(out);
                ps = r.left() >= 12 && r.get(11) == SYNC_PS && r.flag();
            }
        }
        Ok(AudioConfig { object_type, rate, layout, channels: channels.unwrap_or(0), frame_len, sbr, ps })
    }

    /// Writes the configuration, SBR and PS signalled explicitly and in front, and gives its length.
    /// A layout of 0 cannot be written: keep the bytes it came in.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Error> {
        if self.layout == 0 || channels_of(self.layout) != Some(self.channels) {
            return Err(Error::Channels(self.layout));
        }
        let mut w = BitsOut { bytes: [0; AudioConfig::MAX], at: 0 };
        let front = match (self.sbr, self.ps) {
            (Some(_), true) => PS,
            (Some(_), false) => SBR,
            (None, _) => self.object_type,
        };
        w.object_type(front);
        w.rate(self.rate)?;
        w.put(u32::from(self.layout), 4);
        if let Some(out) = self.sbr {
            w.rate(out)?;
            w.object_type(self.object_type);
        }
        let short = u32::from(matches!(self.frame_len, 480 | 960));
        match self.object_type {
            1..=4 | 7 => w.put(short << 2, 3),
            LD => {
                w.put(short << 2, 3);
                w.put(0, 2);
            }
            ELD => {
                w.put(short << 4, 5);
                w.put(0, 6);
            }
            other => return Err(Error::ObjectType(other)),
        }
        let len = w.at.div_ceil(8);
        match (out.get_mut(..len), w.bytes.get(..len)) {
            (Some(out), Some(bytes)) => out.copy_from_slice(bytes),
            _ => return Err(Error::Room),
        }
        Ok(len)
    }
}

/// Channels of a channel configuration; `None` if it is reserved or 0.
const fn channels_of(layout: u8) -> Option<u8> {
    match layout {
        1..=6 => Some(layout),
        7 | 12 | 14 => Some(8),
        11 => Some(7),
        13 => Some(24),
        _ => None,
    }
}

fn object_type(r: &mut Bits<'_>) -> u8 {
    match r.get(5) {
        31 => 32 + r.get(6) as u8,
        t => t as u8,
    }
}

fn rate(r: &mut Bits<'_>) -> u32 {
    let index = r.get(4);
    let rate = match RATES.get(index as usize) {
        Some(&rate) => rate,
        None if index == 15 => r.get(24),
        None => 0,
    };
    if rate == 0 {
        r.fail(Error::Rate(if index == 15 { 0 } else { index }));
    }
    rate
}

/// The rest of a GASpecificConfig behind its frame length flag; gives the channels.
fn general(r: &mut Bits<'_>, object_type: u8, layout: u8, channels: Option<u8>) -> Option<u8> {
    if r.flag() {
        r.skip(14);
    }
    let extension = r.flag();
    let channels = if layout == 0 { program_config(r) } else { channels };
    if matches!(object_type, 6 | 20) {
        r.skip(3);
    }
    if extension {
        match object_type {
            22 => r.skip(16),
            17 | 19 | 20 | 23 => r.skip(3),
            _ => {}
        }
        r.skip(1);
    }
    channels
}

/// A program config element: only its channels are counted, and there are some.
fn program_config(r: &mut Bits<'_>) -> Option<u8> {
    r.skip(4 + 2 + 4);
    let elements = r.get(4) + r.get(4) + r.get(4);
    let lfe = r.get(2);
    let data = r.get(3);
    let coupling = r.get(4);
    for bits in [4, 4, 3] {
        if r.flag() {
            r.skip(bits);
        }
    }
    let mut channels = lfe;
    for _ in 0..elements {
        channels += 1 + r.get(1);
        r.skip(4);
    }
    r.skip(lfe as usize * 4 + data as usize * 4 + coupling as usize * 5);
    r.at = r.at.next_multiple_of(8);
    let comment = r.get(8) as usize;
    r.skip(comment * 8);
    (channels > 0).then_some(channels as u8)
}

/// The header in front of one frame of a byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adts {
    /// Object type, 1 to 4; 2 for AAC-LC.
    pub object_type: u8,
    /// Sampling rate of the core coder.
    pub rate: u32,
    /// Channel configuration, 0 to 7.
    pub layout: u8,
    /// Bytes of the header with its checksum: 7 or 9.
    pub header_len: u8,
    /// Bytes of header and payload.
    pub frame_len: u16,
    /// Raw data blocks in the payload, 1 to 4; nearly always 1.
    pub blocks: u8,
}

impl Adts {
    /// Bytes of a header without checksum, and the least that can be parsed.
    pub const LEN: usize = 7;
    /// The longest frame that a header can announce.
    pub const MAX_FRAME: usize = 0x1fff;

    /// The header for an access unit of `payload` bytes. SBR and PS stay implicit, as ADTS has no
    /// word for them.
    pub fn new(config: &AudioConfig, payload: usize) -> Result<Adts, Error> {
        if !(1..=4).contains(&config.object_type) || config.frame_len != 1024 {
            return Err(Error::ObjectType(config.object_type));
        }
        if !(1..=7).contains(&config.layout) {
            return Err(Error::Channels(config.layout));
        }
        if !RATES.contains(&config.rate) {
            return Err(Error::Rate(config.rate));
        }
        let frame_len = payload.saturating_add(Adts::LEN);
        if frame_len > Adts::MAX_FRAME {
            return Err(Error::Length(frame_len));
        }
        Ok(Adts {
            object_type: config.object_type,
            rate: config.rate,
            layout: config.layout,
            header_len: Adts::LEN as u8,
            frame_len: frame_len as u16,
            blocks: 1,
        })
    }

    /// Reads the header at the start of `bytes`; the payload need not be there yet.
    pub fn parse(bytes: &[u8]) -> Result<Adts, Error> {
        let Some(&[b0, b1, b2, b3, b4, b5, b6]) = bytes.first_chunk::<7>() else {
            return Err(Error::Truncated);
        };
        if b0 != 0xff || b1 & 0xf6 != 0xf0 {
            return Err(Error::Sync);
        }
        let index = (b2 >> 2) & 15;
        let rate = *RATES.get(usize::from(index)).ok_or(Error::Rate(u32::from(index)))?;
        let frame_len = u16::from(b3 & 3) << 11 | u16::from(b4) << 3 | u16::from(b5 >> 5);
        let blocks = (b6 & 3) + 1;
        let header_len = if b1 & 1 == 1 { 7 } else { 9 };
        if frame_len < u16::from(header_len) {
            return Err(Error::Length(usize::from(frame_len)));
        }
        Ok(Adts {
            object_type: (b2 >> 6) + 1,
            rate,
            layout: (b2 & 1) << 2 | b3 >> 6,
            header_len,
            frame_len,
            blocks,
        })
    }

    /// Writes the header, without checksum, as MPEG-4, variable rate.
    pub fn emit(&self) -> [u8; Adts::LEN] {
        let index = RATES.iter().position(|&r| r == self.rate).unwrap_or(0) as u8;
        let extra = u16::from(self.header_len) - Adts::LEN as u16;
        let len = self.frame_len.saturating_sub(extra);
        [
            0xff,
            0xf1,
            self.object_type.wrapping_sub(1) << 6 | index << 2 | (self.layout >> 2) & 1,
            (self.layout & 3) << 6 | (len >> 11) as u8 & 3,
            (len >> 3) as u8,
            (len as u8) << 5 | 0x1f,
            0xfc | self.blocks.wrapping_sub(1) & 3,
        ]
    }

    /// The AudioSpecificConfig of these frames; `None` if their channels are described within them.
    pub fn config(&self) -> Option<AudioConfig> {
        let channels = channels_of(self.layout)?;
        let (object_type, rate, layout) = (self.object_type, self.rate, self.layout);
        Some(AudioConfig { object_type, rate, layout, channels, frame_len: 1024, sbr: None, ps: false })
    }

    /// Whether both headers can belong to one stream.
    pub fn same_stream(&self, other: &Adts) -> bool {
        (self.object_type, self.rate, self.layout) == (other.object_type, other.rate, other.layout)
    }
}

/// Reads bits, most significant first. What goes wrong first is remembered, and 0 is read from then on.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    error: Option<Error>,
}

impl Bits<'_> {
    fn left(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.at)
    }

    #[cold]
    #[inline(never)]
    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
        self.bytes = &[];
    }

    fn get(&mut self, n: usize) -> u32 {
        let mut v = 0;
        for at in self.at..self.at + n {
            let byte = self.bytes.get(at / 8).copied().unwrap_or(0);
            v = v << 1 | u32::from(byte >> (7 - at % 8) & 1);
        }
        self.skip(n);
        v
    }

    fn flag(&mut self) -> bool {
        self.get(1) == 1
    }

    fn skip(&mut self, n: usize) {
        if n > self.left() {
            self.fail(Error::Truncated);
        }
        self.at += n;
    }
}

/// Writes bits, most significant first; what does not fit is dropped (nothing written here is longer).
struct BitsOut {
    bytes: [u8; AudioConfig::MAX],
    at: usize,
}

impl BitsOut {
    fn put(&mut self, v: u32, n: usize) {
        for i in (0..n).rev() {
            if let Some(byte) = self.bytes.get_mut(self.at / 8) {
                *byte |= ((v >> i & 1) as u8) << (7 - self.at % 8);
            }
            self.at += 1;
        }
    }

    fn object_type(&mut self, t: u8) {
        if t < 31 {
            self.put(u32::from(t), 5);
        } else {
            self.put(31, 5);
            self.put(u32::from(t.saturating_sub(32)), 6);
        }
    }

    fn rate(&mut self, rate: u32) -> Result<(), Error> {
        match RATES.iter().position(|&r| r == rate) {
            Some(index) => self.put(index as u32, 4),
            None if rate == 0 || rate >> 24 != 0 => return Err(Error::Rate(rate)),
            None => {
                self.put(15, 4);
                self.put(rate, 24);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::Rng;

    fn lc(rate: u32, channels: u8) -> AudioConfig {
        AudioConfig::lc(rate, channels)
    }

    /// As cameras and MP4 files write them.
    const KNOWN: &[(&[u8], AudioConfig)] = &[
        (&[0x12, 0x10], AudioConfig::lc(44100, 2)),
        (&[0x14, 0x08], AudioConfig::lc(16000, 1)),
        (&[0x15, 0x88], AudioConfig::lc(8000, 1)),
        (&[0x11, 0xb8], AudioConfig::lc(48000, 8)),
        // explicit rate of 12345 Hz
        (&[0x17, 0x80, 0x18, 0x1c, 0x88], AudioConfig::lc(12345, 1)),
        // HE-AAC and HE-AAC version 2, hierarchical
        (&[0x2b, 0x11, 0x88, 0x00], AudioConfig { sbr: Some(48000), ..AudioConfig::lc(24000, 2) }),
        (&[0xeb, 0x09, 0x88, 0x00], AudioConfig { sbr: Some(48000), ps: true, ..AudioConfig::lc(24000, 1) }),
        // AAC-ELD 16 kHz mono, as HomeKit wants it
        (
            &[0xf8, 0xf0, 0x20, 0x00],
            AudioConfig { object_type: ELD, frame_len: 512, ..AudioConfig::lc(16000, 1) },
        ),
    ];

    #[test]
    fn configurations_of_real_streams_are_read_and_written_back() {
        for (bytes, config) in KNOWN {
            assert_eq!(AudioConfig::parse(bytes).as_ref(), Ok(config), "{bytes:02x?}");
            let mut out = [0; AudioConfig::MAX];
            let n = config.emit(&mut out).unwrap();
            assert_eq!(&out[..n], *bytes);
        }
    }

    #[test]
    fn trailing_signalling_of_sbr_and_ps_is_found_and_its_absence_is_fine() {
        let config = AudioConfig::parse(&[0x13, 0x10, 0x56, 0xe5, 0x98]).unwrap();
        assert_eq!((config.sbr, config.output_rate(), config.frame_samples()), (Some(48000), 48000, 2048));
        let config = AudioConfig::parse(&[0x13, 0x08, 0x56, 0xe5, 0x9d, 0x48, 0x80]).unwrap();
        assert_eq!((config.sbr, config.ps), (Some(48000), true));
        // sbrPresentFlag 0
        assert_eq!(AudioConfig::parse(&[0x12, 0x10, 0x56, 0xe5, 0x00]).unwrap().sbr, None);
        assert_eq!(AudioConfig::parse(&[0x12, 0x10, 0x00, 0x00, 0x00]).unwrap(), lc(44100, 2));
    }

    #[test]
    fn the_short_frame_gives_its_length() {
        let config = AudioConfig { frame_len: 960, ..lc(48000, 2) };
        let mut out = [0; 16];
        let n = config.emit(&mut out).unwrap();
        assert_eq!(AudioConfig::parse(&out[..n]).unwrap(), config);
        assert_eq!(config.frame_samples(), 960);
        assert_eq!(config.emit(&mut out[..1]), Err(Error::Room));
    }

    #[test]
    fn channels_of_a_program_config_element_are_counted() {
        // LC 48 kHz, layout 0, one front pair, one centre, one LFE, no comment.
        let mut w = BitsOut { bytes: [0; 16], at: 0 };
        for (v, n) in [(2, 5), (3, 4), (0, 4), (0, 3), (0, 4), (1, 2), (3, 4), (2, 4), (0, 4), (0, 4), (1, 2)]
        {
            w.put(v, n);
        }
        for (v, n) in [(0, 3), (0, 4), (0, 1), (0, 1), (0, 1), (1, 1), (0, 4), (0, 1), (1, 4), (0, 4)] {
            w.put(v, n);
        }
        w.at = w.at.next_multiple_of(8);
        w.put(0, 8);
        let len = w.at / 8;
        let config = AudioConfig::parse(&w.bytes[..len]).unwrap();
        assert_eq!((config.layout, config.channels), (0, 4));
        assert_eq!(config.emit(&mut [0; 16]), Err(Error::Channels(0)));
        for n in 0..len {
            assert_eq!(AudioConfig::parse(&w.bytes[..n]), Err(Error::Truncated));
        }
    }

    #[test]
    fn every_truncation_of_a_configuration_is_an_error() {
        for (bytes, _) in KNOWN {
            // The padding behind ELD's and HE's last bit is not needed to read them.
            let needed = if bytes.len() == 4 { 3 } else { bytes.len() };
            for n in 0..needed {
                assert!(AudioConfig::parse(&bytes[..n]).is_err(), "{:02x?}", &bytes[..n]);
            }
        }
        assert_eq!(AudioConfig::parse(&[0x00, 0x10]), Err(Error::ObjectType(0)));
        assert_eq!(AudioConfig::parse(&[0x16, 0x90]), Err(Error::Rate(13)));
        assert_eq!(AudioConfig::parse(&[0x12, 0x78, 0]), Err(Error::Channels(15)));
    }

    #[test]
    fn random_configurations_never_panic_and_what_can_be_written_reads_back() {
        let mut rng = Rng::new(1);
        let mut written = 0;
        for _ in 0..200_000 {
            let mut bytes = [0; 24];
            rng.fill(&mut bytes);
            let n = rng.below(25);
            if let Ok(config) = AudioConfig::parse(&bytes[..n]) {
                let _ = (config.frame_samples(), config.output_rate());
                let mut out = [0; AudioConfig::MAX];
                if let Ok(n) = config.emit(&mut out) {
                    let mut again = AudioConfig::parse(&out[..n]).unwrap();
                    again.ps |= config.ps; // PS without SBR has no place in front
                    assert_eq!(again, config);
                    written += 1;
                }
            }
        }
        assert!(written > 10_000);
    }

    #[test]
    fn adts_headers_round_trip_for_every_rate_layout_and_length() {
        // As ffmpeg writes it: LC, 44.1 kHz, stereo, 371 bytes.
        let known = [0xff, 0xf1, 0x50, 0x80, 0x2e, 0x7f, 0xfc];
        let header = Adts::parse(&known).unwrap();
        assert_eq!(header.config().unwrap(), lc(44100, 2));
        assert_eq!((header.frame_len, header.emit()), (371, known));
        for rate in RATES {
            for layout in 1..=7 {
                for payload in [0, 1, 100, 2040, 8184] {
                    let channels = if layout == 7 { 8 } else { layout };
                    let header = Adts::new(&lc(rate, channels), payload).unwrap();
                    assert_eq!(Adts::parse(&header.emit()), Ok(header));
                }
            }
        }
        assert_eq!(Adts::new(&lc(8000, 1), 8185), Err(Error::Length(8192)));
        assert_eq!(Adts::new(&lc(12345, 1), 1), Err(Error::Rate(12345)));
    }

    #[test]
    fn broken_adts_headers_are_errors() {
        let known = [0xff, 0xf1, 0x50, 0x80, 0x2e, 0x7f, 0xfc];
        for n in 0..7 {
            assert_eq!(Adts::parse(&known[..n]), Err(Error::Truncated));
        }
        let with = |i: usize, v: u8| {
            let mut b = known;
            b[i] = v;
            Adts::parse(&b)
        };
        assert_eq!(with(0, 0xfe), Err(Error::Sync));
        assert_eq!(with(1, 0xf3), Err(Error::Sync)); // layer
        assert_eq!(with(2, 0x74), Err(Error::Rate(13)));
        assert_eq!(with(4, 0), Err(Error::Length(3)));
        assert_eq!(with(1, 0xf0).unwrap().header_len, 9);
    }
}
