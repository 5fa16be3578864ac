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
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Messages of one call.
const BATCH: usize = 128;
/// Pairs that are tried to find an even port with its neighbour.
const TRIES: u32 = 64;
/// Bytes of the sending socket's queue: a key frame for a few receivers.
const QUEUE: usize = 512 * 1024;

/// One packet as slices.
pub struct Parts<'a> {
    slices: [IoSlice<'a>; 8],
    len: usize,
}

impl<'a> Parts<'a> {
    /// Copies the list of slices, not what they point to.
    pub fn new(list: &[IoSlice<'a>]) -> Parts<'a> {
        let mut slices = [IoSlice::new(&[]); 8];
        slices.iter_mut().zip(list).for_each(|(to, from)| *to = *from);
        Parts { slices, len: list.len().min(8) }
    }

    /// Bytes of the packet.
    pub fn size(&self) -> usize {
        self.as_ref().iter().map(|s| s.len()).sum()
    }
}

impl<'a> AsRef<[IoSlice<'a>]> for Parts<'a> {
    fn as_ref(&self) -> &[IoSlice<'a>] {
        self.slices.get(..self.len).unwrap_or(&[])
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
    pub fn send(&self, packets: &[Parts<'_>], to: &[Option<SockaddrStorage>], group: bool) -> usize {
        let socket = match &self.group {
            Some((socket, _)) if group => socket,
            _ => self.rtp.get_ref(),
        };
        let total = packets.len() * to.len();
        let (mut at, mut calls, mut refusals) = (0, 0, 0);
        let mut headers = self.headers.borrow_mut();
        let headers = headers.get_or_insert_with(|| MultiHeaders::preallocate(BATCH, None));
        let none: [ControlMessage<'_>; 0] = [];
        let mut addresses: Vec<Option<SockaddrStorage>> = Vec::with_capacity(total.min(BATCH));
        while at < total && !packets.is_empty() {
            let count = (total - at).min(BATCH);
            addresses.clear();
            let index = at..at + count;
            addresses.extend(index.clone().map(|i| to.get(i / packets.len()).copied().flatten()));
            let slices = index.filter_map(|i| packets.get(i % packets.len()));
            calls += 1;
            let fd = socket.as_raw_fd();
            match sendmmsg(fd, headers, slices, &addresses, none, MsgFlags::MSG_DONTWAIT) {
                Ok(sent) => at += sent.count().max(1),
                Err(Errno::EINTR) => {}
                Err(_) => {
                    // the rest of the frame is lost for this destination, and for no other
                    at = (at / packets.len() + 1) * packets.len();
                    refusals += 1;
                    if refusals > to.len() {
                        break;
                    }
                }
            }
        }
        calls
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
