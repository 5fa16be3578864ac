//! Vectors are from libx264 164 as Debian 12's FFmpeg 5.1 carries it, written by the command above
//! each (raw H.264 out; slices cut after their head); what they mean is what its `trace_headers`
//! filter printed: kind, quantiser, frame_num.
use super::super::bits::testing::*;
use super::super::bits::{BitWriter, SyntaxError};
use super::super::nal_kind::{Colour, SliceKind};
use super::*;

type Stream = (&'static str, &'static str, &'static [(&'static str, SliceKind, i8, u16)]);

const STREAMS: [Stream; 5] = [
    (baseline::SPS, baseline::PPS, baseline::SLICES),
    (main_cropped::SPS, main_cropped::PPS, main_cropped::SLICES),
    (interlaced::SPS, interlaced::PPS, interlaced::SLICES),
    (weighted::SPS, weighted::PPS, weighted::SLICES),
    (deep::SPS, deep::PPS, deep::SLICES),
];

fn sps(text: &str) -> Sps {
    Sps::parse(&hex(text)).unwrap()
}

#[test]
fn size_profile_and_rate_are_what_ffprobe_says() {
    let known = [
        (640, 360, "Constrained Baseline 3", Some((25, 1)), 0),
        (1920, 1080, "Main 4", Some((30, 1)), 2),
        (1920, 1080, "High 4", Some((25, 1)), 2),
        (426, 238, "High 2.1", Some((30000, 1001)), 2),
        (320, 240, "High 4:2:2 2.1", Some((50, 1)), 2),
    ];
    for ((text, ..), (width, height, name, rate, reorder)) in STREAMS.iter().zip(known) {
        let sps = sps(text);
        assert_eq!((sps.width, sps.height, sps.frame_rate()), (width, height, rate), "{name}");
        assert_eq!(sps.describe().to_string(), name);
        assert_eq!(sps.vui.unwrap().max_num_reorder_frames, Some(reorder), "{name}");
    }
    assert_eq!(sps(baseline::SPS).profile_level_id(), [0x42, 0xc0, 0x1e]);
    assert_eq!(sps(main_cropped::SPS).coded_height, 1088);
    let inter = sps(interlaced::SPS);
    assert!(!inter.frame_mbs_only && inter.mb_adaptive_frame_field);
    let colour = inter.vui.unwrap().colour;
    assert_eq!(colour, Some(Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false }));
    let deep = sps(deep::SPS);
    assert_eq!((deep.chroma_format_idc, deep.bit_depth_luma, deep.bit_depth_chroma), (2, 10, 10));
    assert_eq!(sps(weighted::SPS).vui.unwrap().sample_aspect, Some((1904, 1917)));
}

#[test]
fn level_1b_has_its_name() {
    assert_eq!(ProfileLevel([66, 0xd0, 11]).to_string(), "Constrained Baseline 1b");
    assert_eq!(ProfileLevel([66, 0xc0, 11]).to_string(), "Constrained Baseline 1.1");
    assert_eq!(ProfileLevel([100, 0, 9]).to_string(), "High 1b");
    assert_eq!(ProfileLevel([100, 0x0c, 42]).to_string(), "Constrained High 4.2");
}

#[test]
fn quantisers_are_what_trace_headers_says() {
    for (sps_text, pps, slices) in STREAMS {
        let (sps, pps) = (sps(sps_text), Pps::parse(&hex(pps)).unwrap());
        for (i, &(text, kind, qp, frame_num)) in slices.iter().enumerate() {
            let nal = hex(text);
            let head = SliceHeader::parse(&nal, &sps, &pps).unwrap();
            assert_eq!((head.kind, head.qp, head.frame_num), (kind, qp, frame_num), "{text}");
            assert_eq!(slice_kind(&nal), Some(kind));
            assert_eq!(head.idr, is_key(&nal));
            assert_eq!(head.idr, i == 0, "the first one is the IDR");
            assert_eq!(head.first_mb == 0, begins_picture(&nal));
        }
    }
    let pps = Pps::parse(&hex(weighted::PPS)).unwrap();
    assert!(pps.cabac && pps.weighted_pred && pps.transform_8x8);
    assert!(!Pps::parse(&hex(baseline::PPS)).unwrap().cabac);
}

