//! H.264 (ITU-T H.264) as far as a carrier of streams needs it: what a NAL unit is, what the
//! parameter sets say, and the head of a slice. Never decodes a picture.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod pps;
mod slice;
mod sps;
#[cfg(test)]
mod tests;

pub use pps::Pps;
pub use slice::SliceHeader;
pub use sps::{Poc, ProfileLevel, Sps, Vui};

use super::bits::{BitReader, Result, SyntaxError};
use super::nal_kind::{NalKind, SliceKind};

/// NAL unit types.
pub mod nal_type {
    /// Slice of a picture that is not an IDR picture.
    pub const SLICE: u8 = 1;
    /// Slice data partition A.
    pub const PARTITION_A: u8 = 2;
    /// Slice of an IDR picture.
    pub const IDR: u8 = 5;
    /// Supplemental enhancement information.
    pub const SEI: u8 = 6;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const DELIMITER: u8 = 9;
    /// Filler data.
    pub const FILLER: u8 = 12;
}

/// `nal_unit_type`; 0 of an empty unit.
pub fn unit_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |b| b & 0x1f)
}

/// What `nal` is to whoever carries it. Key pictures are IDR pictures.
pub fn kind(nal: &[u8]) -> NalKind {
    match unit_type(nal) {
        nal_type::IDR => NalKind::Key,
        1..=4 => NalKind::Slice,
        nal_type::SEI => NalKind::Sei,
        nal_type::SPS => NalKind::Sps,
        nal_type::PPS => NalKind::Pps,
        // 0 and 24..=31 are not specified by the standard; RTP uses them for its own framing.
        0 | 9..=12 | 24..=31 => NalKind::Padding,
        _ => NalKind::Other,
    }
}

/// Whether `nal` is a slice of an IDR picture.
pub fn is_key(nal: &[u8]) -> bool {
    unit_type(nal) == nal_type::IDR
}

/// Whether `nal` is the first slice of a picture (or of a field).
pub fn begins_picture(nal: &[u8]) -> bool {
    // first_mb_in_slice is 0 exactly if its code is the single bit 1.
    matches!(unit_type(nal), 1 | 2 | 5) && nal.get(1).is_some_and(|b| b & 0x80 != 0)
}

/// The kind of a slice, read without parameter sets; None if `nal` is not a slice.
pub fn slice_kind(nal: &[u8]) -> Option<SliceKind> {
    if !matches!(unit_type(nal), 1 | 2 | 5) {
        return None;
    }
    let mut r = BitReader::new(nal);
    r.skip(8);
    r.ue();
    let slice_type = r.ue();
    r.end().ok()?;
    slice_kind_of(slice_type)
}

fn slice_kind_of(slice_type: u32) -> Option<SliceKind> {
    match slice_type {
        0 | 3 | 5 | 8 => Some(SliceKind::P),
        1 | 6 => Some(SliceKind::B),
        2 | 4 | 7 | 9 => Some(SliceKind::I),
        _ => None,
    }
}

/// Opens `nal` behind its header if it has one of the wanted types.
fn open<'a>(nal: &'a [u8], name: &'static str, wanted: fn(u8) -> bool) -> Result<BitReader<'a>> {
    let (header, rest) = nal.split_first().ok_or(SyntaxError::Ended)?;
    if header & 0x80 != 0 || !wanted(header & 0x1f) {
        return Err(SyntaxError::NotA(name));
    }
    Ok(BitReader::new(rest))
}
