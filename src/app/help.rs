//! The command line's one table: every command, argument, option and exit code stands here once. The
//! parser reads it, `--help` prints it, and the manual is made from it.

use std::fmt::Write;

/// What the program's end says to a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or ended because it was asked to.
    Ok = 0,
    /// It failed while it ran.
    Failed = 1,
    /// The configuration is wrong.
    Config = 2,
    /// The command line is wrong.
    Usage = 64,
    /// No streamd is running that could be asked.
    Unavailable = 69,
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit as u8
    }
}

/// All exit codes with their meaning.
pub const EXITS: [(Exit, &str); 5] = [
    (Exit::Ok, "done, or ended by SIGTERM or SIGINT"),
    (Exit::Failed, "failed while running; nothing could be served"),
    (Exit::Config, "the configuration is wrong (check, --strict)"),
    (Exit::Usage, "the command line is wrong"),
    (Exit::Unavailable, "ctl: no streamd answers at the socket"),
];

/// An option.
pub struct Flag {
    /// With two dashes.
    pub long: &'static str,
    /// With one.
    pub short: Option<char>,
    /// The name of its value, if it takes one.
    pub value: &'static str,
    /// One line.
    pub help: &'static str,
}

const fn flag(long: &'static str, short: Option<char>, value: &'static str, help: &'static str) -> Flag {
    Flag { long, short, value, help }
}

/// A command, or one of `ctl`'s.
pub struct Entry {
    /// Its word; the program itself has none.
    pub name: &'static str,
    /// Its arguments by name; those in brackets may be left out.
    pub args: &'static [&'static str],
    /// Its own options.
    pub flags: &'static [Flag],
    /// One line.
    pub help: &'static str,
}

const fn entry(
    name: &'static str,
    args: &'static [&'static str],
    flags: &'static [Flag],
    help: &'static str,
) -> Entry {
    Entry { name, args, flags, help }
}

const CONFIG: Flag = flag("config", Some('c'), "FILE", "file, {inline: yaml} or key.path=value; repeatable");

/// Options of every command.
pub const COMMON: &[Flag] = &[
    flag("help", Some('h'), "", "this text; after a command, that command's"),
    flag("version", Some('v'), "", "the version"),
];

/// Without a command: serve.
pub const RUN: Entry = entry(
    "",
    &[],
    &[CONFIG, flag("strict", None, "", "refuse to start with a wrong configuration")],
    "Serve the camera (default configuration: /etc/streamd.yaml).",
);

/// The commands.
pub const COMMANDS: &[Entry] = &[
    entry("check", &[], &[CONFIG], "Read the configuration and report what is wrong."),
    #[cfg(feature = "schema")]
    entry(
        "schema",
        &[],
        &[flag("docs", None, "", "the reference for people (Markdown) instead")],
        "Print the configuration's JSON schema.",
    ),
    #[cfg(feature = "tools")]
    entry(
        "probe",
        &["SOURCE"],
        &[
            CONFIG,
            flag("json", None, "", "as JSON"),
            flag("seconds", None, "N", "how long to watch, 1 to 3600 (5)"),
            flag("frames", None, "N", "or until each track has N frames"),
            flag("save", None, "PREFIX", "write each track to PREFIX.h264, PREFIX.aac, …"),
        ],
        "Watch a source: tracks, codecs, size, bitrate, GOP.",
    ),
    #[cfg(feature = "tools")]
    entry(
        "motion",
        &["SOURCE"],
        &[
            CONFIG,
            flag("csv", None, "", "as a table"),
            flag("svg", None, "FILE", "draw it"),
            flag("fps", None, "N", "of a raw bitstream that does not say, 1 to 240 (25)"),
            flag("threshold", None, "X", "above the baseline (2.0)"),
            flag("sensitivity", None, "N", "the same from 1, dull, to 10 (5)"),
            flag("hold", None, "S", "how long motion lasts (30; 1 with labels)"),
            flag("cooldown", None, "S", "after which it may begin again (5; 0 with labels)"),
            flag("labels", None, "FILE", "lines `start end` in seconds: score it"),
            flag("rule", None, "WORD", "size: go2rtc's rule instead, to compare"),
            flag("seconds", None, "N", "end after so many"),
        ],
        "Show what the motion detector sees, and score it.",
    ),
    #[cfg(feature = "homekit")]
    entry(
        "hksv",
        &["SOURCE"],
        &[
            flag("pin", None, "CODE", "the setup code; else a random one, which is kept"),
            flag("port", None, "N", "HomeKit's port; else any, which is kept"),
            flag("motion", None, "MODE", "where motion comes from, as homekit.motion says it"),
            flag("threshold", None, "X", "the detector's, as homekit.motion_threshold says it"),
            flag("pairings", None, "FOLDER", "where pairings are kept"),
        ],
        "Serve any camera to Apple Home, recordings too.",
    ),
    entry("devices", &[], &[flag("json", None, "", "as JSON")], "List what this machine offers as sources."),
    entry(
        "ctl",
        &["ACTION", "[…]"],
        &[flag("socket", None, "PATH", "where it listens, if not at the usual place")],
        "Ask or tell the running streamd.",
    ),
];

