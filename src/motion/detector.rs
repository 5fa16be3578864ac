//! The motion detector: one picture after the other goes in as a size, a type and a quantiser, and out
//! comes whether something moves. Integers only, no allocation, no clock: time comes in with the picture.
//!
//! An encoder spends bits on what it could not predict: on a still picture, the sensor's noise; on a moving
//! one, what moves. All levels here are logarithms of bytes at one quantiser (26), in 256 steps to the
//! octave, so that a ratio is a difference. What an encoder does behind each key frame, and what it does
//! differently for B frames and those that nobody refers to, is learned and taken off. What is left is
//! averaged over a fifth of a second, and compared with the stillest of the last twenty seconds: motion is
//! what goes above them by more than they went themselves. No decision is fed back into that measure, so
//! that no mistake lasts longer than it takes for the seconds to go by.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::media::Time;
use std::time::Duration;

/// Steps of a level to the octave.
const OCTAVE: i32 = 256;
/// The quantiser at which levels are given.
const QP: i32 = 26;
/// Places between two key frames: the first pictures each, then half octaves of their number.
const PLACES: usize = 19;
/// Pictures that have a place of their own.
const SINGLE: u32 = 8;
/// Behind a key frame pictures are not looked at for so many thirtieths of a second: they repair it.
const REPAIR: u32 = 12;
/// Stretches of time that are remembered, and how long each is.
const SPANS: usize = 8;
const SPAN: Duration = Duration::from_millis(2500);
/// Pictures that a stretch has at least and at the most.
const SPAN_PICTURES: (i32, i32) = (12, 1000);
/// Stretches that differ by less (a quarter) are alike.
const ALIKE: i32 = 75;
/// Key frames that differ by more (two fifths) show another light.
const CUT: i32 = 128;
/// Pictures that are averaged: a second has so many times as many.
const NEAR: u32 = 5;
/// Pictures between two measurements of the frame rate.
const RECALIBRATE: u32 = 150;
/// Frames a second until they have been measured.
const ASSUMED_FPS: u32 = 30;
/// Bytes of a picture are not counted beyond this.
const MOST: i32 = 1 << 24;

/// What kind of picture it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Nothing is predicted: its size says nothing of motion.
    Key,
    /// Predicted from what was before.
    P,
    /// Predicted from both sides.
    B,
}

/// A picture, as far as the detector looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// How it is predicted.
    pub kind: Type,
    /// Other pictures refer to it, and it is not of a higher temporal layer.
    pub base: bool,
    /// Bytes of its slices.
    pub size: u32,
    /// The quantiser of its first slice, where it could be read.
    pub qp: Option<i8>,
    /// Something before it is missing: lost, or the camera was away.
    pub gap: bool,
}

/// How the detector judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How far above the baseline motion is, in 256ths; 512 (2.0) by default.
    pub threshold: u16,
    /// How long motion lasts behind the last picture that shows it.
    pub hold: Duration,
    /// How long after its end no other begins.
    pub cool_down: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { threshold: 512, hold: Duration::from_secs(30), cool_down: Duration::from_secs(5) }
    }
}

/// The threshold (in 256ths) for a sensitivity from 1 (only what is large) to 10 (whatever stirs); 5 is 2.0.
pub fn threshold_of(sensitivity: u8) -> u16 {
    const TABLE: [u16; 10] = [2048, 1280, 896, 664, 512, 448, 400, 362, 336, 314];
    TABLE.get(usize::from(sensitivity.clamp(1, 10)) - 1).copied().unwrap_or(512)
}

/// What the detector thinks of a picture; levels are logarithms, see [`bytes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The picture's level as the baseline's quantiser would have made it.
    pub level: i32,
    /// The baseline for pictures of its class.
    pub baseline: i32,
    /// What is above this speaks for motion.
    pub trigger: i32,
    /// Enough pictures have spoken for motion.
    pub moving: bool,
    /// Motion has begun or ended with this picture, after hold and cool-down.
    pub changed: Option<bool>,
}

/// How far pictures of a class are usually from those that others refer to; in 16ths.
#[derive(Clone, Copy, Default)]
struct Offset {
    seen: u8,
    level: i16,
}

impl Offset {
    /// Learns from a picture that is so far off: at first a `least`th of it, in the end a `most`th.
    fn learn(&mut self, off: i32, least: i32, most: i32) {
        let share = (least + i32::from(self.seen)).min(most);
        self.level = (i32::from(self.level) + off * 16 / share).clamp(-32000, 32000) as i16;
        self.seen = self.seen.saturating_add(1);
    }

