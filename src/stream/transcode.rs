//! Sound in another codec: a track made once for all who want it, from a track of the same stream,
//! and only while somebody reads it. Encoding happens on the `media` worker; frames that the worker
//! is too busy for are lost, marked as a gap, and hold up nobody.

use super::reader::{Join, Reader, Step};
use super::source::{Context, Lease};
use super::track::{Inlet, Track};
use super::viewer::{Close, Peer, Viewer};
use crate::media::convert::{Convert, ConvertError};
use crate::media::{Codec, Kind, Time};
use crate::net::log;
use crate::net::worker::Worker;
use std::rc::Rc;
use std::time::Duration;

/// Further than this from where the samples count it, sound is taken to have jumped.
const JUMP: Duration = Duration::from_millis(100);

/// A track made from another one.
pub struct Derived {
    /// What it is made from.
    pub from: Rc<Track>,
    /// What was asked for.
    pub wanted: Codec,
    /// The result.
    pub track: Rc<Track>,
    _task: async_task::Task<()>,
    _lease: Lease,
}

/// A packet that has been encoded, and its samples.
type Packets = Vec<(Vec<u8>, u32)>;

/// Converts, in place or on the worker, and keeps the time.
pub struct Pipe {
    convert: Option<Convert>,
    heavy: bool,
    rate: u32,
    delay: u32,
    clock: Option<(Time, u64)>,
    /// When the last frame was, and how long after the one before it.
    last: Option<(Time, Duration)>,
    gap: bool,
    volume: u8,
}

impl Pipe {
    /// How loud it comes out, in hundredths of what comes in.
    pub fn set_volume(&mut self, percent: u8) {
        self.volume = percent;
    }

    /// From one codec to another; the codec as it will come out.
    pub fn new(from: &Codec, to: &Codec) -> Result<(Pipe, Codec), ConvertError> {
        let convert = Convert::new(from, to)?;
        let codec = convert.codec();
        let (heavy, rate, delay) = (convert.is_heavy(), convert.rate(), convert.delay());
        Ok((
            Pipe {
                convert: Some(convert),
                heavy,
                rate,
                delay,
                clock: None,
                last: None,
                gap: false,
                volume: 100,
            },
            codec,
        ))
    }

    /// Sound is missing before the next frame: what follows keeps its time.
    pub fn skipped(&mut self) {
        self.gap = true;
    }

    /// Converts one frame and gives each result with its time; false if something was lost.
    pub async fn push(
        &mut self,
        worker: &Worker,
        time: Time,
        data: &[u8],
        sink: &mut dyn FnMut(Time, &[u8]),
    ) -> bool {
        let Some(mut convert) = self.convert.take() else { return false };
        let before = self.last;
        self.settle(time);
        convert.set_volume(self.volume);
        if !self.heavy {
            let (clock, rate) = (&mut self.clock, self.rate);
            let done = convert.push(data, &mut |bytes, samples| give(clock, rate, samples, bytes, sink));
            self.convert = Some(convert);
            if done.is_err() {
                (self.last, self.gap) = (before, true);
            }
            return done.is_ok();
        }
        let data = data.to_vec();
        let job = move || {
            let mut packets = Packets::new();
            let done = convert.push(&data, &mut |bytes, samples| packets.push((bytes.to_vec(), samples)));
            (convert, packets, done.is_ok())
        };
        match worker.run(job) {
            Ok(pending) => {
                let (convert, packets, done) = pending.await;
                self.convert = Some(convert);
                for (bytes, samples) in packets {
                    give(&mut self.clock, self.rate, samples, &bytes, sink);
                }
                if !done {
                    (self.last, self.gap) = (before, true);
                }
                done
            }
            // the encoder went with the job; the next frame needs a new one
            Err(_) => false,
        }
    }

    /// Whether the converter was lost with a refused job; a new pipe is needed then.
    pub fn is_lost(&self) -> bool {
        self.convert.is_none()
    }

    fn settle(&mut self, time: Time) {
        if let Some((last, usual)) = self.last {
            let step = time.since(last);
            if std::mem::take(&mut self.gap) {
                // samples that wait in the converter are from before it
                let missing = step.saturating_sub(usual);
                let clock = self.clock.filter(|_| !usual.is_zero());
                self.clock = clock.map(|(start, samples)| (start + missing, samples));
                self.last = Some((time, usual));
            } else {
                self.last = Some((time, step));
            }
        } else {
            self.last = Some((time, Duration::ZERO));
        }
        let time = time.before(Time::from_ticks(u64::from(self.delay), self.rate).since(Time::ZERO));
        let expected =
            self.clock.map(|(start, samples)| start + Time::from_ticks(samples, self.rate).since(Time::ZERO));
        let jumped = expected.is_none_or(|e| e.since(time) > JUMP || time.since(e) > JUMP);
        if jumped {
            self.clock = Some((time, 0));
        }
    }
}

