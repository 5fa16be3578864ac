//! Requests, responses and interleaved frames on one connection, in whatever pieces they come. What a
//! connection may hold is bounded before it is read; a frame of media is handed out where it lies,
//! without a copy. It decides nothing: that a request makes sense is for [`super::session`] to say.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::net::limits::rtsp as limits;
use std::fmt;
use std::ops::Range;

/// The bounds of a connection, and what its peer is.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes of a body.
    pub body: usize,
    /// Bytes of an interleaved frame.
    pub frame: usize,
    /// Step over what is neither message nor frame; else it is an error.
    pub resync: bool,
}

impl Rules {
    /// What a viewer may send.
    pub const VIEWER: Rules =
        Rules { body: limits::REQUEST_BODY, frame: limits::VIEWER_FRAME, resync: false };
    /// What a publisher may send once it records.
    pub const PUBLISHER: Rules =
        Rules { body: limits::REQUEST_BODY, frame: limits::MEDIA_FRAME, resync: false };
    /// What a camera may send.
    pub const CAMERA: Rules = Rules { body: limits::RESPONSE_BODY, frame: limits::MEDIA_FRAME, resync: true };
}

/// Why a connection cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The head has too many bytes, or a line of it.
    HeadTooLong,
    /// The URI has too many bytes.
    UriTooLong,
    /// Too many headers.
    TooManyHeaders,
    /// The body has too many bytes.
    BodyTooLong(usize),
    /// An interleaved frame has too many bytes.
    FrameTooLong(usize),
    /// Content-Length is no number, or there are two that differ.
    ContentLength,
    /// Neither request, response nor frame.
    Garbage,
}

impl ParseError {
    /// The status to answer with before closing.
    pub const fn status(self) -> u16 {
        match self {
            ParseError::HeadTooLong | ParseError::BodyTooLong(_) | ParseError::FrameTooLong(_) => 413,
            ParseError::UriTooLong => 414,
            _ => 400,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::HeadTooLong => {
                write!(f, "RTSP head or a line of it is longer than {} bytes", limits::HEAD)
            }
            ParseError::UriTooLong => write!(f, "RTSP address longer than {} bytes", limits::URI),
            ParseError::TooManyHeaders => {
                write!(f, "RTSP message with more than {} headers", limits::HEADERS)
            }
            ParseError::BodyTooLong(n) => write!(f, "RTSP body of {n} bytes"),
            ParseError::FrameTooLong(n) => write!(f, "interleaved frame of {n} bytes"),
            ParseError::ContentLength => f.write_str("RTSP Content-Length is not one number"),
            ParseError::Garbage => f.write_str("neither an RTSP message nor an interleaved frame"),
        }
    }
}

impl std::error::Error for ParseError {}

macro_rules! methods {
    ($($id:ident $name:literal,)*) => {
        /// What a request asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "they are the standard's own words")]
        pub enum Method { $($id,)* /** Something else, spelled in [`Request::verb`]. */ Other }

        impl Method {
            const NAMES: &'static [(&'static str, Method)] = &[$(($name, Method::$id),)*];
        }
    };
}

methods! {
    Options "OPTIONS",
    Describe "DESCRIBE",
    Announce "ANNOUNCE",
    Setup "SETUP",
    Play "PLAY",
    Pause "PAUSE",
    Record "RECORD",
    Teardown "TEARDOWN",
    GetParameter "GET_PARAMETER",
    SetParameter "SET_PARAMETER",
    Redirect "REDIRECT",
}

impl Method {
    /// The method of that name; methods are case-sensitive.
    pub fn parse(name: &str) -> Method {
        Method::NAMES.iter().find(|(n, _)| *n == name).map_or(Method::Other, |(_, m)| *m)
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        Method::NAMES.iter().find(|(_, m)| *m == self).map_or("OTHER", |(n, _)| n)
    }
}

/// The headers of a message, in order, in one piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    text: String,
    spans: Vec<(Range<u32>, Range<u32>)>,
}

