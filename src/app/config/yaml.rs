//! YAML text to a small bounded tree that remembers where everything stands.
//!
//! The events of the YAML parser go in, one [`Node`] tree comes out; each node keeps its place for
//! messages and its bytes in the original text for writing back. Values stay text: what `true` or `5`
//! means is decided by the key that holds it. JSON is a subset and needs nothing of its own.
//! It never grows past its bounds, whatever the aliases say.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::text::{MAX_BYTES, Place, Text};

/// Deepest nesting.
pub const MAX_DEPTH: usize = 16;
/// Most nodes in a tree, aliases counted as often as they are used.
pub const MAX_NODES: usize = 16 * 1024;
/// Most keys in one map (duplicates are searched for one by one).
pub const MAX_ENTRIES: usize = 1024;
/// Longest key; paths of keys are repeated in messages.
pub const MAX_KEY: usize = 256;
/// Most keys that are remembered as standing twice.
pub const MAX_DUPLICATES: usize = 16;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// For messages.
    pub at: Place,
    /// First byte in the original text.
    pub start: usize,
    /// One past the last byte in the original text.
    pub end: usize,
    /// Written between brackets.
    pub flow: bool,
    /// Came through an alias or a merge: its bytes belong to another place.
    pub borrowed: bool,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Any single value; `quoted` ones are text for sure.
    Scalar {
        /// The value with quotes and escapes resolved.
        text: String,
        /// Written in quotes or as a block.
        quoted: bool,
    },
    /// A list.
    Seq(Vec<Node>),
    /// Keys with values, in the order they were written.
    Map(Vec<Entry>),
}

/// One key of a map with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// For messages.
    pub at: Place,
    /// First byte of the key in the original text.
    pub start: usize,
    /// One past the key's last byte.
    pub end: usize,
    /// The value.
    pub value: Node,
}

impl Node {
    /// An empty value without a place.
    pub fn null() -> Self {
        Self::bare(Value::Null, Place::nowhere())
    }

    /// A node that stands in no text of its own.
    pub fn bare(value: Value, at: Place) -> Self {
        Self { value, at, start: 0, end: 0, flow: false, borrowed: false }
    }

    /// The value of a key, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of a key, if this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a map; nothing for everything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; nothing for everything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Seq(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// True for nothing, `~` and `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// What it is, in words for a message.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Seq(_) => "a list",
            Value::Map(_) => "a map of keys",
        }
    }

    /// Bytes of all texts here.
    fn bytes(&self) -> usize {
        match &self.value {
            Value::Null => 0,
            Value::Scalar { text, .. } => text.len(),
            Value::Seq(items) => items.iter().map(Node::bytes).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.key.len() + entry.value.bytes()).sum(),
        }
    }

    /// How many nodes hang here, itself counted.
    fn count(&self) -> usize {
        match &self.value {
            Value::Seq(items) => items.iter().map(Node::count).sum::<usize>() + 1,
            Value::Map(entries) => entries.iter().map(|entry| entry.value.count() + 1).sum::<usize>() + 1,
            _ => 1,
        }
    }

    fn depth(&self) -> usize {
        let below = match &self.value {
            Value::Seq(items) => items.iter().map(Node::depth).max(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.depth()).max(),
            _ => return 0,
        };
        below.unwrap_or(0) + 1
    }

    fn lend(&mut self) {
        self.borrowed = true;
        match &mut self.value {
            Value::Seq(items) => items.iter_mut().for_each(Node::lend),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| entry.value.lend()),
            _ => {}
        }
    }
}

/// True if two trees say the same, wherever and however it is written. An empty map says nothing.
pub fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Scalar { text: a, .. }, Value::Scalar { text: b, .. }) => a == b,
        (Value::Seq(a), Value::Seq(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(list), Value::Map(other)) => {
            list.len() == other.len()
                && list.iter().all(|entry| b.get(&entry.key).is_some_and(|value| same(&entry.value, value)))
        }
        (Value::Null, Value::Null) => true,
        (Value::Null, Value::Map(list)) | (Value::Map(list), Value::Null) => list.is_empty(),
        _ => false,
    }
}

