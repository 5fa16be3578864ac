//! `/metrics`: the same figures for Prometheus.

use super::{Row, VIEW, now};
use crate::app::program::Program;
use crate::media::Kind;
use crate::net::clock;
use crate::net::http::{Method, Response};
use crate::net::process;
use crate::net::users::User;
use crate::stream::{Outlet, State};

pub const ROUTES: &[Row] = &[now(Method::Get, "/metrics", VIEW, |program, request| {
    let text = metrics(program, &request.user);
    Response::bytes("text/plain; version=0.0.4", text.into_bytes())
})];

/// Bytes of memory that frames take.
pub fn media_bytes(program: &Program) -> u64 {
    program.hall.tracks().iter().map(|track| track.ring().span() as u64).sum()
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        for part in ["# HELP streamd_", name, " ", help, "\n# TYPE streamd_", name, " ", kind, "\n"] {
            self.0.push_str(part);
        }
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.0.push_str("streamd_");
        self.0.push_str(name);
        for (at, (key, value)) in labels.iter().enumerate() {
            self.0.push_str(if at == 0 { "{" } else { "," });
            self.0.push_str(key);
            self.0.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' | '"' => self.0.extend(['\\', c]),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.0.push(' ');
        self.0.push_str(&value.to_string());
        self.0.push('\n');
    }
}

fn metrics(program: &Program, user: &User) -> String {
    let mut t = Text(String::new());
    let (rss, threads) = process::usage();
    let one = |t: &mut Text, name: &str, kind: &str, help: &str, value: u64| {
        t.head(name, kind, help);
        t.line(name, &[], value);
    };
    let uptime = clock::now().since(program.started).as_secs();
    one(&mut t, "uptime_seconds", "gauge", "Seconds since the start.", uptime);
    one(&mut t, "memory_bytes", "gauge", "Memory of the process (RSS).", rss);
    one(&mut t, "media_bytes", "gauge", "Memory that frames take.", media_bytes(program));
    let limit = program.loaded().config.memory.limit as u64;
    one(&mut t, "memory_limit_bytes", "gauge", "memory.limit; 0 is none.", limit);
    let short = u64::from(program.hall.is_short());
    one(&mut t, "memory_short", "gauge", "Whether new viewers are refused for want of memory.", short);
    one(&mut t, "threads", "gauge", "Threads of the process.", threads);
    let http = program.server().stats();
    one(&mut t, "http_connections", "gauge", "Open connections of the API.", http.connections as u64);
    one(&mut t, "http_requests_total", "counter", "Requests that were served.", http.requests);
    one(&mut t, "http_refused_total", "counter", "Requests that were refused.", http.refused);

    let streams = super::visible(program, user);
    t.head("viewers", "gauge", "Viewers of a stream.");
    for s in &streams {
        t.line("viewers", &[("stream", s.name())], s.viewers().len() as u64);
    }
    t.head("source_up", "gauge", "Whether a source runs.");
    for s in &streams {
        for source in s.sources() {
            let id = source.id.to_string();
            let up = u64::from(source.state() == State::Running);
            t.line("source_up", &[("stream", s.name()), ("source", &id)], up);
        }
    }
    type Count = fn(&crate::stream::Track) -> u64;
    let counts: [(&str, &str, Count); 4] = [
        ("track_bytes_total", "Bytes of media received.", |t| t.stats.bytes.get()),
        ("track_frames_total", "Frames received.", |t| t.stats.frames.get()),
        ("track_refused_total", "Frames refused.", |t| t.stats.refused.get()),
        ("track_overwritten_total", "Frames that had to be kept but found no room.", |t| t.ring().broken()),
    ];
    for (name, help, count) in counts {
        t.head(name, "counter", help);
        for s in &streams {
            for source in s.sources() {
                let id = source.id.to_string();
                for outlet in source.outlets() {
                    let Outlet::Track(_, track) = outlet else { continue };
                    let codec = track.codec();
                    let kind = if track.kind() == Kind::Video { "video" } else { "audio" };
                    let labels = [
                        ("stream", s.name()),
                        ("source", id.as_str()),
                        ("kind", kind),
                        ("codec", codec.id.name()),
                    ];
                    t.line(name, &labels, count(&track));
                }
            }
        }
    }
    t.head("viewer_skipped_total", "counter", "Frames that a viewer was too slow for.");
    for s in &streams {
        for viewer in s.viewers() {
            let id = viewer.id.to_string();
            let labels = [("stream", s.name()), ("viewer", id.as_str()), ("format", viewer.peer.format)];
            t.line("viewer_skipped_total", &labels, viewer.stats.skipped.get());
        }
    }
    t.0
}
