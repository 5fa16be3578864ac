//! Arguments in, a [`Command`] out; pure. What exists is said by the table in `help`, what it becomes
//! is said here.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::config::suggest::nearest;
#[cfg(feature = "tools")]
use super::decimal::{seconds, threshold};
use super::help::{self, ABSENT, COMMANDS, COMMON, CTL, Entry, RUN, find};
#[cfg(feature = "tools")]
use super::motion::Options as MotionOptions;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve.
    Run {
        /// Files, inline YAML and `key=value`, in order; none: the default file.
        config: Vec<String>,
        /// Do not start with a wrong configuration.
        strict: bool,
    },
    /// Serve one source as a HomeKit camera that hubs record.
    Hksv {
        /// The configuration that this makes.
        config: Vec<String>,
    },
    /// Read the configuration and report.
    Check {
        /// As for [`Command::Run`].
        config: Vec<String>,
    },
    /// Print the configuration's schema.
    #[cfg(feature = "schema")]
    Schema {
        /// Markdown instead of JSON.
        docs: bool,
    },
    /// Watch a source and describe it.
    #[cfg(feature = "tools")]
    Probe {
        /// As for [`Command::Run`].
        config: Vec<String>,
        /// A stream's name or a source.
        source: String,
        /// For programs.
        json: bool,
        /// For how long at most.
        seconds: u32,
        /// Or until each track has so many frames.
        frames: Option<u32>,
        /// Where to write what was seen.
        save: Option<PathBuf>,
    },
    /// Show what the motion detector sees.
    #[cfg(feature = "tools")]
    Motion(Box<MotionOptions>),
    /// List devices.
    Devices {
        /// For programs.
        json: bool,
    },
    /// Talk to the running one.
    Ctl {
        /// Its socket, if not the usual.
        socket: Option<PathBuf>,
        /// What to say.
        action: Action,
    },
    /// Print a text to stdout: help or version.
    Print(String),
}

/// What `ctl` asks of the running program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// What runs and what does not.
    Status,
    /// Streams and viewers.
    Streams,
    /// Set the admin's password (asked for at the terminal, never an argument).
    Passwd,
    /// Motion begins or ends.
    Motion {
        /// Begins.
        on: bool,
        /// Where; none: the only one, or all.
        stream: Option<String>,
    },
    /// The bell rings.
    Doorbell {
        /// Where.
        stream: Option<String>,
    },
    /// Accessories, and how they are paired.
    Homekit {
        /// Which; none: all.
        stream: Option<String>,
    },
    /// Play to a speaker.
    Play {
        /// Whose.
        stream: String,
        /// What; none: stop.
        file: Option<String>,
    },
    /// Read the configuration again.
    Reload,
    /// Disconnect a viewer.
    Kick {
        /// Its number in `streams`.
        id: u32,
    },
    /// The last messages.
    Log,
}

/// The command line is wrong: exit code [`help::Exit::Usage`], this on stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    what: String,
    usage: String,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "streamd: {}\n{}; more with --help", self.what, self.usage)
    }
}

impl std::error::Error for UsageError {}

/// Reads the arguments, without the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let words: Vec<OsString> = args.into_iter().collect();
    let mut given = Given { entry: &RUN, flags: Vec::new(), values: Vec::new() };
    let understood = match given.read(Words { rest: words.iter(), cluster: "", free: false }) {
        Ok(Some(text)) => Ok(Command::Print(text)),
        Ok(None) => given.command(),
        Err(what) => Err(what),
    };
    understood.map_err(|what| UsageError { what, usage: help::usage(given.entry) })
}

/// What stands on the command line, checked against the table but not yet understood.
struct Given<'a> {
    entry: &'static Entry,
    flags: Vec<(&'static str, &'a str)>,
    values: Vec<&'a str>,
}

