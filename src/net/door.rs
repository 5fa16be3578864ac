//! Takes whoever comes by a listener, one after another, as long as somebody welcomes them. What is said on
//! a connection is not its business.

use super::limits::{ACCEPT_PAUSE, YIELD_MESSAGES};
use super::reactor::Timer;
use super::socket::{Listener, Peer, Socket};
use futures_lite::future::yield_now;
use std::io::ErrorKind;

/// Has `welcome` take each connection until it says that it takes no more; `room` is told in the log.
pub async fn accept(listener: Listener, room: &'static str, welcome: Box<dyn Fn(Socket, Peer) -> bool>) {
    let mut turns = 0u32;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                if !welcome(socket, peer) {
                    return;
                }
            }
            // it has gone before its turn came
            Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
            Err(e) => {
                log::warn!(target: room, "no connection can be accepted just now: {e}");
                Timer::after(ACCEPT_PAUSE).await;
            }
        }
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(YIELD_MESSAGES) {
            yield_now().await;
        }
    }
}
