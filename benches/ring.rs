//! What the ring costs: nanoseconds, allocations and held bytes per frame and per reader. Each
//! reader is a task that awaits a frame, looks at it and goes on, as an output does.
//!
//! `ring` prints the tables; `ring READERS SECONDS FRAMES` only does that work, for whoever counts
//! its instructions.
#![allow(missing_docs, unsafe_code)]

use futures_lite::future;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use streamd::media::{Codec, CodecId, Time};
use streamd::net::executor::LocalExecutor;
use streamd::stream::{Bounds, Inlet, Join, Peer, Reader, Step, Track, Viewer};

/// Counts what is asked of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        HELD.fetch_add(layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        HELD.fetch_add(layout.size(), Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        HELD.fetch_add(size, Relaxed);
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FPS: u64 = 25;
/// 25 of them a second are 800 kbit/s.
const FRAME: usize = 4000;
/// A measurement is repeated, and the best counts: the rest is what else the machine did.
const ROUNDS: usize = 40;

struct Scene {
    executor: Rc<LocalExecutor>,
    track: Rc<Track>,
    inlet: Inlet,
    seen: Rc<Cell<usize>>,
    readers: usize,
    number: u64,
    data: Vec<u8>,
}

impl Scene {
    /// `readers` tasks on a track that keeps `seconds`, filled and running.
    fn new(readers: usize, seconds: u64) -> Scene {
        let executor = Rc::new(LocalExecutor::new());
        let limit = (seconds + 2) as usize * FPS as usize * FRAME * 2;
        let bounds = Bounds { limit, keep: Duration::from_secs(seconds) };
        let (track, inlet) = Track::new(Codec::new(CodecId::H264), bounds);
        let seen = Rc::new(Cell::new(0));
        let mut scene =
            Scene { executor, track, inlet, seen, readers: 0, number: 0, data: vec![0x41; FRAME] };
        scene.frames((seconds + 2) * FPS * 3);
        for id in 0..readers {
            scene.enter(id as u32);
        }
        scene.readers = readers;
        while scene.executor.try_tick() {}
        scene.seen.set(0);
        scene.frames(4 * FPS);
        scene
    }

    fn enter(&self, id: u32) {
        let viewer = Rc::new(Viewer::new(id, Peer::default()));
        let mut reader = Reader::new(vec![self.track.clone()], Join::Live, viewer);
        let seen = self.seen.clone();
        let task = async move {
            loop {
                match reader.next().await {
                    Step::Frame(at) => {
                        if let Some(shown) = reader.frame(at) {
                            black_box((shown.time, shown.data.len(), shown.data.first()));
                        }
                        reader.done(at);
                        seen.set(seen.get() + 1);
                    }
                    Step::Codec(..) => {}
                    Step::Closed(_) => return,
                }
            }
        };
        self.executor.spawn(task).detach();
    }

    /// Bytes that one more reader takes, with its task.
    fn one_more(&self) -> String {
        if self.readers == 0 {
            return String::from("-");
        }
        let before = HELD.load(Relaxed);
        self.enter(0);
        (HELD.load(Relaxed) - before).to_string()
    }

    /// Writes frames, each when all have read the one before.
    fn frames(&mut self, count: u64) {
        let executor = self.executor.clone();
        streamd::net::reactor::block_on(executor.run(async {
            for _ in 0..count {
                let time = Time::from_nanos(1_000_000_000 + self.number * 1_000_000_000 / FPS);
                self.inlet.push(time, self.number.is_multiple_of(FPS), &self.data);
                self.number += 1;
                // a source waits for its next frame: one turn of the loop, whoever reads
                future::yield_now().await;
                while self.seen.get() < self.readers {
                    future::yield_now().await;
                }
                self.seen.set(0);
            }
        }));
    }

    /// Picoseconds per frame and allocations in all.
    fn measure(&mut self, count: u64) -> (u64, usize) {
        let allocations = ALLOCATIONS.load(Relaxed);
        let mut best = u64::MAX;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            self.frames(count);
            best = best.min((start.elapsed().as_nanos() * 1000 / u128::from(count)) as u64);
        }
        (best, ALLOCATIONS.load(Relaxed) - allocations)
    }
}

fn table() {
    println!("frames of {FRAME} bytes, {FPS} a second; best of {ROUNDS} rounds");
    println!(
        "{:>7} {:>8} {:>10} {:>14} {:>12} {:>13} {:>13} {:>10}",
        "ring s", "readers", "ns/frame", "ns/frame·rdr", "allocations", "B held", "B/reader", "frames"
    );
    for seconds in [1, 10, 60] {
        let mut alone = 0;
        for readers in [0, 1, 10, 100] {
            let before = HELD.load(Relaxed);
            let frames = 4_000 / (readers as u64 + 4) * 4;
            let mut scene = Scene::new(readers, seconds);
            let (took, allocations) = scene.measure(frames);
            let share = if readers == 0 {
                alone = took;
                String::from("-")
            } else {
                let share = took.saturating_sub(alone) / readers as u64;
                format!("{}.{}", share / 1000, share % 1000 / 100)
            };
            let held = HELD.load(Relaxed) - before;
            let inside = scene.one_more();
            println!(
                "{seconds:>7} {readers:>8} {:>10} {share:>14} {allocations:>12} {held:>13} {inside:>13} {:>10}",
                took / 1000,
                frames * ROUNDS as u64
            );
        }
    }
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    match numbers[..] {
        [readers, seconds, frames] => Scene::new(readers as usize, seconds).frames(frames),
        _ => table(),
    }
}
