//! The query of a stream's URL: which tracks a viewer wants, in the predecessor's grammar, because
//! thousands of recorders' configurations hold such URLs.
//!
//! - `video`, `audio`: the first of its kind; `video=h264,h265`: the first that is one of these, best
//!   first; the same again: a track of its own; `=all`: every one; `=copy`: the first, whatever it is.
//! - `mp4`: what fits an MP4 file (H264, H265, AAC); `mp4=flac` adds samples, `mp4=all` Opus and MPA.
//! - `metadata`: a track of what happens, beside the others; `multicast`: the description names groups.
//! - `backchannel=1`: a way back to the speaker. `pkt_size`, `source`, `timeout`: see [`Filter`].
//!
//! Without any choice `rtsp.default_query` decides; without that, the first video and the first sound.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::url::decode;
use crate::media::{Codec, CodecId, Kind};
use crate::net::limits::rtsp::WISHES;
use crate::net::rtp::pay::{MAX_PACKET_SIZE, MIN_PACKET_SIZE};
use crate::stream::Wish;
use std::fmt;
use std::time::Duration;

/// The longest timeout that a publisher may ask for.
const TIMEOUT_MAX: u64 = 3600;

/// What a query asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The media, in the order in which they are matched and become tracks.
    pub wishes: Vec<Wish>,
    /// A way back to the speaker is wanted too, with any of [`speaker_codecs`].
    pub speaker: bool,
    /// A track of what happens in front of the camera is wanted too.
    pub metadata: bool,
    /// The description names the groups by which the tracks can be had.
    pub multicast: bool,
    /// Bytes of a packet.
    pub packet_size: Option<u16>,
    /// A source that is not to be used: what fed this request must not feed on itself.
    pub source: Option<String>,
    /// How long a publisher may be silent.
    pub timeout: Option<Duration>,
}

/// Why a query is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// Not a codec that is known.
    Codec(String),
    /// A value that is no number, or beyond its bounds.
    Value(&'static str),
    /// More media or codecs than anybody needs.
    TooMany,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterError::Codec(name) => write!(f, "the URL asks for a codec \"{name}\" that is not known"),
            FilterError::Value(key) => write!(f, "the URL's {key} is not a number within its bounds"),
            FilterError::TooMany => write!(f, "the URL asks for more than {WISHES} media or codecs"),
        }
    }
}

impl std::error::Error for FilterError {}

impl Filter {
    /// Reads a query; `default_query` is the configuration's, used when the query chooses nothing.
    pub fn parse(query: &str, default_query: &str) -> Result<Filter, FilterError> {
        let mut filter = Filter::default();
        filter.read(query)?;
        if filter.wishes.is_empty() {
            let mut usual = Filter::default();
            // A mistake there is the configuration's to report, not this viewer's.
            if usual.read(default_query).is_ok() {
                filter.wishes = usual.wishes;
                filter.packet_size = filter.packet_size.or(usual.packet_size);
                filter.speaker |= usual.speaker;
            }
        }
        if filter.wishes.is_empty() {
            filter.wishes = vec![Wish::any(Kind::Video), Wish::any(Kind::Audio)];
        }
        Ok(filter)
    }

    fn read(&mut self, query: &str) -> Result<(), FilterError> {
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value).ok_or(FilterError::Value("query"))?;
            match name {
                "video" => self.wish(wish(Kind::Video, &value)?)?,
                "audio" => self.wish(wish(Kind::Audio, &value)?)?,
                "mp4" => {
                    let mut sound = vec![CodecId::Aac];
                    if matches!(value.as_str(), "flac" | "all") {
                        sound.extend([
                            CodecId::Flac,
                            CodecId::Pcma,
                            CodecId::Pcmu,
                            CodecId::L16,
                            CodecId::Pcml,
                        ]);
                    }
                    if value == "all" {
                        sound.extend([CodecId::Opus, CodecId::Mpa]);
                    }
                    self.wish(wish_of(Kind::Video, &[CodecId::H264, CodecId::H265]))?;
                    self.wish(wish_of(Kind::Audio, &sound))?;
                }
                "backchannel" => self.speaker = !matches!(value.as_str(), "" | "0" | "false"),
                "metadata" => self.metadata = !matches!(value.as_str(), "0" | "false"),
                "multicast" => self.multicast = !matches!(value.as_str(), "0" | "false"),
                "pkt_size" => {
                    let size = value.parse().ok().filter(|n| (MIN_PACKET_SIZE..=MAX_PACKET_SIZE).contains(n));
                    self.packet_size = Some(size.ok_or(FilterError::Value("pkt_size"))?);
                }
                "source" => self.source = Some(value),
                "timeout" => {
                    let seconds = value.parse().ok().filter(|n| (1..=TIMEOUT_MAX).contains(n));
                    self.timeout = Some(Duration::from_secs(seconds.ok_or(FilterError::Value("timeout"))?));
                }
                // Some recorders add their own (Hikvision, Dahua), and log_level is the predecessor's.
                _ => {}
            }
        }
        Ok(())
    }

    fn wish(&mut self, wish: Wish) -> Result<(), FilterError> {
        if self.wishes.len() >= WISHES {
            return Err(FilterError::TooMany);
        }
        // As the predecessor's: pictures first, whatever the order in the URL.
        let at = self.wishes.partition_point(|known| known.kind <= wish.kind);
        self.wishes.insert(at, wish);
        Ok(())
    }
}

fn wish_of(kind: Kind, ids: &[CodecId]) -> Wish {
    Wish { codecs: ids.iter().map(|&id| any_rate(id)).collect(), ..Wish::any(kind) }
}

