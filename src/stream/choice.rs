//! Which of a camera's pictures suit a viewer who says what size it shows: the main stream's, the
//! sub stream's, or those of another stream. What runs already is taken at once; what would suit
//! much better is dialled meanwhile.

use super::source::{Lease, Outlet, Source, State, codec_list};
use super::stream::{AttachError, Stream};
use super::track::Track;
use crate::media::nal::NalCodec;
use crate::media::parameter_sets::ParameterSets;
use crate::media::{Codec, CodecId};
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
fn misfit(track: &Track, width: u16, height: u16) -> u64 {
    let codec = track.codec();
    let known = NalCodec::of(codec.id).map(|nal| ParameterSets::from_extra(nal, &codec.extra));
    let Some(info) = known.as_ref().and_then(ParameterSets::info) else { return UNKNOWN * 1000 };
    let own = (u64::from(info.width) * u64::from(info.height)).max(1);
    let wanted = (u64::from(width) * u64::from(height)).max(1);
    own.max(wanted) * 1000 / own.min(wanted)
}

fn tracks(source: &Source, codec: CodecId) -> impl Iterator<Item = Rc<Track>> {
    source.outlets().into_iter().filter_map(move |outlet| match outlet {
        Outlet::Track(_, track) if track.codec().id == codec && !track.is_closed() => Some(track),
        _ => None,
    })
}

/// The best of what the sources have that need not be waited for.
fn best(sources: &[Rc<Source>], codec: CodecId, (width, height): (u16, u16)) -> Option<(u64, Picture)> {
    let running = sources.iter().filter(|s| s.state() == State::Running || !s.outlets().is_empty());
    let all = running.flat_map(|s| tracks(s, codec).map(move |t| (misfit(&t, width, height), s, t)));
    let (misfit, source, track) = all.min_by_key(|(misfit, ..)| *misfit)?;
    Some((misfit, Picture { lease: source.lease(), track }))
}

/// The pictures to begin with: the best of what runs, once the first source runs that has any.
pub async fn first(streams: &[Rc<Stream>], codec: CodecId, size: (u16, u16)) -> Result<Picture, AttachError> {
    let sources: Vec<Rc<Source>> = streams.iter().flat_map(|s| s.sources()).collect();
    if sources.is_empty() {
        return Err(AttachError::NoSource);
    }
    let mut errors = Vec::new();
    for source in &sources {
        let _lease = source.lease();
        match source.ready().await {
            Ok(()) if tracks(source, codec).next().is_some() => {
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
    let offered: Vec<Codec> =
        sources.iter().flat_map(|s| s.outlets()).flat_map(|o| o.media().codecs.clone()).collect();
    Err(AttachError::Codecs { offered: codec_list(offered.iter()), wanted: codec.name().into() })
}

/// Pictures that suit better than `than`, if there are any; sources that do not run are dialled only
/// if they may suit much better.
pub async fn better(
    streams: &[Rc<Stream>],
    codec: CodecId,
    size: (u16, u16),
    than: &Rc<Track>,
) -> Option<Picture> {
    let sources: Vec<Rc<Source>> = streams.iter().flat_map(|s| s.sources()).collect();
    let mut leases = Vec::new();
    let own = misfit(than, size.0, size.1);
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