impl Headers {
    /// The first header of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// All headers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let part = |r: &Range<u32>| self.text.get(r.start as usize..r.end as usize).unwrap_or("");
        self.spans.iter().map(move |(n, v)| (part(n), part(v)))
    }

    fn push(&mut self, name: &str, value: &str) {
        let start = self.text.len() as u32;
        self.text.push_str(name);
        let middle = self.text.len() as u32;
        self.text.push_str(value);
        self.spans.push((start..middle, middle..self.text.len() as u32));
    }

    /// The sequence number as its text; long or missing ones give none.
    pub fn cseq(&self) -> Option<&str> {
        self.get("CSeq").filter(|c| (1..=10).contains(&c.len()) && c.bytes().all(|b| b.is_ascii_digit()))
    }

    /// The session's id and its timeout in seconds.
    pub fn session(&self) -> Option<(&str, Option<u32>)> {
        let (id, rest) = self.get("Session").map(|s| s.split_once(';').unwrap_or((s, "")))?;
        let timeout = rest.split(';').find_map(|p| {
            let (name, value) = p.split_once('=')?;
            name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok())?
        });
        let id = id.trim();
        (!id.is_empty()).then_some((id, timeout))
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub method: Method,
    /// The method as it was written.
    pub verb: String,
    /// Of what.
    pub uri: String,
    /// It is HTTP, not RTSP: somebody opens a tunnel.
    pub http: bool,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The words after it.
    pub reason: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
}

/// One thing that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
    /// RTP (even channel) or RTCP (odd), where it lies in the buffer.
    Frame {
        /// The channel.
        channel: u8,
        /// The packet.
        data: &'a [u8],
    },
}

const FIRST_SIZE: usize = 1 << 10;
const FRAME_HEAD: usize = 4;
const MARK: u8 = b'$';

/// What stands at the front of the buffer.
enum Front {
    More,
    Frame(u8, usize),
    Message(usize),
    Garbage,
}

/// Reads one connection.
pub struct Parser {
    rules: Rules,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes from `start` known to hold no end of a head.
    scanned: usize,
    /// A head was read and its body is awaited.
    head: Option<(Item<'static>, usize)>,
    garbage: usize,
}

impl Parser {
    /// A parser with an empty buffer.
    pub fn new(rules: Rules) -> Parser {
        Parser { rules, buffer: Vec::new(), start: 0, end: 0, scanned: 0, head: None, garbage: 0 }
    }

    /// Changes the bounds, for a viewer that turns out to publish.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Bytes stepped over because they were nothing, since the last good item.
    pub fn garbage(&self) -> usize {
        self.garbage
    }

    /// The most that the buffer grows to: one message or frame, and what came behind it.
    fn most(&self) -> usize {
        (limits::HEAD + self.rules.body.min(limits::RESPONSE_BODY)).max(FRAME_HEAD + self.rules.frame)
    }

    /// Has the buffer begin with this size, for connections that bring much at once.
    pub fn reserve(&mut self, size: usize) {
        let size = size.min(self.most());
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
    }

    /// Room to read into; call [`Parser::filled`] with how much came. Empty only while a whole item
    /// waits for [`Parser::next`].
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 && (self.start == self.end || self.end == self.buffer.len()) {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            let size = (self.buffer.len() * 2).max(FIRST_SIZE).min(self.most().max(self.end));
            self.buffer.resize(size, 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or(&mut [])
    }

    /// Gives the buffer back if nothing is in it: most viewers say something every few seconds.
    pub fn relax(&mut self) {
        if self.start == self.end && self.head.is_none() {
            (self.start, self.end, self.scanned) = (0, 0, 0);
            self.buffer = Vec::new();
        }
    }

    /// Bytes were read into [`Parser::space`].
    pub fn filled(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.buffer.len());
    }

    /// Copies bytes in, as many as there is room for: for tunnels and tests.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let space = self.space();
        let n = space.len().min(bytes.len());
        if let (Some(to), Some(from)) = (space.get_mut(..n), bytes.get(..n)) {
            to.copy_from_slice(from);
        }
        self.filled(n);
        n
    }

