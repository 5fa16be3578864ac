//! When we say what, and to whom (RFC 6762 sections 5 to 10): each name is probed for three times on
//! each link, announced twice, defended, changed when another has it, and taken back at the end. Packets,
//! changes of the network and time go in; packets and the next deadline come out. A link is one
//! interface by one protocol. It never waits, and its chance comes from the seed it was given.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod answers;
mod rivals;

use super::claim::{Claim, Invalid, Ours, Service, bit, ttl, wire_txt};
use super::interfaces::Interface;
use super::message::{
    A, AAAA, ANY, IN, PTR, RESPONSE, Reader, Record, SRV, Section, TOP, TRUNCATED, TXT, Writer,
};
use crate::media::Time;
use crate::net::limits::{MDNS_ASKERS, MDNS_PACKET, MDNS_SERVICES, MDNS_UNICAST};
use answers::Held;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The port of everybody who speaks mDNS and not just DNS.
pub const PORT: u16 = 5353;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Between two probes, and after the last.
const PROBE: Duration = ms(250);
/// Between two announcements, two tries of a lost tie, and two multicasts of one record.
const SECOND: Duration = ms(1000);
/// Conflicts in a row before trying gets slow, and how slow.
const CONFLICTS: u8 = 15;
const SLOW: Duration = ms(5000);

/// Steps of a name on a link: probes at 0, 1 and 2; at 3 the last one's answers are waited for; from
/// here it is ours, announced at once and a second later; done.
const OURS: u8 = 4;
const DONE: u8 = 6;

/// One interface by one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for the interface.
    pub index: u32,
    /// By IPv6.
    pub v6: bool,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// By which link.
    pub link: Link,
    /// To whom; to the group if to nobody.
    pub to: Option<SocketAddr>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// By which link.
    pub link: Link,
    /// From whom.
    pub address: SocketAddr,
    /// To the group, not to us alone.
    pub multicast: bool,
}

/// A name on a link.
#[derive(Clone, Default)]
struct Slot {
    /// How far it is, and when the next step is due.
    step: u8,
    due: Time,
    /// What is to be multicast, and when.
    want: u8,
    want_at: Time,
    /// Somebody is about to take the name: no time to lose.
    defend: bool,
    /// When each record was last multicast.
    sent: [Option<Time>; bit::COUNT],
}

struct Place {
    link: Link,
    interface: Interface,
    addresses: Vec<IpAddr>,
    /// As many as there are claims.
    slots: Vec<Slot>,
    /// How often it could not send.
    failures: u8,
}

impl Place {
    fn has(&self) -> u8 {
        let v4 = if self.addresses.iter().any(IpAddr::is_ipv4) { bit::A } else { 0 };
        let v6 = if self.addresses.iter().any(IpAddr::is_ipv6) { bit::AAAA } else { 0 };
        v4 | v6 | bit::PTR | bit::SRV | bit::TXT | bit::KIND
    }
}

/// The whole responder without its sockets.
pub struct Session {
    /// The host first, then services.
    claims: Vec<Claim>,
    places: Vec<Place>,
    held: Vec<Held>,
    out: Vec<Packet>,
    /// Marks of what was multicast lately, to know it when it comes back by loop or another interface.
    own: [(u32, Time); 32],
    own_next: usize,
    unicasts: u32,
    unicasts_since: Time,
    last_id: u32,
    renamed: Vec<u32>,
    random: u64,
}

