//! Who is this? Basic and Digest for every door, against the one list of users. Pure: time and the
//! secret come in. Nonces carry their own proof, so that handing one out costs no memory; only
//! those that were used rightly are remembered, for their counters. Failures slow the address and
//! name that made them, and nobody else.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::digest::{Algorithm, Answer, Credentials, hex, hmac};
use super::limits::{
    FAILURE_DELAY, FAILURE_LIFE, FAILURES, FAILURES_FREE, FAILURES_FREE_ADDRESS, NONCE_LIFE, NONCES,
};
use super::users::{Door, User, Users, same_secret};
use crate::media::Time;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// The realm of every challenge. Changing it changes every digest.
pub const REALM: &str = "streamd";

/// Somebody at a door.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// Which door.
    pub door: Door,
    /// The request's method as it was sent.
    pub method: &'a str,
    /// The request's target as it was sent.
    pub uri: &'a str,
    /// The Authorization header, if there is one.
    pub authorization: Option<&'a str>,
    /// Where from; none for a Unix socket.
    pub address: Option<IpAddr>,
    /// Whether it is on this machine and not behind a proxy.
    pub local: bool,
}

/// What the door says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Come in, as this user. Roles are the route's business.
    Allowed(Rc<User>),
    /// Not without the right key; answer with [`Authenticator::challenges`].
    Denied {
        /// The proof was right but its nonce too old: the client shall try again unasked.
        stale: bool,
        /// Whether a key was tried at all.
        tried: bool,
    },
    /// Too many wrong keys; not before that time.
    Slow(Time),
    /// Nobody has a key to this door yet, and it is not open on purpose.
    Shut,
}

/// What a door offers to those who come without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Basic: the password in clear.
    pub basic: bool,
    /// Digest with SHA-256 before MD5. Some clients give up when they see it.
    pub sha256: bool,
    /// Digest with `qop="auth"`, so that an overheard request cannot be sent again.
    pub qop: bool,
}

impl Offer {
    /// What suits the clients of that door: RTSP clients know the shortest form only.
    pub const fn usual(door: Door) -> Offer {
        match door {
            Door::Api => Offer { basic: true, sha256: false, qop: true },
            Door::Rtsp => Offer { basic: false, sha256: false, qop: false },
            Door::Onvif => Offer { basic: false, sha256: false, qop: true },
        }
    }
}

#[derive(Clone, Copy)]
struct Failure {
    key: u64,
    count: u32,
    last: Time,
    until: Time,
}

/// A nonce's number: when it was made, and a counter.
type NonceId = (u64, u32);

#[derive(Clone, Copy)]
struct Used {
    id: NonceId,
    highest: u32,
    window: u64,
}

/// The doorkeeper of all doors.
pub struct Authenticator {
    secret: [u8; 32],
    users: RefCell<Rc<Users>>,
    offers: [Cell<Offer>; 3],
    local_auth: Cell<bool>,
    counter: Cell<u32>,
    failures: RefCell<Vec<Failure>>,
    used: RefCell<Vec<Used>>,
    forgotten: Cell<NonceId>,
    somebody: [Rc<User>; 2],
}

impl Authenticator {
    /// With a random secret that lives as long as the process.
    pub fn new(secret: [u8; 32], users: Users) -> Authenticator {
        Authenticator {
            secret,
            users: RefCell::new(Rc::new(users)),
            offers: [Door::Api, Door::Rtsp, Door::Onvif].map(|d| Cell::new(Offer::usual(d))),
            local_auth: Cell::new(false),
            counter: Cell::new(0),
            failures: RefCell::default(),
            used: RefCell::default(),
            forgotten: Cell::new((0, 0)),
            somebody: ["local", "anybody"].map(|name| Rc::new(User::all_powerful(name, ""))),
        }
    }

    /// Replaces the users; counts and nonces stay.
    pub fn set_users(&self, users: Users) {
        self.users.replace(Rc::new(users));
    }

    /// The users as they are.
    pub fn users(&self) -> Rc<Users> {
        self.users.borrow().clone()
    }

    /// Whether even those on this machine need a key.
    pub fn set_local_auth(&self, needed: bool) {
        self.local_auth.set(needed);
    }

