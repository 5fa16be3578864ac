//! Recordings for hubs: what the Home app has switched and a hub has selected, the stream that is kept
//! running so that the seconds before an event are there, and the clips that hubs fetch of it. It knows
//! the hall and the data stream's traits; who is paired, and what a characteristic is, it does not.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod tape;

use super::accessory::Value;
use super::camera::{self, Source};
use super::database::iid;
use super::hds::server::{Reel, Reels};
use super::hds::session::Reason;
use crate::media::nal::NalCodec;
use crate::media::parameter_sets::{ParameterSets, VideoProfile};
use crate::media::{Codec, CodecId, Kind, Time};
use crate::net::clock;
use crate::net::log;
use crate::net::reactor::Timer;
use crate::net::sleeper::Sleeper;
use crate::stream::{Close, Hall, Join, KEY_AGE, Keep, Peer, Reader, Stream, Track, Wish, backoff};
use async_task::Task;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;
use tape::Tape;

/// What hubs are promised of the time before an event.
pub const PREBUFFER: Duration = Duration::from_secs(4);
/// A hub may be this late.
const LATE: Duration = Duration::from_secs(2);
/// Between looks at the age of the last key frame.
const LOOK: Duration = Duration::from_millis(100);
/// Looks between those at what the pictures are.
const SELDOM: u32 = 20;
/// Pictures whose key frames are farther apart than this cannot be recorded.
const APART: Duration = Duration::from_secs(5);
/// For so long that is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// What hubs are offered of sound.
const SOUND_RATE: u32 = 32_000;

/// What the Home app has switched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Switches {
    recording: bool,
    camera: bool,
    disabled: bool,
    sound: bool,
    selected: bool,
}

impl Switches {
    fn allows(self) -> Result<(), Reason> {
        if !self.recording || !self.camera || self.disabled {
            return Err(Reason::NotAllowed);
        }
        if self.selected { Ok(()) } else { Err(Reason::Invalid) }
    }
}

/// The tracks that are kept running.
#[derive(Clone)]
struct Tracks {
    pictures: Rc<Track>,
    sound: Option<Rc<Track>>,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Recordings that hubs have opened.
    pub opened: u64,
    /// Those that they were refused.
    pub refused: u64,
    /// Fragments that were sent.
    pub fragments: u64,
}

/// Is told what a source's pictures are.
pub type OnSource = Rc<dyn Fn(Source)>;

/// One camera's recordings.
pub struct Recording {
    hall: Rc<Hall>,
    stream: String,
    switches: Cell<Switches>,
    armed: RefCell<Option<Task<()>>>,
    tracks: RefCell<Option<Tracks>>,
    busy: Cell<bool>,
    sleeper: Sleeper,
    /// When the motion began that is not over, or the last one.
    moved: Cell<Option<Time>>,
    /// When its key frames were last too far apart.
    sparse: Cell<Option<Time>>,
    trouble: RefCell<Option<String>>,
    stats: Cell<Stats>,
    tell: RefCell<Option<OnSource>>,
    /// What was told last.
    told: Cell<Option<Source>>,
}

impl Recording {
    /// Of a stream of this hall. Nothing is switched on.
    pub fn new(hall: &Rc<Hall>, stream: &str) -> Rc<Recording> {
        Rc::new(Recording {
            hall: hall.clone(),
            stream: stream.to_owned(),
            switches: Cell::default(),
            armed: RefCell::new(None),
            tracks: RefCell::new(None),
            busy: Cell::new(false),
            sleeper: Sleeper::default(),
            moved: Cell::new(None),
            sparse: Cell::new(None),
            trouble: RefCell::new(None),
            stats: Cell::default(),
            tell: RefCell::new(None),
            told: Cell::new(None),
        })
    }

    /// The characteristics that say what is recorded.
    pub const IIDS: [u16; 5] =
        [iid::OPERATING + 1, iid::OPERATING + 7, iid::RECORDING + 1, iid::RECORDING + 5, iid::RECORDING + 6];

