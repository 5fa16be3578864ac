//! A session at work: its state, and what flows in it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::consumer::View;
use super::ingest::Ingest;
use super::message::{Method, Reply, Request};
use super::session::{Action, Offer, Peer, Session, State, Target};
use super::transport::{Lower, Pair};
use crate::media::Time;
use crate::net::reactor::Timer;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// How long the answer to PLAY waits for the first frame.
const START: Duration = Duration::from_millis(400);

/// A session and what it is about.
pub struct Live {
    /// Its state.
    pub session: RefCell<Session>,
    /// The viewer; none once it is over.
    pub view: RefCell<Option<Box<View>>>,
    /// The publisher; none once it is over.
    pub ingest: RefCell<Option<Box<Ingest>>>,
    over: Cell<bool>,
    turn: Cell<u32>,
}

impl Live {
    /// A viewer's session.
    pub fn viewing(session: Session, view: Box<View>) -> Live {
        let (session, view, ingest) = (RefCell::new(session), RefCell::new(Some(view)), RefCell::new(None));
        Live { session, view, ingest, over: Cell::new(false), turn: Cell::new(0) }
    }

    /// A publisher's session.
    pub fn publishing(session: Session, ingest: Box<Ingest>) -> Live {
        let (session, view, ingest) = (RefCell::new(session), RefCell::new(None), RefCell::new(Some(ingest)));
        Live { session, view, ingest, over: Cell::new(false), turn: Cell::new(0) }
    }

    /// Playing begins, or ends: who sends for an earlier turn stops.
    pub fn next_turn(&self) -> u32 {
        self.turn.set(self.turn.get().wrapping_add(1));
        self.turn.get()
    }

    /// Whether it is still this turn.
    pub fn is_turn(&self, turn: u32) -> bool {
        self.turn.get() == turn
    }

    /// The stream's name, as it was asked for.
    pub fn name(&self) -> String {
        self.session.borrow().name().to_owned()
    }

    /// Whether it has this id.
    pub fn has_id(&self, id: &str) -> bool {
        crate::net::users::same_secret(self.session.borrow().id().as_bytes(), id.as_bytes())
    }

    /// Whether it ends with this connection.
    pub fn ends_with(&self, connection: u64) -> bool {
        let session = self.session.borrow();
        session.is_bound() && session.owner().connection == connection
    }

    /// Whether it has shown no sign of life for too long.
    pub fn is_over(&self, now: Time) -> bool {
        self.over.get()
            || self.session.borrow().deadline().is_some_and(|d| d <= now)
            || self
                .view
                .borrow()
                .as_ref()
                .is_some_and(|v| v.playing && !v.is_bound() && v.reader.viewer().closed().is_some())
            || self.ingest.borrow().as_ref().is_some_and(|i| i.is_over(now))
    }

    /// Lets go of everything.
    pub fn end(&self) {
        self.over.set(true);
        let (view, ingest) = (self.view.borrow_mut().take(), self.ingest.borrow_mut().take());
        drop((view, ingest));
    }

    /// Waits a little for the frame with which playing begins, so that the answer to PLAY can name
    /// it. Nothing could be sent before it anyhow.
    pub async fn await_start(&self) {
        let begun = poll_fn(|cx| {
            let mut view = self.view.borrow_mut();
            let Some(view) = view.as_mut() else { return Poll::Ready(()) };
            if view.playing || view.reader.step().is_some() {
                return Poll::Ready(());
            }
            view.reader.wait(cx.waker());
            Poll::Pending
        });
        let late = async {
            Timer::after(START).await;
        };
        futures_lite::future::or(begun, late).await;
    }

    /// Answers a request, and keeps the tracks as they were agreed.
    pub fn handle(
        &self,
        now: Time,
        peer: &Peer,
        request: &Request,
        target: &Target,
        udp: Option<Pair<u16>>,
    ) -> (Reply, Action) {
        if let Some(ingest) = self.ingest.borrow_mut().as_mut() {
            let mut session = self.session.borrow_mut();
            let offer = Offer { tracks: &ingest.offers(), udp };
            let (reply, action) = session.handle(now, peer, request, target, &offer);
            if matches!(action, Action::Setup(_) | Action::Remove(_)) {
                for (at, track) in ingest.tracks_mut().iter_mut().enumerate() {
                    let agreed = session.tracks().iter().find(|t| t.index == at).map(|t| &t.transport);
                    track.channel = agreed.and_then(|t| t.interleaved).map(|c| c.0);
                    track.udp = agreed.and_then(|t| t.client_port);
                }
            }
            return (reply, action);
        }
        let mut view = self.view.borrow_mut();
        let Some(view) = view.as_mut() else { return (Reply::to(request, 454), Action::End) };
        let mut session = self.session.borrow_mut();
        if request.method == Method::Play && session.belongs_to(peer) && session.state() == State::Ready {
            view.prepare();
        }
        let offer = Offer { tracks: &view.offers(), udp };
        let (reply, action) = session.handle(now, peer, request, target, &offer);
        match action {
            Action::Setup(_) | Action::Remove(_) => {
                let agreed = |at| session.tracks().iter().find(|t| t.index == at).map(|t| &t.transport);
                for (at, port) in view.ports.iter_mut().enumerate() {
                    port.channel = agreed(at).and_then(|t| t.interleaved).map(|c| c.0);
                    port.udp = agreed(at).and_then(|t| t.client_port);
                    port.multicast = agreed(at).is_some_and(|t| t.lower == Some(Lower::Multicast));
                }
                let at = view.ports.len();
                if let Some(back) = &mut view.back {
                    match agreed(at) {
                        Some(t) => (back.channel, back.udp) = (t.interleaved.map(|c| c.0), t.client_port),
                        None => back.stop(),
                    }
                }
            }
            // a speaker that was taken for a track that cannot travel is given back
            Action::None if request.method == Method::Setup => {
                if let Some(back) = view.back.as_mut().filter(|b| b.channel.is_none() && b.udp.is_none()) {
                    back.stop();
                }
            }
            Action::Play => view.play(now),
            Action::Pause => view.pause(),
            _ => {}
        }
        (reply, action)
    }
}
