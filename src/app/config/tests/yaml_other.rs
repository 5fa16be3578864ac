//! What we read is what others read: a second YAML parser, of the tests alone, must find the same
//! values in files as people write them, in trees written in every style, and in broken files that both
//! still accept.

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::super::yaml::{Node, Value};
use super::*;

/// A tree without places; keys that stand twice are left out as ours leaves them out.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Null,
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

fn ours(node: &Node) -> Tree {
    match &node.value {
        Value::Null => Tree::Null,
        Value::Scalar { text, .. } => Tree::Text(text.clone()),
        Value::Seq(items) => Tree::List(items.iter().map(ours).collect()),
        Value::Map(entries) => Tree::Map(entries.iter().map(|e| (e.key.clone(), ours(&e.value))).collect()),
    }
}

/// The other's tree; `Err(true)` if it cannot be compared (aliases, keys that are lists).
fn theirs(text: &str) -> Result<Tree, bool> {
    let mut stack: Vec<(Tree, Option<String>)> = Vec::new();
    let mut root = None;
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, _) = event.map_err(|_| false)?;
        let key_next = matches!(stack.last(), Some((Tree::Map(_), None)));
        let done = match event {
            Event::Alias(_) => return Err(true),
            Event::DocumentStart(_) if root.is_some() => return Err(false),
            Event::SequenceStart(..) | Event::MappingStart(..) if key_next => return Err(true),
            Event::SequenceStart(..) => {
                stack.push((Tree::List(Vec::new()), None));
                continue;
            }
            Event::MappingStart(..) => {
                stack.push((Tree::Map(Vec::new()), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => stack.pop().unwrap().0,
            Event::Scalar(text, style, _, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                if plain && !key_next && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Tree::Null
                } else {
                    Tree::Text(text.into_owned())
                }
            }
            _ => continue,
        };
        match stack.last_mut() {
            None => root = Some(done),
            Some((Tree::List(items), _)) => items.push(done),
            Some((Tree::Map(entries), key)) => match (key.take(), done) {
                (Some(key), done) if entries.iter().all(|(known, _)| *known != key) => {
                    entries.push((key, done));
                }
                (Some(_), _) => {}
                (None, Tree::Text(text)) => *key = Some(text),
                (None, _) => return Err(true),
            },
            Some(_) => unreachable!(),
        }
    }
    Ok(root.unwrap_or(Tree::Null))
}

fn agree(text: &str) -> bool {
    let read = document(text).map(|found| ours(&found.root));
    match (read, theirs(text)) {
        (Ok(found), Ok(other)) => {
            assert_eq!(found, other, "{text}");
            true
        }
        // Where we are stricter it is on purpose: tabs, and marks of documents in the middle of one.
        (Err(error), Ok(_)) => {
            let known = ["\t", "---", "...", ": :", ": -", ": ?", "{|", "[|", "{>", "[>", ", |", ", >"];
            assert!(
                known.iter().any(|known| text.contains(known))
                    || error.sentence.contains("special characters"),
                "the other parser reads this, ours says {error}:\n{text}"
            );
            false
        }
        _ => false,
    }
}

#[test]
fn files_as_people_write_them_are_read_as_others_read_them() {
    for text in [
        super::loading::PREDECESSOR,
        "# only a comment\n",
        "--- # head\na: 1\n...\n",
        "%YAML 1.2\n---\na: 1\n",
        "\u{feff}a: 1\n",
        "streams:\n  cam: rtsp://u:p%40x@192.0.2.1:554/h264?a=b#video=copy#audio=opus\n",
        "streams:\n  cam:\n    - rtsp://192.0.2.1/a\n    - \"exec:ffmpeg -i {input} -f rtsp {output}\"\n",
        "streams:\n  cam:\n  - rtsp://192.0.2.1/a # first\n  - 'it''s here'\n  two: [a, \"b, c\", 'd: e',]\n",
        "ffmpeg:\n  h264: \"-codec:v libx264 -g:v 30 -preset:v superfast\"\n  bin: ffmpeg # in the path\n",
        "long: exec:one two\n  three: four#five\n".trim_end_matches(": four#five\n"),
        "a: plain that goes\n  on here\n\n  and there # not this\nb: 2\n",
        "a: >-\n  folded\n  text\n\n  two\n    kept\n  end\n\nb: |+\n  x\n   y\n\n\nc: |2-\n    z\n",
        "webrtc:\n  candidates:\n    - 192.0.2.1:8555\n    - stun:8555\n  ice_servers:\n    - urls: [stun:stun.example:3478]\n",
        "{\"a\": [1, 2.5, true, null, \"x\\n\\u00e4\"], \"b\":{\"c\":\"d\"}}",
        "a: [\n  b,\n  c\n]\nd: {\n  e: f\n}\n",
        "a: 'multi\n  line'\nb: \"multi\\\n  line \\\n  \\  kept\"\n",
        "? explicit\n: value\n? alone\n",
        "a: !!str 5\nb: &x {c: d}\n",
        "a:\n- b\n-\n- - c\n  - d\n-   e: f\n    g: h\nz:\n",
        "a: \r\n  b: c\r\n  d: e\r\n",
        "a: |\n  \tall:\n  \t\tcc\n",
        "key with spaces: value: not a key\n".trim_end_matches(": not a key\n"),
        "a: -1\nb: -x\nc: ?y\nd: :z\ne: x:y\nf: a#b\n",
    ] {
        assert!(theirs(text).is_ok(), "{text}");
        assert!(agree(text), "{text}: {:?}", document(text).map(|_| ()).map_err(|e| e.to_string()));
    }
}

