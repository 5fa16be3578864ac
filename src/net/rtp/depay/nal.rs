//! H.264 (RFC 6184: single, STAP-A, FU-A) and H.265 (RFC 7798: single, AP, FU). Coded slices are
//! appended to the sink as they come. Parameter sets, which never go into a unit, and the small units
//! between are gathered here first.
//!
//! What cameras do against the standards is allowed where it stands, each with its device.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{DepayError, Loss, Options, Sink, Writer};
use crate::media::Codec;
use crate::net::rtp::Packet;

/// Parameter sets, SEI and the like: none is longer than this.
const SMALL_MAX: usize = 16 << 10;
/// Parameter sets of one kind, with their lengths.
const SETS_MAX: usize = 4 << 10;
const START_CODE: [u8; 3] = [0, 0, 1];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    H264,
    H265,
}

/// What a NAL unit is to us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Slice {
        key: bool,
    },
    /// Index among the parameter sets, in the order of [`Codec::extra`].
    Set(usize),
    /// SEI: kept in the unit.
    Message,
    Delimiter,
    Other,
}

impl Flavour {
    fn header_len(self) -> usize {
        match self {
            Flavour::H264 => 1,
            Flavour::H265 => 2,
        }
    }

    fn role(self, first: u8) -> Role {
        match self {
            Flavour::H264 => match first & 0x1F {
                kind @ 1..=5 => Role::Slice { key: kind == 5 },
                6 => Role::Message,
                7 => Role::Set(0),
                8 => Role::Set(1),
                9 => Role::Delimiter,
                _ => Role::Other,
            },
            Flavour::H265 => match first >> 1 & 0x3F {
                // Type 0, a trailing picture nobody refers to, is a slice like any other.
                kind @ 0..=31 => Role::Slice { key: (16..=21).contains(&kind) },
                kind @ 32..=34 => Role::Set(usize::from(kind) - 32),
                35 => Role::Delimiter,
                39 | 40 => Role::Message,
                _ => Role::Other,
            },
        }
    }
}

/// Where the bytes of the current NAL unit go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nal {
    /// Nowhere: none has begun, or it is of no use.
    None,
    /// Into `small`, at least until its type is known.
    Small,
    /// Into the sink; the length is to be written at this place.
    Slice { length_at: usize },
}

pub(super) struct NalDepay {
    flavour: Flavour,
    loss: Loss,
    pub(super) writer: Writer,
    nal: Nal,
    /// A fragmented NAL unit is being received.
    fragmented: bool,
    small: Vec<u8>,
    /// Messages before the first slice, each behind its length.
    lead: Vec<u8>,
    sets: [Vec<u8>; 3],
    /// Sets received since the last slice.
    fresh: [Vec<u8>; 3],
    /// Start codes were seen inside packets: look for them everywhere.
    annex_b: bool,
    /// The current unit has had a slice, even one that was not wanted.
    sliced: bool,
    key: bool,
    damaged: bool,
    /// Slices of the current unit are not wanted.
    skip: bool,
    need_key: bool,
    after_gap: bool,
}

