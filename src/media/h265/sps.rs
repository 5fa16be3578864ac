//! Video and sequence parameter sets: size, profile, timing, and what every slice header depends on.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

use super::super::bits::{BitReader, Result, SyntaxError};
use super::super::nal_kind::{Colour, ratio, sample_aspect};
use super::{bits_for, nal_type, open, skip_scaling_lists};

/// Samples along one side at the highest level (6.2): √(8 · 35651584), rounded up.
const MAX_SIDE: u32 = 16_888;
/// Entries of one reference picture set.
const MAX_REFS: usize = 16;

/// `profile_tier_level`, the part that speaks of the whole stream, as `hvcC` wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// `general_profile_space`.
    pub space: u8,
    /// High tier and not Main.
    pub high_tier: bool,
    /// `general_profile_idc`.
    pub idc: u8,
    /// `general_profile_compatibility_flags`, flag 0 highest.
    pub compatibility: u32,
    /// The 48 bits of constraint flags.
    pub constraints: [u8; 6],
    /// `general_level_idc`: thirty times the level.
    pub level_idc: u8,
}

impl Profile {
    fn parse(r: &mut BitReader<'_>, max_sub_layers_minus1: u32) -> Profile {
        let mut profile = Profile {
            space: r.u8(2),
            high_tier: r.flag(),
            idc: r.u8(5),
            compatibility: r.u(32),
            ..Profile::default()
        };
        for byte in &mut profile.constraints {
            *byte = r.u8(8);
        }
        profile.level_idc = r.u8(8);
        if max_sub_layers_minus1 > 0 {
            // Eight pairs of flags, of which those beyond the layers are zero.
            let present = r.u(16);
            for layer in 0..max_sub_layers_minus1.min(7) {
                let flags = present >> (14 - 2 * layer);
                if flags & 2 != 0 {
                    r.skip(88);
                }
                if flags & 1 != 0 {
                    r.skip(8);
                }
            }
        }
        profile
    }

    /// The profile's name, as "Main 10".
    pub fn name(&self) -> &'static str {
        let compatible = |idc: u8| self.idc == idc || self.compatibility & (0x8000_0000 >> idc) != 0;
        match self.idc {
            1 => "Main",
            2 => "Main 10",
            3 => "Main Still Picture",
            4 => "Range Extensions",
            5 => "High Throughput",
            6 => "Multiview Main",
            7 => "Scalable Main",
            8 => "3D Main",
            9 => "Screen Content",
            11 => "High Throughput Screen Content",
            _ if compatible(1) => "Main",
            _ if compatible(2) => "Main 10",
            _ => "Unknown profile",
        }
    }
}

/// For a person: "Main 10 4.1 High".
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.level_idc / 30)?;
        if !self.level_idc.is_multiple_of(30) {
            write!(f, ".{}", self.level_idc % 30 / 3)?;
        }
        if self.high_tier { f.write_str(" High") } else { Ok(()) }
    }
}

/// A video parameter set: of it only what a carrier may need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vps {
    /// `vps_video_parameter_set_id`, 0..=15.
    pub id: u8,
    /// Temporal layers, 1..=7.
    pub temporal_layers: u8,
    /// `vps_temporal_id_nesting_flag`.
    pub temporal_nesting: bool,
    /// Profile, tier and level.
    pub profile: Profile,
    /// `vps_num_units_in_tick` and `vps_time_scale`; one tick is one picture.
    pub timing: Option<(u32, u32)>,
}

impl Vps {
    /// Reads a set from its NAL unit.
    pub fn parse(nal: &[u8]) -> Result<Vps> {
        let mut r = open(nal, "H.265 VPS", |t| t == nal_type::VPS)?;
        let r = &mut r;
        let id = r.u8(4);
        r.skip(2 + 6); // base layer flags, vps_max_layers_minus1
        let sub_layers = sub_layers(r);
        let temporal_nesting = r.flag();
        r.skip(16);
        let profile = Profile::parse(r, sub_layers);
        skip_sub_layer_ordering(r, sub_layers);
        let layers = 1 + r.u(6);
        for _ in 0..r.ue_max(1023, "vps_num_layer_sets_minus1") {
            r.skip(layers);
        }
        let mut timing = None;
        if r.flag() {
            let (units, scale) = (r.u(32), r.u(32));
            timing = (units != 0 && scale != 0).then_some((units, scale));
        }
        r.end()?;
        Ok(Vps { id, temporal_layers: 1 + sub_layers as u8, temporal_nesting, profile, timing })
    }
}

