//! RTP's short numbers made long, and its clock laid onto ours: what a sender stamps becomes a
//! [`Time`], what we send gets its stamp. Driven by (now, stamp); never reads a clock itself.

use super::Time;

const NANOS: i64 = 1_000_000_000;

/// Makes 32-bit RTP timestamps long. Each is taken as the nearest to the one before, so order may
/// suffer and wraps may go either way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrap {
    last: Option<u64>,
}

impl Unwrap {
    /// The long form. The first begins one wrap up, so that there is room below it.
    pub fn unwrap(&mut self, value: u32) -> u64 {
        let first = 1 << 32 | u64::from(value);
        let long = match self.last {
            // A sender that goes back for ever is one that starts anew.
            Some(last) => {
                last.checked_add_signed(i64::from(value.wrapping_sub(last as u32) as i32)).unwrap_or(first)
            }
            None => first,
        };
        self.last = Some(long);
        long
    }
}

/// Makes 16-bit RTP sequence numbers long, as [`Unwrap`] does for timestamps.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnwrapSeq {
    last: Option<u64>,
}

impl UnwrapSeq {
    /// The long form. The first begins one wrap up, so that there is room below it.
    pub fn unwrap(&mut self, value: u16) -> u64 {
        let first = 1 << 16 | u64::from(value);
        let long = match self.last {
            Some(last) => {
                last.checked_add_signed(i64::from(value.wrapping_sub(last as u16) as i16)).unwrap_or(first)
            }
            None => first,
        };
        self.last = Some(long);
        long
    }
}

/// Beyond this the sender's clock has jumped, and the mapping begins anew at once.
pub const JUMP: i64 = 10 * NANOS;
/// A delay that stays above this for a whole [`WINDOW`] is no jitter either: it is taken away in
/// one step.
pub const STEP: i64 = NANOS / 2;
/// How long the least delay is looked for.
pub const WINDOW: i64 = 10 * NANOS;
/// The mapping is moved by at most one part in this many, far more than any crystal is off.
pub const SLEW: i64 = 2000;
/// A sender report that lies further than this from what arrives is not believed.
pub const REPORT_BOUND: i64 = 2 * NANOS;
/// After this time without a report, arrivals steer again.
pub const REPORT_LIFE: i64 = 60 * NANOS;

/// The wall clock of one sender against ours, shared by all its tracks so that their lips meet.
#[derive(Clone, Copy, Debug, Default)]
pub struct SenderClock {
    /// Our time less the sender's, and when it was last looked at.
    offset: Option<(i64, i64)>,
}

impl SenderClock {
    /// Our time of the sender's NTP time, of which a report told just now.
    fn local(&mut self, now: i64, ntp: i64) -> i64 {
        let seen = now - ntp;
        let offset = match self.offset {
            // The quickest report is the truest; slower ones move it only as drift would.
            Some((offset, _)) if seen < offset && offset - seen < NANOS => seen,
            Some((offset, at)) if seen >= offset && seen - offset < NANOS => {
                offset + (seen - offset).min((now - at).max(0) / SLEW)
            }
            // The sender has set its clock.
            _ => seen,
        };
        self.offset = Some((offset, now));
        ntp.saturating_add(offset)
    }
}

/// 32.32 fixed point of NTP as nanoseconds.
const fn ntp_nanos(ntp: u64) -> i64 {
    let fraction = ((ntp & 0xffff_ffff) * NANOS as u64) >> 32;
    (ntp >> 32) as i64 * NANOS + fraction as i64
}

