//! The packets of one track, described once for all who receive it. A [`Flow`] belongs to a track and
//! a packet size, and so do its SSRC, sequence numbers and RTP time; viewers come and go. Beside the
//! track's ring it keeps the descriptions of the last few frames (a few bytes of header for each
//! packet) and, for each frame in the ring, the number of its first packet. So whoever is late, or
//! begins further back, is described the same packets again. Media is never copied here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::message::frame_head;
use crate::media::{Codec, CodecId, Kind, Time};
use crate::net::log;
use crate::net::rtp::pay::{Packetizer, PayError, Piece, Source, clock_rate};
use crate::net::sdp::format::payload_type;
use crate::net::websocket::{Head, Opcode};
use crate::stream::{Shown, Track};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// Frames whose descriptions are kept: readers in step need one, those a little behind the others.
const RECENT: usize = 4;
/// Between key frames that viewers ask for.
const WANT: Duration = Duration::from_secs(1);
/// Frames that are numbered without being sent, to keep a gap true; beyond it numbers go on anyhow.
const NUMBERED: u64 = 512;
/// Bytes before an RTP packet that is interleaved with messages.
pub const INTERLEAVED: usize = 4;
/// Room before those for the header of a WebSocket's message.
const MESSAGE: usize = 4;

/// The payload type of a codec where the standard leaves it free: by codec, not by place, because a
/// flow is the same whatever else a viewer receives.
pub fn type_of(codec: &Codec) -> u8 {
    let dynamic = match codec.id {
        CodecId::H264 => 96,
        CodecId::Aac => 97,
        CodecId::H265 => 98,
        CodecId::Opus => 99,
        CodecId::L16 => 100,
        CodecId::Pcmu => 101,
        CodecId::Pcma => 102,
        CodecId::Onvif => 107,
        _ => 110,
    };
    payload_type(codec, dynamic)
}

/// A part of a packet: where its header lies among the heads, and what of the frame follows it.
struct Part {
    head: Range<u32>,
    source: Source,
    offset: u32,
    len: u16,
    begins: bool,
}

/// The packets of one frame.
#[derive(Default)]
pub struct Described {
    frame: u64,
    time: Time,
    valid: bool,
    channel: u8,
    web: bool,
    heads: Vec<u8>,
    parts: Vec<Part>,
    codec: Option<Rc<Codec>>,
    /// Packets of the frame.
    pub packets: usize,
}

/// The header of a message with an interleaved packet of this size, behind zeros if it is short.
fn message_head(size: u16) -> [u8; MESSAGE] {
    let head = Head::new(Opcode::Binary, true, u64::from(size) + INTERLEAVED as u64, None);
    let mut out = [0; MESSAGE];
    out.iter_mut().rev().zip(head.bytes().iter().rev()).for_each(|(to, from)| *to = *from);
    out
}

/// Where a send ended within a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Packets begun, the one that was cut among them.
    pub packets: usize,
    /// RTP payload and header bytes of these packets, and of a WebSocket its headers.
    pub octets: usize,
}

impl Described {
    fn fill(&mut self, pieces: &[Piece], frame: u64, time: Time, codec: &Rc<Codec>) {
        self.heads.clear();
        self.parts.clear();
        (self.frame, self.time, self.valid, self.channel) = (frame, time, true, 0);
        self.codec = Some(codec.clone());
        self.packets = 0;
        for piece in pieces {
            let from = self.heads.len() as u32;
            if piece.begins() {
                self.packets += 1;
                self.heads.extend_from_slice(&message_head(piece.size));
                self.heads.extend_from_slice(&frame_head(0, piece.size));
                self.heads.extend_from_slice(piece.head());
            }
            let head = from..self.heads.len() as u32;
            let (source, offset, len) = (piece.source, piece.offset, piece.len);
            self.parts.push(Part { head, source, offset, len, begins: piece.begins() });
        }
    }

