//! HTTP/1.1, for everything in the camera that is asked by HTTP: API, pages, ONVIF, the control
//! socket. `message` and `uri` know bytes, `router` and `gate` decide who gets where, `server` has
//! the listeners and
//! `connection` the bytes. Nothing here knows what a stream is.

pub mod client;
mod connection;
mod gate;
mod message;
mod refusal;
mod response;
mod router;
mod server;
mod settings;
mod uri;

pub use connection::{BodyWriter, Taken};
pub use message::{BodyReader, Fields, Framing, Head, Inbox, Method, Refusal, Version};
pub use response::Response;
pub use router::{Access, Group, Handler, Request, Route, Router, handler, now};
pub use server::{Limits, Listening, Server, Settings, Stats, is_local};
pub use uri::{Query, decode_path, percent_decode, percent_encode};
