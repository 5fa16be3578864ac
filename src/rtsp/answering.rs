//! How a client proves itself to a camera: challenges read, answers written. Digest with MD5 and
//! SHA-256, with and without `qop=auth`; Basic if the camera offers nothing else. `auth-int`, which
//! signs the bodies too, and the `-sess` hashes are known and refused.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::net::base64;
use crate::net::digest::{Algorithm, Answer, parameters};
use std::fmt::Write;

/// Challenges of one response that are looked at.
const CHALLENGES: usize = 8;
/// Bytes of a challenge's parameter that are kept.
const PARAMETER: usize = 512;

/// How the camera wants to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password in clear.
    Basic,
    /// A proof of knowing the password.
    Digest {
        /// Whom the password is for.
        realm: String,
        /// Its number, to be sent back.
        nonce: String,
        /// To be sent back as it is.
        opaque: Option<String>,
        /// The hash.
        algorithm: Algorithm,
        /// The hash was named.
        named: bool,
        /// `qop=auth` was offered.
        qop: bool,
        /// The last answer was right but old.
        stale: bool,
    },
}

/// Chooses among the challenges of a response: the first digest that is known, since a camera lists
/// them by preference (Hikvision MD5 before SHA-256), else Basic. An error is what was offered.
pub fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Result<Challenge, String> {
    let (mut basic, mut unknown) = (false, String::new());
    let mut challenges = Vec::new();
    for header in headers {
        challenges.append(&mut split(header));
    }
    for (scheme, text) in challenges.into_iter().take(CHALLENGES) {
        if scheme.eq_ignore_ascii_case("basic") {
            basic = true;
            continue;
        }
        let mut refuse = |what: &str| {
            if unknown.is_empty() {
                unknown.extend(what.chars().filter(|c| !c.is_control()).take(60));
            }
        };
        if !scheme.eq_ignore_ascii_case("digest") {
            refuse(&scheme);
            continue;
        }
        match digest(&text) {
            Ok(challenge) => return Ok(challenge),
            Err(what) => refuse(&what),
        }
    }
    match (basic, unknown.is_empty()) {
        (true, _) => Ok(Challenge::Basic),
        (false, true) => Err("nothing".to_string()),
        (false, false) => Err(unknown),
    }
}

fn digest(text: &str) -> Result<Challenge, String> {
    let (mut realm, mut nonce, mut opaque) = (String::new(), None, None);
    let (mut algorithm, mut named, mut qop, mut stale) = (Algorithm::Md5, false, false, false);
    let mut refused = None;
    let read = parameters(text, |name, value| {
        if value.len() > PARAMETER {
            return false;
        }
        match name.to_ascii_lowercase().as_str() {
            "realm" => realm = value,
            "nonce" => nonce = Some(value),
            "opaque" => opaque = Some(value),
            "stale" => stale = value.eq_ignore_ascii_case("true"),
            "algorithm" if value.eq_ignore_ascii_case("MD5") => named = true,
            "algorithm" if value.eq_ignore_ascii_case("SHA-256") => {
                (algorithm, named) = (Algorithm::Sha256, true);
            }
            "algorithm" if value.is_empty() => {}
            "algorithm" => refused = Some(format!("Digest with the hash {value}")),
            "qop" if value.trim().is_empty() => {}
            "qop" => {
                qop = value.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth"));
                if !qop {
                    refused = Some(format!("Digest with qop={value}"));
                }
            }
            _ => {}
        }
        true
    });
    match (read, nonce, refused) {
        (_, _, Some(what)) => Err(what),
        (Some(()), Some(nonce), None) => {
            Ok(Challenge::Digest { realm, nonce, opaque, algorithm, named, qop, stale })
        }
        _ => Err("a broken Digest".to_string()),
    }
}

/// The challenges of one header, which may be several behind each other: scheme and parameters.
fn split(header: &str) -> Vec<(String, String)> {
    let mut quoted = false;
    let parts = header.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    let mut out: Vec<(String, String)> = Vec::new();
    for part in parts.map(str::trim).filter(|p| !p.is_empty()).take(64) {
        let (word, rest) = part.split_once(' ').unwrap_or((part, ""));
        let scheme = !word.contains('=') && !rest.trim_start().starts_with('=');
        let full = out.len() >= CHALLENGES;
        match out.last_mut() {
            Some((_, text)) if !scheme => {
                text.push_str(", ");
                text.push_str(part);
            }
            None if !scheme => {}
            _ if full => break,
            _ => out.push((word.to_string(), rest.to_string())),
        }
    }
    out
}

/// Who asks.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl Account {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.user.is_empty() && self.password.is_empty()
    }

    /// The Authorization header for a request. `count` is how many were made for this challenge,
    /// from one; `cnonce` is ours, random.
    pub fn answer(&self, challenge: &Challenge, method: &str, uri: &str, count: u32, cnonce: &str) -> String {
        let (realm, nonce, opaque, algorithm, named, qop) = match challenge {
            Challenge::Basic => {
                let mut clear = self.user.clone();
                clear.push(':');
                clear.push_str(&self.password);
                return format!("Basic {}", base64::encode(clear.as_bytes()));
            }
            Challenge::Digest { realm, nonce, opaque, algorithm, named, qop, .. } => {
                (realm, nonce, opaque, *algorithm, named, *qop)
            }
        };
        let mut answer = Answer {
            username: self.user.clone(),
            realm: realm.clone(),
            nonce: nonce.clone(),
            uri: uri.to_string(),
            ..Answer::default()
        };
        if qop {
            (answer.qop, answer.cnonce) = ("auth".to_string(), cnonce.to_string());
            let _ = write!(answer.nc, "{count:08x}");
        }
        let response = answer.expected(algorithm, method, &self.password);
        let mut out = String::from("Digest ");
        for (name, value) in [
            ("username", &self.user),
            (", realm", realm),
            (", nonce", nonce),
            (", uri", &answer.uri),
            (", response", &response),
        ] {
            quoted(&mut out, name, value);
        }
        if *named {
            out.push_str(", algorithm=");
            out.push_str(algorithm.name());
        }
        if let Some(opaque) = opaque {
            quoted(&mut out, ", opaque", opaque);
        }
        if qop {
            let _ = write!(out, ", qop=auth, nc={}", answer.nc);
            quoted(&mut out, ", cnonce", cnonce);
        }
        out
    }
}

