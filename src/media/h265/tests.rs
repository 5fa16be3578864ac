//! Vectors are from libx265 3.5 as Debian 12's FFmpeg 5.1 carries it, written by the command above
//! each (raw H.265 out; slices cut after their head); what they mean is what its `trace_headers`
//! filter printed: kind, quantiser, low bits of the picture order count.
use super::super::bits::testing::*;
use super::super::bits::{BitReader, BitWriter, SyntaxError};
use super::super::nal_kind::SliceKind;
use super::*;

type Stream = (&'static str, &'static str, &'static str, &'static [(&'static str, SliceKind, i8, u16)]);

const STREAMS: [Stream; 4] = [
    (main::VPS, main::SPS, main::PPS, main::SLICES),
    (main10::VPS, main10::SPS, main10::PPS, main10::SLICES),
    (weighted::VPS, weighted::SPS, weighted::PPS, weighted::SLICES),
    (low_delay::VPS, low_delay::SPS, low_delay::PPS, low_delay::SLICES),
];

fn sets(stream: &Stream) -> (Sps, Pps) {
    (Sps::parse(&hex(stream.1)).unwrap(), Pps::parse(&hex(stream.2)).unwrap())
}

#[test]
fn size_profile_and_rate_are_what_ffprobe_says() {
    let known = [
        (1920, 1080, "Main 4", Some((30, 1)), 8, 1),
        (1280, 718, "Main 10 4", Some((30000, 1001)), 10, 1),
        (426, 238, "Main 2", Some((25, 1)), 8, 1),
        (416, 240, "Range Extensions 2", Some((25, 1)), 8, 2),
    ];
    for (stream, (width, height, name, rate, depth, chroma)) in STREAMS.iter().zip(known) {
        let (sps, _) = sets(stream);
        assert_eq!((sps.width, sps.height, sps.frame_rate()), (width, height, rate), "{name}");
        assert_eq!((sps.bit_depth_luma, sps.chroma_format_idc), (depth, chroma));
        assert_eq!(sps.profile.to_string(), name);
        let vps = Vps::parse(&hex(stream.0)).unwrap();
        assert_eq!((vps.profile, vps.temporal_layers), (sps.profile, sps.temporal_layers));
    }
    let (ten, _) = sets(&STREAMS[1]);
    assert!(ten.vui.unwrap().colour.unwrap().full_range);
    let (layers, _) = sets(&STREAMS[2]);
    assert_eq!(layers.temporal_layers, 2);
    assert!(sets(&STREAMS[3]).0.vui.unwrap().field_sequence);
    let profile = Profile { idc: 2, high_tier: true, level_idc: 123, ..Profile::default() };
    assert_eq!(profile.to_string(), "Main 10 4.1 High");
}

#[test]
fn quantisers_are_what_trace_headers_says() {
    for stream in STREAMS {
        let (sps, pps) = sets(&stream);
        for (i, &(text, kind, qp, poc)) in stream.3.iter().enumerate() {
            let nal = hex(text);
            let head = SliceHeader::parse(&nal, &sps, &pps).unwrap();
            assert_eq!((head.kind, head.qp, head.poc_lsb), (kind, qp, poc), "{text}");
            assert_eq!((head.key, head.idr), (i == 0, i == 0));
            assert_eq!(is_key(&nal), head.key);
            assert_eq!(begins_picture(&nal), head.first);
        }
    }
}

#[test]
fn no_truncation_panics_and_none_reads_wrong() {
    for stream in STREAMS {
        let (sps, pps) = sets(&stream);
        let whole = hex(stream.1);
        let mut errors = 0;
        for n in 0..whole.len() {
            // Inside the VUI the rest is kept; before it the set is refused.
            match Sps::parse(&whole[..n]) {
                Ok(cut) => assert_eq!((cut.width, cut.height), (sps.width, sps.height)),
                Err(_) => errors = n,
            }
        }
        assert!(errors >= 20, "{errors}");
        for n in 0..5 {
            assert!(Pps::parse(&hex(stream.2)[..n]).is_err(), "{n}");
        }
        for n in 0..18 {
            assert!(Vps::parse(&hex(stream.0)[..n]).is_err(), "{n}");
        }
        for (text, ..) in stream.3 {
            let nal = hex(text);
            let full = SliceHeader::parse(&nal, &sps, &pps).unwrap();
            for n in 0..nal.len() {
                if let Ok(head) = SliceHeader::parse(&nal[..n], &sps, &pps) {
                    assert_eq!(head, full);
                }
            }
        }
    }
}

#[test]
fn damaged_sets_and_slices_never_panic() {
    for stream in STREAMS {
        let (good_sps, good_pps) = sets(&stream);
        let slice = hex(stream.3[stream.3.len() - 1].0);
        mutations(&hex(stream.0), 3000, &mut |bytes| {
            let _ = Vps::parse(bytes).map(|v| v.frame_rate());
        });
        mutations(&hex(stream.1), 5000, &mut |bytes| {
            if let Ok(sps) = Sps::parse(bytes) {
                sps.frame_rate();
                sps.profile.to_string();
                let _ = SliceHeader::parse(&slice, &sps, &good_pps);
            }
        });
        mutations(&hex(stream.2), 3000, &mut |bytes| {
            if let Ok(pps) = Pps::parse(bytes) {
                let _ = SliceHeader::parse(&slice, &good_sps, &pps);
            }
        });
        mutations(&slice, 5000, &mut |bytes| {
            let _ = SliceHeader::parse(bytes, &good_sps, &good_pps);
        });
    }
}

/// x265 writes no predicted reference picture sets, hardware encoders do: random ones against the
/// formulas of clause 7.4.8, (7-61) and (7-62), taken word by word.
#[test]
fn predicted_reference_sets_follow_the_standard() {
    let mut rng = Rng::new(11);
    let mut checked = 0;
    for _ in 0..5000 {
        let (negative, positive) = (rng.below(5), rng.below(5));
        let (mut s0, mut s1) = (vec![], vec![]);
        let mut bits = vec![];
        let mut w = BitWriter::plain(&mut bits);
        w.ue(negative as u32);
        w.ue(positive as u32);
        for (list, count, sign) in [(&mut s0, negative, -1), (&mut s1, positive, 1)] {
            let mut delta = 0i32;
            for _ in 0..count {
                let step = rng.below(4) as u32;
                let used = rng.below(2) == 1;
                w.ue(step);
                w.flag(used);
                delta += sign * (step as i32 + 1);
                list.push((delta, used));
            }
        }
        // The predicted set.
        let minus = rng.below(2) == 1;
        let distance = 1 + rng.below(6) as i32;
        w.flag(true);
        w.flag(minus);
        w.ue(distance as u32 - 1);
        let count = negative + positive;
        let (mut used, mut kept) = (vec![], vec![]);
        for _ in 0..=count {
            let (u, k) = (rng.below(2) == 1, rng.below(2) == 1);
            w.flag(u);
            if !u {
                w.flag(k);
            }
            used.push(u);
            kept.push(u || k);
        }
        w.trailing();
        let delta_rps = if minus { -distance } else { distance };
        let mut want = vec![];
        for j in (0..positive).rev() {
            let d = s1[j].0 + delta_rps;
            if d < 0 && kept[negative + j] {
                want.push((d as i16, used[negative + j]));
            }
        }
        if delta_rps < 0 && kept[count] {
            want.push((delta_rps as i16, used[count]));
        }
        for j in 0..negative {
            let d = s0[j].0 + delta_rps;
            if d < 0 && kept[j] {
                want.push((d as i16, used[j]));
            }
        }
        for j in (0..negative).rev() {
            let d = s0[j].0 + delta_rps;
            if d > 0 && kept[j] {
                want.push((d as i16, used[j]));
            }
        }
        if delta_rps > 0 && kept[count] {
            want.push((delta_rps as i16, used[count]));
        }
        for j in 0..positive {
            let d = s1[j].0 + delta_rps;
            if d > 0 && kept[negative + j] {
                want.push((d as i16, used[negative + j]));
            }
        }
        let mut r = BitReader::new(&bits);
        // Plain bits may hold what looks like emulation prevention: leave those out.
        if bits.windows(3).any(|w| w == [0, 0, 3]) {
            continue;
        }
        checked += 1;
        let first = ShortTermRps::parse(&mut r, &[], false);
        let source: Vec<(i16, bool)> = s0.iter().chain(&s1).map(|&(d, u)| (d as i16, u)).collect();
        assert_eq!(first.entries().collect::<Vec<_>>(), source);
        let second = ShortTermRps::parse(&mut r, &[first], false);
        assert_eq!(second.entries().collect::<Vec<_>>(), want);
        assert_eq!(second.used_by_current(), want.iter().filter(|w| w.1).count() as u32);
        assert_eq!(r.end(), Ok(()));
    }
    assert!(checked > 4000);
}

/// Long-term pictures and reordered lists, which x265 does not write either.
#[test]
fn long_term_pictures_and_reordered_lists_are_passed_over() {
    let (mut sps, mut pps) = sets(&STREAMS[0]);
    sps.long_term_refs = true;
    sps.long_term_count = 3;
    sps.long_term_used = 0b010;
    pps.lists_modification = true;
    pps.cabac_init = true;
    let mut nal = vec![];
    let mut w = BitWriter::nal(&mut nal);
    w.bytes(&[0x02, 0x01]);
    w.flag(true);
    w.ue(0);
    w.ue(1); // P
    w.put(u32::from(sps.log2_max_poc_lsb), 77);
    w.flag(false); // own reference picture set: one picture before
    w.ue(1);
    w.ue(0);
    w.ue(0);
    w.flag(true);
    w.ue(1); // one long-term picture of the list, one of its own
    w.ue(1);
    w.put(2, 1);
    w.flag(false);
    w.put(u32::from(sps.log2_max_poc_lsb), 5);
    w.flag(true);
    w.flag(true);
    w.ue(3);
    w.flag(true); // motion vectors of other pictures
    w.put(2, 0b11); // sample adaptive offset
    w.flag(true);
    w.ue(2); // three entries
    w.flag(true);
    w.put(6, 0b00_01_10); // of three pictures
    w.flag(true);
    w.ue(1);
    if pps.weighted_pred {
        w.ue(0);
        w.se(0);
        w.put(3, 0);
        w.put(3, 0);
    }
    w.ue(2);
    w.se(-4);
    w.trailing();
    let head = SliceHeader::parse(&nal, &sps, &pps).unwrap();
    assert_eq!((head.qp, head.poc_lsb, head.kind), (pps.init_qp - 4, 77, SliceKind::P));
}

#[test]
fn other_units_and_other_sets_are_refused() {
    assert_eq!(Sps::parse(&hex(main::PPS)), Err(SyntaxError::NotA("H.265 SPS")));
    let (sps, mut pps) = sets(&STREAMS[0]);
    pps.id = 9;
    let refused = SliceHeader::parse(&hex(main::SLICES[0].0), &sps, &pps);
    assert_eq!(refused, Err(SyntaxError::OtherSet("H.265 parameter set")));
}

/// `ffmpeg -f lavfi -i testsrc2=s=1920x1080:r=30 -frames:v 12 -c:v libx265 -x265-params log-level=0:keyint=10:bframes=3 -pix_fmt yuv420p`
mod main {
    use super::SliceKind::{self, *};
    pub const VPS: &str = "40010c01ffff016000000300900000030000030078959409";
    pub const SPS: &str =
        "420101016000000300900000030000030078a003c08010e596565924caf0168080000003008000000f04";
    pub const PPS: &str = "4401c172b46240";
    pub const SLICES: &[(&str, SliceKind, i8, u16)] = &[
        ("2801af0842234bd448d1", I, 34, 0),
        ("0201d0097e10c61084468ac42da0", P, 34, 1),
        ("0201d029c9fd443061004468aac5663e", P, 34, 5),
        ("0201e066975f51848111a13e07f8", B, 35, 3),
        ("0001e046ff5f48b0a022302d81800e", B, 36, 2),
        ("0201d038b555fdc4301840111a13b08c8f", P, 34, 7),
    ];
}

/// `ffmpeg -f lavfi -i testsrc2=s=1280x718:r=30000/1001 -frames:v 20 -c:v libx265 -x265-params log-level=0:keyint=10:slices=3:aud=1:hrd=1:vbv-maxrate=900:vbv-bufsize=900:high-tier=1:level-idc=4:colorprim=bt709:range=full -pix_fmt yuv420p10le`
mod main10 {
    use super::SliceKind::{self, *};
    pub const VPS: &str = "40010c01ffff022000000300900000030000030078959809";
    pub const SPS: &str = "\
        420101022000000300900000030000030078a00280802d1f4d96566924caf016e0204040800001f480003a9830\
        0647370006ddc0006ddd10";
    pub const PPS: &str = "4401c172b44240";
    pub const SLICES: &[(&str, SliceKind, i8, u16)] = &[
        ("2801af08105e86735226", I, 34, 0),
        ("0201d02149e10c61020b5f97c92cc0", P, 34, 4),
        ("020154102149e10c61020aacac0a1efa", P, 34, 4),
        ("020168102149e10c61020cf91c2f00d8", P, 34, 4),
        ("0201e0449578614209b6474930f0", B, 36, 2),
        ("0001e024fd7e8b0c1044c93884f2", B, 38, 1),
    ];
}

/// `ffmpeg -f lavfi -i testsrc2=s=426x238:r=25,fade=in:0:20,fade=out:30:20 -frames:v 60 -c:v libx265 -preset slow -x265-params log-level=0:weightp=1:weightb=1:bframes=4:b-pyramid=1:ref=5:scaling-list=default:temporal-layers=1:repeat-headers=1:open-gop=1 -pix_fmt yuv420p`
mod weighted {
    use super::SliceKind::{self, *};
    pub const VPS: &str = "40010c02ffff01600000030090000003000003003c00009998ccc048";
    pub const SPS: &str = "\
        42010201600000030090000003000003003c0000a00d880f1c959666633349272bc05a02000003000200000300\
        3210";
    pub const PPS: &str = "4401c172b66240";
    pub const SLICES: &[(&str, SliceKind, i8, u16)] = &[
        ("2801af1d2164a4c0f701", I, 33, 0),
        ("0201d8097e3a43f59adef7cf", I, 33, 1),
        ("0201d029c9fd441c18e1055c479adbaf", P, 33, 5),
        ("0201e066975f50da03d03f020202070d8e0cc3761210f60cad80e4", B, 35, 3),
        ("0402e046ff5f489950360d818a070d0f2031831b0a08680e42e48f", B, 36, 2),
        ("0402e0822d7fdc21a430f049045da0ec3b61490d537040e291", B, 36, 4),
        ("0201d048b2557f24a4880d06c0c903258e90558a95d030", P, 33, 9),
        ("0201e0e2a555d7c90ca2034341941a71e203b0ed8484110ca515dc", B, 35, 7),
        ("0402e0c23d575f689f2068e1a86b43d04e13b0a486bd5e20ef21", B, 36, 6),
        ("0402e102ad557f2432881470a429ce86c6d8504374c470e9fe", B, 36, 8),
        ("0201d050dd5557cb21a1047084216384135329de604d", P, 33, 10),
        ("0201d058df555f2cca10331d1d63a4145299d024a9", P, 33, 11),
    ];
}

/// `ffmpeg -f lavfi -i testsrc2=s=416x240:r=25 -frames:v 12 -c:v libx265 -x265-params log-level=0:bframes=0:ref=4:no-sao=1:ctu=16:no-open-gop=1:keyint=6:interlace=tff -pix_fmt yuv422p`
mod low_delay {
    use super::SliceKind::{self, *};
    pub const VPS: &str = "40010c01ffff0408000003004d0800000300003c968090";
    pub const SPS: &str = "4201010408000003004d0800000300003cb00d080f16596aaf0bc05a1a0000030002000003003210";
    pub const PPS: &str = "4401c173d189";
    pub const SLICES: &[(&str, SliceKind, i8, u16)] = &[
        ("2801ac7478acc0ef51d3", I, 33, 0),
        ("0201d009784318e8f12bd4d1bc6a", P, 33, 1),
        ("0201d011ff510c18e0f12894d26c2e", P, 33, 2),
        ("0201d0189ff710c06383c4a052469130", P, 33, 3),
    ];
}