/// Commands that this build does without, and the feature that would bring them.
pub const ABSENT: &[(&str, &str)] = &[
    #[cfg(not(feature = "schema"))]
    ("schema", "schema"),
    #[cfg(not(feature = "tools"))]
    ("probe", "tools"),
    #[cfg(not(feature = "tools"))]
    ("motion", "tools"),
    #[cfg(not(feature = "homekit"))]
    ("hksv", "homekit"),
];

/// The actions of `ctl`.
pub const CTL: &[Entry] = &[
    entry("status", &[], &[], "what runs, and what could not be started"),
    entry("streams", &[], &[], "streams with their sources and viewers"),
    entry("passwd", &[], &[], "set the admin's password"),
    entry("motion", &["on|off", "[STREAM]"], &[], "report motion, or its end"),
    entry("doorbell", &["[STREAM]"], &[], "ring"),
    entry("homekit", &["[STREAM]"], &[], "accessories, with setup code and QR code"),
    entry("play", &["STREAM", "[FILE]"], &[], "play to the speaker; without FILE: stop"),
    entry("reload", &[], &[], "read the configuration again"),
    entry("kick", &["ID"], &[], "disconnect a viewer (see streams)"),
    entry("log", &[], &[], "the last messages"),
];

/// The entry of a command.
pub fn find(table: &'static [Entry], name: &str) -> Option<&'static Entry> {
    table.iter().find(|e| e.name == name)
}

fn columns(out: &mut String, left: &str, right: &str) {
    let _ = writeln!(out, "  {left:<25} {right}");
}

fn flags(out: &mut String, flags: &[Flag]) {
    for f in flags {
        let short = f.short.map(|c| format!("-{c}, ")).unwrap_or_default();
        let space = if f.value.is_empty() { "" } else { " " };
        columns(out, &format!("{short}--{}{space}{}", f.long, f.value), f.help);
    }
}

fn call(entry: &Entry) -> String {
    let mut out = String::from(entry.name);
    for arg in entry.args {
        out.push(' ');
        out.push_str(arg);
    }
    out
}

/// `usage: streamd probe [OPTIONS] SOURCE`
pub fn usage(entry: &Entry) -> String {
    let mut out = String::from("usage: streamd");
    let parts = [entry.name, if entry.flags.is_empty() { "" } else { "[OPTIONS]" }];
    for part in parts.iter().chain(entry.args).filter(|p| !p.is_empty()) {
        out.push(' ');
        out.push_str(part);
    }
    if entry.name.is_empty() {
        out.push_str(" [COMMAND]");
    }
    out
}

/// The help of a command, or without a name the program's. Fits a screen of 80 × 24.
pub fn help(entry: &Entry) -> String {
    let mut out = usage(entry);
    let _ = write!(out, "\n{}\n\n", entry.help);
    if entry.name == "ctl" {
        CTL.iter().for_each(|e| columns(&mut out, &call(e), e.help));
        out.push('\n');
    }
    if entry.name.is_empty() {
        COMMANDS.iter().for_each(|e| columns(&mut out, &call(e), e.help));
        out.push('\n');
    }
    flags(&mut out, entry.flags);
    flags(&mut out, COMMON);
    if entry.name.is_empty() {
        out.push_str("\nexit codes\n");
        EXITS.iter().for_each(|(code, what)| columns(&mut out, &(*code as u8).to_string(), what));
    }
    out
}

/// The manual's page about the command line, in Markdown.
pub fn manual() -> String {
    let mut out = String::from("# Command line\n");
    for entry in std::iter::once(&RUN).chain(COMMANDS) {
        let space = if entry.name.is_empty() { "" } else { " " };
        let _ = write!(out, "\n## streamd{space}{}\n\n```text\n{}```\n", entry.name, help(entry));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_serial_console() {
        for entry in std::iter::once(&RUN).chain(COMMANDS) {
            let text = help(entry);
            assert!(text.lines().count() < 24, "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 79, "{line}");
            }
        }
    }

    #[test]
    fn no_option_is_defined_twice() {
        for entry in std::iter::once(&RUN).chain(COMMANDS) {
            let all: Vec<_> = entry.flags.iter().chain(COMMON).collect();
            for (i, a) in all.iter().enumerate() {
                for b in &all[i + 1..] {
                    assert!(a.long != b.long && (a.short.is_none() || a.short != b.short));
                }
            }
        }
    }
}
