//! One viewer at work: its sockets, its readers and its session, in one task. Whatever wakes it (a
//! frame, a datagram, a command, the clock) it does what is due, a bounded share at a time, and sleeps.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::audio::Sound;
use super::backchannel::Back;
use super::session::{Due, End, Leg, Phase, Session, Wanted};
use super::socket::{Socket, Sockets};
use super::video::{Desk, Pictures, Sent};
use super::{Options, Shared};
use crate::homekit::camera::{Selected, Srtp};
use crate::media::{Codec, CodecId, Kind, Time};
use crate::net::clock;
use crate::net::limits::{LIVE_STRANGERS, YIELD_BYTES, YIELD_MESSAGES};
use crate::net::log;
use crate::net::reactor::Timer;
use crate::net::rtcp::{self, Ntp, SenderInfo};
use crate::net::rtp::is_rtcp;
use crate::net::srtp::{Master, Receiver, Sender};
use crate::stream::{
    AttachError, Close, Found, Hall, Join, Local, Picture, Reader, Step, Stream, Viewer, better, bump, first,
};
use futures_lite::FutureExt;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Between two goes of a large frame.
const PAUSE: Duration = Duration::from_millis(1);
/// Pictures or sound that cannot be had are looked for again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// The largest datagram that is read; what is longer is cut and then refused.
const DATAGRAM: usize = 1536;
/// The name under which both ways send.
const CNAME: &str = "streamd";

/// What a viewer needs of its camera.
pub struct Place {
    /// The hall.
    pub hall: Rc<Hall>,
    /// The streams whose pictures may be sent; sound and speaker are the first one's.
    pub streams: Vec<Rc<Stream>>,
    /// On the first stream's list of viewers.
    pub viewer: Rc<Viewer>,
    /// What it shares with whoever commands it.
    pub shared: Rc<Shared>,
    /// How the camera is set.
    pub options: Rc<Options>,
}

/// From those who look for pictures: nothing, where none suit better than those that there are.
type Search = Local<Result<Option<Picture>, AttachError>>;

/// One viewer at work.
pub struct Work {
    place: Place,
    sockets: Sockets,
    locks: [Sender; 2],
    keys: [Receiver; 2],
    search: Option<Search>,
    sound_search: Option<Local<Result<Found, AttachError>>>,
    picture: Option<Picture>,
    video: Option<Reader>,
    /// Better pictures, that have not begun.
    next: Option<(Picture, Reader)>,
    audio: Option<Reader>,
    pictures: Option<Pictures>,
    sound: Option<Sound>,
    back: Option<Back>,
    selected: Option<Rc<Selected>>,
    /// What was last looked for, and asked of the source.
    sought: Option<Wanted>,
    again: Option<Time>,
    sound_again: Option<Time>,
    /// A large frame goes on then.
    pause: Option<Time>,
    full: bool,
    unread: [bool; 2],
    strangers: (Time, u32),
    told: bool,
    timer: Timer,
}

fn master(srtp: &Srtp) -> Master {
    Master { key: srtp.key, salt: srtp.salt }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        log::warn!(target: "homekit", "the system gives no random numbers");
    }
    bytes
}

impl Work {
    /// For a viewer who was told these sockets, and keys: ours and theirs, pictures first.
    pub fn new(place: Place, sockets: Sockets, ours: [&Srtp; 2], theirs: [&Srtp; 2]) -> Box<Work> {
        // boxed, because a future holds what is moved through it more than once
        let mut work = Box::new(Work {
            place,
            sockets,
            locks: ours.map(|s| Sender::new(&master(s))),
            keys: theirs.map(|s| Receiver::new(&master(s))),
            search: None,
            sound_search: None,
            picture: None,
            video: None,
            next: None,
            audio: None,
            pictures: None,
            sound: None,
            back: None,
            selected: None,
            sought: None,
            again: None,
            sound_again: None,
            pause: None,
            full: false,
            unread: [false; 2],
            strangers: (Time::ZERO, 0),
            told: false,
            timer: Timer::never(),
        });
        // the source is dialled while the viewer still makes up its mind
        work.look();
        work
    }

