//! Waits for sockets, times and other threads, on the thread that does the work and on no other: one
//! epoll for each thread that asks, made at the first question. Who waits is told by its waker; a
//! wake from another thread comes by an eventfd, and only while this one sleeps. It reads and writes
//! nothing itself.
//!
//! It stands in the place of async-io, whose own thread runs as long as ours does and takes the
//! reactor from it after each wait: twice the work for a stream that comes in.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Events that are taken in one call.
const EVENTS: usize = 32;
/// The eventfd's mark among the sources' numbers, which begin after it.
const BELL: u64 = 0;
const READ: usize = 0;
const WRITE: usize = 1;
const WAYS: [EpollFlags; 2] = [EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP), EpollFlags::EPOLLOUT];
const BROKEN: EpollFlags = EpollFlags::EPOLLERR.union(EpollFlags::EPOLLHUP);

/// What timers run on; a test may stop it.
fn now() -> Instant {
    #[cfg(test)]
    return super::clock::testing::instant();
    #[cfg(not(test))]
    Instant::now()
}

thread_local! {
    static REACTOR: RefCell<Option<Rc<Reactor>>> = const { RefCell::new(None) };
}

/// What one thread waits for.
struct Reactor {
    epoll: Epoll,
    bell: Arc<EventFd>,
    sources: RefCell<Vec<(u64, Rc<Source>)>>,
    /// The soonest last.
    timers: RefCell<Vec<(Instant, u64, Waker)>>,
    numbers: Cell<u64>,
    /// Who is to be woken, kept for its room.
    due: Cell<Vec<Waker>>,
}

/// One way of a socket: how often it became ready, and who waits for it.
#[derive(Default)]
struct Way {
    ticks: Cell<u32>,
    /// The count when [`Async::poll_readable`] or its brother last found nothing.
    asked: Cell<Option<u32>>,
    waiters: RefCell<Vec<Waker>>,
}

#[derive(Default)]
struct Source {
    ways: [Way; 2],
    /// What epoll is told to look at; it forgets that with the first event.
    armed: Cell<[bool; 2]>,
}

fn reactor() -> io::Result<Rc<Reactor>> {
    REACTOR.with(|place| {
        if let Some(known) = place.borrow().as_ref() {
            return Ok(known.clone());
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        let new = Rc::new(Reactor {
            epoll,
            bell: Arc::new(bell),
            sources: RefCell::default(),
            timers: RefCell::default(),
            numbers: Cell::new(BELL + 1),
            due: Cell::default(),
        });
        place.replace(Some(new.clone()));
        Ok(new)
    })
}

impl Reactor {
    fn number(&self) -> u64 {
        self.numbers.replace(self.numbers.get() + 1)
    }

    /// Waits until something is ready, at most until the next timer; not at all if the alarm has gone off.
    fn turn(&self, alarm: &Alarm) {
        alarm.asleep.store(true, SeqCst);
        let timeout = match self.timers.borrow().last() {
            _ if alarm.woken.load(SeqCst) => EpollTimeout::ZERO,
            None => EpollTimeout::NONE,
            Some((at, ..)) => {
                // whole milliseconds, never too early: who is woken before his time would ask again
                let left = at.saturating_duration_since(now()) + Duration::from_micros(999);
                let seconds = left.as_secs().min(1 << 20) as i32;
                let millis = 1000 * seconds + left.subsec_millis() as i32;
                EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::ZERO)
            }
        };
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        alarm.asleep.store(false, SeqCst);
        let mut due = self.due.take();
        for event in events.iter().take(count) {
            if event.data() == BELL {
                let _ = self.bell.read();
            } else {
                self.ready(event, &mut due);
            }
        }
        let mut timers = self.timers.borrow_mut();
        if !timers.is_empty() {
            let now = now();
            while let Some((_, _, waker)) = timers.pop_if(|(at, ..)| *at <= now) {
                due.push(waker);
            }
        }
        drop(timers);
        // Nothing is borrowed here: the last hold on a task may go with its waker.
        due.drain(..).for_each(Waker::wake);
        self.due.set(due);
    }

    fn ready(&self, event: &EpollEvent, due: &mut Vec<Waker>) {
        let sources = self.sources.borrow();
        let Ok(at) = sources.binary_search_by_key(&event.data(), |(number, _)| *number) else { return };
        let Some((_, source)) = sources.get(at) else { return };
        source.armed.set([false; 2]);
        for (way, flags) in source.ways.iter().zip(WAYS) {
            if event.events().intersects(flags | BROKEN) {
                way.ticks.set(way.ticks.get().wrapping_add(1));
            }
            // who waits on the other way asks again, because epoll looks at neither any more
            due.append(&mut way.waiters.borrow_mut());
        }
    }

    fn forget(&self, number: u64) {
        let mut sources = self.sources.borrow_mut();
        let gone = sources.binary_search_by_key(&number, |(n, _)| *n).ok().map(|at| sources.remove(at));
        drop(sources);
        drop(gone);
    }
}

