//! A controller on the other end of a session, without sockets.
use super::*;
use crate::homekit::accessory::{Member, Settings, Viewer};
use crate::homekit::camera::{Endpoints, NoEndpoint, SIZES, Selected};
use crate::homekit::crypto::{public_key, testing::bytes};
use crate::homekit::database::Shape;
use crate::homekit::pairing::book::{Pairing, testing::book};
use crate::homekit::pairing::{item, verify::testing as verify};
use crate::homekit::tlv8::Writer;
use crate::net::base64;

/// A camera that says yes and remembers.
#[derive(Default)]
struct Eye {
    log: Vec<String>,
}

impl Camera for Eye {
    fn identify(&mut self) {
        self.log.push("identify".into());
    }
    fn live_setup(
        &mut self,
        viewer: Viewer,
        theirs: &Endpoints,
        local: IpAddr,
    ) -> Result<(Endpoints, [u32; 2]), NoEndpoint> {
        self.log.push(format!("setup {}", viewer.place));
        Ok((Endpoints { address: local, ..theirs.clone() }, [1, 2]))
    }
    fn live_control(&mut self, viewer: Viewer, selected: &Selected) -> bool {
        self.log.push(format!("{:?} {}", selected.command, viewer.place));
        true
    }
    fn live_end(&mut self, viewer: Viewer) {
        self.log.push(format!("end {}", viewer.place));
    }
    fn changed(&mut self, iid: u16, _: u16, value: &Value) {
        self.log.push(format!("{iid} {value:?}"));
    }
}

/// A camera, and what keeps its book.
pub(crate) struct Home {
    pub(crate) accessory: Accessory,
    eye: Eye,
    now: Instant,
    pub(crate) keep: Box<dyn FnMut(Vec<u8>) -> bool>,
}

/// A controller's connection.
pub(crate) struct Phone {
    session: Session,
    cipher: Option<frame::Session>,
    id: Vec<u8>,
    seed: Key,
}

fn settings(shape: Shape) -> Settings {
    Settings {
        name: "Front door".into(),
        manufacturer: "streamd".into(),
        model: "Camera".into(),
        serial: "0001".into(),
        firmware: "1.0.0".into(),
        hardware: None,
        category: 17,
        shape,
        sizes: SIZES.to_vec(),
        prebuffer_ms: 4000,
        third_party: true,
    }
}

impl Home {
    fn new(shape: Shape) -> Home {
        let mut book = book();
        book.pairings.push(Pairing { id: b"owner".to_vec(), key: public_key(&[3; 32]), admin: true });
        book.pairings.push(Pairing { id: b"guest".to_vec(), key: public_key(&[4; 32]), admin: false });
        Home::with(shape, book)
    }

    pub(crate) fn with(shape: Shape, book: Book) -> Home {
        let accessory = Accessory::new(settings(shape), book);
        Home { accessory, eye: Eye::default(), now: Instant::now(), keep: Box::new(|_| true) }
    }

    /// A connection of nobody yet.
    pub(crate) fn stranger(&self) -> Phone {
        let session = Session::new(99, "::1".parse().unwrap(), &self.accessory);
        Phone { session, cipher: None, id: Vec::new(), seed: [0; 32] }
    }

    pub(crate) fn phone(&mut self, connection: u32, id: &[u8], seed: u8) -> Phone {
        let session = Session::new(connection, "192.168.1.2".parse().unwrap(), &self.accessory);
        let mut phone = Phone { session, cipher: None, id: id.to_vec(), seed: [seed; 32] };
        let m2 = phone.post(self, "/pair-verify", &verify::m1(&[5; 32]));
        let m2 = Tlv::parse(&m2.1).unwrap();
        let (m3, shared) = verify::m3(&[5; 32], &m2, &phone.id, &phone.seed);
        let (status, m4) = phone.post(self, "/pair-verify", &m3);
        assert_eq!(status, 200);
        assert_eq!(Tlv::parse(&m4).unwrap().byte(item::ERROR), None);
        phone.cipher = Some(frame::Session::controller(&shared));
        phone
    }

