//! What streamd says to a camera: DESCRIBE, SETUP, PLAY, keepalives and TEARDOWN, as a state machine.
//! Responses and the time go in; requests, appended to a buffer, the next [`Step`] and a deadline come
//! out. It holds no socket and reads no clock, so a test plays a camera of any kind.
//!
//! Cameras break every rule of the protocol. What is allowed against the standard is allowed where it
//! stands, with the device that needs it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::answering::{self, Account, Challenge};
use super::intake;
use super::message::{Method, Reply, Request, Response, emit_request};
use super::plan::REDIRECTS;
pub use super::plan::{ANSWER, Carrier, DialogueError, Plan, Role, Step, Track};
use super::session::BACK_CHANNEL;
use super::transport::{Lower, Pair, Transport};
use super::url::Url;
use crate::media::{Codec, Kind, Time};
use crate::net::digest::Algorithm;
use crate::net::limits::rtsp as limits;
use crate::net::rtp::pay::Packetizer;
use crate::net::sdp::{Description, Flow, Format};
use std::time::Duration;

/// One that sends nothing for this long is gone, if nothing else is said.
pub const SILENCE: Duration = Duration::from_secs(5);
/// By UDP the first packet has this long, before it is tried by TCP.
const FIRST_DATAGRAM: Duration = Duration::from_secs(3);
/// After a goodbye only this much silence is borne.
const AFTER_BYE: Duration = Duration::from_secs(1);
/// Receiver reports go out this often.
const REPORTS: Duration = Duration::from_secs(5);
/// A session lives this long if the camera does not say.
const SESSION: u32 = 60;
/// Connections made for one session.
const DIALS: u8 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Describing,
    Described,
    SettingUp(usize),
    Ready,
    Playing,
}

struct Pending {
    cseq: u32,
    method: Method,
    uri: String,
    headers: Vec<(&'static str, String)>,
    until: Time,
    /// It carried an answer to a challenge.
    answered: bool,
    /// It was sent again because the challenge had become old.
    stale: bool,
}

/// One session with one camera.
pub struct Dialogue {
    plan: Plan,
    account: Account,
    /// Where the account belongs.
    home: String,
    random: [u8; 16],
    state: State,
    cseq: u32,
    pending: Option<Pending>,
    challenge: Option<(Challenge, u32)>,
    /// DESCRIBE goes out with Require.
    require: bool,
    tried_both: bool,
    redirects: u8,
    dials: u8,
    base: Url,
    aggregate: String,
    tracks: Vec<Track>,
    speaker: Option<Track>,
    ports: Vec<Pair<u16>>,
    session: Option<String>,
    timeout: u32,
    keeper: Method,
    keep_at: Time,
    report_at: Time,
    began: Time,
    heard: Option<Time>,
    bye: bool,
}

impl Dialogue {
    /// A session that is to be; `random` makes what only we may know.
    pub fn new(plan: Plan, random: [u8; 16]) -> Dialogue {
        let account = Account { user: plan.url.user.clone(), password: plan.url.password.clone() };
        Dialogue {
            account,
            home: plan.url.host.clone(),
            random,
            state: State::Idle,
            cseq: 0,
            pending: None,
            challenge: None,
            require: plan.back_channel,
            tried_both: !plan.fall_back,
            redirects: 0,
            dials: 0,
            base: plan.url.clone(),
            aggregate: String::new(),
            tracks: Vec::new(),
            speaker: None,
            ports: Vec::new(),
            session: None,
            timeout: SESSION,
            keeper: Method::Options,
            keep_at: Time::ZERO,
            report_at: Time::ZERO,
            began: Time::ZERO,
            heard: None,
            bye: false,
            plan,
        }
    }

    /// Where to connect.
    pub fn url(&self) -> &Url {
        &self.plan.url
    }

    /// By what the packets are to come.
    pub fn carrier(&self) -> Carrier {
        self.plan.carrier
    }

    /// What is received, in the order of the description; while talking, what is sent.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// The camera's speaker, if it showed one.
    pub fn speaker(&self) -> Option<&Track> {
        self.speaker.as_ref()
    }

