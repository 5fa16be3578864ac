//! What is done about each request: who asks, whether he may, what there is.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::backchannel::Back;
use super::consumer::View;
use super::filter::Filter;
use super::ingest::Ingest;
use super::line::Line;
use super::live::Live;
use super::message::{Method, Reply, Request};
use super::server::Server;
use super::session::{self, Action, Call, Mode, Peer, Session, State, Target};
use crate::media::Time;
use crate::net::auth::{Attempt, Verdict};
use crate::net::clock;
use crate::net::limits::rtsp as limits;
use crate::net::log;
use crate::net::random;
use crate::net::sdp::Description;
use crate::net::users::{Door, Role, User};
use crate::stream::{self, AttachError, Stream, Voice};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;

/// What those hear who come before anybody has a key.
const SHUT: &str = "nobody has a key yet: set a user first, in the web page or with streamd ctl passwd";

/// A future whose code stands once.
type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Who is served by a connection: what it asked for, and what came of it.
pub struct Guest {
    /// Where everything is that connections share.
    pub server: Rc<Server>,
    /// Its connection.
    pub line: Rc<Line>,
    /// The session made here last.
    pub own: Option<Rc<Live>>,
    /// It may send media.
    pub publishing: bool,
    /// What was described and not yet set up.
    described: Option<Box<View>>,
    /// What the peer calls itself.
    agent: String,
}

impl Guest {
    /// Somebody of whom nothing is known.
    pub fn new(server: Rc<Server>, line: Rc<Line>) -> Guest {
        Guest { server, line, own: None, publishing: false, described: None, agent: String::new() }
    }

    /// Answers one request.
    pub async fn request(&mut self, request: Request) -> Reply {
        let now = clock::now();
        if let Some(agent) = request.headers.get("User-Agent")
            && self.agent.is_empty()
        {
            self.agent = agent.chars().filter(|c| !c.is_control()).take(64).collect();
        }
        let reply = match self.reply(&request, now).await {
            Ok(reply) | Err(reply) => reply,
        };
        if reply.status >= 400 && reply.status != 401 {
            let name = session_name(&request);
            log::debug!(target: "rtsp", "{}: {} {name}: {}", self.line.remote(), request.verb, reply.status);
        }
        reply
    }

    async fn reply(&mut self, request: &Request, now: Time) -> Result<Reply, Reply> {
        if request.headers.cseq().is_none() && !request.http {
            return Err(Reply::to(request, 400));
        }
        let in_session = request.headers.session().is_some();
        if request.method == Method::Options && !in_session {
            return Ok(session::options(request));
        }
        let user = self.admit(request, now)?;
        self.line.known.set(true);
        match session::read(request)? {
            Call::Options => Ok(session::options(request)),
            Call::Ping => Ok(Reply::to(request, 200)),
            Call::Describe(target) => self.describe(request, &target, &user).await,
            Call::Setup(target) if !in_session => self.setup(request, &target, &user).await,
            Call::Setup(target) | Call::InSession(target) => {
                let id = request.headers.session().map_or("", |(id, _)| id);
                let live = self.server.senders.sessions.find(id).ok_or_else(|| Reply::to(request, 454))?;
                match request.method {
                    Method::Play => live.await_start().await,
                    Method::Setup => self.take_speaker(&live, request, &target).await?,
                    _ => {}
                }
                Ok(self.in_session(&live, request, &target, &user, now))
            }
            Call::Announce(target) => self.announce(request, &target, &user, now),
        }
    }

    /// Who asks.
    fn admit(&mut self, request: &Request, now: Time) -> Result<Rc<User>, Reply> {
        let keeper = &self.server.keeper;
        let address = self.line.peer.address();
        let exempt = !self.server.settings().local_auth || !keeper.users().is_configured(Door::Rtsp);
        let attempt = Attempt {
            door: Door::Rtsp,
            method: &request.verb,
            uri: &request.uri,
            authorization: request.headers.get("Authorization"),
            address,
            local: self.line.peer.is_here() && exempt && !self.line.page.get(),
        };
        match keeper.check(&attempt, now) {
            Verdict::Allowed(user) => Ok(user),
            Verdict::Shut => Err(refused(request, 403, SHUT)),
            Verdict::Slow(until) => {
                let seconds = until.since(now).as_secs() + 1;
                let sentence = "too many wrong passwords: wait a little";
                Err(refused(request, 503, sentence).header("Retry-After", seconds.to_string()))
            }
            Verdict::Denied { stale, tried } => {
                if tried && !stale {
                    log::warn!(target: "rtsp", "{}: wrong name or password", self.line.remote());
                }
                let mut reply = Reply::to(request, 401);
                for challenge in keeper.challenges(Door::Rtsp, address, stale, now) {
                    reply = reply.header("WWW-Authenticate", challenge);
                }
                Err(reply)
            }
        }
    }

