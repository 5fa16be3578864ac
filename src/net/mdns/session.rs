//! When we say what, and to whom (RFC 6762 sections 5 to 10): each name is probed for three times on
//! each link, announced twice, defended, changed when another has it, and taken back at the end. Packets,
//! changes of the network and time go in; packets and the next deadline come out. A link is one
//! interface by one protocol. It never waits, and its chance comes from the seed it was given.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::claim::{Claim, Invalid, Ours, Service, bit, ttl, wire_txt};
use super::interfaces::Interface;
use super::message::{
    A, AAAA, ANY, IN, PTR, RESPONSE, Reader, Record, SRV, Section, TOP, TRUNCATED, TXT, Writer,
};
use crate::media::Time;
use crate::net::limits::{MDNS_ASKERS, MDNS_PACKET, MDNS_SERVICES, MDNS_UNICAST};
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

/// An answer that waits for the rest of what its asker knows.
struct Held {
    from: SocketAddr,
    link: Link,
    masks: Vec<u8>,
    due: Time,
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
        let slots = self.places.iter().flat_map(|p| &p.slots);
        let steps = slots.clone().filter(|s| s.step < DONE).map(|s| s.due);
        let wants = slots.filter(|s| s.want != 0).map(|s| s.want_at);
        let due = steps.chain(wants).chain(self.held.iter().map(|h| h.due)).min();
        if self.is_empty() { None } else { due }
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

    /// Writes the answer to what `masks` say: to the group, or to one asker.
    fn answer(&mut self, p: usize, masks: &[u8], to: Option<SocketAddr>, plain: Option<Reader<'_>>) {
        let (Some(place), Some(host)) = (self.places.get(p), self.claims.first()) else { return };
        let (link, addresses) = (place.link, &place.addresses);
        // plain DNS: one packet with its number, its questions, short lives and no word of caches
        let begin = || {
            let id = plain.as_ref().map_or(0, |r| r.id);
            let mut w = Writer::new(id, RESPONSE, MDNS_PACKET);
            if let Some(mut r) = plain.clone() {
                w.plain_srv = true;
                for _ in 0..r.counts.first().copied().unwrap_or(0) {
                    let Some(q) = r.question() else { break };
                    w.question(q.name.wire(), q.kind, q.class & !TOP);
                }
            }
            w
        };
        let put = |w: &mut Writer, section, r: &Ours<'_>| {
            let (class, ttl) = match plain {
                Some(_) => (IN, ttl(r.bit).min(10)),
                None if r.bit & bit::SHARED == 0 => (IN | TOP, ttl(r.bit)),
                None => (IN, ttl(r.bit)),
            };
            w.record(section, r.name, r.kind, class, ttl, r.data)
        };
        let mut w = begin();
        let mut kinds: Vec<&[u8]> = Vec::new();
        let has = place.has();
        let mut more = vec![0u8; masks.len()];
        for (claim, mask) in self.claims.iter().zip(masks) {
            let mut mask = *mask;
            if mask & bit::KIND != 0 {
                if kinds.contains(&&claim.kind[..]) {
                    mask &= !bit::KIND;
                }
                kinds.push(&claim.kind);
            }
            claim.each(mask, &host.name, addresses, &mut |r| {
                if !put(&mut w, Section::Answer, &r) && plain.is_none() {
                    let full = std::mem::replace(&mut w, begin());
                    self.out.push(Packet { link, to, bytes: full.finish() });
                    put(&mut w, Section::Answer, &r);
                }
            });
        }
        // what the asker will want to know next, if there is room
        let mut of_host = 0;
        for ((mask, more), _) in masks.iter().zip(&mut more).zip(&self.claims).skip(1) {
            if mask & bit::PTR != 0 {
                *more = (bit::SRV | bit::TXT) & !mask;
            }
            if (mask | *more) & bit::SRV != 0 {
                of_host = bit::A | bit::AAAA | bit::NSEC;
            }
        }
        if let (Some(mask), Some(more)) = (masks.first(), more.first_mut()) {
            if mask & (bit::A | bit::AAAA) != 0 {
                of_host = bit::A | bit::AAAA | bit::NSEC;
            }
            if has & of_host & (bit::A | bit::AAAA) == bit::A | bit::AAAA {
                of_host &= !bit::NSEC;
            }
            *more = of_host & !mask;
        }
        for (claim, more) in self.claims.iter().zip(&more) {
            claim.each(*more, &host.name, addresses, &mut |r| {
                put(&mut w, Section::Additional, &r);
            });
        }
        self.out.push(Packet { link, to, bytes: w.finish() });
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

