//! One connection: requests in whatever pieces they come, answers in their order, and the packets of
//! the session that plays here between them. Everything is tried first and only then awaited; while
//! frames flow nothing is registered anew and no timer is set.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::consumer::{Out, Pumped};
use super::line::{Line, is_gone};
use super::message::{Item, ParseError, Parser, Reply, Request, Rules, frame_head};
use super::requests::Guest;
use super::server::Server;
use super::session::State;
use super::tunnel::{Half, Tunnel, carry, refusal};
use super::websocket::{self, Web};
use crate::media::Time;
use crate::net::clock;
use crate::net::limits::rtsp as limits;
use crate::net::limits::{YIELD_BYTES, YIELD_MESSAGES};
use crate::net::log;
use crate::net::rtcp::{Compound, Packet};
use futures_lite::future::yield_now;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::rc::Rc;
use std::task::Poll;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Bytes may be read.
    Readable,
    /// Bytes may be written.
    Writable,
    /// A frame, or time for what waits.
    Media,
}

/// What a connection holds.
struct Connection {
    guest: Guest,
    out: Out,
    /// Requests come by another connection.
    tunnel: Option<Rc<Tunnel>>,
    /// It is that other connection.
    carries: Option<Rc<Tunnel>>,
    /// Everything flows in messages of a WebSocket.
    web: Option<Box<Web>>,
    /// Nothing more is read; it ends when everything has left.
    closing: bool,
    full: bool,
    /// Since when the socket takes nothing, or the last time it took something.
    stuck: Option<Time>,
}

/// Serves a connection until it ends.
pub(super) async fn run(server: Rc<Server>, line: Rc<Line>) {
    let mut connection = Connection {
        guest: Guest::new(server, line),
        out: Out::default(),
        tunnel: None,
        carries: None,
        web: None,
        closing: false,
        full: false,
        stuck: None,
    };
    let mut parser = Parser::new(Rules::VIEWER);
    if let Err(error) = connection.serve(&mut parser).await
        && !is_gone(&error)
    {
        log::debug!(target: "rtsp", "{}: {error}", connection.guest.line.remote());
    }
}

impl Connection {
    async fn serve(&mut self, parser: &mut Parser) -> io::Result<()> {
        loop {
            if let Some(tunnel) = &self.tunnel {
                tunnel.drain(parser);
            }
            let more = self.read_items(parser).await;
            if let Some(tunnel) = self.carries.take() {
                return Box::pin(carry(&self.guest.line, parser, tunnel)).await;
            }
            let turn = self.send(clock::now())?;
            if self.closing && self.out.is_empty() {
                if self.web.as_mut().is_some_and(|web| web.part(&mut self.out)) {
                    continue;
                }
                self.guest.line.socket.shutdown(Shutdown::Write);
                return Box::pin(self.linger(parser)).await;
            }
            if turn || more && self.out.is_empty() {
                yield_now().await;
                continue;
            }
            if !more && !self.guest.publishing {
                parser.relax();
            }
            match self.wait(more).await {
                // a tunnel's own half says nothing more
                Event::Readable if self.tunnel.is_some() => {
                    if self.guest.line.socket.try_read(&mut [0; 256]).is_ok_and(|n| n == 0) {
                        return Ok(());
                    }
                }
                Event::Readable => {
                    let space = parser.space();
                    match self.guest.line.socket.try_read(space) {
                        Ok(0) => return Ok(()),
                        Ok(n) => {
                            let n = self.unwrap(space.get_mut(..n).unwrap_or(&mut []));
                            parser.filled(n);
                        }
                        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                        Err(e) => return Err(e),
                    }
                }
                Event::Writable => self.full = false,
                Event::Media => {}
            }
        }
    }

