//! The picture parameter set: what the head of a slice depends on.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::super::bits::{BitReader, Result};
use super::{nal_type, open};

/// A picture parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pps {
    /// `pic_parameter_set_id`, 0..=255.
    pub id: u8,
    /// The sequence parameter set it belongs to.
    pub sps_id: u8,
    /// CABAC and not CAVLC.
    pub cabac: bool,
    /// Slices of frames tell the order of their bottom field.
    pub bottom_field_pic_order: bool,
    /// Slice groups; more than one only in Baseline and Extended.
    pub slice_groups: u8,
    /// Entries of both reference lists unless a slice says otherwise.
    pub num_ref_idx: [u8; 2],
    /// P slices carry prediction weights.
    pub weighted_pred: bool,
    /// 1: B slices carry prediction weights.
    pub weighted_bipred_idc: u8,
    /// The quantiser before a slice's own difference: 26 + `pic_init_qp_minus26`.
    pub init_qp: i8,
    /// `chroma_qp_index_offset`.
    pub chroma_qp_offset: i8,
    /// Slices carry deblocking parameters.
    pub deblocking_control: bool,
    /// `constrained_intra_pred_flag`.
    pub constrained_intra_pred: bool,
    /// Slices carry `redundant_pic_cnt`.
    pub redundant_pic_cnt: bool,
    /// `transform_8x8_mode_flag`.
    pub transform_8x8: bool,
}

impl Pps {
    /// Reads a set from its NAL unit. Scaling matrices and what follows them are not read.
    pub fn parse(nal: &[u8]) -> Result<Pps> {
        let mut r = open(nal, "H.264 PPS", |t| t == nal_type::PPS)?;
        let r = &mut r;
        let id = r.ue_max(255, "pic_parameter_set_id") as u8;
        let sps_id = r.ue_max(31, "seq_parameter_set_id") as u8;
        let cabac = r.flag();
        let bottom_field_pic_order = r.flag();
        let slice_groups = 1 + r.ue_max(7, "num_slice_groups_minus1") as u8;
        if slice_groups > 1 {
            skip_slice_groups(r, slice_groups);
        }
        let num_ref_idx = [
            1 + r.ue_max(31, "num_ref_idx_l0_default_active_minus1") as u8,
            1 + r.ue_max(31, "num_ref_idx_l1_default_active_minus1") as u8,
        ];
        let weighted_pred = r.flag();
        let weighted_bipred_idc = r.u8(2);
        let init_qp = 26 + r.se_in(-62, 25, "pic_init_qp_minus26") as i8;
        r.se_in(-26, 25, "pic_init_qs_minus26");
        let chroma_qp_offset = r.se_in(-12, 12, "chroma_qp_index_offset") as i8;
        let deblocking_control = r.flag();
        let constrained_intra_pred = r.flag();
        let redundant_pic_cnt = r.flag();
        r.end()?;
        let transform_8x8 = r.more_data() && r.flag();
        Ok(Pps {
            id,
            sps_id,
            cabac,
            bottom_field_pic_order,
            slice_groups,
            num_ref_idx,
            weighted_pred,
            weighted_bipred_idc,
            init_qp,
            chroma_qp_offset,
            deblocking_control,
            constrained_intra_pred,
            redundant_pic_cnt,
            transform_8x8,
        })
    }
}

fn skip_slice_groups(r: &mut BitReader<'_>, groups: u8) {
    match r.ue_max(6, "slice_group_map_type") {
        0 => {
            for _ in 0..groups {
                r.ue();
            }
        }
        2 => {
            for _ in 1..groups {
                r.ue();
                r.ue();
            }
        }
        3..=5 => {
            r.flag();
            r.ue();
        }
        6 => {
            let bits = (u32::from(groups) - 1).checked_ilog2().map_or(0, |log| log + 1);
            // One entry per map unit of the largest picture at most.
            let units = 1 + r.ue_max(139_263, "pic_size_in_map_units_minus1");
            r.skip(bits * units);
        }
        _ => {}
    }
}
