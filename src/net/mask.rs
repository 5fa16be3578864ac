//! Hides secrets in text that leaves the house: log lines, answers of the API, error sentences.
//!
//! Text flows through; nothing is stored here but the list of [`Secrets`], and nothing is ever
//! un-hidden here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::borrow::Cow;

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Words that name a secret in a query (`token=…`) or as a key of the configuration.
const SECRET_WORDS: [&str; 9] =
    ["password", "passwd", "pwd", "pass", "token", "secret", "credential", "client_private", "api_key"];

/// Shorter secrets are not searched for in running text: masking every "on" helps nobody.
const MIN_SECRET: usize = 4;

/// True if a key or query name speaks of a secret.
pub fn is_secret_name(name: &str) -> bool {
    SECRET_WORDS.iter().any(|word| contains_ignore_case(name, word))
        || ["pin", "device_private", "pairings", "key"].iter().any(|word| name.eq_ignore_ascii_case(word))
}

fn contains_ignore_case(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// Hides the user-info of every URL (`rtsp://***@host`) and the secrets of its query (`token=***`).
pub fn mask_url(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut done = 0;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(next_mark) {
        let start = at + found.0;
        let hidden = match found.1 {
            Mark::Authority => user_info(text.get(start..).unwrap_or("")).map(|len| (start, start + len)),
            Mark::Query => query_secret(text, start),
        };
        at = start;
        if let Some((from, to)) = hidden
            && text.get(from..to) != Some(MASK)
        {
            out.push_str(text.get(done..from).unwrap_or(""));
            out.push_str(MASK);
            done = to;
            at = to;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(done..).unwrap_or(""));
    Cow::Owned(out)
}

enum Mark {
    Authority,
    Query,
}

/// The next place where a secret may begin, counted in bytes from the start of `rest`.
fn next_mark(rest: &str) -> Option<(usize, Mark)> {
    let bytes = rest.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b':' if bytes.get(i + 1..i + 3) == Some(b"//") => return Some((i + 3, Mark::Authority)),
            b'=' => return Some((i + 1, Mark::Query)),
            _ => {}
        }
    }
    None
}

fn ends_text(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`')
}

/// Length of the user-info that begins `rest`, if it has one.
///
/// People write passwords with a bare `/`, `?` or `#`: if the text before the first of them cannot be
/// `host:port`, the last `@` of the whole word ends the user-info.
fn user_info(rest: &str) -> Option<usize> {
    let word = rest.bytes().position(ends_text).and_then(|end| rest.get(..end)).unwrap_or(rest);
    let authority = word.find(['/', '?', '#']).and_then(|end| word.get(..end)).unwrap_or(word);
    if let Some(at) = authority.rfind('@') {
        return Some(at);
    }
    let port = authority.rsplit_once(':').map(|(_, port)| port)?;
    if port.bytes().all(|b| b.is_ascii_digit()) || authority.starts_with('[') || authority.ends_with(']') {
        return None;
    }
    word.rfind('@')
}

/// The value after a `name=` whose name speaks of a secret.
fn query_secret(text: &str, start: usize) -> Option<(usize, usize)> {
    let before = text.get(..start.checked_sub(1)?)?;
    let name_at = before
        .bytes()
        .rposition(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')))
        .map_or(0, |i| i + 1);
    // Only queries and fragments: `password=` in a sentence says nothing about the word after it.
    let opener = before.as_bytes().get(name_at.checked_sub(1)?)?;
    if !matches!(opener, b'?' | b'&' | b'#') || !is_secret_name(before.get(name_at..)?) {
        return None;
    }
    let rest = text.get(start..)?;
    let len = rest.bytes().position(|b| ends_text(b) || matches!(b, b'&' | b'#')).unwrap_or(rest.len());
    (len > 0).then_some((start, start + len))
}

/// The secrets that were met while the configuration was read.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Longest first, so that a secret inside another does not leave half of it behind.
    words: Vec<String>,
}

impl Secrets {
    /// No secrets yet.
    pub const fn new() -> Self {
        Self { words: Vec::new() }
    }

    /// Adds a secret; short ones and doubles are left out.
    pub fn add(&mut self, word: &str) {
        let word = word.trim();
        if word.len() < MIN_SECRET || word == MASK || self.words.iter().any(|known| known == word) {
            return;
        }
        let at = self.words.partition_point(|known| known.len() >= word.len());
        self.words.insert(at, word.to_owned());
    }

    /// Adds the password of every URL in `text`.
    pub fn add_url(&mut self, text: &str) {
        if let Some((_, rest)) = text.split_once("://")
            && let Some(info) = user_info(rest).and_then(|len| rest.get(..len))
        {
            self.add(info.split_once(':').map_or(info, |(_, password)| password));
        }
    }

    /// The secrets themselves, for the log to leave out.
    pub fn words(&self) -> Vec<String> {
        self.words.clone()
    }

    /// How many secrets are known.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Hides every known secret and the user-info of every URL in `text`.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut out = mask_url(text);
        for word in &self.words {
            if out.contains(word.as_str()) {
                out = Cow::Owned(out.replace(word.as_str(), MASK));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_never_shown() {
        for (text, want) in [
            ("rtsp://admin:pw@10.0.0.1/live", "rtsp://***@10.0.0.1/live"),
            ("see rtsp://a:b@h and http://c:d@i/ now", "see rtsp://***@h and http://***@i/ now"),
            ("rtsp://admin:p@ss@h:554/x", "rtsp://***@h:554/x"),
            ("rtsp://admin:p/a?s#s@h:554/x", "rtsp://***@h:554/x"),
            ("tapo://cloudpw@192.168.1.2", "tapo://***@192.168.1.2"),
            ("rtsp://10.0.0.1:554/a@b", "rtsp://10.0.0.1:554/a@b"),
            ("http://[fe80::1]/a@b", "http://[fe80::1]/a@b"),
            ("webtorrent:?share=me&pwd=1234#x", "webtorrent:?share=me&pwd=***#x"),
            ("http://h/x?token=abc&y=1", "http://h/x?token=***&y=1"),
            ("rtsp://h/ä?pässword=1", "rtsp://h/ä?pässword=1"),
            ("plain text", "plain text"),
            ("rtsp://***@h", "rtsp://***@h"),
        ] {
            assert_eq!(mask_url(text), want);
            assert_eq!(mask_url(want), want, "masking twice changes nothing");
        }
    }

    #[test]
    fn known_secrets_are_hidden_longest_first() {
        let mut secrets = Secrets::new();
        for word in ["hunter2", "hunter2-long", "on", "hunter2"] {
            secrets.add(word);
        }
        secrets.add_url("rtsp://admin:swordfish@h/");
        assert_eq!(secrets.len(), 3);
        assert_eq!(secrets.mask("a hunter2-long hunter2 on swordfish"), "a *** *** on ***");
    }

    #[test]
    fn no_text_panics() {
        let mut seed = 0x1234_5678_u32;
        let parts = ["://", "@", ":", "/", "?", "pwd=", "&", "ä", "\"", " ", "x", "1", "[", "]", "#token="];
        for _ in 0..50_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed ^= seed << 13;
                seed ^= seed >> 17;
                seed ^= seed << 5;
                text.push_str(parts[seed as usize % parts.len()]);
            }
            let once = mask_url(&text).into_owned();
            let _ = mask_url(&once);
        }
    }
}
