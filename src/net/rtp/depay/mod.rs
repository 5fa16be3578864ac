//! Packets of one track, already in order, to whole access units. Bytes go straight from the packet
//! into the caller's sink, which may be a track's arena: fragments are appended as they come and
//! lengths written afterwards, so that a frame is copied once. Everything is bounded: a unit by
//! [`Options::max_unit`], what is held besides by constants here.
//!
//! A unit ends at the marker and, because cameras forget it or set it early, at a change of time.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod nal;
mod picture;
mod sound;

use super::packet::{Packet, seq_diff};
use crate::media::{Codec, CodecId};
use std::fmt;

/// The largest access unit if nothing else is said: the predecessor's bound, more than any camera's.
pub const DEFAULT_MAX_UNIT: usize = 5 << 20;
/// A packet this far behind is an old one; farther means that the sender began anew.
const OLD: i16 = -256;

/// What is known about a unit when it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its RTP time.
    pub rtp_time: u32,
    /// A decoder can begin here. True for every unit of sound and every picture of JPEG.
    pub key: bool,
    /// Packets of it were lost, and [`Loss::Conceal`] asked for it all the same.
    pub damaged: bool,
}

/// Where access units are written. Between `begin` and `end` or `abort` there is one unit.
pub trait Sink {
    /// New parameter sets, in the form of [`Codec::extra`]; they hold from the next unit on.
    fn extra(&mut self, extra: &[u8]);
    /// A unit begins.
    fn begin(&mut self);
    /// Bytes of it. False if there is no room: the unit will be aborted.
    fn append(&mut self, bytes: &[u8]) -> bool;
    /// Writes over bytes appended earlier, `at` bytes from the unit's start.
    fn patch(&mut self, at: usize, bytes: &[u8]);
    /// The unit is whole.
    fn end(&mut self, unit: Unit);
    /// The unit will not be: forget it.
    fn abort(&mut self);
}

/// What to do when packets are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// Drop the damaged unit and everything up to the next key frame: never a broken picture.
    #[default]
    DropUntilKey,
    /// Hand out what came, marked as damaged.
    Conceal,
    /// Do not look at sequence numbers: for senders on TCP that do not count.
    Ignore,
}

/// RFC 3640's fields of an AU header, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuFormat {
    /// `sizelength`.
    pub size: u8,
    /// `indexlength`.
    pub index: u8,
    /// `indexdeltalength`.
    pub delta: u8,
}

impl AuFormat {
    /// Mode AAC-hbr, which everybody uses.
    pub const HBR: AuFormat = AuFormat { size: 13, index: 3, delta: 3 };
}

/// How to depacketise.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What to do about losses.
    pub loss: Loss,
    /// The longest unit.
    pub max_unit: usize,
    /// AAC's header layout.
    pub au: AuFormat,
    /// JPEG: the size that the SDP gives, for pictures whose header cannot (RFC 2435 says 0).
    pub jpeg_size: Option<(u16, u16)>,
}

impl Default for Options {
    fn default() -> Options {
        Options { loss: Loss::default(), max_unit: DEFAULT_MAX_UNIT, au: AuFormat::HBR, jpeg_size: None }
    }
}

/// Why a packet gave nothing. The depacketiser goes on with the next one. It fits two registers, because
/// it is handed on at every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepayError {
    /// No depacketiser for this codec.
    Codec(CodecId),
    /// The payload does not hold what its header says.
    Malformed(&'static &'static str),
    /// A mode that streamd does not read.
    Unsupported(&'static &'static str),
    /// The unit is longer than the bound, or the sink has no room for it.
    TooLong(usize),
}

impl fmt::Display for DepayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DepayError::Codec(id) => write!(f, "{id} cannot be read from RTP here"),
            DepayError::Malformed(what) => write!(f, "RTP payload is cut short or wrong: {what}"),
            DepayError::Unsupported(what) => write!(f, "RTP payload uses {what}, which is not supported"),
            DepayError::TooLong(n) => write!(f, "access unit grows beyond {n} bytes"),
        }
    }
}

impl std::error::Error for DepayError {}

enum Form {
    Nal(Box<nal::NalDepay>),
    Aac(sound::Aac),
    Whole,
    Mpa(sound::Mpa),
    Jpeg(Box<picture::Jpeg>),
    Document(sound::Document),
}

/// Turns the packets of one track into units.
pub struct Depay {
    form: Form,
    loss: Loss,
    max_unit: usize,
    next: Option<u16>,
    lost: u32,
}

