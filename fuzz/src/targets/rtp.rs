//! Packets of a track, in and out of order, broken and lost: units begin before they end, stay within
//! their bound, and what is put back in order comes out in order.

use super::steer;
use std::time::Duration;
use streamd::media::{Codec, CodecId, Time};
use streamd::net::rtp::Packet;
use streamd::net::rtp::depay::{AuFormat, Depay, Loss, Options, Sink, Unit};
use streamd::net::rtp::jpeg::Scan;
use streamd::net::rtp::reorder::{Popped, Pushed, Reorder};

const MOST: usize = 8 << 10;

#[derive(Default)]
struct Units {
    open: bool,
    unit: Vec<u8>,
    jpeg: bool,
}

impl Sink for Units {
    fn extra(&mut self, extra: &[u8]) {
        assert!(extra.len() <= 3 << 16);
    }

    fn begin(&mut self) {
        assert!(!self.open, "a unit begins in another");
        self.open = true;
        self.unit.clear();
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        assert!(self.open);
        self.unit.extend_from_slice(bytes);
        // now and then the track has no room
        bytes.first() != Some(&0xEE)
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        assert!(self.open);
        self.unit[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn end(&mut self, unit: Unit) {
        assert!(std::mem::take(&mut self.open), "a unit ends that never began");
        assert!(self.unit.len() <= MOST + 1024, "{} bytes", self.unit.len());
        if self.jpeg && !unit.damaged {
            let _ = Scan::parse(&self.unit);
        }
    }

    fn abort(&mut self) {
        assert!(std::mem::take(&mut self.open), "a unit is given up that never began");
    }
}

/// Each packet has its length before it, in one byte, so that a changed byte changes one packet.
fn packets(data: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut all) = (data, vec![]);
    while let Some((&len, body)) = rest.split_first() {
        let (packet, more) = body.split_at(usize::from(len).min(body.len()));
        all.push(packet);
        rest = more;
    }
    all
}

fn ordered(packets: &[&[u8]]) {
    let mut reorder = Reorder::new(8, Duration::from_millis(50));
    let (mut now, mut last) = (Time::ZERO, None::<u16>);
    for bytes in packets {
        let Ok(packet) = Packet::parse(bytes) else { continue };
        now += Duration::from_millis(u64::from(packet.header.payload_type) / 8);
        let mut out = vec![];
        if reorder.push(now, packet.header.seq, bytes) == Pushed::Now {
            out.push(packet.header.seq);
        }
        while let Some(popped) = reorder.pop(now) {
            if let Popped::Packet(bytes) = popped {
                out.push(Packet::parse(bytes).expect("it was one").header.seq);
            }
        }
        for seq in out {
            let step = last.map_or(1, |l| seq.wrapping_sub(l) as i16);
            assert!(step > 0 || step.unsigned_abs() > 2000, "{last:?} then {seq}");
            last = Some(seq);
        }
    }
}

pub fn run(data: &[u8]) {
    let Some((seed, data)) = steer(data) else { return };
    let Some((how, data)) = steer(data) else { return };
    let codec = match seed % 9 {
        0 => Codec::new(CodecId::H264),
        1 => Codec::new(CodecId::H265),
        2 => Codec::audio(CodecId::Aac, 16_000, 1),
        3 => Codec::new(CodecId::Jpeg),
        4 => Codec::audio(CodecId::L16, 16_000, 2),
        5 => Codec::audio(CodecId::Pcma, 8000, 1),
        6 => Codec::audio(CodecId::Opus, 48_000, 2),
        7 => Codec::new(CodecId::Onvif),
        _ => Codec::audio(CodecId::Mpa, 90_000, 0),
    };
    let options = Options {
        loss: [Loss::DropUntilKey, Loss::Conceal, Loss::Ignore][usize::from(how % 3)],
        max_unit: MOST,
        au: if how & 4 == 0 {
            AuFormat::HBR
        } else {
            AuFormat { size: how >> 3, index: how >> 5, delta: how >> 4 }
        },
        jpeg_size: (how & 8 != 0).then_some((u16::from(how) << 6, 64)),
    };
    let packets = packets(data);
    ordered(&packets);
    let Ok(mut depay) = Depay::new(&codec, &options) else { return };
    let mut units = Units { jpeg: codec.id == CodecId::Jpeg, ..Units::default() };
    for bytes in packets {
        if let Ok(packet) = Packet::parse(bytes) {
            assert!(packet.payload.len() <= bytes.len());
            let _ = depay.push(&packet, &mut units);
        }
    }
    depay.finish(&mut units);
    assert!(!units.open, "a unit is left open");
}
