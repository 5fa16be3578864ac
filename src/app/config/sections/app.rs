//! `app`: what of the program starts.

use std::path::PathBuf;

use crate::app::config::keys::{Kind, Section, Shape, section};

section! {
    /// What of the program starts.
    pub struct App {
        /// The modules that start, among those that are compiled in. Without this list all of them start.
        modules: Vec<String> = "", Kind::List, PROCESS;
        /// Folder for what must outlive a pulled plug: pairings, counters. Without it the one beside the
        /// configuration file, like "/etc/streamd.d".
        state: PathBuf = "", Kind::Path, PROCESS, GUARDED;
    }
}

/// The section.
pub const SECTION: Section =
    Section { name: "app", module: None, help: App::ABOUT, shape: Shape::Table(App::KEYS, None) };
