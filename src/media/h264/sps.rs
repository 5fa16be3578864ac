//! The sequence parameter set: size, profile, timing, and what every slice header depends on.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

use super::super::bits::{BitReader, Result, SyntaxError};
use super::super::nal_kind::{Colour, sample_aspect};
use super::{nal_type, open};

/// Macroblocks along one side at the highest level (6.2): √(8 · 139264).
const MAX_SIDE_MBS: u32 = 1055;

/// How a picture's place in the order of output is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poc {
    /// Type 0: the low bits stand in each slice.
    Lsb {
        /// How many bits.
        log2_max: u8,
    },
    /// Type 1: expected steps and differences to them.
    Delta {
        /// No differences in the slice headers.
        always_zero: bool,
    },
    /// Type 2: output in decoding order.
    DecodingOrder,
}

/// A sequence parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`.
    pub profile_idc: u8,
    /// The byte with the constraint flags, flag 0 highest.
    pub constraints: u8,
    /// `level_idc`: ten times the level.
    pub level_idc: u8,
    /// `seq_parameter_set_id`, 0..=31.
    pub id: u8,
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format_idc: u8,
    /// The three colours are coded as three monochrome pictures.
    pub separate_colour_plane: bool,
    /// Bits of a luma sample.
    pub bit_depth_luma: u8,
    /// Bits of a chroma sample.
    pub bit_depth_chroma: u8,
    /// Bits of `frame_num`.
    pub log2_max_frame_num: u8,
    /// Order of output.
    pub poc: Poc,
    /// `max_num_ref_frames`.
    pub max_num_ref_frames: u8,
    /// `gaps_in_frame_num_value_allowed_flag`.
    pub gaps_in_frame_num: bool,
    /// No fields and no pairs of macroblocks: progressive.
    pub frame_mbs_only: bool,
    /// Frame pictures may switch between frame and field by pairs of macroblocks.
    pub mb_adaptive_frame_field: bool,
    /// `direct_8x8_inference_flag`.
    pub direct_8x8_inference: bool,
    /// Pixels across as shown.
    pub width: u32,
    /// Pixels down as shown.
    pub height: u32,
    /// Pixels across as coded, a multiple of 16.
    pub coded_width: u32,
    /// Pixels down as coded, a multiple of 16.
    pub coded_height: u32,
    /// Usability information.
    pub vui: Option<Vui>,
}

/// Video usability information. A set that ends inside it (some cameras cut it off) keeps what was
/// read before the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vui {
    /// Width and height of one sample.
    pub sample_aspect: Option<(u16, u16)>,
    /// Colour description.
    pub colour: Option<Colour>,
    /// `num_units_in_tick` and `time_scale`; two ticks are one frame.
    pub timing: Option<(u32, u32)>,
    /// Every frame lasts equally long.
    pub fixed_frame_rate: bool,
    /// How many frames may stand between a frame's decoding and its output; 0: no reordering.
    pub max_num_reorder_frames: Option<u8>,
    /// Frames a decoder has to hold.
    pub max_dec_frame_buffering: Option<u8>,
}

