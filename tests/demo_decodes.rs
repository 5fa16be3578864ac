//! What a stranger's decoder makes of the demo camera: ffmpeg has to decode every frame without a
//! word of complaint, to exactly the picture that was drawn.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use streamd::device::demo::{Camera, Moment, Options, walking};
use streamd::media::Time;

const SECOND: u64 = 1_000_000_000;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("streamd-demo-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a tool that has to succeed in silence; returns what it printed.
fn run(tool: &str, args: &[&str]) -> String {
    let output = Command::new(tool)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{tool} is needed for this test: {e}"));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{tool} {args:?}: {complaints}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Length-prefixed NAL units to Annex B.
fn annex_b(mut unit: &[u8], out: &mut Vec<u8>) {
    while let Some((head, rest)) = unit.split_first_chunk::<4>() {
        let (nal, rest) = rest.split_at(u32::from_be_bytes(*head) as usize);
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(nal);
        unit = rest;
    }
    assert!(unit.is_empty());
}

struct Take {
    stream: Vec<u8>,
    planes: Vec<u8>,
    sizes: Vec<usize>,
    keys: Vec<usize>,
}

/// So many frames are compared with what a decoder makes of them; the others only counted.
const COMPARED: usize = 160;

/// Films `frames` frames from an instant on; `before` may turn a knob before each.
fn film(options: &Options, start: u64, frames: u64, mut before: impl FnMut(u64, &mut Camera)) -> Take {
    let mut camera = Camera::new(options);
    let mut take = Take { stream: Vec::new(), planes: Vec::new(), sizes: Vec::new(), keys: Vec::new() };
    let mut unit = Vec::new();
    annex_b(&camera.extra(), &mut take.stream);
    for number in 0..frames {
        before(number, &mut camera);
        let capture = Time::from_nanos(start + number * SECOND / u64::from(options.fps));
        let unix = 1_750_000_000 * SECOND + capture.nanos();
        let level = (number * 700 % 32_768) as u16;
        unit.clear();
        if camera.frame(&Moment { number, capture, unix, zone: 7200, level }, &mut unit) {
            take.keys.push(number as usize);
        }
        take.sizes.push(unit.len());
        annex_b(&unit, &mut take.stream);
        if (number as usize) < COMPARED {
            camera.picture().planes(&mut take.planes);
        }
    }
    take
}

/// Decodes the take and compares each pixel of each frame.
fn decodes_exactly(name: &str, take: &Take) {
    let folder = Folder::new(name);
    let (stream, planes) = (folder.file("a.h264"), folder.file("a.yuv"));
    fs::write(&stream, &take.stream).unwrap();
    let check = ["-v", "warning", "-err_detect", "explode", "-xerror", "-i", &stream, "-f", "null", "-"];
    run("ffmpeg", &check);
    run(
        "ffmpeg",
        &[
            "-v",
            "warning",
            "-i",
            &stream,
            "-fps_mode",
            "passthrough",
            "-pix_fmt",
            "yuv420p",
            "-f",
            "rawvideo",
            &planes,
        ],
    );
    let decoded = fs::read(&planes).unwrap();
    let frame = take.planes.len() / take.sizes.len().min(COMPARED);
    assert_eq!(decoded.len(), frame * take.sizes.len(), "{name}: frames are missing or of another size");
    for (i, (a, b)) in decoded.chunks(frame).zip(take.planes.chunks(frame)).enumerate() {
        if let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) {
            panic!("{name}: frame {i} differs first at byte {at}: {} decoded, {} drawn", a[at], b[at]);
        }
    }
}

#[test]
fn a_player_sees_what_was_drawn() {
    for (name, text) in [
        ("main", "demo:"),
        ("sub", "demo:sub?motion=always"),
        ("portrait", "demo:?width=720&height=1280&fps=10"),
        ("tiny", "demo:?width=64&height=64&motion=always"),
        ("odd", "demo:?width=334&height=246&noise=20"),
        ("hd", "demo:?width=1920&height=1080&noise=3&fps=10"),
        ("wide", "demo:?width=2000&height=66&fps=10&motion=always"),
        ("noise", "demo:sub?noise=100"),
    ] {
        let take = film(&Options::parse(text).unwrap(), 3 * SECOND, 75, |_, _| {});
        decodes_exactly(name, &take);
    }
}

#[test]
fn a_key_frame_comes_when_it_is_asked_for_and_the_gop_begins_anew() {
    let asked = [7, 8, 30];
    let take = film(&Options::parse("demo:sub?noise=5").unwrap(), 0, 100, |n, camera| {
        if asked.contains(&n) {
            camera.request_key();
        }
    });
    assert_eq!(take.keys, [0, 7, 8, 30, 80]);
    decodes_exactly("keys", &take);
}

#[test]
fn a_long_gop_without_a_key_frame_does_not_drift() {
    let take =
        film(&Options::parse("demo:?width=128&height=96&fps=15&gop=10&noise=10").unwrap(), 0, 160, |_, _| {});
    assert_eq!(take.keys, [0, 150]);
    decodes_exactly("long", &take);
}

#[test]
fn players_are_told_what_it_is() {
    for (text, expected) in [
        (
            "demo:",
            "profile=Constrained Baseline width=1280 height=720 has_b_frames=0 level=31 color_range=tv r_frame_rate=25/1",
        ),
        (
            "demo:sub",
            "profile=Constrained Baseline width=640 height=360 has_b_frames=0 level=30 color_range=tv r_frame_rate=25/1",
        ),
        (
            "demo:?width=334&height=246&fps=7",
            "profile=Constrained Baseline width=334 height=246 has_b_frames=0 level=12 color_range=tv r_frame_rate=7/1",
        ),
    ] {
        let options = Options::parse(text).unwrap();
        let folder = Folder::new(&format!("probe{}", options.width));
        let stream = folder.file("a.h264");
        fs::write(&stream, film(&options, 0, 60, |_, _| {}).stream).unwrap();
        let entries = "stream=profile,width,height,level,has_b_frames,color_range,r_frame_rate";
        let told =
            run("ffprobe", &["-v", "warning", "-show_entries", entries, "-of", "default=nw=1", &stream]);
        assert_eq!(told.split_whitespace().collect::<Vec<_>>().join(" "), expected);
    }
}

#[test]
fn a_walker_can_be_heard_in_the_sizes() {
    for text in ["demo:", "demo:sub", "demo:sub?noise=5"] {
        let options = Options::parse(text).unwrap();
        let take = film(&options, 0, 500, |_, _| {});
        let mean = |walks: bool| {
            let at = |n: usize| Time::from_nanos(n as u64 * SECOND / 25);
            let chosen =
                (0..500).filter(|n| !take.keys.contains(n) && walking(options.motion, at(*n)) == walks);
            let (sum, count) = chosen.fold((0, 0), |(sum, count), n| (sum + take.sizes[n], count + 1));
            sum / count
        };
        assert!(mean(true) > mean(false) * 4 / 3, "{text}: {} and {}", mean(true), mean(false));
    }
}

#[test]
fn a_bit_rate_is_kept_and_followed() {
    for (text, rates) in [
        ("demo:", [2_000_000, 500_000, 4_000_000]),
        ("demo:sub", [300_000, 800_000, 150_000]),
        ("demo:sub?fps=15&gop=4", [300_000, 5_000_000, 1_000_000]),
        ("demo:?width=64&height=64", [2_000_000, 64_000, 50_000_000]),
    ] {
        let options = Options::parse(text).unwrap();
        let second = u64::from(options.fps);
        let take = film(&options, 0, second * 24, |n, camera| {
            if n % (second * 8) == 0 {
                camera.set_bitrate(rates[(n / (second * 8)) as usize]);
            }
        });
        for (part, rate) in take.sizes.chunks(second as usize * 8).zip(rates) {
            // the first two seconds may still hold the end of a GOP begun at another rate
            for window in part[second as usize * 2..].chunks(second as usize * 2) {
                let got = window.iter().sum::<usize>() * 8 / 2;
                let rate = rate as usize;
                assert!((rate * 9 / 10..=rate * 11 / 10).contains(&got), "{text}: {got} instead of {rate}");
            }
        }
        if options.width < 1000 {
            decodes_exactly(&format!("rate{}x{}", options.width, options.fps), &take);
        }
    }
}

#[test]
fn each_access_unit_carries_its_capture_time() {
    let take = film(&Options::SUB, 5 * SECOND, 3, |_, _| {});
    let uuid = streamd::device::demo::CAPTURE_UUID;
    // the times of this take need emulation prevention: undo it as any reader would
    let mut plain: Vec<u8> = Vec::new();
    for &byte in &take.stream {
        if byte != 3 || !plain.ends_with(&[0, 0]) {
            plain.push(byte);
        }
    }
    let times: Vec<_> = plain
        .windows(32)
        .filter(|w| w[..16] == uuid)
        .map(|w| {
            (
                u64::from_be_bytes(w[16..24].try_into().unwrap()),
                u64::from_be_bytes(w[24..].try_into().unwrap()),
            )
        })
        .collect();
    let expected: Vec<_> =
        (0..3).map(|n| 5 * SECOND + n * SECOND / 25).map(|t| (t, 1_750_000_000 * SECOND + t)).collect();
    assert_eq!(times, expected);
}

#[test]
fn the_snapshot_looks_like_the_video() {
    for (name, text) in [("jpeg", "demo:"), ("jpegodd", "demo:?width=334&height=246&noise=50")] {
        let options = Options::parse(text).unwrap();
        let folder = Folder::new(name);
        let mut camera = Camera::new(&options);
        let moment = Moment {
            capture: Time::from_nanos(3 * SECOND),
            unix: 1_750_000_003 * SECOND,
            ..Moment::default()
        };
        let (mut unit, mut stream, mut picture) = (Vec::new(), Vec::new(), Vec::new());
        camera.frame(&moment, &mut unit);
        annex_b(&camera.extra(), &mut stream);
        annex_b(&unit, &mut stream);
        camera.jpeg(None, &mut picture);
        fs::write(folder.file("a.jpg"), &picture).unwrap();
        fs::write(folder.file("a.h264"), &stream).unwrap();
        let mut images = Vec::new();
        for file in ["a.jpg", "a.h264"] {
            let (from, to) = (folder.file(file), folder.file("a.rgb"));
            let scale = "scale=sws_flags=neighbor+accurate_rnd+full_chroma_int";
            run(
                "ffmpeg",
                &["-v", "warning", "-err_detect", "explode", "-xerror", "-i", &from, "-f", "null", "-"],
            );
            // turning JPEG's pixels into RGB has ffmpeg warn about a name of its own
            run(
                "ffmpeg",
                &["-v", "error", "-y", "-i", &from, "-vf", scale, "-pix_fmt", "rgb24", "-f", "rawvideo", &to],
            );
            images.push(fs::read(&to).unwrap());
        }
        assert_eq!(images[0].len(), usize::from(options.width) * usize::from(options.height) * 3);
        assert_eq!(images[0].len(), images[1].len());
        let off: Vec<u64> =
            images[0].iter().zip(&images[1]).map(|(a, b)| u64::from(a.abs_diff(*b))).collect();
        let (mean, worst) = (off.iter().sum::<u64>() * 100 / off.len() as u64, off.iter().max().unwrap());
        assert!(mean < 200 && *worst < 48, "{name}: mean {mean}/100, worst {worst}");
    }
}

/// A tile's picture is as large as the tile, or as what is filmed, and shows the same.
#[test]
fn a_smaller_picture_keeps_its_shape() {
    let options = Options::parse("demo:?width=640&height=360").unwrap();
    let folder = Folder::new("jpegsmall");
    let mut camera = Camera::new(&options);
    camera.frame(&Moment::default(), &mut Vec::new());
    let mut means = Vec::new();
    for (most, size) in [
        (None, (640, 360)),
        (Some((1280, 720)), (640, 360)),
        (Some((320, 240)), (320, 180)),
        (Some((640, 100)), (176, 100)),
        (Some((1, 1)), (16, 16)),
    ] {
        let mut picture = Vec::new();
        camera.jpeg(most, &mut picture);
        let (from, to) = (folder.file("a.jpg"), folder.file("a.gray"));
        fs::write(&from, &picture).unwrap();
        run(
            "ffmpeg",
            &["-v", "error", "-xerror", "-y", "-i", &from, "-pix_fmt", "gray", "-f", "rawvideo", &to],
        );
        let pixels = fs::read(&to).unwrap();
        assert_eq!(pixels.len(), size.0 * size.1, "{most:?}");
        means.push(pixels.iter().map(|&p| u64::from(p)).sum::<u64>() / pixels.len() as u64);
    }
    assert!(means[1..4].iter().all(|m| m.abs_diff(means[0]) < 8), "{means:?}");
}
