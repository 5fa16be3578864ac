//! One connection's bytes: reading with a deadline, writing with patience that ends, and the two
//! things a handler can be given of it: a place to write a body to, or all of it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::message::{BodyReader, Inbox, Refusal};
use super::settings::Limits;
use crate::net::limits::{HTTP_READ, HTTP_WRITE_RATE, YIELD_BYTES};
use crate::net::quoted::io_error;
use crate::net::reactor::Timer;
use crate::net::socket::{Peer, Socket};
use futures_lite::future::{or, yield_now};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One connection, as the table of connections and whoever writes to it see it.
pub(crate) struct Connection {
    pub(super) socket: Socket,
    pub(super) peer: Peer,
    pub(super) key: [u8; 9],
    pub(super) listener: u32,
    /// Since when it waits for its peer and may be closed to make room.
    pub(super) waiting: Cell<Option<Instant>>,
    pub(super) evicted: Cell<bool>,
    /// Bytes moved since others had a turn.
    pub(super) moved: Cell<usize>,
    pub(super) pending: RefCell<Vec<u8>>,
    pub(super) pending_from: Cell<usize>,
    pub(super) limits: Limits,
}

async fn within(deadline: Instant, wait: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    or(wait, async {
        Timer::at(deadline).await;
        Err(ErrorKind::TimedOut.into())
    })
    .await
}

impl Connection {
    fn count(&self, bytes: usize) {
        self.moved.set(self.moved.get().saturating_add(bytes));
    }

    /// Lets others run, after a fair share of bytes.
    async fn share(&self) {
        if self.moved.get() >= YIELD_BYTES {
            self.moved.set(0);
            yield_now().await;
        }
    }

    /// Reads once into the inbox; the buffer lives on the stack while it does, not while it waits.
    fn try_fill(&self, inbox: &mut Inbox) -> io::Result<usize> {
        let mut buf = [0; HTTP_READ];
        let n = self.socket.try_read(&mut buf)?;
        inbox.push(buf.get(..n).unwrap_or_default());
        self.count(n);
        Ok(n)
    }

    pub(super) async fn fill(&self, inbox: &mut Inbox, deadline: Instant) -> io::Result<usize> {
        self.share().await;
        loop {
            match self.try_fill(inbox) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    within(deadline, self.socket.readable()).await?
                }
                // A peer that trickles is always ready; its time runs out all the same.
                Ok(n) if n > 0 && Instant::now() > deadline => return Err(ErrorKind::TimedOut.into()),
                result => return result,
            }
        }
    }

    /// Writes all of it, or fails when the peer takes nothing for too long, or too little.
    pub(super) async fn write_all(&self, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
        let seconds = ((first.len() + second.len()) / HTTP_WRITE_RATE) as u64;
        let end = Instant::now() + self.limits.write_time + Duration::from_secs(seconds);
        while !first.is_empty() || !second.is_empty() {
            let n = self.socket.try_write(&[IoSlice::new(first), IoSlice::new(second)])?;
            self.count(n);
            let of_first = n.min(first.len());
            first = first.get(of_first..).unwrap_or_default();
            second = second.get(n - of_first..).unwrap_or_default();
            self.share().await;
            if n == 0 {
                let stall = Instant::now() + self.limits.write_time;
                within(end.min(stall), self.socket.writable()).await?;
            }
        }
        Ok(())
    }

    /// Writes what fits of the parts and keeps the rest for `flush`; whether nothing is left.
    fn push(&self, parts: &[&[u8]]) -> io::Result<bool> {
        let mut pending = self.pending.borrow_mut();
        if !pending.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        for batch in parts.chunks(16) {
            let mut slices = [IoSlice::new(&[]); 16];
            slices.iter_mut().zip(batch).for_each(|(s, p)| *s = IoSlice::new(p));
            let mut sent = if pending.is_empty() {
                self.socket.try_write(slices.get(..batch.len()).unwrap_or_default())?
            } else {
                0
            };
            self.count(sent);
            for part in batch {
                let skip = sent.min(part.len());
                sent -= skip;
                pending.extend_from_slice(part.get(skip..).unwrap_or_default());
            }
        }
        self.pending_from.set(0);
        Ok(pending.is_empty())
    }

    /// Puts something small behind what is not written yet.
    pub(super) fn append(&self, bytes: &[u8]) {
        self.pending.borrow_mut().extend_from_slice(bytes);
    }

    fn try_flush(&self) -> io::Result<Option<usize>> {
        let mut pending = self.pending.borrow_mut();
        let rest = pending.get(self.pending_from.get()..).unwrap_or_default();
        if rest.is_empty() {
            *pending = Vec::new();
            self.pending_from.set(0);
            return Ok(None);
        }
        let n = self.socket.try_write(&[IoSlice::new(rest)])?;
        self.count(n);
        self.pending_from.set(self.pending_from.get() + n);
        Ok(Some(n))
    }

    pub(super) async fn flush(&self) -> io::Result<()> {
        while let Some(n) = self.try_flush()? {
            if n == 0 {
                within(Instant::now() + self.limits.write_time, self.socket.writable()).await?;
            }
            self.share().await;
        }
        self.share().await;
        Ok(())
    }

    /// Lets the peer read our last words: closing with unread bytes would reset them away.
    pub(super) async fn linger(&self) {
        self.socket.shutdown(Shutdown::Write);
        let end = Instant::now() + self.limits.linger_time;
        let mut inbox = Inbox::default();
        while let Ok(1..) = self.fill(&mut inbox, end).await {
            drop(inbox.take());
        }
    }
}

