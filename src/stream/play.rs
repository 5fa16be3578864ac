//! Play: any source's sound into a stream's speaker. A new one replaces the old, an empty one stops
//! it, and a person who talks interrupts it.

use super::hall::Hall;
use super::reader::{Join, Reader, Step};
use super::source::{Lease, Source, SourceError};
use super::speaker::{Talk, Voice};
use super::spec::SourceSpec;
use super::stream::{AttachError, Stream};
use super::transcode::Pipe;
use super::viewer::Viewer;
use crate::media::{Codec, Kind};
use crate::net::clock;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// The camera plays what it has got before its side is closed.
const GRACE: Duration = Duration::from_secs(1);

/// Why something cannot be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlayError {
    /// What should be played cannot be had.
    Source(SourceError),
    /// It has no sound.
    Silent,
    /// The stream has no speaker for it.
    Speaker(AttachError),
    /// Its sound cannot be brought into a form that the speaker takes.
    Codec(String),
}

impl fmt::Display for PlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlayError::Source(e) => write!(f, "play: {e}"),
            PlayError::Silent => f.write_str("play: there is no sound in it"),
            PlayError::Speaker(e) => write!(f, "play: {e}"),
            PlayError::Codec(e) => write!(f, "play: {e}"),
        }
    }
}

impl Stream {
    /// Plays a source's sound to this stream's speaker; nothing at all stops what is played.
    pub async fn play(self: &Rc<Stream>, hall: &Rc<Hall>, spec: Option<SourceSpec>) -> Result<(), PlayError> {
        let old = self.playing.borrow_mut().take();
        drop(old);
        let Some(spec) = spec else { return Ok(()) };
        let source = hall.source(self, spec).map_err(PlayError::Source)?;
        let lease = source.lease();
        source.ready().await.map_err(PlayError::Source)?;
        let (reader, codec) = sound(&source).ok_or(PlayError::Silent)?;
        // the speaker's own choice is best, but what needs no conversion goes before it
        let straight = self.talk(std::slice::from_ref(&codec), Voice::Played).await;
        let (talk, speaker, pipe) = match straight {
            Ok((talk, lease)) => (talk, lease, None),
            Err(AttachError::Busy) => return Err(PlayError::Speaker(AttachError::Busy)),
            Err(_) => {
                let (talk, lease) = self.talk(&[], Voice::Played).await.map_err(PlayError::Speaker)?;
                let (pipe, _) =
                    Pipe::new(&codec, talk.codec()).map_err(|e| PlayError::Codec(e.to_string()))?;
                (talk, lease, Some(pipe))
            }
        };
        let context = self.context();
        let task = context.executor.spawn(run(reader, talk, pipe, context.worker.clone(), [lease, speaker]));
        self.playing.replace(Some(task));
        Ok(())
    }

    /// Whether something is being played to its speaker.
    pub fn is_playing(&self) -> bool {
        self.playing.borrow().as_ref().is_some_and(|t| !t.is_finished())
    }
}

/// The first sound of a source, read from its beginning.
fn sound(source: &Rc<Source>) -> Option<(Reader, Codec)> {
    let track = source.tracks().into_iter().find(|track| track.kind() == Kind::Audio)?;
    let codec = (*track.codec()).clone();
    let viewer = Viewer::unlisted("play", "");
    Some((Reader::new(vec![track], Join::Back(Duration::from_secs(60)), viewer), codec))
}

async fn run(
    mut reader: Reader,
    talk: Talk,
    mut pipe: Option<Pipe>,
    worker: Rc<crate::net::worker::Worker>,
    _leases: [Lease; 2],
) {
    loop {
        let at = match reader.next().await {
            Step::Frame(at) => at,
            Step::Codec(_, codec) => {
                match Pipe::new(&codec, talk.codec()) {
                    Ok((new, _)) => pipe = Some(new),
                    Err(_) => return,
                }
                continue;
            }
            Step::Closed(_) => break,
        };
        let frame = reader.frame(at).map(|f| (f.time, f.data.to_vec()));
        reader.done(at);
        let Some((time, data)) = frame else { continue };
        let said = match &mut pipe {
            None => talk.say(clock::now(), &data),
            Some(pipe) => {
                let mut said = true;
                let mut sink = |_, bytes: &[u8]| said &= talk.say(clock::now(), bytes);
                pipe.push(&worker, time, &data, &mut sink).await;
                said
            }
        };
        if !said {
            return;
        }
    }
    crate::net::reactor::Timer::after(GRACE).await;
}
