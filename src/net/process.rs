//! What a process has from the system: its arguments, its three descriptors, threads. Said to the kernel
//! and the C library directly: the standard library's start-up, thread handles and buffered terminal
//! bring a handler for overflowed stacks, maps, locks and buffers, 15 KB of flash that nothing here asks
//! for. Knows nothing of what is printed and what threads do.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc;
use nix::sys::stat::Mode;
use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};
use std::os::unix::ffi::OsStringExt;

/// The words of the command line, the program's own name first.
///
/// # Safety
/// `words` holds `count` strings that end with a zero byte, as `main` has them from the C library.
#[allow(unsafe_code)]
pub unsafe fn arguments(count: i32, words: *const *const libc::c_char) -> Vec<OsString> {
    let words = (0..usize::try_from(count).unwrap_or(0)).map(|i| {
        // SAFETY: within the count that came with it, as the caller promises
        let word = unsafe { CStr::from_ptr(*words.add(i)) };
        OsString::from_vec(word.to_bytes().to_vec())
    });
    words.collect()
}

/// Before anything else: whoever hangs up is an error to the one who writes and not the process's end,
/// and no socket takes the place of a terminal that was never there.
#[allow(unsafe_code)]
pub fn settle() {
    // SAFETY: no handler of ours runs
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    for fd in 0..3 {
        if fcntl(standard(fd), FcntlArg::F_GETFD) == Err(Errno::EBADF) {
            // the lowest number that is free is this one
            let _ = open("/dev/null", OFlag::O_RDWR, Mode::empty()).map(IntoRawFd::into_raw_fd);
        }
    }
}

/// Bytes that this process has in memory, and its threads.
pub fn usage() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name));
        line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    (field("VmRSS:") * 1024, field("Threads:"))
}

#[allow(unsafe_code)]
// SAFETY: symbols of the linker, of which only the addresses are used
unsafe extern "C" {
    /// Where the program's own pages begin, as every linker says it.
    #[link_name = "__executable_start"]
    static BEGIN: u8;
    /// Where its code ends.
    #[link_name = "etext"]
    static END: u8;
}

/// Gives back the pages of code and constants that only the start has touched: the kernel maps sixteen
/// for each of them, and when memory is short it looks last at those that a process has mapped. What is
/// needed again comes again, from the cache as a rule.
#[allow(unsafe_code)]
pub fn forget_start() {
    // a kernel with larger pages may refuse, and nothing is lost
    let begin = &raw const BEGIN as usize & !4095;
    let end = &raw const END as usize;
    // SAFETY: these pages are read and never written; the file has them
    unsafe {
        libc::madvise(begin as *mut libc::c_void, end.saturating_sub(begin), libc::MADV_DONTNEED);
    }
}

/// 0 is what is read from, 1 what is written to, 2 is for complaints.
#[allow(unsafe_code)]
pub fn standard(fd: RawFd) -> BorrowedFd<'static> {
    debug_assert!((0..3).contains(&fd));
    // SAFETY: `settle` has opened all three, and nobody closes them
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Writes all of it, waiting where it must.
pub fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(fd, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or(&[]),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Thread {
    name: &'static str,
    work: Box<dyn FnOnce() + Send>,
}

/// Starts a thread that nobody waits for.
#[allow(unsafe_code)]
pub fn spawn(name: &'static str, stack: usize, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let thread = Box::into_raw(Box::new(Thread { name, work }));
    let mut id = std::mem::MaybeUninit::uninit();
    let mut how = std::mem::MaybeUninit::uninit();
    // SAFETY: `how` is made before it is used; `thread` goes to the new thread, which frees it, and
    // stays here if there is none
    let code = unsafe {
        libc::pthread_attr_init(how.as_mut_ptr());
        libc::pthread_attr_setdetachstate(how.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        let mut code = libc::pthread_attr_setstacksize(how.as_mut_ptr(), stack);
        if code == 0 {
            code = libc::pthread_create(id.as_mut_ptr(), how.as_ptr(), begin, thread.cast());
        }
        libc::pthread_attr_destroy(how.as_mut_ptr());
        if code != 0 {
            drop(Box::from_raw(thread));
        }
        code
    };
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

#[allow(unsafe_code)]
extern "C" fn begin(thread: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: `spawn` has made it and given it away
    let Thread { name, work } = *unsafe { Box::from_raw(thread.cast::<Thread>()) };
    // a name is for people only
    let _ = CString::new(name).map(|name| nix::sys::prctl::set_name(&name));
    work();
    std::ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::sync::mpsc::channel;

    #[test]
    fn a_thread_runs_under_its_name_and_lets_go_of_what_it_owns() {
        let (send, receive) = channel();
        spawn("slow", 128 << 10, Box::new(move || send.send(nix::sys::prctl::get_name()).unwrap())).unwrap();
        assert_eq!(receive.recv().unwrap().unwrap().as_c_str(), c"slow");
        assert!(receive.recv().is_err(), "its end of the channel is gone with it");
    }

    #[test]
    fn a_thread_that_cannot_be_is_told_and_frees_its_work() {
        let (send, receive) = channel::<()>();
        assert!(spawn("big", usize::MAX / 2, Box::new(move || drop(send))).is_err());
        assert!(receive.recv().is_err());
    }

    #[test]
    fn all_of_a_long_text_is_written() {
        let (read, write) = std::io::pipe().unwrap();
        let text = vec![b'x'; 300_000];
        let want = text.len();
        let writer = std::thread::spawn(move || {
            use std::os::fd::AsFd;
            write_all(write.as_fd(), &text).unwrap();
        });
        assert_eq!(std::io::copy(&mut { read }, &mut std::io::sink()).unwrap(), want as u64);
        writer.join().unwrap();
        assert_eq!(standard(1).as_raw_fd(), 1);
    }
}