#[test]
fn no_truncation_panics_and_none_reads_wrong() {
    for (sps_text, pps_text, slices) in STREAMS {
        let (whole, pps) = (hex(sps_text), Pps::parse(&hex(pps_text)).unwrap());
        let sps = sps(sps_text);
        let mut errors = 0;
        for n in 0..whole.len() {
            // Inside the VUI the rest is kept; before it the set is refused.
            match Sps::parse(&whole[..n]) {
                Ok(cut) => assert_eq!((cut.width, cut.height), (sps.width, sps.height)),
                Err(_) => errors = n,
            }
        }
        assert!(errors >= 6, "{errors}");
        for n in 0..4 {
            assert!(Pps::parse(&hex(pps_text)[..n.min(2)]).is_err());
        }
        for (text, ..) in slices {
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
    for (sps_text, pps_text, slices) in STREAMS {
        let (good_sps, good_pps) = (sps(sps_text), Pps::parse(&hex(pps_text)).unwrap());
        let slice = hex(slices[slices.len() - 1].0);
        mutations(&hex(sps_text), 5000, &mut |bytes| {
            if let Ok(sps) = Sps::parse(bytes) {
                assert!(sps.width > 0 && sps.width <= 16880 && sps.height > 0 && sps.height <= 2 * 16880);
                sps.frame_rate();
                sps.describe().to_string();
                let _ = SliceHeader::parse(&slice, &sps, &good_pps);
            }
        });
        mutations(&hex(pps_text), 3000, &mut |bytes| {
            if let Ok(pps) = Pps::parse(bytes) {
                let _ = SliceHeader::parse(&slice, &good_sps, &pps);
            }
        });
        mutations(&slice, 5000, &mut |bytes| {
            let _ = SliceHeader::parse(bytes, &good_sps, &good_pps);
            slice_kind(bytes);
        });
    }
}

#[test]
fn other_units_and_other_sets_are_refused() {
    assert_eq!(Sps::parse(&hex(baseline::PPS)), Err(SyntaxError::NotA("H.264 SPS")));
    assert_eq!(Sps::parse(&[]), Err(SyntaxError::Ended));
    let mut other = Pps::parse(&hex(baseline::PPS)).unwrap();
    other.id = 1;
    let slice = hex(baseline::SLICES[0].0);
    let refused = SliceHeader::parse(&slice, &sps(baseline::SPS), &other);
    assert_eq!(refused, Err(SyntaxError::OtherSet("H.264 parameter set")));
}

/// What no encoder at hand makes: field pictures, order type 1, reordered lists, marking commands,
/// redundant slices, slice groups, scaling lists.
#[test]
fn rare_syntax_before_the_quantiser_is_passed_over() {
    let mut nal = vec![];
    let mut w = BitWriter::nal(&mut nal);
    w.bytes(&[0x67, 100, 0, 40]);
    for v in [0, 1, 0, 0] {
        w.ue(v); // id, 4:2:0, depths
    }
    w.flag(false);
    w.flag(true); // scaling matrices
    for i in 0..8 {
        w.flag(i % 2 == 0);
        if i % 2 == 0 {
            w.se(8); // 16, then one after the other up to the end
            for _ in 1..if i < 6 { 16 } else { 64 } {
                w.se(1);
            }
        }
    }
    w.ue(0);
    w.ue(1); // order type 1
    w.flag(false);
    w.se(-3);
    w.se(7);
    w.ue(2);
    w.se(1);
    w.se(-1);
    w.ue(4);
    w.flag(false);
    w.ue(119); // 1920
    w.ue(33); // 34 pairs of rows: 1088
    w.flag(false);
    w.flag(false);
    w.flag(true);
    w.flag(true); // cropping: 2 units of 4 lines
    for v in [0, 0, 0, 2] {
        w.ue(v);
    }
    w.flag(false);
    w.trailing();
    let sps = Sps::parse(&nal).unwrap();
    assert_eq!((sps.width, sps.height), (1920, 1080));
    assert_eq!(sps.poc, Poc::Delta { always_zero: false });

    for map_type in 0..=6 {
        let mut nal = vec![];
        let mut w = BitWriter::nal(&mut nal);
        w.bytes(&[0x68]);
        w.ue(3);
        w.ue(0);
        w.flag(false);
        w.flag(true);
        w.ue(2); // three slice groups
        w.ue(map_type);
        match map_type {
            0 => [1, 2, 3].iter().for_each(|&v| w.ue(v)),
            2 => [1, 2, 3, 4].iter().for_each(|&v| w.ue(v)),
            3..=5 => {
                w.flag(true);
                w.ue(9);
            }
            6 => {
                w.ue(4);
                w.put(10, 0x1b1);
            }
            _ => {}
        }
        w.ue(1);
        w.ue(0);
        w.flag(false);
        w.put(2, 0);
        w.se(-6);
        w.se(0);
        w.se(2);
        w.put(3, 0b101);
        w.trailing();
        let pps = Pps::parse(&nal).unwrap();
        assert_eq!((pps.id, pps.slice_groups, pps.init_qp, pps.redundant_pic_cnt), (3, 3, 20, true));
        assert!(!pps.transform_8x8);

        let mut nal = vec![];
        let mut w = BitWriter::nal(&mut nal);
        w.bytes(&[0x61]);
        for v in [0, 5, 3] {
            w.ue(v);
        }
        w.put(4, 9);
        w.flag(true);
        w.flag(true); // bottom field
        w.se(-1); // order
        w.ue(0); // not redundant
        w.flag(true);
        w.ue(5);
        w.flag(true);
        for (command, value) in [(0, 4), (1, 2), (2, 7)] {
            w.ue(command);
            w.ue(value);
        }
        w.ue(3);
        w.flag(true);
        for command in [&[1, 5][..], &[3, 1, 2], &[5], &[6, 1], &[4, 2], &[2, 2], &[0]] {
            command.iter().for_each(|&v| w.ue(v));
        }
        w.se(13);
        w.trailing();
        let head = SliceHeader::parse(&nal, &sps, &pps).unwrap();
        assert_eq!((head.qp, head.frame_num, head.bottom_field, head.kind), (33, 9, true, SliceKind::P));
    }
}

/// `ffmpeg -f lavfi -i testsrc2=s=640x360:r=25 -frames:v 30 -c:v libx264 -profile:v baseline -g 10 -pix_fmt yuv420p`
mod baseline {
    use super::SliceKind::{self, *};
    pub const SPS: &str = "6742c01ed900a02ff97011000003000100000300320f162e48";
    pub const PPS: &str = "68cb83cb20";
    pub const SLICES: &[(&str, SliceKind, i8, u16)] =
        &[("65888411f1088ab830", I, 27, 0), ("419a3823f8308baadd", P, 27, 1)];
}

/// `ffmpeg -f lavfi -i testsrc2=s=1920x1080:r=30 -frames:v 12 -c:v libx264 -profile:v main -bf 2 -g 10 -x264-params slices=4 -pix_fmt yuv420p`
mod main_cropped {
    use super::SliceKind::{self, *};
    pub const SPS: &str = "674d4028eca03c0113f2e022000003000200000300781e30632c";
    pub const PPS: &str = "68ebe3cb20";
    pub const SLICES: &[(&str, SliceKind, i8, u16)] = &[
        ("65888400479e1beb0f26", I, 27, 0),
        ("419a216c457fbc7a546c37", P, 28, 1),
        ("419a423c2193298457b079d1059d", P, 28, 2),
        ("41003fc9a423c2193298437ffea784034e", P, 10, 2),
        ("41001fe26908f0864ca610dffea7840073", P, 10, 2),
        ("41000bf49a423c2193298437fffea78447", P, 10, 2),
    ];
}

/// `ffmpeg -f lavfi -i testsrc2=s=1920x1080:r=50,interlace,setfield=tff -frames:v 14 -c:v libx264 -profile:v high -flags +ilme+ildct -x264-params cqm=jvt:keyint=10 -pix_fmt yuv420p -color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv`
mod interlaced {
    use super::SliceKind::{self, *};
    pub const SPS: &str = "67640028acd94078044fde02d4040405000003000100000300321f162d96";
    pub const PPS: &str = "68fba3cb3002c0";
    pub const SLICES: &[(&str, SliceKind, i8, u16)] = &[
        ("6588820b0dff66a2ee9c10", I, 26, 0),
        ("419a21de447fb3f4ae84f6", P, 27, 1),
        ("419e40df8843ffecc194f1", B, 31, 2),
        ("419ac4dbd2928a9614ff2ae95a63", P, 33, 6),
    ];
}

/// `ffmpeg -f lavfi -i testsrc2=s=426x238:r=30000/1001,fade=in:0:20,fade=out:30:20 -frames:v 60 -c:v libx264 -preset slow -x264-params weightp=2:weightb=1:bframes=3:b-pyramid=normal:ref=5:nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500:open-gop=1:aud=1 -aspect 16:9 -pix_fmt yuv420p`
mod weighted {
    use super::SliceKind::{self, *};
    pub const SPS: &str = "67640015acd981b1fe4affc1dc01df4400000fa40003a981808007a10001e84a4c38078b16cd";
    pub const PPS: &str = "68e978f2c8b0";
    pub const SLICES: &[(&str, SliceKind, i8, u16)] = &[
        ("6588840027fffef5b17c", I, 14, 0),
        ("41888840bffde09a61d3", I, 12, 1),
        ("419a4249e1084321cd01e41d81d806c81d806cc07907c084ff79225a2a", P, 14, 2),
        ("419a633c2108790e680be1f0310089031008980be088047f6d354fb581", P, 16, 3),
        ("419a854de10843f21cf01ac1780d001420348052c06b0640144c5f6874faa943", P, 18, 4),
        ("019ea42e467f9ee238b314", B, 29, 5),
        ("419aa94de10843f214f0741b80e6019a0398066c1d0740097f47c55ba3ac", P, 21, 5),
        ("419aea4da842105ac84242478481084810c24240097f4762145cd6", P, 21, 7),
        ("419b0c4fe1084296b214b04c582606209818c131c00515137fcb80df8a7d", P, 22, 8),
        ("419b2e4de10843a521cf012c7809605a025816c04b090053ffd280eb54ecde", P, 23, 9),
        ("419b504de10843e887340491604a05204a05301247005175ffad5ee1ca35", P, 24, 10),
        ("419b734de10843f214b04c782606209818c13090024f44cb666cca", P, 25, 11),
    ];
}

/// `ffmpeg -f lavfi -i testsrc2=s=320x240:r=50 -frames:v 20 -c:v libx264 -profile:v high422 -pix_fmt yuv422p10le`
mod deep {
    use super::SliceKind::{self, *};
    pub const SPS: &str = "677a0015b6cd94141fb011000003000100000300640f162d96";
    pub const PPS: &str = "68ebe3cb22c0";
    pub const SLICES: &[(&str, SliceKind, i8, u16)] = &[
        ("6588840057e9d7ad678d", I, 28, 0),
        ("419a246c457fb7e774c548", P, 28, 1),
        ("419e427885bffdde60bc", B, 34, 2),
    ];
}