    fn owner(&mut self, connection: u32) -> Phone {
        self.phone(connection, b"owner", 3)
    }
}

impl Phone {
    /// Steps until the session waits; all that it writes, in plain.
    fn run(&mut self, home: &mut Home) -> Vec<u8> {
        let mut next = None;
        loop {
            let step = match next.take() {
                Some(next) => next,
                None => self.session.step(&mut home.accessory, &mut home.eye, home.now, &mut bytes(9)),
            };
            match step {
                Next::Wait(_) | Next::Close => break,
                Next::Save => {
                    let ok = (home.keep)(home.accessory.book.encode());
                    self.session.saved(&mut home.accessory, ok);
                }
                Next::Snapshot(_) => self.session.snapshot(Some(b"\xff\xd8jpeg")),
                Next::Work(job) => {
                    next = self.session.job_done(&mut home.accessory, &mut home.eye, job.run(), home.now);
                }
            }
        }
        let out = std::mem::take(self.session.output());
        match &mut self.cipher {
            None => out,
            Some(cipher) => {
                let mut plain = Vec::new();
                assert_eq!(cipher.open(&out, &mut plain), Ok(out.len()));
                plain
            }
        }
    }

    fn send(&mut self, text: &[u8]) {
        let mut wire = text.to_vec();
        if let Some(cipher) = &mut self.cipher {
            wire.clear();
            cipher.seal(text, &mut wire);
        }
        // Cut in the middle.
        let (a, b) = wire.split_at(wire.len() / 2);
        self.session.receive(a).unwrap();
        self.session.receive(b).unwrap();
    }

    fn ask(&mut self, home: &mut Home, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\\032b._hap._tcp.local\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        text.extend_from_slice(body);
        self.send(&text);
        let answer = self.run(home);
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("an answer");
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer[end + 4..].to_vec())
    }

    pub(crate) fn post(&mut self, home: &mut Home, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        self.ask(home, "POST", path, body)
    }

    fn get(&mut self, home: &mut Home, path: &str) -> (u16, String) {
        let (status, body) = self.ask(home, "GET", path, b"");
        (status, String::from_utf8(body).unwrap())
    }

    fn put(&mut self, home: &mut Home, entries: &str) -> (u16, String) {
        let body = format!("{{\"characteristics\":[{entries}]}}");
        let (status, body) = self.ask(home, "PUT", "/characteristics", body.as_bytes());
        (status, String::from_utf8(body).unwrap())
    }
}

#[test]
fn strangers_see_nothing() {
    let mut home = Home::new(Shape::FULL);
    let mut phone = home.stranger();
    for path in ["/accessories", "/characteristics?id=1.2", "/nothing"] {
        assert_eq!(phone.get(&mut home, path), (470, "{\"status\":-70401}".into()));
    }
    assert_eq!(phone.post(&mut home, "/pairings", b"").0, 470);
    assert_eq!(phone.post(&mut home, "/resource", b"{}").0, 470);
    assert_eq!(phone.post(&mut home, "/pair-setup", &[1]).0, 400);
    assert_eq!(phone.post(&mut home, "/identify", b""), (400, b"{\"status\":-70401}".to_vec()));
    let busy = phone.post(&mut home, "/pair-setup", &[6, 1, 1, 0, 1, 0]);
    assert_eq!(Tlv::parse(&busy.1).unwrap().byte(item::ERROR), Some(6));
}

#[test]
fn a_new_camera_is_paired_over_one_connection() {
    use crate::homekit::crypto::srp::testing::controller;
    let mut home = Home::new(Shape::FULL);
    home.accessory.book.pairings.clear();
    let mut phone = home.stranger();
    assert_eq!(phone.post(&mut home, "/identify", b"").0, 204);
    let m2 = Tlv::parse(&phone.post(&mut home, "/pair-setup", &[6, 1, 1, 0, 1, 0]).1).unwrap();
    let (a, proof, _) =
        controller("031-45-154", m2.get(item::SALT).unwrap(), m2.get(item::PUBLIC_KEY).unwrap(), &[9; 32]);
    let m3 = crate::homekit::tlv8::Writer::new()
        .u8(item::STATE, 3)
        .put(item::PUBLIC_KEY, &a)
        .put(item::PROOF, &proof);
    let m4 = Tlv::parse(&phone.post(&mut home, "/pair-setup", &m3.finish()).1).unwrap();
    assert!(m4.get(item::PROOF).is_some());
    assert_eq!(home.eye.log, ["identify"]);
}

