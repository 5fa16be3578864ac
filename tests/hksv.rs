//! Recordings as a hub fetches them: `hubsim` plays the hub, and is strict about every byte of the data
//! stream and of the film; ffmpeg looks at the film. What it takes: node and ffmpeg.
#![cfg(all(feature = "homekit", feature = "demo"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use streamd::device::demo::CAPTURE_UUID;
use support::*;

const PIN: &str = "031-45-154";
/// Recordings take their time, and a busy machine more of it.
const LONGEST: Duration = Duration::from_secs(600);

/// How often the plug is pulled; scripts/soak pulls it more often.
fn pulls() -> u32 {
    std::env::var("PLUG_PULLS").map_or(4, |times| times.parse().unwrap())
}

fn config(source: &str, more: &str) -> String {
    format!(
        "api: {{listen: \"127.0.0.1:0\"}}\nrtsp: {{listen: \"\"}}\nmdns: {{mode: \"off\"}}\n\
         streams:\n  cam: demo:?{source}\n\
         homekit:\n  cam: {{pin: {PIN}, motion: api, hksv: true{more}}}\n"
    )
}

fn home(streamd: &Streamd) -> Value {
    streamd.local("GET", "/api/homekit?id=cam", "").json()
}

fn recording(streamd: &Streamd, key: &str) -> Value {
    home(streamd).get("recordings").and_then(|r| r.get("cam")?.get(key)).cloned().unwrap_or(Value::Null)
}

fn missing(streamd: &Streamd) -> String {
    let home = home(streamd);
    let all: Vec<_> = items(&home, "missing").iter().filter_map(Value::as_str).collect();
    all.join("; ")
}

/// Parts of the simulator's, one after another on one connection; its report.
fn hubsim(streamd: &Streamd, parts: &[&str], more: &[&str]) -> Value {
    let said = streamd.folder.path("said");
    let say = |on: &str| {
        let socket = streamd.socket();
        let method = if on == "on" { "POST" } else { "DELETE" };
        format!(
            "date +%s%N >>'{0}'; curl -fsS -m 50 -X {method} --unix-socket {1} 'http://camera/api/homekit/motion?id=cam'; \
             date +%s%N >>'{0}'",
            said.display(),
            socket.display()
        )
    };
    let (on, off) = (say("on"), say("off"));
    let more = [&["--trigger", &on, "--trigger-off", &off], more].concat();
    hub(&streamd.folder, int(&home(streamd), "port"), parts, &more)
}

/// The same of any camera at that port of this machine.
fn hub(folder: &Folder, port: i64, parts: &[&str], more: &[&str]) -> Value {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hubsim/hubsim.mjs");
    let out = std::fs::File::create(folder.path("report")).unwrap();
    let err = std::fs::File::create(folder.path("complaints")).unwrap();
    let child = Command::new("node")
        .arg(script)
        .args(parts)
        .args(["--port", &port.to_string(), "--pin", PIN, "--patience", "10"])
        .args(["--state", &path("hub.json"), "--out", &path("seen.mp4")])
        .args(more)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .unwrap();
    let mut child = Guard(child);
    let end = Instant::now() + LONGEST + Duration::from_secs(15) * pulls();
    let status = loop {
        match child.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < end, "the simulator does not come to its end with {parts:?}"),
        }
        pause(50);
    };
    let read = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
    let (out, err) = (read("report"), read("complaints"));
    let name = format!("hubsim-{name}-{}.json", parts.join("-"));
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), &out).unwrap();
    let Ok(report) = parse(out.as_bytes()) else { panic!("{parts:?}: {status}: {out}{err}") };
    let failed: Vec<_> = items(&report, "failed").iter().filter_map(Value::as_str).collect();
    assert!(status.success() && failed.is_empty(), "{parts:?}: {failed:?}\n{err}");
    report
}

/// What the simulator would only have us warned of.
fn passed(report: &Value, ids: &[&str]) {
    for id in ids {
        let check = items(report, "checks").iter().find(|c| text(c, "id") == *id);
        assert_eq!(check.map(|c| text(c, "status")), Some("pass"), "{id}: {check:?}");
    }
}

