//! The head of a slice, up to its quantiser.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::super::bits::{BitReader, Result, SyntaxError};
use super::super::nal_kind::SliceKind;
use super::{Pps, ShortTermRps, Sps, bits_for, nal_type, open, unit_type};

/// What the head of a slice says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceHeader {
    /// First of its picture.
    pub first: bool,
    /// Address of its first coding tree block.
    pub address: u32,
    /// How it is predicted.
    pub kind: SliceKind,
    /// Of a picture from which decoding can begin.
    pub key: bool,
    /// Of an IDR picture.
    pub idr: bool,
    /// The low bits of the picture's place in the order of output; 0 of an IDR picture.
    pub poc_lsb: u16,
    /// The quantiser with which the slice begins: down to 0 (lower for deep colour) up to 51.
    pub qp: i8,
}

impl SliceHeader {
    /// Reads the head of a slice that refers to these sets. A dependent slice segment has no
    /// quantiser of its own and is an error.
    pub fn parse(nal: &[u8], sps: &Sps, pps: &Pps) -> Result<SliceHeader> {
        SliceHeader::read(nal, |id| (id == pps.id).then_some((sps, pps)))
    }

    /// The same with the sets that `sets` knows of this `slice_pic_parameter_set_id`.
    pub fn read<'a>(nal: &[u8], sets: impl FnOnce(u8) -> Option<(&'a Sps, &'a Pps)>) -> Result<SliceHeader> {
        // 10..=15 and 22..=31 are reserved
        let mut r = open(nal, "H.265 slice", |t| matches!(t, 0..=9 | 16..=21))?;
        let r = &mut r;
        let unit = unit_type(nal);
        let key = unit >= nal_type::BLA_W_LP;
        let idr = matches!(unit, nal_type::IDR_W_RADL | nal_type::IDR_N_LP);

        let first = r.flag();
        if key {
            r.flag(); // no_output_of_prior_pics_flag
        }
        let id = r.ue_max(63, "slice_pic_parameter_set_id") as u8;
        r.end()?;
        let Some((sps, pps)) = sets(id).filter(|(sps, pps)| pps.sps_id == sps.id) else {
            return Err(SyntaxError::OtherSet("H.265 parameter set"));
        };
        let mut address = 0;
        if !first {
            if pps.dependent_slices && r.flag() {
                return Err(SyntaxError::Unsupported("dependent slice segment"));
            }
            address = r.u(sps.address_bits());
        }
        r.skip(u32::from(pps.extra_slice_bits));
        let kind = match r.ue() {
            0 => SliceKind::B,
            1 => SliceKind::P,
            2 => SliceKind::I,
            _ => {
                r.fail(SyntaxError::OutOfRange("slice_type"));
                SliceKind::I
            }
        };
        if pps.output_flag {
            r.flag();
        }
        if sps.separate_colour_plane {
            r.skip(2); // colour_plane_id
        }
        let mut poc_lsb = 0;
        let mut references = 0;
        let mut temporal_mvp = false;
        if !idr {
            poc_lsb = r.u(u32::from(sps.log2_max_poc_lsb)) as u16;
            references = short_term(r, sps);
            if sps.long_term_refs {
                references += long_term(r, sps);
            }
            temporal_mvp = sps.temporal_mvp && r.flag();
        }
        let chroma = sps.chroma_array_type() != 0;
        if sps.sao {
            r.flag();
            if chroma {
                r.flag();
            }
        }
        if kind != SliceKind::I {
            prediction(r, pps, kind, references, temporal_mvp, chroma);
        }
        let delta = r.se_in(-200, 200, "slice_qp_delta");
        let qp = i32::from(pps.init_qp) + delta;
        r.end()?;
        let lowest = -6 * (i32::from(sps.bit_depth_luma) - 8);
        if qp < lowest || qp > 51 {
            return Err(SyntaxError::OutOfRange("slice_qp_delta"));
        }
        Ok(SliceHeader { first, address, kind, key, idr, poc_lsb, qp: qp as i8 })
    }
}

/// The short-term reference picture set; how many pictures this one refers to.
fn short_term(r: &mut BitReader<'_>, sps: &Sps) -> u32 {
    let sets = &sps.short_term_rps;
    if !r.flag() {
        return ShortTermRps::parse(r, sets, true).used_by_current();
    }
    let index = r.u(bits_for(sets.len() as u32)) as usize;
    if index >= sets.len() {
        r.fail(SyntaxError::OutOfRange("short_term_ref_pic_set_idx"));
    }
    sets.get(index).map_or(0, ShortTermRps::used_by_current)
}

/// The long-term reference pictures; how many of them this picture refers to.
fn long_term(r: &mut BitReader<'_>, sps: &Sps) -> u32 {
    let listed = u32::from(sps.long_term_count);
    let from_list = if listed > 0 { r.ue_max(listed, "num_long_term_sps") } else { 0 };
    let own = r.ue_max(33, "num_long_term_pics");
    let mut used = 0;
    for i in 0..from_list + own {
        let counts = if i < from_list {
            let index = r.u(bits_for(listed));
            sps.long_term_used.checked_shr(index).unwrap_or(0) & 1
        } else {
            r.skip(u32::from(sps.log2_max_poc_lsb));
            r.u(1)
        };
        used += counts;
        if r.flag() {
            r.ue(); // delta_poc_msb_cycle_lt
        }
    }
    used
}

/// Everything that only P and B slices have.
fn prediction(
    r: &mut BitReader<'_>,
    pps: &Pps,
    kind: SliceKind,
    references: u32,
    temporal_mvp: bool,
    chroma: bool,
) {
    let bi = kind == SliceKind::B;
    let lists = if bi { 2 } else { 1 };
    let mut num_ref_idx = pps.num_ref_idx;
    if r.flag() {
        for n in num_ref_idx.iter_mut().take(lists) {
            *n = 1 + r.ue_max(14, "num_ref_idx_active_minus1") as u8;
        }
    }
    let [l0, l1] = num_ref_idx;
    if pps.lists_modification && references > 1 {
        for &n in num_ref_idx.iter().take(lists) {
            if r.flag() {
                r.skip(u32::from(n) * bits_for(references));
            }
        }
    }
    if bi {
        r.flag(); // mvd_l1_zero_flag
    }
    if pps.cabac_init {
        r.flag();
    }
    if temporal_mvp {
        let from_l0 = !bi || r.flag();
        if (if from_l0 { l0 } else { l1 }) > 1 {
            r.ue_max(15, "collocated_ref_idx");
        }
    }
    if if bi { pps.weighted_bipred } else { pps.weighted_pred } {
        r.ue_max(7, "luma_log2_weight_denom");
        if chroma {
            r.se();
        }
        for &n in num_ref_idx.iter().take(lists) {
            skip_weights(r, u32::from(n), chroma);
        }
    }
    r.ue_max(4, "five_minus_max_num_merge_cand");
}

/// `pred_weight_table` of one list.
fn skip_weights(r: &mut BitReader<'_>, entries: u32, chroma: bool) {
    let luma_flags = r.u(entries);
    let chroma_flags = if chroma { r.u(entries) } else { 0 };
    for i in (0..entries).rev() {
        let luma = luma_flags >> i & 1;
        let chroma = chroma_flags >> i & 1;
        for _ in 0..2 * luma + 4 * chroma {
            r.se();
        }
    }
}
