//! The data format of HomeKit's data stream: one tag byte for each value. Everything that a hub may
//! write is read, in place and with every length checked; what is written takes the shortest form and
//! no back-references, which every reader understands.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

/// Levels of arrays and dictionaries; beyond it refused.
pub const DEPTH: usize = 8;
/// Values of one message; beyond it refused.
pub const MOST: usize = 256;
/// Values that a back-reference can name.
const REFERENCES: usize = 48;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A number of four bytes, as bits.
    Real32(u32),
    /// A number of eight bytes, as bits.
    Real64(u64),
    /// Seconds since 2001, a number of eight bytes, as bits.
    Date(u64),
    Uuid([u8; 16]),
    Text(&'a str),
    Data(&'a [u8]),
    Array(Vec<Value<'a>>),
    Dict(Vec<(&'a str, Value<'a>)>),
}

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The value goes beyond the end.
    Truncated,
    /// No value begins with this byte.
    Tag(u8),
    /// Something follows the value.
    Trailing,
    /// More levels or values than any message has.
    Large,
    /// A text is not UTF-8.
    Text,
    /// A dictionary's key is no text.
    Key,
    /// A back-reference to what was not written.
    Reference(u8),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data stream: ")?;
        match self {
            Error::Truncated => f.write_str("a value is longer than its message"),
            Error::Tag(tag) => write!(f, "no value begins with {tag:#04x}"),
            Error::Trailing => f.write_str("expected the end of the message behind its value"),
            Error::Large => write!(f, "expected at most {MOST} values in {DEPTH} levels"),
            Error::Text => f.write_str("a text is not UTF-8"),
            Error::Key => f.write_str("a dictionary's key is no text"),
            Error::Reference(n) => write!(f, "value {n} is referred to and was not written"),
        }
    }
}

impl std::error::Error for Error {}

impl<'a> Value<'a> {
    /// Reads one value that is all of these bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Value<'a>, Error> {
        let mut reader = Reader { rest: bytes, known: Vec::new(), left: MOST, error: None };
        let value = reader.value(0);
        match (reader.error, value) {
            (Some(error), _) => Err(error),
            (None, Some(_)) if !reader.rest.is_empty() => Err(Error::Trailing),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(Error::Tag(END)),
        }
    }

    /// The value of a dictionary's key.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        match self {
            Value::Dict(pairs) => pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// A dictionary's number.
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.get(key)? {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// A dictionary's text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Appends it in its shortest form.
    pub fn write(&self, out: &mut Writer<'_>) {
        match self {
            Value::Null => out.tag(0x04),
            Value::Bool(b) => out.bool(*b),
            Value::Int(n) => out.int(*n),
            Value::Real32(bits) => out.put(0x35, &bits.to_le_bytes()),
            Value::Real64(bits) => out.put(0x36, &bits.to_le_bytes()),
            Value::Date(bits) => out.put(0x06, &bits.to_le_bytes()),
            Value::Uuid(bytes) => out.put(0x05, bytes),
            Value::Text(text) => out.text(text),
            Value::Data(data) => {
                out.data_head(data.len());
                out.0.extend_from_slice(data);
            }
            Value::Array(items) => {
                out.array(items.len());
                items.iter().for_each(|item| item.write(out));
                if items.len() > SHORT {
                    out.tag(END);
                }
            }
            Value::Dict(pairs) => {
                out.dict(pairs.len());
                for (key, value) in pairs {
                    out.text(key);
                    value.write(out);
                }
                if pairs.len() > SHORT {
                    out.tag(END);
                }
            }
        }
    }
}

/// Arrays and dictionaries of more are ended by a mark.
const SHORT: usize = 14;
/// That mark.
const END: u8 = 3;

/// What goes wrong is remembered and told at the end; from then on there is nothing to be read.
struct Reader<'a> {
    rest: &'a [u8],
    /// What back-references name: each value that was written in full, in order.
    known: Vec<Value<'a>>,
    left: usize,
    error: Option<Error>,
}

