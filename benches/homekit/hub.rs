//! A hub on another thread that asks a camera of 2 Mbit/s for recordings, one after another, with the seconds
//! before the event at hand: how long it waits for the file's beginning and for the first fragment, and what
//! each recording takes from the heap beside the ring.

use crate::live::{KEY, PICTURE, PPS, SPS, unit};
use crate::{HELD, MOST};
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use streamd::homekit::accessory::Value;
use streamd::homekit::crypto::{Cipher, TAG, hkdf};
use streamd::homekit::database::iid;
use streamd::homekit::hds::frame::HEAD;
use streamd::homekit::hds::server::DataStreams;
use streamd::homekit::hds::value::{self, Writer};
use streamd::homekit::recording::Recording;
use streamd::homekit::tlv8;
use streamd::media::aac::AudioConfig;
use streamd::media::{Codec, CodecId, Media};
use streamd::net::clock;
use streamd::net::executor::LocalExecutor;
use streamd::net::reactor::Timer;
use streamd::stream::{Bounds, Hall, Peer};

const PERIOD: Duration = Duration::from_millis(40);
const SOUND: Duration = Duration::from_millis(32);
/// Pictures from one key frame to the next.
const GOP: u32 = 50;

/// What a hub writes when somebody chooses "Stream & Allow Recording".
fn selection() -> Value {
    let container = tlv8::Writer::new().u8(1, 0).nest(2, tlv8::Writer::new().u32(1, 4000));
    let general = tlv8::Writer::new().u32(1, 4000).u64(2, 1).nest(3, container);
    let parameters = tlv8::Writer::new().u8(1, 2).u8(2, 2).u32(3, 2000).u32(4, 4000);
    let size = tlv8::Writer::new().u16(1, 1920).u16(2, 1080).u8(3, 30);
    let video = tlv8::Writer::new().u8(1, 0).nest(2, parameters).nest(3, size);
    let parameters = tlv8::Writer::new().u8(1, 1).u8(2, 0).u8(3, 3).u32(4, 64);
    let sound = tlv8::Writer::new().u8(1, 0).nest(2, parameters);
    Value::Bytes(tlv8::Writer::new().nest(1, general).nest(2, video).nest(3, sound).finish())
}

/// A hub's end; it decrypts what it hears in one buffer.
struct Hub {
    socket: TcpStream,
    outward: Cipher,
    sent: u64,
    inward: Cipher,
    received: u64,
    buffer: Vec<u8>,
}

impl Hub {
    fn new(port: u16) -> Hub {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        let salt = [[2; 32], [3; 32]].concat();
        let cipher = |info: &[u8]| Cipher::new(&hkdf(&[1; 32], &salt, info));
        Hub {
            socket,
            outward: cipher(b"HDS-Write-Encryption-Key"),
            sent: 0,
            inward: cipher(b"HDS-Read-Encryption-Key"),
            received: 0,
            buffer: vec![0; 1 << 20],
        }
    }

    fn say(&mut self, topic: (&str, &str, &str), message: &value::Value<'_>) {
        use value::Value::{Dict, Int, Text};
        let mut pairs = vec![("protocol", Text(topic.0)), (topic.1, Text(topic.2))];
        pairs.extend((topic.1 == "request").then_some(("id", Int(7))));
        let (mut head, mut frame) = (Vec::new(), vec![0; HEAD]);
        Dict(pairs).write(&mut Writer(&mut head));
        frame.push(head.len() as u8);
        frame.extend(head);
        message.write(&mut Writer(&mut frame));
        let (head, payload) = frame.split_at_mut(HEAD);
        head.copy_from_slice(&(payload.len() as u32 | 1 << 24).to_be_bytes());
        let tag = self.outward.seal(self.sent, head, payload).unwrap();
        self.sent += 1;
        frame.extend(tag);
        self.socket.write_all(&frame).unwrap();
    }

    /// The next message: of a recording's part its segment, and whether it is the last.
    fn hear(&mut self) -> Option<(i64, bool)> {
        let mut head = [0; HEAD];
        self.socket.read_exact(&mut head).unwrap();
        let len = u32::from_be_bytes(head) as usize & 0xff_ffff;
        self.socket.read_exact(&mut self.buffer[..len + TAG]).unwrap();
        let (payload, rest) = self.buffer.split_at_mut(len);
        assert!(self.inward.open(self.received, &head, payload, rest[..TAG].try_into().unwrap()));
        self.received += 1;
        let message = value::Value::parse(&payload[1 + usize::from(payload[0])..]).unwrap();
        let Some(value::Value::Array(packets)) = message.get("packets") else { return None };
        let about = packets[0].get("metadata").unwrap();
        let last = about.get("isLastDataChunk") == Some(&value::Value::Bool(true));
        Some((about.int("dataSequenceNumber").unwrap(), last))
    }

