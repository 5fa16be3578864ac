//! Datagrams in one reused buffer, sent to one receiver in as few calls as can be. Whoever writes them
//! may still change them where they lie, as SRTP does. Sending never waits.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Datagrams of one batch: a picture of 2 Mbit/s at 25 a second.
pub const BATCH: usize = 10;

/// How a batch was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams that are on their way, or were refused by the path.
    pub count: usize,
    /// The socket takes no more for now; the rest was not sent.
    pub full: bool,
}

/// Some datagrams.
pub struct Batch {
    bytes: Vec<u8>,
    ends: [usize; BATCH],
    count: usize,
    headers: Option<MultiHeaders<SockaddrStorage>>,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { bytes: Vec::new(), ends: [0; BATCH], count: 0, headers: None }
    }
}

impl Batch {
    /// Forgets its datagrams, and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether there is room for no more.
    pub fn is_full(&self) -> bool {
        self.count >= BATCH
    }

    /// Writes a datagram behind the others and gives it to `finish`; one that fails is left out.
    pub fn add<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>),
        finish: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let from = self.bytes.len();
        write(&mut self.bytes);
        let done = finish(self.bytes.get_mut(from..).unwrap_or_default());
        let len = self.bytes.len() - from;
        match self.ends.get_mut(self.count) {
            Some(end) if done.is_ok() => {
                *end = self.bytes.len();
                self.count += 1;
            }
            _ => self.bytes.truncate(from),
        }
        done.map(|()| len)
    }

    /// Sends them all. What the path refuses is lost like what the network loses.
    pub fn send(&mut self, socket: &UdpSocket, to: &SockaddrStorage) -> Sent {
        let headers = self.headers.get_or_insert_with(|| MultiHeaders::preallocate(BATCH, None));
        let addresses = [Some(*to); BATCH];
        let none: [ControlMessage<'_>; 0] = [];
        let mut slices: [[IoSlice<'_>; 1]; BATCH] = [[IoSlice::new(&[])]; BATCH];
        let mut from = 0;
        for (slice, &end) in slices.iter_mut().zip(self.ends.iter().take(self.count)) {
            *slice = [IoSlice::new(self.bytes.get(from..end).unwrap_or_default())];
            from = end;
        }
        let mut at = 0;
        while at < self.count {
            let rest = slices.get(at..self.count).unwrap_or_default();
            let to = addresses.get(..rest.len()).unwrap_or_default();
            match sendmmsg(socket.as_raw_fd(), headers, rest, to, none, MsgFlags::MSG_DONTWAIT) {
                Ok(sent) => at += sent.count().max(1),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return Sent { count: at, full: true },
                // the first of them is refused: an unreachable host, or news of one before
                Err(_) => at += 1,
            }
        }
        Sent { count: at, full: false }
    }

    /// Bytes that it holds on to.
    pub fn held(&self) -> usize {
        self.bytes.capacity() + size_of::<Batch>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::time::Duration;

    #[test]
    fn all_arrive_as_they_were_written_and_changed() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = SockaddrStorage::from(receiver.local_addr().unwrap());
        let mut batch = Batch::default();
        for round in 0..3u8 {
            batch.clear();
            let mut n = 0;
            while !batch.is_full() {
                let refused = batch.add(|b| b.extend_from_slice(b"no"), |_| Err(()));
                assert_eq!(refused, Err(()));
                let write = |b: &mut Vec<u8>| b.extend_from_slice(&vec![0; usize::from(n) + 1]);
                let finish = |d: &mut [u8]| {
                    d.fill(n + round);
                    Ok::<(), Infallible>(())
                };
                assert_eq!(batch.add(write, finish), Ok(usize::from(n) + 1));
                n += 1;
            }
            assert_eq!(batch.send(&socket, &to), Sent { count: BATCH, full: false });
            for n in 0..BATCH {
                let mut came = [0; 100];
                let len = receiver.recv(&mut came).unwrap();
                assert_eq!(came[..len], vec![n as u8 + round; n + 1]);
            }
        }
    }

    #[test]
    fn nobody_there_is_no_reason_to_stop() {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut batch = Batch::default();
        for _ in 0..20 {
            batch.clear();
            while !batch.is_full() {
                batch.add(|b| b.push(1), |_| Ok::<(), Infallible>(())).unwrap();
            }
            assert_eq!(batch.send(&socket, &SockaddrStorage::from(gone)).count, BATCH);
        }
    }
}
