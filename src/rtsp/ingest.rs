//! Somebody publishes: what ANNOUNCE says becomes a source of an existing stream, and packets, by
//! the connection or by UDP, become frames in its tracks. The bytes of a packet go straight into the
//! track's arena.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::limits;
use super::session::Offered;
use super::transport::Pair;
use super::url::decode;
use crate::media::rtptime::{RtpClock, SenderClock};
use crate::media::{Codec, Direction, Media, Time};
use crate::net::rtcp::{self, Compound, Reception};
use crate::net::rtp::Packet;
use crate::net::rtp::depay::{Depay, Options, Sink, Unit};
use crate::net::rtp::pay::clock_rate;
use crate::net::rtp::reorder::{DEFAULT_PACKETS, DEFAULT_WAIT, Popped, Pushed, Reorder};
use crate::net::sdp::Description;
use crate::stream::{Inlet, Peer, Publication, Stream, bump};
use std::rc::Rc;
use std::time::Duration;

/// A publisher that is silent for this long has gone, unless its URL says otherwise.
const SILENCE: Duration = Duration::from_secs(15);
/// Its packets are reported on this often.
const REPORTS: Duration = Duration::from_secs(5);
/// The name under which we report.
const CNAME: &str = "streamd";

/// The way of a track's units into the hall.
struct Way {
    inlet: Inlet,
    clock: RtpClock,
    now: Time,
}

impl Sink for Way {
    fn extra(&mut self, extra: &[u8]) {
        let codec = Codec { extra: Rc::from(extra), ..(*self.inlet.track().codec()).clone() };
        self.inlet.set_codec(codec);
    }

    fn begin(&mut self) {
        self.inlet.truncate(0);
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        let before = self.inlet.filled();
        self.inlet.append(bytes);
        self.inlet.filled() == before + bytes.len()
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.inlet.patch(at, bytes);
    }

    fn end(&mut self, unit: Unit) {
        if unit.damaged {
            self.inlet.skipped();
        }
        let time = self.clock.at(self.now, unit.rtp_time);
        self.inlet.commit(time, time, unit.key);
    }

    fn abort(&mut self) {
        self.inlet.truncate(0);
    }
}

/// A track on its way in.
pub struct Incoming {
    control: String,
    /// Its channel of the connection.
    pub channel: Option<u8>,
    /// Its ports on the publisher's side.
    pub udp: Option<Pair<u16>>,
    payload_types: Vec<u8>,
    rate: u32,
    depay: Depay,
    way: Way,
    reception: Reception,
    reorder: Reorder,
    lost: u32,
}

/// Somebody who publishes.
pub struct Ingest {
    publication: Publication,
    tracks: Vec<Incoming>,
    sender: SenderClock,
    silence: Duration,
    heard: Time,
    next_report: Time,
    ssrc: u32,
}

impl Ingest {
    /// Opens the stream to what `sdp` announces; none if there is nothing in it that we can read.
    pub fn open(
        stream: &Rc<Stream>,
        sdp: &Description,
        peer: Peer,
        timeout: Option<Duration>,
        ssrc: u32,
        now: Time,
    ) -> Option<Ingest> {
        let mut medias = Vec::new();
        let mut parts = Vec::new();
        for (at, media) in sdp.medias.iter().enumerate().take(limits::TRACKS) {
            let Some((format, codec)) = media.formats.iter().find_map(|f| Some((f, f.codec()?))) else {
                continue;
            };
            let options =
                Options { au: format.au_format(), jpeg_size: media.dimensions, ..Options::default() };
            let Ok(depay) = Depay::new(&codec, &options) else { continue };
            let control =
                media.control.as_deref().and_then(|c| decode(c.trim_end_matches('/').rsplit('/').next()?));
            let control = control.unwrap_or_else(|| ["trackID=", &at.to_string()].concat());
            let types: Vec<u8> = media.formats.iter().map(|f| f.payload_type).collect();
            parts.push((control, types, clock_rate(&codec), depay));
            medias.push(Media { kind: codec.kind(), direction: Direction::RecvOnly, codecs: vec![codec] });
        }
        if medias.is_empty() {
            return None;
        }
        let publication = stream.publish(peer, medias);
        let tracks =
            parts.into_iter().enumerate().filter_map(|(at, (control, payload_types, rate, depay))| {
                let way = Way { inlet: publication.link().inlet(at)?, clock: RtpClock::new(rate), now };
                Some(Incoming {
                    control,
                    channel: None,
                    udp: None,
                    payload_types,
                    rate,
                    depay,
                    way,
                    reception: Reception::default(),
                    reorder: Reorder::new(DEFAULT_PACKETS, DEFAULT_WAIT),
                    lost: 0,
                })
            });
        Some(Ingest {
            tracks: tracks.collect(),
            publication,
            sender: SenderClock::default(),
            silence: timeout.unwrap_or(SILENCE),
            heard: now,
            next_report: now + REPORTS,
            ssrc,
        })
    }

