//! What a server answers, and what becomes of a session: pure, with the request, the time and what
//! the stream offers as arguments. Requests are read into a [`Call`] first; those that concern a
//! session go to it and give a reply and an [`Action`] for whoever holds the sockets.
//!
//! A session is named by an unguessable id and bound to who made it: an interleaved one to its
//! connection, one by UDP to its user and address. For everybody else it does not exist (454), which
//! is more than some servers do (CVE-2026-41470). Authentication is done before, on each request.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::message::{Method, Reply, Request};
use super::transport::{Lower, Pair, Transport};
use super::url::Url;
use crate::media::Time;
use crate::net::limits::rtsp as limits;
use std::fmt::Write;
use std::net::IpAddr;

/// Asks for the way back to the speaker (ONVIF Streaming §5.3).
pub const BACK_CHANNEL: &str = "www.onvif.org/ver20/backchannel";
/// GET_PARAMETER has to be here, or clients keep alive by other means.
pub const PUBLIC: &str =
    "OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, PAUSE, RECORD, TEARDOWN, GET_PARAMETER, SET_PARAMETER";
/// Ports below belong to services.
const FIRST_PORT: u16 = 1024;

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The connection, by a number that is never used again.
    pub connection: u64,
    /// Its address.
    pub address: IpAddr,
    /// The user it proved to be, by number.
    pub user: u32,
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Url,
    /// The way back to the speaker is asked for.
    pub back_channel: bool,
}

impl Target {
    /// Name of the stream, for DESCRIBE and ANNOUNCE: the whole path.
    pub fn stream(&self) -> Option<String> {
        self.url.name()
    }

    /// The query.
    pub fn query(&self) -> &str {
        // The base ends in a slash, which stands behind the query.
        self.url.query.trim_end_matches('/')
    }

    /// For the first SETUP: name of the stream, its query, and the track's control. The control stands
    /// behind the query if the base had one (`/yard?video/trackID=0`).
    pub fn track(&self) -> Option<(String, String, String)> {
        if let Some((query, control)) = self.url.query.rsplit_once('/') {
            return Some((self.url.name()?, query.to_string(), super::url::decode(control)?));
        }
        let name = self.url.name()?;
        let (name, control) = name.rsplit_once('/')?;
        Some((name.to_string(), self.url.query.clone(), control.to_string()))
    }

    /// Content-Base: the address asked for, without credentials, with a slash at its end; and one before
    /// its query, because GStreamer resolves a control against it as RFC 3986 has it, which drops the
    /// query and what stands behind the last slash of the path. Others append.
    pub fn base(&self) -> String {
        let mut url = self.url.clone();
        if !url.query.is_empty() && !url.path.ends_with('/') {
            url.path.push('/');
        }
        let mut base = url.public();
        if !base.ends_with('/') {
            base.push('/');
        }
        base
    }

    /// The control of a request within a session of stream `name`; `None` for the whole.
    fn control(&self, name: &str) -> Option<String> {
        match self.track() {
            Some((stream, _, control)) if stream == name && !control.is_empty() => Some(control),
            _ => None,
        }
    }
}

/// What a request asks for, checked as far as can be without knowing anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Answered by [`options`].
    Options,
    /// Tell what the stream has; answer with [`described`].
    Describe(Target),
    /// Somebody wants to publish what the body says.
    Announce(Target),
    /// Sets up a track, of a new session if it names none.
    Setup(Target),
    /// Belongs to the session that it names.
    InSession(Target),
    /// Keepalive without a session.
    Ping,
}

