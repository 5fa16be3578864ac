//! What `scripts/bench rtsp` plays against a server: a publisher, readers, and for comparison a bare
//! server, which makes the system calls that cannot be avoided and does nothing else.
//!
//!   rtsp publish HOST:PORT PATH SECONDS         a camera's stream, by ANNOUNCE
//!   rtsp read HOST:PORT PATH tcp|udp N SECONDS  N readers; prints what they saw, as key=value
//!   rtsp bare tcp|udp                           a server of one stream; prints its port
//!
//! The stream: 25 access units a second of 10 kB (2 Mbit/s), the first of each 50 a key frame, and 50
//! packets of PCMA. Each picture says in its first bytes when it was sent.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg, setsockopt, sockopt};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};
use streamd::net::clock;

const SPS: &[u8] = b"\x67\x42\xc0\x28\xd9\x00\x78\x02\x27\xe5\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xc8\x3c\x60\xc9\x20";
const PPS: &[u8] = b"\x68\xcb\x83\xcb\x20";
const SPROP: &str = "Z0LAKNkAeAIn5cBEAAADAAQAAAMAyDxgySA=,aMuDyyA=";
const FPS: u64 = 25;
const GOP: u64 = 50;
/// Bytes of a picture; a key frame has five times as much, the others a little less for it.
const PICTURE: usize = 9_200;
const KEY: usize = 50_000;
const PACKET: usize = 1388;
const SOUND: usize = 160;

fn sdp() -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=bench\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n\
         m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 packetization-mode=1;profile-level-id=42C028;sprop-parameter-sets={SPROP}\r\na=control:trackID=0\r\n\
         m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=control:trackID=1\r\n"
    )
}

fn nanos() -> u64 {
    clock::now().nanos()
}

/// When a picture was sent, in bytes that no start code comes of.
fn stamp(to: &mut [u8], time: u64) {
    for (i, byte) in to.iter_mut().take(16).enumerate() {
        *byte = 0x40 | (time >> (60 - 4 * i)) as u8 & 15;
    }
}

fn stamped(from: &[u8]) -> u64 {
    from.iter().take(16).fold(0, |time, byte| time << 4 | u64::from(byte & 15))
}

/// A connection that asks and is answered.
struct Line {
    stream: TcpStream,
    base: String,
    cseq: u32,
    session: String,
    /// What came and was not looked at.
    inbox: Vec<u8>,
    from: usize,
}

impl Line {
    fn open(to: &str, path: &str) -> Line {
        let stream = TcpStream::connect(to).expect("a server");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let base = format!("rtsp://{to}/{path}");
        Line { stream, base, cseq: 0, session: String::new(), inbox: Vec::new(), from: 0 }
    }

    fn ask(&mut self, method: &str, track: &str, headers: &str, body: &str) {
        self.cseq += 1;
        let mut text = format!("{method} {}{track} RTSP/1.0\r\nCSeq: {}\r\n{headers}", self.base, self.cseq);
        if !self.session.is_empty() {
            text += &format!("Session: {}\r\n", self.session);
        }
        if !body.is_empty() {
            text += &format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", body.len());
        }
        self.stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
    }

