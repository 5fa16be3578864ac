//! Digest access authentication (RFC 7616, RFC 2617, RFC 2069): reading an Authorization header and
//! working out the response that a right password gives. Shared by HTTP and RTSP. Pure.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::base64;
use super::limits::AUTH_HEADER;
use super::md5::md5;
use sha2::{Digest as _, Sha256};

/// The hash of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The one that every client knows.
    Md5,
    /// The one that few do.
    Sha256,
}

impl Algorithm {
    /// As it stands in a header.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// The hash of the parts with colons between, in lower-case hexadecimal.
    pub fn hash(self, parts: &[&[u8]]) -> String {
        let text = parts.join(&b':');
        match self {
            Algorithm::Md5 => hex(&md5(&text)),
            Algorithm::Sha256 => hex(&Sha256::digest(&text)),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    out
}

/// HMAC-SHA256 (RFC 2104) of the parts one after another.
pub fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block
    };
    let mut inner = Sha256::new_with_prefix(pad(0x36));
    parts.iter().for_each(|p| inner.update(p));
    let mut outer = Sha256::new_with_prefix(pad(0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// What a client proves itself with.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Name and password in clear.
    Basic {
        /// The user's name.
        name: String,
        /// The password.
        password: String,
    },
    /// A proof of knowing the password.
    Digest(Box<Answer>),
}

/// The parameters of a digest answer.
#[derive(Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Answer {
    pub username: String,
    pub realm: String,
    pub nonce: String,
    pub uri: String,
    pub response: String,
    pub algorithm: String,
    pub cnonce: String,
    pub qop: String,
    pub nc: String,
}

impl Credentials {
    /// Reads an Authorization header; nothing if it is of another scheme, too long or broken.
    pub fn parse(header: &str) -> Option<Credentials> {
        if header.len() > AUTH_HEADER {
            return None;
        }
        let (scheme, rest) = header.trim().split_once(' ')?;
        if scheme.eq_ignore_ascii_case("basic") {
            let plain = String::from_utf8(base64::decode(rest.trim())?).ok()?;
            let (name, password) = plain.split_once(':')?;
            return Some(Credentials::Basic { name: name.into(), password: password.into() });
        }
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let mut answer = Answer::default();
        let mut seen = 0u16;
        parameters(rest, |name, value| {
            let slots: [(&str, &mut String); 9] = [
                ("username", &mut answer.username),
                ("realm", &mut answer.realm),
                ("nonce", &mut answer.nonce),
                ("uri", &mut answer.uri),
                ("response", &mut answer.response),
                ("algorithm", &mut answer.algorithm),
                ("cnonce", &mut answer.cnonce),
                ("qop", &mut answer.qop),
                ("nc", &mut answer.nc),
            ];
            for (i, (key, slot)) in slots.into_iter().enumerate() {
                if key.eq_ignore_ascii_case(name) {
                    if seen >> i & 1 == 1 {
                        return false;
                    }
                    seen |= 1 << i;
                    *slot = value;
                    return true;
                }
            }
            true
        })?;
        let whole = seen & 0b11111 == 0b11111 && !answer.username.is_empty();
        whole.then(|| Credentials::Digest(Box::new(answer)))
    }
}

/// Walks `name=value, name="quoted \" value"`; stops with nothing at a broken or refused one.
pub fn parameters(text: &str, mut each: impl FnMut(&str, String) -> bool) -> Option<()> {
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut chars = quoted.chars();
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => value.push(chars.next()?),
                    c => value.push(c),
                }
            }
            rest = chars.as_str().trim_start();
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        } else {
            let end = after.find(',').unwrap_or(after.len());
            let (token, tail) = after.split_at_checked(end)?;
            value.push_str(token.trim());
            rest = tail;
        }
        if !each(name.trim(), value) {
            return None;
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    Some(())
}

impl Answer {
    /// The response that `password` gives for that method, with these parameters.
    pub fn expected(&self, algorithm: Algorithm, method: &str, password: &str) -> String {
        let first = algorithm.hash(&[self.username.as_bytes(), self.realm.as_bytes(), password.as_bytes()]);
        let second = algorithm.hash(&[method.as_bytes(), self.uri.as_bytes()]);
        let (first, nonce, second) = (first.as_bytes(), self.nonce.as_bytes(), second.as_bytes());
        if self.qop.is_empty() {
            return algorithm.hash(&[first, nonce, second]);
        }
        let (nc, cnonce, qop) = (self.nc.as_bytes(), self.cnonce.as_bytes(), self.qop.as_bytes());
        algorithm.hash(&[first, nonce, nc, cnonce, qop, second])
    }

