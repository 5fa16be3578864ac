//! A clip: frames of a ring as a fragmented MP4 file, from a key frame in the past on, cut at key frames
//! into fragments of about four seconds. A fragment is described once it is whole, and its bytes are then
//! handed out in pieces of any size straight from the ring; no frame is kept or copied here. Pure: the
//! rings and the time come in.
//!
//! Pictures keep their times to the tick. Sound is laid beside them frame after frame: where it drifts
//! from its times it is moved a little, where it is missing there is silence, so that it never stops a
//! clip and never leaves the pictures' side.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::ring::Ring;
use crate::container::fmp4::{self, Run, SOUND, Sample, VIDEO, VIDEO_RATE};
use crate::media::Time;
use crate::media::aac::AudioConfig;
use crate::media::parameter_sets::ParameterSets;
use std::time::Duration;

/// No fragment is longer while there is a key frame to end it at.
pub const LONGEST: Duration = Duration::from_millis(4400);
/// A key frame that is this old should have a successor.
pub const KEY_AGE: Duration = Duration::from_millis(4020);
/// A fragment is not waited for longer, if the source says nothing any more.
const STALL: Duration = Duration::from_secs(5);
/// A source that has said nothing for so long says nothing any more.
const SILENT: Duration = Duration::from_secs(1);
/// Sound that is not there so long after its pictures does not come.
const PATIENCE: Duration = Duration::from_secs(1);
/// Sound may be so far from its time before it is moved, in thousandths of a second.
const APART: u32 = 12;

/// What becomes of the next fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is there to be taken.
    Ready,
    /// It is not whole yet. A key frame should be asked for if `ask`.
    Wait {
        /// The last one is too old.
        ask: bool,
    },
    /// The pictures need another beginning of the file from here on.
    Changed,
}

/// Sound beside the pictures.
struct Sound {
    rate: u32,
    /// Ticks of one frame.
    frame: u32,
    silence: &'static [u8],
    /// The next frame of its ring.
    next: u64,
    /// Where it goes, in ticks since the beginning.
    tick: u64,
    /// Frames of the fragment; none is silence.
    frames: Vec<Option<u64>>,
    samples: Vec<Sample>,
}

/// How far the segment has been taken.
#[derive(Clone, Copy, Default)]
struct Taken {
    head: usize,
    /// Frames of pictures, then of sound, and bytes of the one after them.
    frames: usize,
    bytes: usize,
}

/// A clip.
pub struct Clip {
    config: u32,
    /// The time of tick 0.
    base: Time,
    /// Where the next fragment begins, and which frame was not looked at yet.
    next: u64,
    probe: u64,
    /// The newest key frame seen, and the newest that the fragment could end before.
    key: Time,
    candidate: Option<u64>,
    /// Where it ends, once that is known.
    cut: Option<u64>,
    /// Ticks of all pictures so far, and fragments.
    tick: u64,
    number: u32,
    sound: Option<Sound>,
    /// The segment: what stands before the media, the first frame of pictures, their samples.
    head: Vec<u8>,
    first: u64,
    samples: Vec<Sample>,
    taken: Taken,
    left: usize,
}

/// Ticks from one instant to another.
fn ticks(from: Time, to: Time, rate: u32) -> u64 {
    Time::from_nanos(to.since(from).as_nanos() as u64).ticks(rate)
}

fn span(ticks: u64, rate: u32) -> Duration {
    Time::from_ticks(ticks, rate).since(Time::ZERO)
}

impl Clip {
    /// A clip that begins at the last key frame at or before `from`, or at the oldest there is; with
    /// sound if there is any. None while there is no key frame.
    pub fn new(pictures: &Ring, sound: Option<(&Ring, &AudioConfig)>, from: Time) -> Option<Clip> {
        let next = pictures.key_before(from).or_else(|| pictures.key_from(pictures.tail()))?;
        let meta = pictures.meta(next)?;
        let sound = sound.map(|(ring, config)| {
            let apart = Duration::from_millis(APART.into());
            let first = ring.seek(meta.decode.before(apart));
            let late = ring.meta(first).map_or(0, |m| ticks(meta.decode, m.time, config.rate));
            let frame = u32::from(config.frame_len);
            // where the first frame is a little late it keeps its time; where it is far there is silence
            let begins = late * 1000 > u64::from(config.rate * APART) && late < frame.into();
            Sound {
                rate: config.rate,
                frame,
                silence: fmp4::silence(config.channels),
                next: first,
                tick: if begins { late } else { 0 },
                frames: Vec::new(),
                samples: Vec::new(),
            }
        });
        Some(Clip {
            config: meta.config,
            base: meta.decode,
            next,
            probe: next + 1,
            key: meta.decode,
            candidate: None,
            cut: None,
            tick: 0,
            number: 0,
            sound,
            head: Vec::new(),
            first: next,
            samples: Vec::new(),
            taken: Taken::default(),
            left: 0,
        })
    }

