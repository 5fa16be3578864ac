//! `docs/configuration.md`, written from the tables.

use super::keys::{Key, Kind, Section, Shape};
use super::sections::{FOREIGN, SECTIONS};
use super::values::{expected, quoted_list};

const HEAD: &str = "\
# Configuration

This page is made from the tables in `src/app/config/sections`; `streamd schema` prints the same as a
JSON schema for editors, `streamd check` tells what is wrong with a file, with line and column.

streamd reads `/etc/streamd.yaml`. `-c` names other sources and may be repeated: a file, inline text
(`-c '{log: {level: debug}}'`) or a single key (`-c log.level=debug`). Later ones override earlier ones
key by key; lists are replaced whole. The first file is the one that is written back when something is
changed by API: only the changed key, with comments kept and mode 0600.

In files `${NAME}` and `${NAME:default}` are replaced before anything else: from the section `env` of the
same file, a file of that name in `$CREDENTIALS_DIRECTORY`, the environment, the default. What is found
nowhere stays as it is. Values found so are secrets: they show as `***` in logs and answers. Posting `***`
back leaves a secret unchanged.

A mistyped key is a warning with the nearest known one. A value that does not fit is an error: the key
keeps its default and what it belongs to stays off, everything else starts. `streamd check`, `--strict`
and a reload take no file with errors. A key that stands twice is an error that names both lines; the
first stays. A file is at most 256 KiB, nested 16 deep, with 16384 values.

Times are written `4s`, `500ms`, `1m30s`; a plain number is seconds. Sizes are written `64k`, `8M`; a
plain number is bytes. Addresses are written `\":8554\"`, `\"127.0.0.1:1984\"`, `\"[::1]:80\"`, or as a list;
`\"\"` is off.
";

/// The reference as Markdown.
pub fn docs() -> String {
    let mut out = String::from(HEAD);
    for section in SECTIONS {
        write_section(section, &mut out);
    }
    out.push_str("\n## Sections of go2rtc that are not served yet\n\nThey may stand in the file; one line at start tells so: ");
    for (i, name) in FOREIGN.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        out.push('`');
        out.push_str(name);
        out.push('`');
    }
    out.push_str(".\nSections that begin with `x-` are for anchors and otherwise left alone.\n");
    out
}

fn write_section(section: &Section, out: &mut String) {
    out.push_str("\n## ");
    out.push_str(section.name);
    out.push_str("\n\n");
    out.push_str(section.help.trim());
    out.push('\n');
    match section.shape {
        Shape::Rows(_) => out.push_str("\nA list; each item is a map with these keys:\n"),
        Shape::Named(_) => out.push_str("\nA map of streams' names; each has a map with these keys, or nothing:\n"),
        Shape::Texts(_) => out.push_str("\nA map of names.\n"),
        Shape::Sources(_) => out.push_str(
            "\n```yaml\nstreams:\n  porch: rtsp://user:password@192.168.1.20/main\n  yard:\n    - v4l2:device?video=/dev/video0\n    \
             - alsa:device?audio=/dev/snd/pcmC0D0c\n  inbox:\n  gate:\n    url: rtsp://192.168.1.21/main\n    aliases: [front]\n```\n\nA stream written as a map has these keys:\n",
        ),
        _ => {}
    }
    if section.keys().is_empty() {
        return;
    }
    out.push_str("\n| key | value | default | a change applies | |\n|---|---|---|---|---|\n");
    for key in section.keys() {
        row(key, out);
    }
    if let Shape::Table(_, Some(extra)) = &section.shape {
        row(&extra.key, out);
        out.push_str("\nNames for MODULE: ");
        out.push_str(&quoted_list(extra.names).replace('"', ""));
        out.push_str(".\n");
    }
}

fn row(key: &Key, out: &mut String) {
    out.push_str("| `");
    out.push_str(key.name);
    out.push_str("` | ");
    match key.kind {
        Kind::Listen => out.push_str("address or list of addresses"),
        Kind::Text => out.push_str("text"),
        kind => out.push_str(&expected(kind)),
    }
    out.push_str(" | ");
    match key.default {
        "" => out.push_str("\"\""),
        default => {
            out.push('`');
            out.push_str(default);
            out.push('`');
        }
    }
    out.push_str(" | ");
    out.push_str(key.effect());
    out.push_str(" | ");
    out.push_str(key.help.trim());
    out.push_str(" |\n");
}
