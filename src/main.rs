//! Arguments, then `app::run`. The C library calls this `main` and not the standard library's, whose
//! start-up costs 10 KB of flash for what a camera has no use for (`net::process`).
#![cfg_attr(not(test), no_main)]

/// The program.
#[cfg(not(test))]
#[allow(unsafe_code)]
// SAFETY: the one `main` of the program
#[unsafe(no_mangle)]
extern "C" fn main(count: std::ffi::c_int, words: *const *const std::ffi::c_char) -> std::ffi::c_int {
    // SAFETY: as they come from the C library
    let words = unsafe { streamd::net::process::arguments(count, words) };
    streamd::net::process::settle();
    std::ffi::c_int::from(streamd::app::main(words))
}
