//! One viewer's session without its sockets: when it began, what it is sent, what it reports, and when
//! it is over. Commands, reports and the time come in; out come the next deadline and what is due.
//! Nothing here waits, sends or knows a key.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::homekit::camera::{Command, Selected, Size};
use crate::media::Time;
use crate::net::limits::{LIVE_KEY, LIVE_PAUSE, LIVE_SILENCE, LIVE_START};
use crate::net::rtcp::{Compound, Ntp, Packet, Report};
use std::time::Duration;

/// Reports go out this often where the viewer does not say.
const REPORTS: Duration = Duration::from_secs(5);
/// More often than that nobody needs them.
const SOONEST: Duration = Duration::from_millis(500);
/// Packets of one compound that are looked at.
const COMPOUND: usize = 32;

/// Which of the two a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was set up and waits for its start.
    Ready,
    /// It is sent pictures and sound.
    Live,
    /// It wants nothing for a while.
    Paused,
    /// It is over.
    Over(End),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The viewer ended it, or its connection is gone.
    Asked,
    /// It was set up and never started.
    Unstarted,
    /// The viewer sent no report for too long.
    Silent,
    /// There is nothing to be seen any more.
    Source,
}

impl End {
    /// In words.
    pub const fn reason(self) -> &'static str {
        match self {
            End::Asked => "the viewer has left",
            End::Unstarted => "the viewer did not start",
            End::Silent => "the viewer sent no report for 30 s",
            End::Source => "the source has ended",
        }
    }
}

/// What the viewer says of the packets that it got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    /// Reports so far.
    pub reports: u32,
    /// Lost of the last ones, in 256ths.
    pub fraction: u8,
    /// Lost in all.
    pub lost: i32,
    /// In ticks of the clock.
    pub jitter: u32,
    /// The way there and back, if it could be told.
    pub round_trip: Option<Duration>,
}

/// What is sent by one of the two ways.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Who sends.
    pub ssrc: u32,
    /// Packets so far.
    pub packets: u32,
    /// Bytes of payload so far.
    pub octets: u32,
    /// What arrived of it.
    pub seen: Reception,
    every: Duration,
    next: Option<Time>,
}

/// What the viewer wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The size.
    pub size: Size,
    /// Kilobits in a second at most.
    pub bitrate: Option<u16>,
}

/// What has become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A report of that way.
    Report(Leg),
    /// The end.
    End(End),
}

/// One viewer's session.
#[derive(Clone, Debug)]
pub struct Session {
    phase: Phase,
    since: Time,
    heard: Time,
    asked: Option<Time>,
    wanted: Option<Wanted>,
    ways: [Way; 2],
    /// Key frames that the viewer asked for.
    pub wishes: u32,
}

