//! Live view: a stream's pictures and sound to those who watch in the Home app, and their voice back
//! to its speaker. [`Live`] is one camera's side of it, with a place for each viewer; it knows the
//! hall and its own sockets, and nothing of pairing, characteristics or the program around it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod audio;
mod backchannel;
mod server;
pub mod session;
mod socket;
mod video;

pub use video::Desk;

use super::accessory::Viewer;
use super::camera::{Command, Endpoints, NoEndpoint, Selected, Size, Srtp};
use crate::net::clock;
use crate::net::limits::LIVE_VIEWERS;
use crate::net::lists::drop_where;
use crate::net::log;
use crate::net::sleeper::Sleeper;
use crate::stream::{AttachError, Hall, Peer, Stream};
use server::{Place, Work};
use session::{End, Leg, Phase, Reception, Session};
use socket::Sockets;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::{Rc, Weak};

/// How a camera's live view is set.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The stream, by name, and behind it others with the same pictures in other sizes.
    pub streams: Vec<String>,
    /// The microphone is kept silent while somebody talks to the speaker.
    pub half_duplex: bool,
}

/// Called when a live view ends by itself: its viewer fell silent, or its source is gone.
pub type Ended = Rc<dyn Fn(Viewer)>;

/// Counts of one viewer, beside its session's.
#[derive(Debug, Default)]
struct Counts {
    refused: Cell<u64>,
    said: Cell<u64>,
}

/// What a viewer at work shares with whoever commands it.
struct Shared {
    session: RefCell<Session>,
    selected: RefCell<Option<Rc<Selected>>>,
    sleeper: Sleeper,
    microphone_off: Cell<bool>,
    speaker_off: Cell<bool>,
    volume: Cell<u8>,
    stats: Counts,
}

/// One viewer.
struct Entry {
    viewer: Viewer,
    session: [u8; 16],
    remote: IpAddr,
    shared: Rc<Shared>,
}

/// What one viewer gets, for statistics.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Whose place.
    pub viewer: Viewer,
    /// Its address.
    pub remote: IpAddr,
    /// Where its session stands.
    pub phase: Phase,
    /// What it wants to see.
    pub size: Option<Size>,
    /// Packets and payload bytes of pictures and of sound.
    pub sent: [(u32, u32); 2],
    /// What it says of both.
    pub seen: [Reception; 2],
    /// Key frames that it asked for.
    pub wishes: u32,
    /// Packets of its voice that were said.
    pub said: u64,
    /// Datagrams that were not its own, or came twice.
    pub refused: u64,
}

/// Keys for pictures and for sound, and the two sources that we send from.
fn secrets() -> Result<(Srtp, Srtp, [u32; 2]), getrandom::Error> {
    let fresh = || -> Result<Srtp, getrandom::Error> {
        let mut srtp = Srtp { key: [0; 16], salt: [0; 14] };
        getrandom::fill(&mut srtp.key)?;
        getrandom::fill(&mut srtp.salt)?;
        Ok(srtp)
    };
    // positive for those who read them as signed, never zero and never the same
    let ssrc = || Ok(getrandom::u32()? >> 1 | 1);
    let [one, mut two] = [ssrc()?, ssrc()?];
    if one == two {
        two ^= 2;
    }
    Ok((fresh()?, fresh()?, [one, two]))
}

/// One camera's live view.
pub struct Live {
    hall: Rc<Hall>,
    options: Rc<Options>,
    desk: Rc<RefCell<Desk>>,
    entries: RefCell<Vec<Entry>>,
    ended: RefCell<Option<Ended>>,
    microphone_off: Cell<bool>,
    speaker_off: Cell<bool>,
    volume: Cell<u8>,
}

impl Live {
    /// For a camera of this hall. The desk may be shared by all cameras of one thread.
    pub fn new(hall: &Rc<Hall>, options: Options, desk: Rc<RefCell<Desk>>) -> Rc<Live> {
        Rc::new(Live {
            hall: hall.clone(),
            options: Rc::new(options),
            desk,
            entries: RefCell::default(),
            ended: RefCell::new(None),
            microphone_off: Cell::new(false),
            speaker_off: Cell::new(false),
            volume: Cell::new(100),
        })
    }

    /// Says who is told when a live view ends by itself. It may call back at once.
    pub fn on_end(&self, ended: Ended) {
        self.ended.replace(Some(ended));
    }

    fn streams(&self) -> Vec<Rc<Stream>> {
        self.options.streams.iter().filter_map(|name| self.hall.get(name)).collect()
    }

