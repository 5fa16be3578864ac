//! `memory`: how much of it media may take.

use crate::app::config::keys::{Kind, Section, Shape, section};

section! {
    /// How much memory media may take.
    pub struct Memory {
        /// All tracks together; 0 asks the machine.
        limit: usize = "0", Kind::Size(0, 1 << 30);
        /// One track; 0 follows its bitrate and what its viewers need.
        track: usize = "0", Kind::Size(0, 1 << 28);
    }
}

/// The section.
pub const SECTION: Section =
    Section { name: "memory", module: None, help: Memory::ABOUT, shape: Shape::Table(Memory::KEYS, None) };
