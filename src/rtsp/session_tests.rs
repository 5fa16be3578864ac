use super::*;
use crate::net::rtp::pay::tests::Xorshift;
use crate::rtsp::message::{Item, Parser, Rules};
use std::time::Duration;

fn request(method: &str, uri: &str, headers: &str) -> Request {
    let mut parser = Parser::new(Rules::VIEWER);
    parser.feed(format!("{method} {uri} RTSP/1.0\r\nCSeq: 5\r\n{headers}\r\n").as_bytes());
    match parser.next() {
        Ok(Some(Item::Request(request))) => request,
        other => panic!("{other:?}"),
    }
}

fn peer(connection: u64, last: u8, user: u32) -> Peer {
    Peer { connection, address: IpAddr::from([10, 0, 0, last]), user }
}

fn offered(control: &str) -> Offered<'_> {
    Offered { control, ssrc: Some(0xAB), busy: false, group: None, next: Some((7, 9)) }
}

struct Rig {
    session: Session,
    now: Time,
    udp: Option<Pair<u16>>,
    group: bool,
    busy: bool,
}

const ONE: Peer = Peer { connection: 1, address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), user: 1 };
const TCP: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
const UDP: &str = "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n";

impl Rig {
    fn new(mode: Mode) -> Rig {
        let session = Session::new([0xAB; 8], ONE, "yard", mode, Time::ZERO);
        Rig { session, now: Time::ZERO, udp: Some((8000, 8001)), group: false, busy: false }
    }

    fn ask(&mut self, peer: &Peer, method: &str, uri: &str, headers: &str) -> (u16, Action, Reply) {
        let request = request(method, uri, headers);
        let target = match read(&request) {
            Ok(Call::Setup(target) | Call::InSession(target)) => target,
            Ok(other) => panic!("{other:?}"),
            Err(reply) => return (reply.status, Action::None, reply),
        };
        let mut tracks = [offered("trackID=0"), offered("trackID=1"), offered("trackID=2")];
        tracks[2] = Offered { ssrc: None, busy: self.busy, next: None, ..tracks[2] };
        if self.group {
            tracks[0].group = Some((IpAddr::from([239, 255, 0, 1]), (5000, 5001), 4));
        }
        let offer = Offer { tracks: &tracks, udp: self.udp };
        let (reply, action) = self.session.handle(self.now, peer, &request, &target, &offer);
        (reply.status, action, reply)
    }

    fn say(&mut self, method: &str, track: &str, headers: &str) -> (u16, Action) {
        let session = format!("Session: {}\r\n{headers}", self.session.id());
        let (status, action, _) = self.ask(&ONE, method, &format!("rtsp://cam/yard{track}"), &session);
        (status, action)
    }
}

#[test]
fn a_viewer_sets_up_plays_pauses_and_leaves() {
    let mut rig = Rig::new(Mode::Play);
    let (status, action, reply) = rig.ask(&ONE, "SETUP", "rtsp://u:p@cam/yard/trackID=0", TCP);
    assert_eq!((status, action), (200, Action::Setup(0)));
    assert_eq!(reply.get("Session"), Some("abababababababab;timeout=60"));
    assert_eq!(reply.get("Transport"), Some("RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=000000AB"));
    assert_eq!(rig.say("SETUP", "/trackID=1", "Transport: RTP/AVP/TCP\r\n"), (200, Action::Setup(1)));
    assert_eq!(rig.session.tracks()[1].transport.interleaved, Some((2, 3)));
    let session = format!("Session: {}\r\n", rig.session.id());
    let (_, action, reply) = rig.ask(&ONE, "PLAY", "rtsp://cam/yard/", &session);
    assert_eq!(action, Action::Play);
    assert_eq!(
        reply.get("RTP-Info"),
        Some("url=rtsp://cam/yard/trackID=0;seq=7;rtptime=9,url=rtsp://cam/yard/trackID=1;seq=7;rtptime=9")
    );
    assert_eq!(rig.say("PLAY", "/trackID=0", ""), (200, Action::None), "repeated, to a track");
    assert_eq!(rig.say("SETUP", "/trackID=2", TCP), (455, Action::None));
    assert_eq!(rig.say("GET_PARAMETER", "", ""), (200, Action::None));
    assert_eq!(rig.say("OPTIONS", "", ""), (200, Action::None));
    assert_eq!(rig.say("PAUSE", "/trackID=0", ""), (460, Action::None));
    assert_eq!(rig.say("PAUSE", "", ""), (200, Action::Pause));
    assert_eq!(rig.say("PLAY", "", ""), (200, Action::Play));
    assert_eq!(rig.say("TEARDOWN", "/trackID=1", ""), (200, Action::Remove(1)));
    assert_eq!(rig.say("TEARDOWN", "", ""), (200, Action::End));
}

