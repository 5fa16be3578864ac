//! The client's sockets: one connection to a camera and, where packets come as datagrams, two ports
//! for each track. Bytes go from the socket into the parser's one buffer and from there into the
//! tracks; what the [`Dialogue`] wants to say goes out. What is said and when is not decided here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::dialogue::{Carrier, Dialogue, DialogueError, Plan, Step, Track};
use super::intake::{Intake, Route};
use super::message::{Item, ParseError, Parser, Rules, frame_head};
use super::transport::{Lower, Pair};
#[cfg(feature = "tunnel")]
use super::upgrade::{self, Opened};
use super::upgrade::{Pipe, UpgradeError};
use super::url::Url;
use crate::media::Time;
use crate::media::rtptime::SenderClock;
use crate::net::clock;
use crate::net::limits::YIELD_BYTES;
use crate::net::names::{self, Settings};
use crate::net::random;
use crate::net::reactor::{Async, Timer};
use crate::net::rtcp::{emit_pli, emit_receiver};
use crate::net::rtp::Header;
use crate::net::websocket::FrameError;
use crate::stream::Executor;
use futures_lite::future;
use nix::sys::socket::{setsockopt, sockopt};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// RTSP's port.
const PORT: u16 = 554;
/// A connection has to be there within this time.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const ADDRESSES: usize = 4;
/// A camera is given this long to read our goodbye.
const LINGER: Duration = Duration::from_secs(1);
/// The first size of the buffer that is read into.
const BUFFER: usize = 16 << 10;
/// Datagrams: Tapo's have 10 KB.
const DATAGRAM: usize = 16 << 10;
/// The kernel keeps this much of a burst.
const DATAGRAMS: usize = 512 << 10;
/// Attempts to find two free ports side by side.
const PORTS: usize = 20;
/// More than this waiting to be sent: reports and voice are left out.
pub const UNSENT: usize = 32 << 10;
/// What we are called in reports.
const NAME: &str = "streamd";

/// Why a session does not begin or go on. Thin, because it is handed on at every step.
#[derive(Debug)]
pub struct ClientError(Box<Cause>);

