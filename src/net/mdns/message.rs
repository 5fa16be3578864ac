//! DNS messages as mDNS uses them (RFC 1035 section 4, RFC 6762 section 18): bytes to names, questions
//! and records, and back. A name is held in its wire form without compression: labels with a length
//! byte each, up to 255 bytes, a zero at the end. Nothing here allocates while it reads; compression
//! pointers only ever lead back, so that no name can go round in circles.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::ops::Range;

/// Types of records.
pub const A: u16 = 1;
/// A pointer to another name.
pub const PTR: u16 = 12;
/// Attributes.
pub const TXT: u16 = 16;
/// An IPv6 address.
pub const AAAA: u16 = 28;
/// Port and host of a service.
pub const SRV: u16 = 33;
/// Which types a name has, and thereby which it has not.
pub const NSEC: u16 = 47;
/// All types, in a question.
pub const ANY: u16 = 255;

/// The class of everything.
pub const IN: u16 = 1;
/// In a record's class: older records of this name and type are void. In a question's: answer me alone.
pub const TOP: u16 = 0x8000;

/// Header bits: a response, and from the one who knows.
pub const RESPONSE: u16 = 0x8400;
/// Header bit: more known answers follow in another packet.
pub const TRUNCATED: u16 = 0x0200;

const HEADER: usize = 12;
const NAME: usize = 255;
/// Names that a writer remembers to point at.
const TARGETS: usize = 64;

/// A name that was read.
#[derive(Clone, Copy)]
pub struct Name {
    len: u8,
    bytes: [u8; NAME],
}

