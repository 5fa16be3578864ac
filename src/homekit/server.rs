//! An accessory at its port: the only file of this room with sockets. It takes connections, carries
//! bytes between them and their [`Session`]s, has their work done elsewhere, and tells the others what
//! one of them changed. What is said on a connection is the session's business, what it is said of the
//! accessory's.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::accessory::{Accessory, Camera, Value, Viewer};
use super::camera::Source;
use super::pairing::Job;
use super::session::{Next, Session, Snapshot};
use crate::net::auth::address_key;
use crate::net::limits::{
    ACCEPT_PAUSE, HOMEKIT_CONNECTIONS, HOMEKIT_OUT, HOMEKIT_READ, HOMEKIT_SAVE_PAUSE, HOMEKIT_SAVE_RETRY,
    HOMEKIT_SNAPSHOT_TIME, HOMEKIT_STRANGER_TIME, HOMEKIT_STRANGERS, HOMEKIT_TYPING_TIME, HOMEKIT_WRITE_TIME,
    HTTP_LINGER_TIME, YIELD_MESSAGES,
};
use crate::net::log;
use crate::net::mdns::{Invalid, Registration, Responder, Service};
use crate::net::reactor::Timer;
use crate::net::socket::{Listener, Peer, Socket};
use crate::net::worker::Worker;
use crate::stream::{Executor, Local};
use async_task::Task;
use futures_lite::future::{or, yield_now};
use std::cell::{Cell, Ref, RefCell};
use std::future::{poll_fn, ready};
use std::io::{ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

/// Bytes of a service's name.
const LONGEST_NAME: usize = 63;

/// Where an accessory's book is kept.
pub trait Store {
    /// Keeps these bytes, of [`VERSION`](super::pairing::book::VERSION), so that they survive a pulled
    /// plug; true once they do. Saves are kept in the order in which they are asked for.
    fn save(&self, book: Vec<u8>) -> Local<bool>;
}

/// Keeps nothing: after a restart nobody is paired.
impl Store for () {
    fn save(&self, _: Vec<u8>) -> Local<bool> {
        Box::pin(ready(true))
    }
}

/// Where an accessory's pictures come from.
pub trait Snapshots {
    /// A JPEG of what is to be seen, no larger than asked for where that can be helped.
    fn take(&self, wanted: Snapshot) -> Local<Option<Rc<[u8]>>>;
}

/// Has no pictures: whoever asks is told that the camera cannot be reached.
impl Snapshots for () {
    fn take(&self, _: Snapshot) -> Local<Option<Rc<[u8]>>> {
        Box::pin(ready(None))
    }
}

/// What stands behind an accessory.
pub struct Behind {
    /// Live view, and what the camera does when it is told to.
    pub camera: Box<dyn Camera>,
    /// Where the book is kept.
    pub store: Rc<dyn Store>,
    /// Where pictures come from.
    pub snapshots: Rc<dyn Snapshots>,
}

/// What is kept and shown of an accessory behind a bridge.
pub struct Annex {
    /// Its number.
    pub aid: u32,
    /// Where its book is kept.
    pub store: Rc<dyn Store>,
    /// Where its pictures come from.
    pub snapshots: Rc<dyn Snapshots>,
}

/// What a server has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Connections that are open.
    pub connections: usize,
    /// Those among them that are a controller's.
    pub controllers: usize,
    /// Connections that ever were accepted.
    pub accepted: u64,
    /// Connections that were closed to make room.
    pub crowded: u64,
}