/// No warning, no picture missing.
fn plays(path: &Path) {
    let path = path.to_str().unwrap();
    for tool_args in [
        ("ffmpeg", vec!["-v", "warning", "-xerror", "-i", path, "-f", "null", "-"]),
        ("ffprobe", vec!["-v", "warning", "-show_frames", "-of", "json", path]),
    ] {
        let run = tool(tool_args.0, &tool_args.1, "");
        assert!(run.code == 0 && run.err.trim().is_empty(), "{}: {}", tool_args.0, run.err);
    }
}

const RULES: [&str; 10] = [
    "hds.setup.207",
    "hds.open.badtype",
    "hds.open.concurrent",
    "rec.totalsize",
    "rec.starts.zero",
    "rec.fragment.onemoof",
    "rec.prebuffer",
    "hds.follows.session",
    "rec.again.data",
    "rec.fragment.steady",
];

/// When the clip's pictures were taken: nanoseconds since 1970 of the first and the last.
fn taken(path: &Path) -> (u64, u64) {
    let bytes = std::fs::read(path).unwrap();
    let mut times = bytes.windows(16).enumerate().filter(|(_, w)| *w == CAPTURE_UUID).map(|(at, _)| {
        // without what keeps start codes out
        let (mut zeros, mut data) = (0, Vec::new());
        for &b in bytes[at + 16..].iter().take(32) {
            if zeros >= 2 && b == 3 {
                zeros = 0;
                continue;
            }
            zeros = if b == 0 { zeros + 1 } else { 0 };
            data.push(b);
        }
        u64::from_be_bytes(data[8..16].try_into().unwrap())
    });
    let first = times.next().unwrap();
    (first, times.next_back().unwrap())
}

/// The clip begins before the moment at which somebody said that something moves, and holds it. How long before is
/// the simulator's business (`rec.prebuffer`): on a busy machine the camera hears it late.
fn holds_the_moment(streamd: &Streamd) {
    let said = std::fs::read_to_string(streamd.folder.path("said")).unwrap();
    let said: Vec<u64> = said.lines().take(2).map(|line| line.parse().unwrap()).collect();
    let (first, last) = taken(&streamd.folder.path("seen.mp4"));
    assert!(first + 1_000_000_000 < said[1] && last > said[0], "{first} {said:?} {last}");
}

/// Pictures and sound show and tell the same moment: the demo camera ticks at each whole second of the clock
/// that its pictures carry.
#[cfg(feature = "aac")]
#[allow(clippy::float_arithmetic)]
fn is_in_step(streamd: &Streamd) {
    let path = streamd.folder.path("seen.mp4");
    let path = path.to_str().unwrap();
    let args =
        ["-v", "error", "-show_entries", "stream=codec_type,sample_rate,start_time,duration", "-of", "json"];
    let report = parse(tool("ffprobe", &[&args[..], &[path]].concat(), "").out.as_bytes()).unwrap();
    let of = |kind: &str, key: &str| -> f64 {
        let stream = items(&report, "streams").iter().find(|s| text(s, "codec_type") == kind).unwrap();
        text(stream, key).parse().unwrap()
    };
    let (pictures, sound) = (of("video", "start_time"), of("audio", "start_time"));
    let ends = [pictures + of("video", "duration"), sound + of("audio", "duration")];
    assert!((pictures - sound).abs() < 0.033 && (ends[0] - ends[1]).abs() < 0.066, "{report:?}");
    let samples = streamd.folder.path("samples");
    // each sample at its time, as players have it: where sound was missing it is moved a little
    let in_time = ["-af", "aresample=async=1:min_hard_comp=0.002"];
    let words = ["-v", "error", "-i", path, "-vn", in_time[0], in_time[1], "-f", "s16le", "-ac", "1"];
    ffmpeg(&[&words[..], &[samples.to_str().unwrap()]].concat());
    let samples = std::fs::read(samples).unwrap();
    let loud = |b: &[u8]| i16::from_le_bytes([b[0], b[1]]).unsigned_abs() > 3000;
    let rate = of("audio", "sample_rate");
    let (first, _) = taken(Path::new(path));
    let first = first as f64 / 1e9;
    let (mut quiet, mut ticks) = (0, Vec::new());
    for (at, sample) in samples.chunks_exact(2).enumerate() {
        if loud(sample) {
            if f64::from(quiet) > rate / 2.0 {
                // when the tick is heard, by the clock that is in the pictures
                let heard = first + (sound - pictures) + at as f64 / rate;
                ticks.push(((heard - heard.round()) * 1000.0) as i64);
            }
            quiet = 0;
        } else {
            quiet += 1;
        }
    }
    // a busy machine's demo camera leaves some out
    assert!(ticks.len() >= 3 && ticks.iter().all(|off| off.abs() <= 20), "milliseconds off: {ticks:?}");
}

