//! The sockets of the responder: one by each protocol on the port that all share, bound to no interface,
//! and one on which the kernel says that interfaces or addresses have changed. All of them are there
//! only while something is registered; at rest nothing wakes but what others send.

use super::claim::{Claim, Invalid, Service};
use super::interfaces::interfaces;
use super::session::{Link, Origin, PORT, Packet, Session};
use super::{Mode, Settings, files};
use crate::media::Time;
use crate::net::clock;
use crate::net::executor::LocalExecutor;
use crate::net::limits::{MDNS_READ, MDNS_SERVICES, YIELD_MESSAGES};
use crate::net::log;
use crate::net::reactor::{Async, Timer};
use async_task::Task;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrIn,
    SockaddrIn6, SockaddrStorage, bind, recv, recvmsg, sendmsg, socket,
};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const GROUP4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Changes come in bursts: the interfaces are looked at so long after the first, and no more often
/// than the second.
const SETTLE: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(1);
/// Between looks where the kernel tells nothing, and between tries to open the sockets.
const RETRY: Duration = Duration::from_secs(10);

/// Options of the sockets: numbers at their level. What comes says by which interface.
const OPTIONS4: [(i32, i32, i32); 4] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR, 1),
    (libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
    (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, 255),
    (libc::IPPROTO_IP, libc::IP_TTL, 255),
];
const OPTIONS6: [(i32, i32, i32); 5] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR, 1),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, 255),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, 255),
];
/// Bytes that the kernel may write beside a packet.
const BESIDE: usize = 64;

/// The responder. Services that were registered with it go when it goes.
pub struct Responder {
    inner: Rc<Inner>,
    _task: Option<Task<()>>,
}

/// A service that is announced until this is dropped.
pub struct Registration {
    inner: Rc<Inner>,
    id: u32,
    service: RefCell<Service>,
    file: Option<PathBuf>,
}

struct Inner {
    settings: Settings,
    session: RefCell<Session>,
    sockets: RefCell<Option<Sockets>>,
    waker: Cell<Option<Waker>>,
    fault: RefCell<Option<String>>,
    /// Files that were written, numbered from 1.
    files: RefCell<Vec<u32>>,
}

struct Sockets {
    v4: Option<Async<OwnedFd>>,
    v6: Option<Async<OwnedFd>>,
    kernel: Option<Async<OwnedFd>>,
    looked: Option<Time>,
    look_at: Time,
}

impl Responder {
    /// A responder as configured, on that executor. Nothing is opened before something is registered.
    pub fn new(executor: &LocalExecutor, settings: Settings) -> Responder {
        let mut seed = [0; 8];
        if getrandom::fill(&mut seed).is_err() {
            seed = clock::now().nanos().to_ne_bytes();
        }
        let session = RefCell::new(Session::new(&settings.host, u64::from_ne_bytes(seed)));
        let own = settings.mode == Mode::Own;
        let inner = Rc::new(Inner {
            settings,
            session,
            sockets: RefCell::default(),
            waker: Cell::default(),
            fault: RefCell::default(),
            files: RefCell::default(),
        });
        let task = own.then(|| {
            let inner = inner.clone();
            executor.spawn(async move {
                let mut turn = Turn { timer: Timer::never(), buf: vec![], cmsg: vec![] };
                poll_fn(|cx| inner.turn(cx, &mut turn)).await;
            })
        });
        Responder { inner, _task: task }
    }

    /// Announces a service until the handle is dropped. Where `mode` is off that is all that happens.
    pub fn register(&self, service: Service) -> Result<Registration, Invalid> {
        let inner = self.inner.clone();
        let (mut id, mut file) = (0, None);
        Claim::service(1, &service)?;
        match inner.settings.mode {
            Mode::Own => {
                id = inner.session.borrow_mut().add(clock::now(), &service)?;
                inner.wake();
            }
            Mode::Files => {
                let mut files = inner.files.borrow_mut();
                let free = (1..=MDNS_SERVICES as u32).find(|n| !files.contains(n));
                id = free.ok_or(Invalid::Full)?;
                files.push(id);
                file = Some(files::path(&inner.settings.directory, &service, id));
            }
            Mode::Off => {}
        }
        let registration = Registration { inner, id, service: RefCell::new(service), file };
        registration.write();
        Ok(registration)
    }

