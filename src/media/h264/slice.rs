//! The head of a slice, up to its quantiser.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::super::bits::{BitReader, Result, SyntaxError};
use super::super::nal_kind::SliceKind;
use super::{Poc, Pps, Sps, nal_type, open, slice_kind_of, unit_type};

/// What the head of a slice says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceHeader {
    /// Number of the first macroblock; 0 begins a picture.
    pub first_mb: u32,
    /// How it is predicted.
    pub kind: SliceKind,
    /// Of an IDR picture.
    pub idr: bool,
    /// Other pictures may refer to this one.
    pub reference: bool,
    /// `frame_num`.
    pub frame_num: u16,
    /// A field and not a frame.
    pub field: bool,
    /// The bottom one of two fields.
    pub bottom_field: bool,
    /// `idr_pic_id` of an IDR picture.
    pub idr_pic_id: u16,
    /// `pic_order_cnt_lsb` if the order is coded so.
    pub poc_lsb: u16,
    /// The quantiser of the slice's first macroblock: down to 0 (lower for deep colour) up to 51.
    pub qp: i8,
}

impl SliceHeader {
    /// Reads the head of a slice (types 1, 2 and 5) that refers to these sets.
    pub fn parse(nal: &[u8], sps: &Sps, pps: &Pps) -> Result<SliceHeader> {
        SliceHeader::read(nal, |id| (id == pps.id).then_some((sps, pps)))
    }

    /// The same with the sets that `sets` knows of this `pic_parameter_set_id`.
    pub fn read<'a>(nal: &[u8], sets: impl FnOnce(u8) -> Option<(&'a Sps, &'a Pps)>) -> Result<SliceHeader> {
        let mut r = open(nal, "H.264 slice", |t| matches!(t, 1 | 2 | 5))?;
        let r = &mut r;
        let idr = unit_type(nal) == nal_type::IDR;
        let reference = nal.first().is_some_and(|b| b & 0x60 != 0);

        let first_mb = r.ue_max(139_263, "first_mb_in_slice");
        let slice_type = r.ue_max(9, "slice_type");
        let kind = slice_kind_of(slice_type).ok_or(SyntaxError::OutOfRange("slice_type"))?;
        let id = r.ue_max(255, "pic_parameter_set_id") as u8;
        r.end()?;
        let Some((sps, pps)) = sets(id).filter(|(sps, pps)| pps.sps_id == sps.id) else {
            return Err(SyntaxError::OtherSet("H.264 parameter set"));
        };
        if sps.separate_colour_plane {
            r.skip(2); // colour_plane_id
        }
        let frame_num = r.u(u32::from(sps.log2_max_frame_num)) as u16;
        let field = !sps.frame_mbs_only && r.flag();
        let bottom_field = field && r.flag();
        let idr_pic_id = if idr { r.ue_max(65535, "idr_pic_id") as u16 } else { 0 };
        let both_fields = pps.bottom_field_pic_order && !field;
        let mut poc_lsb = 0;
        match sps.poc {
            Poc::Lsb { log2_max } => {
                poc_lsb = r.u(u32::from(log2_max)) as u16;
                if both_fields {
                    r.se(); // delta_pic_order_cnt_bottom
                }
            }
            Poc::Delta { always_zero: false } => {
                r.se();
                if both_fields {
                    r.se();
                }
            }
            _ => {}
        }
        if pps.redundant_pic_cnt {
            r.ue_max(127, "redundant_pic_cnt");
        }
        if kind == SliceKind::B {
            r.flag(); // direct_spatial_mv_pred_flag
        }
        let lists = match kind {
            SliceKind::I => 0,
            SliceKind::P => 1,
            SliceKind::B => 2,
        };
        let mut num_ref_idx = pps.num_ref_idx;
        if lists > 0 && r.flag() {
            for n in num_ref_idx.iter_mut().take(lists) {
                *n = 1 + r.ue_max(31, "num_ref_idx_active_minus1") as u8;
            }
        }
        for _ in 0..lists {
            skip_list_modification(r);
        }
        let weighted = match kind {
            SliceKind::I => false,
            SliceKind::P => pps.weighted_pred,
            SliceKind::B => pps.weighted_bipred_idc == 1,
        };
        if weighted {
            let chroma = sps.chroma_array_type() != 0;
            r.ue_max(7, "luma_log2_weight_denom");
            if chroma {
                r.ue_max(7, "chroma_log2_weight_denom");
            }
            for &n in num_ref_idx.iter().take(lists) {
                skip_weights(r, n, chroma);
            }
        }
        if reference {
            skip_marking(r, idr);
        }
        if pps.cabac && kind != SliceKind::I {
            r.ue_max(2, "cabac_init_idc");
        }
        let delta = r.se_in(-200, 200, "slice_qp_delta");
        let qp = i32::from(pps.init_qp) + delta;
        r.end()?;
        let lowest = -6 * (i32::from(sps.bit_depth_luma) - 8);
        if qp < lowest || qp > 51 {
            return Err(SyntaxError::OutOfRange("slice_qp_delta"));
        }
        Ok(SliceHeader {
            first_mb,
            kind,
            idr,
            reference,
            frame_num,
            field,
            bottom_field,
            idr_pic_id,
            poc_lsb,
            qp: qp as i8,
        })
    }
}

/// `ref_pic_list_modification` of one list.
fn skip_list_modification(r: &mut BitReader<'_>) {
    if !r.flag() {
        return;
    }
    // No more commands than entries of a list, and the end.
    for _ in 0..=66 {
        if r.ue_max(5, "modification_of_pic_nums_idc") == 3 {
            return;
        }
        r.ue();
    }
    r.fail(SyntaxError::OutOfRange("modification_of_pic_nums_idc"));
}

/// `pred_weight_table` of one list.
fn skip_weights(r: &mut BitReader<'_>, entries: u8, chroma: bool) {
    for _ in 0..entries {
        if r.flag() {
            r.se();
            r.se();
        }
        if chroma && r.flag() {
            for _ in 0..4 {
                r.se();
            }
        }
    }
}

/// `dec_ref_pic_marking`.
fn skip_marking(r: &mut BitReader<'_>, idr: bool) {
    if idr {
        return r.skip(2);
    }
    if !r.flag() {
        return;
    }
    for _ in 0..=66 {
        match r.ue_max(6, "memory_management_control_operation") {
            0 => return,
            5 => {}
            3 => {
                r.ue();
                r.ue();
            }
            _ => {
                r.ue();
            }
        }
    }
    r.fail(SyntaxError::OutOfRange("memory_management_control_operation"));
}
