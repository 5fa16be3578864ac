//! The way back: what the viewer says, to the stream's speaker. Packets are unlocked before they come
//! here. Silence does not take the speaker from others, late packets are lost.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::homekit::camera::Audio;
use crate::media::rtptime::RtpClock;
use crate::media::{Codec, CodecId, Time, opus};
use crate::net::rtp::{Packet, seq_diff};
use crate::stream::{Hall, Speech, Stream};
use std::rc::Rc;
use std::time::Duration;

/// A packet of at most so many bytes says that nothing is said.
const SILENCE: usize = 3;
/// So long after the last word the microphone is still kept from hearing it.
const ECHO: Duration = Duration::from_millis(400);

/// The voice of one viewer.
pub struct Back {
    speech: Speech,
    clock: RtpClock,
    payload_type: u8,
    /// Who speaks, and the newest packet.
    highest: Option<(u32, u16)>,
    spoke: Option<Time>,
    /// Packets that were said.
    pub packets: u32,
}

impl Back {
    /// For a viewer that speaks as was agreed.
    pub fn new(hall: &Rc<Hall>, stream: &Rc<Stream>, agreed: &Audio) -> Back {
        Back {
            speech: Speech::new(hall, stream, Codec::new(CodecId::Opus)),
            clock: RtpClock::new(agreed.rate),
            payload_type: agreed.rtp.payload.unwrap_or(110),
            highest: None,
            spoke: None,
            packets: 0,
        }
    }

    /// How loud, in hundredths.
    pub fn set_volume(&self, percent: u8) {
        self.speech.set_volume(percent);
    }

    /// An unlocked packet.
    pub fn packet(&mut self, now: Time, packet: &[u8]) {
        let Ok(packet) = Packet::parse(packet) else { return };
        let header = packet.header;
        if header.payload_type != self.payload_type
            || self.highest.is_some_and(|(who, h)| who == header.ssrc && seq_diff(header.seq, h) <= 0)
            || opus::Packet::parse(packet.payload).is_err()
        {
            return;
        }
        self.highest = Some((header.ssrc, header.seq));
        let time = self.clock.at(now, header.timestamp);
        if packet.payload.len() <= SILENCE && !self.is_speaking(now) {
            return;
        }
        if packet.payload.len() > SILENCE {
            self.spoke = Some(now);
        }
        if self.speech.say(time, packet.payload) {
            self.packets = self.packets.wrapping_add(1);
        }
    }

    /// Whether something was said just now.
    pub fn is_speaking(&self, now: Time) -> bool {
        self.spoke.is_some_and(|at| now.since(at) < ECHO)
    }
}
