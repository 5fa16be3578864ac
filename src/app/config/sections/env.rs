//! `env`: names for `${NAME}`.

use crate::app::config::keys::{Key, Kind, Section, Shape, flag};

/// The section.
pub const SECTION: Section = Section {
    name: "env",
    module: None,
    help: crate::app::config::keys::told(
        "Values for ${NAME} and ${NAME:default} elsewhere in the same file. After this section come files \
           in $CREDENTIALS_DIRECTORY and the environment of the process.",
    ),
    shape: Shape::Texts(&Key {
        name: "NAME",
        kind: Kind::Text,
        default: "",
        help: crate::app::config::keys::told("The value; it never shows in logs or answers."),
        flags: flag::SECRET | flag::LIVE,
    }),
};
