//! The whole file by the API: read out with secrets as `***`, taken back with every `***` meaning
//! "unchanged", checked before it may replace anything.
//!
//! Texts go in and out; files are written by the caller. A secret never moves to another key, and a
//! password never to another host.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::rc::Rc;

use super::expand::expand;
use super::keys::{Shape, flag};
use super::sources::{Loaded, World, load_instead};
use super::text::Lookup;
use super::write::scalar;
use super::yaml::{self, Node, Value, YamlError};
use super::yaml_read;
use super::{Problem, Severity, guard, sections};
use crate::net::mask::{MASK, is_secret_name, mask_url};

/// Sections that are nothing but tokens.
const TOKEN_STORES: [&str; 6] = ["ring", "roborock", "tuya", "wyze", "xiaomi", "ngrok"];

/// Most keys that are named where secrets are missing.
const MAX_MISSING: usize = 16;

/// Why a new text was not taken.
#[derive(Debug)]
pub enum Rejected {
    /// It is no YAML.
    Broken(YamlError),
    /// These keys hold `***` and there is nothing that it could stand for.
    Masked(Vec<String>),
    /// It holds errors.
    Problems(Vec<Problem>),
    /// It has sources that cannot be dialled here.
    Sources(String),
    /// It adds or changes something that runs programs.
    Guarded(String),
    /// It could not be written.
    Write(super::write::WriteError),
}

impl From<super::write::WriteError> for Rejected {
    fn from(error: super::write::WriteError) -> Self {
        Self::Write(error)
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(error) => std::fmt::Display::fmt(error, f),
            Self::Write(error) => std::fmt::Display::fmt(error, f),
            Self::Masked(paths) => write!(
                f,
                "{}: *** stands where a secret is expected and no known one fits; write the secret itself",
                paths.join(", ")
            ),
            Self::Sources(sentences) => f.write_str(sentences),
            Self::Problems(problems) => {
                for (i, problem) in problems.iter().enumerate() {
                    if i > 0 {
                        f.write_str("\n")?;
                    }
                    std::fmt::Display::fmt(problem, f)?;
                }
                Ok(())
            }
            Self::Guarded(path) => write!(
                f,
                "{path}: lets programs run and may not be added or changed by the API; edit the file, or set \
                 api.allow_exec: true in it"
            ),
        }
    }
}

/// One step down a tree. Borrowed: every value has its path, and keys may be long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step<'a> {
    Key(&'a str),
    /// A list's item by its place.
    Item(usize),
    /// A list's item by its `name:`, wherever it moves, if no other has that name.
    Row(&'a str),
}

/// One text value of a tree with the keys above it.
struct Leaf<'a> {
    path: Vec<Step<'a>>,
    node: &'a Node,
}

impl Leaf<'_> {
    /// The path for a message.
    fn shown(&self) -> String {
        let mut out = String::new();
        for step in &self.path {
            if !out.is_empty() {
                out.push('.');
            }
            match step {
                Step::Key(key) => out.push_str(key),
                Step::Item(at) => out.push_str(&at.to_string()),
                Step::Row(name) => out.push_str(name.get(..64).unwrap_or(name)),
            }
        }
        out
    }
}

fn leaves<'a>(node: &'a Node, path: &mut Vec<Step<'a>>, out: &mut Vec<Leaf<'a>>) {
    if node.borrowed {
        return;
    }
    match &node.value {
        Value::Null => {}
        Value::Scalar { .. } => out.push(Leaf { path: path.clone(), node }),
        Value::Seq(items) => {
            let name = |item: &'a Node| item.get("name").and_then(Node::text);
            for (i, item) in items.iter().enumerate() {
                let own = name(item).filter(|own| items.iter().filter(|n| name(n) == Some(own)).count() == 1);
                path.push(own.map_or(Step::Item(i), Step::Row));
                leaves(item, path, out);
                path.pop();
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                path.push(Step::Key(&entry.key));
                leaves(&entry.value, path, out);
                path.pop();
            }
        }
    }
}

fn all_leaves(root: &Node) -> Vec<Leaf<'_>> {
    let mut out = Vec::new();
    // in the order of the text: what came from elsewhere in it is borrowed, and left out
    leaves(root, &mut Vec::new(), &mut out);
    out
}

