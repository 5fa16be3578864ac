//! RTSP 1.0 (RFC 2326): what viewers, recorders and cameras say to each other about media that flows
//! as RTP. Here is the wire ([`message`], [`transport`]), the choice of tracks in a URL ([`filter`])
//! and the state of one session ([`session`]), all of it pure: bytes and times in, values out.

pub mod answering;
pub mod backchannel;
pub mod cast;
pub mod client;
mod connection;
pub mod consumer;
pub mod dialogue;
pub mod filter;
pub mod flow;
pub mod flows;
pub mod ingest;
pub mod intake;
mod line;
pub mod listener;
pub mod live;
pub mod message;
mod metadata;
pub mod plan;
pub mod producer;
mod requests;
mod senders;
pub mod server;
pub mod session;
mod sessions;
#[cfg(not(feature = "tunnel"))]
mod shut;
pub mod transport;
#[cfg(feature = "tunnel")]
mod tunnel;
pub mod udp;
#[cfg(feature = "tunnel")]
mod upgrade;
pub mod url;
#[cfg(feature = "tunnel")]
mod websocket;

#[cfg(not(feature = "tunnel"))]
use shut::{tunnel, upgrade, websocket};

pub use message::{Headers, Item, Method, ParseError, Parser, Reply, Request, Response};
pub use url::Url;
