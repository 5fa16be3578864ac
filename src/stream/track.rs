//! One track: the ring that its source fills, the codec it has now, and who waits for frames.
//! A source writes through the one [`Inlet`]; readers hold the track and a number. Waking is all
//! that a new frame costs beside its one copy.

use super::ring::{Meta, Ring, TooBig};
use super::viewer::Close;
use crate::media::{Codec, CodecId, Kind, Time};
use crate::net::lists::drop_where;
use crate::net::log;
use std::cell::{Cell, Ref, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Duration;

/// Codec descriptions that frames in the ring may still need.
const CONFIGS: usize = 8;

/// What a track counts.
#[derive(Debug, Default)]
pub struct TrackStats {
    /// Bytes of media written.
    pub bytes: Cell<u64>,
    /// Frames written.
    pub frames: Cell<u64>,
    /// Packets received, where the source has packets.
    pub packets: Cell<u64>,
    /// Frames refused: too large, or not decodable for want of a key frame.
    pub refused: Cell<u64>,
}

/// How much a track may and has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of media at the most.
    pub limit: usize,
    /// Time before now that has to be there, beside the last group of pictures.
    pub keep: Duration,
}

impl Bounds {
    /// Bounds for a kind of track where nothing else is configured.
    pub const fn usual(kind: Kind) -> Bounds {
        match kind {
            Kind::Video => Bounds { limit: 4 << 20, keep: Duration::ZERO },
            Kind::Audio => Bounds { limit: 512 << 10, keep: Duration::from_secs(1) },
            Kind::Data => Bounds { limit: 64 << 10, keep: Duration::from_secs(1) },
        }
    }
}

struct Config {
    number: u32,
    codec: Rc<Codec>,
}

/// Is told the number of a frame that is waited for with patience.
pub type Bell = Rc<dyn Fn(u64)>;

/// A track of a stream.
pub struct Track {
    kind: Kind,
    ring: RefCell<Ring>,
    /// Time that is kept whoever asks, and what others ask for.
    least: Cell<Duration>,
    keeps: RefCell<Vec<Weak<Duration>>>,
    configs: RefCell<Vec<Config>>,
    wakers: RefCell<Vec<Seat>>,
    /// Told of a frame that somebody waits for who has patience.
    bell: RefCell<Option<Bell>>,
    /// Frames before this one are waited for no longer.
    ripe: Cell<u64>,
    readers: Cell<usize>,
    closed: Cell<Option<Close>>,
    /// What the newest codec says of key frames: asked for by every reader and frame.
    keyed: Cell<bool>,
    /// The pictures that this track's sound belongs to.
    leader: RefCell<Weak<Track>>,
    /// Asks the source for a key frame.
    ask: RefCell<Option<Rc<dyn Fn()>>>,
    /// What it counts.
    pub stats: TrackStats,
}

#[derive(Default)]
struct Seat {
    taken: bool,
    /// Is not woken by a frame from this one on, but when it is told that there was time enough.
    patient: Option<u64>,
    waker: Option<Waker>,
}

impl Track {
    /// An empty track; frames come through its inlet.
    pub fn new(codec: Codec, bounds: Bounds) -> (Rc<Track>, Inlet) {
        let kind = codec.kind();
        let track = Rc::new(Track {
            kind,
            keyed: Cell::new(codec.id.has_key_frames()),
            ring: RefCell::new(Ring::new(bounds.limit, bounds.keep)),
            least: Cell::new(bounds.keep),
            keeps: RefCell::default(),
            configs: RefCell::new(vec![Config { number: 0, codec: Rc::new(codec) }]),
            wakers: RefCell::new(Vec::new()),
            bell: RefCell::new(None),
            ripe: Cell::new(0),
            readers: Cell::new(0),
            closed: Cell::new(None),
            leader: RefCell::new(Weak::new()),
            ask: RefCell::new(None),
            stats: TrackStats::default(),
        });
        let inlet = Inlet::new(&track);
        (track, inlet)
    }

    /// Video, sound or data.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The codec that the next frame will have.
    pub fn codec(&self) -> Rc<Codec> {
        let configs = self.configs.borrow();
        match configs.last() {
            Some(c) => c.codec.clone(),
            None => Rc::new(Codec::new(CodecId::Raw)),
        }
    }

    /// Whether its frames depend on each other, so that decoding can only begin at some of them.
    pub fn has_key_frames(&self) -> bool {
        self.keyed.get()
    }