impl<'a> Given<'a> {
    /// A text if that is what was asked for.
    fn read(&mut self, mut words: Words<'a>) -> Result<Option<String>, String> {
        let mut wants_help = false;
        while let Some(arg) = words.next()? {
            let mut all = self.entry.flags.iter().chain(COMMON);
            let (flag, here) = match arg {
                Arg::Value(name) if self.entry.name.is_empty() => {
                    let near = || nearest(name, COMMANDS.iter().map(|e| e.name));
                    self.entry =
                        match (find(COMMANDS, name), ABSENT.iter().find(|(absent, _)| absent == &name)) {
                            (Some(entry), _) => entry,
                            (_, Some((_, feature))) => {
                                return Err(format!(
                                    "`{name}` is not in this streamd; it comes with the feature `{feature}`"
                                ));
                            }
                            _ => return Err(unknown("command", name, near())),
                        };
                    continue;
                }
                Arg::Value(value) => {
                    self.values.push(value);
                    continue;
                }
                Arg::Short(c) => match all.find(|f| f.short == Some(c)) {
                    Some(flag) => (flag, None),
                    None => return Err(unknown("option", &format!("-{c}"), None)),
                },
                Arg::Long(name, here) => match all.find(|f| f.long == name) {
                    Some(flag) => (flag, here),
                    None => {
                        let all = self.entry.flags.iter().chain(COMMON);
                        let near = nearest(name, all.map(|f| f.long)).map(|n| format!("--{n}"));
                        return Err(unknown("option", &format!("--{name}"), near.as_deref()));
                    }
                },
            };
            if let (Some(value), true) = (here, flag.value.is_empty()) {
                return Err(format!("--{} takes no value, here is `{value}`", flag.long));
            }
            match flag.long {
                "help" => wants_help = true,
                "version" => return Ok(Some(concat!("streamd ", env!("CARGO_PKG_VERSION"), "\n").into())),
                _ if flag.value.is_empty() => self.flags.push((flag.long, "")),
                _ => {
                    let value = if here.is_some() { here } else { words.value()? };
                    let missing = || format!("--{} wants its {}", flag.long, flag.value);
                    self.flags.push((flag.long, value.ok_or_else(missing)?));
                }
            }
        }
        Ok(wants_help.then(|| help::help(self.entry)))
    }

    fn command(&mut self) -> Result<Command, String> {
        let entry = self.entry;
        if entry.name == "ctl" {
            return Ok(Command::Ctl { socket: self.path("socket"), action: self.action()? });
        }
        self.count(entry)?;
        Ok(match entry.name {
            "check" => Command::Check { config: self.all("config") },
            "hksv" => Command::Hksv { config: self.hksv() },
            #[cfg(feature = "schema")]
            "schema" => Command::Schema { docs: self.has("docs") },
            "devices" => Command::Devices { json: self.has("json") },
            #[cfg(feature = "tools")]
            "probe" => Command::Probe {
                config: self.all("config"),
                source: self.take().to_owned(),
                json: self.has("json"),
                seconds: self.number("seconds", 3600)?.unwrap_or(5),
                frames: self.number("frames", 1_000_000)?,
                save: self.path("save"),
            },
            #[cfg(feature = "tools")]
            "motion" => Command::Motion(Box::new(self.motion()?)),
            _ => Command::Run { config: self.all("config"), strict: self.has("strict") },
        })
    }

    #[cfg(feature = "tools")]
    fn motion(&mut self) -> Result<MotionOptions, String> {
        let plain = match self.last("rule") {
            None | Some("complexity") => false,
            Some("size") => true,
            Some(other) => return Err(format!("--rule is `{other}`; it is complexity or size")),
        };
        let threshold = match self.last("threshold") {
            None => None,
            Some(text) => Some(threshold(text).ok_or_else(|| {
                format!("--threshold is `{text}`; it takes a number from 1.05 to 100, like 2.0")
            })?),
        };
        Ok(MotionOptions {
            config: self.all("config"),
            source: self.take().to_owned(),
            csv: self.has("csv"),
            svg: self.path("svg"),
            fps: self.number("fps", 240)?,
            threshold,
            sensitivity: self.number("sensitivity", 10)?.map(|n| n as u8),
            hold: self.time("hold")?,
            cool_down: self.time("cooldown")?,
            labels: self.path("labels"),
            plain,
            seconds: self.number("seconds", 86_400)?,
        })
    }

    /// A flag's time, at most a day.
    #[cfg(feature = "tools")]
    fn time(&self, flag: &str) -> Result<Option<std::time::Duration>, String> {
        let Some(text) = self.last(flag) else { return Ok(None) };
        match seconds(text) {
            Some(time) if time.as_secs() <= 86_400 => Ok(Some(time)),
            _ => Err(format!("--{flag} is `{text}`; it takes seconds, like 1.5")),
        }
    }

