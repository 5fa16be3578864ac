//! What one server is for, and its bounds.

use crate::media::Time;
use crate::net::limits::{
    HTTP_BODY_TIME, HTTP_CONNECTIONS, HTTP_CONNECTIONS_PEER, HTTP_HEAD_TIME, HTTP_IDLE_TIME,
    HTTP_LINGER_TIME, HTTP_REQUESTS, HTTP_WRITE_TIME,
};
use crate::net::users::Door;
use std::time::Duration;

/// The bounds of one server; the usual ones stand in `net::limits`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Limits {
    pub connections: usize,
    pub connections_peer: usize,
    pub requests: u32,
    pub head_time: Duration,
    pub body_time: Duration,
    pub idle_time: Duration,
    pub write_time: Duration,
    pub linger_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: HTTP_CONNECTIONS,
            connections_peer: HTTP_CONNECTIONS_PEER,
            requests: HTTP_REQUESTS,
            head_time: HTTP_HEAD_TIME,
            body_time: HTTP_BODY_TIME,
            idle_time: HTTP_IDLE_TIME,
            write_time: HTTP_WRITE_TIME,
            linger_time: HTTP_LINGER_TIME,
        }
    }
}

/// What one server is for.
#[derive(Clone, Copy)]
pub struct Settings {
    /// Whose keys fit.
    pub door: Door,
    /// Everybody who reaches it may do everything: the control socket, which the file's mode guards.
    pub trusted: bool,
    /// Today's time, the same for all who share the authenticator.
    pub clock: fn() -> Time,
    /// When the program started, by that clock.
    pub started: Time,
    /// Its bounds.
    pub limits: Limits,
}