impl NalDepay {
    pub(super) fn new(flavour: Flavour, codec: &Codec, options: &Options) -> NalDepay {
        let mut sets: [Vec<u8>; 3] = Default::default();
        let mut rest = &codec.extra[..];
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let Some((nal, after)) = after.split_at_checked(u32::from_be_bytes(*len) as usize) else { break };
            if let Some(Role::Set(i)) = nal.first().map(|&b| flavour.role(b)) {
                add_set(&mut sets, i, nal);
            }
            rest = after;
        }
        NalDepay {
            flavour,
            loss: options.loss,
            writer: Writer::new(options.max_unit),
            nal: Nal::None,
            fragmented: false,
            small: Vec::new(),
            lead: Vec::new(),
            sets,
            fresh: Default::default(),
            annex_b: false,
            sliced: false,
            key: false,
            damaged: false,
            skip: false,
            need_key: options.loss == Loss::DropUntilKey,
            after_gap: false,
        }
    }

    pub(super) fn push(
        &mut self,
        packet: &Packet<'_>,
        gap: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), DepayError> {
        let time = packet.header.timestamp;
        if gap {
            self.gap(sink);
        }
        if self.sliced && time != self.writer.time {
            self.end_unit(sink);
        }
        if !self.sliced {
            self.writer.time = time;
        }
        let result = match self.flavour {
            Flavour::H264 => self.payload_264(packet.payload, sink),
            Flavour::H265 => self.payload_265(packet.payload, sink),
        };
        // A marker on a parameter set or a message ends nothing (RtspServer, Tapo TC70, Reolink Duo 2
        // mark their sets; Ivel marks its SEI): a unit has a slice.
        if packet.header.marker && self.sliced {
            self.end_unit(sink);
        }
        result
    }

    /// Packets are missing before this one.
    fn gap(&mut self, sink: &mut dyn Sink) {
        self.after_gap = true;
        let cut = std::mem::take(&mut self.fragmented);
        if self.loss == Loss::DropUntilKey {
            self.nal = Nal::None;
            self.need_key = true;
            if self.sliced {
                self.writer.abort(sink);
                self.skip = true;
            }
            return;
        }
        self.damaged |= self.sliced;
        if cut {
            if self.flavour == Flavour::H265 {
                // Decoders make far more of a missing H.265 picture than of half a slice.
                self.writer.abort(sink);
                self.skip = true;
                self.nal = Nal::None;
            } else {
                self.end_nal(sink);
            }
        }
    }

    fn payload_264(&mut self, payload: &[u8], sink: &mut dyn Sink) -> Result<(), DepayError> {
        let Some((&first, rest)) = payload.split_first() else { return Ok(()) };
        match first & 0x1F {
            24 => self.aggregate(rest, sink),
            28 => {
                let Some((&fu, data)) = rest.split_first() else {
                    return Err(DepayError::Malformed(&"FU-A without its header"));
                };
                self.fragment(&[first & 0xE0 | fu & 0x1F], fu & 0x80 != 0, fu & 0x40 != 0, data, sink)
            }
            25 => Err(DepayError::Unsupported(&"STAP-B (interleaved mode)")),
            26 | 27 => Err(DepayError::Unsupported(&"MTAP (interleaved mode)")),
            29 => Err(DepayError::Unsupported(&"FU-B (interleaved mode)")),
            _ => self.single(payload, sink),
        }
    }

    fn payload_265(&mut self, payload: &[u8], sink: &mut dyn Sink) -> Result<(), DepayError> {
        let Some((&[first, second], rest)) = payload.split_first_chunk::<2>() else {
            return if payload.is_empty() { Ok(()) } else { Err(DepayError::Malformed(&"H.265 header")) };
        };
        match first >> 1 & 0x3F {
            48 => self.aggregate(rest, sink),
            49 => {
                let Some((&fu, data)) = rest.split_first() else {
                    return Err(DepayError::Malformed(&"FU without its header"));
                };
                let head = [first & 0x81 | (fu & 0x3F) << 1, second];
                self.fragment(&head, fu & 0x80 != 0, fu & 0x40 != 0, data, sink)
            }
            // GeoVision sends packets of type 50 (PACI) that hold nothing of the picture.
            50 => Ok(()),
            _ => self.single(payload, sink),
        }
    }

    fn single(&mut self, payload: &[u8], sink: &mut dyn Sink) -> Result<(), DepayError> {
        self.close_fragment(sink);
        self.whole(payload, sink)
    }

    fn whole(&mut self, mut nal: &[u8], sink: &mut dyn Sink) -> Result<(), DepayError> {
        // V380 puts Annex B into RTP, start codes and all.
        if let Some(at) = leading_start_code(nal) {
            self.annex_b = true;
            nal = nal.get(at..).unwrap_or(&[]);
        }
        self.begin_nal();
        let result = self.bytes(nal, sink);
        self.end_nal(sink);
        result
    }

    fn aggregate(&mut self, mut rest: &[u8], sink: &mut dyn Sink) -> Result<(), DepayError> {
        self.close_fragment(sink);
        while let Some((len, after)) = rest.split_first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*len));
            let Some((nal, after)) = after.split_at_checked(len) else {
                return Err(DepayError::Malformed(&"aggregated NAL unit"));
            };
            self.whole(nal, sink)?;
            rest = after;
        }
        if rest.is_empty() { Ok(()) } else { Err(DepayError::Malformed(&"aggregated NAL unit")) }
    }

    fn fragment(
        &mut self,
        head: &[u8],
        start: bool,
        end: bool,
        data: &[u8],
        sink: &mut dyn Sink,
    ) -> Result<(), DepayError> {
        if start {
            self.close_fragment(sink);
            self.begin_nal();
            self.fragmented = true;
            self.bytes(head, sink)?;
        } else if !self.fragmented {
            return Ok(());
        }
        // The type in later fragments is not compared with the first (Tiandy changes it), an empty
        // fragment adds nothing, and one that both starts and ends is a whole unit (OpenIPC, H.265).
        let result = self.bytes(data, sink);
        if end {
            self.close_fragment(sink);
        }
        result
    }

    /// Ends a fragmented unit whose end was marked, or was never marked although nothing was lost.
    fn close_fragment(&mut self, sink: &mut dyn Sink) {
        if std::mem::take(&mut self.fragmented) {
            self.end_nal(sink);
        }
    }

    fn begin_nal(&mut self) {
        self.small.clear();
        self.nal = Nal::Small;
    }

    /// Bytes of the current NAL unit, which may turn out to be several.
    fn bytes(&mut self, mut bytes: &[u8], sink: &mut dyn Sink) -> Result<(), DepayError> {
        while self.annex_b
            && let Some(at) = find_start_code(bytes)
        {
            self.bytes_of_one(bytes.get(..at).unwrap_or(&[]), sink)?;
            self.end_nal(sink);
            self.begin_nal();
            bytes = bytes.get(at + START_CODE.len()..).unwrap_or(&[]);
        }
        self.bytes_of_one(bytes, sink)
    }

    fn bytes_of_one(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), DepayError> {
        match self.nal {
            Nal::None => Ok(()),
            Nal::Slice { .. } => self.write(bytes, sink),
            Nal::Small => self.small_bytes(bytes, sink),
        }
    }

    fn write(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), DepayError> {
        let result = self.writer.append(bytes, sink);
        if result.is_err() {
            (self.nal, self.skip, self.need_key) = (Nal::None, true, self.loss == Loss::DropUntilKey);
        }
        result
    }

    /// Gathers a unit that is not yet known to be a slice.
    fn small_bytes(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), DepayError> {
        let header = self.flavour.header_len();
        // The byte after the header says whether a slice is its picture's first.
        let missing = (header + 1).saturating_sub(self.small.len()).min(bytes.len());
        let (now, bytes) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        self.small.extend_from_slice(now);
        let (Some(&first), Some(&after)) = (self.small.first(), self.small.get(header)) else {
            return Ok(());
        };
        if let Role::Slice { key } = self.flavour.role(first) {
            self.begin_slice(key, after & 0x80 != 0, sink)?;
            if self.nal == Nal::Small {
                self.nal = Nal::Slice { length_at: self.writer.len };
                self.write(&[0; 4], sink)?;
                let small = std::mem::take(&mut self.small);
                let result = self.write(&small, sink);
                self.small = small;
                result?;
                return self.bytes_of_one(bytes, sink);
            }
            return Ok(());
        }
        if self.small.len() + bytes.len() > SMALL_MAX {
            self.nal = Nal::None;
            return Err(DepayError::TooLong(SMALL_MAX));
        }
        let before = self.small.len();
        self.small.extend_from_slice(bytes);
        // Several units joined by start codes in what looks like one parameter set (V380 and others:
        // an «SPS» that holds the PPS and the picture too).
        let from = before.saturating_sub(2).max(header);
        let Some(at) = self.small.get(from..).and_then(find_start_code).map(|at| from + at) else {
            return Ok(());
        };
        self.annex_b = true;
        let rest = self.small.split_off(at);
        self.end_nal(sink);
        self.begin_nal();
        self.bytes(rest.get(START_CODE.len()..).unwrap_or(&[]), sink)
    }

    /// A slice begins: it opens a unit or belongs to the one that is open, or is not wanted.
    fn begin_slice(
        &mut self,
        key: bool,
        first_of_picture: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), DepayError> {
        if !self.sliced {
            self.sliced = true;
            self.skip = (self.need_key && !key)
                || (self.after_gap && self.loss == Loss::DropUntilKey && !first_of_picture);
            if !self.skip {
                if key {
                    self.need_key = false;
                }
                self.damaged |= self.after_gap && !first_of_picture;
                self.after_gap = false;
                self.flush_sets(sink);
                let time = self.writer.time;
                self.writer.begin(time, sink);
                let lead = std::mem::take(&mut self.lead);
                let result = self.write(&lead, sink);
                self.lead = lead;
                self.lead.clear();
                result?;
            }
        }
        if self.skip {
            self.nal = Nal::None;
        }
        self.key |= key;
        Ok(())
    }

    fn end_nal(&mut self, sink: &mut dyn Sink) {
        match std::mem::replace(&mut self.nal, Nal::None) {
            Nal::None => {}
            Nal::Slice { length_at } => {
                if self.writer.open {
                    let len = self.writer.len - length_at - 4;
                    sink.patch(length_at, &(len as u32).to_be_bytes());
                }
            }
            Nal::Small => self.end_small(sink),
        }
    }

    fn end_small(&mut self, sink: &mut dyn Sink) {
        // Zeros before a start code, and some cameras' padding, are not part of the unit.
        while self.small.last() == Some(&0) {
            self.small.pop();
        }
        let Some(role) = self.small.first().map(|&b| self.flavour.role(b)) else { return };
        if self.small.len() <= self.flavour.header_len() && role != Role::Delimiter {
            return;
        }
        match role {
            Role::Set(_) | Role::Delimiter if self.sliced => {
                // It belongs to the next picture: this one is whole, though neither marker nor time
                // said so.
                let time = self.writer.time;
                let small = std::mem::take(&mut self.small);
                let fragmented = std::mem::take(&mut self.fragmented);
                self.end_unit(sink);
                (self.small, self.fragmented) = (small, fragmented);
                self.writer.time = time;
            }
            _ => {}
        }
        match role {
            Role::Set(i) => add_set(&mut self.fresh, i, &self.small),
            Role::Message => {
                let len = (self.small.len() as u32).to_be_bytes();
                if !self.sliced {
                    if self.lead.len() + self.small.len() <= SMALL_MAX {
                        self.lead.extend_from_slice(&len);
                        self.lead.extend_from_slice(&self.small);
                    }
                } else if !self.skip {
                    let small = std::mem::take(&mut self.small);
                    let _ = self.write(&len, sink).and_then(|()| self.write(&small, sink));
                    self.small = small;
                }
            }
            _ => {}
        }
    }

    /// Tells the sink about parameter sets that are new.
    fn flush_sets(&mut self, sink: &mut dyn Sink) {
        let mut changed = false;
        for (known, fresh) in self.sets.iter_mut().zip(&mut self.fresh) {
            if !fresh.is_empty() && known != fresh {
                std::mem::swap(known, fresh);
                changed = true;
            }
            fresh.clear();
        }
        if changed {
            sink.extra(&self.sets.concat());
        }
    }

    fn end_unit(&mut self, sink: &mut dyn Sink) {
        self.close_fragment(sink);
        self.end_nal(sink);
        if self.damaged && self.loss == Loss::DropUntilKey {
            self.writer.abort(sink);
        } else {
            self.writer.end(self.key, self.damaged, sink);
        }
        (self.sliced, self.key, self.damaged, self.skip) = (false, false, false, false);
        self.lead.clear();
    }
}

/// Adds a parameter set to its kind, once.
fn add_set(sets: &mut [Vec<u8>; 3], kind: usize, nal: &[u8]) {
    let Some(list) = sets.get_mut(kind) else { return };
    let mut rest = &list[..];
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let Some((known, after)) = after.split_at_checked(u32::from_be_bytes(*len) as usize) else { break };
        if known == nal {
            return;
        }
        rest = after;
    }
    if list.len() + nal.len() + 4 <= SETS_MAX {
        list.extend_from_slice(&(nal.len() as u32).to_be_bytes());
        list.extend_from_slice(nal);
    }
}

/// Bytes of a start code at the front, if there is one.
fn leading_start_code(nal: &[u8]) -> Option<usize> {
    match nal {
        [0, 0, 1, ..] => Some(3),
        [0, 0, 0, 1, ..] => Some(4),
        _ => None,
    }
}

fn find_start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(START_CODE.len()).position(|w| w == START_CODE)
}