    /// Works until the session is over; gives the reason.
    pub async fn run(mut self: Box<Self>, desk: Rc<std::cell::RefCell<Desk>>) -> End {
        std::future::poll_fn(|cx| self.poll(cx, &desk)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, desk: &std::cell::RefCell<Desk>) -> Poll<End> {
        let shared = self.place.shared.clone();
        shared.sleeper.wait(cx.waker());
        let mut session = shared.session.borrow_mut();
        // never awaited and never called back with it: everything below is synchronous
        let mut desk = desk.borrow_mut();
        let now = clock::now();
        self.follow(now, &mut session);
        self.receive(cx, now, &mut session);
        self.find(cx, now, &mut session);
        while let Some(due) = session.due(now) {
            if let Due::Report(leg) = due {
                self.report(leg, now, false, &mut session, &mut desk);
            }
        }
        let more = self.pump(cx, now, &mut session, &mut desk);
        if let Phase::Over(why) = session.phase() {
            for leg in [Leg::Video, Leg::Audio] {
                self.report(leg, now, true, &mut session, &mut desk);
            }
            return Poll::Ready(why);
        }
        let times = [session.deadline(), self.pause, self.again, self.sound_again];
        let due = Time::earliest(&times).is_some_and(|at| {
            self.timer = Timer::after(at.since(clock::now()));
            Pin::new(&mut self.timer).poll(cx).is_ready()
        });
        // whatever is due already: others have their turn first
        if due || more || self.unread.contains(&true) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Begins, pauses or goes on as the viewer wishes.
    #[inline(never)]
    fn follow(&mut self, now: Time, session: &mut Session) {
        let shared = &self.place.shared;
        match session.phase() {
            Phase::Live => {}
            Phase::Paused => {
                (self.video, self.next, self.audio, self.pause) = (None, None, None, None);
                (self.sound_search, self.sound_again) = (None, None);
                return;
            }
            Phase::Ready | Phase::Over(_) => return,
        }
        if self.selected.is_none() {
            let Some(selected) = shared.selected.borrow().clone() else { return };
            let Some(video) = &selected.video else { return };
            let (ssrc, payload) = (session.way(Leg::Video).ssrc, video.rtp.payload.unwrap_or(99));
            let pictures = Pictures::new(&Codec::new(CodecId::H264), payload, video.mtu, ssrc, random());
            self.pictures = pictures.ok();
            if let Some(audio) = selected.audio.as_ref().filter(|a| a.codec == 3) {
                let stream = self.place.streams.first();
                self.sound = Some(Sound::new(audio, session.way(Leg::Audio).ssrc, random()));
                self.back = stream.map(|s| Back::new(&self.place.hall, s, audio));
            }
            self.selected = Some(selected);
        }
        if let Some(back) = &self.back {
            back.set_volume(shared.volume.get());
        }
        if self.video.is_none()
            && self.search.is_none()
            && let Some(picture) = &self.picture
        {
            self.video = Some(self.reader(picture));
        }
        if self.audio.is_none()
            && self.sound.is_some()
            && self.sound_search.is_none()
            && self.sound_again.is_none_or(|at| at <= now)
            && let Some(stream) = self.place.streams.first().cloned()
        {
            self.sound_again = None;
            let opus = Codec { rate: 0, channels: 0, ..Codec::new(CodecId::Opus) };
            let wish = crate::stream::Wish { kind: Kind::Audio, codecs: vec![opus], all: false };
            self.sound_search = Some(Box::pin(async move { stream.find(&[wish], "").await }));
        }
        if self.sought != session.wanted() && self.search.is_none() {
            self.look_further(session);
        }
    }

    /// Looks for pictures; where there are some, for others that suit better.
    fn look(&mut self) {
        let (streams, size) = (self.place.streams.clone(), self.size());
        let own = self.picture.as_ref().map(|picture| picture.track.clone());
        self.search = Some(Box::pin(async move {
            match own {
                None => first(&streams, CodecId::H264, size).await.map(Some),
                Some(own) => Ok(better(&streams, CodecId::H264, size, &own).await),
            }
        }));
        self.again = None;
    }

    /// Looks for pictures that suit what the viewer wants now, and asks for as much as it takes.
    fn look_further(&mut self, session: &Session) {
        if self.picture.is_some() {
            self.sought = session.wanted();
            self.look();
            self.ask_bitrate();
        }
    }

    /// Asks for the bitrate that was agreed, if nobody else looks at these pictures.
    fn ask_bitrate(&self) {
        let bitrate = self.sought.and_then(|w| w.bitrate);
        if let (Some(picture), Some(bitrate)) = (&self.picture, bitrate)
            && picture.track.readers() <= usize::from(self.video.is_some())
        {
            // an eighth for packets' heads, and for what an encoder is over it now and then
            picture.lease.source().ask_bitrate(u32::from(bitrate) * 875);
        }
    }

    fn size(&self) -> (u16, u16) {
        self.sought.map_or((1280, 720), |w| (w.size.width, w.size.height))
    }

    fn reader(&self, picture: &Picture) -> Reader {
        Reader::new(vec![picture.track.clone()], Join::Live, self.place.viewer.clone())
    }

    /// Tells statistics what is read.
    fn tell_codecs(&self) {
        let readers = [&self.video, &self.audio].into_iter().flatten();
        let codecs = readers.filter_map(|r| r.track(0)).map(|t| (*t.codec()).clone());
        self.place.viewer.set_codecs(codecs.collect());
    }

    /// Takes what those who look for pictures have found.
    fn found(&mut self, found: Result<Option<Picture>, AttachError>, now: Time, session: &Session) {
        match found {
            Ok(Some(picture)) if self.picture.is_none() => {
                // by the time that the viewer starts there is a fresh one
                self.video = Some(self.reader(&picture));
                picture.track.ask_key();
                (self.picture, self.told) = (Some(picture), false);
                self.tell_codecs();
            }
            Ok(Some(picture)) => {
                let reader = self.reader(&picture);
                match session.way(Leg::Video).packets {
                    0 => (self.picture, self.video) = (Some(picture), Some(reader)),
                    _ => self.next = Some((picture, reader)),
                }
                self.ask_bitrate();
            }
            Ok(None) => {}
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    log::warn!(target: "homekit", "{}: nothing to be seen: {error}", self.name());
                }
                self.again = Some(now + AGAIN);
            }
        }
    }

