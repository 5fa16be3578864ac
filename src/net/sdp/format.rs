//! A format of a media line and the codec that it is: `rtpmap` and `fmtp` one way and the other.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::media::{Codec, CodecId, Kind};
use crate::net::base64;
use crate::net::rtp::depay::AuFormat;
use std::fmt::Write;
use std::rc::Rc;

/// Bytes of all parameter sets, or of an AAC configuration, that are taken from a description.
const EXTRA_MAX: usize = 4 << 10;

/// The payload types that need no `rtpmap` (RFC 3551 §6), with rate and channels.
const STATIC: [(u8, CodecId, u32, u8); 7] = [
    (0, CodecId::Pcmu, 8000, 1),
    (8, CodecId::Pcma, 8000, 1),
    (9, CodecId::G722, 8000, 1),
    (10, CodecId::L16, 44_100, 2),
    (11, CodecId::L16, 44_100, 1),
    (14, CodecId::Mpa, 90_000, 0),
    (26, CodecId::Jpeg, 90_000, 0),
];

/// The payload type of a codec: its own if it has one, else `dynamic`.
pub fn payload_type(codec: &Codec, dynamic: u8) -> u8 {
    let sound = codec.kind() == Kind::Audio && codec.id != CodecId::Mpa;
    STATIC
        .iter()
        .find(|s| s.1 == codec.id && (!sound || (s.2 == codec.rate && s.3 == codec.channels.max(1))))
        .map_or(dynamic, |s| s.0)
}

/// One payload type of a media.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// Its number in RTP headers.
    pub payload_type: u8,
    /// The encoding's name as it was written.
    pub name: String,
    /// The clock rate; 0 if not said.
    pub rate: u32,
    /// Channels; 0 if not said.
    pub channels: u8,
    /// Parameters as they were written.
    pub fmtp: String,
}

impl Format {
    /// A payload type before its `rtpmap` is read.
    pub(super) fn of_static(payload_type: u8) -> Format {
        match STATIC.iter().find(|s| s.0 == payload_type) {
            Some(&(_, id, rate, channels)) => {
                Format { payload_type, name: id.name().to_string(), rate, channels, fmtp: String::new() }
            }
            None => Format { payload_type, ..Format::default() },
        }
    }

    /// `H264/90000` or `L16/16000/2`.
    pub(super) fn set_rtpmap(&mut self, text: &str) {
        let mut parts = text.split('/').map(str::trim);
        self.name = parts.next().unwrap_or("").to_string();
        self.rate = parts.next().and_then(|p| p.parse().ok()).unwrap_or(0);
        self.channels = parts.next().and_then(|p| p.parse().ok()).unwrap_or(0);
    }

    /// FFmpeg publishes linear samples under a dynamic type without `rtpmap`; its bandwidth tells
    /// which (go2rtc issue 523).
    pub(super) fn guess(&mut self, kind: Option<Kind>, bandwidth: Option<u32>) {
        if !self.name.is_empty() || kind != Some(Kind::Audio) || !(96..=98).contains(&self.payload_type) {
            return;
        }
        let (rate, channels) = match bandwidth {
            Some(128) => (8000, 1),
            Some(256) => (16_000, 1),
            Some(384) => (24_000, 1),
            Some(512) => (32_000, 1),
            Some(705) => (44_100, 1),
            Some(768) => (48_000, 1),
            Some(1411) => (44_100, 2),
            Some(1536) => (48_000, 2),
            _ => return,
        };
        (self.name, self.rate, self.channels) = ("PCM".to_string(), rate, channels);
    }

    /// The codec, with what the parameters say a decoder needs; `None` if it is not known.
    pub fn codec(&self) -> Option<Codec> {
        let id = match self.name.as_str() {
            // Hikvision calls little-endian samples PCM, and so does the guess above.
            "PCM" => CodecId::Pcml,
            name => CodecId::parse(name)?,
        };
        let mut codec = Codec::new(id);
        if self.rate != 0 {
            codec.rate = self.rate;
        }
        if self.channels != 0 {
            codec.channels = self.channels;
        }
        match id {
            // Always the same, whatever was written (RFC 7587 §4.1).
            CodecId::Opus => (codec.rate, codec.channels) = (48_000, 2),
            CodecId::H264 => codec.extra = self.sets(&["sprop-parameter-sets"]),
            CodecId::H265 => codec.extra = self.sets(&["sprop-vps", "sprop-sps", "sprop-pps"]),
            CodecId::Aac | CodecId::Eld => {
                codec.extra = self.parameter("config").and_then(unhex).map_or(Rc::from([]), Rc::from);
                if codec.extra.first().is_some_and(|b| b >> 3 == 31) && aot(&codec.extra) == Some(39) {
                    codec.id = CodecId::Eld;
                }
            }
            _ => {}
        }
        if codec.kind() != Kind::Audio {
            codec.channels = 0;
        }
        Some(codec)
    }

