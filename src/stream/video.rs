//! The way into a track of H.264 or H.265: takes NAL units as sources have them, keeps parameter
//! sets out of the frames and tells readers when they change, drops what no decoder needs.

use super::track::Inlet;
use crate::media::annexb;
use crate::media::nal::NalCodec;
use crate::media::parameter_sets::ParameterSets;
use crate::media::{Codec, Time};
use std::rc::Rc;

/// A way into a track of H.264 or H.265.
pub struct VideoInlet {
    inlet: Inlet,
    sets: ParameterSets,
}

impl VideoInlet {
    /// Writes into this track; of another codec it is taken for H.264.
    pub fn new(inlet: Inlet) -> VideoInlet {
        let codec = inlet.track().codec();
        let known = NalCodec::of(codec.id).unwrap_or(NalCodec::H264);
        VideoInlet { sets: ParameterSets::from_extra(known, &codec.extra), inlet }
    }

    /// The track's own inlet.
    pub fn inlet(&self) -> &Inlet {
        &self.inlet
    }

    /// The track's own inlet, to mark what was lost.
    pub fn inlet_mut(&mut self) -> &mut Inlet {
        &mut self.inlet
    }

    /// What is known of the pictures.
    pub fn sets(&self) -> &ParameterSets {
        &self.sets
    }

    /// Writes one access unit given as an Annex B byte stream. False if it holds no picture or
    /// cannot be decoded.
    pub fn push_annexb(&mut self, time: Time, unit: &[u8]) -> bool {
        self.push_units(time, &mut annexb::nals(unit))
    }

    /// Writes one access unit given as NAL units.
    pub fn push_units(&mut self, time: Time, units: &mut dyn Iterator<Item = &[u8]>) -> bool {
        self.inlet.truncate(0);
        let inlet = &mut self.inlet;
        let unit = self.sets.unit(units, &mut |nal| inlet.append_unit(nal));
        if unit.changed {
            let codec = Codec { extra: Rc::from(self.sets.extra()), ..(*self.inlet.track().codec()).clone() };
            self.inlet.set_codec(codec);
        }
        if !unit.picture {
            self.inlet.truncate(0);
            return false;
        }
        // a key frame that no decoder can begin with is none
        self.inlet.commit(time, time, unit.key && self.sets.complete())
    }
}
