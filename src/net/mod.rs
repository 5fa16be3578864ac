//! What touches the network and the system: sockets, HTTP, users, workers, clocks, signals.

pub mod auth;
pub mod base64;
pub mod clock;
pub mod digest;
#[cfg(feature = "homekit")]
pub mod door;
pub mod executor;
#[cfg(test)]
pub(crate) mod heap;
pub mod http;
pub mod json;
pub mod limits;
pub mod lists;
pub mod log;
pub mod mask;
pub mod md5;
pub mod mdns;
pub mod names;
pub mod process;
pub mod quoted;
pub mod random;
pub mod reactor;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod sha1;
pub mod signals;
pub mod sleeper;
pub mod socket;
#[cfg(feature = "homekit")]
pub mod srtp;
#[cfg(feature = "homekit")]
pub mod udp;
pub mod users;
pub mod websocket;
pub mod worker;
