//! What we say: a service or the host, and the records that each consists of. Pure.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::message::{A, AAAA, NSEC, PTR, SRV, TXT, wire_name};
use crate::media::Time;
use crate::net::limits::MDNS_TXT;
use std::fmt;
use std::net::IpAddr;

/// Something that is to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// What it speaks: `_hap._tcp`.
    pub kind: String,
    /// What people see; a number is added where another has the name already.
    pub name: String,
    /// Where it listens.
    pub port: u16,
    /// `key=value`, each of at most 255 bytes.
    pub txt: Vec<String>,
}

/// Why a service cannot be announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The kind.
    Kind,
    /// The name.
    Name,
    /// The attributes.
    Txt,
    /// There are too many already.
    Full,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invalid::Kind => "a service's kind is '_name._tcp' or '_name._udp' with at most 15 letters",
            Invalid::Name => "a service needs a name",
            Invalid::Txt => "attributes have at most 255 bytes each and 1000 in all",
            Invalid::Full => "no more services can be announced",
        })
    }
}

impl std::error::Error for Invalid {}

/// The attributes in their wire form.
pub(super) fn wire_txt(txt: &[String]) -> Result<Vec<u8>, Invalid> {
    let mut out = Vec::new();
    for entry in txt.iter().filter(|e| !e.is_empty()) {
        out.push(u8::try_from(entry.len()).map_err(|_| Invalid::Txt)?);
        out.extend_from_slice(entry.as_bytes());
        if out.len() > MDNS_TXT {
            return Err(Invalid::Txt);
        }
    }
    if out.is_empty() {
        out.push(0);
    }
    Ok(out)
}

/// Sets of record types, as bits.
pub(super) mod bit {
    /// The kind points at the service.
    pub const PTR: u8 = 1;
    /// Port and host.
    pub const SRV: u8 = 2;
    /// Attributes.
    pub const TXT: u8 = 4;
    /// The list of kinds points at the kind.
    pub const KIND: u8 = 8;
    /// IPv4 addresses.
    pub const A: u8 = 16;
    /// IPv6 addresses.
    pub const AAAA: u8 = 32;
    /// Which types there are.
    pub const NSEC: u8 = 64;
    /// How many there are.
    pub const COUNT: usize = 7;
    /// What more than one may have.
    pub const SHARED: u8 = PTR | KIND;
}

/// Where the kinds of services are listed.
pub(super) const KINDS: &[u8] = b"\x09_services\x07_dns-sd\x04_udp\x05local\0";
const LOCAL: &[u8] = b"\x05local\0";

/// Seconds that records which speak of a host are kept, and all others.
const HOST_TTL: u32 = 120;
const OTHER_TTL: u32 = 4500;

pub(super) fn ttl(bit: u8) -> u32 {
    if bit & (bit::PTR | bit::TXT | bit::KIND) != 0 { OTHER_TTL } else { HOST_TTL }
}

/// A name that we want, and what is known by it.
pub(super) struct Claim {
    pub id: u32,
    /// The name as it was wished for.
    label: String,
    /// The number that was added to it, from 2.
    pub number: u16,
    /// The whole name.
    pub name: Vec<u8>,
    /// The service's kind; nothing for the host.
    pub kind: Vec<u8>,
    port: u16,
    pub txt: Vec<u8>,
    /// How often it met another since it was last undisputed, and when last.
    pub conflicts: u8,
    pub conflict_at: Time,
}

/// One record of ours.
pub(super) struct Ours<'a> {
    pub bit: u8,
    pub name: &'a [u8],
    pub kind: u16,
    pub data: &'a [u8],
}

impl Claim {
    pub fn host(name: &str) -> Claim {
        let mut label: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(48).collect();
        label = label.trim_matches('-').into();
        if label.is_empty() {
            label.push_str("streamd");
        }
        Claim::new(0, label, Vec::new(), 0, Vec::new())
    }

    pub fn service(id: u32, service: &Service) -> Result<Claim, Invalid> {
        let (what, how) = service.kind.split_once('.').ok_or(Invalid::Kind)?;
        let letters = what.strip_prefix('_').ok_or(Invalid::Kind)?;
        if !(1..=15).contains(&letters.len())
            || !letters.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            || !matches!(how, "_tcp" | "_udp")
        {
            return Err(Invalid::Kind);
        }
        // what a label can hold, and nothing that would upset a terminal
        let label: String = service.name.chars().filter(|c| !c.is_control()).collect();
        let label = label.trim();
        if label.is_empty() {
            return Err(Invalid::Name);
        }
        let kind = wire_name(&[what.as_bytes(), how.as_bytes()], LOCAL);
        Ok(Claim::new(id, label.into(), kind, service.port, wire_txt(&service.txt)?))
    }

