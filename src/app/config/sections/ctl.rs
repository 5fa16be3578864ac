//! `ctl`: the control socket.

use std::path::PathBuf;

use crate::app::config::keys::{Kind, Section, Shape, section};

section! {
    /// The control socket of `streamd ctl`.
    pub struct Ctl {
        /// Path of the socket, which only its owner may open; "" is off.
        socket: PathBuf = "/var/run/streamd.sock", Kind::Path, PROCESS;
    }
}

/// The section.
pub const SECTION: Section =
    Section { name: "ctl", module: None, help: Ctl::ABOUT, shape: Shape::Table(Ctl::KEYS, None) };
