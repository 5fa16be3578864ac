//! What every access unit goes through on its way in: parameter sets are taken out and remembered,
//! padding is dropped, key frames are told from others. Keeps the sets of one track in the form of
//! [`super::Codec::extra`]. Allocates only when a set is new or changed, and holds at most
//! [`MAX_SETS`] sets of a type of at most [`MAX_SET_LEN`] bytes.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

use super::annexb::{find_start, lengths, nals, push_with_length};
use super::nal::{NalCodec, NalKind, SliceKind};
use super::{h264, h265};

/// Sets of one type that are remembered; of more, the one of the highest number is forgotten.
pub const MAX_SETS: usize = 4;
/// A longer set is not carried.
pub const MAX_SET_LEN: usize = 1024;
/// An "SPS" of this length may in truth be several units (cameras that put a whole packet of an
/// access unit into one RTP unit: RtspServer, Tapo TC70, Reolink Duo 2).
const GLUED_LEN: usize = 128;

/// What happened to an access unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// It has a picture.
    pub picture: bool,
    /// Decoding can begin with it.
    pub key: bool,
    /// The known parameter sets are not those from before.
    pub changed: bool,
}

/// Size, speed and profile of a track, for people and for other formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoInfo {
    /// Pixels across as shown.
    pub width: u32,
    /// Pixels down as shown.
    pub height: u32,
    /// Frames per second as numerator and denominator, if the sets say it.
    pub frame_rate: Option<(u32, u32)>,
    /// Profile and level.
    pub profile: VideoProfile,
}

/// Profile and level of either codec; prints as "High 4.0" or "Main 10 4.1 High".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoProfile {
    /// Of H.264.
    H264(h264::ProfileLevel),
    /// Of H.265.
    H265(h265::Profile),
}

impl fmt::Display for VideoProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VideoProfile::H264(p) => p.fmt(f),
            VideoProfile::H265(p) => p.fmt(f),
        }
    }
}

/// The head of a slice, as far as both codecs have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceInfo {
    /// How it is predicted.
    pub kind: SliceKind,
    /// Its quantiser.
    pub qp: i8,
    /// First of its picture.
    pub first: bool,
}

#[derive(Debug)]
enum Parsed {
    Vps(h265::Vps),
    Sps264(Box<h264::Sps>),
    Pps264(h264::Pps),
    Sps265(Box<h265::Sps>),
    Pps265(h265::Pps),
}

impl Parsed {
    #[inline(never)]
    fn new(codec: NalCodec, kind: NalKind, nal: &[u8]) -> Option<Parsed> {
        match (codec, kind) {
            (NalCodec::H264, NalKind::Sps) => h264::Sps::parse(nal).ok().map(|s| Parsed::Sps264(Box::new(s))),
            (NalCodec::H264, NalKind::Pps) => h264::Pps::parse(nal).ok().map(Parsed::Pps264),
            (NalCodec::H265, NalKind::Vps) => h265::Vps::parse(nal).ok().map(Parsed::Vps),
            (NalCodec::H265, NalKind::Sps) => h265::Sps::parse(nal).ok().map(|s| Parsed::Sps265(Box::new(s))),
            (NalCodec::H265, NalKind::Pps) => h265::Pps::parse(nal).ok().map(Parsed::Pps265),
            _ => None,
        }
    }

    fn id(&self) -> u8 {
        match self {
            Parsed::Vps(s) => s.id,
            Parsed::Sps264(s) => s.id,
            Parsed::Pps264(s) => s.id,
            Parsed::Sps265(s) => s.id,
            Parsed::Pps265(s) => s.id,
        }
    }
}

#[derive(Debug)]
struct Set {
    order: u8,
    id: u8,
    nal: Box<[u8]>,
    parsed: Parsed,
}

/// The parameter sets of one track.
#[derive(Debug)]
pub struct ParameterSets {
    codec: NalCodec,
    /// In the order of `extra`: by type, then by number.
    sets: Vec<Set>,
    refused: u32,
}

impl ParameterSets {
    /// Nothing known yet.
    pub fn new(codec: NalCodec) -> ParameterSets {
        ParameterSets { codec, sets: Vec::new(), refused: 0 }
    }

    /// From what a [`super::Codec::extra`] holds.
    pub fn from_extra(codec: NalCodec, extra: &[u8]) -> ParameterSets {
        let mut sets = ParameterSets::new(codec);
        for nal in lengths(extra) {
            sets.look(nal);
        }
        sets
    }

