//! The last 64 KiB of messages, for whoever asks by the API when the terminal is long gone. One block
//! of memory, taken with the first message and overwritten in order.

use std::collections::VecDeque;

use log::Level;

use super::line::{Format, Line};
use crate::media::Time;

/// Bytes held.
pub const SIZE: usize = 64 * 1024;
/// Before each message: time 8, text length 2, level 1, module length 1.
const HEADER: usize = 12;

/// The ring. Messages are numbered from 0 since the start, so that a reader can go on where it was.
pub struct Ring {
    bytes: VecDeque<u8>,
    /// The number of the oldest message held.
    first: u64,
    held: u64,
}

impl Ring {
    /// Empty, no memory taken.
    pub const fn new() -> Ring {
        Ring { bytes: VecDeque::new(), first: 0, held: 0 }
    }

    /// Adds a message; the oldest make room.
    pub fn push(&mut self, line: &Line) {
        let module = line.module.as_bytes();
        let module = module.get(..255).unwrap_or(module);
        let text = line.text.as_bytes();
        let need = HEADER + module.len() + text.len();
        let Ok(text_len) = u16::try_from(text.len()) else { return };
        if self.bytes.capacity() < SIZE {
            self.bytes.reserve_exact(SIZE);
        }
        while self.bytes.len() + need > SIZE && self.held > 0 {
            let oldest = self.entry(0).map_or(self.bytes.len(), |e| e.end);
            self.bytes.drain(..oldest);
            self.first += 1;
            self.held -= 1;
        }
        self.bytes.extend(line.time.nanos().to_le_bytes());
        self.bytes.extend(text_len.to_le_bytes());
        self.bytes.extend([line.level as u8, module.len() as u8]);
        self.bytes.extend(module);
        self.bytes.extend(text);
        self.held += 1;
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.first += self.held;
        self.held = 0;
    }

    /// Appends messages from number `from` on as JSON lines, about `limit` bytes at most, and says
    /// with which number to go on; that of the next message to come when all have been read. Times of
    /// day are those of now's clock: a message from before it was set gets its true time afterwards.
    pub fn json(&self, from: u64, limit: usize, now: Time, wall: Option<u64>, out: &mut Vec<u8>) -> u64 {
        let start = wall.map(|wall| wall.saturating_sub(now.nanos()));
        let (mut at, mut number, full) = (0, self.first, out.len().saturating_add(limit));
        let mut held = Vec::new();
        while let Some(entry) = self.entry(at) {
            if number >= from {
                if out.len() >= full {
                    break;
                }
                held.clear();
                held.extend(self.bytes.range(at + HEADER..entry.end));
                let (module, text) = held.split_at_checked(entry.module).unwrap_or_default();
                let time = entry.time;
                Line {
                    time,
                    wall: start.map(|s| s.saturating_add(time.nanos())),
                    level: entry.level,
                    module: std::str::from_utf8(module).unwrap_or("?"),
                    text: std::str::from_utf8(text).unwrap_or("?"),
                }
                .write(Format::Json, true, out);
            }
            number += 1;
            at = entry.end;
        }
        number
    }

    fn entry(&self, at: usize) -> Option<Entry> {
        let mut head = [0; HEADER];
        for (i, slot) in head.iter_mut().enumerate() {
            *slot = *self.bytes.get(at + i)?;
        }
        let [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, level, module] = head;
        let text = usize::from(u16::from_le_bytes([l0, l1]));
        Some(Entry {
            time: Time::from_nanos(u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
            level: Level::iter().nth(usize::from(level).saturating_sub(1)).unwrap_or(Level::Trace),
            module: module.into(),
            end: at + HEADER + usize::from(module) + text,
        })
    }
}

struct Entry {
    time: Time,
    level: Level,
    module: usize,
    end: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ring: &mut Ring, millis: u64, text: &str) {
        let time = Time::from_nanos(millis * 1_000_000);
        ring.push(&Line { time, wall: None, level: Level::Info, module: "app", text });
    }

    fn read(ring: &Ring, from: u64, limit: usize) -> (String, u64) {
        let mut out = Vec::new();
        let now = Time::from_nanos(1_000_000_000);
        let next = ring.json(from, limit, now, Some(1_700_000_001_000_000_000), &mut out);
        (String::from_utf8(out).unwrap(), next)
    }

    #[test]
    fn messages_from_before_the_clock_was_set_have_their_true_time() {
        let mut ring = Ring::new();
        push(&mut ring, 5, "begun");
        push(&mut ring, 999, "ready");
        let (text, next) = read(&ring, 0, SIZE);
        assert_eq!(
            text,
            "{\"time\":1700000000005,\"level\":\"info\",\"module\":\"app\",\"message\":\"begun\"}\n\
             {\"time\":1700000000999,\"level\":\"info\",\"module\":\"app\",\"message\":\"ready\"}\n"
        );
        assert_eq!(next, 2);
    }

    #[test]
    fn every_level_comes_back() {
        let mut ring = Ring::new();
        for level in Level::iter() {
            ring.push(&Line { time: Time::ZERO, wall: None, level, module: "x", text: "" });
        }
        let text = read(&ring, 0, SIZE).0;
        let levels: Vec<_> = text.lines().map(|l| l.split('"').nth(5).unwrap()).collect();
        assert_eq!(levels, ["error", "warn", "info", "debug", "trace"]);
    }

    #[test]
    fn the_oldest_go_first_and_the_memory_stays() {
        let mut ring = Ring::new();
        let mut x = 88_172_645u32;
        for i in 0..5000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            push(&mut ring, i, &format!("{i} {}", "é".repeat(x as usize % 1000)));
            assert!(ring.bytes.len() <= SIZE);
        }
        assert_eq!(ring.bytes.capacity(), SIZE);
        assert!(ring.bytes.len() > SIZE - 2100);
        let (text, next) = read(&ring, 0, usize::MAX);
        assert_eq!(next, 5000);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len() as u64, ring.held);
        for (line, number) in lines.iter().zip(ring.first..) {
            assert!(line.contains(&format!("\"message\":\"{number} ")), "{line}");
        }
    }

    #[test]
    fn a_reader_goes_on_where_it_was() {
        let mut ring = Ring::new();
        for i in 0..10 {
            push(&mut ring, i, &format!("m{i}"));
        }
        let (mut all, mut from) = (String::new(), 0);
        loop {
            let (page, next) = read(&ring, from, 100);
            if next == from {
                break;
            }
            assert!(page.lines().count() <= 2);
            all.push_str(&page);
            from = next;
        }
        assert_eq!(all, read(&ring, 0, SIZE).0);
        ring.clear();
        assert_eq!(read(&ring, 0, SIZE), (String::new(), 10));
        push(&mut ring, 1, "after");
        assert!(read(&ring, from, SIZE).0.contains("after"));
    }
}
