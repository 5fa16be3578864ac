//! The tree by the tables: typed values, problems with their places, secrets.
//!
//! A merged tree goes in. What is wrong is told and falls back to its default, and what it belongs to
//! is marked to stay off. It never looks at files and never decides what starts.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::keys::{Key, Section, Shape, Val, flag};
use super::sections::{self, *};
use super::suggest::nearest;
use super::values::{self, MAX_TEXT, Refused};
use super::yaml::{Entry, Node, Value};
use super::{Config, Fault, Place, Problem, Severity, Source, Stream};
use crate::net::mask::{Secrets, is_secret_name};
use crate::net::quoted::Quoted;

/// Most streams.
pub const MAX_STREAMS: usize = 128;
/// Most sources of a stream.
pub const MAX_SOURCES: usize = 16;
/// Longest name of a stream.
pub const MAX_NAME: usize = 128;
/// Most users.
pub const MAX_USERS: usize = 64;
/// Most problems that are told; a file full of garbage fills no log.
const MAX_PROBLEMS: usize = 64;

/// Collects what is wrong and what is secret while a tree is read.
struct Reader<'a> {
    problems: &'a mut Vec<Problem>,
    secrets: &'a mut Secrets,
    lacking: Vec<(String, Place)>,
    faults: Vec<Fault>,
}

/// Reads a tree. `modules` names what is compiled in; sections of other modules are reported in one
/// line.
pub fn read(tree: Node, modules: &[&str], problems: &mut Vec<Problem>, secrets: &mut Secrets) -> Config {
    let mut reader = Reader { problems, secrets, lacking: Vec::new(), faults: Vec::new() };
    let null = Node::null();
    if !matches!(tree.value, Value::Map(_) | Value::Null) {
        reader.error(&tree.at, format!("expected sections like \"streams:\", here is {}", tree.kind()));
    }
    for entry in tree.entries() {
        reader.known(entry, modules);
    }
    let find = |name: &str| -> &Node {
        let here = sections::find(name).is_some_and(|s| s.module.is_none_or(|m| modules.contains(&m)));
        tree.get(name).filter(|_| here).unwrap_or(&null)
    };
    let mut levels = Vec::new();
    let log = Log::from_values(reader.section("log", find("log"), &mut levels));
    let mut none = Vec::new();
    let app = App::from_values(reader.section("app", find("app"), &mut none));
    reader.module_names(find("app"), modules);
    let streams = reader.streams(find("streams"));
    let config = Config {
        app,
        api: Api::from_values(reader.section("api", find("api"), &mut none)),
        users: reader.users(find("users")),
        open: reader.open(find("open")),
        log,
        log_levels: levels
            .into_iter()
            .filter_map(|(name, val)| if let Val::Word(level) = val { Some((name, level)) } else { None })
            .collect(),
        preload: reader.preload(find("preload"), &streams),
        publish: reader.publish(find("publish")),
        homekit: reader.homekit(find("homekit"), &streams),
        record: reader.record(find("record"), &streams),
        mdns: Mdns::from_values(reader.section("mdns", find("mdns"), &mut none)),
        streams,
        rtsp: Rtsp::from_values(reader.section("rtsp", find("rtsp"), &mut none)),
        exec: Exec::from_values(reader.section("exec", find("exec"), &mut none)),
        echo: Echo::from_values(reader.section("echo", find("echo"), &mut none)),
        memory: Memory::from_values(reader.section("memory", find("memory"), &mut none)),
        ctl: Ctl::from_values(reader.section("ctl", find("ctl"), &mut none)),
        faults: Vec::new(),
        tree: Node::null(),
    };
    let env = find("env");
    reader.texts("env", env);
    reader.report_lacking();
    let faults = reader.faults;
    Config { faults, tree, ..config }
}

/// A value's text as it may be shown: never a secret, never endless.
fn shown(text: &str, secret: bool) -> String {
    if secret {
        return "\"***\"".to_owned();
    }
    let masked = crate::net::mask::mask_url(text);
    let mut short: String = masked.chars().take(64).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < masked.len() {
        short.push('…');
    }
    format!("\"{short}\"")
}

