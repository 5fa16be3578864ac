//! What a handler answers, and how it stands on the wire. Every answer has a length, chunks, or
//! ends with the connection; nothing a handler passes can break out of its header line.

use super::connection::{BodyWriter, Taken};
use super::message::{Head, Method, Version};

use futures_lite::future::BoxedLocal;
use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::ops::Range;

type StreamFn = Box<dyn FnOnce(BodyWriter) -> BoxedLocal<io::Result<()>>>;
type TakeFn = Box<dyn FnOnce(Taken) -> BoxedLocal<()>>;

pub(crate) enum Body {
    Bytes(Cow<'static, [u8]>),
    Stream(StreamFn),
    Taken(TakeFn),
}

/// An answer.
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, Cow<'static, str>)>,
    pub(crate) body: Body,
    pub(crate) close: bool,
    ranges: bool,
}

impl Response {
    fn new(status: u16, content_type: impl Into<Cow<'static, str>>, body: Body) -> Response {
        let headers = Vec::with_capacity(4);
        let mut r = Response { status, headers, body, close: false, ranges: false };
        let content_type = content_type.into();
        if !content_type.is_empty() {
            r.add("Content-Type", content_type);
        }
        r
    }

    /// A status and nothing else.
    pub fn empty(status: u16) -> Response {
        Response::new(status, "", Body::Bytes(Cow::Borrowed(&[])))
    }

    /// Plain text.
    pub fn text(text: impl Into<String>) -> Response {
        let body = Body::Bytes(Cow::Owned(text.into().into_bytes()));
        Response::new(200, "text/plain; charset=utf-8", body)
    }

    /// JSON that is written already.
    pub fn json(json: String) -> Response {
        Response::new(200, "application/json", Body::Bytes(Cow::Owned(json.into_bytes())))
            .header("Cache-Control", "no-store")
    }

    /// Bytes of a known length, of which a client may ask for a range.
    pub fn bytes(
        content_type: impl Into<Cow<'static, str>>,
        bytes: impl Into<Cow<'static, [u8]>>,
    ) -> Response {
        let mut r = Response::new(200, content_type, Body::Bytes(bytes.into()));
        r.ranges = true;
        r
    }

    /// An error: the status, and one sentence that says what to do about it.
    pub fn error(status: u16, sentence: &str) -> Response {
        let mut text = String::with_capacity(sentence.len() + 1);
        text.push_str(sentence);
        text.push('\n');
        let mut r = Response::text(text);
        r.status = status;
        r
    }

