//! The ring of frames: one arena of bytes, overwritten in order, and an index of the frames in it.
//! Frames are written straight into the arena, once, and read in place. Pure: it knows no clock, no
//! task and no codec; whoever writes says when a frame was captured and whether it is a key frame.
//!
//! The arena grows where it is, whenever it would have to overwrite what must be kept, which is
//! everything from the last key frame that is older than the wished span; its bound is never taken
//! beforehand. When memory is short it gives its end back. Neither ever needs room for a second copy of
//! what it holds.

use crate::media::Time;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// So much is everybody's, however little there is; in steps of this size an arena shrinks.
pub const STEP: usize = 64 * 1024;
/// In steps of this size it grows: what is beyond the need is nobody's.
const PART: usize = STEP / 4;
/// Places in the index at the start; doubled while frames have to be kept.
const INDEX: usize = 64;

/// What is known of a frame beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// When it is to be shown: the capture time.
    pub time: Time,
    /// When it is to be decoded; differs from `time` only where the encoder reorders.
    pub decode: Time,
    /// Decoding can begin here.
    pub key: bool,
    /// Something before it is missing: a lost frame or a reconnected source.
    pub gap: bool,
    /// Which of the track's codec descriptions it needs.
    pub config: u32,
}

/// A frame in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its number; every frame of a track has the next one.
    pub seq: u64,
    /// What is known of it.
    pub meta: Meta,
    /// Its bytes.
    pub data: &'a [u8],
}

#[derive(Clone, Copy, Default)]
struct Entry {
    offset: u32,
    len: u32,
    meta: Meta,
}

/// The frame is larger than the whole arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig;

/// Arena and index.
pub struct Ring {
    /// As long as what is in use.
    arena: Vec<u8>,
    /// How long it may ever be, and just now: memory may have become scarce.
    limit: usize,
    cap: usize,
    /// Bytes that all tracks together may still take, until memory is looked at again.
    room: Option<Rc<Cell<usize>>>,
    /// Bytes that it would have taken beyond that.
    denied: Cell<usize>,
    /// When it last wanted to grow it could not.
    stuck: bool,
    /// Where the frame being written begins.
    start: usize,
    /// Bytes of it written so far.
    filled: usize,
    index: Vec<Entry>,
    tail: u64,
    head: u64,
    last_key: Option<u64>,
    /// How much time before now has to be kept.
    keep: Duration,
    /// The oldest frame that has to be kept, and the first not yet looked at as its successor.
    keep_from: u64,
    probe: u64,
    /// Bytes from `keep_from` to the head.
    kept: usize,
    /// Frames that had to be kept but were overwritten.
    broken: u64,
}

impl Ring {
    /// A ring that never holds more than `limit` bytes and keeps at least `keep` of time, begun at
    /// a key frame, as long as the limit allows.
    pub fn new(limit: usize, keep: Duration) -> Ring {
        let limit = limit.clamp(1024, u32::MAX as usize / 2);
        Ring {
            arena: Vec::new(),
            limit,
            cap: limit,
            room: None,
            denied: Cell::new(0),
            stuck: false,
            start: 0,
            filled: 0,
            index: vec![Entry::default(); INDEX],
            tail: 0,
            head: 0,
            last_key: None,
            keep,
            keep_from: 0,
            probe: 0,
            kept: 0,
            broken: 0,
        }
    }

    /// The oldest frame's number.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// The number that the next frame will have.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Bytes of the arena: what it costs.
    pub fn span(&self) -> usize {
        self.arena.len()
    }

    /// The arena's bound.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes more it would have taken since this was last asked, had there been room.
    pub fn denied(&self) -> usize {
        self.denied.take()
    }

    /// Takes what it needs from this room from now on, beyond its first step.
    pub fn share(&mut self, room: Rc<Cell<usize>>) {
        self.room = Some(room);
    }

    /// Bytes that have to be kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Uses no more than so many bytes from now on. What is beyond goes back to the system, and the
    /// oldest frames with it.
    pub fn set_cap(&mut self, cap: usize) {
        self.cap = cap.clamp(STEP.min(self.limit), self.limit);
        if self.arena.len() > self.cap {
            self.shrink();
        }
    }