    fn name(&self) -> &str {
        self.place.streams.first().map_or("", |s| s.name())
    }

    /// Takes what those who look for tracks have found.
    #[inline(never)]
    fn find(&mut self, cx: &mut Context<'_>, now: Time, session: &mut Session) {
        if self.search.is_none() && self.picture.is_none() && self.again.is_some_and(|at| at <= now) {
            self.look();
        }
        let mut wanted = true;
        while std::mem::take(&mut wanted) {
            if let Some(search) = &mut self.search {
                let Poll::Ready(found) = search.poll(cx) else { break };
                self.search = None;
                self.found(found, now, session);
            }
            if self.search.is_none() && session.phase() == Phase::Live && self.picture.is_some() {
                if self.video.is_none() {
                    self.video = self.picture.as_ref().map(|p| self.reader(p));
                }
                if self.sought != session.wanted() {
                    self.look_further(session);
                    wanted = true;
                }
            }
        }
        let Some(search) = &mut self.sound_search else { return };
        let Poll::Ready(found) = search.poll(cx) else { return };
        self.sound_search = None;
        match found {
            Ok(found) if !found.tracks.is_empty() => {
                let mut reader = Reader::new(found.tracks, Join::Live, self.place.viewer.clone());
                reader.keep(found.keeps);
                self.audio = Some(reader);
                self.tell_codecs();
            }
            other => {
                let why = other.err().map_or_else(|| "there is none".to_owned(), |error| error.to_string());
                log::info!(target: "homekit", "{}: live view without sound: {why}", self.name());
                // not again for this viewer: what cannot be converted now cannot be in a minute
                self.sound = None;
            }
        }
    }