fn mark(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

impl Session {
    /// One without services and links. The seed is any number that other cameras do not have.
    pub fn new(host: &str, seed: u64) -> Session {
        Session {
            claims: vec![Claim::host(host)],
            places: Vec::new(),
            held: Vec::new(),
            out: Vec::new(),
            own: [(0, Time::ZERO); 32],
            own_next: 0,
            unicasts: 0,
            unicasts_since: Time::ZERO,
            last_id: 0,
            renamed: Vec::new(),
            random: seed | 1,
        }
    }

    fn chance(&mut self, from: u64, to: u64) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ms(from + (self.random >> 32) % (to - from + 1))
    }

    /// Whether there is nothing to announce.
    pub fn is_empty(&self) -> bool {
        self.claims.len() < 2
    }

    /// Announces a service from now on.
    pub fn add(&mut self, now: Time, service: &Service) -> Result<u32, Invalid> {
        if self.claims.len() > MDNS_SERVICES {
            return Err(Invalid::Full);
        }
        let id = self.last_id.wrapping_add(1);
        let mut claim = Claim::service(id, service)?;
        while self.claims.iter().any(|c| c.name.eq_ignore_ascii_case(&claim.name)) {
            claim.rename(claim.number.wrapping_add(1).max(2));
        }
        self.last_id = id;
        self.claims.push(claim);
        let chance = now + self.chance(0, 250);
        for place in &mut self.places {
            // together with what is about to begin there
            let begin = place.slots.iter().filter(|s| s.step == 0 && s.due > now).map(|s| s.due).min();
            let due = begin.unwrap_or(chance);
            if let Some(host) = place.slots.first_mut()
                && host.step == 0
            {
                host.due = host.due.max(due);
            }
            place.slots.push(Slot { due, ..Slot::default() });
        }
        for held in &mut self.held {
            held.masks.push(0);
        }
        Ok(id)
    }

    fn at(&self, id: u32) -> Option<usize> {
        self.claims.iter().position(|c| c.id == id && !c.is_host())
    }

    /// Other attributes, told at once.
    pub fn set_txt(&mut self, now: Time, id: u32, txt: &[String]) -> Result<(), Invalid> {
        let txt = wire_txt(txt)?;
        let Some(n) = self.at(id) else { return Ok(()) };
        if let Some(claim) = self.claims.get_mut(n)
            && claim.txt != txt
        {
            claim.txt = txt;
            for slot in self.places.iter_mut().filter_map(|p| p.slots.get_mut(n)) {
                if slot.step >= OURS {
                    (slot.step, slot.due) = (OURS, now);
                }
            }
        }
        Ok(())
    }

    /// What a service is called now, or the host if it is 0; another may have had the name.
    pub fn name(&self, id: u32) -> Option<String> {
        self.claims.iter().find(|c| c.id == id).map(Claim::shown)
    }

    /// Takes a service back.
    pub fn remove(&mut self, id: u32) {
        let Some(n) = self.at(id) else { return };
        let kind = self.claims.get(n).map(|c| c.kind.clone()).unwrap_or_default();
        let others = self.claims.iter().filter(|c| c.kind == kind).count();
        let without = if others > 1 { bit::KIND } else { 0 };
        let last = self.claims.len() == 2;
        for p in 0..self.places.len() {
            let mut parting = Parting::new(self, p);
            parting.say(n, !without);
            if last {
                parting.say(0, bit::A | bit::AAAA);
            }
            parting.finish();
        }
        self.claims.remove(n);
        for place in &mut self.places {
            place.slots.remove(n);
            if last {
                place.slots.fill(Slot::default());
            }
        }
        for held in &mut self.held {
            held.masks.remove(n);
        }
    }

    /// Takes everything back.
    pub fn remove_all(&mut self) {
        while let Some(id) = self.claims.get(1).map(|c| c.id) {
            self.remove(id);
        }
    }

    /// The new name of a service, or of the host, that another had before.
    pub fn take_renamed(&mut self) -> Option<String> {
        let id = self.renamed.pop()?;
        self.name(id)
    }

    /// The interfaces as they are now, all of them. The two flags say which protocols we can speak.
    pub fn set_interfaces(&mut self, now: Time, interfaces: &[Interface], v4: bool, v6: bool) {
        let mut links = Vec::new();
        for interface in interfaces {
            for by_v6 in [false, true] {
                let speaks = interface.addresses.iter().any(|(a, _)| a.is_ipv6() == by_v6);
                if speaks && if by_v6 { v6 } else { v4 } {
                    links.push((Link { index: interface.index, v6: by_v6 }, interface));
                }
            }
        }
        self.places.retain(|p| links.iter().any(|(link, _)| *link == p.link));
        for (link, interface) in links {
            let addresses: Vec<IpAddr> = interface.addresses.iter().map(|(a, _)| *a).collect();
            if let Some(p) = self.places.iter().position(|p| p.link == link) {
                self.move_to(now, p, interface, addresses);
            } else {
                let due = now + self.chance(0, 250);
                let slots = vec![Slot { due, ..Slot::default() }; self.claims.len()];
                self.places.push(Place { link, interface: interface.clone(), addresses, slots, failures: 0 });
            }
        }
    }

    /// An interface has other addresses than before: those that went are taken back, the others told.
    fn move_to(&mut self, now: Time, p: usize, interface: &Interface, addresses: Vec<IpAddr>) {
        let Some(place) = self.places.get_mut(p) else { return };
        place.interface.clone_from(interface);
        if place.addresses == addresses {
            return;
        }
        let before = std::mem::replace(&mut place.addresses, addresses.clone());
        let gone: Vec<IpAddr> = before.into_iter().filter(|a| !addresses.contains(a)).collect();
        if !gone.is_empty() {
            place.addresses = gone;
            let mut parting = Parting::new(self, p);
            parting.say(0, bit::A | bit::AAAA);
            parting.finish();
        }
        if let Some(place) = self.places.get_mut(p) {
            place.addresses = addresses;
            if let Some(host) = place.slots.first_mut()
                && host.step >= OURS
            {
                (host.step, host.due) = (OURS, now);
            }
        }
    }

    /// A link could not send: all that we are is told again there, a little later, and later each time.
    pub fn link_failed(&mut self, now: Time, link: Link) {
        let Some(place) = self.places.iter_mut().find(|p| p.link == link) else { return };
        let due = now + (2 * SECOND) * (1 << place.failures.min(5));
        place.failures = place.failures.saturating_add(1);
        place.slots.fill(Slot { due, ..Slot::default() });
    }

    /// What is to be sent now is appended to `out`; the answer is when to come back.
    pub fn poll(&mut self, now: Time, out: &mut Vec<Packet>) -> Option<Time> {
        self.release(now);
        for p in 0..self.places.len() {
            self.probe(now, p);
            self.announce(now, p);
            self.multicast(now, p);
        }
        for packet in self.out.iter().filter(|packet| packet.to.is_none()) {
            if let Some(own) = self.own.get_mut(self.own_next % 32) {
                *own = (mark(&packet.bytes), now);
            }
            self.own_next = self.own_next.wrapping_add(1);
        }
        out.append(&mut self.out);
        for place in &mut self.places {
            if place.slots.first().is_some_and(|s| s.step >= DONE) {
                place.failures = 0;
            }
        }
        let mut due = Due(None);
        for slot in self.places.iter().flat_map(|p| &p.slots) {
            due.at(slot.due, slot.step < DONE);
            due.at(slot.want_at, slot.want != 0);
        }
        for held in &self.held {
            due.at(held.due, true);
        }
        if self.is_empty() { None } else { due.0 }
    }

    /// Asks whether a name is free, as many names in a packet as have room.
    fn probe(&mut self, now: Time, p: usize) {
        let Some(place) = self.places.get_mut(p) else { return };
        if self.claims.len() < 2 {
            return;
        }
        let host = self.claims.first().map(|c| c.name.clone()).unwrap_or_default();
        let mut n = 0;
        while n < self.claims.len() {
            let (mut due, mut room) = (Vec::new(), MDNS_PACKET - 12);
            while let (Some(claim), Some(slot)) = (self.claims.get(n), place.slots.get_mut(n)) {
                if slot.step < OURS - 1 && slot.due <= now {
                    // name, host, sixteen bytes around each, as if nothing were compressed
                    let size = 2 * claim.name.len() + host.len() + claim.txt.len() + 300;
                    if size > room && !due.is_empty() {
                        break;
                    }
                    room = room.saturating_sub(size);
                    slot.step += 1;
                    slot.due = now + PROBE;
                    // only the first asks to be told alone: such an answer may reach another on our port
                    due.push((n, claim, if slot.step == 1 { IN | TOP } else { IN }));
                }
                n += 1;
            }
            let mut w = Writer::new(0, 0, MDNS_PACKET);
            for (_, claim, class) in &due {
                w.question(&claim.name, ANY, *class);
            }
            for (_, claim, _) in &due {
                claim.each(claim.unique(), &host, &place.addresses, &mut |r| {
                    w.record(Section::Authority, r.name, r.kind, IN, ttl(r.bit), r.data);
                });
            }
            if !w.is_empty() {
                self.out.push(Packet { link: place.link, to: None, bytes: w.finish() });
            }
        }
    }

    fn announce(&mut self, now: Time, p: usize) {
        let Some(place) = self.places.get_mut(p) else { return };
        for (slot, claim) in place.slots.iter_mut().zip(&mut self.claims) {
            if (OURS - 1..DONE).contains(&slot.step) && slot.due <= now {
                slot.step = slot.step.max(OURS) + 1;
                slot.due = now + SECOND;
                slot.want |= claim.all();
                slot.want_at = now;
            }
        }
    }

    /// Multicasts what is due on a link, no record twice within a second.
    fn multicast(&mut self, now: Time, p: usize) {
        let mut masks = vec![0; self.claims.len()];
        let Some(place) = self.places.get_mut(p) else { return };
        for (slot, mask) in place.slots.iter_mut().zip(&mut masks) {
            if slot.want == 0 || slot.want_at > now {
                continue;
            }
            let pause = if slot.defend { PROBE } else { SECOND };
            let mut later = None;
            for n in 0..bit::COUNT {
                let Some(sent) = slot.sent.get_mut(n) else { continue };
                if slot.want & (1 << n) == 0 {
                    continue;
                }
                match *sent {
                    Some(then) if then + pause > now => {
                        later = Some(later.map_or(then + pause, |l: Time| l.min(then + pause)));
                    }
                    _ => {
                        *mask |= 1 << n;
                        *sent = Some(now);
                    }
                }
            }
            slot.want &= !*mask;
            slot.defend &= slot.want != 0;
            slot.want_at = later.unwrap_or(now);
        }
        if masks.iter().any(|m| *m != 0) {
            self.answer(p, &masks, None, None);
        }
    }

    /// A packet has come in.
    pub fn input(&mut self, now: Time, from: Origin, bytes: &[u8]) {
        let Some(p) = self.places.iter().position(|p| p.link == from.link) else { return };
        let near = |place: &Place| place.interface.is_neighbour(from.address.ip().to_canonical());
        if !from.multicast && !self.places.get(p).is_some_and(near) {
            return;
        }
        let Some(reader) = Reader::new(bytes) else { return };
        // other operations and errors are nobody's business here
        if reader.flags & 0x780f != 0 || self.is_own(now, bytes) {
            return;
        }
        if reader.flags & 0x8000 == 0 {
            self.question(now, p, from, reader);
        } else if from.address.port() == PORT {
            self.response(now, p, reader);
        }
    }

    fn is_own(&self, now: Time, bytes: &[u8]) -> bool {
        let mark = mark(bytes);
        self.own.iter().any(|(own, then)| *own == mark && now.since(*then) < SLOW)
    }
}

