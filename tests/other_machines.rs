//! The core of what streamd does, for a program of another machine: `STREAMD_PROGRAM` starts it (in an
//! emulator), or it is the one that was built with this test. FFmpeg, GStreamer, curl and the simulator
//! of a HomeKit hub on the other side; nothing here needs the demo camera. In a network of the test's
//! own, groups too.
#![cfg(feature = "rtsp")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::process::{Command, Stdio};
use support::clock::Clock;
use support::rtsp::{Viewer, datagrams};
use support::*;

const NETWORK: &str = "ip link set lo up && ip link set lo multicast on && ip route add 224.0.0.0/4 dev lo";

/// Picture and sound of ten seconds, to be published again and again.
fn film(folder: &Folder) -> String {
    let film = folder.path("film.mkv").display().to_string();
    let picture = "-v error -f lavfi -i testsrc2=size=320x180:rate=25 -f lavfi -i sine=frequency=440:sample_rate=8000 \
                   -t 10 -c:v libx264 -preset ultrafast -tune zerolatency -g 25 -pix_fmt yuv420p -b:v 300k -c:a pcm_alaw";
    let args: Vec<&str> = picture.split_whitespace().chain([&film[..]]).collect();
    ffmpeg(&args);
    film
}

fn publish(film: &str, url: &str, transport: &str) -> Guard {
    let child = Command::new("ffmpeg")
        .args(["-v", "error", "-re", "-stream_loop", "-1", "-i", film, "-c", "copy"])
        .args(["-f", "rtsp", "-rtsp_transport", transport, url])
        .stdin(Stdio::null())
        .spawn();
    Guard(child.expect("ffmpeg is needed for this test"))
}

/// Lines that ffmpeg writes of what it decodes, and what it complains about.
fn decoded(transport: &str, url: &str, map: &str, frames: &str) -> (usize, String) {
    let args = ["90", "ffmpeg", "-v", "error", "-rtsp_transport", transport, "-i", url, "-map", map];
    let end = if map == "0:v" { "-frames:v" } else { "-frames:a" };
    let all: Vec<&str> = args.into_iter().chain([end, frames, "-f", "framecrc", "-"]).collect();
    let run = tool("timeout", &all, "");
    (run.out.lines().filter(|l| !l.starts_with('#')).count(), run.err)
}

fn start(more: &str) -> Streamd {
    Streamd::start(&format!("open: true\napi: {{listen: \"127.0.0.1:0\"}}\nrtsp: {{listen: \":0\"}}\n{more}"))
}

/// Whether the program is the smallest, which lacks what the others have.
fn is_core() -> bool {
    std::env::var("STREAMD_BUNDLE").is_ok_and(|bundle| bundle == "core")
}

fn published(it: &Streamd, name: &str) {
    let here = || items(&it.stream(name), "producers").iter().any(|p| int(p, "bytes_recv") > 10_000);
    wait_until("the publisher", here);
}

/// Watched in every way there is, published in both.
#[test]
fn pictures_come_and_go() {
    if !alone("pictures_come_and_go", "-n", NETWORK) {
        return;
    }
    let it = start("streams:\n  inbox:\n  other:\n");
    let film = film(&it.folder);
    let url = format!("{}/inbox", it.rtsp());
    let _publisher = publish(&film, &url, "tcp");
    published(&it, "inbox");
    for transport in ["tcp", "udp", "http", "udp_multicast"] {
        let (frames, complaints) = decoded(transport, &url, "0:v", "20");
        // core carries nothing through HTTP, and the next one is served
        let expected = if transport == "http" && is_core() { 0 } else { 20 };
        assert_eq!(frames, expected, "{transport}: {complaints}");
    }
    let (frames, complaints) = decoded("tcp", &url, "0:a", "20");
    assert_eq!(frames, 20, "sound: {complaints}");
    let other = format!("{}/other", it.rtsp());
    let _second = publish(&film, &other, "udp");
    published(&it, "other");
    let (frames, complaints) = decoded("tcp", &other, "0:v", "20");
    assert_eq!(frames, 20, "published by UDP: {complaints}");
    let pipeline = format!(
        "rtspsrc location={url} protocols=tcp latency=0 ! application/x-rtp,media=video ! rtph264depay ! \
         h264parse ! avdec_h264 ! identity silent=false eos-after=25 ! fakesink"
    );
    let args: Vec<&str> = ["90", "gst-launch-1.0", "-v"].into_iter().chain(pipeline.split(' ')).collect();
    let seen = tool("timeout", &args, "");
    assert!(seen.out.matches("chain").count() >= 20, "{}", seen.err);
    // many at once, by both ways
    let mut viewers: Vec<Viewer> = (0..8).map(|_| Viewer::new(&url)).collect();
    viewers.iter_mut().for_each(|v| drop(v.play().unwrap()));
    let mut by_udp: Vec<Viewer> = (0..4).map(|_| Viewer::new(&url)).collect();
    let ports: Vec<_> = by_udp.iter_mut().map(Viewer::play_udp).collect();
    viewers.iter_mut().for_each(|v| v.pictures(5));
    ports.iter().for_each(|[rtp, _]| datagrams(rtp, 5));
}