    /// Handles what has come; whether there is more that has to wait.
    async fn read_items(&mut self, parser: &mut Parser) -> bool {
        let (mut handled, mut moved) = (0, 0);
        while !self.closing {
            if self.out.rest().len() > limits::ANSWERS || handled == YIELD_MESSAGES {
                return true;
            }
            match parser.next() {
                Ok(Some(Item::Request(request))) => {
                    handled += 1;
                    self.guest.server.tell(|s| s.requests += 1);
                    if request.http {
                        self.open_tunnel(&request, parser);
                        if self.tunnel.is_some() || self.carries.is_some() {
                            return false;
                        }
                        continue;
                    }
                    // boxed: what a request needs is not held while frames flow
                    let reply = Box::pin(self.guest.request(request)).await;
                    self.settle(clock::now());
                    self.answer(&reply);
                    if self.guest.publishing {
                        parser.set_rules(Rules::PUBLISHER);
                        // an access unit by one read, not by one for each packet
                        parser.reserve(limits::PUBLISHER_BUFFER);
                    }
                }
                Ok(Some(Item::Frame { channel, data })) => {
                    moved += data.len();
                    self.frame(channel, data);
                    if moved > YIELD_BYTES {
                        return true;
                    }
                }
                Ok(Some(Item::Response(_))) => handled += 1,
                Ok(None) => {
                    self.closing = self.web.as_ref().is_some_and(|web| web.is_over());
                    return false;
                }
                Err(error) => self.broken(error),
            }
        }
        false
    }

    /// What came, without what a WebSocket has around it: how much it is then.
    fn unwrap(&mut self, bytes: &mut [u8]) -> usize {
        let Some(web) = &mut self.web else { return bytes.len() };
        web.read(bytes, &mut self.out, &self.guest.line)
    }

    /// An HTTP request: a WebSocket, one half of a tunnel, or nothing that is served here.
    fn open_tunnel(&mut self, request: &Request, parser: &mut Parser) {
        let plain = self.tunnel.is_none() && self.web.is_none();
        if plain && websocket::is_asked(request) {
            self.web = Web::open(request, &self.guest.server, &self.guest.line, &mut self.out).map(Box::new);
            let mut early = parser.take_rest();
            let n = self.unwrap(&mut early);
            parser.feed(early.get(..n).unwrap_or(&[]));
            self.closing |= self.web.is_none();
            return;
        }
        let out = self.out.urgent();
        let half = match plain {
            true => self.guest.server.tunnels.open(request, &self.guest.line, out),
            false => {
                out.extend_from_slice(refusal("400 Bad Request").as_bytes());
                Half::Neither
            }
        };
        match half {
            Half::Down(tunnel) => self.tunnel = Some(tunnel),
            Half::Up(tunnel) => self.carries = Some(tunnel),
            Half::Neither => self.closing = true,
        }
    }

    fn broken(&mut self, error: ParseError) {
        log::debug!(target: "rtsp", "{}: {error}", self.guest.line.remote());
        self.answer(&Reply::to_nothing(error.status()).header("Connection", "close"));
        self.closing = true;
    }

    /// Queues an answer.
    fn answer(&mut self, reply: &Reply) {
        reply.emit(self.out.urgent());
    }

    /// A packet from the peer on one of its channels; of a channel that nobody set up it is nothing.
    fn frame(&mut self, channel: u8, data: &[u8]) {
        let now = clock::now();
        let Some(live) = &self.guest.own else { return };
        live.session.borrow_mut().alive(now);
        if let Some(ingest) = live.ingest.borrow_mut().as_mut() {
            if live.session.borrow().state() == State::Recording {
                ingest.frame(channel, data, now);
                let out = &mut self.out;
                ingest.reports(now, |channel, _, bytes| {
                    if let Some(channel) = channel {
                        let out = out.urgent();
                        out.extend_from_slice(&frame_head(channel, bytes.len() as u16));
                        out.extend_from_slice(bytes);
                    }
                });
            }
            return;
        }
        let mut view = live.view.borrow_mut();
        let Some(view) = view.as_mut() else { return };
        if let Some(back) = view.back.as_mut().filter(|b| b.channel == Some(channel)) {
            if view.playing {
                back.packet(data, now);
            }
            return;
        }
        let port = view.ports.iter().enumerate().find(|(_, p)| p.channel.is_some_and(|c| c + 1 == channel));
        let Some((_, port)) = port else { return };
        for packet in Compound::new(data).filter_map(Result::ok) {
            if let Packet::KeyFrameWanted { .. } = packet {
                port.flow.want_key(now);
            }
        }
    }

