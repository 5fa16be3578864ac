//! Who asks, what he knows already, and what he is told when: by itself or together with others, to him or
//! to all.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::rivals::{is_same, of_kind};
use super::*;

/// An answer that waits for the rest of what its asker knows.
pub(super) struct Held {
    from: SocketAddr,
    link: Link,
    pub(super) masks: Vec<u8>,
    pub(super) due: Time,
}

impl Session {
    /// Writes the answer to what `masks` say: to the group, or to one asker.
    pub(super) fn answer(
        &mut self,
        p: usize,
        masks: &[u8],
        to: Option<SocketAddr>,
        plain: Option<Reader<'_>>,
    ) {
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

    pub(super) fn question(&mut self, now: Time, p: usize, from: Origin, reader: Reader<'_>) -> Option<()> {
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
    pub(super) fn release(&mut self, now: Time) {
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
}

fn merge(into: &mut [u8], from: &[u8]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into |= from;
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
