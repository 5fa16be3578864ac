//! The hall: every stream, the tracks that its sources fill and the readers that take from them.
//! Frames flow from a source's [`Inlet`] into a [`Track`]'s ring and from there, in place, to every
//! [`Reader`]. Nothing here knows a protocol, and nothing here queues media beside the ring.

mod choice;
mod clip;
mod hall;
mod play;
mod reader;
mod ring;
mod source;
mod speaker;
mod spec;
mod speech;
#[allow(clippy::module_inception)]
mod stream;
mod track;
mod transcode;
mod video;
mod viewer;

pub use choice::{Picture, better, first};
pub use clip::{Clip, Cut, KEY_AGE, LONGEST};
pub use hall::{Hall, SOURCES, STREAMS, VIEWERS};
pub use play::PlayError;
pub use reader::{Join, Reader, Shown, Step};
pub use ring::{Frame, Meta, Ring, STEP, TooBig};
pub use source::{
    Command, Connect, Executor, Lease, Link, Local, MakeJpeg, Outlet, Producer, Sides, Source, SourceError,
    State, backoff, codec_list,
};
pub use speaker::{Speaker, Talk, Voice};
pub use spec::{SourceSpec, SpecError};
pub use speech::Speech;
pub use stream::{AttachError, Found, Holder, Off, Publication, Stream, Wish, parse_sources};
pub use track::{Bounds, Inlet, Keep, Track, TrackStats, bump};
pub use transcode::Pipe;
pub use video::VideoInlet;
pub use viewer::{Close, Peer, Viewer, ViewerStats};
