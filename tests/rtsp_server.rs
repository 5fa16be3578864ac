//! The RTSP server as strangers meet it: the built program on one side, FFmpeg, GStreamer and raw
//! sockets on the other.
#![cfg(all(feature = "rtsp", feature = "demo"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::disallowed_methods)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::alone_with_groups;

/// How long something may take that has to happen, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running streamd with the demo camera.
struct Rig {
    child: Child,
    port: u16,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Rig {
    fn start(more: &str) -> Rig {
        let config = "{api: {listen: ''}, ctl: {socket: ''}, rtsp: {listen: '127.0.0.1:0'}, \
             streams: {cam: {url: 'demo:sub?audio=alaw', aliases: ['live/main', 'stream=0']}, inbox: null, talk: 'demo:sub'}}";
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamd"));
        command.arg("-c").arg(config).stderr(Stdio::piped()).stdout(Stdio::null());
        for text in more.lines().map(str::trim).filter(|l| !l.is_empty()) {
            command.arg("-c").arg(text);
        }
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serves") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "streamd ended");
        }
        let port =
            line.split_once("rtsp://127.0.0.1:").and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
        let port = port.unwrap_or_else(|| panic!("no port in: {line}"));
        // nobody may stop because nobody reads what he says
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                eprintln!("streamd: {line}");
            }
        });
        Rig { child, port }
    }

    fn url(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{path}", self.port)
    }

    fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    fn memory(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|l| l.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The status of a DESCRIBE.
    fn raw_describe(&self, name: &str) -> u16 {
        let mut raw = self.raw();
        raw.url = self.url(name);
        raw.request("DESCRIBE", "", "").0
    }

    fn raw(&self) -> Raw {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Raw { reader: BufReader::new(stream.try_clone().unwrap()), stream, cseq: 0, url: self.url("cam") }
    }
}

/// Runs a program for at most so many seconds.
fn run(seconds: u64, program: &str, args: &[&str]) -> Output {
    Command::new("timeout").arg(seconds.to_string()).arg(program).args(args).output().unwrap()
}

/// Frames that FFmpeg decodes of a URL, and what it complains about.
fn decoded(args: &[&str], url: &str, frames: u32) -> (usize, String) {
    let frames = frames.to_string();
    let mut all = vec!["-v", "warning", "-stats"];
    all.extend(args);
    all.extend(["-i", url, "-map", "0:v", "-frames:v", &frames, "-f", "framecrc", "-"]);
    let out = run(90, "ffmpeg", &all);
    let text = String::from_utf8_lossy(&out.stdout);
    let count = text.lines().filter(|l| !l.starts_with('#')).count();
    (count, String::from_utf8_lossy(&out.stderr).into_owned())
}

/// A client that says what it is told.
struct Raw {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    cseq: u32,
    url: String,
}

impl Raw {
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn request(&mut self, method: &str, path: &str, headers: &str) -> (u16, String) {
        self.cseq += 1;
        let text = format!("{method} {}{path} RTSP/1.0\r\nCSeq: {}\r\n{headers}\r\n", self.url, self.cseq);
        self.send(text.as_bytes());
        self.answer()
    }

    /// An interleaved frame, or nothing if an answer comes first.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        if self.reader.fill_buf().ok()?.first() != Some(&b'$') {
            return None;
        }
        let mut head = [0; 4];
        self.reader.read_exact(&mut head).ok()?;
        let mut body = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        self.reader.read_exact(&mut body).ok()?;
        Some((head[1], body))
    }

    /// The next answer: status, and everything of it. Frames before it are read over. Status 0 is
    /// the end of the connection.
    fn answer(&mut self) -> (u16, String) {
        while self.frame().is_some() {}
        let mut text = String::new();
        loop {
            let before = text.len();
            match self.reader.read_line(&mut text) {
                Ok(0) | Err(_) => return (0, text),
                Ok(_) if text[before..].trim().is_empty() && before > 0 => break,
                Ok(_) => {}
            }
        }
        let length =
            text.lines().find_map(|l| l.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).unwrap();
        text.push_str(&String::from_utf8_lossy(&body));
        (text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0), text)
    }

    /// Sets everything up and plays; gives the session's header.
    fn play(&mut self) -> String {
        let (status, _) = self.request("DESCRIBE", "", "");
        assert_eq!(status, 200);
        let (status, text) =
            self.request("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n");
        assert_eq!(status, 200, "{text}");
        let id = text.lines().find_map(|l| l.strip_prefix("Session: ")).unwrap();
        let session = format!("Session: {}\r\n", id.split(';').next().unwrap());
        let (status, text) = self.request(
            "SETUP",
            "/trackID=1",
            &format!("{session}Transport: RTP/AVP/TCP;unicast;interleaved=2-3\r\n"),
        );
        assert_eq!(status, 200, "{text}");
        let (status, text) = self.request("PLAY", "/", &session);
        assert_eq!(status, 200, "{text}");
        session
    }
}

