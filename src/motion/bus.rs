//! The event bus. Posting never waits and never fails: a listener that does not listen loses the
//! oldest of what it has not heard, and is told how much.

use crate::media::Time;
use crate::net::lists::drop_where;
use crate::net::sleeper::Sleeper;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

/// Events that a listener may be behind.
const BEHIND: usize = 64;

/// Things that are on, of all streams; of more it is not known.
const ON: usize = 256;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Something has begun or ceased to move.
    Motion(bool),
    /// Somebody has rung.
    Doorbell,
    /// The status light shall be on or off.
    Light(bool),
    /// The picture shall be made for the night, or not.
    Night(bool),
    /// Nobody shall see anything, or may again.
    Privacy(bool),
}

impl What {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            What::Motion(_) => "motion",
            What::Doorbell => "doorbell",
            What::Light(_) => "light",
            What::Night(_) => "night",
            What::Privacy(_) => "privacy",
        }
    }

    /// Whether it is on, for what can be.
    pub const fn on(self) -> Option<bool> {
        match self {
            What::Motion(on) | What::Light(on) | What::Night(on) | What::Privacy(on) => Some(on),
            What::Doorbell => None,
        }
    }
}

/// Something that has happened to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub time: Time,
    /// To which stream; empty for the camera as a whole.
    pub stream: Rc<str>,
    /// What.
    pub what: What,
}

#[derive(Default)]
struct Ear {
    queue: RefCell<VecDeque<Event>>,
    lost: Cell<u32>,
    sleeper: Sleeper,
}

/// Where events are posted.
#[derive(Default)]
pub struct Bus {
    ears: RefCell<Vec<Weak<Ear>>>,
    on: RefCell<Vec<(Rc<str>, &'static str)>>,
    wants: Rc<Wants>,
}

/// Streams of which somebody wants to know whether something moves: only those are looked at.
#[derive(Default)]
struct Wants {
    streams: RefCell<Vec<Rc<str>>>,
    wakers: RefCell<Vec<Waker>>,
}

impl Wants {
    fn wake(&self) {
        for waker in self.wakers.take() {
            waker.wake();
        }
    }
}

/// Has a stream looked at as long as it is kept.
pub struct Want {
    stream: Rc<str>,
    wants: Rc<Wants>,
}

impl Drop for Want {
    fn drop(&mut self) {
        let mut streams = self.wants.streams.borrow_mut();
        if let Some(at) = streams.iter().position(|s| *s == self.stream) {
            streams.swap_remove(at);
        }
        drop(streams);
        self.wants.wake();
    }
}

impl Bus {
    /// Tells everybody who listens.
    pub fn post(&self, event: Event) {
        self.remember(&event);
        let ears: Vec<_> = self.ears.borrow().iter().filter_map(Weak::upgrade).collect();
        for ear in ears {
            let mut queue = ear.queue.borrow_mut();
            if queue.len() >= BEHIND {
                queue.pop_front();
                ear.lost.set(ear.lost.get().saturating_add(1));
            }
            queue.push_back(event.clone());
            drop(queue);
            ear.sleeper.wake();
        }
    }

    fn remember(&self, event: &Event) {
        let name = event.what.name();
        let mut all = self.on.borrow_mut();
        let known = all.iter().position(|(stream, what)| *stream == event.stream && *what == name);
        match (event.what.on(), known) {
            (Some(true), None) if all.len() < ON => all.push((event.stream.clone(), name)),
            (Some(false), Some(at)) => drop(all.swap_remove(at)),
            _ => {}
        }
    }

    /// Whether this was last posted as on, for the stream or the camera as a whole.
    pub fn is_on(&self, stream: &str, what: What) -> bool {
        self.on.borrow().iter().any(|(of, name)| (of.is_empty() || **of == *stream) && *name == what.name())
    }

    /// The streams for which this was last posted as on, in the order of their names.
    pub fn all_on(&self, what: What) -> Vec<Rc<str>> {
        let on = self.on.borrow();
        let mut names: Vec<Rc<str>> = Vec::new();
        for (of, _) in on.iter().filter(|(_, name)| *name == what.name()) {
            let at = names.partition_point(|before| before < of);
            names.insert(at, of.clone());
        }
        names
    }