    /// Sends answers and frames; whether it should go on after others had their turn.
    fn send(&mut self, now: Time) -> io::Result<bool> {
        if self.full {
            return Ok(false);
        }
        let before = self.out.rest().len();
        let mut moved = 0;
        let mut turn = false;
        let playing = self.guest.own.clone().filter(|l| l.session.borrow().state() == State::Playing);
        let mut pumped = None;
        if let Some(live) = playing
            && let Some(view) = live.view.borrow_mut().as_mut().filter(|v| v.playing && !self.closing)
            && live.ends_with(self.guest.line.id)
        {
            let (state, n) =
                view.pump(&self.guest.server.flows, &self.guest.line.socket, &mut self.out, now)?;
            moved += n;
            crate::stream::bump(&view.reader.viewer().stats.bytes, n as u64);
            if let Pumped::Closed(_) = state {
                view.reports(now, true, &mut self.out);
            }
            pumped = Some(state);
        }
        match pumped {
            Some(Pumped::Full) => self.full = true,
            Some(Pumped::Turn) => turn = true,
            Some(Pumped::Closed(why)) => {
                log::info!(target: "rtsp", "{}: {}", self.guest.line.remote(), why.reason());
                self.closing = true;
                if let Some(live) = self.guest.own.take() {
                    self.guest.server.senders.forget(&live);
                }
            }
            Some(Pumped::Idle) | None => {}
        }
        if !self.full && self.out.hold.is_none() && !self.out.is_empty() {
            moved += self.out.flush(&self.guest.line.socket)?;
            self.full = !self.out.is_empty();
        }
        self.owe(now, moved > 0 || before == 0 && !self.full);
        Ok(turn)
    }

    /// Says by when this connection has to do what.
    fn owe(&mut self, now: Time, progress: bool) {
        if self.full {
            if progress || self.stuck.is_none() {
                self.stuck = Some(now);
                self.guest.line.deadline.set(Some(now + limits::STUCK));
            }
        } else if self.stuck.take().is_some() {
            self.settle(now);
        }
    }

    /// Says by when the next request has to be here.
    fn settle(&self, now: Time) {
        let session = self.guest.own.as_ref().map(|l| l.session.borrow().deadline());
        self.guest.line.deadline.set(session.unwrap_or(Some(now + limits::IDLE)));
    }

    async fn wait(&mut self, more: bool) -> Event {
        let own = self.guest.own.clone();
        poll_fn(|cx| {
            if !more && !self.closing && self.guest.line.socket.poll_readable(cx).is_ready() {
                return Poll::Ready(Event::Readable);
            }
            if let Some(tunnel) = self.tunnel.as_ref().filter(|_| !more && !self.closing)
                && tunnel.poll(cx.waker())
            {
                return Poll::Ready(Event::Media);
            }
            if self.full {
                return self.guest.line.socket.poll_writable(cx).map(|_| Event::Writable);
            }
            if let Some(until) = self.out.hold {
                if clock::now() >= until {
                    return Poll::Ready(Event::Media);
                }
                self.guest.server.flows.patience.wait(until, cx.waker());
            }
            if let Some(view) = own.as_ref().and_then(|l| l.view.try_borrow_mut().ok()).as_mut()
                && let Some(view) = view.as_mut().filter(|v| v.playing && v.is_bound())
            {
                // by UDP others send: they wait at these seats, and nothing is to be done here
                if view.reader.step().is_some() {
                    return Poll::Ready(Event::Media);
                }
                view.wait(&self.guest.server.flows, cx.waker());
            }
            Poll::Pending
        })
        .await
    }

    /// Reads what still comes, so that the peer sees the last answer and not a reset.
    async fn linger(&mut self, parser: &mut Parser) -> io::Result<()> {
        self.guest.line.deadline.set(Some(clock::now() + limits::LINGER));
        *parser = Parser::new(Rules::VIEWER);
        let mut bytes = [0; 512];
        for _ in 0..1024 {
            if self.guest.line.socket.read(&mut bytes).await? == 0 {
                break;
            }
        }
        Ok(())
    }
}
