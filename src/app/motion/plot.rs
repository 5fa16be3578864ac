//! A plot of what the detector saw, as SVG: complexity, baseline and trigger over time, with what was said
//! below and what was to be seen above. At most a thousand columns, however long it was.

use super::Seen;
use super::score::Labels;
use crate::motion::detector::Type;
use std::fmt::Write;
use std::time::Duration;

/// Columns; twice as many are halved.
const COLUMNS: usize = 1000;
const HIGH: i32 = 300;
/// Steps of a level to one line of the picture.
const STEPS: i32 = 10;

#[derive(Clone, Copy)]
struct Column {
    at: Duration,
    low: i32,
    high: i32,
    base: i32,
    trigger: i32,
    on: bool,
}

/// Collects.
#[derive(Default)]
pub struct Plot {
    columns: Vec<Column>,
    /// Pictures in one column, and in the last.
    each: usize,
    last: usize,
    end: Duration,
}

impl Plot {
    pub(super) fn add(&mut self, seen: &Seen) {
        self.end = seen.at;
        if seen.picture.kind == Type::Key {
            return;
        }
        let v = &seen.verdict;
        let one = Column {
            at: seen.at,
            low: v.level,
            high: v.level,
            base: v.baseline,
            trigger: v.trigger,
            on: seen.on,
        };
        self.each = self.each.max(1);
        match self.columns.last_mut().filter(|_| self.last < self.each) {
            Some(column) => *column = column.and(one),
            None => {
                self.columns.push(one);
                self.last = 0;
            }
        }
        self.last += 1;
        if self.columns.len() >= 2 * COLUMNS {
            let halves = self.columns.chunks(2);
            self.columns = halves.filter_map(|c| c.iter().copied().reduce(Column::and)).collect();
            self.each *= 2;
            self.last = self.each;
        }
    }

    pub(super) fn svg(&self, labels: Option<&Labels>) -> String {
        let low = self.columns.iter().map(|c| c.low.min(c.base)).min().unwrap_or(0) / 256 * 256;
        let span = self.end.as_millis().max(1) as u64;
        let x = |at: Duration| (at.as_millis() as u64).min(span) * COLUMNS as u64 / span;
        let y = |level: i32| (HIGH - (level - low) / STEPS).clamp(12, HIGH);
        let mut out = String::with_capacity(64 * 1024);
        let (wide, high) = (COLUMNS + 60, HIGH + 40);
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-50 0 {wide} {high}\" font-size=\"10\">\
             <rect x=\"-50\" width=\"{wide}\" height=\"{high}\" fill=\"#fff\"/>"
        );
        let bar = |out: &mut String, from: u64, to: u64, y: i32, colour: &str| {
            let wide = to.saturating_sub(from).max(1);
            let _ =
                write!(out, "<rect x=\"{from}\" y=\"{y}\" width=\"{wide}\" height=\"8\" fill=\"{colour}\"/>");
        };
        for (begin, end) in labels.map_or(&[][..], |l| &l.spans) {
            bar(&mut out, x(*begin), x(*end), 2, "#8c8");
        }
        for group in self.columns.chunk_by(|a, b| a.on == b.on).filter(|g| g.first().is_some_and(|c| c.on)) {
            let ends = [group.first(), group.last()].map(|c| c.map_or(0, |c| x(c.at)));
            bar(&mut out, ends[0], ends[1], HIGH + 2, "#e66");
        }
        for octave in 0..=(HIGH * STEPS / 256) {
            let level = low + octave * 256;
            let _ = write!(
                out,
                "<path d=\"M0 {0}H{COLUMNS}\" stroke=\"#ddd\"/><text x=\"-46\" y=\"{0}\">{1}</text>",
                y(level),
                crate::motion::detector::bytes(level)
            );
        }
        let mut line = |colour: &str, points: &mut dyn FnMut(&mut String, &Column)| {
            out.push_str("<polyline fill=\"none\" stroke=\"");
            out.push_str(colour);
            out.push_str("\" points=\"");
            for c in &self.columns {
                points(&mut out, c);
            }
            out.push_str("\"/>");
        };
        line("#48c", &mut |out, c| {
            let _ = write!(out, "{0},{1} {0},{2} ", x(c.at), y(c.low), y(c.high));
        });
        line("#333", &mut |out, c| {
            let _ = write!(out, "{},{} ", x(c.at), y(c.base));
        });
        line("#c80", &mut |out, c| {
            let _ = write!(out, "{},{} ", x(c.at), y(c.trigger));
        });
        let _ = writeln!(
            out,
            "<text y=\"{}\">0 to {} s: bytes of a picture (blue), baseline (black), trigger (orange); green: labels; \
             red: motion</text></svg>",
            HIGH + 28,
            self.end.as_secs()
        );
        out
    }
}

impl Column {
    fn and(self, other: Column) -> Column {
        Column {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            on: self.on || other.on,
            ..self
        }
    }
}
