//! The sockets that everything above shares: one listener and one stream type for TCP and Unix
//! sockets. Reading and writing is tried first and only then awaited. Knows no protocol.

use super::limits::LISTEN_BACKLOG;
use super::quoted::io_error;
use crate::net::log;
use crate::net::reactor::Async;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, listen, recv,
    setsockopt, socket, sockopt,
};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

/// The two ends of a connection; neither for a Unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Who came.
    pub remote: Option<SocketAddr>,
    /// The address that it came to.
    pub local: Option<SocketAddr>,
}

impl Peer {
    /// The peer's address, an IPv4 one as such.
    pub fn address(&self) -> Option<IpAddr> {
        self.remote.map(|a| a.ip())
    }

    /// Whether it is on this machine (or says so: a proxy on this machine is here too).
    pub fn is_here(&self) -> bool {
        self.address().is_none_or(|a| a.is_loopback())
    }

    /// The address it came to and the length of that network's prefix, if an interface has it.
    pub fn network(&self) -> Option<(IpAddr, u8)> {
        let local = self.local?.ip().to_canonical();
        let ip = |s: Option<nix::sys::socket::SockaddrStorage>| {
            let s = s?;
            let v4 = s.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| s.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        };
        let found = nix::ifaddrs::getifaddrs().ok()?.find(|i| ip(i.address) == Some(local))?;
        let ones = match ip(found.netmask)? {
            IpAddr::V4(m) => u32::from(m).leading_ones(),
            IpAddr::V6(m) => u128::from(m).leading_ones(),
        };
        Some((local, ones as u8))
    }
}

/// A connected stream.
pub enum Socket {
    /// Over the network.
    Tcp(Async<TcpStream>),
    /// On this machine.
    Unix(Async<UnixStream>),
}

impl Socket {
    fn fd(&self) -> RawFd {
        match self {
            Socket::Tcp(s) => s.get_ref().as_raw_fd(),
            Socket::Unix(s) => s.get_ref().as_raw_fd(),
        }
    }

    /// Reads what is there; `WouldBlock` if nothing is, 0 at the end.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Socket::Tcp(s) => s.get_ref().read(buf),
                Socket::Unix(s) => s.get_ref().read(buf),
            };
            match result {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Writes what fits, which may be nothing.
    pub fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let result = match self {
                Socket::Tcp(s) => s.get_ref().write_vectored(parts),
                Socket::Unix(s) => s.get_ref().write_vectored(parts),
            };
            match result {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(0),
                result => return result,
            }
        }
    }

    /// Waits until there may be something to read.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(s) => s.readable().await,
            Socket::Unix(s) => s.readable().await,
        }
    }

    /// Waits until there may be room to write.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(s) => s.writable().await,
            Socket::Unix(s) => s.writable().await,
        }
    }

    /// Ready when there may be something to read; stays registered between calls, which costs no
    /// system call then.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(s) => s.poll_readable(cx),
            Socket::Unix(s) => s.poll_readable(cx),
        }
    }

    /// Ready when there may be room to write; as [`Socket::poll_readable`].
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(s) => s.poll_writable(cx),
            Socket::Unix(s) => s.poll_writable(cx),
        }
    }

    /// Reads, waiting until there is something.
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.try_read(buf) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.readable().await?,
                result => return result,
            }
        }
    }

    /// Waits until the peer has hung up. Never comes back if it sends something instead, which
    /// stays unread.
    pub async fn gone(&self) {
        loop {
            match recv(self.fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {
                    if self.readable().await.is_err() {
                        return;
                    }
                }
                Ok(n) if n > 0 => return std::future::pending().await,
                _ => return,
            }
        }
    }

    /// Ends one or both directions; whoever waits on them wakes up.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Socket::Tcp(s) => s.get_ref().shutdown(how),
            Socket::Unix(s) => s.get_ref().shutdown(how),
        };
    }
}

/// A place where streams arrive.
pub enum Listener {
    /// From the network.
    Tcp(Async<TcpListener>),
    /// From this machine.
    Unix(UnixDoor),
}

