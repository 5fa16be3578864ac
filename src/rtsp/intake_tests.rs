use super::*;
use crate::media::testing::Rng;
use crate::media::{CodecId, Kind};
use crate::net::rtcp::{Ntp, SenderInfo, emit_bye, emit_sender};
use crate::net::rtp::pay::Packetizer;
use crate::net::rtp::pay::tests::{nals, packets};
use crate::net::sdp::Description;
use crate::stream::{Bounds, Track};

const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00,
    0x00, 0x03, 0x00, 0xca, 0x3c, 0x58, 0xba, 0x80,
];
const PPS: &[u8] = &[0x68, 0xce, 0x0f, 0xc8];

fn ms(n: u64) -> Time {
    Time::from_nanos(n * 1_000_000)
}

struct Rig {
    track: Rc<Track>,
    intake: Intake,
    pay: Packetizer,
    extra: Vec<u8>,
}

impl Rig {
    fn new(sdp: &str, route: Route) -> Rig {
        let description = Description::parse(sdp).unwrap();
        let media = &description.medias[0];
        let (format, codec) = choose(media).unwrap();
        let (track, inlet) = Track::new(codec.clone(), Bounds::usual(Kind::Video));
        // all that comes is looked at afterwards
        track.set_keep(std::time::Duration::from_secs(60));
        let intake = Intake::new(inlet, media, format, route).unwrap();
        let pay = Packetizer::new(&codec, format.payload_type, 300, 7, 65_530, 0xffff_0000).unwrap();
        Rig { track, intake, pay, extra: nals(&[SPS, PPS]) }
    }

    fn video(route: Route) -> Rig {
        Rig::new("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n", route)
    }

    /// The packets of picture `n`, 40 ms each; every tenth is a key frame.
    fn picture(&mut self, n: u64) -> Vec<Vec<u8>> {
        let key = n.is_multiple_of(10);
        let mut slice = vec![if key { 0x65 } else { 0x41 }, 0x80];
        slice.extend((0..1000u32).map(|i| (i as u64 * 7 + n) as u8 | 1));
        packets(&mut self.pay, &nals(&[&slice]), ms(n * 40).ticks(90_000), key, &self.extra)
    }

    fn frames(&self) -> Vec<crate::stream::Meta> {
        let ring = self.track.ring();
        (ring.tail()..ring.head()).filter_map(|seq| ring.meta(seq)).collect()
    }
}

/// What a viewer would lose: every picture, whole, at its time, with what a decoder needs.
#[test]
fn pictures_come_through_whole_and_on_time() {
    let mut rig = Rig::video(Route::Stream);
    for n in 0..25 {
        for packet in rig.picture(n) {
            assert!(rig.intake.rtp(ms(5000 + n * 40), &packet));
        }
    }
    let frames = rig.frames();
    assert_eq!(frames.len(), 25);
    for (n, frame) in frames.iter().enumerate() {
        // Two clocks of 90 kHz and a nanosecond's rounding between.
        assert!(frame.time.nanos().abs_diff(ms(5000 + n as u64 * 40).nanos()) < 12_000, "{n}");
        assert_eq!((frame.key, frame.gap), (n % 10 == 0, false));
    }
    assert_eq!(rig.track.codec().extra[..], nals(&[SPS, PPS]));
    let (_, data) = rig.track.frame(0).unwrap();
    assert_eq!((&data[..6], data.len()), (&[0, 0, 3, 0xea, 0x65, 0x80][..], 1006));
}

#[test]
fn datagrams_in_another_order_make_the_same_pictures() {
    let mut rig = Rig::video(Route::Datagram);
    let mut all: Vec<_> = (0..30).flat_map(|n| rig.picture(n)).collect();
    for pair in all.chunks_mut(3).skip(1) {
        pair.reverse();
    }
    for (i, packet) in all.iter().enumerate() {
        rig.intake.rtp(ms(5000 + i as u64 * 10), packet);
    }
    assert_eq!((rig.frames().len(), rig.intake.lost()), (30, 0));
}

