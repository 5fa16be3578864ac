//! Sending by UDP. A viewer begins alone, from its key frame, until it has caught up; from then on
//! it is an entry in the list of its track's one sender, which reads the ring once and sends each
//! frame to all of them in as few calls as can be. A key frame's burst is spread over a part of the
//! time to the next frame, because switches and radios drop bursts.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::consumer::{REPORTS, report};
use super::flow::Flow;
use super::live::Live;
use super::transport::Pair;
use super::udp::{Packets, Udp};
use crate::media::{Codec, Kind};
use crate::net::clock;
use crate::net::log;
use crate::net::reactor::Timer;
use crate::stream::{Close, Join, Peer, Reader, Shown, Step, Viewer, bump};
use nix::sys::socket::SockaddrStorage;
use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Packets that leave in one go.
const CHUNK: usize = 16;
/// A frame is spread over at most so many goes, one a millisecond.
const GOES: usize = 12;
const PAUSE: Duration = Duration::from_millis(1);

/// One receiver of a track.
struct Entry {
    live: Rc<Live>,
    at: usize,
    to: SockaddrStorage,
    /// The first frame that it has not got yet.
    from: u64,
}

impl Entry {
    /// Whether it still wants packets.
    fn is_on(&self) -> bool {
        self.live.view.borrow().as_ref().is_some_and(|v| {
            v.playing && v.ports.get(self.at).is_some_and(|p| p.udp.is_some() || p.multicast)
        })
    }
}

/// The sender of one track.
pub struct Cast {
    flow: Rc<Flow>,
    /// One group for all; else each receiver for itself.
    group: Option<(IpAddr, Pair<u16>)>,
    entries: RefCell<Vec<Entry>>,
}

/// Sends packets `from` on of a frame; gives the packet after the last, and what each has sent.
fn send(
    udp: &Udp,
    flow: &Flow,
    shown: &Shown<'_>,
    codec: &Rc<Codec>,
    from: usize,
    to: &[Option<SockaddrStorage>],
    group: bool,
) -> (usize, usize, bool) {
    flow.with(shown, codec, |d| {
        let chunk = CHUNK.max(d.packets.div_ceil(GOES));
        let until = (from + chunk).min(d.packets);
        let mut packets = Packets::default();
        d.datagrams(&shown.data, |n, slices| {
            if (from..until).contains(&n) {
                packets.push(slices);
            }
        });
        let bytes = packets.bytes();
        udp.send(&packets, to, group);
        (until, bytes, until < d.packets)
    })
}

/// Counts what one viewer was sent.
fn count(live: &Live, at: usize, packets: usize, bytes: usize) {
    let mut view = live.view.borrow_mut();
    let Some(view) = view.as_mut() else { return };
    bump(&view.reader.viewer().stats.packets, packets as u64);
    bump(&view.reader.viewer().stats.bytes, bytes as u64);
    if let Some(port) = view.ports.get_mut(at) {
        port.packets = port.packets.wrapping_add(packets as u32);
        port.octets = port.octets.wrapping_add(bytes.saturating_sub(12 * packets) as u32);
    }
}

/// How a viewer's own sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It has everything there is: its tracks' senders go on.
    CaughtUp,
    /// The stream is over.
    Closed,
    /// It does not want to see any more.
    Stopped,
}

/// Sends to one viewer until it has caught up.
pub async fn begin(udp: &Udp, live: &Rc<Live>, turn: u32) -> Begun {
    let address = live.session.borrow().owner().address;
    let mut began = false;
    let (mut partial, mut burst) = (None, 0);
    loop {
        let step = poll_fn(|cx| {
            let mut view = live.view.borrow_mut();
            let Some(view) = view.as_mut().filter(|v| v.playing && live.is_turn(turn)) else {
                return Poll::Ready(None);
            };
            match view.reader.step() {
                None if !began => {
                    view.reader.wait(cx.waker());
                    Poll::Pending
                }
                step => Poll::Ready(Some(step)),
            }
        })
        .await;
        match step {
            None => return Begun::Stopped,
            Some(None) => return Begun::CaughtUp,
            Some(Some(Step::Closed(_))) => return Begun::Closed,
            Some(Some(Step::Codec(..))) => {}
            Some(Some(Step::Frame(at))) => {
                began = true;
                let mut view = live.view.borrow_mut();
                let Some(view) = view.as_mut() else { return Begun::Stopped };
                let mut more = false;
                let mut sent = None;
                if let (Some(port), Some(shown), Some(codec)) =
                    (view.ports.get(at), view.reader.frame(at), view.reader.codec(at))
                    && let Some((rtp, _)) = port.udp
                    && (port.flow.kind() == Kind::Video || shown.decode == shown.meta.decode)
                {
                    let from = partial.filter(|&(frame, _)| frame == (at, shown.seq)).map_or(0, |(_, p)| p);
                    let to = [Some(SockaddrStorage::from(udp.destination(address, rtp)))];
                    let (until, bytes, rest) = send(udp, &port.flow, &shown, &codec, from, &to, false);
                    more = rest;
                    partial = Some(((at, shown.seq), until));
                    burst += until - from;
                    sent = Some((until - from, bytes));
                }
                if !more {
                    view.reader.done(at);
                }
                if let Some((packets, bytes)) = sent
                    && let Some(port) = view.ports.get_mut(at)
                {
                    port.packets = port.packets.wrapping_add(packets as u32);
                    port.octets = port.octets.wrapping_add(bytes.saturating_sub(12 * packets) as u32);
                    bump(&view.reader.viewer().stats.packets, packets as u64);
                    bump(&view.reader.viewer().stats.bytes, bytes as u64);
                }
            }
        }
        if burst >= CHUNK {
            burst = 0;
            Timer::after(PAUSE).await;
        }
    }
}

