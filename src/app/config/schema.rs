//! The JSON schema (draft-07) of the configuration, for editors and for the form of the web interface.
//! Written from the tables; reads nothing.

use super::keys::{Key, Kind, Section, Shape, flag};
use super::sections::{FOREIGN, SECTIONS};

/// A pattern for text that is replaced before it is read.
const REFERENCE: &str = r#"{"type":"string","pattern":"^\\$\\{"}"#;
const TEXTS: &str = r#"{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"string"}}]"#;

/// The schema as JSON text.
pub fn schema() -> String {
    let mut out = String::from(
        "{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"title\":\"streamd\",\
         \"type\":\"object\",\"additionalProperties\":false,\"patternProperties\":{\"^(x-|\\\\.)\":{}},\
         \"properties\":{",
    );
    for (i, section) in SECTIONS.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push('\n');
        string(section.name, &mut out);
        out.push(':');
        write_section(section, &mut out);
    }
    for name in FOREIGN {
        out.push_str(",\n");
        string(name, &mut out);
        out.push_str(":{\"description\":\"Not served by this version.\"}");
    }
    out.push_str("\n}}\n");
    out
}

fn write_section(section: &Section, out: &mut String) {
    match &section.shape {
        Shape::Table(keys, extra) => {
            out.push_str("{\"type\":[\"object\",\"null\"],");
            describe(section.help, out);
            out.push_str(",\"additionalProperties\":false,\"properties\":{");
            table(keys, out);
            if let Some(extra) = extra {
                for name in extra.names {
                    out.push_str(",\n ");
                    string(name, out);
                    out.push(':');
                    value(&extra.key, false, out);
                }
            }
            out.push_str("}}");
        }
        Shape::Rows(keys) => {
            out.push_str("{\"type\":[\"array\",\"null\"],");
            describe(section.help, out);
            out.push_str(
                ",\"items\":{\"type\":\"object\",\"additionalProperties\":false,\
                 \"required\":[\"name\",\"password\"],\"properties\":{",
            );
            table(keys, out);
            out.push_str("}}}");
        }
        Shape::Single(key) => value(key, true, out),
        Shape::Texts(key) => {
            out.push_str("{\"type\":[\"object\",\"null\"],");
            describe(section.help, out);
            out.push_str(",\"additionalProperties\":{\"type\":[\"string\",\"number\",\"boolean\",\"null\"],");
            describe(key.help, out);
            out.push_str("}}");
        }
        Shape::Sources(keys) => {
            out.push_str("{\"type\":[\"object\",\"null\"],");
            describe(section.help, out);
            out.push_str(
                ",\"additionalProperties\":{\"anyOf\":[{\"type\":[\"string\",\"null\"]},\
                 {\"type\":\"array\",\"items\":{\"type\":[\"string\",\"null\"]}},\
                 {\"type\":\"object\",\"additionalProperties\":false,\"properties\":{",
            );
            table(keys, out);
            out.push_str("}}]}}");
        }
        Shape::Named(keys) => {
            out.push_str("{\"type\":[\"object\",\"null\"],");
            describe(section.help, out);
            out.push_str(
                ",\"additionalProperties\":{\"type\":[\"object\",\"null\"],\
                 \"additionalProperties\":false,\"properties\":{",
            );
            table(keys, out);
            out.push_str("}}}");
        }
        Shape::Targets => {
            out.push_str("{\"type\":[\"object\",\"null\"],");
            describe(section.help, out);
            out.push_str(",\"additionalProperties\":");
            out.push_str(TEXTS);
            out.push_str("}}");
        }
    }
}

fn table(keys: &[Key], out: &mut String) {
    for (i, key) in keys.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str("\n ");
        string(key.name, out);
        out.push(':');
        value(key, true, out);
    }
}

fn value(key: &Key, with_default: bool, out: &mut String) {
    match key.kind {
        Kind::Bool => any_of("{\"type\":\"boolean\"}", out),
        Kind::Int(min, max) => {
            any_of(&format!("{{\"type\":\"integer\",\"minimum\":{min},\"maximum\":{max}}}"), out);
        }
        Kind::Words(words) => any_of(&enumeration(words), out),
        Kind::Duration(..) | Kind::Size(..) => out.push_str("{\"type\":[\"number\",\"string\"]"),
        Kind::Text | Kind::Path => out.push_str("{\"type\":[\"string\",\"number\",\"boolean\"]"),
        Kind::List => out.push_str(TEXTS),
        Kind::WordList(words) => {
            out.push_str("{\"type\":\"array\",\"items\":");
            out.push_str(&enumeration(words));
        }
        Kind::Listen => out.push_str(
            "{\"anyOf\":[{\"type\":[\"string\",\"integer\"]},{\"type\":\"array\",\"items\":{\"type\":\"string\"}}]",
        ),
    }
    out.push(',');
    describe(key.help, out);
    if with_default {
        out.push_str(",\"default\":");
        match key.kind {
            Kind::Bool | Kind::Int(..) => out.push_str(key.default),
            Kind::List | Kind::WordList(_) if key.default.is_empty() => out.push_str("[]"),
            Kind::List | Kind::WordList(_) => {
                out.push('[');
                string(key.default, out);
                out.push(']');
            }
            _ => string(key.default, out),
        }
    }
    if key.has(flag::SECRET) {
        out.push_str(",\"writeOnly\":true");
    }
    out.push('}');
}

/// This, or text that is replaced before it is read. The brace stays open.
fn any_of(what: &str, out: &mut String) {
    out.push_str("{\"anyOf\":[");
    out.push_str(what);
    out.push(',');
    out.push_str(REFERENCE);
    out.push(']');
}

fn enumeration(words: &[&str]) -> String {
    let mut out = String::from("{\"enum\":[");
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        string(word, &mut out);
    }
    out.push_str("]}");
    out
}

fn describe(help: &str, out: &mut String) {
    out.push_str("\"description\":");
    string(help.trim(), out);
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}