/// A publisher announces before it says that it sends by UDP.
#[test]
fn a_route_that_is_told_later_is_taken() {
    let mut rig = Rig::video(Route::Stream);
    let mut all: Vec<_> = (0..30).flat_map(|n| rig.picture(n)).collect();
    for three in all.chunks_mut(3).skip(1) {
        three.reverse();
    }
    for (i, packet) in all.iter().enumerate() {
        rig.intake.travel(Route::Datagram);
        rig.intake.rtp(ms(5000 + i as u64 * 10), packet);
    }
    assert_eq!((rig.frames().len(), rig.intake.lost()), (30, 0));
}

/// The next key frame may be many seconds away: it is asked for, once a second until one comes.
#[test]
fn after_a_loss_a_key_frame_is_asked_for() {
    let mut rig = Rig::video(Route::Datagram);
    let mut asked = Vec::new();
    for n in 1..112 {
        for (i, packet) in rig.picture(if n == 110 { 120 } else { n * 10 + 1 }).into_iter().enumerate() {
            if (n, i) != (3, 2) {
                rig.intake.rtp(ms(5000 + n * 40), &packet);
            }
        }
        rig.intake.tick(ms(5000 + n * 40 + 20));
        asked.extend(rig.intake.wants_key(ms(5000 + n * 40)).map(|sender| (n, sender)));
    }
    let first = asked.first().unwrap().0;
    assert!((3..10).contains(&first), "{asked:?}");
    assert_eq!(asked.len(), (110 - first as usize).div_ceil(25), "{asked:?}");
    assert!(asked.iter().all(|&(n, sender)| sender == 7 && n < 110));
    // over a connection the camera itself has dropped something, and knows it
    let mut rig = Rig::video(Route::Stream);
    for n in 0..9 {
        for packet in rig.picture(n).iter().skip(usize::from(n == 3)) {
            rig.intake.rtp(ms(n * 40), packet);
        }
        assert_eq!(rig.intake.wants_key(ms(n * 40)), None);
    }
}

#[test]
fn after_a_loss_nothing_broken_is_shown_and_the_gap_is_marked() {
    let mut rig = Rig::video(Route::Datagram);
    for n in 0..21 {
        for (i, packet) in rig.picture(n).into_iter().enumerate() {
            if (n, i) != (3, 2) {
                rig.intake.rtp(ms(5000 + n * 40), &packet);
            }
        }
    }
    rig.intake.tick(ms(7000));
    let shown: Vec<_> = rig.frames().iter().map(|f| (f.key, f.gap)).collect();
    // 0 1 2, then from the key frame 10 on.
    assert_eq!(shown.len(), 3 + 11);
    assert_eq!((shown[3], shown[4], rig.intake.lost()), ((true, true), (false, false), 1));
    assert!(rig.intake.deadline().is_none());
}

/// Without parameter sets, from SDP or in band, no key frame is one.
#[test]
fn nobody_begins_where_no_decoder_can() {
    let mut rig = Rig::video(Route::Stream);
    rig.extra.clear();
    for n in 0..12 {
        for packet in rig.picture(n) {
            rig.intake.rtp(ms(n * 40), &packet);
        }
    }
    assert_eq!(rig.frames().len(), 0);
    rig.extra = nals(&[SPS, PPS]);
    for packet in rig.picture(20) {
        rig.intake.rtp(ms(800), &packet);
    }
    assert_eq!(rig.frames().len(), 1);
}

/// GeoVision mixes packets of type 50 into its pictures.
#[test]
fn quirk_junk_of_another_type() {
    let mut rig = Rig::video(Route::Stream);
    for n in 0..5 {
        for packet in rig.picture(n) {
            rig.intake.rtp(ms(n * 40), &packet);
            let mut junk = packet.clone();
            junk[1] = 50;
            assert!(!rig.intake.rtp(ms(n * 40), &junk));
            assert!(!rig.intake.rtp(ms(n * 40), &junk[..7]));
        }
    }
    assert_eq!(rig.frames().len(), 5);
    let faults = rig.intake.faults();
    assert!(faults.stray > 5 && faults.broken == faults.stray);
}

/// A sender on TCP that writes the same number into every packet.
#[test]
fn quirk_numbers_that_never_count() {
    let mut rig = Rig::video(Route::Stream);
    for n in 0..30 {
        for mut packet in rig.picture(n) {
            packet[2..4].copy_from_slice(&[0, 0]);
            rig.intake.rtp(ms(5000 + n * 40), &packet);
        }
    }
    let frames = rig.frames();
    assert!(frames.len() >= 20, "{}", frames.len());
    assert!(frames[1..].iter().all(|f| !f.gap));
}

