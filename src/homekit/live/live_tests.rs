//! A phone on the other side of real sockets: it unlocks, puts together and compares with what was
//! put into the stream. Waits have a bound that only a fault reaches.

use super::*;
use crate::homekit::camera::{Audio, Rtp, Video};
use crate::media::nal::NalCodec;
use crate::media::parameter_sets::ParameterSets;
use crate::media::testing::Rng;
use crate::media::{Codec, CodecId, Media, Time, opus};
use crate::net::executor::LocalExecutor;
use crate::net::limits::LIVE_PACKET;
use crate::net::reactor::{Async, Timer};
use crate::net::rtcp::{self, Compound};
use crate::net::rtp::depay::{self, Depay, Unit};
use crate::net::rtp::{Packet, is_rtcp};
use crate::net::srtp::{Master, Receiver, Sender, TAG};
use crate::stream::{Bounds, Inlet, Publication, Step};
use futures_lite::future;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// 1920 by 1080.
const LARGE: &[u8] = b"\x67\x42\xc0\x28\xd9\x00\x78\x02\x27\xe5\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xc8\x3c\x60\xc9\x20";
/// 640 by 360.
const SMALL: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00,
    0x00, 0x03, 0x00, 0xca, 0x3c, 0x58, 0xba, 0x80,
];
const PPS: &[u8] = &[0x68, 0xce, 0x0f, 0xc8];
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const VIEWER: Viewer = Viewer { place: 0, connection: 5 };

fn units(list: &[&[u8]]) -> Vec<u8> {
    list.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect()
}

fn h264(sps: &[u8]) -> Codec {
    Codec { extra: Rc::from(units(&[sps, PPS])), ..Codec::new(CodecId::H264) }
}

/// Picture `n`, with something of its own in every byte's place.
fn picture(n: u32, key: bool, len: usize) -> Vec<u8> {
    let mut slice = vec![if key { 0x65 } else { 0x41 }, 0x80];
    slice.extend((0..len as u32).map(|i| (i * 7 + i / 251 + n) as u8 | 1));
    units(&[&slice])
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let late = async {
        Timer::after(Duration::from_secs(60)).await;
        panic!("{what}: nothing for a minute");
    };
    future::or(future, late).await
}

/// A camera with one publisher.
struct Home {
    executor: Rc<LocalExecutor>,
    live: Rc<Live>,
    stream: Rc<Stream>,
    publication: Option<Publication>,
    inlets: Vec<Option<Inlet>>,
    frames: u32,
    from: Time,
}

impl Home {
    fn new(medias: Vec<Media>, half_duplex: bool) -> Home {
        let executor = Rc::new(LocalExecutor::new());
        let hall = Hall::new(executor.clone(), Rc::new(Bounds::usual));
        let stream = hall.set("cam", vec![]).unwrap();
        let count = medias.len();
        let publication = stream.publish(Peer::default(), medias);
        let inlets = (0..count).map(|at| publication.link().inlet(at)).collect();
        let options = Options { streams: vec!["cam".into(), "none".into()], half_duplex };
        let live = Live::new(&hall, options, Rc::default());
        let from = clock::now();
        Home { executor, live, stream, publication: Some(publication), inlets, frames: 0, from }
    }

    fn video() -> Home {
        Home::new(vec![Media::recv(h264(LARGE))], false)
    }

    fn run(&mut self, test: impl AsyncFnOnce(&mut Home)) {
        let executor = self.executor.clone();
        executor.block_on(test(self)).unwrap();
        // nobody is left: the hall holds the executor, and its tasks hold the hall
        self.live.end_all();
        self.publication = None;
        while executor.try_tick() {}
    }

    fn inlet(&mut self, at: usize) -> &mut Inlet {
        self.inlets[at].as_mut().unwrap()
    }

    /// Puts a picture into the track, 40 ms after the one before.
    fn film(&mut self, at: usize, key: bool, len: usize) -> Vec<u8> {
        let unit = picture(self.frames, key, len);
        let time = self.from + Duration::from_millis(40) * self.frames;
        self.frames += 1;
        assert!(self.inlet(at).push(time, key, &unit));
        unit
    }

