//! `log`: what is told, how and where.

use crate::app::config::keys::{Extra, Key, Kind, Section, Shape, flag, section};

/// Log levels, the predecessor's among them.
pub const LEVELS: &[&str] = &["trace", "debug", "info", "warn", "error", "fatal", "panic", "disabled"];

section! {
    /// What is told, how and where.
    pub struct Log {
        /// Lowest level that is told; fatal and panic mean error.
        level: &'static str = "info", Kind::Words(LEVELS), LIVE;
        /// "" is color on a terminal and text elsewhere.
        format: &'static str = "", Kind::Words(&["", "color", "json", "text"]), LIVE;
        /// stderr, stdout, syslog, or file:PATH.
        output: String = "stderr", Kind::Text, LIVE;
        /// How the time is written; "" leaves it out.
        time: String = "UNIXMS", Kind::Text, LIVE;
    }
}

/// The section.
pub const SECTION: Section = Section {
    name: "log",
    module: None,
    help: Log::ABOUT,
    shape: Shape::Table(
        Log::KEYS,
        Some(&Extra {
            names: super::MODULES,
            key: Key {
                name: "MODULE",
                kind: Kind::Words(LEVELS),
                default: "info",
                help: crate::app::config::keys::told("A level for this module alone."),
                flags: flag::LIVE,
            },
        }),
    ),
};