    /// A body that `write` makes as it goes, in chunks (until the connection ends in HTTP/1.0). Not
    /// called for HEAD. An error from it cuts the connection, so that the client knows.
    pub fn stream<F, R>(content_type: impl Into<Cow<'static, str>>, write: F) -> Response
    where
        F: FnOnce(BodyWriter) -> R + 'static,
        R: Future<Output = io::Result<()>> + 'static,
    {
        Response::new(200, content_type, Body::Stream(Box::new(|w| Box::pin(write(w)))))
            .header("Cache-Control", "no-store")
    }

    /// Changes to another protocol: `101`, then `run` has the connection and what was read of it.
    pub fn upgrade<F, R>(protocol: &'static str, run: F) -> Response
    where
        F: FnOnce(Taken) -> R + 'static,
        R: Future<Output = ()> + 'static,
    {
        Response::new(101, "", Body::Taken(Box::new(|t| Box::pin(run(t))))).header("Upgrade", protocol)
    }

    /// Writes no answer at all: `run` has the connection and what was read of it.
    pub fn take_over<F, R>(run: F) -> Response
    where
        F: FnOnce(Taken) -> R + 'static,
        R: Future<Output = ()> + 'static,
    {
        Response::new(0, "", Body::Taken(Box::new(|t| Box::pin(run(t)))))
    }

    /// With another status.
    pub fn status(mut self, status: u16) -> Response {
        self.status = status;
        self
    }

    /// With one more header field. Control characters in the value become spaces.
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Response {
        self.add(name, value.into());
        self
    }

    #[inline(never)]
    fn add(&mut self, name: &'static str, mut value: Cow<'static, str>) {
        if value.contains(char::is_control) {
            value = Cow::Owned(value.replace(char::is_control, " "));
        }
        self.headers.push((name, value));
    }

    /// The last on its connection.
    pub fn close(mut self) -> Response {
        self.close = true;
        self
    }

    /// Narrows to the range that was asked for, if one was and it can be; gives the part to send.
    pub(crate) fn narrow(&mut self, head: &Head) -> Range<usize> {
        let Body::Bytes(bytes) = &self.body else { return 0..0 };
        let length = bytes.len();
        if self.ranges && self.status == 200 {
            let plain = head.method == Method::Get && head.fields.get("if-range").is_none();
            match head
                .fields
                .get("range")
                .filter(|_| plain)
                .map_or(Ask::All, |r| parse_range(r, length as u64))
            {
                Ask::All => self.headers.push(("Accept-Ranges", Cow::Borrowed("bytes"))),
                Ask::Part(first, last) => {
                    self.status = 206;
                    self.headers
                        .push(("Content-Range", Cow::Owned(format!("bytes {first}-{last}/{length}"))));
                    return first as usize..last as usize + 1;
                }
                Ask::Nothing => {
                    *self = Response::error(416, "the range lies beyond the end")
                        .header("Content-Range", format!("bytes */{length}"));
                    return self.narrow(head);
                }
            }
        }
        0..length
    }

    /// The head as it goes out; `length` is the body's, if it has one.
    pub(crate) fn head(&self, version: Version, length: Option<usize>, keep: bool, cors: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut put = |parts: &[&str]| parts.iter().for_each(|p| out.extend_from_slice(p.as_bytes()));
        put(&["HTTP/1.1 ", &self.status.to_string(), " ", reason(self.status), "\r\n"]);
        for (name, value) in &self.headers {
            put(&[name, ": ", value, "\r\n"]);
        }
        put(&["X-Content-Type-Options: nosniff\r\n"]);
        if cors {
            put(&["Access-Control-Allow-Origin: *\r\n"]);
        }
        match length {
            _ if self.status == 101 => put(&["Connection: Upgrade\r\n"]),
            Some(n) if self.status != 204 && self.status != 304 => {
                put(&["Content-Length: ", &n.to_string(), "\r\n"]);
            }
            None if version == Version::Http11 => put(&["Transfer-Encoding: chunked\r\n"]),
            _ => {}
        }
        if self.status != 101 {
            match (keep, version) {
                (false, _) => put(&["Connection: close\r\n"]),
                (true, Version::Http10) => put(&["Connection: keep-alive\r\n"]),
                _ => {}
            }
        }
        put(&["\r\n"]);
        out
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ask {
    All,
    Part(u64, u64),
    Nothing,
}

/// One range `a-b`, `a-` or `-n`. Anything else (several ranges, other units, nonsense) may be
/// ignored, and is.
fn parse_range(header: &str, length: u64) -> Ask {
    let number = |t: &str| if t.bytes().all(|c| c.is_ascii_digit()) { t.parse::<u64>().ok() } else { None };
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|r| r.trim().split_once('-')) else {
        return Ask::All;
    };
    match (first.is_empty(), number(first), last.is_empty(), number(last)) {
        (true, _, false, Some(0)) => Ask::Nothing,
        (true, _, false, Some(_)) if length == 0 => Ask::Nothing,
        (true, _, false, Some(n)) => Ask::Part(length.saturating_sub(n), length - 1),
        (false, Some(a), true, _) if a < length => Ask::Part(a, length - 1),
        (false, Some(a), false, Some(b)) if a <= b && a < length => Ask::Part(a, b.min(length - 1)),
        (false, Some(a), true, _) if a >= length => Ask::Nothing,
        (false, Some(a), false, Some(b)) if a <= b => Ask::Nothing,
        _ => Ask::All,
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (header, want) in [
            ("bytes=0-0", Ask::Part(0, 0)),
            ("bytes=2-4", Ask::Part(2, 4)),
            ("bytes=2-400", Ask::Part(2, 9)),
            ("bytes=9-", Ask::Part(9, 9)),
            ("bytes=-3", Ask::Part(7, 9)),
            ("bytes=-300", Ask::Part(0, 9)),
            ("bytes=-0", Ask::Nothing),
            ("bytes=10-", Ask::Nothing),
            ("bytes=10-12", Ask::Nothing),
            ("bytes=4-2", Ask::All),
            ("bytes=0-1,3-4", Ask::All),
            ("bytes=-", Ask::All),
            ("bytes=+1-2", Ask::All),
            ("bytes=99999999999999999999-", Ask::All),
            ("items=0-1", Ask::All),
            ("", Ask::All),
        ] {
            assert_eq!(parse_range(header, 10), want, "{header}");
        }
        assert_eq!(parse_range("bytes=-1", 0), Ask::Nothing);
        assert_eq!(parse_range("bytes=0-", 0), Ask::Nothing);
    }

    #[test]
    fn nobody_breaks_out_of_a_header() {
        let r = Response::text("x").header("Location", "/a\r\nSet-Cookie: b\0".to_string());
        let head = String::from_utf8(r.head(Version::Http11, Some(1), true, false)).unwrap();
        assert!(head.contains("Location: /a  Set-Cookie: b \r\n"), "{head}");
        assert!(head.ends_with("Content-Length: 1\r\n\r\n"));
    }
}
