//! RTSP inside HTTP, as QuickTime did it and ONVIF asks for: answers and packets flow down the
//! response of a GET, requests come up base64 in the endless body of a POST with the same cookie.
//! The GET's connection is the RTSP connection; the POST's only carries bytes to it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::connection::Connection;
use super::message::{Parser, Request};
use super::server::Line;
use crate::net::clock;
use crate::net::limits::rtsp as limits;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Bytes of a cookie.
const COOKIE: usize = 64;
/// Decoded bytes that wait for the other connection.
const WAITING: usize = 16 << 10;
const KIND: &str = "application/x-rtsp-tunnelled";

/// Bytes from a POST to its GET.
pub struct Tunnel {
    cookie: String,
    line: Rc<Line>,
    bytes: RefCell<Vec<u8>>,
    closed: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

impl Tunnel {
    fn new(cookie: &str, line: Rc<Line>) -> Tunnel {
        Tunnel {
            cookie: cookie.to_owned(),
            line,
            bytes: RefCell::default(),
            closed: Cell::new(false),
            reader: RefCell::default(),
            writer: RefCell::default(),
        }
    }

    /// Whether it is the one of this connection.
    pub fn is_of(&self, line: &Rc<Line>) -> bool {
        Rc::ptr_eq(&self.line, line)
    }

    /// The GET is over.
    pub fn close(&self) {
        self.closed.set(true);
        wake(&self.writer);
    }

    /// Ready when bytes have come.
    pub fn poll(&self, waker: &Waker) -> bool {
        self.reader.replace(Some(waker.clone()));
        !self.bytes.borrow().is_empty()
    }

    /// Moves what has come to the parser, as much as it has room for.
    pub fn drain(&self, parser: &mut Parser) {
        let mut bytes = self.bytes.borrow_mut();
        let n = parser.feed(&bytes);
        bytes.drain(..n);
        drop(bytes);
        wake(&self.writer);
    }
}

fn wake(place: &RefCell<Option<Waker>>) {
    let waker = place.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Base64 that may be cut anywhere and padded in its middle.
#[derive(Default)]
struct Decoder {
    bits: u32,
    count: u32,
}

impl Decoder {
    /// False for a symbol that is none.
    fn push(&mut self, symbol: u8, out: &mut Vec<u8>) -> bool {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                (self.bits, self.count) = (0, 0);
                return true;
            }
            b'\r' | b'\n' | b' ' | b'\t' => return true,
            _ => return false,
        };
        self.bits = self.bits << 6 | u32::from(value);
        self.count += 6;
        if self.count >= 8 {
            self.count -= 8;
            out.push((self.bits >> self.count) as u8);
        }
        true
    }
}

impl Connection {
    /// An HTTP request: one half of a tunnel, or nothing that is served here.
    pub fn open_tunnel(&mut self, request: &Request) {
        let cookie = request.headers.get("x-sessioncookie").filter(|c| (1..=COOKIE).contains(&c.len()));
        let address = self.line.peer.address();
        let found = |cookie: &str| {
            let tunnels = self.server.tunnels.borrow();
            tunnels.iter().find(|t| t.cookie == cookie && t.line.peer.address() == address).cloned()
        };
        match (request.verb.as_str(), cookie) {
            ("GET", Some(cookie)) if self.tunnel.is_none() && found(cookie).is_none() => {
                let tunnel = Rc::new(Tunnel::new(cookie, self.line.clone()));
                self.server.tunnels.borrow_mut().push(tunnel.clone());
                self.tunnel = Some(tunnel);
                let head = [
                    "HTTP/1.0 200 OK\r\nServer: streamd\r\nConnection: close\r\nCache-Control: no-store\r\n\
                     Pragma: no-cache\r\nContent-Type: ",
                    KIND,
                    "\r\n\r\n",
                ];
                self.out.urgent().extend_from_slice(head.concat().as_bytes());
                self.line.deadline.set(Some(clock::now() + limits::FIRST));
            }
            ("POST", Some(cookie)) if self.tunnel.is_none() => match found(cookie) {
                Some(tunnel) => self.carries = Some(tunnel),
                None => self.no_tunnel("404 Not Found"),
            },
            _ => self.no_tunnel("400 Bad Request"),
        }
    }

    fn no_tunnel(&mut self, status: &str) {
        let text = ["HTTP/1.0 ", status, "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"].concat();
        self.out.urgent().extend_from_slice(text.as_bytes());
        self.closing = true;
    }

    /// Carries the body of a POST to the other connection until either ends. Never answers.
    pub async fn carry(&mut self, parser: &mut Parser, tunnel: Rc<Tunnel>) -> io::Result<()> {
        let mut decoder = Decoder::default();
        let mut came = parser.take_rest();
        let mut bytes = [0; 2048];
        loop {
            self.line.known.set(tunnel.line.known.get());
            // the other connection answers for what this one owes
            self.line.deadline.set(None);
            {
                let mut out = tunnel.bytes.borrow_mut();
                if !came.iter().all(|&symbol| decoder.push(symbol, &mut out)) {
                    return Ok(());
                }
            }
            wake(&tunnel.reader);
            let ready = poll_fn(|cx| {
                if tunnel.closed.get() {
                    return Poll::Ready(Ok(false));
                }
                tunnel.writer.replace(Some(cx.waker().clone()));
                if tunnel.bytes.borrow().len() > WAITING {
                    return Poll::Pending;
                }
                self.line.socket.poll_readable(cx).map(|r| r.map(|()| true))
            });
            if !ready.await? {
                self.line.socket.shutdown(Shutdown::Both);
                return Ok(());
            }
            came.clear();
            match self.line.socket.try_read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(n) => came.extend_from_slice(bytes.get(..n).unwrap_or(&[])),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::base64::encode;

    /// Clients encode each request for itself, and the network cuts anywhere.
    #[test]
    fn groups_padded_in_the_middle_come_out_whole() {
        let mut text = String::new();
        let mut plain = Vec::new();
        for n in 1..40u8 {
            let part: Vec<u8> = (0..n).collect();
            text.push_str(&encode(&part));
            if n % 5 == 0 {
                text.push_str("\r\n");
            }
            plain.extend(part);
        }
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        assert!(text.bytes().all(|b| decoder.push(b, &mut out)));
        assert_eq!(out, plain);
        assert!(!decoder.push(b'$', &mut out));
    }
}
