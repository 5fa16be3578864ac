//! `record`: streams whose events are kept as films on a card.

use std::path::PathBuf;
use std::time::Duration;

use crate::app::config::keys::{Kind, Section, Shape, section};

section! {
    /// How a stream is recorded.
    pub struct Record {
        /// Where its films are kept: a folder of its own.
        folder: PathBuf = "", Kind::Path, GUARDED;
        /// All its films together, in megabytes; the oldest make room.
        budget: u32 = "1000", Kind::Int(1, 100_000_000);
        /// How much a film shows of what was before the event.
        before: Duration = "5s", Kind::Duration(0, 30_000);
        /// How much of what comes after its end.
        after: Duration = "10s", Kind::Duration(0, 600_000);
        /// The longest film; what goes on becomes another.
        longest: Duration = "10m", Kind::Duration(10_000, 3_600_000);
    }
}

/// The section.
pub const SECTION: Section = Section {
    name: "record",
    module: Some("record"),
    help: crate::app::config::keys::told(
        "Streams whose motion is recorded to a card: each name is a stream's. Films are MP4 and play up to their last \
         four seconds when the power was cut.",
    ),
    shape: Shape::Named(Record::KEYS),
};
