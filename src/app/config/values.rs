//! One value: the text of a scalar or list to what its key's type says, or a sentence that says what
//! was expected. Pure; knows nothing of files.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::net::{IpAddr, Ipv4Addr};

use super::keys::{Address, Key, Kind, Val};
use super::suggest::nearest;
use super::text::Place;
use super::yaml::{Node, Value};

/// Longest single text.
pub const MAX_TEXT: usize = 4096;
/// Most items in a list.
pub const MAX_LIST: usize = 256;
/// Most addresses of one listener.
const MAX_LISTEN: usize = 8;

/// Why a value was not taken.
#[derive(Debug)]
pub struct Refused {
    /// Where the offending text stands.
    pub at: Place,
    /// The offending text, if it is a single value.
    pub text: Option<String>,
    /// What was expected.
    pub expected: String,
    /// What may have been meant.
    pub meant: Option<&'static str>,
}

/// The defaults of a table.
pub fn defaults(keys: &[Key]) -> Vec<Val> {
    keys.iter().map(default).collect()
}

/// A key's default. A table whose default does not parse is caught by a test.
pub fn default(key: &Key) -> Val {
    let value = match key.kind {
        Kind::List | Kind::WordList(_) | Kind::Listen if key.default.is_empty() => Value::Seq(Vec::new()),
        _ => Value::Scalar { text: key.default.to_owned(), quoted: true },
    };
    parse(key.kind, &Node::bare(value, Place::nowhere())).unwrap_or(Val::Bool(false))
}

/// What a kind expects, in words.
pub fn expected(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Int(min, max) => format!("a whole number from {min} to {max}"),
        Kind::Text => format!("text of at most {MAX_TEXT} bytes on one line"),
        Kind::Words(words) => format!("one of {}", quoted_list(words)),
        Kind::Duration(min, max) => {
            format!("a time from {} to {}, like 4s or 500ms", show_time(min), show_time(max))
        }
        Kind::Size(min, max) => {
            format!("a size from {} to {}, like 64k or 8M", show_size(min), show_size(max))
        }
        Kind::List => "a list of texts".to_owned(),
        Kind::WordList(words) => format!("a list of {}", quoted_list(words)),
        Kind::Listen => {
            "an address like \":8554\" or \"127.0.0.1:1984\", a list of them, or \"\" for off".to_owned()
        }
        Kind::Path => "a path".to_owned(),
    }
}

/// The words in quotes, the empty one among them.
pub fn quoted_list(words: &[&str]) -> String {
    let mut out = String::new();
    for word in words {
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push('"');
        out.push_str(word);
        out.push('"');
    }
    out
}

/// A time in the largest unit that shows it whole.
pub fn show_time(ms: i64) -> String {
    match ms {
        0 => "0".to_owned(),
        _ if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        _ if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        _ if ms % 1000 == 0 => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

/// A size in the largest unit that shows it whole.
pub fn show_size(bytes: i64) -> String {
    match bytes {
        0 => "0".to_owned(),
        _ if bytes % (1 << 30) == 0 => format!("{}G", bytes >> 30),
        _ if bytes % (1 << 20) == 0 => format!("{}M", bytes >> 20),
        _ if bytes % 1024 == 0 => format!("{}k", bytes >> 10),
        _ => format!("{bytes}"),
    }
}

/// What does not fit: the list or its item, and the word that may have been meant.
type Misfit<'a> = (&'a Node, Option<&'static str>);

/// Reads a value. Nothing (`key:`) must be dealt with before.
pub fn parse(kind: Kind, node: &Node) -> Result<Val, Refused> {
    let found = match kind {
        Kind::List | Kind::WordList(_) | Kind::Listen => list(kind, node),
        _ => single(kind, node),
    };
    found.map_err(|(node, meant)| Refused {
        at: node.at.clone(),
        text: node.text().map(str::to_owned),
        expected: match node.items().len() {
            ..=MAX_LIST => expected(kind),
            _ => format!("a list of at most {MAX_LIST} items"),
        },
        meant,
    })
}

fn single(kind: Kind, node: &Node) -> Result<Val, Misfit<'_>> {
    let text = node.text().ok_or((node, None))?;
    let found = match kind {
        Kind::Bool => boolean(text).map(Val::Bool),
        Kind::Int(min, max) => bounded(integer(text), min, max),
        Kind::Duration(min, max) => bounded(duration(text), min, max),
        Kind::Size(min, max) => bounded(size(text), min, max),
        Kind::Words(words) => return word(words, node, text).map(Val::Word),
        _ => line(text).map(|text| Val::Text(text.to_owned())),
    };
    found.ok_or((node, None))
}

fn bounded(value: Option<i64>, min: i64, max: i64) -> Option<Val> {
    value.filter(|value| (min..=max).contains(value)).map(Val::Int)
}

fn line(text: &str) -> Option<&str> {
    (text.len() <= MAX_TEXT && !text.contains(['\n', '\r'])).then_some(text)
}

fn word<'a>(words: &[&'static str], node: &'a Node, text: &str) -> Result<&'static str, Misfit<'a>> {
    match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        Some(word) => Ok(word),
        None => Err((node, nearest(text, words.iter().copied()))),
    }
}