    fn new(id: u32, label: String, kind: Vec<u8>, port: u16, txt: Vec<u8>) -> Claim {
        let name = Vec::new();
        let mut claim =
            Claim { id, label, number: 1, name, kind, port, txt, conflicts: 0, conflict_at: Time::ZERO };
        claim.rename(1);
        claim
    }

    pub fn is_host(&self) -> bool {
        self.kind.is_empty()
    }

    /// Takes the name with that number.
    pub fn rename(&mut self, number: u16) {
        self.number = number;
        let rest = if self.is_host() { LOCAL } else { &self.kind };
        self.name = wire_name(&[self.shown().as_bytes()], rest);
    }

    /// The name as people see it now.
    pub fn shown(&self) -> String {
        let mut suffix = String::new();
        if self.number > 1 {
            let number = self.number.to_string();
            let (before, after) = if self.is_host() { ("-", "") } else { (" (", ")") };
            suffix = [before, &number, after].concat();
        }
        let mut room = self.label.len().min(63usize.saturating_sub(suffix.len()));
        while !self.label.is_char_boundary(room) {
            room -= 1;
        }
        [self.label.get(..room).unwrap_or_default(), &suffix].concat()
    }

    /// What it has to say at all.
    pub fn all(&self) -> u8 {
        if self.is_host() { bit::A | bit::AAAA } else { bit::PTR | bit::SRV | bit::TXT | bit::KIND }
    }

    /// What is its alone, and so has to be undisputed.
    pub fn unique(&self) -> u8 {
        self.all() & !bit::SHARED
    }

    /// What answers a question for this name and type.
    pub fn answers(&self, name: &impl Fn(&[u8]) -> bool, kind: u16, has: u8) -> u8 {
        let of = |kind: u16| match kind {
            A => bit::A,
            AAAA => bit::AAAA,
            SRV => bit::SRV,
            TXT => bit::TXT,
            NSEC => bit::NSEC,
            super::message::ANY => self.unique(),
            _ => 0,
        };
        if name(&self.name) {
            let there = of(kind) & (has | bit::NSEC) & (self.unique() | bit::NSEC);
            // a type that is not there is denied
            return if there == 0 { bit::NSEC } else { there };
        }
        if self.is_host() || !matches!(kind, PTR | super::message::ANY) {
            return 0;
        }
        if name(&self.kind) {
            return bit::PTR;
        }
        if name(KINDS) { bit::KIND } else { 0 }
    }

    /// Says each record of `bits`.
    pub fn each(&self, bits: u8, host: &[u8], addresses: &[IpAddr], say: &mut dyn FnMut(Ours<'_>)) {
        let name = &self.name[..];
        if bits & bit::PTR != 0 {
            say(Ours { bit: bit::PTR, name: &self.kind, kind: PTR, data: name });
        }
        if bits & bit::SRV != 0 {
            let [high, low] = self.port.to_be_bytes();
            let data = [&[0, 0, 0, 0, high, low], host].concat();
            say(Ours { bit: bit::SRV, name, kind: SRV, data: &data });
        }
        if bits & bit::TXT != 0 {
            say(Ours { bit: bit::TXT, name, kind: TXT, data: &self.txt });
        }
        if bits & bit::KIND != 0 {
            say(Ours { bit: bit::KIND, name: KINDS, kind: PTR, data: &self.kind });
        }
        for address in addresses {
            match address {
                IpAddr::V4(a) if bits & bit::A != 0 => {
                    say(Ours { bit: bit::A, name, kind: A, data: &a.octets() });
                }
                IpAddr::V6(a) if bits & bit::AAAA != 0 => {
                    say(Ours { bit: bit::AAAA, name, kind: AAAA, data: &a.octets() });
                }
                _ => {}
            }
        }
        if bits & bit::NSEC != 0 {
            // one block of the map of types: bit 0 of the first byte is type 0
            let map: [u8; 5] = if self.is_host() {
                let v4 = if addresses.iter().any(IpAddr::is_ipv4) { 0x40 } else { 0 };
                let v6 = if addresses.iter().any(IpAddr::is_ipv6) { 0x08 } else { 0 };
                [v4, 0, 0, v6, 0]
            } else {
                [0, 0, 0x80, 0, 0x40]
            };
            let used = 5 - map.iter().rev().take_while(|b| **b == 0).count();
            let mut data = name.to_vec();
            data.extend_from_slice(&[0, used as u8]);
            data.extend_from_slice(map.get(..used).unwrap_or_default());
            say(Ours { bit: bit::NSEC, name, kind: NSEC, data: &data });
        }
    }
}
