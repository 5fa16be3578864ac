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
mod tests {
    use super::super::ring::Meta;
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * MS)
    }

    /// A camera's two rings, written as time goes by.
    struct Rings {
        pictures: Ring,
        sound: Ring,
        n: u64,
        said: u64,
    }

    const CONFIG: AudioConfig = AudioConfig::lc(32_000, 1);

    impl Rings {
        fn new() -> Rings {
            Rings::keeping(60)
        }

        fn keeping(seconds: u64) -> Rings {
            let keep = Duration::from_secs(seconds);
            Rings { pictures: Ring::new(4 << 20, keep), sound: Ring::new(1 << 20, keep), n: 0, said: 0 }
        }

        fn picture(&mut self, ms: u64, key: bool) {
            let time = at(ms);
            self.pictures.append(&[self.n as u8; 1000]).unwrap();
            self.pictures.commit(Meta { time, decode: time, key, gap: false, config: 0 }, None);
            self.n += 1;
        }

        fn sound(&mut self, ms: u64) {
            let meta = Meta { time: at(ms), decode: at(ms), key: true, gap: false, config: 0 };
            self.sound.append(&[self.said as u8 | 0x80; 100]).unwrap();
            self.sound.commit(meta, None);
            self.said += 1;
        }

        /// Pictures at 25 a second, sound at `step` microseconds a frame, with holes.
        fn run(&mut self, from: u64, to: u64, gop: u64, step: u64, hole: std::ops::Range<u64>) {
            for ms in from..to {
                if ms % 40 == 0 {
                    self.picture(ms, ms % gop == 0);
                }
                while self.said_at(step) <= ms {
                    let when = self.said_at(step);
                    match hole.contains(&when) {
                        true => self.said += 1,
                        false => self.sound(when),
                    }
                }
            }
        }

        fn said_at(&self, step: u64) -> u64 {
            self.said * step / 1000
        }
    }

    /// A segment taken in pieces.
    fn take(clip: &mut Clip, rings: &Rings, piece: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let whole = clip.left();
        while clip.left() > 0 {
            assert!(clip.take(&rings.pictures, Some(&rings.sound), piece, &mut out));
        }
        assert_eq!(out.len(), whole);
        out
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    /// What a fragment's trafs say: begin, and each sample's duration and size.
    fn read(fragment: &[u8]) -> Vec<(u64, Vec<(u32, u32, u32)>)> {
        let moof = u32_at(fragment, 0) as usize;
        assert_eq!(&fragment[moof + 4..moof + 8], b"mdat");
        assert_eq!(moof + u32_at(fragment, moof) as usize, fragment.len());
        let mut trafs = Vec::new();
        let mut pos = 8 + 16;
        while pos < moof {
            assert_eq!(&fragment[pos + 4..pos + 8], b"traf");
            let begins = u64::from_be_bytes(fragment[pos + 36..pos + 44].try_into().unwrap());
            let trun = pos + 44;
            assert_eq!(&fragment[trun + 4..trun + 8], b"trun");
            let count = u32_at(fragment, trun + 12) as usize;
            let sample = |i: usize| {
                let s = trun + 20 + 12 * i;
                (u32_at(fragment, s), u32_at(fragment, s + 4), u32_at(fragment, s + 8))
            };
            trafs.push((begins, (0..count).map(sample).collect()));
            pos += u32_at(fragment, pos) as usize;
        }
        trafs
    }

    /// Everything that can be cut, read; with how far sound lies from its time, in milliseconds.
    fn all(rings: &Rings, clip: &mut Clip, now: Time) -> Vec<Vec<(u64, Vec<(u32, u32, u32)>)>> {
        let mut out = Vec::new();
        while clip.next(&rings.pictures, Some(&rings.sound), now) == Cut::Ready {
            out.push(read(&take(clip, rings, 777)));
        }
        out
    }

    fn joined(fragments: &[Vec<(u64, Vec<(u32, u32, u32)>)>]) {
        let mut ends = vec![None; 2];
        for (n, fragment) in fragments.iter().enumerate() {
            assert_eq!(fragment[0].1[0].2, 0x0200_0000, "fragment {n} begins with a key frame");
            for (track, (begins, samples)) in fragment.iter().enumerate() {
                assert!(samples.iter().all(|s| s.0 > 0));
                assert_eq!(ends[track].unwrap_or(*begins), *begins, "fragment {n}, track {track}");
                ends[track] = Some(begins + samples.iter().map(|s| u64::from(s.0)).sum::<u64>());
            }
            let seconds = |track: usize, rate| ends[track].unwrap() * 1000 / rate;
            assert!(seconds(0, 90_000).abs_diff(seconds(1, 32_000)) < 40, "sound ends with its pictures");
        }
    }

    #[test]
    fn fragments_last_about_four_seconds_whatever_the_gop() {
        for (gop, lasts) in
            [(1000, 4000), (2000, 4000), (4000, 4000), (3000, 3000), (520, 4160), (1480, 2960)]
        {
            let mut rings = Rings::new();
            rings.run(0, 30_000, gop, 32_000, 0..0);
            let mut clip = Clip::new(&rings.pictures, Some((&rings.sound, &CONFIG)), at(10_000)).unwrap();
            assert!(clip.begins() <= at(10_000) && clip.begins() > at(5_900), "{gop}: {:?}", clip.begins());
            let fragments = all(&rings, &mut clip, at(30_000));
            assert!(fragments.len() >= 3, "{gop}: {}", fragments.len());
            joined(&fragments);
            for f in &fragments {
                let ms: u32 = f[0].1.iter().map(|s| s.0).sum::<u32>() / 90;
                assert_eq!(ms, lasts, "GOP {gop}");
            }
            assert_eq!(fragments[0][0].0, 0);
        }
    }

    #[test]
    fn a_long_group_is_asked_to_end() {
        let mut rings = Rings::new();
        rings.run(0, 4_040, 100_000, 32_000, 0..0);
        let mut clip = Clip::new(&rings.pictures, None, at(0)).unwrap();
        assert_eq!(clip.next(&rings.pictures, None, at(4_040)), Cut::Wait { ask: false });
        rings.run(4_040, 4_120, 100_000, 32_000, 0..0);
        assert_eq!(clip.next(&rings.pictures, None, at(4_120)), Cut::Wait { ask: true });
        rings.picture(4_160, true);
        assert_eq!(clip.next(&rings.pictures, None, at(4_160)), Cut::Ready);
    }

    #[test]
    fn sound_that_drifts_or_is_missing_stays_beside_its_pictures() {
        // frames are 32 ms; a microphone that is 0.3 % too slow or too fast, and one with holes
        for (step, hole) in
            [(32_100, 0..0), (31_900, 0..0), (32_000, 12_000..13_500), (32_000, 9_000..30_000)]
        {
            let mut rings = Rings::new();
            rings.run(0, 30_000, 2000, step, hole.clone());
            let mut clip = Clip::new(&rings.pictures, Some((&rings.sound, &CONFIG)), at(8_000)).unwrap();
            let base = clip.begins().nanos() / 1000;
            let mut count = 0;
            let mut said = (base / step).saturating_sub(1);
            while clip.next(&rings.pictures, Some(&rings.sound), at(40_000)) == Cut::Ready {
                let fragment = take(&mut clip, &rings, 5000);
                let trafs = read(&fragment);
                let mut tick = trafs[1].0;
                let moof = u32_at(&fragment, 0) as usize;
                let mut place = moof + 8 + trafs[0].1.iter().map(|s| s.1 as usize).sum::<usize>();
                for (lasts, size, _) in &trafs[1].1 {
                    let bytes = &fragment[place..place + *size as usize];
                    if bytes != fmp4::silence(1) {
                        while bytes[0] != said as u8 | 0x80 {
                            said += 1;
                        }
                        let off = (base + tick * 1_000_000 / 32_000).abs_diff(said * step);
                        assert!(off <= 20_000, "{step}, {hole:?}: {off} µs");
                        count += 1;
                    }
                    tick += u64::from(*lasts);
                    place += *size as usize;
                }
            }
            assert!(count > 20, "{count}");
        }
    }

    #[test]
    fn a_silent_source_ends_its_fragment_and_goes_on_without_a_hole() {
        let mut rings = Rings::new();
        rings.run(0, 11_000, 2000, 32_000, 0..0);
        let mut clip = Clip::new(&rings.pictures, Some((&rings.sound, &CONFIG)), at(4_000)).unwrap();
        let mut fragments = all(&rings, &mut clip, at(11_000));
        assert_eq!(fragments.len(), 1);
        fragments.extend(all(&rings, &mut clip, at(14_500)));
        assert_eq!(fragments.len(), 2, "what is there is sent before the hub gives up");
        // it comes back in the middle of nothing, later with a key frame
        (rings.said, rings.n) = (20_000 / 32, 500);
        rings.picture(20_000, false);
        rings.run(20_040, 40_000, 2000, 32_000, 0..0);
        fragments.extend(all(&rings, &mut clip, at(40_000)));
        assert!(fragments.len() > 4);
        joined(&fragments);
    }

    #[test]
    fn a_hub_that_is_too_slow_gets_no_rubbish() {
        let mut rings = Rings::keeping(6);
        rings.run(0, 10_000, 2000, 32_000, 0..0);
        let mut clip = Clip::new(&rings.pictures, Some((&rings.sound, &CONFIG)), at(4_000)).unwrap();
        assert_eq!(clip.next(&rings.pictures, Some(&rings.sound), at(10_000)), Cut::Ready);
        let mut out = Vec::new();
        assert!(clip.take(&rings.pictures, Some(&rings.sound), 5000, &mut out));
        rings.run(10_000, 100_000, 2000, 32_000, 0..0);
        let left = clip.left();
        assert!(!clip.take(&rings.pictures, Some(&rings.sound), left, &mut out));
        // and the next one begins where there is something again
        assert_eq!(clip.next(&rings.pictures, Some(&rings.sound), at(100_000)), Cut::Ready);
        let fragment = read(&take(&mut clip, &rings, 1 << 20));
        assert_eq!(fragment[0].0, 4 * 90_000);
    }

    #[test]
    fn what_is_left_is_not_lost() {
        let mut rings = Rings::new();
        rings.run(0, 5_000, 2000, 32_000, 0..0);
        let mut clip = Clip::new(&rings.pictures, Some((&rings.sound, &CONFIG)), at(4_000)).unwrap();
        assert!(clip.rest(&rings.pictures, Some(&rings.sound)));
        let fragment = read(&take(&mut clip, &rings, 999));
        assert_eq!((fragment[0].1.len(), fragment.len()), (25, 2));
        assert!(!clip.rest(&rings.pictures, Some(&rings.sound)), "once");
    }
}
