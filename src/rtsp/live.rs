//! A session at work: its state, and what flows in it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::consumer::View;
use super::message::{Method, Reply, Request};
use super::session::{Action, Offer, Peer, Session, State, Target};
use super::transport::Pair;
use crate::media::Time;
use std::cell::{Cell, RefCell};

/// A session and what it is about.
pub struct Live {
    /// Its state.
    pub session: RefCell<Session>,
    /// The viewer; none once it is over.
    pub view: RefCell<Option<View>>,
    over: Cell<bool>,
}

impl Live {
    /// A viewer's session.
    pub fn viewing(session: Session, view: View) -> Live {
        Live { session: RefCell::new(session), view: RefCell::new(Some(view)), over: Cell::new(false) }
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
        self.over.get() || self.session.borrow().deadline().is_some_and(|d| d <= now)
    }

    /// Lets go of everything.
    pub fn end(&self) {
        self.over.set(true);
        let view = self.view.borrow_mut().take();
        drop(view);
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
                for (at, port) in view.ports.iter_mut().enumerate() {
                    let agreed = session.tracks().iter().find(|t| t.index == at).map(|t| &t.transport);
                    port.channel = agreed.and_then(|t| t.interleaved).map(|c| c.0);
                    port.udp = agreed.and_then(|t| t.client_port);
                }
            }
            Action::Play => view.play(now),
            Action::Pause => view.pause(),
            _ => {}
        }
        (reply, action)
    }
}
