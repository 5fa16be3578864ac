//! The two UDP sockets of the server, and the sends by them. One call sends a frame's packets to
//! many receivers; what one receiver's path refuses is dropped for that one. What comes in is
//! brought to the session that its address and port belong to.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::transport::Pair;
use crate::net::limits::YIELD_MESSAGES;
use crate::net::limits::rtsp::DATAGRAM;
use crate::net::reactor::Async;
use futures_lite::future::yield_now;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, setsockopt, sockopt,
};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Messages of one call.
const BATCH: usize = 128;
/// Pairs that are tried to find an even port with its neighbour.
const TRIES: u32 = 64;
/// Bytes of the sending socket's queue: a key frame for a few receivers.
const QUEUE: usize = 512 * 1024;

/// Segments that the system cuts one message into, and the bytes of such a message.
const SEGMENTS: usize = 44;
const SEGMENTED: usize = 60_000;

/// Packets as slices, all in one list.
#[derive(Default)]
pub struct Packets<'a> {
    slices: Vec<IoSlice<'a>>,
    /// Where each packet's slices end, and its bytes.
    ends: Vec<(usize, usize)>,
}

impl<'a> Packets<'a> {
    /// Adds a packet: copies the list of slices, not what they point to.
    pub fn push(&mut self, list: &[IoSlice<'a>]) {
        self.slices.extend_from_slice(list);
        self.ends.push((self.slices.len(), list.iter().map(|s| s.len()).sum()));
    }

    /// Bytes of all packets.
    pub fn bytes(&self) -> usize {
        self.ends.iter().map(|e| e.1).sum()
    }

    /// The messages to be sent to each destination. With `segment`, neighbours of that size, and a
    /// shorter one behind them, go as one message that the system cuts again.
    fn messages(&self, segment: usize) -> Vec<&[IoSlice<'a>]> {
        let mut messages = Vec::with_capacity(self.ends.len());
        let (mut from, mut to, mut count, mut bytes, mut open) = (0, 0, 0, 0, false);
        for &(end, size) in &self.ends {
            if !(open && size <= segment && count < SEGMENTS && bytes + size <= SEGMENTED) {
                messages.extend(self.slices.get(from..to).filter(|m| !m.is_empty()));
                (from, count, bytes) = (to, 0, 0);
            }
            (to, count, bytes, open) = (end, count + 1, bytes + size, size == segment);
        }
        messages.extend(self.slices.get(from..to).filter(|m| !m.is_empty()));
        messages
    }
}

/// The sockets.
pub struct Udp {
    rtp: Async<UdpSocket>,
    rtcp: Async<UdpSocket>,
    ports: Pair<u16>,
    v6: bool,
    /// Sends to groups, and how far they reach.
    group: Option<(UdpSocket, u8)>,
    headers: RefCell<Option<MultiHeaders<SockaddrStorage>>>,
    /// The system cuts messages into packets (since Linux 4.18), as far as is known; and at how many
    /// bytes it was told to, for the sockets of receivers and of groups.
    cuts: Cell<bool>,
    cut_at: [Cell<usize>; 2],
}

impl Udp {
    /// An even port and the next; `port` 0 takes any.
    pub fn open(port: u16) -> io::Result<Udp> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for ip in [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)] {
            for _ in 0..if port == 0 { TRIES } else { 1 } {
                let pair = UdpSocket::bind((ip, port)).and_then(|rtp| {
                    let own = rtp.local_addr()?.port();
                    if own % 2 == 1 || own == u16::MAX - 1 {
                        return Err(io::ErrorKind::AddrInUse.into());
                    }
                    Ok((own, rtp, UdpSocket::bind((ip, own + 1))?))
                });
                match pair {
                    Ok((own, rtp, rtcp)) => {
                        let _ = setsockopt(&rtp, sockopt::SndBuf, &QUEUE);
                        let _ = setsockopt(&rtp, sockopt::RcvBuf, &QUEUE);
                        return Ok(Udp {
                            rtp: Async::new(rtp)?,
                            rtcp: Async::new(rtcp)?,
                            ports: (own, own + 1),
                            v6: ip.is_ipv6(),
                            group: None,
                            headers: RefCell::new(None),
                            cuts: Cell::new(true),
                            cut_at: Default::default(),
                        });
                    }
                    Err(e) => last = e,
                }
            }
        }
        Err(last)
    }

    /// Sends to groups too.
    pub fn open_group(&mut self, ttl: u8) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        socket.set_multicast_ttl_v4(ttl.into())?;
        // viewers on this machine are viewers too
        socket.set_multicast_loop_v4(true)?;
        self.group = Some((socket, ttl));
        Ok(())
    }

    /// How far groups reach, if there are any.
    pub fn ttl(&self) -> Option<u8> {
        self.group.as_ref().map(|(_, ttl)| *ttl)
    }

    /// Its ports.
    pub fn ports(&self) -> Pair<u16> {
        self.ports
    }

    /// Where a receiver is, as these sockets have to say it.
    pub fn destination(&self, address: IpAddr, port: u16) -> SocketAddr {
        let address = match address.to_canonical() {
            IpAddr::V4(v4) if self.v6 => IpAddr::V6(v4.to_ipv6_mapped()),
            other => other,
        };
        SocketAddr::new(address, port)
    }

    /// Sends a report.
    pub fn report(&self, to: SocketAddr, bytes: &[u8]) {
        let socket = match &self.group {
            Some((group, _)) if to.ip().is_multicast() => group,
            _ => self.rtcp.get_ref(),
        };
        // lost reports are like lost packets
        let _ = socket.send_to(bytes, to);
    }

    /// Sends every packet to every destination, in as few calls as can be. Gives the calls made.
    pub fn send(&self, packets: &Packets<'_>, to: &[Option<SockaddrStorage>], group: bool) -> usize {
        let socket = match &self.group {
            Some((socket, _)) if group => socket,
            _ => self.rtp.get_ref(),
        };
        let mut segment = self.segment(packets, socket, group);
        let mut messages = packets.messages(segment);
        let (mut at, mut calls, mut refusals) = (0, 0, 0);
        let mut headers = self.headers.borrow_mut();
        let headers = headers.get_or_insert_with(|| MultiHeaders::preallocate(BATCH, None));
        let none: [ControlMessage<'_>; 0] = [];
        let mut addresses: Vec<Option<SockaddrStorage>> = Vec::new();
        while at < messages.len() * to.len() {
            let index = at..(at + BATCH).min(messages.len() * to.len());
            addresses.clear();
            addresses.extend(index.clone().map(|i| to.get(i / messages.len()).copied().flatten()));
            let slices = index.filter_map(|i| messages.get(i % messages.len()));
            calls += 1;
            let fd = socket.as_raw_fd();
            match sendmmsg(fd, headers, slices, &addresses, none, MsgFlags::MSG_DONTWAIT) {
                Ok(sent) => at += sent.count().max(1),
                Err(Errno::EINTR) => {}
                Err(Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE | Errno::EOPNOTSUPP) if segment != 0 => {
                    // a system or a device that cannot cut: from the first packet of this destination
                    // on it is done as ever
                    let destination = at / messages.len();
                    self.cuts.set(false);
                    self.cut(socket, group, 0);
                    segment = 0;
                    messages = packets.messages(0);
                    at = destination * messages.len();
                }
                Err(_) => {
                    // the rest of the frame is lost for this destination, and for no other
                    at = (at / messages.len() + 1) * messages.len();
                    refusals += 1;
                    if refusals > to.len() {
                        break;
                    }
                }
            }
        }
        calls
    }

    /// At how many bytes the system is to cut messages of these packets; 0 if it does not.
    fn segment(&self, packets: &Packets<'_>, socket: &UdpSocket, group: bool) -> usize {
        let most = packets.ends.iter().map(|e| e.1).max().unwrap_or(0);
        let neighbours = packets.ends.windows(2).any(|w| matches!(w, [a, b] if a.1 == most && b.1 <= most));
        let [own, groups] = &self.cut_at;
        let now = if group { groups.get() } else { own.get() };
        if !self.cuts.get() {
            return 0;
        }
        // what goes alone must not be cut either
        if neighbours && now != most || now < most && now != 0 {
            self.cut(socket, group, if neighbours { most } else { 0 });
        }
        if neighbours && self.cuts.get() { most } else { 0 }
    }

    fn cut(&self, socket: &UdpSocket, group: bool, at: usize) {
        let done = setsockopt(socket, sockopt::UdpGsoSegment, &(at as i32));
        if done.is_err() {
            self.cuts.set(false);
        }
        let [own, groups] = &self.cut_at;
        let place = if group { groups } else { own };
        place.set(if done.is_ok() { at } else { 0 });
    }

    /// Hands over what comes, with where it is from; until that says no.
    pub async fn receive(&self, control: bool, mut came: impl FnMut(SocketAddr, &[u8]) -> bool) {
        let socket = if control { &self.rtcp } else { &self.rtp };
        let mut bytes = vec![0; DATAGRAM];
        let mut turns = 0u32;
        loop {
            let (len, from) = match socket.recv_from(&mut bytes).await {
                Ok(came) => came,
                Err(_) => {
                    // a path that told us so; the next one is another's
                    yield_now().await;
                    continue;
                }
            };
            if !came(from, bytes.get(..len).unwrap_or(&[])) {
                return;
            }
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(YIELD_MESSAGES) {
                yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(list: &[usize], segment: usize) -> Vec<(usize, usize)> {
        let bytes = vec![0; 3000];
        let mut packets = Packets::default();
        for &size in list {
            packets.push(&[IoSlice::new(&bytes[..12]), IoSlice::new(&bytes[12..size])]);
        }
        assert_eq!(packets.bytes(), list.iter().sum::<usize>());
        let messages = packets.messages(segment);
        messages.iter().map(|m| (m.len() / 2, m.iter().map(|s| s.len()).sum())).collect()
    }

    #[test]
    fn neighbours_of_one_size_go_as_one_message() {
        assert_eq!(sizes(&[30, 20, 1400, 1400, 500], 1400), [(1, 30), (1, 20), (3, 3300)]);
        assert_eq!(sizes(&[1400, 1400, 500, 1400, 7 + 12], 1400), [(3, 3300), (2, 1419)]);
        assert_eq!(sizes(&[30, 20], 0), [(1, 30), (1, 20)]);
        assert_eq!(sizes(&[1400, 1400], 0), [(1, 1400), (1, 1400)]);
        assert!(sizes(&[], 1400).is_empty());
        let many = sizes(&[1400; 100], 1400);
        assert!(many.iter().all(|m| m.1 <= 65_507) && many.iter().map(|m| m.0).sum::<usize>() == 100);
    }

    /// What receivers get has to be the same whoever cuts it, in whatever order frames come.
    #[test]
    fn packets_arrive_as_they_are() {
        let udp = Udp::open(0).unwrap();
        let receivers = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = receivers.each_ref().map(|r| {
            r.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
            let port = r.local_addr().unwrap().port();
            Some(SockaddrStorage::from(udp.destination(IpAddr::V4(Ipv4Addr::LOCALHOST), port)))
        });
        let bytes: Vec<u8> = (0..3000).map(|i| i as u8).collect();
        for cuts in [true, false] {
            udp.cuts.set(cuts);
            for list in [&[20, 1400, 1400, 700][..], &[172], &[1000, 1000, 1000], &[1300], &[50, 900]] {
                let mut packets = Packets::default();
                for (n, &size) in list.iter().enumerate() {
                    packets.push(&[
                        IoSlice::new(&bytes[n..n + 12]),
                        IoSlice::new(&bytes[100 + n..100 + n + size - 12]),
                    ]);
                }
                udp.send(&packets, &to, false);
                for receiver in &receivers {
                    for (n, &size) in list.iter().enumerate() {
                        let mut came = [0; 2048];
                        assert_eq!(receiver.recv(&mut came).unwrap(), size, "{list:?}");
                        assert_eq!(came[..12], bytes[n..n + 12]);
                        assert_eq!(came[12..size], bytes[100 + n..100 + n + size - 12]);
                    }
                }
            }
        }
    }
}