/// `max_sub_layers_minus1`.
fn sub_layers(r: &mut BitReader<'_>) -> u32 {
    let n = r.u(3);
    if n > 6 {
        r.fail(SyntaxError::OutOfRange("max_sub_layers_minus1"));
    }
    n % 7
}

/// Returns `sps_max_num_reorder_pics` of the highest layer.
fn skip_sub_layer_ordering(r: &mut BitReader<'_>, sub_layers: u32) -> u32 {
    let all = r.flag();
    let mut reorder = 0;
    for _ in 0..=if all { sub_layers } else { 0 } {
        r.ue();
        reorder = r.ue_max(16, "max_num_reorder_pics");
        r.ue();
    }
    reorder
}

/// A short-term reference picture set: distances to pictures before and behind in output order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortTermRps {
    delta: [i16; MAX_REFS],
    used: u16,
    negative: u8,
    count: u8,
}

impl ShortTermRps {
    /// Distances in output order and whether the present picture itself refers to them: earlier
    /// pictures first, each part from near to far.
    pub fn entries(&self) -> impl Iterator<Item = (i16, bool)> + '_ {
        self.delta
            .iter()
            .take(usize::from(self.count))
            .enumerate()
            .map(|(i, &d)| (d, self.used >> i & 1 != 0))
    }

    /// How many of them the present picture refers to.
    pub fn used_by_current(&self) -> u32 {
        self.used.count_ones()
    }

    fn push(&mut self, r: &mut BitReader<'_>, delta: i32, used: bool) {
        match (self.delta.get_mut(usize::from(self.count)), i16::try_from(delta)) {
            (Some(slot), Ok(delta)) => {
                *slot = delta;
                self.used |= u16::from(used) << self.count;
                self.count += 1;
            }
            _ => r.fail(SyntaxError::OutOfRange("short-term reference picture set")),
        }
    }

    /// Reads set number `index`; `before` are the sets before it. In a slice header `index` is the
    /// number of sets in the sequence parameter set.
    pub(super) fn parse(r: &mut BitReader<'_>, before: &[ShortTermRps], in_slice: bool) -> ShortTermRps {
        if !before.is_empty() && r.flag() {
            return ShortTermRps::predicted(r, before, in_slice);
        }
        let mut set = ShortTermRps::default();
        let negative = r.ue_max(MAX_REFS as u32, "num_negative_pics");
        let positive = r.ue_max(MAX_REFS as u32 - negative, "num_positive_pics");
        for (count, sign) in [(negative, -1), (positive, 1)] {
            let mut delta = 0;
            for _ in 0..count {
                delta += sign * (1 + r.ue_max(0x7fff, "delta_poc_minus1") as i32);
                let used = r.flag();
                set.push(r, delta, used);
            }
        }
        set.negative = negative as u8;
        set
    }

    /// `inter_ref_pic_set_prediction_flag`: another set moved by a distance (clause 7.4.8).
    fn predicted(r: &mut BitReader<'_>, before: &[ShortTermRps], in_slice: bool) -> ShortTermRps {
        let back = if in_slice { r.ue_max(before.len() as u32 - 1, "delta_idx_minus1") as usize } else { 0 };
        let source = before.len().checked_sub(1 + back).and_then(|i| before.get(i));
        let source = source.copied().unwrap_or_default();
        let minus = r.flag();
        let distance = 1 + r.ue_max(0x7fff, "abs_delta_rps_minus1") as i32;
        let distance = if minus { -distance } else { distance };
        // One pair of flags for each entry of the source and one for the source picture itself.
        let (mut used, mut kept) = (0u32, 0u32);
        for j in 0..=u32::from(source.count) {
            let is_used = r.flag();
            let is_kept = is_used || r.flag();
            used |= u32::from(is_used) << j;
            kept |= u32::from(is_kept) << j;
        }
        let (total, negative) = (usize::from(source.count), usize::from(source.negative));
        let mut set = ShortTermRps::default();
        for later in [false, true] {
            set.negative = set.count;
            for n in 0..=total {
                // The source's pictures in output order, its own picture between them, from the near
                // end or the far one; each with the number of its flags.
                let j = match if later { n } else { total - n } {
                    at if at < negative => negative - 1 - at,
                    at if at == negative => total,
                    at => at - 1,
                };
                let from = if j == total { 0 } else { source.delta.get(j).copied().unwrap_or_default() };
                let delta = i32::from(from) + distance;
                if kept >> j & 1 != 0 && delta != 0 && (delta > 0) == later {
                    set.push(r, delta, used >> j & 1 != 0);
                }
            }
        }
        set
    }
}

