//! Counts what the thread of a test takes from the heap, so that a test can say that something takes no more
//! the hundredth time than it did the first.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
        if bytes > 0 {
            let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
        }
    });
}

// SAFETY: every call is passed on unchanged; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that this thread holds.
pub fn held() -> isize {
    HELD.get()
}

/// The most that it has held since it asked last, beyond what it holds.
pub fn most() -> isize {
    MOST.replace(HELD.get())
}

/// How often it has asked for memory.
pub fn asked() -> u64 {
    ASKED.get()
}
