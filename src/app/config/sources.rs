//! Which texts make up the configuration and in which order: files, inline text, single keys.
//!
//! Arguments and the surroundings go in, a [`Loaded`] comes out, whatever is wrong with the files:
//! the camera starts with what is sound. It reads files and writes none.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::net::quoted::io_error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::expand::expand;
use super::text::{MAX_BYTES, Place, Text};
use super::yaml::{Entry, MAX_DEPTH, Node, Value};
use super::yaml_read;
use super::{Config, Problem, Severity, read};
use crate::net::mask::Secrets;

/// The file that is read when nothing is named.
pub const DEFAULT_PATH: &str = "/etc/streamd.yaml";
/// Most `-c` arguments.
const MAX_SOURCES: usize = 32;
/// Largest credential file.
const MAX_CREDENTIAL: u64 = 64 * 1024;

/// What surrounds the program.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// A variable of the process environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Names of the modules that are compiled in.
    pub modules: &'a [&'a str],
}

impl World<'_> {
    /// Looks a name up outside the files: credentials first, then the process environment.
    pub fn lookup(&self, name: &str) -> Option<String> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        if plain && let Some(folder) = (self.env)("CREDENTIALS_DIRECTORY") {
            let path = Path::new(&folder).join(name);
            let mut text = String::new();
            let read = std::fs::File::open(path)
                .and_then(|file| file.take(MAX_CREDENTIAL).read_to_string(&mut text));
            if read.is_ok() {
                return Some(text.trim().to_owned());
            }
        }
        (self.env)(name)
    }
}

/// The configuration and everything there is to say about it.
pub struct Loaded {
    /// What was understood, defaults for the rest.
    pub config: Rc<Config>,
    /// What to tell, in the order of the texts.
    pub problems: Vec<Problem>,
    /// What must not be shown.
    pub secrets: Secrets,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// The first file: the one that is written back.
    pub target: Option<PathBuf>,
}

impl Loaded {
    /// True if `check` fails and a reload is rejected.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }
}

/// One source as the command line names it.
enum Argument<'a> {
    File(&'a str),
    Inline(&'a str),
    Key(&'a str, &'a str),
}

fn argument(text: &str) -> Argument<'_> {
    if text.trim_start().starts_with('{') {
        return Argument::Inline(text);
    }
    match text.split_once('=') {
        Some((path, value)) if !path.is_empty() && !path.contains('/') && !Path::new(text).exists() => {
            Argument::Key(path, value)
        }
        _ => Argument::File(text),
    }
}

/// The file that is written back: the first among the arguments.
pub fn target(arguments: &[String]) -> Option<PathBuf> {
    if arguments.is_empty() {
        return Some(PathBuf::from(DEFAULT_PATH));
    }
    arguments.iter().find_map(|text| match argument(text) {
        Argument::File(path) => Some(PathBuf::from(path)),
        _ => None,
    })
}

/// Reads every source; without arguments the default file.
pub fn load(arguments: &[String], world: &World<'_>) -> Loaded {
    load_instead(arguments, world, None)
}

