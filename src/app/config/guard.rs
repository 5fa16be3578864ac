//! What the API may not write: sources that run programs, and the keys that say which may.
//!
//! Two trees go in, before and after a change, with `${NAME}` already replaced; the first offending
//! path comes out. It errs on the side of refusing: such a line can still be written by hand.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::keys::flag;
use super::sections::SECTIONS;
use super::yaml::{Node, Value, same};

/// Schemes that run something or open any file.
const SCHEMES: [&str; 4] = ["exec", "echo", "expr", "file"];

/// True if a source may run a program: one of the schemes stands at its start, behind another scheme
/// (`ffmpeg:exec:…`), or in one of its parameters, or its start is not known yet (`${NAME}`).
pub fn runs_program(source: &str) -> bool {
    let source = source.trim_start_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}');
    if source.starts_with("${") {
        return true;
    }
    let bytes = source.as_bytes();
    let scheme_byte = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_');
    bytes.iter().enumerate().filter(|(_, b)| **b == b':').any(|(colon, _)| {
        let before = bytes.get(..colon).unwrap_or(&[]);
        let start = before.iter().rposition(|b| !scheme_byte(b)).map_or(0, |at| at + 1);
        let word = before.get(start..).unwrap_or(&[]);
        SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
    })
}

/// The path of the first line that a change adds or alters and that may run a program.
pub fn offence(old: &Node, new: &Node) -> Option<String> {
    for section in SECTIONS {
        for key in section.keys().iter().filter(|key| key.has(flag::GUARDED)) {
            let find = |root: &Node| root.get(section.name).and_then(|node| node.get(key.name)).cloned();
            let (before, after) = (find(old).unwrap_or(Node::null()), find(new).unwrap_or(Node::null()));
            if !same(&before, &after) {
                return Some(format!("{}.{}", section.name, key.name));
            }
        }
    }
    // The predecessor's templates are command lines.
    let templates = |root: &Node| root.get("ffmpeg").cloned().unwrap_or(Node::null());
    if !same(&templates(old), &templates(new)) {
        return Some("ffmpeg".to_owned());
    }
    let mut known = Vec::new();
    walk(old, &mut Vec::new(), &mut |path, text| {
        // Only what may run something is compared; a file of long keys and many values stays cheap.
        if runs_program(text) {
            known.push((path.to_vec(), text));
        }
        None::<()>
    });
    walk(new, &mut Vec::new(), &mut |path, text| {
        let offends = runs_program(text) && !known.iter().any(|(p, t)| p == path && *t == text);
        offends.then(|| path.join("."))
    })
}

/// Visits every text with the keys above it; lists do not count as a level, so that a line may move.
fn walk<'a, T>(
    node: &'a Node,
    path: &mut Vec<&'a str>,
    visit: &mut dyn FnMut(&[&'a str], &'a str) -> Option<T>,
) -> Option<T> {
    match &node.value {
        Value::Null => None,
        Value::Scalar { text, .. } => visit(path, text),
        Value::Seq(items) => items.iter().find_map(|item| walk(item, path, visit)),
        Value::Map(entries) => entries.iter().find_map(|entry| {
            path.push(&entry.key);
            let found = visit(path, &entry.key).or_else(|| walk(&entry.value, path, visit));
            path.pop();
            found
        }),
    }
}