/// Whether somebody woke the future that a thread runs, and how to get that thread out of its sleep.
struct Alarm {
    woken: AtomicBool,
    asleep: AtomicBool,
    bell: Arc<EventFd>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, SeqCst) && self.asleep.load(SeqCst) {
            let _ = self.bell.write(1);
        }
    }
}

/// Runs a future on this thread until it is done. Only a system without epoll makes that impossible.
#[allow(clippy::disallowed_methods)] // there is nothing else to wait with then
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let Ok(reactor) = reactor() else {
        // as good as it goes: no socket can be made either, so nothing is waited for but other threads
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(out) = future.as_mut().poll(&mut cx) {
                return out;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let (woken, asleep) = (AtomicBool::new(false), AtomicBool::new(false));
    let alarm = Arc::new(Alarm { woken, asleep, bell: reactor.bell.clone() });
    let waker = Waker::from(alarm.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        alarm.woken.store(false, SeqCst);
        if let Poll::Ready(out) = future.as_mut().poll(&mut cx) {
            return out;
        }
        reactor.turn(&alarm);
    }
}

/// A descriptor as the reactor knows it.
struct Entry {
    number: u64,
    source: Rc<Source>,
    reactor: Rc<Reactor>,
}

impl Entry {
    fn new(fd: BorrowedFd<'_>) -> io::Result<Entry> {
        let reactor = reactor()?;
        let (number, source) = (reactor.number(), Rc::new(Source::default()));
        reactor.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLONESHOT, number))?;
        reactor.sources.borrow_mut().push((number, source.clone()));
        Ok(Entry { number, source, reactor })
    }

    /// How often a way became ready.
    fn ticks(&self, way: usize) -> u32 {
        self.source.ways.get(way).map_or(0, |w| w.ticks.get())
    }

    /// Has who asks woken when this way is ready, and epoll look at it too, unless it does.
    fn wait(&self, fd: BorrowedFd<'_>, way: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let known = self.source.armed.get();
        let mut armed = known;
        if let (Some(at), Some(armed)) = (self.source.ways.get(way), armed.get_mut(way)) {
            let mut waiters = at.waiters.borrow_mut();
            if !waiters.iter().any(|w| w.will_wake(cx.waker())) {
                waiters.push(cx.waker().clone());
            }
            *armed = true;
        }
        if armed != known {
            let mut flags = EpollFlags::EPOLLONESHOT;
            for (armed, way) in armed.into_iter().zip(WAYS) {
                flags.set(way, armed);
            }
            if let Err(error) = self.reactor.epoll.modify(fd, &mut EpollEvent::new(flags, self.number)) {
                return Poll::Ready(Err(error.into()));
            }
            self.source.armed.set(armed);
        }
        Poll::Pending
    }

    /// Ready when there was something new since it was last asked.
    fn poll(&self, fd: BorrowedFd<'_>, way: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(at) = self.source.ways.get(way) else { return Poll::Pending };
        match at.asked.get() {
            Some(ticks) if ticks != at.ticks.get() => {
                at.asked.set(None);
                return Poll::Ready(Ok(()));
            }
            Some(_) => {}
            None => at.asked.set(Some(at.ticks.get())),
        }
        self.wait(fd, way, cx)
    }

    fn leave(&self, fd: BorrowedFd<'_>) {
        // before it is closed: a copy of the descriptor elsewhere would keep it in epoll
        let _ = self.reactor.epoll.delete(fd);
        self.reactor.forget(self.number);
    }
}

/// Waits until a way is ready again.
pub struct Ready<'a> {
    entry: &'a Entry,
    fd: BorrowedFd<'a>,
    way: usize,
    ticks: u32,
}

impl Future for Ready<'_> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.entry.ticks(self.way) != self.ticks {
            return Poll::Ready(Ok(()));
        }
        self.entry.wait(self.fd, self.way, cx)
    }
}

/// A socket, or something else with a descriptor, that can be waited for.
pub struct Async<T: AsFd> {
    io: T,
    entry: Entry,
}

