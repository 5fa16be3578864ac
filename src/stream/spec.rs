//! How a source is written: `scheme:rest#key=value#key`, the predecessor's grammar. Everything after
//! the first `#` is ours and never reaches the device.

use crate::net::quoted::Quoted;
use std::fmt;

/// A source as written in the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceSpec {
    text: String,
    scheme: usize,
    fragment: usize,
    params: Vec<(String, String)>,
}

/// Why a source is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecError {
    /// Nothing stands there.
    Empty,
    /// There is no `scheme:` in front.
    NoScheme(String),
    /// It contains a line break, a NUL or is longer than 4096 bytes.
    Unprintable,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpecError::Empty => {
                f.write_str("the source is empty, expected something like rtsp://192.0.2.1/ch0")
            }
            SpecError::NoScheme(text) => {
                write!(
                    f,
                    "source {} does not begin with a scheme, expected something like rtsp://…",
                    Quoted(short(text))
                )
            }
            SpecError::Unprintable => {
                f.write_str("the source has control characters in it or is longer than 4096 bytes")
            }
        }
    }
}

fn short(text: &str) -> &str {
    match text.char_indices().nth(60) {
        Some((at, _)) => text.get(..at).unwrap_or(text),
        None => text,
    }
}

impl SourceSpec {
    /// Reads a source; leading and trailing blanks do not belong to it.
    pub fn parse(text: &str) -> Result<SourceSpec, SpecError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SpecError::Empty);
        }
        if text.len() > 4096 || text.chars().any(char::is_control) {
            return Err(SpecError::Unprintable);
        }
        let scheme = text.find(':').unwrap_or(0);
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
        if scheme == 0 || !text.get(..scheme).unwrap_or_default().chars().all(named) {
            return Err(SpecError::NoScheme(text.to_owned()));
        }
        let fragment = text.find('#').unwrap_or(text.len());
        if fragment < scheme {
            return Err(SpecError::NoScheme(text.to_owned()));
        }
        let mut params = Vec::new();
        for p in text.get(fragment + 1..).unwrap_or_default().split('#').filter(|p| !p.is_empty()) {
            let (key, value) = p.split_once('=').filter(|(key, _)| !key.is_empty()).unwrap_or((p, ""));
            params.push((key.to_owned(), value.to_owned()));
        }
        Ok(SourceSpec { params, text: text.to_owned(), scheme, fragment })
    }

    /// The scheme, as written.
    pub fn scheme(&self) -> &str {
        self.text.get(..self.scheme).unwrap_or_default()
    }

    /// What the device is told: everything before the first `#`.
    pub fn url(&self) -> &str {
        self.text.get(..self.fragment).unwrap_or_default()
    }

    /// What stands behind `scheme:` and before the first `#`.
    pub fn rest(&self) -> &str {
        self.text.get(self.scheme + 1..self.fragment).unwrap_or_default()
    }

    /// What stands between the first `?` and the first `#`.
    pub fn query(&self) -> &str {
        self.rest().split_once('?').map_or("", |(_, q)| q)
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first value of `#key=value`; `#key` alone is an empty value.
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Every `#key=value`, in order.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether it still waits for its `{input}`.
    pub fn is_template(&self) -> bool {
        self.text.contains("{input}")
    }
}

impl fmt::Debug for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // never with its password
        write!(f, "SourceSpec({}:…)", self.scheme())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_predecessors_grammar_is_read() {
        let s =
            SourceSpec::parse(" rtsp://u:p@192.0.2.1:554/ch0?x=1&y#backchannel=0#media=video#raw ").unwrap();
        assert_eq!(s.scheme(), "rtsp");
        assert_eq!(s.url(), "rtsp://u:p@192.0.2.1:554/ch0?x=1&y");
        assert_eq!(s.query(), "x=1&y");
        assert_eq!(s.param("backchannel"), Some("0"));
        assert_eq!(s.param("raw"), Some(""));
        assert_eq!(s.param("none"), None);
        assert_eq!(SourceSpec::parse("demo:sub").unwrap().rest(), "sub");
        assert_eq!(SourceSpec::parse("exec:cat x #k==v").unwrap().param("k"), Some("=v"));
    }

    #[test]
    fn what_is_no_source_is_said_so() {
        assert_eq!(SourceSpec::parse("  "), Err(SpecError::Empty));
        assert!(matches!(SourceSpec::parse("/dev/video0"), Err(SpecError::NoScheme(_))));
        assert!(matches!(SourceSpec::parse(":8554"), Err(SpecError::NoScheme(_))));
        assert!(matches!(SourceSpec::parse("a#b:c"), Err(SpecError::NoScheme(_))));
        assert_eq!(SourceSpec::parse("rtsp://a\nb"), Err(SpecError::Unprintable));
        assert_eq!(SourceSpec::parse(&format!("a:{}", "x".repeat(5000))), Err(SpecError::Unprintable));
    }
}