    /// Whose packets come on a channel of the connection, and whether they are RTCP.
    pub fn channel(&self, channel: u8) -> Option<(usize, bool)> {
        self.tracks.iter().enumerate().find_map(|(i, track)| {
            let (media, control) = track.transport.as_ref()?.interleaved?;
            (channel == media || channel == control).then_some((i, channel == control))
        })
    }

    /// A connection is there: asks for the description.
    pub fn begin(&mut self, now: Time, out: &mut Vec<u8>) {
        self.state = State::Describing;
        (self.session, self.timeout) = (None, SESSION);
        self.tracks.clear();
        self.speaker = None;
        (self.heard, self.bye) = (None, false);
        self.pending = None;
        let mut headers = vec![("Accept", "application/sdp".to_string())];
        if self.require {
            headers.push(("Require", BACK_CHANNEL.to_string()));
        }
        let uri = self.plan.url.public();
        self.send(now, Method::Describe, uri, headers, out);
    }

    /// Sets the tracks up, one after another.
    pub fn setup(&mut self, now: Time, ports: Vec<Pair<u16>>, out: &mut Vec<u8>) {
        self.ports = ports;
        self.state = State::SettingUp(0);
        self.send_setup(now, 0, out);
    }

    /// Has the packets flow.
    pub fn play(&mut self, now: Time, out: &mut Vec<u8>) {
        self.began = now;
        // Without a Range: to servers that can seek it is one, which fails on what is live.
        let mut headers = Vec::new();
        self.require_back_channel(&mut headers);
        let uri = self.aggregate.clone();
        self.send(now, Method::Play, uri, headers, out);
    }

    /// Packets came.
    pub fn heard(&mut self, now: Time) {
        self.heard = Some(now);
    }

    /// The camera said goodbye for a track; some say it and go on.
    pub fn bye(&mut self) {
        self.bye = true;
    }

    /// Ends the session, so that the camera does not keep a dead one: many allow three or four.
    pub fn teardown(&mut self, out: &mut Vec<u8>) {
        if self.session.is_some() {
            let uri = self.aggregate.clone();
            self.send(Time::ZERO, Method::Teardown, uri, Vec::new(), out);
        }
        self.state = State::Idle;
        self.session = None;
        self.pending = None;
    }

    /// The connection was closed by the camera. What asked too much may be asked again without.
    pub fn closed(&mut self) -> Result<Step, DialogueError> {
        let method = self.pending.as_ref().map_or(Method::Play, |p| p.method);
        if self.state == State::Playing {
            return Err(DialogueError::Ended);
        }
        let error = DialogueError::Closed(method);
        if self.require && self.plan.role == Role::Watch { self.without_require(error) } else { Err(error) }
    }

    /// When [`Dialogue::tick`] is due.
    pub fn deadline(&self) -> Option<Time> {
        let mut soonest = self.pending.as_ref().map(|p| p.until);
        if self.state == State::Playing {
            for at in [Some(self.keep_at), Some(self.report_at), self.silent_at()] {
                soonest = match (soonest, at) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
        }
        soonest
    }

    /// When the camera's silence is too long. While we talk it has nothing to say.
    fn silent_at(&self) -> Option<Time> {
        if self.plan.role == Role::Talk {
            return None;
        }
        if self.tracks.iter().all(|t| t.codec.kind() == Kind::Data) {
            // Events come when something happens.
            return None;
        }
        Some(match self.heard {
            Some(heard) => heard + if self.bye { AFTER_BYE } else { self.plan.silence },
            None if self.plan.carrier == Carrier::Udp && !self.tried_both => {
                self.began + FIRST_DATAGRAM.min(self.plan.silence)
            }
            // The first packet may wait for a key frame.
            None => self.began + self.plan.silence * 2,
        })
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time, out: &mut Vec<u8>) -> Result<Step, DialogueError> {
        if let Some(pending) = self.pending.as_ref().filter(|p| now >= p.until) {
            let method = pending.method;
            match (self.state, method) {
                // A keepalive that is not answered while packets flow is no reason to go.
                (State::Playing, _) => self.pending = None,
                // Nor is PLAY.
                (_, Method::Play) if self.heard.is_some() => {
                    self.pending = None;
                    return Ok(self.playing(now, out));
                }
                _ => return Err(DialogueError::Silent(method)),
            }
        }
        if self.state != State::Playing {
            return Ok(Step::Wait);
        }
        if self.silent_at().is_some_and(|at| now >= at) {
            if self.heard.is_none() && self.plan.carrier == Carrier::Udp && !self.tried_both {
                self.tried_both = true;
                self.plan.carrier = Carrier::Tcp;
                return self.dial(DialogueError::NoData(FIRST_DATAGRAM));
            }
            let most = if self.heard.is_some() { self.plan.silence } else { self.plan.silence * 2 };
            return Err(DialogueError::NoData(most));
        }
        if now >= self.keep_at {
            self.keep_at = now + self.interval();
            if self.pending.is_none() {
                let (method, uri) = (self.keeper, self.aggregate.clone());
                self.send(now, method, uri, Vec::new(), out);
            }
        }
        if now >= self.report_at {
            self.report_at = now + REPORTS;
            return Ok(Step::Report);
        }
        Ok(Step::Wait)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.timeout / 2).clamp(2, 30))
    }

