//! Recordings on a card: each event becomes a film of its own in a folder, from some seconds before it to some
//! seconds after, fragment by fragment, so that a film that was cut off plays up to its last fragment. The
//! oldest films make room. It knows the hall and files; what an event is, and who may see films, it does
//! not.

pub mod folder;

use crate::media::aac::{self, AudioConfig};
use crate::media::nal::NalCodec;
use crate::media::parameter_sets::ParameterSets;
use crate::media::{Codec, CodecId, Kind, Time};
use crate::net::clock;
use crate::net::log;
use crate::net::reactor::Timer;
use crate::net::worker::Worker;
use crate::stream::{Clip, Cut, Hall, Join, KEY_AGE, Keep, Peer, Reader, Stream, Track, Wish, backoff, bump};
use async_task::Task;
use folder::{Card, Folder};
use futures_lite::future::or;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// Between looks where nothing wakes us.
const LOOK: Duration = Duration::from_millis(250);
/// Bytes that are written at once: what is on its way to the card.
const PIECE: usize = 128 << 10;
/// Time in the ring beyond what goes before an event, for a card that is slow.
const SLACK: Duration = Duration::from_secs(2);

/// How a stream is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where.
    pub folder: PathBuf,
    /// Bytes of all its films together.
    pub budget: u64,
    /// Time before the event.
    pub before: Duration,
    /// Time after its end.
    pub after: Duration,
    /// The longest film; what goes on becomes another.
    pub longest: Duration,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Films that were begun.
    pub films: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// Films that broke off.
    pub broken: u64,
}

/// Records one stream.
pub struct Recorder {
    hall: Rc<Hall>,
    stream: String,
    settings: Settings,
    moving: Cell<bool>,
    /// When motion last ended.
    ended: Cell<Time>,
    /// Where the last film was.
    card: Cell<Option<Card>>,
    waker: RefCell<Option<Waker>>,
    trouble: RefCell<Option<String>>,
    stats: Cell<Stats>,
    task: RefCell<Option<Task<()>>>,
}

