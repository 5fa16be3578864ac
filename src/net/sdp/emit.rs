//! Writes a description: CRLF everywhere, relative control names under a base that ends in a slash,
//! each codec with exactly the parameters that readers were seen to need.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::Flow;
use super::format::{emit_fmtp, encoding_name};
use crate::media::{Codec, CodecId, Kind};
use std::fmt::Write;
use std::net::IpAddr;

/// What stands above the media.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// Names this description; the same for the same stream.
    pub id: u64,
    /// Grows when the media change, for instance their size.
    pub version: u64,
    /// The address of this host as the reader sees it.
    pub address: IpAddr,
    /// Shown to people; never empty on the wire.
    pub name: &'a str,
    /// `a=range`, as `npt=now-`; empty for none.
    pub range: &'a str,
}

/// One media line.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Payload types and codecs, best first; the first says the kind.
    pub codecs: &'a [(u8, Codec)],
    /// Its name under the base, as `trackID=0`.
    pub control: &'a str,
    /// Said when a back channel is there too, else left out.
    pub flow: Option<Flow>,
    /// Group, TTL and port where the stream is multicast.
    pub group: Option<(IpAddr, u8, u16)>,
    /// Size of JPEG pictures, told where RFC 2435's header cannot.
    pub size: Option<(u16, u16)>,
}

/// The whole description.
pub fn emit(session: &Session<'_>, lines: &[Line<'_>]) -> String {
    let mut out = String::with_capacity(256 + 256 * lines.len());
    let version = ip_version(session.address);
    let _ =
        write!(out, "v=0\r\no=- {} {} IN {version} {}\r\ns=", session.id, session.version, session.address);
    // A line of its own for whoever names a stream: nothing that ends this one.
    let name = session.name.trim();
    out.extend(if name.is_empty() { "streamd" } else { name }.chars().filter(|c| !c.is_control()));
    let any = if session.address.is_ipv4() { "0.0.0.0" } else { "::" };
    let _ = write!(out, "\r\nc=IN {version} {any}\r\nt=0 0\r\na=control:*\r\n");
    if !session.range.is_empty() {
        let _ = write!(out, "a=range:{}\r\n", session.range);
    }
    for line in lines {
        emit_line(line, &mut out);
    }
    out
}

fn ip_version(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IP4" } else { "IP6" }
}

fn emit_line(line: &Line<'_>, out: &mut String) {
    let Some((_, first)) = line.codecs.first() else { return };
    let port = line.group.map_or(0, |(_, _, port)| port);
    let _ = write!(out, "m={} {port} RTP/AVP", first.kind().name());
    for (id, _) in line.codecs {
        let _ = write!(out, " {id}");
    }
    out.push_str("\r\n");
    if let Some((group, ttl, _)) = line.group {
        let _ = write!(out, "c=IN {} {group}", ip_version(group));
        if group.is_ipv4() {
            let _ = write!(out, "/{ttl}");
        }
        out.push_str("\r\n");
    }
    for (id, codec) in line.codecs {
        let rate = crate::net::rtp::pay::clock_rate(codec);
        let _ = write!(out, "a=rtpmap:{id} {}/{rate}", encoding_name(codec.id));
        let channels = if codec.id == CodecId::Opus { 2 } else { codec.channels };
        // G.711 of one channel is written without it, as everybody does.
        if codec.kind() == Kind::Audio && (channels > 1 || matches!(codec.id, CodecId::Aac | CodecId::L16)) {
            let _ = write!(out, "/{}", channels.max(1));
        }
        out.push_str("\r\n");
        let before = out.len();
        let _ = write!(out, "a=fmtp:{id} ");
        let empty = out.len();
        emit_fmtp(codec, out);
        if out.len() == empty {
            out.truncate(before);
        } else {
            out.push_str("\r\n");
        }
    }
    if let (CodecId::Jpeg, Some((width, height))) = (first.id, line.size) {
        let _ = write!(out, "a=x-dimensions:{width},{height}\r\n");
    }
    if let Some(flow) = line.flow {
        let _ = write!(out, "a={}\r\n", flow.name());
    }
    let _ = write!(out, "a=control:{}\r\n", line.control);
}
