//! Opus packets of one length out of packets of another: frames are moved, never decoded. HomeKit asks
//! for 20, 40 or 60 ms, sources send what they like. A packet holds frames of one kind only, so a
//! change of bandwidth or coder ends it early.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::Time;
use super::opus::{Error, Packet, RATE, Toc, frames};

/// Frames of a packet at most: 120 ms of the shortest.
const FRAMES: usize = 48;
/// Of the first byte, what frames of one packet have in common.
const KIND: u8 = !3;

/// Frames that wait for their packet to be full.
pub struct Repack {
    /// Samples at 48 kHz that a packet should hold.
    wanted: u32,
    /// Bytes of a packet at most.
    most: usize,
    toc: u8,
    lengths: [u16; FRAMES],
    count: usize,
    samples: u32,
    time: Time,
    bytes: Vec<u8>,
    packet: Vec<u8>,
}

/// Where packets go: the time of the first sound in it, the packet, its samples at 48 kHz.
pub type Packets<'a> = dyn FnMut(Time, &[u8], u32) + 'a;

impl Repack {
    /// Makes packets of so many milliseconds and at most so many bytes.
    pub fn new(ms: u8, most: usize) -> Repack {
        Repack {
            wanted: u32::from(ms.clamp(1, 120)) * (RATE / 1000),
            most,
            toc: 0,
            lengths: [0; FRAMES],
            count: 0,
            samples: 0,
            time: Time::ZERO,
            bytes: Vec::new(),
            packet: Vec::new(),
        }
    }

    /// Something is missing before what comes next.
    pub fn gap(&mut self, sink: &mut Packets<'_>) {
        self.flush(sink);
    }

    /// Takes a packet and gives those that it fills.
    pub fn push(&mut self, time: Time, packet: &[u8], sink: &mut Packets<'_>) -> Result<(), Error> {
        // checked as a whole before anything is taken
        let parsed = Packet::parse(packet)?;
        let mut samples = 0;
        if self.count == 0 && parsed.samples() == self.wanted && packet.len() <= self.most {
            sink(time, packet, self.wanted);
            return Ok(());
        }
        frames(packet, &mut |frame| {
            let at = time + Time::from_ticks(samples, RATE).since(Time::ZERO);
            samples += u64::from(parsed.toc.frame_samples());
            self.frame(at, parsed.toc, frame, sink);
        })?;
        Ok(())
    }

    fn frame(&mut self, time: Time, toc: Toc, frame: &[u8], sink: &mut Packets<'_>) {
        let longer = self.samples + toc.frame_samples() > self.wanted;
        // two bytes of head, and two for the length of each frame
        let room = 2 + 2 * (self.count + 1) + self.bytes.len() + frame.len();
        if self.count > 0 && (longer || toc.0 & KIND != self.toc || room > self.most) {
            self.flush(sink);
        }
        if self.count == 0 {
            (self.toc, self.time) = (toc.0 & KIND, time);
        }
        if let Some(length) = self.lengths.get_mut(self.count) {
            *length = frame.len() as u16;
            self.count += 1;
            self.samples += toc.frame_samples();
            self.bytes.extend_from_slice(frame);
        }
        if self.samples >= self.wanted || self.count == FRAMES {
            self.flush(sink);
        }
    }

