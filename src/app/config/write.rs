//! Writing back: one key of the file changes, every other byte stays, comments among them.
//!
//! The file's text and a path of keys go in, the changed text comes out; it is read again and compared
//! with what was meant before anything touches the disk. A file is replaced as a whole or not at all
//! (temporary file, sync, rename), with mode 0600, behind a symbolic link too. It never writes a text
//! that does not mean exactly what was asked for.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::expand::{expand as expanded, expand_value};
use super::text::Lookup;
use super::yaml::{self, Entry, Node, Value, YamlError};
use super::yaml_read;
use super::{Place, sources};

/// What to write for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum New {
    /// `key:` with nothing.
    Null,
    /// One value.
    Text(String),
    /// One value that was written without quotes: a number, true, a word.
    Plain(String),
    /// A list.
    List(Vec<New>),
    /// A map.
    Map(Vec<(String, New)>),
}

impl New {
    /// One text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A list of texts.
    pub fn list<S: AsRef<str>>(items: &[S]) -> Self {
        Self::List(items.iter().map(|item| Self::text(item.as_ref())).collect())
    }

    /// The tree that reading it gives.
    fn node(&self, expand: &dyn Fn(&str) -> String) -> Node {
        let value = match self {
            Self::Null => Value::Null,
            Self::Text(text) | Self::Plain(text) => Value::Scalar { text: expand(text), quoted: true },
            Self::List(items) => Value::Seq(items.iter().map(|item| item.node(expand)).collect()),
            Self::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        at: Place::nowhere(),
                        start: 0,
                        end: 0,
                        value: value.node(expand),
                    })
                    .collect(),
            ),
        };
        Node::bare(value, Place::nowhere())
    }
}

/// Why a file was not changed.
#[derive(Debug)]
pub enum WriteError {
    /// The file, as it is now, is no YAML.
    Broken(YamlError),
    /// A key on the way holds a single value or a list.
    NotASection {
        /// The key.
        key: String,
        /// Where it stands.
        at: Place,
    },
    /// The place is written in a way that cannot be changed without changing something else.
    ByHand {
        /// The path of keys.
        path: String,
        /// Where the nearest known part of it stands.
        at: Place,
    },
    /// The file changed twice while it was being changed.
    Busy(PathBuf),
    /// No file is named that could be written.
    NoFile,
    /// The system said no.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(error) => write!(f, "the file must be mended first: {error}"),
            Self::NotASection { key, at } => write!(f, "{at}: {key} is no map, nothing can be put under it"),
            Self::ByHand { path, at } => write!(
                f,
                "{at}: {path} is written with an alias, twice, or in another way that only its writer can \
                 change; edit the file by hand"
            ),
            Self::Busy(path) => write!(f, "{}: somebody else keeps writing it; try again", path.display()),
            Self::NoFile => f.write_str("there is no configuration file to write to; start with -c FILE"),
            Self::Io { doing, path, error } => write!(f, "{}: cannot {doing}: {error}", path.display()),
        }
    }
}

/// Sets the value at a path of keys (`None` removes the key) and gives the new text.
pub fn edit(
    name: &Rc<str>,
    text: &str,
    lookup: Lookup<'_>,
    path: &[&str],
    new: Option<&New>,
) -> Result<String, WriteError> {
    let before = expanded(name, text.to_owned(), lookup);
    let root = yaml_read::parse(&before).map_err(WriteError::Broken)?.root;
    let out = Editor { text }.apply(&root, path, new)?;
    let mut wanted = root.clone();
    let expand = |value: &str| expand_value(value, &out, lookup);
    set_node(&mut wanted, path, new.map(|new| new.node(&expand)));
    let after = expanded(name, out.clone(), lookup);
    match yaml_read::parse(&after) {
        Ok(document) if yaml::same(&document.root, &wanted) => Ok(out),
        _ => Err(by_hand(path, &root.at)),
    }
}