/// A connection as the server knows it.
struct Line {
    id: u32,
    socket: Socket,
    remote: Option<SocketAddr>,
    key: [u8; 9],
    /// When it last said something.
    heard: Cell<Instant>,
    /// It is a controller's.
    known: Cell<bool>,
    closed: Cell<bool>,
    /// Something has changed that its session should look at.
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Line {
    fn ring(&self) {
        self.rung.set(true);
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn close(&self) {
        self.closed.set(true);
        self.socket.shutdown(Shutdown::Both);
        self.ring();
    }
}

/// An accessory with its connections.
pub struct Server {
    executor: Executor,
    slow: Rc<Worker>,
    accessory: RefCell<Accessory>,
    camera: RefCell<Box<dyn Camera>>,
    store: Rc<dyn Store>,
    snapshots: Rc<dyn Snapshots>,
    annexes: Vec<Annex>,
    announced: RefCell<Option<Registration>>,
    /// What the announcement says: `c#`, and whether somebody is paired.
    told: Cell<(u16, bool)>,
    lines: RefCell<Vec<Rc<Line>>>,
    next: Cell<u32>,
    /// The accessory's turn that all connections know of.
    turn: Cell<u64>,
    /// Controllers' changes that are being kept.
    saving: Cell<u32>,
    /// Values are being kept.
    keeping: Cell<bool>,
    stopped: Cell<bool>,
    stats: Cell<Stats>,
}

/// A port at work. Dropping it stops listening and closes what came by it.
pub struct Listening {
    server: Rc<Server>,
    _task: Task<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.server.stop();
    }
}

impl Server {
    /// An accessory that nobody can reach yet. Big numbers are computed on `slow`.
    pub fn new(executor: Executor, slow: Rc<Worker>, accessory: Accessory, behind: Behind) -> Rc<Server> {
        Server::bridge(executor, slow, accessory, behind, Vec::new())
    }

    /// The same for a bridge: each accessory behind it has an annex here.
    pub fn bridge(
        executor: Executor,
        slow: Rc<Worker>,
        accessory: Accessory,
        behind: Behind,
        annexes: Vec<Annex>,
    ) -> Rc<Server> {
        let told = (accessory.book.config_number, accessory.book.is_paired());
        let turn = Cell::new(accessory.turn());
        let server = Rc::new(Server {
            executor,
            slow,
            accessory: RefCell::new(accessory),
            camera: RefCell::new(behind.camera),
            store: behind.store,
            snapshots: behind.snapshots,
            annexes,
            announced: RefCell::default(),
            told: Cell::new(told),
            lines: RefCell::default(),
            next: Cell::new(1),
            turn,
            saving: Cell::new(0),
            keeping: Cell::new(false),
            stopped: Cell::new(false),
            stats: Cell::default(),
        });
        server.settle();
        server
    }

    /// Serves what comes by that listener, as long as the result is kept.
    pub fn serve(self: &Rc<Self>, listener: Listener) -> Listening {
        self.stopped.set(false);
        let server = self.clone();
        let task = self.executor.spawn(async move {
            let mut turns = 0u32;
            loop {
                match listener.accept().await {
                    Ok((socket, peer)) => server.welcome(socket, peer),
                    Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                    Err(e) => {
                        log::warn!(target: "homekit", "no connection can be accepted just now: {e}");
                        Timer::after(ACCEPT_PAUSE).await;
                    }
                }
                turns = turns.wrapping_add(1);
                if turns.is_multiple_of(YIELD_MESSAGES) {
                    yield_now().await;
                }
            }
        });
        Listening { server: self.clone(), _task: task }
    }

    /// Announces the accessory at that port, as long as it is served. What is said of it is kept true.
    pub fn announce(&self, responder: &Responder, port: u16) -> Result<(), Invalid> {
        let (name, txt) = {
            let accessory = self.accessory.borrow();
            (accessory.settings.name.clone(), txt(&accessory))
        };
        let end = name.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|&end| end <= LONGEST_NAME);
        let name = name.get(..end.last().unwrap_or(0)).unwrap_or_default().to_owned();
        let service = Service { kind: "_hap._tcp".into(), name, port, txt };
        self.announced.replace(Some(responder.register(service)?));
        Ok(())
    }

    /// The name that it is announced by; another may have had the one that was configured.
    pub fn announced_name(&self) -> Option<String> {
        self.announced.borrow().as_ref().map(Registration::name)
    }

