//! Keeps secrets out of the log: known ones wherever they stand, the user in a URL, the value of a
//! query parameter that names a password. Control characters go too: a message holds what peers sent,
//! and may neither begin a new line nor speak to a terminal.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::text::Text;

const MASK: &str = "***";
const PARAMETERS: [&str; 6] = ["password=", "passwd=", "pass=", "pwd=", "token=", "secret="];

/// Secrets known by heart, the longest first. Shorter ones than three bytes would mask everything.
pub fn known(mut secrets: Vec<String>) -> Vec<String> {
    secrets.retain(|s| s.len() >= 3);
    secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
    secrets
}

/// Writes `text` to `out` without its secrets. Of a text that was cut, the end may be the beginning of
/// a secret: that goes as well.
pub fn mask(text: &str, cut: bool, secrets: &[String], out: &mut Text) {
    let mut before = '&';
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let secret = secrets.iter().find(|s| rest.starts_with(s.as_str()));
        let half = cut && secrets.iter().any(|s| s.starts_with(rest));
        if half {
            return out.push(MASK);
        }
        if let Some(secret) = secret {
            out.push(MASK);
            rest = rest.get(secret.len()..).unwrap_or("");
        } else if let Some(after) = rest.strip_prefix("://") {
            out.push("://");
            rest = after;
            let url = after.get(..end(after)).unwrap_or("");
            // the last one: a password may hold an '@' or a '/' that should have been escaped
            if let Some(at) = url.rfind('@') {
                out.push(MASK);
                rest = after.get(at..).unwrap_or("");
            } else if cut && url.len() == after.len() {
                return out.push(MASK);
            }
        } else if let Some(name) = parameter(before, rest) {
            out.push(rest.get(..name).unwrap_or(""));
            out.push(MASK);
            let value = rest.get(name..).unwrap_or("");
            let len = value.find(['&', '#']).unwrap_or(value.len()).min(end(value));
            rest = value.get(len..).unwrap_or("");
        } else {
            let mut bytes = [0; 4];
            let shown = match c {
                '\n' | '\r' | '\t' => ' ',
                c if c.is_control() => '?',
                c => c,
            };
            out.push(shown.encode_utf8(&mut bytes));
            rest = rest.get(c.len_utf8()..).unwrap_or("");
        }
        before = c;
    }
}

/// Where a URL in a sentence ends.
fn end(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || c.is_control() || "\"'<>".contains(c)).unwrap_or(text.len())
}

fn parameter(before: char, text: &str) -> Option<usize> {
    if !matches!(before, '?' | '&' | '#' | ';' | ' ') {
        return None;
    }
    PARAMETERS
        .iter()
        .map(|p| p.len())
        .zip(PARAMETERS)
        .find_map(|(len, name)| text.get(..len).filter(|head| head.eq_ignore_ascii_case(name)).map(|_| len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str, cut: bool, secrets: &[&str]) -> String {
        let mut out = Text::new();
        mask(text, cut, &known(secrets.iter().map(|s| s.to_string()).collect()), &mut out);
        out.as_str().into()
    }

    #[test]
    fn no_password_reaches_the_log() {
        for (text, shown) in [
            ("dial rtsp://admin:pw@10.0.0.2/ch0 failed", "dial rtsp://***@10.0.0.2/ch0 failed"),
            ("rtsp://admin:p@ss/wo#rd@cam/ch0", "rtsp://***@cam/ch0"),
            ("\"rtsp://a:b@c\" 'http://d:e@f'", "\"rtsp://***@c\" 'http://***@f'"),
            ("http://cam/s?user=admin&Password=geheim&x=1", "http://cam/s?user=admin&Password=***&x=1"),
            ("http://cam/s?pwd=geheim", "http://cam/s?pwd=***"),
            ("rtsp://cam/ch0", "rtsp://cam/ch0"),
            ("compass=north ://", "compass=north ://"),
            ("the word hunter22 and hunter2", "the word *** and ***"),
            ("", ""),
        ] {
            assert_eq!(masked(text, false, &["hunter2", "hunter22", "a", ""]), shown);
        }
    }

    #[test]
    fn a_cut_message_does_not_end_in_half_a_secret() {
        assert_eq!(masked("dial rtsp://admin:pw", true, &[]), "dial rtsp://***");
        assert_eq!(masked("it is hunt", true, &["hunter2"]), "it is ***");
        assert_eq!(masked("it is hunt", false, &["hunter2"]), "it is hunt");
    }

    #[test]
    fn a_peer_cannot_write_lines_of_its_own_or_speak_to_the_terminal() {
        assert_eq!(masked("agent: x\r\n[api] y\x1b[2J\u{9b}1m\0é", false, &[]), "agent: x  [api] y?[2J?1m?é");
    }

    #[test]
    fn any_text_is_masked_without_harm() {
        let mut x = 0x2545_f491u32;
        let parts =
            ["://", "@", "a", "é", "password=", "&", "?", " ", "\"", "hunter2", "hunt", "/", "\u{1f4f7}"];
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                x ^= x << 13;
                x ^= x >> 17;
                x ^= x << 5;
                text.push_str(parts[x as usize % parts.len()]);
            }
            for cut in [false, true] {
                assert!(!masked(&text, cut, &["hunter2"]).contains("hunter2"), "{text}");
            }
        }
    }
}
