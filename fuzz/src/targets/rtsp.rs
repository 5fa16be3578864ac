//! One connection's bytes: however they are cut, the same messages and frames come out; whatever a
//! request asks of a session, the answer is a status and the session stays within its bounds.

use super::{Pieces, steer};
use std::net::{IpAddr, Ipv4Addr};
use streamd::media::Time;
use streamd::net::limits::rtsp as limits;
use streamd::rtsp::filter::Filter;
use streamd::rtsp::message::{Item, Method, ParseError, Parser, Request, Response, Rules, rtp_info};
use streamd::rtsp::session::{Action, Call, Mode, Offer, Offered, Peer, Session, State, read};
use streamd::rtsp::transport::{Transport, emit_list};
use streamd::rtsp::url::Url;

#[derive(Debug, PartialEq)]
enum Event {
    Request(Request),
    Response(Response),
    Frame(u8, Vec<u8>),
    Refused(ParseError),
}

/// What a connection makes of the pieces.
fn events<'a>(rules: Rules, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut parser = Parser::new(rules);
    let mut events = vec![];
    for mut piece in pieces {
        while !piece.is_empty() {
            let fed = parser.feed(piece);
            piece = &piece[fed..];
            let before = events.len();
            loop {
                match parser.next() {
                    Ok(Some(Item::Request(request))) => events.push(Event::Request(request)),
                    Ok(Some(Item::Response(response))) => events.push(Event::Response(response)),
                    Ok(Some(Item::Frame { channel, data })) => {
                        assert!(data.len() <= rules.frame);
                        events.push(Event::Frame(channel, data.to_vec()));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        events.push(Event::Refused(error));
                        return events;
                    }
                }
            }
            assert!(
                fed > 0 || events.len() > before,
                "neither room nor an item: the connection would stand still"
            );
        }
    }
    events
}

/// Words of a request on their own.
fn words(request: &Request) {
    if let Some(transport) = request.headers.get("Transport") {
        let list = Transport::parse_list(transport);
        assert!(list.len() <= limits::TRANSPORTS);
        for one in list.iter().filter(|t| t.lower.is_some()) {
            let written = emit_list(std::slice::from_ref(one));
            let mut again =
                Transport::parse(&written).unwrap_or_else(|| panic!("{written:?} cannot be read"));
            // what is refused is not written
            again.redirected = one.redirected;
            assert_eq!(
                (again.lower, again.interleaved, again.client_port),
                (one.lower, one.interleaved, one.client_port)
            );
        }
    }
    if let Some(info) = request.headers.get("RTP-Info") {
        assert!(rtp_info(info).count() <= limits::TRACKS);
    }
    if let Some(url) = Url::parse(&request.uri) {
        let public = url.public();
        assert!(!public.bytes().any(|b| b <= b' '), "{public:?}");
        if let Ok(filter) = Filter::parse(&url.query, "") {
            assert!(filter.wishes.len() <= limits::WISHES);
        }
    }
}

fn check(requests: &[&Request]) {
    let peer = Peer { connection: 1, address: IpAddr::V4(Ipv4Addr::LOCALHOST), user: 0 };
    let mut now = Time::ZERO;
    let mut session = Session::new([7; 8], peer, "cam", Mode::Play, now);
    let offered = |control, ssrc| Offered { control, ssrc, busy: false, group: None, next: Some((7, 9)) };
    let tracks = [offered("trackID=0", Some(1)), offered("trackID=1", Some(2)), offered("trackID=2", None)];
    let offer = Offer { tracks: &tracks, udp: Some((5000, 5001)) };
    for request in requests {
        words(request);
        let mut bytes = vec![];
        match read(request) {
            Err(reply) => reply.emit(&mut bytes),
            Ok(Call::Setup(target) | Call::InSession(target)) => {
                let before = session.state();
                let (reply, action) = session.handle(now, &peer, request, &target, &offer);
                reply.emit(&mut bytes);
                match action {
                    Action::Setup(at) | Action::Remove(at) => assert!(at < tracks.len()),
                    Action::Play => {
                        assert_eq!((before != State::Init, session.state()), (true, State::Playing))
                    }
                    Action::Record => panic!("recorded in a session that plays"),
                    Action::End => return,
                    Action::None | Action::Pause => {}
                }
                assert!(session.tracks().len() <= tracks.len());
            }
            Ok(_) => continue,
        }
        let answers = events(Rules::CAMERA, std::iter::once(&bytes[..]));
        let [Event::Response(reply)] = &answers[..] else {
            panic!("not one answer: {:?}", String::from_utf8_lossy(&bytes));
        };
        assert!((200..600).contains(&reply.status));
        assert!(request.method != Method::Options || reply.status != 500);
        now += std::time::Duration::from_secs(1);
    }
}

pub fn run(data: &[u8]) {
    let Some((seed, data)) = steer(data) else { return };
    let rules = if seed & 8 == 0 { Rules::VIEWER } else { Rules::CAMERA };
    let whole = events(rules, std::iter::once(data));
    let cut = events(rules, Pieces::new(data, seed));
    assert_eq!(whole, cut, "it matters how the bytes are cut");
    let requests: Vec<_> =
        whole.iter().filter_map(|e| if let Event::Request(r) = e { Some(r) } else { None }).collect();
    check(&requests);
}