/// A sequence parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// The video parameter set it belongs to.
    pub vps_id: u8,
    /// `sps_seq_parameter_set_id`, 0..=15.
    pub id: u8,
    /// Temporal layers, 1..=7.
    pub temporal_layers: u8,
    /// `sps_temporal_id_nesting_flag`.
    pub temporal_nesting: bool,
    /// Profile, tier and level.
    pub profile: Profile,
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format_idc: u8,
    /// The three colours are coded as three monochrome pictures.
    pub separate_colour_plane: bool,
    /// Pixels across as shown.
    pub width: u32,
    /// Pixels down as shown.
    pub height: u32,
    /// Pixels across as coded.
    pub coded_width: u32,
    /// Pixels down as coded.
    pub coded_height: u32,
    /// Bits of a luma sample.
    pub bit_depth_luma: u8,
    /// Bits of a chroma sample.
    pub bit_depth_chroma: u8,
    /// Bits of `slice_pic_order_cnt_lsb`.
    pub log2_max_poc_lsb: u8,
    /// How many pictures may stand between a picture's decoding and its output; 0: no reordering.
    pub max_num_reorder: u8,
    /// Coding tree blocks of a picture.
    pub ctbs: u32,
    /// Sample adaptive offset: slices carry its flags.
    pub sao: bool,
    /// Reference picture sets that slices choose from.
    pub short_term_rps: Vec<ShortTermRps>,
    /// Long-term reference pictures are used.
    pub long_term_refs: bool,
    /// Which long-term pictures that slices choose from are used by the present picture, one bit
    /// each.
    pub long_term_used: u32,
    /// How many such pictures there are.
    pub long_term_count: u8,
    /// `sps_temporal_mvp_enabled_flag`.
    pub temporal_mvp: bool,
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
    /// Each picture is one field.
    pub field_sequence: bool,
    /// `vui_num_units_in_tick` and `vui_time_scale`; one tick is one picture.
    pub timing: Option<(u32, u32)>,
}

