//! `streams`, `preload`, `publish`: what comes in, what stays on, what is pushed out.

use crate::app::config::keys::{Key, Kind, Section, Shape, flag, section};

section! {
    /// A stream written as a map.
    pub struct StreamOptions {
        /// A source or a list of sources.
        url: Vec<String> = "", Kind::List, LIVE;
        /// Other names for this stream.
        aliases: Vec<String> = "", Kind::List, LIVE;
    }
}

/// The section of streams.
pub const SECTION: Section = Section {
    name: "streams",
    module: None,
    help: crate::app::config::keys::told(
        "The streams: each name with a source, a list of sources, a map, or nothing (others may push \
           into it). What a source offers beside others is used where it fits: video of the first, sound \
           of the second, the speaker of a third.",
    ),
    shape: Shape::Sources(StreamOptions::KEYS),
};

/// The section of preload.
pub const PRELOAD: Section = Section {
    name: "preload",
    module: None,
    help: crate::app::config::keys::told("Streams that stay connected without a viewer."),
    shape: Shape::Texts(&Key {
        name: "NAME",
        kind: Kind::Text,
        default: "video&audio",
        help: crate::app::config::keys::told("What of the stream is kept, like \"video&audio=aac\"."),
        flags: flag::LIVE,
    }),
};

/// The section of publish.
pub const PUBLISH: Section = Section {
    name: "publish",
    module: Some("publish"),
    help: crate::app::config::keys::told(
        "Streams that are pushed to other servers: each name with an address or a list of addresses.",
    ),
    shape: Shape::Targets,
};
