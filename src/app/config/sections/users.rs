//! `users` and `open`: who may do what.

use crate::app::config::keys::{Key, Kind, Section, Shape, flag, section};

section! {
    /// Who may do what, at every door (web, RTSP, ONVIF).
    pub struct UserRow {
        /// The name; each may stand once.
        name: String = "", Kind::Text, LIVE;
        /// The password.
        password: String = "", Kind::Text, SECRET, LIVE;
        /// What the user may do. admin may do everything.
        roles: Vec<String> = "view", Kind::WordList(&["view", "talk", "publish", "control", "admin"]), LIVE;
        /// The only streams that the user may use. Without this list all of them.
        streams: Vec<String> = "", Kind::List, LIVE;
    }
}

/// The section of users.
pub const SECTION: Section =
    Section { name: "users", module: None, help: UserRow::ABOUT, shape: Shape::Rows(UserRow::KEYS) };

/// The section of open.
pub const OPEN: Section = Section {
    name: "open",
    module: None,
    help: crate::app::config::keys::told("Doors without a key."),
    shape: Shape::Single(&Key {
        name: "open",
        kind: Kind::Bool,
        default: "false",
        help: crate::app::config::keys::told(
            "With true everybody who reaches the camera may do everything, unless there are users.",
        ),
        flags: flag::LIVE,
    }),
};
