//! Datagrams of a live view: what has the key comes through as it was, once; what has not changes
//! nothing; and whatever a viewer reports, its session keeps its times.

use std::time::Duration;
use streamd::homekit::live::session::{Due, Leg, Phase, Session};
use streamd::media::Time;
use streamd::media::opus;
use streamd::media::opus_repack::Repack;
use streamd::net::rtcp::Ntp;
use streamd::net::rtp;
use streamd::net::srtp::{Master, Receiver, Sender, TAG};

/// Sound goes through a packet of 60 ms: nothing is lost but what is damaged.
fn repack(payload: &[u8]) {
    let Ok(packet) = opus::Packet::parse(payload) else { return };
    let (mut samples, mut bytes, mut own) = (0, 0, 0);
    opus::frames(payload, &mut |frame| own += frame.len()).expect("it was well formed");
    let mut pack = Repack::new(60, 1188);
    let mut sink = |_: Time, packet: &[u8], count: u32| {
        assert_eq!(opus::Packet::parse(packet).expect("we made it").samples(), count);
        opus::frames(packet, &mut |frame| bytes += frame.len()).expect("we made it");
        samples += count;
    };
    pack.push(Time::ZERO, payload, &mut sink).expect("it was well formed");
    pack.gap(&mut sink);
    assert_eq!((samples, bytes), (packet.samples(), own), "sound is lost");
}

pub fn run(data: &[u8]) {
    let master = Master { key: [1; 16], salt: [2; 14] };
    let other = Master { key: [3; 16], salt: [2; 14] };
    let (mut sender, mut stranger) = (Sender::new(&master), Sender::new(&other));
    let mut receiver = Receiver::new(&master);
    let mut now = Time::from_nanos(1 << 40);
    let mut session = Session::new(now, [7, 8]);
    let mut rest = data;
    while let Some((&[what, len], tail)) = rest.split_first_chunk::<2>() {
        let (body, tail) = tail.split_at(usize::from(len).min(tail.len()));
        rest = tail;
        now += Duration::from_millis(u64::from(what >> 4) * 100);
        let leg = if what & 8 == 0 { Leg::Video } else { Leg::Audio };
        match what & 7 {
            // as it is
            0 => {
                assert!(receiver.rtp(&mut body.to_vec()).is_err());
                assert!(receiver.rtcp(&mut body.to_vec()).is_err());
            }
            // of somebody else
            1 => {
                let mut wire = [body, &[0; TAG]].concat();
                if stranger.rtp(&mut wire).is_ok() {
                    assert!(receiver.rtp(&mut wire).is_err());
                }
                let mut wire = body.to_vec();
                if stranger.rtcp(&mut wire).is_ok() {
                    assert!(receiver.rtcp(&mut wire).is_err());
                }
            }
            // with the key, and once more
            2 | 3 => {
                let mut wire = [body, &[0; TAG]].concat();
                if sender.rtp(&mut wire).is_err() {
                    continue;
                }
                if let Ok(plain) = receiver.rtp(&mut wire.clone()) {
                    assert_eq!(plain, body);
                    session.heard(now);
                    if let Ok(packet) = rtp::Packet::parse(plain) {
                        repack(packet.payload);
                    }
                    assert!(receiver.rtp(&mut wire).is_err(), "it came twice");
                }
            }
            4 | 5 => {
                let mut wire = body.to_vec();
                if sender.rtcp(&mut wire).is_err() {
                    continue;
                }
                if let Ok(plain) = receiver.rtcp(&mut wire.clone()) {
                    assert_eq!(plain, body);
                    session.rtcp(now, Ntp::of(now, None), leg, plain);
                    assert!(receiver.rtcp(&mut wire).is_err(), "it came twice");
                }
            }
            // on the way something happens to it
            6 => {
                let mut wire = [body, &[0; TAG]].concat();
                if sender.rtp(&mut wire).is_ok() {
                    let at = usize::from(len) % wire.len();
                    wire[at] ^= 1 | what;
                    assert!(receiver.rtp(&mut wire).is_err());
                }
            }
            _ => repack(body),
        }
        for _ in 0..8 {
            match session.due(now) {
                Some(Due::Report(_)) => assert_eq!(session.phase(), Phase::Live),
                Some(Due::End(end)) => assert_eq!(session.phase(), Phase::Over(end)),
                None => break,
            }
        }
        assert!(session.due(now).is_none(), "there is no end of what is due");
        assert!(session.deadline().is_none_or(|at| at > now));
    }
}
