//! Puts packets that came by UDP back in order. A packet that is next passes through without a copy;
//! one that is early waits, but only so many and only so long. What does not come is reported as
//! lost, what comes twice or too late is dropped. Time comes in as an argument.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::packet::seq_diff;
use crate::media::Time;
use std::time::Duration;

/// Packets held back if nothing else is said.
pub const DEFAULT_PACKETS: usize = 64;
/// How long one is held back if nothing else is said.
pub const DEFAULT_WAIT: Duration = Duration::from_millis(100);
/// A step in either direction beyond this is a new beginning, once a second packet confirms it.
const JUMP: i16 = 3000;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is the next one: use it now, then ask [`Reorder::pop`].
    Now,
    /// It waits for those before it: ask [`Reorder::pop`].
    Held,
    /// It came before, or its place has passed.
    Dropped,
}

/// What comes out.
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<'a> {
    /// This many packets did not come in time.
    Lost(u16),
    /// The next packet.
    Packet(&'a [u8]),
}

struct Held {
    seq: u16,
    since: Time,
    bytes: Vec<u8>,
}

/// The buffer of one track.
pub struct Reorder {
    most: usize,
    wait: Duration,
    next: Option<u16>,
    /// Sorted by sequence number, all after `next`.
    held: Vec<Held>,
    free: Vec<Vec<u8>>,
    out: Vec<u8>,
    /// The number that would confirm a jump.
    jumped: Option<u16>,
    lost: u32,
    dropped: u32,
}

impl Reorder {
    /// Holds back at most `most` packets for at most `wait`.
    pub fn new(most: usize, wait: Duration) -> Reorder {
        Reorder {
            most: most.clamp(1, 1024),
            wait,
            next: None,
            held: Vec::new(),
            free: Vec::new(),
            out: Vec::new(),
            jumped: None,
            lost: 0,
            dropped: 0,
        }
    }

    /// Packets reported as lost so far.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Packets that came twice or too late so far.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Takes a packet with its sequence number.
    pub fn push(&mut self, now: Time, seq: u16, packet: &[u8]) -> Pushed {
        let step = self.next.map_or(0, |next| seq_diff(seq, next));
        if !(-JUMP..=JUMP).contains(&step) && self.jumped.replace(seq.wrapping_add(1)) == Some(seq) {
            self.restart();
            self.next = Some(seq.wrapping_add(1));
            return Pushed::Now;
        }
        if (-JUMP..=JUMP).contains(&step) {
            self.jumped = None;
        }
        if step == 0 {
            self.next = Some(seq.wrapping_add(1));
            return Pushed::Now;
        }
        let at = self.held.iter().rposition(|h| seq_diff(h.seq, seq) <= 0).map_or(0, |at| at + 1);
        let twice = at.checked_sub(1).and_then(|i| self.held.get(i)).is_some_and(|h| h.seq == seq);
        if !(1..=JUMP).contains(&step) || twice || self.held.len() > self.most {
            self.dropped = self.dropped.saturating_add(1);
            return Pushed::Dropped;
        }
        let mut bytes = self.free.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(packet);
        self.held.insert(at, Held { seq, since: now, bytes });
        Pushed::Held
    }