/// Reads a request; what is wrong on its own is answered at once.
pub fn read(request: &Request) -> Result<Call, Reply> {
    let fail = |status| Err(Reply::to(request, status));
    if request.http {
        return fail(400);
    }
    let mut back_channel = false;
    if let Some(require) = request.headers.get("Require") {
        for option in require.split(',').map(str::trim) {
            if option == BACK_CHANNEL {
                back_channel = true;
            } else {
                return Err(Reply::to(request, 551).header("Unsupported", option));
            }
        }
    }
    let Some(url) = Url::parse(&request.uri) else { return fail(400) };
    let target = Target { url, back_channel };
    let in_session = request.headers.session().is_some();
    Ok(match request.method {
        Method::Options if !in_session => Call::Options,
        Method::Describe => Call::Describe(target),
        Method::Announce => {
            let kind = request.headers.get("Content-Type").unwrap_or("application/sdp");
            if !kind.trim().to_ascii_lowercase().starts_with("application/sdp") {
                return fail(415);
            }
            Call::Announce(target)
        }
        Method::Setup => {
            if request.headers.get("Transport").is_none_or(|t| Transport::parse_list(t).is_empty()) {
                return fail(461);
            }
            Call::Setup(target)
        }
        Method::GetParameter | Method::SetParameter if !in_session => {
            if !request.body.is_empty() {
                return fail(451);
            }
            Call::Ping
        }
        Method::Play | Method::Pause | Method::Record | Method::Teardown if !in_session => return fail(454),
        Method::Redirect | Method::Other => return Err(Reply::to(request, 501).header("Public", PUBLIC)),
        _ => Call::InSession(target),
    })
}

/// The answer to OPTIONS.
pub fn options(request: &Request) -> Reply {
    Reply::to(request, 200).header("Public", PUBLIC)
}

/// The answer to DESCRIBE.
pub fn described(request: &Request, target: &Target, sdp: String) -> Reply {
    Reply::to(request, 200)
        .header("Content-Base", target.base())
        .header("Cache-Control", "no-cache")
        .body("application/sdp", sdp.into_bytes())
}

/// One track that can be set up.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    /// Its control, as in the description.
    pub control: &'a str,
    /// Who sends it; `None` where the client sends.
    pub ssrc: Option<u32>,
    /// Somebody else has it: a speaker that talks already.
    pub busy: bool,
    /// Its group, ports and reach, if it is multicast.
    pub group: Option<(IpAddr, Pair<u16>, u8)>,
    /// Number and time of the next packet, for RTP-Info; `None` if not known.
    pub next: Option<(u16, u32)>,
}

/// What a session may be given.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The tracks in the order of the description.
    pub tracks: &'a [Offered<'a>],
    /// Our ports for UDP; `None` if it is not to be used.
    pub udp: Option<Pair<u16>>,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No track is set up.
    Init,
    /// Tracks are set up, nothing flows.
    Ready,
    /// Packets flow to the client.
    Playing,
    /// Packets flow from the client.
    Recording,
}

/// Which way a session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By SETUP.
    Play,
    /// By ANNOUNCE.
    Record,
}

/// What the holder of the sockets does after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// A track was set up, or set up anew: the index in [`Offer::tracks`].
    Setup(usize),
    /// Begin to send.
    Play,
    /// Stop sending, keep everything.
    Pause,
    /// Begin to receive.
    Record,
    /// This track is given up, the session lives.
    Remove(usize),
    /// The session is over.
    End,
}

/// A track that is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Its index in [`Offer::tracks`].
    pub index: usize,
    /// How it travels.
    pub transport: Transport,
}

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    id: String,
    name: String,
    base: String,
    owner: Peer,
    mode: Mode,
    state: State,
    tracks: Vec<Track>,
    setups: u32,
    seen: Time,
}

