//! The clocks: what time it is for us, and for the rest of the world.
//!
//! [`now`] is the monotonic clock, the one that V4L2 and the vendors' rings stamp their frames with
//! and that timers run on. (The clock that also counts sleep would drift from both.) [`wall`] is the
//! time of day, and is nobody's until the camera has been told it: a camera has no battery and starts
//! in 1970. Nothing here waits, and only these two functions look at a clock; the rest is arithmetic.

use std::fmt;
use std::ops::Deref;

use nix::time::{ClockId, clock_gettime};

use crate::media::Time;

const NANOS: u64 = 1_000_000_000;
/// 2020-01-01; a clock before it has not been set.
const SET_AFTER: u64 = 1_577_836_800 * NANOS;
/// Seconds from 1900, where NTP begins, to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;

/// Now, since the start of the machine.
pub fn now() -> Time {
    #[cfg(test)]
    if let Some(now) = testing::fake() {
        return now;
    }
    let Ok(t) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return Time::ZERO };
    let (seconds, nanos) = (t.tv_sec().max(0) as u64, t.tv_nsec().max(0) as u64);
    Time::from_nanos(seconds.saturating_mul(NANOS).saturating_add(nanos))
}

/// The time of day in nanoseconds since 1970, UTC; nothing while the clock has not been set.
pub fn wall() -> Option<u64> {
    // not the library's SystemTime: it ends the process where seconds have 32 bits and 2038 is over
    let t = clock_gettime(ClockId::CLOCK_REALTIME).ok()?;
    #[allow(clippy::unnecessary_fallible_conversions, clippy::useless_conversion)]
    let (seconds, nanos) = (u64::try_from(t.tv_sec()).ok()?, u64::try_from(t.tv_nsec()).ok()?);
    seconds.checked_mul(NANOS)?.checked_add(nanos).filter(|&nanos| nanos >= SET_AFTER)
}

#[cfg(test)]
pub mod testing {
    //! A clock that stands still until it is told to go on, for this thread alone; timers run on it too.
    use super::Time;
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    thread_local! {
        static FAKE: Cell<Option<(Time, Time, Instant)>> = const { Cell::new(None) };
    }

    /// From now on time passes by [`pass`] only, until this is dropped.
    pub struct Stopped(());

    /// Stops the clock.
    pub fn stop() -> Stopped {
        let now = super::now();
        FAKE.set(Some((now, now, Instant::now())));
        Stopped(())
    }

    impl Drop for Stopped {
        fn drop(&mut self) {
            FAKE.set(None);
        }
    }

    /// Time passes.
    pub fn pass(time: Duration) {
        FAKE.set(FAKE.get().map(|(now, begun, instant)| (now + time, begun, instant)));
    }

    /// What time it is on the stopped clock.
    pub fn fake() -> Option<Time> {
        FAKE.get().map(|(now, ..)| now)
    }

    /// The same for timers.
    pub fn instant() -> Instant {
        FAKE.get().map_or_else(Instant::now, |(now, begun, instant)| instant + now.since(begun))
    }
}

/// An NTP timestamp (seconds since 1900 and a binary fraction) from nanoseconds since 1970. The
/// seconds wrap in 2036, as the protocol has it.
pub const fn ntp(unix_nanos: u64) -> u64 {
    let seconds = (unix_nanos / NANOS + NTP_EPOCH) & 0xffff_ffff;
    (seconds << 32) | (((unix_nanos % NANOS) << 32) / NANOS)
}

/// Nanoseconds since 1970 from an NTP timestamp, taken to lie between 1970 and 2104.
pub const fn unix_from_ntp(ntp: u64) -> u64 {
    let seconds = ntp >> 32;
    let seconds = if seconds < NTP_EPOCH { seconds + (1 << 32) } else { seconds } - NTP_EPOCH;
    seconds * NANOS + (((ntp & 0xffff_ffff) * NANOS + (1 << 31)) >> 32)
}

/// A date and time of day, UTC. Any `u64` of nanoseconds is one between 1970 and 2554.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// The year, of four digits.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 is Sunday.
    pub weekday: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999.
    pub millis: u16,
}

impl Civil {
    /// From nanoseconds since 1970. The calendar repeats every 400 years, and a year that begins in
    /// March has its leap day at the end: both together leave no table and no loop.
    pub const fn from_unix(nanos: u64) -> Civil {
        let seconds = nanos / NANOS;
        let (days, of_day) = (seconds / 86_400, (seconds % 86_400) as u32);
        let shifted = days + 719_468; // days since 0000-03-01
        let (era, of_era) = (shifted / 146_097, (shifted % 146_097) as u32);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Civil {
            year: (era as u32 * 400 + year_of_era + (month <= 2) as u32) as u16,
            month: month as u8,
            day: (of_year - (153 * from_march + 2) / 5 + 1) as u8,
            weekday: ((days + 4) % 7) as u8,
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
            millis: (nanos % NANOS / 1_000_000) as u16,
        }
    }
}

