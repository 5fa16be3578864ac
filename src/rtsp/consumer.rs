//! One viewer of a stream: its reader of the hall, what it was told of the tracks, and the way of a
//! frame from the ring into its socket. A frame leaves in one gathered write, straight from the
//! ring; a full socket keeps the rest of one packet here and nothing else. Sound waits a little for
//! the next picture, so that both leave together.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::backchannel::Back;
use super::filter::{Filter, any_rate};
use super::flow::Flow;
use super::flows::{Flows, Group};
use super::message::frame_head;
use super::metadata::{Desk, Notes};
use super::session::Offered;
use super::transport::Pair;
use crate::media::{Codec, CodecId, Kind, Time};
use crate::net::clock;
use crate::net::reactor::Timer;
use crate::net::rtcp::{self, Ntp, SenderInfo};
use crate::net::rtp::pay::{DEFAULT_PACKET_SIZE, Packetizer};
use crate::net::sdp::Flow as Direction;
use crate::net::sdp::emit::{self, Line};
use crate::net::socket::Socket;
use crate::net::websocket;
use crate::stream::{AttachError, Close, Executor, Join, Peer, Reader, Step, Stream, Wish, bump};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

/// How long a description waits for what a decoder needs before the first frame.
const PATIENCE: Duration = Duration::from_secs(2);
/// A sender's report goes out this often.
pub const REPORTS: Duration = Duration::from_secs(5);
/// Room that an empty queue of answers may keep.
const SPARE: usize = 1024;
/// Slices of one write; the system's bound is 1024.
const SLICES: usize = 1000;
/// Bytes of sound that leave together.
const TOGETHER: usize = 16 << 10;
/// Bytes that are sent before others have their turn.
const TURN: usize = crate::net::limits::YIELD_BYTES;
/// The name under which all tracks of a stream send.
const CNAME: &str = "streamd";

/// Bytes on their way to the peer, in order: answers, reports, and the rest of a packet.
#[derive(Default)]
pub struct Out {
    bytes: Vec<u8>,
    at: usize,
    /// Only sound is here, and it may wait until then.
    pub hold: Option<Time>,
    /// It leaves in messages of a WebSocket: up to here the bytes are such messages.
    web: Option<usize>,
}

impl Out {
    /// What has not left yet.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }

    /// Whether everything has left.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// For more, which leaves at once: in a message of its own, if it leaves in messages.
    pub fn urgent(&mut self) -> &mut Vec<u8> {
        self.hold = None;
        self.seal();
        &mut self.bytes
    }

    /// What comes from now on leaves in messages of a WebSocket.
    pub fn set_web(&mut self) {
        self.web = Some(self.bytes.len());
    }

    /// Whether it does.
    pub fn is_web(&self) -> bool {
        cfg!(feature = "tunnel") && self.web.is_some()
    }

    /// Makes a message of what is not one yet.
    fn seal(&mut self) {
        if let Some(from) = self.web.filter(|_| self.is_web()) {
            websocket::seal(&mut self.bytes, from, None);
            self.web = Some(self.bytes.len());
        }
    }

    /// For bytes that bring their messages' headers with them.
    pub fn sealed(&mut self, add: impl FnOnce(&mut Vec<u8>)) {
        self.seal();
        add(&mut self.bytes);
        self.web = self.web.map(|_| self.bytes.len());
    }

    /// Bytes of so many packets' headers.
    fn heads(&self, packets: usize) -> usize {
        packets * if self.is_web() { 20 } else { 16 }
    }

    /// So many bytes have left.
    pub fn consume(&mut self, n: usize) {
        self.at += n;
        if self.is_empty() {
            (self.at, self.hold, self.web) = (0, None, self.web.map(|_| 0));
            self.bytes.clear();
            // an SDP or a large packet went through: a viewer costs little again
            if self.bytes.capacity() > SPARE {
                self.bytes = Vec::new();
            }
        }
    }

    /// Writes as much as the socket takes; whether that was everything.
    pub fn flush(&mut self, socket: &Socket) -> io::Result<usize> {
        self.seal();
        let n = socket.try_write(&[IoSlice::new(self.rest())])?;
        self.consume(n);
        Ok(n)
    }
}