    /// Moves the newest frames, from a key frame on if one fits, to the front, and lets the rest go.
    fn shrink(&mut self) {
        let most = (self.cap / 4 * 3).saturating_sub(self.filled);
        let (mut bytes, mut from, mut key) = (0, self.head, None);
        while from > self.tail {
            let Some(e) = self.entry(from - 1).filter(|e| bytes + e.len as usize <= most) else { break };
            bytes += e.len as usize;
            from -= 1;
            if e.meta.key {
                key = Some(from);
            }
        }
        let from = key.unwrap_or(from);
        while self.tail < from {
            self.drop_oldest(true);
        }
        // the oldest comes to the front; from there on all lie in their order, and move down only
        let span = self.arena.len();
        let first = self.entry(self.tail).map(|e| e.offset as usize);
        // behind what is written next lie only frames that are older
        let turned = first.filter(|&at| at >= self.start && at <= span).unwrap_or(0);
        self.arena.rotate_left(turned);
        let mut at = 0;
        let mut take = |offset: usize, len: usize, arena: &mut [u8]| {
            let offset = if offset < turned { offset + span - turned } else { offset - turned };
            if at <= offset && offset + len <= arena.len() {
                arena.copy_within(offset..offset + len, at);
            }
            at += len;
            at - len
        };
        for seq in self.tail..self.head {
            let slot = self.slot(seq);
            if let Some(e) = self.index.get_mut(slot) {
                e.offset = take(e.offset as usize, e.len as usize, &mut self.arena) as u32;
            }
        }
        // what is being written stays whole, however long it is: more of it is refused
        self.start = take(self.start, self.filled, &mut self.arena);
        let used = self.start + self.filled;
        self.arena.truncate((used.max(1).div_ceil(STEP) * STEP).min(self.cap).max(used));
        self.arena.shrink_to_fit();
    }

    /// Makes the arena so long, or as long as it may be just now.
    fn grow(&mut self, wish: usize) {
        let have = self.arena.len();
        let wish = (wish.div_ceil(PART) * PART).min(self.limit).saturating_sub(have);
        let mut more = wish.min(self.cap.saturating_sub(have));
        if let Some(room) = &self.room {
            let left = room.get();
            more = more.min(left.max(STEP.saturating_sub(have)));
            room.set(left.saturating_sub(more));
        }
        // a system that has no more says so here
        if more > 0 && self.arena.try_reserve_exact(more).is_ok() {
            self.arena.resize(have + more, 0);
        }
        let lacks = wish.saturating_sub(self.arena.len() - have);
        self.stuck = lacks > 0;
        self.denied.set(self.denied.get().max(lacks));
    }

    /// Frames that were overwritten although they should have been kept, because of the bound.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// How much time has to be kept.
    pub fn keep(&self) -> Duration {
        self.keep
    }

    /// Changes how much time has to be kept.
    pub fn set_keep(&mut self, keep: Duration) {
        self.keep = keep;
    }

    /// The newest key frame's number.
    pub fn last_key(&self) -> Option<u64> {
        self.last_key.filter(|&k| k >= self.tail)
    }

    fn slot(&self, seq: u64) -> usize {
        // the length is a power of two
        seq as usize & (self.index.len() - 1)
    }

    fn entry(&self, seq: u64) -> Option<&Entry> {
        if seq < self.tail || seq >= self.head { None } else { self.index.get(self.slot(seq)) }
    }

    /// What is known of a frame, if it is still there.
    pub fn meta(&self, seq: u64) -> Option<Meta> {
        self.entry(seq).map(|e| e.meta)
    }

