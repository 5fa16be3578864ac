//! What H.264 and H.265 share: what a NAL unit is, how a slice is predicted, and the fields that both
//! write alike.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::bits::BitReader;

/// What a NAL unit is to whoever carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalKind {
    /// Part of a picture from which decoding can begin.
    Key,
    /// Part of any other picture.
    Slice,
    /// Video parameter set (H.265).
    Vps,
    /// Sequence parameter set.
    Sps,
    /// Picture parameter set.
    Pps,
    /// Supplemental information before its picture.
    Sei,
    /// Delimiter, filler, end marks, and types that no decoder reads: not carried.
    Padding,
    /// Anything else a decoder may want.
    Other,
}

/// How a slice is predicted. SP counts as P, SI as I.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceKind {
    /// From earlier pictures.
    P,
    /// From two directions.
    B,
    /// From itself alone.
    I,
}

/// Colour as the usability information says it, in the code points of H.273; 2 is "unspecified".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// Colour primaries.
    pub primaries: u8,
    /// Transfer characteristics.
    pub transfer: u8,
    /// Matrix coefficients.
    pub matrix: u8,
    /// Whether samples use all values (0 to 255) and not the studio range (16 to 235).
    pub full_range: bool,
}

/// `aspect_ratio_idc` and what follows it; the table of both codecs. None for "unspecified".
pub(super) fn sample_aspect(r: &mut BitReader<'_>) -> Option<(u16, u16)> {
    const TABLE: [(u16, u16); 16] = [
        (1, 1),
        (12, 11),
        (10, 11),
        (16, 11),
        (40, 33),
        (24, 11),
        (20, 11),
        (32, 11),
        (80, 33),
        (18, 11),
        (15, 11),
        (64, 33),
        (160, 99),
        (4, 3),
        (3, 2),
        (2, 1),
    ];
    let idc = usize::from(r.u8(8));
    if idc == 255 {
        let (w, h) = (r.u(16) as u16, r.u(16) as u16);
        return (w != 0 && h != 0).then_some((w, h));
    }
    idc.checked_sub(1).and_then(|i| TABLE.get(i).copied())
}

/// A frame rate in lowest terms, as far as it fits; None if that is no picture in 136 years.
pub(super) fn ratio(num: u64, den: u64) -> Option<(u32, u32)> {
    let (mut a, mut b) = (num, den);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let (mut num, mut den) = (num / a.max(1), den / a.max(1));
    while num > u64::from(u32::MAX) || den > u64::from(u32::MAX) {
        (num, den) = (num >> 1, den >> 1);
    }
    (num != 0).then_some((num as u32, den.max(1) as u32))
}

impl Colour {
    /// `video_signal_type` of either codec; None if it ends before.
    pub(super) fn parse(r: &mut BitReader<'_>) -> Option<Colour> {
        r.skip(3); // video_format
        let mut colour = Colour { full_range: r.flag(), ..Colour::default() };
        if r.flag() {
            colour.primaries = r.u8(8);
            colour.transfer = r.u8(8);
            colour.matrix = r.u8(8);
        }
        r.end().is_ok().then_some(colour)
    }
}