fn list(kind: Kind, node: &Node) -> Result<Val, Misfit<'_>> {
    let items = match &node.value {
        Value::Seq(items) => items.as_slice(),
        Value::Scalar { .. } => std::slice::from_ref(node),
        _ => return Err((node, None)),
    };
    let (mut listen, mut texts) = (Vec::new(), Vec::new());
    if items.len() > MAX_LIST {
        return Err((node, None));
    }
    for item in items {
        let text = item.text().and_then(line).ok_or((item, None))?;
        match kind {
            Kind::Listen if text.is_empty() && items.len() == 1 => {}
            Kind::Listen => {
                let address = address(text).filter(|_| listen.len() < MAX_LISTEN);
                listen.push(address.ok_or((item, None))?);
            }
            Kind::WordList(words) => texts.push(word(words, item, text)?.to_owned()),
            _ => texts.push(text.to_owned()),
        }
    }
    Ok(if let Kind::Listen = kind { Val::Listen(listen) } else { Val::List(texts) })
}

/// YAML's words, and those that the predecessor's files use.
fn boolean(text: &str) -> Option<bool> {
    const YES: [&str; 5] = ["true", "True", "TRUE", "yes", "on"];
    const NO: [&str; 5] = ["false", "False", "FALSE", "no", "off"];
    if YES.contains(&text) { Some(true) } else { NO.contains(&text).then_some(false) }
}

fn integer(text: &str) -> Option<i64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok();
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok();
    }
    text.parse().ok()
}

/// Number (in thousandths) and unit of the next part of a time.
fn part(text: &str) -> Option<(i64, &str, &str)> {
    let digits = text.bytes().position(|b| !b.is_ascii_digit() && b != b'.').unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    let letters = rest.bytes().position(|b| !b.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(letters)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut thousandths = whole.parse::<i64>().ok()?.checked_mul(1000)?;
    if number.contains('.') {
        let mut weight = 100;
        for digit in fraction.bytes() {
            thousandths = thousandths.checked_add(i64::from(digit.wrapping_sub(b'0').min(9)) * weight)?;
            weight /= 10;
        }
        if fraction.is_empty() || fraction.contains('.') {
            return None;
        }
    }
    Some((thousandths, unit, rest))
}

/// Milliseconds of `1m30s`, `500ms`, `1.5s` or a plain number of seconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let mut total = 0i64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (thousandths, unit, next) = part(rest)?;
        let scale = match unit {
            "ms" => return total.checked_add(thousandths / 1000).filter(|_| next.is_empty()),
            "s" => 1,
            "" if rest == text.trim() => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86400,
            _ => return None,
        };
        total = total.checked_add(thousandths.checked_mul(scale)?)?;
        rest = next;
    }
    Some(total)
}