    /// The next thing that can be used now; ask until there is none.
    pub fn pop(&mut self, now: Time) -> Option<Popped<'_>> {
        let next = self.next?;
        let missing = self.held.first()?.seq.wrapping_sub(next);
        if missing > 0 {
            // Held packets are in order of number, not of arrival.
            let waited = self.held.iter().any(|h| now.since(h.since) >= self.wait);
            if !waited && self.held.len() < self.most {
                return None;
            }
            self.next = Some(next.wrapping_add(missing));
            self.lost = self.lost.saturating_add(u32::from(missing));
            return Some(Popped::Lost(missing));
        }
        let first = self.held.remove(0);
        self.next = Some(next.wrapping_add(1));
        let used = std::mem::replace(&mut self.out, first.bytes);
        if self.free.len() < self.most {
            self.free.push(used);
        }
        Some(Popped::Packet(&self.out))
    }

    /// When [`Reorder::pop`] has to be asked again though nothing came.
    pub fn deadline(&self) -> Option<Time> {
        self.held.iter().map(|h| h.since + self.wait).min()
    }

    /// Forgets everything held: the sender began anew.
    pub fn restart(&mut self) {
        for held in self.held.drain(..) {
            if self.free.len() < self.most {
                self.free.push(held.bytes);
            }
        }
        (self.next, self.jumped) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::rtp::pay::tests::Xorshift;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    /// Pushes one packet that holds its own number; appends to `out` what comes out, losses as -n.
    fn step(buffer: &mut Reorder, now: Time, seq: u16, out: &mut Vec<i32>) {
        if buffer.push(now, seq, &seq.to_be_bytes()) == Pushed::Now {
            out.push(i32::from(seq));
        }
        drain(buffer, now, out);
    }

    fn drain(buffer: &mut Reorder, now: Time, out: &mut Vec<i32>) {
        while let Some(popped) = buffer.pop(now) {
            out.push(match popped {
                Popped::Lost(n) => -i32::from(n),
                Popped::Packet(b) => i32::from(u16::from_be_bytes([b[0], b[1]])),
            });
        }
    }

    #[test]
    fn swapped_packets_come_out_in_order_across_the_wrap() {
        let mut buffer = Reorder::new(8, DEFAULT_WAIT);
        let mut out = Vec::new();
        for seq in [65533, 65535, 65534, 1, 0, 0, 2] {
            step(&mut buffer, at(0), seq, &mut out);
        }
        assert_eq!(out, [65533, 65534, 65535, 0, 1, 2]);
        assert_eq!((buffer.lost(), buffer.dropped()), (0, 1));
    }

    #[test]
    fn a_lost_packet_holds_up_the_rest_for_the_wait_and_no_longer() {
        let mut buffer = Reorder::new(8, Duration::from_millis(50));
        let mut out = Vec::new();
        for (ms, seq) in [(0, 10), (1, 12), (2, 13)] {
            step(&mut buffer, at(ms), seq, &mut out);
        }
        assert_eq!(out, [10]);
        assert_eq!(buffer.deadline(), Some(at(51)));
        drain(&mut buffer, at(50), &mut out);
        assert_eq!(out, [10]);
        drain(&mut buffer, at(51), &mut out);
        assert_eq!(out, [10, -1, 12, 13]);
        step(&mut buffer, at(52), 11, &mut out);
        assert_eq!((out.len(), buffer.lost(), buffer.dropped()), (4, 1, 1));
    }

    #[test]
    fn the_bound_on_packets_holds_before_the_wait() {
        let mut buffer = Reorder::new(4, Duration::from_secs(10));
        let mut out = Vec::new();
        for seq in [0, 2, 3, 4, 5, 6] {
            step(&mut buffer, at(0), seq, &mut out);
        }
        assert_eq!(out, [0, -1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_sender_that_begins_anew_is_followed_and_a_stray_packet_is_not() {
        let mut buffer = Reorder::new(8, DEFAULT_WAIT);
        let mut out = Vec::new();
        for seq in [5, 40000, 6, 30000, 30001, 30002] {
            step(&mut buffer, at(0), seq, &mut out);
        }
        assert_eq!(out, [5, 6, 30001, 30002]);
    }

    #[test]
    fn whatever_the_network_does_numbers_never_go_back_and_memory_is_bounded() {
        let mut random = Xorshift(3);
        let mut buffer = Reorder::new(32, Duration::from_millis(20));
        let (mut out, mut lost) = (Vec::new(), 0);
        for i in 0..60_000_u64 {
            if random.below(20) == 0 {
                lost += 1;
                continue;
            }
            let seq = (i + random.below(10) as u64 / 8 * random.below(6) as u64) as u16;
            step(&mut buffer, at(i / 4), seq, &mut out);
            assert!(buffer.held.len() <= 32 && buffer.free.len() <= 32);
        }
        assert!(lost > 0 && out.len() > 50_000);
        let mut last: Option<u16> = None;
        for n in out.into_iter().filter(|n| *n >= 0) {
            let n = n as u16;
            assert!(last.is_none_or(|l| seq_diff(n, l) > 0));
            last = Some(n);
        }
    }
}