/// Lays the RTP clock of one track onto ours.
///
/// The first packet's arrival is its time. No frame can be made after it has arrived: a time that
/// would lie ahead of now pulls the mapping back at once (a backlog sent in a burst ends at now).
/// What stays late, because the sender's crystal is slow, is followed slowly. With sender reports
/// the mapping follows those instead, so that sound and picture of one sender agree. Exact in
/// between: the mapping counts from its anchor, never from the frame before.
#[derive(Clone, Debug)]
pub struct RtpClock {
    rate: u32,
    unwrap: Unwrap,
    /// A long timestamp and its time; `None` before the first packet.
    anchor: Option<(u64, i64)>,
    /// What is still to be added to the anchor's time, slowly.
    slew: i64,
    /// When the last packet came.
    last_now: i64,
    /// The least delay since `window`.
    least: i64,
    window: i64,
    /// The highest long timestamp and the time given for it: later ones never get less.
    top: (u64, i64),
    reported: Option<i64>,
}

impl RtpClock {
    /// For a clock of `rate` ticks a second.
    pub fn new(rate: u32) -> RtpClock {
        RtpClock {
            rate: rate.max(1),
            unwrap: Unwrap::default(),
            anchor: None,
            slew: 0,
            last_now: 0,
            least: i64::MAX,
            window: 0,
            top: (0, 0),
            reported: None,
        }
    }

    /// The time of a packet that arrives now with this timestamp.
    pub fn at(&mut self, now: Time, rtp: u32) -> Time {
        let now = clip(now);
        let long = self.unwrap.unwrap(rtp);
        let Some(mut time) = self.map(long) else { return self.begin(now, long) };
        if now.saturating_sub(time).abs() > JUMP {
            return self.begin(now, long);
        }
        time += self.creep(now);
        if time > now {
            self.shift(now - time);
            self.slew = self.slew.min(0);
            time = now;
        }
        self.least = self.least.min(now - time);
        if now - self.window >= WINDOW {
            if self.reported.is_none_or(|at| now - at > REPORT_LIFE) {
                if self.least > STEP {
                    self.shift(self.least);
                    time += self.least;
                    self.slew = 0;
                } else {
                    self.slew = self.least;
                }
            }
            self.least = i64::MAX;
            self.window = now;
        }
        if long >= self.top.0 {
            time = time.max(self.top.1);
            self.top = (long, time);
        }
        Time::from_nanos(time.max(0) as u64)
    }

    /// A sender report: at `ntp` of the sender's clock its timestamp was `rtp`. Gives whether it was
    /// believed; cameras are known to send reports whose two halves do not belong together.
    pub fn report(&mut self, now: Time, ntp: u64, rtp: u32, sender: &mut SenderClock) -> bool {
        let now = clip(now);
        if ntp >> 32 == 0 {
            return false;
        }
        // Look, do not follow: an old or odd report must not steer the unwrapping.
        let mut look = self.unwrap;
        let long = look.unwrap(rtp);
        let local = sender.local(now, ntp_nanos(ntp));
        let Some(time) = self.map(long) else {
            self.unwrap.unwrap(rtp);
            self.begin(local, long);
            self.top = (0, 0);
            self.reported = Some(now);
            return true;
        };
        let error = local.saturating_sub(time);
        if error.abs() > REPORT_BOUND {
            return false;
        }
        if self.reported.is_none() {
            // Sound and picture meet at once; a step back waits at the highest time given so far.
            self.shift(error);
            self.slew = 0;
        } else {
            self.slew = error;
        }
        self.reported = Some(now);
        true
    }

    /// Begins anew: this timestamp is this time.
    fn begin(&mut self, time: i64, long: u64) -> Time {
        // Never back, unless our own clock would have to wait for long.
        let time = if self.top.1 - time < JUMP { time.max(self.top.1) } else { time };
        self.anchor = Some((long, time));
        self.slew = 0;
        self.last_now = time;
        self.least = i64::MAX;
        self.window = time;
        self.top = (long, time);
        Time::from_nanos(time.max(0) as u64)
    }

    /// The time of a long timestamp by the mapping as it stands.
    fn map(&self, long: u64) -> Option<i64> {
        let (origin, time) = self.anchor?;
        let ticks = long.wrapping_sub(origin) as i64;
        let rate = i64::from(self.rate);
        let rest = (ticks.rem_euclid(rate) * NANOS) as u64;
        let nanos = ticks.div_euclid(rate).saturating_mul(NANOS);
        // Rounded up like `Time::from_ticks`, so that the tick comes back.
        Some(time.saturating_add(nanos).saturating_add(rest.div_ceil(rate as u64) as i64))
    }

