//! The text of one configuration source before it is YAML: `${NAME}` is replaced here, and places in
//! the replaced text are led back to what the person wrote.
//!
//! Text and a way to look names up go in; the expanded text, its map back to the original and the
//! values that were put in (secrets, all of them) come out. It never reads YAML beyond the `env:`
//! section of the same file.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::rc::Rc;

use super::yaml;

/// Looks up a name outside the file: credentials directory, then process environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where something was written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// File path or the name of an inline source; empty where there is no text (a default).
    pub file: Rc<str>,
    /// Line, from 1; 0 means the file as a whole.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// The file as a whole.
    pub fn of_file(file: &Rc<str>) -> Self {
        Self { file: Rc::clone(file), line: 0, column: 0 }
    }

    /// No place at all: a built-in default.
    pub fn nowhere() -> Self {
        Self { file: Rc::from(""), line: 0, column: 0 }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 { write!(f, ":{}:{}", self.line, self.column) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// One replacement: where it stands in the expanded text and what it stood for in the original.
struct Hole {
    expanded: (usize, usize),
    original: (usize, usize),
}

/// The text of one source, as written and as expanded.
pub struct Text {
    /// Path or name for messages.
    pub name: Rc<str>,
    /// What the person wrote.
    pub original: String,
    expanded: String,
    holes: Vec<Hole>,
    lines: Vec<u32>,
    /// Every value that was put in from outside the text.
    pub secrets: Vec<String>,
}

impl Text {
    /// A text in which nothing is replaced (inline sources, bodies of the API before they are a file).
    pub fn plain(name: &Rc<str>, original: String) -> Self {
        let lines = line_starts(&original);
        let expanded = original.clone();
        Self { name: Rc::clone(name), original, expanded, holes: Vec::new(), lines, secrets: Vec::new() }
    }

    /// A file's text with its `${NAME}` replaced.
    pub fn expand(name: &Rc<str>, original: String, lookup: Lookup<'_>) -> Self {
        if !original.contains("${") {
            return Self::plain(name, original);
        }
        let env = env_section(&original);
        let mut text = Self {
            name: Rc::clone(name),
            lines: line_starts(&original),
            original: String::new(),
            expanded: String::with_capacity(original.len()),
            holes: Vec::new(),
            secrets: Vec::new(),
        };
        let mut done = 0;
        while let Some(hole) = next_reference(&original, done) {
            text.expanded.push_str(original.get(done..hole.start).unwrap_or(""));
            let from = text.expanded.len();
            match resolve(hole.name, &env, lookup) {
                Some(value) => {
                    text.expanded.push_str(&value);
                    text.secrets.push(value);
                }
                None => {
                    text.expanded.push_str(hole.default.or(original.get(hole.start..hole.end)).unwrap_or(""))
                }
            }
            text.holes.push(Hole { expanded: (from, text.expanded.len()), original: (hole.start, hole.end) });
            done = hole.end;
            // A reference to a long value, repeated: the parser's bound says no, this only stops early.
            if text.expanded.len() > 2 * yaml::MAX_BYTES {
                break;
            }
        }
        text.expanded.push_str(original.get(done..).unwrap_or(""));
        text.original = original;
        text
    }

    /// What the parser reads.
    pub fn expanded(&self) -> &str {
        &self.expanded
    }

    /// Leads an offset of the expanded text back to the original. Inside a replaced value it is the
    /// reference's start, or its end when `end` is asked for.
    pub fn origin(&self, offset: usize, end: bool) -> usize {
        let next = self.holes.partition_point(|hole| hole.expanded.1 <= offset);
        if let Some(hole) = self.holes.get(next)
            && hole.expanded.0 < offset
        {
            return if end { hole.original.1 } else { hole.original.0 };
        }
        if let Some(hole) = self.holes.get(next)
            && hole.expanded.0 == offset
        {
            return hole.original.0;
        }
        match next.checked_sub(1).and_then(|i| self.holes.get(i)) {
            Some(hole) => hole.original.1 + offset.saturating_sub(hole.expanded.1),
            None => offset,
        }
        .min(self.original.len())
    }

    /// Line and column of an offset of the original.
    pub fn place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start as usize <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0) as usize;
        let column = self.original.get(start..offset).map_or(0, |text| text.chars().count()) + 1;
        Place { file: Rc::clone(&self.name), line: line as u32, column: column as u32 }
    }
}

fn line_starts(text: &str) -> Vec<u32> {
    let mut starts = vec![0];
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((i, byte)) = bytes.next() {
        let lone_cr = byte == b'\r' && bytes.peek().is_none_or(|(_, next)| *next != b'\n');
        if byte == b'\n' || lone_cr {
            starts.push(i as u32 + 1);
        }
    }
    starts
}

