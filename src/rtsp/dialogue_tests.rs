use super::*;
use crate::media::CodecId;
use crate::media::testing::Rng;
use crate::rtsp::message::{Item, Parser, Rules};

fn at(ms: u64) -> Time {
    Time::from_nanos(1_000_000_000 + ms * 1_000_000)
}

fn plan(url: &str) -> Plan {
    Plan {
        url: Url::parse(url).unwrap(),
        role: Role::Watch,
        back_channel: false,
        kinds: vec![Kind::Video, Kind::Audio],
        carrier: Carrier::Tcp,
        fall_back: true,
        silence: SILENCE,
    }
}

const SDP: &str = "v=0\r\ns=x\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
    a=control:trackID=1\r\nm=audio 0 RTP/AVP 8\r\na=control:trackID=2\r\n";
const SPEAKER: &str = "m=audio 0 RTP/AVP 0 8\r\na=sendonly\r\na=control:trackID=3\r\n";

/// A camera made of strings.
struct Rig {
    dialogue: Dialogue,
    out: Vec<u8>,
    now: u64,
}

impl Rig {
    fn new(plan: Plan) -> Rig {
        let mut rig = Rig { dialogue: Dialogue::new(plan, [7; 16]), out: Vec::new(), now: 0 };
        rig.dialogue.begin(at(0), &mut rig.out);
        rig
    }

    fn url(url: &str) -> Rig {
        Rig::new(plan(url))
    }

    /// The one request that was sent since.
    fn sent(&mut self) -> Request {
        let mut parser = Parser::new(Rules::PUBLISHER);
        parser.feed(&self.out);
        self.out.clear();
        let Ok(Some(Item::Request(request))) = parser.next() else { panic!("no request") };
        request
    }

    fn asked(&mut self) -> (String, String) {
        let request = self.sent();
        (request.verb, request.uri)
    }