    fn playing(&mut self, now: Time, out: &mut Vec<u8>) -> Step {
        self.state = State::Playing;
        self.began = now;
        self.report_at = now;
        self.keep_at = now + self.interval();
        if self.keeper == Method::Options && self.pending.is_none() {
            // Tells how the session is kept alive. Asked only now, so that no picture waits for it.
            let uri = self.aggregate.clone();
            self.send(now, Method::Options, uri, Vec::new(), out);
        }
        Step::Playing
    }

    /// The camera asks something of us.
    pub fn request(&mut self, request: &Request, out: &mut Vec<u8>) -> Result<(), DialogueError> {
        let status = match request.method {
            Method::Redirect | Method::Teardown => {
                Reply::to(request, 200).emit(out);
                return Err(DialogueError::Ended);
            }
            Method::Options | Method::GetParameter | Method::SetParameter | Method::Announce => 200,
            _ => 501,
        };
        let mut reply = Reply::to(request, status);
        if request.method == Method::Options {
            reply = reply.header("Public", "OPTIONS, GET_PARAMETER, SET_PARAMETER, TEARDOWN");
        }
        reply.emit(out);
        Ok(())
    }

    /// An answer came.
    pub fn response(
        &mut self,
        now: Time,
        response: &Response,
        out: &mut Vec<u8>,
    ) -> Result<Step, DialogueError> {
        let ours = |p: &mut Pending| match response.headers.cseq() {
            Some(cseq) => cseq.parse() == Ok(p.cseq),
            // Cameras that leave the number out answer in order.
            None => true,
        };
        if response.status < 200 {
            return Ok(Step::Wait);
        }
        let Some(pending) = self.pending.take_if(ours) else { return Ok(Step::Wait) };
        self.learn(response);
        match response.status {
            200..=299 => self.accepted(now, &pending, response, out),
            301 | 302 | 303 | 305 | 307 if pending.method == Method::Describe => self.redirected(response),
            401 => self.challenged(now, pending, response, out),
            status => self.failed(now, pending, status, response, out),
        }
    }

    /// What any answer may tell beside what it was asked.
    fn learn(&mut self, response: &Response) {
        if let Some(public) = response.headers.get("Public") {
            let has = |name: &str| public.split(',').any(|m| m.trim().eq_ignore_ascii_case(name));
            self.keeper = if has("GET_PARAMETER") {
                Method::GetParameter
            } else if has("SET_PARAMETER") {
                Method::SetParameter
            } else {
                Method::Options
            };
        }
    }

    fn accepted(
        &mut self,
        now: Time,
        pending: &Pending,
        response: &Response,
        out: &mut Vec<u8>,
    ) -> Result<Step, DialogueError> {
        match (pending.method, self.state) {
            (Method::Describe, State::Describing) => self.described(response),
            (Method::Setup, State::SettingUp(at)) => {
                self.set_up(at, response)?;
                Ok(self.next_setup(now, at + 1, out))
            }
            (Method::Play, State::Ready) => Ok(self.playing(now, out)),
            _ => Ok(Step::Wait),
        }
    }

