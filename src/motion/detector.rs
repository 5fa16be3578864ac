//! The motion detector: one picture after the other goes in as a size, a type and a quantiser, and out
//! comes whether something moves. Integers only, no allocation, no clock: time comes in with the picture.
//!
//! An encoder spends bits on what it could not predict: on a still picture, the sensor's noise; on a moving
//! one, what moves. All levels here are logarithms of bytes at one quantiser (26). What a still picture has
//! at that place behind a key frame is known from the groups of pictures before (`habit`); what is above it
//! is averaged over a fifth of a second and over six tenths. Motion is where the one goes above a limit that
//! grows with how much the level breathes, or the other above a lower one, and as long as something is left
//! of it. Level and breath are learned from still pictures; what has moved for twenty seconds is the new level.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::habit::Habit;
pub use super::level::{OCTAVE, bytes, log2};
use crate::media::Time;
use std::time::Duration;

/// The quantiser at which levels are given, and the steps of a level to one of it: 2.9 make an octave.
const QP: i32 = 26;
const QP_STEP: i32 = 88;
/// Bytes that every picture has on top, whatever its quantiser is.
const FLOOR: i32 = 30;
/// The level of bytes at quantiser 26 below which nothing can be told: a coarse picture without bytes is no motion.
const BARE: i32 = 1217;
/// A finer quantiser than lately repairs the picture: so many steps of a level for each of it, and for how
/// many hundredths of a second it is remembered.
const REPAIR: i32 = 51;
const LATELY: i32 = 31;
/// A picture is off by so many steps at the most.
const FARTHEST: i32 = 2047;
/// What the fast mean must be above its level: this, and so many 256ths of how much it breathes.
const LEAST: i32 = 37;
const BREATHS: i32 = 700;
/// The same for the slow one.
const LEAST_SLOW: i32 = 30;
/// Motion goes on down to so many 256ths of what it was at its most, which fades in so many tenths of a
/// second: an encoder repairs for a while what somebody has left behind.
const REST: i32 = 113;
const FADES: i32 = 32;
/// Milliseconds of the fast mean and of the slow one; when it falls, 256ths of that.
const FEW: i32 = 210;
const MANY: i32 = 630;
const FALLS: i32 = 154;
/// What one picture may be in the fast mean and in the slow one: 256ths of what makes it motion.
const ODD: i32 = 200;
const ODD_SLOW: i32 = 180;
/// How fast level and breath are learned, and a level that falls while something moves: tenths of a second.
const LEVEL: i32 = 250;
const BREATH: i32 = 16;
const FALL: i32 = 56;
/// What moves for so many seconds is the new level; a picture that is still takes so many back.
const ABSORBED: i32 = 20;
const STILL: i32 = 5;
/// No picture is judged before so many tenths of a second have been seen.
const WARM: i32 = 36;
/// Pictures that are counted as judged.
const MANY_JUDGED: i32 = 1024;
/// Pictures between two measurements of the frame rate, and before the first.
const RECALIBRATE: u32 = 150;
const FIRST_RATE: u32 = 20;
/// Frames a second until they have been measured.
const ASSUMED_FPS: u32 = 30;
/// A pause of so many times 2^20 nanoseconds (two seconds): it is not known what the camera has seen.
const PAUSE: i32 = 1907;

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

/// What the frame rate makes of the times above: shares that one picture has, in 4096ths.
#[derive(Clone, Copy, Default)]
struct Rates {
    fps: i32,
    lately: i32,
    fast: i32,
    slow: i32,
    falling: i32,
    fades: i32,
    /// What one picture may add to the fast mean, in 256ths of the limit, and to the slow one.
    odd: i32,
    most: i32,
    level: i32,
    breath: i32,
    fall: i32,
    /// Pictures until what moves is the new level, and until the first is judged.
    absorbed: i32,
    warm: i32,
}