impl<'a> Reader<'a> {
    #[inline(never)]
    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
        self.rest = &[];
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            self.fail(Error::Truncated);
            return &[];
        };
        self.rest = rest;
        taken
    }

    /// A number of one, two, four or eight bytes.
    fn number(&mut self, width: usize) -> u64 {
        self.take(width).iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
    }

    /// The same with a sign.
    fn signed(&mut self, width: usize) -> i64 {
        let above = 64 - 8 * width as u32;
        (self.number(width) << above) as i64 >> above
    }

    /// Bytes behind a length of that width.
    fn counted(&mut self, width: usize) -> &'a [u8] {
        let len = self.number(width);
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// Bytes up to this one, which is passed over.
    fn until(&mut self, end: u8) -> &'a [u8] {
        // where it is not, what is there is too short
        let at = self.rest.iter().position(|&b| b == end).unwrap_or(self.rest.len());
        let taken = self.take(at);
        self.take(1);
        taken
    }

    fn text(&mut self, bytes: &'a [u8]) -> Value<'a> {
        let text = std::str::from_utf8(bytes);
        if text.is_err() {
            self.fail(Error::Text);
        }
        Value::Text(text.unwrap_or_default())
    }

    /// The next value; none at a mark that ends an array or a dictionary, and once something was wrong.
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        if depth > DEPTH || self.left == 0 {
            self.fail(Error::Large);
        }
        self.left = self.left.saturating_sub(1);
        let tag = self.number(1) as u8;
        if self.error.is_some() {
            return None;
        }
        let value = match tag {
            0x01 => return Some(Value::Bool(true)),
            0x02 => return Some(Value::Bool(false)),
            END => return None,
            0x04 => return Some(Value::Null),
            0x05 => Value::Uuid(self.take(16).try_into().unwrap_or_default()),
            0x06 => Value::Date(self.number(8)),
            0x07..=0x2f => return Some(Value::Int(i64::from(tag) - 8)),
            0x30..=0x33 => Value::Int(self.signed(1 << (tag - 0x30))),
            0x35 => Value::Real32(self.number(4) as u32),
            0x36 => Value::Real64(self.number(8)),
            0x40..=0x60 => {
                let bytes = self.take(usize::from(tag - 0x40));
                self.text(bytes)
            }
            0x61..=0x64 => {
                let bytes = self.counted(1 << (tag - 0x61));
                self.text(bytes)
            }
            0x6f => {
                let bytes = self.until(0);
                self.text(bytes)
            }
            0x70..=0x90 => Value::Data(self.take(usize::from(tag - 0x70))),
            0x91..=0x94 => Value::Data(self.counted(1 << (tag - 0x91))),
            0x9f => Value::Data(self.until(END)),
            0xa0..=0xcf => {
                let at = tag - 0xa0;
                let known = self.known.get(usize::from(at)).cloned();
                if known.is_none() {
                    self.fail(Error::Reference(at));
                }
                return known;
            }
            0xd0..=0xdf => return Some(self.array((tag & 15).into(), depth + 1)),
            0xe0..=0xef => return Some(self.dict((tag & 15).into(), depth + 1)),
            tag => {
                self.fail(Error::Tag(tag));
                return None;
            }
        };
        if self.known.len() < REFERENCES {
            self.known.push(value.clone());
        }
        Some(value)
    }

    /// So many values, or up to a mark.
    fn array(&mut self, count: usize, depth: usize) -> Value<'a> {
        let (mut items, open) = (Vec::new(), count > SHORT);
        while open || items.len() < count {
            let Some(item) = self.value(depth) else {
                if !open {
                    self.fail(Error::Tag(END));
                }
                break;
            };
            items.push(item);
        }
        Value::Array(items)
    }

    /// So many pairs, or up to a mark.
    fn dict(&mut self, count: usize, depth: usize) -> Value<'a> {
        let (mut pairs, open) = (Vec::new(), count > SHORT);
        while open || pairs.len() < count {
            let key = match self.value(depth) {
                Some(Value::Text(key)) => key,
                None if open => break,
                _ => {
                    self.fail(Error::Key);
                    break;
                }
            };
            let Some(value) = self.value(depth) else {
                self.fail(Error::Tag(END));
                break;
            };
            pairs.push((key, value));
        }
        Value::Dict(pairs)
    }
}

/// Appends values.
pub struct Writer<'o>(pub &'o mut Vec<u8>);

