//! Who is sent to by UDP, and what comes in by it: which session a datagram belongs to, who sends to
//! whom, the reports that go beside it, and the goodbye at the end.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::cast::{self, Begun, Cast};
use super::flow::Flow;
use super::flows::Group;
use super::live::Live;
use super::session::State;
use super::sessions::Sessions;
use super::transport::Pair;
use super::udp::Udp;
use crate::media::Time;
use crate::net::clock;
use crate::net::log;
use crate::net::rtcp::{Compound, Packet};
use crate::stream::Executor;
use async_task::Task;
use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

/// The sessions, and the senders that some of them share.
pub struct Senders {
    /// All of them.
    pub sessions: Sessions,
    executor: Executor,
    udp: RefCell<Option<Rc<Udp>>>,
    casts: RefCell<Vec<Rc<Cast>>>,
    tasks: RefCell<Vec<Task<()>>>,
}

impl Senders {
    /// Without sockets.
    pub fn new(executor: Executor) -> Senders {
        let sessions = Sessions::default();
        Senders {
            sessions,
            executor,
            udp: RefCell::default(),
            casts: RefCell::default(),
            tasks: RefCell::default(),
        }
    }

    /// Sends and receives by UDP too, by this port and the next; to groups too if they have a reach.
    /// Whether groups can be sent to.
    pub fn open(self: &Rc<Self>, port: u16, ttl: Option<u8>) -> io::Result<bool> {
        let mut udp = Udp::open(port)?;
        let groups = match ttl.map(|ttl| udp.open_group(ttl)) {
            Some(Ok(())) => true,
            Some(Err(e)) => {
                log::warn!(target: "rtsp", "nothing can be sent by multicast: {e}");
                false
            }
            None => false,
        };
        let udp = Rc::new(udp);
        self.udp.replace(Some(udp.clone()));
        for control in [false, true] {
            let (udp, senders) = (udp.clone(), Rc::downgrade(self));
            let task = self.executor.spawn(async move {
                let came = |from: std::net::SocketAddr, bytes: &[u8]| {
                    let Some(senders) = senders.upgrade() else { return false };
                    senders.datagram(from.ip().to_canonical(), from.port(), bytes, clock::now());
                    true
                };
                udp.receive(control, came).await;
            });
            self.tasks.borrow_mut().push(task);
        }
        Ok(groups)
    }

    /// The UDP ports, if there are any.
    pub fn ports(&self) -> Option<Pair<u16>> {
        self.udp.borrow().as_ref().map(|u| u.ports())
    }

    /// Lets a session go.
    pub fn forget(&self, live: &Rc<Live>) {
        self.sessions.remove(live);
        self.report(live, clock::now(), true);
        live.end();
    }

    /// Begins to send a session's packets by UDP.
    pub fn begin(self: &Rc<Self>, live: &Rc<Live>) {
        let Some(udp) = self.udp.borrow().clone() else { return };
        let mut groups = Vec::new();
        for (at, port) in live.view.borrow().iter().flat_map(|view| &view.ports).enumerate() {
            if let Some(group) = port.group.filter(|_| port.multicast) {
                groups.push((at, port.flow.clone(), group));
            }
        }
        for (at, flow, group) in groups {
            self.join(&udp, live, at, flow.clone(), Some(group), 0);
            // whoever joins a group begins with what comes next
            flow.track().ask_key();
        }
        if !live.view.borrow().as_ref().is_some_and(|v| v.ports.iter().any(|p| p.udp.is_some())) {
            return;
        }
        self.report(live, clock::now(), false);
        let turn = live.next_turn();
        let (senders, live) = (Rc::downgrade(self), live.clone());
        let task = self.executor.spawn(async move {
            let begun = cast::begin(&udp, &live, turn).await;
            let Some(senders) = senders.upgrade() else { return };
            match begun {
                Begun::CaughtUp => senders.hand_over(&udp, &live),
                Begun::Closed => senders.forget(&live),
                Begun::Stopped => {}
            }
        });
        task.detach();
    }

    /// Hands a viewer who has caught up to the senders of its tracks.
    fn hand_over(self: &Rc<Self>, udp: &Rc<Udp>, live: &Rc<Live>) {
        let view = live.view.borrow();
        let Some(view) = view.as_ref() else { return };
        for (at, port) in view.ports.iter().enumerate() {
            let Some((rtp, _)) = port.udp else { continue };
            self.join(udp, live, at, port.flow.clone(), None, rtp);
        }
    }

    fn join(
        self: &Rc<Self>,
        udp: &Rc<Udp>,
        live: &Rc<Live>,
        at: usize,
        flow: Rc<Flow>,
        group: Option<Group>,
        port: u16,
    ) {
        let known = self.casts.borrow().iter().find(|c| c.is_of(&flow, group.is_some())).cloned();
        if let Some(cast) = known {
            return cast.add(udp, live, at, port);
        }
        let cast = Cast::new(flow, group.map(|(address, ports, _)| (address, ports)));
        cast.add(udp, live, at, port);
        self.casts.borrow_mut().push(cast.clone());
        let (senders, udp) = (Rc::downgrade(self), udp.clone());
        let task = self.executor.spawn(async move {
            let left = cast.run(&udp).await;
            let Some(senders) = senders.upgrade() else { return };
            senders.casts.borrow_mut().retain(|c| !Rc::ptr_eq(c, &cast));
            left.iter().for_each(|live| senders.forget(live));
        });
        task.detach();
    }

    /// Sends the reports of a session by UDP.
    pub fn report(&self, live: &Live, now: Time, bye: bool) {
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
    fn datagram(&self, address: IpAddr, port: u16, data: &[u8], now: Time) {
        for live in (0..).map_while(|place| self.sessions.at(place)) {
            if live.session.borrow().owner().address != address {
                continue;
            }
            let recording = live.session.borrow().state() == State::Recording;
            if let Some(ingest) = live.ingest.borrow_mut().as_mut().filter(|_| recording)
                && ingest.datagram(port, data, now)
            {
                live.session.borrow_mut().alive(now);
                let udp = self.udp.borrow().clone();
                ingest.ask_keys(now, |port, bytes| {
                    if let Some(udp) = &udp {
                        udp.report(udp.destination(address, port), bytes);
                    }
                });
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
            let of = view.ports.iter().find(|p| p.udp.is_some_and(|(_, control)| control == port));
            let Some(of) = of else { continue };
            for packet in Compound::new(data).filter_map(Result::ok) {
                match packet {
                    Packet::ReceiverReport { .. } => live.session.borrow_mut().alive(now),
                    Packet::KeyFrameWanted { .. } => of.flow.want_key(now),
                    _ => {}
                }
            }
            return;
        }
    }

    /// Takes a session out of all senders' lists.
    pub fn leave(&self, live: &Rc<Live>) {
        live.next_turn();
        self.casts.borrow().iter().for_each(|c| c.remove(live));
    }
}
