//! Others who want a name of ours, or have it: ties, conflicts, and another name for what lost.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::*;

impl Session {
    /// Whether another's claim to a name, put in a probe, comes before ours (RFC 6762 8.2).
    pub(super) fn loses(&self, p: usize, n: usize, mut r: Reader<'_>, authorities: u16) -> Option<bool> {
        let (claim, place) = (self.claims.get(n)?, self.places.get(p)?);
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        let mut data = Vec::new();
        for _ in 0..authorities {
            let record = r.record()?;
            if record.name.is(&claim.name) && theirs.len() < 16 && r.data(&record, &mut data).is_some() {
                enter(&mut theirs, (record.class & !TOP, record.kind, data.clone()));
            }
        }
        let host = &self.claims.first()?.name;
        claim.each(claim.unique(), host, &place.addresses, &mut |r| {
            enter(&mut ours, (IN, r.kind, r.data.to_vec()))
        });
        Some(theirs > ours)
    }

    /// Looks for others who say what only we may say.
    pub(super) fn response(&mut self, now: Time, p: usize, mut r: Reader<'_>) -> Option<()> {
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

/// Puts a record where it belongs in order.
fn enter(records: &mut Vec<(u16, u16, Vec<u8>)>, record: (u16, u16, Vec<u8>)) {
    let at = records.partition_point(|known| *known < record);
    records.insert(at, record);
}

/// The bits of a type of record.
pub(super) fn of_kind(kind: u16) -> u8 {
    match kind {
        PTR => bit::PTR | bit::KIND,
        SRV => bit::SRV,
        TXT => bit::TXT,
        A => bit::A,
        AAAA => bit::AAAA,
        _ => 0,
    }
}

/// Whether two records' data say the same: names in whatever case.
pub(super) fn is_same(kind: u16, a: &[u8], b: &[u8]) -> bool {
    match kind {
        SRV | PTR => a.eq_ignore_ascii_case(b),
        _ => a == b,
    }
}
