//! The HTTP server: takes streams from a listener, cuts requests out of them, lets in who may come
//! in, and writes what the handler answers. One task for each connection; a slow, stuck or hostile
//! peer costs its socket and a few kilobytes, for a bounded time. What bytes mean is decided in
//! `message`, who may do what in `gate`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::connection::{BodyWriter, Connection, Taken};
use super::gate::{self, Gate};
use super::message::{BodyReader, Framing, Head, Inbox, Refusal, Version};
use super::response::{Body, Response};
use super::router::{Request, Router};
pub use super::settings::{Limits, Settings};
use crate::net::auth::{Authenticator, address_key};
use crate::net::executor::LocalExecutor;
use crate::net::limits::*;
use crate::net::log;
use crate::net::reactor::Timer;
use crate::net::socket::{Listener, Peer, Socket};
use async_task::Task;
use futures_lite::future::yield_now;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What a server has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Connections that are open.
    pub connections: usize,
    /// Connections that ever were accepted.
    pub accepted: u64,
    /// Connections that were turned away or closed to make room.
    pub crowded: u64,
    /// Requests that were served.
    pub requests: u64,
    /// Requests that were refused: broken, too big, too slow, or without the right key.
    pub refused: u64,
}

/// Why a body was not read.
enum NoBody {
    Refused(Refusal),
    Lost,
}

/// The server. Shared by its listeners and connections.
pub struct Server {
    executor: Rc<LocalExecutor>,
    gate: Gate,
    settings: Settings,
    connections: RefCell<Vec<Rc<Connection>>>,
    listeners: Cell<u32>,
    stats: Cell<Stats>,
}

/// A listener at work. Dropping it stops listening and closes what came by it.
pub struct Listening {
    server: Rc<Server>,
    id: u32,
    listener: Rc<Listener>,
    task: Option<Task<()>>,
}

impl Listening {
    /// Takes no more connections; those that are there go on until it is dropped.
    pub fn stop(&mut self) {
        // a task that is dropped lets go of its socket only when the executor comes to it
        self.listener.close();
        self.task = None;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop();
        for c in self.server.connections.borrow().iter().filter(|c| c.listener == self.id) {
            c.socket.shutdown(Shutdown::Both);
        }
    }
}

/// Takes a connection out of the table however its task ends.
struct Leave(Rc<Server>, Rc<Connection>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.connections.borrow_mut().retain(|c| !Rc::ptr_eq(c, &self.1));
    }
}

impl Server {
    /// A server without a listener.
    pub fn new(
        executor: Rc<LocalExecutor>,
        router: Rc<Router>,
        keeper: Rc<Authenticator>,
        settings: Settings,
    ) -> Rc<Server> {
        Rc::new(Server {
            executor,
            gate: Gate::new(router, keeper, settings),
            settings,
            connections: RefCell::default(),
            listeners: Cell::new(0),
            stats: Cell::default(),
        })
    }

    /// `api.origin: "*"`: pages of other sites may ask.
    pub fn set_any_origin(&self, any: bool) {
        self.gate.any_origin.set(any);
    }

    /// What it has seen.
    pub fn stats(&self) -> Stats {
        Stats { connections: self.connections.borrow().len(), ..self.stats.get() }
    }