impl<T: AsFd> Async<T> {
    /// Makes it non-blocking.
    pub fn new(io: T) -> io::Result<Async<T>> {
        set_nonblocking(io.as_fd())?;
        Async::new_nonblocking(io)
    }

    /// Takes one that is non-blocking.
    pub fn new_nonblocking(io: T) -> io::Result<Async<T>> {
        let entry = Entry::new(io.as_fd())?;
        Ok(Async { io, entry })
    }

    /// What it waits for.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    fn ready(&self, way: usize) -> Ready<'_> {
        Ready { entry: &self.entry, fd: self.io.as_fd(), way, ticks: self.entry.ticks(way) }
    }

    /// Ready when there may be something to read since it was last asked.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.entry.poll(self.io.as_fd(), READ, cx)
    }

    /// Ready when there may be room to write since it was last asked.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.entry.poll(self.io.as_fd(), WRITE, cx)
    }

    /// Waits until there may be something to read.
    pub fn readable(&self) -> Ready<'_> {
        self.ready(READ)
    }

    /// Waits until there may be room to write.
    pub fn writable(&self) -> Ready<'_> {
        self.ready(WRITE)
    }

    /// Tries, and waits for something to read as long as there is nothing.
    pub async fn read_with<R>(&self, mut attempt: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        poll_fn(|cx| {
            loop {
                match attempt(&self.io) {
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    // epoll tells at once what has come meanwhile
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        return self.entry.wait(self.io.as_fd(), READ, cx).map(|waited| waited.and(Err(e)));
                    }
                    result => return Poll::Ready(result),
                }
            }
        })
        .await
    }
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

impl Async<TcpListener> {
    /// The next connection.
    pub async fn accept(&self) -> io::Result<(Async<TcpStream>, SocketAddr)> {
        let (stream, peer) = self.read_with(TcpListener::accept).await?;
        Ok((Async::new(stream)?, peer))
    }
}

impl Async<UnixListener> {
    /// The next connection.
    pub async fn accept(&self) -> io::Result<Async<UnixStream>> {
        Async::new(self.read_with(UnixListener::accept).await?.0)
    }
}

impl Async<UdpSocket> {
    /// The next datagram: its length, and who sent it.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_with(|socket| socket.recv_from(buf)).await
    }
}

impl Async<TcpStream> {
    /// A connection to this address.
    pub async fn connect(to: SocketAddr) -> io::Result<Async<TcpStream>> {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Stream, flags, None)?;
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = Async::new_nonblocking(TcpStream::from(fd))?;
        loop {
            stream.writable().await?;
            if let Some(error) = stream.io.take_error()? {
                return Err(error);
            }
            match stream.io.peer_addr() {
                Err(error) if error.kind() == ErrorKind::NotConnected => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(stream),
            }
        }
    }
}

impl<T: AsFd> AsFd for Async<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl<T: AsFd> AsRawFd for Async<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.io.as_fd().as_raw_fd()
    }
}

impl<T: AsFd> Drop for Async<T> {
    fn drop(&mut self) {
        self.entry.leave(self.io.as_fd());
    }
}

/// An instant that is waited for.
#[derive(Default)]
pub struct Timer {
    at: Option<Instant>,
    /// Where it stands among the reactor's.
    place: Option<(Instant, u64)>,
}

impl Timer {
    /// Never comes.
    pub fn never() -> Timer {
        Timer::default()
    }

    /// Comes then.
    pub fn at(at: Instant) -> Timer {
        Timer { at: Some(at), place: None }
    }

    /// Comes after a while; never, if that is farther than time goes.
    pub fn after(time: Duration) -> Timer {
        Timer { at: now().checked_add(time), place: None }
    }

    /// Comes then instead.
    pub fn set_at(&mut self, at: Instant) {
        let waker = self.leave();
        self.at = Some(at);
        if let Some(waker) = waker {
            self.enter(waker);
        }
    }

    fn leave(&mut self) -> Option<Waker> {
        let (at, number) = self.place.take()?;
        let reactor = reactor().ok()?;
        let mut timers = reactor.timers.borrow_mut();
        let place = timers.iter().rposition(|t| t.0 == at && t.1 == number)?;
        Some(timers.remove(place).2)
    }

