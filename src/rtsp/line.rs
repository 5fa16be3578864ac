//! A connection as everybody knows it: its socket, where it comes from, and by when it has to do
//! something. What is said on it is not known here.

use crate::media::Time;
use crate::net::auth::address_key;
use crate::net::limits::rtsp as limits;
use crate::net::socket::{Peer, Socket};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::Shutdown;

/// A connection as the server knows it.
pub struct Line {
    /// Its number, never used again.
    pub id: u64,
    /// Its socket.
    pub socket: Socket,
    /// Its ends.
    pub peer: Peer,
    /// Its address as far as it tells peers apart.
    pub key: [u8; 9],
    /// The listener by which it came.
    pub listener: u32,
    /// When it came.
    pub since: Time,
    /// It has become a WebSocket.
    pub web: Cell<bool>,
    /// A browser's page speaks by it: that it is on this machine says nothing about whose page it is.
    pub page: Cell<bool>,
    /// It is somebody who may be here: not the first to be closed.
    pub known: Cell<bool>,
    /// It is closed if it has not done what it owes by then.
    pub deadline: Cell<Option<Time>>,
    closed: Cell<bool>,
}

impl Line {
    /// A connection that came just now.
    pub fn new(id: u64, socket: Socket, peer: Peer, listener: u32, now: Time) -> Line {
        Line {
            id,
            socket,
            key: address_key(peer.address()),
            peer,
            listener,
            since: now,
            web: Cell::new(false),
            page: Cell::new(false),
            known: Cell::new(false),
            deadline: Cell::new(Some(now + limits::FIRST)),
            closed: Cell::new(false),
        }
    }

    /// Where it comes from, for the log.
    pub fn remote(&self) -> String {
        self.peer.remote.map_or_else(String::new, |a| a.to_string())
    }

    /// What flows by it, for the statistics.
    pub fn protocol(&self) -> &'static str {
        if self.web.get() { "rtsp+ws" } else { "rtsp+tcp" }
    }

    /// Whether it was closed from this side.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Closes it; its task will notice.
    pub fn close(&self) {
        self.closed.set(true);
        self.socket.shutdown(Shutdown::Both);
    }
}

/// Whether an error means only that the peer has gone.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}