    /// The accessory. Not to be held while anything is awaited.
    pub fn accessory(&self) -> Ref<'_, Accessory> {
        self.accessory.borrow()
    }

    /// What it has seen.
    pub fn stats(&self) -> Stats {
        let lines = self.lines.borrow();
        let controllers = lines.iter().filter(|l| l.known.get()).count();
        Stats { connections: lines.len(), controllers, ..self.stats.get() }
    }

    /// Who is connected: from where, and whether it is a controller.
    pub fn connections(&self) -> Vec<(String, bool)> {
        let text = |l: &Rc<Line>| l.remote.map(|a| a.to_string()).unwrap_or_default();
        self.lines.borrow().iter().map(|l| (text(l), l.known.get())).collect()
    }

    /// Motion has begun or ended, for the accessory of that number.
    pub fn motion(self: &Rc<Self>, aid: u32, on: bool) {
        self.at(aid, |accessory, _| accessory.motion(on));
    }

    /// The bell was pressed.
    pub fn press(self: &Rc<Self>, aid: u32) {
        self.at(aid, |accessory, _| accessory.press());
    }

    /// A value of the camera's own has changed.
    pub fn set(self: &Rc<Self>, aid: u32, iid: u16, value: Value) {
        self.at(aid, |accessory, _| accessory.set(iid, value));
    }

    /// Somebody at the camera cuts it off, or lets it see again.
    pub fn disable(self: &Rc<Self>, aid: u32, on: bool) {
        self.at(aid, |accessory, camera| accessory.set_disabled(on, camera));
    }

    /// What the pictures are that hubs get.
    pub fn see(self: &Rc<Self>, aid: u32, source: Source) {
        self.at(aid, |accessory, camera| accessory.see(source, camera));
    }

    /// A live view has ended by itself.
    pub fn live_ended(self: &Rc<Self>, aid: u32, viewer: Viewer) {
        self.at(aid, |accessory, camera| accessory.live_ended(viewer, camera));
    }

    /// Changes the accessory of that number, if there is one, and does what follows from it.
    fn at(self: &Rc<Self>, aid: u32, change: impl FnOnce(&mut Accessory, &mut dyn Camera)) {
        self.with(|accessory, camera| {
            if let Some((accessory, camera)) = accessory.at_mut(aid, camera) {
                change(accessory, camera);
            }
        });
    }

    /// Removes every controller.
    pub fn forget_all(self: &Rc<Self>) {
        self.with(|accessory, camera| accessory.forget_all(camera));
    }

    /// The books of those behind it, as they are now.
    pub fn books(&self) -> Vec<(u32, Vec<u8>)> {
        self.accessory.borrow().members().iter().map(|m| (m.aid, m.accessory.book.encode())).collect()
    }

    fn annex(&self, aid: u32) -> Option<&Annex> {
        self.annexes.iter().find(|annex| annex.aid == aid)
    }

    /// Listens no more, tells the network so and closes every connection. The book as it is then.
    pub fn stop(&self) -> Vec<u8> {
        self.stopped.set(true);
        drop(self.announced.take());
        let lines: Vec<Rc<Line>> = self.lines.borrow().clone();
        lines.iter().for_each(|line| line.close());
        self.accessory.borrow().book.encode()
    }

    /// Changes the accessory, and does what follows from it.
    fn with<T>(self: &Rc<Self>, change: impl FnOnce(&mut Accessory, &mut dyn Camera) -> T) -> T {
        let done = change(&mut self.accessory.borrow_mut(), &mut **self.camera.borrow_mut());
        self.settle();
        done
    }

    fn settle(self: &Rc<Self>) {
        self.accessory.borrow_mut().gather();
        let accessory = self.accessory.borrow();
        let turn = accessory.turn();
        if self.turn.replace(turn) != turn {
            for line in self.lines.borrow().iter() {
                line.ring();
            }
        }
        let told = (accessory.book.config_number, accessory.book.is_paired());
        // what may be taken back is not told yet
        if self.saving.get() == 0 && self.told.replace(told) != told {
            let announced = self.announced.borrow();
            if let Some(Err(e)) = announced.as_ref().map(|a| a.set_txt(txt(&accessory))) {
                log::error!(target: "homekit", "{}: cannot be announced anew: {e}", accessory.settings.name);
            }
        }
        if accessory.is_unsaved() && !self.keeping.replace(true) {
            let server = self.clone();
            self.executor.spawn(async move { server.keep().await }).detach();
        }
    }

    /// Keeps values until there is nothing new.
    async fn keep(&self) {
        loop {
            let unsaved = self.accessory.borrow_mut().take_any_unsaved();
            let Some((aid, book)) = unsaved else { break };
            let saved = self.annex(aid).map_or(&self.store, |annex| &annex.store).save(book);
            if saved.await {
                Timer::after(HOMEKIT_SAVE_PAUSE).await;
            } else {
                if let Some((accessory, _)) = self.accessory.borrow_mut().at_mut(aid, &mut ()) {
                    accessory.not_saved();
                }
                Timer::after(HOMEKIT_SAVE_RETRY).await;
                if self.stopped.get() {
                    break;
                }
            }
        }
        self.keeping.set(false);
    }

    fn welcome(self: &Rc<Self>, socket: Socket, peer: Peer) {
        let key = address_key(peer.address());
        let mut stats = self.stats.get();
        stats.accepted += 1;
        stats.crowded += u64::from(self.make_room(key));
        self.stats.set(stats);
        let id = self.next.get();
        self.next.set(id.wrapping_add(1));
        let line = Rc::new(Line {
            id,
            socket,
            remote: peer.remote,
            key,
            heard: Cell::new(Instant::now()),
            known: Cell::new(false),
            closed: Cell::new(false),
            rung: Cell::new(false),
            waker: RefCell::default(),
        });
        self.lines.borrow_mut().push(line.clone());
        let server = self.clone();
        let local = peer.local.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |a| a.ip().to_canonical());
        let run = async move {
            let leave = Leave(server.clone(), line.clone());
            connection(&server, &line, local).await;
            drop(leave);
        };
        self.executor.spawn(run).detach();
    }

    /// Closes somebody if there is no place for one more.
    fn make_room(&self, key: [u8; 9]) -> bool {
        let lines = self.lines.borrow();
        let open = || lines.iter().filter(|l| !l.closed.get());
        let strangers = || open().filter(|l| !l.known.get());
        let crowd = strangers().count() >= HOMEKIT_STRANGERS;
        if !crowd && open().count() < HOMEKIT_CONNECTIONS {
            return false;
        }
        let accessory = self.accessory.borrow();
        let stranger = strangers().min_by_key(|l| (accessory.setup.is_of(l.id), l.key != key, l.heard.get()));
        let whom = stranger.or_else(|| open().min_by_key(|l| l.heard.get()));
        whom.inspect(|line| line.close()).is_some()
    }
}

