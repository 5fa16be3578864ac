//! What a message loses before anybody reads it: secrets, and control characters. It holds what peers
//! sent, and may neither begin a new line nor speak to a terminal.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::text::Text;
use crate::net::mask::Secrets;

/// Of a message that was too long, this much goes from its end: it may be half of a secret, which
/// nobody would recognise.
const HALF_SECRET: usize = 256;

/// Writes what was said to `out`, fit to be shown.
pub fn mask(said: &Text, secrets: &Secrets, out: &mut Text) {
    let text = secrets.mask(said.as_str());
    let mut len = text.len();
    if said.is_cut() {
        len = len.saturating_sub(HALF_SECRET);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
    }
    for part in text.get(..len).unwrap_or("").split_inclusive(char::is_control) {
        let whole = part.trim_end_matches(char::is_control);
        out.push(whole);
        if whole.len() < part.len() {
            out.push(if part.ends_with(['\n', '\r', '\t']) { " " } else { "?" });
        }
    }
    if said.is_cut() || out.is_cut() {
        out.end_with("…");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let (mut said, mut out, mut secrets) = (Text::new(), Text::new(), Secrets::new());
        secrets.add("hunter2");
        said.push(text);
        mask(&said, &secrets, &mut out);
        out.as_str().into()
    }

    #[test]
    fn no_password_reaches_the_log() {
        assert_eq!(masked("dial rtsp://a:b@c/d failed, not hunter2"), "dial rtsp://***@c/d failed, not ***");
        assert_eq!(masked(""), "");
    }

    #[test]
    fn a_cut_message_does_not_end_in_half_a_secret() {
        for long in 2000..2060 {
            for secret in ["hunter2", "rtsp://admin:geheim@host/"] {
                let text = masked(&format!("{}{secret}", "é".repeat(long / 2)));
                assert!(!text.contains("hun") && !text.contains("geh"), "{long} {secret}");
                assert!(text.ends_with(['…', 'é', '*', '/']));
            }
        }
    }

    #[test]
    fn a_peer_cannot_write_lines_of_its_own_or_speak_to_the_terminal() {
        assert_eq!(masked("agent: x\r\n[api] y\x1b[2J\u{9b}1m\0é"), "agent: x  [api] y?[2J?1m?é");
    }
}
