//! Hubs that record a camera, over real sockets and on a clock that stands still until the test lets time
//! pass: two hundred recordings last as long as it takes to send them.

use super::*;
use crate::homekit::database::iid;
use crate::homekit::hds::server::DataStreams;
use crate::homekit::hds::session::testing::Hub;
use crate::homekit::hds::value;
use crate::homekit::tlv8::Writer;
use crate::media::Media;
use crate::media::aac::AudioConfig;
use crate::net::clock::testing::{pass, stop};
use crate::net::executor::LocalExecutor;
use crate::net::heap;
use crate::stream::{Bounds, Inlet, Publication};
use futures_lite::future::yield_now;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const SHARED: [u8; 32] = [1; 32];
const OURS: [u8; 32] = [3; 32];
/// 1920 by 1080.
const SPS: &[u8] =
    b"\x67\x42\xc0\x28\xd9\x00\x78\x02\x27\xe5\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xc8\x3c\x60\xc9\x20";
const PPS: &[u8] = &[0x68, 0xce, 0x0f, 0xc8];
/// Between pictures, and what a frame of sound lasts at 8 kHz.
const PICTURE: Duration = Duration::from_millis(100);
const SOUND: Duration = Duration::from_millis(128);
/// Of the real clock, whatever the machine does meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

fn nals(list: &[&[u8]]) -> Vec<u8> {
    list.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect()
}

fn selection() -> Value {
    let container = Writer::new().u8(1, 0).nest(2, Writer::new().u32(1, 4000));
    let general = Writer::new().u32(1, 4000).u64(2, 1).nest(3, container);
    let parameters = Writer::new().u8(1, 2).u8(2, 2).u32(3, 2000).u32(4, 4000);
    let size = Writer::new().u16(1, 1920).u16(2, 1080).u8(3, 30);
    let video = Writer::new().u8(1, 0).nest(2, parameters).nest(3, size);
    let sound = Writer::new().u8(1, 0).nest(2, Writer::new().u8(1, 1).u8(2, 0).u8(3, 3).u32(4, 64));
    Value::Bytes(Writer::new().nest(1, general).nest(2, video).nest(3, sound).finish())
}

/// A camera of ten pictures a second, with its recordings and their port.
struct Camera {
    executor: Rc<LocalExecutor>,
    recording: Rc<Recording>,
    server: Rc<DataStreams>,
    publication: Option<Publication>,
    inlets: Vec<Inlet>,
    begun: Time,
    pictures: u32,
    said: u32,
    /// Pictures from one key frame to the next, and bytes of a key frame.
    gop: u32,
    key: usize,
}

impl Camera {
    fn new() -> Camera {
        let executor = Rc::new(LocalExecutor::new());
        let hall = Hall::new(executor.clone(), Rc::new(Bounds::usual));
        let stream = hall.set("cam", vec![]).unwrap();
        let mut config = [0; AudioConfig::MAX];
        let len = AudioConfig::lc(8000, 1).emit(&mut config).unwrap();
        let medias = vec![
            Media::recv(Codec { extra: Rc::from(nals(&[SPS, PPS])), ..Codec::new(CodecId::H264) }),
            Media::recv(Codec { extra: Rc::from(&config[..len]), ..Codec::audio(CodecId::Aac, 8000, 1) }),
        ];
        let publication = stream.publish(Peer::default(), medias);
        let inlets = (0..2).map(|at| publication.link().inlet(at).unwrap()).collect();
        let recording = Recording::new(&hall, "cam");
        let server = DataStreams::new(executor.clone(), Rc::new(recording.clone()));
        Camera {
            executor,
            recording,
            server,
            publication: Some(publication),
            inlets,
            begun: clock::now(),
            pictures: 0,
            said: 0,
            gop: 10,
            key: 3000,
        }
    }

    fn arm(&self) {
        self.recording.set(iid::OPERATING + 1, &Value::Int(1));
        self.recording.set(iid::RECORDING + 5, &selection());
        self.recording.set(iid::RECORDING + 6, &Value::Int(1));
        self.recording.set(iid::RECORDING + 1, &Value::Int(1));
        assert!(self.recording.is_armed());
    }

    /// Makes what is due by now, and lets everybody do what there is to do.
    fn turn(&mut self) {
        let now = clock::now();
        while self.begun + PICTURE * self.pictures <= now {
            let key = self.pictures.is_multiple_of(self.gop);
            let mut slice = vec![self.pictures as u8 | 1; if key { self.key } else { 300 }];
            slice[0] = if key { 0x65 } else { 0x41 };
            self.inlets[0].push(self.begun + PICTURE * self.pictures, key, &nals(&[&slice]));
            self.pictures += 1;
        }
        while self.begun + SOUND * self.said <= now {
            self.inlets[1].push(self.begun + SOUND * self.said, true, &[7; 60]);
            self.said += 1;
        }
        self.executor.block_on(yield_now()).unwrap();
    }

    fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / PICTURE.as_millis() {
            pass(PICTURE);
            (0..3).for_each(|_| self.turn());
        }
    }

    fn until(&mut self, what: &str, mut so: impl FnMut(&Camera) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !so(self) {
            self.turn();
            assert!(Instant::now() < end, "waited in vain: {what}");
        }
    }

    /// A hub that has agreed on keys, has connected and greeted.
    fn hub(&mut self, salt: u8) -> Watcher {
        let port = self.server.expect(u32::from(salt), &SHARED, &[salt; 32], &OURS).unwrap();
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let hub = Hub::new(&SHARED, &[salt; 32], &OURS);
        let mut peer = Watcher { socket, hub, heard: Vec::with_capacity(4 << 20) };
        let hello = peer.hub.hello();
        peer.say(&hello);
        assert_eq!(peer.hear(self, Duration::ZERO), Word::Answer(0, None));
        peer
    }

    fn end(mut self) {
        self.server.stop();
        self.recording.set(iid::RECORDING + 1, &Value::Int(0));
        self.publication = None;
        while self.executor.try_tick() {}
    }
}

/// A hub's end of a data stream.
struct Watcher {
    socket: TcpStream,
    hub: Hub,
    heard: Vec<u8>,
}

/// What it hears: of a part its segment, its first bytes and how many it has, and whether it is the last.
#[derive(Debug, PartialEq)]
enum Word {
    Answer(i64, Option<i64>),
    Part { segment: i64, head: Vec<u8>, len: usize, last: bool },
    Close(i64),
    Gone,
}

/// Of a part.
const HEAD: usize = 96;

fn word(header: &value::Value<'_>, message: &value::Value<'_>) -> Word {
    if header.text("response").is_some() {
        return Word::Answer(header.int("status").unwrap(), message.int("status"));
    }
    if header.text("event") == Some("close") {
        return Word::Close(message.int("reason").unwrap());
    }
    let Some(value::Value::Array(packets)) = message.get("packets") else { panic!("{message:?}") };
    let about = packets[0].get("metadata").unwrap();
    let Some(value::Value::Data(data)) = packets[0].get("data") else { panic!("{packets:?}") };
    Word::Part {
        segment: about.int("dataSequenceNumber").unwrap(),
        head: data[..data.len().min(HEAD)].to_vec(),
        len: data.len(),
        last: about.get("isLastDataChunk") == Some(&value::Value::Bool(true)),
    }
}

