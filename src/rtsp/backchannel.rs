//! The way back: sound from a viewer to the stream's speaker (ONVIF Streaming §5.3). The speaker is
//! taken when the track is set up, never when it is described, and held only as long as somebody
//! speaks; what the speaker does not take is converted. A few frames wait at most, the rest is lost.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::filter::speaker_codecs;
use super::flow::type_of;
use super::transport::Pair;
use crate::media::rtptime::RtpClock;
use crate::media::{Codec, CodecId, Kind, Time};
use crate::net::limits::rtsp::{SAID, SAID_BYTES};
use crate::net::rtp::Packet;
use crate::net::rtp::depay::{Depay, Options, Sink, Unit};
use crate::net::rtp::pay::clock_rate;
use crate::stream::{Hall, Lease, Outlet, Pipe, Stream, Talk, Voice};
use async_task::Task;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A frame of sound with its time.
type Said = (Time, Rc<Codec>, Vec<u8>);

/// Frames on their way to the speaker.
#[derive(Default)]
struct Queue {
    frames: RefCell<VecDeque<Said>>,
    waker: RefCell<Option<Waker>>,
}

/// Where units of one codec are gathered.
struct Way {
    clock: RtpClock,
    codec: Rc<Codec>,
    queue: Rc<Queue>,
    unit: Vec<u8>,
    now: Time,
}

impl Sink for Way {
    fn extra(&mut self, _extra: &[u8]) {}

