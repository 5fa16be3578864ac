//! JSON without a framework: a writer that appends to one string, and a bounded reader for what
//! the API is sent. No floats: a number is an integer, or the text that it was.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::limits::{JSON_BYTES, JSON_DEPTH, JSON_MEMBERS, JSON_VALUES};
use std::fmt;

/// Appends JSON to a string. Commas come by themselves; the caller closes what it opens.
#[derive(Default)]
pub struct Writer {
    out: String,
}

impl Writer {
    /// An empty document.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// What was written.
    pub fn finish(self) -> String {
        self.out
    }

    fn comma(&mut self) {
        if !matches!(self.out.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(',');
        }
    }

    /// `{`
    pub fn begin_object(&mut self) -> &mut Self {
        self.comma();
        self.out.push('{');
        self
    }

    /// `}`
    pub fn end_object(&mut self) -> &mut Self {
        self.out.push('}');
        self
    }

    /// `[`
    pub fn begin_array(&mut self) -> &mut Self {
        self.comma();
        self.out.push('[');
        self
    }

    /// `]`
    pub fn end_array(&mut self) -> &mut Self {
        self.out.push(']');
        self
    }

    /// A member's name; its value comes next.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.string(name);
        self.out.push(':');
        self
    }

    /// A string.
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.comma();
        escape(&mut self.out, text);
        self
    }

    /// An integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        self.comma();
        if value < 0 {
            self.out.push('-');
        }
        push_digits(&mut self.out, value.unsigned_abs(), 1);
        self
    }

    /// An integer that is never negative.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.comma();
        push_digits(&mut self.out, value, 1);
        self
    }

    /// Thousandths as a decimal: 12345 is `12.345`.
    pub fn milli(&mut self, value: u64) -> &mut Self {
        self.comma();
        push_digits(&mut self.out, value / 1000, 1);
        self.out.push('.');
        push_digits(&mut self.out, value % 1000, 3);
        self
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.raw(if value { "true" } else { "false" })
    }

    /// `null`
    pub fn null(&mut self) -> &mut Self {
        self.raw("null")
    }

    /// A value that is JSON already.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.comma();
        self.out.push_str(json);
        self
    }
}

fn push_digits(out: &mut String, mut value: u64, least: usize) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    for (i, digit) in digits.iter_mut().enumerate().rev() {
        if value == 0 && 20 - first >= least {
            break;
        }
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        first = i;
    }
    out.extend(digits.iter().skip(first).map(|&d| char::from(d)));
}

/// Appends `text` as a JSON string, quotes included. Safe inside HTML's `<script>` too.
pub fn escape(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '\x7f' | '<' | '\u{2028}' | '\u{2029}' => {
                let code = c as u32;
                out.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    out.push(char::from_digit(code >> shift & 15, 16).unwrap_or('0'));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction that fits.
    Int(i64),
    /// Any other number, as it was written.
    Real(Box<str>),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object, members in order; names differ.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The member of that name, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(s) = self { Some(s) } else { None }
    }

    /// The number, if this is an integer.
    pub fn as_int(&self) -> Option<i64> {
        if let Value::Int(n) = self { Some(*n) } else { None }
    }

    /// The truth, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(b) = self { Some(*b) } else { None }
    }

    /// The elements, if this is an array; else none.
    pub fn items(&self) -> &[Value] {
        if let Value::Array(items) = self { items } else { &[] }
    }

    /// The members, if this is an object; else none.
    pub fn members(&self) -> &[(String, Value)] {
        if let Value::Object(members) = self { members } else { &[] }
    }
}

/// Where a document is wrong and what was expected there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The byte at which reading stopped.
    pub at: usize,
    /// What should have stood there.
    pub expected: &'static str,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON is wrong at byte {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for Error {}

/// Reads one document and nothing after it.
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    if text.len() > JSON_BYTES {
        return Err(Error { at: JSON_BYTES, expected: "a shorter document" });
    }
    let mut reader = Reader { text, at: 0, values: 0, fault: None };
    let value = reader.value(0);
    reader.space();
    if reader.peek().is_some() {
        reader.fail("the end");
    }
    match reader.fault {
        None => Ok(value),
        Some(fault) => Err(fault),
    }
}