    /// One of them is worth this.
    pub fn set(self: &Rc<Self>, iid: u16, value: &Value) {
        const CAMERA: u16 = iid::OPERATING + 1;
        const DISABLED: u16 = iid::OPERATING + 7;
        const ACTIVE: u16 = iid::RECORDING + 1;
        const SELECTED: u16 = iid::RECORDING + 5;
        const SOUND: u16 = iid::RECORDING + 6;
        let (mut now, on) = (self.switches.get(), value.is_on());
        match iid {
            CAMERA => now.camera = on,
            DISABLED => now.disabled = on,
            ACTIVE => now.recording = on,
            SOUND => now.sound = on,
            SELECTED => now.selected = matches!(value, Value::Bytes(b) if camera::is_recording_selection(b)),
            _ => return,
        }
        let before = self.switches.replace(now);
        if before == now {
            return;
        }
        let (was, is) = (before.allows().is_ok(), now.allows().is_ok());
        if !is || was && before.sound != now.sound {
            self.disarm();
        }
        if is && self.armed.borrow().is_none() {
            log::info!(target: "homekit", "{}: a hub may record: the last seconds are kept", self.stream);
            let task = keep(Rc::downgrade(self), Some(now.sound));
            self.armed.replace(Some(self.hall.executor().spawn(task)));
        }
        self.sleeper.wake();
    }

    fn disarm(&self) {
        let armed = self.armed.take();
        drop(armed);
        self.tracks.take();
        self.trouble.take();
        self.sparse.set(None);
    }

    /// Motion has begun or ended.
    pub fn motion(&self, on: bool) {
        if on {
            self.moved.set(Some(clock::now()));
        }
    }

    /// Whether the stream is kept running for hubs.
    pub fn is_armed(&self) -> bool {
        self.armed.borrow().is_some()
    }

    /// Whether a hub is recording.
    pub fn is_recording(&self) -> bool {
        self.busy.get()
    }

    /// Is told what the source's pictures are, once that is known and when they become others.
    pub fn on_source(&self, tell: OnSource) {
        self.tell.replace(Some(tell));
    }

    /// Has the source run until it is known what its pictures are.
    pub fn learn(self: &Rc<Self>) {
        self.hall.executor().spawn(keep(Rc::downgrade(self), None)).detach();
    }

    /// Tells what these pictures are, if that is known and was not told.
    fn look(&self, pictures: &Track) -> bool {
        let source = measure(pictures);
        let tell =
            self.tell.borrow().clone().filter(|_| source.is_some() && self.told.replace(source) != source);
        if let (Some(tell), Some(source)) = (tell, source) {
            tell(source);
        }
        source.is_some()
    }

    /// Why there is nothing to record, if there is not.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        self.stats.get()
    }

    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    /// Nothing can be recorded for now, and that was not so before.
    fn complain(&self, sentence: String) {
        let mut trouble = self.trouble.borrow_mut();
        if trouble.as_ref() != Some(&sentence) {
            log::warn!(target: "homekit", "{}: nothing can be recorded: {sentence}", self.stream);
            *trouble = Some(sentence);
        }
    }

    fn is_sparse(&self) -> bool {
        self.sparse.get().is_some_and(|at| clock::now().since(at) < REMEMBERED)
    }
}

impl Reels for Rc<Recording> {
    fn open(&self) -> Result<Box<dyn Reel>, Reason> {
        let opened = self.switches.get().allows().and_then(|()| match () {
            () if self.busy.get() => Err(Reason::Busy),
            () if self.is_sparse() => Err(Reason::Unsupported),
            () => Tape::new(self),
        });
        match &opened {
            Ok(_) => {
                log::info!(target: "homekit", "{}: a hub records", self.stream);
                self.count(|s| s.opened += 1);
            }
            Err(reason) => {
                log::warn!(target: "homekit", "{}: a hub may not record: {}", self.stream, reason.text());
                self.count(|s| s.refused += 1);
            }
        }
        Ok(Box::new(opened?))
    }
}

/// What is wished for: pictures that every hub takes, and sound as it was offered or as it is.
fn wishes(sound: bool) -> Vec<Wish> {
    let any = Codec { rate: 0, channels: 0, ..Codec::new(CodecId::Aac) };
    let offered = Codec::audio(CodecId::Aac, SOUND_RATE, 1);
    let mut wishes = vec![Wish { kind: Kind::Video, codecs: vec![Codec::new(CodecId::H264)], all: false }];
    if sound {
        wishes.push(Wish { kind: Kind::Audio, codecs: vec![offered, any], all: false });
    }
    wishes
}

/// What these pictures are, once a second of them has been seen.
fn measure(pictures: &Track) -> Option<Source> {
    let (count, span) = {
        let ring = pictures.ring();
        let (oldest, newest) = (ring.meta(ring.tail())?, ring.newest()?);
        let span = newest.decode.since(oldest.decode);
        ((ring.head() - ring.tail()) as u32 - 1, span.as_secs() as u32 * 1000 + span.subsec_millis())
    };
    if span < 1000 {
        return None;
    }
    let info = ParameterSets::from_extra(NalCodec::H264, &pictures.codec().extra).info()?;
    let VideoProfile::H264(profile) = info.profile else { return None };
    let [width, height] = [info.width, info.height].map(|n| n.min(u16::MAX.into()) as u16);
    Some(Source::new(width, height, profile.0, count.saturating_mul(10_000) / span))
}

