//! The life of a source: dialled when the first viewer wants it, left alone while one stays,
//! stopped when the last one goes, dialled again when it ends by itself. Its tracks outlive a
//! connection, so viewers stay attached while it reconnects.

use super::reader::{Join, Reader};
use super::speaker::Speaker;
use super::spec::SourceSpec;
use super::track::{Bounds, Inlet, Track};
use super::viewer::{Close, Peer, Viewer};
use crate::media::{Codec, Direction, Kind, Media, Time};
use crate::net::clock;
use crate::net::executor::LocalExecutor;
use crate::net::log;
use crate::net::quoted::Quoted;
use crate::net::reactor::Timer;
use crate::net::sleeper::Sleeper;
use crate::net::worker::Worker;
use async_task::Task;
use futures_lite::future;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// A future that stays on the one thread.
pub type Local<T> = Pin<Box<dyn Future<Output = T>>>;
/// The executor that everything runs on.
pub type Executor = Rc<LocalExecutor>;

/// A source has this long to say what it offers.
const DIAL: Duration = Duration::from_secs(10);
/// It is asked for a key frame at most this often.
const ASK: Duration = Duration::from_millis(200);
/// A connection that lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(5);
/// Medias that a source can offer.
const MEDIAS: usize = 16;

/// Why a source does not give what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// No module serves this scheme.
    Scheme(String),
    /// The source's text is not understood; which part, and what was expected.
    Text(String),
    /// It could not be reached or has answered wrongly.
    Dial(String),
    /// It said nothing for this long.
    Silent(Duration),
    /// The connection broke.
    Lost(String),
    /// It is allowed only in the configuration file, or not at all.
    Refused(String),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Scheme(s) => write!(f, "no module here serves sources of scheme {}", Quoted(s)),
            SourceError::Text(s) | SourceError::Dial(s) | SourceError::Lost(s) | SourceError::Refused(s) => {
                f.write_str(s)
            }
            SourceError::Silent(d) => write!(f, "no answer within {} s", d.as_secs()),
        }
    }
}

/// Makes producers out of sources; one for each scheme or family of schemes.
pub trait Connect {
    /// Dials the source and finds out what it offers.
    fn connect(&self, spec: Rc<SourceSpec>) -> Local<Result<Box<dyn Producer>, SourceError>>;

    /// Whether the text is a good one, as far as that can be told without dialling.
    fn check(&self, _spec: &SourceSpec) -> Result<(), SourceError> {
        Ok(())
    }

    /// Whether the text may come from the network: programs and files may not.
    fn is_local(&self) -> bool {
        false
    }
}

/// A connected source that knows what it offers.
pub trait Producer {
    /// How it presents itself.
    fn peer(&self) -> Peer;

    /// What it offers, and the speakers that it has.
    fn medias(&self) -> Vec<Media>;

    /// Whether it gives a key frame when asked.
    fn gives_keys(&self) -> bool {
        false
    }

    /// Feeds the tracks until it ends. Dropped when nobody is left.
    fn run(self: Box<Self>, link: Link) -> Local<Result<(), SourceError>>;
}

/// What a source is asked for while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A key frame, soon.
    Key,
    /// About this many bits per second of video.
    Bitrate(u32),
}

/// Commands on their way to a running source.
#[derive(Default)]
struct Commands {
    key: Cell<bool>,
    bitrate: Cell<Option<u32>>,
    asked: Cell<Time>,
    sleeper: Sleeper,
}

impl Commands {
    fn ask_key(&self) {
        let now = clock::now();
        if now.since(self.asked.get()) >= ASK || self.asked.get() == Time::ZERO {
            self.asked.set(now);
            self.key.set(true);
            self.sleeper.wake();
        }
    }
}

/// One media of a source, with its track or its speaker.
#[derive(Clone)]
pub enum Outlet {
    /// It sends to us.
    Track(Media, Rc<Track>),
    /// We send to it.
    Speaker(Media, Rc<Speaker>),
}

