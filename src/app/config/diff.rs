//! What a reload changes, so that only that restarts.
//!
//! Two configurations go in; names of keys and streams come out. It restarts nothing.

use super::keys::{Key, Section, Shape, Val, flag};
use super::sections::SECTIONS;
use super::yaml::{Node, same};
use super::{Config, Stream, values};

/// The difference between two configurations.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Sections (without streams, preload and publish) with the keys that changed.
    pub keys: Vec<(&'static str, &'static str, u8)>,
    /// Streams that are new.
    pub added: Vec<String>,
    /// Streams whose sources or options changed.
    pub changed: Vec<String>,
    /// Streams that are gone.
    pub removed: Vec<String>,
    /// Names whose preload is new, gone or changed.
    pub preload: Vec<String>,
    /// Names whose publishing is new, gone or changed.
    pub publish: Vec<String>,
}

impl Changes {
    /// True if nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True if a section changed at all.
    pub fn touches(&self, section: &str) -> bool {
        self.keys.iter().any(|(name, ..)| *name == section)
    }

    /// True if a section's module must restart: a key changed that does not apply by itself.
    pub fn restarts(&self, section: &str) -> bool {
        let quiet = flag::LIVE | flag::PROCESS | flag::LACKING;
        self.keys.iter().any(|(name, _, flags)| *name == section && flags & quiet == 0)
    }

    /// Keys that apply only when streamd is started again.
    pub fn need_process(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.keys
            .iter()
            .filter(|(.., flags)| flags & flag::PROCESS != 0)
            .map(|(section, key, _)| (*section, *key))
    }
}

/// Compares what two configurations mean, not how they are written.
pub fn diff(old: &Config, new: &Config) -> Changes {
    let mut out = Changes::default();
    for section in SECTIONS {
        let null = Node::null();
        let before = old.tree.get(section.name).unwrap_or(&null);
        let after = new.tree.get(section.name).unwrap_or(&null);
        match &section.shape {
            Shape::Table(keys, extra) => {
                for key in *keys {
                    if value(key, before.get(key.name)) != value(key, after.get(key.name)) {
                        out.keys.push((section.name, key.name, key.flags));
                    }
                }
                let extra_changed = |names: &[&str]| {
                    names.iter().any(|name| {
                        let (a, b) = (before.get(name).unwrap_or(&null), after.get(name).unwrap_or(&null));
                        !same(a, b)
                    })
                };
                if let Some(extra) = extra.filter(|extra| extra_changed(extra.names)) {
                    out.keys.push((section.name, extra.key.name, extra.key.flags));
                }
            }
            Shape::Sources(_) | Shape::Targets => {}
            Shape::Texts(_) if section.name == "preload" => {}
            Shape::Rows(_) | Shape::Single(_) | Shape::Texts(_) | Shape::Named(_) => {
                if !same(before, after) {
                    out.keys.push((section.name, "", flags(section)));
                }
            }
        }
    }
    for stream in &new.streams {
        match old.stream(&stream.name) {
            None => out.added.push(stream.name.clone()),
            Some(before) if !same_stream(before, stream) => out.changed.push(stream.name.clone()),
            Some(_) => {}
        }
    }
    for stream in &old.streams {
        if new.stream(&stream.name).is_none() {
            out.removed.push(stream.name.clone());
        }
    }
    out.preload = names_of_changed(&old.preload, &new.preload);
    out.publish = names_of_changed(&old.publish, &new.publish);
    out
}

fn flags(section: &Section) -> u8 {
    section.keys().first().map_or(0, |key| key.flags)
}

fn value(key: &Key, node: Option<&Node>) -> Val {
    match node {
        Some(node) if !node.is_null() => {
            values::parse(key.kind, node).unwrap_or_else(|_| values::default(key))
        }
        _ => values::default(key),
    }
}

fn same_stream(a: &Stream, b: &Stream) -> bool {
    a.aliases == b.aliases && a.sources.iter().map(|s| &s.url).eq(b.sources.iter().map(|s| &s.url))
}

fn names_of_changed<T: PartialEq>(old: &[(String, T)], new: &[(String, T)]) -> Vec<String> {
    let mut out = Vec::new();
    for pair in new {
        if !old.contains(pair) {
            out.push(pair.0.clone());
        }
    }
    for (name, _) in old {
        if !new.iter().any(|(known, _)| known == name) {
            out.push(name.clone());
        }
    }
    out
}