/// A tree that a person could have meant.
fn grow(dice: &mut Dice, depth: usize) -> Tree {
    let word = |dice: &mut Dice| {
        let words = [
            "cam",
            "rtsp://u:p@h:554/a?b=c#d=e",
            "a b",
            "5",
            "true",
            "x: y",
            "#no",
            "- dash",
            "it's",
            "\"q\"",
            "ä€😀",
            "",
            " lead",
            "trail ",
            "two\nlines",
            "end\n",
            "[",
            "a, b",
            "null",
            "\\n",
            "%d",
            "@at",
            "a\tb",
        ];
        words[dice.roll(words.len())].to_owned()
    };
    match dice.roll(if depth == 0 { 2 } else { 5 }) {
        0 if dice.roll(4) == 0 => Tree::Null,
        0 | 1 => Tree::Text(word(dice)),
        2 => Tree::List((0..dice.roll(4)).map(|_| grow(dice, depth - 1)).collect()),
        _ => Tree::Map(
            (0..dice.roll(4)).map(|i| (format!("{}{i}", word(dice)), grow(dice, depth - 1))).collect(),
        ),
    }
}

fn quoted(text: &str, dice: &mut Dice) -> String {
    let plain = text.chars().all(|c| c.is_alphanumeric() || c == '/') && !text.is_empty() && text != "null";
    match dice.roll(3) {
        0 if plain => text.to_owned(),
        1 if !text.contains(['\n', '\t']) => format!("'{}'", text.replace('\'', "''")),
        _ => {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{}\"", text.replace('\n', "\\n").replace('\t', "\\t"))
        }
    }
}

fn inline(tree: &Tree, dice: &mut Dice) -> String {
    let gap = |dice: &mut Dice| [" ", "", "\n        ", "  # note\n        "][dice.roll(4)];
    match tree {
        Tree::Null => "~".to_owned(),
        Tree::Text(text) => quoted(text, dice),
        Tree::List(items) => {
            let items: Vec<_> = items.iter().map(|t| format!("{}{}", inline(t, dice), gap(dice))).collect();
            format!("[{}{}]", items.join(", "), gap(dice))
        }
        Tree::Map(entries) => {
            let entry =
                |(k, t): &(String, Tree)| format!("{}: {}{}", quoted(k, dice), inline(t, dice), gap(dice));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Writes a value behind `key:` or `-` that stands in column `column`, in any style that fits.
fn written(tree: &Tree, column: usize, dice: &mut Dice, out: &mut String) {
    let inner = column + 1 + dice.roll(3);
    let pad = " ".repeat(inner);
    match tree {
        Tree::Null if dice.roll(2) == 0 => out.push('\n'),
        Tree::Text(text) if text.ends_with('\n') && !text.trim().is_empty() && dice.roll(2) == 0 => {
            out.push_str(" |\n");
            text.lines().for_each(|line| out.push_str(&format!("{pad}{line}\n")));
        }
        Tree::List(items) if !items.is_empty() && dice.roll(3) > 0 => {
            out.push_str(["\n", " # note\n", "\n\n"][dice.roll(3)]);
            for item in items {
                out.push_str(&format!("{pad}-"));
                written(item, inner, dice, out);
            }
        }
        Tree::Map(entries) if !entries.is_empty() && dice.roll(4) > 0 => {
            out.push('\n');
            for (key, value) in entries {
                out.push_str(&format!("{pad}{}:", quoted(key, dice)));
                written(value, inner, dice, out);
            }
        }
        _ => {
            let text = inline(tree, dice);
            // What goes on below must stand further in than what holds it.
            out.push_str(&format!(" {}\n", text.replace("\n        ", &format!("\n{pad}        "))));
        }
    }
}

#[test]
fn trees_in_every_style_come_back_whole() {
    let mut dice = Dice(11);
    for _ in 0..1500 {
        let tree = Tree::Map(vec![("top".to_owned(), grow(&mut dice, 3)), ("end".to_owned(), Tree::Null)]);
        let mut text = String::from("top:");
        let Tree::Map(entries) = &tree else { unreachable!() };
        written(&entries[0].1, 0, &mut dice, &mut text);
        text.push_str("end:\n");
        let found = document(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(ours(&found.root), tree, "{text}");
        agree(&text);
    }
}

#[test]
fn broken_files_that_both_read_say_the_same() {
    let bits = [
        "a",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "\n ",
        "  ",
        " ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ",",
        "\"",
        "'",
        " # c",
        "&x ",
        "~",
        "null",
        ": ",
        "\n- ",
        "\na: ",
        "\n  b: ",
        "? ",
        "x y",
        "é",
        "-",
        "\r\n",
        "\\n",
        "rtsp://u:p@h:1/a?b#c",
        "\n\n",
        "%",
        "#",
    ];
    let mut dice = Dice(5);
    let mut both = 0;
    for round in 0..12_000 {
        let mut text: String = (0..=dice.roll(9)).map(|_| bits[dice.roll(bits.len())]).collect();
        if round % 8 == 0 {
            let mut chars: Vec<char> = super::loading::PREDECESSOR.chars().collect();
            let at = dice.roll(chars.len());
            chars.splice(at..(at + dice.roll(5)).min(chars.len()), text.chars());
            text = chars.into_iter().collect();
        }
        both += usize::from(agree(&text));
    }
    assert!(both > 2000, "{both}");
}
