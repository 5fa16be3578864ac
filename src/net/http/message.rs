//! HTTP/1.1 requests on the wire: bytes in, a checked head and the pieces of its body out. Input may
//! be cut anywhere. Nothing is guessed: whatever two servers could read in two ways (lengths that
//! disagree, bare line feeds, folded lines, odd codings) is refused, so that nobody can hide one
//! request inside another. No socket and no clock here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub use super::refusal::Refusal;
use super::uri::{Query, decode_path};
use crate::net::limits::{HTTP_CHUNK_LINE, HTTP_FIELDS, HTTP_HEAD, HTTP_LINE, HTTP_TRAILERS};
use std::fmt;
use std::ops::Range;

const fn bad<T>(sentence: &'static str) -> Result<T, Refusal> {
    Err(Refusal::new(400, sentence))
}

/// What is to be done. Other methods are answered with 501.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    const NAMES: [(&'static str, Method); 7] = [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("PATCH", Method::Patch),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
    ];

    /// As it stands in a request line.
    pub fn name(self) -> &'static str {
        Method::NAMES.iter().find(|(_, m)| *m == self).map_or("", |(n, _)| n)
    }

    fn parse(name: &[u8]) -> Option<Method> {
        Method::NAMES.iter().find(|(n, _)| n.as_bytes() == name).map(|(_, m)| *m)
    }

    /// Whether it only looks.
    pub fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options)
    }
}

/// The two versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: closes unless asked to keep, knows no chunks.
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// That many bytes; zero if nothing was said.
    Length(u64),
    /// Chunks until an empty one.
    Chunked,
}

/// Header fields in order, as they came: one buffer and where each lies in it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    text: Vec<u8>,
    spans: Vec<(Range<u16>, Range<u16>)>,
}

impl fmt::Debug for Fields {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(n, _)| n)).finish()
    }
}

impl Fields {
    /// Reads `text`, the whole head, whose fields begin at `from`.
    fn parse(text: Vec<u8>, from: usize) -> Result<Fields, Refusal> {
        let mut spans = Vec::new();
        let mut at = from;
        while let Some(rest) = text.get(at..) {
            let Some(end) = rest.iter().position(|&c| c == b'\r') else { break };
            let line = rest.get(..end).unwrap_or_default();
            if line.is_empty() {
                break;
            }
            let Some(colon) = line.iter().position(|&c| c == b':') else {
                return bad("a header field has no colon");
            };
            let (name, value) = line.split_at_checked(colon).unwrap_or_default();
            if name.is_empty() || !name.iter().all(|&c| is_token(c)) {
                return bad("a header field's name has a character that is none of a name");
            }
            let value = value.get(1..).unwrap_or_default();
            if value.iter().any(|&c| c < b' ' && c != b'\t' || c == 0x7f) {
                return bad("a header field's value has a control character");
            }
            let lead = value.iter().take_while(|&&c| c == b' ' || c == b'\t').count();
            let trail = value.iter().rev().take_while(|&&c| c == b' ' || c == b'\t').count();
            let first = at + colon + 1 + lead;
            let last = (at + end).saturating_sub(trail).max(first.min(at + end));
            if spans.len() >= HTTP_FIELDS {
                return Err(Refusal::new(431, "too many header fields"));
            }
            spans.push((span(at, at + colon), span(first.min(last), last)));
            at += end + 2;
        }
        Ok(Fields { text, spans })
    }

    fn slice(&self, span: &Range<u16>) -> &[u8] {
        self.text.get(usize::from(span.start)..usize::from(span.end)).unwrap_or_default()
    }

    /// Every value of that name (any case), in order, as bytes.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |s: &Range<u16>| self.slice(s).eq_ignore_ascii_case(name.as_bytes());
        self.spans.iter().filter(move |(n, _)| same(n)).map(|(_, v)| self.slice(v))
    }

    /// The first value of that name (any case), if it is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.spans.iter().find(|(n, _)| self.slice(n).eq_ignore_ascii_case(name.as_bytes()));
        found.and_then(|(_, v)| std::str::from_utf8(self.slice(v)).ok())
    }

    /// All fields in order; a value that is no text shows empty.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |s| std::str::from_utf8(self.slice(s)).unwrap_or_default();
        self.spans.iter().map(move |(n, v)| (text(n), text(v)))
    }

    /// Whether a list field (`Connection: keep-alive, Upgrade`) names `token`.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name).any(|v| {
            v.split(|&c| c == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        })
    }
}