/// A Unix socket that takes its file along when it goes.
pub struct UnixDoor {
    listener: Async<UnixListener>,
    path: PathBuf,
    inode: u64,
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        // Somebody else may have put a new socket there by now.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Listens at `:1984` (everywhere, IPv4 and IPv6), `192.168.1.9:1984` or `[::1]:1984`.
    pub fn tcp(address: &str) -> io::Result<Listener> {
        let wrong =
            || io_error(ErrorKind::InvalidInput, "expected ':port', 'address:port' or '[address]:port'");
        if let Some(port) = address.strip_prefix(':') {
            let port = port.parse().map_err(|_| wrong())?;
            return match Listener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
                Err(e) if e.kind() != ErrorKind::AddrInUse && e.kind() != ErrorKind::PermissionDenied => {
                    Listener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
                }
                result => result,
            };
        }
        let address = address.replace("localhost:", "127.0.0.1:");
        Listener::bind(address.parse().map_err(|_| wrong())?)
    }

    /// Listens there; the IPv6 wildcard takes IPv4 too.
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(family, SockType::Stream, flags, None)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        let bound = || match address {
            SocketAddr::V4(a) => bind(fd.as_raw_fd(), &SockaddrIn::from(a)),
            SocketAddr::V6(a) => {
                setsockopt(&fd, sockopt::Ipv6V6Only, &!a.ip().is_unspecified())?;
                bind(fd.as_raw_fd(), &SockaddrIn6::from(a))
            }
        };
        match bound() {
            Err(Errno::EADDRNOTAVAIL) => {
                // a camera starts before it has its address
                setsockopt(&fd, sockopt::IpFreebind, &true)?;
                bound()?;
                log::warn!(target: "app", "no interface has the address {} yet", address.ip());
            }
            bound => bound?,
        }
        listen(&fd, Backlog::new(LISTEN_BACKLOG)?)?;
        Ok(Listener::Tcp(Async::new_nonblocking(TcpListener::from(fd))?))
    }

    /// Listens at that path, for its owner only. A socket that nobody listens to is replaced.
    pub fn unix(path: &Path) -> io::Result<Listener> {
        if std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
            if UnixStream::connect(path).is_ok() {
                return Err(ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(path);
        nix::sys::stat::umask(before);
        let listener = Async::new(listener?)?;
        let inode = std::fs::symlink_metadata(path)?.ino();
        Ok(Listener::Unix(UnixDoor { listener, path: path.to_owned(), inode }))
    }

    /// The address, if it is a network's.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(l) => l.get_ref().local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    /// Listens no more, at once: the port is free for another, whoever still waits here.
    pub fn close(&self) {
        use std::os::fd::AsFd;
        let fd = match self {
            Listener::Tcp(l) => l.as_fd(),
            Listener::Unix(l) => l.listener.as_fd(),
        };
        let _ = nix::sys::socket::shutdown(fd.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    /// The next stream. Small packets leave at once.
    pub async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Listener::Tcp(l) => {
                let (stream, remote) = l.accept().await?;
                // ::ffff:192.168.1.2 is 192.168.1.2 to everybody who reads it
                let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                stream.get_ref().set_nodelay(true)?;
                let local = stream.get_ref().local_addr().ok();
                Ok((Socket::Tcp(stream), Peer { remote: Some(remote), local }))
            }
            Listener::Unix(l) => {
                let stream = l.listener.accept().await?;
                Ok((Socket::Unix(stream), Peer::default()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn both_families_come_by_one_port() {
        let listener = Listener::tcp(":0").unwrap();
        let port = listener.local_address().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (_, peer) = crate::net::reactor::block_on(listener.accept()).unwrap();
        assert_eq!(peer.address(), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert!(peer.remote.is_some_and(|a| a.to_string().starts_with("127.0.0.1:")));
        assert!(peer.is_here());
        assert_eq!(peer.network(), Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 8)));
        for bad in ["", ":", ":x", "1984", "a:b", ":70000", "1.2.3.4"] {
            assert!(Listener::tcp(bad).is_err(), "{bad}");
        }
        let taken = Listener::tcp(&format!(":{port}")).err().unwrap();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn the_socket_file_is_private_replaced_and_removed() {
        let path = std::env::temp_dir().join(format!("streamd-socket-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        drop(UnixListener::bind(&path).unwrap());
        let listener = Listener::unix(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Listener::unix(&path).is_err(), "one that is listened to is not taken away");
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "not a socket").unwrap();
        assert!(Listener::unix(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