    fn shift(&mut self, by: i64) {
        if let Some((_, time)) = &mut self.anchor {
            *time = time.saturating_add(by);
        }
    }

    /// Moves the mapping by what the time since the last packet allows.
    fn creep(&mut self, now: i64) -> i64 {
        let most = (now - self.last_now).max(0) / SLEW;
        self.last_now = self.last_now.max(now);
        let by = self.slew.clamp(-most, most);
        self.slew -= by;
        self.shift(by);
        by
    }
}

/// Times of centuries to come do not happen; they must only not overflow.
fn clip(time: Time) -> i64 {
    time.nanos().min(i64::MAX as u64 / 4) as i64
}

/// Stamps what is sent: the RTP clock of one track, beginning at a random offset.
#[derive(Clone, Copy, Debug)]
pub struct RtpStamp {
    /// Ticks a second.
    pub rate: u32,
    /// The timestamp of [`Time::ZERO`].
    pub offset: u32,
}

impl RtpStamp {
    /// The timestamp of a time.
    pub const fn at(self, time: Time) -> u32 {
        (time.ticks(self.rate) as u32).wrapping_add(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::Rng;

    const MS: u64 = 1_000_000;

    #[test]
    fn numbers_unwrap_over_the_edge_in_both_directions() {
        let mut u = Unwrap::default();
        let base = 1u64 << 32;
        assert_eq!(u.unwrap(5), base + 5);
        assert_eq!(u.unwrap(0xffff_fff0), base - 16);
        assert_eq!(u.unwrap(3), base + 3);
        assert_eq!(u.unwrap(0x7000_0000), base + 0x7000_0000);
        assert_eq!(u.unwrap(0xe000_0000), base + 0xe000_0000);
        assert_eq!(u.unwrap(7), 2 * base + 7);
        let mut s = UnwrapSeq::default();
        assert_eq!(
            [65534, 65535, 0, 65533, 1].map(|v| s.unwrap(v) - 65536),
            [65534, 65535, 65536, 65533, 65537]
        );
        // Going back for ever ends in a new start, not below zero.
        let mut v = 9u16;
        for _ in 0..20 {
            v = v.wrapping_sub(0x7000);
            assert!(s.unwrap(v) < 1 << 20);
        }
    }

    #[test]
    fn no_drift_over_three_wraps() {
        for rate in [90_000u32, 44_100, 48_000, 8000] {
            let mut clock = RtpClock::new(rate);
            let start = Time::from_nanos(77 * MS);
            let first = 0xffff_ff00u32;
            let mut ticks = 0u64;
            let step = u64::from(rate) / 7 * 9 + 1;
            while ticks < 3 << 32 {
                let exact = Time::from_nanos(start.nanos() + Time::from_ticks(ticks, rate).nanos());
                // Arrives with up to 20 ms of jitter, but for the first.
                let late = if ticks == 0 { 0 } else { ticks % 20 * MS };
                let got = clock.at(Time::from_nanos(exact.nanos() + late), first.wrapping_add(ticks as u32));
                // Jitter may move the mapping by less than its own size, never for good.
                assert!(got.nanos().abs_diff(exact.nanos()) < 20 * MS, "{rate}: {ticks}");
                ticks += step;
            }
            let mut clock = RtpClock::new(rate);
            let mut ticks = 0u64;
            while ticks < 3 << 32 {
                let exact = Time::from_nanos(start.nanos() + Time::from_ticks(ticks, rate).nanos());
                assert_eq!(clock.at(exact, first.wrapping_add(ticks as u32)), exact);
                ticks += step;
            }
        }
    }

    #[test]
    fn a_burst_of_backlog_ends_at_now() {
        let mut clock = RtpClock::new(90_000);
        let start = 5_000 * MS;
        // Two seconds of frames within 50 ms, then live.
        for i in 0..50u64 {
            let now = Time::from_nanos(start + i * MS);
            assert!(clock.at(now, (i * 3600) as u32) <= now);
        }
        for i in 50..200u64 {
            let now = Time::from_nanos(start + 49 * MS + (i - 49) * 40 * MS);
            let got = clock.at(now, (i * 3600) as u32);
            assert!(now - got < std::time::Duration::from_millis(1), "{i}");
        }
    }

    /// Runs frames of 40 ms through a clock whose sender is off by `ppm`, with jitter, and gives the
    /// last delay of the mapping against the frame's true arrival.
    fn drift(ppm: i64, seconds: u64) -> i64 {
        let mut clock = RtpClock::new(90_000);
        let mut rng = Rng::new(3);
        let (mut last, mut error) = (Time::ZERO, 0);
        for i in 0..seconds * 25 {
            let sent = 1000 * MS + i * 40 * MS;
            let true_now = sent as i64 + (i as i64 * 40) * ppm;
            let jitter = if i == 0 { 0 } else { (rng.next() % 30_000_000) as i64 };
            let got = clock.at(Time::from_nanos((true_now + jitter) as u64), (i * 3600) as u32);
            assert!(got >= last, "back at {i}");
            // Never far from 40 ms after the one before, once it has settled.
            if i > 500 {
                let gap = (got - last).as_nanos() as i64 - 40 * MS as i64;
                assert!(gap.abs() < 2 * MS as i64, "{ppm} ppm: gap off by {gap} ns at {i}");
            }
            last = got;
            error = got.nanos() as i64 - true_now;
        }
        error
    }

    #[test]
    fn a_crystal_that_is_off_is_followed_for_hours_without_a_jolt() {
        for ppm in [-200, -50, 50, 200] {
            let error = drift(ppm, 4 * 3600);
            assert!(error.abs() < 10 * MS as i64, "{ppm} ppm leaves {error} ns after 4 h");
        }
    }

    #[test]
    fn a_sender_that_jumps_is_anchored_anew_and_time_never_goes_back() {
        let mut clock = RtpClock::new(8000);
        let mut rng = Rng::new(8);
        let (mut rtp, mut last) = (0u32, Time::ZERO);
        for i in 1..100_000u64 {
            let now = Time::from_nanos(i * 20 * MS);
            rtp = if i % 997 == 0 { rng.next() } else { rtp.wrapping_add(160) };
            let got = clock.at(now, rtp);
            assert!(got <= now);
            // Back only for the frames of a jump back that is too small to tell from lateness.
            if i % 997 > 600 {
                assert!(now - got < std::time::Duration::from_millis(20), "{i} {:?}", now - got);
                assert!(got >= last);
            }
            last = got;
        }
    }

    #[test]
    fn a_small_step_back_of_the_sender_is_forgotten_after_a_window() {
        let mut clock = RtpClock::new(90_000);
        for i in 0..1000u64 {
            let rtp = 10_000_000 + i * 3600 - if i > 200 { 270_000 } else { 0 };
            let now = Time::from_nanos(1000 * MS + i * 40 * MS);
            let got = clock.at(now, rtp as u32);
            if !(201..800).contains(&i) {
                assert_eq!(got, now, "{i}");
            }
        }
    }

    #[test]
    fn frames_out_of_order_keep_their_distance() {
        // B frames: decode order I P B B, each 40 ms.
        let mut clock = RtpClock::new(90_000);
        let mut times = vec![];
        for (i, rtp) in [2u64, 5, 3, 4, 8, 6, 7].into_iter().enumerate() {
            times.push(clock.at(Time::from_nanos((1000 + 200 + i as u64 * 40) * MS), (rtp * 3600) as u32));
        }
        // The clock settles on the frame that came soonest after its picture.
        assert_eq!(times[3] - times[2], std::time::Duration::from_millis(40));
        assert_eq!(times[6] - times[5], std::time::Duration::from_millis(40));
        assert!(times[1] > times[3] && times[4] > times[6]);
    }

    fn ntp(nanos: u64) -> u64 {
        let fraction = ((nanos % NANOS as u64) << 32) / NANOS as u64;
        (3_900_000_000 + nanos / NANOS as u64) << 32 | fraction
    }

    #[test]
    fn reports_bring_sound_and_picture_of_one_sender_together() {
        let mut sender = SenderClock::default();
        let mut video = RtpClock::new(90_000);
        let mut sound = RtpClock::new(8000);
        let mut gap = i64::MAX;
        for ms in (1000..60_000u64).step_by(20) {
            let capture = ms * MS;
            // The picture takes 150 ms longer through its encoder than the sound.
            if ms % 40 == 0 {
                let v = video.at(Time::from_nanos(capture + 170 * MS), (ms * 90 + 12345) as u32);
                let s = sound.map({ sound.unwrap }.unwrap((ms * 8 + 777) as u32));
                gap = s.map_or(i64::MAX, |s| v.nanos() as i64 - s);
            }
            sound.at(Time::from_nanos(capture + 20 * MS), (ms * 8 + 777) as u32);
            if ms % 5000 == 0 {
                let now = Time::from_nanos(capture + 21 * MS);
                assert!(video.report(now, ntp(capture), (ms * 90 + 12345) as u32, &mut sender));
                assert!(sound.report(now, ntp(capture), (ms * 8 + 777) as u32, &mut sender));
            }
            // The picture had to step back: it waits 150 ms where it was, and is right from then on.
            if ms > 5200 {
                assert!(gap.abs() < 2 * MS as i64, "{ms}: {gap}");
            }
        }
    }

    #[test]
    fn nonsense_in_reports_changes_nothing() {
        let mut sender = SenderClock::default();
        let mut clock = RtpClock::new(90_000);
        let mut rng = Rng::new(4);
        for i in 0..5000u64 {
            let now = Time::from_nanos((1000 + i * 40) * MS);
            assert_eq!(clock.at(now, (i * 3600) as u32), now);
            if i % 10 == 0 {
                assert!(!clock.report(now, 0, (i * 3600) as u32, &mut sender));
                let rtp = (i * 3600) as u32;
                let odd = rtp.wrapping_add(1_000_000).wrapping_add(rng.next() % 0x7000_0000);
                assert!(!clock.report(now, ntp(now.nanos()), odd, &mut sender));
            }
        }
    }

    #[test]
    fn random_input_neither_panics_nor_leaves_the_present() {
        let mut rng = Rng::new(6);
        for rate in [1, 8000, 90_000, u32::MAX] {
            let (mut clock, mut sender) = (RtpClock::new(rate), SenderClock::default());
            let mut now = 0u64;
            for _ in 0..50_000 {
                now += u64::from(rng.next()) << (rng.next() % 12);
                let time = Time::from_nanos(now);
                assert!(clock.at(time, rng.next()) <= time);
                let stamp = u64::from(rng.next()) << 32 | u64::from(rng.next());
                clock.report(time, stamp, rng.next(), &mut sender);
            }
            clock.at(Time::from_nanos(u64::MAX), 1);
            clock.at(Time::ZERO, 2);
        }
    }

    #[test]
    fn what_is_sent_wraps_from_its_offset() {
        let stamp = RtpStamp { rate: 90_000, offset: 0xffff_0000 };
        assert_eq!(stamp.at(Time::ZERO), 0xffff_0000);
        assert_eq!(stamp.at(Time::from_nanos(1000 * MS)), 0xffff_0000u32.wrapping_add(90_000));
        // And the receiver gets our times back, less the start.
        let mut clock = RtpClock::new(90_000);
        for i in 0..1000u64 {
            let t = Time::from_ticks((1 << 33) + i * 3000, 90_000);
            assert_eq!(clock.at(t, stamp.at(t)), t);
        }
    }
}