    /// A parameter's value; names in any case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp.split(';').find_map(|p| {
            let (n, value) = p.split_once('=')?;
            n.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// How AAC's access units are announced.
    pub fn au_format(&self) -> AuFormat {
        let bits = |name, usual| self.parameter(name).and_then(|v| v.parse().ok()).unwrap_or(usual);
        AuFormat {
            size: bits("sizelength", 13),
            index: bits("indexlength", 3),
            delta: bits("indexdeltalength", 3),
        }
    }

    /// Parameter sets behind their lengths; H.264's one list needs an SPS and a PPS, H.265's three
    /// are all there or none.
    fn sets(&self, names: &[&str]) -> Rc<[u8]> {
        let mut out = Vec::new();
        let mut count = 0;
        for name in names {
            let before = count;
            for item in self.parameter(name).unwrap_or("").split(',') {
                let Some(bytes) = lenient_base64(item) else { continue };
                // Some put start codes in, some several sets behind each other, some garbage.
                for set in split_annex_b(&bytes) {
                    if set.len() > 2 && out.len() + set.len() + 4 <= EXTRA_MAX {
                        out.extend_from_slice(&(set.len() as u32).to_be_bytes());
                        out.extend_from_slice(set);
                        count += 1;
                    }
                }
            }
            if names.len() > 1 && count == before {
                return Rc::from([]);
            }
        }
        if count < 2 { Rc::from([]) } else { Rc::from(out) }
    }
}

/// Audio object type of a configuration that uses the escape.
fn aot(config: &[u8]) -> Option<u8> {
    let (&first, &second) = (config.first()?, config.get(1)?);
    Some(32 + ((first & 7) << 3 | second >> 5))
}

/// Padding may be missing, blanks may be inside.
fn lenient_base64(text: &str) -> Option<Vec<u8>> {
    let mut clean: String = text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '=').collect();
    if clean.is_empty() {
        return None;
    }
    while !clean.len().is_multiple_of(4) {
        clean.push('=');
    }
    base64::decode(&clean)
}

/// NAL units between start codes; the whole if there is none. Zeros at the end are not theirs.
fn split_annex_b(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let (now, later) = match bytes.windows(3).position(|w| w == [0, 0, 1]) {
            Some(at) => (bytes.get(..at)?, bytes.get(at + 3..)),
            None => (bytes, None),
        };
        rest = later;
        let end = now.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
        now.get(..end)
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if text.len() > 2 * EXTRA_MAX || text.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len().div_ceil(2));
    for pair in text.chunks(2) {
        let mut byte = 0;
        for &digit in pair {
            byte = byte << 4 | char::from(digit).to_digit(16)? as u8;
        }
        bytes.push(byte);
    }
    Some(bytes)
}

/// The name under which a codec is announced.
pub fn encoding_name(id: CodecId) -> &'static str {
    match id {
        CodecId::Aac | CodecId::Eld => "mpeg4-generic",
        CodecId::Opus => "opus",
        CodecId::Onvif => "vnd.onvif.metadata",
        id => id.name(),
    }
}

/// Writes the parameters of a codec, or nothing if it has none to tell.
pub fn emit_fmtp(codec: &Codec, out: &mut String) {
    let sets = || nal_units(&codec.extra);
    match codec.id {
        CodecId::H264 => {
            out.push_str("packetization-mode=1");
            // The profile that recorders go by has to be the SPS's own.
            if let Some([_, profile, constraints, level, ..]) =
                sets().find(|s| s.first().is_some_and(|b| b & 0x1F == 7))
            {
                let _ = write!(out, ";profile-level-id={profile:02X}{constraints:02X}{level:02X}");
                out.push_str(";sprop-parameter-sets=");
                emit_sets(sets(), out);
            }
        }
        CodecId::H265 => {
            let kind = |set: &[u8]| set.first().map_or(0, |b| b >> 1 & 0x3F);
            let of = |wanted| sets().filter(move |s| kind(s) == wanted);
            if (32..=34).all(|k| of(k).next().is_some()) {
                for (name, wanted) in [("sprop-vps=", 32), (";sprop-sps=", 33), (";sprop-pps=", 34)] {
                    out.push_str(name);
                    emit_sets(of(wanted), out);
                }
            }
        }
        CodecId::Aac | CodecId::Eld => {
            out.push_str("streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=");
            let made;
            let config = if codec.extra.is_empty() {
                made = low_complexity(codec.rate, codec.channels);
                &made[..]
            } else {
                &codec.extra[..]
            };
            for byte in config {
                let _ = write!(out, "{byte:02X}");
            }
        }
        CodecId::Opus => out.push_str("sprop-stereo=0"),
        _ => {}
    }
}

fn emit_sets<'a>(sets: impl Iterator<Item = &'a [u8]>, out: &mut String) {
    for (i, set) in sets.enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&base64::encode(set));
    }
}

fn nal_units(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let (nal, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        rest = after;
        Some(nal)
    })
}

/// The AudioSpecificConfig of AAC-LC (ISO 14496-3 §1.6.2.1) for a source that gave none.
fn low_complexity(rate: u32, channels: u8) -> [u8; 2] {
    const RATES: [u32; 12] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000];
    let index = RATES.iter().position(|&r| r == rate).unwrap_or(8) as u16;
    (2 << 11 | index << 7 | u16::from(channels & 15) << 3).to_be_bytes()
}