    fn segment(&mut self, number: i64) {
        while self.hear() != Some((number, true)) {}
    }
}

/// What each recording took: microseconds to the beginning and to the first fragment, and bytes.
fn record(port: u16, times: i64) -> Vec<[u64; 3]> {
    use value::Value::{Dict, Int, Text};
    let mut hub = Hub::new(port);
    hub.say(("control", "request", "hello"), &Dict(vec![]));
    hub.hear();
    let mut seen = Vec::new();
    for stream in 1..=times {
        std::thread::sleep(Duration::from_millis(300));
        let held = HELD.load(Relaxed);
        MOST.store(held, Relaxed);
        let begun = Instant::now();
        let open = [
            ("target", Text("controller")),
            ("type", Text("ipcamera.recording")),
            ("streamId", Int(stream)),
            ("reason", Text("recording")),
        ];
        hub.say(("dataSend", "request", "open"), &Dict(open.into()));
        hub.segment(1);
        let init = begun.elapsed();
        hub.segment(2);
        let fragment = begun.elapsed();
        seen.push([
            init.as_micros() as u64,
            fragment.as_micros() as u64,
            MOST.load(Relaxed).saturating_sub(held) as u64,
        ]);
        let close = Dict(vec![("streamId", Int(stream)), ("reason", Int(0))]);
        hub.say(("dataSend", "event", "close"), &close);
    }
    seen
}

pub fn measure(times: u32) {
    let executor = Rc::new(LocalExecutor::new());
    let hall = Hall::new(executor.clone(), Rc::new(Bounds::usual));
    let stream = hall.set("cam", vec![]).unwrap();
    let mut config = [0; AudioConfig::MAX];
    let len = AudioConfig::lc(32_000, 1).emit(&mut config).unwrap();
    let medias = vec![
        Media::recv(Codec { extra: Rc::from(unit(&[SPS, PPS])), ..Codec::new(CodecId::H264) }),
        Media::recv(Codec { extra: Rc::from(&config[..len]), ..Codec::audio(CodecId::Aac, 32_000, 1) }),
    ];
    let publication = stream.publish(Peer::default(), medias);
    let mut inlets: Vec<_> = (0..2).map(|at| publication.link().inlet(at).unwrap()).collect();
    let recording = Recording::new(&hall, "cam");
    let server = DataStreams::new(executor.clone(), Rc::new(recording.clone()));
    recording.set(iid::OPERATING + 1, &Value::Int(1));
    recording.set(iid::RECORDING + 5, &selection());
    recording.set(iid::RECORDING + 6, &Value::Int(1));
    recording.set(iid::RECORDING + 1, &Value::Int(1));
    let slice = |kind, len| unit(&[&[&[kind][..], &vec![0x5a; len]].concat()]);
    let (key, picture, sound) = (slice(0x65, KEY), slice(0x41, PICTURE), [7; 180]);
    let port = server.expect(1, &[1; 32], &[2; 32], &[3; 32]).unwrap();
    let seen = executor
        .block_on(async {
            // the stream is attached to before there is anything in it
            Timer::after(Duration::from_millis(100)).await;
            let begun = clock::now().before(Duration::from_secs(12));
            let (mut pictures, mut said) = (0u32, 0u32);
            let thread = std::thread::spawn(move || record(port, times.into()));
            while !thread.is_finished() {
                let now = clock::now();
                while begun + PERIOD * pictures <= now {
                    let is_key = pictures.is_multiple_of(GOP);
                    inlets[0].push(begun + PERIOD * pictures, is_key, if is_key { &key } else { &picture });
                    pictures += 1;
                }
                while begun + SOUND * said <= now {
                    inlets[1].push(begun + SOUND * said, true, &sound);
                    said += 1;
                }
                Timer::after(Duration::from_millis(5)).await;
            }
            thread.join().unwrap()
        })
        .unwrap();
    let of = |at: usize| {
        let mut all: Vec<u64> = seen.iter().map(|s| s[at]).collect();
        all.sort_unstable();
        (all[all.len() / 2], all[all.len() - 1])
    };
    let (init, fragment, bytes) = (of(0), of(1), of(2).1);
    println!(
        "init_us={} init_max={} fragment_us={} fragment_max={} recording_bytes={bytes}",
        init.0, init.1, fragment.0, fragment.1
    );
}