impl Session {
    /// A session of stream `name`; `random` makes its id.
    pub fn new(random: [u8; 8], owner: Peer, name: &str, mode: Mode, now: Time) -> Session {
        let mut id = String::with_capacity(16);
        for byte in random {
            let _ = write!(id, "{byte:02x}");
        }
        let (tracks, base) = (Vec::new(), String::new());
        let name = name.to_string();
        Session { id, name, base, owner, mode, state: State::Init, tracks, setups: 0, seen: now }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The stream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Its tracks.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Who made it.
    pub fn owner(&self) -> Peer {
        self.owner
    }

    /// Whether it ends with its connection.
    pub fn is_bound(&self) -> bool {
        self.tracks.is_empty() || self.tracks.iter().any(|t| t.transport.lower == Some(Lower::Interleaved))
    }

    /// Whether `peer` may speak for it.
    pub fn belongs_to(&self, peer: &Peer) -> bool {
        if self.is_bound() {
            peer.connection == self.owner.connection
        } else {
            peer.user == self.owner.user && peer.address == self.owner.address
        }
    }

    /// A sign of life besides requests: a receiver report, or a packet from a publisher.
    pub fn alive(&mut self, now: Time) {
        self.seen = self.seen.max(now);
    }

    /// When the session dies if nobody speaks for it. One that plays over its connection lives as
    /// long as that: cheap recorders never keep alive, but read.
    pub fn deadline(&self) -> Option<Time> {
        let bound = self.is_bound() && !self.tracks.is_empty();
        (!bound || matches!(self.state, State::Init | State::Ready))
            .then(|| self.seen + limits::SESSION + limits::SESSION / 4)
    }

    fn reply(&self, request: &Request, status: u16) -> Reply {
        let timeout = limits::SESSION.as_secs();
        Reply::to(request, status).header("Session", format!("{};timeout={timeout}", self.id))
    }

    /// Answers a request that names this session, or the SETUP that begins it.
    pub fn handle(
        &mut self,
        now: Time,
        peer: &Peer,
        request: &Request,
        target: &Target,
        offer: &Offer<'_>,
    ) -> (Reply, Action) {
        let named = request.headers.session().is_none_or(|(id, _)| id == self.id);
        if !named || !self.belongs_to(peer) {
            return (Reply::to(request, 454), Action::None);
        }
        self.alive(now);
        let fail = |status| (Reply::to(request, status), Action::None);
        match request.method {
            Method::Setup => match self.setup(peer, request, target, offer) {
                Ok((text, index)) => {
                    (self.reply(request, 200).header("Transport", text), Action::Setup(index))
                }
                Err(status) => fail(status),
            },
            Method::Play => self.play(request, offer),
            Method::Record => match (self.mode, self.state) {
                (Mode::Record, State::Ready) => {
                    self.state = State::Recording;
                    (self.reply(request, 200), Action::Record)
                }
                (Mode::Record, State::Recording) => (self.reply(request, 200), Action::None),
                _ => fail(455),
            },
            Method::Pause => {
                if target.control(&self.name).is_some() && self.tracks.len() > 1 {
                    return fail(460);
                }
                match self.state {
                    State::Playing | State::Recording => {
                        self.state = State::Ready;
                        (self.reply(request, 200), Action::Pause)
                    }
                    State::Ready => (self.reply(request, 200), Action::None),
                    State::Init => fail(455),
                }
            }
            Method::Teardown => self.teardown(request, target, offer),
            Method::GetParameter | Method::SetParameter if !request.body.is_empty() => fail(451),
            Method::Options => (self.reply(request, 200).header("Public", PUBLIC), Action::None),
            Method::GetParameter | Method::SetParameter => (self.reply(request, 200), Action::None),
            _ => fail(455),
        }
    }

    fn setup(
        &mut self,
        peer: &Peer,
        request: &Request,
        target: &Target,
        offer: &Offer<'_>,
    ) -> Result<(String, usize), u16> {
        if matches!(self.state, State::Playing | State::Recording) {
            return Err(455);
        }
        self.setups += 1;
        if self.setups > limits::SETUPS {
            return Err(453);
        }
        let index = match target.control(&self.name) {
            Some(control) => offer.tracks.iter().position(|t| t.control == control).ok_or(404_u16)?,
            // Some clients set up the only track by the stream's own address.
            None if offer.tracks.len() == 1 => 0,
            None => return Err(459),
        };
        let offered = offer.tracks.get(index).ok_or(404_u16)?;
        let at = self.tracks.iter().position(|t| t.index == index);
        if offered.busy && at.is_none() || at.is_none() && self.tracks.len() >= limits::TRACKS {
            return Err(453);
        }
        let asked = Transport::parse_list(request.headers.get("Transport").unwrap_or(""));
        let transport =
            asked.iter().find_map(|t| self.agree(t, index, offered, offer, peer)).ok_or(461_u16)?;
        let text = transport.to_string();
        let track = Track { index, transport };
        match at.and_then(|at| self.tracks.get_mut(at)) {
            Some(old) => *old = track,
            None => {
                self.tracks.reserve_exact(1);
                self.tracks.push(track);
            }
        }
        if self.base.is_empty() {
            // told back as it was asked, whatever the client made of the base
            let base = target.url.public();
            let base = base.trim_end_matches('/');
            self.base = base.strip_suffix(offered.control).unwrap_or(base).trim_end_matches('/').to_string();
        }
        self.state = State::Ready;
        Ok((text, index))
    }

    /// What is answered to one alternative, if it can be had.
    fn agree(
        &self,
        asked: &Transport,
        index: usize,
        offered: &Offered<'_>,
        offer: &Offer<'_>,
        peer: &Peer,
    ) -> Option<Transport> {
        if asked.secure {
            return None;
        }
        let record = self.mode == Mode::Record;
        let mut transport = match asked.lower? {
            Lower::Interleaved => {
                // The connection that carries the packets is the one that rules the session.
                if peer.connection != self.owner.connection {
                    return None;
                }
                Transport::interleaved(self.channels(asked.interleaved, index)?)
            }
            Lower::Udp => {
                // Where to is never for the client to say: packets go to whom they were asked from.
                let (server, client) = (offer.udp?, asked.client_port?);
                if client.0 < FIRST_PORT || client.1 <= client.0 {
                    return None;
                }
                Transport { server_port: Some(server), ..Transport::udp(client) }
            }
            Lower::Multicast => {
                let (group, ports, ttl) = offered.group?;
                if record {
                    return None;
                }
                Transport {
                    lower: Some(Lower::Multicast),
                    destination: Some(group),
                    port: Some(ports),
                    ttl: Some(ttl),
                    ..Transport::default()
                }
            }
        };
        transport.record = record;
        transport.ssrc = offered.ssrc.filter(|_| !record);
        Some(transport)
    }

    /// The channels asked for, if they are a free even pair; the first free ones if none were.
    fn channels(&self, asked: Option<Pair<u8>>, index: usize) -> Option<Pair<u8>> {
        let taken = |first| {
            let of_other = |t: &&Track| t.index != index;
            self.tracks.iter().filter(of_other).any(|t| t.transport.interleaved.is_some_and(|c| c.0 == first))
        };
        match asked {
            Some((first, second)) => {
                (first % 2 == 0 && second == first + 1 && !taken(first)).then_some((first, second))
            }
            None => (0..=254).step_by(2).find(|&first| !taken(first)).map(|first| (first, first + 1)),
        }
    }

    fn play(&mut self, request: &Request, offer: &Offer<'_>) -> (Reply, Action) {
        let action = match (self.mode, self.state) {
            (Mode::Play, State::Ready) => Action::Play,
            // Some clients repeat it, or send one for each track.
            (Mode::Play, State::Playing) => Action::None,
            _ => return (Reply::to(request, 455), Action::None),
        };
        self.state = State::Playing;
        let mut reply = self.reply(request, 200).header("Range", "npt=now-");
        if let Some(scale) = request.headers.get("Scale")
            && !scale.is_empty()
        {
            reply = reply.header("Scale", "1.000");
        }
        // True for every track or left out: wrong values upset players more than none.
        let (mut info, mut is_whole) = (String::new(), action == Action::Play);
        for track in &self.tracks {
            let Some(offered) = offer.tracks.get(track.index).filter(|t| t.ssrc.is_some()) else { continue };
            let Some((seq, time)) = offered.next else {
                is_whole = false;
                continue;
            };
            let comma = if info.is_empty() { "" } else { "," };
            let _ = write!(info, "{comma}url={}/{};seq={seq};rtptime={time}", self.base, offered.control);
        }
        if is_whole && !info.is_empty() {
            reply = reply.header("RTP-Info", info);
        }
        (reply, action)
    }

    fn teardown(&mut self, request: &Request, target: &Target, offer: &Offer<'_>) -> (Reply, Action) {
        let control = target.control(&self.name);
        let index = control.and_then(|c| offer.tracks.iter().position(|t| t.control == c));
        if let Some(index) = index
            && self.tracks.len() > 1
            && self.tracks.iter().any(|t| t.index == index)
        {
            self.tracks.retain(|t| t.index != index);
            return (self.reply(request, 200), Action::Remove(index));
        }
        self.tracks.clear();
        self.state = State::Init;
        (Reply::to(request, 200), Action::End)
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
