//! HomeKit's HTTP: whole requests out of a connection's plain bytes, answers and events into them.
//! The text is the same before and after encryption.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::net::http::{BodyReader, Head, Method};
use crate::net::limits::{HOMEKIT_BODY, HTTP_HEAD};

/// A whole request.
#[derive(Debug)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// Where, without the query.
    pub path: String,
    /// A query's member.
    query: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a query's member.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Takes the first whole request from `plain`. An error is the status of the last answer that this
/// connection gets.
#[inline(never)]
pub fn take(plain: &mut Vec<u8>) -> Result<Option<Request>, u16> {
    let Some(end) = plain.windows(4).position(|w| w == b"\r\n\r\n") else {
        return if plain.len() > HTTP_HEAD { Err(431) } else { Ok(None) };
    };
    let end = end + 4;
    if end > HTTP_HEAD {
        return Err(431);
    }
    let mut text = plain.get(..end).unwrap_or_default().to_vec();
    hide_host(&mut text);
    let head = Head::parse(&text).map_err(|refusal| refusal.status)?;
    let mut reader = BodyReader::new(head.framing);
    let (mut at, mut body) = (end, Vec::new());
    while !reader.is_done() {
        let rest = plain.get(at..).unwrap_or_default();
        let (used, range) = reader.feed(rest).map_err(|refusal| refusal.status)?;
        body.extend_from_slice(rest.get(range).unwrap_or_default());
        if body.len() > HOMEKIT_BODY || at > end + 2 * HOMEKIT_BODY {
            return Err(413);
        }
        if used == 0 {
            return match head.framing {
                crate::net::http::Framing::Length(n) if n > HOMEKIT_BODY as u64 => Err(413),
                _ => Ok(None),
            };
        }
        at += used;
    }
    pass(plain, at);
    let query = head.query.pairs().to_vec();
    Ok(Some(Request { method: head.method, path: head.path, query, body }))
}

/// Takes away what was read; nothing is held of a connection that has said all.
pub fn pass(bytes: &mut Vec<u8>, count: usize) {
    bytes.drain(..count);
    if bytes.is_empty() {
        *bytes = Vec::new();
    }
}

/// Apple names the service there, blanks and escapes included, which is no host of any web. Nothing
/// depends on it: each accessory has its own port.
fn hide_host(text: &mut [u8]) {
    for line in text.split_mut(|&c| c == b'\n').skip(1) {
        if line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"host:")) {
            for c in line.iter_mut().skip(5).filter(|c| **c != b'\r' && !c.is_ascii_alphanumeric()) {
                *c = b'-';
            }
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        207 => "Multi-Status",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        470 => "Connection Authorization Required",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Bad Request",
    }
}

fn head(out: &mut Vec<u8>, first: &str, status: u16, kind: &str, length: usize) {
    let mut text = String::with_capacity(128);
    text.push_str(first);
    text.push_str(&status.to_string());
    text.push(' ');
    text.push_str(reason(status));
    text.push_str("\r\n");
    if !kind.is_empty() {
        text.push_str("Content-Type: ");
        text.push_str(kind);
        text.push_str("\r\n");
    }
    if status != 204 {
        text.push_str("Content-Length: ");
        text.push_str(&length.to_string());
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    out.extend_from_slice(text.as_bytes());
}

/// An answer of some type; without a type it has no body.
pub fn answer(status: u16, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 128);
    head(&mut out, "HTTP/1.1 ", status, kind, body.len());
    out.extend_from_slice(body);
    out
}

/// An answer in JSON.
pub fn json(status: u16, body: &str) -> Vec<u8> {
    answer(status, "application/hap+json", body.as_bytes())
}

/// An event.
pub fn event(body: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 128);
    head(&mut out, "EVENT/1.0 ", 200, "application/hap+json", body.len());
    out.extend_from_slice(body.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_cut_and_together() {
        let wire = b"GET /characteristics?id=1.9,1.14&meta=1 HTTP/1.1\r\nHost: Front\\032door\\ (2)._hap._tcp.local\r\n\r\n\
            PUT /prepare HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody\
            POST /pair-setup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        let (mut plain, mut seen) = (Vec::new(), Vec::new());
        for byte in wire {
            plain.push(*byte);
            while let Some(request) = take(&mut plain).unwrap() {
                seen.push(request);
            }
        }
        assert!(plain.is_empty());
        assert_eq!(seen.len(), 3);
        assert_eq!((seen[0].path.as_str(), seen[0].query("id")), ("/characteristics", Some("1.9,1.14")));
        assert_eq!((seen[1].method, &seen[1].body[..]), (Method::Put, &b"body"[..]));
        assert_eq!(&seen[2].body, b"abc");
    }

    #[test]
    fn hostile_lengths_end_the_connection_at_once() {
        let huge = b"POST /pair-setup HTTP/1.1\r\nHost: x\r\nContent-Length: 99000000000\r\n\r\n";
        assert_eq!(take(&mut huge.to_vec()).unwrap_err(), 413);
        let endless = vec![b'a'; HTTP_HEAD + 1];
        assert_eq!(take(&mut endless.clone()).unwrap_err(), 431);
        assert!(take(&mut b"\x16\x03\x01\r\n\r\n".to_vec()).is_err());
    }
}