    /// The request counter: eight hexadecimal digits, more than zero.
    pub fn count(&self) -> Option<u32> {
        let digits = self.nc.len() == 8 && self.nc.bytes().all(|c| c.is_ascii_hexdigit());
        if digits { u32::from_str_radix(&self.nc, 16).ok().filter(|n| *n > 0) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(header: &str) -> Answer {
        match Credentials::parse(header) {
            Some(Credentials::Digest(a)) => *a,
            _ => panic!("no digest: {header}"),
        }
    }

    #[test]
    fn vectors_of_the_standards() {
        let a = digest(
            "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", qop=auth, nc=00000001, \
             cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
        );
        assert_eq!(a.expected(Algorithm::Md5, "GET", "Circle Of Life"), a.response);
        assert_eq!(a.count(), Some(1));
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let a = digest(&format!(
                "digest username=\"Mufasa\",realm=\"http-auth@example.org\",uri=\"/dir/index.html\",algorithm={algorithm},\
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\",nc=00000001,qop=auth,\
                 cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\",response=\"{response}\""
            ));
            let kind = if algorithm == "MD5" { Algorithm::Md5 } else { Algorithm::Sha256 };
            assert_eq!(kind.name(), a.algorithm);
            assert_eq!(a.expected(kind, "GET", "Circle of Life"), response);
            assert_ne!(a.expected(kind, "POST", "Circle of Life"), response);
        }
    }

    #[test]
    fn the_short_form_of_old_clients() {
        let mut a = digest("Digest username=a, realm=\"r\", nonce=n, uri=\"/x\", response=0");
        // Worked out with md5sum: md5(md5("a:r:p") ":n:" md5("DESCRIBE:/x"))
        let inner = Algorithm::Md5.hash(&[b"a", b"r", b"p"]);
        let outer = Algorithm::Md5.hash(&[b"DESCRIBE", b"/x"]);
        let whole = Algorithm::Md5.hash(&[inner.as_bytes(), b"n", outer.as_bytes()]);
        assert_eq!(a.expected(Algorithm::Md5, "DESCRIBE", "p"), whole);
        a.nc = "0000000g".into();
        assert_eq!(a.count(), None);
        a.nc = "+0000001".into();
        assert_eq!(a.count(), None);
    }

    #[test]
    fn hmac_vector() {
        // RFC 4231 test case 1; a shorter key is one padded with zeros.
        let mut key = [0u8; 32];
        key[..20].fill(0x0b);
        assert_eq!(
            hex(&hmac(&key, &[b"Hi ", b"There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn basic_and_quotes() {
        let Some(Credentials::Basic { name, password }) =
            Credentials::parse("basic QWxhZGRpbjpvcGVuIDpzZXNhbWU=")
        else {
            panic!("no basic")
        };
        assert_eq!((name.as_str(), password.as_str()), ("Aladdin", "open :sesame"));
        let a = digest(
            "Digest username=\"a\\\"b, c\" , realm = \"\", nonce=\"\",uri=\"/a,b=c\" ,response=\"\" ,, x=1",
        );
        assert_eq!((a.username.as_str(), a.uri.as_str()), ("a\"b, c", "/a,b=c"));
        for bad in [
            "",
            "Basic",
            "Basic !",
            "Basic Zm9v",
            "Bearer x",
            "Digest",
            "Digest username=\"a",
            "Digest x",
            "Digest username=\"a\" realm=\"r\", nonce=n, uri=u, response=r",
            "Digest username=a, username=b, realm=r, nonce=n, uri=u, response=r",
            "Digest username=a, realm=r, nonce=n, uri=u",
        ] {
            assert!(Credentials::parse(bad).is_none(), "{bad}");
        }
        assert!(Credentials::parse(&format!("Basic {}", "QUFB".repeat(1000))).is_none());
    }

    #[test]
    fn mutated_headers_never_panic() {
        let valid = b"Digest username=\"Muf\\\"asa\", realm=\"r\", nonce=\"n\", uri=\"/\", nc=00000001, response=\"x\"";
        let mut seed = 77u32;
        for _ in 0..30_000 {
            let mut text = valid.to_vec();
            for _ in 0..3 {
                seed ^= seed << 13;
                seed ^= seed >> 17;
                seed ^= seed << 5;
                let at = seed as usize % text.len();
                text[at] = b"\"\\,= \xc3\xa9x"[(seed >> 20) as usize % 8];
            }
            let _ = Credentials::parse(&String::from_utf8_lossy(&text)).map(|c| match c {
                Credentials::Digest(a) => a.count(),
                Credentials::Basic { .. } => None,
            });
        }
    }
}
