//! Codec names as the predecessor spells them, and the description of one track.
//! Described once by whoever produces a track; read by matching, SDP, fMP4 and statistics.

use std::fmt;
use std::rc::Rc;

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Events beside pictures and sound (ONVIF metadata).
    Data,
}

impl Kind {
    /// The word used in URLs, statistics and SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Video => "video",
            Kind::Audio => "audio",
            Kind::Data => "application",
        }
    }
}

/// Which way a media flows, seen from streamd: what we receive from it or send to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It sends, we receive: pictures and microphone.
    RecvOnly,
    /// We send, it receives: the speaker.
    SendOnly,
}

impl Direction {
    /// The word used in statistics and SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::RecvOnly => "recvonly",
            Direction::SendOnly => "sendonly",
        }
    }
}

macro_rules! codecs {
    ($($(#[$doc:meta])* $id:ident $kind:ident $name:literal $rate:literal [$($alias:literal),*];)*) => {
        /// A codec streamd can carry. The form in which its frames lie in memory is fixed:
        ///
        /// - H.264 and H.265: one access unit, NAL units each behind a 32-bit big-endian length,
        ///   without parameter sets (they are in [`Codec::extra`]), delimiters and filler.
        /// - AAC: raw access units without ADTS; Opus: one packet; JPEG: one whole file;
        ///   G.711, L16 and the like: samples.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum CodecId { $($(#[$doc])* $id),* }

        impl CodecId {
            /// Every codec, in the order of the table.
            pub const ALL: &'static [CodecId] = &[$(CodecId::$id),*];

            /// The name used in URLs, SDP and statistics.
            pub const fn name(self) -> &'static str {
                match self { $(CodecId::$id => $name),* }
            }

            /// What it carries.
            pub const fn kind(self) -> Kind {
                match self { $(CodecId::$id => Kind::$kind),* }
            }

            /// The RTP clock rate if none is given.
            pub const fn default_rate(self) -> u32 {
                match self { $(CodecId::$id => $rate),* }
            }

            /// Other spellings that are understood.
            pub const fn aliases(self) -> &'static [&'static str] {
                match self { $(CodecId::$id => &[$($alias),*]),* }
            }
        }
    };
}

codecs! {
    /// H.264, also AVC.
    H264 Video "H264" 90000 ["AVC"];
    /// H.265, also HEVC.
    H265 Video "H265" 90000 ["HEVC"];
    /// VP8.
    Vp8 Video "VP8" 90000 [];
    /// VP9.
    Vp9 Video "VP9" 90000 [];
    /// AV1.
    Av1 Video "AV1" 90000 [];
    /// Motion JPEG, one file per frame.
    Jpeg Video "JPEG" 90000 ["MJPEG"];
    /// Planar 4:2:0 pictures.
    Raw Video "RAW" 90000 ["YUV4MPEG2", "Y4M"];
    /// G.711 mu-law.
    Pcmu Audio "PCMU" 8000 ["G711U", "MULAW", "PCM_MULAW"];
    /// G.711 A-law.
    Pcma Audio "PCMA" 8000 ["G711A", "ALAW", "PCM_ALAW"];
    /// AAC, raw access units.
    Aac Audio "MPEG4-GENERIC" 16000 ["AAC"];
    /// Opus.
    Opus Audio "OPUS" 48000 [];
    /// G.722 (its RTP clock says 8000, its sound has 16000).
    G722 Audio "G722" 8000 [];
    /// MPEG audio layers 1 to 3.
    Mpa Audio "MPA" 90000 ["MP3"];
    /// 16-bit samples, big-endian.
    L16 Audio "L16" 16000 ["PCM", "S16BE", "PCM_S16BE"];
    /// 16-bit samples, little-endian.
    Pcml Audio "PCML" 16000 ["S16LE", "PCM_S16LE"];
    /// AAC enhanced low delay.
    Eld Audio "ELD" 16000 [];
    /// FLAC frames.
    Flac Audio "FLAC" 16000 [];
    /// ONVIF metadata documents.
    Onvif Data "VND.ONVIF.METADATA" 90000 [];
}