    /// The codec description with this number, if a frame in the ring may still need it.
    pub fn config(&self, number: u32) -> Option<Rc<Codec>> {
        self.configs.borrow().iter().find(|c| c.number == number).map(|c| c.codec.clone())
    }

    /// The number of the newest codec description.
    pub fn config_number(&self) -> u32 {
        self.configs.borrow().last().map_or(0, |c| c.number)
    }

    /// The ring, to look at. Not to be held while anything is awaited or called back.
    pub fn ring(&self) -> Ref<'_, Ring> {
        self.ring.borrow()
    }

    /// A frame in place, if it is still there.
    pub fn frame(&self, seq: u64) -> Option<(Meta, Ref<'_, [u8]>)> {
        let mut meta = None;
        let data = Ref::filter_map(self.ring.borrow(), |ring| {
            let frame = ring.get(seq)?;
            meta = Some(frame.meta);
            Some(frame.data)
        });
        meta.zip(data.ok())
    }

    /// Whether anybody reads it.
    pub fn is_read(&self) -> bool {
        self.readers.get() > 0
    }

    /// How many read it.
    pub fn readers(&self) -> usize {
        self.readers.get()
    }

    /// Whether no more frames will come.
    pub fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// Why no more frames will come.
    pub fn closed(&self) -> Option<Close> {
        self.closed.get()
    }

    /// When the newest frame was written, by the clock its times are in.
    pub fn newest(&self) -> Option<Time> {
        self.ring.borrow().newest().map(|m| m.time)
    }

    /// Asks the source for a key frame; false if it cannot be asked.
    pub fn ask_key(&self) -> bool {
        let ask = self.ask.borrow().clone();
        match ask {
            Some(ask) => {
                ask();
                true
            }
            None => false,
        }
    }

    /// Whether the source gives a key frame when asked.
    pub fn can_ask(&self) -> bool {
        self.ask.borrow().is_some()
    }

    /// Says how the source is asked for a key frame.
    pub fn set_ask(&self, ask: Option<Rc<dyn Fn()>>) {
        self.ask.replace(ask);
    }

    /// Ties the span of this track's sound to the pictures of another.
    pub fn follow(&self, leader: &Rc<Track>) {
        self.leader.replace(Rc::downgrade(leader));
    }

    /// Changes how much time has to be kept where nobody asks for more.
    pub fn set_keep(&self, keep: Duration) {
        self.least.set(keep);
        self.follow_keeps();
    }

    /// Has so much time kept as long as the result lives, whatever others want.
    pub fn keep(self: &Rc<Self>, time: Duration) -> Keep {
        let keep = Rc::new(time);
        self.keeps.borrow_mut().push(Rc::downgrade(&keep));
        self.follow_keeps();
        Keep { track: self.clone(), keep: Some(keep) }
    }

    fn follow_keeps(&self) {
        let mut keeps = self.keeps.borrow_mut();
        drop_where(&mut keeps, |k| k.strong_count() == 0);
        let most = keeps.iter().filter_map(Weak::upgrade).map(|k| *k).max();
        self.ring.borrow_mut().set_keep(self.least.get().max(most.unwrap_or_default()));
    }

    /// Takes memory beyond its first step from this room only, which all tracks share.
    pub fn share(&self, room: &Rc<Cell<usize>>) {
        self.ring.borrow_mut().share(room.clone());
    }

    /// Lets it hold no more than so many bytes from now on; the oldest frames go first.
    pub fn set_cap(&self, cap: usize) {
        self.ring.borrow_mut().set_cap(cap);
    }

    /// No more frames will come; readers are told after the last one.
    pub fn close(&self, why: Close) {
        self.closed.set(Some(why));
        self.set_ask(None);
        self.wake_those(|_| true);
    }

    /// Takes a seat among those who are woken.
    pub(super) fn enter(&self) -> usize {
        let seat = {
            let mut seats = self.wakers.borrow_mut();
            let free = seats.iter().position(|s| !s.taken);
            let at = free.unwrap_or(seats.len());
            if free.is_none() {
                seats.push(Seat::default());
            }
            if let Some(seat) = seats.get_mut(at) {
                seat.taken = true;
            }
            at
        };
        self.readers.set(self.readers.get() + 1);
        seat
    }

    pub(super) fn leave(&self, seat: usize) {
        let gone = self.wakers.borrow_mut().get_mut(seat).map(std::mem::take);
        drop(gone);
        self.readers.set(self.readers.get().saturating_sub(1));
    }

    /// Has `waker` woken by the next frame; with patience for that one, when it is
    /// [ripe](Track::ripen).
    pub(super) fn wait(&self, seat: usize, waker: &Waker, patient: Option<u64>) {
        let old = match self.wakers.borrow_mut().get_mut(seat) {
            Some(s) => {
                s.patient = patient;
                match s.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
                    true => None,
                    false => s.waker.replace(waker.clone()),
                }
            }
            None => None,
        };
        drop(old);
    }

    /// Whether somebody takes care of those who wait with patience.
    pub fn has_bell(&self) -> bool {
        self.bell.borrow().is_some()
    }

    /// Has `bell` told of each frame that somebody waits for with patience: whoever hangs it up
    /// calls [`ripen`](Track::ripen) for it some time after. Without a bell nobody is kept waiting.
    pub fn set_bell(&self, bell: Bell) {
        self.bell.replace(Some(bell));
    }

    /// There was time enough for this frame and those before it: wakes whoever still waits for them.
    pub fn ripen(&self, seq: u64) {
        self.ripe.set(self.ripe.get().max(seq + 1));
        self.wake_those(|patient| patient.is_some_and(|next| next <= seq));
    }

    /// Whether there was time enough for that frame.
    pub fn is_ripe(&self, seq: u64) -> bool {
        seq < self.ripe.get()
    }

    /// A frame is there: wakes who waits for it, and rings for those with patience.
    fn wake(&self) {
        let bell = self.bell.borrow().clone();
        let left = self.wake_those(|patient| patient.is_none() || bell.is_none());
        if let Some(bell) = bell.filter(|_| left) {
            bell(self.ring.borrow().head().saturating_sub(1));
        }
    }

    /// Wakes those of whom that is true; whether others wait on.
    fn wake_those(&self, whom: impl Fn(Option<u64>) -> bool) -> bool {
        let (mut at, mut left) = (0, false);
        loop {
            // taken out one by one: a woken task must never find the list borrowed
            let waker = match self.wakers.borrow_mut().get_mut(at) {
                Some(seat) if whom(seat.patient) => seat.waker.take(),
                Some(seat) => {
                    left |= seat.waker.is_some();
                    None
                }
                None => return left,
            };
            if let Some(waker) = waker {
                waker.wake();
            }
            at += 1;
        }
    }
}

