//! `streamd ctl`: asks or tells the running one over its control socket, and prints the answer for a
//! person.

use super::api::VERSION;
use super::args::Action;
use super::help::Exit;
use super::run::configuration;
use super::terminal;
use crate::net::http::client;
use crate::net::json::{self, Value, Writer};
use crate::net::process::{standard, write_all};
use std::fmt::Write;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Does what was asked for and prints what came back.
pub fn ctl(socket: Option<&Path>, action: Action) -> Exit {
    let socket = socket.map_or_else(|| configuration(&[]).config.ctl.socket.clone(), PathBuf::from);
    let (method, target, body) = match request(&action) {
        Ok(request) => request,
        Err(sentence) => {
            terminal::complain(format_args!("streamd ctl: {sentence}"));
            return Exit::Usage;
        }
    };
    let answer = match client::unix(&socket, method, &target, body.as_bytes()) {
        Ok(answer) => answer,
        Err(error) => {
            let place = socket.display();
            terminal::complain(format_args!("streamd ctl: {place}: {error}; is streamd {VERSION} running?"));
            return Exit::Unavailable;
        }
    };
    let text = String::from_utf8_lossy(&answer.body);
    if !(200..300).contains(&answer.status) {
        terminal::complain(format_args!("streamd ctl: {}", text.trim_end()));
        return Exit::Failed;
    }
    let shown = match (&action, json::parse(&answer.body)) {
        (Action::Status, Ok(value)) => status(&value),
        (Action::Streams, Ok(value)) => streams(&value),
        (Action::Homekit { stream: None }, Ok(value)) => {
            value.members().iter().map(|(name, home)| accessory(name, home)).collect()
        }
        (Action::Homekit { stream: Some(name) }, Ok(value)) => accessory(name, &value),
        _ => text.into_owned(),
    };
    if !shown.is_empty() {
        terminal::print_line(&shown);
    }
    Exit::Ok
}

fn percent_encode(text: &str) -> String {
    let mut out = String::new();
    crate::net::http::percent_encode(&mut out, text);
    out
}

fn request(action: &Action) -> Result<(&'static str, String, String), String> {
    let event = |what: &str, stream: &Option<String>| {
        let src = stream.as_deref().map_or(String::new(), |s| format!("&src={}", percent_encode(s)));
        format!("/api/events?type={what}{src}")
    };
    Ok(match action {
        Action::Status => ("GET", "/api/status".into(), String::new()),
        Action::Streams => ("GET", "/api/streams".into(), String::new()),
        Action::Passwd => {
            let mut w = Writer::new();
            w.begin_object().key("password").string(&password()?).end_object();
            ("POST", "/api/setup".into(), w.finish())
        }
        Action::Motion { on, stream } => {
            ("POST", format!("{}&on={on}", event("motion", stream)), String::new())
        }
        Action::Doorbell { stream } => ("POST", event("doorbell", stream), String::new()),
        Action::Homekit { stream } => {
            let id = stream.as_deref().map_or(String::new(), |s| format!("?id={}", percent_encode(s)));
            ("GET", format!("/api/homekit{id}"), String::new())
        }
        Action::Play { stream, file } => {
            let src = match file {
                None => String::new(),
                Some(file) if is_source(file) => file.clone(),
                Some(file) => {
                    let path = std::path::absolute(file).map_err(|e| format!("{file}: {e}"))?;
                    if !path.is_file() {
                        return Err(format!("{file}: there is no such file"));
                    }
                    format!("file:{}", path.display())
                }
            };
            let (dst, src) = (percent_encode(stream), percent_encode(&src));
            ("POST", format!("/api/streams?dst={dst}&src={src}"), String::new())
        }
        Action::Reload => ("POST", "/api/reload".into(), String::new()),
        Action::Kick { id } => ("DELETE", format!("/api/viewers?id={id}"), String::new()),
        Action::Log => ("GET", "/api/log".into(), String::new()),
    })
}

/// Whether it is a source and not a file's name.
fn is_source(text: &str) -> bool {
    !Path::new(text).exists() && text.split_once(':').is_some_and(|(s, _)| s.len() > 1 && !s.contains('/'))
}

