//! The port of an accessory's data streams: the only file of this room with sockets. A connection says
//! nothing of whose it is: it belongs to the hub whose key opens its first frame. One task carries bytes
//! between a socket, its [`Session`] and the recording that it may have opened; a recording's bytes go
//! through one buffer, filled anew for each part.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::frame::{HEAD, Keys, length};
use super::session::{AROUND, Chunk, Error, Heard, Reason, Session};
use crate::homekit::crypto::{Key, TAG};
use crate::net::door;
use crate::net::limits::{
    HDS_CHUNK, HDS_CONNECTIONS, HDS_END_TIME, HDS_EXPECTED, HDS_OUT, HDS_SEND_BUFFER, HDS_TIME,
    HDS_WRITE_TIME, HOMEKIT_READ, YIELD_MESSAGES,
};
use crate::net::lists::drop_where;
use crate::net::log;
use crate::net::reactor::Timer;
use crate::net::sleeper::Sleeper;
use crate::net::socket::{Listener, Socket};
use crate::stream::Executor;
use async_task::Task;
use nix::sys::socket::{setsockopt, sockopt};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A piece of a recording that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its bytes.
    pub len: usize,
    /// Nothing comes behind it.
    pub end: bool,
}

/// A recording on its way to one hub. It is over when it is dropped.
pub trait Reel {
    /// Why it has to end at once, if it has to; `cx` is woken when it has.
    fn over(&mut self, cx: &mut Context<'_>) -> Option<Reason>;

    /// The next segment, once it is there; or why there is none.
    fn segment(&mut self, cx: &mut Context<'_>) -> Poll<Result<Segment, Reason>>;

    /// Appends the next bytes of that segment; false if they are lost.
    fn take(&mut self, len: usize, out: &mut Vec<u8>) -> bool;
}

/// Where recordings come from.
pub trait Reels {
    /// A hub wants one.
    fn open(&self) -> Result<Box<dyn Reel>, Reason>;
}

/// A hub that has agreed on keys and has not connected yet.
struct Expected {
    connection: u32,
    keys: Keys,
    since: Instant,
}

/// A connection.
struct Line {
    id: u32,
    socket: Socket,
    /// The controller's connection that it belongs to, once that is known.
    owner: Cell<Option<u32>>,
    closed: Cell<bool>,
    sleeper: Sleeper,
}

impl Line {
    fn close(&self) {
        self.closed.set(true);
        self.socket.shutdown(Shutdown::Both);
        self.sleeper.wake();
    }
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Connections that are open.
    pub connections: usize,
    /// Those that nobody's key fits, or that broke the rules.
    pub refused: u64,
    /// Hubs that took nothing for too long.
    pub stuck: u64,
}

/// The data streams of one accessory.
pub struct DataStreams {
    executor: Executor,
    reels: Rc<dyn Reels>,
    expected: RefCell<Vec<Expected>>,
    lines: RefCell<Vec<Rc<Line>>>,
    listening: RefCell<Option<(u16, Task<()>)>>,
    next: Cell<u32>,
    refused: Cell<u64>,
    stuck: Cell<u64>,
    /// How long a greeting, and how long the taking of bytes, is waited for.
    patience: Cell<[Duration; 2]>,
}

impl DataStreams {
    /// Nobody is expected and no port is open.
    pub fn new(executor: Executor, reels: Rc<dyn Reels>) -> Rc<DataStreams> {
        Rc::new(DataStreams {
            executor,
            reels,
            expected: RefCell::default(),
            lines: RefCell::default(),
            listening: RefCell::new(None),
            next: Cell::new(1),
            refused: Cell::new(0),
            stuck: Cell::new(0),
            patience: Cell::new([HDS_TIME, HDS_WRITE_TIME]),
        })
    }

    /// A hub wants a data stream: the port, once its keys are known. True as an error if too many want
    /// one.
    pub fn expect(
        self: &Rc<Self>,
        connection: u32,
        shared: &Key,
        theirs: &Key,
        ours: &Key,
    ) -> Result<u16, bool> {
        let now = Instant::now();
        let mut expected = self.expected.borrow_mut();
        drop_where(&mut expected, |e| now.saturating_duration_since(e.since) >= HDS_TIME);
        if expected.len() >= HDS_EXPECTED {
            return Err(true);
        }
        let port = self.listen().map_err(|e| {
            log::warn!(target: "homekit", "no port for recordings: {e}");
            false
        })?;
        expected.push(Expected { connection, keys: Keys::new(shared, theirs, ours), since: now });
        Ok(port)
    }

    /// A controller's connection is gone, and with it its data streams.
    pub fn closed(&self, connection: u32) {
        drop_where(&mut self.expected.borrow_mut(), |e| e.connection == connection);
        let lines: Vec<Rc<Line>> = self.lines.borrow().clone();
        lines.iter().filter(|l| l.owner.get() == Some(connection)).for_each(|l| l.close());
    }

    /// Closes everything.
    pub fn stop(&self) {
        let listening = self.listening.take();
        drop(listening);
        self.expected.take();
        let lines: Vec<Rc<Line>> = self.lines.borrow().clone();
        lines.iter().for_each(|l| l.close());
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        let connections = self.lines.borrow().len();
        Stats { connections, refused: self.refused.get(), stuck: self.stuck.get() }
    }

    fn listen(self: &Rc<Self>) -> io::Result<u16> {
        if let Some((port, _)) = &*self.listening.borrow() {
            return Ok(*port);
        }
        let listener = Listener::tcp(":0")?;
        let port = listener.local_address().map_or(0, |a| a.port());
        let server = Rc::downgrade(self);
        let welcome = move |socket, _| server.upgrade().is_some_and(|server| server.welcome(socket));
        let task = self.executor.spawn(door::accept(listener, "homekit", Box::new(welcome)));
        self.listening.replace(Some((port, task)));
        Ok(port)
    }

    fn welcome(self: &Rc<Self>, socket: Socket) -> bool {
        let open = |lines: &[Rc<Line>]| lines.iter().filter(|l| !l.closed.get()).count();
        if open(&self.lines.borrow()) >= HDS_CONNECTIONS {
            let lines: Vec<Rc<Line>> = self.lines.borrow().clone();
            let stranger = lines.iter().find(|l| !l.closed.get() && l.owner.get().is_none());
            self.refused.set(self.refused.get() + 1);
            match stranger {
                Some(stranger) => stranger.close(),
                None => return true,
            }
        }
        if let Socket::Tcp(tcp) = &socket {
            // a hub that stops reading must not have megabytes on its way
            let _ = setsockopt(tcp.get_ref(), sockopt::SndBuf, &HDS_SEND_BUFFER);
        }
        let id = self.next.get();
        self.next.set(id.wrapping_add(1));
        let line = Rc::new(Line {
            id,
            socket,
            owner: Cell::new(None),
            closed: Cell::new(false),
            sleeper: Sleeper::default(),
        });
        self.lines.borrow_mut().push(line.clone());
        let server = self.clone();
        let task = async move {
            let leave = Leave(server.clone(), line.clone());
            server.serve(&line).await;
            drop(leave);
        };
        self.executor.spawn(task).detach();
        true
    }

    async fn serve(&self, line: &Rc<Line>) {
        let [hello, write] = self.patience.get();
        let mut work = Work {
            line: line.clone(),
            patience: Timer::after(hello),
            input: Vec::new(),
            session: None,
            out: Vec::new(),
            written: 0,
            tape: None,
            timer: Timer::never(),
            write,
        };
        let why = poll_fn(|cx| work.poll(cx, self)).await;
        match why {
            Gone::Closed => {}
            Gone::Rude(how) => {
                self.refused.set(self.refused.get() + 1);
                log::debug!(target: "homekit", "{how}");
            }
            Gone::Stuck => {
                self.stuck.set(self.stuck.get() + 1);
                log::warn!(target: "homekit", "a hub takes nothing of its recording: its connection is closed");
            }
        }
    }

    /// Whose connection begins like this.
    fn recognize(&self, input: &[u8], len: usize) -> Option<Expected> {
        let now = Instant::now();
        let mut expected = self.expected.borrow_mut();
        drop_where(&mut expected, |e| now.saturating_duration_since(e.since) >= HDS_TIME);
        let at = expected.iter().position(|e| e.keys.fits(input, len))?;
        Some(expected.remove(at))
    }
}

impl Drop for DataStreams {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Leave(Rc<DataStreams>, Rc<Line>);

impl Drop for Leave {
    fn drop(&mut self) {
        let Leave(server, line) = self;
        drop_where(&mut server.lines.borrow_mut(), |l| l.id == line.id);
    }
}

/// Why a connection is over.
enum Gone {
    Closed,
    Stuck,
    Rude(Error),
}

/// A recording that is being sent.
struct Tape {
    stream: i64,
    reel: Box<dyn Reel>,
    segment: u32,
    number: u32,
    /// The segment, and its bytes that were not taken yet.
    now: Option<(Segment, usize)>,
    /// The last of it has left; the hub may say so until then.
    ends: Option<Timer>,
}

/// A connection at work.
struct Work {
    line: Rc<Line>,
    /// Until the hub has greeted.
    patience: Timer,
    input: Vec<u8>,
    session: Option<Session>,
    out: Vec<u8>,
    written: usize,
    tape: Option<Tape>,
    /// Until the hub takes something, and how long that may be.
    timer: Timer,
    write: Duration,
}

impl Work {
    fn poll(&mut self, cx: &mut Context<'_>, server: &DataStreams) -> Poll<Gone> {
        self.line.sleeper.wait(cx.waker());
        if self.line.closed.get() {
            return Poll::Ready(Gone::Closed);
        }
        let greeted = self.session.as_ref().is_some_and(Session::is_greeted);
        if !greeted && Pin::new(&mut self.patience).poll(cx).is_ready() {
            return Poll::Ready(Gone::Rude(Error::Silent));
        }
        for _ in 0..YIELD_MESSAGES {
            let read = match self.read(cx, server) {
                Ok(more) => more,
                Err(gone) => return Poll::Ready(gone),
            };
            let wrote = match self.write(cx) {
                Ok(more) => more,
                Err(gone) => return Poll::Ready(gone),
            };
            // one part of a recording at a time: sealing it takes its time
            let filled = self.record(cx);
            if filled {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !read && !wrote {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads what the hub says; whether it said something.
    fn read(&mut self, cx: &mut Context<'_>, server: &DataStreams) -> Result<bool, Gone> {
        let room = self.out.len() <= HDS_OUT || self.tape.is_some() && self.out.len() <= HDS_CHUNK + HDS_OUT;
        if !room {
            return Ok(false);
        }
        self.listen(server)?;
        let mut buffer = [0; HOMEKIT_READ];
        let n = match self.line.socket.try_read(&mut buffer) {
            Ok(0) => return Err(Gone::Closed),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                return Ok(self.line.socket.poll_readable(cx).is_ready());
            }
            Err(_) => return Err(Gone::Closed),
        };
        let bytes = buffer.get(..n).unwrap_or_default();
        match &mut self.session {
            Some(session) => session.receive(bytes),
            None => {
                self.input.extend_from_slice(bytes);
                self.recognize(server)?;
            }
        }
        self.listen(server)?;
        Ok(true)
    }

    fn recognize(&mut self, server: &DataStreams) -> Result<(), Gone> {
        let len = length(&self.input).map_err(|e| Gone::Rude(e.into()))?;
        let Some(len) = len.filter(|len| self.input.len() >= HEAD + len + TAG) else { return Ok(()) };
        let Some(expected) = server.recognize(&self.input, len) else {
            return Err(Gone::Rude(Error::Stranger));
        };
        self.line.owner.set(Some(expected.connection));
        self.session = Some(Session::new(expected.keys, std::mem::take(&mut self.input)));
        Ok(())
    }

    /// Does what the hub wants.
    fn listen(&mut self, server: &DataStreams) -> Result<(), Gone> {
        let Some(session) = &mut self.session else { return Ok(()) };
        while let Some(heard) = session.next(&mut self.out).map_err(Gone::Rude)? {
            match heard {
                Heard::Open { id, stream, known } => {
                    let opened = match &self.tape {
                        Some(_) => Err(Reason::Busy),
                        None if !known => Err(Reason::Unexpected),
                        None => server.reels.open(),
                    };
                    session.opened(id, opened.as_ref().map(|_| ()).map_err(|r| *r), &mut self.out);
                    if let Ok(reel) = opened {
                        self.tape = Some(Tape { stream, reel, segment: 0, number: 0, now: None, ends: None });
                    }
                }
                Heard::Close { stream, reason } => {
                    if self.tape.as_ref().is_some_and(|t| t.stream == stream) {
                        log::info!(target: "homekit", "the hub ends a recording: {}", reason.text());
                        self.tape = None;
                    }
                }
                Heard::Ack { stream } => {
                    let theirs = |t: &Tape| t.stream == stream && t.ends.is_some();
                    if self.tape.as_ref().is_some_and(theirs) {
                        self.tape = None;
                        session.close(stream, Reason::Normal, &mut self.out);
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes what the hub takes; whether it took something.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, Gone> {
        let rest = self.out.get(self.written..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(false);
        }
        let n = match self.line.socket.try_write(&[IoSlice::new(rest)]) {
            Ok(n) => n,
            Err(_) => return Err(Gone::Closed),
        };
        self.written += n;
        if self.written == self.out.len() {
            self.written = 0;
            self.out.clear();
            if self.tape.is_none() {
                self.out.shrink_to(HDS_OUT);
            }
            self.timer = Timer::never();
            return Ok(true);
        }
        if n > 0 {
            self.timer = Timer::after(self.write);
        }
        if self.line.socket.poll_writable(cx).is_ready() {
            return Ok(true);
        }
        match Pin::new(&mut self.timer).poll(cx) {
            Poll::Ready(()) => Err(Gone::Stuck),
            Poll::Pending => Ok(false),
        }
    }

    /// Makes the next part of the recording ready to be written; whether there is one.
    fn record(&mut self, cx: &mut Context<'_>) -> bool {
        let (Some(tape), Some(session)) = (&mut self.tape, &mut self.session) else { return false };
        let over = match (tape.reel.over(cx), &mut tape.ends) {
            (Some(reason), _) => Some(reason),
            (None, Some(ends)) => Pin::new(ends).poll(cx).is_ready().then_some(Reason::Cancelled),
            (None, None) => None,
        };
        let result = match over {
            Some(reason) => Err(reason),
            None if !self.out.is_empty() || tape.ends.is_some() => return false,
            None => tape.fill(cx, session, &mut self.out),
        };
        match result {
            Ok(filled) => filled,
            Err(reason) => {
                log::info!(target: "homekit", "a recording is ended: {}", reason.text());
                session.close(tape.stream, reason, &mut self.out);
                self.tape = None;
                true
            }
        }
    }
}

impl Tape {
    fn fill(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        out: &mut Vec<u8>,
    ) -> Result<bool, Reason> {
        let (segment, left) = match self.now {
            Some(now) => now,
            None => match self.reel.segment(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(segment) => {
                    let segment = segment?;
                    self.segment += 1;
                    self.number = 0;
                    (segment, segment.len)
                }
            },
        };
        if left == 0 {
            // it ends, and there was nothing left to end with
            session.end(self.stream, out);
            self.ends = Some(Timer::after(HDS_END_TIME));
            return Ok(true);
        }
        self.number += 1;
        let len = left.min(HDS_CHUNK);
        let last = len == left;
        let end = last && segment.end;
        let chunk = Chunk {
            stream: self.stream,
            segment: self.segment,
            number: self.number,
            len,
            total: segment.len,
            last,
            end,
        };
        // exactly once for each recording, and as large as it will ever have to be
        out.reserve_exact(HDS_CHUNK + AROUND);
        let from = session.begin_chunk(&chunk, out);
        if !self.reel.take(len, out) {
            out.truncate(from);
            return Err(Reason::Unexpected);
        }
        session.end_chunk(&chunk, from, out);
        self.now = (!last).then_some((segment, left - len));
        if end {
            self.ends = Some(Timer::after(HDS_END_TIME));
        }
        Ok(true)
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