/// A written time: at most 32 ASCII bytes, nothing allocated.
#[derive(Clone, Copy)]
pub struct Stamp {
    bytes: [u8; 32],
    len: usize,
}

impl Stamp {
    fn new() -> Stamp {
        Stamp { bytes: [0; 32], len: 0 }
    }

    fn text(&mut self, text: &str) {
        for &b in text.as_bytes() {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = b;
                self.len += 1;
            }
        }
    }

    fn digits(&mut self, value: u16, width: u32) {
        for place in (0..width).rev() {
            let digit = value / 10u16.pow(place) % 10;
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = b'0' + digit as u8;
                self.len += 1;
            }
        }
    }

    fn clock(&mut self, t: Civil) {
        self.digits(t.hour.into(), 2);
        self.text(":");
        self.digits(t.minute.into(), 2);
        self.text(":");
        self.digits(t.second.into(), 2);
    }
}

impl Deref for Stamp {
    type Target = str;
    fn deref(&self) -> &str {
        self.bytes.get(..self.len).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or("")
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// `2026-01-31T08:05:09.042Z`
pub fn rfc3339(unix_nanos: u64) -> Stamp {
    let t = Civil::from_unix(unix_nanos);
    let mut s = Stamp::new();
    s.digits(t.year, 4);
    s.text("-");
    s.digits(t.month.into(), 2);
    s.text("-");
    s.digits(t.day.into(), 2);
    s.text("T");
    s.clock(t);
    s.text(".");
    s.digits(t.millis, 3);
    s.text("Z");
    s
}

/// `Sat, 31 Jan 2026 08:05:09 GMT`, for HTTP's `Date` and RTSP's.
pub fn http_date(unix_nanos: u64) -> Stamp {
    let t = Civil::from_unix(unix_nanos);
    let name = |names: &'static str, i: u8| names.get(usize::from(i) * 3..).and_then(|s| s.get(..3));
    let mut s = Stamp::new();
    s.text(name("SunMonTueWedThuFriSat", t.weekday).unwrap_or("Sun"));
    s.text(", ");
    s.digits(t.day.into(), 2);
    s.text(" ");
    s.text(name("JanFebMarAprMayJunJulAugSepOctNovDec", t.month.saturating_sub(1)).unwrap_or("Jan"));
    s.text(" ");
    s.digits(t.year, 4);
    s.text(" ");
    s.clock(t);
    s.text(" GMT");
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_standards_are_written_as_they_have_them() {
        // the example of RFC 9110, and Unix times known to everybody
        assert_eq!(&*http_date(784_111_777 * NANOS), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&*rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(&*rfc3339(1_000_000_000 * NANOS + 42_999_999), "2001-09-09T01:46:40.042Z");
        assert_eq!(&*rfc3339(951_782_400 * NANOS), "2000-02-29T00:00:00.000Z");
        assert_eq!(&*rfc3339(4_107_542_400 * NANOS), "2100-03-01T00:00:00.000Z");
        assert_eq!(&*http_date(u64::MAX), "Sun, 21 Jul 2554 23:34:33 GMT");
    }

    #[test]
    fn every_day_of_the_calendar_follows_the_one_before() {
        let mut days = 0u64;
        for year in 1970..2554u16 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            for (month, length) in
                (1..).zip([31, 28 + u8::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
            {
                for day in 1..=length {
                    let t = Civil::from_unix(days * 86_400 * NANOS + 86_399 * NANOS);
                    assert_eq!((t.year, t.month, t.day), (year, month, day));
                    assert_eq!((t.hour, t.minute, t.second), (23, 59, 59));
                    assert_eq!(u64::from(t.weekday), (days + 4) % 7);
                    days += 1;
                }
            }
        }
    }

    #[test]
    fn recorders_get_a_sender_report_in_ntp_time() {
        assert_eq!(ntp(0), 0x83aa_7e80_0000_0000);
        assert_eq!(ntp(500_000_000), 0x83aa_7e80_8000_0000);
        // 2036-02-07T06:28:16Z: the seconds begin again
        assert_eq!(ntp(2_085_978_496 * NANOS), 0);
        for unix in
            [0, 1, 999_999_999, 1_700_000_000_123_456_789, 2_085_978_496 * NANOS + 7, 4_000_000_000 * NANOS]
        {
            assert!(unix_from_ntp(ntp(unix)).abs_diff(unix) <= 1, "{unix}");
        }
        unix_from_ntp(u64::MAX);
        ntp(u64::MAX);
    }

    #[test]
    fn our_clock_never_goes_back() {
        let first = now();
        assert!(first > Time::ZERO);
        assert!(now() >= first);
        assert!(wall().is_none_or(|w| w >= SET_AFTER));
    }
}
