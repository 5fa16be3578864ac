use super::super::text::MAX_BYTES;
use super::super::yaml::{Node, Value};
use super::*;

fn place(text: &str) -> (u32, u32, String) {
    let error = document(text).unwrap_err();
    (error.at.line, error.at.column, error.sentence)
}

#[test]
fn broken_yaml_is_told_with_its_place() {
    let mut missed = Vec::new();
    for (text, line, column, words) in [
        ("a:\n\tb: 1\n", 2, 1, "tab"),
        ("a: [1, 2\nb: 3\n", 2, 2, ""),
        ("a: {b: 1\n", 2, 1, ""),
        ("a: *nope\n", 1, 4, "names nothing"),
        ("a: \"open\n", 1, 4, "quote"),
        ("a: b: c\n", 1, 5, "':'"),
        ("a: 1\n---\nb: 2\n", 2, 1, "second document"),
        ("a: x\u{0}y\n", 1, 5, "control character"),
        ("? [a, b]\n: 1\n", 1, 3, "plain text"),
        ("ä: @x\n", 1, 4, ""),
        ("a: \"\\q\"\n", 1, 4, "escape"),
    ] {
        let (l, c, sentence) = place(text);
        if (l, c) != (line, column) || !sentence.contains(words) {
            missed.push(format!("{text:?}: {l}:{c} {sentence}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_key_that_stands_twice_names_both_lines_and_the_first_stays() {
    let read = document("streams:\n  a: 1\n  b: 2\n  a:\n    c: 3\n").unwrap();
    assert_eq!(read.duplicates.len(), 1);
    let twice = &read.duplicates[0];
    assert_eq!((twice.path.as_str(), twice.first.line, twice.second.line), ("streams.a", 2, 4));
    assert_eq!(read.root.get("streams").unwrap().get("a").unwrap().text(), Some("1"));
}

#[test]
fn json_is_read_as_it_is() {
    let read = document("{\"a\": {\"b\": [1, true, null, \"x\\u00e4\"]}, \"c\":\"d\"}").unwrap();
    let list = read.root.get("a").unwrap().get("b").unwrap().items();
    assert_eq!(list[0].text(), Some("1"));
    assert!(list[2].is_null());
    assert_eq!(list[3].text(), Some("xä"));
    assert_eq!(read.root.get("c").unwrap().text(), Some("d"));
}

#[test]
fn aliases_and_merges_are_resolved() {
    let read = document("x: &x {a: 1, b: 2}\ny: *x\nz:\n  <<: *x\n  b: 3\n").unwrap();
    assert_eq!(read.root.get("y").unwrap().get("a").unwrap().text(), Some("1"));
    let z = read.root.get("z").unwrap();
    assert_eq!((z.get("a").unwrap().text(), z.get("b").unwrap().text()), (Some("1"), Some("3")));
    assert!(read.root.get("y").unwrap().borrowed);
}

#[test]
fn every_value_knows_its_bytes() {
    let text = nasty();
    let read = document(&text).unwrap();
    fn walk(text: &str, node: &Node) {
        match &node.value {
            Value::Scalar { text: value, quoted: false } if !node.borrowed => {
                let raw = text[node.start..node.end].trim_start_matches("&z ");
                assert_eq!(raw, value);
            }
            Value::Seq(items) => items.iter().for_each(|item| walk(text, item)),
            Value::Map(entries) => {
                for entry in entries {
                    assert_eq!(text[entry.start..entry.end].trim_matches(['"', '\'']), entry.key);
                    walk(text, &entry.value);
                }
            }
            _ => {}
        }
    }
    walk(&text, &read.root);
}

#[test]
fn bombs_are_refused() {
    let deep = "[".repeat(100_000);
    assert!(document(&deep).unwrap_err().sentence.contains("nested"));
    let deep = (0..200).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<String>();
    assert!(document(&deep).unwrap_err().sentence.contains("nested"));
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let item = format!("*a{},", i - 1).repeat(9);
        laughs.push_str(&format!("a{i}: &a{i} [{item}]\n"));
    }
    assert!(document(&laughs).unwrap_err().sentence.contains("more than"));
    let wide = (0..2000).map(|i| format!("k{i}: 1\n")).collect::<String>();
    assert!(document(&wide).unwrap_err().sentence.contains("keys in one map"));
    let long = "- x\n".repeat(20_000);
    assert!(document(&long).unwrap_err().sentence.contains("values"));
    assert!(document(&"x".repeat(MAX_BYTES + 1)).unwrap_err().sentence.contains("larger"));
    for bomb in
        ["{", "[{", "? ", "- ", "&a ", "!a ", "*a ", "\"", "|\n", "a: ", ": ", "#", "%", "\r", "{a: ", "-"]
    {
        let _ = document(&bomb.repeat(MAX_BYTES / bomb.len() / 4));
    }
}

#[test]
fn no_mutation_panics() {
    let valid = [nasty(), super::loading::PREDECESSOR.to_owned()];
    let bits = [
        "\t", "\n", " ", ":", "-", "{", "}", "[", "]", "&a", "*a", "\"", "'", "|", ">", "#", "%", "!", "${",
        "ä", "\r", "? ", "<<: ",
    ];
    let mut dice = Dice(7);
    for round in 0..600 {
        let mut chars: Vec<char> = valid[round % 2].chars().collect();
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(chars.len());
            match dice.roll(3) {
                0 => drop(chars.drain(at..(at + 1 + dice.roll(8)).min(chars.len()))),
                1 => chars.truncate(at.max(1)),
                _ => drop(chars.splice(at..at, bits[dice.roll(bits.len())].chars())),
            }
            if chars.is_empty() {
                chars.push('a');
            }
        }
        let text: String = chars.into_iter().collect();
        let loaded = load(&text);
        let masked = super::super::replace::mask(&text, &|name| environment(name));
        let _ = super::super::replace::unmask(&masked, &text, &|name| environment(name));
        let name = std::rc::Rc::from("t.yaml");
        for path in [&["streams", "yard"][..], &["preload", "x"], &["api", "listen"]] {
            for new in [
                None,
                Some(super::super::write::New::text("rtsp://x")),
                Some(super::super::write::New::list(&["a", "b"])),
            ] {
                let _ =
                    super::super::write::edit(&name, &text, &|name| environment(name), path, new.as_ref());
            }
        }
        drop(loaded);
    }
}

#[test]
fn repeated_text_is_bounded_like_written_text() {
    // A quarter of the file behind thousands of short names would be gigabytes.
    let long = "x".repeat(100_000);
    let many = format!("a: &a {long}\nb: [{}]", vec!["*a"; 10_000].join(","));
    assert!(document(&many).unwrap_err().sentence.contains("aliases repeat"));
    // Anchors inside anchors hold copies of copies.
    let items = vec!["x"; 1200].join(",");
    let nested = (0..14).fold(format!("[{items}]"), |inner, i| format!("&a{i} [{inner}]"));
    assert!(document(&format!("a: {nested}")).unwrap_err().sentence.contains("more than"));
    let usual = format!("a: &a [{}]\nb: *a\nc: *a", vec!["rtsp://192.0.2.1/"; 100].join(", "));
    assert_eq!(document(&usual).unwrap().root.get("c").unwrap().items().len(), 100);
}

#[test]
fn keys_are_short_and_few_duplicates_are_told() {
    let key = "k".repeat(super::super::yaml::MAX_KEY);
    assert!(document(&format!("{key}: 1")).is_ok());
    assert!(document(&format!("{key}k: 1")).unwrap_err().sentence.contains("key longer than 256"));
    let twice = document(&"a: 1\n".repeat(500)).unwrap();
    assert_eq!(twice.duplicates.len(), 16);
}

#[test]
fn a_reference_repeated_does_not_grow_without_end() {
    let file = format!("env: {{B: {}}}", "y".repeat(200_000));
    let value = super::super::expand::expand_value(&"${B}".repeat(10_000), &file, &|_| None);
    assert!(value.len() < 1 << 20, "{}", value.len());
}
