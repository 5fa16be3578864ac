//! What a YAML text holds: a small bounded tree that remembers where everything stands.
//!
//! `yaml_read` makes it; each [`Node`] keeps its place for messages and its bytes in the original text
//! for writing back. Values stay text: what `true` or `5` means is decided by the key that holds it.
//! It never grows past its bounds, whatever the aliases say.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::text::Place;

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
    pub(super) fn bytes(&self) -> usize {
        match &self.value {
            Value::Null => 0,
            Value::Scalar { text, .. } => text.len(),
            Value::Seq(items) => items.iter().map(Node::bytes).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.key.len() + entry.value.bytes()).sum(),
        }
    }

    /// How many nodes hang here, itself counted.
    pub(super) fn count(&self) -> usize {
        match &self.value {
            Value::Seq(items) => items.iter().map(Node::count).sum::<usize>() + 1,
            Value::Map(entries) => entries.iter().map(|entry| entry.value.count() + 1).sum::<usize>() + 1,
            _ => 1,
        }
    }

    /// How many levels of lists and maps this is.
    pub(super) fn depth(&self) -> usize {
        let below = match &self.value {
            Value::Seq(items) => items.iter().map(Node::depth).max(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.depth()).max(),
            _ => return 0,
        };
        below.unwrap_or(0) + 1
    }

    /// Marks all of it as standing elsewhere.
    pub(super) fn lend(&mut self) {
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

/// `<<: *other`: keys of another map that are not written here.
pub(super) fn merge(node: &mut Node) {
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
