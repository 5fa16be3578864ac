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
/// A recording takes its time, and a busy machine more of it.
const LONGEST: Duration = Duration::from_secs(240);

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
    home(streamd).get("recordings").and_then(|r| r.get("cam")?.get(key)).unwrap().clone()
}

fn missing(streamd: &Streamd) -> String {
    let home = home(streamd);
    let all: Vec<_> = items(&home, "missing").iter().filter_map(Value::as_str).collect();
    all.join("; ")
}

/// Parts of the simulator's, one after another on one connection; its report.
fn hubsim(streamd: &Streamd, parts: &[&str], more: &[&str]) -> Value {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let path = |name: &str| streamd.folder.path(name).to_str().unwrap().to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hubsim/hubsim.mjs");
    let say = |on: &str| {
        let socket = streamd.socket();
        let method = if on == "on" { "POST" } else { "DELETE" };
        format!(
            "date +%s%N >>'{}'; curl -fsS -m 50 -X {method} --unix-socket {} 'http://camera/api/homekit/motion?id=cam'",
            path("said"),
            socket.display()
        )
    };
    let out = std::fs::File::create(streamd.folder.path("report")).unwrap();
    let err = std::fs::File::create(streamd.folder.path("complaints")).unwrap();
    let child = Command::new("node")
        .arg(script)
        .args(parts)
        .args(["--port", &int(&home(streamd), "port").to_string(), "--pin", PIN, "--patience", "10"])
        .args(["--state", &path("hub.json"), "--out", &path("seen.mp4")])
        .args(["--trigger", &say("on"), "--trigger-off", &say("off")])
        .args(more)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .unwrap();
    let mut child = Guard(child);
    let end = Instant::now() + LONGEST;
    let status = loop {
        match child.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < end, "the simulator does not come to its end with {parts:?}"),
        }
        pause(50);
    };
    let read = |name: &str| std::fs::read_to_string(streamd.folder.path(name)).unwrap();
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

/// The clip begins well before the moment at which somebody said that something moves, and holds it.
fn holds_the_moment(streamd: &Streamd) {
    let said = std::fs::read_to_string(streamd.folder.path("said")).unwrap();
    let said: u64 = said.lines().next().unwrap().parse().unwrap();
    let (first, last) = taken(&streamd.folder.path("seen.mp4"));
    let before = said.saturating_sub(first) / 1_000_000;
    assert!((3000..12_000).contains(&before) && last > said, "{before} ms before it, {first} {said} {last}");
}

const RECORD: [&str; 4] = ["--warmup", "6", "--seconds", "4"];

/// From the first switch to the second clip; then every switch.
#[test]
#[cfg(feature = "aac")]
fn a_hub_records_what_happens_and_what_was_before() {
    let streamd = Streamd::start(&config("width=320&height=180", ""));
    assert!(missing(&streamd).contains("no hub has chosen"), "{}", missing(&streamd));
    hubsim(&streamd, &["pair"], &[]);
    let report = hubsim(&streamd, &["record"], &RECORD);
    passed(&report, &RULES);
    passed(&report, &["rec.audio.present"]);
    plays(&streamd.folder.path("seen.mp4"));
    holds_the_moment(&streamd);
    assert_eq!(recording(&streamd, "armed"), Value::Bool(true));
    assert_eq!(recording(&streamd, "recording"), Value::Bool(false));
    hubsim(&streamd, &["modes"], &[]);
}

/// The same as a doorbell whose picture stands upright, is slow, has few key frames and no sound.
#[test]
fn a_doorbell_records_too() {
    let source = "width=180&height=320&fps=15&gop=5&audio=none";
    let streamd = Streamd::start(&config(source, ", category_id: doorbell, upright: true"));
    hubsim(&streamd, &["pair"], &[]);
    let report = hubsim(&streamd, &["record"], &[&RECORD[..], &["--no-audio"]].concat());
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

/// The plug is pulled while a hub records; nobody has to switch anything on again.
#[test]
fn a_camera_goes_on_recording_after_a_power_cut() {
    let mut streamd = Streamd::start(&config("width=320&height=180&gop=1", ""));
    let restart = format!("sh {}", streamd.folder.write("restart", restart_script(&streamd)).display());
    let second = Second(streamd.folder.path("pid"));
    hubsim(&streamd, &["pair"], &[]);
    let report = hubsim(&streamd, &["persist"], &["--restart", &restart, "--settle", "3"]);
    passed(&report, &["persist.records", "persist.active", "persist.selected", "persist.audio"]);
    let _ = streamd.child.wait();
    drop(second);
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

/// One line makes any camera one that hubs record.
#[test]
#[cfg(feature = "rtsp")]
fn a_single_line_makes_any_camera_one_that_hubs_record() {
    let folder = Folder::new();
    let state = folder.path("kept");
    let out = std::fs::File::create(folder.path("out")).unwrap();
    let err = std::fs::File::create(folder.path("log")).unwrap();
    let child = Command::new(PROGRAM)
        .args(["hksv", "demo:?width=160&height=96", "--pin", PIN, "--pairings", state.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .unwrap();
    let _child = Guard(child);
    let read = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
    wait_until("the code to be shown", || read("out").contains(PIN));
    wait_until("its QR code", || read("out").contains('█') || read("out").contains('▄'));
    wait_until("the port to be told", || read("out").contains("HOMEKIT hap://127.0.0.1:"));
    wait_until("its identity to be kept", || state.read_dir().is_ok_and(|d| d.count() > 0));
}