/// Streams of its own making: another camera's, and one whose sound is made anew.
#[test]
fn it_is_a_client_and_makes_sound_anew() {
    if !alone("it_is_a_client_and_makes_sound_anew", "-n", NETWORK) {
        return;
    }
    let far = start("streams:\n  inbox:\n");
    let film = film(&far.folder);
    let there = format!("{}/inbox", far.rtsp());
    let _publisher = publish(&film, &there, "tcp");
    published(&far, "inbox");
    let it = start(&format!("streams:\n  a: {there}\n  b: {there}#transport=udp\n"));
    for name in ["a", "b"] {
        let (frames, complaints) = decoded("tcp", &format!("{}/{name}", it.rtsp()), "0:v", "20");
        assert_eq!(frames, 20, "{name}: {complaints}");
    }
    // core makes no sound anew
    for codec in ["opus", "aac"].into_iter().filter(|_| !is_core()) {
        let url = format!("{}/a?video&audio={codec}", it.rtsp());
        let (frames, complaints) = decoded("tcp", &url, "0:a", "10");
        assert_eq!(frames, 10, "{codec}: {complaints}");
    }
}

/// The API, passwords, the file that it writes, a reload, an end in order.
#[test]
fn it_is_asked_and_told() {
    if !alone("it_is_asked_and_told", "-n", NETWORK) {
        return;
    }
    let mut it = Streamd::start(
        "api: {listen: \"127.0.0.1:0\", local_auth: true}\nrtsp: {listen: \"127.0.0.1:0\"}\n\
         users: [{name: anna, password: geheim, roles: [view, publish]}]\nstreams:\n  inbox:\n",
    );
    let film = film(&it.folder);
    let code = |user: &str, path: &str| {
        curl(&["--digest", "-u", user, "-o", "/dev/null", "-w", "%{http_code}", &it.url(path)]).out
    };
    for path in ["/api/streams", "/metrics", "/api"] {
        assert_eq!(code("anna:geheim", path), "200", "{path}");
    }
    assert_eq!(code("anna:falsch", "/api/streams"), "401");
    let rtsp = it.rtsp();
    let with = |user: &str| format!("{}/inbox", rtsp.replace("//", &format!("//{user}@")));
    let _publisher = publish(&film, &with("anna:geheim"), "tcp");
    let here = || items(&it.local("GET", "/api/streams?src=inbox", "").json(), "producers").len() == 1;
    wait_until("the publisher", here);
    let (frames, complaints) = decoded("tcp", &with("anna:geheim"), "0:v", "10");
    assert_eq!(frames, 10, "{complaints}");
    let (frames, complaints) = decoded("tcp", &with("anna:falsch"), "0:v", "10");
    assert!(frames == 0 && complaints.contains("401"), "{complaints}");
    let put = it.local("PUT", "/api/streams?name=two&src=rtsp://192.0.2.1/x", "");
    assert_eq!(put.status, 200, "{}", put.text());
    assert!(it.file().contains("192.0.2.1"), "{}", it.file());
    it.set_file("api: {listen: \"127.0.0.1:0\"}\nrtsp: {listen: \"127.0.0.1:0\"}\nstreams:\n  three:\n");
    it.signal("-HUP");
    wait_until("the reload", || it.local("GET", "/api/streams?src=three", "").status == 200);
    it.signal("-TERM");
    assert_eq!(it.ended(), 0, "{}", it.log());
}

/// What core lacks is told with the feature that would bring it.
#[test]
fn what_is_left_out_is_told() {
    if !alone("what_is_left_out_is_told", "-n", NETWORK) {
        return;
    }
    let features: &[(&[&str], &str)] = &[
        (&["probe", "x"], "tools"),
        (&["motion", "x", "--csv"], "tools"),
        (&["schema", "--docs"], "schema"),
    ];
    for (words, feature) in features.iter().filter(|_| is_core()) {
        let said = run(words, "");
        assert!(said.code == 64 && said.err.contains(&format!("the feature `{feature}`")), "{}", said.err);
    }
    let (source, sentence) = match is_core() {
        true => ("rtsp+ws://127.0.0.1:1/x", "the feature `tunnel`"),
        false => ("rtsp+wss://127.0.0.1:1/x", "no TLS"),
    };
    let it = start(&format!("streams:\n  far: {source}\n"));
    let (frames, _) = decoded("tcp", &format!("{}/far", it.rtsp()), "0:v", "1");
    assert!(frames == 0 && it.log().contains(sentence), "{}", it.log());
}

