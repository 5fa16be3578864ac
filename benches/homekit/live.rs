//! A stream of 2 Mbit/s to a phone on another thread, which looks at what arrives and unlocks nothing:
//! 25 pictures a second of 10 kB, the first of each 50 a key frame of 50 kB.

use crate::{ALLOCATIONS, HELD};
use nix::sys::socket::SockaddrStorage;
use nix::time::{ClockId, clock_gettime};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use streamd::homekit::accessory::Viewer;
use streamd::homekit::camera::{Command, Endpoints, Rtp, Selected, Size, Srtp, Video};
use streamd::homekit::live::{Desk, Live, Options};
use streamd::media::{Codec, CodecId, Media};
use streamd::net::clock;
use streamd::net::executor::LocalExecutor;
use streamd::net::reactor::Timer;
use streamd::net::rtcp;
use streamd::net::srtp::{Master, Sender, TAG};
use streamd::net::udp::Batch;
use streamd::stream::{Bounds, Hall, Inlet, Peer};

pub const SPS: &[u8] = b"\x67\x42\xc0\x28\xd9\x00\x78\x02\x27\xe5\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xc8\x3c\x60\xc9\x20";
pub const PPS: &[u8] = b"\x68\xcb\x83\xcb\x20";
const GOP: u64 = 50;
/// Bytes of a picture; a key frame has five times as much, the others a little less for it.
pub const PICTURE: usize = 9_200;
pub const KEY: usize = 50_000;
const PERIOD: Duration = Duration::from_millis(40);
/// Bytes of a packet before its tag.
const PACKET: usize = 1200;
/// Packets of a second: two bytes of each are FU-A's.
const PACKETS: usize = 25 * 10_000 / (PACKET - 12 - 2) + 1;
const JOINS: usize = 40;
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub fn unit(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect()
}

pub fn master(n: u8) -> Master {
    Master { key: [n; 16], salt: [n; 14] }
}

/// Locks packets as they lie in one buffer, and does nothing else.
pub fn cipher(packets: usize) {
    let mut sender = Sender::new(&master(1));
    let mut packet = vec![0x5a; PACKET + TAG];
    packet[0] = 0x80;
    for n in 0..packets {
        packet[2..4].copy_from_slice(&(n as u16).to_be_bytes());
        sender.rtp(&mut packet).unwrap();
    }
    std::hint::black_box(&packet);
}

/// Microseconds of this thread.
pub fn cpu() -> u64 {
    let t = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    t.tv_sec() as u64 * 1_000_000 + t.tv_nsec() as u64 / 1000
}

/// What the phone has seen.
#[derive(Default)]
struct Seen {
    report: Option<Instant>,
    packet: Option<Instant>,
    picture: Option<Instant>,
    packets: usize,
    bytes: usize,
}