/// The hub could choose what it then got: all that the simulator remarks is that it chose a higher profile.
fn chose_what_it_got(report: &Value, (width, height, rates): (i64, i64, &[i64])) {
    let chosen = report.get("info").and_then(|i| i.get("selected")).unwrap();
    assert_eq!((int(chosen, "width"), int(chosen, "height")), (width, height));
    assert!(rates.contains(&int(chosen, "fps")), "{chosen:?}");
    let notes = items(report, "checks").iter().filter(|c| text(c, "id").starts_with("rec.fmp4.note"));
    let notes: Vec<_> =
        notes.map(|c| text(c, "detail")).filter(|note| !note.contains("profile_idc")).collect();
    assert!(notes.is_empty(), "{notes:?}");
}

/// Waits until it is known what the source's pictures are.
fn wait_for_source(streamd: &Streamd, width: i64) {
    wait_until("the source's size to be known", || {
        recording(streamd, "width").as_int() == Some(width) && int(&home(streamd), "config_number") == 1
    });
}

const RECORD: [&str; 4] = ["--warmup", "6", "--seconds", "4"];

/// From the first switch to the second clip; then every switch.
#[test]
#[cfg(feature = "aac")]
fn a_hub_records_what_happens_and_what_was_before() {
    let streamd = Streamd::start(&config("width=1920&height=1080&fps=30", ""));
    assert!(missing(&streamd).contains("no hub has chosen"), "{}", missing(&streamd));
    wait_for_source(&streamd, 1920);
    hubsim(&streamd, &["pair"], &[]);
    let report = hubsim(&streamd, &["record"], &RECORD);
    // a busy machine makes fewer pictures, and says so
    chose_what_it_got(&report, (1920, 1080, &[15, 24, 30]));
    passed(&report, &RULES);
    passed(&report, &["rec.audio.present"]);
    plays(&streamd.folder.path("seen.mp4"));
    holds_the_moment(&streamd);
    is_in_step(&streamd);
    assert_eq!(recording(&streamd, "armed"), Value::Bool(true));
    assert_eq!(recording(&streamd, "recording"), Value::Bool(false));
    hubsim(&streamd, &["modes"], &[]);
}

/// The same as a doorbell whose picture stands upright, is slow, has few key frames and no sound.
#[test]
fn a_doorbell_records_too() {
    let source = "width=720&height=1280&fps=15&gop=5&audio=none";
    let streamd = Streamd::start(&config(source, ", category_id: doorbell"));
    wait_for_source(&streamd, 720);
    hubsim(&streamd, &["pair"], &[]);
    let report = hubsim(&streamd, &["record"], &[&RECORD[..], &["--no-audio"]].concat());
    chose_what_it_got(&report, (720, 1280, &[15]));
    passed(&report, &RULES);
    plays(&streamd.folder.path("seen.mp4"));
    holds_the_moment(&streamd);
    assert_eq!(missing(&streamd), "no controller is connected: a hub has to be in the network");
}

/// What strangers and broken hubs do at the port of recordings.
#[test]
fn strangers_learn_nothing_and_harm_nobody() {
    let streamd = Streamd::start(&config("width=160&height=96", ""));
    hubsim(&streamd, &["pair"], &[]);
    let report = hubsim(&streamd, &["hds"], &[]);
    passed(&report, &["hds.oversize", "hds.nohello", "hds.idle"]);
    assert_eq!(recording(&streamd, "opened"), Value::Int(0));
}