impl Session {
    /// Set up, with the two sources that it will send from.
    pub fn new(now: Time, [video, audio]: [u32; 2]) -> Session {
        let way = |ssrc| Way {
            ssrc,
            packets: 0,
            octets: 0,
            seen: Reception::default(),
            every: REPORTS,
            next: None,
        };
        Session {
            phase: Phase::Ready,
            since: now,
            heard: now,
            asked: None,
            wanted: None,
            ways: [way(video), way(audio)],
            wishes: 0,
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What the viewer wants to see.
    pub fn wanted(&self) -> Option<Wanted> {
        self.wanted
    }

    /// One of the two ways.
    pub fn way(&self, leg: Leg) -> &Way {
        let [video, audio] = &self.ways;
        if leg == Leg::Video { video } else { audio }
    }

    fn way_mut(&mut self, leg: Leg) -> &mut Way {
        let [video, audio] = &mut self.ways;
        if leg == Leg::Video { video } else { audio }
    }

    /// The viewer's command; false if it does not fit where the session stands.
    pub fn command(&mut self, now: Time, selected: &Selected) -> bool {
        match (selected.command, self.phase) {
            (_, Phase::Over(_)) => false,
            (Command::End, _) => {
                self.end(End::Asked);
                true
            }
            (Command::Start, Phase::Ready) => {
                let Some(size) = selected.video.as_ref().and_then(|v| v.size) else { return false };
                self.wanted = Some(Wanted { size, bitrate: None });
                self.take(selected);
                self.go(now);
                true
            }
            (Command::Reconfigure, Phase::Live | Phase::Paused) => {
                self.take(selected);
                true
            }
            (Command::Suspend, Phase::Live) => {
                (self.phase, self.since) = (Phase::Paused, now);
                true
            }
            (Command::Resume, Phase::Paused) => {
                self.go(now);
                true
            }
            (Command::Suspend, Phase::Paused) | (Command::Resume, Phase::Live) => true,
            _ => false,
        }
    }

    /// Begins, or goes on: the first reports leave with the first packets.
    fn go(&mut self, now: Time) {
        (self.phase, self.since, self.heard) = (Phase::Live, now, now);
        for way in &mut self.ways {
            way.next = Some(now);
        }
    }

    /// What it says of sizes, bitrates and reports.
    fn take(&mut self, selected: &Selected) {
        let every = |ms: Option<u32>| ms.map(|ms| Duration::from_millis(ms.into()).clamp(SOONEST, REPORTS));
        let [video, audio] = &mut self.ways;
        if let Some(theirs) = &selected.video {
            if let Some(wanted) = &mut self.wanted {
                wanted.size = theirs.size.unwrap_or(wanted.size);
                wanted.bitrate = theirs.rtp.bitrate.filter(|b| *b > 0).or(wanted.bitrate);
            }
            video.every = every(theirs.rtp.report_ms).unwrap_or(video.every);
        }
        if let Some(theirs) = &selected.audio {
            audio.every = every(theirs.rtp.report_ms).unwrap_or(audio.every);
        }
    }

    /// It is over.
    pub fn end(&mut self, why: End) {
        if !matches!(self.phase, Phase::Over(_)) {
            self.phase = Phase::Over(why);
        }
    }

    /// Something came that only the viewer can have sent.
    pub fn heard(&mut self, now: Time) {
        self.heard = now;
    }

    /// A packet was sent, with so many bytes of payload.
    pub fn sent(&mut self, leg: Leg, octets: usize) {
        let way = self.way_mut(leg);
        way.packets = way.packets.wrapping_add(1);
        way.octets = way.octets.wrapping_add(octets as u32);
    }

    /// Reads a report of the viewer; whether a key frame should be asked for now.
    pub fn rtcp(&mut self, now: Time, ntp: Ntp, leg: Leg, compound: &[u8]) -> bool {
        self.heard = now;
        let mut wish = false;
        for packet in Compound::new(compound).take(COMPOUND) {
            match packet {
                Ok(Packet::ReceiverReport { reports, .. } | Packet::SenderReport { reports, .. }) => {
                    let way = self.way_mut(leg);
                    if let Some(report) = reports.into_iter().find(|r| r.ssrc == way.ssrc) {
                        way.seen.note(&report, ntp);
                    }
                }
                Ok(Packet::KeyFrameWanted { .. }) => wish = leg == Leg::Video,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        if !wish || self.phase != Phase::Live {
            return false;
        }
        self.wishes = self.wishes.wrapping_add(1);
        let now_too = self.asked.is_none_or(|at| now.since(at) >= LIVE_KEY);
        if now_too {
            self.asked = Some(now);
        }
        now_too
    }

    /// What is due, one thing after another.
    pub fn due(&mut self, now: Time) -> Option<Due> {
        let end = match self.phase {
            Phase::Over(_) => return None,
            Phase::Ready if now.since(self.since) >= LIVE_START => Some(End::Unstarted),
            Phase::Live if now.since(self.heard) >= LIVE_SILENCE => Some(End::Silent),
            Phase::Paused if now.since(self.since.max(self.heard)) >= LIVE_PAUSE => Some(End::Silent),
            _ => None,
        };
        if let Some(end) = end {
            self.end(end);
            return Some(Due::End(end));
        }
        if self.phase == Phase::Live {
            for leg in [Leg::Video, Leg::Audio] {
                let way = self.way_mut(leg);
                if way.next.is_some_and(|at| at <= now) {
                    way.next = Some(now + way.every);
                    return Some(Due::Report(leg));
                }
            }
        }
        None
    }

    /// When to ask again what is due.
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Over(_) => None,
            Phase::Ready => Some(self.since + LIVE_START),
            Phase::Paused => Some(self.since.max(self.heard) + LIVE_PAUSE),
            Phase::Live => {
                let [video, audio] = &self.ways;
                Time::earliest(&[video.next, audio.next, Some(self.heard + LIVE_SILENCE)])
            }
        }
    }
}

impl Reception {
    fn note(&mut self, report: &Report, now: Ntp) {
        self.reports = self.reports.wrapping_add(1);
        (self.fraction, self.lost, self.jitter) = (report.fraction, report.lost, report.jitter);
        if report.last_sr != 0 {
            let trip = now.middle().wrapping_sub(report.last_sr).wrapping_sub(report.delay);
            // more than a minute is no round trip but nonsense
            if trip < 60 << 16 {
                self.round_trip = Some(Duration::from_micros((u64::from(trip) * 1_000_000) >> 16));
            }
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
