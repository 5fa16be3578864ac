//! RTP of one track into the hall: packets as a camera or a publisher sends them go in, whole access
//! units lie in the track's ring afterwards. Payload is copied once, from the buffer that was read
//! into to the ring's arena. Sender reports lay the sender's clock onto ours; receiver reports come
//! out. It knows neither sockets nor sessions and never reads a clock.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::media::nal::NalCodec;
use crate::media::parameter_sets::ParameterSets;
use crate::media::rtptime::{RtpClock, SenderClock};
use crate::media::{Codec, Time};
use crate::net::rtcp::{Compound, Packet as Control, Reception, Report};
use crate::net::rtp::Packet;
use crate::net::rtp::depay::{Depay, DepayError, Loss, Options, Sink, Unit};
use crate::net::rtp::pay::clock_rate;
use crate::net::rtp::reorder::{DEFAULT_PACKETS, DEFAULT_WAIT, Popped, Pushed, Reorder};
use crate::net::sdp::{Format, MediaDescription};
use crate::stream::{Inlet, bump};
use std::rc::Rc;
use std::time::Duration;

/// So many packets in a row with odd numbers, where none can be lost: the sender does not count.
const UNCOUNTED: u8 = 12;
/// Between requests for a key frame.
const AGAIN: Duration = Duration::from_secs(1);
/// Payload types from here on have no fixed meaning.
const DYNAMIC: u8 = 96;

/// How the packets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// In order over a connection.
    Stream,
    /// As datagrams: in any order, or not at all.
    Datagram,
}

/// The first format of a described media that can be read, with its codec.
pub fn choose(media: &MediaDescription) -> Option<(&Format, Codec)> {
    media.formats.iter().find_map(|format| {
        let codec = format.codec().filter(|codec| Depay::takes(codec.id))?;
        Some((format, codec))
    })
}

/// What was not as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Packets that were none, or whose payload was broken.
    pub broken: u32,
    /// Packets of a type that was not agreed.
    pub stray: u32,
    /// The last thing that was wrong with a payload.
    pub last: Option<DepayError>,
}

/// One track's way in.
pub struct Intake {
    reorder: Option<Reorder>,
    desk: Desk,
}

/// Behind the re-ordering: where packets become units.
struct Desk {
    depay: Depay,
    options: Options,
    route: Route,
    payload_type: u8,
    /// Other types of the same media: known, and not wanted.
    others: Vec<u8>,
    reception: Reception,
    pen: Pen,
    next: Option<u16>,
    odd: u8,
    faults: Faults,
    /// Who sends.
    sender: u32,
    /// When it was last asked for a key frame.
    asked: Option<Time>,
}

/// Writes units into the track.
struct Pen {
    inlet: Inlet,
    clock: RtpClock,
    rate: u32,
    now: Time,
    /// The last two timestamps and when they were: a unit may end after the next has begun.
    stamps: [Option<(u32, Time)>; 2],
    nal: Option<NalCodec>,
    /// A decoder knows enough to begin at a key frame.
    complete: bool,
    /// Something was lost, and no key frame has come since.
    torn: bool,
}

impl Intake {
    /// Reads the packets of `format`, one of the media's, into a track.
    pub fn new(
        inlet: Inlet,
        media: &MediaDescription,
        format: &Format,
        route: Route,
    ) -> Result<Intake, DepayError> {
        let described = format.codec().unwrap_or((*inlet.track().codec()).clone());
        let options = Options { au: format.au_format(), jpeg_size: media.dimensions, ..Options::default() };
        let depay = Depay::new(&described, &options)?;
        let rate = clock_rate(&described);
        let mut pen = Pen {
            inlet,
            clock: RtpClock::new(rate),
            rate,
            now: Time::ZERO,
            stamps: [None; 2],
            nal: NalCodec::of(described.id),
            complete: false,
            torn: false,
        };
        // What the description says holds until the packets say otherwise. One that says nothing
        // (the source was dialled again) does not wipe out what is known.
        if !described.extra.is_empty() || pen.nal.is_none() {
            pen.inlet.set_codec(described);
        }
        let known = pen.inlet.track().codec();
        pen.complete = pen.nal.is_none_or(|nal| ParameterSets::from_extra(nal, &known.extra).complete());
        let others = media.formats.iter().map(|f| f.payload_type).filter(|&p| p != format.payload_type);
        let desk = Desk {
            depay,
            options,
            route: Route::Stream,
            payload_type: format.payload_type,
            others: others.collect(),
            reception: Reception::default(),
            pen,
            next: None,
            odd: 0,
            faults: Faults::default(),
            sender: 0,
            asked: None,
        };
        let mut intake = Intake { reorder: None, desk };
        intake.travel(route);
        Ok(intake)
    }

