//! Clips as ffmpeg finds them: what encoders of others have made goes through a ring into fragmented MP4, and
//! every frame of it comes out again, decoded without a word of complaint.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;
use streamd::container::adts::Splitter;
use streamd::media::aac::{Adts, AudioConfig};
use streamd::media::annexb::AccessUnits;
use streamd::media::nal::NalCodec;
use streamd::media::parameter_sets::ParameterSets;
use streamd::media::{Codec, CodecId, Time};
use streamd::stream::{Bounds, Clip, Cut, Track, VideoInlet};
use support::*;

fn ffmpeg(folder: &Folder, args: &str) {
    let path = folder.0.to_str().unwrap();
    let args: Vec<String> = args.split(' ').map(|a| a.replace('@', path)).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let run = tool("ffmpeg", &args, "");
    assert_eq!(run.code, 0, "{args:?}\n{}", run.err);
}

struct Case {
    codec: NalCodec,
    encoder: &'static str,
    /// Of sound, with its channels; none is none.
    sound: Option<(u32, u8)>,
}

#[test]
fn others_play_every_clip_without_a_complaint() {
    for (n, case) in [
        Case { codec: NalCodec::H264, encoder: "libx264 -profile:v high -bf 0", sound: Some((32_000, 1)) },
        Case { codec: NalCodec::H264, encoder: "libx264 -profile:v baseline", sound: None },
        Case { codec: NalCodec::H264, encoder: "libx264 -profile:v main -bf 0", sound: Some((48_000, 2)) },
        Case {
            codec: NalCodec::H265,
            encoder: "libx265 -x265-params log-level=none:bframes=0",
            sound: Some((16_000, 1)),
        },
    ]
    .into_iter()
    .enumerate()
    {
        one(n, &case);
    }
}

fn one(n: usize, case: &Case) {
    let folder = Folder::new();
    let h264 = case.codec == NalCodec::H264;
    let name = if h264 { "v.h264" } else { "v.h265" };
    ffmpeg(
        &folder,
        &format!(
            "-v error -f lavfi -i testsrc2=size=320x180:rate=25 -t 11 -c:v {} -g 50 -pix_fmt yuv420p @/{name}",
            case.encoder
        ),
    );
    let id = if h264 { CodecId::H264 } else { CodecId::H265 };
    let keep = Duration::from_secs(60);
    let (pictures, inlet) = Track::new(Codec::new(id), Bounds { limit: 8 << 20, keep });
    let mut inlet = VideoInlet::new(inlet);
    let bytes = std::fs::read(folder.path(name)).unwrap();
    let mut units = AccessUnits::new(case.codec, 1 << 20);
    let (mut frames, mut at) = (0u64, 0);
    // a time that is not zero, as a camera's never is
    let time = |ticks: u64, rate| Time::from_nanos(Time::from_ticks(ticks, rate).nanos() + 7_000_000_123);
    loop {
        at += units.push(&bytes[at..]);
        while let Some(unit) = units.next_unit() {
            assert!(inlet.push_annexb(time(frames, 25), unit));
            frames += 1;
        }
        if at == bytes.len() {
            break;
        }
    }
    if let Some(unit) = units.finish() {
        assert!(inlet.push_annexb(time(frames, 25), unit));
        frames += 1;
    }
    assert_eq!(frames, 275);
    let mut sound = None;
    if let Some((rate, channels)) = case.sound {
        ffmpeg(
            &folder,
            &format!(
                "-v error -f lavfi -i sine=frequency=440:sample_rate={rate} -t 11.5 -ac {channels} -c:a aac -b:a 48k @/a.aac"
            ),
        );
        let config = AudioConfig::lc(rate, channels);
        let (track, mut inlet) =
            Track::new(Codec::audio(CodecId::Aac, rate, channels), Bounds { limit: 1 << 20, keep });
        let bytes = std::fs::read(folder.path("a.aac")).unwrap();
        let mut count = 0u64;
        // the microphone's clock is a little slow
        let mut take = |_: &Adts, frame: &[u8]| {
            inlet.push(time(count * 1024 * 10_003 / 10_000, rate), true, frame);
            count += 1;
        };
        let mut splitter = Splitter::new();
        splitter.push(&bytes, &mut take);
        splitter.finish(&mut take);
        sound = Some((track, config));
    }
    let rings = (pictures.ring(), sound.as_ref().map(|(track, config)| (track.ring(), *config)));
    let beside = rings.1.as_ref().map(|(ring, config)| (&**ring, config));
    let mut clip = Clip::new(&rings.0, beside, time(10, 25)).unwrap();
    let sets = ParameterSets::from_extra(case.codec, &pictures.codec().extra);
    assert!(clip.begin(&sets, beside.map(|(_, config)| config)));
    let ring = beside.map(|(ring, _)| ring);
    let mut file = Vec::new();
    let mut lengths = vec![];
    assert!(clip.take(&rings.0, ring, usize::MAX, &mut file));
    let end = time(300, 25);
    while clip.next(&rings.0, ring, end) == Cut::Ready {
        lengths.push(clip.left());
        while clip.left() > 0 {
            assert!(clip.take(&rings.0, ring, 1000, &mut file));
        }
    }
    assert!(clip.rest(&rings.0, ring));
    assert!(clip.take(&rings.0, ring, usize::MAX, &mut file));
    assert_eq!(lengths.len(), 2, "eight of eleven seconds are whole fragments");
    let path = folder.write("clip.mp4", &file);
    let path = path.to_str().unwrap();
    let run = tool("ffmpeg", &["-v", "warning", "-xerror", "-i", path, "-f", "null", "-"], "");
    assert!(run.code == 0 && run.err.trim().is_empty(), "case {n}: {}", run.err);
    let probe = "-v warning -count_frames -show_entries stream=codec_name,codec_tag_string,nb_read_frames,sample_rate,channels,width,duration,start_time -of json";
    let mut args: Vec<&str> = probe.split(' ').collect();
    args.push(path);
    let run = tool("ffprobe", &args, "");
    assert!(run.code == 0 && run.err.trim().is_empty(), "case {n}: {}", run.err);
    let report = parse(run.out.as_bytes()).unwrap();
    let streams = items(&report, "streams");
    assert_eq!(streams.len(), 1 + usize::from(case.sound.is_some()));
    let video = &streams[0];
    assert_eq!(text(video, "codec_tag_string"), if h264 { "avc1" } else { "hvc1" });
    assert_eq!((text(video, "nb_read_frames"), int(video, "width")), ("275", 320));
    if let Some((rate, channels)) = case.sound {
        let audio = &streams[1];
        assert_eq!(
            (text(audio, "sample_rate"), int(audio, "channels")),
            (rate.to_string().as_str(), i64::from(channels))
        );
        let frames: u64 = text(audio, "nb_read_frames").parse().unwrap();
        // eleven seconds of it, to a frame or two
        assert!(frames.abs_diff(u64::from(rate) * 11 / 1024) <= 2, "case {n}: {frames}");
    }
}