/// 1970, the day the test was written, after 2038, and back again: who watches goes on, who comes is let
/// in with his password, reports go on.
#[test]
fn the_time_of_day_begins_in_1970_and_jumps() {
    let folder = Folder::new();
    let film = film(&folder);
    let text = "open: true\napi: {listen: \"127.0.0.1:0\", username: anna, password: geheim, local_auth: true}\n\
                rtsp: {listen: \"127.0.0.1:0\"}\nstreams:\n  inbox:\n";
    folder.write("streamd.yaml", head(&folder) + text);
    let clock = Clock::new(&folder, 3);
    let it = Streamd::start_as(folder, |command| clock.on(command));
    let url = format!("{}/inbox", it.rtsp());
    let _publisher = publish(&film, &url, "tcp");
    wait_until("the publisher", || Viewer::new(&url).request("DESCRIBE", "", "").0 == 200);
    let mut viewer = Viewer::new(&url);
    viewer.play().unwrap();
    let (first, _) = viewer.report();
    // a program without the system's libc has its own way to the clock
    let moves = first >> 32 < 2_208_988_800;
    let metrics = it.url("/metrics");
    for (at, seconds) in
        [3, 1_795_000_000, 2_147_483_700, 4_294_967_400, 30, 1_795_000_000, 0].into_iter().enumerate()
    {
        clock.set(seconds);
        let seen =
            curl(&["--digest", "-u", "anna:geheim", "-o", "/dev/null", "-w", "%{http_code}", &metrics]);
        assert_eq!(seen.out, "200", "at {seconds}: {}", seen.err);
        viewer.pictures(10);
        Viewer::new(&url).play().unwrap();
        if at < 2 && moves {
            let (ntp, _) = viewer.report();
            let expected = if at == 0 { 0 } else { seconds + 2_208_988_800 };
            assert!((ntp >> 32).abs_diff(expected) < 100_000_000, "{} at {seconds}", ntp >> 32);
        }
    }
    assert_eq!(it.local("GET", "/api/log", "").status, 200);
}

/// From the box to the wall and back: a home pairs, looks, has recorded what happens, and lets go. The
/// simulator of a hub on the other side, which says what it did not get.
#[cfg(feature = "homekit")]
#[test]
fn a_home_pairs_looks_and_records() {
    if !long_alone("a_home_pairs_looks_and_records", "-n", NETWORK, 900) {
        return;
    }
    let it = Streamd::start(
        "open: true\napi: {listen: \"127.0.0.1:0\"}\nrtsp: {listen: \"127.0.0.1:0\"}\nmdns: {mode: \"off\"}\n\
         streams:\n  inbox:\nhomekit:\n  inbox: {pin: 031-45-154, port: 0, hksv: true}\n",
    );
    let film = film(&it.folder);
    let _publisher = publish(&film, &format!("{}/inbox", it.rtsp()), "tcp");
    published(&it, "inbox");
    let port = int(&it.local("GET", "/api/homekit?id=inbox", "").json(), "port").to_string();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hubsim/hubsim.mjs");
    let path = |name: &str| it.folder.path(name).display().to_string();
    let (state, clip) = (path("hub.json"), path("clip.mp4"));
    let moves = |method: &str| {
        let url = "http://camera/api/homekit/motion?id=inbox";
        format!("curl -fsS -m 50 -X {method} --unix-socket '{}' '{url}'", it.socket().display())
    };
    let (begins, ends) = (moves("POST"), moves("DELETE"));
    for part in ["pair", "verify", "live", "record", "unpair"] {
        let args = ["120", "node", script, part, "--port", &port, "--pin", "031-45-154", "--patience", "10"];
        // of the live view, until something moves, and for which it does
        let seconds = ["--live-seconds", "3", "--warmup", "5", "--seconds", "3"];
        let more = ["--state", &state, "--out", &clip, "--trigger", &begins, "--trigger-off", &ends];
        let silent = if is_core() { &["--no-audio"][..] } else { &[] };
        let all = [&args[..], &seconds, &more, silent].concat();
        let seen = long_tool("timeout", &all, "", 2 * PATIENCE);
        let report = parse(seen.out.as_bytes()).unwrap_or_else(|e| panic!("{part}: {e}: {}", seen.err));
        let failed: Vec<_> = items(&report, "failed").iter().filter_map(Value::as_str).collect();
        assert!(seen.code == 0 && failed.is_empty(), "{part}: {failed:?}\n{}", seen.err);
        assert!(report.get("summary").is_some_and(|s| int(s, "pass") > 0), "{part}: {}", seen.out);
    }
}
