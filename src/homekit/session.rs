//! One connection of a controller, without its socket: bytes in, bytes out, and what has to be done
//! elsewhere before the next answer. Answers keep the order of their requests; an event is written
//! between two answers, never inside one.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::accessory::{AID, Accessory, Caller, Camera, Status, Value};
use super::characteristics::Id;
use super::crypto::Key;
use super::http::{self, Request};
use super::pairing::book::{Book, Pairing};
use super::pairing::verify::{Outcome, Verify};
use super::pairing::{Done, Job, Step, admin};
use super::tlv8::Tlv;
use super::{characteristics, frame};
use crate::net::http::Method;
use crate::net::json;
use crate::net::limits::{HOMEKIT_BODY, HOMEKIT_OUT, HTTP_HEAD};
use crate::net::lists::drop_where;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Changes within this time make one event.
const TOGETHER: Duration = Duration::from_millis(250);
/// Changes that wait for one event; with more it is sent at once.
const MOST_TOGETHER: usize = 32;
/// The longest time between `/prepare` and the write.
const LONGEST_PREPARE: Duration = Duration::from_secs(60);
/// Bytes that are held of requests that wait for an answer; beyond it nothing is read.
const MOST_HELD: usize = HTTP_HEAD + 4 * HOMEKIT_BODY;
const PAIRING: &str = "application/pairing+tlv8";

#[derive(Clone, Copy)]
enum Route {
    Setup,
    Verify,
    Identify,
    Pairings,
    Accessories,
    Read,
    Write,
    Prepare,
    Resource,
}

const ROUTES: [(&str, Method, Route); 9] = [
    ("/pair-setup", Method::Post, Route::Setup),
    ("/pair-verify", Method::Post, Route::Verify),
    ("/identify", Method::Post, Route::Identify),
    ("/pairings", Method::Post, Route::Pairings),
    ("/accessories", Method::Get, Route::Accessories),
    ("/characteristics", Method::Get, Route::Read),
    ("/characteristics", Method::Put, Route::Write),
    ("/prepare", Method::Put, Route::Prepare),
    ("/resource", Method::Post, Route::Resource),
];

/// A picture that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Of which accessory.
    pub aid: u32,
    /// Pixels across, at most.
    pub width: u16,
    /// Pixels down, at most.
    pub height: u16,
}

/// What has to happen before the session goes on.
pub enum Next {
    /// Bytes from the controller, a change of the accessory, or this time.
    Wait(Option<Instant>),
    /// This on a worker, then [`Session::job_done`].
    Work(Box<Job>),
    /// The accessory's book, as it is then, on flash, then [`Session::saved`].
    Save,
    /// This picture, then [`Session::snapshot`].
    Snapshot(Snapshot),
    /// Once what is to be written was written, close.
    Close,
}

enum Waiting {
    Nothing,
    Job,
    Save(Box<Saving>),
    Snapshot,
}

/// What is being kept: the answers for kept and not, the book before and who was in it after.
struct Saving {
    yes: Vec<u8>,
    no: Vec<u8>,
    before: Book,
    after: Vec<Pairing>,
}

struct Controller {
    id: Vec<u8>,
    key: Key,
    shared: Key,
}

/// A connection.
pub struct Session {
    connection: u32,
    local: IpAddr,
    /// As it came, not yet decrypted.
    sealed: Vec<u8>,
    /// Requests not yet answered.
    plain: Vec<u8>,
    /// To be written.
    out: Vec<u8>,
    cipher: Option<frame::Session>,
    controller: Option<Controller>,
    verify: Verify,
    subscribed: Vec<Id>,
    /// The next change of the accessory that was not looked at.
    seen: u64,
    together: Vec<(Id, Value)>,
    due: Option<Instant>,
    prepared: Option<(u64, Instant)>,
    waiting: Waiting,
    closing: bool,
}

impl Session {
    /// A connection that was accepted at our address `local`; its number is nobody else's.
    pub fn new(connection: u32, local: IpAddr, accessory: &Accessory) -> Session {
        Session {
            connection,
            local,
            sealed: Vec::new(),
            plain: Vec::new(),
            out: Vec::new(),
            cipher: None,
            controller: None,
            verify: Verify::default(),
            subscribed: Vec::new(),
            seen: accessory.next_change(),
            together: Vec::new(),
            due: None,
            prepared: None,
            waiting: Waiting::Nothing,
            closing: false,
        }
    }