    fn described(&mut self, response: &Response) -> Result<Step, DialogueError> {
        // Whatever its Content-Type says, or does not.
        let text = String::from_utf8_lossy(&response.body);
        let description = Description::parse(&text).map_err(DialogueError::Sdp)?;
        let base = response.headers.get("Content-Base").or(response.headers.get("Content-Location"));
        // A base may lack its scheme, have it twice, or have an address that nobody else reaches.
        self.base = base.and_then(Url::parse).filter(|u| !u.host.is_empty()).unwrap_or(self.plan.url.clone());
        (self.base.scheme, self.base.host) = ("rtsp".to_string(), self.plan.url.host.clone());
        self.base.port = self.plan.url.port;
        self.aggregate = match description.control.as_deref() {
            Some(control) if control.contains("://") => self.base.control(control),
            _ => self.base.public(),
        };
        if !fits(&self.aggregate) {
            self.aggregate = self.plan.url.public();
        }
        self.tracks.clear();
        self.speaker = None;
        for media in description.medias {
            let url = self.base.control(media.control.as_deref().unwrap_or(""));
            if !fits(&url) {
                continue;
            }
            if media.flow == Some(Flow::SendOnly) {
                let format = media.formats.iter().find(|f| speaks(f).is_some());
                if let (None, Some(format)) = (&self.speaker, format.cloned())
                    && let Some(codec) = speaks(&format)
                    && media.kind == Some(Kind::Audio)
                {
                    self.speaker = Some(Track { format, codec, media, url, transport: None });
                }
                continue;
            }
            let Some((format, codec)) = intake::choose(&media) else { continue };
            if media.flow != Some(Flow::Inactive)
                && self.plan.kinds.contains(&codec.kind())
                && self.tracks.len() < limits::TRACKS
            {
                let format = format.clone();
                self.tracks.push(Track { format, codec, media, url, transport: None });
            }
        }
        if self.plan.role == Role::Talk {
            self.tracks = self.speaker.clone().into_iter().collect();
        }
        if self.tracks.is_empty() {
            return Err(DialogueError::Nothing);
        }
        self.state = State::Described;
        Ok(Step::Described)
    }

    fn send_setup(&mut self, now: Time, at: usize, out: &mut Vec<u8>) {
        let Some(track) = self.tracks.get(at) else { return };
        let transport = match (self.plan.carrier, self.ports.get(at)) {
            (Carrier::Udp, Some(&ports)) => Transport::udp(ports),
            _ => Transport::interleaved(asked_channels(at)),
        };
        let mut headers = vec![("Transport", transport.to_string())];
        let uri = track.url.clone();
        self.require_back_channel(&mut headers);
        self.send(now, Method::Setup, uri, headers, out);
    }