/// A codec of any rate.
pub fn any_rate(id: CodecId) -> Codec {
    Codec { rate: 0, channels: 0, ..Codec::new(id) }
}

fn wish(kind: Kind, value: &str) -> Result<Wish, FilterError> {
    let mut wish = Wish::any(kind);
    let mut any = false;
    for name in value.split(',').map(str::trim) {
        match name.to_ascii_lowercase().as_str() {
            "" | "copy" | "any" => any = true,
            "all" => (any, wish.all) = (true, true),
            lower => {
                let id = CodecId::parse(lower).filter(|id| id.kind() == kind);
                let id = id.ok_or_else(|| FilterError::Codec(name.chars().take(32).collect()))?;
                if wish.codecs.len() >= WISHES {
                    return Err(FilterError::TooMany);
                }
                wish.codecs.push(any_rate(id));
            }
        }
    }
    if any {
        wish.codecs.clear();
    }
    Ok(wish)
}

/// What a speaker asked for by the predecessor's query may be sent, best first.
pub fn speaker_codecs() -> Vec<Codec> {
    let sound = |id, rate, channels| Codec::audio(id, rate, channels);
    let mut codecs = vec![sound(CodecId::Opus, 48_000, 2)];
    for rate in [16_000, 8_000] {
        codecs.extend([CodecId::L16, CodecId::Pcma, CodecId::Pcmu].map(|id| sound(id, rate, 1)));
    }
    codecs.extend([8_000, 16_000].map(|rate| sound(CodecId::Aac, rate, 1)));
    codecs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> Vec<Codec> {
        vec![
            Codec::audio(CodecId::Pcma, 8000, 1),
            Codec::new(CodecId::H264),
            Codec::audio(CodecId::Aac, 16_000, 1),
            Codec::new(CodecId::H265),
            Codec::new(CodecId::Onvif),
        ]
    }

    /// Which of the camera's tracks a query gets, by the hall's rules: for each wish the first track
    /// of its best codec, no track twice.
    fn tracks(query: &str, usual: &str) -> Vec<usize> {
        let camera = camera();
        let mut chosen = Vec::new();
        for wish in Filter::parse(query, usual).unwrap().wishes {
            let rank = |c: &Codec| match wish.codecs.is_empty() {
                true => Some(0),
                false => wish.codecs.iter().position(|w| c.serves(w)),
            };
            let fits =
                camera.iter().enumerate().filter(|(i, c)| c.kind() == wish.kind && !chosen.contains(i));
            let mut fits: Vec<_> = fits.filter_map(|(i, c)| Some((rank(c)?, i))).collect();
            fits.sort_unstable();
            fits.truncate(if wish.all { usize::MAX } else { 1 });
            chosen.extend(fits.into_iter().map(|(_, i)| i));
        }
        chosen
    }

    #[test]
    fn urls_of_the_predecessor_choose_the_same_tracks() {
        for (query, want) in [
            ("", &[1, 0][..]),
            ("video", &[1]),
            ("audio", &[0]),
            ("audio&video", &[1, 0]),
            ("video=h265,h264", &[3]),
            ("video=hevc&audio=aac", &[3, 2]),
            ("video&audio=aac,pcma", &[1, 2]),
            ("video&audio=aac&audio=pcma", &[1, 2, 0]),
            ("video&audio=opus", &[1]),
            ("video=all&audio=all", &[1, 3, 0, 2]),
            ("video=copy", &[1]),
            ("video&video", &[1, 3]),
            ("mp4", &[1, 2]),
            ("mp4=flac", &[1, 2]),
            ("channel=1&subtype=0", &[1, 0]),
        ] {
            assert_eq!(tracks(query, ""), want, "{query}");
        }
    }

    #[test]
    fn the_default_query_serves_those_who_ask_for_nothing() {
        assert_eq!(tracks("", "video"), [1]);
        assert_eq!(tracks("audio", "video"), [0]);
        assert_eq!(tracks("pkt_size=1200", "video=h265"), [3]);
        assert_eq!(tracks("", "video=nonsense"), [1, 0]);
    }

    #[test]
    fn options_are_read_within_their_bounds() {
        let filter =
            Filter::parse("video&pkt_size=1200&source=ffmpeg%3Ayard%23x&timeout=15&backchannel=1", "")
                .unwrap();
        assert_eq!((filter.packet_size, filter.timeout), (Some(1200), Some(Duration::from_secs(15))));
        assert_eq!(filter.source.as_deref(), Some("ffmpeg:yard#x"));
        assert!(filter.speaker && filter.wishes.len() == 1);
        assert_eq!(speaker_codecs()[0], Codec::new(CodecId::Opus));
        assert!(!Filter::parse("backchannel=0", "").unwrap().speaker);
        let both = Filter::parse("metadata&multicast=1", "").unwrap();
        assert!(both.metadata && both.multicast && both.wishes.len() == 2);
        assert!(!Filter::parse("metadata=0", "").unwrap().metadata);
        for (bad, error) in [
            ("pkt_size=1", FilterError::Value("pkt_size")),
            ("pkt_size=99999", FilterError::Value("pkt_size")),
            ("timeout=x", FilterError::Value("timeout")),
            ("video=%zz", FilterError::Value("query")),
            ("video=aac", FilterError::Codec("aac".into())),
        ] {
            assert_eq!(Filter::parse(bad, ""), Err(error), "{bad}");
        }
        assert_eq!(Filter::parse(&"video&".repeat(100), ""), Err(FilterError::TooMany));
        assert_eq!(Filter::parse(&format!("video={}", "h264,".repeat(100)), ""), Err(FilterError::TooMany));
    }
}