    /// The configuration of a camera that is nothing but an accessory.
    fn hksv(&mut self) -> Vec<String> {
        let source = self.take();
        let mut config = vec![
            "{api: {listen: \"127.0.0.1:1984\"}, rtsp: {listen: \"\"}, ctl: {socket: \"\"}}".to_owned(),
            ["streams.camera=", source].concat(),
            "homekit.camera.hksv=true".to_owned(),
            ["homekit.camera.motion=", self.last("motion").unwrap_or("detect,api")].concat(),
        ];
        for (flag, key) in [
            ("pin", "homekit.camera.pin="),
            ("port", "homekit.camera.port="),
            ("threshold", "homekit.camera.motion_threshold="),
            ("pairings", "app.state="),
        ] {
            config.extend(self.last(flag).map(|value| [key, value].concat()));
        }
        config
    }

    /// A flag's number, from 1 on.
    #[cfg(feature = "tools")]
    fn number(&self, flag: &str, most: u32) -> Result<Option<u32>, String> {
        let Some(text) = self.last(flag) else { return Ok(None) };
        match text.parse() {
            Ok(n) if (1..=most).contains(&n) => Ok(Some(n)),
            _ => Err(format!("--{flag} is `{text}`; it takes a number from 1 to {most}")),
        }
    }

    fn action(&mut self) -> Result<Action, String> {
        let name = self.take();
        if name.is_empty() {
            let names: Vec<_> = CTL.iter().map(|e| e.name).collect();
            return Err(format!("ctl wants an action: {}", names.join(", ")));
        }
        let near = || nearest(name, CTL.iter().map(|e| e.name));
        let entry = find(CTL, name).ok_or_else(|| unknown("action", name, near()))?;
        self.count(entry)?;
        let (first, second) = (self.take(), self.take());
        let given = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        Ok(match entry.name {
            "streams" => Action::Streams,
            "passwd" => Action::Passwd,
            "motion" => match first {
                "on" | "off" => Action::Motion { on: first == "on", stream: given(second) },
                _ => return Err(format!("motion is on or off, not `{first}`")),
            },
            "doorbell" => Action::Doorbell { stream: given(first) },
            "homekit" => Action::Homekit { stream: given(first) },
            "play" => Action::Play { stream: first.to_owned(), file: given(second) },
            "reload" => Action::Reload,
            "kick" => match first.parse() {
                Ok(id) => Action::Kick { id },
                Err(_) => return Err(format!("`{first}` is not a viewer's number")),
            },
            "log" => Action::Log,
            _ => Action::Status,
        })
    }

    /// As many arguments as the entry has.
    fn count(&self, entry: &Entry) -> Result<(), String> {
        let given = self.values.len();
        match (entry.args.get(given), self.values.get(entry.args.len())) {
            (Some(missing), _) if !missing.starts_with('[') => {
                Err(format!("{} wants its {missing}", entry.name))
            }
            (_, Some(extra)) => Err(format!("`{extra}` is one argument too many")),
            _ => Ok(()),
        }
    }

    /// The next argument; empty if there is none.
    fn take(&mut self) -> &'a str {
        if self.values.is_empty() { "" } else { self.values.remove(0) }
    }

    fn has(&self, long: &str) -> bool {
        self.flags.iter().any(|f| f.0 == long)
    }

    fn last(&self, long: &str) -> Option<&'a str> {
        self.flags.iter().rfind(|f| f.0 == long).map(|f| f.1)
    }

    fn path(&self, long: &str) -> Option<PathBuf> {
        self.last(long).map(PathBuf::from)
    }

    fn all(&self, long: &str) -> Vec<String> {
        self.flags.iter().filter(|f| f.0 == long).map(|f| f.1.to_owned()).collect()
    }
}

fn text(arg: &OsString) -> Result<&str, String> {
    arg.to_str().ok_or_else(|| format!("`{}` is not UTF-8", arg.to_string_lossy()))
}

/// One word of the command line.
enum Arg<'a> {
    /// `-x`
    Short(char),
    /// `--long`, `--long=value`
    Long(&'a str, Option<&'a str>),
    /// Anything else, and all behind `--`.
    Value(&'a str),
}

