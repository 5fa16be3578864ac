//! A reader: for each track a number, and a waker. It holds no frame and no queue; where it is too
//! slow it jumps. Joining shows a picture at once and is not late afterwards: what the ring still
//! has since the last key frame is shown squeezed, so that a live viewer ends at now.

use super::ring::{Meta, Ring};
use super::track::{Track, bump};
use super::viewer::{Close, Viewer};
use crate::media::{Codec, Kind, Time};
use std::any::Any;
use std::cell::Ref;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A key frame this young is used as it is; of an older one the source is asked for another.
const FRESH: Duration = Duration::from_millis(100);
/// How long a joining viewer waits for the key frame that the source was asked for.
const PATIENCE: Duration = Duration::from_millis(280);
/// A live viewer that is later than this jumps to the newest key frame.
const LIVE_LAG: Duration = Duration::from_secs(3);
/// Shown frames of a squeezed backlog follow each other at this distance.
const SQUEEZED: Duration = Duration::from_millis(1);

/// How a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// A picture at once, and now as soon as can be.
    Live,
    /// A recorder: from a key frame at least this far back, as far as there is one, with true times.
    Back(Duration),
}

/// What a reader comes upon.
#[derive(Debug)]
pub enum Step {
    /// The next frame of this track; look at it with [`Reader::frame`], then [`Reader::done`].
    Frame(usize),
    /// From the next frame on this track needs another description.
    Codec(usize, Rc<Codec>),
    /// It is over.
    Closed(Close),
}

struct Cursor {
    track: Rc<Track>,
    seat: usize,
    next: u64,
    config: u32,
    /// Skip until a key frame.
    needs_key: bool,
    /// The next frame comes after a jump.
    jumped: bool,
}

impl Cursor {
    fn new(track: Rc<Track>) -> Cursor {
        let (next, config) = (track.ring().head(), track.config_number());
        let needs_key = track.has_key_frames();
        Cursor { seat: track.enter(), next, config, needs_key, jumped: false, track }
    }
}

impl Join {
    /// Whether this frame is too old for a reader that began so.
    fn is_late(self, ring: &Ring, seq: u64, meta: &Meta) -> bool {
        self == Join::Live
            && seq + 1 < ring.head()
            && ring.newest().is_some_and(|now| now.decode > meta.decode + LIVE_LAG)
    }
}

/// A track has been overwritten under this reader, needs a key frame or is too late.
struct Behind;

/// Times before `edge` lie closer together than they were.
#[derive(Clone, Copy)]
struct Squeeze {
    edge: Time,
    from: Duration,
    to: Duration,
}

impl Squeeze {
    fn time(&self, t: Time) -> Time {
        if t >= self.edge || self.from.is_zero() {
            return t;
        }
        let back = self.edge.since(t).as_nanos() as u64;
        // at most some ten seconds by at most a second: no overflow
        let back = back.saturating_mul(self.to.as_nanos() as u64) / self.from.as_nanos() as u64;
        self.edge.before(Duration::from_nanos(back))
    }
}

/// A frame as one reader sees it.
pub struct Shown<'a> {
    /// When this reader shows it; equal to the capture time except in a squeezed backlog.
    pub time: Time,
    /// When this reader decodes it.
    pub decode: Time,
    /// What the ring knows of it.
    pub meta: Meta,
    /// Something before it is missing for this reader.
    pub gap: bool,
    /// Its number in the track.
    pub seq: u64,
    /// Its bytes, in place. Not to be held across an await.
    pub data: Ref<'a, [u8]>,
}

/// Reads some tracks of a stream in step.
pub struct Reader {
    cursors: Vec<Cursor>,
    join: Join,
    begun: bool,
    asked: Option<Time>,
    squeeze: Option<Squeeze>,
    viewer: Rc<Viewer>,
    /// Keep the sources of its tracks running.
    leases: Vec<Box<dyn Any>>,
}

impl Reader {
    /// A reader of these tracks, in this order.
    pub fn new(tracks: Vec<Rc<Track>>, join: Join, viewer: Rc<Viewer>) -> Reader {
        let cursors = tracks.into_iter().map(Cursor::new).collect();
        let reader =
            Reader { cursors, join, begun: false, asked: None, squeeze: None, viewer, leases: Vec::new() };
        reader.tell();
        reader
    }

    fn tell(&self) {
        self.viewer.set_codecs(self.cursors.iter().map(|c| (*c.track.codec()).clone()).collect());
    }

    /// Reads this track too, from what comes next.
    pub fn also(&mut self, track: Rc<Track>) {
        self.cursors.push(Cursor::new(track));
        self.tell();
    }

    /// Keeps these sources running as long as it reads.
    pub fn keep(&mut self, leases: Vec<Box<dyn Any>>) {
        self.leases = leases;
    }

    /// How many tracks it reads.
    pub fn len(&self) -> usize {
        self.cursors.len()
    }

    /// Whether it reads none.
    pub fn is_empty(&self) -> bool {
        self.cursors.is_empty()
    }

    /// A track by its place.
    pub fn track(&self, at: usize) -> Option<&Rc<Track>> {
        self.cursors.get(at).map(|c| &c.track)
    }