    /// Packets come this way from now on: a publisher says what it sends before it says how.
    pub fn travel(&mut self, route: Route) {
        if self.desk.route != route {
            self.desk.route = route;
            self.reorder = (route == Route::Datagram).then(|| Reorder::new(DEFAULT_PACKETS, DEFAULT_WAIT));
        }
    }

    /// An RTP packet came. False if it is none.
    pub fn rtp(&mut self, now: Time, bytes: &[u8]) -> bool {
        let Ok(packet) = Packet::parse(bytes) else {
            self.desk.faults.broken = self.desk.faults.broken.saturating_add(1);
            return false;
        };
        if !self.desk.takes(packet.header.payload_type) {
            self.desk.faults.stray = self.desk.faults.stray.saturating_add(1);
            return false;
        }
        bump(&self.desk.pen.inlet.track().stats.packets, 1);
        self.desk.reception.packet(now, &packet.header, self.desk.pen.rate);
        match &mut self.reorder {
            None => self.desk.packet(now, &packet),
            Some(reorder) => {
                if reorder.push(now, packet.header.seq, bytes) == Pushed::Now {
                    self.desk.packet(now, &packet);
                }
                self.tick(now);
            }
        }
        true
    }

    /// Uses packets that have waited long enough for those before them.
    pub fn tick(&mut self, now: Time) {
        let Some(reorder) = &mut self.reorder else { return };
        while let Some(popped) = reorder.pop(now) {
            if let Popped::Packet(bytes) = popped
                && let Ok(packet) = Packet::parse(bytes)
            {
                self.desk.packet(now, &packet);
            }
        }
    }

    /// When [`Intake::tick`] is due though nothing came.
    pub fn deadline(&self) -> Option<Time> {
        self.reorder.as_ref().and_then(Reorder::deadline)
    }

    /// RTCP came. True if the sender says goodbye. Whose report it is is not asked: the channel says
    /// it, and cameras name SSRCs that they never use.
    pub fn rtcp(&mut self, now: Time, bytes: &[u8], sender: &mut SenderClock) -> bool {
        let mut bye = false;
        for packet in Compound::new(bytes) {
            match packet {
                Ok(Control::SenderReport { info, .. }) => {
                    self.desk.reception.sender_report(now, &info);
                    self.desk.pen.clock.report(now, info.ntp.0, info.rtp_time, sender);
                }
                Ok(Control::Bye { .. }) => bye = true,
                Ok(_) => {}
                Err(_) => self.desk.faults.broken = self.desk.faults.broken.saturating_add(1),
            }
        }
        bye
    }

    /// What is to be told to the sender; nothing before anything came.
    pub fn report(&mut self, now: Time) -> Option<Report> {
        self.desk.reception.report(now)
    }

    /// Whether the sender is to be asked for a key frame: datagrams were lost, and none came since.
    /// Then its SSRC, and true once a second at most.
    pub fn wants_key(&mut self, now: Time) -> Option<u32> {
        let desk = &mut self.desk;
        let due = desk.asked.is_none_or(|asked| now.since(asked) >= AGAIN);
        if !(due && desk.pen.torn && desk.route == Route::Datagram && desk.pen.nal.is_some()) {
            return None;
        }
        desk.asked = Some(now);
        Some(desk.sender)
    }