    fn question(&mut self, now: Time, p: usize, from: Origin, reader: Reader<'_>) -> Option<()> {
        let [questions, answers, authorities, _] = reader.counts;
        let mut r = reader.clone();
        let place = self.places.get(p)?;
        let has = place.has();
        let none = vec![0u8; self.claims.len()];
        let (mut to_all, mut to_one) = (none.clone(), none);
        let mut contested = Vec::new();
        for _ in 0..questions {
            let q = r.question()?;
            if !matches!(q.class & !TOP, IN | ANY) {
                continue;
            }
            let is = |wire: &[u8]| q.name.is(wire);
            for (n, (claim, slot)) in self.claims.iter().zip(&place.slots).enumerate() {
                if slot.step < OURS {
                    if authorities > 0 && slot.step > 0 && is(&claim.name) && !contested.contains(&n) {
                        contested.push(n);
                    }
                    continue;
                }
                let bits = claim.answers(&is, q.kind, has);
                let masks = if q.class & TOP != 0 { &mut to_one } else { &mut to_all };
                if let Some(mask) = masks.get_mut(n) {
                    *mask |= bits;
                }
            }
        }
        // what the asker knows already
        let legacy = from.address.port() != PORT;
        let mut known = Known::default();
        let mut data = Vec::new();
        for _ in 0..answers {
            let record = r.record()?;
            if r.data(&record, &mut data).is_some() {
                known.hear(&self.claims, place, &record, &data);
            }
        }
        let more = reader.flags & TRUNCATED != 0 && !legacy;
        let held = self.held.iter().position(|h| h.from == from.address && h.link == from.link);
        if let Some(held) = held.and_then(|i| self.held.get_mut(i)) {
            known.strike(place, &mut held.masks);
        }
        known.strike(place, &mut to_all);
        known.strike(place, &mut to_one);
        // ties: both probe for a name at once
        let lost: Vec<usize> = contested
            .into_iter()
            .filter(|&n| self.loses(p, n, r.clone(), authorities).unwrap_or(false))
            .collect();
        if more {
            let due = now + self.chance(400, 500);
            let asks = to_all.iter().chain(&to_one).any(|m| *m != 0);
            if held.is_none() && asks && self.held.len() < MDNS_ASKERS {
                let masks = vec![0; self.claims.len()];
                self.held.push(Held { from: from.address, link: from.link, masks, due });
            }
            let last = self.held.len().wrapping_sub(1);
            if let Some(held) = self.held.get_mut(held.unwrap_or(last))
                && held.from == from.address
            {
                held.due = due;
                merge(&mut held.masks, &to_all);
                merge(&mut held.masks, &to_one);
                to_all.fill(0);
                to_one.fill(0);
            }
        }
        for n in lost {
            // here only: on another link it may be ours, and is defended there
            if let Some(slot) = self.places.get_mut(p).and_then(|p| p.slots.get_mut(n)) {
                *slot = Slot { due: now + SECOND, ..Slot::default() };
            }
        }
        if legacy {
            merge(&mut to_one, &to_all);
            to_all.fill(0);
        } else {
            self.spread(now, p, &mut to_one, &mut to_all);
        }
        if to_one.iter().any(|m| *m != 0) && self.may_unicast(now) {
            self.answer(p, &to_one, Some(from.address), legacy.then_some(reader));
        }
        self.want(now, p, &to_all, authorities > 0);
        Some(())
    }

    /// What nobody was told for a quarter of its life is told to all, whoever asked alone.
    fn spread(&self, now: Time, p: usize, to_one: &mut [u8], to_all: &mut [u8]) {
        let Some(place) = self.places.get(p) else { return };
        for ((one, all), slot) in to_one.iter_mut().zip(to_all).zip(&place.slots) {
            for (n, sent) in slot.sent.iter().enumerate() {
                let bit = 1u8 << n;
                let quarter = Duration::from_secs(u64::from(ttl(bit) / 4));
                if *one & bit != 0 && bit != bit::NSEC && sent.is_none_or(|then| then + quarter < now) {
                    *one &= !bit;
                    *all |= bit;
                }
            }
        }
    }