impl Rates {
    fn of(fps: u32) -> Rates {
        let fps = fps as i32;
        let (few, many) = ((fps * FEW / 1000).clamp(2, 24), (fps * MANY / 1000).clamp(2, 84));
        let share = |pictures: i32| 4096 / pictures.max(4);
        Rates {
            fps,
            lately: 4096 / (fps * LATELY / 100).max(1),
            fast: 4096 / few,
            slow: 4096 / many,
            falling: 4096 / (many * FALLS / 256).max(2),
            fades: share(fps * FADES / 10),
            odd: few * ODD,
            most: LEAST_SLOW * many * ODD_SLOW / 256,
            level: share(fps * LEVEL / 10),
            breath: share(fps * BREATH / 10),
            fall: share(fps * FALL / 10),
            absorbed: fps * ABSORBED,
            warm: fps * WARM / 10,
        }
    }
}

/// See the module.
pub struct Detector {
    /// log2 of the threshold; hold and cool-down in nanoseconds.
    gain: i32,
    hold: u64,
    cool_down: u64,
    habit: Habit,
    rates: Rates,
    /// The last quantiser, and how coarse it was lately, in 16ths.
    qp: i32,
    lately: i32,
    /// Pictures since the last key frame, seen at all, and judged.
    behind: u32,
    seen: u32,
    judged: i32,
    /// How far the level is from habit, and how much it breathes, in 256ths.
    level: i32,
    breath: i32,
    /// The two means, in 16ths, and their limits: 0 as long as nothing is known.
    fast: i32,
    slow: i32,
    limit: i32,
    limit_slow: i32,
    /// What is above the level now, whole, and the most that it was; in 16ths.
    near: i32,
    most: i32,
    /// Pictures with motion, less some for each without, down to 0.
    long: i32,
    /// Pictures still to come that say nothing, because some are missing.
    settling: u32,
    fps: u32,
    counted: u32,
    since: Time,
    /// When the last picture came, in steps of 2^20 nanoseconds.
    last: u32,
    moving: bool,
    on: bool,
    until: Time,
    rests: Time,
}

impl Detector {
    /// A detector that knows nothing of its camera yet.
    pub fn new(settings: Settings) -> Detector {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Detector {
            gain: log2(u32::from(settings.threshold.clamp(264, 25600))) - 8 * OCTAVE,
            hold: nanos(settings.hold),
            cool_down: nanos(settings.cool_down),
            habit: Habit::new(),
            rates: Rates::of(ASSUMED_FPS),
            qp: QP,
            lately: 0,
            behind: 0,
            seen: 0,
            judged: 0,
            level: 0,
            breath: 0,
            fast: 0,
            slow: 0,
            limit: 0,
            limit_slow: 0,
            near: 0,
            most: 0,
            long: 0,
            settling: 0,
            fps: ASSUMED_FPS,
            counted: 0,
            since: Time::ZERO,
            last: 0,
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
            self.rests = later(now, self.cool_down);
        }
        ends
    }