    fn fill(&mut self) -> usize {
        if self.from > 1 << 16 {
            self.inbox.drain(..self.from);
            self.from = 0;
        }
        let mut room = [0; 1 << 16];
        match self.stream.read(&mut room) {
            Ok(n) => {
                self.inbox.extend_from_slice(&room[..n]);
                n
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            Err(e) => panic!("{e}"),
        }
    }

    /// A whole interleaved frame.
    fn frame(&mut self) -> Option<(u8, std::ops::Range<usize>)> {
        let rest = &self.inbox[self.from..];
        let &[b'$', channel, high, low, ..] = rest else { return None };
        let end = 4 + usize::from(u16::from_be_bytes([high, low]));
        (rest.len() >= end).then(|| {
            let range = self.from + 4..self.from + end;
            self.from += end;
            (channel, range)
        })
    }

    /// Waits for an answer: its text. Frames before it are read over.
    fn answer(&mut self) -> String {
        loop {
            while self.frame().is_some() {}
            let rest = &self.inbox[self.from..];
            if !rest.is_empty() && rest[0] != b'$' {
                let text = String::from_utf8_lossy(rest).into_owned();
                if let Some(end) = text.find("\r\n\r\n") {
                    let head = text[..end].to_ascii_lowercase();
                    let field = |name: &str| {
                        head.lines().find_map(|l| l.strip_prefix(name).map(|v| v.trim().to_owned()))
                    };
                    let length = field("content-length:").map_or(0, |n| n.parse().unwrap());
                    if rest.len() >= end + 4 + length {
                        self.from += end + 4 + length;
                        assert!(text.starts_with("RTSP/1.0 200"), "{text}");
                        if let Some(id) = text.lines().find_map(|l| l.strip_prefix("Session:")) {
                            self.session = id.trim().split(';').next().unwrap().to_owned();
                        }
                        return text[..end + 4 + length].to_owned();
                    }
                }
            }
            assert!(self.fill() > 0, "the server has closed");
        }
    }
}

/// The packets of one picture, whole with their interleaved heads.
struct Packets {
    seq: u16,
}

impl Packets {
    fn one(&mut self, out: &mut Vec<u8>, time: u32, mark: bool, parts: &[&[u8]]) {
        let len = 12 + parts.iter().map(|p| p.len()).sum::<usize>();
        out.extend([b'$', 0]);
        out.extend((len as u16).to_be_bytes());
        out.extend([0x80, 96 | u8::from(mark) << 7]);
        out.extend(self.seq.to_be_bytes());
        self.seq = self.seq.wrapping_add(1);
        out.extend(time.to_be_bytes());
        out.extend([0, 0, 0, 7]);
        parts.iter().for_each(|p| out.extend_from_slice(p));
    }

