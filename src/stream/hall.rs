//! The list of streams, and of those who can dial sources.

use super::source::{Connect, Context, Executor, Outlet, Source, SourceError};
use super::spec::SourceSpec;
use super::stream::Stream;
use super::track::{Bounds, Track};
use super::viewer::Close;
use crate::media::Kind;
use crate::net::quoted::Quoted;
use crate::net::worker::Worker;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Streams of one program.
pub const STREAMS: usize = 64;
/// Sources of one stream.
pub const SOURCES: usize = 16;
/// Viewers of one stream.
pub const VIEWERS: usize = 128;

/// Jobs that wait for a worker, and the stack that codecs and parsers need.
const JOBS: usize = 16;
const STACK: usize = 256 * 1024;

struct Scheme {
    name: &'static str,
    connect: Rc<dyn Connect>,
}

fn too_many(stream: &str, most: usize, what: &str) -> SourceError {
    SourceError::Refused(format!("stream {}: {most} {what}", Quoted(stream)))
}

/// Every stream of the program.
pub struct Hall {
    context: Context,
    slow: Rc<Worker>,
    ids: Rc<Cell<u32>>,
    schemes: RefCell<Vec<Scheme>>,
    streams: RefCell<Vec<Rc<Stream>>>,
}

impl Hall {
    /// An empty hall. `bounds` says what a track of each kind may hold.
    pub fn new(executor: Executor, bounds: Rc<dyn Fn(Kind) -> Bounds>) -> Rc<Hall> {
        let worker = Rc::new(Worker::new("media", JOBS, STACK));
        Rc::new(Hall {
            context: Context {
                executor,
                bounds,
                worker,
                short: Rc::default(),
                room: Rc::new(Cell::new(usize::MAX)),
            },
            slow: Rc::new(Worker::new("slow", JOBS, STACK)),
            ids: Rc::default(),
            schemes: RefCell::default(),
            streams: RefCell::default(),
        })
    }

    /// Has sources of these schemes dialled by `connect`.
    pub fn register(&self, schemes: &[&'static str], connect: Rc<dyn Connect>) {
        let mut list = self.schemes.borrow_mut();
        for &name in schemes {
            let at = list.partition_point(|s| s.name <= name);
            list.insert(at, Scheme { name, connect: connect.clone() });
        }
    }

    /// The schemes that can be dialled, in order.
    pub fn schemes(&self) -> Vec<&'static str> {
        self.schemes.borrow().iter().map(|s| s.name).collect()
    }

    /// Who dials this source.
    pub fn connector(&self, spec: &SourceSpec) -> Result<Rc<dyn Connect>, SourceError> {
        let schemes = self.schemes.borrow();
        let found = schemes.iter().find(|s| s.name == spec.scheme());
        found.map(|s| s.connect.clone()).ok_or_else(|| SourceError::Scheme(spec.scheme().to_owned()))
    }

    /// Whether a source is one that can be dialled here.
    pub fn check(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        self.connector(spec)?.check(spec)
    }

    /// The worker for software codecs.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.context.worker
    }

    /// The worker for flash and SD card.
    pub fn slow(&self) -> &Rc<Worker> {
        &self.slow
    }

    /// The executor that the hall runs on.
    pub fn executor(&self) -> &Executor {
        &self.context.executor
    }

    /// Memory is short, or no longer: new viewers are refused, those who watch go on.
    pub fn set_short(&self, short: bool) {
        self.context.short.set(short);
    }

    /// Whether memory is short.
    pub fn is_short(&self) -> bool {
        self.context.short.get()
    }

    /// How many bytes tracks may take from now on, together and beyond their first step, until this is
    /// said again.
    pub fn set_room(&self, bytes: usize) {
        self.context.room.set(bytes);
    }

    /// Every track that holds frames just now.
    pub fn tracks(&self) -> Vec<Rc<Track>> {
        let mut tracks = Vec::new();
        for stream in self.streams() {
            for source in stream.sources() {
                for outlet in source.outlets() {
                    tracks.push(match outlet {
                        Outlet::Track(_, track) => track,
                        Outlet::Speaker(_, speaker) => speaker.track().clone(),
                    });
                }
            }
        }
        tracks
    }

    /// Every stream, in the order of the configuration.
    pub fn streams(&self) -> Vec<Rc<Stream>> {
        self.streams.borrow().clone()
    }

    /// A stream by its name, or by another name for it.
    pub fn get(&self, name: &str) -> Option<Rc<Stream>> {
        let streams = self.streams.borrow();
        let own = streams.iter().find(|s| s.name() == name);
        own.or_else(|| streams.iter().find(|s| s.is_called(name))).cloned()
    }

    fn named(&self, name: &str) -> Option<Rc<Stream>> {
        self.streams.borrow().iter().find(|s| s.name() == name).cloned()
    }

    /// Creates a stream or replaces its sources. Sources that stay as they are written keep running
    /// and keep their viewers. A source that cannot be dialled here is an error, and then nothing
    /// changes.
    pub fn set(&self, name: &str, sources: Vec<SourceSpec>) -> Result<Rc<Stream>, SourceError> {
        if sources.len() > SOURCES {
            return Err(too_many(name, SOURCES, "sources are the most that one stream has"));
        }
        for spec in &sources {
            self.check(spec)?;
        }
        let known = self.named(name);
        if known.is_none() && self.streams.borrow().len() >= STREAMS {
            return Err(too_many(name, STREAMS, "streams are the most there can be"));
        }
        let stream = known.unwrap_or_else(|| {
            let stream = Stream::new(name, self.context.clone(), self.ids.clone(), VIEWERS);
            self.streams.borrow_mut().push(stream.clone());
            stream
        });
        let mut kept = stream.sources();
        let mut wanted = Vec::new();
        for spec in sources {
            let same = kept.iter().position(|s| s.spec.as_ref().is_some_and(|k| **k == spec));
            wanted.push(match same {
                Some(at) => kept.remove(at),
                None => self.source(&stream, spec)?,
            });
        }
        stream.set_sources(wanted);
        Ok(stream)
    }

    pub(super) fn source(&self, stream: &Stream, spec: SourceSpec) -> Result<Rc<Source>, SourceError> {
        let connect = self.connector(&spec)?;
        let spec = Some(Rc::new(spec));
        Ok(Source::new(stream.next_id(), stream.name().into(), spec, Some(connect), self.context.clone()))
    }

    /// Removes a stream and sends its viewers away; false if there is none of this name.
    pub fn remove(&self, name: &str) -> bool {
        let found = {
            let mut streams = self.streams.borrow_mut();
            let at = streams.iter().position(|s| s.name() == name);
            at.map(|at| streams.remove(at))
        };
        found.is_some_and(|stream| {
            stream.end(Close::Removed);
            true
        })
    }

    /// Sends a viewer away, whatever it watches.
    pub fn kick(&self, id: u32) -> bool {
        self.streams().iter().any(|s| s.kick(id))
    }

    /// Ends everything.
    pub fn end(&self) {
        let streams = std::mem::take(&mut *self.streams.borrow_mut());
        for stream in streams {
            stream.end(Close::Shutdown);
        }
    }
}
