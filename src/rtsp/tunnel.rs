//! RTSP inside HTTP, as QuickTime did it and ONVIF asks for: answers and packets flow down the
//! response of a GET, requests come up base64 in the endless body of a POST with the same cookie.
//! The GET's connection is the RTSP connection; the POST's only carries bytes to it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::line::Line;
use super::message::{Parser, Request};
use crate::net::clock;
use crate::net::limits::rtsp as limits;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Poll, Waker};

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

/// What an HTTP request turned out to be.
pub enum Half {
    /// The GET: packets and answers go down this connection, requests come by the tunnel.
    Down(Rc<Tunnel>),
    /// The POST: this connection carries bytes to the tunnel.
    Up(Rc<Tunnel>),
    /// Nothing that is served here.
    Neither,
}

/// Where the two halves find each other.
#[derive(Default)]
pub struct Tunnels(RefCell<Vec<Rc<Tunnel>>>);

impl Tunnels {
    /// One half of a tunnel asks; `out` takes what it is answered.
    pub fn open(&self, request: &Request, line: &Rc<Line>, out: &mut Vec<u8>) -> Half {
        let cookie = request.headers.get("x-sessioncookie");
        let cookie = cookie.filter(|c| (1..=limits::COOKIE).contains(&c.len()));
        let address = line.peer.address();
        let found = |cookie: &str| {
            let tunnels = self.0.borrow();
            tunnels.iter().find(|t| t.cookie == cookie && t.line.peer.address() == address).cloned()
        };
        let status = match (request.verb.as_str(), cookie) {
            ("GET", Some(cookie)) if found(cookie).is_none() => {
                let tunnel = Rc::new(Tunnel::new(cookie, line.clone()));
                self.0.borrow_mut().push(tunnel.clone());
                let head = [
                    "HTTP/1.0 200 OK\r\nServer: streamd\r\nConnection: close\r\nCache-Control: no-store\r\n\
                     Pragma: no-cache\r\nContent-Type: ",
                    KIND,
                    "\r\n\r\n",
                ];
                out.extend_from_slice(head.concat().as_bytes());
                line.deadline.set(Some(clock::now() + limits::FIRST));
                return Half::Down(tunnel);
            }
            ("POST", Some(cookie)) => match found(cookie) {
                Some(tunnel) => return Half::Up(tunnel),
                None => "404 Not Found",
            },
            _ => "400 Bad Request",
        };
        out.extend_from_slice(refusal(status).as_bytes());
        Half::Neither
    }

    /// A connection is over, and with it the tunnel that went down it.
    pub fn leave(&self, line: &Rc<Line>) {
        let over: Vec<_> = self.0.borrow_mut().extract_if(.., |t| Rc::ptr_eq(&t.line, line)).collect();
        for tunnel in over {
            tunnel.closed.set(true);
            wake(&tunnel.writer);
        }
    }
}

/// An answer to an HTTP request that is not served here.
pub fn refusal(status: &str) -> String {
    ["HTTP/1.0 ", status, "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"].concat()
}

/// Carries the body of a POST to the other connection until either ends. Never answers.
pub async fn carry(line: &Line, parser: &mut Parser, tunnel: Rc<Tunnel>) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut came = parser.take_rest();
    let mut bytes = [0; 2048];
    loop {
        line.known.set(tunnel.line.known.get());
        // the other connection answers for what this one owes
        line.deadline.set(None);
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
            if tunnel.bytes.borrow().len() > limits::TUNNELLED {
                return Poll::Pending;
            }
            line.socket.poll_readable(cx).map(|r| r.map(|()| true))
        });
        if !ready.await? {
            line.socket.shutdown(Shutdown::Both);
            return Ok(());
        }
        came.clear();
        match line.socket.try_read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(n) => came.extend_from_slice(bytes.get(..n).unwrap_or(&[])),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
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