/// A viewer who watches as long as something is done to the server, and misses nothing.
struct Witness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, u32)>,
}

impl Witness {
    /// Pictures that it still has to get when everything is over.
    const AFTERWARDS: u32 = 5;

    fn new(rig: &Rig) -> Witness {
        let stop = Arc::new(AtomicBool::new(false));
        let mut raw = rig.raw();
        raw.play();
        let flag = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut afterwards, mut missed) = (0, 0);
            let mut last: Option<u16> = None;
            while afterwards < Witness::AFTERWARDS {
                let Some((channel, data)) = raw.frame() else { break };
                if channel == 0 {
                    let seq = u16::from_be_bytes([data[2], data[3]]);
                    missed += u32::from(last.is_some_and(|l| l.wrapping_add(1) != seq));
                    last = Some(seq);
                    afterwards += u32::from(data[1] & 0x80 != 0 && flag.load(Ordering::Relaxed));
                }
            }
            (afterwards, missed)
        });
        Witness { stop, thread }
    }

    /// Ends it; it must have got every packet, and must get more.
    fn check(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (afterwards, missed) = self.thread.join().unwrap();
        assert_eq!((afterwards, missed), (Witness::AFTERWARDS, 0), "a good viewer missed something");
    }
}

#[test]
fn ffmpeg_decodes_every_picture_by_tcp() {
    let rig = Rig::start("");
    for path in ["cam", "live/main", "stream=0", "cam?video", "cam?video=h264&pkt_size=500"] {
        let (frames, complaints) = decoded(&["-rtsp_transport", "tcp"], &rig.url(path), 20);
        assert_eq!(frames, 20, "{path}: {complaints}");
        assert!(!complaints.contains("error") && !complaints.contains("missed"), "{complaints}");
    }
    let out = run(
        60,
        "ffprobe",
        &[
            "-v",
            "error",
            "-rtsp_transport",
            "tcp",
            "-show_entries",
            "stream=codec_name",
            "-of",
            "csv=p=0",
            &rig.url("cam"),
        ],
    );
    assert_eq!(
        String::from_utf8_lossy(&out.stdout).split_whitespace().collect::<Vec<_>>(),
        ["h264", "pcm_alaw"]
    );
    let out = run(60, "ffprobe", &["-v", "error", "-rtsp_transport", "tcp", &rig.url("nothing")]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("404"));
}

#[test]
fn only_who_has_the_key_and_the_role_comes_in() {
    let rig = Rig::start(
        "users=[{name: anna, password: geheim}, {name: push, password: p, roles: [publish]}, \
         {name: other, password: o, streams: [inbox]}]",
    );
    let url = |user: &str| format!("rtsp://{user}@127.0.0.1:{}/cam", rig.port);
    let (frames, complaints) = decoded(&["-rtsp_transport", "tcp"], &url("anna:geheim"), 5);
    assert_eq!(frames, 5, "{complaints}");
    for (user, code) in [("anna:falsch", "401"), ("push:p", "403"), ("other:o", "403")] {
        let (frames, complaints) = decoded(&["-rtsp_transport", "tcp"], &url(user), 5);
        assert_eq!(frames, 0);
        assert!(complaints.contains(code), "{user}: {complaints}");
    }
    let mut raw = rig.raw();
    assert_eq!(raw.request("OPTIONS", "", "").0, 200);
    let (status, text) = raw.request("DESCRIBE", "", "");
    assert_eq!(status, 401);
    assert_eq!(text.matches("WWW-Authenticate: Digest realm=\"streamd\", nonce=").count(), 1, "{text}");
    assert_eq!(raw.request("PLAY", "", "Session: 1234\r\n").0, 401);
}

