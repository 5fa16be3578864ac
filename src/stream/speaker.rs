//! The way back: a track that runs towards the source, and who may speak into it. One speaks at a
//! time; what is played gives way to a living voice and to the next thing played.

use super::track::{Bounds, Inlet, Track};
use super::viewer::Close;
use crate::media::{Codec, CodecId, Time};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// A voice that was silent for this long gives way to another.
const SILENCE: Duration = Duration::from_secs(1);

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Voice {
    /// A file or a source that is played.
    Played,
    /// A person.
    Live,
}

struct Holder {
    voice: Voice,
    lost: Cell<bool>,
    last: Cell<Time>,
}

/// A source's speaker.
pub struct Speaker {
    codecs: Vec<Codec>,
    track: Rc<Track>,
    inlet: RefCell<Option<Inlet>>,
    holder: RefCell<Option<Rc<Holder>>>,
}

impl Speaker {
    pub(super) fn new(codecs: Vec<Codec>, bounds: Bounds) -> Speaker {
        let first = codecs.first().cloned().unwrap_or(Codec::new(CodecId::Pcma));
        let (track, inlet) = Track::new(first, bounds);
        Speaker { codecs, track, inlet: RefCell::new(Some(inlet)), holder: RefCell::new(None) }
    }

    /// The codecs it takes, best first.
    pub fn codecs(&self) -> &[Codec] {
        &self.codecs
    }

    /// What is said, for the source to read.
    pub fn track(&self) -> &Rc<Track> {
        &self.track
    }

    pub(super) fn close(&self, why: Close) {
        self.track.close(why);
        if let Some(holder) = self.holder.borrow_mut().take() {
            holder.lost.set(true);
        }
    }

    /// Takes the speaker, in one of its codecs; refused while someone else speaks.
    pub fn talk(self: &Rc<Speaker>, voice: Voice, codec: Codec, now: Time) -> Option<Talk> {
        let current = self.holder.borrow().clone();
        if let Some(current) = current
            && !current.lost.get()
        {
            let gives_way = current.voice < voice
                || (current.voice == Voice::Played && voice == Voice::Played)
                || now.since(current.last.get()) >= SILENCE;
            if !gives_way {
                return None;
            }
            current.lost.set(true);
        }
        let holder = Rc::new(Holder { voice, lost: Cell::new(false), last: Cell::new(now) });
        self.holder.replace(Some(holder.clone()));
        if let Some(inlet) = self.inlet.borrow_mut().as_mut() {
            inlet.set_codec(codec.clone());
            inlet.skipped();
        }
        Some(Talk { speaker: self.clone(), holder, codec })
    }

    /// Whether someone speaks now.
    pub fn is_taken(&self) -> bool {
        self.holder.borrow().as_ref().is_some_and(|h| !h.lost.get())
    }
}

/// The right to speak into a speaker. Given back when dropped.
pub struct Talk {
    speaker: Rc<Speaker>,
    holder: Rc<Holder>,
    codec: Codec,
}

impl Talk {
    /// The codec that has to be spoken.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Says one frame; false when someone else has taken the speaker, or the source is gone.
    pub fn say(&self, time: Time, data: &[u8]) -> bool {
        if self.holder.lost.get() || self.speaker.track.is_closed() {
            return false;
        }
        self.holder.last.set(time);
        if let Some(inlet) = self.speaker.inlet.borrow_mut().as_mut() {
            inlet.push(time, true, data);
        }
        true
    }

    /// Whether someone else has taken the speaker.
    pub fn is_lost(&self) -> bool {
        self.holder.lost.get() || self.speaker.track.is_closed()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.holder.lost.set(true);
    }
}