/// Time that a track keeps; let go of by dropping.
pub struct Keep {
    track: Rc<Track>,
    keep: Option<Rc<Duration>>,
}

impl Drop for Keep {
    fn drop(&mut self) {
        drop(self.keep.take());
        self.track.follow_keeps();
    }
}

/// The one way into a track.
pub struct Inlet {
    track: Rc<Track>,
    config: u32,
    last: Option<Time>,
    gap: bool,
    /// Frames are refused until the next key frame.
    needs_key: bool,
    /// The frame being written has become too big.
    failed: bool,
    /// What had to be kept was overwritten, and that was told.
    broken: u64,
}

impl Inlet {
    fn new(track: &Rc<Track>) -> Inlet {
        Inlet {
            track: track.clone(),
            config: track.config_number(),
            last: track.ring().newest().map(|m| m.decode),
            gap: false,
            needs_key: true,
            failed: false,
            broken: track.ring().broken(),
        }
    }

    /// A new way into a track whose old source is gone: the next frame begins after a gap.
    pub fn again(track: &Rc<Track>) -> Inlet {
        let mut inlet = Inlet::new(track);
        inlet.gap = inlet.last.is_some();
        inlet
    }

    /// The track it leads to.
    pub fn track(&self) -> &Rc<Track> {
        &self.track
    }

    /// Whether anybody reads; a source may save its work while nobody does.
    pub fn wanted(&self) -> bool {
        self.track.is_read()
    }

    /// The codec as the next frame has it. Readers are told before that frame.
    pub fn set_codec(&mut self, codec: Codec) {
        if *self.track.codec() == codec {
            return;
        }
        self.track.keyed.set(codec.id.has_key_frames());
        let tail = self.track.ring().tail();
        let oldest = self.track.ring().meta(tail).map_or(u32::MAX, |m| m.config);
        let mut configs = self.track.configs.borrow_mut();
        let before_first = oldest == u32::MAX && self.track.stats.frames.get() == 0;
        if before_first {
            // nobody has seen a frame of the old one: it is a correction, not a change
            if let Some(c) = configs.last_mut() {
                c.codec = Rc::new(codec);
            }
            return;
        }
        self.config = self.config.wrapping_add(1);
        drop_where(&mut configs, |c| c.number < oldest);
        if configs.len() >= CONFIGS {
            configs.remove(0);
        }
        configs.push(Config { number: self.config, codec: Rc::new(codec) });
    }