    /// Reads what has come, a bounded number of datagrams.
    #[inline(never)]
    fn receive(&mut self, cx: &mut Context<'_>, now: Time, session: &mut Session) {
        let mut bytes = [0u8; DATAGRAM];
        for leg in [Leg::Video, Leg::Audio] {
            let at = usize::from(leg == Leg::Audio);
            let Some(unread) = self.unread.get_mut(at) else { return };
            let socket = if leg == Leg::Video { &self.sockets.video } else { &self.sockets.audio };
            let mut ready = std::mem::take(unread) || socket.io.poll_readable(cx).is_ready();
            let mut turns = 0;
            while ready {
                if turns >= YIELD_MESSAGES {
                    if let Some(unread) = self.unread.get_mut(at) {
                        *unread = true;
                    }
                    break;
                }
                turns += 1;
                let socket = if leg == Leg::Video { &self.sockets.video } else { &self.sockets.audio };
                match socket.io.get_ref().recv_from(&mut bytes) {
                    Ok((len, from)) => {
                        let packet = bytes.get_mut(..len).unwrap_or_default();
                        self.datagram(leg, from.ip().to_canonical(), packet, now, session);
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        ready = socket.io.poll_readable(cx).is_ready()
                    }
                    // a path that told us so; or it was interrupted
                    Err(_) => {}
                }
            }
        }
    }

    #[inline(never)]
    fn datagram(&mut self, leg: Leg, from: IpAddr, packet: &mut [u8], now: Time, session: &mut Session) {
        let stats = &self.place.shared.stats;
        if from != self.sockets.remote {
            if now.since(self.strangers.0) >= Duration::from_secs(1) {
                self.strangers = (now, 0);
            }
            self.strangers.1 += 1;
            if self.strangers.1 > LIVE_STRANGERS {
                bump(&stats.refused, 1);
                return;
            }
        }
        let Some(keys) = self.keys.get_mut(usize::from(leg == Leg::Audio)) else { return };
        let Some(&second) = packet.get(1) else { return };
        if is_rtcp(second) {
            let Ok(compound) = keys.rtcp(packet) else { return bump(&stats.refused, 1) };
            let ntp = Ntp::of(now, clock::wall());
            if session.rtcp(now, ntp, leg, compound)
                && let Some(picture) = &self.picture
            {
                picture.track.ask_key();
            }
            return;
        }
        let Ok(packet) = keys.rtp(packet) else { return bump(&stats.refused, 1) };
        session.heard(now);
        if let (Leg::Audio, Phase::Live, Some(back)) = (leg, session.phase(), &mut self.back)
            && !self.place.shared.speaker_off.get()
        {
            back.packet(now, packet);
            stats.said.set(u64::from(back.packets));
        }
    }

    /// Sends a report of one way, and a goodbye behind it if it ends.
    fn report(&mut self, leg: Leg, now: Time, bye: bool, session: &mut Session, desk: &mut Desk) {
        let rtp_time = match leg {
            Leg::Video => self.pictures.as_ref().map(|p| p.rtp_time(now)),
            Leg::Audio => self.sound.as_ref().map(|s| s.rtp_time(now)),
        };
        let Some(rtp_time) = rtp_time else { return };
        let (way, ntp) = (session.way(leg), Ntp::of(now, clock::wall()));
        let info = SenderInfo { ntp, rtp_time, packets: way.packets, octets: way.octets };
        let out = &mut desk.report;
        out.clear();
        rtcp::emit_sender(out, way.ssrc, &info, CNAME);
        if bye {
            rtcp::emit_bye(out, way.ssrc);
        }
        let Some(lock) = self.locks.get_mut(usize::from(leg == Leg::Audio)) else { return };
        if lock.rtcp(out).is_ok() {
            let Socket { io, to, .. } =
                if leg == Leg::Video { &self.sockets.video } else { &self.sockets.audio };
            // lost reports are like lost packets
            let flags = nix::sys::socket::MsgFlags::MSG_DONTWAIT;
            let _ = nix::sys::socket::sendto(std::os::fd::AsRawFd::as_raw_fd(io), out, to, flags);
        }
    }