    fn picture(&mut self, out: &mut Vec<u8>, number: u64) {
        let time = (number * 90_000 / FPS) as u32;
        let key = number.is_multiple_of(GOP);
        if key {
            self.one(out, time, false, &[SPS]);
            self.one(out, time, false, &[PPS]);
        }
        let mut nal = vec![0x55; if key { KEY } else { PICTURE }];
        stamp(&mut nal, nanos());
        let kind = if key { 5 } else { 1 };
        let last = nal.len().div_ceil(PACKET) - 1;
        for (i, part) in nal.chunks(PACKET).enumerate() {
            let head = kind | u8::from(i == 0) << 7 | u8::from(i == last) << 6;
            self.one(out, time, i == last, &[&[0x60 | 28, head], part]);
        }
    }
}

fn publish(to: &str, path: &str, seconds: u64) {
    let mut line = Line::open(to, path);
    line.ask("ANNOUNCE", "", "", &sdp());
    line.answer();
    for (track, channels) in [("/trackID=0", "0-1"), ("/trackID=1", "2-3")] {
        line.ask(
            "SETUP",
            track,
            &format!("Transport: RTP/AVP/TCP;unicast;interleaved={channels};mode=record\r\n"),
            "",
        );
        line.answer();
    }
    line.ask("RECORD", "", "Range: npt=0.000-\r\n", "");
    line.answer();
    println!("publishing");
    let begun = Instant::now();
    let mut packets = Packets { seq: 0 };
    for number in 0..seconds * FPS {
        let due = begun + Duration::from_nanos(number * 1_000_000_000 / FPS);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut out = Vec::with_capacity(64 << 10);
        for sound in number * 2..number * 2 + 2 {
            out.extend([b'$', 2]);
            out.extend((12 + SOUND as u16).to_be_bytes());
            out.extend([0x80, 8]);
            out.extend((sound as u16).to_be_bytes());
            out.extend(((sound * SOUND as u64) as u32).to_be_bytes());
            out.extend([0, 0, 0, 9]);
            out.extend([0xD5; SOUND]);
        }
        packets.picture(&mut out, number);
        if line.stream.write_all(&out).is_err() {
            eprintln!("the server has closed");
            std::process::exit(1);
        }
    }
}

/// What one reader sees of the pictures.
#[derive(Default)]
struct Seen {
    sent: u64,
    key: bool,
    pictures: u64,
    /// From PLAY to the end of the first key frame.
    first: Option<u64>,
    /// When each picture was sent, and how long it took to be here.
    took: Vec<(u64, u64)>,
    bytes: u64,
}

impl Seen {
    /// A packet of the picture; `played` is when PLAY was asked.
    fn packet(&mut self, rtp: &[u8], played: u64) {
        self.bytes += rtp.len() as u64;
        let Some(payload) = rtp.get(12..).filter(|p| p.len() > 18) else { return };
        let kind = payload[0] & 31;
        if kind == 28 && payload[1] & 0x80 != 0 {
            (self.sent, self.key) = (stamped(&payload[2..]), payload[1] & 31 == 5);
        }
        if rtp[1] & 0x80 != 0 {
            let now = nanos();
            self.pictures += 1;
            if self.key && self.first.is_none() {
                self.first = Some(now - played);
            }
            self.took.push((self.sent, now.saturating_sub(self.sent)));
        }
    }
}

struct Reader {
    line: Line,
    udp: Option<(UdpSocket, UdpSocket)>,
    played: u64,
    seen: Seen,
}

impl Reader {
    fn open(to: &str, path: &str, udp: bool) -> Reader {
        let mut line = Line::open(to, path);
        line.ask("DESCRIBE", "", "Accept: application/sdp\r\n", "");
        let described = line.answer();
        let controls: Vec<String> = described
            .lines()
            .skip_while(|l| !l.starts_with("m="))
            .filter_map(|l| l.strip_prefix("a=control:"))
            .map(|c| c.rsplit('/').next().unwrap().to_owned())
            .collect();
        let mut ports = Vec::new();
        for (i, control) in controls.iter().enumerate().take(2) {
            let transport = if udp {
                let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
                setsockopt(&rtp, sockopt::RcvBuf, &(1 << 20)).unwrap();
                let port = rtp.local_addr().unwrap().port();
                ports.push(rtp);
                format!("RTP/AVP;unicast;client_port={port}-{}", port + 1)
            } else {
                format!("RTP/AVP/TCP;unicast;interleaved={}-{}", 2 * i, 2 * i + 1)
            };
            line.ask("SETUP", &format!("/{control}"), &format!("Transport: {transport}\r\n"), "");
            line.answer();
        }
        let played = nanos();
        line.ask("PLAY", "", "Range: npt=0.000-\r\n", "");
        let mut reader = Reader { line, udp: None, played, seen: Seen::default() };
        if udp {
            reader.line.answer();
            let sound = ports.pop().unwrap();
            let video = ports.pop().unwrap();
            video.set_nonblocking(true).unwrap();
            sound.set_nonblocking(true).unwrap();
            reader.udp = Some((video, sound));
        } else {
            // the answer, with nothing of what follows it
            let text = loop {
                let rest = &reader.line.inbox[reader.line.from..];
                if let Some(end) = rest.windows(4).position(|w| w == b"\r\n\r\n") {
                    let text = String::from_utf8_lossy(&rest[..end]).into_owned();
                    reader.line.from += end + 4;
                    break text;
                }
                assert!(reader.line.fill() > 0);
            };
            assert!(text.contains(" 200 "), "{text}");
        }
        reader.line.stream.set_nonblocking(true).unwrap();
        reader
    }

    fn look(&mut self) {
        if let Some((video, sound)) = &self.udp {
            let mut room = [0; 2048];
            while let Ok(n) = video.recv(&mut room) {
                self.seen.packet(&room[..n], self.played);
            }
            while sound.recv(&mut room).is_ok() {}
            return;
        }
        self.line.fill();
        while let Some((channel, range)) = self.line.frame() {
            if channel == 0 {
                self.seen.packet(&self.line.inbox[range], self.played);
            }
        }
    }
}

/// Looks at all readers until an instant.
fn watch(readers: &mut [Reader], until: Instant) {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let mut fds: Vec<PollFd<'_>> = readers
            .iter()
            .flat_map(|r| match &r.udp {
                Some((video, sound)) => vec![video.as_fd(), sound.as_fd()],
                None => vec![r.line.stream.as_fd()],
            })
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let _ = poll(&mut fds, PollTimeout::try_from(left.as_millis().clamp(1, 1000) as u32 as i32).unwrap());
        let per = if readers.first().is_some_and(|r| r.udp.is_some()) { 2 } else { 1 };
        let ready: Vec<usize> =
            fds.iter().enumerate().filter(|(_, fd)| fd.any().unwrap_or(true)).map(|(i, _)| i / per).collect();
        for at in ready {
            readers[at].look();
        }
    }
}