impl Cast {
    /// A sender without receivers.
    pub fn new(flow: Rc<Flow>, group: Option<(IpAddr, Pair<u16>)>) -> Rc<Cast> {
        Rc::new(Cast { flow, group, entries: RefCell::default() })
    }

    /// Whether it sends these packets.
    pub fn is_of(&self, flow: &Rc<Flow>, group: bool) -> bool {
        Rc::ptr_eq(&self.flow, flow) && self.group.is_some() == group
    }

    /// Adds a receiver who has everything before the next frame.
    pub fn add(&self, udp: &Udp, live: &Rc<Live>, at: usize, port: u16) {
        let to = SockaddrStorage::from(udp.destination(live.session.borrow().owner().address, port));
        let from = self.flow.track().ring().head();
        self.entries.borrow_mut().push(Entry { live: live.clone(), at, to, from });
    }

    /// Forgets a receiver.
    pub fn remove(&self, live: &Rc<Live>) {
        self.entries.borrow_mut().retain(|e| !Rc::ptr_eq(&e.live, live));
    }

    /// Sends some packets of the reader's frame to all who are due: the packet after the last, the
    /// bytes of one receiver, and whether there are more. None if nobody is due.
    fn chunk(&self, udp: &Udp, reader: &Reader, from: usize) -> Option<(usize, usize, bool)> {
        let (shown, codec) = (reader.frame(0)?, reader.codec(0)?);
        self.entries.borrow_mut().retain(Entry::is_on);
        let entries = self.entries.borrow();
        let due = || entries.iter().filter(|e| e.from <= shown.seq);
        let to: Vec<Option<SockaddrStorage>> = match self.group {
            None => due().map(|e| Some(e.to)).collect(),
            Some((group, (rtp, _))) => {
                due().take(1).map(|_| Some(SocketAddr::new(group, rtp).into())).collect()
            }
        };
        if to.is_empty() {
            return None;
        }
        let (until, bytes, more) = send(udp, &self.flow, &shown, &codec, from, &to, self.group.is_some());
        due().for_each(|e| count(&e.live, e.at, until - from, bytes));
        Some((until, bytes, more))
    }

    /// Sends until nobody is left, or the stream is over: then gives those who were left.
    pub async fn run(&self, udp: &Udp) -> Vec<Rc<Live>> {
        let viewer = Rc::new(Viewer::new(0, Peer { format: "rtsp", protocol: "udp", ..Peer::default() }));
        let mut reader = Reader::new(vec![self.flow.track().clone()], Join::Live, viewer);
        let (mut packets, mut octets, mut next_report) = (0u32, 0u32, clock::now());
        let why = loop {
            match reader.next().await {
                Step::Frame(_) => {}
                Step::Codec(_, codec) => {
                    if self.flow.carries(&codec) {
                        continue;
                    }
                    break Close::Replaced;
                }
                Step::Closed(why) => break why,
            }
            let now = clock::now();
            if let Some((group, (_, control))) = self.group
                && now >= next_report
            {
                next_report = now + REPORTS;
                let mut bytes = Vec::new();
                report(&self.flow, packets, octets, now, false, &mut bytes);
                udp.report(SocketAddr::new(group, control), &bytes);
            }
            let mut from = 0;
            while let Some((until, bytes, more)) = self.chunk(udp, &reader, from) {
                packets = packets.wrapping_add((until - from) as u32);
                octets = octets.wrapping_add(bytes.saturating_sub(12 * (until - from)) as u32);
                from = until;
                if !more {
                    break;
                }
                Timer::after(PAUSE).await;
            }
            reader.done(0);
            self.entries.borrow_mut().retain(Entry::is_on);
            if self.entries.borrow().is_empty() {
                return Vec::new();
            }
        };
        if let Some((group, (_, control))) = self.group {
            let mut bytes = Vec::new();
            report(&self.flow, packets, octets, clock::now(), true, &mut bytes);
            udp.report(SocketAddr::new(group, control), &bytes);
        }
        log::debug!(target: "rtsp", "UDP viewers leave: {}", why.reason());
        self.entries.take().into_iter().map(|entry| entry.live).collect()
    }
}