/// True if a key holds nothing but a secret.
fn is_secret(path: &[Step<'_>]) -> bool {
    let Some(Step::Key(section)) = path.first() else { return false };
    let last = if let Some(Step::Key(key)) = path.last() { key } else { "" };
    if TOKEN_STORES.contains(section) {
        return true;
    }
    match sections::find(section).map(|found| &found.shape) {
        Some(Shape::Sources(_) | Shape::Targets) => false,
        Some(Shape::Texts(key)) => key.has(flag::SECRET),
        Some(Shape::Table(keys, _) | Shape::Rows(keys) | Shape::Named(keys)) => {
            let known = keys.iter().find(|key| key.name == last);
            known.map_or_else(|| is_secret_name(last), |key| key.has(flag::SECRET))
        }
        _ => {
            // Inside lists the key is the nearest that is no index.
            let key =
                path.iter().rev().find_map(|step| if let Step::Key(key) = step { Some(key) } else { None });
            key.is_some_and(|key| is_secret_name(key))
        }
    }
}

/// The bytes of a value without an anchor or tag in front of it.
fn body<'a>(text: &'a str, node: &Node) -> (usize, &'a str) {
    let whole = text.get(node.start..node.end).unwrap_or("");
    let raw = yaml::without_properties(whole);
    (node.start + whole.len() - raw.len(), raw)
}

/// True for `${NAME}` and nothing else: it tells no secret.
fn is_reference(raw: &str) -> bool {
    let inner = raw.trim_matches(['"', '\'']).strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|name| !name.contains(['{', '}', ':', '$']))
}

/// What a value looks like read out, if that differs.
fn masked(path: &[Step<'_>], raw: &str, node: &Node) -> Option<String> {
    let text = node.text()?;
    if is_secret(path) {
        return (!text.is_empty() && text != MASK && !is_reference(raw)).then(|| format!("\"{MASK}\""));
    }
    if let std::borrow::Cow::Owned(masked) = mask_url(raw) {
        return Some(masked);
    }
    if raw.contains("${") {
        return None;
    }
    match mask_url(text) {
        std::borrow::Cow::Owned(masked) => {
            let mut out = String::new();
            scalar(&masked, true, &mut out);
            Some(out)
        }
        std::borrow::Cow::Borrowed(_) => None,
    }
}

/// A file's text as it may be shown. A file that is no YAML is masked by its lines.
pub fn mask(text: &str, lookup: Lookup<'_>) -> String {
    let expanded = expand(&Rc::from(""), text.to_owned(), lookup);
    let Ok(document) = yaml_read::parse(&expanded) else { return mask_lines(text) };
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for leaf in all_leaves(&document.root) {
        let (start, raw) = body(text, leaf.node);
        if start < done {
            continue;
        }
        out.push_str(&mask_lines(text.get(done..start).unwrap_or("")));
        match masked(&leaf.path, raw, leaf.node) {
            Some(new) => out.push_str(&new),
            None => out.push_str(raw),
        }
        done = start + raw.len();
    }
    out.push_str(&mask_lines(text.get(done..).unwrap_or("")));
    out
}

/// Comments, and files that cannot be read: URLs, and what follows a key that speaks of a secret.
fn mask_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut done = 0;
        let masked = mask_url(line);
        let line = masked.as_ref();
        for (colon, _) in line.match_indices(':') {
            if colon < done {
                continue;
            }
            let before = line.get(done..colon).unwrap_or("").trim_end_matches(['"', '\'', ' ']);
            let word = before
                // in ASCII: the tables of all alphabets are 3 KB, and a shorter word hides more, not less
                .rsplit(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
                .next()
                .unwrap_or("");
            let rest = line.get(colon + 1..).unwrap_or("");
            let value = rest.trim_start();
            if !is_secret_name(word) || value.is_empty() || rest.starts_with("//") {
                continue;
            }
            let start = line.len() - value.len();
            let len = match value.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    value.get(1..).and_then(|v| v.find(quote)).map_or(value.trim_end().len(), |at| at + 2)
                }
                _ => value.find([',', '}']).unwrap_or(value.len()).min(value.trim_end().len()),
            };
            out.push_str(line.get(done..start).unwrap_or(""));
            out.push_str("\"***\"");
            done = start + len;
        }
        out.push_str(line.get(done..).unwrap_or(""));
    }
    out
}