    /// Says how the next reader gets these packets: on which channel of its connection, and whether
    /// each is a message of a WebSocket.
    pub fn set_way(&mut self, channel: u8, web: bool) {
        self.web = web;
        if self.channel == channel {
            return;
        }
        self.channel = channel;
        for part in self.parts.iter().filter(|p| p.begins) {
            if let Some(byte) = self.heads.get_mut(part.head.start as usize + MESSAGE + 1) {
                *byte = channel;
            }
        }
    }

    fn slices<'a>(&'a self, part: &Part, data: &'a [u8], bare: bool) -> (&'a [u8], &'a [u8]) {
        let head = self.heads.get(part.head.start as usize..part.head.end as usize).unwrap_or(&[]);
        let skip = match part.begins {
            false => 0,
            true if bare => MESSAGE + INTERLEAVED,
            true if self.web => head.iter().take_while(|byte| **byte == 0).count(),
            true => MESSAGE,
        };
        let head = head.get(skip..).unwrap_or(&[]);
        let from = match part.source {
            Source::Frame => data,
            Source::Extra => self.codec.as_ref().map_or(&[][..], |c| &c.extra),
        };
        let at = part.offset as usize;
        (head, from.get(at..at + usize::from(part.len)).unwrap_or(&[]))
    }

    /// The place of packet number `packet` among the parts.
    fn place(&self, packet: usize) -> usize {
        let mut begun = self.parts.iter().enumerate().filter(|(_, p)| p.begins);
        begun.nth(packet).map_or(self.parts.len(), |(at, _)| at)
    }

    /// Lists what is to be written from packet `from` on, interleaved, as many whole packets as
    /// leave `out` with at most `most` slices. Gives the number of the packet after the last.
    pub fn gather<'a>(
        &'a self,
        data: &'a [u8],
        from: usize,
        most: usize,
        out: &mut Vec<IoSlice<'a>>,
    ) -> usize {
        let mut packet = from;
        for part in self.parts.get(self.place(from)..).unwrap_or(&[]) {
            if part.begins {
                if out.len() + 6 > most && packet > from {
                    return packet;
                }
                packet += 1;
            }
            let (head, body) = self.slices(part, data, false);
            if !head.is_empty() {
                out.push(IoSlice::new(head));
            }
            if !body.is_empty() {
                out.push(IoSlice::new(body));
            }
        }
        packet
    }

    /// Follows `written` bytes from packet `from` on. What is left of the packet in which they end
    /// goes to `rest`.
    pub fn follow(&self, data: &[u8], from: usize, mut written: usize, rest: &mut Vec<u8>) -> Sent {
        let mut sent = Sent { packets: from, octets: 0 };
        let mut cut = false;
        for part in self.parts.get(self.place(from)..).unwrap_or(&[]) {
            if part.begins {
                if cut || written == 0 {
                    break;
                }
                sent.packets += 1;
                sent.octets = sent.octets.saturating_sub(INTERLEAVED);
            }
            let (head, body) = self.slices(part, data, false);
            sent.octets += head.len() + body.len();
            for bytes in [head, body] {
                let done = written.min(bytes.len());
                written -= done;
                if done < bytes.len() {
                    cut = true;
                    rest.extend_from_slice(bytes.get(done..).unwrap_or(&[]));
                }
            }
        }
        sent
    }

    /// Writes all packets out whole, interleaved: for small frames that wait for others.
    pub fn copy(&self, data: &[u8], out: &mut Vec<u8>) -> usize {
        let before = out.len();
        for part in &self.parts {
            let (head, body) = self.slices(part, data, false);
            out.extend_from_slice(head);
            out.extend_from_slice(body);
        }
        out.len() - before
    }

    /// Hands out each packet as datagram: its number and up to four slices.
    pub fn datagrams<'a>(&'a self, data: &'a [u8], mut each: impl FnMut(usize, &[IoSlice<'a>])) {
        let empty = || IoSlice::new(&[]);
        let mut slices = [empty(), empty(), empty(), empty(), empty(), empty(), empty(), empty()];
        let (mut count, mut packet) = (0, 0);
        for part in &self.parts {
            if part.begins && count > 0 {
                each(packet, slices.get(..count).unwrap_or(&[]));
                packet += 1;
                count = 0;
            }
            let (head, body) = self.slices(part, data, true);
            for bytes in [head, body] {
                if !bytes.is_empty()
                    && let Some(place) = slices.get_mut(count)
                {
                    *place = IoSlice::new(bytes);
                    count += 1;
                }
            }
        }
        if count > 0 {
            each(packet, slices.get(..count).unwrap_or(&[]));
        }
    }
}