impl Reader<'_> {
    fn tell(&mut self, severity: Severity, place: &Place, sentence: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { severity, place: place.clone(), sentence });
        }
    }

    fn error(&mut self, place: &Place, sentence: String) {
        self.tell(Severity::Error, place, sentence);
    }

    /// An error that keeps a section or stream off.
    fn fault(&mut self, what: &str, place: &Place, sentence: String) {
        if !self.faults.iter().any(|fault| fault.what == what) {
            self.faults.push(Fault { what: what.to_owned(), sentence: format!("{place}: {sentence}") });
        }
        self.error(place, sentence);
    }

    fn refused(&mut self, what: &str, path: &str, key: &Key, refused: Refused) {
        let text = refused.text.map_or("this".to_owned(), |text| shown(&text, key.has(flag::SECRET)));
        let mut sentence = format!("{path}: {text} does not fit; expected {}", refused.expected);
        if let Some(meant) = refused.meant {
            sentence.push_str(&format!("; did you mean \"{meant}\"?"));
        }
        self.fault(what, &refused.at, sentence);
    }

    /// Looks at a top-level key: known, foreign, or mistyped.
    fn known(&mut self, entry: &Entry, modules: &[&str]) {
        let name = entry.key.as_str();
        match sections::find(name) {
            Some(section) if section.module.is_none_or(|module| modules.contains(&module)) => {}
            Some(_) => self.foreign(entry),
            None if FOREIGN.contains(&name) => self.foreign(entry),
            // Places for anchors that other sections use.
            None if name.starts_with("x-") || name.starts_with('.') => {}
            None => {
                let known = SECTIONS.iter().map(|section| section.name).chain(FOREIGN.iter().copied());
                self.unknown("section", name, name, &entry.at, nearest(name, known));
            }
        }
    }

    fn foreign(&mut self, entry: &Entry) {
        self.lacking.push((entry.key.clone(), entry.at.clone()));
        self.find_secrets(&entry.key, &entry.value);
    }

    fn find_secrets(&mut self, key: &str, node: &Node) {
        match &node.value {
            Value::Scalar { text, .. } if is_secret_name(key) => self.secrets.add(text),
            Value::Scalar { text, .. } => self.secrets.add_url(text),
            Value::Seq(items) => items.iter().for_each(|item| self.find_secrets(key, item)),
            Value::Map(entries) => entries.iter().for_each(|e| self.find_secrets(&e.key, &e.value)),
            Value::Null => {}
        }
    }

    fn unknown(&mut self, what: &str, path: &str, name: &str, at: &Place, meant: Option<&str>) {
        let mut sentence = format!("{path}: unknown {what}, left out");
        if let Some(meant) = meant.filter(|meant| *meant != name) {
            sentence.push_str(&format!("; did you mean \"{meant}\"?"));
        }
        self.tell(Severity::Warning, at, sentence);
    }

    fn section(&mut self, name: &'static str, node: &Node, extras: &mut Vec<(String, Val)>) -> Vec<Val> {
        match sections::find(name) {
            Some(section) => self.table(section, name, name, node, extras),
            None => Vec::new(),
        }
    }

    /// Reads a map by the section's table: a value for every key, its default where nothing fits.
    fn table(
        &mut self,
        section: &'static Section,
        what: &str,
        path: &str,
        node: &Node,
        extras: &mut Vec<(String, Val)>,
    ) -> Vec<Val> {
        let keys = section.keys();
        let mut out = values::defaults(keys);
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            let sentence = format!("{path}: here is {}; expected a map of keys", node.kind());
            self.fault(what, &node.at, sentence);
        }
        for entry in node.entries() {
            let path = format!("{path}.{}", entry.key);
            let found = keys.iter().zip(out.iter_mut()).find(|(key, _)| key.name == entry.key);
            let extra = match &section.shape {
                Shape::Table(_, Some(extra)) if extra.names.contains(&entry.key.as_str()) => Some(&extra.key),
                _ => None,
            };
            let Some(key) = found.as_ref().map(|(key, _)| *key).or(extra) else {
                let names = keys.iter().map(|key| key.name);
                let meant = match &section.shape {
                    Shape::Table(_, Some(extra)) => {
                        nearest(&entry.key, names.chain(extra.names.iter().copied()))
                    }
                    _ => nearest(&entry.key, names),
                };
                self.unknown("key", &path, &entry.key, &entry.at, meant);
                continue;
            };
            if entry.value.is_null() {
                continue;
            }
            match values::parse(key.kind, &entry.value) {
                Ok(val) => {
                    if let (Val::Text(text), true) = (&val, key.has(flag::SECRET)) {
                        self.secrets.add(text);
                    }
                    if key.has(flag::LACKING) && val != values::default(key) {
                        self.lacking.push((path, entry.at.clone()));
                    }
                    match found {
                        Some((_, slot)) => *slot = val,
                        None => extras.push((entry.key.clone(), val)),
                    }
                }
                Err(refused) => self.refused(what, &path, key, refused),
            }
        }
        out
    }

    fn module_names(&mut self, node: &Node, modules: &[&str]) {
        let Some(list) = node.get("modules") else { return };
        for item in list.items() {
            let Some(name) = item.text().filter(|name| !modules.contains(name)) else { continue };
            if sections::MODULES.contains(&name) {
                self.lacking.push((format!("module {name}"), item.at.clone()));
            } else {
                let meant = nearest(name, modules.iter().chain(sections::MODULES).copied());
                self.unknown("module", &format!("app.modules: {}", Quoted(name)), name, &item.at, meant);
            }
        }
    }

    fn streams(&mut self, node: &Node) -> Vec<Stream> {
        let mut out = Vec::new();
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            let sentence = format!("streams: here is {}; expected names with sources", node.kind());
            self.fault("streams", &node.at, sentence);
        }
        for entry in node.entries() {
            if out.len() >= MAX_STREAMS {
                let sentence =
                    format!("streams: more than {MAX_STREAMS} of them; this and the next stay off");
                self.error(&entry.at, sentence);
                break;
            }
            if entry.key.is_empty() || entry.key.len() > MAX_NAME || entry.key.contains(char::is_control) {
                let sentence = format!("streams: a name has 1 to {MAX_NAME} bytes; this stream stays off");
                self.error(&entry.at, sentence);
                continue;
            }
            let stream = self.stream(entry);
            out.push(stream);
        }
        for entry in node.entries() {
            self.aliases(entry, &mut out);
        }
        out
    }

    fn stream(&mut self, entry: &Entry) -> Stream {
        let what = format!("streams.{}", entry.key);
        let mut stream = Stream {
            name: entry.key.clone(),
            sources: Vec::new(),
            aliases: Vec::new(),
            at: entry.at.clone(),
        };
        let mut node = &entry.value;
        if let Value::Map(_) = node.value {
            let mut none = Vec::new();
            let options = StreamOptions::from_values(
                sections::find("streams")
                    .map(|section| self.table(section, &what, &what, node, &mut none))
                    .unwrap_or_default(),
            );
            stream.aliases = options.aliases;
            node = match node.get("url") {
                Some(url) if !matches!(url.value, Value::Map(_)) => url,
                _ => return stream,
            };
        }
        let items = match &node.value {
            Value::Seq(items) => items.as_slice(),
            Value::Null => &[],
            _ => std::slice::from_ref(node),
        };
        if items.len() > MAX_SOURCES {
            let sentence = format!("{what}: {} sources; expected at most {MAX_SOURCES}", items.len());
            self.fault(&what, &node.at, sentence);
        }
        for item in items.iter().take(MAX_SOURCES) {
            match item.text().map(str::trim) {
                Some(url) if url.is_empty() || url.len() > MAX_TEXT || url.contains(char::is_control) => {
                    let sentence = format!(
                        "{what}: {} is no source; expected one line of 1 to {MAX_TEXT} bytes",
                        shown(url, false)
                    );
                    self.fault(&what, &item.at, sentence);
                }
                Some(url) => {
                    self.secrets.add_url(url);
                    stream.sources.push(Source { url: url.to_owned(), at: item.at.clone() });
                }
                None if item.is_null() => {}
                None => {
                    let sentence =
                        format!("{what}: here is {}; expected a source like rtsp://…", item.kind());
                    self.fault(&what, &item.at, sentence);
                }
            }
        }
        stream
    }

    /// An alias that is another stream's name or alias is told and left out.
    fn aliases(&mut self, entry: &Entry, streams: &mut [Stream]) {
        let Some(mine) = streams.iter().position(|stream| stream.name == entry.key) else { return };
        let Some(list) = streams.get_mut(mine).map(|stream| std::mem::take(&mut stream.aliases)) else {
            return;
        };
        let mut kept = Vec::new();
        for alias in list {
            let taken = streams
                .iter()
                .find(|stream| stream.name == alias || stream.aliases.contains(&alias))
                .map(|stream| stream.at.clone());
            match taken {
                Some(at) => {
                    let sentence = format!(
                        "streams.{}.aliases: {} is already a stream at {at}; it stays that one",
                        entry.key,
                        shown(&alias, false)
                    );
                    self.error(&entry.at, sentence);
                }
                None => kept.push(alias),
            }
        }
        if let Some(stream) = streams.get_mut(mine) {
            stream.aliases = kept;
        }
    }

    fn users(&mut self, node: &Node) -> Vec<UserRow> {
        let mut out: Vec<UserRow> = Vec::new();
        let Some(section) = sections::find("users") else { return out };
        if !matches!(node.value, Value::Seq(_) | Value::Null) {
            let sentence = format!("users: here is {}; expected a list like \"- name: anna\"", node.kind());
            self.fault("users", &node.at, sentence);
        }
        for (i, item) in node.items().iter().enumerate() {
            if i >= MAX_USERS {
                self.fault("users", &item.at, format!("users: more than {MAX_USERS} of them"));
                break;
            }
            let path = format!("users[{i}]");
            let faults = self.problems.iter().filter(|p| p.severity == Severity::Error).count();
            let user = UserRow::from_values(self.table(section, "users", &path, item, &mut Vec::new()));
            let good = self.problems.iter().filter(|p| p.severity == Severity::Error).count() == faults;
            if user.name.is_empty() || user.password.is_empty() {
                let sentence = format!("{path}: a user needs a name and a password; this one is left out");
                self.fault("users", &item.at, sentence);
            } else if out.iter().any(|known| known.name == user.name) {
                let sentence = format!("{path}: {} stands twice; the first stays", shown(&user.name, false));
                self.fault("users", &item.at, sentence);
            } else if good {
                // A user with something wrong in it might be let in where it was not meant to be.
                out.push(user);
            }
        }
        out
    }

    fn open(&mut self, node: &Node) -> Option<bool> {
        let Some(Section { shape: Shape::Single(key), .. }) = sections::find("open") else { return None };
        if node.is_null() {
            return None;
        }
        match values::parse(key.kind, node) {
            Ok(Val::Bool(open)) => Some(open),
            Ok(_) => None,
            Err(refused) => {
                self.refused("open", "open", key, refused);
                None
            }
        }
    }

    /// Free names with a text each.
    fn texts(&mut self, name: &'static str, node: &Node) -> Vec<(String, String)> {
        let Some(Section { shape: Shape::Texts(key), .. }) = sections::find(name) else { return Vec::new() };
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            self.fault(name, &node.at, format!("{name}: here is {}; expected names with text", node.kind()));
        }
        let mut out = Vec::new();
        for entry in node.entries() {
            let path = format!("{name}.{}", entry.key);
            let val = if entry.value.is_null() {
                Ok(values::default(key))
            } else {
                values::parse(key.kind, &entry.value)
            };
            match val {
                Ok(Val::Text(text)) => {
                    if key.has(flag::SECRET) {
                        self.secrets.add(&text);
                    }
                    let text = if text.is_empty() { key.default.to_owned() } else { text };
                    out.push((entry.key.clone(), text));
                }
                Ok(_) => {}
                Err(refused) => self.refused(&path, &path, key, refused),
            }
        }
        out
    }

    fn homekit(&mut self, node: &Node, streams: &[Stream]) -> Vec<(String, Homekit)> {
        let mut out = Vec::new();
        let Some(section) = sections::find("homekit") else { return out };
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            let sentence = format!("homekit: here is {}; expected names of streams", node.kind());
            self.fault("homekit", &node.at, sentence);
        }
        for entry in node.entries() {
            let path = format!("homekit.{}", entry.key);
            let row = self.table(section, &path, &path, &entry.value, &mut Vec::new());
            let row = Homekit::from_values(row);
            // a bridge is no stream: those behind it are
            if row.streams.is_empty() && !streams.iter().any(|s| s.name == entry.key) {
                let meant = nearest(&entry.key, streams.iter().map(|s| s.name.as_str()));
                self.unknown("stream", &path, &entry.key, &entry.at, meant);
                continue;
            }
            for name in row.streams.iter().filter(|name| !streams.iter().any(|s| s.name == **name)) {
                let meant = nearest(name, streams.iter().map(|s| s.name.as_str()));
                self.unknown("stream", &format!("{path}.streams"), name, &entry.at, meant);
            }
            out.push((entry.key.clone(), row));
        }
        out
    }

    fn record(&mut self, node: &Node, streams: &[Stream]) -> Vec<(String, Record)> {
        let mut out = Vec::new();
        let Some(section) = sections::find("record") else { return out };
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            let sentence = format!("record: here is {}; expected names of streams", node.kind());
            self.fault("record", &node.at, sentence);
        }
        for entry in node.entries() {
            let path = format!("record.{}", entry.key);
            let row = self.table(section, &path, &path, &entry.value, &mut Vec::new());
            if !streams.iter().any(|s| s.name == entry.key) {
                let meant = nearest(&entry.key, streams.iter().map(|s| s.name.as_str()));
                self.unknown("stream", &path, &entry.key, &entry.at, meant);
                continue;
            }
            out.push((entry.key.clone(), Record::from_values(row)));
        }
        out
    }

    fn preload(&mut self, node: &Node, streams: &[Stream]) -> Vec<(String, String)> {
        let out = self.texts("preload", node);
        for entry in node.entries() {
            let known = |s: &Stream| s.name == entry.key || s.aliases.contains(&entry.key);
            if !streams.iter().any(known) {
                let meant = nearest(&entry.key, streams.iter().map(|s| s.name.as_str()));
                self.unknown("stream", &format!("preload.{}", entry.key), &entry.key, &entry.at, meant);
            }
        }
        out
    }

    fn publish(&mut self, node: &Node) -> Vec<(String, Vec<String>)> {
        let mut out = Vec::new();
        for entry in node.entries() {
            match values::parse(super::keys::Kind::List, &entry.value) {
                Ok(Val::List(targets)) => {
                    targets.iter().for_each(|target| self.secrets.add_url(target));
                    out.push((entry.key.clone(), targets));
                }
                _ => {
                    let sentence = format!("publish.{}: expected an address or a list of them", entry.key);
                    self.error(&entry.value.at, sentence);
                }
            }
        }
        out
    }

    fn report_lacking(&mut self) {
        self.lacking.sort_by(|a, b| a.1.cmp(&b.1));
        let Some((_, first)) = self.lacking.first() else { return };
        let first = first.clone();
        let mut names = String::new();
        for (name, _) in self.lacking.drain(..).take(32) {
            if !names.is_empty() {
                names.push_str(", ");
            }
            names.push_str(&name);
        }
        self.tell(Severity::Warning, &first, format!("not served by this build and left out: {names}"));
    }
}
