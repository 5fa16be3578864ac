//! RTSP inside a WebSocket (ONVIF Streaming, "RTSP over WebSocket"): what browsers can speak, and what
//! passes proxies that know only HTTP. Requests, answers and packets are one stream of bytes in binary
//! messages, and where a message ends means nothing. Each packet leaves as a message of its own, whose
//! header stands before its own in [`super::flow`], so that a frame still leaves by one gathered write.
//! What is said in the stream is not known here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::consumer::Out;
use super::line::Line;
use super::message::Request;
use super::server::Server;
use crate::net::clock;
use crate::net::limits::rtsp as limits;
use crate::net::users::Door;
use crate::net::websocket::{Asked, Control, Reader, Side, code, emit_close};

/// What is agreed if it is offered: ONVIF's name, and the one that players for Axis offer.
pub const PROTOCOLS: [&str; 2] = ["rtsp.onvif.org", "binary"];
/// What pages of other sites hear while nobody needs a key.
const FOREIGN: &str = "a page of another site may not watch here while there are no users";

/// Whether an HTTP request asks for a WebSocket.
pub fn is_asked(request: &Request) -> bool {
    request.verb == "GET" && request.headers.get("Upgrade").is_some()
}

/// Whether a page's own host is the one that it asks.
fn is_own_page(origin: &str, host: &str) -> bool {
    let name = |text: &str| {
        let end = if text.starts_with('[') { text.find(']').map(|at| at + 1) } else { text.find(':') };
        text.get(..end.unwrap_or(text.len())).unwrap_or("").to_ascii_lowercase()
    };
    origin.split_once("://").is_some_and(|(_, page)| !page.is_empty() && name(page) == name(host))
}

/// The server's end.
pub struct Web {
    reader: Reader,
    /// What the goodbye will say, if the other end has not said it first.
    code: u16,
    /// What comes is no WebSocket any more.
    broken: bool,
    /// The goodbye is said.
    parted: bool,
}

impl Web {
    /// Answers a GET; none if it was refused. Who may watch is decided by each request inside.
    pub fn open(request: &Request, server: &Server, line: &Line, out: &mut Out) -> Option<Web> {
        let field = |name: &str| request.headers.get(name);
        let refuse = |out: &mut Out, status: &str, sentence: &str| {
            let parts = [
                "HTTP/1.1 ",
                status,
                "\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\nContent-Type: text/plain\r\nContent-Length: ",
                &sentence.len().to_string(),
                "\r\n\r\n",
                sentence,
            ];
            out.urgent().extend_from_slice(parts.concat().as_bytes());
            None
        };
        let asked = match Asked::read(&field) {
            Ok(asked) => asked,
            Err(refused) => {
                let status = if refused.status() == 426 { "426 Upgrade Required" } else { "400 Bad Request" };
                return refuse(out, status, refused.sentence());
            }
        };
        if let Some(origin) = field("Origin") {
            // whoever's page it is, it comes from the machine of somebody who only looked at it
            line.page.set(true);
            let own = is_own_page(origin, field("Host").unwrap_or(""));
            if !own && server.keeper.users().is_open(Door::Rtsp) {
                return refuse(out, "403 Forbidden", FOREIGN);
            }
        }
        let protocol = asked.choose(&PROTOCOLS);
        out.urgent().extend_from_slice(asked.answer(protocol).as_bytes());
        out.set_web();
        line.web.set(true);
        line.deadline.set(Some(clock::now() + limits::FIRST));
        let reader = Reader::new(Side::Server, u64::MAX);
        Some(Web { reader, code: code::DONE, broken: false, parted: false })
    }

    /// Leaves what the messages in `bytes` carry at their front, and gives its length. Pings are
    /// answered at once; a goodbye when everything before it is, with [`Web::part`].
    pub fn read(&mut self, bytes: &mut [u8], out: &mut Out, line: &Line) -> usize {
        let stripped = self.reader.strip(bytes, &mut |reader, what| {
            if what == Control::Ping {
                out.hold = None;
                out.sealed(|bytes| reader.answer(what, bytes, None));
            }
        });
        stripped.unwrap_or_else(|error| {
            log::debug!(target: "rtsp", "{}: {error}", line.remote());
            (self.code, self.broken) = (error.code(), true);
            0
        })
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.broken || self.reader.is_over()
    }

    /// Says goodbye before the connection is closed; whether that was still to be done.
    pub fn part(&mut self, out: &mut Out) -> bool {
        if self.parted {
            return false;
        }
        self.parted = true;
        out.hold = None;
        out.sealed(|bytes| match self.reader.is_over() {
            true => self.reader.answer(Control::Close(None), bytes, None),
            false => emit_close(bytes, self.code, None),
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_from_another_sites() {
        for (origin, host) in [
            ("http://cam.lan:1984", "cam.lan:8554"),
            ("https://CAM.lan", "cam.lan"),
            ("http://[fe80::1]:1984", "[fe80::1]:8554"),
            ("http://10.0.0.9", "10.0.0.9:8554"),
        ] {
            assert!(is_own_page(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://evil.example", "10.0.0.9:8554"),
            ("null", ""),
            ("null", "null"),
            ("http://", ""),
            ("http://[fe80::2]:1984", "[fe80::1]:8554"),
            ("http://10.0.0.91", "10.0.0.9:8554"),
        ] {
            assert!(!is_own_page(origin, host), "{origin} {host}");
        }
    }
}
