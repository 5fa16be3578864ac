//! Frames described as RTP packets. A frame stays where it is; out come pieces: a few bytes of
//! header and a range of the frame (or of the codec's parameter sets) that follows them. A server
//! gathers them into one send for all readers. Nothing here copies media or allocates per frame
//! once the caller's list of pieces has grown.
//!
//! Sequence numbers, RTP time and SSRC belong to a track and its packet size, not to a reader.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod nal;
mod picture;
mod sound;

use super::packet::{HEADER_LEN, Header};
use crate::media::{Codec, CodecId, Time};
use std::fmt;

/// The most bytes a packet carries if nothing else is asked for: fits the usual paths with room for
/// tunnels.
pub const DEFAULT_PACKET_SIZE: u16 = 1400;
/// The smallest packet size that is accepted.
pub const MIN_PACKET_SIZE: u16 = 128;
/// The largest: the length of an interleaved frame has 16 bits, a datagram somewhat less.
pub const MAX_PACKET_SIZE: u16 = 65_000;
/// Room for the RTP header and the longest payload header (JPEG with restart and table headers).
pub const HEAD_MAX: usize = HEADER_LEN + 16;

/// Which bytes a piece's range is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The frame.
    Frame,
    /// [`Codec::extra`]: parameter sets repeated before a key frame.
    Extra,
}

/// A part of a packet: `head`, then `len` bytes at `offset` of `source`. Most packets are one
/// piece; where one needs a second range, the next piece has `size` zero and no head.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    head: [u8; HEAD_MAX],
    head_len: u8,
    /// Last packet of an access unit.
    pub marker: bool,
    /// What the range is of.
    pub source: Source,
    /// Bytes of the whole packet with its RTP header; zero if this piece continues the one before.
    pub size: u16,
    /// Bytes of the range.
    pub len: u16,
    /// Start of the range.
    pub offset: u32,
}

impl Piece {
    /// RTP header and payload header; empty for a continuation.
    pub fn head(&self) -> &[u8] {
        self.head.get(..usize::from(self.head_len)).unwrap_or(&[])
    }

    /// Whether a packet begins with this piece.
    pub fn begins(&self) -> bool {
        self.size != 0
    }

    /// The media bytes of this piece.
    pub fn body<'a>(&self, frame: &'a [u8], extra: &'a [u8]) -> &'a [u8] {
        let from = match self.source {
            Source::Frame => frame,
            Source::Extra => extra,
        };
        let start = self.offset as usize;
        from.get(start..start + usize::from(self.len)).unwrap_or(&[])
    }
}

/// Why a frame, or a codec, cannot travel in RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayError {
    /// No payload format for this codec.
    Codec(CodecId),
    /// The packet size is outside its bounds.
    PacketSize(u16),
    /// The frame is longer than its format or packet allows.
    TooLong {
        /// Bytes of it.
        have: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A NAL unit's length points beyond the frame, or is zero.
    NalLength,
    /// The frame is no JPEG picture that RFC 2435 can carry.
    Jpeg(super::jpeg::JpegError),
}

impl fmt::Display for PayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PayError::Codec(id) => write!(f, "{id} has no RTP payload format here"),
            PayError::PacketSize(n) => {
                write!(f, "packet size {n}, expected {MIN_PACKET_SIZE} to {MAX_PACKET_SIZE}")
            }
            PayError::TooLong { have, limit } => {
                write!(f, "frame of {have} bytes, RTP takes {limit} at most")
            }
            PayError::NalLength => f.write_str("a NAL unit's length does not fit its frame"),
            PayError::Jpeg(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for PayError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Nal(nal::Flavour),
    Aac,
    /// One frame, one packet.
    Whole,
    /// Samples of so many bytes (all channels); may be cut between any two.
    Samples(u8),
    Mpa,
    Jpeg,
    /// Cut anywhere, marker on the last.
    Document,
}

/// Turns the frames of one track into packets of one size.
#[derive(Clone, Debug)]
pub struct Packetizer {
    form: Form,
    rate: u32,
    payload_type: u8,
    ssrc: u32,
    seq: u16,
    ts_offset: u32,
    packet_size: u16,
    last_ticks: Option<u64>,
}

/// What the packets of one frame have in common while they are being described.
struct Run<'a> {
    out: &'a mut Vec<Piece>,
    header: Header,
    packet_size: usize,
}

impl Run<'_> {
    /// Bytes left for the payload behind a payload header of `head` bytes.
    fn room(&self, head: usize) -> usize {
        self.packet_size.saturating_sub(HEADER_LEN + head)
    }

    /// Appends one packet of one range; `payload_head` has at most 16 bytes.
    fn push(&mut self, payload_head: &[u8], source: Source, offset: usize, len: usize, marker: bool) {
        self.begin(payload_head, len, marker);
        self.range(source, offset, len);
    }

    /// Begins a packet whose ranges will be `len` bytes together.
    fn begin(&mut self, payload_head: &[u8], len: usize, marker: bool) {
        let mut head = [0; HEAD_MAX];
        let header = Header { marker, ..self.header };
        for (to, from) in head.iter_mut().zip(header.emit().iter().chain(payload_head)) {
            *to = *from;
        }
        let head_len = HEADER_LEN + payload_head.len();
        self.header.seq = self.header.seq.wrapping_add(1);
        self.out.push(Piece {
            head,
            head_len: head_len as u8,
            marker,
            source: Source::Frame,
            size: (head_len + len) as u16,
            len: 0,
            offset: 0,
        });
    }

    /// Adds a range to the packet begun last.
    fn range(&mut self, source: Source, offset: usize, len: usize) {
        match self.out.last_mut() {
            Some(last) if last.len == 0 => {
                (last.source, last.offset, last.len) = (source, offset as u32, len as u16);
            }
            Some(&mut last) => self.out.push(Piece {
                head: [0; HEAD_MAX],
                head_len: 0,
                marker: last.marker,
                source,
                size: 0,
                len: len as u16,
                offset: offset as u32,
            }),
            None => {}
        }
    }
}

