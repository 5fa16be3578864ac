//! Paths and queries: percent-decoding, and one spelling for each path so that a check on a path
//! cannot be talked around.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::refusal::Refusal;
use crate::net::limits::HTTP_QUERY_PAIRS;

/// The decoded pairs of a query or form, in order; names may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads `a=1&b=2`; a plus is a space. Also for `application/x-www-form-urlencoded` bodies.
    pub fn parse(text: &str) -> Result<Query, Refusal> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            if pairs.len() >= HTTP_QUERY_PAIRS {
                return Err(Refusal::new(400, "the query has too many parameters"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let text =
                |t| percent_decode(t, true).ok_or(Refusal::new(400, "the query is badly percent-encoded"));
            pairs.push((text(name)?, text(value)?));
        }
        Ok(Query { pairs })
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Every value of that name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether the name occurs, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All pairs in order.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }
}

/// Decodes `%41`; nothing if an escape is broken or the result is no text or holds a NUL.
pub fn percent_decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(c) = bytes.next() {
        out.push(match c {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                (high << 4 | low) as u8
            }
            b'+' if plus_is_space => b' ',
            c => c,
        });
    }
    if out.contains(&0) {
        return None;
    }
    String::from_utf8(out).ok()
}

/// Percent-encodes what may not stand in one path segment or query value.
pub fn percent_encode(out: &mut String, text: &str) {
    for c in text.bytes() {
        if c.is_ascii_alphanumeric() || b"-._~".contains(&c) {
            out.push(char::from(c));
        } else {
            out.push('%');
            for digit in [c >> 4, c & 15] {
                out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
}

/// Decodes a path segment by segment; refuses empty, `.` and `..` segments, encoded slashes,
/// backslashes and control characters.
pub fn decode_path(path: &str) -> Result<String, Refusal> {
    let wrong = |sentence| Err(Refusal::new(400, sentence));
    let Some(rest) = path.strip_prefix('/') else {
        return wrong("the path does not begin with /");
    };
    let mut out = String::with_capacity(path.len());
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        out.push('/');
        if segment.is_empty() {
            if segments.peek().is_some() {
                return wrong("the path has an empty segment");
            }
            break;
        }
        let Some(segment) = percent_decode(segment, false) else {
            return wrong("the path is badly percent-encoded");
        };
        if segment == "." || segment == ".." {
            return wrong("the path has a . or .. segment");
        }
        if segment.bytes().any(|c| c < b' ' || c == 0x7f || c == b'/' || c == b'\\') {
            return wrong("the path has a character that no path has here");
        }
        out.push_str(&segment);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_keep_order_and_repeats() {
        let q = Query::parse("src=rtsp://a:b@c/d?e%3D1&src=ffmpeg:x%23video=h264&name=front+door&flag&&=x")
            .unwrap();
        assert_eq!(q.all("src").collect::<Vec<_>>(), ["rtsp://a:b@c/d?e=1", "ffmpeg:x#video=h264"]);
        assert_eq!(q.get("name"), Some("front door"));
        assert!(q.has("flag") && !q.has("none"));
        assert_eq!(q.get(""), Some("x"));
        for bad in ["a=%", "a=%4", "a=%zz", "%00=1", "a=%ff"] {
            assert_eq!(Query::parse(bad).unwrap_err().status, 400, "{bad}");
        }
        assert!(Query::parse(&"a&".repeat(64)).is_ok());
        assert!(Query::parse(&"a&".repeat(65)).is_err());
    }

    #[test]
    fn a_path_has_one_spelling() {
        assert_eq!(decode_path("/").unwrap(), "/");
        assert_eq!(decode_path("/api/streams").unwrap(), "/api/streams");
        assert_eq!(decode_path("/%61pi/").unwrap(), "/api/");
        assert_eq!(decode_path("/t%C3%BCr+1/...").unwrap(), "/tür+1/...");
        for bad in [
            "",
            "api",
            "//",
            "/a//b",
            "/a/./b",
            "/a/../b",
            "/..",
            "/%2e%2e/etc",
            "/.%2E",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/%00",
            "/%0a",
            "/%",
            "/%f",
            "/%ff",
        ] {
            assert_eq!(decode_path(bad).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn encoding_comes_back() {
        let mut out = String::new();
        percent_encode(&mut out, "a b/é?&=#%");
        assert_eq!(out, "a%20b%2F%C3%A9%3F%26%3D%23%25");
        assert_eq!(percent_decode(&out, true).unwrap(), "a b/é?&=#%");
    }
}