fn by_hand(path: &[&str], at: &Place) -> WriteError {
    WriteError::ByHand { path: path.join("."), at: at.clone() }
}

/// The same change on the tree, to compare with.
fn set_node(root: &mut Node, path: &[&str], new: Option<Node>) {
    let Some((key, rest)) = path.split_first() else { return };
    if root.is_null() {
        if new.is_none() {
            return;
        }
        root.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut root.value else { return };
    let at = entries.iter().position(|entry| entry.key == *key);
    if rest.is_empty() && new.is_none() {
        if let Some(at) = at {
            entries.remove(at);
        }
        return;
    }
    match at.and_then(|at| entries.get_mut(at)) {
        Some(entry) => match (rest.is_empty(), new) {
            (true, Some(new)) => entry.value = new,
            (_, new) => set_node(&mut entry.value, rest, new),
        },
        None if new.is_some() => {
            let mut value = Node::null();
            match (rest.is_empty(), new) {
                (true, Some(new)) => value = new,
                (_, new) => set_node(&mut value, rest, new),
            }
            entries.push(Entry { key: (*key).to_owned(), at: Place::nowhere(), start: 0, end: 0, value });
        }
        None => {}
    }
}

struct Editor<'a> {
    text: &'a str,
}

impl Editor<'_> {
    fn part(&self, from: usize, to: usize) -> &str {
        self.text.get(from..to).unwrap_or("")
    }

    fn newline(&self) -> &'static str {
        if self.text.find('\n').is_some_and(|at| self.part(0, at).ends_with('\r')) { "\r\n" } else { "\n" }
    }

    fn line_start(&self, at: usize) -> usize {
        self.part(0, at).rfind('\n').map_or(0, |found| found + 1)
    }

    /// Where the text of the line ends, before its line break.
    fn line_end(&self, at: usize) -> usize {
        let end = self.part(at, self.text.len()).find('\n').map_or(self.text.len(), |found| at + found);
        if end > at && self.part(at, end).ends_with('\r') { end - 1 } else { end }
    }

    fn next_line(&self, at: usize) -> usize {
        self.part(at, self.text.len()).find('\n').map_or(self.text.len(), |found| at + found + 1)
    }

    /// Characters in front of `at` in its line.
    fn column(&self, at: usize) -> usize {
        self.part(self.line_start(at), at).trim_start_matches('\u{feff}').chars().count()
    }

    fn splice(&self, from: usize, to: usize, new: &str) -> String {
        let mut out = String::with_capacity(self.text.len() + new.len());
        out.push_str(self.part(0, from));
        out.push_str(new);
        out.push_str(self.part(to, self.text.len()));
        out
    }

    fn apply(&self, root: &Node, path: &[&str], new: Option<&New>) -> Result<String, WriteError> {
        let mut node = root;
        let mut entry: Option<(&Entry, &Node)> = None;
        let mut depth = 0;
        while let Some(found) = path.get(depth).and_then(|key| node.entry(key)) {
            if node.borrowed {
                return Err(by_hand(path, &found.at));
            }
            entry = Some((found, node));
            node = &found.value;
            depth += 1;
        }
        let rest = path.get(depth..).unwrap_or(&[]);
        let Some(new) = new else {
            return match entry {
                Some((entry, parent)) if rest.is_empty() => self.remove(entry, parent, path),
                _ => Ok(self.text.to_owned()),
            };
        };
        let Some((key, below)) = rest.split_first() else {
            return match entry {
                Some((entry, parent)) => self.replace(entry, parent, new, path),
                None => Err(by_hand(path, &root.at)),
            };
        };
        let mut value = new.clone();
        for key in below.iter().rev() {
            value = New::Map(vec![((*key).to_owned(), value)]);
        }
        match (&node.value, entry) {
            (Value::Map(_), _) if node.borrowed => Err(by_hand(path, &node.at)),
            (Value::Map(_), _) => Ok(self.insert(node, key, &value)),
            (Value::Null, Some((entry, parent))) => {
                self.replace(entry, parent, &New::Map(vec![((*key).to_owned(), value)]), path)
            }
            (Value::Null, None) => {
                let mut out = self.text.to_owned();
                if !out.is_empty() && !out.ends_with('\n') && out != "\u{feff}" {
                    out.push_str(self.newline());
                }
                block_entry(key, &value, 0, self.newline(), &mut out);
                Ok(out)
            }
            _ => Err(WriteError::NotASection {
                key: path.get(..depth).unwrap_or(&[]).join("."),
                at: node.at.clone(),
            }),
        }
    }

    /// Another value for a key that is there.
    fn replace(&self, entry: &Entry, parent: &Node, new: &New, path: &[&str]) -> Result<String, WriteError> {
        let old = &entry.value;
        if parent.flow {
            let json = self.part(entry.start, entry.end).starts_with('"');
            let mut value = String::new();
            if old.start == old.end {
                value.push(' ');
            }
            flow(new, json, &mut value);
            return Ok(self.splice(old.start, old.end, &value));
        }
        let after_key = self.part(entry.end, self.text.len());
        let spaces = after_key.len() - after_key.trim_start_matches([' ', '\t']).len();
        if !after_key.get(spaces..).is_some_and(|rest| rest.starts_with(':')) {
            return Err(by_hand(path, &entry.at));
        }
        let colon = entry.end + spaces + 1;
        let key_line_end = self.line_end(entry.end);
        let same_line = old.start <= key_line_end;
        let newline = self.newline();
        let indent = self.column(entry.start);
        let mut value = String::new();
        if is_inline(new) {
            if !matches!(new, New::Null) {
                value.push(' ');
                flow(new, false, &mut value);
            }
            if same_line {
                return Ok(self.splice(colon, old.end, &value));
            }
            // The value began on a later line; a comment beside the key stays there.
            value.push_str(self.part(colon, key_line_end));
            return Ok(self.splice(colon, self.line_end(old.end), &value));
        }
        let tail_from = if same_line { old.end.max(colon) } else { colon };
        let tail_to = self.line_end(tail_from);
        value.push_str(self.part(tail_from, tail_to).trim_end());
        value.push_str(newline);
        let step = if same_line { indent + 2 } else { self.column(old.start).max(indent) };
        let step = match new {
            New::Map(_) => step.max(indent + 1),
            _ => step,
        };
        block_body(new, step, newline, &mut value);
        value.truncate(value.trim_end_matches(['\r', '\n']).len());
        let to = if same_line { tail_to } else { self.line_end(old.end) };
        Ok(self.splice(colon, to, &value))
    }

    /// A new key in a map that is there.
    fn insert(&self, map: &Node, key: &str, value: &New) -> String {
        let last = map.entries().last();
        if map.flow {
            let json = last.is_some_and(|e| self.part(e.start, e.end).starts_with('"'))
                || (last.is_none() && self.text.trim_start().starts_with("{\""));
            let mut new = String::new();
            flow_key(key, json, &mut new);
            new.push_str(": ");
            flow(value, json, &mut new);
            let Some(last) = last else {
                return self.splice(map.start + 1, map.end.saturating_sub(1).max(map.start + 1), &new);
            };
            let mut at = last.value.end.max(last.end);
            let rest = self.part(at, map.end);
            let comma = rest.len() - rest.trim_start().len();
            let mut lead = String::from(",");
            if rest.get(comma..).is_some_and(|rest| rest.starts_with(',')) {
                at += comma + 1;
                lead.clear();
            }
            let line = self.line_start(last.start);
            let before = self.part(line, last.start);
            if before.trim().is_empty() && line > 0 {
                lead.push_str(self.newline());
                lead.push_str(before);
            } else {
                lead.push(' ');
            }
            return self.splice(at, at, &(lead + &new));
        }
        let (indent, end) = match (map.entries().first(), last) {
            // A merged key's bytes are elsewhere: the map's own end counts.
            (Some(first), Some(last)) if !last.value.borrowed => {
                (self.column(first.start), last.value.end.max(last.end))
            }
            (Some(first), _) => (self.column(first.start), map.end),
            _ => (0, map.end),
        };
        let at = self.next_line(end);
        let mut new = String::new();
        if at == self.text.len() && !self.text.ends_with('\n') {
            new.push_str(self.newline());
            block_entry(key, value, indent, self.newline(), &mut new);
            // The file had no line break at its end and gets none.
            new.truncate(new.trim_end_matches(['\r', '\n']).len());
        } else {
            block_entry(key, value, indent, self.newline(), &mut new);
        }
        self.splice(at, at, &new)
    }

    fn remove(&self, entry: &Entry, parent: &Node, path: &[&str]) -> Result<String, WriteError> {
        let end = entry.value.end.max(entry.end);
        if parent.flow {
            let rest = self.part(end, parent.end);
            let comma = rest.len() - rest.trim_start().len();
            if rest.get(comma..).is_some_and(|rest| rest.starts_with(',')) {
                let after = self.part(end + comma + 1, parent.end);
                let space = after.len() - after.trim_start().len();
                return Ok(self.splice(entry.start, end + comma + 1 + space, ""));
            }
            // The last one: the comma before it goes with it.
            let before = self.part(parent.start, entry.start).trim_end();
            let from = match before.strip_suffix(',') {
                Some(kept) => parent.start + kept.len(),
                None => entry.start,
            };
            return Ok(self.splice(from, end, ""));
        }
        let from = self.line_start(entry.start);
        if !self.part(from, entry.start).trim_start_matches('\u{feff}').trim().is_empty() {
            return Err(by_hand(path, &entry.at));
        }
        let bom =
            if self.part(from, entry.start).starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Ok(self.splice(from + bom, self.next_line(end), ""))
    }
}