impl Packetizer {
    /// A packetiser for `codec`. `ssrc`, `seq` and `ts_offset` are random in life, fixed in tests.
    pub fn new(
        codec: &Codec,
        payload_type: u8,
        packet_size: u16,
        ssrc: u32,
        seq: u16,
        ts_offset: u32,
    ) -> Result<Packetizer, PayError> {
        if !(MIN_PACKET_SIZE..=MAX_PACKET_SIZE).contains(&packet_size) {
            return Err(PayError::PacketSize(packet_size));
        }
        let channels = codec.channels.max(1);
        let form = match codec.id {
            CodecId::H264 => Form::Nal(nal::Flavour::H264),
            CodecId::H265 => Form::Nal(nal::Flavour::H265),
            CodecId::Aac => Form::Aac,
            CodecId::Opus => Form::Whole,
            CodecId::Pcmu | CodecId::Pcma | CodecId::G722 => Form::Samples(channels),
            CodecId::L16 => Form::Samples(channels.saturating_mul(2)),
            CodecId::Mpa => Form::Mpa,
            CodecId::Jpeg => Form::Jpeg,
            CodecId::Onvif => Form::Document,
            other => return Err(PayError::Codec(other)),
        };
        let rate = clock_rate(codec);
        Ok(Packetizer { form, rate, payload_type, ssrc, seq, ts_offset, packet_size, last_ticks: None })
    }

    /// Whether a codec can be packetised.
    pub fn takes(id: CodecId) -> bool {
        Packetizer::new(&Codec::new(id), 96, DEFAULT_PACKET_SIZE, 0, 0, 0).is_ok()
    }

    /// The sequence number that the next packet will have: for `RTP-Info`.
    pub fn next_seq(&self) -> u16 {
        self.seq
    }

    /// Who sends.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The RTP time of an instant: for `RTP-Info` and sender reports.
    pub fn rtp_time(&self, time: Time) -> u32 {
        (time.ticks(self.rate) as u32).wrapping_add(self.ts_offset)
    }

    /// Appends the packets of one frame to `out` and returns how many. `extra` is the codec's, sent
    /// before key frames. A frame that fails leaves `out` and the sequence as they were.
    pub fn packetize(
        &mut self,
        frame: &[u8],
        time: Time,
        key: bool,
        extra: &[u8],
        out: &mut Vec<Piece>,
    ) -> Result<usize, PayError> {
        if frame.len() > u32::MAX as usize / 2 {
            return Err(PayError::TooLong { have: frame.len(), limit: u32::MAX as usize / 2 });
        }
        // Strictly increasing, whatever the source says: equal or backward times stop recorders that
        // write what they get (Frigate's segmenter).
        let mut ticks = time.ticks(self.rate);
        if let Some(last) = self.last_ticks
            && ticks <= last
        {
            ticks = last + 1;
        }
        let header = Header {
            marker: false,
            payload_type: self.payload_type,
            seq: self.seq,
            timestamp: (ticks as u32).wrapping_add(self.ts_offset),
            ssrc: self.ssrc,
        };
        let before = out.len();
        let mut run = Run { out, header, packet_size: usize::from(self.packet_size) };
        let mut last = ticks;
        let result = match self.form {
            Form::Nal(flavour) => nal::packetize(&mut run, flavour, frame, if key { extra } else { &[] }),
            Form::Aac => sound::aac(&mut run, frame),
            Form::Whole => sound::whole(&mut run, frame),
            Form::Samples(size) => {
                sound::samples(&mut run, frame, usize::from(size), self.rate).map(|ticks| last += ticks)
            }
            Form::Mpa => sound::mpa(&mut run, frame),
            Form::Jpeg => picture::jpeg(&mut run, frame),
            Form::Document => sound::document(&mut run, frame),
        };
        let seq = run.header.seq;
        if let Err(e) = result {
            out.truncate(before);
            return Err(e);
        }
        let count = usize::from(seq.wrapping_sub(self.seq));
        if count > 0 {
            self.last_ticks = Some(last);
            self.seq = seq;
        }
        Ok(count)
    }
}

/// The rate of a codec's RTP clock, where it differs from the sampling rate too.
pub fn clock_rate(codec: &Codec) -> u32 {
    match codec.id {
        CodecId::Opus => 48_000,
        // RFC 3551 §4.5.2: said 8000 by mistake, and so it stays.
        CodecId::G722 => 8_000,
        CodecId::Mpa => 90_000,
        id if codec.rate == 0 => id.default_rate(),
        _ => codec.rate,
    }
}

/// Writes the packets out whole, as they go on the wire: for tests and for senders that cannot
/// gather.
pub fn assemble(pieces: &[Piece], frame: &[u8], extra: &[u8], mut each: impl FnMut(&[u8])) {
    let mut packet = Vec::new();
    for piece in pieces {
        if piece.begins() && !packet.is_empty() {
            each(&packet);
            packet.clear();
        }
        packet.extend_from_slice(piece.head());
        packet.extend_from_slice(piece.body(frame, extra));
    }
    if !packet.is_empty() {
        each(&packet);
    }
}

#[cfg(test)]
pub(crate) mod tests;