impl Sps {
    /// Reads a set from its NAL unit.
    pub fn parse(nal: &[u8]) -> Result<Sps> {
        let mut r = open(nal, "H.264 SPS", |t| t == nal_type::SPS)?;
        let r = &mut r;
        let profile_idc = r.u8(8);
        let constraints = r.u8(8);
        let level_idc = r.u8(8);
        let id = r.ue_max(31, "seq_parameter_set_id") as u8;
        let (mut chroma_format_idc, mut separate_colour_plane) = (1, false);
        let (mut bit_depth_luma, mut bit_depth_chroma) = (8, 8);
        if has_chroma_format(profile_idc) {
            chroma_format_idc = r.ue_max(3, "chroma_format_idc") as u8;
            if chroma_format_idc == 3 {
                separate_colour_plane = r.flag();
            }
            bit_depth_luma = 8 + r.ue_max(6, "bit_depth_luma_minus8") as u8;
            bit_depth_chroma = 8 + r.ue_max(6, "bit_depth_chroma_minus8") as u8;
            r.flag(); // qpprime_y_zero_transform_bypass_flag
            if r.flag() {
                for i in 0..if chroma_format_idc == 3 { 12 } else { 8 } {
                    if r.flag() {
                        skip_scaling_list(r, if i < 6 { 16 } else { 64 });
                    }
                }
            }
        }
        let log2_max_frame_num = 4 + r.ue_max(12, "log2_max_frame_num_minus4") as u8;
        let poc = match r.ue_max(2, "pic_order_cnt_type") {
            0 => Poc::Lsb { log2_max: 4 + r.ue_max(12, "log2_max_pic_order_cnt_lsb_minus4") as u8 },
            1 => {
                let always_zero = r.flag();
                r.se(); // offset_for_non_ref_pic
                r.se(); // offset_for_top_to_bottom_field
                for _ in 0..r.ue_max(255, "num_ref_frames_in_pic_order_cnt_cycle") {
                    r.se();
                }
                Poc::Delta { always_zero }
            }
            _ => Poc::DecodingOrder,
        };
        let max_num_ref_frames = r.ue_max(16, "max_num_ref_frames") as u8;
        let gaps_in_frame_num = r.flag();
        let coded_width = 16 * (1 + r.ue_max(MAX_SIDE_MBS - 1, "pic_width_in_mbs_minus1"));
        let map_units = 1 + r.ue_max(MAX_SIDE_MBS - 1, "pic_height_in_map_units_minus1");
        let frame_mbs_only = r.flag();
        let mb_adaptive_frame_field = !frame_mbs_only && r.flag();
        let coded_height = 16 * map_units * if frame_mbs_only { 1 } else { 2 };
        let direct_8x8_inference = r.flag();
        let (mut width, mut height) = (coded_width, coded_height);
        if r.flag() {
            let has_chroma = !separate_colour_plane && chroma_format_idc != 0;
            let unit_x = if has_chroma && chroma_format_idc < 3 { 2 } else { 1 };
            let unit_y = (if has_chroma && chroma_format_idc == 1 { 2 } else { 1 })
                * if frame_mbs_only { 1 } else { 2 };
            let x = r.ue().saturating_add(r.ue()).saturating_mul(unit_x);
            let y = r.ue().saturating_add(r.ue()).saturating_mul(unit_y);
            if x >= width || y >= height {
                r.fail(SyntaxError::OutOfRange("frame cropping"));
            }
            width = width.saturating_sub(x);
            height = height.saturating_sub(y);
        }
        let has_vui = r.flag();
        r.end()?;
        // whatever goes wrong in here leaves the size and the slice headers readable
        let vui = has_vui.then(|| Vui::parse(r));
        Ok(Sps {
            profile_idc,
            constraints,
            level_idc,
            id,
            chroma_format_idc,
            separate_colour_plane,
            bit_depth_luma,
            bit_depth_chroma,
            log2_max_frame_num,
            poc,
            max_num_ref_frames,
            gaps_in_frame_num,
            frame_mbs_only,
            mb_adaptive_frame_field,
            direct_8x8_inference,
            width,
            height,
            coded_width,
            coded_height,
            vui,
        })
    }

    /// Profile, constraints and level: the three bytes of `profile-level-id` and of `avcC`.
    pub fn profile_level_id(&self) -> [u8; 3] {
        [self.profile_idc, self.constraints, self.level_idc]
    }

    /// Frames per second as numerator and denominator, if the set says it.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        let (units, scale) = self.vui.as_ref()?.timing?;
        super::super::nal_kind::ratio(u64::from(scale), u64::from(units) * 2)
    }

    /// 0 if chroma is absent or coded as luma, else the chroma format.
    pub(super) fn chroma_array_type(&self) -> u8 {
        if self.separate_colour_plane { 0 } else { self.chroma_format_idc }
    }

    /// The profile's name, as "Constrained Baseline".
    pub fn profile_name(&self) -> &'static str {
        profile_name(self.profile_idc, self.constraints)
    }

    /// Profile and level for a person: "Constrained Baseline 3.1".
    pub fn describe(&self) -> ProfileLevel {
        ProfileLevel(self.profile_level_id())
    }
}

