//! Where the RTSP server is reached: it takes connections and has each served by a task of its own.

use super::connection;
use super::line::Line;
use super::server::Server;
use crate::net::limits::{ACCEPT_PAUSE, YIELD_MESSAGES};
use crate::net::log;
use crate::net::reactor::Timer;
use crate::net::socket::{Listener, Peer, Socket};
use async_task::Task;
use futures_lite::future::yield_now;
use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;

/// What those are told for whom there is no room.
const CROWDED: &[u8] = b"RTSP/1.0 503 Service Unavailable\r\nRetry-After: 10\r\n\r\n";

/// A listener at work. Dropping it stops listening and closes what came by it.
pub struct Listening {
    server: Rc<Server>,
    id: u32,
    _task: Task<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.server.close(self.id);
    }
}

/// Serves what comes by that listener, as long as the result is kept.
pub fn serve(server: &Rc<Server>, listener: Listener) -> Listening {
    let id = server.next_listener();
    let shared = server.clone();
    let task = server.executor.spawn(async move {
        let mut turns = 0u32;
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => welcome(&shared, socket, peer, id),
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    log::warn!(target: "rtsp", "no connection can be accepted just now: {e}");
                    Timer::after(ACCEPT_PAUSE).await;
                }
            }
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(YIELD_MESSAGES) {
                yield_now().await;
            }
        }
    });
    Listening { server: server.clone(), id, _task: task }
}

fn welcome(server: &Rc<Server>, socket: Socket, peer: Peer, listener: u32) {
    match server.enter(socket, peer, listener) {
        Ok(line) => {
            let shared = server.clone();
            let run = async move {
                let leave = Leave(shared.clone(), line.clone());
                connection::run(shared, line).await;
                drop(leave);
            };
            server.executor.spawn(run).detach();
        }
        Err(socket) => drop(socket.try_write(&[IoSlice::new(CROWDED)])),
    }
}

struct Leave(Rc<Server>, Rc<Line>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.leave(&self.1);
    }
}
