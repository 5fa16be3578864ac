//! `streamd devices`: what this machine offers as sources.

use super::modules;
use crate::net::json::Writer;

/// A list for a person or for a program.
pub fn list(json: bool) -> String {
    if json {
        let mut w = Writer::new();
        w.begin_object().key("sources").begin_array();
        for source in modules::SOURCES {
            w.begin_object();
            w.key("name").string(source.module);
            w.key("url").string(source.example);
            w.end_object();
        }
        w.end_array().end_object();
        return w.finish();
    }
    let mut out = String::from("Sources that this streamd can dial:\n");
    for source in modules::SOURCES {
        out.push_str("  ");
        out.push_str(source.module);
        out.push_str(&" ".repeat(10_usize.saturating_sub(source.module.len())));
        out.push_str("for example ");
        out.push_str(source.example);
        out.push('\n');
    }
    out
}
