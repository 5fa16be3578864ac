//! An accessory at its port: the only file of this room with sockets. It takes connections, carries
//! bytes between them and their [`Session`]s, has their work done elsewhere, and tells the others what
//! one of them changed. What is said on a connection is the session's business, what it is said of the
//! accessory's.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::accessory::{Accessory, Camera, Value, Viewer, cut};
use super::camera::Source;
use super::pairing::Done;
use super::session::{Next, Session, Snapshot};
use crate::net::auth::address_key;
use crate::net::door;
use crate::net::limits::{
    HOMEKIT_CONNECTIONS, HOMEKIT_READ, HOMEKIT_SAVE_PAUSE, HOMEKIT_SAVE_RETRY, HOMEKIT_SNAPSHOT_TIME,
    HOMEKIT_STRANGER_TIME, HOMEKIT_STRANGERS, HOMEKIT_TYPING_TIME, HOMEKIT_WRITE_TIME, HTTP_LINGER_TIME,
    YIELD_MESSAGES,
};
use crate::net::lists::drop_where;
use crate::net::log;
use crate::net::mdns::{Invalid, Registration, Responder, Service};
use crate::net::reactor::Timer;
use crate::net::sleeper::Sleeper;
use crate::net::socket::{Listener, Peer, Socket};
use crate::net::worker::{Pending, Worker};
use crate::stream::{Executor, Local};
use async_task::Task;
use std::cell::{Cell, Ref, RefCell};
use std::future::{self, poll_fn};
use std::io::{ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
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
        Box::pin(future::ready(true))
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
        Box::pin(future::ready(None))
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
    sleeper: Sleeper,
}

impl Line {
    fn ring(&self) {
        self.rung.set(true);
        self.sleeper.wake();
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
        let welcome = move |socket, peer| {
            server.welcome(socket, peer);
            true
        };
        let task = self.executor.spawn(door::accept(listener, "homekit", Box::new(welcome)));
        Listening { server: self.clone(), _task: task }
    }

    /// Announces the accessory at that port, as long as it is served. What is said of it is kept true.
    pub fn announce(&self, responder: &Responder, port: u16) -> Result<(), Invalid> {
        let (name, txt) = {
            let accessory = self.accessory.borrow();
            (accessory.settings.name.clone(), txt(&accessory))
        };
        let name = cut(&name, LONGEST_NAME).to_owned();
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
        self.at(aid, &mut |accessory, _| accessory.motion(on));
    }

    /// The bell was pressed.
    pub fn press(self: &Rc<Self>, aid: u32) {
        self.at(aid, &mut |accessory, _| accessory.press());
    }

    /// A value of the camera's own has changed.
    pub fn set(self: &Rc<Self>, aid: u32, iid: u16, value: Value) {
        self.at(aid, &mut |accessory, _| accessory.set(iid, value.clone()));
    }

    /// Somebody at the camera cuts it off, or lets it see again.
    pub fn disable(self: &Rc<Self>, aid: u32, on: bool) {
        self.at(aid, &mut |accessory, camera| accessory.set_disabled(on, camera));
    }

    /// What the pictures are that hubs get.
    pub fn see(self: &Rc<Self>, aid: u32, source: Source) {
        self.at(aid, &mut |accessory, camera| accessory.see(source, camera));
    }

    /// A live view has ended by itself.
    pub fn live_ended(self: &Rc<Self>, aid: u32, viewer: Viewer) {
        self.at(aid, &mut |accessory, camera| accessory.live_ended(viewer, camera));
    }

    /// Changes the accessory of that number, if there is one, and does what follows from it.
    fn at(self: &Rc<Self>, aid: u32, change: &mut dyn FnMut(&mut Accessory, &mut dyn Camera)) {
        self.with(&mut |accessory, camera| {
            if let Some((accessory, camera)) = accessory.at_mut(aid, camera) {
                change(accessory, camera);
            }
        });
    }