/// Where a streaming body goes.
pub struct BodyWriter {
    pub(super) connection: Rc<Connection>,
    pub(super) chunked: bool,
}

impl BodyWriter {
    /// Sends the parts, one after another, as far as they fit into the socket, and keeps a copy of
    /// the rest. True if all is gone; else `flush` has to come before the next push (which is
    /// `WouldBlock` until then). Never waits, so the parts may be borrowed from a track.
    pub fn push(&mut self, parts: &[&[u8]]) -> io::Result<bool> {
        let length: usize = parts.iter().map(|p| p.len()).sum();
        if length == 0 || !self.chunked {
            return self.connection.push(parts);
        }
        let mut line = [0u8; 18];
        let digits = (usize::BITS - length.leading_zeros()).div_ceil(4) as usize;
        for (i, byte) in line.iter_mut().take(digits).enumerate() {
            let digit = length >> (4 * (digits - 1 - i)) & 15;
            *byte = char::from_digit(digit as u32, 16).map_or(b'0', |c| c as u8);
        }
        line.iter_mut().skip(digits).zip(b"\r\n").for_each(|(b, c)| *b = *c);
        let line = line.get(..digits + 2).unwrap_or_default();
        // The usual frame is a header and a few ranges; more of them cost a list.
        let mut few: [&[u8]; 16] = [&[]; 16];
        if parts.len() + 2 <= few.len() {
            let all = std::iter::once(line).chain(parts.iter().copied()).chain(std::iter::once(&b"\r\n"[..]));
            few.iter_mut().zip(all).for_each(|(slot, part)| *slot = part);
            return self.connection.push(few.get(..parts.len() + 2).unwrap_or_default());
        }
        let mut many = Vec::with_capacity(parts.len() + 2);
        many.push(line);
        many.extend_from_slice(parts);
        many.push(b"\r\n");
        self.connection.push(&many)
    }

    /// Waits until everything pushed is gone; fails when the peer takes nothing for too long.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.connection.flush().await
    }

    /// Pushes and flushes.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.push(&[bytes])?;
        self.flush().await
    }

    /// Waits until the client has hung up.
    pub async fn gone(&self) {
        self.connection.socket.gone().await;
    }

    /// Both ends.
    pub fn peer(&self) -> Peer {
        self.connection.peer
    }
}

/// A connection that has left HTTP. Closed when dropped.
pub struct Taken {
    pub(super) connection: Rc<Connection>,
    /// What was read after the head and belongs to the new protocol (or is the body's beginning).
    pub unread: Vec<u8>,
    pub(super) body: BodyReader,
}

impl Taken {
    /// The stream itself.
    pub fn socket(&self) -> &Socket {
        &self.connection.socket
    }

    /// Both ends.
    pub fn peer(&self) -> Peer {
        self.connection.peer
    }

    /// The next piece of a body that was left unread, appended to `out`; 0 at its end.
    pub async fn read_body(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            if self.body.is_done() {
                return Ok(0);
            }
            let broken = |r: Refusal| io_error(ErrorKind::InvalidData, r.sentence);
            let (used, data) = self.body.feed(&self.unread).map_err(broken)?;
            let data = self.unread.get(data).unwrap_or_default();
            let n = data.len();
            out.extend_from_slice(data);
            self.unread.drain(..used);
            if n > 0 {
                return Ok(n);
            }
            if used == 0 {
                let mut inbox = Inbox::default();
                let deadline = Instant::now() + self.connection.limits.idle_time;
                if self.connection.fill(&mut inbox, deadline).await? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                self.unread.append(&mut inbox.take());
            }
        }
    }
}
