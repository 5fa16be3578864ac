//! Hubs at the port of data streams, with sockets and without a camera.

use super::super::session::testing::Hub;
use super::super::value::Value;
use super::*;
use crate::net::executor::LocalExecutor;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const SHARED: Key = [1; 32];
const OURS: Key = [3; 32];

/// A film of these segments, whose bytes count up.
struct Film {
    segments: VecDeque<usize>,
    next: u8,
    over: Rc<Cell<Option<Reason>>>,
    /// It ends by itself, and does not wait for the hub.
    ends: bool,
    shop: Rc<Shop>,
}

#[derive(Default)]
struct Shop {
    segments: Vec<usize>,
    ends: bool,
    over: Rc<Cell<Option<Reason>>>,
    busy: Cell<bool>,
    sold: Cell<u32>,
    /// Bytes are lost on the way from this film on.
    lossy: bool,
}

struct Shelf(Rc<Shop>);

impl Reels for Shelf {
    fn open(&self) -> Result<Box<dyn Reel>, Reason> {
        let shop = &self.0;
        if shop.busy.replace(true) {
            return Err(Reason::Busy);
        }
        shop.sold.set(shop.sold.get() + 1);
        Ok(Box::new(Film {
            segments: shop.segments.iter().copied().collect(),
            next: 0,
            over: shop.over.clone(),
            ends: shop.ends,
            shop: shop.clone(),
        }))
    }
}

impl Reel for Film {
    fn over(&mut self, _: &mut Context<'_>) -> Option<Reason> {
        self.over.get()
    }