    /// Answers the last request; `head` is the status and headers, without CSeq.
    fn answer(&mut self, head: &str, body: &str) -> Result<Step, DialogueError> {
        let cseq = self.dialogue.cseq;
        let text = format!("RTSP/1.0 {head}\r\nCSeq: {cseq}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.raw(&text)
    }

    fn raw(&mut self, text: &str) -> Result<Step, DialogueError> {
        self.out.clear();
        let mut parser = Parser::new(Rules::CAMERA);
        parser.reserve(64 << 10);
        assert_eq!(parser.feed(text.as_bytes()), text.len());
        match parser.next() {
            Ok(Some(Item::Response(response))) => {
                self.dialogue.response(at(self.now), &response, &mut self.out)
            }
            other => panic!("{other:?}"),
        }
    }

    fn setup(&mut self, ports: Vec<Pair<u16>>) {
        self.out.clear();
        self.dialogue.setup(at(self.now), ports, &mut self.out);
    }

    /// Through a camera that does everything right.
    fn through(&mut self) {
        assert_eq!(self.answer("200 OK", SDP), Ok(Step::Described));
        self.setup(Vec::new());
        assert_eq!(self.answer("200 OK\r\nSession: 12;timeout=30", ""), Ok(Step::Wait));
        assert_eq!(self.answer("200 OK\r\nSession: 12", ""), Ok(Step::Ready));
        self.play();
        assert_eq!(self.answer("200 OK", ""), Ok(Step::Playing));
    }

    fn play(&mut self) {
        self.out.clear();
        self.dialogue.play(at(self.now), &mut self.out);
    }

    fn tick(&mut self, ms: u64) -> Result<Step, DialogueError> {
        self.now = ms;
        self.out.clear();
        self.dialogue.tick(at(ms), &mut self.out)
    }
}

#[test]
fn a_camera_that_does_everything_right() {
    let mut rig = Rig::url("rtsp://u:p@10.0.0.9:8554/cam?x=1");
    let request = rig.sent();
    assert_eq!((request.method, request.uri.as_str()), (Method::Describe, "rtsp://10.0.0.9:8554/cam?x=1"));
    assert!(request.headers.get("User-Agent").is_some_and(|a| a.starts_with("streamd/")));
    assert_eq!(request.headers.get("Accept"), Some("application/sdp"));
    assert!(request.headers.get("Require").is_none() && request.headers.get("Authorization").is_none());
    let base = "200 OK\r\nContent-Base: rtsp://10.0.0.9:8554/cam/";
    assert_eq!(rig.answer(base, SDP), Ok(Step::Described));
    let codecs: Vec<_> = rig.dialogue.tracks().iter().map(|t| t.codec.id).collect();
    assert_eq!(codecs, [CodecId::H264, CodecId::Pcma]);
    rig.setup(Vec::new());
    let request = rig.sent();
    assert_eq!(request.uri, "rtsp://10.0.0.9:8554/cam/trackID=1");
    assert_eq!(request.headers.get("Transport"), Some("RTP/AVP/TCP;unicast;interleaved=0-1"));
    let answer =
        "200 OK\r\nSession:  12345678 ; timeout=30\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=1";
    assert_eq!(rig.answer(answer, ""), Ok(Step::Wait));
    let request = rig.sent();
    assert_eq!(request.headers.session(), Some(("12345678", None)));
    assert_eq!(request.headers.get("Transport"), Some("RTP/AVP/TCP;unicast;interleaved=2-3"));
    assert_eq!(rig.answer("200 OK\r\nTransport: RTP/AVP/TCP;interleaved=2-3", ""), Ok(Step::Ready));
    rig.play();
    assert_eq!(rig.asked(), ("PLAY".into(), "rtsp://10.0.0.9:8554/cam/".into()));
    assert_eq!(rig.answer("200 OK\r\nRTP-Info: url=x;seq=1", ""), Ok(Step::Playing));
    assert_eq!(
        [0, 1, 2, 3, 4].map(|c| rig.dialogue.channel(c)),
        [Some((0, false)), Some((0, true)), Some((1, false)), Some((1, true)), None]
    );
    rig.dialogue.teardown(&mut rig.out);
    rig.dialogue.teardown(&mut rig.out);
    assert!(String::from_utf8_lossy(&rig.out).ends_with("\r\n\r\n"));
}

/// The camera is asked how it likes to be kept alive, and then is, at half its timeout.
#[test]
fn the_session_is_kept_alive_as_the_server_lists() {
    for (public, want) in [
        ("Public: OPTIONS, DESCRIBE, GET_PARAMETER, SET_PARAMETER", "GET_PARAMETER"),
        ("Public: OPTIONS, SET_PARAMETER", "SET_PARAMETER"),
        ("Public: OPTIONS, PLAY", "OPTIONS"),
        ("Server: x", "OPTIONS"),
    ] {
        let mut rig = Rig::url("rtsp://h/x");
        rig.through();
        assert_eq!(rig.asked().0, "OPTIONS");
        assert_eq!(rig.answer(&format!("200 OK\r\n{public}"), ""), Ok(Step::Wait));
        assert_eq!(rig.tick(0), Ok(Step::Report));
        rig.dialogue.heard(at(14_999));
        assert_eq!(rig.tick(14_999), Ok(Step::Report));
        assert!(rig.out.is_empty());
        assert_eq!(rig.tick(15_000), Ok(Step::Wait));
        assert_eq!(rig.asked().0, want);
        // It is not answered: no reason to go, and the next one goes out all the same.
        for ms in [20_000, 25_000, 30_000] {
            rig.dialogue.heard(at(ms));
            rig.tick(ms).unwrap();
        }
        assert_eq!(rig.asked().0, want);
        // It is refused: OPTIONS from then on.
        assert_eq!(rig.answer("501 Not Implemented", ""), Ok(Step::Wait));
        rig.dialogue.heard(at(45_000));
        rig.tick(45_000).unwrap();
        assert_eq!(rig.asked().0, "OPTIONS");
        assert_eq!(rig.answer("454 Session Not Found", ""), Err(DialogueError::Ended));
    }
}

#[test]
fn silence_ends_a_session_and_so_does_a_camera_that_never_answers() {
    let mut rig = Rig::url("rtsp://h/x");
    rig.through();
    rig.tick(0).unwrap();
    assert_eq!(rig.tick(9_999).map(|_| ()), Ok(()));
    assert_eq!(rig.tick(10_000), Err(DialogueError::NoData(SILENCE * 2)));
    let mut rig = Rig::url("rtsp://h/x");
    rig.through();
    rig.dialogue.heard(at(100));
    rig.tick(0).unwrap();
    assert!(rig.dialogue.deadline().is_some_and(|d| d <= at(5100)));
    assert!(rig.tick(5099).is_ok());
    rig.tick(5099).unwrap();
    assert_eq!(rig.tick(5100), Err(DialogueError::NoData(SILENCE)));
    // Goodbye, and nothing more: gone sooner. Goodbye and on it goes: nothing happened.
    let mut rig = Rig::url("rtsp://h/x");
    rig.through();
    rig.dialogue.heard(at(100));
    rig.dialogue.bye();
    rig.tick(100).unwrap();
    assert!(rig.tick(1000).is_ok());
    rig.dialogue.heard(at(1000));
    assert!(rig.tick(1900).is_ok());
    assert!(rig.tick(2000).is_err());
    let mut rig = Rig::url("rtsp://h/x");
    assert_eq!(rig.tick(4999), Ok(Step::Wait));
    assert_eq!(rig.tick(5000), Err(DialogueError::Silent(Method::Describe)));
}

#[test]
fn digest_is_answered_for_each_request_and_a_wrong_password_is_said() {
    let ask = "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"c\"\r\nWWW-Authenticate: Digest realm=\"c\", nonce=\"n1\"";
    let mut rig = Rig::url("rtsp://u:p@h/x");
    assert_eq!(rig.answer(ask, ""), Ok(Step::Wait));
    let request = rig.sent();
    let text = request.headers.get("Authorization").unwrap();
    assert!(text.starts_with("Digest username=\"u\"") && text.contains("uri=\"rtsp://h/x\""), "{text}");
    assert_eq!(rig.answer("200 OK", SDP), Ok(Step::Described));
    rig.setup(Vec::new());
    let text = rig.sent().headers.get("Authorization").unwrap().to_string();
    assert!(text.contains("uri=\"rtsp://h/x/trackID=1\"") && text.contains("nonce=\"n1\""));
    // The nonce is old, or good for one request only: another answer, once.
    assert_eq!(rig.answer(&ask.replace("n1", "n2"), ""), Ok(Step::Wait));
    assert!(rig.sent().headers.get("Authorization").unwrap().contains("n2"));
    assert_eq!(rig.answer(&ask.replace("n1", "n3"), ""), Err(DialogueError::Refused));
    let mut rig = Rig::url("rtsp://u:p@h/x");
    assert_eq!(rig.answer(ask, ""), Ok(Step::Wait));
    assert_eq!(rig.answer(&ask.replace("n1", "n2"), ""), Err(DialogueError::Refused));
    let mut rig = Rig::url("rtsp://u:p@h/x");
    assert_eq!(rig.answer(ask, ""), Ok(Step::Wait));
    assert_eq!(rig.answer(&format!("{ask}, stale=true"), ""), Ok(Step::Wait));
    assert_eq!(rig.answer(&format!("{ask}, stale=true"), ""), Err(DialogueError::Refused));
    assert_eq!(Rig::url("rtsp://h/x").answer(ask, ""), Err(DialogueError::NoAccount));
    let int = "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"c\", nonce=\"n\", qop=\"auth-int\"";
    let error = Rig::url("rtsp://u:p@h/x").answer(int, "").unwrap_err().to_string();
    assert!(error.contains("qop=auth-int") && error.contains("expected"), "{error}");
}

#[test]
fn redirects_are_followed_but_not_for_ever_and_not_with_the_password_in_clear() {
    let mut rig = Rig::url("rtsp://u:p@h/x");
    assert_eq!(rig.answer("302 Found\r\nLocation: rtsp://other:8554/y", ""), Ok(Step::Dial));
    assert_eq!((rig.dialogue.url().host.as_str(), rig.dialogue.url().port), ("other", Some(8554)));
    rig.out.clear();
    rig.dialogue.begin(at(0), &mut rig.out);
    assert_eq!(rig.asked().1, "rtsp://other:8554/y");
    let basic = "401 Unauthorized\r\nWWW-Authenticate: Basic realm=x";
    assert!(matches!(rig.answer(basic, ""), Err(DialogueError::Challenge(_))));
    let mut rig = Rig::url("rtsp://u:p@h/x");
    assert_eq!(rig.answer("301 Moved\r\nLocation: /z", ""), Ok(Step::Dial));
    assert_eq!(rig.dialogue.url().public(), "rtsp://h/z");
    for bad in ["rtsps://h/x", "http://h/", "", "rtsp://h:0/"] {
        let mut rig = Rig::url("rtsp://h/x");
        let answer = rig.answer(&format!("302 Found\r\nLocation: {bad}"), "");
        assert!(matches!(answer, Err(DialogueError::Location(_))), "{bad}");
    }
    let mut rig = Rig::url("rtsp://h/x");
    let mut last = Ok(Step::Dial);
    for _ in 0..REDIRECTS + 1 {
        last = rig.answer("302 Found\r\nLocation: rtsp://h/x", "");
        rig.dialogue.begin(at(0), &mut rig.out);
    }
    assert_eq!(last, Err(DialogueError::Redirects));
}

/// Cameras that refuse the question about the speaker: by the book (551), in their own way (400,
/// which needs a new connection), by hanging up, and Dahua only at SETUP.
#[test]
fn quirk_the_question_about_the_speaker_is_refused() {
    let speaker = || Plan { back_channel: true, ..plan("rtsp://h/x") };
    let mut rig = Rig::new(speaker());
    assert_eq!(rig.sent().headers.get("Require"), Some(BACK_CHANNEL));
    assert_eq!(rig.answer("551 Option not supported", ""), Ok(Step::Wait));
    assert_eq!(rig.sent().headers.get("Require"), None);
    for how in 0..3 {
        let mut rig = Rig::new(speaker());
        let step = match how {
            0 => rig.answer("400 Bad Request", ""),
            1 => rig.dialogue.closed(),
            _ => {
                assert_eq!(rig.answer("200 OK", SDP), Ok(Step::Described));
                rig.setup(Vec::new());
                rig.answer("500 Internal Server Error", "")
            }
        };
        assert_eq!(step, Ok(Step::Dial));
        rig.out.clear();
        rig.dialogue.begin(at(0), &mut rig.out);
        assert_eq!(rig.sent().headers.get("Require"), None);
        assert!(rig.dialogue.closed().is_err());
    }
    let mut rig = Rig::new(speaker());
    assert!(matches!(rig.answer("404 Not Found", ""), Err(DialogueError::Status(_, 404, _))));
}

#[test]
fn the_speaker_is_seen_by_who_watches_and_set_up_by_who_talks() {
    let mut rig = Rig::new(Plan { back_channel: true, ..plan("rtsp://h/x") });
    let sdp = format!("{SDP}{SPEAKER}");
    assert_eq!(rig.answer("200 OK", &sdp), Ok(Step::Described));
    assert_eq!((rig.dialogue.tracks().len(), rig.dialogue.speaker().unwrap().codec.id), (2, CodecId::Pcmu));
    let mut rig = Rig::new(Plan { back_channel: true, role: Role::Talk, ..plan("rtsp://h/x") });
    assert_eq!(rig.answer("200 OK", &sdp), Ok(Step::Described));
    rig.setup(Vec::new());
    let request = rig.sent();
    assert_eq!(
        (request.uri.as_str(), request.headers.get("Require")),
        ("rtsp://h/x/trackID=3", Some(BACK_CHANNEL))
    );
    assert_eq!(rig.answer("200 OK\r\nSession: 1", ""), Ok(Step::Ready));
    rig.play();
    assert_eq!(rig.sent().headers.get("Require"), Some(BACK_CHANNEL));
    assert_eq!(rig.answer("200 OK", ""), Ok(Step::Playing));
    rig.tick(60_000).unwrap();
    let mut rig = Rig::new(Plan { back_channel: true, role: Role::Talk, ..plan("rtsp://h/x") });
    assert_eq!(rig.answer("200 OK", SDP), Err(DialogueError::Nothing));
}

#[test]
fn udp_falls_back_to_tcp_when_it_is_refused_and_when_nothing_comes() {
    let udp = || Plan { carrier: Carrier::Udp, ..plan("rtsp://h/x") };
    let ports = || vec![(5000, 5001), (5002, 5003)];
    let mut rig = Rig::new(udp());
    rig.answer("200 OK", SDP).unwrap();
    rig.setup(ports());
    assert_eq!(rig.sent().headers.get("Transport"), Some("RTP/AVP;unicast;client_port=5000-5001"));
    assert_eq!(rig.answer("461 Unsupported Transport", ""), Ok(Step::Described));
    assert_eq!(rig.dialogue.carrier(), Carrier::Tcp);
    rig.setup(Vec::new());
    assert!(rig.sent().headers.get("Transport").unwrap().contains("interleaved=0-1"));
    assert!(rig.answer("461 Unsupported Transport", "").is_ok(), "the other track may still do");
    assert!(rig.answer("461 Unsupported Transport", "").is_err());
    // TCP is refused by a camera that has only UDP.
    let mut rig = Rig::url("rtsp://h/x");
    rig.answer("200 OK", SDP).unwrap();
    rig.setup(Vec::new());
    assert_eq!(rig.answer("461 Unsupported Transport", ""), Ok(Step::Described));
    assert_eq!(rig.dialogue.carrier(), Carrier::Udp);
    // OpenIPC gives no server_port.
    let mut rig = Rig::new(udp());
    rig.answer("200 OK", SDP).unwrap();
    rig.setup(ports());
    rig.answer("200 OK\r\nSession: 1\r\nTransport: RTP/AVP;unicast;client_port=5000-5001", "").unwrap();
    assert_eq!(rig.answer("200 OK\r\nTransport: RTP/AVP/UDP;unicast", ""), Ok(Step::Ready));
    let transport = rig.dialogue.tracks()[1].transport.clone().unwrap();
    assert_eq!((transport.lower, transport.server_port), (Some(Lower::Udp), None));
    rig.play();
    assert_eq!(rig.answer("200 OK", ""), Ok(Step::Playing));
    rig.tick(0).unwrap();
    assert_eq!(rig.tick(3000), Ok(Step::Dial));
    assert_eq!(rig.dialogue.carrier(), Carrier::Tcp);
}

/// What cameras answer to SETUP: other channels, `RTP/AVP` without `/TCP`, one channel, none at all,
/// the channels of another track, another session id for each track (the first one counts).
#[test]
fn quirk_answers_to_setup() {
    for (first, second, want) in [
        ("RTP/AVP/TCP;unicast;interleaved=4-5", "RTP/AVP/TCP;interleaved=6-7", [(4, 5), (6, 7)]),
        ("RTP/AVP;unicast;interleaved=0", "RTP/AVP;unicast;interleaved=2;ssrc= 1A", [(0, 1), (2, 3)]),
        ("", "RTP/AVP", [(0, 1), (2, 3)]),
        ("RTP/AVP/TCP;interleaved=0-1", "RTP/AVP/TCP;interleaved=0-1", [(0, 1), (2, 3)]),
        ("RTP/AVP/TCP;ssrc=9;interleaved=2-3", "RTP/AVP/TCP;interleaved=9-9", [(2, 3), (2, 3)]),
    ] {
        let mut rig = Rig::url("rtsp://h/x");
        rig.answer("200 OK", SDP).unwrap();
        rig.setup(Vec::new());
        rig.answer(&format!("200 OK\r\nSession: a\r\nTransport: {first}"), "").unwrap();
        assert_eq!(rig.sent().headers.session(), Some(("a", None)));
        rig.answer(&format!("200 OK\r\nSession: b;timeout=0\r\nTransport: {second}"), "").unwrap();
        let got: Vec<_> = rig.dialogue.tracks().iter().map(|t| t.transport.clone().unwrap()).collect();
        assert_eq!(got[0].interleaved, Some(want[0]), "{first}");
        if want[0] != want[1] {
            assert_eq!(got[1].interleaved, Some(want[1]), "{second}");
        }
        rig.play();
        assert_eq!(rig.sent().headers.session(), Some(("a", None)));
    }
}

/// Bases as cameras send them: no scheme, the scheme twice, an address that only the camera knows,
/// none; controls that are absolute, with a wrong host, or missing.
#[test]
fn quirk_bases_and_controls() {
    let sdp = |control: &str| format!("v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n{control}");
    for (base, control, want) in [
        ("Content-Base: 192.168.1.1:554/x/", "a=control:t0\r\n", "rtsp://h:8554/x/t0"),
        ("Content-Base: rtsp://rtsp://192.168.1.1/x/", "a=control:t0\r\n", "rtsp://h:8554/x/t0"),
        ("Content-Base: rtsp://::ffff:10.0.0.1:554/x/", "a=control:t0\r\n", "rtsp://h:8554/x/t0"),
        ("Content-Base:", "a=control:t0\r\n", "rtsp://h:8554/cam/t0"),
        ("Content-Type: x", "a=control:rtsp://127.0.0.1:554/cam/t0\r\n", "rtsp://h:8554/cam/t0"),
        ("Content-Type: x", "", "rtsp://h:8554/cam"),
        ("Content-Location: rtsp://h/y", "a=control:?t=0\r\n", "rtsp://h:8554/y?t=0"),
    ] {
        let mut rig = Rig::url("rtsp://h:8554/cam");
        assert_eq!(rig.answer(&format!("200 OK\r\n{base}"), &sdp(control)), Ok(Step::Described), "{base}");
        rig.setup(Vec::new());
        assert_eq!(rig.asked().1, want, "{base} {control}");
    }
}

/// A camera that refuses to set up its sound still shows its picture.
#[test]
fn quirk_one_track_is_refused() {
    let mut rig = Rig::url("rtsp://h/x");
    rig.answer("200 OK", SDP).unwrap();
    rig.setup(Vec::new());
    rig.answer("200 OK\r\nSession: 1", "").unwrap();
    assert_eq!(rig.answer("500 Internal Server Error", ""), Ok(Step::Ready));
    assert_eq!(rig.dialogue.tracks().len(), 1);
}

/// Packets before the answer to PLAY; an answer that never comes; a Range that is missed.
#[test]
fn quirk_answers_to_play() {
    let ready = || {
        let mut rig = Rig::url("rtsp://h/x");
        rig.answer("200 OK", SDP).unwrap();
        rig.setup(Vec::new());
        rig.answer("200 OK\r\nSession: 1", "").unwrap();
        rig.answer("200 OK", "").unwrap();
        rig.play();
        rig
    };
    let mut rig = ready();
    rig.dialogue.heard(at(4000));
    assert_eq!(rig.tick(5000), Ok(Step::Playing));
    let mut rig = ready();
    assert_eq!(rig.tick(5000), Err(DialogueError::Silent(Method::Play)));
    let mut rig = ready();
    assert_eq!(rig.sent().headers.get("Range"), None);
    assert_eq!(rig.answer("457 Invalid Range", ""), Ok(Step::Wait));
    assert_eq!(rig.sent().headers.get("Range"), Some("npt=0.000-"));
    assert!(rig.answer("457 Invalid Range", "").is_err());
}

/// Answers without a number count, those with another are late ones to something else.
#[test]
fn quirk_numbers_of_answers() {
    let mut rig = Rig::url("rtsp://h/x");
    let body = |cseq: &str| format!("RTSP/1.0 200 OK\r\n{cseq}Content-Length: {}\r\n\r\n{SDP}", SDP.len());
    assert_eq!(rig.raw(&body("CSeq: 99\r\n")), Ok(Step::Wait));
    assert_eq!(rig.raw("RTSP/1.0 100 Continue\r\nCSeq: 1\r\n\r\n"), Ok(Step::Wait));
    assert_eq!(rig.raw(&body("")), Ok(Step::Described));
}

#[test]
fn requests_of_the_camera_are_answered() {
    let mut rig = Rig::url("rtsp://h/x");
    rig.through();
    let ask = |method: &str| {
        let mut parser = Parser::new(Rules::CAMERA);
        parser.feed(format!("{method} rtsp://h/x RTSP/1.0\r\nCSeq: 5\r\n\r\n").as_bytes());
        match parser.next() {
            Ok(Some(Item::Request(request))) => request,
            other => panic!("{other:?}"),
        }
    };
    for (method, status) in [("OPTIONS", "200"), ("SET_PARAMETER", "200"), ("RECORD", "501")] {
        rig.out.clear();
        rig.dialogue.request(&ask(method), &mut rig.out).unwrap();
        let text = String::from_utf8_lossy(&rig.out).into_owned();
        assert!(text.starts_with(&format!("RTSP/1.0 {status} ")) && text.contains("CSeq: 5\r\n"), "{text}");
    }
    assert_eq!(rig.dialogue.request(&ask("REDIRECT"), &mut rig.out), Err(DialogueError::Ended));
}

/// Media that are not wanted, not known or flow nowhere are not set up.
#[test]
fn only_what_is_wanted_is_set_up() {
    let sdp = "v=0\r\nm=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n\
        m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\nm=video 0 RTP/AVP 98\r\na=rtpmap:98 X/1\r\n\
        m=audio 0 RTP/AVP 0\r\na=inactive\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000\r\n";
    let ids = |kinds: &[Kind]| {
        let mut rig = Rig::new(Plan { kinds: kinds.to_vec(), ..plan("rtsp://h/x") });
        rig.answer("200 OK", sdp)
            .map(|_| rig.dialogue.tracks().iter().map(|t| t.codec.id).collect::<Vec<_>>())
    };
    assert_eq!(ids(&[Kind::Video, Kind::Audio]).unwrap(), [CodecId::H265, CodecId::Opus]);
    assert_eq!(ids(&[Kind::Data]).unwrap(), [CodecId::Onvif]);
    assert!(matches!(Rig::url("rtsp://h/x").answer("200 OK", "v=0\r\n"), Err(DialogueError::Sdp(_))));
    assert!(matches!(
        Rig::url("rtsp://h/x").answer("200 OK", "m=video 0 RTP/AVP 98\r\na=rtpmap:98 X/1\r\n"),
        Err(DialogueError::Nothing)
    ));
}

#[test]
fn whatever_a_camera_answers_nothing_panics_or_grows() {
    let heads = [
        "200 OK\r\nSession: 1;timeout=4294967295\r\nTransport: RTP/AVP/TCP;interleaved=0-1",
        "200 OK\r\nContent-Base: rtsp://h/y/\r\nPublic: GET_PARAMETER",
        "401 No\r\nWWW-Authenticate: Digest realm=\"c\", nonce=\"n\", stale=true",
        "302 Found\r\nLocation: rtsp://h/z",
        "461 No\r\nSession: 2",
        "551 No",
        "457 No",
        "500 No",
        "200 OK\r\nTransport: RTP/AVP;multicast;port=1-2",
        "999 Odd",
    ];
    let mut random = Rng::new(11);
    for round in 0..3000 {
        let carrier = if round % 2 == 0 { Carrier::Tcp } else { Carrier::Udp };
        let role = if round % 5 == 0 { Role::Talk } else { Role::Watch };
        let plan = Plan { back_channel: round % 3 == 0, carrier, role, ..plan("rtsp://u:p@h/x") };
        let mut rig = Rig::new(plan);
        let sdp = format!("{SDP}{SPEAKER}");
        for turn in 0..40u64 {
            let head = heads[random.below(heads.len())];
            let mut body = if random.below(2) == 0 { sdp.clone().into_bytes() } else { Vec::new() };
            if !body.is_empty() && random.below(3) == 0 {
                let at = random.below(body.len());
                body[at] = b"\r\n=:/x09"[random.below(8)];
            }
            rig.now += 100 * random.below(40) as u64;
            let step = match random.below(6) {
                0 => rig.tick(rig.now),
                1 if turn > 3 => rig.dialogue.closed(),
                _ => rig.answer(head, &String::from_utf8_lossy(&body)),
            };
            rig.out.clear();
            match step {
                Ok(Step::Dial) => rig.dialogue.begin(at(rig.now), &mut rig.out),
                Ok(Step::Described) => rig.setup(vec![(5000, 5001); rig.dialogue.tracks().len()]),
                Ok(Step::Ready) => rig.play(),
                Ok(_) => {}
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    break;
                }
            }
            assert!(rig.out.len() < 2000 && rig.dialogue.tracks().len() <= limits::TRACKS);
        }
    }
}

/// A camera may send us anywhere, but not to an address that no server would take.
#[test]
fn an_address_without_end_is_not_followed() {
    let long = "x/".repeat(600);
    let mut rig = Rig::url("rtsp://10.0.0.9/ch0");
    rig.sent();
    assert!(rig.answer(&format!("302 Moved\r\nLocation: rtsp://10.0.0.9/{long}"), "").is_err());
    let mut rig = Rig::url("rtsp://10.0.0.9/ch0");
    rig.sent();
    let sdp = SDP.replace("trackID=1", &long);
    rig.answer("200 OK", &sdp).unwrap();
    assert_eq!(rig.dialogue.tracks().len(), 1, "only the sound can be asked for");
}