    fn setup(&self, phone: &mut Phone, viewer: Viewer) -> Result<(), NoEndpoint> {
        let here = phone.theirs.address;
        let (ours, ssrcs) = self.live.setup(viewer, &phone.theirs, here)?;
        assert_eq!((ours.session, ours.address), (phone.theirs.session, here));
        phone.keys = [&ours.video, &ours.audio].map(|s| Receiver::new(&master(s)));
        phone.ports = [ours.video_port, ours.audio_port];
        phone.ssrcs = ssrcs;
        Ok(())
    }
}

fn master(srtp: &Srtp) -> Master {
    Master { key: srtp.key, salt: srtp.salt }
}

#[derive(Default)]
struct Album {
    unit: Vec<u8>,
    extra: Vec<u8>,
    done: Vec<(u32, bool, Vec<u8>)>,
    broken: u32,
}

impl depay::Sink for Album {
    fn extra(&mut self, extra: &[u8]) {
        self.extra = extra.to_vec();
    }
    fn begin(&mut self) {
        self.unit.clear();
    }
    fn append(&mut self, bytes: &[u8]) -> bool {
        self.unit.extend_from_slice(bytes);
        true
    }
    fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.unit[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fn end(&mut self, unit: Unit) {
        self.done.push((unit.rtp_time, unit.key, std::mem::take(&mut self.unit)));
    }
    fn abort(&mut self) {
        self.broken += 1;
    }
}

/// A controller.
struct Phone {
    io: [Async<UdpSocket>; 2],
    theirs: Endpoints,
    locks: [Sender; 2],
    keys: [Receiver; 2],
    ports: [u16; 2],
    ssrcs: [u32; 2],
    depay: Depay,
    album: Album,
    seq: Option<u16>,
    reports: Vec<rtcp::SenderInfo>,
    byes: u32,
}

impl Phone {
    fn new() -> Phone {
        Phone::at(HERE)
    }

    fn at(here: IpAddr) -> Phone {
        let io = [0, 1].map(|_| Async::new(UdpSocket::bind((here, 0)).unwrap()).unwrap());
        let port = |at: usize| io[at].get_ref().local_addr().unwrap().port();
        let srtp = |n| Srtp { key: [n; 16], salt: [n + 1; 14] };
        let theirs = Endpoints {
            session: [9; 16],
            address: here,
            video_port: port(0),
            audio_port: port(1),
            video: srtp(1),
            audio: srtp(3),
        };
        let locks = [&theirs.video, &theirs.audio].map(|s| Sender::new(&master(s)));
        let keys = [&theirs.video, &theirs.audio].map(|s| Receiver::new(&master(s)));
        let depay = Depay::new(&Codec::new(CodecId::H264), &depay::Options::default()).unwrap();
        let (album, reports) = (Album::default(), vec![]);
        Phone {
            io,
            theirs,
            locks,
            keys,
            ports: [0; 2],
            ssrcs: [0; 2],
            depay,
            album,
            seq: None,
            reports,
            byes: 0,
        }
    }

    fn selected(&self, command: Command, size: Option<(u16, u16)>, packet_ms: Option<u8>) -> Selected {
        let size = size.map(|(width, height)| Size { width, height, rate: 30 });
        let rtp = Rtp { payload: Some(99), source: None, bitrate: Some(2000), report_ms: Some(500) };
        let video = Some(Video { profile: Some(2), level: Some(2), size, rtp, mtu: Some(1378) });
        let rtp = Rtp { payload: Some(110), source: None, bitrate: Some(24), report_ms: Some(5000) };
        let audio =
            packet_ms.map(|packet_ms| Audio { codec: 3, rate: 24_000, packet_ms, rtp, comfort_noise: false });
        Selected { session: self.theirs.session, command, video, audio }
    }

    fn start(&self, packet_ms: Option<u8>) -> Selected {
        self.selected(Command::Start, Some((1280, 720)), packet_ms)
    }