/// A phone for one viewer.
struct Phone {
    theirs: Endpoints,
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    video: UdpSocket,
    _audio: UdpSocket,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Phone {
    fn new() -> Phone {
        let (video, audio) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        video.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let srtp = Srtp { key: [1; 16], salt: [1; 14] };
        let (video_port, audio_port) =
            (video.local_addr().unwrap().port(), audio.local_addr().unwrap().port());
        let theirs = Endpoints {
            session: [9; 16],
            address: HERE,
            video_port,
            audio_port,
            video: srtp.clone(),
            audio: srtp,
        };
        let (seen, over) = (Arc::default(), Arc::default());
        Phone { theirs, seen, over, video, _audio: audio, thread: None }
    }

    fn start(&self, session: [u8; 16]) -> Selected {
        let size = Some(Size { width: 1920, height: 1080, rate: 30 });
        let rtp = Rtp { payload: Some(99), source: None, bitrate: Some(2000), report_ms: Some(500) };
        let video = Some(Video { profile: Some(2), level: Some(2), size, rtp, mtu: Some(1378) });
        Selected { session, command: Command::Start, video, audio: None }
    }

    /// Reads on a thread of its own, and reports twice a second to `port`.
    fn listen(&mut self, port: u16) {
        let (video, seen, over) = (self.video.try_clone().unwrap(), self.seen.clone(), self.over.clone());
        self.thread = Some(std::thread::spawn(move || {
            let mut lock = Sender::new(&master(1));
            let (mut bytes, mut last) = ([0; 2000], Instant::now());
            while !over.load(Relaxed) {
                if let Ok(len) = video.recv(&mut bytes) {
                    let now = Instant::now();
                    let mut seen = seen.lock().unwrap();
                    if (192..224).contains(&bytes[1]) {
                        seen.report.get_or_insert(now);
                    } else {
                        seen.packet.get_or_insert(now);
                        if bytes[1] & 0x80 != 0 {
                            seen.picture.get_or_insert(now);
                        }
                        seen.packets += 1;
                        seen.bytes += len;
                    }
                }
                if last.elapsed() > Duration::from_millis(500) {
                    last = Instant::now();
                    let mut report = Vec::new();
                    rtcp::emit_receiver(&mut report, 7, &[], "phone");
                    lock.rtcp(&mut report).unwrap();
                    let _ = video.send_to(&report, (HERE, port));
                }
            }
        }));
    }

    fn end(mut self) -> Seen {
        self.over.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn film(mut inlet: Inlet) {
    let units = [(0x65u8, KEY), (0x41, PICTURE)].map(|(first, len)| unit(&[&vec![first; len]]));
    let mut next = Instant::now();
    for n in 0u64.. {
        let key = n.is_multiple_of(GOP);
        inlet.push(clock::now(), key, &units[usize::from(!key)]);
        next += PERIOD;
        Timer::at(next).await;
    }
}

/// Sends as many packets to a phone, locked or not, in the rhythm of the stream and without one; the
/// microseconds that takes.
async fn bare_stream(seconds: f64, per_second: f64, lock: bool) -> u64 {
    let mut phone = Phone::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    phone.listen(socket.local_addr().unwrap().port());
    let to = SockaddrStorage::from(SocketAddr::from((HERE, phone.theirs.video_port)));
    let (mut sender, mut batch) = (Sender::new(&master(1)), Batch::default());
    let mut packet = vec![0x5a; PACKET + TAG];
    packet[0] = 0x80;
    let (frames, mut due, mut seq) = ((seconds * 25.0) as u32, 0.0, 0u16);
    let mut next = Instant::now();
    let mut used = 0;
    for n in 0..frames + 25 {
        if n == 25 {
            used = cpu();
        }
        due += per_second / 25.0;
        while due >= 1.0 {
            due -= 1.0;
            seq = seq.wrapping_add(1);
            packet[2..4].copy_from_slice(&seq.to_be_bytes());
            let finish = |p: &mut [u8]| if lock { sender.rtp(p) } else { Ok(()) };
            batch.add(|b| b.extend_from_slice(&packet), finish).unwrap();
            if batch.is_full() || due < 1.0 {
                batch.send(&socket, &to);
                batch.clear();
            }
        }
        next += PERIOD;
        Timer::at(next).await;
    }
    let used = cpu() - used;
    phone.end();
    used
}

async fn pause(seconds: f64) {
    Timer::after(Duration::from_secs_f64(seconds)).await;
}

fn median(of: &mut [f64]) -> (f64, f64) {
    of.sort_by(f64::total_cmp);
    (of[of.len() / 2], of[of.len() - 1])
}

pub async fn run(seconds: f64, executor: Rc<LocalExecutor>) {
    let hall = Hall::new(executor.clone(), Rc::new(Bounds::usual));
    let stream = hall.set("cam", vec![]).unwrap();
    let codec = Codec { extra: Rc::from(unit(&[SPS, PPS])), ..Codec::new(CodecId::H264) };
    let publication = stream.publish(Peer::default(), vec![Media::recv(codec)]);
    let film = executor.spawn(film(publication.link().inlet(0).unwrap()));
    let desk: Rc<RefCell<Desk>> = Rc::default();
    let options = Options { streams: vec!["cam".into()], ..Options::default() };
    let live = Live::new(&hall, options, desk);
    let join = |place| {
        let mut phone = Phone::new();
        let viewer = Viewer { place, connection: 1 };
        let (ours, _) = live.setup(viewer, &phone.theirs, HERE).unwrap();
        phone.listen(ours.video_port);
        (phone, viewer, ours.session)
    };
    // the ring has its two seconds
    pause(4.5).await;

    let (mut reports, mut packets, mut pictures) = (vec![], vec![], vec![]);
    for n in 0..JOINS {
        pause(0.037 * (n % 7) as f64).await;
        let (phone, viewer, session) = join(0);
        pause(0.05).await;
        let begun = Instant::now();
        assert!(live.control(viewer, &phone.start(session)));
        pause(0.3).await;
        live.end(viewer);
        let seen = phone.end();
        let since = |at: Option<Instant>| at.map_or(f64::INFINITY, |at| (at - begun).as_secs_f64() * 1000.0);
        reports.push(since(seen.report));
        packets.push(since(seen.packet));
        pictures.push(since(seen.picture));
    }
    pause(0.2).await;

    let (before, held, asked) = (cpu(), HELD.load(Relaxed), ALLOCATIONS.load(Relaxed));
    pause(seconds).await;
    let (rest, rest_asked) = (cpu() - before, ALLOCATIONS.load(Relaxed) - asked);
    let held_before = held;

    let (phone, viewer, session) = join(0);
    assert!(live.control(viewer, &phone.start(session)));
    pause(3.0).await;
    let (sent, before, asked) = (live.statistics()[0].sent[0], cpu(), ALLOCATIONS.load(Relaxed));
    pause(seconds).await;
    let used = cpu() - before;
    let asked = ALLOCATIONS.load(Relaxed) - asked;
    let one = HELD.load(Relaxed) - held_before;
    let now = live.statistics()[0].sent[0];
    let per_second = f64::from(now.0 - sent.0) / seconds;
    let (second, other, session) = join(1);
    assert!(live.control(other, &second.start(session)));
    pause(3.0).await;
    let two = HELD.load(Relaxed) - held_before;
    live.end_all();
    let seen = phone.end();
    second.end();
    pause(0.1).await;

    drop(film);
    drop(publication);
    // the same packets, locked and nothing else
    cipher(PACKETS);
    let before = cpu();
    cipher((per_second * seconds) as usize);
    let bare = cpu() - before;
    // sent in the same rhythm and nothing else, and both
    let sends = bare_stream(seconds, per_second, false).await;
    let both = bare_stream(seconds, per_second, true).await;
    let own = used - rest;
    let ms = |us: u64| us as f64 / 1000.0 / seconds;
    let (report, report_max) = median(&mut reports);
    let (packet, packet_max) = median(&mut packets);
    let (picture, picture_max) = median(&mut pictures);
    println!(
        "cpu_ms={:.3} rest_ms={:.3} cipher_ms={:.3} sends_ms={:.3} both_ms={:.3} packets={per_second:.0} mbit={:.2}",
        ms(own),
        ms(rest),
        ms(bare),
        ms(sends),
        ms(both),
        f64::from(now.1 - sent.1) * 8.0 / seconds / 1e6,
    );
    println!(
        "held_one={one} held_two={two} allocations={} rest_allocations={rest_asked}",
        asked - rest_asked.min(asked)
    );
    println!(
        "report_ms={report:.2} report_max={report_max:.2} packet_ms={packet:.2} packet_max={packet_max:.2} \
         picture_ms={picture:.2} picture_max={picture_max:.2} arrived={}",
        seen.packets
    );
}