    fn get(self) -> i32 {
        i32::from(self.level) / 16
    }
}

/// How far pictures at one place behind a key frame are off. What two groups of pictures have in common is
/// the encoder's; what only one of them has may be motion.
#[derive(Clone, Copy, Default)]
struct Place {
    seen: u8,
    last: i16,
    before: i16,
    level: i16,
}

impl Place {
    fn learn(&mut self) {
        let (last, before) = (i32::from(self.last), i32::from(self.before));
        let both = match (last > 0, before > 0) {
            (true, true) => last.min(before),
            (false, false) => last.max(before),
            _ => 0,
        };
        let share = if self.seen < 2 { 1 } else { 4 };
        self.level += ((both * 16 - i32::from(self.level)) / share) as i16;
        self.seen = self.seen.saturating_add(1);
    }

    fn get(self) -> i32 {
        i32::from(self.level) / 16
    }
}

/// A stretch of time: its mean level, and how far it went above that.
#[derive(Clone, Copy, Default)]
struct Span {
    mean: i16,
    swing: i16,
}

/// The stretch that is not over yet.
#[derive(Clone, Copy, Default)]
struct Now {
    since: Time,
    sum: i32,
    count: i32,
    high: i32,
}

/// See the module.
pub struct Detector {
    settings: Settings,
    /// log2 of the threshold.
    gain: i32,
    classes: [Offset; 4],
    places: [Place; PLACES],
    /// Quantiser, in 256ths.
    qp: i32,
    /// Level of the last key frame; bytes that every picture has on top.
    key: i32,
    floor: u32,
    /// Pictures since the last key frame, and from one to the next.
    behind: u32,
    gop: u32,
    again: u32,
    /// Pictures of its second half with and without motion; still groups in a row, or moving ones below 0.
    stirred: u32,
    rested: u32,
    groups: i32,
    /// The mean of the last pictures: bytes, in 64ths, and their level.
    sum: i32,
    near: i32,
    /// The mean level towards the end of the last group of pictures, and of the present one; in 256ths.
    local: i32,
    end: i32,
    /// The present place, its levels added up, and their number.
    part: (usize, i32, i32),
    /// The last stretches of time, and the present one.
    spans: [Span; SPANS],
    filled: usize,
    next: usize,
    now: Now,
    /// What the stillest of the last seconds had, and how far above it motion is.
    base: i32,
    limit: i32,
    /// The same as bytes.
    still: i32,
    motion: i32,
    /// Pictures seen; pictures still to come that say nothing, because some are missing.
    seen: u32,
    settling: u32,
    fps: u32,
    counted: u32,
    since: Time,
    last: Time,
    moving: bool,
    on: bool,
    until: Time,
    rests: Time,
}

impl Detector {
    /// A detector that knows nothing of its camera yet.
    pub fn new(settings: Settings) -> Detector {
        Detector {
            settings,
            gain: log2(u32::from(settings.threshold.clamp(264, 25600))) - 8 * OCTAVE,
            classes: Default::default(),
            places: [Place::default(); PLACES],
            qp: QP << 8,
            key: 0,
            floor: 64,
            behind: 0,
            gop: 0,
            again: 0,
            stirred: 0,
            rested: 0,
            groups: 0,
            near: 0,
            sum: 0,
            local: 0,
            end: 0,
            part: (0, 0, 0),
            spans: Default::default(),
            filled: 0,
            next: 0,
            now: Now::default(),
            base: 0,
            limit: 0,
            still: 0,
            motion: 0,
            seen: 0,
            settling: 0,
            fps: ASSUMED_FPS,
            counted: 0,
            since: Time::ZERO,
            last: Time::ZERO,
            moving: false,
            on: false,
            until: Time::ZERO,
            rests: Time::ZERO,
        }
    }

    /// Whether there is motion now.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// The frame rate as last measured.
    pub fn fps(&self) -> u32 {
        self.fps
    }

    /// When motion will have ended if nothing more moves.
    pub fn deadline(&self) -> Option<Time> {
        self.on.then_some(self.until)
    }

    /// Looks at the time alone, where no pictures come: whether motion ends now.
    pub fn tick(&mut self, now: Time) -> bool {
        let ends = self.on && now >= self.until;
        if ends {
            self.on = false;
            self.rests = now + self.settings.cool_down;
        }
        ends
    }