impl Recorder {
    /// Begins to keep the stream running, as long as it lives.
    pub fn start(hall: &Rc<Hall>, stream: &str, settings: Settings) -> Rc<Recorder> {
        let recorder = Rc::new(Recorder {
            hall: hall.clone(),
            stream: stream.to_owned(),
            settings,
            moving: Cell::new(false),
            ended: Cell::new(Time::ZERO),
            card: Cell::new(None),
            waker: RefCell::new(None),
            trouble: RefCell::new(None),
            stats: Cell::default(),
            task: RefCell::new(None),
        });
        let task = hall.executor().spawn(run(Rc::downgrade(&recorder)));
        recorder.task.replace(Some(task));
        recorder
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Motion begins or ends.
    pub fn motion(&self, on: bool) {
        if self.moving.replace(on) && !on {
            self.ended.set(clock::now());
        }
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Why nothing is recorded, if that is so.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        self.stats.get()
    }

    /// Where its films are.
    pub fn folder(&self) -> Folder {
        let Settings { folder, budget, .. } = &self.settings;
        Folder { path: folder.clone(), budget: *budget, card: self.card.get() }
    }

    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    fn complain(&self, sentence: String) {
        let mut trouble = self.trouble.borrow_mut();
        if trouble.as_ref() != Some(&sentence) {
            log::warn!(target: "record", "{}: nothing is recorded: {sentence}", self.stream);
            *trouble = Some(sentence);
        }
    }

    /// Whether the film goes on.
    fn goes_on(&self, now: Time) -> bool {
        self.moving.get() || now.since(self.ended.get()) < self.settings.after
    }
}

/// What is recorded.
struct Held {
    reader: Reader,
    pictures: Rc<Track>,
    codec: NalCodec,
    sound: Option<(Rc<Track>, AudioConfig)>,
    _keep: Keep,
}

async fn run(recorder: Weak<Recorder>) {
    let mut failures = 0;
    loop {
        let Some(own) = recorder.upgrade() else { return };
        let held = match own.hall.get(&own.stream) {
            Some(stream) => attach(&stream, own.settings.before).await,
            None => Err("there is no such stream".to_owned()),
        };
        match held {
            Ok(held) => {
                own.trouble.take();
                failures = 0;
                drop(own);
                watch(&recorder, &held).await;
            }
            Err(sentence) => {
                own.complain(sentence);
                failures += 1;
                drop(own);
            }
        }
        Timer::after(backoff(failures)).await;
    }
}

async fn attach(stream: &Rc<Stream>, before: Duration) -> Result<Held, String> {
    let any = |id| Codec { rate: 0, channels: 0, ..Codec::new(id) };
    let pictures = vec![Codec::new(CodecId::H264), Codec::new(CodecId::H265)];
    let wishes = [
        Wish { kind: Kind::Video, codecs: pictures, all: false },
        Wish { kind: Kind::Audio, codecs: vec![any(CodecId::Aac)], all: false },
    ];
    let peer = Peer { format: "record", protocol: "file", ..Peer::default() };
    let reader = stream.attach(&wishes, Join::Live, peer).await.map_err(|e| e.to_string())?;
    let of = |kind| (0..reader.len()).filter_map(|at| reader.track(at)).find(|t| t.kind() == kind).cloned();
    let pictures = of(Kind::Video).ok_or("it has sound and no pictures of H264 or H265")?;
    let codec = NalCodec::of(pictures.codec().id).ok_or("its pictures are not H264 or H265")?;
    let sound = of(Kind::Audio).and_then(|track| {
        let config = AudioConfig::parse(&track.codec().extra).ok()?;
        (config.object_type == aac::LC && config.frame_len > 0 && config.rate > 0).then_some((track, config))
    });
    if let Some((sound, _)) = &sound {
        sound.follow(&pictures);
    }
    let keep = pictures.keep(before + SLACK);
    Ok(Held { reader, pictures, codec, sound, _keep: keep })
}

/// Waits for events and records them, until the tracks are no more.
async fn watch(recorder: &Weak<Recorder>, held: &Held) {
    loop {
        let tick = async {
            Timer::after(LOOK).await;
        };
        let motion = poll_fn(|cx| match recorder.upgrade() {
            Some(own) if !own.moving.get() => {
                own.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
            _ => Poll::Ready(()),
        });
        or(motion, tick).await;
        let Some(own) = recorder.upgrade() else { return };
        if held.reader.viewer().closed().is_some() || held.pictures.is_closed() {
            return;
        }
        let age = {
            let ring = held.pictures.ring();
            let times = ring.newest().zip(ring.last_key().and_then(|key| ring.meta(key)));
            times.map_or(Duration::ZERO, |(newest, key)| newest.decode.since(key.decode))
        };
        if age > KEY_AGE {
            held.pictures.ask_key();
        }
        if !own.moving.get() {
            continue;
        }
        match film(&own, held).await {
            Ok(()) => {}
            Err(e) => {
                own.count(|s| s.broken += 1);
                own.complain(format!("{}: {e}", own.settings.folder.display()));
                drop(own);
                Timer::after(backoff(0)).await;
            }
        }
    }
}

/// One film, from before now until it is over.
async fn film(own: &Rc<Recorder>, held: &Held) -> io::Result<()> {
    let begun = clock::now();
    let slow = own.hall.slow().clone();
    let from = begun.before(own.settings.before);
    let clip = {
        let (ring, sound) = (held.pictures.ring(), held.sound.as_ref().map(|(t, c)| (t.ring(), c)));
        Clip::new(&ring, sound.as_ref().map(|(ring, config)| (&**ring, *config)), from)
    };
    let Some(mut clip) = clip else {
        Timer::after(LOOK).await;
        return Ok(());
    };
    let Some(codec) = held.pictures.config(clip.config()) else { return Ok(()) };
    let sets = ParameterSets::from_extra(held.codec, &codec.extra);
    if !clip.begin(&sets, held.sound.as_ref().map(|(_, config)| config)) {
        return Ok(());
    }
    let age = begun.since(clip.begins()).as_nanos() as u64;
    let name = folder::name(clock::wall().unwrap_or(begun.nanos()).saturating_sub(age));
    let folder = own.folder();
    let mut reel = work(&slow, move || folder.begin(&name)).await?;
    own.card.set(reel.card());
    log::info!(target: "record", "{}: {} begins", own.stream, reel.name());
    own.count(|s| s.films += 1);
    own.trouble.take();
    let mut buffer = Vec::with_capacity(PIECE);
    loop {
        // the segment that is ready
        while clip.left() > 0 {
            buffer.clear();
            let whole = {
                let sound = held.sound.as_ref().map(|(track, _)| track.ring());
                clip.take(&held.pictures.ring(), sound.as_deref(), PIECE, &mut buffer)
            };
            if !whole {
                work(&slow, move || reel.cut()).await?;
                return Err(io::Error::other(
                    "the card is too slow: pictures were lost before they were written",
                ));
            }
            let (len, last) = (buffer.len() as u64, clip.left() == 0);
            let pieces = (reel, buffer);
            (reel, buffer) = work(&slow, move || {
                let (mut reel, buffer) = pieces;
                reel.write(&buffer, last)?;
                Ok((reel, buffer))
            })
            .await?;
            own.count(|s| s.bytes += len);
            bump(&held.reader.viewer().stats.bytes, len);
        }
        let now = clock::now();
        let closed = held.pictures.is_closed() || held.reader.viewer().closed().is_some();
        let sound = held.sound.as_ref().map(|(track, _)| track.ring());
        if closed || !own.goes_on(now) || now.since(begun) > own.settings.longest {
            let rest = clip.rest(&held.pictures.ring(), sound.as_deref());
            drop(sound);
            if rest {
                continue;
            }
            log::info!(target: "record", "{}: {} is whole", own.stream, reel.name());
            return Ok(());
        }
        let cut = clip.next(&held.pictures.ring(), sound.as_deref(), now);
        drop(sound);
        match cut {
            Cut::Ready => {}
            Cut::Changed => return Ok(()),
            Cut::Wait { ask } => {
                if ask {
                    held.pictures.ask_key();
                }
                Timer::after(LOOK).await;
            }
        }
    }
}

/// Has it done where nobody waits for it.
async fn work<T: Send + 'static>(
    slow: &Rc<Worker>,
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    slow.run(job).map_err(|refused| io::Error::other(refused.to_string()))?.await
}

/// Reads a folder of films where nobody waits for it; for those who show them.
pub async fn list(slow: &Rc<Worker>, folder: Folder) -> io::Result<Vec<folder::Film>> {
    work(slow, move || folder.films()).await
}

/// Opens a film of that name; the file and its length.
pub async fn open(slow: &Rc<Worker>, folder: Folder, name: String) -> io::Result<(std::fs::File, u64)> {
    work(slow, move || folder.open(&name)).await
}

/// Reads the next bytes of a film into `buffer`; the file and the buffer, empty at its end.
pub async fn read(
    slow: &Rc<Worker>,
    file: std::fs::File,
    mut buffer: Vec<u8>,
) -> io::Result<(std::fs::File, Vec<u8>)> {
    work(slow, move || {
        use std::io::Read;
        let mut file = file;
        buffer.resize(PIECE, 0);
        let n = file.read(&mut buffer)?;
        buffer.truncate(n);
        Ok((file, buffer))
    })
    .await
}
