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

/// True if both say the same, or nothing.
fn alike(before: Option<&Node>, after: Option<&Node>) -> bool {
    let null = Node::null();
    same(before.unwrap_or(&null), after.unwrap_or(&null))
}

/// The path of the first line that a change adds or alters and that may run a program.
pub fn offence(old: &Node, new: &Node) -> Option<String> {
    for section in SECTIONS {
        for key in section.keys().iter().filter(|key| key.has(flag::GUARDED)) {
            let before = old.get(section.name).and_then(|node| node.get(key.name));
            let after = new.get(section.name).and_then(|node| node.get(key.name));
            if !alike(before, after) {
                return Some(format!("{}.{}", section.name, key.name));
            }
        }
    }
    // The predecessor's templates are command lines.
    if !alike(old.get("ffmpeg"), new.get("ffmpeg")) {
        return Some("ffmpeg".to_owned());
    }
    let (mut known, mut found) = (Vec::new(), Vec::new());
    walk(old, &mut Vec::new(), &mut known);
    walk(new, &mut Vec::new(), &mut found);
    found.iter().find(|line| !known.contains(line)).map(|(path, _)| path.join("."))
}

/// A text and the keys above it; lists do not count as a level, so that a line may move.
type Line<'a> = (Vec<&'a str>, &'a str);

/// Finds every text that may run something. Only these are compared; a file of long keys and many values
/// stays cheap.
fn walk<'a>(node: &'a Node, path: &mut Vec<&'a str>, found: &mut Vec<Line<'a>>) {
    match &node.value {
        Value::Null => {}
        Value::Scalar { text, .. } if runs_program(text) => found.push((path.clone(), text)),
        Value::Scalar { .. } => {}
        Value::Seq(items) => items.iter().for_each(|item| walk(item, path, found)),
        Value::Map(entries) => {
            for entry in entries {
                path.push(&entry.key);
                if runs_program(&entry.key) {
                    found.push((path.clone(), &entry.key));
                }
                walk(&entry.value, path, found);
                path.pop();
            }
        }
    }
}