fn span(from: usize, to: usize) -> Range<u16> {
    from.min(0xffff) as u16..to.min(0xffff) as u16
}

fn is_token(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c)
}

/// A checked request head.
#[derive(Clone, Debug)]
pub struct Head {
    /// What to do.
    pub method: Method,
    /// The request target as it came (the digest's `uri` is compared with it).
    pub target: String,
    /// The decoded path: begins with `/`, holds no empty, `.` or `..` segment.
    pub path: String,
    /// The decoded query.
    pub query: Query,
    /// The version spoken.
    pub version: Version,
    /// The header fields.
    pub fields: Fields,
    /// How long the body is.
    pub framing: Framing,
    /// The host asked for, port included; empty if none was named.
    pub host: String,
    /// Whether the peer wants to send another request here.
    pub keep_alive: bool,
    /// Whether the peer waits for `100 Continue` before the body.
    pub expects_continue: bool,
}

impl Head {
    /// Reads a whole head, from the first line to the empty one.
    pub fn parse(text: &[u8]) -> Result<Head, Refusal> {
        let Some(end) = text.iter().position(|&c| c == b'\r') else {
            return bad("the request line has no end");
        };
        let line = text.get(..end).unwrap_or_default();
        if line.len() > HTTP_LINE {
            return Err(Refusal::new(414, "the request line is too long"));
        }
        let mut words = line.split(|&c| c == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return bad("the request line is not 'METHOD target HTTP/1.1'");
        };
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(Refusal::new(505, "only HTTP/1.0 and HTTP/1.1 are spoken"));
            }
            _ => return bad("the request line is not 'METHOD target HTTP/1.1'"),
        };
        if method.is_empty() || !method.iter().all(|&c| is_token(c)) {
            return bad("the method is not a word");
        }
        let method = Method::parse(method).ok_or(Refusal::new(501, "this method is not served"))?;
        if target.iter().any(|&c| c <= b' ' || c == 0x7f || c == b'#') {
            return bad("the target has a character that belongs percent-encoded");
        }
        let Ok(target) = std::str::from_utf8(target) else {
            return bad("the target is not UTF-8");
        };
        let fields = Fields::parse(text.to_vec(), end + 2)?;
        let (authority, local) = split_target(target, method)?;
        let (path, query) = local.split_once('?').unwrap_or((local, ""));
        Ok(Head {
            method,
            path: decode_path(path)?,
            query: Query::parse(query)?,
            version,
            framing: framing(&fields, version, method)?,
            host: host(&fields, version, authority)?,
            keep_alive: match version {
                Version::Http11 => !fields.lists("connection", "close"),
                Version::Http10 => {
                    fields.lists("connection", "keep-alive") && !fields.lists("connection", "close")
                }
            },
            expects_continue: expects(&fields, version)?,
            target: target.to_owned(),
            fields,
        })
    }

    /// The protocol that the peer asks to change to, if it does.
    pub fn upgrade(&self) -> Option<&str> {
        if self.fields.lists("connection", "upgrade") { self.fields.get("upgrade") } else { None }
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        self.framing != Framing::Length(0)
    }
}

/// The authority of an absolute target, if any, and the path with its query.
fn split_target(target: &str, method: Method) -> Result<(Option<&str>, &str), Refusal> {
    if target.starts_with('/') {
        return Ok((None, target));
    }
    if target == "*" && method == Method::Options {
        return Ok((None, "/"));
    }
    let scheme = target
        .split_once("://")
        .filter(|(s, _)| s.eq_ignore_ascii_case("http") || s.eq_ignore_ascii_case("https"));
    let Some((_, rest)) = scheme else {
        return bad("the target begins neither with / nor with http://");
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, local) = rest.split_at_checked(end).unwrap_or((rest, ""));
    match local.bytes().next() {
        Some(b'/') => Ok((Some(authority), local)),
        None => Ok((Some(authority), "/")),
        Some(_) => bad("the target has no path"),
    }
}