    /// The codec of a track as of the frame last stepped to.
    pub fn codec(&self, at: usize) -> Option<Rc<Codec>> {
        self.cursors.get(at).map(|c| c.track.config(c.config).unwrap_or_else(|| c.track.codec()))
    }

    /// Whoever it reads for.
    pub fn viewer(&self) -> &Rc<Viewer> {
        &self.viewer
    }

    /// The next step.
    pub async fn next(&mut self) -> Step {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next step, or pending until a frame is written.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        match self.step() {
            Some(step) => Poll::Ready(step),
            None => {
                self.wait(cx.waker());
                Poll::Pending
            }
        }
    }

    /// Has `waker` woken by the next frame, or when the viewer is sent away.
    pub fn wait(&self, waker: &Waker) {
        self.wait_patiently(waker, |_| false);
    }

    /// The same, with patience on some of the tracks: see [`Track::set_bell`].
    pub fn wait_patiently(&self, waker: &Waker, patient: impl Fn(usize) -> bool) {
        for (at, c) in self.cursors.iter().enumerate() {
            c.track.wait(c.seat, waker, patient(at).then_some(c.next));
        }
        self.viewer.wait(waker);
    }

    /// The next step, if there is one now.
    pub fn step(&mut self) -> Option<Step> {
        if let Some(close) = self.viewer.closed() {
            return Some(Step::Closed(close));
        }
        if !self.begun && !self.begin() {
            return self.ended();
        }
        let found = self.search().unwrap_or_else(|Behind| {
            self.catch_up();
            self.search_on()
        });
        let Some((at, config)) = found else { return self.ended() };
        let c = self.cursors.get_mut(at)?;
        if config != c.config {
            c.config = config;
            return Some(Step::Codec(at, c.track.config(config).unwrap_or_else(|| c.track.codec())));
        }
        Some(Step::Frame(at))
    }

    /// The track whose frame is next, and the description that it needs, as long as nothing has to
    /// be jumped over. What every frame goes through: one look at each ring.
    fn search(&self) -> Result<Option<(usize, u32)>, Behind> {
        let mut best: Option<(usize, Meta)> = None;
        for (at, c) in self.cursors.iter().enumerate() {
            let ring = c.track.ring();
            if c.needs_key || c.next < ring.tail() {
                return Err(Behind);
            }
            let Some(meta) = ring.meta(c.next) else { continue };
            if self.join.is_late(&ring, c.next, &meta) {
                return Err(Behind);
            }
            if best.is_none_or(|(_, b)| meta.decode < b.decode) {
                best = Some((at, meta));
            }
        }
        Ok(best.map(|(at, meta)| (at, meta.config)))
    }

    /// The same after jumping, from the next key frame on where one is needed.
    fn search_on(&mut self) -> Option<(usize, u32)> {
        let mut best: Option<(usize, Meta)> = None;
        for (at, c) in self.cursors.iter_mut().enumerate() {
            let ring = c.track.ring();
            if c.needs_key {
                match ring.key_from(c.next) {
                    Some(key) => {
                        bump(&self.viewer.stats.skipped, key - c.next);
                        c.next = key;
                        c.needs_key = false;
                    }
                    None => continue,
                }
            }
            if let Some(meta) = ring.meta(c.next)
                && best.is_none_or(|(_, b)| meta.decode < b.decode)
            {
                best = Some((at, meta));
            }
        }
        best.map(|(at, meta)| (at, meta.config))
    }

    fn ended(&self) -> Option<Step> {
        // a viewer of a closed picture is not kept for the sound alone, nor the other way round
        let over = |c: &Cursor| c.track.closed().filter(|_| c.next >= c.track.ring().head());
        match self.cursors.iter().find_map(over) {
            Some(why) => Some(Step::Closed(why)),
            None => self.cursors.is_empty().then_some(Step::Closed(Close::Ended)),
        }
    }

