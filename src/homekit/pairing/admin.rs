//! `/pairings`: an admin adds, removes and lists controllers. What is changed is on flash before the
//! answer leaves; a controller that is no longer in the book loses its sessions.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::book::{Book, LONGEST_ID, MOST_PAIRINGS, Pairing};
use super::{Refusal, Step, item, refuse};
use crate::homekit::crypto::Key;
use crate::homekit::tlv8::{Tlv, Writer};
use crate::net::lists::drop_where;

const ADD: u64 = 3;
const REMOVE: u64 = 4;
const LIST: u64 = 5;

/// A message of the controller `caller`.
#[inline(never)]
pub fn message(book: &mut Book, caller: &[u8], message: &Tlv) -> Step {
    let (Some(1), Some(method)) = (message.byte(item::STATE), message.uint(item::METHOD)) else {
        return Step::Malformed;
    };
    if !book.find(caller).is_some_and(|p| p.admin) {
        return Step::Answer(refuse(2, Refusal::Authentication));
    }
    let done = match method {
        ADD => add(book, message),
        REMOVE => remove(book, message),
        LIST => return Step::Answer(list(book)),
        _ => return Step::Malformed,
    };
    match done {
        None => Step::Malformed,
        Some(Err(refusal)) => Step::Answer(refuse(2, refusal)),
        Some(Ok(())) => Step::Save(Writer::new().u8(item::STATE, 2).finish(), refuse(2, Refusal::Unknown)),
    }
}

fn add(book: &mut Book, message: &Tlv) -> Option<Result<(), Refusal>> {
    let id = message.get(item::IDENTIFIER).filter(|id| (1..=LONGEST_ID).contains(&id.len()))?;
    let key: Key = message.get(item::PUBLIC_KEY)?.try_into().ok()?;
    let admin = message.uint(item::PERMISSIONS)? & 1 == 1;
    if let Some(known) = book.pairings.iter_mut().find(|p| p.id == id) {
        if known.key != key {
            return Some(Err(Refusal::Unknown));
        }
        known.admin = admin;
        if !book.pairings.iter().any(|p| p.admin) {
            book.wipe();
        }
        return Some(Ok(()));
    }
    if book.pairings.len() >= MOST_PAIRINGS {
        return Some(Err(Refusal::MaxPeers));
    }
    book.pairings.push(Pairing { id: id.to_vec(), key, admin });
    Some(Ok(()))
}

fn remove(book: &mut Book, message: &Tlv) -> Option<Result<(), Refusal>> {
    let id = message.get(item::IDENTIFIER)?;
    drop_where(&mut book.pairings, |p| p.id == id);
    if !book.pairings.iter().any(|p| p.admin) {
        book.wipe();
    }
    Some(Ok(()))
}

fn list(book: &Book) -> Vec<u8> {
    let mut out = Writer::new().u8(item::STATE, 2);
    for (i, pairing) in book.pairings.iter().enumerate() {
        out = out
            .entry(item::SEPARATOR, i == 0, item::IDENTIFIER, &pairing.id)
            .put(item::PUBLIC_KEY, &pairing.key)
            .u8(item::PERMISSIONS, u8::from(pairing.admin));
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::super::book::testing::book;
    use super::*;

    fn home() -> Book {
        let mut book = book();
        book.pairings.push(Pairing { id: b"owner".to_vec(), key: [1; 32], admin: true });
        book.pairings.push(Pairing { id: b"guest".to_vec(), key: [2; 32], admin: false });
        book
    }

    fn send(book: &mut Book, caller: &[u8], method: u64, id: &[u8], key: u8, admin: u8) -> Tlv {
        let m = Writer::new()
            .u8(item::STATE, 1)
            .u8(item::METHOD, method as u8)
            .put(item::IDENTIFIER, id)
            .put(item::PUBLIC_KEY, &[key; 32])
            .u8(item::PERMISSIONS, admin);
        match message(book, caller, &Tlv::parse(&m.finish()).unwrap()) {
            Step::Answer(a) | Step::Save(a, _) => Tlv::parse(&a).unwrap(),
            _ => panic!("malformed"),
        }
    }

    #[test]
    fn the_owner_shares_the_camera_and_takes_it_back() {
        let mut book = home();
        assert_eq!(send(&mut book, b"owner", ADD, b"new", 3, 0).byte(item::ERROR), None);
        assert_eq!(send(&mut book, b"owner", ADD, b"new", 3, 1).byte(item::ERROR), None);
        assert!(book.find(b"new").unwrap().admin);
        assert_eq!(send(&mut book, b"owner", ADD, b"new", 4, 1).byte(item::ERROR), Some(1));
        let listed = send(&mut book, b"owner", LIST, b"", 0, 0);
        assert!(listed.all(item::IDENTIFIER).eq([&b"owner"[..], b"guest", b"new"]));
        assert_eq!(listed.all(item::SEPARATOR).count(), 2);
        assert_eq!(send(&mut book, b"owner", REMOVE, b"nobody", 0, 0).byte(item::ERROR), None);
        assert_eq!(send(&mut book, b"owner", REMOVE, b"new", 0, 0).byte(item::ERROR), None);
        assert_eq!(book.pairings.len(), 2);
    }

    #[test]
    fn guests_manage_nobody() {
        let mut book = home();
        for method in [ADD, REMOVE, LIST] {
            assert_eq!(send(&mut book, b"guest", method, b"owner", 1, 0).byte(item::ERROR), Some(2));
            assert_eq!(send(&mut book, b"nobody", method, b"owner", 1, 0).byte(item::ERROR), Some(2));
        }
        assert_eq!(book, home());
    }

    #[test]
    fn without_an_admin_nobody_is_left() {
        let mut book = home();
        book.set_value(7, &[1]);
        send(&mut book, b"owner", REMOVE, b"owner", 0, 0);
        assert!(!book.is_paired() && book.value(7).is_none());
    }

    #[test]
    fn sixteen_and_no_more() {
        let mut book = home();
        for i in 2..MOST_PAIRINGS as u8 {
            assert_eq!(send(&mut book, b"owner", ADD, &[i], i, 0).byte(item::ERROR), None);
        }
        assert_eq!(send(&mut book, b"owner", ADD, b"one more", 0, 0).byte(item::ERROR), Some(4));
        assert_eq!(book.pairings.len(), MOST_PAIRINGS);
    }
}