    /// Whether more may be read: not while much is held already.
    pub fn has_room(&self) -> bool {
        !self.closing && self.plain.len() + self.sealed.len() < MOST_HELD
    }

    /// Whether a controller was verified.
    pub fn is_verified(&self) -> bool {
        self.controller.is_some()
    }

    /// Bytes to be written; the caller takes away what it wrote.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes from the controller. After an error the connection is closed without a word.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), frame::Error> {
        if self.cipher.is_none() {
            self.plain.extend_from_slice(bytes);
            return Ok(());
        }
        self.sealed.extend_from_slice(bytes);
        self.decrypt()
    }

    fn decrypt(&mut self) -> Result<(), frame::Error> {
        let Some(cipher) = &mut self.cipher else { return Ok(()) };
        let used = cipher.open(&self.sealed, &mut self.plain);
        if used.is_err() {
            self.closing = true;
            self.out.clear();
        }
        http::pass(&mut self.sealed, used?);
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) {
        match &mut self.cipher {
            Some(cipher) => cipher.seal(bytes, &mut self.out),
            None => self.out.extend_from_slice(bytes),
        }
    }

    /// Goes on as far as it can.
    pub fn step(
        &mut self,
        accessory: &mut Accessory,
        camera: &mut dyn Camera,
        now: Instant,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Next {
        accessory.gather();
        loop {
            if !matches!(self.waiting, Waiting::Nothing) {
                return Next::Wait(None);
            }
            let known = |c: &Controller| accessory.book.find(&c.id).is_some_and(|p| p.key == c.key);
            if self.closing || self.controller.as_ref().is_some_and(|c| !known(c)) {
                self.closing = true;
                return Next::Close;
            }
            if self.out.len() >= HOMEKIT_OUT {
                return Next::Wait(Some(now));
            }
            match http::take(&mut self.plain) {
                Ok(None) => return Next::Wait(self.events(accessory, now)),
                Ok(Some(request)) => {
                    if let Some(next) = self.request(accessory, camera, &request, now, random) {
                        return next;
                    }
                }
                Err(status) => {
                    self.send(&http::answer(status, "", b""));
                    self.closing = true;
                }
            }
        }
    }

    /// Collects what changed; writes it if it is time. When it will be, otherwise.
    #[inline(never)]
    fn events(&mut self, accessory: &Accessory, now: Instant) -> Option<Instant> {
        let mut at_once = false;
        for change in accessory.changes_since(self.seen) {
            let id = (change.aid, change.iid);
            if change.by != Some(self.connection) && self.subscribed.contains(&id) {
                at_once |= change.now;
                self.together.push((id, change.value.clone()));
            }
        }
        self.seen = accessory.next_change();
        // One who unsubscribed in between is not told.
        drop_where(&mut self.together, |(id, _)| !self.subscribed.contains(id));
        if self.together.is_empty() {
            self.due = None;
            return None;
        }
        let due = *self.due.get_or_insert(now + TOGETHER);
        if !at_once && now < due && self.together.len() < MOST_TOGETHER {
            return Some(due);
        }
        let body = characteristics::event(&self.together);
        self.together.clear();
        self.due = None;
        self.send(&http::event(&body));
        None
    }

    #[inline(never)]
    fn request(
        &mut self,
        accessory: &mut Accessory,
        camera: &mut dyn Camera,
        request: &Request,
        now: Instant,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Option<Next> {
        let verified = self.controller.is_some();
        let is_there = |route: &&(&str, Method, Route)| route.0 == request.path;
        let route = ROUTES.iter().filter(is_there).find(|(_, method, _)| *method == request.method);
        let answer = match route.map(|(.., route)| *route) {
            Some(Route::Setup) => {
                let before = accessory.book.clone();
                let step = match Tlv::parse(&request.body) {
                    Err(_) => Step::Malformed,
                    Ok(tlv) => {
                        accessory.setup.message(&mut accessory.book, self.connection, &tlv, now, random)
                    }
                };
                return self.pairing(accessory, camera, step, before);
            }
            Some(Route::Verify) => return self.pair_verify(accessory, request, random),
            Some(Route::Identify) => {
                if accessory.book.is_paired() {
                    status(400, Status::Privileges)
                } else {
                    camera.identify();
                    http::answer(204, "", b"")
                }
            }
            _ if !verified => status(470, Status::Privileges),
            Some(Route::Pairings) => {
                let before = accessory.book.clone();
                let caller = self.controller.as_ref().map(|c| c.id.as_slice()).unwrap_or_default();
                let step = match Tlv::parse(&request.body) {
                    Err(_) => Step::Malformed,
                    Ok(tlv) => admin::message(&mut accessory.book, caller, &tlv),
                };
                return self.pairing(accessory, camera, step, before);
            }
            Some(Route::Accessories) => {
                http::json(200, &characteristics::accessories(accessory, self.connection))
            }
            Some(Route::Read) => characteristics::read(accessory, request, self.connection, &self.subscribed),
            Some(Route::Write) => self.write(accessory, camera, request, now),
            Some(Route::Prepare) => self.prepare(request, now),
            Some(Route::Resource) => match resource(accessory, request) {
                Err(answer) => answer,
                Ok(snapshot) => {
                    self.waiting = Waiting::Snapshot;
                    return Some(Next::Snapshot(snapshot));
                }
            },
            None => http::answer(if ROUTES.iter().any(|r| is_there(&r)) { 405 } else { 404 }, "", b""),
        };
        self.send(&answer);
        None
    }

    /// What follows from a message of pairing.
    fn pairing(
        &mut self,
        accessory: &mut Accessory,
        camera: &mut dyn Camera,
        step: Step,
        before: Book,
    ) -> Option<Next> {
        match step {
            Step::Answer(tlv) => self.send(&http::answer(200, PAIRING, &tlv)),
            Step::Malformed => self.send(&http::answer(400, "", b"")),
            Step::Work(job) => {
                self.waiting = Waiting::Job;
                return Some(Next::Work(job));
            }
            Step::Save(yes, no) => {
                accessory.pairings_changed(camera);
                let after = accessory.book.pairings.clone();
                self.waiting = Waiting::Save(Box::new(Saving { yes, no, before, after }));
                return Some(Next::Save);
            }
        }
        None
    }

    #[inline(never)]
    fn pair_verify(
        &mut self,
        accessory: &Accessory,
        request: &Request,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Option<Next> {
        let mut secret = [0; 32];
        random(&mut secret);
        let outcome = match Tlv::parse(&request.body) {
            Err(_) => Outcome::Malformed,
            Ok(tlv) => self.verify.message(&accessory.book, &tlv, &secret),
        };
        self.verified(accessory, outcome)
    }

    /// What follows from a message of pair-verify.
    fn verified(&mut self, accessory: &Accessory, outcome: Outcome) -> Option<Next> {
        match outcome {
            Outcome::Work(job) => {
                self.waiting = Waiting::Job;
                return Some(Next::Work(job));
            }
            Outcome::Malformed => self.send(&http::answer(400, "", b"")),
            Outcome::Answer(tlv) => self.send(&http::answer(200, PAIRING, &tlv)),
            Outcome::Verified { answer, controller, shared } => {
                // The answer goes out as the old session has it; all after it is the new one's.
                self.send(&http::answer(200, PAIRING, &answer));
                let key = accessory.book.find(&controller).map(|p| p.key).unwrap_or_default();
                self.controller = Some(Controller { id: controller, key, shared });
                self.subscribed.clear();
                self.seen = accessory.next_change();
                self.sealed = std::mem::take(&mut self.plain);
                self.cipher = Some(frame::Session::new(&shared));
                if self.decrypt().is_err() {
                    return Some(Next::Close);
                }
            }
        }
        None
    }

    #[inline(never)]
    fn prepare(&mut self, request: &Request, now: Instant) -> Vec<u8> {
        let document = json::parse(&request.body).ok();
        let ttl = document.as_ref().and_then(|d| number(d, "ttl"));
        let pid = document.as_ref().and_then(|d| number(d, "pid"));
        let (Some(ttl), Some(pid)) = (ttl, pid) else {
            return status(400, Status::Invalid);
        };
        self.prepared = Some((pid, now + Duration::from_millis(ttl).min(LONGEST_PREPARE)));
        http::json(200, "{\"status\":0}")
    }

    #[inline(never)]
    fn write(
        &mut self,
        accessory: &mut Accessory,
        camera: &mut dyn Camera,
        request: &Request,
        now: Instant,
    ) -> Vec<u8> {
        let Ok(document) = json::parse(&request.body) else {
            return status(400, Status::Invalid);
        };
        let Some(controller) = &self.controller else {
            return status(470, Status::Privileges);
        };
        let pid = number(&document, "pid");
        let prepared =
            pid.is_some() && self.prepared.is_some_and(|(p, until)| pid == Some(p) && now <= until);
        if pid.is_some() {
            self.prepared = None;
        }
        let caller = Caller {
            connection: self.connection,
            admin: accessory.book.find(&controller.id).is_some_and(|p| p.admin),
            shared: &controller.shared,
            local: self.local,
            timed: prepared,
            now,
        };
        let before = self.subscribed.len();
        // What changed before a subscription is not its business.
        let seen = accessory.next_change();
        let answer = characteristics::write(accessory, &document, &caller, camera, &mut self.subscribed);
        accessory.gather();
        if before == 0 && !self.subscribed.is_empty() {
            self.seen = seen;
        }
        answer
    }

    /// A job is done.
    pub fn job_done(
        &mut self,
        accessory: &mut Accessory,
        camera: &mut dyn Camera,
        done: Done,
        now: Instant,
    ) -> Option<Next> {
        self.waiting = Waiting::Nothing;
        if matches!(done, Done::Offered(_) | Done::Checked(_)) {
            let outcome = self.verify.done(&accessory.book, done);
            return self.verified(accessory, outcome);
        }
        let before = accessory.book.clone();
        let step = accessory.setup.done(&mut accessory.book, self.connection, done, now);
        self.pairing(accessory, camera, step, before)
    }

    /// The worker did not take the job: the controller may try again.
    pub fn job_refused(&mut self, accessory: &mut Accessory) {
        self.waiting = Waiting::Nothing;
        accessory.setup.leave(self.connection);
        self.send(&http::answer(503, "", b""));
    }

    /// The book is on flash, or is not: then it is as it was.
    pub fn saved(&mut self, accessory: &mut Accessory, ok: bool) {
        if let Waiting::Save(saving) = std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            let Saving { yes, no, before, after } = *saving;
            if ok {
                accessory.empty_members();
            } else {
                accessory.restore(&before, &after);
            }
            self.send(&http::answer(200, PAIRING, if ok { &yes } else { &no }));
        }
    }

    /// The picture, as a JPEG, or none.
    pub fn snapshot(&mut self, jpeg: Option<&[u8]>) {
        if matches!(self.waiting, Waiting::Snapshot) {
            self.waiting = Waiting::Nothing;
            let answer = match jpeg {
                Some(jpeg) => http::answer(200, "image/jpeg", jpeg),
                None => status(207, Status::Unreachable),
            };
            self.send(&answer);
        }
    }
}

fn status(http: u16, status: Status) -> Vec<u8> {
    let mut out = json::Writer::new();
    out.begin_object().key("status").int(i64::from(status as i32)).end_object();
    http::json(http, &out.finish())
}

/// A number up to 2^64.
fn number(document: &json::Value, name: &str) -> Option<u64> {
    match document.get(name)? {
        json::Value::Int(n) => u64::try_from(*n).ok(),
        json::Value::Real(text) => text.parse().ok(),
        _ => None,
    }
}

#[inline(never)]
fn resource(accessory: &Accessory, request: &Request) -> Result<Snapshot, Vec<u8>> {
    let document = json::parse(&request.body).map_err(|_| status(400, Status::Invalid))?;
    if document.get("resource-type").and_then(json::Value::as_str) != Some("image") {
        return Err(status(404, Status::Missing));
    }
    let aid = match document.get("aid").map(json::Value::as_int) {
        None => Some(AID),
        Some(number) => number.and_then(|n| u32::try_from(n).ok()),
    };
    let found = aid.and_then(|aid| Some((aid, accessory.at(aid)?)));
    let (aid, accessory) = found.ok_or_else(|| status(404, Status::Missing))?;
    let side = |name| {
        let pixels = document.get(name).and_then(json::Value::as_int);
        pixels.and_then(|n| u16::try_from(n).ok()).filter(|&n| n > 0)
    };
    let (Some(width), Some(height)) = (side("image-width"), side("image-height")) else {
        return Err(status(400, Status::Invalid));
    };
    let reason = document.get("reason").and_then(json::Value::as_int);
    accessory.may_snapshot(reason).map_err(|refused| status(207, refused))?;
    Ok(Snapshot { aid, width, height })
}

#[cfg(test)]
#[path = "session_tests.rs"]
pub(crate) mod tests;