    /// The next picture.
    pub fn picture(&mut self, now: Time, picture: Picture) -> Verdict {
        self.measure(now, picture.gap);
        let mut verdict = self.judge(now, picture);
        if verdict.moving {
            self.until = now + self.settings.hold;
            if !self.on && now >= self.rests {
                self.on = true;
                verdict.changed = Some(true);
            }
        } else if self.tick(now) {
            verdict.changed = Some(false);
        }
        verdict
    }

    /// Counts pictures and time; after a pause it is not known what the camera has seen.
    fn measure(&mut self, now: Time, gap: bool) {
        let pause = now.since(self.last);
        let long = self.counted > 0 && pause > Duration::from_secs(2);
        self.last = now;
        if gap || long {
            self.now = Now::default();
            self.moving = false;
            self.settling = self.settling.max(self.fps / 4);
            self.behind = SINGLE;
            self.counted = 0;
        }
        if self.counted == 0 {
            self.since = now;
        } else if self.counted >= RECALIBRATE {
            let span = now.since(self.since).as_millis() as u32;
            self.fps =
                (self.counted * 1000 + span / 2).checked_div(span).unwrap_or(ASSUMED_FPS).clamp(1, 120);
            self.counted = 0;
            self.since = now;
        }
        self.counted += 1;
    }

    fn judge(&mut self, now: Time, picture: Picture) -> Verdict {
        if picture.kind == Type::Key {
            return self.key_frame(log2(picture.size), picture.qp);
        }
        self.behind = self.behind.saturating_add(1);
        let place = place_of(self.behind);
        let at = usize::from(picture.kind == Type::B) * 2 + usize::from(!picture.base);
        let class = self.classes.get(at).copied().unwrap_or_default();
        let own = self.places.get(place).copied().unwrap_or_default();
        let qp = picture.qp.map_or(self.qp, |qp| i32::from(qp) << 8);
        if self.seen == 0 {
            self.qp = qp;
        }
        self.seen = self.seen.saturating_add(1);
        self.qp += (qp - self.qp) / 64;
        // a finer quantiser makes more bytes of the same picture, by an octave for six steps of QP on a
        // busy one and for three on one that is nearly still: believe what speaks less for motion
        let finer = ((self.qp - qp) >> 8).max(0);
        let scale = ((qp >> 8) - QP - finer) * OCTAVE / 6;
        let level = log2(bytes(log2(picture.size) + scale).saturating_add(self.floor));
        let offset = class.get() + own.get();
        let plain = level - offset;
        if self.seen == 1 {
            self.near = plain;
            self.sum = counted(plain) << 6;
            self.local = plain << 8;
            self.end = plain << 8;
        }

        // what comes again with each group of pictures is the encoder's, whatever moves
        let alone = place < SINGLE as usize;
        let raw = level - class.get();
        self.end += ((raw << 8) - self.end) / (self.behind as i32 / 2).clamp(3, 64);
        if place != self.part.0 {
            self.leave();
            self.part.0 = place;
        }
        if self.part.2 < RECALIBRATE as i32 {
            self.part.1 += raw - (self.local >> 8);
            self.part.2 += 1;
        }
        if at > 0
            && let Some(c) = self.classes.get_mut(at)
        {
            c.learn(raw - (self.end >> 8), 1, 64);
        }

        let few = (self.fps / NEAR).clamp(2, 8) as i32;
        let blank = (self.fps * REPAIR / 30).min(self.gop / 5);
        if self.limit == 0 || self.behind > blank && (!alone || own.seen > 1) {
            // one odd picture is not enough, however large
            let own = counted(plain);
            let most = self.still + self.motion * few * if few > 2 { 6 } else { 7 } / 10;
            let own = if self.limit > 0 { own.min(most) } else { own };
            self.sum += ((own.min(MOST) << 6) - self.sum) / few;
            self.near = log2((self.sum >> 6) as u32);
            self.span(now);
        }
        let above = self.near - self.base;
        let limit = if self.moving { self.limit * 2 / 3 } else { self.limit };
        self.moving = self.limit > 0 && self.settling == 0 && above > limit;
        self.settling = self.settling.saturating_sub(1);
        if self.behind * 2 > self.gop {
            self.rested += u32::from(!self.moving);
            self.stirred += u32::from(self.moving);
        }
        let baseline = self.base + offset;
        Verdict { level, baseline, trigger: baseline + self.limit, moving: self.moving, changed: None }
    }