fn quoted(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::Rng;
    use crate::net::digest::Credentials;

    fn one(header: &str) -> Result<Challenge, String> {
        choose(std::iter::once(header))
    }

    /// RFC 2617 §3.5's own example, answered to the letter.
    #[test]
    fn the_standards_own_example() {
        let challenge = one("Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"")
        .unwrap();
        let account = Account { user: "Mufasa".into(), password: "Circle Of Life".into() };
        let text = account.answer(&challenge, "GET", "/dir/index.html", 1, "0a4f113b");
        assert!(text.contains("response=\"6629fae49393a05397450978507c4ef1\""), "{text}");
        assert!(text.contains("qop=auth, nc=00000001, cnonce=\"0a4f113b\""), "{text}");
        assert!(text.contains("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""), "{text}");
    }

    /// What is written is what a server reads, whatever is in the name.
    #[test]
    fn answers_are_read_back() {
        let account = Account { user: "us\"er".into(), password: "p:\\w".into() };
        for header in [
            "Digest realm=\"IP Camera(G1234)\", nonce=\"abc\", stale=\"FALSE\"",
            "Digest realm=\"x, y\",nonce=\"abc\",algorithm=SHA-256,qop=\"auth\"",
            "digest nonce=abc , realm=\"\" , algorithm=\"MD5\"",
        ] {
            let challenge = one(header).unwrap();
            let text = account.answer(&challenge, "DESCRIBE", "rtsp://h/a?b=c", 3, "0a");
            let Some(Credentials::Digest(read)) = Credentials::parse(&text) else { panic!("{text}") };
            let Challenge::Digest { algorithm, .. } = challenge else { panic!() };
            assert_eq!(read.response, read.expected(algorithm, "DESCRIBE", "p:\\w"));
            assert_eq!((read.username.as_str(), read.uri.as_str()), ("us\"er", "rtsp://h/a?b=c"));
        }
        let text = account.answer(&Challenge::Basic, "DESCRIBE", "*", 1, "");
        assert!(
            matches!(Credentials::parse(&text), Some(Credentials::Basic { password, .. }) if password == "p:\\w")
        );
    }

    /// Hikvision: MD5 and SHA-256, in two headers; others both in one, or with Basic first.
    #[test]
    fn digest_before_basic_and_in_the_cameras_order() {
        let hash = |c: Challenge| match c {
            Challenge::Digest { algorithm, nonce, .. } => (algorithm, nonce),
            Challenge::Basic => panic!("basic"),
        };
        let md5 = "Digest realm=\"IP Camera\", nonce=\"1\", algorithm=\"MD5\"";
        let sha = "Digest realm=\"IP Camera\", nonce=\"2\", algorithm=\"SHA-256\", qop=\"auth\"";
        let basic = "Basic realm=\"IP, Camera\"";
        let all = choose([basic, md5, sha].into_iter()).unwrap();
        assert_eq!(hash(all), (Algorithm::Md5, "1".into()));
        assert_eq!(hash(choose([sha, md5].into_iter()).unwrap()), (Algorithm::Sha256, "2".into()));
        let joined = format!("{basic}, {sha}, {md5}");
        assert_eq!(hash(one(&joined).unwrap()), (Algorithm::Sha256, "2".into()));
        assert_eq!(one(basic).unwrap(), Challenge::Basic);
        assert_eq!(one("Basic").unwrap(), Challenge::Basic);
    }

    #[test]
    fn what_is_not_spoken_is_named() {
        assert_eq!(one("Digest realm=r, nonce=n, qop=\"auth-int\"").unwrap_err(), "Digest with qop=auth-int");
        assert_eq!(
            one("Digest realm=r, nonce=n, algorithm=MD5-sess").unwrap_err(),
            "Digest with the hash MD5-sess"
        );
        assert_eq!(one("NTLM").unwrap_err(), "NTLM");
        assert_eq!(choose(std::iter::empty()).unwrap_err(), "nothing");
        assert!(one("Digest realm=\"x").is_err());
        let fallback = choose(["Digest nonce=n, algorithm=MD5-sess", "Basic realm=x"].into_iter());
        assert_eq!(fallback.unwrap(), Challenge::Basic);
    }

    #[test]
    fn no_header_panics() {
        let good = "Basic realm=\"a\", Digest realm=\"I\\\"P, C\", nonce=\"1\", algorithm=SHA-256, qop=\"auth,auth-int\"";
        let mut random = Rng::new(3);
        for end in 0..good.len() {
            let _ = one(&good[..end]);
        }
        for _ in 0..20_000 {
            let mut text = good.as_bytes().to_vec();
            for _ in 0..4 {
                let at = random.below(text.len());
                text[at] = b"\"\\,= \xc3x"[random.below(7)];
            }
            let _ = one(&String::from_utf8_lossy(&text));
        }
    }
}
