//! RTSP on roads that are not the usual ones: networks that lose and shuffle datagrams, groups with
//! a fixed address, the track of what happens, a publisher that comes back with another picture.
#![cfg(all(feature = "rtsp", feature = "demo"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::disallowed_methods)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::*;

/// A streamd with this configuration, and where it serves RTSP.
fn start(config: &str) -> (Streamd, String) {
    let it = Streamd::start(&format!("api: {{listen: \"127.0.0.1:0\"}}\n{config}"));
    let status = it.local("GET", "/api/status", "").json();
    let rtsp = items(&status, "listening").iter().find_map(|l| l.as_str()?.strip_prefix("RTSP "));
    let rtsp = rtsp.expect("it serves RTSP").trim_end_matches('/').to_owned();
    (it, rtsp)
}

fn spawn(program: &str, args: &[&str]) -> Guard {
    let child = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    Guard(child.unwrap_or_else(|e| panic!("{program} is needed for this test: {e}")))
}

/// Presentation times of the pictures that ffmpeg decodes of a URL, and what it complains about.
fn decoded(transport: &str, url: &str, frames: &str) -> (Vec<i64>, String) {
    let args = ["90", "ffmpeg", "-v", "error", "-rtsp_transport", transport, "-i", url, "-map", "0:v"];
    let out = ["-frames:v", frames, "-fps_mode", "passthrough", "-copyts", "-f", "framecrc", "-"];
    let all: Vec<&str> = args.into_iter().chain(out).collect();
    let run = tool("timeout", &all, "");
    let times = run.out.lines().filter(|l| !l.starts_with('#'));
    (times.map(|l| l.split(',').nth(2).unwrap().trim().parse().unwrap()).collect(), run.err)
}

/// What a network does to datagrams.
#[derive(Clone, Copy)]
struct Weather {
    /// Of a thousand datagrams so many are lost.
    lost: u64,
    /// Of a thousand so many come behind one to three later ones.
    late: u64,
}

/// What a relay has seen.
#[derive(Clone, Default)]
struct Counts {
    lost: Arc<AtomicUsize>,
    late: Arc<AtomicUsize>,
    /// Requests for key frames.
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

/// A host between a client and a server of RTSP by UDP, on the way of every datagram.
struct Relay {
    port: u16,
    counts: Counts,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.counts.over.store(true, Relaxed);
    }
}

/// One direction of one track's RTP or RTCP.
struct Way {
    from: UdpSocket,
    to: UdpSocket,
    port: Arc<AtomicU16>,
}

impl Way {
    fn carry(self, weather: Weather, seed: u64, counts: Counts) {
        let Counts { lost, late, asked, over } = counts;
        self.from.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
        let mut state = seed | 1;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut held: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut bytes = [0; 2048];
        let send = |packet: &[u8]| {
            let port = self.port.load(Relaxed);
            if port != 0 {
                let _ = self.to.send_to(packet, ("127.0.0.1", port));
            }
        };
        while !over.load(Relaxed) {
            let came = self.from.recv(&mut bytes);
            if let Ok(n) = came
                && reports(&bytes[..n]).any(|kind| kind == 206)
            {
                asked.fetch_add(1, Relaxed);
            }
            match came {
                Ok(n) if random() % 1000 < weather.lost => {
                    let _ = n;
                    lost.fetch_add(1, Relaxed);
                    continue;
                }
                Ok(n) if random() % 1000 < weather.late => {
                    late.fetch_add(1, Relaxed);
                    held.push((1 + random() % 3, bytes[..n].to_vec()));
                    continue;
                }
                Ok(n) => send(&bytes[..n]),
                // nothing follows: what waits goes on
                Err(_) => held.iter_mut().for_each(|h| h.0 = 1),
            }
            held.iter_mut().for_each(|h| h.0 -= 1);
            for (_, packet) in held.extract_if(.., |h| h.0 == 0) {
                send(&packet);
            }
        }
    }
}

/// The kinds of the reports in a datagram; of media, none of 200 to 206.
fn reports(mut bytes: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let kind = *bytes.get(1)?;
        let words = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
        bytes = bytes.get(4 * (words + 1)..).filter(|_| (200..=206).contains(&kind)).unwrap_or(&[]);
        Some(kind)
    })
}

/// Two neighbouring ports, the first even.
fn pair() -> (UdpSocket, UdpSocket) {
    for _ in 0..1000 {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port.is_multiple_of(2)
            && let Ok(second) = UdpSocket::bind(("127.0.0.1", port + 1))
        {
            return (first, second);
        }
    }
    panic!("no two neighbouring ports are free");
}