    /// Goes on with the present seconds; when they are over, looks for the stillest of the last ones.
    fn span(&mut self, time: Time) {
        let near = self.near;
        let now = &mut self.now;
        if now.count == 0 {
            *now = Now { since: time, high: near, ..Now::default() };
        }
        now.sum += near;
        now.count += 1;
        now.high = now.high.max(near);
        let short = now.count < SPAN_PICTURES.0 || time.since(now.since) < SPAN;
        if short && now.count < SPAN_PICTURES.1 {
            return;
        }
        let mean = now.sum / now.count;
        let span = Span { mean: mean as i16, swing: (now.high - mean) as i16 };
        now.count = 0;
        now.sum = 0;
        if let Some(place) = self.spans.get_mut(self.next) {
            *place = span;
        }
        self.next = (self.next + 1) % SPANS;
        self.filled = (self.filled + 1).min(SPANS);
        // the stillest third, and all that are not far from it
        let mut sorted = self.spans;
        let sorted = sorted.get_mut(..self.filled).unwrap_or_default();
        sorted.sort_unstable_by_key(|s| s.mean);
        let (mut sum, mut still) = (0, 0);
        for s in sorted.iter() {
            let mean = i32::from(s.mean);
            if still * 3 >= self.filled as i32 && mean > sum / still + ALIKE {
                break;
            }
            sum += mean;
            still += 1;
        }
        let sorted = sorted.get_mut(..still as usize).unwrap_or_default();
        sorted.sort_unstable_by_key(|s| s.swing);
        let swing = sorted.get(still as usize / 2).map_or(0, |s| i32::from(s.swing));
        self.base = sum / still.max(1);
        // a quarter more is no motion, nor a few bytes: even a still picture breathes
        let still = bytes(self.base);
        let least = log2(still.saturating_add(still / 4).saturating_add(self.floor / 5 * 3)) - self.base;
        self.limit = (swing * 6 / 5).max(least) * self.gain / OCTAVE;
        self.still = counted(self.base);
        self.motion = counted(self.base + self.limit) - self.still;
    }

    /// The pictures of one place are over.
    fn leave(&mut self) {
        let (place, sum, count) = std::mem::take(&mut self.part);
        if count > 0
            && let Some(p) = self.places.get_mut(place)
        {
            p.before = p.last;
            p.last = (sum / count).clamp(-4 * OCTAVE, 4 * OCTAVE) as i16;
        }
    }

    /// A group of pictures is over: what it has in common with the one before is learned if both were still
    /// in the end (or if nothing was for long).
    fn group(&mut self) {
        let still = self.stirred.saturating_mul(3) <= self.rested;
        (self.stirred, self.rested) = (0, 0);
        self.groups = if still { self.groups.max(0) + 1 } else { self.groups.min(0) - 1 };
        if self.groups >= 2 || self.groups < -2 {
            let most = place_of(self.behind);
            for p in self.places.iter_mut().take(most + 1) {
                p.learn();
            }
        }
    }

    fn key_frame(&mut self, level: i32, qp: Option<i8>) -> Verdict {
        let level = level + (qp.map_or(QP, i32::from) - QP) * OCTAVE / 6;
        self.leave();
        self.group();
        self.local = self.end;
        let gop = self.behind.saturating_add(1);
        if gop == self.again || self.gop == 0 {
            self.gop = gop;
        }
        self.again = gop;
        self.behind = 0;
        if self.key > 0 && (level - self.key).abs() > CUT {
            // another light: what was before is no measure any longer
            self.filled = 0;
            self.next = 0;
            self.now = Now::default();
        }
        self.key = level;
        self.floor = bytes(level) / 512;
        Verdict { level, baseline: level, trigger: level, moving: self.moving, changed: None }
    }
}

/// The number of which a level is the logarithm, as far as it counts.
fn counted(level: i32) -> i32 {
    bytes(level).min(MOST as u32) as i32
}

/// Where the nth picture behind a key frame stands: what an encoder does there fades away.
fn place_of(n: u32) -> usize {
    if n < SINGLE {
        return n as usize;
    }
    let log = 31 - n.leading_zeros();
    ((2 + 2 * log + (n >> (log - 1) & 1)) as usize).min(PLACES - 1)
}

/// log2 in 256 steps to the octave; of 0 it is 0.
pub fn log2(n: u32) -> i32 {
    let whole = 31 - n.max(1).leading_zeros();
    let part = (u64::from(n.max(1)) << 8 >> whole) as i32 - OCTAVE;
    // the logarithm bulges over the straight line by 0.086 at most
    whole as i32 * OCTAVE + part + ((part * (OCTAVE - part) * 88) >> 16)
}