    /// Why nobody hears of us, if that is so.
    pub fn fault(&self) -> Option<String> {
        self.inner.fault.borrow().clone()
    }

    /// The host's name, without `.local`; another may have had the one that was configured.
    pub fn host(&self) -> String {
        self.inner.session.borrow().name(0).unwrap_or_default()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.inner.session.borrow_mut().remove_all();
        self.inner.flush(clock::now());
        self.inner.sockets.replace(None);
    }
}

impl Registration {
    /// Other attributes from now on.
    pub fn set_txt(&self, txt: Vec<String>) -> Result<(), Invalid> {
        super::claim::wire_txt(&txt)?;
        if self.service.borrow().txt == txt {
            return Ok(());
        }
        if self.inner.settings.mode == Mode::Own {
            self.inner.session.borrow_mut().set_txt(clock::now(), self.id, &txt)?;
            self.inner.wake();
        }
        self.service.borrow_mut().txt = txt;
        self.write();
        Ok(())
    }

    /// The name that it has now: another may have had the one that was wished for.
    pub fn name(&self) -> String {
        let own = (self.inner.settings.mode == Mode::Own).then(|| self.inner.session.borrow().name(self.id));
        own.flatten().unwrap_or_else(|| self.service.borrow().name.clone())
    }

    fn write(&self) {
        let Some(path) = &self.file else { return };
        let fault = files::write(path, &files::service_file(&self.service.borrow())).err().map(|e| {
            let text = ["cannot write ", &path.to_string_lossy(), ": ", &e.to_string()].concat();
            log::warn!(target: "mdns", "{text}");
            text
        });
        self.inner.fault.replace(fault);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        match &self.file {
            Some(path) => {
                let _ = std::fs::remove_file(path);
                self.inner.files.borrow_mut().retain(|n| *n != self.id);
            }
            None => {
                self.inner.session.borrow_mut().remove(self.id);
                // at once: the program may be about to end
                self.inner.flush(clock::now());
                self.inner.wake();
            }
        }
    }
}

/// What the task keeps from turn to turn.
struct Turn {
    timer: Timer,
    buf: Vec<u8>,
    cmsg: Vec<u8>,
}

