//! One recording on its way to a hub: a clip of the tracks that are kept, from before the event until the
//! hub has enough. The file's beginning comes at once, then what was kept, then each fragment when it is
//! whole.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{PREBUFFER, Recording};
use crate::homekit::hds::server::{Reel, Segment};
use crate::homekit::hds::session::Reason;
use crate::media::aac::AudioConfig;
use crate::media::nal::NalCodec;
use crate::media::parameter_sets::ParameterSets;
use crate::media::{CodecId, Time};
use crate::net::clock;
use crate::net::limits::RECORDING_TIME;
use crate::net::log;
use crate::net::reactor::Timer;
use crate::stream::{Clip, Cut, Join, Reader, Track, Viewer, bump};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Before the motion that was noticed there was some that was not.
const BEFORE: Duration = Duration::from_millis(1500);
/// How long the first key frame is waited for.
const BEGIN: Duration = Duration::from_secs(7);
/// How long a fragment is waited for: hubs have given up by then.
const FRAGMENT: Duration = Duration::from_secs(15);
/// Between looks where no frame comes to wake us.
const LOOK: Duration = Duration::from_millis(500);

/// A recording.
pub struct Tape {
    recording: Rc<Recording>,
    /// What it reads, once there is something; it is woken by it and tells statistics.
    source: Option<Source>,
    clip: Option<Clip>,
    opened: Time,
    /// When the last segment was ready.
    last: Time,
    timer: Timer,
}

struct Source {
    reader: Reader,
    pictures: Rc<Track>,
    sound: Option<(Rc<Track>, AudioConfig)>,
}

impl Tape {
    /// The one recording that there may be at a time.
    pub fn new(recording: &Rc<Recording>) -> Result<Tape, Reason> {
        recording.busy.set(true);
        let now = clock::now();
        Ok(Tape {
            recording: recording.clone(),
            source: None,
            clip: None,
            opened: now,
            last: now,
            timer: Timer::never(),
        })
    }

    /// Finds what to read.
    #[inline(never)]
    fn find(&mut self) {
        let Some(tracks) = self.recording.tracks.borrow().clone() else { return };
        let config = |track: &Rc<Track>| {
            let codec = track.codec();
            let config = AudioConfig::parse(&codec.extra).ok().filter(|_| codec.id == CodecId::Aac);
            config.filter(|c| c.object_type == crate::media::aac::LC && c.frame_len > 0 && c.rate > 0)
        };
        let sound = tracks.sound.and_then(|track| config(&track).map(|config| (track, config)));
        let mut read = vec![tracks.pictures.clone()];
        read.extend(sound.iter().map(|(track, _)| track.clone()));
        let reader = Reader::new(read, Join::Live, Viewer::unlisted("homekit", "hksv"));
        self.source = Some(Source { reader, pictures: tracks.pictures, sound });
    }

    /// Finds where to begin; true once the file's beginning is there.
    #[inline(never)]
    fn begin(&mut self) -> bool {
        if self.source.is_none() {
            self.find();
        }
        let Some(source) = &self.source else { return false };
        let now = clock::now();
        let promised = now.before(PREBUFFER);
        // a hub that comes late to an event gets it whole; one that comes again gets what it was promised
        let moved = self.recording.moved.get().filter(|at| now.since(*at) < 2 * PREBUFFER);
        let from = moved.map_or(promised, |at| promised.min(at.before(BEFORE)));
        let ring = source.pictures.ring();
        let sound = source.sound.as_ref().map(|(track, config)| (track.ring(), config));
        let Some(mut clip) = Clip::new(&ring, sound.as_ref().map(|(ring, config)| (&**ring, *config)), from)
        else {
            return false;
        };
        let Some(codec) = source.pictures.config(clip.config()) else { return false };
        let sets = ParameterSets::from_extra(NalCodec::H264, &codec.extra);
        if !clip.begin(&sets, source.sound.as_ref().map(|(_, config)| config)) {
            return false;
        }
        drop((ring, sound));
        self.clip = Some(clip);
        true
    }

    fn ready(&mut self, end: bool) -> Poll<Result<Segment, Reason>> {
        self.last = clock::now();
        let Some(clip) = &self.clip else { return Poll::Ready(Err(Reason::Unexpected)) };
        let len = clip.left();
        if clip.fragments() > 0 {
            self.recording.count(|s| s.fragments += 1);
        }
        Poll::Ready(Ok(Segment { len, end }))
    }

    /// It has to end: with what there is.
    fn rest(&mut self) -> Poll<Result<Segment, Reason>> {
        let (Some(source), Some(clip)) = (&self.source, &mut self.clip) else {
            return Poll::Ready(Err(Reason::Unexpected));
        };
        let sound = source.sound.as_ref().map(|(track, _)| track.ring());
        let some = clip.rest(&source.pictures.ring(), sound.as_deref());
        drop(sound);
        if some {
            return self.ready(true);
        }
        Poll::Ready(Ok(Segment { len: 0, end: true }))
    }
}

impl Reel for Tape {
    fn over(&mut self, cx: &mut Context<'_>) -> Option<Reason> {
        self.recording.sleeper.wait(cx.waker());
        self.recording.switches.get().allows().err()
    }

    fn segment(&mut self, cx: &mut Context<'_>) -> Poll<Result<Segment, Reason>> {
        let now = clock::now();
        self.timer = Timer::after(LOOK);
        let tick = Pin::new(&mut self.timer).poll(cx);
        if tick.is_ready() {
            cx.waker().wake_by_ref();
        }
        if self.clip.is_none() {
            if self.begin() {
                return self.ready(false);
            }
            if now.since(self.opened) > BEGIN {
                self.recording.complain("no key frame has come in time".into());
                return Poll::Ready(Err(Reason::Timeout));
            }
            if let Some(source) = &self.source {
                source.reader.wait(cx.waker());
            }
            return Poll::Pending;
        }
        let (Some(source), Some(clip)) = (&self.source, &mut self.clip) else { return Poll::Pending };
        let closed = source.pictures.is_closed();
        if closed || now.since(self.opened) > RECORDING_TIME {
            return self.rest();
        }
        let sound = source.sound.as_ref().map(|(track, _)| track.ring());
        let cut = clip.next(&source.pictures.ring(), sound.as_deref(), now);
        drop(sound);
        match cut {
            Cut::Ready => self.ready(false),
            Cut::Changed => {
                log::info!(target: "homekit", "{}: the pictures have changed: the recording ends", self.recording.stream);
                self.rest()
            }
            Cut::Wait { .. } if now.since(self.last) > FRAGMENT => {
                self.recording.complain("no key frame has come in time".into());
                self.rest()
            }
            Cut::Wait { ask } => {
                if ask {
                    source.pictures.ask_key();
                }
                source.reader.wait(cx.waker());
                Poll::Pending
            }
        }
    }

    fn take(&mut self, len: usize, out: &mut Vec<u8>) -> bool {
        let (Some(source), Some(clip)) = (&self.source, &mut self.clip) else { return false };
        let sound = source.sound.as_ref().map(|(track, _)| track.ring());
        let taken = clip.take(&source.pictures.ring(), sound.as_deref(), len, out);
        bump(&source.reader.viewer().stats.bytes, len as u64);
        taken
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.recording.busy.set(false);
    }
}
