//! A stream: a name, its sources in order, and who watches. Matching happens here: for each thing a
//! viewer wants, the sources are asked in order, and dialled only when their turn comes.

use super::reader::{Join, Reader, Step};
use super::source::{Context, Lease, Link, Outlet, Sides, Source, SourceError, State, codec_list, offered};
use super::speaker::{Talk, Voice};
use super::spec::SourceSpec;
use super::track::Track;
use super::transcode::{Derived, derive};
use super::viewer::{Close, Peer, Viewer};
use crate::media::{Codec, CodecId, Kind, Media};
use crate::net::clock;
use crate::net::lists::drop_where;
use crate::net::log;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// What a holder is called among the viewers: it keeps sources running and sees nothing.
const HOLDER: &str = "preload";

/// A source that makes JPEGs is asked so often, every 20 ms, for its first.
const PICTURE_TRIES: u32 = 50;

/// Why a stream is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// Nobody shall see anything.
    Privacy = 1,
    /// Its owner has switched it off for all.
    Owner = 2,
}

/// One thing that a viewer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Video, sound or data.
    pub kind: Kind,
    /// Any of these codecs, best first; empty for any at all.
    pub codecs: Vec<Codec>,
    /// Not the first match but every track that matches.
    pub all: bool,
}

impl Wish {
    /// The first track of a kind, whatever its codec.
    pub fn any(kind: Kind) -> Wish {
        Wish { kind, codecs: Vec::new(), all: false }
    }

    fn takes(&self, codec: &Codec) -> bool {
        codec.kind() == self.kind && (self.codecs.is_empty() || self.codecs.iter().any(|w| codec.serves(w)))
    }
}

/// Why a viewer gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// The stream has no source, and nobody publishes into it now.
    NoSource,
    /// None of the sources could be used; what each of them said.
    Sources(Vec<SourceError>),
    /// The sources have other codecs: what there is, and what was wanted.
    Codecs {
        /// What the sources have.
        offered: String,
        /// What was asked for.
        wanted: String,
    },
    /// The bound on viewers of a stream is reached.
    Full(usize),
    /// `memory.limit` is reached.
    Memory,
    /// The camera is switched off: nobody may see or hear anything.
    Off,
    /// Somebody else speaks.
    Busy,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::NoSource => {
                f.write_str("streams: no source, and nobody publishes into this stream now")
            }
            AttachError::Sources(errors) => {
                f.write_str("streams: ")?;
                for (at, error) in errors.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{error}")?;
                }
                Ok(())
            }
            AttachError::Codecs { offered, wanted } => {
                write!(f, "streams: codecs not matched: {offered} => {wanted}")
            }
            AttachError::Full(n) => write!(f, "streams: {n} viewers are the most that one stream serves"),
            AttachError::Memory => f.write_str("streams: memory.limit is reached, nobody new is let in"),
            AttachError::Off => f.write_str("streams: the camera is switched off"),
            AttachError::Busy => f.write_str("streams: somebody else speaks to this camera"),
        }
    }
}

/// A named stream.
pub struct Stream {
    name: Rc<str>,
    context: Context,
    ids: Rc<Cell<u32>>,
    aliases: RefCell<Vec<String>>,
    sources: RefCell<Vec<Rc<Source>>>,
    viewers: RefCell<Vec<Weak<Viewer>>>,
    derived: RefCell<Vec<Weak<Derived>>>,
    gone: Cell<bool>,
    /// Who has switched it off, as bits.
    off: Cell<u8>,
    max_viewers: usize,
    /// What is being played to its speaker.
    pub(super) playing: RefCell<Option<async_task::Task<()>>>,
}