    /// Removes every controller; what comes says whether that is kept.
    pub fn forget_all(self: &Rc<Self>) -> Local<bool> {
        self.with(&mut |accessory, camera| accessory.forget_all(camera));
        self.store.save(self.accessory.borrow().book.encode())
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
    fn with(self: &Rc<Self>, change: &mut dyn FnMut(&mut Accessory, &mut dyn Camera)) {
        change(&mut self.accessory.borrow_mut(), &mut **self.camera.borrow_mut());
        self.settle();
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
            sleeper: Sleeper::default(),
        });
        self.lines.borrow_mut().push(line.clone());
        let server = self.clone();
        let local = peer.local.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |a| a.ip().to_canonical());
        let session = Session::new(id, local, &self.accessory.borrow());
        let mut work = Work {
            server,
            line,
            session,
            state: State::Steps,
            next: None,
            timer: Timer::never(),
            written: 0,
            stuck: false,
        };
        self.executor.spawn(async move { poll_fn(|cx| work.poll(cx)).await }).detach();
    }

    /// Closes somebody if there is no place for one more.
    fn make_room(&self, key: [u8; 9]) -> bool {
        let (lines, accessory) = (self.lines.borrow(), self.accessory.borrow());
        let (mut open, mut strangers) = (0, 0);
        let mut whom: Option<((u8, Instant), &Rc<Line>)> = None;
        for line in lines.iter().filter(|l| !l.closed.get()) {
            open += 1;
            // strangers before controllers, those of the same place first, who pairs last
            let rank = if line.known.get() {
                4
            } else {
                strangers += 1;
                u8::from(accessory.setup.is_of(line.id)) << 1 | u8::from(line.key != key)
            };
            let rank = (rank, line.heard.get());
            if whom.is_none_or(|(least, _)| rank < least) {
                whom = Some((rank, line));
            }
        }
        if strangers < HOMEKIT_STRANGERS && open < HOMEKIT_CONNECTIONS {
            return false;
        }
        whom.inspect(|(_, line)| line.close()).is_some()
    }
}

/// The attributes of the announcement.
fn txt(accessory: &Accessory) -> Vec<String> {
    let mut txt = Vec::new();
    for (key, value) in accessory.advertisement() {
        txt.push([key, "=", &value].concat());
    }
    txt
}

/// Bytes that nobody can guess. Without the system's there is no HomeKit: keys would be guessable.
pub fn random(bytes: &mut [u8]) {
    // the first thing a session does with them is to need them
    while getrandom::fill(bytes).is_err() {
        std::thread::yield_now();
    }
}

/// What a connection is at.
enum State {
    /// Its session says what is next.
    Steps,
    /// The controller has its turn, or something changes; until then at the latest.
    Waits(Option<Instant>),
    /// The book is being kept.
    Saves(Local<bool>),
    /// A job is being done.
    Works(Pending<Done>),
    /// A picture is being taken.
    Pictures(Local<Option<Rc<[u8]>>>),
    /// The peer reads the last answer: bytes that nobody reads would reset the connection.
    Lingers,
}

/// A connection at work.
struct Work {
    server: Rc<Server>,
    line: Rc<Line>,
    session: Session,
    state: State,
    /// What is done once all that was said before is written.
    next: Option<Next>,
    /// How long that is waited for what it is at.
    timer: Timer,
    written: usize,
    /// The peer takes nothing just now.
    stuck: bool,
}

impl Drop for Work {
    fn drop(&mut self) {
        let id = self.line.id;
        drop_where(&mut self.server.lines.borrow_mut(), |l| l.id == id);
        self.server.with(&mut |accessory, camera| accessory.connection_closed(id, camera));
    }
}

