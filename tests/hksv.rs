//! Recordings as a hub fetches them: `hubsim` plays the hub, and is strict about every byte of the data
//! stream and of the film; ffmpeg looks at the film. What it takes: node and ffmpeg.
#![cfg(all(feature = "homekit", feature = "demo"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::*;

const PIN: &str = "031-45-154";
/// A recording takes its time, and a busy machine more of it.
const LONGEST: Duration = Duration::from_secs(240);

fn config(source: &str, more: &str) -> String {
    format!(
        "api: {{listen: \"127.0.0.1:0\"}}\nrtsp: {{listen: \"\"}}\nmdns: {{mode: \"off\"}}\n\
         streams:\n  cam: demo:?{source}\n\
         homekit:\n  cam: {{pin: {PIN}, hksv: true{more}}}\n"
    )
}

fn home(streamd: &Streamd) -> Value {
    streamd.local("GET", "/api/homekit?id=cam", "").json()
}

fn recording(streamd: &Streamd, key: &str) -> Value {
    home(streamd).get("recording").and_then(|r| r.get(key)).unwrap().clone()
}

fn missing(streamd: &Streamd) -> String {
    let home = home(streamd);
    let all: Vec<_> = items(&home, "missing").iter().filter_map(Value::as_str).collect();
    all.join("; ")
}

/// Parts of the simulator's, one after another on one connection; its report.
fn hubsim(streamd: &Streamd, parts: &[&str], more: &[&str]) -> Value {
    let path = |name: &str| streamd.folder.path(name).to_str().unwrap().to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hubsim/hubsim.mjs");
    let say = |on: &str| {
        let socket = streamd.socket();
        let method = if on == "on" { "POST" } else { "DELETE" };
        format!(
            "curl -fsS -m 50 -X {method} --unix-socket {} 'http://camera/api/homekit/motion?id=cam'",
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
    let name = format!("hubsim-{}.json", parts.join("-"));
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), &out).unwrap();
    let Ok(report) = parse(out.as_bytes()) else { panic!("{parts:?}: {out}{err}\n{}", streamd.log()) };
    let failed: Vec<_> = items(&report, "failed").iter().filter_map(Value::as_str).collect();
    assert!(status.success() && failed.is_empty(), "{parts:?}: {failed:?}\n{err}\n{}", streamd.log());
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

/// From the first switch to the second clip; then every switch, and what strangers try.
#[test]
fn a_hub_records_what_happens_and_what_was_before() {
    let streamd = Streamd::start(&config("width=320&height=180", ""));
    assert!(missing(&streamd).contains("no hub has chosen"), "{}", missing(&streamd));
    hubsim(&streamd, &["pair"], &[]);
    let report = hubsim(&streamd, &["record"], &["--warmup", "5", "--seconds", "5"]);
    passed(&report, &RULES);
    plays(&streamd.folder.path("seen.mp4"));
    assert_eq!(recording(&streamd, "armed"), Value::Bool(true));
    assert_eq!(recording(&streamd, "recording"), Value::Bool(false));
    hubsim(&streamd, &["modes"], &[]);
}

/// The same as a doorbell with another picture, and everything that a stranger may do to its data stream.
#[test]
fn a_doorbell_records_and_suffers_strangers() {
    let streamd =
        Streamd::start(&config("width=180&height=320&fps=15&gop=5&audio=none", ", category_id: doorbell"));
    hubsim(&streamd, &["pair"], &[]);
    let report = hubsim(&streamd, &["record"], &["--warmup", "5", "--seconds", "5", "--no-audio"]);
    passed(&report, &RULES);
    plays(&streamd.folder.path("seen.mp4"));
    hubsim(&streamd, &["hds"], &[]);
    assert_eq!(recording(&streamd, "recording"), Value::Bool(false));
}