/// A text that could not be read.
#[derive(Clone, Debug)]
pub struct YamlError {
    /// Where reading stopped.
    pub at: Place,
    /// What was expected there.
    pub sentence: String,
}

impl std::fmt::Display for YamlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.sentence)
    }
}

/// A key that stands twice in one map; the first stays.
#[derive(Clone, Debug)]
pub struct Duplicate {
    /// The key, with the keys above it.
    pub path: String,
    /// The one that stays.
    pub first: Place,
    /// The one that is left out.
    pub second: Place,
}

/// What a text holds.
#[derive(Debug)]
pub struct Document {
    /// The tree; `Null` for an empty text.
    pub root: Node,
    /// Keys that stand twice.
    pub duplicates: Vec<Duplicate>,
}

struct Key {
    text: String,
    at: Place,
    start: usize,
    end: usize,
}

struct Frame {
    node: Node,
    anchor: usize,
    key: Option<Key>,
    /// The value that follows belongs to a key that stands twice.
    twice: bool,
}

struct Builder<'a> {
    text: &'a Text,
    stack: Vec<Frame>,
    anchors: Vec<(usize, Rc<Node>)>,
    nodes: usize,
    /// Bytes of text that anchors hold and aliases repeat.
    repeated: usize,
    root: Option<Node>,
    duplicates: Vec<Duplicate>,
}

/// Reads a text.
pub fn parse(text: &Text) -> Result<Document, YamlError> {
    let expanded = text.expanded();
    if expanded.len() > MAX_BYTES {
        return Err(YamlError {
            at: Place::of_file(&text.name),
            sentence: format!("the configuration is larger than {} KiB", MAX_BYTES / 1024),
        });
    }
    // The parser takes NUL for the end and would drop what follows without a word.
    let bad = |c: char| (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || c == '\u{7f}';
    if let Some(at) = expanded.find(bad) {
        return Err(YamlError {
            at: text.place(text.origin(at, false)),
            sentence: "there is a control character here; expected plain text".to_owned(),
        });
    }
    let skipped = if expanded.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let body = expanded.get(skipped..).unwrap_or("");
    let offsets = Offsets::new(body, skipped);
    let mut builder = Builder {
        text,
        stack: Vec::new(),
        anchors: Vec::new(),
        nodes: 0,
        repeated: 0,
        root: None,
        duplicates: Vec::new(),
    };
    let mut parser = Parser::new_from_str(body);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                let start = text.origin(offsets.byte(span.start.index()), false);
                let end = text.origin(offsets.byte(span.end.index()), true);
                builder.event(event, start, end.max(start))?;
            }
            Err(error) => {
                let mut at = offsets.byte(error.marker().index());
                // The parser has just passed the tab that it complains about.
                let tab = |at: usize| expanded.as_bytes().get(at) == Some(&b'\t');
                if error.info().contains("tab") && at > 0 && !tab(at) && tab(at - 1) {
                    at -= 1;
                }
                let at = text.place(text.origin(at, false));
                return Err(YamlError { at, sentence: explain(&error) });
            }
        }
    }
    let root = builder.root.unwrap_or_else(|| Node::bare(Value::Null, Place::of_file(&text.name)));
    Ok(Document { root, duplicates: builder.duplicates })
}

/// Character index to byte offset: the identity for ASCII, else a mark every 64 characters.
struct Offsets<'a> {
    body: &'a str,
    skipped: usize,
    marks: Vec<u32>,
}

impl<'a> Offsets<'a> {
    fn new(body: &'a str, skipped: usize) -> Self {
        let marks = if body.is_ascii() {
            Vec::new()
        } else {
            body.char_indices().step_by(64).map(|(at, _)| at as u32).collect()
        };
        Self { body, skipped, marks }
    }

