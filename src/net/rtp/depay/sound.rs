//! Sound, and ONVIF documents, which are joined just as simply.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{AuFormat, DepayError, Options, Sink, Writer};
use crate::net::rtp::Packet;

/// Samples of an AAC access unit.
const AAC_SAMPLES: u32 = 1024;
/// Access units in one packet.
const AU_MAX: usize = 64;

/// A payload that is a unit: Opus, G.711, G.722, linear samples.
pub(super) fn whole(packet: &Packet<'_>, max: usize, sink: &mut dyn Sink) -> Result<(), DepayError> {
    let mut writer = Writer::new(max);
    if packet.payload.is_empty() {
        return Ok(());
    }
    writer.begin(packet.header.timestamp, sink);
    writer.append(packet.payload, sink)?;
    writer.end(true, false, sink);
    Ok(())
}

/// A document in several packets; the marker, or another time, ends it.
pub(super) struct Document {
    pub(super) writer: Writer,
    /// The time of a document whose beginning may be lost.
    skip: Option<u32>,
}

impl Document {
    pub(super) fn new(writer: Writer) -> Document {
        Document { writer, skip: None }
    }

    pub(super) fn push(
        &mut self,
        packet: &Packet<'_>,
        gap: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), DepayError> {
        let time = packet.header.timestamp;
        if gap {
            self.writer.abort(sink);
            self.skip = Some(time);
        }
        if self.skip == Some(time) {
            if packet.header.marker {
                self.skip = None;
            }
            return Ok(());
        }
        self.skip = None;
        if self.writer.open && time != self.writer.time {
            self.writer.end(true, false, sink);
        }
        if !self.writer.open {
            self.writer.begin(time, sink);
        }
        self.writer.append(packet.payload, sink)?;
        if packet.header.marker {
            self.writer.end(true, false, sink);
        }
        Ok(())
    }
}

/// RFC 3640 with AU headers.
pub(super) struct Aac {
    format: AuFormat,
    pub(super) writer: Writer,
    /// Bytes still to come of an access unit in fragments.
    missing: usize,
}

impl Aac {
    pub(super) fn new(options: &Options) -> Aac {
        Aac { format: options.au, writer: Writer::new(options.max_unit), missing: 0 }
    }

    pub(super) fn push(
        &mut self,
        packet: &Packet<'_>,
        gap: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), DepayError> {
        let time = packet.header.timestamp;
        if gap || time != self.writer.time {
            self.writer.abort(sink);
            self.missing = 0;
        }
        let payload = packet.payload;
        let Some((bits, rest)) = payload.split_first_chunk::<2>() else { return Ok(()) };
        let bits = usize::from(u16::from_be_bytes(*bits));
        let Some((mut headers, mut data)) = rest.split_at_checked(bits.div_ceil(8)) else {
            // go2rtc issue 1328: a camera that sends plain ADTS. Its sync word read as a length is
            // longer than any packet.
            return self.adts(payload, time, sink);
        };
        if self.missing > 0 {
            return self.go_on(data, sink);
        }
        let width = usize::from(self.format.size) + usize::from(self.format.index);
        if self.format.size > 16
            || self.format.index > 8
            || self.format.delta != self.format.index
            || width % 8 != 0
        {
            return Err(DepayError::Unsupported(&"AU headers of an odd layout"));
        }
        let width = (width / 8).max(1);
        for i in 0..AU_MAX {
            let Some((header, after)) = headers.split_at_checked(width) else { return Ok(()) };
            if header.is_empty() {
                return Ok(());
            }
            headers = after;
            let value = header.iter().fold(0_u32, |v, &b| v << 8 | u32::from(b));
            if value & ((1 << self.format.index) - 1) != 0 && i > 0 {
                return Err(DepayError::Unsupported(&"interleaved AAC"));
            }
            let size = (value >> self.format.index) as usize;
            let time = time.wrapping_add(AAC_SAMPLES.wrapping_mul(i as u32));
            match data.split_at_checked(size) {
                Some((unit, after)) => {
                    self.unit(unit, time, sink)?;
                    data = after;
                }
                None if i == 0 && headers.is_empty() => {
                    self.writer.begin(time, sink);
                    self.missing = size;
                    return self.go_on(data, sink);
                }
                None => return Err(DepayError::Malformed(&"AAC access unit longer than its packet")),
            }
        }
        Err(DepayError::Malformed(&"too many AAC access units in a packet"))
    }