    /// The number of the description that its pictures need.
    pub fn config(&self) -> u32 {
        self.config
    }

    /// Fragments so far.
    pub fn fragments(&self) -> u32 {
        self.number
    }

    /// When it begins.
    pub fn begins(&self) -> Time {
        self.base
    }

    /// Makes the file's beginning the segment to be taken. False if these sets describe no pictures.
    pub fn begin(&mut self, sets: &ParameterSets, sound: Option<&AudioConfig>) -> bool {
        self.clear();
        let sound = sound.filter(|_| self.sound.is_some());
        let done = fmp4::begin(sets, sound, &mut self.head);
        self.left = self.head.len();
        done
    }

    fn clear(&mut self) {
        self.head.clear();
        self.samples.clear();
        self.taken = Taken::default();
        if let Some(sound) = &mut self.sound {
            sound.frames.clear();
            sound.samples.clear();
        }
    }

    /// Makes the next fragment the segment to be taken, if it is whole.
    pub fn next(&mut self, pictures: &Ring, sound: Option<&Ring>, now: Time) -> Cut {
        let Some(begin) = self.seek(pictures) else { return Cut::Wait { ask: false } };
        let Some(meta) = pictures.meta(begin) else { return Cut::Wait { ask: false } };
        if meta.config != self.config {
            return Cut::Changed;
        }
        let end = match self.cut.map_or_else(|| self.end(pictures, meta.decode, now), Ok) {
            Ok(end) => *self.cut.insert(end),
            Err(ask) => return Cut::Wait { ask },
        };
        let until = match pictures.meta(end) {
            Some(next) => next.decode,
            // the source is silent: its last picture stays for as long as the one before it did
            None => {
                let last = |n| end.checked_sub(n).and_then(|s| pictures.meta(s)).map(|m| m.decode);
                let (Some(last), before) = (last(1), last(2)) else { return Cut::Wait { ask: false } };
                let usual = before.map_or(Duration::ZERO, |b| last.since(b));
                last + usual.clamp(Duration::from_millis(1), SILENT)
            }
        };
        if let Some(ring) = sound.filter(|_| self.sound.is_some()) {
            let there = ring.newest().is_some_and(|m| m.time >= until);
            if !there && now.since(until) < PATIENCE {
                return Cut::Wait { ask: false };
            }
        }
        self.describe(pictures, sound, begin..end, until);
        Cut::Ready
    }

    /// Everything that is there and in no fragment yet becomes the segment to be taken: nothing more
    /// comes. False if there is nothing.
    pub fn rest(&mut self, pictures: &Ring, sound: Option<&Ring>) -> bool {
        let Some(begin) = self.seek(pictures) else { return false };
        let known = (begin..pictures.head())
            .take_while(|&s| pictures.meta(s).is_some_and(|m| m.config == self.config));
        let end = known.last().map_or(begin, |s| s + 1);
        let Some(last) = end.checked_sub(1).filter(|&l| l >= begin).and_then(|l| pictures.meta(l)) else {
            return false;
        };
        self.describe(pictures, sound, begin..end, last.decode + Duration::from_millis(40));
        true
    }

    /// Where the next fragment begins: after a loss at the next key frame, whose time then follows
    /// what was before the loss.
    fn seek(&mut self, pictures: &Ring) -> Option<u64> {
        let there = pictures.meta(self.next).is_some_and(|m| m.key);
        if !there {
            self.next = pictures.key_from(self.next)?;
            (self.probe, self.candidate, self.cut) = (self.next + 1, None, None);
        }
        let meta = pictures.meta(self.next)?;
        if self.probe == self.next + 1 {
            self.key = meta.decode;
            if ticks(self.base, meta.decode, VIDEO_RATE) != self.tick {
                self.base = meta.decode.before(span(self.tick, VIDEO_RATE));
            }
        }
        Some(self.next)
    }

    /// The frame before which the fragment ends; or that it does not yet, and whether a key frame
    /// should be asked for.
    fn end(&mut self, pictures: &Ring, begin: Time, now: Time) -> Result<u64, bool> {
        while let Some(meta) = pictures.meta(self.probe) {
            let (seq, age) = (self.probe, meta.decode.since(begin));
            if let Some(candidate) = self.candidate.filter(|_| age > LONGEST) {
                return Ok(candidate);
            }
            self.probe += 1;
            if !meta.key {
                continue;
            }
            let group = meta.decode.since(self.key);
            if age + group > LONGEST || meta.config != self.config {
                return Ok(seq);
            }
            (self.key, self.candidate) = (meta.decode, Some(seq));
        }
        let Some(newest) = pictures.newest() else { return Err(false) };
        if now.since(newest.decode) > SILENT && now.since(begin) > STALL {
            return Ok(self.probe);
        }
        Err(newest.decode.since(self.key) >= KEY_AGE)
    }