    /// A frame, if it is still there.
    pub fn get(&self, seq: u64) -> Option<Frame<'_>> {
        let e = self.entry(seq)?;
        let data = self.arena.get(e.offset as usize..(e.offset + e.len) as usize)?;
        Some(Frame { seq, meta: e.meta, data })
    }

    /// The newest frame's meta.
    pub fn newest(&self) -> Option<Meta> {
        self.head.checked_sub(1).and_then(|s| self.meta(s))
    }

    /// The oldest key frame that is not older than `seq`.
    pub fn key_from(&self, seq: u64) -> Option<u64> {
        (seq.max(self.tail)..self.head).find(|&s| self.entry(s).is_some_and(|e| e.meta.key))
    }

    /// The newest key frame shown at `time` or before.
    pub fn key_before(&self, time: Time) -> Option<u64> {
        (self.tail..self.head)
            .rev()
            .find(|&s| self.entry(s).is_some_and(|e| e.meta.key && e.meta.time <= time))
    }

    /// The first frame that is decoded at `time` or later, or the head if there is none.
    pub fn seek(&self, time: Time) -> u64 {
        let (mut low, mut high) = (self.tail, self.head);
        while low < high {
            let mid = low + (high - low) / 2;
            match self.meta(mid) {
                Some(m) if m.decode < time => low = mid + 1,
                _ => high = mid,
            }
        }
        low
    }

    /// Bytes of the frame being written.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// The bytes of the frame being written, to be completed in place.
    pub fn partial(&mut self) -> &mut [u8] {
        self.arena.get_mut(self.start..self.start + self.filled).unwrap_or_default()
    }

    /// Adds bytes to the frame being written.
    pub fn append(&mut self, data: &[u8]) -> Result<(), TooBig> {
        self.reserve(data.len())?.copy_from_slice(data);
        self.filled += data.len();
        Ok(())
    }

    /// Room for `len` more bytes of the frame being written; [`Ring::fill`] then says how many of
    /// them were written.
    pub fn reserve(&mut self, len: usize) -> Result<&mut [u8], TooBig> {
        self.make_room(len)?;
        let at = self.start + self.filled;
        self.arena.get_mut(at..at + len).ok_or(TooBig)
    }

    /// Counts `len` bytes of the reserved room as written.
    pub fn fill(&mut self, len: usize) {
        self.filled = (self.filled + len).min(self.arena.len().saturating_sub(self.start));
    }

    /// Forgets the bytes after the first `len` of the frame being written.
    pub fn truncate(&mut self, len: usize) {
        self.filled = self.filled.min(len);
    }

    /// Ends the frame. An empty one is not counted. Frames that end before `floor` are let go
    /// (sound that is older than the pictures kept).
    pub fn commit(&mut self, meta: Meta, floor: Option<Time>) -> Option<u64> {
        if self.filled == 0 {
            return None;
        }
        let (len, seq) = (self.filled, self.head);
        if self.head - self.tail == self.index.len() as u64 {
            self.grow_index();
        }
        let slot = self.slot(seq);
        if let Some(place) = self.index.get_mut(slot) {
            *place = Entry { offset: self.start as u32, len: len as u32, meta };
        }
        self.head += 1;
        self.start += len;
        self.filled = 0;
        self.kept += len;
        if meta.key {
            self.last_key = Some(seq);
        }
        self.advance(floor.unwrap_or(meta.decode.before(self.keep)));
        if let Some(floor) = floor {
            while self.tail + 1 < self.head && self.entry(self.tail).is_some_and(|e| e.meta.time < floor) {
                self.drop_oldest(false);
            }
        }
        Some(seq)
    }

    /// Moves `keep_from` to the newest key frame that is not younger than `limit`.
    fn advance(&mut self, limit: Time) {
        self.probe = self.probe.max(self.keep_from + 1).max(self.tail);
        while let Some(e) = self.entry(self.probe) {
            if e.meta.key {
                if e.meta.decode > limit {
                    return;
                }
                while self.keep_from < self.probe {
                    let len = self.entry(self.keep_from).map_or(0, |e| e.len);
                    self.kept -= (len as usize).min(self.kept);
                    self.keep_from += 1;
                }
            }
            self.probe += 1;
        }
    }

    fn grow_index(&mut self) {
        // Only what has to be kept may make it longer: forget the rest first.
        let spare = self.tail < self.keep_from;
        if spare {
            self.drop_oldest(true);
            return;
        }
        let mut longer = vec![Entry::default(); self.index.len() * 2];
        let mask = longer.len() - 1;
        for seq in self.tail..self.head {
            if let (Some(from), Some(to)) = (self.entry(seq).copied(), longer.get_mut(seq as usize & mask)) {
                *to = from;
            }
        }
        self.index = longer;
    }

    /// Gives up the oldest frame; `pressed` if its room is needed.
    fn drop_oldest(&mut self, pressed: bool) {
        if self.tail >= self.keep_from {
            let len = self.entry(self.tail).map_or(0, |e| e.len);
            self.kept -= (len as usize).min(self.kept);
            self.keep_from = self.tail + 1;
            self.broken += u64::from(pressed && (self.stuck || self.arena.len() >= self.cap));
        }
        self.tail += 1;
    }

    fn oldest_within(&self, from: usize, to: usize) -> bool {
        self.entry(self.tail).is_some_and(|e| (e.offset as usize) >= from && (e.offset as usize) < to)
    }

    /// Makes `extra` more bytes writable behind what is written of the current frame.
    fn make_room(&mut self, extra: usize) -> Result<(), TooBig> {
        let need = self.filled.saturating_add(extra);
        if need > self.cap {
            return Err(TooBig);
        }
        while self.tail < self.keep_from && self.oldest_within(self.start, self.start + need) {
            self.drop_oldest(true);
        }
        if self.start + need > self.arena.len() {
            let kept = self.entry(self.keep_from.max(self.tail)).map(|e| e.offset as usize);
            // it lies behind, or at the front where this one would go
            if need > self.arena.len() || kept.is_some_and(|at| at >= self.start || at < need) {
                self.widen(self.start + need);
            }
        }
        if need > self.arena.len() {
            return Err(TooBig);
        }
        if self.start + need > self.arena.len() {
            // begin anew at the front; what lies behind is older than anything there
            while self.tail < self.head && self.oldest_within(self.start, self.arena.len()) {
                self.drop_oldest(true);
            }
            while self.tail < self.head && self.oldest_within(0, need) {
                self.drop_oldest(true);
            }
            self.arena.copy_within(self.start..self.start + self.filled, 0);
            self.start = 0;
        }
        while self.tail < self.head && self.oldest_within(self.start, self.start + need) {
            if self.tail < self.keep_from || !self.widen(self.start + need) {
                self.drop_oldest(true);
            }
        }
        Ok(())
    }

    /// Makes room up to there by moving what is older and lies behind further back; whether that was
    /// possible at all.
    fn widen(&mut self, to: usize) -> bool {
        let (from, end) = (self.start + self.filled, self.arena.len());
        let old = self.entry(self.tail).map_or(end, |e| e.offset as usize);
        let free = if old >= self.start { old } else { end };
        self.grow(end + to.saturating_sub(free));
        let by = self.arena.len() - end;
        if by == 0 || from > end {
            return by > 0;
        }
        self.arena.copy_within(from..end, from + by);
        for seq in self.tail..self.head {
            let slot = self.slot(seq);
            match self.index.get_mut(slot).filter(|e| e.offset as usize >= from) {
                Some(e) => e.offset += by as u32,
                None => break,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(ms: u64, key: bool) -> Meta {
        let time = Time::from_nanos(ms * 1_000_000);
        Meta { time, decode: time, key, gap: false, config: 0 }
    }

    fn put(ring: &mut Ring, ms: u64, key: bool, len: usize) -> u64 {
        let fill = vec![ms as u8; len];
        ring.append(&fill).unwrap();
        ring.commit(meta(ms, key), None).unwrap()
    }

    /// Every frame still listed has exactly its own bytes.
    fn check(ring: &Ring) {
        for seq in ring.tail()..ring.head() {
            let f = ring.get(seq).unwrap();
            assert!(
                f.data.iter().all(|&b| b == (f.meta.time.nanos() / 1_000_000) as u8),
                "frame {seq} was overwritten"
            );
        }
    }

    #[test]
    fn keeps_the_last_group_of_pictures_whole_however_sizes_change() {
        let mut ring = Ring::new(1 << 20, Duration::ZERO);
        let mut rnd = 7u32;
        let mut since_wrap = 0;
        for n in 0..3000u64 {
            rnd = rnd.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = n % 25 == 0;
            let len = if key { 20_000 } else { 500 } + (rnd >> 20) as usize % 3000;
            put(&mut ring, n * 40, key, len);
            check(&ring);
            if n >= 100 {
                let key = ring.last_key().expect("a joining viewer finds a key frame");
                assert_eq!(key, n - n % 25);
                since_wrap += 1;
            }
        }
        assert!(since_wrap > 0);
        assert_eq!(ring.broken(), 0);
        assert!(ring.span() < 320 * 1024, "it grows only as far as it must: {}", ring.span());
    }

    #[test]
    fn keeps_the_prebuffer_from_a_key_frame_on() {
        let mut ring = Ring::new(4 << 20, Duration::from_secs(4));
        for n in 0..3000u64 {
            put(&mut ring, n * 40, n % 50 == 0, 5000);
            if n > 200 {
                let from = ring.key_before(Time::from_nanos((n * 40 - 4000) * 1_000_000));
                assert!(from.is_some(), "frame {n}: no key frame 4 s back");
            }
        }
        assert!(ring.span() <= 25 * 6 * 5000 + 2 * STEP, "{}", ring.span());
    }

    #[test]
    fn a_prebuffer_stays_whole_while_pictures_become_larger() {
        let mut ring = Ring::new(8 << 20, Duration::from_secs(4));
        let mut rnd = 7u32;
        for n in 0..2000u64 {
            rnd = rnd.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let most = 2000 + 10 * n as usize;
            // in parts, as packets bring it
            for _ in 0..3 {
                ring.append(&vec![(n * 40) as u8; (rnd >> 16) as usize % most + 1]).unwrap();
            }
            ring.commit(meta(n * 40, n % 50 == 0), None).unwrap();
            if n > 200 {
                let from = ring.key_before(Time::from_nanos((n * 40 - 4000) * 1_000_000));
                assert!(from.is_some(), "frame {n}: no key frame 4 s back");
            }
            if n % 16 == 0 {
                check(&ring);
            }
        }
        assert_eq!(ring.broken(), 0);
        assert!(ring.span() < ring.kept() + ring.kept() / 2, "{} for {}", ring.span(), ring.kept());
    }

    #[test]
    fn the_bound_wins_over_the_promise() {
        let mut ring = Ring::new(100_000, Duration::from_secs(4));
        for n in 0..1000u64 {
            put(&mut ring, n * 40, n % 50 == 0, 4000);
            check(&ring);
        }
        assert_eq!(ring.span(), 100_000);
        assert!(ring.broken() > 0, "it must be known that the prebuffer is not kept");
        assert!(ring.head() - ring.tail() >= 20);
    }

    #[test]
    fn a_frame_that_outgrows_the_end_moves_to_the_front_whole() {
        let mut ring = Ring::new(STEP, Duration::ZERO);
        put(&mut ring, 1, true, STEP - 100);
        for _ in 0..30 {
            ring.append(&[2; 10]).unwrap();
        }
        ring.commit(meta(2, true), None).unwrap();
        assert_eq!(ring.get(1).unwrap().data, [2u8; 300]);
        assert!(ring.get(0).is_none());
    }

    #[test]
    fn a_frame_larger_than_the_arena_is_refused_and_the_rest_goes_on() {
        let mut ring = Ring::new(10_000, Duration::ZERO);
        assert_eq!(ring.append(&[0; 10_001]), Err(TooBig));
        ring.truncate(0);
        put(&mut ring, 3, true, 10_000);
        check(&ring);
        assert_eq!(ring.commit(meta(4, true), None), None, "an empty frame is none");
    }

    #[test]
    fn a_ring_that_has_to_shrink_keeps_the_newest_group_and_grows_again() {
        let mut ring = Ring::new(4 << 20, Duration::from_secs(4));
        for n in 0..300u64 {
            put(&mut ring, n * 40, n % 25 == 0, 5000);
        }
        let before = ring.span();
        assert!(before > 500_000);
        ring.append(&[44; 1000]).unwrap();
        ring.set_cap(300_000);
        assert!(ring.span() <= 300_000, "{}", ring.span());
        ring.append(&[44; 1000]).unwrap();
        ring.commit(meta(300, false), None).unwrap();
        check(&ring);
        assert_eq!(ring.get(300).unwrap().data, [44u8; 2000]);
        assert!(ring.meta(ring.tail()).unwrap().key, "a viewer can begin with what is left");
        assert!(ring.head() - ring.tail() > 25);
        for n in 301..900u64 {
            put(&mut ring, n * 40, n % 25 == 0, 5000);
            check(&ring);
            assert!(ring.span() <= 300_000);
        }
        assert!(ring.broken() > 0);
        ring.set_cap(usize::MAX);
        for n in 900..1200u64 {
            put(&mut ring, n * 40, n % 25 == 0, 5000);
        }
        check(&ring);
        assert!(ring.key_before(Time::from_nanos((1199 * 40 - 4000) * 1_000_000)).is_some());
        // less than one group of pictures: the newest frames, whatever they are
        ring.set_cap(0);
        check(&ring);
        assert!(ring.span() <= STEP && ring.head() - ring.tail() > 5);
        put(&mut ring, 48_000, true, 40_000);
        check(&ring);
        assert_eq!(ring.append(&[0; 2 * STEP]), Err(TooBig));
    }

    /// Every place at which a ring may stand when it has to give something back.
    #[test]
    fn a_ring_shrinks_whole_wherever_it_stands() {
        for frames in 1..80u64 {
            for partial in [0, 9000] {
                let mut ring = Ring::new(6 * STEP, Duration::ZERO);
                for n in 0..frames {
                    // now and then so many that the arena is full to its last byte
                    put(&mut ring, n, n % 16 == 0, if n % 3 == 0 { 16_384 } else { 8192 });
                }
                ring.append(&vec![frames as u8; partial]).unwrap();
                ring.set_cap(2 * STEP);
                check(&ring);
                assert!(ring.span() <= 2 * STEP && ring.head() == frames);
                assert!(ring.head() > ring.tail(), "nothing is left of {frames}");
                ring.append(&[frames as u8; 10]).unwrap();
                ring.commit(meta(frames, true), None).unwrap();
                check(&ring);
                assert_eq!(ring.get(frames).unwrap().data.len(), partial + 10);
            }
        }
    }

    #[test]
    fn tracks_grow_into_the_room_that_there_is_and_say_what_they_lack() {
        let room = Rc::new(Cell::new(3 * STEP));
        let mut rings = [1, 2].map(|_| {
            let mut ring = Ring::new(64 * STEP, Duration::from_secs(4));
            ring.share(room.clone());
            ring
        });
        for n in 0..300 {
            for ring in &mut rings {
                put(ring, n * 40, n % 25 == 0, 5000);
                check(ring);
            }
        }
        let held: usize = rings.iter().map(Ring::span).sum();
        assert!(room.get() == 0 && (3 * STEP..=4 * STEP).contains(&held), "{held}");
        assert!(rings.iter().all(|r| r.broken() > 0 && r.denied() > 0 && r.denied() == 0));
        // a frame that finds no room is refused, and is not the end
        assert_eq!(rings[0].append(&[0; 4 * STEP]), Err(TooBig));
        rings[0].truncate(0);
        room.set(100 * STEP);
        for n in 300..600 {
            put(&mut rings[0], n * 40, n % 25 == 0, 5000);
        }
        check(&rings[0]);
        assert!(rings[0].key_before(Time::from_nanos((599 * 40 - 4000) * 1_000_000)).is_some());
    }

    #[test]
    fn sound_older_than_the_pictures_is_let_go() {
        let mut ring = Ring::new(1 << 16, Duration::from_secs(60));
        for n in 0..100u64 {
            ring.append(&[n as u8; 160]).unwrap();
            ring.commit(meta(n * 20, true), Some(Time::from_nanos((n * 20).saturating_sub(500) * 1_000_000)));
        }
        assert_eq!(ring.head() - ring.tail(), 26);
    }

    #[test]
    fn seek_finds_the_first_frame_at_an_instant() {
        let mut ring = Ring::new(1 << 16, Duration::from_secs(60));
        for n in 0..100u64 {
            put(&mut ring, n * 20, true, 10);
        }
        assert_eq!(ring.seek(Time::from_nanos(500_000_000)), 25);
        assert_eq!(ring.seek(Time::from_nanos(510_000_000)), 26);
        assert_eq!(ring.seek(Time::from_nanos(u64::MAX)), ring.head());
    }
}
