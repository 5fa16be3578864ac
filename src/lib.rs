//! streamd lives in a camera. Encoded video comes in, once; every viewer, hub and recorder is
//! served from the same memory.
//!
//! The house, from the roof down; arrows run down only, rooms on one floor do not know each other:
//!
//! ```text
//! app                       configuration, start-up, command line, log; the one table of modules
//! device  rtsp  homekit     what the camera itself offers  |  one folder for each protocol
//! stream  motion            the hall: tracks, readers, matching, reconnect; the event bus
//! net  container            sockets, HTTP, users, workers  |  files and byte streams to frames
//! media                     what flows: codec, time; what is inside it
//! ```
//!
//! A new protocol is one folder beside `device`, one feature, its rows in `app::modules` and its table
//! in `app::config::sections`, and one file in `app` that starts it (`app::program::Service`). A new
//! kind of source is one file in `device` and a row in `app::modules`.
#![warn(missing_docs)]

pub mod app;
pub mod container;
pub mod device;
#[cfg(feature = "homekit")]
pub mod homekit;
pub mod media;
pub mod motion;
pub mod net;
#[cfg(feature = "record")]
pub mod record;
#[cfg(feature = "rtsp")]
pub mod rtsp;
pub mod stream;
