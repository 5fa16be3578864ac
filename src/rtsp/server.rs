//! The RTSP server: who is connected, which sessions there are, and the flows that they share. It
//! takes connections from listeners and sees once a second to those that owe something; what is
//! said on a connection is [`super::connection`]'s business.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::cast::Cast;
use super::connection;
use super::flow::Flow;
use super::live::Live;
use super::tunnel::Tunnel;
use super::udp::Udp;
use crate::media::Time;
use crate::net::auth::{Authenticator, address_key};
use crate::net::clock;
use crate::net::limits::rtsp as limits;
use crate::net::limits::{ACCEPT_PAUSE, YIELD_MESSAGES};
use crate::net::reactor::Timer;
use crate::net::rtp::pay::PayError;
use crate::net::socket::{Listener, Peer, Socket};
use crate::stream::{Executor, Hall, Stream, Track};
use async_task::Task;
use futures_lite::future::yield_now;
use nix::sys::socket::{setsockopt, sockopt};
use std::cell::{Cell, Ref, RefCell};
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// What is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a viewer gets who asks for nothing in particular.
    pub default_query: String,
    /// Bytes of a packet; 0 for the usual.
    pub packet_size: u16,
    /// How long sound waits for the next picture.
    pub coalesce: Duration,
    /// Those on this machine need a key too, once there are users.
    pub local_auth: bool,
    /// Other names of streams, each with the stream's own.
    pub aliases: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            default_query: String::new(),
            packet_size: 0,
            coalesce: Duration::from_millis(20),
            local_auth: true,
            aliases: Vec::new(),
        }
    }
}

/// What the server has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Connections that are open.
    pub connections: usize,
    /// Sessions that there are.
    pub sessions: usize,
    /// Connections that ever were accepted.
    pub accepted: u64,
    /// Connections that were turned away or closed to make room.
    pub crowded: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Connections that were closed because they owed something for too long.
    pub late: u64,
}

/// A connection as the server knows it.
pub struct Line {
    /// Its number, never used again.
    pub id: u64,
    /// Its socket.
    pub socket: Socket,
    /// Its ends.
    pub peer: Peer,
    key: [u8; 9],
    listener: u32,
    since: Time,
    /// It is somebody who may be here: not the first to be closed.
    pub known: Cell<bool>,
    /// It is closed if it has not done what it owes by then.
    pub deadline: Cell<Option<Time>>,
    closed: Cell<bool>,
}

impl Line {
    /// Closes it; its task will notice.
    pub fn close(&self) {
        self.closed.set(true);
        self.socket.shutdown(Shutdown::Both);
    }
}

/// Wakes those whose sound has waited long enough: one timer for all of them.
#[derive(Default)]
pub struct Patience {
    waiting: RefCell<Vec<(Time, Waker)>>,
    task: RefCell<Option<Waker>>,
}

impl Patience {
    /// Has `waker` woken at that time.
    pub fn wait(&self, until: Time, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(known) = waiting.iter_mut().find(|(_, w)| w.will_wake(waker)) {
            known.0 = until;
            return;
        }
        waiting.push((until, waker.clone()));
        let first = waiting.len() == 1;
        drop(waiting);
        if first && let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }

    async fn run(self: Rc<Self>) {
        loop {
            let next = std::future::poll_fn(|cx| match self.waiting.borrow().iter().map(|w| w.0).min() {
                Some(next) => Poll::Ready(next),
                None => {
                    self.task.replace(Some(cx.waker().clone()));
                    Poll::Pending
                }
            })
            .await;
            let wait = next.since(clock::now());
            if !wait.is_zero() {
                Timer::after(wait).await;
            }
            let now = clock::now();
            let due: Vec<(Time, Waker)> = self.waiting.borrow_mut().extract_if(.., |w| w.0 <= now).collect();
            for (_, waker) in due {
                waker.wake();
            }
        }
    }
}

/// The server. Shared by its listeners and connections.
pub struct Server {
    /// The executor that everything runs on.
    pub executor: Executor,
    /// Streams.
    pub hall: Rc<Hall>,
    /// Who may come in.
    pub keeper: Rc<Authenticator>,
    /// For sound that waits.
    pub patience: Rc<Patience>,
    pub(super) udp: RefCell<Option<Rc<Udp>>>,
    pub(super) casts: RefCell<Vec<Rc<Cast>>>,
    pub(super) tunnels: RefCell<Vec<Rc<Tunnel>>>,
    settings: RefCell<Settings>,
    lines: RefCell<Vec<Rc<Line>>>,
    /// Who looks after them, while there are none.
    quiet: RefCell<Option<Waker>>,
    pub(super) sessions: RefCell<Vec<Rc<Live>>>,
    flows: RefCell<Vec<Weak<Flow>>>,
    slices: RefCell<Vec<IoSlice<'static>>>,
    names: RefCell<Vec<String>>,
    next_line: Cell<u64>,
    next_listener: Cell<u32>,
    stats: Cell<Stats>,
    pub(super) tasks: RefCell<Vec<Task<()>>>,
}