    /// The next datagram of one way, unlocked.
    async fn next(&mut self, at: usize) -> Vec<u8> {
        let mut bytes = [0; 2000];
        let (len, from) = within("the phone", self.io[at].recv_from(&mut bytes)).await.unwrap();
        assert_eq!(
            from,
            SocketAddr::from((self.theirs.address, self.ports[at])),
            "sent from where it was said"
        );
        let packet = &mut bytes[..len];
        if is_rtcp(packet[1]) {
            let compound = self.keys[at].rtcp(packet).unwrap().to_vec();
            for part in Compound::new(&compound) {
                match part.unwrap() {
                    rtcp::Packet::SenderReport { ssrc, info, .. } => {
                        assert_eq!(ssrc, self.ssrcs[at]);
                        self.reports.push(info);
                    }
                    rtcp::Packet::Description { cname, .. } => assert!(!cname.is_empty()),
                    rtcp::Packet::Bye { .. } => self.byes += 1,
                    other => panic!("{other:?}"),
                }
            }
            return compound;
        }
        let packet = self.keys[at].rtp(packet).unwrap();
        assert!(packet.len() <= usize::from(LIVE_PACKET));
        packet.to_vec()
    }

    /// Receives until so many pictures are whole.
    async fn watch(&mut self, count: usize) {
        while self.album.done.len() < count {
            let bytes = self.next(0).await;
            if is_rtcp(bytes[1]) {
                continue;
            }
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!((packet.header.payload_type, packet.header.ssrc), (99, self.ssrcs[0]));
            assert!(self.seq.is_none_or(|s| s.wrapping_add(1) == packet.header.seq), "a packet is missing");
            self.seq = Some(packet.header.seq);
            self.depay.push(&packet, &mut self.album).unwrap();
        }
        assert_eq!(self.album.broken, 0);
    }

    /// Sends what it is given, locked.
    fn send(&mut self, at: usize, mut packet: Vec<u8>) -> Vec<u8> {
        if is_rtcp(packet[1]) {
            self.locks[at].rtcp(&mut packet).unwrap();
        } else {
            packet.extend_from_slice(&[0; TAG]);
            self.locks[at].rtp(&mut packet).unwrap();
        }
        self.raw(at, &packet);
        packet
    }

