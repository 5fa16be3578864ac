//! What happens to a viewer who is stuck, slow or late, and when the source restarts, changes its
//! codec or is taken away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod puppet;

use puppet::{Stage, at, drain, h264, pcma};
use std::rc::Rc;
use std::time::Duration;
use streamd::media::{Codec, CodecId, Kind, Media};
use streamd::stream::{AttachError, Close, Join, Link, Peer, SourceSpec, State, Step, Voice, Wish};

#[test]
fn a_source_runs_only_while_somebody_watches() {
    let stage = Stage::new(1 << 20, vec![h264()]);
    let stream = stage.stream();
    stage.settle();
    assert_eq!(stage.strings.dials.get(), 0, "dialled without a viewer");
    let one = stage.attach(&stream, &[Kind::Video], Join::Live);
    let two = stage.attach(&stream, &[Kind::Video], Join::Live);
    assert_eq!((stage.strings.dials.get(), stage.strings.running.get()), (1, true));
    assert_eq!(stream.viewers().len(), 2);
    drop(one);
    stage.settle();
    assert!(stage.strings.running.get(), "stopped under the second viewer");
    drop(two);
    stage.settle();
    assert!(!stage.strings.running.get(), "still running though nobody watches");
    let _again = stage.attach(&stream, &[Kind::Video], Join::Live);
    assert_eq!(stage.strings.dials.get(), 2);
}

#[test]
fn a_late_viewer_gets_the_picture_at_once_and_is_not_late_afterwards() {
    let stage = Stage::new(1 << 20, vec![h264(), pcma()]);
    let stream = stage.stream();
    let mut first = stage.attach(&stream, &[Kind::Video, Kind::Audio], Join::Live);
    for n in 0..90 {
        stage.picture(n, n % 50 == 0, 1000);
        stage.sound(n);
        assert_eq!(drain(&mut first).len(), 2);
    }
    let mut late = stage.attach(&stream, &[Kind::Video, Kind::Audio], Join::Live);
    let mut times = Vec::new();
    while let Some(Step::Frame(track)) = late.step() {
        let shown = late.frame(track).unwrap();
        times.push((track, shown.seq, shown.time));
        drop(shown);
        late.done(track);
    }
    assert_eq!((times[0].0, times[0].1), (0, 50), "begins with the key frame");
    assert_eq!(times.len(), 80, "and has the whole backlog of picture and sound at once");
    assert!(
        at(89).since(times[0].2) <= Duration::from_millis(40),
        "squeezed: the first picture is shown as if it were now"
    );
    for track in 0..2 {
        let own: Vec<_> = times.iter().filter(|t| t.0 == track).collect();
        assert!(
            own.windows(2).all(|w| w[1].2.since(w[0].2) >= Duration::from_micros(12)),
            "times strictly increase"
        );
        assert_eq!(own.last().unwrap().2, at(89));
    }
    stage.picture(90, false, 1000);
    assert!(matches!(late.step(), Some(Step::Frame(0))));
    assert_eq!(late.frame(0).unwrap().time, at(90), "from now on its times are the true ones");
}

#[test]
fn a_source_that_can_is_asked_for_a_key_frame() {
    let stage = Stage::new(1 << 20, vec![h264()]);
    stage.strings.keys.set(true);
    let stream = stage.stream();
    let mut first = stage.attach(&stream, &[Kind::Video], Join::Live);
    for n in 0..30 {
        stage.picture(n, n == 0, 1000);
    }
    drain(&mut first);
    let mut late = stage.attach(&stream, &[Kind::Video], Join::Live);
    assert!(late.step().is_none(), "it waits for the key frame it asked for");
    let asked = stage.strings.link.borrow().as_ref().and_then(Link::poll_command);
    assert_eq!(asked, Some(streamd::stream::Command::Key));
    stage.picture(30, true, 1000);
    assert_eq!(drain(&mut late), [(0, 30, false)]);
    // one that promises key frames and gives none must not leave the viewer in the dark
    for n in 31..50 {
        stage.picture(n, false, 1000);
    }
    let mut third = stage.attach(&stream, &[Kind::Video], Join::Live);
    let mut waited = 0;
    for n in 50..70 {
        stage.picture(n, false, 1000);
        if !drain(&mut third).is_empty() {
            break;
        }
        waited += 1;
    }
    assert!(waited <= 8, "after {waited} frames still no picture");
}