    /// What a door offers.
    pub fn set_offer(&self, door: Door, offer: Offer) {
        if let Some(slot) = self.offers.get(door as usize) {
            slot.set(offer);
        }
    }

    fn offer(&self, door: Door) -> Offer {
        self.offers.get(door as usize).map_or(Offer::usual(door), Cell::get)
    }

    /// Who stands at the door, and may they come in?
    pub fn check(&self, attempt: &Attempt<'_>, now: Time) -> Verdict {
        let users = self.users();
        let [local, anybody] = &self.somebody;
        if attempt.local && !self.local_auth.get() {
            return Verdict::Allowed(local.clone());
        }
        if users.is_open(attempt.door) {
            return Verdict::Allowed(anybody.clone());
        }
        if !users.is_configured(attempt.door) {
            return Verdict::Shut;
        }
        let denied = |stale| Verdict::Denied { stale, tried: attempt.authorization.is_some() };
        let Some(credentials) = attempt.authorization.and_then(Credentials::parse) else {
            return denied(false);
        };
        let name = match &credentials {
            Credentials::Basic { name, .. } => name,
            Credentials::Digest(answer) => &answer.username,
        };
        if let Some(until) = self.slowed(attempt.address, name, now) {
            return Verdict::Slow(until);
        }
        let found = match &credentials {
            Credentials::Basic { .. } if !self.offer(attempt.door).basic => return denied(false),
            Credentials::Basic { name, password } => {
                let sent = hmac(&self.secret, &[password.as_bytes()]);
                let is = |password: &str| same_secret(&hmac(&self.secret, &[password.as_bytes()]), &sent);
                choose(&users, attempt.door, name, &is)
            }
            Credentials::Digest(answer) => match self.prove(&users, answer, attempt, now) {
                Ok(found) => found,
                Err(stale) => return denied(stale),
            },
        };
        match found {
            Some(user) => {
                self.succeeded(attempt.address, name);
                Verdict::Allowed(user)
            }
            None => {
                self.failed(attempt.address, name, now);
                denied(false)
            }
        }
    }

    /// The user whose password the answer proves; none if it proves none. An error, which says
    /// whether the nonce was to blame, is no wrong password and does not count as one.
    fn prove(
        &self,
        users: &Users,
        answer: &Answer,
        attempt: &Attempt<'_>,
        now: Time,
    ) -> Result<Option<Rc<User>>, bool> {
        let nonce = self.read_nonce(&answer.nonce, attempt, now);
        let algorithm = match &nonce {
            // Some clients hash as they were asked to and do not say so.
            Some((algorithm, _)) => *algorithm,
            None if answer.response.len() == 64 => Algorithm::Sha256,
            None => Algorithm::Md5,
        };
        let qop = answer.qop.is_empty() || answer.qop == "auth";
        if !qop || answer.realm != REALM || !same_target(attempt.door, &answer.uri, attempt.uri) {
            return Err(false);
        }
        let sent = answer.response.to_ascii_lowercase();
        let is = |password: &str| {
            same_secret(answer.expected(algorithm, attempt.method, password).as_bytes(), sent.as_bytes())
        };
        let Some(user) = choose(users, attempt.door, &answer.username, &is) else {
            return Ok(None);
        };
        let Some((_, id)) = nonce else {
            return Err(true);
        };
        if !answer.qop.is_empty() && !answer.count().is_some_and(|count| self.count(id, count)) {
            return Err(true);
        }
        Ok(Some(user))
    }

    /// The WWW-Authenticate values for somebody denied, best first.
    pub fn challenges(&self, door: Door, address: Option<IpAddr>, stale: bool, now: Time) -> Vec<String> {
        let offer = self.offer(door);
        let mut out = Vec::with_capacity(3);
        let mut digest = |algorithm: Algorithm| {
            let nonce = self.make_nonce(algorithm, door, address, now);
            let mut text = String::with_capacity(160);
            for part in ["Digest realm=\"", REALM, "\", nonce=\"", &nonce, "\""] {
                text.push_str(part);
            }
            if offer.qop {
                text.push_str(", qop=\"auth\"");
            }
            if offer.sha256 || offer.qop {
                text.push_str(", algorithm=");
                text.push_str(algorithm.name());
            }
            if stale {
                text.push_str(", stale=true");
            }
            out.push(text);
        };
        if offer.sha256 {
            digest(Algorithm::Sha256);
        }
        digest(Algorithm::Md5);
        if offer.basic {
            out.push(["Basic realm=\"", REALM, "\", charset=\"UTF-8\""].concat());
        }
        out
    }

