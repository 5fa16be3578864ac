//! Who watches: what a viewer is called in statistics, what it has received, and how it is sent
//! away. A viewer exists as long as its reader; the stream holds it weakly.

use crate::media::{Codec, Time};
use crate::net::sleeper::Sleeper;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

/// Why reading is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The source has ended for good: a publisher left, a file is played.
    Ended,
    /// The stream was removed from the configuration.
    Removed,
    /// The source was replaced by another.
    Replaced,
    /// Someone sent this viewer away.
    Kicked,
    /// The camera was switched off.
    Off,
    /// The program ends.
    Shutdown,
}

impl Close {
    /// In words.
    pub const fn reason(self) -> &'static str {
        match self {
            Close::Ended => "the source has ended",
            Close::Removed => "the stream was removed",
            Close::Replaced => "the source was replaced",
            Close::Kicked => "the viewer was sent away",
            Close::Off => "the camera was switched off",
            Close::Shutdown => "streamd is ending",
        }
    }
}

/// How a viewer or a source presents itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// `rtsp`, `mp4`, `homekit`, `preload` …
    pub format: &'static str,
    /// `rtsp+tcp`, `http`, `ws`, `udp` …
    pub protocol: &'static str,
    /// Address of the other side, empty if it has none.
    pub remote: String,
    /// What the other side calls itself.
    pub agent: String,
    /// The source that it serves itself, so that a stream is not fed with its own output.
    pub source: String,
}

/// What a viewer has received.
#[derive(Debug, Default)]
pub struct ViewerStats {
    /// Bytes sent to it.
    pub bytes: Cell<u64>,
    /// Packets sent to it, where it has packets.
    pub packets: Cell<u64>,
    /// Frames it has read.
    pub frames: Cell<u64>,
    /// Frames it was too slow for.
    pub skipped: Cell<u64>,
    /// Capture time of the last frame it has read.
    pub last: Cell<Time>,
}

/// Someone who watches a stream.
#[derive(Debug)]
pub struct Viewer {
    /// Its number, for the list and the kick.
    pub id: u32,
    /// How it presents itself.
    pub peer: Peer,
    /// What it has received.
    pub stats: ViewerStats,
    codecs: RefCell<Vec<Codec>>,
    close: Cell<Option<Close>>,
    sleeper: Sleeper,
}

impl Viewer {
    /// A viewer with this number.
    pub fn new(id: u32, peer: Peer) -> Viewer {
        Viewer {
            id,
            peer,
            stats: ViewerStats::default(),
            close: Cell::new(None),
            codecs: RefCell::default(),
            sleeper: Sleeper::default(),
        }
    }

    /// One who belongs to the program itself and is on nobody's list.
    pub fn unlisted(format: &'static str, protocol: &'static str) -> Rc<Viewer> {
        Rc::new(Viewer::new(0, Peer { format, protocol, ..Peer::default() }))
    }

    /// The codecs that it reads.
    pub fn codecs(&self) -> Vec<Codec> {
        self.codecs.borrow().clone()
    }

    /// Says what it reads, for one that has several readers.
    pub fn set_codecs(&self, codecs: Vec<Codec>) {
        self.codecs.replace(codecs);
    }

    /// Why it has to go, if it has to.
    pub fn closed(&self) -> Option<Close> {
        self.close.get()
    }

    /// Sends it away.
    pub fn close(&self, why: Close) {
        if self.close.get().is_none() {
            self.close.set(Some(why));
        }
        self.sleeper.wake();
    }

    /// Resolves once it has to go, for outputs that wait for something else than frames.
    pub async fn gone(&self) -> Close {
        std::future::poll_fn(|cx| match self.close.get() {
            Some(why) => std::task::Poll::Ready(why),
            None => {
                self.wait(cx.waker());
                std::task::Poll::Pending
            }
        })
        .await
    }

    pub(super) fn wait(&self, waker: &Waker) {
        self.sleeper.wait(waker);
    }
}