    /// ONVIF wants it in each request that concerns the speaker.
    fn require_back_channel(&self, headers: &mut Vec<(&'static str, String)>) {
        if self.plan.role == Role::Talk {
            headers.push(("Require", BACK_CHANNEL.to_string()));
        }
    }

    fn set_up(&mut self, at: usize, response: &Response) -> Result<(), DialogueError> {
        let text = response.headers.get("Transport").unwrap_or("");
        let mut got = Transport::parse_list(text).into_iter().next().unwrap_or_default();
        let asked_udp = self.plan.carrier == Carrier::Udp;
        let asked = asked_channels(at);
        let taken = |channel: u8| self.channel(channel).is_some();
        match got.lower {
            Some(Lower::Multicast) => {
                return Err(DialogueError::Transport(text.chars().take(200).collect()));
            }
            Some(Lower::Udp) | None if asked_udp => {
                got.lower = Some(Lower::Udp);
                got.client_port = self.ports.get(at).copied();
                got.interleaved = None;
            }
            // What was asked for counts where the answer is odd: no `/TCP`, no channels, or those of
            // another track.
            _ => {
                let free = got.interleaved.filter(|&(a, b)| a != b && !taken(a) && !taken(b));
                got.lower = Some(Lower::Interleaved);
                got.interleaved = Some(free.unwrap_or(asked));
            }
        }
        if let Some(track) = self.tracks.get_mut(at) {
            track.transport = Some(got);
        }
        // Some give another id with each track; the first one is the session.
        if let Some((id, timeout)) = response.headers.session() {
            self.timeout = timeout.filter(|t| *t > 0).unwrap_or(self.timeout);
            if self.session.is_none() && id.len() <= 256 {
                self.session = Some(id.to_string());
            }
        }
        Ok(())
    }

    fn next_setup(&mut self, now: Time, at: usize, out: &mut Vec<u8>) -> Step {
        if at < self.tracks.len() {
            self.state = State::SettingUp(at);
            self.send_setup(now, at, out);
            return Step::Wait;
        }
        self.state = State::Ready;
        Step::Ready
    }

    fn redirected(&mut self, response: &Response) -> Result<Step, DialogueError> {
        self.redirects += 1;
        if self.redirects > REDIRECTS {
            return Err(DialogueError::Redirects);
        }
        let text = response.headers.get("Location").unwrap_or("");
        let wrong = || DialogueError::Location(text.chars().take(100).collect());
        let mut url = Url::parse(text).filter(|u| !text.is_empty() && fits(&u.public())).ok_or_else(wrong)?;
        if !matches!(url.scheme.as_str(), "" | "rtsp") {
            return Err(wrong());
        }
        if url.host.is_empty() {
            (url.host, url.port) = (self.plan.url.host.clone(), self.plan.url.port);
        }
        if !url.user.is_empty() {
            self.account = Account { user: url.user.clone(), password: url.password.clone() };
            self.home = url.host.clone();
        }
        url.scheme = "rtsp".to_string();
        self.plan.url = url;
        self.challenge = None;
        self.dial(DialogueError::Redirects)
    }

    fn challenged(
        &mut self,
        now: Time,
        pending: Pending,
        response: &Response,
        out: &mut Vec<u8>,
    ) -> Result<Step, DialogueError> {
        if self.account.is_empty() {
            return Err(DialogueError::NoAccount);
        }
        let offered = response.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case("WWW-Authenticate"));
        let challenge = answering::choose(offered.map(|(_, v)| v)).map_err(DialogueError::Challenge)?;
        // A password in clear goes nowhere but where it was meant for.
        if challenge == Challenge::Basic && self.plan.url.host != self.home {
            return Err(DialogueError::Challenge("only Basic, at another host,".to_string()));
        }
        let stale = matches!(&challenge, Challenge::Digest { stale: true, .. });
        // Cameras that give each nonce for one request only do not say that it is old: a new nonce
        // counts as such, once.
        let renewed = match (&challenge, &self.challenge) {
            (Challenge::Digest { nonce, .. }, Some((Challenge::Digest { nonce: old, .. }, count))) => {
                nonce != old && *count > 1
            }
            _ => false,
        };
        if pending.answered && (pending.stale || !(stale || renewed)) {
            return Err(DialogueError::Refused);
        }
        self.challenge = Some((challenge, 0));
        let again = pending.answered;
        self.send(now, pending.method, pending.uri, pending.headers, out);
        if let Some(sent) = &mut self.pending {
            sent.stale = again;
        }
        Ok(Step::Wait)
    }