/// Hands on what came out, at the time that its samples have.
fn give(
    clock: &mut Option<(Time, u64)>,
    rate: u32,
    samples: u32,
    bytes: &[u8],
    sink: &mut dyn FnMut(Time, &[u8]),
) {
    let Some((start, count)) = clock else { return };
    let time = *start + Time::from_ticks(*count, rate).since(Time::ZERO);
    *count += u64::from(samples);
    sink(time, bytes);
}

/// Begins to make a track from another.
pub(super) fn derive(
    context: &Context,
    from: Rc<Track>,
    wanted: Codec,
    lease: Lease,
) -> Result<Rc<Derived>, ConvertError> {
    let (pipe, codec) = Pipe::new(&from.codec(), &wanted)?;
    let (track, inlet) = Track::new(codec, (context.bounds)(Kind::Audio));
    track.share(&context.room);
    let reader = Reader::new(
        vec![from.clone()],
        Join::Live,
        Rc::new(Viewer::new(0, Peer { format: "transcode", ..Peer::default() })),
    );
    let task = context.executor.spawn(run(reader, pipe, inlet, wanted.clone(), context.worker.clone()));
    Ok(Rc::new(Derived { from, wanted, track, _task: task, _lease: lease }))
}

async fn run(mut reader: Reader, mut pipe: Pipe, mut inlet: Inlet, wanted: Codec, worker: Rc<Worker>) {
    let again = |pipe: &mut Pipe, inlet: &mut Inlet, from: &Codec| match Pipe::new(from, &wanted) {
        Ok((new, codec)) => {
            *pipe = new;
            inlet.set_codec(codec);
            inlet.skipped();
            true
        }
        Err(error) => {
            log::warn!(target: "streams", "sound can no longer be converted: {error}");
            false
        }
    };
    let why = loop {
        match reader.next().await {
            Step::Frame(at) => {
                let frame = reader.frame(at).map(|f| (f.time, f.gap, f.data.to_vec()));
                reader.done(at);
                let Some((time, gap, data)) = frame else { continue };
                if gap {
                    inlet.skipped();
                    pipe.skipped();
                }
                let mut sink = |time, bytes: &[u8]| {
                    inlet.push(time, true, bytes);
                };
                let done = pipe.push(&worker, time, &data, &mut sink).await;
                if !done {
                    inlet.skipped();
                }
                if pipe.is_lost()
                    && let Some(from) = reader.codec(at)
                    && !again(&mut pipe, &mut inlet, &from)
                {
                    break Close::Ended;
                }
            }
            Step::Codec(_, codec) => {
                if !again(&mut pipe, &mut inlet, &codec) {
                    break Close::Ended;
                }
            }
            Step::Closed(why) => break why,
        }
    };
    inlet.track().close(why);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::CodecId;
    use crate::net::reactor::block_on;

    /// Who hears a clip hears each word when it is spoken, however much the network has lost before.
    #[test]
    fn what_follows_lost_sound_keeps_its_time() {
        let worker = Worker::new("media", 2, 1 << 18);
        let from = Codec::audio(CodecId::L16, 16_000, 1);
        #[cfg(feature = "aac")]
        let wanted = [Codec::audio(CodecId::Pcma, 8000, 1), Codec::audio(CodecId::Aac, 32_000, 1)];
        #[cfg(not(feature = "aac"))]
        let wanted = [Codec::audio(CodecId::Pcma, 8000, 1)];
        for to in wanted {
            let (mut pipe, _) = Pipe::new(&from, &to).unwrap();
            let at = |place: u64| Time::from_nanos(5_000_000_000 + place * 20_000_000);
            let mut out: Vec<Time> = Vec::new();
            // two seconds are missing, later sixty milliseconds, later twenty
            for place in (0..100).chain(200..300).chain(303..400).chain(401..500) {
                if [200, 303, 401].contains(&place) {
                    pipe.skipped();
                }
                let mut sink = |time, _: &[u8]| out.push(time);
                assert!(block_on(pipe.push(&worker, at(place), &[0; 640], &mut sink)));
            }
            // as it would be had nothing been lost: the same distance from the last one put in
            let (mut whole, mut usual) = (Pipe::new(&from, &to).unwrap().0, Vec::new());
            for place in 0..500 {
                let mut sink = |time, _: &[u8]| usual.push(time);
                assert!(block_on(whole.push(&worker, at(place), &[0; 640], &mut sink)));
            }
            let off = |all: &[Time]| at(499).since(*all.last().unwrap());
            let frame = Time::from_ticks(1024, 32_000).since(Time::ZERO);
            assert!(off(&out).abs_diff(off(&usual)) <= frame, "{to}: {:?} {:?}", off(&out), off(&usual));
            let steps = out.windows(2).map(|pair| pair[1].since(pair[0]));
            let longest = steps.clone().max().unwrap();
            assert!(longest >= Duration::from_secs(2) && steps.min().unwrap() > Duration::ZERO);
        }
    }
}
