//! H.265 (ITU-T H.265) as far as a carrier of streams needs it: what a NAL unit is, what the
//! parameter sets say, and the head of a slice. Never decodes a picture. Layers beyond the first
//! and screen content tools are not read.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod pps;
mod slice;
mod sps;
#[cfg(test)]
mod tests;

pub use pps::Pps;
pub use slice::SliceHeader;
pub use sps::{Profile, ShortTermRps, Sps, Vps, Vui};

use super::bits::{BitReader, Result, SyntaxError};
use super::nal_kind::NalKind;

/// NAL unit types.
pub mod nal_type {
    /// First of the types of pictures from which decoding can begin (IRAP): BLA.
    pub const BLA_W_LP: u8 = 16;
    /// IDR that may have leading pictures.
    pub const IDR_W_RADL: u8 = 19;
    /// IDR without leading pictures.
    pub const IDR_N_LP: u8 = 20;
    /// Clean random access.
    pub const CRA: u8 = 21;
    /// Video parameter set.
    pub const VPS: u8 = 32;
    /// Sequence parameter set.
    pub const SPS: u8 = 33;
    /// Picture parameter set.
    pub const PPS: u8 = 34;
    /// Access unit delimiter.
    pub const DELIMITER: u8 = 35;
    /// Filler data.
    pub const FILLER: u8 = 38;
    /// Supplemental enhancement information before the picture.
    pub const PREFIX_SEI: u8 = 39;
    /// Supplemental enhancement information after the picture.
    pub const SUFFIX_SEI: u8 = 40;
}

/// `nal_unit_type`; 63 (unspecified) of an empty unit.
pub fn unit_type(nal: &[u8]) -> u8 {
    nal.first().map_or(63, |b| (b >> 1) & 0x3f)
}

/// What `nal` is to whoever carries it. Key pictures are IRAP pictures: IDR, CRA and BLA.
pub fn kind(nal: &[u8]) -> NalKind {
    match unit_type(nal) {
        16..=23 => NalKind::Key,
        0..=31 => NalKind::Slice,
        nal_type::VPS => NalKind::Vps,
        nal_type::SPS => NalKind::Sps,
        nal_type::PPS => NalKind::Pps,
        nal_type::PREFIX_SEI | nal_type::SUFFIX_SEI => NalKind::Sei,
        // 48 to 63 are not specified by the standard; RTP uses them for its own framing.
        35..=38 | 48.. => NalKind::Padding,
        _ => NalKind::Other,
    }
}

/// Whether `nal` is a slice of a picture from which decoding can begin.
pub fn is_key(nal: &[u8]) -> bool {
    kind(nal) == NalKind::Key
}

/// Whether `nal` is the first slice segment of a picture.
pub fn begins_picture(nal: &[u8]) -> bool {
    unit_type(nal) < 32 && nal.get(2).is_some_and(|b| b & 0x80 != 0)
}

/// Opens `nal` behind its header if it has one of the wanted types.
fn open<'a>(nal: &'a [u8], name: &'static str, wanted: fn(u8) -> bool) -> Result<BitReader<'a>> {
    let (header, rest) = nal.split_first().ok_or(SyntaxError::Ended)?;
    if header & 0x80 != 0 || !wanted(header >> 1) {
        return Err(SyntaxError::NotA(name));
    }
    // the second byte of the head is layers
    Ok(BitReader::new(rest.get(1..).unwrap_or_default()))
}

/// Bits of a number below `count`: Ceil(Log2(count)).
fn bits_for(count: u32) -> u32 {
    count.saturating_sub(1).checked_ilog2().map_or(0, |log| log + 1)
}

/// `scaling_list_data`, of sequence and picture parameter sets.
fn skip_scaling_lists(r: &mut BitReader<'_>) {
    for size in 0..4u32 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !r.flag() {
                r.ue_max(5, "scaling_list_pred_matrix_id_delta");
                continue;
            }
            if size > 1 {
                r.se_in(-7, 247, "scaling_list_dc_coef_minus8");
            }
            for _ in 0..(1 << (4 + 2 * size)).min(64) {
                r.se_in(-128, 127, "scaling_list_delta_coef");
            }
        }
    }
}
