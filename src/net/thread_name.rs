//! Thread names under musl. Its own `pthread_setname_np` writes a file of /proc whose path it makes
//! with printf, which brings printf and with it soft-float arithmetic: 15 KB on MIPS for what one
//! system call does. The name here is musl's, so that the standard library's threads find this one.

use nix::libc;
use std::ffi::CStr;

/// Names the calling thread, which is all that the standard library does.
#[allow(unsafe_code)]
// SAFETY: the one definition of this name in the program, with musl's own signature
#[unsafe(no_mangle)]
extern "C" fn pthread_setname_np(thread: libc::pthread_t, name: *const libc::c_char) -> libc::c_int {
    // SAFETY: takes nothing and always succeeds
    if thread != unsafe { libc::pthread_self() } || name.is_null() {
        return libc::ENOSYS;
    }
    // SAFETY: POSIX has the caller pass a string that ends with a zero byte
    let name = unsafe { CStr::from_ptr(name) };
    nix::sys::prctl::set_name(name).map_or_else(|e| e as libc::c_int, |()| 0)
}
