//! The tree by the tables: typed values, problems with their places, secrets.
//!
//! A merged tree goes in. What is wrong is told and falls back to its default, and what it belongs to
//! is marked to stay off. It never looks at files and never decides what starts.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::keys::{Key, Section, Shape, Val, Values, flag};
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
    tree: &'a Node,
    /// What is compiled in.
    modules: &'a [&'a str],
    problems: &'a mut Vec<Problem>,
    secrets: &'a mut Secrets,
    lacking: Vec<(String, Place)>,
    faults: Vec<Fault>,
}

/// Reads a tree. `modules` names what is compiled in; sections of other modules are reported in one
/// line.
pub fn read(tree: Node, modules: &[&str], problems: &mut Vec<Problem>, secrets: &mut Secrets) -> Config {
    let mut reader =
        Reader { tree: &tree, modules, problems, secrets, lacking: Vec::new(), faults: Vec::new() };
    if !matches!(tree.value, Value::Map(_) | Value::Null) {
        reader.error(&tree.at, format!("expected sections like \"streams:\", here is {}", tree.kind()));
    }
    for entry in tree.entries() {
        reader.known(entry);
    }
    let mut levels = Vec::new();
    let log = Log::from_values(reader.section("log", &mut levels));
    let mut none = Vec::new();
    let app = App::from_values(reader.section("app", &mut none));
    reader.module_names();
    let streams = reader.streams();
    let mut log_levels = Vec::new();
    for (name, val) in levels {
        if let Val::Word(level) = val {
            log_levels.push((name, level));
        }
    }
    // in this order they are told about
    let mut config = Config {
        app,
        api: Api::from_values(reader.section("api", &mut none)),
        users: reader.users(),
        open: reader.open(),
        log,
        log_levels,
        preload: reader.preload(&streams),
        publish: reader.publish(),
        homekit: reader.homekit(&streams),
        record: reader.record(&streams),
        mdns: Mdns::from_values(reader.section("mdns", &mut none)),
        streams,
        rtsp: Rtsp::from_values(reader.section("rtsp", &mut none)),
        exec: Exec::from_values(reader.section("exec", &mut none)),
        echo: Echo::from_values(reader.section("echo", &mut none)),
        memory: Memory::from_values(reader.section("memory", &mut none)),
        ctl: Ctl::from_values(reader.section("ctl", &mut none)),
        faults: Vec::new(),
        tree: Node::null(),
    };
    reader.texts("env");
    reader.report_lacking();
    config.faults = reader.faults;
    config.tree = tree;
    config
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

impl<'a> Reader<'a> {
    /// What a section of a module that is compiled in holds, and its table.
    fn find(&self, name: &str) -> Option<(&'static Section, &'a Node)> {
        let section = sections::find(name).filter(|section| self.has(section))?;
        self.tree.get(name).map(|node| (section, node))
    }

    /// What is under a section's free names, or in its list; what it holds instead is told.
    fn map(&mut self, name: &str, expected: &str) -> &'a [Entry] {
        let Some((_, node)) = self.find(name) else { return &[] };
        self.expect(matches!(node.value, Value::Map(_) | Value::Null), name, name, node, expected);
        node.entries()
    }

    fn has(&self, section: &Section) -> bool {
        section.module.is_none_or(|module| self.modules.contains(&module))
    }

    fn expect(&mut self, fits: bool, what: &str, path: &str, node: &Node, expected: &str) {
        if !fits {
            self.fault(what, &node.at, format!("{path}: here is {}; expected {expected}", node.kind()));
        }
    }

    fn tell(&mut self, severity: Severity, place: &Place, sentence: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { severity, place: place.clone(), sentence });
        }
    }

    fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
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
    fn known(&mut self, entry: &Entry) {
        let name = entry.key.as_str();
        match sections::find(name) {
            Some(section) if self.has(section) => {}
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

    /// A stream that is not there.
    fn unknown_stream(&mut self, path: &str, name: &str, at: &Place, streams: &[Stream]) {
        let meant = nearest(name, streams.iter().map(|stream| stream.name.as_str()));
        self.unknown("stream", path, name, at, meant);
    }

    fn section(&mut self, name: &'static str, extras: &mut Vec<(String, Val)>) -> Values {
        match (self.find(name), sections::find(name)) {
            (Some((section, node)), _) => self.table(section, name, name, node, extras),
            (None, section) => Values::new(values::defaults(section.map_or(&[], Section::keys))),
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
    ) -> Values {
        let keys = section.keys();
        let mut out = values::defaults(keys);
        self.expect(matches!(node.value, Value::Map(_) | Value::Null), what, path, node, "a map of keys");
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
        Values::new(out)
    }

    fn module_names(&mut self) {
        let Some(list) = self.find("app").and_then(|(_, app)| app.get("modules")) else { return };
        for item in list.items() {
            let Some(name) = item.text().filter(|name| !self.modules.contains(name)) else { continue };
            if sections::MODULES.contains(&name) {
                self.lacking.push((format!("module {name}"), item.at.clone()));
            } else {
                let meant = nearest(name, self.modules.iter().chain(sections::MODULES).copied());
                self.unknown("module", &format!("app.modules: {}", Quoted(name)), name, &item.at, meant);
            }
        }
    }

    fn streams(&mut self) -> Vec<Stream> {
        let mut out = Vec::new();
        let entries = self.map("streams", "names with sources");
        for entry in entries {
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
        for entry in entries {
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
            if let Some(section) = sections::find("streams") {
                let values = self.table(section, &what, &what, node, &mut Vec::new());
                stream.aliases = StreamOptions::from_values(values).aliases;
            }
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
                None => self.expect(item.is_null(), &what, &what, item, "a source like rtsp://…"),
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

    fn users(&mut self) -> Vec<UserRow> {
        let mut out: Vec<UserRow> = Vec::new();
        let Some((section, node)) = self.find("users") else { return out };
        let fits = matches!(node.value, Value::Seq(_) | Value::Null);
        self.expect(fits, "users", "users", node, "a list like \"- name: anna\"");
        for (i, item) in node.items().iter().enumerate() {
            if i >= MAX_USERS {
                self.fault("users", &item.at, format!("users: more than {MAX_USERS} of them"));
                break;
            }
            let path = format!("users[{i}]");
            let errors = self.errors();
            let user = UserRow::from_values(self.table(section, "users", &path, item, &mut Vec::new()));
            let good = self.errors() == errors;
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

    fn open(&mut self) -> Option<bool> {
        let (Section { shape: Shape::Single(key), .. }, node) = self.find("open")? else { return None };
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
    fn texts(&mut self, name: &'static str) -> Vec<(String, String)> {
        let Some(Section { shape: Shape::Texts(key), .. }) = sections::find(name) else { return Vec::new() };
        let mut out = Vec::new();
        for entry in self.map(name, "names with text") {
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

    fn homekit(&mut self, streams: &[Stream]) -> Vec<(String, Homekit)> {
        let mut out = Vec::new();
        for (entry, path, values) in self.rows("homekit") {
            let row = Homekit::from_values(values);
            // a bridge is no stream: those behind it are
            if row.streams.is_empty() && !streams.iter().any(|s| s.name == entry.key) {
                self.unknown_stream(&path, &entry.key, &entry.at, streams);
                continue;
            }
            for name in row.streams.iter().filter(|name| !streams.iter().any(|s| s.name == **name)) {
                self.unknown_stream(&format!("{path}.streams"), name, &entry.at, streams);
            }
            out.push((entry.key.clone(), row));
        }
        out
    }

    fn record(&mut self, streams: &[Stream]) -> Vec<(String, Record)> {
        let mut out = Vec::new();
        for (entry, path, values) in self.rows("record") {
            if streams.iter().any(|s| s.name == entry.key) {
                out.push((entry.key.clone(), Record::from_values(values)));
            } else {
                self.unknown_stream(&path, &entry.key, &entry.at, streams);
            }
        }
        out
    }

    /// Names of streams with a map each: the entry, its path and its values.
    fn rows(&mut self, name: &'static str) -> Vec<(&'a Entry, String, Values)> {
        let mut out = Vec::new();
        let Some(section) = sections::find(name) else { return out };
        for entry in self.map(name, "names of streams") {
            let path = format!("{name}.{}", entry.key);
            let values = self.table(section, &path, &path, &entry.value, &mut Vec::new());
            out.push((entry, path, values));
        }
        out
    }

    fn preload(&mut self, streams: &[Stream]) -> Vec<(String, String)> {
        let out = self.texts("preload");
        for entry in self.find("preload").map_or(&[][..], |(_, node)| node.entries()) {
            let known = |s: &Stream| s.name == entry.key || s.aliases.contains(&entry.key);
            if !streams.iter().any(known) {
                self.unknown_stream(&format!("preload.{}", entry.key), &entry.key, &entry.at, streams);
            }
        }
        out
    }

    fn publish(&mut self) -> Vec<(String, Vec<String>)> {
        let mut out = Vec::new();
        let entries = self.find("publish").map_or(&[][..], |(_, node)| node.entries());
        for entry in entries {
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