    fn nonce_proof(&self, number: &[u8; 13], door: Door, address: Option<IpAddr>) -> [u8; 12] {
        let whole = hmac(&self.secret, &[b"nonce", number, &[door as u8], &address_key(address)]);
        whole.first_chunk().copied().unwrap_or_default()
    }

    fn make_nonce(&self, algorithm: Algorithm, door: Door, address: Option<IpAddr>, now: Time) -> String {
        let counter = self.counter.get();
        self.counter.set(counter.wrapping_add(1));
        let mut number = [0; 13];
        let milliseconds = (now.nanos() / 1_000_000).to_be_bytes();
        let parts = milliseconds.into_iter().chain(counter.to_be_bytes()).chain([algorithm as u8]);
        number.iter_mut().zip(parts).for_each(|(n, p)| *n = p);
        let mut nonce = hex(&number);
        nonce.push_str(&hex(&self.nonce_proof(&number, door, address)));
        nonce
    }

    /// The hash and number of a nonce that this process gave to that address and that is still good.
    fn read_nonce(&self, nonce: &str, attempt: &Attempt<'_>, now: Time) -> Option<(Algorithm, NonceId)> {
        let (number, proof) = nonce.split_at_checked(26)?;
        let mut bytes = [0u8; 13];
        for (byte, pair) in bytes.iter_mut().zip(number.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        let right = hex(&self.nonce_proof(&bytes, attempt.door, attempt.address));
        if !same_secret(right.as_bytes(), proof.as_bytes()) {
            return None;
        }
        let made = u64::from_be_bytes(*bytes.first_chunk()?);
        let counter = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
        let age = (now.nanos() / 1_000_000).checked_sub(made)?;
        if Duration::from_millis(age) > NONCE_LIFE {
            return None;
        }
        let algorithm =
            if bytes.last() == Some(&(Algorithm::Sha256 as u8)) { Algorithm::Sha256 } else { Algorithm::Md5 };
        Some((algorithm, (made, counter)))
    }

    /// Whether this count of this nonce is new. Connections of one client overtake each other, so
    /// the last 64 counts may come in any order.
    fn count(&self, id: NonceId, count: u32) -> bool {
        let mut table = self.used.borrow_mut();
        if let Some(used) = table.iter_mut().find(|u| u.id == id) {
            if count > used.highest {
                used.window = used.window.checked_shl(count - used.highest).unwrap_or(0) | 1;
                used.highest = count;
                return true;
            }
            let bit = 1u64.checked_shl(used.highest - count).unwrap_or(0);
            let fresh = bit != 0 && used.window & bit == 0;
            used.window |= bit;
            return fresh;
        }
        if id <= self.forgotten.get() {
            return false;
        }
        if table.len() >= NONCES {
            let oldest = table.iter().enumerate().min_by_key(|(_, u)| u.id).map(|(i, u)| (i, u.id));
            if let Some((i, oldest)) = oldest {
                self.forgotten.set(self.forgotten.get().max(oldest));
                table.swap_remove(i);
                if id <= oldest {
                    return false;
                }
            }
        }
        table.push(Used { id, highest: count, window: 1 });
        true
    }

    fn failure_key(&self, address: Option<IpAddr>, name: Option<&str>) -> u64 {
        let name = name.map_or(&[][..], str::as_bytes);
        let tag: &[u8] = if name.is_empty() { b"address" } else { b"name" };
        let whole = hmac(&self.secret, &[tag, &address_key(address), name]);
        u64::from_be_bytes(whole.first_chunk().copied().unwrap_or_default())
    }

    /// Until when that address has to wait before it may try that name again.
    pub fn slowed(&self, address: Option<IpAddr>, name: &str, now: Time) -> Option<Time> {
        address?;
        let keys = [self.failure_key(address, Some(name)), self.failure_key(address, None)];
        let table = self.failures.borrow();
        table.iter().filter(|f| keys.contains(&f.key) && f.until > now).map(|f| f.until).max()
    }

    /// A wrong key: counts against that address for that name, and once for each new name against
    /// the address, so that one recorder with an old password does not slow its neighbours behind
    /// the same address.
    pub fn failed(&self, address: Option<IpAddr>, name: &str, now: Time) {
        if address.is_none() {
            return;
        }
        if self.fail(self.failure_key(address, Some(name)), FAILURES_FREE, now) {
            self.fail(self.failure_key(address, None), FAILURES_FREE_ADDRESS, now);
        }
    }

    /// Counts; whether the key is new.
    fn fail(&self, key: u64, free: u32, now: Time) -> bool {
        let mut table = self.failures.borrow_mut();
        table.retain(|f| now.since(f.last) < FAILURE_LIFE);
        if let Some(f) = table.iter_mut().find(|f| f.key == key) {
            f.count = f.count.saturating_add(1);
            f.last = now;
            if f.count >= free {
                let seconds = 1u64.checked_shl(f.count - free).unwrap_or(u64::MAX);
                f.until = now + Duration::from_secs(seconds).min(FAILURE_DELAY);
            }
            return false;
        }
        if table.len() >= FAILURES {
            let least = table.iter().enumerate().min_by_key(|(_, f)| (f.count, f.last)).map(|(i, _)| i);
            least.map(|i| table.swap_remove(i));
        }
        table.push(Failure { key, count: 1, last: now, until: Time::ZERO });
        true
    }

    /// A right key: forgets that name's failures from that address.
    pub fn succeeded(&self, address: Option<IpAddr>, name: &str) {
        if address.is_some() && !self.failures.borrow().is_empty() {
            let key = self.failure_key(address, Some(name));
            self.failures.borrow_mut().retain(|f| f.key != key);
        }
    }
}

/// The first user of that name whose password is the one; always tries at least one password, so
/// that the time does not tell which names exist.
fn choose(users: &Users, door: Door, name: &str, is: &dyn Fn(&str) -> bool) -> Option<Rc<User>> {
    let mut found = None;
    let mut tried = false;
    for user in users.named(door, name) {
        tried = true;
        if is(&user.password) && found.is_none() {
            found = Some(user.clone());
        }
    }
    if !tried {
        std::hint::black_box(is("somebody else's password"));
    }
    found
}

/// What an address is counted by: itself in IPv4, its /64 in IPv6.
pub(crate) fn address_key(address: Option<IpAddr>) -> [u8; 9] {
    let (tag, bits) = match address.map(|a| a.to_canonical()) {
        None => (0, 0),
        Some(IpAddr::V4(a)) => (4, u64::from(u32::from(a))),
        Some(IpAddr::V6(a)) => (6, u64::from_be_bytes(a.octets().first_chunk().copied().unwrap_or_default())),
    };
    let mut key = [tag; 9];
    key.iter_mut().skip(1).zip(bits.to_be_bytes()).for_each(|(k, b)| *k = b);
    key
}

/// Whether the digest's `uri` means the request's target. Scheme and host may be missing. RTSP
/// clients also sign the stream's address where they ask for a track of it, with or without slash.
fn same_target(door: Door, signed: &str, asked: &str) -> bool {
    let local = |uri: &'_ str| -> String {
        let rest = uri
            .split_once("://")
            .map_or(uri, |(_, rest)| rest.find('/').map_or("/", |i| rest.get(i..).unwrap_or("/")));
        rest.to_owned()
    };
    let (signed, asked) = (local(signed), local(asked));
    if door != Door::Rtsp {
        return signed == asked;
    }
    let (signed, asked) = (signed.trim_end_matches('/'), asked.trim_end_matches('/'));
    asked.strip_prefix(signed).is_some_and(|rest| {
        rest.is_empty() || !signed.is_empty() && (rest.starts_with('/') || rest.starts_with('?'))
    })
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