impl Stream {
    pub(super) fn new(name: &str, context: Context, ids: Rc<Cell<u32>>, max_viewers: usize) -> Rc<Stream> {
        Rc::new(Stream {
            name: Rc::from(name),
            context,
            ids,
            aliases: RefCell::default(),
            sources: RefCell::default(),
            viewers: RefCell::default(),
            derived: RefCell::default(),
            gone: Cell::new(false),
            off: Cell::new(0),
            max_viewers,
            playing: RefCell::new(None),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Other names for it.
    pub fn aliases(&self) -> Vec<String> {
        self.aliases.borrow().clone()
    }

    /// Gives it other names; one that another stream has is that stream's.
    pub fn set_aliases(&self, aliases: Vec<String>) {
        self.aliases.replace(aliases);
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        self.aliases.borrow().iter().any(|a| a == name)
    }

    /// Its sources, configured ones first, then publishers.
    pub fn sources(&self) -> Vec<Rc<Source>> {
        self.sources.borrow().clone()
    }

    /// Who watches now.
    pub fn viewers(&self) -> Vec<Rc<Viewer>> {
        drop_where(&mut self.viewers.borrow_mut(), |v| v.strong_count() == 0);
        self.viewers.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn context(&self) -> Context {
        self.context.clone()
    }

    pub(super) fn next_id(&self) -> u32 {
        let id = self.ids.get().wrapping_add(1).max(1);
        self.ids.set(id);
        id
    }

    pub(super) fn set_sources(&self, wanted: Vec<Rc<Source>>) {
        let old = std::mem::take(&mut *self.sources.borrow_mut());
        let mut sources = wanted;
        let mut ended = Vec::new();
        for source in old {
            if sources.iter().any(|s| Rc::ptr_eq(s, &source)) {
                continue;
            }
            if source.is_publisher() && source.state() != State::Gone {
                sources.push(source);
            } else {
                ended.push(source);
            }
        }
        self.sources.replace(sources);
        for source in ended {
            source.end(Close::Replaced);
        }
    }

    /// Ends the stream: its sources, its viewers.
    pub(super) fn end(&self, why: Close) {
        self.gone.set(true);
        let playing = self.playing.borrow_mut().take();
        drop(playing);
        for viewer in self.viewers() {
            viewer.close(why);
        }
        let sources = std::mem::take(&mut *self.sources.borrow_mut());
        for source in sources {
            source.end(why);
        }
    }

    /// Switches it off for one of several reasons, or no longer for that one. While it is off nobody new
    /// is let in, and whoever is in has to go; what keeps its sources running stays.
    pub fn switch(&self, why: Off, off: bool) {
        let was = self.off.get();
        let now = if off { was | why as u8 } else { was & !(why as u8) };
        self.off.set(now);
        if was == 0 && now != 0 {
            for viewer in self.viewers().into_iter().filter(|v| v.peer.format != HOLDER) {
                viewer.close(Close::Off);
            }
        }
    }

    /// Whether it is switched off.
    pub fn is_off(&self) -> bool {
        self.off.get() != 0
    }

    /// Whether somebody of that kind may come in.
    fn open(&self, format: &str) -> Result<(), AttachError> {
        if self.viewers().len() >= self.max_viewers {
            return Err(AttachError::Full(self.max_viewers));
        }
        if self.context.short.get() {
            return Err(AttachError::Memory);
        }
        if self.is_off() && format != HOLDER { Err(AttachError::Off) } else { Ok(()) }
    }

    /// Sends a viewer away; false if there is none with this number.
    pub fn kick(&self, id: u32) -> bool {
        let found = self.viewers().into_iter().find(|v| v.id == id);
        found.is_some_and(|v| {
            v.close(Close::Kicked);
            true
        })
    }

    /// Puts somebody on the list of viewers, for readers that are made one by one.
    pub fn enter(&self, peer: Peer) -> Result<Rc<Viewer>, AttachError> {
        if self.gone.get() {
            return Err(AttachError::NoSource);
        }
        self.open(peer.format)?;
        let viewer = Rc::new(Viewer::new(self.next_id(), peer));
        self.viewers.borrow_mut().push(Rc::downgrade(&viewer));
        Ok(viewer)
    }

    /// Finds the tracks for a viewer, dialling sources as they are needed. Each wish that can be
    /// met is met; it is an error only if none can.
    pub async fn attach(
        self: &Rc<Stream>,
        wishes: &[Wish],
        join: Join,
        peer: Peer,
    ) -> Result<Reader, AttachError> {
        self.open(peer.format)?;
        let found = self.find(wishes, &peer.source).await?;
        let viewer = self.enter(peer)?;
        let mut reader = Reader::new(found.tracks, join, viewer);
        reader.keep(found.keeps);
        Ok(reader)
    }

    /// Finds the tracks that match, dialling sources as they are needed; never those of the source
    /// `own`.
    pub async fn find(self: &Rc<Stream>, wishes: &[Wish], own: &str) -> Result<Found, AttachError> {
        let mut search = Search::new(self.sources(), own)?;
        for wish in wishes {
            let before = search.tracks.len();
            for at in 0..search.places.len() {
                if let Some(source) = search.dial(at) {
                    let ready = source.ready().await;
                    search.dialled(at, ready);
                }
                if search.take(at, wish) {
                    break;
                }
            }
            if search.tracks.len() == before && wish.kind == Kind::Audio {
                self.convert(wish, &mut search);
            }
        }
        search.end(wishes)
    }

    /// Sound that no source has but that can be made from what they have.
    #[inline(never)]
    fn convert(&self, wish: &Wish, search: &mut Search) {
        drop_where(&mut self.derived.borrow_mut(), |d| d.strong_count() == 0);
        for wanted in &wish.codecs {
            for place in &search.places {
                if place.lease.is_none() {
                    continue;
                }
                for track in place.source.tracks() {
                    if track.kind() != Kind::Audio {
                        continue;
                    }
                    match self.derive(&place.source, track, wanted) {
                        Ok(derived) => {
                            search.tracks.push(derived.track.clone());
                            search.keeps.push(Box::new(derived));
                            return;
                        }
                        Err(error) => log::debug!(target: "streams", "{}: {error}", self.name),
                    }
                }
            }
        }
    }

    /// This track's sound in another codec, made once for all who want it.
    #[inline(never)]
    fn derive(&self, source: &Rc<Source>, track: Rc<Track>, wanted: &Codec) -> Result<Rc<Derived>, String> {
        let has = track.codec();
        let mut wanted = wanted.clone();
        if wanted.rate == 0 {
            wanted.rate = has.rate;
        }
        if wanted.channels == 0 {
            wanted.channels = has.channels;
        }
        for known in self.derived.borrow().iter().filter_map(Weak::upgrade) {
            if Rc::ptr_eq(&known.from, &track) && known.wanted == wanted && !known.track.is_closed() {
                return Ok(known);
            }
        }
        let derived =
            derive(&self.context, track, wanted, source.lease()).map_err(|e| format!("{has}: {e}"))?;
        self.derived.borrow_mut().push(Rc::downgrade(&derived));
        Ok(derived)
    }

    /// Finds a speaker that takes one of these codecs (any, if none is named), and takes it.
    pub async fn talk(
        self: &Rc<Stream>,
        codecs: &[Codec],
        voice: Voice,
    ) -> Result<(Talk, Lease), AttachError> {
        let mut errors = Vec::new();
        let mut offered = Vec::new();
        for source in self.sources() {
            let lease = source.lease();
            if let Err(error) = source.ready().await {
                errors.push(error);
                continue;
            }
            for outlet in source.outlets() {
                let Outlet::Speaker(media, speaker) = outlet else { continue };
                let fits = |c: &&Codec| codecs.is_empty() || codecs.iter().any(|w| c.serves(w));
                let Some(codec) = speaker.codecs().iter().find(fits) else {
                    offered.extend(media.codecs);
                    continue;
                };
                let talk = speaker.talk(voice, codec.clone(), clock::now()).ok_or(AttachError::Busy)?;
                return Ok((talk, lease));
            }
        }
        if !errors.is_empty() {
            return Err(AttachError::Sources(errors));
        }
        let offered = if offered.is_empty() { "no speaker".into() } else { codec_list(&offered) };
        Err(AttachError::Codecs { offered, wanted: codec_list(codecs) })
    }

    /// A JPEG of the picture as it is now, from a source that makes them or sends them; not larger than
    /// that where the source can make it smaller, for nothing is decoded here.
    pub async fn jpeg(self: &Rc<Stream>, most: Sides) -> Result<Vec<u8>, AttachError> {
        if self.is_off() {
            return Err(AttachError::Off);
        }
        let mut errors = Vec::new();
        let mut out = Vec::new();
        for source in self.sources() {
            let lease = source.lease();
            if let Err(error) = source.ready().await {
                errors.push(error);
                continue;
            }
            // the source has said what it offers; give it the time to take a picture
            for _ in 0..PICTURE_TRIES {
                out.clear();
                if source.jpeg(most, &mut out) {
                    return Ok(out);
                }
                if !source.makes_jpeg() {
                    break;
                }
                crate::net::reactor::Timer::after(Duration::from_millis(20)).await;
            }
            drop(lease);
        }
        let wish = Wish { kind: Kind::Video, codecs: vec![Codec::new(CodecId::Jpeg)], all: false };
        let mut reader =
            match self.attach(&[wish], Join::Live, Peer { format: "jpeg", ..Peer::default() }).await {
                Ok(reader) => reader,
                Err(AttachError::Codecs { .. } | AttachError::NoSource) if !errors.is_empty() => {
                    return Err(AttachError::Sources(errors));
                }
                Err(error) => return Err(error),
            };
        loop {
            match reader.next().await {
                Step::Frame(at) => {
                    if let Some(shown) = reader.frame(at) {
                        return Ok(shown.data.to_vec());
                    }
                }
                Step::Codec(..) => {}
                Step::Closed(_) => return Err(AttachError::NoSource),
            }
        }
    }

    /// Opens the stream to a publisher. Its tracks join the matching until it leaves.
    pub fn publish(self: &Rc<Stream>, peer: Peer, medias: Vec<Media>) -> Publication {
        let source = Source::new(self.next_id(), self.name.clone(), None, None, self.context());
        let link = source.open_publisher(peer, medias);
        self.sources.borrow_mut().push(source.clone());
        Publication { link, source, stream: Rc::downgrade(self) }
    }

    /// Keeps what matches these wishes running without a viewer, until the holder is dropped: tried
    /// again as long as it fails.
    pub fn hold(self: &Rc<Stream>, wishes: Vec<Wish>) -> Holder {
        let stream = Rc::downgrade(self);
        let executor = self.context.executor.clone();
        let task = executor.spawn(async move {
            let mut failures = 0;
            while let Some(stream) = stream.upgrade() {
                let peer = Peer { format: HOLDER, ..Peer::default() };
                let name = stream.name.clone();
                match stream.attach(&wishes, Join::Live, peer).await {
                    Ok(reader) => {
                        drop(stream);
                        failures = 0;
                        if hold_on(&reader).await == Close::Shutdown {
                            return;
                        }
                    }
                    Err(error) => {
                        drop(stream);
                        log::warn!(target: "streams", "{name}: {HOLDER}: {error}");
                        failures += 1;
                    }
                }
                crate::net::reactor::Timer::after(super::source::backoff(failures)).await;
            }
        });
        Holder { _task: task }
    }
}

/// Waits until what a holder holds is over; it reads no frame meanwhile.
async fn hold_on(reader: &Reader) -> Close {
    loop {
        let gone = async { Some(reader.viewer().gone().await) };
        let tick = async {
            crate::net::reactor::Timer::after(Duration::from_secs(5)).await;
            None
        };
        if let Some(why) = futures_lite::future::or(gone, tick).await {
            return why;
        }
        if (0..reader.len()).any(|at| reader.track(at).is_some_and(|t| t.is_closed())) {
            return Close::Ended;
        }
    }
}

/// A source among those that are searched.
struct Searched {
    source: Rc<Source>,
    /// Keeps it, once it was dialled.
    lease: Option<Lease>,
    /// Nothing can be had of it.
    failed: bool,
    /// Something was taken.
    used: bool,
}

/// The sources of a stream while tracks of theirs are looked for.
struct Search {
    places: Vec<Searched>,
    tracks: Vec<Rc<Track>>,
    keeps: Vec<Box<dyn Any>>,
    errors: Vec<SourceError>,
}

impl Search {
    fn new(sources: Vec<Rc<Source>>, own: &str) -> Result<Search, AttachError> {
        if sources.is_empty() {
            return Err(AttachError::NoSource);
        }
        let mut places = Vec::new();
        for source in sources {
            let failed = !own.is_empty() && source.spec.as_ref().is_some_and(|s| s.text() == own);
            places.push(Searched { source, lease: None, failed, used: false });
        }
        Ok(Search { places, tracks: Vec::new(), keeps: Vec::new(), errors: Vec::new() })
    }

    /// Has a source dialled, if that was not tried yet: it is to be waited for.
    fn dial(&mut self, at: usize) -> Option<Rc<Source>> {
        let place = self.places.get_mut(at).filter(|p| !p.failed && p.lease.is_none())?;
        place.lease = Some(place.source.lease());
        Some(place.source.clone())
    }

    fn dialled(&mut self, at: usize, ready: Result<(), SourceError>) {
        let (Err(error), Some(place)) = (ready, self.places.get_mut(at)) else { return };
        (place.failed, place.lease) = (true, None);
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Takes what is wished for; whether nothing more is.
    fn take(&mut self, at: usize, wish: &Wish) -> bool {
        let Some(place) = self.places.get_mut(at).filter(|p| !p.failed) else { return false };
        for track in place.source.tracks() {
            if wish.takes(&track.codec()) && !self.tracks.iter().any(|t| Rc::ptr_eq(t, &track)) {
                self.tracks.push(track);
                place.used = true;
                if !wish.all {
                    return true;
                }
            }
        }
        false
    }

    /// What was found; or why there is nothing.
    #[inline(never)]
    fn end(mut self, wishes: &[Wish]) -> Result<Found, AttachError> {
        if self.tracks.is_empty() {
            return Err(self.nothing(wishes));
        }
        for place in self.places {
            if let Some(lease) = place.lease.filter(|_| place.used) {
                self.keeps.push(Box::new(lease));
            }
        }
        Ok(Found { tracks: self.tracks, keeps: self.keeps })
    }

    #[inline(never)]
    fn nothing(self, wishes: &[Wish]) -> AttachError {
        if !self.errors.is_empty() {
            return AttachError::Sources(self.errors);
        }
        let mut wanted = String::new();
        for wish in wishes {
            if !wanted.is_empty() {
                wanted.push_str(", ");
            }
            wanted.push_str(&codec_list(&wish.codecs));
            if wish.codecs.is_empty() {
                wanted.push_str(wish.kind.name());
                wanted.push_str(":ANY");
            }
        }
        // while they are kept: a source that was dialled for this offers nothing afterwards
        let sources: Vec<Rc<Source>> = self.places.iter().map(|p| p.source.clone()).collect();
        AttachError::Codecs { offered: offered(&sources), wanted }
    }
}

/// Tracks that match some wishes.
pub struct Found {
    /// The tracks, in the order of the wishes.
    pub tracks: Vec<Rc<Track>>,
    /// What keeps them running; [`Reader::keep`] takes it.
    pub keeps: Vec<Box<dyn Any>>,
}

/// Keeps sources running; let go of by dropping.
pub struct Holder {
    _task: async_task::Task<()>,
}

/// A publisher's place in a stream; left by dropping.
pub struct Publication {
    link: Link,
    source: Rc<Source>,
    stream: Weak<Stream>,
}

impl Publication {
    /// The ways into its tracks.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Its place in the statistics.
    pub fn source(&self) -> &Rc<Source> {
        &self.source
    }

    /// Whether the stream has been taken away.
    pub fn is_over(&self) -> bool {
        self.source.state() == State::Gone
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.upgrade() {
            drop_where(&mut stream.sources.borrow_mut(), |s| Rc::ptr_eq(s, &self.source));
        }
        self.source.end(Close::Ended);
    }
}

/// Reads a source's text for a stream.
pub fn parse_sources(texts: &[String]) -> Result<Vec<SourceSpec>, SourceError> {
    texts.iter().map(|t| SourceSpec::parse(t).map_err(|e| SourceError::Text(e.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::executor::LocalExecutor;
    use crate::stream::{Bounds, Hall};

    #[test]
    fn a_stream_that_is_off_lets_nobody_in_and_sends_away_who_watches() {
        let executor = Rc::new(LocalExecutor::new());
        let hall = Hall::new(executor.clone(), Rc::new(Bounds::usual));
        let stream = hall.set("cam", vec![]).unwrap();
        let publication = stream.publish(Peer::default(), vec![Media::recv(Codec::new(CodecId::H264))]);
        let holder = stream.hold(vec![Wish::any(Kind::Video)]);
        let wishes = [Wish::any(Kind::Video)];
        let attach = || {
            let come = stream.attach(&wishes, Join::Live, Peer::default());
            executor.block_on(come).unwrap()
        };
        let viewer = attach().unwrap();
        let both = async {
            while stream.viewers().len() < 2 {
                futures_lite::future::yield_now().await;
            }
        };
        executor.block_on(both).unwrap();
        stream.switch(Off::Owner, true);
        stream.switch(Off::Privacy, true);
        assert_eq!(viewer.viewer().closed(), Some(Close::Off));
        assert_eq!(attach().err(), Some(AttachError::Off));
        assert_eq!(executor.block_on(stream.jpeg(None)).unwrap(), Err(AttachError::Off));
        // what keeps its sources running stays
        let stay = |s: &Rc<Stream>| s.viewers().iter().filter(|v| v.closed().is_none()).count();
        assert_eq!(stay(&stream), 1);
        stream.switch(Off::Owner, false);
        assert_eq!(attach().err(), Some(AttachError::Off), "one reason is left");
        stream.switch(Off::Privacy, false);
        assert!(attach().is_ok());
        drop((holder, publication));
    }
}