impl Sps {
    /// Reads a set from its NAL unit.
    pub fn parse(nal: &[u8]) -> Result<Sps> {
        let mut r = open(nal, "H.265 SPS", |t| t == nal_type::SPS)?;
        let r = &mut r;
        let vps_id = r.u8(4);
        let sub_layers = sub_layers(r);
        let temporal_nesting = r.flag();
        let profile = Profile::parse(r, sub_layers);
        let id = r.ue_max(15, "sps_seq_parameter_set_id") as u8;
        let chroma_format_idc = r.ue_max(3, "chroma_format_idc") as u8;
        let separate_colour_plane = chroma_format_idc == 3 && r.flag();
        let coded_width = r.ue_max(MAX_SIDE, "pic_width_in_luma_samples");
        let coded_height = r.ue_max(MAX_SIDE, "pic_height_in_luma_samples");
        let (mut width, mut height) = (coded_width, coded_height);
        if r.flag() {
            let unit_x = if matches!(chroma_format_idc, 1 | 2) { 2 } else { 1 };
            let unit_y = if chroma_format_idc == 1 { 2 } else { 1 };
            let x = r.ue().saturating_add(r.ue()).saturating_mul(unit_x);
            let y = r.ue().saturating_add(r.ue()).saturating_mul(unit_y);
            width = width.saturating_sub(x);
            height = height.saturating_sub(y);
        }
        if width == 0 || height == 0 {
            r.fail(SyntaxError::OutOfRange("picture size"));
        }
        let bit_depth_luma = 8 + r.ue_max(8, "bit_depth_luma_minus8") as u8;
        let bit_depth_chroma = 8 + r.ue_max(8, "bit_depth_chroma_minus8") as u8;
        let log2_max_poc_lsb = 4 + r.ue_max(12, "log2_max_pic_order_cnt_lsb_minus4") as u8;
        let max_num_reorder = skip_sub_layer_ordering(r, sub_layers) as u8;
        let min_block = 3 + r.ue_max(3, "log2_min_luma_coding_block_size_minus3");
        let ctb = min_block + r.ue_max(3, "log2_diff_max_min_luma_coding_block_size");
        if ctb > 6 {
            r.fail(SyntaxError::OutOfRange("coding tree block size"));
        }
        let ctbs = coded_width.div_ceil(1 << ctb) * coded_height.div_ceil(1 << ctb);
        for _ in 0..4 {
            r.ue_max(4, "transform block size");
        }
        if r.flag() && r.flag() {
            skip_scaling_lists(r);
        }
        r.flag(); // amp_enabled_flag
        let sao = r.flag();
        if r.flag() {
            // PCM: bit depths, block sizes, loop filter
            r.skip(8);
            r.ue();
            r.ue();
            r.flag();
        }
        let count = r.ue_max(64, "num_short_term_ref_pic_sets") as usize;
        let mut short_term_rps = Vec::with_capacity(count);
        for _ in 0..count {
            let set = ShortTermRps::parse(r, &short_term_rps, false);
            short_term_rps.push(set);
        }
        let long_term_refs = r.flag();
        let (mut long_term_used, mut long_term_count) = (0, 0);
        if long_term_refs {
            long_term_count = r.ue_max(32, "num_long_term_ref_pics_sps") as u8;
            for i in 0..long_term_count {
                r.skip(u32::from(log2_max_poc_lsb));
                long_term_used |= u32::from(r.flag()) << i;
            }
        }
        let temporal_mvp = r.flag();
        r.flag(); // strong_intra_smoothing_enabled_flag
        let has_vui = r.flag();
        r.end()?;
        // whatever goes wrong in here leaves the size and the slice headers readable
        let vui = has_vui.then(|| Vui::parse(r));
        Ok(Sps {
            vps_id,
            id,
            temporal_layers: 1 + sub_layers as u8,
            temporal_nesting,
            profile,
            chroma_format_idc,
            separate_colour_plane,
            width,
            height,
            coded_width,
            coded_height,
            bit_depth_luma,
            bit_depth_chroma,
            log2_max_poc_lsb,
            max_num_reorder,
            ctbs,
            sao,
            short_term_rps,
            long_term_refs,
            long_term_used,
            long_term_count,
            temporal_mvp,
            vui,
        })
    }

    /// Pictures per second as numerator and denominator, if this set says it; else the video
    /// parameter set may.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        let (units, scale) = self.vui.as_ref()?.timing?;
        ratio(u64::from(scale), u64::from(units))
    }

    /// 0 if chroma is absent or coded as luma, else the chroma format.
    pub(super) fn chroma_array_type(&self) -> u8 {
        if self.separate_colour_plane { 0 } else { self.chroma_format_idc }
    }

    /// Bits of a slice segment's address.
    pub(super) fn address_bits(&self) -> u32 {
        bits_for(self.ctbs)
    }
}

impl Vps {
    /// Pictures per second as numerator and denominator, if the set says it.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        let (units, scale) = self.timing?;
        ratio(u64::from(scale), u64::from(units))
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
        r.flag(); // neutral_chroma_indication_flag
        vui.field_sequence = r.flag();
        r.flag(); // frame_field_info_present_flag
        if r.flag() {
            for _ in 0..4 {
                r.ue(); // default display window: a wish, not cropping
            }
        }
        if r.flag() {
            let (units, scale) = (r.u(32), r.u(32));
            vui.timing = (units != 0 && scale != 0).then_some((units, scale));
        }
        vui
    }
}