    fn segment(&mut self, cx: &mut Context<'_>) -> Poll<Result<Segment, Reason>> {
        match self.segments.pop_front() {
            Some(len) => Poll::Ready(Ok(Segment { len, end: self.ends && self.segments.is_empty() })),
            None => {
                // as a camera's next picture would
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn take(&mut self, len: usize, out: &mut Vec<u8>) -> bool {
        for _ in 0..len {
            out.push(self.next);
            self.next = self.next.wrapping_add(1);
        }
        !self.shop.lossy
    }
}

impl Drop for Film {
    fn drop(&mut self) {
        self.shop.busy.set(false);
    }
}

/// A hub with its socket.
struct Peer {
    socket: TcpStream,
    hub: Hub,
    heard: Vec<u8>,
}

/// What a hub hears: what it is about, the message's numbers, and bytes.
#[derive(Debug, PartialEq)]
enum Word {
    Answer(i64, Option<i64>),
    Data { segment: i64, number: i64, data: Vec<u8>, last: bool, total: Option<i64>, end: bool },
    Close(i64),
}

impl Peer {
    fn new(port: u16, salt: u8) -> Peer {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Peer { socket, hub: Hub::new(&SHARED, &[salt; 32], &OURS), heard: Vec::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The next message; none once the connection is closed.
    fn hear(&mut self) -> Option<Word> {
        loop {
            let heard =
                self.hub.hear(&mut self.heard).map(|(header, message, len)| (word(&header, &message), len));
            if let Some((word, len)) = heard {
                self.heard.drain(..len);
                return Some(word);
            }
            let mut buffer = [0; 65536];
            match self.socket.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.heard.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn greet(&mut self) {
        let hello = self.hub.hello();
        self.say(&hello);
        assert_eq!(self.hear(), Some(Word::Answer(0, None)));
    }

    fn open(&mut self, stream: i64) -> Word {
        let open = self.hub.open(stream);
        self.say(&open);
        self.hear().unwrap()
    }

    /// A whole segment, checked.
    fn segment(&mut self, expected: i64, next: &mut u8) -> (usize, bool) {
        let (mut whole, mut parts, mut announced) = (0, 0, 0);
        loop {
            let word = self.hear().unwrap();
            let Word::Data { segment, number, data, last, total, end } = word else { panic!("{word:?}") };
            parts += 1;
            assert_eq!((segment, number, total.is_some()), (expected, parts, parts == 1));
            assert!(!data.is_empty() && data.len() <= HDS_CHUNK);
            announced += total.unwrap_or(0);
            for byte in &data {
                assert_eq!(byte, next);
                *next = next.wrapping_add(1);
            }
            whole += data.len();
            if last {
                assert_eq!(announced, whole as i64);
                return (whole, end);
            }
        }
    }
}

fn word(header: &Value<'_>, message: &Value<'_>) -> Word {
    if header.text("response").is_some() {
        return Word::Answer(header.int("status").unwrap(), message.int("status"));
    }
    if header.text("event") == Some("close") {
        return Word::Close(message.int("reason").unwrap());
    }
    let end = message.get("endOfStream") == Some(&Value::Bool(true));
    let Some(Value::Array(packets)) = message.get("packets") else { panic!("{message:?}") };
    let Some(packet) = packets.first() else {
        return Word::Data { segment: 0, number: 0, data: vec![], last: true, total: None, end };
    };
    let about = packet.get("metadata").unwrap();
    let Some(Value::Data(data)) = packet.get("data") else { panic!("{packet:?}") };
    Word::Data {
        segment: about.int("dataSequenceNumber").unwrap(),
        number: about.int("dataChunkSequenceNumber").unwrap(),
        data: data.to_vec(),
        last: about.get("isLastDataChunk") == Some(&Value::Bool(true)),
        total: about.int("dataTotalSize"),
        end,
    }
}

/// Has hubs, in a thread of their own, meet a server whose shop is this one.
fn meet(
    shop: Shop,
    patience: Duration,
    expected: u8,
    hubs: impl FnOnce(u16) + Send + 'static,
) -> (Stats, u32) {
    let executor = Rc::new(LocalExecutor::new());
    let shop = Rc::new(shop);
    let server = DataStreams::new(executor.clone(), Rc::new(Shelf(shop.clone())));
    server.patience.set([patience, patience]);
    let mut port = 0;
    for salt in 0..expected {
        port = server.expect(u32::from(salt), &SHARED, &[salt; 32], &OURS).unwrap();
    }
    let thread = std::thread::spawn(move || hubs(port));
    let done = async {
        while !thread.is_finished() {
            Timer::after(Duration::from_millis(5)).await;
        }
    };
    executor.block_on(done).unwrap();
    thread.join().unwrap();
    (server.stats(), shop.sold.get())
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn two_hundred_recordings_follow_each_other_on_one_connection() {
    let segments = vec![651, 3000, 1];
    let shop = Shop { segments: segments.clone(), ..Shop::default() };
    let (stats, sold) = meet(shop, LONG, 2, move |port| {
        let mut other = Peer::new(port, 1);
        other.greet();
        let mut peer = Peer::new(port, 0);
        peer.greet();
        for stream in 0..200 {
            assert_eq!(peer.open(stream), Word::Answer(0, Some(0)));
            if stream == 7 {
                assert_eq!(other.open(1), Word::Answer(6, Some(2)), "one at a time");
            }
            let mut next = 0;
            for (at, &len) in segments.iter().enumerate() {
                assert_eq!(peer.segment(at as i64 + 1, &mut next), (len, false));
            }
            let close = peer.hub.close(stream, 0);
            peer.say(&close);
        }
        // it is free for another once the last one has been heard of
        let hello = peer.hub.hello();
        peer.say(&hello);
        assert_eq!(peer.hear(), Some(Word::Answer(0, None)));
        assert_eq!(other.open(1), Word::Answer(0, Some(0)));
    });
    assert_eq!((stats.refused, stats.stuck, sold), (0, 0, 201));
}

#[test]
fn a_large_segment_comes_in_parts() {
    let segments = vec![651, HDS_CHUNK, 2 * HDS_CHUNK + 1, 1];
    let shop = Shop { segments: segments.clone(), ..Shop::default() };
    meet(shop, LONG, 1, move |port| {
        let mut peer = Peer::new(port, 0);
        peer.greet();
        peer.open(1);
        let mut next = 0;
        for (at, &len) in segments.iter().enumerate() {
            assert_eq!(peer.segment(at as i64 + 1, &mut next), (len, false));
        }
    });
}

#[test]
fn a_recording_that_we_end_ends_in_order() {
    let shop = Shop { segments: vec![100, 200], ends: true, ..Shop::default() };
    meet(shop, LONG, 1, |port| {
        let mut peer = Peer::new(port, 0);
        peer.greet();
        assert_eq!(peer.open(1), Word::Answer(0, Some(0)));
        let mut next = 0;
        assert_eq!(peer.segment(1, &mut next), (100, false));
        assert_eq!(peer.segment(2, &mut next), (200, true));
        let ack = Value::Dict(vec![("streamId", Value::Int(1)), ("endOfStream", Value::Bool(true))]);
        let ack = peer.hub.event("ack", &ack);
        peer.say(&ack);
        assert_eq!(peer.hear(), Some(Word::Close(0)));
    });
    // nothing left to end with
    let shop = Shop { segments: vec![100, 0], ends: true, ..Shop::default() };
    meet(shop, LONG, 1, |port| {
        let mut peer = Peer::new(port, 0);
        peer.greet();
        peer.open(1);
        assert_eq!(peer.segment(1, &mut 0), (100, false));
        assert!(matches!(peer.hear(), Some(Word::Data { end: true, .. })));
    });
}

#[test]
fn what_is_forbidden_or_lost_is_told_and_the_connection_lives() {
    let shop = Shop { over: Rc::new(Cell::new(Some(Reason::NotAllowed))), ..Shop::default() };
    meet(shop, LONG, 1, |port| {
        let mut peer = Peer::new(port, 0);
        peer.greet();
        for stream in 0..3 {
            assert_eq!(peer.open(stream), Word::Answer(0, Some(0)));
            assert_eq!(peer.hear(), Some(Word::Close(1)));
        }
    });
    let shop = Shop { segments: vec![HDS_CHUNK * 3], lossy: true, ..Shop::default() };
    meet(shop, LONG, 1, |port| {
        let mut peer = Peer::new(port, 0);
        peer.greet();
        assert_eq!(peer.open(1), Word::Answer(0, Some(0)));
        assert_eq!(peer.hear(), Some(Word::Close(5)));
        peer.greet();
    });
}

#[test]
fn strangers_are_shown_out_and_hubs_are_not() {
    let shop = Shop { segments: vec![10], ..Shop::default() };
    let (stats, _) = meet(shop, LONG, 2, |port| {
        let mut good = Peer::new(port, 0);
        good.greet();
        for rubbish in [
            &[0u8; 200][..],
            &[1, 0xff, 0xff, 0xff],
            &[1, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let mut stranger = Peer::new(port, 9);
            stranger.say(rubbish);
            assert_eq!(stranger.hear(), None);
        }
        // as many as like: the door is not blocked for the one who is expected
        let crowd: Vec<Peer> = (0..3 * HDS_CONNECTIONS).map(|_| Peer::new(port, 9)).collect();
        let mut late = Peer::new(port, 1);
        late.greet();
        assert_eq!(good.open(1), Word::Answer(0, Some(0)));
        drop(crowd);
    });
    assert!(stats.refused >= 3);
}

#[test]
fn who_says_nothing_or_takes_nothing_is_given_up() {
    let short = Duration::from_millis(200);
    let shop = Shop { segments: vec![64 * HDS_CHUNK], ..Shop::default() };
    let (stats, _) = meet(shop, short, 1, |port| {
        let mut mute = Peer::new(port, 5);
        assert_eq!(mute.hear(), None);
    });
    assert_eq!(stats.refused, 1);
    let executor = Rc::new(LocalExecutor::new());
    let shop = Rc::new(Shop { segments: vec![64 * HDS_CHUNK], ..Shop::default() });
    let server = DataStreams::new(executor.clone(), Rc::new(Shelf(shop.clone())));
    server.patience.set([LONG, Duration::from_secs(1)]);
    let port = server.expect(0, &SHARED, &[0; 32], &OURS).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut peer = Peer::new(port, 0);
        peer.greet();
        let open = peer.hub.open(1);
        peer.say(&open);
        // reads nothing until it has been given up
        told.recv().unwrap();
    });
    let done = async {
        while server.stats().stuck == 0 {
            Timer::after(Duration::from_millis(5)).await;
        }
    };
    executor.block_on(done).unwrap();
    tell.send(()).unwrap();
    thread.join().unwrap();
    assert!(!shop.busy.get(), "another may record");
}

#[test]
fn a_data_stream_ends_with_its_session() {
    let executor = Rc::new(LocalExecutor::new());
    let shop = Rc::new(Shop { segments: vec![10], ..Shop::default() });
    let server = DataStreams::new(executor.clone(), Rc::new(Shelf(shop.clone())));
    let port = server.expect(7, &SHARED, &[0; 32], &OURS).unwrap();
    server.expect(8, &SHARED, &[1; 32], &OURS).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut peer = Peer::new(port, 0);
        peer.greet();
        peer.open(1);
        peer.segment(1, &mut 0);
        tell.send(()).unwrap();
        assert_eq!(peer.hear(), None);
        let mut late = Peer::new(port, 1);
        let hello = late.hub.hello();
        late.say(&hello);
        assert_eq!(late.hear(), None, "nobody expects it any more");
    });
    let done = async {
        while told.try_recv().is_err() {
            Timer::after(Duration::from_millis(5)).await;
        }
        server.closed(8);
        server.closed(7);
        while !thread.is_finished() {
            Timer::after(Duration::from_millis(5)).await;
        }
    };
    executor.block_on(done).unwrap();
    thread.join().unwrap();
    assert_eq!((server.stats().connections, shop.busy.get()), (0, false));
}

#[test]
fn no_more_are_expected_than_there_is_room_for() {
    let executor = Rc::new(LocalExecutor::new());
    let server = DataStreams::new(executor, Rc::new(Shelf(Rc::default())));
    for n in 0..HDS_EXPECTED {
        assert!(server.expect(n as u32, &SHARED, &[0; 32], &OURS).is_ok());
    }
    assert_eq!(server.expect(99, &SHARED, &[0; 32], &OURS), Err(true));
    server.closed(0);
    assert!(server.expect(99, &SHARED, &[0; 32], &OURS).is_ok());
}