/// Holds the stream while recordings are armed, so that what was before an event is there; without a word
/// on sound only until it is known what its pictures are.
async fn keep(recording: Weak<Recording>, sound: Option<bool>) {
    let mut failures = 0;
    loop {
        let Some(own) = recording.upgrade() else { return };
        let stream = own.hall.get(&own.stream);
        let found = match stream {
            Some(stream) => {
                drop(own);
                attach(&stream, sound == Some(true)).await
            }
            None => Err("there is no such stream".to_owned()),
        };
        let Some(own) = recording.upgrade() else { return };
        match found {
            Ok(held) => {
                failures = 0;
                own.trouble.take();
                if sound.is_some() {
                    own.tracks.replace(Some(held.tracks.clone()));
                }
                drop(own);
                let why = watch(&recording, &held, sound.is_none()).await;
                if let Some(own) = recording.upgrade().filter(|_| sound.is_some()) {
                    own.tracks.take();
                }
                if why == Some(Close::Shutdown) {
                    return;
                }
            }
            Err(sentence) => {
                own.complain(sentence);
                failures += 1;
            }
        }
        Timer::after(backoff(failures)).await;
    }
}

/// Tracks that keep what hubs were promised, as long as it lives.
struct Held {
    reader: Reader,
    tracks: Tracks,
    _keep: Keep,
}

async fn attach(stream: &Rc<Stream>, sound: bool) -> Result<Held, String> {
    let peer = Peer { format: "homekit", protocol: "hksv", ..Peer::default() };
    let wishes = wishes(sound);
    match stream.attach(&wishes, Join::Live, peer).await {
        Ok(reader) => Held::new(reader),
        Err(error) => Err(error.to_string()),
    }
}

impl Held {
    fn new(reader: Reader) -> Result<Held, String> {
        let of =
            |kind| (0..reader.len()).filter_map(|at| reader.track(at)).find(|t| t.kind() == kind).cloned();
        let pictures = of(Kind::Video).ok_or("it has sound and no H264 pictures")?;
        let sound = of(Kind::Audio);
        let keep = pictures.keep(PREBUFFER + LATE);
        if let Some(sound) = &sound {
            sound.follow(&pictures);
        }
        Ok(Held { reader, tracks: Tracks { pictures, sound }, _keep: keep })
    }

    /// Why its tracks are no more.
    fn closed(&self) -> Option<Close> {
        let Tracks { pictures, sound } = &self.tracks;
        let ended = pictures.is_closed() || sound.as_ref().is_some_and(|s| s.is_closed());
        self.reader.viewer().closed().or(ended.then_some(Close::Ended))
    }
}

/// Looks that there are key frames often enough, until the tracks are no more; or once at what the pictures
/// are.
async fn watch(recording: &Weak<Recording>, held: &Held, once: bool) -> Option<Close> {
    let mut turns = 0u32;
    loop {
        Timer::after(LOOK).await;
        turns += 1;
        let over = recording.upgrade()?.inspect(held, once, turns);
        if over.is_some() {
            return over;
        }
    }
}

impl Recording {
    fn inspect(&self, held: &Held, once: bool, turns: u32) -> Option<Close> {
        let closed = held.closed();
        if closed.is_some() {
            return closed;
        }
        let pictures = &held.tracks.pictures;
        let known = (once || turns % SELDOM == 1) && self.look(pictures);
        if known && once {
            return Some(Close::Shutdown);
        }
        let age = {
            let ring = pictures.ring();
            let times = ring.newest().zip(ring.last_key().and_then(|key| ring.meta(key)));
            times.map_or(Duration::ZERO, |(newest, key)| newest.decode.since(key.decode))
        };
        if age > KEY_AGE {
            pictures.ask_key();
        }
        if age > APART {
            self.sparse.set(Some(clock::now()));
            let why =
                if pictures.can_ask() { "does not make one when it is asked" } else { "cannot be asked" };
            self.complain(format!(
                "its key frames are more than {} seconds apart, and it {why}: shorten its GOP to 4 seconds",
                APART.as_secs()
            ));
        } else if self.sparse.get().is_some() && !self.is_sparse() {
            self.sparse.set(None);
            self.trouble.take();
        }
        None
    }
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