/// The ports of one track on both sides of the relay.
struct Track {
    client: [Arc<AtomicU16>; 2],
    server: [Arc<AtomicU16>; 2],
    /// Where the client sees the server, and the server the client.
    ports: (u16, u16),
}

fn ports_after<'a>(text: &'a str, name: &str) -> Option<(&'a str, u16, u16)> {
    let (_, rest) = text.split_once(name)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
    let (a, b) = rest[..end].split_once('-')?;
    Some((&rest[..end], a.parse().ok()?, b.parse().ok()?))
}

impl Relay {
    fn new(server: u16, weather: Weather) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let counts = Counts::default();
        let relay = Relay { port: listener.local_addr().unwrap().port(), counts: counts.clone() };
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            while !counts.over.load(Relaxed) {
                let Ok((client, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                };
                client.set_nonblocking(false).unwrap();
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let tracks: Arc<Mutex<Vec<Track>>> = Arc::default();
                let ends = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (opened, told) = (tracks.clone(), counts.clone());
                std::thread::spawn(move || {
                    messages(ends.0, ends.1, |head| match ports_after(head, "client_port=") {
                        Some((old, a, b)) => {
                            let track = open(weather, &told);
                            track.client[0].store(a, Relaxed);
                            track.client[1].store(b, Relaxed);
                            let new = format!("{}-{}", track.ports.1, track.ports.1 + 1);
                            let text =
                                head.replace(&format!("client_port={old}"), &format!("client_port={new}"));
                            opened.lock().unwrap().push(track);
                            text
                        }
                        None => head.to_owned(),
                    });
                });
                std::thread::spawn(move || {
                    messages(server, client, |head| {
                        let tracks = tracks.lock().unwrap();
                        let (Some((old, a, b)), Some(track)) =
                            (ports_after(head, "server_port="), tracks.last())
                        else {
                            return head.to_owned();
                        };
                        track.server[0].store(a, Relaxed);
                        track.server[1].store(b, Relaxed);
                        let new = format!("{}-{}", track.ports.0, track.ports.0 + 1);
                        let (own, _, _) = ports_after(head, "client_port=").unwrap_or(("", 0, 0));
                        let client = track.client.each_ref().map(|p| p.load(Relaxed));
                        head.replace(&format!("server_port={old}"), &format!("server_port={new}")).replace(
                            &format!("client_port={own}"),
                            &format!("client_port={}-{}", client[0], client[1]),
                        )
                    });
                });
            }
        });
        relay
    }
}

/// Opens the ways of a track: four sockets, both directions of RTP and RTCP.
fn open(weather: Weather, counts: &Counts) -> Track {
    let (to_client, to_server) = (pair(), pair());
    let ports = (to_client.0.local_addr().unwrap().port(), to_server.0.local_addr().unwrap().port());
    let track = Track { client: Default::default(), server: Default::default(), ports };
    let fine = Weather { lost: 0, late: 0 };
    let pairs = [(to_client.0, to_server.0, weather), (to_client.1, to_server.1, fine)];
    for (at, (near, far, weather)) in pairs.into_iter().enumerate() {
        let back = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let there = Way { from: far, to: near, port: track.client[at].clone() };
        let counts_there = counts.clone();
        let seed = 0x9E37_79B9_7F4A_7C15 ^ at as u64;
        std::thread::spawn(move || there.carry(weather, seed, counts_there));
        let back = Way { from: back.0, to: back.1, port: track.server[at].clone() };
        let counts_back = counts.clone();
        std::thread::spawn(move || back.carry(fine, 1, counts_back));
    }
    track
}

