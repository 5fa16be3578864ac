//! Pairing: whatever three telephones say in whatever order, nobody comes in who does not know the
//! code, and there is never a home without an admin.

use std::sync::OnceLock;
use std::time::{Duration, Instant};
use streamd::homekit::crypto::srp;
use streamd::homekit::pairing::book::{Book, Identity, MOST_PAIRINGS, Pairing};
use streamd::homekit::pairing::setup::Setup;
use streamd::homekit::pairing::verify::{Outcome, Verify};
use streamd::homekit::pairing::{Done, Job, Step, admin};
use streamd::homekit::tlv8::Tlv;

/// The big numbers are computed once.
fn server() -> srp::Server {
    static SERVER: OnceLock<srp::Server> = OnceLock::new();
    SERVER.get_or_init(|| srp::Server::new("031-45-154", [1; 16], [2; 32])).clone()
}

fn done(job: Job) -> Done {
    match job {
        Job::Start { .. } => Done::Started(Box::new(server())),
        // right, if the proof begins so: else what comes after a right code were never reached
        Job::Agree { proof, .. } if proof.starts_with(b"right") => {
            Done::Agreed(Some(Box::new(srp::Agreed { key: [7; 64], proof: [8; 64] })))
        }
        Job::Agree { .. } => Done::Agreed(None),
        job => job.run(),
    }
}

pub fn run(data: &[u8]) {
    let mut random = |bytes: &mut [u8]| bytes.fill(5);
    let mut book = Book::new(Identity::random(&mut |bytes| bytes.fill(9)));
    let owner = Pairing { id: b"owner".to_vec(), key: [1; 32], admin: true };
    let paired = data.first().is_some_and(|b| b & 1 == 1);
    if paired {
        book.pairings.push(owner.clone());
    }
    let (mut setup, mut verify) = (Setup::default(), Verify::default());
    let mut now = Instant::now();
    let mut rest = data.get(1..).unwrap_or_default();
    while let [how, length, tail @ ..] = rest {
        let (body, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        now += Duration::from_secs(u64::from(how >> 4));
        let Ok(message) = Tlv::parse(body) else { continue };
        let session = u32::from(how & 3);
        let before = book.clone();
        let mut step = match how >> 2 & 3 {
            0 => setup.message(&mut book, session, &message, now, &mut random),
            1 => admin::message(&mut book, b"owner", &message),
            2 => {
                setup.leave(session);
                continue;
            }
            _ => {
                let mut outcome = verify.message(&book, &message, &[3; 32]);
                if let Outcome::Work(job) = outcome {
                    outcome = verify.done(&book, job.run());
                }
                assert!(!matches!(outcome, Outcome::Verified { .. }), "a stranger is verified");
                continue;
            }
        };
        if let Step::Work(job) = step {
            step = setup.done(&mut book, session, done(*job), now);
        }
        match step {
            Step::Answer(answer) => {
                assert!(Tlv::parse(&answer).is_ok());
                assert_eq!(book, before, "changed and not kept");
            }
            Step::Save(yes, no) => {
                assert!(Tlv::parse(&yes).is_ok() && Tlv::parse(&no).is_ok());
                let (mut undone, after) = (book.clone(), book.pairings.clone());
                undone.undo(&before, &after);
                assert_eq!(sorted(&undone), sorted(&before));
            }
            Step::Malformed => assert_eq!(book, before),
            Step::Work(_) => panic!("work upon work"),
        }
        assert!(book.pairings.len() <= MOST_PAIRINGS);
        assert!(book.pairings.is_empty() || book.pairings.iter().any(|p| p.admin));
    }
    if !paired {
        assert!(book.find(&owner.id).is_none_or(|p| p.key != owner.key));
    }
}

fn sorted(book: &Book) -> Vec<Vec<u8>> {
    let mut ids: Vec<_> = book.pairings.iter().map(|p| p.id.clone()).collect();
    ids.sort();
    ids
}
