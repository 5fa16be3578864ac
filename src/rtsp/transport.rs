//! The Transport header (RFC 2326 §12.39): how a track's packets are to travel. A viewer sends what
//! it would take, best first; the answer says what it gets.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::net::limits::rtsp as limits;
use std::fmt::{self, Write};
use std::net::IpAddr;

/// By what the packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lower {
    /// Interleaved with the messages of the connection.
    Interleaved,
    /// UDP to one receiver.
    Udp,
    /// UDP to a group.
    Multicast,
}

/// A pair of ports or channels: media and control.
pub type Pair<T> = (T, T);

/// One alternative, or the one that was agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// By what; `None` is something that we do not do (another profile, an unknown word).
    pub lower: Option<Lower>,
    /// Encrypted profile (`RTP/SAVP`).
    pub secure: bool,
    /// Channels of the connection.
    pub interleaved: Option<Pair<u8>>,
    /// The receiver's ports.
    pub client_port: Option<Pair<u16>>,
    /// The sender's ports.
    pub server_port: Option<Pair<u16>>,
    /// The group's ports.
    pub port: Option<Pair<u16>>,
    /// Where to; only ever written for groups, never obeyed.
    pub destination: Option<IpAddr>,
    /// A destination was asked for, understood or not.
    pub redirected: bool,
    /// Where from.
    pub source: Option<IpAddr>,
    /// How far a group reaches.
    pub ttl: Option<u8>,
    /// Who sends.
    pub ssrc: Option<u32>,
    /// `mode=record`: the client sends.
    pub record: bool,
}

impl Transport {
    /// Interleaved on these channels.
    pub fn interleaved(pair: Pair<u8>) -> Transport {
        Transport { lower: Some(Lower::Interleaved), interleaved: Some(pair), ..Transport::default() }
    }

    /// UDP to these ports of the client.
    pub fn udp(client_port: Pair<u16>) -> Transport {
        Transport { lower: Some(Lower::Udp), client_port: Some(client_port), ..Transport::default() }
    }

    /// The alternatives of a header, in the client's order.
    pub fn parse_list(value: &str) -> Vec<Transport> {
        split_unquoted(value).take(limits::TRANSPORTS).filter_map(Transport::parse).collect()
    }

    /// One alternative; `None` if there is nothing.
    pub fn parse(value: &str) -> Option<Transport> {
        let mut parts = value.split(';').map(str::trim);
        let protocol = parts.next().filter(|p| !p.is_empty())?.to_ascii_uppercase();
        let mut out = Transport { secure: protocol.starts_with("RTP/SAVP"), ..Transport::default() };
        let tail = protocol.strip_prefix("RTP/AVP").or_else(|| protocol.strip_prefix("RTP/SAVP"));
        let lower = match tail {
            Some("" | "/UDP" | "F" | "F/UDP") => Some(Lower::Udp),
            Some("/TCP" | "F/TCP") => Some(Lower::Interleaved),
            _ => None,
        };
        let mut multicast = false;
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "multicast" => multicast = true,
                "interleaved" => out.interleaved = pair(value),
                "client_port" => out.client_port = pair(value),
                "server_port" => out.server_port = pair(value),
                "port" => out.port = pair(value),
                "destination" => (out.destination, out.redirected) = (value.parse().ok(), true),
                "source" => out.source = value.parse().ok(),
                "ttl" => out.ttl = value.parse().ok(),
                // Written as hexadecimal, with blanks before it by some.
                "ssrc" => out.ssrc = u32::from_str_radix(value.trim(), 16).ok(),
                // `mode=record`, `mode="RECORD"`, and `mode=receive` from old clients.
                "mode" => {
                    out.record =
                        value.eq_ignore_ascii_case("record") || value.eq_ignore_ascii_case("receive");
                }
                _ => {}
            }
        }
        out.lower = match lower {
            Some(Lower::Udp) if multicast => Some(Lower::Multicast),
            // Cameras leave out `/TCP` in the answer but name the channels.
            Some(Lower::Udp) if out.interleaved.is_some() && out.client_port.is_none() => {
                Some(Lower::Interleaved)
            }
            other => other,
        };
        Some(out)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "RTP/SAVP" } else { "RTP/AVP" })?;
        f.write_str(match self.lower {
            Some(Lower::Interleaved) => "/TCP;unicast",
            Some(Lower::Multicast) => ";multicast",
            _ => ";unicast",
        })?;
        if let Some(a) = self.destination {
            write!(f, ";destination={a}")?;
        }
        if let Some(a) = self.source {
            write!(f, ";source={a}")?;
        }
        if let Some((a, b)) = self.interleaved {
            write!(f, ";interleaved={a}-{b}")?;
        }
        for (name, pair) in
            [("client_port", self.client_port), ("server_port", self.server_port), ("port", self.port)]
        {
            if let Some((a, b)) = pair {
                write!(f, ";{name}={a}-{b}")?;
            }
        }
        if let Some(ttl) = self.ttl {
            write!(f, ";ttl={ttl}")?;
        }
        if let Some(ssrc) = self.ssrc {
            write!(f, ";ssrc={ssrc:08X}")?;
        }
        if self.record {
            f.write_str(";mode=record")?;
        }
        Ok(())
    }
}