impl Name {
    /// Its wire form.
    pub fn wire(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Whether it is that one, in its wire form. (Length bytes are below the letters.)
    pub fn is(&self, wire: &[u8]) -> bool {
        self.wire().eq_ignore_ascii_case(wire)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// The name that begins at `at`, and where it ends there.
pub fn read_name(packet: &[u8], at: usize) -> Option<(Name, usize)> {
    let mut name = Name { len: 0, bytes: [0; NAME] };
    let (mut used, mut pos, mut floor, mut end) = (0usize, at, at, None);
    loop {
        let len = *packet.get(pos)?;
        match len >> 6 {
            0 => {
                let next = pos + 1 + usize::from(len);
                let label = packet.get(pos..next)?;
                name.bytes.get_mut(used..used + label.len())?.copy_from_slice(label);
                used += label.len();
                pos = next;
                if len == 0 {
                    name.len = used as u8;
                    return Some((name, end.unwrap_or(next)));
                }
            }
            3 => {
                end = end.or(Some(pos + 2));
                pos = usize::from(u16_at(packet, pos)? & 0x3fff);
                // strictly before all that was read so far of this name
                if pos >= floor || pos < HEADER {
                    return None;
                }
                floor = pos;
            }
            _ => return None,
        }
    }
}

/// What is asked.
pub struct Question {
    /// About which name.
    pub name: Name,
    /// Which type.
    pub kind: u16,
    /// The class, with [`TOP`].
    pub class: u16,
}

/// A record as it stands in a packet.
pub struct Record {
    /// Whose.
    pub name: Name,
    /// Its type.
    pub kind: u16,
    /// Its class, with [`TOP`].
    pub class: u16,
    /// Seconds that it may be kept; 0 takes it back.
    pub ttl: u32,
    data: Range<usize>,
}

/// A packet being read.
#[derive(Clone)]
pub struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
    /// Its number, of use only where the answer goes to one asker.
    pub id: u16,
    /// The header's bits.
    pub flags: u16,
    /// How many questions, answers, authorities and additional records it says to have.
    pub counts: [u16; 4],
}

impl<'a> Reader<'a> {
    /// Reads the header.
    pub fn new(packet: &'a [u8]) -> Option<Reader<'a>> {
        let word = |n: usize| u16_at(packet, 2 * n);
        let counts = [word(2)?, word(3)?, word(4)?, word(5)?];
        Some(Reader { packet, at: HEADER, id: word(0)?, flags: word(1)?, counts })
    }

    /// The next question. To be called as often as there are questions, before the records.
    pub fn question(&mut self) -> Option<Question> {
        let (name, at) = read_name(self.packet, self.at)?;
        let question = Question { name, kind: u16_at(self.packet, at)?, class: u16_at(self.packet, at + 2)? };
        self.at = at + 4;
        Some(question)
    }

    /// The next record.
    pub fn record(&mut self) -> Option<Record> {
        let (name, at) = read_name(self.packet, self.at)?;
        let word = |n: usize| u16_at(self.packet, at + 2 * n);
        let ttl = u32::from(word(2)?) << 16 | u32::from(word(3)?);
        let begin = at + 10;
        let end = begin + usize::from(word(4)?);
        self.packet.get(begin..end)?;
        self.at = end;
        Some(Record { name, kind: word(0)?, class: word(1)?, ttl, data: begin..end })
    }

    /// A record's data with its names written out, put into `out`; nothing if they are broken.
    pub fn data(&self, record: &Record, out: &mut Vec<u8>) -> Option<()> {
        out.clear();
        let Range { start, end } = record.data;
        let fixed = match record.kind {
            PTR => 0,
            SRV => 6,
            _ => end - start,
        };
        out.extend_from_slice(self.packet.get(start..end)?.get(..fixed)?);
        if matches!(record.kind, PTR | SRV) {
            let (name, at) = read_name(self.packet, start + fixed)?;
            out.extend_from_slice(name.wire());
            if at != end {
                return None;
            }
        }
        Some(())
    }
}

/// A packet being written, sections in their order. Every write says whether it had room; what had
/// none left no trace.
pub struct Writer {
    buf: Vec<u8>,
    limit: usize,
    names: Vec<u16>,
    /// Names inside SRV data stay whole: those who ask by plain DNS know no other (RFC 6762 18.14).
    pub plain_srv: bool,
}

/// The sections of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Answers.
    Answer = 1,
    /// What a probe is about to claim.
    Authority = 2,
    /// What the asker will need next.
    Additional = 3,
}

impl Writer {
    /// A packet of at most `limit` bytes.
    pub fn new(id: u16, flags: u16, limit: usize) -> Writer {
        let mut buf = Vec::with_capacity(512.min(limit));
        buf.extend_from_slice(&id.to_be_bytes());
        buf.extend_from_slice(&flags.to_be_bytes());
        buf.resize(HEADER, 0);
        Writer { buf, limit, names: Vec::new(), plain_srv: false }
    }

    /// How many questions or records it has.
    pub fn count(&self, section: usize) -> u16 {
        u16_at(&self.buf, 4 + 2 * section).unwrap_or(0)
    }

    /// Whether it says anything.
    pub fn is_empty(&self) -> bool {
        self.buf.len() == HEADER
    }

    /// The packet.
    pub fn finish(self) -> Vec<u8> {
        self.buf
    }

    /// Adds a question.
    pub fn question(&mut self, name: &[u8], kind: u16, class: u16) -> bool {
        let before = self.buf.len();
        self.name(name);
        self.word(kind);
        self.word(class);
        self.done(before, 0)
    }

    /// Adds a record; `data` has its names written out.
    pub fn record(
        &mut self,
        section: Section,
        name: &[u8],
        kind: u16,
        class: u16,
        ttl: u32,
        data: &[u8],
    ) -> bool {
        let before = self.buf.len();
        self.name(name);
        self.word(kind);
        self.word(class);
        self.buf.extend_from_slice(&ttl.to_be_bytes());
        let length = self.buf.len();
        self.word(0);
        let fixed = match kind {
            PTR => 0,
            SRV if !self.plain_srv => 6,
            _ => data.len(),
        };
        let (fixed, target) = data.split_at_checked(fixed).unwrap_or((data, &[]));
        self.buf.extend_from_slice(fixed);
        if !target.is_empty() {
            self.name(target);
        }
        let len = (self.buf.len() - length - 2) as u16;
        self.put(length, len);
        self.done(before, section as usize)
    }

    fn done(&mut self, before: usize, section: usize) -> bool {
        if self.buf.len() > self.limit {
            self.buf.truncate(before);
            self.names.retain(|&n| usize::from(n) < before);
            return false;
        }
        self.put(4 + 2 * section, self.count(section).saturating_add(1));
        true
    }

    fn word(&mut self, word: u16) {
        self.buf.extend_from_slice(&word.to_be_bytes());
    }

    fn put(&mut self, at: usize, word: u16) {
        if let Some(place) = self.buf.get_mut(at..at + 2) {
            place.copy_from_slice(&word.to_be_bytes());
        }
    }

    fn name(&mut self, mut name: &[u8]) {
        while let Some(&len) = name.first()
            && len > 0
        {
            if let Some(at) = self.names.iter().find(|&&at| self.stands(name, at)) {
                return self.word(0xc000 | at);
            }
            if self.names.len() < TARGETS && self.buf.len() < 0x4000 {
                self.names.push(self.buf.len() as u16);
            }
            let Some((label, rest)) = name.split_at_checked(1 + usize::from(len)) else { break };
            self.buf.extend_from_slice(label);
            name = rest;
        }
        self.buf.push(0);
    }

    /// Whether that name stands at `at`, to the letter: the asker sees what he asked.
    fn stands(&self, name: &[u8], at: u16) -> bool {
        read_name(&self.buf, usize::from(at)).is_some_and(|(there, _)| there.wire() == name)
    }
}

/// A name in its wire form from its labels: what is too long is cut.
pub fn wire_name(labels: &[&[u8]], rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for label in labels {
        let label = label.get(..63).unwrap_or(label);
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Vec<u8> {
        wire_name(&text.split('.').map(str::as_bytes).collect::<Vec<_>>(), b"\0")
    }

    /// A response as a real responder packs it.
    fn packet() -> Vec<u8> {
        let mut w = Writer::new(7, RESPONSE, 1440);
        assert!(w.question(&name("_hap._tcp.local"), PTR, IN));
        let target = name("Front door._hap._tcp.local");
        assert!(w.record(Section::Answer, &name("_hap._tcp.local"), PTR, IN, 4500, &target));
        let mut srv = vec![0, 0, 0, 0, 0x1f, 0x90];
        srv.extend(name("cam.local"));
        assert!(w.record(Section::Additional, &target, SRV, IN | TOP, 120, &srv));
        assert!(w.record(Section::Additional, &name("cam.local"), A, IN | TOP, 120, &[192, 0, 2, 1]));
        w.finish()
    }

    #[test]
    fn names_are_compressed_as_the_standard_draws_it() {
        let packet = packet();
        // _hap._tcp.local at 12; the answer's name is a pointer to it
        assert_eq!(&packet[12..29], b"\x04_hap\x04_tcp\x05local\0");
        assert_eq!(&packet[33..35], [0xc0, 12]);
        // "Front door" and a pointer to the rest
        assert_eq!(&packet[43..45], [0, 13]);
        assert_eq!(&packet[45..58], b"\x0aFront door\xc0\x0c");
        assert_eq!(&packet[58..60], [0xc0, 45]);
        // cam.local inside SRV points at "local", and the A record at cam.local
        assert_eq!(&packet[76..82], b"\x03cam\xc0\x16");
        assert_eq!(&packet[82..84], [0xc0, 76]);
    }

    #[test]
    fn what_was_written_is_read() {
        let packet = packet();
        let mut r = Reader::new(&packet).unwrap();
        assert_eq!((r.id, r.flags, r.counts), (7, RESPONSE, [1, 1, 0, 2]));
        let q = r.question().unwrap();
        assert!(q.name.is(&name("_HAP._tcp.LOCAL")) && q.kind == PTR && q.class == IN);
        let mut data = Vec::new();
        let ptr = r.record().unwrap();
        r.data(&ptr, &mut data).unwrap();
        assert_eq!((ptr.kind, ptr.ttl, &data), (PTR, 4500, &name("Front door._hap._tcp.local")));
        let srv = r.record().unwrap();
        r.data(&srv, &mut data).unwrap();
        assert_eq!((srv.kind, srv.class), (SRV, IN | TOP));
        assert_eq!(&data[6..], name("cam.local"));
        let a = r.record().unwrap();
        r.data(&a, &mut data).unwrap();
        assert_eq!(data, [192, 0, 2, 1]);
        assert!(r.record().is_none());
    }

    #[test]
    fn a_packet_that_ends_early_has_no_more_records() {
        let whole = packet();
        for n in 0..whole.len() {
            let mut left = 4;
            if let Some(mut r) = Reader::new(&whole[..n]).filter(|r| r.clone().question().is_some()) {
                r.question();
                left -= 1;
                while r.record().is_some() {
                    left -= 1;
                }
            }
            assert!(left > 0, "{n}");
        }
    }

    #[test]
    fn names_that_go_round_or_are_too_long_are_refused() {
        let mut packet = vec![0; 12];
        packet.extend([0xc0, 12]);
        assert!(read_name(&packet, 12).is_none(), "at itself");
        packet.extend(b"\x01a\xc0\x10\xc0\x0e");
        assert!(read_name(&packet, 14).is_none(), "in a circle");
        assert!(read_name(&packet, 18).is_none(), "by way of another");
        let mut packet = vec![0; 12];
        packet.extend([0xc0, 14, 0]);
        assert!(read_name(&packet, 12).is_none(), "forward");
        assert!(read_name(&[0xc0, 0], 0).is_none(), "into the header");
        let mut long = vec![0; 12];
        for _ in 0..4 {
            long.push(63);
            long.extend([b'x'; 63]);
        }
        long.push(0);
        assert!(read_name(&long, 12).is_none(), "257 bytes");
        assert!(read_name(&long, 12 + 64).is_some());
        assert!(read_name(&[0x40, 0, 0], 0).is_none(), "a type of label that nobody has");
        // each label a byte, then one jump back: 255 bytes from two pieces
        let mut pieces = vec![0; 12];
        for _ in 0..64 {
            pieces.extend(b"\x01a");
        }
        pieces.push(0);
        let at = pieces.len();
        for _ in 0..64 {
            pieces.extend(b"\x01b");
        }
        pieces.extend([0xc0, 12]);
        assert!(read_name(&pieces, at).is_none());
        assert_eq!(read_name(&pieces, at + 2).map(|n| n.0.wire().len()), Some(255));
    }

    #[test]
    fn what_has_no_room_leaves_no_trace() {
        let mut w = Writer::new(0, RESPONSE, 100);
        assert!(w.record(Section::Answer, &name("a.local"), TXT, IN, 1, &[0; 40]));
        let before = w.buf.clone();
        assert!(!w.record(Section::Answer, &name("b.other"), TXT, IN, 1, &[0; 40]));
        assert_eq!(w.buf, before);
        assert!(w.record(Section::Answer, &name("b.other"), A, IN, 1, &[1; 4]));
        let packet = w.finish();
        let mut r = Reader::new(&packet).unwrap();
        assert!(r.record().is_some());
        assert!(r.record().unwrap().name.is(&name("b.other")));
    }

    #[test]
    fn a_plain_asker_finds_the_host_written_out() {
        let mut w = Writer::new(0, RESPONSE, 500);
        w.plain_srv = true;
        let mut srv = vec![0; 6];
        srv.extend(name("cam.local"));
        assert!(w.record(Section::Answer, &name("cam.local"), SRV, IN, 1, &srv));
        assert!(w.finish().ends_with(&name("cam.local")));
    }

    #[test]
    fn broken_packets_end_and_nothing_else() {
        let whole = packet();
        let mut seed = 0x2545_f491_4f6c_dd1du64;
        let mut data = Vec::new();
        for _ in 0..200_000 {
            let mut bytes = whole.clone();
            for _ in 0..4 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let at = (seed >> 8) as usize % bytes.len();
                bytes[at] = if seed & 1 == 0 { (seed >> 40) as u8 } else { 0xc0 };
            }
            let Some(mut r) = Reader::new(&bytes) else { continue };
            for _ in 0..r.counts[0] {
                if r.question().is_none() {
                    break;
                }
            }
            while let Some(record) = r.record() {
                let _ = r.data(&record, &mut data);
                assert!(data.len() <= bytes.len() + 255);
            }
        }
    }
}