    /// The next picture.
    pub fn picture(&mut self, now: Time, picture: Picture) -> Verdict {
        self.measure(now, picture.gap);
        let mut verdict = self.judge(&picture);
        if verdict.moving {
            self.until = later(now, self.hold);
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
        let tick = (now.nanos() >> 20) as u32;
        let long = self.counted > 0 && tick.wrapping_sub(self.last) as i32 > PAUSE;
        self.last = tick;
        if gap || long {
            self.habit.leave(true);
            self.moving = false;
            self.settling = self.settling.max(self.fps / 4);
            self.counted = 0;
        }
        if self.counted == 0 {
            self.since = now;
        } else if self.counted >= RECALIBRATE || self.counted == FIRST_RATE && self.seen < RECALIBRATE / 5 {
            let span = now.since(self.since).as_millis() as u32;
            self.fps =
                (self.counted * 1000 + span / 2).checked_div(span).unwrap_or(ASSUMED_FPS).clamp(1, 120);
            self.rates = Rates::of(self.fps);
            self.counted = 0;
            self.since = now;
        }
        self.counted += 1;
    }

    /// The level of a picture as the baseline's quantiser would have made it.
    fn level_of(&mut self, picture: &Picture, reference: bool) -> i32 {
        let level = log2(picture.size.saturating_add(FLOOR as u32)) + (self.qp - QP) * QP_STEP;
        // the logarithm of the sum of both, near enough
        let (high, apart) = (level.max(BARE), (level - BARE).abs());
        let level = if apart < 1024 { high + (((1024 - apart) * (1024 - apart)) >> 12) } else { high };
        if !reference {
            return level;
        }
        let finer = self.lately - (self.qp << 4);
        if finer <= 0 {
            self.lately = self.qp << 4;
            return level;
        }
        self.lately -= part(finer, self.rates.lately);
        level - ((finer * REPAIR) >> 4)
    }

    fn judge(&mut self, picture: &Picture) -> Verdict {
        self.qp = picture.qp.map_or(self.qp, i32::from);
        let class = usize::from(picture.kind == Type::B) * 2 + usize::from(!picture.base);
        let level = self.level_of(picture, class == 0 && picture.kind == Type::P);
        let believes = self.long < self.rates.absorbed;
        if picture.kind == Type::Key {
            self.habit.leave(believes);
            self.behind = 0;
            return Verdict { level, baseline: level, trigger: level, moving: self.moving, changed: None };
        }
        self.behind = self.behind.saturating_add(1);
        self.seen = self.seen.wrapping_add(1);
        let offset = self.habit.class(class);
        let own = level - offset - (self.level >> 8);
        if self.seen & 7 == 0 {
            self.set_limits();
        }
        if self.habit.moves_on(self.behind) {
            self.habit.go(self.behind, own, self.behind <= self.rates.fps as u32, believes);
        }
        self.habit.count(own);
        let off = own - self.habit.expected;
        if class > 0 {
            self.habit.learn_class(class, off - (self.slow >> 4));
        }
        if !self.habit.blind && self.settling == 0 {
            self.weigh(off.clamp(-FARTHEST, FARTHEST), believes);
        }
        let above = self.fast >> 4 > self.limit || self.slow >> 4 > self.limit_slow;
        let rests = self.near << 8 <= self.most * REST;
        self.moving = above && !rests && self.limit > 0 && self.settling == 0;
        self.settling = self.settling.saturating_sub(1);
        if self.moving {
            self.long = self.long.saturating_add(1);
            self.habit.moved();
        } else {
            self.long = (self.long - STILL).max(0);
        }
        let baseline = self.habit.expected + (self.level >> 8) + offset;
        Verdict { level, baseline, trigger: baseline + self.limit, moving: self.moving, changed: None }
    }

    /// From how much the level breathes, once that is known.
    fn set_limits(&mut self) {
        if self.judged > self.rates.warm {
            self.limit = ((((self.breath * BREATHS) >> 16) + LEAST) * self.gain) >> 8;
            self.limit_slow = (LEAST_SLOW * self.gain) >> 8;
        }
    }

    /// Takes a picture into the means, and learns from it if it shows nothing.
    fn weigh(&mut self, off: i32, believes: bool) {
        self.near += part((off << 4) - self.near, self.rates.fast);
        self.most = (self.most - part(self.most, self.rates.fades)).max(self.near);
        // one odd picture is not enough, however large
        let most = if self.limit > 0 { (self.limit * self.rates.odd) >> 8 } else { FARTHEST };
        let off = off.clamp(-most, most);
        self.fast += part((off << 4) - self.fast, self.rates.fast);
        let share = if self.slow > self.fast { self.rates.falling } else { self.rates.slow };
        self.slow += part((off.min(self.rates.most) << 4) - self.slow, share);
        // the first pictures count for more
        let mut first = 0;
        if self.judged < MANY_JUDGED {
            self.judged += 1;
            first = 4096 / self.judged.max(4);
        }
        if !self.moving || !believes {
            self.level += (off * first.max(self.rates.level)) >> 4;
            self.breath += part((self.fast.abs() << 4) - self.breath, first.max(self.rates.breath));
        } else if off < 0 {
            self.level += (off * self.rates.fall) >> 4;
        }
    }
}

/// What a share of so many 4096ths of something is.
fn part(of: i32, share: i32) -> i32 {
    (of * share) >> 12
}

fn later(time: Time, nanos: u64) -> Time {
    Time::from_nanos(time.nanos().saturating_add(nanos))
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
        // it has moved for twenty seconds, and is known some groups of pictures later
        assert!(matches!(events[..], [(500..=512, true), .., (1000..=1400, false)]), "{events:?}");
        assert!(events.len() <= 4, "{events:?}");
        camera.run(500, 1000, 28);
        assert_eq!(camera.taken(), []);
        camera.run(50, 3000, 28).run(100, 1000, 28);
        assert_eq!(camera.taken().len(), 2);
    }