impl Inner {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Everything that can be done now; then waits for the next packet, change or deadline.
    fn turn(&self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<()> {
        self.waker.set(Some(cx.waker().clone()));
        let mut now = clock::now();
        if self.session.borrow().is_empty() {
            if self.sockets.replace(None).is_some() {
                self.session.borrow_mut().set_interfaces(now, &[], false, false);
                *turn = Turn { timer: Timer::never(), buf: vec![], cmsg: vec![] };
            }
            return Poll::Pending;
        }
        let mut due = self.look(cx, now);
        if let Some(sockets) = &*self.sockets.borrow() {
            turn.buf.resize(MDNS_READ, 0);
            for (socket, v6) in [(&sockets.v4, false), (&sockets.v6, true)] {
                if let Some(socket) = socket
                    && self.read(cx, socket, v6, turn)
                {
                    cx.waker().wake_by_ref();
                }
            }
        }
        now = clock::now();
        due = [due, self.flush(now)].into_iter().flatten().min();
        match due {
            Some(due) => turn.timer = Timer::after(due.since(now)),
            None => turn.timer = Timer::never(),
        }
        if Pin::new(&mut turn.timer).poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Opens the sockets where they are not, and looks at the interfaces when they have changed. The
    /// answer is when to come back.
    fn look(&self, cx: &mut Context<'_>, now: Time) -> Option<Time> {
        let mut place = self.sockets.borrow_mut();
        let sockets = place.get_or_insert_with(|| Sockets {
            v4: None,
            v6: None,
            kernel: listen_to_kernel().ok(),
            looked: None,
            look_at: now,
        });
        let mut changed = false;
        if let Some(kernel) = &sockets.kernel {
            for _ in 0..YIELD_MESSAGES {
                match recv(kernel.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_DONTWAIT) {
                    Err(Errno::EAGAIN) if kernel.poll_readable(cx).is_pending() => break,
                    Err(Errno::EAGAIN) => {}
                    // also when there were too many to be told one by one
                    _ => changed = true,
                }
            }
        }
        if changed {
            let earliest = sockets.looked.map_or(now, |then| then + LOOK);
            sockets.look_at = sockets.look_at.min((now + SETTLE).max(earliest));
        }
        if now >= sockets.look_at {
            let mut faults = Vec::new();
            for v6 in [false, true] {
                let socket = if v6 { &mut sockets.v6 } else { &mut sockets.v4 };
                if socket.is_none() {
                    match open(v6) {
                        Ok(opened) => *socket = Some(opened),
                        Err(e) => faults.push(io::Error::from(e).to_string()),
                    }
                }
            }
            let all = interfaces();
            for interface in &all {
                for (socket, v6) in [(&sockets.v4, false), (&sockets.v6, true)] {
                    if let Some(socket) = socket {
                        join(socket, interface.index, v6);
                    }
                }
            }
            let (v4, v6) = (sockets.v4.is_some(), sockets.v6.is_some());
            self.session.borrow_mut().set_interfaces(now, &all, v4, v6);
            let fault = (!v4 && !v6).then(|| ["cannot open port 5353: ", &faults.concat()].concat());
            if let Some(fault) = &fault
                && self.fault.borrow().is_none()
            {
                log::warn!(target: "mdns", "{fault}");
            }
            self.fault.replace(fault);
            sockets.looked = Some(now);
            let told = sockets.kernel.is_some() && (v4 || v6);
            // a time that does not come, if the kernel will tell
            sockets.look_at = if told { Time::from_nanos(u64::MAX) } else { now + RETRY };
        }
        (sockets.look_at < Time::from_nanos(u64::MAX)).then_some(sockets.look_at)
    }

    /// Reads what there is; true if there may be more.
    fn read(&self, cx: &mut Context<'_>, socket: &Async<OwnedFd>, v6: bool, turn: &mut Turn) -> bool {
        for _ in 0..YIELD_MESSAGES {
            match receive(socket, v6, turn) {
                Ok(Some((origin, len))) => {
                    let bytes = turn.buf.get(..len).unwrap_or_default();
                    self.session.borrow_mut().input(clock::now(), origin, bytes);
                }
                Err(Errno::EAGAIN) if socket.poll_readable(cx).is_pending() => return false,
                _ => {}
            }
        }
        true
    }

    /// Sends what is due; says when more is.
    fn flush(&self, now: Time) -> Option<Time> {
        let mut packets = Vec::new();
        let mut session = self.session.borrow_mut();
        let mut due = session.poll(now, &mut packets);
        while let Some(name) = session.take_renamed() {
            log::warn!(target: "mdns", "another has the name: this is '{name}' now");
        }
        let sockets = self.sockets.borrow();
        let Some(sockets) = &*sockets else { return due };
        let mut failed: Option<Link> = None;
        for packet in &packets {
            let socket = if packet.link.v6 { &sockets.v6 } else { &sockets.v4 };
            let Some(socket) = socket else { continue };
            match send(socket, packet) {
                Ok(()) | Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => {}
                Err(_) if packet.to.is_some() || failed == Some(packet.link) => {}
                Err(e) => {
                    // nix's own words for it would be a second table of them: 10 KB
                    log::debug!(target: "mdns", "interface {}: {}", packet.link.index, io::Error::from(e));
                    failed = Some(packet.link);
                    session.link_failed(now, packet.link);
                    due = session.poll(now, &mut Vec::new());
                }
            }
        }
        due
    }
}

/// A socket on the port that all who speak mDNS share.
fn open(v6: bool) -> nix::Result<Async<OwnedFd>> {
    let family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    // kernels before 3.9 do not know it and do not need it
    let _ = set(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, &1);
    for &(level, option, value) in if v6 { &OPTIONS6[..] } else { &OPTIONS4 } {
        set(fd.as_raw_fd(), level, option, &value)?;
    }
    if v6 {
        bind(fd.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, PORT, 0, 0)))?;
    } else {
        bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT)))?;
    }
    wait_on(fd)
}

fn wait_on(fd: OwnedFd) -> nix::Result<Async<OwnedFd>> {
    Async::new_nonblocking(fd).map_err(|e: io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))
}

/// A socket that becomes readable when interfaces or addresses have changed.
fn listen_to_kernel() -> nix::Result<Async<OwnedFd>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups as u32))?;
    wait_on(fd)
}

#[allow(unsafe_code)]
fn set<T>(fd: i32, level: i32, option: i32, value: &T) -> nix::Result<()> {
    // SAFETY: the kernel reads as many bytes as it is told, and those are the value's own.
    let answer = unsafe {
        libc::setsockopt(fd, level, option, std::ptr::from_ref(value).cast(), size_of::<T>() as u32)
    };
    Errno::result(answer).map(drop)
}