#[test]
fn a_query_stands_before_the_control() {
    let mut rig = Rig::new(Mode::Play);
    let request = request("SETUP", "rtsp://cam/yard?video&audio=aac/trackID=1", TCP);
    let Ok(Call::Setup(target)) = read(&request) else { panic!() };
    assert_eq!(target.track(), Some(("yard".into(), "video&audio=aac".into(), "trackID=1".into())));
    assert_eq!(rig.ask(&ONE, "SETUP", &request.uri, TCP).1, Action::Setup(1));
    let session = format!("Session: {}\r\n", rig.session.id());
    let (_, _, reply) = rig.ask(&ONE, "PLAY", "rtsp://cam/yard?video&audio=aac/", &session);
    assert_eq!(reply.get("RTP-Info"), Some("url=rtsp://cam/yard?video&audio=aac/trackID=1;seq=7;rtptime=9"));
}

/// GStreamer resolves the control against the base as RFC 3986 has it.
#[test]
fn a_base_with_a_query_can_be_resolved_and_appended_to() {
    let describe = request("DESCRIBE", "rtsp://cam/yard?video&audio=aac", "");
    let Ok(Call::Describe(target)) = read(&describe) else { panic!() };
    assert_eq!(target.base(), "rtsp://cam/yard/?video&audio=aac/");
    for (uri, query) in
        [("rtsp://cam/yard/?video&audio=aac/trackID=1", "video&audio=aac"), ("rtsp://cam/yard/trackID=1", "")]
    {
        let Ok(Call::Setup(target)) = read(&request("SETUP", uri, TCP)) else { panic!() };
        assert_eq!(target.track(), Some(("yard".into(), query.into(), "trackID=1".into())), "{uri}");
    }
}

#[test]
fn wrong_states_and_tracks_have_their_codes() {
    let mut rig = Rig::new(Mode::Play);
    assert_eq!(rig.say("PLAY", "", "").0, 455);
    assert_eq!(rig.say("PAUSE", "", "").0, 455);
    assert_eq!(rig.say("RECORD", "", "").0, 455);
    assert_eq!(rig.say("SETUP", "", TCP).0, 459);
    assert_eq!(rig.say("SETUP", "/trackID=9", TCP).0, 404);
    assert_eq!(rig.say("SETUP", "/trackID=0", "").0, 461);
    assert_eq!(rig.say("SETUP", "/trackID=0", "Transport: \r\n").0, 461);
    assert_eq!(
        rig.say("SETUP", "/trackID=0", "Transport: RTP/SAVP;unicast;client_port=5000-5001\r\n").0,
        461
    );
    assert_eq!(rig.ask(&ONE, "PLAY", "rtsp://cam/yard", "").0, 454);
    assert_eq!(rig.ask(&ONE, "PLAY", "rtsp://cam/yard", "Session: other\r\n").0, 454);
    assert_eq!(rig.session.state(), State::Init);
    for (head, status) in [("FLY", 501), ("REDIRECT", 501), ("DESCRIBE", 551)] {
        let bad =
            request(head, "rtsp://cam/yard", if status == 551 { "Require: onvif-replay\r\n" } else { "" });
        assert_eq!(read(&bad).unwrap_err().status, status);
    }
    assert_eq!(read(&request("ANNOUNCE", "/yard", "Content-Type: text/plain\r\n")).unwrap_err().status, 415);
}

#[test]
fn the_first_transport_that_we_do_is_taken() {
    let list = "Transport: RAW/X;unicast, RTP/SAVP;client_port=5000-5001, RTP/AVP;multicast, RTP/AVP;unicast;client_port=5000-5001, RTP/AVP/TCP\r\n";
    let mut rig = Rig::new(Mode::Play);
    rig.say("SETUP", "/trackID=0", list);
    let got = rig.session.tracks()[0].transport.clone();
    assert_eq!((got.client_port, got.server_port), (Some((5000, 5001)), Some((8000, 8001))));
    rig.udp = None;
    rig.say("SETUP", "/trackID=0", list);
    assert_eq!(rig.session.tracks()[0].transport.interleaved, Some((0, 1)), "set up anew");
    rig.group = true;
    rig.say("SETUP", "/trackID=0", list);
    assert_eq!(
        rig.session.tracks()[0].transport.to_string(),
        "RTP/AVP;multicast;destination=239.255.0.1;port=5000-5001;ttl=4;ssrc=000000AB"
    );
    assert_eq!(rig.session.tracks().len(), 1);
}

#[test]
fn packets_are_never_sent_where_somebody_points() {
    let mut rig = Rig::new(Mode::Play);
    for ports in ["80-81", "0-1", "5001-5000", "5000-5000", "65535"] {
        let header = format!("Transport: RTP/AVP;unicast;client_port={ports}\r\n");
        assert_eq!(rig.say("SETUP", "/trackID=0", &header).0, 461, "{ports}");
    }
    rig.say(
        "SETUP",
        "/trackID=0",
        "Transport: RTP/AVP;unicast;destination=8.8.8.8;client_port=5000-5001\r\n",
    );
    assert_eq!(rig.session.tracks()[0].transport.destination, None);
    for channels in ["1-2", "0-5", "0-0"] {
        let header = format!("Transport: RTP/AVP/TCP;interleaved={channels}\r\n");
        assert_eq!(rig.say("SETUP", "/trackID=1", &header).0, 461, "{channels}");
    }
    rig.say("SETUP", "/trackID=1", TCP);
    assert_eq!(rig.say("SETUP", "/trackID=2", TCP).0, 461, "channels are taken");
}

