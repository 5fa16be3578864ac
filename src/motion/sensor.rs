//! The motion sensor of one camera: what its inputs say (the detector, a program, another camera's
//! events) becomes one signal that is on long enough to be seen, is always cleared, and is off while the
//! camera is. Pure: time comes in, and what has changed goes out.

use crate::media::Time;
use std::time::Duration;

/// Motion is shown for so long at least: hubs lose shorter ones.
pub const LEAST: Duration = Duration::from_secs(10);
/// `continuous`: how often it begins anew, and for how long it is on each time.
const ROUND: Duration = Duration::from_secs(30);
const SHARE: Duration = Duration::from_secs(25);
/// `continuous` begins so long after the sensor is switched on.
const FIRST: Duration = Duration::from_secs(5);
/// A camera that said motion has begun and never says that it has ended is believed for so long.
const BELIEVED: Duration = Duration::from_secs(600);

/// Where motion comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The detector; it holds by itself.
    Detect,
    /// The clock: again and again, for those who record always.
    Continuous,
    /// Programs: HTTP and the control socket.
    Api,
    /// Events of the camera that is the source.
    Onvif,
    /// Something else on this machine: a file, an agent, a broker.
    External,
}

impl Input {
    /// Every input, in the order of their bits.
    pub const ALL: [Input; 5] = [Input::Detect, Input::Continuous, Input::Api, Input::Onvif, Input::External];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Input::Detect => "detect",
            Input::Continuous => "continuous",
            Input::Api => "api",
            Input::Onvif => "onvif",
            Input::External => "external",
        }
    }
}

/// Some inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes(u8);

impl Modes {
    /// Just this one.
    pub const fn only(input: Input) -> Modes {
        Modes(1 << input as u8)
    }

    /// This one too.
    pub const fn and(self, input: Input) -> Modes {
        Modes(self.0 | 1 << input as u8)
    }

    /// Reads words with commas, spaces or plus signs between; the word that is none is the error.
    pub fn parse(text: &str) -> Result<Modes, &str> {
        let mut modes = Modes(0);
        for word in text.split([',', '+', ' ']).filter(|w| !w.is_empty()) {
            let known = Input::ALL.iter().find(|i| i.name() == word);
            modes = modes.and(*known.ok_or(word)?);
        }
        Ok(modes)
    }

    /// Whether this input is one of them.
    pub const fn has(self, input: Input) -> bool {
        self.0 & (1 << input as u8) != 0
    }
}

/// See the module.
#[derive(Debug)]
pub struct Sensor {
    modes: Modes,
    hold: Duration,
    /// Until when each input says motion.
    until: [Option<Time>; Input::ALL.len()],
    least: Duration,
    heard: bool,
    /// When `continuous` begins next.
    again: Time,
    on: bool,
    since: Time,
}

impl Sensor {
    /// A sensor that nobody listens to yet. A hub's is on for [`LEAST`] at least.
    pub fn new(modes: Modes, hold: Duration, least: Duration) -> Sensor {
        Sensor {
            modes,
            hold,
            least,
            until: [None; Input::ALL.len()],
            heard: false,
            again: Time::ZERO,
            on: false,
            since: Time::ZERO,
        }
    }

    /// Where it has its motion from.
    pub fn modes(&self) -> Modes {
        self.modes
    }

    /// Whether there is motion.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Somebody listens, or no longer: then there is no detector and no clock.
    pub fn listen(&mut self, now: Time, heard: bool) -> Option<bool> {
        if self.heard != heard {
            self.heard = heard;
            self.again = now + FIRST;
            for input in [Input::Detect, Input::Continuous] {
                if let Some(until) = self.until.get_mut(input as usize) {
                    *until = None;
                }
            }
        }
        self.tick(now)
    }

    /// The camera is switched off: from this moment on there is no motion.
    pub fn clear(&mut self) -> Option<bool> {
        self.until = [None; Input::ALL.len()];
        std::mem::take(&mut self.on).then_some(false)
    }

    /// Somebody rings: a hub shall record who, wherever motion comes from.
    pub fn press(&mut self, now: Time) -> Option<bool> {
        if let Some(until) = self.until.get_mut(Input::Api as usize) {
            *until = (*until).max(Some(now + self.hold));
        }
        self.tick(now)
    }

    /// An input says that motion begins (or goes on), or that it has ended.
    pub fn report(&mut self, now: Time, input: Input, on: bool) -> Option<bool> {
        if self.modes.has(input)
            && let Some(until) = self.until.get_mut(input as usize)
        {
            *until = match (input, on) {
                (Input::Detect, true) => Some(Time::from_nanos(u64::MAX)),
                (Input::Onvif, true) => Some(now + BELIEVED),
                // what it saw last was just now
                (Input::Onvif, false) => until.map(|_| now + self.hold),
                (_, true) => Some(now + self.hold),
                (_, false) => None,
            };
        }
        self.tick(now)
    }

    /// Looks at the clock: what has changed.
    pub fn tick(&mut self, now: Time) -> Option<bool> {
        if self.heard && self.modes.has(Input::Continuous) && now >= self.again {
            self.again = now + ROUND;
            if let Some(until) = self.until.get_mut(Input::Continuous as usize) {
                *until = Some(now + SHARE);
            }
        }
        for until in &mut self.until {
            *until = until.filter(|&t| t > now);
        }
        let wanted = self.until.iter().any(Option::is_some);
        if wanted && !self.on {
            self.on = true;
            self.since = now;
            return Some(true);
        }
        let ends = self.on && !wanted && now >= self.since + self.least;
        if ends {
            self.on = false;
        }
        ends.then_some(false)
    }

