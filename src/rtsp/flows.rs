//! The packets that viewers share: one [`Flow`] for each track and packet size, the buffers that a
//! write needs, and the one timer of all whose sound waits for a picture: a sound wakes nobody by
//! itself, and all who still wait for it when its time is over. It knows no viewer.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::flow::Flow;
use super::transport::Pair;
use crate::media::Time;
use crate::net::clock;
use crate::net::random;
use crate::net::reactor::Timer;
use crate::net::rtp::pay::PayError;
use crate::stream::Track;
use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// Sounds that come within this time leave together.
const AT_ONCE: Duration = Duration::from_millis(2);

/// When it has waited long enough, its number, and its track.
type Sound = (Time, u64, Weak<Track>);

/// Wakes those whose sound has waited long enough: one timer for all of them.
#[derive(Default)]
pub struct Patience {
    /// How long sound waits for the next picture.
    pub time: Cell<Duration>,
    waiting: RefCell<Vec<(Time, Waker)>>,
    /// Sound that is waited for, in the order of its time.
    sounds: RefCell<Vec<Sound>>,
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
        drop(waiting);
        self.begin();
    }

    /// Wakes those who wait patiently for frames of this track, when it is time.
    pub fn attend(self: &Rc<Self>, track: &Rc<Track>) {
        if track.has_bell() {
            return;
        }
        let (patience, own) = (Rc::downgrade(self), Rc::downgrade(track));
        track.set_bell(Rc::new(move |seq| {
            let Some(patience) = patience.upgrade() else { return };
            let until = clock::now() + patience.time.get();
            let mut sounds = patience.sounds.borrow_mut();
            match sounds.iter_mut().rfind(|s| s.2.ptr_eq(&own)) {
                // what comes at once leaves at once
                Some(last) if until.since(last.0) < AT_ONCE => last.1 = seq,
                _ => sounds.push((until, seq, own.clone())),
            }
            drop(sounds);
            patience.begin();
        }));
    }

    /// There is something to wait for.
    fn begin(&self) {
        let task = self.task.borrow_mut().take();
        if let Some(task) = task {
            task.wake();
        }
    }

    fn next(&self) -> Option<Time> {
        let (waiting, sounds) = (self.waiting.borrow(), self.sounds.borrow());
        let (waiting, sounds) = (waiting.iter().map(|w| w.0).min(), sounds.iter().map(|s| s.0).min());
        waiting.into_iter().chain(sounds).min()
    }

    /// Runs the timer; for ever.
    pub async fn run(self: Rc<Self>) {
        loop {
            let next = std::future::poll_fn(|cx| match self.next() {
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
            // out of their place meanwhile: who is woken may begin to wait anew
            let mut waiting = self.waiting.take();
            waiting.retain(|(at, waker)| {
                let due = *at <= now;
                if due {
                    waker.wake_by_ref();
                }
                !due
            });
            self.waiting.borrow_mut().append(&mut waiting);
            let mut sounds = self.sounds.take();
            sounds.retain(|(at, seq, track)| {
                let due = *at <= now;
                if let Some(track) = track.upgrade().filter(|_| due) {
                    track.ripen(*seq);
                }
                !due
            });
            self.sounds.borrow_mut().append(&mut sounds);
        }
    }
}

/// How groups are made.
#[derive(Clone, Copy, Debug)]
pub struct Multicast {
    /// Routers that packets may pass.
    pub ttl: u8,
    /// The group of all tracks; none gives each its own within 239.255/16.
    pub address: Option<Ipv4Addr>,
    /// The port of the first track, each other has the next two; 0 for any.
    pub port: u16,
}

/// A group with its ports and reach.
pub type Group = (IpAddr, Pair<u16>, u8);

/// Everything of it.
#[derive(Default)]
pub struct Flows {
    /// For sound that waits.
    pub patience: Rc<Patience>,
    /// Bytes of a packet; 0 for the usual.
    pub packet_size: Cell<u16>,
    /// How groups are made; none without multicast.
    pub multicast: Cell<Option<Multicast>>,
    /// Each keeps its place, by which its group's port is told.
    flows: RefCell<Vec<Weak<Flow>>>,
    slices: RefCell<Vec<IoSlice<'static>>>,
}

impl Flows {
    /// The packets of a track in a size, shared by all who receive them.
    pub fn of(&self, track: &Rc<Track>, size: u16) -> Result<Rc<Flow>, PayError> {
        let mut flows = self.flows.borrow_mut();
        if let Some(flow) = flows.iter().filter_map(Weak::upgrade).find(|f| f.is_of(track, size)) {
            return Ok(flow);
        }
        let flow = Rc::new(Flow::new(track, size, random::bytes())?);
        match flows.iter_mut().find(|f| f.strong_count() == 0) {
            Some(place) => *place = Rc::downgrade(&flow),
            None => flows.push(Rc::downgrade(&flow)),
        }
        Ok(flow)
    }

    /// The group, ports and reach by which these packets can be had.
    pub fn group_of(&self, flow: &Rc<Flow>) -> Option<Group> {
        let Multicast { ttl, address, port } = self.multicast.get()?;
        let [a, b, c, d] = flow.ssrc().to_be_bytes();
        // of the organisation's own scope
        let group = address.unwrap_or(Ipv4Addr::new(239, 255, c, d.clamp(1, 254)));
        let any = 20_000 + u16::from_be_bytes([a, b]) % 10_000 * 2;
        let place = self.flows.borrow().iter().position(|f| std::ptr::eq(f.as_ptr(), Rc::as_ptr(flow)));
        let next = u16::try_from(place? * 2).ok().and_then(|n| port.checked_add(n));
        let port = if port == 0 { any } else { next.filter(|&p| p < u16::MAX)? };
        Some((group.into(), (port, port + 1), ttl))
    }

    /// Forgets what nobody receives any more.
    pub fn tidy(&self) {
        let mut flows = self.flows.borrow_mut();
        while flows.pop_if(|f| f.strong_count() == 0).is_some() {}
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
