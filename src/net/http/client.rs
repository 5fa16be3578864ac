//! A client for one question: how `streamd ctl` talks to the control socket. Blocking, because
//! nothing else runs in that process; never used inside the server.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::message::{BodyReader, Framing};
use crate::net::limits::{CLIENT_ANSWER, CLIENT_TIME, HTTP_HEAD};
use crate::net::quoted::io_error;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, as text or not.
    pub body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Debug)]
pub enum Error {
    /// The socket failed.
    Io(io::Error),
    /// What came is no answer; what was expected.
    Answer(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(e) => write!(f, "cannot talk to streamd: {e}"),
            Error::Answer(expected) => write!(f, "streamd's answer is broken: expected {expected}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Error {
        Error::Io(e)
    }
}

/// Asks over a Unix socket.
pub fn unix(socket: &Path, method: &str, target: &str, body: &[u8]) -> Result<Answer, Error> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(CLIENT_TIME))?;
    stream.set_write_timeout(Some(CLIENT_TIME))?;
    ask(stream, "localhost", method, target, body)
}

/// Asks over TCP, at `address:port`.
pub fn tcp(address: &str, method: &str, target: &str, body: &[u8]) -> Result<Answer, Error> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(CLIENT_TIME))?;
    stream.set_write_timeout(Some(CLIENT_TIME))?;
    ask(stream, address, method, target, body)
}

fn ask(
    mut stream: impl Read + Write,
    host: &str,
    method: &str,
    target: &str,
    body: &[u8],
) -> Result<Answer, Error> {
    if [method, target, host].iter().any(|t| t.is_empty() || t.bytes().any(|c| c <= b' ' || c == 0x7f)) {
        return Err(Error::Io(io_error(ErrorKind::InvalidInput, "the method or target has a space in it")));
    }
    let length = body.len().to_string();
    let mut out = Vec::with_capacity(128 + body.len());
    for part in [
        method,
        " ",
        target,
        " HTTP/1.1\r\nHost: ",
        host,
        "\r\nConnection: close\r\nContent-Length: ",
        &length,
        "\r\n\r\n",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(body);
    // A server that refuses at once may close before it has read everything; its answer counts.
    let written = stream.write_all(&out);
    let mut answer = Vec::new();
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf) {
            Ok(0) => break,
            Ok(n) if answer.len() + n > CLIENT_ANSWER => return Err(Error::Answer("a shorter one")),
            Ok(n) => answer.extend_from_slice(buf.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) if !answer.is_empty() => break,
            Err(e) => return Err(e.into()),
        }
    }
    match parse(&answer)? {
        Some(answer) => Ok(answer),
        None => {
            written?;
            Err(Error::Answer("the rest of it"))
        }
    }
}

/// The answer in everything that came, if it is whole.
fn parse(mut text: &[u8]) -> Result<Option<Answer>, Error> {
    while let Some(interim) = text.strip_prefix(b"HTTP/1.1 100 ") {
        let Some(end) = interim.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
        text = interim.get(end + 4..).unwrap_or_default();
    }
    let Some(end) = text.windows(4).position(|w| w == b"\r\n\r\n") else {
        return if text.len() > HTTP_HEAD { Err(Error::Answer("a shorter head")) } else { Ok(None) };
    };
    let (head, body) = text.split_at_checked(end + 4).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| Error::Answer("text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|l| l.strip_prefix("HTTP/1.")).and_then(|l| l.get(2..5));
    let status: u16 = status.and_then(|s| s.parse().ok()).ok_or(Error::Answer("HTTP/1.1 and a status"))?;
    let field = |name: &str| {
        let mut found = head.split("\r\n").filter_map(|l| l.split_once(':'));
        found.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    };
    let framing = match (field("transfer-encoding"), field("content-length")) {
        (Some(_), _) => Framing::Chunked,
        (None, Some(n)) => Framing::Length(n.parse().map_err(|_| Error::Answer("a length"))?),
        (None, None) if matches!(status, 204 | 304) => Framing::Length(0),
        (None, None) => return Ok(Some(Answer { status, body: body.to_vec() })),
    };
    let mut reader = BodyReader::new(framing);
    let mut out = Vec::new();
    let mut rest = body;
    loop {
        let (used, data) = reader.feed(rest).map_err(|r| Error::Answer(r.sentence))?;
        out.extend_from_slice(rest.get(data).unwrap_or_default());
        rest = rest.get(used..).unwrap_or_default();
        if used == 0 {
            return Ok(reader.is_done().then_some(Answer { status, body: out }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_shape() {
        let whole =
            |t: &str| parse(t.as_bytes()).unwrap().map(|a| (a.status, String::from_utf8(a.body).unwrap()));
        assert_eq!(whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), Some((200, "hi".into())));
        assert_eq!(whole("HTTP/1.1 404 Not Found\r\n\r\nno"), Some((404, "no".into())));
        assert_eq!(whole("HTTP/1.1 204 No Content\r\n\r\n"), Some((204, String::new())));
        assert_eq!(
            whole(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
            ),
            Some((200, "hi".into()))
        );
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        for end in 0..chunked.len() {
            assert_eq!(parse(&chunked.as_bytes()[..end]).unwrap(), None, "cut at {end}");
        }
        assert!(parse(b"SSH-2.0\r\n\r\n").is_err());
        let many = "HTTP/1.1 100 C\r\n\r\n".repeat(1000);
        assert!(parse(many.as_bytes()).unwrap().is_none());
    }
}
