//! The one clock type: nanoseconds since an arbitrary start (of the machine), never going back.
//! Conversions to media clocks are exact: floor of the true ratio, from the start, so that nothing
//! drifts however long a camera runs. Their divisions of 64 bits stand in one place each: where they are
//! asked for, a call is as quick and a third as long.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

const NANOS: u64 = 1_000_000_000;

/// An instant, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start.
    pub const ZERO: Time = Time(0);

    /// From nanoseconds since the start.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// From ticks of a clock with `rate` ticks a second, rounded up to the first nanosecond of that
    /// tick, so that [`Time::ticks`] gives the same tick back.
    #[inline(never)]
    pub const fn from_ticks(ticks: u64, rate: u32) -> Time {
        let rate = rate as u64;
        if rate == 0 {
            return Time(0);
        }
        let whole = (ticks / rate).saturating_mul(NANOS);
        Time(whole.saturating_add(((ticks % rate) * NANOS).div_ceil(rate)))
    }

    /// Ticks of a clock with `rate` ticks a second since the start, rounded down.
    #[inline(never)] // divides 64 bits: each copy would cost flash and save no time
    pub const fn ticks(self, rate: u32) -> u64 {
        let rate = rate as u64;
        (self.0 / NANOS).wrapping_mul(rate).wrapping_add((self.0 % NANOS) * rate / NANOS)
    }

    /// How long after `earlier` this is; nothing if it is before.
    #[inline(never)] // as above
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This instant less `d`, not before the start.
    #[inline(never)]
    pub const fn before(self, d: Duration) -> Time {
        Time(self.0.saturating_sub(d.as_nanos() as u64))
    }

    /// The first of some instants that may come.
    pub fn earliest(times: &[Option<Time>]) -> Option<Time> {
        let mut first: Option<Time> = None;
        for time in times.iter().flatten() {
            if first.is_none_or(|first| *time < first) {
                first = Some(*time);
            }
        }
        first
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    #[inline(never)]
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(d.as_nanos() as u64))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub for Time {
    type Output = Duration;
    fn sub(self, other: Time) -> Duration {
        self.since(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_come_back_exactly_at_every_rate() {
        for rate in [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 90000] {
            for ticks in [
                0,
                1,
                2,
                3,
                44099,
                90001,
                u64::from(u32::MAX),
                3 * u64::from(u32::MAX) + 7,
                10_000_000_000_000,
            ] {
                assert_eq!(Time::from_ticks(ticks, rate).ticks(rate), ticks, "{ticks} at {rate}");
            }
        }
    }

    #[test]
    fn no_drift_over_years() {
        let year = Time::from_nanos(365 * 86_400 * NANOS + 999_999_999);
        assert_eq!(year.ticks(90_000), 365 * 86_400 * 90_000 + 89_999);
    }
}