fn host(fields: &Fields, version: Version, authority: Option<&str>) -> Result<String, Refusal> {
    let mut hosts = fields.all("host");
    let first = hosts.next();
    if hosts.next().is_some() {
        return bad("there is more than one Host");
    }
    if first.is_none() && version == Version::Http11 {
        return bad("there is no Host");
    }
    let host = authority.map_or(first.unwrap_or_default(), str::as_bytes);
    if host.len() > 300 || !host.iter().all(|&c| c.is_ascii_alphanumeric() || b"-._:[]%~".contains(&c)) {
        return bad("the Host is no name or address with a port");
    }
    Ok(String::from_utf8_lossy(host).to_ascii_lowercase())
}

fn framing(fields: &Fields, version: Version, method: Method) -> Result<Framing, Refusal> {
    let mut lengths = fields.all("content-length");
    let length = lengths.next();
    if lengths.next().is_some() {
        return bad("there is more than one Content-Length");
    }
    let mut codings = fields.all("transfer-encoding");
    if let Some(coding) = codings.next() {
        if version == Version::Http10 {
            return bad("HTTP/1.0 has no Transfer-Encoding");
        }
        if length.is_some() {
            return bad("there are both Transfer-Encoding and Content-Length");
        }
        if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::new(501, "the only Transfer-Encoding that is read is 'chunked'"));
        }
        return Ok(Framing::Chunked);
    }
    match length {
        None if version == Version::Http10
            && matches!(method, Method::Post | Method::Put | Method::Patch) =>
        {
            Err(Refusal::new(411, "in HTTP/1.0 this method needs a Content-Length"))
        }
        None => Ok(Framing::Length(0)),
        Some(digits) if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) => {
            bad("the Content-Length is no number")
        }
        Some(digits) => std::str::from_utf8(digits)
            .ok()
            .and_then(|d| d.parse().ok())
            .map(Framing::Length)
            .ok_or(Refusal::new(413, "the Content-Length is beyond any bound")),
    }
}

fn expects(fields: &Fields, version: Version) -> Result<bool, Refusal> {
    match fields.all("expect").next() {
        None => Ok(false),
        Some(v) if v.eq_ignore_ascii_case(b"100-continue") => Ok(version == Version::Http11),
        Some(_) => Err(Refusal::new(417, "the only Expect that can be met is '100-continue'")),
    }
}

/// What a connection received and nobody has used yet; finds the heads in it.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    used: usize,
    scanned: usize,
    line: usize,
    lines: usize,
}

impl Inbox {
    /// Bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.compact();
        self.bytes.extend_from_slice(bytes);
    }

    /// What is unused.
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    /// Marks the first `n` unused bytes as used.
    pub fn consume(&mut self, n: usize) {
        self.used = self.used.saturating_add(n).min(self.bytes.len());
        self.scanned = 0;
        self.line = 0;
        self.lines = 0;
        if self.used == self.bytes.len() {
            self.compact();
        }
    }

    /// Takes everything unused, for whoever takes the connection over.
    pub fn take(&mut self) -> Vec<u8> {
        self.compact();
        std::mem::take(&mut self.bytes)
    }

    fn compact(&mut self) {
        if self.used == self.bytes.len() {
            // An idle connection holds no buffer.
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..self.used);
        }
        self.used = 0;
    }

    /// The next head, once it is whole. Costs one look at each byte however it was cut.
    pub fn head(&mut self) -> Result<Option<Head>, Refusal> {
        let bytes = self.bytes.get(self.used..).unwrap_or_default();
        if self.scanned == 0 {
            // Some old clients send an empty line after a body; one is forgiven.
            let skip = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
            match bytes.get(skip) {
                Some(&c) if !(is_token(c) || c == b'\r' && skip == 0 && bytes.len() == 1) => {
                    return bad("this is not an HTTP request");
                }
                Some(b'\r') | None => return Ok(None),
                Some(_) => {}
            }
            self.used += skip;
        }
        let bytes = self.bytes.get(self.used..).unwrap_or_default();
        while let Some(&c) = bytes.get(self.scanned) {
            let at = self.scanned;
            self.scanned += 1;
            if at >= HTTP_HEAD {
                return Err(Refusal::new(431, "the request head is too long"));
            }
            if self.lines == 0 && at > HTTP_LINE {
                return Err(Refusal::new(414, "the request line is too long"));
            }
            let after_return = at > 0 && bytes.get(at - 1) == Some(&b'\r');
            if (c == b'\n') != after_return {
                return bad("a line does not end with carriage return and line feed");
            }
            if c != b'\n' {
                continue;
            }
            if at == self.line + 1 {
                let head = Head::parse(bytes.get(..self.scanned).unwrap_or_default());
                let length = self.scanned;
                self.consume(length);
                return head.map(Some);
            }
            self.line = self.scanned;
            self.lines += 1;
            if self.lines > HTTP_FIELDS + 1 {
                return Err(Refusal::new(431, "too many header fields"));
            }
        }
        Ok(None)
    }
}