/// Asks for a password, unseen where there is a terminal.
fn password() -> Result<String, String> {
    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
    let stdin = standard(0);
    let old = if stdin.is_terminal() { tcgetattr(stdin).ok() } else { None };
    if let Some(old) = &old {
        let mut hidden = old.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        let _ = tcsetattr(stdin, SetArg::TCSANOW, &hidden);
        let _ = write_all(standard(2), b"New password of the user admin: ");
    }
    let read = terminal::read_line();
    if let Some(old) = &old {
        let _ = tcsetattr(stdin, SetArg::TCSANOW, old);
        terminal::complain(format_args!(""));
    }
    let line = read.map_err(|e| e.to_string())?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

fn int(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_int).unwrap_or(0)
}

fn status(value: &Value) -> String {
    let mut out = format!("streamd {}, up {} s\n", text(value, "version"), int(value, "uptime"));
    for line in value.get("listening").map_or(&[][..], Value::items) {
        let _ = writeln!(out, "  {}", line.as_str().unwrap_or(""));
    }
    let _ = writeln!(out, "  doors: {}", text(value, "doors"));
    if let Some(memory) = value.get("memory") {
        let (rss, media) = (int(memory, "rss") / 1024, int(memory, "media") / 1024);
        let _ = writeln!(out, "  memory: {rss} KiB, {media} KiB of it media");
    }
    for (name, stream) in value.get("streams").map_or(&[][..], Value::members) {
        let state = match (stream.get("running").and_then(Value::as_bool), text(stream, "error")) {
            (Some(true), _) => "running".to_owned(),
            (_, "") => "idle".to_owned(),
            (_, error) => error.to_owned(),
        };
        let _ = writeln!(out, "  stream {name}: {state}, {} watching", int(stream, "viewers"));
    }
    let list = |key| value.get(key).map_or(&[][..], Value::items).iter().filter_map(|v| v.as_str());
    for line in list("off") {
        let _ = writeln!(out, "  off: {line}");
    }
    for line in list("problems") {
        let _ = writeln!(out, "  {line}");
    }
    out
}

fn streams(value: &Value) -> String {
    let mut out = String::new();
    for (name, stream) in value.members() {
        let _ = writeln!(out, "{name}");
        for source in stream.get("producers").map_or(&[][..], Value::items) {
            let what = match text(source, "url") {
                "" => format!("publisher {}", text(source, "remote_addr")),
                url => url.to_owned(),
            };
            let _ = write!(out, "  from {what}: {}", text(source, "state"));
            for media in source.get("medias").map_or(&[][..], Value::items) {
                let _ = write!(out, "; {}", media.as_str().unwrap_or(""));
            }
            match text(source, "error") {
                "" => out.push('\n'),
                error => out.push_str(&format!("; {error}\n")),
            }
        }
        for viewer in stream.get("consumers").map_or(&[][..], Value::items) {
            let _ = writeln!(
                out,
                "  to   {} {} {}, {} frames, {} skipped",
                int(viewer, "id"),
                text(viewer, "format_name"),
                text(viewer, "remote_addr"),
                int(viewer, "frames"),
                int(viewer, "drops")
            );
        }
    }
    out
}

/// An accessory, with its QR code while nobody is paired.
fn accessory(stream: &str, value: &Value) -> String {
    let mut out = format!(
        "{stream}: {} {}, port {}, {} paired, {} connected\n",
        text(value, "name"),
        text(value, "device_id"),
        int(value, "port"),
        int(value, "paired"),
        value.get("connections").map_or(0, |c| c.items().len()),
    );
    for sentence in value.get("missing").map_or(&[][..], Value::items) {
        let _ = writeln!(out, "  no clips: {}", sentence.as_str().unwrap_or(""));
    }
    if !text(value, "setup_code").is_empty() {
        let _ = writeln!(out, "  setup code {}", text(value, "setup_code"));
        #[cfg(feature = "homekit")]
        if let Some(qr) = crate::homekit::qr::Qr::new(text(value, "setup_uri")) {
            out.push_str(&qr.text());
        }
    }
    out
}
