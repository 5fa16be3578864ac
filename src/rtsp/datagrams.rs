//! The server's side of UDP: which session a datagram belongs to, who sends to whom, and the reports
//! that go beside it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::cast::{self, Cast};
use super::flow::Flow;
use super::live::Live;
use super::server::Server;
use super::session::State;
use super::transport::Pair;
use super::udp::Udp;
use crate::media::Time;
use crate::net::rtcp::{Compound, Packet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

impl Server {
    /// Sends and receives by UDP too, by this port and the next; to groups too if they have a reach.
    pub fn open_udp(self: &Rc<Self>, port: u16, ttl: Option<u8>) -> io::Result<()> {
        let mut udp = Udp::open(port)?;
        if let Some(ttl) = ttl
            && let Err(e) = udp.open_group(ttl)
        {
            log::warn!(target: "rtsp", "nothing can be sent by multicast: {e}");
        }
        let udp = Rc::new(udp);
        self.udp.replace(Some(udp.clone()));
        for control in [false, true] {
            let (udp, server) = (udp.clone(), Rc::downgrade(self));
            let task = self.executor.spawn(async move { udp.receive(server, control).await });
            self.tasks.borrow_mut().push(task);
        }
        Ok(())
    }

    /// The UDP ports, if there are any.
    pub fn udp_ports(&self) -> Option<Pair<u16>> {
        self.udp.borrow().as_ref().map(|u| u.ports())
    }

    /// The group, ports and reach by which these packets can be had.
    pub fn group_of(&self, flow: &Flow) -> Option<(IpAddr, Pair<u16>, u8)> {
        let ttl = self.udp.borrow().as_ref()?.ttl()?;
        // of the organisation's own scope; each flow has its own
        let [a, b, c, d] = flow.ssrc().to_be_bytes();
        let group = Ipv4Addr::new(239, 255, c, d.clamp(1, 254));
        let port = 20_000 + u16::from_be_bytes([a, b]) % 10_000 * 2;
        Some((group.into(), (port, port + 1), ttl))
    }

    /// Begins to send a session's packets by UDP.
    pub fn begin_udp(self: &Rc<Self>, live: &Rc<Live>) {
        let Some(udp) = self.udp.borrow().clone() else { return };
        let groups: Vec<_> = live.view.borrow().as_ref().map_or_else(Vec::new, |view| {
            let ports = view.ports.iter().enumerate().filter(|(_, p)| p.multicast);
            ports.filter_map(|(at, p)| Some((at, p.flow.clone(), p.group?))).collect()
        });
        for (at, flow, (group, ports, _)) in groups {
            self.join_cast(&udp, live, at, flow.clone(), Some((group, ports)), 0);
            // whoever joins a group begins with what comes next
            flow.track().ask_key();
        }
        if !live.view.borrow().as_ref().is_some_and(|v| v.ports.iter().any(|p| p.udp.is_some())) {
            return;
        }
        let turn = live.next_turn();
        let task = self.executor.spawn(cast::begin(Rc::downgrade(self), udp, live.clone(), turn));
        task.detach();
    }

    /// Hands a viewer who has caught up to the senders of its tracks.
    pub(super) fn join_casts(self: &Rc<Self>, udp: &Rc<Udp>, live: &Rc<Live>) {
        let view = live.view.borrow();
        let Some(view) = view.as_ref() else { return };
        for (at, port) in view.ports.iter().enumerate() {
            let Some((rtp, _)) = port.udp else { continue };
            self.join_cast(udp, live, at, port.flow.clone(), None, rtp);
        }
    }

    fn join_cast(
        self: &Rc<Self>,
        udp: &Rc<Udp>,
        live: &Rc<Live>,
        at: usize,
        flow: Rc<Flow>,
        group: Option<(IpAddr, Pair<u16>)>,
        port: u16,
    ) {
        let known = self.casts.borrow().iter().find(|c| c.is_of(&flow, group.is_some())).cloned();
        if let Some(cast) = known {
            return cast.add(udp, live, at, port);
        }
        let cast = Cast::new(flow, group);
        cast.add(udp, live, at, port);
        self.casts.borrow_mut().push(cast.clone());
        self.executor.spawn(cast.run(Rc::downgrade(self), udp.clone())).detach();
    }

    pub(super) fn drop_cast(&self, cast: &Rc<Cast>) {
        self.casts.borrow_mut().retain(|c| !Rc::ptr_eq(c, cast));
    }

    /// Sends the reports of a session by UDP.
    pub(super) fn report(&self, live: &Live, now: Time, bye: bool) {
        let Some(udp) = self.udp.borrow().clone() else { return };
        let address = live.session.borrow().owner().address;
        if let Some(ingest) = live.ingest.borrow_mut().as_mut() {
            ingest.reports(now, |_, port, bytes| {
                if let Some(port) = port {
                    udp.report(udp.destination(address, port), bytes);
                }
            });
        }
        let mut view = live.view.borrow_mut();
        let Some(view) = view.as_mut().filter(|v| v.playing && !v.is_bound()) else { return };
        if !bye && !view.report_due(now) {
            return;
        }
        let mut bytes = Vec::new();
        for (at, port) in view.ports.iter().enumerate() {
            let Some((_, control)) = port.udp else { continue };
            bytes.clear();
            view.report(at, now, bye, &mut bytes);
            udp.report(udp.destination(address, control), &bytes);
        }
    }

    /// A datagram: a publisher's packet, or a sign of life of a viewer.
    pub(super) fn datagram(&self, address: IpAddr, port: u16, data: &[u8], now: Time) {
        let of_peer = |l: &&Rc<Live>| l.session.borrow().owner().address == address;
        let lives: Vec<Rc<Live>> = self.sessions.borrow().iter().filter(of_peer).cloned().collect();
        for live in lives {
            let recording = live.session.borrow().state() == State::Recording;
            if let Some(ingest) = live.ingest.borrow_mut().as_mut().filter(|_| recording)
                && ingest.datagram(port, data, now)
            {
                live.session.borrow_mut().alive(now);
                return;
            }
            let mut view = live.view.borrow_mut();
            let Some(view) = view.as_mut() else { continue };
            if let Some(back) = view.back.as_mut().filter(|b| b.udp.is_some_and(|(rtp, _)| rtp == port)) {
                if view.playing {
                    live.session.borrow_mut().alive(now);
                    back.packet(data, now);
                }
                return;
            }
            let at = view.ports.iter().position(|p| p.udp.is_some_and(|(_, control)| control == port));
            let Some(at) = at else { continue };
            for packet in Compound::new(data).filter_map(Result::ok) {
                match packet {
                    Packet::ReceiverReport { .. } => live.session.borrow_mut().alive(now),
                    Packet::KeyFrameWanted { .. } => {
                        view.reader.track(at).map(|t| t.ask_key());
                    }
                    _ => {}
                }
            }
            return;
        }
    }

    /// Takes a session out of all senders' lists.
    pub(super) fn leave_casts(&self, live: &Rc<Live>) {
        live.next_turn();
        self.casts.borrow().iter().for_each(|c| c.remove(live));
    }
}