struct State {
    packetizer: Packetizer,
    /// The frame numbered first, and the first packet's number of each frame from there on.
    first: u64,
    starts: VecDeque<u16>,
    recent: [Described; RECENT],
    /// For frames at other times than their own, and for old ones.
    odd: Described,
    pieces: Vec<Piece>,
    failed: bool,
}

/// The packets of one track in one size.
pub struct Flow {
    track: Rc<Track>,
    codec: Rc<Codec>,
    size: u16,
    payload_type: u8,
    ssrc: u32,
    ts_offset: u32,
    asked: Cell<Option<Time>>,
    state: RefCell<State>,
}

impl Flow {
    /// A flow of this track; `random` makes its SSRC and where its numbers begin.
    pub fn new(track: &Rc<Track>, size: u16, random: [u8; 10]) -> Result<Flow, PayError> {
        let codec = track.codec();
        let [a, b, c, d, e, f, g, h, i, j] = random;
        let (ssrc, ts_offset) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        let payload_type = type_of(&codec);
        let seq = u16::from_be_bytes([i, j]);
        let packetizer = Packetizer::new(&codec, payload_type, size, ssrc, seq, ts_offset)?;
        let state = State {
            packetizer,
            first: 0,
            starts: VecDeque::new(),
            recent: Default::default(),
            odd: Described::default(),
            pieces: Vec::new(),
            failed: false,
        };
        let (track, state) = (track.clone(), RefCell::new(state));
        Ok(Flow { track, codec, size, payload_type, ssrc, ts_offset, asked: Cell::new(None), state })
    }

    /// Whether it is the flow of this track in this size.
    pub fn is_of(&self, track: &Rc<Track>, size: u16) -> bool {
        Rc::ptr_eq(&self.track, track) && self.size == size && self.carries(&track.codec())
    }

    /// Whether frames of this codec are still what was described to those who receive it.
    pub fn carries(&self, codec: &Codec) -> bool {
        let own = &self.codec;
        codec.id == own.id && codec.rate == own.rate && codec.channels == own.channels
    }

    /// The track.
    pub fn track(&self) -> &Rc<Track> {
        &self.track
    }

    /// A viewer has lost a picture and asks for a key frame: the source is asked once a second at
    /// most, whoever asks.
    pub fn want_key(&self, now: Time) {
        if self.asked.get().is_none_or(|asked| now.since(asked) >= WANT) {
            self.asked.set(Some(now));
            self.track.ask_key();
        }
    }

    /// Its payload type.
    pub fn payload_type(&self) -> u8 {
        self.payload_type
    }

    /// Who sends.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Video, sound or data.
    pub fn kind(&self) -> Kind {
        self.codec.kind()
    }

    /// The RTP time of an instant.
    pub fn rtp_time(&self, time: Time) -> u32 {
        (time.ticks(clock_rate(&self.codec)) as u32).wrapping_add(self.ts_offset)
    }

    /// The number of the first packet of a frame, which may be still to come.
    pub fn number(&self, frame: u64) -> u16 {
        let mut state = self.state.borrow_mut();
        self.reach(&mut state, frame);
        state.start(frame).unwrap_or(state.packetizer.next_seq())
    }

