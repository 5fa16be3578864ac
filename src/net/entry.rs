//! Where the C library begins this program: a part of `main.rs`, kept here among the rooms that may be
//! unsafe. The standard library's own way in costs 10 KB of flash for what a camera has no use for.

/// The program, as the C library calls it.
#[allow(unsafe_code)]
// SAFETY: the one `main` of the program
#[unsafe(no_mangle)]
extern "C" fn main(count: std::ffi::c_int, words: *const *const std::ffi::c_char) -> std::ffi::c_int {
    // SAFETY: as they come from the C library
    let words = unsafe { streamd::net::process::arguments(count, words) };
    streamd::net::process::settle();
    std::ffi::c_int::from(streamd::app::main(words))
}