    fn tell(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    /// Serves what comes by that listener, as long as the result is kept.
    pub fn serve(self: &Rc<Self>, listener: Listener) -> Listening {
        let id = self.listeners.get() + 1;
        self.listeners.set(id);
        let server = self.clone();
        let listener = Rc::new(listener);
        let door = listener.clone();
        let task = self.executor.spawn(async move {
            let mut turns = 0u32;
            loop {
                match door.accept().await {
                    Ok((socket, peer)) => server.clone().welcome(socket, peer, id),
                    Err(e)
                        if matches!(e.raw_os_error(), Some(libc_errno::EMFILE | libc_errno::ENFILE))
                            || e.kind() == ErrorKind::OutOfMemory =>
                    {
                        log::warn!("no connection can be accepted just now: {e}");
                        Timer::after(ACCEPT_PAUSE).await;
                    }
                    // The peer gave up before we came to it; or something new, which must not spin.
                    Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                    Err(e) => {
                        log::debug!("a connection could not be accepted: {e}");
                        Timer::after(ACCEPT_PAUSE / 10).await;
                    }
                }
                turns += 1;
                if turns.is_multiple_of(YIELD_MESSAGES) {
                    yield_now().await;
                }
            }
        });
        Listening { server: self.clone(), id, listener, task: Some(task) }
    }

    /// Gives a new connection its task, if there is room or room can be made.
    fn welcome(self: Rc<Self>, socket: Socket, peer: Peer, listener: u32) {
        let key = address_key(peer.address());
        self.tell(|s| s.accepted += 1);
        if !self.make_room(key, peer.is_here()) {
            self.tell(|s| s.crowded += 1);
            let busy = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = socket.try_write(&[IoSlice::new(busy)]);
            return;
        }
        let connection = Rc::new(Connection {
            socket,
            peer,
            key,
            listener,
            waiting: Cell::new(Some(Instant::now())),
            evicted: Cell::new(false),
            moved: Cell::new(0),
            pending: RefCell::default(),
            pending_from: Cell::new(0),
            limits: self.settings.limits,
        });
        self.connections.borrow_mut().push(connection.clone());
        let leave = Leave(self.clone(), connection.clone());
        let executor = self.executor.clone();
        let run = async move {
            let _leave = leave;
            // An error is the peer's going; nobody else is told.
            let _ = self.run(&connection).await;
        };
        executor.spawn(run).detach();
    }

    /// Whether one more fits: else closes the one that has waited longest for its peer, among those
    /// of the same address if that address is the crowd.
    fn make_room(&self, key: [u8; 9], here: bool) -> bool {
        let connections = self.connections.borrow();
        let live = || connections.iter().filter(|c| !c.evicted.get());
        let limits = &self.settings.limits;
        let of_peer = !here && live().filter(|c| c.key == key).count() >= limits.connections_peer;
        if !of_peer && live().count() < limits.connections {
            return true;
        }
        let idle = live().filter(|c| !of_peer || c.key == key).filter(|c| c.waiting.get().is_some());
        let Some(longest) = idle.min_by_key(|c| c.waiting.get()) else { return false };
        longest.evicted.set(true);
        longest.socket.shutdown(Shutdown::Both);
        self.tell(|s| s.crowded += 1);
        true
    }

    async fn run(&self, c: &Rc<Connection>) -> io::Result<()> {
        let mut inbox = Inbox::default();
        let mut served = 0u32;
        loop {
            let Some(head) = self.next_head(c, &mut inbox, served == 0).await? else { return Ok(()) };
            served += 1;
            if served.is_multiple_of(YIELD_MESSAGES) {
                yield_now().await;
            }
            let mut keep = head.keep_alive && served < self.settings.limits.requests;
            let now = (self.settings.clock)();
            let response = match self.gate.admit(&head, &c.peer, now) {
                Err(response) => {
                    self.tell(|s| s.refused += 1);
                    // A digest client sends its body again with the answer, on this connection.
                    keep &= self.drain(c, &mut inbox, &head).await?;
                    response
                }
                Ok(entry) => {
                    let body = match entry.route.body {
                        None => {
                            keep &= !head.has_body();
                            Vec::new()
                        }
                        Some(most) => match self.read_body(c, &mut inbox, &head, most).await {
                            Ok(body) => body,
                            Err(NoBody::Lost) => return Ok(()),
                            Err(NoBody::Refused(refusal)) => return self.refuse(c, refusal).await,
                        },
                    };
                    self.tell(|s| s.requests += 1);
                    let request = Request {
                        path: self.gate.inner_path(&head.path),
                        rest: entry.rest,
                        body,
                        user: entry.user,
                        peer: c.peer,
                        address: entry.address,
                        head: head.clone(),
                    };
                    (entry.route.handler)(request).await
                }
            };
            keep &= !response.close;
            if !self.answer(c, &mut inbox, &head, response, keep).await? {
                return Ok(());
            }
        }
    }

    /// The next request's head; none when the peer has gone, stayed silent, or was refused.
    async fn next_head(&self, c: &Connection, inbox: &mut Inbox, first: bool) -> io::Result<Option<Head>> {
        let limits = &self.settings.limits;
        let since = Instant::now();
        let mut deadline = since + if first { limits.head_time } else { limits.idle_time };
        let mut begun = first;
        loop {
            match inbox.head() {
                Ok(Some(head)) => {
                    c.waiting.set(None);
                    return Ok(Some(head));
                }
                Ok(None) => {}
                Err(refusal) => return self.refuse(c, refusal).await.map(|()| None),
            }
            let partial = !inbox.unread().is_empty();
            if partial && !begun {
                begun = true;
                deadline = Instant::now() + limits.head_time;
            }
            if c.waiting.get().is_none() {
                c.waiting.set(Some(since));
            }
            match c.fill(inbox, deadline).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::TimedOut && partial => {
                    let late = Refusal::new(408, "the request took too long to arrive");
                    return self.refuse(c, late).await.map(|()| None);
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn refuse(&self, c: &Connection, refusal: Refusal) -> io::Result<()> {
        self.tell(|s| s.refused += 1);
        let mut text = String::from(refusal.sentence);
        text.push('\n');
        let response = Response::error(refusal.status, refusal.sentence);
        let head = response.head(Version::Http11, Some(text.len()), false, false);
        c.waiting.set(Some(Instant::now()));
        c.write_all(&head, text.as_bytes()).await?;
        c.linger().await;
        Ok(())
    }

    /// Reads the body, at most `most` bytes of it.
    async fn read_body(
        &self,
        c: &Connection,
        inbox: &mut Inbox,
        head: &Head,
        most: usize,
    ) -> Result<Vec<u8>, NoBody> {
        let mut body = Vec::new();
        self.each_piece(c, inbox, head, most, &mut |piece| body.extend_from_slice(piece)).await?;
        Ok(body)
    }

    async fn each_piece(
        &self,
        c: &Connection,
        inbox: &mut Inbox,
        head: &Head,
        most: usize,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), NoBody> {
        let too_long = NoBody::Refused(Refusal::new(413, "the body is longer than this route takes"));
        if matches!(head.framing, Framing::Length(n) if n > most as u64) {
            return Err(too_long);
        }
        let mut reader = BodyReader::new(head.framing);
        if reader.is_done() {
            return Ok(());
        }
        if head.expects_continue && inbox.unread().is_empty() {
            c.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", b"").await.map_err(|_| NoBody::Lost)?;
        }
        let since = Instant::now();
        let deadline =
            since + self.settings.limits.body_time + Duration::from_secs((most / (16 * 1024)) as u64);
        c.waiting.set(Some(since));
        let mut length = 0usize;
        while !reader.is_done() {
            let unread = inbox.unread();
            let (used, data) = reader.feed(unread).map_err(NoBody::Refused)?;
            length = length.saturating_add(data.len());
            if length > most {
                return Err(too_long);
            }
            take(unread.get(data).unwrap_or_default());
            inbox.consume(used);
            if used > 0 {
                continue;
            }
            match c.fill(inbox, deadline).await {
                Ok(0) => return Err(NoBody::Lost),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::TimedOut => {
                    return Err(NoBody::Refused(Refusal::new(408, "the body took too long to arrive")));
                }
                Err(_) => return Err(NoBody::Lost),
            }
        }
        c.waiting.set(None);
        Ok(())
    }

    /// Throws away the body of a request that is refused; whether the connection can be kept.
    async fn drain(&self, c: &Connection, inbox: &mut Inbox, head: &Head) -> io::Result<bool> {
        if !head.has_body() {
            return Ok(true);
        }
        if head.expects_continue {
            return Ok(false);
        }
        match self.each_piece(c, inbox, head, HTTP_DRAIN, &mut |_| {}).await {
            Ok(()) => Ok(true),
            Err(NoBody::Refused(_)) => Ok(false),
            Err(NoBody::Lost) => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Writes the answer; whether the connection goes on.
    async fn answer(
        &self,
        c: &Rc<Connection>,
        inbox: &mut Inbox,
        head: &Head,
        mut response: Response,
        keep: bool,
    ) -> io::Result<bool> {
        let part = response.narrow(head);
        let cors = self.gate.any_origin.get();
        let only_head = head.method == super::Method::Head;
        let chunked = head.version == Version::Http11;
        let length = match &response.body {
            Body::Bytes(_) => Some(part.len()),
            Body::Stream(_) | Body::Taken(_) => None,
        };
        let keep = keep && (length.is_some() || only_head || chunked);
        let text = response.head(head.version, length, keep, cors);
        match response.body {
            Body::Taken(run) => {
                if response.status != 0 {
                    c.write_all(&text, b"").await?;
                }
                let taken = Taken {
                    connection: c.clone(),
                    unread: inbox.take(),
                    body: BodyReader::new(head.framing),
                };
                run(taken).await;
                return Ok(false);
            }
            Body::Stream(_) if only_head => c.write_all(&text, b"").await?,
            Body::Stream(write) => {
                c.write_all(&text, b"").await?;
                write(BodyWriter { connection: c.clone(), chunked }).await?;
                c.flush().await?;
                if chunked {
                    c.write_all(b"0\r\n\r\n", b"").await?;
                }
            }
            Body::Bytes(bytes) => {
                let body = if only_head { &[] } else { bytes.get(part).unwrap_or_default() };
                c.waiting.set(Some(Instant::now()));
                c.write_all(&text, body).await?;
                c.waiting.set(None);
            }
        }
        if !keep {
            c.linger().await;
        }
        Ok(keep)
    }
}

/// The two errors that mean "later"; the same numbers on every Linux.
mod libc_errno {
    pub const EMFILE: i32 = 24;
    pub const ENFILE: i32 = 23;
}

/// Whether the request is from this machine and from nobody behind it.
pub fn is_local(head: &Head, peer: &Peer) -> bool {
    gate::is_local(head, peer)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