    /// Sends what there is; whether there is more, but others come first.
    #[inline(never)]
    fn pump(&mut self, cx: &mut Context<'_>, now: Time, session: &mut Session, desk: &mut Desk) -> bool {
        if session.phase() != Phase::Live {
            return false;
        }
        if self.full {
            match self.sockets.video.io.poll_writable(cx) {
                Poll::Ready(_) => self.full = false,
                Poll::Pending => return self.pump_sound(cx, now, session, desk),
            }
        }
        if self.pause.is_some_and(|at| at > now) {
            return self.pump_sound(cx, now, session, desk);
        }
        self.pause = None;
        let before = session.way(Leg::Video).octets;
        loop {
            if session.way(Leg::Video).octets.wrapping_sub(before) as usize > YIELD_BYTES {
                return true;
            }
            self.change_over();
            let Some(reader) = &mut self.video else { break };
            match reader.step() {
                None => {
                    reader.wait(cx.waker());
                    break;
                }
                Some(Step::Codec(_, codec)) if codec.id == CodecId::H264 => {}
                Some(Step::Frame(at)) => {
                    let (Some(shown), Some(codec)) = (reader.frame(at), reader.codec(at)) else {
                        reader.done(at);
                        continue;
                    };
                    let [lock, _] = &mut self.locks;
                    let Some(pictures) = &mut self.pictures else { return false };
                    let (packets, octets) = (session.way(Leg::Video).packets, session.way(Leg::Video).octets);
                    let sent = pictures.send(&shown, &codec, lock, &self.sockets.video, desk, session);
                    drop(shown);
                    let stats = &self.place.viewer.stats;
                    bump(&stats.packets, u64::from(session.way(Leg::Video).packets.wrapping_sub(packets)));
                    bump(&stats.bytes, u64::from(session.way(Leg::Video).octets.wrapping_sub(octets)));
                    match sent {
                        Sent::Whole => reader.done(at),
                        Sent::More => {
                            self.pause = Some(clock::now() + PAUSE);
                            break;
                        }
                        Sent::Full => {
                            self.full = true;
                            if self.sockets.video.io.poll_writable(cx).is_ready() {
                                return true;
                            }
                            break;
                        }
                    }
                }
                Some(Step::Codec(..)) => self.lose(Close::Replaced, now, session),
                Some(Step::Closed(why)) => self.lose(why, now, session),
            }
        }
        self.pump_sound(cx, now, session, desk)
    }

    /// Begins with better pictures once there is one to begin with.
    fn change_over(&mut self) {
        if let Some((_, reader)) = &mut self.next
            && (reader.step().is_some() || self.video.is_none())
            && let Some((picture, reader)) = self.next.take()
        {
            (self.picture, self.video) = (Some(picture), Some(reader));
        }
    }

    /// The pictures have ended: others are looked for, unless the viewer is sent away.
    fn lose(&mut self, why: Close, now: Time, session: &mut Session) {
        (self.video, self.next, self.picture, self.search) = (None, None, None, None);
        if self.place.viewer.closed().is_some() || matches!(why, Close::Removed | Close::Shutdown) {
            session.end(End::Source);
        } else {
            // it may come back, as the same stream with another source
            (self.again, self.sought) = (Some(now + PAUSE), None);
        }
    }

    fn pump_sound(
        &mut self,
        cx: &mut Context<'_>,
        now: Time,
        session: &mut Session,
        desk: &mut Desk,
    ) -> bool {
        if let Some((_, reader)) = &self.next {
            reader.wait(cx.waker());
        }
        let shared = &self.place.shared;
        let echo = self.place.options.half_duplex && self.back.as_ref().is_some_and(|b| b.is_speaking(now));
        let muted = shared.microphone_off.get() || echo;
        let mut turns = 0;
        while let (Some(reader), Some(sound)) = (&mut self.audio, &mut self.sound) {
            turns += 1;
            if turns > YIELD_MESSAGES {
                return true;
            }
            match reader.step() {
                None => {
                    reader.wait(cx.waker());
                    break;
                }
                Some(Step::Codec(_, codec)) if codec.id == CodecId::Opus => {}
                Some(Step::Frame(at)) => {
                    if let Some(shown) = reader.frame(at) {
                        let [_, lock] = &mut self.locks;
                        sound.send(&shown, muted, lock, &self.sockets.audio, desk, session);
                    }
                    reader.done(at);
                }
                Some(Step::Codec(..) | Step::Closed(_)) => {
                    self.audio = None;
                    self.sound_again = Some(now + AGAIN);
                }
            }
        }
        false
    }
}
