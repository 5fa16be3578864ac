//! `memory.limit` in a program that is watched by twenty, four of whom never read, while a minute of a
//! stream comes in faster than it happened; ten minutes where a limit is given. `STREAMD_PROGRAM` names
//! another program than the one that was built with this test, `MEMORY_LIMIT_KB` the limit: the static
//! one has to do with 8 MB.
#![cfg(feature = "rtsp")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::disallowed_methods)]

mod support;

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::rtsp::Viewer;
use support::*;

/// A figure of the process in KB.
fn status(it: &Streamd, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", it.pid())).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn twenty_viewers_stay_within_the_limit() {
    let folder = Folder::new();
    let film = folder.path("film.mp4");
    let film = film.to_str().unwrap();
    // twenty seconds between key frames and 4 Mbit/s: 10 MB that a viewer would like to have
    let source = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25,noise=alls=40:allf=t", "-t", "20"];
    let coder = ["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "4M", "-minrate", "4M", "-maxrate", "4M"];
    let shape =
        ["-bufsize", "1M", "-g", "500", "-keyint_min", "500", "-sc_threshold", "0", "-pix_fmt", "yuv420p"];
    let all: Vec<&str> =
        ["-v", "error", "-y"].into_iter().chain(source).chain(coder).chain(shape).chain([film]).collect();
    assert_eq!(ffmpeg(&all).code, 0);

    let config = |limit: &str| {
        format!(
            "api: {{listen: \"127.0.0.1:0\"}}\nrtsp: {{listen: \"127.0.0.1:0\"}}\nmemory: {{track: 64M, limit: {limit}}}\n\
             streams:\n  inbox:\n"
        )
    };
    // what the start took: it gives back pages of its code that are needed again later
    let base = status(&Streamd::start(&config("0")), "VmHWM");
    let given = std::env::var("MEMORY_LIMIT_KB");
    let limit = given.as_ref().map_or(base + 5 * 1024, |kb| kb.parse().unwrap());
    let it = Streamd::start(&config(&format!("{limit}k")));
    let to = format!("{}/inbox", it.rtsp());
    // bytes of that much film
    let length = if given.is_ok() { 600 } else { 60 } * 500_000;
    let publish = Command::new("ffmpeg")
        .args(["-v", "fatal", "-stream_loop", "-1", "-readrate", "20", "-i", film, "-c", "copy"])
        .args(["-f", "rtsp", "-rtsp_transport", "tcp", &to])
        .stdin(Stdio::null())
        .spawn()
        .expect("ffmpeg is needed for this test");
    let mut publish = Guard(publish);
    let came = || {
        let stream = it.stream("inbox");
        items(&stream, "producers").iter().map(|p| int(p, "bytes_recv")).max().unwrap_or(0)
    };
    wait_until("pictures to come in", || came() > 100_000);

    let (over, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut stuck = Vec::new();
    let mut readers = Vec::new();
    for number in 0..20 {
        let mut viewer = Viewer::new(&to);
        viewer.play().expect("there is room for twenty");
        if number % 5 == 0 {
            stuck.push(viewer);
            continue;
        }
        let (over, read) = (over.clone(), read.clone());
        readers.push(std::thread::spawn(move || {
            let (mut viewer, mut bytes) = (viewer, [0; 65_536]);
            let mut own = 0;
            while let Ok(n) = viewer.reader.read(&mut bytes)
                && n > 0
                && !over.load(Relaxed)
            {
                own += n as u64;
                read.fetch_add(n as u64, Relaxed);
            }
            own
        }));
    }
    let begun = Instant::now();
    while came() < length || !it.log().contains("memory.limit: ") {
        assert!(publish.0.try_wait().unwrap().is_none(), "ffmpeg has ended");
        let rss = status(&it, "VmRSS");
        assert!(rss <= limit, "{rss} KB of {limit}\n{}", it.log());
        assert!(begun.elapsed() < Duration::from_secs(450), "the film takes too long");
        pause(100);
    }
    let metrics = it.ask("GET", "/metrics", "").text();
    assert!(metrics.contains(&format!("streamd_memory_limit_bytes {}", limit * 1024)), "{metrics}");
    over.store(true, Relaxed);
    drop(stuck);
    let peak = status(&it, "VmHWM");
    println!("base {base} KB, limit {limit} KB, peak {peak} KB, {} MB read", read.load(Relaxed) >> 20);
    assert!(peak <= limit, "{peak} KB of {limit}\n{}", it.log());
    drop(it);
    let got = readers.into_iter().map(|r| r.join().unwrap()).min().unwrap();
    assert!(got > 1_000_000, "a good viewer got only {got} bytes");
}
