//! The plug is pulled, or the flash fails, at each single step of keeping a pairing: afterwards it is
//! wholly there or wholly absent, as its controller was told, and the camera can be reached.

use crate::app::state::model::Model;
use crate::app::state::{Found, Store};
use crate::homekit::crypto::public_key;
use crate::homekit::crypto::srp::testing::controller;
use crate::homekit::database::Shape;
use crate::homekit::pairing::book::{Book, Pairing, VERSION, testing::book};
use crate::homekit::pairing::item;
use crate::homekit::pairing::setup::testing::m5;
use crate::homekit::session::tests::Home;
use crate::homekit::tlv8::{Tlv, Writer};
use std::path::Path;

/// One more than a write has steps: then none fails.
const STEPS: u32 = 6;

fn pairing(id: &str, seed: u8, admin: bool) -> Pairing {
    Pairing { id: id.into(), key: public_key(&[seed; 32]), admin }
}

/// Whether the answer says that it was done.
fn done(answer: &[u8]) -> bool {
    let tlv = Tlv::parse(answer).unwrap();
    tlv.byte(item::STATE).is_some() && tlv.byte(item::ERROR).is_none()
}

/// The owner asks; whether it was told that it was done.
fn ask(home: &mut Home, message: &Writer) -> bool {
    let mut owner = home.phone(1, b"owner", 3);
    let (status, answer) = owner.post(home, "/pairings", &message.clone().finish());
    assert_eq!(status, 200);
    done(&answer)
}

fn add(home: &mut Home) -> bool {
    let message = Writer::new().u8(item::STATE, 1).u8(item::METHOD, 3).put(item::IDENTIFIER, b"new");
    ask(home, &message.put(item::PUBLIC_KEY, &public_key(&[7; 32])).u8(item::PERMISSIONS, 0))
}

fn remove(home: &mut Home, id: &[u8]) -> bool {
    ask(home, &Writer::new().u8(item::STATE, 1).u8(item::METHOD, 4).put(item::IDENTIFIER, id))
}

/// The first controller comes with the code.
fn set_up(home: &mut Home) -> bool {
    let mut phone = home.stranger();
    let mut send = |message: Writer| {
        let (status, answer) = phone.post(home, "/pair-setup", &message.finish());
        assert_eq!(status, 200);
        answer
    };
    let m2 = send(Writer::new().u8(item::STATE, 1).u8(item::METHOD, 0));
    let m2 = Tlv::parse(&m2).unwrap();
    let (salt, b) = (m2.get(item::SALT).unwrap(), m2.get(item::PUBLIC_KEY).unwrap());
    let (a, proof, key) = controller("031-45-154", salt, b, &[9; 32]);
    let m4 = send(Writer::new().u8(item::STATE, 3).put(item::PUBLIC_KEY, &a).put(item::PROOF, &proof));
    assert!(done(&m4));
    done(&send(m5(&key, &[8; 32], &public_key(&[8; 32]))))
}

/// Does it with every step broken in turn. `after` is who is in once it is done.
fn break_every_step(before: &[Pairing], after: &[Pairing], lucks: u32, act: fn(&mut Home) -> bool) {
    let mut seen = [0, 0];
    for (step, power, luck) in (0..STEPS)
        .flat_map(|step| [false, true].map(|power| (step, power)))
        .flat_map(|(step, power)| (0..if power { lucks } else { 1 }).map(move |luck| (step, power, luck)))
    {
        let disk = Model::new(luck * 7919);
        let store = Store::with_disk(Path::new("/s"), disk.clone());
        let mut book = book();
        book.pairings = before.to_vec();
        let mut home = Home::with(Shape::FULL, book);
        store.write("home", VERSION, &home.accessory.book.encode()).unwrap();
        let (kept, faulty) = (store.clone(), disk.clone());
        home.keep = Box::new(move |bytes| {
            faulty.fail(step, power);
            kept.write("home", VERSION, &bytes).is_ok()
        });
        let told = act(&mut home);
        assert_eq!(told, step + 1 == STEPS, "step {step}");
        if !told {
            assert_eq!(home.accessory.book.pairings, before, "step {step}: what was not kept is not there");
        }
        disk.restart();
        let Found::Value { version, bytes } = store.read("home") else {
            panic!("step {step}, power {power}: the book is gone");
        };
        let book = Book::decode(version, &bytes).unwrap();
        let is_new = book.pairings == after;
        assert!(is_new || book.pairings == before, "step {step}: {:?}", book.pairings);
        assert!(is_new || !told, "step {step}: its controller was told that it is in, or out");
        seen[usize::from(is_new)] += 1;
        // and the camera can be reached: by its owner, or by whoever has the code
        let mut home = Home::with(Shape::FULL, book);
        if home.accessory.book.find(b"owner").is_some() {
            home.phone(1, b"owner", 3);
        } else if !home.accessory.book.is_paired() {
            let m1 = Writer::new().u8(item::STATE, 1).u8(item::METHOD, 0).finish();
            let mut stranger = home.stranger();
            assert!(done(&stranger.post(&mut home, "/pair-setup", &m1).1));
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn a_controller_is_added_or_is_not() {
    let before = [pairing("owner", 3, true)];
    let after = [pairing("owner", 3, true), pairing("new", 7, false)];
    break_every_step(&before, &after, 6, add);
}

#[test]
fn a_controller_is_removed_or_is_not() {
    let before = [pairing("owner", 3, true), pairing("guest", 4, false)];
    break_every_step(&before, &before[..1], 6, |home| remove(home, b"guest"));
    // the last admin takes all with it
    break_every_step(&before, &[], 2, |home| remove(home, b"owner"));
}

#[test]
fn the_first_controller_is_in_or_is_not() {
    let after = [Pairing { id: b"controller".to_vec(), ..pairing("", 8, true) }];
    break_every_step(&[], &after, 1, set_up);
}