#[test]
fn a_recorder_gets_the_prebuffer_with_true_times() {
    let stage = Stage::new(4 << 20, vec![h264(), pcma()]);
    let stream = stage.stream();
    let mut first = stage.attach(&stream, &[Kind::Video, Kind::Audio], Join::Live);
    first.track(0).unwrap().set_keep(Duration::from_secs(4));
    for n in 0..500 {
        stage.picture(n, n % 50 == 0, 1000);
        stage.sound(n);
        drain(&mut first);
    }
    let mut recorder = stage.attach(&stream, &[Kind::Video, Kind::Audio], Join::Back(Duration::from_secs(4)));
    let Some(Step::Frame(0)) = recorder.step() else { panic!("no picture") };
    let shown = recorder.frame(0).unwrap();
    assert_eq!((shown.seq, shown.time), (350, at(350)));
    drop(shown);
    let seen = drain(&mut recorder);
    assert_eq!(seen.iter().filter(|s| s.0 == 1).map(|s| s.1).min(), Some(350), "sound from the same instant");
    assert_eq!(seen.len(), 300);
}

#[test]
fn a_slow_reader_jumps_to_a_key_frame_and_nobody_else_notices() {
    let stage = Stage::new(200_000, vec![h264(), pcma()]);
    let stream = stage.stream();
    let mut good = stage.attach(&stream, &[Kind::Video, Kind::Audio], Join::Live);
    let mut slow = stage.attach(&stream, &[Kind::Video, Kind::Audio], Join::Live);
    stage.picture(0, true, 4000);
    stage.sound(0);
    assert_eq!(drain(&mut slow).len(), 2);
    let mut seen = Vec::new();
    for n in 1..1000 {
        stage.picture(n, n % 25 == 0, 4000);
        stage.sound(n);
        seen.extend(drain(&mut good));
    }
    let pictures: Vec<_> = seen.iter().filter(|s| s.0 == 0).collect();
    assert!(pictures.windows(2).all(|w| w[1].1 == w[0].1 + 1 && !w[1].2), "the good reader misses nothing");
    let after = drain(&mut slow);
    assert_eq!(after[0].0, 0);
    assert_eq!(after[0].1, 975, "it continues at the newest key frame");
    assert!(after[0].2, "and knows that something is missing");
    assert!(after.iter().filter(|s| s.0 == 1).all(|s| s.1 >= 975), "sound jumps to the same instant");
    assert_eq!(slow.viewer().stats.skipped.get(), 2 * 974);
    assert_eq!(good.viewer().stats.skipped.get(), 0);
}

#[test]
fn a_stuck_reader_costs_nothing_and_holds_nothing() {
    let stage = Stage::new(100_000, vec![h264()]);
    let stream = stage.stream();
    let _stuck: Vec<_> = (0..20).map(|_| stage.attach(&stream, &[Kind::Video], Join::Live)).collect();
    let mut good = stage.attach(&stream, &[Kind::Video], Join::Live);
    for n in 0..5000 {
        stage.picture(n, n % 25 == 0, 1000 + (n as usize * 7) % 2000);
        assert_eq!(drain(&mut good), [(0, n, false)]);
    }
    let track = good.track(0).unwrap();
    assert!(track.ring().span() <= 100_000);
}