    fn byte(&self, index: usize) -> usize {
        let inside = if self.marks.is_empty() {
            index
        } else {
            let mark = self.marks.get(index / 64).copied().unwrap_or(self.body.len() as u32) as usize;
            let rest = self.body.get(mark..).unwrap_or("");
            mark + rest.char_indices().nth(index % 64).map_or(rest.len(), |(at, _)| at)
        };
        inside.min(self.body.len()) + self.skipped
    }
}

impl Builder<'_> {
    fn fail<T>(&self, start: usize, sentence: impl Into<String>) -> Result<T, YamlError> {
        Err(YamlError { at: self.text.place(start), sentence: sentence.into() })
    }

    fn charge(&mut self, nodes: usize, start: usize) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return self.fail(start, format!("the configuration has more than {MAX_NODES} values"));
        }
        Ok(())
    }

    /// A copy of a node is about to be made, for an anchor or an alias.
    fn charge_copy(&mut self, nodes: usize, bytes: usize, start: usize) -> Result<(), YamlError> {
        self.charge(nodes, start)?;
        self.repeated = self.repeated.saturating_add(bytes);
        if self.repeated > MAX_BYTES {
            return self.fail(start, format!("aliases repeat more than {} KiB of text", MAX_BYTES / 1024));
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: &Node) -> Result<(), YamlError> {
        if anchor > 0 {
            self.charge_copy(node.count(), node.bytes(), node.start)?;
            self.anchors.push((anchor, Rc::new(node.clone())));
        }
        Ok(())
    }

    fn node(&self, value: Value, start: usize, end: usize) -> Node {
        let original = self.text.original.as_bytes();
        let mut end = end;
        while end > start && original.get(end - 1).is_some_and(u8::is_ascii_whitespace) {
            end -= 1;
        }
        Node { value, at: self.text.place(start), start, end, flow: false, borrowed: false }
    }

    /// The next byte that is neither white space nor in a comment: the parser may say that a list
    /// begins where the line of its key goes on.
    fn skip_blank(&self, start: usize) -> usize {
        let text = self.text.original.get(start..).unwrap_or("");
        let mut rest = text.trim_start();
        while rest.starts_with('#') {
            rest = rest.find('\n').and_then(|end| rest.get(end..)).unwrap_or("").trim_start();
        }
        if rest.is_empty() { start } else { start + text.len() - rest.len() }
    }

    fn open(&mut self, value: Value, anchor: usize, start: usize, end: usize) -> Result<(), YamlError> {
        self.charge(1, start)?;
        if self.stack.len() >= MAX_DEPTH {
            return self.fail(start, format!("nested more than {MAX_DEPTH} levels deep"));
        }
        let mut start = self.skip_blank(start);
        let text = self.text.original.as_bytes();
        if matches!(value, Value::Seq(_)) && !matches!(text.get(start), Some(b'[' | b'-' | b'&' | b'!')) {
            // A list in line with its key: the parser counts from the first item, not from its dash.
            let before = text.get(..start).unwrap_or(&[]);
            let dash = before.iter().rposition(|b| !b.is_ascii_whitespace());
            start = dash.filter(|at| text.get(*at) == Some(&b'-')).unwrap_or(start);
        }
        let mut node = self.node(value, start, end.max(start));
        let raw = self.text.original.get(start..).unwrap_or("");
        node.flow = without_properties(raw).starts_with(['{', '['])
            || self.stack.last().is_some_and(|frame| frame.node.flow);
        self.stack.push(Frame { node, anchor, key: None, twice: false });
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, start: usize, end: usize) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.charge(1, start)?;
                let plain = style == ScalarStyle::Plain
                    && !tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let empty = plain && text.is_empty();
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let at_key = self
                    .stack
                    .last()
                    .is_some_and(|f| f.key.is_none() && matches!(f.node.value, Value::Map(_)));
                let value = if null && !at_key {
                    Value::Null
                } else {
                    Value::Scalar { text: text.into_owned(), quoted: !plain }
                };
                let mut node = self.node(value, start, end);
                if empty {
                    node.end = node.start;
                }
                self.finish(node, anchor, empty)
            }
            Event::Alias(id) => {
                let Some((_, found)) = self.anchors.iter().find(|(known, _)| *known == id) else {
                    return self.fail(start, "this alias stands inside the value that it names");
                };
                // Counted before it is copied: a long text may stand behind many short aliases.
                let found = Rc::clone(found);
                self.charge_copy(found.count(), found.bytes(), start)?;
                let mut node = Node::clone(&found);
                if self.stack.len() + node.depth() > MAX_DEPTH {
                    return self.fail(start, format!("nested more than {MAX_DEPTH} levels deep"));
                }
                node.lend();
                (node.start, node.end) = (start, end);
                self.finish(node, 0, false)
            }
            Event::SequenceStart(anchor, _) => self.open(Value::Seq(Vec::new()), anchor, start, end),
            Event::MappingStart(anchor, _) => self.open(Value::Map(Vec::new()), anchor, start, end),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.stack.pop() else { return Ok(()) };
                let mut node = frame.node;
                // The event begins at the bracket and may end behind the comment that follows it.
                // With a trailing comma it begins there.
                let byte = |at: usize| self.text.original.as_bytes().get(at).copied();
                let comma = node.flow && byte(start) == Some(b',');
                let start = if comma { self.skip_blank(start + 1) } else { start };
                let bracket = byte(start);
                let own = if matches!(node.value, Value::Seq(_)) { b']' } else { b'}' };
                if node.flow && bracket == Some(own) {
                    node.end = start + 1;
                } else {
                    // A block ends where its last value ends, not where the next one begins.
                    let last = match &node.value {
                        Value::Seq(items) => items.last().map(|item| item.end),
                        Value::Map(entries) => entries.last().map(|entry| entry.value.end.max(entry.end)),
                        _ => None,
                    };
                    node.end = last.unwrap_or(node.end).max(node.start);
                }
                merge(&mut node);
                self.finish(node, frame.anchor, false)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                self.fail(start, "a second document begins here; expected one document in a file")
            }
            _ => Ok(()),
        }
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, mut node: Node, anchor: usize, empty: bool) -> Result<(), YamlError> {
        if !self.stack.is_empty() {
            self.remember(anchor, &node)?;
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        if let (Value::Map(entries), Some(key)) = (&mut frame.node.value, frame.key.take()) {
            if empty {
                // An absent value stands right after its colon, wherever the parser looked next.
                let after = self.text.original.get(key.end..).unwrap_or("");
                let colon = after.trim_start_matches([' ', '\t']);
                let skipped = after.len() - colon.len();
                node.start = key.end + if colon.starts_with(':') { skipped + 1 } else { 0 };
                node.end = node.start;
                node.at = self.text.place(key.start);
            }
            let first = self.text.original.as_bytes().get(node.start);
            if matches!(node.value, Value::Scalar { quoted: true, .. })
                && !node.borrowed
                && !matches!(first, Some(b'"' | b'\'' | b'|' | b'>' | b'&' | b'!'))
            {
                // A block of text: the parser counts from its first line, not from its header.
                let after = self.text.original.get(key.end..).unwrap_or("");
                let header = after.trim_start_matches([' ', '\t', ':']);
                if header.starts_with(['|', '>']) {
                    node.start = key.end + after.len() - header.len();
                }
            }
            if !std::mem::take(&mut frame.twice) {
                entries.push(Entry {
                    key: key.text,
                    at: key.at,
                    start: key.start,
                    end: key.end,
                    value: node,
                });
            }
            return Ok(());
        }
        match &mut frame.node.value {
            Value::Seq(items) => items.push(node),
            Value::Map(entries) => {
                let Value::Scalar { text, .. } = node.value else {
                    return self.fail(node.start, "a key must be plain text, here it is a list or a map");
                };
                if text.len() > MAX_KEY {
                    return self.fail(node.start, format!("a key longer than {MAX_KEY} bytes"));
                }
                if entries.len() >= MAX_ENTRIES {
                    return self.fail(node.start, format!("more than {MAX_ENTRIES} keys in one map"));
                }
                let first = entries.iter().find(|entry| entry.key == text).map(|entry| entry.at.clone());
                frame.twice = first.is_some();
                frame.key = Some(Key { text, at: node.at.clone(), start: node.start, end: node.end });
                if let Some(first) = first
                    && self.duplicates.len() < MAX_DUPLICATES
                {
                    let mut path = String::new();
                    for frame in &self.stack {
                        if let Some(key) = &frame.key {
                            if !path.is_empty() {
                                path.push('.');
                            }
                            path.push_str(&key.text);
                        }
                    }
                    self.duplicates.push(Duplicate { path, first, second: node.at });
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// `<<: *other`: keys of another map that are not written here.
fn merge(node: &mut Node) {
    let Value::Map(entries) = &mut node.value else { return };
    let Some(at) = entries.iter().position(|entry| entry.key == "<<" && entry.value.borrowed_map()) else {
        return;
    };
    let merged = entries.remove(at).value;
    let sources = if let Value::Seq(items) = merged.value { items } else { vec![merged] };
    for source in sources {
        let Value::Map(more) = source.value else { continue };
        for entry in more {
            if entries.len() < MAX_ENTRIES && !entries.iter().any(|known| known.key == entry.key) {
                entries.push(entry);
            }
        }
    }
}

impl Node {
    fn borrowed_map(&self) -> bool {
        match &self.value {
            Value::Map(_) => self.borrowed,
            Value::Seq(items) => !items.is_empty() && items.iter().all(Node::borrowed_map),
            _ => false,
        }
    }
}

/// A value's bytes without an anchor or tag in front of it.
pub fn without_properties(raw: &str) -> &str {
    let mut raw = raw;
    while raw.starts_with(['&', '!']) {
        let word = raw.find(char::is_whitespace).unwrap_or(raw.len());
        raw = raw.get(word..).unwrap_or("").trim_start();
    }
    raw
}

/// The parser's words in words for a person.
fn explain(error: &ScanError) -> String {
    const WORDS: [(&str, &str); 17] = [
        ("tab", "a tab stands where spaces are expected; indent with spaces"),
        ("unknown anchor", "this alias (*name) names nothing; expected its anchor (&name) further up"),
        ("',' or '}'", "expected ',' or '}' in a map in braces"),
        ("',' or ']'", "expected ',' or ']' in a list in brackets"),
        ("mapping values are not allowed", "a ':' stands where none is expected; put the text in quotes"),
        ("illegal placement of ':'", "a ':' stands where none is expected; put the text in quotes"),
        ("simple key expect", "expected a key followed by ':' and a space"),
        ("did not find expected key", "expected a key in line with the keys above it; check the spaces"),
        ("expected '-'", "expected '- ' in line with the items above it; check the spaces"),
        ("unexpected end of stream", "a quote was opened and not closed; expected its end"),
        ("unknown escape", "unknown escape after a backslash; use single quotes for text with backslashes"),
        ("recursion limit", "nested too deep"),
        ("indentation", "wrong indentation; expected this line in line with its neighbours"),
        ("node content", "expected a value here; put text with special characters in quotes"),
        ("unexpected character", "this character cannot begin a value; put the text in quotes"),
        ("trailing content", "text follows a closed quote; expected the end of the value"),
        ("misplaced bracket", "a bracket is closed that was not opened"),
    ];
    match WORDS.iter().find(|(needle, _)| error.info().contains(needle)) {
        Some((_, words)) => (*words).to_owned(),
        None => format!("expected YAML ({})", error.info()),
    }
}