    /// What can be set up.
    pub fn offers(&self) -> Vec<Offered<'_>> {
        let offer = |t| -> Offered<'_> {
            let t: &Incoming = t;
            Offered { control: &t.control, ssrc: None, busy: false, group: None, next: None }
        };
        self.tracks.iter().map(offer).collect()
    }

    /// The tracks, to be told how they travel.
    pub fn tracks_mut(&mut self) -> &mut [Incoming] {
        &mut self.tracks
    }

    /// Whether it has been silent for too long, or the stream was taken away.
    pub fn is_over(&self, now: Time) -> bool {
        now.since(self.heard) > self.silence || self.publication.is_over()
    }

    /// A frame of the connection.
    pub fn frame(&mut self, channel: u8, data: &[u8], now: Time) {
        self.heard = now;
        let found = self.tracks.iter().position(|t| t.channel.is_some_and(|c| c == channel & !1));
        let Some(track) = found.and_then(|at| self.tracks.get_mut(at)) else { return };
        if channel.is_multiple_of(2) {
            track.packet(data, now);
        } else {
            track.control(data, now, &mut self.sender);
        }
    }

    /// A datagram from the publisher's port; whether it is one of its ports.
    pub fn datagram(&mut self, port: u16, data: &[u8], now: Time) -> bool {
        let found = self.tracks.iter().position(|t| t.udp.is_some_and(|(a, b)| a == port || b == port));
        let Some(track) = found.and_then(|at| self.tracks.get_mut(at)) else { return false };
        self.heard = now;
        if track.udp.is_some_and(|(_, control)| control == port) {
            track.control(data, now, &mut self.sender);
            return true;
        }
        let Ok(packet) = Packet::parse(data) else { return true };
        if track.reorder.push(now, packet.header.seq, data) == Pushed::Now {
            track.packet(data, now);
        }
        track.drain(now);
        true
    }

    /// Whether it is time to report; by which ports or channels, and the report.
    pub fn reports(&mut self, now: Time, mut each: impl FnMut(Option<u8>, Option<u16>, &[u8])) {
        if now < self.next_report {
            return;
        }
        self.next_report = now + REPORTS;
        let mut bytes = Vec::new();
        for track in &mut self.tracks {
            track.drain(now);
            let Some(report) = track.reception.report(now) else { continue };
            bytes.clear();
            rtcp::emit_receiver(&mut bytes, self.ssrc, &[report], CNAME);
            each(track.channel.map(|c| c + 1), track.udp.map(|(_, control)| control), &bytes);
        }
    }
}

impl Incoming {
    fn packet(&mut self, data: &[u8], now: Time) {
        let Ok(packet) = Packet::parse(data) else { return };
        if !self.payload_types.contains(&packet.header.payload_type) {
            return;
        }
        self.reception.packet(now, &packet.header, self.rate);
        bump(&self.way.inlet.track().stats.packets, 1);
        self.way.now = now;
        // what is wrong with one packet is that packet's end, not the publisher's
        let _ = self.depay.push(&packet, &mut self.way);
        if self.depay.lost() != self.lost {
            self.lost = self.depay.lost();
            self.way.inlet.skipped();
        }
    }

    fn drain(&mut self, now: Time) {
        loop {
            let mut reorder = std::mem::replace(&mut self.reorder, Reorder::new(1, DEFAULT_WAIT));
            let more = match reorder.pop(now) {
                Some(Popped::Packet(data)) => {
                    self.packet(data, now);
                    true
                }
                Some(Popped::Lost(_)) => true,
                None => false,
            };
            self.reorder = reorder;
            if !more {
                return;
            }
        }
    }

    fn control(&mut self, data: &[u8], now: Time, sender: &mut SenderClock) {
        for packet in Compound::new(data).filter_map(Result::ok) {
            if let rtcp::Packet::SenderReport { info, .. } = packet {
                self.reception.sender_report(now, &info);
                self.way.clock.report(now, info.ntp.0, info.rtp_time, sender);
            }
        }
    }
}