    /// Something was lost: the next frame is marked, and where frames depend on each other it has
    /// to be a key frame.
    pub fn lost(&mut self) {
        self.gap = true;
        self.needs_key = true;
    }

    /// Like [`Inlet::lost`], but frames go on before the next key frame (a decoder conceals).
    pub fn skipped(&mut self) {
        self.gap = true;
    }

    /// Adds bytes to the frame being written.
    pub fn append(&mut self, data: &[u8]) {
        if !self.failed && self.track.ring.borrow_mut().append(data) == Err(TooBig) {
            self.failed = true;
        }
    }

    /// Adds a NAL unit behind its length.
    pub fn append_unit(&mut self, nal: &[u8]) {
        self.append(&(nal.len() as u32).to_be_bytes());
        self.append(nal);
    }

    /// Bytes of the frame being written.
    pub fn filled(&self) -> usize {
        self.track.ring.borrow().filled()
    }

    /// Overwrites bytes of the frame being written.
    pub fn patch(&mut self, at: usize, data: &[u8]) {
        let mut ring = self.track.ring.borrow_mut();
        if let Some(place) = ring.partial().get_mut(at..at + data.len()) {
            place.copy_from_slice(data);
        }
    }

    /// Forgets what was written of the current frame beyond `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.failed = false;
        self.track.ring.borrow_mut().truncate(len);
    }

    /// Lets the source write up to `len` bytes in place, for instance by reading a socket; `write`
    /// gets the room and says how many bytes it used.
    pub fn write_with<E>(
        &mut self,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut ring = self.track.ring.borrow_mut();
        match ring.reserve(len) {
            Ok(room) => {
                let n = write(room)?.min(len);
                ring.fill(n);
                Ok(n)
            }
            Err(TooBig) => {
                self.failed = true;
                Ok(0)
            }
        }
    }

    /// Ends the frame and wakes the readers. False if it was refused: empty, too big, or not
    /// decodable without the key frame before it.
    pub fn commit(&mut self, time: Time, decode: Time, key: bool) -> bool {
        let dependent = self.track.has_key_frames();
        let key = key || !dependent;
        if self.failed || (self.needs_key && !key) {
            self.truncate(0);
            bump(&self.track.stats.refused, 1);
            if dependent {
                self.lost();
            }
            return false;
        }
        // Times go forward whatever a source says; one tick of 90 kHz is 11 µs.
        let decode = match self.last {
            Some(last) if decode <= last => last + Duration::from_nanos(11_112),
            _ => decode,
        };
        let time = time.max(decode);
        let floor = self.track.leader.borrow().upgrade().and_then(|l| {
            let ring = l.ring();
            ring.meta(ring.tail()).map(|m| m.time)
        });
        let meta = Meta { time, decode, key, gap: self.gap, config: self.config };
        let len = self.filled();
        let done = self.track.ring.borrow_mut().commit(meta, floor);
        if done.is_none() {
            return false;
        }
        self.last = Some(decode);
        self.gap = false;
        self.needs_key = false;
        bump(&self.track.stats.bytes, len as u64);
        bump(&self.track.stats.frames, 1);
        if self.track.ring().broken() > self.broken {
            self.overflowed(key);
        }
        self.track.wake();
        true
    }

    /// The bound has won over the promise: said once, and a source that can is asked to begin a new
    /// group of pictures, which will fit.
    fn overflowed(&mut self, key: bool) {
        let (broken, limit) = {
            let ring = self.track.ring();
            // less than its bound where memory.limit has no more for it
            (ring.broken(), ring.span())
        };
        if self.broken == 0 {
            log::warn!(
                target: "streams",
                "{} does not fit into the {} KiB of its track: new viewers may have to wait for a picture; \
                 shorten the encoder's GOP, lower its bitrate, or raise memory.track and memory.limit",
                self.track.codec().id,
                limit / 1024,
            );
        }
        self.broken = broken;
        if !key {
            self.track.ask_key();
        }
    }

    /// Writes a whole frame.
    pub fn push(&mut self, time: Time, key: bool, data: &[u8]) -> bool {
        self.truncate(0);
        self.append(data);
        self.commit(time, time, key)
    }
}

/// Adds to a counter.
pub fn bump(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get().wrapping_add(by));
}