/// The soonest of times.
struct Due(Option<Time>);

impl Due {
    fn at(&mut self, time: Time, counts: bool) {
        if counts && self.0.is_none_or(|soonest| time < soonest) {
            self.0 = Some(time);
        }
    }
}

/// A packet that takes records back on one link.
struct Parting<'a> {
    session: &'a mut Session,
    place: usize,
    writer: Writer,
}

impl<'a> Parting<'a> {
    fn new(session: &'a mut Session, place: usize) -> Parting<'a> {
        Parting { session, place, writer: Writer::new(0, RESPONSE, MDNS_PACKET) }
    }

    /// What was never said is not taken back.
    fn say(&mut self, n: usize, bits: u8) {
        let (Some(place), Some(claim), Some(host)) =
            (self.session.places.get(self.place), self.session.claims.get(n), self.session.claims.first())
        else {
            return;
        };
        if place.slots.get(n).is_some_and(|s| s.step >= OURS) {
            claim.each(bits & claim.all(), &host.name, &place.addresses, &mut |r| {
                let class = if r.bit & bit::SHARED == 0 { IN | TOP } else { IN };
                self.writer.record(Section::Answer, r.name, r.kind, class, 0, r.data);
            });
        }
    }

    fn finish(self) {
        if let Some(place) = self.session.places.get(self.place)
            && !self.writer.is_empty()
        {
            let packet = Packet { link: place.link, to: None, bytes: self.writer.finish() };
            self.session.out.push(packet);
        }
    }
}