impl CodecId {
    /// Finds a codec by any of its names, whatever the case.
    pub fn parse(name: &str) -> Option<CodecId> {
        CodecId::ALL.iter().copied().find(|c| {
            c.name().eq_ignore_ascii_case(name) || c.aliases().iter().any(|a| a.eq_ignore_ascii_case(name))
        })
    }

    /// Whether frames depend on earlier ones, so that a reader has to begin at a key frame.
    pub const fn has_key_frames(self) -> bool {
        matches!(self, CodecId::H264 | CodecId::H265 | CodecId::Vp8 | CodecId::Vp9 | CodecId::Av1)
    }
}

impl fmt::Display for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One track's description. Zero in `rate` or `channels` means "any" where a codec is wished for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Which codec.
    pub id: CodecId,
    /// Clock rate of its RTP time, for sound also the sampling rate.
    pub rate: u32,
    /// Channels of sound; 0 for video.
    pub channels: u8,
    /// What a decoder needs before the first frame. H.264: SPS then PPS; H.265: VPS, SPS, PPS; each
    /// behind a 32-bit big-endian length. AAC: the AudioSpecificConfig. Empty while unknown and for
    /// codecs that need nothing.
    pub extra: Rc<[u8]>,
}

impl Codec {
    /// A codec with its usual rate: 90 kHz for video, one channel for sound (two for Opus).
    pub fn new(id: CodecId) -> Codec {
        let channels = match id.kind() {
            Kind::Audio if id == CodecId::Opus => 2,
            Kind::Audio => 1,
            _ => 0,
        };
        Codec { id, rate: id.default_rate(), channels, extra: Rc::from([]) }
    }

    /// A codec of sound with its rate and channels.
    pub fn audio(id: CodecId, rate: u32, channels: u8) -> Codec {
        Codec { id, rate, channels, extra: Rc::from([]) }
    }

    /// What it carries.
    pub const fn kind(&self) -> Kind {
        self.id.kind()
    }

    /// Whether this offered codec serves `wanted`: same name, and rate and channels equal or not
    /// asked for.
    pub fn serves(&self, wanted: &Codec) -> bool {
        self.id == wanted.id
            && (wanted.rate == 0 || self.rate == wanted.rate)
            && (wanted.channels == 0 || self.channels == wanted.channels)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id.name())?;
        if self.kind() == Kind::Audio {
            write!(f, "/{}", self.rate)?;
            if self.channels > 1 {
                write!(f, "/{}", self.channels)?;
            }
        }
        Ok(())
    }
}

/// One thing that a source offers or a consumer wants, with the codecs it can have, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Video, sound or data.
    pub kind: Kind,
    /// Whether it is received from the source or sent to it.
    pub direction: Direction,
    /// The codecs it can have.
    pub codecs: Vec<Codec>,
}

impl Media {
    /// A media that is received, with one codec.
    pub fn recv(codec: Codec) -> Media {
        Media { kind: codec.kind(), direction: Direction::RecvOnly, codecs: vec![codec] }
    }

    /// A speaker that takes any of these codecs.
    pub fn speaker(codecs: Vec<Codec>) -> Media {
        Media { kind: Kind::Audio, direction: Direction::SendOnly, codecs }
    }
}

/// As the predecessor prints it: `video, recvonly, H264`.
impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.kind.name(), self.direction.name())?;
        for codec in &self.codecs {
            write!(f, ", {codec}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_alias_finds_its_codec_and_no_other() {
        for &id in CodecId::ALL {
            for name in std::iter::once(id.name()).chain(id.aliases().iter().copied()) {
                assert_eq!(CodecId::parse(&name.to_lowercase()), Some(id), "{name}");
            }
        }
        assert_eq!(CodecId::parse("nothing"), None);
    }

    #[test]
    fn a_wish_without_rate_takes_any_rate() {
        let offered = Codec::audio(CodecId::Pcma, 8000, 1);
        assert!(offered.serves(&Codec::audio(CodecId::Pcma, 0, 0)));
        assert!(!offered.serves(&Codec::audio(CodecId::Pcma, 16000, 1)));
        assert!(!offered.serves(&Codec::audio(CodecId::Pcmu, 8000, 1)));
    }
}