fn middle(mut values: Vec<u64>, percent: usize) -> u64 {
    values.sort_unstable();
    values.get((values.len() * percent / 100).min(values.len().saturating_sub(1))).copied().unwrap_or(0)
}

fn read(to: &str, path: &str, udp: bool, count: usize, seconds: u64) {
    let begun = Instant::now();
    let mut readers: Vec<Reader> = Vec::new();
    for _ in 0..count {
        readers.push(Reader::open(to, path, udp));
        // spread over the GOP, so that joining is seen at every place of it
        watch(&mut readers, Instant::now() + Duration::from_millis(17));
    }
    println!("reading");
    let first: Vec<u64> = {
        watch(&mut readers, Instant::now() + Duration::from_millis(2500));
        readers.iter().map(|r| r.seen.first.unwrap_or(u64::MAX) / 1000).collect()
    };
    let from = nanos();
    let before: u64 = readers.iter().map(|r| r.seen.pictures).sum();
    watch(&mut readers, (begun + Duration::from_secs(seconds)).max(Instant::now() + Duration::from_secs(1)));
    let span = nanos() - from;
    let pictures = readers.iter().map(|r| r.seen.pictures).sum::<u64>() - before;
    let took: Vec<u64> =
        readers.iter().flat_map(|r| &r.seen.took).filter(|t| t.0 >= from).map(|t| t.1 / 1000).collect();
    // the last to join beside the first, picture by picture, when five seconds have gone
    let lag = readers.last().filter(|_| count > 1).map_or(0, |late| {
        let (early, five) = (&readers[0].seen.took, late.played + 5_000_000_000);
        let behind = late.seen.took.iter().filter(|t| t.0 > five).filter_map(|t| {
            let other = early.binary_search_by_key(&t.0, |o| o.0).ok()?;
            Some(t.1.saturating_sub(early[other].1) / 1000)
        });
        middle(behind.collect(), 50)
    });
    println!(
        "pictures={pictures} expected={} first_p50={} first_max={} p50={} p99={} lag={lag}",
        span * FPS * count as u64 / 1_000_000_000,
        middle(first.clone(), 50),
        first.iter().max().unwrap_or(&0),
        middle(took.clone(), 50),
        middle(took, 99),
    );
}

/// A server that reads the publisher's bytes and makes one send per picture for each reader.
struct Bare {
    readers: Vec<(TcpStream, Vec<u16>)>,
    udp: Option<UdpSocket>,
}