/// Puts the secrets of the `old` text back where the `posted` one holds `***`. Where what is shown of the old
/// text would not become the old text again, stars are refused: something would be lost with them.
pub fn unmask(posted: &str, old: &str, lookup: Lookup<'_>) -> Result<String, Rejected> {
    if !posted.contains(MASK) {
        return Ok(posted.to_owned());
    }
    let tree = |text: &str| {
        yaml_read::parse(&expand(&Rc::from("configuration"), text.to_owned(), lookup)).map(|d| d.root)
    };
    let (new_root, shown) = (tree(posted).map_err(Rejected::Broken)?, mask(old, lookup));
    let (mut missing, mut ignored) = (Vec::new(), Vec::new());
    let old_root = tree(old);
    let back = tree(&shown).and_then(|root| match &old_root {
        Ok(old_root) => tree(&restored(&shown, &root, old, old_root, &mut ignored)),
        Err(_) => Ok(Node::null()),
    });
    let (back, lost) = (back.unwrap_or_else(|_| Node::null()), old_root.is_err() && shown != old);
    let old_root = old_root.unwrap_or_else(|_| Node::null());
    let out = restored(posted, &new_root, old, &old_root, &mut missing);
    if missing.is_empty() && (lost || !yaml::same(&old_root, &back)) {
        let wrong = |key: &str, value| !back.get(key).is_some_and(|back| yaml::same(back, value));
        let mut all = true;
        for entry in old_root.entries().iter().filter(|entry| wrong(&entry.key, &entry.value)) {
            all = false;
            if new_root.get(&entry.key).map_or(back.get(&entry.key).is_none(), is_starred) {
                missing.push(entry.key.clone());
            }
        }
        if all {
            missing.push("configuration".to_owned());
        }
    }
    if missing.is_empty() { Ok(out) } else { Err(Rejected::Masked(missing)) }
}

/// Whether there are stars anywhere in it.
fn is_starred(node: &Node) -> bool {
    node.text().is_some_and(|text| text.contains(MASK))
        || node.items().iter().any(is_starred)
        || node.entries().iter().any(|entry| entry.key.contains(MASK) || is_starred(&entry.value))
}

/// What stands between the values.
fn gaps<'a>(text: &'a str, leaves: &[Leaf<'_>]) -> Vec<&'a str> {
    let (mut out, mut done) = (Vec::new(), 0);
    for leaf in leaves {
        let (start, raw) = body(text, leaf.node);
        if start >= done {
            out.push(text.get(done..start).unwrap_or(""));
            done = start + raw.len();
        }
    }
    out.push(text.get(done..).unwrap_or(""));
    out
}

/// The `posted` text with the secrets of the `old` one; what has stars and nothing that they could stand for
/// is named in `missing`.
fn restored(posted: &str, new_root: &Node, old: &str, old_root: &Node, missing: &mut Vec<String>) -> String {
    let known = all_leaves(old_root);
    let mut comments = Vec::new();
    for gap in gaps(old, &known) {
        for line in gap.lines() {
            if line.contains('#') {
                comments.push((mask_lines(line), line));
            }
        }
    }
    let mut out = String::with_capacity(posted.len());
    let mut done = 0;
    for leaf in all_leaves(new_root) {
        let (start, raw) = body(posted, leaf.node);
        if start < done {
            continue;
        }
        restore_comments(posted.get(done..start).unwrap_or(""), &comments, &mut out, missing);
        done = start + raw.len();
        let text = leaf.node.text().unwrap_or("");
        if !text.contains(MASK) {
            out.push_str(raw);
            continue;
        }
        match restore(&leaf, raw, text, old, &known) {
            Some(value) => out.push_str(&value),
            // Where no secret can be, three stars are three stars.
            None if !is_secret(&leaf.path)
                && mask_url(&text.replace(MASK, "x")) == text.replace(MASK, "x") =>
            {
                out.push_str(raw);
            }
            None => {
                out.push_str(raw);
                if missing.len() < MAX_MISSING {
                    missing.push(leaf.shown());
                }
            }
        }
    }
    restore_comments(posted.get(done..).unwrap_or(""), &comments, &mut out, missing);
    out
}

fn restore_comments(gap: &str, comments: &[(String, &str)], out: &mut String, missing: &mut Vec<String>) {
    for line in gap.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\n', '\r']);
        match comments.iter().find(|(masked, _)| bare.contains(MASK) && masked == bare) {
            Some((_, original)) => {
                out.push_str(original);
                out.push_str(line.get(bare.len()..).unwrap_or(""));
            }
            None => {
                out.push_str(line);
                let filled = bare.replace(MASK, "x");
                if filled != bare && mask_lines(&filled) != filled && missing.len() < MAX_MISSING {
                    missing.push(bare.trim().to_owned());
                }
            }
        }
    }
}

