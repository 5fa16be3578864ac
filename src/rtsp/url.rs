//! RTSP addresses: those that viewers ask for and those that users write down, and the ones that
//! cameras send back broken.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::net::http::percent_decode;
use std::fmt;

/// The parts of an address. A path alone is an address without host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    /// `rtsp`, `rtsps`…, in small letters; empty if there was none.
    pub scheme: String,
    /// Decoded; empty if there was none.
    pub user: String,
    /// Decoded; empty if there was none.
    pub password: String,
    /// Name or address, without brackets.
    pub host: String,
    /// The port, if it was said.
    pub port: Option<u16>,
    /// From the first slash to the query, as it was written; at least `/`, or `*`.
    pub path: String,
    /// After the question mark, as it was written.
    pub query: String,
}

impl Url {
    /// Takes an address apart; `None` if it has control characters or a host with a wrong port.
    pub fn parse(text: &str) -> Option<Url> {
        let mut text = text.trim();
        if text.bytes().any(|b| b <= b' ' || b == 0x7F) {
            return None;
        }
        let mut url = Url::default();
        if text == "*" {
            url.path = text.to_string();
            return Some(url);
        }
        // Some cameras write the scheme twice.
        while let Some((scheme, rest)) = text.split_once("://") {
            if !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
                break;
            }
            url.scheme = scheme.to_ascii_lowercase();
            text = rest;
        }
        // Without a scheme, `192.168.1.1:554/x` has a host and `/x` has none.
        let (authority, rest) = match text.find(['/', '?']) {
            Some(at) => text.split_at_checked(at)?,
            None => (text, ""),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        url.path = if path.is_empty() { "/".to_string() } else { path.to_string() };
        url.query = query.to_string();
        let host = match authority.rsplit_once('@') {
            Some((user, host)) => {
                let (user, password) = user.split_once(':').unwrap_or((user, ""));
                (url.user, url.password) = (decode(user)?, decode(password)?);
                host
            }
            None => authority,
        };
        let (host, port) = match host.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, port.strip_prefix(':').unwrap_or(port))
            }
            // An IPv6 address without brackets, as some cameras write it: the last part is the port
            // only if it stands after an IPv4 address.
            None if host.matches(':').count() > 1 => match host.rsplit_once(':') {
                Some((before, port)) if before.contains('.') => (before, port),
                _ => (host, ""),
            },
            None => host.split_once(':').unwrap_or((host, "")),
        };
        url.host = host.to_string();
        if !port.is_empty() {
            url.port = Some(port.parse().ok().filter(|&p| p != 0)?);
        }
        Some(url)
    }

    /// The address without credentials: for request lines and logs.
    pub fn public(&self) -> String {
        let mut out = String::new();
        if !self.host.is_empty() {
            out.push_str(if self.scheme.is_empty() { "rtsp" } else { &self.scheme });
            out.push_str("://");
            let bracket = self.host.contains(':');
            out.extend(bracket.then_some('['));
            out.push_str(&self.host);
            out.extend(bracket.then_some(']'));
            if let Some(port) = self.port {
                let _ = fmt::write(&mut out, format_args!(":{port}"));
            }
        }
        out.push_str(&self.path);
        if !self.query.is_empty() {
            out.push('?');
            out.push_str(&self.query);
        }
        out
    }

    /// The stream's name: the decoded path without slashes around it.
    pub fn name(&self) -> Option<String> {
        decode(self.path.trim_matches('/'))
    }

    /// Where a control of a description leads, seen from this base (its own host stays, whatever the
    /// control says: cameras know themselves by addresses that nobody else reaches).
    pub fn control(&self, control: &str) -> String {
        if control.is_empty() || control == "*" {
            return self.public();
        }
        if control.contains("://")
            && let Some(mut url) = Url::parse(control)
        {
            (url.scheme, url.host, url.port) = (self.scheme.clone(), self.host.clone(), self.port);
            return url.public();
        }
        let mut out = self.public();
        if !out.ends_with('/') && !control.starts_with(['/', '?']) {
            out.push('/');
        }
        let control = if out.ends_with('/') { control.trim_start_matches('/') } else { control };
        out.push_str(control);
        out
    }
}

/// Decodes `%41`; `None` if an escape is broken or the result is no text or holds a control
/// character.
pub fn decode(text: &str) -> Option<String> {
    percent_decode(text, false).filter(|t| !t.contains(|c: char| c.is_ascii_control()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_address() {
        let url = Url::parse("rtsp://us%40er:p:w@10.0.0.1:8554/cam/main?video&audio=aac").unwrap();
        assert_eq!((url.user.as_str(), url.password.as_str()), ("us@er", "p:w"));
        assert_eq!((url.host.as_str(), url.port), ("10.0.0.1", Some(8554)));
        assert_eq!((url.path.as_str(), url.query.as_str()), ("/cam/main", "video&audio=aac"));
        assert_eq!(url.public(), "rtsp://10.0.0.1:8554/cam/main?video&audio=aac");
        assert_eq!(Url::parse("RTSP://[fe80::1]:554").unwrap().public(), "rtsp://[fe80::1]:554/");
        assert_eq!(Url::parse("/live/").unwrap().name().as_deref(), Some("live"));
        assert_eq!(Url::parse("*").unwrap().path, "*");
        for bad in
            ["rtsp://h:99999/", "rtsp://h:x/", "rtsp://[::1/", "rtsp://a b/", "rtsp://%zz@h/", "rtsp://h:0/"]
        {
            assert_eq!(Url::parse(bad), None, "{bad}");
        }
        assert_eq!(Url::parse("rtsp://h/%00").unwrap().name(), None);
    }

    /// Content-Base as cameras send it: scheme twice, scheme missing, IPv6-mapped without brackets.
    #[test]
    fn quirk_broken_bases() {
        assert_eq!(Url::parse("rtsp://rtsp://1.2.3.4/x/").unwrap().public(), "rtsp://1.2.3.4/x/");
        assert_eq!(Url::parse("192.168.1.1:554/x/").unwrap().public(), "rtsp://192.168.1.1:554/x/");
        assert_eq!(Url::parse("rtsp://::ffff:1.2.3.4:554/x").unwrap().port, Some(554));
    }

    #[test]
    fn controls_lead_from_the_base() {
        let base = |s| Url::parse(s).unwrap();
        assert_eq!(base("rtsp://h/x/").control("trackID=0"), "rtsp://h/x/trackID=0");
        assert_eq!(base("rtsp://h/x").control("trackID=0"), "rtsp://h/x/trackID=0");
        assert_eq!(base("rtsp://h/x/").control("/trackID=0"), "rtsp://h/x/trackID=0");
        assert_eq!(base("rtsp://h/x").control("*"), "rtsp://h/x");
        // The wrong host in an absolute control.
        assert_eq!(base("rtsp://h:8554/x").control("rtsp://127.0.0.1/x/t0"), "rtsp://h:8554/x/t0");
    }
}