/// The plug is pulled after everything was set, and then again and again while a hub records and a switch is
/// being written; nobody has to switch anything on again.
#[test]
fn a_camera_goes_on_recording_after_power_cuts() {
    let mut streamd = Streamd::start(&config("width=1280&height=720&fps=30&gop=1", ""));
    let restart = format!("sh {}", streamd.folder.write("restart", restart_script(&streamd)).display());
    let second = Second(streamd.folder.path("pid"));
    hubsim(&streamd, &["pair"], &[]);
    let rounds = pulls().to_string();
    let more = ["--restart", &restart, "--settle", "3", "--rounds", &rounds];
    let report = hubsim(&streamd, &["persist", "cut"], &more);
    passed(
        &report,
        &[
            "persist.records",
            "persist.active",
            "persist.selected",
            "persist.audio",
            "cut.rounds",
            "cut.records",
        ],
    );
    // it keeps itself ready from its first moment on, whoever comes
    assert_eq!(recording(&streamd, "armed"), Value::Bool(true));
    let stream = streamd.local("GET", "/api/streams?src=cam", "").json();
    assert_eq!(text(producer(&stream), "state"), "running");
    assert!(!streamd.log().contains("paired anew"));
    let _ = streamd.child.wait();
    drop(second);
}

/// From the box to the wall and back, with all that hubs, homes and strangers do to a camera and to a doorbell
/// that record; both hang on the same wall.
#[test]
#[cfg(all(feature = "aac", feature = "opus"))]
fn a_hub_lives_with_what_records() {
    let whole_life = |bell: bool| {
        let more = if bell { ", speaker: true, category_id: doorbell" } else { ", speaker: true" };
        let mut streamd = Streamd::start(&config("width=1280&height=720&fps=30&gop=1", more));
        wait_for_source(&streamd, 1280);
        let restart = format!("sh {}", streamd.folder.write("restart", restart_script(&streamd)).display());
        let second = Second(streamd.folder.path("pid"));
        let socket = streamd.socket();
        let ring = format!(
            "curl -fsS -m 50 -X POST --unix-socket {} 'http://camera/api/homekit/doorbell?id=cam'",
            socket.display()
        );
        let args = ["--restart", &restart, "--settle", "3", "--talkback", "--live-seconds", "4"];
        let size = ["--width", "1280", "--height", "720"];
        let rings = ["--ring", &ring];
        let rings = if bell { &rings[..] } else { &[] };
        let report = hubsim(&streamd, &["all"], &[&RECORD[..], &args, &size, rings].concat());
        passed(&report, &RULES);
        passed(&report, &["rec.audio.present", "persist.records", "modes.off.closesrec", "hds.idle"]);
        chose_what_it_got(&report, (1280, 720, &[15, 24, 30]));
        if bell {
            passed(&report, &["bell.event", "bell.once"]);
        }
        plays(&streamd.folder.path("seen.mp4"));
        let _ = streamd.child.wait();
        drop(second);
    };
    std::thread::scope(|both| {
        for (name, bell) in [("camera", false), ("doorbell", true)] {
            let life = move || whole_life(bell);
            std::thread::Builder::new().name(format!("a_{name}")).spawn_scoped(both, life).unwrap();
        }
    });
}

/// Started by the simulator; told to end when dropped.
struct Second(std::path::PathBuf);

impl Drop for Second {
    fn drop(&mut self) {
        let Ok(pid) = std::fs::read_to_string(&self.0) else { return };
        let _ = Command::new("kill").arg(pid.trim()).status();
        wait_until("the second one to end", || !Path::new("/proc").join(pid.trim()).exists());
    }
}

