//! JPEG (RFC 2435): the file is put together again, headers first.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{DepayError, Sink, Writer};
use crate::net::rtp::Packet;
use crate::net::rtp::jpeg::{Headers, tables_of_quality};

const EOI: [u8; 2] = [0xFF, 0xD9];

pub(super) struct Jpeg {
    pub(super) writer: Writer,
    /// Size from the SDP, for pictures beyond what eight bits of blocks say.
    size: Option<(u16, u16)>,
    /// Where the next fragment has to begin.
    offset: usize,
    /// In-band tables that may be used again: their quality, precision and bytes.
    kept: (u8, u8, Vec<u8>),
    headers: Vec<u8>,
    tail: [u8; 2],
}

impl Jpeg {
    pub(super) fn new(writer: Writer, size: Option<(u16, u16)>) -> Jpeg {
        Jpeg { writer, size, offset: 0, kept: (0, 0, Vec::new()), headers: Vec::new(), tail: [0; 2] }
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
        } else if self.writer.open && time != self.writer.time {
            self.end(sink)?;
        }
        let malformed = DepayError::Malformed(&"JPEG header");
        let Some((&[_, o0, o1, o2, kind, q, wide, high], mut data)) = packet.payload.split_first_chunk::<8>()
        else {
            return Err(malformed);
        };
        let offset = usize::from(o0) << 16 | usize::from(o1) << 8 | usize::from(o2);
        let mut restart_interval = 0;
        if (64..128).contains(&kind) {
            let Some(([r0, r1, _, _], rest)) = data.split_first_chunk::<4>() else { return Err(malformed) };
            (restart_interval, data) = (u16::from_be_bytes([*r0, *r1]), rest);
        }
        if offset == 0 {
            self.writer.abort(sink);
            if q >= 128 {
                let Some(([_, precision, l0, l1], rest)) = data.split_first_chunk::<4>() else {
                    return Err(malformed);
                };
                let len = usize::from(u16::from_be_bytes([*l0, *l1]));
                let (tables, rest) = rest.split_at_checked(len).ok_or(malformed)?;
                data = rest;
                if len > 256 {
                    return Err(DepayError::Malformed(&"JPEG tables"));
                }
                if len > 0 {
                    self.kept.2.clear();
                    self.kept.2.extend_from_slice(tables);
                    (self.kept.0, self.kept.1) = (q, *precision);
                } else if self.kept.0 != q || q == 255 {
                    return Err(DepayError::Malformed(&"JPEG tables that were never sent"));
                }
            } else if self.kept.0 != q || self.kept.2.is_empty() {
                self.kept = (q, 0, tables_of_quality(q).to_vec());
            }
            let halved_height = match kind & !64 {
                0 => false,
                1 => true,
                _ => return Err(DepayError::Unsupported(&"a JPEG type other than 4:2:2 and 4:2:0")),
            };
            let (width, height) = self.true_size(u16::from(wide) * 8, u16::from(high) * 8)?;
            self.headers.clear();
            let (precision, tables) = (self.kept.1, &self.kept.2);
            Headers { width, height, halved_height, restart_interval, tables, precision }
                .emit(&mut self.headers);
            self.writer.begin(time, sink);
            (self.offset, self.tail) = (0, [0; 2]);
            self.writer.append(&self.headers, sink)?;
        } else if offset != self.offset {
            self.writer.abort(sink);
        }
        if !self.writer.open {
            return Ok(());
        }
        self.writer.append(data, sink)?;
        self.offset = self.offset.saturating_add(data.len());
        self.tail = match (data, self.tail) {
            ([.., a, b], _) => [*a, *b],
            ([b], [_, a]) => [a, *b],
            (_, tail) => tail,
        };
        if packet.header.marker {
            self.end(sink)?;
        }
        Ok(())
    }

    /// Pictures over 2040 pixels wrap in the header; the sizes that cameras are known to send so are
    /// repaired as the predecessor does.
    fn true_size(&self, width: u16, height: u16) -> Result<(u16, u16), DepayError> {
        Ok(match (width, height) {
            (0, _) | (_, 0) => self.size.ok_or(DepayError::Malformed(&"JPEG size of zero"))?,
            (512, 1920 | 1440) => (2560, height),
            (1792, 112) => (3840, 2160),
            (256, 1296) => (2304, 1296),
            _ => match self.size {
                // The SDP agrees as far as eight bits go: it knows the rest.
                Some((w, h)) if w & 0x7F8 == width && h & 0x7F8 == height => (w, h),
                _ => (width, height),
            },
        })
    }

    fn end(&mut self, sink: &mut dyn Sink) -> Result<(), DepayError> {
        if self.writer.open && self.tail != EOI {
            self.writer.append(&EOI, sink)?;
        }
        self.writer.end(true, false, sink);
        Ok(())
    }
}