    fn enter(&mut self, waker: Waker) {
        let (Some(at), Ok(reactor)) = (self.at, reactor()) else { return };
        let number = reactor.number();
        let mut timers = reactor.timers.borrow_mut();
        let place = timers.partition_point(|t| (t.0, t.1) > (at, number));
        timers.insert(place, (at, number, waker));
        self.place = Some((at, number));
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.at.is_some_and(|at| at <= now()) {
            drop(self.leave());
            return Poll::Ready(());
        }
        let old = self.leave();
        self.enter(old.filter(|w| w.will_wake(cx.waker())).unwrap_or_else(|| cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future;
    use std::io::{Read, Write};

    #[test]
    fn timers_come_in_their_order_and_not_before_their_time() {
        let begun = Instant::now();
        let came = RefCell::new(Vec::new());
        let wait = |ms: u64| {
            let came = &came;
            async move {
                Timer::after(Duration::from_millis(ms)).await;
                came.borrow_mut().push((begun.elapsed(), ms));
            }
        };
        // on a busy machine all three may be due at once; only the minute never is
        block_on(future::or(wait(60_000), async {
            future::zip(wait(30), future::zip(wait(10), wait(20))).await;
        }));
        assert_eq!(came.borrow().len(), 3);
        assert!(came.borrow().iter().all(|&(at, ms)| at >= Duration::from_millis(ms)), "{came:?}");
        assert!(begun.elapsed() >= Duration::from_millis(30));
        assert!(reactor().unwrap().timers.borrow().is_empty());
    }

    #[test]
    fn a_timer_that_is_moved_or_dropped_leaves_nothing() {
        block_on(async {
            let mut timer = Timer::after(Duration::from_secs(3600));
            assert!(future::poll_once(&mut timer).await.is_none());
            timer.set_at(Instant::now());
            timer.await;
            let mut other = Timer::after(Duration::from_secs(3600));
            assert!(future::poll_once(&mut other).await.is_none());
        });
        assert!(reactor().unwrap().timers.borrow().is_empty());
    }

    #[test]
    fn a_wake_from_another_thread_ends_the_sleep() {
        for _ in 0..200 {
            let mut thread = None;
            let done = Arc::new(AtomicBool::new(false));
            block_on(poll_fn(|cx| {
                if done.load(SeqCst) {
                    return Poll::Ready(());
                }
                let (waker, done) = (cx.waker().clone(), done.clone());
                thread.get_or_insert_with(|| {
                    std::thread::spawn(move || {
                        done.store(true, SeqCst);
                        waker.wake();
                    })
                });
                Poll::Pending
            }));
            thread.unwrap().join().unwrap();
        }
    }

    #[test]
    fn both_ways_of_a_connection() {
        block_on(async {
            let listener = Async::new(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
            let address = listener.get_ref().local_addr().unwrap();
            let dialled = Async::<TcpStream>::connect(address);
            let (one, other) = future::try_zip(dialled, listener.accept()).await.unwrap();
            let other = other.0;
            // nothing to read: it waits, while the other way is ready
            assert!(future::poll_once(one.readable()).await.is_none());
            one.writable().await.unwrap();
            let heard = async {
                one.readable().await.unwrap();
                one.get_ref().read(&mut [0; 9]).unwrap()
            };
            let said = async { other.get_ref().write(b"hello").unwrap() };
            assert_eq!(future::zip(heard, said).await, (5, 5));
            // what stays unread is told again
            other.get_ref().write_all(b"ab").unwrap();
            for _ in 0..2 {
                one.readable().await.unwrap();
                assert_eq!(one.get_ref().read(&mut [0; 1]).unwrap(), 1);
            }
            // a full queue waits until the other side reads
            while one.get_ref().write(&[0; 65536]).is_ok() {}
            let room = one.writable();
            let read = async {
                let mut all = 0;
                while let Ok(n) = other.get_ref().read(&mut [0; 65536]) {
                    all += n;
                }
                all
            };
            let (room, all) = future::zip(room, read).await;
            assert!(room.is_ok() && all > 0);
            drop(other);
            one.readable().await.unwrap();
        });
        assert!(reactor().unwrap().sources.borrow().is_empty());
    }

    #[test]
    fn nobody_there_is_an_error() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = block_on(Async::<TcpStream>::connect(free)).err().map(|e| e.kind());
        assert_eq!(error, Some(ErrorKind::ConnectionRefused));
    }

    /// Two wait at one socket, in one task or in two: each is told.
    #[test]
    fn all_who_wait_are_told() {
        block_on(async {
            let (one, other) = UnixStream::pair().unwrap();
            let one = Async::new(one).unwrap();
            (&other).write_all(b"x").unwrap();
            let (a, b) = future::zip(one.readable(), one.readable()).await;
            assert!(a.is_ok() && b.is_ok());
            let polled = poll_fn(|cx| one.poll_readable(cx));
            assert!(polled.await.is_ok());
        });
    }
}
