//! Sound that no source has in the wanted codec: made once for all who want it, only while somebody
//! reads it, and in step with what it was made from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod puppet;

use puppet::{Stage, h264};
use std::rc::Rc;
use std::time::Duration;
use streamd::media::{Codec, CodecId, Kind, Media, Time};
use streamd::stream::{Join, Peer, Reader, Step, Stream, Wish};

const BLOCK: usize = 320; // 20 ms at 16 kHz

fn stage() -> (Stage, Rc<Stream>) {
    let stage = Stage::new(1 << 20, vec![h264(), Media::recv(Codec::audio(CodecId::L16, 16_000, 1))]);
    let stream = stage.stream();
    (stage, stream)
}

fn wants(stage: &Stage, stream: &Rc<Stream>, codec: Codec) -> Result<Reader, String> {
    let wish = Wish { kind: Kind::Audio, codecs: vec![codec], all: false };
    let reader = stage.run(stream.attach(&[wish], Join::Live, Peer::default())).map_err(|e| e.to_string());
    stage.settle();
    reader
}

fn say(stage: &Stage, n: u64) {
    let time = Time::from_nanos(5_000_000_000 + n * 20_000_000);
    stage.strings.inlets.borrow_mut()[1].push(time, true, &[0x10; BLOCK * 2]);
}

/// Reads until `count` frames have come: their bytes and times.
fn hear(stage: &Stage, reader: &mut Reader, count: usize) -> Vec<(usize, Time)> {
    let mut heard = Vec::new();
    let listen = async {
        while heard.len() < count {
            match reader.next().await {
                Step::Frame(at) => {
                    let shown = reader.frame(at).unwrap();
                    heard.push((shown.data.len(), shown.time));
                    drop(shown);
                    reader.done(at);
                }
                Step::Codec(..) => {}
                Step::Closed(why) => panic!("{why:?}"),
            }
        }
        true
    };
    let patience = async {
        streamd::net::reactor::Timer::after(Duration::from_secs(20)).await;
        false
    };
    assert!(stage.run(futures_lite::future::or(listen, patience)), "only some of {count} frames came");
    heard
}

#[test]
fn two_who_want_the_same_share_one_conversion_and_it_ends_with_them() {
    let (stage, stream) = stage();
    let pcma = Codec::audio(CodecId::Pcma, 8000, 1);
    let mut one = wants(&stage, &stream, pcma.clone()).unwrap();
    let mut two = wants(&stage, &stream, pcma).unwrap();
    assert!(Rc::ptr_eq(one.track(0).unwrap(), two.track(0).unwrap()), "converted twice");
    let source = stage.strings.inlets.borrow()[1].track().clone();
    assert_eq!(source.readers(), 1, "only the converter reads the source");
    for n in 0..50 {
        say(&stage, n);
        stage.settle();
    }
    let heard = hear(&stage, &mut one, 50);
    assert_eq!(heard.iter().map(|h| h.0).sum::<usize>(), 8000, "one second of 8 kHz");
    assert_eq!(hear(&stage, &mut two, 50), heard);
    let (first, last) = (heard[0].1, heard[49].1);
    assert_eq!(last.since(first).as_millis(), 980);
    assert!(
        Time::from_nanos(5_000_000_000).since(first) < Duration::from_millis(5),
        "in step with its source"
    );
    drop((one, two));
    stage.settle();
    assert_eq!(source.readers(), 0, "nobody listens, and still it is converted");
    assert!(!stage.strings.running.get());
}

#[test]
fn what_cannot_be_made_is_said() {
    let (stage, stream) = stage();
    let error = wants(&stage, &stream, Codec::new(CodecId::G722)).err();
    let wanted = "streams: codecs not matched: video:H264, audio:L16 => audio:G722";
    assert_eq!(error.as_deref(), Some(wanted));
}

#[cfg(feature = "opus")]
#[test]
fn opus_comes_from_the_worker_in_order_and_in_step() {
    let (stage, stream) = stage();
    let mut reader = wants(&stage, &stream, Codec::new(CodecId::Opus)).unwrap();
    let mut heard = Vec::new();
    for n in 0..50 {
        say(&stage, n);
        heard.extend(hear(&stage, &mut reader, 1));
    }
    assert!(heard.windows(2).all(|w| w[1].1.since(w[0].1) == Duration::from_millis(20)), "20 ms each");
    let begun = Time::from_nanos(5_000_000_000);
    assert!(begun.since(heard[0].1) < Duration::from_millis(20), "its delay is taken off: {:?}", heard[0].1);
}

#[cfg(feature = "aac")]
#[test]
fn aac_says_what_its_decoder_needs() {
    let (stage, stream) = stage();
    let mut reader = wants(&stage, &stream, Codec::audio(CodecId::Aac, 16_000, 1)).unwrap();
    assert_eq!(&*reader.codec(0).unwrap().extra, &[0x14, 0x08]);
    for n in 0..50 {
        say(&stage, n);
    }
    let heard = hear(&stage, &mut reader, 10);
    assert!(heard.windows(2).all(|w| w[1].1.since(w[0].1) == Duration::from_millis(64)));
}