/// Joins the group on an interface; who is in it already stays.
fn join(socket: &Async<OwnedFd>, index: u32, v6: bool) {
    let fd = socket.as_raw_fd();
    let joined = if v6 {
        let group = libc::in6_addr { s6_addr: GROUP6.octets() };
        let request = libc::ipv6_mreq { ipv6mr_multiaddr: group, ipv6mr_interface: index as _ };
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP, &request)
    } else {
        // by number: several interfaces may have one address, or none yet
        let request = libc::ip_mreqn {
            imr_multiaddr: libc::in_addr { s_addr: u32::from_ne_bytes(GROUP4.octets()) },
            imr_address: libc::in_addr { s_addr: 0 },
            imr_ifindex: index as i32,
        };
        set(fd, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &request)
    };
    if let Err(error) = joined
        && error != Errno::EADDRINUSE
    {
        log::debug!(target: "mdns", "cannot join: {}", io::Error::from(error));
    }
}

/// One packet into the buffer, if it was whole and said where it came from.
fn receive(socket: &Async<OwnedFd>, v6: bool, turn: &mut Turn) -> nix::Result<Option<(Origin, usize)>> {
    turn.cmsg.clear();
    turn.cmsg.resize(BESIDE, 0);
    let mut parts = [IoSliceMut::new(&mut turn.buf)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut turn.cmsg),
        MsgFlags::MSG_DONTWAIT,
    )?;
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Ok(None);
    }
    let Some(address) = message.address.as_ref().and_then(address) else { return Ok(None) };
    let len = message.bytes;
    let arrival = arrival(&turn.cmsg, v6);
    Ok(arrival.map(|(index, multicast)| (Origin { link: Link { index, v6 }, address, multicast }, len)))
}

/// By which interface a packet came, and whether it was for all: what the kernel writes beside it, which
/// is the one thing that was asked of it.
fn arrival(beside: &[u8], v6: bool) -> Option<(u32, bool)> {
    let number = |at: usize| Some(u32::from_ne_bytes(*beside.get(at..)?.first_chunk()?));
    let asked =
        if v6 { [libc::IPPROTO_IPV6, libc::IPV6_PKTINFO] } else { [libc::IPPROTO_IP, libc::IP_PKTINFO] };
    let fields = [offset_of!(libc::cmsghdr, cmsg_level), offset_of!(libc::cmsghdr, cmsg_type)];
    if fields.map(number) != asked.map(|n| Some(n as u32)) {
        return None;
    }
    let data = size_of::<libc::cmsghdr>();
    Some(if v6 {
        let to = data + offset_of!(libc::in6_pktinfo, ipi6_addr);
        let index = number(data + offset_of!(libc::in6_pktinfo, ipi6_ifindex))?;
        (index, beside.get(to) == Some(&0xff))
    } else {
        let to = data + offset_of!(libc::in_pktinfo, ipi_addr);
        let index = number(data + offset_of!(libc::in_pktinfo, ipi_ifindex))?;
        (index, beside.get(to)? >> 4 == 0xe)
    })
}

fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = from.as_sockaddr_in().map(|a| SocketAddr::from((a.ip(), a.port())));
    v4.or_else(|| from.as_sockaddr_in6().map(|a| SocketAddr::V6((*a).into())))
}

fn send(socket: &Async<OwnedFd>, packet: &Packet) -> nix::Result<()> {
    let Link { index, v6 } = packet.link;
    let group = if v6 {
        SocketAddr::V6(SocketAddrV6::new(GROUP6, PORT, 0, index))
    } else {
        SocketAddr::V4(SocketAddrV4::new(GROUP4, PORT))
    };
    let to = SockaddrStorage::from(packet.to.unwrap_or(group));
    let zero = libc::in_addr { s_addr: 0 };
    let by = libc::in_pktinfo { ipi_ifindex: index as i32, ipi_spec_dst: zero, ipi_addr: zero };
    let by = [ControlMessage::Ipv4PacketInfo(&by)];
    let by = if v6 { &[] } else { &by[..] };
    let parts = [IoSlice::new(&packet.bytes)];
    sendmsg(socket.as_raw_fd(), &parts, by, MsgFlags::MSG_DONTWAIT, Some(&to)).map(drop)
}