    /// Takes out what has not been read: what follows is no RTSP.
    pub fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.rest().to_vec();
        self.consume(rest.len());
        rest
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or(&[])
    }

    fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        self.scanned = 0;
    }

    /// The next whole item, if it is there. After an error the connection is of no more use.
    #[allow(clippy::should_implement_trait, reason = "items borrow from the parser")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, ParseError> {
        loop {
            if let Some((_, body)) = self.head {
                if self.rest().len() < body {
                    return Ok(None);
                }
                let bytes = self.rest().get(..body).unwrap_or(&[]).to_vec();
                self.consume(body);
                match &mut self.head {
                    Some((Item::Request(request), _)) => request.body = bytes,
                    Some((Item::Response(response), _)) => response.body = bytes,
                    _ => {}
                }
                return Ok(self.head.take().map(|(item, _)| item));
            }
            // Line ends between messages, and before frames, are nothing.
            let blank = self.rest().iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            if blank > 0 {
                self.consume(blank);
            }
            match self.front()? {
                Front::More => return Ok(None),
                Front::Frame(channel, len) => {
                    self.garbage = 0;
                    let at = self.start + FRAME_HEAD;
                    self.consume(FRAME_HEAD + len);
                    let data = self.buffer.get(at..at + len).unwrap_or(&[]);
                    return Ok(Some(Item::Frame { channel, data }));
                }
                Front::Message(len) => {
                    let text = String::from_utf8_lossy(self.rest().get(..len).unwrap_or(&[])).into_owned();
                    self.head = Some(parse_head(&text, &self.rules)?);
                    self.garbage = 0;
                    self.consume(len);
                }
                Front::Garbage => {
                    if !self.rules.resync {
                        return Err(ParseError::Garbage);
                    }
                    let rest = self.rest();
                    let skip = (1..rest.len()).find(|&at| rest.get(at..).is_some_and(|b| self.likely(b)));
                    let skip = skip.unwrap_or(rest.len());
                    self.garbage += skip;
                    self.consume(skip);
                    if self.garbage > limits::GARBAGE {
                        return Err(ParseError::Garbage);
                    }
                }
            }
        }
    }

    /// Whether a frame or message may begin here, among garbage. A beginning cut short is likely.
    fn likely(&self, bytes: &[u8]) -> bool {
        match bytes {
            [MARK] => true,
            [MARK, channel, ..] if *channel >= limits::GARBAGE_CHANNEL => false,
            [MARK, _] | [MARK, _, _] => true,
            [MARK, _, high, low, ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                len > 0 && len <= self.rules.frame.min(1500)
            }
            _ => named(bytes),
        }
    }

    fn front(&mut self) -> Result<Front, ParseError> {
        let rest = self.rest();
        match rest {
            [] => Ok(Front::More),
            [MARK, channel, high, low, after @ ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                if len > self.rules.frame {
                    return if self.rules.resync {
                        Ok(Front::Garbage)
                    } else {
                        Err(ParseError::FrameTooLong(len))
                    };
                }
                if self.garbage > 0 && !self.likely(rest) {
                    return Ok(Front::Garbage);
                }
                Ok(if after.len() < len { Front::More } else { Front::Frame(*channel, len) })
            }
            [MARK, ..] => Ok(Front::More),
            _ => self.message(),
        }
    }

    /// Looks for the end of a head: an empty line.
    fn message(&mut self) -> Result<Front, ParseError> {
        let rest = self.rest();
        let garbage = if self.rules.resync {
            !named(rest)
        } else {
            let word = rest.iter().take(32).take_while(|b| b.is_ascii_alphabetic() || **b == b'_');
            !matches!(rest.get(word.count()), None | Some(b' ' | b'/'))
        };
        if garbage {
            return Ok(Front::Garbage);
        }
        let from = self.scanned.saturating_sub(3);
        let tail = rest.get(from..).unwrap_or(&[]);
        let end = tail.iter().enumerate().find_map(|(i, &b)| {
            let after = tail.get(i + 1..).unwrap_or(&[]);
            match (b, after) {
                (b'\n', [b'\n', ..]) => Some(i + 2),
                (b'\n', [b'\r', b'\n', ..]) => Some(i + 3),
                _ => None,
            }
        });
        let len = end.map(|end| from + end);
        if len.unwrap_or(rest.len()) > limits::HEAD {
            // A request line alone that is too long is told apart.
            let line = rest.iter().take(limits::HEAD).position(|&b| b == b'\n');
            return Err(if line.is_none_or(|n| n > limits::URI + 64) {
                ParseError::UriTooLong
            } else {
                ParseError::HeadTooLong
            });
        }
        let seen = rest.len();
        self.scanned = seen;
        Ok(len.map_or(Front::More, Front::Message))
    }
}