#[test]
fn gstreamer_decodes_by_tcp() {
    let rig = Rig::start("");
    assert!(gstreamer(&rig.url("cam"), "tcp") >= 20);
}

/// Pictures that GStreamer decodes.
fn gstreamer(url: &str, protocols: &str) -> usize {
    let pipeline = format!(
        "rtspsrc location={url} protocols={protocols} latency=0 ! application/x-rtp,media=video ! rtph264depay ! \
         h264parse ! avdec_h264 ! identity silent=false eos-after=25 ! fakesink"
    );
    let mut args = vec!["-v"];
    args.extend(pipeline.split_whitespace());
    let out = run(90, "gst-launch-1.0", &args);
    String::from_utf8_lossy(&out.stdout).matches("chain").count()
}

#[test]
fn a_session_is_answered_while_it_plays_and_in_any_pieces() {
    let rig = Rig::start("");
    let mut raw = rig.raw();
    let session = raw.play();
    assert_eq!(raw.request("GET_PARAMETER", "", &session).0, 200);
    assert_eq!(raw.request("OPTIONS", "", &session).0, 200);
    assert_eq!(raw.request("SETUP", "/trackID=0", &format!("{session}Transport: RTP/AVP/TCP\r\n")).0, 455);
    assert_eq!(raw.request("SPAM", "", &session).0, 501);
    assert_eq!(raw.request("GET_PARAMETER", "", "Session: 0123456789abcdef\r\n").0, 454);
    // byte by byte, between frames
    let text = format!("GET_PARAMETER {} RTSP/1.0\r\nCSeq: 77\r\n{session}\r\n", raw.url);
    for byte in text.bytes() {
        raw.send(&[byte]);
    }
    let (status, text) = raw.answer();
    assert!(status == 200 && text.contains("CSeq: 77"), "{text}");
    assert_eq!(raw.request("PAUSE", "", &session).0, 200);
    assert!(raw.reader.buffer().is_empty(), "nothing flows after PAUSE");
    let (status, text) = raw.request("PLAY", "", &session);
    assert!(status == 200 && text.contains("RTP-Info: url="), "{text}");
    let info = text.lines().find(|l| l.starts_with("RTP-Info")).unwrap().to_owned();
    let field = |name: &str| -> u32 {
        info.split(&[';', ',', ' '][..]).find_map(|f| f.strip_prefix(name)).unwrap().parse().unwrap()
    };
    let (seq, time) = (field("seq="), field("rtptime="));
    let (channel, data) = std::iter::from_fn(|| raw.frame()).find(|(c, _)| *c == 0).unwrap();
    assert_eq!(channel, 0);
    assert_eq!(u32::from(u16::from_be_bytes([data[2], data[3]])), seq);
    // the time of the range's start, which sound may give, a little before the first picture
    let first = u32::from_be_bytes([data[4], data[5], data[6], data[7]]);
    assert!(first.wrapping_sub(time) <= 2 * 90_000 / 5, "{first} {time}");
    assert_eq!(raw.request("TEARDOWN", "", &session).0, 200);
    assert_eq!(raw.request("PLAY", "", &session).0, 454);
}

