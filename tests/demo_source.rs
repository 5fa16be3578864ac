//! The demo camera as a source of the hall: what a viewer gets of it, by the machine's own clock.
//! Times are taken from the frames, never from when they arrived.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::rc::Rc;
use streamd::device::demo::Demo;
use streamd::media::{Codec, CodecId, Kind, Time};
use streamd::net::clock;
use streamd::net::executor::LocalExecutor;
use streamd::net::worker::Worker;
use streamd::stream::{Bounds, Hall, Join, Peer, Reader, SourceSpec, Step, Stream, Voice, Wish};

struct Stage {
    executor: Rc<LocalExecutor>,
    hall: Rc<Hall>,
}

impl Stage {
    fn new() -> Stage {
        let executor = Rc::new(LocalExecutor::new());
        let hall = Hall::new(executor.clone(), Rc::new(Bounds::usual));
        hall.register(&["demo"], Rc::new(Demo::new(Rc::new(Worker::new("media", 8, 1 << 20)))));
        Stage { executor, hall }
    }

    fn run<T>(&self, what: impl Future<Output = T>) -> T {
        streamd::net::reactor::block_on(self.executor.run(what))
    }

    fn stream(&self, source: &str) -> Rc<Stream> {
        self.hall.set("cam", vec![SourceSpec::parse(source).unwrap()]).unwrap()
    }

    fn attach(&self, stream: &Rc<Stream>, kinds: &[Kind]) -> Reader {
        let wishes: Vec<_> = kinds.iter().map(|&k| Wish::any(k)).collect();
        self.run(stream.attach(&wishes, Join::Live, Peer::default())).expect("attach")
    }

    /// The next frame: its track, time, whether it is a key frame, its bytes.
    fn frame(&self, reader: &mut Reader) -> (usize, Time, bool, Vec<u8>) {
        self.run(async {
            loop {
                match reader.next().await {
                    Step::Frame(at) => {
                        let shown = reader.frame(at).map(|s| (at, s.meta.time, s.meta.key, s.data.to_vec()));
                        reader.done(at);
                        if let Some(frame) = shown {
                            return frame;
                        }
                    }
                    Step::Codec(..) => {}
                    Step::Closed(why) => panic!("closed: {why:?}"),
                }
            }
        })
    }
}

#[test]
fn picture_and_sound_lie_on_one_grid() {
    let stage = Stage::new();
    let stream = stage.stream("demo:sub?rate=44100");
    let mut reader = stage.attach(&stream, &[Kind::Video, Kind::Audio]);
    let video = reader.codec(0).unwrap();
    assert_eq!((video.id, reader.codec(1).unwrap().to_string().as_str()), (CodecId::H264, "L16/44100"));
    assert_eq!(video.extra[4], 0x67, "players can begin: the parameter sets are there");
    let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
    while pictures.len() < 15 || sounds.len() < 15 {
        let (at, time, key, data) = stage.frame(&mut reader);
        if at == 0 {
            assert_eq!(key, pictures.is_empty() || data.len() > 3000);
            assert_eq!(Time::from_ticks(time.ticks(25), 25), time);
            pictures.push(time.ticks(25));
        } else {
            assert_eq!(data.len(), 882 * 2);
            assert_eq!(Time::from_ticks(time.ticks(44_100), 44_100), time);
            sounds.push(time.ticks(44_100));
        }
    }
    assert!(pictures.windows(2).all(|w| w[1] > w[0]));
    assert!(sounds.windows(2).all(|w| w[1] >= w[0] + 882));
}

#[test]
fn a_viewer_gets_a_key_frame_and_a_bit_rate_when_he_asks() {
    let stage = Stage::new();
    let stream = stage.stream("demo:sub?gop=10&fps=50&audio=none");
    let mut reader = stage.attach(&stream, &[Kind::Video]);
    assert!(stage.frame(&mut reader).2);
    assert!(!stage.frame(&mut reader).2);
    assert!(reader.track(0).unwrap().ask_key());
    let far = (0..100).find(|_| stage.frame(&mut reader).2);
    assert!(far.is_some(), "the next key frame would be 500 frames away");
    assert!(stream.sources()[0].ask_bitrate(4_000_000));
    let big = (0..100).find(|_| stage.frame(&mut reader).3.len() > 5000);
    assert!(big.is_some(), "frames do not follow the rate");
}

#[cfg(all(feature = "aac", feature = "opus"))]
#[test]
fn each_sound_can_be_had() {
    for (audio, name) in [
        ("pcm", "L16/16000"),
        ("alaw", "PCMA/8000"),
        ("ulaw", "PCMU/8000"),
        ("aac", "MPEG4-GENERIC/16000"),
        ("opus", "OPUS/48000/2"),
    ] {
        let stage = Stage::new();
        let stream = stage.stream(&format!("demo:?width=64&height=64&audio={audio}"));
        let mut reader = stage.attach(&stream, &[Kind::Audio]);
        assert_eq!(reader.codec(0).unwrap().to_string(), name);
        let times: Vec<_> = (0..5).map(|_| stage.frame(&mut reader).1).collect();
        assert!(times.windows(2).all(|w| w[1] > w[0]), "{audio}: {times:?}");
    }
}

#[test]
fn it_has_a_speaker() {
    let stage = Stage::new();
    let stream = stage.stream("demo:sub?motion=none&audio=none");
    let mut reader = stage.attach(&stream, &[Kind::Video]);
    let (talk, _lease) =
        stage.run(stream.talk(&[Codec::audio(CodecId::Pcma, 8000, 1)], Voice::Live)).unwrap();
    // A bar at the bottom follows what is said: it jumps and falls, so that most pictures change by more
    // than the clock. The middle of many is compared, because now and then a clock turns all its digits.
    let mut middle = |words: bool| {
        let mut sizes = Vec::new();
        while sizes.len() < 51 {
            if words && sizes.len().is_multiple_of(4) {
                assert!(talk.say(clock::now(), &[0x2a; 160]));
            }
            let (_, _, key, data) = stage.frame(&mut reader);
            if !key {
                sizes.push(data.len());
            }
        }
        sizes.sort_unstable();
        sizes[sizes.len() / 2]
    };
    let (quiet, loud) = (middle(false), middle(true));
    assert!(loud > quiet, "nothing moves when somebody talks: {loud} and {quiet} bytes");
}

#[test]
fn a_wrong_address_is_refused_with_a_sentence() {
    let stage = Stage::new();
    let spec = SourceSpec::parse("demo:?fps=1000").unwrap();
    let error = stage.hall.check(&spec).unwrap_err().to_string();
    assert_eq!(error, "demo: fps=1000 is not understood: expected a number from 1 to 60");
}