#[test]
fn a_session_exists_for_its_owner_only() {
    let mut rig = Rig::new(Mode::Play);
    rig.say("SETUP", "/trackID=0", TCP);
    let session = format!("Session: {}\r\n", rig.session.id());
    let uri = "rtsp://cam/yard";
    assert_eq!(rig.ask(&peer(2, 1, 1), "TEARDOWN", uri, &session).0, 454, "bound to its connection");
    rig.say("SETUP", "/trackID=0", UDP);
    assert_eq!(rig.ask(&peer(2, 1, 2), "TEARDOWN", uri, &session).0, 454, "another user");
    assert_eq!(rig.ask(&peer(2, 2, 1), "TEARDOWN", uri, &session).0, 454, "another address");
    assert_eq!(
        rig.ask(&peer(2, 1, 1), "SETUP", "rtsp://cam/yard/trackID=1", &format!("{session}{TCP}")).0,
        461
    );
    assert_eq!(rig.ask(&peer(2, 1, 1), "TEARDOWN", uri, &session).1, Action::End, "the same, by UDP");
}

#[test]
fn udp_needs_signs_of_life_and_a_playing_connection_does_not() {
    let mut rig = Rig::new(Mode::Play);
    rig.say("SETUP", "/trackID=0", UDP);
    rig.say("PLAY", "", "");
    let at = |s: u64| Time::from_nanos(s * 1_000_000_000);
    assert_eq!(rig.session.deadline(), Some(at(75)));
    rig.session.alive(at(50));
    assert_eq!(rig.session.deadline(), Some(at(125)));
    rig.now = at(60);
    rig.say("GET_PARAMETER", "", "");
    assert_eq!(rig.session.deadline(), Some(at(60) + Duration::from_secs(75)));
    let mut rig = Rig::new(Mode::Play);
    rig.say("SETUP", "/trackID=0", TCP);
    assert!(rig.session.deadline().is_some(), "set up and never played");
    rig.say("PLAY", "", "");
    assert_eq!(rig.session.deadline(), None);
}

#[test]
fn a_publisher_records() {
    let mut rig = Rig::new(Mode::Record);
    let (status, _, reply) = rig.ask(
        &ONE,
        "SETUP",
        "rtsp://cam/yard/trackID=0",
        "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n",
    );
    assert_eq!(status, 200);
    assert_eq!(reply.get("Transport"), Some("RTP/AVP/TCP;unicast;interleaved=0-1;mode=record"));
    assert_eq!(rig.say("PLAY", "", "").0, 455);
    assert_eq!(rig.say("RECORD", "", ""), (200, Action::Record));
    assert_eq!(rig.say("TEARDOWN", "", ""), (200, Action::End));
}

#[test]
fn one_talker_at_a_time_and_no_endless_setups() {
    let mut rig = Rig::new(Mode::Play);
    rig.busy = true;
    assert_eq!(rig.say("SETUP", "/trackID=2", TCP).0, 453);
    assert_eq!(rig.say("SETUP", "/trackID=0", TCP).0, 200);
    let codes: Vec<_> = (0..1000).map(|_| rig.say("SETUP", "/trackID=0", TCP).0).collect();
    assert_eq!(codes.iter().filter(|c| **c == 200).count() as u32, limits::SETUPS - 2);
    assert_eq!(codes.last(), Some(&453));
    assert_eq!(rig.session.tracks().len(), 1);
}

/// PLAY, TEARDOWN and SETUP in every order that chance gives: the state is one of four and its tracks
/// are its own (CVE-2019-7314, CVE-2021-38380 and their like).
#[test]
fn no_order_of_requests_breaks_a_session() {
    let mut random = Xorshift(13);
    let mut rig = Rig::new(Mode::Play);
    for i in 0..20_000 {
        if i % 40 == 0 {
            rig = Rig::new(if i % 80 == 0 { Mode::Play } else { Mode::Record });
        }
        let method =
            ["SETUP", "PLAY", "PAUSE", "TEARDOWN", "RECORD", "GET_PARAMETER", "OPTIONS"][random.below(7)];
        let track = ["", "/trackID=0", "/trackID=1", "/trackID=2", "/x"][random.below(5)];
        let transport = [TCP, UDP, "Transport: RTP/AVP/TCP\r\n", ""][random.below(4)];
        rig.say(method, track, transport);
        let tracks = rig.session.tracks();
        assert_eq!(tracks.is_empty(), rig.session.state() == State::Init);
        let mut channels: Vec<_> = tracks.iter().filter_map(|t| t.transport.interleaved).collect();
        channels.dedup();
        assert!(
            tracks.len() <= 3
                && channels.len() == tracks.iter().filter(|t| t.transport.interleaved.is_some()).count()
        );
    }
}
