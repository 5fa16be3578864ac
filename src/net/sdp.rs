//! SDP (RFC 8866): what a peer offers, line by line. Read with patience, because cameras break every
//! rule of it; written with care, because recorders take it by the letter. The way between its
//! formats and our codecs is in [`format`], the writing in [`emit`].
//!
//! Reading never fails for a line that is not understood; it fails only when there is no media at
//! all, or beyond the bounds.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod emit;
pub mod format;
#[cfg(test)]
mod tests;

pub use format::Format;

use crate::media::{Direction, Kind, Media};
use std::fmt;
use std::net::IpAddr;

/// Bytes of a description; beyond it [`SdpError::TooLong`].
pub const MAX_BYTES: usize = 64 << 10;
/// Media of a description; more are not looked at.
pub const MAX_MEDIAS: usize = 16;
/// Formats of one media; more are not looked at.
pub const MAX_FORMATS: usize = 32;
/// Attributes kept as they are, of the session and of each media; more are not kept.
pub const MAX_ATTRIBUTES: usize = 64;

/// Why a text is no description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdpError {
    /// More than [`MAX_BYTES`].
    TooLong(usize),
    /// No `m=` line.
    NoMedia,
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SdpError::TooLong(n) => write!(f, "SDP of {n} bytes, expected {MAX_BYTES} at most"),
            SdpError::NoMedia => f.write_str("SDP without a media line (m=)"),
        }
    }
}

impl std::error::Error for SdpError {}

/// Which way media flows, as a description says it: from its reader's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The reader receives.
    RecvOnly,
    /// The reader sends.
    SendOnly,
    /// Both ways.
    SendRecv,
    /// Neither way.
    Inactive,
}

impl Flow {
    const ALL: [Flow; 4] = [Flow::RecvOnly, Flow::SendOnly, Flow::SendRecv, Flow::Inactive];

    /// The attribute's name.
    pub const fn name(self) -> &'static str {
        match self {
            Flow::RecvOnly => "recvonly",
            Flow::SendOnly => "sendonly",
            Flow::SendRecv => "sendrecv",
            Flow::Inactive => "inactive",
        }
    }

    fn parse(name: &str) -> Option<Flow> {
        Flow::ALL.into_iter().find(|f| f.name().eq_ignore_ascii_case(name))
    }
}

/// An attribute that is not read here: its name and its value, which may be empty.
pub type Attribute = (String, String);

/// A whole description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// `s=`, the first if there are several.
    pub name: String,
    /// `a=control` of the whole.
    pub control: Option<String>,
    /// `a=range` of the whole, as it stands.
    pub range: Option<String>,
    /// `c=` of the whole.
    pub connection: Option<IpAddr>,
    /// Which way, unless a media says otherwise.
    pub flow: Option<Flow>,
    /// Other attributes of the whole.
    pub attributes: Vec<Attribute>,
    /// The media, in order.
    pub medias: Vec<MediaDescription>,
}

/// One `m=` line and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaDescription {
    /// `None` for kinds that are not ours (`text`, `image`); TP-Link's odd kinds count as data.
    pub kind: Option<Kind>,
    /// The port; 0 in RTSP, the group's with multicast.
    pub port: u16,
    /// The transport, as `RTP/AVP`.
    pub protocol: String,
    /// Which way.
    pub flow: Option<Flow>,
    /// `a=control`; missing means the session's own URL.
    pub control: Option<String>,
    /// `c=`.
    pub connection: Option<IpAddr>,
    /// `b=AS`, kbit/s.
    pub bandwidth: Option<u32>,
    /// `a=x-dimensions`: size of pictures too large for RFC 2435's header.
    pub dimensions: Option<(u16, u16)>,
    /// Formats, best first.
    pub formats: Vec<Format>,
    /// Other attributes.
    pub attributes: Vec<Attribute>,
}

impl MediaDescription {
    /// The value of an attribute that is not read here.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// This media in our words, with the codecs that we know; `None` if there is none, or if it
    /// flows neither way. What flows both ways is told as received.
    pub fn media(&self) -> Option<Media> {
        let codecs: Vec<_> = self.formats.iter().filter_map(Format::codec).collect();
        let kind = codecs.first()?.kind();
        let direction = match self.flow {
            Some(Flow::Inactive) => return None,
            Some(Flow::SendOnly) => Direction::SendOnly,
            _ => Direction::RecvOnly,
        };
        Some(Media { kind, direction, codecs })
    }
}

impl Description {
    /// Reads a description.
    pub fn parse(text: &str) -> Result<Description, SdpError> {
        if text.len() > MAX_BYTES {
            return Err(SdpError::TooLong(text.len()));
        }
        let mut out = Description::default();
        let mut reader = Reader::default();
        // Lines may end in CRLF, LF or CR, and the last one in nothing.
        for line in text.split(['\r', '\n']).map(str::trim_end) {
            // Some cameras indent.
            let Some((key, value)) = line.trim_start().split_once('=') else { continue };
            reader.line(&mut out, key, value.trim());
        }
        if out.medias.is_empty() {
            return Err(SdpError::NoMedia);
        }
        reader.finish(&mut out);
        Ok(out)
    }
}

/// What is gathered while reading and put in its place at the end.
#[derive(Default)]
struct Reader {
    /// Origin `CV-RTSPHandler`: says sendonly and means recvonly.
    receive_always: bool,
    full: bool,
    /// `fmtp` lines by media, payload type and text: they come before their `rtpmap`, or stand under
    /// another media.
    fmtp: Vec<(usize, u8, String)>,
}

