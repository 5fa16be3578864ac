//! What the connections of the RTSP server share: streams, users, sessions, the packets of tracks. It
//! sees once a second to those that owe something; it neither listens nor knows what is said.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::flows::{Flows, Multicast};
use super::line::Line;
use super::metadata::Desk;
use super::senders::Senders;
use super::tunnel::Tunnels;
use crate::media::Time;
use crate::motion::Bus;
use crate::net::auth::{Authenticator, address_key};
use crate::net::clock;
use crate::net::limits::rtsp as limits;
use crate::net::log;
use crate::net::reactor::Timer;
use crate::net::socket::{Peer, Socket};
use crate::stream::{Executor, Hall, Stream};
use async_task::Task;
use nix::sys::socket::{setsockopt, sockopt};
use std::cell::{Cell, Ref, RefCell};
use std::io;
use std::rc::Rc;
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

/// The server. Shared by its listeners and connections.
pub struct Server {
    /// The executor that everything runs on.
    pub executor: Executor,
    /// Streams.
    pub hall: Rc<Hall>,
    /// Who may come in.
    pub keeper: Rc<Authenticator>,
    /// The packets that viewers share.
    pub flows: Rc<Flows>,
    /// The sessions, and who sends by UDP.
    pub senders: Rc<Senders>,
    /// What happens, as tracks.
    pub desk: Desk,
    /// The halves of tunnels.
    pub tunnels: Tunnels,
    settings: RefCell<Settings>,
    lines: RefCell<Vec<Rc<Line>>>,
    /// Who looks after them, while there are none.
    quiet: RefCell<Option<Waker>>,
    names: RefCell<Vec<String>>,
    next_line: Cell<u64>,
    next_listener: Cell<u32>,
    stats: Cell<Stats>,
    tasks: RefCell<Vec<Task<()>>>,
}

impl Server {
    /// A server without a listener.
    pub fn new(
        executor: Executor,
        hall: Rc<Hall>,
        keeper: Rc<Authenticator>,
        bus: Rc<Bus>,
        settings: Settings,
    ) -> Rc<Server> {
        let server = Rc::new(Server {
            executor: executor.clone(),
            hall,
            keeper,
            flows: Rc::default(),
            senders: Rc::new(Senders::new(executor.clone())),
            desk: Desk::new(bus),
            tunnels: Tunnels::default(),
            settings: RefCell::default(),
            lines: RefCell::default(),
            quiet: RefCell::default(),
            names: RefCell::default(),
            next_line: Cell::new(1),
            next_listener: Cell::new(0),
            stats: Cell::default(),
            tasks: RefCell::default(),
        });
        server.set(settings);
        let watch = Rc::downgrade(&server);
        let watching = executor.spawn(async move {
            loop {
                // nobody is connected: nothing is due, and nothing wakes
                std::future::poll_fn(|cx| match watch.upgrade() {
                    Some(server)
                        if server.lines.borrow().is_empty() && server.senders.sessions.is_empty() =>
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
        let patience = executor.spawn(server.flows.patience.clone().run());
        server.tasks.borrow_mut().extend([watching, patience]);
        server
    }

    /// What is configured. Not to be held while anything is awaited.
    pub fn settings(&self) -> Ref<'_, Settings> {
        self.settings.borrow()
    }

    /// Changes what is configured, for what comes from now on.
    pub fn set(&self, settings: Settings) {
        self.flows.packet_size.set(settings.packet_size);
        self.flows.patience.time.set(settings.coalesce);
        self.settings.replace(settings);
    }

    /// Sends and receives by UDP too, by this port and the next; to groups too if they are made.
    pub fn open_udp(&self, port: u16, multicast: Option<Multicast>) -> io::Result<()> {
        let groups = self.senders.open(port, multicast.map(|m| m.ttl))?;
        self.flows.multicast.set(multicast.filter(|_| groups));
        Ok(())
    }

    /// What it has seen.
    pub fn stats(&self) -> Stats {
        let (connections, sessions) = (self.lines.borrow().len(), self.senders.sessions.len());
        Stats { connections, sessions, ..self.stats.get() }
    }

    /// Counts.
    pub fn tell(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    /// A number for a listener.
    pub fn next_listener(&self) -> u32 {
        self.next_listener.set(self.next_listener.get() + 1);
        self.next_listener.get()
    }

    /// Somebody connects by that listener; none if there is no room.
    pub fn enter(&self, socket: Socket, peer: Peer, listener: u32) -> Result<Rc<Line>, Socket> {
        self.tell(|s| s.accepted += 1);
        if !self.make_room(address_key(peer.address()), peer.is_here()) {
            self.tell(|s| s.crowded += 1);
            return Err(socket);
        }
        if let Socket::Tcp(tcp) = &socket {
            // what a viewer that never reads may cost; left alone, the system lets it grow to megabytes
            let _ = setsockopt(tcp.get_ref(), sockopt::SndBuf, &limits::SEND_BUFFER);
        }
        let id = self.next_line.get();
        self.next_line.set(id + 1);
        let line = Rc::new(Line::new(id, socket, peer, listener, clock::now()));
        self.lines.borrow_mut().push(line.clone());
        let quiet = self.quiet.borrow_mut().take();
        if let Some(quiet) = quiet {
            quiet.wake();
        }
        Ok(line)
    }

    /// Whether one more fits: else closes the oldest of those that nobody knows.
    fn make_room(&self, key: [u8; 9], here: bool) -> bool {
        let lines = self.lines.borrow();
        let open = || lines.iter().filter(|l| !l.is_closed());
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
        let sessions = &self.senders.sessions;
        let lines: Vec<Rc<Line>> = self.lines.borrow().clone();
        for line in lines {
            if !line.is_closed() && line.deadline.get().is_some_and(|d| d <= now) {
                // whose session lives by UDP owes nothing by the connection
                let own = sessions.those(&|live| {
                    let session = live.session.borrow();
                    session.owner().connection == line.id && !session.is_bound()
                });
                let until = own.iter().filter_map(|s| s.session.borrow().deadline()).max();
                if until.is_some_and(|until| until > now) {
                    line.deadline.set(until);
                    continue;
                }
                self.tell(|s| s.late += 1);
                line.close();
            }
        }
        sessions.those(&|_| true).iter().for_each(|live| self.senders.report(live, now, false));
        self.flows.tidy();
        for live in sessions.those(&|s| s.is_over(now)) {
            log::debug!(target: "rtsp", "session of {} is over: no sign of life", live.name());
            if live.session.borrow().is_bound() {
                let owner = live.session.borrow().owner().connection;
                self.lines.borrow().iter().filter(|l| l.id == owner).for_each(|l| l.close());
            }
            self.senders.forget(&live);
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

    /// Closes what came by a listener.
    pub fn close(&self, listener: u32) {
        self.lines.borrow().iter().filter(|l| l.listener == listener).for_each(|l| l.close());
    }

    /// Lets everything go that ends with this connection.
    pub fn leave(&self, line: &Rc<Line>) {
        self.lines.borrow_mut().retain(|l| !Rc::ptr_eq(l, line));
        self.tunnels.leave(line);
        for live in self.senders.sessions.those(&|s| s.ends_with(line.id)) {
            self.senders.forget(&live);
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
}