    /// A fragment of an access unit.
    fn go_on(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<(), DepayError> {
        let Some(missing) = self.missing.checked_sub(data.len()) else {
            self.missing = 0;
            self.writer.abort(sink);
            return Err(DepayError::Malformed(&"AAC fragments longer than their unit"));
        };
        self.missing = missing;
        self.writer.append(data, sink).inspect_err(|_| self.missing = 0)?;
        if missing == 0 {
            self.writer.end(true, false, sink);
        }
        Ok(())
    }

    /// One access unit; some cameras leave its ADTS header on.
    fn unit(&mut self, unit: &[u8], time: u32, sink: &mut dyn Sink) -> Result<(), DepayError> {
        let unit = match adts_frame(unit) {
            Some((skip, len)) if len == unit.len() => unit.get(skip..).unwrap_or(unit),
            _ => unit,
        };
        if unit.is_empty() {
            return Ok(());
        }
        self.writer.begin(time, sink);
        self.writer.append(unit, sink)?;
        self.writer.end(true, false, sink);
        Ok(())
    }

    fn adts(&mut self, mut rest: &[u8], mut time: u32, sink: &mut dyn Sink) -> Result<(), DepayError> {
        while let Some((skip, len)) = adts_frame(rest) {
            let Some((frame, after)) = rest.split_at_checked(len) else { break };
            self.unit(frame, time, sink)?;
            debug_assert!(skip <= len);
            (rest, time) = (after, time.wrapping_add(AAC_SAMPLES));
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(DepayError::Malformed(&"AU headers longer than their packet"))
        }
    }
}

/// Header and whole length of an ADTS frame.
fn adts_frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let &[0xFF, second, _, l0, l1, l2, ..] = bytes else { return None };
    if second & 0xF6 != 0xF0 {
        return None;
    }
    let header = if second & 1 == 0 { 9 } else { 7 };
    let len = usize::from(l0 & 3) << 11 | usize::from(l1) << 3 | usize::from(l2 >> 5);
    (len > header).then_some((header, len))
}

/// RFC 2250 §3.5: whole MPEG frames, or one in fragments with their offset.
pub(super) struct Mpa {
    pub(super) writer: Writer,
    whole: usize,
}

impl Mpa {
    pub(super) fn new(writer: Writer) -> Mpa {
        Mpa { writer, whole: 0 }
    }

    pub(super) fn push(
        &mut self,
        packet: &Packet<'_>,
        gap: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), DepayError> {
        let Some(([_, _, o0, o1], data)) = packet.payload.split_first_chunk::<4>() else {
            return Err(DepayError::Malformed(&"MPEG audio header"));
        };
        let offset = usize::from(u16::from_be_bytes([*o0, *o1]));
        if offset == 0 {
            self.writer.begin(packet.header.timestamp, sink);
            self.whole = mpa_frame_len(data).unwrap_or(data.len());
        } else if gap || offset != self.writer.len {
            self.writer.abort(sink);
        }
        self.writer.append(data, sink)?;
        if self.writer.len >= self.whole {
            self.writer.end(true, false, sink);
        }
        Ok(())
    }
}

/// Length of an MPEG audio frame by its header (ISO 11172-3 §2.4.1, 13818-3).
fn mpa_frame_len(bytes: &[u8]) -> Option<usize> {
    const V1: [[u16; 14]; 3] = [
        [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    ];
    const V2: [[u16; 14]; 2] = [
        [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    const RATES: [u32; 3] = [44_100, 48_000, 32_000];
    let &[0xFF, second, third, ..] = bytes else { return None };
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    if second & 0xE0 != 0xE0 || version == 1 || layer == 0 {
        return None;
    }
    let layer = usize::from(3 - layer);
    let table = if version == 3 { V1.get(layer) } else { V2.get(layer.min(1)) };
    let kbit = u32::from(*table?.get(usize::from(third >> 4).checked_sub(1)?)?);
    let shift = match version {
        3 => 0,
        2 => 1,
        _ => 2,
    };
    let rate = RATES.get(usize::from(third >> 2 & 3))? >> shift;
    let padding = u32::from(third >> 1 & 1);
    let len = match layer {
        0 => (12_000 * kbit / rate + padding) * 4,
        2 if version != 3 => 72_000 * kbit / rate + padding,
        _ => 144_000 * kbit / rate + padding,
    };
    Some(len as usize)
}