impl Bare {
    /// Speaks as much RTSP as is needed; true when it was RECORD.
    fn greet(&mut self, mut stream: TcpStream) -> Option<TcpStream> {
        let (mut inbox, mut ports) = (Vec::new(), Vec::new());
        loop {
            let end = loop {
                if let Some(end) = inbox.windows(4).position(|w| w == b"\r\n\r\n") {
                    break end + 4;
                }
                let mut room = [0; 4096];
                let n = stream.read(&mut room).ok().filter(|n| *n > 0)?;
                inbox.extend_from_slice(&room[..n]);
            };
            let head = String::from_utf8_lossy(&inbox[..end]).into_owned();
            let field = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
            let length: usize = field("Content-Length:").map_or(0, |n| n.parse().unwrap());
            while inbox.len() < end + length {
                let mut room = [0; 4096];
                let n = stream.read(&mut room).ok().filter(|n| *n > 0)?;
                inbox.extend_from_slice(&room[..n]);
            }
            inbox.drain(..end + length);
            let cseq = field("CSeq:").unwrap_or("0");
            let body = if head.starts_with("DESCRIBE") { sdp() } else { String::new() };
            let mut more = String::new();
            if let Some(transport) = field("Transport:") {
                more = format!("Transport: {transport}\r\n");
                let port = transport.split("client_port=").nth(1).and_then(|p| p.split('-').next());
                ports.push(port.map_or(0, |p| p.parse().unwrap()));
            }
            let answer = format!(
                "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nSession: 1\r\n{more}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).ok()?;
            if head.starts_with("RECORD") {
                return Some(stream);
            }
            if head.starts_with("PLAY") {
                stream.set_nodelay(true).unwrap();
                stream.set_nonblocking(true).unwrap();
                self.readers.push((stream, ports));
                return None;
            }
        }
    }

    /// One picture or one packet of sound: ranges of whole interleaved packets.
    fn send(
        &mut self,
        bytes: &[u8],
        packets: &[(u8, std::ops::Range<usize>)],
        headers: &mut MultiHeaders<SockaddrIn>,
    ) {
        if let Some(udp) = &self.udp {
            let mut slices = Vec::with_capacity(packets.len() * self.readers.len());
            let mut to = Vec::with_capacity(slices.capacity());
            for (stream, ports) in &self.readers {
                let Ok(SocketAddr::V4(peer)) = stream.peer_addr() else { continue };
                for (channel, range) in packets {
                    let port = ports.get(usize::from(channel / 2)).copied().unwrap_or(0);
                    to.push(Some(SockaddrIn::from(SocketAddrV4::new(*peer.ip(), port))));
                    slices.push([IoSlice::new(&bytes[range.start + 4..range.end])]);
                }
            }
            let none: [ControlMessage<'_>; 0] = [];
            for (slices, to) in slices.chunks(1024).zip(to.chunks(1024)) {
                let _ = sendmmsg(udp.as_raw_fd(), headers, slices.iter(), to, none, MsgFlags::MSG_DONTWAIT);
            }
            return;
        }
        let slices: Vec<IoSlice<'_>> =
            packets.iter().map(|(_, range)| IoSlice::new(&bytes[range.clone()])).collect();
        for (stream, _) in &self.readers {
            let _ = (&mut &*stream).write_vectored(&slices);
        }
    }

    fn serve(mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        println!("port={}", listener.local_addr().unwrap().port());
        let mut source: Option<TcpStream> = None;
        let mut inbox: Vec<u8> = Vec::with_capacity(1 << 18);
        let mut room = vec![0; 1 << 16];
        let mut headers = MultiHeaders::preallocate(1024, None);
        loop {
            let mut fds = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            fds.extend(source.as_ref().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
            poll(&mut fds, PollTimeout::NONE).unwrap();
            let (new, data) = (fds[0].any() == Some(true), fds.get(1).is_some_and(|f| f.any() == Some(true)));
            if new {
                let (stream, _) = listener.accept().unwrap();
                if let Some(publisher) = self.greet(stream) {
                    source = Some(publisher);
                }
            }
            if !data {
                continue;
            }
            let n = source.as_mut().unwrap().read(&mut room).unwrap_or(0);
            if n == 0 {
                return;
            }
            inbox.extend_from_slice(&room[..n]);
            // two sends for a period, as streamd makes them: its sound, its picture
            let (mut at, mut sent) = (0, 0);
            let (mut sounds, mut picture) = (Vec::new(), Vec::new());
            while let Some(&[_, channel, high, low, _, second]) = inbox.get(at..at + 6) {
                let end = at + 4 + usize::from(u16::from_be_bytes([high, low]));
                if end > inbox.len() {
                    break;
                }
                if channel == 0 { &mut picture } else { &mut sounds }.push((channel, at..end));
                at = end;
                if channel == 0 && second & 0x80 != 0 {
                    self.send(&inbox, &sounds, &mut headers);
                    self.send(&inbox, &picture, &mut headers);
                    sounds.clear();
                    picture.clear();
                    sent = end;
                }
            }
            inbox.drain(..sent);
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|w| w != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["publish", to, path, seconds] => publish(to, path, seconds.parse().unwrap()),
        ["read", to, path, by, count, seconds] => {
            read(to, path, by == "udp", count.parse().unwrap(), seconds.parse().unwrap())
        }
        ["bare", by] => {
            let udp = (by == "udp").then(|| UdpSocket::bind("127.0.0.1:0").unwrap());
            Bare { readers: Vec::new(), udp }.serve();
        }
        _ => {
            eprintln!(
                "rtsp publish HOST:PORT PATH SECONDS | read HOST:PORT PATH tcp|udp N SECONDS | bare tcp|udp"
            );
            std::process::exit(2);
        }
    }
}