impl Work {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.line.sleeper.wait(cx.waker());
        for _ in 0..YIELD_MESSAGES {
            match self.turn(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Goes on; false when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Work { server, session, timer, .. } = self;
        match &mut self.state {
            State::Steps => return self.step(cx),
            State::Waits(end) => {
                let end = *end;
                return self.wait(cx, end);
            }
            State::Lingers => return self.linger(cx),
            State::Saves(saved) => {
                let ok = ready!(saved.as_mut().poll(cx));
                server.saving.set(server.saving.get() - 1);
                server.with(&mut |a, _| session.saved(a, ok));
            }
            State::Works(pending) => {
                let mut done = Some(ready!(Pin::new(pending).poll(cx)));
                let next = &mut self.next;
                server.with(&mut |a, c| {
                    *next = done.take().and_then(|done| session.job_done(a, c, done, Instant::now()));
                });
            }
            State::Pictures(picture) => {
                let jpeg = match picture.as_mut().poll(cx) {
                    Poll::Ready(jpeg) => jpeg,
                    Poll::Pending => {
                        ready!(Pin::new(timer).poll(cx));
                        None
                    }
                };
                session.snapshot(jpeg.as_deref());
            }
        }
        self.state = State::Steps;
        Poll::Ready(true)
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Work { server, session, line, .. } = self;
        let mut next = self.next.take();
        if next.is_none() && !line.closed.get() {
            server.with(&mut |a, c| next = Some(session.step(a, c, Instant::now(), &mut random)));
        }
        // what has been done is brought to its end also where nobody waits for the answer any more
        let Some(next) = next else { return Poll::Ready(false) };
        line.known.set(session.is_verified());
        if let Next::Save = next {
            // before anything is waited for: others' changes are kept after ours
            server.saving.set(server.saving.get() + 1);
            self.state = State::Saves(server.store.save(server.accessory.borrow().book.encode()));
            return Poll::Ready(true);
        }
        match self.flush(cx) {
            Poll::Ready(true) => {}
            Poll::Ready(false) => return Poll::Ready(false),
            Poll::Pending => {
                self.next = Some(next);
                return Poll::Pending;
            }
        }
        self.begin(next);
        Poll::Ready(true)
    }

    fn begin(&mut self, next: Next) {
        let Work { server, session, line, .. } = self;
        match next {
            Next::Wait(due) => {
                let patience = match session.is_verified() {
                    true => None,
                    false if server.accessory.borrow().setup.is_of(line.id) => Some(HOMEKIT_TYPING_TIME),
                    false => Some(HOMEKIT_STRANGER_TIME),
                };
                let end = patience.map(|patience| line.heard.get() + patience);
                let until = [due, end].into_iter().flatten().min();
                self.timer = until.map_or_else(Timer::never, Timer::at);
                self.state = State::Waits(end);
            }
            Next::Work(job) => match server.slow.run(move || job.run()) {
                Ok(pending) => self.state = State::Works(pending),
                Err(refused) => {
                    log::warn!(target: "homekit", "a controller has to try again: {refused}");
                    server.with(&mut |a, _| session.job_refused(a));
                }
            },
            Next::Snapshot(wanted) => {
                let pictures = server.annex(wanted.aid).map_or(&server.snapshots, |annex| &annex.snapshots);
                self.state = State::Pictures(pictures.take(wanted));
                self.timer = Timer::after(HOMEKIT_SNAPSHOT_TIME);
            }
            Next::Save => {}
            Next::Close => {
                line.socket.shutdown(Shutdown::Write);
                self.timer = Timer::after(HTTP_LINGER_TIME);
                self.state = State::Lingers;
            }
        }
    }

    /// Writes all that was said; false if the peer does not take it.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let out = self.session.output();
        while let Some(rest) = out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.line.socket.try_write(&[IoSlice::new(rest)]) {
                Ok(0) => {
                    if !std::mem::replace(&mut self.stuck, true) {
                        self.timer = Timer::after(HOMEKIT_WRITE_TIME);
                    }
                    if let Poll::Ready(room) = self.line.socket.poll_writable(cx) {
                        if room.is_err() || self.line.closed.get() {
                            return Poll::Ready(false);
                        }
                        continue;
                    }
                    ready!(Pin::new(&mut self.timer).poll(cx));
                    return Poll::Ready(false);
                }
                Ok(n) => {
                    self.written += n;
                    self.stuck = false;
                }
                Err(_) => return Poll::Ready(false),
            }
        }
        (self.written, self.stuck) = (0, false);
        // connections stay for weeks, and say little
        *out = Vec::new();
        Poll::Ready(true)
    }

    fn wait(&mut self, cx: &mut Context<'_>, end: Option<Instant>) -> Poll<bool> {
        let Work { session, line, .. } = self;
        if line.rung.take() {
            self.state = State::Steps;
            return Poll::Ready(true);
        }
        if session.has_room() && line.socket.poll_readable(cx).is_ready() {
            self.state = State::Steps;
            let mut buffer = [0; HOMEKIT_READ];
            return Poll::Ready(match line.socket.try_read(&mut buffer) {
                Ok(0) => false,
                Ok(n) => {
                    line.heard.set(Instant::now());
                    let received = session.receive(buffer.get(..n).unwrap_or_default());
                    if let Err(e) = &received {
                        log::debug!(target: "homekit", "connection {}: {e}", line.id);
                    }
                    received.is_ok()
                }
                Err(e) => e.kind() == ErrorKind::WouldBlock,
            });
        }
        ready!(Pin::new(&mut self.timer).poll(cx));
        self.state = State::Steps;
        Poll::Ready(end.is_none_or(|end| end > Instant::now()))
    }

    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.line.closed.get() || Pin::new(&mut self.timer).poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        ready!(self.line.socket.poll_readable(cx)).ok();
        Poll::Ready(match self.line.socket.try_read(&mut [0; HOMEKIT_READ]) {
            Ok(n) => n > 0,
            Err(e) => e.kind() == ErrorKind::WouldBlock,
        })
    }
}