impl Watcher {
    fn say(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    fn try_hear(&mut self) -> Option<Word> {
        let heard =
            self.hub.hear(&mut self.heard).map(|(header, message, len)| (word(&header, &message), len));
        if let Some((word, len)) = heard {
            self.heard.drain(..len);
            return Some(word);
        }
        let mut buffer = [0; 65536];
        match self.socket.read(&mut buffer) {
            Ok(0) => return Some(Word::Gone),
            Ok(n) => self.heard.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return Some(Word::Gone),
            Err(e) => panic!("{e}"),
        }
        self.try_hear()
    }

    /// The next word; as long as there is none, up to this much time passes.
    fn hear(&mut self, camera: &mut Camera, most: Duration) -> Word {
        let (end, mut passed) = (Instant::now() + PATIENCE, Duration::ZERO);
        loop {
            for _ in 0..5 {
                if let Some(word) = self.try_hear() {
                    return word;
                }
                camera.turn();
            }
            if passed < most {
                pass(PICTURE);
                passed += PICTURE;
            }
            assert!(Instant::now() < end, "the hub hears nothing");
        }
    }

    fn open(&mut self, camera: &mut Camera, stream: i64) -> Word {
        let open = self.hub.open(stream);
        self.say(&open);
        self.hear(camera, Duration::ZERO)
    }

    fn close(&mut self, camera: &mut Camera, stream: i64) {
        let close = self.hub.close(stream, 0);
        self.say(&close);
        camera.until("the recording to end", |camera| !camera.recording.is_recording());
    }

    /// A whole segment: its first bytes, and how long it is.
    fn segment(&mut self, camera: &mut Camera, expected: i64, most: Duration) -> (Vec<u8>, usize) {
        let (mut first, mut whole) = (None, 0);
        loop {
            let said = self.hear(camera, most);
            let Word::Part { segment, head, len, last } = said else { panic!("{expected}: {said:?}") };
            assert_eq!(segment, expected);
            whole += len;
            first.get_or_insert(head);
            if last {
                return (first.unwrap(), whole);
            }
        }
    }

    /// A recording of so many fragments, looked at from outside.
    fn record(&mut self, camera: &mut Camera, stream: i64, fragments: i64) {
        assert_eq!(self.open(camera, stream), Word::Answer(0, Some(0)), "recording {stream}");
        let (init, _) = self.segment(camera, 1, Duration::ZERO);
        assert_eq!(&init[4..8], b"ftyp");
        for fragment in 1..=fragments {
            // what was before the event is there at once; up to five seconds go by until the next
            let most = Duration::from_millis(if fragment == 1 { 300 } else { 4900 });
            let (head, _) = self.segment(camera, fragment + 1, most);
            let u32_at = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
            assert_eq!((&head[4..8], i64::from(u32_at(20))), (&b"moof"[..], fragment));
            // the pictures' time of decoding goes on where the last one ended
            assert_eq!(u32_at(8 + 16 + 40), (fragment as u32 - 1) * 4 * 90_000);
        }
    }
}

/// Nothing of a recording stays behind when it is over, and none takes more than the one before.
#[test]
fn two_hundred_recordings_in_a_row_take_the_memory_of_one() {
    let _stopped = stop();
    let mut camera = Camera::new();
    camera.arm();
    camera.pass(Duration::from_secs(30));
    let mut hub = camera.hub(0);
    let mut other = camera.hub(1);
    let [mut held, mut most] = [0; 2].map(|_| Vec::with_capacity(200));
    for n in 0..200 {
        let before = heap::held();
        heap::most();
        hub.record(&mut camera, n, 2 + n % 2);
        if n % 40 == 7 {
            assert_eq!(other.open(&mut camera, n), Word::Answer(6, Some(2)), "one at a time");
        }
        hub.close(&mut camera, n);
        most.push(heap::most() - before);
        camera.pass(Duration::from_millis(500 + 300 * (n as u64 % 5)));
        held.push(heap::held());
        if n % 50 == 49 {
            // a hub that goes without a word is no reason to be busy for ever
            assert_eq!(hub.open(&mut camera, 1000), Word::Answer(0, Some(0)));
            drop(hub);
            camera.until("its recording to be given up", |camera| !camera.recording.is_recording());
            hub = camera.hub(0);
        }
    }
    let stats = camera.recording.stats();
    assert_eq!((stats.opened, stats.refused), (204, 5));
    assert!(stats.fragments >= 500, "{}", stats.fragments);
    let (early, late) = (held[10..60].iter().max(), held[150..].iter().max());
    let flat = early.zip(late).is_some_and(|(early, late)| *late <= early + 256);
    assert!(flat, "bytes held between recordings: {early:?}, later {late:?}");
    let largest = most.iter().max().unwrap();
    assert!(*largest <= 320 << 10, "a recording takes {largest} bytes beside the ring");
    camera.end();
}

/// The same five times as time goes by.
#[test]
fn five_recordings_in_a_row_as_time_goes_by() {
    let mut camera = Camera::new();
    // it has been running for a while
    camera.begun = camera.begun.before(Duration::from_secs(12));
    camera.arm();
    camera.until("the tracks to be held", |camera| camera.recording.tracks.borrow().is_some());
    let mut hub = camera.hub(0);
    for stream in 1..=5 {
        hub.record(&mut camera, stream, if stream == 3 { 2 } else { 1 });
        hub.close(&mut camera, stream);
    }
    assert_eq!(camera.recording.stats().opened, 5);
    camera.end();
}

/// A hub that stops reading is cut off after a while; the camera goes on, and the next one gets its clip.
#[test]
fn a_hub_that_stops_reading_holds_up_nobody() {
    let _stopped = stop();
    let mut camera = Camera::new();
    camera.key = 300_000;
    camera.arm();
    camera.pass(Duration::from_secs(12));
    let mut hub = camera.hub(0);
    let open = hub.hub.open(1);
    hub.say(&open);
    camera.until("the recording", |camera| camera.recording.is_recording());
    camera.pass(Duration::from_secs(9));
    assert_eq!(camera.server.stats().stuck, 0, "it may be slow");
    // the system may have taken the last of its bytes late
    let end = Instant::now() + PATIENCE;
    while camera.server.stats().stuck == 0 {
        camera.pass(Duration::from_secs(1));
        assert!(Instant::now() < end, "it is never given up");
    }
    let count = camera.pictures;
    assert!(!camera.recording.is_recording());
    camera.pass(Duration::from_secs(5));
    assert_eq!(camera.pictures, count + 50);
    let mut next = camera.hub(1);
    next.record(&mut camera, 1, 2);
    next.close(&mut camera, 1);
    drop(hub);
    camera.end();
}

/// What an owner is told when nothing can be recorded, and that it is told no longer once it can.
#[test]
fn key_frames_too_far_apart_are_named() {
    let _stopped = stop();
    let mut camera = Camera::new();
    camera.gop = 80;
    camera.arm();
    camera.pass(Duration::from_secs(20));
    let trouble = camera.recording.trouble().unwrap();
    assert!(trouble.contains("more than 5 seconds apart, and it cannot be asked"), "{trouble}");
    let mut hub = camera.hub(0);
    assert_eq!(hub.open(&mut camera, 1), Word::Answer(6, Some(4)), "unsupported");
    camera.gop = 40;
    camera.pass(Duration::from_secs(70));
    assert_eq!(camera.recording.trouble(), None);
    hub.record(&mut camera, 2, 2);
    camera.end();
}

#[test]
fn a_source_without_key_frames_is_named() {
    let _stopped = stop();
    let mut camera = Camera::new();
    camera.arm();
    // it stands still
    camera.pictures = u32::MAX / 1000;
    camera.said = u32::MAX / 1000;
    camera.pass(Duration::from_secs(1));
    let mut hub = camera.hub(0);
    assert_eq!(hub.open(&mut camera, 1), Word::Answer(0, Some(0)));
    assert_eq!(hub.hear(&mut camera, Duration::from_secs(8)), Word::Close(6));
    assert_eq!(camera.recording.trouble().as_deref(), Some("no key frame has come in time"));
    camera.end();
}

/// Before anybody records, it is known what could be recorded; the source is let go then.
#[test]
fn it_is_learnt_what_the_source_gives() {
    let _stopped = stop();
    let mut camera = Camera::new();
    let told = Rc::new(RefCell::new(Vec::new()));
    let tell = told.clone();
    camera.recording.on_source(Rc::new(move |source| tell.borrow_mut().push(source)));
    let stream = camera.recording.hall.get("cam").unwrap();
    camera.recording.learn();
    camera.pass(Duration::from_millis(500));
    assert_eq!((told.borrow().len(), stream.viewers().len()), (0, 1));
    camera.pass(Duration::from_secs(2));
    // 1920 by 1080, baseline, level 4.0, ten a second
    let expected = [Source::new(1920, 1080, [66, 0xc0, 40], 100)];
    assert_eq!((&told.borrow()[..], stream.viewers().len()), (&expected[..], 0));
    camera.arm();
    camera.pass(Duration::from_secs(20));
    assert_eq!(told.borrow().len(), 1, "nothing is told twice");
    drop(stream);
    camera.end();
}

/// A switch that is off refuses, and ends what is being recorded; each is free again at once.
#[test]
fn every_switch_is_obeyed() {
    let _stopped = stop();
    let mut camera = Camera::new();
    camera.arm();
    camera.pass(Duration::from_secs(12));
    let mut hub = camera.hub(0);
    let switches = [(iid::OPERATING + 1, 1), (iid::OPERATING + 7, 0), (iid::RECORDING + 1, 1)];
    for (stream, (switch, on)) in (1..).step_by(3).zip(switches) {
        assert_eq!(hub.open(&mut camera, stream), Word::Answer(0, Some(0)));
        hub.segment(&mut camera, 1, Duration::ZERO);
        hub.segment(&mut camera, 2, Duration::from_millis(300));
        camera.recording.set(switch, &Value::Int(1 - on));
        assert!(!camera.recording.is_armed(), "what nobody may record keeps no source running");
        assert_eq!(hub.hear(&mut camera, Duration::ZERO), Word::Close(1), "{switch}");
        assert_eq!(hub.open(&mut camera, stream + 1), Word::Answer(6, Some(1)));
        camera.recording.set(switch, &Value::Int(on));
        camera.pass(Duration::from_secs(10));
        hub.record(&mut camera, stream + 2, 1);
        hub.close(&mut camera, stream + 2);
    }
    camera.recording.set(iid::RECORDING + 5, &Value::Null);
    assert_eq!(hub.open(&mut camera, 100), Word::Answer(6, Some(9)), "nothing was chosen");
    camera.end();
}