/// Cuts a body out of the bytes after a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyReader {
    state: State,
    size: u64,
    line: usize,
    lines: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length,
    Size,
    Extension,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    Trailer,
    TrailerEnd,
    Done,
}

impl BodyReader {
    /// For a body framed like that.
    pub fn new(framing: Framing) -> BodyReader {
        let (state, size) = match framing {
            Framing::Length(0) => (State::Done, 0),
            Framing::Length(n) => (State::Length, n),
            Framing::Chunked => (State::Size, 0),
        };
        BodyReader { state, size, line: 0, lines: 0 }
    }

    /// Whether the whole body was seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Looks at `input`; says how much of it is used up and which part of that is content. Call
    /// again with the rest until nothing is used. Trailers are read and dropped.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Range<usize>), Refusal> {
        let mut at = 0;
        while let Some(&c) = input.get(at) {
            match self.state {
                State::Done => break,
                State::Length | State::Data => {
                    let n = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len() - at);
                    self.size -= n as u64;
                    if self.size == 0 {
                        self.state = if self.state == State::Data { State::DataReturn } else { State::Done };
                    }
                    return Ok((at + n, at..at + n));
                }
                _ => self.step(c)?,
            }
            at += 1;
        }
        Ok((at, 0..0))
    }

    fn step(&mut self, c: u8) -> Result<(), Refusal> {
        self.line += 1;
        self.state = match (self.state, c) {
            (State::Size | State::Extension, _) if self.line > HTTP_CHUNK_LINE => {
                return bad("a chunk's size line is too long");
            }
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if self.size >> 56 != 0 {
                    return Err(Refusal::new(413, "a chunk is beyond any bound"));
                }
                self.size = self.size << 4 | u64::from(char::from(c).to_digit(16).unwrap_or(0));
                State::Size
            }
            (State::Size, b'\r') if self.line > 1 => State::SizeEnd,
            (State::Size, b';' | b' ' | b'\t') if self.line > 1 => State::Extension,
            (State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => State::Extension,
            (State::SizeEnd, b'\n') => {
                self.line = 0;
                if self.size == 0 { State::Trailer } else { State::Data }
            }
            (State::DataReturn, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => {
                self.line = 0;
                State::Size
            }
            // From here `size` counts the trailers' bytes and `line` those of the present line.
            (State::Trailer, b'\r') => State::TrailerEnd,
            (State::TrailerEnd, b'\n') if self.line == 2 => State::Done,
            (State::TrailerEnd, b'\n') => {
                self.line = 0;
                self.lines += 1;
                State::Trailer
            }
            (State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.size += 1;
                if self.size > HTTP_TRAILERS as u64 || self.lines >= HTTP_FIELDS {
                    return Err(Refusal::new(431, "the trailers are too long"));
                }
                State::Trailer
            }
            _ => return bad("a chunk is not framed as it should be"),
        };
        Ok(())
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
