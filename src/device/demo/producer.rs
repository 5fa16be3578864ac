//! The demo camera as a source of the hall: looks at the clock, sleeps until the next frame is due
//! and puts what the camera makes into the tracks. Frames lie on a grid of the machine's clock, so
//! that the main and the small picture show the same instants and nothing drifts.

use super::{Audio, Camera, Moment, Options, Sound, Speaker};
use crate::media::{Codec, CodecId, Media, Time, g711::Law, pcm};
use crate::net::clock;
use crate::net::reactor::Timer;
use crate::net::worker::Worker;
use crate::stream::{
    Command, Connect, Inlet, Link, Local, Peer, Pipe, Producer, Reader, SourceError, SourceSpec, Step,
};
use futures_lite::future;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Blocks of sound in a second.
const BLOCKS: u32 = 50;
/// Whoever woke up so much too late leaves out what is past.
const LATE: Duration = Duration::from_millis(500);
/// The wall's clock is followed when it is off by more than this; below it is only jitter.
const OFF: u64 = 5_000_000;
/// Two clocks that are read within this time are read at once.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Makes demo cameras.
pub struct Demo {
    worker: Rc<Worker>,
}

impl Demo {
    /// Encodes AAC and Opus on this worker.
    pub fn new(worker: Rc<Worker>) -> Demo {
        Demo { worker }
    }
}

fn options(spec: &SourceSpec) -> Result<Options, SourceError> {
    Options::parse(spec.rest()).map_err(|e| SourceError::Text(e.to_string()))
}

impl Connect for Demo {
    fn connect(&self, spec: Rc<SourceSpec>) -> Local<Result<Box<dyn Producer>, SourceError>> {
        let worker = self.worker.clone();
        Box::pin(async move {
            let options = options(&spec)?;
            let sound = pipe(&options)?;
            let camera = Camera::new(&options);
            Ok(Box::new(Source { options, camera, sound, worker }) as Box<dyn Producer>)
        })
    }

    fn check(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        pipe(&options(spec)?).map(|_| ())
    }
}

/// From the samples as they are made to what was asked for.
fn pipe(options: &Options) -> Result<Option<(Pipe, Codec)>, SourceError> {
    let to = match options.audio {
        Audio::None => return Ok(None),
        Audio::Pcm => CodecId::L16,
        Audio::Alaw => CodecId::Pcma,
        Audio::Ulaw => CodecId::Pcmu,
        Audio::Aac => CodecId::Aac,
        Audio::Opus => CodecId::Opus,
    };
    let from = Codec::audio(CodecId::Pcml, options.rate, 1);
    let made = Pipe::new(&from, &Codec { id: to, ..from.clone() });
    made.map(Some).map_err(|e| SourceError::Text(format!("demo: audio={to}: {e}")))
}

struct Source {
    options: Options,
    camera: Camera,
    sound: Option<(Pipe, Codec)>,
    worker: Rc<Worker>,
}

impl Producer for Source {
    fn peer(&self) -> Peer {
        Peer { format: "demo", protocol: "internal", ..Peer::default() }
    }

    fn medias(&self) -> Vec<Media> {
        let mut video = Codec::new(CodecId::H264);
        video.extra = self.camera.extra();
        let mut medias = vec![Media::recv(video)];
        medias.extend(self.sound.iter().map(|(_, codec)| Media::recv(codec.clone())));
        let taken = [CodecId::Pcma, CodecId::Pcmu].map(|id| Codec::audio(id, 8000, 1)).into_iter();
        let wide = [CodecId::L16, CodecId::Pcml, CodecId::Pcma, CodecId::Pcmu];
        let taken = taken.chain(wide.map(|id| Codec::audio(id, 16_000, 1)));
        let narrow = [CodecId::L16, CodecId::Pcml].map(|id| Codec::audio(id, 8000, 1));
        medias.push(Media::speaker(taken.chain(narrow).collect()));
        medias
    }

    fn gives_keys(&self) -> bool {
        true
    }

    fn run(self: Box<Self>, link: Link) -> Local<Result<(), SourceError>> {
        Box::pin(async move {
            let Source { options, camera, sound, worker } = *self;
            let level = RefCell::new(Speaker::default());
            let sounds = sound.is_some();
            let video = look(options, camera, &link, &level);
            let sound = async {
                if let (Some((pipe, _)), Some(inlet)) = (sound, link.inlet(1)) {
                    listen(options, pipe, &worker, inlet).await;
                }
                future::pending().await
            };
            let speaker = async {
                if let Some(reader) = link.speaker(1 + usize::from(sounds)) {
                    speak(reader, &level).await;
                }
                future::pending().await
            };
            future::or(video, future::or(sound, speaker)).await;
            Ok(())
        })
    }
}

/// The wall's clock seen from ours.
#[derive(Default)]
struct Wall {
    ahead: u64,
}

impl Wall {
    /// Nanoseconds since 1970 of an instant; since the machine's start while nobody knows better.
    fn at(&mut self, time: Time) -> u64 {
        // a machine that does something else between the two clocks would put pictures and sound apart
        for last in [false, false, true] {
            let now = clock::now();
            let ahead = clock::wall().map_or(0, |wall| wall.saturating_sub(now.nanos()));
            if clock::now().since(now) < AT_ONCE || last && self.ahead == 0 {
                if self.ahead.abs_diff(ahead) > OFF {
                    self.ahead = ahead;
                }
                break;
            }
        }
        time.nanos().saturating_add(self.ahead)
    }
}