    fn raw(&self, at: usize, bytes: &[u8]) {
        self.io[at].get_ref().send_to(bytes, (self.theirs.address, self.ports[at])).unwrap();
    }
}

/// Lets the tasks run until this is so.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    within(what, async {
        while !so() {
            Timer::after(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[test]
fn a_viewer_gets_every_picture_whole_from_the_first_on() {
    Home::video().run(async |home| {
        let mut sent: Vec<_> = (0..7).map(|n| home.film(0, n == 0, 3000 * (n + 1))).collect();
        let mut phone = Phone::new();
        home.setup(&mut phone, VIEWER).unwrap();
        assert!(home.live.control(VIEWER, &phone.start(None)));
        let first = phone.next(0).await;
        assert!(is_rtcp(first[1]), "a report before the first picture");
        phone.watch(7).await;
        // a key frame of 300 KB is spread, and arrives
        for (key, len) in [(false, 10), (true, 300_000), (false, 1200), (false, 0)] {
            sent.push(home.film(0, key, len));
            phone.watch(sent.len()).await;
        }
        let got: Vec<_> = phone.album.done.iter().map(|(_, _, unit)| unit.clone()).collect();
        assert!(got == sent, "what arrives is what was filmed");
        assert!(phone.album.done[0].1);
        assert_eq!(phone.album.extra, units(&[LARGE, PPS]));
        let times: Vec<u32> = phone.album.done.iter().map(|(t, ..)| *t).collect();
        assert!(times.windows(2).all(|t| (t[1].wrapping_sub(t[0]) as i32) > 0));
        assert_eq!(times[9].wrapping_sub(times[8]), 3600);
        // A report says which RTP time it is by the time of day.
        let (wall, now) = (clock::wall().unwrap(), clock::now());
        let report = phone.reports[0];
        let report_at = now.nanos() as i64 - (wall as i64 - report.ntp.unix_nanos() as i64);
        let last = home.from + Duration::from_millis(400);
        let expected = (report_at - last.nanos() as i64) / 1_000_000 * 90;
        let said = i64::from(report.rtp_time.wrapping_sub(times[10]) as i32);
        assert!((expected - said).abs() < 90_000, "{expected} {said}");
        let stats = &home.live.statistics()[0];
        assert_eq!((stats.phase, stats.refused), (Phase::Live, 0));
        assert_eq!(home.stream.viewers()[0].peer.format, "homekit");
    });
}

#[test]
fn places_are_busy_free_and_left_in_good_order() {
    Home::video().run(async |home| {
        home.film(0, true, 100);
        let mut phone = Phone::new();
        home.setup(&mut phone, VIEWER).unwrap();
        let other = Viewer { place: 0, connection: 6 };
        assert_eq!(home.setup(&mut Phone::new(), other), Err(NoEndpoint::Busy));
        let mut second = Phone::new();
        home.setup(&mut second, Viewer { place: 1, ..other }).unwrap();
        assert!(!home.live.control(other, &phone.start(None)), "not its session");
        let mut wrong = phone.start(None);
        wrong.session = [8; 16];
        assert!(!home.live.control(VIEWER, &wrong));
        assert!(home.live.control(VIEWER, &phone.start(None)));
        phone.watch(1).await;
        assert!(home.live.control(VIEWER, &phone.selected(Command::End, None, None)));
        while phone.byes == 0 {
            phone.next(0).await;
        }
        // The place is free at once, and whoever has not started leaves without a word.
        let mut again = Phone::new();
        home.setup(&mut again, VIEWER).unwrap();
        assert_eq!(home.live.statistics().len(), 2);
        home.live.closed(6);
        home.live.end(VIEWER);
        assert!(home.live.statistics().is_empty());
        until("the viewers", || home.stream.viewers().is_empty()).await;
    });
}

#[test]
fn a_viewer_by_ipv6_gets_the_same() {
    let here = IpAddr::from(std::net::Ipv6Addr::LOCALHOST);
    if UdpSocket::bind((here, 0)).is_err() {
        return;
    }
    Home::video().run(async |home| {
        let sent: Vec<_> = (0..4).map(|n| home.film(0, n == 0, 5000)).collect();
        let mut phone = Phone::at(here);
        home.setup(&mut phone, VIEWER).unwrap();
        assert!(home.live.control(VIEWER, &phone.start(None)));
        phone.watch(4).await;
        assert!(phone.album.done.iter().map(|(.., unit)| unit).eq(&sent));
    });
}

#[test]
fn nobody_new_comes_while_memory_is_short() {
    Home::video().run(async |home| {
        home.film(0, true, 100);
        let mut phone = Phone::new();
        home.setup(&mut phone, VIEWER).unwrap();
        home.live.hall.set_short(true);
        let other = Viewer { place: 1, connection: 6 };
        assert_eq!(home.setup(&mut Phone::new(), other), Err(NoEndpoint::Busy));
        assert!(home.live.control(VIEWER, &phone.start(None)), "who was there goes on");
        phone.watch(1).await;
        home.live.hall.set_short(false);
        home.setup(&mut Phone::new(), other).unwrap();
    });
}

#[test]
fn a_pause_is_silent_and_ends_with_a_whole_picture() {
    Home::video().run(async |home| {
        home.film(0, true, 100);
        let mut phone = Phone::new();
        home.setup(&mut phone, VIEWER).unwrap();
        assert!(!home.live.control(VIEWER, &phone.selected(Command::Suspend, None, None)));
        assert!(home.live.control(VIEWER, &phone.start(None)));
        phone.watch(1).await;
        assert!(home.live.control(VIEWER, &phone.selected(Command::Suspend, None, None)));
        for n in 0..20 {
            home.film(0, n == 10, 2000);
            future::yield_now().await;
        }
        until("the pause", || home.inlets[0].as_ref().is_some_and(|i| !i.wanted())).await;
        assert!(home.live.control(VIEWER, &phone.selected(Command::Resume, None, None)));
        phone.watch(2).await;
        assert_eq!(phone.album.done[1].2, picture(11, true, 2000), "from the newest key frame on");
    });
}

#[test]
fn a_wish_for_a_key_frame_reaches_the_source_once() {
    Home::video().run(async |home| {
        home.film(0, true, 100);
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        home.inlet(0).track().set_ask(Some(Rc::new(move || count.set(count.get() + 1))));
        let mut phone = Phone::new();
        home.setup(&mut phone, VIEWER).unwrap();
        until("the source", || asked.get() == 1).await;
        home.film(0, true, 100);
        assert!(home.live.control(VIEWER, &phone.start(None)));
        phone.watch(1).await;
        let before = asked.get();
        for _ in 0..5 {
            let mut pli = Vec::new();
            rtcp::emit_receiver(&mut pli, 4, &[], "phone");
            rtcp::emit_pli(&mut pli, 4, phone.ssrcs[0]);
            phone.send(0, pli);
        }
        until("the wishes", || home.live.statistics()[0].wishes == 5).await;
        assert!((1..5).contains(&(asked.get() - before)), "{}", asked.get() - before);
    });
}

#[test]
fn another_size_is_another_track_from_its_next_key_frame_on() {
    Home::new(vec![Media::recv(h264(LARGE)), Media::recv(h264(SMALL))], false).run(async |home| {
        let large = home.film(0, true, 5000);
        let mut phone = Phone::new();
        home.setup(&mut phone, VIEWER).unwrap();
        assert!(home.live.control(VIEWER, &phone.start(None)));
        phone.watch(1).await;
        assert_eq!(phone.album.done[0].2, large);
        let smaller = phone.selected(Command::Reconfigure, Some((640, 360)), None);
        assert!(home.live.control(VIEWER, &smaller));
        until("the small track", || home.inlets[1].as_ref().is_some_and(|i| i.wanted())).await;
        let large = home.film(0, false, 1000);
        phone.watch(2).await;
        assert_eq!(phone.album.done[1].2, large, "the old pictures go on until then");
        let small = home.film(1, true, 700);
        phone.watch(3).await;
        assert_eq!(phone.album.done[2].2, small);
        assert_eq!(phone.album.extra, units(&[SMALL, PPS]));
        until("the large track", || home.inlets[0].as_ref().is_some_and(|i| !i.wanted())).await;
        // And one that starts small begins small.
        let mut watch = Phone::new();
        let viewer = Viewer { place: 1, connection: 7 };
        home.setup(&mut watch, viewer).unwrap();
        assert!(home.live.control(viewer, &watch.selected(Command::Start, Some((320, 240)), None)));
        watch.watch(1).await;
        assert_eq!(watch.album.done[0].2, small);
        let sizes = [LARGE, SMALL].map(|sps| {
            let sets = ParameterSets::from_extra(NalCodec::H264, &units(&[sps, PPS]));
            sets.info().map(|i| (i.width, i.height))
        });
        assert_eq!(sizes, [Some((1920, 1080)), Some((640, 360))]);
    });
}

#[test]
fn sound_of_the_source_goes_as_it_is_in_packets_of_the_length_agreed() {
    for (packet_ms, frames) in [(20u8, 1usize), (60, 3)] {
        let medias = vec![Media::recv(h264(LARGE)), Media::recv(Codec::new(CodecId::Opus))];
        Home::new(medias, false).run(async |home| {
            home.film(0, true, 100);
            let mut phone = Phone::new();
            home.setup(&mut phone, VIEWER).unwrap();
            assert!(home.live.control(VIEWER, &phone.start(Some(packet_ms))));
            until("the reader of sound", || home.inlets[1].as_ref().is_some_and(|i| i.wanted())).await;
            let from = clock::now();
            let (mut times, mut got) = (Vec::new(), Vec::new());
            for n in 0..30u8 {
                // wideband speech of 20 ms
                let packet = [&[9 << 3][..], &[n; 40]].concat();
                home.inlet(1).push(from + Duration::from_millis(20) * u32::from(n), true, &packet);
                if (n as usize + 1).is_multiple_of(frames) {
                    let bytes = loop {
                        let bytes = phone.next(1).await;
                        if !is_rtcp(bytes[1]) {
                            break bytes;
                        }
                    };
                    let packet = Packet::parse(&bytes).unwrap();
                    assert_eq!((packet.header.payload_type, packet.header.ssrc), (110, phone.ssrcs[1]));
                    times.push(packet.header.timestamp);
                    opus::frames(packet.payload, &mut |f| got.push(f.to_vec())).unwrap();
                }
            }
            let step = 24 * u32::from(packet_ms);
            assert!(times.windows(2).all(|t| t[1].wrapping_sub(t[0]) == step), "{times:?}");
            assert_eq!(got, (0..30u8).map(|n| vec![n; 40]).collect::<Vec<_>>());
            // Muted sound is not sent, and time goes on.
            home.live.set_microphone(true);
            for n in 30..33u32 {
                home.inlet(1).push(from + Duration::from_millis(20) * n, true, &[9 << 3, 1, 2]);
            }
            let read = home.stream.viewers()[0].clone();
            until("the muted sound", || read.stats.frames.get() >= 34).await;
            home.live.set_microphone(false);
            for n in 33..36u32 {
                home.inlet(1).push(from + Duration::from_millis(20) * n, true, &[9 << 3, 7, 2]);
            }
            let bytes = phone.next(1).await;
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(packet.header.timestamp.wrapping_sub(times[0]), 33 * 480);
            assert!(packet.header.marker && packet.payload.contains(&7));
        });
    }
}

#[cfg(feature = "opus")]
#[test]
fn sound_of_another_codec_becomes_opus() {
    let pcma = Codec::audio(CodecId::Pcma, 8000, 1);
    Home::new(vec![Media::recv(h264(LARGE)), Media::recv(pcma)], false).run(async |home| {
        home.film(0, true, 100);
        let mut phone = Phone::new();
        home.setup(&mut phone, VIEWER).unwrap();
        assert!(home.live.control(VIEWER, &phone.start(Some(20))));
        until("the reader of sound", || home.inlets[1].as_ref().is_some_and(|i| i.wanted())).await;
        let from = clock::now();
        let mut decoder = crate::media::encode::Decoder::opus(24_000, 1).unwrap();
        let mut room = vec![0; decoder.max_samples()];
        let (mut times, mut n) = (Vec::new(), 0);
        while times.len() < 20 {
            let said = [0xd5; 160];
            home.inlet(1).push(from + Duration::from_millis(20) * n, true, &said);
            n += 1;
            // the encoder keeps some samples back at first
            if n > 3 {
                let bytes = phone.next(1).await;
                if !is_rtcp(bytes[1]) {
                    let packet = Packet::parse(&bytes).unwrap();
                    assert_eq!(decoder.decode(packet.payload, &mut room), Ok(480));
                    times.push(packet.header.timestamp);
                }
            }
        }
        assert!(times.windows(2).all(|t| t[1].wrapping_sub(t[0]) == 480), "{times:?}");
    });
}

#[test]
fn sound_that_cannot_be_made_leaves_the_pictures_alone() {
    let aac = Codec::audio(CodecId::Mpa, 90_000, 1);
    Home::new(vec![Media::recv(h264(LARGE)), Media::recv(aac)], false).run(async |home| {
        let mut sent = vec![home.film(0, true, 100)];
        let mut phone = Phone::new();
        home.setup(&mut phone, VIEWER).unwrap();
        assert!(home.live.control(VIEWER, &phone.start(Some(20))));
        for _ in 0..10 {
            phone.watch(sent.len()).await;
            sent.push(home.film(0, false, 100));
        }
        assert_eq!(home.live.statistics()[0].sent[1], (0, 0));
    });
}

/// Packets of a tone.
#[cfg(feature = "opus")]
fn voice(count: u32) -> Vec<Vec<u8>> {
    let mut encoder = crate::media::encode::Encoder::opus(24_000, 1, 24_000, 20).unwrap();
    let tone = crate::media::encode::tests::tone(24_000, 1, 440.0, 480 * count as usize);
    let mut packets = Vec::new();
    encoder.encode(&tone, &mut |p| packets.push(p.data.to_vec())).unwrap();
    packets
}

#[cfg(feature = "opus")]
#[test]
fn what_a_viewer_says_is_heard_and_what_others_send_is_not() {
    let speaker = Media::speaker(vec![Codec::audio(CodecId::Pcma, 8000, 1)]);
    let medias = vec![Media::recv(h264(LARGE)), Media::recv(Codec::new(CodecId::Opus)), speaker];
    Home::new(medias, true).run(async |home| {
        home.film(0, true, 100);
        let mut heard = home.publication.as_ref().unwrap().link().speaker(2).unwrap();
        let mut phone = Phone::new();
        home.setup(&mut phone, VIEWER).unwrap();
        assert!(home.live.control(VIEWER, &phone.start(Some(20))));
        phone.watch(1).await;
        let mut rng = Rng::new(8);
        let header = |seq: u16| {
            let header = crate::net::rtp::Header {
                marker: false,
                payload_type: 110,
                seq,
                timestamp: u32::from(seq) * 480,
                ssrc: 1234,
            };
            header.emit().to_vec()
        };
        let packets = voice(40);
        let (mut samples, mut refused) = (0, 0);
        for (n, opus) in packets.iter().enumerate() {
            let wire = phone.send(1, [header(60_000 + n as u16), opus.clone()].concat());
            // Again, damaged, cut, of another key, and noise.
            phone.raw(1, &wire);
            let mut bad = wire.clone();
            bad[rng.below(wire.len())] ^= 4;
            phone.raw(1, &bad);
            phone.raw(1, &wire[..rng.below(wire.len())]);
            let mut other = [header(n as u16), opus.clone(), vec![0; TAG]].concat();
            Sender::new(&Master { key: [77; 16], salt: [7; 14] }).rtp(&mut other).unwrap();
            phone.raw(1, &other);
            phone.raw(0, &other);
            let mut noise = vec![0; rng.below(1600)];
            rng.fill(&mut noise);
            phone.raw(0, &noise);
            refused += 5;
            while samples < (n + 1) * 160 {
                match within("the speaker", heard.next()).await {
                    Step::Frame(at) => {
                        samples += heard.frame(at).unwrap().data.len();
                        heard.done(at);
                    }
                    Step::Codec(_, codec) => assert_eq!(codec.id, CodecId::Pcma),
                    Step::Closed(why) => panic!("{why:?}"),
                }
            }
        }
        assert_eq!(samples, 40 * 160);
        until("the refusals", || home.live.statistics()[0].refused + 120 > refused).await;
        let stats = &home.live.statistics()[0];
        assert_eq!(stats.said, 40);
        // Pictures have not suffered; the microphone was silent meanwhile.
        let count = phone.album.done.len();
        home.inlet(1).push(clock::now(), true, &[9 << 3, 1, 2]);
        home.film(0, false, 5000);
        phone.watch(count + 1).await;
        assert_eq!(home.live.statistics()[0].sent[1].0, 0);
        // And one who is muted is not heard.
        home.live.set_speaker(true, 50);
        phone.send(1, [header(61_000), packets[3].clone()].concat());
        home.live.set_speaker(false, 50);
        let mut report = Vec::new();
        rtcp::emit_receiver(&mut report, 4, &[], "phone");
        phone.send(1, report);
        assert_eq!(home.live.statistics()[0].said, 40);
    });
}

#[test]
fn whoever_watches_a_source_that_is_gone_is_told() {
    Home::video().run(async |home| {
        home.film(0, true, 100);
        let told = Rc::new(RefCell::new(Vec::new()));
        let (list, live) = (told.clone(), Rc::downgrade(&home.live));
        home.live.on_end(Rc::new(move |viewer| {
            // it may be asked about at once
            assert!(live.upgrade().is_some_and(|l| l.statistics().is_empty()));
            list.borrow_mut().push(viewer);
        }));
        let mut phone = Phone::new();
        home.setup(&mut phone, VIEWER).unwrap();
        assert!(home.live.control(VIEWER, &phone.start(None)));
        phone.watch(1).await;
        let id = home.stream.viewers()[0].id;
        assert!(home.stream.kick(id));
        until("the end", || !told.borrow().is_empty()).await;
        assert_eq!(*told.borrow(), [VIEWER]);
        while phone.byes == 0 {
            phone.next(0).await;
        }
    });
}

#[test]
fn a_publisher_that_comes_back_is_seen_again() {
    Home::video().run(async |home| {
        home.film(0, true, 100);
        let mut phone = Phone::new();
        home.setup(&mut phone, VIEWER).unwrap();
        assert!(home.live.control(VIEWER, &phone.start(None)));
        phone.watch(1).await;
        home.inlets.clear();
        home.publication = None;
        let again = home.stream.publish(Peer::default(), vec![Media::recv(h264(SMALL))]);
        home.inlets.push(again.link().inlet(0));
        home.publication = Some(again);
        let unit = home.film(0, true, 900);
        phone.watch(2).await;
        assert_eq!(phone.album.done[1].2, unit);
    });
}