fn is_inline(new: &New) -> bool {
    match new {
        New::Null | New::Text(_) | New::Plain(_) => true,
        New::List(items) => items.is_empty(),
        New::Map(entries) => entries.is_empty(),
    }
}

fn pad(columns: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', columns));
}

/// `key: value` on lines of its own.
fn block_entry(key: &str, value: &New, indent: usize, newline: &str, out: &mut String) {
    pad(indent, out);
    flow_key(key, false, out);
    out.push(':');
    if is_inline(value) {
        if !matches!(value, New::Null) {
            out.push(' ');
            flow(value, false, out);
        }
        out.push_str(newline);
    } else {
        out.push_str(newline);
        block_body(value, indent + 2, newline, out);
    }
}

fn block_body(value: &New, indent: usize, newline: &str, out: &mut String) {
    match value {
        New::List(items) => {
            for item in items {
                pad(indent, out);
                out.push_str("- ");
                flow(item, false, out);
                out.push_str(newline);
            }
        }
        New::Map(entries) => {
            for (key, value) in entries {
                block_entry(key, value, indent, newline, out);
            }
        }
        _ => {}
    }
}

fn flow(value: &New, json: bool, out: &mut String) {
    match value {
        New::Null => out.push_str("null"),
        New::Text(text) => scalar(text, json, out),
        New::Plain(text) => match text.bytes().all(|b| b.is_ascii_alphanumeric()) && !text.is_empty() {
            true => out.push_str(text),
            false => scalar(text, json, out),
        },
        New::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                flow(item, json, out);
            }
            out.push(']');
        }
        New::Map(entries) => {
            out.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                flow_key(key, json, out);
                out.push_str(": ");
                flow(value, json, out);
            }
            out.push('}');
        }
    }
}