/// As [`load`], but with `text` in place of what the written-back file holds: what a change would do.
pub fn load_instead(arguments: &[String], world: &World<'_>, text: Option<&str>) -> Loaded {
    let mut problems = Vec::new();
    let mut secrets = Secrets::new();
    let mut files = Vec::new();
    let mut root = Node::null();
    let target = target(arguments);
    let default = [DEFAULT_PATH.to_owned()];
    let sources = if arguments.is_empty() { default.as_slice() } else { arguments };
    let mut instead = text;
    for (i, source) in sources.iter().enumerate() {
        let inline: Rc<str> = Rc::from(format!("-c #{}", i + 1));
        if i >= MAX_SOURCES {
            problems.push(Problem {
                severity: Severity::Error,
                place: Place::of_file(&inline),
                sentence: format!("more than {MAX_SOURCES} sources of configuration; the rest is left out"),
            });
            break;
        }
        let node = match argument(source) {
            Argument::Inline(text) => parse(&Text::plain(&inline, text.to_owned()), &mut problems),
            Argument::Key(path, value) => single(&inline, path, value, &mut problems),
            Argument::File(path) => {
                let name: Rc<str> = Rc::from(path);
                let content = match instead.take() {
                    Some(text) => Some(text.to_owned()),
                    None => read_file(&name, arguments.is_empty(), &mut problems),
                };
                content.and_then(|content| {
                    files.push(PathBuf::from(path));
                    let text = expand(&name, content, &|name| world.lookup(name));
                    text.secrets.iter().for_each(|secret| secrets.add(secret));
                    parse(&text, &mut problems)
                })
            }
        };
        if let Some(node) = node {
            merge(&mut root, node, 0);
        }
    }
    let config = read(root, world.modules, &mut problems, &mut secrets);
    for problem in &mut problems {
        if let std::borrow::Cow::Owned(masked) = secrets.mask(&problem.sentence) {
            problem.sentence = masked;
        }
    }
    Loaded { config: Rc::new(config), problems, secrets, files, target }
}

fn parse(text: &Text, problems: &mut Vec<Problem>) -> Option<Node> {
    match yaml_read::parse(text) {
        Ok(document) => {
            for twice in document.duplicates {
                let path: String = twice.path.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                problems.push(Problem {
                    severity: Severity::Error,
                    sentence: format!("{path} stands twice, first at {}; the first stays", twice.first),
                    place: twice.second,
                });
            }
            Some(document.root)
        }
        Err(error) => {
            problems.push(Problem { severity: Severity::Error, place: error.at, sentence: error.sentence });
            None
        }
    }
}

/// `a.b=value`. A value that opens a bracket or a quote is YAML, everything else is text as it is.
fn single(name: &Rc<str>, path: &str, value: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    let text = Text::plain(name, value.to_owned());
    let mut node = if value.trim_start().starts_with(['{', '[', '"', '\'']) {
        parse(&text, problems)?
    } else if value.is_empty() {
        Node::bare(Value::Null, text.place(0))
    } else {
        Node::bare(Value::Scalar { text: value.to_owned(), quoted: false }, text.place(0))
    };
    for key in path.rsplit('.').take(MAX_DEPTH) {
        let at = node.at.clone();
        let entry = Entry { key: key.to_owned(), at: at.clone(), start: 0, end: 0, value: node };
        node = Node::bare(Value::Map(vec![entry]), at);
    }
    Some(node)
}

fn read_file(name: &Rc<str>, may_lack: bool, problems: &mut Vec<Problem>) -> Option<String> {
    let mut tell = |severity, sentence| {
        problems.push(Problem { severity, place: Place::of_file(name), sentence });
        None
    };
    match read_text(Path::new(&**name)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_lack => {
            tell(Severity::Note, "there is no such file; everything has its default".to_owned())
        }
        Err(error) => tell(Severity::Error, format!("cannot be read: {error}")),
    }
}

/// Reads a file of bounded size as text.
pub fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::ErrorKind;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(io_error(ErrorKind::InvalidData, "it is larger than 256 KiB"));
    }
    String::from_utf8(bytes).map_err(|_| io_error(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Lays `over` on `base`: maps key by key, everything else whole.
fn merge(base: &mut Node, over: Node, depth: usize) {
    match (&mut base.value, over.value) {
        // An empty file or section says nothing.
        (Value::Map(_), Value::Null) => {}
        (Value::Map(entries), Value::Map(more)) if depth < MAX_DEPTH => {
            for entry in more {
                match entries.iter_mut().find(|known| known.key == entry.key) {
                    // `streams.cam:` with nothing means a stream without sources, not "no change".
                    Some(known) if entry.value.is_null() && depth > 0 => *known = entry,
                    Some(known) => {
                        if !matches!(known.value.value, Value::Map(_)) {
                            known.at = entry.at.clone();
                        }
                        merge(&mut known.value, entry.value, depth + 1);
                    }
                    None => entries.push(entry),
                }
            }
        }
        (_, value) => *base = Node { value, ..over },
    }
}
