//! The configuration: read, masked and unmasked, one key changed.

use std::rc::Rc;
use streamd::app::config::replace::{self, Rejected};
use streamd::app::config::sources::{World, load_instead};
use streamd::app::config::write::{New, edit};
use streamd::app::config::yaml::{self, MAX_NODES, Node, Value, same};
use streamd::app::config::yaml_read::parse;

use super::steer;

const MODULES: &[&str] = &["api", "rtsp", "exec", "echo", "demo"];

fn environment(name: &str) -> Option<String> {
    match name {
        "A" => Some("admin".to_owned()),
        "PASSWORD" => Some("hunter2secret".to_owned()),
        "LINES" => Some("x: 1\ny: [".to_owned()),
        _ => None,
    }
}

fn tree(text: &str) -> Option<Node> {
    let text = streamd::app::config::expand::expand(&Rc::from("t.yaml"), text.to_owned(), &environment);
    parse(&text).ok().map(|document| document.root)
}

/// Counts nodes, and checks that each stands where it says.
fn walk(node: &Node, text: &str, depth: usize) -> usize {
    assert!(depth <= yaml::MAX_DEPTH);
    assert!(node.start <= node.end && text.get(node.start..node.end).is_some(), "{node:?}");
    1 + match &node.value {
        Value::Seq(items) => items.iter().map(|item| walk(item, text, depth + 1)).sum::<usize>(),
        Value::Map(entries) => {
            assert!(entries.len() <= yaml::MAX_ENTRIES);
            entries.iter().map(|entry| 1 + walk(&entry.value, text, depth + 1)).sum::<usize>()
        }
        _ => 0,
    }
}

/// A path of keys in the tree, by a seed; perhaps with a key that is not there.
fn path_in(root: &Node, seed: u8) -> Vec<String> {
    let (mut path, mut node, mut seed) = (vec![], root, usize::from(seed));
    while let Some(entry) = node.entries().get(seed % (node.entries().len() + 1)) {
        path.push(entry.key.clone());
        node = &entry.value;
        seed /= 3;
    }
    if path.is_empty() || seed % 2 == 1 {
        path.push(["streams", "new key", "a: b", "<<", "", "~", "\u{e4}#"][seed % 7].to_owned());
    }
    path
}

fn change(text: &str, root: &Node, how: u8) {
    let name: Rc<str> = Rc::from("t.yaml");
    let path = path_in(root, how);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let word: String = text.chars().rev().take(usize::from(how) / 8).collect();
    let new = match how % 6 {
        0 => None,
        1 => Some(New::Null),
        2 => Some(New::text(&word)),
        3 => Some(New::list(&word.split(',').collect::<Vec<_>>())),
        4 => Some(New::Map(vec![(word.clone(), New::text("x"))])),
        _ => Some(New::text("rtsp://admin:pw@192.0.2.1/a#b")),
    };
    let Ok(out) = edit(&name, text, &environment, &path, new.as_ref()) else { return };
    let Some(after) = tree(&out) else { panic!("{out:?} is no YAML after {path:?}") };
    let mut found = Some(&after);
    for key in &path {
        found = found.and_then(|node| node.get(key));
    }
    match (&new, found) {
        (None, found) => assert!(found.is_none(), "{path:?} is still in {out:?}"),
        (Some(New::Null), Some(node)) => assert!(node.is_null(), "{node:?}"),
        (Some(New::Text(wanted)), Some(node)) if !wanted.contains("${") => {
            assert_eq!(node.text(), Some(wanted.as_str()), "{out:?}");
        }
        (Some(_), found) => assert!(found.is_some(), "{path:?} is not in {out:?}"),
    }
    // What was not meant is as it was.
    for entry in root.entries().iter().filter(|entry| Some(&entry.key.as_str()) != path.first()) {
        assert!(after.get(&entry.key).is_some_and(|n| same(n, &entry.value)), "{} in {out:?}", entry.key);
    }
}

/// What is shown can be posted back, and then nothing has changed.
fn show(text: &str, root: Option<&Node>) {
    let shown = replace::mask(text, &environment);
    assert!(!shown.contains("hunter2secret") || text.contains("hunter2secret"), "{shown:?}");
    let Some(root) = root else { return };
    match replace::unmask(&shown, text, &environment) {
        Ok(back) => {
            let after = tree(&back);
            assert!(
                after.is_some_and(|a| same(&a, root)),
                "{text:?} was shown as {shown:?}, came back as {back:?}"
            );
        }
        Err(Rejected::Masked(_) | Rejected::Broken(_)) => {}
        Err(other) => panic!("{other}"),
    }
}

/// Aliases and references may repeat what they name, up to the bounds of a tree.
pub fn memory(data: &[u8]) -> usize {
    let repeats = data.contains(&b'*') || data.windows(2).any(|w| w == b"${");
    let most = if repeats { 16 << 20 } else { 512 * 1024 };
    most + 800 * data.len()
}

/// See the module.
pub fn run(data: &[u8]) {
    let Some((how, text)) = steer(data) else { return };
    let text = &*String::from_utf8_lossy(text);
    let world = World { env: &environment, modules: MODULES };
    let loaded = load_instead(&["t.yaml".to_owned()], &world, Some(text));
    assert!(loaded.problems.len() <= 100);
    let told: usize = loaded.problems.iter().map(|problem| problem.to_string().len()).sum();
    assert!(told <= 200_000, "{told} bytes of problems");

    let expanded = streamd::app::config::expand::expand(&Rc::from("t.yaml"), text.to_owned(), &environment);
    let root = match parse(&expanded) {
        Ok(document) => {
            assert!(walk(&document.root, text, 0) <= MAX_NODES + 1);
            Some(document.root)
        }
        Err(error) => {
            assert!(
                error.at.line as usize <= text.lines().count() + text.matches('\r').count() + 1,
                "{error}"
            );
            None
        }
    };
    show(text, root.as_ref());
    if let Some(root) = &root {
        assert!(same(root, root));
        change(text, root, how);
    }
}