/// Whether bytes begin with a method or a status line, as far as they go.
fn named(bytes: &[u8]) -> bool {
    let begins = |name: &[u8]| {
        let n = name.len().min(bytes.len());
        n > 0 && name.get(..n) == bytes.get(..n)
    };
    begins(b"RTSP/") || Method::NAMES.iter().any(|(name, _)| begins(name.as_bytes()))
}

/// Reads a whole head; gives the message without its body and the body's length.
fn parse_head(text: &str, rules: &Rules) -> Result<(Item<'static>, usize), ParseError> {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or("").trim_end();
    let mut headers = Headers { text: String::with_capacity(text.len()), spans: Vec::new() };
    for line in lines {
        if line.len() > limits::LINE {
            return Err(ParseError::HeadTooLong);
        }
        // A line without a colon, or one that continues another, says nothing we need.
        let Some((name, value)) = line.split_once(':') else { continue };
        if line.starts_with([' ', '\t']) {
            continue;
        }
        if headers.spans.len() >= limits::HEADERS {
            return Err(ParseError::TooManyHeaders);
        }
        headers.push(name.trim(), value.trim());
    }
    let mut body = None;
    for (_, value) in headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case("Content-Length")) {
        let digits = !value.is_empty() && value.len() <= 10 && value.bytes().all(|b| b.is_ascii_digit());
        let len: u64 = value.parse().ok().filter(|_| digits).ok_or(ParseError::ContentLength)?;
        if body.replace(len).is_some_and(|before| before != len) {
            return Err(ParseError::ContentLength);
        }
    }
    let body = usize::try_from(body.unwrap_or(0)).unwrap_or(usize::MAX);
    if let Some(rest) = first.strip_prefix("RTSP/") {
        let mut words = rest.splitn(3, ' ');
        let status = words.nth(1).and_then(|s| s.parse().ok()).filter(|s| (100..1000).contains(s));
        let status = status.ok_or(ParseError::Garbage)?;
        let reason = words.next().unwrap_or("").trim().to_string();
        if body > rules.body {
            return Err(ParseError::BodyTooLong(body));
        }
        return Ok((Item::Response(Response { status, reason, headers, body: Vec::new() }), body));
    }
    let mut words = first.split_ascii_whitespace();
    let (Some(verb), Some(uri), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ParseError::Garbage);
    };
    if uri.len() > limits::URI {
        return Err(ParseError::UriTooLong);
    }
    let http = version.starts_with("HTTP/1.");
    if !http && !version.starts_with("RTSP/") {
        return Err(ParseError::Garbage);
    }
    // The body of a tunnel's POST has no end: it is for the tunnel to read.
    let body = if http { 0 } else { body };
    if body > rules.body {
        return Err(ParseError::BodyTooLong(body));
    }
    let (method, verb, uri) = (Method::parse(verb), verb.to_string(), uri.to_string());
    Ok((Item::Request(Request { method, verb, uri, http, headers, body: Vec::new() }), body))
}

/// The words after a status.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Time-out",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        415 => "Unsupported Media Type",
        451 => "Parameter Not Understood",
        453 => "Not Enough Bandwidth",
        454 => "Session Not Found",
        455 => "Method Not Valid in This State",
        457 => "Invalid Range",
        459 => "Aggregate Operation Not Allowed",
        460 => "Only Aggregate Operation Allowed",
        461 => "Unsupported Transport",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "RTSP Version Not Supported",
        551 => "Option not supported",
        _ => "Error",
    }
}