    /// An encoder that repairs for a second what each key frame left blurred would be motion each time,
    /// and somebody small at the end of the group would be nothing beside it.
    #[test]
    fn what_comes_again_with_each_group_of_pictures_is_no_motion_and_hides_none() {
        let mut camera = Camera::new(quick());
        let group = |camera: &mut Camera, more: u32| {
            for n in 0..50u32 {
                let noise = camera.noise(20);
                match n {
                    0 => camera.picture(Type::Key, 40_000, Some(28), false),
                    _ => camera.picture(Type::P, 200 + 6000 / n + more + noise, Some(28), false),
                };
            }
            camera.taken()
        };
        for _ in 0..15 {
            assert_eq!(group(&mut camera, 0), []);
        }
        let events = group(&mut camera, 200);
        assert!(matches!(events[..], [(750..=770, true)]), "{events:?}");
    }

    /// Ten in a hundred bytes more: too little for a moment, and seen when it lasts.
    #[test]
    fn somebody_small_is_seen_because_he_stays() {
        let mut camera = Camera::new(quick());
        camera.run(1000, 2000, 28).run(5, 2300, 28).run(300, 2000, 28);
        assert_eq!(camera.taken(), []);
        camera.run(100, 2300, 28).run(100, 2000, 28);
        let events = camera.taken();
        assert!(matches!(events[..], [(1305..=1340, true), (1405..=1455, false)]), "{events:?}");
    }

    #[test]
    fn few_frames_a_second_are_enough() {
        let mut detector = Detector::new(quick());
        let mut begun = vec![];
        for n in 0..500u64 {
            let more = if (300..330).contains(&n) { 500 } else { 0 };
            let key = n.is_multiple_of(25);
            let size = if key { 40_000 } else { 1000 + more + (n * 7919 % 100) as u32 };
            let kind = if key { Type::Key } else { Type::P };
            let picture = Picture { kind, base: true, size, qp: Some(28), gap: false };
            if let Some(true) = detector.picture(Time::from_nanos(n * 200_000_000), picture).changed {
                begun.push(n);
            }
        }
        // within half a second
        assert!(matches!(begun[..], [300..=303]), "{begun:?}");
        assert_eq!(detector.fps(), 5);
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
        camera.run(500, 1000, 28).run(50, 1300, 28).run(100, 1000, 28);
        assert_eq!(camera.taken(), []);
        let mut camera = Camera::new(quick());
        camera.run(500, 1000, 28).run(50, 1300, 28).run(100, 1000, 28);
        assert_eq!(camera.taken().len(), 2);
        assert!((1..10).all(|n| threshold_of(n) > threshold_of(n + 1)));
        assert_eq!(threshold_of(5), Settings::default().threshold);
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