    /// The frame that the last step named, if it has not been overwritten since.
    pub fn frame(&self, at: usize) -> Option<Shown<'_>> {
        let c = self.cursors.get(at)?;
        let (meta, data) = c.track.frame(c.next)?;
        let shown = |t| self.squeeze.map_or(t, |s| s.time(t));
        Some(Shown {
            time: shown(meta.time),
            decode: shown(meta.decode),
            gap: meta.gap || c.jumped,
            seq: c.next,
            meta,
            data,
        })
    }

    /// Goes on behind the frame that the last step named.
    pub fn done(&mut self, at: usize) {
        if let Some(c) = self.cursors.get_mut(at) {
            if let Some(meta) = c.track.ring().meta(c.next) {
                self.viewer.stats.last.set(meta.time);
            }
            c.next += 1;
            c.jumped = false;
            bump(&self.viewer.stats.frames, 1);
        }
    }

    /// How far behind the newest frame this reader is.
    pub fn lag(&self) -> Duration {
        let behind = self.cursors.iter().filter_map(|c| {
            let ring = c.track.ring();
            Some(ring.newest()?.decode.since(ring.meta(c.next)?.decode))
        });
        behind.max().unwrap_or_default()
    }

    /// Jumps to now: the newest key frame, or the next one.
    pub fn jump(&mut self) {
        let Some(lead) = self.lead() else {
            for c in &mut self.cursors {
                c.next = c.track.ring().head();
                c.jumped = true;
            }
            return;
        };
        let to = self.cursors.get(lead).map(|c| (c.track.ring().last_key(), c.next));
        if let Some((Some(key), next)) = to
            && key > next
        {
            self.land(lead, key);
        }
    }

    /// The track that decides where reading can begin.
    fn lead(&self) -> Option<usize> {
        self.cursors.iter().position(|c| c.track.has_key_frames())
    }

    /// Finds the place to begin; false while there is none.
    fn begin(&mut self) -> bool {
        let Some(lead) = self.lead() else {
            // sound, or pictures that stand alone
            let mut newest = None;
            for c in &self.cursors {
                newest = newest.max(c.track.newest());
            }
            for c in &mut self.cursors {
                let ring = c.track.ring();
                c.next = match (self.join, newest) {
                    (Join::Back(d), Some(now)) => ring.seek(now.before(d)),
                    // a picture that stands alone is shown at once; of sound, what comes from now on
                    _ if c.track.kind() == Kind::Video => ring.tail().max(c.next.saturating_sub(1)),
                    _ => c.next,
                };
            }
            self.begun = true;
            return true;
        };
        let Some(track) = self.track(lead).cloned() else { return false };
        let (start, edge) = {
            let ring = track.ring();
            let Some(newest) = ring.newest() else {
                drop(ring);
                return self.wait_for_key(&track, None);
            };
            let start = match self.join {
                Join::Back(d) => {
                    ring.key_before(newest.time.before(d)).or_else(|| ring.key_from(ring.tail()))
                }
                Join::Live => ring.last_key(),
            };
            (start, newest.time)
        };
        let Some(start) = start else { return self.wait_for_key(&track, Some(edge)) };
        if self.join == Join::Live {
            let Some(from) = track.ring().meta(start).map(|m| m.decode) else { return false };
            let back = edge.since(from);
            if back > FRESH && track.can_ask() {
                match self.asked {
                    None => {
                        self.asked = Some(edge);
                        track.ask_key();
                        return false;
                    }
                    Some(asked) if edge.since(asked) < PATIENCE => return false,
                    Some(_) => {}
                }
            }
            let frames = (track.ring().head() - start).min(1000) as u32;
            self.squeeze = Some(Squeeze { edge, from: back, to: back.min(SQUEEZED * frames) });
        }
        self.land(lead, start);
        for c in &mut self.cursors {
            c.jumped = false;
        }
        self.begun = true;
        true
    }

    fn wait_for_key(&mut self, track: &Rc<Track>, now: Option<Time>) -> bool {
        if self.asked.is_none() && now.is_some() {
            self.asked = now;
            track.ask_key();
        }
        false
    }

    /// Sets every track to the instant of this key frame of the leading one.
    fn land(&mut self, lead: usize, key: u64) {
        let Some(meta) = self.cursors.get(lead).and_then(|c| c.track.ring().meta(key)) else { return };
        for (at, c) in self.cursors.iter_mut().enumerate() {
            let ring = c.track.ring();
            let to = if at == lead {
                key
            } else if c.track.has_key_frames() {
                ring.key_before(meta.time).or_else(|| ring.key_from(ring.tail())).unwrap_or(ring.head())
            } else {
                ring.seek(meta.decode)
            };
            if self.begun {
                let to = to.max(c.next);
                bump(&self.viewer.stats.skipped, to - c.next);
                c.jumped |= to != c.next;
                c.next = to;
            } else {
                c.next = to;
            }
            c.needs_key = at != lead && c.track.has_key_frames();
        }
    }

    /// Jumps where a track has been overwritten under this reader, or a live one is too late.
    fn catch_up(&mut self) {
        let lead = self.lead();
        for at in 0..self.cursors.len() {
            let Some(c) = self.cursors.get_mut(at) else { return };
            let ring = c.track.ring();
            let fallen = c.next < ring.tail();
            let late =
                !c.needs_key && ring.meta(c.next).is_some_and(|m| self.join.is_late(&ring, c.next, &m));
            if !fallen && !late {
                continue;
            }
            if lead == Some(at) {
                let key = if self.join == Join::Live { ring.last_key() } else { ring.key_from(ring.tail()) };
                let (head, seq) = (ring.head(), c.next);
                drop(ring);
                match key {
                    Some(key) if key > seq => self.land(at, key),
                    _ if fallen => {
                        bump(&self.viewer.stats.skipped, head - seq);
                        c.next = head;
                        c.needs_key = true;
                        c.jumped = true;
                        c.track.ask_key();
                    }
                    _ => {}
                }
            } else if fallen {
                let to = if self.join == Join::Live { ring.head() - 1 } else { ring.tail() };
                bump(&self.viewer.stats.skipped, to - c.next);
                c.next = to;
                c.jumped = true;
                drop(ring);
                c.needs_key = c.track.has_key_frames();
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for c in &self.cursors {
            c.track.leave(c.seat);
        }
    }
}