    fn may_unicast(&mut self, now: Time) -> bool {
        if now.since(self.unicasts_since) > SECOND {
            (self.unicasts, self.unicasts_since) = (0, now);
        }
        self.unicasts += 1;
        self.unicasts <= MDNS_UNICAST
    }

    /// Puts answers in line: what only we can say at once, what others say too a little later.
    fn want(&mut self, now: Time, p: usize, masks: &[u8], defend: bool) {
        let shared = now + self.chance(20, 120);
        let Some(place) = self.places.get_mut(p) else { return };
        // one packet for all that waits anyway
        let waiting = place.slots.iter().filter(|s| s.want != 0).map(|s| s.want_at);
        let shared = waiting.filter(|at| *at >= now && *at < shared).max().unwrap_or(shared);
        for (slot, mask) in place.slots.iter_mut().zip(masks).filter(|(_, mask)| **mask != 0) {
            let at = if mask & bit::SHARED == 0 { now } else { shared };
            slot.want_at = if slot.want == 0 { at } else { at.min(slot.want_at) };
            slot.want |= mask;
            slot.defend |= defend;
        }
    }

    /// Answers those whose known answers have all come.
    fn release(&mut self, now: Time) {
        while let Some(i) = self.held.iter().position(|h| h.due <= now) {
            let held = self.held.swap_remove(i);
            if let Some(p) = self.places.iter().position(|p| p.link == held.link) {
                self.want(now, p, &held.masks, false);
                // they have waited long enough
                for slot in self.places.get_mut(p).into_iter().flat_map(|p| &mut p.slots) {
                    slot.want_at = slot.want_at.min(now);
                }
            }
        }
    }

    /// Whether another's claim to a name, put in a probe, comes before ours (RFC 6762 8.2).
    fn loses(&self, p: usize, n: usize, mut r: Reader<'_>, authorities: u16) -> Option<bool> {
        let (claim, place) = (self.claims.get(n)?, self.places.get(p)?);
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        let mut data = Vec::new();
        for _ in 0..authorities {
            let record = r.record()?;
            if record.name.is(&claim.name) && theirs.len() < 16 && r.data(&record, &mut data).is_some() {
                theirs.push((record.class & !TOP, record.kind, data.clone()));
            }
        }
        let host = &self.claims.first()?.name;
        claim.each(claim.unique(), host, &place.addresses, &mut |r| ours.push((IN, r.kind, r.data.to_vec())));
        theirs.sort();
        ours.sort();
        Some(theirs > ours)
    }

    /// Looks for others who say what only we may say.
    fn response(&mut self, now: Time, p: usize, mut r: Reader<'_>) -> Option<()> {
        let mut data = Vec::new();
        for _ in 0..r.counts.first().copied()? {
            r.question()?;
        }
        let [_, answers, authorities, additional] = r.counts;
        for _ in 0..u32::from(answers) + u32::from(authorities) + u32::from(additional) {
            let record = r.record()?;
            if record.class & !TOP != IN || record.ttl == 0 || r.data(&record, &mut data).is_none() {
                continue;
            }
            let Some(n) = self.claims.iter().position(|c| record.name.is(&c.name)) else { continue };
            if self.is_conflict(n, &record, &data) {
                self.conflict(now, p, n);
            }
        }
        Some(())
    }

    fn is_conflict(&self, n: usize, record: &Record, data: &[u8]) -> bool {
        let (Some(claim), Some(host)) = (self.claims.get(n), self.claims.first()) else { return false };
        let bits = claim.unique() & of_kind(record.kind);
        if bits == 0 {
            return false;
        }
        // an address is ours on whichever interface
        let mut same = false;
        for place in &self.places {
            claim.each(bits, &host.name, &place.addresses, &mut |r| {
                same |= is_same(r.kind, r.data, data);
            });
        }
        !same
    }

