//! A connection to an accessory, with or without a controller's key: the answers come out the same
//! however the bytes are cut, and as many as there are questions.

use super::{Pieces, steer};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;
use std::time::Instant;
use streamd::homekit::accessory::{Accessory, Settings};
use streamd::homekit::camera::SIZES;
use streamd::homekit::crypto::{Cipher, Key, exchange, hkdf, public_key, seal_message, sign, srp};
use streamd::homekit::database::Shape;
use streamd::homekit::pairing::book::{Book, Identity, Pairing};
use streamd::homekit::pairing::{Done, Job, item};
use streamd::homekit::session::{Next, Session};
use streamd::homekit::tlv8::{Tlv, Writer};

const SEED: Key = [3; 32];
const SECRET: Key = [5; 32];

fn done(job: Job) -> Done {
    static SERVER: OnceLock<srp::Server> = OnceLock::new();
    match job {
        Job::Start { .. } => {
            let server = SERVER.get_or_init(|| srp::Server::new("031-45-154", [1; 16], [2; 32]));
            Done::Started(Box::new(server.clone()))
        }
        Job::Agree { .. } => Done::Agreed(None),
        job => job.run(),
    }
}

/// An accessory as it is described to homes.
pub fn door(category: u8, shape: Shape) -> Settings {
    Settings {
        name: "Front door".into(),
        manufacturer: "streamd".into(),
        model: "Camera".into(),
        serial: "0001".into(),
        firmware: "1.0.0".into(),
        hardware: None,
        category,
        shape,
        sizes: SIZES.to_vec(),
        prebuffer_ms: 4000,
        third_party: true,
    }
}

fn accessory() -> Accessory {
    let mut book = Book::new(Identity::random(&mut |bytes| bytes.fill(9)));
    book.pairings.push(Pairing { id: b"owner".to_vec(), key: public_key(&SEED), admin: true });
    let settings = door(18, Shape { doorbell: true, ..Shape::FULL });
    Accessory::new(settings, book)
}

/// Goes on until the session waits; false if it ends. What it writes is added to `out`.
fn turn(session: &mut Session, accessory: &mut Accessory, now: Instant, out: &mut Vec<u8>) -> bool {
    let mut random = |bytes: &mut [u8]| bytes.fill(6);
    let mut next = None;
    loop {
        let step = match next.take() {
            Some(step) => step,
            None => session.step(accessory, &mut (), now, &mut random),
        };
        let full = !session.output().is_empty();
        out.append(session.output());
        match step {
            Next::Wait(Some(due)) if due <= now && full => {}
            Next::Wait(_) => return true,
            Next::Close => return false,
            Next::Save => session.saved(accessory, true),
            Next::Snapshot(wanted) => {
                assert!(wanted.width > 0 && wanted.height > 0);
                session.snapshot(None);
            }
            Next::Work(job) => next = session.job_done(accessory, &mut (), done(*job), now),
        }
    }
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn body(answer: &[u8]) -> Tlv {
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    Tlv::parse(&answer[at + 4..]).expect("an answer")
}

/// Shows that it is the owner; the session's secret.
fn verify(session: &mut Session, accessory: &mut Accessory, now: Instant) -> Key {
    let ours = exchange(&SECRET, &[9; 32]).expect("a key").0;
    let m1 = Writer::new().u8(item::STATE, 1).put(item::PUBLIC_KEY, &ours).finish();
    let mut out = Vec::new();
    session.receive(&post("/pair-verify", &m1)).expect("plain");
    assert!(turn(session, accessory, now, &mut out));
    let m2 = body(&out);
    let theirs = m2.get(item::PUBLIC_KEY).expect("a key");
    let shared = exchange(&SECRET, theirs).expect("a secret").1;
    let key = hkdf(&shared, b"Pair-Verify-Encrypt-Salt", b"Pair-Verify-Encrypt-Info");
    let signature = sign(&SEED, &[&ours[..], b"owner", theirs].concat());
    let inner = Writer::new().put(item::IDENTIFIER, b"owner").put(item::SIGNATURE, &signature).finish();
    let sealed = seal_message(&key, b"PV-Msg03", inner);
    let m3 = Writer::new().u8(item::STATE, 3).put(item::ENCRYPTED, &sealed).finish();
    session.receive(&post("/pair-verify", &m3)).expect("plain");
    assert!(turn(session, accessory, now, &mut Vec::new()) && session.is_verified());
    shared
}

/// As the controller writes it.
fn seal(shared: &Key, data: &[u8]) -> Vec<u8> {
    let cipher = Cipher::new(&hkdf(shared, b"Control-Salt", b"Control-Write-Encryption-Key"));
    let mut wire = Vec::new();
    for (count, part) in data.chunks(1024).enumerate() {
        let length = (part.len() as u16).to_le_bytes();
        let mut bytes = part.to_vec();
        let tag = cipher.seal(count as u64, &length, &mut bytes).expect("room");
        wire.extend_from_slice(&length);
        wire.append(&mut bytes);
        wire.extend_from_slice(&tag);
    }
    wire
}

/// All that it answers.
fn answers(data: &[u8], known: bool, seed: u8) -> Vec<u8> {
    let (mut accessory, now, mut out) = (accessory(), Instant::now(), Vec::new());
    let mut session = Session::new(1, IpAddr::V4(Ipv4Addr::LOCALHOST), &accessory);
    let mut wire = data.to_vec();
    if known {
        let shared = verify(&mut session, &mut accessory, now);
        wire = seal(&shared, data);
    }
    for piece in Pieces::new(&wire, seed) {
        if session.receive(piece).is_err() || !turn(&mut session, &mut accessory, now, &mut out) {
            break;
        }
    }
    let left = accessory.book.pairings.len();
    assert!(known || left == 1, "a stranger has changed who is known");
    assert!(left <= 16);
    accessory.connection_closed(1, &mut ());
    out
}

pub fn run(data: &[u8]) {
    let Some((how, data)) = steer(data) else { return };
    let known = how & 1 == 1;
    let whole = answers(data, known, 0xfe);
    // an event may come before or after an answer, and none may be cut
    assert!(whole.len() <= 64 * 1024 + 1024 * data.len());
    assert_eq!(whole, answers(data, known, how), "other answers to the same bytes");
}