#[test]
fn the_three_shapes_are_told() {
    for (shape, has, lacks) in [
        (Shape::FULL, vec!["\"110\"", "\"204\"", "\"21A\"", "\"129\"", "\"113\""], vec!["\"121\""]),
        (Shape::LIVE_ONLY, vec!["\"110\"", "\"85\""], vec!["\"204\"", "\"129\"", "\"21A\"", "\"B0\""]),
        (Shape::RECORDING_ONLY, vec!["\"204\"", "\"129\"", "\"112\""], vec!["\"110\"", "\"113\""]),
    ] {
        let mut home = Home::new(shape);
        let mut phone = home.owner(1);
        let (status, body) = phone.get(&mut home, "/accessories");
        assert_eq!(status, 200);
        json::parse(body.as_bytes()).unwrap();
        for kind in has {
            assert!(body.contains(&format!("\"type\":{kind}")), "{kind} in {body}");
        }
        for kind in lacks {
            assert!(!body.contains(&format!("\"type\":{kind}")), "{kind} in {body}");
        }
    }
}

#[test]
fn reads_and_writes_have_a_status_each() {
    let mut home = Home::new(Shape::FULL);
    let mut phone = home.owner(1);
    assert_eq!(
        phone.get(&mut home, "/characteristics?id=1.5"),
        (200, "{\"characteristics\":[{\"aid\":1,\"iid\":5,\"value\":\"Front door\"}]}".into())
    );
    let (status, body) = phone.get(&mut home, "/characteristics?id=1.5,1.2,1.999,2.5,1.85");
    assert_eq!(status, 207);
    for part in [
        "\"iid\":5,\"value\":\"Front door\",\"status\":0",
        "\"iid\":2,\"status\":-70405",
        "\"iid\":999,\"status\":-70409",
        "\"aid\":2,\"iid\":5,\"status\":-70409",
        "\"iid\":85,\"status\":-70402",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    let (_, body) = phone.get(&mut home, "/characteristics?id=1.130&meta=1&perms=1&type=1&ev=1");
    for part in [
        "\"format\":\"uint8\"",
        "\"maxValue\":100",
        "\"perms\":[\"pr\",\"pw\",\"ev\"]",
        "\"type\":\"119\"",
        "\"ev\":false",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    assert_eq!(phone.get(&mut home, "/characteristics").0, 400);
    assert_eq!(phone.get(&mut home, "/characteristics?id=1").0, 400);
    assert_eq!(phone.get(&mut home, "/characteristics?id=1.5,1.5").0, 422);
    assert_eq!(phone.put(&mut home, "{\"aid\":1,\"iid\":130,\"value\":40}"), (204, String::new()));
    assert_eq!(phone.put(&mut home, "{\"aid\":1,\"iid\":65,\"value\":true}").0, 204);
    for (entry, status) in [
        ("\"iid\":130,\"value\":101", -70410),
        ("\"iid\":130,\"value\":\"x\"", -70410),
        ("\"iid\":130", -70410),
        ("\"iid\":5,\"value\":\"x\"", -70404),
        ("\"iid\":2,\"ev\":true", -70406),
        ("\"iid\":7000,\"value\":1", -70409),
        ("\"iid\":70000,\"value\":1", -70409),
        ("\"iid\":37,\"value\":\"!!\"", -70410),
        ("\"iid\":85,\"value\":\"AAAA\"", -70410),
    ] {
        let (http, body) =
            phone.put(&mut home, &format!("{{\"aid\":1,{entry}}},{{\"aid\":1,\"iid\":145,\"value\":false}}"));
        assert_eq!(http, 207, "{entry}");
        assert!(
            body.contains(&format!("\"status\":{status}")) && body.contains("\"iid\":145,\"status\":0"),
            "{body}"
        );
    }
    assert_eq!(phone.ask(&mut home, "PUT", "/characteristics", b"{").0, 400);
    assert_eq!(phone.ask(&mut home, "DELETE", "/accessories", b"").0, 405);
    assert_eq!(phone.get(&mut home, "/nothing").0, 404);
    // The volume survives.
    let kept = Accessory::new(settings(Shape::FULL), home.accessory.book.clone());
    assert_eq!(kept.value(130), Some(&Value::Int(40)));
    assert!(home.accessory.take_unsaved().is_some() && home.accessory.take_unsaved().is_none());
}

#[test]
fn guests_do_not_switch_the_camera_off() {
    let mut home = Home::new(Shape::FULL);
    let mut guest = home.phone(1, b"guest", 4);
    for iid in [65, 66, 67, 81, 39] {
        let (status, body) = guest.put(&mut home, &format!("{{\"aid\":1,\"iid\":{iid},\"value\":0}}"));
        assert_eq!(status, 207);
        assert!(body.contains("-70401"), "{body}");
    }
    assert_eq!(guest.put(&mut home, "{\"aid\":1,\"iid\":145,\"value\":true}").0, 204);
}

#[test]
fn timed_writes_need_their_preparation() {
    let mut home = Home::new(Shape { indicator: true, ..Shape::FULL });
    let mut phone = home.owner(1);
    let write =
        |pid: &str| format!("{{\"characteristics\":[{{\"aid\":1,\"iid\":68,\"value\":false}}]{pid}}}");
    let mut put = |home: &mut Home, path: &str, body: &str| phone.ask(home, "PUT", path, body.as_bytes());
    assert_eq!(put(&mut home, "/characteristics", &write("")).0, 207);
    let prepare = "{\"ttl\":1000,\"pid\":18446744073709551615}";
    assert_eq!(put(&mut home, "/prepare", prepare), (200, b"{\"status\":0}".to_vec()));
    assert_eq!(put(&mut home, "/characteristics", &write(",\"pid\":7")).0, 207);
    assert_eq!(put(&mut home, "/prepare", prepare).0, 200);
    assert_eq!(put(&mut home, "/characteristics", &write(",\"pid\":18446744073709551615")).0, 204);
    assert_eq!(put(&mut home, "/prepare", prepare).0, 200);
    home.now += Duration::from_secs(2);
    assert_eq!(put(&mut home, "/characteristics", &write(",\"pid\":18446744073709551615")).0, 207);
    assert_eq!(put(&mut home, "/prepare", "{\"ttl\":1}").0, 400);
}

#[test]
fn events_reach_others_together_and_motion_at_once() {
    let mut home = Home::new(Shape::FULL);
    let (mut writer, mut other, mut third) = (home.owner(1), home.owner(2), home.owner(3));
    for phone in [&mut writer, &mut other] {
        let subscribe = "{\"aid\":1,\"iid\":130,\"ev\":true},{\"aid\":1,\"iid\":113,\"ev\":true}";
        assert_eq!(phone.put(&mut home, subscribe).0, 204);
    }
    for volume in [10, 20] {
        assert_eq!(writer.put(&mut home, &format!("{{\"aid\":1,\"iid\":130,\"value\":{volume}}}")).0, 204);
    }
    assert!(other.run(&mut home).is_empty(), "it waits for others");
    home.now += TOGETHER;
    let event = String::from_utf8(other.run(&mut home)).unwrap();
    assert!(event.starts_with("EVENT/1.0 200 OK\r\nContent-Type: application/hap+json\r\nContent-Length: "));
    assert!(
        event.contains("[{\"aid\":1,\"iid\":130,\"value\":20},{\"aid\":1,\"iid\":130,\"value\":10}]"),
        "{event}"
    );
    assert!(writer.run(&mut home).is_empty(), "who wrote is not told");
    home.accessory.motion(true);
    for phone in [&mut writer, &mut other] {
        assert!(String::from_utf8(phone.run(&mut home)).unwrap().contains("\"iid\":113,\"value\":true"));
    }
    assert!(third.run(&mut home).is_empty());
    assert_eq!(other.put(&mut home, "{\"aid\":1,\"iid\":113,\"ev\":false}").0, 204);
    home.accessory.motion(false);
    assert!(other.run(&mut home).is_empty());
}

#[test]
fn a_doorbell_rings() {
    let mut home = Home::new(Shape { doorbell: true, ..Shape::FULL });
    let mut phone = home.owner(1);
    assert!(phone.get(&mut home, "/characteristics?id=1.161").1.contains("\"value\":null"));
    phone.put(&mut home, "{\"aid\":1,\"iid\":161,\"ev\":true}");
    for _ in 0..2 {
        home.accessory.press();
        assert!(String::from_utf8(phone.run(&mut home)).unwrap().contains("\"iid\":161,\"value\":0"));
    }
    assert!(phone.get(&mut home, "/characteristics?id=1.161").1.contains("\"value\":null"));
}

fn endpoints() -> String {
    let theirs = Endpoints {
        session: [1; 16],
        address: "192.168.1.3".parse().unwrap(),
        video_port: 5000,
        audio_port: 5002,
        video: crate::homekit::camera::Srtp { key: [2; 16], salt: [3; 14] },
        audio: crate::homekit::camera::Srtp { key: [2; 16], salt: [3; 14] },
    };
    base64::encode(&theirs.answer(0, 0))
}

fn select(command: u8) -> String {
    use crate::homekit::tlv8::Writer;
    let size = Writer::new().u16(1, 1280).u16(2, 720).u8(3, 30);
    let video = Writer::new().nest(3, size).nest(4, Writer::new().u8(1, 99));
    let control = Writer::new().put(1, &[1; 16]).u8(2, command);
    base64::encode(&Writer::new().nest(1, control).nest(2, video).finish())
}

#[test]
fn two_watch_and_the_third_is_told_busy() {
    let mut home = Home::new(Shape::FULL);
    let (mut phone, mut other) = (home.owner(1), home.owner(2));
    let setup = |iid: u16| format!("{{\"aid\":1,\"iid\":{iid},\"value\":\"{}\",\"r\":true}}", endpoints());
    let (status, body) = phone.put(&mut home, &setup(37));
    assert_eq!(status, 207);
    let answer = json::parse(body.as_bytes()).unwrap();
    let answer =
        answer.get("characteristics").unwrap().items()[0].get("value").unwrap().as_str().unwrap().to_owned();
    let answer = Tlv::parse(&base64::decode(&answer).unwrap()).unwrap();
    assert_eq!((answer.byte(2), answer.nested(3).unwrap().get(2)), (Some(0), Some(&b"192.168.1.2"[..])));
    let (_, body) = other.put(&mut home, &setup(37));
    let busy = base64::encode(&crate::homekit::camera::no_endpoint(Some(&[1; 16]), NoEndpoint::Busy));
    assert!(body.contains(&busy), "{body}");
    // who reads later what it was told finds it there, and the viewer its own
    assert!(other.get(&mut home, "/characteristics?id=1.37").1.contains(&busy));
    assert!(!phone.get(&mut home, "/characteristics?id=1.37").1.contains(&busy));
    assert_eq!(other.put(&mut home, &setup(53)).0, 207);
    assert_eq!(phone.put(&mut home, &format!("{{\"aid\":1,\"iid\":36,\"value\":\"{}\"}}", select(1))).0, 204);
    assert_eq!(phone.put(&mut home, &format!("{{\"aid\":1,\"iid\":36,\"value\":\"{}\"}}", select(4))).0, 204);
    assert_eq!(other.put(&mut home, &format!("{{\"aid\":1,\"iid\":36,\"value\":\"{}\"}}", select(0))).0, 207);
    assert!(other.get(&mut home, "/characteristics?id=1.38").1.contains("AQEB"));
    assert_eq!(phone.put(&mut home, &format!("{{\"aid\":1,\"iid\":36,\"value\":\"{}\"}}", select(0))).0, 204);
    assert!(other.get(&mut home, "/characteristics?id=1.38").1.contains("AQEA"));
    home.accessory.connection_closed(2, &mut home.eye);
    assert_eq!(home.eye.log, ["setup 0", "setup 1", "Start 0", "Reconfigure 0", "end 0", "end 1"]);
}

#[test]
fn a_camera_that_is_off_shows_nothing() {
    let mut home = Home::new(Shape::FULL);
    let mut phone = home.owner(1);
    let picture = b"{\"resource-type\":\"image\",\"image-width\":640,\"image-height\":360,\"reason\":0}";
    assert_eq!(phone.post(&mut home, "/resource", picture), (200, b"\xff\xd8jpeg".to_vec()));
    phone.put(&mut home, &format!("{{\"aid\":1,\"iid\":37,\"value\":\"{}\"}}", endpoints()));
    phone.put(&mut home, &format!("{{\"aid\":1,\"iid\":36,\"value\":\"{}\"}}", select(1)));
    home.accessory.motion(true);
    phone.put(&mut home, "{\"aid\":1,\"iid\":65,\"value\":0}");
    assert!(home.eye.log.contains(&"end 0".into()));
    assert_eq!(home.accessory.value(113), Some(&Value::Bool(false)));
    assert_eq!(home.accessory.value(114), Some(&Value::Bool(false)));
    home.accessory.motion(true);
    assert_eq!(home.accessory.value(113), Some(&Value::Bool(false)));
    assert_eq!(phone.post(&mut home, "/resource", picture), (207, b"{\"status\":-70412}".to_vec()));
    let (_, body) = phone.put(&mut home, &format!("{{\"aid\":1,\"iid\":37,\"value\":\"{}\"}}", endpoints()));
    assert!(body.contains("-70412"));
    phone.put(&mut home, "{\"aid\":1,\"iid\":65,\"value\":1},{\"aid\":1,\"iid\":67,\"value\":0}");
    assert_eq!(phone.post(&mut home, "/resource", picture).1, b"{\"status\":-70412}");
    let event = b"{\"resource-type\":\"image\",\"image-width\":640,\"image-height\":360,\"reason\":1}";
    assert_eq!(phone.post(&mut home, "/resource", event).0, 200);
    let without = b"{\"resource-type\":\"image\",\"image-width\":640,\"image-height\":360}";
    assert_eq!(phone.post(&mut home, "/resource", without).1, b"{\"status\":-70401}");
    assert_eq!(phone.post(&mut home, "/resource", b"{\"resource-type\":\"sound\"}").0, 404);
}

/// A sensor that stays on in the Home app after recording was forbidden.
#[test]
fn who_forbids_recordings_sees_no_motion_that_began_before() {
    let mut home = Home::new(Shape::FULL);
    let mut phone = home.owner(1);
    for on in [1, 0] {
        home.accessory.motion(true);
        assert_eq!(phone.put(&mut home, &format!("{{\"aid\":1,\"iid\":81,\"value\":{on}}}")).0, 204);
        assert_eq!(home.accessory.value(113), Some(&Value::Bool(on == 1)));
    }
    home.accessory.motion(true);
    assert_eq!(home.accessory.value(113), Some(&Value::Bool(true)), "what begins later is told");
}

#[test]
fn a_removed_controller_is_out_at_once_but_has_its_answer() {
    let mut home = Home::new(Shape::FULL);
    let (mut owner, mut guest) = (home.owner(1), home.phone(2, b"guest", 4));
    let remove = |id: &[u8]| {
        crate::homekit::tlv8::Writer::new()
            .u8(item::STATE, 1)
            .u8(item::METHOD, 4)
            .put(item::IDENTIFIER, id)
            .finish()
    };
    let (_, answer) = owner.post(&mut home, "/pairings", &remove(b"guest"));
    assert_eq!(Tlv::parse(&answer).unwrap().byte(item::ERROR), None);
    let step = guest.session.step(&mut home.accessory, &mut home.eye, home.now, &mut bytes(1));
    assert!(matches!(step, Next::Close));
    let (_, answer) = owner.post(&mut home, "/pairings", &remove(b"owner"));
    assert_eq!(answer, [6, 1, 2]);
    let step = owner.session.step(&mut home.accessory, &mut home.eye, home.now, &mut bytes(1));
    assert!(matches!(step, Next::Close));
    assert!(!home.accessory.book.is_paired());
    assert!(home.accessory.advertisement().contains(&("sf", "1".into())));
}

#[test]
fn a_pairing_that_cannot_be_saved_is_not_there() {
    let mut home = Home::new(Shape::FULL);
    let mut owner = home.owner(1);
    let add = Writer::new()
        .u8(item::STATE, 1)
        .u8(item::METHOD, 3)
        .put(item::IDENTIFIER, b"new")
        .put(item::PUBLIC_KEY, &[1; 32])
        .u8(item::PERMISSIONS, 0)
        .finish();
    let head = format!("POST /pairings HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", add.len());
    owner.send(&[head.as_bytes(), &add].concat());
    let step = owner.session.step(&mut home.accessory, &mut home.eye, home.now, &mut bytes(1));
    assert!(matches!(step, Next::Save));
    owner.session.saved(&mut home.accessory, false);
    assert!(owner.run(&mut home).ends_with(&[6, 1, 2, 7, 1, 1]));
    assert!(home.accessory.book.find(b"new").is_none());
}

#[test]
fn garbage_and_replays_end_the_session_without_a_word() {
    let mut home = Home::new(Shape::FULL);
    let mut phone = home.owner(1);
    assert!(
        phone
            .session
            .receive(&[5, 0, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            .is_err()
    );
    assert!(matches!(
        phone.session.step(&mut home.accessory, &mut home.eye, home.now, &mut bytes(1)),
        Next::Close
    ));
    assert!(phone.session.output().is_empty());
    // In plain, before anybody is verified.
    let mut random = bytes(77);
    for _ in 0..300 {
        let mut text = b"POST /pair-verify HTTP/1.1\r\nHost: x\r\nContent-Length: 37\r\n\r\n\x06\x01\x01\x03\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec();
        let mut at = [0; 3];
        for _ in 0..3 {
            random(&mut at);
            let place = usize::from(at[0]) % text.len();
            text[place] = at[1];
        }
        let mut session = Session::new(9, "::1".parse().unwrap(), &home.accessory);
        session.receive(&text).unwrap();
        for _ in 0..4 {
            session.step(&mut home.accessory, &mut home.eye, home.now, &mut bytes(1));
        }
    }
}

/// A bridge with a bell and a camera behind it.
fn bridge() -> Home {
    let member = |name: &str, shape| Member {
        aid: Member::number(name),
        accessory: Accessory::new(Settings { name: name.into(), ..settings(shape) }, book()),
        camera: Box::new(()),
    };
    let members =
        vec![member("porch", Shape { doorbell: true, ..Shape::FULL }), member("yard", Shape::LIVE_ONLY)];
    let mut home = Home::new(Shape::BRIDGE);
    let book = home.accessory.book.clone();
    home.accessory = Accessory::bridge(Settings { category: 2, ..settings(Shape::BRIDGE) }, book, members);
    home
}

#[test]
fn cameras_behind_a_bridge_are_each_themselves() {
    let mut home = bridge();
    let (porch, yard) = (Member::number("porch"), Member::number("yard"));
    assert!(porch != yard && porch > AID && yard > AID);
    let (mut owner, mut other) = (home.owner(1), home.owner(2));
    let (_, body) = owner.get(&mut home, "/accessories");
    let table = json::parse(body.as_bytes()).unwrap();
    let all = table.get("accessories").unwrap().items();
    let services = |at: usize| all[at].get("services").unwrap().items().len();
    let aids: Vec<_> = all.iter().map(|a| a.get("aid").unwrap().as_int().unwrap()).collect();
    assert_eq!(aids[0], 1);
    assert_eq!(services(0), 2, "a bridge is nothing by itself");
    assert!(aids.contains(&i64::from(porch)) && aids.contains(&i64::from(yard)));
    // each has its own values
    let set = |aid: u32, volume| format!("{{\"aid\":{aid},\"iid\":130,\"value\":{volume}}}");
    let listen = |aid: u32| format!("{{\"aid\":{aid},\"iid\":130,\"ev\":true}}");
    assert_eq!(other.put(&mut home, &format!("{},{}", listen(porch), listen(yard))).0, 204);
    assert_eq!(owner.put(&mut home, &format!("{},{}", set(porch, 10), set(yard, 20))).0, 204);
    let (status, body) = owner.get(&mut home, &format!("/characteristics?id={porch}.130,{yard}.130,1.130"));
    assert_eq!(status, 207);
    for part in [
        format!("\"aid\":{porch},\"iid\":130,\"value\":10,\"status\":0"),
        format!("\"aid\":{yard},\"iid\":130,\"value\":20,\"status\":0"),
        "\"aid\":1,\"iid\":130,\"status\":-70409".into(),
    ] {
        assert!(body.contains(&part), "{part} in {body}");
    }
    assert!(other.run(&mut home).is_empty());
    home.now += TOGETHER;
    let event = String::from_utf8(other.run(&mut home)).unwrap();
    assert!(event.contains(&format!("{{\"aid\":{porch},\"iid\":130,\"value\":10}}")), "{event}");
    assert!(event.contains(&format!("{{\"aid\":{yard},\"iid\":130,\"value\":20}}")), "{event}");
    assert!(owner.run(&mut home).is_empty(), "who wrote is not told");
    // and is kept by itself
    let kept: Vec<u32> =
        std::iter::from_fn(|| home.accessory.take_any_unsaved()).map(|(aid, _)| aid).collect();
    assert!(kept.contains(&porch) && kept.contains(&yard), "{kept:?}");
    // the bell of one is not the other's
    owner.put(&mut home, &format!("{{\"aid\":{porch},\"iid\":161,\"ev\":true}}"));
    for aid in [yard, porch, 7] {
        if let Some((accessory, _)) = home.accessory.at_mut(aid, &mut ()) {
            accessory.press();
        }
        let heard = String::from_utf8(owner.run(&mut home)).unwrap();
        assert_eq!(heard.contains(&format!("\"aid\":{porch},\"iid\":161")), aid == porch, "{heard}");
    }
    let picture = |aid: u32| {
        format!("{{\"resource-type\":\"image\",\"image-width\":640,\"image-height\":360,\"aid\":{aid}}}")
    };
    assert_eq!(owner.post(&mut home, "/resource", picture(porch).as_bytes()).0, 200);
    assert_eq!(owner.post(&mut home, "/resource", picture(7).as_bytes()).0, 404);
    // the last admin takes with it what was set, but not while it may still be there
    let volume = |home: &Home| home.accessory.at(porch).and_then(|a| a.value(130)).cloned();
    let remove =
        Writer::new().u8(item::STATE, 1).u8(item::METHOD, 4).put(item::IDENTIFIER, b"owner").finish();
    home.keep = Box::new(|_| false);
    assert!(owner.post(&mut home, "/pairings", &remove).1.ends_with(&[7, 1, 1]));
    assert_eq!(volume(&home), Some(Value::Int(10)));
    home.accessory.forget_all(&mut ());
    assert_eq!(volume(&home), Some(Value::Int(100)));
}

#[test]
fn a_home_is_told_that_a_bridge_has_one_more() {
    let number = |members| {
        let mut book = book();
        let c = Accessory::bridge(settings(Shape::BRIDGE), book.clone(), Vec::new());
        book = c.book.clone();
        let before = book.config_number;
        let c = Accessory::bridge(settings(Shape::BRIDGE), book, members);
        let again = c.book.config_number;
        again - before
    };
    let member =
        |aid| Member { aid, accessory: Accessory::new(settings(Shape::FULL), book()), camera: Box::new(()) };
    assert_eq!(number(Vec::new()), 0);
    assert_eq!(number(vec![member(5)]), 1);
    // of two with one number the second is left out
    let both = Accessory::bridge(settings(Shape::BRIDGE), book(), vec![member(5), member(5)]);
    assert_eq!(both.members().len(), 1);
}
