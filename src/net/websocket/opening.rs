//! How a WebSocket begins: a GET that asks for it, and the answer 101 (RFC 6455 §4). Whoever reads the
//! HTTP hands its fields in; what a server or a client says comes out as text. No compression and no
//! other extension is ever agreed.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::net::base64;
use crate::net::limits::{WS_HEAD, WS_PROTOCOLS};
use crate::net::sha1::sha1;
use std::fmt;

/// What a server appends to the client's key before it hashes it.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const VERSION: &str = "13";

/// The client's key of 16 random bytes.
pub fn key(random: [u8; 16]) -> String {
    base64::encode(&random)
}

/// The server's answer to a key.
pub fn accept(key: &str) -> String {
    base64::encode(&sha1(&[key.as_bytes(), GUID].concat()))
}

/// Whether a list of words with commas has this one.
fn lists(list: Option<&str>, word: &str) -> bool {
    list.is_some_and(|l| l.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
}

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It does not ask for it.
    NoUpgrade,
    /// Another version than 13.
    Version,
    /// No key of 16 bytes.
    Key,
}

impl Refused {
    /// The status: 426 names the version that is spoken.
    pub const fn status(self) -> u16 {
        match self {
            Refused::Key => 400,
            Refused::NoUpgrade | Refused::Version => 426,
        }
    }

    /// What is wrong, as a line for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Refused::NoUpgrade => "expected Connection: Upgrade and Upgrade: websocket",
            Refused::Version => "expected Sec-WebSocket-Version: 13",
            Refused::Key => "expected a Sec-WebSocket-Key of 16 bytes in Base64",
        }
    }
}

/// A client's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    key: &'a str,
    protocols: &'a str,
}

impl<'a> Asked<'a> {
    /// Reads a GET's fields: `field` gives the first of a name, whatever its case.
    pub fn read(field: &dyn Fn(&str) -> Option<&'a str>) -> Result<Asked<'a>, Refused> {
        if !lists(field("Upgrade"), "websocket") || !lists(field("Connection"), "upgrade") {
            return Err(Refused::NoUpgrade);
        }
        if field("Sec-WebSocket-Version").map(str::trim) != Some(VERSION) {
            return Err(Refused::Version);
        }
        let key = field("Sec-WebSocket-Key").map(str::trim).ok_or(Refused::Key)?;
        if base64::decode(key).is_none_or(|k| k.len() != 16) {
            return Err(Refused::Key);
        }
        Ok(Asked { key, protocols: field("Sec-WebSocket-Protocol").unwrap_or("") })
    }

    /// The first of `ours` that the client offers; their names are case-sensitive.
    pub fn choose(&self, ours: &[&'static str]) -> Option<&'static str> {
        let offers = |name: &str| self.protocols.split(',').take(WS_PROTOCOLS).any(|p| p.trim() == name);
        ours.iter().copied().find(|name| offers(name))
    }

    /// The value of Sec-WebSocket-Accept.
    pub fn accept(&self) -> String {
        accept(self.key)
    }

    /// The whole answer; after its last byte it is a WebSocket.
    pub fn answer(&self, protocol: Option<&str>) -> String {
        let mut out = String::from(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.push_str(&self.accept());
        if let Some(protocol) = protocol {
            out.push_str("\r\nSec-WebSocket-Protocol: ");
            out.push_str(protocol);
        }
        out.push_str("\r\n\r\n");
        out
    }
}

/// Our wish, as a client.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// Name or address and port, as in a URL.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// See [`key`].
    pub key: &'a str,
    /// Protocols that we speak, best first, with commas.
    pub protocols: &'a str,
    /// Our key to the door.
    pub authorization: Option<&'a str>,
}

impl Opening<'_> {
    /// The request; its parts must have no line ends, and with one they are nothing.
    pub fn request(&self) -> String {
        let mut out = String::with_capacity(320);
        let parts = [
            ("GET ", Some(self.target)),
            (" HTTP/1.1\r\nHost: ", Some(self.host)),
            ("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: ", Some(VERSION)),
            ("\r\nSec-WebSocket-Key: ", Some(self.key)),
            ("\r\nSec-WebSocket-Protocol: ", Some(self.protocols)),
            ("\r\nUser-Agent: ", Some("streamd")),
            ("\r\nAuthorization: ", self.authorization),
        ];
        for (name, value) in parts {
            let Some(value) = value.filter(|v| !v.is_empty()) else { continue };
            out.push_str(name);
            out.extend(value.chars().filter(|c| !c.is_ascii_control()));
        }
        out.push_str("\r\n\r\n");
        out
    }
}

/// Why a server's answer is no WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpeningError {
    /// It answers with another status.
    Status(u16, String),
    /// What comes is no HTTP, or too much of it.
    NoHttp,
    /// The answer has no word of a WebSocket, or not the hash of our key.
    NoWebSocket,
    /// It chose a protocol that we did not offer, or an extension.
    NotOffered(String),
}

impl fmt::Display for OpeningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpeningError::Status(404, _) => f.write_str("no WebSocket at this address (404)"),
            OpeningError::Status(status, reason) => {
                write!(f, "the WebSocket was answered with {status} {reason}")
            }
            OpeningError::NoHttp => f.write_str("the WebSocket's answer is not HTTP"),
            OpeningError::NoWebSocket => f.write_str("the answer is not that of a WebSocket server"),
            OpeningError::NotOffered(what) => write!(f, "the WebSocket server chose {what:?} unasked"),
        }
    }
}

