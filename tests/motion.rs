//! The motion detector on scenes whose motion is known, and in the running program: who is told, who
//! makes it look, and that it ceases to.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use support::*;

/// Makes a scene and returns the clip and its labels.
fn scene(folder: &Folder, family: &str) -> (String, String, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/scenes");
    let target = folder.path("scenes");
    let words = [script.to_str().unwrap(), "make", target.to_str().unwrap(), "--seed", "1", "--only", family];
    let made = long_tool("python3", &words, "", PATIENCE * 3);
    assert!(made.code == 0, "{}", made.err);
    let at = |suffix: &str| target.join(format!("{family}-1.{suffix}"));
    let clip = ["264", "265"].map(at).into_iter().find(|p| p.exists()).unwrap();
    let about = parse(&std::fs::read(at("json")).unwrap()).unwrap();
    let fps = int(&about, "fps").to_string();
    (clip.display().to_string(), at("labels").display().to_string(), fps)
}

/// F1 in thousandths, and the longest delay in milliseconds.
fn score(words: &[&str]) -> (u32, u32) {
    let said = run(words, "");
    assert!(said.code == 0, "{}", said.err);
    let line = said.out.lines().last().unwrap().to_owned();
    let number = |name: &str| {
        let from = line.find(name).unwrap_or_else(|| panic!("{line}")) + name.len() + 1;
        let text: String = line[from..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        text.replace('.', "").parse::<u32>().unwrap()
    };
    (number("F1"), number("longest"))
}

/// As good as the table in `docs/motion.md` says, less what another version of the encoder may change.
fn is_good(family: &str, least: u32, plain: u32, slowest: u32) {
    let folder = Folder::new();
    let (clip, labels, fps) = scene(&folder, family);
    let words = ["motion", &clip, "--fps", &fps, "--labels", &labels];
    let (f1, delay) = score(&words);
    assert!(f1 >= least, "{family}: F1 {f1} of 1000, {least} were seen");
    assert!(delay <= slowest, "{family}: seen after {delay} ms");
    let (rule, _) = score(&[&words[..], &["--rule", "size"]].concat());
    assert!(rule <= plain, "{family}: the size alone gives {rule}; is the scene still hard?");
}

#[test]
fn walkers_are_seen_in_a_variable_bitrate() {
    is_good("vbr-clean", 980, 1000, 500);
}

#[test]
fn walkers_are_seen_in_a_constant_bitrate_where_sizes_alone_are_blind() {
    is_good("cbr-small", 960, 750, 500);
}

#[test]
fn walkers_are_seen_in_h265() {
    is_good("h265-vbr", 960, 1000, 900);
}

#[test]
fn a_table_and_a_plot_show_each_picture() {
    let folder = Folder::new();
    let (clip, labels, fps) = scene(&folder, "empty-vbr");
    let svg = folder.path("plot.svg").display().to_string();
    let said = run(&["motion", &clip, "--fps", &fps, "--csv", "--svg", &svg, "--labels", &labels], "");
    assert!(said.code == 0, "{}", said.err);
    let mut lines = said.out.lines();
    assert_eq!(lines.next(), Some("time,type,size,qp,complexity,baseline,trigger,motion"));
    let rows: Vec<Vec<&str>> = lines.map(|l| l.split(',').collect()).collect();
    assert_eq!(rows.len(), 50 * fps.parse::<usize>().unwrap());
    assert!(rows.iter().all(|r| r.len() == 8 && matches!(r[1], "I" | "P" | "B") && r[7] == "0"));
    assert!(rows.iter().all(|r| r[2].parse::<u32>().is_ok() && r[3].parse::<i8>().is_ok()));
    assert!(said.err.contains("missed 0 of 0  false alarms 0"), "{}", said.err);
    let plot = std::fs::read_to_string(&svg).unwrap();
    assert!(plot.starts_with("<svg") && plot.ends_with("</svg>\n") && plot.contains("polyline"));
}

#[test]
fn what_is_no_stream_is_refused_with_a_sentence() {
    let folder = Folder::new();
    let file = folder.write("a.264", "this is no stream");
    let said = run(&["motion", file.to_str().unwrap()], "");
    assert!(said.code != 0 && said.err.contains("not a raw H.264 or H.265 stream"), "{}", said.err);
    let said = run(&["motion", file.to_str().unwrap(), "--threshold", "1"], "");
    assert!(said.code != 0 && said.err.contains("1.05 to 100"), "{}", said.err);
}

/// Reads events of that stream until a line holds this.
fn events(streamd: &Streamd, target: &str) -> BufReader<std::net::TcpStream> {
    let mut socket = streamd.connect();
    write!(socket, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(socket);
    wait_line(&mut reader, "listening");
    reader
}

fn wait_line(reader: &mut impl BufRead, what: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "ended before {what}");
        if line.contains(what) {
            return line;
        }
    }
}

/// The whole way: a figure walks before the demo camera, and who asked for its stream's events is told; the
/// camera runs only for that.
#[test]
fn who_listens_is_told_and_nobody_else_makes_it_look() {
    let mut streamd =
        Streamd::start("api: {listen: \"127.0.0.1:0\"}\nstreams: {cam: \"demo:?width=320&height=180\"}\n");
    streamd.ready();
    let consumers = |streamd: &Streamd| items(&streamd.stream("cam"), "consumers").len();
    let mut all = events(&streamd, "/api/events");
    assert_eq!(consumers(&streamd), 0, "who asks for no stream wants none looked at");
    let mut one = events(&streamd, "/api/events?src=cam");
    wait_until("the detector to look", || consumers(&streamd) == 1);
    let line = wait_line(&mut one, "\"motion\"");
    assert!(line.contains("\"stream\":\"cam\"") && line.contains("\"on\":true"), "{line}");
    wait_line(&mut all, "\"motion\"");
    one.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
    let _ = one.read_to_string(&mut String::new());
    wait_until("the detector to go home", || consumers(&streamd) == 0);
    // what nobody sees any longer is over
    let line = wait_line(&mut all, "\"motion\"");
    assert!(line.contains("\"on\":false"), "{line}");
}

/// A program that says motion and dies must not leave an accessory recording; and a ring is motion.
#[cfg(feature = "homekit")]
#[test]
fn an_accessory_s_motion_is_always_cleared() {
    let mut streamd = Streamd::start(
        "api: {listen: \"127.0.0.1:0\"}\nmdns: {mode: \"off\"}\nstreams: {cam: \"demo:sub\"}\n\
         homekit: {cam: {motion: \"api,external\", motion_hold_time: 1s}}\n",
    );
    streamd.ready();
    let mut heard = events(&streamd, "/api/events");
    let said = streamd.ask("POST", "/api/events?type=motion&src=cam", "");
    assert_eq!(said.status, 200, "{}", said.text());
    assert!(wait_line(&mut heard, "\"motion\"").contains("\"on\":true"));
    assert!(wait_line(&mut heard, "\"motion\"").contains("\"on\":false"));
    streamd.ask("POST", "/api/events?type=doorbell&src=cam", "");
    wait_line(&mut heard, "\"doorbell\"");
    assert!(wait_line(&mut heard, "\"motion\"").contains("\"on\":true"));
}