/// Bytes of `64k`, `8M`, `1G` or a plain number.
fn size(text: &str) -> Option<i64> {
    let (thousandths, unit, rest) = part(text.trim())?;
    const UNITS: [&[&str]; 4] =
        [&["", "B"], &["k", "K", "kB", "KB", "KiB"], &["M", "m", "MB", "MiB"], &["G", "g", "GB", "GiB"]];
    let power = UNITS.iter().position(|names| names.contains(&unit) && rest.is_empty())?;
    thousandths.checked_mul(1 << (10 * power)).map(|bytes| bytes / 1000)
}

/// `:8554`, `127.0.0.1:1984`, `[::1]:80`, `localhost:80`, or a port alone.
fn address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse().ok().filter(|_| port.bytes().all(|b| b.is_ascii_digit()))?;
    let host = match host {
        "" => None,
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => Some(IpAddr::V6(inner.parse().ok()?)),
            None => Some(IpAddr::V4(host.parse().ok()?)),
        },
    };
    Some(Address { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(text: &str) -> Node {
        Node::bare(Value::Scalar { text: text.to_owned(), quoted: false }, Place::nowhere())
    }

    #[test]
    fn times_and_sizes_read_as_people_write_them() {
        for (text, want) in [
            ("4s", Some(4000)),
            ("500ms", Some(500)),
            ("10", Some(10_000)),
            ("1.5s", Some(1500)),
            ("1m30s", Some(90_000)),
            ("2h", Some(7_200_000)),
            ("0", Some(0)),
            ("0.25", Some(250)),
            ("1s500ms", Some(1500)),
            ("", None),
            ("s", None),
            ("-4s", None),
            ("4x", None),
            ("4 s", None),
            ("1..5s", None),
            ("1.s", None),
            ("99999999999999999999", None),
            ("9223372036854776", None),
            ("500ms5", None),
            ("3s4", None),
        ] {
            assert_eq!(duration(text), want, "{text}");
        }
        for (text, want) in [
            ("8M", Some(8 << 20)),
            ("64k", Some(64 << 10)),
            ("1024", Some(1024)),
            ("1.5M", Some(1_572_864)),
            ("2GiB", Some(2 << 30)),
            ("-1", None),
            ("8MM", None),
            ("M", None),
            ("8M1", None),
            ("99999999999999G", None),
        ] {
            assert_eq!(size(text), want, "{text}");
        }
        for ms in [0, 500, 1000, 90_000, 60_000, 7_200_000] {
            assert_eq!(duration(&show_time(ms)), Some(ms));
            assert_eq!(size(&show_size(ms)), Some(ms));
        }
    }

    #[test]
    fn addresses_read_as_the_predecessor_writes_them() {
        for (text, want) in [
            (":8554", Some(":8554")),
            ("8554", Some(":8554")),
            ("127.0.0.1:1984", Some("127.0.0.1:1984")),
            ("[::1]:80", Some("[::1]:80")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("::1:80", None),
            (":", None),
            (":65536", None),
            (":+5", None),
            ("host:80", None),
            ("[::1:80", None),
        ] {
            assert_eq!(address(text).map(|a| a.to_string()).as_deref(), want, "{text}");
        }
        assert_eq!(parse(Kind::Listen, &scalar("")).unwrap(), Val::Listen(Vec::new()));
    }

    #[test]
    fn a_mistyped_word_is_answered_with_the_nearest() {
        let refused = parse(Kind::Words(&["debug", "info", "warn"]), &scalar("debgu")).unwrap_err();
        assert_eq!(refused.meant, Some("debug"));
        assert_eq!(refused.expected, "one of \"debug\", \"info\", \"warn\"");
        assert_eq!(parse(Kind::Words(&["debug"]), &scalar("DEBUG")).unwrap(), Val::Word("debug"));
    }

    #[test]
    fn numbers_keep_their_bounds() {
        assert!(parse(Kind::Int(1, 10), &scalar("11")).is_err());
        assert!(parse(Kind::Int(1, 10), &scalar("1.0")).is_err());
        assert_eq!(parse(Kind::Int(1, 100), &scalar("0x1F")).unwrap(), Val::Int(31));
        assert!(parse(Kind::Text, &scalar(&"x".repeat(MAX_TEXT + 1))).is_err());
        assert!(parse(Kind::Text, &scalar("a\nb")).is_err());
    }
}
