//! Pictures for the tiles of the Home app: a JPEG of the stream's own, of its sub stream's where that
//! suits the size better; one for all who ask within a second for no more, and the last good one where
//! there is none just now. Nothing is decoded here: smaller than its own a picture is where the source
//! can make it so.

use crate::homekit::server::Snapshots;
use crate::homekit::session::Snapshot;
use crate::media::jpeg::JpegInfo;
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
/// How long the sources may take together: the Home app gives up after eight seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How old the last good one may be.
const OLD: Duration = Duration::from_secs(600);
/// A stream that had no picture is not asked again before, unless there is no other.
const AGAIN: Duration = Duration::from_secs(60);

/// A stream's last picture.
#[derive(Clone, Default)]
struct Shot {
    tried: Option<Instant>,
    last: Option<Taken>,
    /// The largest so far.
    size: Option<(u16, u16)>,
}

#[derive(Clone)]
struct Taken {
    at: Instant,
    jpeg: Rc<[u8]>,
    size: (u16, u16),
    /// It was made to fit, and would be larger for others.
    fitted: bool,
}

impl Shot {
    /// Whether it is to be taken anew for who wants it so large.
    fn is_stale(&self, wanted: (u16, u16)) -> bool {
        let larger = |last: &Taken| last.fitted && (last.size.0 < wanted.0 && last.size.1 < wanted.1);
        self.tried.is_none_or(|at| at.elapsed() >= FRESH) || self.last.as_ref().is_some_and(larger)
    }
}

struct Pictures {
    hall: Rc<Hall>,
    /// The stream, and others with the same picture in other sizes.
    streams: Vec<String>,
    shots: RefCell<Vec<Shot>>,
    busy: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// The pictures of a stream, the first of these, and of those that show the same.
pub fn pictures(hall: Rc<Hall>, streams: &[String]) -> Rc<dyn Snapshots> {
    Rc::new(Album(Rc::new(Pictures {
        hall,
        streams: streams.to_vec(),
        shots: RefCell::new(vec![Shot::default(); streams.len()]),
        busy: Cell::default(),
        waiting: RefCell::default(),
    })))
}

struct Album(Rc<Pictures>);

impl Snapshots for Album {
    fn take(&self, wanted: Snapshot) -> Local<Option<Rc<[u8]>>> {
        let pictures = self.0.clone();
        Box::pin(async move { pictures.take((wanted.width, wanted.height)).await })
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

/// Which of some sizes suits best: the largest that is not too large, else the smallest.
fn best(sizes: &[Option<(u16, u16)>], (width, height): (u16, u16)) -> Option<(usize, bool)> {
    let mut best: Option<(usize, bool, u32)> = None;
    for (at, size) in sizes.iter().enumerate() {
        let Some((w, h)) = *size else { continue };
        let (fits, area) = (w <= width && h <= height, u32::from(w) * u32::from(h));
        let better = best.is_none_or(|(_, others, least)| match (fits, others) {
            (true, true) => area >= least,
            (false, false) => area < least,
            (fits, _) => fits,
        });
        if better {
            best = Some((at, fits, area));
        }
    }
    best.map(|(at, fits, _)| (at, fits))
}

impl Pictures {
    async fn take(&self, wanted: (u16, u16)) -> Option<Rc<[u8]>> {
        poll_fn(|cx| {
            if !self.busy.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.busy.set(true);
        let taking = Taking(self);
        or(self.look(wanted), late()).await;
        drop(taking);
        let shots = self.shots.borrow();
        let sizes: Vec<_> = shots.iter().map(|shot| shot.size).collect();
        let last = best(&sizes, wanted).and_then(|(at, _)| shots.get(at)?.last.as_ref());
        last.filter(|taken| taken.at.elapsed() < OLD).map(|taken| taken.jpeg.clone())
    }

    /// Has the picture taken that suits; what nobody knows of the others' sizes is found out only where
    /// the stream's own is too large.
    async fn look(&self, wanted: (u16, u16)) {
        for _ in 0..=self.streams.len() {
            let Some(at) = self.stale(wanted) else { return };
            let stream = self.streams.get(at).and_then(|name| self.hall.get(name));
            // one that never answers is not asked first for ever
            if let Some(shot) = self.shots.borrow_mut().get_mut(at) {
                shot.tried = Some(Instant::now());
            }
            if let Some(stream) = stream
                && let Ok(jpeg) = stream.jpeg(Some(wanted)).await
            {
                self.keep(at, wanted, jpeg);
            }
        }
    }

    /// Which is to be taken next, as long as one is.
    fn stale(&self, wanted: (u16, u16)) -> Option<usize> {
        let shots = self.shots.borrow();
        let sizes: Vec<_> = shots.iter().map(|shot| shot.size).collect();
        let due = |shot: &Shot| shot.tried.is_none_or(|at| at.elapsed() >= AGAIN);
        let unknown = shots.iter().position(|shot| shot.size.is_none() && due(shot));
        let at = match (best(&sizes, wanted), unknown) {
            (Some((at, true)), _) | (Some((at, false)), None) => at,
            (_, Some(unknown)) => unknown,
            (None, None) => 0,
        };
        shots.get(at).is_some_and(|shot| shot.is_stale(wanted)).then_some(at)
    }

    fn keep(&self, at: usize, wanted: (u16, u16), jpeg: Vec<u8>) {
        let Ok(info) = JpegInfo::parse(&jpeg) else { return };
        let size = (info.width, info.height);
        let fitted = size.0.abs_diff(wanted.0) < 2 || size.1.abs_diff(wanted.1) < 2;
        if let Some(shot) = self.shots.borrow_mut().get_mut(at) {
            let now = Instant::now();
            shot.tried = Some(now);
            shot.size = shot.size.max(Some(size));
            shot.last = Some(Taken { at: now, jpeg: jpeg.into(), size, fitted });
        }
    }
}

async fn late() {
    Timer::after(PATIENCE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_picture_serves_all_who_want_no_more() {
        let now = Instant::now();
        let taken = |size, fitted| {
            let last = Taken { at: now, jpeg: Rc::new([]), size, fitted };
            Shot { tried: Some(now), last: Some(last), size: Some(size) }
        };
        let small = taken((640, 360), true);
        assert!(small.is_stale((1280, 720)));
        assert!(!small.is_stale((640, 480)) && !small.is_stale((320, 240)));
        assert!(!taken((640, 360), false).is_stale((1280, 720)), "it has no more");
        assert!(Shot::default().is_stale((320, 240)));
    }

    #[test]
    fn the_picture_suits_the_tile() {
        let sizes = [Some((1920, 1080)), None, Some((640, 360))];
        assert_eq!(best(&sizes, (1920, 1080)), Some((0, true)));
        assert_eq!(best(&sizes, (1280, 720)), Some((2, true)));
        assert_eq!(best(&sizes, (640, 480)), Some((2, true)));
        assert_eq!(best(&sizes, (320, 240)), Some((2, false)));
        assert_eq!(best(&[None, None], (320, 240)), None);
    }
}