/// A `profile-level-id` printed for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileLevel(pub [u8; 3]);

impl fmt::Display for ProfileLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [profile, constraints, level] = self.0;
        f.write_str(profile_name(profile, constraints))?;
        // Level 1b is 11 with constraint flag 3 where that flag has no other meaning, else 9.
        if level == 9 || (level == 11 && constraints & 0x10 != 0 && matches!(profile, 66 | 77 | 88)) {
            return f.write_str(" 1b");
        }
        write!(f, " {}", level / 10)?;
        if level.is_multiple_of(10) { Ok(()) } else { write!(f, ".{}", level % 10) }
    }
}

fn profile_name(profile_idc: u8, constraints: u8) -> &'static str {
    let set = |flag: u8| constraints & (0x80 >> flag) != 0;
    match profile_idc {
        44 => "CAVLC 4:4:4 Intra",
        66 if set(1) => "Constrained Baseline",
        66 => "Baseline",
        77 => "Main",
        83 => "Scalable Baseline",
        86 => "Scalable High",
        88 => "Extended",
        100 if set(4) && set(5) => "Constrained High",
        100 if set(4) => "Progressive High",
        100 => "High",
        110 if set(3) => "High 10 Intra",
        110 => "High 10",
        118 => "Multiview High",
        122 if set(3) => "High 4:2:2 Intra",
        122 => "High 4:2:2",
        128 => "Stereo High",
        244 if set(3) => "High 4:4:4 Intra",
        244 => "High 4:4:4 Predictive",
        _ => "Unknown profile",
    }
}

/// The profiles whose set says the chroma format.
fn has_chroma_format(profile_idc: u8) -> bool {
    matches!(profile_idc, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244)
}

fn skip_scaling_list(r: &mut BitReader<'_>, size: u32) {
    let mut last = 8;
    for _ in 0..size {
        last = (last + r.se_in(-128, 127, "delta_scale") + 256) % 256;
        if last == 0 {
            break; // the rest repeats the value before
        }
    }
}

impl Vui {
    fn parse(r: &mut BitReader<'_>) -> Vui {
        let mut vui = Vui::default();
        if r.flag() {
            vui.sample_aspect = sample_aspect(r);
        }
        if r.flag() {
            r.flag(); // overscan_appropriate_flag
        }
        if r.flag() {
            vui.colour = Colour::parse(r);
        }
        if r.flag() {
            r.ue(); // chroma sample location, top field
            r.ue(); // and bottom field
        }
        if r.flag() {
            let (units, scale) = (r.u(32), r.u(32));
            vui.timing = (units != 0 && scale != 0).then_some((units, scale));
            vui.fixed_frame_rate = r.flag();
        }
        let nal_hrd = r.flag();
        if nal_hrd {
            skip_hrd(r);
        }
        let vcl_hrd = r.flag();
        if vcl_hrd {
            skip_hrd(r);
        }
        if nal_hrd || vcl_hrd {
            r.flag(); // low_delay_hrd_flag
        }
        r.flag(); // pic_struct_present_flag
        if r.flag() {
            r.flag(); // motion_vectors_over_pic_boundaries_flag
            for _ in 0..4 {
                r.ue(); // bytes per picture, bits per macroblock, vector lengths
            }
            let reorder = r.ue_max(16, "max_num_reorder_frames");
            let buffering = r.ue_max(16, "max_dec_frame_buffering");
            if r.end().is_ok() {
                vui.max_num_reorder_frames = Some(reorder as u8);
                vui.max_dec_frame_buffering = Some(buffering as u8);
            }
        }
        vui
    }
}

fn skip_hrd(r: &mut BitReader<'_>) {
    let count = 1 + r.ue_max(31, "cpb_cnt_minus1");
    r.skip(8); // scales
    for _ in 0..count {
        r.ue();
        r.ue();
        r.flag();
    }
    r.skip(20); // lengths of delays and time offsets
}