/// Waits until an instant of our clock.
async fn until(time: Time) {
    let left = time.since(clock::now());
    if !left.is_zero() {
        Timer::after(left).await;
    }
}

/// The first place on a grid of so many a second from now on, if `place` is long past.
fn not_late(place: u64, rate: u32) -> u64 {
    let now = clock::now();
    if now.since(Time::from_ticks(place, rate)) > LATE { now.ticks(rate) } else { place }
}

/// Films until the track is gone.
async fn look(options: Options, camera: Camera, link: &Link, speaker: &RefCell<Speaker>) {
    let camera = Rc::new(RefCell::new(camera));
    let lens = camera.clone();
    let filmed = Rc::new(Cell::new(false));
    let has_picture = filmed.clone();
    link.offer_jpeg(Rc::new(move |most, out| {
        has_picture.get() && {
            lens.borrow().jpeg(most, out);
            true
        }
    }));
    let Some(mut inlet) = link.inlet(0) else { return };
    let fps = u32::from(options.fps);
    let first = clock::now().ticks(fps);
    let (mut place, mut wall, mut unit) = (first, Wall::default(), Vec::new());
    loop {
        let capture = Time::from_ticks(place, fps);
        let command = async { Some(link.command().await) };
        match future::or(command, async {
            until(capture).await;
            None
        })
        .await
        {
            Some(Command::Key) => {
                camera.borrow_mut().request_key();
                continue;
            }
            Some(Command::Bitrate(bits)) => {
                camera.borrow_mut().set_bitrate(bits);
                continue;
            }
            None => {}
        }
        let level = speaker.borrow().level();
        speaker.borrow_mut().fall(options.fps);
        let moment = Moment { number: place - first, capture, unix: wall.at(capture), zone: 0, level };
        unit.clear();
        let key = camera.borrow_mut().frame(&moment, &mut unit);
        filmed.set(true);
        if !inlet.push(capture, key, &unit) {
            camera.borrow_mut().request_key();
        }
        place = not_late(place + 1, fps);
    }
}

/// Sends sound, in blocks of 20 ms, each when it is over.
async fn listen(options: Options, mut pipe: Pipe, worker: &Worker, mut inlet: Inlet) {
    let sound = Sound::new(options.rate);
    let mut samples = vec![0; sound.block()];
    let mut bytes = vec![0; samples.len() * 2];
    let mut wall = Wall::default();
    let mut place = clock::now().ticks(BLOCKS);
    loop {
        until(Time::from_ticks(place + 1, BLOCKS)).await;
        let begin = Time::from_ticks(place, BLOCKS);
        sound.fill(wall.at(begin), &mut samples);
        pcm::to_le(&samples, &mut bytes);
        let mut give = |time, data: &[u8]| {
            inlet.push(time, true, data);
        };
        let done = pipe.push(worker, begin, &bytes, &mut give).await;
        if pipe.is_lost() {
            match self::pipe(&options) {
                Ok(Some((new, _))) => pipe = new,
                _ => return,
            }
        }
        let next = not_late(place + 1, BLOCKS);
        if next != place + 1 || !done {
            inlet.skipped();
        }
        if next != place + 1 {
            pipe.skipped();
        }
        place = next;
    }
}

/// Takes what is said to the camera.
async fn speak(mut reader: Reader, speaker: &RefCell<Speaker>) {
    let mut samples = [0; 320];
    loop {
        match reader.next().await {
            Step::Closed(_) => return,
            Step::Codec(..) => {}
            Step::Frame(at) => {
                let id = reader.codec(at).map(|codec| codec.id);
                if let (Some(id), Some(shown)) = (id, reader.frame(at)) {
                    for block in shown.data.chunks(samples.len()) {
                        let n = decode(id, block, &mut samples);
                        speaker.borrow_mut().push(samples.get(..n).unwrap_or_default());
                    }
                }
                reader.done(at);
            }
        }
    }
}

/// A speaker's samples; none of what is not samples.
fn decode(id: CodecId, from: &[u8], to: &mut [i16]) -> usize {
    match id {
        CodecId::Pcma => Law::A.decode_all(from, to),
        CodecId::Pcmu => Law::Mu.decode_all(from, to),
        CodecId::L16 => pcm::from_be(from, to),
        CodecId::Pcml => pcm::from_le(from, to),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_in_any_of_the_speakers_codecs_is_heard() {
        for id in [CodecId::Pcma, CodecId::Pcmu, CodecId::L16, CodecId::Pcml] {
            let mut speaker = Speaker::default();
            let mut samples = [0; 320];
            let loud: Vec<u8> = (0..320u32).map(|i| if i % 7 < 3 { 0x2a } else { 0xaa }).collect();
            let n = decode(id, &loud, &mut samples);
            speaker.push(&samples[..n]);
            assert!(speaker.level() > 5000, "{id}");
        }
        assert_eq!(decode(CodecId::Opus, &[1, 2, 3], &mut [0; 4]), 0);
    }

    #[test]
    fn whoever_overslept_goes_on_with_now() {
        let now = clock::now().ticks(25);
        assert_eq!(not_late(now + 1, 25), now + 1);
        assert!(not_late(now.saturating_sub(1000), 25) >= now);
    }
}