#[test]
fn viewers_stay_while_the_source_restarts() {
    let stage = Stage::new(1 << 20, vec![h264()]);
    let stream = stage.stream();
    let mut reader = stage.attach(&stream, &[Kind::Video], Join::Live);
    stage.picture(0, true, 100);
    stage.picture(1, false, 100);
    assert_eq!(drain(&mut reader).len(), 2);
    stage.strings.end.set(true);
    stage.settle();
    assert!(!stage.strings.running.get());
    assert!(reader.step().is_none(), "the viewer is still there");
    assert_eq!(stream.sources()[0].state(), State::Failed);
    stage.run(async {
        while !stage.strings.running.get() {
            streamd::net::reactor::Timer::after(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(stage.strings.dials.get(), 2);
    stage.picture(50, false, 100);
    assert!(reader.step().is_none(), "nothing that cannot be decoded");
    stage.picture(51, true, 100);
    assert_eq!(drain(&mut reader), [(0, 51, true)], "goes on at a key frame, marked as a gap");
}

#[test]
fn a_source_that_cannot_be_reached_is_told_and_tried_again_only_for_who_stays() {
    let stage = Stage::new(1 << 20, vec![h264()]);
    stage.strings.fail.set(true);
    let stream = stage.stream();
    let failed = stage.run(stream.attach(&[Wish::any(Kind::Video)], Join::Live, Peer::default()));
    assert_eq!(failed.err().map(|e| e.to_string()), Some("streams: the puppet is asleep".into()));
    stage.settle();
    assert_eq!(stage.strings.dials.get(), 1);
    // a holder (preload, an armed recording) does not give up
    let holder = stream.hold(vec![Wish::any(Kind::Video)]);
    stage.settle();
    stage.strings.fail.set(false);
    stage.run(async {
        while !stage.strings.running.get() {
            streamd::net::reactor::Timer::after(Duration::from_millis(20)).await;
        }
    });
    drop(holder);
    stage.settle();
    assert!(!stage.strings.running.get(), "released, it stops");
}

#[test]
fn a_codec_change_comes_in_order_to_every_reader() {
    let stage = Stage::new(1 << 20, vec![h264()]);
    let stream = stage.stream();
    let mut quick = stage.attach(&stream, &[Kind::Video], Join::Live);
    let mut slow = stage.attach(&stream, &[Kind::Video], Join::Live);
    let change = |sps: &[u8]| {
        let mut codec = Codec::new(CodecId::H264);
        codec.extra = Rc::from(sps);
        stage.strings.inlets.borrow_mut()[0].set_codec(codec);
    };
    change(b"one");
    stage.picture(0, true, 100);
    stage.picture(1, false, 100);
    assert_eq!(drain(&mut quick).len(), 2);
    change(b"two");
    stage.picture(2, true, 100);
    for reader in [&mut quick, &mut slow] {
        let mut order = Vec::new();
        while let Some(step) = reader.step() {
            match step {
                Step::Codec(0, codec) => {
                    order.push(format!("codec {}", String::from_utf8_lossy(&codec.extra)))
                }
                Step::Frame(0) => {
                    order.push(format!("frame {}", reader.frame(0).unwrap().seq));
                    reader.done(0);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(order[order.len() - 2..], ["codec two", "frame 2"]);
        assert_eq!(&*reader.codec(0).unwrap().extra, b"two");
    }
}

#[test]
fn removing_and_replacing_a_watched_stream_tells_its_viewers() {
    let stage = Stage::new(1 << 20, vec![h264()]);
    let stream = stage.stream();
    let mut reader = stage.attach(&stream, &[Kind::Video], Join::Live);
    stage.picture(0, true, 100);
    // the same source again changes nothing
    stage.stream();
    assert_eq!(drain(&mut reader).len(), 1);
    assert!(reader.step().is_none());
    stage.hall.set("cam", vec![SourceSpec::parse("puppet:other").unwrap()]).unwrap();
    stage.settle();
    assert!(matches!(reader.step(), Some(Step::Closed(Close::Replaced))));
    assert!(!stage.strings.running.get());
    let mut second = stage.attach(&stream, &[Kind::Video], Join::Live);
    assert!(stage.hall.remove("cam"));
    assert!(matches!(second.step(), Some(Step::Closed(Close::Removed))));
    assert!(stage.hall.get("cam").is_none());
    let late = stage.run(stream.attach(&[Wish::any(Kind::Video)], Join::Live, Peer::default()));
    assert_eq!(late.err(), Some(AttachError::NoSource));
}

#[test]
fn a_viewer_can_be_sent_away() {
    let stage = Stage::new(1 << 20, vec![h264()]);
    let stream = stage.stream();
    let mut reader = stage.attach(&stream, &[Kind::Video], Join::Live);
    let mut other = stage.attach(&stream, &[Kind::Video], Join::Live);
    let id = reader.viewer().id;
    assert!(stage.hall.kick(id));
    assert!(matches!(stage.run(reader.next()), Step::Closed(Close::Kicked)));
    stage.picture(0, true, 10);
    assert_eq!(drain(&mut other).len(), 1);
    drop(reader);
    assert!(!stage.hall.kick(id), "gone is gone");
}

#[test]
fn several_publishers_join_one_stream_and_leave_for_good() {
    let stage = Stage::new(1 << 20, vec![h264()]);
    let stream = stage.hall.set("cam", Vec::new()).unwrap();
    let nobody = stage.run(stream.attach(&[Wish::any(Kind::Video)], Join::Live, Peer::default()));
    assert_eq!(nobody.err(), Some(AttachError::NoSource));
    let video = stream.publish(Peer::default(), vec![h264()]);
    let sound = stream.publish(Peer::default(), vec![pcma()]);
    let mut reader = stage.attach(&stream, &[Kind::Video, Kind::Audio], Join::Live);
    assert_eq!(reader.len(), 2, "picture of the one, sound of the other");
    let mut inlet = video.link().inlet(0).unwrap();
    inlet.push(at(0), true, &0u64.to_be_bytes());
    assert_eq!(drain(&mut reader).len(), 1);
    drop(video);
    assert!(matches!(reader.step(), Some(Step::Closed(Close::Ended))));
    assert_eq!(stream.sources().len(), 1);
    drop(sound);
    assert!(stream.sources().is_empty());
}

#[test]
fn what_does_not_match_is_said_in_the_words_users_know() {
    let stage = Stage::new(1 << 20, vec![h264(), pcma()]);
    let stream = stage.stream();
    let wish = Wish { kind: Kind::Video, codecs: vec![Codec::new(CodecId::H265)], all: false };
    let error = stage.run(stream.attach(&[wish], Join::Live, Peer::default())).err().unwrap();
    assert_eq!(error.to_string(), "streams: codecs not matched: video:H264, audio:PCMA => video:H265");
    let unknown = stage.hall.set("x", vec![SourceSpec::parse("nothing://x").unwrap()]);
    assert_eq!(unknown.err().unwrap().to_string(), "no module here serves sources of scheme \"nothing\"");
    assert!(stage.hall.get("x").is_none(), "a refused stream does not half exist");
}

#[test]
fn one_speaks_at_a_time_and_what_is_played_gives_way() {
    let takes = vec![Codec::audio(CodecId::Pcma, 8000, 1), Codec::audio(CodecId::Pcmu, 8000, 1)];
    let stage = Stage::new(1 << 20, vec![h264(), Media::speaker(takes)]);
    let stream = stage.stream();
    let mu = [Codec::audio(CodecId::Pcmu, 0, 0)];
    let (played, _lease) = stage.run(stream.talk(&mu, Voice::Played)).unwrap();
    stage.settle();
    let mut ear = stage.strings.link.borrow().as_ref().and_then(|l| l.speaker(1)).unwrap();
    assert_eq!(played.codec().id, CodecId::Pcmu);
    assert!(played.say(at(0), &0u64.to_be_bytes()));
    assert_eq!(drain(&mut ear).len(), 1);
    let (voice, _lease2) = stage.run(stream.talk(&[], Voice::Live)).unwrap();
    assert!(!played.say(at(1), b"late"), "the file gives way to the voice");
    assert!(voice.say(streamd::net::clock::now(), &1u64.to_be_bytes()));
    let busy = stage.run(stream.talk(&[], Voice::Live));
    assert_eq!(busy.err(), Some(AttachError::Busy));
    let deaf = stage.run(stream.talk(&[Codec::new(CodecId::Opus)], Voice::Live));
    assert!(matches!(deaf.err(), Some(AttachError::Codecs { .. })));
    drop(voice);
    assert!(stage.run(stream.talk(&[], Voice::Played)).is_ok());
}

#[test]
fn a_group_of_pictures_beyond_the_bound_is_cut_short_by_asking_for_a_key_frame() {
    let stage = Stage::new(50_000, vec![h264()]);
    stage.strings.keys.set(true);
    let stream = stage.stream();
    let mut reader = stage.attach(&stream, &[Kind::Video], Join::Live);
    let mut asked = 0;
    for n in 0..200 {
        // an encoder that makes no key frame unless it is asked
        let ask = stage.strings.link.borrow().as_ref().and_then(Link::poll_command);
        asked += u32::from(ask.is_some());
        stage.picture(n, n == 0 || ask.is_some(), 1000);
        drain(&mut reader);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(asked >= 1, "nobody asked for a key frame");
    assert!(reader.track(0).unwrap().ring().broken() > 0, "and it is counted");
}

/// Counts how often it was woken.
#[derive(Default)]
struct Wakes(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn whoever_has_patience_with_sound_is_not_woken_by_it() {
    let stage = Stage::new(1 << 20, vec![h264(), pcma()]);
    let stream = stage.stream();
    let mut reader = stage.attach(&stream, &[Kind::Video, Kind::Audio], Join::Live);
    stage.picture(0, true, 1000);
    stage.sound(0);
    drain(&mut reader);
    let wakes = std::sync::Arc::new(Wakes::default());
    let waker = std::task::Waker::from(wakes.clone());
    let count = || wakes.0.load(std::sync::atomic::Ordering::Relaxed);
    let track = reader.track(1).unwrap().clone();
    reader.wait_patiently(&waker, |at| at == 1);
    stage.sound(1);
    assert_eq!(count(), 1, "nobody looks after those with patience: they are woken like all");
    drain(&mut reader);

    let rung = Rc::new(std::cell::Cell::new(0));
    let bell = rung.clone();
    track.set_bell(Rc::new(move |seq| bell.set(seq)));
    reader.wait_patiently(&waker, |at| at == 1);
    stage.sound(2);
    stage.sound(3);
    assert_eq!((count(), rung.get()), (1, 3));
    stage.picture(1, false, 1000);
    assert_eq!(count(), 2, "a picture is waited for without patience");
    assert_eq!(drain(&mut reader).len(), 3);
    reader.wait_patiently(&waker, |at| at == 1);
    stage.sound(4);
    assert_eq!(count(), 2);
    track.ripen(3);
    assert_eq!((count(), rung.get()), (2, 4), "it has had the sound before that");
    track.ripen(4);
    assert_eq!(count(), 3);
    assert!(track.is_ripe(4) && !track.is_ripe(5));
    drain(&mut reader);
    stage.sound(5);
    assert_eq!(rung.get(), 4, "nobody waits just now");
    drain(&mut reader);
    reader.wait_patiently(&waker, |at| at == 1);
    track.close(Close::Ended);
    assert_eq!(count(), 4, "the end is told at once");
}
