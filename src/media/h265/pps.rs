//! The picture parameter set: what the head of a slice depends on.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::super::bits::Result;
use super::{nal_type, open, skip_scaling_lists};

/// A picture parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pps {
    /// `pps_pic_parameter_set_id`, 0..=63.
    pub id: u8,
    /// The sequence parameter set it belongs to.
    pub sps_id: u8,
    /// Slices may go on with the head of the slice before.
    pub dependent_slices: bool,
    /// Slices say whether their picture is shown.
    pub output_flag: bool,
    /// Reserved bits in each slice header.
    pub extra_slice_bits: u8,
    /// Slices choose the table with which CABAC begins.
    pub cabac_init: bool,
    /// Entries of both reference lists unless a slice says otherwise.
    pub num_ref_idx: [u8; 2],
    /// The quantiser before a slice's own difference: 26 + `init_qp_minus26`.
    pub init_qp: i8,
    /// The quantiser may change from block to block.
    pub cu_qp_delta: bool,
    /// P slices carry prediction weights.
    pub weighted_pred: bool,
    /// B slices carry prediction weights.
    pub weighted_bipred: bool,
    /// The picture is divided into tiles.
    pub tiles: bool,
    /// Rows of blocks can be decoded beside each other (wavefront).
    pub entropy_sync: bool,
    /// Slices may reorder their reference lists.
    pub lists_modification: bool,
}

impl Pps {
    /// Reads a set from its NAL unit. Extensions are not read.
    pub fn parse(nal: &[u8]) -> Result<Pps> {
        let mut r = open(nal, "H.265 PPS", |t| t == nal_type::PPS)?;
        let r = &mut r;
        let id = r.ue_max(63, "pps_pic_parameter_set_id") as u8;
        let sps_id = r.ue_max(15, "pps_seq_parameter_set_id") as u8;
        let dependent_slices = r.flag();
        let output_flag = r.flag();
        let extra_slice_bits = r.u8(3);
        r.flag(); // sign_data_hiding_enabled_flag
        let cabac_init = r.flag();
        let num_ref_idx = [
            1 + r.ue_max(14, "num_ref_idx_l0_default_active_minus1") as u8,
            1 + r.ue_max(14, "num_ref_idx_l1_default_active_minus1") as u8,
        ];
        let init_qp = 26 + r.se_in(-74, 25, "init_qp_minus26") as i8;
        r.skip(2); // constrained_intra_pred_flag, transform_skip_enabled_flag
        let cu_qp_delta = r.flag();
        if cu_qp_delta {
            r.ue_max(3, "diff_cu_qp_delta_depth");
        }
        r.se_in(-12, 12, "pps_cb_qp_offset");
        r.se_in(-12, 12, "pps_cr_qp_offset");
        r.flag(); // pps_slice_chroma_qp_offsets_present_flag
        let weighted_pred = r.flag();
        let weighted_bipred = r.flag();
        r.flag(); // transquant_bypass_enabled_flag
        let tiles = r.flag();
        let entropy_sync = r.flag();
        if tiles {
            // Level 6.2 allows 20 columns and 22 rows; the later ones twice as many.
            let columns = r.ue_max(63, "num_tile_columns_minus1");
            let rows = r.ue_max(63, "num_tile_rows_minus1");
            if !r.flag() {
                for _ in 0..columns + rows {
                    r.ue();
                }
            }
            r.flag(); // loop_filter_across_tiles_enabled_flag
        }
        r.flag(); // pps_loop_filter_across_slices_enabled_flag
        if r.flag() {
            r.flag(); // deblocking_filter_override_enabled_flag
            if !r.flag() {
                r.se_in(-6, 6, "pps_beta_offset_div2");
                r.se_in(-6, 6, "pps_tc_offset_div2");
            }
        }
        if r.flag() {
            skip_scaling_lists(r);
        }
        let lists_modification = r.flag();
        r.end()?;
        Ok(Pps {
            id,
            sps_id,
            dependent_slices,
            output_flag,
            extra_slice_bits,
            cabac_init,
            num_ref_idx,
            init_qp,
            cu_qp_delta,
            weighted_pred,
            weighted_bipred,
            tiles,
            entropy_sync,
            lists_modification,
        })
    }
}