/// FFmpeg publishes, FFmpeg watches; two publishers at once are two sources of one stream.
fn publishes(transport: &str) {
    let rig = Rig::start("");
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=25"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000", "-t", "120"])
        .args([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-tune",
            "zerolatency",
            "-g",
            "25",
            "-c:a",
            "pcm_alaw",
        ])
        .args(["-f", "rtsp", "-rtsp_transport", transport, &rig.url("inbox")])
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let (mut frames, mut complaints) = (0, String::new());
    while frames == 0 && begun.elapsed() < PATIENCE {
        (frames, complaints) = decoded(&["-rtsp_transport", "tcp"], &rig.url("inbox"), 40);
    }
    assert_eq!(frames, 40, "{complaints}");
    assert!(!complaints.contains("error"), "{complaints}");
    ffmpeg.kill().unwrap();
    ffmpeg.wait().unwrap();
    if transport == "tcp" {
        let gone = Instant::now();
        while rig.raw_describe("inbox") != 404 {
            assert!(gone.elapsed() < PATIENCE, "the publisher's tracks stay");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn ffmpeg_publishes_by_tcp() {
    publishes("tcp");
}

#[test]
fn ffmpeg_publishes_by_udp() {
    publishes("udp");
}

#[test]
fn ffmpeg_and_gstreamer_decode_by_udp() {
    let rig = Rig::start("");
    let (frames, complaints) = decoded(&["-rtsp_transport", "udp"], &rig.url("cam"), 30);
    assert_eq!(frames, 30, "{complaints}");
    assert!(!complaints.contains("missed") && !complaints.contains("error"), "{complaints}");
    assert!(gstreamer(&rig.url("cam"), "udp") >= 20);
}

/// Packets go to whom they were asked from, and nowhere else; a viewer by UDP who gives no sign of
/// life is let go by others' sweep, and nobody else may speak for its session.
#[test]
fn udp_goes_only_to_who_asked() {
    let rig = Rig::start("");
    let mut raw = rig.raw();
    for transport in [
        "RTP/AVP;unicast;client_port=80-81",
        "RTP/AVP;unicast;client_port=0-1",
        "RTP/AVP;unicast",
        "RTP/SAVP;unicast;client_port=6000-6001",
        "RAW/RAW/UDP;unicast;client_port=6000-6001",
    ] {
        let (status, _) = raw.request("SETUP", "/trackID=0", &format!("Transport: {transport}\r\n"));
        assert_eq!(status, 461, "{transport}");
    }
    let header = "Transport: RTP/AVP;unicast;destination=192.0.2.9;client_port=46000-46001\r\n";
    let (status, text) = raw.request("SETUP", "/trackID=0", header);
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("server_port=") && !text.contains("192.0.2.9"), "{text}");
}

fn settled(rig: &Rig, fds: usize) {
    let since = Instant::now();
    while rig.fds() > fds {
        assert!(since.elapsed() < PATIENCE, "{} descriptors, {fds} before", rig.fds());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whatever is sent: a clear answer or the end of that connection, and nobody else notices.
#[test]
fn bad_input_has_a_clear_status_and_nobody_else_notices() {
    let rig = Rig::start("");
    let witness = Witness::new(&rig);
    std::thread::sleep(Duration::from_millis(500));
    let (fds, memory) = (rig.fds(), rig.memory());
    let long = "x".repeat(9000);
    let many = "A: b\r\n".repeat(70);
    for (bytes, want) in [
        (format!("DESCRIBE rtsp://h/{long} RTSP/1.0\r\nCSeq: 1\r\n\r\n"), 414),
        (format!("DESCRIBE rtsp://h/cam RTSP/1.0\r\nCSeq: 1\r\nX: {long}\r\n\r\n"), 413),
        (format!("DESCRIBE rtsp://h/cam RTSP/1.0\r\nCSeq: 1\r\n{many}\r\n"), 400),
        ("DESCRIBE rtsp://h/cam RTSP/1.0\r\n\r\n".into(), 400),
        ("DESCRIBE rtsp://h/cam RTSP/1.0\r\nCSeq: x\r\n\r\n".into(), 400),
        ("DESCRIBE rtsp://h/cam RTSP/1.0\r\nCSeq: 99999999999999\r\n\r\n".into(), 400),
        ("ANNOUNCE rtsp://h/cam RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999\r\n\r\n".into(), 413),
        ("ANNOUNCE rtsp://h/cam RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n".into(), 400),
        (
            "ANNOUNCE rtsp://h/cam RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
                .into(),
            400,
        ),
        ("ANNOUNCE rtsp://h/inbox RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 4\r\n\r\nabcd".into(), 400),
        ("DESCRIBE rtsp://h/../../etc/passwd RTSP/1.0\r\nCSeq: 1\r\n\r\n".into(), 404),
        ("DESCRIBE rtsp://h/%2e%2e/cam RTSP/1.0\r\nCSeq: 1\r\n\r\n".into(), 404),
        ("DESCRIBE rtsp://h/cam?video=%zz RTSP/1.0\r\nCSeq: 1\r\n\r\n".into(), 400),
        ("DESCRIBE rtsp://h/cam?video=vp8 RTSP/1.0\r\nCSeq: 1\r\n\r\n".into(), 404),
        ("SETUP rtsp://h/cam/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: \r\n\r\n".into(), 461),
        ("SETUP rtsp://h/cam/trackID=77 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP\r\n\r\n".into(), 404),
        ("PLAY rtsp://h/cam RTSP/1.0\r\nCSeq: 1\r\nSession: 0000000000000000\r\n\r\n".into(), 454),
        ("RECORD rtsp://h/cam RTSP/1.0\r\nCSeq: 1\r\n\r\n".into(), 454),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("POST /cam HTTP/1.1\r\nx-sessioncookie: nobody\r\n\r\n".into(), 404),
        ("\u{1}\u{2}\u{3}\u{4}garbage".into(), 400),
        ("DESCRIBE rtsp://h/cam RTSP/1.0\r\nRequire: nonsense\r\nCSeq: 1\r\n\r\n".into(), 551),
    ] {
        let mut raw = rig.raw();
        raw.send(bytes.as_bytes());
        let (status, text) = raw.answer();
        assert_eq!(status, want, "{}: {text}", bytes.chars().take(80).collect::<String>());
    }
    // a final CRLF in a packet of its own
    let mut raw = rig.raw();
    raw.send(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n");
    std::thread::sleep(Duration::from_millis(100));
    raw.send(b"\r\n");
    assert_eq!(raw.answer().0, 200);
    // endless headers
    let mut raw = rig.raw();
    for _ in 0..20_000 {
        raw.send(b"DESCRIBE: x\r\n");
    }
    drop(raw);
    // packets on channels that nobody set up, reports that are none, a frame that is too long
    let mut raw = rig.raw();
    let session = raw.play();
    for channel in [0, 1, 2, 3, 4, 77, 255] {
        raw.send(&[b'$', channel, 0, 12, 0x80, 200, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
    assert_eq!(raw.request("GET_PARAMETER", "", &session).0, 200);
    raw.send(&[b'$', 0, 255, 255]);
    assert_eq!(raw.answer().0, 413);
    // somebody else's session
    let mut mine = rig.raw();
    let session = mine.play();
    let mut other = rig.raw();
    for method in ["PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "OPTIONS"] {
        assert_eq!(other.request(method, "", &session).0, 454, "{method}");
    }
    let setup = format!("{session}Transport: RTP/AVP/TCP;unicast;interleaved=4-5\r\n");
    assert_eq!(other.request("SETUP", "/trackID=0", &setup).0, 454);
    assert_eq!(mine.request("GET_PARAMETER", "", &session).0, 200);
    drop((mine, other));
    // a thousand SETUPs
    let mut raw = rig.raw();
    let mut refused = 0;
    for _ in 0..1000 {
        let (status, _) = raw.request("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP;unicast\r\n");
        assert!(matches!(status, 200 | 453), "{status}");
        refused += u32::from(status == 453);
    }
    assert!(refused > 900);
    drop(raw);
    // five hundred who say nothing, and as many who are gone at once
    let quiet: Vec<_> = (0..500).map(|_| rig.raw()).collect();
    let mut raw = rig.raw();
    assert_eq!(raw.request("OPTIONS", "", "").0, 200);
    drop((quiet, raw));
    for _ in 0..50 {
        let mut raw = rig.raw();
        raw.play();
        // unread packets make the close a reset
        std::thread::sleep(Duration::from_millis(5));
    }
    settled(&rig, fds);
    witness.check();
    assert!(rig.memory() < memory + 4000, "{} kB, {memory} before", rig.memory());
}

/// A viewer that never reads costs its socket, and is closed.
#[test]
fn a_stuck_viewer_is_closed_and_harms_nobody() {
    let rig = Rig::start("streams.big=demo:?width=640&height=360&bitrate=8000000&audio=alaw");
    let witness = Witness::new(&rig);
    let mut stuck = rig.raw();
    stuck.url = rig.url("big");
    stuck.play();
    std::thread::sleep(Duration::from_millis(500));
    let fds = rig.fds();
    let begun = Instant::now();
    while rig.fds() >= fds {
        assert!(begun.elapsed() < PATIENCE, "it is still there");
        std::thread::sleep(Duration::from_millis(100));
    }
    witness.check();
}

const BACK: &str = "Require: www.onvif.org/ver20/backchannel\r\n";

/// Who asks as ONVIF has it may speak, one at a time; who does not ask is told nothing of it.
#[test]
fn one_viewer_at_a_time_speaks_to_the_camera() {
    let rig = Rig::start("");
    let mut plain = rig.raw();
    assert!(!plain.request("DESCRIBE", "", "").1.contains("sendonly"));
    let mut raw = rig.raw();
    let (status, text) = raw.request("DESCRIBE", "", BACK);
    assert!(status == 200 && text.contains("a=sendonly") && text.contains("a=recvonly"), "{text}");
    assert!(text.contains("m=audio 0 RTP/AVP 0 8"), "{text}");
    let (status, text) = raw.request(
        "SETUP",
        "/trackID=0",
        &format!("{BACK}Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"),
    );
    assert_eq!(status, 200, "{text}");
    let id = text.lines().find_map(|l| l.strip_prefix("Session: ")).unwrap();
    let session = format!("{BACK}Session: {}\r\n", id.split(';').next().unwrap());
    let third = format!("{session}Transport: RTP/AVP/TCP;unicast;interleaved=4-5\r\n");
    assert_eq!(raw.request("SETUP", "/trackID=2", &third).0, 200);
    assert_eq!(raw.request("PLAY", "", &session).0, 200);
    let speak = |raw: &mut Raw, n: u16| {
        let mut packet = vec![b'$', 4, 0, 172, 0x80, 8];
        packet.extend(n.to_be_bytes());
        packet.extend((u32::from(n) * 160).to_be_bytes());
        packet.extend([0, 0, 0, 9]);
        packet.extend([0xD5; 160]);
        raw.send(&packet);
    };
    for n in 0..20 {
        speak(&mut raw, n);
    }
    let mut other = rig.raw();
    other.request("DESCRIBE", "", BACK);
    let alone = format!("{BACK}Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n");
    assert_eq!(other.request("SETUP", "/trackID=2", &alone).0, 453, "somebody speaks");
    assert_eq!(raw.request("TEARDOWN", "", &session).0, 200);
    let (status, text) = other.request("SETUP", "/trackID=2", &alone);
    assert_eq!(status, 200, "{text}");
    // without a speaker the client is told to ask without
    let mut raw = rig.raw();
    raw.url = rig.url("inbox");
    assert_eq!(raw.request("DESCRIBE", "", BACK).0, 404);
}

#[test]
fn ffmpeg_and_gstreamer_decode_through_http() {
    let rig = Rig::start("");
    let (frames, complaints) = decoded(&["-rtsp_transport", "http"], &rig.url("cam"), 20);
    assert_eq!(frames, 20, "{complaints}");
    let url = rig.url("cam").replace("rtsp:", "rtsph:");
    assert!(gstreamer(&url, "http+tcp") >= 20 || gstreamer(&url, "http") >= 20);
    // both halves on one connection are none
    let mut raw = rig.raw();
    raw.send(b"GET /cam HTTP/1.0\r\nx-sessioncookie: one\r\n\r\n");
    assert_eq!(raw.answer().0, 200);
    raw.send(b"POST /cam HTTP/1.0\r\nx-sessioncookie: one\r\nContent-Length: 32767\r\n\r\nT1BUSU9OUw==");
    let mut again = rig.raw();
    again.send(b"GET /cam HTTP/1.0\r\nx-sessioncookie: one\r\n\r\n");
    assert_eq!(again.answer().0, 400, "a cookie has one GET");
    drop(raw);
}

#[test]
fn ffmpeg_and_gstreamer_decode_by_multicast() {
    // groups are sent to the network: to one of the test's own
    if !alone_with_groups("ffmpeg_and_gstreamer_decode_by_multicast") {
        return;
    }
    let rig = Rig::start("");
    let (frames, complaints) = decoded(&["-rtsp_transport", "udp_multicast"], &rig.url("cam"), 20);
    assert_eq!(frames, 20, "{complaints}");
    assert!(gstreamer(&rig.url("cam"), "udp-mcast") >= 20);
}
