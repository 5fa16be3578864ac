//! `api`: the HTTP server with the API and the web interface.

use std::path::PathBuf;

use crate::app::config::keys::{Address, Kind, Section, Shape, section};

section! {
    /// The HTTP server with the API and the web interface.
    pub struct Api {
        /// Addresses to listen on; "" is off.
        listen: Vec<Address> = ":1984", Kind::Listen;
        /// User with every role at this door only. Prefer the section users.
        username: String = "", Kind::Text, LIVE;
        /// Password of that user.
        password: String = "", Kind::Text, SECRET, LIVE;
        /// Ask for the password also on loopback and the Unix socket.
        local_auth: bool = "false", Kind::Bool, LIVE;
        /// Path in front of all others, for a reverse proxy, like "/camera".
        base_path: String = "", Kind::Text;
        /// Folder whose files are served instead of the built-in pages.
        static_dir: PathBuf = "", Kind::Path, LACKING;
        /// "*" lets pages of other sites use the API.
        origin: String = "", Kind::Words(&["", "*"]), LIVE;
        /// Path of a Unix socket to listen on as well.
        unix_listen: PathBuf = "", Kind::Path;
        /// The only paths that are served, each written in full. Without this list all are.
        allow_paths: Vec<String> = "", Kind::List, LIVE;
        /// Refuse every request that changes something.
        read_only: bool = "false", Kind::Bool, LIVE;
        /// Let the API add and change sources that run programs (exec, echo, expr). Works only from the
        /// file.
        allow_exec: bool = "false", Kind::Bool, LIVE, GUARDED;
        /// Addresses to listen on with TLS; "" is off.
        tls_listen: Vec<Address> = "", Kind::Listen, LACKING;
        /// Certificate, as a path.
        tls_cert: PathBuf = "", Kind::Path, LACKING;
        /// Its private key, as a path.
        tls_key: PathBuf = "", Kind::Path, LACKING, SECRET;
    }
}

/// The section.
pub const SECTION: Section =
    Section { name: "api", module: Some("api"), help: Api::ABOUT, shape: Shape::Table(Api::KEYS, None) };