/// The number of which a level is the logarithm.
pub fn bytes(level: i32) -> u32 {
    let (whole, part) = (level.clamp(0, 31 * OCTAVE) / OCTAVE, level.max(0) % OCTAVE);
    let part = part - ((part * (OCTAVE - part) * 88) >> 16);
    ((u64::from((OCTAVE + part) as u32) << whole) >> 8) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A camera with noise: 25 frames a second, a key frame every two seconds.
    struct Camera {
        detector: Detector,
        n: u64,
        random: u32,
        events: Vec<(u64, bool)>,
    }

    impl Camera {
        fn new(settings: Settings) -> Camera {
            Camera { detector: Detector::new(settings), n: 0, random: 7, events: vec![] }
        }

        fn noise(&mut self, part: u32) -> u32 {
            self.random = self.random.wrapping_mul(1_103_515_245).wrapping_add(12345);
            (self.random >> 16) % part.max(1)
        }

        fn picture(&mut self, kind: Type, size: u32, qp: Option<i8>, gap: bool) -> Verdict {
            let time = Time::from_nanos(1_000_000_000 + self.n * 40_000_000);
            let verdict = self.detector.picture(time, Picture { kind, base: true, size, qp, gap });
            if let Some(on) = verdict.changed {
                self.events.push((self.n, on));
            }
            self.n += 1;
            verdict
        }

        /// So many pictures whose P frames have this size, give or take a tenth.
        fn run(&mut self, count: u64, size: u32, qp: i8) -> &mut Camera {
            for _ in 0..count {
                let wobble = self.noise(size / 5);
                match self.n.is_multiple_of(50) {
                    true => self.picture(Type::Key, 40_000, Some(28), false),
                    false => self.picture(Type::P, size - size / 10 + wobble, Some(qp), false),
                };
            }
            self
        }

        fn taken(&mut self) -> Vec<(u64, bool)> {
            std::mem::take(&mut self.events)
        }
    }

    fn quick() -> Settings {
        Settings { hold: Duration::from_secs(1), cool_down: Duration::ZERO, ..Settings::default() }
    }

    #[test]
    fn what_moves_is_seen_within_half_a_second_and_its_end_after_the_hold() {
        let mut camera = Camera::new(Settings::default());
        camera.run(500, 1000, 28).run(100, 2500, 28).run(1500, 1000, 28);
        let events = camera.taken();
        let [(begin, true), (end, false)] = events[..] else { panic!("{events:?}") };
        assert!((502..=512).contains(&begin), "{begin}");
        // thirty seconds behind the last picture that moved
        assert!((1350..1370).contains(&end), "{end}");
    }

    /// A camera that records its own clicks fills the disk.
    #[test]
    fn one_odd_picture_is_no_motion_however_large() {
        let mut camera = Camera::new(quick());
        camera.run(500, 1000, 28);
        for _ in 0..20 {
            camera.picture(Type::P, 60_000, Some(28), false);
            camera.run(99, 1000, 28);
        }
        assert_eq!(camera.taken(), []);
    }

    #[test]
    fn a_constant_bitrate_hides_nothing() {
        let mut camera = Camera::new(quick());
        // the size stays, the quantiser rises
        camera.run(500, 1000, 26).run(100, 1000, 34).run(200, 1000, 26);
        let events = camera.taken();
        assert!(matches!(events[..], [(500..=512, true), (600..=650, false)]), "{events:?}");
        // without the quantiser it is hidden
        let mut blind = Camera::new(quick());
        for n in 0..800u32 {
            let kind = if n.is_multiple_of(50) { Type::Key } else { Type::P };
            blind.picture(kind, if n.is_multiple_of(50) { 40_000 } else { 1000 }, None, false);
        }
        assert_eq!(blind.taken(), []);
    }

    #[test]
    fn a_finer_quantiser_is_not_taken_for_motion() {
        let mut camera = Camera::new(quick());
        camera.run(500, 1000, 32).run(500, 2000, 26);
        assert_eq!(camera.taken(), []);
    }

    /// Another light or another bitrate must not be motion for the rest of the day.
    #[test]
    fn what_stays_as_it_is_becomes_the_baseline() {
        let mut camera = Camera::new(quick());
        camera.run(500, 1000, 28).run(1500, 3000, 28);
        let events = camera.taken();
        assert!(matches!(events[..], [(_, true), (..=1500, false)]), "{events:?}");
        camera.run(500, 1000, 28);
        assert_eq!(camera.taken(), []);
        camera.run(50, 3000, 28).run(100, 1000, 28);
        assert_eq!(camera.taken().len(), 2);
    }

    #[test]
    fn key_frames_alone_and_lost_frames_say_nothing() {
        let mut camera = Camera::new(quick());
        for n in 0..500 {
            camera.picture(Type::Key, 20_000 + n % 7 * 3000, Some(28), false);
        }
        assert_eq!(camera.taken(), []);
        let mut camera = Camera::new(quick());
        camera.run(500, 1000, 28);
        for _ in 0..20 {
            camera.picture(Type::P, 9000, Some(28), true);
            camera.picture(Type::P, 5000, Some(28), false);
            camera.run(48, 1000, 28);
        }
        assert_eq!(camera.taken(), []);
        camera.run(50, 3000, 28);
        assert_eq!(camera.taken().len(), 1);
    }

    #[test]
    fn frames_that_nobody_refers_to_have_a_baseline_of_their_own() {
        let mut detector = Detector::new(quick());
        let mut begun = vec![];
        for n in 0..900u64 {
            let kind = if n.is_multiple_of(60) {
                Type::Key
            } else if n.is_multiple_of(3) {
                Type::P
            } else {
                Type::B
            };
            let times = if (600..700).contains(&n) { 3 } else { 1 };
            let size = match kind {
                Type::Key => 50_000,
                Type::P => 6000 * times,
                Type::B => 4000 * times,
            };
            let picture = Picture { kind, base: kind != Type::B, size, qp: Some(28), gap: false };
            if let Some(true) = detector.picture(Time::from_nanos(n * 40_000_000), picture).changed {
                begun.push(n);
            }
        }
        assert!(matches!(begun[..], [600..=612]), "{begun:?}");
    }

    #[test]
    fn it_ends_where_no_pictures_come_any_more_and_rests() {
        let mut camera = Camera::new(Settings::default());
        camera.run(500, 1000, 28).run(25, 3000, 28);
        let until = camera.detector.deadline().unwrap();
        assert!(!camera.detector.tick(until.before(Duration::from_millis(1))));
        assert!(camera.detector.tick(until) && !camera.detector.is_on());
        camera.n = (until.nanos() - 1_000_000_000) / 40_000_000 + 1;
        camera.taken();
        // the cool-down is five seconds
        camera.run(100, 1000, 28).run(15, 3000, 28);
        assert_eq!(camera.taken(), []);
        camera.run(100, 3000, 28);
        assert_eq!(camera.taken().len(), 1);
    }

    #[test]
    fn the_rate_is_measured_and_the_threshold_scales() {
        let mut camera = Camera::new(quick());
        camera.run(400, 1000, 28);
        assert_eq!(camera.detector.fps(), 25);
        let dull = Settings { threshold: threshold_of(1), ..quick() };
        let mut camera = Camera::new(dull);
        camera.run(500, 1000, 28).run(50, 2200, 28).run(100, 1000, 28);
        assert_eq!(camera.taken(), []);
        assert!((1..10).all(|n| threshold_of(n) > threshold_of(n + 1)));
        assert_eq!(threshold_of(5), Settings::default().threshold);
    }

    #[test]
    fn logarithms_are_near_enough_and_come_back() {
        assert_eq!((log2(0), log2(1), log2(2), log2(1024)), (0, 0, 256, 2560));
        for n in [3u32, 10, 100, 777, 5000, 123_456, 9_999_999] {
            let back = bytes(log2(n));
            assert!(back.abs_diff(n) <= n / 64 + 1, "{n} became {back}");
        }
        assert!((1..100_000).all(|n| log2(n) <= log2(n + 1)));
    }

    /// Whatever numbers come, nothing overflows.
    #[test]
    fn nonsense_never_panics() {
        let mut random = 1u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut detector = Detector::new(Settings { threshold: 0, ..Settings::default() });
        let mut time = Time::ZERO;
        for _ in 0..200_000 {
            let n = next();
            time = if n.is_multiple_of(97) {
                Time::from_nanos(next())
            } else {
                time + Duration::from_micros(n >> 48)
            };
            let kind = [Type::Key, Type::P, Type::P, Type::B][(n % 4) as usize];
            let size = (n >> 32) as u32 >> (n % 31);
            let qp = (n % 3 > 0).then_some((n >> 8) as i8);
            detector.picture(time, Picture { kind, base: n % 5 > 0, size, qp, gap: n.is_multiple_of(1009) });
        }
    }
}
