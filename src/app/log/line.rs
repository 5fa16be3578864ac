//! A message as people and programs read it.

use std::io::Write;

use log::Level;

use crate::media::Time;
use crate::net::clock;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Coloured on a terminal, plain elsewhere.
    #[default]
    Auto,
    /// Plain text.
    Text,
    /// Text with colours, also where no terminal is.
    Color,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// By its name in the configuration.
    pub fn parse(name: &str) -> Option<Format> {
        Some(match name {
            "" | "auto" => Format::Auto,
            "text" => Format::Text,
            "color" => Format::Color,
            "json" => Format::Json,
            _ => return None,
        })
    }
}

/// One message, ready to be written down.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// When, since the start of the machine.
    pub time: Time,
    /// When, in nanoseconds since 1970; nothing before the clock is set.
    pub wall: Option<u64>,
    /// How bad it is.
    pub level: Level,
    /// Who says it.
    pub module: &'a str,
    /// What.
    pub text: &'a str,
}

impl Line<'_> {
    /// Appends the line, its end included; text begins with the time if `stamp` says so.
    pub fn write(&self, format: Format, stamp: bool, out: &mut Vec<u8>) {
        if format == Format::Json {
            return self.json(out);
        }
        let color = format == Format::Color;
        let (name, paint): (_, &[u8]) = match self.level {
            Level::Error => ("ERR", b"\x1b[31m"),
            Level::Warn => ("WRN", b"\x1b[33m"),
            Level::Info => ("INF", b"\x1b[32m"),
            Level::Debug => ("DBG", b"\x1b[36m"),
            Level::Trace => ("TRC", b"\x1b[35m"),
        };
        let wanted = |code: &'static [u8]| if color { code } else { b"" };
        if stamp {
            out.extend_from_slice(wanted(b"\x1b[2m"));
            self.stamp(out);
            out.extend_from_slice(wanted(b"\x1b[0m"));
            out.push(b' ');
        }
        out.extend_from_slice(if color { paint } else { b"" });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(wanted(b"\x1b[0m"));
        out.extend_from_slice(b" [");
        out.extend_from_slice(self.module.as_bytes());
        out.extend_from_slice(b"] ");
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'\n');
    }

    fn stamp(&self, out: &mut Vec<u8>) {
        match self.wall {
            Some(wall) => out.extend_from_slice(clock::rfc3339(wall).as_bytes()),
            // no date is better than a wrong one
            None => {
                let millis = self.time.nanos() / 1_000_000;
                let _ = write!(out, "up {}.{:03}s", millis / 1000, millis % 1000);
            }
        }
    }

    /// The predecessor's line: its log page reads ours. Before the clock is set the time counts from
    /// the start of the machine, which reads as 1970.
    fn json(&self, out: &mut Vec<u8>) {
        let millis = self.wall.unwrap_or(self.time.nanos()) / 1_000_000;
        let level = match self.level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        let _ = write!(out, "{{\"time\":{millis},\"level\":\"{level}\",\"module\":\"");
        escape(self.module, out);
        out.extend_from_slice(b"\",\"message\":\"");
        escape(self.text, out);
        out.extend_from_slice(b"\"}\n");
    }
}

fn escape(text: &str, out: &mut Vec<u8>) {
    for &b in text.as_bytes() {
        match b {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            0..0x20 => out.push(b' '), // the mask has left none
            _ => out.push(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, wall: Option<u64>) -> String {
        let mut out = Vec::new();
        let time = Time::from_nanos(12_345_678_901);
        Line { time, wall, level: Level::Warn, module: "rtsp", text: "say \"no\" \\ é" }
            .write(format, true, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_for_people_and_a_line_for_programs() {
        let wall = Some(1_769_846_709_042_000_000);
        assert_eq!(written(Format::Text, wall), "2026-01-31T08:05:09.042Z WRN [rtsp] say \"no\" \\ é\n");
        assert_eq!(
            written(Format::Color, wall),
            "\x1b[2m2026-01-31T08:05:09.042Z\x1b[0m \x1b[33mWRN\x1b[0m [rtsp] say \"no\" \\ é\n"
        );
        assert_eq!(
            written(Format::Json, wall),
            "{\"time\":1769846709042,\"level\":\"warn\",\"module\":\"rtsp\",\"message\":\"say \\\"no\\\" \\\\ é\"}\n"
        );
    }

    #[test]
    fn whoever_stamps_lines_himself_gets_none_from_us() {
        let (mut out, time) = (Vec::new(), Time::ZERO);
        Line { time, wall: None, level: Level::Info, module: "a", text: "b" }.write(
            Format::Text,
            false,
            &mut out,
        );
        assert_eq!(out, b"INF [a] b\n");
    }

    #[test]
    fn a_camera_without_a_clock_shows_how_long_it_is_up() {
        assert_eq!(written(Format::Text, None), "up 12.345s WRN [rtsp] say \"no\" \\ é\n");
        assert!(written(Format::Json, None).starts_with("{\"time\":12345,"));
    }
}
