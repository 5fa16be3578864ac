//! What flows through the house and what is inside it: codecs, time, and the bitstreams of each
//! codec. Everything here is pure: bytes and times in, values out. Nothing here knows a socket,
//! a file or a clock.

pub mod aac;
pub mod annexb;
pub mod bits;
mod codec;
pub mod convert;
pub mod encode;
pub mod g711;
pub mod h264;
pub mod h265;
pub mod jpeg;
pub mod nal;
mod nal_kind;
pub mod opus;
pub mod opus_repack;
pub mod parameter_sets;
pub mod pcm;
pub mod rtptime;
pub mod sei;
#[cfg(test)]
pub(crate) mod testing;
mod time;

pub use codec::{Codec, CodecId, Direction, Kind, Media};
pub use time::Time;