    fn failed(
        &mut self,
        now: Time,
        pending: Pending,
        status: u16,
        response: &Response,
        out: &mut Vec<u8>,
    ) -> Result<Step, DialogueError> {
        let mut reason: String = response.reason.chars().filter(|c| !c.is_control()).take(60).collect();
        if reason.is_empty() {
            reason = super::message::reason(status).to_string();
        }
        let error = DialogueError::Status(pending.method, status, reason);
        match (pending.method, self.state) {
            (_, State::Playing) => {
                // A keepalive failed: what is left is OPTIONS, which every camera knows.
                if status == 454 {
                    return Err(DialogueError::Ended);
                }
                self.keeper = Method::Options;
                Ok(Step::Wait)
            }
            (Method::Describe, _) if self.require && self.plan.role == Role::Watch && status != 404 => {
                if status == 551 {
                    // The standard's own answer: the connection is good.
                    self.require = false;
                    self.begin(now, out);
                    return Ok(Step::Wait);
                }
                self.without_require(error)
            }
            (Method::Setup, State::SettingUp(at)) => self.setup_failed(now, at, status, error, out),
            (Method::Play, _)
                if matches!(status, 400 | 457) && !pending.headers.iter().any(|(n, _)| *n == "Range") =>
            {
                let mut headers = pending.headers;
                headers.push(("Range", "npt=0.000-".to_string()));
                self.send(now, Method::Play, pending.uri, headers, out);
                Ok(Step::Wait)
            }
            _ => Err(error),
        }
    }

    fn setup_failed(
        &mut self,
        now: Time,
        at: usize,
        status: u16,
        error: DialogueError,
        out: &mut Vec<u8>,
    ) -> Result<Step, DialogueError> {
        if status == 461 && !self.tried_both {
            self.tried_both = true;
            self.plan.carrier = if self.plan.carrier == Carrier::Udp { Carrier::Tcp } else { Carrier::Udp };
            if self.session.is_some() {
                return self.dial(error);
            }
            self.state = State::Described;
            return Ok(Step::Described);
        }
        // Dahua and Amcrest refuse a second session once the speaker was asked about.
        if self.require && self.plan.role == Role::Watch {
            return self.without_require(error);
        }
        // A camera that refuses its sound still has its picture.
        if self.tracks.len() > 1 {
            self.tracks.remove(at);
            if at < self.ports.len() {
                self.ports.remove(at);
            }
            return Ok(self.next_setup(now, at, out));
        }
        Err(error)
    }

    fn without_require(&mut self, error: DialogueError) -> Result<Step, DialogueError> {
        self.require = false;
        self.dial(error)
    }

    fn dial(&mut self, error: DialogueError) -> Result<Step, DialogueError> {
        self.dials += 1;
        if self.dials > DIALS { Err(error) } else { Ok(Step::Dial) }
    }

    fn send(
        &mut self,
        now: Time,
        method: Method,
        uri: String,
        extra: Vec<(&'static str, String)>,
        out: &mut Vec<u8>,
    ) {
        self.cseq = self.cseq.wrapping_add(1);
        // DESCRIBE without a name is refused by some (go2rtc issue 235).
        let mut headers = vec![("User-Agent", concat!("streamd/", env!("CARGO_PKG_VERSION")).to_string())];
        if let Some(session) = &self.session {
            headers.push(("Session", session.clone()));
        }
        headers.extend(extra.iter().cloned());
        let mut answered = false;
        if let Some((challenge, count)) = &mut self.challenge {
            *count = count.wrapping_add(1);
            answered = true;
            let seed = [self.random.as_slice(), &self.cseq.to_be_bytes()];
            let mut cnonce = Algorithm::Md5.hash(&seed);
            cnonce.truncate(16);
            let text = self.account.answer(challenge, method.name(), &uri, *count, &cnonce);
            headers.push(("Authorization", text));
        }
        emit_request(method, &uri, self.cseq, &headers, &[], out);
        self.pending = Some(Pending {
            cseq: self.cseq,
            method,
            uri,
            headers: extra,
            until: now + ANSWER,
            answered,
            stale: false,
        });
    }
}

/// Whether an address can stand in a request: cameras may send us anywhere, but no server takes more.
pub fn fits(address: &str) -> bool {
    address.len() <= limits::URI
}

/// The codec of a format that can be spoken.
pub fn speaks(format: &Format) -> Option<Codec> {
    format.codec().filter(|codec| codec.kind() == Kind::Audio && Packetizer::takes(codec.id))
}

fn asked_channels(at: usize) -> Pair<u8> {
    let first = (at.min(100) * 2) as u8;
    (first, first + 1)
}

#[cfg(test)]
#[path = "dialogue_tests.rs"]
mod tests;
