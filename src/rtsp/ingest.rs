//! Somebody publishes: what ANNOUNCE says becomes a source of an existing stream, and packets, by
//! the connection or by UDP, become frames in its tracks by the same [`Intake`] as a camera's. Whose
//! a packet is, and how it came, is known here; what is in it is not.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::intake::{Intake, Route, choose};
use super::session::Offered;
use super::transport::Pair;
use super::url::decode;
use crate::media::rtptime::SenderClock;
use crate::media::{Direction, Media, Time};
use crate::net::limits::rtsp as limits;
use crate::net::rtcp;
use crate::net::sdp::Description;
use crate::stream::{Peer, Publication, Stream};
use std::rc::Rc;
use std::time::Duration;

/// A publisher that is silent for this long has gone, unless its URL says otherwise.
const SILENCE: Duration = Duration::from_secs(15);
/// Its packets are reported on this often.
const REPORTS: Duration = Duration::from_secs(5);
/// The name under which we report.
const CNAME: &str = "streamd";

/// A track on its way in.
pub struct Incoming {
    control: String,
    /// Its channel of the connection.
    pub channel: Option<u8>,
    /// Its ports on the publisher's side.
    pub udp: Option<Pair<u16>>,
    intake: Intake,
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
            let Some((format, codec)) = choose(media) else { continue };
            let control =
                media.control.as_deref().and_then(|c| decode(c.trim_end_matches('/').rsplit('/').next()?));
            let control = control.unwrap_or_else(|| ["trackID=", &at.to_string()].concat());
            parts.push((control, media, format));
            medias.push(Media { kind: codec.kind(), direction: Direction::RecvOnly, codecs: vec![codec] });
        }
        if medias.is_empty() {
            return None;
        }
        let publication = stream.publish(peer, medias);
        let tracks = parts.into_iter().enumerate().filter_map(|(at, (control, media, format))| {
            let inlet = publication.link().inlet(at)?;
            let intake = Intake::new(inlet, media, format, Route::Stream).ok()?;
            Some(Incoming { control, channel: None, udp: None, intake })
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
            track.intake.travel(Route::Stream);
            track.intake.rtp(now, data);
        } else {
            track.intake.rtcp(now, data, &mut self.sender);
        }
    }

    /// A datagram from the publisher's port; whether it is one of its ports.
    pub fn datagram(&mut self, port: u16, data: &[u8], now: Time) -> bool {
        let found = self.tracks.iter().position(|t| t.udp.is_some_and(|(a, b)| a == port || b == port));
        let Some(track) = found.and_then(|at| self.tracks.get_mut(at)) else { return false };
        self.heard = now;
        if track.udp.is_some_and(|(_, control)| control == port) {
            track.intake.rtcp(now, data, &mut self.sender);
        } else {
            track.intake.travel(Route::Datagram);
            track.intake.rtp(now, data);
        }
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
            track.intake.tick(now);
            let Some(report) = track.intake.report(now) else { continue };
            bytes.clear();
            rtcp::emit_receiver(&mut bytes, self.ssrc, &[report], CNAME);
            each(track.channel.map(|c| c + 1), track.udp.map(|(_, control)| control), &bytes);
        }
    }

    /// Requests for key frames, where some were lost by UDP: by which port, and the request.
    pub fn ask_keys(&mut self, now: Time, mut each: impl FnMut(u16, &[u8])) {
        for track in &mut self.tracks {
            let Some((_, control)) = track.udp else { continue };
            let Some(sender) = track.intake.wants_key(now) else { continue };
            let mut bytes = Vec::new();
            let report = track.intake.report(now);
            rtcp::emit_receiver(&mut bytes, self.ssrc, report.as_slice(), CNAME);
            rtcp::emit_pli(&mut bytes, self.ssrc, sender);
            each(control, &bytes);
        }
    }
}