/// The same, for whoever wants to know.
#[derive(Debug)]
pub enum Cause {
    /// The name has no address.
    Name(String),
    /// There is no connection, or none any more.
    Io(io::Error),
    /// No connection within the time.
    Connect,
    /// No WebSocket, or none any more.
    Upgrade(UpgradeError),
    /// What comes is no WebSocket.
    Frame(FrameError),
    /// What comes is no RTSP.
    Parse(ParseError),
    /// The camera does not do what it should.
    Dialogue(DialogueError),
    /// After the second dialling it offers something else.
    Changed,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Name(why) => write!(f, "the name is not known: {why}"),
            Cause::Io(e) => e.fmt(f),
            Cause::Connect => write!(f, "no connection within {} s", CONNECT.as_secs()),
            Cause::Upgrade(e) => e.fmt(f),
            Cause::Frame(e) => e.fmt(f),
            Cause::Parse(e) => e.fmt(f),
            Cause::Dialogue(e) => e.fmt(f),
            Cause::Changed => f.write_str("the camera offers other media than before"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<Cause> for ClientError {
    fn from(cause: Cause) -> ClientError {
        ClientError(Box::new(cause))
    }
}

impl From<io::Error> for ClientError {
    fn from(e: io::Error) -> ClientError {
        Cause::Io(e).into()
    }
}

impl From<DialogueError> for ClientError {
    fn from(e: DialogueError) -> ClientError {
        Cause::Dialogue(e).into()
    }
}

impl From<UpgradeError> for ClientError {
    fn from(e: UpgradeError) -> ClientError {
        Cause::Upgrade(e).into()
    }
}

impl From<FrameError> for ClientError {
    fn from(e: FrameError) -> ClientError {
        Cause::Frame(e).into()
    }
}

impl From<ParseError> for ClientError {
    fn from(e: ParseError) -> ClientError {
        Cause::Parse(e).into()
    }
}

/// What a session needs of the house.
#[derive(Clone)]
pub struct House {
    /// Says goodbye to cameras nobody wants any more.
    pub executor: Executor,
}

/// One port, and whether it may have something: asking one that has nothing is a system call.
struct Port {
    socket: Async<UdpSocket>,
    ready: bool,
}

/// The two ports of a track.
struct Ports {
    media: Port,
    control: Port,
}

/// The connection and what belongs to it.
struct Wire {
    socket: Async<TcpStream>,
    ready: bool,
    peer: SocketAddr,
    /// Everything flows in messages of a WebSocket.
    pipe: Option<Box<Pipe>>,
    parser: Parser,
    out: Vec<u8>,
    ports: Vec<Ports>,
    datagram: Vec<u8>,
}

/// A session with a camera.
pub struct Session {
    house: House,
    /// Where a WebSocket carries it.
    web: Option<Rc<Url>>,
    dialogue: Dialogue,
    wire: Wire,
    timer: Timer,
    armed: Time,
    ssrc: u32,
}

/// The tracks that a session feeds; none while it is being set up.
#[derive(Default)]
pub struct Feed {
    /// In the order of [`Session::tracks`].
    pub intakes: Vec<Intake>,
    sender: SenderClock,
}

impl Feed {
    /// One that feeds these.
    pub fn new(intakes: Vec<Intake>) -> Feed {
        Feed { intakes, sender: SenderClock::default() }
    }

    /// A packet of a track.
    fn packet(&mut self, now: Time, at: usize, control: bool, bytes: &[u8], dialogue: &mut Dialogue) {
        let Some(intake) = self.intakes.get_mut(at) else { return };
        if control {
            if intake.rtcp(now, bytes, &mut self.sender) {
                dialogue.bye();
            }
        } else if intake.rtp(now, bytes) {
            dialogue.heard(now);
        }
    }
}

impl Session {
    /// Connects, by a WebSocket if its address is given, and sets everything up, so that
    /// [`Session::run`] has only to begin.
    pub async fn open(plan: Plan, web: Option<Rc<Url>>, house: House) -> Result<Session, ClientError> {
        let mut random = [0; 20];
        getrandom::fill(&mut random).map_err(|_| io::Error::from(ErrorKind::Unsupported))?;
        let (secret, ssrc) = random.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let ssrc = ssrc.iter().fold(0, |n, &b| n << 8 | u32::from(b));
        let dialogue = Dialogue::new(plan, *secret);
        let wire = Wire::connect(dialogue.url(), web.as_deref()).await?;
        let timer = Timer::never();
        let mut session = Session { house, web, dialogue, wire, timer, armed: Time::ZERO, ssrc };
        session.dialogue.begin(clock::now(), &mut session.wire.out);
        session.prepare().await?;
        Ok(session)
    }

    /// What is received, or while talking what is sent.
    pub fn tracks(&self) -> &[Track] {
        self.dialogue.tracks()
    }

    /// The camera's speaker.
    pub fn speaker(&self) -> Option<&Track> {
        self.dialogue.speaker()
    }

    /// Whether a WebSocket carries it.
    pub fn is_web(&self) -> bool {
        self.web.is_some()
    }

    /// Whom it is with.
    pub fn peer(&self) -> SocketAddr {
        self.wire.peer
    }

    /// How a track's packets come.
    pub fn route(track: &Track) -> Route {
        match track.transport.as_ref().and_then(|t| t.lower) {
            Some(Lower::Udp) => Route::Datagram,
            _ => Route::Stream,
        }
    }

    /// Whether packets come as datagrams.
    pub fn is_udp(&self) -> bool {
        self.tracks().iter().any(|t| Session::route(t) == Route::Datagram)
    }

    /// From a connection that has been begun to tracks that are set up.
    async fn prepare(&mut self) -> Result<(), ClientError> {
        let mut nothing = Feed::default();
        loop {
            match self.next(&mut nothing).await? {
                Step::Dial => self.dial().await?,
                Step::Described => {
                    let count = self.dialogue.tracks().len();
                    self.wire.ports.clear();
                    let mut numbers = Vec::new();
                    if self.dialogue.carrier() == Carrier::Udp {
                        let local = self.wire.socket.get_ref().local_addr()?.ip();
                        for _ in 0..count {
                            let (ports, pair) = Ports::bind(local)?;
                            self.wire.ports.push(ports);
                            numbers.push(pair);
                        }
                    }
                    self.dialogue.setup(clock::now(), numbers, &mut self.wire.out);
                }
                Step::Ready => return Ok(()),
                Step::Wait | Step::Playing | Step::Report => {}
            }
        }
    }

    /// Makes a new connection in place of this one.
    async fn dial(&mut self) -> Result<(), ClientError> {
        self.hang_up();
        self.wire = Wire::connect(self.dialogue.url(), self.web.as_deref()).await?;
        self.dialogue.begin(clock::now(), &mut self.wire.out);
        Ok(())
    }

    /// Has the packets flow.
    pub fn play(&mut self) {
        self.dialogue.play(clock::now(), &mut self.wire.out);
        // Opens the way through whatever stands between, as everybody does.
        let empty = Header { ssrc: self.ssrc, ..Header::default() }.emit();
        let mut report = Vec::new();
        emit_receiver(&mut report, self.ssrc, &[], NAME);
        for (track, ports) in self.dialogue.tracks().iter().zip(&self.wire.ports) {
            if let Some((media, control)) = track.transport.as_ref().and_then(|t| t.server_port) {
                let ip = self.wire.peer.ip();
                let _ = ports.media.socket.get_ref().send_to(&empty, (ip, media));
                let _ = ports.control.socket.get_ref().send_to(&report, (ip, control));
            }
        }
    }

    /// Waits until PLAY is answered. Who sends voice earlier sends it to a camera that is not ready:
    /// gst-rtsp-server then stays mute for the whole session.
    pub async fn playing(&mut self) -> Result<(), ClientError> {
        let mut nothing = Feed::default();
        loop {
            match self.next(&mut nothing).await? {
                Step::Playing => return Ok(()),
                Step::Dial => return Err(Cause::Changed.into()),
                _ => {}
            }
        }
    }

    /// Feeds the tracks until something ends. `Ok` says that it was dialled again by another
    /// carrier: the tracks are set up anew, and [`Session::play`] is to be called again.
    pub async fn run(&mut self, feed: &mut Feed) -> Result<(), ClientError> {
        loop {
            match self.next(feed).await? {
                Step::Dial => {
                    let before: Vec<_> = self.tracks().iter().map(|t| t.codec.id).collect();
                    self.dial().await?;
                    self.prepare().await?;
                    let same = self.tracks().iter().map(|t| t.codec.id).eq(before);
                    return if same { Ok(()) } else { Err(Cause::Changed.into()) };
                }
                Step::Report => self.report(feed),
                _ => {}
            }
        }
    }

    /// Bytes that wait to be sent; for whoever sends voice.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.wire.out
    }

    /// Moves bytes until there is something to decide. May be dropped at any time and called again.
    async fn next(&mut self, feed: &mut Feed) -> Result<Step, ClientError> {
        loop {
            let mut moved = 0;
            let step = self.turn(feed, &mut moved)?;
            if step != Step::Wait {
                return Ok(step);
            }
            if moved >= YIELD_BYTES {
                // A socket that always has something never waits: others run too.
                future::yield_now().await;
            } else {
                self.wire.flush()?;
                self.wait(feed).await;
            }
        }
    }

    /// Moves the bytes that there are; `moved` says how many came.
    fn turn(&mut self, feed: &mut Feed, moved: &mut usize) -> Result<Step, ClientError> {
        self.wire.flush()?;
        let now = clock::now();
        if let Some(step) = self.wire.read(now, feed, &mut self.dialogue, moved)? {
            return Ok(step);
        }
        self.wire.datagrams(now, feed, &mut self.dialogue, moved)?;
        for intake in &mut feed.intakes {
            intake.tick(now);
        }
        self.ask_keys(now, feed);
        Ok(self.dialogue.tick(now, &mut self.wire.out)?)
    }

    /// Waits for bytes, room or the next deadline.
    async fn wait(&mut self, feed: &Feed) {
        let deadlines = feed.intakes.iter().filter_map(Intake::deadline).chain(self.dialogue.deadline());
        if let Some(deadline) = deadlines.min()
            && (self.armed == Time::ZERO || deadline < self.armed)
        {
            // A deadline that moved away is looked at again when the old one has come.
            self.armed = deadline;
            self.timer.set_at(Instant::now() + deadline.since(clock::now()));
        }
        let Session { wire, timer, armed, .. } = self;
        poll_fn(|cx| {
            wire.ready |= wire.socket.poll_readable(cx).is_ready();
            let mut ready = wire.ready;
            if !wire.out.is_empty() {
                ready |= wire.socket.poll_writable(cx).is_ready();
            }
            for port in wire.ports.iter_mut().flat_map(|p| [&mut p.media, &mut p.control]) {
                port.ready |= port.socket.poll_readable(cx).is_ready();
                ready |= port.ready;
            }
            if Pin::new(&mut *timer).poll(cx).is_ready() {
                *armed = Time::ZERO;
                ready = true;
            }
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Tells the camera what came of its packets.
    fn report(&mut self, feed: &mut Feed) {
        let now = clock::now();
        for (at, intake) in feed.intakes.iter_mut().enumerate() {
            let Some(report) = intake.report(now) else { continue };
            let mut bytes = Vec::new();
            emit_receiver(&mut bytes, self.ssrc, &[report], NAME);
            self.tell(at, &bytes);
        }
    }

    /// Asks for a key frame where one was lost: the next may be many seconds away.
    fn ask_keys(&mut self, now: Time, feed: &mut Feed) {
        for (at, intake) in feed.intakes.iter_mut().enumerate() {
            let Some(camera) = intake.wants_key(now) else { continue };
            let mut bytes = Vec::new();
            let report = intake.report(now);
            emit_receiver(&mut bytes, self.ssrc, report.as_slice(), NAME);
            emit_pli(&mut bytes, self.ssrc, camera);
            self.tell(at, &bytes);
        }
    }

    /// Sends RTCP of a track.
    fn tell(&mut self, at: usize, bytes: &[u8]) {
        let Some(transport) = self.dialogue.tracks().get(at).and_then(|t| t.transport.as_ref()) else {
            return;
        };
        if let Some((_, control)) = transport.interleaved {
            if self.wire.out.len() < UNSENT {
                self.wire.out.extend_from_slice(&frame_head(control, bytes.len() as u16));
                self.wire.out.extend_from_slice(bytes);
            }
        } else if let (Some((_, control)), Some(ports)) = (transport.server_port, self.wire.ports.get(at)) {
            let _ = ports.control.socket.get_ref().send_to(bytes, (self.wire.peer.ip(), control));
        }
    }

    /// Says goodbye and leaves the rest to a task: a connection closed with bytes unread is reset,
    /// and the camera may never see the goodbye.
    fn hang_up(&mut self) {
        self.dialogue.teardown(&mut self.wire.out);
        if let Some(pipe) = &mut self.wire.pipe {
            pipe.part(&mut self.wire.out);
        }
        self.wire.ports.clear();
        let _ = self.wire.flush();
        let Ok(stream) = self.wire.socket.get_ref().try_clone() else { return };
        let _ = stream.shutdown(Shutdown::Write);
        let Ok(stream) = Async::new(stream) else { return };
        let drain = async move {
            let mut bytes = [0; 2048];
            loop {
                match stream.read_with(|mut s| s.read(&mut bytes)).await {
                    Ok(n) if n > 0 => {}
                    _ => return,
                }
            }
        };
        let linger = async {
            Timer::after(LINGER).await;
        };
        self.house.executor.spawn(future::or(drain, linger)).detach();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl Wire {
    async fn connect(url: &Url, web: Option<&Url>) -> Result<Wire, ClientError> {
        let mut parser = Parser::new(Rules::CAMERA);
        parser.reserve(BUFFER);
        let mut out = Vec::new();
        let (socket, peer, pipe) = match web {
            None => {
                let (socket, peer) = dial(&url.host, url.port.unwrap_or(PORT)).await?;
                (socket, peer, None)
            }
            Some(place) => {
                let (socket, peer, mut pipe, mut early) = Box::pin(open_web(place)).await?;
                let n = pipe.read(&mut early, &mut out)?;
                parser.feed(early.get(..n).unwrap_or(&[]));
                (socket, peer, Some(Box::new(pipe)))
            }
        };
        let (ports, datagram) = (Vec::new(), Vec::new());
        Ok(Wire { socket, ready: true, peer, pipe, parser, out, ports, datagram })
    }

    /// Sends what there is room for.
    fn flush(&mut self) -> io::Result<()> {
        if let Some(pipe) = &mut self.pipe {
            pipe.seal(&mut self.out);
        }
        let mut sent = 0;
        while let Some(rest) = self.out.get(sent..).filter(|r| !r.is_empty()) {
            match self.socket.get_ref().write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        self.out.drain(..sent.min(self.out.len()));
        if let Some(pipe) = &mut self.pipe {
            pipe.left(sent);
        }
        Ok(())
    }

    /// Reads the connection until it has no more, something is to be decided, or others have waited
    /// long enough: then `moved` has reached [`YIELD_BYTES`].
    fn read(
        &mut self,
        now: Time,
        feed: &mut Feed,
        dialogue: &mut Dialogue,
        moved: &mut usize,
    ) -> Result<Option<Step>, ClientError> {
        loop {
            while let Some(item) = self.parser.next()? {
                match item {
                    Item::Frame { channel, data } => {
                        // Others' channels: live555 sends what is left of a session that died.
                        if let Some((at, control)) = dialogue.channel(channel) {
                            feed.packet(now, at, control, data, dialogue);
                        }
                    }
                    Item::Request(request) => dialogue.request(&request, &mut self.out)?,
                    Item::Response(response) => match dialogue.response(now, &response, &mut self.out)? {
                        Step::Wait => {}
                        step => return Ok(Some(step)),
                    },
                }
            }
            if self.pipe.as_ref().is_some_and(|pipe| pipe.is_over()) {
                return Ok(Some(dialogue.closed()?));
            }
            if !self.ready || *moved >= YIELD_BYTES {
                return Ok(None);
            }
            let space = self.parser.space();
            let room = space.len();
            match self.socket.get_ref().read(space) {
                Ok(0) => return Ok(Some(dialogue.closed()?)),
                Ok(n) => {
                    let kept = match &mut self.pipe {
                        None => n,
                        Some(pipe) => pipe.read(space.get_mut(..n).unwrap_or(&mut []), &mut self.out)?,
                    };
                    self.parser.filled(kept);
                    *moved += n;
                    self.ready = n == room;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.ready = false,
                // A reset may follow a refusal, and then the camera is asked again for less.
                Err(e) => return dialogue.closed().map(Some).map_err(|_| e.into()),
            }
        }
    }

    /// Reads the ports of all tracks.
    fn datagrams(
        &mut self,
        now: Time,
        feed: &mut Feed,
        dialogue: &mut Dialogue,
        moved: &mut usize,
    ) -> Result<(), ClientError> {
        if self.ports.is_empty() {
            return Ok(());
        }
        self.datagram.resize(DATAGRAM, 0);
        for (at, ports) in self.ports.iter_mut().enumerate() {
            let source = dialogue.tracks().get(at).and_then(|t| t.transport.as_ref()?.source);
            for (port, control) in [(&mut ports.control, true), (&mut ports.media, false)] {
                while port.ready && *moved < 2 * YIELD_BYTES {
                    match port.socket.get_ref().recv_from(&mut self.datagram) {
                        Ok((n, from)) => {
                            *moved += n.max(64);
                            let known = from.ip() == self.peer.ip() || source == Some(from.ip());
                            if let Some(bytes) = self.datagram.get(..n).filter(|_| known) {
                                feed.packet(now, at, control, bytes, dialogue);
                            }
                        }
                        // A port that is not open yet is told by ICMP; the next datagram may come.
                        Err(e)
                            if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => {}
                        Err(e) if e.kind() == ErrorKind::WouldBlock => port.ready = false,
                        Err(e) => return Err(e.into()),
                    }
                }
            }
        }
        Ok(())
    }
}

impl Ports {
    /// Two ports side by side, the first one even.
    fn bind(local: IpAddr) -> io::Result<(Ports, Pair<u16>)> {
        let mut last = io::Error::from(ErrorKind::AddrInUse);
        for _ in 0..PORTS {
            let media = UdpSocket::bind((local, 0))?;
            let port = media.local_addr()?.port();
            if port % 2 != 0 || port == u16::MAX {
                continue;
            }
            match UdpSocket::bind((local, port + 1)) {
                Ok(control) => {
                    let _ = setsockopt(&media, sockopt::RcvBuf, &DATAGRAMS);
                    let open = |socket| Ok::<_, io::Error>(Port { socket: Async::new(socket)?, ready: true });
                    let ports = Ports { media: open(media)?, control: open(control)? };
                    return Ok((ports, (port, port + 1)));
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}

/// A connection to one of a host's addresses.
async fn dial(host: &str, port: u16) -> Result<(Async<TcpStream>, SocketAddr), ClientError> {
    let addresses = resolve(host).await?;
    let connect = async {
        let mut last = ClientError::from(Cause::Name("no address".to_string()));
        for ip in addresses.into_iter().take(ADDRESSES) {
            let address = SocketAddr::new(ip, port);
            match Async::<TcpStream>::connect(address).await {
                Ok(socket) => return Ok((socket, address)),
                Err(e) => last = e.into(),
            }
        }
        Err(last)
    };
    let (socket, peer) = future::or(connect, late()).await?;
    socket.get_ref().set_nodelay(true)?;
    Ok((socket, peer))
}

/// A connection that has become a WebSocket, and what came by it already.
#[cfg(feature = "tunnel")]
async fn open_web(place: &Url) -> Result<(Async<TcpStream>, SocketAddr, Pipe, Vec<u8>), ClientError> {
    let mut challenge = None;
    loop {
        let (socket, peer) = dial(&place.host, place.port.unwrap_or(upgrade::PORT)).await?;
        let opened = async { Ok(upgrade::open(&socket, place, challenge.as_ref()).await?) };
        match future::or(opened, late()).await? {
            Opened::Pipe(pipe, early) => return Ok((socket, peer, pipe, early)),
            // asked once at most: what follows an answer is a refusal
            Opened::Asked(asked) => challenge = Some(asked),
        }
    }
}

#[cfg(not(feature = "tunnel"))]
async fn open_web(_: &Url) -> Result<(Async<TcpStream>, SocketAddr, Pipe, Vec<u8>), ClientError> {
    Err(UpgradeError.into())
}

async fn late<T>() -> Result<T, ClientError> {
    Timer::after(CONNECT).await;
    Err(Cause::Connect.into())
}

/// The addresses of a host.
async fn resolve(host: &str) -> Result<Vec<IpAddr>, ClientError> {
    let found = names::look_up(host, &Settings::of_system(), random::bytes()).await;
    Ok(found.map_err(|e| Cause::Name(e.to_string()))?)
}