/// The written form of the value that a `***` stands for.
fn restore(leaf: &Leaf<'_>, raw: &str, text: &str, old: &str, known: &[Leaf<'_>]) -> Option<String> {
    let at_path = known.iter().find(|other| other.path == leaf.path);
    // The same list or stream: sources may have moved among themselves.
    fn place<'a, 'b>(path: &'b [Step<'a>]) -> &'b [Step<'a>] {
        path.get(..2).unwrap_or(path)
    }
    let near = known.iter().filter(|other| {
        !is_secret(&leaf.path) && place(&other.path) == place(&leaf.path) && other.path != leaf.path
    });
    for other in at_path.into_iter().chain(near) {
        let (_, old_raw) = body(old, other.node);
        let same = if is_secret(&leaf.path) {
            text == MASK
        } else {
            masked(&other.path, old_raw, other.node).is_some_and(|m| m == raw)
                || mask_url(other.node.text()?) == text
                || mask_url(old_raw.trim_matches(['"', '\''])) == text
        };
        if same {
            return Some(written(old_raw, other.node));
        }
    }
    let (_, old_raw) = body(old, at_path?.node);
    let merged = same_host(text, old_raw.trim_matches(['"', '\'']))?;
    let mut out = String::new();
    scalar(&merged, false, &mut out);
    Some(out)
}

/// An old value as it may stand anywhere in a new text.
fn written(raw: &str, node: &Node) -> String {
    if raw.contains("${") {
        return raw.to_owned();
    }
    let mut out = String::new();
    scalar(node.text().unwrap_or(""), raw.starts_with('"'), &mut out);
    out
}

/// `scheme://***@host…` with the user-info of the old address, if that is of the same host.
pub fn same_host(posted: &str, old: &str) -> Option<String> {
    let (scheme, rest) = posted.split_once("://***@")?;
    let (old_scheme, _) = old.split_once("://")?;
    let masked = mask_url(old);
    let (_, old_rest) = masked.split_once("://***@")?;
    let host =
        |text: &str| text.find(['/', '?', '#']).and_then(|end| text.get(..end)).unwrap_or(text).to_owned();
    if host(rest) != host(old_rest) || rest.contains(MASK) {
        return None;
    }
    let info_at = old_scheme.len() + 3;
    let info = old.get(info_at..old.len().checked_sub(old_rest.len() + 1)?)?;
    Some(format!("{scheme}://{info}@{rest}"))
}

/// Checks a changed text of the written-back file before it is written. `whole` rejects every error;
/// without it only errors that were not there before count (one key is changed, the rest is not the
/// caller's). Gives what the configuration would be.
pub fn approve(
    arguments: &[String],
    world: &World<'_>,
    before: &str,
    after: &str,
    whole: bool,
) -> Result<Loaded, Rejected> {
    let old = load_instead(arguments, world, Some(before));
    let new = load_instead(arguments, world, Some(after));
    let mut errors = Vec::new();
    for problem in &new.problems {
        let known = || old.problems.iter().any(|known| known.sentence == problem.sentence);
        if problem.severity == Severity::Error && (whole || !known()) {
            errors.push(problem.clone());
        }
    }
    if !errors.is_empty() {
        return Err(Rejected::Problems(errors));
    }
    if !old.config.api.allow_exec
        && let Some(path) = guard::offence(&old.config.tree, &new.config.tree)
    {
        return Err(Rejected::Guarded(path));
    }
    Ok(new)
}