    /// Hears everything that is posted from now on.
    pub fn listen(&self) -> Listener {
        let ear = Rc::<Ear>::default();
        let mut ears = self.ears.borrow_mut();
        drop_where(&mut ears, |e| e.strong_count() == 0);
        ears.push(Rc::downgrade(&ear));
        Listener { ear }
    }

    /// Wants to know whether something moves there.
    pub fn want(&self, stream: &str) -> Want {
        let stream: Rc<str> = stream.into();
        self.wants.streams.borrow_mut().push(stream.clone());
        self.wants.wake();
        Want { stream, wants: self.wants.clone() }
    }

    /// Whether somebody wants to know whether something moves there.
    pub fn wants(&self, stream: &str) -> bool {
        self.wants.streams.borrow().iter().any(|s| **s == *stream)
    }

    /// Resolves when that is no longer so as it `was`.
    pub async fn wants_change(&self, stream: &str, was: bool) {
        poll_fn(|cx| {
            if self.wants(stream) != was {
                return Poll::Ready(());
            }
            let mut wakers = self.wants.wakers.borrow_mut();
            if !wakers.iter().any(|w| w.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// Whether anybody listens.
    pub fn is_heard(&self) -> bool {
        self.ears.borrow().iter().any(|e| e.strong_count() > 0)
    }
}

/// Somebody who listens.
pub struct Listener {
    ear: Rc<Ear>,
}

impl Listener {
    /// The next event.
    pub async fn next(&self) -> Event {
        poll_fn(|cx| {
            if let Some(event) = self.ear.queue.borrow_mut().pop_front() {
                return Poll::Ready(event);
            }
            self.ear.sleeper.wait(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// How many events were lost since the last time this was asked.
    pub fn lost(&self) -> u32 {
        self.ear.lost.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u64) -> Event {
        Event { time: Time::from_nanos(n), stream: "cam".into(), what: What::Motion(true) }
    }

    #[test]
    fn a_listener_that_sleeps_loses_the_oldest_and_is_told() {
        let bus = Bus::default();
        let (deaf, good) = (bus.listen(), bus.listen());
        for n in 0..100 {
            bus.post(event(n));
            assert_eq!(crate::net::reactor::block_on(good.next()).time.nanos(), n);
        }
        assert_eq!(crate::net::reactor::block_on(deaf.next()).time.nanos(), 36);
        assert_eq!((deaf.lost(), deaf.lost(), good.lost()), (36, 0, 0));
    }

    #[test]
    fn what_is_on_is_known_to_those_who_come_later() {
        let bus = Bus::default();
        let post = |stream: &str, what| bus.post(Event { time: Time::ZERO, stream: stream.into(), what });
        post("a", What::Motion(true));
        post("", What::Privacy(true));
        assert!(bus.is_on("a", What::Motion(true)) && !bus.is_on("b", What::Motion(true)));
        assert!(bus.is_on("b", What::Privacy(true)));
        post("a", What::Motion(false));
        assert!(!bus.is_on("a", What::Motion(true)));
    }

    /// A camera that is looked at because of a recorder that has gone home sends its pictures for ever.
    #[test]
    fn a_stream_is_wanted_as_long_as_somebody_wants_it() {
        let bus = Bus::default();
        let (one, two) = (bus.want("a"), bus.want("a"));
        assert!(bus.wants("a") && !bus.wants("b"));
        drop(one);
        assert!(bus.wants("a"));
        drop(two);
        assert!(!bus.wants("a"));
        crate::net::reactor::block_on(futures_lite::future::zip(bus.wants_change("a", false), async {
            futures_lite::future::yield_now().await;
            std::mem::forget(bus.want("a"));
        }));
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let bus = Bus::default();
        drop(bus.listen());
        assert!(!bus.is_heard());
        bus.post(event(1));
    }
}
