//! Which of a camera's pictures suit a viewer who says what size it shows: the main stream's, the
//! sub stream's, or those of another stream. What runs already is taken at once; what would suit
//! much better is dialled meanwhile.

use super::source::{Lease, Source, offered};
use super::stream::{AttachError, Stream};
use super::track::Track;
use crate::media::CodecId;
use crate::media::nal::NalCodec;
use crate::media::parameter_sets::ParameterSets;
use std::rc::Rc;

/// A size this many times too large or too small, in pixels, is good enough not to dial for.
const GOOD: u64 = 2;
/// What is assumed of pictures whose size nobody knows yet.
const UNKNOWN: u64 = 8;

/// A track of pictures, and what keeps it running.
pub struct Picture {
    /// The pictures.
    pub track: Rc<Track>,
    /// Keeps its source.
    pub lease: Lease,
}

/// How many times larger or smaller a track's pictures are than those wanted, in thousandths.
fn misfit(track: &Track, (width, height): (u16, u16)) -> u64 {
    let codec = track.codec();
    let known = NalCodec::of(codec.id).map(|nal| ParameterSets::from_extra(nal, &codec.extra));
    let Some(info) = known.as_ref().and_then(ParameterSets::info) else { return UNKNOWN * 1000 };
    let own = (u64::from(info.width) * u64::from(info.height)).max(1);
    let wanted = (u64::from(width) * u64::from(height)).max(1);
    own.max(wanted) * 1000 / own.min(wanted)
}

fn sources(streams: &[Rc<Stream>]) -> Vec<Rc<Source>> {
    let mut sources = Vec::new();
    for stream in streams {
        sources.append(&mut stream.sources());
    }
    sources
}

/// The best of what the sources have that need not be waited for.
fn best(sources: &[Rc<Source>], codec: CodecId, size: (u16, u16)) -> Option<(u64, Picture)> {
    let mut best = None;
    let mut least = u64::MAX;
    for source in sources {
        for track in source.tracks() {
            if track.codec().id != codec || track.is_closed() {
                continue;
            }
            let misfit = misfit(&track, size);
            if misfit < least {
                (least, best) = (misfit, Some((source, track)));
            }
        }
    }
    let (source, track) = best?;
    Some((least, Picture { lease: source.lease(), track }))
}

/// The pictures to begin with: the best of what runs, once the first source runs that has any.
pub async fn first(streams: &[Rc<Stream>], codec: CodecId, size: (u16, u16)) -> Result<Picture, AttachError> {
    let sources = sources(streams);
    if sources.is_empty() {
        return Err(AttachError::NoSource);
    }
    let mut errors = Vec::new();
    for source in &sources {
        let _lease = source.lease();
        match source.ready().await {
            // its own, or better ones that run already
            Ok(()) if best(std::slice::from_ref(source), codec, size).is_some() => {
                if let Some((_, picture)) = best(&sources, codec, size) {
                    return Ok(picture);
                }
            }
            Ok(()) => {}
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(AttachError::Sources(errors));
    }
    Err(AttachError::Codecs { offered: offered(&sources), wanted: codec.name().into() })
}

/// Pictures that suit better than `than`, if there are any; sources that do not run are dialled only
/// if they may suit much better.
pub async fn better(
    streams: &[Rc<Stream>],
    codec: CodecId,
    size: (u16, u16),
    than: &Rc<Track>,
) -> Option<Picture> {
    let sources = sources(streams);
    let mut leases = Vec::new();
    let own = misfit(than, size);
    if own > GOOD * 1000 {
        for source in &sources {
            let lease = source.lease();
            if source.ready().await.is_ok() {
                leases.push(lease);
            }
        }
    }
    let (misfit, picture) = best(&sources, codec, size)?;
    (misfit < own && !Rc::ptr_eq(&picture.track, than)).then_some(picture)
}