struct Reference<'a> {
    start: usize,
    end: usize,
    name: &'a str,
    default: Option<&'a str>,
}

/// The next `${NAME}` or `${NAME:default}` at or after `from`; one never spans lines or holds braces.
fn next_reference(text: &str, mut from: usize) -> Option<Reference<'_>> {
    loop {
        let start = from + text.get(from..)?.find("${")?;
        let inner_at = start + 2;
        let inner = text.get(inner_at..)?;
        let len = inner.find(['{', '}', '\n'])?;
        let inner = inner.get(..len)?;
        let (name, default) = match inner.split_once(':') {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if text.as_bytes().get(inner_at + len) == Some(&b'}') && !name.is_empty() {
            return Some(Reference { start, end: inner_at + len + 1, name, default });
        }
        from = inner_at;
    }
}

fn resolve(name: &str, env: &[(String, String)], lookup: Lookup<'_>) -> Option<String> {
    env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).or_else(|| lookup(name))
}

/// Expands one value as the file's text would be, for comparing what was written with what was meant.
pub fn expand_value(value: &str, file: &str, lookup: Lookup<'_>) -> String {
    let env = env_section(file);
    let mut out = String::new();
    let mut done = 0;
    while let Some(hole) = next_reference(value, done) {
        out.push_str(value.get(done..hole.start).unwrap_or(""));
        match resolve(hole.name, &env, lookup) {
            Some(found) => out.push_str(&found),
            None => out.push_str(hole.default.or(value.get(hole.start..hole.end)).unwrap_or("")),
        }
        done = hole.end;
        // No file that the parser takes holds as much.
        if out.len() > 2 * yaml::MAX_BYTES {
            break;
        }
    }
    out.push_str(value.get(done..).unwrap_or(""));
    out
}

/// The file's own `env:` section, read before anything is replaced: only its lines are parsed, for
/// the rest may be no YAML until it is expanded.
fn env_section(text: &str) -> Vec<(String, String)> {
    let name: Rc<str> = Rc::from("env");
    let trimmed = text.trim_start_matches('\u{feff}').trim_start();
    let fragment = if trimmed.starts_with('{') {
        text.to_owned()
    } else {
        let mut inside = false;
        let mut found = String::new();
        for line in text.trim_start_matches('\u{feff}').split_inclusive('\n') {
            let top = line.bytes().next().is_some_and(|b| !b" \t\r\n#".contains(&b));
            if top {
                inside = ["env:", "\"env\":", "'env':"].iter().any(|key| line.starts_with(key));
            }
            if inside {
                found.push_str(line);
            }
        }
        found
    };
    if fragment.is_empty() {
        return Vec::new();
    }
    let Ok(document) = yaml::parse(&Text::plain(&name, fragment)) else { return Vec::new() };
    let Some(section) = document.root.get("env") else { return Vec::new() };
    section
        .entries()
        .iter()
        .filter_map(|entry| Some((entry.key.clone(), entry.value.text()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Text {
        Text::expand(&Rc::from("t.yaml"), text.to_owned(), &|name| match name {
            "USER" => Some("admin".to_owned()),
            "HOST" => Some("from-process".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn names_are_looked_up_in_the_files_env_first_and_unknown_text_stays() {
        let text = expand("env:\n  HOST: cam1\nstreams:\n  a: rtsp://${USER}@${HOST}:${PORT:554}/${NOPE}\n");
        assert!(text.expanded().contains("a: rtsp://admin@cam1:554/${NOPE}\n"), "{}", text.expanded());
        assert_eq!(text.secrets, ["admin", "cam1"], "a default stands in the file, it is no secret");
    }

    #[test]
    fn a_half_reference_is_just_text() {
        for same in ["a: ${", "a: ${}", "a: ${X", "a: ${X\n}", "a: ${{X}", "a: $X"] {
            assert_eq!(expand(same).expanded(), same);
        }
        assert_eq!(expand("a: ${b${USER}").expanded(), "a: ${badmin");
    }

    #[test]
    fn places_point_at_what_was_written() {
        let text = expand("a: ${USER} tail\nb: x");
        let expanded = text.expanded().to_owned();
        let tail = expanded.find("tail").unwrap();
        assert_eq!(&text.original[text.origin(tail, false)..][..4], "tail");
        let inside = expanded.find("dmin").unwrap();
        assert_eq!(text.origin(inside, false), 3);
        assert_eq!(text.origin(inside, true), 10);
        assert_eq!(text.origin(expanded.find("admin").unwrap(), false), 3);
        let b = text.place(text.origin(expanded.find("b:").unwrap(), false));
        assert_eq!((b.line, b.column), (2, 1));
    }
}
