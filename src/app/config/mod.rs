//! The configuration: files, inline text and single keys in; typed values, problems with their places
//! and the secrets out.
//!
//! ```text
//! sources  which texts there are, in which order they override each other
//! text     ${NAME} is replaced, places lead back to what was written
//! yaml     the bounded tree with places that a text holds (yaml_read: lists and maps, yaml_flow:
//!          those in brackets, yaml_scalar: single values)
//! sections each key once: name, type, default, bounds, help (through keys::section!)
//! values   one value by its key's type          read    the tree by the tables: Config and problems
//! diff     what a reload changes                guard   what the API may not write
//! write    change one key, keep the rest        replace whole files with *** put back
//! schema, docs  made from the tables
//! ```
//!
//! It starts nothing, opens no socket and logs nothing: the caller tells the problems.

pub mod diff;
#[cfg(any(test, feature = "schema"))]
pub mod docs;
pub mod expand;
pub mod guard;
pub mod keys;
mod read;
pub mod replace;
#[cfg(any(test, feature = "schema"))]
pub mod schema;
pub mod sections;
pub mod sources;
pub mod suggest;
pub mod text;
pub mod values;
pub mod write;
pub mod yaml;
mod yaml_flow;
pub mod yaml_read;
mod yaml_scalar;

pub use read::read;
pub use sections::{Api, App, Ctl, Echo, Exec, Homekit, Log, Mdns, Memory, Record, Rtsp, UserRow};
pub use sources::{DEFAULT_PATH, Loaded, World, load};
pub use text::Place;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Something is left out or was meant otherwise; everything else works.
    Warning,
    /// Something is wrong: `check` and `--strict` fail, a reload is rejected whole.
    Error,
}

/// Something to tell the person who wrote the configuration.
#[derive(Clone, Debug)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it stands.
    pub place: Place,
    /// One sentence that names the key.
    pub sentence: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.place.file.is_empty() {
            return f.write_str(&self.sentence);
        }
        write!(f, "{}: {}", self.place, self.sentence)
    }
}

/// One source of a stream.
#[derive(Clone, Debug)]
pub struct Source {
    /// As written, with `${NAME}` replaced. Holds passwords.
    pub url: String,
    /// For messages.
    pub at: Place,
}

/// One stream.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// Its sources in order; none for a stream that others push into.
    pub sources: Vec<Source>,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// For messages.
    pub at: Place,
}

/// Something that stays off because what was written for it is wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    /// A section (`api`) or a stream (`streams.NAME`).
    pub what: String,
    /// Why.
    pub sentence: String,
}

/// The whole configuration, typed.
#[derive(Clone, Debug)]
pub struct Config {
    /// What starts.
    pub app: App,
    /// The HTTP server.
    pub api: Api,
    /// Who may do what.
    pub users: Vec<UserRow>,
    /// Doors without a key: as written, if it is.
    pub open: Option<bool>,
    /// What is told.
    pub log: Log,
    /// A level of its own for some modules.
    pub log_levels: Vec<(String, &'static str)>,
    /// The streams in order.
    pub streams: Vec<Stream>,
    /// Streams that stay connected: name and query.
    pub preload: Vec<(String, String)>,
    /// Streams that are pushed out: name and addresses.
    pub publish: Vec<(String, Vec<String>)>,
    /// The RTSP server.
    pub rtsp: Rtsp,
    /// Streams that are accessories: each with its stream's name.
    pub homekit: Vec<(String, Homekit)>,
    /// Streams that are recorded: each with its name.
    pub record: Vec<(String, Record)>,
    /// How the camera is found.
    pub mdns: Mdns,
    /// Which programs sources may run.
    pub exec: Exec,
    /// Which programs `echo:` may run.
    pub echo: Echo,
    /// How much memory media may take.
    pub memory: Memory,
    /// The control socket.
    pub ctl: Ctl,
    /// What stays off.
    pub faults: Vec<Fault>,
    /// The tree that all this was read from.
    pub tree: yaml::Node,
}

impl Config {
    /// Why a section (`api`) or stream (`streams.NAME`) must stay off, if it must.
    pub fn fault(&self, what: &str) -> Option<&str> {
        self.faults.iter().find(|fault| fault.what == what).map(|fault| fault.sentence.as_str())
    }

    /// True if a module may start: `app.modules` is absent or names it.
    pub fn starts(&self, module: &str) -> bool {
        self.app.modules.is_empty() || self.app.modules.iter().any(|name| name == module)
    }

    /// The stream of a name.
    pub fn stream(&self, name: &str) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.name == name)
    }
}

#[cfg(test)]
mod tests;