/// A track as one viewer gets it.
pub struct Port {
    /// Its packets.
    pub flow: Rc<Flow>,
    /// Its name in the description.
    pub control: String,
    /// Its channel of the connection, once it is set up.
    pub channel: Option<u8>,
    /// Set up by UDP.
    pub udp: Option<Pair<u16>>,
    /// The group that it can be had by, with its reach.
    pub group: Option<Group>,
    /// Set up by that group.
    pub multicast: bool,
    /// Packets sent to this viewer.
    pub packets: u32,
    /// Payload bytes sent to this viewer.
    pub octets: u32,
    next: Option<(u16, u32)>,
}

/// One viewer of a stream.
pub struct View {
    /// The stream as it was asked for.
    pub name: String,
    /// The query as it was asked for.
    pub query: String,
    /// Its place in the hall.
    pub reader: Reader,
    /// Its tracks, in the reader's order.
    pub ports: Vec<Port>,
    /// The way back to the speaker, if it was asked for.
    pub back: Option<Back>,
    /// What happens, if it is told.
    notes: Option<Rc<Notes>>,
    /// The description names groups.
    grouped: bool,
    /// The stream.
    pub stream: Rc<Stream>,
    /// Frames flow.
    pub playing: bool,
    paused: bool,
    partial: Option<(usize, u64, usize)>,
    next_report: Time,
}

/// Where sending stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// Everything there is has left.
    Idle,
    /// The socket takes no more.
    Full,
    /// There is more, but others come first.
    Turn,
    /// It is over.
    Closed(Close),
}

/// Wishes for what can travel in RTP; linear samples of the wrong order are turned.
pub fn sendable(filter: &mut Filter) {
    for wish in filter.wishes.iter_mut().filter(|w| w.codecs.is_empty()) {
        for &id in CodecId::ALL {
            if id.kind() == wish.kind && Packetizer::takes(id) {
                // what there is to be converted to, if something must be, is the first
                let at = if id == CodecId::L16 { 0 } else { wish.codecs.len() };
                wish.codecs.insert(at, any_rate(id));
            }
        }
    }
}

impl View {
    /// Finds the tracks, and waits a little until decoders can begin with them.
    pub async fn open(
        flows: &Flows,
        stream: &Rc<Stream>,
        name: &str,
        query: &str,
        mut filter: Filter,
        peer: Peer,
        events: (&Desk, &Executor),
    ) -> Result<View, AttachError> {
        if filter.metadata {
            // the camera's own, if it makes them
            filter.wishes.push(Wish { codecs: vec![Codec::new(CodecId::Onvif)], ..Wish::any(Kind::Data) });
        }
        sendable(&mut filter);
        let mut reader = stream.attach(&filter.wishes, Join::Live, peer).await?;
        let has_data = |r: &Reader| (0..r.len()).filter_map(|at| r.track(at)).any(|t| t.kind() == Kind::Data);
        let notes = (filter.metadata && !has_data(&reader)).then(|| events.0.of(events.1, stream.name()));
        if let Some(notes) = &notes {
            reader.also(notes.track().clone());
        }
        let since = clock::now();
        let bare = |reader: &Reader| {
            (0..reader.len()).filter_map(|at| reader.track(at)).any(|t| {
                let codec = t.codec();
                matches!(codec.id, CodecId::H264 | CodecId::H265 | CodecId::Aac) && codec.extra.is_empty()
            })
        };
        while bare(&reader) && clock::now().since(since) < PATIENCE {
            Timer::after(Duration::from_millis(20)).await;
        }
        let configured = flows.packet_size.get();
        let size =
            filter.packet_size.unwrap_or(if configured == 0 { DEFAULT_PACKET_SIZE } else { configured });
        let mut ports = Vec::with_capacity(reader.len());
        for at in 0..reader.len() {
            let Some(track) = reader.track(at) else { continue };
            let flow = flows.of(track, size).map_err(|e| AttachError::Codecs {
                offered: track.codec().to_string(),
                wanted: e.to_string(),
            })?;
            let control = ["trackID=", &at.to_string()].concat();
            let group = flows.group_of(&flow);
            if track.kind() != Kind::Video {
                flows.patience.attend(track);
            }
            ports.push(Port {
                flow,
                control,
                channel: None,
                udp: None,
                group,
                multicast: false,
                packets: 0,
                octets: 0,
                next: None,
            });
        }
        Ok(View {
            name: name.to_owned(),
            query: query.to_owned(),
            reader,
            ports,
            back: None,
            notes,
            grouped: filter.multicast,
            stream: stream.clone(),
            playing: false,
            paused: false,
            partial: None,
            next_report: Time::ZERO,
        })
    }