/// The words that have not been read.
struct Words<'a> {
    rest: std::slice::Iter<'a, OsString>,
    /// Letters that stand behind a `-x`: more options, or its value.
    cluster: &'a str,
    /// `--` has been read.
    free: bool,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<Option<Arg<'a>>, String> {
        if self.cluster.is_empty() {
            let Some(word) = self.rest.next() else { return Ok(None) };
            let word = text(word)?;
            let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty() && !self.free) else {
                return Ok(Some(Arg::Value(word)));
            };
            let long = match letters {
                "-" => {
                    self.free = true;
                    return self.next();
                }
                // the predecessor's way of writing them, found in many an init script
                "config" | "version" | "help" => Some(letters),
                _ => letters.strip_prefix('-'),
            };
            if let Some(long) = long {
                return Ok(Some(match long.split_once('=') {
                    Some((name, value)) => Arg::Long(name, Some(value)),
                    None => Arg::Long(long, None),
                }));
            }
            self.cluster = letters;
        }
        let mut letters = self.cluster.chars();
        let letter = letters.next();
        self.cluster = letters.as_str();
        Ok(letter.map(Arg::Short))
    }

    /// The value of the option that was read: what stands behind its letter, or the next word.
    fn value(&mut self) -> Result<Option<&'a str>, String> {
        let behind = std::mem::take(&mut self.cluster);
        if behind.is_empty() {
            return self.rest.next().map(text).transpose();
        }
        Ok(Some(behind.strip_prefix('=').unwrap_or(behind)))
    }
}