    /// When the clock has to be looked at next.
    pub fn deadline(&self) -> Option<Time> {
        let end = self.on.then(|| {
            let last = self.until.iter().flatten().max().copied().unwrap_or(Time::ZERO);
            last.max(self.since + self.least)
        });
        let again = (self.heard && self.modes.has(Input::Continuous)).then_some(self.again);
        Time::earliest(&[end, again]).filter(|t| t.nanos() < u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Time {
        Time::from_nanos(1_000_000_000 * (1000 + seconds))
    }

    fn sensor(modes: &str) -> Sensor {
        let mut sensor = Sensor::new(Modes::parse(modes).unwrap(), Duration::from_secs(30), LEAST);
        assert_eq!(sensor.listen(at(0), true), None);
        sensor
    }

    /// Every second up to there; what changed, and when.
    fn run(sensor: &mut Sensor, from: u64, to: u64) -> Vec<(u64, bool)> {
        (from..=to).filter_map(|s| Some((s, sensor.tick(at(s))?))).collect()
    }

    #[test]
    fn words_are_understood_together_and_one_that_is_none_is_named() {
        let both = Modes::parse("detect+api").unwrap();
        assert!(both.has(Input::Detect) && both.has(Input::Api) && !both.has(Input::Onvif));
        assert_eq!(Modes::parse("detect, api"), Ok(both));
        assert_eq!(Modes::parse("detect, fish"), Err("fish"));
    }

    /// A program that says motion and dies would leave the camera recording for ever.
    #[test]
    fn what_nobody_ends_ends_by_itself() {
        let mut s = sensor("api");
        assert_eq!(s.report(at(1), Input::Api, true), Some(true));
        assert_eq!(s.deadline(), Some(at(31)));
        assert_eq!(run(&mut s, 2, 100), [(31, false)]);
        assert_eq!(s.report(at(100), Input::Api, true), Some(true));
        assert_eq!(s.report(at(120), Input::Api, true), None);
        assert_eq!(run(&mut s, 121, 300), [(150, false)]);
        let mut s = sensor("onvif");
        assert_eq!(s.report(at(1), Input::Onvif, true), Some(true));
        assert_eq!(run(&mut s, 2, 1000), [(601, false)]);
        assert_eq!(s.report(at(1001), Input::Onvif, true), Some(true));
        assert_eq!(s.report(at(1050), Input::Onvif, false), None);
        assert_eq!(run(&mut s, 1051, 1100), [(1080, false)]);
    }

    /// A hub misses a pulse that is over before it has asked for the recording.
    #[test]
    fn a_short_motion_is_shown_for_ten_seconds() {
        let mut s = sensor("api,detect");
        assert_eq!(s.report(at(1), Input::Api, true), Some(true));
        assert_eq!(s.report(at(2), Input::Api, false), None);
        assert_eq!(s.deadline(), Some(at(11)));
        assert_eq!(run(&mut s, 3, 100), [(11, false)]);
        assert_eq!(s.report(at(101), Input::Detect, true), Some(true));
        assert_eq!(s.deadline(), None);
        assert_eq!(run(&mut s, 102, 5000), []);
        assert_eq!(s.report(at(5001), Input::Detect, false), Some(false));
    }

    #[test]
    fn one_input_that_ends_leaves_the_other() {
        let mut s = sensor("api detect");
        s.report(at(0), Input::Detect, true);
        s.report(at(20), Input::Api, true);
        assert_eq!(s.report(at(25), Input::Detect, false), None);
        assert_eq!(run(&mut s, 26, 100), [(50, false)]);
        assert_eq!(s.report(at(200), Input::External, true), None, "is not among its modes");
    }

    /// A sensor that stays on in the Home app after the camera was switched off, and for ever.
    #[test]
    fn switched_off_it_is_cleared_at_once() {
        let mut s = sensor("api");
        s.report(at(1), Input::Api, true);
        assert_eq!(s.clear(), Some(false));
        assert_eq!((s.is_on(), s.deadline(), s.tick(at(1000)), s.clear()), (false, None, None, None));
        assert_eq!(s.report(at(1002), Input::Api, true), Some(true));
    }

    #[test]
    fn who_rings_is_recorded_whatever_the_mode_and_a_detector_that_is_gone_sees_nothing() {
        let mut s = sensor("detect");
        assert_eq!(s.press(at(1)), Some(true));
        assert_eq!(run(&mut s, 2, 100), [(31, false)]);
        assert_eq!(s.report(at(101), Input::Detect, true), Some(true));
        assert_eq!(s.listen(at(150), false), Some(false));
        assert_eq!(run(&mut s, 151, 1000), []);
    }

    #[test]
    fn for_those_who_record_always_it_begins_every_thirty_seconds() {
        let mut s = sensor("continuous");
        assert_eq!(s.deadline(), Some(at(5)));
        let expected = [(5, true), (30, false), (35, true), (60, false), (65, true)];
        assert_eq!(run(&mut s, 1, 70), expected);
        assert_eq!(s.listen(at(80), false), Some(false));
        assert_eq!(run(&mut s, 81, 1000), []);
    }
}