    /// The description.
    pub fn sdp(&self, address: IpAddr) -> String {
        let back = self.back.as_ref();
        let codecs: Vec<[(u8, Codec); 1]> = (0..self.ports.len())
            .filter_map(|at| {
                let (port, track) = (self.ports.get(at)?, self.reader.track(at)?);
                Some([(port.flow.payload_type(), (*track.codec()).clone())])
            })
            .collect();
        let flow = back.map(|_| Direction::RecvOnly);
        let mut lines: Vec<Line<'_>> = codecs
            .iter()
            .zip(&self.ports)
            .map(|(codecs, port)| {
                let group =
                    port.group.filter(|_| self.grouped).map(|(group, (rtp, _), ttl)| (group, ttl, rtp));
                Line { codecs, control: &port.control, flow, group, size: None }
            })
            .collect();
        if let Some(back) = back {
            let flow = Some(Direction::SendOnly);
            lines.push(Line { codecs: &back.codecs, control: &back.control, flow, group: None, size: None });
        }
        let id = self.name.bytes().fold(1u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)) >> 1);
        let version = self.reader.track(0).map_or(0, |t| u64::from(t.config_number())) + 1;
        let session = emit::Session { id, version, address, name: self.stream.name(), range: "npt=now-" };
        emit::emit(&session, &lines)
    }

    /// What can be set up.
    pub fn offers(&self) -> Vec<Offered<'_>> {
        let mut offers = Vec::with_capacity(self.ports.len() + 1);
        for Port { flow, control, group, next, .. } in &self.ports {
            let (group, next) = (*group, *next);
            offers.push(Offered { control, ssrc: Some(flow.ssrc()), busy: false, group, next });
        }
        if let Some(back) = &self.back {
            let busy = !back.is_on();
            offers.push(Offered { control: &back.control, ssrc: None, busy, group: None, next: None });
        }
        offers
    }

    /// Finds where playing begins, for the answer to PLAY; after a pause, that is now.
    pub fn prepare(&mut self) {
        if self.playing {
            return;
        }
        if self.paused {
            self.reader.jump();
            (self.paused, self.partial) = (false, None);
        }
        let began = self.reader.step();
        let pictures = self.ports.iter().position(|p| p.flow.kind() == Kind::Video);
        let start = match began {
            Some(Step::Frame(at)) => {
                pictures.and_then(|v| self.reader.frame(v)).or(self.reader.frame(at)).map(|s| s.decode)
            }
            _ => None,
        };
        for at in 0..self.ports.len() {
            let next = start.and_then(|time| {
                let (port, track) = (self.ports.get(at)?, self.reader.track(at)?);
                let first = match self.reader.frame(at) {
                    Some(s) if port.flow.kind() == Kind::Audio && s.decode != s.meta.decode => {
                        // sound of before now is not sent
                        let ring = track.ring();
                        (s.seq..ring.head())
                            .find(|&n| ring.meta(n).is_some_and(|m| m.decode >= time && m.decode > s.decode))
                            .unwrap_or(ring.head())
                    }
                    Some(s) => s.seq,
                    None => track.ring().head(),
                };
                Some((port.flow.number(first), port.flow.rtp_time(time)))
            });
            if let Some(port) = self.ports.get_mut(at) {
                port.next = next;
            }
        }
    }

    /// Begins to send.
    pub fn play(&mut self, now: Time) {
        (self.playing, self.next_report) = (true, now);
        if let Some(notes) = &self.notes {
            notes.greet();
        }
    }

    /// Stops sending.
    pub fn pause(&mut self) {
        (self.playing, self.paused) = (false, true);
    }

    /// Whether it is sent by its connection.
    pub fn is_bound(&self) -> bool {
        self.ports.iter().any(|p| p.channel.is_some())
    }

    /// Whether pictures are among what is sent.
    fn has_pictures(&self) -> bool {
        self.ports.iter().any(|p| p.channel.is_some() && p.flow.kind() == Kind::Video)
    }

    /// Appends a report of one track, and a goodbye behind it if it ends.
    pub fn report(&self, at: usize, now: Time, bye: bool, out: &mut Vec<u8>) {
        let Some(port) = self.ports.get(at) else { return };
        report(&port.flow, port.packets, port.octets, now, bye, out);
    }

    /// Appends the reports of all tracks, interleaved.
    pub fn reports(&self, now: Time, bye: bool, out: &mut Out) {
        for (at, port) in self.ports.iter().enumerate() {
            let Some(channel) = port.channel else { continue };
            let out = out.urgent();
            let head = out.len();
            out.extend_from_slice(&frame_head(channel.saturating_add(1), 0));
            self.report(at, now, bye, out);
            let len = (out.len() - head - super::flow::INTERLEAVED) as u16;
            if let Some(place) = out.get_mut(head..head + 4) {
                place.copy_from_slice(&frame_head(channel.saturating_add(1), len));
            }
        }
    }

    /// Whether it is time for reports.
    pub fn report_due(&mut self, now: Time) -> bool {
        let due = now >= self.next_report;
        if due {
            self.next_report = now + REPORTS;
        }
        due
    }

    /// Sends what there is by the connection, until there is no more or the socket is full.
    pub fn pump(
        &mut self,
        flows: &Flows,
        socket: &Socket,
        out: &mut Out,
        now: Time,
    ) -> io::Result<(Pumped, usize)> {
        let mut moved = 0;
        if self.report_due(now) {
            self.reports(now, false, out);
        }
        let mut idle = false;
        loop {
            let leaves = match out.hold {
                None => true,
                // what is ripe waits for what comes behind it in this turn
                Some(until) => now >= until && (idle || out.rest().len() > TOGETHER),
            };
            if leaves && !out.is_empty() {
                moved += out.flush(socket)?;
                if !out.is_empty() {
                    return Ok((Pumped::Full, moved));
                }
            }
            if idle {
                return Ok((Pumped::Idle, moved));
            }
            if moved >= TURN {
                return Ok((Pumped::Turn, moved));
            }
            match self.reader.step() {
                None => idle = true,
                Some(Step::Closed(why)) => return Ok((Pumped::Closed(why), moved)),
                Some(Step::Codec(at, codec)) => {
                    if self.ports.get(at).is_some_and(|p| !p.flow.carries(&codec)) {
                        // what was described is no more: whoever connects again is told the new
                        return Ok((Pumped::Closed(Close::Replaced), moved));
                    }
                }
                Some(Step::Frame(at)) => {
                    let Some(port) = self.ports.get(at) else { continue };
                    let shown = self.reader.frame(at);
                    let squeezed = shown.as_ref().is_none_or(|s| s.decode != s.meta.decode);
                    let ripe = shown.is_some_and(|s| port.flow.track().is_ripe(s.seq));
                    if port.channel.is_none() || port.flow.kind() != Kind::Video && squeezed {
                        self.reader.done(at);
                        continue;
                    }
                    if self.is_patient(flows, at) {
                        let time = if ripe { Duration::ZERO } else { flows.patience.time.get() };
                        self.copy(at, out, now + time);
                        self.reader.done(at);
                        continue;
                    }
                    let (n, full) = self.write(at, flows, socket, out)?;
                    moved += n;
                    if full {
                        return Ok((Pumped::Full, moved));
                    }
                }
            }
        }
    }

    /// Whether frames of that track leave with the next picture.
    fn is_patient(&self, flows: &Flows, at: usize) -> bool {
        let small = self.ports.get(at).is_some_and(|p| p.channel.is_some() && p.flow.kind() != Kind::Video);
        small && !flows.patience.time.get().is_zero() && self.has_pictures()
    }

    /// Has `waker` woken when there is something to be sent by the connection.
    pub fn wait(&self, flows: &Flows, waker: &Waker) {
        self.reader.wait_patiently(waker, |at| self.is_patient(flows, at));
    }

    /// Lays a small frame beside what leaves with the next one.
    fn copy(&mut self, at: usize, out: &mut Out, until: Time) {
        let (Some(port), Some(codec)) = (self.ports.get_mut(at), self.reader.codec(at)) else { return };
        let (Some(shown), Some(channel)) = (self.reader.frame(at), port.channel) else { return };
        if out.is_empty() {
            out.hold = Some(until);
        }
        port.flow.with(&shown, &codec, |d| {
            // exactly: every viewer has such a buffer, and it is there as often as not
            out.bytes.reserve_exact(shown.data.len() + 64 * d.packets);
            d.set_way(channel, out.is_web());
            let mut len = 0;
            out.sealed(|bytes| len = d.copy(&shown.data, bytes));
            port.packets = port.packets.wrapping_add(d.packets as u32);
            port.octets = port.octets.wrapping_add(len.saturating_sub(out.heads(d.packets)) as u32);
            bump(&self.reader.viewer().stats.packets, d.packets as u64);
        });
    }

    /// Writes a frame with what waits before it. Gives the bytes taken, and whether the socket is
    /// full.
    fn write(
        &mut self,
        at: usize,
        flows: &Flows,
        socket: &Socket,
        out: &mut Out,
    ) -> io::Result<(usize, bool)> {
        let (Some(port), Some(codec)) = (self.ports.get_mut(at), self.reader.codec(at)) else {
            return Ok((0, false));
        };
        let (mut moved, mut full) = (0, false);
        let mut next = None;
        if let (Some(shown), Some(channel)) = (self.reader.frame(at), port.channel) {
            let mut from = match self.partial {
                Some((track, frame, packet)) if track == at && frame == shown.seq => packet,
                _ => 0,
            };
            let begun = from;
            let data: &[u8] = &shown.data;
            port.flow.with(&shown, &codec, |d| {
                d.set_way(channel, out.is_web());
                out.seal();
                while from < d.packets {
                    let mut slices: Vec<IoSlice<'_>> = flows.take_slices();
                    if !out.is_empty() {
                        slices.push(IoSlice::new(out.rest()));
                    }
                    let until = d.gather(data, from, SLICES, &mut slices);
                    let total: usize = slices.iter().map(|s| s.len()).sum();
                    let n = socket.try_write(&slices);
                    flows.put_slices(slices);
                    let n = n?;
                    moved += n;
                    let before = n.min(out.rest().len());
                    out.consume(before);
                    if n < total {
                        full = true;
                        if out.is_empty() {
                            out.sealed(|rest| from = d.follow(data, from, n - before, rest).packets);
                        }
                        break;
                    }
                    from = until;
                }
                if from < d.packets {
                    next = Some((at, shown.seq, from));
                }
                io::Result::Ok(())
            })?;
            let packets = from.saturating_sub(begun);
            port.packets = port.packets.wrapping_add(packets as u32);
            port.octets = port.octets.wrapping_add(moved.saturating_sub(out.heads(packets)) as u32);
            bump(&self.reader.viewer().stats.packets, packets as u64);
        }
        self.partial = next;
        if next.is_none() {
            self.reader.done(at);
        }
        Ok((moved, full))
    }
}

/// Appends a sender's report, and a goodbye behind it if it ends.
pub fn report(flow: &Flow, packets: u32, octets: u32, now: Time, bye: bool, out: &mut Vec<u8>) {
    // without the time of day, time since the start of the machine is as good for lips
    let ntp = Ntp(clock::wall().map_or_else(|| elapsed(now), clock::ntp));
    let info = SenderInfo { ntp, rtp_time: flow.rtp_time(now), packets, octets };
    rtcp::emit_sender(out, flow.ssrc(), &info, CNAME);
    if bye {
        rtcp::emit_bye(out, flow.ssrc());
    }
}

/// Time since the start as seconds and a binary fraction.
fn elapsed(now: Time) -> u64 {
    let (seconds, nanos) = (now.nanos() / 1_000_000_000, now.nanos() % 1_000_000_000);
    (seconds << 32) | ((nanos << 32) / 1_000_000_000)
}