    /// Whose sets these are.
    pub fn codec(&self) -> NalCodec {
        self.codec
    }

    /// Sets that were not carried because they were too long or unreadable.
    pub fn refused(&self) -> u32 {
        self.refused
    }

    /// Whether one of each type is known, so that a decoder could begin.
    pub fn complete(&self) -> bool {
        let has = |order| self.sets.iter().any(|s| s.order == order);
        has(1) && has(2) && (self.codec == NalCodec::H264 || has(0))
    }

    /// The known sets, each behind its 32-bit length, in the order VPS, SPS, PPS.
    pub fn extra(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.sets.iter().map(|s| 4 + s.nal.len()).sum());
        for set in &self.sets {
            push_with_length(&set.nal, &mut out);
        }
        out
    }

    /// The known sets in the same order, bare.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.sets.iter().map(|s| &*s.nal)
    }

    /// Takes the NAL units of one access unit: `keep` is called with each that belongs into the frame.
    pub fn unit<'a>(
        &mut self,
        units: impl Iterator<Item = &'a [u8]>,
        keep: &mut dyn FnMut(&'a [u8]),
    ) -> Unit {
        let mut unit = Unit::default();
        for nal in units {
            let more = self.take(nal, keep);
            unit.picture |= more.picture;
            unit.key |= more.key;
            unit.changed |= more.changed;
        }
        unit
    }

    /// Learns from one NAL unit and keeps nothing of it.
    pub fn look(&mut self, nal: &[u8]) -> Unit {
        self.take(nal, &mut |_| {})
    }

    /// Takes one NAL unit of an access unit: see [`ParameterSets::unit`].
    pub fn take<'a>(&mut self, nal: &'a [u8], keep: &mut dyn FnMut(&'a [u8])) -> Unit {
        let kind = self.codec.kind(nal);
        if kind == NalKind::Sps && self.codec == NalCodec::H264 && nal.len() >= GLUED_LEN {
            // Emulation prevention keeps this sequence out of a single unit.
            if let Some(at) = find_start(nal, 0) {
                let (first, rest) = nal.split_at_checked(at).unwrap_or((nal, &[]));
                let mut unit = self.take_one(super::bits::trim_zeros(first), keep);
                for part in nals(rest) {
                    let more = self.take_one(part, keep);
                    unit.picture |= more.picture;
                    unit.key |= more.key;
                    unit.changed |= more.changed;
                }
                return unit;
            }
        }
        self.take_one(nal, keep)
    }

    fn take_one<'a>(&mut self, nal: &'a [u8], keep: &mut dyn FnMut(&'a [u8])) -> Unit {
        let kind = self.codec.kind(nal);
        let order = match kind {
            NalKind::Padding => return Unit::default(),
            NalKind::Vps => 0,
            NalKind::Sps => 1,
            NalKind::Pps => 2,
            _ => {
                keep(nal);
                let key = kind == NalKind::Key;
                return Unit { picture: key || kind == NalKind::Slice, key, changed: false };
            }
        };
        Unit { changed: self.learn(order, kind, nal), ..Unit::default() }
    }

    /// Remembers a set; whether that changed anything.
    #[inline(never)]
    fn learn(&mut self, order: u8, kind: NalKind, nal: &[u8]) -> bool {
        if self.sets.iter().any(|s| *s.nal == *nal) {
            return false;
        }
        let parsed = if nal.len() > MAX_SET_LEN { None } else { Parsed::new(self.codec, kind, nal) };
        let Some(parsed) = parsed else {
            self.refused = self.refused.saturating_add(1);
            return false;
        };
        let id = parsed.id();
        let set = Set { order, id, nal: Box::from(nal), parsed };
        match self.sets.binary_search_by_key(&(order, id), |s| (s.order, s.id)) {
            Ok(at) => {
                if let Some(slot) = self.sets.get_mut(at) {
                    *slot = set;
                }
            }
            Err(at) => {
                let of_type = |s: &Set| s.order == order;
                let full = self.sets.iter().filter(|s| of_type(s)).count() >= MAX_SETS;
                match self.sets.iter().rposition(of_type) {
                    // Make room, but not by forgetting the new one.
                    Some(last) if full => {
                        self.sets.remove(last);
                        self.sets.insert(at.min(last), set);
                    }
                    _ => self.sets.insert(at, set),
                }
            }
        }
        true
    }

    /// Size, speed and profile as the first sequence parameter set says.
    pub fn info(&self) -> Option<VideoInfo> {
        let mut vps_rate = None;
        for set in &self.sets {
            let (width, height, frame_rate, profile) = match &set.parsed {
                Parsed::Vps(vps) => {
                    vps_rate = vps_rate.or(vps.frame_rate());
                    continue;
                }
                Parsed::Sps264(s) => (s.width, s.height, s.frame_rate(), VideoProfile::H264(s.describe())),
                Parsed::Sps265(s) => {
                    (s.width, s.height, s.frame_rate().or(vps_rate), VideoProfile::H265(s.profile))
                }
                _ => continue,
            };
            return Some(VideoInfo { width, height, frame_rate, profile });
        }
        None
    }

    /// The first H.264 sequence parameter set.
    pub fn h264_sps(&self) -> Option<&h264::Sps> {
        self.sets.iter().find_map(|s| if let Parsed::Sps264(sps) = &s.parsed { Some(&**sps) } else { None })
    }

    /// The first H.265 sequence parameter set.
    pub fn h265_sps(&self) -> Option<&h265::Sps> {
        self.sets.iter().find_map(|s| if let Parsed::Sps265(sps) = &s.parsed { Some(&**sps) } else { None })
    }

    /// The head of a slice that refers to known sets.
    pub fn slice(&self, nal: &[u8]) -> Option<SliceInfo> {
        match self.codec {
            NalCodec::H264 => {
                let head = h264::SliceHeader::read(nal, |id| {
                    let Some(Parsed::Pps264(pps)) = self.set(2, id) else { return None };
                    let Some(Parsed::Sps264(sps)) = self.set(1, pps.sps_id) else { return None };
                    Some((&**sps, pps))
                })
                .ok()?;
                Some(SliceInfo { kind: head.kind, qp: head.qp, first: head.first_mb == 0 })
            }
            NalCodec::H265 => {
                let head = h265::SliceHeader::read(nal, |id| {
                    let Some(Parsed::Pps265(pps)) = self.set(2, id) else { return None };
                    let Some(Parsed::Sps265(sps)) = self.set(1, pps.sps_id) else { return None };
                    Some((&**sps, pps))
                })
                .ok()?;
                Some(SliceInfo { kind: head.kind, qp: head.qp, first: head.first })
            }
        }
    }

    /// The set of this type and number.
    fn set(&self, order: u8, id: u8) -> Option<&Parsed> {
        self.sets.iter().find(|s| s.order == order && s.id == id).map(|s| &s.parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::annexb::{self, push_with_start};
    use super::super::bits::testing::*;
    use super::*;

    // From the vectors of the H.264 and H.265 tests: libx264 and libx265 through FFmpeg.
    const SPS: &str = "6742c01ed900a02ff97011000003000100000300320f162e48";
    const PPS: &str = "68cb83cb20";
    const IDR: &str = "65888411f1088ab830";
    const P: &str = "419a3823f8308baadd";
    const VPS_265: &str = "40010c01ffff016000000300900000030000030078959409";
    const SPS_265: &str =
        "420101016000000300900000030000030078a003c08010e596565924caf0168080000003008000000f04";
    const PPS_265: &str = "4401c172b46240";
    const IDR_265: &str = "2801af0842234bd448d1";

    fn run(sets: &mut ParameterSets, units: &[Vec<u8>]) -> (Unit, Vec<Vec<u8>>) {
        let mut kept = vec![];
        let unit = sets.unit(units.iter().map(|u| &u[..]), &mut |nal| kept.push(nal.to_vec()));
        (unit, kept)
    }

    #[test]
    fn sets_are_taken_out_padding_is_dropped_and_pictures_stay() {
        let mut sets = ParameterSets::new(NalCodec::H264);
        let unit = ["09f0", SPS, PPS, "0605aa80", IDR, "0cff80"].map(hex);
        let (said, kept) = run(&mut sets, &unit);
        assert_eq!(said, Unit { picture: true, key: true, changed: true });
        assert_eq!(kept, ["0605aa80", IDR].map(hex));
        assert!(sets.complete());
        let mut extra = vec![];
        [SPS, PPS].iter().for_each(|s| push_with_length(&hex(s), &mut extra));
        assert_eq!(sets.extra(), extra);
        let (said, _) = run(&mut sets, &unit);
        assert!(!said.changed, "the same sets again are no change");
        let (said, kept) = run(&mut sets, &[hex(P)]);
        assert_eq!((said, kept), (Unit { picture: true, key: false, changed: false }, vec![hex(P)]));
        let info = sets.info().unwrap();
        assert_eq!((info.width, info.height, info.frame_rate), (640, 360, Some((25, 1))));
        assert_eq!(info.profile.to_string(), "Constrained Baseline 3");
        assert_eq!(sets.slice(&hex(P)), Some(SliceInfo { kind: SliceKind::P, qp: 27, first: true }));
        let again = ParameterSets::from_extra(NalCodec::H264, &extra);
        assert_eq!(again.extra(), extra);
    }

    #[test]
    fn h265_sets_stand_in_order_whatever_the_order_they_came_in() {
        let mut sets = ParameterSets::new(NalCodec::H265);
        let (said, kept) = run(&mut sets, &[PPS_265, SPS_265, VPS_265, "460150", IDR_265].map(hex));
        assert_eq!(said, Unit { picture: true, key: true, changed: true });
        assert_eq!(kept, [hex(IDR_265)]);
        let order: Vec<Vec<u8>> = sets.iter().map(<[u8]>::to_vec).collect();
        assert_eq!(order, [VPS_265, SPS_265, PPS_265].map(hex));
        assert_eq!(sets.info().unwrap().profile.to_string(), "Main 4");
        assert_eq!(sets.slice(&hex(IDR_265)), Some(SliceInfo { kind: SliceKind::I, qp: 34, first: true }));
    }

    #[test]
    fn another_set_of_the_same_number_takes_its_place() {
        let mut sets = ParameterSets::new(NalCodec::H264);
        run(&mut sets, &[SPS, PPS].map(hex));
        let main = "674d4028eca03c0113f2e022000003000200000300781e30632c";
        let (said, _) = run(&mut sets, &[main, PPS].map(hex));
        assert!(said.changed);
        assert_eq!(sets.info().unwrap().height, 1080);
        assert_eq!(sets.iter().count(), 2);
    }

    #[test]
    fn a_hostile_camera_cannot_fill_the_memory() {
        let mut sets = ParameterSets::new(NalCodec::H264);
        run(&mut sets, &[hex(SPS)]);
        for id in 0..200 {
            let mut pps = vec![];
            let mut w = super::super::bits::BitWriter::nal(&mut pps);
            w.bytes(&[0x68]);
            w.ue(id);
            w.bytes(&hex("fb83cb20"));
            w.trailing();
            let (said, _) = run(&mut sets, &[pps]);
            assert!(said.changed || sets.refused() > 0);
        }
        assert!(sets.iter().count() <= 1 + MAX_SETS);
        let mut long = hex(PPS);
        long.resize(MAX_SET_LEN + 1, 0x55);
        let before = sets.refused();
        let (said, kept) = run(&mut sets, &[long, hex("68")]);
        assert_eq!((said, kept.len(), sets.refused()), (Unit::default(), 0, before + 2));
    }

    #[test]
    fn an_sps_that_holds_a_whole_access_unit_is_taken_apart() {
        let mut glued = hex(SPS);
        push_with_start(&hex(PPS), &mut glued);
        let mut idr = hex(IDR);
        idr.resize(200, 0x55);
        push_with_start(&idr, &mut glued);
        let mut sets = ParameterSets::new(NalCodec::H264);
        let (said, kept) = run(&mut sets, &[glued]);
        assert_eq!(said, Unit { picture: true, key: true, changed: true });
        assert_eq!(kept, [idr]);
        assert_eq!(sets.iter().collect::<Vec<_>>(), [&hex(SPS)[..], &hex(PPS)]);
    }

    #[test]
    fn damaged_streams_never_panic() {
        for (codec, parts) in
            [(NalCodec::H264, [SPS, PPS, IDR, P]), (NalCodec::H265, [VPS_265, SPS_265, PPS_265, IDR_265])]
        {
            let mut stream = vec![];
            parts.iter().for_each(|p| push_with_start(&hex(p), &mut stream));
            let mut sets = ParameterSets::new(codec);
            mutations(&stream, 10_000, &mut |bytes| {
                let mut slices = vec![];
                sets.unit(annexb::nals(bytes), &mut |nal| slices.push(nal));
                for nal in slices {
                    sets.slice(nal);
                }
                sets.info();
                assert!(sets.iter().count() <= 3 * MAX_SETS);
            });
        }
    }
}