impl Outlet {
    /// What it is.
    pub fn media(&self) -> &Media {
        match self {
            Outlet::Track(m, _) | Outlet::Speaker(m, _) => m,
        }
    }
}

/// Appends a JPEG of the picture as it is now, not larger than these sides where the source can make it
/// smaller; false if there is none.
pub type MakeJpeg = Rc<dyn Fn(Sides, &mut Vec<u8>) -> bool>;

/// Width and height that a picture should have at most; the source's own, if nothing.
pub type Sides = Option<(u16, u16)>;

/// Where a source is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody wants it.
    Idle,
    /// It is being dialled.
    Dialling,
    /// It runs.
    Running,
    /// It failed and is tried again.
    Failed,
    /// It was removed, or the publisher has left.
    Gone,
}

/// A source of a stream: configured, or a publisher that came by itself.
pub struct Source {
    /// Its number in statistics.
    pub id: u32,
    /// How it is written; a publisher has none.
    pub spec: Option<Rc<SourceSpec>>,
    connect: Option<Rc<dyn Connect>>,
    executor: Executor,
    bounds: Rc<dyn Fn(Kind) -> Bounds>,
    room: Rc<Cell<usize>>,
    name: Rc<str>,
    peer: RefCell<Peer>,
    outlets: RefCell<Vec<Outlet>>,
    state: Cell<State>,
    error: RefCell<Option<SourceError>>,
    leases: Cell<usize>,
    task: RefCell<Option<Task<()>>>,
    waiting: RefCell<Vec<Waker>>,
    commands: Rc<Commands>,
    jpeg: RefCell<Option<MakeJpeg>>,
    /// Connections so far.
    pub connections: Cell<u32>,
    /// When the current connection began.
    pub since: Cell<Time>,
}

/// How long to wait before trying again after this many failures in a row.
pub fn backoff(failures: u32) -> Duration {
    Duration::from_secs(match failures {
        0..5 => 1,
        5..10 => 5,
        10..20 => 10,
        _ => 60,
    })
}

/// What a source needs of the hall.
#[derive(Clone)]
pub(super) struct Context {
    pub executor: Executor,
    pub bounds: Rc<dyn Fn(Kind) -> Bounds>,
    pub worker: Rc<Worker>,
    /// Memory is short: nobody new is let in.
    pub short: Rc<Cell<bool>>,
    /// Bytes that tracks may still take until memory is looked at again.
    pub room: Rc<Cell<usize>>,
}

