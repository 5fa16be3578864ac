use super::*;
use crate::homekit::camera::{Rtp, Video};
use crate::media::testing::Rng;
use crate::net::rtcp::{emit_pli, emit_receiver};

const SIZE: Size = Size { width: 1280, height: 720, rate: 30 };

fn at(ms: u64) -> Time {
    Time::from_nanos((1_000_000 + ms) * 1_000_000)
}

fn selected(command: Command, size: Option<Size>, bitrate: Option<u16>) -> Selected {
    let rtp = Rtp { payload: Some(99), source: None, bitrate, report_ms: Some(500) };
    let video = Some(Video { profile: None, level: None, size, rtp, mtu: None });
    Selected { session: [0; 16], command, video, audio: None }
}

fn live() -> Session {
    let mut session = Session::new(at(0), [1, 2]);
    assert!(session.command(at(0), &selected(Command::Start, Some(SIZE), Some(299))));
    session
}

fn reports(session: &mut Session, now: Time) -> Vec<Leg> {
    std::iter::from_fn(|| session.due(now))
        .map(|due| match due {
            Due::Report(leg) => leg,
            Due::End(end) => panic!("{end:?}"),
        })
        .collect()
}

#[test]
fn reports_leave_at_once_and_then_as_often_as_was_agreed() {
    let mut session = live();
    assert_eq!(session.deadline(), Some(at(0)));
    assert_eq!(reports(&mut session, at(0)), [Leg::Video, Leg::Audio]);
    assert_eq!(session.deadline(), Some(at(500)));
    assert_eq!(reports(&mut session, at(499)), []);
    assert_eq!(reports(&mut session, at(500)), [Leg::Video]);
    let mut count = [0, 0];
    for ms in 501..20_500 {
        session.heard(at(ms));
        for leg in reports(&mut session, at(ms)) {
            count[usize::from(leg == Leg::Audio)] += 1;
        }
    }
    assert_eq!(count, [39, 4]);
}

#[test]
fn a_viewer_that_falls_silent_is_let_go_after_half_a_minute() {
    let mut session = live();
    for second in 0..100 {
        session.heard(at(second * 1000));
        while let Some(due) = session.due(at(second * 1000)) {
            assert!(matches!(due, Due::Report(_)));
        }
    }
    let ended = loop {
        let now = session.deadline().unwrap();
        match session.due(now) {
            Some(Due::End(end)) => break (end, now),
            _ => assert!(now < at(129_000)),
        }
    };
    assert_eq!(ended, (End::Silent, at(129_000)));
    assert_eq!((session.phase(), session.deadline()), (Phase::Over(End::Silent), None));
    assert_eq!(session.due(at(200_000)), None);
}

#[test]
fn one_that_never_starts_gives_its_place_back() {
    let mut session = Session::new(at(0), [1, 2]);
    assert_eq!(session.due(at(29_999)), None);
    assert_eq!(session.due(session.deadline().unwrap()), Some(Due::End(End::Unstarted)));
    assert!(!session.command(at(30_000), &selected(Command::Start, Some(SIZE), None)));
}

#[test]
fn commands_count_only_where_they_belong() {
    let mut session = Session::new(at(0), [1, 2]);
    for command in [Command::Suspend, Command::Resume, Command::Reconfigure] {
        assert!(!session.command(at(0), &selected(command, Some(SIZE), None)));
    }
    assert!(!session.command(at(0), &selected(Command::Start, None, None)));
    assert!(session.command(at(0), &selected(Command::Start, Some(SIZE), Some(299))));
    assert!(!session.command(at(0), &selected(Command::Start, Some(SIZE), Some(299))));
    assert!(session.command(at(1), &selected(Command::Reconfigure, None, Some(132))));
    assert_eq!(session.wanted(), Some(Wanted { size: SIZE, bitrate: Some(132) }));
    let small = Size { width: 640, height: 360, rate: 15 };
    assert!(session.command(at(1), &selected(Command::Reconfigure, Some(small), None)));
    assert_eq!(session.wanted(), Some(Wanted { size: small, bitrate: Some(132) }));
    assert!(session.command(at(2), &selected(Command::Suspend, None, None)));
    assert_eq!(session.phase(), Phase::Paused);
    assert_eq!(session.due(at(299_000)), None, "a pause is longer than a silence");
    assert!(session.command(at(299_000), &selected(Command::Resume, None, None)));
    assert_eq!(reports(&mut session, at(299_000)), [Leg::Video, Leg::Audio]);
    assert!(session.command(at(300_000), &selected(Command::End, None, None)));
    assert_eq!(session.phase(), Phase::Over(End::Asked));
}

#[test]
fn reports_of_the_viewer_are_read_and_key_frames_asked_for_not_too_often() {
    let mut session = live();
    let ntp = |ms: u64| Ntp::from_unix(1_700_000_000 + ms / 1000, (ms % 1000) as u32 * 1_000_000);
    let seen = Report {
        ssrc: 1,
        fraction: 26,
        lost: 7,
        highest: 9,
        jitter: 5,
        last_sr: ntp(0).middle(),
        delay: 32768,
    };
    let mut compound = Vec::new();
    emit_receiver(&mut compound, 77, &[Report { ssrc: 2, ..Report::default() }, seen], "viewer");
    assert!(!session.rtcp(at(1), ntp(600), Leg::Video, &compound));
    let way = session.way(Leg::Video).seen;
    assert_eq!((way.reports, way.fraction, way.lost, way.jitter), (1, 26, 7, 5));
    assert!(way.round_trip.unwrap().abs_diff(Duration::from_millis(100)) < Duration::from_millis(1));
    emit_pli(&mut compound, 77, 1);
    assert!(!session.rtcp(at(1), ntp(0), Leg::Audio, &compound), "sound has no key frames");
    let mut asked = 0;
    for ms in 0..10_000 {
        asked += u32::from(session.rtcp(at(ms), ntp(ms), Leg::Video, &compound));
    }
    assert_eq!((asked, session.wishes), (20, 10_000));
}

#[test]
fn nonsense_in_reports_is_stepped_over() {
    let mut rng = Rng::new(17);
    let mut session = live();
    let mut good = Vec::new();
    emit_receiver(&mut good, 77, &[Report { ssrc: 1, ..Report::default() }; 31], "viewer");
    emit_pli(&mut good, 77, 1);
    for _ in 0..50_000 {
        let mut bad = good.clone();
        bad.truncate(rng.below(good.len() + 1));
        for _ in 0..rng.below(6) {
            if !bad.is_empty() {
                let place = rng.below(bad.len());
                bad[place] = rng.next() as u8;
            }
        }
        session.rtcp(at(0), Ntp(u64::from(rng.next()) << 32), Leg::Video, &bad);
    }
    assert_eq!(session.phase(), Phase::Live);
}
