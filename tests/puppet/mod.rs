//! A source whose frames come when the test pushes them, and a hall around it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use futures_lite::future;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use streamd::media::{Codec, CodecId, Kind, Media, Time};
use streamd::net::executor::LocalExecutor;
use streamd::stream::{
    Bounds, Connect, Hall, Inlet, Join, Link, Local, Peer, Producer, Reader, SourceError, SourceSpec, Step,
    Stream, Wish,
};

/// The strings of the puppet.
#[derive(Default)]
pub struct Strings {
    pub link: RefCell<Option<Link>>,
    pub inlets: RefCell<Vec<Inlet>>,
    pub dials: Cell<u32>,
    pub running: Cell<bool>,
    pub fail: Cell<bool>,
    pub end: Cell<bool>,
    pub keys: Cell<bool>,
    pub medias: RefCell<Vec<Media>>,
}

struct Puppeteer(Rc<Strings>);
struct Puppet(Rc<Strings>);
struct Running(Rc<Strings>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(false);
        self.0.inlets.borrow_mut().clear();
        self.0.link.borrow_mut().take();
    }
}

impl Connect for Puppeteer {
    fn connect(&self, _spec: Rc<SourceSpec>) -> Local<Result<Box<dyn Producer>, SourceError>> {
        let strings = self.0.clone();
        Box::pin(async move {
            strings.dials.set(strings.dials.get() + 1);
            future::yield_now().await;
            match strings.fail.get() {
                true => Err(SourceError::Dial("the puppet is asleep".into())),
                false => Ok(Box::new(Puppet(strings)) as Box<dyn Producer>),
            }
        })
    }
}

impl Producer for Puppet {
    fn peer(&self) -> Peer {
        Peer { format: "puppet", ..Peer::default() }
    }
    fn medias(&self) -> Vec<Media> {
        self.0.medias.borrow().clone()
    }
    fn gives_keys(&self) -> bool {
        self.0.keys.get()
    }
    fn run(self: Box<Self>, link: Link) -> Local<Result<(), SourceError>> {
        Box::pin(async move {
            let strings = self.0.clone();
            *strings.inlets.borrow_mut() = (0..8).filter_map(|at| link.inlet(at)).collect();
            *strings.link.borrow_mut() = Some(link);
            strings.running.set(true);
            let _running = Running(strings.clone());
            while !strings.end.take() {
                future::yield_now().await;
            }
            Ok(())
        })
    }
}

pub struct Stage {
    pub executor: Rc<LocalExecutor>,
    pub hall: Rc<Hall>,
    pub strings: Rc<Strings>,
}

pub fn h264() -> Media {
    Media::recv(Codec::new(CodecId::H264))
}

pub fn pcma() -> Media {
    Media::recv(Codec::audio(CodecId::Pcma, 8000, 1))
}

impl Stage {
    pub fn new(limit: usize, medias: Vec<Media>) -> Stage {
        let executor = Rc::new(LocalExecutor::new());
        let bounds = move |kind| Bounds { limit, ..Bounds::usual(kind) };
        let hall = Hall::new(executor.clone(), Rc::new(bounds));
        let strings = Rc::new(Strings { medias: RefCell::new(medias), ..Strings::default() });
        hall.register(&["puppet"], Rc::new(Puppeteer(strings.clone())));
        Stage { executor, hall, strings }
    }

    pub fn stream(&self) -> Rc<Stream> {
        self.hall.set("cam", vec![SourceSpec::parse("puppet:").unwrap()]).unwrap()
    }

    pub fn run<T>(&self, what: impl Future<Output = T>) -> T {
        streamd::net::reactor::block_on(self.executor.run(what))
    }

    pub fn settle(&self) {
        for _ in 0..200 {
            self.executor.try_tick();
        }
    }

    pub fn attach(&self, stream: &Rc<Stream>, kinds: &[Kind], join: Join) -> Reader {
        let wishes: Vec<_> = kinds.iter().map(|&k| Wish::any(k)).collect();
        let reader = self.run(stream.attach(&wishes, join, Peer::default())).expect("attach");
        self.settle();
        reader
    }

    /// Pushes picture `n` of 25 a second; `n` is in its first bytes.
    pub fn picture(&self, n: u64, key: bool, len: usize) {
        let mut data = vec![0; len.max(8)];
        data[..8].copy_from_slice(&n.to_be_bytes());
        let mut inlets = self.strings.inlets.borrow_mut();
        inlets[0].push(at(n), key, &data);
    }

    /// Pushes 40 ms of sound.
    pub fn sound(&self, n: u64) {
        self.strings.inlets.borrow_mut()[1].push(at(n), true, &n.to_be_bytes());
    }
}

pub fn at(n: u64) -> Time {
    Time::from_nanos(1_000_000_000 + n * 40_000_000)
}

/// Reads what is there: (track, number, gap).
pub fn drain(reader: &mut Reader) -> Vec<(usize, u64, bool)> {
    let mut seen = Vec::new();
    while let Some(step) = reader.step() {
        match step {
            Step::Frame(track) => {
                let shown = reader.frame(track).expect("a frame just named is there");
                seen.push((track, u64::from_be_bytes(shown.data[..8].try_into().unwrap()), shown.gap));
                drop(shown);
                reader.done(track);
            }
            Step::Codec(..) => {}
            Step::Closed(_) => break,
        }
    }
    seen
}