fn flow_key(key: &str, json: bool, out: &mut String) {
    scalar(key, json || key == "<<", out);
}

/// One value, in quotes where bare text would mean something else (or to someone else's reader).
pub fn scalar(text: &str, quote: bool, out: &mut String) {
    if !quote && bare(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                out.push_str("\\u");
                let code = c as u32;
                for shift in [12, 8, 4, 0] {
                    out.push(char::from_digit((code >> shift) & 15, 16).unwrap_or('0'));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// True if the text means itself without quotes, between brackets too.
fn bare(text: &str) -> bool {
    const WORDS: [&str; 10] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan"];
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else { return false };
    let first_good = first.is_ascii_alphanumeric() || matches!(first, b'/' | b'_') || first >= 0x80;
    first_good
        && !matches!(last, b':' | b'-' | b'?')
        && last != b' '
        && !text.chars().any(|c| {
            c.is_control() || matches!(c, '"' | '\'' | '\\' | '[' | ']' | '{' | '}' | ',' | '`' | '\u{feff}')
                || (c.is_whitespace() && c != ' ')
        })
        && !text.contains(": ")
        && !text.contains(" #")
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
        // Numbers stay text for readers that tell them apart.
        && !(first.is_ascii_digit() && text.bytes().all(|b| b.is_ascii_hexdigit() || b".xo_+-:eE".contains(&b)))
}

/// A file as it was when it was read, to notice that somebody else wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    mtime: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Stamp { inode: meta.ino(), size: meta.size(), mtime: (meta.mtime(), meta.mtime_nsec()) })
}

/// Changes keys of a file: it is read as it is now, edited and replaced. Gives the text before and
/// after. `approve` may refuse the new text (with a sentence of its own kind).
pub fn change<E: From<WriteError>>(
    path: &Path,
    lookup: Lookup<'_>,
    edits: &[(&[&str], Option<New>)],
    approve: &mut dyn FnMut(&str, &str) -> Result<(), E>,
) -> Result<(String, String), E> {
    let name: Rc<str> = Rc::from(path.to_string_lossy().as_ref());
    for _ in 0..3 {
        let seen = stamp(path);
        let before = match sources::read_text(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(E::from(io("read it", path, error))),
        };
        let mut text = before.clone();
        for (keys, new) in edits {
            text = edit(&name, &text, lookup, keys, new.as_ref())?;
        }
        approve(&before, &text)?;
        if text == before {
            return Ok((before, text));
        }
        if save(path, &text, Some(&seen))? {
            return Ok((before, text));
        }
    }
    Err(E::from(WriteError::Busy(path.to_owned())))
}

/// Replaces a file's whole text.
pub fn replace_file(path: &Path, text: &str) -> Result<(), WriteError> {
    save(path, text, None).map(|_| ())
}

fn io(doing: &'static str, path: &Path, error: std::io::Error) -> WriteError {
    WriteError::Io { doing, path: path.to_owned(), error }
}

/// Writes beside the file, syncs, renames. False if the file is no longer the one that was `seen`.
fn save(path: &Path, text: &str, seen: Option<&Option<Stamp>>) -> Result<bool, WriteError> {
    // Behind a symbolic link the file that it names is replaced, not the link.
    let real = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A link to a file that is not there yet, or no file at all.
            match std::fs::read_link(path) {
                Ok(link) => path.parent().unwrap_or(Path::new("")).join(link),
                Err(_) => path.to_owned(),
            }
        }
        Err(error) => return Err(io("find it", path, error)),
    };
    let folder = match real.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let file_name = real.file_name().ok_or(WriteError::NoFile)?.to_string_lossy();
    let beside = folder.join(format!(".{file_name}.new"));
    let _ = std::fs::remove_file(&beside);
    let written = (|| {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })();
    if let Err(error) = written {
        let _ = std::fs::remove_file(&beside);
        return Err(io("write it", &beside, error));
    }
    if seen.is_some_and(|seen| *seen != stamp(path)) {
        let _ = std::fs::remove_file(&beside);
        return Ok(false);
    }
    if let Err(error) = std::fs::rename(&beside, &real) {
        let _ = std::fs::remove_file(&beside);
        return Err(io("replace it", &real, error));
    }
    // Some file systems of cameras cannot sync a folder; the file itself is safe by now.
    if let Ok(folder) = std::fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(true)
}
