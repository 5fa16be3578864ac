//! YAML between brackets: `[a, b]` and `{a: b}`, over as many lines as they take. Lists and maps by
//! indentation are read by `yaml_read`, which calls this where a bracket opens.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::yaml::{Entry, Node, Value, merge};
use super::yaml_read::{COLON, Level, Properties, Reader, VALUE, bracket, push, space};

impl Reader<'_> {
    /// A list or a map in brackets.
    pub(super) fn flow(&mut self, up: &Level<'_>) -> Node {
        let start = self.at;
        let mut node = self.open(up, Value::Null, start);
        let here = Level { up: Some(up), key: "", depth: up.depth + 1, flow: true };
        let list = self.byte() == b'[';
        let (close, expected) = if list {
            (b']', "expected ',' or ']' in a list in brackets")
        } else {
            (b'}', "expected ',' or '}' in a map in braces")
        };
        let (mut items, mut entries) = (Vec::new(), Vec::new());
        self.at += 1;
        loop {
            self.flow_gap(expected);
            if self.byte() == close || self.ended() {
                break;
            }
            if list {
                let item = self.flow_item(&here, expected);
                items.push(item);
            } else {
                self.flow_pair(up, &mut entries, None, expected);
            }
            self.flow_gap(expected);
            if self.byte() == close || self.ended() {
                break;
            }
            if self.byte() != b',' {
                let words = if self.byte() == b':' { COLON } else { expected };
                self.fail(self.at, words);
            }
            self.at += 1;
        }
        self.at += 1;
        node.end = self.text.origin(self.at, true).max(node.start);
        node.value = if list { Value::Seq(items) } else { Value::Map(entries) };
        merge(&mut node);
        node
    }

    fn flow_gap(&mut self, expected: &str) {
        self.gap();
        if self.ended() {
            self.fail(self.at, expected);
        }
    }

    /// One value of a list in brackets; `[a: b]` is a map of one key.
    fn flow_item(&mut self, up: &Level<'_>, expected: &str) -> Node {
        let (line, start) = (self.line, self.at);
        let first = if self.sign(b'?') {
            None
        } else {
            let node = self.flow_value(up);
            self.blanks();
            if self.line != line || self.byte() != b':' {
                if node.start == node.end {
                    self.fail(self.at, VALUE);
                }
                return node;
            }
            Some(node)
        };
        let mut map = self.open(up, Value::Null, start);
        let mut entries = Vec::new();
        self.flow_pair(up, &mut entries, first, expected);
        map.flow = true;
        map.end = entries.last().map_or(map.end, |entry| entry.value.end.max(entry.end));
        map.value = Value::Map(entries);
        map
    }

    /// A key with its value in braces; the key may have been read.
    fn flow_pair(&mut self, up: &Level<'_>, entries: &mut Vec<Entry>, first: Option<Node>, expected: &str) {
        let here = Level { up: Some(up), key: "", depth: up.depth + 1, flow: true };
        let key = match first {
            Some(key) => key,
            None => {
                let explicit = self.sign(b'?');
                if explicit {
                    self.at += 1;
                    self.flow_gap(expected);
                }
                let key = self.flow_value(&here);
                if key.start == key.end && !explicit && self.byte() != b':' {
                    self.fail(self.at, VALUE);
                }
                key
            }
        };
        let Some(kept) = self.key(up, entries, key) else { return };
        let here = Level { up: Some(up), key: &kept.0.key, depth: up.depth + 1, flow: true };
        self.flow_gap(expected);
        let mut value = if self.byte() == b':' {
            self.at += 1;
            let after = self.at;
            self.flow_gap(expected);
            if matches!(self.byte(), b',' | b'}' | b']') {
                self.empty(after, &Properties::default())
            } else {
                self.flow_value(&here)
            }
        } else {
            let after = self.at;
            self.empty(after, &Properties::default())
        };
        if value.start == value.end {
            value.at = kept.0.at.clone();
        }
        push(entries, kept, value);
    }

    /// One value in brackets, with what stands in front of it; nothing before a colon or comma.
    fn flow_value(&mut self, up: &Level<'_>) -> Node {
        let own = self.properties();
        let start = self.at;
        let node = match self.byte() {
            b',' | b'}' | b']' => return self.empty(start, &own),
            b':' if space(self.ahead(1)) || bracket(self.ahead(1)) => return self.empty(start, &own),
            b'[' | b'{' | b'"' | b'\'' | b'*' => self.piece(up),
            _ => {
                let (text, end) = self.plain(-1, true);
                self.scalar(text, false, start, end)
            }
        };
        self.settle(node, &own)
    }
}
