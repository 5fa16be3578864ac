//! A controller whose messages are always the same, because everything random here is: what it says is
//! worked out once, and what the accessory does with it is measured.

use crate::live::cpu;
use std::time::Instant;
use streamd::homekit::accessory::{Accessory, Settings};
use streamd::homekit::camera::SIZES;
use streamd::homekit::crypto::{Key, exchange, hkdf, public_key, seal_message, sign};
use streamd::homekit::database::Shape;
use streamd::homekit::frame;
use streamd::homekit::pairing::book::{Book, Identity, Pairing};
use streamd::homekit::pairing::{Done, Job, item};
use streamd::homekit::session::{Next, Session};
use streamd::homekit::tlv8::{Tlv, Writer};

const SEED: Key = [3; 32];
const SECRET: Key = [5; 32];
const OWNER: &[u8] = b"0F7A2C1E-6A53-4A52-9C39-4B6E6B1D6A11";
const PICTURE: usize = 100_000;

fn same(bytes: &mut [u8]) {
    bytes.fill(9);
}

fn accessory() -> Accessory {
    let mut book = Book::new(Identity::random(&mut same));
    book.pairings.push(Pairing { id: OWNER.to_vec(), key: public_key(&SEED), admin: true });
    let settings = Settings {
        name: "Bench".into(),
        manufacturer: "streamd".into(),
        model: "Bench".into(),
        serial: "0001".into(),
        firmware: "1.0.0".into(),
        hardware: None,
        category: 17,
        shape: Shape::LIVE_ONLY,
        sizes: SIZES.to_vec(),
        prebuffer_ms: 4000,
        third_party: true,
    };
    Accessory::new(settings, book)
}

/// What the parts of it took, in microseconds.
#[derive(Default)]
struct Took {
    /// On the loop, and the longest of it at a time.
    steps: u64,
    longest: u64,
    /// On a worker.
    jobs: u64,
}

/// Steps a session until it waits; what it writes.
fn go(session: &mut Session, accessory: &mut Accessory, took: &mut Took) -> Vec<u8> {
    let mut next = None;
    loop {
        let begun = Instant::now();
        let step = match next.take() {
            Some(done) => session.job_done(accessory, &mut (), done, begun),
            None => Some(session.step(accessory, &mut (), begun, &mut same)),
        };
        if let Some(Next::Snapshot(_)) = step {
            session.snapshot(Some(&[0xd8; PICTURE]));
        }
        let us = begun.elapsed().as_micros() as u64;
        took.steps += us;
        took.longest = took.longest.max(us);
        match step {
            None | Some(Next::Snapshot(_)) => {}
            Some(Next::Work(job)) => {
                let begun = Instant::now();
                next = Some(job.run());
                took.jobs += begun.elapsed().as_micros() as u64;
            }
            Some(_) => return std::mem::take(session.output()),
        }
    }
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn body(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    &answer[end + 4..]
}

/// M1 and M3 of the owner, and the session's secret.
fn messages() -> (Vec<u8>, Vec<u8>, Key) {
    let mut accessory = accessory();
    let mut session = Session::new(1, "::1".parse().unwrap(), &accessory);
    let public = exchange(&SECRET, &[9; 32]).unwrap().0;
    let m1 = Writer::new().u8(item::STATE, 1).put(item::PUBLIC_KEY, &public).finish();
    let m1 = post("/pair-verify", &m1);
    session.receive(&m1).unwrap();
    let answer = go(&mut session, &mut accessory, &mut Took::default());
    let m2 = Tlv::parse(body(&answer)).unwrap();
    let theirs: Key = m2.get(item::PUBLIC_KEY).unwrap().try_into().unwrap();
    let (_, shared) = exchange(&SECRET, &theirs).unwrap();
    let signature = sign(&SEED, &[&public[..], OWNER, &theirs].concat());
    let inner = Writer::new().put(item::IDENTIFIER, OWNER).put(item::SIGNATURE, &signature).finish();
    let seal = hkdf(&shared, b"Pair-Verify-Encrypt-Salt", b"Pair-Verify-Encrypt-Info");
    let sealed = seal_message(&seal, b"PV-Msg03", inner);
    let m3 = Writer::new().u8(item::STATE, 3).put(item::ENCRYPTED, &sealed).finish();
    (m1, post("/pair-verify", &m3), shared)
}

/// A connection that is the owner's.
fn come(accessory: &mut Accessory, (m1, m3): (&[u8], &[u8]), took: &mut Took) -> Session {
    let mut session = Session::new(1, "::1".parse().unwrap(), accessory);
    for message in [m1, m3] {
        session.receive(message).unwrap();
        go(&mut session, accessory, took);
    }
    assert!(session.is_verified());
    session
}

/// Verifies a controller that often.
pub fn verify(times: u32) {
    let ((m1, m3, _), mut accessory) = (messages(), accessory());
    for _ in 0..times {
        come(&mut accessory, (&m1, &m3), &mut Took::default());
    }
}

/// Both big steps of SRP, as often; a proof that is wrong costs what a right one does.
pub fn setup(times: u32) {
    for _ in 0..times {
        std::hint::black_box(srp());
    }
}

/// Microseconds of both steps.
fn srp() -> [u64; 2] {
    let begun = cpu();
    let start = Job::Start { code: "031-45-154".into(), salt: [1; 16], secret: [2; 32] };
    let Done::Started(server) = start.run() else { panic!("SRP did not start") };
    let started = cpu();
    let public = vec![0x5a; 384];
    std::hint::black_box(Job::Agree { server, public, proof: vec![0; 64] }.run());
    [started - begun, cpu() - started]
}

/// All of it, in microseconds of CPU.
pub fn measure(times: u32) {
    let (mut starts, mut agrees, mut verifies, mut pictures) = (vec![], vec![], vec![], vec![]);
    let (mut verify, mut picture) = (Took::default(), Took::default());
    let ((m1, m3, shared), mut accessory) = (messages(), accessory());
    let wish = b"{\"resource-type\":\"image\",\"image-width\":1280,\"image-height\":720,\"reason\":0}";
    for _ in 0..times {
        let [start, agree] = srp();
        starts.push(start);
        agrees.push(agree);
        let begun = cpu();
        let mut session = come(&mut accessory, (&m1, &m3), &mut verify);
        verifies.push(cpu() - begun);
        // the other end of the session's cipher is the same with its keys changed about
        let mut wire = Vec::new();
        frame::Session::controller(&shared).seal(&post("/resource", wish), &mut wire);
        let begun = cpu();
        session.receive(&wire).unwrap();
        let out = go(&mut session, &mut accessory, &mut picture);
        pictures.push(cpu() - begun);
        assert!(out.len() > PICTURE);
    }
    let median = |of: &mut Vec<u64>| {
        of.sort_unstable();
        of[of.len() / 2]
    };
    println!(
        "setup_start_us={} setup_agree_us={} verify_us={} verify_loop_us={} longest_us={} picture_us={}",
        median(&mut starts),
        median(&mut agrees),
        median(&mut verifies),
        verify.steps / u64::from(times),
        verify.longest.max(picture.longest),
        median(&mut pictures),
    );
}