/// Reolink and Tapo change their SSRC in mid-stream.
#[test]
fn quirk_another_ssrc() {
    let mut rig = Rig::video(Route::Stream);
    for n in 0..10 {
        for mut packet in rig.picture(n) {
            packet[11] = n as u8;
            rig.intake.rtp(ms(n * 40), &packet);
        }
    }
    assert_eq!(rig.frames().len(), 10);
    assert_eq!(rig.intake.report(ms(400)).unwrap().ssrc & 0xff, 9);
}

/// Picture and sound of one camera meet by its reports, though one came 300 ms late.
#[test]
fn reports_bring_lips_and_voice_together() {
    let sdp = "m=audio 0 RTP/AVP 8\r\n";
    let (mut video, mut audio) = (Rig::video(Route::Stream), Rig::new(sdp, Route::Stream));
    let mut sender = SenderClock::default();
    let ntp = |n: u64| Ntp::from_unix(1_700_000_000 + n / 1000, (n % 1000 * 1_000_000) as u32);
    for n in 0..100u64 {
        let (sent, late) = (n * 40, 300);
        for packet in video.picture(n) {
            video.intake.rtp(ms(10_000 + sent + late), &packet);
        }
        for packet in packets(&mut audio.pay, &[0xd5; 320], sent * 8, true, &[]) {
            audio.intake.rtp(ms(10_000 + sent), &packet);
        }
        if n == 50 {
            for (rig, rate) in [(&mut video, 90_000), (&mut audio, 8000)] {
                let rtp_time = (ms(sent).ticks(rate) as u32).wrapping_add(0xffff_0000);
                let mut out = Vec::new();
                emit_sender(&mut out, 7, &SenderInfo { ntp: ntp(sent), rtp_time, ..Default::default() }, "c");
                assert!(!rig.intake.rtcp(ms(10_000 + sent), &out, &mut sender));
            }
        }
    }
    let newest = |rig: &Rig| rig.track.ring().newest().unwrap().time;
    let (v, a) = (newest(&video), newest(&audio));
    assert!(v.nanos().abs_diff(a.nanos()) < 5_000_000, "{v:?} {a:?}");
    let mut out = Vec::new();
    emit_sender(&mut out, 7, &SenderInfo::default(), "c");
    emit_bye(&mut out, 7);
    assert!(audio.intake.rtcp(ms(20_000), &out, &mut sender));
    let report = video.intake.report(ms(20_000)).unwrap();
    assert_eq!((report.lost, report.last_sr), (0, ntp(2000).middle()));
}

#[test]
fn the_first_format_that_can_be_read_is_chosen() {
    let sdp = "m=audio 0 RTP/AVP 98 8 97\r\na=rtpmap:98 SPEEX/8000\r\na=rtpmap:97 opus/48000/2\r\n";
    let description = Description::parse(sdp).unwrap();
    let (format, codec) = choose(&description.medias[0]).unwrap();
    assert_eq!((format.payload_type, codec.id), (8, CodecId::Pcma));
    let description = Description::parse("m=audio 0 RTP/AVP 98\r\na=rtpmap:98 SPEEX/8000\r\n").unwrap();
    assert!(choose(&description.medias[0]).is_none());
}

#[test]
fn nothing_that_comes_panics() {
    for (sdp, route) in [
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n", Route::Datagram),
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n", Route::Stream),
        ("m=video 0 RTP/AVP 26\r\n", Route::Stream),
        ("m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/16000/1\r\n", Route::Datagram),
    ] {
        let mut rig = Rig::new(sdp, route);
        let mut random = Rng::new(5);
        let mut sender = SenderClock::default();
        let mut video = Rig::video(route);
        for n in 0..4000u64 {
            for mut packet in video.picture(n % 25).into_iter().take(2) {
                for _ in 0..random.below(5) {
                    let at = random.below(packet.len().min(40));
                    packet[at] = random.next() as u8;
                }
                rig.intake.rtp(ms(n), &packet);
                packet[0] = 0x80 | packet[0] & 0x3f;
                packet[1] = 200 + random.below(8) as u8;
                rig.intake.rtcp(ms(n), &packet, &mut sender);
            }
        }
        rig.intake.finish();
        assert!(rig.track.ring().span() <= rig.track.ring().limit());
    }
}
