//! Files as sources: WAV, ADTS and raw H.264 or H.265, played at their own speed; once, or over and
//! over with `#loop`. Read in pieces on a worker, because an SD card may take its time. Only from
//! the configuration and the control socket: a file is never opened because the network says so.

use crate::container::adts;
use crate::container::wav;
use crate::media::annexb::{AccessUnits, detect};
use crate::media::convert::sample_bytes;
use crate::media::nal::NalCodec;
use crate::media::{Codec, CodecId, Media, Time};
use crate::net::clock;
use crate::net::reactor::Timer;
use crate::net::worker::Worker;
use crate::stream::{
    Close, Connect, Inlet, Link, Local, Peer, Producer, SourceError, SourceSpec, VideoInlet,
};
use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Bytes read at once.
const PIECE: usize = 16 * 1024;
/// An access unit of a file may have this many bytes.
const MAX_UNIT: usize = 2 << 20;
/// Samples are handed on in pieces of this length.
const SOUND: Duration = Duration::from_millis(20);
/// Frames a second of a raw stream that does not say.
const FPS: (u32, u32) = (25, 1);

/// What is in a file.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Wav(wav::Header),
    Adts(Codec),
    Raw(NalCodec, Codec, (u32, u32)),
}

/// Opens files.
pub struct Files {
    worker: Rc<Worker>,
}

impl Files {
    /// Reads on this worker.
    pub fn new(worker: Rc<Worker>) -> Files {
        Files { worker }
    }
}