/// A header for several alternatives.
pub fn emit_list(list: &[Transport]) -> String {
    let mut out = String::new();
    for (i, transport) in list.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        let _ = write!(out, "{transport}");
    }
    out
}

/// `4588-4589`, or one number with the next one meant.
fn pair<T: TryFrom<u32>>(value: &str) -> Option<Pair<T>> {
    let number = |s: &str| -> Option<u32> {
        let s = s.trim();
        (s.len() <= 5 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok())?
    };
    let (a, b) = match value.split_once('-') {
        Some((a, b)) => (number(a)?, number(b)?),
        None => {
            let a = number(value)?;
            (a, a + 1)
        }
    };
    Some((T::try_from(a).ok()?, T::try_from(b).ok()?))
}

/// Splits at commas outside quotes.
fn split_unquoted(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    value.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2326 §12.39's own example.
    #[test]
    fn several_alternatives_in_order() {
        let list = Transport::parse_list(
            "RTP/AVP;multicast;ttl=127;mode=\"PLAY\", RTP/AVP;unicast;client_port=3456-3457;mode=\"PLAY\"",
        );
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].lower, list[0].ttl, list[0].record), (Some(Lower::Multicast), Some(127), false));
        assert_eq!((list[1].lower, list[1].client_port), (Some(Lower::Udp), Some((3456, 3457))));
        assert_eq!(Transport::parse_list(&"RTP/AVP,".repeat(100)).len(), limits::TRANSPORTS);
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        for transport in [
            Transport { ssrc: Some(0xAB), ..Transport::interleaved((2, 3)) },
            Transport { server_port: Some((8000, 8001)), ssrc: Some(1), ..Transport::udp((5000, 5001)) },
            Transport { record: true, ..Transport::interleaved((0, 1)) },
            Transport {
                lower: Some(Lower::Multicast),
                destination: Some(IpAddr::from([239, 255, 0, 1])),
                redirected: true,
                port: Some((5000, 5001)),
                ttl: Some(4),
                ..Transport::default()
            },
        ] {
            assert_eq!(Transport::parse(&transport.to_string()), Some(transport));
        }
        assert_eq!(
            Transport { ssrc: Some(0xAB), ..Transport::interleaved((2, 3)) }.to_string(),
            "RTP/AVP/TCP;unicast;interleaved=2-3;ssrc=000000AB"
        );
    }

    /// Answers of cameras: no `/TCP`, one channel, ssrc first or with a blank, no server_port
    /// (OpenIPC); requests with one port; modes in all spellings.
    #[test]
    fn quirk_odd_spellings() {
        let odd = Transport::parse("RTP/AVP;unicast;ssrc= 1a;interleaved=0").unwrap();
        assert_eq!(
            (odd.lower, odd.interleaved, odd.ssrc),
            (Some(Lower::Interleaved), Some((0, 1)), Some(0x1A))
        );
        let udp = Transport::parse("rtp/avp/udp; unicast; client_port = 5000").unwrap();
        assert_eq!(
            (udp.lower, udp.client_port, udp.server_port),
            (Some(Lower::Udp), Some((5000, 5001)), None)
        );
        for mode in ["record", "\"RECORD\"", "Receive"] {
            assert!(Transport::parse(&format!("RTP/AVP/TCP;interleaved=0-1;mode={mode}")).unwrap().record);
        }
    }

    /// CVE-2026-31256: an empty Transport on the second track rebooted a camera.
    #[test]
    fn nothing_and_nonsense_are_no_transport() {
        assert!(Transport::parse_list("").is_empty() && Transport::parse_list(" , ;").is_empty());
        assert_eq!(Transport::parse("RAW/RAW/UDP;client_port=1-2").unwrap().lower, None);
        let wild =
            Transport::parse("RTP/AVP;client_port=99999-1;interleaved=256-257;ttl=300;destination=evil")
                .unwrap();
        assert_eq!((wild.client_port, wild.interleaved, wild.ttl), (None, None, None));
        assert!(wild.redirected && wild.destination.is_none());
    }
}