    /// Describes a frame as a reader sees it.
    pub fn with<R>(
        &self,
        shown: &Shown<'_>,
        codec: &Rc<Codec>,
        use_it: impl FnOnce(&mut Described) -> R,
    ) -> R {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let own_time = shown.decode == shown.meta.decode;
        if own_time && let Some(known) = state.recent.iter_mut().find(|d| d.is(shown.seq, shown.decode)) {
            return use_it(known);
        }
        self.reach(state, shown.seq);
        let next = state.first + state.starts.len() as u64;
        if own_time && shown.seq == next {
            self.describe(state, shown.seq, shown.meta.decode, shown.meta.key, &shown.data, codec);
            if let Some(new) = state.recent.get_mut(slot(shown.seq)) {
                return use_it(new);
            }
        }
        if shown.seq == next {
            // numbered at its own time, whatever this reader sees
            self.describe(state, shown.seq, shown.meta.decode, shown.meta.key, &shown.data, codec);
        }
        if !state.odd.is(shown.seq, shown.decode) {
            let seq = state.start(shown.seq).unwrap_or(state.packetizer.next_seq());
            state.pieces.clear();
            if let Ok(mut again) = self.packetizer(seq) {
                let extra = &codec.extra;
                let _ = again.packetize(&shown.data, shown.decode, shown.meta.key, extra, &mut state.pieces);
            }
            state.odd.fill(&state.pieces, shown.seq, shown.decode, codec);
        }
        use_it(&mut state.odd)
    }

    fn packetizer(&self, seq: u16) -> Result<Packetizer, PayError> {
        Packetizer::new(&self.codec, self.payload_type, self.size, self.ssrc, seq, self.ts_offset)
    }

    /// Describes the next frame, which gets the next numbers.
    fn describe(&self, state: &mut State, frame: u64, time: Time, key: bool, data: &[u8], codec: &Rc<Codec>) {
        state.pieces.clear();
        state.starts.push_back(state.packetizer.next_seq());
        let done = state.packetizer.packetize(data, time, key, &codec.extra, &mut state.pieces);
        if let Err(error) = done
            && !state.failed
        {
            // once: a camera that does it, does it with every frame
            state.failed = true;
            log::warn!(target: "rtsp", "a frame of {} cannot be sent: {error}", self.codec);
        }
        if let Some(place) = state.recent.get_mut(slot(frame)) {
            place.fill(&state.pieces, frame, time, codec);
        }
        let tail = self.track.ring().tail();
        while state.starts.len() > 1 && state.first < tail {
            state.starts.pop_front();
            state.first += 1;
        }
    }

    /// Numbers the frames up to `frame`, so that it is one of those numbered or the next.
    fn reach(&self, state: &mut State, frame: u64) {
        if state.starts.is_empty() {
            state.first = frame;
            return;
        }
        let next = state.first + state.starts.len() as u64;
        if frame > next {
            if frame - next > NUMBERED || next < self.track.ring().tail() {
                // too far: a gap of one shows that something is missing
                state.starts.clear();
                state.first = frame;
                let seq = state.packetizer.next_seq().wrapping_add(1);
                if let Ok(again) = self.packetizer(seq) {
                    state.packetizer = again;
                }
                return;
            }
            for at in next..frame {
                let Some((meta, data)) = self.track.frame(at) else { continue };
                let codec = self.track.config(meta.config).unwrap_or_else(|| self.codec.clone());
                self.describe(state, at, meta.decode, meta.key, &data, &codec);
            }
            return;
        }
        // before the first: count backwards
        while frame < state.first && state.first - frame <= NUMBERED {
            let at = state.first - 1;
            let Some((meta, data)) = self.track.frame(at) else { return };
            let codec = self.track.config(meta.config).unwrap_or_else(|| self.codec.clone());
            let Some(&seq) = state.starts.front() else { return };
            state.pieces.clear();
            let count = self
                .packetizer(0)
                .and_then(|mut p| p.packetize(&data, meta.decode, meta.key, &codec.extra, &mut state.pieces))
                .unwrap_or(0);
            state.starts.push_front(seq.wrapping_sub(count as u16));
            state.first = at;
        }
    }
}

impl Described {
    fn is(&self, frame: u64, time: Time) -> bool {
        self.valid && self.frame == frame && self.time == time
    }
}

impl State {
    fn start(&self, frame: u64) -> Option<u16> {
        let at = usize::try_from(frame.checked_sub(self.first)?).ok()?;
        self.starts.get(at).copied()
    }
}

fn slot(frame: u64) -> usize {
    frame as usize % RECENT
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