impl Connect for Files {
    fn connect(&self, spec: Rc<SourceSpec>) -> Local<Result<Box<dyn Producer>, SourceError>> {
        let worker = self.worker.clone();
        Box::pin(async move {
            let (path, spec2) = (spec.rest().trim_start_matches("//").to_owned(), spec.clone());
            let place = path.clone();
            let job = worker.run(move || -> std::io::Result<(File, Vec<u8>)> {
                let mut file = File::open(&path)?;
                let mut head = vec![0; 4 * PIECE];
                let mut len = 0;
                while let Some(room) = head.get_mut(len..).filter(|r| !r.is_empty()) {
                    match file.read(room)? {
                        0 => break,
                        n => len += n,
                    }
                }
                head.truncate(len);
                file.seek(SeekFrom::Start(0))?;
                Ok((file, head))
            });
            let opened = job.map_err(|e| SourceError::Dial(e.to_string()))?.await;
            let (file, head) = opened.map_err(|e| SourceError::Dial(format!("file {place}: {e}")))?;
            let kind = recognise(&head, spec2.param("fps"))
                .map_err(|e| SourceError::Dial(format!("file {place}: {e}")))?;
            let again = spec.param("loop").is_some();
            Ok(Box::new(Player { file, kind, again, worker, path: place }) as Box<dyn Producer>)
        })
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// Finds out what a file is by its beginning.
fn recognise(head: &[u8], fps: Option<&str>) -> Result<Kind, String> {
    if head.starts_with(b"RIFF") {
        let mut reader = wav::Reader::default();
        return match reader.read(head) {
            Ok((_, Some(header))) => Ok(Kind::Wav(header)),
            Ok((_, None)) => Err("WAV file without samples".into()),
            Err(e) => Err(e.to_string()),
        };
    }
    if let Some(codec) = detect(head) {
        let (described, rate) = describe(head, codec);
        let rate = match fps {
            None => rate.unwrap_or(FPS),
            Some(text) => match text.parse::<u32>() {
                Ok(n @ 1..=240) => (n, 1),
                _ => return Err(format!("#fps={text}: expected 1 to 240")),
            },
        };
        return Ok(Kind::Raw(codec, described, rate));
    }
    let mut splitter = adts::Splitter::new();
    let mut found = None;
    splitter.push(head, &mut |header, _| {
        if found.is_none() {
            found = header.config();
        }
    });
    let config = found.ok_or("neither WAV nor ADTS nor a raw H.264 or H.265 stream")?;
    let mut codec = Codec::audio(CodecId::Aac, config.rate, config.channels);
    let mut extra = [0; crate::media::aac::AudioConfig::MAX];
    let len = config.emit(&mut extra).map_err(|e| e.to_string())?;
    codec.extra = Rc::from(extra.get(..len).unwrap_or_default());
    Ok(Kind::Adts(codec))
}

fn describe(head: &[u8], codec: NalCodec) -> (Codec, Option<(u32, u32)>) {
    let mut sets = crate::media::parameter_sets::ParameterSets::new(codec);
    sets.unit(&mut crate::media::annexb::nals(head), &mut |_| {});
    let rate = sets.info().and_then(|i| i.frame_rate);
    let mut described = Codec::new(codec.id());
    described.extra = Rc::from(sets.extra());
    (described, rate)
}

struct Player {
    file: File,
    kind: Kind,
    again: bool,
    worker: Rc<Worker>,
    path: String,
}

impl Player {
    fn codec(&self) -> Codec {
        match &self.kind {
            Kind::Wav(h) => {
                let id = match h.format {
                    wav::Format::Pcm16 => CodecId::Pcml,
                    wav::Format::Alaw => CodecId::Pcma,
                    wav::Format::Mulaw => CodecId::Pcmu,
                };
                Codec::audio(id, h.rate, h.channels.min(255) as u8)
            }
            Kind::Adts(codec) | Kind::Raw(_, codec, _) => codec.clone(),
        }
    }
}

impl Producer for Player {
    fn peer(&self) -> Peer {
        let format = match self.kind {
            Kind::Wav(_) => "wav",
            Kind::Adts(_) => "adts",
            Kind::Raw(codec, ..) => match codec {
                NalCodec::H264 => "h264",
                NalCodec::H265 => "hevc",
            },
        };
        Peer { format, protocol: "file", ..Peer::default() }
    }

    fn medias(&self) -> Vec<Media> {
        vec![Media::recv(self.codec())]
    }

    fn run(mut self: Box<Self>, link: Link) -> Local<Result<(), SourceError>> {
        Box::pin(async move {
            let Some(inlet) = link.inlet(0) else { return Ok(()) };
            let mut pace = Pace::new();
            let codec = self.codec();
            let mut sink = match self.kind.clone() {
                Kind::Raw(..) => Sink::Video(VideoInlet::new(inlet)),
                _ => Sink::Sound(inlet),
            };
            loop {
                let played = self.play(&mut sink, &codec, &mut pace).await?;
                if !self.again || played == 0 {
                    sink.inlet().track().close(Close::Ended);
                    return Ok(());
                }
                self.file = self.with(|mut f| f.seek(SeekFrom::Start(0)).map(|_| f)).await?;
            }
        })
    }
}

enum Sink {
    Video(VideoInlet),
    Sound(Inlet),
}

impl Sink {
    fn inlet(&self) -> &Inlet {
        match self {
            Sink::Video(v) => v.inlet(),
            Sink::Sound(i) => i,
        }
    }
}

/// Hands frames on at the speed at which they were made.
struct Pace {
    began: Instant,
    start: Time,
    at: Duration,
}

impl Pace {
    fn new() -> Pace {
        Pace { began: Instant::now(), start: clock::now(), at: Duration::ZERO }
    }

    /// The time of what comes now, after waiting for it.
    async fn next(&mut self, lasts: Duration) -> Time {
        let due = self.began + self.at;
        if due > Instant::now() {
            Timer::at(due).await;
        }
        let time = self.start + self.at;
        self.at += lasts;
        time
    }
}

fn ratio(units: u64, rate: u32) -> Duration {
    Time::from_ticks(units, rate).since(Time::ZERO)
}

impl Player {
    async fn with<T: Send + 'static>(
        &mut self,
        job: impl FnOnce(File) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, SourceError> {
        let lost = |e: std::io::Error| SourceError::Lost(format!("file {}: {e}", self.path));
        let file = self.file.try_clone().map_err(lost)?;
        let pending = self.worker.run(move || job(file)).map_err(|e| SourceError::Lost(e.to_string()))?;
        pending.await.map_err(lost)
    }

    async fn piece(&mut self) -> Result<Vec<u8>, SourceError> {
        self.with(|mut file| {
            let mut piece = vec![0; PIECE];
            let n = file.read(&mut piece)?;
            piece.truncate(n);
            Ok(piece)
        })
        .await
    }

    /// Plays the file once; the number of frames.
    async fn play(&mut self, sink: &mut Sink, codec: &Codec, pace: &mut Pace) -> Result<u64, SourceError> {
        let mut frames = 0;
        match (self.kind.clone(), sink) {
            (Kind::Wav(header), Sink::Sound(inlet)) => {
                let width = sample_bytes(codec.id) * usize::from(codec.channels.max(1));
                let block = (codec.rate as usize * SOUND.as_millis() as usize / 1000).max(1) * width;
                let (mut reader, mut begun) = (wav::Reader::default(), false);
                let (mut buf, mut left) = (Vec::new(), header.data.map_or(u64::MAX, u64::from));
                loop {
                    let piece = self.piece().await?;
                    let last = piece.is_empty();
                    buf.extend_from_slice(&piece);
                    if !begun {
                        let (used, found) =
                            reader.read(&buf).map_err(|e| SourceError::Lost(e.to_string()))?;
                        buf.drain(..used);
                        begun = found.is_some();
                    }
                    while begun && left > 0 && (buf.len() >= block || (last && buf.len() >= width)) {
                        let n = buf.len().min(block).min(left.min(block as u64) as usize) / width * width;
                        if n == 0 {
                            break;
                        }
                        let time = pace.next(ratio((n / width) as u64, codec.rate)).await;
                        inlet.push(time, true, buf.get(..n).unwrap_or_default());
                        buf.drain(..n);
                        left -= n as u64;
                        frames += 1;
                    }
                    if last || left == 0 {
                        return Ok(frames);
                    }
                }
            }
            (Kind::Adts(_), Sink::Sound(inlet)) => {
                let mut splitter = adts::Splitter::new();
                let units: RefCell<Vec<(u32, u32, Vec<u8>)>> = RefCell::default();
                loop {
                    let piece = self.piece().await?;
                    let mut take = |header: &adts::Adts, unit: &[u8]| {
                        let samples = u32::from(header.blocks.max(1)) * 1024;
                        units.borrow_mut().push((samples, header.rate, unit.to_vec()));
                    };
                    match piece.is_empty() {
                        false => splitter.push(&piece, &mut take),
                        true => splitter.finish(&mut take),
                    }
                    let ready = units.take();
                    for (samples, rate, unit) in ready {
                        let time = pace.next(ratio(samples.into(), rate.max(1))).await;
                        inlet.push(time, true, &unit);
                        frames += 1;
                    }
                    if piece.is_empty() {
                        return Ok(frames);
                    }
                }
            }
            (Kind::Raw(codec, _, (num, den)), Sink::Video(video)) => {
                let mut units = AccessUnits::new(codec, MAX_UNIT);
                let lasts = ratio(u64::from(den), num.max(1));
                loop {
                    let piece = self.piece().await?;
                    let mut rest = piece.as_slice();
                    loop {
                        let used = units.push(rest);
                        rest = rest.get(used..).unwrap_or_default();
                        while let Some(unit) = units.next_unit() {
                            let unit = unit.to_vec();
                            let time = pace.next(lasts).await;
                            video.push_annexb(time, &unit);
                            frames += 1;
                        }
                        if rest.is_empty() {
                            break;
                        }
                    }
                    if piece.is_empty() {
                        if let Some(unit) = units.finish() {
                            let unit = unit.to_vec();
                            let time = pace.next(lasts).await;
                            video.push_annexb(time, &unit);
                            frames += 1;
                        }
                        return Ok(frames);
                    }
                }
            }
            _ => Ok(frames),
        }
    }
}