impl Reader {
    fn line(&mut self, out: &mut Description, key: &str, value: &str) {
        match key {
            "o" => self.receive_always = value.starts_with("CV-RTSPHandler"),
            "s" if out.name.is_empty() && out.medias.is_empty() => out.name = value.to_string(),
            "m" => {
                self.full = out.medias.len() >= MAX_MEDIAS;
                if !self.full {
                    out.medias.push(media_line(value));
                }
            }
            _ if self.full => {}
            "c" => {
                let address = connection(value);
                match out.medias.last_mut() {
                    Some(media) => media.connection = address,
                    None => out.connection = address,
                }
            }
            "b" => {
                let kbit = value.strip_prefix("AS:").and_then(|v| v.trim().parse().ok());
                if let Some(media) = out.medias.last_mut() {
                    media.bandwidth = kbit.or(media.bandwidth);
                }
            }
            "a" => self.attribute(out, value),
            _ => {}
        }
    }

    fn attribute(&mut self, out: &mut Description, attribute: &str) {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let (name, value) = (name.trim(), value.trim());
        let index = out.medias.len().wrapping_sub(1);
        let media = out.medias.last_mut();
        if let Some(flow) = Flow::parse(name) {
            match media {
                Some(media) => media.flow = Some(flow),
                None => out.flow = Some(flow),
            }
            return;
        }
        match (name, media) {
            ("control", Some(media)) if !value.is_empty() => media.control = Some(value.to_string()),
            ("control", None) if !value.is_empty() => out.control = Some(value.to_string()),
            ("control", _) => {}
            ("range", None) => out.range = Some(value.to_string()),
            ("rtpmap", Some(media)) => {
                if let Some((id, text)) = numbered(value)
                    && let Some(format) = media.format_mut(id)
                {
                    format.set_rtpmap(text);
                }
            }
            ("fmtp", Some(_)) => {
                if let Some((id, text)) = numbered(value)
                    && self.fmtp.len() < MAX_MEDIAS * MAX_FORMATS
                    && !text.is_empty()
                {
                    self.fmtp.push((index, id, text.to_string()));
                }
            }
            ("x-dimensions", Some(media)) => {
                media.dimensions = value.split_once(',').and_then(|(w, h)| Some((number(w)?, number(h)?)));
            }
            (_, media) => {
                let list = match media {
                    Some(media) => &mut media.attributes,
                    None => &mut out.attributes,
                };
                if list.len() < MAX_ATTRIBUTES {
                    list.push((name.to_string(), value.to_string()));
                }
            }
        }
    }

    fn finish(mut self, out: &mut Description) {
        for (index, media) in out.medias.iter_mut().enumerate() {
            if self.receive_always {
                media.flow = Some(Flow::RecvOnly);
            }
            media.flow = media.flow.or(out.flow);
            media.connection = media.connection.or(out.connection);
            for format in &mut media.formats {
                let own = self.fmtp.iter().position(|(m, id, _)| *m == index && *id == format.payload_type);
                // Cameras put the video's fmtp under the audio.
                let stray = || self.fmtp.iter().position(|(_, id, _)| *id == format.payload_type);
                if let Some(at) = own.or_else(stray)
                    && let Some((_, _, text)) = self.fmtp.get_mut(at)
                {
                    format.fmtp = text.clone();
                }
                format.guess(media.kind, media.bandwidth);
            }
        }
    }
}

impl MediaDescription {
    fn format_mut(&mut self, payload_type: u8) -> Option<&mut Format> {
        let at = self.formats.iter().position(|f| f.payload_type == payload_type);
        match at {
            Some(at) => self.formats.get_mut(at),
            // Cameras that announce 96 in the media line and 97 below it.
            None if self.formats.len() == 1 && self.formats.iter().all(|f| f.name.is_empty()) => {
                let format = self.formats.first_mut()?;
                format.payload_type = payload_type;
                Some(format)
            }
            None => None,
        }
    }
}

fn media_line(value: &str) -> MediaDescription {
    let mut words = value.split_ascii_whitespace();
    let kind = match words.next().unwrap_or("") {
        "video" => Some(Kind::Video),
        "audio" => Some(Kind::Audio),
        "text" | "image" | "message" => None,
        // TP-Link writes `application/TP-LINK`.
        _ => Some(Kind::Data),
    };
    let port = words.next().and_then(|p| number(p.split('/').next().unwrap_or(p))).unwrap_or(0);
    let protocol = words.next().unwrap_or("").to_string();
    let mut formats = Vec::new();
    for id in words.filter_map(number).filter(|&id| id < 128).take(MAX_FORMATS) {
        formats.push(Format::of_static(id));
    }
    MediaDescription { kind, port, protocol, formats, ..MediaDescription::default() }
}

/// `IN IP4 239.1.2.3/16`; anything else is no address.
fn connection(value: &str) -> Option<IpAddr> {
    let address = value.split_ascii_whitespace().nth(2)?;
    address.split('/').next()?.parse().ok()
}

/// `96 rest` as a payload type and the rest.
fn numbered(value: &str) -> Option<(u8, &str)> {
    let (id, rest) = value.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((value, ""));
    Some((number(id)?, rest.trim()))
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}