/// An answer to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Apart, because replies are handed from one to another often and seldom looked into.
    rest: Box<Rest>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rest {
    cseq: Option<String>,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    /// An answer to `request`, with its sequence number.
    pub fn to(request: &Request, status: u16) -> Reply {
        let mut reply = Reply::to_nothing(status);
        reply.rest.cseq = request.headers.cseq().map(str::to_string);
        reply
    }

    /// An answer to something that was no request.
    pub fn to_nothing(status: u16) -> Reply {
        Reply { status, rest: Box::default() }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.rest.headers.push((name, value.into()));
        self
    }

    /// Adds a body with its type.
    pub fn body(mut self, kind: &str, body: Vec<u8>) -> Reply {
        self.rest.body = body;
        self.header("Content-Type", kind)
    }

    /// The first header of that name that was added.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.rest.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// Appends the answer as it goes on the wire.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut text = String::new();
        let _ = fmt::write(&mut text, format_args!("RTSP/1.0 {} {}\r\n", self.status, reason(self.status)));
        finish(text, self.rest.cseq.as_deref(), &self.rest.headers, &self.rest.body, out);
    }
}

/// Appends a request as it goes on the wire. `CSeq` is spelled as here because some cameras know no
/// other spelling.
pub fn emit_request(
    method: Method,
    uri: &str,
    cseq: u32,
    headers: &[(&'static str, String)],
    body: &[u8],
    out: &mut Vec<u8>,
) {
    let uri: String = uri.chars().filter(|c| !c.is_control() && *c != ' ').collect();
    let mut text = String::new();
    let _ = fmt::write(&mut text, format_args!("{} {uri} RTSP/1.0\r\n", method.name()));
    let mut number = String::new();
    let _ = fmt::write(&mut number, format_args!("{cseq}"));
    finish(text, Some(&number), headers, body, out);
}

fn finish(
    mut text: String,
    cseq: Option<&str>,
    headers: &[(&'static str, String)],
    body: &[u8],
    out: &mut Vec<u8>,
) {
    let mut line = |name: &str, value: &str| {
        text.push_str(name);
        text.push_str(": ");
        // Nothing that came from somewhere writes a line of its own.
        text.extend(value.chars().filter(|c| !c.is_control()));
        text.push_str("\r\n");
    };
    if let Some(cseq) = cseq {
        line("CSeq", cseq);
    }
    for (name, value) in headers {
        line(name, value);
    }
    if !body.is_empty() {
        let mut len = String::new();
        let _ = fmt::write(&mut len, format_args!("{}", body.len()));
        line("Content-Length", &len);
    }
    text.push_str("\r\n");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(body);
}

/// The four bytes before an interleaved packet.
pub const fn frame_head(channel: u8, len: u16) -> [u8; FRAME_HEAD] {
    let [high, low] = len.to_be_bytes();
    [MARK, channel, high, low]
}

/// One entry of an RTP-Info header: where a track's packets begin. Cameras write wrong values; take
/// them as a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpInfo<'a> {
    /// The track's address.
    pub url: &'a str,
    /// The first sequence number.
    pub seq: Option<u16>,
    /// The RTP time of the range's start.
    pub rtp_time: Option<u32>,
}

/// Takes an RTP-Info header apart.
pub fn rtp_info(value: &str) -> impl Iterator<Item = RtpInfo<'_>> {
    value.split(',').take(limits::TRACKS).filter_map(|entry| {
        let mut info = RtpInfo { url: "", seq: None, rtp_time: None };
        for part in entry.split(';') {
            match part.trim().split_once('=') {
                Some((name, value)) if name.eq_ignore_ascii_case("url") => info.url = value,
                Some((name, value)) if name.eq_ignore_ascii_case("seq") => info.seq = value.parse().ok(),
                Some((name, value)) if name.eq_ignore_ascii_case("rtptime") => {
                    info.rtp_time = value.parse().ok()
                }
                _ => {}
            }
        }
        (!info.url.is_empty()).then_some(info)
    })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
