//! Sound on its way to one viewer: Opus as the stream has it, in packets of the length that was
//! agreed, stamped by the clock that HomeKit expects: the rate that was agreed, not the 48 kHz of
//! RFC 7587, and each packet exactly one packet's samples after the one before.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::session::{Leg, Session};
use super::socket::Socket;
use super::video::Desk;
use crate::homekit::camera::Audio;
use crate::media::Time;
use crate::media::opus::RATE;
use crate::media::opus_repack::Repack;
use crate::net::limits::LIVE_PACKET;
use crate::net::rtp::Header;
use crate::net::srtp::{Sender, TAG};
use crate::stream::Shown;
use std::time::Duration;

/// RTP's fixed header.
const HEAD: usize = 12;
/// Sound that lies further from where the samples count it has jumped.
const JUMP: Duration = Duration::from_millis(60);

/// Counts samples, and follows the capture time in whole packets.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    rate: u32,
    offset: u32,
    /// The last packet's time and tick, and the tick of the next.
    last: Option<(Time, u64, u64)>,
}

impl Stamp {
    /// The timestamp of a packet of so many samples; none if it is one too many.
    fn next(&mut self, time: Time, samples: u64) -> Option<u32> {
        let own = time.ticks(self.rate);
        let tick = match self.last {
            None => own,
            Some((_, _, next)) => {
                let slack = u64::from(self.rate) * JUMP.as_millis() as u64 / 1000;
                if own > next.saturating_add(slack) {
                    next + (own - next) / samples.max(1) * samples
                } else if own.saturating_add(slack) < next {
                    return None;
                } else {
                    next
                }
            }
        };
        self.last = Some((time, tick, tick + samples));
        Some((tick as u32).wrapping_add(self.offset))
    }

    /// The timestamp of an instant, by the last packet's.
    fn at(&self, now: Time) -> u32 {
        let ticks = match self.last {
            None => now.ticks(self.rate),
            Some((time, tick, _)) => (tick + now.ticks(self.rate)).wrapping_sub(time.ticks(self.rate)),
        };
        (ticks as u32).wrapping_add(self.offset)
    }
}

/// The sound of one viewer.
pub struct Sound {
    repack: Repack,
    stamp: Stamp,
    payload_type: u8,
    ssrc: u32,
    seq: u16,
    begun: bool,
}

impl Sound {
    /// For a viewer that wants this.
    pub fn new(wanted: &Audio, ssrc: u32, random: [u8; 6]) -> Sound {
        let [a, b, c, d, e, f] = random;
        Sound {
            repack: Repack::new(wanted.packet_ms, usize::from(LIVE_PACKET) - HEAD),
            stamp: Stamp { rate: wanted.rate, offset: u32::from_be_bytes([a, b, c, d]), last: None },
            payload_type: wanted.rtp.payload.unwrap_or(110),
            ssrc,
            seq: u16::from_be_bytes([e, f]) & 0x7fff,
            begun: false,
        }
    }

    /// The RTP time of an instant.
    pub fn rtp_time(&self, now: Time) -> u32 {
        self.stamp.at(now)
    }

    /// Sends a packet of the stream, once it fills one of the viewer's. Muted sound takes its time and
    /// is not sent. What a full socket does not take is lost: late sound is worth nothing.
    pub fn send(
        &mut self,
        shown: &Shown<'_>,
        muted: bool,
        lock: &mut Sender,
        socket: &Socket,
        desk: &mut Desk,
        session: &mut Session,
    ) {
        let Sound { repack, stamp, payload_type, ssrc, seq, begun } = self;
        let batch = &mut desk.batch;
        batch.clear();
        let mut sink = |time: Time, packet: &[u8], samples: u32| {
            let samples = u64::from(samples) * u64::from(stamp.rate) / u64::from(RATE);
            let Some(timestamp) = stamp.next(time, samples) else { return };
            if muted {
                *begun = false;
                return;
            }
            let header =
                Header { marker: !*begun, payload_type: *payload_type, seq: *seq, timestamp, ssrc: *ssrc };
            let write = |out: &mut Vec<u8>| {
                out.extend_from_slice(&header.emit());
                out.extend_from_slice(packet);
                out.extend_from_slice(&[0; TAG]);
            };
            if !batch.is_full() && batch.add(write, |p| lock.rtp(p)).is_ok() {
                session.sent(Leg::Audio, packet.len());
                *seq = seq.wrapping_add(1);
                *begun = true;
            }
        };
        if shown.gap {
            repack.gap(&mut sink);
        }
        let _ = repack.push(shown.time, &shown.data, &mut sink);
        if !batch.is_empty() {
            batch.send(socket.io.get_ref(), &socket.to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(rate: u32) -> Stamp {
        Stamp { rate, offset: 7, last: None }
    }

    fn ms(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn steps_are_exact_whatever_the_clock_of_the_source() {
        // A microphone that is off by 0.1 %, with 3 ms of jitter: an hour of it.
        for (rate, packet) in [(16_000, 20), (24_000, 20), (24_000, 60)] {
            for drift in [-1000i64, 0, 1000] {
                let mut stamp = stamp(rate);
                let samples = u64::from(rate) * packet / 1000;
                let (mut last, mut lost, mut jumps) = (None, 0u32, 0u32);
                for n in 0..3_600_000 / packet {
                    let time = 5_000_000_000 + n * packet * 1_000_000;
                    let time = time as i64 + (n * packet) as i64 * drift + (n % 4) as i64 * 1_000_000;
                    let time = Time::from_nanos(time as u64);
                    let Some(at) = stamp.next(time, samples) else {
                        lost += 1;
                        continue;
                    };
                    if let Some(last) = last {
                        let step = at.wrapping_sub(last);
                        assert_eq!(u64::from(step) % samples, 0);
                        jumps += u32::from(u64::from(step) != samples);
                    }
                    last = Some(at);
                    let off = i64::from(stamp.at(time)) - i64::from(time.ticks(rate) as u32 + 7);
                    assert!(off.unsigned_abs() <= u64::from(rate) * 80 / 1000, "{off}");
                }
                // 3.6 s an hour, in jumps of 60 ms or drops of a packet each
                let most = 3600 / packet as u32 + 1;
                assert!(lost <= most && jumps <= most, "{drift}: {lost} lost, {jumps} jumps");
                assert_eq!(drift == 0, lost == 0 && jumps == 0);
            }
        }
    }

    #[test]
    fn a_gap_is_a_gap_of_whole_packets() {
        let mut stamp = stamp(16_000);
        assert_eq!(stamp.next(ms(0), 320), Some(7));
        assert_eq!(stamp.next(ms(20), 320), Some(327));
        assert_eq!(stamp.next(ms(1049), 320), Some(7 + 320 * 52));
        assert_eq!(stamp.next(ms(1060), 320), Some(7 + 320 * 53));
        assert_eq!(stamp.at(ms(1070)), 7 + 320 * 53 + 160);
    }
}