/// The attributes of the announcement.
fn txt(accessory: &Accessory) -> Vec<String> {
    accessory.advertisement().into_iter().map(|(key, value)| [key, "=", &value].concat()).collect()
}

struct Leave(Rc<Server>, Rc<Line>);

impl Drop for Leave {
    fn drop(&mut self) {
        let Leave(server, line) = self;
        server.lines.borrow_mut().retain(|l| l.id != line.id);
        server.with(|accessory, camera| accessory.connection_closed(line.id, camera));
    }
}

/// Bytes that nobody can guess. Without the system's there is no HomeKit: keys would be guessable.
pub fn random(bytes: &mut [u8]) {
    // the first thing a session does with them is to need them
    while getrandom::fill(bytes).is_err() {
        std::thread::yield_now();
    }
}

/// What ended a wait.
enum Woken {
    Readable,
    Rung,
    Time,
}

async fn wait(line: &Line, room: bool, until: Option<Instant>) -> Woken {
    let mut timer = until.map_or_else(Timer::never, Timer::at);
    poll_fn(|cx| {
        line.waker.replace(Some(cx.waker().clone()));
        if line.rung.take() {
            return Poll::Ready(Woken::Rung);
        }
        if room && line.socket.poll_readable(cx).is_ready() {
            return Poll::Ready(Woken::Readable);
        }
        Future::poll(Pin::new(&mut timer), cx).map(|()| Woken::Time)
    })
    .await
}