/// Carries messages from one end to the other, with their heads changed.
fn messages(mut from: TcpStream, mut to: TcpStream, mut change: impl FnMut(&str) -> String) {
    let mut bytes = Vec::new();
    let mut more = [0; 4096];
    loop {
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            match from.read(&mut more) {
                Ok(n) if n > 0 => bytes.extend_from_slice(&more[..n]),
                _ => break,
            }
            continue;
        };
        let rest = bytes.split_off(end + 4);
        let head = change(&String::from_utf8_lossy(&bytes));
        // bodies hold nothing that has to be changed
        bytes = rest;
        if to.write_all(head.as_bytes()).is_err() {
            break;
        }
        let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: "));
        let mut length: usize = length.map_or(0, |l| l.trim().parse().unwrap());
        while length > 0 {
            if bytes.is_empty() {
                match from.read(&mut more) {
                    Ok(n) if n > 0 => bytes.extend_from_slice(&more[..n]),
                    _ => break,
                }
            }
            let n = length.min(bytes.len());
            if to.write_all(&bytes[..n]).is_err() {
                return;
            }
            bytes.drain(..n);
            length -= n;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

const CAMERA: &str = "rtsp: {listen: \"127.0.0.1:0\"}\nstreams:\n  cam: demo:sub?audio=alaw\n";

fn port_of(rtsp: &str) -> u16 {
    rtsp.rsplit(':').next().unwrap().parse().unwrap()
}

/// A second streamd that has the first one's stream through that network.
fn far(weather: Weather) -> (Streamd, Relay, Streamd, String) {
    let (near, rtsp) = start(CAMERA);
    let relay = Relay::new(port_of(&rtsp), weather);
    let config = format!(
        "rtsp: {{listen: \"127.0.0.1:0\"}}\nstreams:\n  far: rtsp://127.0.0.1:{}/cam#transport=udp\n",
        relay.port
    );
    let (far, url) = start(&config);
    (near, relay, far, format!("{url}/far"))
}

/// Datagrams that come in another order than they left cost nothing: every picture is there, in
/// order, at its time.
#[test]
fn datagrams_out_of_order_are_put_in_order() {
    let (_near, relay, _far, url) = far(Weather { lost: 0, late: 80 });
    let (times, complaints) = decoded("tcp", &url, "80");
    assert_eq!((times.len(), complaints.as_str()), (80, ""));
    assert!(relay.counts.late.load(Relaxed) > 0, "the network was too kind");
    // one picture after the other: one that is missing would be a step of two
    assert!(times.windows(2).skip(20).all(|w| w[1] == w[0] + 1), "{times:?}");
}

/// What is lost is lost, but nobody behind us is shown a broken picture for it.
#[test]
fn lost_datagrams_cost_pictures_and_break_none() {
    let (_near, relay, _far, url) = far(Weather { lost: 15, late: 40 });
    let (times, complaints) = decoded("tcp", &url, "60");
    assert_eq!((times.len(), complaints.as_str()), (60, ""));
    wait_until("something is lost", || relay.counts.lost.load(Relaxed) > 3);
    assert!(times.windows(2).all(|w| w[1] >= w[0]), "{times:?}");
    // a whole group of pictures is not given up for one datagram
    wait_until("a key frame is asked for", || relay.counts.asked.load(Relaxed) > 0);
}

/// Those who receive by UDP themselves go on too.
#[test]
fn viewers_behind_a_bad_network_see_pictures() {
    let (_near, rtsp) = start(CAMERA);
    let relay = Relay::new(port_of(&rtsp), Weather { lost: 10, late: 20 });
    let url = format!("rtsp://127.0.0.1:{}/cam", relay.port);
    let (times, _) = decoded("udp", &url, "40");
    assert_eq!(times.len(), 40);
    let pipeline = format!(
        "rtspsrc location={url} protocols=udp latency=200 ! application/x-rtp,media=video ! rtph264depay ! \
         h264parse ! avdec_h264 ! identity silent=false eos-after=50 ! fakesink"
    );
    let args: Vec<&str> =
        ["90", "gst-launch-1.0", "-v"].into_iter().chain(pipeline.split_whitespace()).collect();
    let run = tool("timeout", &args, "");
    assert!(run.out.matches("chain").count() >= 40, "{}{}", run.out, run.err);
}

/// A recorder that asks for it is told of motion in the session that brings the pictures.
#[test]
fn what_happens_is_told_beside_the_pictures() {
    let (it, rtsp) = start(CAMERA);
    let folder = Folder::new();
    let file = folder.path("metadata");
    let pipeline = format!(
        "rtspsrc location={rtsp}/cam?metadata protocols=tcp latency=0 name=s s. ! \
         application/x-rtp,media=application,encoding-name=VND.ONVIF.METADATA ! filesink buffer-mode=2 location={} \
         s. ! application/x-rtp,media=video ! rtph264depay ! fakesink s. ! application/x-rtp,media=audio ! fakesink",
        file.display()
    );
    let args: Vec<&str> = ["-q"].into_iter().chain(pipeline.split_whitespace()).collect();
    let _viewer = spawn("gst-launch-1.0", &args);
    let text = || String::from_utf8_lossy(&std::fs::read(&file).unwrap_or_default()).into_owned();
    wait_until("it is told how things stand", || text().contains("PropertyOperation=\"Initialized\""));
    assert!(
        text().contains("tns1:VideoSource/MotionAlarm") && text().contains("Name=\"Source\" Value=\"cam\"")
    );
    assert!(text().contains("Name=\"State\" Value=\"false\"") && !text().contains("\"true\""));
    assert_eq!(it.local("POST", "/api/events?type=motion&src=cam", "").status, 200);
    wait_until("motion is told", || text().contains("Name=\"State\" Value=\"true\""));
    assert!(text().contains("PropertyOperation=\"Changed\""));
    wait_until("it goes on", || text().matches("tt:Frame").count() >= 2);
    // who does not ask for it is not shown it: recorders take the first media for the picture
    let plain = describe(&rtsp, "cam");
    assert!(!plain.contains("m=application"), "{plain}");
    assert!(describe(&rtsp, "cam?metadata").contains("a=rtpmap:107 vnd.onvif.metadata/90000"));
}

/// The description of a stream.
fn describe(rtsp: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port_of(rtsp))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let ask = format!("DESCRIBE {rtsp}/{path} RTSP/1.0\r\nCSeq: 1\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut text = String::new();
    let mut bytes = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |l| l.parse().unwrap()) {
                return text;
            }
        }
        let n = stream.read(&mut bytes).unwrap();
        assert!(n > 0, "it closed: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..n]));
    }
}

