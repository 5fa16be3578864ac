//! `memory`: how much of it media may take.

use crate::app::config::keys::{Kind, Section, Shape, section};

section! {
    /// How much memory media may take.
    pub struct Memory {
        /// The whole program at the most, as the system counts it (RSS): tracks hold less, prebuffers last, then
        /// new viewers are refused; 0 is no limit.
        limit: usize = "0", Kind::Size(0, 1 << 30), LIVE;
        /// One track of video at the most; 0 is a sixteenth of the machine's memory. It takes only what its
        /// bitrate and its GOP need.
        track: usize = "0", Kind::Size(0, 1 << 28);
    }
}

/// The section.
pub const SECTION: Section =
    Section { name: "memory", module: None, help: Memory::ABOUT, shape: Shape::Table(Memory::KEYS, None) };