    /// A viewer comes by a connection to the address `local`: opens its sockets, and has the source
    /// dialled meanwhile. Our side, and the two sources that we send from.
    pub fn setup(
        self: &Rc<Live>,
        viewer: Viewer,
        theirs: &Endpoints,
        local: IpAddr,
    ) -> Result<(Endpoints, [u32; 2]), NoEndpoint> {
        let entries = self.entries.borrow();
        if entries.len() >= LIVE_VIEWERS || entries.iter().any(|e| e.viewer.place == viewer.place) {
            return Err(NoEndpoint::Busy);
        }
        drop(entries);
        let streams = self.streams();
        let failed = |why: &dyn std::fmt::Display| {
            let name = self.options.streams.first().map_or("", String::as_str);
            log::warn!(target: "homekit", "{name}: no live view: {why}");
            NoEndpoint::Error
        };
        let stream = streams.first().ok_or_else(|| failed(&"there is no such stream"))?;
        let sockets = Sockets::open(theirs, local).map_err(|e| failed(&e))?;
        let (video, audio, ssrcs) = secrets().map_err(|e| failed(&e))?;
        let (remote, format) = (sockets.remote.to_string(), "homekit");
        let peer = Peer { format, protocol: "srtp", remote, ..Peer::default() };
        let watcher = stream.enter(peer).map_err(|e| match e {
            // there is no room now, and may be in a minute
            AttachError::Full(_) | AttachError::Memory => {
                log::warn!(target: "homekit", "{}: no live view: {e}", stream.name());
                NoEndpoint::Busy
            }
            other => failed(&other),
        })?;
        let shared = Rc::new(Shared {
            session: RefCell::new(Session::new(clock::now(), ssrcs)),
            selected: RefCell::new(None),
            sleeper: Sleeper::default(),
            microphone_off: self.microphone_off.clone(),
            speaker_off: self.speaker_off.clone(),
            volume: self.volume.clone(),
            stats: Counts::default(),
        });
        let answer = Endpoints {
            session: theirs.session,
            address: sockets.address,
            video_port: sockets.video.port,
            audio_port: sockets.audio.port,
            video,
            audio,
        };
        let remote = sockets.remote;
        let place = Place {
            hall: self.hall.clone(),
            streams,
            viewer: watcher,
            shared: shared.clone(),
            options: self.options.clone(),
        };
        let ours = [&answer.video, &answer.audio];
        let work = Work::new(place, sockets, ours, [&theirs.video, &theirs.audio]);
        let (live, desk, own) = (Rc::downgrade(self), self.desk.clone(), shared.clone());
        self.entries.borrow_mut().push(Entry { viewer, session: theirs.session, remote, shared });
        let task = async move {
            let why = work.run(desk).await;
            Live::over(&live, viewer, &own, why);
        };
        self.hall.executor().spawn(task).detach();
        Ok((answer, ssrcs))
    }

    /// A viewer's work is over.
    fn over(live: &Weak<Live>, viewer: Viewer, shared: &Rc<Shared>, why: End) {
        log::info!(target: "homekit", "live view ends: {}", why.reason());
        let Some(live) = live.upgrade() else { return };
        drop_where(&mut live.entries.borrow_mut(), |e| Rc::ptr_eq(&e.shared, shared));
        let ended = live.ended.borrow().clone();
        if let Some(ended) = ended.filter(|_| why != End::Asked) {
            ended(viewer);
        }
    }

    /// A viewer starts, pauses, goes on, wants another size, or ends; false if that cannot be.
    pub fn control(&self, viewer: Viewer, selected: &Selected) -> bool {
        let entries = self.entries.borrow();
        let Some(entry) = entries.iter().find(|e| e.viewer == viewer && e.session == selected.session) else {
            return false;
        };
        let shared = entry.shared.clone();
        drop(entries);
        let done = shared.session.borrow_mut().command(clock::now(), selected);
        if done && selected.command == Command::Start {
            shared.selected.replace(Some(Rc::new(selected.clone())));
        }
        if done && selected.command == Command::End {
            self.end(viewer);
        }
        shared.sleeper.wake();
        done
    }

    /// A viewer is gone, or has to go. Its place is free at once.
    pub fn end(&self, viewer: Viewer) {
        let at = self.entries.borrow().iter().position(|e| e.viewer == viewer);
        let Some(at) = at else { return };
        let entry = self.entries.borrow_mut().remove(at);
        entry.shared.session.borrow_mut().end(End::Asked);
        entry.shared.sleeper.wake();
    }

    /// All who belong to a connection have to go.
    pub fn closed(&self, connection: u32) {
        self.end_those(Some(connection));
    }

    /// Everybody has to go: the camera was switched off.
    pub fn end_all(&self) {
        self.end_those(None);
    }

    fn end_those(&self, of: Option<u32>) {
        let is_theirs = |viewer: &Viewer| of.is_none_or(|connection| viewer.connection == connection);
        loop {
            let next = self.entries.borrow().iter().map(|e| e.viewer).find(is_theirs);
            let Some(viewer) = next else { return };
            self.end(viewer);
        }
    }

    /// The microphone is muted, or not.
    pub fn set_microphone(&self, off: bool) {
        self.microphone_off.set(off);
        self.entries.borrow().iter().for_each(|e| e.shared.microphone_off.set(off));
    }

    /// The speaker is muted, or not, and how loud it is in hundredths.
    pub fn set_speaker(&self, off: bool, volume: u8) {
        self.speaker_off.set(off);
        self.volume.set(volume.min(100));
        for entry in self.entries.borrow().iter() {
            entry.shared.speaker_off.set(off);
            entry.shared.volume.set(volume.min(100));
            entry.shared.sleeper.wake();
        }
    }

    /// Who watches now.
    pub fn statistics(&self) -> Vec<Stats> {
        let one = |e: &Entry| {
            let session = e.shared.session.borrow();
            let ways = [Leg::Video, Leg::Audio].map(|leg| *session.way(leg));
            Stats {
                viewer: e.viewer,
                remote: e.remote,
                phase: session.phase(),
                size: session.wanted().map(|w| w.size),
                sent: ways.map(|w| (w.packets, w.octets)),
                seen: ways.map(|w| w.seen),
                wishes: session.wishes,
                said: e.shared.stats.said.get(),
                refused: e.shared.stats.refused.get(),
            }
        };
        self.entries.borrow().iter().map(one).collect()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end_all();
    }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
