//! Pictures for the tiles of the Home app: the stream's own JPEG, one for all who ask within a second,
//! and the last good one where the source has none just now.

use crate::homekit::server::Snapshots;
use crate::homekit::session::Snapshot;
use crate::net::reactor::Timer;
use crate::stream::{Hall, Local};
use futures_lite::future::or;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How long one picture serves all.
const FRESH: Duration = Duration::from_secs(1);
/// How long the source may take: the Home app gives up after eight seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How old the last good one may be.
const OLD: Duration = Duration::from_secs(600);

struct Pictures {
    hall: Rc<Hall>,
    stream: String,
    last: RefCell<Option<(Instant, Rc<[u8]>)>>,
    tried: Cell<Option<Instant>>,
    busy: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// The pictures of a stream.
pub fn pictures(hall: Rc<Hall>, stream: &str) -> Rc<dyn Snapshots> {
    Rc::new(Album(Rc::new(Pictures {
        hall,
        stream: stream.to_owned(),
        last: RefCell::default(),
        tried: Cell::default(),
        busy: Cell::default(),
        waiting: RefCell::default(),
    })))
}

struct Album(Rc<Pictures>);

impl Snapshots for Album {
    fn take(&self, _: Snapshot) -> Local<Option<Rc<[u8]>>> {
        let pictures = self.0.clone();
        Box::pin(async move { pictures.take().await })
    }
}

/// Whoever takes the picture; the others wait until it is gone.
struct Taking<'a>(&'a Pictures);

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.0.busy.set(false);
        let waiting = self.0.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Pictures {
    async fn take(&self) -> Option<Rc<[u8]>> {
        poll_fn(|cx| {
            if !self.busy.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        if self.tried.get().is_none_or(|tried| tried.elapsed() >= FRESH) {
            self.busy.set(true);
            let taking = Taking(self);
            let picture = match self.hall.get(&self.stream) {
                Some(stream) => or(async { stream.jpeg().await.ok() }, late()).await,
                None => None,
            };
            if let Some(jpeg) = picture {
                self.last.replace(Some((Instant::now(), jpeg.into())));
            }
            self.tried.set(Some(Instant::now()));
            drop(taking);
        }
        let last = self.last.borrow();
        last.as_ref().filter(|(at, _)| at.elapsed() < OLD).map(|(_, jpeg)| jpeg.clone())
    }
}

async fn late() -> Option<Vec<u8>> {
    Timer::after(PATIENCE).await;
    None
}