/// A listener at work. Dropping it stops listening and closes what came by it.
pub struct Listening {
    server: Rc<Server>,
    id: u32,
    _task: Task<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        for line in self.server.lines.borrow().iter().filter(|l| l.listener == self.id) {
            line.close();
        }
    }
}

impl Server {
    /// A server without a listener.
    pub fn new(
        executor: Executor,
        hall: Rc<Hall>,
        keeper: Rc<Authenticator>,
        settings: Settings,
    ) -> Rc<Server> {
        let server = Rc::new(Server {
            executor: executor.clone(),
            hall,
            keeper,
            patience: Rc::default(),
            udp: RefCell::default(),
            casts: RefCell::default(),
            tunnels: RefCell::default(),
            settings: RefCell::new(settings),
            lines: RefCell::default(),
            quiet: RefCell::default(),
            sessions: RefCell::default(),
            flows: RefCell::default(),
            slices: RefCell::default(),
            names: RefCell::default(),
            next_line: Cell::new(1),
            next_listener: Cell::new(0),
            stats: Cell::default(),
            tasks: RefCell::default(),
        });
        let watch = Rc::downgrade(&server);
        let watching = executor.spawn(async move {
            loop {
                // nobody is connected: nothing is due, and nothing wakes
                std::future::poll_fn(|cx| match watch.upgrade() {
                    Some(server)
                        if server.lines.borrow().is_empty() && server.sessions.borrow().is_empty() =>
                    {
                        server.quiet.replace(Some(cx.waker().clone()));
                        Poll::Pending
                    }
                    _ => Poll::Ready(()),
                })
                .await;
                Timer::after(Duration::from_secs(1)).await;
                let Some(server) = watch.upgrade() else { return };
                server.sweep(clock::now());
            }
        });
        let patience = executor.spawn(server.patience.clone().run());
        server.tasks.borrow_mut().extend([watching, patience]);
        server
    }