impl Source {
    pub(super) fn new(
        id: u32,
        name: Rc<str>,
        spec: Option<Rc<SourceSpec>>,
        connect: Option<Rc<dyn Connect>>,
        context: Context,
    ) -> Rc<Source> {
        Rc::new(Source {
            id,
            spec,
            connect,
            executor: context.executor,
            bounds: context.bounds,
            room: context.room,
            name,
            peer: RefCell::default(),
            outlets: RefCell::default(),
            state: Cell::new(State::Idle),
            error: RefCell::default(),
            leases: Cell::new(0),
            task: RefCell::new(None),
            waiting: RefCell::default(),
            commands: Rc::default(),
            jpeg: RefCell::new(None),
            connections: Cell::new(0),
            since: Cell::new(Time::ZERO),
        })
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// How it presents itself; empty before it was first connected.
    pub fn peer(&self) -> Peer {
        self.peer.borrow().clone()
    }

    /// What went wrong last, while it is not running.
    pub fn error(&self) -> Option<SourceError> {
        self.error.borrow().clone()
    }

    /// What it offers, as far as known.
    pub fn outlets(&self) -> Vec<Outlet> {
        self.outlets.borrow().clone()
    }

    /// The tracks that it sends to us, as far as known.
    pub fn tracks(&self) -> Vec<Rc<Track>> {
        let mut tracks = Vec::new();
        for outlet in self.outlets.borrow().iter() {
            if let Outlet::Track(_, track) = outlet {
                tracks.push(track.clone());
            }
        }
        tracks
    }

    /// Whether it is a publisher.
    pub fn is_publisher(&self) -> bool {
        self.spec.is_none()
    }

    fn set_state(&self, state: State) {
        self.state.set(state);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for waker in waiting {
            waker.wake();
        }
    }

    /// Keeps it running as long as the lease lives.
    pub fn lease(self: &Rc<Source>) -> Lease {
        self.leases.set(self.leases.get() + 1);
        let asleep = self.task.borrow().as_ref().is_none_or(Task::is_finished);
        if asleep && self.connect.is_some() && self.state.get() != State::Gone {
            self.set_state(State::Dialling);
            let task = self.executor.spawn(self.clone().live());
            self.task.replace(Some(task));
        }
        Lease { source: self.clone() }
    }

    /// Waits until it is known what it offers.
    pub async fn ready(&self) -> Result<(), SourceError> {
        poll_fn(|cx| match self.state.get() {
            State::Running => Poll::Ready(Ok(())),
            // a source that lost its connection still has the tracks that will go on
            State::Failed | State::Dialling if !self.outlets.borrow().is_empty() => Poll::Ready(Ok(())),
            State::Failed => {
                let error = self.error.borrow().clone();
                Poll::Ready(Err(error.unwrap_or(SourceError::Lost("the source has ended".into()))))
            }
            State::Gone => Poll::Ready(Err(SourceError::Lost("the source was removed".into()))),
            State::Idle | State::Dialling => {
                let mut waiting = self.waiting.borrow_mut();
                if !waiting.iter().any(|w| w.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }

    fn stop(&self) {
        if self.is_publisher() || self.state.get() == State::Gone {
            return;
        }
        let task = self.task.borrow_mut().take();
        drop(task);
        let outlets = std::mem::take(&mut *self.outlets.borrow_mut());
        let jpeg = self.jpeg.borrow_mut().take();
        drop((outlets, jpeg));
        log::debug!(target: "streams", "{}: source {} stopped, nobody wants it", self.name, self.id);
        self.set_state(State::Idle);
    }

    /// Ends it for good; whoever reads it is told after the last frame.
    pub(super) fn end(&self, why: Close) {
        self.set_state(State::Gone);
        let task = self.task.borrow_mut().take();
        drop(task);
        let outlets = std::mem::take(&mut *self.outlets.borrow_mut());
        for outlet in &outlets {
            match outlet {
                Outlet::Track(_, track) => track.close(why),
                Outlet::Speaker(_, speaker) => speaker.close(why),
            }
        }
    }

    async fn live(self: Rc<Source>) {
        let Some((connect, spec)) = self.connect.clone().zip(self.spec.clone()) else { return };
        let mut failures = 0;
        loop {
            self.set_state(State::Dialling);
            let dialled = future::or(async { Some(connect.connect(spec.clone()).await) }, async {
                Timer::after(DIAL).await;
                None
            });
            let error = match dialled.await.unwrap_or(Err(SourceError::Silent(DIAL))) {
                Ok(producer) => {
                    self.describe(producer.as_ref());
                    self.connections.set(self.connections.get() + 1);
                    let began = clock::now();
                    self.since.set(began);
                    self.error.replace(None);
                    log::debug!(target: "streams", "{}: source {} connected", self.name, self.id);
                    self.set_state(State::Running);
                    let link = Link { source: self.clone() };
                    let ended = producer.run(link).await;
                    if clock::now().since(began) >= GOOD {
                        failures = 0;
                    }
                    if ended.is_ok() && self.is_played_out() {
                        // a file: whoever comes next gets it from the beginning
                        self.outlets.replace(Vec::new());
                        self.set_state(State::Idle);
                        return;
                    }
                    ended.err().unwrap_or(SourceError::Lost("the source has ended".into()))
                }
                Err(error) => error,
            };
            log::warn!(target: "streams", "{}: source {}: {error}", self.name, self.id);
            self.error.replace(Some(error));
            self.set_state(State::Failed);
            // the first viewers hear of the failure and go; only who stays is reconnected
            future::yield_now().await;
            Timer::after(backoff(failures)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Whether the producer has closed all its tracks: there is nothing more to come.
    fn is_played_out(&self) -> bool {
        self.outlets.borrow().iter().all(|o| match o {
            Outlet::Track(_, track) => track.is_closed(),
            Outlet::Speaker(..) => true,
        })
    }

    /// Takes over what the producer offers, on the tracks of the connection before where they fit.
    fn describe(&self, producer: &dyn Producer) {
        let peer = producer.peer();
        self.peer.replace(peer);
        self.jpeg.replace(None);
        let old = std::mem::take(&mut *self.outlets.borrow_mut());
        let outlets = self.places(producer.medias(), old);
        if producer.gives_keys() {
            for outlet in &outlets {
                if let Outlet::Track(_, track) = outlet
                    && track.codec().id.has_key_frames()
                {
                    let commands = self.commands.clone();
                    track.set_ask(Some(Rc::new(move || commands.ask_key())));
                }
            }
        }
        self.outlets.replace(outlets);
    }

    /// Sets up a publisher's tracks.
    pub(super) fn open_publisher(self: &Rc<Source>, peer: Peer, medias: Vec<Media>) -> Link {
        self.peer.replace(peer);
        self.outlets.replace(self.places(medias, Vec::new()));
        self.since.set(clock::now());
        self.set_state(State::Running);
        Link { source: self.clone() }
    }

    /// Appends a JPEG of the picture as it is now, if the source makes them itself; false if not.
    pub fn jpeg(&self, most: Sides, out: &mut Vec<u8>) -> bool {
        let make = self.jpeg.borrow().clone();
        make.is_some_and(|make| make(most, out))
    }

    /// Whether the source makes JPEGs itself.
    pub fn makes_jpeg(&self) -> bool {
        self.jpeg.borrow().is_some()
    }

    /// Asks for about this many bits per second of video; false if it cannot be asked.
    pub fn ask_bitrate(&self, bits: u32) -> bool {
        self.commands.bitrate.set(Some(bits));
        self.commands.sleeper.wake();
        self.state.get() == State::Running
    }
}

impl Source {
    /// The places for what a producer has; each takes its memory from the room of all.
    fn places(&self, medias: Vec<Media>, old: Vec<Outlet>) -> Vec<Outlet> {
        let outlets = outlets(medias, old, &*self.bounds);
        for outlet in &outlets {
            match outlet {
                Outlet::Track(_, track) => track.share(&self.room),
                Outlet::Speaker(_, speaker) => speaker.track().share(&self.room),
            }
        }
        outlets
    }
}

fn outlets(medias: Vec<Media>, mut old: Vec<Outlet>, bounds: &dyn Fn(Kind) -> Bounds) -> Vec<Outlet> {
    let mut leader: Option<Rc<Track>> = None;
    let mut outlets = Vec::new();
    for media in medias.into_iter().take(MEDIAS) {
        let Some(codec) = media.codecs.first().cloned() else { continue };
        let same = old.iter().position(|o| match o {
            Outlet::Track(m, t) => {
                m.direction == media.direction && t.codec().id == codec.id && !t.is_closed()
            }
            Outlet::Speaker(m, _) => m.direction == media.direction && m.codecs == media.codecs,
        });
        let outlet = match (same.map(|at| old.remove(at)), media.direction) {
            (Some(Outlet::Track(_, track)), _) => {
                if !codec.extra.is_empty() {
                    // the new connection may say something else of the same codec
                    Inlet::again(&track).set_codec(codec);
                }
                Outlet::Track(media, track)
            }
            (Some(Outlet::Speaker(_, speaker)), _) => Outlet::Speaker(media, speaker),
            (None, Direction::RecvOnly) => {
                let bounds = bounds(codec.kind());
                Outlet::Track(media, Track::new(codec, bounds).0)
            }
            (None, Direction::SendOnly) => {
                let speaker = Speaker::new(media.codecs.clone(), bounds(Kind::Audio));
                Outlet::Speaker(media, Rc::new(speaker))
            }
        };
        if let Outlet::Track(_, track) = &outlet {
            match &leader {
                None if track.kind() == Kind::Video => leader = Some(track.clone()),
                Some(leader) if track.kind() != Kind::Video => track.follow(leader),
                _ => {}
            }
        }
        outlets.push(outlet);
    }
    // what the new connection has no more ends for those who still read it
    for outlet in old {
        match outlet {
            Outlet::Track(_, track) => track.close(Close::Ended),
            Outlet::Speaker(_, speaker) => speaker.close(Close::Ended),
        }
    }
    outlets
}

/// Keeps a source running.
pub struct Lease {
    source: Rc<Source>,
}

impl Lease {
    /// The source it keeps.
    pub fn source(&self) -> &Rc<Source> {
        &self.source
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let left = self.source.leases.get().saturating_sub(1);
        self.source.leases.set(left);
        if left == 0 {
            self.source.stop();
        }
    }
}

/// A running source's side of its tracks.
pub struct Link {
    source: Rc<Source>,
}

impl Link {
    /// The way into the track of the media at this place.
    pub fn inlet(&self, at: usize) -> Option<Inlet> {
        match self.source.outlets.borrow().get(at) {
            Some(Outlet::Track(_, track)) => Some(Inlet::again(track)),
            _ => None,
        }
    }

    /// What is said into the speaker of the media at this place.
    pub fn speaker(&self, at: usize) -> Option<Reader> {
        match self.source.outlets.borrow().get(at) {
            Some(Outlet::Speaker(_, speaker)) => {
                let viewer = Viewer::unlisted("speaker", "");
                Some(Reader::new(vec![speaker.track().clone()], Join::Live, viewer))
            }
            _ => None,
        }
    }

    /// Offers JPEGs of the picture, made when somebody asks.
    pub fn offer_jpeg(&self, make: MakeJpeg) {
        self.source.jpeg.replace(Some(make));
    }

    /// The stream's name, for the log.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// The source's number, for the log.
    pub fn id(&self) -> u32 {
        self.source.id
    }

    /// The executor, for a producer that has several things to do at once.
    pub fn executor(&self) -> &Executor {
        &self.source.executor
    }

    /// What the source is asked for next.
    pub async fn command(&self) -> Command {
        let commands = &self.source.commands;
        poll_fn(|cx| {
            if commands.key.take() {
                return Poll::Ready(Command::Key);
            }
            if let Some(bits) = commands.bitrate.take() {
                return Poll::Ready(Command::Bitrate(bits));
            }
            commands.sleeper.wait(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// A command that is waiting now.
    pub fn poll_command(&self) -> Option<Command> {
        let commands = &self.source.commands;
        if commands.key.take() {
            return Some(Command::Key);
        }
        commands.bitrate.take().map(Command::Bitrate)
    }
}

/// What sources send to us, as [`codec_list`] prints it.
pub fn offered(sources: &[Rc<Source>]) -> String {
    let mut codecs = Vec::new();
    for source in sources {
        for outlet in source.outlets.borrow().iter() {
            if let Outlet::Track(media, _) = outlet {
                codecs.extend_from_slice(&media.codecs);
            }
        }
    }
    codec_list(&codecs)
}

/// Codecs as the predecessor prints them: `video:H264, audio:PCMA`.
pub fn codec_list(codecs: &[Codec]) -> String {
    let mut text = String::new();
    for codec in codecs {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(codec.kind().name());
        text.push(':');
        text.push_str(codec.id.name());
    }
    text
}