    fn describe(&mut self, pictures: &Ring, ring: Option<&Ring>, frames: std::ops::Range<u64>, until: Time) {
        self.clear();
        let from = self.tick;
        self.first = frames.start;
        let mut at = from;
        for seq in frames.clone() {
            let Some(frame) = pictures.get(seq) else { break };
            let next =
                if seq + 1 < frames.end { pictures.meta(seq + 1).map_or(until, |m| m.decode) } else { until };
            let end = ticks(self.base, next, VIDEO_RATE).max(at + 1);
            self.samples.push(Sample {
                size: frame.data.len() as u32,
                duration: (end - at) as u32,
                offset: ticks(frame.meta.decode, frame.meta.time, VIDEO_RATE) as u32,
                key: frame.meta.key,
            });
            at = end;
        }
        self.tick = at;
        (self.next, self.probe, self.candidate, self.cut) = (frames.end, frames.end + 1, None, None);
        self.number += 1;
        let mut runs = [Run { track: VIDEO, decode: from, samples: &self.samples }; 2];
        let mut count = 1;
        if let Some(sound) = &mut self.sound {
            let begins = sound.tick;
            sound.lay(ring, self.base, until);
            if let Some(place) = runs.get_mut(1).filter(|_| !sound.samples.is_empty()) {
                *place = Run { track: SOUND, decode: begins, samples: &sound.samples };
                count = 2;
            }
        }
        let media = fmp4::fragment(self.number, runs.get(..count).unwrap_or_default(), &mut self.head);
        self.left = self.head.len() + media;
    }

    /// Bytes of the segment that were not taken yet.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Appends the next `len` bytes of the segment, or as many as there are. False if a frame of it has
    /// been overwritten meanwhile: then it can never be whole.
    pub fn take(&mut self, pictures: &Ring, sound: Option<&Ring>, len: usize, out: &mut Vec<u8>) -> bool {
        let mut len = len.min(self.left);
        self.left -= len;
        let head = self.head.get(self.taken.head..).unwrap_or_default();
        let part = head.get(..len.min(head.len())).unwrap_or_default();
        out.extend_from_slice(part);
        self.taken.head += part.len();
        len -= part.len();
        while len > 0 {
            let at = self.taken.frames;
            let (sample, bytes) = match self.samples.get(at) {
                Some(sample) => (sample, pictures.get(self.first + at as u64).map(|f| f.data)),
                None => {
                    let at = at - self.samples.len();
                    let Some(beside) = &self.sound else { return false };
                    let (Some(sample), Some(frame)) = (beside.samples.get(at), beside.frames.get(at)) else {
                        return false;
                    };
                    let bytes = match frame {
                        None => Some(beside.silence),
                        Some(seq) => sound.and_then(|ring| ring.get(*seq)).map(|f| f.data),
                    };
                    (sample, bytes)
                }
            };
            let Some(bytes) = bytes.filter(|b| b.len() == sample.size as usize) else { return false };
            let rest = bytes.get(self.taken.bytes..).unwrap_or_default();
            let part = rest.get(..len.min(rest.len())).unwrap_or_default();
            out.extend_from_slice(part);
            len -= part.len();
            self.taken.bytes += part.len();
            if self.taken.bytes == bytes.len() {
                (self.taken.frames, self.taken.bytes) = (at + 1, 0);
            }
        }
        true
    }
}

impl Sound {
    /// Lays frames up to that instant beside the pictures.
    fn lay(&mut self, ring: Option<&Ring>, base: Time, until: Time) {
        let end = ticks(base, until, self.rate);
        let (step, apart) = (i64::from(self.frame), i64::from(self.rate * APART / 1000));
        while self.tick < end {
            let frame = ring.and_then(|ring| {
                self.next = self.next.max(ring.tail());
                ring.get(self.next)
            });
            let Some(frame) = frame else {
                self.put(None, self.silence.len());
                continue;
            };
            let time = frame.meta.time;
            let place = ticks(base, time, self.rate) as i64 - ticks(time, base, self.rate) as i64;
            let off = place - self.tick as i64;
            if off <= -step {
                self.next += 1;
                continue;
            }
            if off >= step {
                self.put(None, self.silence.len());
                continue;
            }
            // the frame before it lasts a little longer or shorter, if it is still here to be told so
            if off.abs() > apart
                && let Some(before) = self.samples.last_mut()
            {
                let was = i64::from(before.duration);
                let lasts = (was + off).max(1);
                before.duration = lasts as u32;
                self.tick = self.tick.wrapping_add_signed(lasts - was);
                if self.tick >= end {
                    break;
                }
            }
            self.put(Some(self.next), frame.data.len());
            self.next += 1;
        }
    }

    fn put(&mut self, frame: Option<u64>, size: usize) {
        self.frames.push(frame);
        self.samples.push(Sample { size: size as u32, duration: self.frame, offset: 0, key: true });
        self.tick += u64::from(self.frame);
    }
}

#[cfg(test)]
#[path = "clip_tests.rs"]
mod tests;
