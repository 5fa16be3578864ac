//! What H.264 and H.265 have in common: a NAL unit is a header and a payload, some units are
//! pictures, some describe them, some are padding. One place that answers for both.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::codec::CodecId;
pub use super::nal_kind::{Colour, NalKind, SliceKind};
use super::{h264, h265};

/// A codec made of NAL units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalCodec {
    /// H.264.
    H264,
    /// H.265.
    H265,
}

impl Default for Colour {
    fn default() -> Colour {
        Colour { primaries: 2, transfer: 2, matrix: 2, full_range: false }
    }
}

impl NalCodec {
    /// Which one `id` is, if it is one of them.
    pub const fn of(id: CodecId) -> Option<NalCodec> {
        match id {
            CodecId::H264 => Some(NalCodec::H264),
            CodecId::H265 => Some(NalCodec::H265),
            _ => None,
        }
    }

    /// Its name in the table of codecs.
    pub const fn id(self) -> CodecId {
        match self {
            NalCodec::H264 => CodecId::H264,
            NalCodec::H265 => CodecId::H265,
        }
    }

    /// Bytes of a NAL unit's header.
    pub const fn header_len(self) -> usize {
        match self {
            NalCodec::H264 => 1,
            NalCodec::H265 => 2,
        }
    }

    /// What `nal` is; an empty or broken one is padding.
    pub fn kind(self, nal: &[u8]) -> NalKind {
        match self {
            NalCodec::H264 => h264::kind(nal),
            NalCodec::H265 => h265::kind(nal),
        }
    }

    /// Whether `nal` belongs to a picture from which decoding can begin.
    pub fn is_key(self, nal: &[u8]) -> bool {
        self.kind(nal) == NalKind::Key
    }

    /// Whether `nal` is the first slice of a picture.
    pub fn begins_picture(self, nal: &[u8]) -> bool {
        match self {
            NalCodec::H264 => h264::begins_picture(nal),
            NalCodec::H265 => h265::begins_picture(nal),
        }
    }
}
