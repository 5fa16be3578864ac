//! The YAML that people write for cameras, read in one pass: lists and maps by indentation or in
//! brackets, comments, anchors, aliases, tags. Single values are read by `yaml_scalar`.
//!
//! The expanded text goes in, nodes come out; a fault ends it with one sentence and its place. YAML 1.2
//! as far as it can stand in one file of settings: one document, keys are plain text, directives and
//! foreign tags say nothing. JSON is a subset and needs nothing of its own. It never reads a byte twice more than it must: a key is recognised when its
//! colon comes, not by looking ahead. It goes no deeper than `MAX_DEPTH` calls.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::rc::Rc;

use super::text::{MAX_BYTES, Place, Text};
use super::yaml::{
    Document, Duplicate, Entry, MAX_DEPTH, MAX_DUPLICATES, MAX_ENTRIES, MAX_KEY, MAX_NODES, Node, Value,
    YamlError, merge, without_properties,
};

pub(super) const TAB: &str = "a tab stands where spaces are expected; indent with spaces";
pub(super) const COLON: &str = "a ':' stands where none is expected; put the text in quotes";
const INDENT: &str = "wrong indentation; expected this line in line with its neighbours";
pub(super) const VALUE: &str = "expected a value here; put text with special characters in quotes";
const KEY: &str = "expected a key followed by ':' and a space";
const TRAILING: &str = "text follows a complete value; expected the end of the line";

/// Reads a text.
pub fn parse(text: &Text) -> Result<Document, YamlError> {
    let expanded = text.expanded();
    if expanded.len() > MAX_BYTES {
        return Err(YamlError {
            at: Place::of_file(&text.name),
            sentence: format!("the configuration is larger than {} KiB", MAX_BYTES / 1024),
        });
    }
    let bad = |b: &u8| (*b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r')) || *b == 0x7f;
    if let Some(at) = expanded.as_bytes().iter().position(bad) {
        return Err(YamlError {
            at: text.place(text.origin(at, false)),
            sentence: "there is a control character here; expected plain text".to_owned(),
        });
    }
    Reader::new(text).document()
}

/// What the text holds at a place; nothing (0) stands for its end.
pub(super) fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The end of a line or of the text.
pub(super) fn breaks(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | 0)
}

/// White space, a line's end or the text's.
pub(super) fn space(byte: u8) -> bool {
    blank(byte) || breaks(byte)
}

/// A byte that means something between brackets.
pub(super) fn bracket(byte: u8) -> bool {
    matches!(byte, b',' | b'[' | b']' | b'{' | b'}')
}

/// An anchor and a tag in front of a value.
#[derive(Clone, Copy, Default)]
pub(super) struct Properties<'a> {
    /// Where they begin, if there are any.
    start: Option<usize>,
    anchor: Option<&'a str>,
    /// The tag says that it is text.
    text: bool,
}

/// What is above a value.
pub(super) struct Level<'l> {
    pub(super) up: Option<&'l Level<'l>>,
    pub(super) key: &'l str,
    pub(super) depth: usize,
    pub(super) flow: bool,
}

impl Level<'_> {
    fn path(&self) -> String {
        let mut path = self.up.map(Level::path).unwrap_or_default();
        if !path.is_empty() && !self.key.is_empty() {
            path.push('.');
        }
        path.push_str(self.key);
        path
    }
}