    /// What is configured. Not to be held while anything is awaited.
    pub fn settings(&self) -> Ref<'_, Settings> {
        self.settings.borrow()
    }

    /// Changes what is configured, for what comes from now on.
    pub fn set(&self, settings: Settings) {
        self.settings.replace(settings);
    }

    /// What it has seen.
    pub fn stats(&self) -> Stats {
        let (connections, sessions) = (self.lines.borrow().len(), self.sessions.borrow().len());
        Stats { connections, sessions, ..self.stats.get() }
    }

    /// Counts.
    pub fn tell(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    /// Serves what comes by that listener, as long as the result is kept.
    pub fn serve(self: &Rc<Self>, listener: Listener) -> Listening {
        let id = self.next_listener.get() + 1;
        self.next_listener.set(id);
        let server = self.clone();
        let task = self.executor.spawn(async move {
            let mut turns = 0u32;
            loop {
                match listener.accept().await {
                    Ok((socket, peer)) => server.welcome(socket, peer, id),
                    Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                    Err(e) => {
                        log::warn!(target: "rtsp", "no connection can be accepted just now: {e}");
                        Timer::after(ACCEPT_PAUSE).await;
                    }
                }
                turns = turns.wrapping_add(1);
                if turns.is_multiple_of(YIELD_MESSAGES) {
                    yield_now().await;
                }
            }
        });
        Listening { server: self.clone(), id, _task: task }
    }

    fn welcome(self: &Rc<Self>, socket: Socket, peer: Peer, listener: u32) {
        let key = address_key(peer.address());
        self.tell(|s| s.accepted += 1);
        if !self.make_room(key, peer.is_here()) {
            self.tell(|s| s.crowded += 1);
            let _ = socket
                .try_write(&[IoSlice::new(b"RTSP/1.0 503 Service Unavailable\r\nRetry-After: 10\r\n\r\n")]);
            return;
        }
        if let Socket::Tcp(tcp) = &socket {
            // what a viewer that never reads may cost; left alone, the system lets it grow to megabytes
            let _ = setsockopt(tcp.get_ref(), sockopt::SndBuf, &limits::SEND_BUFFER);
        }
        let now = clock::now();
        let id = self.next_line.get();
        self.next_line.set(id + 1);
        let line = Rc::new(Line {
            id,
            socket,
            peer,
            key,
            listener,
            since: now,
            known: Cell::new(false),
            deadline: Cell::new(Some(now + limits::FIRST)),
            closed: Cell::new(false),
        });
        self.lines.borrow_mut().push(line.clone());
        let quiet = self.quiet.borrow_mut().take();
        if let Some(quiet) = quiet {
            quiet.wake();
        }
        let server = self.clone();
        let run = async move {
            let leave = Leave(server.clone(), line.clone());
            connection::run(server, line).await;
            drop(leave);
        };
        self.executor.spawn(run).detach();
    }

    /// Whether one more fits: else closes the oldest of those that nobody knows.
    fn make_room(&self, key: [u8; 9], here: bool) -> bool {
        let lines = self.lines.borrow();
        let open = || lines.iter().filter(|l| !l.closed.get());
        let of_peer = !here && open().filter(|l| l.key == key).count() >= limits::CONNECTIONS_PEER;
        if !of_peer && open().count() < limits::CONNECTIONS {
            return true;
        }
        let strangers = open().filter(|l| !l.known.get() && (!of_peer || l.key == key));
        let Some(oldest) = strangers.min_by_key(|l| l.since) else { return false };
        oldest.close();
        self.tell(|s| s.crowded += 1);
        true
    }

    /// Closes who owes something for too long, and lets go of what is over.
    fn sweep(&self, now: Time) {
        let lines: Vec<Rc<Line>> = self.lines.borrow().clone();
        for line in lines {
            if !line.closed.get() && line.deadline.get().is_some_and(|d| d <= now) {
                // whose session lives by UDP owes nothing by the connection
                let sessions = self.sessions.borrow();
                let own = sessions.iter().filter(|s| s.session.borrow().owner().connection == line.id);
                let own = own.filter(|s| !s.session.borrow().is_bound());
                let until = own.filter_map(|s| s.session.borrow().deadline()).max();
                if until.is_some_and(|until| until > now) {
                    line.deadline.set(until);
                    continue;
                }
                drop(sessions);
                self.tell(|s| s.late += 1);
                line.close();
            }
        }
        let lives: Vec<Rc<Live>> = self.sessions.borrow().clone();
        lives.iter().for_each(|live| self.report(live, now, false));
        self.flows.borrow_mut().retain(|f| f.strong_count() > 0);
        let over: Vec<Rc<Live>> = self.sessions.borrow().iter().filter(|s| s.is_over(now)).cloned().collect();
        for live in over {
            log::debug!(target: "rtsp", "session of {} is over: no sign of life", live.name());
            if live.session.borrow().is_bound() {
                let owner = live.session.borrow().owner().connection;
                self.lines.borrow().iter().filter(|l| l.id == owner).for_each(|l| l.close());
            }
            self.forget(&live);
        }
    }

    /// The stream of that name or alias.
    pub fn stream(&self, name: &str) -> Option<Rc<Stream>> {
        self.hall.get(name).or_else(|| {
            let settings = self.settings();
            let (_, own) = settings.aliases.iter().find(|(alias, _)| alias.trim_matches('/') == name)?;
            self.hall.get(own)
        })
    }

    /// The packets of a track in a size, shared by all who receive them.
    pub fn flow(&self, track: &Rc<Track>, size: u16) -> Result<Rc<Flow>, PayError> {
        let known = self.flows.borrow().iter().filter_map(Weak::upgrade).find(|f| f.is_of(track, size));
        if let Some(flow) = known {
            return Ok(flow);
        }
        let flow = Rc::new(Flow::new(track, size, random())?);
        self.flows.borrow_mut().push(Rc::downgrade(&flow));
        Ok(flow)
    }

    /// Adds a session; false if there are too many.
    pub fn add(&self, live: &Rc<Live>) -> bool {
        let mut sessions = self.sessions.borrow_mut();
        let room = sessions.len() < limits::SESSIONS;
        if room {
            sessions.push(live.clone());
        }
        room
    }

    /// The session with this id.
    pub fn session(&self, id: &str) -> Option<Rc<Live>> {
        self.sessions.borrow().iter().find(|s| s.has_id(id)).cloned()
    }

    /// Lets a session go.
    pub fn forget(&self, live: &Rc<Live>) {
        self.sessions.borrow_mut().retain(|s| !Rc::ptr_eq(s, live));
        self.report(live, clock::now(), true);
        live.end();
    }

    /// Lets everything go that ends with this connection.
    fn leave(&self, line: &Rc<Line>) {
        self.lines.borrow_mut().retain(|l| !Rc::ptr_eq(l, line));
        let tunnels: Vec<_> = self.tunnels.borrow_mut().extract_if(.., |t| t.is_of(line)).collect();
        tunnels.iter().for_each(|t| t.close());
        let bound: Vec<Rc<Live>> =
            self.sessions.borrow().iter().filter(|s| s.ends_with(line.id)).cloned().collect();
        for live in bound {
            self.forget(&live);
        }
    }

    /// A number for a user's name.
    pub fn user_number(&self, name: &str) -> u32 {
        let mut names = self.names.borrow_mut();
        let at = names.iter().position(|n| n == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        at as u32
    }

    /// An empty list for a write.
    pub fn take_slices<'a>(&self) -> Vec<IoSlice<'a>> {
        self.slices.take()
    }

    /// Gives the list back; its room is used again.
    pub fn put_slices(&self, mut slices: Vec<IoSlice<'_>>) {
        slices.clear();
        self.slices.replace(slices.into_iter().map(|_| IoSlice::new(&[])).collect());
    }
}

struct Leave(Rc<Server>, Rc<Line>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.leave(&self.1);
    }
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        let mut seed = clock::now().nanos() | 1;
        for byte in &mut bytes {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *byte = seed as u8;
        }
    }
    bytes
}

/// Whether an error means only that the peer has gone.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}