fn unknown(what: &str, word: &str, near: Option<&str>) -> String {
    let mut out = format!("unknown {what} `{word}`");
    if let Some(near) = near {
        out.push_str("; did you mean `");
        out.push_str(near);
        out.push_str("`?");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn of(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|e| e.to_string())
    }

    fn action(line: &str) -> Action {
        match of(&format!("ctl {line}")) {
            Ok(Command::Ctl { socket: None, action }) => action,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_serves_with_what_init_scripts_give_it() {
        assert_eq!(of(""), Ok(Command::Run { config: vec![], strict: false }));
        let config = vec!["a.yaml".into(), "{api:1}".into(), "log.level=debug".into()];
        assert_eq!(
            of("-c a.yaml --strict --config={api:1} -clog.level=debug"),
            Ok(Command::Run { config, strict: true })
        );
        assert_eq!(
            of("-config /etc/x.yaml"),
            Ok(Command::Run { config: vec!["/etc/x.yaml".into()], strict: false })
        );
    }

    #[test]
    fn every_command_is_understood() {
        assert_eq!(of("check -c x"), Ok(Command::Check { config: vec!["x".into()] }));
        #[cfg(feature = "schema")]
        assert_eq!(of("schema"), Ok(Command::Schema { docs: false }));
        #[cfg(feature = "schema")]
        assert_eq!(of("schema --docs"), Ok(Command::Schema { docs: true }));
        assert_eq!(of("devices --json"), Ok(Command::Devices { json: true }));
        #[cfg(feature = "homekit")]
        {
            let Ok(Command::Hksv { config }) = of("hksv rtsp://a:b@c/d --pin 03145154 --pairings /p") else {
                panic!("hksv")
            };
            let made = ["streams.camera=rtsp://a:b@c/d", "homekit.camera.hksv=true"];
            assert_eq!(config[1..3], made);
            assert_eq!(config[3], "homekit.camera.motion=detect,api");
            assert_eq!(config[4..], ["homekit.camera.pin=03145154", "app.state=/p"]);
            let Ok(Command::Hksv { config }) = of("hksv x --motion continuous --port 51826 --threshold 1.5")
            else {
                panic!("hksv")
            };
            assert_eq!(config[3], "homekit.camera.motion=continuous");
            assert_eq!(config[4..], ["homekit.camera.port=51826", "homekit.camera.motion_threshold=1.5"]);
        }
        #[cfg(feature = "tools")]
        {
            let probe = |json, seconds, frames, save: Option<&str>| {
                let (config, source) = (vec![], "rtsp://a:b@c/d".into());
                Ok(Command::Probe { config, source, json, seconds, frames, save: save.map(PathBuf::from) })
            };
            assert_eq!(of("probe rtsp://a:b@c/d"), probe(false, 5, None, None));
            assert_eq!(
                of("probe --json --seconds 60 rtsp://a:b@c/d --save out --frames 7"),
                probe(true, 60, Some(7), Some("out"))
            );
        }
        assert_eq!(action("status"), Action::Status);
        assert_eq!(action("streams"), Action::Streams);
        assert_eq!(action("passwd"), Action::Passwd);
        assert_eq!(action("motion off"), Action::Motion { on: false, stream: None });
        assert_eq!(action("motion on door"), Action::Motion { on: true, stream: Some("door".into()) });
        assert_eq!(action("doorbell"), Action::Doorbell { stream: None });
        assert_eq!(action("homekit door"), Action::Homekit { stream: Some("door".into()) });
        assert_eq!(
            action("play door a.wav"),
            Action::Play { stream: "door".into(), file: Some("a.wav".into()) }
        );
        assert_eq!(action("play door"), Action::Play { stream: "door".into(), file: None });
        assert_eq!(action("reload"), Action::Reload);
        assert_eq!(action("kick 17"), Action::Kick { id: 17 });
        assert_eq!(action("log"), Action::Log);
        assert_eq!(
            of("ctl --socket /run/s status"),
            Ok(Command::Ctl { socket: Some("/run/s".into()), action: Action::Status })
        );
    }

    #[test]
    fn the_table_holds_no_command_that_the_parser_does_not_know() {
        for entry in COMMANDS.iter().filter(|e| e.name != "ctl") {
            let args = if entry.args.is_empty() { "" } else { "x" };
            let command = of(&format!("{} {args}", entry.name)).unwrap();
            assert!(!matches!(command, Command::Run { .. } | Command::Print(_)), "{}", entry.name);
        }
        for entry in CTL {
            let args: Vec<_> = entry.args.iter().map(|a| if *a == "on|off" { "on" } else { "7" }).collect();
            let action = action(&format!("{} {}", entry.name, args.join(" ")));
            assert!((action == Action::Status) == (entry.name == "status"), "{}", entry.name);
        }
    }

    #[test]
    fn what_this_build_lacks_is_told_with_its_feature() {
        for (name, feature) in ABSENT {
            assert!(find(COMMANDS, name).is_none());
            assert!(of(name).unwrap_err().contains(&format!("the feature `{feature}`")));
        }
        assert_eq!(ABSENT.is_empty(), cfg!(all(feature = "schema", feature = "tools", feature = "homekit")));
    }

    #[test]
    fn a_mistake_is_named_with_the_nearest_right_word() {
        for (line, what) in [
            ("--strct", "unknown option `--strct`; did you mean `--strict`?"),
            ("-x", "unknown option `-x`"),
            ("chekc", "unknown command `chekc`; did you mean `check`?"),
            ("elephant", "unknown command `elephant`"),
            ("check --json", "unknown option `--json`"),
            (
                "ctl",
                "ctl wants an action: status, streams, passwd, motion, doorbell, homekit, play, reload, kick, log",
            ),
            ("ctl stauts", "unknown action `stauts`; did you mean `status`?"),
            ("ctl motion", "motion wants its on|off"),
            ("ctl motion maybe", "motion is on or off, not `maybe`"),
            ("ctl play", "play wants its STREAM"),
            ("ctl kick bob", "`bob` is not a viewer's number"),
            ("ctl reload now", "`now` is one argument too many"),
            #[cfg(feature = "tools")]
            ("probe", "probe wants its SOURCE"),
            #[cfg(feature = "tools")]
            ("probe a b", "`b` is one argument too many"),
            #[cfg(feature = "tools")]
            ("probe --seconds 0 a", "--seconds is `0`; it takes a number from 1 to 3600"),
            ("-c", "--config wants its FILE"),
        ] {
            let error = of(line).unwrap_err();
            let first = error.lines().next().unwrap();
            assert_eq!(first, format!("streamd: {what}"));
            assert!(error.lines().nth(1).unwrap().starts_with("usage: streamd"), "{error}");
        }
        assert!(of("--strict=yes").unwrap_err().contains("--strict takes no value, here is `yes`"));
        assert!(of("-hx").unwrap_err().contains("unknown option `-x`"));
        #[cfg(feature = "tools")]
        assert!(
            of("probe").unwrap_err().ends_with("usage: streamd probe [OPTIONS] SOURCE; more with --help")
        );
        let garbage = OsString::from_vec(vec![b'a', 0xff]);
        assert!(parse([garbage]).unwrap_err().to_string().contains("is not UTF-8"));
    }

    #[test]
    fn help_and_version_are_answers_and_not_errors() {
        assert_eq!(of("-h"), Ok(Command::Print(help::help(&RUN))));
        assert_eq!(of("ctl --help"), Ok(Command::Print(help::help(find(COMMANDS, "ctl").unwrap()))));
        #[cfg(feature = "tools")]
        assert_eq!(of("--help probe"), Ok(Command::Print(help::help(find(COMMANDS, "probe").unwrap()))));
        assert!(matches!(of("-v"), Ok(Command::Print(text)) if text.starts_with("streamd 0.")));
        assert_eq!(of("-version"), of("--version"));
    }
}
