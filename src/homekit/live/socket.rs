//! The two UDP sockets of one viewer: each carries packets and reports of one medium both ways. They
//! are bound in the family that the viewer asks for, to the address that it knows us by.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::homekit::camera::Endpoints;
use crate::net::reactor::Async;
use nix::sys::socket::{SockaddrStorage, setsockopt, sockopt};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

/// Bytes of a socket's queue: a key frame.
const QUEUE: usize = 256 * 1024;

/// One socket, and where the viewer is.
pub struct Socket {
    /// Itself.
    pub io: Async<UdpSocket>,
    /// The viewer's address and port.
    pub to: SockaddrStorage,
    /// Our port.
    pub port: u16,
}

/// The sockets of one viewer.
pub struct Sockets {
    /// Pictures.
    pub video: Socket,
    /// Sound.
    pub audio: Socket,
    /// Our address, as the viewer is told.
    pub address: IpAddr,
    /// The viewer's.
    pub remote: IpAddr,
}

impl Sockets {
    /// For a viewer who reached us at the address `local`.
    pub fn open(theirs: &Endpoints, local: IpAddr) -> io::Result<Sockets> {
        let (remote, local) = (theirs.address.to_canonical(), local.to_canonical());
        let scope = scope(local);
        let address = match local.is_ipv4() == remote.is_ipv4() {
            true => local,
            false => routed(remote, scope)?,
        };
        let one = |port| -> io::Result<Socket> {
            let io = UdpSocket::bind(place(address, 0, scope))?;
            // as much as the system allows; less is slower, not wrong
            let _ = setsockopt(&io, sockopt::SndBuf, &QUEUE);
            let own = io.local_addr()?.port();
            Ok(Socket { io: Async::new(io)?, to: place(remote, port, scope).into(), port: own })
        };
        Ok(Sockets { video: one(theirs.video_port)?, audio: one(theirs.audio_port)?, address, remote })
    }
}

/// An address with the interface that it is of, where it has to be said.
fn place(address: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, scope).into(),
        other => SocketAddr::new(other, port),
    }
}

/// The number of the interface that has this address; 0 if there is none.
fn scope(local: IpAddr) -> u32 {
    let Ok(mut all) = nix::ifaddrs::getifaddrs() else { return 0 };
    let name = all.find_map(|i| {
        let own = i.address?;
        let v4 = own.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        let own = v4.or_else(|| own.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())));
        (own == Some(local)).then_some(i.interface_name)
    });
    name.and_then(|name| nix::net::if_::if_nametoindex(name.as_str()).ok()).unwrap_or(0)
}

/// The address that we would send from.
fn routed(remote: IpAddr, scope: u32) -> io::Result<IpAddr> {
    let any = match remote {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let probe = UdpSocket::bind((any, 0))?;
    // no packet leaves by this
    probe.connect(place(remote, 9, scope))?;
    Ok(probe.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::homekit::camera::Srtp;

    fn theirs(address: &str) -> Endpoints {
        let srtp = Srtp { key: [0; 16], salt: [0; 14] };
        Endpoints {
            session: [0; 16],
            address: address.parse().unwrap(),
            video_port: 9,
            audio_port: 10,
            video: srtp.clone(),
            audio: srtp,
        }
    }

    #[test]
    fn the_family_is_the_one_that_the_viewer_asks_for() {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let sockets = Sockets::open(&theirs("127.0.0.1"), here).unwrap();
        assert_eq!(sockets.address, here);
        assert_ne!(sockets.video.port, sockets.audio.port);
        assert_eq!(sockets.video.io.get_ref().local_addr().unwrap(), (here, sockets.video.port).into());
        // The control connection came by a mapped address; the sound and pictures go by IPv4.
        let mapped = Sockets::open(&theirs("127.0.0.1"), "::ffff:127.0.0.1".parse().unwrap()).unwrap();
        assert_eq!(mapped.address, here);
        // And by IPv6 where there is any.
        if UdpSocket::bind("[::1]:0").is_ok() {
            assert_eq!(
                Sockets::open(&theirs("::1"), here).unwrap().address,
                "::1".parse::<IpAddr>().unwrap()
            );
            let back = Sockets::open(&theirs("127.0.0.1"), "::1".parse().unwrap()).unwrap();
            assert_eq!(back.address, here);
        }
    }

    #[test]
    fn an_address_of_nobody_is_an_error() {
        assert!(Sockets::open(&theirs("192.0.2.1"), "203.0.113.77".parse().unwrap()).is_err());
        assert_eq!(scope("203.0.113.77".parse().unwrap()), 0);
    }
}