    /// Packets missed so far.
    pub fn lost(&self) -> u32 {
        self.desk.depay.lost()
    }

    /// What was wrong so far.
    pub fn faults(&self) -> Faults {
        self.desk.faults
    }

    /// No more packets will come: a unit that is not whole is forgotten.
    pub fn finish(&mut self) {
        self.desk.depay.finish(&mut self.desk.pen);
    }
}

impl Desk {
    /// Whether packets of this type belong to the track. GeoVision mixes in type 50; others announce
    /// 96 and send 97, which is let through as long as it means nothing else.
    fn takes(&self, payload_type: u8) -> bool {
        payload_type == self.payload_type
            || (payload_type >= DYNAMIC
                && self.payload_type >= DYNAMIC
                && !self.others.contains(&payload_type))
    }

    fn packet(&mut self, now: Time, packet: &Packet<'_>) {
        self.count(packet.header.seq);
        let lost = self.depay.lost();
        self.pen.stamp(now, packet.header.timestamp);
        let result = self.depay.push(packet, &mut self.pen);
        self.sender = packet.header.ssrc;
        if self.depay.lost() != lost {
            self.pen.inlet.skipped();
            self.pen.torn = true;
        }
        if let Err(error) = result {
            self.faults.broken = self.faults.broken.saturating_add(1);
            self.faults.last = Some(error);
        }
    }

    /// Over a connection nothing is lost on the way: one gap is a camera that dropped something, but
    /// numbers that never fit are those of a sender that does not count, and are no longer looked at.
    fn count(&mut self, seq: u16) {
        let fits = self.next.is_none_or(|next| next == seq);
        self.next = Some(seq.wrapping_add(1));
        if self.route == Route::Datagram || self.options.loss == Loss::Ignore {
            return;
        }
        self.odd = if fits { 0 } else { self.odd.saturating_add(1) };
        if self.odd >= UNCOUNTED {
            self.options.loss = Loss::Ignore;
            let codec = self.pen.inlet.track().codec();
            self.depay.finish(&mut self.pen);
            if let Ok(depay) = Depay::new(&codec, &self.options) {
                self.depay = depay;
            }
        }
    }
}

impl Pen {
    /// A packet of this timestamp came. The first one of a unit says when the unit was.
    fn stamp(&mut self, now: Time, timestamp: u32) {
        self.now = now;
        let [newest, _] = self.stamps;
        if newest.is_none_or(|(t, _)| t != timestamp) {
            let time = self.clock.at(now, timestamp);
            self.stamps = [Some((timestamp, time)), newest];
        }
    }

    fn time(&mut self, timestamp: u32) -> Time {
        let known = self.stamps.iter().flatten().find(|(t, _)| *t == timestamp).map(|(_, time)| *time);
        // A unit of sound behind others in its packet.
        known.unwrap_or_else(|| self.clock.at(self.now, timestamp))
    }
}

impl Sink for Pen {
    fn extra(&mut self, extra: &[u8]) {
        let known = self.inlet.track().codec();
        self.inlet.set_codec(Codec { extra: Rc::from(extra), ..(*known).clone() });
        self.complete = self.nal.is_none_or(|nal| ParameterSets::from_extra(nal, extra).complete());
    }

    fn begin(&mut self) {
        self.inlet.truncate(0);
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        let before = self.inlet.filled();
        self.inlet.append(bytes);
        self.inlet.filled() == before.saturating_add(bytes.len())
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.inlet.patch(at, bytes);
    }

    fn end(&mut self, unit: Unit) {
        let time = self.time(unit.rtp_time);
        if unit.damaged {
            self.inlet.skipped();
        }
        self.torn &= !unit.key;
        // A key frame that no decoder can begin with is none.
        self.inlet.commit(time, time, unit.key && self.complete);
    }

    fn abort(&mut self) {
        self.inlet.truncate(0);
        self.inlet.lost();
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
