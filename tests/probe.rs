//! `streamd probe` and the table of formats: what is said about a source is true, by the word of
//! ffmpeg; and what the documentation lists is what the program has.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::path::Path;
use streamd::app::{help, modules};
use streamd::media::CodecId;
use support::*;

/// What is said of a source whose tracks have so many frames; of a file, to its end.
fn probe(source: &str, frames: u32) -> Value {
    let frames = frames.to_string();
    let run = run(&["probe", "-c", "{}", "--json", "--seconds", "60", "--frames", &frames, source], "");
    assert_eq!(run.code, 0, "{source}: {}", run.err);
    parse(run.out.as_bytes()).unwrap()
}

fn only(report: &Value) -> &Value {
    let tracks = items(report, "tracks");
    assert_eq!(tracks.len(), 1, "{report:?}");
    &tracks[0]
}

#[test]
fn files_that_ffmpeg_made_are_recognised() {
    let folder = Folder::new();
    let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    for (name, rate, channels, args) in [
        ("stereo.wav", 48_000, 2, "-c:a pcm_s16le"),
        ("mono.wav", 16_000, 1, "-c:a pcm_s16le"),
        ("alaw.wav", 8_000, 1, "-c:a pcm_alaw"),
        ("mulaw.wav", 8_000, 1, "-c:a pcm_mulaw"),
        ("stereo.aac", 44_100, 2, "-c:a aac"),
        ("mono.aac", 16_000, 1, "-c:a aac"),
    ] {
        let (r, c, out) = (rate.to_string(), channels.to_string(), path(name));
        let mut all = vec!["-f", "lavfi", "-i", "sine=frequency=440:duration=1", "-ar", &r, "-ac", &c];
        all.extend(args.split(' '));
        all.push(&out);
        ffmpeg(&all);
        let report = probe(&format!("file:{out}"), 10_000);
        let track = only(&report);
        assert_eq!((int(track, "rate"), int(track, "channels")), (rate, channels), "{name}");
        let wanted = match name {
            "alaw.wav" => "PCMA",
            "mulaw.wav" => "PCMU",
            name if name.ends_with(".aac") => "AAC",
            _ => "PCML",
        };
        assert!(text(track, "codec").eq_ignore_ascii_case(wanted) || wanted == "AAC", "{name}: {track:?}");
        assert!(int(track, "frames") > 5, "{name}: {track:?}");
        assert_eq!(int(track, "gaps"), 0, "{name}");
    }
    for (name, encoder) in [("a.h264", "libx264"), ("a.h265", "libx265")] {
        let out = path(name);
        let gop = if encoder == "libx265" { "-x265-params" } else { "-x264-params" };
        ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=192x112:rate=20:duration=3",
            "-pix_fmt",
            "yuv420p",
            "-c:v",
            encoder,
            gop,
            "keyint=10:min-keyint=10:scenecut=0:bframes=0",
            &out,
        ]);
        let report = probe(&format!("file:{out}"), 10_000);
        let track = only(&report);
        assert_eq!((int(track, "width"), int(track, "height")), (192, 112), "{name}");
        assert_eq!(int(track, "frames"), 60, "{name}: {track:?}");
        assert_eq!(int(track, "key_frames"), 6, "{name}: {track:?}");
        assert_eq!((int(track, "gop_shortest"), int(track, "gop_longest")), (10, 10), "{name}: {track:?}");
        let fps = track.get("frame_rate").map(|v| format!("{v:?}")).unwrap_or_default();
        assert!(fps.contains("20") || fps.contains("19.9"), "{name}: {fps}");
    }
}

#[test]
fn what_the_demo_camera_gives_decodes_without_a_word() {
    let folder = Folder::new();
    let prefix = folder.path("seen");
    let run = run(
        &[
            "probe",
            "-c",
            "{}",
            "--json",
            "--seconds",
            "60",
            "--frames",
            "50",
            "--save",
            prefix.to_str().unwrap(),
            "demo:?width=320&height=192&fps=20&gop=1&audio=alaw",
        ],
        "",
    );
    assert_eq!(run.code, 0, "{}", run.err);
    let report = parse(run.out.as_bytes()).unwrap();
    let of = |kind: &str| items(&report, "tracks").iter().find(|t| text(t, "kind") == kind).unwrap();
    let video = of("video");
    let h264 = folder.path("seen.h264");
    let decoded = ffmpeg(&["-v", "warning", "-i", h264.to_str().unwrap(), "-f", "null", "-"]);
    assert_eq!(decoded.err.trim(), "", "ffmpeg complains");
    let frames = tool(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "frame=key_frame",
            "-of",
            "csv=p=0",
            h264.to_str().unwrap(),
        ],
        "",
    );
    let keys: Vec<bool> = frames.out.lines().filter(|l| !l.is_empty()).map(|l| l.starts_with('1')).collect();
    assert_eq!(keys.len() as i64, int(video, "frames"));
    assert_eq!(keys.iter().filter(|k| **k).count() as i64, int(video, "key_frames"));
    let at: Vec<usize> = keys.iter().enumerate().filter(|(_, k)| **k).map(|(n, _)| n).collect();
    assert!(at.len() >= 2, "{keys:?}");
    let gops: Vec<i64> = at.windows(2).map(|w| (w[1] - w[0]) as i64).collect();
    assert_eq!(int(video, "gop_shortest"), *gops.iter().min().unwrap());
    assert_eq!(int(video, "gop_longest"), *gops.iter().max().unwrap());
    assert_eq!(int(video, "gop_longest"), 20);
    let sound = folder.path("seen.wav");
    let decoded = ffmpeg(&["-v", "error", "-i", sound.to_str().unwrap(), "-f", "null", "-"]);
    assert_eq!(decoded.err.trim(), "");
    let about = tool(
        "ffprobe",
        &[
            "-v",
            "error",
            "-show_entries",
            "stream=codec_name,sample_rate,channels",
            "-of",
            "csv=p=0",
            sound.to_str().unwrap(),
        ],
        "",
    );
    assert_eq!(about.out.trim(), "pcm_alaw,8000,1");
    assert_eq!(int(of("audio"), "rate"), 8000);
    // plain samples are a WAV file too
    let run = crate::run(
        &[
            "probe",
            "-c",
            "{}",
            "--seconds",
            "60",
            "--frames",
            "10",
            "--save",
            folder.path("plain").to_str().unwrap(),
            "demo:sub",
        ],
        "",
    );
    assert_eq!(run.code, 0, "{}", run.err);
    let sound = folder.path("plain.wav");
    let about = tool(
        "ffprobe",
        &["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", sound.to_str().unwrap()],
        "",
    );
    assert_eq!(about.out.trim(), "pcm_s16le");
}