/// One text on its way to a tree. The first fault stays here and ends the text: what reads on finds nothing
/// more, so that nobody has to ask after each step.
pub(super) struct Reader<'a> {
    pub(super) text: &'a Text,
    pub(super) source: &'a str,
    /// The next byte.
    pub(super) at: usize,
    /// Where its line begins.
    pub(super) line: usize,
    /// Where that line's first word begins, once it has been looked for.
    lead: usize,
    /// A tab in front of it.
    tab: Option<usize>,
    /// Quotes end before a line that begins no further in than this.
    pub(super) margin: isize,
    anchors: Vec<(&'a str, Rc<Node>)>,
    nodes: usize,
    /// Bytes of text that anchors hold and aliases repeat.
    repeated: usize,
    duplicates: Vec<Duplicate>,
    fault: Option<YamlError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a Text) -> Self {
        let source = text.expanded();
        let begin = if source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self {
            text,
            source,
            at: begin,
            line: begin,
            lead: begin,
            tab: None,
            margin: -1,
            anchors: Vec::new(),
            nodes: 0,
            repeated: 0,
            duplicates: Vec::new(),
            fault: None,
        }
    }

    /// All of it.
    pub(super) fn document(mut self) -> Result<Document, YamlError> {
        let root = self.whole();
        match self.fault {
            None => Ok(Document { root, duplicates: self.duplicates }),
            Some(fault) => Err(fault),
        }
    }

    fn whole(&mut self) -> Node {
        self.gap();
        // The end of a document before it begins says nothing.
        while self.marker() && self.byte() == b'.' {
            self.at += 3;
            self.gap();
        }
        let mut directive = None;
        while self.at == self.line && self.byte() == b'%' {
            directive = Some(self.at);
            self.comment();
            self.gap();
        }
        let marked = self.marker() && self.byte() == b'-';
        if marked {
            self.at += 3;
        } else if let Some(at) = directive {
            self.fail(at, "expected '---' below a line that begins with '%'");
        }
        let top = Level { up: None, key: "", depth: 0, flow: false };
        let mut root = self.block(&top, -1, false, false);
        if root.start == root.end {
            root.at = super::Place::of_file(&self.text.name);
        }
        self.gap();
        if self.marker() && self.byte() == b'.' {
            self.at += 3;
            self.gap();
            if self.byte() != 0 && !self.fresh() {
                self.fail(self.at, TRAILING);
            }
        } else if self.byte() != 0 && !self.marker() {
            self.fail(self.at, self.misplaced());
        }
        if self.byte() != 0 {
            self.fail(self.at, "a second document begins here; expected one document in a file");
        }
        root
    }

    // What every part needs.

    /// The byte so many bytes ahead; 0 behind the end (the text itself holds none).
    pub(super) fn ahead(&self, far: usize) -> u8 {
        self.source.as_bytes().get(self.at + far).copied().unwrap_or(0)
    }

    pub(super) fn byte(&self) -> u8 {
        self.ahead(0)
    }

    pub(super) fn fail(&mut self, at: usize, sentence: &str) {
        self.fail_at(self.text.origin(at, false), sentence);
    }

    /// A fault at a byte of the original.
    fn fail_at(&mut self, at: usize, sentence: &str) {
        if self.fault.is_none() {
            self.fault = Some(YamlError { at: self.text.place(at), sentence: sentence.to_owned() });
        }
        self.source = "";
    }

    fn limit(&mut self, at: usize, before: &str, most: usize, after: &str) {
        self.fail(at, &format!("{before}{most}{after}"));
    }

    pub(super) fn charge(&mut self, nodes: usize, at: usize) {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            self.limit(at, "the configuration has more than ", MAX_NODES, " values");
        }
    }

    /// A copy of a node is about to be made, for an anchor or an alias; false if it may not be.
    fn charge_copy(&mut self, nodes: usize, bytes: usize, at: usize) -> bool {
        self.charge(nodes, at);
        self.repeated = self.repeated.saturating_add(bytes);
        if self.repeated > MAX_BYTES {
            self.limit(at, "aliases repeat more than ", MAX_BYTES / 1024, " KiB of text");
        }
        self.fault.is_none()
    }

    fn charge_depth(&mut self, depth: usize, at: usize) {
        if depth > MAX_DEPTH {
            self.limit(at, "nested more than ", MAX_DEPTH, " levels deep");
        }
    }

    /// A node over these bytes of the expanded text.
    pub(super) fn node(&self, value: Value, from: usize, to: usize) -> Node {
        let start = self.text.origin(from, false);
        let mut end = self.text.origin(to, true).max(start);
        let original = self.text.original.as_bytes();
        while end > start && original.get(end - 1).is_some_and(u8::is_ascii_whitespace) {
            end -= 1;
        }
        Node { value, at: self.text.place(start), start, end, flow: false, borrowed: false }
    }

    /// A list or map that begins here; its end is set when it comes.
    pub(super) fn open(&mut self, up: &Level<'_>, value: Value, from: usize) -> Node {
        self.charge(1, from);
        self.charge_depth(up.depth + 1, from);
        let mut node = self.node(value, from, from);
        let raw = self.text.original.get(node.start..).unwrap_or("");
        node.flow = up.flow || without_properties(raw).starts_with(['{', '[']);
        node
    }

    /// A single value over these bytes.
    pub(super) fn scalar(&mut self, text: String, quoted: bool, from: usize, to: usize) -> Node {
        self.charge(1, from);
        self.node(Value::Scalar { text, quoted }, from, to)
    }

    /// Nothing, where a value could stand.
    pub(super) fn empty(&mut self, from: usize, properties: &Properties<'a>) -> Node {
        let node = self.scalar(String::new(), false, from, from);
        self.settle(node, properties)
    }

    /// A value is complete with what stood in front of it.
    pub(super) fn settle(&mut self, mut node: Node, properties: &Properties<'a>) -> Node {
        if let Value::Scalar { text, quoted } = &mut node.value {
            *quoted |= properties.text;
            if !*quoted && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
                node.value = Value::Null;
            }
        }
        if let Some(start) = properties.start {
            node.start = self.text.origin(start, false);
            node.at = self.text.place(node.start);
            node.end = node.end.max(node.start);
        }
        self.remember(properties.anchor, &node);
        node
    }

    fn remember(&mut self, anchor: Option<&'a str>, node: &Node) {
        if let Some(name) = anchor
            && self.charge_copy(node.count(), node.bytes(), self.at)
        {
            self.anchors.push((name, Rc::new(node.clone())));
        }
    }

    // Lines and what is between words.

    /// Passes the end of a line.
    pub(super) fn next_line(&mut self) {
        self.at += if self.byte() == b'\r' && self.ahead(1) == b'\n' { 2 } else { 1 };
        self.line = self.at;
    }

    /// Passes the white space that a line begins with.
    pub(super) fn indent(&mut self) {
        self.tab = None;
        while blank(self.byte()) {
            if self.byte() == b'\t' && self.tab.is_none() {
                self.tab = Some(self.at);
            }
            self.at += 1;
        }
        self.lead = self.at;
    }

    pub(super) fn blanks(&mut self) {
        while blank(self.byte()) {
            self.at += 1;
        }
    }

    /// Passes white space, comments and line ends up to the next word.
    pub(super) fn gap(&mut self) {
        if self.at == self.line {
            self.indent();
        }
        loop {
            self.blanks();
            if self.byte() == b'#' && (self.at == self.lead || self.behind_blank()) {
                self.comment();
            }
            if self.byte() == 0 || !breaks(self.byte()) {
                return;
            }
            self.next_line();
            self.indent();
        }
    }

    /// True behind a space or tab.
    pub(super) fn behind_blank(&self) -> bool {
        self.source.as_bytes().get(self.at.wrapping_sub(1)).is_some_and(|byte| blank(*byte))
    }

    /// Passes the rest of a line.
    pub(super) fn comment(&mut self) {
        while !breaks(self.byte()) {
            self.at += 1;
        }
    }

    /// True if the next word is its line's first.
    fn fresh(&self) -> bool {
        self.at == self.lead && self.lead >= self.line
    }

    /// `---` or `...` at the beginning of a line.
    pub(super) fn marker(&self) -> bool {
        let rest = self.source.get(self.at..).unwrap_or("");
        self.at == self.line && (rest.starts_with("---") || rest.starts_with("...")) && space(self.ahead(3))
    }

    /// The text ends here, or its document.
    pub(super) fn ended(&self) -> bool {
        self.byte() == 0 || self.marker()
    }

    fn column(&self) -> isize {
        (self.at - self.line) as isize
    }

    /// `-`, `?` or `:` as a word of its own.
    pub(super) fn sign(&self, byte: u8) -> bool {
        self.byte() == byte && space(self.ahead(1))
    }

    /// A tab that stands in the indentation of what begins here.
    pub(super) fn no_tab(&mut self, indent: isize) {
        if let Some(tab) = self.tab.filter(|tab| (tab - self.line) as isize <= indent) {
            self.fail(tab, TAB);
        }
    }

    fn misplaced(&self) -> &'static str {
        match self.byte() {
            b']' | b'}' => "a bracket is closed that was not opened",
            b':' => COLON,
            _ if self.fresh() => INDENT,
            _ => TRAILING,
        }
    }

    // Values by indentation.

    /// True if no value stands here: the text ends, or the next word belongs to what is above.
    fn absent(&mut self, indent: isize, list: bool) -> bool {
        if self.fresh() && !self.ended() {
            let column = self.column();
            if self.tab.is_none() && (column < indent || (column == indent && !(list && self.sign(b'-')))) {
                return true;
            }
            self.no_tab(indent);
        }
        self.ended()
    }

    /// The value below or behind something that stands in column `indent`. `inline`: a list or map may
    /// begin on the same line; `list`: a list may begin in the same column.
    fn block(&mut self, up: &Level<'_>, indent: isize, inline: bool, list: bool) -> Node {
        let from = self.at;
        self.gap();
        let mut outer = Properties::default();
        if self.absent(indent, list) {
            return self.empty(from, &outer);
        }
        let (mut begin, mut column) = (self.at, self.column());
        let mut fresh = self.fresh();
        let mut own = self.properties();
        if own.start.is_some() {
            if self.absent(indent, list) {
                return self.empty(from, &own);
            }
            if self.fresh() {
                // They stood on a line of their own: what follows may have its own again.
                (outer, begin, column, fresh) = (own, self.at, self.column(), true);
                own = self.properties();
                if own.start.is_some() && (self.ended() || self.fresh()) {
                    self.fail(self.at, VALUE);
                }
            }
        }
        let tabbed = if fresh { self.tab } else { None };
        let may = (fresh || inline) && tabbed.is_none();
        if (self.sign(b'-') && own.start.is_none()) || self.sign(b'?') {
            if let Some(tab) = tabbed {
                self.fail(tab, TAB);
            } else if !may {
                self.fail(self.at, VALUE);
            }
            let node = if self.byte() == b'-' {
                self.list(up, column, indent)
            } else {
                self.map(up, column, begin, None)
            };
            return self.settle(node, &outer);
        }
        if matches!(self.byte(), b'|' | b'>') {
            let at = self.at;
            let (text, end) = self.block_text(indent);
            let node = self.scalar(text, true, at, end);
            let node = self.settle(node, &own);
            return self.settle(node, &outer);
        }
        let (node, colon) = self.part(up, indent, &own);
        let Some(colon) = colon else { return self.settle(node, &outer) };
        if let Some(tab) = tabbed {
            self.fail(tab, TAB);
        } else if !may {
            self.fail(colon, COLON);
        }
        let node = self.map(up, column, begin, Some(node));
        self.settle(node, &outer)
    }

    /// `- ` and its items, all in one column, below something in column `indent`.
    fn list(&mut self, up: &Level<'_>, column: isize, indent: isize) -> Node {
        let mut list = self.open(up, Value::Null, self.at);
        let here = Level { up: Some(up), key: "", depth: up.depth + 1, flow: list.flow };
        let mut items = Vec::new();
        loop {
            self.at += 1;
            let item = self.block(&here, column, true, false);
            list.end = item.end.max(list.end);
            items.push(item);
            self.gap();
            if self.ended() || (self.fresh() && self.tab.is_none() && self.column() < column) {
                break;
            }
            self.in_line(column);
            if !self.sign(b'-') {
                // A list may stand in the column of the key that holds it.
                if column == indent {
                    break;
                }
                self.fail(self.at, "expected '- ' in line with the items above it; check the spaces");
                break;
            }
        }
        list.value = Value::Seq(items);
        list
    }

    /// The next word must stand in this column.
    fn in_line(&mut self, column: isize) {
        if self.fresh() {
            self.no_tab(isize::MAX);
        }
        if !self.fresh() || self.column() != column {
            self.fail(self.at, self.misplaced());
        }
    }

    /// Keys in one column; the first may have been read, with its colon.
    fn map(&mut self, up: &Level<'_>, column: isize, begin: usize, first: Option<Node>) -> Node {
        let mut map = self.open(up, Value::Null, begin);
        let mut entries = Vec::new();
        let mut first = first;
        loop {
            let begin = self.at;
            let explicit = first.is_none() && self.sign(b'?');
            let mut colon = true;
            let key = if let Some(key) = first.take() {
                key
            } else if explicit {
                self.at += 1;
                let here = Level { up: Some(up), key: "", depth: up.depth + 1, flow: map.flow };
                let key = self.block(&here, column, true, false);
                self.gap();
                colon = self.fresh() && self.tab.is_none() && self.column() == column && self.sign(b':');
                if colon {
                    self.at += 1;
                }
                key
            } else {
                if self.sign(b'-') {
                    self.fail(begin, "expected a key in line with the keys above it; check the spaces");
                }
                let own = self.properties();
                if own.start.is_some() && self.fresh() {
                    self.fail(begin, KEY);
                }
                let (key, found) = self.part(up, column, &own);
                if found.is_none() {
                    self.fail(begin, KEY);
                }
                key
            };
            let Some(kept) = self.key(up, &entries, key) else { break };
            let here = Level { up: Some(up), key: &kept.0.key, depth: up.depth + 1, flow: map.flow };
            let mut value = if colon {
                self.block(&here, column, explicit || kept.0.start == kept.0.end, true)
            } else {
                let after = self.at;
                self.empty(after, &Properties::default())
            };
            if value.start == value.end {
                value.at = kept.0.at.clone();
            }
            map.end = value.end.max(kept.0.end);
            push(&mut entries, kept, value);
            self.gap();
            if self.ended() || (self.fresh() && self.tab.is_none() && self.column() < column) {
                break;
            }
            self.in_line(column);
        }
        map.value = Value::Map(entries);
        merge(&mut map);
        map
    }

    /// A key is complete: an entry without its value, and whether the same key stands there already; nothing
    /// once something is wrong.
    pub(super) fn key(&mut self, up: &Level<'_>, entries: &[Entry], node: Node) -> Option<(Entry, bool)> {
        let at = node.start;
        let text = match node.value {
            Value::Scalar { text, .. } => text,
            Value::Null => without_properties(self.text.original.get(at..node.end).unwrap_or("")).to_owned(),
            _ => {
                self.fail_at(at, "a key must be plain text, here it is a list or a map");
                return None;
            }
        };
        if text.len() > MAX_KEY {
            self.limit(self.at, "a key longer than ", MAX_KEY, " bytes");
        }
        if entries.len() >= MAX_ENTRIES {
            self.limit(self.at, "more than ", MAX_ENTRIES, " keys in one map");
        }
        if self.fault.is_some() {
            return None;
        }
        let first = entries.iter().find(|entry| entry.key == text).map(|entry| entry.at.clone());
        let twice = first.is_some();
        if let Some(first) = first
            && self.duplicates.len() < MAX_DUPLICATES
        {
            let path = Level { up: Some(up), key: &text, depth: 0, flow: false }.path();
            self.duplicates.push(Duplicate { path, first, second: node.at.clone() });
        }
        let value = Node { value: Value::Null, ..node };
        Some((Entry { key: text, at: value.at.clone(), start: value.start, end: value.end, value }, twice))
    }

    /// A value that may turn out to be a key: what follows it decides. With the place of its colon, and
    /// then read up to behind it.
    fn part(&mut self, up: &Level<'_>, indent: isize, own: &Properties<'a>) -> (Node, Option<usize>) {
        let (line, start) = (self.line, self.at);
        self.margin = indent;
        let node = if self.sign(b':') {
            self.scalar(String::new(), false, start, start)
        } else if matches!(self.byte(), b'[' | b'{' | b'"' | b'\'' | b'*') {
            self.piece(up)
        } else {
            let (text, end) = self.plain(indent, false);
            self.scalar(text, false, start, end)
        };
        self.blanks();
        if self.line != line || !self.sign(b':') {
            return (self.settle(node, own), None);
        }
        self.remember(own.anchor, &node);
        let colon = self.at;
        self.at += 1;
        (node, Some(colon))
    }

    /// What is the same inside and outside of brackets: brackets, quotes, aliases.
    pub(super) fn piece(&mut self, up: &Level<'_>) -> Node {
        let start = self.at;
        match self.byte() {
            b'[' | b'{' => self.flow(up),
            b'*' => self.alias(up),
            _ => {
                let text = self.quoted();
                self.scalar(text, true, start, self.at)
            }
        }
    }

    // Anchors, tags, aliases.

    /// A name behind `&`, `*` or `!`.
    fn name(&mut self) -> &'a str {
        self.at += 1;
        let from = self.at;
        while !space(self.byte()) && !bracket(self.byte()) {
            self.at += 1;
        }
        self.source.get(from..self.at).unwrap_or("")
    }

    /// Anchor and tag, and the gap behind them.
    pub(super) fn properties(&mut self) -> Properties<'a> {
        let mut found = Properties::default();
        loop {
            let start = self.at;
            match self.byte() {
                b'&' => {
                    let name = self.name();
                    if name.is_empty() || found.anchor.is_some() {
                        self.fail(start, "expected one name for an anchor, like &name");
                    }
                    found.anchor = Some(name);
                }
                b'!' => found.text |= matches!(self.name(), "!str" | "<tag:yaml.org,2002:str>"),
                _ => return found,
            }
            found.start = found.start.or(Some(start));
            self.gap();
            if self.fresh() {
                return found;
            }
        }
    }

    fn alias(&mut self, up: &Level<'_>) -> Node {
        let start = self.at;
        let name = self.name();
        let mut node = self.node(Value::Null, start, self.at);
        let found =
            self.anchors.iter().rev().find(|(known, _)| *known == name).map(|(_, node)| Rc::clone(node));
        let Some(found) = found else {
            self.fail(start, "this alias (*name) names nothing; expected its anchor (&name) further up");
            return node;
        };
        // Counted before it is copied: a long text may stand behind many short aliases.
        self.charge_depth(up.depth + found.depth(), start);
        if self.charge_copy(found.count(), found.bytes(), start) {
            node.value = found.value.clone();
            node.flow = found.flow;
            node.lend();
        }
        node
    }
}

/// Puts an entry with its value among the others, unless its key stands there already.
pub(super) fn push(entries: &mut Vec<Entry>, (entry, twice): (Entry, bool), value: Node) {
    if !twice {
        entries.push(Entry { value, ..entry });
    }
}