/// The first fault stays here and ends the text: what reads on finds nothing more, so that nobody has to ask
/// after each step.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    values: usize,
    fault: Option<Error>,
}

impl Reader<'_> {
    fn fail(&mut self, expected: &'static str) {
        self.fault.get_or_insert(Error { at: self.at, expected });
        self.text = &[];
    }

    /// Passes what has to be here.
    fn expect(&mut self, c: u8, expected: &'static str) {
        if !self.take(c) {
            self.fail(expected);
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, c: u8) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &'static str, value: Value) -> Value {
        match self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            true => self.at += word.len(),
            false => self.fail(word),
        }
        value
    }

    fn value(&mut self, depth: usize) -> Value {
        if depth > JSON_DEPTH {
            self.fail("fewer levels");
        }
        self.values += 1;
        if self.values > JSON_VALUES {
            self.fail("fewer values");
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Value::String(self.string()),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                self.fail("a value");
                Value::Null
            }
        }
    }

    /// Whether another one follows behind a comma; `end` closes the list or object.
    fn more(&mut self, end: u8, expected: &'static str) -> bool {
        self.space();
        if self.take(end) {
            return false;
        }
        self.expect(b',', expected);
        self.fault.is_none()
    }

    /// Passes what opens a list or object; whether anything is in it.
    fn begin(&mut self, end: u8) -> bool {
        self.at += 1;
        self.space();
        !self.take(end)
    }

    fn array(&mut self, depth: usize) -> Value {
        let mut items = Vec::new();
        let mut more = self.begin(b']');
        while more {
            items.push(self.value(depth + 1));
            more = self.more(b']', "a comma or ]");
        }
        Value::Array(items)
    }

    fn object(&mut self, depth: usize) -> Value {
        let mut members: Vec<(String, Value)> = Vec::new();
        let mut more = self.begin(b'}');
        while more {
            self.space();
            let name = self.string();
            if members.len() >= JSON_MEMBERS {
                self.fail("fewer members");
            }
            if members.iter().any(|(n, _)| *n == name) {
                self.fail("each name once");
            }
            self.space();
            self.expect(b':', "a colon");
            members.push((name, self.value(depth + 1)));
            more = self.more(b'}', "a comma or }");
        }
        Value::Object(members)
    }

    fn digits(&mut self) {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from {
            self.fail("a digit");
        }
    }

    fn number(&mut self) -> Value {
        let from = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits();
        }
        let mut whole = true;
        if self.take(b'.') {
            whole = false;
            self.digits();
        }
        if self.take(b'e') || self.take(b'E') {
            whole = false;
            let _ = self.take(b'+') || self.take(b'-');
            self.digits();
        }
        let text = self.text.get(from..self.at).and_then(|t| std::str::from_utf8(t).ok()).unwrap_or("0");
        match text.parse() {
            Ok(n) if whole => Value::Int(n),
            _ => Value::Real(text.into()),
        }
    }

    fn hex4(&mut self) -> u32 {
        let mut code = 0;
        for _ in 0..4 {
            match self.peek().and_then(|c| char::from(c).to_digit(16)) {
                Some(digit) => code = code << 4 | digit,
                None => self.fail("four hexadecimal digits"),
            }
            self.at += 1;
        }
        code
    }

    fn escaped(&mut self) -> char {
        let Some(c) = self.peek() else {
            self.fail("an escape");
            return char::default();
        };
        self.at += 1;
        match c {
            b'"' | b'\\' | b'/' => char::from(c),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut code = self.hex4();
                if (0xd800..0xdc00).contains(&code) {
                    let low = if self.take(b'\\') && self.take(b'u') { self.hex4() } else { 0 };
                    if !(0xdc00..0xe000).contains(&low) {
                        self.fail("the second half of a pair");
                    }
                    code = 0x10000 + ((code - 0xd800) << 10) + (low & 0x3ff);
                }
                let found = char::from_u32(code);
                if found.is_none() {
                    self.fail("a character");
                }
                found.unwrap_or_default()
            }
            _ => {
                self.fail("an escape");
                char::default()
            }
        }
    }

    fn string(&mut self) -> String {
        let mut out = String::new();
        self.expect(b'"', "a string");
        while self.fault.is_none() {
            let from = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=31)) {
                self.at += 1;
            }
            match self.text.get(from..self.at).and_then(|plain| std::str::from_utf8(plain).ok()) {
                Some(plain) => out.push_str(plain),
                None => self.fail("UTF-8"),
            }
            if self.take(b'"') {
                break;
            }
            self.expect(b'\\', "the end of the string");
            if self.fault.is_none() {
                let c = self.escaped();
                out.push(c);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut w = Writer::new();
        w.begin_object();
        w.key("name").string("Front \"door\"\\\n\x01<é\u{1F4F7}");
        w.key("n").int(-42).key("big").uint(u64::MAX).key("zero").uint(0).key("least").int(i64::MIN);
        w.key("fps").milli(25_007).key("on").bool(true).key("none").null();
        w.key("list")
            .begin_array()
            .int(1)
            .string("")
            .begin_object()
            .end_object()
            .begin_array()
            .end_array()
            .end_array();
        w.end_object();
        let text = w.finish();
        let v = parse(text.as_bytes()).unwrap();
        assert_eq!(v.get("name").unwrap().as_str(), Some("Front \"door\"\\\n\x01<é\u{1F4F7}"));
        assert_eq!(v.get("n").unwrap().as_int(), Some(-42));
        assert_eq!(v.get("least").unwrap().as_int(), Some(i64::MIN));
        assert_eq!(v.get("big"), Some(&Value::Real("18446744073709551615".into())));
        assert_eq!(v.get("fps"), Some(&Value::Real("25.007".into())));
        assert_eq!(v.get("zero").unwrap().as_int(), Some(0));
        assert_eq!(v.get("on").unwrap().as_bool(), Some(true));
        assert_eq!(v.get("list").unwrap().items().len(), 4);
        for end in 0..text.len() {
            assert!(parse(&text.as_bytes()[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn pairs_and_escapes() {
        assert_eq!(parse(br#" "\ud83d\udcf7\u00e9\/\b" "#).unwrap().as_str(), Some("\u{1F4F7}é/\x08"));
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "-",
            "1.",
            "1e",
            "+1",
            "nul",
            "\"\\ud83d\"",
            "\"\\udcf7\"",
            "\"\\x\"",
            "\"\n\"",
            "{\"a\":1,\"a\":2}",
            "1 2",
            "'a'",
            "{a:1}",
            "\"\\ud83d\\u0041\"",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn a_hostile_document_is_bounded() {
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.as_bytes()).unwrap_err().expected, "fewer levels");
        let wide = format!("[{}0]", "0,".repeat(20_000));
        assert_eq!(parse(wide.as_bytes()).unwrap_err().expected, "fewer values");
        let many: String = (0..300).map(|i| format!("\"{i}\":0,")).collect();
        assert_eq!(parse(format!("{{{many}\"x\":0}}").as_bytes()).unwrap_err().expected, "fewer members");
        assert!(parse(&vec![b' '; JSON_BYTES + 1]).is_err());
    }

    #[test]
    fn mutated_documents_never_panic() {
        let valid = br#"{"type":"webrtc","value":{"sdp":"v=0\r\n","n":[1,-2.5e3,null,true,"\ud83d\udcf7"]}}"#;
        let mut seed = 0x1234_5678u32;
        let mut next = move || {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed as usize
        };
        for _ in 0..50_000 {
            let mut text = valid.to_vec();
            for _ in 0..1 + next() % 4 {
                let at = next() % text.len();
                text[at] = next() as u8;
            }
            let _ = parse(&text);
        }
    }
}