impl std::error::Error for OpeningError {}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status: 101 opens.
    pub status: u16,
    head: String,
}

impl Answer {
    /// Reads an answer and its length, if it is whole.
    pub fn read(bytes: &[u8]) -> Result<Option<(Answer, usize)>, OpeningError> {
        let begins = b"HTTP/1.";
        let n = begins.len().min(bytes.len());
        if bytes.get(..n) != begins.get(..n) {
            return Err(OpeningError::NoHttp);
        }
        let looked = bytes.get(..WS_HEAD).unwrap_or(bytes);
        let Some(end) = looked.windows(4).position(|w| w == b"\r\n\r\n") else {
            return if bytes.len() >= WS_HEAD { Err(OpeningError::NoHttp) } else { Ok(None) };
        };
        let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or(&[])).into_owned();
        let status = head.get(9..12).and_then(|s| s.parse().ok());
        let status = status.filter(|s| (100..600).contains(s)).ok_or(OpeningError::NoHttp)?;
        Ok(Some((Answer { status, head }, end + 4)))
    }

    /// All values of that name, whatever its case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.head.lines().skip(1).filter_map(|l| l.split_once(':'));
        lines.filter(move |(n, _)| n.trim().eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    }

    /// Whether the server agrees to `opening`; gives the protocol that it chose.
    pub fn check<'a>(&'a self, opening: &Opening<'_>) -> Result<Option<&'a str>, OpeningError> {
        if self.status != 101 {
            let reason = self.head.lines().next().and_then(|l| l.get(13..)).unwrap_or("");
            let reason = reason.chars().filter(|c| !c.is_control()).take(60).collect();
            return Err(OpeningError::Status(self.status, reason));
        }
        let upgrades =
            lists(self.all("Upgrade").next(), "websocket") && lists(self.all("Connection").next(), "upgrade");
        if !upgrades || self.all("Sec-WebSocket-Accept").next() != Some(&accept(opening.key)) {
            return Err(OpeningError::NoWebSocket);
        }
        let unasked = |what: &str| Err(OpeningError::NotOffered(what.chars().take(60).collect()));
        if let Some(extension) = self.all("Sec-WebSocket-Extensions").find(|e| !e.is_empty()) {
            return unasked(extension);
        }
        match self.all("Sec-WebSocket-Protocol").next() {
            Some(chosen) if !opening.protocols.split(',').any(|p| p.trim() == chosen) => unasked(chosen),
            chosen => Ok(chosen),
        }
    }
}
