//! What HomeKit costs.
//!
//!   homekit live SECONDS      CPU, memory, allocations and times of a stream of 2 Mbit/s to one viewer, as
//!                             key=value: cpu_ms of ours a second of stream, cipher_ms of locking its packets
//!                             in one buffer, sends_ms of sending as many, both_ms of both at its rhythm
//!   homekit pairing TIMES     microseconds of pair-setup, pair-verify and a picture of 100 kB, as key=value,
//!                             and the longest time that one step of a session keeps others waiting
//!   homekit recording TIMES   a fragment of 4 MB through film, cipher and frames that often, beside the bare
//!                             cipher: MB/s of both, and allocations and bytes held of the last one
//!   homekit hub TIMES         microseconds from a hub's request to the file's beginning and to the first whole
//!                             fragment, and the bytes of the heap that a recording takes
//!   homekit cipher PACKETS    only locks that many packets, for whoever counts its instructions
//!   homekit verify TIMES      only verifies a controller that often, for the same
//!   homekit setup TIMES       only computes both steps of SRP that often, for the same
#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::float_arithmetic
)]

mod hub;
mod live;
mod pairing;
mod recording;

use std::alloc::{GlobalAlloc, Layout, System};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use streamd::net::executor::LocalExecutor;

struct Counting;

pub static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
pub static HELD: AtomicUsize = AtomicUsize::new(0);
/// The most that was held, since somebody has set it back.
pub static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(held, Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cipher", packets] => live::cipher(packets.parse().unwrap()),
        ["verify", times] => pairing::verify(times.parse().unwrap()),
        ["setup", times] => pairing::setup(times.parse().unwrap()),
        ["pairing", times] => pairing::measure(times.parse().unwrap()),
        ["hub", times] => hub::measure(times.parse().unwrap()),
        ["recording", times] => recording::measure(times.parse().unwrap()),
        ["live", seconds] => {
            let executor = Rc::new(LocalExecutor::new());
            executor.block_on(live::run(seconds.parse().unwrap(), executor.clone())).unwrap();
        }
        _ => println!(
            "homekit live SECONDS | pairing TIMES | recording TIMES | hub TIMES | cipher PACKETS | verify TIMES | setup TIMES"
        ),
    }
}