/// Switches and firewalls are configured for one group: it is the one that is configured here, and
/// whoever asks for it finds it in the description.
#[test]
fn a_configured_group_is_used_and_named() {
    if !alone_with_groups("a_configured_group_is_used_and_named") {
        return;
    }
    let group = "rtsp: {listen: \"127.0.0.1:0\", multicast_address: 239.255.42.7, multicast_port: 15000}\n";
    let (_it, rtsp) = start(&format!("{group}streams:\n  cam: demo:sub?audio=alaw\n"));
    let sdp = describe(&rtsp, "cam?multicast");
    assert!(sdp.contains("m=video 15000 ") && sdp.contains("m=audio 15002 "), "{sdp}");
    assert_eq!(sdp.matches("c=IN IP4 239.255.42.7/4\r\n").count(), 2, "{sdp}");
    assert!(describe(&rtsp, "cam").contains("m=video 0 "));
    let (times, complaints) = decoded("udp_multicast", &format!("{rtsp}/cam"), "20");
    assert_eq!(times.len(), 20, "{complaints}");
    // what is no group is said, and nothing else is harmed
    let (it, rtsp) = start(&CAMERA.replace("0\"", "0\", multicast_address: 10.0.0.1"));
    let status = it.local("GET", "/api/status", "").text();
    assert!(status.contains("rtsp.multicast_address") && status.contains("is no group"), "{status}");
    assert_eq!(decoded("tcp", &format!("{rtsp}/cam"), "5").0.len(), 5);
}

/// A publisher that comes back with another picture: who comes then is told of the new one.
#[test]
fn another_picture_is_described_anew() {
    let (it, rtsp) = start("rtsp: {listen: \"127.0.0.1:0\"}\nstreams:\n  inbox:\n");
    let url = format!("{rtsp}/inbox");
    let publish = |size: &str, codec: &[&str]| {
        let source = format!("testsrc2=size={size}:rate=15");
        let mut args = vec!["-v", "fatal", "-re", "-f", "lavfi", "-i", &source];
        args.extend(codec);
        args.extend(["-f", "rtsp", "-rtsp_transport", "tcp", &url]);
        spawn("ffmpeg", &args)
    };
    let size = || {
        let args = ["20", "ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-show_entries"];
        let rest = ["stream=codec_name,width,height", "-of", "csv=p=0", &url];
        let all: Vec<&str> = args.into_iter().chain(rest).collect();
        tool("timeout", &all, "").out.trim().to_owned()
    };
    let h264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "15", "-pix_fmt", "yuv420p"];
    let first = publish("320x240", &h264);
    wait_until("the first picture is there", || size() == "h264,320,240");
    let before = describe(&rtsp, "inbox");
    drop(first);
    wait_until("it is gone", || items(&it.stream("inbox"), "producers").is_empty());
    let second = publish("640x360", &h264);
    wait_until("the second picture is there", || size() == "h264,640,360");
    let after = describe(&rtsp, "inbox");
    let sprop = |sdp: &str| {
        sdp.split("sprop-parameter-sets=").nth(1).unwrap().split("\r\n").next().unwrap().to_owned()
    };
    assert_ne!(sprop(&before), sprop(&after));
    drop(second);
    wait_until("it is gone", || items(&it.stream("inbox"), "producers").is_empty());
    let _third =
        publish("480x270", &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"]);
    wait_until("another codec is there", || size() == "hevc,480,270");
}
