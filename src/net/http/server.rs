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

/// What a server counts, as [`Stats`] shows it.
#[derive(Default)]
struct Counts {
    accepted: Cell<u64>,
    crowded: Cell<u64>,
    requests: Cell<u64>,
    refused: Cell<u64>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// Why a connection ends before its peer wants it to.
enum Over {
    /// The request was refused, and the peer shall know why.
    Refused(Refusal),
    /// The peer is gone, or stuck.
    Lost,
}

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Over {
        Over::Lost
    }
}

impl From<Refusal> for Over {
    fn from(refusal: Refusal) -> Over {
        Over::Refused(refusal)
    }
}

/// An error of waiting for the peer: where it took too long, `late` is what it is told.
fn too_late(error: &io::Error, late: &'static str) -> Over {
    if error.kind() == ErrorKind::TimedOut { Over::Refused(Refusal::new(408, late)) } else { Over::Lost }
}

/// The server. Shared by its listeners and connections.
pub struct Server {
    executor: Rc<LocalExecutor>,
    gate: Gate,
    settings: Settings,
    connections: RefCell<Vec<Rc<Connection>>>,
    listeners: Cell<u32>,
    counts: Counts,
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
            counts: Counts::default(),
        })
    }

    /// `api.origin: "*"`: pages of other sites may ask.
    pub fn set_any_origin(&self, any: bool) {
        self.gate.any_origin.set(any);
    }

    /// What it has seen.
    pub fn stats(&self) -> Stats {
        Stats {
            connections: self.connections.borrow().len(),
            accepted: self.counts.accepted.get(),
            crowded: self.counts.crowded.get(),
            requests: self.counts.requests.get(),
            refused: self.counts.refused.get(),
        }
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
        count(&self.counts.accepted);
        if !self.make_room(key, peer.is_here()) {
            count(&self.counts.crowded);
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
            self.run(&connection).await;
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
        count(&self.counts.crowded);
        true
    }

    async fn run(&self, c: &Rc<Connection>) {
        let mut inbox = Inbox::default();
        let mut served = 0u32;
        loop {
            match self.serve_one(c, &mut inbox, served).await {
                Ok(true) => {}
                // A peer's going is told to nobody.
                Ok(false) | Err(Over::Lost) => return,
                Err(Over::Refused(refusal)) => {
                    count(&self.counts.refused);
                    let mut text = String::from(refusal.sentence);
                    text.push('\n');
                    let response = Response::error(refusal.status, refusal.sentence);
                    let head = response.head(Version::Http11, Some(text.len()), false, false);
                    c.waiting.set(Some(Instant::now()));
                    if c.write_all(&head, text.as_bytes()).await.is_ok() {
                        c.linger().await;
                    }
                    return;
                }
            }
            served += 1;
            if served.is_multiple_of(YIELD_MESSAGES) {
                yield_now().await;
            }
        }
    }

    /// Reads a request and answers it; whether another may follow.
    async fn serve_one(&self, c: &Rc<Connection>, inbox: &mut Inbox, served: u32) -> Result<bool, Over> {
        let head = Rc::new(self.next_head(c, inbox, served == 0).await?);
        let now = (self.settings.clock)();
        let admitted = self.gate.admit(&head, &c.peer, now);
        // A digest client sends its body again with the answer, on this connection: it is read in any case.
        let most = match &admitted {
            Ok(entry) => entry.route.body,
            Err(_) => (!head.expects_continue).then_some(HTTP_DRAIN),
        };
        let mut keep = head.keep_alive && served + 1 < self.settings.limits.requests;
        let mut body = Vec::new();
        match most {
            None => keep &= !head.has_body(),
            Some(most) => {
                let kept = admitted.is_ok().then_some(&mut body);
                match self.read_body(c, inbox, &head, most, kept).await {
                    Err(Over::Refused(_)) if admitted.is_err() => keep = false,
                    read => read?,
                }
            }
        }
        let response = match admitted {
            Err(response) => {
                count(&self.counts.refused);
                response
            }
            Ok(entry) => {
                count(&self.counts.requests);
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
        Ok(self.answer(c, inbox, &head, response, keep).await?)
    }

    /// The next request's head, from a peer that has not gone.
    async fn next_head(&self, c: &Connection, inbox: &mut Inbox, first: bool) -> Result<Head, Over> {
        let limits = &self.settings.limits;
        let since = Instant::now();
        let mut deadline = since + if first { limits.head_time } else { limits.idle_time };
        let mut begun = first;
        loop {
            if let Some(head) = inbox.head()? {
                c.waiting.set(None);
                return Ok(head);
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
                Ok(1..) => {}
                Err(e) if partial => return Err(too_late(&e, "the request took too long to arrive")),
                _ => return Err(Over::Lost),
            }
        }
    }

    /// Reads the body, at most `most` bytes of it, into `kept` or into nothing.
    async fn read_body(
        &self,
        c: &Connection,
        inbox: &mut Inbox,
        head: &Head,
        most: usize,
        mut kept: Option<&mut Vec<u8>>,
    ) -> Result<(), Over> {
        let too_long = Refusal::new(413, "the body is longer than this route takes");
        if matches!(head.framing, Framing::Length(n) if n > most as u64) {
            return Err(Over::Refused(too_long));
        }
        let mut reader = BodyReader::new(head.framing);
        if reader.is_done() {
            return Ok(());
        }
        if head.expects_continue && inbox.unread().is_empty() {
            c.write_all(b"HTTP/1.1 100 Continue\r\n\r\n", b"").await?;
        }
        let since = Instant::now();
        let deadline =
            since + self.settings.limits.body_time + Duration::from_secs((most / (16 * 1024)) as u64);
        c.waiting.set(Some(since));
        let mut length = 0usize;
        while !reader.is_done() {
            let unread = inbox.unread();
            let (used, data) = reader.feed(unread)?;
            length = length.saturating_add(data.len());
            if length > most {
                return Err(Over::Refused(too_long));
            }
            if let Some(kept) = &mut kept {
                kept.extend_from_slice(unread.get(data).unwrap_or_default());
            }
            inbox.consume(used);
            if used > 0 {
                continue;
            }
            match c.fill(inbox, deadline).await {
                Ok(0) => return Err(Over::Lost),
                Ok(_) => {}
                Err(e) => return Err(too_late(&e, "the body took too long to arrive")),
            }
        }
        c.waiting.set(None);
        Ok(())
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
        let body = match &response.body {
            Body::Bytes(bytes) if !only_head => bytes.get(part).unwrap_or_default(),
            _ => &[],
        };
        if length.is_some() {
            c.waiting.set(Some(Instant::now()));
        }
        if response.status != 0 {
            c.write_all(&text, body).await?;
        }
        match response.body {
            Body::Bytes(_) => c.waiting.set(None),
            Body::Taken(run) => {
                let taken = Taken {
                    connection: c.clone(),
                    unread: inbox.take(),
                    body: BodyReader::new(head.framing),
                };
                run(taken).await;
                return Ok(false);
            }
            Body::Stream(_) if only_head => {}
            Body::Stream(write) => {
                write(BodyWriter { connection: c.clone(), chunked }).await?;
                if chunked {
                    c.append(b"0\r\n\r\n");
                }
                c.flush().await?;
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