    fn begin(&mut self) {
        self.unit.clear();
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        let fits = self.unit.len() + bytes.len() <= SAID_BYTES;
        if fits {
            self.unit.extend_from_slice(bytes);
        }
        fits
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.unit.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn end(&mut self, unit: Unit) {
        let time = self.clock.at(self.now, unit.rtp_time);
        let mut frames = self.queue.frames.borrow_mut();
        if frames.len() < SAID {
            frames.push_back((time, self.codec.clone(), std::mem::take(&mut self.unit)));
        }
        drop(frames);
        if let Some(waker) = self.queue.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn abort(&mut self) {
        self.unit.clear();
    }
}

/// The way back of one viewer.
pub struct Back {
    /// Payload types and codecs that may be sent.
    pub codecs: Vec<(u8, Codec)>,
    /// Its name in the description.
    pub control: String,
    /// Its channel of the connection.
    pub channel: Option<u8>,
    /// The viewer's ports.
    pub udp: Option<Pair<u16>>,
    queue: Rc<Queue>,
    depay: Option<(u8, Depay, Way)>,
    task: Option<Task<()>>,
    _lease: Lease,
}

impl Back {
    /// Looks for a speaker; none if the stream has none.
    pub async fn find(stream: &Rc<Stream>, control: String, onvif: bool) -> Option<Back> {
        for source in stream.sources() {
            let lease = source.lease();
            if source.ready().await.is_err() {
                continue;
            }
            let speaker = source.outlets().into_iter().find_map(|o| match o {
                Outlet::Speaker(_, speaker) => Some(speaker),
                Outlet::Track(..) => None,
            });
            let Some(speaker) = speaker else { continue };
            let own = speaker.codecs();
            let wanted = if onvif { onvif_codecs() } else { speaker_codecs() };
            let can =
                |c: &Codec| own.iter().any(|s| s.serves(c)) || own.iter().any(|s| Pipe::new(c, s).is_ok());
            let mut codecs: Vec<(u8, Codec)> = Vec::new();
            for codec in wanted.into_iter().filter(can) {
                let mut id = type_of(&codec);
                while codecs.iter().any(|(known, _)| *known == id) {
                    id = if id < 111 { 111 } else { id + 1 };
                }
                if id < 128 {
                    codecs.push((id, codec));
                }
            }
            if codecs.is_empty() {
                continue;
            }
            let queue = Rc::default();
            return Some(Back {
                codecs,
                control,
                channel: None,
                udp: None,
                queue,
                depay: None,
                task: None,
                _lease: lease,
            });
        }
        None
    }

    /// Whether the speaker is held.
    pub fn is_on(&self) -> bool {
        self.task.is_some()
    }

    /// The speaker was taken: what comes goes there from now on.
    pub fn begin(&mut self, hall: &Rc<Hall>, stream: &Rc<Stream>, talk: (Talk, Lease)) {
        let speaking = speak(hall.clone(), stream.clone(), self.queue.clone(), talk);
        self.task = Some(hall.executor().spawn(speaking));
    }

    /// The track is given up.
    pub fn stop(&mut self) {
        (self.task, self.channel, self.udp) = (None, None, None);
    }

    /// A packet of sound.
    pub fn packet(&mut self, data: &[u8], now: Time) {
        let Ok(packet) = Packet::parse(data) else { return };
        let id = packet.header.payload_type;
        if self.task.is_none() {
            return;
        }
        if self.depay.as_ref().is_none_or(|(known, ..)| *known != id) {
            let Some((_, codec)) = self.codecs.iter().find(|(known, _)| *known == id) else { return };
            let options = Options { max_unit: SAID_BYTES, ..Options::default() };
            let Ok(depay) = Depay::new(codec, &options) else { return };
            let clock = RtpClock::new(clock_rate(codec));
            let (codec, queue) = (Rc::new(codec.clone()), self.queue.clone());
            self.depay = Some((id, depay, Way { clock, codec, queue, unit: Vec::new(), now }));
        }
        if let Some((_, depay, way)) = &mut self.depay {
            way.now = now;
            let _ = depay.push(&packet, way);
        }
    }
}

/// What ONVIF clients speak, best first for speech over a network.
fn onvif_codecs() -> Vec<Codec> {
    let sound = |id, rate, channels| Codec::audio(id, rate, channels);
    vec![
        sound(CodecId::Pcmu, 8000, 1),
        sound(CodecId::Pcma, 8000, 1),
        sound(CodecId::Opus, 48_000, 2),
        sound(CodecId::L16, 16_000, 1),
        sound(CodecId::Aac, 16_000, 1),
    ]
}

/// Says what waits, converted where it has to be.
async fn speak(hall: Rc<Hall>, stream: Rc<Stream>, queue: Rc<Queue>, first: (Talk, Lease)) {
    let mut voice = Some(first);
    let mut spoken: Option<(Rc<Codec>, Option<Pipe>)> = None;
    loop {
        let (time, codec, data) = poll_fn(|cx| match queue.frames.borrow_mut().pop_front() {
            Some(frame) => Poll::Ready(frame),
            None => {
                queue.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await;
        debug_assert_eq!(codec.kind(), Kind::Audio);
        let known =
            spoken.as_ref().is_some_and(|(c, p)| **c == *codec && !p.as_ref().is_some_and(Pipe::is_lost));
        if !known || voice.as_ref().is_none_or(|(talk, _)| talk.is_lost()) {
            // given back for a moment: nobody else runs before it is taken again
            voice = None;
            spoken = None;
            let straight = stream.talk(std::slice::from_ref(&codec), Voice::Live).await;
            match straight {
                Ok(taken) => (voice, spoken) = (Some(taken), Some((codec.clone(), None))),
                Err(_) => {
                    let Ok(taken) = stream.talk(&[], Voice::Live).await else { continue };
                    let Ok((pipe, _)) = Pipe::new(&codec, taken.0.codec()) else { continue };
                    (voice, spoken) = (Some(taken), Some((codec.clone(), Some(pipe))));
                }
            }
        }
        let (Some((talk, _)), Some((_, pipe))) = (&voice, &mut spoken) else { continue };
        match pipe {
            None => {
                talk.say(time, &data);
            }
            Some(pipe) => {
                let mut sink = |time: Time, bytes: &[u8]| {
                    talk.say(time, bytes);
                };
                pipe.push(hall.worker(), time, &data, &mut sink).await;
            }
        }
    }
}