impl Depay {
    /// A depacketiser for `codec`; its `extra` is what the SDP said.
    pub fn new(codec: &Codec, options: &Options) -> Result<Depay, DepayError> {
        let writer = Writer::new(options.max_unit);
        let form = match codec.id {
            CodecId::H264 => Form::Nal(Box::new(nal::NalDepay::new(nal::Flavour::H264, codec, options))),
            CodecId::H265 => Form::Nal(Box::new(nal::NalDepay::new(nal::Flavour::H265, codec, options))),
            CodecId::Aac | CodecId::Eld => Form::Aac(sound::Aac::new(options)),
            CodecId::Opus | CodecId::Pcmu | CodecId::Pcma | CodecId::G722 => Form::Whole,
            CodecId::L16 | CodecId::Pcml => Form::Whole,
            CodecId::Mpa => Form::Mpa(sound::Mpa::new(writer)),
            CodecId::Jpeg => Form::Jpeg(Box::new(picture::Jpeg::new(writer, options.jpeg_size))),
            CodecId::Onvif => Form::Document(sound::Document::new(writer)),
            other => return Err(DepayError::Codec(other)),
        };
        Ok(Depay { form, loss: options.loss, max_unit: options.max_unit, next: None, lost: 0 })
    }

    /// Whether packets of a codec can be read.
    pub fn takes(id: CodecId) -> bool {
        Depay::new(&Codec::new(id), &Options::default()).is_ok()
    }

    /// Packets missed so far, by their numbers.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Reads one packet. On an error this packet, perhaps its unit, is gone; the next may come. The
    /// SSRC is not looked at: cameras change theirs in mid-stream (Reolink, Tapo).
    pub fn push(&mut self, packet: &Packet<'_>, sink: &mut dyn Sink) -> Result<(), DepayError> {
        let seq = packet.header.seq;
        let mut gap = false;
        if let Some(next) = self.next
            && self.loss != Loss::Ignore
        {
            let step = seq_diff(seq, next);
            if (OLD..0).contains(&step) {
                return Ok(());
            }
            gap = step != 0;
            self.lost = self.lost.saturating_add(step.max(0) as u32);
        }
        self.next = Some(seq.wrapping_add(1));
        match &mut self.form {
            Form::Nal(nal) => nal.push(packet, gap, sink),
            Form::Aac(aac) => aac.push(packet, gap, sink),
            Form::Whole => sound::whole(packet, self.max_unit, sink),
            Form::Mpa(mpa) => mpa.push(packet, gap, sink),
            Form::Jpeg(jpeg) => jpeg.push(packet, gap, sink),
            Form::Document(document) => document.push(packet, gap, sink),
        }
    }

    /// Ends without a further packet: what is not whole is forgotten.
    pub fn finish(&mut self, sink: &mut dyn Sink) {
        match &mut self.form {
            Form::Nal(nal) => nal.writer.abort(sink),
            Form::Aac(aac) => aac.writer.abort(sink),
            Form::Whole => {}
            Form::Mpa(mpa) => mpa.writer.abort(sink),
            Form::Jpeg(jpeg) => jpeg.writer.abort(sink),
            Form::Document(document) => document.writer.abort(sink),
        }
    }
}

/// The unit being written: its bound, and that it is begun and ended once.
struct Writer {
    max: usize,
    open: bool,
    len: usize,
    time: u32,
}

impl Writer {
    fn new(max: usize) -> Writer {
        Writer { max, open: false, len: 0, time: 0 }
    }

    fn begin(&mut self, time: u32, sink: &mut dyn Sink) {
        self.abort(sink);
        (self.open, self.len, self.time) = (true, 0, time);
        sink.begin();
    }

    /// Appends; a unit that grows too long is aborted.
    fn append(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), DepayError> {
        if !self.open {
            return Ok(());
        }
        let len = self.len.saturating_add(bytes.len());
        if len > self.max || !sink.append(bytes) {
            self.abort(sink);
            return Err(DepayError::TooLong(self.max.min(len)));
        }
        self.len = len;
        Ok(())
    }

    fn end(&mut self, key: bool, damaged: bool, sink: &mut dyn Sink) {
        if self.open {
            self.open = false;
            if self.len == 0 {
                sink.abort();
            } else {
                sink.end(Unit { rtp_time: self.time, key, damaged });
            }
        }
    }

    #[inline(never)] // in many places, and seldom needed
    fn abort(&mut self, sink: &mut dyn Sink) {
        if self.open {
            self.open = false;
            sink.abort();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
