//! Pictures on their way to one viewer: a frame of the ring is described as packets, and these are
//! copied, locked and sent a few at a time. A large frame is spread over a part of the time to the
//! next one, because switches and radios drop bursts; what a full socket does not take is described
//! and locked again later. No frame is held meanwhile.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::session::{Leg, Session};
use super::socket::Socket;
use crate::media::{Codec, Time};
use crate::net::limits::LIVE_PACKET;
use crate::net::log;
use crate::net::rtp::pay::{Packetizer, PayError, Piece};
use crate::net::srtp::{Sender, TAG};
use crate::net::udp::Batch;
use crate::stream::Shown;

/// Packets that leave in one go.
const CHUNK: usize = 16;
/// A frame is spread over at most so many goes.
const GOES: usize = 12;
/// Less than this no path asks for.
const SMALLEST: u16 = 256;
/// RTP's fixed header.
const HEAD: usize = 12;

/// What all viewers write into, one after another, and nobody while it waits.
#[derive(Default)]
pub struct Desk {
    /// Packets that leave together.
    pub batch: Batch,
    /// How a frame is cut.
    pub pieces: Vec<Piece>,
    /// A report.
    pub report: Vec<u8>,
}

/// How far a frame has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It has left.
    Whole,
    /// There is more, and it should wait a moment.
    More,
    /// The socket takes no more.
    Full,
}

/// A frame of which a part has left.
struct Going {
    frame: u64,
    time: Time,
    /// As it was before that frame.
    before: Packetizer,
    /// Packets that have left.
    done: usize,
}

/// The pictures of one viewer.
pub struct Pictures {
    packetizer: Packetizer,
    going: Option<Going>,
    failed: bool,
}

impl Pictures {
    /// For a viewer that wants this payload type, and packets of at most `mtu` bytes.
    pub fn new(
        codec: &Codec,
        payload_type: u8,
        mtu: Option<u16>,
        ssrc: u32,
        random: [u8; 6],
    ) -> Result<Pictures, PayError> {
        let size = mtu.unwrap_or(LIVE_PACKET).clamp(SMALLEST, LIVE_PACKET);
        let [a, b, c, d, e, f] = random;
        // a number that will not turn over before the viewer has it
        let seq = u16::from_be_bytes([e, f]) & 0x7fff;
        let offset = u32::from_be_bytes([a, b, c, d]);
        let packetizer = Packetizer::new(codec, payload_type, size, ssrc, seq, offset)?;
        Ok(Pictures { packetizer, going: None, failed: false })
    }

    /// The RTP time of an instant.
    pub fn rtp_time(&self, time: Time) -> u32 {
        self.packetizer.rtp_time(time)
    }

    /// Sends packets of this frame, beginning where the last call ended.
    pub fn send(
        &mut self,
        shown: &Shown<'_>,
        codec: &Codec,
        lock: &mut Sender,
        socket: &Socket,
        desk: &mut Desk,
        session: &mut Session,
    ) -> Sent {
        let known = self.going.take().filter(|g| g.frame == shown.seq && g.time == shown.decode);
        let (before, from) = match known {
            Some(going) => (going.before, going.done),
            None => (self.packetizer.clone(), 0),
        };
        let mut after = before.clone();
        let Desk { batch, pieces, .. } = desk;
        pieces.clear();
        let count = match after.packetize(&shown.data, shown.decode, shown.meta.key, &codec.extra, pieces) {
            Ok(count) => count,
            Err(error) => {
                // once: a camera that does it, does it with every frame
                if !std::mem::replace(&mut self.failed, true) {
                    log::warn!(target: "homekit", "a frame of {codec} cannot be sent: {error}");
                }
                return Sent::Whole;
            }
        };
        self.packetizer = after;
        let until = (from + CHUNK.max(count.div_ceil(GOES))).min(count);
        let (mut done, mut full, mut lens) = (from, false, [0; crate::net::udp::BATCH]);
        let begins = pieces.iter().enumerate().filter(|(_, p)| p.begins()).map(|(at, _)| at);
        batch.clear();
        for at in begins.skip(from).take(until - from) {
            let parts = pieces.get(at..).unwrap_or_default();
            let write = |out: &mut Vec<u8>| {
                for (n, part) in parts.iter().enumerate() {
                    if n > 0 && part.begins() {
                        break;
                    }
                    out.extend_from_slice(part.head());
                    out.extend_from_slice(part.body(&shown.data, &codec.extra));
                }
                out.extend_from_slice(&[0; TAG]);
            };
            let place = batch.len();
            if let (Ok(len), Some(slot)) = (batch.add(write, |p| lock.rtp(p)), lens.get_mut(place)) {
                *slot = len.saturating_sub(HEAD + TAG);
            }
            if batch.is_full() {
                full = flush(batch, socket, session, &lens, &mut done);
                if full {
                    break;
                }
            }
        }
        if !full && !batch.is_empty() {
            full = flush(batch, socket, session, &lens, &mut done);
        }
        if !full {
            done = until;
        }
        if done >= count {
            return Sent::Whole;
        }
        self.going = Some(Going { frame: shown.seq, time: shown.decode, before, done });
        if full { Sent::Full } else { Sent::More }
    }
}

/// Sends what is gathered; whether the socket takes no more.
fn flush(
    batch: &mut Batch,
    socket: &Socket,
    session: &mut Session,
    lens: &[usize],
    done: &mut usize,
) -> bool {
    let sent = batch.send(socket.io.get_ref(), &socket.to);
    lens.iter().take(sent.count).for_each(|&len| session.sent(Leg::Video, len));
    *done += sent.count;
    batch.clear();
    sent.full
}