    /// Another has a name of ours. While we only asked for it, it is theirs; once it was ours, we ask
    /// again: who does not answer is gone, and who does keeps it.
    fn conflict(&mut self, now: Time, p: usize, n: usize) {
        let step = self.places.get(p).and_then(|p| p.slots.get(n)).map_or(0, |s| s.step);
        if step == 0 {
            // nothing was asked yet: the probe will tell
            return;
        }
        let Some(claim) = self.claims.get_mut(n) else { return };
        if now.since(claim.conflict_at) > 2 * SLOW {
            claim.conflicts = 0;
        }
        claim.conflict_at = now;
        claim.conflicts = claim.conflicts.saturating_add(1);
        let slow = claim.conflicts > CONFLICTS;
        if step < OURS {
            let (mut number, id) = (claim.number, claim.id);
            if !self.renamed.contains(&id) {
                self.renamed.push(id);
            }
            loop {
                number = number.wrapping_add(1).max(2);
                if let Some(claim) = self.claims.get_mut(n) {
                    claim.rename(number);
                }
                let Some(name) = self.claims.get(n).map(|c| &c.name) else { return };
                if self.claims.iter().filter(|c| c.name.eq_ignore_ascii_case(name)).count() < 2 {
                    break;
                }
            }
        }
        let due = if slow { now + SLOW } else { now + self.chance(0, 250) };
        if step >= OURS {
            if let Some(slot) = self.places.get_mut(p).and_then(|p| p.slots.get_mut(n)) {
                *slot = Slot { due, ..Slot::default() };
            }
            return;
        }
        self.restart(n, due);
        if n == 0 {
            // every service names its host
            for n in 1..self.claims.len() {
                self.restart(n, due);
            }
        }
    }

    fn restart(&mut self, n: usize, due: Time) {
        for slot in self.places.iter_mut().filter_map(|p| p.slots.get_mut(n)) {
            *slot = Slot { due, ..Slot::default() };
        }
    }
}

/// The bits of a type of record.
fn of_kind(kind: u16) -> u8 {
    match kind {
        PTR => bit::PTR | bit::KIND,
        SRV => bit::SRV,
        TXT => bit::TXT,
        A => bit::A,
        AAAA => bit::AAAA,
        _ => 0,
    }
}

fn merge(into: &mut [u8], from: &[u8]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into |= from;
    }
}

/// Whether two records' data say the same: names in whatever case.
fn is_same(kind: u16, a: &[u8], b: &[u8]) -> bool {
    match kind {
        SRV | PTR => a.eq_ignore_ascii_case(b),
        _ => a == b,
    }
}

/// What an asker said to know of ours, and will know for half its life yet.
#[derive(Default)]
struct Known {
    heard: Vec<u8>,
    /// Of the host's addresses, by their place.
    addresses: u32,
}

impl Known {
    fn hear(&mut self, claims: &[Claim], place: &Place, record: &Record, data: &[u8]) {
        let Some(host) = claims.first() else { return };
        let all = place.addresses.iter().enumerate();
        if record.name.is(&host.name) {
            for (n, _) in all.filter(|(_, a)| match a {
                IpAddr::V4(a) => record.kind == A && data == a.octets(),
                IpAddr::V6(a) => record.kind == AAAA && data == a.octets(),
            }) {
                if record.ttl >= ttl(bit::A) / 2 {
                    self.addresses |= 1 << n.min(31);
                }
            }
            return;
        }
        self.heard.resize(claims.len(), 0);
        for (claim, heard) in claims.iter().zip(&mut self.heard).skip(1) {
            claim.each(claim.all() & of_kind(record.kind), &host.name, &[], &mut |r| {
                if record.ttl >= ttl(r.bit) / 2 && record.name.is(r.name) && is_same(r.kind, r.data, data) {
                    *heard |= r.bit;
                }
            });
        }
    }

    /// Takes it out of what is to be answered; addresses only if all of their kind are known.
    fn strike(&self, place: &Place, masks: &mut [u8]) {
        for (mask, heard) in masks.iter_mut().zip(&self.heard) {
            *mask &= !heard;
        }
        let Some(mask) = masks.first_mut().filter(|_| self.addresses != 0) else { return };
        for (v6, bit) in [(false, bit::A), (true, bit::AAAA)] {
            let mut of_kind = place.addresses.iter().enumerate().filter(|(_, a)| a.is_ipv6() == v6);
            if of_kind.all(|(n, _)| self.addresses & (1 << n.min(31)) != 0) {
                *mask &= !bit;
            }
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