/// Whoever waits for a clip is told what is missing, one thing after another.
#[test]
fn the_last_missing_step_is_named() {
    let text = |hksv: bool, source: &str| {
        let demo = "demo:?width=160&height=96";
        config("width=160&height=96", "")
            .replace("motion: api", "motion: \"api,detect\"")
            .replace("hksv: true", &format!("hksv: {hksv}"))
            .replace(demo, source)
    };
    let demo = "demo:?width=160&height=96";
    let streamd = Streamd::start(&text(false, demo));
    let reload = |text: &str| {
        streamd.set_file(text);
        assert_eq!(streamd.local("POST", "/api/reload", "").status, 200);
    };
    let alone = "no controller is connected: a hub has to be in the network";
    let unchosen = "no hub has chosen how to record: choose Stream & Allow Recording in the Home app";
    let forbidden = "recording is not allowed in the Home app";
    assert_eq!(missing(&streamd), "it is not paired; hksv is off in the configuration");
    reload(&text(true, demo));
    assert_eq!(missing(&streamd), format!("it is not paired; {unchosen}; {forbidden}"));
    hubsim(&streamd, &["pair"], &[]);
    wait_until("the hub to go", || missing(&streamd) == format!("{alone}; {unchosen}; {forbidden}"));
    hubsim(&streamd, &["switch"], &["--recording", "0"]);
    wait_until("the hub to go", || missing(&streamd) == format!("{alone}; {forbidden}"));
    hubsim(&streamd, &["switch"], &["--recording", "1", "--active", "0"]);
    let off = "the camera is switched off in the Home app";
    wait_until("the hub to go", || missing(&streamd) == format!("{alone}; {off}"));
    assert_eq!(recording(&streamd, "armed"), Value::Bool(false));
    let consumers = || items(&streamd.stream("cam"), "consumers").len();
    wait_until("the source to be let go by all", || consumers() == 0);
    hubsim(&streamd, &["switch"], &["--active", "1"]);
    wait_until("the hub to go", || missing(&streamd) == alone);
    assert_eq!(recording(&streamd, "armed"), Value::Bool(true));
    wait_until("the prebuffer and the detector", || consumers() == 2);
    let privacy = |on: bool| {
        streamd.local("POST", &format!("/api/events?type=privacy&src=cam&on={on}"), "");
    };
    privacy(true);
    let shut = "the camera is switched off by somebody who stands before it";
    assert_eq!(missing(&streamd), format!("{alone}; {shut}"));
    privacy(false);
    assert_eq!(missing(&streamd), alone);
    // nobody answers there
    reload(&text(true, "rtsp://127.0.0.1:9/none"));
    wait_until("the source to be missed", || missing(&streamd).contains("nothing can be recorded: "));
    reload(&text(true, demo));
    wait_until("the source to be back", || missing(&streamd) == alone);
}

/// One line makes any camera one that hubs record: here one that is only to be had by RTSP, for an owner who
/// wants all of the day.
#[test]
#[cfg(feature = "rtsp")]
fn a_single_line_makes_any_camera_one_that_hubs_record() {
    let other = Streamd::start(
        "api: {listen: \"127.0.0.1:0\"}\nrtsp: {listen: \"127.0.0.1:0\"}\nmdns: {mode: \"off\"}\n\
         streams: {cam: \"demo:?width=640&height=360\"}\n",
    );
    let status = other.local("GET", "/api/status", "").json();
    let listening: Vec<_> = items(&status, "listening").iter().filter_map(Value::as_str).collect();
    let rtsp = listening.iter().find_map(|l| l.strip_prefix("RTSP ")).unwrap();
    let source = format!("{}/cam", rtsp.trim_end_matches('/'));
    let folder = Folder::new();
    let state = folder.path("kept");
    let free = |port: &u16| std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok();
    // not one of those that are given to whoever wants any
    let first = 20_000 + (std::process::id() % 9000) as u16;
    let port = (first..).find(free).unwrap();
    let out = std::fs::File::create(folder.path("out")).unwrap();
    let err = std::fs::File::create(folder.path("log")).unwrap();
    let child = Command::new(PROGRAM)
        .args(["hksv", &source, "--pin", PIN, "--pairings", state.to_str().unwrap()])
        .args(["--port", &port.to_string(), "--motion", "continuous", "--threshold", "3"])
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .unwrap();
    let _child = Guard(child);
    let read = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
    wait_until("the code to be shown", || read("out").contains(PIN));
    wait_until("its QR code", || read("out").contains('█') || read("out").contains('▄'));
    wait_until("the port to be told", || {
        read("out").contains(&format!("HOMEKIT hap://127.0.0.1:{port}/ camera"))
    });
    wait_until("its identity to be kept", || state.read_dir().is_ok_and(|d| d.count() > 0));
    let report = hub(&folder, port.into(), &["pair", "record"], &["--warmup", "8", "--seconds", "4"]);
    passed(&report, &RULES);
    plays(&folder.path("seen.mp4"));
}
