//! A file's text with its own `env:` section applied: the one place that reads YAML before the text
//! is ready to be read.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::text::{Lookup, Text};
use super::yaml_read;
use std::rc::Rc;

/// A file's text with its `${NAME}` replaced.
pub fn expand(name: &Rc<str>, original: String, lookup: Lookup<'_>) -> Text {
    if !original.contains("${") {
        return Text::plain(name, original);
    }
    let env = env_section(&original);
    Text::replaced(name, original, &env, lookup)
}

/// Expands one value as the file's text would be, for comparing what was written with what was meant.
pub fn expand_value(value: &str, file: &str, lookup: Lookup<'_>) -> String {
    let env = env_section(file);
    Text::replaced(&Rc::from(""), value.to_owned(), &env, lookup).expanded().to_owned()
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
    let Ok(document) = yaml_read::parse(&Text::plain(&name, fragment)) else { return Vec::new() };
    let Some(section) = document.root.get("env") else { return Vec::new() };
    section
        .entries()
        .iter()
        .filter_map(|entry| Some((entry.key.clone(), entry.value.text()?.to_owned())))
        .collect()
}