    /// The stream of that name, if this user may do that with it.
    fn stream(&self, request: &Request, name: &str, user: &User, role: Role) -> Result<Rc<Stream>, Reply> {
        let stream = self.server.stream(name).ok_or_else(|| Reply::to(request, 404))?;
        if !user.may(role, Some(stream.name())) {
            let sentence = ["this user may not do that here: it needs the role ", role.name()].concat();
            return Err(refused(request, 403, &sentence));
        }
        Ok(stream)
    }

    /// Boxed: DESCRIBE and SETUP share its code.
    fn open<'a>(
        &'a self,
        request: &'a Request,
        stream: &'a Rc<Stream>,
        name: &'a str,
        query: &'a str,
        target: &'a Target,
        user: &'a User,
    ) -> Later<'a, Result<Box<View>, Reply>> {
        Box::pin(async move {
            let filter = Filter::parse(query, &self.server.settings().default_query);
            let filter = filter.map_err(|e| refused(request, 400, &e.to_string()))?;
            let peer = stream::Peer {
                format: "rtsp",
                protocol: self.line.protocol(),
                remote: self.line.remote(),
                agent: self.agent.clone(),
                source: filter.source.clone().unwrap_or_default(),
            };
            let asked = filter.speaker;
            let view = View::open(
                &self.server.flows,
                stream,
                name,
                query,
                filter,
                peer,
                (&self.server.desk, &self.server.executor),
            )
            .await
            .map_err(|error| {
                let status = match error {
                    AttachError::NoSource | AttachError::Codecs { .. } => 404,
                    AttachError::Sources(_) | AttachError::Off => 503,
                    AttachError::Full(_) | AttachError::Memory | AttachError::Busy => 453,
                };
                log::warn!(target: "rtsp", "{}: {name}: {error}", self.line.remote());
                Reply::to(request, status)
            })?;
            let mut view = Box::new(view);
            if (asked || target.back_channel) && user.may(Role::Talk, Some(stream.name())) {
                let control = ["trackID=", &view.ports.len().to_string()].concat();
                view.back = Back::find(stream, control, target.back_channel).await;
            }
            if target.back_channel && view.back.is_none() {
                return Err(Reply::to(request, 551).header("Unsupported", session::BACK_CHANNEL));
            }
            Ok(view)
        })
    }

    /// Takes the speaker if this request sets it up; 453 while somebody else speaks.
    fn take_speaker<'a>(
        &'a self,
        live: &'a Live,
        request: &'a Request,
        target: &'a Target,
    ) -> Later<'a, Result<(), Reply>> {
        Box::pin(async move {
            let stream = {
                let view = live.view.borrow();
                let Some(view) = view.as_ref() else { return Ok(()) };
                let Some(back) = view.back.as_ref().filter(|b| !b.is_on()) else { return Ok(()) };
                if target.track().is_none_or(|(_, _, control)| control != back.control) {
                    return Ok(());
                }
                view.stream.clone()
            };
            let talk = stream.talk(&[], Voice::Live).await.map_err(|error| {
                log::info!(target: "rtsp", "{}: {error}", self.line.remote());
                Reply::to(request, 453)
            })?;
            if let Some(back) = live.view.borrow_mut().as_mut().and_then(|v| v.back.as_mut()) {
                back.begin(&self.server.hall, &stream, talk);
            }
            Ok(())
        })
    }

    async fn describe(&mut self, request: &Request, target: &Target, user: &User) -> Result<Reply, Reply> {
        let name = target.stream().ok_or_else(|| Reply::to(request, 404))?;
        let stream = self.stream(request, &name, user, Role::View)?;
        self.described = None;
        let view = self.open(request, &stream, &name, target.query(), target, user).await?;
        let address = self.line.peer.local.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |a| a.ip().to_canonical());
        let sdp = view.sdp(address);
        self.described = Some(view);
        Ok(session::described(request, target, sdp))
    }

    fn session_peer(&self, user: &User) -> Peer {
        Peer {
            connection: self.line.id,
            address: self.line.peer.address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            user: self.server.user_number(&user.name),
        }
    }

    /// The first track of a new session, or another one of the session made here.
    async fn setup(&mut self, request: &Request, target: &Target, user: &User) -> Result<Reply, Reply> {
        let now = clock::now();
        let missing = || Reply::to(request, 404);
        let (name, query) = match target.track() {
            Some((name, query, _)) if self.server.stream(&name).is_some() => (name, query),
            _ => (target.stream().ok_or_else(missing)?, target.query().to_owned()),
        };
        if let Some(live) = self.own.clone()
            && live.name() == name
            && (live.session.borrow().state() == State::Ready || live.ingest.borrow().is_some())
        {
            self.take_speaker(&live, request, target).await?;
            return Ok(self.in_session(&live, request, target, user, now));
        }
        let stream = self.stream(request, &name, user, Role::View)?;
        if self.own.as_ref().is_some_and(|l| l.session.borrow().state() != State::Init) {
            // one session at a time by one connection
            return Err(Reply::to(request, 455));
        }
        // a control that was resolved as RFC 3986 has it comes without the query
        let same = |v: &View| v.name == name && (query.is_empty() || v.query == query);
        let described = self.described.take().filter(|v| same(v));
        let view = match described {
            Some(view) => view,
            None => self.open(request, &stream, &name, &query, target, user).await?,
        };
        let peer = self.session_peer(user);
        let session = Session::new(random::bytes(), peer, &name, Mode::Play, now);
        let live = Rc::new(Live::viewing(session, view));
        if let Err(reply) = self.take_speaker(&live, request, target).await {
            self.described = live.view.borrow_mut().take();
            return Err(reply);
        }
        let (reply, action) = live.handle(now, &peer, request, target, self.server.senders.ports());
        if !matches!(action, Action::Setup(_)) {
            // another transport may be tried next
            self.described = live.view.borrow_mut().take();
            return Err(reply);
        }
        if !self.server.senders.sessions.add(&live) {
            return Err(Reply::to(request, 453));
        }
        self.own = Some(live);
        Ok(reply)
    }

    /// Somebody wants to publish into a stream that exists.
    fn announce(
        &mut self,
        request: &Request,
        target: &Target,
        user: &User,
        now: Time,
    ) -> Result<Reply, Reply> {
        let name = target.stream().ok_or_else(|| Reply::to(request, 404))?;
        let stream = self.stream(request, &name, user, Role::Publish)?;
        if self.own.is_some() {
            return Err(Reply::to(request, 455));
        }
        let filter = Filter::parse(target.query(), "").map_err(|e| refused(request, 400, &e.to_string()))?;
        let text = String::from_utf8_lossy(&request.body);
        let sdp = Description::parse(&text).map_err(|e| refused(request, 400, &e.to_string()))?;
        let peer = stream::Peer {
            format: "rtsp",
            protocol: self.line.protocol(),
            remote: self.line.remote(),
            agent: self.agent.clone(),
            source: String::new(),
        };
        let ssrc = u32::from_be_bytes(random::bytes());
        let ingest = Ingest::open(&stream, &sdp, peer, filter.timeout, ssrc, now)
            .ok_or_else(|| refused(request, 415, "none of the announced codecs can be read"))?;
        let session = Session::new(random::bytes(), self.session_peer(user), &name, Mode::Record, now);
        let live = Rc::new(Live::publishing(session, Box::new(ingest)));
        if !self.server.senders.sessions.add(&live) {
            return Err(Reply::to(request, 453));
        }
        log::info!(target: "rtsp", "{}: publishes into {name}", self.line.remote());
        let timeout = limits::SESSION.as_secs();
        let id = format!("{};timeout={timeout}", live.session.borrow().id());
        (self.own, self.publishing) = (Some(live), true);
        Ok(Reply::to(request, 200).header("Session", id))
    }

    fn in_session(
        &mut self,
        live: &Rc<Live>,
        request: &Request,
        target: &Target,
        user: &User,
        now: Time,
    ) -> Reply {
        let peer = self.session_peer(user);
        let (reply, action) = live.handle(now, &peer, request, target, self.server.senders.ports());
        if action == Action::Play && !live.session.borrow().is_bound() {
            self.server.senders.begin(live);
        }
        if action == Action::Pause {
            self.server.senders.leave(live);
        }
        if action == Action::End {
            self.server.senders.forget(live);
            if self.own.as_ref().is_some_and(|own| Rc::ptr_eq(own, live)) {
                self.own = None;
            }
        }
        reply
    }
}

/// A refusal with a sentence for people.
fn refused(request: &Request, status: u16, sentence: &str) -> Reply {
    Reply::to(request, status).body("text/plain", [sentence, "\r\n"].concat().into_bytes())
}

fn session_name(request: &Request) -> String {
    super::url::Url::parse(&request.uri).and_then(|u| u.name()).unwrap_or_default().chars().take(64).collect()
}
