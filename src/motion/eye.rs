//! What the detector sees of an access unit: how it is predicted, how many bytes its slices have, and the
//! quantiser in the head of the first. Nothing else of the picture is read.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::detector::{Picture, Type};
use crate::media::Codec;
use crate::media::annexb::lengths;
use crate::media::nal::{NalCodec, NalKind, SliceKind};
use crate::media::parameter_sets::ParameterSets;

/// Looks at the pictures of one track.
pub struct Eye {
    codec: NalCodec,
    sets: ParameterSets,
}

impl Eye {
    /// For a track of this codec; None where pictures have no such heads (JPEG).
    pub fn new(codec: &Codec) -> Option<Eye> {
        let known = NalCodec::of(codec.id)?;
        Some(Eye { codec: known, sets: ParameterSets::from_extra(known, &codec.extra) })
    }

    /// Looks at an access unit: NAL units behind their lengths, as tracks hold them. None if there is no
    /// picture in it.
    pub fn look(&self, unit: &[u8], gap: bool) -> Option<Picture> {
        let mut size = 0u32;
        let mut first = None;
        for nal in lengths(unit) {
            let kind = self.codec.kind(nal);
            if !matches!(kind, NalKind::Slice | NalKind::Key) {
                continue;
            }
            size = size.saturating_add(nal.len() as u32);
            first = first.or(Some((nal, kind)));
        }
        let (nal, kind) = first?;
        let head = self.sets.slice(nal);
        let kind = match (kind, head.map(|h| h.kind)) {
            (NalKind::Key, _) | (_, Some(SliceKind::I)) => Type::Key,
            (_, Some(SliceKind::B)) => Type::B,
            _ => Type::P,
        };
        Some(Picture { kind, base: self.is_base(nal), size, qp: head.map(|h| h.qp), gap })
    }

    fn is_base(&self, nal: &[u8]) -> bool {
        match (self.codec, nal) {
            (NalCodec::H264, [head, ..]) => head & 0x60 != 0,
            // temporal layer 0, and not one of the even types below 16, which nobody refers to
            (NalCodec::H265, [head, layer, ..]) => layer & 7 <= 1 && (head >> 1 & 1 != 0 || head >> 1 >= 16),
            _ => true,
        }
    }
}