/// Writes all of it; false if the peer does not take it.
async fn flush(line: &Line, out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    while let Some(rest) = out.get(at..).filter(|rest| !rest.is_empty()) {
        match line.socket.try_write(&[IoSlice::new(rest)]) {
            Ok(0) => {
                let room = async { line.socket.writable().await.is_ok() };
                let late = async {
                    Timer::after(HOMEKIT_WRITE_TIME).await;
                    false
                };
                if !or(room, late).await || line.closed.get() {
                    return false;
                }
            }
            Ok(n) => at += n,
            Err(_) => return false,
        }
    }
    out.clear();
    out.shrink_to(HOMEKIT_OUT);
    true
}

/// A connection's life.
async fn connection(server: &Rc<Server>, line: &Rc<Line>, local: IpAddr) {
    let mut session = Session::new(line.id, local, &server.accessory.borrow());
    let mut buffer = [0; HOMEKIT_READ];
    let (mut next, mut turns) = (None, 0u32);
    // what has been done is brought to its end also where nobody waits for the answer any more
    while next.is_some() || !line.closed.get() {
        let step = match next.take() {
            Some(step) => step,
            None => server.with(|a, c| session.step(a, c, Instant::now(), &mut random)),
        };
        line.known.set(session.is_verified());
        if let Next::Save = step {
            // before anything is waited for: others' changes are kept after ours
            server.saving.set(server.saving.get() + 1);
            let saved = server.store.save(server.accessory.borrow().book.encode());
            let ok = saved.await;
            server.saving.set(server.saving.get() - 1);
            server.with(|a, _| session.saved(a, ok));
            continue;
        }
        if !flush(line, session.output()).await {
            return;
        }
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(YIELD_MESSAGES) {
            yield_now().await;
        }
        match step {
            Next::Wait(due) => {
                let patience = match session.is_verified() {
                    true => None,
                    false if server.accessory.borrow().setup.is_of(line.id) => Some(HOMEKIT_TYPING_TIME),
                    false => Some(HOMEKIT_STRANGER_TIME),
                };
                let end = patience.map(|patience| line.heard.get() + patience);
                let until = [due, end].into_iter().flatten().min();
                match wait(line, session.has_room(), until).await {
                    Woken::Rung => {}
                    Woken::Time if end.is_some_and(|end| end <= Instant::now()) => return,
                    Woken::Time => {}
                    Woken::Readable => match line.socket.try_read(&mut buffer) {
                        Ok(0) => return,
                        Ok(n) => {
                            line.heard.set(Instant::now());
                            if let Err(e) = session.receive(buffer.get(..n).unwrap_or_default()) {
                                log::debug!(target: "homekit", "connection {}: {e}", line.id);
                                return;
                            }
                        }
                        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                        Err(_) => return,
                    },
                }
            }
            Next::Work(job) => next = work(server, &mut session, job).await,
            Next::Snapshot(wanted) => {
                let late = async {
                    Timer::after(HOMEKIT_SNAPSHOT_TIME).await;
                    None
                };
                let pictures = server.annex(wanted.aid).map_or(&server.snapshots, |annex| &annex.snapshots);
                let jpeg = or(pictures.take(wanted), late).await;
                session.snapshot(jpeg.as_deref());
            }
            Next::Save => {}
            Next::Close => return linger(line, &mut buffer).await,
        }
    }
}

/// Has a job done elsewhere.
async fn work(server: &Rc<Server>, session: &mut Session, job: Job) -> Option<Next> {
    match server.slow.run(move || job.run()) {
        Ok(pending) => {
            let done = pending.await;
            server.with(|a, c| session.job_done(a, c, done, Instant::now()))
        }
        Err(refused) => {
            log::warn!(target: "homekit", "a controller has to try again: {refused}");
            server.with(|a, _| session.job_refused(a));
            None
        }
    }
}

/// Lets the peer read the last answer: bytes that nobody reads would reset the connection.
async fn linger(line: &Line, buffer: &mut [u8]) {
    line.socket.shutdown(Shutdown::Write);
    let end = Instant::now() + HTTP_LINGER_TIME;
    while !line.closed.get() {
        match wait(line, true, Some(end)).await {
            Woken::Time => return,
            Woken::Rung => {}
            Woken::Readable => match line.socket.try_read(buffer) {
                Ok(0) => return,
                Err(e) if e.kind() != ErrorKind::WouldBlock => return,
                _ => {}
            },
        }
    }
}
