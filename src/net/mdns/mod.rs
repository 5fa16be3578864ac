//! The names under which this camera is found: an mDNS responder (RFC 6762) with service discovery
//! (RFC 6763). A service is registered with a kind, a name, a port and attributes; until its handle is
//! dropped it is claimed, announced and answered for on every interface, by IPv4 and IPv6. It never
//! asks for other people's services, and it has no socket while nothing is registered.
//!
//! `message` knows bytes, `claim` what we say, `session` when we say it and to whom, `interfaces` where;
//! only `server` has sockets. `files` writes the service down for another daemon instead.

mod claim;
mod files;
mod interfaces;
pub mod message;
mod server;
pub mod session;
#[cfg(test)]
mod session_tests;

pub use claim::{Invalid, Service};
pub use interfaces::Interface;
pub use server::{Registration, Responder};

use std::path::PathBuf;

/// Who speaks mDNS on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// We do, beside whoever else does.
    #[default]
    Own,
    /// Another daemon does; it reads a file for each of our services.
    Files,
    /// Nobody hears of us.
    Off,
}

/// How the camera is announced.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who speaks.
    pub mode: Mode,
    /// The host's name without `.local`; what a host name cannot hold becomes `-`.
    pub host: String,
    /// Where `files` puts its files.
    pub directory: PathBuf,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { mode: Mode::Own, host: "streamd".into(), directory: "/etc/avahi/services".into() }
    }
}