impl Writer<'_> {
    fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    fn put(&mut self, tag: u8, bytes: &[u8]) {
        self.tag(tag);
        self.0.extend_from_slice(bytes);
    }

    /// A truth.
    pub fn bool(&mut self, on: bool) {
        self.tag(if on { 1 } else { 2 });
    }

    /// A number.
    pub fn int(&mut self, n: i64) {
        if let Ok(n @ -1..=39) = i8::try_from(n) {
            self.tag((n + 8) as u8);
        } else if let Ok(n) = i8::try_from(n) {
            self.put(0x30, &n.to_le_bytes());
        } else if let Ok(n) = i16::try_from(n) {
            self.put(0x31, &n.to_le_bytes());
        } else if let Ok(n) = i32::try_from(n) {
            self.put(0x32, &n.to_le_bytes());
        } else {
            self.long(n);
        }
    }

    /// A number of eight bytes whatever it is, as the headers have them.
    pub fn long(&mut self, n: i64) {
        self.put(0x33, &n.to_le_bytes());
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.head(0x40, 0x61, text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    /// What stands before so many bytes, which the caller appends.
    pub fn data_head(&mut self, len: usize) {
        self.head(0x70, 0x91, len);
    }

    fn head(&mut self, short: u8, long: u8, len: usize) {
        match len {
            0..=32 => self.tag(short + len as u8),
            33..=0xff => self.put(long, &[len as u8]),
            0x100..=0xffff => self.put(long + 1, &(len as u16).to_le_bytes()),
            _ => self.put(long + 2, &(len as u32).to_le_bytes()),
        }
    }

    /// An array of so many values, which follow; of more than 14 a mark ends it.
    fn array(&mut self, len: usize) {
        self.tag(if len > SHORT { 0xdf } else { 0xd0 + len as u8 });
    }

    /// An array of one value, which follows.
    pub fn only(&mut self) {
        self.array(1);
    }

    /// An array of nothing.
    pub fn none(&mut self) {
        self.array(0);
    }

    /// A dictionary of so many pairs, which follow; of more than 14 a mark ends it.
    pub fn dict(&mut self, pairs: usize) {
        self.tag(if pairs > SHORT { 0xef } else { 0xe0 + pairs as u8 });
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::crypto::testing::{bytes, hex};
    use super::*;

    fn written(value: &Value<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        value.write(&mut Writer(&mut out));
        out
    }

    #[test]
    fn the_messages_of_hubs() {
        let header =
            hex("e34870726f746f636f6c47636f6e74726f6c47726571756573744568656c6c6f426964330100000000000000");
        let value = Value::parse(&header).unwrap();
        assert_eq!((value.text("protocol"), value.text("request")), (Some("control"), Some("hello")));
        assert_eq!(value.int("id"), Some(1));
        let open =
            hex("e4467461726765744a636f6e74726f6c6c6572447479706552697063616d6572612e7265636f7264696e67\
             4873747265616d49640946726561736f6e497265636f7264696e67");
        let value = Value::parse(&open).unwrap();
        assert_eq!((value.text("type"), value.int("streamId")), (Some("ipcamera.recording"), Some(1)));
        assert_eq!(written(&value), open, "the shortest form is the one that hubs write");
    }

    #[test]
    fn every_tag_is_read() {
        let long = [0xdfu8, 1, 2, 4, 7, 8, 0x2f, 3];
        let all = Value::parse(&long).unwrap();
        let Value::Array(items) = &all else { panic!("{all:?}") };
        assert_eq!(items[3..], [Value::Int(-1), Value::Int(0), Value::Int(39)]);
        for (text, value) in [
            ("30d6", Value::Int(-42)),
            ("31d6ff", Value::Int(-42)),
            ("32d6ffffff", Value::Int(-42)),
            ("33d6ffffffffffffff", Value::Int(-42)),
            ("350000803f", Value::Real32(1f32.to_bits())),
            ("36000000000000f03f", Value::Real64(1f64.to_bits())),
            ("06000000000000f03f", Value::Date(1f64.to_bits())),
            (
                "0500112233445566778899aabbccddeeff",
                Value::Uuid(hex("00112233445566778899aabbccddeeff").try_into().unwrap()),
            ),
            ("426869", Value::Text("hi")),
            ("61026869", Value::Text("hi")),
            ("6202006869", Value::Text("hi")),
            ("63020000006869", Value::Text("hi")),
            ("6402000000000000006869", Value::Text("hi")),
            ("6f686900", Value::Text("hi")),
            ("726869", Value::Data(b"hi")),
            ("91026869", Value::Data(b"hi")),
            ("9202006869", Value::Data(b"hi")),
            ("93020000006869", Value::Data(b"hi")),
            ("9402000000000000006869", Value::Data(b"hi")),
            ("9f686903", Value::Data(b"hi")),
            (
                "d24268 69a0".replace(' ', "").as_str(),
                Value::Array(vec![Value::Text("hi"), Value::Text("hi")]),
            ),
            ("ef426869 01 03".replace(' ', "").as_str(), Value::Dict(vec![("hi", Value::Bool(true))])),
        ] {
            assert_eq!(Value::parse(&hex(text)), Ok(value), "{text}");
        }
    }

    #[test]
    fn back_references_count_what_was_written_in_full() {
        // one-byte values are not counted: the first reference is the key
        let value = hex("e24161 01 a0 3005".replace(' ', "").as_str());
        assert_eq!(
            Value::parse(&value),
            Ok(Value::Dict(vec![("a", Value::Bool(true)), ("a", Value::Int(5))]))
        );
        assert_eq!(Value::parse(&hex("d1a0")), Err(Error::Reference(0)));
        assert_eq!(Value::parse(&hex("e1a001")), Err(Error::Reference(0)));
    }

    fn random(next: &mut dyn FnMut(&mut [u8]), depth: usize) -> Value<'static> {
        let mut b = [0u8; 9];
        next(&mut b);
        let n = i64::from_le_bytes(b[1..].try_into().unwrap());
        let texts = ["", "a", "streamId", "a text that is longer than thirty-two bytes"];
        match b[0] % if depth < 3 { 11 } else { 9 } {
            0 => Value::Null,
            1 => Value::Bool(n & 1 == 0),
            2 => Value::Int(n >> (n as u32 % 64)),
            3 => Value::Real32(n as u32),
            4 => Value::Real64(n as u64),
            5 => Value::Date(n as u64),
            6 => Value::Uuid([b[3]; 16]),
            7 => Value::Text(texts[n as usize % 4]),
            8 => Value::Data(vec![b[2]; [0, 1, 32, 33, 255, 256, 70_000][n as usize % 7]].leak()),
            9 => Value::Array((0..n as usize % 17).map(|_| random(next, depth + 1)).collect()),
            _ => Value::Dict((0..n as usize % 17).map(|i| (texts[i % 4], random(next, depth + 1))).collect()),
        }
    }

    #[test]
    fn what_was_written_is_read_again_and_nothing_less_is() {
        let mut next = bytes(5);
        let mut large = 0;
        for _ in 0..2000 {
            let value = random(&mut next, 0);
            let out = written(&value);
            match Value::parse(&out) {
                Ok(back) => assert_eq!(back, value),
                Err(e) => {
                    assert_eq!(e, Error::Large);
                    large += 1;
                }
            }
            for end in (0..out.len()).rev().step_by(out.len() / 50 + 1).filter(|&end| end < out.len()) {
                assert!(Value::parse(&out[..end]).is_err());
            }
        }
        assert!(large < 1000);
    }

    #[test]
    fn hostile_messages_are_refused_and_take_no_memory() {
        for (text, error) in [
            ("", Error::Truncated),
            ("00", Error::Tag(0)),
            ("03", Error::Tag(3)),
            ("34", Error::Tag(0x34)),
            ("0101", Error::Trailing),
            ("63ffffffff", Error::Truncated),
            ("94ffffffffffffffff", Error::Truncated),
            ("41ff", Error::Text),
            ("e10101", Error::Key),
            ("d103", Error::Tag(3)),
            ("ef4161", Error::Truncated),
            ("ef416103", Error::Tag(3)),
        ] {
            assert_eq!(Value::parse(&hex(text)), Err(error), "{text}");
        }
        assert_eq!(Value::parse(&[0xd1; 100_000]), Err(Error::Large));
        assert_eq!(Value::parse(&[0xdf; 100_000]), Err(Error::Large));
        let wide = [&[0xdfu8][..], &[1; 100_000], &[3]].concat();
        assert_eq!(Value::parse(&wide), Err(Error::Large));
        let mut next = bytes(9);
        let open = hex(
            "e4467461726765744a636f6e74726f6c6c6572447479706552697063616d6572612e7265636f7264696e674873747265616d49640946726561736f6e497265636f7264696e67",
        );
        for _ in 0..200_000 {
            let mut bent = open.clone();
            let mut how = [0u8; 4];
            next(&mut how);
            let at = usize::from(how[0]) % bent.len();
            bent[at] = how[1];
            if how[2] & 1 == 0 {
                let at = usize::from(how[3]) % bent.len();
                bent[at] ^= how[2];
            }
            if let Ok(value) = Value::parse(&bent) {
                assert_eq!(Value::parse(&written(&value)), Ok(value));
            }
        }
    }
}