    fn flush(&mut self, sink: &mut Packets<'_>) {
        if self.count == 0 {
            return;
        }
        self.packet.clear();
        if self.count == 1 {
            self.packet.push(self.toc);
        } else {
            self.packet.extend_from_slice(&[self.toc | 3, 0x80 | self.count as u8]);
            for &length in self.lengths.iter().take(self.count - 1) {
                if length < 252 {
                    self.packet.push(length as u8);
                } else {
                    // 252 to 255 and four times what follows
                    let low = 252 + (length & 3);
                    self.packet.extend_from_slice(&[low as u8, ((length - low) / 4) as u8]);
                }
            }
        }
        self.packet.extend_from_slice(&self.bytes);
        sink(self.time, &self.packet, self.samples);
        (self.count, self.samples) = (0, 0);
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::Rng;

    /// A packet of code 0.
    fn single(config: u8, fill: u8, len: usize) -> Vec<u8> {
        let mut packet = vec![config << 3];
        packet.resize(1 + len, fill);
        packet
    }

    fn list(packet: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let parsed = frames(packet, &mut |f| out.push(f.to_vec())).unwrap();
        assert_eq!(out.len(), usize::from(parsed.frames));
        out
    }

    #[test]
    fn three_packets_become_one_and_one_becomes_three() {
        let time = |ms: u64| Time::from_nanos(ms * 1_000_000);
        let mut long = Vec::new();
        let mut pack = Repack::new(60, 1180);
        for (i, len) in [40usize, 300, 0, 251, 252, 255].into_iter().enumerate() {
            let packet = single(9, i as u8 + 1, len);
            pack.push(time(20 * i as u64), &packet, &mut |t, p, n| long.push((t, p.to_vec(), n))).unwrap();
        }
        assert_eq!(long.len(), 2);
        assert_eq!((long[0].0, long[0].2, long[1].0), (time(0), 2880, time(60)));
        let parsed = Packet::parse(&long[0].1).unwrap();
        assert_eq!((parsed.toc.code(), parsed.frames, parsed.samples()), (3, 3, 2880));
        assert_eq!(list(&long[1].1), [vec![4; 251], vec![5; 252], vec![6; 255]]);
        let mut short = Vec::new();
        let mut pack = Repack::new(20, 1180);
        for (time, packet, _) in &long {
            pack.push(*time, packet, &mut |t, p, n| short.push((t, p.to_vec(), n))).unwrap();
        }
        assert_eq!(short.len(), 6);
        assert_eq!(short[4], (time(80), single(9, 5, 252), 960));
    }

    #[test]
    fn a_packet_that_fits_is_not_touched() {
        let mut out = Vec::new();
        let mut pack = Repack::new(20, 1180);
        pack.push(Time::ZERO, &single(1, 7, 30), &mut |_, p, n| out.push((p.to_vec(), n))).unwrap();
        assert_eq!(out, [(single(1, 7, 30), 960)]);
    }

    #[test]
    fn another_kind_a_gap_or_too_many_bytes_end_a_packet() {
        let mut out = Vec::new();
        let mut sink = |_: Time, p: &[u8], n: u32| out.push((p.to_vec(), n));
        let mut pack = Repack::new(60, 400);
        pack.push(Time::ZERO, &single(1, 1, 30), &mut sink).unwrap();
        pack.push(Time::ZERO, &single(5, 2, 30), &mut sink).unwrap();
        pack.gap(&mut sink);
        pack.push(Time::ZERO, &single(5, 3, 200), &mut sink).unwrap();
        pack.push(Time::ZERO, &single(5, 4, 200), &mut sink).unwrap();
        pack.gap(&mut sink);
        let kept: Vec<_> = out.iter().map(|(p, n)| (p[0] >> 3, p[1], p.len(), *n)).collect();
        assert_eq!(kept, [(1, 1, 31, 960), (5, 2, 31, 960), (5, 3, 201, 960), (5, 4, 201, 960)]);
    }

    #[test]
    fn no_sound_is_lost_whatever_comes() {
        let mut rng = Rng::new(3);
        for ms in [20, 40, 60] {
            let mut pack = Repack::new(ms, 1180);
            let (mut came, mut gone, mut bytes_in, mut bytes_out) = (0, 0, 0, 0);
            for _ in 0..20_000 {
                let mut packet = vec![0; 1 + rng.below(200)];
                rng.fill(&mut packet);
                let Ok(parsed) = Packet::parse(&packet) else {
                    assert!(pack.push(Time::ZERO, &packet, &mut |_, _, _| panic!()).is_err());
                    continue;
                };
                came += parsed.samples();
                bytes_in += list(&packet).iter().map(Vec::len).sum::<usize>();
                let mut sink = |_: Time, p: &[u8], n: u32| {
                    assert_eq!(Packet::parse(p).unwrap().samples(), n);
                    bytes_out += list(p).iter().map(Vec::len).sum::<usize>();
                    gone += n;
                };
                pack.push(Time::ZERO, &packet, &mut sink).unwrap();
            }
            let mut sink = |_: Time, p: &[u8], n: u32| {
                bytes_out += list(p).iter().map(Vec::len).sum::<usize>();
                gone += n;
            };
            pack.gap(&mut sink);
            assert_eq!((came, bytes_in), (gone, bytes_out));
        }
    }
}