#[test]
fn the_demo_camera_offers_only_what_the_table_says() {
    let gives = |name: &str| modules::FORMATS.iter().find(|f| f.name == name).unwrap().gives;
    for (audio, id) in [
        ("pcm", CodecId::L16),
        ("alaw", CodecId::Pcma),
        ("ulaw", CodecId::Pcmu),
        #[cfg(feature = "aac")]
        ("aac", CodecId::Aac),
        #[cfg(feature = "opus")]
        ("opus", CodecId::Opus),
    ] {
        assert!(gives("demo").contains(&id), "{audio}");
        let report = probe(&format!("demo:sub?audio={audio}"), 5);
        let sound = items(&report, "tracks").iter().find(|t| text(t, "kind") == "audio").unwrap();
        assert_eq!(text(sound, "codec"), id.name());
        assert!(int(sound, "frames") > 0, "{audio}");
        for track in items(&report, "tracks") {
            let known = gives("demo").iter().any(|id| id.name() == text(track, "codec"));
            assert!(known, "{audio}: {track:?}");
        }
        assert_eq!(text(&report, "format"), "demo");
    }
    let report = probe("demo:sub?audio=none", 5);
    assert_eq!(text(only(&report), "codec"), "H264");
}

#[test]
fn every_kind_of_source_in_the_table_is_known_to_the_program() {
    let folder = Folder::new();
    for source in modules::SOURCES {
        let yaml = format!("streams:\n  it: '{}'\n", source.example);
        let path = folder.write("a.yaml", yaml);
        let check = run(&["check", "-c", path.to_str().unwrap()], "");
        assert_eq!(check.code, 0, "{}: {}", source.example, check.out);
        let scheme = source.example.split(':').next().unwrap();
        assert!(source.schemes.contains(&scheme), "{}", source.example);
        assert!(
            modules::FORMATS.iter().any(|f| f.module == source.module && !f.gives.is_empty()),
            "{}",
            source.module
        );
        for scheme in source.schemes {
            // nothing is there: it says so, and ends
            let nothing =
                run(&["probe", "-c", "{}", "--seconds", "1", &format!("{scheme}:/nowhere/at/all")], "");
            assert_eq!(nothing.code, 1, "{scheme}: {}", nothing.out);
            assert!(nothing.err.starts_with("streamd probe: ") && nothing.err.len() > 30, "{}", nothing.err);
        }
    }
    let devices = run(&["devices", "--json"], "");
    let devices = parse(devices.out.as_bytes()).unwrap();
    assert!(items(&devices, "sources").len() >= modules::SOURCES.len());
}

#[test]
fn a_source_that_cannot_be_had_is_told_in_a_sentence() {
    let folder = Folder::new();
    let junk = folder.write("junk", vec![7u8; 5000]);
    let empty = folder.write("empty", "");
    let cut = folder.write("cut.wav", b"RIFF\x10\0\0\0WAVE");
    let file = |p: &Path| format!("file:{}", p.display());
    for (source, wanted) in [
        ("file:/nowhere/x.wav".to_owned(), "/nowhere/x.wav"),
        (file(&junk), "junk"),
        (file(&empty), "empty"),
        (file(&cut), "cut.wav"),
        (file(&folder.0), "irectory"),
        ("gopher://a/b".to_owned(), "gopher"),
        ("cam".to_owned(), "cam"),
        (String::new(), "empty"),
        ("demo:?width=7".to_owned(), "width"),
        ("demo:?audio=mp3".to_owned(), "pcm"),
    ] {
        let run = run(&["probe", "-c", "{}", "--seconds", "1", &source], "");
        assert_eq!(run.code, 1, "{source}: {}", run.out);
        assert!(run.err.contains(wanted), "{source}: {}", run.err);
        assert_eq!(run.err.trim().lines().count(), 1, "{source}: {}", run.err);
    }
    // a stream's name stands for its sources
    let yaml = folder.write("a.yaml", "streams: {cam: demo:sub}\n");
    let run = run(&["probe", "-c", yaml.to_str().unwrap(), "--seconds", "1", "cam"], "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains("640x360") && run.out.contains("H264"), "{}", run.out);
}

/// The page as it stands in the repository is what the program says; `STREAMD_WRITE_DOCS=1` makes it so.
fn page(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("STREAMD_WRITE_DOCS").is_some_and(|v| v == "1") {
        std::fs::write(&path, text).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stands == text, "docs/{name} is stale: run the tests once with STREAMD_WRITE_DOCS=1");
}

#[test]
fn the_page_of_formats_is_the_table() {
    // the page speaks of the default build
    if cfg!(all(feature = "demo", feature = "opus", feature = "aac")) {
        page("formats.md", &modules::formats());
    }
}

#[test]
fn the_page_of_the_command_line_is_its_table() {
    page("command-line.md", &help::manual());
}
